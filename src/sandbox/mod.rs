//! The embedded sandbox: AWS, the Kubernetes API and the data plane on one machine, spoken to only over HTTP.
//!
//! One background process, [`serve`], holds everything; [`control`] starts and stops it. What runs in it, in the order of
//! starting (stopping is the reverse):
//!
//! 1. the AWS endpoint ([`aws::server`]), all services behind one port, their state in [`state::State`];
//! 2. the registries behind ECR and in place of the public ones ([`registry`]);
//! 3. the data plane: load balancers and what pods need ([`data_plane`]);
//! 4. the supervisor of EKS clusters: an API server, the control plane's controllers and the nodes of each cluster;
//! 5. the clock's ticks, which let modelled time pass in every AWS service, and the saving of the state.

pub mod aws;
pub mod clock;
pub mod clusters;
pub mod control;
pub mod controllers;
pub mod data_plane;
pub mod faults;
mod http;
pub mod kubernetes;
mod log;
pub mod registry;
pub mod state;

use std::future::Future;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use clock::Clock;
use control::Profile;
use state::World;

/// How long a part may take to stop: a real API server lets requests finish before etcd may end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the sandbox is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How many times faster than reality modelled durations pass; 1 is real time.
    pub speed: f64,
    /// The AWS endpoint's port; without one, that of the last run, or a free one.
    pub port: Option<u16>,
    /// The region of those who name none.
    pub region: String,
    /// Whether pods' processes and proxies are started.
    pub data_plane: bool,
    /// A folder with `etcd` and `kube-apiserver`, and perhaps `kube-controller-manager` and `kube-scheduler`: new
    /// clusters are run by them instead of by the embedded API server.
    pub kubernetes: Option<PathBuf>,
    /// A process without which it is not needed any more: it stops when that one has ended.
    pub parent: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            speed: 60.0,
            port: None,
            region: "us-west-2".into(),
            data_plane: true,
            kubernetes: None,
            parent: None,
        }
    }
}

/// Why the sandbox cannot start, or could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be used.
    #[error("cannot use the sandbox directory {directory}: {source}")]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error("{0} is not empty and not a sandbox's directory")]
    Foreign(PathBuf),
    /// The port is in use.
    #[error("port {port} for the sandbox's {what} is taken: {source}")]
    Port {
        /// Which.
        port: u16,
        /// What for.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A sandbox already runs in the directory.
    #[error("a sandbox is already running in {0}")]
    Running(PathBuf),
    /// The background process ended or did not answer.
    #[error("the sandbox did not start: {0}")]
    Start(String),
    /// The background process did not end.
    #[error("the sandbox (process {0}) did not stop")]
    Stop(u32),
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(String),
    /// One of its parts cannot start.
    #[error("cannot start the sandbox's {part}: {message}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        message: String,
    },
}

/// A running part of the sandbox.
pub struct Part {
    name: &'static str,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Part {
    /// A part that `stop` stops; the future completes when nothing of it is left.
    pub fn new(name: &'static str, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        Part {
            name,
            stop: Box::pin(stop),
        }
    }
}

/// Runs the sandbox in this process until SIGTERM, SIGINT or a stop request. One line of JSON on `ready` says that it is
/// ready, `{"ready":true}`, or why it is not, `{"error":"…"}`.
pub async fn serve(directory: &Path, options: Options, mut ready: impl Write) -> Result<(), Error> {
    let outcome = start(directory, &options).await;
    let line = match &outcome {
        Ok(_) => json!({"ready": true}),
        Err(error) => control::Refusal::write(error),
    };
    // Whoever waited may be gone; that is no reason to stop.
    let _ = writeln!(ready, "{line}").and_then(|()| ready.flush());
    drop(ready);
    outcome?.run().await;
    Ok(())
}

struct Sandbox {
    world: World,
    parts: Vec<Part>,
    /// Says that it is stopping, whoever asked for that.
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
    /// SIGTERM and SIGINT, caught before anybody is told that the sandbox is ready.
    signals: Option<(Signal, Signal)>,
    /// See [`Options::parent`].
    parent: Option<u32>,
    /// Held for the life of the process: who finds it free knows that no sandbox runs.
    _lock: std::fs::File,
}

