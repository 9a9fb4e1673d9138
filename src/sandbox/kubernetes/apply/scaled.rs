//! Who owns the replicas of an object, as its scale shows it.
//!
//! The scale has a record of its own, made from the object's: who owns the replicas owns those of the scale, and where
//! nobody is known to own them nobody is recorded. Back in the object's record they belong to an entry of their own, without
//! a time, even if nothing changed; beside another entry of the same manager it is lost with the next write. An applier is
//! known by the same name in both records, since that says no version, and its entry stays.

use serde_json::Value;

use super::super::fields::{Element, FieldSet};
use super::super::object;
use super::{Manager, Writer, read, write};

/// The version that scales have.
pub const VERSION: &str = "autoscaling/v1";

/// Where a scale has its replicas.
const REPLICAS: &str = "spec.replicas";

fn place(path: &str) -> FieldSet {
    let mut set = FieldSet::default();
    path.split('.')
        .fold(&mut set, |set, name| {
            set.child(Element::Field(name.to_owned()))
        })
        .member = true;
    set
}

fn owns(manager: &Manager, place: &FieldSet) -> bool {
    !manager.fields.intersection(place).is_empty()
}

/// Who owns the replicas of an object, in the words of its scale.
fn scalers(object: &Value, path: &str) -> Vec<Manager> {
    let replicas = place(path);
    read(object)
        .into_iter()
        .filter(|manager| owns(manager, &replicas))
        .map(|manager| Manager {
            fields: place(REPLICAS),
            api_version: VERSION.to_owned(),
            ..manager
        })
        .collect()
}

/// The record of an object's scale, whose replicas the object has at a path.
pub fn record(object: &Value, path: &str) -> Value {
    let mut scale = serde_json::json!({"metadata": {}});
    write(&mut scale, scalers(object, path));
    scale["metadata"]["managedFields"].take()
}

/// Brings the record of a written scale back into that of its object.
pub fn settle(old: &Value, new: &mut Value, scale: &Value, api_version: &str, path: &str) {
    back(old, new, read(scale), api_version, path);
}

fn back(old: &Value, new: &mut Value, mut scalers: Vec<Manager>, api_version: &str, path: &str) {
    let replicas = place(path);
    let mut managers = read(old);
    for manager in managers.iter_mut().filter(|one| owns(one, &replicas)) {
        match scalers.iter().position(|one| one.is(manager)) {
            Some(place) => drop(scalers.remove(place)),
            None => manager.fields.subtract(&replicas),
        }
    }
    let shown = place(REPLICAS);
    let taken = scalers.into_iter().filter(|one| owns(one, &shown));
    managers.extend(taken.map(|one| Manager {
        fields: replicas.clone(),
        api_version: api_version.to_owned(),
        time: None,
        ..one
    }));
    write(new, managers);
}

/// Who owns the replicas of a scale after a write that is no apply.
fn owners(old: &Value, new: &Value, writer: &Writer<'_>, path: &str) -> Vec<Manager> {
    let mut owners = scalers(old, path);
    if !owners.is_empty() && object::at(old, path) != object::at(new, path) {
        owners.clear();
        // A scale of zero has no replicas that anybody could own.
        if object::at(new, path).and_then(Value::as_i64) != Some(0) {
            owners.push(Manager {
                name: writer.manager.to_owned(),
                operation: "Update",
                api_version: VERSION.to_owned(),
                subresource: writer.subresource.to_owned(),
                time: Some(object::now()),
                fields: place(REPLICAS),
            });
        }
    }
    owners
}

/// The record of a scale after a write that is no apply.
pub fn tracked(old: &Value, new: &Value, writer: &Writer<'_>, path: &str) -> Value {
    let mut scale = serde_json::json!({"metadata": {}});
    write(&mut scale, owners(old, new, writer, path));
    scale["metadata"]["managedFields"].take()
}

