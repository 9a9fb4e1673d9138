//! Sequences that showed a difference once, or that chance is slow to find: the same at each run.

use serde_json::{Value, json};

use super::play::Request;

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

/// A scale is applied, patched and replaced by several managers; after each the object is looked at.
fn scaled(path: &'static str) -> Vec<Vec<Request>> {
    let one = format!("{path}/a");
    let scale = format!("{one}/scale");
    let make = |replicas: Option<i64>, applier: bool| {
        let mut body = match path {
            DEPLOYMENTS => deployment("a"),
            _ => thing("a"),
        };
        if let Some(replicas) = replicas {
            body["spec"]["replicas"] = replicas.into();
        }
        match applier {
            true => Request::new("PATCH", format!("{path}/a"))
                .body(APPLY, body)
                .with("fieldManager", "maker"),
            false => post(path, body).with("fieldManager", "maker"),
        }
    };
    let of = |replicas: Value| {
        let mut body =
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}});
        if !replicas.is_null() {
            body["spec"] = json!({"replicas": replicas});
        }
        body
    };
    let apply = |body: Value, manager: &str, force: bool| {
        let request = Request::new("PATCH", scale.clone())
            .body(APPLY, body)
            .with("fieldManager", manager);
        match force {
            true => request.with("force", "true"),
            false => request,
        }
    };
    let looked = |requests: Vec<Request>| -> Vec<Request> {
        requests
            .into_iter()
            .flat_map(|request| [request, Request::new("GET", one.clone())])
            .collect()
    };
    let merge = |content: &'static str, body: Value| {
        Request::new("PATCH", scale.clone())
            .body(content, body)
            .with("fieldManager", "patcher")
    };
    let mut labelled = of(json!(2));
    labelled["metadata"]["labels"] = json!({"app": "x"});
    let mut placed = of(json!(2));
    placed["metadata"]["namespace"] = "elsewhere".into();
    let mut named = of(json!(2));
    named["metadata"]["name"] = "other".into();
    let mut shown = of(json!(2));
    shown["status"] = json!({"replicas": 7});
    let mut versioned = of(json!(2));
    versioned["metadata"]["resourceVersion"] = "1".into();
    let mut unknown = of(json!(2));
    unknown["spec"]["nonsense"] = 1.into();
    let mut other = of(json!(2));
    other["apiVersion"] = "apps/v1".into();
    let mut sequences = Vec::new();
    for (replicas, applier) in [
        (None, false),
        (Some(1), false),
        (Some(1), true),
        (Some(0), false),
    ] {
        sequences.push(looked(vec![
            make(replicas, applier),
            apply(of(json!(1)), "one", false),
            apply(of(json!(2)), "one", false),
            apply(of(json!(2)), "one", true),
            apply(of(json!(2)), "one", true),
            apply(of(json!(3)), "one", false),
            apply(of(json!(3)), "two", false),
            apply(of(json!(4)), "two", false),
            apply(of(json!(4)), "two", true),
            Request::new("PUT", scale.clone())
                .body(JSON, of(json!(5)))
                .with("fieldManager", "three"),
            apply(of(json!(5)), "one", false),
            apply(of(Value::Null), "one", true),
            apply(of(json!(0)), "one", true),
            make(Some(6), true),
        ]));
        sequences.push(looked(vec![
            make(replicas, applier),
            apply(of(json!(2)), "maker", false),
            apply(of(json!(2)), "maker", true),
            apply(of(Value::Null), "maker", true),
            merge(MERGE, json!({"spec": {"replicas": 3}})),
            apply(of(json!(4)), "one", false),
            merge(
                PATCH,
                json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
            ),
            apply(of(json!(4)), "one", false),
            merge(STRATEGIC, json!({"spec": {"replicas": 5}})),
            merge(MERGE, json!({"spec": null})),
            apply(of(json!(1)), "one", false),
        ]));
    }
    let made = [make(Some(1), false)];
    let odd = [
        of(json!(-1)),
        of(json!("2")),
        of(json!(1.5)),
        labelled,
        placed,
        named,
        shown,
        versioned,
        unknown,
        other,
        json!({"kind": "Scale"}),
        json!([]),
        json!({}),
        Value::Null,
    ];
    let requests = odd.into_iter().flat_map(|body| {
        [
            apply(body.clone(), "one", true),
            apply(body.clone(), "one", true).with("dryRun", "All"),
            Request::new("PUT", scale.clone()).body(JSON, body),
        ]
    });
    sequences.push(looked(made.into_iter().chain(requests).collect()));
    let mut wrong = vec![make(Some(1), false)];
    for body in [
        json!({"spec": {"replicas": -1}}),
        json!({"spec": {"replicas": "2"}}),
        json!({"spec": {"replicas": 1.5}}),
        json!({"spec": {"nonsense": 1}}),
        json!({"metadata": {"name": "other"}}),
        json!({"metadata": {"namespace": "elsewhere"}}),
        json!({"metadata": {"uid": "x"}}),
        json!({"metadata": {"resourceVersion": "1"}}),
        json!({"metadata": {"labels": {"not a label": "x"}}}),
        json!({"kind": "Other"}),
        json!({"apiVersion": "apps/v1"}),
        json!({"status": {"replicas": 4}}),
        json!([]),
        json!("{"),
    ] {
        for content in [MERGE, STRATEGIC, PATCH] {
            for validation in ["Warn", "Strict"] {
                wrong.push(merge(content, body.clone()).with("fieldValidation", validation));
            }
        }
    }
    sequences.push(wrong);
    let mut rest = vec![
        Request::new("GET", scale.clone()),
        apply(of(json!(1)), "one", false),
        merge(MERGE, json!({})),
        make(Some(2), false),
        Request::new("GET", scale.clone()),
        apply(of(json!(1)), "", false),
        apply(of(json!(1)), "one", false).with("dryRun", "Some"),
        merge(MERGE, json!({})).with("force", "true"),
        merge("text/plain", json!({})),
        Request::new("POST", scale.clone()).body(JSON, of(json!(1))),
        Request::new("DELETE", scale.clone()),
    ];
    rest.extend(labelled_puts(&scale, of(json!(3))));
    sequences.push(rest);
    sequences
}

