//! What people changed in the stacks' resources: found, named and taken back.
//!
//! A step of its own, so that nothing waits for it: a detection takes CloudFormation many seconds, under which the rest
//! of a run goes on.

use std::sync::Arc;

use super::outputs::{ClusterRoles, LaunchTemplate, Subnets};
use super::{launch_template, network, roles};
use crate::clients::Clients;
use crate::clients::stacks::Stack;
use crate::config::Environment;
use crate::engine::{Change, Context, Expected, Input, Observed, Result, Step, StepId};

/// The stacks' resources, as their templates say.
pub struct StacksAsMade {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The network, with its way out.
    pub network: Input<Subnets>,
    /// The roles.
    pub roles: Input<ClusterRoles>,
    /// The launch template.
    pub launch_template: Input<LaunchTemplate>,
}

impl StacksAsMade {
    /// The stacks that are there.
    fn stacks(&self, cx: &Context) -> Vec<Stack> {
        let environment = &self.environment;
        let there = [
            (self.network.get(cx).is_ok(), network::stack(environment)),
            (self.roles.get(cx).is_ok(), roles::stack(environment)),
            (
                self.launch_template.get(cx).is_ok(),
                launch_template::stack(environment),
            ),
        ];
        let there = there.into_iter().filter(|(is_there, _)| *is_there);
        there.map(|(_, stack)| stack).collect()
    }
}

impl Step for StacksAsMade {
    type Outputs = ();
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "stack-drift".into()
    }

    fn title(&self) -> String {
        "what the stacks made".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(20, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        let stacks = self.stacks(cx);
        let looks = stacks.iter().map(async |stack| {
            let lines = stack.drifted(cx, &self.clients.cloudformation).await?;
            let named = lines
                .into_iter()
                .map(|line| format!("{}: {line}", stack.name));
            Ok(named.collect::<Vec<String>>())
        });
        let drift = futures::future::try_join_all(looks).await?.concat();
        Ok(Observed::Ready { outputs: (), drift })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<()> {
        let stacks = self.stacks(cx);
        let client = &self.clients.cloudformation;
        let works = stacks.iter().map(|stack| stack.take_back(cx, client));
        futures::future::try_join_all(works).await.map(drop)
    }
}
