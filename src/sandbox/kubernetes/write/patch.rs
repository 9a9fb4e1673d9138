//! Patches, server-side apply among them.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;

use super::super::apply::{self, Writer};
use super::super::read::external;
use super::super::request::Info;
use super::super::status::{Cause, Result, Status};
use super::super::{defaults, object, patch as patches};
use super::{Call, address, content_type, identify, insert, json_text, modify, yaml_text};

/// Answers a patch of any kind.
pub async fn patch(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let kind = content_type(headers);
    let resource = call.resource.clone();
    let custom = resource.custom.is_some();
    let unsupported = || {
        let mut accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml".to_owned();
        if !custom {
            accepted = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml".to_owned();
        }
        Status::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    };
    match kind.as_str() {
        "application/apply-patch+yaml" | "application/apply-patch+json" => {
            return apply_patch(call, body).await;
        }
        "application/strategic-merge-patch+json" if custom => return Err(unsupported()),
        "application/json-patch+json"
        | "application/merge-patch+json"
        | "application/strategic-merge-patch+json" => {}
        _ => return Err(unsupported()),
    }
    let patch = json_text(body)?;
    let events = resource.is("events.k8s.io", "events");
    let original = resource.clone();
    let stored = modify(call, &mut |call, old| {
        let mut new = external(&original, old).into_owned();
        match kind.as_str() {
            "application/json-patch+json" => patches::json(&mut new, &patch)?,
            "application/merge-patch+json" => patches::merge(&mut new, &patch),
            _ => patches::strategic(original.schema(), &mut new, &patch)?,
        }
        if events {
            defaults::event_from_events(&mut new);
            call.resource = call
                .api
                .resource("", "v1", "events")
                .ok_or_else(Status::no_resource)?;
        }
        call.warnings.clear();
        call.shape(&mut new, true)?;
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

/// Answers a server-side apply.
async fn apply_patch(call: &mut Call<'_>, body: &Bytes) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    if call.info.query.get("fieldManager").is_empty() {
        return Err(Status::invalid(
            "meta.k8s.io",
            "PatchOptions",
            "",
            &[Cause::required(
                "fieldManager",
                "is required for apply patch",
            )],
        ));
    }
    let mut config = yaml_text(body)?;
    if object::text(&config, "kind").is_empty() {
        return Err(Status::bad_request(format!(
            "Object 'Kind' is missing in '{config}'"
        )));
    }
    identify(&resource, &mut config)?;
    address(call, &mut config)?;
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
                "failed to create typed patch object ({}/{}; {}, Kind={}): {error}",
                call.namespace(),
                object::name(&config),
                resource.api_version(),
                resource.kind
            ),
        )
    };
    apply::check(resource.schema(), &config, "").map_err(untyped)?;
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
        apply::apply(resource.schema(), live, &config, &writer, force)
    };
    let exists = call
        .api
        .store
        .get(&resource.table, call.namespace(), &call.info.name)
        .is_some();
    if !exists {
        if !call.info.subresource.is_empty() {
            return Err(Status::not_found(
                &resource.group,
                &resource.plural,
                &call.info.name,
            ));
        }
        let mut object = run(&Value::Null)?;
        if !object::text(&object, "metadata.uid").is_empty() {
            return Err(Status::not_found(
                &resource.group,
                &resource.plural,
                &call.info.name,
            ));
        }
        call.shape(&mut object, false)?;
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
    let mut call = Call {
        api: call.api,
        user: call.user,
        info: &info,
        resource: resource.clone(),
        manager: call.manager.clone(),
        dry_run: call.dry_run,
        validation: call.validation,
        warnings: Vec::new(),
    };
    let stored = modify(&mut call, &mut |call, old| {
        let live = external(&resource, old);
        let mut new = run(&live)?;
        if object::at(&config, "metadata.resourceVersion").is_none() {
            object::remove(&mut new, "metadata.resourceVersion");
        }
        call.shape(&mut new, false)?;
        Ok(new)
    })
    .await?;
    Ok((200, external(&resource, &stored).into_owned()))
}
