//! Sequences that showed a difference once, or that chance is slow to find: the same at each run.

mod evictions;
mod found;
mod kinds;
mod lists;
mod metadata;
mod patches;
mod scales;
mod twice;

use serde_json::{Value, json};

use super::play::Request;
use evictions::evictions;
use found::found;
use kinds::{collections, services, strategies, wrong};
use lists::lists;
use metadata::{managers, moments, nothing, statuses};
use patches::{merged, operated, retyped, strategic};
use scales::scaled;
use twice::twice;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/@run-a/deployments";
const SECRETS: &str = "/api/v1/namespaces/@run-a/secrets";
const THINGS: &str = "/apis/example.com/v1/namespaces/@run-a/things";

/// All of them, to be played side by side.
pub fn all() -> Vec<Vec<Request>> {
    let mut sequences = vec![on_trial(), bytes(), misplaced(), times()];
    sequences.extend([DEPLOYMENTS, THINGS].into_iter().flat_map(scaled));
    sequences.push(merged());
    sequences.push(decoded());
    sequences.push(converted());
    sequences.extend([strategic(), operated(), retyped()]);
    sequences.extend([nothing(), wrong(), strategies()]);
    sequences.extend(services());
    sequences.extend(collections());
    sequences.extend(statuses());
    sequences.extend(moments());
    sequences.push(managers());
    sequences.extend(twice());
    sequences.extend(found());
    sequences.extend(evictions());
    sequences.extend(lists());
    sequences
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "main", "image": "b"}]}},
        },
    })
}

fn containing(container: Value) -> Value {
    let mut deployment = deployment("d");
    let place = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    if let (Value::Object(place), Value::Object(more)) = (place, container) {
        place.extend(more);
    }
    deployment
}

fn thing(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"size": 1}})
}

fn post(path: &str, body: Value) -> Request {
    Request::new("POST", path).body(JSON, body)
}

/// What the query of a deletion says counts for nothing beside a body, not even that it is on trial.
fn on_trial() -> Vec<Request> {
    let path = "/api/v1/namespaces/@run-a/configmaps";
    let map =
        |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let one = |name: &str| format!("{path}/{name}");
    let trial = |request: Request| request.with("dryRun", "All");
    vec![
        post(path, map("a")),
        post(path, map("b")),
        trial(Request::new("DELETE", one("a"))),
        trial(Request::new("DELETE", one("a")).body(JSON, json!({"orphanDependents": true}))),
        Request::new("GET", one("a")),
        trial(Request::new("DELETE", one("b")).body(JSON, json!({"dryRun": ["All"]}))),
        trial(Request::new("DELETE", one("b")).body(JSON, json!({}))),
        Request::new("GET", one("b")),
        post(path, map("c")),
        trial(Request::new("DELETE", path)),
        Request::new("GET", one("c")),
        trial(Request::new("DELETE", path).body(JSON, json!({"propagationPolicy": "Background"}))),
        Request::new("GET", one("c")),
    ]
}

/// Bytes are base64, of which the last letter may have something left over, or lists of numbers.
fn bytes() -> Vec<Request> {
    let secret = |data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data});
    let given = [
        json!({"a": []}),
        json!({"a": [0, 1, 2], "b": "AAF=", "c": null, "d": "AA\nEC"}),
        json!({"a": [1, 300, "x"]}),
        json!({"a": [null, 1.0]}),
        json!({"a": ["x"]}),
        json!({"a": {}}),
        json!({"a": 5}),
        json!({"a": "AAE"}),
        json!([]),
    ];
    let mut sequence = vec![
        Request::new("PUT", format!("{SECRETS}/s")).body(JSON, secret(json!({"a": []}))),
        post(SECRETS, secret(json!({"a": "AAEC"}))),
    ];
    for data in given {
        let mut one = secret(data.clone());
        one["metadata"]["name"] = "t".into();
        sequence.push(post(SECRETS, one).with("dryRun", "All"));
        for content in [MERGE, STRATEGIC, APPLY] {
            let body = match content {
                APPLY => secret(data.clone()),
                _ => json!({"data": data.clone()}),
            };
            let request = Request::new("PATCH", format!("{SECRETS}/s")).body(content, body);
            sequence.push(match content {
                APPLY => request.with("fieldManager", "one").with("force", "true"),
                _ => request,
            });
        }
    }
    sequence
}

