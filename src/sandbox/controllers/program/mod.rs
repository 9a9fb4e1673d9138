//! What the stand-ins of well-known controllers share: flags, credentials, leader election, probes and webhooks.

pub mod aws;
pub mod flags;
pub mod leader;
pub mod probes;
pub mod webhooks;

use kube::config::AuthInfo;
use serde_json::{Value, json};

use super::ContainerContext;
use super::runtime::object;

/// Where a pod finds its service account's token and certificate authority.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A client of the API server as the pod's service account.
pub fn kubernetes_client(context: &ContainerContext) -> Result<kube::Client, String> {
    let token = format!("{ACCOUNT}/token");
    let missing = || format!("open {token}: no such file or directory");
    let token_file = context.host_path(&token).ok_or_else(missing)?;
    if !token_file.exists() {
        return Err(missing());
    }
    let authority = context
        .read(&format!("{ACCOUNT}/ca.crt"))
        .map_err(|error| format!("open {ACCOUNT}/ca.crt: {error}"))?;
    let certificates =
        webhooks::certificates(&authority).map_err(|error| format!("{ACCOUNT}/ca.crt: {error}"))?;
    let url = context
        .kubernetes_endpoint
        .parse()
        .map_err(|error| format!("{}: {error}", context.kubernetes_endpoint))?;
    let mut config = kube::Config::new(url);
    config.root_cert = Some(
        certificates
            .into_iter()
            .map(|certificate| certificate.to_vec())
            .collect(),
    );
    config.auth_info = AuthInfo {
        token_file: Some(token_file.to_string_lossy().into_owned()),
        ..AuthInfo::default()
    };
    kube::Client::try_from(config).map_err(|error| error.to_string())
}

/// Writes a line as Go's structured loggers do.
pub fn say(context: &ContainerContext, level: &str, logger: &str, message: &str, fields: Value) {
    let mut line =
        json!({ "level": level, "ts": object::now_micro(), "logger": logger, "msg": message });
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
        line.extend(fields);
    }
    context.say(line.to_string());
}
