//! Bytes for the reader whose name this program has. Its corpus begins with what the reader understands.

#![no_main]

use std::path::Path;

use meshctl::fuzz::{TARGETS, run};

const NAME: &str = env!("CARGO_BIN_NAME");

fn begin() {
    let folder = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let target = TARGETS.iter().find(|target| target.name == NAME);
    let (Some(folder), Some(target)) = (folder, target) else {
        return;
    };
    for (index, sample) in target.samples.iter().enumerate() {
        // Who names a file wants only that to be read again.
        let _ = std::fs::write(Path::new(&folder).join(format!("sample-{index}")), sample);
    }
}

libfuzzer_sys::fuzz_target!(init: begin(), |bytes: &[u8]| run(NAME, bytes));
