//! The operations on stacks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{Call, Fault, text_of};
use super::functions::{plain, scalar};
use super::parameters::{self, Given};
use super::stack::{Definition, OnFailure, Resource, Stack, Work, moment};
use super::template::{Template, single};
use super::{engine, invalid};
use crate::sandbox::state::State;

/// How many entries a page has.
const PAGE: usize = 100;

/// The stack of a name or an ARN. By name, deleted stacks don't exist; by ARN, they do.
pub fn find<'a>(state: &'a State, call: &Call<'_>, name: &str) -> Option<&'a Stack> {
    if name.starts_with("arn:") {
        return state.cloudformation.stacks.get(name);
    }
    engine::live(state, call.region).find(|stack| stack.name == name)
}

fn id_of(
    state: &State,
    call: &Call<'_>,
    missing: impl FnOnce(&str) -> String,
) -> Result<String, Fault> {
    let name = required(call, "StackName")?;
    find(state, call, &name)
        .map(|stack| stack.id.clone())
        .ok_or_else(|| invalid(missing(&name)))
}

fn does_not_exist(name: &str) -> String {
    format!("Stack [{name}] does not exist")
}

fn with_id_does_not_exist(name: &str) -> String {
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
    if !differs(stack, &definition) {
        return Err(invalid("No updates are to be performed."));
    }
    begin_update(state, call, &id, definition, token, "UpdateStack");
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

fn page(call: &Call<'_>, member: &str, all: Vec<Value>) -> Result<Value, Fault> {
    let start = match call.text("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|offset| usize::from_str_radix(offset, 16).ok())
            .ok_or_else(|| invalid("Invalid value for NextToken"))?,
    };
    let total = all.len();
    let items: Vec<Value> = all.into_iter().skip(start).take(PAGE).collect();
    let end = start + items.len();
    let next = (end < total).then(|| format!("page-{end:x}"));
    Ok(json!({ member: items, "NextToken": next }))
}

pub(super) fn describe(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let stacks: Vec<Value> = match call.text("StackName") {
        Some(name) => {
            let stack =
                find(state, call, &name).ok_or_else(|| invalid(with_id_does_not_exist(&name)))?;
            vec![render(stack)]
        }
        None => engine::live(state, call.region).map(render).collect(),
    };
    page(call, "Stacks", stacks)
}

fn render(stack: &Stack) -> Value {
    let hidden = |name: &str| {
        let declared = stack.definition.template.section("Parameters").get(name);
        declared
            .and_then(|declaration| declaration.get("NoEcho"))
            .and_then(scalar)
            .as_deref()
            == Some("true")
    };
    let parameters: Vec<Value> = stack
        .definition
        .parameters
        .iter()
        .map(|(name, value)| {
            let value = if hidden(name) { "****" } else { value };
            json!({"ParameterKey": name, "ParameterValue": value})
        })
        .collect();
    let outputs: Vec<Value> = stack
        .outputs
        .iter()
        .map(|output| {
            json!({"OutputKey": output.key, "OutputValue": output.value, "Description": output.description,
                "ExportName": output.export})
        })
        .collect();
    json!({
        "StackId": stack.id,
        "StackName": stack.name,
        "ChangeSetId": stack.change_set,
        "Description": stack.definition.template.description(),
        "Parameters": parameters,
        "CreationTime": moment(stack.created_at),
        "LastUpdatedTime": stack.updated_at.map(moment),
        "DeletionTime": stack.deleted_at.map(moment),
        "RollbackConfiguration": {},
        "StackStatus": stack.status,
        "StackStatusReason": stack.reason,
        "DisableRollback": stack.on_failure == OnFailure::DoNothing,
        "NotificationARNs": [],
        "TimeoutInMinutes": stack.timeout,
        "Capabilities": stack.definition.capabilities,
        "Outputs": outputs,
        "RoleARN": stack.role,
        "Tags": tags(&stack.definition.tags),
        "EnableTerminationProtection": stack.protected,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    })
}

pub(super) fn tags(tags: &[(String, String)]) -> Vec<Value> {
    tags.iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect()
}

pub(super) fn list(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let wanted = call.texts("StackStatusFilter");
    let mut stacks: Vec<&Stack> = state
        .cloudformation
        .stacks
        .values()
        .filter(|stack| stack.region == call.region)
        .filter(|stack| wanted.is_empty() || wanted.contains(&stack.status))
        .collect();
    stacks.sort_by_key(|stack| std::cmp::Reverse(stack.created_at));
    let all = stacks
        .into_iter()
        .map(|stack| {
            json!({
                "StackId": stack.id,
                "StackName": stack.name,
                "TemplateDescription": stack.definition.template.description(),
                "CreationTime": moment(stack.created_at),
                "LastUpdatedTime": stack.updated_at.map(moment),
                "DeletionTime": stack.deleted_at.map(moment),
                "StackStatus": stack.status,
                "StackStatusReason": stack.reason,
                "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
            })
        })
        .collect();
    page(call, "StackSummaries", all)
}

pub(super) fn describe_events(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, does_not_exist)?;
    let stack = &state.cloudformation.stacks[&id];
    let events = stack
        .events
        .iter()
        .rev()
        .map(|event| {
            json!({
                "StackId": stack.id,
                "EventId": event.id,
                "StackName": stack.name,
                "LogicalResourceId": event.logical,
                "PhysicalResourceId": event.physical,
                "ResourceType": event.kind,
                "Timestamp": moment(event.at),
                "ResourceStatus": event.status,
                "ResourceStatusReason": event.reason,
                "ResourceProperties": event.properties,
                "ClientRequestToken": event.token,
            })
        })
        .collect();
    page(call, "StackEvents", events)
}

