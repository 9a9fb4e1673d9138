//! The rows of kinds that show more than their fields: pods, services, nodes, ingresses, events.

use serde_json::{Value, json};

use super::super::object::{self, list, text};
use super::cells::{age as ago, or_none, pairs};

pub fn pod(object: &Value, name: Value, age: Value) -> Vec<Value> {
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
        Some(last) if restarts > 0 => format!("{restarts} ({} ago)", ago(last)),
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

pub fn service(object: &Value, name: Value, age: Value) -> Vec<Value> {
    let kind = text(object, "spec.type");
    let balancers: Vec<&str> = list(object, "status.loadBalancer.ingress")
        .iter()
        .map(|one| match text(one, "ip") {
            "" => text(one, "hostname"),
            ip => ip,
        })
        .collect();
    let given = list(object, "spec.externalIPs").iter();
    let given = given.filter_map(Value::as_str);
    let addresses: Vec<&str> = match kind {
        "LoadBalancer" => balancers.into_iter().chain(given).collect(),
        _ => given.collect(),
    };
    let external = match kind {
        "ExternalName" => text(object, "spec.externalName").to_owned(),
        "LoadBalancer" if addresses.is_empty() => "<pending>".into(),
        _ if addresses.is_empty() => "<none>".into(),
        _ => addresses.join(","),
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

pub fn node(object: &Value, name: Value, age: Value) -> Vec<Value> {
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

pub fn ingress(object: &Value, name: Value, age: Value) -> Vec<Value> {
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

pub fn event(object: &Value, name: Value) -> Vec<Value> {
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
        ago(&last).into(),
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
        ago(&first).into(),
        json!(count),
        name,
    ]
}
