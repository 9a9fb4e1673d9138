//! What random sequences found.

use serde_json::{Value, json};

use super::{APPLY, JSON, MERGE, PATCH, Request, SECRETS, STRATEGIC, THINGS, post};

const MAPS: &str = "/api/v1/namespaces/@run-a/configmaps";
const WORLDS: &str = "/apis/example.com/v1/worlds";

/// Sequences of all kinds.
pub(super) fn found() -> Vec<Vec<Request>> {
    let mut sequences = vec![kept(), nameless(), unknown()];
    sequences.extend([SECRETS, MAPS].map(frozen));
    sequences
}

/// Fields that are applied and not kept are written all the same, so that the next change of nothing is one.
fn kept() -> Vec<Request> {
    let one = format!("{WORLDS}/@run-a");
    let world = |spec: Value| {
        json!({
            "apiVersion": "example.com/v1", "kind": "World",
            "metadata": {"name": "@run-a", "labels": {"run": "@run"}}, "spec": spec,
        })
    };
    let apply = |spec: Value, manager: &str| {
        Request::new("PATCH", one.clone())
            .body(APPLY, world(spec))
            .with("fieldManager", manager)
            .with("force", "true")
    };
    let nothing = || Request::new("PATCH", one.clone()).body(MERGE, json!({}));
    vec![
        apply(json!({"nonsense": 1}), "one"),
        apply(json!({"nonsense": 1}), "one"),
        nothing(),
        nothing(),
        apply(json!({"nonsense": 1}), "one"),
        Request::new("PATCH", one.clone()).body(PATCH, json!([])),
        apply(json!({"nonsense": 2}), "two"),
        Request::new("PATCH", one.clone()).body(MERGE, json!({"spec": {"level": null}})),
        nothing(),
        apply(json!({}), "one"),
        apply(json!({"level": 7}), "one"),
        nothing(),
        Request::new("GET", one.clone()),
    ]
}

/// What admission refuses has a name in any case.
fn nameless() -> Vec<Request> {
    let pod = json!({"metadata": {}, "spec": {"containers": [], "priorityClassName": "nothing"}});
    let mut generated = pod.clone();
    generated["metadata"]["generateName"] = "gen-".into();
    let role = json!({"metadata": {}, "rules": []});
    vec![
        post("/api/v1/namespaces/@run-b/pods", pod),
        post("/api/v1/namespaces/@run-b/pods", generated),
        Request::new("DELETE", "/api/v1/namespaces/@run-b"),
        post(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/@run-b/roles",
            role.clone(),
        ),
        post(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/@run-b/roles",
            role,
        )
        .with("dryRun", "All"),
    ]
}

/// Unknown fields of custom resources are said in order.
fn unknown() -> Vec<Request> {
    let thing = json!({
        "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"},
        "spec": {"size": 1, "whole": {"z": "1"}, "unknown": 1, "nested": {"b": 1, "a": 1}}, "above": 1,
    });
    ["Strict", "Warn"]
        .map(|how| post(THINGS, thing.clone()).with("fieldValidation", how))
        .to_vec()
}

/// An empty map is not the same as none in a secret in which nothing may change, but in a configuration.
fn frozen(path: &'static str) -> Vec<Request> {
    let one = format!("{path}/a");
    let kind = if path == SECRETS {
        "Secret"
    } else {
        "ConfigMap"
    };
    let object = |data: Value| {
        let mut object =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a"}, "immutable": true});
        if !data.is_null() {
            object["data"] = data;
        }
        object
    };
    let mut requests = vec![post(path, object(Value::Null))];
    for change in [
        json!({"data": {"one": null}}),
        json!({"data": {}}),
        json!({"data": null}),
        json!({"metadata": {"labels": {"a": "b"}}}),
    ] {
        for content in [MERGE, STRATEGIC] {
            requests.push(Request::new("PATCH", one.clone()).body(content, change.clone()));
        }
    }
    for data in [Value::Null, json!({})] {
        requests.push(Request::new("PUT", one.clone()).body(JSON, object(data.clone())));
        let apply = Request::new("PATCH", one.clone()).body(APPLY, object(data));
        requests.push(apply.with("fieldManager", "one"));
    }
    requests
}
