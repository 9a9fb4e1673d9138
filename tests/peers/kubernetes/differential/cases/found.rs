//! What random sequences found.

use serde_json::{Value, json};

use super::{
    APPLY, DEPLOYMENTS, JSON, MERGE, PATCH, Request, SECRETS, STRATEGIC, THINGS, containing, post,
    thing,
};

const MAPS: &str = "/api/v1/namespaces/@run-a/configmaps";
const WORLDS: &str = "/apis/example.com/v1/worlds";

/// Sequences of all kinds.
pub(super) fn found() -> Vec<Vec<Request>> {
    let mut sequences = vec![kept(), nameless(), unknown(), cleared(), unported()];
    sequences.extend([ended(), hidden(), sourceless(), unnamed(), phased()]);
    sequences.push(unversioned());
    sequences.extend([finalized("@run-a"), finalized("@run-b")]);
    sequences.push(untyped());
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

/// Whose record was cleared has one again when somebody applies, without what may not be applied.
fn cleared() -> Vec<Request> {
    let one = "/api/v1/namespaces/@run-a";
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "@run-a", "labels": {"run": "@run"}},
    });
    let mut bare = namespace.clone();
    bare["metadata"]["managedFields"] = json!([]);
    let mut labelled = namespace;
    labelled["metadata"]["labels"]["app"] = "y".into();
    vec![
        Request::new("PUT", one).body(JSON, bare),
        Request::new("PATCH", one)
            .body(APPLY, labelled)
            .with("fieldManager", "one")
            .with("force", "true"),
    ]
}

/// A Service that is no longer reached through nodes loses their ports, also when it loses some of its own.
fn unported() -> Vec<Request> {
    let one = "/api/v1/namespaces/@run-a/services/b";
    let apply = |spec: Value| {
        let body =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b"}, "spec": spec});
        Request::new("PATCH", one)
            .body(APPLY, body)
            .with("fieldManager", "one")
    };
    vec![
        apply(json!({
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 9901}],
            "type": "NodePort",
        })),
        apply(json!({"ports": [{"port": 80}]})),
        Request::new("GET", one),
    ]
}

/// What goes at once goes as it was.
fn ended() -> Vec<Request> {
    let map = json!({"metadata": {"name": "a", "finalizers": ["foregroundDeletion"]}});
    vec![
        post(MAPS, map),
        Request::new("DELETE", format!("{MAPS}/a"))
            .body(JSON, json!({"propagationPolicy": "Background"})),
        Request::new("WATCH", MAPS)
            .with("watch", "1")
            .with("resourceVersion", "@began")
            .with("timeoutSeconds", "1"),
    ]
}

/// Whoever scales is warned of the whole.
fn hidden() -> Vec<Request> {
    let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let scale = format!("{DEPLOYMENTS}/d/scale");
    vec![
        post(DEPLOYMENTS, containing(json!({"env": twice}))),
        Request::new("PATCH", scale.clone()).body(MERGE, json!({"spec": {"replicas": 3}})),
        Request::new("PATCH", scale.clone()).body(MERGE, json!({"spec": {"replicas": 3}})),
        Request::new("PUT", scale).body(
            JSON,
            json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale",
                "metadata": {"name": "d", "namespace": "@run-a"}, "spec": {"replicas": 4},
            }),
        ),
    ]
}

/// A volume of nothing is an empty one, even without a name.
fn sourceless() -> Vec<Request> {
    let path = "/api/v1/namespaces/@run-a/pods";
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "b"}]}});
    let volumes = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"volumes": [{"name": null}]},
    });
    vec![
        post(path, pod),
        Request::new("PATCH", format!("{path}/a"))
            .body(APPLY, volumes)
            .with("fieldManager", "one"),
    ]
}

/// Whoever applies that a thing has no name takes its name away.
fn unnamed() -> Vec<Request> {
    let apply = |name: Value| {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        Request::new("PATCH", format!("{MAPS}/a"))
            .body(APPLY, map)
            .with("fieldManager", "one")
    };
    vec![
        apply(Value::Null),
        apply("a".into()),
        apply(Value::Null),
        apply("".into()),
    ]
}

/// Admission speaks before a version that is none is found, in what a replacement makes, too.
fn unversioned() -> Vec<Request> {
    let path = |namespace: &str| {
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles")
    };
    let put = |namespace: &str, version: &str, uid: &str| {
        let mut role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "a", "resourceVersion": version}, "rules": [],
        });
        if !uid.is_empty() {
            role["metadata"]["uid"] = uid.into();
        }
        Request::new("PUT", format!("{}/a", path(namespace))).body(JSON, role)
    };
    let all = |namespace: &str| {
        ["x", "-1", "0", "5"]
            .into_iter()
            .flat_map(|version| {
                let uid = "11111111-2222-3333-4444-555555555555";
                [put(namespace, version, ""), put(namespace, version, uid)]
            })
            .collect::<Vec<_>>()
    };
    let mut requests = all("@run-nowhere");
    requests.extend([
        Request::new("DELETE", "/api/v1/namespaces/@run-b"),
        put("@run-b", "x", ""),
        put("@run-b", "", ""),
    ]);
    requests.extend(all("@run-a"));
    requests
}

