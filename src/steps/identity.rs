//! Who runs this.

use std::sync::Arc;

use super::outputs::Identity;
use crate::clients::Clients;
use crate::clients::aws::failed;
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Observed, Result, Step, StepId,
};

/// The caller's identity. There is always one, so there is nothing to make or to remove.
pub struct WhoAmI {
    /// The clients.
    pub clients: Arc<Clients>,
}

impl Step for WhoAmI {
    type Outputs = Identity;

    fn id(&self) -> StepId {
        "identity".into()
    }

    fn title(&self) -> String {
        format!("AWS identity in {}", self.clients.region())
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 0)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<Identity>> {
        identity(&self.clients).await.map(Observed::ready)
    }

    async fn apply(&self, _: &Context, _: &Change) -> Result<Identity> {
        identity(&self.clients).await
    }

    async fn destroy(&self, _: &Context, _: &Observed<Identity>) -> Result<()> {
        Ok(())
    }
}

/// Asks STS who calls, and IAM for the role behind an assumed one.
///
/// # Errors
/// Missing, expired or unknown credentials.
pub async fn identity(clients: &Clients) -> Result<Identity> {
    const WHAT: &str = "the caller's identity";
    let caller = clients
        .sts
        .get_caller_identity()
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
        Some(role) => clients
            .iam
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
