//! The columns of the built-in kinds.

use serde_json::{Value, json};

use super::super::object::{self, list, text};
use super::super::resources::Resource;
use super::super::subresource::selector_text;
use super::column;
use super::rich::{event, ingress, node, pod, service};

/// What the API server says of its columns: name (with its kind when they differ by kind), type, format, priority,
/// description.
const COLUMNS: &str = include_str!("columns.tsv");

/// The columns of a kind. A name with `*` is only shown wide.
pub fn columns(resource: &Resource) -> Vec<Value> {
    names(resource)
        .iter()
        .map(|name| {
            let plain = name.trim_end_matches('*');
            described(&resource.kind, plain)
                .unwrap_or_else(|| column(plain, "string", i64::from(plain != *name)))
        })
        .collect()
}

/// The definition of a column as the API server gives it.
fn described(kind: &str, name: &str) -> Option<Value> {
    let own = format!("{kind}/{name}");
    let line = |wanted: &str| {
        COLUMNS
            .lines()
            .find_map(|line| line.strip_prefix(wanted)?.strip_prefix('\t'))
    };
    let mut fields = line(&own).or_else(|| line(name))?.splitn(4, '\t');
    let mut next = || fields.next().unwrap_or("");
    let (kind, format, priority, description) = (next(), next(), next(), next());
    let description = description.replace("\\n", "\n").replace("\\\\", "\\");
    Some(json!({
        "name": name, "type": kind, "format": format, "description": description,
        "priority": priority.parse().unwrap_or(0),
    }))
}

/// How a column that all kinds have is described.
pub fn description(name: &str) -> String {
    described("", name)
        .and_then(|column| Some(column["description"].as_str()?.to_owned()))
        .unwrap_or_default()
}

