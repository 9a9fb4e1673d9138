//! Runs what belongs to each EKS cluster of the state: its Kubernetes API server, its control plane's controllers, the
//! kubelets of its nodes and its add-ons. A cluster of the state is started, also after a restart of the sandbox; one
//! that is being deleted is stopped, and its files go.
//!
//! What it sees goes back into the state of EKS: that the API server answers, which nodes are Ready, how add-ons are.

mod addons;
mod api_server;
pub(super) mod client;
mod cluster;
mod peer;
mod pod_identity;
mod tokens;
mod webhooks;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Part;
use super::state::World;
use cluster::Assignment;

pub use addons::AddonSpec;
pub use peer::Assets;

/// How often the clusters that should run are compared with those that do.
const PERIOD: Duration = Duration::from_millis(20);

/// How a component reaches a cluster's API server, and as whom.
#[derive(Clone, Debug)]
pub struct ClusterAccess {
    /// The cluster's name.
    pub cluster: String,
    /// The region it is in.
    pub region: String,
    /// `https://127.0.0.1:PORT`.
    pub server: String,
    /// The certificate authority of the API server, PEM.
    pub certificate_authority: String,
    /// The bearer token: of `system:masters` for the control plane, of `system:node:NAME` for a kubelet.
    pub token: String,
}

/// What a kubelet is started with: `controllers::kubelet::run(NodeOptions, World, Shutdown)`. It registers its Node,
/// keeps its lease, runs the pods bound to it and ends with the shutdown, its pods' processes with it.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The API server, with the token of `system:node:NAME` in `system:nodes`.
    pub access: ClusterAccess,
    /// `ip-10-0-64-12.eu-central-1.compute.internal`: the name of the Node.
    pub name: String,
    /// `i-…`; the provider id is `aws:///ZONE/INSTANCE`.
    pub instance_id: String,
    /// `t3.large`.
    pub instance_type: String,
    /// `eu-central-1a`.
    pub zone: String,
    /// The instance's first address, within the subnet.
    pub private_ip: Ipv4Addr,
    /// The subnet, whose addresses the VPC CNI gives to pods: network and prefix length.
    pub subnet: (Ipv4Addr, u8),
    /// The node role's name, whose credentials pull images (the instance profile's role).
    pub role: String,
    /// `v1.35.6-eks-…` as the Node shows it.
    pub kubelet_version: String,
    /// Labels to register with: `eks.amazonaws.com/nodegroup` and the node group's own.
    pub labels: BTreeMap<String, String>,
    /// Taints to register with: key, value, effect (`NoSchedule`).
    pub taints: Vec<(String, String, String)>,
    /// Where the kubelet may keep files: pods' volumes, unpacked images.
    pub directory: PathBuf,
}

struct Running {
    folder: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Starts the supervisor. New clusters are run by the programs of `assets`, if there are some.
pub fn start(world: World, assets: Option<Assets>) -> Part {
    let (stop, mut stopped) = watch::channel(false);
    let task = tokio::spawn(async move {
        let mut running: BTreeMap<String, Running> = BTreeMap::new();
        remove_strays(&world);
        loop {
            let wanted = wanted(&world);
            let stale: Vec<String> = running
                .iter()
                .filter(|(key, known)| wanted.get(*key).is_none_or(|w| w.folder != known.folder))
                .map(|(key, _)| key.clone())
                .collect();
            for key in stale {
                if let Some(known) = running.remove(&key) {
                    let directory = clusters(&world).join(&known.folder);
                    known.end().await;
                    remove(&directory);
                }
            }
            for (key, assignment) in wanted {
                running.entry(key).or_insert_with(|| {
                    let (stop, stopped) = watch::channel(false);
                    let folder = assignment.folder.clone();
                    let task = tokio::spawn(cluster::run(
                        world.clone(),
                        assignment,
                        assets.clone(),
                        stopped,
                    ));
                    Running { folder, stop, task }
                });
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        for (_, known) in running {
            known.end().await;
        }
    });
    Part::new("supervisor of clusters", async move {
        stop.send_replace(true);
        let _ = task.await;
    })
}

fn clusters(world: &World) -> PathBuf {
    world.directory.join("clusters")
}

/// The clusters that have a control plane now.
fn wanted(world: &World) -> BTreeMap<String, Assignment> {
    let state = world.state();
    state
        .eks
        .clusters
        .iter()
        .filter(|(_, cluster)| {
            matches!(cluster.status.as_str(), "CREATING" | "ACTIVE" | "UPDATING")
        })
        .map(|(key, cluster)| {
            let assignment = Assignment {
                key: key.clone(),
                folder: cluster.folder(),
                directory: clusters(world).join(cluster.folder()),
                name: cluster.name.clone(),
                region: cluster.region.clone(),
                issuer: cluster.issuer(),
                service_cidr: cluster.service_cidr.clone(),
                port: cluster.runtime.as_ref().map_or(0, |runtime| runtime.port),
                webhook_port: cluster
                    .runtime
                    .as_ref()
                    .map_or(0, |runtime| runtime.webhook_port),
            };
            (key.clone(), assignment)
        })
        .collect()
}

/// Removes the files of clusters that were deleted while nobody watched.
fn remove_strays(world: &World) {
    let known: Vec<String> = world
        .state()
        .eks
        .clusters
        .values()
        .map(|cluster| cluster.folder())
        .collect();
    let Ok(entries) = std::fs::read_dir(clusters(world)) else {
        return;
    };
    for entry in entries.flatten() {
        if !known
            .iter()
            .any(|folder| entry.file_name() == folder.as_str())
        {
            remove(&entry.path());
        }
    }
}

fn remove(directory: &std::path::Path) {
    if let Err(error) = std::fs::remove_dir_all(directory)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("cannot remove {}: {error}", directory.display());
    }
}
