//! One test binary, one file per subject.

#[cfg(feature = "sandbox")]
mod aws_clients;
#[cfg(feature = "sandbox")]
mod aws_steps;
mod command_line;
mod config;
#[cfg(feature = "sandbox")]
mod dead_ends;
mod engine;
mod generated;
mod harness;
#[cfg(feature = "sandbox")]
mod kubernetes;
#[cfg(feature = "sandbox")]
mod lifecycle;
#[cfg(feature = "sandbox")]
mod signatures;
#[cfg(feature = "sandbox")]
mod wire;