/// A namespace's own finalizers, which have an endpoint of their own; the last one lets it go.
fn finalized(namespace: &'static str) -> Vec<Request> {
    let one = format!("/api/v1/namespaces/{namespace}");
    let path = format!("{one}/finalize");
    let body = |finalizers: Value, more: Value| {
        let mut metadata = json!({"name": namespace, "labels": {"run": "@run", "app": "z"}});
        if let (Some(metadata), Value::Object(more)) = (metadata.as_object_mut(), more) {
            metadata.extend(more);
        }
        json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": metadata,
            "spec": {"finalizers": finalizers}, "status": {"phase": "Odd"},
        })
    };
    let put = |body: Value| Request::new("PUT", path.clone()).body(JSON, body);
    let kubernetes = || json!(["kubernetes"]);
    let named = |name: &str| {
        let mut made = body(
            json!(["example.com/a", "x", "Not A Name"]),
            json!({"name": name}),
        );
        made["metadata"]["labels"] = json!({"run": "@run"});
        made
    };
    let mut other = body(kubernetes(), json!({}));
    other["kind"] = "Other".into();
    let mut bare = body(kubernetes(), json!({}));
    if let Some(bare) = bare.as_object_mut() {
        bare.shift_remove("spec");
    }
    let mut requests = vec![
        put(json!({})),
        put(other),
        put(body(kubernetes(), json!({"name": "elsewhere"}))),
        put(body(kubernetes(), json!({"resourceVersion": "1"}))),
        put(body(
            kubernetes(),
            json!({"uid": "11111111-2222-3333-4444-555555555555"}),
        )),
        put(body(
            kubernetes(),
            json!({"labels": {"run": "@run", "bad": "-"}}),
        )),
        put(body(json!(["x"]), json!({}))),
        put(body(json!(["Not A Name"]), json!({}))),
        put(body(json!(["example.com/a"]), json!({}))).with("dryRun", "All"),
        put(body(json!(["example.com/a", "kubernetes"]), json!({}))),
        Request::new("GET", one.clone()),
        put(body(
            json!(["example.com/a"]),
            json!({"finalizers": ["example.com/b"]}),
        )),
        post("/api/v1/namespaces", named("@run-c")),
        put(body(json!(5), json!({}))),
        Request::new("PUT", "/api/v1/namespaces/@run-nowhere/finalize")
            .body(JSON, body(kubernetes(), json!({"name": "@run-nowhere"}))),
        Request::new("GET", path.clone()),
        Request::new("PATCH", path.clone()).body(MERGE, json!({})),
    ];
    if namespace == "@run-a" {
        requests.push(put(bare.clone()));
        requests.push(Request::new("GET", one.clone()));
    }
    requests.extend([
        Request::new("DELETE", one.clone()),
        put(body(json!(["orphan", "foregroundDeletion"]), json!({}))),
        put(bare),
        Request::new("GET", one.clone()),
        put(body(json!([]), json!({"finalizers": null}))),
        Request::new("GET", one.clone()),
    ]);
    requests
}

/// What else is said of a value of another type.
fn untyped() -> Vec<Request> {
    let mut requests = Vec::new();
    for field in ["mode", "choice", "name", "whole", "numbers", "port", "size"] {
        for value in [
            json!(5),
            json!(1.5),
            json!(true),
            json!([1]),
            json!([]),
            json!({}),
            json!({"a": 1}),
            json!("text"),
        ] {
            let mut thing = thing("a");
            thing["spec"][field] = value;
            requests.push(post(THINGS, thing).with("dryRun", "All"));
        }
    }
    requests
}

/// Strings that are more than strings.
fn phased() -> Vec<Request> {
    let deployment = format!("{DEPLOYMENTS}/d");
    let pods = "/api/v1/namespaces/@run-a/pods";
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "main", "image": "b"}]}});
    let mut requests = vec![post(DEPLOYMENTS, containing(json!({}))), post(pods, pod)];
    for (path, status) in [
        ("/api/v1/namespaces/@run-a", json!({"phase": [0]})),
        (
            "/api/v1/namespaces/@run-a",
            json!({"conditions": [{"type": 1, "status": "True"}]}),
        ),
        (
            "/api/v1/namespaces/@run-a",
            json!({"conditions": [{"type": "a", "status": 1}]}),
        ),
        (
            &deployment,
            json!({"conditions": [{"type": {}, "status": "True"}]}),
        ),
        (
            &deployment,
            json!({"conditions": [{"type": "a", "status": true}]}),
        ),
        (&format!("{pods}/a"), json!({"phase": 1})),
        (&format!("{pods}/a"), json!({"qosClass": 1})),
        (
            &format!("{pods}/a"),
            json!({"conditions": [{"type": 1, "status": "True"}]}),
        ),
        (
            &format!("{pods}/a"),
            json!({"conditions": [{"type": "a", "status": 1}]}),
        ),
    ] {
        for content in [MERGE, STRATEGIC] {
            let change = json!({"status": status});
            requests.push(Request::new("PATCH", format!("{path}/status")).body(content, change));
        }
    }
    requests
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
