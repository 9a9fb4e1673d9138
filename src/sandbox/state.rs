//! Everything the sandbox's AWS knows, in one value behind one lock, saved as one file.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::aws;
use super::clock::Clock;
use super::faults::{Faults, Kind, Strike, Visit};

/// The state of every AWS service, one field each; each service's module defines its own part.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Counts up; the source of deterministic, unique ids.
    pub next_id: u64,
    /// What fails on purpose.
    pub doomed: aws::doom::Doomed,
    /// App Mesh.
    pub appmesh: aws::appmesh::State,
    /// CloudFormation.
    pub cloudformation: aws::cloudformation::State,
    /// EC2.
    pub ec2: aws::ec2::State,
    /// ECR.
    pub ecr: aws::ecr::State,
    /// EKS.
    pub eks: aws::eks::State,
    /// Elastic Load Balancing v2.
    pub elbv2: aws::elbv2::State,
    /// IAM and STS.
    pub iam: aws::iam::State,
    /// CloudWatch Logs.
    pub logs: aws::logs::State,
    /// X-Ray.
    pub xray: aws::xray::State,
}

impl State {
    /// A unique id of `length` characters from `alphabet`, as AWS's ids look; the same sequence in every sandbox.
    pub fn unique(&mut self, alphabet: &[u8], length: usize) -> String {
        self.next_id += 1;
        let mut generator =
            fastrand::Rng::with_seed(self.next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..length)
            .map(|_| alphabet[generator.usize(..alphabet.len())] as char)
            .collect()
    }

    /// A unique id in hexadecimal: 17 digits for EC2, 16 for load balancers, 32 for EKS issuers.
    pub fn unique_hex(&mut self, length: usize) -> String {
        self.unique(b"0123456789abcdef", length)
    }

    /// A unique UUID.
    pub fn unique_uuid(&mut self) -> String {
        let hex = self.unique_hex(32);
        format!(
            "{}-{}-4{}-8{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..]
        )
    }
}

/// How many calls were made, by the caller's ARN and `service:operation`.
pub type Calls = BTreeMap<String, BTreeMap<String, u64>>;

/// What every part of the sandbox shares.
#[derive(Clone)]
pub struct World {
    /// Scaled time.
    pub clock: Clock,
    /// The account id, twelve digits.
    pub account: Arc<str>,
    /// The region that unsigned parts of the sandbox assume.
    pub region: Arc<str>,
    /// `http://127.0.0.1:PORT` of the AWS endpoint.
    pub endpoint: Arc<str>,
    /// `127.0.0.1:PORT` of ECR's registry.
    pub ecr_host: Arc<str>,
    /// The Kubernetes version that clusters are made with, as EKS names it: `1.35`.
    pub kubernetes: Arc<str>,
    /// Where files live: pulled images, Envoy configurations, cluster stores.
    pub directory: Arc<Path>,
    /// What IAM was asked, and its answers.
    pub decisions: aws::iam::Decisions,
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
    /// Why the last save failed, if it did.
    unsaved: Arc<Mutex<Option<String>>>,
    calls: Arc<Mutex<Calls>>,
    /// How often AWS may be called.
    pub rates: aws::rates::Rates,
    /// What is to go wrong.
    pub faults: Faults,
}

impl World {
    /// A world with this state. The endpoints need not answer yet.
    pub fn new(
        clock: Clock,
        region: &str,
        endpoint: &str,
        ecr_host: &str,
        directory: &Path,
        state: State,
    ) -> Self {
        World {
            clock,
            account: ACCOUNT.into(),
            region: region.into(),
            endpoint: endpoint.into(),
            ecr_host: ecr_host.into(),
            kubernetes: super::kubernetes::minor_version().into(),
            directory: directory.into(),
            decisions: aws::iam::Decisions::default(),
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(watch::Sender::new(0)),
            unsaved: Arc::default(),
            calls: Arc::default(),
            rates: aws::rates::Rates::default(),
            faults: Faults::default(),
        }
    }

