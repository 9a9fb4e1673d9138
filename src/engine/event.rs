//! Everything the engine has to say. Every display, the journal and `--output json` consume these and nothing else.

use std::time::Duration;

use serde::Serialize;

use super::{Change, Expected, Failure, StepId};

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Time since the run began.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

pub(super) fn seconds<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Which way a run walks the graph, and whether it changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Looking only.
    Observe,
    /// Making.
    Apply,
    /// Removing.
    Destroy,
}

/// A step as a run introduces it.
#[derive(Clone, Debug, Serialize)]
pub struct StepInfo {
    /// Its id.
    pub id: StepId,
    /// The resource as the user knows it.
    pub title: String,
    /// How long it usually takes.
    pub expected: Expected,
    /// What it waits for in this run's direction.
    pub after: Vec<StepId>,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// A run begins over these steps.
    RunStarted {
        /// Which way.
        phase: Phase,
        /// In a valid order of the run's direction.
        steps: Vec<StepInfo>,
    },
    /// A step begins to look, make or remove.
    StepStarted {
        /// Which step.
        id: StepId,
        /// What it begins.
        phase: Phase,
        /// What it found to do, when it begins to make.
        #[serde(skip_serializing_if = "Option::is_none")]
        change: Option<Change>,
    },
    /// A step has something to say on the way.
    StepProgress {
        /// Which step.
        id: StepId,
        /// A lowercase fragment: `CREATE_IN_PROGRESS, 3 of 9 resources`.
        message: String,
    },
    /// A step has found what a person should know of, though it does not stop the run.
    StepWarning {
        /// Which step.
        id: StepId,
        /// A lowercase fragment, with what to do about it.
        message: String,
    },
    /// A step is done.
    StepFinished {
        /// Which step.
        id: StepId,
        /// How it ended.
        outcome: Outcome,
        /// How long it took, looking included.
        #[serde(rename = "took_seconds", serialize_with = "seconds")]
        took: Duration,
    },
    /// A person asked to stop: nothing new starts, what runs is finished.
    Interrupted,
    /// The run is over.
    RunFinished {
        /// Which way it went.
        phase: Phase,
        /// How many steps ended well.
        succeeded: usize,
        /// How many failed.
        failed: usize,
        /// How many were not tried.
        skipped: usize,
    },
}

/// How a step ended.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was as wanted.
    Unchanged,
    /// Only looked at: what `up` would do.
    Planned {
        /// The change.
        change: Change,
    },
    /// It was made or changed.
    Applied {
        /// The change.
        change: Change,
    },
    /// It was removed.
    Destroyed,
    /// Only looked at: `down` would remove it.
    WouldDestroy,
    /// There was nothing to remove.
    AlreadyGone,
    /// It never has anything of its own to remove.
    NothingOwned,
    /// It belongs to somebody else and was left alone.
    LeftAlone {
        /// Who.
        owner: String,
    },
    /// It failed.
    Failed {
        /// How.
        failure: Failure,
    },
    /// It was not tried because another step failed.
    Skipped {
        /// Which one.
        because: StepId,
    },
    /// It was not started because the run was interrupted.
    Cancelled,
}

impl Outcome {
    /// Whether dependents may go on.
    pub fn is_success(&self) -> bool {
        !matches!(
            self,
            Outcome::Failed { .. } | Outcome::Skipped { .. } | Outcome::Cancelled
        )
    }
}

/// Hears what the engine says. Called from many tasks; must not block.
pub trait Listener: Send + Sync {
    /// Hears one event.
    fn hear(&self, event: &Event);
}

/// Passes over everything: for what has a view of its own, or none.
pub struct Silence;

impl Listener for Silence {
    fn hear(&self, _: &Event) {}
}
