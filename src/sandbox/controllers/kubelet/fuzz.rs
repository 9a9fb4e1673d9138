//! What reads what pods and clients say, as functions of bytes.

use super::images::Reference;
use super::spdy;

/// The name of an image.
pub fn image_reference(bytes: &[u8]) {
    let _ = Reference::parse(&String::from_utf8_lossy(bytes));
}

/// What comes over a connection that forwards ports.
pub fn spdy(bytes: &[u8]) {
    spdy::read(bytes);
}
