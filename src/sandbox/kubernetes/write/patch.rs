//! Patches, server-side apply among them.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;

use super::super::apply::{self, Writer};
use super::super::read::external;
use super::super::request::Info;
use super::super::status::{Result, Status};
use super::super::{gojson, object, options, patch as patches, strategy, typed};
use super::body::{content_type, json_text, yaml_text};
use super::create::{address, insert};
use super::update::modify;
use super::{Call, FieldValidation};

/// Answers a patch of any kind.
pub async fn patch(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let kind = content_type(headers);
    let resource = call.resource.clone();
    let custom = resource.custom.is_some();
    let unsupported = || {
        let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = Some(serde_json::json!({}));
        if custom {
            status.message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml".into();
            status.details = None;
        }
        status
    };
    match kind.as_str() {
        "application/apply-patch+yaml" => {
            options::writing(call.info, "PatchOptions", Some(true))?;
            return apply_patch(call, body).await;
        }
        "application/strategic-merge-patch+json" if custom => return Err(unsupported()),
        "application/json-patch+json"
        | "application/merge-patch+json"
        | "application/strategic-merge-patch+json" => {}
        _ => return Err(unsupported()),
    }
    options::writing(call.info, "PatchOptions", Some(false))?;
    let events = resource.is("events.k8s.io", "events");
    let original = resource.clone();
    let stored = modify(call, &mut |call, old| {
        let mut new = external(&original, old).into_owned();
        // Looked at only when there is something to patch.
        let patch = json_text(body)?;
        let listed = kind == "application/json-patch+json";
        if patch.is_object() == listed && !patch.is_null() {
            let got = gojson::kind(&patch);
            let wanted = if listed {
                "[]handlers.jsonPatchOp"
            } else {
                "map[string]interface {}"
            };
            let (said, wanted) = match call.validation {
                // Unknown fields are looked for by another decoder.
                FieldValidation::Ignore if listed => ("", "jsonpatch.Patch"),
                _ => ("error decoding patch: ", wanted),
            };
            return Err(Status::bad_request(format!(
                "{said}json: cannot unmarshal {got} into Go value of type {wanted}"
            )));
        }
        match kind.as_str() {
            "application/json-patch+json" => patches::json(&mut new, &patch)?,
            "application/merge-patch+json" => patches::merge(&mut new, &patch),
            _ => {
                patches::strategic(original.schema(), &mut new, &patch)?;
                // It goes into an object of the kind, whatever it says of itself.
                new["kind"] = original.kind.as_str().into();
                new["apiVersion"] = original.api_version().into();
                // A list that became empty is none here.
                if new["rules"].as_array().is_some_and(Vec::is_empty) {
                    new["rules"] = Value::Null;
                }
            }
        }
        if events {
            call.as_core_event(&mut new)?;
        }
        call.warnings.clear();
        let fits = call.shape(&mut new, true);
        patched(fits, &kind, &patch, &new)?;
        // A resourceVersion in the patch is a wish; the old one merely stayed where it was.
        let version = "metadata.resourceVersion";
        if object::at(&patch, version).is_none()
            && object::at(&new, version) == object::at(old, version)
        {
            object::remove(&mut new, version);
        }
        address(call, &mut new)?;
        Ok(new)
    })
    .await?;
    Ok((200, external(&original, &stored).into_owned()))
}

/// What does not fit after a patch is the patch's fault.
fn patched(result: Result<()>, kind: &str, patch: &Value, new: &Value) -> Result<()> {
    result.map_err(|status| {
        let why = match status.message.split_once(" cannot be handled as a ") {
            Some((_, rest)) => rest.split_once(": ").map_or(rest, |(_, why)| why),
            None => return status,
        };
        let strategic = kind == "application/strategic-merge-patch+json";
        let shown = if strategic {
            typed::go(patch)
        } else {
            new.to_string()
        };
        let why = match convert(why) {
            Some(said) if strategic => said,
            _ => why.to_owned(),
        };
        let cause = super::super::status::Cause::invalid("patch", &shown.into(), why);
        let mut status = Status::invalid("", "", "", &[cause]);
        status.message = format!(" {}", status.message.trim_start());
        status
    })
}

/// What does not fit after it was applied.
fn unconverted(result: Result<()>, call: &Call<'_>, namespace: &str) -> Result<()> {
    result.map_err(|status| {
        let Some((_, rest)) = status.message.split_once(" cannot be handled as a ") else {
            return status;
        };
        let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
        let resource = &call.resource;
        let kind = format!("{}/{}, Kind={}", resource.group, resource.version, resource.kind);
        // What reads itself says so itself.
        let decoder = match why.starts_with("quantities ") {
            true => "",
            false => "error decoding from json: ",
        };
        Status::new(
            500,
            "",
            format!(
                "failed to convert new object ({}/{}; {kind}) to proper version: unable to convert unstructured object to {kind}: {decoder}{why}",
                namespace, call.info.name
            ),
        )
    })
}

