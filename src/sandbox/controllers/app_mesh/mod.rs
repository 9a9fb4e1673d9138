//! The App Mesh controller, v1.13.3: keeps App Mesh in AWS as the cluster's custom resources say, and puts Envoy into
//! pods. It has what its manifests give it: flags, a service account's token, a role's credentials, a certificate.

mod api;
mod flags;
mod gateways;
mod injector;
mod reconcile;
mod references;
mod routes;
mod sidecars;
mod spec;
mod webhooks;

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::ContainerContext;
use super::program::leader::Election;
use super::program::webhooks::Webhooks;
use super::program::{self, aws, fail, probes};
use super::runtime::kinds::{NAMESPACES, PODS};
use super::runtime::{Cluster, Resource};

/// The version that the controller says it is.
const VERSION: &str = "v1.13.3";
/// Where the webhooks' certificate is mounted.
const CERTIFICATES: &str = "/tmp/k8s-webhook-server/serving-certs";

/// The group of the custom resources.
const GROUP: &str = "appmesh.k8s.aws";
static MESHES: Resource = Resource::cluster(GROUP, "v1beta2", "meshes", "Mesh");
static VIRTUAL_NODES: Resource =
    Resource::namespaced(GROUP, "v1beta2", "virtualnodes", "VirtualNode");
static VIRTUAL_ROUTERS: Resource =
    Resource::namespaced(GROUP, "v1beta2", "virtualrouters", "VirtualRouter");
static VIRTUAL_SERVICES: Resource =
    Resource::namespaced(GROUP, "v1beta2", "virtualservices", "VirtualService");
static VIRTUAL_GATEWAYS: Resource =
    Resource::namespaced(GROUP, "v1beta2", "virtualgateways", "VirtualGateway");
static GATEWAY_ROUTES: Resource =
    Resource::namespaced(GROUP, "v1beta2", "gatewayroutes", "GatewayRoute");
static BACKEND_GROUPS: Resource =
    Resource::namespaced(GROUP, "v1beta2", "backendgroups", "BackendGroup");

/// What all parts of the running controller share.
struct Controller {
    cluster: Cluster,
    api: api::AppMesh,
    flags: program::flags::Flags,
    account: String,
    region: String,
    kubernetes_version: String,
    context: ContainerContext,
}

impl Controller {
    /// Returns once the caches that the webhooks read are filled.
    async fn synced(&self) {
        let read = [&MESHES, &VIRTUAL_NODES, &VIRTUAL_GATEWAYS, &NAMESPACES];
        self.cluster.synced(&read).await;
    }
}

/// Runs the controller in a container.
pub fn run(context: ContainerContext) -> BoxFuture<'static, i32> {
    program::run(context, |context| start(context).boxed())
}

async fn start(context: &ContainerContext) -> i32 {
    let flags = match program::flags::parse(flags::KNOWN, &context.args) {
        Ok(flags) => flags,
        Err(error) => {
            context.say(&error);
            return 2;
        }
    };
    if let Err(error) = flags::validate(&flags) {
        return fail(context, "invalid flags", &error);
    }
    program::say(
        context,
        "info",
        "setup",
        "version",
        json!({ "GitVersion": VERSION }),
    );
    let client = match program::kubernetes_client(context) {
        Ok(client) => client,
        Err(error) => return fail(context, "unable to get kubeconfig", &error),
    };
    let region = match flags.text("aws-region") {
        "" => {
            // The metadata service does not answer pods: its hop limit is one.
            return fail(
                context,
                "unable to initialize AWS cloud",
                "failed to introspect region from EC2Metadata, specify --aws-region instead if EC2Metadata is unavailable: RequestError: send request failed",
            );
        }
        region => region.to_owned(),
    };
    let config = aws::configure(context, &region);
    let account = match flags.text("aws-account-id") {
        "" => match aws_sdk_sts::Client::new(&config)
            .get_caller_identity()
            .send()
            .await
        {
            Ok(identity) => identity.account().unwrap_or_default().to_owned(),
            Err(error) => {
                let error = aws_smithy_types::error::display::DisplayErrorContext(&error);
                return fail(
                    context,
                    "unable to initialize AWS cloud",
                    &format!(
                        "failed to introspect accountID from STS, specify --aws-account-id instead if STS is unavailable: {error}"
                    ),
                );
            }
        },
        account => account.to_owned(),
    };
    let kubernetes_version = match client.apiserver_version().await {
        Ok(version) => version.git_version,
        Err(error) => {
            return fail(
                context,
                "unable to start app mesh controller",
                &error.to_string(),
            );
        }
    };
    let cluster = Cluster::new(client, "appmesh-controller", context.shutdown.clone())
        .with_log(context.log.clone());
    let controller = Arc::new(Controller {
        cluster: cluster.clone(),
        api: api::AppMesh::new(&config),
        account,
        region,
        kubernetes_version,
        context: context.clone(),
        flags,
    });
    serve(controller).await
}

async fn serve(controller: Arc<Controller>) -> i32 {
    let context = &controller.context;
    let port = controller.flags.int("health-probe-port") as u16;
    let address = SocketAddr::new(context.twin, port);
    let _probes = match probes::serve(address, &["/healthz"]).await {
        Ok(probes) => probes,
        Err(error) => {
            return fail(
                context,
                "unable to start app mesh controller",
                &error.to_string(),
            );
        }
    };
    let metrics = controller.flags.text("metrics-addr");
    let _metrics = match metrics
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
    {
        Some(0) | None => None,
        Some(port) => probes::serve(SocketAddr::new(context.twin, port), &["/metrics"])
            .await
            .ok(),
    };
    let caches = [
        &MESHES,
        &VIRTUAL_NODES,
        &VIRTUAL_ROUTERS,
        &VIRTUAL_SERVICES,
        &VIRTUAL_GATEWAYS,
        &GATEWAY_ROUTES,
        &NAMESPACES,
        &PODS,
    ];
    for kind in caches {
        controller.cluster.cache(kind);
    }
    // The webhooks read through the caches and are served by every replica, leader or not.
    let mut hooks = Webhooks::default();
    webhooks::register(&controller, &mut hooks);
    injector::register(&controller, &mut hooks);
    let address = SocketAddr::new(context.twin, 9443);
    let _server = match hooks.serve(context, address, CERTIFICATES).await {
        Ok(server) => server,
        Err(error) => return fail(context, "problem running manager", &error),
    };
    let cluster = &controller.cluster;
    let lease = "appmesh-controller-leader-election";
    let elected = controller.flags.is("enable-leader-election");
    let election = elected.then(|| Election::new(cluster.clone(), context, lease));
    let work = reconcile::run(controller.clone());
    program::manage(context, cluster, &caches, election, work).await
}

/// Whether a resource carries its kind's active condition.
fn active(object: &Value, kind: &str) -> bool {
    super::runtime::object::is_true(object, &format!("{kind}Active"))
}
