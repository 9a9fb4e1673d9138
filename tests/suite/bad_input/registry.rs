//! The registry behind ECR.

use super::{Case, DEEP, Form, Scene};
use crate::wire::Request;

/// Adds the cases.
pub fn cases<'a>(scene: &'a Scene, cases: &mut Vec<Case<'a>>) {
    let listener = &scene.listeners[1];
    let zero = "0".repeat(64);
    let mut add = |method: &str, path: &str, body: &[u8], more: &[(&str, &str)], statuses| {
        let mut request = Request::new("", method, path, body);
        if !more.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", &scene.login);
        }
        for (name, value) in more {
            request = request.header(name, value);
        }
        let what = format!("registry: {method} {}", &path[..path.len().min(80)]);
        cases.push((what, listener, request.bytes(), statuses, Form::Registry));
    };
    for path in [
        "/",
        "/etc/passwd",
        "/v1/",
        "/v2/../../etc/passwd",
        "/v2/../v2/",
        "/v2/%2e%2e/manifests/x",
        "/v2/meshctl-demo%2fbackend/manifests/x",
        "/v2/meshctl-demo/../meshctl-demo/backend/manifests/x",
        "/v2/meshctl-demo/backend/manifests/..",
        "/v2/meshctl-demo/backend/manifests/%00",
        "/v2/meshctl-demo/backend/manifests/%ff",
        "/v2/meshctl-demo/backend/manifests/",
        "/v2/meshctl-demo/backend/blobs/sha256:..",
        "/v2/meshctl-demo/backend/blobs/sha256:../../../../etc/passwd",
        "/v2/meshctl-demo/backend/blobs/sha256%3A0",
        "/v2/meshctl-demo/backend/blobs/sha512:0",
        "/v2/meshctl-demo/backend/blobs/uploads/..",
        "/v2/meshctl-demo/backend/blobs/uploads/../../../../x",
        "/v2/meshctl-demo/backend/tags/list?n=-1",
        "/v2/meshctl-demo/backend/tags/list?n=0",
        "/v2/meshctl-demo/backend/tags/list?n=99999999999999999999999",
        "/v2/_catalog",
        "/_download/",
        "/_download/..",
        "/_download/sha256:0",
        &format!("/_download/sha256:{zero}?until=99999999999999999999&signature=x"),
        &format!("/_download/sha256:{zero}?until=18446744073709551615&signature="),
        &format!("/v2/meshctl-demo/backend/blobs/sha256:{zero}"),
        &format!(
            "/v2/{}/manifests/x",
            "a/".repeat(10_000).trim_end_matches('/')
        ),
    ] {
        add("GET", path, b"", &[], &[400, 403, 404]);
    }
    for (method, path) in [
        ("POST", "/v2/"),
        ("DELETE", "/v2/meshctl-demo/backend/tags/list"),
        ("TRACE", "/v2/meshctl-demo/backend/manifests/x"),
        ("CONNECTED", "/v2/"),
    ] {
        add(method, path, b"", &[], &[405]);
    }
    let manifest = "/v2/meshctl-demo/backend/manifests/bad";
    let oci = ("content-type", "application/vnd.oci.image.manifest.v1+json");
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"schemaVersion\":2}",
        "\u{0}",
        &"[".repeat(DEEP),
    ] {
        add("PUT", manifest, body.as_bytes(), &[oci], &[405]);
    }
    add("PUT", manifest, b"\xff\xfe", &[oci], &[405]);
    add(
        "PUT",
        "/v2/meshctl-demo/backend/manifests/.bad",
        b"{}",
        &[oci],
        &[400, 405],
    );
    for digest in ["", "sha256:", "sha256:zz", "sha512:00", "..", "%00"] {
        let path = format!("/v2/meshctl-demo/backend/blobs/uploads/x?digest={digest}");
        add("PUT", &path, b"x", &[], &[400, 404]);
    }
    for authorization in [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic AAAA",
        "Bearer x",
        "Basic QVdTOg==",
        &*format!("Basic {}", "A".repeat(40_000)),
    ] {
        let more = [("authorization", authorization)];
        add("GET", "/v2/", b"", &more, &[400, 401]);
    }
}
