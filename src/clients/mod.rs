//! Thin typed clients: AWS per service, CloudFormation stacks, registries, traffic.
//!
//! Everything about where services are comes from [`Settings`]: region, profile, credentials, endpoint, mirrors.

pub mod aws;
pub mod eks;
pub mod iam;
pub mod identity;
pub mod kube;
mod pace;
pub mod registry;
pub mod repositories;
pub mod stacks;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_config::SdkConfig;
use tokio::sync::OnceCell;

use self::identity::Identity;
use self::registry::Registries;
use self::repositories::Repositories;
use crate::ec2::Ec2;
use crate::engine::{Failure, FailureKind, Result};

/// Something that is there again after its deletion: only another run makes it.
pub fn made_again(what: &str) -> Failure {
    another_run(what, "was made again while it was removed")
}

/// What became of something that only another run can have done.
fn another_run(what: &str, how: &str) -> Failure {
    let message = format!("{how}: another run is at work on this environment");
    Failure::of(FailureKind::Blocked, what, message)
        .hint("let that run end or stop it, then run the same command again")
}

/// Where AWS and the registries are, and as whom to speak to them. Resolved once, by the command line.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The AWS region.
    pub region: String,
    /// The profile of the AWS configuration files; without one, the usual chain decides.
    pub profile: Option<String>,
    /// Credentials that come before the usual chain.
    pub credentials: Option<Credentials>,
    /// One endpoint for all AWS services in place of AWS's own.
    pub endpoint: Option<String>,
    /// Registry host → where to ask instead (`https://mirror.example.com`).
    pub mirrors: BTreeMap<String, String>,
}

/// An access key.
#[derive(Clone)]
pub struct Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.access_key_id)
    }
}

/// Every client a run needs. Made once and shared.
#[derive(Clone, Debug)]
pub struct Clients {
    /// What they were made from.
    pub settings: Settings,
    /// The loaded AWS configuration, for what signs by itself.
    pub config: SdkConfig,
    /// App Mesh.
    pub app_mesh: aws_sdk_appmesh::Client,
    /// CloudFormation.
    pub cloudformation: aws_sdk_cloudformation::Client,
    /// EC2.
    pub ec2: Ec2,
    /// ECR.
    pub ecr: aws_sdk_ecr::Client,
    /// EKS.
    pub eks: aws_sdk_eks::Client,
    /// Elastic Load Balancing v2.
    pub load_balancing: aws_sdk_elasticloadbalancingv2::Client,
    /// IAM.
    pub iam: aws_sdk_iam::Client,
    /// CloudWatch Logs.
    pub logs: aws_sdk_cloudwatchlogs::Client,
    /// STS.
    pub sts: aws_sdk_sts::Client,
    /// X-Ray.
    pub xray: aws_sdk_xray::Client,
    /// The repositories of ECR, for who reads many.
    pub repositories: Arc<Repositories>,
    /// Container registries other than ECR.
    pub registries: Arc<Registries>,
    identity: Arc<OnceCell<Identity>>,
}

impl Clients {
    /// Loads the AWS configuration and makes the clients. Sends nothing.
    pub async fn new(settings: Settings) -> Self {
        install_crypto();
        let config = aws::load(&settings).await;
        let ecr = aws_sdk_ecr::Client::new(&config);
        Clients {
            app_mesh: aws_sdk_appmesh::Client::new(&config),
            cloudformation: aws_sdk_cloudformation::Client::new(&config),
            ec2: Ec2::new(&config),
            repositories: Arc::new(Repositories::new(ecr.clone())),
            ecr,
            eks: aws_sdk_eks::Client::new(&config),
            load_balancing: aws_sdk_elasticloadbalancingv2::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            logs: aws_sdk_cloudwatchlogs::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            xray: aws_sdk_xray::Client::new(&config),
            registries: Arc::new(Registries::new(settings.mirrors.clone())),
            identity: Arc::default(),
            config,
            settings,
        }
    }

    /// Who runs this; asked once.
    ///
    /// # Errors
    /// Missing, expired or unknown credentials.
    pub async fn identity(&self) -> Result<&Identity> {
        self.identity
            .get_or_try_init(|| identity::ask(&self.sts, &self.iam))
            .await
    }

    /// The AWS region.
    pub fn region(&self) -> &str {
        &self.settings.region
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes ring the process's cryptography, for the HTTP clients that take it from there.
pub(crate) fn install_crypto() {
    // Refused where one is installed already: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
