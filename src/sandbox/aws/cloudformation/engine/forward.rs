//! Making and changing what a definition wants.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::super::doom::Of;
use super::super::functions::plain;
use super::super::parameters;
use super::super::resources::{Handler, Properties, handler, system_tags};
use super::super::stack::{Before, OnFailure, Resource, Work};
use super::{Progress, Run, scope};

impl Run<'_> {
    /// Moves what the definition no longer wants, and what has been replaced, to what is to be deleted.
    pub(super) fn retire(&mut self, back: bool) {
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

    /// Brings the definition's resources about. `back` is a rollback: what was replaced comes back as it was.
    pub(super) fn forward(&mut self, back: bool) -> Progress {
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
                resource.work = match resource.status.as_str() {
                    // Its creation was cut short when another's failed.
                    "CREATE_FAILED" => Work::Creating(self.after(handler.creation)),
                    _ => Work::Idle,
                };
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
        if !back && let Some(reason) = self.failure(Of::Update) {
            resource.properties = old;
            return Err(reason);
        }
        let updated = self.within(resource, |cx| {
            (handler.update)(cx, &physical, Properties(&old), Properties(&new))
        });
        if let Err(fault) = updated {
            if back || self.stack.on_failure == OnFailure::DoNothing {
                // Whoever goes on, forwards or back, is to find that it isn't as it is to be.
                resource.properties = old;
            }
            return Err(self.reason(handler, &fault));
        }
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
        let of = if self.stack.status.starts_with("CREATE") {
            Of::Creation
        } else {
            Of::Update
        };
        if let Some(reason) = self.failure(of) {
            return Err(reason);
        }
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

    pub(super) fn cancel(&mut self, reason: &str) {
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
}
