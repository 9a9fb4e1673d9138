//! Starting, finding and stopping the sandbox's background process.
//!
//! A directory holds one sandbox. Its process keeps a lock there for its life, so that whether it runs is never guessed
//! from a process id, and a second `start` uses what the first has started.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::aws::iam;
use super::faults::Rule;
use super::state::{World, write_private};
use super::{Error, Options};

const START_DEADLINE: Duration = Duration::from_secs(20);
const STATUS_DEADLINE: Duration = Duration::from_secs(5);
const STOP_DEADLINE: Duration = Duration::from_secs(45);
const MARKER: &str = ".meshctl-sandbox";
const LOCK: &str = "lock";
const START_LOCK: &str = "start.lock";
const LOG: &str = "sandbox.log";
const PROFILE: &str = "profile.json";

/// What users of a sandbox need to know, kept in its directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// `http://127.0.0.1:PORT`, for all AWS services.
    pub endpoint: String,
    /// The region to use.
    pub region: String,
    /// The administrator's access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// Public registries by host → where the sandbox's stand-in answers.
    pub registry_mirrors: BTreeMap<String, String>,
    /// A port for load balancers that needs no root.
    pub ingress_port: u16,
    /// The registry behind ECR.
    pub ecr_port: u16,
    /// The stand-in for public registries.
    pub public_port: u16,
    /// Times faster than reality.
    pub speed: f64,
    /// Whether pods' processes and proxies are started.
    pub data_plane: bool,
    /// The process.
    pub pid: u32,
    /// The version of meshctl that runs it.
    pub version: String,
    /// Who knows it may stop the sandbox.
    pub token: String,
}

impl Profile {
    /// The profile of a sandbox that starts now. Keys and ports are those of its last run; a new sandbox gets its
    /// administrator here.
    pub(super) fn new(
        world: &World,
        last: Option<&Profile>,
        options: &Options,
        ecr_port: u16,
        public_port: u16,
    ) -> Self {
        let mut state = world.state();
        let known = last
            .map(|last| (last.access_key_id.clone(), last.secret_access_key.clone()))
            .filter(|(key, _)| state.iam.access_keys.contains_key(key));
        let (access_key_id, secret_access_key) =
            known.unwrap_or_else(|| iam::bootstrap(world, &mut state));
        let mirror = format!("http://127.0.0.1:{public_port}");
        Profile {
            endpoint: world.endpoint.to_string(),
            region: world.region.to_string(),
            access_key_id,
            secret_access_key,
            registry_mirrors: ["public.ecr.aws", "docker.io", "registry-1.docker.io"]
                .map(|host| (host.to_owned(), mirror.clone()))
                .into(),
            ingress_port: 8080,
            ecr_port,
            public_port,
            speed: options.speed,
            data_plane: options.data_plane,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            token: iam::secret(40),
        }
    }

    /// Reads the profile of a directory's sandbox, running or not.
    pub fn read(directory: &Path) -> io::Result<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(PROFILE))?).map_err(io::Error::other)
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        write_private(&directory.join(PROFILE), &serde_json::to_vec_pretty(self)?)
    }

    /// The endpoint's port.
    pub fn port(&self) -> u16 {
        self.endpoint
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .unwrap_or(0)
    }

    /// The environment variables with which the aws CLI, SDKs and kubectl use the sandbox, in the order to print them.
    pub fn environment(&self, directory: &Path) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", self.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_access_key.clone()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            (
                "KUBECONFIG",
                directory.join("kubeconfig").display().to_string(),
            ),
        ]
    }
}

/// Whether a sandbox runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// It runs.
    Running(Box<Profile>),
    /// It does not, and has been in this directory before.
    Stopped,
    /// Nothing is there.
    Absent,
}

fn unusable(directory: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::Directory {
        directory: directory.into(),
        source,
    }
}

/// Makes the directory, or refuses one that holds something else.
pub(super) fn prepare(directory: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let marker = directory.join(MARKER);
    if marker.exists() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(unusable(directory))?;
    let foreign = std::fs::read_dir(directory)
        .map_err(unusable(directory))?
        .filter_map(Result::ok)
        .any(|entry| {
            ![MARKER, LOCK, START_LOCK, LOG]
                .iter()
                .any(|ours| entry.file_name() == *ours)
        });
    if foreign && !marker.exists() {
        return Err(Error::Foreign(directory.into()));
    }
    write_private(&marker, b"").map_err(unusable(directory))
}

