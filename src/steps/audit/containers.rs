//! What is left in EKS, ECR, CloudFormation, CloudWatch Logs and X-Ray.

use super::{Leftover, Scope};
use crate::clients::aws::failed;
use crate::clients::eks::{find_cluster, node_groups};
use crate::config::OWNER_TAG;
use crate::engine::Result;

/// The cluster with its node groups. Add-ons and access entries go with it.
pub(super) async fn cluster(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let (eks, name) = (&scope.clients.eks, scope.names.cluster());
    let Some(cluster) = find_cluster(eks, &name).await? else {
        return Ok(Vec::new());
    };
    if cluster.tags().and_then(|tags| tags.get(OWNER_TAG)) != Some(&scope.environment.name) {
        return Ok(Vec::new());
    }
    let Some(groups) = node_groups(eks, &name).await? else {
        return Ok(Vec::new());
    };
    let mut leftovers: Vec<Leftover> = groups
        .iter()
        .map(|group| Leftover {
            kind: "EKS node group".into(),
            arn: scope.arn("eks", &format!("nodegroup/{name}/{group}")),
            reason: format!("in the cluster {name}"),
            removal: scope.command(&format!(
                "eks delete-nodegroup --cluster-name {name} --nodegroup-name {group}"
            )),
        })
        .collect();
    leftovers.push(Leftover {
        kind: "EKS cluster".into(),
        arn: cluster.arn.unwrap_or_else(|| name.clone()),
        reason: scope.tagged_ours(),
        removal: scope.command(&format!("eks delete-cluster --name {name}")),
    });
    Ok(leftovers)
}

/// Repositories by name: the name carries the environment.
pub(super) async fn repositories(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let prefix = scope.names.repository("");
    let mut pages = scope
        .clients
        .ecr
        .describe_repositories()
        .into_paginator()
        .items()
        .send();
    let mut leftovers = Vec::new();
    while let Some(repository) = pages.next().await {
        let repository = repository.map_err(failed("the ECR repositories"))?;
        let name = repository.repository_name().unwrap_or_default();
        if name.starts_with(&prefix) {
            leftovers.push(Leftover {
                kind: "ECR repository".into(),
                arn: repository.repository_arn().unwrap_or(name).to_owned(),
                reason: format!("its name begins with {prefix}"),
                removal: scope.command(&format!(
                    "ecr delete-repository --force --repository-name {name}"
                )),
            });
        }
    }
    Ok(leftovers)
}

/// Stacks in any state but gone.
pub(super) async fn stacks(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let mut pages = scope
        .clients
        .cloudformation
        .describe_stacks()
        .into_paginator()
        .items()
        .send();
    let mut leftovers = Vec::new();
    while let Some(stack) = pages.next().await {
        let stack = stack.map_err(failed("the stacks"))?;
        let is_ours = stack.tags().iter().any(|tag| {
            tag.key() == Some(OWNER_TAG) && tag.value() == Some(&scope.environment.name)
        });
        let status = stack.stack_status().map_or("", |status| status.as_str());
        if is_ours && status != "DELETE_COMPLETE" {
            let name = stack.stack_name().unwrap_or_default();
            leftovers.push(Leftover {
                kind: "CloudFormation stack".into(),
                arn: stack.stack_id().unwrap_or(name).to_owned(),
                reason: format!("{}, {status}", scope.tagged_ours()),
                removal: scope.command(&format!("cloudformation delete-stack --stack-name {name}")),
            });
        }
    }
    Ok(leftovers)
}

/// Log groups by name: the cluster's own and those of Container Insights.
pub(super) async fn log_groups(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let cluster = scope.names.cluster();
    let mut leftovers = Vec::new();
    for prefix in [
        format!("/aws/eks/{cluster}/"),
        format!("/aws/containerinsights/{cluster}/"),
    ] {
        let mut pages = scope
            .clients
            .logs
            .describe_log_groups()
            .log_group_name_prefix(&prefix)
            .into_paginator()
            .items()
            .send();
        while let Some(group) = pages.next().await {
            let group = group.map_err(failed("the log groups"))?;
            let name = group.log_group_name().unwrap_or_default();
            leftovers.push(Leftover {
                kind: "log group".into(),
                arn: group.arn().unwrap_or(name).to_owned(),
                reason: format!("its name begins with {prefix}"),
                removal: scope.command(&format!("logs delete-log-group --log-group-name {name}")),
            });
        }
    }
    Ok(leftovers)
}

/// X-Ray groups by name.
pub(super) async fn trace_groups(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let mut pages = scope
        .clients
        .xray
        .get_groups()
        .into_paginator()
        .items()
        .send();
    let mut leftovers = Vec::new();
    while let Some(group) = pages.next().await {
        let group = group.map_err(failed("the X-Ray groups"))?;
        if group.group_name() == Some(&scope.names.prefix()) {
            let arn = group.group_arn().unwrap_or_default().to_owned();
            leftovers.push(Leftover {
                kind: "X-Ray group".into(),
                reason: "it is named after the environment".into(),
                removal: scope.command(&format!("xray delete-group --group-arn {arn}")),
                arn,
            });
        }
    }
    Ok(leftovers)
}
