//! AWS App Mesh: its controller in the cluster, its resources, its control plane in AWS.

mod control_plane;
mod controller;
mod dead;
mod services;
mod split;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::control_plane::ControlPlane;
use self::controller::{Controller, Definitions, MeshObject};
use self::services::{ServiceResources, VirtualServices};
use super::{
    Counters, Foundation, Installed, Leftover, MeshProvider, Proxies, Route, ServiceAccountRole,
    SplitState, Weights, labels, workload,
};
use crate::check::{Check, Verdict};
use crate::clients::Clients;
use crate::clients::kube::{
    Access, Certificate, Cluster, Readiness, Reference, Template, condition, readiness,
};
use crate::config::{Egress, Environment, Names, Service, Version};
use crate::engine::{Context, Graph, Handle, Result};
use crate::template;

const CRDS: Template = template!("app-mesh/crds.yaml");
const CONTROLLER: Template = template!("app-mesh/controller.yaml");
const WEBHOOKS: Template = template!("app-mesh/webhooks.yaml");
const MESH: Template = template!("app-mesh/mesh.yaml");
const SERVICE: Template = template!("app-mesh/service.yaml");
const CONTROLLER_POLICY: Template = template!("app-mesh/controller-policy.json");
const PROXY_POLICY: Template = template!("app-mesh/proxy-policy.json");

/// All templates of this mesh.
pub const TEMPLATES: [Template; 7] = [
    CRDS,
    CONTROLLER,
    WEBHOOKS,
    MESH,
    SERVICE,
    CONTROLLER_POLICY,
    PROXY_POLICY,
];

/// The API of the mesh's kinds.
const API: &str = "appmesh.k8s.aws/v1beta2";
/// Where the controller runs.
const SYSTEM: &str = "appmesh-system";
/// The controller's Deployment and ServiceAccount.
const CONTROLLER_NAME: &str = "appmesh-controller";
/// The controller's webhook Service.
const WEBHOOK_SERVICE: &str = "appmesh-controller-webhook-service";
/// The controller's role.
const CONTROLLER_ROLE: &str = "mesh-controller";
/// Envoy's administration in App Mesh's image.
const ADMIN_PORT: u16 = 9901;
/// The proxies' role.
const PROXY_ROLE: &str = "proxy";
/// App Mesh's public images are served from one account in one region.
const REGISTRY: &str = "840364872350.dkr.ecr.us-west-2.amazonaws.com";
/// Refusals that pass once the controller has seen what was made just before.
const PASSING: &[&str] = &[
    "failed to find matching mesh",
    "failed to find matching virtualNode",
];

/// What a mesh may have of virtual nodes, of virtual routers and of virtual services, unless AWS has raised the quota.
///
/// Source: App Mesh User Guide, "App Mesh service quotas".
const USUAL_MEMBERS: usize = 200;

/// AWS App Mesh for one environment. Cheap to clone.
#[derive(Clone)]
pub struct AppMesh(Arc<Inner>);

struct Inner {
    environment: Environment,
    names: Names,
    client: aws_sdk_appmesh::Client,
    /// Knows whose the cluster is that the mesh's controller runs in.
    eks: Option<aws_sdk_eks::Client>,
    /// The services that another calls through the mesh.
    called: HashSet<String>,
}

impl AppMesh {
    /// The environment's App Mesh.
    pub fn new(environment: &Environment, clients: &Clients) -> Self {
        let eks = Some(clients.eks.clone());
        Self::with(environment, clients.app_mesh.clone(), eks)
    }

    fn with(
        environment: &Environment,
        client: aws_sdk_appmesh::Client,
        eks: Option<aws_sdk_eks::Client>,
    ) -> Self {
        let services = environment.services.values();
        AppMesh(Arc::new(Inner {
            called: services
                .flat_map(|service| service.backends.iter().cloned())
                .collect(),
            names: Names::new(&environment.name),
            environment: environment.clone(),
            client,
            eks,
        }))
    }

    fn environment(&self) -> &Environment {
        &self.0.environment
    }

    fn names(&self) -> &Names {
        &self.0.names
    }

