//! An embedded Kubernetes API server: TLS, authentication, authorization, discovery, CRUD, watches, patches, server-side
//! apply, admission and custom resources, kept in one directory. It knows no controller and no cloud.
//!
//! [`serve`] starts one; what runs in the cluster talks to it over HTTPS like anybody else ([`Server::admin_token`] is
//! the control plane's own credential). Logs, exec and port-forward are passed on to the kubelet of the pod's node: its
//! InternalIP address (or the sandbox's loopback) and `status.daemonEndpoints.kubeletEndpoint.Port`, with the kubelet's
//! own paths (`/containerLogs/NAMESPACE/POD/CONTAINER`, `/exec/…`, `/portForward/NAMESPACE/POD`).

mod accept;
mod addresses;
mod admission;
mod api;
mod apply;
mod auth;
mod crd;
mod decode;
mod defaults;
mod definitions;
mod discovery;
mod evict;
mod fields;
pub(crate) mod fuzz;
mod gojson;
mod gotime;
mod keys;
mod object;
mod openapi;
mod options;
mod pages;
mod patch;
mod protobuf;
mod proxy;
mod quantity;
mod rbac;
mod read;
mod reflect;
mod repeated;
mod request;
mod resources;
mod scale;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod strategy;
mod subresource;
mod table;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod tunnel;
mod typed;
mod unified;
mod validation;
mod warnings;
mod write;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

pub use discovery::VERBS;
pub use keys::{AnyServer, Authority, Identity, Keys, Subject};
pub use quantity::canonical as canonical_quantity;
pub use server::Server;

use super::faults::Faults;

/// The Kubernetes version that the server says it is, as `(major, minor, git version)`.
pub const VERSION: (&str, &str, &str) = ("1", "35", "v1.35.4-eks-6d1c1f4");

/// [`VERSION`] as EKS names it: `1.35`.
pub fn minor_version() -> String {
    format!("{}.{}", VERSION.0, VERSION.1)
}

/// Tells whose bearer token this is; `None` when it is nobody's.
pub type Authenticate = Arc<dyn Fn(&str) -> Option<UserInfo> + Send + Sync>;

/// Maps the address that the API shows for a pod to the one that can be dialled on this machine.
pub type Dial = Arc<dyn Fn(Ipv4Addr) -> Ipv4Addr + Send + Sync>;

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The user name that RBAC sees: `system:serviceaccount:demo:proxy`.
    pub username: String,
    /// A unique id, if there is one.
    pub uid: String,
    /// The groups that RBAC sees. `system:authenticated` is added by the server.
    pub groups: Vec<String>,
    /// Further information that authorization webhooks and audits see.
    pub extra: Vec<(String, Vec<String>)>,
}

/// How to run an API server.
#[derive(Clone)]
pub struct ServerOptions {
    /// Where its keys and its objects live. Made when missing.
    pub directory: PathBuf,
    /// The loopback port; 0 takes a free one.
    pub port: u16,
    /// The range of cluster IPs: `10.100.0.0/16`.
    pub service_cidr: String,
    /// The issuer of service-account tokens: EKS's `https://oidc.eks.REGION.amazonaws.com/id/ID`.
    pub issuer: String,
    /// Asked for bearer tokens that are neither the admin's nor a service account's.
    pub authenticate: Option<Authenticate>,
    /// How webhooks' pod addresses are dialled. The default is [`twin`].
    pub dial: Dial,
    /// What is to go wrong with requests.
    pub faults: Faults,
    /// How many changes of a kind are remembered for watches and for the pages of a list.
    pub history: usize,
}

impl ServerOptions {
    /// A server with its files in `directory`, on a free port.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        ServerOptions {
            directory: directory.into(),
            port: 0,
            service_cidr: "10.100.0.0/16".into(),
            issuer: "https://kubernetes.default.svc".into(),
            authenticate: None,
            dial: Arc::new(twin),
            faults: Faults::default(),
            history: 1024,
        }
    }
}

/// The loopback address that stands for a pod address: 10.a.b.c is 127.a.b.c.
pub fn twin(address: Ipv4Addr) -> Ipv4Addr {
    let [first, a, b, c] = address.octets();
    Ipv4Addr::new(if first == 10 { 127 } else { first }, a, b, c)
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory or a file in it cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The port is taken or the loopback interface is not there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Keys or certificates could not be made or read.
    #[error("keys in {path}: {reason}")]
    Keys {
        /// Where they are kept.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An option has no sense.
    #[error("{0}")]
    Option(String),
}

/// Starts an API server. It answers when this returns.
pub async fn serve(options: ServerOptions) -> Result<Server, ServeError> {
    server::start(options).await
}
