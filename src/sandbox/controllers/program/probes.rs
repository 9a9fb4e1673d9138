//! A small plain HTTP listener for health probes and metrics.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::sandbox::http::{self, Listening};

/// Answers 200 on these paths of an address and 404 on all others, until dropped.
pub async fn serve(
    address: SocketAddr,
    paths: &'static [&'static str],
) -> std::io::Result<Listening> {
    let listener = TcpListener::bind(address).await?;
    let serve = move |stream| async move {
        let service = service_fn(move |request: Request<Incoming>| async move {
            let known = paths.contains(&request.uri().path());
            let mut response = Response::new(Full::new(Bytes::from_static(if known {
                b"ok"
            } else {
                b"404 page not found\n"
            })));
            if !known {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            Ok::<_, Infallible>(response)
        });
        // A prober that hangs up early is no failure.
        let _ = http::http1()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    };
    Ok(http::keep_listening(listener, serve))
}
