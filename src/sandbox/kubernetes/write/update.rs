//! Changed objects.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;

use super::super::api::Api;
use super::super::read::{self, external};
use super::super::resources::Resource;
use super::super::status::{Cause, Result, Status};
use super::super::store::{Clash, Expected, Stored};
use super::super::{gojson, object, options, strategy};
use super::create::{insert, place, whole};
use super::same::same;
use super::{AFTER_ADMISSION, Call, changed};

/// Answers a replace (PUT).
pub async fn replace(
    call: &mut Call<'_>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(u16, Value)> {
    options::writing(call.info, "UpdateOptions", None)?;
    let resource = call.resource.clone();
    let mut body = whole(call, headers, body)?;
    place(call, &mut body)?;
    call.own_once(&mut body, "");
    let (namespace, name) = (call.namespace(), &call.info.name);
    if strategy::creates_on_update(&resource)
        && call
            .api
            .store
            .get(&resource.table, namespace, name)
            .is_none()
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
        let uid = object::uid(&new).to_owned();
        let mut wrong = Vec::new();
        if !uid.is_empty() && uid != object::uid(old) {
            if call.info.verb == "update" {
                let found = object::uid(old);
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
                );
                return Err(Status::conflict(group, plural, &name, &why));
            }
            let uid = uid.as_str().into();
            wrong.push(Cause::invalid("metadata.uid", &uid, "field is immutable"));
        }
        // Who owns what, and what webhooks see, is what was sent; only then comes what the server keeps.
        if call.info.verb != "apply" {
            call.track(old, &mut new);
        }
        call.mutate(&name, &mut new, old).await?;
        call.shape(&mut new, false)?;
        call.own_once(&mut new, AFTER_ADMISSION);
        match pinned(&new)? {
            None if !strategy::updates_unconditionally(&resource) => {
                let cause = Cause::invalid(
                    "metadata.resourceVersion",
                    &0.into(),
                    "must be specified for an update",
                );
                return Err(Status::invalid(group, plural, &name, &[cause]));
            }
            Some(revision) if revision != stored.revision => {
                return Err(Status::modified(group, plural, &name));
            }
            _ => {}
        }
        strategy::before_update(&resource, &call.info.subresource, old, &mut new);
        wrong.extend(ending(old, &new));
        inherit(old, &mut new);
        strategy::drop_old_type(&resource, old, &mut new);
        let unaddressed = strategy::unaddressed(&resource, old, &new);
        if !unaddressed.is_empty() {
            return Err(call.invalid(&name, &unaddressed));
        }
        strategy::generation(
            &resource,
            &call.info.subresource,
            old,
            &mut new,
            call.pruned,
        );
        call.validate(&new, Some(old), wrong)?;
        call.warn(&new, Some(old));
        let mut tried = new.clone();
        let allocate = |object: &mut Value| {
            strategy::allocate(call.api, &resource, Some(old), object, call.dry_run)
        };
        allocate(&mut tried).map_err(|causes| call.invalid(&name, &causes))?;
        call.admit(&name, &tried, old).await?;
        {
            let allocation = call.api.allocation.lock();
            let _allocation = allocation.unwrap_or_else(|poisoned| poisoned.into_inner());
            // What was found for it is given to it, unless somebody else was faster.
            match allocate(&mut tried) {
                Ok(()) => new = tried,
                Err(_) => allocate(&mut new).map_err(|causes| call.invalid(&name, &causes))?,
            }
            strategy::before_store(&resource, &mut new);
            let kept = !call.nulls && stored.rough == call.pruned;
            if kept && same(&resource, old, &new) {
                return Ok(old.clone());
            }
            if call.dry_run {
                return Ok(new);
            }
            if let Ok(answer) = write(call.api, &resource, &stored, new, call.pruned) {
                return Ok(answer);
            }
        }
    }
    Err(Status::modified(group, plural, &call.info.name))
}

/// Stores a changed object; the change that takes away the last thing that held it lets it go. What goes is what was there,
/// and the answer is then what was asked for, at the version before.
pub fn write(
    api: &Api,
    resource: &Resource,
    stored: &Stored,
    new: Value,
    rough: bool,
) -> std::result::Result<Value, Clash> {
    let expected = stored.revision;
    let answer = if strategy::finished(resource, &new) {
        let was = stored.value.clone();
        api.store.delete(&resource.table, was, expected)?;
        new
    } else {
        let put = api
            .store
            .put_as(&resource.table, new, Expected::Revision(expected), rough)?;
        put.value.clone()
    };
    changed(api, resource);
    Ok(answer)
}

/// The revision that an object says it was made from.
pub(super) fn pinned(object: &Value) -> Result<Option<u64>> {
    match object::text(object, "metadata.resourceVersion") {
        "" => Ok(None),
        text => gojson::unsigned(text)
            .map(|revision| Some(revision).filter(|revision| *revision > 0))
            .map_err(|why| Status::new(500, "", why)),
    }
}

/// An end of its own that an object is given. Of one that has one it stays as it is, whatever is said of its moment.
fn ending(old: &Value, new: &Value) -> Vec<Cause> {
    let (when, grace) = (
        "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds",
    );
    let mut wrong = Vec::new();
    for path in [when, grace] {
        let given = object::at(new, path).filter(|given| !given.is_null());
        let known = object::at(old, path);
        if let Some(given) = given.filter(|given| known != Some(*given))
            && (path == grace || known.is_none())
        {
            wrong.push(Cause::invalid(path, given, "field is immutable"));
        }
    }
    wrong
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
        "selfLink",
    ] {
        let path = format!("metadata.{field}");
        match object::at(old, &path) {
            Some(value) => object::set(new, &path, value.clone()),
            None => {
                object::remove(new, &path);
            }
        }
    }
}
