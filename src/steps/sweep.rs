//! What is left in the VPC by programs that are gone: load balancers, their target groups and security groups, and
//! interfaces nobody uses. All of it would block the network's deletion.
//!
//! The load-balancer controller removes what it made when its objects are deleted. With the cluster dead nobody does,
//! so this goes by the tags that the controller leaves on everything.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::Clients;
use crate::clients::aws::{failed, failed_ec2, foreign, is};
use crate::clients::eks;
use crate::config::{Environment, Names, OWNER_TAG};
use crate::ec2;
use crate::engine::{
    Change, Context, Expected, Failure, Observed, Poll, Result, Step, StepId, Wait,
};

/// The tag of the load-balancer controller on everything it makes; its value is the cluster's name.
pub const CLUSTER_TAG: &str = "elbv2.k8s.aws/cluster";

/// What the load-balancer controller made for a cluster and is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// ARNs of load balancers.
    pub load_balancers: Vec<String>,
    /// ARNs of target groups.
    pub target_groups: Vec<String>,
    /// Ids of security groups.
    pub security_groups: Vec<String>,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.load_balancers.is_empty()
            && self.target_groups.is_empty()
            && self.security_groups.is_empty()
    }
}

/// Removes what a load-balancer controller that is gone has left. Nothing on the way up.
pub struct LoadBalancerSweep {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
}

impl Step for LoadBalancerSweep {
    type Outputs = ();

    fn id(&self) -> StepId {
        "load-balancer-sweep".into()
    }

    fn title(&self) -> String {
        "what the load-balancer controller leaves behind".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(0, 5)
    }

    async fn observe(&self, _: &Context) -> Result<Observed<()>> {
        let remains = remains(&self.clients, &self.environment.name).await?;
        Ok(if remains.is_empty() {
            Observed::Absent
        } else {
            Observed::ready(())
        })
    }

    /// What is there while the environment lives is the controller's business.
    fn plan(&self, _: &Observed<()>) -> Change {
        Change::Keep
    }

    async fn apply(&self, _: &Context, _: &Change) -> Result<()> {
        Ok(())
    }

    async fn destroy(&self, cx: &Context, _: &Observed<()>) -> Result<()> {
        let remains = remains(&self.clients, &self.environment.name).await?;
        delete_load_balancers(cx, &self.clients, &remains.load_balancers).await?;
        delete_target_groups(cx, &self.clients, &remains.target_groups).await?;
        for group in &remains.security_groups {
            delete_security_group(cx, &self.clients, group).await?;
        }
        Ok(())
    }
}

/// What the load-balancer controller made for the environment's cluster and is still there. A cluster of that name that is
/// somebody else's has a controller of theirs.
///
/// # Errors
/// When EKS, ELB or EC2 do not answer.
pub async fn remains(clients: &Clients, environment: &str) -> Result<Remains> {
    let cluster = &Names::new(environment).cluster();
    if let Some(live) = eks::find_cluster(&clients.eks, cluster).await? {
        let owner = live.tags().and_then(|tags| tags.get(OWNER_TAG));
        if foreign(owner.map(String::as_str), environment).is_some() {
            return Ok(Remains::default());
        }
    }
    let (load_balancers, target_groups, security_groups) = futures::try_join!(
        async { tagged(clients, load_balancers(clients).await?, cluster).await },
        async { tagged(clients, target_groups(clients).await?, cluster).await },
        tagged_security_groups(clients, cluster),
    )?;
    Ok(Remains {
        load_balancers,
        target_groups,
        security_groups,
    })
}

async fn load_balancers(clients: &Clients) -> Result<Vec<String>> {
    let mut pages = clients
        .load_balancing
        .describe_load_balancers()
        .into_paginator()
        .items()
        .send();
    let mut arns = Vec::new();
    while let Some(found) = pages.next().await {
        let found = found.map_err(failed("the load balancers"))?;
        arns.extend(found.load_balancer_arn);
    }
    Ok(arns)
}

async fn target_groups(clients: &Clients) -> Result<Vec<String>> {
    let mut pages = clients
        .load_balancing
        .describe_target_groups()
        .into_paginator()
        .items()
        .send();
    let mut arns = Vec::new();
    while let Some(found) = pages.next().await {
        let found = found.map_err(failed("the target groups"))?;
        arns.extend(found.target_group_arn);
    }
    Ok(arns)
}

