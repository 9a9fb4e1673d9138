//! Request bodies in protobuf, which kubectl's typed commands (`create namespace`, `auth can-i`) send.
//!
//! Types come from the schemas; the field numbers of what such commands send are in `fields.txt`, one message a line:
//! its name, then its fields in the order of their numbers, from 1 or from where `number:` says. Answers are JSON, which
//! every client accepts.

use std::collections::HashMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::object;
use super::reflect;
use super::schema::{Schema, Shape};

/// What stands before every body.
const MAGIC: &[u8] = b"k8s\0";

type Numbers = HashMap<&'static str, HashMap<u64, &'static str>>;

fn numbers() -> &'static Numbers {
    static NUMBERS: OnceLock<Numbers> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        let mut messages = Numbers::new();
        let mut current = "";
        let mut next = 1;
        for line in include_str!("fields.txt").lines() {
            let mut words = line.split_whitespace();
            if !line.starts_with(' ') {
                current = words.next().unwrap_or("");
                next = 1;
            }
            let fields = messages.entry(current).or_default();
            for word in words {
                let name = match word.split_once(':') {
                    Some((number, name)) => {
                        next = number.parse().unwrap_or(next);
                        name
                    }
                    None => word,
                };
                fields.insert(next, name);
                next += 1;
            }
        }
        messages
    })
}

/// One field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes a message apart.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Field::Bytes(value)
            }
            1 | 5 => {
                let (_, rest) = bytes.split_at_checked(if key & 7 == 1 { 8 } else { 4 })?;
                bytes = rest;
                continue;
            }
            _ => return None,
        };
        found.push((key >> 3, field));
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

