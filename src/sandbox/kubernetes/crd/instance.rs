//! Objects of custom resources against their schema: unknown fields, defaults, validation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use regex::Regex;
use serde_json::{Map, Value};

use super::super::status::Cause;
use super::{cel, lists};

/// Takes away what the schema does not have; returns the paths.
pub fn prune(schema: &Value, value: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    cut(schema, value, "", true, &mut unknown);
    unknown
}

fn cut(schema: &Value, value: &mut Value, path: &str, root: bool, unknown: &mut Vec<String>) {
    let keep = schema["x-kubernetes-preserve-unknown-fields"] == true;
    match value {
        Value::Object(map) => {
            let embedded = root || schema["x-kubernetes-embedded-resource"] == true;
            let mut drop = Vec::new();
            for (key, item) in map.iter_mut() {
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                if embedded && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let field = match schema.get("properties").and_then(|fields| fields.get(key)) {
                    Some(field) => Some(field),
                    None => schema
                        .get("additionalProperties")
                        .filter(|more| more.is_object()),
                };
                match field {
                    Some(field) => cut(field, item, &below, false, unknown),
                    None if keep || schema["additionalProperties"] == true => {}
                    None => {
                        unknown.push(below);
                        drop.push(key.clone());
                    }
                }
            }
            for key in drop {
                map.shift_remove(&key);
            }
        }
        Value::Array(list) => {
            let nothing = Value::Null;
            let items = schema.get("items").unwrap_or(&nothing);
            if items.is_object() {
                for (index, item) in list.iter_mut().enumerate() {
                    cut(items, item, &format!("{path}[{index}]"), false, unknown);
                }
            }
        }
        _ => {}
    }
}

/// Takes away nulls that may not stand where they stand and that no default replaces.
pub fn drop_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let mut drop = Vec::new();
            for (key, item) in map.iter_mut() {
                let field = match schema.get("properties").and_then(|fields| fields.get(key)) {
                    Some(field) => field,
                    None => match schema.get("additionalProperties") {
                        Some(more) if more.is_object() => more,
                        _ => continue,
                    },
                };
                if item.is_null() && field["nullable"] != true && field.get("default").is_none() {
                    drop.push(key.clone());
                } else {
                    drop_nulls(field, item);
                }
            }
            for key in drop {
                map.shift_remove(&key);
            }
        }
        Value::Array(list) if schema["items"].is_object() => {
            for item in list {
                drop_nulls(&schema["items"], item);
            }
        }
        _ => {}
    }
}

/// Fills in defaults; a null that may not be one counts as missing.
pub fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, field) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = field.get("default") {
                    let missing = match map.get(key) {
                        None => true,
                        Some(Value::Null) => field["nullable"] != true,
                        Some(_) => false,
                    };
                    if missing {
                        map.insert(key.clone(), default.clone());
                    }
                }
            }
            for (key, item) in map.iter_mut() {
                let field = match schema.get("properties").and_then(|fields| fields.get(key)) {
                    Some(field) => field,
                    None => match schema.get("additionalProperties") {
                        Some(more) => more,
                        None => continue,
                    },
                };
                default(field, item);
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                for item in list {
                    default(items, item);
                }
            }
        }
        _ => {}
    }
}

/// What is wrong with an object; `old` is what it replaces, for transition rules. `others` was found wrong before: when
/// something is wrong in its shape, rules are not looked at. Of a change of the `status` only that is looked at.
pub fn validate(
    schema: &Value,
    value: &Value,
    old: Option<&Value>,
    others: &[Cause],
    status: bool,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    match (status, value.get("status")) {
        (false, _) => check(schema, value, "", &mut causes),
        (true, None) => {}
        (true, Some(part)) => {
            check(&schema["properties"]["status"], part, "", &mut causes);
            for cause in &mut causes {
                // Messages speak of the part, fields of the whole.
                cause.field = match cause.field.as_str() {
                    "<nil>" => "status".to_owned(),
                    field => format!("status.{field}"),
                };
            }
        }
    }
    causes.extend(lists::repeated(schema, value, old));
    if !has_rules(schema) {
        return causes;
    }
    let blocks = |cause: &Cause| {
        matches!(
            cause.reason,
            "FieldValueNotSupported"
                | "FieldValueRequired"
                | "FieldValueTooLong"
                | "FieldValueTooMany"
                | "FieldValueTypeInvalid"
        )
    };
    if others.iter().chain(&causes).any(blocks) {
        causes.push(Cause::invalid(
            "<nil>",
            &Value::Null,
            "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
        ));
    } else {
        rules(schema, value, old, "", &mut causes);
    }
    causes
}

/// What is looked at whatever an object says that it is: what stands twice in its lists, and its rules.
pub fn beside_the_kind(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = lists::repeated(schema, value, old);
    rules(schema, value, old, "", &mut causes);
    causes
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            map.contains_key("x-kubernetes-validations") || map.values().any(has_rules)
        }
        _ => false,
    }
}

