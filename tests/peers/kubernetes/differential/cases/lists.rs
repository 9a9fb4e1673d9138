//! Lists whose items have keys: items that are there twice, their order, what goes from them, keys that are none, owners.

use serde_json::{Value, json};

use super::{
    APPLY, DEPLOYMENTS, JSON, MERGE, PATCH, Request, STRATEGIC, THINGS, containing, post, thing,
};

const MAPS: &str = "/api/v1/namespaces/@run-a/configmaps";

/// All about them.
pub(super) fn lists() -> Vec<Vec<Request>> {
    vec![doubled(), ordered(), emptied(), owned(), keyless()]
}

/// What lists hold twice of one key is owned as one, and what is applied of it takes the place of all.
fn doubled() -> Vec<Request> {
    let one = format!("{DEPLOYMENTS}/d");
    let env = |values: &[&str]| {
        let items = values.iter().map(|value| match value.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value}),
            None => json!({"name": value}),
        });
        containing(json!({"env": items.collect::<Vec<Value>>()}))
    };
    let apply = |body: Value, manager: &str| {
        Request::new("PATCH", one.clone())
            .body(APPLY, body)
            .with("fieldManager", manager)
    };
    let put = |values: &[&str]| {
        Request::new("PUT", one.clone())
            .body(JSON, env(values))
            .with("fieldManager", "updater")
    };
    let look = || Request::new("GET", one.clone());
    vec![
        post(DEPLOYMENTS, env(&["A=1", "B=1", "A=2"])).with("fieldManager", "maker"),
        apply(env(&["A=3"]), "one"),
        apply(env(&["A=2"]), "one"),
        apply(env(&["B=1"]), "one"),
        apply(env(&["A=3", "C=1"]), "one").with("force", "true"),
        look(),
        put(&["A=1", "A=2", "A=3", "C=1"]),
        put(&["A=1", "A=2", "C=1"]),
        apply(env(&["C=1"]), "one"),
        apply(env(&["C=2"]), "two"),
        apply(env(&[]), "one"),
        look(),
        put(&["A=1", "A=1"]),
        apply(env(&["A=1"]), "one"),
        apply(env(&["A=1"]), "one").with("force", "true"),
        put(&["A=1", "A=2"]),
        apply(env(&["B=2"]), "one"),
        put(&["A=1"]),
        look(),
    ]
}

/// An applied list brings its order along.
fn ordered() -> Vec<Request> {
    let one = format!("{DEPLOYMENTS}/d");
    let env = |names: &str| {
        let items = names.chars().map(|name| json!({"name": name.to_string()}));
        containing(json!({"env": items.collect::<Vec<Value>>()}))
    };
    let mut requests = vec![post(DEPLOYMENTS, env("ABCDE"))];
    for (names, manager) in [
        ("BA", "one"),
        ("XEBY", "two"),
        ("DCXZ", "one"),
        ("ZA", "three"),
        ("E", "two"),
        ("AEDX", "one"),
        ("", "one"),
    ] {
        let apply = Request::new("PATCH", one.clone()).body(APPLY, env(names));
        requests.push(apply.with("fieldManager", manager).with("force", "true"));
    }
    for finalizers in [
        json!(["example.com/a", "example.com/b"]),
        json!(["example.com/c", "example.com/a"]),
        json!(["example.com/b", "example.com/c"]),
    ] {
        let mut thing = thing("a");
        thing["metadata"]["finalizers"] = finalizers;
        let apply = Request::new("PATCH", format!("{THINGS}/a")).body(APPLY, thing);
        requests.push(apply.with("fieldManager", "one"));
    }
    requests
}

/// What an applier no longer says goes unless somebody else has it, and what is left of where it was may stay empty.
fn emptied() -> Vec<Request> {
    let one = format!("{THINGS}/a");
    let apply = |manager: &str, metadata: Value, spec: Value| {
        let mut body =
            json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}});
        if let (Some(place), Value::Object(more)) = (body["metadata"].as_object_mut(), metadata) {
            place.extend(more);
        }
        if !spec.is_null() {
            body["spec"] = spec;
        }
        Request::new("PATCH", one.clone())
            .body(APPLY, body)
            .with("fieldManager", manager)
            .with("force", "true")
    };
    let labelled = || json!({"labels": {"a": "1"}, "annotations": {"a": "1", "b": "1"}});
    let whole = || {
        json!({
            "size": 1, "parts": [{"id": "x", "weight": 1}, {"id": "y"}], "tags": ["a", "b"],
            "nested": {"depth": 1, "note": "n"}, "free": {"a": {"b": {"c": 1}}, "l": [1]},
            "labels": {"a": "1"},
        })
    };
    let less = || {
        json!({
            "size": 1, "parts": [], "tags": null, "nested": {"note": null}, "free": {"a": {"b": {}}},
            "labels": {},
        })
    };
    vec![
        apply("one", labelled(), whole()),
        apply("two", json!({"annotations": {}}), less()),
        apply("one", json!({}), json!({"size": 1})),
        apply("one", labelled(), whole()),
        apply(
            "two",
            json!({"labels": {"b": "1"}}),
            json!({"size": 1, "parts": [{"id": "x"}], "free": {"a": null, "l": null}}),
        ),
        apply("one", json!({"labels": {}}), less()),
        apply("one", labelled(), whole()),
        apply(
            "two",
            json!({"labels": null}),
            json!({"size": 1, "parts": null, "nested": null, "free": {"a": {"b": null}}}),
        ),
        apply(
            "one",
            json!({}),
            json!({"size": 1, "nested": {}, "free": {"a": {}}}),
        ),
        apply("two", json!({}), json!({"size": 1})),
        apply("one", json!({}), json!({})),
        Request::new("GET", one.clone()),
    ]
}

