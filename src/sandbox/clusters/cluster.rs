//! One cluster: its API server, its controllers, its nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::api_server::ApiServer;
use super::peer::Assets;
use super::tokens::NodeTokens;
use super::{ClusterAccess, NodeOptions, addons};
use crate::sandbox::aws::eks::{self, Runtime};
use crate::sandbox::controllers::runtime::Cluster;
use crate::sandbox::controllers::runtime::cluster::Propagation;
use crate::sandbox::controllers::runtime::kinds::NODES;
use crate::sandbox::controllers::runtime::object::{self, Meta as _};
use crate::sandbox::controllers::{
    ControlPlaneOptions, Shutdown, kubelet, run_control_plane, stopped,
};
use crate::sandbox::state::World;

/// How often nodes and add-ons are looked at.
const PERIOD: Duration = Duration::from_millis(50);

/// A cluster to run.
#[derive(Clone)]
pub struct Assignment {
    /// Its key in the state.
    pub key: String,
    /// Its folder's name.
    pub folder: String,
    /// Where its files are.
    pub directory: PathBuf,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// The issuer of its service-account tokens.
    pub issuer: String,
    /// The range of Service addresses.
    pub service_cidr: String,
    /// The port it had before, or 0.
    pub port: u16,
    /// The port of its webhooks before, or 0.
    pub webhook_port: u16,
}

struct Kubelet {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    name: String,
}

/// Runs a cluster until the shutdown.
pub async fn run(
    world: World,
    assignment: Assignment,
    assets: Option<Assets>,
    mut shutdown: Shutdown,
) {
    let nodes = NodeTokens::default();
    let server = tokio::select! {
        server = ApiServer::start(&world, &assignment, assets.as_ref(), &nodes) => server,
        () = stopped(&mut shutdown) => return,
    };
    operate(&world, &assignment, &nodes, &server, &mut shutdown).await;
    server.stop().await;
}

async fn operate(
    world: &World,
    assignment: &Assignment,
    tokens: &NodeTokens,
    server: &ApiServer,
    shutdown: &mut Shutdown,
) {
    let admin = &server.admin;
    let runtime = Runtime {
        endpoint: admin.server.clone(),
        port: admin
            .server
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .unwrap_or(0),
        certificate_authority: admin.certificate_authority.clone(),
        webhook_port: server.webhook_port(),
        kubernetes: server.description(),
    };
    tracing::info!(
        "cluster {}: served by {}",
        assignment.name,
        runtime.kubernetes
    );
    eks::started(&mut world.state(), &assignment.key, runtime, server.keys());
    world.touch();
    let (stop, ending) = watch::channel(false);
    let cluster = Cluster::new(server.client.clone(), "eks", ending.clone());
    let (controller_manager, scheduler) = server.stand_ins();
    let control_plane = tokio::spawn(run_control_plane(
        ControlPlaneOptions {
            cluster: cluster.clone(),
            certificate_authority: admin.certificate_authority.clone(),
            controller_manager,
            scheduler,
        },
        ending,
    ));
    let mut kubelets: BTreeMap<String, Kubelet> = BTreeMap::new();
    let mut self_managed = BTreeSet::new();
    loop {
        run_kubelets(world, assignment, tokens, admin, &mut kubelets).await;
        tokio::select! {
            () = stopped(shutdown) => break,
            () = async {
                observe(world, assignment, &cluster).await;
                addons::reconcile(world, &assignment.key, &cluster, &mut self_managed).await;
                tokio::time::sleep(PERIOD).await;
            } => {}
        }
    }
    for (_, kubelet) in kubelets {
        kubelet.stop.send_replace(true);
        let _ = kubelet.task.await;
    }
    stop.send_replace(true);
    let _ = control_plane.await;
}

/// Starts the kubelets of running instances and stops those of others.
async fn run_kubelets(
    world: &World,
    assignment: &Assignment,
    tokens: &NodeTokens,
    admin: &ClusterAccess,
    kubelets: &mut BTreeMap<String, Kubelet>,
) {
    let wanted = wanted(world, assignment, admin);
    let stale: Vec<String> = kubelets
        .keys()
        .filter(|instance| !wanted.contains_key(*instance))
        .cloned()
        .collect();
    for instance in stale {
        if let Some(kubelet) = kubelets.remove(&instance) {
            kubelet.stop.send_replace(true);
            let _ = kubelet.task.await;
            tokens.revoke(&kubelet.name);
        }
    }
    for (instance, (mut options, role_arn)) in wanted {
        if kubelets.contains_key(&instance) {
            continue;
        }
        options.access.token = tokens.issue(&options.name, &role_arn);
        let name = options.name.clone();
        let (stop, ending) = watch::channel(false);
        let task = tokio::spawn(kubelet::run(options, world.clone(), ending));
        kubelets.insert(instance, Kubelet { stop, task, name });
    }
}

