//! A node's kubelet: registers the node, keeps its lease, runs the pods bound to it and tells how they are.
//!
//! It is an ordinary client of the API server with the rights of `system:node:NAME`, one per instance of a node group.
//! Containers are processes of this machine, or tasks where the image is one that the sandbox stands in for
//! (`super::program`). There is no chroot and no root: absolute paths of a command that exist in the unpacked
//! image are mapped to where it lies, and the environment's POD_IP is the [twin](address::twin) of the address that the
//! API shows. A pod that got a proxy from the App Mesh controller has its application listen on an inner address
//! and its egress sent to the proxy, which on a real node is iptables' work.

mod access;
mod container;
mod environment;
mod events;
pub(crate) mod fuzz;
mod grpc_probe;
mod images;
mod node;
mod pod;
mod port_forward;
mod probes;
mod runtime;
mod server;
mod spdy;
mod status;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher;
use tokio::sync::watch;

use super::{Shutdown, stopped};
use crate::sandbox::clusters::{NodeOptions, client};
use crate::sandbox::data_plane::{self, address, aws};
use crate::sandbox::state::World;
use images::{Image, Images, Reference, Source};

/// What the parts of one kubelet share.
pub struct Kubelet {
    options: NodeOptions,
    world: World,
    client: kube::Client,
    addresses: address::Pool,
    images: Images,
    seen: Mutex<BTreeSet<String>>,
    events: events::Events,
    /// Whether the CNI plugin runs.
    network: watch::Sender<bool>,
    pods: Mutex<BTreeMap<String, pod::Handle>>,
}

impl Kubelet {
    /// Where a pod of this node is to be reached from this machine.
    fn address_of(&self, namespace: &str, name: &str) -> Option<std::net::IpAddr> {
        let pods = self
            .pods
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        pods.values().find_map(|handle| {
            let pod = handle.latest.borrow();
            let found = pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name);
            let address = pod.status.as_ref()?.pod_ip.as_deref()?;
            found.then(|| address::twin_of(address))?
        })
    }
}

/// Runs one node's kubelet until a shutdown is asked for. Its pods' processes end with it.
pub async fn run(options: NodeOptions, world: World, mut shutdown: Shutdown) {
    let name = options.name.clone();
    let client = match client::new(&options.access) {
        Ok(client) => client,
        Err(error) => {
            tracing::error!("kubelet {name}: {error}");
            return stopped(&mut shutdown).await;
        }
    };
    let spread = u32::from(options.private_ip) % 61 * 67;
    let kubelet = Arc::new(Kubelet {
        addresses: address::Pool::new(options.subnet, spread),
        images: Images::new(world.directory.join("images")),
        seen: Mutex::default(),
        events: events::Events::new(client.clone(), &name),
        network: watch::Sender::new(false),
        pods: Mutex::default(),
        client,
        options,
        world,
    });
    let port = match server::start(kubelet.clone(), shutdown.clone()).await {
        Ok(port) => port,
        Err(error) => {
            tracing::warn!("kubelet {name}: no logs will be served: {error}");
            0
        }
    };
    // Asked for before the first container wants it.
    tokio::task::spawn_blocking(environment::host_path);
    let registered = node::keep(kubelet.clone(), port);
    tokio::select! {
        () = registered => {}
        () = kubelet.clone().watch_pods() => {}
        () = stopped(&mut shutdown) => {}
    }
    let handles: Vec<pod::Handle> = std::mem::take(&mut *kubelet.handles())
        .into_values()
        .collect();
    for handle in &handles {
        handle.kill.send_replace(true);
    }
    for handle in handles {
        let _ = handle.task.await;
    }
}

