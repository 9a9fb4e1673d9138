//! Mutating and validating webhooks, called over HTTPS where their Service's endpoints are.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::auth::user_value;
use super::super::object;
use super::super::patch;
use super::super::read::external;
use super::super::selector::Labels;
use super::super::status::{Result, Status};
use super::Attributes;

const MUTATING: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
const VALIDATING: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";

/// What a webhook may give as the reason of its refusal.
const REASONS: &[&str] = &[
    "AlreadyExists",
    "BadRequest",
    "Conflict",
    "Expired",
    "Forbidden",
    "Gone",
    "InternalError",
    "Invalid",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotFound",
    "RequestEntityTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "UnsupportedMediaType",
];

/// Calls the mutating webhooks in the order of their configurations' names. The object is `Null` when it is deleted.
pub async fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<()> {
    if exempt(attributes) {
        return Ok(());
    }
    for configuration in attributes.api.store.all(MUTATING, "") {
        for hook in object::list(&configuration.value, "webhooks") {
            let shown = Some(&*object).filter(|object| !object.is_null());
            if !matches(attributes, hook, shown, old) {
                continue;
            }
            let Some(response) = ask(attributes, hook, shown, old).await? else {
                continue;
            };
            let Some(patch) = response["patch"].as_str().filter(|patch| !patch.is_empty()) else {
                continue;
            };
            patched(hook, object, patch)?;
        }
    }
    Ok(())
}

fn patched(hook: &Value, object: &mut Value, patch: &str) -> Result<()> {
    let name = object::text(hook, "name");
    let undecodable = |error: String| {
        Status::internal(format!(
            "failed calling webhook {name:?}: received undecodable patch in webhook response: {error}"
        ))
    };
    let patch = STANDARD
        .decode(patch)
        .map_err(|error| undecodable(error.to_string()))?;
    let patch: Value =
        serde_json::from_slice(&patch).map_err(|error| undecodable(error.to_string()))?;
    if patch.as_array().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    if object.is_null() {
        return Err(Status::internal(format!(
            "admission webhook {name:?} attempted to modify the object, which is not supported for this operation"
        )));
    }
    patch::apply(object, &patch).map_err(Status::internal)
}

/// Calls the validating webhooks.
pub async fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<()> {
    if exempt(attributes) {
        return Ok(());
    }
    for configuration in attributes.api.store.all(VALIDATING, "") {
        for hook in object::list(&configuration.value, "webhooks") {
            if matches(attributes, hook, object, old) {
                ask(attributes, hook, object, old).await?;
            }
        }
    }
    Ok(())
}

/// Webhooks are not asked about webhooks, or nobody could repair a broken one.
fn exempt(attributes: &Attributes<'_>) -> bool {
    attributes.resource.group == "admissionregistration.k8s.io"
}

fn matches(
    attributes: &Attributes<'_>,
    hook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> bool {
    let resource = attributes.resource;
    let has = |rule: &Value, field: &str, wanted: &str| {
        object::list(rule, field)
            .iter()
            .any(|one| one == "*" || one == wanted)
    };
    let full = if attributes.subresource.is_empty() {
        resource.plural.clone()
    } else {
        format!("{}/{}", resource.plural, attributes.subresource)
    };
    let equivalent = hook["matchPolicy"] != "Exact";
    let ruled = object::list(hook, "rules").iter().any(|rule| {
        let scope = match object::text(rule, "scope") {
            "Namespaced" => resource.namespaced,
            "Cluster" => !resource.namespaced,
            _ => true,
        };
        let named = object::list(rule, "resources").iter().any(|one| {
            let one = one.as_str().unwrap_or("");
            let (name, sub) = one.split_once('/').unwrap_or((one, ""));
            one == "*/*"
                || one == full
                || (name == "*" || name == resource.plural)
                    && (sub == "*" || sub == attributes.subresource)
        });
        scope
            && named
            && has(rule, "operations", attributes.operation)
            && has(rule, "apiGroups", &resource.group)
            && (equivalent || has(rule, "apiVersions", &resource.version))
    });
    if !ruled {
        return false;
    }
    let selector = Labels::from_object(&hook["objectSelector"]);
    let selected = selector.is_empty()
        || object.is_some_and(|object| selector.matches(object))
        || old.is_some_and(|old| selector.matches(old));
    selected && in_namespace(attributes, hook, object.or(old))
}

fn in_namespace(attributes: &Attributes<'_>, hook: &Value, object: Option<&Value>) -> bool {
    let selector = Labels::from_object(&hook["namespaceSelector"]);
    if selector.is_empty() {
        return true;
    }
    if attributes.resource.is("", "namespaces") {
        return object.is_some_and(|object| selector.matches(object));
    }
    if attributes.namespace.is_empty() {
        return true;
    }
    attributes
        .api
        .store
        .get("namespaces", "", attributes.namespace)
        .is_some_and(|namespace| selector.matches(&namespace.value))
}

/// Asks a webhook. Its response when it allows; nothing when it could not be asked and may be left out.
async fn ask(
    attributes: &Attributes<'_>,
    hook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Option<Value>> {
    let name = object::text(hook, "name");
    if attributes.dry_run && !matches!(object::text(hook, "sideEffects"), "None" | "NoneOnDryRun") {
        return Err(Status::bad_request(format!(
            "admission webhook {name:?} does not support dry run"
        )));
    }
    let uid = object::new_uid();
    let review = review(attributes, &uid, object, old);
    let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
    let failed = |error: String| {
        if hook["failurePolicy"] == "Ignore" {
            Ok(None)
        } else {
            Err(Status::internal(format!(
                "failed calling webhook {name:?}: {error}"
            )))
        }
    };
    let (url, answer) = call(attributes, &hook["clientConfig"], &review, seconds).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(Trouble::Connect(error)) => {
            return failed(format!("failed to call webhook: Post {url:?}: {error}"));
        }
        Err(Trouble::Answer(error)) => return failed(format!("failed to call webhook: {error}")),
    };
    let response = &answer["response"];
    if !response.is_object() {
        return failed(format!("expected response, got {answer}"));
    }
    if response["uid"] != uid.as_str() {
        let got = object::text(response, "uid");
        return failed(format!(
            "received invalid webhook response: expected response.uid={uid:?}, got {got:?}"
        ));
    }
    if response["allowed"] == true {
        return Ok(Some(response.clone()));
    }
    let status = &response["status"];
    let why = ["message", "reason"]
        .into_iter()
        .map(|field| object::text(status, field))
        .find(|text| !text.is_empty());
    let message = match why {
        Some(why) => format!("admission webhook {name:?} denied the request: {why}"),
        None => format!("admission webhook {name:?} denied the request without explanation"),
    };
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| *code >= 400)
        .unwrap_or(400);
    // The reason is the webhook's, or none.
    let reason = REASONS
        .iter()
        .find(|reason| **reason == object::text(status, "reason"))
        .unwrap_or(&"");
    let mut refused = Status::new(code, reason, message);
    refused.details = status
        .get("details")
        .filter(|details| details.is_object())
        .cloned();
    Err(refused)
}

