//! What a cluster is known by: its certificate authority and the key that signs service-account tokens.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};

use super::ServeError;
use crate::sandbox::state;

/// A certificate authority, kept in a directory as `ca.crt` and `ca.key`.
pub struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, PEM.
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8.
    pub key: String,
}

impl Authority {
    /// Reads the authority of a directory, or makes it.
    pub fn load_or_create(directory: &Path, name: &str) -> Result<Authority, ServeError> {
        std::fs::create_dir_all(directory).map_err(|source| ServeError::File {
            path: directory.to_owned(),
            source,
        })?;
        let wrong = |reason: String| ServeError::Keys {
            path: directory.to_owned(),
            reason,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        let certificate_file = directory.join("ca.crt");
        let key_file = directory.join("ca.key");
        let (pem, key) = match (
            std::fs::read_to_string(&certificate_file),
            std::fs::read_to_string(&key_file),
        ) {
            (Ok(certificate), Ok(key)) => {
                let key = KeyPair::from_pem(&key).map_err(|error| wrong(error.to_string()))?;
                (certificate, key)
            }
            _ => {
                let key = KeyPair::generate().map_err(|error| wrong(error.to_string()))?;
                let certificate = params
                    .self_signed(&key)
                    .map_err(|error| wrong(error.to_string()))?;
                write_private(&key_file, &key.serialize_pem())?;
                write_private(&certificate_file, &certificate.pem())?;
                (certificate.pem(), key)
            }
        };
        let der = CertificateDer::from_pem_slice(pem.as_bytes());
        let der = der.map_err(|error| wrong(format!("ca.crt is not PEM: {error}")))?;
        Ok(Authority {
            pem,
            der,
            issuer: Issuer::new(params, key),
        })
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate of a server with these names and addresses.
    pub fn serving(&self, subject: &str, names: Vec<String>) -> Result<Identity, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(subject, params)
    }

    /// A certificate of a client: a Kubernetes user, perhaps of a group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if let Some(group) = group {
            let names = &mut params.distinguished_name;
            names.push(DnType::OrganizationName, group);
        }
        self.sign(user, params)
    }

    /// A certificate that serves both ways, as the members of an etcd cluster have it.
    pub fn peer(&self, subject: &str, names: Vec<String>) -> Result<Identity, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(subject, params)
    }

    fn sign(&self, subject: &str, mut params: CertificateParams) -> Result<Identity, rcgen::Error> {
        params.distinguished_name.push(DnType::CommonName, subject);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Which clients a server wants to see a certificate of.
enum Clients<'a> {
    Any,
    /// Those that have one of this authority's; others say who they are in another way.
    Asked(&'a CertificateDer<'static>),
    /// None but those.
    Required(&'a CertificateDer<'static>),
}

impl Identity {
    /// A server's certificate that nobody has signed but itself.
    pub fn self_signed(names: Vec<String>) -> Result<Identity, rcgen::Error> {
        let signed = rcgen::generate_simple_self_signed(names)?;
        Ok(Identity {
            certificate: signed.cert.pem(),
            key: signed.signing_key.serialize_pem(),
        })
    }

    /// A server's TLS with this certificate.
    pub fn server(&self) -> Result<rustls::ServerConfig, String> {
        self.server_with(&Clients::Any)
    }

    /// A server's TLS with this certificate, for clients that have one of this authority's.
    pub fn server_for(&self, clients: &Authority) -> Result<rustls::ServerConfig, String> {
        self.server_with(&Clients::Required(&clients.der))
    }

    /// A server's TLS with this certificate, which asks clients for one of the authority with this PEM.
    pub fn server_asking(&self, authority: &str) -> Result<rustls::ServerConfig, String> {
        let der = CertificateDer::from_pem_slice(authority.as_bytes());
        let der = der.map_err(|error| format!("the authority is not PEM: {error}"))?;
        self.server_with(&Clients::Asked(&der))
    }

