//! The state machine behind stacks: each tick does what is due, so that a restart in the middle goes on.
//!
//! Forwards (creating, updating, and rolling an update back to the previous definition), a resource's turn comes when
//! what it needs is done; backwards (deleting, rolling a creation back, cleaning up after an update), when what needs it
//! is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::{Caller, Fault, ec2};
use super::functions::{Scope, plain, scalar};
use super::resources::{Cx, Handler, Properties, handler, system_tags};
use super::stack::{Before, OnFailure, Output, Resource, Stack, Work};
use super::{parameters, stack::Definition};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{State, World};

/// How long a deletion that is refused for dependencies is tried again, in seconds.
const PATIENCE: u64 = 60;
/// How long between two tries, in seconds.
const PAUSE: u64 = 10;

/// A stack taken out of the state, at work.
pub struct Run<'a> {
    world: &'a World,
    state: &'a mut State,
    stack: Stack,
    caller: Caller,
    now: Millis,
}

/// Lets every busy stack do what is due. Returns whether anything happened.
pub fn tick(state: &mut State, world: &World) -> bool {
    let busy: Vec<String> = state
        .cloudformation
        .stacks
        .values()
        .filter(|stack| stack.busy())
        .map(|stack| stack.id.clone())
        .collect();
    let mut changed = false;
    for id in busy {
        let Some(stack) = state.cloudformation.stacks.remove(&id) else {
            continue;
        };
        let caller = stack.acting();
        let mut run = Run {
            world,
            state,
            stack,
            caller,
            now: world.clock.now(),
        };
        changed |= run.step();
        let stack = run.stack;
        state.cloudformation.stacks.insert(id, stack);
    }
    changed
}

/// What a template's resources come to with the parameters given.
pub struct Plan {
    /// Each wanted resource with its conditions decided.
    pub wanted: Vec<(String, Value)>,
    conditions: BTreeMap<String, bool>,
}

/// Decides conditions and which resources are wanted.
///
/// # Errors
/// The message of the `ValidationError`.
pub fn plan(scope: &Scope<'_>) -> Result<Plan, String> {
    let conditions = scope.conditions()?;
    let mut wanted = Vec::new();
    for (name, resource) in scope.template.section("Resources") {
        let holds = resource
            .get("Condition")
            .and_then(Value::as_str)
            .is_none_or(|condition| conditions.get(condition) == Some(&true));
        if holds && let Some(decided) = scope.decided(resource, &conditions)? {
            wanted.push((name.clone(), decided));
        }
    }
    let names: BTreeSet<&String> = wanted.iter().map(|(name, _)| name).collect();
    for (_, resource) in &wanted {
        let unwritten = json!({"Properties": resource["Properties"]});
        let missing: Vec<String> = scope
            .template
            .dependencies(&unwritten)
            .into_iter()
            .filter(|needed| !names.contains(needed))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "Template format error: Unresolved resource dependencies [{}] in the Resources block of the template",
                missing.join(", ")
            ));
        }
    }
    Ok(Plan { wanted, conditions })
}

/// A scope over a definition, with what exists so far.
pub fn scope<'a>(
    definition: &'a Definition,
    typed: &'a BTreeMap<String, Value>,
    stack: &Stack,
    world: &World,
    exports: BTreeMap<String, String>,
) -> Scope<'a> {
    let mut references = BTreeMap::new();
    let mut attributes = BTreeMap::new();
    for resource in &stack.resources {
        if let Some(physical) = &resource.physical {
            references.insert(resource.logical.clone(), physical.clone());
            attributes.insert(resource.logical.clone(), resource.attributes.clone());
        }
    }
    Scope {
        template: &definition.template,
        parameters: typed,
        pseudo: BTreeMap::from([
            ("AWS::AccountId".to_owned(), json!(&*world.account)),
            ("AWS::NotificationARNs".to_owned(), json!([])),
            ("AWS::Partition".to_owned(), json!("aws")),
            ("AWS::Region".to_owned(), json!(stack.region)),
            ("AWS::StackId".to_owned(), json!(stack.id)),
            ("AWS::StackName".to_owned(), json!(stack.name)),
            ("AWS::URLSuffix".to_owned(), json!("amazonaws.com")),
        ]),
        references,
        attributes,
        exports,
        zones: ec2::zones(&stack.region),
    }
}

