//! Deletion: at once, after finalizers, after a grace period.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::super::admission::{self, Attributes};
use super::super::read::{self, external};
use super::super::request::Info;
use super::super::resources::Resource;
use super::super::status::{Result, Status};
use super::super::store::{Expected, Stored};
use super::super::{object, options, strategy};
use super::{Call, changed, decode};

/// How a deletion is asked for.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    grace: Option<i64>,
    /// Which object it has to be.
    pub uid: Option<String>,
    /// Which version of it.
    pub revision: Option<String>,
    propagation: String,
    /// Whether a deletion that has to wait is answered with 202.
    accepted: bool,
    /// Whether nothing is to be done.
    pub dry_run: bool,
    /// As they were said.
    said: Value,
}

/// Reads the options of a deletion, from the body or the query.
pub fn delete_options(info: &Info, headers: &HeaderMap, body: &Bytes) -> Result<DeleteOptions> {
    // The query counts only when there is no body.
    let value = if body.is_empty() {
        let query = &info.query;
        let mut value = json!({});
        if let Some(grace) = options::integer(query, "gracePeriodSeconds")? {
            value["gracePeriodSeconds"] = grace.into();
        }
        if query.has("propagationPolicy") {
            value["propagationPolicy"] = query.get("propagationPolicy").into();
        }
        if query.has("orphanDependents") {
            value["orphanDependents"] = query.flag("orphanDependents").into();
        }
        if query.has("dryRun") {
            value["dryRun"] = json!(query.all("dryRun"));
        }
        value
    } else {
        decode(headers, body, "DeleteOptions")?
    };
    options::deleting(&value)?;
    let text = |path: &str| {
        object::at(&value, path)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let propagation = match value["orphanDependents"].as_bool() {
        Some(true) => "Orphan".to_owned(),
        Some(false) => "Background".to_owned(),
        None => text("propagationPolicy").unwrap_or_default(),
    };
    Ok(DeleteOptions {
        grace: value["gracePeriodSeconds"].as_i64(),
        uid: text("preconditions.uid"),
        revision: text("preconditions.resourceVersion"),
        propagation,
        dry_run: !object::list(&value, "dryRun").is_empty(),
        accepted: value["orphanDependents"] == false,
        said: value,
    })
}

/// Answers a delete.
pub async fn delete(call: &mut Call<'_>, options: &DeleteOptions) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    // What the query says counts for nothing beside a body.
    call.dry_run = options.dry_run;
    for _ in 0..20 {
        let stored = read::find(call.api, call.info, &resource)?;
        if let Some(answer) = delete_one(call, &stored, options).await? {
            return Ok(answer);
        }
    }
    Err(Status::modified(
        &resource.group,
        &resource.plural,
        &call.info.name,
    ))
}

/// Deletes one object as it was seen; nothing when somebody changed it in the meantime.
async fn delete_one(
    call: &Call<'_>,
    stored: &Arc<Stored>,
    options: &DeleteOptions,
) -> Result<Option<(u16, Value)>> {
    let resource = &call.resource;
    let (group, plural) = (resource.group.as_str(), resource.plural.as_str());
    let old = &stored.value;
    let name = object::name(old).to_owned();
    let failed = |what: &str, wanted: &str, found: &str, since: &str| {
        if resource.is("", "namespaces") {
            let why = format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            );
            return Status::conflict(group, plural, &name, &why);
        }
        Status::conflict(
            group,
            &resource.kind,
            &name,
            &format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might have been {since}"
            ),
        )
    };
    if let Some(uid) = &options.uid
        && uid != object::uid(old)
    {
        return Err(failed(
            "UID",
            uid,
            object::uid(old),
            "deleted and then recreated",
        ));
    }
    if let Some(revision) = &options.revision
        && *revision != stored.revision.to_string()
    {
        let found = stored.revision.to_string();
        return Err(failed("ResourceVersion", revision, &found, "modified"));
    }
    let mut said = options.said.clone();
    let grace = strategy::grace(resource, old, options.grace);
    if let Some(grace) = grace {
        said["gracePeriodSeconds"] = grace.into();
    }
    if resource.is("", "namespaces") && options.uid.is_none() {
        said["preconditions"]["uid"] = object::uid(old).into();
    }
    // Of one of a collection they are not told the name.
    let shown = match call.info.name.is_empty() {
        true => "",
        false => name.as_str(),
    };
    let attributes = Attributes {
        options: said,
        ..call.attributes("DELETE", shown)
    };
    // Who may refuse an eviction has been asked about that.
    if call.info.subresource.is_empty() {
        admission::validate(&attributes, None, Some(old)).await?;
    }
    if resource.is("", "namespaces")
        && matches!(name.as_str(), "default" | "kube-system" | "kube-public")
    {
        return Err(Status::forbidden(
            group,
            plural,
            &name,
            "this namespace may not be deleted",
        ));
    }
    let code = if options.accepted { 202 } else { 200 };
    if object::terminating(old) && strategy::holds(resource, old) {
        // Its end has begun, and waits for what is in it.
        return Ok(Some((code, old.clone())));
    }
    let mut new = old.clone();
    let propagation = match resource.is("", "namespaces") && options.accepted {
        // A namespace takes it for the opposite of orphaning.
        true => "Foreground",
        false => &options.propagation,
    };
    strategy::finalizers_for(propagation, &mut new);
    // Of a namespace the first deletion begins its end, even when nothing holds it.
    let waits = !object::finalizers(&new).is_empty()
        || grace.is_some_and(|seconds| seconds > 0)
        || strategy::holds(resource, &new)
        || resource.is("", "namespaces") && !object::terminating(old);
    if waits {
        let was = object::terminating(old);
        let before = object::at(old, "metadata.deletionGracePeriodSeconds").and_then(Value::as_i64);
        let seconds = grace.unwrap_or(0);
        if !was || before.is_some_and(|before| seconds < before) {
            let moment = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            object::set(
                &mut new,
                "metadata.deletionTimestamp",
                object::stamp(moment),
            );
            if !resource.is("", "namespaces") {
                object::set(&mut new, "metadata.deletionGracePeriodSeconds", seconds);
            }
            if !was
                && let Some(generation) =
                    object::at(old, "metadata.generation").and_then(Value::as_i64)
            {
                object::set(&mut new, "metadata.generation", generation + 1);
            }
            if resource.is("", "namespaces") {
                object::set(&mut new, "status.phase", "Terminating");
            }
        }
        if new == *old {
            return Ok(Some((code, old.clone())));
        }
        if call.dry_run {
            return Ok(Some((code, external(resource, &new).into_owned())));
        }
        let written = call
            .api
            .store
            .put(&resource.table, new, Expected::Revision(stored.revision));
        return Ok(written.ok().map(|stored| {
            changed(call.api, resource);
            (code, external(resource, &stored.value).into_owned())
        }));
    }
    // It goes as it was.
    if !resource.is("", "pods") {
        new = old.clone();
    }
    let mut expected = stored.revision;
    if resource.is("", "pods") && !object::terminating(&new) {
        object::set(&mut new, "metadata.deletionTimestamp", object::now());
        object::set(&mut new, "metadata.deletionGracePeriodSeconds", 0);
        let generation = object::at(old, "metadata.generation").and_then(Value::as_i64);
        object::set(&mut new, "metadata.generation", generation.unwrap_or(0) + 1);
        // Whoever watches is told so before it goes.
        if !call.dry_run {
            let seen = Expected::Revision(expected);
            let Ok(told) = call.api.store.put(&resource.table, new, seen) else {
                return Ok(None);
            };
            (new, expected) = (told.value.clone(), told.revision);
        }
    }
    let gone = if call.dry_run {
        Arc::new(Stored::new(new, expected))
    } else {
        let Ok(gone) = call.api.store.delete(&resource.table, new, expected) else {
            return Ok(None);
        };
        changed(call.api, resource);
        gone
    };
    let answer = if resource.is("", "pods") || resource.custom.is_none() && returns_object(resource)
    {
        external(resource, &gone.value).into_owned()
    } else {
        let mut details = json!({"name": name});
        if !group.is_empty() {
            details["group"] = group.into();
        }
        details["kind"] = plural.into();
        details["uid"] = object::uid(old).into();
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    };
    Ok(Some((200, answer)))
}