/// An owner counts once, and whoever names one twice is told.
fn owned() -> Vec<Request> {
    let one = format!("{MAPS}/a");
    let owner = |name: &str, uid: char| {
        let uid = format!("{0}{0}{0}{0}{0}{0}{0}{0}-2222-3333-4444-555555555555", uid);
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
    };
    let owners = || {
        json!([
            owner("a", '1'),
            owner("b", '2'),
            owner("a", '1'),
            owner("c", '1'),
            owner("b", '2')
        ])
    };
    let map = |name: &str, owners: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "ownerReferences": owners},
        })
    };
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "r", "ownerReferences": owners()}, "rules": [],
    });
    let mut thing = thing("t");
    thing["metadata"]["ownerReferences"] = owners();
    let patch = |content, body| Request::new("PATCH", one.clone()).body(content, body);
    vec![
        post(MAPS, map("a", owners())),
        post(MAPS, map("Not A Name", owners())),
        post(
            "/api/v1/namespaces/@run-nowhere/configmaps",
            map("a", owners()),
        ),
        post(MAPS, map("d", owners())).with("dryRun", "All"),
        Request::new("PUT", one.clone()).body(JSON, map("a", owners())),
        Request::new("PUT", format!("{MAPS}/gone")).body(JSON, map("gone", owners())),
        patch(MERGE, json!({"metadata": {"ownerReferences": owners()}})),
        patch(MERGE, json!({"metadata": {"ownerReferences": null}})),
        patch(
            STRATEGIC,
            json!({"metadata": {"ownerReferences": owners()}}),
        ),
        patch(
            PATCH,
            json!([{"op": "add", "path": "/metadata/ownerReferences", "value": owners()}]),
        ),
        patch(
            PATCH,
            json!([{"op": "copy", "from": "/metadata/ownerReferences/0", "path": "/metadata/ownerReferences/-"}]),
        ),
        patch(APPLY, map("a", owners())).with("fieldManager", "one"),
        Request::new(
            "PUT",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/@run-a/roles/r",
        )
        .body(JSON, role),
        post(THINGS, thing.clone()),
        Request::new("PUT", format!("{THINGS}/t")).body(JSON, thing.clone()),
        Request::new("PUT", format!("{THINGS}/t/status")).body(JSON, thing),
    ]
}

/// Keys of list items that are null, empty, of another type, or there twice.
fn keyless() -> Vec<Request> {
    let path = "/api/v1/namespaces/@run-a/serviceaccounts";
    let account = |secrets: Value| {
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "s"}, "secrets": secrets,
        })
    };
    let one = format!("{path}/s");
    let apply = |secrets: Value| {
        Request::new("PATCH", one.clone())
            .body(APPLY, account(secrets))
            .with("fieldManager", "one")
            .with("force", "true")
    };
    let mut requests = vec![
        apply(json!([{"name": null}])),
        apply(json!([{"name": ""}])),
        apply(json!([{}])),
        apply(json!([{"name": null}, {"name": ""}])),
        apply(json!([{"name": "x"}, {"name": null}])),
        apply(json!([{"name": [1]}])),
        Request::new("PUT", one.clone()).body(JSON, account(json!([{"name": "x"}, {}]))),
    ];
    for name in [
        json!([0, 255]),
        json!({}),
        json!(1),
        json!(null),
        json!(true),
    ] {
        for secrets in [
            json!([{"name": name}]),
            json!([{"name": name}, {"name": name}]),
        ] {
            requests.push(
                Request::new("PATCH", one.clone()).body(STRATEGIC, json!({"secrets": secrets})),
            );
        }
    }
    let mounts = json!([{"name": "v"}, {"name": "v"}, {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]);
    requests.push(post(
        DEPLOYMENTS,
        containing(json!({"volumeMounts": mounts})),
    ));
    let pod = |containers: &[&str], first: &[&str], volumes: &[&str]| {
        let named = |names: &[&str]| -> Value {
            let items = names.iter().map(|name| json!({"name": name, "image": "b"}));
            items.collect()
        };
        let volumes: Vec<Value> = volumes.iter().map(|name| json!({"name": name})).collect();
        let spec = json!({
            "containers": named(containers), "initContainers": named(first), "volumes": volumes,
        });
        post(
            "/api/v1/namespaces/@run-a/pods",
            json!({"metadata": {"name": "p"}, "spec": spec}),
        )
        .with("dryRun", "All")
    };
    requests.extend([
        pod(&["", ""], &[], &["v", "v", "", "", "V", "V"]),
        pod(&["a", "a", "A", "A"], &["a", "A", "A", "b", "b"], &[]),
        pod(&["a"], &["", ""], &[]),
        pod(&["a", ""], &["", "a"], &[]),
    ]);
    requests
}
