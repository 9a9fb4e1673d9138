//! Looking at objects that are plain JSON: metadata, owners, selectors, conditions.

use jiff::{Timestamp, Unit};
use serde_json::{Map, Value, json};

use super::{Key, Resource};

/// Metadata of an object.
pub trait Meta {
    /// Its name.
    fn name(&self) -> &str;
    /// Its namespace; empty for what lives in none.
    fn namespace(&self) -> &str;
    /// Its UID.
    fn uid(&self) -> &str;
    /// Its resource version.
    fn resource_version(&self) -> &str;
    /// Its generation.
    fn generation(&self) -> i64;
    /// One of its labels.
    fn label(&self, name: &str) -> Option<&str>;
    /// One of its annotations.
    fn annotation(&self, name: &str) -> Option<&str>;
    /// Whether it is being deleted.
    fn deleting(&self) -> bool;
    /// Whether it carries a finalizer.
    fn has_finalizer(&self, finalizer: &str) -> bool;
    /// The owner reference that controls it.
    fn controller(&self) -> Option<&Value>;
    /// Namespace and name.
    fn key(&self) -> Key;
}

impl Meta for Value {
    fn name(&self) -> &str {
        text(&self["metadata"]["name"])
    }

    fn namespace(&self) -> &str {
        text(&self["metadata"]["namespace"])
    }

    fn uid(&self) -> &str {
        text(&self["metadata"]["uid"])
    }

    fn resource_version(&self) -> &str {
        text(&self["metadata"]["resourceVersion"])
    }

    fn generation(&self) -> i64 {
        self["metadata"]["generation"].as_i64().unwrap_or(0)
    }

    fn label(&self, name: &str) -> Option<&str> {
        self["metadata"]["labels"][name].as_str()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self["metadata"]["annotations"][name].as_str()
    }

    fn deleting(&self) -> bool {
        self["metadata"]["deletionTimestamp"].is_string()
    }

    fn has_finalizer(&self, finalizer: &str) -> bool {
        items(&self["metadata"]["finalizers"])
            .iter()
            .any(|entry| entry == finalizer)
    }

    fn controller(&self) -> Option<&Value> {
        items(&self["metadata"]["ownerReferences"])
            .iter()
            .find(|owner| owner["controller"] == true)
    }

    fn key(&self) -> Key {
        Key::new(self.namespace(), self.name())
    }
}

/// A string field; empty when it is absent.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// An array field; empty when it is absent.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An object field's entries; none when it is absent.
pub fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Gives a list item the type that lists leave out.
pub fn with_type(resource: &Resource, mut object: Value) -> Value {
    if object["kind"].is_null()
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert("apiVersion".into(), resource.api_version().into());
        fields.insert("kind".into(), resource.kind.as_ref().into());
    }
    object
}

/// The reference that makes an object a controller of another.
pub fn controller_reference(resource: &Resource, owner: &Value) -> Value {
    json!({
        "apiVersion": resource.api_version(),
        "kind": resource.kind,
        "name": owner.name(),
        "uid": owner.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// Whether an object is controlled by the owner with this UID.
pub fn is_controlled_by(object: &Value, uid: &str) -> bool {
    object.controller().is_some_and(|owner| owner["uid"] == uid)
}

/// The key of the controller of an object when it is of this kind.
pub fn controller_key(object: &Value, resource: &Resource) -> Option<Key> {
    object
        .controller()
        .filter(|owner| {
            owner["kind"] == resource.kind.as_ref()
                && text(&owner["apiVersion"])
                    .split('/')
                    .next()
                    .is_some_and(|group| resource.group.is_empty() || group == resource.group)
        })
        .map(|owner| {
            Key::new(
                if resource.namespaced {
                    object.namespace()
                } else {
                    ""
                },
                text(&owner["name"]),
            )
        })
}

/// Whether labels match a `LabelSelector`. A missing selector matches nothing, an empty one everything.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    if !selector.is_object() {
        return false;
    }
    matches_labels(&selector["matchLabels"], labels)
        && items(&selector["matchExpressions"]).iter().all(|term| {
            let actual = labels[text(&term["key"])].as_str();
            let values = items(&term["values"]);
            match text(&term["operator"]) {
                "In" => actual.is_some_and(|label| values.iter().any(|value| value == label)),
                "NotIn" => !actual.is_some_and(|label| values.iter().any(|value| value == label)),
                "Exists" => actual.is_some(),
                "DoesNotExist" => actual.is_none(),
                _ => false,
            }
        })
}

/// Whether labels hold every entry of a plain map.
pub fn matches_labels(wanted: &Value, labels: &Value) -> bool {
    entries(wanted).all(|(name, value)| labels[name] == *value)
}

/// An object's condition of a type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&object["status"]["conditions"])
        .iter()
        .find(|condition| condition["type"] == kind)
}

