//! Create, replace, patch, apply and delete: what every kind goes through.

mod body;
mod delete;
mod patch;

use std::sync::Arc;

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;

pub use body::decode;
pub use delete::{DeleteOptions, delete, delete_collection, delete_options};
pub use patch::patch;

use body::identify;

use super::admission::{self, Attributes};
use super::api::Api;
use super::apply::{self, Writer};
use super::crd::instance;
use super::read::{self, external};
use super::request::Info;
use super::resources::Resource;
use super::schema::{Schema, Shape};
use super::status::{Result, Status};
use super::store::Expected;
use super::{UserInfo, defaults, gojson, object, options, schema, strategy, validation, warnings};

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
    /// Whether what was applied has fields that are not kept.
    pub pruned: bool,
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
            pruned: false,
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

    fn attributes<'b>(&'b self, operation: &'static str, name: &'b str) -> Attributes<'b> {
        Attributes {
            api: self.api,
            user: self.user,
            operation,
            resource: &self.resource,
            subresource: &self.info.subresource,
            namespace: self.namespace(),
            name,
            dry_run: self.dry_run,
        }
    }

    fn invalid(&self, name: &str, causes: &[super::status::Cause]) -> Status {
        Status::invalid(&self.resource.group, &self.resource.kind, name, causes)
    }

    /// Checks the kind of a body, drops what its kind does not have and fills in the defaults.
    fn shape(&mut self, object: &mut Value, strict: bool) -> Result<()> {
        let resource = self.resource.clone();
        identify(&resource, object)?;
        let unknown = self.fit(object)?;
        let kept = |field: &String| field.starts_with("metadata");
        self.pruned |= self.applying && resource.custom.is_some() && !unknown.iter().all(kept);
        // Fields of another kind are not looked for.
        let own = object["kind"] == resource.kind.as_str();
        if strict && own && !unknown.is_empty() {
            self.unknown(&unknown)?;
        }
        defaults::apply(&resource, object);
        if resource.is("", "secrets") {
            strategy::strings_to_data(object);
        }
        Ok(())
    }

    fn fit(&self, object: &mut Value) -> Result<Vec<String>> {
        let resource = &self.resource;
        let mistyped = |error: String| {
            Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: {error}",
                resource.kind, resource.version, resource.kind
            ))
        };
        let Some(custom) = &resource.custom else {
            return schema::decode(resource.schema(), object).map_err(mistyped);
        };
        let mut unknown = Vec::new();
        if let Some(metadata) = object.get_mut("metadata") {
            let found =
                schema::decode(&super::reflect::object_meta(), metadata).map_err(mistyped)?;
            unknown.extend(found.into_iter().map(|field| format!("metadata.{field}")));
        }
        unknown.extend(instance::prune(&custom.schema, object));
        // Nulls of a patch or a whole object are as good as nothing; what was applied stays as it is.
        if !self.applying {
            instance::drop_nulls(&custom.schema, object);
        }
        instance::default(&custom.schema, object);
        Ok(unknown)
    }

    fn unknown(&mut self, fields: &[String]) -> Result<()> {
        let said: Vec<String> = fields
            .iter()
            .map(|field| format!("unknown field {field:?}"))
            .collect();
        match self.validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => self.warnings.extend(said),
            FieldValidation::Strict => {
                let resource = &self.resource;
                return Err(Status::bad_request(format!(
                    "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                    resource.kind,
                    resource.version,
                    resource.kind,
                    said.join(", ")
                )));
            }
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

    /// Validates an object against its schema and its kind's rules.
    fn validate(
        &self,
        object: &Value,
        old: Option<&Value>,
        known: Option<super::status::Cause>,
    ) -> Result<()> {
        let kind = object::text(object, "kind");
        if self.resource.custom.is_some() && kind != self.resource.kind {
            let why = format!("must be {}", self.resource.kind);
            let mut causes = vec![super::status::Cause::invalid("kind", &kind.into(), why)];
            // Rules do not look at the kind.
            if let Some(custom) = &self.resource.custom {
                causes.extend(instance::broken_rules(&custom.schema, object, old));
            }
            let (group, name) = (&self.resource.group, object::name(object));
            return Err(Status::invalid(group, kind, name, &causes));
        }
        let mut causes: Vec<_> = known.into_iter().collect();
        causes.extend(validation::metadata(&self.resource, object, old));
        match &self.resource.custom {
            Some(custom) => {
                causes.extend(validation::scale(&self.resource, object));
                let status = self.info.subresource == "status";
                let own = instance::validate(&custom.schema, object, old, &causes, status);
                causes.extend(own);
            }
            None => causes.extend(validation::builtin(&self.resource, object, old)),
        }
        if causes.is_empty() {
            Ok(())
        } else {
            Err(self.invalid(object::name(object), &causes))
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

    fn track(&self, old: &Value, new: &mut Value) {
        let api_version = self.resource.api_version();
        let writer = Writer {
            manager: &self.manager,
            api_version: &api_version,
            subresource: &self.info.subresource,
        };
        let status = self.resource.status;
        apply::track(self.resource.schema(), old, new, &writer, status);
    }
}

/// Answers a create.
pub async fn create(
    call: &mut Call<'_>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(u16, Value)> {
    options::writing(call.info, "CreateOptions", None)?;
    let resource = call.resource.clone();
    let object = whole(call, headers, body)?;
    let stored = insert(call, object).await?;
    Ok((201, external(&resource, &stored).into_owned()))
}

/// The object that a create or a replace brings along, in its shape.
fn whole(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<Value> {
    let resource = call.resource.clone();
    let nothing = resource.custom.is_some() && body.trim_ascii() == b"null";
    if nothing && call.validation == FieldValidation::Ignore {
        return Err(Status::bad_request(format!(
            "{0} in version {1:?} cannot be handled as a {0}: Object 'Kind' is missing in 'null'",
            resource.kind, resource.version
        )));
    }
    let mut object = decode(headers, body, &resource.kind)?;
    if resource.is("events.k8s.io", "events") {
        identify(&resource, &mut object)?;
        call.as_core_event(&mut object)?;
    }
    call.shape(&mut object, true)?;
    Ok(object)
}

/// Stores a new object of the right shape.
async fn insert(call: &mut Call<'_>, mut object: Value) -> Result<Value> {
    let resource = call.resource.clone();
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        object::remove(&mut object, &format!("metadata.{field}"));
    }
    address(call, &mut object)?;
    let prefix = object::text(&object, "metadata.generateName").to_owned();
    let shown = match object::name(&object) {
        "" => prefix.clone(),
        name => name.to_owned(),
    };
    admission::lifecycle(&call.attributes("CREATE", &shown))?;
    if object::name(&object).is_empty() && !prefix.is_empty() {
        let prefix: String = prefix.chars().take(58).collect();
        object::set(
            &mut object,
            "metadata.name",
            format!("{prefix}{}", object::suffix()),
        );
    }
    let name = object::name(&object).to_owned();
    // Who applied the object has recorded it already. What admission adds belongs to nobody.
    if !call.applying {
        call.track(&Value::Null, &mut object);
    }
    admission::mutate(&call.attributes("CREATE", &name), &mut object, None).await?;
    // What a webhook added goes through the same mill.
    call.shape(&mut object, false)?;
    strategy::before_create(call.api, &resource, &mut object);
    object::set(&mut object, "metadata.uid", object::new_uid());
    object::set(&mut object, "metadata.creationTimestamp", object::now());
    {
        let tried = strategy::tried(call.api, &resource, &object)
            .map_err(|causes| call.invalid(&name, &causes))?;
        call.validate(&tried, None, None)?;
    }
    call.warn(&object, None);
    admission::validate(&call.attributes("CREATE", &name), Some(&object), None).await?;
    let allocation = call.api.allocation.lock();
    let _allocation = allocation.unwrap_or_else(|poisoned| poisoned.into_inner());
    strategy::allocate(call.api, &resource, None, &mut object)
        .map_err(|causes| call.invalid(&name, &causes))?;
    if call.dry_run {
        let there = call.api.store.get(&resource.table, call.namespace(), &name);
        if there.is_some() {
            return Err(exists(call, &name));
        }
        return Ok(object);
    }
    if call.info.verb == "create" && !object::text(&object, "metadata.resourceVersion").is_empty() {
        return Err(Status::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let stored = call
        .api
        .store
        .put(&resource.table, object, Expected::Absent)
        .map_err(|_| exists(call, &name))?;
    changed(call.api, &resource);
    Ok(stored.value.clone())
}

/// The name is taken.
fn exists(call: &Call<'_>, name: &str) -> Status {
    let resource = &call.resource;
    let mut status = Status::already_exists(&resource.group, &resource.plural, name);
    let there = call.api.store.get(&resource.table, call.namespace(), name);
    if there.is_some_and(|there| object::terminating(&there.value)) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// Puts the namespace of the path into an object, and refuses another one.
fn address(call: &Call<'_>, object: &mut Value) -> Result<()> {
    let wanted = call.namespace();
    let found = object::namespace(object);
    if call.resource.namespaced {
        if found.is_empty() {
            object::set(object, "metadata.namespace", wanted);
        } else if found != wanted {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    } else if !found.is_empty() {
        // Of cluster scope: it has none, whatever it says.
        object::remove(object, "metadata.namespace");
    }
    let name = &call.info.name;
    let found = object::name(object);
    if !name.is_empty() {
        if found.is_empty() && call.info.verb == "update" {
            return Err(Status::bad_request(format!(
                "the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )));
        } else if found.is_empty() {
            object::set(object, "metadata.name", name.as_str());
        } else if found != name {
            return Err(Status::bad_request(format!(
                "the name of the object ({found}) does not match the name on the URL ({name})"
            )));
        }
    }
    Ok(())
}

/// Answers a replace (PUT).
pub async fn replace(
    call: &mut Call<'_>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(u16, Value)> {
    options::writing(call.info, "UpdateOptions", None)?;
    let resource = call.resource.clone();
    let mut body = whole(call, headers, body)?;
    address(call, &mut body)?;
    let (place, name) = (call.namespace(), &call.info.name);
    if strategy::creates_on_update(&resource)
        && call.api.store.get(&resource.table, place, name).is_none()
    {
        let uid = object::uid(&body);
        if !uid.is_empty() {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
            return Err(Status::conflict(
                &resource.group,
                &resource.plural,
                name,
                &why,
            ));
        }
        pinned(&body)?;
        let stored = insert(call, body).await?;
        return Ok((201, external(&resource, &stored).into_owned()));
    }
    let stored = modify(call, &mut |_, _| Ok(body.clone())).await?;
    Ok((200, external(&resource, &stored).into_owned()))
}

/// Makes a new version from the one that is there; called again when somebody else was faster.
type Change<'c> = &'c mut (dyn FnMut(&mut Call<'_>, &Value) -> Result<Value> + Send);

/// Changes an object: reads, changes, admits, checks and writes, again until nobody came in between.
pub async fn modify(call: &mut Call<'_>, change: Change<'_>) -> Result<Value> {
    let resource = call.resource.clone();
    let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
    for _ in 0..20 {
        let stored = read::find(call.api, call.info, &resource)?;
        let old = &stored.value;
        let name = object::name(old).to_owned();
        let mut new = change(call, old)?;
        let uid = object::uid(&new);
        let mut other_uid = None;
        if !uid.is_empty() && uid != object::uid(old) && call.info.verb != "update" {
            other_uid = Some(super::status::Cause::invalid(
                "metadata.uid",
                &uid.into(),
                "field is immutable",
            ));
        } else if !uid.is_empty() && uid != object::uid(old) {
            return Err(Status::conflict(
                group,
                plural,
                &name,
                &format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    object::uid(old)
                ),
            ));
        }
        let pinned = pinned(&new);
        if matches!(pinned, Ok(None))
            && call.info.verb == "update"
            && !strategy::updates_unconditionally(&resource)
        {
            let cause = super::status::Cause::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            );
            return Err(Status::invalid(group, plural, &name, &[cause]));
        }
        let pinned = pinned?;
        if pinned.is_some_and(|revision| revision != stored.revision) {
            return Err(Status::modified(group, plural, &name));
        }
        inherit(old, &mut new);
        strategy::before_update(&resource, &call.info.subresource, old, &mut new);
        if call.info.verb != "apply" {
            call.track(old, &mut new);
        }
        admission::mutate(&call.attributes("UPDATE", &name), &mut new, Some(old)).await?;
        call.shape(&mut new, false)?;
        inherit(old, &mut new);
        strategy::before_update(&resource, &call.info.subresource, old, &mut new);
        strategy::drop_old_type(&resource, old, &mut new);
        let wrong = strategy::unaddressed(&resource, old, &new);
        if !wrong.is_empty() {
            return Err(call.invalid(&name, &wrong));
        }
        strategy::generation(&resource, old, &mut new, call.pruned);
        call.validate(&new, Some(old), other_uid)?;
        call.warn(&new, Some(old));
        admission::validate(&call.attributes("UPDATE", &name), Some(&new), Some(old)).await?;
        {
            let allocation = call.api.allocation.lock();
            let _allocation = allocation.unwrap_or_else(|poisoned| poisoned.into_inner());
            strategy::allocate(call.api, &resource, Some(old), &mut new)
                .map_err(|causes| call.invalid(&name, &causes))?;
            if same(&resource, old, &new) {
                return Ok(old.clone());
            }
            if call.dry_run {
                return Ok(new);
            }
            let expected = stored.revision;
            let written = if strategy::finished(&resource, &new) {
                call.api.store.delete(&resource.table, new, expected)
            } else {
                call.api
                    .store
                    .put(&resource.table, new, Expected::Revision(expected))
            };
            if let Ok(stored) = written {
                changed(call.api, &resource);
                return Ok(stored.value.clone());
            }
        }
        if pinned.is_some() {
            return Err(Status::modified(group, plural, &name));
        }
    }
    Err(Status::modified(group, plural, &call.info.name))
}

/// The revision that an object says it was made from.
fn pinned(object: &Value) -> Result<Option<u64>> {
    match object::text(object, "metadata.resourceVersion") {
        "" => Ok(None),
        text => gojson::unsigned(text)
            .map(Some)
            .map_err(|why| Status::new(500, "", why)),
    }
}

/// What a client cannot change.
fn inherit(old: &Value, new: &mut Value) {
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
    ] {
        let path = format!("metadata.{field}");
        match object::at(old, &path) {
            Some(value) => object::set(new, &path, value.clone()),
            None => {
                object::remove(new, &path);
            }
        }
    }
    if let Some(prefix) = object::at(old, "metadata.generateName") {
        object::default(new, "metadata.generateName", prefix.clone());
    }
}

/// Whether nothing but the times of managers differs.
fn same(resource: &Resource, old: &Value, new: &Value) -> bool {
    let plain = |object: &Value| -> Value {
        let mut object = object.clone();
        let managers = object["metadata"]["managedFields"].as_array_mut();
        for manager in managers.into_iter().flatten() {
            object::remove(manager, "time");
        }
        object
    };
    let (old, new) = (plain(old), plain(new));
    match resource.custom {
        Some(_) => old == new,
        None => alike(Some(resource.schema().as_ref()), &old, &new),
    }
}

/// Whether two values are one in Go, where a list or a map without anything in it is as good as none.
fn alike(schema: Option<&Schema>, a: &Value, b: &Value) -> bool {
    let listed = |value: &Value| matches!(value, Value::Array(list) if list.is_empty());
    let mapped = |value: &Value| matches!(value, Value::Object(map) if map.is_empty());
    match (schema.map(|schema| &schema.shape), a, b) {
        (_, Value::Array(a), Value::Array(b)) => {
            let items = schema.and_then(Schema::items).map(|items| items.as_ref());
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(items, a, b))
        }
        (_, Value::Object(left), Value::Object(right)) => {
            let below = |key: &String| match schema.map(|schema| &schema.shape) {
                Some(Shape::Struct(_, fields)) => fields.get(key).map(|field| &**field),
                Some(Shape::Map(values)) => Some(&**values),
                _ => None,
            };
            // Each key once: twice at every level is two to the power of the depth.
            let more = right.keys().filter(|key| !left.contains_key(*key));
            left.keys().chain(more).all(|key| {
                let (a, b) = (left.get(key), right.get(key));
                let none = &Value::Null;
                alike(below(key), a.unwrap_or(none), b.unwrap_or(none))
            })
        }
        (Some(Shape::List(_)), Value::Null, other) | (Some(Shape::List(_)), other, Value::Null) => {
            other.is_null() || listed(other)
        }
        (Some(Shape::Map(_)), Value::Null, other) | (Some(Shape::Map(_)), other, Value::Null) => {
            other.is_null() || mapped(other)
        }
        _ => a == b,
    }
}

/// Tells the parts of the server that follow a kind.
pub fn changed(api: &Api, resource: &Resource) {
    if resource.is("apiextensions.k8s.io", "customresourcedefinitions") || resource.custom.is_some()
    {
        api.definitions.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deep_values_are_compared_once() {
        let nested =
            |innermost: Value| (0..64).fold(innermost, |below, _| json!({ "below": below }));
        assert!(alike(None, &nested(json!(1)), &nested(json!(1))));
        assert!(!alike(None, &nested(json!(1)), &nested(json!(2))));
        assert!(!alike(
            None,
            &nested(json!({})),
            &nested(json!({"more": 1}))
        ));
    }
}
