//! AWS as a pod speaks to it: with the credentials of its service account's role, obtained from STS and renewed.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{
    ProvideCredentials, SharedCredentialsProvider, future::ProvideCredentials as Provided,
};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::Value;
use tokio::sync::Mutex;

use super::super::ContainerContext;

/// How long before they expire credentials are asked for anew.
const MARGIN: Duration = Duration::from_secs(300);

/// What AWS refused, or why it could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AwsError {
    /// AWS answered with an error.
    #[error("{code}: {message}\n\tstatus code: {status}, request id: {request_id}")]
    Service {
        /// The error code.
        code: String,
        /// The message.
        message: String,
        /// The HTTP status.
        status: u16,
        /// The request's id.
        request_id: String,
    },
    /// There are no credentials.
    #[error("{0}")]
    Credentials(String),
    /// No answer came.
    #[error("RequestError: send request failed\ncaused by: {0}")]
    Connection(String),
}

impl AwsError {
    /// AWS's error code, where AWS answered.
    pub fn code(&self) -> &str {
        match self {
            AwsError::Service { code, .. } => code,
            _ => "",
        }
    }
}

/// The credentials of the role that a pod's service account may assume.
#[derive(Clone, Debug)]
struct WebIdentity {
    role: String,
    token: PathBuf,
    session: String,
    sts: aws_sdk_sts::Client,
    kept: Arc<Mutex<Option<Credentials>>>,
}

impl WebIdentity {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let mut kept = self.kept.lock().await;
        if let Some(credentials) = &*kept
            && credentials
                .expiry()
                .is_none_or(|expiry| expiry > SystemTime::now() + MARGIN)
        {
            return Ok(credentials.clone());
        }
        let token = std::fs::read_to_string(&self.token).map_err(|error| {
            CredentialsError::provider_error(format!(
                "failed to read the web identity token: {error}"
            ))
        })?;
        let answer = self
            .sts
            .assume_role_with_web_identity()
            .role_arn(&self.role)
            .role_session_name(&self.session)
            .web_identity_token(token.trim())
            .send()
            .await
            .map_err(|error| {
                let service = error.as_service_error();
                CredentialsError::provider_error(format!(
                    "WebIdentityErr: failed to retrieve credentials\ncaused by: {}: {}",
                    service
                        .and_then(|error| error.code())
                        .unwrap_or("RequestError"),
                    service
                        .and_then(|error| error.message())
                        .map_or_else(|| error.to_string(), str::to_owned),
                ))
            })?;
        let given = answer
            .credentials()
            .ok_or_else(|| CredentialsError::provider_error("STS gave no credentials"))?;
        let credentials = Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            SystemTime::try_from(*given.expiration()).ok(),
            "web-identity",
        );
        *kept = Some(credentials.clone());
        Ok(credentials)
    }
}

impl ProvideCredentials for WebIdentity {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(self.credentials())
    }
}

/// A pod without a role has no credentials: the instance's are out of reach with a hop limit of one.
#[derive(Clone, Copy, Debug)]
struct NoRole;

impl ProvideCredentials for NoRole {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::ready(Err(CredentialsError::not_loaded(
            "NoCredentialProviders: no valid providers in chain",
        )))
    }
}

/// The configuration of AWS clients within a pod.
pub fn configure(context: &ContainerContext, region: &str) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(&context.aws_endpoint)
        .http_client(http)
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
            aws_smithy_async::rt::sleep::TokioSleep::new(),
        ))
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .retry_config(
            aws_smithy_types::retry::RetryConfig::standard()
                .with_max_attempts(5)
                .with_initial_backoff(Duration::from_millis(100)),
        )
        .build();
    let role = context.env.get("AWS_ROLE_ARN");
    let token = context
        .env
        .get("AWS_WEB_IDENTITY_TOKEN_FILE")
        .and_then(|path| context.host_path(path));
    let provider = match role.zip(token) {
        Some((role, token)) => SharedCredentialsProvider::new(WebIdentity {
            role: role.clone(),
            token,
            session: format!("{}", fastrand::u64(1_000_000_000..9_999_999_999)),
            sts: aws_sdk_sts::Client::new(&config),
            kept: Arc::default(),
        }),
        None => SharedCredentialsProvider::new(NoRole),
    };
    config.into_builder().credentials_provider(provider).build()
}

