//! Requests of our own through the load balancer, open-loop: each is sent when it is due, whatever became of those
//! before, and its latency is counted from when it was due. So a service that stalls is seen as slow by all requests
//! that it kept waiting, not by one (coordinated omission, Tene 2013).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::{Clock, Source, Versions, pace};
use crate::engine::{Failure, FailureKind, Result as EngineResult};
use crate::rollout::auto::samples::Tick;
use crate::rollout::sampling;

/// How long a request may take before it is a failure.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often samples are handed over.
const INTERVAL: Duration = Duration::from_millis(500);
/// Requests under way beyond which more would measure this machine instead of the service.
const UNDER_WAY: usize = 2000;

/// The probe. Its requests end with it.
pub struct Probe {
    counted: Arc<Mutex<Tick>>,
    sender: JoinHandle<()>,
    clock: Clock,
    due: Option<Instant>,
    rate: u32,
    under_way: Arc<AtomicU64>,
}

impl Probe {
    /// Begins to send `rate` requests a second to `url`.
    ///
    /// # Errors
    /// What is no URL.
    pub fn start(
        url: &str,
        service: &str,
        versions: &Versions,
        rate: u32,
        clock: Clock,
    ) -> EngineResult<Self> {
        let client = sampling::client(TIMEOUT)?;
        let url: reqwest::Url = url
            .parse()
            .map_err(|error| Failure::of(FailureKind::Input, url.to_owned(), error))?;
        let counted = Arc::new(Mutex::new(Tick::default()));
        let (tick, service, versions) = (counted.clone(), service.to_owned(), versions.clone());
        let asked = Arc::new(AtomicU64::new(0));
        let sent = asked.clone();
        let sender = tokio::spawn(async move {
            let gap = Duration::from_secs(1) / rate.max(1);
            let mut due = tokio::time::Instant::now();
            let mut under_way = tokio::task::JoinSet::new();
            loop {
                tokio::time::sleep_until(due).await;
                while under_way.try_join_next().is_some() {}
                sent.store(under_way.len() as u64, Ordering::Relaxed);
                if under_way.len() >= UNDER_WAY {
                    // A request that cannot even be sent is one that nobody answers.
                    lock(&tick).unattributed += 1;
                    due += gap;
                    continue;
                }
                let (client, url, service) = (client.clone(), url.clone(), service.clone());
                let (tick, versions) = (tick.clone(), versions.clone());
                under_way.spawn(async move {
                    let answer = sampling::ask(&client, &url, &service).await;
                    let failed = !answer.end.as_ref().is_ok_and(|status| *status < 500);
                    let millis = due.elapsed().as_secs_f64() * 1000.0;
                    let side = answer.version.and_then(|version| versions.side(&version));
                    let mut tick = lock(&tick);
                    match side {
                        // A failure's time says nothing of how fast it works.
                        Some(side) => tick
                            .side_mut(side)
                            .count(failed, (!failed).then_some(millis)),
                        None if failed => tick.unattributed += 1,
                        None => {}
                    }
                });
                due += gap;
            }
        });
        Ok(Probe {
            counted,
            sender,
            clock,
            due: None,
            rate,
            under_way: asked,
        })
    }
}

fn lock(tick: &Mutex<Tick>) -> std::sync::MutexGuard<'_, Tick> {
    tick.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.sender.abort();
    }
}

#[async_trait]
impl Source for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn counts(&self) -> String {
        format!(
            "{} requests/s of meshctl's own through the load balancer; statuses from 500 up, time-outs and broken connections are failures as a user sees them, after the proxies' retries",
            self.rate
        )
    }

    async fn next(&mut self) -> Result<Tick, String> {
        pace(&mut self.due, INTERVAL).await;
        let mut tick = std::mem::take(&mut *lock(&self.counted));
        tick.at = self.clock.now();
        tick.under_way = self.under_way.load(Ordering::Relaxed);
        Ok(tick)
    }
}