    fn client(&self) -> &aws_sdk_appmesh::Client {
        &self.0.client
    }

    fn eks(&self) -> Option<&aws_sdk_eks::Client> {
        self.0.eks.as_ref()
    }

    fn mesh(&self) -> String {
        self.names().mesh()
    }

    fn egress(&self) -> &'static str {
        match self.environment().mesh.egress {
            Egress::DropAll => "DROP_ALL",
            Egress::AllowAll => "ALLOW_ALL",
        }
    }

    /// What every template may use.
    fn context(&self) -> Value {
        let environment = self.environment();
        let namespace = &environment.namespace;
        json!({
            "labels": labels(self.names()),
            "environment": environment.name,
            "namespace": namespace,
            "domain": format!("{namespace}.svc.cluster.local"),
            "mesh": self.mesh(),
            "egress": self.egress(),
            "tracing": environment.tracing,
            "images": images(),
        })
    }

    /// Whether another service calls it through the mesh.
    fn is_called(&self, service: &str) -> bool {
        self.0.called.contains(service)
    }

    /// Whether its traffic goes through a router: where there is something to choose or to try again.
    fn is_routed(&self, service: &Service) -> bool {
        self.is_called(&service.name) && (service.is_split() || service.retries > 0)
    }

    /// How many members of each kind the mesh is to have, as [`AppMesh::members`] has them.
    fn member_counts(&self) -> [(usize, &'static str); 3] {
        let services = self.environment().services.values();
        let (mut nodes, mut routers, mut virtuals) = (0, 0, 0);
        for service in services {
            nodes += service.versions.len();
            routers += usize::from(self.is_routed(service));
            virtuals += usize::from(self.is_called(&service.name));
        }
        [
            (nodes, "virtual nodes"),
            (routers, "virtual routers"),
            (virtuals, "virtual services"),
        ]
    }

    /// The manifests of one service: VirtualService, VirtualRouter, VirtualNodes.
    fn service_manifests(&self, service: &Service, weights: &Weights) -> Result<Vec<Value>> {
        let mut context = self.context();
        context["labels"]["app"] = json!(service.name);
        let weight = |version: &str| {
            let found = weights.iter().find(|(name, _)| name == version);
            found.map_or(0, |(_, weight)| *weight)
        };
        let versions: Vec<Value> = service
            .versions
            .iter()
            .map(|version| {
                json!({
                    "name": version.name,
                    "node": workload(&service.name, &version.name),
                    "weight": weight(&version.name),
                })
            })
            .collect();
        context["service"] = json!({
            "name": service.name,
            "port": service.port,
            "protocol": service.protocol,
            "backends": service.backends,
            "versions": versions,
            "virtual": self.is_called(&service.name),
            "routed": self.is_routed(service),
            "retries": service.retries,
            "timeout_millis": service.timeout_millis,
            "retry_timeout_millis": try_millis(service),
            "health_path": service.health_path,
        });
        SERVICE.manifests(context)
    }
}

/// How long one try of a request may take: all of them together must fit into the request's time.
fn try_millis(service: &Service) -> u32 {
    (service.timeout_millis / (u32::from(service.retries) + 1)).max(1)
}

/// The weights an environment is made with.
fn initial_weights(service: &Service) -> Weights {
    let versions = service.versions.iter();
    versions
        .map(|version| (version.name.clone(), version.weight))
        .collect()
}

/// Whether App Mesh allows one mesh so many members, each kind with its count.
fn fits(counts: [(usize, &str); 3]) -> Check {
    let over = counts.iter().any(|(count, _)| *count > USUAL_MEMBERS);
    let some = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = some
        .map(|(count, plural)| format!("{count} {plural}"))
        .collect();
    Check {
        code: "quota-mesh",
        title: format!("{} in the mesh", words.join(", ")),
        verdict: match over {
            true => Verdict::Warning(format!(
                "App Mesh allows {USUAL_MEMBERS} of each in a mesh unless the quota was raised"
            )),
            false => Verdict::Passed,
        },
        hint: over.then(|| {
            "ask AWS to raise it, or divide the services among environments that do not call each other"
                .into()
        }),
    }
}

