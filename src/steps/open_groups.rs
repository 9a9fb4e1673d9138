//! Rules of security groups that others open once, and that nobody opens again when a person takes them away.
//!
//! EKS looks after its cluster's group when the cluster is updated only, and the load balancer's controller after the
//! load balancer's when its Ingress changes.

use aws_sdk_elasticloadbalancingv2::types::LoadBalancer;
use serde_json::{Value, json};

use crate::clients::Clients;
use crate::clients::aws::failed_ec2;
use crate::engine::Result;

async fn described(clients: &Clients, groups: &[&str]) -> Result<Vec<Value>> {
    let listed = clients.ec2.list(
        "DescribeSecurityGroups",
        json!({ "GroupId": groups }),
        "securityGroupInfo",
    );
    listed
        .await
        .map_err(failed_ec2(format!("security group {}", groups.join(", "))))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether nodes, pods and control plane can reach each other: all in the cluster's group may reach all in it.
///
/// # Errors
/// What EC2 says.
pub async fn is_cluster_open(clients: &Clients, group: &str) -> Result<bool> {
    let found = described(clients, &[group]).await?;
    let mut rules = found
        .iter()
        .flat_map(|found| items(&found["ipPermissions"]));
    Ok(rules.any(|rule| {
        rule["ipProtocol"] == "-1" && items(&rule["groups"]).any(|of| of["groupId"] == group)
    }))
}

/// Lets all in the cluster's group reach all in it, as EKS does.
///
/// # Errors
/// What EC2 says.
pub async fn open_cluster(clients: &Clients, group: &str) -> Result<()> {
    let rule = json!({
        "GroupId": group,
        "IpPermissions": [{"IpProtocol": "-1", "Groups": [{"GroupId": group}]}],
    });
    match clients
        .ec2
        .call("AuthorizeSecurityGroupIngress", rule)
        .await
    {
        Err(error) if error.code() != Some("InvalidPermission.Duplicate") => {
            Err(failed_ec2(format!("security group {group}"))(error))
        }
        _ => Ok(()),
    }
}

/// The load balancer's groups when none of them lets anybody in by that port.
///
/// # Errors
/// What EC2 says.
pub async fn closed_entrance(
    clients: &Clients,
    balancer: &LoadBalancer,
    port: u16,
) -> Result<Option<String>> {
    let groups: Vec<&str> = balancer
        .security_groups()
        .iter()
        .map(String::as_str)
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let found = described(clients, &groups).await?;
    let mut rules = found
        .iter()
        .flat_map(|found| items(&found["ipPermissions"]));
    let port = i64::from(port);
    let is_open = rules.any(|rule| {
        let bound = |name: &str| {
            let text = rule[name].as_str().and_then(|text| text.parse().ok());
            rule[name].as_i64().or(text)
        };
        let from = bound("fromPort").unwrap_or(0);
        let to = bound("toPort").unwrap_or(i64::from(u16::MAX));
        ["tcp", "-1"]
            .iter()
            .any(|protocol| rule["ipProtocol"] == *protocol)
            && (from..=to).contains(&port)
    });
    Ok((!is_open).then(|| groups.join(", ")))
}
