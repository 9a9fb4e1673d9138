//! Server-side apply, and who owns which fields.

mod merge;
pub mod scaled;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{Difference, Element, FieldSet, compare};
use super::object;
use super::schema::{Schema, Shape};
use super::status::Status;

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub struct Manager {
    name: String,
    operation: &'static str,
    api_version: String,
    subresource: String,
    time: Option<String>,
    fields: FieldSet,
}

/// Who writes, and how.
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// `group/version` of the object that was sent.
    pub api_version: &'a str,
    /// `status`, or empty.
    pub subresource: &'a str,
}

impl Manager {
    /// Whether both are entries of one manager, of which there is one; who applies does so in any version.
    fn is(&self, other: &Manager) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == "Apply" || self.api_version == other.api_version)
    }
}

/// The record of an object. Of several entries of one manager the last one counts.
fn read(object: &Value) -> Vec<Manager> {
    let mut managers: Vec<Manager> = Vec::new();
    for entry in object::list(object, "metadata.managedFields") {
        let manager = Manager {
            name: object::text(entry, "manager").to_owned(),
            operation: if entry["operation"] == "Apply" {
                "Apply"
            } else {
                "Update"
            },
            api_version: object::text(entry, "apiVersion").to_owned(),
            subresource: object::text(entry, "subresource").to_owned(),
            time: entry["time"].as_str().map(str::to_owned),
            fields: FieldSet::read(&entry["fieldsV1"]),
        };
        managers.retain(|known| !known.is(&manager));
        managers.push(manager);
    }
    managers
}

fn write(object: &mut Value, mut managers: Vec<Manager>) {
    managers.retain(|manager| !manager.fields.is_empty());
    // Appliers first, then by time: the order that kubectl shows.
    managers.sort_by_cached_key(|one| {
        let named = [&one.name, &one.api_version, &one.subresource].map(String::clone);
        (one.operation, one.time.clone(), named)
    });
    let entries: Vec<Value> = managers
        .into_iter()
        .map(|manager| {
            let mut entry = json!({
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": manager.api_version,
            });
            if let Some(time) = manager.time {
                entry["time"] = time.into();
            }
            entry["fieldsType"] = "FieldsV1".into();
            entry["fieldsV1"] = manager.fields.write();
            if !manager.subresource.is_empty() {
                entry["subresource"] = manager.subresource.into();
            }
            entry
        })
        .collect();
    if entries.is_empty() {
        object::remove(object, "metadata.managedFields");
    } else {
        object::set(object, "metadata.managedFields", Value::Array(entries));
    }
}

/// What belongs to the server and is owned by nobody.
fn owned(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("apiVersion");
        map.shift_remove("kind");
    }
    let empty = match object.get_mut("metadata").and_then(Value::as_object_mut) {
        Some(metadata) => {
            for field in [
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "generation",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.shift_remove(field);
            }
            metadata.is_empty()
        }
        None => false,
    };
    if empty && let Some(map) = object.as_object_mut() {
        map.shift_remove("metadata");
    }
    object
}

/// Whether two versions of an object have the same of what can be owned.
pub fn same(old: &Value, new: &Value) -> bool {
    owned(old) == owned(new)
}

/// What a write can own, without what is not changed through its endpoint.
fn reached(object: &Value, reset: &[&str]) -> Value {
    let mut object = owned(object);
    for path in reset {
        object::remove(&mut object, path);
    }
    object
}

/// Records who changed what between two versions of an object, for everything but apply. Of `reset` nothing is
/// owned through this endpoint.
pub fn track(schema: &Schema, old: &Value, new: &mut Value, writer: &Writer<'_>, reset: &[&str]) {
    // Whoever sends an explicitly empty list wants the record gone.
    let cleared = object::at(new, "metadata.managedFields")
        .and_then(Value::as_array)
        .is_some_and(|entries| {
            entries.is_empty()
                || entries.len() == 1
                    && entries[0]
                        .as_object()
                        .is_some_and(serde_json::Map::is_empty)
        })
        && writer.subresource.is_empty();
    // Who brings a record along means it.
    let brought = writer.subresource.is_empty() && !old.is_null();
    let mut managers = match (cleared, if brought { read(new) } else { Vec::new() }) {
        (true, _) => Vec::new(),
        (false, brought) if !brought.is_empty() => brought,
        (false, _) => read(old),
    };
    // Whose record was cleared is not recorded again before somebody applies.
    if !old.is_null() && managers.is_empty() {
        return write(new, managers);
    }
    let zero = if old.is_null() {
        zero(schema, new)
    } else {
        Value::Null
    };
    let old = if old.is_null() { &zero } else { old };
    let (before, after) = (reached(old, reset), reached(new, reset));
    let difference = without_metadata(compare(schema, &before, &after));
    if difference.changed.is_empty() && difference.removed.is_empty() {
        return write(new, managers);
    }
    settle(&mut managers, writer, "Update", &difference);
    if difference.changed.is_empty() {
        return write(new, managers);
    }
    let place = managers.iter_mut().find(|manager| {
        manager.operation == "Update"
            && manager.name == writer.manager
            && manager.api_version == writer.api_version
            && manager.subresource == writer.subresource
    });
    let now = Some(object::now());
    match place {
        Some(manager) => {
            manager.fields.union(&difference.changed);
            manager.time = now;
        }
        None => managers.push(Manager {
            name: writer.manager.to_owned(),
            operation: "Update",
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: now,
            fields: difference.changed,
        }),
    }
    cap(&mut managers);
    write(new, managers);
}