/// The same mistake in the words of the converter that strategic patches go through.
fn convert(why: &str) -> Option<String> {
    let rest = why.strip_prefix("json: cannot unmarshal ")?;
    let (got, rest) = rest.split_once(" into Go ")?;
    let (_, wanted) = rest.rsplit_once(" of type ")?;
    let got = match got.split(' ').next()? {
        "number" => "int64",
        "bool" => "bool",
        "string" => "string",
        _ => return None,
    };
    Some(format!("cannot convert {got} to {wanted}"))
}

/// Answers a server-side apply.
async fn apply_patch(call: &mut Call<'_>, body: &Bytes) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    call.applying = true;
    let mut config = yaml_text(body)?;
    if !config.is_object() && !config.is_null() {
        let got = gojson::kind(&config);
        return Err(Status::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {got} into Go value of type map[string]interface {{}}"
        )));
    }
    let mut said = config.clone();
    said.sort_all_objects();
    let there = call
        .api
        .store
        .get(&resource.table, call.namespace(), &call.info.name)
        .is_some();
    if !there && !call.info.subresource.is_empty() && !strategy::creates_on_update(&resource) {
        return Err(Status::not_found(
            &resource.group,
            &resource.plural,
            &call.info.name,
        ));
    }
    let (version, kind) = (
        object::text(&config, "apiVersion"),
        object::text(&config, "kind"),
    );
    let expected = resource.api_version();
    if kind != resource.kind || version.is_empty() {
        let slash = if version.contains('/') { "" } else { "/" };
        return Err(Status::bad_request(format!(
            "invalid object type: {slash}{version}, Kind={kind}"
        )));
    }
    if version != expected {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {expected}"
        )));
    }
    if object::at(&config, "metadata.managedFields").is_some_and(|entries| {
        entries
            .as_array()
            .is_some_and(|entries| !entries.is_empty())
    }) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let untyped = |error: String| {
        Status::new(
            500,
            "",
            format!(
                "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {error}",
                object::namespace(&config),
                object::name(&config),
                resource.group,
                resource.version,
                resource.kind
            ),
        )
    };
    typed::check(resource.schema(), &config).map_err(untyped)?;
    if !there && object::name(&config).is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.info.name
        )));
    }
    // What is new is told of as it was sent.
    let sent = object::namespace(&config).to_owned();
    // A wrong name or namespace is found after conflicts are.
    let misplaced = address(call, &mut config).err();
    if misplaced.is_some() {
        object::set(&mut config, "metadata.name", call.info.name.as_str());
        if resource.namespaced {
            object::set(&mut config, "metadata.namespace", call.namespace());
        }
    }
    // What may not be applied to this endpoint is not owned through it.
    if call.info.subresource.is_empty() {
        if resource.status {
            object::remove(&mut config, "status");
        }
    } else {
        object::remove(&mut config, "spec");
    }
    object::remove(&mut config, "metadata.creationTimestamp");
    if config["metadata"].get("managedFields").is_some() {
        object::remove(&mut config, "metadata.managedFields");
    }
    let force = call.info.query.flag("force");
    let api_version = resource.api_version();
    let manager = call.manager.clone();
    let subresource = call.info.subresource.clone();
    let run = |live: &Value| {
        let writer = Writer {
            manager: &manager,
            api_version: &api_version,
            subresource: &subresource,
        };
        let mut applied = apply::apply(resource.schema(), live, &config, &writer, force)?;
        // What kubectl applied on its own side before is kept true.
        if manager == "kubectl" && object::annotation(&applied, apply::LAST_APPLIED).is_some() {
            applied["metadata"]["annotations"][apply::LAST_APPLIED] = format!("{said}\n").into();
        }
        misplaced.clone().map_or(Ok(applied), Err)
    };
    if !there {
        let mut object = run(&Value::Null)?;
        let uid = object::uid(&object);
        if !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            let (group, plural) = (&resource.group, &resource.plural);
            return Err(Status::conflict(group, plural, &call.info.name, &why));
        }
        let fits = call.shape(&mut object, false);
        unconverted(fits, call, &sent)?;
        match insert(call, object).await {
            // Somebody else made it in the meantime: then it is a change.
            Err(status) if status.reason == "AlreadyExists" => {}
            result => return result.map(|value| (201, value)),
        }
    }
    let info = Info {
        verb: "apply",
        ..call.info.clone()
    };
    let mut change = Call {
        info: &info,
        ..call.clone()
    };
    let result = modify(&mut change, &mut |call, old| {
        let live = external(&resource, old);
        call.pruned = false;
        let mut new = run(&live)?;
        if object::at(&config, "metadata.resourceVersion").is_none() {
            object::remove(&mut new, "metadata.resourceVersion");
        }
        let fits = call.shape(&mut new, false);
        unconverted(fits, call, call.namespace())?;
        Ok(new)
    })
    .await;
    call.warnings = std::mem::take(&mut change.warnings);
    Ok((200, external(&resource, &result?).into_owned()))
}
