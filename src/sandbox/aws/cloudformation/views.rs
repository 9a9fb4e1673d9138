//! The operations that only look: stacks, their resources, events, templates and exports.

use serde_json::{Value, json};

use super::super::{Call, Fault};
use super::functions::{plain, scalar};
use super::requests::{does_not_exist, find, id_of, required, with_id_does_not_exist};
use super::stack::{OnFailure, Resource, Stack, moment};
use super::template::Template;
use super::{drift, engine, invalid};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::State;

/// How many entries a page has.
pub(super) const PAGE: usize = 100;

fn page(call: &Call<'_>, member: &str, all: Vec<Value>) -> Result<Value, Fault> {
    page_of(call, member, all, PAGE)
}

pub(super) fn page_of(
    call: &Call<'_>,
    member: &str,
    all: Vec<Value>,
    most: usize,
) -> Result<Value, Fault> {
    let start = match call.text("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|offset| usize::from_str_radix(offset, 16).ok())
            .ok_or_else(|| invalid("Invalid value for NextToken"))?,
    };
    let total = all.len();
    let items: Vec<Value> = all.into_iter().skip(start).take(most).collect();
    let end = start + items.len();
    let next = (end < total).then(|| format!("page-{end:x}"));
    Ok(json!({ member: items, "NextToken": next }))
}

pub(super) fn describe(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let now = call.world.clock.now();
    let stacks: Vec<Value> = match call.text("StackName") {
        Some(name) => {
            let stack =
                find(state, call, &name).ok_or_else(|| invalid(with_id_does_not_exist(&name)))?;
            vec![render(stack, now)]
        }
        None => engine::live(state, call.region)
            .map(|stack| render(stack, now))
            .collect(),
    };
    page(call, "Stacks", stacks)
}

fn render(stack: &Stack, now: Millis) -> Value {
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
        "DriftInformation": drift::of_stack(stack, now),
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
                "DriftInformation": drift::of_stack(stack, call.world.clock.now()),
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

fn render_resource(call: &Call<'_>, stack: &Stack, resource: &Resource, time: &str) -> Value {
    json!({
        "StackName": stack.name,
        "StackId": stack.id,
        "LogicalResourceId": resource.logical,
        "PhysicalResourceId": resource.physical,
        "ResourceType": resource.kind,
        time: moment(resource.changed_at),
        "ResourceStatus": resource.status,
        "ResourceStatusReason": resource.reason,
        "DriftInformation": drift::of_resource(stack, resource, call.world.clock.now()),
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
        .map(|resource| render_resource(call, stack, resource, "Timestamp"))
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
    let mut detail = render_resource(call, stack, resource, "LastUpdatedTimestamp");
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
            let mut summary = render_resource(call, stack, resource, "LastUpdatedTimestamp");
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
