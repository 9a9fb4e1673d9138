//! kube-proxy: what makes services reachable from a node. Here it keeps the cluster's names for the proxies, with the
//! rights of its own ServiceAccount; without it no Envoy finds an endpoint.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::sandbox::controllers::program::kubernetes_client;
use crate::sandbox::controllers::{ContainerContext, stopped};

/// `eks/kube-proxy`.
pub fn run(mut context: ContainerContext) -> BoxFuture<'static, i32> {
    async move {
        let mut shutdown = context.shutdown.clone();
        tokio::select! {
            code = serve(&mut context) => code,
            () = stopped(&mut shutdown) => 0,
        }
    }
    .boxed()
}

async fn serve(context: &mut ContainerContext) -> i32 {
    let client = match kubernetes_client(context) {
        Ok(client) => client,
        Err(error) => {
            context.say(format!(
                "E server.go: \"Error running ProxyServer\" err=\"{error}\""
            ));
            return 1;
        }
    };
    context.say("I server.go: \"Server info\"");
    let Some(names) = super::names_of(context) else {
        // Nothing here follows the names: the sandbox has no data plane.
        return std::future::pending().await;
    };
    names.follow(&client).await;
    1
}
