//! Patches: what merges, and what is no patch.

use serde_json::{Value, json};

use super::super::play::Request;
use super::{APPLY, DEPLOYMENTS, MERGE, PATCH, STRATEGIC, THINGS, deployment, post, thing};

/// Lists merge item by item, and what is new comes before what only the server has; what becomes another type is owned anew.
pub(super) fn merged() -> Vec<Request> {
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

/// Directives of strategic patches where they belong and where they do not.
pub(super) fn strategic() -> Vec<Request> {
    let mut deployment = deployment("d");
    deployment["metadata"]["labels"] = json!({"a": "1", "b": "2"});
    deployment["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    deployment["spec"]["template"]["spec"] = json!({
        "containers": [
            {"name": "main", "image": "b", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["x"]},
            {"name": "side", "image": "c"},
        ],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "nodeSelector": {"disk": "ssd"},
    });
    let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    let containers = |list: Value| pod(json!({"containers": list}));
    let env = |list: Value| containers(json!([{"name": "main", "env": list}]));
    let finalizers = |value: Value| json!({"metadata": {"finalizers": value}});
    let mut changes = vec![
        // On maps.
        json!({"metadata": {"$patch": "delete"}}),
        json!({"metadata": {"labels": {"$patch": "delete"}}}),
        json!({"metadata": {"labels": {"$patch": "delete", "c": "3"}}}),
        json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
        json!({"metadata": {"annotations": {"$patch": "replace", "c": "3"}}}),
        json!({"metadata": {"annotations": {"$patch": "delete"}}}),
        json!({"$patch": "delete"}),
        json!({"$patch": "replace"}),
        json!({"metadata": {"name": null}}),
        json!({"metadata": {"labels": {"$retainKeys": ["a"]}}}),
        json!({"metadata": {"labels": {"$retainKeys": ["a"], "b": "3"}}}),
        json!({"metadata": {"labels": {"$retainKeys": ["b"], "b": "3", "a": null}}}),
        json!({"metadata": {"labels": {"$retainKeys": "a"}}}),
        json!({"metadata": {"labels": {"$retainKeys": null}}}),
        json!({"metadata": {"annotations": {"$retainKeys": ["a"], "a": "1"}}}),
        json!({"metadata": {"labels": {"$nothing": "a"}}}),
        json!({"spec": {"$nothing": 1}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}),
        pod(json!({"nodeSelector": {"$patch": "replace", "zone": "a"}})),
        pod(json!({"nodeSelector": {"zone": "a", "disk": null}})),
        pod(json!({"securityContext": {"$patch": "replace", "runAsUser": 1}})),
        pod(json!({"affinity": {"$patch": "delete", "nodeAffinity": {}}})),
        // On lists.
        containers(json!([{"$patch": "replace"}, {"name": "only", "image": "z"}])),
        containers(json!([{"name": "only", "image": "z"}, {"$patch": "replace", "name": "main"}])),
        containers(json!([{"$patch": "delete"}])),
        containers(json!([{"$patch": "merge", "name": "main"}])),
        containers(json!([{"image": "z"}])),
        containers(json!([{"name": null, "image": "z"}])),
        containers(
            json!([{"name": "side", "$patch": "delete"}, {"name": "side", "image": "back"}]),
        ),
        containers(json!([{"name": "new", "$patch": "delete"}])),
        containers(
            json!([{"name": "new", "image": "z", "env": [{"name": "A", "$patch": "delete"}, {"name": "B"}]}]),
        ),
        containers(json!([{"name": "new", "image": "z"}, {"name": "new", "image": "y"}])),
        containers(json!([{"name": "main", "$patch": "replace", "image": "z"}])),
        containers(json!(["main"])),
        containers(json!([[]])),
        containers(json!([{"name": "main"}, "side"])),
        containers(json!([])),
        containers(json!({})),
        containers(json!("main")),
        env(json!([{"name": "B"}, {"name": "A", "value": null}])),
        env(json!([{"name": "C", "value": "3"}, {"name": "B", "value": "4"}])),
        env(json!([{"value": "3"}])),
        pod(json!({"containers": [{"name": "main", "args": ["y", "x"]}]})),
        pod(json!({"containers": [{"name": "main", "command": ["y", null]}]})),
        pod(
            json!({"containers": [{"name": "main", "resources": {"limits": {"cpu": "1", "memory": null}}}]}),
        ),
        pod(json!({"tolerations": [{"key": "b", "operator": null}]})),
        pod(json!({"tolerations": [{"$patch": "replace"}, {"key": "b", "operator": "Exists"}]})),
        pod(
            json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}}]}),
        ),
        pod(json!({"volumes": [{"name": "v", "emptyDir": null, "configMap": {"name": "m"}}]})),
        pod(json!({"imagePullSecrets": [{"name": "s"}, {"name": "s"}]})),
        // The order of lists.
        pod(json!({"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}]})),
        pod(
            json!({"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}], "containers": [{"name": "main", "image": "z"}]}),
        ),
        pod(
            json!({"$setElementOrder/containers": [{"name": "side"}], "containers": [{"name": "main", "image": "z"}]}),
        ),
        pod(
            json!({"$setElementOrder/containers": [{"name": "main"}, {"name": "side"}], "containers": [{"name": "side"}, {"name": "main"}]}),
        ),
        pod(
            json!({"$setElementOrder/containers": [{"image": "x"}], "containers": [{"name": "side"}]}),
        ),
        pod(json!({"$setElementOrder/containers": ["side"], "containers": [{"name": "side"}]})),
        pod(json!({"$setElementOrder/containers": "side"})),
        pod(json!({"$setElementOrder/containers": null})),
        pod(json!({"$setElementOrder/nodeSelector": [{"key": "b"}]})),
        pod(
            json!({"$setElementOrder/initContainers": [{"name": "i"}], "initContainers": [{"name": "i", "image": "z"}]}),
        ),
        pod(json!({"$setElementOrder/initContainers": [{"name": "i"}]})),
        pod(json!({"$setElementOrder/nothing": []})),
        pod(json!({"$setElementOrder": []})),
        finalizers(json!(["example.com/c", "example.com/a"])),
        finalizers(json!(["example.com/b", "example.com/a"])),
        finalizers(json!([1])),
        finalizers(json!(null)),
        json!({"metadata": {"$setElementOrder/finalizers": ["example.com/b", "example.com/a"]}}),
        json!({"metadata": {"$setElementOrder/finalizers": ["example.com/b", "example.com/d"], "finalizers": ["example.com/d"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/x"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": null}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "example.com/a"}}),
        json!({"metadata": {"$deleteFromPrimitiveList": ["example.com/a"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/nothing": ["a"]}}),
        containers(json!([{"name": "main", "$deleteFromPrimitiveList/args": ["x"]}])),
        pod(json!({"$deleteFromPrimitiveList/containers": [{"name": "main"}]})),
        // Of what the object says that it is, nothing counts.
        json!({"kind": "Other"}),
        json!({"kind": null, "apiVersion": null}),
        json!({"kind": 5}),
        json!({"apiVersion": {}}),
        Value::Null,
    ];
    for directive in [
        json!("explode"),
        json!("merge"),
        json!(1),
        json!(true),
        json!(null),
        json!(["delete"]),
    ] {
        changes.push(json!({"$patch": directive.clone()}));
        changes.push(json!({"metadata": {"labels": {"$patch": directive.clone(), "c": "3"}}}));
        changes.push(json!({"metadata": {"annotations": {"$patch": directive.clone()}}}));
        changes.push(containers(
            json!([{"name": "main", "$patch": directive.clone()}]),
        ));
        changes.push(containers(
            json!([{"name": "new", "image": "z", "securityContext": {"$patch": directive}}]),
        ));
    }
    let mut sequence = vec![post(DEPLOYMENTS, deployment)];
    for change in changes {
        for validation in ["Strict", "Ignore"] {
            sequence.push(
                Request::new("PATCH", format!("{DEPLOYMENTS}/d"))
                    .body(STRATEGIC, change.clone())
                    .with("dryRun", "All")
                    .with("fieldValidation", validation),
            );
        }
    }
    sequence
}

/// Operations of JSON patches that are none, that lead nowhere, or that the standard does not have.
pub(super) fn operated() -> Vec<Request> {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "labels": {"a": "1"}, "finalizers": ["example.com/a", "example.com/b"]},
        "data": {"a": "1", "b/c": "2", "d~e": "3"},
    });
    let operations = [
        json!({"op": "add", "path": "/data/x"}),
        json!({"op": "add", "path": "/data/x", "value": null}),
        json!({"op": "add", "path": "/data/x", "value": "y", "more": 1}),
        json!({"op": "add", "path": "data/x", "value": "y"}),
        json!({"op": "add", "path": "x/data/x", "value": "y"}),
        json!({"op": "add", "path": "", "value": {}}),
        json!({"op": "add", "path": "/nothing/x", "value": "y"}),
        json!({"op": "add", "path": "/data/a/x", "value": "y"}),
        json!({"op": "add", "path": "/data/b~1c", "value": "y"}),
        json!({"op": "add", "path": "/data/d~0e", "value": "y"}),
        json!({"op": "add", "path": "/metadata/finalizers/0", "value": "example.com/c"}),
        json!({"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/c"}),
        json!({"op": "add", "path": "/metadata/finalizers/-1", "value": "example.com/c"}),
        json!({"op": "add", "path": "/metadata/finalizers/2", "value": "example.com/c"}),
        json!({"op": "add", "path": "/metadata/finalizers/3", "value": "example.com/c"}),
        json!({"op": "add", "path": "/metadata/finalizers/x", "value": "example.com/c"}),
        json!({"op": "remove", "path": "/metadata/finalizers/-1"}),
        json!({"op": "remove", "path": "/metadata/finalizers/-"}),
        json!({"op": "remove", "path": "/metadata/finalizers/-3"}),
        json!({"op": "remove", "path": "/data/x"}),
        json!({"op": "remove", "path": ""}),
        json!({"op": "remove"}),
        json!({"op": "replace", "path": "/data/x", "value": "y"}),
        json!({"op": "replace", "path": "/data/x"}),
        json!({"op": "replace", "path": "/metadata/finalizers/5", "value": "y"}),
        json!({"op": "replace", "path": "", "value": {"data": {}}}),
        json!({"op": "replace", "path": "", "value": []}),
        json!({"op": "replace", "path": "", "value": 5}),
        json!({"op": "replace", "path": "/metadata", "value": {}}),
        json!({"op": "replace", "path": "/kind", "value": "Secret"}),
        json!({"op": "remove", "path": "/kind"}),
        json!({"op": "remove", "path": "/apiVersion"}),
        json!({"op": "copy", "from": "/data/x", "path": "/data/y"}),
        json!({"op": "copy", "from": "/data/a", "path": "/data/y"}),
        json!({"op": "copy", "from": "/data/a/b", "path": "/data/y"}),
        json!({"op": "copy", "path": "/data/y"}),
        json!({"op": "move", "from": "/data/x", "path": "/data/y"}),
        json!({"op": "move", "from": "/data/a", "path": "/data/y"}),
        json!({"op": "move", "from": "/data/a", "path": "/nothing/y"}),
        json!({"op": "test", "path": "/data/x", "value": null}),
        json!({"op": "test", "path": "/data/x"}),
        json!({"op": "test", "path": "/data/a", "value": "1"}),
        json!({"op": "test", "path": "/data/a", "value": 1}),
        json!({"op": "test", "path": "/data/a"}),
        json!({"op": "test", "path": "/data", "value": {"d~e": "3", "a": "1", "b/c": "2"}}),
        json!({"op": "increase", "path": "/data/a"}),
        json!({"path": "/data/a"}),
        json!({"op": 5, "path": "/data/a"}),
        json!({"op": null, "path": "/data/a"}),
        json!({"op": "remove", "path": 5}),
        json!({"op": "move", "from": [], "path": "/data/a"}),
        json!({"op": "test", "path": "/data/a", "value": "1", "from": "", "Op": 1}),
        json!(5),
        json!("x"),
        json!([]),
        Value::Null,
    ];
    let maps = "/api/v1/namespaces/@run-a/configmaps";
    let mut sequence = vec![post(maps, map)];
    for operation in operations {
        for validation in ["Warn", "Strict", "Ignore"] {
            sequence.push(
                Request::new("PATCH", format!("{maps}/m"))
                    .body(PATCH, json!([operation]))
                    .with("dryRun", "All")
                    .with("fieldValidation", validation),
            );
        }
    }
    sequence.push(Request::new("PATCH", format!("{maps}/m")).body(PATCH, Value::Null));
    sequence
}

/// Merged into objects: nulls in lists, and what the object says that it is.
pub(super) fn retyped() -> Vec<Request> {
    let worlds = "/apis/example.com/v1/worlds";
    let world = json!({
        "apiVersion": "example.com/v1", "kind": "World", "metadata": {"name": "@run-w"},
        "free": {"list": [1], "map": {"a": 1}, "text": "x"},
    });
    let mut small = thing("t");
    small["spec"]["parts"] = json!([{"id": "a"}]);
    let mut sequence = vec![
        post(worlds, world),
        post(THINGS, small),
        post(DEPLOYMENTS, deployment("d")),
    ];
    let nulls = json!([{"a": null, "b": [{"c": null}]}, null]);
    let changes = [
        json!({"kind": null}),
        json!({"apiVersion": null}),
        json!({"kind": null, "apiVersion": null}),
        json!({"kind": ""}),
        json!({"kind": "Other"}),
        json!({"kind": "Other", "apiVersion": "other/v1"}),
        json!({"apiVersion": "other/v1"}),
        json!({"apiVersion": "example.com/v2"}),
        json!({"apiVersion": "example.com/v1beta1"}),
        json!({"apiVersion": ""}),
        json!({"metadata": null}),
        json!({"metadata": {"name": null}}),
        json!({"metadata": {"name": ""}}),
        json!({"metadata": {"namespace": null}}),
        json!({"metadata": {"uid": null, "creationTimestamp": null, "managedFields": null}}),
        json!({"metadata": {"labels": {"a": null}, "annotations": {"b": null}}}),
        json!({"metadata": {"finalizers": [null]}}),
        json!({"metadata": {"resourceVersion": null}}),
        json!({"metadata": {"resourceVersion": ""}}),
        json!({"metadata": {"resourceVersion": "0"}}),
        json!({"metadata": {"resourceVersion": "1"}}),
        json!({"metadata": []}),
        json!({"spec": null}),
        json!({"spec": {"parts": [{"id": "b", "weight": null}]}}),
        json!({"spec": {"parts": [null]}}),
        json!({"spec": {"parts": {"id": null}}}),
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "c", "args": null, "env": [{"name": "A", "value": null}]}]}}}}),
        json!({"free": {"list": nulls.clone(), "map": nulls.clone(), "text": nulls.clone(), "new": nulls}}),
        Value::Null,
        json!([]),
        json!([{"kind": null}]),
    ];
    for change in changes {
        for path in [
            format!("{worlds}/@run-w"),
            format!("{THINGS}/t"),
            format!("{DEPLOYMENTS}/d"),
        ] {
            for validation in ["Strict", "Ignore"] {
                sequence.push(
                    Request::new("PATCH", path.clone())
                        .body(MERGE, change.clone())
                        .with("dryRun", "All")
                        .with("fieldValidation", validation),
                );
            }
        }
    }
    sequence
}