fn pattern(text: &str) -> Option<Arc<Regex>> {
    static KNOWN: OnceLock<Mutex<HashMap<String, Option<Arc<Regex>>>>> = OnceLock::new();
    let mut known = KNOWN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    known
        .entry(text.to_owned())
        .or_insert_with(|| Regex::new(text).ok().map(Arc::new))
        .clone()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(expected: &str, value: &Value) -> bool {
    let got = type_of(value);
    match expected {
        "number" => matches!(got, "number" | "integer"),
        "integer" => {
            got == "integer"
                || value
                    .as_f64()
                    .is_some_and(|number| number.fract() == 0.0 && got == "number")
        }
        _ => got == expected,
    }
}

/// One of those that a schema lists, if it does.
fn listed(schema: &Value, value: &Value, shown: &str, causes: &mut Vec<Cause>) {
    let allowed = schema.get("enum").and_then(Value::as_array);
    let Some(allowed) = allowed.filter(|allowed| !allowed.contains(value)) else {
        return;
    };
    let words: Vec<String> = allowed
        .iter()
        .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    causes.push(Cause::unsupported(shown, value, &words));
}

fn check(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if !schema.is_object() {
        return;
    }
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let shown = if path.is_empty() { "<nil>" } else { path };
    let invalid = |causes: &mut Vec<Cause>, why: String| {
        causes.push(Cause::invalid(
            shown,
            value,
            format!("{path} in body {why}"),
        ));
    };
    let either = schema["x-kubernetes-int-or-string"] == true;
    if either && !matches!(type_of(value), "integer" | "string") {
        let got = type_of(value);
        combined(schema, value, path, causes);
        let why = format!("{path} in body must be of type integer,string: {got:?}");
        causes.push(Cause::wrong_type(shown, &got.into(), why));
        return;
    }
    if let Some(expected) = schema["type"].as_str()
        && !either
        && !has_type(expected, value)
    {
        let got = type_of(value);
        combined(schema, value, path, causes);
        listed(schema, value, shown, causes);
        let why = format!("{path} in body must be of type {expected}: {got:?}");
        causes.push(Cause::wrong_type(shown, &got.into(), why));
        return;
    }
    listed(schema, value, shown, causes);
    match value {
        Value::Number(number) => numbers(schema, number.as_f64().unwrap_or(0.0), &mut |why| {
            invalid(causes, why);
        }),
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if let Some(max) = schema["maxLength"].as_u64()
                && length > max
            {
                causes.push(Cause {
                    reason: "FieldValueTooLong",
                    message: format!("Too long: may not be more than {max} bytes"),
                    field: shown.into(),
                });
            }
            if let Some(min) = schema["minLength"].as_u64()
                && length < min
            {
                invalid(causes, format!("should be at least {min} chars long"));
            }
            if let Some(wanted) = schema["pattern"].as_str()
                && pattern(wanted).is_some_and(|regex| !regex.is_match(text))
            {
                invalid(causes, format!("should match '{wanted}'"));
            }
            if let Some(format) = schema["format"].as_str()
                && !has_format(format, text)
            {
                let why = format!("{path} in body must be of type {format}: {text:?}");
                causes.push(Cause::wrong_type(shown, value, why));
            }
        }
        Value::Array(list) => {
            let length = list.len() as u64;
            if let Some(max) = schema["maxItems"].as_u64()
                && length > max
            {
                causes.push(Cause {
                    reason: "FieldValueTooMany",
                    message: format!("Too many: {length}: must have at most {max} items"),
                    field: shown.into(),
                });
            }
            if let Some(min) = schema["minItems"].as_u64()
                && length < min
            {
                causes.push(Cause::invalid(
                    shown,
                    &length.into(),
                    format!("{path} in body should have at least {min} items"),
                ));
            }
            for (index, item) in list.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), causes);
            }
        }
        Value::Object(map) => properties(schema, map, path, causes),
        _ => {}
    }
    combined(schema, value, path, causes);
}

fn numbers(schema: &Value, number: f64, wrong: &mut dyn FnMut(String)) {
    if let Some(max) = schema["maximum"].as_f64() {
        let exclusive = schema["exclusiveMaximum"] == true;
        if number > max || exclusive && number == max {
            let or = if exclusive { "" } else { "or equal to " };
            wrong(format!("should be less than {or}{}", schema["maximum"]));
        }
    }
    if let Some(min) = schema["minimum"].as_f64() {
        let exclusive = schema["exclusiveMinimum"] == true;
        if number < min || exclusive && number == min {
            let or = if exclusive { "" } else { "or equal to " };
            wrong(format!("should be greater than {or}{}", schema["minimum"]));
        }
    }
    if let Some(step) = schema["multipleOf"].as_f64()
        && step != 0.0
        && (number / step).fract() != 0.0
    {
        wrong(format!("should be a multiple of {}", schema["multipleOf"]));
    }
}

