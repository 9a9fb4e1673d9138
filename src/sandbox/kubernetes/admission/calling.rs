//! How a webhook is reached: where its Service's endpoints are, over HTTPS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    address: Result<SocketAddr, String>,
    path: String,
}

/// Posts a review; says where to, and what came back.
pub async fn call(
    attributes: &Attributes<'_>,
    config: &Value,
    review: &Value,
    seconds: u64,
) -> (String, Result<Value, Trouble>) {
    let target = target(attributes, config, seconds);
    let url = target.url.clone();
    let limit = Duration::from_secs(seconds);
    let post = post(&target, &attributes.api.webhooks, config, review);
    let result = match tokio::time::timeout(limit, post).await {
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
) -> Result<(Ipv4Addr, u16), String> {
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

/// Connections to webhooks that wait for the next call: a real API server keeps them, too.
#[derive(Default)]
pub struct Connections(Mutex<Vec<(Peer, Sender)>>);

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// Who is at the other end of a connection: the address, the name in its certificate, and the authorities that vouch for it.
type Peer = (SocketAddr, String, String);

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Vec<(Peer, Sender)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that nobody uses, if there is one.
    async fn take(&self, peer: &Peer) -> Option<Sender> {
        loop {
            let (_, mut sender) = {
                let mut idle = self.lock();
                idle.retain(|(_, sender)| !sender.is_closed());
                let found = idle.iter().rposition(|(known, _)| known == peer)?;
                idle.swap_remove(found)
            };
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    fn keep(&self, peer: Peer, sender: Sender) {
        self.lock().push((peer, sender));
    }
}

async fn dial(target: &Target, address: SocketAddr, config: &Value) -> Result<Sender, Trouble> {
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
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| gone(&error))?;
    // Ends with the sender, or when the other side hangs up.
    tokio::spawn(connection);
    Ok(sender)
}

/// A connection that ended, in Go's words.
fn gone(error: &hyper::Error) -> Trouble {
    Trouble::Connect(match error.is_incomplete_message() {
        true => "EOF".to_owned(),
        false => error.to_string(),
    })
}

async fn post(
    target: &Target,
    connections: &Connections,
    config: &Value,
    review: &Value,
) -> Result<Value, Trouble> {
    let address = target.address.clone().map_err(Trouble::Connect)?;
    let request = Request::post(target.path.as_str())
        .header("host", target.host.as_str())
        .header("content-type", "application/json")
        .header("accept", "application/json, */*")
        .header("user-agent", "kube-apiserver-admission")
        .body(Full::new(Bytes::from(review.to_string())))
        .map_err(|error| Trouble::Connect(error.to_string()))?;
    let bundle = object::text(config, "caBundle").to_owned();
    let peer = (address, target.host.clone(), bundle);
    let kept = connections.take(&peer).await;
    let is_kept = kept.is_some();
    let mut sender = match kept {
        Some(sender) => sender,
        None => dial(target, address, config).await?,
    };
    let response = match sender.send_request(request.clone()).await {
        // The other side hung up on a connection that nobody used for a while. A review has no effect and may come twice.
        Err(_) if is_kept => {
            sender = dial(target, address, config).await?;
            sender.send_request(request).await
        }
        response => response,
    };
    let response = response.map_err(|error| gone(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map_err(|error| gone(&error))?.to_bytes();
    connections.keep(peer, sender);
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
