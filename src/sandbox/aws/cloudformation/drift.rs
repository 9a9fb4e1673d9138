//! Drift: how a stack's resources differ from what the stack made them, and change sets that take it back.
//!
//! Only properties that the template sets are compared, and only what can be read. What a detection found is known when
//! it is done, and stays what the stack and its resources say of drift until the next one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::{Call, Fault};
use super::functions::{plain, scalar};
use super::requests::{does_not_exist, id_of, required};
use super::resources::{Cx, Properties, handler, live};
use super::stack::{Resource, Stack, moment};
use super::views::{PAGE, page_of};
use super::{State as Kept, invalid};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::State;

/// The states in which the documentation says that drift can be detected.
const DETECTABLE: [&str; 4] = [
    "CREATE_COMPLETE",
    "UPDATE_COMPLETE",
    "UPDATE_ROLLBACK_COMPLETE",
    "UPDATE_ROLLBACK_FAILED",
];
/// How long a detection takes: for itself, and for each resource. How long it really takes is not documented.
const DETECTION: (Duration, Duration) = (Duration::from_secs(3), Duration::from_millis(500));
/// How many detections of a stack are remembered.
const REMEMBERED: usize = 5;

/// A detection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Detection {
    id: String,
    at: Millis,
    done_at: Millis,
    found: Vec<Drift>,
}

/// How a resource differs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drift {
    logical: String,
    physical: Option<String>,
    kind: String,
    status: Status,
    /// Why it could not be read.
    reason: Option<String>,
    expected: Value,
    actual: Value,
    differences: Vec<Difference>,
    at: Millis,
}

/// Whether a resource is as it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    InSync,
    Modified,
    Deleted,
    Unknown,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::InSync => "IN_SYNC",
            Status::Modified => "MODIFIED",
            Status::Deleted => "DELETED",
            Status::Unknown => "UNKNOWN",
        }
    }
}

/// A property that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Difference {
    path: String,
    kind: String,
    expected: Value,
    actual: Value,
}

impl Difference {
    fn new(path: String, kind: &str, expected: &Value, actual: &Value) -> Self {
        Difference {
            path,
            kind: kind.to_owned(),
            expected: expected.clone(),
            actual: actual.clone(),
        }
    }

    /// Tags that others add are theirs, and no change set takes them away.
    fn is_a_stranger_s_tag(&self) -> bool {
        self.kind == "ADD" && self.path.starts_with("/Tags/")
    }
}

/// The properties that differ: those that are expected, as far as they could be read.
fn differences(expected: &Value, actual: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, wanted) in expected.as_object().into_iter().flatten() {
        let Some(is) = actual.get(name) else {
            continue;
        };
        let path = format!("/{name}");
        match (wanted, is) {
            _ if plain(wanted) == plain(is) => {}
            (Value::Array(wanted), Value::Array(is)) => lists(&path, wanted, is, &mut found),
            (_, Value::Null) => found.push(Difference::new(path, "REMOVE", wanted, is)),
            _ => found.push(Difference::new(path, "NOT_EQUAL", wanted, is)),
        }
    }
    found
}

/// What tells an item of a list from its neighbours: the key of a tag, the name of a policy, a scalar itself.
fn identity(item: &Value) -> Value {
    let named = ["Key", "PolicyName"].iter().find_map(|key| item.get(*key));
    plain(named.unwrap_or(item))
}

/// The items of lists in no order.
fn lists(path: &str, wanted: &[Value], is: &[Value], found: &mut Vec<Difference>) {
    for (index, item) in wanted.iter().enumerate() {
        let path = format!("{path}/{index}");
        match is.iter().find(|other| identity(other) == identity(item)) {
            None => found.push(Difference::new(path, "REMOVE", item, &Value::Null)),
            Some(other) if plain(other) == plain(item) => {}
            Some(other) if item.get("Key").is_some() => found.push(Difference::new(
                format!("{path}/Value"),
                "NOT_EQUAL",
                &item["Value"],
                &other["Value"],
            )),
            Some(other) => found.push(Difference::new(path, "NOT_EQUAL", item, other)),
        }
    }
    let more = is
        .iter()
        .filter(|item| !wanted.iter().any(|other| identity(other) == identity(item)));
    for (index, item) in more.enumerate() {
        let path = format!("{path}/{}", wanted.len() + index);
        found.push(Difference::new(path, "ADD", &Value::Null, item));
    }
}

