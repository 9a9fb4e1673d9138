//! The scale of a workload or of a custom resource that has one: an object of its own kind, made from the other and
//! written back into it.

use std::sync::{Arc, OnceLock};

use hyper::HeaderMap;
use hyper::body::Bytes;
use k8s_openapi::api::autoscaling::v1 as autoscaling;
use serde_json::{Value, json};

use super::apply::{Writer, scaled};
use super::object;
use super::options;
use super::read::find;
use super::reflect;
use super::request::Info;
use super::resources::{self, Resource, Shape};
use super::status::{Cause, Result, Status};
use super::subresource::selector_text;
use super::validation;
use super::write::{self, Call, Configuration};

/// What a custom resource's scale has for replicas that are not there.
const NONE: i64 = i32::MIN as i64;

/// The kind, as if it were a resource of its own.
fn kind(namespaced: bool) -> Arc<Resource> {
    static KINDS: [OnceLock<Arc<Resource>>; 2] = [OnceLock::new(), OnceLock::new()];
    let resource = KINDS[usize::from(namespaced)].get_or_init(|| {
        Arc::new(Resource {
            group: "autoscaling".into(),
            version: "v1".into(),
            plural: "scales".into(),
            singular: "scale".into(),
            kind: "Scale".into(),
            list_kind: "ScaleList".into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced,
            review: false,
            status: false,
            scale: None,
            generation: false,
            schema: Shape::Builtin(reflect::of::<autoscaling::Scale>, OnceLock::new()),
            custom: None,
            table: String::new(),
        })
    });
    resource.clone()
}

/// What admission sees of what is scaled.
pub struct View<'a> {
    /// The kind of the scale.
    pub kind: Arc<Resource>,
    resource: &'a Resource,
    paths: &'a resources::Scale,
}

impl<'a> View<'a> {
    /// For a call about a scale.
    pub fn of(call: &'a Call<'_>) -> Option<View<'a>> {
        let resource = &*call.resource;
        let paths = resource.scale.as_ref()?;
        (call.info.subresource == "scale").then(|| View {
            kind: kind(resource.namespaced),
            resource,
            paths,
        })
    }

    /// The scale of an object.
    pub fn show(&self, object: &Value) -> Value {
        of(self.resource, self.paths, object)
    }

    /// The scales before and after a change as whoever may change them sees them: as they were sent, and with who owns them.
    pub fn before(&self, call: &Call<'_>, old: &Value, new: &Value) -> (Value, Value) {
        let mut before = self.show(old);
        let mut shown = call.scaled.clone().unwrap_or_else(|| self.show(new));
        object::default(&mut shown, "status", json!({"replicas": 0}));
        let record = scaled::record(old, &self.paths.spec);
        if record.is_array() {
            before["metadata"]["managedFields"] = record;
        }
        if call.info.verb != "apply" {
            let api_version = self.resource.api_version();
            let writer = Writer {
                manager: &call.manager,
                api_version: &api_version,
                subresource: &call.info.subresource,
            };
            let record = scaled::tracked(old, new, &writer, &self.paths.spec);
            if record.is_array() {
                shown["metadata"]["managedFields"] = record;
            }
        }
        (before, shown)
    }

    /// An object with what its scale became.
    pub fn write(&self, object: &Value, scale: &Value, update: bool) -> Result<Value> {
        written(self.resource, self.paths, object, scale, update)
    }
}

/// The scale of an object.
fn of(resource: &Resource, paths: &resources::Scale, object: &Value) -> Value {
    let number = |path: &str| object::at(object, path).and_then(Value::as_i64);
    let mut metadata = object["metadata"].clone();
    if let Some(fields) = metadata.as_object_mut() {
        fields.retain(|field, _| {
            matches!(
                field.as_str(),
                "name" | "namespace" | "uid" | "resourceVersion" | "creationTimestamp"
            )
        });
    }
    let mut scale = json!({
        "kind": "Scale", "apiVersion": scaled::VERSION,
        "metadata": metadata,
        "spec": {},
        "status": {"replicas": number(&paths.status).unwrap_or(0)},
    });
    if let Some(replicas) = number(&paths.spec).filter(|number| *number != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    let selector = match &paths.selector {
        Some(path) if resource.custom.is_some() => object::at(object, path)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned(),
        _ => selector_text(&object["spec"]["selector"]),
    };
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// Answers what is asked of a scale.
pub async fn answer(
    call: &mut Call<'_>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    let Some(paths) = resource.scale.clone() else {
        return Err(Status::no_resource());
    };
    let shown = |object: &Value| of(&resource, &paths, object);
    let stored = match call.info.verb {
        "get" => {
            let stored = find(call.api, call.info, &resource)?;
            if object::at(&stored.value, &paths.spec).is_none() {
                return Err(Status::internal(format!(
                    "the spec replicas field \".{}\" does not exist",
                    paths.spec
                )));
            }
            return Ok((200, shown(&stored.value)));
        }
        "update" => {
            options::writing(call.info, "UpdateOptions", None)?;
            let mut inner = as_scale(call);
            let mut scale = write::whole(&mut inner, headers, body).map_err(|status| {
                match resource.custom.is_some() && status.code == 400 {
                    // What is wrong with it is lost on the way.
                    true => Status::bad_request(
                        "no kind is registered for the type v1.Scale in scheme \"pkg/runtime/scheme.go:111\"",
                    ),
                    false => status,
                }
            })?;
            write::place(&inner, &mut scale)?;
            call.warnings = inner.warnings;
            write::modify(call, &mut |call, old| {
                call.scaled = Some(scale.clone());
                written(&resource, &paths, old, &scale, true)
            })
            .await?
        }
        "patch" => patched(call, headers, body, &paths).await?,
        _ => return Err(Status::method_not_allowed()),
    };
    Ok((200, shown(&stored)))
}

/// The same call, about the scale.
fn as_scale<'a>(call: &Call<'a>) -> Call<'a> {
    Call {
        resource: kind(call.resource.namespaced),
        ..call.clone()
    }
}

