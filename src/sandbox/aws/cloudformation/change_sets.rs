//! Change sets: an update that is looked at before it happens, which is what `aws cloudformation deploy` uses.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Call, Fault};
use super::drift::Drift;
use super::functions::plain;
use super::requests::{
    begin_creation, begin_update, check, definition, differs, find, new_stack, required,
    take_token, updatable,
};
use super::resources::handler;
use super::stack::{Definition, OnFailure, Stack, moment};
use super::template::single;
use super::views::tags;
use super::{drift, engine, invalid, parameters};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::State;

/// A change set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Its ARN.
    pub id: String,
    /// Its name, unique for the stack.
    pub name: String,
    /// The stack.
    pub stack: String,
    definition: Definition,
    description: Option<String>,
    changes: Vec<Value>,
    status: String,
    reason: Option<String>,
    execution: String,
    created_at: Millis,
    /// What a drift-aware one takes back; none for the others.
    #[serde(default)]
    reverts: Option<Vec<Drift>>,
}

const NOTHING: &str = "The submitted information didn't contain changes. Submit different information to create a change set.";

pub(super) fn create(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let stack_name = required(call, "StackName")?;
    let name = required(call, "ChangeSetName")?;
    let kind = call
        .text("ChangeSetType")
        .unwrap_or_else(|| "UPDATE".into());
    let existing = find(state, call, &stack_name).map(|stack| stack.id.clone());
    let mut fresh = None;
    let stack = match (&existing, kind.as_str()) {
        (Some(id), _) => &state.cloudformation.stacks[id],
        (None, "CREATE") => fresh.insert(new_stack(state, call, &stack_name)?),
        (None, _) => return Err(invalid(format!("Stack [{stack_name}] does not exist"))),
    }
    .clone();
    let reviewed = stack.status.is_empty() || stack.status == "REVIEW_IN_PROGRESS";
    if kind == "CREATE" && !reviewed {
        return Err(invalid(format!(
            "Stack [{stack_name}] already exists and cannot be created again with the changeSet [{name}]."
        )));
    }
    if kind == "UPDATE" {
        if reviewed {
            return Err(invalid(format!("Stack [{stack_name}] does not exist")));
        }
        updatable(&stack)?;
    }
    if state
        .cloudformation
        .change_sets
        .values()
        .any(|other| other.stack == stack.id && other.name == name)
    {
        return Err(Fault::new(
            400,
            "AlreadyExistsException",
            format!(
                "ChangeSet {name} cannot be created due to a mismatch with existing attribute Name"
            ),
        ));
    }
    let definition = definition(call, (!reviewed).then_some(&stack))?;
    check(state, call, &definition, &stack)?;
    let reverts = match call.text("DeploymentMode").as_deref() {
        Some("REVERT_DRIFT") if reviewed => Some(Vec::new()),
        Some("REVERT_DRIFT") => Some(drift::to_revert(state, call, &stack)),
        _ => None,
    };
    let has_drift = reverts.as_ref().is_some_and(|found| !found.is_empty());
    let empty = !reviewed && !differs(&stack, &definition) && !has_drift;
    let mut changes = changes(state, call, &stack, &definition);
    for drift in reverts.iter().flatten() {
        let is_told =
            |change: &Value| change["ResourceChange"]["LogicalResourceId"] == drift.logical();
        match changes.iter_mut().find(|change| is_told(change)) {
            Some(change) => {
                change["ResourceChange"]["ResourceDriftStatus"] =
                    drift.change()["ResourceChange"]["ResourceDriftStatus"].clone();
            }
            None => changes.push(drift.change()),
        }
    }
    let uuid = state.unique_uuid();
    let id = format!(
        "arn:aws:cloudformation:{}:{}:changeSet/{name}/{uuid}",
        call.region, call.world.account
    );
    let now = call.world.clock.now();
    if let Some(mut stack) = fresh {
        let event = state.unique_uuid();
        stack.definition = definition.clone();
        stack.enter(
            event,
            now,
            "REVIEW_IN_PROGRESS",
            Some("User Initiated".into()),
        );
        state.cloudformation.stacks.insert(stack.id.clone(), stack);
    }
    state.cloudformation.change_sets.insert(
        id.clone(),
        ChangeSet {
            id: id.clone(),
            name,
            stack: stack.id.clone(),
            definition,
            description: call.text("Description"),
            changes,
            status: if empty { "FAILED" } else { "CREATE_COMPLETE" }.into(),
            reason: empty.then(|| NOTHING.to_owned()),
            execution: if empty { "UNAVAILABLE" } else { "AVAILABLE" }.into(),
            created_at: now,
            reverts,
        },
    );
    Ok(json!({"Id": id, "StackId": stack.id}))
}

