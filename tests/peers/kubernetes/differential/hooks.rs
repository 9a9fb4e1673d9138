//! Webhooks of both servers: one that refuses everything with what it was asked, so that the answers can be compared, and
//! one that changes what it sees.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request as Asked, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

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

async fn answer(asked: Asked<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let refuses = asked.uri().path() == "/refuse";
    let body = asked
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    let review: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if refuses || request["name"] == "refused" {
        response["allowed"] = false.into();
        response["status"] = json!({"code": 403, "message": shown(request.clone())});
    } else if request["operation"] != "DELETE" {
        let scale = request["kind"]["kind"] == "Scale";
        let patch = match scale {
            true => json!([{"op": "replace", "path": "/spec/replicas", "value": 9}]),
            false => {
                json!([{"op": "add", "path": "/metadata/annotations", "value": {"seen": "yes"}}])
            }
        };
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    }
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

/// Serves both hooks on a free port, as long as the runtime lives; gives their URL and their certificate.
fn serve() -> (String, String) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let listener = TcpListener::from_std(listener).expect("a listener");
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a TLS configuration");
    let tls = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service_fn(answer))
                        .await;
                }
            });
        }
    });
    (format!("https://127.0.0.1:{port}"), certificate.pem())
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

/// The configuration of a hook that is asked about one run, and the wait until it is.
fn hooked(kind: &str, hook: &(String, String), path: &str) -> Vec<Request> {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "@run-hook"},
        "webhooks": [{
            "name": "hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": format!("{}{path}", hook.0), "caBundle": STANDARD.encode(&hook.1)},
            "namespaceSelector": {"matchLabels": {"run": "@run"}},
            "rules": [
                {"operations": ["*"], "apiGroups": ["", "apps", "example.com"], "apiVersions": ["*"], "resources": ["*/*"], "scope": "Namespaced"},
                {"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"], "resources": ["namespaces/*", "namespaces"]},
            ],
        }],
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

/// Each kind of hook on its own.
pub fn sequences() -> Vec<Vec<Request>> {
    let hook = serve();
    let kinds = [
        ("ValidatingWebhookConfiguration", "/refuse"),
        ("MutatingWebhookConfiguration", "/refuse"),
        ("MutatingWebhookConfiguration", "/change"),
    ];
    let sequence = |(kind, path)| {
        let parts = [made(), hooked(kind, &hook, path), changes()];
        parts.concat()
    };
    kinds.into_iter().map(sequence).collect()
}