fn wanted(
    world: &World,
    assignment: &Assignment,
    admin: &ClusterAccess,
) -> BTreeMap<String, (NodeOptions, String)> {
    let state = world.state();
    let Some(cluster) = state.eks.clusters.get(&assignment.key) else {
        return BTreeMap::new();
    };
    let mut wanted = BTreeMap::new();
    for group in cluster.nodegroups.values() {
        for node in group.nodes.iter().filter(|node| node.state == "running") {
            let Some(subnet) = eks::block(&node.subnet_cidr) else {
                continue;
            };
            let options = NodeOptions {
                access: ClusterAccess {
                    token: String::new(),
                    ..admin.clone()
                },
                name: node.name.clone(),
                instance_id: node.instance.clone(),
                instance_type: node.instance_type.clone(),
                zone: node.zone.clone(),
                private_ip: node.address,
                subnet,
                role: group
                    .role_arn
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                kubelet_version: eks::kubelet_version(&group.version),
                labels: labels(group),
                taints: group.taints.iter().filter_map(taint).collect(),
                directory: assignment.directory.join("nodes").join(&node.name),
            };
            wanted.insert(node.instance.clone(), (options, group.role_arn.clone()));
        }
    }
    wanted
}

fn labels(group: &eks::Nodegroup) -> BTreeMap<String, String> {
    let mut labels = group.labels.clone();
    for (key, value) in [
        ("eks.amazonaws.com/nodegroup", group.name.clone()),
        (
            "eks.amazonaws.com/nodegroup-image",
            "ami-0a1b2c3d4e5f60718".to_owned(),
        ),
        (
            "eks.amazonaws.com/capacityType",
            group.capacity_type.clone(),
        ),
    ] {
        labels.insert(key.to_owned(), value);
    }
    labels
}

fn taint(taint: &serde_json::Value) -> Option<(String, String, String)> {
    let effect = match taint["effect"].as_str()? {
        "NO_SCHEDULE" => "NoSchedule",
        "NO_EXECUTE" => "NoExecute",
        _ => "PreferNoSchedule",
    };
    Some((
        taint["key"].as_str()?.to_owned(),
        taint["value"].as_str().unwrap_or_default().to_owned(),
        effect.to_owned(),
    ))
}

/// Says in the state which nodes are Ready, and deletes the Node objects of instances that are gone, as the cloud's
/// node lifecycle controller does.
async fn observe(world: &World, assignment: &Assignment, cluster: &Cluster) {
    let nodes = cluster.cache(&NODES);
    nodes.synced().await;
    let nodes = nodes.all();
    let mut known = Vec::new();
    let mut news = false;
    {
        let mut state = world.state();
        let Some(cluster) = state.eks.clusters.get_mut(&assignment.key) else {
            return;
        };
        for group in cluster.nodegroups.values_mut() {
            for node in group.nodes.clone() {
                // By instance: a new one may have the address, and with it the name, of one that has just gone.
                let seen = nodes.iter().find(|seen| is_of(seen, &node.instance));
                let running = node.state == "running";
                news |= eks::observe(
                    group,
                    &node.instance,
                    running && seen.is_some(),
                    running && seen.is_some_and(|seen| object::is_true(seen, "Ready")),
                );
                known.push(node.instance);
            }
        }
    }
    if news {
        world.touch();
    }
    for node in &nodes {
        if !known.iter().any(|instance| is_of(node, instance)) {
            let _ = cluster
                .delete(&NODES, &node.key(), node.uid(), Propagation::Background)
                .await;
        }
    }
}

/// Whether a Node object stands for that instance.
fn is_of(node: &Value, instance: &str) -> bool {
    let provider = object::text(&node["spec"]["providerID"]);
    provider.rsplit('/').next() == Some(instance)
}
