//! Where samples come from.

mod envoy;
mod probe;
mod prometheus;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::samples::{Counts, Side, Tick};
pub use envoy::Envoy;
pub use probe::Probe;
pub use prometheus::{Prometheus, Queries};

/// A source of samples.
#[async_trait]
pub trait Source: Send {
    /// Its name, for people and records.
    fn name(&self) -> &'static str;

    /// What it counts, in words: which counters are read.
    fn counts(&self) -> String;

    /// What was counted since the last call; waits for the source's own interval first.
    ///
    /// # Errors
    /// Why nothing could be counted this time; the next call may do better.
    async fn next(&mut self) -> Result<Tick, String>;
}

/// A source as a person names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Kind {
    /// The callers' own sidecars, through the Kubernetes API.
    Envoy,
    /// A Prometheus server.
    Prometheus {
        /// Its URL.
        url: String,
        /// What it is asked.
        queries: Queries,
    },
    /// Requests of our own through the load balancer.
    Probe {
        /// How many a second.
        rate: u32,
    },
}

/// Counters that only grow, except that whoever counts may begin anew.
#[derive(Debug, Default)]
struct Growth {
    last: HashMap<String, f64>,
}

impl Growth {
    /// How much a counter grew since it was read last: nothing the first time; all of it when it began anew.
    ///
    /// # Errors
    /// What is not a count.
    fn since(&mut self, key: String, now: f64) -> Result<u64, String> {
        if !now.is_finite() || now < 0.0 {
            return Err(format!("{key} is {now}, which is no count"));
        }
        let before = self.last.insert(key, now);
        Ok(match before {
            None => 0,
            Some(before) if now >= before => (now - before).round() as u64,
            Some(_) => now.round() as u64,
        })
    }

    /// As [`Growth::since`] for a counter that was not there before, because nothing had been counted.
    ///
    /// # Errors
    /// What is not a count.
    fn since_nothing(&mut self, key: String, now: f64) -> Result<u64, String> {
        if !self.last.contains_key(&key) {
            self.last.insert(key.clone(), 0.0);
        }
        self.since(key, now)
    }
}

/// What a proxy's counters grew by, as requests. Every try of a proxy is a request: one that was tried again failed,
/// however the last try ended.
fn tries(completed: u64, failed: u64, tried_again: u64) -> Counts {
    let requests = completed + tried_again;
    Counts {
        requests,
        errors: (failed + tried_again).min(requests),
        latencies: Vec::new(),
    }
}

/// Which side a version is on.
#[derive(Clone, Debug)]
pub struct Versions {
    /// The stable version.
    pub stable: String,
    /// The version under trial.
    pub canary: String,
}

impl Versions {
    fn side(&self, version: &str) -> Option<Side> {
        match version {
            version if version == self.stable => Some(Side::Stable),
            version if version == self.canary => Some(Side::Canary),
            _ => None,
        }
    }
}

/// The run's clock: seconds that never go back, going on where an earlier process stopped.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    before: f64,
}

impl Clock {
    /// A clock that shows `before` now.
    pub fn from(before: f64) -> Self {
        Clock {
            began: Instant::now(),
            before,
        }
    }

    /// Seconds of the run.
    pub fn now(&self) -> f64 {
        self.before + self.began.elapsed().as_secs_f64()
    }
}

/// Waits until the next multiple of the interval; a late one is not made up for.
async fn pace(next: &mut Option<Instant>, interval: Duration) {
    let now = Instant::now();
    let due = next.map_or(now, |due| due.max(now));
    tokio::time::sleep_until(due.into()).await;
    *next = Some(due + interval);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_begin_anew_and_nonsense() {
        let mut growth = Growth::default();
        let mut since = |now| growth.since("requests".to_owned(), now);
        assert_eq!(
            since(100.0),
            Ok(0),
            "what was before the run is not its own"
        );
        assert_eq!(since(150.0), Ok(50));
        assert_eq!(since(10.0), Ok(10), "a proxy that was restarted");
        assert!(since(f64::NAN).is_err());
        assert!(since(f64::INFINITY).is_err());
        assert!(since(-1.0).is_err());
        assert_eq!(since(12.0), Ok(2), "nonsense is not remembered");
    }

    #[test]
    fn retries_do_not_hide_failures() {
        // A hundred requests, of which ten failed at first and only one in the end.
        let counts = tries(100, 1, 10);
        assert_eq!((counts.requests, counts.errors), (110, 11));
    }
}
