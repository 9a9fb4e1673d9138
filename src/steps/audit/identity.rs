//! What is left in IAM.

use super::{Found, Leftover, Scope};
use crate::clients::aws::{failed, is};
use crate::config::OWNER_TAG;
use crate::engine::Result;
use crate::steps::oidc_provider;

/// Service-linked roles that come with the services an environment uses.
const SERVICE_LINKED: [&str; 5] = [
    "AWSServiceRoleForAmazonEKS",
    "AWSServiceRoleForAmazonEKSNodegroup",
    "AWSServiceRoleForAppMesh",
    "AWSServiceRoleForAutoScaling",
    "AWSServiceRoleForElasticLoadBalancing",
];

/// Roles that carry the environment's name and tag; the account's service-linked roles are noted.
pub(super) async fn roles(scope: &Scope<'_>) -> Result<Found> {
    let iam = &scope.clients.iam;
    let prefix = scope.names.role("");
    let mut pages = iam.list_roles().into_paginator().items().send();
    let mut found = Found::default();
    while let Some(role) = pages.next().await {
        let role = role.map_err(failed("the IAM roles"))?;
        let name = &role.role_name;
        if SERVICE_LINKED.contains(&name.as_str()) {
            found.notes.push(format!(
                "service-linked role {name} belongs to the whole account and stays"
            ));
        }
        if !name.starts_with(&prefix) {
            continue;
        }
        // `meshctl-demo-` also begins the roles of an environment called `demo-2`: the tag tells.
        let tags = match iam.list_role_tags().role_name(name).send().await {
            Ok(tags) => tags.tags,
            Err(error) if is(&error, "NoSuchEntity") => continue,
            Err(error) => return Err(failed(format!("IAM role {name}"))(error)),
        };
        let owner = tags.iter().find(|tag| tag.key() == OWNER_TAG);
        if owner.is_some_and(|tag| tag.value() == scope.environment.name) {
            found.leftovers.push(Leftover {
                kind: "IAM role".into(),
                arn: role.arn.clone(),
                reason: scope.tagged_ours(),
                // Policies must go first, and `down` knows them.
                removal: format!("aws iam delete-role --role-name {name}"),
            });
        }
    }
    Ok(found)
}

/// OIDC providers of the environment's clusters.
pub(super) async fn providers(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let owned = oidc_provider::owned(scope.clients, &scope.environment.name).await?;
    Ok(owned
        .into_iter()
        .map(|arn| Leftover {
            kind: "IAM OIDC provider".into(),
            reason: scope.tagged_ours(),
            removal: format!(
                "aws iam delete-open-id-connect-provider --open-id-connect-provider-arn {arn}"
            ),
            arn,
        })
        .collect())
}

/// Customer policies that carry the environment's name and tag. The environment makes none; an earlier one may have.
pub(super) async fn policies(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let iam = &scope.clients.iam;
    let prefix = scope.names.role("");
    let mut pages = iam
        .list_policies()
        .scope(aws_sdk_iam::types::PolicyScopeType::Local)
        .into_paginator()
        .items()
        .send();
    let mut leftovers = Vec::new();
    while let Some(policy) = pages.next().await {
        let policy = policy.map_err(failed("the IAM policies"))?;
        let named = policy
            .policy_name()
            .is_some_and(|name| name.starts_with(&prefix));
        let (true, Some(arn)) = (named, policy.arn()) else {
            continue;
        };
        let got = iam.get_policy().policy_arn(arn).send().await;
        let tags = match got {
            Ok(got) => got
                .policy
                .and_then(|policy| policy.tags)
                .unwrap_or_default(),
            Err(error) if is(&error, "NoSuchEntity") => continue,
            Err(error) => return Err(failed(format!("IAM policy {arn}"))(error)),
        };
        let owner = tags.iter().find(|tag| tag.key() == OWNER_TAG);
        if owner.is_some_and(|tag| tag.value() == scope.environment.name) {
            leftovers.push(Leftover {
                kind: "IAM policy".into(),
                arn: arn.to_owned(),
                reason: scope.tagged_ours(),
                removal: format!("aws iam delete-policy --policy-arn {arn}"),
            });
        }
    }
    Ok(leftovers)
}
