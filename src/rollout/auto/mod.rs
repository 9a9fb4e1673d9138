//! A canary that decides by itself.
//!
//! - [`machine`]: the run as a pure state machine.
//! - [`judge`]: what samples say, by the sequential tests of [`evidence`].
//! - [`plan`]: what a run is told.
//! - [`samples`]: what is measured.

pub mod evidence;
mod exact;
pub mod forecast;
pub mod judge;
pub mod machine;
pub mod plan;
pub mod samples;
pub mod simulate;
pub mod source;
