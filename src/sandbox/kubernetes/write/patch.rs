//! Patches, server-side apply among them.

use std::collections::HashSet;

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::super::apply::{self, Writer};
use super::super::decode::{self, Odd, Reader};
use super::super::read::external;
use super::super::request::Info;
use super::super::resources::Resource;
use super::super::status::{Result, Status};
use super::super::{
    gojson, object, options, patch as patches, repeated, strategy, typed, warnings,
};
use super::body::{content_type, json_text, yaml_text};
use super::create::{insert, place};
use super::update::modify;
use super::{Call, FieldValidation, MOST_SAID};

/// Answers a patch of any kind.
pub async fn patch(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let kind = content_type(headers);
    let resource = call.resource.clone();
    if accepted(call, &kind)? {
        return apply_patch(call, body).await;
    }
    let stored = modify(call, &mut |call, old| {
        patched(call, &kind, body, old, &resource)
    })
    .await?;
    Ok((200, external(&resource, &stored).into_owned()))
}

/// Whether a patch is server-side apply; an error where its kind is not taken or its options are wrong.
pub fn accepted(call: &Call<'_>, kind: &str) -> Result<bool> {
    let custom = call.resource.custom.is_some();
    let known = match kind {
        "application/strategic-merge-patch+json" => !custom,
        "application/apply-patch+yaml"
        | "application/json-patch+json"
        | "application/merge-patch+json" => true,
        _ => false,
    };
    if !known {
        let mut status = Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = Some(json!({}));
        if custom {
            status.message = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml".into();
            status.details = None;
        }
        return Err(status);
    }
    let apply = kind == "application/apply-patch+yaml";
    options::writing(call.info, "PatchOptions", Some(apply))?;
    Ok(apply)
}

/// What a patch makes of an object. `original` is the resource as which it was asked for.
pub fn patched(
    call: &mut Call<'_>,
    kind: &str,
    body: &Bytes,
    old: &Value,
    original: &Resource,
) -> Result<Value> {
    let mut new = external(original, old).into_owned();
    // Looked at only when there is something to patch.
    let strategic = kind == "application/strategic-merge-patch+json";
    let given = json_text(body).map_err(|mut status| {
        // Of a strategic patch nothing is said but what its decoder says.
        if strategic && let Some(why) = status.message.strip_prefix("error decoding patch: ") {
            status.message = why.to_owned();
        }
        status
    })?;
    let listed = kind == "application/json-patch+json";
    let ignores = call.validation == FieldValidation::Ignore;
    // What counts of what is given twice, and what is said of it.
    let mut patch = given.value;
    let marked = given.twice.then(|| patch.clone());
    let twice = match given.twice {
        true => repeated::settle(&mut patch, ""),
        false => Vec::new(),
    };
    if patch.is_array() && ignores && kind == "application/merge-patch+json" {
        // It takes the place of the object, which it is not.
        let mut list = Value::Null;
        patches::merge(&mut list, &patch);
        let fits = Err(Status::bad_request(format!(
            "it cannot be handled as a {}: {}",
            original.kind,
            no_type(&list)
        )));
        unpatched(fits, kind, &patch, &list)?;
    }
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
            _ if strategic => ("", wanted),
            _ => ("error decoding patch: ", wanted),
        };
        return Err(Status::bad_request(format!(
            "{said}json: cannot unmarshal {got} into Go value of type {wanted}"
        )));
    }
    let strict = match (listed, ignores) {
        (true, _) => operations(call.validation, marked.as_ref().unwrap_or(&patch))?,
        (false, true) => Vec::new(),
        (false, false) => {
            let twice = twice.into_iter().map(|path| Odd::Twice(path).to_string());
            twice.take(MOST_SAID).collect()
        }
    };
    call.converted = strategic;
    match kind {
        // What it brings is read when it has been put where it belongs.
        "application/json-patch+json" => {
            let brought = marked.as_ref().map(repeated::operations);
            patches::json(&mut new, brought.as_ref().unwrap_or(&patch))?;
        }
        "application/merge-patch+json" if patch.is_null() => {
            return Err(Status::bad_request("Invalid JSON Patch"));
        }
        "application/merge-patch+json" => patches::merge(&mut new, &patch),
        _ => {
            patches::strategic(original.schema(), &mut new, &mut patch)?;
            // A list that became empty is none here.
            if new["rules"].as_array().is_some_and(Vec::is_empty) {
                new["rules"] = Value::Null;
            }
        }
    }
    if original.is("events.k8s.io", "events") {
        call.as_core_event(&mut new)?;
    }
    call.warnings.clear();
    call.emptied = false;
    if original.custom.is_some() && marked.is_some() {
        let said = repeated::settle(&mut new, "").into_iter();
        call.twice = said.map(|path| Odd::Twice(path).to_string()).collect();
    }
    call.patching = true;
    let fits = match untyped(original, strategic, &mut new) {
        Some(status) => Err(status),
        None => versioned(call, original, &mut new).and_then(|()| call.shape(&mut new, true)),
    };
    call.converted = false;
    let fits = match call.validation {
        FieldValidation::Strict => misread(original, fits, &strict),
        // Of a patch that makes no sense nothing else is said.
        FieldValidation::Warn if fits.is_ok() => {
            call.warnings.extend(strict);
            fits
        }
        _ => fits,
    };
    unpatched(fits, kind, &patch, &new)?;
    let nameless = object::name(&new).is_empty();
    place(call, &mut new)?;
    if nameless {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            call.info.name
        )));
    }
    Ok(new)
}