async fn patched(
    call: &mut Call<'_>,
    headers: &HeaderMap,
    body: &Bytes,
    paths: &resources::Scale,
) -> Result<Value> {
    let resource = call.resource.clone();
    let content = write::content_type(headers);
    let applying = write::accepted(call, &content)?;
    // What is not there is found before what is wrong with the patch.
    let stored = find(call.api, call.info, &resource)?;
    let config = match applying {
        true => {
            let config = Configuration::read(&as_scale(call), body, true);
            Some(tracked(&resource, paths, &stored.value, config)?)
        }
        false => None,
    };
    // Server-side apply writes its own record.
    let info = Info {
        verb: if applying { "apply" } else { call.info.verb },
        ..call.info.clone()
    };
    let mut change = Call {
        info: &info,
        ..call.clone()
    };
    let result = write::modify(&mut change, &mut |call, old| {
        let mut live = of(&resource, paths, old);
        if resource.custom.is_some() && object::at(old, &paths.spec).is_none() {
            live["spec"]["replicas"] = NONE.into();
        }
        let mut inner = as_scale(call);
        inner.applying = applying;
        let Some(config) = &config else {
            let kind = inner.resource.clone();
            let scale = write::patched(&mut inner, &content, body, &live, &kind)?;
            call.warnings = inner.warnings;
            call.scaled = Some(scale.clone());
            return written(&resource, paths, old, &scale, false);
        };
        let record = scaled::record(old, &paths.spec);
        if record.is_array() {
            live["metadata"]["managedFields"] = record;
        }
        let scale = config.apply(&mut inner, &live, resource.custom.is_some())?;
        let mut new = written(&resource, paths, old, &scale, false)?;
        call.scaled = Some(scale.clone());
        scaled::settle(old, &mut new, &scale, &resource.api_version(), &paths.spec);
        Ok(new)
    })
    .await;
    call.warnings = std::mem::take(&mut change.warnings);
    result
}

/// The scale of a custom resource whose replicas nobody is known to own cannot be applied: upstream finds no way to make
/// a record of it.
fn tracked<T>(
    resource: &Resource,
    paths: &resources::Scale,
    live: &Value,
    config: Result<T>,
) -> Result<T> {
    let untyped = |status: &Status| {
        let said = &status.message;
        said.starts_with("error decoding YAML") || said.starts_with("invalid object type")
    };
    if resource.custom.is_none()
        || scaled::record(live, &paths.spec).is_array()
        || config.as_ref().is_err_and(untyped)
    {
        return config;
    }
    Err(Status::new(
        500,
        "",
        format!(
            "failed to create manager for existing fields: failed to convert live object (/; {0}, Kind=Scale) to proper version: request to convert CR to an invalid group/version: {0}",
            scaled::VERSION
        ),
    ))
}

/// An object with what a scale says.
fn written(
    resource: &Resource,
    paths: &resources::Scale,
    old: &Value,
    scale: &Value,
    update: bool,
) -> Result<Value> {
    let replicas = object::at(scale, "spec.replicas")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let (name, uid) = (object::name(old), object::uid(scale));
    let mut new = old.clone();
    if resource.custom.is_none() {
        let mut causes = validation::metadata(&kind(resource.namespaced), scale, None);
        if replicas < 0 {
            causes.push(Cause::invalid(
                "spec.replicas",
                &replicas.into(),
                "must be greater than or equal to 0",
            ));
        }
        if !causes.is_empty() {
            return Err(Status::invalid("autoscaling", "Scale", name, &causes));
        }
        if !uid.is_empty() && uid != object::uid(old) && !update {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object::uid(old)
            );
            let plural = format!("{}/scale", resource.plural);
            return Err(Status::conflict(&resource.group, &plural, name, &why));
        }
    } else if replicas == NONE {
        return Err(Status::bad_request(format!(
            "the spec replicas field \".{}\" cannot be empty",
            paths.spec
        )));
    }
    if update && !uid.is_empty() {
        object::set(&mut new, "metadata.uid", uid);
    }
    match object::text(scale, "metadata.resourceVersion") {
        // A custom resource is only written at the version that was seen.
        "" if resource.custom.is_some() && update => {}
        "" => drop(object::remove(&mut new, "metadata.resourceVersion")),
        wanted => object::set(&mut new, "metadata.resourceVersion", wanted),
    }
    object::set(&mut new, &paths.spec, replicas);
    Ok(new)
}