/// How many entries of managers that update an object may have.
const UPDATERS: usize = 10;
/// Who has what the oldest of more than that had.
const ANCIENT: &str = "ancient-changes";

/// Lays the oldest entries of those who update together, those of one version to one.
fn cap(managers: &mut Vec<Manager>) {
    let updaters = managers.iter().filter(|one| one.operation == "Update");
    let mut more = updaters.count().saturating_sub(UPDATERS);
    if more == 0 {
        return;
    }
    managers.sort_by_cached_key(|one| {
        let mut said = format!(
            "{{\"manager\":{:?},\"operation\":\"Update\",\"apiVersion\":{:?}",
            one.name, one.api_version
        );
        if !one.subresource.is_empty() {
            said.push_str(&format!(",\"subresource\":{:?}", one.subresource));
        }
        (one.operation, one.time.clone(), said + "}")
    });
    let mut oldest: Vec<Manager> = Vec::new();
    let mut rest = Vec::new();
    for manager in managers.drain(..) {
        let known = oldest
            .iter_mut()
            .find(|one| one.api_version == manager.api_version);
        match known {
            _ if more == 0 || manager.operation != "Update" => rest.push(manager),
            Some(bucket) => {
                bucket.name = ANCIENT.to_owned();
                bucket.subresource.clear();
                bucket.fields.union(&manager.fields);
                bucket.time = manager.time;
                more -= 1;
            }
            None => oldest.push(manager),
        }
    }
    oldest.extend(rest);
    *managers = oldest;
}

/// The metadata as a whole belongs to nobody.
fn without_metadata(mut difference: Difference) -> Difference {
    let place = Element::Field("metadata".into());
    for set in [&mut difference.changed, &mut difference.removed] {
        if let Some(child) = set.children.get_mut(&place) {
            child.member = false;
            if child.is_empty() {
                set.children.remove(&place);
            }
        }
        set.member = false;
    }
    difference
}

/// What a kind's Go type writes when nothing is set: structures that are no pointers are always there, and nobody owns
/// them. Custom resources have nothing.
fn zero(schema: &Schema, object: &Value) -> Value {
    if matches!(schema.shape, Shape::Struct("", _)) {
        return json!({"metadata": {}});
    }
    let pod = json!({"metadata": {}, "spec": {"containers": null}});
    let spec = match object::text(object, "kind") {
        "Deployment" => json!({"selector": null, "template": pod, "strategy": {}}),
        "DaemonSet" | "StatefulSet" => {
            json!({"selector": null, "template": pod, "updateStrategy": {}})
        }
        "ReplicaSet" => json!({"selector": null, "template": pod}),
        "Job" => json!({"template": pod}),
        "CronJob" => json!({"jobTemplate": {"metadata": {}, "spec": {"template": pod}}}),
        "Pod" => json!({"containers": null}),
        "PersistentVolumeClaim" => json!({"resources": {}}),
        "HorizontalPodAutoscaler" => {
            json!({"scaleTargetRef": {"kind": "", "name": ""}, "maxReplicas": 0})
        }
        "NetworkPolicy" => json!({"podSelector": {}}),
        "TokenRequest" => json!({"audiences": null, "boundObjectRef": null}),
        "CustomResourceDefinition" => {
            json!({"group": "", "names": {"plural": "", "kind": ""}, "scope": "", "versions": null})
        }
        _ => json!({}),
    };
    let mut zero = json!({"metadata": {}, "spec": spec, "status": {}});
    if object::text(object, "kind") == "TokenRequest" {
        zero["status"] = json!({"expirationTimestamp": null, "token": ""});
    }
    if object::text(object, "kind") == "Binding" {
        zero["target"] = json!({});
    }
    if object::text(object, "kind") == "Scale" {
        zero["status"] = json!({"replicas": 0});
    }
    if matches!(object::text(object, "kind"), "Service" | "Ingress") {
        zero["status"] = json!({"loadBalancer": {}});
    }
    if object::text(object, "kind") == "PodTemplate" {
        zero["template"] = pod;
    }
    if object::text(object, "kind").ends_with("Role") {
        zero["rules"] = Value::Null;
    }
    zero
}

