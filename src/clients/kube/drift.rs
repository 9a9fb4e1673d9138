//! What differs between an object and what applying its manifest would make of it.

use serde_json::{Map, Value};

/// What the API server keeps for itself; none of it is wanted or unwanted.
const BOOKKEEPING: [&str; 7] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "uid",
    "selfLink",
];
/// More paths than these are only counted.
const SHOWN: usize = 3;

/// The paths that differ, in words: `spec.replicas, spec.template.spec.containers[0].image`. None when nothing does.
pub fn difference(live: &Value, wanted: &Value) -> Option<String> {
    let mut paths = Vec::new();
    compare(
        &meaning(live),
        &meaning(wanted),
        &mut String::new(),
        &mut paths,
    );
    if paths.is_empty() {
        return None;
    }
    let more = paths.len().saturating_sub(SHOWN);
    paths.truncate(SHOWN);
    let mut text = paths.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    Some(text)
}

fn meaning(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| !BOOKKEEPING.contains(&name.as_str()));
        }
    }
    object
}

fn compare(live: &Value, wanted: &Value, path: &mut String, paths: &mut Vec<String>) {
    let length = path.len();
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for name in names(live, wanted) {
                let (one, other) = (live.get(name), wanted.get(name));
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                compare(
                    one.unwrap_or(&Value::Null),
                    other.unwrap_or(&Value::Null),
                    path,
                    paths,
                );
                path.truncate(length);
            }
        }
        (Value::Array(live), Value::Array(wanted)) if live.len() == wanted.len() => {
            for (index, (one, other)) in live.iter().zip(wanted).enumerate() {
                path.push_str(&format!("[{index}]"));
                compare(one, other, path, paths);
                path.truncate(length);
            }
        }
        (one, other) if one == other => {}
        _ => paths.push(path.clone()),
    }
}

fn names<'a>(one: &'a Map<String, Value>, other: &'a Map<String, Value>) -> Vec<&'a String> {
    one.keys()
        .chain(other.keys().filter(|name| !one.contains_key(*name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bookkeeping_and_status_are_no_drift() {
        let live = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "7", "managedFields": []},
            "spec": {"replicas": 2}, "status": {"replicas": 1}});
        let wanted = json!({"metadata": {"name": "a", "uid": "1", "resourceVersion": "8"}, "spec": {"replicas": 2}});
        assert_eq!(difference(&live, &wanted), None);
    }

    #[test]
    fn drift_is_told_by_path_and_long_lists_are_cut() {
        let live = json!({"spec": {"replicas": 1, "containers": [{"image": "a"}], "x": 1, "y": 1}});
        let wanted =
            json!({"spec": {"replicas": 2, "containers": [{"image": "b"}], "x": 2, "y": 2}});
        assert_eq!(
            difference(&live, &wanted).as_deref(),
            Some("spec.replicas, spec.containers[0].image, spec.x and 1 more")
        );
    }
}