fn review(
    attributes: &Attributes<'_>,
    uid: &str,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Value {
    let resource = attributes.resource;
    let kind = attributes.kind;
    let shown = |value: Option<&Value>| {
        let mut shown = value.map_or(Value::Null, |value| external(kind, value).into_owned());
        // A structure that is no pointer in Go is always there.
        let typed = kind.custom.is_none() && shown.is_object();
        for field in ["spec", "status"] {
            if typed && kind.schema().field(field).is_some() {
                let balanced = matches!(kind.plural.as_str(), "services" | "ingresses");
                let empty = match balanced && field == "status" {
                    true => json!({"loadBalancer": {}}),
                    false => json!({}),
                };
                object::default(&mut shown, field, empty);
            }
        }
        shown
    };
    let kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let plural =
        json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
    let mut options = attributes.options.clone();
    options["kind"] = match attributes.operation {
        "CREATE" => "CreateOptions",
        "DELETE" => "DeleteOptions",
        _ => "UpdateOptions",
    }
    .into();
    options["apiVersion"] = "meta.k8s.io/v1".into();
    let mut request = json!({
        "uid": uid,
        "kind": kind,
        "resource": plural,
        "requestKind": kind,
        "requestResource": plural,
        "operation": attributes.operation,
        "userInfo": user_value(attributes.user),
        "object": shown(object),
        "oldObject": shown(old),
        "dryRun": attributes.dry_run,
        "options": options,
    });
    // A name that is still to be made is none, nor is that of one of a collection.
    let name = match (attributes.operation, object) {
        ("CREATE", Some(object)) => object::name(object),
        _ => attributes.name,
    };
    if !name.is_empty() {
        request["name"] = name.into();
    }
    if !attributes.namespace.is_empty() {
        request["namespace"] = attributes.namespace.into();
    } else if resource.is("", "namespaces") {
        request["namespace"] = attributes.name.into();
    }
    if !attributes.subresource.is_empty() {
        request["subResource"] = attributes.subresource.into();
        request["requestSubResource"] = attributes.subresource.into();
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

enum Trouble {
    Connect(String),
    Answer(String),
}

struct Target {
    url: String,
    host: String,
    /// What the API shows, for messages.
    shown: String,
    address: std::result::Result<SocketAddr, String>,
    path: String,
}

async fn call(
    attributes: &Attributes<'_>,
    config: &Value,
    review: &Value,
    seconds: u64,
) -> (String, std::result::Result<Value, Trouble>) {
    let target = target(attributes, config, seconds);
    let url = target.url.clone();
    let limit = Duration::from_secs(seconds);
    let result = match tokio::time::timeout(limit, post(&target, config, review)).await {
        Ok(result) => result,
        Err(_) => Err(Trouble::Connect("context deadline exceeded".into())),
    };
    (url, result)
}

fn target(attributes: &Attributes<'_>, config: &Value, seconds: u64) -> Target {
    let service = &config["service"];
    if !service.is_object() {
        let url = object::text(config, "url");
        let rest = url.strip_prefix("https://").unwrap_or(url);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
        let ip = if host == "localhost" {
            "127.0.0.1"
        } else {
            host
        };
        return Target {
            url: format!("{url}?timeout={seconds}s"),
            host: host.to_owned(),
            shown: authority.to_owned(),
            address: format!("{ip}:{port}")
                .parse()
                .map_err(|_| format!("dial tcp: lookup {host}: no such host")),
            path: format!("/{path}?timeout={seconds}s"),
        };
    }
    let (namespace, name) = (
        object::text(service, "namespace"),
        object::text(service, "name"),
    );
    let port = service["port"].as_u64().unwrap_or(443);
    let path = object::text(service, "path").trim_start_matches('/');
    let host = format!("{name}.{namespace}.svc");
    let found = endpoint(attributes, namespace, name, port);
    let shown = found
        .as_ref()
        .map_or_else(String::clone, |(address, port)| format!("{address}:{port}"));
    let dial = &attributes.api.options.dial;
    Target {
        url: format!("https://{host}:{port}/{path}?timeout={seconds}s"),
        host,
        shown,
        address: found.map(|(address, port)| SocketAddr::from((dial(address), port))),
        path: format!("/{path}?timeout={seconds}s"),
    }
}

/// The address and port of a ready endpoint of a Service.
fn endpoint(
    attributes: &Attributes<'_>,
    namespace: &str,
    name: &str,
    port: u64,
) -> std::result::Result<(Ipv4Addr, u16), String> {
    let store = &attributes.api.store;
    let service = store
        .get("services", namespace, name)
        .ok_or_else(|| format!("service {name:?} not found"))?;
    let service_port = object::list(&service.value, "spec.ports")
        .iter()
        .find(|one| one["port"].as_u64() == Some(port))
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?
        .clone();
    let port_name = object::text(&service_port, "name").to_owned();
    let mut found = Vec::new();
    for slice in store.all("discovery.k8s.io/endpointslices", namespace) {
        if object::label(&slice.value, "kubernetes.io/service-name") != Some(name) {
            continue;
        }
        let number = object::list(&slice.value, "ports")
            .iter()
            .find(|one| object::text(one, "name") == port_name)
            .and_then(|one| u16::try_from(one["port"].as_u64()?).ok());
        let Some(number) = number else { continue };
        for endpoint in object::list(&slice.value, "endpoints") {
            if endpoint["conditions"]["ready"] == false {
                continue;
            }
            for address in object::list(endpoint, "addresses") {
                if let Some(address) = address.as_str().and_then(|text| text.parse().ok()) {
                    found.push((address, number));
                }
            }
        }
    }
    fastrand::choice(found).ok_or_else(|| format!("no endpoints available for service {name:?}"))
}

async fn post(
    target: &Target,
    config: &Value,
    review: &Value,
) -> std::result::Result<Value, Trouble> {
    let address = target.address.clone().map_err(Trouble::Connect)?;
    let stream = TcpStream::connect(address).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => error.to_string(),
        };
        Trouble::Connect(format!("dial tcp {}: {why}", target.shown))
    })?;
    let _ = stream.set_nodelay(true);
    let roots = roots(config);
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|error| Trouble::Connect(error.to_string()))?
    .with_root_certificates(roots)
    .with_no_client_auth();
    let host = ServerName::try_from(target.host.clone())
        .map_err(|error| Trouble::Connect(error.to_string()))?;
    let stream = TlsConnector::from(Arc::new(tls))
        .connect(host, stream)
        .await
        .map_err(|error| Trouble::Connect(untrusted(&error, &target.host)))?;
    let gone = |error: hyper::Error| Trouble::Connect(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(gone)?;
    // Ends with the connection, which ends with the sender.
    let connection = tokio::spawn(connection);
    let request = Request::post(target.path.as_str())
        .header("host", target.host.as_str())
        .header("content-type", "application/json")
        .header("accept", "application/json, */*")
        .header("user-agent", "kube-apiserver-admission")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|error| Trouble::Connect(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(gone)?;
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(gone)?
        .to_bytes();
    connection.abort();
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        let text = text.trim();
        return Err(Trouble::Answer(if text.is_empty() {
            format!(
                "the server rejected our request for an unknown reason ({})",
                status.as_u16()
            )
        } else {
            text.to_owned()
        }));
    }
    serde_json::from_slice(&body).map_err(|error| Trouble::Answer(error.to_string()))
}

fn roots(config: &Value) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    let bundle = config["caBundle"]
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default();
    // A broken certificate in the bundle trusts nobody.
    for certificate in CertificateDer::pem_slice_iter(&bundle).flatten() {
        let _ = roots.add(certificate);
    }
    roots
}

/// Go's words for what rustls says.
fn untrusted(error: &std::io::Error, host: &str) -> String {
    use rustls::{CertificateError, Error};
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let why = match inner {
        Some(Error::InvalidCertificate(why)) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("x509: certificate is not valid for {host}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "x509: certificate has expired or is not yet valid".to_owned()
            }
            _ => "x509: certificate signed by unknown authority".to_owned(),
        },
        _ => return error.to_string(),
    };
    format!("tls: failed to verify certificate: {why}")
}
