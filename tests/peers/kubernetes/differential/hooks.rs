//! Webhooks of both servers: one that refuses everything with what it was asked, so that the answers can be compared, and
//! one that changes what it sees.

#[path = "../../../../src/sandbox/kubernetes/tests/reviews.rs"]
mod reviews;

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::play::Request;

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

const MAPS: &str = "/api/v1/namespaces/@run-a/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/@run-a/deployments";
const THINGS: &str = "/apis/example.com/v1/namespaces/@run-a/things";

/// What is asked, without what two servers must say differently.
fn shown(mut request: Value) -> String {
    fn plain(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (key, item) in map {
                    match key.as_str() {
                        "resourceVersion" if item.is_string() => *item = "<version>".into(),
                        "managedFields" => {
                            plain(item);
                            let entries = item.as_array_mut().into_iter();
                            entries.for_each(|entries| entries.sort_by_key(Value::to_string));
                        }
                        _ => plain(item),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(plain),
            _ => {}
        }
    }
    request.sort_all_objects();
    plain(&mut request);
    for own in ["uid", "userInfo"] {
        if let Some(map) = request.as_object_mut() {
            map.shift_remove(own);
        }
    }
    request.to_string()
}

/// A patch of what is asked about, or none.
fn patch(path: &str, request: &Value) -> Value {
    let object = &request["object"];
    match (path, request["kind"]["kind"].as_str()) {
        ("/count", Some("ConfigMap")) => {
            let count = object["metadata"]["annotations"]["count"].as_str();
            let count = count.and_then(|count| count.parse().ok()).unwrap_or(0) + 1;
            let annotations = json!({"count": count.to_string()});
            json!([{"op": "add", "path": "/metadata/annotations", "value": annotations}])
        }
        ("/count", _) => json!([]),
        // Once: what is there already stays as it is.
        ("/add", Some("Pod")) if object["spec"]["containers"][1].is_null() => {
            let container = json!({"name": "added", "image": "b:1"});
            json!([{"op": "add", "path": "/spec/containers/-", "value": container}])
        }
        ("/add", Some("ConfigMap")) if object["data"]["added"].is_null() => {
            json!([{"op": "add", "path": "/data", "value": {"added": "1"}}])
        }
        ("/add", _) => json!([]),
        (_, Some("Scale")) => json!([{"op": "replace", "path": "/spec/replicas", "value": 9}]),
        _ => json!([{"op": "add", "path": "/metadata/annotations", "value": {"seen": "yes"}}]),
    }
}

fn answer(path: &str, request: &Value) -> Value {
    if path == "/refuse" || request["name"] == "refused" {
        let status = json!({"code": 403, "message": shown(request.clone())});
        return json!({"allowed": false, "status": status});
    }
    let mut response = json!({"allowed": true});
    if request["operation"] != "DELETE" {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch(path, request).to_string()).into();
    }
    if path == "/count" {
        response["warnings"] = json!(["counted", "it is \"counted\"", "counted"]);
    }
    response
}

/// Serves all hooks on a free port, as long as the runtime lives; gives their URL and their certificate.
fn serve() -> (String, String) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let listener = TcpListener::from_std(listener).expect("a listener");
    let certificate = reviews::serve(listener, "127.0.0.1", answer);
    (format!("https://127.0.0.1:{port}"), certificate)
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"a": "1"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "main", "image": "b"}]}},
        },
    })
}

fn thing(name: &str) -> Value {
    json!({
        "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": name, "labels": {"a": "1"}},
        "spec": {"size": 1, "replicas": 2},
    })
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"a": "1"}}, "data": {"a": "1"}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "b"}]}})
}

fn scale() -> Value {
    json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a", "namespace": "@run-a"},
        "spec": {"replicas": 4},
    })
}

fn post(path: &str, body: Value) -> Request {
    Request::new("POST", path).body(JSON, body)
}

/// What there is before anybody is asked.
fn made() -> Vec<Request> {
    vec![
        post(MAPS, map("a")),
        post(DEPLOYMENTS, deployment("a")),
        post(THINGS, thing("a")),
        post("/api/v1/namespaces/@run-a/pods", pod("a")),
        post(
            "/api/v1/namespaces/@run-a/services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}),
        ),
    ]
}

