//! What an IAM role for a Kubernetes service account is made of.

use serde_json::{Value, json};

/// A role that one Kubernetes service account may assume, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IrsaRole {
    /// The role's name within the environment: `mesh-controller`.
    pub name: String,
    /// The service account's namespace.
    pub namespace: String,
    /// The service account.
    pub service_account: String,
    /// The permissions, a policy as JSON text. `${partition}`, `${region}` and `${account}` stand for the run's own.
    pub policy_document: String,
}

/// The trust policy that lets that service account, and nothing else, assume the role.
///
/// `provider` is the OIDC provider's ARN, `issuer` the cluster's issuer without its scheme.
pub fn trust_policy(provider: &str, issuer: &str, namespace: &str, service_account: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": provider },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "StringEquals": {
                (format!("{issuer}:aud")): "sts.amazonaws.com",
                (format!("{issuer}:sub")): format!("system:serviceaccount:{namespace}:{service_account}"),
            }},
        }],
    })
}
