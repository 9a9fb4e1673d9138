//! A canary that decides by itself.
//!
//! - [`machine`]: the run as a pure state machine.
//! - [`judge`]: what samples say, by the sequential tests of [`evidence`].
//! - [`plan`]: what a run is told.
//! - [`samples`]: what is measured, [`source`]: where.
//! - [`forecast`]: what can be found out, and when.
//! - [`run`]: the run itself, with its `streams` of samples and its `ending`; [`record`]: what is remembered of it in the
//!   cluster; [`report`]: what is shown of it.
//! - [`recording`]: samples in a file, judged again; [`simulate`]: how often rules are wrong.

mod ending;
pub mod evidence;
mod exact;
pub mod forecast;
pub mod judge;
pub mod machine;
pub mod plan;
pub mod record;
pub mod recording;
pub mod report;
pub mod run;
pub mod samples;
pub mod simulate;
pub mod source;
mod streams;