    fn server_with(&self, clients: &Clients<'_>) -> Result<rustls::ServerConfig, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| said(&error))?;
        let (authority, required) = match clients {
            Clients::Any => (None, false),
            Clients::Asked(authority) => (Some(authority), false),
            Clients::Required(authority) => (Some(authority), true),
        };
        let builder = match authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                let authority = (*authority).clone();
                roots.add(authority).map_err(|error| said(&error))?;
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                if !required {
                    verifier = verifier.allow_unauthenticated();
                }
                let verifier = verifier.build().map_err(|error| said(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = self.chain()?;
        let config = builder.with_single_cert(chain, key);
        config.map_err(|error| said(&error))
    }

    /// A client's TLS with this certificate, which takes any server.
    pub fn client(&self) -> Result<rustls::ClientConfig, String> {
        let (chain, key) = self.chain()?;
        rustls::ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_auth_cert(chain, key)
        .map_err(|error| error.to_string())
    }

    fn chain(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let said = |error: rustls::pki_types::pem::Error| error.to_string();
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        Ok((vec![certificate.map_err(said)?], key.map_err(said)?))
    }
}

/// Whom a client certificate speaks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The user: the common name.
    pub user: String,
    /// The groups: the organizations.
    pub groups: Vec<String>,
}

impl Subject {
    /// Reads a certificate, DER.
    pub fn of(certificate: &[u8]) -> Option<Subject> {
        let (_, body, _) = tagged(certificate)?;
        let (_, mut rest, _) = tagged(body)?;
        // Version, serial number, algorithm, issuer, validity; then the subject.
        for _ in 0..5 {
            rest = tagged(rest)?.2;
        }
        let (_, mut names, _) = tagged(rest)?;
        let mut subject = Subject::default();
        while !names.is_empty() {
            let (_, set, others) = tagged(names)?;
            names = others;
            let (_, pair, _) = tagged(set)?;
            let (_, kind, value) = tagged(pair)?;
            let (_, value, _) = tagged(value)?;
            let value = std::str::from_utf8(value).ok()?.to_owned();
            match kind {
                COMMON_NAME => subject.user = value,
                ORGANIZATION => subject.groups.push(value),
                _ => {}
            }
        }
        (!subject.user.is_empty()).then_some(subject)
    }
}

/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// 2.5.4.10.
const ORGANIZATION: &[u8] = &[0x55, 4, 10];

/// The tag and the content of the first element of DER, and what follows it.
fn tagged(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        length = digits
            .iter()
            .fold(0, |length, digit| length << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// Takes a server for whatever it says it is, as an API server takes kubelets, which sign their own certificates.
#[derive(Debug)]
pub struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A cluster's keys, kept in its directory: its [`Authority`], and `sa.key` with `sa.pub`.
pub struct Keys {
    authority: Authority,
    signing: EcdsaKeyPair,
    key_id: String,
}

impl Keys {
    /// Reads the keys of a cluster, or makes them. Callable before the server runs.
    pub fn load_or_create(directory: &Path) -> Result<Keys, ServeError> {
        let authority = Authority::load_or_create(directory, "kubernetes")?;
        let wrong = |reason: String| ServeError::Keys {
            path: directory.to_owned(),
            reason,
        };
        let signing_file = directory.join("sa.key");
        let signing = match std::fs::read_to_string(&signing_file) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| wrong(error.to_string()))?,
            Err(_) => {
                let key = KeyPair::generate().map_err(|error| wrong(error.to_string()))?;
                write_private(&signing_file, &key.serialize_pem())?;
                key
            }
        };
        write_private(&directory.join("sa.pub"), &signing.public_key_pem())?;
        let signing = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            signing.serialized_der(),
            &SystemRandom::new(),
        )
        .map_err(|error| wrong(error.to_string()))?;
        let digest = ring::digest::digest(&ring::digest::SHA256, signing.public_key().as_ref());
        Ok(Keys {
            authority,
            key_id: URL_SAFE_NO_PAD.encode(&digest.as_ref()[..20]),
            signing,
        })
    }

    /// The cluster's certificate authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The certificate authority, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.authority.pem
    }

    /// The certificate authority, DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.authority.der
    }

    /// The public half of the token key, as served under `/openid/v1/jwks`.
    pub fn jwks(&self) -> Value {
        // An uncompressed point: 0x04, then x and y.
        let point = self.signing.public_key().as_ref();
        json!({"keys": [{
            "use": "sig",
            "kty": "EC",
            "kid": self.key_id,
            "crv": "P-256",
            "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        }]})
    }

    /// A signed token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.key_id});
        let mut token = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        // Signing fails only without randomness; such a token is then refused like any other bad one.
        let signature = self.signing.sign(&SystemRandom::new(), token.as_bytes());
        token.push('.');
        if let Ok(signature) = signature {
            URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        }
        token
    }

    /// The claims of a token that this key signed; times and audiences are not looked at.
    pub fn verify(&self, token: &str) -> Option<Value> {
        let (message, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.signing.public_key().as_ref())
            .verify(message.as_bytes(), &signature)
            .ok()?;
        let (_, claims) = message.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), ServeError> {
    state::write_private(path, text.as_bytes()).map_err(|source| ServeError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_whom_it_speaks_for() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path(), "kubernetes").unwrap();
        let identity = authority.client("kube-apiserver", Some("system:masters"));
        let certificate = identity.unwrap().certificate;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let expected = Subject {
            user: "kube-apiserver".to_owned(),
            groups: vec!["system:masters".to_owned()],
        };
        assert_eq!(Subject::of(&der), Some(expected));
        for end in 0..der.len() {
            let _ = Subject::of(&der[..end]);
        }
    }
}
