//! The caller's way into the cluster.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_eks::types::{AccessScope, AccessScopeType};

use super::outputs::ControlPlane;
use crate::clients::Clients;
use crate::clients::aws::{failed, is};
use crate::clients::eks;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{Change, Context, Expected, Input, Observed, Poll, Result, Step, StepId, Wait};

/// An access entry that makes the caller the cluster's administrator.
pub struct CallerAccess {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The cluster.
    pub control_plane: Input<ControlPlane>,
}

impl CallerAccess {
    fn cluster(&self) -> String {
        Names::new(&self.environment.name).cluster()
    }

    fn resource(&self) -> String {
        format!("access to {}", eks::cluster_title(&self.cluster()))
    }
}

/// The access policy that stands for Kubernetes' `cluster-admin`.
fn administrator(partition: &str) -> String {
    format!("arn:{partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy")
}

impl Step for CallerAccess {
    type Outputs = ();
    /// Goes with the cluster, and not before: a `down` that is interrupted and run again still needs the way in.
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "cluster-access".into()
    }

    fn title(&self) -> String {
        "access entry of the caller".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(2, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        let identity = self.clients.identity().await?;
        self.control_plane.get(cx)?;
        let listed = self
            .clients
            .eks
            .list_associated_access_policies()
            .cluster_name(self.cluster())
            .principal_arn(&identity.principal)
            .send()
            .await;
        let listed = match listed {
            Ok(listed) => listed.associated_access_policies.unwrap_or_default(),
            Err(error) if is(&error, eks::NOT_FOUND) => return Ok(Observed::Absent),
            Err(error) => return Err(failed(self.resource())(error)),
        };
        let wanted = administrator(&identity.partition);
        let is_administrator = listed.iter().any(|policy| {
            policy.policy_arn() == Some(&wanted)
                && policy
                    .access_scope()
                    .is_some_and(|scope| scope.r#type() == Some(&AccessScopeType::Cluster))
        });
        Ok(Observed::Ready {
            outputs: (),
            drift: if is_administrator {
                Vec::new()
            } else {
                vec!["policy AmazonEKSClusterAdminPolicy".into()]
            },
        })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
        let identity = self.clients.identity().await?;
        let plane = self.control_plane.get(cx)?;
        let client = &self.clients.eks;
        let created = client
            .create_access_entry()
            .cluster_name(self.cluster())
            .principal_arn(&identity.principal)
            .tags(OWNER_TAG, &self.environment.name)
            .send()
            .await;
        match created {
            Ok(_) => {}
            Err(error) if is(&error, eks::IN_USE) => {}
            Err(error) => {
                let refused = failed(self.resource())(error);
                return Err(plane.refusal(client, refused).await);
            }
        }
        // Access entries are eventually consistent: the one just made may not be found for a moment.
        let scope = AccessScope::builder()
            .r#type(AccessScopeType::Cluster)
            .build();
        let request = client
            .associate_access_policy()
            .cluster_name(self.cluster())
            .principal_arn(&identity.principal)
            .policy_arn(administrator(&identity.partition))
            .access_scope(scope);
        let wait = Wait::new(self.resource(), Duration::from_secs(60));
        cx.wait_for(wait, async || match request.clone().send().await {
            Ok(_) => Ok(Poll::Ready(())),
            Err(error) if is(&error, eks::NOT_FOUND) => {
                // Or there is no cluster any more.
                eks::refuse_gone(client, &plane.name, &plane.endpoint).await?;
                Ok(Poll::Pending("the access entry does not show yet".into()))
            }
            Err(error) => Err(failed(self.resource())(error)),
        })
        .await
    }
}
