//! An API server of one's own for a unit test.

use super::{Server, ServerOptions, serve};

/// Starts a server in a fresh temporary directory with a client that may do everything.
pub async fn start() -> (Server, kube::Client) {
    start_with(|_| {}).await
}

/// As [`start`], with the options adjusted.
pub async fn start_with(adjust: impl FnOnce(&mut ServerOptions)) -> (Server, kube::Client) {
    let directory =
        std::env::temp_dir().join(format!("meshctl-kubernetes-{:016x}", fastrand::u64(..)));
    let mut options = ServerOptions::new(directory);
    adjust(&mut options);
    let server = serve(options).await.expect("the API server starts");
    let client = client(&server, server.admin_token());
    (server, client)
}

/// A client with a bearer token.
pub fn client(server: &Server, token: &str) -> kube::Client {
    let mut config = kube::Config::new(server.url().parse().expect("the server's URL"));
    config.root_cert = Some(vec![server.ca_der().to_vec()]);
    config.default_namespace = "default".into();
    config.auth_info.token = Some(token.to_owned().into());
    kube::Client::try_from(config).expect("a client")
}
