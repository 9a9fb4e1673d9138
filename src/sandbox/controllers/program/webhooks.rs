//! Admission webhooks over TLS: a certificate from a mounted secret, read anew when it changes, and a table of paths.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use futures::future::BoxFuture;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::ContainerContext;
use crate::sandbox::http::{self, Listening};

/// The largest review: an object, what it was, and what is around them.
pub const REVIEW: usize = 8 << 20;

/// A review request: `object`, `oldObject`, `operation`, `namespace` ….
pub type Review = Value;

/// What a webhook answers: the object as it is to be (unchanged for a validating one), or why not.
pub type Verdict = Result<Value, String>;

type Handler = Arc<dyn Fn(Review) -> BoxFuture<'static, Verdict> + Send + Sync>;

/// The webhooks of one program, by path.
#[derive(Clone, Default)]
pub struct Webhooks {
    handlers: Vec<(&'static str, Handler)>,
}

impl Webhooks {
    /// Serves a path.
    pub fn on<F, A>(&mut self, path: &'static str, handler: F)
    where
        F: Fn(Review) -> A + Send + Sync + 'static,
        A: Future<Output = Verdict> + Send + 'static,
    {
        self.handlers.push((
            path,
            Arc::new(move |review| Box::pin(handler(review)) as BoxFuture<'static, Verdict>),
        ));
    }

    /// Answers an AdmissionReview that was sent to a path: the HTTP status and the body, null without one.
    pub async fn answer(&self, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let Some((_, handler)) = self.handlers.iter().find(|(known, _)| *known == path) else {
            return (StatusCode::NOT_FOUND, Value::Null);
        };
        let Ok(mut review) = serde_json::from_slice::<Value>(body) else {
            return (StatusCode::BAD_REQUEST, Value::Null);
        };
        let request = review["request"].take();
        let mut response = json!({ "uid": request["uid"], "allowed": true });
        match handler(request.clone()).await {
            Ok(object) => {
                let patch = json_patch::diff(&request["object"], &object);
                if !patch.0.is_empty() {
                    let patch = serde_json::to_vec(&patch).unwrap_or_default();
                    response["patchType"] = "JSONPatch".into();
                    response["patch"] = base64::engine::general_purpose::STANDARD
                        .encode(patch)
                        .into();
                }
            }
            Err(message) => {
                response["allowed"] = false.into();
                response["status"] = json!({
                    "code": 403,
                    "reason": "Forbidden",
                    "message": message,
                    "metadata": {},
                });
            }
        }
        let answer = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": response,
        });
        (StatusCode::OK, answer)
    }

    /// Listens with the certificate `tls.crt` and key `tls.key` of a mounted directory, until dropped.
    pub async fn serve(
        self,
        context: &ContainerContext,
        address: SocketAddr,
        directory: &'static str,
    ) -> Result<Listening, String> {
        let certificate = Arc::new(Certificate::new(context.clone(), directory));
        certificate.acceptor()?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| format!("listen tcp {address}: {error}"))?;
        let webhooks = Arc::new(self);
        let serve = move |stream| {
            let (certificate, webhooks) = (certificate.clone(), webhooks.clone());
            async move {
                // A certificate that is being replaced at this moment fails this connection only.
                let Ok(acceptor) = certificate.acceptor() else {
                    return;
                };
                let Some(stream) = http::secure(&acceptor, stream).await else {
                    return;
                };
                let service = service_fn(move |request: Request<Incoming>| {
                    let webhooks = webhooks.clone();
                    async move { Ok::<_, Infallible>(respond(&webhooks, request).await) }
                });
                http::serve(stream, service).await;
            }
        };
        Ok(http::keep_listening(listener, serve))
    }
}

async fn respond(webhooks: &Webhooks, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let (status, answer) = match http::read(request.into_body(), REVIEW).await {
        Ok(body) => webhooks.answer(&path, &body).await,
        Err(unread) => {
            let status = StatusCode::from_u16(unread.explain().0);
            (status.unwrap_or(StatusCode::BAD_REQUEST), Value::Null)
        }
    };
    let body = if answer.is_null() {
        Bytes::from_static(b"404 page not found\n")
    } else {
        Bytes::from(answer.to_string())
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

/// The certificates of a PEM text.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("tls: failed to find any PEM data in certificate input".into());
    }
    Ok(found)
}

/// The files of the last handshake and the acceptor made of them.
type Loaded = Mutex<Option<((Vec<u8>, Vec<u8>), TlsAcceptor)>>;

struct Certificate {
    context: ContainerContext,
    directory: &'static str,
    loaded: Loaded,
}

impl Certificate {
    fn new(context: ContainerContext, directory: &'static str) -> Self {
        Certificate {
            context,
            directory,
            loaded: Mutex::new(None),
        }
    }

    fn file(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = format!("{}/{name}", self.directory);
        self.context
            .read(&path)
            .map_err(|_| format!("open {path}: no such file or directory"))
    }

    fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let files = (self.file("tls.crt")?, self.file("tls.key")?);
        let mut loaded = self
            .loaded
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((known, acceptor)) = &*loaded
            && *known == files
        {
            return Ok(acceptor.clone());
        }
        let chain = certificates(&files.0)?;
        let key = PrivateKeyDer::from_pem_slice(&files.1).map_err(|error| error.to_string())?;
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        *loaded = Some((files, acceptor.clone()));
        Ok(acceptor)
    }
}
