//! How AWS is spoken to: one configuration, one retry policy, one translation of errors.

use std::time::Duration;

use aws_config::meta::region::ProvideRegion;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::request_id::RequestId;

use super::Settings;
use crate::ec2;
use crate::engine::{Failure, FailureKind};

/// Tries of one call, the first included: with the SDK's back-off, about a minute of throttling is ridden out.
const ATTEMPTS: u32 = 8;

pub(super) async fn load(settings: &Settings) -> SdkConfig {
    // What runs on this machine is never reached through a company's proxy, everything else is where one is set.
    let proxy = match &settings.endpoint {
        Some(endpoint) if ec2::is_loopback(endpoint) => ProxyConfig::disabled(),
        _ => ProxyConfig::from_env(),
    };
    let http = aws_smithy_http_client::Builder::new().build_with_connector_fn(
        move |settings, components| {
            let mut connector = Connector::builder();
            connector
                .set_connector_settings(settings.cloned())
                .set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl))
                .set_proxy_config(Some(proxy.clone()));
            connector
                .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
                .build()
        },
    );
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(30))
        .build();
    // Adaptive is the standard policy that also slows the whole client down once it is throttled.
    let retries = RetryConfig::adaptive()
        .with_max_attempts(ATTEMPTS)
        .with_max_backoff(Duration::from_secs(10));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .timeout_config(timeouts)
        .retry_config(retries)
        .region(Region::new(settings.region.clone()));
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(credentials) = &settings.credentials {
        loader = loader.credentials_provider(aws_credential_types::Credentials::new(
            &credentials.access_key_id,
            &credentials.secret_access_key,
            credentials.session_token.clone(),
            None,
            "settings",
        ));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}

/// The region that the profile, or the default one, names in the AWS configuration files.
pub async fn profile_region(profile: Option<&str>) -> Option<String> {
    let mut builder = aws_config::profile::ProfileFileRegionProvider::builder();
    if let Some(profile) = profile {
        builder = builder.profile_name(profile);
    }
    Some(builder.build().region().await?.as_ref().to_owned())
}

/// The service's error code, where the service answered.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(|service| service.code())
}

/// Whether the service answered with that error code.
pub fn is<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, wanted: &str) -> bool {
    code(error) == Some(wanted)
}

/// Translates a failed call about `resource`, in the form `map_err` takes: the service's code and words, the request's
/// id, and what to do where that is known.
pub fn failed<E>(resource: impl Into<String>) -> impl FnOnce(SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    move |error| {
        let resource = resource.into();
        let Some(service) = error.as_service_error() else {
            return unanswered(resource, &words(&error), is_about_credentials(&error));
        };
        let code = service.code().unwrap_or("an error without a code");
        let message = service.message().unwrap_or_default();
        answered(resource, code, message, error.request_id())
    }
}

/// As [`failed`], for EC2.
pub fn failed_ec2(resource: impl Into<String>) -> impl FnOnce(ec2::Error) -> Failure {
    move |error| match &error {
        ec2::Error::Service {
            code,
            message,
            request_id,
            ..
        } => answered(resource.into(), code, message, request_id.as_deref()),
        ec2::Error::Credentials(_) => unanswered(resource.into(), &error.to_string(), true),
        _ => unanswered(resource.into(), &error.to_string(), false),
    }
}

fn is_about_credentials<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: std::error::Error + 'static,
{
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<CredentialsError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Why no answer came, in the words of the causes that have some of their own: the SDK nests up to ten errors of which
/// most only repeat the next.
fn words<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + 'static,
{
    const EMPTY: &[&str] = &[
        "dispatch failure",
        "other",
        "io error",
        "request has timed out",
    ];
    let mut words: Vec<String> = Vec::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(CredentialsError::CredentialsNotLoaded(_)) = error.downcast_ref() {
            return "there are no credentials: not in the environment, the profile files or the instance's metadata"
                .to_owned();
        }
        let said = error.to_string();
        let said = said
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end_matches(':');
        if !EMPTY.contains(&said) && !words.iter().any(|known| known.contains(said)) {
            words.push(said.to_owned());
        }
        cause = error.source();
    }
    match words.is_empty() {
        true => error.to_string(),
        false => words.join(": "),
    }
}