/// A wrong name is found after everything else that is wrong with what is applied.
fn misplaced() -> Vec<Request> {
    let apply = |mut body: Value, name: &str| {
        body["metadata"]["name"] = name.into();
        Request::new("PATCH", format!("{DEPLOYMENTS}/a"))
            .body(APPLY, body)
            .with("fieldManager", "two")
    };
    let bad = || containing(json!({"resources": {"requests": {"cpu": "x"}}}));
    let mut placed = bad();
    placed["metadata"]["namespace"] = "@run-a".into();
    let mut elsewhere = bad();
    elsewhere["metadata"]["namespace"] = "elsewhere".into();
    let mut known = deployment("a");
    known["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
    vec![
        apply(bad(), "other"),
        apply(placed.clone(), "other"),
        apply(elsewhere.clone(), "a"),
        apply(known, "other"),
        apply(deployment("a"), "a"),
        apply(bad(), "other"),
        apply(placed, "other"),
        apply(elsewhere, "a"),
        apply(deployment("a"), "other"),
    ]
}

/// Times are kept in UTC and in whole seconds.
fn times() -> Vec<Request> {
    let conditions = |time: Value| {
        json!({"status": {"conditions": [{
            "type": "Available", "status": "True", "reason": "R", "message": "M",
            "lastTransitionTime": time, "lastUpdateTime": "2026-01-01T00:00:00.5+02:00",
        }]}})
    };
    let mut sequence = vec![post(DEPLOYMENTS, deployment("d"))];
    for time in [
        json!("2026-01-01T00:00:00Z"),
        json!("2026-01-01T1:00:00-01:30"),
        json!("2026-01-01"),
        json!("2026-02-30T00:00:00Z"),
        json!("2026-01-01T00:00:00+25:00"),
        json!("2026-01-01T00:00:00 Z"),
        json!(""),
        json!(5),
        json!({}),
        json!(null),
    ] {
        for content in [MERGE, STRATEGIC] {
            let path = format!("{DEPLOYMENTS}/d/status");
            sequence.push(Request::new("PATCH", path).body(content, conditions(time.clone())));
        }
    }
    let leases = "/apis/coordination.k8s.io/v1/namespaces/@run-a/leases";
    for time in [
        "2026-01-01T00:00:00.123456Z",
        "2026-01-01T00:00:00.123456+01:00",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.1234567Z",
    ] {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"renewTime": time, "holderIdentity": "h", "leaseDurationSeconds": 5},
        });
        sequence.push(post(leases, lease).with("dryRun", "All"));
    }
    sequence
}

/// Containers with something of another type somewhere, or with zeros.
fn odd() -> Vec<Value> {
    // A plain value that is zero is left out, but not where Go has a pointer.
    let zeros = json!({
        "workingDir": "", "stdin": false, "tty": true, "imagePullPolicy": "",
        "env": [{"name": "A", "value": ""}],
        "ports": [{"containerPort": 80, "hostPort": 0, "name": "", "protocol": ""}],
        "livenessProbe": {"tcpSocket": {"port": 80, "host": ""}, "periodSeconds": 0},
        "securityContext": {"privileged": false, "runAsUser": 0},
    });
    vec![
        json!({"resources": {"requests": {"cpu": true}}}),
        json!({"resources": {"requests": {"cpu": []}}}),
        json!({"resources": {"requests": {"cpu": null}}}),
        json!({"resources": {"requests": {"cpu": "5KiKi"}}}),
        json!({"resources": {"requests": {"cpu": "."}}}),
        json!({"resources": {"requests": {"cpu": " 1 "}}}),
        json!({"resources": {"requests": []}}),
        json!({"livenessProbe": {"httpGet": 5}}),
        json!({"livenessProbe": {"httpGet": {"port": true}}}),
        json!({"livenessProbe": {"httpGet": {"port": 1.5}}}),
        json!({"livenessProbe": {"periodSeconds": 1.5}}),
        json!({"livenessProbe": {"periodSeconds": 2.0}}),
        json!({"livenessProbe": {"periodSeconds": 9_999_999_999_i64}}),
        json!({"args": [null, 5]}),
        json!({"args": [null]}),
        json!({"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": 5, "key": "k"}}}]}),
        json!({"env": [null]}),
        json!({"ports": {}}),
        json!({"ports": [[]]}),
        json!({"ports": [{"containerPort": "80"}]}),
        json!({"imagePullPolicy": {}}),
        json!({"stdin": "x"}),
        json!({"name": true}),
        json!({"securityContext": []}),
        // A type that reads itself is heard before a mistake that came first.
        json!({"env": [{"name": "A", "value": 1}], "resources": {"requests": {"cpu": "x"}}}),
        zeros,
    ]
}

/// What the decoder says of other types.
fn decoded() -> Vec<Request> {
    let metadata = [
        json!({"creationTimestamp": 5}),
        json!({"creationTimestamp": "x"}),
        json!({"generation": 1.0}),
        json!({"labels": {"a": 5}}),
        json!({"labels": []}),
        json!({"finalizers": [5]}),
        json!({"ownerReferences": {}}),
        json!({"annotations": {"a": null}}),
    ];
    let objects = odd().into_iter().map(containing);
    let more = metadata.into_iter().map(|more| {
        let mut body = deployment("d");
        if let (Value::Object(place), Value::Object(more)) = (&mut body["metadata"], more) {
            place.extend(more);
        }
        body
    });
    objects
        .chain(more)
        .map(|body| post(DEPLOYMENTS, body).with("dryRun", "All"))
        .collect()
}

/// What the converter says of other types.
fn converted() -> Vec<Request> {
    let mut sequence = vec![post(DEPLOYMENTS, deployment("d"))];
    for mut container in odd() {
        if container.get("name").is_none() {
            container["name"] = "main".into();
        }
        let change = json!({"spec": {"template": {"spec": {"containers": [container.clone()]}}}});
        for content in [STRATEGIC, APPLY] {
            let body = match content {
                APPLY => containing(container.clone()),
                _ => change.clone(),
            };
            let request = Request::new("PATCH", format!("{DEPLOYMENTS}/d"))
                .body(content, body)
                .with("dryRun", "All");
            sequence.push(match content {
                APPLY => request.with("fieldManager", "one").with("force", "true"),
                _ => request,
            });
        }
    }
    sequence
}
