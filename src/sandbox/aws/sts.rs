//! STS.

use serde_json::{Value, json};

use super::protocol::operation;
use super::{Call, Check, Fault, Operation, Protocol, Service, rejection};
use crate::sandbox::state::State;

/// The service.
pub struct Sts;

impl Service for Sts {
    fn signing_name(&self) -> &'static str {
        "sts"
    }
    fn protocol(&self) -> Protocol {
        Protocol::Query
    }
    fn version(&self) -> &'static str {
        "2011-06-15"
    }
    fn namespace(&self) -> &'static str {
        "https://sts.amazonaws.com/doc/2011-06-15/"
    }
    fn operations(&self) -> &'static [Operation] {
        const OPERATIONS: &[Operation] = &[operation("GetCallerIdentity")];
        OPERATIONS
    }
    fn resource(&self, _call: &Call<'_>) -> String {
        "*".into()
    }
    fn checks(&self, _state: &State, _call: &Call<'_>) -> Vec<Check> {
        // Nobody needs permission to ask who they are; the role's trust policy decides about the rest.
        Vec::new()
    }
    fn handle(&self, _state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
        match call.operation {
            "GetCallerIdentity" => Ok(json!({
                "Arn": call.caller.arn,
                "UserId": call.caller.user_id,
                "Account": &*call.world.account,
            })),
            _ => Err(rejection::unknown_operation(self, call.operation)),
        }
    }
}
