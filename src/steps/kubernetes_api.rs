//! The way to the cluster: a token that is accepted and rights that have taken effect.

use std::sync::Arc;
use std::time::Duration;

use super::outputs::ControlPlane;
use crate::clients::Clients;
use crate::clients::kube::{self, Cluster, Reference, Trouble};
use crate::config::Environment;
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Poll, Result, Step, StepId,
    Wait,
};

/// The cluster's API, answering.
pub struct KubernetesApi {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The control plane.
    pub control_plane: Input<ControlPlane>,
}

impl KubernetesApi {
    fn cluster(&self, cx: &Context) -> Result<Cluster> {
        let plane = self.control_plane.get(cx)?;
        let access = kube::access(
            &self.environment,
            &self.clients,
            &plane.arn,
            &plane.endpoint,
            &plane.certificate_authority,
        );
        access.map(Cluster::new).ok_or_else(|| {
            Failure::of(
                FailureKind::Denied,
                self.title(),
                "there are no credentials to make a token with",
            )
            .hint("sign in (`aws sso login`, `aws configure`) or name a profile with --profile")
        })
    }
}

/// Reads what only somebody with rights may read.
async fn look(cluster: &Cluster) -> Result<(), Trouble> {
    let namespace = Reference::cluster("v1", "Namespace", "kube-system");
    cluster.get(&namespace).await.map(drop)
}

impl Step for KubernetesApi {
    type Outputs = Cluster;
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "kubernetes-api".into()
    }

    fn title(&self) -> String {
        "Kubernetes API".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(2, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<Cluster>> {
        let cluster = self.cluster(cx)?;
        match look(&cluster).await {
            Ok(()) => Ok(Observed::ready(cluster)),
            Err(trouble) if matches!(trouble.code(), 401 | 403) => Ok(Observed::Pending(format!(
                "rights have not taken effect: {trouble}"
            ))),
            Err(trouble) => trouble.observed(self.title()),
        }
    }

    fn plan(&self, seen: &Observed<Cluster>) -> Change {
        match seen {
            // A new control plane's name may take a while to resolve.
            Observed::Unreachable(reason) => Change::Update(vec![reason.clone()]),
            seen => Change::from_observed(seen),
        }
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<Cluster> {
        let cluster = self.cluster(cx)?;
        let wait = Wait::new(self.title(), Duration::from_secs(180)).hint(
            "this machine must be able to reach the endpoint (cluster.publicAccessCidrs), and the identity in use needs an access entry",
        );
        cx.wait_for(wait, || async {
            match look(&cluster).await {
                Ok(()) => Ok(Poll::Ready(())),
                Err(trouble @ Trouble::Unreachable(_)) => Ok(Poll::Pending(trouble.to_string())),
                // Access entries are eventually consistent.
                Err(trouble) if matches!(trouble.code(), 401 | 403) => {
                    Ok(Poll::Pending(trouble.to_string()))
                }
                Err(trouble) => Err(trouble.failure(self.title())),
            }
        })
        .await?;
        Ok(cluster)
    }
}