/// Marks everything that a stack has for deletion.
pub fn doom(stack: &mut Stack) {
    for resource in &mut stack.resources {
        resource.work = if resource.status.is_empty() || resource.work == Work::Gone {
            Work::Gone
        } else {
            Work::Waiting
        };
        resource.patience = None;
    }
}

/// How a step of many resources stands.
#[derive(PartialEq, Eq)]
enum Progress {
    Going { changed: bool },
    Done,
    Failed,
}

impl Run<'_> {
    fn step(&mut self) -> bool {
        match self.stack.status.as_str() {
            "CREATE_IN_PROGRESS" => self.creating(),
            "UPDATE_IN_PROGRESS" => self.updating(),
            "UPDATE_ROLLBACK_IN_PROGRESS" => self.going_back(),
            "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS" => self.cleaning("UPDATE_COMPLETE"),
            "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS" => {
                self.cleaning("UPDATE_ROLLBACK_COMPLETE")
            }
            "ROLLBACK_IN_PROGRESS" => self.rolling_back(),
            "DELETE_IN_PROGRESS" => self.deleting(),
            _ => false,
        }
    }

    fn enter(&mut self, status: &str, reason: Option<String>) {
        let id = self.state.unique_uuid();
        self.stack.enter(id, self.now, status, reason);
    }

    fn after(&self, seconds: u64) -> Millis {
        self.world.clock.after(Duration::from_secs(seconds))
    }

    fn creating(&mut self) -> bool {
        let late = self
            .stack
            .deadline
            .is_some_and(|deadline| deadline <= self.now);
        let progress = if late {
            Progress::Failed
        } else {
            self.forward(false)
        };
        match progress {
            Progress::Going { changed } => changed,
            Progress::Done => match self.outputs() {
                Ok(()) => {
                    self.enter("CREATE_COMPLETE", None);
                    true
                }
                Err(reason) => {
                    self.creation_failed(Some(reason));
                    true
                }
            },
            Progress::Failed => {
                self.cancel("Resource creation cancelled");
                let reason = late.then(|| {
                    format!(
                        "Stack creation time exceeded the specified timeout of {} minutes. ",
                        self.stack.timeout.unwrap_or_default()
                    )
                });
                self.creation_failed(reason);
                true
            }
        }
    }

    fn creation_failed(&mut self, reason: Option<String>) {
        let reason = reason.unwrap_or_else(|| {
            format!(
                "The following resource(s) failed to create: [{}]. ",
                self.failed().join(", ")
            )
        });
        self.stack.deadline = None;
        match self.stack.on_failure {
            OnFailure::DoNothing => self.enter("CREATE_FAILED", Some(reason)),
            OnFailure::Rollback => {
                self.enter(
                    "ROLLBACK_IN_PROGRESS",
                    Some(format!("{reason}Rollback requested by user.")),
                );
                self.doom_all();
            }
            OnFailure::Delete => {
                self.enter(
                    "DELETE_IN_PROGRESS",
                    Some(format!("{reason}Delete requested by user.")),
                );
                self.doom_all();
            }
        }
    }

    fn doom_all(&mut self) {
        doom(&mut self.stack);
    }

    fn failed(&self) -> Vec<String> {
        self.stack
            .resources
            .iter()
            .filter(|resource| resource.work == Work::Failed)
            .map(|resource| resource.logical.clone())
            .collect()
    }

    fn updating(&mut self) -> bool {
        match self.forward(false) {
            Progress::Going { changed } => changed,
            Progress::Done => {
                match self.outputs() {
                    Ok(()) => {
                        self.retire(false);
                        self.enter("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None);
                    }
                    Err(reason) => self.update_failed(reason),
                }
                true
            }
            Progress::Failed => {
                self.cancel("Resource update cancelled");
                let updated: Vec<String> = self
                    .stack
                    .resources
                    .iter()
                    .filter(|resource| {
                        resource.work == Work::Failed && resource.status == "UPDATE_FAILED"
                    })
                    .map(|resource| resource.logical.clone())
                    .collect();
                let created: Vec<String> = self
                    .failed()
                    .into_iter()
                    .filter(|name| !updated.contains(name))
                    .collect();
                let mut reason = String::new();
                if !created.is_empty() {
                    reason.push_str(&format!(
                        "The following resource(s) failed to create: [{}]. ",
                        created.join(", ")
                    ));
                }
                if !updated.is_empty() {
                    reason.push_str(&format!(
                        "The following resource(s) failed to update: [{}]. ",
                        updated.join(", ")
                    ));
                }
                self.update_failed(reason);
                true
            }
        }
    }

    fn update_failed(&mut self, reason: String) {
        if let Some(previous) = self.stack.previous.clone() {
            self.stack.definition = previous;
        }
        for resource in &mut self.stack.resources {
            resource.work = Work::Waiting;
        }
        self.enter("UPDATE_ROLLBACK_IN_PROGRESS", Some(reason));
    }

    fn going_back(&mut self) -> bool {
        match self.forward(true) {
            Progress::Going { changed } => changed,
            Progress::Done => {
                let outputs = self.outputs();
                self.retire(true);
                self.enter(
                    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
                    outputs.err(),
                );
                true
            }
            Progress::Failed => {
                self.cancel("Resource update cancelled");
                let reason = format!(
                    "The following resource(s) failed to update: [{}]. ",
                    self.failed().join(", ")
                );
                self.enter("UPDATE_ROLLBACK_FAILED", Some(reason));
                true
            }
        }
    }

    /// Moves what the definition no longer wants, and what has been replaced, to what is to be deleted.
    fn retire(&mut self, back: bool) {
        let names: BTreeSet<String> = match self.wanted() {
            Ok(plan) => plan.wanted.into_iter().map(|(name, _)| name).collect(),
            Err(_) => return,
        };
        let mut kept = Vec::new();
        for mut resource in std::mem::take(&mut self.stack.resources) {
            if !names.contains(&resource.logical) {
                if !resource.status.is_empty() {
                    resource.work = Work::Waiting;
                    self.stack.doomed.push(resource);
                }
                continue;
            }
            if let Some(before) = resource.before.take()
                && !back
                && resource.physical.as_ref() != Some(&before.physical)
            {
                let mut old = resource.clone();
                old.physical = Some(before.physical);
                old.properties = before.properties;
                old.attributes = before.attributes;
                old.work = Work::Waiting;
                self.stack.doomed.push(old);
            }
            resource.work = Work::Idle;
            kept.push(resource);
        }
        self.stack.resources = kept;
    }

    fn cleaning(&mut self, end: &str) -> bool {
        let mut doomed = std::mem::take(&mut self.stack.doomed);
        let progress = self.backward(&mut doomed);
        self.stack.doomed = doomed;
        match progress {
            Progress::Going { changed } => changed,
            // What can't be cleaned up is left to the user; the update has succeeded all the same.
            Progress::Done | Progress::Failed => {
                self.stack.doomed.clear();
                self.stack.previous = None;
                self.enter(end, None);
                true
            }
        }
    }

    fn rolling_back(&mut self) -> bool {
        match self.all_backward() {
            Progress::Going { changed } => changed,
            Progress::Done => {
                self.enter("ROLLBACK_COMPLETE", None);
                true
            }
            Progress::Failed => {
                let reason = format!(
                    "The following resource(s) failed to delete: [{}]. ",
                    self.failed().join(", ")
                );
                self.enter("ROLLBACK_FAILED", Some(reason));
                true
            }
        }
    }

    fn deleting(&mut self) -> bool {
        match self.all_backward() {
            Progress::Going { changed } => changed,
            Progress::Done => {
                self.stack.deleted_at = Some(self.now);
                self.enter("DELETE_COMPLETE", None);
                true
            }
            Progress::Failed => {
                let reason = format!(
                    "The following resource(s) failed to delete: [{}]. ",
                    self.failed().join(", ")
                );
                self.enter("DELETE_FAILED", Some(reason));
                true
            }
        }
    }

    fn all_backward(&mut self) -> Progress {
        let mut resources = std::mem::take(&mut self.stack.resources);
        let progress = self.backward(&mut resources);
        self.stack.resources = resources;
        progress
    }

    fn exports(&self) -> BTreeMap<String, String> {
        exports(self.state, &self.stack.region)
    }

    fn wanted(&self) -> Result<Plan, String> {
        let typed = parameters::typed(
            &self.stack.definition.template,
            &self.stack.definition.parameters,
        );
        plan(&scope(
            &self.stack.definition,
            &typed,
            &self.stack,
            self.world,
            self.exports(),
        ))
    }

    /// Brings the definition's resources about. `back` is a rollback: what was replaced comes back as it was.
    fn forward(&mut self, back: bool) -> Progress {
        let mut changed = self.advance();
        if self
            .stack
            .resources
            .iter()
            .any(|resource| resource.work == Work::Failed)
        {
            return Progress::Failed;
        }
        let plan = match self.wanted() {
            Ok(plan) => plan,
            Err(_) => return Progress::Failed,
        };
        let names: BTreeSet<&String> = plan.wanted.iter().map(|(name, _)| name).collect();
        for (name, wanted) in &plan.wanted {
            let index = match self
                .stack
                .resources
                .iter()
                .position(|resource| resource.logical == *name)
            {
                Some(index) => index,
                None => {
                    self.stack.resources.push(Resource {
                        logical: name.clone(),
                        kind: wanted["Type"].as_str().unwrap_or_default().to_owned(),
                        work: Work::Waiting,
                        ..Resource::default()
                    });
                    self.stack.resources.len() - 1
                }
            };
            if self.stack.resources[index].work != Work::Waiting {
                continue;
            }
            let mut needs = self.stack.definition.template.dependencies(wanted);
            needs.retain(|needed| names.contains(needed));
            let ready = needs.iter().all(|needed| {
                self.stack
                    .resources
                    .iter()
                    .any(|resource| resource.logical == *needed && resource.work == Work::Idle)
            });
            if !ready {
                continue;
            }
            changed = true;
            let mut resource = std::mem::take(&mut self.stack.resources[index]);
            resource.needs = needs;
            resource.deletion_policy = wanted["DeletionPolicy"]
                .as_str()
                .unwrap_or("Delete")
                .to_owned();
            let begun = self.begin(&mut resource, wanted, back);
            if let Err(reason) = begun {
                let status = if resource.before.is_some() || resource.status.starts_with("UPDATE") {
                    "UPDATE_FAILED"
                } else {
                    "CREATE_FAILED"
                };
                resource.work = Work::Failed;
                self.tell(&mut resource, status, Some(reason));
            }
            let failed = resource.work == Work::Failed;
            self.stack.resources[index] = resource;
            if failed {
                return Progress::Failed;
            }
        }
        let unfinished = self
            .stack
            .resources
            .iter()
            .any(|resource| names.contains(&resource.logical) && resource.work != Work::Idle);
        if unfinished {
            Progress::Going { changed }
        } else {
            Progress::Done
        }
    }

    fn tell(&mut self, resource: &mut Resource, status: &str, reason: Option<String>) {
        let token = self.stack.token.clone();
        resource.enter(
            &mut self.stack.events,
            token.as_ref(),
            self.now,
            status,
            reason,
        );
    }

    fn evaluated(&self, wanted: &Value, handler: &Handler) -> Result<Value, String> {
        let definition = &self.stack.definition;
        let typed = parameters::typed(&definition.template, &definition.parameters);
        let scope = scope(definition, &typed, &self.stack, self.world, self.exports());
        let empty = json!({});
        let mut properties = scope
            .value(wanted.get("Properties").unwrap_or(&empty))?
            .unwrap_or(empty);
        if handler.taggable() && !definition.tags.is_empty() {
            let mut tags = properties["Tags"].as_array().cloned().unwrap_or_default();
            for (key, value) in &definition.tags {
                if !tags.iter().any(|tag| tag["Key"] == **key) {
                    tags.push(json!({"Key": key, "Value": value}));
                }
            }
            properties["Tags"] = json!(tags);
        }
        Ok(properties)
    }

    /// Starts a resource's creation or change, or finds that there is nothing to do.
    fn begin(&mut self, resource: &mut Resource, wanted: &Value, back: bool) -> Result<(), String> {
        let kind = wanted["Type"].as_str().unwrap_or_default().to_owned();
        let handler =
            handler(&kind).ok_or_else(|| format!("Unrecognized resource type: {kind}"))?;
        if back && let Some(before) = resource.before.take() {
            if resource.physical.as_ref() != Some(&before.physical) {
                // The replacement goes, what it replaced stays.
                if resource.physical.is_some() {
                    let mut replacement = resource.clone();
                    replacement.before = None;
                    replacement.work = Work::Waiting;
                    self.stack.doomed.push(replacement);
                }
                resource.physical = Some(before.physical);
                resource.properties = before.properties;
                resource.attributes = before.attributes;
                resource.work = Work::Idle;
                self.tell(resource, "UPDATE_COMPLETE", None);
                return Ok(());
            }
        } else if back && resource.physical.is_none() {
            // It never came about and isn't wanted to any more; retiring takes it away.
            resource.work = Work::Idle;
            return Ok(());
        }
        let properties = match self.evaluated(wanted, handler) {
            Ok(properties) => properties,
            Err(reason) => {
                resource.kind = kind;
                let status = if resource.physical.is_some() {
                    "UPDATE_IN_PROGRESS"
                } else {
                    "CREATE_IN_PROGRESS"
                };
                self.tell(resource, status, None);
                return Err(reason);
            }
        };
        if let (Some(_), true) = (&resource.physical, resource.kind == kind) {
            if plain(&resource.properties) == plain(&properties) {
                resource.work = Work::Idle;
                return Ok(());
            }
            return self.change(resource, handler, properties, back);
        }
        let replaces = resource.physical.is_some();
        if replaces {
            self.remember(resource);
        }
        resource.kind = kind;
        resource.properties = properties;
        self.create(resource, handler, replaces)
    }

    fn remember(&self, resource: &mut Resource) {
        if resource.before.is_none()
            && let Some(physical) = resource.physical.clone()
        {
            resource.before = Some(Before {
                physical,
                properties: resource.properties.clone(),
                attributes: resource.attributes.clone(),
            });
        }
    }

    fn change(
        &mut self,
        resource: &mut Resource,
        handler: &'static Handler,
        new: Value,
        back: bool,
    ) -> Result<(), String> {
        let old = resource.properties.clone();
        let replaced = handler
            .fixed
            .iter()
            .any(|name| old.get(*name).map(plain) != new.get(*name).map(plain));
        if !back {
            self.remember(resource);
        }
        if replaced {
            resource.properties = new;
            self.tell(
                resource,
                "UPDATE_IN_PROGRESS",
                Some("Requested update requires the creation of a new physical resource; hence creating one.".into()),
            );
            resource.physical = None;
            return self.create(resource, handler, true);
        }
        resource.properties = new.clone();
        self.tell(resource, "UPDATE_IN_PROGRESS", None);
        handler.validate(&resource.logical, &new)?;
        let physical = resource.physical.clone().unwrap_or_default();
        let updated = self.within(resource, |cx| {
            (handler.update)(cx, &physical, Properties(&old), Properties(&new))
        });
        updated.map_err(|fault| self.reason(handler, &fault))?;
        resource.work = Work::Updating(self.after(handler.creation.min(10)));
        Ok(())
    }

    fn create(
        &mut self,
        resource: &mut Resource,
        handler: &'static Handler,
        replaces: bool,
    ) -> Result<(), String> {
        resource.physical = None;
        resource.attributes = Map::new();
        if !replaces {
            self.tell(resource, "CREATE_IN_PROGRESS", None);
        }
        let properties = resource.properties.clone();
        handler.validate(&resource.logical, &properties)?;
        let mut made = None;
        let created = self.within(resource, |cx| {
            let created = (handler.create)(cx, Properties(&properties));
            made = cx.made.take();
            created
        });
        resource.physical = created.as_ref().ok().cloned().or(made);
        if let Some(physical) = resource.physical.clone() {
            let tags = vec![
                (
                    "aws:cloudformation:logical-id".to_owned(),
                    resource.logical.clone(),
                ),
                (
                    "aws:cloudformation:stack-id".to_owned(),
                    self.stack.id.clone(),
                ),
                (
                    "aws:cloudformation:stack-name".to_owned(),
                    self.stack.name.clone(),
                ),
            ];
            if handler.taggable() {
                let kind = resource.kind.clone();
                self.within(resource, |cx| system_tags(cx, &kind, &physical, tags));
            }
        }
        created.map_err(|fault| self.reason(handler, &fault))?;
        let status = if replaces {
            "UPDATE_IN_PROGRESS"
        } else {
            "CREATE_IN_PROGRESS"
        };
        self.tell(resource, status, Some("Resource creation Initiated".into()));
        resource.work = Work::Creating(self.after(handler.creation));
        Ok(())
    }

    fn within<T>(&mut self, resource: &Resource, work: impl FnOnce(&mut Cx<'_>) -> T) -> T {
        let suffix = self
            .state
            .unique(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 12);
        let mut cx = Cx {
            world: self.world,
            state: self.state,
            caller: &self.caller,
            region: &self.stack.region,
            generated: format!("{}-{}-{suffix}", self.stack.name, resource.logical),
            made: None,
        };
        work(&mut cx)
    }

    /// What a resource's event says of a service's refusal.
    fn reason(&mut self, handler: &Handler, fault: &Fault) -> String {
        let code = match fault.code.as_str() {
            code if code.contains("NotFound") || code == "NoSuchEntity" => "NotFound",
            code if code.contains("AlreadyExists") || code.contains("Duplicate") => "AlreadyExists",
            code if code.contains("LimitExceeded") => "ServiceLimitExceeded",
            "NotStabilized" => "NotStabilized",
            _ if fault.status == 403 => "AccessDenied",
            code if code.starts_with("Invalid") || code == "MissingParameter" => "InvalidRequest",
            _ => "GeneralServiceException",
        };
        let token = self.state.unique_uuid();
        if code == "NotStabilized" {
            return format!(
                "Resource handler returned message: \"{}\" (RequestToken: {token}, HandlerErrorCode: {code})",
                fault.message
            );
        }
        let request = self.state.unique_uuid();
        format!(
            "Resource handler returned message: \"{} (Service: {}, Status Code: {}, Request ID: {request})\" \
             (RequestToken: {token}, HandlerErrorCode: {code})",
            fault.message, handler.service, fault.status
        )
    }

    /// Sees to what is being made and has become due.
    fn advance(&mut self) -> bool {
        let mut changed = false;
        for index in 0..self.stack.resources.len() {
            let (due, creating) = match self.stack.resources[index].work {
                Work::Creating(due) => (due, true),
                Work::Updating(due) => (due, false),
                _ => continue,
            };
            if due > self.now {
                continue;
            }
            let mut resource = std::mem::take(&mut self.stack.resources[index]);
            let Some(handler) = handler(&resource.kind) else {
                self.stack.resources[index] = resource;
                continue;
            };
            let replacing = resource.before.is_some();
            let physical = resource.physical.clone().unwrap_or_default();
            let properties = resource.properties.clone();
            let read = self.within(&resource, |cx| {
                if !(handler.ready)(cx, &physical, Properties(&properties))? {
                    return Ok(None);
                }
                (handler.read)(cx, &physical, Properties(&properties)).map(Some)
            });
            match read {
                Ok(None) => {}
                Ok(Some(attributes)) => {
                    changed = true;
                    if let Value::Object(attributes) = attributes {
                        resource.attributes = attributes;
                    }
                    resource.work = Work::Idle;
                    let status = if creating && !replacing {
                        "CREATE_COMPLETE"
                    } else {
                        "UPDATE_COMPLETE"
                    };
                    self.tell(&mut resource, status, None);
                }
                Err(fault) => {
                    changed = true;
                    let reason = self.reason(handler, &fault);
                    resource.work = Work::Failed;
                    let status = if creating && !replacing {
                        "CREATE_FAILED"
                    } else {
                        "UPDATE_FAILED"
                    };
                    self.tell(&mut resource, status, Some(reason));
                }
            }
            self.stack.resources[index] = resource;
        }
        changed
    }

    fn cancel(&mut self, reason: &str) {
        let mut resources = std::mem::take(&mut self.stack.resources);
        for resource in &mut resources {
            let status = match resource.work {
                Work::Creating(_) if resource.before.is_none() => "CREATE_FAILED",
                Work::Creating(_) | Work::Updating(_) => "UPDATE_FAILED",
                _ => continue,
            };
            resource.work = Work::Failed;
            self.tell(resource, status, Some(reason.to_owned()));
        }
        self.stack.resources = resources;
    }

    /// Deletes what waits for it, dependents first.
    fn backward(&mut self, resources: &mut [Resource]) -> Progress {
        let mut changed = false;
        for index in 0..resources.len() {
            match resources[index].work {
                Work::Deleting(due) if due <= self.now => {
                    changed |= self.finish(&mut resources[index])
                }
                Work::Retrying(due) if due > self.now => {}
                Work::Waiting | Work::Retrying(_) => {
                    let name = &resources[index].logical;
                    let needed = resources
                        .iter()
                        .any(|other| other.work != Work::Gone && other.needs.contains(name));
                    if !needed {
                        changed = true;
                        self.delete(&mut resources[index]);
                    }
                }
                _ => {}
            }
        }
        let running = resources
            .iter()
            .any(|resource| matches!(resource.work, Work::Deleting(_) | Work::Retrying(_)));
        if running || changed {
            Progress::Going { changed }
        } else if resources.iter().all(|resource| resource.work == Work::Gone) {
            Progress::Done
        } else {
            Progress::Failed
        }
    }

    fn delete(&mut self, resource: &mut Resource) {
        let kept = self.stack.retain.contains(&resource.logical)
            || resource.deletion_policy == "Retain"
            || (resource.deletion_policy == "RetainExceptOnCreate"
                && self.stack.status != "ROLLBACK_IN_PROGRESS");
        if kept && resource.physical.is_some() {
            resource.work = Work::Gone;
            self.tell(resource, "DELETE_SKIPPED", None);
            return;
        }
        let (Some(physical), Some(handler)) = (resource.physical.clone(), handler(&resource.kind))
        else {
            resource.work = Work::Gone;
            self.tell(resource, "DELETE_COMPLETE", None);
            return;
        };
        if !matches!(resource.work, Work::Retrying(_)) {
            self.tell(resource, "DELETE_IN_PROGRESS", None);
        }
        let properties = resource.properties.clone();
        let deleted = self.within(resource, |cx| {
            (handler.delete)(cx, &physical, Properties(&properties))
        });
        match deleted {
            Ok(()) => resource.work = Work::Deleting(self.after(1)),
            Err(fault) if absent(&fault) => resource.work = Work::Deleting(self.now),
            Err(fault) => {
                let patience = *resource.patience.get_or_insert(self.after(PATIENCE));
                if fault.code == "DependencyViolation" && self.now < patience {
                    resource.work = Work::Retrying(self.after(PAUSE));
                    return;
                }
                let reason = self.reason(handler, &fault);
                self.deletion_failed(resource, reason);
            }
        }
    }

    fn deletion_failed(&mut self, resource: &mut Resource, reason: String) {
        resource.patience = None;
        if self.stack.force {
            resource.work = Work::Gone;
            self.tell(resource, "DELETE_SKIPPED", Some(reason));
        } else {
            resource.work = Work::Failed;
            self.tell(resource, "DELETE_FAILED", Some(reason));
        }
    }

    fn finish(&mut self, resource: &mut Resource) -> bool {
        let Some(handler) = handler(&resource.kind) else {
            return false;
        };
        let physical = resource.physical.clone().unwrap_or_default();
        let properties = resource.properties.clone();
        let gone = self.within(resource, |cx| {
            (handler.gone)(cx, &physical, Properties(&properties))
        });
        match gone {
            Ok(false) => false,
            Ok(true) => {
                resource.work = Work::Gone;
                self.tell(resource, "DELETE_COMPLETE", None);
                true
            }
            Err(fault) => {
                let reason = self.reason(handler, &fault);
                self.deletion_failed(resource, reason);
                true
            }
        }
    }

    fn outputs(&mut self) -> Result<(), String> {
        let definition = &self.stack.definition;
        let typed = parameters::typed(&definition.template, &definition.parameters);
        let exported = self.exports();
        let scope = scope(
            definition,
            &typed,
            &self.stack,
            self.world,
            exported.clone(),
        );
        let plan = plan(&scope)?;
        let mut outputs = Vec::new();
        for (key, output) in definition.template.section("Outputs") {
            let holds = output
                .get("Condition")
                .and_then(Value::as_str)
                .is_none_or(|condition| plan.conditions.get(condition) == Some(&true));
            if !holds {
                continue;
            }
            let evaluate = |expression: &Value| -> Result<Option<String>, String> {
                match scope.decided(expression, &plan.conditions)? {
                    Some(decided) => Ok(scope.value(&decided)?.as_ref().and_then(scalar)),
                    None => Ok(None),
                }
            };
            let value = evaluate(&output["Value"])?.ok_or_else(|| {
                format!("Template format error: The Value field of every Outputs member must evaluate to a String. [{key}]")
            })?;
            let export = match output.get("Export").and_then(|export| export.get("Name")) {
                Some(name) => evaluate(name)?,
                None => None,
            };
            if let Some(name) = &export
                && exported.contains_key(name)
                && !self
                    .stack
                    .outputs
                    .iter()
                    .any(|own| own.export.as_ref() == Some(name))
            {
                let owner = owner(self.state, &self.stack.region, name).unwrap_or_default();
                return Err(format!(
                    "Export with name {name} is already exported by stack {owner}. "
                ));
            }
            outputs.push(Output {
                key: key.clone(),
                value,
                description: output
                    .get("Description")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                export,
            });
        }
        let imports = imported(definition, &scope);
        self.stack.outputs = outputs;
        self.stack.imports = imports;
        Ok(())
    }
}

fn imported(definition: &Definition, scope: &Scope<'_>) -> BTreeSet<String> {
    fn collect(value: &Value, scope: &Scope<'_>, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                if let Some(name) = members.get("Fn::ImportValue")
                    && let Ok(Some(name)) = scope.value(name)
                {
                    into.extend(scalar(&name));
                }
                members
                    .values()
                    .for_each(|member| collect(member, scope, into));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, scope, into)),
            _ => {}
        }
    }
    let mut names = BTreeSet::new();
    for section in ["Resources", "Outputs"] {
        for entry in definition.template.section(section).values() {
            collect(entry, scope, &mut names);
        }
    }
    names
}

fn absent(fault: &Fault) -> bool {
    fault.code.contains("NotFound")
        || [
            "Gateway.NotAttached",
            "NoSuchEntity",
            "RepositoryNotFoundException",
            "ResourceNotFoundException",
        ]
        .contains(&fault.code.as_str())
}

/// The exports of a region's stacks.
pub fn exports(state: &State, region: &str) -> BTreeMap<String, String> {
    live(state, region)
        .flat_map(|stack| &stack.outputs)
        .filter_map(|output| Some((output.export.clone()?, output.value.clone())))
        .collect()
}

fn owner(state: &State, region: &str, export: &str) -> Option<String> {
    live(state, region)
        .find(|stack| {
            stack
                .outputs
                .iter()
                .any(|output| output.export.as_deref() == Some(export))
        })
        .map(|stack| stack.name.clone())
}

/// The region's stacks that aren't deleted.
pub fn live<'a>(state: &'a State, region: &str) -> impl Iterator<Item = &'a Stack> + use<'a> {
    let region = region.to_owned();
    state
        .cloudformation
        .stacks
        .values()
        .filter(move |stack| stack.region == region && stack.status != "DELETE_COMPLETE")
}