impl Kubelet {
    fn handles(&self) -> MutexGuard<'_, BTreeMap<String, pod::Handle>> {
        self.pods
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Follows the pods that are bound to this node.
    async fn watch_pods(self: Arc<Self>) {
        let api: Api<Pod> = Api::all(self.client.clone());
        let config =
            watcher::Config::default().fields(&format!("spec.nodeName={}", self.options.name));
        let mut changes = pin!(watcher(api, config));
        let mut listed = BTreeSet::new();
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(pod)) => {
                    listed.extend(pod.metadata.uid.clone());
                    self.apply(pod);
                }
                Ok(watcher::Event::InitDone) => self.keep_only(&listed),
                Ok(watcher::Event::Apply(pod)) => self.apply(pod),
                Ok(watcher::Event::Delete(pod)) => {
                    self.remove(&pod.metadata.uid.unwrap_or_default())
                }
                Err(error) => {
                    tracing::debug!("kubelet {}: {error}", self.options.name);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    fn apply(self: &Arc<Self>, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let pod = Arc::new(pod);
        let mut pods = self.handles();
        match pods.get(&uid) {
            Some(handle) => drop(handle.latest.send_replace(pod)),
            None => {
                let handle = pod::start(self, pod);
                pods.insert(uid, handle);
            }
        }
    }

    /// The object is gone, whoever removed it; nothing is left to tell.
    fn remove(&self, uid: &str) {
        if let Some(handle) = self.handles().remove(uid) {
            handle.kill.send_replace(true);
        }
    }

    fn keep_only(&self, listed: &BTreeSet<String>) {
        let gone: Vec<String> = self
            .handles()
            .keys()
            .filter(|uid| !listed.contains(*uid))
            .cloned()
            .collect();
        for uid in gone {
            self.remove(&uid);
        }
    }

    fn scale(&self, modelled: Duration) -> Duration {
        self.world.clock.scale(modelled)
    }

    fn images_seen(&self, image: &str) -> bool {
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        !seen.insert(image.to_owned())
    }

    fn images_forget(&self, image: &str) {
        let mut seen = self
            .seen
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        seen.remove(image);
    }

    /// What every container finds in its environment.
    fn service_environment(&self) -> BTreeMap<String, String> {
        let server = self.options.access.server.trim_start_matches("https://");
        let (host, port) = server.rsplit_once(':').unwrap_or((server, "443"));
        [
            ("KUBERNETES_SERVICE_HOST", host),
            ("KUBERNETES_SERVICE_PORT", port),
            ("KUBERNETES_SERVICE_PORT_HTTPS", port),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Pulls an image as the node would: from ECR with the node role's credentials, from elsewhere without any.
    async fn pull(&self, image: &str) -> Result<Image, images::Error> {
        let reference = Reference::parse(image)?;
        let own = format!(
            "{}.dkr.ecr.{}.amazonaws.com",
            self.world.account, self.options.access.region
        );
        if reference.registry != *self.world.ecr_host && reference.registry != own {
            return Err(images::Error::Pull(format!(
                "failed to do request: Head \"https://{}/v2/{}/manifests/{}\": dial tcp: lookup {}: no such host",
                reference.registry, reference.repository, reference.version, reference.registry
            )));
        }
        let source = Source {
            base: format!("http://{}", self.world.ecr_host),
            authorization: Some(self.authorization().await.map_err(images::Error::Pull)?),
        };
        self.images.pull(&reference, &source).await
    }

    /// The registry's authorization, asked for with the node role's credentials as the credential provider does.
    async fn authorization(&self) -> Result<String, String> {
        let credentials = data_plane::instance_credentials(
            &self.world,
            &self.options.role,
            &self.options.instance_id,
        )
        .ok_or_else(|| format!("no credentials for the node role {}", self.options.role))?;
        let signer = aws::Signer {
            endpoint: self.world.endpoint.to_string(),
            region: self.options.access.region.clone(),
            credentials,
        };
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            (
                "x-amz-target",
                "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
            ),
        ];
        let answer = signer
            .send("ecr", reqwest::Method::POST, "/", &headers, "{}".to_owned())
            .await
            .map_err(|error| format!("failed to resolve reference: pull access denied: {error}"))?;
        let token = answer["authorizationData"][0]["authorizationToken"].as_str();
        token
            .map(|token| format!("Basic {token}"))
            .ok_or_else(|| "ECR answered without a token".to_owned())
    }
}
