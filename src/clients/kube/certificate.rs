//! The serving certificates of webhooks: one authority and one certificate, made here, kept while they are good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::engine::{Failure, Result};

/// How long a new certificate is good for.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// What is good for less than this is made anew.
const MARGIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// A webhook's certificate as a `kubernetes.io/tls` Secret holds it: base64 of PEM.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The authority, which goes into `caBundle` too.
    pub ca: String,
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// A short hash of the certificate: a changed one restarts the pods that serve with it.
    pub fingerprint: String,
}

impl std::fmt::Debug for Certificate {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificate")
            .field(&self.fingerprint)
            .finish()
    }
}

impl Certificate {
    /// The Secret's own certificate while it is good for `service` for 30 days more, a new one otherwise.
    ///
    /// # Errors
    /// None that a user can cause: key generation.
    pub fn kept_or_new(secret: Option<&Value>, namespace: &str, service: &str) -> Result<Self> {
        let host = format!("{service}.{namespace}.svc");
        if let Some(kept) = secret.and_then(|secret| Self::from_secret(secret, &host)) {
            return Ok(kept);
        }
        Self::new(&host).map_err(|error| Failure::new(format!("certificate of {host}"), error))
    }

    fn new(host: &str) -> Result<Self, rcgen::Error> {
        // An hour of slack for clocks that are behind.
        let begin = SystemTime::now() - Duration::from_secs(3600);
        let validity = (begin.into(), (begin + LIFETIME).into());
        let authority_key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority
            .distinguished_name
            .push(DnType::CommonName, format!("authority of {host}"));
        (authority.not_before, authority.not_after) = validity;
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate()?;
        let names = vec![host.to_owned(), format!("{host}.cluster.local")];
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = validity;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Self::assemble(
            STANDARD.encode(authority_certificate.pem()),
            STANDARD.encode(certificate.pem()),
            STANDARD.encode(key.serialize_pem()),
        ))
    }

    fn assemble(ca: String, certificate: String, key: String) -> Self {
        let digest = Sha256::digest(certificate.as_bytes());
        let fingerprint = digest[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Certificate {
            ca,
            certificate,
            key,
            fingerprint,
        }
    }

    /// Whether that Secret holds it.
    pub(super) fn is_in(&self, secret: &Value) -> bool {
        secret["data"]["tls.crt"] == self.certificate.as_str()
    }

    fn from_secret(secret: &Value, host: &str) -> Option<Self> {
        let field = |name: &str| secret["data"][name].as_str().map(str::to_owned);
        let kept = Self::assemble(field("ca.crt")?, field("tls.crt")?, field("tls.key")?);
        let then = SystemTime::now() + MARGIN;
        kept.is_good_at(host, then).then_some(kept)
    }

    /// Whether a client that trusts only the authority would accept the certificate for `host` at that time.
    fn is_good_at(&self, host: &str, time: SystemTime) -> bool {
        let certificates = |encoded: &str| -> Option<Vec<CertificateDer<'static>>> {
            let pem = STANDARD.decode(encoded).ok()?;
            CertificateDer::pem_slice_iter(&pem)
                .collect::<Result<_, _>>()
                .ok()
        };
        let check = || {
            let mut roots = RootCertStore::empty();
            roots
                .add(certificates(&self.ca)?.into_iter().next()?)
                .ok()?;
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let verifier =
                rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                    .build()
                    .ok()?;
            let chain = certificates(&self.certificate)?;
            let (own, more) = chain.split_first()?;
            let name = ServerName::try_from(host.to_owned()).ok()?;
            let time = UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).ok()?);
            verifier
                .verify_server_cert(own, more, &name, &[], time)
                .ok()
        };
        check().is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(certificate: &Certificate) -> Value {
        json!({"data": {"ca.crt": certificate.ca, "tls.crt": certificate.certificate, "tls.key": certificate.key}})
    }

    #[test]
    fn a_good_certificate_is_kept_so_that_a_second_run_changes_nothing() {
        let first = Certificate::kept_or_new(None, "system", "webhook").expect("made");
        let second =
            Certificate::kept_or_new(Some(&secret(&first)), "system", "webhook").expect("kept");
        assert_eq!(first, second);
    }

    #[test]
    fn what_is_for_another_name_or_ends_soon_or_is_broken_is_made_anew() {
        let first = Certificate::kept_or_new(None, "system", "webhook").expect("made");
        let other =
            Certificate::kept_or_new(Some(&secret(&first)), "system", "other").expect("made");
        assert_ne!(first, other);
        let almost_a_year = SystemTime::now() + LIFETIME;
        assert!(first.is_good_at("webhook.system.svc", SystemTime::now()));
        assert!(!first.is_good_at("webhook.system.svc", almost_a_year));
        let broken = json!({"data": {"ca.crt": "AAAA", "tls.crt": "AAAA", "tls.key": "AAAA"}});
        assert!(Certificate::kept_or_new(Some(&broken), "system", "webhook").is_ok());
    }
}
