//! What the server itself does to objects of a kind before they are stored.

mod services;

use serde_json::{Value, json};

use super::api::Api;
use super::crd;
use super::decode;
use super::object;
use super::resources::Resource;
use super::schema::Shape;
pub use services::{allocate, drop_old_type, range, tried, unaddressed};
use services::{inherit_addresses, one_address};

/// A new object: no status but the first one, generation 1.
pub fn before_create(_api: &Api, resource: &Resource, object: &mut Value) {
    for field in [
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        object::remove(object, &format!("metadata.{field}"));
    }
    if resource.status && !resource.is("", "nodes") {
        if let Some(map) = object.as_object_mut() {
            map.shift_remove("status");
        }
        match (resource.custom.is_some(), resource.plural.as_str()) {
            (true, _) => {}
            (_, "pods") => {
                let class = quality(object);
                object["status"] = json!({"phase": "Pending", "qosClass": class});
            }
            (_, "namespaces") => {
                object["status"] = json!({"phase": "Active"});
                let mut finalizers = object::list(object, "spec.finalizers").to_vec();
                if !finalizers.contains(&"kubernetes".into()) {
                    finalizers.push("kubernetes".into());
                }
                object::set(object, "spec.finalizers", finalizers);
            }
            (_, "services" | "ingresses") => object["status"] = json!({"loadBalancer": {}}),
            (_, "persistentvolumeclaims" | "persistentvolumes") => {
                object["status"] = json!({"phase": "Pending"});
            }
            _ => {
                let mut status = serde_json::Map::new();
                let place = resource.schema().field("status");
                if let Some(Shape::Struct(_, fields)) = place.map(|place| &place.shape) {
                    decode::count(fields, &mut status);
                }
                object["status"] = status.into();
            }
        }
    }
    if resource.is("", "services") {
        one_address(object);
    }
    if resource.generation {
        object::set(object, "metadata.generation", 1);
    }
    if resource.is("apiextensions.k8s.io", "customresourcedefinitions") {
        crd::default(object);
    }
}

/// What is neither changed nor owned through an endpoint, as dotted paths.
pub fn reset(resource: &Resource, subresource: &str) -> &'static [&'static str] {
    match subresource {
        "" if resource.status => &["status"],
        "status" if resource.is("apps", "deployments") => &["spec", "metadata.labels"],
        "status" if resource.is("", "pods") => &[
            "spec",
            "metadata.deletionTimestamp",
            "metadata.ownerReferences",
        ],
        "status" => &["spec"],
        "finalize" => &["status"],
        _ => &[],
    }
}

/// A changed object: the main resource does not change the status, and the status nothing else.
pub fn before_update(resource: &Resource, subresource: &str, old: &Value, new: &mut Value) {
    for path in reset(resource, subresource) {
        match object::at(old, path) {
            Some(value) => object::set(new, path, value.clone()),
            None => drop(object::remove(new, path)),
        }
    }
    match subresource {
        "status" => {
            if resource.custom.is_some() {
                let status = new.get("status").cloned();
                let managers = object::at(new, "metadata.managedFields").cloned();
                let api_version = new["apiVersion"].clone();
                *new = old.clone();
                new["apiVersion"] = api_version;
                match status {
                    Some(status) => new["status"] = status,
                    None => {
                        object::remove(new, "status");
                    }
                }
                if let Some(managers) = managers {
                    object::set(new, "metadata.managedFields", managers);
                }
            } else {
                object::default(new, "status", json!({}));
                if matches!(resource.plural.as_str(), "services" | "ingresses") {
                    object::default(new, "status.loadBalancer", json!({}));
                }
                let class = "status.qosClass";
                if resource.is("", "pods")
                    && let Some(value) = object::at(old, class)
                {
                    object::default(new, class, value.clone());
                }
            }
        }
        // The one place where a namespace's own finalizers change.
        "finalize" => object::default(new, "spec", json!({})),
        "" => {
            if resource.is("", "namespaces") {
                object::set(new, "spec.finalizers", old["spec"]["finalizers"].clone());
            }
            if resource.is("apiextensions.k8s.io", "customresourcedefinitions") {
                crd::default(new);
            }
            if resource.is("", "services") {
                inherit_addresses(old, new);
            }
        }
        _ => {}
    }
}

/// What is stored, and answered: where it is kept, an empty list is none. Only the rules of roles are ever shown as none.
pub fn before_store(resource: &Resource, object: &mut Value) {
    let role = resource.group == "rbac.authorization.k8s.io";
    if role && object["rules"].as_array().is_some_and(Vec::is_empty) {
        object["rules"] = Value::Null;
    }
}

/// Whether a PUT of what is not there makes it.
pub fn creates_on_update(resource: &Resource) -> bool {
    resource.custom.is_none()
        && matches!(
            resource.plural.as_str(),
            "leases"
                | "endpoints"
                | "events"
                | "limitranges"
                | "services"
                | "runtimeclasses"
                | "clusterroles"
                | "clusterrolebindings"
                | "roles"
                | "rolebindings"
        )
}