/// One hook that is asked about one run, with more about it.
fn hook(hook: &(String, String), path: &str, more: Value) -> Value {
    let mut one = json!({
        "name": "hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": format!("{}{path}", hook.0), "caBundle": STANDARD.encode(&hook.1)},
        "namespaceSelector": {"matchLabels": {"run": "@run"}},
        "rules": [
            {"operations": ["*"], "apiGroups": ["", "apps", "example.com"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "Namespaced"},
            {"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["namespaces/*", "namespaces"]},
        ],
    });
    if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
        one.extend(more);
    }
    one
}

/// The configuration of hooks, and the wait until they are asked.
fn hooked(kind: &str, hooks: &[Value]) -> Vec<Request> {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "@run-hook"},
        "webhooks": hooks,
    });
    let plural = format!("{}s", kind.to_lowercase());
    let place = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
    let asked = Request::new("REFUSED", MAPS).body(JSON, map("refused"));
    // Until then what is made is not made.
    vec![
        post(&place, configuration).quiet(),
        asked.with("dryRun", "All"),
    ]
}

/// What is made under pods and service accounts.
fn under() -> Vec<Request> {
    let pods = "/api/v1/namespaces/@run-a/pods";
    let eviction = |name: &str, more: Value| {
        let mut eviction =
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        if more.is_object() {
            eviction["deleteOptions"] = more;
        }
        eviction
    };
    let binding = |name: &str, target: Value| {
        json!({
            "apiVersion": "v1", "kind": "Binding", "target": target,
            "metadata": {"name": name, "annotations": {"bound": "yes"}, "labels": {"zone": "z"}},
        })
    };
    let node = || json!({"apiVersion": "v1", "kind": "Node", "name": "n"});
    let token = |more: Value| {
        let mut token =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        if let (Some(token), Value::Object(more)) = (token.as_object_mut(), more) {
            token.extend(more);
        }
        token
    };
    let tokens = "/api/v1/namespaces/@run-a/serviceaccounts/default/token";
    let binds = format!("{pods}/under/binding");
    let evicts = format!("{pods}/under/eviction");
    vec![
        post(pods, pod("under")),
        post(tokens, token(json!({}))),
        post(
            tokens,
            token(
                json!({"spec": {"audiences": ["a", "b"], "expirationSeconds": 700}, "status": {"token": "x"}}),
            ),
        ),
        post(
            tokens,
            token(json!({"metadata": {"name": "default"}, "nonsense": 1})),
        ),
        post(tokens, token(json!({"metadata": {"name": "other"}}))),
        post(tokens, token(json!({"metadata": {"namespace": "other"}}))),
        post(
            tokens,
            token(json!({"metadata": {"uid": "11111111-2222-3333-4444-555555555555"}})),
        ),
        post(tokens, token(json!({"spec": {"expirationSeconds": 599}}))),
        post(
            tokens,
            token(json!({"spec": {"expirationSeconds": 5_000_000_000_i64}})),
        ),
        post(
            tokens,
            token(
                json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "under"}}}),
            ),
        ),
        post(
            tokens,
            token(
                json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "gone"}}}),
            ),
        ),
        post(
            tokens,
            token(
                json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "a"}}}),
            ),
        ),
        post(
            tokens,
            token(
                json!({"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "under", "uid": "x"}}}),
            ),
        ),
        post(&tokens.replace("default", "gone"), token(json!({}))),
        post(tokens, token(json!({}))).with("dryRun", "Some"),
        post(tokens, json!({"spec": {"expirationSeconds": "x"}})),
        post(&binds, binding("other", node())),
        post(&binds, binding("under", json!({"kind": "Pod"}))),
        post(&binds, binding("under", json!({"name": ""}))),
        post(&binds, binding("under", node())).with("dryRun", "All"),
        post(&binds, binding("under", node())),
        Request::new("GET", format!("{pods}/under")),
        post(&binds, binding("under", node())),
        post(&format!("{pods}/gone/binding"), binding("gone", node())),
        post(
            "/api/v1/namespaces/@run-a/bindings",
            binding("under", node()),
        ),
        post(&evicts, eviction("other", Value::Null)),
        post(&evicts, eviction("under", Value::Null)).with("dryRun", "All"),
        post(&evicts, eviction("under", json!({"dryRun": ["All"]}))),
        post(
            &evicts,
            eviction("under", json!({"preconditions": {"uid": "x"}})),
        ),
        post(&evicts, eviction("under", json!({"gracePeriodSeconds": 7}))),
        Request::new("GET", format!("{pods}/under")),
        post(&evicts, eviction("under", json!({"gracePeriodSeconds": 0}))),
        Request::new("GET", format!("{pods}/under")),
        post(
            &format!("{pods}/gone/eviction"),
            eviction("gone", Value::Null),
        ),
    ]
}

/// Hooks with conditions.
fn conditioned(at: &(String, String)) -> Vec<Vec<Request>> {
    let condition = |expression: &str| json!({"name": "one", "expression": expression});
    let sequence = |kind: &str, conditions: Value, policy: &str| {
        let more = json!({"matchConditions": conditions, "failurePolicy": policy});
        let refuse = hook(at, "/refuse", more);
        let mut spared = map("spared");
        spared["data"] = json!({"b": "1"});
        let mut requests = hooked(kind, &[refuse]);
        requests.extend([
            post(MAPS, map("spared")),
            post(MAPS, spared),
            post(MAPS, json!({"metadata": {"name": "empty"}})),
            post(MAPS, map("new")),
            post(THINGS, thing("new")),
            Request::new("PATCH", format!("{MAPS}/spared"))
                .body(MERGE, json!({"data": {"a": "2"}})),
            Request::new("DELETE", format!("{MAPS}/spared")),
            post("/api/v1/namespaces/@run-a/pods", pod("new")),
        ]);
        requests
    };
    let mut sequences = Vec::new();
    for kind in [
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
    ] {
        let of_maps = condition("request.resource.resource == 'configmaps'");
        let other = json!({"name": "two", "expression": "request.operation == 'DELETE' || object.data.a == '1'"});
        let named = condition(
            "request.name in ['refused', 'new'] && !('nobody' in request.userInfo.groups)",
        );
        for policy in ["Fail", "Ignore"] {
            sequences.push(sequence(kind, json!([of_maps]), policy));
            sequences.push(sequence(kind, json!([of_maps, other]), policy));
        }
        sequences.push(sequence(kind, json!([named]), "Fail"));
    }
    sequences
}

/// Hooks that see again what others change after them.
fn repeated(at: &(String, String)) -> Vec<Vec<Request>> {
    let sequence = |first: &str, second: &str, policies: [&str; 2]| {
        let hooks = [
            (first, "a.example.com", policies[0]),
            (second, "b.example.com", policies[1]),
        ]
        .map(|(path, name, policy)| {
            hook(
                at,
                path,
                json!({"name": name, "reinvocationPolicy": policy}),
            )
        });
        let mut requests = hooked("MutatingWebhookConfiguration", &hooks);
        requests.extend([
            post(MAPS, json!({"metadata": {"name": "none"}})),
            post(MAPS, map("a")),
            Request::new("PATCH", format!("{MAPS}/a"))
                .body(MERGE, json!({"metadata": {"labels": {"c": "3"}}})),
            post("/api/v1/namespaces/@run-a/pods", pod("a")),
        ]);
        requests
    };
    let policies = ["IfNeeded", "Never"];
    policies
        .iter()
        .flat_map(|first| policies.iter().map(move |second| [*first, *second]))
        .flat_map(|policies| {
            [
                sequence("/count", "/add", policies),
                sequence("/add", "/count", policies),
                sequence("/count", "/count", policies),
            ]
        })
        .collect()
}

/// Changes of every kind.
fn changes() -> Vec<Request> {
    let apply = |path: &str, body: Value| {
        Request::new("PATCH", path)
            .body(APPLY, body)
            .with("fieldManager", "applier")
            .with("force", "true")
    };
    let mut requests = vec![
        post(MAPS, map("new")),
        post(MAPS, map("new"))
            .with("dryRun", "All")
            .with("fieldManager", "m")
            .with("fieldValidation", "Strict"),
        post(MAPS, json!({"metadata": {"generateName": "gen-"}})),
        post("/api/v1/namespaces/@run-a/pods", pod("new")),
        post(
            "/api/v1/namespaces/@run-a/secrets",
            json!({"metadata": {"name": "new"}, "stringData": {"a": "b"}}),
        ),
        post(
            "/api/v1/namespaces",
            json!({"metadata": {"name": "@run-new", "labels": {"run": "@run"}}}),
        ),
    ];
    for (path, body) in [
        (MAPS, map("a")),
        (DEPLOYMENTS, deployment("a")),
        (THINGS, thing("a")),
    ] {
        let one = format!("{path}/a");
        let mut changed = body.clone();
        changed["metadata"]["labels"]["b"] = "2".into();
        if path == THINGS {
            changed["metadata"]["resourceVersion"] = "@rv(Thing/@run-a/a)".into();
        }
        requests.extend([
            Request::new("PUT", one.clone()).body(JSON, changed.clone()),
            Request::new("PATCH", one.clone())
                .body(MERGE, json!({"metadata": {"labels": {"c": "3"}}}))
                .with("fieldManager", "m"),
            Request::new("PATCH", one.clone())
                .body(STRATEGIC, json!({"metadata": {"labels": {"c": "3"}}})),
            apply(&one, body.clone()),
            apply(&one, changed.clone()).with("dryRun", "All"),
        ]);
        let mut new = body;
        new["metadata"]["name"] = "applied".into();
        requests.push(apply(&format!("{path}/applied"), new));
        if path != MAPS {
            changed["status"] = json!({"replicas": 1});
            requests.extend([
                Request::new("PUT", format!("{one}/status")).body(JSON, changed),
                Request::new("PATCH", format!("{one}/status"))
                    .body(MERGE, json!({"status": {"replicas": 2}})),
                Request::new("PUT", format!("{one}/scale")).body(JSON, scale()),
                Request::new("PATCH", format!("{one}/scale"))
                    .body(MERGE, json!({"spec": {"replicas": 3}})),
                apply(&format!("{one}/scale"), scale()),
                Request::new("GET", one.clone()),
            ]);
        }
        requests.push(Request::new("GET", one));
    }
    requests.extend([
        Request::new("PATCH", "/api/v1/namespaces/@run-a/services/a").body(MERGE, json!({"spec": {"type": "NodePort"}})),
        Request::new("PATCH", "/api/v1/namespaces/@run-a").body(MERGE, json!({"metadata": {"labels": {"c": "3"}}})),
        Request::new("DELETE", format!("{MAPS}/a")),
        Request::new("DELETE", format!("{THINGS}/a")).with("propagationPolicy", "Foreground"),
        Request::new("DELETE", "/api/v1/namespaces/@run-a/pods/a").body(JSON, json!({"gracePeriodSeconds": 5})),
        Request::new("DELETE", format!("{DEPLOYMENTS}/a")).body(
            JSON,
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan", "dryRun": ["All"], "preconditions": {"uid": "@uid(Deployment/@run-a/a)"}}),
        ),
        Request::new("DELETE", MAPS).with("labelSelector", "a=1"),
        Request::new("DELETE", "/api/v1/namespaces/@run-b"),
    ]);
    requests
}

/// Each kind of hook on its own, and some together.
pub fn sequences() -> Vec<Vec<Request>> {
    let at = serve();
    let kinds = [
        ("ValidatingWebhookConfiguration", "/refuse"),
        ("MutatingWebhookConfiguration", "/refuse"),
        ("MutatingWebhookConfiguration", "/change"),
    ];
    let sequence = |(kind, path): (&str, &str)| {
        let hooks = [hook(&at, path, json!({}))];
        let parts = [made(), hooked(kind, &hooks), changes(), under()];
        parts.concat()
    };
    let mut sequences: Vec<_> = kinds.into_iter().map(sequence).collect();
    sequences.push(under());
    sequences.extend(conditioned(&at));
    sequences.extend(repeated(&at));
    sequences
}