fn unanswered(resource: String, message: &str, credentials: bool) -> Failure {
    if credentials {
        Failure::of(FailureKind::Denied, resource, message)
            .hint("sign in (`aws sso login`, `aws configure`) or name a profile with --profile")
    } else {
        Failure::new(resource, message).hint(
            "check the network, the region and AWS_ENDPOINT_URL, then run the same command again",
        )
    }
}

fn answered(resource: String, code: &str, message: &str, request_id: Option<&str>) -> Failure {
    let mut text = code.to_owned();
    if !message.is_empty() {
        text = format!("{text}: {message}");
    }
    if let Some(id) = request_id {
        text = format!("{text} (request {id})");
    }
    let (kind, hint) = family(code);
    let failure = Failure::of(kind, resource, text);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn family(code: &str) -> (FailureKind, Option<&'static str>) {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => (
            FailureKind::Denied,
            Some("the credentials have expired: sign in again, then run the same command again"),
        ),
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "AuthFailure"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature" => (
            FailureKind::Denied,
            Some(
                "these credentials are not known to AWS: check --profile and the clock of this machine",
            ),
        ),
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "Client.UnauthorizedOperation" => (
            FailureKind::Denied,
            Some(
                "the identity in use lacks this permission: `meshctl doctor` lists what a run needs",
            ),
        ),
        "OptInRequired" | "RegionDisabledException" => (
            FailureKind::Blocked,
            Some(
                "the region is not enabled for this account: enable it or choose another with --region",
            ),
        ),
        "LimitExceeded"
        | "LimitExceededException"
        | "ResourceLimitExceededException"
        | "ServiceQuotaExceededException"
        | "VpcLimitExceeded"
        | "AddressLimitExceeded"
        | "NatGatewayLimitExceeded"
        | "InternetGatewayLimitExceeded"
        | "VcpuLimitExceeded"
        | "TooManyLoadBalancers" => (
            FailureKind::Blocked,
            Some(
                "a quota of the account is used up: raise it in the Service Quotas console, or free some",
            ),
        ),
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => (
            FailureKind::Service,
            Some("AWS throttles this account: run the same command again, it goes on from here"),
        ),
        _ => (FailureKind::Service, None),
    }
}

/// Whose an AWS resource is, in words, when its owner tag does not name this environment.
pub fn foreign(owner: Option<&str>, environment: &str) -> Option<String> {
    match owner {
        Some(owner) if owner == environment => None,
        Some(owner) => Some(format!("environment {owner}")),
        None => Some("somebody else: it lacks our owner tag".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_resource_code_words_request_and_a_way_out() {
        let error = ec2::Error::Service {
            code: "VpcLimitExceeded".into(),
            message: "The maximum number of VPCs has been reached.".into(),
            status: 400,
            request_id: Some("abc".into()),
        };
        let failure = failed_ec2("VPC of meshctl-demo")(error);
        assert_eq!(
            failure.to_string(),
            "VPC of meshctl-demo: VpcLimitExceeded: The maximum number of VPCs has been reached. (request abc)"
        );
        assert_eq!(failure.kind, FailureKind::Blocked);
        assert!(failure.hint.is_some_and(|hint| hint.contains("quota")));
    }

    #[tokio::test]
    async fn a_dead_endpoint_is_a_failure_with_a_hint_and_not_a_panic() {
        let settings = Settings {
            region: "eu-west-1".into(),
            endpoint: Some("http://127.0.0.1:9".into()),
            credentials: Some(crate::clients::Credentials {
                access_key_id: "AKIDEXAMPLE".into(),
                secret_access_key: "secret".into(),
                session_token: None,
            }),
            ..Settings::default()
        };
        let mut config = load(&settings).await.into_builder();
        config.set_retry_config(Some(RetryConfig::disabled()));
        let sts = aws_sdk_sts::Client::new(&config.build());
        let failure = sts
            .get_caller_identity()
            .send()
            .await
            .map_err(failed("the caller's identity"))
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Service);
        assert_eq!(
            failure.message,
            "client error (Connect): tcp connect error: Connection refused (os error 111)"
        );
        assert!(failure.hint.is_some());
    }
}
