//! What differs between meshes. [`MeshProvider`] is the only place that knows; everything else is shared.

pub mod app_mesh;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};

use crate::check::Check;
use crate::clients::Clients;
use crate::clients::kube::{
    Access, Certificate, Cluster, ENVIRONMENT, FIELD_MANAGER, MANAGED_BY, Reference, Template,
};
use crate::config::{Environment, Names, Protocol, Provider, Service, Version};
use crate::engine::{Context, Graph, Handle, Needs, Result};

/// Where AWS resources are, for their ARNs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// The region.
    pub region: String,
    /// The account's twelve digits.
    pub account: String,
}

/// An IAM role that service accounts of the cluster assume (IRSA).
#[derive(Clone, Debug)]
pub struct ServiceAccountRole {
    /// Its name in the environment: `mesh-controller`, made complete by [`Names::role`].
    pub name: &'static str,
    /// The service accounts that may assume it: namespace and name, or `*` for all of the namespace.
    pub subjects: Vec<(String, String)>,
    /// Its one policy's template.
    policy: Template,
    /// What the template needs beside the place.
    context: Value,
}

impl ServiceAccountRole {
    /// A role for the given service accounts whose policy is made from the template with `context` and a [`Place`].
    pub fn new(
        name: &'static str,
        subjects: Vec<(String, String)>,
        policy: Template,
        context: Value,
    ) -> Self {
        ServiceAccountRole {
            name,
            subjects,
            policy,
            context,
        }
    }

    /// The `sub` claims that may assume it: `system:serviceaccount:demo:frontend`.
    pub fn subject_claims(&self) -> Vec<String> {
        self.subjects
            .iter()
            .map(|(namespace, name)| format!("system:serviceaccount:{namespace}:{name}"))
            .collect()
    }

    /// Its policy document, least privilege for this environment.
    ///
    /// # Errors
    /// A template that does not render to JSON, which the tests exclude.
    pub fn policy(&self, place: &Place) -> Result<Value> {
        let mut context = self.context.clone();
        context["partition"] = json!(place.partition);
        context["region"] = json!(place.region);
        context["account"] = json!(place.account);
        let text = self.policy.text(context)?;
        serde_json::from_str(&text).map_err(|error| {
            crate::engine::Failure::new(format!("template {}", self.policy.path), error)
        })
    }
}

/// The share of a service's traffic that each of its versions gets, in percent, in the file's order.
pub type Weights = Vec<(String, u8)>;

/// The traffic split of a service, as wanted and as the mesh's control plane took it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitState {
    /// What the cluster's object asks for.
    pub configured: Weights,
    /// What the mesh's control plane says, asked by itself; none when it has no such route yet.
    pub accepted: Option<Weights>,
    /// The object's generation.
    pub generation: i64,
    /// The generation that the mesh's controller has dealt with.
    pub observed_generation: i64,
    /// The control plane's words when it refused.
    pub refused: Option<String>,
}

impl SplitState {
    /// Whether what is configured is what proxies are given.
    pub fn is_settled(&self) -> bool {
        self.observed_generation == self.generation
            && self.refused.is_none()
            && self.accepted.as_ref() == Some(&self.configured)
    }
}

/// Where proxies count the requests to a service: in Envoys beside its callers, which see what the service itself
/// cannot tell of, such as connections that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The label selectors of the calling pods.
    pub callers: Vec<String>,
    /// The port of Envoy's administration, on the pod's own loopback.
    pub admin_port: u16,
    /// What the service speaks: with gRPC the status of an answer stands in its trailers, not in its HTTP status.
    pub protocol: Protocol,
    /// Envoy's name of the cluster of each version: version and name.
    pub clusters: Vec<(String, String)>,
}

/// How the proxies beside the services are looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// The name of their container.
    pub container: &'static str,
    /// The port of Envoy's administration, on the pod's own loopback.
    pub admin_port: u16,
    /// The port at which a proxy takes what its service sends out.
    pub egress_port: u16,
}

/// How a service is called through the mesh, as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The host that callers use, with the port.
    pub host: String,
    /// Tries after a failed one and the time of each in milliseconds; none where the mesh's own defaults hold.
    pub retries: Option<(u32, u64)>,
    /// How long a request may take, in milliseconds; none where the mesh's own default holds.
    pub timeout_millis: Option<u64>,
}

/// Something of the mesh that is left outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leftover {
    /// What kind of thing: `App Mesh virtual node`.
    pub kind: String,
    /// Its ARN.
    pub arn: String,
    /// How to remove it by hand.
    pub removal: String,
}

/// What the mesh's steps build on.
pub struct Foundation<'a> {
    /// The way to the cluster, once nodes run pods.
    pub cluster: Handle<Cluster>,
    /// The edges to what the mesh's controller needs beside the cluster: its role and nodes.
    pub controller: &'a dyn Fn(&mut Needs),
    /// The edge to the services' namespace.
    pub namespace: Handle<()>,
}

