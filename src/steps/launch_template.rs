//! How nodes are launched: IMDSv2 only, encrypted disks, owner tags on everything they bring along.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outputs::LaunchTemplate;
use super::stack_outputs;
use crate::clients::Clients;
use crate::clients::stacks::{self, Outputs, Stack};
use crate::config::{Environment, Names};
use crate::engine::{Change, Context, Expected, Observed, Result, Step, StepId};

/// The stack, as wanted.
pub fn stack(environment: &Environment) -> Stack {
    let names = Names::new(&environment.name);
    Stack {
        name: names.stack("nodes"),
        owner: environment.name.clone(),
        template: include_str!("../../stacks/nodes.yaml"),
        parameters: BTreeMap::from([
            ("EnvironmentName", environment.name.clone()),
            ("ClusterName", names.cluster()),
            ("DiskGib", environment.cluster.nodes.disk_gib.to_string()),
        ]),
        names_iam: false,
        keeps_progress: false,
    }
}

/// The stack with the nodes' launch template.
pub struct NodesStack {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
}

impl NodesStack {
    fn outputs(&self, outputs: &Outputs) -> Result<LaunchTemplate> {
        let output = |name| stack_outputs::required(&stack(&self.environment), outputs, name);
        Ok(LaunchTemplate {
            id: output("LaunchTemplateId")?,
            version: output("LaunchTemplateVersion")?,
        })
    }
}

impl Step for NodesStack {
    type Outputs = LaunchTemplate;

    fn id(&self) -> StepId {
        "launch-template".into()
    }

    fn title(&self) -> String {
        format!("launch template {}", stack(&self.environment).name)
    }

    fn expected(&self) -> Expected {
        Expected::seconds(10, 10)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<LaunchTemplate>> {
        let seen = stack(&self.environment)
            .observe(&self.clients.cloudformation)
            .await?;
        stack_outputs::typed(seen, |outputs| self.outputs(outputs))
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<LaunchTemplate> {
        let stack = stack(&self.environment);
        let outputs = stack.deploy(cx, &self.clients.cloudformation).await?;
        self.outputs(&outputs)
    }

    async fn destroy(&self, cx: &Context, _: &Observed<LaunchTemplate>) -> Result<()> {
        stacks::delete(
            cx,
            &self.clients.cloudformation,
            &stack(&self.environment).name,
        )
        .await
    }
}
