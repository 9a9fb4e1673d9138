//! Runs one container: pulls, configures, starts, probes and restarts it, and ends it when told to.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, Probe};
use tokio::sync::watch;

use super::environment::{self, Seen};
use super::images::Image;
use super::probes::{self, Kind, Pace};
use super::runtime::{Ended, Runtime, State, tail};
use super::{Kubelet, events::Event, volumes};
use crate::sandbox::controllers::{ContainerContext, Log, Program, program};
use crate::sandbox::data_plane::{self, process};

/// The first pause after a failure, doubled up to [`LONGEST_BACKOFF`].
const BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// Who ran this long begins anew with the first pause.
const BACKOFF_RESET: Duration = Duration::from_secs(600);
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

enum Handle {
    Process(Box<process::Process>),
    Task(tokio::task::JoinHandle<i32>, watch::Sender<bool>),
    /// Without a data plane nothing runs.
    Nothing,
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
            if began.elapsed() > kubelet.scale(BACKOFF_RESET) {
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

    /// Probes for ever; ends with the reason to restart the container.
    async fn probe_all(&self, execute: &Execute) -> String {
        if let Some(probe) = self.container.startup_probe.clone() {
            let mut failed = false;
            self.probe(Kind::Startup, &probe, execute, |is| {
                failed = !is;
                std::ops::ControlFlow::Break(())
            })
            .await;
            if failed {
                return format!(
                    "Container {} failed startup probe, will be restarted",
                    self.container.name
                );
            }
            let ready = self.container.readiness_probe.is_none();
            self.update(|report| {
                report.started = true;
                report.ready = ready;
            });
        }
        let readiness = async {
            if let Some(probe) = self.container.readiness_probe.clone() {
                self.probe(Kind::Readiness, &probe, execute, |is| {
                    self.update(|report| report.ready = is);
                    std::ops::ControlFlow::Continue(())
                })
                .await;
            }
            std::future::pending::<()>().await;
        };
        let liveness = async {
            let Some(probe) = self.container.liveness_probe.clone() else {
                return std::future::pending::<()>().await;
            };
            self.probe(Kind::Liveness, &probe, execute, |is| match is {
                true => std::ops::ControlFlow::Continue(()),
                false => std::ops::ControlFlow::Break(()),
            })
            .await;
        };
        tokio::select! {
            () = readiness => {}
            () = liveness => {}
        }
        format!(
            "Container {} failed liveness probe, will be restarted",
            self.container.name
        )
    }

    /// Runs one probe; `tell` hears each change of the verdict.
    async fn probe(
        &self,
        kind: Kind,
        probe: &Probe,
        execute: &Execute,
        mut tell: impl FnMut(bool) -> std::ops::ControlFlow<()>,
    ) {
        if matches!(execute, Execute::Nothing) {
            // Nothing runs that could answer; modelled readiness comes with the usual delay of a start.
            tokio::time::sleep(self.kubelet.scale(Duration::from_secs(5))).await;
            if tell(true).is_continue() {
                std::future::pending::<()>().await;
            }
            return;
        }
        let pace = Pace::new(kind, probe, &self.kubelet.world.clock);
        tokio::time::sleep(pace.initial_delay).await;
        let (mut verdict, mut row, mut since) = (None, 0, Instant::now());
        let mut succeeded = false;
        loop {
            let answer =
                match probes::ask(probe, &self.container, self.place.twin, pace.timeout).await {
                    Some(answer) => answer,
                    None => {
                        let command = probe
                            .exec
                            .as_ref()
                            .and_then(|action| action.command.clone());
                        let run = execute.run(command.unwrap_or_default());
                        match tokio::time::timeout(pace.timeout, run).await {
                            Ok(Ok(0)) => Ok(()),
                            Ok(Ok(code)) => Err(format!("command exited with code {code}")),
                            Ok(Err(message)) => Err(message),
                            Err(_) => Err("command timed out".to_owned()),
                        }
                    }
                };
            let is = answer.is_ok();
            succeeded |= is;
            if row == 0 || (row > 0) != is {
                row = 0;
                since = Instant::now();
            }
            row += if is { 1 } else { -1 };
            if let Err(why) = &answer
                && (verdict == Some(true) || row == -1)
            {
                self.event(Event::warning(
                    "Unhealthy",
                    &format!("{} probe failed: {why}", kind.name()),
                ));
            }
            let settled = match is {
                true => row >= pace.successes,
                false => {
                    let patience = match succeeded {
                        true => pace.patience,
                        false => pace.first_patience,
                    };
                    -row >= pace.failures && since.elapsed() >= patience
                }
            };
            if settled && verdict != Some(is) {
                verdict = Some(is);
                if tell(is).is_break() {
                    return;
                }
            }
            let rest = if verdict == Some(true) && is {
                pace.steady
            } else {
                pace.eager
            };
            tokio::time::sleep(rest).await;
        }
    }

    async fn hook(&self, hook: &LifecycleHandler, execute: &Execute) -> Result<(), String> {
        if let Some(sleep) = &hook.sleep {
            let seconds = Duration::from_secs(sleep.seconds.max(0) as u64);
            tokio::time::sleep(self.kubelet.scale(seconds)).await;
            return Ok(());
        }
        if let Some(action) = &hook.exec {
            let command = action.command.clone().unwrap_or_default();
            if let Some(seconds) = only_sleeps(&command) {
                tokio::time::sleep(self.kubelet.scale(seconds)).await;
                return Ok(());
            }
            return match execute.run(command).await? {
                0 => Ok(()),
                code => Err(format!("command exited with {code}")),
            };
        }
        if hook.http_get.is_some() {
            let probe = Probe {
                http_get: hook.http_get.clone(),
                ..Probe::default()
            };
            let asked = probes::ask(
                &probe,
                &self.container,
                self.place.twin,
                Duration::from_secs(10),
            )
            .await;
            return asked.unwrap_or(Ok(()));
        }
        Ok(())
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

    fn start(
        &self,
        found: &Found,
        mut env: std::collections::BTreeMap<String, String>,
        log: &Log,
        processes: bool,
    ) -> Result<(Handle, Execute), String> {
        let mounts = volumes::mounts(&self.container, &self.volumes);
        let metadata = &self.pod.metadata;
        match found {
            Found::Program(program) => {
                let (stop, shutdown) = watch::channel(false);
                let mut words: Vec<String> = self
                    .container
                    .command
                    .clone()
                    .unwrap_or_default()
                    .into_iter()
                    .skip(1)
                    .collect();
                words.extend(self.container.args.clone().unwrap_or_default());
                let args = words
                    .iter()
                    .map(|word| environment::expand(word, &env))
                    .collect();
                let context = ContainerContext {
                    container: self.container.name.clone(),
                    args,
                    env,
                    namespace: metadata.namespace.clone().unwrap_or_default(),
                    pod: metadata.name.clone().unwrap_or_default(),
                    pod_uid: metadata.uid.clone().unwrap_or_default(),
                    pod_labels: metadata.labels.clone().unwrap_or_default(),
                    node: self.kubelet.options.name.clone(),
                    pod_ip: self.place.shown,
                    twin: self.place.twin,
                    mounts,
                    kubernetes_endpoint: self.kubelet.options.access.server.clone(),
                    aws_endpoint: self.kubelet.world.endpoint.to_string(),
                    region: self.kubelet.options.access.region.clone(),
                    log: log.clone(),
                    shutdown,
                };
                let execute = Execute::Program {
                    image: self.container.image.clone().unwrap_or_default(),
                    context: Box::new(context.clone()),
                    clock: self.kubelet.world.clock,
                };
                Ok((
                    Handle::Task(tokio::spawn((program.run)(context)), stop),
                    execute,
                ))
            }
            Found::Image(image) => {
                if !processes {
                    return Ok((Handle::Nothing, Execute::Nothing));
                }
                for (name, value) in super::images::environment(&image.config) {
                    env.entry(name).or_insert(value);
                }
                env.entry("HOME".to_owned())
                    .or_insert_with(|| "/".to_owned());
                if self.place.injected {
                    data_plane::egress::environment(&mut env, self.place.twin);
                }
                let config = &image.config;
                let mut words = self
                    .container
                    .command
                    .clone()
                    .or_else(|| config.entrypoint.clone())
                    .unwrap_or_default();
                // The image's own arguments go only with the image's own command.
                match (&self.container.args, &self.container.command) {
                    (Some(args), _) => words.extend(args.iter().cloned()),
                    (None, None) => words.extend(config.cmd.clone().unwrap_or_default()),
                    (None, Some(_)) => {}
                }
                let directory = self
                    .container
                    .working_dir
                    .clone()
                    .unwrap_or_else(|| config.working_dir.clone());
                let directory = if directory.is_empty() {
                    "/".to_owned()
                } else {
                    directory
                };
                let base = Base {
                    env,
                    directory,
                    mounts,
                    root: image.root.clone(),
                    marks: self.kubelet.world.directory.join("processes"),
                };
                let start = base.start(&words)?;
                let process = process::Process::start(&start, log).map_err(|error| {
                    format!(
                        "failed to create containerd task: {}: {error}",
                        start.program.display()
                    )
                })?;
                Ok((
                    Handle::Process(Box::new(process)),
                    Execute::Process {
                        base: Box::new(base),
                    },
                ))
            }
        }
    }
}

impl Handle {
    async fn wait(&mut self) -> i32 {
        match self {
            Handle::Process(process) => process.wait().await,
            // A panic of a program is a crash of its container.
            Handle::Task(task, _) => task.await.unwrap_or(2),
            Handle::Nothing => std::future::pending().await,
        }
    }

    async fn stop(&mut self, grace: Duration) -> i32 {
        match self {
            Handle::Process(process) => process.stop(grace).await,
            Handle::Task(task, stop) => {
                stop.send_replace(true);
                match tokio::time::timeout(grace, &mut *task).await {
                    Ok(code) => code.unwrap_or(2),
                    Err(_) => {
                        task.abort();
                        137
                    }
                }
            }
            Handle::Nothing => 0,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Handle::Task(task, _) = self {
            task.abort();
        }
    }
}

/// What processes of a container share.
struct Base {
    env: std::collections::BTreeMap<String, String>,
    directory: String,
    mounts: std::collections::BTreeMap<PathBuf, PathBuf>,
    root: PathBuf,
    marks: PathBuf,
}

impl Base {
    fn start(&self, words: &[String]) -> Result<process::Start, String> {
        let line = environment::command_line(
            words,
            self.env.clone(),
            &self.directory,
            &self.mounts,
            &self.root,
        )?;
        Ok(process::Start {
            program: line.program,
            args: line.args,
            env: line.env,
            directory: line.directory,
            marks: self.marks.clone(),
        })
    }
}

/// How a command is run in a container.
enum Execute {
    Process {
        base: Box<Base>,
    },
    Program {
        image: String,
        context: Box<ContainerContext>,
        clock: crate::sandbox::clock::Clock,
    },
    Nothing,
}

impl Execute {
    fn run(&self, command: Vec<String>) -> BoxFuture<'_, Result<i32, String>> {
        Box::pin(async move {
            match self {
                Execute::Process { base } => {
                    let start = base.start(&command)?;
                    let silent: Log = Arc::new(|_: &str| {});
                    let mut process = process::Process::start(&start, &silent)
                        .map_err(|error| error.to_string())?;
                    Ok(process.wait().await)
                }
                Execute::Program {
                    image,
                    context,
                    clock,
                } => {
                    if let Some(seconds) = only_sleeps(&command) {
                        tokio::time::sleep(clock.scale(seconds)).await;
                        return Ok(0);
                    }
                    data_plane::execute(image, context, &command).await
                }
                Execute::Nothing => Ok(0),
            }
        })
    }
}

/// The duration of a command that does nothing but sleep: a pause, modelled like all others.
fn only_sleeps(command: &[String]) -> Option<Duration> {
    let words: Vec<&str> = command
        .iter()
        .flat_map(|word| word.split_whitespace())
        .collect();
    let words = match words[..] {
        ["sh" | "/bin/sh" | "bash" | "/bin/bash", "-c", ref rest @ ..] => rest,
        ref all => all,
    };
    match words {
        ["sleep" | "/bin/sleep" | "/usr/bin/sleep", seconds] => {
            let seconds: f64 = seconds.trim_end_matches('s').parse().ok()?;
            Duration::try_from_secs_f64(seconds).ok()
        }
        _ => None,
    }
}

/// A duration as Go prints it.
fn words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}
