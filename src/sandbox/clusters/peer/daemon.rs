//! A program of the control plane that is kept running.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::sandbox::controllers::Log;
use crate::sandbox::data_plane::process::{Process, Start};

/// Between the end of a program and its next start.
const PAUSE: Duration = Duration::from_millis(500);
/// The largest log; what is older goes.
const LARGEST_LOG: u64 = 8 << 20;

/// A program that is started again when it ends by itself.
pub struct Daemon {
    stop: watch::Sender<Option<Duration>>,
    ends: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Daemon {
    /// Starts a program in a directory, where `NAME.log` takes what it says.
    pub fn start(
        program: PathBuf,
        arguments: Vec<String>,
        directory: &Path,
        marks: &Path,
    ) -> std::io::Result<Daemon> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let file = directory.join(format!("{name}.log"));
        let log = log(&file)?;
        let start = Start {
            program,
            args: arguments,
            // Nothing of the user's: no proxy, no credentials, no home.
            env: BTreeMap::new(),
            directory: directory.to_owned(),
            marks: marks.to_owned(),
        };
        let process = Process::start(&start, &log)?;
        let (stop, stopping) = watch::channel(None);
        let (ended, ends) = watch::channel(0);
        let task = tokio::spawn(keep(name, file, start, log, process, ended, stopping));
        Ok(Daemon { stop, ends, task })
    }

    /// Returns when the program has ended by itself at least once.
    pub async fn ended(&mut self) {
        let _ = self.ends.wait_for(|ends| *ends > 0).await;
    }

    /// Asks it to end, and kills it when it has not in time. Returns when it has.
    pub async fn stop(self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        let _ = self.task.await;
    }
}

async fn keep(
    name: String,
    file: PathBuf,
    start: Start,
    log: Log,
    mut process: Process,
    ended: watch::Sender<u32>,
    mut stopping: watch::Receiver<Option<Duration>>,
) {
    loop {
        let code = tokio::select! {
            code = process.wait() => code,
            stop = asked(&mut stopping) => {
                process.stop(stop).await;
                return;
            }
        };
        tracing::warn!(
            "{name} ended with {code}; it says more in {}",
            file.display()
        );
        ended.send_modify(|ends| *ends += 1);
        loop {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = asked(&mut stopping) => return,
            }
            match Process::start(&start, &log) {
                Ok(another) => {
                    process = another;
                    break;
                }
                Err(error) => tracing::error!("{}: {error}", start.program.display()),
            }
        }
    }
}

/// Waits for the wish to stop and answers its grace; none is left when its owner has gone.
async fn asked(stopping: &mut watch::Receiver<Option<Duration>>) -> Duration {
    match stopping.wait_for(Option::is_some).await {
        Ok(grace) => grace.unwrap_or_default(),
        Err(_) => Duration::ZERO,
    }
}

/// Appends lines to a file, which begins anew when it has grown too large.
fn log(path: &Path) -> std::io::Result<Log> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)?;
    let state = Mutex::new((file, 0u64));
    Ok(Arc::new(move |line: &str| {
        let mut state = state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (file, written) = &mut *state;
        *written += line.len() as u64 + 1;
        if *written > LARGEST_LOG {
            *written = 0;
            let _ = file.set_len(0);
        }
        // A full disk must not stop the program.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_ends_is_started_again_until_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["-c", "echo started; exit 3"].map(str::to_owned).to_vec();
        let marks = folder.path().join("processes");
        let mut daemon = Daemon::start("/bin/sh".into(), arguments, folder.path(), &marks).unwrap();
        daemon.ended().await;
        let _ = daemon.ends.wait_for(|ends| *ends > 1).await;
        // What it said is copied beside its end.
        let file = folder.path().join("sh.log");
        let twice = async {
            while std::fs::read_to_string(&file).is_ok_and(|said| said.lines().count() < 2) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), twice)
            .await
            .unwrap();
        daemon.stop(Duration::from_secs(5)).await;
        assert_eq!(std::fs::read_dir(marks).unwrap().count(), 0);
    }
}
