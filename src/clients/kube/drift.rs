//! What differs between an object and what applying its manifest would make of it, and who made it differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::owner::set_by;

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
/// More fields than these are only counted.
const SHOWN: usize = 3;
/// Longer values are not shown.
const LONG: usize = 60;
/// Below these, values may be secret, or say nothing to people.
const SILENT: [&str; 4] = ["env", "data", "stringData", "caBundle"];

/// One step of the way to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A member of an object.
    Field(String),
    /// An item of a list, by its `name`.
    Named(String),
    /// An item of a list without names.
    Index(usize),
}

/// A field that differs.
struct Difference<'a> {
    path: Vec<Part>,
    live: Option<&'a Value>,
    wanted: Option<&'a Value>,
}

/// What differs, a line for each field: its path, what it is and what it would become, and who set it to that, when that
/// was somebody else: `.spec.replicas: 5 → 2 (kubectl-edit set 5 at 2026-11-21T12:03:04Z)`. Empty when nothing does.
pub fn difference(live: &Value, wanted: &Value) -> Vec<String> {
    let (is, becomes) = (meaning(live), meaning(wanted));
    let mut found = Vec::new();
    compare(Some(&is), Some(&becomes), &mut Vec::new(), &mut found);
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    let mut lines: Vec<String> = found.iter().map(|one| line(live, one)).collect();
    match more {
        0 => {}
        1 => lines.push("1 more field".into()),
        more => lines.push(format!("{more} more fields")),
    }
    lines
}

fn line(live: &Value, difference: &Difference<'_>) -> String {
    let path = &difference.path;
    let is_silent = live["kind"] == "Secret"
        || path.iter().any(|part| match part {
            Part::Field(name) => SILENT.contains(&name.as_str()),
            _ => false,
        });
    let shown = |value: Option<&Value>| match value {
        None => Some("none".to_owned()),
        Some(_) if is_silent => None,
        Some(Value::String(text)) if text.len() <= LONG => Some(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
        Some(_) => None,
    };
    let mut line = words(path);
    let is = shown(difference.live);
    if let (Some(is), Some(becomes)) = (&is, shown(difference.wanted)) {
        line.push_str(&format!(": {is} → {becomes}"));
    } else if difference.live.is_none() {
        line.push_str(" is missing");
    } else {
        line.push_str(" differs");
    }
    if let Some(setter) = set_by(live, path) {
        let what = match is {
            Some(is) if difference.live.is_some() => is,
            _ => "it".to_owned(),
        };
        line.push_str(&format!(" ({} set {what}", setter.manager));
        if let Some(time) = setter.time {
            line.push_str(&format!(" at {time}"));
        }
        line.push(')');
    }
    line
}

/// A path as the API server writes it in a conflict: `.spec.template.spec.containers[name="app"].image`.
fn words(path: &[Part]) -> String {
    path.iter()
        .map(|part| match part {
            Part::Field(name) => format!(".{name}"),
            Part::Named(name) => format!("[name=\"{name}\"]"),
            Part::Index(index) => format!("[{index}]"),
        })
        .collect()
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

fn compare<'a>(
    live: Option<&'a Value>,
    wanted: Option<&'a Value>,
    path: &mut Vec<Part>,
    found: &mut Vec<Difference<'a>>,
) {
    let whole = (live, wanted);
    let mut each = |part, live, wanted| {
        path.push(part);
        compare(live, wanted, path, found);
        path.pop();
    };
    match (live, wanted) {
        (Some(Value::Object(live)), Some(Value::Object(wanted))) => {
            for name in names(live, wanted) {
                each(Part::Field(name.clone()), live.get(name), wanted.get(name));
            }
        }
        (Some(Value::Array(live)), Some(Value::Array(wanted))) => {
            if let (Some(one), Some(other)) = (named(live), named(wanted)) {
                let of = |all: &[(&str, &'a Value)], name: &str| {
                    all.iter()
                        .find(|(other, _)| *other == name)
                        .map(|(_, item)| *item)
                };
                let only_there = other.iter().filter(|(name, _)| of(&one, name).is_none());
                for (name, _) in one.iter().chain(only_there) {
                    each(
                        Part::Named((*name).to_owned()),
                        of(&one, name),
                        of(&other, name),
                    );
                }
            } else if live.len() == wanted.len() {
                for (index, (one, other)) in live.iter().zip(wanted).enumerate() {
                    each(Part::Index(index), Some(one), Some(other));
                }
            } else {
                found.push(Difference {
                    path: path.clone(),
                    live: whole.0,
                    wanted: whole.1,
                });
            }
        }
        (one, other) if one == other => {}
        (live, wanted) => found.push(Difference {
            path: path.clone(),
            live,
            wanted,
        }),
    }
}

/// The items by their names, where all have one of their own.
fn named(items: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let named: Option<Vec<(&str, &Value)>> = items
        .iter()
        .map(|item| Some((item["name"].as_str()?, item)))
        .collect();
    let names: BTreeSet<&str> = named.iter().flatten().map(|(name, _)| *name).collect();
    named.filter(|_| names.len() == items.len() && !items.is_empty())
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
        assert!(difference(&live, &wanted).is_empty());
    }

    #[test]
    fn drift_is_told_by_path_with_both_values_and_long_lists_are_cut() {
        let live = json!({"spec": {"replicas": 1, "containers": [{"name": "app", "image": "a"}], "x": 1, "y": 1}});
        let wanted = json!({"spec": {"replicas": 2, "containers": [{"name": "app", "image": "b"}, {"name": "more"}], "y": 2}});
        assert_eq!(
            difference(&live, &wanted),
            [
                ".spec.replicas: 1 → 2",
                ".spec.containers[name=\"app\"].image: a → b",
                ".spec.containers[name=\"more\"] is missing",
                "2 more fields",
            ]
        );
    }

    #[test]
    fn who_set_a_field_is_told_and_what_may_be_secret_is_not() {
        let entry = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields});
        let image =
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {".": {}, "f:image": {}}}}});
        let live = json!({
            "metadata": {"managedFields": [
                entry("meshctl", "2026-11-21T10:00:00Z", json!({"f:spec": {"f:replicas": {}}})),
                entry("kubectl-edit", "2026-11-21T12:03:04Z", json!({"f:spec": {"f:replicas": {}}})),
                entry("argo", "2026-11-21T11:00:00Z", image.clone()),
                entry("flux", "2026-11-21T12:00:00Z", image),
                entry("kubectl", "2026-11-21T13:00:00Z", json!({"f:data": {"f:key": {}}})),
            ]},
            "spec": {"replicas": 5, "containers": [{"name": "app", "image": "a"}]},
            "data": {"key": "c2VjcmV0"},
        });
        let wanted = json!({"metadata": {}, "spec": {"replicas": 2, "containers": [{"name": "app", "image": "b"}]}, "data": {"key": "eA=="}});
        assert_eq!(
            difference(&live, &wanted),
            [
                ".spec.replicas: 5 → 2 (kubectl-edit set 5 at 2026-11-21T12:03:04Z)",
                ".spec.containers[name=\"app\"].image: a → b (flux set a at 2026-11-21T12:00:00Z)",
                ".data.key differs (kubectl set it at 2026-11-21T13:00:00Z)",
            ]
        );
    }
}
