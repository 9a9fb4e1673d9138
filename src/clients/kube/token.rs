//! EKS's bearer tokens: a presigned STS GetCallerIdentity request, base64url-encoded.
//!
//! The API server's authenticator sends the request on to STS and takes the caller STS names. The cluster's name is a
//! signed header, so a token for one cluster is worth nothing at another.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::engine::{Failure, FailureKind, Result};

/// How long a token is good for; the authenticator accepts no more.
pub const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// A bearer token for one cluster.
#[derive(Clone)]
pub struct Token {
    /// What goes after `Bearer`.
    pub secret: String,
    /// When the API server stops accepting it.
    pub expires: SystemTime,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Makes a token for the cluster called `cluster`. Asks the provider for credentials and sends nothing else.
///
/// # Errors
/// `Denied` when there are no credentials.
pub async fn token(
    credentials: &SharedCredentialsProvider,
    region: &str,
    cluster: &str,
) -> Result<Token> {
    let about = || format!("token for cluster {cluster}");
    let credentials = credentials.provide_credentials().await.map_err(|error| {
        Failure::of(FailureKind::Denied, about(), error)
            .hint("sign in (`aws sso login`, `aws configure`) or name a profile with --profile")
    })?;
    presign(&credentials, region, cluster, SystemTime::now())
        .map_err(|message| Failure::new(about(), message))
}

fn presign(
    credentials: &Credentials,
    region: &str,
    cluster: &str,
    now: SystemTime,
) -> Result<Token, String> {
    let identity = credentials.clone().into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    settings.expires_in = Some(LIFETIME);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("sts")
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let suffix = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    let host = format!("sts.{region}.{suffix}");
    let url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
    let headers = [("host", host.as_str()), ("x-k8s-aws-id", cluster)];
    let request = SignableRequest::new("GET", &url, headers.into_iter(), SignableBody::Bytes(&[]))
        .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(request, &params)
        .map_err(|error| error.to_string())?
        .into_parts();
    let mut url = url;
    for (name, value) in instructions.params() {
        url.push('&');
        url.push_str(name);
        url.push('=');
        url.push_str(&percent_encoded(value));
    }
    Ok(Token {
        secret: format!("k8s-aws-v1.{}", URL_SAFE_NO_PAD.encode(url)),
        expires: now + LIFETIME,
    })
}

/// Everything but RFC 3986's unreserved characters encoded, as signature version 4 wants it in a query.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(session: Option<&str>) -> Credentials {
        Credentials::new(
            "AKIDEXAMPLE",
            "secret",
            session.map(String::from),
            None,
            "test",
        )
    }

    fn url_of(token: &Token) -> String {
        let encoded = token.secret.strip_prefix("k8s-aws-v1.").expect("prefix");
        String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).expect("base64url")).expect("text")
    }

    #[test]
    fn a_token_is_a_presigned_request_that_names_the_cluster() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let token = presign(&credentials(None), "eu-west-1", "meshctl-demo", now).expect("signed");
        let url = url_of(&token);
        assert!(
            url.starts_with(
                "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&"
            ),
            "{url}"
        );
        assert!(
            url.contains("X-Amz-SignedHeaders=host%3Bx-k8s-aws-id"),
            "{url}"
        );
        assert!(url.contains("X-Amz-Expires=900"), "{url}");
        assert!(
            url.contains(
                "X-Amz-Credential=AKIDEXAMPLE%2F20260921%2Feu-west-1%2Fsts%2Faws4_request"
            ),
            "{url}"
        );
        assert_eq!(token.expires, now + LIFETIME);
        assert!(!token.secret.contains('='), "padding");
    }

    #[test]
    fn a_session_token_is_part_of_it_and_the_cluster_changes_the_signature() {
        let now = SystemTime::UNIX_EPOCH;
        let one = presign(&credentials(Some("a/b+c=")), "us-east-1", "one", now).expect("signed");
        let other =
            presign(&credentials(Some("a/b+c=")), "us-east-1", "other", now).expect("signed");
        assert!(url_of(&one).contains("X-Amz-Security-Token=a%2Fb%2Bc%3D"));
        assert_ne!(one.secret, other.secret);
    }
}
