//! The API server, the kubelet and the webhooks.

use super::{Case, DEEP, Form, Scene, get};
use crate::wire::Request;

/// Adds the cases.
pub fn cases<'a>(scene: &'a Scene, cases: &mut Vec<Case<'a>>) {
    let listener = &scene.listeners[3];
    let mut add = |method: &str, path: &str, kind: &str, body: &[u8], statuses, form| {
        let request = Request::new("", method, path, body)
            .header("authorization", &scene.bearer)
            .header("content-type", kind);
        let body = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let what = format!("{method} {} {kind} {body}", &path[..path.len().min(80)]);
        cases.push((what, listener, request.bytes(), statuses, form));
    };
    let maps = "/api/v1/namespaces/default/configmaps";
    let deep = "[".repeat(DEEP);
    for body in [
        "",
        "{",
        "[]",
        "null",
        "1",
        "{\"kind\":\"ConfigMap\"}",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"x\"}}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":[]}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":1}}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"..\"}}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a/b\"}}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\\u0000\"}}",
        "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"x\"},\"data\":{\"a\":1}}",
        &deep,
    ] {
        add(
            "POST",
            maps,
            "application/json",
            body.as_bytes(),
            &[400, 422],
            Form::Status,
        );
    }
    for body in ["a: &a [*a]", "\t", "{", "- a", &deep] {
        add(
            "POST",
            maps,
            "application/yaml",
            body.as_bytes(),
            &[400, 422],
            Form::Status,
        );
    }
    for body in [
        &b"k8s\0"[..],
        b"k8s\0\xff\xff\xff\xff",
        b"\xff",
        b"k8s\0\n\xff\xff\xff\xff\x0f",
    ] {
        let kind = "application/vnd.kubernetes.protobuf";
        add("POST", maps, kind, body, &[400, 415, 422], Form::Status);
    }
    for kind in [
        "",
        "text/html",
        "application/xml",
        "application/x-www-form-urlencoded",
    ] {
        add("POST", maps, kind, b"{", &[400, 415], Form::Status);
    }
    let one = format!("{maps}/kube-root-ca.crt");
    // A few bytes that would become gigabytes, and nesting that no stack takes.
    let copy = r#"{"op":"copy","from":"/data","path":"/data/"#;
    let doubling: Vec<String> = (0..60).map(|n| format!("{copy}{n}\"}}")).collect();
    let doubling = format!("[{}]", doubling.join(","));
    let adding = |n: usize| format!(r#"{{"op":"add","path":"{}","value":{{}}}}"#, "/a".repeat(n));
    let nesting = (1..1500).map(adding).collect::<Vec<_>>().join(",");
    let nesting = format!("[{nesting}]");
    for (kind, body) in [
        ("application/json-patch+json", "{"),
        ("application/json-patch+json", "{}"),
        ("application/json-patch+json", "[1]"),
        (
            "application/json-patch+json",
            "[{\"op\":\"x\",\"path\":\"/\"}]",
        ),
        (
            "application/json-patch+json",
            "[{\"op\":\"remove\",\"path\":\"/nothing\"}]",
        ),
        (
            "application/json-patch+json",
            "[{\"op\":\"add\",\"path\":\"data\",\"value\":1}]",
        ),
        (
            "application/json-patch+json",
            "[{\"op\":\"test\",\"path\":\"/kind\",\"value\":\"x\"}]",
        ),
        ("application/json-patch+json", &doubling),
        ("application/json-patch+json", &nesting),
        ("application/json-patch+json", &deep),
        ("application/merge-patch+json", "["),
        ("application/merge-patch+json", "[]"),
        ("application/merge-patch+json", "{\"data\":1}"),
        ("application/strategic-merge-patch+json", "[]"),
        ("application/apply-patch+yaml", "{"),
        ("application/apply-patch+yaml", "a: &a [*a]"),
        ("text/plain", "{}"),
        ("application/json", "{}"),
    ] {
        add(
            "PATCH",
            &one,
            kind,
            body.as_bytes(),
            &[400, 415, 422],
            Form::Status,
        );
    }
    for query in [
        "labelSelector=a%20in",
        "labelSelector=a%20in%20(",
        "labelSelector=,,,",
        "labelSelector=!",
        "fieldSelector=x",
        "fieldSelector=metadata.nothing%3Dx",
        "continue=x",
        "continue=%00",
    ] {
        add(
            "GET",
            &format!("{maps}?{query}"),
            "",
            b"",
            &[400, 410, 422],
            Form::Status,
        );
    }
    // The real server takes these for mistakes of its own.
    let directive = b"{\"data\":{\"$patch\":\"x\"}}";
    let strategic = "application/strategic-merge-patch+json";
    add("PATCH", &one, strategic, directive, &[500], Form::Status);
    let watch = format!("{maps}?watch=1&resourceVersion=x");
    add("GET", &watch, "", b"", &[500], Form::Status);
    for path in [
        "/api/v1/namespaces/default/configmaps/..",
        "/api/v1/namespaces/default/configmaps/%2e%2e",
        "/api/v1/namespaces/..%2fkube-system/configmaps/x",
        "/api/v1/namespaces/default/configmaps/a%2fb",
        "/api/v1/namespaces/default/configmaps/%00",
        "/api/v1/namespaces/default/configmaps/%ff",
        "/api/v1/namespaces/default/configmaps/%c0%ae",
        "/api/v1/namespaces//configmaps/x",
        "/api/v1/namespaces/default/nothings/x",
        "/apis/nothing/v1/x",
        "/api/v7/pods",
        "/apis",
        "/api/v1/namespaces/default/pods/x/log?container=../../x",
        "/api/v1/namespaces/kube-system/pods/%2e%2e/log",
        "/api/v1/nodes/x/proxy/../../../",
        "/openapi/v3/../../../etc/passwd",
    ] {
        if path != "/apis" {
            add("GET", path, "", b"", &[400, 404, 405, 501], Form::Text);
        }
    }
    for authorization in [
        "Bearer",
        "Bearer x",
        "Basic QTpC",
        "Bearer a.b.c",
        "Bearer k8s-aws-v1.!!",
        "Bearer k8s-aws-v1.",
    ] {
        let request =
            Request::new("", "GET", "/api/v1/secrets", b"").header("authorization", authorization);
        let what = format!("as {authorization}");
        cases.push((what, listener, request.bytes(), &[401], Form::Status));
    }
    let nobody = Request::new("", "GET", "/api/v1/secrets", b"").bytes();
    cases.push(("as nobody".into(), listener, nobody, &[403], Form::Status));
    let kubelet = &scene.listeners[4];
    for path in [
        "/",
        "/containerLogs",
        "/containerLogs/a/b/c/d",
        "/containerLogs/../../etc/passwd",
        "/containerLogs/default/%2e%2e/x",
        "/containerLogs/kube-system/x/../../../../etc/passwd?tailLines=-1",
        "/containerLogs/a/b/c?limitBytes=99999999999999999999&sinceSeconds=-9223372036854775808",
        "/exec/a/b/c",
        "/run/a/b/c",
        "/pods/%00",
    ] {
        let what = format!("kubelet: {path}");
        let request = get(path, &[("authorization", &scene.bearer)]);
        cases.push((what, kubelet, request, &[404], Form::Text));
    }
    // Logs and ways into pods are for those whom the API server knows.
    for path in [
        "/healthz",
        "/containerLogs/a/b/c",
        "/portForward/a/b?port=1",
    ] {
        for authorization in ["", "Bearer", "Bearer x", "Basic QTpC", "Bearer a.b.c"] {
            let what = format!("kubelet: {path} as {authorization}");
            let request = match authorization {
                "" => get(path, &[]),
                other => get(path, &[("authorization", other)]),
            };
            cases.push((what, kubelet, request, &[401], Form::Text));
        }
    }
    for webhook in scene.listeners.iter().filter(|one| one.name == "a webhook") {
        for body in ["", "{", "\u{0}", &deep] {
            for path in [
                "/mutate-v1-pod",
                "/validate-appmesh-k8s-aws-v1beta2-mesh",
                "/../x",
            ] {
                let request = Request::new("", "POST", path, body.as_bytes());
                let what = format!("a webhook: {path}");
                cases.push((what, webhook, request.bytes(), &[400, 404], Form::Text));
            }
        }
    }
}