/// Reads a stack's resources and compares; those of types that are not checked are not told of.
fn look(
    state: &mut State,
    call: &Call<'_>,
    stack: &Stack,
    is_asked: impl Fn(&Resource) -> bool,
) -> Vec<Drift> {
    let mut found = Vec::new();
    let made = |resource: &&Resource| resource.physical.is_some() && is_asked(resource);
    for resource in stack.resources.iter().filter(made) {
        let mut cx = Cx {
            world: call.world,
            state,
            caller: call.caller,
            region: call.region,
            generated: String::new(),
            made: None,
        };
        let physical = resource.physical.as_deref().unwrap_or_default();
        let expected = Properties(&resource.properties);
        let Some(read) = live(&mut cx, &resource.kind, physical, expected) else {
            continue;
        };
        let mut drift = Drift {
            logical: resource.logical.clone(),
            physical: resource.physical.clone(),
            kind: resource.kind.clone(),
            status: Status::InSync,
            reason: None,
            expected: resource.properties.clone(),
            actual: Value::Null,
            differences: Vec::new(),
            at: call.world.clock.now(),
        };
        match read {
            Ok(None) => drift.status = Status::Deleted,
            Ok(Some(actual)) => {
                drift.differences = differences(&resource.properties, &actual);
                if !drift.differences.is_empty() {
                    drift.status = Status::Modified;
                }
                drift.actual = actual;
            }
            Err(fault) => {
                drift.status = Status::Unknown;
                drift.reason = Some(fault.message);
            }
        }
        found.push(drift);
    }
    found
}

pub(super) fn detect(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, does_not_exist)?;
    let now = call.world.clock.now();
    let stack = state.cloudformation.stacks[&id].clone();
    if !DETECTABLE.contains(&stack.status.as_str()) {
        return Err(invalid(format!(
            "Drift detection cannot be performed on stack [{id}] in state [{}]; it can in [{}]",
            stack.status,
            DETECTABLE.join(", ")
        )));
    }
    if stack.detections.iter().any(|one| one.done_at > now) {
        return Err(invalid(format!(
            "Drift detection is already in progress for stack [{id}]"
        )));
    }
    let asked = call.texts("LogicalResourceIds");
    for name in &asked {
        if !stack.resources.iter().any(|one| one.logical == *name) {
            return Err(invalid(format!(
                "Resource {name} does not exist for stack {}",
                stack.name
            )));
        }
    }
    let is_asked = |one: &Resource| asked.is_empty() || asked.contains(&one.logical);
    let found = look(state, call, &stack, is_asked);
    let (base, each) = DETECTION;
    let length = base + each * u32::try_from(found.len()).unwrap_or(u32::MAX);
    let detection = Detection {
        id: state.unique_uuid(),
        at: now,
        done_at: call.world.clock.after(length),
        found,
    };
    let answer = json!({"StackDriftDetectionId": detection.id});
    if let Some(stack) = state.cloudformation.stacks.get_mut(&id) {
        let surplus = (stack.detections.len() + 1).saturating_sub(REMEMBERED);
        stack.detections.drain(..surplus);
        stack.detections.push(detection);
    }
    Ok(answer)
}

pub(super) fn describe_detection(state: &Kept, call: &Call<'_>) -> Result<Value, Fault> {
    let id = required(call, "StackDriftDetectionId")?;
    let known = state.stacks.values().find_map(|stack| {
        let detection = stack.detections.iter().find(|one| one.id == id)?;
        Some((stack, detection))
    });
    let Some((stack, detection)) = known else {
        return Err(invalid(format!(
            "Drift detection results for Id [{id}] do not exist"
        )));
    };
    let mut answer = json!({
        "StackId": stack.id,
        "StackDriftDetectionId": id,
        "DetectionStatus": "DETECTION_IN_PROGRESS",
        "Timestamp": moment(detection.at),
    });
    if detection.done_at <= call.world.clock.now() {
        let drifted = detection.found.iter().filter(|one| is_drifted(one)).count();
        let unread = detection.found.iter().find_map(|one| one.reason.as_ref());
        answer["StackDriftStatus"] = json!(overall(detection));
        answer["DriftedStackResourceCount"] = json!(drifted);
        answer["DetectionStatus"] = json!(match unread {
            Some(_) => "DETECTION_FAILED",
            None => "DETECTION_COMPLETE",
        });
        answer["DetectionStatusReason"] = json!(unread);
    }
    Ok(answer)
}

