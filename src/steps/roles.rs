//! The IAM roles of the control plane and of the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_cloudformation::types::StackStatus;

use super::outputs::ClusterRoles;
use super::{node_group, stack_outputs};
use crate::clients::Clients;
use crate::clients::stacks::{self, Outputs, Stack};
use crate::config::{Environment, Names};
use crate::engine::{Change, Context, Expected, Observed, Result, Step, StepId};

/// The stack, as wanted.
pub fn stack(environment: &Environment) -> Stack {
    let names = Names::new(&environment.name);
    Stack {
        name: names.stack("roles"),
        owner: environment.name.clone(),
        template: include_str!("../../stacks/roles.yaml"),
        parameters: BTreeMap::from([
            ("EnvironmentName", environment.name.clone()),
            ("ClusterName", names.cluster()),
        ]),
        names_iam: true,
        keeps_progress: false,
    }
}

/// The stack with the roles of the control plane and of the nodes.
pub struct ClusterRolesStack {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
}

impl ClusterRolesStack {
    fn outputs(&self, outputs: &Outputs) -> Result<ClusterRoles> {
        let output = |name| stack_outputs::required(&stack(&self.environment), outputs, name);
        Ok(ClusterRoles {
            cluster: output("ClusterRoleArn")?,
            node: output("NodeRoleArn")?,
        })
    }

    /// Whether a deletion of the stack stopped at the role of the nodes: IAM keeps a role that is in an instance profile, as
    /// EKS makes one for a node group, and CloudFormation has taken its policies away by then.
    async fn is_held_by_nodes(&self) -> Result<bool> {
        let (clients, environment) = (&self.clients, &self.environment);
        let found = stacks::find(&clients.cloudformation, &stack(environment).name).await?;
        if found.is_none_or(|found| found.status != StackStatus::DeleteFailed) {
            return Ok(false);
        }
        let group = node_group::find(clients, environment).await?;
        Ok(group.is_some_and(|group| node_group::foreign_owner(&group, environment).is_none()))
    }
}

impl Step for ClusterRolesStack {
    type Outputs = ClusterRoles;

    fn id(&self) -> StepId {
        "roles".into()
    }

    fn title(&self) -> String {
        format!("IAM roles {}", stack(&self.environment).name)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(25, 20)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<ClusterRoles>> {
        let seen = stack(&self.environment)
            .observe(&self.clients.cloudformation)
            .await?;
        let seen = match seen {
            Observed::Failed(why) if self.is_held_by_nodes().await? => Observed::Failed(format!(
                "{why}; the nodes, which hold its role, are made again with it"
            )),
            seen => seen,
        };
        stack_outputs::typed(seen, |outputs| self.outputs(outputs))
    }

    async fn apply(&self, cx: &Context, change: &Change) -> Result<ClusterRoles> {
        let stack = stack(&self.environment);
        if matches!(change, Change::Replace(_)) && self.is_held_by_nodes().await? {
            cx.progress("removing the nodes first, which hold their role");
            node_group::delete(cx, &self.clients, &self.environment).await?;
        }
        let outputs = stack.deploy(cx, &self.clients.cloudformation).await?;
        self.outputs(&outputs)
    }

    async fn destroy(&self, cx: &Context, _: &Observed<ClusterRoles>) -> Result<()> {
        stacks::delete(
            cx,
            &self.clients.cloudformation,
            &stack(&self.environment).name,
        )
        .await
    }
}