/// Whether a condition is `True`.
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Sets a condition in a list; its transition time changes only with its status.
pub fn set_condition(conditions: &mut Vec<Value>, mut new: Value) {
    let now = now();
    match conditions
        .iter_mut()
        .find(|condition| condition["type"] == new["type"])
    {
        Some(old) => {
            new["lastTransitionTime"] = if old["status"] == new["status"] {
                old["lastTransitionTime"].clone()
            } else {
                now.into()
            };
            if new["lastTransitionTime"].is_null() {
                new["lastTransitionTime"] = self::now().into();
            }
            *old = new;
        }
        None => {
            new["lastTransitionTime"] = now.into();
            conditions.push(new);
        }
    }
}

/// Whether a pod is ready.
pub fn pod_ready(pod: &Value) -> bool {
    is_true(pod, "Ready")
}

/// Whether a pod has run to its end.
pub fn pod_finished(pod: &Value) -> bool {
    matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed")
}

/// Whether a pod counts: neither finished nor being deleted.
pub fn pod_active(pod: &Value) -> bool {
    !pod_finished(pod) && !pod.deleting()
}

/// Now, as Kubernetes writes times: whole seconds.
pub fn now() -> String {
    Timestamp::now()
        .round(Unit::Second)
        .unwrap_or_default()
        .to_string()
}

/// Now, as leases write times: microseconds.
pub fn now_micro() -> String {
    format!("{:.6}", Timestamp::now())
}

/// Reads a time.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The seconds from a time to now; negative when the time lies ahead.
pub fn seconds_since(value: &Value) -> Option<f64> {
    let then = time(value)?;
    Some((Timestamp::now().as_millisecond() - then.as_millisecond()) as f64 / 1000.0)
}

/// FNV-1a, 64 bits: stable from run to run, as names made of it have to be.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Kubernetes' alphabet for generated names: no vowels and no look-alikes, so that no words come out.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A hash as a generated part of a name, `length` characters long.
pub fn safe_hash(text: &str, length: usize) -> String {
    let mut rest = hash(text);
    (0..length)
        .map(|_| {
            let letter = SAFE[(rest % SAFE.len() as u64) as usize];
            rest /= SAFE.len() as u64;
            char::from(letter)
        })
        .collect()
}

/// A canonical form: keys sorted, nulls left out. Equal values have equal text.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            let mut sorted = Map::new();
            for name in names {
                if !fields[name].is_null() {
                    sorted.insert(name.clone(), canonical(&fields[name]));
                }
            }
            Value::Object(sorted)
        }
        Value::Array(values) => values.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

/// Whether two values are equal, whatever the order of their keys.
pub fn same(left: &Value, right: &Value) -> bool {
    canonical(left) == canonical(right)
}

/// A number that may be a percentage of `total`, as `maxSurge` is.
pub fn int_or_percent(value: &Value, total: i64, round_up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let percent: i64 = text(value)
        .trim_end_matches('%')
        .parse()
        .unwrap_or_default();
    let scaled = percent * total;
    if round_up {
        (scaled + 99) / 100
    } else {
        scaled / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_the_api_server_says() {
        let labels = json!({ "app": "a", "tier": "web" });
        assert!(selects(&json!({}), &labels));
        assert!(!selects(&Value::Null, &labels));
        assert!(selects(&json!({ "matchLabels": { "app": "a" } }), &labels));
        let expressions = json!({ "matchExpressions": [
            { "key": "tier", "operator": "In", "values": ["web"] },
            { "key": "gone", "operator": "DoesNotExist" },
            { "key": "gone", "operator": "NotIn", "values": ["x"] },
        ] });
        assert!(selects(&expressions, &labels));
    }

    #[test]
    fn a_transition_time_changes_only_with_the_status() {
        let mut conditions = vec![
            json!({ "type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z" }),
        ];
        set_condition(
            &mut conditions,
            json!({ "type": "Ready", "status": "True", "reason": "Still" }),
        );
        assert_eq!(conditions[0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        set_condition(
            &mut conditions,
            json!({ "type": "Ready", "status": "False" }),
        );
        assert_ne!(conditions[0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
    }
}
