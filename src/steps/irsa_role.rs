//! An IAM role for a Kubernetes service account.

use std::sync::Arc;

use aws_sdk_iam::types::{Role as IamRole, Tag};
use serde_json::Value;

use super::outputs::{OidcProvider, Role};
use crate::clients::Clients;
use crate::clients::aws::{failed, foreign, is};
use crate::clients::iam::{delete_role, trust_policy};
use crate::clients::identity::Identity;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Result, Step, StepId,
};

/// The inline policy's name.
const POLICY: &str = "meshctl";

/// Makes a policy document for an account and region.
pub type Policy = Arc<dyn Fn(&Identity, &str) -> Result<Value> + Send + Sync>;

/// A role that service accounts may assume. Its permissions are one inline policy, which goes with the role.
pub struct ServiceAccountRole {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// Its name within the environment: `mesh-controller`.
    pub name: String,
    /// Who may assume it: `system:serviceaccount:<namespace>:<name>`.
    pub subjects: Vec<String>,
    /// What it may do, in this account and region.
    pub policy: Policy,
    /// Who vouches for the service account.
    pub provider: Input<OidcProvider>,
}

impl ServiceAccountRole {
    fn full_name(&self) -> String {
        Names::new(&self.environment.name).role(&self.name)
    }

    fn resource(&self) -> String {
        format!("IAM role {}", self.full_name())
    }

    fn trust(&self, cx: &Context) -> Result<Value> {
        let provider = self.provider.get(cx)?;
        Ok(trust_policy(
            &provider.arn,
            &provider.issuer,
            &self.subjects,
        ))
    }

    async fn permissions(&self) -> Result<Value> {
        (self.policy)(self.clients.identity().await?, self.clients.region())
    }

    async fn find(&self) -> Result<Option<IamRole>> {
        let got = self
            .clients
            .iam
            .get_role()
            .role_name(self.full_name())
            .send()
            .await;
        match got {
            Ok(got) => Ok(got.role),
            Err(error) if is(&error, "NoSuchEntity") => Ok(None),
            Err(error) => Err(failed(self.resource())(error)),
        }
    }

    async fn current_permissions(&self) -> Result<Option<Value>> {
        let got = self
            .clients
            .iam
            .get_role_policy()
            .role_name(self.full_name())
            .policy_name(POLICY)
            .send()
            .await;
        match got {
            Ok(got) => Ok(decode(&got.policy_document)),
            Err(error) if is(&error, "NoSuchEntity") => Ok(None),
            Err(error) => Err(failed(self.resource())(error)),
        }
    }

    async fn put_permissions(&self) -> Result<()> {
        self.clients
            .iam
            .put_role_policy()
            .role_name(self.full_name())
            .policy_name(POLICY)
            .policy_document(self.permissions().await?.to_string())
            .send()
            .await
            .map_err(failed(self.resource()))?;
        Ok(())
    }
}

/// A policy as IAM answers with it: percent-encoded JSON.
fn decode(text: &str) -> Option<Value> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    serde_json::from_slice(&bytes).ok()
}

impl Step for ServiceAccountRole {
    type Outputs = Role;

    fn id(&self) -> StepId {
        format!("iam-role/{}", self.name).into()
    }

    fn title(&self) -> String {
        self.resource()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 1)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<Role>> {
        let Some(role) = self.find().await? else {
            return Ok(Observed::Absent);
        };
        let owner = role.tags().iter().find(|tag| tag.key() == OWNER_TAG);
        if let Some(whose) = foreign(owner.map(Tag::value), &self.environment.name) {
            return Ok(Observed::Foreign(whose));
        }
        let mut drift = Vec::new();
        // Without the cluster there is nothing to compare with, and to remove it takes the name alone.
        if let Ok(trust) = self.trust(cx) {
            if role.assume_role_policy_document().and_then(decode) != Some(trust) {
                drift.push("trust policy".to_owned());
            }
            if self.current_permissions().await? != Some(self.permissions().await?) {
                drift.push("permissions".to_owned());
            }
        }
        Ok(Observed::Ready {
            outputs: Role { arn: role.arn },
            drift,
        })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<Role> {
        let (iam, name) = (&self.clients.iam, self.full_name());
        let trust = self.trust(cx)?.to_string();
        let tag = Tag::builder()
            .key(OWNER_TAG)
            .value(&self.environment.name)
            .build()
            .map_err(|error| Failure::new(self.resource(), error))?;
        let created = iam
            .create_role()
            .role_name(&name)
            .description(format!(
                "Service accounts of {}",
                Names::new(&self.environment.name).cluster()
            ))
            .assume_role_policy_document(&trust)
            .tags(tag)
            .send()
            .await;
        let arn = match created {
            Ok(created) => created.role.map(|role| role.arn),
            Err(error) if is(&error, "EntityAlreadyExists") => {
                // Perhaps made a moment ago, and not by another run of ours.
                if let Observed::Foreign(whose) = self.observe(cx).await? {
                    let message = format!("belongs to {whose}");
                    return Err(Failure::of(FailureKind::Blocked, self.resource(), message));
                }
                iam.update_assume_role_policy()
                    .role_name(&name)
                    .policy_document(&trust)
                    .send()
                    .await
                    .map_err(failed(self.resource()))?;
                self.find().await?.map(|role| role.arn)
            }
            Err(error) => return Err(failed(self.resource())(error)),
        };
        self.put_permissions().await?;
        arn.map(|arn| Role { arn })
            .ok_or_else(|| Failure::new(self.resource(), "it was deleted meanwhile"))
    }

    async fn destroy(&self, _: &Context, _: &Observed<Role>) -> Result<()> {
        delete_role(&self.clients.iam, &self.full_name()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_iam_sends_it() {
        let sent = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D";
        let read = decode(sent).unwrap();
        assert_eq!(read["Version"], "2012-10-17");
        assert_eq!(
            decode(r#"{"Version":"2012-10-17","Statement":[]}"#),
            Some(read)
        );
        assert_eq!(decode("%7"), None);
    }
}
