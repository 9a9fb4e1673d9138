//! What no client sends: broken requests, bodies of no sense, paths with tricks, as bytes to both servers, whose answers are
//! compared.

use std::sync::Arc;
use std::time::Duration;

use meshctl::sandbox::kubernetes::AnyServer;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::compare::{Normal, differences};
use super::peers::Side;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes to send, and how much of the answer has to be the same.
pub struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Whether only the code is compared: what says so is the HTTP library of each.
    code: bool,
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WORLDS: &str = "/apis/example.com/v1/worlds";
const MAP: &str = r#"{"metadata": {"name": "raw"}}"#;

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, code: bool) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.into(),
        code,
    }
}

/// A request as it should be.
fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = match (body.is_empty(), headers.contains("ransfer-")) {
        (true, _) | (_, true) => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer @token\r\nAccept: application/json\r\nUser-Agent: raw/1\r\nConnection: close\r\n{headers}{length}\r\n{body}"
    )
}

fn posted(body: &str) -> String {
    request("POST", MAPS, "Content-Type: application/json\r\n", body)
}

/// Paths with something odd.
fn paths() -> Vec<Case> {
    let paths = [
        "/api/v1/namespaces/default/configmaps/..",
        "/api/v1/namespaces/default/configmaps/.",
        "/api/v1/namespaces/default/configmaps/%2e%2e",
        "/api/v1/namespaces/default/configmaps/%2E",
        "/api/v1/namespaces/default/configmaps/../secrets",
        "/api/v1/namespaces/default/configmaps/..%2fsecrets",
        "/api/v1/namespaces/default/configmaps/..%2f..%2fkube-system%2fconfigmaps",
        "/api/v1/namespaces/default/configmaps/a%2fb",
        "/api/v1/namespaces/default/configmaps/a%2Fstatus",
        "/api/v1/namespaces/default/configmaps/a%00",
        "/api/v1/namespaces/default/configmaps/%00",
        "/api/v1/namespaces/default/configmaps/a%0a",
        "/api/v1/namespaces/default/configmaps/a%25",
        "/api/v1/namespaces/default/configmaps/a%252fb",
        "/api/v1/namespaces/default/configmaps/%c3%a4",
        "/api/v1/namespaces/default/configmaps/a%20b",
        "/api/v1/namespaces/default/configmaps/a+b",
        "/api/v1/namespaces/default/configmaps/A",
        "/api/v1/namespaces/default/configmaps/",
        "/api/v1/namespaces/default/configmaps//",
        "/api/v1/namespaces/default//configmaps",
        "//api/v1/namespaces/default/configmaps/none",
        "/api//v1/namespaces/default/configmaps/none",
        "/api/v1//namespaces/default/configmaps/none",
        "/api/v1/namespaces/../configmaps/none",
        "/api/v1/namespaces/%2e%2e/configmaps/none",
        "/api/v1/namespaces/a%2fb/configmaps/none",
        "/api/v1/namespaces/default%2fconfigmaps/none",
        "/api/v1/namespaces/..",
        "/api/v1/namespaces/%2e%2e",
        "/api/v1/namespaces/a%00b",
        "/api/v1/../v1/namespaces/default/configmaps/none",
        "/api/../api/v1/namespaces/default/configmaps/none",
        "/../api/v1/namespaces",
        "/./api",
        "/%61pi/v1/namespaces/default/configmaps/none",
        "/api%2fv1%2fnamespaces%2fdefault%2fconfigmaps%2fnone",
        "/api/v1/namespaces/default/%63onfigmaps/none",
        "/api/v1/namespaces/default/configmaps/none/../none",
        "/api/v1/namespaces/default/configmaps/none/status/more",
        "/api/v1/namespaces/default/configmaps/none;a=b",
        "/api/v1/namespaces/default/configmaps/none?",
        "/api/v1/namespaces/default/configmaps/none??a=%",
        "/api/v1/namespaces/default/configmaps/none?a=%zz&b=;",
        "/api/v1/namespaces/default/configmaps?limit=1;continue=x",
        "/api/v1/namespaces/default/configmaps?limit=%31%30",
        "/api/v1/namespaces/default/configmaps?labelSelector=%00",
        "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3D..",
        "/api/v1/watch",
        "/api/v1/proxy/namespaces",
        "/api/v2/namespaces",
        "/api/",
        "/api/v1/",
        "/apis/",
        "/apis/apps",
        "/apis/apps/",
        "/apis/apps/v1/",
        "/apis/apps/v1/..",
        "/apis/%2e%2e/v1",
        "/apis/apps%2fv1/namespaces/default/deployments/none",
        "/apis/nothing/v1",
        "/apis/nothing/v1/things/a",
        "/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/version/",
        "/version/more",
        "/healthz/",
        "/nothing",
        "/apis/example.com/v1/worlds/..",
        "/apis/example.com/v1/worlds/%2e%2e",
        "/apis/example.com/v1/worlds/a%2fb",
        "/apis/example.com/v1/worlds/a%2fstatus",
        "/apis/example.com/v1/worlds/a%00",
        "/apis/example.com/v1/worlds/a%25",
        "/apis/example.com/v1//worlds/a",
        "/apis/example.com/v1/things/a",
        "/apis/example.com/v2/worlds/a",
    ];
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        cases.push(case(
            format!("GET {path}"),
            request("GET", path, "", ""),
            false,
        ));
    }
    for path in paths
        .iter()
        .filter(|path| path.contains("none") || path.contains(".."))
    {
        let patched = request(
            "PATCH",
            path,
            "Content-Type: application/merge-patch+json\r\n",
            "{\"metadata\": {\"labels\": {\"a\": \"b\"}}}",
        );
        cases.push(case(format!("PATCH {path}"), patched, false));
        cases.push(case(
            format!("DELETE {path}"),
            request("DELETE", path, "", ""),
            false,
        ));
        let put = request("PUT", path, "Content-Type: application/json\r\n", MAP);
        cases.push(case(format!("PUT {path}"), put, false));
    }
    cases
}

