//! What EKS runs beside a cluster's API server and the API server asks over HTTPS: the authenticator of bearer tokens and
//! the pod-identity webhook. One listener on loopback, with a certificate of the cluster's own authority.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::pod_identity;
use crate::sandbox::controllers::program::webhooks::{REVIEW, Webhooks};
use crate::sandbox::http::{self, Listening};
use crate::sandbox::kubernetes::{Authenticate, Authority};

/// Where tokens are asked about.
pub const AUTHENTICATE: &str = "/authenticate";

/// The running listener. It ends when dropped.
pub struct Server {
    /// Its port.
    pub port: u16,
    client: Arc<OnceLock<kube::Client>>,
    _listening: Listening,
}

impl Server {
    /// Gives the webhooks their client, once the API server answers. Until then pods are left as they are.
    pub fn connect(&self, client: kube::Client) {
        let _ = self.client.set(client);
    }
}

/// Starts the listener on a port of the last run, or another one when that is taken.
pub async fn start(
    authority: &Authority,
    port: u16,
    authenticate: Authenticate,
    region: &str,
) -> Result<Server, String> {
    let identity = authority
        .serving("eks-webhooks", vec!["127.0.0.1".to_owned()])
        .map_err(|error| error.to_string())?;
    let acceptor = TlsAcceptor::from(Arc::new(identity.server()?));
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = match TcpListener::bind(address(port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(address(0))
            .await
            .map_err(|error| format!("listen tcp 127.0.0.1: {error}"))?,
    };
    let port = listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port();
    let client: Arc<OnceLock<kube::Client>> = Arc::default();
    let mut webhooks = Webhooks::default();
    let (known, region) = (client.clone(), region.to_owned());
    webhooks.on(pod_identity::PATH, move |review| {
        let (client, region) = (known.get().cloned(), region.clone());
        async move {
            Ok(match client {
                Some(client) => pod_identity::answer(client, &region, &review).await,
                None => review["object"].clone(),
            })
        }
    });
    let webhooks = Arc::new(webhooks);
    let serve = move |stream| {
        let (acceptor, webhooks, authenticate) =
            (acceptor.clone(), webhooks.clone(), authenticate.clone());
        async move {
            let Some(stream) = http::secure(&acceptor, stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let (webhooks, authenticate) = (webhooks.clone(), authenticate.clone());
                async move { Ok::<_, Infallible>(respond(&webhooks, &authenticate, request).await) }
            });
            http::serve(stream, service).await;
        }
    };
    Ok(Server {
        port,
        client,
        _listening: http::keep_listening(listener, serve),
    })
}

async fn respond(
    webhooks: &Webhooks,
    authenticate: &Authenticate,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let (status, answer) = match http::read(request.into_body(), REVIEW).await {
        Err(_) => (StatusCode::BAD_REQUEST, Value::Null),
        Ok(body) if path == AUTHENTICATE => match serde_json::from_slice::<Value>(&body) {
            Ok(review) => (StatusCode::OK, review_token(authenticate, review)),
            Err(_) => (StatusCode::BAD_REQUEST, Value::Null),
        },
        Ok(body) => webhooks.answer(&path, &body).await,
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

/// Answers a TokenReview in the words of EKS's authenticator.
fn review_token(authenticate: &Authenticate, review: Value) -> Value {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    let status = match authenticate(token) {
        Some(user) => json!({"authenticated": true, "user": {
            "username": user.username, "uid": user.uid, "groups": user.groups,
            "extra": user.extra.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }}),
        None => json!({"authenticated": false}),
    };
    json!({
        "apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status,
    })
}
