//! The API server of a cluster: the embedded one, or a real one in its place.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::cluster::Assignment;
use super::peer::{self, Assets, Peer};
use super::tokens::{NodeTokens, authenticator};
use super::{ClusterAccess, client, pod_identity, webhooks};
use crate::sandbox::data_plane::address;
use crate::sandbox::kubernetes::{Keys, ServeError, Server, ServerOptions, VERSION, serve};
use crate::sandbox::state::World;

/// How long to wait before an API server that could not start is tried again; twice as long each time, up to the
/// longest.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(15);

/// A running API server, with what EKS runs beside it.
pub struct ApiServer {
    kind: Kind,
    /// How to reach it as `system:masters`.
    pub admin: ClusterAccess,
    /// Its client with these rights.
    pub client: kube::Client,
    webhooks: webhooks::Server,
}

enum Kind {
    Embedded(Server),
    Peer(Box<Peer>, Assets),
}

impl ApiServer {
    /// Starts the API server of a cluster, again and again until it runs.
    pub async fn start(
        world: &World,
        assignment: &Assignment,
        assets: Option<&Assets>,
        nodes: &NodeTokens,
    ) -> ApiServer {
        let mut assignment = assignment.clone();
        let mut pause = RETRY;
        loop {
            match attempt(world, &assignment, assets, nodes).await {
                Ok(server) => return server,
                Err(trouble) => {
                    tracing::error!("cluster {}: {}", assignment.name, trouble.message);
                    // Somebody has taken the port since the last run: the cluster gets another endpoint.
                    if trouble.port_taken {
                        assignment.port = 0;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_RETRY);
                }
            }
        }
    }

    /// The port of the webhooks that EKS runs beside it.
    pub fn webhook_port(&self) -> u16 {
        self.webhooks.port
    }

    /// The public keys of its service-account tokens.
    pub fn keys(&self) -> Value {
        match &self.kind {
            Kind::Embedded(server) => server.jwks(),
            Kind::Peer(peer, _) => peer.keys().clone(),
        }
    }

    /// Which Kubernetes this is, for people.
    pub fn description(&self) -> String {
        match &self.kind {
            Kind::Embedded(_) => format!("the embedded API server, {}", VERSION.2),
            Kind::Peer(_, assets) => {
                let mut programs = vec!["etcd", "kube-apiserver"];
                if assets.controller_manager {
                    programs.push("kube-controller-manager");
                }
                if assets.scheduler {
                    programs.push("kube-scheduler");
                }
                let folder = assets.folder.display();
                format!("{} {} from {folder}", programs.join(", "), assets.version)
            }
        }
    }

    /// Whether the sandbox has to do what a controller manager does, and what a scheduler does.
    pub fn stand_ins(&self) -> (bool, bool) {
        match &self.kind {
            Kind::Embedded(_) => (true, true),
            Kind::Peer(_, assets) => (!assets.controller_manager, !assets.scheduler),
        }
    }

    /// Ends it, and what was started with it.
    pub async fn stop(self) {
        match self.kind {
            Kind::Embedded(server) => server.stop().await,
            Kind::Peer(peer, _) => peer.stop().await,
        }
    }
}

struct Trouble {
    message: String,
    port_taken: bool,
}

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Trouble {
            message,
            port_taken: false,
        }
    }
}

