//! How a webhook is reached: where its Service's endpoints are, over HTTPS.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::super::object;
use super::{Attributes, trust};

/// Why there is no answer.
pub enum Trouble {
    /// Nobody could be reached.
    Connect(String),
    /// What came is none.
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

/// Posts a review; says where to, and what came back.
pub async fn call(
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
    let tls = trust::client(config).map_err(|error| Trouble::Connect(error.to_string()))?;
    let host = ServerName::try_from(target.host.clone())
        .map_err(|error| Trouble::Connect(error.to_string()))?;
    let stream = TlsConnector::from(tls)
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
