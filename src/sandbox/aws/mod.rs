//! AWS: one endpoint for all services. The protocol and the signing service in the credential scope choose the handler.

pub mod appmesh;
pub mod cloudformation;
pub mod ec2;
pub mod ecr;
pub mod eks;
pub mod elbv2;
pub mod iam;
pub mod logs;
pub mod shapes;
pub mod sts;
pub mod xray;

use serde_json::{Map, Value};

use super::state::{State, World};

/// How a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `Action=…` form in, XML out, lists as `member` (IAM, STS, CloudFormation, ELBv2).
    Query,
    /// `Action=…` form in, XML out, lists as `item` (EC2).
    Ec2,
    /// `X-Amz-Target` and a JSON body (ECR, CloudWatch Logs).
    Json,
    /// Paths and a JSON body (EKS, App Mesh, X-Ray).
    RestJson,
}

/// An operation that a service implements.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// As in the service model: `CreateCluster`.
    pub name: &'static str,
    /// For `RestJson`: the HTTP method; otherwise empty.
    pub method: &'static str,
    /// For `RestJson`: the path template, `/clusters/{name}`; otherwise empty.
    pub path: &'static str,
}

/// Who calls, after the signature has been checked.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `arn:aws:iam::…:user/…` or `arn:aws:sts::…:assumed-role/…/…`.
    pub arn: String,
    /// The unique id that `GetCallerIdentity` shows.
    pub user_id: String,
}

/// One decoded and authenticated request.
pub struct Call<'a> {
    /// The world, for the clock, the account and the endpoints. Its state is already locked: use `state`.
    pub world: &'a World,
    /// The operation's name.
    pub operation: &'a str,
    /// The input as the service model names it. Query and EC2 lists (`Tags.member.1.Key`, `Filter.1.Value.1`) are
    /// arrays; their scalars are strings. REST path, query-string and body members are merged into one object.
    pub input: &'a Value,
    /// Who calls.
    pub caller: &'a Caller,
    /// The region of the credential scope.
    pub region: &'a str,
}

/// An error in the service's own terms.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The HTTP status that the service model gives the error.
    pub status: u16,
    /// The error code as it goes over the wire.
    pub code: String,
    /// The message.
    pub message: String,
    /// Further members of the error's shape.
    pub fields: Map<String, Value>,
}

impl Fault {
    /// An error without further members.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Fault {
            status,
            code: code.into(),
            message: message.into(),
            fields: Map::new(),
        }
    }
}

/// One AWS service.
pub trait Service: Sync {
    /// The name in the credential scope: `elasticloadbalancing`.
    fn signing_name(&self) -> &'static str;
    /// The prefix of its IAM actions: `elasticloadbalancing`.
    fn action_prefix(&self) -> &'static str {
        self.signing_name()
    }
    /// How it speaks.
    fn protocol(&self) -> Protocol;
    /// The API version (`2010-05-08`), which names the XML namespace and, for JSON, the target prefix is `target`.
    fn version(&self) -> &'static str;
    /// For `Json`: what stands before the dot in `X-Amz-Target`. For XML: the namespace of the answer.
    fn namespace(&self) -> &'static str;
    /// What it implements.
    fn operations(&self) -> &'static [Operation];
    /// The ARN that an operation acts on, for policy evaluation; `*` where IAM defines no resource type.
    fn resource(&self, call: &Call<'_>) -> String;
    /// Answers. The output's keys are the wire names; what is null is left out. XML lists are arrays.
    fn handle(&self, state: &mut State, call: &Call<'_>) -> Result<Value, Fault>;
    /// Lets due transitions happen; called often. Returns whether anything changed.
    fn tick(&self, _state: &mut State, _world: &World) -> bool {
        false
    }
}
