//! What can be known to fail is said before anything is made: permissions and quotas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_iam::types::PolicyEvaluationDecisionType;
use serde_json::json;

pub use crate::check::{Check, Verdict};
use crate::clients::Clients;
use crate::clients::aws::failed_ec2;
use crate::clients::identity::Identity;
use crate::clients::stacks;
use crate::config::{Environment, Names, Nat};
use crate::engine::{Change, Context, Expected, Failure, Observed, Result, Step, StepId};
use crate::mesh::MeshProvider;

/// VPCs that a region allows unless the quota was raised.
const USUAL_VPCS: usize = 5;

/// Actions a run needs beside the mesh's; a handful of each service stands for what is usually granted together.
const ACTIONS: &[&str] = &[
    "cloudformation:CreateChangeSet",
    "cloudformation:CreateStack",
    "cloudformation:DeleteStack",
    "cloudformation:DescribeStackDriftDetectionStatus",
    "cloudformation:DescribeStackEvents",
    "cloudformation:DescribeStackResourceDrifts",
    "cloudformation:DescribeStackResources",
    "cloudformation:DescribeStacks",
    "cloudformation:DetectStackDrift",
    "cloudformation:ExecuteChangeSet",
    "cloudformation:UpdateStack",
    "ec2:AllocateAddress",
    "ec2:AttachInternetGateway",
    "ec2:CreateInternetGateway",
    "ec2:CreateLaunchTemplate",
    "ec2:CreateNatGateway",
    "ec2:CreateRoute",
    "ec2:CreateRouteTable",
    "ec2:CreateSubnet",
    "ec2:CreateTags",
    "ec2:CreateVpc",
    "ec2:DeleteVpc",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:RunInstances",
    "ecr:CreateRepository",
    "ecr:DeleteRepository",
    "ecr:DescribeImages",
    "ecr:GetAuthorizationToken",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "eks:AssociateAccessPolicy",
    "eks:CreateAccessEntry",
    "eks:CreateAddon",
    "eks:CreateCluster",
    "eks:CreateNodegroup",
    "eks:DeleteCluster",
    "eks:DeleteNodegroup",
    "eks:DescribeCluster",
    "eks:DescribeClusterVersions",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTags",
    "iam:AttachRolePolicy",
    "iam:CreateOpenIDConnectProvider",
    "iam:CreateRole",
    "iam:CreateServiceLinkedRole",
    "iam:DeleteRole",
    "iam:GetRole",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "iam:TagRole",
    "logs:CreateLogGroup",
    "logs:DeleteLogGroup",
    "logs:PutRetentionPolicy",
];

/// The checks of account and region, all of them, whatever comes out.
///
/// # Errors
/// When not even the caller's identity can be had.
pub async fn checks(
    environment: &Environment,
    clients: &Clients,
    mesh: &dyn MeshProvider,
) -> Result<Vec<Check>> {
    let identity = clients.identity().await?;
    let actions = [ACTIONS, mesh.actions()].concat();
    let (permissions, quotas) = futures::join!(
        permissions(environment, clients, identity, &actions),
        quotas(environment, clients)
    );
    let mut checks = vec![Check {
        code: "identity",
        title: format!("{} in {}", identity.arn, clients.region()),
        verdict: Verdict::Passed,
        hint: None,
    }];
    checks.push(permissions);
    checks.extend(quotas);
    checks.extend(mesh.quotas());
    Ok(checks)
}

/// Whether the mesh can be had with this account and region.
pub async fn mesh(mesh: &dyn MeshProvider) -> Check {
    let check = |verdict, hint| Check {
        code: "mesh",
        title: format!("{} control plane", mesh.title()),
        verdict,
        hint,
    };
    match mesh.preflight().await {
        Ok(()) => check(Verdict::Passed, None),
        Err(failure) => check(Verdict::Failed(failure.message), failure.hint),
    }
}

