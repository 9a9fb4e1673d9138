//! The way to the cluster: a token that is accepted and rights that have taken effect.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::outputs::ControlPlane;
use crate::clients::Clients;
use crate::clients::eks::refuse_gone;
use crate::clients::kube::{self, Cluster, Reference, Trouble};
use crate::config::Environment;
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Poll, Result, Step, StepId,
    Wait,
};

/// How often EKS is asked, while the API does not answer, whether there still is a cluster.
const ASKED: Duration = Duration::from_secs(1);

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
        let plane = &self.control_plane.get(cx)?;
        let (asked, cluster) = (&Mutex::new(Instant::now()), &cluster);
        cx.wait_for(wait, || async move {
            let trouble = match look(cluster).await {
                Ok(()) => return Ok(Poll::Ready(())),
                // Access entries are eventually consistent.
                Err(trouble)
                    if matches!(trouble, Trouble::Unreachable(_))
                        || matches!(trouble.code(), 401 | 403) =>
                {
                    trouble
                }
                Err(trouble) => return Err(trouble.failure(self.title())),
            };
            let is_due = {
                let mut asked = asked.lock().expect("no panic while locked");
                let is_due = asked.elapsed() > ASKED;
                if is_due {
                    *asked = Instant::now();
                }
                is_due
            };
            if is_due {
                refuse_gone(&self.clients.eks, &plane.name, &plane.endpoint).await?;
            }
            Ok(Poll::Pending(trouble.to_string()))
        })
        .await?;
        Ok(cluster.clone())
    }
}