/// Records a write to the scale of an object that is no apply.
pub fn track(old: &Value, new: &mut Value, writer: &Writer<'_>, path: &str) {
    let owners = owners(old, new, writer, path);
    back(old, new, owners, writer.api_version, path);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_owned_the_replicas_of_a_scale_loses_them_with_the_write_after_next() {
        let entry = |manager: &str, subresource: &str, time: Option<&str>, fields: Value| {
            let mut entry =
                json!({"manager": manager, "operation": "Update", "apiVersion": "apps/v1"});
            if let Some(time) = time {
                entry["time"] = time.into();
            }
            entry["fieldsType"] = "FieldsV1".into();
            entry["fieldsV1"] = fields;
            if !subresource.is_empty() {
                entry["subresource"] = subresource.into();
            }
            entry
        };
        let (replicas, paused) = (json!({"f:replicas": {}}), json!({"f:paused": {}}));
        let both = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
        let object = |replicas: i64, managers: Value| json!({"metadata": {"managedFields": managers}, "spec": {"replicas": replicas}});
        let time = Some("2026-01-01T00:00:00Z");
        let scaled = |old: &Value, replicas: i64, manager: &str| {
            let mut new = object(replicas, Value::Null);
            let writer = Writer {
                manager,
                api_version: "apps/v1",
                subresource: "scale",
            };
            track(old, &mut new, &writer, "spec.replicas");
            new
        };
        // These are what a real server answered.
        let made = object(1, json!([entry("m", "", time, both)]));
        let rest = entry("m", "", time, json!({"f:spec": paused}));
        let unchanged = scaled(&made, 1, "other");
        let alone = entry("m", "", None, json!({"f:spec": replicas}));
        assert_eq!(unchanged["metadata"]["managedFields"], json!([alone, rest]));
        let twice = scaled(&unchanged, 1, "m");
        assert_eq!(twice["metadata"]["managedFields"], json!([rest]));
        let untracked = scaled(&twice, 2, "m");
        assert_eq!(untracked["metadata"]["managedFields"], json!([rest]));
        let changed = scaled(&made, 2, "other");
        let new = entry("other", "scale", None, json!({"f:spec": replicas}));
        assert_eq!(changed["metadata"]["managedFields"], json!([new, rest]));
        let none = scaled(&made, 0, "other");
        assert_eq!(none["metadata"]["managedFields"], json!([rest]));
    }

    #[test]
    fn who_applies_a_scale_has_its_replicas_once_in_the_record() {
        let entry = |manager: &str, subresource: &str, operation: &str, fields: Value| {
            let mut entry = json!({
                "manager": manager, "operation": operation, "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1", "fieldsV1": fields,
            });
            if !subresource.is_empty() {
                entry["subresource"] = subresource.into();
            }
            entry
        };
        let both = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
        let (replicas, paused) = (
            json!({"f:spec": {"f:replicas": {}}}),
            json!({"f:spec": {"f:paused": {}}}),
        );
        let made = json!({"metadata": {"managedFields": [entry("m", "", "Update", both)]}});
        let shown = record(&made, "spec.replicas");
        assert_eq!(shown[0]["apiVersion"], "autoscaling/v1");
        assert_eq!(shown[0]["fieldsV1"], replicas);
        // An applier of the scale has taken them.
        let mut taken = entry("a", "scale", "Apply", replicas.clone());
        taken["apiVersion"] = "autoscaling/v1".into();
        let scale = json!({"metadata": {"managedFields": [taken]}});
        let mut new = made.clone();
        settle(&made, &mut new, &scale, "apps/v1", "spec.replicas");
        let after = json!([
            entry("a", "scale", "Apply", replicas),
            entry("m", "", "Update", paused),
        ]);
        assert_eq!(new["metadata"]["managedFields"], after);
        // Applied again, its entry stays as it is.
        let (before, mut again) = (new.clone(), new.clone());
        settle(&before, &mut again, &scale, "apps/v1", "spec.replicas");
        assert_eq!(again, before);
    }
}