/// What installing a mesh put into the graph.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The control plane outside the cluster: checked on the way up, swept on the way down, cluster or not.
    pub control_plane: Handle<()>,
    /// The mesh itself, ready for services.
    pub mesh: Handle<()>,
}

/// A kind of mesh.
#[async_trait]
pub trait MeshProvider: Send + Sync {
    /// Its name for people.
    fn title(&self) -> &'static str;

    /// The IAM roles it needs, its proxies' role among them.
    fn roles(&self) -> Vec<ServiceAccountRole>;

    /// The role of the pods that carry proxies.
    fn proxy_role(&self) -> Option<&'static str>;

    /// The labels of the services' namespace that make it part of the mesh.
    fn namespace_labels(&self) -> BTreeMap<String, String>;

    /// The annotations of the services' pods. A changed one restarts the pods, as a changed proxy setting must.
    fn pod_annotations(&self) -> BTreeMap<String, String>;

    /// Whether the mesh can be had at all with this account and region.
    ///
    /// # Errors
    /// `Blocked` when not, with the alternatives.
    async fn preflight(&self) -> Result<()>;

    /// The actions that whoever runs meshctl needs for the control plane outside the cluster.
    fn actions(&self) -> &'static [&'static str];

    /// Whether the environment fits into what the control plane usually allows of the mesh's resources.
    fn quotas(&self) -> Vec<Check>;

    /// Adds the step that stands for the control plane outside the cluster. It needs nothing, so that it can clear
    /// what is left there with the cluster dead; all other steps of the mesh come after it.
    fn control_plane(&self, graph: &mut Graph) -> Handle<()>;

    /// Adds the steps that install the mesh.
    fn install(
        &self,
        graph: &mut Graph,
        on: &Foundation<'_>,
        control_plane: Handle<()>,
    ) -> Installed;

    /// Adds the steps of all services' mesh resources: for each service what its workloads wait for.
    fn services(
        &self,
        graph: &mut Graph,
        on: &Foundation<'_>,
        installed: &Installed,
    ) -> BTreeMap<String, Handle<()>>;

    /// The split of a service's traffic.
    ///
    /// # Errors
    /// What the cluster or the control plane says; `Input` for a service whose traffic nothing splits.
    async fn split(&self, cluster: &Cluster, service: &Service) -> Result<SplitState>;

    /// Asks for another split; the weights sum to 100. Returns once it is asked for.
    ///
    /// # Errors
    /// What the cluster says.
    async fn shift(
        &self,
        cx: &Context,
        cluster: &Cluster,
        service: &Service,
        weights: &Weights,
    ) -> Result<()>;

    /// The object in the cluster that holds a service's split. What is to be remembered of a canary is remembered on it.
    fn split_object(&self, service: &Service) -> Reference;

    /// Where proxies count the requests to a service.
    fn counters(&self, service: &Service) -> Counters;

    /// How the services' proxies are looked into.
    fn proxies(&self) -> Proxies;

    /// How a service is called through the mesh, as wanted.
    fn route(&self, service: &Service) -> Route;

    /// The name under which the proxies of one version send traces.
    fn traced_as(&self, service: &Service, version: &Version) -> String;

    /// The kinds of the services' resources, in the order in which they can be removed: apiVersion and kind.
    fn member_kinds(&self) -> &'static [(&'static str, &'static str)];

    /// Everything the mesh has in the cluster, its kinds first, as it is made in the beginning.
    ///
    /// # Errors
    /// None that a user can cause.
    fn manifests(&self, access: &Access, certificate: &Certificate) -> Result<Vec<Value>>;

    /// The services' resources as wanted, by name.
    ///
    /// # Errors
    /// None that a user can cause.
    fn members(&self) -> Result<Vec<Reference>>;

    /// Removes resources in the given order, each gone before the next, the mesh's controller alive or dead.
    ///
    /// # Errors
    /// What the cluster says.
    async fn remove_members(
        &self,
        cx: &Context,
        cluster: &Cluster,
        members: &[Reference],
    ) -> Result<()>;

    /// What is left in the control plane outside the cluster.
    ///
    /// # Errors
    /// What the control plane says.
    async fn leftovers(&self) -> Result<Vec<Leftover>>;
}

/// The environment's mesh.
pub fn provider(environment: &Environment, clients: &Clients) -> Arc<dyn MeshProvider> {
    match environment.mesh.provider {
        Provider::AppMesh => Arc::new(app_mesh::AppMesh::new(environment, clients)),
    }
}

/// The labels of everything made in the cluster.
pub fn labels(names: &Names) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned()),
        (ENVIRONMENT.to_owned(), names.environment().to_owned()),
    ])
}

/// The name of one version's objects: `backend-v1`.
pub fn workload(service: &str, version: &str) -> String {
    format!("{service}-{version}")
}
