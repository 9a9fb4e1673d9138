//! IAM roles: who may assume one for Kubernetes service accounts, and how one is removed with all that holds it.

use aws_sdk_iam::Client;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::{Value, json};

use super::aws::{failed, is};
use crate::engine::Result;

/// The trust policy that lets those service accounts, and nothing else, assume the role.
///
/// `provider` is the OIDC provider's ARN, `issuer` the cluster's issuer without its scheme, `subjects` the claims
/// `system:serviceaccount:<namespace>:<name>`, where `*` stands for any name.
pub fn trust_policy(provider: &str, issuer: &str, subjects: &[String]) -> Value {
    // IAM gives back a list of one as it was written, so either form compares; one subject reads better plain.
    let subjects = match subjects {
        [one] => json!(one),
        many => json!(many),
    };
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": provider },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": { (format!("{issuer}:aud")): "sts.amazonaws.com" },
                // Names of service accounts have no wildcards of their own: what has none is compared whole.
                "StringLike": { (format!("{issuer}:sub")): subjects },
            },
        }],
    })
}

/// Deletes a role with everything that would be in the way: attached and inline policies, instance profiles' hold on it.
/// Absent is fine.
///
/// # Errors
/// When IAM refuses or does not answer.
pub async fn delete_role(iam: &Client, name: &str) -> Result<()> {
    let resource = || format!("IAM role {name}");
    let attached = iam
        .list_attached_role_policies()
        .role_name(name)
        .send()
        .await;
    let attached = match attached {
        Ok(attached) => attached.attached_policies.unwrap_or_default(),
        Err(error) if is(&error, "NoSuchEntity") => return Ok(()),
        Err(error) => return Err(failed(resource())(error)),
    };
    for policy in attached {
        let detached = iam
            .detach_role_policy()
            .role_name(name)
            .policy_arn(policy.policy_arn.unwrap_or_default())
            .send()
            .await;
        gone(detached, resource)?;
    }
    let inline = iam.list_role_policies().role_name(name).send().await;
    let inline = match inline {
        Ok(inline) => inline.policy_names,
        Err(error) if is(&error, "NoSuchEntity") => return Ok(()),
        Err(error) => return Err(failed(resource())(error)),
    };
    for policy in inline {
        let deleted = iam
            .delete_role_policy()
            .role_name(name)
            .policy_name(policy)
            .send()
            .await;
        gone(deleted, resource)?;
    }
    let deleted = iam.delete_role().role_name(name).send().await;
    match deleted {
        // An instance profile's hold on the role is rare enough to be looked for only when IAM names it.
        Err(error) if is(&error, "DeleteConflict") => {
            let profiles = iam
                .list_instance_profiles_for_role()
                .role_name(name)
                .send()
                .await
                .map_err(failed(resource()))?;
            for profile in profiles.instance_profiles {
                let removed = iam
                    .remove_role_from_instance_profile()
                    .instance_profile_name(profile.instance_profile_name)
                    .role_name(name)
                    .send()
                    .await;
                gone(removed, resource)?;
            }
            gone(iam.delete_role().role_name(name).send().await, resource)
        }
        deleted => gone(deleted, resource),
    }
}

/// Nothing to remove is as good as removed.
fn gone<T, E>(
    result: std::result::Result<T, SdkError<E, HttpResponse>>,
    resource: impl Fn() -> String,
) -> Result<()>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match result {
        Ok(_) => Ok(()),
        Err(error) if is(&error, "NoSuchEntity") => Ok(()),
        Err(error) => Err(failed(resource())(error)),
    }
}