fn is_drifted(drift: &Drift) -> bool {
    matches!(drift.status, Status::Modified | Status::Deleted)
}

fn overall(detection: &Detection) -> &'static str {
    if detection.found.iter().any(is_drifted) {
        "DRIFTED"
    } else if detection
        .found
        .iter()
        .any(|one| one.status == Status::Unknown)
    {
        "UNKNOWN"
    } else {
        "IN_SYNC"
    }
}

/// The last detection that is done.
fn last(stack: &Stack, now: Millis) -> Option<&Detection> {
    stack.detections.iter().rev().find(|one| one.done_at <= now)
}

/// What a resource was found to be the last time that somebody looked.
fn last_of<'a>(stack: &'a Stack, now: Millis, logical: &str) -> Option<&'a Drift> {
    let done = stack
        .detections
        .iter()
        .rev()
        .filter(|one| one.done_at <= now);
    done.flat_map(|one| &one.found)
        .find(|one| one.logical == logical)
}

/// `DriftInformation` of a stack.
pub(super) fn of_stack(stack: &Stack, now: Millis) -> Value {
    match last(stack, now) {
        None => json!({"StackDriftStatus": "NOT_CHECKED"}),
        Some(detection) => {
            json!({"StackDriftStatus": overall(detection), "LastCheckTimestamp": moment(detection.at)})
        }
    }
}

/// `DriftInformation` of a resource.
pub(super) fn of_resource(stack: &Stack, resource: &Resource, now: Millis) -> Value {
    match last_of(stack, now, &resource.logical) {
        None => json!({"StackResourceDriftStatus": "NOT_CHECKED"}),
        Some(drift) => {
            json!({"StackResourceDriftStatus": drift.status.name(), "LastCheckTimestamp": moment(drift.at)})
        }
    }
}

/// A value as CloudFormation writes it into a difference: scalars as they are, `null`, all else as JSON.
fn written(value: &Value) -> String {
    scalar(value).unwrap_or_else(|| value.to_string())
}

fn render(stack: &Stack, drift: &Drift) -> Value {
    let mut shown = json!({
        "StackId": stack.id,
        "LogicalResourceId": drift.logical,
        "PhysicalResourceId": drift.physical,
        "ResourceType": drift.kind,
        "StackResourceDriftStatus": drift.status.name(),
        "Timestamp": moment(drift.at),
        "DriftStatusReason": drift.reason,
        "PropertyDifferences": [],
    });
    if matches!(drift.status, Status::InSync | Status::Modified) {
        let names = drift.expected.as_object().into_iter().flat_map(Map::keys);
        let read = |of: &Value| -> Value {
            let kept = names.clone().filter_map(|name| {
                Some((
                    name.clone(),
                    drift.actual.get(name).and(of.get(name))?.clone(),
                ))
            });
            Value::Object(kept.collect())
        };
        shown["ExpectedProperties"] = json!(read(&drift.expected).to_string());
        shown["ActualProperties"] = json!(read(&drift.actual).to_string());
        shown["PropertyDifferences"] = drift
            .differences
            .iter()
            .map(|one| {
                json!({"PropertyPath": one.path, "DifferenceType": one.kind,
                    "ExpectedValue": written(&one.expected), "ActualValue": written(&one.actual)})
            })
            .collect();
    }
    shown
}

pub(super) fn describe(state: &Kept, stack: &str, call: &Call<'_>) -> Result<Value, Fault> {
    let stack = &state.stacks[stack];
    let wanted = call.texts("StackResourceDriftStatusFilters");
    let now = call.world.clock.now();
    let all = stack
        .resources
        .iter()
        .filter_map(|resource| last_of(stack, now, &resource.logical))
        .filter(|drift| {
            let status = drift.status.name();
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == status)
        })
        .map(|drift| render(stack, drift))
        .collect();
    let most = call
        .integer("MaxResults")
        .and_then(|most| usize::try_from(most).ok());
    page_of(call, "StackResourceDrifts", all, most.unwrap_or(PAGE))
}

