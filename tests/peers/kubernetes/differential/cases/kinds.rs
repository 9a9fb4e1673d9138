//! What only some kinds have: lists of custom resources, strategies, types of Services, the order of collections.

use serde_json::{Value, json};

use super::super::play::Request;
use super::{APPLY, DEPLOYMENTS, JSON, MERGE, STRATEGIC, THINGS, deployment, post, thing};

/// Custom resources that are wrong in several ways at once: in their lists, in what they are scaled by, in their kind.
pub(super) fn wrong() -> Vec<Request> {
    let with = |spec: Value| {
        let mut object = thing("t");
        object["spec"] = spec;
        object
    };
    let lists = json!({
        "size": 1, "tags": ["x", "y", "x", "x"], "parts": [{"id": "a"}, {"id": "b"}, {"id": "a"}],
    });
    let mut objects = vec![
        with(json!([1])),
        with(json!([])),
        with(json!("text")),
        with(json!(1.5)),
        with(json!({"size": 1, "replicas": [1]})),
        with(json!({"size": 1, "replicas": {"a": 1}})),
        with(json!({"size": 1, "replicas": -1})),
        with(json!({"size": 1, "replicas": 3_000_000_000_i64})),
        with(json!({"size": 1, "replicas": 1.5})),
        with(json!({"size": 1, "parts": [5, {"id": "a"}, {"id": "a"}]})),
        with(json!({"size": 1, "parts": [null, {"id": "a"}, {}]})),
        with(json!({"size": 1, "parts": [{"weight": 1}, {"weight": 2}]})),
        with(json!({"size": "x", "tags": [["x"], ["x"]], "parts": [{"id": 1}, {"id": 1}]})),
        with(json!({"size": 1, "tags": [1, 1, "1", {"a": 1}, {"a": 1}]})),
        with(lists.clone()),
    ];
    for spec in [lists, json!({"size": 70, "low": 9, "high": 3}), json!([1])] {
        let mut other = with(spec);
        other["kind"] = "Other".into();
        objects.push(other);
    }
    let mut sequence = vec![post(THINGS, thing("a"))];
    for object in objects {
        sequence.push(post(THINGS, object.clone()));
        let mut known = object.clone();
        known["metadata"]["name"] = "a".into();
        known["metadata"]["resourceVersion"] = "@rv(Thing/@run-a/a)".into();
        sequence.push(Request::new("PUT", format!("{THINGS}/a")).body(JSON, known));
        let change = json!({"kind": object["kind"], "spec": object["spec"]});
        sequence.push(Request::new("PATCH", format!("{THINGS}/a")).body(MERGE, change));
        sequence.push(
            Request::new("PATCH", format!("{THINGS}/t"))
                .body(APPLY, object)
                .with("fieldManager", "one")
                .with("dryRun", "All"),
        );
    }
    for status in [
        json!([]),
        json!("x"),
        json!({"replicas": -1}),
        json!({"replicas": "x"}),
        json!({"conditions": [{"type": "A", "status": "True"}, {"type": "A", "status": "False"}]}),
    ] {
        let path = format!("{THINGS}/a/status");
        sequence.push(Request::new("PATCH", path).body(MERGE, json!({"status": status})));
    }
    sequence
}

/// What a Deployment cannot be: selectors without a meaning, what is no JSON, and strategies, which are shown as the server
/// has them inside.
pub(super) fn strategies() -> Vec<Request> {
    let strategies = [
        json!({"type": "Other"}),
        json!({"type": "Other", "rollingUpdate": {}}),
        json!({"type": "Other", "rollingUpdate": {"maxSurge": 1}}),
        json!({"type": "Other", "rollingUpdate": {"maxUnavailable": "5%", "maxSurge": "x"}}),
        json!({"type": "Recreate", "rollingUpdate": {}}),
        json!({"rollingUpdate": {"maxSurge": "x", "maxUnavailable": 0}}),
        json!({"rollingUpdate": {"maxSurge": "5", "maxUnavailable": 0}}),
        json!({"rollingUpdate": {"maxSurge": -1, "maxUnavailable": "101%"}}),
    ];
    let mut sequence = vec![post(DEPLOYMENTS, deployment("d"))];
    for selector in [
        json!({"matchLabels": {"app": "not a label"}}),
        json!({"matchLabels": {"not a key": "x"}}),
        json!({"matchExpressions": [{"key": "not a key", "operator": "Exists"}]}),
        json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["not a label"]}]}),
    ] {
        let mut one = deployment("e");
        one["spec"]["selector"] = selector;
        sequence.push(post(DEPLOYMENTS, one));
    }
    for body in [
        "2026-01-01",
        "01",
        "-",
        "1.",
        "1.x",
        "1e",
        "1e+",
        "1ex",
        "-0.5e3 x",
    ] {
        sequence.push(post(DEPLOYMENTS, json!(body)));
    }
    for strategy in strategies {
        let mut one = deployment("e");
        one["spec"]["strategy"] = strategy.clone();
        sequence.push(post(DEPLOYMENTS, one));
        for content in [MERGE, STRATEGIC] {
            let change = json!({"spec": {"strategy": strategy.clone()}});
            sequence.push(
                Request::new("PATCH", format!("{DEPLOYMENTS}/d"))
                    .body(content, change)
                    .with("dryRun", "All"),
            );
        }
    }
    sequence
}

