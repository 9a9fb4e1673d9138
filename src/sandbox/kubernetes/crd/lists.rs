//! Lists whose items are to differ from each other: sets, and maps by some of their fields.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::super::status::Cause;

/// What stands twice in the lists of an object. A change is not held against an object that had such items before.
pub fn repeated(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    walk(schema, value, "", &mut causes);
    if let Some(old) = old.filter(|_| !causes.is_empty()) {
        let mut before = Vec::new();
        walk(schema, old, "", &mut before);
        if !before.is_empty() {
            causes.clear();
        }
    }
    causes
}

fn walk(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    match value {
        Value::Object(map) => {
            let additional = &schema["additionalProperties"];
            for (key, item) in map {
                if let Some(field) = schema["properties"].get(key) {
                    let below = match path {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    walk(field, item, &below, causes);
                } else if additional.is_object() {
                    walk(additional, item, &format!("{path}[{key}]"), causes);
                }
            }
        }
        Value::Array(list) => {
            match schema["x-kubernetes-list-type"].as_str() {
                Some("set") => {
                    for index in twice(list) {
                        causes.push(Cause::duplicate(format!("{path}[{index}]"), &list[index]));
                    }
                }
                Some("map") => keyed(schema, list, path, causes),
                _ => {}
            }
            if schema["items"].is_object() {
                for (index, item) in list.iter().enumerate() {
                    walk(&schema["items"], item, &format!("{path}[{index}]"), causes);
                }
            }
        }
        _ => {}
    }
}

fn keyed(schema: &Value, list: &[Value], path: &str, causes: &mut Vec<Cause>) {
    let odd = |item: &Value| !item.is_object() && !item.is_null();
    if let Some(index) = list.iter().position(odd) {
        return causes.push(Cause::invalid(
            format!("{path}[{index}]"),
            &list[index],
            "must be an object for an array of list-type map",
        ));
    }
    let keys = schema["x-kubernetes-list-map-keys"].as_array();
    let keys: Vec<&str> = keys
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    // Of an item only what tells it apart, which may be nothing.
    let ids: Vec<Value> = list
        .iter()
        .map(|item| {
            let id = keys
                .iter()
                .filter_map(|key| Some(((*key).to_owned(), item.get(*key)?.clone())));
            id.collect::<Map<_, _>>().into()
        })
        .collect();
    for index in twice(&ids) {
        causes.push(Cause::duplicate(format!("{path}[{index}]"), &ids[index]));
    }
}

/// Where a value stands for the second time.
fn twice(list: &[Value]) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let mut item = item.clone();
        item.sort_all_objects();
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            found.push(index);
        }
    }
    found
}
