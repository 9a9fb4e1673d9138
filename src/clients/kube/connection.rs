//! A connection to one cluster, with tokens that are made anew before they expire.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

use super::token::{self, Token};
use crate::engine::{Failure, FailureKind, Observed, Result};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one answer may take. Longer than the API server waits for a webhook by default (10 s).
const ANSWER: Duration = Duration::from_secs(30);
/// Calls under way at once: as many connections are held, each with its buffers on both sides.
const AT_ONCE: usize = 32;
/// Tries of one call that got no answer, the first included.
const ATTEMPTS: u32 = 4;
/// How long a cluster that did not answer is not asked again, so that thirty steps do not each wait for it.
const DEAD_FOR: Duration = Duration::from_secs(5);
/// A token is replaced this long before it expires.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// Where a cluster is and as whom to speak to it.
#[derive(Clone, Debug)]
pub struct Access {
    /// The cluster's name in EKS.
    pub name: String,
    /// The environment that owns what meshctl makes in it.
    pub environment: String,
    /// The region.
    pub region: String,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// The account's twelve digits.
    pub account: String,
    /// The API server's URL.
    pub endpoint: String,
    /// The API server's certificate authority: base64 of PEM.
    pub certificate_authority: String,
    /// Whose tokens are made.
    pub credentials: SharedCredentialsProvider,
}

/// A cluster that can be spoken to. Cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    access: Access,
    client: tokio::sync::Mutex<Option<(Token, kube::Client)>>,
    places: tokio::sync::Semaphore,
    dead: Mutex<Option<(Instant, String)>>,
    warnings: Warnings,
}

/// The warnings among each namespace's events, and when they were read.
pub(super) type Warnings = tokio::sync::Mutex<HashMap<String, (Instant, Arc<Vec<Value>>)>>;

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cluster").field(&self.0.access).finish()
    }
}

/// Why a call to the API failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Trouble {
    /// The API server refused or failed.
    #[error("{}", .0.message)]
    Status(Box<kube::core::Status>),
    /// It did not answer.
    #[error("the cluster does not answer: {0}")]
    Unreachable(String),
    /// There are no credentials to ask with.
    #[error("{0}")]
    Credentials(Failure),
    /// Anything else, such as an answer that is not JSON.
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    /// The HTTP status, 0 without an answer.
    pub fn code(&self) -> u16 {
        match self {
            Trouble::Status(status) => status.code,
            _ => 0,
        }
    }

    /// Whether there is no such object or kind.
    pub fn is_not_found(&self) -> bool {
        self.code() == 404
    }

    /// Whether what is asked for is of a state that the API server keeps no longer.
    pub fn is_expired(&self) -> bool {
        self.code() == 410
    }

    /// Whether somebody else was faster: the object is there already, or is no more as it was read.
    pub fn is_conflict(&self) -> bool {
        self.code() == 409
    }

    /// Whether a webhook could not be asked, which passes once its controller serves.
    ///
    /// The API server answers 500 with `failed calling webhook "…": failed to call webhook: Post "…": …`, where the
    /// rest is `no endpoints available for service "…"`, `connection refused`, `context deadline exceeded` or
    /// `x509: …` while an old certificate is still served.
    pub fn is_webhook_away(&self) -> bool {
        match self {
            Trouble::Status(status) => {
                status.message.contains("failed calling webhook")
                    || status.message.contains("no endpoints available")
            }
            _ => false,
        }
    }

    /// Whether the same request may succeed a moment later.
    fn is_passing(&self) -> bool {
        match self {
            Trouble::Status(status) => {
                // An access entry, and what it allows, reaches all API servers within seconds.
                matches!(status.code, 401 | 429 | 502..=504)
                    || (status.code == 500 && status.message.contains("etcdserver"))
            }
            Trouble::Unreachable(_) => true,
            Trouble::Credentials(_) | Trouble::Other(_) => false,
        }
    }

    /// Whether what something was to be made in is going, or gone: its namespace or its kind.
    ///
    /// The API server answers 403 with `… is forbidden: unable to create new content in namespace demo because it is
    /// being terminated`, and afterwards 404 with `namespaces "demo" not found`; of a kind that it does not have, 404 with
    /// `404 page not found`.
    pub fn is_place_gone(&self) -> bool {
        match self {
            Trouble::Status(status) if status.code == 403 => {
                status.message.contains("because it is being terminated")
            }
            Trouble::Status(status) if status.code == 404 => {
                status.message.starts_with("namespaces \"")
                    || status.message.contains("page not found")
            }
            _ => false,
        }
    }

    /// The failure of `resource`.
    pub fn failure(self, resource: impl Into<String>) -> Failure {
        let (message, gone) = (self.to_string(), self.is_place_gone());
        match self {
            Trouble::Credentials(failure) => failure,
            Trouble::Unreachable(_) => Failure::new(resource, message).hint(
                "check that this machine may reach the cluster's endpoint (cluster.publicAccessCidrs), then run the same command again",
            ),
            Trouble::Status(_) if gone => Failure::taken_away(resource, message),
            Trouble::Status(status) if matches!(status.code, 401 | 403) && !message.contains("denied the request") => {
                Failure::of(FailureKind::Denied, resource, message).hint(
                    "the identity in use needs an access entry of the cluster with AmazonEKSClusterAdminPolicy",
                )
            }
            _ => Failure::new(resource, message),
        }
    }

    /// What a step observes when it meets this trouble: unreachable is an observation, all else a failure.
    ///
    /// # Errors
    /// Everything but an unreachable cluster.
    pub fn observed<O>(self, resource: impl Into<String>) -> Result<Observed<O>> {
        match self {
            Trouble::Unreachable(reason) => Ok(Observed::Unreachable(reason)),
            other => Err(other.failure(resource)),
        }
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Trouble::Status(status),
            kube::Error::HyperError(error) => Trouble::Unreachable(chain(&error)),
            kube::Error::Service(error) => Trouble::Unreachable(chain(error.as_ref())),
            other => Trouble::Other(chain(&other)),
        }
    }
}

