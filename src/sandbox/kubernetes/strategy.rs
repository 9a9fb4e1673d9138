//! What the server itself does to objects of a kind before they are stored.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::api::Api;
use super::crd;
use super::object;
use super::resources::Resource;
use super::status::Cause;

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
                object::default(object, "spec.finalizers", json!(["kubernetes"]));
            }
            (_, "services" | "ingresses") => object["status"] = json!({"loadBalancer": {}}),
            (_, "persistentvolumeclaims" | "persistentvolumes") => {
                object["status"] = json!({"phase": "Pending"});
            }
            _ => object["status"] = json!({}),
        }
    }
    if resource.generation {
        object::set(object, "metadata.generation", 1);
    }
    if resource.is("apiextensions.k8s.io", "customresourcedefinitions") {
        crd::default(object);
    }
}

/// A changed object: the main resource does not change the status, and the status nothing else.
pub fn before_update(resource: &Resource, subresource: &str, old: &Value, new: &mut Value) {
    let keep = |new: &mut Value, field: &str| match old.get(field) {
        Some(value) => new[field] = value.clone(),
        None => {
            if let Some(map) = new.as_object_mut() {
                map.shift_remove(field);
            }
        }
    };
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
                keep(new, "spec");
                object::default(new, "status", json!({}));
                let class = "status.qosClass";
                if resource.is("", "pods")
                    && let Some(value) = object::at(old, class)
                {
                    object::default(new, class, value.clone());
                }
                let owners = "metadata.ownerReferences";
                match object::at(old, owners) {
                    Some(value) => object::set(new, owners, value.clone()),
                    None => {
                        object::remove(new, owners);
                    }
                }
            }
        }
        "" => {
            if resource.status {
                keep(new, "status");
            }
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

/// Counts changes of what a controller acts on.
pub fn generation(resource: &Resource, old: &Value, new: &mut Value) {
    if !resource.generation {
        return;
    }
    let before = object::at(old, "metadata.generation")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    let relevant = |key: &str| !matches!(key, "metadata" | "status" | "apiVersion" | "kind");
    let differs = |a: &Value, b: &Value| {
        a.as_object()
            .into_iter()
            .flatten()
            .any(|(key, value)| relevant(key) && b.get(key) != Some(value))
    };
    // A Deployment's annotations go down to what it makes.
    let noted = resource.is("apps", "deployments")
        && object::at(old, "metadata.annotations") != object::at(new, "metadata.annotations");
    let changed = noted || differs(old, new) || differs(new, old);
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

/// An update that leaves a Service's addresses out keeps them.
fn inherit_addresses(old: &Value, new: &mut Value) {
    if object::text(new, "spec.type") == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        let path = format!("spec.{field}");
        let missing = match object::at(new, &path) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            _ => false,
        };
        if missing && let Some(value) = object::at(old, &path) {
            object::set(new, &path, value.clone());
        }
    }
    let reached = |service: &Value| {
        matches!(
            object::text(service, "spec.type"),
            "NodePort" | "LoadBalancer"
        ) || !object::list(service, "spec.externalIPs").is_empty()
    };
    let balanced = |service: &Value| object::text(service, "spec.type") == "LoadBalancer";
    // What only the old type had goes with it, unless somebody wants it otherwise.
    for (field, gone) in [
        ("externalTrafficPolicy", reached(old) && !reached(new)),
        (
            "allocateLoadBalancerNodePorts",
            balanced(old) && !balanced(new),
        ),
        ("healthCheckNodePort", balanced(old) && !balanced(new)),
    ] {
        let path = format!("spec.{field}");
        if gone && object::at(new, &path) == object::at(old, &path) {
            object::remove(new, &path);
        }
    }
    let ported = matches!(object::text(new, "spec.type"), "NodePort" | "LoadBalancer");
    let old_ports = object::list(old, "spec.ports").to_vec();
    let Some(ports) = new["spec"]["ports"].as_array_mut() else {
        return;
    };
    for port in ports {
        if !ported {
            if let Some(map) = port.as_object_mut() {
                map.shift_remove("nodePort");
            }
        } else if port["nodePort"].as_i64().unwrap_or(0) == 0
            && let Some(before) = old_ports
                .iter()
                .find(|one| one["port"] == port["port"] && one["protocol"] == port["protocol"])
            && before["nodePort"].is_number()
        {
            port["nodePort"] = before["nodePort"].clone();
        }
    }
}