/// Those of the resources that carry the cluster's tag.
async fn tagged(clients: &Clients, arns: Vec<String>, cluster: &str) -> Result<Vec<String>> {
    let mut ours = Vec::new();
    // DescribeTags takes twenty at a time.
    for some in arns.chunks(20) {
        let described = clients
            .load_balancing
            .describe_tags()
            .set_resource_arns(Some(some.to_vec()))
            .send()
            .await
            .map_err(failed("the tags of load balancers"))?;
        for resource in described.tag_descriptions.unwrap_or_default() {
            let is_ours = resource
                .tags()
                .iter()
                .any(|tag| tag.key() == Some(CLUSTER_TAG) && tag.value() == Some(cluster));
            if is_ours {
                ours.extend(resource.resource_arn);
            }
        }
    }
    Ok(ours)
}

async fn tagged_security_groups(clients: &Clients, cluster: &str) -> Result<Vec<String>> {
    let input = json!({ "Filter": [{ "Name": format!("tag:{CLUSTER_TAG}"), "Value": [cluster] }] });
    let groups = clients
        .ec2
        .list("DescribeSecurityGroups", input, "securityGroupInfo")
        .await
        .map_err(failed_ec2("the security groups of load balancers"))?;
    Ok(ids(&groups, "groupId"))
}

fn ids(resources: &[Value], key: &str) -> Vec<String> {
    resources
        .iter()
        .filter_map(|resource| resource[key].as_str().map(str::to_owned))
        .collect()
}

async fn delete_load_balancers(cx: &Context, clients: &Clients, arns: &[String]) -> Result<()> {
    for arn in arns {
        cx.progress(format!("deleting {}", last_part(arn)));
        clients
            .load_balancing
            .delete_load_balancer()
            .load_balancer_arn(arn)
            .send()
            .await
            .map_err(failed(format!("load balancer {arn}")))?;
    }
    for arn in arns {
        let wait = Wait::new(format!("load balancer {arn}"), Duration::from_secs(10 * 60));
        cx.wait_for(wait, async || {
            let described = clients
                .load_balancing
                .describe_load_balancers()
                .load_balancer_arns(arn)
                .send()
                .await;
            match described {
                Ok(described) if described.load_balancers().is_empty() => Ok(Poll::Ready(())),
                Ok(_) => Ok(Poll::Pending("deleting".into())),
                Err(error) if is(&error, "LoadBalancerNotFound") => Ok(Poll::Ready(())),
                Err(error) => Err(failed(format!("load balancer {arn}"))(error)),
            }
        })
        .await?;
    }
    Ok(())
}

async fn delete_target_groups(cx: &Context, clients: &Clients, arns: &[String]) -> Result<()> {
    for arn in arns {
        let title = format!("target group {arn}");
        cx.wait_for(Wait::new(&title, Duration::from_secs(5 * 60)), async || {
            let deleted = clients
                .load_balancing
                .delete_target_group()
                .target_group_arn(arn)
                .send()
                .await;
            match deleted {
                Ok(_) => Ok(Poll::Ready(())),
                Err(error) if is(&error, "TargetGroupNotFound") => Ok(Poll::Ready(())),
                // Listeners let go of it a moment after their load balancer is gone.
                Err(error) if is(&error, "ResourceInUse") => {
                    Ok(Poll::Pending("still in use by a listener".into()))
                }
                Err(error) => Err(failed(title.clone())(error)),
            }
        })
        .await?;
    }
    Ok(())
}

/// Takes away the rules of other groups that refer to those of our load balancer, which cannot be deleted before.
///
/// # Errors
/// When EC2 refuses or does not answer.
pub(super) async fn let_go_of_groups(clients: &Clients, environment: &str) -> Result<()> {
    let cluster = Names::new(environment).cluster();
    for id in tagged_security_groups(clients, &cluster).await? {
        let_go_of(clients, &id).await?;
    }
    Ok(())
}

