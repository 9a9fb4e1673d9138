//! The AWS Load Balancer Controller, v3.5.0, as far as Ingresses go: an application load balancer per Ingress or group
//! of Ingresses, with its target groups, security groups and targets.

mod bindings;
mod deploy;
mod flags;
mod groups;
mod listeners;
mod model;
mod networks;
mod rules;
mod targets;
mod webhooks;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_sdk_elasticloadbalancingv2 as elbv2;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::Mutex;

use super::ContainerContext;
use super::program::leader::Election;
use super::program::webhooks::Webhooks;
use super::program::{self, aws, fail, probes};
use super::runtime::kinds::{
    ENDPOINT_SLICES, INGRESS_CLASSES, INGRESSES, NAMESPACES, NODES, PODS, SERVICES,
};
use super::runtime::{ApiError, Cluster, Key, Resource};
use crate::ec2::Ec2;

/// Where the webhooks' certificate is mounted unless a flag says otherwise.
const CERTIFICATES: &str = "/tmp/k8s-webhook-server/serving-certs";

static TARGET_GROUP_BINDINGS: Resource = Resource::namespaced(
    "elbv2.k8s.aws",
    "v1beta1",
    "targetgroupbindings",
    "TargetGroupBinding",
);
static INGRESS_CLASS_PARAMS: Resource = Resource::cluster(
    "elbv2.k8s.aws",
    "v1beta1",
    "ingressclassparams",
    "IngressClassParams",
);

/// Why something could not be brought about.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
struct Trouble(String);

impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Trouble(message)
    }
}

impl From<&str> for Trouble {
    fn from(message: &str) -> Self {
        Trouble(message.to_owned())
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Trouble(error.to_string())
    }
}

impl From<crate::ec2::Error> for Trouble {
    fn from(error: crate::ec2::Error) -> Self {
        Trouble(format!("operation error EC2, api error {error}"))
    }
}

/// An error of Elastic Load Balancing in the words of AWS's Go SDK.
fn refused<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> Trouble
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
    SdkError<E, R>: RequestId + std::error::Error,
{
    move |error| {
        let id = error.request_id().unwrap_or_default().to_owned();
        Trouble(match error.as_service_error() {
            Some(service) => format!(
                "operation error Elastic Load Balancing v2: {operation}, https response error RequestID: {id}, api error {}: {}",
                service.code().unwrap_or("Unknown"),
                service.message().unwrap_or_default()
            ),
            None => format!(
                "operation error Elastic Load Balancing v2: {operation}, {}",
                DisplayErrorContext(&error)
            ),
        })
    }
}

/// What all parts of the running controller share.
struct Controller {
    cluster: Cluster,
    elb: elbv2::Client,
    ec2: Ec2,
    flags: program::flags::Flags,
    name: String,
    vpc: String,
    context: ContainerContext,
    /// The shared backend security group once it is known; the lock also orders its making and its removal.
    backend: Mutex<Option<String>>,
    /// What each TargetGroupBinding wants opened on which security group.
    openings: Mutex<HashMap<Key, networks::Openings>>,
}

impl Controller {
    /// Returns once the caches that the webhooks read are filled.
    async fn synced(&self) {
        let read = [
            &INGRESS_CLASSES,
            &INGRESS_CLASS_PARAMS,
            &SERVICES,
            &TARGET_GROUP_BINDINGS,
        ];
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
            return fail(context, "unable to load controller config", &error);
        }
    };
    if let Err(error) = flags::validate(&flags) {
        return fail(context, "unable to load controller config", &error);
    }
    program::say(
        context,
        "info",
        "",
        "version",
        json!({ "GitVersion": "v3.5.0" }),
    );
    for (flag, what) in [
        (
            "aws-region",
            "region from EC2Metadata, specify --aws-region",
        ),
        (
            "aws-vpc-id",
            "vpcID from EC2Metadata or Node name, specify --aws-vpc-id",
        ),
    ] {
        if flags.text(flag).is_empty() {
            // The metadata service does not answer pods: its hop limit is one.
            let error = format!(
                "failed to get {what} instead if EC2Metadata is unavailable: failed to fetch from instance metadata"
            );
            return fail(context, "unable to initialize AWS cloud", &error);
        }
    }
    let client = match program::kubernetes_client(context) {
        Ok(client) => client,
        Err(error) => return fail(context, "unable to build REST config", &error),
    };
    let config = aws::configure(context, flags.text("aws-region"));
    let controller = Arc::new(Controller {
        cluster: Cluster::new(client, "ingress", context.shutdown.clone())
            .with_log(context.log.clone()),
        elb: elbv2::Client::new(&config),
        ec2: Ec2::new(&config),
        name: flags.text("cluster-name").to_owned(),
        vpc: flags.text("aws-vpc-id").to_owned(),
        flags,
        context: context.clone(),
        backend: Mutex::new(None),
        openings: Mutex::default(),
    });
    serve(controller).await
}

fn port(address: &str, default: u16) -> u16 {
    address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or(default)
}

async fn serve(controller: Arc<Controller>) -> i32 {
    let context = &controller.context;
    let flags = &controller.flags;
    let caches = [
        &INGRESSES,
        &INGRESS_CLASSES,
        &INGRESS_CLASS_PARAMS,
        &SERVICES,
        &ENDPOINT_SLICES,
        &PODS,
        &NODES,
        &NAMESPACES,
        &TARGET_GROUP_BINDINGS,
    ];
    for kind in caches {
        controller.cluster.cache(kind);
    }
    let mut hooks = Webhooks::default();
    webhooks::register(&controller, &mut hooks);
    let address = SocketAddr::new(context.twin, flags.int("webhook-bind-port") as u16);
    let _server = match hooks.serve(context, address, CERTIFICATES).await {
        Ok(server) => server,
        Err(error) => return fail(context, "problem running manager", &error),
    };
    let address = SocketAddr::new(
        context.twin,
        port(flags.text("health-probe-bind-addr"), 61779),
    );
    let _probes = match probes::serve(address, &["/healthz", "/readyz"]).await {
        Ok(probes) => probes,
        Err(error) => return fail(context, "problem running manager", &error.to_string()),
    };
    let address = SocketAddr::new(context.twin, port(flags.text("metrics-bind-addr"), 8080));
    let _metrics = probes::serve(address, &["/metrics"]).await.ok();
    let cluster = &controller.cluster;
    let lease = flags.text("leader-election-id");
    let elected = flags.is("enable-leader-election");
    let election = elected.then(|| Election::new(cluster.clone(), context, lease));
    let work = async {
        tokio::join!(
            groups::run(controller.clone()),
            bindings::run(controller.clone())
        );
    };
    program::manage(context, cluster, &caches, election, work).await
}
