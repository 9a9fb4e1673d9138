//! The IAM OIDC provider: what makes AWS believe the cluster's service-account tokens.

use std::sync::Arc;

use aws_sdk_iam::types::Tag;

use super::outputs::{ControlPlane, OidcProvider};
use crate::clients::Clients;
use crate::clients::aws::{failed, is};
use crate::config::{Environment, OWNER_TAG};
use crate::engine::{Change, Context, Expected, Failure, Input, Observed, Result, Step, StepId};

/// The audience of tokens that are exchanged for AWS credentials.
const AUDIENCE: &str = "sts.amazonaws.com";
const RESOURCE: &str = "IAM OIDC provider";

/// The IAM OIDC provider of the cluster.
pub struct ClusterOidcProvider {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The cluster.
    pub control_plane: Input<ControlPlane>,
}

impl ClusterOidcProvider {
    async fn wanted(&self, cx: &Context) -> Result<OidcProvider> {
        let identity = self.clients.identity().await?;
        let issuer = self.control_plane.get(cx)?.issuer;
        let issuer = issuer.trim_start_matches("https://").to_owned();
        Ok(OidcProvider {
            arn: format!(
                "arn:{}:iam::{}:oidc-provider/{issuer}",
                identity.partition, identity.account
            ),
            issuer,
        })
    }

    /// The providers of EKS clusters that carry our owner tag: also those of a cluster that is gone.
    async fn owned(&self) -> Result<Vec<String>> {
        owned(&self.clients, &self.environment.name).await
    }
}

/// The ARNs of the OIDC providers of EKS clusters that the environment owns.
///
/// # Errors
/// When IAM does not answer.
pub async fn owned(clients: &Clients, environment: &str) -> Result<Vec<String>> {
    let listed = clients
        .iam
        .list_open_id_connect_providers()
        .send()
        .await
        .map_err(failed(RESOURCE))?;
    let mut owned = Vec::new();
    for provider in listed.open_id_connect_provider_list.unwrap_or_default() {
        let Some(arn) = provider.arn else { continue };
        if !arn.contains("oidc-provider/oidc.eks.") {
            continue;
        }
        let got = clients
            .iam
            .get_open_id_connect_provider()
            .open_id_connect_provider_arn(&arn)
            .send()
            .await;
        match got {
            Ok(got) if owner(got.tags()) == Some(environment) => owned.push(arn),
            Ok(_) => {}
            Err(error) if is(&error, "NoSuchEntity") => {}
            Err(error) => return Err(failed(RESOURCE)(error)),
        }
    }
    Ok(owned)
}

fn owner(tags: &[Tag]) -> Option<&str> {
    tags.iter()
        .find(|tag| tag.key() == OWNER_TAG)
        .map(Tag::value)
}

impl Step for ClusterOidcProvider {
    type Outputs = OidcProvider;

    fn id(&self) -> StepId {
        "oidc-provider".into()
    }

    fn title(&self) -> String {
        "IAM OIDC provider of the cluster".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(1, 1)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<OidcProvider>> {
        let Ok(wanted) = self.wanted(cx).await else {
            // The cluster is gone or not there yet; what an earlier one left behind is not.
            let owned = self.owned().await?;
            return Ok(match owned.first() {
                Some(arn) => Observed::Failed(format!("{arn} is of a cluster that is gone")),
                None => Observed::Absent,
            });
        };
        let got = self
            .clients
            .iam
            .get_open_id_connect_provider()
            .open_id_connect_provider_arn(&wanted.arn)
            .send()
            .await;
        match got {
            Ok(got) => {
                let mut drift = Vec::new();
                match owner(got.tags()) {
                    Some(owner) if owner == self.environment.name => {}
                    Some(owner) => return Ok(Observed::Foreign(format!("environment {owner}"))),
                    // Of our own cluster, made by another tool: adopted.
                    None => drift.push("it lacks the owner tag".to_owned()),
                }
                if !got.client_id_list().iter().any(|id| id == AUDIENCE) {
                    drift.push(format!("audience {AUDIENCE}"));
                }
                Ok(Observed::Ready {
                    outputs: wanted,
                    drift,
                })
            }
            Err(error) if is(&error, "NoSuchEntity") => Ok(Observed::Absent),
            Err(error) => Err(failed(RESOURCE)(error)),
        }
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<OidcProvider> {
        let wanted = self.wanted(cx).await?;
        let iam = &self.clients.iam;
        let tag = Tag::builder()
            .key(OWNER_TAG)
            .value(&self.environment.name)
            .build()
            .map_err(|error| Failure::new(RESOURCE, error))?;
        let created = iam
            .create_open_id_connect_provider()
            .url(format!("https://{}", wanted.issuer))
            .client_id_list(AUDIENCE)
            .tags(tag.clone())
            .send()
            .await;
        match created {
            Ok(_) => {}
            Err(error) if is(&error, "EntityAlreadyExists") => {
                iam.add_client_id_to_open_id_connect_provider()
                    .open_id_connect_provider_arn(&wanted.arn)
                    .client_id(AUDIENCE)
                    .send()
                    .await
                    .map_err(failed(RESOURCE))?;
                iam.tag_open_id_connect_provider()
                    .open_id_connect_provider_arn(&wanted.arn)
                    .tags(tag)
                    .send()
                    .await
                    .map_err(failed(RESOURCE))?;
            }
            Err(error) => return Err(failed(RESOURCE)(error)),
        }
        Ok(wanted)
    }

    async fn destroy(&self, cx: &Context, _: &Observed<OidcProvider>) -> Result<()> {
        let mut arns = self.owned().await?;
        if let Ok(wanted) = self.wanted(cx).await
            && !arns.contains(&wanted.arn)
        {
            arns.push(wanted.arn);
        }
        for arn in arns {
            let deleted = self
                .clients
                .iam
                .delete_open_id_connect_provider()
                .open_id_connect_provider_arn(arn)
                .send()
                .await;
            match deleted {
                Ok(_) => {}
                Err(error) if is(&error, "NoSuchEntity") => {}
                Err(error) => return Err(failed(RESOURCE)(error)),
            }
        }
        Ok(())
    }
}
