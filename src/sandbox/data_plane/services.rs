//! kube-proxy: what makes services reachable from a node. Here it keeps the cluster's names for the proxies, with the
//! rights of its own ServiceAccount; without it no Envoy finds an endpoint.

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;

use crate::sandbox::controllers::kubelet::trusting;
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
    let client = match api_server(context) {
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

/// A client with the ServiceAccount's token, which is renewed in its file.
fn api_server(context: &ContainerContext) -> Result<Client, String> {
    let path = |name: &str| format!("{ACCOUNT}/{name}");
    let authority = path("ca.crt");
    let authority = context
        .read(&authority)
        .map_err(|error| format!("{authority}: {error}"))?;
    let token = path("token");
    let token = context
        .host_path(&token)
        .ok_or(format!("{token} is not mounted"))?;
    let mut config = trusting(
        &context.kubernetes_endpoint,
        &String::from_utf8_lossy(&authority),
    )?;
    config.auth_info.token_file = Some(token.to_string_lossy().into_owned());
    Client::try_from(config).map_err(|error| error.to_string())
}