/// A Service goes from one type to another and back, each time by another manager.
pub(super) fn services() -> Vec<Vec<Request>> {
    let path = "/api/v1/namespaces/@run-a/services";
    let one = format!("{path}/s");
    let service = |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
    let ports = json!([{"port": 80}]);
    let external = json!({"type": "ExternalName", "externalName": "a.example"});
    let mut sequences = Vec::new();
    for began in [
        json!({"ports": ports.clone()}),
        json!({"ports": ports.clone(), "type": "NodePort"}),
        json!({"ports": ports.clone(), "type": "LoadBalancer", "externalTrafficPolicy": "Local"}),
        json!({"ports": ports.clone(), "clusterIP": "None", "sessionAffinity": "ClientIP"}),
        external.clone(),
    ] {
        for content in [JSON, MERGE, STRATEGIC, APPLY] {
            let mut sequence =
                vec![post(path, service(began.clone())).with("fieldManager", "maker")];
            for (index, kind) in [
                "ExternalName",
                "ClusterIP",
                "NodePort",
                "ExternalName",
                "LoadBalancer",
                "ClusterIP",
            ]
            .into_iter()
            .enumerate()
            {
                let mut spec = json!({"type": kind, "ports": ports.clone()});
                if kind == "ExternalName" {
                    spec = external.clone();
                }
                let request = match content {
                    JSON => Request::new("PUT", one.clone()).body(JSON, service(spec)),
                    APPLY => Request::new("PATCH", one.clone())
                        .body(APPLY, service(spec))
                        .with("force", "true"),
                    _ => Request::new("PATCH", one.clone())
                        .body(content, json!({"spec": {"type": kind}})),
                };
                sequence.push(request.with("fieldManager", format!("m{}", index % 3)));
            }
            sequences.push(sequence);
        }
    }
    sequences
}

/// A collection goes in an order, which watches see.
pub(super) fn collections() -> Vec<Vec<Request>> {
    let paths = [
        "/api/v1/namespaces/@run-a/configmaps",
        "/api/v1/namespaces/@run-a/pods",
        "/api/v1/namespaces/@run-a/services",
        DEPLOYMENTS,
        THINGS,
    ];
    let sequence = |path: &'static str| {
        let mut sequence = Vec::new();
        for name in ["c", "a", "b", "d"] {
            let mut object = match path {
                DEPLOYMENTS => deployment(name),
                THINGS => thing(name),
                path if path.ends_with("pods") => {
                    let spec = json!({"containers": [{"name": "main", "image": "b"}]});
                    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
                }
                path if path.ends_with("services") => {
                    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
                }
                _ => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}),
            };
            object["metadata"]["labels"] = json!({"app": if name == "d" { "y" } else { "x" }});
            if name == "b" {
                object["metadata"]["finalizers"] = json!(["example.com/a"]);
            }
            sequence.push(post(path, object));
        }
        sequence.extend([
            Request::new("DELETE", path).with("labelSelector", "app=x"),
            Request::new("DELETE", path),
            Request::new("GET", path),
            Request::new("WATCH", path)
                .with("watch", "1")
                .with("resourceVersion", "@began")
                .with("timeoutSeconds", "1"),
        ]);
        sequence
    };
    paths.into_iter().map(sequence).collect()
}