/// Whether a PUT may leave the version out that it means.
pub fn updates_unconditionally(resource: &Resource) -> bool {
    resource.custom.is_none()
        && !matches!(
            resource.plural.as_str(),
            "mutatingwebhookconfigurations"
                | "validatingwebhookconfigurations"
                | "customresourcedefinitions"
                | "apiservices"
                | "leases"
                | "runtimeclasses"
                | "poddisruptionbudgets"
                | "csidrivers"
                | "csinodes"
                | "volumeattachments"
        )
}

/// Counts changes of what a controller acts on. `pruned` says that there was more than is kept, which counts too.
pub fn generation(
    resource: &Resource,
    subresource: &str,
    old: &Value,
    new: &mut Value,
    pruned: bool,
) {
    if !resource.generation {
        return;
    }
    let before = object::at(old, "metadata.generation")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let relevant = |key: &str| match key {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => resource.custom.is_some() && !resource.status,
        _ => true,
    };
    let differs = |a: &Value, b: &Value| {
        a.as_object()
            .into_iter()
            .flatten()
            .any(|(key, value)| relevant(key) && b.get(key) != Some(value))
    };
    // A Deployment's annotations go down to what it makes.
    let noted = subresource != "status"
        && resource.is("apps", "deployments")
        && object::at(old, "metadata.annotations") != object::at(new, "metadata.annotations");
    let changed = pruned || noted || differs(old, new) || differs(new, old);
    object::set(new, "metadata.generation", before + i64::from(changed));
}

/// Whether an object that is being deleted has nothing left to wait for.
pub fn finished(resource: &Resource, object: &Value) -> bool {
    object::terminating(object)
        && object::finalizers(object).is_empty()
        && !holds(resource, object)
        && (!resource.is("", "pods")
            || object::at(object, "metadata.deletionGracePeriodSeconds")
                .and_then(Value::as_i64)
                .unwrap_or(0)
                == 0)
}

/// Whether something besides finalizers holds an object: a namespace's own finalizers.
pub fn holds(resource: &Resource, object: &Value) -> bool {
    resource.is("", "namespaces") && !object::list(object, "spec.finalizers").is_empty()
}

/// How many seconds a pod has; nothing for other kinds and for pods that no kubelet runs.
pub fn grace(resource: &Resource, object: &Value, asked: Option<i64>) -> Option<i64> {
    if !resource.is("", "pods") {
        return None;
    }
    let ran = !object::text(object, "spec.nodeName").is_empty();
    let over = matches!(object::text(object, "status.phase"), "Succeeded" | "Failed");
    if !ran || over {
        return Some(0);
    }
    let own = object::at(object, "spec.terminationGracePeriodSeconds").and_then(Value::as_i64);
    Some(asked.or(own).unwrap_or(30).max(0))
}

/// The finalizer that the way of deleting dependents asks for.
pub fn finalizers_for(propagation: &str, object: &mut Value) {
    let (add, drop): (Option<&str>, &[&str]) = match propagation {
        "Foreground" => (Some("foregroundDeletion"), &["orphan"]),
        "Orphan" => (Some("orphan"), &["foregroundDeletion"]),
        "Background" => (None, &["orphan", "foregroundDeletion"]),
        _ => return,
    };
    let mut finalizers = object::finalizers(object).to_vec();
    finalizers.retain(|one| !drop.iter().any(|drop| one == drop));
    if let Some(add) = add
        && !finalizers.iter().any(|one| one == add)
    {
        finalizers.push(add.into());
    }
    // Their order is nobody's wish.
    let before = object::finalizers(object);
    if before.len() == finalizers.len() && before.iter().all(|one| finalizers.contains(one)) {
        return;
    }
    if finalizers.is_empty() {
        object::remove(object, "metadata.finalizers");
    } else {
        object::set(object, "metadata.finalizers", finalizers);
    }
}

/// `stringData` is only another way to write `data`.
pub fn strings_to_data(object: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(strings)) = object::remove(object, "stringData") else {
        return;
    };
    for (key, text) in strings {
        let text = text.as_str().unwrap_or("");
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        object["data"][&key] = encoded.into();
    }
}

/// The quality-of-service class that a pod's requests and limits give it.
fn quality(pod: &Value) -> &'static str {
    let (mut any, mut all) = (false, true);
    let containers = object::list(pod, "spec.containers")
        .iter()
        .chain(object::list(pod, "spec.initContainers"));
    for container in containers {
        for resource in ["cpu", "memory"] {
            let request = &container["resources"]["requests"][resource];
            let limit = &container["resources"]["limits"][resource];
            any |= !request.is_null() || !limit.is_null();
            all &= !limit.is_null() && (request.is_null() || request == limit);
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
