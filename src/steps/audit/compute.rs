//! What is left in EC2 and Elastic Load Balancing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Leftover, Scope};
use crate::clients::aws::failed_ec2;
use crate::config::OWNER_TAG;
use crate::engine::Result;
use crate::steps::sweep::{self, CLUSTER_TAG};

/// What the load-balancer controller made.
pub(super) async fn load_balancing(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let cluster = scope.names.cluster();
    let remains = sweep::remains(scope.clients, &scope.environment.name).await?;
    let reason = format!("tag {CLUSTER_TAG}={cluster}");
    let leftover = |kind: &str, arn: String, removal: String| Leftover {
        kind: kind.to_owned(),
        removal: scope.command(&removal),
        reason: reason.clone(),
        arn,
    };
    let balancers = remains.load_balancers.into_iter().map(|arn| {
        let removal = format!("elbv2 delete-load-balancer --load-balancer-arn {arn}");
        leftover("load balancer", arn, removal)
    });
    let targets = remains.target_groups.into_iter().map(|arn| {
        let removal = format!("elbv2 delete-target-group --target-group-arn {arn}");
        leftover("target group", arn, removal)
    });
    let groups = remains.security_groups.into_iter().map(|id| {
        let removal = format!("ec2 delete-security-group --group-id {id}");
        leftover(
            "security group",
            scope.arn("ec2", &format!("security-group/{id}")),
            removal,
        )
    });
    Ok(balancers.chain(targets).chain(groups).collect())
}

/// Everything in EC2 that carries a tag of the environment or its cluster: one question for all kinds.
pub(super) async fn tagged(scope: &Scope<'_>) -> Result<Vec<Leftover>> {
    let cluster = scope.names.cluster();
    // Key and value of every tag that says whose a thing is: ours, the controllers', the VPC CNI's, EKS's.
    let ours = [
        (OWNER_TAG.to_owned(), scope.environment.name.clone()),
        (CLUSTER_TAG.to_owned(), cluster.clone()),
        (
            format!("kubernetes.io/cluster/{cluster}"),
            "owned".to_owned(),
        ),
        ("aws:eks:cluster-name".to_owned(), cluster.clone()),
        ("eks:cluster-name".to_owned(), cluster.clone()),
        ("cluster.k8s.amazonaws.com/name".to_owned(), cluster.clone()),
        ("ebs.csi.aws.com/cluster-name".to_owned(), cluster),
    ];
    let keys: Vec<&str> = ours.iter().map(|(key, _)| key.as_str()).collect();
    let input = json!({ "Filter": [{ "Name": "key", "Value": keys }] });
    let tags = scope
        .clients
        .ec2
        .list("DescribeTags", input, "tagSet")
        .await
        .map_err(failed_ec2("the tags of EC2 resources"))?;
    let mut found: BTreeMap<(String, String), String> = BTreeMap::new();
    for tag in &tags {
        let text = |name: &str| tag[name].as_str().unwrap_or_default().to_owned();
        let pair = (text("key"), text("value"));
        if ours.contains(&pair) {
            found
                .entry((text("resourceType"), text("resourceId")))
                .or_insert_with(|| format!("tag {}={}", pair.0, pair.1));
        }
    }
    // What is gone keeps its tags for an hour.
    let dead = gone(scope, &found).await?;
    Ok(found
        .into_iter()
        .filter(|((_, id), _)| !dead.contains(id))
        .map(|((kind, id), reason)| Leftover {
            arn: scope.arn("ec2", &format!("{kind}/{id}")),
            reason,
            removal: scope.command(&removal(&kind, &id)),
            kind: title(&kind).to_owned(),
        })
        .collect())
}

