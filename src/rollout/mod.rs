//! Moving traffic from one version of a service to another, and proving on real traffic that it moved.

pub mod auto;
mod canary;
pub(crate) mod entrance;
pub(crate) mod sampling;
mod split;

pub use canary::{Canary, Measured, Report, Status, VersionStatus};
pub use entrance::{Entrance, entrance, probe};
pub use sampling::{Sample, Sampling, VersionSample, sample, versions_in};
pub use split::{Interval, Verdict, binomial_p_value, clopper_pearson};
