//! A real Kubernetes control plane in the place of the embedded API server: etcd, kube-apiserver and, where they are
//! there, kube-controller-manager and kube-scheduler, as processes on loopback with the flags that EKS gives them as far
//! as they are known and make sense on one machine.
//!
//! Everything is in the cluster's directory: `etcd` is the data; `peer` holds certificates, configuration and logs. The
//! programs end with the sandbox, however that ends ([`process`](crate::sandbox::data_plane::process)).

mod assets;
mod daemon;
mod egress;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::webhooks::AUTHENTICATE;
use super::{ClusterAccess, client};
use crate::sandbox::kubernetes::{Authority, Identity, Keys};
pub use assets::Assets;
use daemon::Daemon;
use egress::Egress;
pub use egress::Ways;

/// How long a control plane may take to become ready before it is started anew: a loaded machine needs many times the
/// usual three seconds.
const READY: Duration = Duration::from_secs(120);
/// How long clients may take to end.
const GRACE: Duration = Duration::from_secs(3);
/// How long the API server may take: it lets requests finish.
const SERVER_GRACE: Duration = Duration::from_secs(8);

/// What to start.
pub struct Options {
    /// The programs.
    pub assets: Assets,
    /// The cluster's directory.
    pub directory: PathBuf,
    /// Where marks of running processes are kept.
    pub marks: PathBuf,
    /// The cluster's name.
    pub name: String,
    /// The region it is in.
    pub region: String,
    /// The port it had before, or 0.
    pub port: u16,
    /// The range of Service addresses.
    pub service_cidr: String,
    /// The issuer of service-account tokens.
    pub issuer: String,
    /// The port on which the sandbox answers for tokens.
    pub webhooks: u16,
    /// How addresses of the cluster are dialled.
    pub ways: Ways,
}

/// A running control plane. Dropping it ends it without grace.
pub struct Peer {
    access: ClusterAccess,
    keys: Value,
    etcd: Daemon,
    server: Daemon,
    /// The controller manager and the scheduler.
    clients: Vec<Daemon>,
    _egress: Egress,
}

/// Where the parts of a control plane listen, and who they are.
struct Plan<'a> {
    options: &'a Options,
    folder: PathBuf,
    port: u16,
    etcd: u16,
    egress: u16,
    token: String,
}

impl Peer {
    /// Starts a control plane; returns when its API server is ready.
    pub async fn start(options: &Options) -> Result<Peer, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let folder = options.directory.join("peer");
        std::fs::create_dir_all(&folder).map_err(|error| said(&error))?;
        let keys = Keys::load_or_create(&options.directory).map_err(|error| said(&error))?;
        let egress = egress::start(keys.authority(), options.ways.clone())
            .await
            .map_err(|error| said(&error))?;
        let plan = Plan {
            options,
            port: free_port(options.port)?,
            etcd: free_port(0)?,
            egress: egress.port,
            token: crate::sandbox::aws::iam::secret(40),
            folder,
        };
        let access = ClusterAccess {
            cluster: options.name.clone(),
            region: options.region.clone(),
            server: format!("https://127.0.0.1:{}", plan.port),
            certificate_authority: keys.authority().pem().to_owned(),
            token: plan.token.clone(),
        };
        plan.write(keys.authority())?;
        let mut etcd = plan.run("etcd", plan.etcd_arguments())?;
        let mut server = plan.run("kube-apiserver", plan.server_arguments())?;
        let ready = tokio::select! {
            ready = tokio::time::timeout(READY, ready(&access)) => match ready {
                Ok(keys) => keys,
                Err(_) => Err("kube-apiserver is not ready in time".to_owned()),
            },
            () = etcd.ended() => Err("etcd ended".to_owned()),
            () = server.ended() => Err("kube-apiserver ended".to_owned()),
        };
        let keys = match ready {
            Ok(keys) => keys,
            Err(error) => {
                server.stop(Duration::ZERO).await;
                etcd.stop(Duration::ZERO).await;
                let logs = plan.folder.display();
                return Err(format!("{error}; its log is in {logs}"));
            }
        };
        let mut peer = Peer {
            access,
            keys,
            etcd,
            server,
            clients: Vec::new(),
            _egress: egress,
        };
        if let Err(error) = peer.run_clients(&plan) {
            peer.stop().await;
            return Err(error);
        }
        Ok(peer)
    }

    fn run_clients(&mut self, plan: &Plan<'_>) -> Result<(), String> {
        let assets = &plan.options.assets;
        if assets.controller_manager {
            let arguments = plan.controller_manager_arguments();
            self.clients
                .push(plan.run("kube-controller-manager", arguments)?);
        }
        if assets.scheduler {
            let arguments = plan.scheduler_arguments();
            self.clients.push(plan.run("kube-scheduler", arguments)?);
        }
        Ok(())
    }

    /// How to reach it as `system:masters`.
    pub fn access(&self) -> &ClusterAccess {
        &self.access
    }

    /// The public keys of its service-account tokens.
    pub fn keys(&self) -> &Value {
        &self.keys
    }

    /// Ends it: its clients first, then the API server, then etcd, without which the API server would hang.
    pub async fn stop(self) {
        futures::future::join_all(self.clients.into_iter().map(|client| client.stop(GRACE))).await;
        self.server.stop(SERVER_GRACE).await;
        self.etcd.stop(GRACE).await;
    }
}