    /// What is to happen to a call, if it is one of too many or a rule says so. `operation` is how AWS names it.
    pub fn strike(&self, visit: &Visit, operation: &str, region: &str) -> Option<Strike> {
        let speed = match visit.is_internal {
            true => self.clock.speed(),
            false => 1.0,
        };
        match self.rates.take(operation, region, speed, Instant::now()) {
            true => self.faults.strike(visit),
            false => Some(Strike::of(Kind::Throttling)),
        }
    }

    /// A world for unit tests: nothing listens, nothing is saved, an hour passes in a second.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        World::new(
            Clock::new(3600.0),
            "us-west-2",
            "http://127.0.0.1:9",
            "127.0.0.1:9",
            Path::new("unused"),
            State::default(),
        )
    }

    /// Looks at or changes the state. Never hold it across an await.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Says that the state has changed and is to be saved.
    pub fn touch(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Tells of every [`World::touch`]; many in a row are told as one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Saves the state now.
    pub fn save(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&*self.state())?;
        let saved = write_private(&state_file(&self.directory), &bytes);
        *self.unsaved() = saved.as_ref().err().map(ToString::to_string);
        saved
    }

    /// The calls answered since the sandbox started.
    pub fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Why the state on disk is not the state in memory, if the last save failed.
    pub fn unsaved(&self) -> MutexGuard<'_, Option<String>> {
        self.unsaved
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Saves the traces, which are too many to go with every save of the rest.
    pub(super) fn save_traces(&self) -> io::Result<()> {
        let bytes = self.state().xray.export();
        write_private(&self.directory.join(TRACES), &bytes)
    }

    /// Saves whenever something changed, at most a few times a second. Never returns.
    pub(super) async fn keep_saved(self) {
        let mut changes = self.changes();
        let mut pause = LEAST_PAUSE;
        while changes.changed().await.is_ok() {
            tokio::time::sleep(pause).await;
            changes.mark_unchanged();
            let world = self.clone();
            let began = Instant::now();
            let saved = tokio::task::spawn_blocking(move || world.save()).await;
            // All of the state is written, and nobody gets at it meanwhile: the more there is, the less often.
            pause = (began.elapsed() * 20).clamp(LEAST_PAUSE, MOST_PAUSE);
            if let Ok(Err(error)) = saved {
                tracing::error!(
                    "cannot save the state in {}: {error}",
                    self.directory.display()
                );
                // The disk may be full for a while: what has changed is tried again.
                tokio::time::sleep(Duration::from_secs(2)).await;
                changes.mark_changed();
            }
        }
    }
}

/// Between two saves at least.
const LEAST_PAUSE: Duration = Duration::from_millis(200);
/// How old what is saved may be.
const MOST_PAUSE: Duration = Duration::from_secs(3);

/// The account that everything belongs to.
pub const ACCOUNT: &str = "123456789012";

const TRACES: &str = "traces.json";

fn state_file(directory: &Path) -> PathBuf {
    directory.join("state.json")
}

/// Reads the state of an earlier run; without one, an empty state.
pub(super) fn load(directory: &Path) -> io::Result<State> {
    let mut state: State = match std::fs::read(state_file(directory)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {error}", state_file(directory).display()),
            )
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
        Err(error) => return Err(error),
    };
    if let Ok(bytes) = std::fs::read(directory.join(TRACES)) {
        state.xray.import(&bytes);
    }
    Ok(state)
}

/// Replaces a file in one step with one that only the user may read.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_data()
        });
    match written.and_then(|()| std::fs::rename(&temporary, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_file(&temporary);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_reproducible() {
        let mut state = State::default();
        let first = state.unique_hex(17);
        let second = state.unique_hex(17);
        assert_ne!(first, second);
        assert_eq!(first, State::default().unique_hex(17));
        assert_eq!(state.unique_uuid().len(), 36);
    }
}
