//! The operations that change stacks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Call, Fault, text_of};
use super::functions::plain;
use super::parameters::{self, Given};
use super::stack::{Definition, OnFailure, Stack, Work};
use super::template::Template;
use super::{engine, invalid};
use crate::sandbox::state::State;

/// The stack of a name or an ARN. By name, deleted stacks don't exist; by ARN, they do.
pub fn find<'a>(state: &'a State, call: &Call<'_>, name: &str) -> Option<&'a Stack> {
    if name.starts_with("arn:") {
        return state.cloudformation.stacks.get(name);
    }
    engine::live(state, call.region).find(|stack| stack.name == name)
}

pub(super) fn id_of(
    state: &State,
    call: &Call<'_>,
    missing: impl FnOnce(&str) -> String,
) -> Result<String, Fault> {
    let name = required(call, "StackName")?;
    find(state, call, &name)
        .map(|stack| stack.id.clone())
        .ok_or_else(|| invalid(missing(&name)))
}

pub(super) fn does_not_exist(name: &str) -> String {
    format!("Stack [{name}] does not exist")
}

pub(super) fn with_id_does_not_exist(name: &str) -> String {
    format!("Stack with id {name} does not exist")
}

pub(super) fn required(call: &Call<'_>, member: &str) -> Result<String, Fault> {
    call.text(member).ok_or_else(|| {
        let mut name = member.to_owned();
        name[..1].make_ascii_lowercase();
        invalid(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// What a request defines, over what the stack has now.
pub(super) fn definition(call: &Call<'_>, stack: Option<&Stack>) -> Result<Definition, Fault> {
    let previous = stack.map(|stack| &stack.definition);
    let body = match (
        call.text("TemplateBody"),
        call.flag("UsePreviousTemplate"),
        previous,
    ) {
        (Some(body), _, _) => body,
        (None, Some(true), Some(previous)) => previous.body.clone(),
        _ if call.text("TemplateURL").is_some() => {
            return Err(invalid("S3 error: Access Denied"));
        }
        _ => {
            return Err(invalid(
                "Either Template URL or Template Body must be specified.",
            ));
        }
    };
    let template = Template::parse(&body).map_err(invalid)?;
    let mut given = BTreeMap::new();
    for parameter in call.list("Parameters") {
        let text = |member: &str| parameter.get(member).and_then(text_of);
        let name = text("ParameterKey").unwrap_or_default();
        let keep = text("UsePreviousValue").as_deref() == Some("true");
        let value = if keep {
            Given::Previous
        } else {
            Given::Value(text("ParameterValue").unwrap_or_default())
        };
        if given.insert(name.clone(), value).is_some() {
            return Err(invalid(format!("Duplicate parameter found: {name}")));
        }
    }
    let empty = BTreeMap::new();
    let known = previous.map_or(&empty, |previous| &previous.parameters);
    let parameters = parameters::resolve(&template, &given, known).map_err(invalid)?;
    let mut tags: Vec<(String, String)> = Vec::new();
    for tag in call.list("Tags") {
        let text = |member: &str| tag.get(member).and_then(text_of).unwrap_or_default();
        let key = text("Key");
        if key.starts_with("aws:") {
            return Err(invalid(format!(
                "aws: prefixed tag key names are not allowed for external use. [{key}]"
            )));
        }
        if tags.iter().any(|(other, _)| *other == key) {
            return Err(invalid(
                "Duplicate tag keys found. Please provide unique tag keys.",
            ));
        }
        tags.push((key, text("Value")));
    }
    if call.list("Tags").is_empty()
        && let Some(previous) = previous
    {
        tags.clone_from(&previous.tags);
    }
    let capabilities = call.texts("Capabilities");
    if let Some((needed, _)) = template.capabilities() {
        let acknowledged = capabilities
            .iter()
            .any(|given| given == needed || given == "CAPABILITY_NAMED_IAM");
        if !acknowledged {
            return Err(Fault::new(
                400,
                "InsufficientCapabilitiesException",
                format!("Requires capabilities : [{needed}]"),
            ));
        }
    }
    Ok(Definition {
        body,
        template,
        parameters,
        tags,
        capabilities,
    })
}

/// Finds early what would fail in every resource: unknown conditions, mappings, imports.
pub(super) fn check(
    state: &State,
    call: &Call<'_>,
    definition: &Definition,
    stack: &Stack,
) -> Result<(), Fault> {
    let typed = parameters::typed(&definition.template, &definition.parameters);
    let exports = engine::exports(state, call.region);
    let scope = engine::scope(definition, &typed, stack, call.world, exports);
    engine::plan(&scope).map(drop).map_err(invalid)
}

pub(super) fn new_stack(state: &mut State, call: &Call<'_>, name: &str) -> Result<Stack, Fault> {
    let legal = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !legal {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
        )));
    }
    let uuid = state.unique_uuid();
    Ok(Stack {
        id: format!(
            "arn:aws:cloudformation:{}:{}:stack/{name}/{uuid}",
            call.region, call.world.account
        ),
        name: name.to_owned(),
        region: call.region.to_owned(),
        created_at: call.world.clock.now(),
        caller: (call.caller.arn.clone(), call.caller.user_id.clone()),
        role: call.text("RoleARN"),
        ..Stack::default()
    })
}

/// Whether the token has begun this operation before; a token that began another one is refused.
fn repeated(stack: &Stack, token: Option<&String>, operation: &str) -> Result<bool, Fault> {
    match token.and_then(|token| stack.tokens.get(token)) {
        None => Ok(false),
        Some(known) if known == operation => Ok(true),
        Some(_) => Err(Fault::new(
            400,
            "TokenAlreadyExistsException",
            "A client request token was already used for a different operation",
        )),
    }
}

pub(super) fn take_token(stack: &mut Stack, token: Option<String>, operation: &str) {
    if let Some(token) = &token {
        stack.tokens.insert(token.clone(), operation.to_owned());
    }
    stack.token = token;
}

pub(super) fn create(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "StackName")?;
    let token = call.text("ClientRequestToken");
    if let Some(stack) = find(state, call, &name) {
        if repeated(stack, token.as_ref(), "CreateStack")? {
            return Ok(json!({ "StackId": stack.id }));
        }
        return Err(Fault::new(
            400,
            "AlreadyExistsException",
            format!("Stack [{name}] already exists"),
        ));
    }
    let definition = definition(call, None)?;
    let mut stack = new_stack(state, call, &name)?;
    stack.on_failure = match (
        call.text("OnFailure").as_deref(),
        call.flag("DisableRollback"),
    ) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                "You can specify either DisableRollback or OnFailure, but not both.",
            ));
        }
        (Some("DO_NOTHING"), _) | (None, Some(true)) => OnFailure::DoNothing,
        (Some("DELETE"), _) => OnFailure::Delete,
        (Some("ROLLBACK") | None, _) => OnFailure::Rollback,
        (Some(other), _) => {
            return Err(invalid(format!(
                "1 validation error detected: Value '{other}' at 'onFailure' failed to satisfy constraint: Member must \
                 satisfy enum value set: [ROLLBACK, DELETE, DO_NOTHING]"
            )));
        }
    };
    stack.protected = call.flag("EnableTerminationProtection") == Some(true);
    if let Some(minutes) = call.integer("TimeoutInMinutes") {
        let minutes = u64::try_from(minutes).unwrap_or(1).max(1);
        stack.timeout = Some(minutes);
        stack.deadline = Some(call.world.clock.after(Duration::from_secs(minutes * 60)));
    }
    check(state, call, &definition, &stack)?;
    stack.definition = definition;
    take_token(&mut stack, token, "CreateStack");
    begin_creation(state, call, &mut stack);
    let id = stack.id.clone();
    state.cloudformation.stacks.insert(id.clone(), stack);
    Ok(json!({ "StackId": id }))
}

