//! Runs what belongs to each EKS cluster of the state: its Kubernetes API server, its control plane's controllers and
//! the kubelets of its nodes. A cluster of the state is started, also after a restart; one that is gone is stopped.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

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
