//! Clients of a cluster's API server.

use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::ClusterAccess;

/// How long the server may be silent before it is asked again over another connection: a watch is told where it stands
/// every minute. Go's clients ask a silent connection whether it lives (k8s.io/apimachinery, `HTTP2_READ_IDLE_TIMEOUT_SECONDS`).
const SILENCE: Duration = Duration::from_secs(75);

/// A client with the token of `access`.
pub fn new(access: &ClusterAccess) -> Result<kube::Client, String> {
    let mut config = trusting(&access.server, access.certificate_authority.as_bytes())?;
    config.auth_info.token = Some(access.token.clone().into());
    kube::Client::try_from(config).map_err(|error| error.to_string())
}

/// How to reach an API server, trusting only the cluster's own authority (PEM), without credentials yet.
pub fn trusting(server: &str, authority: &[u8]) -> Result<kube::Config, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = server
        .parse()
        .map_err(|error| format!("{server}: {error}"))?;
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        let certificate = certificate.map_err(|error| format!("certificate authority: {error}"))?;
        roots.push(certificate.to_vec());
    }
    if roots.is_empty() {
        return Err("certificate authority: no PEM".into());
    }
    let mut config = kube::Config::new(url);
    config.root_cert = Some(roots);
    config.read_timeout = Some(SILENCE);
    // How long a connection waited for its next request is nobody's silence.
    config.reset_reader_on_write = true;
    Ok(config)
}