pub(super) fn begin_creation(state: &mut State, call: &Call<'_>, stack: &mut Stack) {
    let event = state.unique_uuid();
    stack.enter(
        event,
        call.world.clock.now(),
        "CREATE_IN_PROGRESS",
        Some("User Initiated".into()),
    );
}

pub(super) fn updatable(stack: &Stack) -> Result<(), Fault> {
    let settled = [
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        // What kept its progress goes on from there.
        "CREATE_FAILED",
        "UPDATE_FAILED",
    ];
    if settled.contains(&stack.status.as_str()) {
        return Ok(());
    }
    Err(invalid(format!(
        "Stack:{} is in {} state and can not be updated.",
        stack.id, stack.status
    )))
}

/// Whether a definition would change anything.
pub(super) fn differs(stack: &Stack, new: &Definition) -> bool {
    let old = &stack.definition;
    let without_notes = |definition: &Definition| {
        let mut sections = Vec::new();
        for section in [
            "Conditions",
            "Mappings",
            "Outputs",
            "Parameters",
            "Resources",
        ] {
            sections.push(plain(&Value::Object(
                definition.template.section(section).clone(),
            )));
        }
        sections
    };
    old.parameters != new.parameters
        || old.tags != new.tags
        || without_notes(old) != without_notes(new)
}

pub(super) fn update(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, does_not_exist)?;
    let token = call.text("ClientRequestToken");
    let stack = &state.cloudformation.stacks[&id];
    if repeated(stack, token.as_ref(), "UpdateStack")? {
        return Ok(json!({ "StackId": id }));
    }
    updatable(stack)?;
    let definition = definition(call, Some(stack))?;
    check(state, call, &definition, stack)?;
    let is_failed = stack.status.ends_with("_FAILED");
    if !is_failed && !differs(stack, &definition) {
        return Err(invalid("No updates are to be performed."));
    }
    begin_update(state, call, &id, definition, token, "UpdateStack");
    if let Some(stack) = state.cloudformation.stacks.get_mut(&id) {
        stack.on_failure = match call.flag("DisableRollback") {
            Some(true) => OnFailure::DoNothing,
            _ => OnFailure::Rollback,
        };
    }
    Ok(json!({ "StackId": id }))
}

