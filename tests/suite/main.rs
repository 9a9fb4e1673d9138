//! One test binary, one file per subject.

mod command_line;
mod config;
mod engine;
mod generated;
mod harness;