fn names(resource: &Resource) -> &'static [&'static str] {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => &[
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "IP*",
            "Node*",
            "Nominated Node*",
            "Readiness Gates*",
        ],
        ("", "services") => &[
            "Name",
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
            "Selector*",
        ],
        ("", "nodes") => &[
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "Internal-IP*",
            "External-IP*",
            "OS-Image*",
            "Kernel-Version*",
            "Container-Runtime*",
        ],
        ("", "namespaces") => &["Name", "Status", "Age"],
        ("", "configmaps") => &["Name", "Data", "Age"],
        ("", "secrets") => &["Name", "Type", "Data", "Age"],
        ("", "serviceaccounts") => &["Name", "Age"],
        ("", "endpoints") => &["Name", "Endpoints", "Age"],
        ("", "events") | ("events.k8s.io", "events") => &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "Subobject*",
            "Source*",
            "Message",
            "First Seen*",
            "Count*",
            "Name*",
        ],
        ("apps", "deployments") => &[
            "Name",
            "Ready",
            "Up-to-date",
            "Available",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("apps", "replicasets") => &[
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("apps", "daemonsets") => &[
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Node Selector",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("apps", "statefulsets") => &["Name", "Ready", "Age", "Containers*", "Images*"],
        ("batch", "jobs") => &[
            "Name",
            "Status",
            "Completions",
            "Duration",
            "Age",
            "Containers*",
            "Images*",
            "Selector*",
        ],
        ("networking.k8s.io", "ingresses") => {
            &["Name", "Class", "Hosts", "Address", "Ports", "Age"]
        }
        ("networking.k8s.io", "ingressclasses") => &["Name", "Controller", "Parameters", "Age"],
        ("discovery.k8s.io", "endpointslices") => {
            &["Name", "AddressType", "Ports", "Endpoints", "Age"]
        }
        ("coordination.k8s.io", "leases") => &["Name", "Holder", "Age"],
        ("apiextensions.k8s.io", "customresourcedefinitions") => &["Name", "Created At"],
        ("admissionregistration.k8s.io", _) => &["Name", "Webhooks", "Age"],
        ("rbac.authorization.k8s.io", "clusterroles" | "roles") => &["Name", "Created At"],
        ("rbac.authorization.k8s.io", _) => &[
            "Name",
            "Role",
            "Age",
            "Users*",
            "Groups*",
            "ServiceAccounts*",
        ],
        ("policy", "poddisruptionbudgets") => &[
            "Name",
            "Min Available",
            "Max Unavailable",
            "Allowed Disruptions",
            "Age",
        ],
        ("scheduling.k8s.io", "priorityclasses") => {
            &["Name", "Value", "Global-Default", "Age", "PreemptionPolicy"]
        }
        ("storage.k8s.io", "storageclasses") => &[
            "Name",
            "Provisioner",
            "ReclaimPolicy",
            "VolumeBindingMode",
            "AllowVolumeExpansion",
            "Age",
        ],
        _ => &["Name", "Created At"],
    }
}

/// The cells of an object, one for each column.
pub fn cells(resource: &Resource, object: &Value) -> Vec<Value> {
    let name = Value::from(object::name(object));
    let created = text(object, "metadata.creationTimestamp");
    let age = Value::from(age(created));
    let number = |path: &str| {
        object::at(object, path)
            .and_then(Value::as_i64)
            .unwrap_or(0)
    };
    let (images, containers) = images(object);
    let selector = Value::from(or_none(selector_text(&object["spec"]["selector"])));
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => pod(object, name, age),
        ("", "services") => service(object, name, age),
        ("", "nodes") => node(object, name, age),
        ("", "namespaces") => vec![name, text(object, "status.phase").into(), age],
        ("", "configmaps") => vec![
            name,
            (count(&object["data"]) + count(&object["binaryData"])).into(),
            age,
        ],
        ("", "secrets") => vec![
            name,
            object["type"].clone(),
            count(&object["data"]).into(),
            age,
        ],
        ("", "serviceaccounts") => vec![name, age],
        ("", "endpoints") => {
            let mut found = Vec::new();
            for subset in list(object, "subsets") {
                for address in list(subset, "addresses") {
                    for port in list(subset, "ports") {
                        found.push(format!("{}:{}", text(address, "ip"), port["port"]));
                    }
                }
            }
            vec![name, few(&found).into(), age]
        }
        (_, "events") => event(object, name),
        ("apps", "deployments") => vec![
            name,
            format!(
                "{}/{}",
                number("status.readyReplicas"),
                number("spec.replicas")
            )
            .into(),
            number("status.updatedReplicas").into(),
            number("status.availableReplicas").into(),
            age,
            containers,
            images,
            selector,
        ],
        ("apps", "replicasets") => vec![
            name,
            number("spec.replicas").into(),
            number("status.replicas").into(),
            number("status.readyReplicas").into(),
            age,
            containers,
            images,
            selector,
        ],
        ("apps", "daemonsets") => vec![
            name,
            number("status.desiredNumberScheduled").into(),
            number("status.currentNumberScheduled").into(),
            number("status.numberReady").into(),
            number("status.updatedNumberScheduled").into(),
            number("status.numberAvailable").into(),
            or_none(pairs(&object["spec"]["template"]["spec"]["nodeSelector"])).into(),
            age,
            containers,
            images,
            selector,
        ],
        ("apps", "statefulsets") => vec![
            name,
            format!(
                "{}/{}",
                number("status.readyReplicas"),
                number("spec.replicas")
            )
            .into(),
            age,
            containers,
            images,
        ],
        ("batch", "jobs") => {
            let done = |kind: &str| {
                list(object, "status.conditions")
                    .iter()
                    .any(|one| one["type"] == kind && one["status"] == "True")
            };
            let status = if done("Complete") {
                "Complete"
            } else if done("Failed") {
                "Failed"
            } else {
                "Running"
            };
            let start = text(object, "status.startTime");
            let end = text(object, "status.completionTime");
            vec![
                name,
                status.into(),
                format!(
                    "{}/{}",
                    number("status.succeeded"),
                    number("spec.completions")
                )
                .into(),
                between(start, end).into(),
                age,
                containers,
                images,
                selector,
            ]
        }
        ("networking.k8s.io", "ingresses") => ingress(object, name, age),
        ("networking.k8s.io", "ingressclasses") => {
            let parameters = &object["spec"]["parameters"];
            let shown = match (text(parameters, "apiGroup"), text(parameters, "kind")) {
                (_, "") => "<none>".to_owned(),
                ("", kind) => format!("{kind}/{}", text(parameters, "name")),
                (group, kind) => format!("{kind}.{group}/{}", text(parameters, "name")),
            };
            vec![
                name,
                text(object, "spec.controller").into(),
                shown.into(),
                age,
            ]
        }
        ("discovery.k8s.io", "endpointslices") => {
            let ports: Vec<String> = list(object, "ports")
                .iter()
                .map(|port| port["port"].to_string())
                .collect();
            let addresses: Vec<String> = list(object, "endpoints")
                .iter()
                .flat_map(|endpoint| list(endpoint, "addresses"))
                .map(|address| address.as_str().unwrap_or("").to_owned())
                .collect();
            let unset = |found: &[String]| {
                if found.is_empty() {
                    "<unset>".to_owned()
                } else {
                    few(found)
                }
            };
            vec![
                name,
                object["addressType"].clone(),
                unset(&ports).into(),
                unset(&addresses).into(),
                age,
            ]
        }
        ("coordination.k8s.io", "leases") => {
            vec![name, text(object, "spec.holderIdentity").into(), age]
        }
        ("admissionregistration.k8s.io", _) => {
            vec![name, list(object, "webhooks").len().into(), age]
        }
        ("rbac.authorization.k8s.io", "clusterrolebindings" | "rolebindings") => {
            let reference = &object["roleRef"];
            let subjects = |kind: &str| {
                let found: Vec<String> = list(object, "subjects")
                    .iter()
                    .filter(|subject| subject["kind"] == kind)
                    .map(|subject| match kind {
                        "ServiceAccount" => {
                            format!("{}/{}", text(subject, "namespace"), text(subject, "name"))
                        }
                        _ => text(subject, "name").to_owned(),
                    })
                    .collect();
                Value::from(found.join(", "))
            };
            let role = format!("{}/{}", text(reference, "kind"), text(reference, "name"));
            vec![
                name,
                role.into(),
                age,
                subjects("User"),
                subjects("Group"),
                subjects("ServiceAccount"),
            ]
        }
        ("policy", "poddisruptionbudgets") => {
            let shown = |field: &str| match &object["spec"][field] {
                Value::Null => "N/A".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            vec![
                name,
                shown("minAvailable").into(),
                shown("maxUnavailable").into(),
                number("status.disruptionsAllowed").into(),
                age,
            ]
        }
        ("scheduling.k8s.io", "priorityclasses") => vec![
            name,
            object["value"].clone(),
            (object["globalDefault"] == true).into(),
            age,
            object["preemptionPolicy"].clone(),
        ],
        ("storage.k8s.io", "storageclasses") => vec![
            name,
            object["provisioner"].clone(),
            object["reclaimPolicy"].clone(),
            object["volumeBindingMode"].clone(),
            (object["allowVolumeExpansion"] == true).into(),
            age,
        ],
        _ => vec![name, created.into()],
    }
}

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

/// A text, or what kubectl shows for none.
pub fn or_none(text: String) -> String {
    if text.is_empty() {
        "<none>".into()
    } else {
        text
    }
}

fn few(found: &[String]) -> String {
    match found.len() {
        0 => "<none>".into(),
        1..=3 => found.join(","),
        more => format!("{} + {} more...", found[..3].join(","), more - 3),
    }
}

/// A map as `a=b,c=d`.
pub fn pairs(map: &Value) -> String {
    map.as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect::<Vec<_>>()
        .join(",")
}

fn images(object: &Value) -> (Value, Value) {
    let containers = list(object, "spec.template.spec.containers");
    let join = |field: &str| {
        let all: Vec<&str> = containers.iter().map(|one| text(one, field)).collect();
        Value::from(all.join(","))
    };
    (join("image"), join("name"))
}

/// How long ago a moment was, as kubectl says it: 5s, 3m20s, 4h, 2d.
pub fn age(since: &str) -> String {
    match since.parse::<jiff::Timestamp>() {
        Ok(moment) => short(jiff::Timestamp::now().as_second() - moment.as_second()),
        Err(_) => "<unknown>".into(),
    }
}

fn between(start: &str, end: &str) -> String {
    let Ok(start) = start.parse::<jiff::Timestamp>() else {
        return String::new();
    };
    let end = end.parse().unwrap_or_else(|_| jiff::Timestamp::now());
    short(end.as_second() - start.as_second())
}

fn short(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let two = |big: i64, unit: &str, small: i64, below: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{below}")
        }
    };
    match seconds {
        0..=119 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if hours < 3 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}
