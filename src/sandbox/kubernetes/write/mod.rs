//! Create, replace, patch, apply and delete: what every kind goes through.

mod apply;
mod body;
mod create;
mod delete;
mod patch;
mod same;
mod update;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use hyper::HeaderMap;
use serde_json::Value;

pub use apply::Configuration;
pub use body::{content_type, decode};
pub use create::{create, place, place_in, whole, wipe_system_fields};
pub use delete::{DeleteOptions, delete, delete_collection, delete_options};
pub use patch::{accepted, patch, patched};
pub use update::{modify, replace};

use body::identify;

use super::admission::{self, Attributes};
use super::api::Api;
use super::apply::{self as ownership, Writer, scaled};
use super::crd::instance;
use super::decode::{self as shape, Odd, Reader};
use super::request::Info;
use super::resources::Resource;
use super::scale::View;
use super::status::{Cause, Result, Status};
use super::{UserInfo, defaults, object, options, strategy, typed, validation, warnings};

/// How many odd fields are spoken of.
const MOST_SAID: usize = 100;

/// When an owner is found twice for the second time.
const AFTER_ADMISSION: &str = " after mutating admission happens";

/// What happens to fields that a kind does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped with a warning.
    Warn,
    /// They are an error.
    Strict,
}

/// One request that changes something.
#[derive(Clone)]
pub struct Call<'a> {
    /// The server.
    pub api: &'a Arc<Api>,
    /// Who asks.
    pub user: &'a UserInfo,
    /// What is asked.
    pub info: &'a Info,
    /// The resource.
    pub resource: Arc<Resource>,
    /// The field manager.
    pub manager: String,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// What happens to unknown fields.
    pub validation: FieldValidation,
    /// What is said besides the answer.
    pub warnings: Vec<String>,
    /// Whether this is server-side apply.
    pub applying: bool,
    /// Whether the object comes out of upstream's converter, not of its decoder.
    pub converted: bool,
    /// Whether what was applied has fields that are not kept: upstream writes them, and takes them away from whoever reads.
    pub pruned: bool,
    /// Whether a secret's data is sent empty, which is not the same as none where nothing may change.
    pub emptied: bool,
    /// Whether what was applied has nulls in its metadata, which are written.
    pub nulls: bool,
    /// Whether this is a patch, whose result may say that it is of any kind and version.
    pub patching: bool,
    /// What admission says besides the answer.
    pub heard: Arc<Mutex<Vec<String>>>,
    /// The scale that was sent, for whoever is to see it.
    pub scaled: Option<Value>,
    /// What is said of what the body gives twice, where that is found before its kind is looked at.
    pub twice: Vec<String>,
}