/// Takes from everybody else what was changed, and from everybody what is gone.
fn settle(managers: &mut [Manager], writer: &Writer<'_>, operation: &str, difference: &Difference) {
    for manager in managers {
        let own = manager.operation == operation
            && manager.name == writer.manager
            && manager.subresource == writer.subresource
            && (operation == "Apply" || manager.api_version == writer.api_version);
        if !own {
            manager.fields.subtract(&difference.changed);
        }
        manager.fields.subtract(&difference.removed);
    }
}

/// The annotation in which kubectl keeps what it applied on its own side.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What kubectl applied on its own side and nobody changed since: it may go on with it on the server's.
fn from_last_applied(schema: &Schema, live: &Value) -> FieldSet {
    let last = object::annotation(live, LAST_APPLIED)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(last) = last else {
        return FieldSet::default();
    };
    let (last, live) = (owned(&last), owned(live));
    let mut set = FieldSet::of(schema, &last);
    let difference = compare(schema, &last, &live);
    set.subtract(&difference.changed);
    set.subtract(&difference.removed);
    set
}

/// Applies a configuration to the live object (`Null` when there is none). Of `reset` nothing is owned through this
/// endpoint.
pub fn apply(
    schema: &Schema,
    live: &Value,
    config: &Value,
    writer: &Writer<'_>,
    reset: &[&str],
    force: bool,
) -> Result<Value, Status> {
    let mut managers = read(live);
    if !live.is_null() && managers.is_empty() {
        let empty = zero(schema, live);
        let (empty, there) = (reached(&empty, reset), reached(live, reset));
        let before = without_metadata(compare(schema, &empty, &there));
        managers.push(Manager {
            name: "before-first-apply".to_owned(),
            operation: "Update",
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: Some(object::now()),
            fields: before.changed,
        });
    }
    let set = FieldSet::of(schema, &reached(config, reset));
    let is_own = |manager: &Manager| {
        manager.operation == "Apply"
            && manager.name == writer.manager
            && manager.subresource == writer.subresource
    };
    let mut merged = merge::merge(schema, live, config);
    if let Some(own) = managers.iter().find(|manager| is_own(manager)) {
        // Its name is in what it applies, though nobody's.
        let mut kept = FieldSet::of(schema, config);
        for manager in managers.iter().filter(|manager| !is_own(manager)) {
            kept.union(&manager.fields);
        }
        merged = merge::prune(schema, merged, &own.fields, &kept);
    }
    let difference = compare(schema, &reached(live, reset), &reached(&merged, reset));
    let difference = without_metadata(difference);
    let allowed = if writer.manager == "kubectl" {
        from_last_applied(schema, live)
    } else {
        FieldSet::default()
    };
    let mut conflicts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for manager in managers.iter().filter(|manager| !is_own(manager)) {
        let mut common = manager.fields.intersection(&difference.changed);
        common.subtract(&allowed);
        if common.is_empty() {
            continue;
        }
        let mut said = format!("{:?}", manager.name);
        if !manager.subresource.is_empty() {
            said.push_str(&format!(" with subresource {:?}", manager.subresource));
        }
        if manager.operation == "Update" {
            said.push_str(&format!(" using {}", manager.api_version));
        }
        conflicts.entry(said).or_default().extend(common.paths());
    }
    if !force && !conflicts.is_empty() && !live.is_null() {
        return Err(conflict(&conflicts));
    }
    settle(&mut managers, writer, "Apply", &difference);
    let now = object::now();
    // Who applies what is there already leaves no time.
    let changes = live.is_null() || *live != merged;
    match managers.iter_mut().find(|manager| is_own(manager)) {
        Some(manager) => {
            if changes {
                manager.time = Some(now);
            }
            manager.fields = set;
            manager.api_version = writer.api_version.to_owned();
        }
        None => managers.push(Manager {
            name: writer.manager.to_owned(),
            operation: "Apply",
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: changes.then_some(now),
            fields: set,
        }),
    }
    write(&mut merged, managers);
    Ok(merged)
}

/// The words of upstream's conflict: one manager or several, one field or several.
fn conflict(conflicts: &BTreeMap<String, Vec<String>>) -> Status {
    let count: usize = conflicts.values().map(Vec::len).sum();
    let mut said = Vec::new();
    let mut causes = Vec::new();
    for (manager, paths) in conflicts {
        if count == 1 {
            said.push(format!("conflict with {manager}: {}", paths[0]));
        } else {
            let paths: Vec<String> = paths.iter().map(|path| format!("- {path}")).collect();
            said.push(format!("conflicts with {manager}:\n{}", paths.join("\n")));
        }
        for path in paths {
            causes.push(json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {manager}"),
                "field": path,
            }));
        }
    }
    let mut status = Status::new(
        409,
        "Conflict",
        format!(
            "Apply failed with {count} conflict{}: {}",
            if count == 1 { "" } else { "s" },
            said.join("\n")
        ),
    );
    status.details = Some(json!({"causes": causes}));
    status
}
