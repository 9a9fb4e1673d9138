//! Whether a principal may do something: its policies, its boundary, its session's policy.

use serde_json::{Value, json};

use super::policy::{self, Context, Decision, Document, Kind, Request};
use super::{Tags, missing, required};
use crate::sandbox::aws::{Call, Check, Fault, Protocol, rejection};
use crate::sandbox::clock::iso8601;
use crate::sandbox::state::State;

/// What a principal's policies amount to.
struct Principal {
    identity: Vec<Document>,
    boundary: Option<Document>,
    session: Option<Document>,
    name: String,
    /// The user's or the role's own ARN.
    arn: String,
    tags: Tags,
}

/// Finds a user or role by its own ARN or by that of a session.
fn principal(state: &State, arn: &str, access_policy: Option<&str>) -> Option<Principal> {
    let iam = &state.iam;
    if let Some((_, name)) = arn.split_once(":user/") {
        let name = name.rsplit('/').next()?;
        let user = iam.users.get(name)?;
        return Some(Principal {
            identity: iam.documents(&user.attached, &user.inline),
            boundary: None,
            session: None,
            name: name.into(),
            arn: arn.into(),
            tags: Tags::new(),
        });
    }
    let name = policy::session_role(arn).or_else(|| {
        let (_, name) = arn.split_once(":role/")?;
        name.rsplit('/').next().map(str::to_owned)
    })?;
    let role = iam.roles.get(&name)?;
    let parse = |text: &str| Document::parse(text, Kind::Identity).ok();
    Some(Principal {
        identity: iam.documents(&role.attached, &role.inline),
        boundary: role.boundary.as_ref().map(|arn| {
            // A boundary that no longer exists allows nothing.
            iam.document(arn)
                .and_then(|text| parse(&text))
                .unwrap_or_else(Document::empty)
        }),
        session: access_policy.and_then(parse),
        arn: role.arn(&name),
        name,
        tags: role.tags.clone(),
    })
}

/// Refuses a call that the caller's policies do not allow.
pub fn authorize(
    state: &State,
    call: &Call<'_>,
    protocol: Protocol,
    check: &Check,
) -> Result<(), Fault> {
    match why_not(state, call, check) {
        None => Ok(()),
        Some(why) => Err(rejection::access_denied(
            protocol,
            format!(
                "User: {} is not authorized to perform: {} on resource: {} {why}",
                call.caller.arn, check.action, check.resource
            ),
        )),
    }
}

fn why_not(state: &State, call: &Call<'_>, check: &Check) -> Option<String> {
    if call.caller.is_service_linked() {
        return None;
    }
    let action = &check.action;
    let session_policy = session_policy(state, &call.caller.arn);
    let Some(principal) = principal(state, &call.caller.arn, session_policy.as_deref()) else {
        return Some(format!(
            "because no identity-based policy allows the {action} action"
        ));
    };
    let context = global_context(&principal, call, &check.context);
    let request = Request {
        action,
        resource: &check.resource,
        context: &context,
        principal: None,
    };
    let layers = [
        (
            "an identity-based policy",
            "identity-based policy",
            policy::evaluate(&principal.identity, &request),
        ),
        (
            "a permissions boundary",
            "permissions boundary",
            principal
                .boundary
                .as_ref()
                .map_or(Decision::Allowed, |document| document.evaluate(&request)),
        ),
        (
            "a session policy",
            "session policy",
            principal
                .session
                .as_ref()
                .map_or(Decision::Allowed, |document| document.evaluate(&request)),
        ),
    ];
    let denied = layers
        .iter()
        .find(|(.., decision)| *decision == Decision::Denied);
    let missing = layers
        .iter()
        .find(|(.., decision)| *decision == Decision::NotAllowed);
    call.world.decisions.remember(
        &principal.arn,
        action,
        &check.resource,
        denied.is_none() && missing.is_none(),
        principal
            .identity
            .iter()
            .flat_map(|document| document.allowing(&request)),
    );
    match (denied, missing) {
        (Some((article, ..)), _) => Some(format!("with an explicit deny in {article}")),
        (None, Some((_, name, _))) => Some(format!("because no {name} allows the {action} action")),
        (None, None) => None,
    }
}