fn render_resource(stack: &Stack, resource: &Resource, time: &str) -> Value {
    json!({
        "StackName": stack.name,
        "StackId": stack.id,
        "LogicalResourceId": resource.logical,
        "PhysicalResourceId": resource.physical,
        "ResourceType": resource.kind,
        time: moment(resource.changed_at),
        "ResourceStatus": resource.status,
        "ResourceStatusReason": resource.reason,
        "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
    })
}

fn begun(stack: &Stack) -> impl Iterator<Item = &Resource> {
    stack
        .resources
        .iter()
        .filter(|resource| !resource.status.is_empty())
}

pub(super) fn describe_resources(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let stack = match (call.text("StackName"), call.text("PhysicalResourceId")) {
        (Some(name), _) => {
            find(state, call, &name).ok_or_else(|| invalid(with_id_does_not_exist(&name)))?
        }
        (None, Some(physical)) => engine::live(state, call.region)
            .find(|stack| {
                begun(stack).any(|resource| resource.physical.as_deref() == Some(&physical))
            })
            .ok_or_else(|| invalid(format!("Stack for {physical} does not exist")))?,
        (None, None) => {
            return Err(invalid(
                "Either StackName or PhysicalResourceId must be specified.",
            ));
        }
    };
    let logical = call.text("LogicalResourceId");
    let found: Vec<Value> = begun(stack)
        .filter(|resource| {
            logical
                .as_ref()
                .is_none_or(|logical| resource.logical == *logical)
        })
        .map(|resource| render_resource(stack, resource, "Timestamp"))
        .collect();
    if let (Some(logical), true) = (&logical, found.is_empty()) {
        return Err(invalid(format!(
            "Resource {logical} does not exist for stack {}",
            stack.name
        )));
    }
    Ok(json!({ "StackResources": found }))
}

pub(super) fn describe_resource(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, |name| format!("Stack '{name}' does not exist"))?;
    let logical = required(call, "LogicalResourceId")?;
    let stack = &state.cloudformation.stacks[&id];
    let resource = begun(stack)
        .find(|resource| resource.logical == logical)
        .ok_or_else(|| {
            invalid(format!(
                "Resource {logical} does not exist for stack {}",
                stack.name
            ))
        })?;
    let mut detail = render_resource(stack, resource, "LastUpdatedTimestamp");
    let written = stack.definition.template.section("Resources").get(&logical);
    detail["Metadata"] = json!(
        written
            .and_then(|resource| resource.get("Metadata"))
            .map_or_else(|| "{}".to_owned(), Value::to_string)
    );
    Ok(json!({ "StackResourceDetail": detail }))
}

pub(super) fn list_resources(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, with_id_does_not_exist)?;
    let stack = &state.cloudformation.stacks[&id];
    let all = begun(stack)
        .map(|resource| {
            let mut summary = render_resource(stack, resource, "LastUpdatedTimestamp");
            summary["StackName"] = Value::Null;
            summary["StackId"] = Value::Null;
            summary
        })
        .collect();
    page(call, "StackResourceSummaries", all)
}

