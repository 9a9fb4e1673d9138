//! What reads clients' bytes, as functions of bytes.

use hyper::Method;
use serde_json::Value;

use super::apply::{self, Writer};
use super::decode::{self, Reader};
use super::keys::Subject;
use super::pages::Resumed;
use super::request::Info;
use super::selector::{Fields, Labels};
use super::{gojson, gotime, patch, protobuf, quantity, resources, typed};

/// What Go calls JSON is JSON, and the other way round as far as the parser goes.
pub fn json(bytes: &[u8]) {
    let error = gojson::error(bytes);
    if serde_json::from_slice::<Value>(bytes).is_ok() {
        assert_eq!(error, None);
    }
}

/// An object and what is done to it: two lines of JSON.
fn two(bytes: &[u8]) -> Option<(Value, Value)> {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let mut next = || serde_json::from_slice(lines.next()?).ok();
    Some((next()?, next()?))
}

pub fn merge_patch(bytes: &[u8]) {
    if let Some((mut object, change)) = two(bytes) {
        patch::merge(&mut object, &change);
    }
}

pub fn strategic_patch(bytes: &[u8]) {
    if let (Some((mut object, mut change)), Some(schema)) =
        (two(bytes), resources::builtin_schema("v1", "Pod"))
    {
        let _ = patch::strategic(&schema, &mut object, &mut change);
    }
}

pub fn json_patch(bytes: &[u8]) {
    if let Some((mut object, change)) = two(bytes) {
        let _ = patch::json(&mut object, &change);
    }
}

/// Server-side apply of one object to another.
pub fn apply(bytes: &[u8]) {
    let (Some((live, config)), Some(schema)) = (two(bytes), resources::builtin_schema("v1", "Pod"))
    else {
        return;
    };
    let writer = Writer {
        manager: "m",
        api_version: "v1",
        subresource: "",
    };
    if config.is_object() && typed::check(&schema, &config).is_ok() {
        for live in [&Value::Null, &live] {
            if live.is_null() || live.is_object() {
                let _ = apply::apply(&schema, live, &config, &writer, &[], false);
            }
        }
    }
}

pub fn selectors(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(labels) = Labels::parse(&text) {
        let _ = labels.matches_labels(Some(&serde_json::json!({"a": "b", "i": "2"})));
    }
    let _ = Fields::parse(&text, "", "pods", true, false, &[]);
}

pub fn protobuf(bytes: &[u8]) {
    let _ = protobuf::decode(bytes, resources::builtin_schema);
    let length = bytes.len().min(0x7f);
    for kind in [
        &b"\n\x09\n\x02v1\x12\x03Pod"[..],
        b"\n\x0f\n\x02v1\x12\tNamespace",
    ] {
        let body = [b"k8s\0", kind, b"\x12", &[length as u8], &bytes[..length]].concat();
        let _ = protobuf::decode(&body, resources::builtin_schema);
    }
}

/// A quantity that was written again is written so for ever.
pub fn quantity(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(canonical) = quantity::canonical(&text) {
        assert_eq!(quantity::canonical(&canonical).as_ref(), Ok(&canonical));
    }
}

/// A time that was written again is written so for ever.
pub fn time(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for micro in [false, true] {
        if let Ok(canonical) = gotime::canonical(&text, micro) {
            assert_eq!(
                gotime::canonical(&canonical, micro).as_ref(),
                Ok(&canonical)
            );
        }
    }
}

/// An object that was brought into the shape of its kind has that shape.
pub fn object(bytes: &[u8]) {
    let object: Option<Value> = serde_json::from_slice(bytes).ok();
    let schema = resources::builtin_schema("apps/v1", "Deployment");
    let (Some(object), Some(schema)) = (object, schema) else {
        return;
    };
    for reader in [Reader::Json, Reader::Converter] {
        let mut once = object.clone();
        if decode::decode(&schema, &mut once, reader).is_ok() {
            let mut twice = once.clone();
            assert_eq!(decode::decode(&schema, &mut twice, reader), Ok(Vec::new()));
            assert_eq!(twice, once);
        }
    }
}

pub fn continue_token(bytes: &[u8]) {
    let token = String::from_utf8_lossy(bytes);
    for namespace in ["", "default"] {
        let _ = Resumed::read(&token, namespace, true);
    }
}

pub fn request(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (path, query) = text.split_once('?').unwrap_or((&text, ""));
    for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
        let _ = Info::new(&method, path, query);
    }
}

pub fn certificate(bytes: &[u8]) {
    let _ = Subject::of(bytes);
}
