//! Whether a configuration fits its schema, in the words of upstream's merger.

use serde_json::Value;

use super::fields::identity;
use super::schema::{ListType, Schema, Shape};

/// What keeps a configuration from being merged: unknown fields, wrong types, two items that are the same.
pub fn check(schema: &Schema, value: &Value) -> Result<(), String> {
    said(schema, value, |_| true)
}

/// What keeps an object that is there from being merged into. It may have the same item twice.
pub fn check_live(schema: &Schema, value: &Value) -> Result<(), String> {
    said(schema, value, |why| !why.contains(DUPLICATE))
}

/// What is said of items that are the same.
const DUPLICATE: &str = ": duplicate entries for key ";

fn said(schema: &Schema, value: &Value, counts: fn(&str) -> bool) -> Result<(), String> {
    let mut wrong = Vec::new();
    visit(schema, value, "", &mut wrong);
    wrong.retain(|why| counts(why));
    wrong.sort();
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn visit(schema: &Schema, value: &Value, path: &str, wrong: &mut Vec<String>) {
    match (&schema.shape, value) {
        (Shape::Struct(_, fields), Value::Object(map)) => {
            for (key, item) in map {
                match fields.get(key) {
                    Some(field) => visit(field, item, &format!("{path}.{key}"), wrong),
                    None if schema.preserve => {}
                    None => wrong.push(format!("{path}.{key}: field not declared in schema")),
                }
            }
        }
        (Shape::Map(values), Value::Object(map)) => {
            for (key, item) in map {
                visit(values, item, &format!("{path}.{key}"), wrong);
            }
        }
        (Shape::List(items), Value::Array(list)) => {
            let mut seen = Vec::new();
            for (index, item) in list.iter().enumerate() {
                let mut place = format!("[{index}]");
                let why = match (&schema.list, item) {
                    (ListType::Set, Value::Object(_)) => {
                        Some("associative list without keys has an element that's a map type")
                    }
                    (ListType::Set, Value::Array(_)) => {
                        Some("not supported: associative list with lists as elements")
                    }
                    (ListType::Set, Value::Null) => {
                        Some("associative list without keys has an element that's an explicit null")
                    }
                    _ => None,
                };
                if let Some(why) = why {
                    wrong.push(format!("{path}: element {index}: {why}"));
                    break;
                }
                if let Some(element) = identity(schema, item) {
                    place = element.shown();
                    if seen.contains(&element) {
                        wrong.push(format!("{path}{DUPLICATE}{place}"));
                    }
                    seen.push(element);
                } else if let ListType::Map(keys) = &schema.list {
                    let why = match item {
                        Value::Object(_) => {
                            let keys: Vec<String> =
                                keys.iter().map(|key| format!("{key:?}")).collect();
                            format!(
                                "has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                                keys.join(" ")
                            )
                        }
                        Value::Null => "may not have a null element".to_owned(),
                        _ => "may not have non-map elements".to_owned(),
                    };
                    wrong.push(format!(
                        "{path}: element {index}: associative list with keys {why}"
                    ));
                    // Nothing behind it is looked at.
                    break;
                }
                visit(items, item, &format!("{path}{place}"), wrong);
            }
        }
        (Shape::Bool, Value::Bool(_))
        | (Shape::Integer(_) | Shape::Number, Value::Number(_))
        | (Shape::String(_), Value::String(_))
        | (
            Shape::String("quantity") | Shape::IntOrString,
            Value::Bool(_) | Value::Number(_) | Value::String(_),
        )
        | (Shape::Any, _)
        | (_, Value::Null) => {}
        (shape, _) => {
            let why = match shape {
                Shape::Bool => format!("expected boolean, got {}", got(value)),
                Shape::Integer(_) | Shape::Number => {
                    format!("expected numeric (int or float), got {}", go_type(value))
                }
                Shape::String("quantity") | Shape::IntOrString => {
                    format!("expected any scalar, got {}", got(value))
                }
                Shape::String(_) => format!(
                    "expected string, got &value.valueUnstructured{{Value:{}}}",
                    go_syntax(value)
                ),
                Shape::List(_) => format!("expected list, got {}", got(value)),
                _ => format!("expected map, got {}", got(value)),
            };
            wrong.push(format!("{path}: {why}"));
        }
    }
}

/// The type that a value of JSON has in Go.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn go_syntax(value: &Value) -> String {
    match value {
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(go_syntax).collect();
            format!("{}{{{}}}", go_type(value), items.join(", "))
        }
        Value::Object(map) => {
            let mut items: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key:?}:{}", go_syntax(value)))
                .collect();
            items.sort();
            format!("{}{{{}}}", go_type(value), items.join(", "))
        }
        Value::Null => "interface {}(nil)".into(),
        other => other.to_string(),
    }
}

/// A value as Go prints what is inside the merger.
fn got(value: &Value) -> String {
    format!("&{{{}}}", go(value))
}

/// A value as Go's `%v` prints it.
pub fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(go).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let items: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{key}:{}", go(&map[key])))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}
