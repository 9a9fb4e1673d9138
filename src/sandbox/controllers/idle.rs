//! Programs of images whose work the sandbox does elsewhere: they start, stay ready and end when told to.

use std::net::SocketAddr;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{ContainerContext, stopped};
use crate::sandbox::http;

/// Runs until told to end.
pub fn run(mut context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        context.say("started");
        stopped(&mut context.shutdown).await;
        0
    }
    .boxed()
}

/// Ends at once, as an init container that has nothing to do.
pub fn run_once(context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        context.say("nothing to set up in the sandbox");
        0
    }
    .boxed()
}

/// CoreDNS: names are resolved by the data plane, so only the probes are answered (`:8080/health`, `:8181/ready`).
pub fn run_dns(mut context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        for port in [8080, 8181] {
            let listener = match TcpListener::bind(SocketAddr::new(context.twin, port)).await {
                Ok(listener) => listener,
                Err(error) => {
                    context.say(format!("plugin/health: listen on port {port}: {error}"));
                    return 1;
                }
            };
            let mut shutdown = context.shutdown.clone();
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        () = stopped(&mut shutdown) => return,
                        mut stream = http::accept(&listener) => {
                            tokio::spawn(async move {
                                let mut request = [0; 1024];
                                let _ = stream.read(&mut request).await;
                                let _ = stream
                                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK")
                                    .await;
                            });
                        }
                    }
                }
            });
        }
        context.say(".:53");
        context.say("CoreDNS-1.12");
        stopped(&mut context.shutdown).await;
        0
    }
    .boxed()
}
