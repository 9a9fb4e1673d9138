//! Who set a field of an object, from what the API server keeps of its managers.

use serde_json::Value;

use super::FIELD_MANAGER;
use super::drift::Part;

/// Who set a field, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setter {
    /// The field manager: `kubectl-edit`.
    pub manager: String,
    /// The API server's time, which it does not keep of a scale.
    pub time: Option<String>,
}

/// Who, other than we, set the field last. None where that is not known: of a field that was taken away nothing is kept.
pub(super) fn set_by(live: &Value, path: &[Part]) -> Option<Setter> {
    let entries = live["metadata"]["managedFields"].as_array()?;
    entries
        .iter()
        .filter_map(|entry| {
            let manager = entry["manager"]
                .as_str()
                .filter(|name| *name != FIELD_MANAGER)?;
            holds(&entry["fieldsV1"], live, path).then(|| Setter {
                manager: manager.to_owned(),
                time: entry["time"].as_str().map(str::to_owned),
            })
        })
        .max_by(|one, other| one.time.cmp(&other.time))
}

/// Whether a set of fields holds the one at the end of the path, which leads there from `value`.
fn holds(fields: &Value, value: &Value, path: &[Part]) -> bool {
    let Some((part, rest)) = path.split_first() else {
        return true;
    };
    let Some(members) = fields.as_object() else {
        return false;
    };
    // What has no members here is owned as a whole.
    if members.is_empty() {
        return true;
    }
    let item = match part {
        Part::Field(name) => &value[name],
        Part::Index(index) => &value[index],
        Part::Named(name) => value
            .as_array()
            .and_then(|items| items.iter().find(|item| item["name"] == **name))
            .unwrap_or(&Value::Null),
    };
    let found = members
        .iter()
        .find(|(key, _)| match (part, key.split_once(':')) {
            (Part::Field(name), Some(("f", field))) => field == name,
            (Part::Index(index), Some(("i", position))) => position.parse() == Ok(*index),
            (Part::Index(_) | Part::Named(_), Some(("k", key))) => {
                serde_json::from_str::<Value>(key).is_ok_and(|key| is_keyed(item, &key))
            }
            (Part::Index(_) | Part::Named(_), Some(("v", text))) => {
                serde_json::from_str::<Value>(text).is_ok_and(|text| text == *item)
            }
            _ => false,
        });
    found.is_some_and(|(_, fields)| holds(fields, item, rest))
}

/// Whether an item of a list has these keys: `{"containerPort":8080,"protocol":"TCP"}`.
fn is_keyed(item: &Value, keys: &Value) -> bool {
    let mut members = keys.as_object().into_iter().flatten();
    members.all(|(name, value)| item[name] == *value)
}
