//! kube-proxy: what makes services reachable from a node. Here it keeps the cluster's names for the proxies, with the
//! rights of its own ServiceAccount; without it no Envoy finds an endpoint.

use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::names;
use crate::sandbox::clusters::ClusterAccess;
use crate::sandbox::controllers::kubelet::client;
use crate::sandbox::controllers::{ContainerContext, stopped};

const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

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
    let read = |name: &str| {
        let path = format!("{ACCOUNT}/{name}");
        let content = context
            .read(&path)
            .map_err(|error| format!("{path}: {error}"))?;
        Ok::<String, String>(String::from_utf8_lossy(&content).trim().to_owned())
    };
    let access = || {
        Ok::<ClusterAccess, String>(ClusterAccess {
            cluster: String::new(),
            region: context.region.clone(),
            server: context.kubernetes_endpoint.clone(),
            certificate_authority: read("ca.crt")?,
            token: read("token")?,
        })
    };
    loop {
        let client = match access().and_then(|access| client(&access)) {
            Ok(client) => client,
            Err(error) => {
                context.say(format!(
                    "E server.go: \"Error running ProxyServer\" err=\"{error}\""
                ));
                return 1;
            }
        };
        context.say("I server.go: \"Server info\"");
        let _names = names::watch(&context.kubernetes_endpoint, &client);
        // Tokens live for an hour and are renewed in their file; a client keeps the one it was made with.
        tokio::time::sleep(Duration::from_secs(1800)).await;
    }
}