pub(super) fn begin_update(
    state: &mut State,
    call: &Call<'_>,
    id: &str,
    definition: Definition,
    token: Option<String>,
    operation: &str,
) {
    let event = state.unique_uuid();
    let now = call.world.clock.now();
    let Some(stack) = state.cloudformation.stacks.get_mut(id) else {
        return;
    };
    take_token(stack, token, operation);
    stack.caller = (call.caller.arn.clone(), call.caller.user_id.clone());
    if let Some(role) = call.text("RoleARN") {
        stack.role = Some(role);
    }
    stack.previous = Some(std::mem::replace(&mut stack.definition, definition));
    stack.updated_at = Some(now);
    for resource in &mut stack.resources {
        resource.work = Work::Waiting;
        resource.before = None;
    }
    stack.enter(
        event,
        now,
        "UPDATE_IN_PROGRESS",
        Some("User Initiated".into()),
    );
}

pub(super) fn cancel_update(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, does_not_exist)?;
    let now = call.world.clock.now();
    let event = state.unique_uuid();
    let Some(stack) = state.cloudformation.stacks.get_mut(&id) else {
        return Ok(json!({}));
    };
    if stack.status != "UPDATE_IN_PROGRESS" {
        return Err(invalid(format!(
            "CancelUpdateStack cannot be called from current stack status [{}]",
            stack.status
        )));
    }
    if let Some(previous) = stack.previous.clone() {
        stack.definition = previous;
    }
    for resource in &mut stack.resources {
        resource.work = Work::Waiting;
    }
    stack.enter(
        event,
        now,
        "UPDATE_ROLLBACK_IN_PROGRESS",
        Some("User Initiated".into()),
    );
    Ok(json!({}))
}

pub(super) fn continue_rollback(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, does_not_exist)?;
    let now = call.world.clock.now();
    let event = state.unique_uuid();
    let skipped = call.texts("ResourcesToSkip");
    let Some(stack) = state.cloudformation.stacks.get_mut(&id) else {
        return Ok(json!({}));
    };
    if stack.status != "UPDATE_ROLLBACK_FAILED" {
        return Err(invalid(format!(
            "Stack:{} is in {} state and can not continue update rollback.",
            stack.id, stack.status
        )));
    }
    for resource in &mut stack.resources {
        resource.work = if skipped.contains(&resource.logical) {
            Work::Idle
        } else {
            Work::Waiting
        };
    }
    stack.enter(
        event,
        now,
        "UPDATE_ROLLBACK_IN_PROGRESS",
        Some("User Initiated".into()),
    );
    Ok(json!({}))
}

pub(super) fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "StackName")?;
    let Some(stack) = find(state, call, &name) else {
        if name.starts_with("arn:") {
            return Err(invalid(with_id_does_not_exist(&name)));
        }
        return Ok(json!({}));
    };
    let token = call.text("ClientRequestToken");
    let again = repeated(stack, token.as_ref(), "DeleteStack")?;
    if again || ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"].contains(&stack.status.as_str()) {
        return Ok(json!({}));
    }
    if stack.protected {
        return Err(invalid(format!(
            "Stack [{}] cannot be deleted while TerminationProtection is enabled",
            stack.name
        )));
    }
    if stack.busy()
        && !["CREATE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"].contains(&stack.status.as_str())
    {
        return Err(invalid(format!(
            "Stack [{}] cannot be deleted while in status {}",
            stack.id, stack.status
        )));
    }
    let retain = call.texts("RetainResources");
    if !retain.is_empty() && stack.status != "DELETE_FAILED" {
        return Err(invalid(
            "Invalid operation on stack: RetainResources can only be specified for a stack in the DELETE_FAILED state",
        ));
    }
    let id = stack.id.clone();
    for output in &stack.outputs {
        let Some(export) = &output.export else {
            continue;
        };
        let importer = engine::live(state, call.region)
            .find(|other| other.id != id && other.imports.contains(export));
        if let Some(importer) = importer {
            return Err(invalid(format!(
                "Export {export} cannot be deleted as it is in use by {}",
                importer.name
            )));
        }
    }
    let now = call.world.clock.now();
    let event = state.unique_uuid();
    let Some(stack) = state.cloudformation.stacks.get_mut(&id) else {
        return Ok(json!({}));
    };
    take_token(stack, token, "DeleteStack");
    stack.caller = (call.caller.arn.clone(), call.caller.user_id.clone());
    if let Some(role) = call.text("RoleARN") {
        stack.role = Some(role);
    }
    stack.retain = retain;
    stack.force = call.text("DeletionMode").as_deref() == Some("FORCE_DELETE_STACK");
    stack.deadline = None;
    let doomed = std::mem::take(&mut stack.doomed);
    stack.resources.extend(doomed);
    engine::doom(stack);
    stack.enter(
        event,
        now,
        "DELETE_IN_PROGRESS",
        Some("User Initiated".into()),
    );
    Ok(json!({}))
}

pub(super) fn protect(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, does_not_exist)?;
    let protected = call.flag("EnableTerminationProtection") == Some(true);
    if let Some(stack) = state.cloudformation.stacks.get_mut(&id) {
        stack.protected = protected;
    }
    Ok(json!({ "StackId": id }))
}
