//! The faults that the sandbox makes on purpose: what they look like to a client, and what the tool makes of them.

pub mod drive;
mod rehearsal;
mod schedule;
mod seeds;
pub mod state;
