//! The data plane: addresses and processes of pods, Envoy and its configuration, the load balancers, X-Ray's daemon.
//!
//! Pods are processes on this machine. The API shows a pod at 10.a.b.c, as the VPC CNI would place it; its processes
//! bind the [twin](address::twin) of that address in 127.0.0.0/8. Every process is started through [`process`], which
//! sees to it that none outlives the sandbox, however that ends. Proxies are real Envoys; without an Envoy, or when the
//! user wants none, the sandbox goes on without a data plane: pods' processes are not started and pods become ready
//! after a modelled time.

pub mod address;
pub mod aws;
pub mod balancer;
pub mod egress;
pub mod envoy;
pub mod mesh;
pub mod names;
pub mod process;
pub mod proxy;
pub mod services;
pub mod xray;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use tokio::sync::watch;

use super::Part;
use super::aws::iam::Session;
use super::clock::Clock;
use super::controllers::{ContainerContext, repository};
use super::state::World;
use names::Names;

/// Where Envoy is, or why there is none.
pub type Envoy = Result<PathBuf, String>;

/// One sandbox's data plane.
struct DataPlane {
    envoy: Envoy,
    directory: PathBuf,
    clock: Clock,
    /// By API server and node.
    names: Mutex<HashMap<(String, String), Arc<Names>>>,
}

/// The data planes of this process by their sandbox's AWS endpoint, which programs are given.
fn all() -> MutexGuard<'static, HashMap<String, Arc<DataPlane>>> {
    static ALL: OnceLock<Mutex<HashMap<String, Arc<DataPlane>>>> = OnceLock::new();
    let all = ALL.get_or_init(Mutex::default);
    all.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn of(endpoint: &str) -> Option<Arc<DataPlane>> {
    all().get(endpoint).cloned()
}

/// Starts the data plane of a sandbox, with the Envoy that is here: whoever starts the sandbox has seen to that.
pub fn start(world: World, wanted: bool) -> Part {
    process::clean_up(&world.directory.join("processes"));
    let envoy = match wanted.then(envoy::find) {
        None => Err("the data plane is switched off".to_owned()),
        Some(Ok(Some(program))) => Ok(program),
        Some(Ok(None)) => Err("Envoy is not installed".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
    };
    if let (true, Err(reason)) = (wanted, &envoy) {
        tracing::warn!("going on without a data plane: {reason}");
    }
    let program = envoy.clone().ok();
    let plane = DataPlane {
        envoy,
        directory: world.directory.to_path_buf(),
        clock: world.clock,
        names: Mutex::default(),
    };
    all().insert(world.endpoint.to_string(), Arc::new(plane));
    let endpoint = world.endpoint.clone();
    let (stop, stopped) = watch::channel(false);
    let balancing = tokio::spawn(async move {
        balancer::run(world.clone(), balancer::OfWorld(world), program, stopped).await;
    });
    Part::new("data plane", async move {
        stop.send_replace(true);
        let _ = balancing.await;
        all().remove(&*endpoint);
    })
}

/// Where a sandbox's Envoy is, or why it has none.
pub fn envoy_of(endpoint: &str) -> Envoy {
    match of(endpoint) {
        Some(plane) => plane.envoy.clone(),
        None => Err("the sandbox has no data plane".to_owned()),
    }
}

/// The folder of a sandbox's data plane.
fn directory(endpoint: &str) -> PathBuf {
    of(endpoint).map_or_else(
        || Path::new(".").to_owned(),
        |plane| plane.directory.clone(),
    )
}

/// The names that a container's node knows; none where there is no data plane.
fn names_of(context: &ContainerContext) -> Option<Arc<Names>> {
    let plane = of(&context.aws_endpoint)?;
    let node = (context.kubernetes_endpoint.clone(), context.node.clone());
    let mut names = plane
        .names
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    Some(names.entry(node).or_default().clone())
}

fn clock(endpoint: &str) -> Option<Clock> {
    of(endpoint).map(|plane| plane.clock)
}

/// The credentials that an instance gets from its metadata service: a session of its role under the instance's id. None
/// while the role does not exist.
pub fn instance_credentials(world: &World, role: &str, instance: &str) -> Option<Credentials> {
    const LIFE: Duration = Duration::from_secs(6 * 3600);
    const MARGIN: Duration = Duration::from_secs(300);
    let mut state = world.state();
    if !state.iam.roles.contains_key(role) {
        return None;
    }
    let now = world.clock.now();
    let fresh = state.iam.sessions.iter().find(|(_, session)| {
        session.role == role
            && session.name == instance
            && session.policy.is_none()
            && session.expires > now + MARGIN.as_millis() as u64
    });
    let (key, session) = match fresh {
        Some((key, session)) => (key.clone(), session.clone()),
        None => {
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
            let key = format!("ASIA{}", state.unique(letters, 16));
            // Random, unlike ids: these are secrets.
            let random = |length: usize| -> String {
                (0..length).map(|_| fastrand::alphanumeric()).collect()
            };
            let session = Session {
                role: role.to_owned(),
                name: instance.to_owned(),
                secret: random(40),
                token: random(256),
                expires: now + LIFE.as_millis() as u64,
                policy: None,
                is_internal: true,
            };
            state.iam.sessions.insert(key.clone(), session.clone());
            drop(state);
            world.touch();
            (key, session)
        }
    };
    let expires = UNIX_EPOCH + Duration::from_millis(session.expires);
    Some(Credentials::new(
        key,
        session.secret,
        Some(session.token),
        Some(expires),
        "instance-metadata",
    ))
}

/// Runs a command in a container that is a program of the sandbox: the commands that probes and hooks of the
/// well-known images have.
pub async fn execute(
    image: &str,
    context: &ContainerContext,
    command: &[String],
) -> Result<i32, String> {
    let words = command.join(" ");
    if repository(image).ends_with("aws-appmesh-envoy") {
        // The probe asks the admin port for server_info, the start hook waits for the agent's readiness.
        let waits = words.contains("POLL_ENVOY_READINESS") || words.contains("/agent");
        loop {
            match (proxy::is_live(context).await, waits) {
                (true, _) => return Ok(0),
                (false, false) => return Ok(1),
                (false, true) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
    Err(format!(
        "exec: \"{words}\": this image runs as a program of the sandbox, which has no such command"
    ))
}