fn images() -> Value {
    json!({
        "controller": format!("{REGISTRY}/amazon/appmesh-controller:v1.13.3"),
        "envoy_repository": format!("{REGISTRY}/aws-appmesh-envoy"),
        "envoy_tag": "v1.34.13.3-prod",
        "init": format!("{REGISTRY}/aws-appmesh-proxy-route-manager:v7-prod"),
        "xray": "public.ecr.aws/xray/aws-xray-daemon:3.7.0",
    })
}

/// How far an object of the mesh is: its `…Active` condition, once its controller has seen this generation.
fn mesh_readiness(object: &Value) -> Readiness {
    let kind = object["kind"].as_str().unwrap_or_default();
    if object["apiVersion"] != API || kind == "BackendGroup" {
        return readiness(object);
    }
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    let observed = object["status"]["observedGeneration"].as_i64().unwrap_or(0);
    match condition(object, &format!("{kind}Active")) {
        _ if observed < generation => Readiness::Waiting("not seen by the mesh controller".into()),
        Some(("True", _)) => Readiness::Ready,
        Some((_, words)) if !words.is_empty() => Readiness::Waiting(words),
        _ => Readiness::Waiting("not active".into()),
    }
}

#[async_trait]
impl MeshProvider for AppMesh {
    fn title(&self) -> &'static str {
        "AWS App Mesh"
    }

    fn roles(&self) -> Vec<ServiceAccountRole> {
        let namespace = self.environment().namespace.clone();
        vec![
            ServiceAccountRole::new(
                CONTROLLER_ROLE,
                vec![(SYSTEM.to_owned(), CONTROLLER_NAME.to_owned())],
                CONTROLLER_POLICY,
                self.context(),
            ),
            ServiceAccountRole::new(
                PROXY_ROLE,
                // All of the namespace: whoever may make pods there may give them any of its accounts, and a list of
                // names would outgrow the 2048 characters of a trust policy with some forty services.
                vec![(namespace, "*".to_owned())],
                PROXY_POLICY,
                self.context(),
            ),
        ]
    }

    fn proxy_role(&self) -> Option<&'static str> {
        Some(PROXY_ROLE)
    }

    fn namespace_labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("mesh".to_owned(), self.mesh()),
            (
                "appmesh.k8s.aws/sidecarInjectorWebhook".to_owned(),
                "enabled".to_owned(),
            ),
        ])
    }

    fn pod_annotations(&self) -> BTreeMap<String, String> {
        // What the injector makes of a pod depends on these; a pod keeps what it was made with.
        let settings = json!([self.environment().tracing, images()]).to_string();
        let digest = Sha256::digest(settings.as_bytes());
        let digest: String = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        BTreeMap::from([("meshctl.dev/proxy-settings".to_owned(), digest)])
    }

    async fn preflight(&self) -> Result<()> {
        control_plane::is_served(self).await
    }

    fn actions(&self) -> &'static [&'static str] {
        &["appmesh:ListMeshes"]
    }

    fn quotas(&self) -> Vec<Check> {
        vec![fits(self.member_counts())]
    }

    fn control_plane(&self, graph: &mut Graph) -> Handle<()> {
        graph.add(|_| ControlPlane {
            app_mesh: self.clone(),
        })
    }

    fn install(
        &self,
        graph: &mut Graph,
        on: &Foundation<'_>,
        control_plane: Handle<()>,
    ) -> Installed {
        let definitions = graph.add(|needs| {
            needs.after(&control_plane);
            Definitions {
                app_mesh: self.clone(),
                cluster: needs.input(&on.cluster),
            }
        });
        let controller = graph.add(|needs| {
            needs.after(&definitions);
            (on.controller)(needs);
            Controller {
                app_mesh: self.clone(),
                cluster: needs.input(&on.cluster),
            }
        });
        let mesh = graph.add(|needs| {
            needs.after(&controller);
            MeshObject {
                app_mesh: self.clone(),
                cluster: needs.input(&on.cluster),
            }
        });
        Installed {
            control_plane,
            mesh,
        }
    }

    fn services(
        &self,
        graph: &mut Graph,
        on: &Foundation<'_>,
        installed: &Installed,
    ) -> BTreeMap<String, Handle<()>> {
        let names = graph.add(|needs| {
            needs.after(&installed.mesh);
            needs.after(&on.namespace);
            VirtualServices {
                app_mesh: self.clone(),
                cluster: needs.input(&on.cluster),
            }
        });
        let services = self.environment().services.values();
        services
            .map(|service| {
                let handle = graph.add(|needs| {
                    needs.after(&names);
                    ServiceResources {
                        app_mesh: self.clone(),
                        cluster: needs.input(&on.cluster),
                        service: service.clone(),
                    }
                });
                (service.name.clone(), handle)
            })
            .collect()
    }

    async fn split(&self, cluster: &Cluster, service: &Service) -> Result<SplitState> {
        split::read(self, cluster, service).await
    }

    async fn shift(
        &self,
        cx: &Context,
        cluster: &Cluster,
        service: &Service,
        weights: &Weights,
    ) -> Result<()> {
        split::shift(self, cx, cluster, service, weights).await
    }

    fn split_object(&self, service: &Service) -> Reference {
        split::router(self, service)
    }

    fn counters(&self, service: &Service) -> Counters {
        let environment = self.environment();
        let namespace = &environment.namespace;
        let callers = environment.services.values();
        let callers = callers.filter(|other| other.backends.contains(&service.name));
        Counters {
            callers: callers.map(|other| format!("app={}", other.name)).collect(),
            admin_port: ADMIN_PORT,
            protocol: service.protocol,
            clusters: service
                .versions
                .iter()
                .map(|version| {
                    let node = workload(&service.name, &version.name);
                    let mesh = self.mesh();
                    let (protocol, port) = (service.protocol.name(), service.port);
                    let cluster = format!("cds_egress_{mesh}_{node}_{namespace}_{protocol}_{port}");
                    (version.name.clone(), cluster)
                })
                .collect(),
        }
    }

    fn proxies(&self) -> Proxies {
        Proxies {
            container: "envoy",
            admin_port: ADMIN_PORT,
            egress_port: 15001,
        }
    }

    fn route(&self, service: &Service) -> Route {
        let namespace = &self.environment().namespace;
        let routed = self.is_routed(service);
        let tries = || (u32::from(service.retries), u64::from(try_millis(service)));
        Route {
            host: format!(
                "{}.{namespace}.svc.cluster.local:{}",
                service.name, service.port
            ),
            retries: (routed && service.retries > 0).then(tries),
            timeout_millis: routed.then(|| service.timeout_millis.into()),
        }
    }

    fn traced_as(&self, service: &Service, version: &Version) -> String {
        let node = workload(&service.name, &version.name);
        format!("{}/{node}_{}", self.mesh(), self.environment().namespace)
    }

    fn member_kinds(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (API, "GatewayRoute"),
            (API, "VirtualService"),
            (API, "VirtualRouter"),
            (API, "VirtualNode"),
            (API, "VirtualGateway"),
            (API, "BackendGroup"),
        ]
    }

    fn manifests(&self, access: &Access, certificate: &Certificate) -> Result<Vec<Value>> {
        let mut manifests = CRDS.manifests(self.context())?;
        manifests.extend(controller::manifests(self, access, certificate)?);
        manifests.extend(MESH.manifests(self.context())?);
        for service in self.environment().services.values() {
            manifests.extend(self.service_manifests(service, &initial_weights(service))?);
        }
        Ok(manifests)
    }

    fn members(&self) -> Result<Vec<Reference>> {
        let mut members = Vec::new();
        for service in self.environment().services.values() {
            let manifests = self.service_manifests(service, &initial_weights(service))?;
            members.extend(manifests.iter().map(Reference::of));
        }
        Ok(members)
    }

    async fn remove_members(
        &self,
        cx: &Context,
        cluster: &Cluster,
        members: &[Reference],
    ) -> Result<()> {
        dead::remove_all(cx, self, cluster, members).await
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>> {
        control_plane::leftovers(self).await
    }
}
