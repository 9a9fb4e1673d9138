//! What is known of a pod's containers while they run: written by the runners, read by whoever reports it.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::sandbox::controllers::Log;

/// A container's log is cut to its newer half beyond this size.
const LARGEST_LOG: u64 = 8 << 20;

/// One container's state.
#[derive(Clone, Debug)]
pub enum State {
    /// Not running, and why.
    Waiting {
        /// `ContainerCreating`, `CrashLoopBackOff`, ….
        reason: &'static str,
        /// In words.
        message: String,
    },
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended.
    Terminated(Ended),
}

/// How a container ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// `Completed`, `Error`, `StartError`.
    pub reason: &'static str,
    /// In words.
    pub message: String,
    /// When it had started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Its id.
    pub id: String,
}

/// What is reported of one container.
#[derive(Clone, Debug)]
pub struct Report {
    /// As the pod names it.
    pub image: String,
    /// What was pulled.
    pub image_id: String,
    /// `containerd://…` of the newest run.
    pub id: String,
    /// Now.
    pub state: State,
    /// The run before.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: i32,
    /// Whether its readiness probe succeeds.
    pub ready: bool,
    /// Whether its startup probe has succeeded.
    pub started: bool,
    /// Whether it runs and its `postStart` hook is done, which is what the next container waits for.
    pub launched: bool,
}

/// A pod's containers.
#[derive(Debug)]
pub struct Runtime {
    containers: Mutex<BTreeMap<String, Report>>,
    changed: watch::Sender<u64>,
    logs: PathBuf,
}

impl Runtime {
    /// Begins with what the API server was last told: a restarted sandbox goes on counting restarts.
    pub fn new(pod: &Pod, folder: &Path) -> Runtime {
        let spec = pod.spec.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let known = status
            .container_statuses
            .into_iter()
            .chain(status.init_container_statuses);
        let known: Vec<_> = known.flatten().collect();
        let all = spec
            .init_containers
            .into_iter()
            .flatten()
            .chain(spec.containers);
        let containers = all.map(|container| {
            let before = known.iter().find(|known| known.name == container.name);
            let ran = before.is_some_and(|before| before.container_id.is_some());
            let report = Report {
                image: container.image.unwrap_or_default(),
                image_id: String::new(),
                id: String::new(),
                state: State::Waiting {
                    reason: "ContainerCreating",
                    message: String::new(),
                },
                last: None,
                restarts: before.map_or(0, |before| before.restart_count + i32::from(ran)),
                ready: false,
                started: false,
                launched: false,
            };
            (container.name, report)
        });
        Runtime {
            containers: Mutex::new(containers.collect()),
            changed: watch::Sender::new(0),
            logs: folder.join("logs"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Report>> {
        self.containers
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is known of one container.
    pub fn report(&self, name: &str) -> Option<Report> {
        self.lock().get(name).cloned()
    }

    /// Changes what is known of one container.
    pub fn update(&self, name: &str, change: impl FnOnce(&mut Report)) {
        if let Some(report) = self.lock().get_mut(name) {
            change(report);
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// Tells of changes; many in a row are told as one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Says that something that statuses depend on has changed elsewhere.
    pub fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The log file of a container's run.
    pub fn log_file(&self, container: &str, run: i32) -> PathBuf {
        self.logs.join(container).join(format!("{run}.log"))
    }

    /// Where a run's output goes: each line with its time. Runs older than the previous one are removed.
    pub fn log(&self, container: &str, run: i32) -> Log {
        let path = self.log_file(container, run);
        if run >= 2 {
            let _ = std::fs::remove_file(self.log_file(container, run - 2));
        }
        let open = || {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
        };
        let file = Mutex::new(open().ok());
        Arc::new(move |line: &str| {
            let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Some(open) = file.as_mut() {
                // A full disk costs the log, not the container.
                let _ = open.write_all(format!("{:.9} {line}\n", Timestamp::now()).as_bytes());
                if open
                    .metadata()
                    .is_ok_and(|metadata| metadata.len() > LARGEST_LOG)
                {
                    let _ = cut(&path);
                    *file = std::fs::OpenOptions::new().append(true).open(&path).ok();
                }
            }
        })
    }
}

/// Keeps the newer half of a log.
fn cut(path: &Path) -> std::io::Result<()> {
    let text = std::fs::read(path)?;
    let half = text.len() / 2;
    let start = text[half..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(half, |line| half + line + 1);
    let temporary = path.with_extension("cut");
    std::fs::write(&temporary, &text[start..])?;
    std::fs::rename(temporary, path)
}

/// The last lines of a run's output, without their times, for the message of its end.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut last = VecDeque::with_capacity(lines);
    for line in text.lines() {
        if last.len() == lines {
            last.pop_front();
        }
        last.push_back(line.split_once(' ').map_or(line, |(_, text)| text));
    }
    Vec::from(last).join("\n")
}
