//! What the steps put out for their dependents.

use serde::Serialize;

use crate::clients::eks::refuse_gone;
use crate::engine::{Failure, FailureKind};

/// The VPC's subnets, which exist before the way out of them does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subnets {
    /// The VPC.
    pub vpc: String,
    /// For internet-facing load balancers.
    pub public: Vec<String>,
    /// For nodes and pods.
    pub private: Vec<String>,
}

/// The roles of the control plane and of the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterRoles {
    /// The control plane's role.
    pub cluster: String,
    /// The nodes' role.
    pub node: String,
}

/// How nodes are launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LaunchTemplate {
    /// Its id.
    pub id: String,
    /// The version in use.
    pub version: String,
}

/// An ECR repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// Its name: `meshctl-demo/backend`.
    pub name: String,
    /// What images in it are called: `123456789012.dkr.ecr.eu-west-1.amazonaws.com/meshctl-demo/backend`.
    pub uri: String,
}

/// A service's image, ready to be pulled by the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// `…/meshctl-demo/backend@sha256:…`; a ready image's own reference otherwise.
    pub reference: String,
}

/// The EKS control plane, active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlPlane {
    /// The cluster's name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// The Kubernetes version: `1.35`.
    pub version: String,
    /// The API server's URL.
    pub endpoint: String,
    /// The API server's certificate authority: base64 of PEM.
    pub certificate_authority: String,
    /// The issuer of service-account tokens: `https://oidc.eks.eu-west-1.amazonaws.com/id/…`.
    pub issuer: String,
    /// The security group EKS made for control plane and nodes.
    pub security_group: String,
    /// The VPC.
    pub vpc: String,
}

impl ControlPlane {
    /// What to tell of a request about the cluster that EKS refuses: that another run takes the cluster away, where that is so.
    pub async fn refusal(&self, eks: &aws_sdk_eks::Client, refused: Failure) -> Failure {
        match refuse_gone(eks, &self.name, &self.endpoint).await {
            Err(gone) if gone.kind == FailureKind::Blocked => gone,
            _ => refused,
        }
    }
}

/// The IAM OIDC provider for the cluster's service accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OidcProvider {
    /// Its ARN.
    pub arn: String,
    /// The issuer without its scheme, as trust policies name it.
    pub issuer: String,
}

/// An IAM role that a Kubernetes service account may assume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    /// Its ARN, for the service account's annotation `eks.amazonaws.com/role-arn`.
    pub arn: String,
}
