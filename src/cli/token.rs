//! `meshctl token`.

use super::args::Global;
use super::settings::scene_unasked;
use super::{Error, Exit};
use crate::clients::kube::token;
use crate::views::Printer;

/// Print a token for the cluster's API server, as kubectl's credential plugins do
#[derive(Debug, clap::Args)]
pub(super) struct Token {
    /// The EKS cluster [default: the environment's]
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
}

pub(super) async fn run(args: &Token, global: &Global, printer: &Printer) -> Result<Exit, Error> {
    let scene = scene_unasked(global, printer).await?;
    let cluster = args
        .cluster_name
        .clone()
        .unwrap_or_else(|| scene.names.cluster());
    let credentials = scene.clients.config.credentials_provider().ok_or_else(|| {
        Error::new(Exit::Denied, "there are no AWS credentials")
            .hint("sign in with `aws configure` or `aws sso login`")
    })?;
    let token = token(&credentials, scene.clients.region(), &cluster).await?;
    let expires = jiff::Timestamp::try_from(token.expires)
        .map_err(|error| Error::new(Exit::Failure, error))?;
    // The one shape kubectl reads, whatever output is for.
    let credential = serde_json::json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {},
        "status": {
            "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "token": token.secret,
        },
    });
    printer.data(&credential.to_string());
    Ok(Exit::Success)
}