impl<'a> Call<'a> {
    /// Reads what is common to all changing requests.
    pub fn new(
        api: &'a Arc<Api>,
        user: &'a UserInfo,
        info: &'a Info,
        resource: &Arc<Resource>,
        headers: &HeaderMap,
    ) -> Result<Call<'a>> {
        // Each verb checks its own options first.
        let dry_run = info.query.get("dryRun") == "All";
        let agent = headers
            .get("user-agent")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("unknown");
        let manager = match info.query.get("fieldManager") {
            "" => agent.split('/').next().unwrap_or("unknown"),
            manager => manager,
        };
        let validation = match info.query.get("fieldValidation") {
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            _ => FieldValidation::Warn,
        };
        Ok(Call {
            api,
            user,
            info,
            resource: resource.clone(),
            manager: manager.chars().take(128).collect(),
            dry_run,
            validation,
            warnings: Vec::new(),
            applying: false,
            converted: false,
            pruned: false,
            emptied: false,
            nulls: false,
            patching: false,
            heard: Arc::default(),
            scaled: None,
            twice: Vec::new(),
        })
    }

    /// The namespace of the object; empty for cluster scope.
    pub fn namespace(&self) -> &str {
        if self.resource.namespaced {
            &self.info.namespace
        } else {
            ""
        }
    }

    /// What admission is told.
    pub fn attributes<'b>(&'b self, operation: &'static str, name: &'b str) -> Attributes<'b> {
        Attributes {
            api: self.api,
            user: self.user,
            operation,
            resource: &self.resource,
            kind: &self.resource,
            subresource: &self.info.subresource,
            namespace: self.namespace(),
            name,
            dry_run: self.dry_run,
            options: options::said(self.info),
            warnings: &self.heard,
        }
    }

    /// Lets admission change a changed object. Of a scale it sees the scale alone.
    async fn mutate(&self, name: &str, new: &mut Value, old: &Value) -> Result<()> {
        let Some(view) = View::of(self) else {
            let attributes = self.attributes("UPDATE", name);
            return admission::mutate(&attributes, new, Some(old)).await;
        };
        let attributes = Attributes {
            kind: &view.kind,
            ..self.attributes("UPDATE", name)
        };
        let (before, shown) = view.before(self, old, new);
        let mut changed = shown.clone();
        admission::mutate(&attributes, &mut changed, Some(&before)).await?;
        if changed != shown {
            *new = view.write(new, &changed, self.info.verb == "update")?;
        }
        Ok(())
    }

    /// Lets admission refuse a changed object. Of a scale, too, it sees the scale alone.
    async fn admit(&self, name: &str, new: &Value, old: &Value) -> Result<()> {
        let mut attributes = self.attributes("UPDATE", name);
        let Some(view) = View::of(self) else {
            return admission::validate(&attributes, Some(new), Some(old)).await;
        };
        attributes.kind = &view.kind;
        let (before, shown) = (view.show(old), view.show(new));
        admission::validate(&attributes, Some(&shown), Some(&before)).await
    }

    fn invalid(&self, name: &str, causes: &[Cause]) -> Status {
        Status::invalid(&self.resource.group, &self.resource.kind, name, causes)
    }

    /// Checks the kind of a body, drops what its kind does not have and fills in the defaults.
    pub fn shape(&mut self, object: &mut Value, strict: bool) -> Result<()> {
        let resource = self.resource.clone();
        if !(self.patching && resource.custom.is_some()) {
            identify(&resource, object, self.validation)?;
        }
        if self.resource.is("", "secrets") {
            let data = object.get("data").and_then(Value::as_object);
            self.emptied |= data.is_some_and(serde_json::Map::is_empty);
        }
        let odd = self.fit(object)?;
        let kept = |odd: &Odd| matches!(odd, Odd::Unknown(path) if path.starts_with("metadata"));
        self.pruned |= self.applying && resource.custom.is_some() && !odd.iter().all(kept);
        if strict {
            let mut said = std::mem::take(&mut self.twice);
            let named = (
                object::text(object, "apiVersion").to_owned(),
                object::text(object, "kind").to_owned(),
            );
            // Fields of another kind are not looked for.
            if object["kind"] == resource.kind.as_str() {
                said.extend(odd.iter().map(Odd::to_string));
            }
            self.odd(said, &named)?;
        }
        defaults::apply(&resource, object);
        if resource.is("", "secrets") {
            strategy::strings_to_data(object);
        }
        Ok(())
    }

    fn fit(&self, object: &mut Value) -> Result<Vec<Odd>> {
        let resource = self.resource.clone();
        let mistyped = |error: String| {
            Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {error}",
                resource.kind, resource.version, resource.kind
            ))
        };
        let Some(custom) = &resource.custom else {
            let reader = match self.applying || self.converted {
                true => Reader::Converter,
                false => Reader::Json,
            };
            return shape::decode(resource.schema(), object, reader).map_err(mistyped);
        };
        shape::whole_numbers(object);
        let mut unknown = Vec::new();
        if let Some(metadata) = object.get_mut("metadata") {
            let found = shape::decode(&super::reflect::object_meta(), metadata, Reader::Json)
                .map_err(mistyped)?;
            unknown.extend(found.into_iter().map(|odd| match odd {
                Odd::Unknown(field) => Odd::Unknown(format!("metadata.{field}")),
                Odd::Twice(field) => Odd::Twice(format!("metadata.{field}")),
            }));
        }
        let mut pruned = instance::prune(&custom.schema, object);
        pruned.sort();
        unknown.extend(pruned.into_iter().map(Odd::Unknown));
        // Nulls of a patch or a whole object are as good as nothing; what was applied stays as it is.
        if !self.applying {
            instance::drop_nulls(&custom.schema, object);
        }
        instance::default(&custom.schema, object);
        Ok(unknown)
    }

    /// What is said of fields that are unknown or given twice, once each.
    fn odd(&mut self, said: Vec<String>, named: &(String, String)) -> Result<()> {
        let mut seen = HashSet::new();
        let once: Vec<String> = said
            .into_iter()
            .filter(|one| seen.insert(one.clone()))
            .take(MOST_SAID)
            .collect();
        match self.validation {
            FieldValidation::Warn => {
                let said = once.iter().flat_map(|one| warnings::strict(one));
                self.warnings.extend(said);
            }
            FieldValidation::Strict if !once.is_empty() => {
                // A custom resource is what it says that it is.
                let resource = &self.resource;
                let (version, kind) = match (&resource.custom, named.1.as_str()) {
                    (Some(_), kind) if !kind.is_empty() => {
                        (object::group_version(&named.0).1, kind)
                    }
                    _ => (resource.version.as_str(), resource.kind.as_str()),
                };
                return Err(Status::bad_request(format!(
                    "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                    once.join(", ")
                )));
            }
            FieldValidation::Ignore | FieldValidation::Strict => {}
        }
        Ok(())
    }

    /// Goes on with the events of the core group, as which all events are kept.
    fn as_core_event(&mut self, event: &mut Value) -> Result<()> {
        defaults::event_from_events(event);
        let core = self.api.resource("", "v1", "events");
        self.resource = core.ok_or_else(Status::no_resource)?;
        Ok(())
    }

    /// Validates an object against its schema and its kind's rules, beside what is known to be wrong.
    fn validate(&self, object: &Value, old: Option<&Value>, known: Vec<Cause>) -> Result<()> {
        let (version, kind) = (
            object::text(object, "apiVersion"),
            object::text(object, "kind"),
        );
        let expected = self.resource.api_version();
        if self.resource.custom.is_some() && (kind != self.resource.kind || version != expected) {
            let mut causes = Vec::new();
            for (field, said, expected) in [
                ("kind", kind, &self.resource.kind),
                ("apiVersion", version, &expected),
            ] {
                if said != expected {
                    let why = format!("must be {expected}");
                    causes.push(Cause::invalid(field, &said.into(), why));
                }
            }
            if let Some(custom) = &self.resource.custom {
                causes.extend(instance::beside_the_kind(&custom.schema, object, old));
            }
            let (group, name) = (object::group_version(version).0, object::name(object));
            return Err(Status::invalid(group, kind, name, &causes));
        }
        let mut causes = known;
        causes.extend(validation::metadata(&self.resource, object, old));
        match &self.resource.custom {
            Some(custom) => {
                causes.extend(validation::scale(&self.resource, object));
                let status = self.info.subresource == "status";
                let own = instance::validate(&custom.schema, object, old, &causes, status);
                causes.extend(own);
            }
            None => {
                causes.extend(validation::builtin(&self.resource, object, old));
                let old = old.filter(|old| old["immutable"] == true && old["data"].is_null());
                if old.is_some() && self.emptied && object["data"].is_null() {
                    causes.push(Cause::forbidden(
                        "data",
                        "field is immutable when `immutable` is set",
                    ));
                }
            }
        }
        if causes.is_empty() {
            Ok(())
        } else {
            Err(self.invalid(object::name(object), &causes))
        }
    }

    /// Keeps each owner once, and says of which there were more.
    fn own_once(&mut self, object: &mut Value, when: &str) {
        let mut owners: Vec<Value> = Vec::new();
        let mut again = Vec::new();
        for owner in object::list(object, "metadata.ownerReferences") {
            match owners.contains(owner) {
                true => again.push(object::text(owner, "uid").to_owned()),
                false => owners.push(owner.clone()),
            }
        }
        if again.is_empty() {
            return;
        }
        object::set(object, "metadata.ownerReferences", owners);
        let warning = format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            again.join(", ")
        );
        // The second try of a change has nothing new to say.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Says what is allowed and still a mistake, in all probability.
    fn warn(&mut self, object: &Value, old: Option<&Value>) {
        if self.resource.custom.is_none() {
            let subresource = &self.info.subresource;
            let said = warnings::of(&self.resource, subresource, object, old);
            return self.warnings.extend(said);
        }
        // Finalizers without a domain are frowned upon in custom resources.
        let before = old.map_or(&[][..], object::finalizers);
        for finalizer in object::finalizers(object) {
            let name = finalizer.as_str().unwrap_or("");
            let known = name.contains('/')
                || matches!(name, "orphan" | "foregroundDeletion" | "kubernetes");
            if known || before.contains(finalizer) {
                continue;
            }
            let path = if name.contains('.') {
                " including a path (/)"
            } else {
                ""
            };
            self.warnings.push(format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }

    /// Records who owns what.
    pub fn track(&self, old: &Value, new: &mut Value) {
        let api_version = self.resource.api_version();
        let writer = Writer {
            manager: &self.manager,
            api_version: &api_version,
            subresource: &self.info.subresource,
        };
        if let Some(scale) = &self.resource.scale
            && self.info.subresource == "scale"
        {
            return scaled::track(old, new, &writer, &scale.spec);
        }
        // What cannot be merged has no record.
        let schema = self.resource.schema();
        if [old, new]
            .iter()
            .any(|one| typed::check_live(schema, one).is_err())
        {
            object::remove(new, "metadata.managedFields");
            return;
        }
        let reset = strategy::reset(&self.resource, &self.info.subresource);
        ownership::track(self.resource.schema(), old, new, &writer, reset);
    }
}

/// Tells the parts of the server that follow a kind.
pub fn changed(api: &Api, resource: &Resource) {
    if resource.is("apiextensions.k8s.io", "customresourcedefinitions") || resource.custom.is_some()
    {
        api.definitions.notify_one();
    }
}
