//! Load balancers: one Envoy per load balancer, on the loopback address that is its DNS name.
//!
//! What ELBv2's state says of listeners, rules and targets becomes Envoy's configuration. Targets are checked as their
//! target group asks, the interval in modelled time, and what is found goes back into the state, where
//! `DescribeTargetHealth` shows it. As in reality only healthy targets get traffic, and all of them when none is healthy.
//! Without an Envoy load balancers are modelled.

mod config;
mod health;
mod modelled;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::process::{Process, Start};
use super::proxy::put_all;
use crate::sandbox::asked;
use crate::sandbox::controllers::Log;
use crate::sandbox::state::World;

pub use state::OfWorld;

/// How often the state is looked at.
const PERIOD: Duration = Duration::from_millis(50);
/// Before an Envoy that ended is started again.
const RESTART: Duration = Duration::from_millis(500);
const GRACE: Duration = Duration::from_secs(2);

/// A load balancer as the data plane needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancer {
    /// Its ARN.
    pub arn: String,
    /// Where it listens: its DNS name, which is a literal address.
    pub address: Ipv4Addr,
    /// Seconds that a connection may be idle.
    pub idle_timeout: u64,
    /// Its listeners.
    pub listeners: Vec<Listener>,
}

/// One port of a load balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// In order of priority, the default rule last.
    pub rules: Vec<Rule>,
}

/// What is done with matching requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// All of them have to hold.
    pub conditions: Vec<Condition>,
    /// What is done.
    pub action: Action,
}

/// One condition; one of its values has to match. `*` and `?` stand for any text and any letter.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `host-header`.
    Host(Vec<String>),
    /// `path-pattern`.
    Path(Vec<String>),
    /// `http-request-method`.
    Method(Vec<String>),
    /// `http-header`.
    Header(String, Vec<String>),
    /// `query-string`: key, if any, and value.
    Query(Vec<(Option<String>, String)>),
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Target groups by ARN with their weights.
    Forward(Vec<(String, u32)>),
    /// `#{host}`, `#{path}` and their like stand for the request's own.
    Redirect {
        /// 301 or 302.
        status: u16,
        /// `HTTP` or `HTTPS`.
        protocol: String,
        /// The host.
        host: String,
        /// The port.
        port: String,
        /// The path.
        path: String,
    },
    /// A fixed answer.
    Fixed {
        /// The status.
        status: u16,
        /// The content type.
        content_type: String,
        /// The body.
        body: String,
    },
}

/// A target group as the data plane needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// How its targets are checked.
    pub check: Check,
    /// Its registered targets: address and port.
    pub targets: Vec<Target>,
}

/// A registered target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The address as it was registered, 10.a.b.c.
    pub id: String,
    /// The port.
    pub port: u16,
    /// Whether it is being deregistered: it gets nothing new.
    pub draining: bool,
}

/// How targets are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `HTTP`, `HTTPS` or `TCP`.
    pub protocol: String,
    /// Another port than the target's own.
    pub port: Option<u16>,
    /// The path.
    pub path: String,
    /// Between two checks, in modelled time.
    pub interval: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// Successes in a row.
    pub healthy: u32,
    /// Failures in a row.
    pub unhealthy: u32,
    /// Statuses that count as success: `200`, `200-299`, `200,301`.
    pub matcher: String,
}

/// How a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `initial`, `healthy`, `unhealthy`.
    pub state: &'static str,
    /// `Elb.InitialHealthChecking`, `Target.Timeout`, `Target.ResponseCodeMismatch`, `Target.FailedHealthChecks`.
    pub reason: Option<&'static str>,
    /// In words.
    pub description: Option<String>,
}

/// Everything that ELBv2's state holds for the data plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Load balancers by ARN.
    pub balancers: BTreeMap<String, Balancer>,
    /// Target groups by ARN.
    pub groups: BTreeMap<String, TargetGroup>,
}

/// Health by target group and target.
pub type Healths = BTreeMap<(String, Target), Health>;

/// Where snapshots come from and findings go to: ELBv2's state, or a test.
pub trait Directory: Send + Sync + 'static {
    /// What there is now.
    fn snapshot(&self) -> Snapshot;
    /// Tells how the targets are.
    fn tell(&self, healths: &Healths);
}