/// Waits until the API server is ready; answers its token keys.
async fn ready(access: &ClusterAccess) -> Result<Value, String> {
    let client = client::new(access)?;
    let asked = |path: &str| {
        hyper::Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())
    };
    let port = access.server.rsplit(':').next().unwrap_or_default();
    let address = format!("127.0.0.1:{port}");
    // The client logs each failure as an error, so that it is not asked before there is somebody to answer.
    while tokio::net::TcpStream::connect(&address).await.is_err()
        || client.request_text(asked("/readyz")?).await.is_err()
    {
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    client
        .request(asked("/openid/v1/jwks")?)
        .await
        .map_err(|error| format!("no token keys: {error}"))
}

/// The port that is wanted, or a free one when it is taken.
fn free_port(wanted: u16) -> Result<u16, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| format!("no free port: {error}"))
}

impl Plan<'_> {
    fn run(&self, name: &str, arguments: Vec<String>) -> Result<Daemon, String> {
        let program = self.options.assets.program(name);
        let shown = program.display().to_string();
        Daemon::start(program, arguments, &self.folder, &self.options.marks)
            .map_err(|error| format!("{shown}: {error}"))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A file that a cluster has with either API server.
    fn shared(&self, name: &str) -> String {
        self.options.directory.join(name).display().to_string()
    }

    /// Writes certificates and configuration; they are new at each start, but for the authority.
    fn write(&self, authority: &Authority) -> Result<(), String> {
        let loopback = || vec!["127.0.0.1".to_owned()];
        let failed = |error: rcgen::Error| error.to_string();
        // Who may talk to etcd may do everything: an authority of its own, whose members are these two.
        let etcd = Authority::load_or_create(&self.folder.join("etcd"), "etcd")
            .map_err(|error| error.to_string())?;
        self.identity(
            "etcd-server",
            &etcd.peer("etcd", loopback()).map_err(failed)?,
        )?;
        self.identity(
            "etcd-client",
            &etcd.client("kube-apiserver", None).map_err(failed)?,
        )?;
        let mut names: Vec<String> = [
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(str::to_owned)
        .to_vec();
        names.extend(first_address(&self.options.service_cidr));
        let server = authority.serving("kube-apiserver", names).map_err(failed)?;
        self.identity("server", &server)?;
        let kubelet = authority
            .client("kube-apiserver-kubelet-client", Some("system:masters"))
            .map_err(failed)?;
        self.identity("kubelet-client", &kubelet)?;
        let egress = authority
            .client("kube-apiserver-egress-client", None)
            .map_err(failed)?;
        self.identity("egress-client", &egress)?;
        for (file, user) in [
            ("controller-manager.json", "system:kube-controller-manager"),
            ("scheduler.json", "system:kube-scheduler"),
        ] {
            let identity = authority.client(user, None).map_err(failed)?;
            let server = format!("https://127.0.0.1:{}", self.port);
            let config = kubeconfig(&server, authority.pem(), Some(&identity));
            self.file(file, &config.to_string())?;
        }
        let url = format!("https://127.0.0.1:{}{AUTHENTICATE}", self.options.webhooks);
        let authenticator = kubeconfig(&url, authority.pem(), None);
        self.file("authenticator.json", &authenticator.to_string())?;
        let masters = format!("{},system:admin,admin,system:masters\n", self.token);
        self.file("tokens.csv", &masters)?;
        let selector = json!({
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": {
                "proxyProtocol": "HTTPConnect",
                "transport": {"tcp": {
                    "url": format!("https://127.0.0.1:{}", self.egress),
                    "tlsConfig": {
                        "caBundle": self.shared("ca.crt"),
                        "clientCert": self.path("egress-client.crt"),
                        "clientKey": self.path("egress-client.key"),
                    },
                }},
            }}],
        });
        self.file("egress.json", &selector.to_string())
    }

    fn identity(&self, name: &str, identity: &Identity) -> Result<(), String> {
        self.file(&format!("{name}.crt"), &identity.certificate)?;
        self.file(&format!("{name}.key"), &identity.key)
    }

    fn file(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.folder.join(name);
        crate::sandbox::state::write_private(&path, text.as_bytes())
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn etcd_arguments(&self) -> Vec<String> {
        let client = format!("https://127.0.0.1:{}", self.etcd);
        // It has no peers; the address it would have for them is never dialled.
        let peer = "https://127.0.0.1:2380";
        let (certificate, key) = (self.path("etcd-server.crt"), self.path("etcd-server.key"));
        let authority = self.path("etcd/ca.crt");
        flags(&[
            ("name", "sandbox"),
            ("data-dir", &self.shared("etcd")),
            ("listen-client-urls", &client),
            ("advertise-client-urls", &client),
            ("listen-peer-urls", "https://127.0.0.1:0"),
            ("initial-advertise-peer-urls", peer),
            ("initial-cluster", &format!("sandbox={peer}")),
            ("cert-file", &certificate),
            ("key-file", &key),
            ("trusted-ca-file", &authority),
            ("client-cert-auth", "true"),
            ("peer-cert-file", &certificate),
            ("peer-key-file", &key),
            ("peer-trusted-ca-file", &authority),
            ("peer-client-cert-auth", "true"),
            // What the system was told survives the process; a power cut may cost a sandbox.
            ("unsafe-no-fsync", "true"),
            ("log-level", "warn"),
        ])
    }

    fn server_arguments(&self) -> Vec<String> {
        let options = self.options;
        flags(&[
            ("bind-address", "127.0.0.1"),
            ("secure-port", &self.port.to_string()),
            // The addresses of EKS's API servers are those of interfaces that nothing listens on here.
            ("advertise-address", "127.0.0.1"),
            ("endpoint-reconciler-type", "none"),
            ("cert-dir", &self.path("certificates")),
            ("tls-cert-file", &self.path("server.crt")),
            ("tls-private-key-file", &self.path("server.key")),
            ("client-ca-file", &self.shared("ca.crt")),
            ("token-auth-file", &self.path("tokens.csv")),
            ("etcd-servers", &format!("https://127.0.0.1:{}", self.etcd)),
            ("etcd-cafile", &self.path("etcd/ca.crt")),
            ("etcd-certfile", &self.path("etcd-client.crt")),
            ("etcd-keyfile", &self.path("etcd-client.key")),
            ("service-cluster-ip-range", &options.service_cidr),
            ("service-account-issuer", &options.issuer),
            (
                "service-account-jwks-uri",
                &format!("{}/keys", options.issuer),
            ),
            ("service-account-key-file", &self.shared("sa.pub")),
            ("service-account-signing-key-file", &self.shared("sa.key")),
            ("api-audiences", "https://kubernetes.default.svc"),
            (
                "authentication-token-webhook-config-file",
                &self.path("authenticator.json"),
            ),
            ("authentication-token-webhook-version", "v1"),
            // Access entries change within moments of modelled time.
            ("authentication-token-webhook-cache-ttl", "1s"),
            ("authorization-mode", "Node,RBAC"),
            ("enable-admission-plugins", "NodeRestriction"),
            ("allow-privileged", "true"),
            ("egress-selector-config-file", &self.path("egress.json")),
            // Services are dialled at their endpoints, as on EKS: its errors name those that have none.
            ("enable-aggregator-routing", "true"),
            (
                "kubelet-client-certificate",
                &self.path("kubelet-client.crt"),
            ),
            ("kubelet-client-key", &self.path("kubelet-client.key")),
            (
                "kubelet-preferred-address-types",
                "InternalIP,Hostname,InternalDNS",
            ),
            ("profiling", "false"),
        ])
    }

    fn controller_manager_arguments(&self) -> Vec<String> {
        flags(&[
            ("kubeconfig", &self.path("controller-manager.json")),
            ("bind-address", "127.0.0.1"),
            ("secure-port", "0"),
            ("leader-elect", "false"),
            ("cluster-name", &self.options.name),
            ("use-service-account-credentials", "true"),
            ("service-account-private-key-file", &self.shared("sa.key")),
            ("root-ca-file", &self.shared("ca.crt")),
            ("cluster-signing-cert-file", &self.shared("ca.crt")),
            ("cluster-signing-key-file", &self.shared("ca.key")),
            // It would be made elsewhere on the machine.
            ("flex-volume-plugin-dir", &self.path("volume-plugins")),
            ("node-monitor-period", "1s"),
            ("kube-api-qps", "200"),
            ("kube-api-burst", "400"),
            ("profiling", "false"),
        ])
    }

    fn scheduler_arguments(&self) -> Vec<String> {
        flags(&[
            ("kubeconfig", &self.path("scheduler.json")),
            ("bind-address", "127.0.0.1"),
            ("secure-port", "0"),
            ("leader-elect", "false"),
            ("profiling", "false"),
        ])
    }
}

