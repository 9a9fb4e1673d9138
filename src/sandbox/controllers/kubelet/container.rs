//! Runs one container: pulls, configures, starts, probes and restarts it, and ends it when told to.

mod execution;
mod probing;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use tokio::sync::watch;

use self::execution::{Execute, Handle};
use super::environment::{self, Seen};
use super::images::Image;
use super::runtime::{Ended, Runtime, State, tail};
use super::{Kubelet, events::Event};
use crate::sandbox::controllers::{Program, program};
use crate::sandbox::data_plane;

/// The first pause after a failure, doubled up to [`LONGEST_BACKOFF`].
const BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// Who ran this long begins anew with the first pause.
const BACKOFF_RESET: Duration = Duration::from_secs(600);
/// No process of a loaded machine takes longer to start and fail.
const SLOW_START: Duration = Duration::from_secs(120);
/// Between two looks at what a configuration lacks.
const CONFIG_RETRY: Duration = Duration::from_secs(10);
/// The least real time that a process has to end after SIGTERM.
const LEAST_GRACE: Duration = Duration::from_secs(3);

/// How a container is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As the pod asks: hooks, SIGTERM, grace.
    Gracefully,
    /// At once.
    Now,
}

/// One container of one pod.
pub struct Runner {
    /// Whose node.
    pub kubelet: Arc<Kubelet>,
    /// The pod.
    pub pod: Arc<Pod>,
    /// The container.
    pub container: Container,
    /// Whether it is an init container that has to end.
    pub init: bool,
    /// Where states go.
    pub runtime: Arc<Runtime>,
    /// Where the pod's volumes are.
    pub volumes: PathBuf,
    /// Addresses.
    pub place: Place,
    /// Tells when to end.
    pub stop: watch::Receiver<Option<Stop>>,
}

/// Where a pod is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The address that the API shows.
    pub shown: IpAddr,
    /// Its twin.
    pub twin: IpAddr,
    /// Where the application listens: the twin, or the inner address behind an Envoy.
    pub application: IpAddr,
    /// Whether the pod has an Envoy through which its traffic goes.
    pub injected: bool,
}

enum Found {
    Program(Program),
    Image(Image),
}

impl Runner {
    /// Runs the container until it has ended for good. Answers whether it succeeded.
    pub async fn run(mut self) -> bool {
        let mut failures = 0;
        loop {
            let Some(found) = self.obtain().await else {
                return false;
            };
            let began = Instant::now();
            let code = self.run_once(&found).await;
            if self.stop.borrow().is_some() {
                return code == Some(0);
            }
            let policy = self
                .pod
                .spec
                .as_ref()
                .and_then(|spec| spec.restart_policy.as_deref());
            let again = match (policy.unwrap_or("Always"), code) {
                (_, None) => true,
                (_, Some(0)) if self.init => false,
                ("Always", _) => true,
                ("OnFailure", Some(code)) => code != 0,
                _ => self.init && policy != Some("Never"),
            };
            if !again {
                return code == Some(0);
            }
            let kubelet = self.kubelet.clone();
            // What runs in a container is real and runs in real time: a fast clock must not take a slow start for health.
            if began.elapsed() > kubelet.scale(BACKOFF_RESET).max(SLOW_START) {
                failures = 0;
            }
            if code.is_some() {
                failures += 1;
                let pause = self.pause(failures);
                if failures > 1 {
                    self.wait_state(
                        "CrashLoopBackOff",
                        &format!(
                            "back-off {} restarting failed container={} pod={}",
                            words(pause),
                            self.container.name,
                            self.pod_name(),
                        ),
                    );
                    self.event(Event::warning(
                        "BackOff",
                        &format!(
                            "Back-off restarting failed container {} in pod {}",
                            self.container.name,
                            self.pod_name(),
                        ),
                    ));
                }
                if !self.sleep(kubelet.scale(pause)).await {
                    return false;
                }
            }
            if code.is_some() {
                self.update(|report| report.restarts += 1);
            }
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        // The first restart is immediate, as the kubelet's.
        match failures {
            0 | 1 => Duration::ZERO,
            more => LONGEST_BACKOFF.min(BACKOFF * 2u32.pow((more - 2).min(8))),
        }
    }

    fn pod_name(&self) -> String {
        let metadata = &self.pod.metadata;
        format!(
            "{}_{}({})",
            metadata.name.as_deref().unwrap_or_default(),
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.uid.as_deref().unwrap_or_default(),
        )
    }

    fn update(&self, change: impl FnOnce(&mut super::runtime::Report)) {
        self.runtime.update(&self.container.name, change);
    }

    fn wait_state(&self, reason: &'static str, message: &str) {
        self.update(|report| {
            if let State::Terminated(ended) = &report.state {
                report.last = Some(ended.clone());
            }
            report.ready = false;
            report.state = State::Waiting {
                reason,
                message: message.to_owned(),
            };
        });
    }

    fn event(&self, event: Event) {
        let field = if self.init {
            "spec.initContainers"
        } else {
            "spec.containers"
        };
        let path = format!("{field}{{{}}}", self.container.name);
        self.kubelet.events.pod(&self.pod, Some(&path), event);
    }

    /// Sleeps; false when it is time to end.
    async fn sleep(&mut self, duration: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            _ = self.stop.wait_for(Option::is_some) => false,
        }
    }