/// Follows the state until a stop is asked for; then nothing of it is left.
pub async fn run(
    world: World,
    directory: impl Directory,
    program: Option<PathBuf>,
    mut stop: watch::Receiver<bool>,
) {
    let folder = world.directory.join("envoy").join("balancers");
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut modelled = modelled::Modelled::default();
    let mut checks = health::Checks::new(world.clock, program.is_some());
    let (mut last, mut told) = (Snapshot::default(), Healths::new());
    loop {
        let now = directory.snapshot();
        checks.follow(&now);
        let healths = checks.healths();
        if healths != told {
            directory.tell(&healths);
        }
        if let Some(program) = &program
            && (now != last || healths != told || running.values().any(|one| !one.written))
        {
            let gone: Vec<String> = running
                .keys()
                .filter(|arn| !now.balancers.contains_key(*arn))
                .cloned()
                .collect();
            for arn in gone {
                if let Some(one) = running.remove(&arn) {
                    one.end().await;
                }
            }
            for (arn, balancer) in &now.balancers {
                let one = running
                    .entry(arn.clone())
                    .or_insert_with(|| Running::new(&world, &folder, program, balancer));
                one.write(balancer, &now, &healths);
            }
        }
        if program.is_none() {
            modelled.follow(&now, &healths);
        }
        (last, told) = (now, healths);
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    modelled.end();
    for (_, one) in running {
        one.end().await;
    }
    let _ = std::fs::remove_dir_all(&folder);
}

/// One load balancer's Envoy.
struct Running {
    folder: PathBuf,
    written: bool,
    stop: watch::Sender<bool>,
    start: Option<watch::Sender<bool>>,
    task: JoinHandle<()>,
}

impl Running {
    fn new(world: &World, base: &Path, program: &Path, balancer: &Balancer) -> Running {
        let name: String = balancer
            .arn
            .rsplit('/')
            .take(2)
            .collect::<Vec<_>>()
            .join("-");
        let folder = base.join(name);
        let (stop, stopped) = watch::channel(false);
        let (start, ready) = watch::channel(false);
        let command = Start {
            program: program.to_owned(),
            args: [
                "--config-path",
                &folder.join("bootstrap.json").to_string_lossy(),
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--drain-time-s",
                "2",
                "--log-level",
                "warning",
            ]
            .map(str::to_owned)
            .into(),
            env: BTreeMap::new(),
            directory: folder.clone(),
            marks: world.directory.join("processes"),
        };
        Running {
            folder,
            written: false,
            stop,
            start: Some(start),
            task: tokio::spawn(keep(command, balancer.arn.clone(), ready, stopped)),
        }
    }

    fn write(&mut self, balancer: &Balancer, snapshot: &Snapshot, healths: &Healths) {
        let written = (|| {
            std::fs::create_dir_all(&self.folder)?;
            let files = config::files(balancer, snapshot, healths, &self.folder);
            put_all(&self.folder, &files)
        })();
        self.written = written.is_ok();
        if let Err(error) = written {
            tracing::warn!("load balancer {}: {error}", balancer.arn);
        } else if let Some(start) = self.start.take() {
            start.send_replace(true);
            // The task waits for one word only.
            drop(start);
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Keeps an Envoy running until a stop is asked for.
async fn keep(
    command: Start,
    arn: String,
    mut ready: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let log: Log = {
        let arn = arn.clone();
        std::sync::Arc::new(move |line: &str| tracing::debug!("{arn}: {line}"))
    };
    tokio::select! {
        ready = async { ready.wait_for(|ready| *ready).await.is_ok() } => if !ready { return },
        () = asked(&mut stop) => return,
    }
    loop {
        match Process::start(&command, &log) {
            Ok(mut envoy) => {
                tokio::select! {
                    code = envoy.wait() => tracing::warn!("the Envoy of {arn} ended with {code}"),
                    () = asked(&mut stop) => {
                        envoy.stop(GRACE).await;
                        return;
                    }
                }
            }
            Err(error) => tracing::warn!("the Envoy of {arn}: {error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            () = asked(&mut stop) => return,
        }
    }
}

impl Snapshot {
    /// The target groups that a load balancer forwards to.
    fn groups_of<'a>(&'a self, balancer: &'a Balancer) -> impl Iterator<Item = &'a TargetGroup> {
        let rules = balancer
            .listeners
            .iter()
            .flat_map(|listener| &listener.rules);
        let arns: BTreeSet<&String> = rules
            .filter_map(|rule| match &rule.action {
                Action::Forward(groups) => Some(groups.iter().map(|(arn, _)| arn)),
                _ => None,
            })
            .flatten()
            .collect();
        arns.into_iter().filter_map(|arn| self.groups.get(arn))
    }
}

#[cfg(test)]
mod tests;
