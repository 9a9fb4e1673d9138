//! The IAM roles of the control plane and of the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outputs::ClusterRoles;
use super::stack_outputs;
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
        stack_outputs::typed(seen, |outputs| self.outputs(outputs))
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<ClusterRoles> {
        let stack = stack(&self.environment);
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