/// Methods that are not there, or not there.
fn methods() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in [
        "/",
        "/api",
        "/version",
        "/nothing",
        MAPS,
        "/api/v1/namespaces/default/configmaps/none",
        "/api/v1/namespaces/default/configmaps/none/status",
        "/api/v1/namespaces/default",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        WORLDS,
        "/apis/example.com/v1/worlds/none",
        "/apis/example.com/v1/worlds/none/status",
    ] {
        for method in [
            "FOO", "foo", "get", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "POST", "PUT",
            "PATCH", "DELETE",
        ] {
            // A collection that goes would go.
            if method == "DELETE" && matches!(path, MAPS | WORLDS | "/api/v1/namespaces/default") {
                continue;
            }
            let bytes = request(method, path, "", "");
            // Of an answer to HEAD there is no body.
            cases.push(case(format!("{method} {path}"), bytes, method == "CONNECT"));
        }
    }
    cases
}

/// Bodies of no sense.
fn bodies() -> Vec<Case> {
    let deep = |open: &str, close: &str, count: usize| {
        format!("{}1{}", open.repeat(count), close.repeat(count))
    };
    let texts = [
        "{".to_owned(),
        "}".to_owned(),
        "{]".to_owned(),
        "[".repeat(20_000),
        format!(
            "{{\"metadata\": {{\"name\": \"raw\"}}, \"data\": {}}}",
            deep("{\"a\":", "}", 100)
        ),
        format!(
            "{{\"metadata\": {{\"name\": \"raw\"}}, \"odd\": {}}}",
            deep("[", "]", 100)
        ),
        format!(
            "{{\"metadata\": {{\"name\": \"raw\"}}, \"odd\": {}}}",
            deep("[", "]", 20_000)
        ),
        "{\"a\": 01}".to_owned(),
        "{\"a\": \"\\ud800\"}".to_owned(),
        "{\"metadata\": {\"name\": \"raw\", \"annotations\": {\"a\": \"\\ud800\"}}}".to_owned(),
        "{\"metadata\": {\"name\": \"\\u0000\"}}".to_owned(),
        "{\"metadata\": {\"name\": \"..\"}}".to_owned(),
        "{\"metadata\": {\"name\": \"a/b\"}}".to_owned(),
        "{\"metadata\": {\"name\": \"raw\", \"namespace\": \"../x\"}}".to_owned(),
        "{\"a\": \"\u{1}\"}".to_owned(),
        "\u{feff}{}".to_owned(),
        "{} {}".to_owned(),
        "{}\0".to_owned(),
        "NaN".to_owned(),
        "// no\n{}".to_owned(),
        "{'a': 1}".to_owned(),
        "{\"a\": 1,}".to_owned(),
        "\"\"".to_owned(),
        "true".to_owned(),
    ];
    let mut cases = Vec::new();
    for text in &texts {
        let name: String = text.chars().take(60).collect();
        cases.push(case(format!("body {name}"), posted(text), false));
        let world = request("POST", WORLDS, "Content-Type: application/json\r\n", text);
        cases.push(case(format!("world {name}"), world, false));
    }
    // What is not UTF-8.
    for (name, broken) in [
        (
            "in a name",
            b"{\"metadata\": {\"name\": \"a\xff\"}}".as_slice(),
        ),
        (
            "in a value",
            b"{\"metadata\": {\"name\": \"raw\", \"annotations\": {\"a\": \"\xc3\"}}}",
        ),
        (
            "in a key",
            b"{\"metadata\": {\"name\": \"raw\", \"odd\xff\": 1}}",
        ),
        ("alone", b"\xff\xfe"),
    ] {
        let mut bytes = request(
            "POST",
            &format!("{MAPS}?dryRun=All"),
            &format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                broken.len()
            ),
            "",
        )
        .into_bytes();
        bytes.extend_from_slice(broken);
        cases.push(case(format!("not UTF-8 {name}"), bytes, false));
    }
    // Yaml, protobuf and others.
    for (kind, text) in [
        ("application/yaml", "a: [1"),
        ("application/yaml", "a: *b"),
        ("application/yaml", "&a [*a]"),
        ("application/yaml", "--- 1\n--- 2\n"),
        ("application/yaml", ""),
        ("application/yaml", "\t"),
        ("application/vnd.kubernetes.protobuf", "k8s\0"),
        ("application/vnd.kubernetes.protobuf", "nonsense"),
        ("application/vnd.kubernetes.protobuf", ""),
        ("application/xml", "<a/>"),
        ("application/json; charset=utf-16", MAP),
        ("application/json;", MAP),
        ("APPLICATION/JSON", MAP),
        ("application/json, text/plain", MAP),
        ("nonsense", MAP),
        ("", MAP),
        ("/", MAP),
        ("application/merge-patch+json", MAP),
    ] {
        let path = format!("{MAPS}?dryRun=All");
        let bytes = request("POST", &path, &format!("Content-Type: {kind}\r\n"), text);
        // What is wrong with YAML each reader says in its own words.
        let broken = kind == "application/yaml" && !text.is_empty() && !text.contains('-');
        cases.push(case(format!("{kind} {text:?}"), bytes, broken));
        let path = format!("{MAPS}/none");
        let bytes = request("PATCH", &path, &format!("Content-Type: {kind}\r\n"), text);
        cases.push(case(format!("patch {kind} {text:?}"), bytes, false));
    }
    cases
}