/// A scale that brings along what it may, and what it may not.
fn labelled_puts(scale: &str, body: Value) -> Vec<Request> {
    [
        json!({"resourceVersion": "1"}),
        json!({"uid": "11111111-2222-3333-4444-555555555555"}),
        json!({"labels": {"not a label": "x"}}),
        json!({"name": "other"}),
        json!({"name": ""}),
        json!({"namespace": "@run-a"}),
    ]
    .into_iter()
    .map(|more| {
        let mut body = body.clone();
        if let (Value::Object(place), Value::Object(more)) = (&mut body["metadata"], more) {
            place.extend(more);
        }
        Request::new("PUT", scale).body(JSON, body)
    })
    .collect()
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

/// Lists merge item by item, and what is new comes before what only the server has; what becomes another type is owned anew.
fn merged() -> Vec<Request> {
    let accounts = "/api/v1/namespaces/@run-a/serviceaccounts";
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"},
        "secrets": [{"name": "x"}, {"name": "y"}],
    });
    let worlds = "/apis/example.com/v1/worlds";
    let world = |free: Value| json!({"apiVersion": "example.com/v1", "kind": "World", "metadata": {"name": "@run-w"}, "free": free});
    let mut sequence = vec![post(accounts, account), post(DEPLOYMENTS, deployment("d"))];
    for secrets in [
        json!([{"name": "z"}]),
        json!([{"name": "y"}, {"name": "x"}]),
        json!([{"name": "w"}, {"name": "y"}, {"name": "v"}]),
        json!([{"name": "x", "$patch": "delete"}, {"name": "u"}]),
    ] {
        let change = json!({"secrets": secrets});
        sequence.push(Request::new("PATCH", format!("{accounts}/a")).body(STRATEGIC, change));
    }
    for containers in [
        json!([{"name": "added", "image": "c"}]),
        json!([{"name": "main", "image": "d"}]),
        json!([{"name": "last", "image": "e"}, {"name": "main", "image": "f"}]),
    ] {
        let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        sequence.push(Request::new("PATCH", format!("{DEPLOYMENTS}/d")).body(STRATEGIC, change));
    }
    sequence
        .push(post(worlds, world(json!({"a": [1], "b": {"c": 2}}))).with("fieldManager", "two"));
    let one = format!("{worlds}/@run-w");
    for free in [
        json!(true),
        json!({"d": 1}),
        json!([{"e": 1}]),
        json!("text"),
    ] {
        sequence.push(
            Request::new("PATCH", one.clone())
                .body(APPLY, world(free))
                .with("fieldManager", "one")
                .with("force", "true"),
        );
    }
    for change in [json!({"kind": 5}), json!({"apiVersion": {}})] {
        for path in [one.clone(), format!("{accounts}/a")] {
            sequence.push(Request::new("PATCH", path).body(MERGE, change.clone()));
        }
    }
    sequence
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
