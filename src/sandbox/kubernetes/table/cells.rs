//! The columns of the built-in kinds.

use serde_json::{Value, json};

use super::super::object::{self, list, text};
use super::super::resources::Resource;
use super::super::subresource::selector_text;
use super::column;

/// The columns of a kind. A name with `*` is only shown wide.
pub fn columns(resource: &Resource) -> Vec<Value> {
    names(resource)
        .iter()
        .map(|name| match name.strip_suffix('*') {
            Some(name) => column(name, "string", 1),
            None => column(name, "string", 0),
        })
        .collect()
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
        ("", "serviceaccounts") => &["Name", "Secrets", "Age"],
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
        ("", "serviceaccounts") => vec![name, list(object, "secrets").len().into(), age],
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
                    .map(|subject| match text(subject, "namespace") {
                        "" => text(subject, "name").to_owned(),
                        namespace => format!("{namespace}/{}", text(subject, "name")),
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

fn or_none(text: String) -> String {
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

fn pairs(map: &Value) -> String {
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

fn pod(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let statuses = list(object, "status.containerStatuses");
    let total = list(object, "spec.containers").len();
    let ready = statuses.iter().filter(|one| one["ready"] == true).count();
    let restarts: i64 = statuses
        .iter()
        .filter_map(|one| one["restartCount"].as_i64())
        .sum();
    let mut reason = match text(object, "status.reason") {
        "" => text(object, "status.phase").to_owned(),
        reason => reason.to_owned(),
    };
    let init = list(object, "status.initContainerStatuses");
    let waits = init.iter().enumerate().find(|(_, one)| {
        let done = &one["state"]["terminated"];
        done.is_null() || done["exitCode"].as_i64() != Some(0)
    });
    if let Some((index, one)) = waits {
        let why = text(one, "state.waiting.reason");
        let failed = text(one, "state.terminated.reason");
        reason = if !failed.is_empty() {
            format!("Init:{failed}")
        } else if !why.is_empty() && why != "PodInitializing" {
            format!("Init:{why}")
        } else {
            format!("Init:{index}/{}", list(object, "spec.initContainers").len())
        };
    } else {
        for one in statuses.iter().rev() {
            let waiting = text(one, "state.waiting.reason");
            let ended = text(one, "state.terminated.reason");
            if !waiting.is_empty() {
                reason = waiting.to_owned();
            } else if !ended.is_empty() {
                reason = ended.to_owned();
            }
        }
        if reason == "Completed"
            && statuses
                .iter()
                .any(|one| one["state"]["running"].is_object())
        {
            reason = "Running".into();
        }
    }
    if object::terminating(object) {
        reason = "Terminating".into();
    }
    let gates = match list(object, "spec.readinessGates").len() {
        0 => "<none>".to_owned(),
        all => {
            let met = list(object, "spec.readinessGates")
                .iter()
                .filter(|gate| {
                    list(object, "status.conditions")
                        .iter()
                        .any(|one| one["type"] == gate["conditionType"] && one["status"] == "True")
                })
                .count();
            format!("{met}/{all}")
        }
    };
    let restarts = match statuses
        .iter()
        .map(|one| text(one, "lastState.terminated.finishedAt"))
        .filter(|time| !time.is_empty())
        .max()
    {
        Some(last) if restarts > 0 => format!("{restarts} ({} ago)", self::age(last)),
        _ => restarts.to_string(),
    };
    vec![
        name,
        format!("{ready}/{total}").into(),
        reason.into(),
        restarts.into(),
        age,
        or_none(text(object, "status.podIP").to_owned()).into(),
        or_none(text(object, "spec.nodeName").to_owned()).into(),
        or_none(text(object, "status.nominatedNodeName").to_owned()).into(),
        gates.into(),
    ]
}

fn service(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let kind = text(object, "spec.type");
    let balancers: Vec<&str> = list(object, "status.loadBalancer.ingress")
        .iter()
        .map(|one| match text(one, "ip") {
            "" => text(one, "hostname"),
            ip => ip,
        })
        .collect();
    let external = match kind {
        "ExternalName" => text(object, "spec.externalName").to_owned(),
        "LoadBalancer" if balancers.is_empty() => "<pending>".into(),
        "LoadBalancer" => balancers.join(","),
        _ => "<none>".into(),
    };
    let ports: Vec<String> = list(object, "spec.ports")
        .iter()
        .map(|port| {
            let node = port["nodePort"].as_i64().unwrap_or(0);
            let protocol = text(port, "protocol");
            if node > 0 {
                format!("{}:{node}/{protocol}", port["port"])
            } else {
                format!("{}/{protocol}", port["port"])
            }
        })
        .collect();
    vec![
        name,
        kind.into(),
        or_none(text(object, "spec.clusterIP").to_owned()).into(),
        external.into(),
        or_none(ports.join(",")).into(),
        age,
        or_none(pairs(&object["spec"]["selector"])).into(),
    ]
}

fn node(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let ready = list(object, "status.conditions")
        .iter()
        .find(|one| one["type"] == "Ready")
        .map_or("Unknown", |one| {
            if one["status"] == "True" {
                "Ready"
            } else {
                "NotReady"
            }
        });
    let mut status = ready.to_owned();
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let roles: Vec<&str> = object["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    let address = |kind: &str| {
        let found = list(object, "status.addresses")
            .iter()
            .find(|one| one["type"] == kind);
        Value::from(found.map_or("<none>", |one| text(one, "address")))
    };
    let info = |field: &str| Value::from(text(&object["status"]["nodeInfo"], field));
    vec![
        name,
        status.into(),
        or_none(roles.join(",")).into(),
        age,
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn ingress(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let hosts: Vec<&str> = list(object, "spec.rules")
        .iter()
        .map(|rule| text(rule, "host"))
        .filter(|host| !host.is_empty())
        .collect();
    let addresses: Vec<&str> = list(object, "status.loadBalancer.ingress")
        .iter()
        .map(|one| match text(one, "ip") {
            "" => text(one, "hostname"),
            ip => ip,
        })
        .collect();
    let ports = if list(object, "spec.tls").is_empty() {
        "80"
    } else {
        "80, 443"
    };
    let hosts = if hosts.is_empty() {
        "*".to_owned()
    } else {
        hosts.join(",")
    };
    vec![
        name,
        or_none(text(object, "spec.ingressClassName").to_owned()).into(),
        hosts.into(),
        addresses.join(",").into(),
        ports.into(),
        age,
    ]
}

fn event(object: &Value, name: Value) -> Vec<Value> {
    let first_of = |paths: &[&str]| {
        paths
            .iter()
            .map(|path| text(object, path))
            .find(|found| !found.is_empty())
            .unwrap_or("")
            .to_owned()
    };
    let last = first_of(&[
        "series.lastObservedTime",
        "lastTimestamp",
        "deprecatedLastTimestamp",
        "eventTime",
        "metadata.creationTimestamp",
    ]);
    let first = first_of(&[
        "firstTimestamp",
        "deprecatedFirstTimestamp",
        "eventTime",
        "metadata.creationTimestamp",
    ]);
    let about = if object["involvedObject"].is_object() {
        &object["involvedObject"]
    } else {
        &object["regarding"]
    };
    let count = object::at(object, "count")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    vec![
        age(&last).into(),
        object["type"].clone(),
        object["reason"].clone(),
        format!(
            "{}/{}",
            text(about, "kind").to_lowercase(),
            text(about, "name")
        )
        .into(),
        text(about, "fieldPath").into(),
        first_of(&[
            "source.component",
            "reportingComponent",
            "reportingController",
        ])
        .into(),
        first_of(&["message", "note"]).trim().into(),
        age(&first).into(),
        json!(count),
        name,
    ]
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