fn has_format(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "byte" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .is_ok()
        }
        // Formats that the API server does not know are not looked at, nor here the rarer ones.
        _ => true,
    }
}

fn properties(schema: &Value, map: &Map<String, Value>, path: &str, causes: &mut Vec<Cause>) {
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    for key in schema["required"].as_array().into_iter().flatten() {
        let key = key.as_str().unwrap_or("");
        if !map.contains_key(key) {
            causes.push(Cause::required(below(key), ""));
        }
    }
    let count = map.len() as u64;
    if let Some(max) = schema["maxProperties"].as_u64()
        && count > max
    {
        causes.push(Cause {
            reason: "FieldValueTooMany",
            message: format!("Too many: {count}: must have at most {max} items"),
            field: path.to_owned(),
        });
    }
    if let Some(min) = schema["minProperties"].as_u64()
        && count < min
    {
        causes.push(Cause::invalid(
            path,
            &Value::Object(map.clone()),
            format!("{path} in body should have at least {min} properties"),
        ));
    }
    for (key, item) in map {
        if path.is_empty() && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        match schema.get("properties").and_then(|fields| fields.get(key)) {
            Some(field) => check(field, item, &below(key), causes),
            None => check(&schema["additionalProperties"], item, &below(key), causes),
        }
    }
}

/// allOf, anyOf, oneOf, not. Such a failure is said of no field, and with it what is wrong with the nearest choice.
fn combined(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let wrong = |one: &Value| {
        let mut wrong = Vec::new();
        check(one, value, path, &mut wrong);
        wrong
    };
    let said = |why: String| Cause::invalid("<nil>", &"".into(), format!("{path:?} {why}"));
    let choices = |word: &str| -> Vec<Vec<Cause>> {
        let list = schema[word].as_array();
        list.into_iter().flatten().map(wrong).collect()
    };
    for failed in choices("allOf").into_iter().filter(|one| !one.is_empty()) {
        causes.extend(failed);
        causes.push(said("must validate all the schemas (allOf)".into()));
    }
    let any = choices("anyOf");
    if !any.is_empty() && !any.iter().any(Vec::is_empty) {
        causes.push(said("must validate at least one schema (anyOf)".into()));
        causes.extend(any.into_iter().next().unwrap_or_default());
    }
    let one = choices("oneOf");
    let valid = one.iter().filter(|wrong| wrong.is_empty()).count();
    if !one.is_empty() && valid != 1 {
        let found = if valid == 0 {
            "Found none valid".to_owned()
        } else {
            format!("Found {valid} valid alternatives")
        };
        causes.push(said(format!(
            "must validate one and only one schema (oneOf). {found}"
        )));
        if valid == 0 {
            causes.extend(one.into_iter().next().unwrap_or_default());
        }
    }
    if let Some(not) = schema.get("not")
        && wrong(not).is_empty()
    {
        causes.push(said("must not validate the schema (not)".into()));
    }
}

/// `x-kubernetes-validations`, from the root down.
fn rules(schema: &Value, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let text = rule["rule"].as_str().unwrap_or("");
        // A rule about the old value says nothing about a new object.
        if cel::mentions_old(text) && old.is_none() {
            continue;
        }
        let why = match rule["message"].as_str() {
            Some(message) => message.to_owned(),
            None => format!("failed rule: {text}"),
        };
        if schema["type"] == "object" && !value.is_object() && !value.is_null() {
            let said = match rule["message"].as_str() {
                Some(message) => message.trim().to_owned(),
                None => format!("rule: {text}"),
            };
            let why = format!(
                "invalid data, expected a map for the provided schema with type=object evaluating rule: {said}"
            );
            causes.push(Cause::invalid(path, &"object".into(), why));
            continue;
        }
        // What the evaluator does not understand is not held against the object.
        if cel::evaluate(text, value, old.unwrap_or(&Value::Null)) == Some(false) {
            let shown = if path.is_empty() { "<nil>" } else { path };
            let mut cause = Cause::invalid(shown, value, &why);
            // Of what is large only the reason is said.
            if value.is_object() || value.is_array() {
                cause.message = format!("Invalid value: {why}");
            }
            causes.push(cause);
        }
    }
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                let Some(field) = schema
                    .get("properties")
                    .and_then(|fields| fields.get(key))
                    .or_else(|| schema.get("additionalProperties"))
                else {
                    continue;
                };
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                rules(
                    field,
                    item,
                    old.and_then(|old| old.get(key)),
                    &below,
                    causes,
                );
            }
        }
        Value::Array(list) if schema["items"].is_object() => {
            for (index, item) in list.iter().enumerate() {
                // Items of a plain list have no old self.
                rules(
                    &schema["items"],
                    item,
                    None,
                    &format!("{path}[{index}]"),
                    causes,
                );
            }
        }
        _ => {}
    }
}
