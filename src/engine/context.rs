//! What a running step has at hand: its dependencies' outputs, a voice, and waits with deadlines.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Event, EventKind, Failure, FailureKind, Listener, Observed, Result, StepId};

pub(super) type Output = Arc<dyn Any + Send + Sync>;

/// How far a person has asked the run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    No,
    Finish,
    Now,
}

/// A shared wish to stop: first finish what runs, then stop at once.
#[derive(Clone, Debug)]
pub struct Cancellation(Arc<watch::Sender<Stop>>);

impl Default for Cancellation {
    fn default() -> Self {
        Cancellation(Arc::new(watch::Sender::new(Stop::No)))
    }
}

impl Cancellation {
    /// No wish to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop: the first time nothing new starts and what runs is finished, the second time everything stops.
    pub fn interrupt(&self) {
        self.0.send_modify(|stop| {
            *stop = if *stop == Stop::No {
                Stop::Finish
            } else {
                Stop::Now
            }
        });
    }

    /// Whether nothing new may start.
    pub fn is_interrupted(&self) -> bool {
        *self.0.borrow() >= Stop::Finish
    }

    /// Whether everything has to stop.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() == Stop::Now
    }

    /// Returns once nothing new may start.
    pub async fn interrupted(&self) {
        self.reached(Stop::Finish).await;
    }

    /// Returns once everything has to stop.
    pub async fn stopped(&self) {
        self.reached(Stop::Now).await;
    }

    async fn reached(&self, wanted: Stop) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self.0.subscribe().wait_for(|stop| *stop >= wanted).await;
    }
}

/// What one look at a condition found.
#[derive(Debug)]
pub enum Poll<T> {
    /// The condition holds.
    Ready(T),
    /// Not yet; what the service says, for the display.
    Pending(String),
}

/// A wait for a condition.
#[derive(Clone, Debug)]
pub struct Wait {
    /// What is waited for, as the user knows it: `stack meshctl-demo-network`.
    pub what: String,
    /// How long at most.
    pub deadline: Duration,
    /// What to do when it takes longer.
    pub hint: Option<String>,
    /// Whether each pause is twice as long as the one before, for what is worth few looks.
    pub sparse: bool,
}

impl Wait {
    /// A wait for `what`, for at most `deadline`.
    pub fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Wait {
            what: what.into(),
            deadline,
            hint: None,
            sparse: false,
        }
    }

    /// Looks less often: the pauses double, up to five seconds.
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Adds what to do when it takes longer.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What all steps of a run share.
pub(super) struct Shared {
    pub outputs: Mutex<HashMap<StepId, Output>>,
    pub listener: Arc<dyn Listener>,
    pub cancellation: Cancellation,
    pub began: Instant,
    /// Steps that could not be looked at, so that nothing is known of what depends on them.
    pub blind: Mutex<BTreeSet<StepId>>,
    /// How many steps wait between two looks, or for their turn.
    pub waiting: watch::Sender<usize>,
}

/// A step that waits between two looks, or for its turn, as long as this lives. One that waits for several things at once is still one.
struct Waiting<'a>(&'a Context);

impl<'a> Waiting<'a> {
    fn begin(context: &'a Context) -> Self {
        let waiting = &context.shared.waiting;
        if context.waits.fetch_add(1, Ordering::SeqCst) == 0 {
            waiting.send_modify(|count| *count += 1);
        }
        Waiting(context)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.0.waits.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.shared.waiting.send_modify(|count| *count -= 1);
        }
    }
}

impl Shared {
    pub fn new(listener: Arc<dyn Listener>, cancellation: Cancellation) -> Self {
        Shared {
            outputs: Mutex::default(),
            listener,
            cancellation,
            began: Instant::now(),
            blind: Mutex::default(),
            waiting: watch::Sender::new(0),
        }
    }

    pub fn say(&self, kind: EventKind) {
        self.listener.hear(&Event {
            elapsed: self.began.elapsed(),
            kind,
        });
    }
}

