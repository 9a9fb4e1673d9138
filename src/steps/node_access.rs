//! The nodes' way into the cluster.

use std::sync::Arc;

use super::node_group;
use super::outputs::ControlPlane;
use crate::clients::Clients;
use crate::clients::aws::{failed, is};
use crate::clients::eks;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{Change, Context, Expected, Input, Observed, Result, Step, StepId};

/// The kind of access entry with which EC2 instances are nodes.
const KIND: &str = "EC2_LINUX";

/// The access entry of the nodes' role. EKS makes it with a managed node group and takes it away with the cluster; nodes
/// whose entry somebody deleted are NotReady for good, and EKS never makes it again.
pub struct NodeAccess {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The cluster.
    pub control_plane: Input<ControlPlane>,
}

impl NodeAccess {
    fn cluster(&self) -> String {
        Names::new(&self.environment.name).cluster()
    }

    /// The role of the nodes that are there.
    async fn role(&self) -> Result<Option<String>> {
        let group = node_group::find(&self.clients, &self.environment).await?;
        Ok(group.and_then(|group| group.node_role))
    }
}

impl Step for NodeAccess {
    type Outputs = ();
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "node-access".into()
    }

    fn title(&self) -> String {
        "access entry of the nodes".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        self.control_plane.get(cx)?;
        let mut drift = Vec::new();
        if let Some(role) = self.role().await? {
            let entry = self.clients.eks.describe_access_entry();
            let entry = entry.cluster_name(self.cluster()).principal_arn(&role);
            match entry.send().await {
                Ok(_) => {}
                Err(error) if is(&error, eks::NOT_FOUND) => {
                    drift.push(format!("{role} has none: its nodes are shut out"));
                }
                Err(error) => return Err(failed(self.title())(error)),
            }
        }
        Ok(Observed::Ready { outputs: (), drift })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
        let Some(role) = self.role().await? else {
            return Ok(());
        };
        let create = self.clients.eks.create_access_entry();
        let create = create.cluster_name(self.cluster()).principal_arn(role);
        let create = create.r#type(KIND).tags(OWNER_TAG, &self.environment.name);
        match create.send().await {
            Err(error) if !is(&error, eks::IN_USE) => {
                let plane = self.control_plane.get(cx)?;
                let refused = failed(self.title())(error);
                Err(plane.refusal(&self.clients.eks, refused).await)
            }
            _ => Ok(()),
        }
    }
}
