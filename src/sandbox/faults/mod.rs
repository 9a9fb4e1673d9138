//! Faults on demand: rules say what goes wrong with which calls, and every call is carried through `carry` by the HTTP
//! layer of its protocol, which alone knows of them. Who calls learns nothing but what goes wrong.

mod rule;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::Response;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

pub use rule::{Callers, Kind, Rule, Wrong};

use super::http::Breaker;

/// How long a call that is never answered is held, if its caller has that much patience.
const HOLD: Duration = Duration::from_secs(600);
/// How many earlier states are kept for stale reads.
const PAST: usize = 64;
/// How many calls the journal remembers.
const REMEMBERED: usize = 50_000;

/// A call as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// What is called: `eks:CreateCluster`, `kubernetes:patch:deployments.apps`, `registry:PUT:manifests`.
    pub call: String,
    /// Whether something of the sandbox calls, rather than somebody from outside.
    pub is_internal: bool,
    /// Whether the call is meant to change something.
    pub changes: bool,
}

/// A refusal that a protocol says in its own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// One call of too many.
    Throttled,
    /// Overloaded, or just starting.
    Unavailable,
    /// A defect.
    Internal,
    /// No permission.
    Denied,
    /// Expired credentials.
    Expired,
    /// A service that is no more.
    Ended,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strike {
    /// What goes wrong.
    pub kind: Kind,
    /// How long it takes.
    pub duration: Duration,
    /// The rule that says so, if one does.
    rule: Option<u64>,
}

impl Strike {
    /// One that takes no time.
    pub fn of(kind: Kind) -> Self {
        Strike {
            kind,
            duration: Duration::ZERO,
            rule: None,
        }
    }
}

/// A rule at work.
struct Working {
    id: u64,
    rule: Rule,
    seen: u64,
    struck: u64,
    random: fastrand::Rng,
}

impl Working {
    /// Whether the rule is about a call, and so counts it.
    fn is_about(&self, visit: &Visit) -> bool {
        let is_meant = match self.rule.caller {
            Callers::Tool => !visit.is_internal,
            Callers::Controllers => visit.is_internal,
            Callers::Any => true,
        };
        // Only reads can be late, and only changes can fail later.
        let is_moot = match self.rule.kind {
            Kind::Stale => visit.changes,
            Kind::Fails => !visit.changes,
            _ => false,
        };
        is_meant && !is_moot && self.rule.means(&visit.call)
    }

    /// What is to happen to a call that has been counted.
    fn strike(&mut self) -> Option<Strike> {
        if self.seen < self.rule.nth || self.struck >= self.rule.most() {
            return None;
        }
        if let Some(probability) = self.rule.probability
            && self.random.f64() >= probability
        {
            return None;
        }
        self.struck += 1;
        Some(Strike {
            kind: self.rule.kind,
            duration: self.rule.duration(),
            rule: Some(self.id),
        })
    }

    fn describe(&self) -> Value {
        let mut described = json!({"id": self.id, "seen": self.seen, "struck": self.struck});
        described["rule"] = json!(self.rule);
        described
    }
}

/// A call that was meant to change something, as it ended.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    call: String,
    internal: bool,
    /// The status of the answer, also of one that was not sent; none when nothing was done.
    status: Option<u16>,
    /// What went wrong on purpose.
    fault: Option<&'static str>,
}

#[derive(Default)]
struct Inner {
    rules: Vec<Working>,
    last_id: u64,
    journal: Vec<Entry>,
    /// How things were before recent changes, oldest first, while a rule may ask for that.
    past: VecDeque<(Instant, Vec<u8>)>,
}

#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    /// Until when the API servers are away.
    away: watch::Sender<Option<Instant>>,
    /// Changes whenever rules go.
    cleared: watch::Sender<()>,
}

