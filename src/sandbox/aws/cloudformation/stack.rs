//! Stacks, their resources and their events, as they are kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::Caller;
use super::drift::Detection;
use super::template::Template;
use crate::sandbox::clock::Millis;

/// A stack.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stack {
    /// Its ARN.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// `CREATE_IN_PROGRESS`, …
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// What it is made from and with.
    pub definition: Definition,
    /// What it was before the update that is going on, to go back to.
    pub previous: Option<Definition>,
    /// Its outputs.
    pub outputs: Vec<Output>,
    /// Its resources in the template's order.
    pub resources: Vec<Resource>,
    /// Resources that an update has replaced or removed and that are still to be deleted.
    pub doomed: Vec<Resource>,
    /// Its events, oldest first.
    pub events: Vec<Event>,
    /// Whose permissions count: the ARN and the unique id.
    pub caller: (String, String),
    /// The service role.
    pub role: Option<String>,
    /// What happens when creation fails.
    pub on_failure: OnFailure,
    /// Whether deletion is refused.
    pub protected: bool,
    /// Client tokens and the operation that each one began.
    pub tokens: BTreeMap<String, String>,
    /// The token of the operation that is going on.
    pub token: Option<String>,
    /// Resources that a deletion is to leave alone.
    pub retain: Vec<String>,
    /// Whether resources that can't be deleted are left alone.
    pub force: bool,
    /// Minutes that creation may take.
    pub timeout: Option<u64>,
    /// When it has taken too long.
    pub deadline: Option<Millis>,
    /// When it was created.
    pub created_at: Millis,
    /// When it was last updated.
    pub updated_at: Option<Millis>,
    /// When it was deleted.
    pub deleted_at: Option<Millis>,
    /// The change set that was executed last.
    pub change_set: Option<String>,
    /// Names of other stacks' exports that it imports.
    pub imports: BTreeSet<String>,
    /// The last detections of drift.
    pub detections: Vec<Detection>,
}

/// What a stack is made from and with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// The template as it was given.
    pub body: String,
    /// The template.
    pub template: Template,
    /// Parameters' values.
    pub parameters: BTreeMap<String, String>,
    /// The stack's tags.
    pub tags: Vec<(String, String)>,
    /// Acknowledged capabilities.
    pub capabilities: Vec<String>,
}

/// What happens to a stack whose creation fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// What was made is deleted.
    #[default]
    Rollback,
    /// What was made stays.
    DoNothing,
    /// What was made and the stack are deleted.
    Delete,
}

/// An output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Output {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Its description.
    pub description: Option<String>,
    /// The name that other stacks import it by.
    pub export: Option<String>,
}

/// A resource of a stack.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// Its name in the template.
    pub logical: String,
    /// Its type.
    pub kind: String,
    /// What its service calls it.
    pub physical: Option<String>,
    /// `CREATE_COMPLETE`, …; empty before its turn.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// When the status changed.
    pub changed_at: Millis,
    /// Its evaluated properties.
    pub properties: Value,
    /// What `Fn::GetAtt` answers.
    pub attributes: Map<String, Value>,
    /// The resources that it needs.
    pub needs: BTreeSet<String>,
    /// `Delete` or `Retain`.
    pub deletion_policy: String,
    /// What it was before the update that is going on.
    pub before: Option<Before>,
    /// What is being done with it.
    pub work: Work,
    /// When a deletion that is refused for dependencies is given up.
    pub patience: Option<Millis>,
}

/// What a resource was before an update.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Before {
    /// Its physical id.
    pub physical: String,
    /// Its properties.
    pub properties: Value,
    /// Its attributes.
    pub attributes: Map<String, Value>,
}

/// What is being done with a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Nothing: it is as it should be.
    #[default]
    Idle,
    /// Its turn hasn't come.
    Waiting,
    /// It is being made.
    Creating(Millis),
    /// It is being changed in place.
    Updating(Millis),
    /// It is being deleted.
    Deleting(Millis),
    /// A refused deletion is tried again.
    Retrying(Millis),
    /// It has failed.
    Failed,
    /// It is no more.
    Gone,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Unique.
    pub id: String,
    /// The resource; the stack's own name for the stack.
    pub logical: String,
    /// Its physical id.
    pub physical: String,
    /// Its type.
    pub kind: String,
    /// Its new status.
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// Its properties as JSON.
    pub properties: Option<String>,
    /// The token of the operation.
    pub token: Option<String>,
    /// When.
    pub at: Millis,
}

impl Stack {
    /// Whether something is being done.
    pub fn busy(&self) -> bool {
        self.status.ends_with("_IN_PROGRESS") && self.status != "REVIEW_IN_PROGRESS"
    }

    /// Whose permissions count: the service role's, or the caller's.
    pub fn acting(&self) -> Caller {
        match &self.role {
            None => Caller {
                arn: self.caller.0.clone(),
                user_id: self.caller.1.clone(),
            },
            Some(role) => {
                let (prefix, name) = role.split_once(":role/").unwrap_or((role, ""));
                let name = name.rsplit('/').next().unwrap_or(name);
                Caller {
                    arn: format!(
                        "{}:assumed-role/{name}/AWSCloudFormation",
                        prefix.replacen(":iam:", ":sts:", 1)
                    ),
                    user_id: "AWSCloudFormation".into(),
                }
            }
        }
    }

    /// Adds an event of the stack itself, and sets its status.
    pub fn enter(&mut self, id: String, now: Millis, status: &str, reason: Option<String>) {
        self.status = status.to_owned();
        self.reason.clone_from(&reason);
        self.events.push(Event {
            id,
            logical: self.name.clone(),
            physical: self.id.clone(),
            kind: "AWS::CloudFormation::Stack".into(),
            status: status.to_owned(),
            reason,
            properties: None,
            token: self.token.clone(),
            at: now,
        });
    }
}

impl Resource {
    /// Sets the status and tells of it.
    pub fn enter(
        &mut self,
        events: &mut Vec<Event>,
        token: Option<&String>,
        now: Millis,
        status: &str,
        reason: Option<String>,
    ) {
        self.status = status.to_owned();
        self.reason.clone_from(&reason);
        self.changed_at = now;
        let at = moment(now);
        events.push(Event {
            id: format!("{}-{status}-{at}-{}", self.logical, events.len()),
            logical: self.logical.clone(),
            physical: self.physical.clone().unwrap_or_default(),
            kind: self.kind.clone(),
            status: status.to_owned(),
            reason,
            properties: (!self.properties.is_null()).then(|| self.properties.to_string()),
            token: token.cloned(),
            at: now,
        });
    }
}

/// ISO 8601 with milliseconds.
pub fn moment(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at as i64)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}