/// Framing that is wrong.
fn framing() -> Vec<Case> {
    let head = |headers: &str, body: &str| {
        format!(
            "POST {MAPS} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer @token\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}\r\n{body}"
        )
    };
    let chunked = |body: &str| head("Transfer-Encoding: chunked\r\n", body);
    let get =
        |head: &str| format!("{head}Authorization: Bearer @token\r\nConnection: close\r\n\r\n");
    let exact = [
        (
            "a body in chunks that is broken",
            chunked("1\r\n{\r\n0\r\n\r\n"),
        ),
        ("chunks with extensions", chunked("1;a=b\r\n{\r\n0\r\n\r\n")),
        (
            "chunks with trailers",
            chunked("1\r\n{\r\n0\r\nX-A: b\r\n\r\n"),
        ),
    ];
    let codes = [
        ("a chunk of no length", chunked("x\r\n{}\r\n0\r\n\r\n")),
        (
            "a chunk of a negative length",
            chunked("-1\r\n{}\r\n0\r\n\r\n"),
        ),
        (
            "a chunk that is too long",
            chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
        ),
        ("a chunk without its end", chunked("2\r\n{}XX0\r\n\r\n")),
        (
            "two lengths",
            head("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
        ),
        (
            "a length and chunks",
            head(
                "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                "1\r\n{\r\n0\r\n\r\n",
            ),
        ),
        ("no length", head("Content-Length: x\r\n", "{}")),
        ("a negative length", head("Content-Length: -1\r\n", "{}")),
        (
            "a huge length",
            head("Content-Length: 99999999999999999999\r\n", "{}"),
        ),
        (
            "an encoding of the content",
            head("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"),
        ),
        ("no host", get("GET /api HTTP/1.1\r\n")),
        ("no version", "GET /api\r\n\r\n".to_owned()),
        ("nonsense", "nonsense\r\n\r\n".to_owned()),
        (
            "a space before a colon",
            get("GET /api HTTP/1.1\r\nHost: 127.0.0.1\r\nX : a\r\n"),
        ),
        (
            "a header without a name",
            get("GET /api HTTP/1.1\r\nHost: 127.0.0.1\r\n: a\r\n"),
        ),
        (
            "a NUL in a header",
            get("GET /api HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n"),
        ),
        (
            "a path without a slash",
            get("GET api HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        ),
        (
            "a path with half an escape",
            get("GET /api/%4 HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        ),
        (
            "a path with no escape",
            get("GET /api/v1/namespaces/%zz HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        ),
        (
            "a space in a path",
            get("GET /api /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        ),
        (
            "an asterisk",
            get("OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        ),
        (
            "a whole address",
            get("GET https://127.0.0.1/api HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        ),
        (
            "a head that is too large",
            get(&format!(
                "GET /api HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n",
                "a".repeat(2 << 20)
            )),
        ),
        (
            "a method that is too long",
            get(&format!(
                "{} /api HTTP/1.1\r\nHost: 127.0.0.1\r\n",
                "A".repeat(2 << 20)
            )),
        ),
        (
            "a body that is too large",
            posted(&format!(
                "{{\"metadata\": {{\"name\": \"raw\"}}, \"data\": {{\"a\": \"{}\"}}}}",
                "a".repeat(4 << 20)
            )),
        ),
        (
            "an object that is too large",
            posted(&format!(
                "{{\"metadata\": {{\"name\": \"raw\"}}, \"data\": {{\"a\": \"{}\"}}}}",
                "a".repeat(2 << 20)
            )),
        ),
    ];
    let exact = exact.map(|(name, bytes)| case(name, bytes, false));
    let codes = codes.map(|(name, bytes)| case(name, bytes, true));
    exact.into_iter().chain(codes).collect()
}

/// All of them.
pub fn cases() -> Vec<Case> {
    [paths(), methods(), bodies(), framing()]
        .into_iter()
        .flatten()
        .collect()
}

async fn send(side: &Side, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let tls = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    let address = side.url.trim_start_matches("https://");
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(name, stream).await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut answer = Vec::new();
    // Whoever refuses a body does not read it to its end.
    let written = async {
        let _ = writer.write_all(bytes).await;
        let _ = writer.flush().await;
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut piece = [0; 1 << 14];
        loop {
            match reader.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(count) => answer.extend_from_slice(&piece[..count]),
            }
        }
    };
    tokio::select! {
        () = written => {}
        () = read => {}
        () = tokio::time::sleep(PATIENCE) => return Err(std::io::ErrorKind::TimedOut.into()),
    }
    Ok(answer)
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).unwrap_or("0");
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        let from = end + 2;
        if length == 0 || rest.len() < from + length + 2 {
            break;
        }
        whole.extend_from_slice(&rest[from..from + length]);
        rest = &rest[from + length + 2..];
    }
    whole
}

/// An answer in comparable form.
fn shown(answer: std::io::Result<Vec<u8>>, code_alone: bool) -> Value {
    let answer = match answer {
        Ok(answer) if answer.is_empty() => return json!({"code": "closed"}),
        Ok(answer) => answer,
        Err(error) => return json!({"code": error.kind().to_string()}),
    };
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let split = split.unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..split]).to_ascii_lowercase();
    let code = head.split(' ').nth(1).unwrap_or("").to_owned();
    if code_alone {
        return json!({"code": code});
    }
    let body = answer.get(split + 4..).unwrap_or_default();
    let body = match head.contains("transfer-encoding: chunked") {
        true => unchunked(body),
        false => body.to_vec(),
    };
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let kind = header("content-type:");
    let allow = header("allow:");
    let body: Value = match serde_json::from_slice(&body) {
        Ok(value) => Normal::default().value(&value),
        Err(_) => String::from_utf8_lossy(&body).into_owned().into(),
    };
    // What is there, and how old each server is, is not what is looked at.
    let body = match code.as_str() {
        "200" => Value::from(body["kind"].as_str().unwrap_or("something").to_owned()),
        _ => body,
    };
    json!({"code": code, "type": kind, "allow": allow, "body": body})
}

/// Sends everything to both; says what is answered differently.
pub async fn compare(ours: &Side, theirs: &Side) -> (usize, Vec<String>) {
    let cases = cases();
    let mut found = Vec::new();
    for case in &cases {
        let filled = |side: &Side| {
            let token = b"@token";
            let at = case
                .bytes
                .windows(token.len())
                .position(|part| part == token);
            match at {
                None => case.bytes.clone(),
                Some(at) => [
                    &case.bytes[..at],
                    side.token.as_bytes(),
                    &case.bytes[at + token.len()..],
                ]
                .concat(),
            }
        };
        let (a, b) = (filled(ours), filled(theirs));
        let (a, b) = tokio::join!(send(ours, &a), send(theirs, &b));
        let parts = differences(&shown(a, case.code), &shown(b, case.code));
        if !parts.is_empty() {
            let parts: Vec<String> = parts
                .iter()
                .map(|(path, ours, theirs)| {
                    format!("  at {path}\n    embedded: {ours}\n    real:     {theirs}")
                })
                .collect();
            found.push(format!("{}\n{}", case.name, parts.join("\n")));
        }
    }
    (cases.len(), found)
}
