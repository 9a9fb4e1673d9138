//! The listener: TLS, HTTP/1.1 and HTTP/2, and the life of a running server.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::future::FutureExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::status::Status;
use super::{Keys, ServeError, ServerOptions, VERSION};

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A running API server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    url: String,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    done: Option<tokio::task::JoinHandle<()>>,
}

struct Shared {
    keys: Keys,
    admin_token: String,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority that signed its certificate, PEM.
    pub fn ca_pem(&self) -> &str {
        self.shared.keys.ca_pem()
    }

    /// The certificate authority, DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        self.shared.keys.ca_der()
    }

    /// The public keys of its service-account tokens.
    pub fn jwks(&self) -> Value {
        self.shared.keys.jwks()
    }

    /// The bearer token of the control plane's own components (`system:masters`); another one at each start.
    pub fn admin_token(&self) -> &str {
        &self.shared.admin_token
    }

    /// Ends watches and connections, saves everything and closes the port.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(done) = self.done.take() {
            let _ = done.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

pub(super) async fn start(options: ServerOptions) -> Result<Server, ServeError> {
    let keys = Keys::load_or_create(&options.directory)?;
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let wrong = |reason: String| ServeError::Keys {
        path: options.directory.clone(),
        reason,
    };
    let (certificate, key) = keys
        .serving(names.iter().map(|name| (*name).to_owned()).collect())
        .map_err(|error| wrong(error.to_string()))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|error| wrong(error.to_string()))?
    .with_no_client_auth()
    .with_single_cert(vec![certificate], key)
    .map_err(|error| wrong(error.to_string()))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listen = |source| ServeError::Listen {
        address: wanted,
        source,
    };
    let listener = TcpListener::bind(wanted).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let admin_token = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let shared = Arc::new(Shared { keys, admin_token });
    let (stop, stopped) = watch::channel(false);
    let done = tokio::spawn(accept(
        listener,
        TlsAcceptor::from(Arc::new(tls)),
        shared.clone(),
        stopped,
    ));
    Ok(Server {
        address,
        url: format!("https://{address}"),
        shared,
        stop,
        done: Some(done),
    })
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file descriptors or a connection reset before it was taken: the next one may do.
                Err(_) => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                }
            },
            _ = connections.join_next(), if !connections.is_empty() => continue,
            () = ended(&mut stopped) => break,
        };
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service =
                service_fn(move |request| answer(shared.clone(), request).map(Ok::<_, Infallible>));
            let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
    connections.shutdown().await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let token = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some_and(|token| token != shared.admin_token) {
        return refused(&Status::unauthorized());
    }
    match request.uri().path() {
        "/version" => json_body(
            200,
            &json!({"major": VERSION.0, "minor": VERSION.1, "gitVersion": VERSION.2}),
        ),
        _ => refused(&Status::no_resource()),
    }
}

pub(super) fn json_body(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() =
        hyper::StatusCode::from_u16(code).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

pub(super) fn refused(status: &Status) -> Response<Body> {
    json_body(status.code, &status.body())
}

/// Returns when the server is to stop.
pub(super) async fn ended(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
