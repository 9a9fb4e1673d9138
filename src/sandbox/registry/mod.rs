//! The OCI distribution API: behind ECR, for whoever has an authorization token, and in place of the public registries,
//! for everybody, with the base image of the demo services.

mod answer;
mod base_image;
mod ecr;
pub mod manifest;
mod public;
mod route;
pub mod store;

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::http::{self, Breakable, Breaker};
use super::state::World;
use super::{Part, asked};
use answer::Body;

/// Serves ECR's registry and the public ones on bound listeners until it is stopped.
pub fn start(world: World, ecr: TcpListener, public: TcpListener) -> Part {
    let (stop, stopped) = watch::channel(false);
    let private = Arc::new(ecr::Registry::new(world));
    let open = Arc::new(public::Registry::new(&public));
    let tasks = [
        tokio::spawn(accept(ecr, stopped.clone(), move |request, breaker| {
            let registry = private.clone();
            async move { registry.respond(request, &breaker).await }
        })),
        tokio::spawn(accept(public, stopped, move |request, _| {
            let registry = open.clone();
            async move { registry.respond(&request) }
        })),
    ];
    Part::new("registries", async move {
        stop.send_replace(true);
        for task in tasks {
            let _ = task.await;
        }
    })
}

async fn accept<F, A>(listener: TcpListener, mut stopped: watch::Receiver<bool>, respond: F)
where
    F: Fn(Request<Incoming>, Breaker) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let stopping = stopped.clone();
    let serve = |stream| {
        let respond = respond.clone();
        let mut ending = stopping.clone();
        async move {
            let (stream, breaker) = Breakable::new(stream);
            let broken = breaker.clone();
            let service = hyper::service::service_fn(move |request| {
                let here = http::is_addressed_here(&request, &[]);
                let answer = here.then(|| respond(request, breaker.clone()));
                async move { Ok::<_, Infallible>(guarded(answer).await) }
            });
            let connection = http::http1().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = broken.tripped() => {}
                () = asked(&mut ending) => {}
            }
        }
    };
    let mut connections = http::listen(listener, asked(&mut stopped), serve).await;
    connections.shutdown().await;
}

/// An answer, if there is to be one; a defect must not take the connection with it.
async fn guarded(answer: Option<impl Future<Output = Response<Body>>>) -> Response<Body> {
    let Some(answer) = answer else {
        return answer::refuse(
            403,
            "DENIED",
            "the sandbox answers on loopback addresses only",
        );
    };
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(answer) => answer,
        Err(_) => {
            tracing::error!("the registry panicked");
            answer::refuse(500, "UNKNOWN", "unknown error")
        }
    }
}