pub(super) fn template(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, with_id_does_not_exist)?;
    Ok(json!({
        "TemplateBody": state.cloudformation.stacks[&id].definition.body,
        "StagesAvailable": ["Original", "Processed"],
    }))
}

fn given_template(call: &Call<'_>) -> Result<Template, Fault> {
    let body = call
        .text("TemplateBody")
        .ok_or_else(|| invalid("Either Template URL or Template Body must be specified."))?;
    Template::parse(&body).map_err(invalid)
}

fn declared(template: &Template) -> Vec<Value> {
    template
        .section("Parameters")
        .iter()
        .map(|(name, declaration)| {
            let hidden = declaration.get("NoEcho").and_then(scalar).as_deref() == Some("true");
            json!({
                "ParameterKey": name,
                "DefaultValue": declaration.get("Default").and_then(scalar),
                "NoEcho": hidden,
                "Description": declaration.get("Description"),
            })
        })
        .collect()
}

pub(super) fn validate(call: &Call<'_>) -> Result<Value, Fault> {
    let template = given_template(call)?;
    let (capabilities, why) = capabilities(&template);
    Ok(json!({
        "Description": template.description(),
        "Parameters": declared(&template),
        "Capabilities": capabilities,
        "CapabilitiesReason": why,
    }))
}

fn capabilities(template: &Template) -> (Vec<&'static str>, Option<String>) {
    match template.capabilities() {
        Some((needed, why)) => (vec![needed], Some(why)),
        None => (Vec::new(), None),
    }
}

pub(super) fn template_summary(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let template = match call.text("StackName") {
        Some(name) => {
            let stack =
                find(state, call, &name).ok_or_else(|| invalid(with_id_does_not_exist(&name)))?;
            stack.definition.template.clone()
        }
        None => given_template(call)?,
    };
    let parameters: Vec<Value> = declared(&template)
        .into_iter()
        .map(|mut parameter| {
            let name = parameter["ParameterKey"].as_str().unwrap_or_default();
            let declaration = &template.section("Parameters")[name];
            parameter["ParameterType"] = declaration["Type"].clone();
            if let Some(allowed) = declaration.get("AllowedValues") {
                parameter["ParameterConstraints"] = json!({ "AllowedValues": plain(allowed) });
            }
            parameter
        })
        .collect();
    let mut kinds: Vec<&Value> = template
        .section("Resources")
        .values()
        .map(|resource| &resource["Type"])
        .collect();
    kinds.sort_by_key(|kind| kind.as_str());
    kinds.dedup();
    let (capabilities, why) = capabilities(&template);
    Ok(json!({
        "Description": template.description(),
        "Parameters": parameters,
        "Capabilities": capabilities,
        "CapabilitiesReason": why,
        "ResourceTypes": kinds,
        "Version": "2010-09-09",
    }))
}

pub(super) fn list_exports(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let all = engine::live(state, call.region)
        .flat_map(|stack| stack.outputs.iter().map(move |output| (stack, output)))
        .filter_map(|(stack, output)| {
            let name = output.export.as_ref()?;
            Some(json!({"ExportingStackId": stack.id, "Name": name, "Value": output.value}))
        })
        .collect();
    page(call, "Exports", all)
}

pub(super) fn list_imports(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "ExportName")?;
    if !engine::exports(state, call.region).contains_key(&name) {
        return Err(invalid(format!("Export '{name}' does not exist.")));
    }
    let importers: Vec<Value> = engine::live(state, call.region)
        .filter(|stack| stack.imports.contains(&name))
        .map(|stack| json!(stack.name))
        .collect();
    if importers.is_empty() {
        return Err(invalid(format!(
            "Export '{name}' is not imported by any stack."
        )));
    }
    page(call, "Imports", importers)
}

/// The values in a template that name a parameter, for what an update changes.
pub(super) fn refers_to(value: &Value, name: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| refers_to(item, name)),
        Value::Object(members) => {
            if let Some(("Ref", target)) = single(members) {
                return target == name;
            }
            members.values().any(|member| refers_to(member, name))
        }
        Value::String(text) => text.contains(&format!("${{{name}}}")),
        _ => false,
    }
}