async fn permissions(
    environment: &Environment,
    clients: &Clients,
    identity: &Identity,
    actions: &[&str],
) -> Check {
    let check = |verdict, hint: Option<&str>| Check {
        code: "permissions",
        title: format!("permissions of {}", identity.principal),
        verdict,
        hint: hint.map(str::to_owned),
    };
    let denied = match denied(clients, identity, actions, &[]).await {
        Ok(denied) => denied,
        // Not to be allowed to simulate says nothing about being allowed to act.
        Err(reason) => return check(Verdict::Warning(format!("not checked: {reason}")), None),
    };
    // Permissions may be limited to the environment's own resources: only what is refused there too is missing.
    let mut missing = BTreeSet::new();
    let mut by_service: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for action in &denied {
        by_service
            .entry(action.split(':').next().unwrap_or_default())
            .or_default()
            .push(action);
    }
    for (service, actions) in by_service {
        let resources = resources(service, environment, clients, identity);
        if resources.is_empty() {
            missing.extend(actions.iter().map(|action| (*action).to_owned()));
            continue;
        }
        match self::denied(clients, identity, &actions, &resources).await {
            Ok(denied) => missing.extend(denied),
            Err(reason) => return check(Verdict::Warning(format!("not checked: {reason}")), None),
        }
    }
    if missing.is_empty() {
        return check(Verdict::Passed, None);
    }
    let list: Vec<String> = missing.into_iter().collect();
    check(
        Verdict::Failed(format!("not allowed: {}", list.join(", "))),
        Some("ask for these permissions, or name another profile with --profile"),
    )
}

/// The environment's own resources of a service that permissions may be limited to.
fn resources(
    service: &str,
    environment: &Environment,
    clients: &Clients,
    identity: &Identity,
) -> Vec<String> {
    let names = Names::new(&environment.name);
    let Identity {
        partition, account, ..
    } = identity;
    let region = clients.region();
    let prefix = names.prefix();
    match service {
        "cloudformation" => vec![format!(
            "arn:{partition}:cloudformation:{region}:{account}:stack/{prefix}-network/x"
        )],
        "ecr" => vec![format!(
            "arn:{partition}:ecr:{region}:{account}:repository/{prefix}/frontend"
        )],
        "eks" => vec![format!(
            "arn:{partition}:eks:{region}:{account}:cluster/{}",
            names.cluster()
        )],
        "iam" => vec![format!(
            "arn:{partition}:iam::{account}:role/{prefix}-cluster"
        )],
        "logs" => vec![format!(
            "arn:{partition}:logs:{region}:{account}:log-group:{}",
            names.log_group()
        )],
        _ => Vec::new(),
    }
}

/// Which of the actions the caller may not do, by IAM's own simulation.
async fn denied(
    clients: &Clients,
    identity: &Identity,
    actions: &[&str],
    resources: &[String],
) -> std::result::Result<Vec<String>, String> {
    let mut pages = clients
        .iam
        .simulate_principal_policy()
        .policy_source_arn(&identity.principal)
        .set_action_names(Some(
            actions.iter().map(|&action| action.to_owned()).collect(),
        ))
        .set_resource_arns((!resources.is_empty()).then(|| resources.to_vec()))
        .into_paginator()
        .items()
        .send();
    let mut denied = Vec::new();
    while let Some(result) = pages.next().await {
        let result = result.map_err(|error| {
            crate::clients::aws::code(&error)
                .unwrap_or("IAM does not answer")
                .to_owned()
        })?;
        if result.eval_decision != PolicyEvaluationDecisionType::Allowed {
            denied.push(result.eval_action_name);
        }
    }
    Ok(denied)
}

/// Quotas that a new network runs into; nothing to check once it is there.
async fn quotas(environment: &Environment, clients: &Clients) -> Vec<Check> {
    let name = Names::new(&environment.name).stack("network");
    if let Ok(Some(_)) = stacks::find(&clients.cloudformation, &name).await {
        return Vec::new();
    }
    let warning = |failure: Failure| {
        vec![Check {
            code: "quotas",
            title: "quotas of the network".into(),
            verdict: Verdict::Warning(format!("not checked: {}", failure.message)),
            hint: None,
        }]
    };
    match counted(clients).await {
        Ok(counts) => judge(&counts, environment.network.nat),
        Err(failure) => warning(failure),
    }
}

struct Counts {
    vpcs: usize,
    addresses: usize,
    greatest_addresses: Option<usize>,
}

