//! AWS: one endpoint for all services. The protocol and the signing service in the credential scope choose the handler.

pub mod appmesh;
pub mod cloudformation;
pub mod doom;
pub mod ec2;
pub mod ecr;
pub mod eks;
pub mod elbv2;
pub(crate) mod fuzz;
#[cfg(test)]
mod hostile_tests;
pub mod iam;
pub mod logs;
pub mod protocol;
pub mod rates;
pub mod rejection;
pub mod server;
pub mod shapes;
pub mod signature;
pub mod sts;
mod xml;
pub mod xray;

use serde_json::{Map, Value};

use super::state::{State, World};
pub use iam::policy::Context;
use shapes::{Violation, Wrong};

/// Every service, in the order in which they tick: what CloudFormation waits for comes before it.
pub fn services() -> &'static [&'static dyn Service] {
    // One line for each service.
    &[
        &iam::Iam,
        &sts::Sts,
        &logs::Logs,
        &xray::XRay,
        &ec2::Service,
        &appmesh::AppMesh,
        &ecr::Ecr,
        &eks::Eks,
        &elbv2::Elb,
        &cloudformation::Service,
    ]
}

/// The service with that name in the credential scope.
pub fn service(signing_name: &str) -> Option<&'static dyn Service> {
    services()
        .iter()
        .copied()
        .find(|service| service.signing_name() == signing_name)
}

/// The names of a service's operations, sorted: what `meshctl sandbox operations` and the documentation show.
pub fn operation_names(service: &dyn Service) -> Vec<&'static str> {
    let mut names: Vec<&str> = service.operations().iter().map(|o| o.name).collect();
    names.sort_unstable();
    names
}

/// Lets every service's due transitions happen. Returns whether anything changed.
pub fn tick(state: &mut State, world: &World) -> bool {
    services().iter().fold(false, |changed, service| {
        service.tick(state, world) | changed
    })
}

/// Calls a service from within another one: CloudFormation as its caller, EKS as its service-linked role. Permissions are
/// evaluated as for a request over the wire. Scalars of `input` may be JSON numbers and booleans even where the wire
/// would carry strings, which [`Call`]'s accessors read alike.
pub fn invoke(
    world: &World,
    state: &mut State,
    caller: &Caller,
    region: &str,
    service: &str,
    operation: &str,
    input: &Value,
) -> Result<Value, Fault> {
    let Some(service) = self::service(service) else {
        return Err(Fault::new(
            400,
            "UnknownService",
            format!("the sandbox has no service {service}"),
        ));
    };
    if !service.operations().iter().any(|o| o.name == operation) {
        return Err(rejection::unknown_operation(service, operation));
    }
    let call = Call {
        world,
        operation,
        input,
        caller,
        region,
    };
    perform(state, service, &call)
}

/// Checks the caller's permissions and answers.
fn perform(state: &mut State, service: &dyn Service, call: &Call<'_>) -> Result<Value, Fault> {
    for mut check in service.checks(state, call) {
        protocol::request_tags(call.input, &mut check.context);
        iam::authorize(state, call, service.protocol(), &check)?;
    }
    answer(service, state, call)
}

/// Checks the input's shape and lets the service answer.
fn answer(service: &dyn Service, state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    if let Some(model) = shapes::of(service.signing_name()) {
        let mut violations = model.input(call.operation, call.input);
        // Of all services, EC2 alone minds what it does not know.
        if service.protocol() == Protocol::Ec2 {
            violations.extend(model.unknown(call.operation, call.input));
        }
        if let Some(first) = violations.first() {
            let json = matches!(service.protocol(), Protocol::Json | Protocol::RestJson);
            return Err(
                match violations.iter().find(|v| v.kind == Wrong::Unreadable) {
                    Some(found) if json => rejection::unreadable(found),
                    _ => service.invalid(call.operation, first, &violations),
                },
            );
        }
    }
    service.handle(state, call)
}

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

impl Caller {
    /// An AWS service that acts through its service-linked role, whose permissions AWS keeps sufficient: nothing is
    /// evaluated for it.
    pub fn service_linked(account: &str, role: &str, session: &str) -> Self {
        Caller {
            arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            user_id: format!("AROASERVICELINKEDROL:{session}"),
        }
    }