/// The policy that a session was narrowed with. Sessions of one role that share a name share it too.
fn session_policy(state: &State, arn: &str) -> Option<String> {
    let (_, rest) = arn.split_once(":assumed-role/")?;
    let (role, name) = rest.split_once('/')?;
    let mut sessions = state.iam.sessions.values();
    sessions
        .find(|session| session.role == role && session.name == name)?
        .policy
        .clone()
}

fn global_context(principal: &Principal, call: &Call<'_>, own: &Context) -> Context {
    let mut context = own.clone();
    context.add("aws:PrincipalArn", principal.arn.clone());
    context.add("aws:PrincipalAccount", &*call.world.account);
    context.add(
        "aws:PrincipalType",
        if principal.arn.contains(":user/") {
            "User"
        } else {
            "AssumedRole"
        },
    );
    context.add("aws:userid", call.caller.user_id.clone());
    if principal.arn.contains(":user/") {
        context.add("aws:username", principal.name.clone());
    }
    context.add("aws:RequestedRegion", call.region);
    context.add("aws:SourceIp", "127.0.0.1");
    // Loopback HTTP stands for TLS here.
    context.add("aws:SecureTransport", "true");
    context.add("aws:CurrentTime", iso8601(call.world.clock.now()));
    context.add("aws:EpochTime", (call.world.clock.now() / 1000).to_string());
    for (key, value) in &principal.tags {
        context.add(&format!("aws:PrincipalTag/{key}"), value.clone());
    }
    context
}

/// What the identity's own policies say, for those who combine it with a resource's or a trust policy.
pub fn identity_decision(state: &State, call: &Call<'_>, check: &Check) -> Decision {
    if call.caller.is_service_linked() {
        return Decision::Allowed;
    }
    match why_not(state, call, check) {
        None => Decision::Allowed,
        Some(why) if why.starts_with("with an explicit deny") => Decision::Denied,
        Some(_) => Decision::NotAllowed,
    }
}

/// `SimulatePrincipalPolicy`.
pub(super) fn simulate(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let source = required(call, "PolicySourceArn")?;
    if !source.contains(":user/") && !source.contains(":role/") {
        return Err(Fault::new(
            400,
            "InvalidInput",
            format!("Invalid Entity Arn: {source} does not clearly define entity type and name."),
        ));
    }
    let principal = principal(state, &source, None)
        .ok_or_else(|| missing(format!("Cannot find the entity {source}")))?;
    let mut own = Context::default();
    for entry in call.list("ContextEntries") {
        let Some(key) = entry.get("ContextKeyName").and_then(Value::as_str) else {
            continue;
        };
        match entry.get("ContextKeyValues") {
            Some(Value::Array(values)) => values
                .iter()
                .filter_map(Value::as_str)
                .for_each(|value| own.add(key, value)),
            Some(Value::String(value)) => own.add(key, value.clone()),
            _ => {}
        }
    }
    let context = global_context(&principal, call, &own);
    let mut additional = Vec::new();
    for text in call.texts("PolicyInputList") {
        additional.push(
            Document::parse(&text, Kind::Identity)
                .map_err(|message| Fault::new(400, "InvalidInput", message))?,
        );
    }
    let actions = call.texts("ActionNames");
    if let Some(action) = actions.iter().find(|action| !action.contains(':')) {
        return Err(Fault::new(
            400,
            "InvalidInput",
            format!("Invalid Action Name: {action}"),
        ));
    }
    let mut resources = call.texts("ResourceArns");
    if resources.is_empty() {
        resources.push("*".into());
    }
    let mut results = Vec::new();
    for action in &actions {
        for resource in &resources {
            let request = Request {
                action,
                resource,
                context: &context,
                principal: None,
            };
            let mut decision =
                policy::evaluate(principal.identity.iter().chain(&additional), &request);
            if let (Decision::Allowed, Some(boundary)) = (decision, &principal.boundary) {
                decision = boundary.evaluate(&request);
            }
            results.push(json!({
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": match decision {
                    Decision::Allowed => "allowed",
                    Decision::NotAllowed => "implicitDeny",
                    Decision::Denied => "explicitDeny",
                },
                "MatchedStatements": [],
                "MissingContextValues": [],
            }));
        }
    }
    Ok(json!({"EvaluationResults": results, "IsTruncated": false}))
}