/// A signed client for services that speak REST and JSON, whose inputs are JSON already.
#[derive(Clone, Debug)]
pub struct RestJson {
    config: SdkConfig,
    service: &'static str,
    http: reqwest::Client,
}

impl RestJson {
    /// A client of one service.
    pub fn new(config: &SdkConfig, service: &'static str) -> Self {
        RestJson {
            config: config.clone(),
            service,
            http: http(),
        }
    }

    /// Calls an operation by its method and path (with its query string). Throttled calls and server errors are
    /// tried again.
    pub async fn call(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AwsError> {
        let mut pause = Duration::from_millis(100);
        for _ in 0..4 {
            match self.send(method, path, body).await {
                Err(AwsError::Service { code, status, .. })
                    if status >= 500 || code == "TooManyRequestsException" => {}
                Err(AwsError::Connection(_)) => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause *= 2;
        }
        self.send(method, path, body).await
    }

    async fn send(
        &self,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AwsError> {
        let endpoint = self.config.endpoint_url().unwrap_or_default();
        let url = format!("{}{path}", endpoint.trim_end_matches('/'));
        let body = body.map(Value::to_string).unwrap_or_default();
        let region = self
            .config
            .region()
            .map(|region| region.to_string())
            .unwrap_or_default();
        let provider = self
            .config
            .credentials_provider()
            .ok_or_else(|| AwsError::Credentials("no provider".into()))?;
        let credentials = provider
            .provide_credentials()
            .await
            .map_err(|error| AwsError::Credentials(words(&error)))?;
        let identity = credentials.into();
        let unsignable = |error: &dyn std::fmt::Display| AwsError::Credentials(error.to_string());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(self.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsignable(&error))?
            .into();
        let headers = [("content-type", "application/json")];
        let signable = SignableRequest::new(
            method,
            url.as_str(),
            headers.into_iter(),
            SignableBody::Bytes(body.as_bytes()),
        )
        .map_err(|error| unsignable(&error))?;
        let (instructions, _) = sign(signable, &parameters)
            .map_err(|error| unsignable(&error))?
            .into_parts();
        let method = reqwest::Method::from_bytes(method.as_bytes())
            .map_err(|error| AwsError::Connection(error.to_string()))?;
        let mut request = self
            .http
            .request(method, &url)
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        let connection = |error: reqwest::Error| AwsError::Connection(error.to_string());
        let response = request.send().await.map_err(connection)?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let (kind, request_id) = (header("x-amzn-errortype"), header("x-amzn-requestid"));
        let text = response.text().await.map_err(connection)?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let code = match kind.split(':').next() {
            Some("") | None => answer["__type"].as_str().unwrap_or("UnknownError"),
            Some(code) => code,
        };
        Err(AwsError::Service {
            code: code.to_owned(),
            message: answer["message"]
                .as_str()
                .or(answer["Message"].as_str())
                .unwrap_or(&text)
                .to_owned(),
            status,
            request_id,
        })
    }
}

/// What stands behind a credentials error: its display says only that there is one.
pub fn words(error: &CredentialsError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// One connection pool for all pods' clients.
fn http() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT
        .get_or_init(|| {
            // Refused where a provider is installed already: then that one serves.
            let _ = rustls::crypto::ring::default_provider().install_default();
            reqwest::Client::builder()
                .connect_timeout(Duration::from_secs(5))
                .timeout(Duration::from_secs(30))
                .build()
                .unwrap_or_default()
        })
        .clone()
}
