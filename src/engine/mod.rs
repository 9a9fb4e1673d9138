//! A graph of idempotent steps and the executor that walks it forwards (`up`) and backwards (`down`).
//!
//! The engine knows no command line, no AWS, no Kubernetes and no terminal. It says everything it has to say as
//! [`Event`]s. Its laws: one graph, two orders; a step starts as soon as its own dependencies are done; after a failure
//! independent branches finish and dependents are skipped; a half-made thing is an observation of its own; waits are
//! conditions with deadlines; a step whose ground is taken away while it works says so and ends.

mod context;
mod event;
mod executor;
mod failure;
mod graph;
mod journal;
mod standing;
mod step;

pub use context::{Cancellation, Context, Poll, Wait};
pub use event::{Event, EventKind, Listener, Outcome, Phase, Silence, StepInfo};
pub use executor::{Executor, Report, StepReport};
pub use failure::{Failure, FailureKind, Result};
pub use graph::{Graph, Handle, Input, Needs};
pub use journal::Journal;
pub use step::{Change, Expected, Observed, Step, StepId};
