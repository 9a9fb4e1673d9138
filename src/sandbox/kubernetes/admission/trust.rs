//! The TLS with which webhooks are called: made once for each bundle of authorities, so that the next call goes on from the
//! session of the last, which saves most of a handshake.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

/// As many bundles are remembered: a handful of controllers in each of some clusters.
const KNOWN: usize = 16;

/// Newest last.
static CLIENTS: Mutex<Vec<(String, Arc<ClientConfig>)>> = Mutex::new(Vec::new());

/// The TLS of a webhook's `clientConfig`, which trusts the authorities of its `caBundle` alone.
pub(super) fn client(config: &Value) -> Result<Arc<ClientConfig>, rustls::Error> {
    let bundle = config["caBundle"].as_str().unwrap_or_default();
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, client)) = clients.iter().find(|(known, _)| known == bundle) {
        return Ok(client.clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(bundle))
        .with_no_client_auth();
    let client = Arc::new(client);
    if clients.len() == KNOWN {
        clients.remove(0);
    }
    clients.push((bundle.to_owned(), client.clone()));
    Ok(client)
}

fn roots(bundle: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let bundle = STANDARD.decode(bundle).unwrap_or_default();
    // A broken certificate in the bundle trusts nobody.
    for certificate in CertificateDer::pem_slice_iter(&bundle).flatten() {
        let _ = roots.add(certificate);
    }
    roots
}
