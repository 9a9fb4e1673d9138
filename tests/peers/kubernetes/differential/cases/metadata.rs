//! Metadata, what owns it, and what a status leaves alone.

use serde_json::{Value, json};

use super::super::play::Request;
use super::{APPLY, DEPLOYMENTS, JSON, MERGE, STRATEGIC, THINGS, deployment, post, thing};

/// Nulls where there is metadata: what is applied is owned, and nothing is there.
pub(super) fn nothing() -> Vec<Request> {
    let worlds = "/apis/example.com/v1/worlds";
    let maps = "/api/v1/namespaces/@run-a/configmaps";
    let mut sequence = Vec::new();
    for (path, name, version, kind) in [
        (THINGS, "a", "example.com/v1", "Thing"),
        (worlds, "@run-w", "example.com/v1", "World"),
        (maps, "a", "v1", "ConfigMap"),
    ] {
        let one = format!("{path}/{name}");
        let object = |metadata: Value| {
            let mut object =
                json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
            if kind == "Thing" {
                object["spec"] = json!({"size": 1});
            }
            if let (Value::Object(place), Value::Object(more)) = (&mut object["metadata"], metadata)
            {
                place.extend(more);
            }
            object
        };
        let apply = |metadata: Value, manager: &str| {
            Request::new("PATCH", one.clone())
                .body(APPLY, object(metadata))
                .with("fieldManager", manager)
                .with("force", "true")
        };
        let all = json!({"labels": null, "annotations": null, "finalizers": null, "ownerReferences": null});
        let labelled = json!({"labels": {"a": "1"}, "annotations": {"b": "2"}});
        sequence.extend([
            apply(json!({"labels": null}), "one"),
            Request::new("GET", one.clone()),
            apply(json!({"labels": null}), "one"),
            Request::new("LATER", one.clone()),
            apply(json!({"labels": null}), "one"),
            apply(json!({"labels": null}), "one"),
            Request::new("LATER", one.clone()),
            apply(json!({}), "one"),
            apply(json!({"labels": null}), "one"),
            apply(all.clone(), "two"),
            apply(labelled.clone(), "one"),
            apply(json!({"labels": null}), "two"),
            // A custom resource keeps such a null, and is written anew by the next change of nothing.
            apply(json!({"labels": {"a": if kind == "ConfigMap" { Value::Null } else { "3".into() }}}), "three"),
            apply(json!({"labels": {}}), "two"),
            apply(json!({}), "one"),
            apply(json!({}), "two"),
            Request::new("DELETE", one.clone()),
            apply(all.clone(), "one"),
            Request::new("PATCH", one.clone())
                .body(MERGE, json!({"metadata": {"labels": {"a": "1"}}})),
            apply(json!({}), "one"),
            Request::new("DELETE", one.clone()),
            post(path, object(all.clone())),
            apply(all.clone(), "one"),
            apply(labelled, "two"),
            Request::new("PUT", one.clone()).body(JSON, {
                let mut object = object(all);
                object["metadata"]["resourceVersion"] = format!(
                    "@rv({kind}/{}/{name})",
                    if kind == "World" { "" } else { "@run-a" }
                )
                .into();
                object
            }),
            Request::new("DELETE", one),
        ]);
    }
    sequence
}

