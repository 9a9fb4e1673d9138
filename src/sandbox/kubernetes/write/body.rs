//! What the body of a request holds.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Map, Value};

use super::super::decode::whole_numbers;
use super::super::resources::Resource;
use super::super::status::{Result, Status};
use super::super::{gojson, object, protobuf, repeated, resources};
use super::FieldValidation;

/// Fills in a missing kind and refuses a wrong one.
pub(super) fn identify(
    resource: &Resource,
    object: &mut Value,
    validation: FieldValidation,
) -> Result<()> {
    let expected = resource.api_version();
    if !object.is_object() {
        return Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: json: cannot unmarshal into Go value",
            resource.kind, resource.version, resource.kind
        )));
    }
    // Evictions are taken in either version.
    let eviction = resource.kind == "Eviction" && object["kind"] == "Eviction";
    if eviction && object["apiVersion"] == "policy/v1beta1" {
        object["apiVersion"] = expected.as_str().into();
    }
    let (version, kind) = (
        object::text(object, "apiVersion"),
        object::text(object, "kind"),
    );
    if resource.custom.is_some() {
        if object["apiVersion"].is_null() && object.get("apiVersion").is_some() && !kind.is_empty()
        {
            return Err(Status::bad_request(format!(
                "{kind} in version \"\" cannot be handled as a {}: .apiVersion accessor error: <nil> is of the type <nil>, expected string",
                resource.kind
            )));
        }
        // A kind that is missing is found by the decoder, a wrong one by the validation.
        if !version.is_empty() && !kind.is_empty() && version != expected {
            return Err(Status::bad_request(format!(
                "the API version in the data ({version}) does not match the expected API version ({expected})"
            )));
        }
    } else {
        let said_version = if version.is_empty() {
            expected.as_str()
        } else {
            version
        };
        let said_kind = if kind.is_empty() {
            resource.kind.as_str()
        } else {
            kind
        };
        if said_version != expected || said_kind != resource.kind {
            let (_, short) = object::group_version(said_version);
            return Err(Status::bad_request(format!(
                "{said_kind} in version {short:?} cannot be handled as a {}: no kind {said_kind:?} is registered for version {said_version:?} in scheme \"pkg/runtime/scheme.go:111\"",
                resource.kind
            )));
        }
    }
    if version.is_empty() || kind.is_empty() {
        if resource.custom.is_some() {
            return Err(kindless(
                resource,
                object.to_string().as_bytes(),
                validation,
            ));
        }
        let mut map = Map::new();
        map.insert("kind".into(), resource.kind.clone().into());
        map.insert("apiVersion".into(), expected.into());
        if let Some(own) = object.as_object() {
            for (key, value) in own {
                if key != "kind" && key != "apiVersion" {
                    map.insert(key.clone(), value.clone());
                }
            }
        }
        *object = Value::Object(map);
    }
    Ok(())
}

/// What is said of a custom resource that does not say what it is.
pub(super) fn kindless(resource: &Resource, body: &[u8], validation: FieldValidation) -> Status {
    let missing = format!(
        "Object 'Kind' is missing in '{}'",
        String::from_utf8_lossy(body)
    );
    // Who does not look for unknown fields has another decoder.
    if validation == FieldValidation::Ignore {
        return Status::bad_request(format!(
            "{0} in version {1:?} cannot be handled as a {0}: {missing}",
            resource.kind, resource.version
        ));
    }
    unrecognized(body, &resource.kind, &missing)
}

/// Reads a body: JSON, YAML, or protobuf of the kinds that clients send so. `kind` is what it has to be.
pub fn decode(headers: &HeaderMap, body: &Bytes, kind: &str) -> Result<Value> {
    let (mut value, twice) = whole(headers, body, kind)?;
    if twice {
        repeated::settle(&mut value, "");
    }
    Ok(value)
}

