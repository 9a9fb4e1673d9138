//! Load balancers where there is no Envoy: they listen as the real ones do and answer for themselves, 200 while a target
//! is healthy and 503 otherwise. No request goes further, and the answer says so.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Healths, Snapshot};
use crate::sandbox::http;

/// The listeners of all load balancers, by load balancer and port.
#[derive(Default)]
pub struct Modelled(BTreeMap<(String, u16), (watch::Sender<bool>, JoinHandle<()>)>);

impl Modelled {
    /// Opens, keeps and closes listeners so that they are those of the snapshot.
    pub fn follow(&mut self, snapshot: &Snapshot, healths: &Healths) {
        let wanted = |(arn, port): &(String, u16)| {
            let balancer = snapshot.balancers.get(arn);
            balancer.is_some_and(|balancer| balancer.listeners.iter().any(|one| one.port == *port))
        };
        self.0.retain(|key, (_, task)| {
            let keep = wanted(key) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        for (arn, balancer) in &snapshot.balancers {
            let healthy = snapshot.groups_of(balancer).any(|group| {
                let here = healths.iter().filter(|((of, _), _)| *of == group.arn);
                here.into_iter()
                    .any(|(_, health)| health.state == "healthy")
            });
            for listener in &balancer.listeners {
                let address = (balancer.address, listener.port);
                let (health, _) = self
                    .0
                    .entry((arn.clone(), listener.port))
                    .or_insert_with(|| {
                        let (health, told) = watch::channel(healthy);
                        (health, tokio::spawn(listen(address.into(), told)))
                    });
                health.send_if_modified(|before| std::mem::replace(before, healthy) != healthy);
            }
        }
    }

    /// Closes all of them.
    pub fn end(self) {
        for (_, task) in self.0.into_values() {
            task.abort();
        }
    }
}

async fn listen(address: std::net::SocketAddr, healthy: watch::Receiver<bool>) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!("load balancer at {address}: {error}"),
    };
    let serve = move |stream| {
        let healthy = healthy.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let healthy = *healthy.borrow();
            async move { Ok::<_, Infallible>(answer(healthy)) }
        });
        async move {
            let _ = http::http1()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    };
    http::listen(listener, pending(), serve).await;
}

fn answer(healthy: bool) -> Response<Full<Bytes>> {
    let (status, body) = match healthy {
        true => (
            200,
            r#"{"sandbox":"this load balancer is modelled; there is no data plane behind it"}"#,
        ),
        false => (503, r#"{"sandbox":"no target is healthy"}"#),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}
