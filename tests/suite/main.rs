//! One test binary, one file per subject.

mod config;
mod engine;
