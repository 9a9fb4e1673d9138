//! What reads the words of pods, as functions of bytes.

use super::images::Reference;

/// The name of an image.
pub fn image_reference(bytes: &[u8]) {
    let _ = Reference::parse(&String::from_utf8_lossy(bytes));
}