/// What of a resource a property belongs to, as change sets tell it.
fn attribute(property: &str) -> &'static str {
    match property {
        "Tags" => "Tags",
        _ => "Properties",
    }
}

fn changes(state: &State, call: &Call<'_>, stack: &Stack, new: &Definition) -> Vec<Value> {
    let typed = parameters::typed(&new.template, &new.parameters);
    let exports = engine::exports(state, call.region);
    let scope = engine::scope(new, &typed, stack, call.world, exports);
    let Ok(plan) = engine::plan(&scope) else {
        return Vec::new();
    };
    let mut changes = Vec::new();
    let new_tags = new.tags.clone();
    let changed: Vec<&String> = new
        .parameters
        .iter()
        .filter(|(name, value)| stack.definition.parameters.get(*name) != Some(value))
        .map(|(name, _)| name)
        .collect();
    for (name, wanted) in &plan.wanted {
        let kind = &wanted["Type"];
        let Some(resource) = stack
            .resources
            .iter()
            .find(|resource| resource.logical == *name)
        else {
            changes.push(json!({"Type": "Resource", "ResourceChange": {"Action": "Add", "LogicalResourceId": name,
                "ResourceType": kind, "Scope": [], "Details": []}}));
            continue;
        };
        let old = stack.definition.template.section("Resources").get(name);
        let old = old.map_or(&Value::Null, |resource| &resource["Properties"]);
        let new = new.template.section("Resources").get(name);
        let new = new.map_or(&Value::Null, |resource| &resource["Properties"]);
        let members = || {
            let old = old
                .as_object()
                .into_iter()
                .flat_map(|members| members.keys());
            let new = new
                .as_object()
                .into_iter()
                .flat_map(|members| members.keys());
            old.chain(new)
        };
        let mut touched: Vec<&String> = members()
            .filter(|member| {
                plain(&old[member.as_str()]) != plain(&new[member.as_str()])
                    || changed
                        .iter()
                        .any(|parameter| refers_to(&new[member.as_str()], parameter))
            })
            .collect();
        // The stack's own tags go to everything that can carry some.
        let tags = "Tags".to_owned();
        if stack.definition.tags != new_tags
            && handler(&resource.kind).is_some_and(|handler| handler.taggable())
        {
            touched.push(&tags);
        }
        touched.sort();
        touched.dedup();
        if touched.is_empty() {
            continue;
        }
        let replaced = handler(&resource.kind).is_some_and(|handler| {
            touched
                .iter()
                .any(|member| handler.fixed.contains(&member.as_str()))
        });
        let details: Vec<Value> = touched
            .iter()
            .map(|member| {
                let fixed =
                    handler(&resource.kind).is_some_and(|h| h.fixed.contains(&member.as_str()));
                let mut target = json!({"Attribute": attribute(member),
                    "RequiresRecreation": if fixed { "Always" } else { "Never" }});
                if attribute(member) == "Properties" {
                    target["Name"] = json!(member);
                }
                json!({"Target": target, "Evaluation": "Static", "ChangeSource": "DirectModification"})
            })
            .collect();
        let scope: BTreeSet<&str> = touched.iter().map(|member| attribute(member)).collect();
        changes.push(json!({"Type": "Resource", "ResourceChange": {"Action": "Modify", "LogicalResourceId": name,
            "PhysicalResourceId": resource.physical, "ResourceType": kind,
            "Replacement": if replaced { "True" } else { "False" }, "Scope": scope, "Details": details}}));
    }
    for resource in &stack.resources {
        if !plan
            .wanted
            .iter()
            .any(|(name, _)| *name == resource.logical)
            && !resource.status.is_empty()
        {
            changes.push(
                json!({"Type": "Resource", "ResourceChange": {"Action": "Remove",
                "LogicalResourceId": resource.logical, "PhysicalResourceId": resource.physical,
                "ResourceType": resource.kind, "Scope": [], "Details": []}}),
            );
        }
    }
    changes
}

fn id_of(state: &State, call: &Call<'_>) -> Result<String, Fault> {
    let name = required(call, "ChangeSetName")?;
    let stack = match call.text("StackName") {
        Some(stack) => find(state, call, &stack).map(|stack| stack.id.clone()),
        None => None,
    };
    state
        .cloudformation
        .change_sets
        .values()
        .find(|set| set.id == name || (set.name == name && Some(&set.stack) == stack.as_ref()))
        .map(|set| set.id.clone())
        .ok_or_else(|| {
            Fault::new(
                404,
                "ChangeSetNotFound",
                format!("ChangeSet [{name}] does not exist"),
            )
        })
}

