//! The listener: TLS, HTTP/1.1 and HTTP/2, and the life of a running server.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::FutureExt as _;
use hyper::service::service_fn;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::admission::Connections;
use super::api::{Api, answer};
use super::apply::{self, Writer};
use super::resources::Registry;
use super::store::{Expected, Store};
use super::{Keys, ServeError, ServerOptions, definitions, object, rbac, strategy};
use crate::sandbox::{asked, http};

/// A running API server. Dropping it stops it; [`Server::stop`] also waits until everything is saved.
pub struct Server {
    address: SocketAddr,
    url: String,
    api: Arc<Api>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    saved: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its files are.
    pub fn directory(&self) -> &std::path::Path {
        &self.api.options.directory
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority that signed its certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.api.keys.ca_pem()
    }

    /// The certificate authority, DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        self.api.keys.ca_der()
    }

    /// The public keys of its service-account tokens.
    pub fn jwks(&self) -> Value {
        self.api.keys.jwks()
    }

    /// The bearer token of the control plane's own components (`system:masters`); another one at each start.
    pub fn admin_token(&self) -> &str {
        &self.api.admin_token
    }

    /// Ends watches and connections, saves everything and closes the port.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            let _ = task.await;
        }
        let saved = self.saved.take();
        // The log ends when the last one who could write has gone.
        drop(self);
        if let Some(saved) = saved {
            let _ = tokio::time::timeout(Duration::from_secs(5), saved).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

pub(super) async fn start(options: ServerOptions) -> Result<Server, ServeError> {
    let keys = Keys::load_or_create(&options.directory)?;
    let Some((first, _)) = strategy::range(&options.service_cidr) else {
        return Err(ServeError::Option(format!(
            "{} is no range for services",
            options.service_cidr
        )));
    };
    let kubernetes = Ipv4Addr::from(first + 1);
    let tls = tls(&keys, &options, kubernetes)?;
    let kubelets = kubelets(&keys).map_err(|reason| ServeError::Keys {
        path: options.directory.clone(),
        reason,
    })?;
    let (store, saved) =
        Store::open(&options.directory, options.history).map_err(|source| ServeError::File {
            path: options.directory.clone(),
            source,
        })?;
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listen = |source| ServeError::Listen {
        address: wanted,
        source,
    };
    let listener = TcpListener::bind(wanted).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let (stop, stopped) = watch::channel(false);
    let api = Arc::new(Api {
        options,
        keys,
        kubelets: Arc::new(kubelets),
        store,
        registry: Registry::new(),
        admin_token: format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..)),
        rbac: Mutex::default(),
        addresses: Mutex::default(),
        webhooks: Connections::default(),
        allocation: Mutex::default(),
        stopped,
        definitions: Notify::new(),
    });
    bootstrap(&api, kubernetes);
    definitions::load(&api);
    let tasks = vec![
        tokio::spawn(definitions::follow(api.clone())),
        tokio::spawn(keep_house(api.clone(), kubernetes)),
        tokio::spawn(accept(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            api.clone(),
        )),
    ];
    Ok(Server {
        address,
        url: format!("https://{address}"),
        api,
        stop,
        tasks,
        saved: Some(saved),
    })
}

/// Kubelets ask who dials them; their own certificates are theirs alone, and nobody looks at them.
fn kubelets(keys: &Keys) -> Result<rustls::ClientConfig, String> {
    keys.authority()
        .client("kube-apiserver-kubelet-client", Some("system:masters"))
        .map_err(|error| error.to_string())?
        .client()
}

fn tls(
    keys: &Keys,
    options: &ServerOptions,
    kubernetes: Ipv4Addr,
) -> Result<rustls::ServerConfig, ServeError> {
    let wrong = |reason: String| ServeError::Keys {
        path: options.directory.clone(),
        reason,
    };
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
    names.push(kubernetes.to_string());
    let identity = keys
        .authority()
        .serving("kube-apiserver", names)
        .map_err(|error| wrong(error.to_string()))?;
    let mut tls = identity.server().map_err(wrong)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

/// What every cluster has from its first moment.
fn bootstrap(api: &Api, kubernetes: Ipv4Addr) {
    let mut objects = rbac::defaults(&api.registry.index());
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        }));
    }
    for (name, value, description) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        objects.push(json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name, "generation": 1}, "value": value, "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        }));
    }
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": kubernetes.to_string(), "internalTrafficPolicy": "Cluster",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}],
            "sessionAffinity": "None", "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }));
    let index = api.registry.index();
    for mut object in objects {
        let (group, version) = object::group_version(object::text(&object, "apiVersion"));
        let Some(resource) = index.kind(group, version, object::text(&object, "kind")) else {
            continue;
        };
        // Who made it is known; what it is given besides is nobody's.
        let writer = Writer {
            manager: "kube-apiserver",
            api_version: &resource.api_version(),
            subresource: "",
        };
        let reset = strategy::reset(resource, "");
        apply::track(resource.schema(), &Value::Null, &mut object, &writer, reset);
        if resource.is("", "services") {
            object["spec"]["clusterIPs"] = json!([kubernetes.to_string()]);
            object["spec"]["ipFamilies"] = json!(["IPv4"]);
        } else if resource.is("", "namespaces") {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        object::default(&mut object, "metadata.uid", object::new_uid());
        object::default(&mut object, "metadata.creationTimestamp", object::now());
        // What is there already stays as it is.
        let _ = api.store.put(&resource.table, object, Expected::Absent);
    }
}

/// Forgets events after an hour, as the real server does, and puts back what a cluster cannot be without.
async fn keep_house(api: Arc<Api>, kubernetes: Ipv4Addr) {
    let mut stopped = api.stopped.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(10)) => {}
            () = asked(&mut stopped) => return,
        }
        bootstrap(&api, kubernetes);
        let limit = object::stamp(jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1));
        for event in api.store.all("events", "") {
            let made = object::text(&event.value["metadata"], "creationTimestamp");
            if made >= limit.as_str() {
                continue;
            }
            // The hour begins with the last write, whatever times the event itself tells.
            let metadata = &event.value["metadata"];
            let managers = metadata["managedFields"].as_array().into_iter().flatten();
            let writes = managers.filter_map(|manager| manager["time"].as_str());
            // All of one form, so that they compare as text.
            if writes.max().is_none_or(|last| last < limit.as_str()) {
                // Whoever changed it in the meantime keeps it.
                let _ = api
                    .store
                    .delete("events", event.value.clone(), event.revision);
            }
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, api: Arc<Api>) {
    let mut stopped = api.stopped.clone();
    let serve = |stream| {
        let (tls, api) = (tls.clone(), api.clone());
        let faults = api.options.faults.clone();
        async move {
            if faults.is_away() {
                return;
            }
            let (stream, breaker) = http::Breakable::new(stream);
            let broken = breaker.clone();
            let Some(stream) = http::secure(&tls, stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                answer(api.clone(), breaker.clone(), request).map(Ok::<_, Infallible>)
            });
            tokio::select! {
                () = http::serve(stream, service) => {}
                () = broken.tripped() => {}
                () = faults.gone_away() => {}
            }
        }
    };
    let mut connections = http::listen(listener, asked(&mut stopped), serve).await;
    connections.shutdown().await;
}
