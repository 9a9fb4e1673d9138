//! An append-only record of runs: a hint for reports and remaining time. Losing it loses nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use super::{Event, Listener};

/// Writes every event as one line of JSON.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal at `path` for appending, and makes it, readable by its owner alone, when it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Journal {
            file: Mutex::new(options.open(path)?),
        })
    }
}

impl Listener for Journal {
    fn hear(&self, event: &Event) {
        // A run never fails for its journal: a full disk must not stop a teardown.
        if let (Ok(mut line), Ok(mut file)) = (serde_json::to_vec(event), self.file.lock()) {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
    }
}