pub(super) fn detect_one(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = id_of(state, call, does_not_exist)?;
    let name = required(call, "LogicalResourceId")?;
    let stack = state.cloudformation.stacks[&id].clone();
    if !stack.resources.iter().any(|one| one.logical == name) {
        return Err(invalid(format!(
            "Resource {name} does not exist for stack {}",
            stack.name
        )));
    }
    let found = look(state, call, &stack, |one| one.logical == name);
    let Some(drift) = found.first() else {
        return Err(invalid(format!(
            "Resource {name} does not support drift detection"
        )));
    };
    let answer = json!({"StackResourceDrift": render(&stack, drift)});
    let now = call.world.clock.now();
    let detection = Detection {
        id: state.unique_uuid(),
        at: now,
        done_at: now,
        found,
    };
    if let Some(stack) = state.cloudformation.stacks.get_mut(&id) {
        stack.detections.push(detection);
    }
    Ok(answer)
}

/// What a drift-aware change set takes back.
pub(super) fn to_revert(state: &mut State, call: &Call<'_>, stack: &Stack) -> Vec<Drift> {
    let mut found = look(state, call, stack, |_| true);
    for drift in &mut found {
        drift.differences.retain(|one| !one.is_a_stranger_s_tag());
    }
    found.retain(|drift| match drift.status {
        Status::Modified => !drift.differences.is_empty(),
        Status::Deleted => true,
        Status::InSync | Status::Unknown => false,
    });
    found
}

impl Drift {
    /// The resource's name in the template.
    pub(super) fn logical(&self) -> &str {
        &self.logical
    }

    /// The entry of a change set that takes it back.
    pub(super) fn change(&self) -> Value {
        let mut change = json!({
            "LogicalResourceId": self.logical,
            "PhysicalResourceId": self.physical,
            "ResourceType": self.kind,
            "ResourceDriftStatus": self.status.name(),
        });
        if self.status == Status::Deleted {
            change["Action"] = json!("Add");
            change["Scope"] = json!([]);
            change["Details"] = json!([]);
            return json!({"Type": "Resource", "ResourceChange": change});
        }
        let fixed = handler(&self.kind).map_or(&[][..], |handler| handler.fixed);
        let mut is_replaced = false;
        let details: Vec<Value> = self
            .differences
            .iter()
            .map(|one| {
                let name = one.path.split('/').nth(1).unwrap_or_default();
                let is_fixed = fixed.contains(&name);
                is_replaced |= is_fixed;
                let mut target = json!({
                    "Attribute": if name == "Tags" { "Tags" } else { "Properties" },
                    "RequiresRecreation": if is_fixed { "Always" } else { "Never" },
                    "Path": one.path,
                    "BeforeValue": written(&one.actual),
                    "AfterValue": written(&one.expected),
                    "BeforeValueFrom": "ACTUAL_STATE",
                    "AfterValueFrom": "TEMPLATE",
                    "Drift": {"PreviousValue": written(&one.expected), "ActualValue": written(&one.actual),
                        "DriftDetectionTimestamp": moment(self.at)},
                });
                if name != "Tags" {
                    target["Name"] = json!(name);
                }
                json!({"Target": target, "Evaluation": "Static", "ChangeSource": "DirectModification"})
            })
            .collect();
        let mut scope: Vec<&Value> = details
            .iter()
            .map(|detail| &detail["Target"]["Attribute"])
            .collect();
        scope.dedup();
        change["Action"] = json!("Modify");
        change["Replacement"] = json!(if is_replaced { "True" } else { "False" });
        change["Scope"] = json!(scope);
        change["Details"] = json!(details);
        json!({"Type": "Resource", "ResourceChange": change})
    }

    /// Lets the stack know what the resource is really like, so that an update makes it what it should be.
    pub(super) fn admit(&self, resource: &mut Resource) {
        if self.status == Status::Deleted {
            resource.physical = None;
            resource.attributes = Map::new();
            return;
        }
        let Some(properties) = resource.properties.as_object_mut() else {
            return;
        };
        for (name, value) in properties {
            match (name.as_str(), self.actual.get(name.as_str())) {
                (_, None) => {}
                // Others' tags stay.
                ("Tags", Some(Value::Array(tags))) => {
                    let own = value.as_array().cloned().unwrap_or_default();
                    let is_own =
                        |tag: &&Value| own.iter().any(|other| identity(other) == identity(tag));
                    *value = tags.iter().filter(is_own).cloned().collect();
                }
                (_, Some(actual)) => *value = actual.clone(),
            }
        }
    }
}
