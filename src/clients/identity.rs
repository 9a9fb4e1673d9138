//! Who runs this.

use aws_smithy_types::retry::RetryConfig;
use serde::Serialize;

use super::aws::failed;
use crate::engine::{Failure, FailureKind, Result};

/// Who runs this, and in which account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The account's twelve digits.
    pub account: String,
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// The caller as STS names it: `arn:aws:sts::…:assumed-role/Admin/me`.
    pub arn: String,
    /// The IAM user or role behind it, as access entries want it: `arn:aws:iam::…:role/Admin`.
    pub principal: String,
}

/// Asks STS who calls, and IAM for the role behind an assumed one.
///
/// # Errors
/// Missing, expired or unknown credentials.
pub(super) async fn ask(sts: &aws_sdk_sts::Client, iam: &aws_sdk_iam::Client) -> Result<Identity> {
    const WHAT: &str = "the caller's identity";
    // Nothing is under way yet that patience would save.
    let quickly = aws_sdk_sts::config::Builder::new()
        .retry_config(RetryConfig::standard().with_max_attempts(3));
    let caller = sts
        .get_caller_identity()
        .customize()
        .config_override(quickly)
        .send()
        .await
        .map_err(failed(WHAT))?;
    let (Some(account), Some(arn)) = (caller.account, caller.arn) else {
        return Err(Failure::of(
            FailureKind::Denied,
            WHAT,
            "STS names no account",
        ));
    };
    let partition = arn.split(':').nth(1).unwrap_or("aws").to_owned();
    let principal = match assumed_role(&arn) {
        // The session's ARN lacks the role's path, which access entries want (IAM Identity Center's roles have one).
        Some(role) => iam
            .get_role()
            .role_name(role)
            .send()
            .await
            .ok()
            .and_then(|found| found.role)
            .map_or_else(
                || format!("arn:{partition}:iam::{account}:role/{role}"),
                |role| role.arn,
            ),
        None => arn.clone(),
    };
    Ok(Identity {
        account,
        partition,
        arn,
        principal,
    })
}

/// The role's name, when the ARN is that of an assumed role's session.
fn assumed_role(arn: &str) -> Option<&str> {
    let (_, session) = arn.split_once(":assumed-role/")?;
    session.split('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_tells_its_role() {
        assert_eq!(
            assumed_role("arn:aws:sts::123456789012:assumed-role/Admin/me"),
            Some("Admin")
        );
        assert_eq!(assumed_role("arn:aws:iam::123456789012:user/me"), None);
    }
}