fn flags(list: &[(&str, &str)]) -> Vec<String> {
    list.iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

/// `10.100.0.1` of `10.100.0.0/16`: the address of the Service `kubernetes`.
fn first_address(range: &str) -> Option<String> {
    let network: Ipv4Addr = range.split('/').next()?.parse().ok()?;
    Some(Ipv4Addr::from(u32::from(network) + 1).to_string())
}

fn kubeconfig(server: &str, authority: &str, identity: Option<&Identity>) -> Value {
    use base64::Engine;
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let user = identity.map_or(json!({}), |identity| {
        json!({
            "client-certificate-data": encoded(&identity.certificate),
            "client-key-data": encoded(&identity.key),
        })
    });
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {
            "server": server, "certificate-authority-data": encoded(authority),
        }}],
        "users": [{"name": "sandbox", "user": user}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
        "current-context": "sandbox",
    })
}

/// The file that says which programs a cluster was made with.
fn mark(directory: &Path) -> PathBuf {
    directory.join("peer.json")
}

/// Where the programs of the cluster in this directory are, if it was made with some.
pub fn marked(directory: &Path) -> Option<PathBuf> {
    let text = std::fs::read(mark(directory)).ok()?;
    let mark: Value = serde_json::from_slice(&text).ok()?;
    mark["assets"].as_str().map(PathBuf::from)
}

/// Says that the cluster in this directory is run by these programs.
pub fn set_mark(directory: &Path, assets: &Assets) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let text = json!({"assets": assets.folder}).to_string();
    crate::sandbox::state::write_private(&mark(directory), text.as_bytes())
}