/// The instances and NAT gateways that are gone, though EC2 still tells of them.
async fn gone(
    scope: &Scope<'_>,
    found: &BTreeMap<(String, String), String>,
) -> Result<Vec<String>> {
    let of = |wanted: &str| -> Vec<&str> {
        found
            .keys()
            .filter(|(kind, _)| kind == wanted)
            .map(|(_, id)| id.as_str())
            .collect()
    };
    let mut dead = Vec::new();
    let instances = of("instance");
    if !instances.is_empty() {
        let input = json!({ "Filter": [{ "Name": "instance-id", "Value": instances }] });
        let reservations = scope
            .clients
            .ec2
            .list("DescribeInstances", input, "reservationSet")
            .await
            .map_err(failed_ec2("the instances"))?;
        let described: Vec<&Value> = reservations
            .iter()
            .filter_map(|reservation| reservation["instancesSet"].as_array())
            .flatten()
            .collect();
        dead.extend(dead_of(&instances, &described, "instanceId", |instance| {
            instance["instanceState"]["name"] == "terminated"
        }));
    }
    let gateways = of("natgateway");
    if !gateways.is_empty() {
        let input = json!({ "Filter": [{ "Name": "nat-gateway-id", "Value": gateways }] });
        let described = scope
            .clients
            .ec2
            .list("DescribeNatGateways", input, "natGatewaySet")
            .await
            .map_err(failed_ec2("the NAT gateways"))?;
        let described: Vec<&Value> = described.iter().collect();
        dead.extend(dead_of(&gateways, &described, "natGatewayId", |gateway| {
            gateway["state"] == "deleted"
        }));
    }
    Ok(dead)
}

/// Those of `ids` that are no longer described, or are described as gone.
fn dead_of(
    ids: &[&str],
    described: &[&Value],
    key: &str,
    is_gone: impl Fn(&Value) -> bool,
) -> Vec<String> {
    ids.iter()
        .filter(|id| {
            described
                .iter()
                .find(|resource| resource[key] == **id)
                .is_none_or(|resource| is_gone(resource))
        })
        .map(|id| (*id).to_owned())
        .collect()
}

/// The kind as people know it.
fn title(kind: &str) -> &str {
    match kind {
        "vpc" => "VPC",
        "natgateway" => "NAT gateway",
        "elastic-ip" => "elastic address",
        "internet-gateway" => "internet gateway",
        "route-table" => "route table",
        "launch-template" => "launch template",
        "network-interface" => "network interface",
        "security-group" => "security group",
        other => other,
    }
}

fn removal(kind: &str, id: &str) -> String {
    let (command, option) = match kind {
        "vpc" => ("delete-vpc", "vpc-id"),
        "subnet" => ("delete-subnet", "subnet-id"),
        "natgateway" => ("delete-nat-gateway", "nat-gateway-id"),
        "elastic-ip" => ("release-address", "allocation-id"),
        "internet-gateway" => ("delete-internet-gateway", "internet-gateway-id"),
        "route-table" => ("delete-route-table", "route-table-id"),
        "launch-template" => ("delete-launch-template", "launch-template-id"),
        "network-interface" => ("delete-network-interface", "network-interface-id"),
        "security-group" => ("delete-security-group", "group-id"),
        "instance" => ("terminate-instances", "instance-ids"),
        "volume" => ("delete-volume", "volume-id"),
        // Rules and the like go with what they are part of; the console finds the rest by its id.
        _ => return format!("ec2 describe-tags --filters Name=resource-id,Values={id}"),
    };
    format!("ec2 {command} --{option} {id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ec2_no_longer_tells_of_is_gone() {
        let (alive, deleted) = (
            json!({ "natGatewayId": "nat-1", "state": "available" }),
            json!({ "natGatewayId": "nat-2", "state": "deleted" }),
        );
        let dead = dead_of(
            &["nat-1", "nat-2", "nat-3"],
            &[&alive, &deleted],
            "natGatewayId",
            |gateway| gateway["state"] == "deleted",
        );
        assert_eq!(dead, ["nat-2", "nat-3"]);
    }

    #[test]
    fn every_kind_has_a_command() {
        assert_eq!(
            removal("elastic-ip", "eipalloc-1"),
            "ec2 release-address --allocation-id eipalloc-1"
        );
    }
}
