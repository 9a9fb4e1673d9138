//! The AWS Load Balancer Controller: its kinds, itself, and the class of Ingresses that it serves.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ingress::release_bindings;
use super::outputs::ControlPlane;
use crate::clients::kube::{
    Access, Bundle, Certificate, CertificateSecret, Cluster, Objects, Reference, Template,
};
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{Context, Expected, Input, Result, StepId};
use crate::mesh::{ServiceAccountRole, labels};
use crate::template;

pub(super) const CRDS: Template = template!("load-balancer/crds.yaml");
pub(super) const CONTROLLER: Template = template!("load-balancer/controller.yaml");
pub(super) const WEBHOOKS: Template = template!("load-balancer/webhooks.yaml");
pub(super) const CLASS: Template = template!("load-balancer/ingress-class.yaml");
pub(super) const POLICY: Template = template!("load-balancer/policy.json");

/// Policy and controller are of one version.
const IMAGE: &str = "public.ecr.aws/eks/aws-load-balancer-controller:v3.5.0";
const NAMESPACE: &str = "kube-system";
const NAME: &str = "aws-load-balancer-controller";
const WEBHOOK_SERVICE: &str = "aws-load-balancer-webhook-service";
const SECRET: &str = "aws-load-balancer-tls";

/// The controller's IAM role: its name in the environment.
pub const ROLE: &str = "load-balancer-controller";

/// The controller's IAM role.
pub fn role() -> ServiceAccountRole {
    let subjects = vec![(NAMESPACE.to_owned(), NAME.to_owned())];
    ServiceAccountRole::new(ROLE, subjects, POLICY, json!({}))
}

/// The Deployment that takes finalizers off Ingresses.
pub(super) fn deployment() -> Reference {
    Reference::namespaced("apps/v1", "Deployment", NAMESPACE, NAME)
}

/// The controller's kinds.
pub struct LoadBalancerKinds {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The cluster.
    pub cluster: Input<Cluster>,
}

impl Objects for LoadBalancerKinds {
    fn id(&self) -> StepId {
        "load-balancer-kinds".into()
    }

    fn title(&self) -> String {
        "load balancer controller's kinds".into()
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, _: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let context = json!({"labels": labels(&Names::new(&self.environment.name))});
        Ok(Bundle::new(self.title(), cluster, CRDS.manifests(context)?))
    }

    /// The last that a controller did, starting or ending, may have been to make a binding. Nobody takes its finalizers
    /// off any more, and it keeps its kind.
    async fn remove(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let bundle = self.bundle(cx, cluster).await?;
        let mut gone = pin!(bundle.destroy(cx));
        let mut again = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                gone = &mut gone => return gone,
                _ = again.tick() => {
                    let released = release_bindings(cluster, &self.environment.namespace).await;
                    released.map_err(|trouble| trouble.failure(self.title()))?;
                }
            }
        }
    }
}

/// The controller, its webhooks and its class.
pub struct LoadBalancerController {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The cluster.
    pub cluster: Input<Cluster>,
    /// The control plane, for its VPC.
    pub control_plane: Input<ControlPlane>,
}

pub(super) fn manifests(
    environment: &Environment,
    access: &Access,
    vpc: &str,
    certificate: &Certificate,
) -> Result<Vec<Value>> {
    let names = Names::new(&environment.name);
    let context = json!({
        "labels": labels(&names),
        "environment": environment.name,
        "owner_tag": OWNER_TAG,
        "role_arn": format!("arn:{}:iam::{}:role/{}", access.partition, access.account, names.role(ROLE)),
        "certificate": certificate,
        "image": IMAGE,
        "cluster": access.name,
        "region": access.region,
        "vpc": vpc,
        "ingress": environment.ingress,
    });
    let mut manifests = CONTROLLER.manifests(&context)?;
    manifests.extend(WEBHOOKS.manifests(&context)?);
    // Its webhook validates it, so it comes last and is tried until the controller serves.
    manifests.extend(CLASS.manifests(&context)?);
    Ok(manifests)
}

fn certificate_secret() -> CertificateSecret {
    CertificateSecret::new(NAMESPACE, SECRET, WEBHOOK_SERVICE)
}

impl LoadBalancerController {
    fn manifests(
        &self,
        cx: &Context,
        cluster: &Cluster,
        certificate: &Certificate,
    ) -> Result<Vec<Value>> {
        let vpc = self.control_plane.get(cx)?.vpc;
        manifests(&self.environment, cluster.access(), &vpc, certificate)
    }
}

impl Objects for LoadBalancerController {
    fn id(&self) -> StepId {
        "load-balancer-controller".into()
    }

    fn title(&self) -> String {
        "AWS Load Balancer Controller".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(40, 10)
    }

    fn cluster(&self) -> &Input<Cluster> {
        &self.cluster
    }

    async fn bundle<'a>(&'a self, cx: &'a Context, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let certificate = certificate_secret().certificate(cluster).await?;
        let manifests = self.manifests(cx, cluster, &certificate)?;
        Ok(Bundle::new(self.title(), cluster, manifests))
    }

    async fn prepare(&self, cx: &Context, cluster: &Cluster) -> Result<()> {
        let manifests = |certificate: &Certificate| self.manifests(cx, cluster, certificate);
        certificate_secret().agree(cx, cluster, manifests).await
    }
}
