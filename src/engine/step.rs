//! One owned piece of the environment.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Context, Failure, Result};

/// The name of a step, unique in its graph: `network`, `repository/frontend`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct StepId(Arc<str>);

impl StepId {
    /// Makes an id.
    pub fn new(id: impl AsRef<str>) -> Self {
        StepId(Arc::from(id.as_ref()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for StepId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl<S: AsRef<str>> From<S> for StepId {
    fn from(id: S) -> Self {
        StepId::new(id)
    }
}

/// What `observe` saw. Failed is not clean: each half-made state is an observation of its own.
#[derive(Clone, Debug)]
pub enum Observed<O> {
    /// There is nothing.
    Absent,
    /// Somebody (an earlier run, the service, a person) is still making, changing or deleting it; the service's word for it.
    Pending(String),
    /// It exists. `drift` lists what differs from what is wanted, one line each; empty means nothing does.
    Ready {
        /// What dependents need to know of it.
        outputs: O,
        /// What differs from what is wanted.
        drift: Vec<String>,
    },
    /// It exists and is broken (`ROLLBACK_COMPLETE`, `CREATE_FAILED`); the service's status and reason.
    Failed(String),
    /// It exists and belongs to somebody else; who, or how that is known.
    Foreign(String),
    /// It cannot be seen because what holds it does not answer (a dead cluster); why.
    Unreachable(String),
}

impl<O> Observed<O> {
    /// It exists and is as wanted.
    pub fn ready(outputs: O) -> Self {
        Observed::Ready {
            outputs,
            drift: Vec::new(),
        }
    }
}

/// What `up` would do about what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", content = "reason", rename_all = "kebab-case")]
pub enum Change {
    /// It is as wanted.
    Keep,
    /// It has to be made.
    Create,
    /// It has to be changed, or waited for; one line for each reason.
    Update(Vec<String>),
    /// It has to be removed and made again; why.
    Replace(String),
    /// A person must decide; why.
    Blocked(String),
}

impl Change {
    /// The change that most steps make of an observation.
    pub fn from_observed<O>(seen: &Observed<O>) -> Change {
        match seen {
            Observed::Absent => Change::Create,
            Observed::Pending(status) => {
                Change::Update(vec![format!("{status}: to be waited for")])
            }
            Observed::Ready { drift, .. } if drift.is_empty() => Change::Keep,
            Observed::Ready { drift, .. } => Change::Update(drift.clone()),
            Observed::Failed(reason) => Change::Replace(reason.clone()),
            Observed::Foreign(owner) => Change::Blocked(format!("belongs to {owner}")),
            Observed::Unreachable(reason) => Change::Blocked(reason.clone()),
        }
    }

    /// Whether `up` would do something.
    pub fn is_change(&self) -> bool {
        !matches!(self, Change::Keep)
    }
}

/// How long a step usually takes: hints for remaining time and the critical path, never limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// From absent to ready.
    pub up: Duration,
    /// From ready to absent.
    pub down: Duration,
}

impl Expected {
    /// Expected durations in seconds.
    pub const fn seconds(up: u64, down: u64) -> Self {
        Expected {
            up: Duration::from_secs(up),
            down: Duration::from_secs(down),
        }
    }
}

/// One owned piece of the environment. Stateless: calling any method again is safe.
pub trait Step: Send + Sync + 'static {
    /// What dependents need to know of it; they reach it through a [`super::Input`], which makes the edge.
    type Outputs: Clone + Send + Sync + 'static;

    /// Whether there is something of its own to remove. A step that only looks or waits, or whose work goes with another
    /// step's resource (an image with its repository), says no, and `destroy` is never called.
    const OWNS: bool = true;

    /// The step's name, unique in its graph.
    fn id(&self) -> StepId;

    /// The resource as the user knows it: `EKS control plane meshctl-demo`.
    fn title(&self) -> String;

    /// How long it usually takes.
    fn expected(&self) -> Expected {
        Expected::seconds(1, 1)
    }

    /// Looks; changes nothing.
    fn observe(&self, cx: &Context)
    -> impl Future<Output = Result<Observed<Self::Outputs>>> + Send;

    /// Decides; pure.
    fn plan(&self, seen: &Observed<Self::Outputs>) -> Change {
        Change::from_observed(seen)
    }

    /// Makes it so, and returns when it is. Called only for `Create`, `Update` and `Replace`.
    fn apply(
        &self,
        cx: &Context,
        change: &Change,
    ) -> impl Future<Output = Result<Self::Outputs>> + Send;

    /// Removes it, and returns when it is gone; absent is fine. Not called for `Absent` and `Foreign`. For
    /// `Unreachable` the step clears what can be cleared from outside.
    fn destroy(
        &self,
        cx: &Context,
        seen: &Observed<Self::Outputs>,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (cx, seen);
        let title = self.title();
        async {
            Err(Failure::new(
                title,
                "this step does not say how to remove it",
            ))
        }
    }
}
