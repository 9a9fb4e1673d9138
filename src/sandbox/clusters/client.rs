//! Clients of a cluster's API server.

use super::ClusterAccess;

/// A client with the token of `access`.
pub fn new(access: &ClusterAccess) -> Result<kube::Client, String> {
    let url = access
        .server
        .parse()
        .map_err(|error| format!("{}: {error}", access.server))?;
    let mut config = kube::Config::new(url);
    let certificate =
        pem(&access.certificate_authority).ok_or("unreadable certificate authority")?;
    config.root_cert = Some(vec![certificate]);
    config.default_namespace = "default".into();
    config.auth_info.token = Some(access.token.clone().into());
    kube::Client::try_from(config).map_err(|error| error.to_string())
}

fn pem(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}
