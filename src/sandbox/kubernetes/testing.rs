//! An API server of one's own for a unit test.

use std::ops::Deref;

use tempfile::TempDir;

use super::{Server, ServerOptions, serve};

/// A server and its folder, which is removed with it.
pub struct TestServer {
    server: Server,
    folder: TempDir,
}

impl Deref for TestServer {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl TestServer {
    /// Stops the server once everything is saved; its folder stays for as long as the answer is held.
    pub async fn stop(self) -> TempDir {
        self.server.stop().await;
        self.folder
    }
}

/// Starts a server in a fresh temporary directory with a client that may do everything.
pub async fn start() -> (TestServer, kube::Client) {
    start_with(|_| {}).await
}

/// As [`start`], with the options adjusted.
pub async fn start_with(adjust: impl FnOnce(&mut ServerOptions)) -> (TestServer, kube::Client) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut options = ServerOptions::new(folder.path());
    adjust(&mut options);
    let server = serve(options).await.expect("the API server starts");
    let client = client(&server, server.admin_token());
    (TestServer { server, folder }, client)
}

/// A client with a bearer token.
pub fn client(server: &Server, token: &str) -> kube::Client {
    let mut config = kube::Config::new(server.url().parse().expect("the server's URL"));
    config.root_cert = Some(vec![server.ca_der().to_vec()]);
    config.default_namespace = "default".into();
    config.auth_info.token = Some(token.to_owned().into());
    kube::Client::try_from(config).expect("a client")
}
