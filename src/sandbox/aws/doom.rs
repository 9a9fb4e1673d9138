//! What fails after it was begun: a rule marks the resource, and the service's next transition of it ends in failure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::cloudformation;
use crate::sandbox::state::State;

/// The operations that begin what can fail, and where their answers have the ARN of what they began.
pub const OPERATIONS: [(&str, &str); 9] = [
    ("cloudformation:CreateStack", "/StackId"),
    ("cloudformation:UpdateStack", "/StackId"),
    ("cloudformation:DeleteStack", ""),
    ("eks:CreateCluster", "/cluster/arn"),
    ("eks:CreateNodegroup", "/nodegroup/nodegroupArn"),
    ("eks:CreateAddon", "/addon/addonArn"),
    ("eks:DeleteNodegroup", "/nodegroup/nodegroupArn"),
    ("eks:DeleteAddon", "/addon/addonArn"),
    (
        "elasticloadbalancing:CreateLoadBalancer",
        "/LoadBalancers/0/LoadBalancerArn",
    ),
];

/// What is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Its creation.
    Creation,
    /// Its update.
    Update,
    /// Its deletion.
    Deletion,
}

fn key(of: Of, arn: &str) -> String {
    format!("{of:?} {arn}")
}

/// The resources that are to fail.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Doomed(BTreeSet<String>);

impl Doomed {
    /// Whether a resource is to fail so.
    pub fn has(&self, of: Of, arn: &str) -> bool {
        !self.0.is_empty() && self.0.contains(&key(of, arn))
    }

    /// Whether a resource is to fail so, for the last time.
    pub fn take(&mut self, of: Of, arn: &str) -> bool {
        !self.0.is_empty() && self.0.remove(&key(of, arn))
    }
}

/// Marks what a call has begun; `input` and `output` are the call's.
pub fn mark(state: &mut State, region: &str, call: &str, input: &Value, output: &Value) {
    let Some((_, place)) = OPERATIONS.iter().find(|(known, _)| *known == call) else {
        return;
    };
    let of = match call.split_once(':') {
        Some((_, operation)) if operation.starts_with("Delete") => Of::Deletion,
        Some((_, operation)) if operation.starts_with("Update") => Of::Update,
        _ => Of::Creation,
    };
    let arn = match output.pointer(place).and_then(Value::as_str) {
        Some(arn) => Some(arn.to_owned()),
        None => input["StackName"]
            .as_str()
            .and_then(|name| cloudformation::stack_id(state, region, name)),
    };
    if let Some(arn) = arn {
        state.doomed.0.insert(key(of, &arn));
    }
}