async fn start(directory: &Path, options: &Options) -> Result<Sandbox, Error> {
    if !(options.speed.is_finite() && options.speed >= 0.1 && options.speed <= 100_000.0) {
        return Err(Error::Setting(format!(
            "the speed must be between 0.1 and 100000, not {}",
            options.speed
        )));
    }
    let unusable = |source| Error::Directory {
        directory: directory.into(),
        source,
    };
    let assets = match &options.kubernetes {
        Some(folder) => Some(clusters::Assets::find(folder).await.map_err(|error| {
            Error::Setting(format!("KUBEBUILDER_ASSETS has no Kubernetes: {error}"))
        })?),
        None => None,
    };
    control::prepare(directory)?;
    let lock = control::hold(directory)?;
    log::install(&control::log_file(directory));
    let state = state::load(directory).map_err(unusable)?;
    let last = Profile::read(directory).ok();

    let port = options.port.or(last.as_ref().map(|last| last.port()));
    let aws = listen("AWS endpoint", port).await?;
    let ecr = listen("ECR registry", last.as_ref().map(|last| last.ecr_port)).await?;
    let public = listen(
        "public registries",
        last.as_ref().map(|last| last.public_port),
    )
    .await?;
    let address = |listener: &TcpListener| listener.local_addr().map_err(unusable);
    let (aws_address, ecr_address, public_address) =
        (address(&aws)?, address(&ecr)?, address(&public)?);

    let mut world = World::new(
        Clock::new(options.speed),
        &options.region,
        &format!("http://{aws_address}"),
        &ecr_address.to_string(),
        directory,
        state,
    );
    if let Some(assets) = &assets {
        world.kubernetes = assets.minor().into();
    }
    let profile = Profile::new(
        &world,
        last.as_ref(),
        options,
        ecr_address.port(),
        public_address.port(),
    );
    world.save().map_err(unusable)?;

    let (stop, stopped) = watch::channel(false);
    let endpoint = aws::server::Control {
        token: profile.token.clone(),
        status: {
            let world = world.clone();
            Box::new(move || condition(&world))
        },
        stop: stop.clone(),
    };
    let mut parts = vec![aws::server::start(world.clone(), aws, endpoint)];
    parts.push(registry::start(world.clone(), ecr, public));
    parts.push(data_plane::start(world.clone(), options.data_plane));
    parts.push(clusters::start(world.clone(), assets));
    parts.push(pass_time(world.clone()));
    profile.write(directory).map_err(unusable)?;
    Ok(Sandbox {
        world,
        parts,
        stop,
        stopped,
        parent: options.parent,
        signals: signal(SignalKind::terminate())
            .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)))
            .ok(),
        _lock: lock,
    })
}

impl Sandbox {
    async fn run(mut self) {
        let saving = tokio::spawn(self.world.clone().keep_saved());
        let interrupted = async {
            match &mut self.signals {
                Some((terminate, interrupt)) => {
                    tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asked(&mut self.stopped) => {}
            () = interrupted => {}
            () = ended(self.parent) => {}
        }
        self.stop.send_replace(true);
        while let Some(part) = self.parts.pop() {
            tracing::info!("stopping the {}", part.name);
            if tokio::time::timeout(PATIENCE, part.stop).await.is_err() {
                tracing::warn!("the {} did not stop in time", part.name);
            }
        }
        saving.abort();
        if let Err(error) = self.world.save().and_then(|()| self.world.save_traces()) {
            tracing::error!("cannot save the state: {error}");
        }
    }
}

/// Waits until a process has ended; for ever without one.
async fn ended(process: Option<u32>) {
    let Some(process) = process else {
        return std::future::pending().await;
    };
    let started = data_plane::process::started_at(process);
    while started.is_some() && data_plane::process::started_at(process) == started {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tracing::info!("process {process} has ended");
}

/// How the sandbox is, for `meshctl sandbox status`.
fn condition(world: &World) -> serde_json::Value {
    let envoy = match data_plane::envoy_of(&world.endpoint) {
        Ok(program) => json!({"program": program}),
        Err(reason) => json!({"missing": reason}),
    };
    let clusters: Vec<serde_json::Value> = world
        .state()
        .eks
        .clusters
        .iter()
        .map(|(key, cluster)| {
            // Nothing until it runs.
            let runtime = cluster
                .runtime
                .as_ref()
                .filter(|runtime| !runtime.kubernetes.is_empty());
            json!({
                "name": key,
                "status": cluster.status,
                "endpoint": runtime.map(|runtime| &runtime.endpoint),
                "kubernetes": runtime.map(|runtime| &runtime.kubernetes),
            })
        })
        .collect();
    json!({
        "envoy": envoy,
        "clusters": clusters,
        "speed": world.clock.speed(),
        "unsaved": *world.unsaved(),
        "calls": *world.calls(),
        "faults": world.faults.list(),
    })
}

/// Lets due transitions happen in every AWS service.
fn pass_time(world: World) -> Part {
    let (stop, mut stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = asked(&mut stopped) => break,
            }
            if aws::tick(&mut world.state(), &world) {
                world.touch();
            }
        }
    });
    Part::new("clock", async move {
        stop.send_replace(true);
        let _ = task.await;
    })
}

/// Returns once a stop is asked for, or nobody is left to ask.
async fn asked(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn listen(what: &'static str, port: Option<u16>) -> Result<TcpListener, Error> {
    let port = port.unwrap_or(0);
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await
        .map_err(|source| Error::Port {
            port,
            what: what.to_owned(),
            source,
        })
}
