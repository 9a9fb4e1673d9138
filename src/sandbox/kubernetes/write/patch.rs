//! Patches.

use std::collections::HashSet;

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::super::decode::{self, Odd, Reader};
use super::super::read::external;
use super::super::resources::Resource;
use super::super::status::{Result, Status};
use super::super::{gojson, object, options, patch as patches, repeated, typed};
use super::apply::apply_patch;
use super::body::{content_type, json_text};
use super::create::place;
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
