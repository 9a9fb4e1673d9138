//! `meshctl.yaml` as it is written: the shape that the JSON schema describes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Cluster, Images, Mesh, Network, Protocol, Tracing};

/// An environment: a mesh on an EKS cluster with its services.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "meshctl.yaml")]
pub(super) struct File {
    /// The environment's name: 1 to 20 lower-case letters, digits and hyphens, beginning with a letter. Every owned
    /// resource's name is made from it.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"))]
    pub name: String,
    /// The AWS region; `--region`, AWS_REGION and the profile come before it.
    pub region: Option<String>,
    /// The Kubernetes namespace of the services.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The mesh.
    #[serde(default)]
    pub mesh: Mesh,
    /// The VPC.
    #[serde(default)]
    pub network: Network,
    /// The EKS cluster.
    #[serde(default)]
    pub cluster: Cluster,
    /// Where images come from.
    #[serde(default)]
    pub images: Images,
    /// The services, at least one.
    #[schemars(length(min = 1))]
    pub services: Vec<Service>,
    /// The way in.
    pub ingress: Ingress,
    /// Distributed tracing.
    #[serde(default)]
    pub tracing: Tracing,
}

/// One service of the mesh. Exactly one of `demo`, `path` and `image` says what it runs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Service {
    /// Its name, a DNS label of at most 40 characters.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"))]
    pub name: String,
    /// The port it listens on.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u32,
    /// What it speaks there.
    #[serde(default)]
    pub protocol: Protocol,
    /// Runs one of the demo services: `frontend`, `backend` or `database`.
    pub demo: Option<String>,
    /// Runs a folder's `main.py` on the base image; relative to this file.
    pub path: Option<PathBuf>,
    /// Runs a ready image.
    pub image: Option<String>,
    /// The services it calls.
    #[serde(default)]
    pub backends: Vec<String>,
    /// Its versions, the stable one first; one named `v1` when left out.
    #[serde(default = "default_versions")]
    #[schemars(length(min = 1, max = 10))]
    pub versions: Vec<Version>,
    /// How often a failed request to it is tried again, 0 to 10.
    #[serde(default = "default_retries")]
    #[schemars(range(min = 0, max = 10))]
    pub retries: u32,
    /// The longest a request to it may take, retries included, in milliseconds.
    #[serde(default = "default_timeout_millis")]
    #[schemars(range(min = 100, max = 300_000))]
    pub timeout_millis: u32,
    /// The path of its health check; `/healthz` when left out. gRPC services have none: they are asked for
    /// `grpc.health.v1.Health/Check`.
    #[schemars(regex(pattern = r"^/"))]
    pub health_path: Option<String>,
}

/// One version of a service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Version {
    /// Its name, a DNS label of at most 20 characters.
    #[schemars(regex(pattern = r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$"))]
    pub name: String,
    /// How many pods.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// Its share of the traffic in percent when the environment is made; the shares of a service add up to 100. Left
    /// out, the first version gets what the others leave.
    #[schemars(with = "Option<u8>", range(min = 0, max = 100))]
    pub weight: Option<f64>,
    /// Further environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// The way in: a load balancer in front of one service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Ingress {
    /// The service behind the load balancer.
    pub service: String,
    /// The load balancer's port; 80 when left out.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
    /// Whether it is reachable from inside the VPC alone.
    #[serde(default)]
    pub internal: bool,
}

fn default_namespace() -> String {
    "demo".into()
}

fn default_versions() -> Vec<Version> {
    vec![Version {
        name: "v1".into(),
        replicas: default_replicas(),
        weight: None,
        env: BTreeMap::new(),
    }]
}

fn default_replicas() -> i32 {
    2
}

fn default_retries() -> u32 {
    2
}

fn default_timeout_millis() -> u32 {
    15_000
}