/// Through its status nothing else of an object is changed, and not all of that is owned.
pub(super) fn statuses() -> Vec<Vec<Request>> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "b"}]}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "@run-c"}});
    let condition = json!({"type": "X", "status": "True", "reason": "R", "message": "M", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let kinds = [
        (DEPLOYMENTS, deployment("a"), json!({"replicas": 1})),
        (
            "/api/v1/namespaces/@run-a/pods",
            pod,
            json!({"phase": "Running"}),
        ),
        (
            "/api/v1/namespaces/@run-a/services",
            service,
            json!({"conditions": [condition]}),
        ),
        (
            "/api/v1/namespaces",
            namespace,
            json!({"phase": "Terminating"}),
        ),
        (THINGS, thing("a"), json!({"phase": "Ready"})),
    ];
    let owner = |name: &str| json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": "11111111-2222-3333-4444-555555555555"}]);
    let sequence = |(path, mut object, status): (&str, Value, Value)| {
        let one = format!(
            "{path}/{}",
            object["metadata"]["name"].as_str().unwrap_or("")
        );
        let (below, mut known) = (format!("{one}/status"), String::new());
        if let Some(kind) = object["kind"].as_str() {
            let namespace = if kind == "Namespace" { "" } else { "@run-a" };
            let name = one.rsplit('/').next().unwrap_or("");
            known = format!("@rv({kind}/{namespace}/{name})");
        }
        let extend = |object: &mut Value, more: Value| {
            if let (Value::Object(place), Value::Object(more)) = (&mut object["metadata"], more) {
                place.extend(more);
            }
        };
        let first = json!({"labels": {"run": "@run", "a": "1"}, "annotations": {"a": "1"}, "finalizers": ["example.com/a"], "ownerReferences": owner("a")});
        let second = json!({"labels": {"run": "@run", "b": "2"}, "annotations": {"b": "2"}, "finalizers": ["example.com/b"], "ownerReferences": owner("b")});
        extend(&mut object, first);
        let mut sequence = vec![post(path, object.clone()).with("fieldManager", "maker")];
        let mut other = object.clone();
        extend(&mut other, second.clone());
        other["status"] = status.clone();
        let mut changed = other.clone();
        if path == DEPLOYMENTS || path == THINGS {
            changed["spec"]["replicas"] = 7.into();
        }
        let apply = |path: &str, body: &Value, manager: &str| {
            Request::new("PATCH", path)
                .body(APPLY, body.clone())
                .with("fieldManager", manager)
                .with("force", "true")
        };
        let at = |mut object: Value| {
            object["metadata"]["resourceVersion"] = known.as_str().into();
            object
        };
        let metadata = json!({"metadata": second, "status": status});
        let mut small = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": other["metadata"], "status": status});
        let mut dropped = small.clone();
        dropped["metadata"] = json!({"name": object["metadata"]["name"]});
        small["metadata"]["name"] = object["metadata"]["name"].clone();
        sequence.extend([
            Request::new("PUT", below.clone())
                .body(JSON, at(other.clone()))
                .with("fieldManager", "put"),
            Request::new("PUT", below.clone()).body(JSON, {
                let mut cleared = at(other.clone());
                cleared["metadata"]["managedFields"] = json!([]);
                cleared
            }),
            Request::new("PUT", below.clone())
                .body(JSON, at(changed))
                .with("fieldManager", "put2"),
            Request::new("PATCH", below.clone())
                .body(MERGE, metadata.clone())
                .with("fieldManager", "merge"),
            Request::new("PATCH", below.clone())
                .body(STRATEGIC, metadata)
                .with("fieldManager", "strategic"),
            apply(&below, &small, "one"),
            apply(&below, &dropped, "one"),
            apply(&below, &small, "two"),
            apply(&one, &small, "three"),
            Request::new("PUT", one.clone())
                .body(JSON, at(other))
                .with("fieldManager", "put"),
            Request::new("PUT", one.clone())
                .body(JSON, at(object))
                .with("fieldManager", "last"),
            Request::new("GET", one),
        ]);
        sequence
    };
    kinds.into_iter().map(sequence).collect()
}

/// What the server alone says of an object's life is no client's to say.
pub(super) fn moments() -> Vec<Vec<Request>> {
    let maps = "/api/v1/namespaces/@run-a/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let kinds = [
        (maps, map),
        (DEPLOYMENTS, deployment("a")),
        (THINGS, thing("a")),
    ];
    let said = [
        json!({"deletionTimestamp": "2001-01-01T00:00:00Z"}),
        json!({"deletionGracePeriodSeconds": 5}),
        json!({"deletionTimestamp": "2001-01-01T00:00:00Z", "deletionGracePeriodSeconds": 5}),
        json!({"generation": 7}),
        json!({"generation": 0}),
        json!({"creationTimestamp": "2001-01-01T00:00:00Z"}),
        json!({"creationTimestamp": null}),
        json!({"generateName": "x-"}),
        json!({"generateName": "y-"}),
        json!({"generateName": ""}),
    ];
    let sequence = |(path, mut object): (&str, Value)| {
        let one = format!("{path}/a");
        object["metadata"]["finalizers"] = json!(["example.com/a"]);
        let kind = object["kind"].as_str().unwrap_or("").to_owned();
        let mut sequence = vec![post(path, object.clone())];
        for _ in 0..2 {
            for more in &said {
                let mut object = object.clone();
                if let (Value::Object(place), Value::Object(more)) =
                    (&mut object["metadata"], more.clone())
                {
                    place.extend(more);
                }
                object["metadata"]["resourceVersion"] = format!("@rv({kind}/@run-a/a)").into();
                let apply = {
                    let mut object = object.clone();
                    if let Some(metadata) = object["metadata"].as_object_mut() {
                        metadata.shift_remove("resourceVersion");
                        // A custom resource keeps what is empty, and is written anew by the next change of nothing.
                        metadata.retain(|_, item| path != THINGS || item != "");
                    }
                    object
                };
                sequence.extend([
                    Request::new("PUT", one.clone()).body(JSON, object),
                    Request::new("PATCH", one.clone()).body(MERGE, json!({"metadata": more})),
                    Request::new("PATCH", one.clone())
                        .body(APPLY, apply)
                        .with("fieldManager", "one")
                        .with("force", "true"),
                ]);
            }
            // And again while it goes.
            sequence.push(Request::new("DELETE", one.clone()));
        }
        sequence
    };
    kinds.into_iter().map(sequence).collect()
}

/// More managers than an object remembers.
pub(super) fn managers() -> Vec<Request> {
    let maps = "/api/v1/namespaces/@run-a/configmaps";
    let one = format!("{maps}/a");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "1"}});
    let mut sequence = vec![post(maps, map).with("fieldManager", "aa")];
    for index in 0..15 {
        let change = json!({"data": {format!("k{index}"): "x"}, "metadata": {"labels": {"l": index.to_string()}}});
        let request = Request::new("PATCH", one.clone()).body(MERGE, change);
        sequence.push(request.with("fieldManager", format!("m{index:02}")));
        if index == 6 {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"applied": "1"}});
            let request = Request::new("PATCH", one.clone()).body(APPLY, object);
            sequence.push(request.with("fieldManager", "applier"));
        }
    }
    sequence.push(Request::new("GET", one));
    sequence
}