async fn let_go_of(clients: &Clients, id: &str) -> Result<()> {
    let title = format!("security group {id}");
    let input = json!({ "Filter": [{ "Name": "ip-permission.group-id", "Value": [id] }] });
    let referring = clients
        .ec2
        .list("DescribeSecurityGroups", input, "securityGroupInfo")
        .await
        .map_err(failed_ec2(&title))?;
    for group in &referring {
        let permissions = referring_permissions(group, id);
        if permissions.is_empty() {
            continue;
        }
        let input = json!({ "GroupId": group["groupId"], "IpPermissions": permissions });
        let revoked = clients.ec2.call("RevokeSecurityGroupIngress", input).await;
        match revoked {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(failed_ec2(&title)(error)),
        }
    }
    Ok(())
}

/// Deletes a security group, the rules of other groups that refer to it first.
async fn delete_security_group(cx: &Context, clients: &Clients, id: &str) -> Result<()> {
    let title = format!("security group {id}");
    let_go_of(clients, id).await?;
    let wait = Wait::new(&title, Duration::from_secs(5 * 60))
        .hint("`meshctl audit` lists what still uses it");
    cx.wait_for(wait, async || {
        let deleted = clients
            .ec2
            .call("DeleteSecurityGroup", json!({ "GroupId": id }))
            .await;
        match deleted {
            Ok(_) => Ok(Poll::Ready(())),
            Err(error) if error.is_not_found() => Ok(Poll::Ready(())),
            // Interfaces let go of it minutes after their load balancer is gone.
            Err(error) if error.is_dependency_violation() => {
                Ok(Poll::Pending("still in use".into()))
            }
            Err(error) => Err(failed_ec2(&title)(error)),
        }
    })
    .await
}

/// The group's ingress rules that name `id`, reduced to that, in the form that revokes them.
fn referring_permissions(group: &Value, id: &str) -> Vec<Value> {
    let permissions = group["ipPermissions"].as_array();
    permissions
        .into_iter()
        .flatten()
        .filter(|permission| {
            permission["groups"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|pair| pair["groupId"] == id)
        })
        .map(|permission| {
            json!({
                "IpProtocol": permission["ipProtocol"],
                "FromPort": permission["fromPort"],
                "ToPort": permission["toPort"],
                "Groups": [{ "GroupId": id }],
            })
        })
        .collect()
}

/// Deletes the VPC's interfaces that were made for our cluster and that nobody uses any more.
///
/// # Errors
/// When EC2 refuses or does not answer.
pub(super) async fn network_interfaces(
    cx: &Context,
    clients: &Clients,
    environment: &str,
    vpc: &str,
) -> Result<()> {
    let cluster = Names::new(environment).cluster();
    for interface in interfaces(clients, vpc).await? {
        let id = interface["networkInterfaceId"].as_str();
        let Some(id) = id.filter(|_| is_unused(&interface) && is_ours(&interface, &cluster)) else {
            continue;
        };
        cx.progress(format!("deleting the unused interface {id}"));
        let input = json!({ "NetworkInterfaceId": id });
        match clients.ec2.call("DeleteNetworkInterface", input).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(failed_ec2(format!("network interface {id}"))(error)),
        }
    }
    Ok(())
}

async fn interfaces(clients: &Clients, vpc: &str) -> Result<Vec<Value>> {
    let listed = clients
        .ec2
        .list("DescribeNetworkInterfaces", of(vpc), "networkInterfaceSet");
    listed
        .await
        .map_err(failed_ec2(format!("network interfaces of {vpc}")))
}

/// Asks EC2 for what is in the VPC.
fn of(vpc: &str) -> Value {
    json!({ "Filter": [{ "Name": "vpc-id", "Value": [vpc] }] })
}

fn is_unused(interface: &Value) -> bool {
    interface["status"] == "available"
}

/// Whether an interface was made for our cluster: by its control plane, by a load balancer of it, or on its nodes by the
/// VPC CNI, which leaves those behind whose node went too quickly.
fn is_ours(interface: &Value, cluster: &str) -> bool {
    let description = interface["description"].as_str().unwrap_or_default();
    description == format!("Amazon EKS {cluster}")
        || description.starts_with("aws-K8S-i-")
        || description.starts_with("ELB ")
        || ec2::tag(interface, "cluster.k8s.amazonaws.com/name") == Some(cluster)
        || ec2::tag(interface, "node.k8s.amazonaws.com/instance_id").is_some()
}

