//! Health checks of targets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Check, Health, Healths, Snapshot, Target};
use crate::sandbox::clock::Clock;
use crate::sandbox::data_plane::{address, aws};

/// The least real time between two checks of a target that is as it was.
const LEAST_INTERVAL: Duration = Duration::from_millis(500);
/// The least between two of one that is not known to be healthy.
const LEAST_EAGER: Duration = Duration::from_millis(100);
/// How long a target takes to become healthy where nothing can be checked.
const MODELLED: Duration = Duration::from_secs(15);

type Key = (String, Target);

/// The checks that are going on.
pub struct Checks {
    clock: Clock,
    real: bool,
    found: Arc<Mutex<Healths>>,
    going: BTreeMap<Key, (Check, JoinHandle<()>)>,
}

impl Checks {
    /// No checks yet; without a data plane they only take their time.
    pub fn new(clock: Clock, real: bool) -> Checks {
        Checks {
            clock,
            real,
            found: Arc::default(),
            going: BTreeMap::new(),
        }
    }

    /// Starts and ends checks as targets come and go.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        let mut wanted: BTreeMap<Key, &Check> = BTreeMap::new();
        for group in snapshot.groups.values() {
            // Only a target group that some load balancer uses is checked.
            let used = snapshot.balancers.values().any(|balancer| {
                snapshot
                    .groups_of(balancer)
                    .any(|used| used.arn == group.arn)
            });
            for target in group
                .targets
                .iter()
                .filter(|target| used && !target.draining)
            {
                wanted.insert((group.arn.clone(), target.clone()), &group.check);
            }
        }
        let found = self.found.clone();
        self.going.retain(|key, (check, task)| {
            let keep = wanted.get(key) == Some(&&*check);
            if !keep {
                task.abort();
                lock(&found).remove(key);
            }
            keep
        });
        for (key, check) in wanted {
            self.going.entry(key).or_insert_with_key(|key| {
                let first = Health {
                    state: "initial",
                    reason: Some("Elb.InitialHealthChecking"),
                    description: Some("Initial health checks in progress".to_owned()),
                };
                lock(&self.found).insert(key.clone(), first);
                let work = watch(
                    key.clone(),
                    check.clone(),
                    self.clock,
                    self.real,
                    self.found.clone(),
                );
                (check.clone(), tokio::spawn(work))
            });
        }
    }

    /// What has been found.
    pub fn healths(&self) -> Healths {
        lock(&self.found).clone()
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        for (_, task) in self.going.values() {
            task.abort();
        }
    }
}

fn lock(found: &Mutex<Healths>) -> std::sync::MutexGuard<'_, Healths> {
    found
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn watch(key: Key, check: Check, clock: Clock, real: bool, found: Arc<Mutex<Healths>>) {
    let healthy = Health {
        state: "healthy",
        reason: None,
        description: None,
    };
    if !real {
        tokio::time::sleep(clock.scale(MODELLED)).await;
        lock(&found).insert(key, healthy);
        return;
    }
    let interval = clock.scale(check.interval);
    let (mut known, mut row) = (None, 0u32);
    let mut last = true;
    loop {
        let answer = ask(&key.1, &check).await;
        row = if answer.is_ok() == last { row + 1 } else { 1 };
        last = answer.is_ok();
        // A new target is healthy with its first success.
        let enough = match (last, known) {
            (true, None) => 1,
            (true, _) => check.healthy,
            (false, _) => check.unhealthy,
        };
        if row >= enough && known != Some(last) {
            known = Some(last);
        }
        let health = match (known, answer) {
            (Some(true), _) => Some(healthy.clone()),
            (Some(false), Err((reason, description))) => Some(Health {
                state: "unhealthy",
                reason: Some(reason),
                description: Some(description),
            }),
            // Unhealthy still, but better this time: the last finding stands.
            _ => None,
        };
        if let Some(health) = health {
            lock(&found).insert(key.clone(), health);
        }
        let least = if known == Some(true) {
            LEAST_INTERVAL
        } else {
            LEAST_EAGER
        };
        tokio::time::sleep(interval.max(least.min(check.interval))).await;
    }
}

async fn ask(target: &Target, check: &Check) -> Result<(), (&'static str, String)> {
    let failed = || {
        (
            "Target.FailedHealthChecks",
            "Health checks failed".to_owned(),
        )
    };
    let late = || ("Target.Timeout", "Request timed out".to_owned());
    let address = address::twin_of(&target.id).ok_or_else(failed)?;
    let at = SocketAddr::new(address, check.port.unwrap_or(target.port));
    if check.protocol == "TCP" {
        return match tokio::time::timeout(check.timeout, tokio::net::TcpStream::connect(at)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(failed()),
            Err(_) => Err(late()),
        };
    }
    let request = aws::http()
        .get(format!(
            "{}://{at}{}",
            check.protocol.to_ascii_lowercase(),
            check.path
        ))
        .header("user-agent", "ELB-HealthChecker/2.0")
        .header("connection", "close")
        .timeout(check.timeout);
    match request.send().await {
        Ok(answer) if accepts(&check.matcher, answer.status().as_u16()) => Ok(()),
        Ok(answer) => Err((
            "Target.ResponseCodeMismatch",
            format!(
                "Health checks failed with these codes: [{}]",
                answer.status().as_u16()
            ),
        )),
        Err(error) if error.is_timeout() => Err(late()),
        Err(_) => Err(failed()),
    }
}

/// Whether a status is among `200`, `200-299` or `200,301`.
pub fn accepts(matcher: &str, status: u16) -> bool {
    matcher
        .split(',')
        .any(|part| match part.trim().split_once('-') {
            Some((low, high)) => {
                let bounds = (low.trim().parse::<u16>(), high.trim().parse::<u16>());
                matches!(bounds, (Ok(low), Ok(high)) if (low..=high).contains(&status))
            }
            None => part.trim().parse() == Ok(status),
        })
}

/// The targets of a group that get traffic: the healthy ones, or all when none is.
pub fn serving(arn: &str, targets: &[Target], healths: &Healths) -> Vec<SocketAddr> {
    let is_healthy = |target: &&Target| {
        let health = healths.get(&(arn.to_owned(), (*target).clone()));
        health.is_some_and(|health| health.state == "healthy")
    };
    let place = |target: &Target| -> Option<SocketAddr> {
        let address: IpAddr = address::twin_of(&target.id)?;
        Some(SocketAddr::new(address, target.port))
    };
    let alive = || targets.iter().filter(|target| !target.draining);
    let healthy: Vec<SocketAddr> = alive().filter(is_healthy).filter_map(place).collect();
    match healthy.is_empty() {
        true => alive().filter_map(place).collect(),
        false => healthy,
    }
}
