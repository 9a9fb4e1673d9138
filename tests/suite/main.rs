//! One test binary, one file per subject.

#[cfg(feature = "sandbox")]
mod aws_clients;
#[cfg(feature = "sandbox")]
mod aws_steps;
#[cfg(feature = "sandbox")]
mod bad_input;
#[cfg(feature = "sandbox")]
mod canary;
mod command_line;
mod config;
#[cfg(feature = "sandbox")]
mod dead_ends;
mod engine;
#[cfg(feature = "sandbox")]
mod faults;
#[cfg(feature = "sandbox")]
mod foreign;
mod generated;
#[cfg(feature = "sandbox")]
mod grants;
#[cfg(feature = "sandbox")]
mod grpc;
mod harness;
#[cfg(feature = "sandbox")]
mod kubernetes;
#[cfg(feature = "sandbox")]
mod lifecycle;
#[cfg(feature = "sandbox")]
mod races;
#[cfg(feature = "sandbox")]
mod secrets;
#[cfg(feature = "sandbox")]
mod signatures;
#[cfg(feature = "sandbox")]
mod verify;
#[cfg(feature = "sandbox")]
mod wire;
