//! JSON patch, merge patch and strategic merge patch.

mod json;
mod strategic;

use serde_json::{Map, Value};

pub use json::{apply, json};
pub use strategic::strategic;

/// RFC 7386, with the library's own way of taking nulls out of what is new: out of lists, and out of lists of lists.
pub fn merge(object: &mut Value, patch: &Value) {
    match (object, patch) {
        (Value::Object(map), Value::Object(patch)) => {
            for (key, value) in patch {
                match map.get_mut(key) {
                    _ if value.is_null() => drop(map.shift_remove(key)),
                    Some(place) => merge(place, value),
                    None => drop(map.insert(key.clone(), pruned(value))),
                }
            }
        }
        // What takes the place of a whole object is taken as it is.
        (object @ Value::Object(_), patch) => *object = patch.clone(),
        (object, patch) => *object = pruned(patch),
    }
}

/// Without the nulls that stand at keys.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, item)| !item.is_null());
            let kept: Map<_, _> = kept
                .map(|(key, item)| (key.clone(), pruned(item)))
                .collect();
            kept.into()
        }
        Value::Array(list) => list.iter().map(pruned).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resources::builtin_schema;
    use super::super::status::Result;
    use super::*;

    fn pod(mut object: Value, mut patch: Value) -> Result<Value> {
        let schema = builtin_schema("v1", "Pod").expect("pods are known");
        strategic(&schema, &mut object, &mut patch).map(|()| object)
    }

    #[test]
    fn a_list_that_was_not_there_is_taken_without_its_directives() {
        let patch = json!({"status": {
            "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.1"}],
            "gone": {"$patch": "delete"},
        }});
        let patched = pod(json!({"status": {}}), patch).expect("a patch");
        assert_eq!(patched, json!({"status": {"podIPs": [{"ip": "10.0.0.1"}]}}));
    }

    #[test]
    fn a_directive_that_nobody_knows_is_refused_where_there_is_something_to_do() {
        let live = json!({"metadata": {"labels": {"a": "b"}}});
        for (directive, said) in [
            (json!("explode"), "explode"),
            (json!(1), "%!s(int64=1)"),
            (json!(null), "%!s(<nil>)"),
        ] {
            let refused = pod(live.clone(), json!({"metadata": {"$patch": directive}}));
            let refused = refused.expect_err("an unknown directive");
            let shown = super::super::typed::go(&directive);
            let why = format!("unknown patch type: {said} in map: map[$patch:{shown}]");
            assert_eq!((refused.code, refused.message), (500, why));
            // Where there is nothing it goes, but for one that is null: what held it stays, without it.
            let mut expected = live.clone();
            if directive.is_null() {
                expected["spec"] = json!({});
            }
            let nowhere = json!({"spec": {"$patch": directive}});
            assert_eq!(pod(live.clone(), nowhere).expect("nothing"), expected);
        }
    }

    #[test]
    fn nulls_stay_out_of_what_is_new() {
        let mut object = json!({"there": {"a": 1}, "text": "x"});
        merge(
            &mut object,
            &json!({"there": [{"b": null}], "text": [{"c": null}, null], "new": {"d": [{"e": null}]}}),
        );
        let merged = json!({"there": [{"b": null}], "text": [{}, null], "new": {"d": [{}]}});
        assert_eq!(object, merged);
    }
}
