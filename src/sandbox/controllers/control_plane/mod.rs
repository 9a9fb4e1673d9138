//! The controllers of a cluster's control plane: kube-controller-manager and kube-scheduler, one file per controller.

pub mod accounts;
pub mod daemon_sets;
pub mod deployment_status;
pub mod deployments;
pub mod endpoint_slices;
pub mod endpoints;
pub mod garbage;
pub mod namespaces;
pub mod nodes;
pub mod placement;
pub mod replica_sets;
pub mod scheduler;

use tokio::task::JoinSet;

use super::runtime::Cluster;
use super::{Shutdown, stopped};

/// What the control plane of one cluster needs.
#[derive(Clone)]
pub struct ControlPlaneOptions {
    /// The cluster, with the rights of `system:masters`.
    pub cluster: Cluster,
    /// The certificate authority of the API server, PEM: what `kube-root-ca.crt` holds.
    pub certificate_authority: String,
    /// Whether the controller manager's work is to be done here; without, a real one does it.
    pub controller_manager: bool,
    /// Whether the scheduler's is.
    pub scheduler: bool,
}

/// Runs the controller manager and the scheduler of one cluster until a shutdown is asked for.
pub async fn run_control_plane(options: ControlPlaneOptions, mut shutdown: Shutdown) {
    let cluster = options.cluster.as_component("kube-controller-manager");
    let mut tasks = JoinSet::new();
    if options.controller_manager {
        run_controller_manager(&mut tasks, &cluster, options.certificate_authority);
    }
    if options.scheduler {
        tasks.spawn(scheduler::run(cluster.as_component("default-scheduler")));
    }
    stopped(&mut shutdown).await;
    tasks.shutdown().await;
}

fn run_controller_manager(
    tasks: &mut JoinSet<()>,
    cluster: &Cluster,
    certificate_authority: String,
) {
    tasks.spawn(accounts::run(
        cluster.as_component("root-ca-cert-publisher"),
        certificate_authority,
    ));
    tasks.spawn(deployments::run(
        cluster.as_component("deployment-controller"),
    ));
    tasks.spawn(replica_sets::run(
        cluster.as_component("replicaset-controller"),
    ));
    tasks.spawn(daemon_sets::run(
        cluster.as_component("daemonset-controller"),
    ));
    tasks.spawn(endpoint_slices::run(
        cluster.as_component("endpoint-slice-controller"),
    ));
    tasks.spawn(endpoints::run(cluster.as_component("endpoint-controller")));
    tasks.spawn(namespaces::run(
        cluster.as_component("namespace-controller"),
    ));
    tasks.spawn(garbage::run(
        cluster.as_component("generic-garbage-collector"),
    ));
    tasks.spawn(nodes::run(cluster.as_component("node-controller")));
}

#[cfg(test)]
mod tests;
