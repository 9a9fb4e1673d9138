//! The few AWS calls that nodes and sidecars make: signed requests, and a pod's credentials through its web identity.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;

use crate::sandbox::controllers::ContainerContext;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service answered with an error.
    #[error("{status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error's code and message as far as they could be read.
        message: String,
    },
    /// No answer.
    #[error("{0}")]
    Transport(String),
    /// There are no credentials to sign with.
    #[error("no credentials: {0}")]
    Credentials(String),
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        // reqwest's own message hides the cause.
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Error::Transport(message)
    }
}

/// The client for everything on loopback: no proxy of the environment in between.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // An error means that another part of the process has installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .unwrap_or_default()
    })
}

/// Where and as whom a request is made.
#[derive(Clone, Debug)]
pub struct Signer {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The region of the credential scope.
    pub region: String,
    /// Whose request it is.
    pub credentials: Credentials,
}

impl Signer {
    /// Sends a signed request and answers the body.
    pub async fn send(
        &self,
        service: &str,
        method: reqwest::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Value, Error> {
        let url = format!("{}{path}", self.endpoint);
        let mut request = http().request(method.clone(), &url);
        let identity = self.credentials.clone().into();
        let unsigned = |error: &dyn std::fmt::Display| Error::Credentials(error.to_string());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(&error))?
            .into();
        let signable = SignableRequest::new(
            method.as_str(),
            &url,
            headers.iter().copied(),
            SignableBody::Bytes(body.as_bytes()),
        )
        .map_err(|error| unsigned(&error))?;
        let (instructions, _) = sign(signable, &parameters)
            .map_err(|error| unsigned(&error))?
            .into_parts();
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        answer(request.body(body).send().await?).await
    }
}

async fn answer(response: reqwest::Response) -> Result<Value, Error> {
    let status = response.status();
    let code = response
        .headers()
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let text = response.text().await?;
    if status.is_success() {
        return Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)));
    }
    let said = serde_json::from_str::<Value>(&text).unwrap_or_default();
    let message = ["message", "Message"]
        .iter()
        .find_map(|name| said[*name].as_str());
    let code = code.or_else(|| said["__type"].as_str().map(str::to_owned));
    Err(Error::Refused {
        status: status.as_u16(),
        message: match (code, message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code,
            (None, Some(message)) => message.to_owned(),
            (None, None) => text.trim().to_owned(),
        },
    })
}

/// The credentials of a pod's role, from `AWS_ROLE_ARN` and the projected token that EKS's webhook mounts: what an SDK
/// within the pod would do. There is no other way to any.
pub async fn web_identity(context: &ContainerContext) -> Result<Credentials, Error> {
    let variable = |name: &str| {
        context
            .env
            .get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                Error::Credentials(format!(
                    "{name} is not set: the pod's ServiceAccount has no role"
                ))
            })
    };
    let role = variable("AWS_ROLE_ARN")?;
    let file = variable("AWS_WEB_IDENTITY_TOKEN_FILE")?;
    let token = context
        .read(file)
        .map_err(|error| Error::Credentials(format!("{file}: {error}")))?;
    let token = String::from_utf8_lossy(&token);
    let session = context
        .env
        .get("AWS_ROLE_SESSION_NAME")
        .map_or(context.container.as_str(), String::as_str);
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", session),
        ("WebIdentityToken", token.trim()),
    ];
    let body: String = form
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect::<Vec<_>>()
        .join("&");
    let text = http()
        .post(&context.aws_endpoint)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .send()
        .await?;
    let status = text.status();
    let text = text.text().await?;
    if !status.is_success() {
        return Err(Error::Refused {
            status: status.as_u16(),
            message: match (element(&text, "Code"), element(&text, "Message")) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                _ => text,
            },
        });
    }
    let part = |name| {
        element(&text, name)
            .ok_or_else(|| Error::Credentials(format!("STS answered without {name}")))
    };
    let expires = part("Expiration")?
        .parse::<jiff::Timestamp>()
        .map_err(|error| Error::Credentials(error.to_string()))?;
    Ok(Credentials::new(
        part("AccessKeyId")?,
        part("SecretAccessKey")?,
        Some(part("SessionToken")?),
        Some(SystemTime::from(expires)),
        "web-identity",
    ))
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> Option<String> {
    let start = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let end = start + xml[start..].find(&format!("</{name}>"))?;
    Some(
        xml[start..end]
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&"),
    )
}

/// Percent-encoding as RFC 3986 has it, for query strings and forms.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte as char)
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