/// Whether the operations of a JSON patch are some: what they have that no operation has, or why they are none.
fn operations(validation: FieldValidation, patch: &Value) -> Result<Vec<String>> {
    let mut unknown = Vec::new();
    let mut wrong = None;
    let into = |got: &Value, wanted: &str| {
        format!(
            "json: cannot unmarshal {} into Go {wanted}",
            gojson::kind(got)
        )
    };
    for (index, operation) in patch.as_array().into_iter().flatten().enumerate() {
        match operation {
            Value::Null => {}
            // Who does not look for unknown fields has another decoder.
            Value::Object(_) if validation == FieldValidation::Ignore => {}
            Value::Object(fields) => {
                let mut seen = HashSet::new();
                for (name, given) in fields {
                    let name = repeated::field(name);
                    let path = format!("[{index}].{name}");
                    let mut odd = Vec::new();
                    let known = matches!(name, "op" | "path" | "from");
                    if !known && name != "value" {
                        odd.push(Odd::Unknown(path));
                    } else {
                        if !seen.insert(name) {
                            odd.push(Odd::Twice(path.clone()));
                        }
                        if known && !given.is_string() && !given.is_null() {
                            let wanted = format!("struct field jsonPatchOp.{name} of type string");
                            wrong.get_or_insert(into(given, &wanted));
                        } else if !known {
                            let below = repeated::settle(&mut given.clone(), &path);
                            odd.extend(below.into_iter().map(Odd::Twice));
                        }
                    }
                    for said in odd.iter().map(|odd| format!("json patch {odd}")) {
                        if unknown.len() < MOST_SAID && !unknown.contains(&said) {
                            unknown.push(said);
                        }
                    }
                }
            }
            other if validation == FieldValidation::Ignore => {
                wrong.get_or_insert(into(other, "value of type jsonpatch.Operation"));
            }
            other => {
                wrong.get_or_insert(into(other, "value of type handlers.jsonPatchOp"));
            }
        }
    }
    match wrong {
        None => Ok(unknown),
        Some(why) if validation == FieldValidation::Ignore => Err(Status::bad_request(why)),
        Some(why) => Err(Status::bad_request(format!("error decoding patch: {why}"))),
    }
}

/// What the decoder says of what is no object.
fn no_type(value: &Value) -> String {
    format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
        gojson::kind(value)
    )
}

/// What keeps a patched object from being read at all: no kind, or none that could be one.
fn untyped(original: &Resource, strategic: bool, new: &mut Value) -> Option<Status> {
    let wrong = |why: String| {
        let kind = &original.kind;
        Some(Status::bad_request(format!(
            "it cannot be handled as a {kind}: {why}"
        )))
    };
    if !new.is_object() {
        return wrong(no_type(new));
    }
    for field in ["apiVersion", "kind"] {
        let other = new.get(field);
        let Some(other) = other.filter(|value| !value.is_string() && !value.is_null()) else {
            continue;
        };
        if strategic {
            let mut typed = json!({ field: other });
            let found = decode::decode(original.schema(), &mut typed, Reader::Converter);
            return wrong(found.err().unwrap_or_default());
        }
        return wrong(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{field} of type string",
            gojson::kind(other)
        ));
    }
    if strategic {
        // It goes into an object of the kind, whatever it says of itself.
        new["kind"] = original.kind.as_str().into();
        new["apiVersion"] = original.api_version().into();
    } else if original.custom.is_some() && object::text(new, "kind").is_empty() {
        let mut shown = new.clone();
        shown.sort_all_objects();
        return wrong(format!("Object 'Kind' is missing in '{shown}'"));
    }
    None
}