/// What a running step has at hand.
#[derive(Clone)]
pub struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) step: StepId,
    /// How many things the step waits for now.
    waits: Arc<AtomicUsize>,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, step: StepId) -> Self {
        Context {
            shared,
            step,
            waits: Arc::default(),
        }
    }

    /// A context outside any graph, for a single step or wait: a test, or a command that waits for one thing.
    pub fn detached(
        step: impl Into<StepId>,
        listener: Arc<dyn Listener>,
        cancellation: Cancellation,
    ) -> Self {
        Context::new(Arc::new(Shared::new(listener, cancellation)), step.into())
    }

    pub(super) fn output(&self, id: &StepId) -> Option<Output> {
        self.shared
            .outputs
            .lock()
            .expect("no panic while locked")
            .get(id)
            .cloned()
    }

    /// Remembers that this step could not be looked at.
    pub(super) fn keep_blind(&self) {
        self.shared
            .blind
            .lock()
            .expect("no panic while locked")
            .insert(self.step.clone());
    }

    /// Whether that step could not be looked at.
    pub(super) fn is_blind(&self, step: &StepId) -> bool {
        self.shared
            .blind
            .lock()
            .expect("no panic while locked")
            .contains(step)
    }

    /// Keeps the step's outputs for its dependents.
    pub(super) fn keep(&self, outputs: Output) {
        self.shared
            .outputs
            .lock()
            .expect("no panic while locked")
            .insert(self.step.clone(), outputs);
    }

    /// Keeps the outputs of an observation, where it has any.
    pub(super) fn keep_outputs(&self, seen: &Observed<Output>) {
        if let Observed::Ready { outputs, .. } = seen {
            self.keep(outputs.clone());
        }
    }

    /// Says how it is going: a lowercase fragment, the service's own words where there are any.
    pub fn progress(&self, message: impl Into<String>) {
        self.shared.say(EventKind::StepProgress {
            id: self.step.clone(),
            message: message.into(),
        });
    }

    /// Says what a person should know of, though it does not stop the run. It stays on the screen.
    pub fn warn(&self, message: impl Into<String>) {
        self.shared.say(EventKind::StepWarning {
            id: self.step.clone(),
            message: message.into(),
        });
    }

    /// The wish to stop, for a step that streams for a long time.
    pub fn cancellation(&self) -> &Cancellation {
        &self.shared.cancellation
    }

    /// Polls until the condition holds: quickly at first, then at about a thirtieth of the time waited so far, at most
    /// every 15 s, jittered. Relative polling keeps the overshoot of a long wait at a few percent and its number of
    /// calls logarithmic, whatever the service's pace.
    ///
    /// # Errors
    /// The condition's own failure; `Timeout` past the deadline; `Cancelled` when everything has to stop.
    pub async fn wait_for<T, F, Fut>(&self, wait: Wait, mut look: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Poll<T>>>,
    {
        let began = Instant::now();
        let mut said = String::new();
        loop {
            let looked = tokio::select! {
                looked = look() => looked?,
                () = self.shared.cancellation.stopped() => return Err(self.cancelled(&wait)),
            };
            let status = match looked {
                Poll::Ready(value) => return Ok(value),
                Poll::Pending(status) => status,
            };
            let waited = began.elapsed();
            if waited >= wait.deadline {
                let message = format!("still {status} after {} s", wait.deadline.as_secs());
                let failure = Failure::of(FailureKind::Timeout, wait.what, message);
                return Err(match wait.hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                });
            }
            if status != said {
                self.progress(status.clone());
                said = status;
            }
            let pause = match wait.sparse {
                true => sparse_interval(waited),
                false => polling_interval(waited),
            };
            let pause = pause.min(wait.deadline - waited);
            let _waiting = Waiting::begin(self);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.cancellation.stopped() => return Err(self.cancelled(&wait)),
            }
        }
    }

    /// Waits for something that takes its time and takes nothing that other steps need, such as a turn.
    pub async fn pause<T>(&self, until: impl Future<Output = T>) -> T {
        let _waiting = Waiting::begin(self);
        until.await
    }

    fn cancelled(&self, wait: &Wait) -> Failure {
        Failure::of(
            FailureKind::Cancelled,
            wait.what.clone(),
            "stopped while waiting",
        )
        .hint("run the same command again: it goes on from here")
    }
}

/// As [`polling_interval`], doubling.
fn sparse_interval(waited: Duration) -> Duration {
    waited.clamp(Duration::from_millis(50), Duration::from_secs(5))
}

/// The pause after having waited for `waited`.
fn polling_interval(waited: Duration) -> Duration {
    let relative = waited.mul_f64(1.0 / 30.0);
    relative
        .clamp(Duration::from_millis(50), Duration::from_secs(15))
        .mul_f64(0.9 + 0.2 * fastrand::f64())
}
