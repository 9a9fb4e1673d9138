//! One test binary, one file per subject.

mod engine;