fn lock_file(directory: &Path, name: &str) -> Result<File, Error> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join(name))
        .map_err(unusable(directory))
}

/// Takes the lock of a running sandbox.
pub(super) fn hold(directory: &Path) -> Result<File, Error> {
    let mut file = lock_file(directory, LOCK)?;
    match file.try_lock() {
        Ok(()) => {
            // Whoever finds the lock taken learns here whether the profile is of this run.
            file.set_len(0)
                .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
                .map_err(unusable(directory))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => Err(Error::Running(directory.into())),
        Err(TryLockError::Error(source)) => Err(unusable(directory)(source)),
    }
}

/// Whether the lock of a running sandbox is taken.
fn is_locked(directory: &Path) -> Result<bool, Error> {
    match lock_file(directory, LOCK)?.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(unusable(directory)(source)),
    }
}

/// Says whether a sandbox runs in a directory. One that is just starting is waited for.
pub fn status(directory: &Path) -> Result<Status, Error> {
    if !directory.join(MARKER).exists() {
        return Ok(Status::Absent);
    }
    let deadline = Instant::now() + STATUS_DEADLINE;
    loop {
        if !is_locked(directory)? {
            return Ok(Status::Stopped);
        }
        let holder = std::fs::read_to_string(directory.join(LOCK)).unwrap_or_default();
        match Profile::read(directory) {
            Ok(profile) if profile.pid.to_string() == holder => {
                return Ok(Status::Running(Box::new(profile)));
            }
            _ if Instant::now() > deadline => {
                return Err(Error::Start(format!(
                    "process {holder} holds the directory and does not become ready"
                )));
            }
            // It holds the lock for some milliseconds before its profile is written.
            _ => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Starts a sandbox in the background, or finds the one that runs, and returns when it answers.
///
/// `arguments` are what the command line needs to call [`super::serve`] with the same directory and options.
pub async fn start(
    directory: &Path,
    executable: &Path,
    arguments: &[String],
) -> Result<Profile, Error> {
    prepare(directory)?;
    let deadline = Instant::now() + START_DEADLINE;
    let starting = lock_file(directory, START_LOCK)?;
    await_lock(&starting, deadline)
        .await
        .map_err(|_| Error::Start("another start in the same directory does not finish".into()))?;
    while let Status::Running(profile) = status(directory)? {
        if ask(&profile, "GET", "status", b"").await.is_ok() {
            return Ok(*profile);
        }
        if Instant::now() > deadline {
            return Err(Error::Start(format!(
                "process {} runs and does not answer",
                profile.pid
            )));
        }
        // It is stopping: its ports and its directory are free when it has.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join(LOG))
        .and_then(|log| log.set_len(0).map(|()| log))
        .map_err(unusable(directory))?;
    let mut child = tokio::process::Command::new(executable)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .current_dir("/")
        .process_group(0)
        .spawn()
        .map_err(|error| Error::Start(format!("{}: {error}", executable.display())))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout.take(64 << 10));
        let read = tokio::time::timeout_at(deadline.into(), stdout.read_line(&mut line)).await;
        if read.is_err() {
            let _ = child.kill().await;
            return Err(Error::Start("it was not ready in time".into()));
        }
    }
    let answer: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    if answer["ready"] == true {
        return Profile::read(directory).map_err(unusable(directory));
    }
    let _ = child.wait().await;
    Err(match Refusal::read(&answer) {
        Some(error) => error,
        None => Error::Start(format!("it ended: {}", last_line(directory))),
    })
}

/// How a background process says why it does not start.
pub(super) struct Refusal;

impl Refusal {
    pub(super) fn write(error: &Error) -> serde_json::Value {
        match error {
            Error::Port { port, what, source } => {
                json!({"error": error.to_string(), "port": port, "what": what, "source": source.to_string()})
            }
            Error::Directory { directory, source } => {
                json!({"error": error.to_string(), "directory": directory, "source": source.to_string()})
            }
            error => json!({"error": error.to_string()}),
        }
    }

    fn read(answer: &serde_json::Value) -> Option<Error> {
        let message = answer["error"].as_str()?;
        let port = answer["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        let source = || io::Error::other(answer["source"].as_str().unwrap_or(message).to_owned());
        Some(match (port, answer["directory"].as_str()) {
            (Some(port), _) => Error::Port {
                port,
                what: answer["what"].as_str().unwrap_or("endpoint").to_owned(),
                source: source(),
            },
            (None, Some(directory)) => Error::Directory {
                directory: directory.into(),
                source: source(),
            },
            (None, None) => Error::Start(message.to_owned()),
        })
    }
}

fn last_line(directory: &Path) -> String {
    std::fs::read_to_string(directory.join(LOG))
        .ok()
        .and_then(|log| log.lines().last().map(str::to_owned))
        .unwrap_or_else(|| "without a word".into())
}

async fn await_lock(file: &File, deadline: Instant) -> Result<(), ()> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() > deadline => return Err(()),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Stops the sandbox and returns when its process, with all its ports, is gone. Returns whether one was running.
pub async fn stop(directory: &Path) -> Result<bool, Error> {
    let Status::Running(profile) = status(directory)? else {
        return Ok(false);
    };
    let lock = lock_file(directory, LOCK)?;
    if ask(&profile, "POST", "stop", b"").await.is_err() {
        signal(&profile, "TERM").await;
    }
    if await_lock(&lock, Instant::now() + STOP_DEADLINE)
        .await
        .is_ok()
    {
        return Ok(true);
    }
    signal(&profile, "KILL").await;
    await_lock(&lock, Instant::now() + Duration::from_secs(5))
        .await
        .map(|()| true)
        .map_err(|()| Error::Stop(profile.pid))
}

/// How a running sandbox is: `envoy` (`program` or why it is `missing`), `clusters`, `speed`, why its state is
/// `unsaved`, or null, and the [`Calls`](super::state::Calls) since it started.
pub async fn condition(profile: &Profile) -> io::Result<serde_json::Value> {
    let answer = ask(profile, "GET", "status", b"").await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// The fault rules of a running sandbox, with how many calls each has seen and struck.
pub async fn faults(profile: &Profile) -> io::Result<serde_json::Value> {
    let answer = ask(profile, "GET", "faults", b"").await?;
    serde_json::from_slice(&answer).map_err(io::Error::other)
}

/// Adds a fault rule to a running sandbox; the answer is its id.
pub async fn add_fault(profile: &Profile, rule: &Rule) -> io::Result<u64> {
    let answer = ask(profile, "POST", "faults", &serde_json::to_vec(rule)?).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    answer["id"]
        .as_u64()
        .ok_or_else(|| io::Error::other("no id in the answer"))
}

/// Removes fault rules of a running sandbox by their ids, or all of them; the answer is how many went.
pub async fn clear_faults(profile: &Profile, ids: &[u64]) -> io::Result<u64> {
    let answer = ask(profile, "DELETE", "faults", &serde_json::to_vec(ids)?).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer)?;
    answer["removed"]
        .as_u64()
        .ok_or_else(|| io::Error::other("no number in the answer"))
}

/// Asks the running process something over its endpoint; the answer's body.
async fn ask(profile: &Profile, method: &str, what: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let exchange = async {
        let host = profile.endpoint.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(host).await?;
        let request = format!(
            "{method} /_sandbox/{what} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            profile.token,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = Vec::new();
        stream.take(1 << 20).read_to_end(&mut answer).await?;
        let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        match (answer.starts_with(b"HTTP/1.1 2"), body) {
            (true, Some(end)) => Ok(answer.split_off(end + 4)),
            _ => Err(io::Error::other("refused")),
        }
    };
    tokio::time::timeout(Duration::from_secs(5), exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Signals the sandbox's process and its group, which holds what it has started.
async fn signal(profile: &Profile, name: &str) {
    for process in [format!("-{}", profile.pid), profile.pid.to_string()] {
        let _ = tokio::process::Command::new("kill")
            .args([&format!("-{name}"), "--", &process])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await;
    }
}

/// Stops the sandbox and forgets everything it held.
pub async fn reset(directory: &Path) -> Result<(), Error> {
    stop(directory).await?;
    // Only a directory that a sandbox has made its own is emptied.
    if !directory.join(MARKER).exists() {
        return match directory.exists() {
            true if std::fs::read_dir(directory)
                .is_ok_and(|mut entries| entries.next().is_some()) =>
            {
                Err(Error::Foreign(directory.into()))
            }
            _ => Ok(()),
        };
    }
    std::fs::remove_dir_all(directory).map_err(unusable(directory))
}

/// The last `lines` lines of the log of the running or last run sandbox.
pub fn logs(directory: &Path, lines: usize) -> Result<String, Error> {
    let path = log_file(directory);
    let mut file = File::open(&path).map_err(unusable(directory))?;
    let length = file.metadata().map_err(unusable(directory))?.len();
    // A line of the log is seldom longer than this.
    let from = length.saturating_sub(lines as u64 * 512);
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(from))
        .and_then(|_| file.read_to_end(&mut text))
        .map_err(unusable(directory))?;
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

/// Where the log is, for those who follow it.
pub fn log_file(directory: &Path) -> PathBuf {
    directory.join(LOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sandbox_runs_once_is_found_keeps_its_state_and_stops() {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        let directory = scratch.path().join("sandbox");
        assert_eq!(status(&directory).expect("a status"), Status::Absent);
        let serve = || {
            let (directory, options) = (
                directory.clone(),
                Options {
                    data_plane: false,
                    ..Options::default()
                },
            );
            tokio::spawn(async move { super::super::serve(&directory, options, Vec::new()).await })
        };
        let running = || async {
            let deadline = Instant::now() + Duration::from_secs(10);
            loop {
                match status(&directory).expect("a status") {
                    Status::Running(profile) => return *profile,
                    _ if Instant::now() > deadline => panic!("it does not start"),
                    _ => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        };
        let first = serve();
        let profile = running().await;
        ask(&profile, "GET", "status", b"")
            .await
            .expect("it answers");
        // A second one in the same directory is refused, and starting finds the first.
        assert!(matches!(
            serve().await.expect("joins"),
            Err(Error::Running(_))
        ));
        let found = start(&directory, Path::new("/nonexistent"), &[])
            .await
            .expect("found");
        assert_eq!(found, profile);
        assert!(stop(&directory).await.expect("stops"));
        first.await.expect("joins").expect("ends well");
        assert_eq!(status(&directory).expect("a status"), Status::Stopped);
        assert!(
            tokio::net::TcpStream::connect(profile.endpoint.trim_start_matches("http://"))
                .await
                .is_err()
        );

        let second = serve();
        let again = running().await;
        assert_eq!(
            (
                &again.endpoint,
                &again.access_key_id,
                &again.secret_access_key
            ),
            (
                &profile.endpoint,
                &profile.access_key_id,
                &profile.secret_access_key
            )
        );
        assert_ne!(again.token, profile.token);
        reset(&directory).await.expect("resets");
        second.await.expect("joins").expect("ends well");
        assert!(!directory.exists());
    }

    #[tokio::test]
    async fn what_cannot_work_is_said_clearly() {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(scratch.path().join("thesis.tex"), "").expect("a file");
        assert!(matches!(
            start(scratch.path(), Path::new("x"), &[]).await,
            Err(Error::Foreign(_))
        ));
        assert!(matches!(
            reset(scratch.path()).await,
            Err(Error::Foreign(_))
        ));
        assert!(scratch.path().join("thesis.tex").exists());

        let file = scratch.path().join("thesis.tex").join("sandbox");
        let refused = start(&file, Path::new("x"), &[])
            .await
            .expect_err("not a directory");
        assert!(refused.to_string().contains("thesis.tex"), "{refused}");

        let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let options = Options {
            port: taken.local_addr().ok().map(|address| address.port()),
            ..Options::default()
        };
        let mut said = Vec::new();
        let refused = super::super::serve(&scratch.path().join("own"), options, &mut said)
            .await
            .expect_err("taken");
        assert!(matches!(refused, Error::Port { .. }));
        let answer = serde_json::from_slice(&said).expect("one line");
        assert_eq!(
            Refusal::read(&answer).expect("an error").to_string(),
            refused.to_string()
        );
    }
}
