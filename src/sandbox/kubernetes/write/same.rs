//! Whether a change changes anything.

use serde_json::Value;

use super::super::object;
use super::super::resources::Resource;
use super::super::schema::{Schema, Shape};

/// Whether nothing but the times of managers differs.
pub(super) fn same(resource: &Resource, old: &Value, new: &Value) -> bool {
    let plain = |object: &Value| -> Value {
        let mut object = object.clone();
        let managers = object["metadata"]["managedFields"].as_array_mut();
        for manager in managers.into_iter().flatten() {
            object::remove(manager, "time");
        }
        object
    };
    let (old, new) = (plain(old), plain(new));
    match resource.custom {
        Some(_) => old == new,
        None => alike(Some(resource.schema().as_ref()), &old, &new),
    }
}

/// Whether two values are one in Go, where a list or a map without anything in it is as good as none.
fn alike(schema: Option<&Schema>, a: &Value, b: &Value) -> bool {
    let listed = |value: &Value| matches!(value, Value::Array(list) if list.is_empty());
    let mapped = |value: &Value| matches!(value, Value::Object(map) if map.is_empty());
    match (schema.map(|schema| &schema.shape), a, b) {
        (_, Value::Array(a), Value::Array(b)) => {
            let items = schema.and_then(Schema::items).map(|items| items.as_ref());
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(items, a, b))
        }
        (_, Value::Object(left), Value::Object(right)) => {
            let below = |key: &String| match schema.map(|schema| &schema.shape) {
                Some(Shape::Struct(_, fields)) => fields.get(key).map(|field| &**field),
                Some(Shape::Map(values)) => Some(&**values),
                _ => None,
            };
            // Each key once: twice at every level is two to the power of the depth.
            let more = right.keys().filter(|key| !left.contains_key(*key));
            left.keys().chain(more).all(|key| {
                let (a, b) = (left.get(key), right.get(key));
                let none = &Value::Null;
                alike(below(key), a.unwrap_or(none), b.unwrap_or(none))
            })
        }
        (Some(Shape::List(_)), Value::Null, other) | (Some(Shape::List(_)), other, Value::Null) => {
            other.is_null() || listed(other)
        }
        (Some(Shape::Map(_)), Value::Null, other) | (Some(Shape::Map(_)), other, Value::Null) => {
            other.is_null() || mapped(other)
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deep_values_are_compared_once() {
        let nested =
            |innermost: Value| (0..64).fold(innermost, |below, _| json!({ "below": below }));
        assert!(alike(None, &nested(json!(1)), &nested(json!(1))));
        assert!(!alike(None, &nested(json!(1)), &nested(json!(2))));
        assert!(!alike(
            None,
            &nested(json!({})),
            &nested(json!({"more": 1}))
        ));
    }
}
