//! The faults that the sandbox makes on purpose: what they look like to a client, and what the tool makes of them.

mod rehearsal;
mod schedule;
pub mod state;