/// The rules of a sandbox and the journal of its calls. Cheap to clone: all clones are the same.
#[derive(Clone, Default)]
pub struct Faults(Arc<Shared>);

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faults({})", self.lock().rules.len())
    }
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0
            .inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds a rule; the answer is its id.
    ///
    /// # Errors
    /// A rule that makes no sense.
    pub fn add(&self, rule: Rule) -> Result<u64, Wrong> {
        rule.check()?;
        let mut inner = self.lock();
        inner.last_id += 1;
        let id = inner.last_id;
        inner.rules.push(Working {
            id,
            random: fastrand::Rng::with_seed(rule.seed),
            rule,
            seen: 0,
            struck: 0,
        });
        Ok(id)
    }

    /// Removes rules by their ids, or all of them. Returns how many went.
    pub fn clear(&self, ids: &[u64]) -> usize {
        let mut inner = self.lock();
        let before = inner.rules.len();
        inner
            .rules
            .retain(|rule| !ids.is_empty() && !ids.contains(&rule.id));
        self.0.cleared.send_replace(());
        before - inner.rules.len()
    }

    /// Returns when a rule is there no more.
    async fn is_cleared(&self, id: u64) {
        let mut cleared = self.0.cleared.subscribe();
        while self.lock().rules.iter().any(|rule| rule.id == id) {
            // Its sender is as long there as this is.
            let _ = cleared.changed().await;
        }
    }

    /// All rules, with how many calls each has seen and struck.
    pub fn list(&self) -> Value {
        self.lock().rules.iter().map(Working::describe).collect()
    }

    /// The calls that were meant to change something, in the order in which they ended.
    pub fn journal(&self) -> Value {
        json!(self.lock().journal)
    }

    /// What is to happen to a call, if anything: the first rule that strikes decides, and all that are about it count it.
    pub fn strike(&self, visit: &Visit) -> Option<Strike> {
        let mut inner = self.lock();
        let mut first = None;
        for rule in inner.rules.iter_mut().filter(|rule| rule.is_about(visit)) {
            rule.seen += 1;
            first = first.or_else(|| rule.strike());
        }
        if let Some(strike) = first {
            tracing::info!("fault: {} {}", visit.call, strike.kind.name());
        }
        first
    }

    fn remember(&self, visit: &Visit, status: Option<u16>, strike: Option<Strike>) {
        if !visit.changes {
            return;
        }
        let mut inner = self.lock();
        if inner.journal.len() < REMEMBERED {
            inner.journal.push(Entry {
                call: visit.call.clone(),
                internal: visit.is_internal,
                status,
                fault: strike.map(|strike| strike.kind.name()),
            });
        }
    }

    /// Carries a call to its answer, or to what goes wrong instead: `refuse` says a refusal in the protocol's terms, `act`
    /// does what is asked for, and `breaker` is the connection's. Once that has tripped, this future is dropped with the
    /// connection.
    pub async fn carry<B>(
        &self,
        visit: &Visit,
        strike: Option<Strike>,
        breaker: &Breaker,
        refuse: impl FnOnce(Refusal) -> Response<B>,
        act: impl Future<Output = Response<B>>,
    ) -> Response<B> {
        let kind = strike.map(|strike| strike.kind);
        if let Some(refusal) = kind.and_then(Kind::refusal) {
            let answer = refuse(refusal);
            self.remember(visit, Some(answer.status().as_u16()), strike);
            return answer;
        }
        let duration = strike.map_or(Duration::ZERO, |strike| strike.duration);
        match kind {
            Some(kind @ (Kind::Reset | Kind::TimeOut | Kind::Restart)) => {
                self.remember(visit, None, strike);
                match kind {
                    Kind::TimeOut => tokio::time::sleep(HOLD).await,
                    Kind::Restart => {
                        let until = Instant::now() + duration;
                        self.0.away.send_replace(Some(until));
                    }
                    _ => {}
                }
                return breaker.trip().await;
            }
            Some(Kind::Slow) => tokio::time::sleep(duration).await,
            Some(Kind::Held) => {
                if let Some(rule) = strike.and_then(|strike| strike.rule) {
                    self.is_cleared(rule).await;
                }
            }
            Some(Kind::Cut) => {
                let breaker = breaker.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(duration).await;
                    breaker.trip_now();
                });
            }
            _ => {}
        }
        let answer = act.await;
        self.remember(visit, Some(answer.status().as_u16()), strike);
        match kind {
            Some(Kind::Lost) => breaker.trip().await,
            Some(Kind::Unanswered) => {
                tokio::time::sleep(HOLD).await;
                breaker.trip().await
            }
            _ => answer,
        }
    }

    /// Whether the API servers are away now.
    pub fn is_away(&self) -> bool {
        self.0
            .away
            .borrow()
            .is_some_and(|until| Instant::now() < until)
    }

    /// Returns when the API servers go away.
    pub async fn gone_away(&self) {
        let mut away = self.0.away.subscribe();
        let _ = away.changed().await;
    }

    /// Keeps how things are before a change, where a rule for stale reads may ask for that; `now` writes it down.
    pub fn keep(&self, now: impl FnOnce() -> Vec<u8>) {
        let mut inner = self.lock();
        let stale = inner
            .rules
            .iter()
            .filter(|rule| rule.rule.kind == Kind::Stale);
        let Some(longest) = stale.map(|rule| rule.rule.duration()).max() else {
            inner.past.clear();
            return;
        };
        // The last one that is older is what was so at the beginning of the time.
        while inner
            .past
            .get(1)
            .is_some_and(|(at, _)| at.elapsed() > longest)
            || inner.past.len() > PAST
        {
            inner.past.pop_front();
        }
        inner.past.push_back((Instant::now(), now()));
    }

    /// How things were so long ago, if they have changed since.
    pub fn past(&self, ago: Duration) -> Option<Vec<u8>> {
        let inner = self.lock();
        let mut past = inner.past.iter();
        past.find(|(at, _)| at.elapsed() <= ago)
            .map(|(_, bytes)| bytes.clone())
    }
}