async fn counted(clients: &Clients) -> Result<Counts> {
    let ec2 = &clients.ec2;
    let attributes = json!({ "AttributeName": ["vpc-max-elastic-ips"] });
    let (vpcs, addresses, attributes) = futures::try_join!(
        ec2.list("DescribeVpcs", json!({}), "vpcSet"),
        ec2.list("DescribeAddresses", json!({}), "addressesSet"),
        ec2.list(
            "DescribeAccountAttributes",
            attributes,
            "accountAttributeSet"
        ),
    )
    .map_err(failed_ec2("the region's quotas"))?;
    let greatest = attributes.iter().find_map(|attribute| {
        let value = attribute["attributeValueSet"][0]["attributeValue"].as_str()?;
        value.parse().ok()
    });
    Ok(Counts {
        vpcs: vpcs.len(),
        addresses: addresses.len(),
        greatest_addresses: greatest,
    })
}

fn judge(counts: &Counts, nat: Nat) -> Vec<Check> {
    let needed = match nat {
        Nat::Single => 1,
        Nat::PerZone => 3,
    };
    let vpcs = Check {
        code: "quota-vpcs",
        title: format!("{} VPCs in use", counts.vpcs),
        verdict: if counts.vpcs >= USUAL_VPCS {
            Verdict::Warning(format!(
                "a region allows {USUAL_VPCS} unless the quota was raised"
            ))
        } else {
            Verdict::Passed
        },
        hint: None,
    };
    let addresses = match counts.greatest_addresses {
        Some(greatest) if counts.addresses + needed > greatest => Check {
            code: "quota-addresses",
            title: format!("{} of {greatest} elastic addresses in use", counts.addresses),
            verdict: Verdict::Failed(format!("the NAT gateways need {needed} more")),
            hint: Some(
                "release one, or raise the quota `EC2-VPC Elastic IPs` in the Service Quotas console"
                    .into(),
            ),
        },
        _ => Check {
            code: "quota-addresses",
            title: format!("{} elastic addresses in use", counts.addresses),
            verdict: Verdict::Passed,
            hint: None,
        },
    };
    vec![vpcs, addresses]
}

/// The checks as a step that everything waits for. It makes nothing.
pub struct Preflight {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// Its mesh.
    pub mesh: Arc<dyn MeshProvider>,
}

impl Step for Preflight {
    type Outputs = ();
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "preflight".into()
    }

    fn title(&self) -> String {
        "permissions and quotas".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(2, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<()>> {
        let checks = checks(&self.environment, &self.clients, &*self.mesh).await?;
        let mut reasons = Vec::new();
        for check in checks {
            let title = check.title;
            let hint = check
                .hint
                .map_or_else(String::new, |hint| format!(" ({hint})"));
            match check.verdict {
                Verdict::Passed | Verdict::Skipped(_) => {}
                Verdict::Warning(warning) => cx.warn(format!("{title}: {warning}{hint}")),
                Verdict::Failed(reason) => reasons.push(format!("{title}: {reason}{hint}")),
            }
        }
        // There is nothing that could be left behind, so `down` finds nothing to do here.
        Ok(if reasons.is_empty() {
            Observed::Absent
        } else {
            Observed::Failed(reasons.join("; "))
        })
    }

    fn plan(&self, seen: &Observed<()>) -> Change {
        match seen {
            Observed::Failed(reason) => Change::Blocked(reason.clone()),
            _ => Change::Keep,
        }
    }

    async fn apply(&self, _: &Context, _: &Change) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_addresses_fail_before_anything_is_made() {
        let counts = |addresses, greatest| Counts {
            vpcs: 1,
            addresses,
            greatest_addresses: greatest,
        };
        let verdict = |counts: Counts, nat| judge(&counts, nat).remove(1).verdict;
        assert_eq!(verdict(counts(4, Some(5)), Nat::Single), Verdict::Passed);
        assert!(matches!(
            verdict(counts(5, Some(5)), Nat::Single),
            Verdict::Failed(_)
        ));
        assert!(matches!(
            verdict(counts(3, Some(5)), Nat::PerZone),
            Verdict::Failed(_)
        ));
        assert_eq!(verdict(counts(50, None), Nat::Single), Verdict::Passed);
    }
}
