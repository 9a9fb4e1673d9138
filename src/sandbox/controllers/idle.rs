//! Programs of images whose work the sandbox does elsewhere: they start, stay ready and end when told to.

use std::net::SocketAddr;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::program::probes;
use super::{ContainerContext, stopped};

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

/// CoreDNS: names are resolved by the data plane, so only the probes are answered.
pub fn run_dns(mut context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        let mut listening = Vec::new();
        for (plugin, port, paths) in [("health", 8080, &["/health"]), ("ready", 8181, &["/ready"])]
        {
            match probes::serve(SocketAddr::new(context.twin, port), paths).await {
                Ok(probes) => listening.push(probes),
                Err(error) => {
                    context.say(format!("plugin/{plugin}: listen on port {port}: {error}"));
                    return 1;
                }
            }
        }
        context.say(".:53");
        context.say("CoreDNS-1.12");
        stopped(&mut context.shutdown).await;
        0
    }
    .boxed()
}