async fn attempt(
    world: &World,
    assignment: &Assignment,
    assets: Option<&Assets>,
    nodes: &NodeTokens,
) -> Result<ApiServer, Trouble> {
    let directory = &assignment.directory;
    // Looked at before the keys are made, which are there with either API server.
    let assets = programs(directory, assets).await?;
    let keys = Keys::load_or_create(directory).map_err(|error| error.to_string())?;
    let authenticate = authenticator(world.clone(), assignment.key.clone(), nodes.clone());
    let webhooks = webhooks::start(
        keys.authority(),
        assignment.webhook_port,
        authenticate.clone(),
        &assignment.region,
    )
    .await?;
    let (kind, admin) = match assets {
        Some(assets) => {
            let options = peer::Options {
                assets: assets.clone(),
                directory: directory.clone(),
                marks: world.directory.join("processes"),
                name: assignment.name.clone(),
                region: assignment.region.clone(),
                port: assignment.port,
                service_cidr: assignment.service_cidr.clone(),
                issuer: assignment.issuer.clone(),
                webhooks: webhooks.port,
                ways: ways(world.clone(), assignment.key.clone()),
            };
            let peer = Peer::start(&options).await?;
            let admin = peer.access().clone();
            (Kind::Peer(Box::new(peer), assets), admin)
        }
        None => {
            let mut options = ServerOptions::new(directory);
            options.port = assignment.port;
            options.service_cidr.clone_from(&assignment.service_cidr);
            options.issuer.clone_from(&assignment.issuer);
            options.authenticate = Some(authenticate);
            options.dial = Arc::new(address::twin);
            options.faults = world.faults.clone();
            let server = serve(options).await.map_err(|error| Trouble {
                port_taken: matches!(error, ServeError::Listen { .. }),
                message: error.to_string(),
            })?;
            let admin = ClusterAccess {
                cluster: assignment.name.clone(),
                region: assignment.region.clone(),
                server: server.url().to_owned(),
                certificate_authority: server.ca_pem().to_owned(),
                token: server.admin_token().to_owned(),
            };
            (Kind::Embedded(server), admin)
        }
    };
    let client = client::new(&admin)?;
    let server = ApiServer {
        kind,
        admin,
        client,
        webhooks,
    };
    server.webhooks.connect(server.client.clone());
    if let Err(error) = server.configure(keys.authority().pem()).await {
        server.stop().await;
        return Err(format!("the pod-identity webhook: {error}").into());
    }
    Ok(server)
}

impl ApiServer {
    /// Brings in what EKS has in every cluster from its first moment.
    async fn configure(&self, authority: &str) -> Result<(), kube::Error> {
        let kind = GroupVersionKind::gvk(
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
        );
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
        let configuration = pod_identity::configuration(self.webhooks.port, authority);
        api.patch(
            pod_identity::NAME,
            &PatchParams::apply("eks").force(),
            &Patch::Apply(configuration),
        )
        .await
        .map(drop)
    }
}

/// The programs that serve the cluster of a directory; none for the embedded API server. A cluster stays with what it was
/// made with, since neither can read the other's data.
async fn programs(
    directory: &std::path::Path,
    assets: Option<&Assets>,
) -> Result<Option<Assets>, String> {
    if let Some(folder) = peer::marked(directory) {
        return match (Assets::find(&folder).await, assets) {
            (Ok(found), _) => Ok(Some(found)),
            (Err(_), Some(assets)) => Ok(Some(assets.clone())),
            (Err(error), None) => Err(format!(
                "it was made with the programs of a real Kubernetes, which are gone: {error}; set KUBEBUILDER_ASSETS"
            )),
        };
    }
    let Some(assets) = assets.filter(|_| !directory.join("ca.crt").exists()) else {
        return Ok(None);
    };
    peer::set_mark(directory, assets).map_err(|error| error.to_string())?;
    Ok(Some(assets.clone()))
}

/// Pods and load balancers listen on the twins of their addresses; kubelets listen on 127.0.0.1.
fn ways(world: World, key: String) -> peer::Ways {
    Arc::new(move |shown| {
        let state = world.state();
        let is_node = state.eks.clusters.get(&key).is_some_and(|cluster| {
            cluster
                .nodegroups
                .values()
                .flat_map(|group| &group.nodes)
                .any(|node| node.address == shown)
        });
        match is_node {
            true => vec![std::net::Ipv4Addr::LOCALHOST, address::twin(shown)],
            false => vec![address::twin(shown)],
        }
    })
}