pub(super) fn describe(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call)?;
    let set = &state.cloudformation.change_sets[&id];
    let parameters: Vec<Value> = set
        .definition
        .parameters
        .iter()
        .map(|(name, value)| json!({"ParameterKey": name, "ParameterValue": value}))
        .collect();
    let mut shown = json!({
        "ChangeSetName": set.name,
        "ChangeSetId": set.id,
        "StackId": set.stack,
        "StackName": state.cloudformation.stacks.get(&set.stack).map(|stack| &stack.name),
        "Description": set.description,
        "Parameters": parameters,
        "CreationTime": moment(set.created_at),
        "ExecutionStatus": set.execution,
        "Status": set.status,
        "StatusReason": set.reason,
        "NotificationARNs": [],
        "RollbackConfiguration": {},
        "Capabilities": set.definition.capabilities,
        "Tags": tags(&set.definition.tags),
        "Changes": set.changes,
        "IncludeNestedStacks": false,
    });
    if let Some(reverts) = &set.reverts {
        let is_in_sync = reverts.is_empty();
        shown["DeploymentMode"] = json!("REVERT_DRIFT");
        shown["StackDriftStatus"] = json!(if is_in_sync { "IN_SYNC" } else { "DRIFTED" });
    }
    Ok(shown)
}

pub(super) fn list(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "StackName")?;
    let stack = find(state, call, &name)
        .ok_or_else(|| invalid(format!("Stack [{name}] does not exist")))?;
    let summaries: Vec<Value> = state
        .cloudformation
        .change_sets
        .values()
        .filter(|set| set.stack == stack.id)
        .map(|set| {
            json!({"StackId": stack.id, "StackName": stack.name, "ChangeSetId": set.id, "ChangeSetName": set.name,
                "ExecutionStatus": set.execution, "Status": set.status, "StatusReason": set.reason,
                "CreationTime": moment(set.created_at), "Description": set.description})
        })
        .collect();
    Ok(json!({ "Summaries": summaries }))
}

pub(super) fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    match id_of(state, call) {
        Ok(id) => {
            state.cloudformation.change_sets.remove(&id);
            Ok(json!({}))
        }
        // Deleting by name what isn't there is fine.
        Err(_) if call.text("StackName").is_some() => Ok(json!({})),
        Err(fault) => Err(fault),
    }
}

pub(super) fn execute(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call)?;
    let set = state.cloudformation.change_sets[&id].clone();
    if set.execution != "AVAILABLE" {
        return Err(Fault::new(
            400,
            "InvalidChangeSetStatus",
            format!(
                "ChangeSet [{}] cannot be executed in its current status of [{}]",
                set.id, set.status
            ),
        ));
    }
    let Some(mut stack) = state.cloudformation.stacks.get(&set.stack).cloned() else {
        return Err(invalid(format!("Stack [{}] does not exist", set.stack)));
    };
    let token = call.text("ClientRequestToken");
    if stack.status == "REVIEW_IN_PROGRESS" {
        stack.definition = set.definition;
        stack.caller = (call.caller.arn.clone(), call.caller.user_id.clone());
        stack.on_failure = if call.flag("DisableRollback") == Some(true) {
            OnFailure::DoNothing
        } else {
            OnFailure::Rollback
        };
        stack.change_set = Some(id.clone());
        take_token(&mut stack, token, "ExecuteChangeSet");
        begin_creation(state, call, &mut stack);
        state.cloudformation.stacks.insert(stack.id.clone(), stack);
    } else {
        updatable(&stack)?;
        if let Some(stack) = state.cloudformation.stacks.get_mut(&set.stack) {
            for drift in set.reverts.iter().flatten() {
                let resources = &mut stack.resources;
                if let Some(found) = resources
                    .iter_mut()
                    .find(|one| one.logical == drift.logical())
                {
                    drift.admit(found);
                }
            }
        }
        begin_update(
            state,
            call,
            &set.stack,
            set.definition,
            token,
            "ExecuteChangeSet",
        );
        if let Some(stack) = state.cloudformation.stacks.get_mut(&set.stack) {
            stack.change_set = Some(id.clone());
        }
    }
    // The others of the stack are about a state that is no more.
    state
        .cloudformation
        .change_sets
        .retain(|_, other| other.stack != set.stack || other.id == id);
    if let Some(set) = state.cloudformation.change_sets.get_mut(&id) {
        set.execution = "EXECUTE_COMPLETE".into();
    }
    Ok(json!({}))
}

/// The values in a template that name a parameter, for what an update changes.
fn refers_to(value: &Value, name: &str) -> bool {
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