/// Reads a patched object as one of the version that it says, which may not be its own.
fn versioned(call: &mut Call<'_>, original: &Resource, new: &mut Value) -> Result<()> {
    let said = object::text(new, "apiVersion").to_owned();
    let (group, version) = object::group_version(&said);
    let custom = original.custom.is_some();
    if said == original.api_version() || !custom && !said.is_empty() {
        return Ok(());
    }
    if custom && said.is_empty() {
        let why = "Object 'apiVersion' is missing in 'object has no apiVersion field'";
        return Err(Status::internal(why));
    }
    // Another one that there may be is found by the validation.
    let resource = call.api.resource(group, version, &original.plural);
    if custom && (group != original.group || resource.is_some()) {
        return Ok(());
    }
    // A version that there is not has no fields, and of a kind of the server's own without one nothing is known.
    let kept =
        |field: &str| matches!(field, "apiVersion" | "kind") || custom && field == "metadata";
    let mut unknown = Vec::new();
    if let Some(fields) = new.as_object_mut() {
        unknown.extend(fields.keys().filter(|field| !kept(field)).cloned());
        fields.retain(|field, _| kept(field));
    }
    unknown.sort();
    match unknown.is_empty() {
        true => Ok(()),
        false => {
            let unknown = unknown
                .into_iter()
                .map(|field| Odd::Unknown(field).to_string());
            call.odd(unknown.collect(), &(said, String::new()))
        }
    }
}

/// What a patch has that no patch has is an error beside what its result has that its kind has not.
fn misread(original: &Resource, fits: Result<()>, strict: &[String]) -> Result<()> {
    const HEAD: &str = "strict decoding error: ";
    if strict.is_empty() {
        return fits;
    }
    let said = strict.join(", ");
    let mut status = match fits {
        Err(status) => status,
        Ok(()) => {
            let kind = &original.kind;
            let why = format!("it cannot be handled as a {kind}: {HEAD}{said}");
            return Err(Status::bad_request(why));
        }
    };
    if let Some((head, rest)) = status.message.split_once(HEAD) {
        status.message = format!("{head}{HEAD}{said}, {rest}");
    }
    Err(status)
}

/// What does not fit after a patch is the patch's fault.
fn unpatched(result: Result<()>, kind: &str, patch: &Value, new: &Value) -> Result<()> {
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
        let cause = super::super::status::Cause::invalid("patch", &shown.into(), why);
        let mut status = Status::invalid("", "", "", &[cause]);
        status.message = format!(" {}", status.message.trim_start());
        status
    })
}

/// What does not fit after it was applied.
fn unconverted(result: Result<()>, call: &Call<'_>, sent: &(String, String)) -> Result<()> {
    result.map_err(|status| {
        let Some((_, rest)) = status.message.split_once(" cannot be handled as a ") else {
            return status;
        };
        let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
        let resource = &call.resource;
        let kind = format!("{}/{}, Kind={}", resource.group, resource.version, resource.kind);
        Status::new(
            500,
            "",
            format!(
                "failed to convert new object ({}/{}; {kind}) to proper version: unable to convert unstructured object to {kind}: {why}",
                sent.0, sent.1
            ),
        )
    })
}

/// What is applied, when it is something that can be.
pub struct Configuration {
    config: Value,
    /// As it was sent, in order.
    said: Value,
    /// Its name and its namespace, as they were sent.
    sent: (String, String),
    /// A wrong name or namespace, which is found after everything else.
    misplaced: Option<Status>,
    /// What is said of what it gives twice.
    twice: Option<String>,
}

