//! Signature Version 4, from the verifying side: requests signed in the `Authorization` header, presigned URLs, and the
//! presigned STS URL that is an EKS bearer token.
//!
//! Source: "AWS Signature Version 4 for API requests", IAM User Guide.

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Caller;
use super::protocol::{form, uri_encode};
use super::rejection::Rejection;
use crate::sandbox::clock::Millis;
use crate::sandbox::state::State;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const MINUTE: Millis = 60_000;
/// How long an EKS token, and any presigned STS URL, is honoured whatever its `X-Amz-Expires` says.
const STS_PRESIGNED: Millis = 15 * MINUTE;

/// What of a request a signature covers.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// The path as sent, percent-encoded.
    pub path: &'a str,
    /// The query string as sent, without the question mark.
    pub query: &'a str,
    /// Header names in lower case, and values.
    pub headers: &'a [(String, String)],
    /// The body.
    pub body: &'a [u8],
}

impl Signed<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A signature and what it claims, not verified yet.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The access key id.
    pub access_key: String,
    /// The region of the credential scope.
    pub region: String,
    /// The service of the credential scope.
    pub service: String,
    day: String,
    terminator: String,
    signed_headers: Vec<String>,
    signature: String,
    /// `20261121T032000Z`.
    date: String,
    token: Option<String>,
    /// For a presigned URL, its lifetime in milliseconds.
    expires: Option<Millis>,
}

/// Reads a request's signature. `None` when it carries none.
pub fn claim(request: &Signed<'_>) -> Result<Option<Claim>, Rejection> {
    if let Some(header) = request.header("authorization") {
        return header_claim(request, header).map(Some);
    }
    let query = form(&request.query.replace('+', "%2B"));
    if query
        .iter()
        .any(|(key, _)| key == "X-Amz-Signature" || key == "X-Amz-Algorithm")
    {
        return presigned_claim(&query).map(Some);
    }
    Ok(None)
}

fn header_claim(request: &Signed<'_>, header: &str) -> Result<Claim, Rejection> {
    let incomplete = |what: &str| {
        Rejection::Incomplete(format!(
            "{what} Authorization={}",
            header.split(' ').next().unwrap_or("")
        ))
    };
    let rest = header
        .strip_prefix(ALGORITHM)
        .ok_or_else(|| incomplete("Unsupported AWS 'algorithm'."))?;
    let part = |name: &str| {
        rest.split([',', ' '])
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                incomplete(&format!(
                    "Authorization header requires '{name}' parameter."
                ))
            })
    };
    let credential = part("Credential")?;
    let signature = part("Signature")?;
    let signed_headers = part("SignedHeaders")?;
    let date = match request.header("x-amz-date") {
        Some(date) => date.to_owned(),
        None => {
            return Err(incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            ));
        }
    };
    scoped(
        credential,
        signed_headers,
        signature,
        date,
        request.header("x-amz-security-token").map(str::to_owned),
        None,
    )
}

fn presigned_claim(query: &[(String, String)]) -> Result<Claim, Rejection> {
    let optional = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let part = |name: &str| {
        optional(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Rejection::Incomplete(format!(
                    "AWS query-string parameters must include '{name}'."
                ))
            })
    };
    if part("X-Amz-Algorithm")? != ALGORITHM {
        return Err(Rejection::Incomplete("Unsupported AWS 'algorithm'.".into()));
    }
    let expires = match optional("X-Amz-Expires") {
        None => STS_PRESIGNED,
        Some(seconds) => seconds
            .parse::<u32>()
            .ok()
            .filter(|seconds| *seconds <= 604_800)
            .map(|seconds| Millis::from(seconds) * 1000)
            .ok_or_else(|| {
                Rejection::Incomplete("X-Amz-Expires must be between 0 and 604800 seconds".into())
            })?,
    };
    scoped(
        part("X-Amz-Credential")?,
        part("X-Amz-SignedHeaders")?,
        part("X-Amz-Signature")?,
        part("X-Amz-Date")?.to_owned(),
        optional("X-Amz-Security-Token").map(str::to_owned),
        Some(expires),
    )
}