    /// Whether this is a service-linked role.
    pub fn is_service_linked(&self) -> bool {
        self.arn.contains(":assumed-role/AWSServiceRoleFor")
    }
}

/// One permission that a call needs.
#[derive(Clone, Debug)]
pub struct Check {
    /// `eks:CreateCluster`.
    pub action: String,
    /// The ARN acted on, or `*`.
    pub resource: String,
    /// Condition keys beyond the global ones: `aws:ResourceTag/…`, `iam:PassedToService`. `aws:RequestTag/…` and
    /// `aws:TagKeys` are added from the input.
    pub context: Context,
}

impl Check {
    /// A permission without condition keys of its own.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Check {
            action: action.into(),
            resource: resource.into(),
            context: Context::default(),
        }
    }

    /// The permission to hand a role to a service, which `CreateCluster` and its like need.
    pub fn pass_role(role_arn: impl Into<String>, service: &str) -> Self {
        Check::new("iam:PassRole", role_arn).with("iam:PassedToService", service)
    }

    /// Adds a condition key.
    pub fn with(mut self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.context.add(key.as_ref(), value);
        self
    }

    /// Adds `aws:ResourceTag/…` for the tags that the resource has now.
    pub fn tagged<'a>(mut self, tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        for (key, value) in tags {
            self.context
                .add(&format!("aws:ResourceTag/{key}"), value.clone());
        }
        self
    }
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

impl<'a> Call<'a> {
    /// A string member; a number or boolean is written out. Absent, null and empty are `None`.
    pub fn text(&self, member: &str) -> Option<String> {
        text_of(self.input.get(member)?).filter(|text| !text.is_empty())
    }

    /// A number.
    pub fn integer(&self, member: &str) -> Option<i64> {
        match self.input.get(member)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        }
    }

    /// A boolean, which the query protocols write as `true` and `false`.
    pub fn flag(&self, member: &str) -> Option<bool> {
        match self.input.get(member)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_bool(),
        }
    }

    /// A list. The query protocols write an empty list as an empty string, and a query string with one value looks
    /// like a scalar.
    pub fn list(&self, member: &str) -> Vec<&'a Value> {
        match self.input.get(member) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) if text.is_empty() => Vec::new(),
            Some(Value::Array(values)) => values.iter().collect(),
            Some(value) => vec![value],
        }
    }

    /// A list of strings.
    pub fn texts(&self, member: &str) -> Vec<String> {
        self.list(member).into_iter().filter_map(text_of).collect()
    }
}

/// A scalar as text.
pub fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
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
    pub fields: Box<Map<String, Value>>,
}

impl Fault {
    /// An error without further members.
    pub fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Fault {
            status,
            code: code.into(),
            message: message.into(),
            fields: Box::default(),
        }
    }

    /// Adds a member of the error's shape.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(member.into(), value.into());
        self
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
    /// The permissions that an operation needs. Overridden where the action has another name than the operation, where
    /// several resources are acted on, or where the service defines condition keys.
    fn checks(&self, _state: &State, call: &Call<'_>) -> Vec<Check> {
        let action = format!("{}:{}", self.action_prefix(), call.operation);
        vec![Check::new(action, self.resource(call))]
    }
    /// Refuses an input that breaks the service's model; what is said of it is the first violation, or all of them.
    fn invalid(&self, _operation: &str, _first: &Violation, all: &[Violation]) -> Fault {
        let lower: Vec<Violation> = all
            .iter()
            .map(|violation| Violation {
                path: violation.lower_path(),
                ..violation.clone()
            })
            .collect();
        Fault::new(400, "ValidationError", shapes::say(&lower))
    }
    /// Answers. The output's keys are the wire names; what is null is left out. XML lists are arrays.
    fn handle(&self, state: &mut State, call: &Call<'_>) -> Result<Value, Fault>;
    /// Lets due transitions happen; called often. Returns whether anything changed.
    fn tick(&self, _state: &mut State, _world: &World) -> bool {
        false
    }
}