/// The object in a body; `find` gives the schema of a kind. Nothing when the body or its kind cannot be read.
pub fn decode(
    body: &[u8],
    find: impl Fn(&str, &str) -> Option<std::sync::Arc<Schema>>,
) -> Option<Value> {
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for (number, field) in fields(body.strip_prefix(MAGIC)?)? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => {
                for (number, field) in fields(bytes)? {
                    match (number, field) {
                        (1, Field::Bytes(bytes)) => api_version = text(bytes)?,
                        (2, Field::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let schema = find(&api_version, &kind)?;
    let mut object = Map::new();
    object.insert("kind".into(), kind.as_str().into());
    object.insert("apiVersion".into(), api_version.into());
    message(&kind, &schema, raw, &mut object)?;
    Some(Value::Object(object))
}

/// Fields of Go structures inside others: JSON does not show the inner name.
fn embedded(name: &str) -> Option<&'static str> {
    Some(match name {
        "localObjectReference" => "LocalObjectReference",
        "volumeSource" => "VolumeSource",
        "handler" => "ProbeHandler",
        "ingressRuleValue" => "IngressRuleValue",
        _ => return None,
    })
}

fn message(
    name: &str,
    schema: &Schema,
    bytes: &[u8],
    object: &mut Map<String, Value>,
) -> Option<()> {
    // A message that is not in the table is a status or something as rare: clients do not set it.
    let Some(numbers) = numbers().get(name) else {
        return Some(());
    };
    for (number, field) in fields(bytes)? {
        // What is newer than this table is not looked at, like an unknown field.
        let Some(name) = numbers.get(&number) else {
            continue;
        };
        let name = if *name == "uID" { "uid" } else { name };
        let Some(below) = schema.field(name) else {
            if let (Some(inner), Field::Bytes(bytes)) = (embedded(name), field) {
                message(inner, schema, bytes, object)?;
            }
            continue;
        };
        match (&below.shape, field) {
            (Shape::List(items), field) => {
                let item = value(items, field)?;
                let place = object.entry(name).or_insert_with(|| json!([]));
                place.as_array_mut()?.push(item);
            }
            (Shape::Map(values), Field::Bytes(bytes)) => {
                let (mut key, mut item) = (String::new(), Value::Null);
                for (number, field) in fields(bytes)? {
                    match (number, field) {
                        (1, Field::Bytes(bytes)) => key = text(bytes)?,
                        (2, field) => item = value(values, field)?,
                        _ => {}
                    }
                }
                let place = object.entry(name).or_insert_with(|| json!({}));
                place.as_object_mut()?.insert(key, item);
            }
            (_, field) => {
                let value = value(below, field)?;
                if !unset(name, &value) {
                    object.insert(name.into(), value);
                }
            }
        }
    }
    Some(())
}

/// Whether a value is what Go writes for a field that nobody set. Pointers are only written when they are set.
fn unset(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => {
            number.as_i64() == Some(0)
                && matches!(
                    name,
                    "generation"
                        | "hostPort"
                        | "nodePort"
                        | "minReadySeconds"
                        | "initialDelaySeconds"
                        | "timeoutSeconds"
                        | "periodSeconds"
                        | "successThreshold"
                        | "failureThreshold"
                        | "healthCheckNodePort"
                        | "number"
                        | "expirationSeconds"
                )
        }
        Value::Bool(false) => matches!(
            name,
            "hostNetwork"
                | "hostPID"
                | "hostIPC"
                | "stdin"
                | "stdinOnce"
                | "tty"
                | "readOnly"
                | "paused"
                | "globalDefault"
                | "publishNotReadyAddresses"
        ),
        _ => false,
    }
}

fn value(schema: &Schema, field: Field<'_>) -> Option<Value> {
    Some(match (&schema.shape, field) {
        (Shape::Bool, Field::Number(number)) => (number != 0).into(),
        (Shape::Integer(_), Field::Number(number)) => number.cast_signed().into(),
        (Shape::String("byte"), Field::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Shape::String(format @ ("date-time" | "micro-time")), Field::Bytes(bytes)) => {
            let (mut seconds, mut nanoseconds) = (None, 0);
            for (place, field) in fields(bytes)? {
                match (place, field) {
                    (1, Field::Number(number)) => seconds = Some(number.cast_signed()),
                    (2, Field::Number(number)) => nanoseconds = i32::try_from(number).unwrap_or(0),
                    _ => {}
                }
            }
            let moment =
                seconds.and_then(|seconds| jiff::Timestamp::new(seconds, nanoseconds).ok());
            match moment {
                Some(moment) if *format == "micro-time" => {
                    moment.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into()
                }
                Some(moment) => object::stamp(moment).into(),
                None => Value::Null,
            }
        }
        (Shape::String("quantity"), Field::Bytes(bytes)) => match fields(bytes)?.first() {
            Some((1, Field::Bytes(bytes))) => text(bytes)?.into(),
            _ => "0".into(),
        },
        (Shape::String(_), Field::Bytes(bytes)) => text(bytes)?.into(),
        (Shape::IntOrString, Field::Bytes(bytes)) => {
            let (mut kind, mut number, mut word) = (0, 0, String::new());
            for (place, field) in fields(bytes)? {
                match (place, field) {
                    (1, Field::Number(value)) => kind = value,
                    (2, Field::Number(value)) => number = value.cast_signed(),
                    (3, Field::Bytes(bytes)) => word = text(bytes)?,
                    _ => {}
                }
            }
            if kind == 1 {
                word.into()
            } else {
                number.into()
            }
        }
        (Shape::Struct(name, _), Field::Bytes(bytes)) => {
            let mut object = Map::new();
            if *name == "ObjectMeta" {
                message(name, &reflect::object_meta(), bytes, &mut object)?;
            } else {
                message(name, schema, bytes, &mut object)?;
            }
            Value::Object(object)
        }
        _ => Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubectl_create_namespace_sends_is_read() {
        let mut body = MAGIC.to_vec();
        body.extend_from_slice(b"\x0a\x0f\x0a\x02v1\x12\x09Namespace");
        body.extend_from_slice(
            b"\x12\x18\x0a\x12\x0a\x04demo\x12\x00\x1a\x00\x22\x00*\x002\x008\x00\x12\x00\x1a\x00",
        );
        body.extend_from_slice(b"\x1a\x00\x22\x00");
        let found = decode(&body, |_, _| {
            Some(reflect::of::<k8s_openapi::api::core::v1::Namespace>())
        });
        assert_eq!(
            found,
            Some(
                json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "demo"}, "spec": {}})
            )
        );
        assert_eq!(decode(b"k8s\0\xff", |_, _| None), None);
    }
}