/// The same, with what JSON gives twice under marks; and whether something is given twice.
pub(super) fn whole(headers: &HeaderMap, body: &Bytes, kind: &str) -> Result<(Value, bool)> {
    let value = match content_type(headers).as_str() {
        "application/json" | "" => return object_text(body, kind),
        "application/yaml" => return object_lines(body, kind),
        "application/vnd.kubernetes.protobuf" => {
            let why = match body.strip_prefix(b"k8s\0") {
                _ if body.is_empty() => "empty data",
                None => {
                    "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                }
                Some([]) => "empty body",
                Some(_) => "unexpected EOF",
            };
            match protobuf::decode(body, resources::builtin_schema) {
                None if why != "unexpected EOF" => return Err(unrecognized(body, kind, why)),
                value => value,
            }
        }
        _ => None,
    };
    value.map(|value| (value, false)).ok_or_else(|| {
        Status::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    })
}

/// What is said of a body that is no object of a kind.
fn unrecognized(body: &[u8], kind: &str, why: &str) -> Status {
    let summary = summary(body);
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
    ))
}

/// How a body begins.
pub(super) fn summary(body: &[u8]) -> String {
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') if body.len() > 30 => {
            format!("{} ...", String::from_utf8_lossy(&body[..30]))
        }
        Some(b'{') => String::from_utf8_lossy(body).into_owned(),
        Some(_) => {
            let hex: String = body
                .iter()
                .take(30)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            if body.len() > 30 {
                format!("{hex} ...")
            } else {
                hex
            }
        }
    }
}

/// A body that is an object with a kind, as upstream's decoder looks for it first.
fn object_text(body: &Bytes, kind: &str) -> Result<(Value, bool)> {
    let broken = |why: &str| {
        let why = format!("couldn't get version/kind; json parse error: {why}");
        unrecognized(body, kind, &why)
    };
    if let Some(error) = gojson::error(body) {
        return Err(broken(&error));
    }
    let given = repeated::json(body).map_err(|error| broken(&error.to_string()))?;
    typed(given.value, given.twice, body, kind)
}

/// The same in YAML.
fn object_lines(body: &Bytes, kind: &str) -> Result<(Value, bool)> {
    let mut given = repeated::yaml(body)
        .map_err(|error| unrecognized(body, kind, &format!("yaml: {error}")))?;
    whole_numbers(&mut given.value);
    typed(given.value, given.twice, body, kind)
}

fn typed(mut value: Value, twice: bool, body: &Bytes, kind: &str) -> Result<(Value, bool)> {
    let unrecognized = |why: String| {
        let why = format!("couldn't get version/kind; json parse error: {why}");
        unrecognized(body, kind, &why)
    };
    match &value {
        Value::Object(map) => {
            for field in ["apiVersion", "kind"] {
                if let Some(other) = map.get(field)
                    && !other.is_string()
                    && !other.is_null()
                {
                    return Err(unrecognized(format!(
                        "json: cannot unmarshal {} into Go struct field .{field} of type string",
                        gojson::kind(other)
                    )));
                }
            }
        }
        Value::Null if !resources::is_builtin_kind(kind) => {
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): Object 'Kind' is missing in '{}' ({})",
                String::from_utf8_lossy(body),
                summary(body)
            )));
        }
        Value::Null => value = Value::Object(Map::new()),
        other => {
            return Err(unrecognized(format!(
                "json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                gojson::kind(other)
            )));
        }
    }
    Ok((value, twice))
}

/// A patch in JSON, with what it gives twice under marks.
pub(super) fn json_text(body: &Bytes) -> Result<repeated::Given> {
    if let Some(error) = gojson::error(body) {
        return Err(Status::bad_request(format!(
            "error decoding patch: {error}"
        )));
    }
    repeated::json(body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
}

/// A body in YAML, and whether it gives something twice.
pub(super) fn yaml_text(body: &Bytes) -> Result<(Value, bool)> {
    let mut given = repeated::yaml(body)
        .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
    whole_numbers(&mut given.value);
    Ok((given.value, given.twice))
}

/// The media type of a body, without what follows it.
pub fn content_type(headers: &HeaderMap) -> String {
    headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase()
}