fn scoped(
    credential: &str,
    signed_headers: &str,
    signature: &str,
    date: String,
    token: Option<String>,
    expires: Option<Millis>,
) -> Result<Claim, Rejection> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [access_key, day, region, service, terminator] = parts[..] else {
        return Err(Rejection::Incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'"
        )));
    };
    Ok(Claim {
        access_key: access_key.into(),
        region: region.into(),
        service: service.into(),
        day: day.into(),
        terminator: terminator.into(),
        signed_headers: signed_headers.split(';').map(str::to_owned).collect(),
        signature: signature.into(),
        date,
        token,
        expires,
    })
}

impl Claim {
    /// Verifies the claim with the secrets that IAM knows and says whose request it is. `window` is how far, in
    /// milliseconds, the signer's clock may be off.
    pub fn authenticate(
        &self,
        request: &Signed<'_>,
        state: &State,
        now: Millis,
        window: Millis,
    ) -> Result<Caller, Rejection> {
        let credential = state
            .iam
            .credential(&self.access_key)
            .ok_or(Rejection::UnknownKey)?;
        if self.terminator != "aws4_request" {
            return Err(Rejection::Mismatch(format!(
                "Credential should be scoped with a valid terminator: 'aws4_request', not '{}'.",
                self.terminator
            )));
        }
        if !self.date.starts_with(&self.day) {
            return Err(Rejection::Mismatch(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{}', from '{}'.",
                self.day,
                self.date.get(..8).unwrap_or(&self.date),
                self.date
            )));
        }
        self.check_time(now, window)?;
        if credential.token.as_deref() != self.token.as_deref() {
            return Err(Rejection::BadToken);
        }
        self.verify(request, &credential.secret)?;
        if credential.expires.is_some_and(|expires| expires <= now) {
            return Err(Rejection::ExpiredToken);
        }
        Ok(credential.caller)
    }

    fn check_time(&self, now: Millis, window: Millis) -> Result<(), Rejection> {
        let signed = parse_date(&self.date).ok_or_else(|| {
            Rejection::Incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'.",
                self.date
            ))
        })?;
        let lifetime = match self.expires {
            Some(_) if self.service == "sts" => STS_PRESIGNED,
            Some(expires) => expires,
            None => window,
        };
        if signed + lifetime < now {
            return Err(Rejection::Skewed(format!(
                "Signature expired: {} is now earlier than {} ({} - {} min.)",
                self.date,
                write_date(now - lifetime),
                write_date(now),
                lifetime / MINUTE
            )));
        }
        if signed > now + window {
            return Err(Rejection::Skewed(format!(
                "Signature not yet current: {} is still later than {} ({} + {} min.)",
                self.date,
                write_date(now + window),
                write_date(now),
                window / MINUTE
            )));
        }
        Ok(())
    }

    fn verify(&self, request: &Signed<'_>, secret: &str) -> Result<(), Rejection> {
        if !self.signed_headers.iter().any(|name| name == "host") {
            return Err(Rejection::Mismatch(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".into(),
            ));
        }
        let scope = format!("{}/{}/{}/aws4_request", self.day, self.region, self.service);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            self.date,
            hex(&Sha256::digest(self.canonical(request)))
        );
        let mut key = mac(format!("AWS4{secret}").as_bytes(), self.day.as_bytes());
        for part in [self.region.as_str(), &self.service, "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        let given = unhex(&self.signature).ok_or_else(Rejection::mismatch)?;
        hasher(&key)
            .chain_update(to_sign)
            .verify_slice(&given)
            .map_err(|_| Rejection::mismatch())
    }

    fn canonical(&self, request: &Signed<'_>) -> String {
        let mut query: Vec<(String, String)> = form(&request.query.replace('+', "%2B"))
            .into_iter()
            .filter(|(key, _)| key != "X-Amz-Signature")
            .map(|(key, value)| (uri_encode(&key, false), uri_encode(&value, false)))
            .collect();
        query.sort();
        let query: Vec<String> = query
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut headers = String::new();
        for name in &self.signed_headers {
            let values: Vec<String> = request
                .headers
                .iter()
                .filter(|(key, _)| key == name)
                .map(|(_, value)| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        // The header may only opt out of covering the body; a hash in it never replaces the body's own.
        let payload = match request.header("x-amz-content-sha256") {
            Some("UNSIGNED-PAYLOAD") => "UNSIGNED-PAYLOAD".to_owned(),
            _ => hex(&Sha256::digest(request.body)),
        };
        format!(
            "{}\n{}\n{}\n{headers}\n{}\n{payload}",
            request.method,
            uri_encode(&normalize(request.path), true),
            query.join("&"),
            self.signed_headers.join(";"),
        )
    }
}

/// Verifies a bearer token of EKS, `k8s-aws-v1.` and a presigned STS `GetCallerIdentity` URL in base64, for the cluster
/// called `cluster`, and says who made it. `endpoint_host` is the sandbox's own host and port, which stands for STS when
/// the token was made with a custom endpoint.
pub fn verify_eks_token(
    state: &State,
    token: &str,
    cluster: &str,
    endpoint_host: &str,
    now: Millis,
) -> Result<Caller, Rejection> {
    let refused = |why: &str| Rejection::Incomplete(why.to_owned());
    let encoded = token
        .strip_prefix("k8s-aws-v1.")
        .ok_or_else(|| refused("token is missing expected \"k8s-aws-v1.\" prefix"))?;
    let url = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(encoded.trim_end_matches('='))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| refused("token is not base64"))?;
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(|| refused("unexpected scheme in pre-signed URL"))?;
    let (location, query) = rest
        .split_once('?')
        .ok_or_else(|| refused("unexpected path in pre-signed URL"))?;
    let (host, path) = location.split_once('/').unwrap_or((location, ""));
    let is_sts = host == "sts.amazonaws.com"
        || (host.starts_with("sts.") && host.ends_with(".amazonaws.com"));
    if !is_sts && host != endpoint_host {
        return Err(refused("unexpected hostname in pre-signed URL"));
    }
    if !path.is_empty() {
        return Err(refused("unexpected path in pre-signed URL"));
    }
    if !form(query)
        .iter()
        .any(|(key, value)| key == "Action" && value == "GetCallerIdentity")
    {
        return Err(refused("unexpected action parameter in pre-signed URL"));
    }
    let headers = [
        ("host".to_owned(), host.to_owned()),
        ("x-k8s-aws-id".to_owned(), cluster.to_owned()),
    ];
    let request = Signed {
        method: "GET",
        path: "/",
        query,
        headers: &headers,
        body: b"",
    };
    let claim = claim(&request)?.ok_or(Rejection::Unsigned)?;
    if claim.service != "sts"
        || !claim
            .signed_headers
            .iter()
            .any(|name| name == "x-k8s-aws-id")
    {
        return Err(refused(
            "client did not sign the x-k8s-aws-id header in the pre-signed URL",
        ));
    }
    claim.authenticate(&request, state, now, 5 * MINUTE)
}

fn hasher(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    hasher(key)
        .chain_update(data)
        .finalize()
        .into_bytes()
        .to_vec()
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

/// Removes empty and dot segments; every service but S3 signs the normalized path, encoded once more.
fn normalize(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let slash = if path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{slash}", segments.join("/"))
}

fn parse_date(text: &str) -> Option<Millis> {
    let date = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let timestamp = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    u64::try_from(timestamp.as_millisecond()).ok()
}

fn write_date(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at as i64)
        .map(|timestamp| timestamp.strftime("%Y%m%dT%H%M%SZ").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