/// Gives a Service its cluster IP and node ports. The caller holds the allocation lock until it has stored it.
pub fn allocate(
    api: &Api,
    resource: &Resource,
    old: Option<&Value>,
    object: &mut Value,
) -> Result<(), Vec<Cause>> {
    if !resource.is("", "services") {
        return Ok(());
    }
    let kind = object::text(object, "spec.type").to_owned();
    let external = kind == "ExternalName";
    let wanted = object::text(object, "spec.clusterIP").to_owned();
    let headless = wanted == "None";
    let before = old.map_or("", |old| object::text(old, "spec.clusterIP"));
    if external {
        object::remove(object, "spec.clusterIP");
        object::remove(object, "spec.clusterIPs");
    } else if wanted == "None" {
        object::set(object, "spec.clusterIPs", json!(["None"]));
    } else if wanted.is_empty() || wanted != before {
        let used: HashSet<String> = api
            .store
            .all("services", "")
            .iter()
            .map(|stored| object::text(&stored.value, "spec.clusterIP").to_owned())
            .collect();
        let address = if wanted.is_empty() {
            free_address(&api.options.service_cidr, &used).ok_or_else(|| {
                vec![Cause::invalid(
                    "spec.clusterIPs",
                    &Value::Null,
                    "failed to allocate IP 0.0.0.0: range is full",
                )]
            })?
        } else {
            let value = json!([wanted]);
            if !in_range(&api.options.service_cidr, &wanted) {
                let why = format!(
                    "failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {}",
                    api.options.service_cidr
                );
                return Err(vec![Cause::invalid("spec.clusterIPs", &value, why)]);
            }
            if used.contains(&wanted) {
                let why =
                    format!("failed to allocate IP {wanted}: provided IP is already allocated");
                return Err(vec![Cause::invalid("spec.clusterIPs", &value, why)]);
            }
            wanted
        };
        object::set(object, "spec.clusterIP", address.as_str());
        object::set(object, "spec.clusterIPs", json!([address]));
    } else {
        object::default(object, "spec.clusterIPs", json!([wanted]));
    }
    if !external {
        // Without addresses and without pods of its own it may be of both families.
        let selects = object::at(object, "spec.selector")
            .and_then(Value::as_object)
            .is_some_and(|selector| !selector.is_empty());
        let both = headless && !selects && object::at(object, "spec.ipFamilyPolicy").is_none();
        let (families, policy) = if both {
            (json!(["IPv4", "IPv6"]), "RequireDualStack")
        } else {
            (json!(["IPv4"]), "SingleStack")
        };
        object::default(object, "spec.ipFamilies", families);
        object::default(object, "spec.ipFamilyPolicy", policy);
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        allocate_ports(api, object);
    }
    // Where a balancer asks which nodes have a pod.
    if kind == "LoadBalancer" && object::text(object, "spec.externalTrafficPolicy") == "Local" {
        let before = old.and_then(|old| object::at(old, "spec.healthCheckNodePort"));
        let port = before
            .cloned()
            .unwrap_or_else(|| fastrand::i64(30000..32768).into());
        object::default(object, "spec.healthCheckNodePort", port);
    }
    Ok(())
}

fn allocate_ports(api: &Api, object: &mut Value) {
    if object::at(object, "spec.allocateLoadBalancerNodePorts") == Some(&Value::Bool(false)) {
        return;
    }
    let mut used: HashSet<i64> = HashSet::new();
    for stored in api.store.all("services", "") {
        for port in object::list(&stored.value, "spec.ports") {
            used.extend(port["nodePort"].as_i64());
        }
    }
    for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
        if port["nodePort"].as_i64().unwrap_or(0) != 0 {
            continue;
        }
        let start = fastrand::i64(30000..32768);
        let free = (0..2768)
            .map(|step| 30000 + (start - 30000 + step) % 2768)
            .find(|number| !used.contains(number));
        if let Some(free) = free {
            used.insert(free);
            port["nodePort"] = free.into();
        }
    }
}

/// The range of a CIDR: first address and how many there are.
pub fn range(cidr: &str) -> Option<(u32, u32)> {
    let (address, bits) = cidr.split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| (8..=30).contains(bits))?;
    let size = 1u32 << (32 - bits);
    Some((u32::from(address) & !(size - 1), size))
}

fn in_range(cidr: &str, address: &str) -> bool {
    let (Some((first, size)), Ok(address)) = (range(cidr), address.parse::<Ipv4Addr>()) else {
        return false;
    };
    let address = u32::from(address);
    address > first && address < first + size - 1
}

/// A free address, above the low ones that are left for those who ask for a certain one.
fn free_address(cidr: &str, used: &HashSet<String>) -> Option<String> {
    let (first, size) = range(cidr)?;
    let low = 16.min(size / 16).max(1);
    let start = fastrand::u32(low..size - 1);
    (0..size - 2)
        .map(|step| {
            let offset = low + (start - low + step) % (size - 1 - low);
            Ipv4Addr::from(first + offset).to_string()
        })
        .find(|address| !used.contains(address))
}
