//! The environment: what `meshctl.yaml` and the flags say, with defaults, resolved once. Nothing below reads the process
//! environment or a file for settings.

mod check;
mod file;
mod load;
mod names;
mod positions;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::is_region;
pub use load::{DEFAULT_FILE, Invalid, Mistake, json_schema, load_list};
pub use names::{Names, OWNER_TAG};

/// One environment, complete: every default is filled in and every reference is known to resolve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Environment {
    /// The environment's name; every owned resource's name is made from it.
    pub name: String,
    /// The AWS region.
    pub region: String,
    /// The mesh in use.
    pub mesh: Mesh,
    /// The network.
    pub network: Network,
    /// The cluster.
    pub cluster: Cluster,
    /// Where images come from.
    pub images: Images,
    /// The Kubernetes namespace of the services.
    pub namespace: String,
    /// The services by name.
    pub services: BTreeMap<String, Service>,
    /// The way in.
    pub ingress: Ingress,
    /// Distributed tracing.
    pub tracing: Tracing,
}

/// Which mesh, and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mesh {
    /// The mesh provider.
    pub provider: Provider,
    /// Whether proxies may reach hosts outside the mesh.
    pub egress: Egress,
}

/// A mesh provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// AWS App Mesh.
    #[default]
    AppMesh,
}

/// Whether proxies may reach hosts outside the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Egress {
    /// Only listed backends (and `*.amazonaws.com`); a wrong host name fails loudly.
    #[default]
    DropAll,
    /// Anything.
    AllowAll,
}

/// The VPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// The VPC's IPv4 range, /16 to /20.
    pub cidr: String,
    /// How many NAT gateways.
    pub nat: Nat,
}

/// How many NAT gateways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// One for all zones: cheaper, and a zone's failure can cut the others off from the internet.
    #[default]
    Single,
    /// One in each zone.
    PerZone,
}

/// The EKS cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cluster {
    /// The Kubernetes version (`"1.35"`); without one, the newest in standard support.
    pub version: Option<String>,
    /// Control-plane log types sent to CloudWatch.
    pub logging: Vec<String>,
    /// Days that control-plane logs are kept.
    pub log_retention_days: i32,
    /// CIDRs that may reach the public API endpoint.
    pub public_access_cidrs: Vec<String>,
    /// The node group.
    pub nodes: Nodes,
}

/// The managed node group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Nodes {
    /// EC2 instance types, in order of preference.
    pub instance_types: Vec<String>,
    /// Wanted number of nodes.
    pub desired: i32,
    /// Least number of nodes.
    pub min: i32,
    /// Greatest number of nodes.
    pub max: i32,
    /// Root volume in GiB.
    pub disk_gib: i32,
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Images {
    /// The base image of built services.
    pub base: String,
    /// Registry host → where to ask instead (`https://mirror.example.com`); for company mirrors.
    pub mirrors: BTreeMap<String, String>,
}

/// One service of the mesh.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Its name, a DNS label.
    pub name: String,
    /// The port it listens on.
    pub port: u16,
    /// What it speaks there.
    pub protocol: Protocol,
    /// The services it calls, by name.
    pub backends: Vec<String>,
    /// What its containers run.
    pub source: Source,
    /// Its versions, in the file's order; the first is the stable one.
    pub versions: Vec<Version>,
    /// Retries of failed requests to it.
    pub retries: u8,
    /// The longest a request to it may take, in milliseconds.
    pub timeout_millis: u32,
    /// The path of its health check: for gRPC that of the method which the health checking protocol has for it.
    pub health_path: String,
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// gRPC, over HTTP/2 without TLS. The service has to serve gRPC's own health checks, `grpc.health.v1.Health`.
    Grpc,
}

impl Protocol {
    /// As the environment's file has it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Grpc => "grpc",
        }
    }
}

impl Service {
    /// Whether traffic is split between versions.
    pub fn is_split(&self) -> bool {
        self.versions.len() > 1
    }
}

/// What a service's containers run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// One of the demo services in `templates/services`.
    Demo(String),
    /// A folder put on top of the base image, run as `python3 /app/main.py`.
    Folder(std::path::PathBuf),
    /// A ready image.
    Image(String),
}

/// One version of a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Version {
    /// Its name, a DNS label: `v1`.
    pub name: String,
    /// How many pods.
    pub replicas: i32,
    /// Its share of the traffic in percent when the environment is made; a canary changes it later.
    pub weight: u8,
    /// Further environment variables.
    pub env: BTreeMap<String, String>,
}

/// The way in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ingress {
    /// The service behind the load balancer.
    pub service: String,
    /// The load balancer's port; 80 unless the file or the settings say otherwise.
    pub port: Option<u16>,
    /// Whether it faces the internet.
    pub internal: bool,
}

/// Distributed tracing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tracing {
    /// Whether proxies send segments to X-Ray.
    pub xray: bool,
    /// The share of requests traced, 0 to 1.
    pub sampling_rate: f64,
}

impl Default for Mesh {
    fn default() -> Self {
        Mesh {
            provider: Provider::AppMesh,
            egress: Egress::DropAll,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Network {
            cidr: "10.42.0.0/16".into(),
            nat: Nat::Single,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            version: None,
            logging: ["api", "audit", "authenticator"].map(String::from).to_vec(),
            log_retention_days: 7,
            public_access_cidrs: vec!["0.0.0.0/0".into()],
            nodes: Nodes::default(),
        }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes {
            instance_types: vec!["m5.large".into()],
            desired: 3,
            min: 1,
            max: 4,
            disk_gib: 20,
        }
    }
}

impl Default for Images {
    fn default() -> Self {
        Images {
            base: "public.ecr.aws/docker/library/python:3.13-slim".into(),
            mirrors: BTreeMap::new(),
        }
    }
}

impl Default for Tracing {
    fn default() -> Self {
        Tracing {
            xray: true,
            sampling_rate: 1.0,
        }
    }
}