/// What other people have in the VPC, in words; it keeps the network, and only they can say whether it may go.
///
/// # Errors
/// When EC2 does not answer.
pub(super) async fn strangers(
    clients: &Clients,
    environment: &str,
    vpc: &str,
) -> Result<Vec<String>> {
    let cluster = Names::new(environment).cluster();
    let mut strangers = Vec::new();
    for interface in interfaces(clients, vpc).await? {
        let text = |field: &str| interface[field].as_str().unwrap_or_default();
        if is_ours(&interface, &cluster) || interface["requesterManaged"] == "true" {
            continue;
        }
        let description = match text("description") {
            "" => String::new(),
            words => format!(" \"{words}\""),
        };
        strangers.push(format!(
            "network interface {}{description} in {}",
            text("networkInterfaceId"),
            text("subnetId")
        ));
    }
    let groups = security_groups_of(clients, vpc).await?;
    for group in &groups {
        let text = |field: &str| group[field].as_str().unwrap_or_default();
        let is_made = ec2::tag(group, "aws:cloudformation:stack-name").is_some();
        if !is_made && !is_of_cluster(group, &cluster) && text("groupName") != "default" {
            strangers.push(format!(
                "security group {} \"{}\"",
                text("groupId"),
                text("groupName")
            ));
        }
    }
    Ok(strangers)
}

async fn security_groups_of(clients: &Clients, vpc: &str) -> Result<Vec<Value>> {
    let listed = clients
        .ec2
        .list("DescribeSecurityGroups", of(vpc), "securityGroupInfo");
    listed
        .await
        .map_err(failed_ec2(format!("security groups of {vpc}")))
}

/// Whether EKS or the load-balancer controller made a security group for the cluster.
fn is_of_cluster(group: &Value, cluster: &str) -> bool {
    let made_for = |key| ec2::tag(group, key) == Some(cluster);
    made_for(CLUSTER_TAG) || made_for("aws:eks:cluster-name")
}

/// Deletes the VPC's security groups that EKS or the load-balancer controller made for our cluster.
///
/// # Errors
/// When EC2 refuses or does not answer.
pub(super) async fn security_groups(
    cx: &Context,
    clients: &Clients,
    environment: &str,
    vpc: &str,
) -> Result<()> {
    let cluster = Names::new(environment).cluster();
    for group in security_groups_of(clients, vpc).await? {
        if !is_of_cluster(&group, &cluster) {
            continue;
        }
        let id = group["groupId"]
            .as_str()
            .ok_or_else(|| Failure::new(format!("security groups of {vpc}"), "one has no id"))?;
        delete_security_group(cx, clients, id).await?;
    }
    Ok(())
}

/// The part of an ARN that people know.
fn last_part(arn: &str) -> &str {
    arn.splitn(6, ':').nth(5).unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_others_are_told_apart() {
        let ours = |interface: Value| is_ours(&interface, "meshctl-demo");
        assert!(ours(json!({"description": "aws-K8S-i-0123456789abcdef0"})));
        assert!(ours(json!({"description": "ELB app/k8s-demo/1"})));
        assert!(ours(json!({"description": "Amazon EKS meshctl-demo"})));
        assert!(ours(json!({"tagSet": [
            {"key": "cluster.k8s.amazonaws.com/name", "value": "meshctl-demo"},
        ]})));
        assert!(!ours(json!({"description": "Amazon EKS other"})));
        assert!(!ours(json!({"description": ""})));
        assert!(!ours(json!({"tagSet": [
            {"key": "cluster.k8s.amazonaws.com/name", "value": "other"},
        ]})));
    }

    #[test]
    fn only_rules_that_name_the_group_are_revoked() {
        let group = json!({
            "groupId": "sg-nodes",
            "ipPermissions": [
                { "ipProtocol": "tcp", "fromPort": "8080", "toPort": "8080",
                  "groups": [{ "groupId": "sg-lb" }, { "groupId": "sg-other" }] },
                { "ipProtocol": "-1", "groups": [{ "groupId": "sg-nodes" }] },
            ],
        });
        assert_eq!(
            referring_permissions(&group, "sg-lb"),
            [json!({
                "IpProtocol": "tcp", "FromPort": "8080", "ToPort": "8080",
                "Groups": [{ "GroupId": "sg-lb" }],
            })]
        );
    }
}