impl Configuration {
    /// Reads a configuration of the call's resource; `there` tells whether there is something that it is applied to.
    pub fn read(call: &Call<'_>, body: &Bytes, there: bool) -> Result<Configuration> {
        let resource = &call.resource;
        let (mut config, twice) = yaml_text(body)?;
        if !config.is_object() && !config.is_null() {
            let got = gojson::kind(&config);
            return Err(Status::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {got} into Go value of type map[string]interface {{}}"
            )));
        }
        let mut said = config.clone();
        said.sort_all_objects();
        if !there && !call.info.subresource.is_empty() && !strategy::creates_on_update(resource) {
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
        if kind != resource.kind || version != expected {
            let slash = if version.contains('/') { "" } else { "/" };
            return Err(Status::bad_request(format!(
                "invalid object type: {slash}{version}, Kind={kind}"
            )));
        }
        if object::at(&config, "metadata.managedFields").is_some_and(|entries| {
            entries
                .as_array()
                .is_some_and(|entries| !entries.is_empty())
        }) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let sent = (
            object::namespace(&config).to_owned(),
            object::name(&config).to_owned(),
        );
        typed::check(resource.schema(), &config).map_err(|error| {
            let (namespace, name) = &sent;
            Status::new(
                500,
                "",
                format!(
                    "failed to create typed patch object ({namespace}/{name}; {}/{}, Kind={}): {error}",
                    resource.group, resource.version, resource.kind
                ),
            )
        })?;
        if !there && sent.1.is_empty() {
            return Err(Status::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.info.name
            )));
        }
        let unnamed =
            object::at(&config, "metadata.name").is_some_and(|name| name.is_null() || *name == "");
        let placed = place(call, &mut config);
        // Who says that it has no name takes its name away.
        let misplaced = match unnamed {
            true => Some(Status::bad_request(format!(
                "the name of the object ({} based on URL) was undeterminable: name must be provided",
                call.info.name
            ))),
            false => placed.err(),
        };
        if misplaced.is_some() {
            object::set(&mut config, "metadata.name", call.info.name.as_str());
            if resource.namespaced {
                object::set(&mut config, "metadata.namespace", call.namespace());
            }
        }
        object::remove(&mut config, "metadata.creationTimestamp");
        if config["metadata"].get("managedFields").is_some() {
            object::remove(&mut config, "metadata.managedFields");
        }
        Ok(Configuration {
            config,
            said,
            sent,
            misplaced,
            twice: twice.then(|| repeated::in_yaml(body)).flatten(),
        })
    }

    /// Whether it says nothing else of what is not owned than the object does.
    fn is_of(&self, live: &Value) -> bool {
        let alike = |path: &str| {
            object::at(&self.config, path).is_none_or(|said| object::at(live, path) == Some(said))
        };
        self.misplaced.is_none()
            && ["metadata.resourceVersion", "metadata.uid"]
                .iter()
                .all(|path| alike(path))
    }

    /// What comes out when it is applied to an object, `Null` when there is none. Scales of custom resources are
    /// `unconvertible`: upstream finds no way to take what was changed in them.
    pub fn apply(&self, call: &mut Call<'_>, live: &Value, unconvertible: bool) -> Result<Value> {
        let resource = call.resource.clone();
        let api_version = resource.api_version();
        let writer = Writer {
            manager: &call.manager,
            api_version: &api_version,
            subresource: &call.info.subresource,
        };
        let force = call.info.query.flag("force");
        let reset = strategy::reset(&resource, &call.info.subresource);
        let mut applied =
            apply::apply(resource.schema(), live, &self.config, &writer, reset, force)?;
        // Nulls of a custom resource's metadata are written and never read, so that each is a change.
        let metadata = applied["metadata"].as_object();
        let mut metadata = metadata.into_iter().flat_map(Map::values);
        call.nulls = resource.custom.is_some() && metadata.any(Value::is_null);
        if unconvertible && !(apply::same(live, &applied) && self.is_of(live)) {
            let (namespace, name) = &self.sent;
            return Err(Status::new(
                500,
                "",
                format!(
                    "failed to convert new object ({namespace}/{name}; {api_version}, Kind={}) to proper version: request to convert CR to an invalid group/version: {api_version}",
                    resource.kind
                ),
            ));
        }
        // What kubectl applied on its own side before is kept true.
        if call.manager == "kubectl" && object::annotation(&applied, apply::LAST_APPLIED).is_some()
        {
            applied["metadata"]["annotations"][apply::LAST_APPLIED] =
                format!("{}\n", self.said).into();
        }
        let fits = call.shape(&mut applied, false);
        unconverted(fits, call, &self.sent)?;
        if let Some(twice) = &self.twice {
            let said = format!("error converting YAML to JSON: {twice}");
            match call.validation {
                FieldValidation::Ignore => {}
                FieldValidation::Warn => call.warnings.extend(warnings::strict(&said)),
                FieldValidation::Strict => {
                    let why = format!("error strict decoding YAML: {said}");
                    return Err(Status::bad_request(why));
                }
            }
        }
        let uid = object::uid(&applied);
        if live.is_null() && !uid.is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            let (group, plural) = (&resource.group, &resource.plural);
            return Err(Status::conflict(group, plural, &call.info.name, &why));
        }
        if let Some(misplaced) = &self.misplaced {
            return Err(misplaced.clone());
        }
        Ok(applied)
    }
}

/// Answers a server-side apply.
async fn apply_patch(call: &mut Call<'_>, body: &Bytes) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    call.applying = true;
    let there = call
        .api
        .store
        .get(&resource.table, call.namespace(), &call.info.name)
        .is_some();
    let config = Configuration::read(call, body, there)?;
    if !there {
        let object = config.apply(call, &Value::Null, false)?;
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
        call.pruned = false;
        config.apply(call, &external(&resource, old), false)
    })
    .await;
    call.warnings = std::mem::take(&mut change.warnings);
    Ok((200, external(&resource, &result?).into_owned()))
}
