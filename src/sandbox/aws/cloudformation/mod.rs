//! CloudFormation: a template engine over the other services' operations.
//!
//! `template`, `functions` and `parameters` understand templates, `resources` knows each resource type, `engine` brings
//! stacks about tick by tick, and `requests`, `change_sets` and `views` are the API.

mod change_sets;
mod drift;
mod engine;
mod functions;
mod parameters;
mod requests;
mod resources;
mod stack;
pub(in crate::sandbox::aws) mod template;
mod views;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Call, Check, Fault, Operation, Protocol, rejection};
use crate::sandbox::state::{State as Everything, World};

pub use change_sets::ChangeSet;
pub use stack::Stack;

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Stacks by ARN, deleted ones too.
    stacks: BTreeMap<String, Stack>,
    /// Change sets by ARN.
    change_sets: BTreeMap<String, ChangeSet>,
}

macro_rules! operations {
    ($($name:literal),* $(,)?) => {
        &[$(Operation { name: $name, method: "", path: "" }),*]
    };
}

/// The CloudFormation API.
pub struct Service;

/// The id of the stack of a name.
pub fn stack_id(state: &crate::sandbox::state::State, region: &str, name: &str) -> Option<String> {
    let mut stacks = engine::live(state, region);
    stacks
        .find(|stack| stack.name == name || stack.id == name)
        .map(|stack| stack.id.clone())
}

impl super::Service for Service {
    fn signing_name(&self) -> &'static str {
        "cloudformation"
    }

    fn protocol(&self) -> Protocol {
        Protocol::Query
    }

    fn version(&self) -> &'static str {
        "2010-05-15"
    }

    fn namespace(&self) -> &'static str {
        "http://cloudformation.amazonaws.com/doc/2010-05-15/"
    }

    fn operations(&self) -> &'static [Operation] {
        operations![
            "CancelUpdateStack",
            "ContinueUpdateRollback",
            "CreateChangeSet",
            "CreateStack",
            "DeleteChangeSet",
            "DeleteStack",
            "DescribeChangeSet",
            "DescribeStackDriftDetectionStatus",
            "DescribeStackEvents",
            "DescribeStackResource",
            "DescribeStackResourceDrifts",
            "DescribeStackResources",
            "DescribeStacks",
            "DetectStackDrift",
            "DetectStackResourceDrift",
            "ExecuteChangeSet",
            "GetTemplate",
            "GetTemplateSummary",
            "ListChangeSets",
            "ListExports",
            "ListImports",
            "ListStackResources",
            "ListStacks",
            "UpdateStack",
            "UpdateTerminationProtection",
            "ValidateTemplate",
        ]
    }

    fn resource(&self, call: &Call<'_>) -> String {
        match call.text("StackName") {
            None => "*".into(),
            Some(arn) if arn.starts_with("arn:") => arn,
            Some(name) => format!(
                "arn:aws:cloudformation:{}:{}:stack/{name}/*",
                call.region, call.world.account
            ),
        }
    }

    fn checks(&self, _state: &Everything, call: &Call<'_>) -> Vec<Check> {
        let action = format!("cloudformation:{}", call.operation);
        let mut checks = vec![Check::new(action, self.resource(call))];
        if let Some(role) = call.text("RoleARN") {
            checks.push(Check::pass_role(role, "cloudformation.amazonaws.com"));
        }
        checks
    }

    fn handle(&self, state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
        match call.operation {
            "CancelUpdateStack" => requests::cancel_update(state, call),
            "ContinueUpdateRollback" => requests::continue_rollback(state, call),
            "CreateChangeSet" => change_sets::create(state, call),
            "CreateStack" => requests::create(state, call),
            "DeleteChangeSet" => change_sets::delete(state, call),
            "DeleteStack" => requests::delete(state, call),
            "DescribeChangeSet" => change_sets::describe(state, call),
            "DescribeStackEvents" => views::describe_events(state, call),
            "DescribeStackResource" => views::describe_resource(state, call),
            "DescribeStackResources" => views::describe_resources(state, call),
            "DescribeStacks" => views::describe(state, call),
            "DescribeStackDriftDetectionStatus" => {
                drift::describe_detection(&state.cloudformation, call)
            }
            "DescribeStackResourceDrifts" => {
                let stack = requests::id_of(state, call, requests::does_not_exist)?;
                drift::describe(&state.cloudformation, &stack, call)
            }
            "DetectStackDrift" => drift::detect(state, call),
            "DetectStackResourceDrift" => drift::detect_one(state, call),
            "ExecuteChangeSet" => change_sets::execute(state, call),
            "GetTemplate" => views::template(state, call),
            "GetTemplateSummary" => views::template_summary(state, call),
            "ListChangeSets" => change_sets::list(state, call),
            "ListExports" => views::list_exports(state, call),
            "ListImports" => views::list_imports(state, call),
            "ListStackResources" => views::list_resources(state, call),
            "ListStacks" => views::list(state, call),
            "UpdateStack" => requests::update(state, call),
            "UpdateTerminationProtection" => requests::protect(state, call),
            "ValidateTemplate" => views::validate(call),
            _ => Err(rejection::unknown_operation(self, call.operation)),
        }
    }

    fn tick(&self, state: &mut Everything, world: &World) -> bool {
        engine::tick(state, world)
    }
}

/// A `ValidationError`.
fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(400, "ValidationError", message)
}