/// An error with its causes, outermost first, repeated words left out.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Cluster {
    /// A connection that is opened when it is first used.
    pub fn new(access: Access) -> Self {
        Cluster(Arc::new(Inner {
            access,
            client: tokio::sync::Mutex::default(),
            places: tokio::sync::Semaphore::new(AT_ONCE),
            dead: Mutex::default(),
            warnings: Warnings::default(),
        }))
    }

    /// A connection by a ready client, for as long as a token lasts.
    #[cfg(test)]
    pub(crate) fn with_client(access: Access, client: kube::Client) -> Self {
        let cluster = Cluster::new(access);
        let token = Token {
            secret: String::new(),
            expires: SystemTime::now() + token::LIFETIME,
        };
        *cluster.0.client.try_lock().expect("nobody else has it") = Some((token, client));
        cluster
    }

    /// What was complained of moments ago.
    pub(super) fn known_warnings(&self) -> &Warnings {
        &self.0.warnings
    }

    /// Where it is and who speaks to it.
    pub fn access(&self) -> &Access {
        &self.0.access
    }

    /// A client with a token that is good for five minutes or more.
    ///
    /// # Errors
    /// No credentials, or an endpoint or authority that cannot be parsed.
    pub async fn client(&self) -> Result<kube::Client, Trouble> {
        let mut kept = self.0.client.lock().await;
        if let Some((token, client)) = &*kept
            && token.expires > SystemTime::now() + MARGIN
        {
            return Ok(client.clone());
        }
        let access = &self.0.access;
        let token = token::token(&access.credentials, &access.region, &access.name)
            .await
            .map_err(Trouble::Credentials)?;
        let client = connect(access, &token)?;
        *kept = Some((token, client.clone()));
        Ok(client)
    }

    /// Makes a call, again where that may help, under short deadlines.
    pub(super) async fn call<T, F, Fut>(&self, call: F) -> Result<T, Trouble>
    where
        F: Fn(kube::Client) -> Fut,
        Fut: Future<Output = kube::Result<T>>,
    {
        let mut attempt = 1;
        loop {
            let place = self.0.places.acquire().await;
            if attempt == 1
                && let Some((since, reason)) = &*self.0.dead.lock().expect("no panic while locked")
                && since.elapsed() < DEAD_FOR
            {
                return Err(Trouble::Unreachable(reason.clone()));
            }
            let client = self.client().await?;
            let trouble = match tokio::time::timeout(ANSWER, call(client)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Trouble::from(error),
                Err(_) => Trouble::Unreachable(format!("no answer within {} s", ANSWER.as_secs())),
            };
            drop(place);
            if !trouble.is_passing() || attempt >= ATTEMPTS {
                if let Trouble::Unreachable(reason) = &trouble {
                    let now = Some((Instant::now(), reason.clone()));
                    *self.0.dead.lock().expect("no panic while locked") = now;
                }
                return Err(trouble);
            }
            if trouble.code() == 401 {
                // Perhaps the credentials were exchanged since the token was made.
                *self.0.client.lock().await = None;
            }
            let pause = Duration::from_millis(100 << attempt);
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            attempt += 1;
        }
    }
}

fn connect(access: &Access, token: &Token) -> Result<kube::Client, Trouble> {
    let other = |error: &dyn std::fmt::Display| Trouble::Other(error.to_string());
    let url = access.endpoint.parse().map_err(|error| {
        Trouble::Other(format!(
            "endpoint {} is not a URL: {error}",
            access.endpoint
        ))
    })?;
    let pem = STANDARD
        .decode(access.certificate_authority.trim())
        .map_err(|error| Trouble::Other(format!("certificate authority is not base64: {error}")))?;
    let roots = CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Trouble::Other(format!("certificate authority is not PEM: {error}")))?;
    let mut config = kube::Config::new(url);
    config.root_cert = Some(roots);
    config.connect_timeout = Some(CONNECT);
    config.auth_info = AuthInfo {
        token: Some(token.secret.clone().into()),
        ..AuthInfo::default()
    };
    kube::Client::try_from(config).map_err(|error| other(&error))
}
