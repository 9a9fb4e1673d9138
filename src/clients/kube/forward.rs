//! HTTP into a pod through a port-forward, as with `kubectl port-forward`: what listens on the pod's loopback alone, such as
//! a proxy's administration, is reached like this and no other way.

use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Cluster;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is asked of proxies is a few hundred kilobytes at most.
const LARGEST: usize = 4 << 20;

/// What a pod answered.
#[derive(Clone, Debug)]
pub struct PodAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl PodAnswer {
    /// A header, where there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body of a success as JSON.
    ///
    /// # Errors
    /// Another status; what is not JSON.
    pub fn json(&self) -> Result<Value, String> {
        match self.status {
            200..=299 => serde_json::from_slice(&self.body).map_err(|error| error.to_string()),
            status => Err(format!("answered HTTP {status}")),
        }
    }
}

impl Cluster {
    /// Sends a GET to a port of a pod, with this `host` header.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn ask_pod(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        host: &str,
        path: &str,
    ) -> Result<PodAnswer, String> {
        let request = hyper::Request::get(path).header("host", host);
        self.send_to_pod(namespace, pod, port, request, Bytes::new())
            .await
    }

    /// Calls a method of gRPC with an empty message through a proxy of a pod. Proxies take gRPC over HTTP/1.1 too; what
    /// its answer then lacks are the trailers, and so the status of an answer that has a body.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn call_pod(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        host: &str,
        method: &str,
    ) -> Result<PodAnswer, String> {
        let request = hyper::Request::post(method)
            .header("host", host)
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        // Not compressed, and no bytes long.
        let message = Bytes::from_static(&[0; 5]);
        self.send_to_pod(namespace, pod, port, request, message)
            .await
    }

    async fn send_to_pod(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<PodAnswer, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let request = request
            .header("connection", "close")
            .body(Full::new(body))
            .map_err(|error| words(&error))?;
        in_time(async {
            let pods = self.pods(namespace).await?;
            let forward = pods.portforward(pod, &[port]).await;
            let mut forward = forward.map_err(|error| words(&error))?;
            let stream = forward
                .take_stream(port)
                .ok_or("the port was not forwarded")?;
            let answered = answer_of(stream, request).await;
            forward.abort();
            answered
        })
        .await
    }

    /// What a container of a pod said since so many seconds ago.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    pub async fn log_of(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        since_seconds: i64,
    ) -> Result<String, String> {
        let params = kube::api::LogParams {
            container: Some(container.to_owned()),
            since_seconds: Some(since_seconds),
            ..kube::api::LogParams::default()
        };
        in_time(async {
            let log = self.pods(namespace).await?.logs(pod, &params).await;
            log.map_err(|error| error.to_string())
        })
        .await
    }

    async fn pods(&self, namespace: &str) -> Result<Api<Pod>, String> {
        let client = self.client().await.map_err(|trouble| trouble.to_string())?;
        Ok(Api::namespaced(client, namespace))
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
}

async fn answer_of(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: hyper::Request<Full<Bytes>>,
) -> Result<PodAnswer, String> {
    let words = |error: hyper::Error| error.to_string();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(words)?;
    let driven = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    let answered = async {
        let answer = sender.send_request(request).await.map_err(words)?;
        let status = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(PodAnswer {
            status,
            headers,
            body,
        })
    };
    tokio::select! {
        answered = answered => answered,
        never = driven => match never {},
    }
}
