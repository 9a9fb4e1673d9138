//! What every controller is made of: an untyped client, shared caches fed by watches, and work queues.
//!
//! Objects are plain JSON, so that one small machine serves built-in and custom resources alike.

pub mod cache;
pub mod cluster;
pub mod index;
pub mod object;
pub mod queue;

pub use cache::{Cache, Key};
pub use cluster::{ApiError, Cluster};
pub use queue::{Next, Queue, Work};

use std::borrow::Cow;

/// A kind of object and the path it is served under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// The version within the group.
    pub version: Cow<'static, str>,
    /// The name in paths: `pods`.
    pub plural: Cow<'static, str>,
    /// The kind: `Pod`.
    pub kind: Cow<'static, str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
        namespaced: bool,
    ) -> Self {
        Resource {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced,
        }
    }

    /// A namespaced kind of a group.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self::new(group, version, plural, kind, true)
    }

    /// A cluster-scoped kind of a group.
    pub const fn cluster(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self::new(group, version, plural, kind, false)
    }

    /// `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The path of the collection: in one namespace, or of all of them when `namespace` is empty.
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            format!("{root}/namespaces/{namespace}/{}", self.plural)
        } else {
            format!("{root}/{}", self.plural)
        }
    }
}

/// The built-in kinds that controllers use.
pub mod kinds {
    use super::Resource;

    /// Pods.
    pub static PODS: Resource = Resource::namespaced("", "v1", "pods", "Pod");
    /// Nodes.
    pub static NODES: Resource = Resource::cluster("", "v1", "nodes", "Node");
    /// Namespaces.
    pub static NAMESPACES: Resource = Resource::cluster("", "v1", "namespaces", "Namespace");
    /// Services.
    pub static SERVICES: Resource = Resource::namespaced("", "v1", "services", "Service");
    /// Endpoints, the older form of EndpointSlices.
    pub static ENDPOINTS: Resource = Resource::namespaced("", "v1", "endpoints", "Endpoints");
    /// Events.
    pub static EVENTS: Resource = Resource::namespaced("", "v1", "events", "Event");
    /// Config maps.
    pub static CONFIG_MAPS: Resource = Resource::namespaced("", "v1", "configmaps", "ConfigMap");
    /// Secrets.
    pub static SECRETS: Resource = Resource::namespaced("", "v1", "secrets", "Secret");
    /// Service accounts.
    pub static SERVICE_ACCOUNTS: Resource =
        Resource::namespaced("", "v1", "serviceaccounts", "ServiceAccount");
    /// Deployments.
    pub static DEPLOYMENTS: Resource =
        Resource::namespaced("apps", "v1", "deployments", "Deployment");
    /// Replica sets.
    pub static REPLICA_SETS: Resource =
        Resource::namespaced("apps", "v1", "replicasets", "ReplicaSet");
    /// Daemon sets.
    pub static DAEMON_SETS: Resource =
        Resource::namespaced("apps", "v1", "daemonsets", "DaemonSet");
    /// Jobs.
    pub static JOBS: Resource = Resource::namespaced("batch", "v1", "jobs", "Job");
    /// Endpoint slices.
    pub static ENDPOINT_SLICES: Resource =
        Resource::namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
    /// Leases.
    pub static LEASES: Resource =
        Resource::namespaced("coordination.k8s.io", "v1", "leases", "Lease");
    /// Ingresses.
    pub static INGRESSES: Resource =
        Resource::namespaced("networking.k8s.io", "v1", "ingresses", "Ingress");
    /// Ingress classes.
    pub static INGRESS_CLASSES: Resource =
        Resource::cluster("networking.k8s.io", "v1", "ingressclasses", "IngressClass");
    /// Cluster roles.
    pub static CLUSTER_ROLES: Resource = Resource::cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterroles",
        "ClusterRole",
    );
    /// Cluster role bindings.
    pub static CLUSTER_ROLE_BINDINGS: Resource = Resource::cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
    );
    /// Definitions of custom resources.
    pub static CUSTOM_RESOURCE_DEFINITIONS: Resource = Resource::cluster(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    );
}