/// The kinds whose deletion answers with the object.
fn returns_object(resource: &Resource) -> bool {
    matches!(
        resource.plural.as_str(),
        "services"
            | "serviceaccounts"
            | "persistentvolumes"
            | "persistentvolumeclaims"
            | "podtemplates"
            | "resourcequotas"
    )
}

/// Answers a delete of a collection.
pub async fn delete_collection(
    call: &mut Call<'_>,
    options: &DeleteOptions,
) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    call.dry_run = options.dry_run;
    let mut gone = Vec::new();
    for stored in read::selected(call.api, call.info, &resource)? {
        let mut stored = Cow::Borrowed(&stored);
        loop {
            if delete_one(call, &stored, options).await?.is_some() {
                // As it was listed, not as it went.
                gone.push(external(&resource, &stored.value).into_owned());
                break;
            }
            let key = (
                object::namespace(&stored.value),
                object::name(&stored.value),
            );
            match call.api.store.get(&resource.table, key.0, key.1) {
                Some(fresh) => stored = Cow::Owned(fresh),
                None => break,
            }
        }
    }
    let mut meta = json!({"resourceVersion": call.api.store.revision().to_string()});
    if resource.custom.is_some() {
        meta["continue"] = "".into();
    }
    for item in &mut gone {
        if resource.custom.is_none()
            && let Some(map) = item.as_object_mut()
        {
            map.shift_remove("kind");
            map.shift_remove("apiVersion");
        }
    }
    Ok((
        200,
        json!({
            "kind": resource.list_kind, "apiVersion": resource.api_version(),
            "metadata": meta,
            "items": gone,
        }),
    ))
}