    /// Finds the program or pulls the image, with back-off; nothing when it is time to end.
    async fn obtain(&mut self) -> Option<Found> {
        let image = self.container.image.clone().unwrap_or_default();
        if let Some(program) = program(&image) {
            if self.kubelet.images_seen(&image) {
                self.event(Event::normal(
                    "Pulled",
                    &format!("Container image \"{image}\" already present on machine"),
                ));
            } else {
                self.event(Event::normal(
                    "Pulling",
                    &format!("Pulling image \"{image}\""),
                ));
                self.event(Event::normal(
                    "Pulled",
                    &format!("Successfully pulled image \"{image}\""),
                ));
            }
            return Some(Found::Program(program));
        }
        let mut failures = 0u32;
        loop {
            let started = Instant::now();
            let present = self.kubelet.images_seen(&image);
            if !present {
                self.event(Event::normal(
                    "Pulling",
                    &format!("Pulling image \"{image}\""),
                ));
            }
            let kubelet = self.kubelet.clone();
            let pulled = tokio::select! {
                pulled = kubelet.pull(&image) => pulled,
                _ = self.stop.wait_for(Option::is_some) => return None,
            };
            match pulled {
                Ok(found) => {
                    let message = match present {
                        true => format!("Container image \"{image}\" already present on machine"),
                        false => format!(
                            "Successfully pulled image \"{image}\" in {}ms",
                            started.elapsed().as_millis()
                        ),
                    };
                    self.event(Event::normal("Pulled", &message));
                    return Some(Found::Image(found));
                }
                Err(error) => {
                    self.kubelet.images_forget(&image);
                    let message = format!("failed to pull and unpack image \"{image}\": {error}");
                    self.event(Event::warning(
                        "Failed",
                        &format!("Failed to pull image \"{image}\": {error}"),
                    ));
                    self.event(Event::warning("Failed", "Error: ErrImagePull"));
                    self.wait_state("ErrImagePull", &message);
                    let pause = LONGEST_BACKOFF.min(BACKOFF * 2u32.pow(failures.min(8)));
                    failures += 1;
                    // Long enough in real time for an observer to see both reasons.
                    let scaled = self.kubelet.scale(pause).max(Duration::from_millis(200));
                    if !self.sleep(scaled / 2).await {
                        return None;
                    }
                    self.event(Event::normal(
                        "BackOff",
                        &format!("Back-off pulling image \"{image}\""),
                    ));
                    self.event(Event::warning("Failed", "Error: ImagePullBackOff"));
                    self.wait_state(
                        "ImagePullBackOff",
                        &format!("Back-off pulling image \"{image}\": {message}"),
                    );
                    if !self.sleep(scaled / 2).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Configures, starts and watches one run. Nothing when it could not be configured.
    async fn run_once(&mut self, found: &Found) -> Option<i32> {
        let run = self
            .runtime
            .report(&self.container.name)
            .map_or(0, |report| report.restarts);
        let log = self.runtime.log(&self.container.name, run);
        let seen = self.seen();
        let resolved = environment::resolve(&self.kubelet, &self.pod, &self.container, &seen).await;
        let mut env = match resolved {
            Ok(env) => env,
            Err(message) => {
                self.event(Event::warning("Failed", &format!("Error: {message}")));
                self.wait_state("CreateContainerConfigError", &message);
                let pause = self
                    .kubelet
                    .scale(CONFIG_RETRY)
                    .max(Duration::from_millis(100));
                self.sleep(pause).await;
                return None;
            }
        };
        env.entry("HOSTNAME".to_owned())
            .or_insert_with(|| self.pod.metadata.name.clone().unwrap_or_default());
        let id = format!(
            "containerd://{:016x}{:016x}{:016x}{:016x}",
            fastrand::u64(..),
            fastrand::u64(..),
            fastrand::u64(..),
            fastrand::u64(..)
        );
        let name = self.container.name.clone();
        self.event(Event::normal(
            "Created",
            &format!("Created container: {name}"),
        ));
        let started = Timestamp::now();
        let processes = data_plane::envoy_of(&self.kubelet.world.endpoint).is_ok();
        let (mut handle, execute) = match self.start(found, env, &log, processes) {
            Ok(started) => started,
            Err(message) => {
                self.event(Event::warning("Failed", &format!("Error: {message}")));
                self.update(|report| {
                    report.id = id.clone();
                    report.ready = false;
                    report.state = State::Terminated(Ended {
                        code: 128,
                        reason: "StartError",
                        message,
                        started,
                        finished: Timestamp::now(),
                        id,
                    });
                });
                return Some(128);
            }
        };
        self.event(Event::normal(
            "Started",
            &format!("Started container {name}"),
        ));
        let image_id = match found {
            Found::Program(_) => self.container.image.clone().unwrap_or_default(),
            Found::Image(image) => image.id.clone(),
        };
        let lifecycle = self.container.lifecycle.clone().unwrap_or_default();
        let waits = lifecycle.post_start.is_some();
        let unprobed = self.container.startup_probe.is_none();
        let ready = unprobed && self.container.readiness_probe.is_none() && !waits;
        self.update(|report| {
            if let State::Terminated(ended) = &report.state {
                report.last = Some(ended.clone());
            }
            report.id = id.clone();
            report.image_id = image_id;
            report.state = State::Running { since: started };
            report.started = unprobed;
            report.ready = ready;
            report.launched = !waits;
        });
        let (code, message) = self
            .attend(&mut handle, &execute, lifecycle.post_start)
            .await;
        let stopped = *self.stop.borrow();
        let code = match (code, stopped) {
            (Some(code), _) => code,
            (None, how) => {
                self.update(|report| report.ready = false);
                self.end(&mut handle, &execute, lifecycle.pre_stop, how)
                    .await
            }
        };
        let file = self.runtime.log_file(&name, run);
        let fallback =
            self.container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        self.update(|report| {
            report.ready = false;
            report.started = false;
            report.launched = false;
            report.state = State::Terminated(Ended {
                code,
                reason: if code == 0 { "Completed" } else { "Error" },
                message: message.unwrap_or_else(|| {
                    if fallback && code != 0 {
                        tail(&file, 10)
                    } else {
                        String::new()
                    }
                }),
                started,
                finished: Timestamp::now(),
                id,
            });
        });
        Some(code)
    }

    /// Watches a running container. Its exit code, or nothing when it has to be ended.
    async fn attend(
        &mut self,
        handle: &mut Handle,
        execute: &Execute,
        post_start: Option<LifecycleHandler>,
    ) -> (Option<i32>, Option<String>) {
        let mut stop = self.stop.clone();
        let probing = async {
            if let Some(hook) = post_start {
                if let Err(message) = self.hook(&hook, execute).await {
                    self.event(Event::warning(
                        "FailedPostStartHook",
                        &format!("PostStartHook failed: {message}"),
                    ));
                    return message;
                }
                let ready = self.container.startup_probe.is_none()
                    && self.container.readiness_probe.is_none();
                self.update(|report| {
                    report.launched = true;
                    report.ready = ready;
                });
            }
            self.probe_all(execute).await
        };
        tokio::select! {
            code = handle.wait() => (Some(code), None),
            why = probing => {
                self.event(Event::normal("Killing", &why));
                (None, None)
            }
            _ = stop.wait_for(Option::is_some) => (None, None),
        }
    }

    async fn end(
        &self,
        handle: &mut Handle,
        execute: &Execute,
        pre_stop: Option<LifecycleHandler>,
        how: Option<Stop>,
    ) -> i32 {
        if how == Some(Stop::Now) {
            return handle.stop(Duration::ZERO).await;
        }
        let metadata = &self.pod.metadata;
        let seconds = metadata.deletion_grace_period_seconds.or_else(|| {
            let spec = self.pod.spec.as_ref();
            spec.and_then(|spec| spec.termination_grace_period_seconds)
        });
        let grace = self
            .kubelet
            .scale(Duration::from_secs(seconds.unwrap_or(30).max(0) as u64));
        let began = Instant::now();
        if let Some(hook) = pre_stop {
            // The hook's time counts against the grace period.
            tokio::select! {
                done = tokio::time::timeout(grace, self.hook(&hook, execute)) => {
                    if let Ok(Err(message)) = done {
                        self.event(Event::warning("FailedPreStopHook", &format!("PreStopHook failed: {message}")));
                    }
                }
                // It may end by itself while the hook runs.
                code = handle.wait() => return code,
            }
        }
        handle
            .stop(grace.saturating_sub(began.elapsed()).max(LEAST_GRACE))
            .await
    }

    fn seen(&self) -> Seen {
        let proxy = self.is_proxy();
        let address = if proxy {
            self.place.twin
        } else {
            self.place.application
        };
        Seen {
            pod_ip: address.to_string(),
            host_ip: data_plane::address::twin(self.kubelet.options.private_ip).to_string(),
        }
    }

    /// Whether the container belongs to the pod's proxy and is on its outer side.
    fn is_proxy(&self) -> bool {
        let image = self.container.image.as_deref().unwrap_or_default();
        program(image).is_some()
    }
}

/// A duration as Go prints it.
fn words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}
