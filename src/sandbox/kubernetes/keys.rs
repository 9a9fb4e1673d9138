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
        let der = pem_to_der(&pem).ok_or_else(|| wrong("ca.crt is not PEM".into()))?;
        Ok(Authority {
            pem,
            der: CertificateDer::from(der),
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

    /// A certificate of a client: a Kubernetes user with these groups.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for group in groups {
            params
                .distinguished_name
                .push(DnType::OrganizationName, *group);
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

impl Identity {
    /// A server's TLS with this certificate.
    pub fn server(&self) -> Result<rustls::ServerConfig, String> {
        self.server_with(None)
    }

    /// A server's TLS with this certificate, for clients that have one of this authority's.
    pub fn server_for(&self, clients: &Authority) -> Result<rustls::ServerConfig, String> {
        self.server_with(Some(clients))
    }

    fn server_with(&self, clients: Option<&Authority>) -> Result<rustls::ServerConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots
                    .add(authority.der.clone())
                    .map_err(|error| error.to_string())?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| error.to_string())?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let der = pem_to_der(&self.certificate).ok_or("the certificate is not PEM")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| error.to_string())?;
        builder
            .with_single_cert(vec![CertificateDer::from(der)], key)
            .map_err(|error| error.to_string())
    }
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

/// The first certificate of a PEM file.
pub(super) fn pem_to_der(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(body).ok()
}

fn write_private(path: &Path, text: &str) -> Result<(), ServeError> {
    state::write_private(path, text.as_bytes()).map_err(|source| ServeError::File {
        path: path.to_owned(),
        source,
    })
}
