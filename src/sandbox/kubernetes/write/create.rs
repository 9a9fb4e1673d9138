//! New objects.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;

use super::super::decode::Odd;
use super::super::read::external;
use super::super::status::{Result, Status};
use super::super::store::Expected;
use super::super::{admission, object, options, repeated, strategy};
use super::body::{self, content_type, identify};
use super::update::pinned;
use super::{AFTER_ADMISSION, Call, FieldValidation, changed};

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
pub fn whole(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<Value> {
    let resource = call.resource.clone();
    let nothing = resource.custom.is_some() && body.trim_ascii() == b"null";
    if nothing && call.validation == FieldValidation::Ignore {
        return Err(Status::bad_request(format!(
            "{0} in version {1:?} cannot be handled as a {0}: Object 'Kind' is missing in 'null'",
            resource.kind, resource.version
        )));
    }
    let (mut object, twice) = body::whole(headers, body, &resource.kind)?;
    let unsaid = |field: &str| object::text(&object, field).is_empty();
    let null = object["apiVersion"].is_null() && object.get("apiVersion").is_some();
    if resource.custom.is_some() && (unsaid("kind") || unsaid("apiVersion") && !null) {
        return Err(body::kindless(&resource, body, call.validation));
    }
    if twice {
        let of_events = resource.is("events.k8s.io", "events");
        if content_type(headers) == "application/yaml" {
            call.twice.extend(repeated::in_yaml(body));
        } else if resource.custom.is_some() || of_events {
            let said = repeated::settle(&mut object, "").into_iter();
            call.twice
                .extend(said.map(|path| Odd::Twice(path).to_string()));
        }
    }
    if resource.is("events.k8s.io", "events") {
        identify(&resource, &mut object, call.validation)?;
        call.as_core_event(&mut object)?;
    }
    call.shape(&mut object, true)?;
    Ok(object)
}

/// Takes away what the server alone says of an object.
pub fn wipe_system_fields(object: &mut Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        object::remove(object, &format!("metadata.{field}"));
    }
}

/// Stores a new object of the right shape.
pub(super) async fn insert(call: &mut Call<'_>, mut object: Value) -> Result<Value> {
    let resource = call.resource.clone();
    wipe_system_fields(&mut object);
    place(call, &mut object)?;
    if call.info.verb == "create" {
        call.own_once(&mut object, "");
    }
    let prefix = object::text(&object, "metadata.generateName").to_owned();
    let shown = match object::name(&object) {
        "" => prefix.clone(),
        name => name.to_owned(),
    };
    admission::lifecycle(&call.attributes("CREATE", &shown))?;
    // Who applied the object has recorded it already. What admission adds belongs to nobody.
    if !call.applying {
        call.track(&Value::Null, &mut object);
    }
    admission::mutate(&call.attributes("CREATE", &shown), &mut object, None).await?;
    if object::name(&object).is_empty() && !prefix.is_empty() {
        let prefix: String = prefix.chars().take(58).collect();
        object::set(
            &mut object,
            "metadata.name",
            format!("{prefix}{}", object::suffix()),
        );
    }
    let name = object::name(&object).to_owned();
    // What a webhook added goes through the same mill.
    call.shape(&mut object, false)?;
    call.own_once(&mut object, AFTER_ADMISSION);
    // A version that is none is found after what admission says.
    if call.info.verb == "update" {
        pinned(&object)?;
    }
    strategy::before_create(call.api, &resource, &mut object);
    object::set(&mut object, "metadata.uid", object::new_uid());
    object::set(&mut object, "metadata.creationTimestamp", object::now());
    let mut tried = strategy::tried(call.api, &resource, &object, call.dry_run)
        .map_err(|causes| call.invalid(&name, &causes))?
        .into_owned();
    call.validate(&tried, None, Vec::new())?;
    call.warn(&object, None);
    admission::validate(&call.attributes("CREATE", &name), Some(&tried), None).await?;
    let allocation = call.api.allocation.lock();
    let _allocation = allocation.unwrap_or_else(|poisoned| poisoned.into_inner());
    // What was found for it is given to it, unless somebody else was faster.
    let allocate =
        |object: &mut Value| strategy::allocate(call.api, &resource, None, object, call.dry_run);
    object = match allocate(&mut tried) {
        Ok(()) => tried,
        Err(_) => {
            allocate(&mut object).map_err(|causes| call.invalid(&name, &causes))?;
            object
        }
    };
    strategy::before_store(&resource, &mut object);
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
        .put_as(&resource.table, object, Expected::Absent, call.pruned)
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

/// Puts the name and the namespace of the path into an object, and refuses others.
pub fn place(call: &Call<'_>, object: &mut Value) -> Result<()> {
    place_in(call, object)?;
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

/// Puts the namespace of the path into an object, and refuses another one.
pub fn place_in(call: &Call<'_>, object: &mut Value) -> Result<()> {
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
    Ok(())
}
