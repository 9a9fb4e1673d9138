//! What runs in a container: a process of its image, a program that the sandbox has in place of the image, or nothing
//! where there is no data plane.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::super::{environment, images, volumes};
use super::{Found, Runner};
use crate::sandbox::controllers::{ContainerContext, Log};
use crate::sandbox::data_plane::{self, process};

/// What runs.
pub(super) enum Handle {
    Process(Box<process::Process>),
    Task(tokio::task::JoinHandle<i32>, watch::Sender<bool>),
    /// Without a data plane nothing runs.
    Nothing,
}

impl Runner {
    pub(super) fn start(
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
                for (name, value) in images::environment(&image.config) {
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
    pub(super) async fn wait(&mut self) -> i32 {
        match self {
            Handle::Process(process) => process.wait().await,
            // A panic of a program is a crash of its container.
            Handle::Task(task, _) => task.await.unwrap_or(2),
            Handle::Nothing => std::future::pending().await,
        }
    }

    pub(super) async fn stop(&mut self, grace: Duration) -> i32 {
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
pub(super) struct Base {
    env: std::collections::BTreeMap<String, String>,
    directory: String,
    mounts: std::collections::BTreeMap<PathBuf, PathBuf>,
    root: PathBuf,
    marks: PathBuf,
}

impl Base {
    pub(super) fn start(&self, words: &[String]) -> Result<process::Start, String> {
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
pub(super) enum Execute {
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
    pub(super) fn run(&self, command: Vec<String>) -> BoxFuture<'_, Result<i32, String>> {
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
pub(super) fn only_sleeps(command: &[String]) -> Option<Duration> {
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
