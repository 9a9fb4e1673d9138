//! What a cluster is known by: its certificate authority and the key that signs service-account tokens.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use super::ServeError;

/// A cluster's keys, kept in its directory as `ca.crt`, `ca.key` and `sa.key`.
pub struct Keys {
    ca_pem: String,
    ca_der: CertificateDer<'static>,
    ca: Issuer<'static, KeyPair>,
    signing: EcdsaKeyPair,
    key_id: String,
}

impl Keys {
    /// Reads the keys of a cluster, or makes them. Callable before the server runs.
    pub fn load_or_create(directory: &Path) -> Result<Keys, ServeError> {
        std::fs::create_dir_all(directory).map_err(|source| ServeError::File {
            path: directory.to_owned(),
            source,
        })?;
        let wrong = |reason: String| ServeError::Keys {
            path: directory.to_owned(),
            reason,
        };
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        let certificate_file = directory.join("ca.crt");
        let key_file = directory.join("ca.key");
        let (ca_pem, ca_key) = match (
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
        let signing_file = directory.join("sa.key");
        let signing = match std::fs::read_to_string(&signing_file) {
            Ok(pem) => KeyPair::from_pem(&pem).map_err(|error| wrong(error.to_string()))?,
            Err(_) => {
                let key = KeyPair::generate().map_err(|error| wrong(error.to_string()))?;
                write_private(&signing_file, &key.serialize_pem())?;
                key
            }
        };
        let signing = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            signing.serialized_der(),
            &SystemRandom::new(),
        )
        .map_err(|error| wrong(error.to_string()))?;
        let ca_der = pem_to_der(&ca_pem).ok_or_else(|| wrong("ca.crt is not PEM".into()))?;
        let digest = ring::digest::digest(&ring::digest::SHA256, signing.public_key().as_ref());
        Ok(Keys {
            ca_pem,
            ca_der: CertificateDer::from(ca_der),
            ca: Issuer::new(params, ca_key),
            key_id: URL_SAFE_NO_PAD.encode(&digest.as_ref()[..20]),
            signing,
        })
    }

    /// The certificate authority, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The certificate authority, DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.ca_der
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

    /// A serving certificate for these names and addresses, with its key.
    pub(super) fn serving(
        &self,
        names: Vec<String>,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params
            .extended_key_usages
            .push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
        let certificate = params.signed_by(&key, &self.ca)?;
        Ok((
            certificate.der().clone(),
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        ))
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
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| ServeError::File {
            path: path.to_owned(),
            source,
        })
}
