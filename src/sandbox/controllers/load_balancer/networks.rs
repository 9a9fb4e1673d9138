//! Subnets and security groups: where a load balancer stands, who reaches it, and whom it may reach.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::runtime::Key;
use super::super::runtime::kinds::INGRESSES;
use super::super::runtime::object::{Meta, items, text};
use super::groups::{EXPLICIT_FINALIZER, GroupId, IMPLICIT_FINALIZER, tracking_tags};
use super::model::{Model, Tags};
use super::{Controller, TARGET_GROUP_BINDINGS, Trouble};

/// Marks the rules that TargetGroupBindings need.
const SHARED: &str = "elbv2.k8s.aws/targetGroupBinding=shared";
/// A load balancer takes up to this many addresses of a subnet.
const ADDRESSES: i64 = 8;
/// How long a security group that is still in use is asked for again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ports that one security group is to open: from which group, first and last port.
pub type Openings = BTreeMap<String, Vec<(String, i64, i64)>>;

/// Where a model's load balancer is placed.
pub struct Placement {
    /// Subnets, one per zone.
    pub subnets: Vec<String>,
    /// The shared backend security group, where rules towards the pods are managed.
    pub backend: Option<String>,
}

fn tag<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    items(&object["tagSet"])
        .iter()
        .find(|tag| tag["key"] == key)
        .map(|tag| text(&tag["value"]))
}

fn filter(name: &str, values: &[&str]) -> Value {
    json!({ "Name": name, "Value": values })
}

fn specification(kind: &str, tags: &Tags) -> Value {
    let tags: Vec<Value> = tags
        .iter()
        .map(|(key, value)| json!({ "Key": key, "Value": value }))
        .collect();
    json!([{ "ResourceType": kind, "Tag": tags }])
}

impl Controller {
    /// Finds subnets and, where it is needed, the shared backend security group.
    pub async fn place(&self, model: &Model) -> Result<Placement, Trouble> {
        let subnets = if model.subnets.is_empty() {
            self.discover_subnets(&model.scheme).await?
        } else {
            self.chosen_subnets(&model.subnets).await?
        };
        let managed = model.security_groups.is_empty();
        let wanted = if managed {
            self.flags.is("enable-backend-security-group")
        } else {
            self.flags.is("enable-manage-backend-security-group-rules")
        };
        let backend = if wanted {
            Some(self.backend_group().await?)
        } else {
            None
        };
        Ok(Placement { subnets, backend })
    }

    async fn chosen_subnets(&self, wanted: &[String]) -> Result<Vec<String>, Trouble> {
        let ids: Vec<&String> = wanted
            .iter()
            .filter(|id| id.starts_with("subnet-"))
            .collect();
        let names: Vec<&str> = wanted
            .iter()
            .filter(|id| !id.starts_with("subnet-"))
            .map(String::as_str)
            .collect();
        let mut found = Vec::new();
        if !ids.is_empty() {
            found = self
                .ec2
                .list("DescribeSubnets", json!({ "SubnetId": ids }), "subnetSet")
                .await?;
        }
        if !names.is_empty() {
            let filters =
                json!({ "Filter": [filter("vpc-id", &[&self.vpc]), filter("tag:Name", &names)] });
            found.extend(
                self.ec2
                    .list("DescribeSubnets", filters, "subnetSet")
                    .await?,
            );
        }
        if found.len() != wanted.len() {
            let ids: Vec<&str> = found
                .iter()
                .map(|subnet| text(&subnet["subnetId"]))
                .collect();
            return Err(
                format!("couldn't find all subnets, want: {wanted:?}, found: {ids:?}").into(),
            );
        }
        one_per_zone(&found, &self.name, true)
    }

    async fn discover_subnets(&self, scheme: &str) -> Result<Vec<String>, Trouble> {
        let role = if scheme == "internal" {
            "kubernetes.io/role/internal-elb"
        } else {
            "kubernetes.io/role/elb"
        };
        let filters = json!({ "Filter": [
            filter("vpc-id", &[&self.vpc]),
            filter(&format!("tag:{role}"), &["", "1"]),
        ] });
        let mut subnets = self
            .ec2
            .list("DescribeSubnets", filters, "subnetSet")
            .await
            .map_err(|error| format!("failed to list subnets by role tag: {error}"))?;
        if subnets.is_empty() {
            subnets = self.reachable_subnets(scheme != "internal").await?;
        }
        if subnets.is_empty() {
            return Err("unable to resolve at least one subnet (0 match VPC and tags)".into());
        }
        one_per_zone(&subnets, &self.name, false)
    }

    /// Without tagged subnets those count that lead to an internet gateway, or those that do not.
    async fn reachable_subnets(&self, public: bool) -> Result<Vec<Value>, Trouble> {
        let filters = json!({ "Filter": [filter("vpc-id", &[&self.vpc])] });
        let subnets = self
            .ec2
            .list("DescribeSubnets", filters.clone(), "subnetSet")
            .await
            .map_err(|error| format!("failed to list subnets by reachability: {error}"))?;
        let tables = self
            .ec2
            .list("DescribeRouteTables", filters, "routeTableSet")
            .await
            .map_err(|error| format!("failed to list subnets by reachability: {error}"))?;
        let leads_out = |table: &Value| {
            items(&table["routeSet"])
                .iter()
                .any(|route| text(&route["gatewayId"]).starts_with("igw-"))
        };
        let main = tables.iter().find(|table| {
            items(&table["associationSet"])
                .iter()
                .any(|association| association["main"] == "true")
        });
        Ok(subnets
            .into_iter()
            .filter(|subnet| {
                let own = tables.iter().find(|table| {
                    items(&table["associationSet"])
                        .iter()
                        .any(|association| association["subnetId"] == subnet["subnetId"])
                });
                own.or(main).is_some_and(leads_out) == public
            })
            .collect())
    }

    /// The shared backend security group; made when there is none.
    async fn backend_group(&self) -> Result<String, Trouble> {
        let given = self.flags.text("backend-security-group");
        if !given.is_empty() {
            return Ok(given.to_owned());
        }
        let mut known = self.backend.lock().await;
        if let Some(id) = &*known {
            return Ok(id.clone());
        }
        let id = match self.find_backend_group().await? {
            Some(id) => id,
            None => {
                let tags = Tags::from([
                    ("elbv2.k8s.aws/cluster".to_owned(), self.name.clone()),
                    ("elbv2.k8s.aws/resource".to_owned(), "backend-sg".to_owned()),
                ]);
                let name = self.backend_group_name();
                self.make_group(
                    &name,
                    "[k8s] Shared Backend SecurityGroup for LoadBalancer",
                    &tags,
                )
                .await?
            }
        };
        *known = Some(id.clone());
        Ok(id)
    }

    fn backend_group_name(&self) -> String {
        use sha2::{Digest, Sha256};
        let hash: String = Sha256::digest(self.name.as_bytes())
            .iter()
            .take(5)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name: String = self
            .name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(200)
            .collect();
        format!("k8s-traffic-{name}-{hash}")
    }

    async fn find_backend_group(&self) -> Result<Option<String>, Trouble> {
        let filters = json!({ "Filter": [
            filter("vpc-id", &[&self.vpc]),
            filter("tag:elbv2.k8s.aws/cluster", &[&self.name]),
            filter("tag:elbv2.k8s.aws/resource", &["backend-sg"]),
        ] });
        let found = self
            .ec2
            .list("DescribeSecurityGroups", filters, "securityGroupInfo")
            .await?;
        Ok(found
            .first()
            .map(|group| text(&group["groupId"]).to_owned()))
    }

    async fn make_group(
        &self,
        name: &str,
        description: &str,
        tags: &Tags,
    ) -> Result<String, Trouble> {
        let made = self
            .ec2
            .call(
                "CreateSecurityGroup",
                json!({
                    "VpcId": self.vpc,
                    "GroupName": name,
                    "GroupDescription": description,
                    "TagSpecification": specification("security-group", tags),
                }),
            )
            .await?;
        Ok(text(&made["groupId"]).to_owned())
    }

    /// Deletes the shared backend security group when no Ingress needs it any more; `leaving` is about to let go.
    pub async fn release_backend_group(&self, leaving: &GroupId) -> Result<(), Trouble> {
        if !self.flags.text("backend-security-group").is_empty() {
            return Ok(());
        }
        let needed = self.cluster.cache(&INGRESSES).all().iter().any(|ingress| {
            let own = if leaving.namespace.is_empty() {
                ingress.has_finalizer(&format!("{EXPLICIT_FINALIZER}{}", leaving.name))
            } else {
                ingress.key() == *leaving
            };
            !own && items(&ingress["metadata"]["finalizers"])
                .iter()
                .any(|entry| {
                    *entry == IMPLICIT_FINALIZER || text(entry).starts_with(EXPLICIT_FINALIZER)
                })
        });
        if needed {
            return Ok(());
        }
        let mut known = self.backend.lock().await;
        let id = match known.take() {
            Some(id) => Some(id),
            None => self.find_backend_group().await?,
        };
        if let Some(id) = id
            && let Err(error) = self.delete_group(&id).await
        {
            *known = Some(id);
            return Err(format!("failed to delete securityGroup: {error}").into());
        }
        Ok(())
    }

    async fn delete_group(&self, id: &str) -> Result<(), Trouble> {
        let begun = tokio::time::Instant::now();
        loop {
            match self
                .ec2
                .call("DeleteSecurityGroup", json!({ "GroupId": id }))
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => return Ok(()),
                // A load balancer lets go of its interfaces a while after it is gone.
                Err(error) if error.is_dependency_violation() && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn groups_of_stack(&self, id: &GroupId) -> Result<Vec<Value>, Trouble> {
        let tags = tracking_tags(&self.name, id, None);
        let mut filters = vec![filter("vpc-id", &[&self.vpc])];
        for (key, value) in &tags {
            filters.push(filter(&format!("tag:{key}"), &[value]));
        }
        Ok(self
            .ec2
            .list(
                "DescribeSecurityGroups",
                json!({ "Filter": filters }),
                "securityGroupInfo",
            )
            .await?)
    }

    /// The security group that a load balancer is reached through, open as the model says.
    pub async fn managed_group(&self, model: &Model) -> Result<String, Trouble> {
        let tags = model.tags_of(&self.name, "ManagedLBSecurityGroup", &model.tags);
        let found = self.groups_of_stack(&model.id).await?;
        let (id, present) = match found.first() {
            Some(group) => {
                let id = text(&group["groupId"]).to_owned();
                let missing: Vec<Value> = tags
                    .iter()
                    .filter(|(key, value)| tag(group, key) != Some(value))
                    .map(|(key, value)| json!({ "Key": key, "Value": value }))
                    .collect();
                if !missing.is_empty() {
                    self.ec2
                        .call("CreateTags", json!({ "ResourceId": [id], "Tag": missing }))
                        .await?;
                }
                (id, items(&group["ipPermissions"]).to_vec())
            }
            None => {
                let id = self
                    .make_group(
                        &model.security_group_name,
                        "[k8s] Managed SecurityGroup for LoadBalancer",
                        &tags,
                    )
                    .await?;
                (id, Vec::new())
            }
        };
        let mut wanted: BTreeSet<(i64, i64, String)> = BTreeSet::new();
        for listener in &model.listeners {
            for cidr in &model.cidrs {
                wanted.insert((listener.port, listener.port, cidr.clone()));
            }
        }
        let mut known: BTreeSet<(i64, i64, String)> = BTreeSet::new();
        for permission in &present {
            for range in items(&permission["ipRanges"]) {
                known.insert((
                    number(&permission["fromPort"]),
                    number(&permission["toPort"]),
                    text(&range["cidrIp"]).to_owned(),
                ));
            }
        }
        let permissions = |rules: Vec<&(i64, i64, String)>| -> Vec<Value> {
            rules
                .into_iter()
                .map(|(from, to, cidr)| {
                    json!({
                        "IpProtocol": "tcp",
                        "FromPort": from,
                        "ToPort": to,
                        "IpRanges": [{ "CidrIp": cidr }],
                    })
                })
                .collect()
        };
        self.change_rules(
            &id,
            permissions(known.difference(&wanted).collect()),
            permissions(wanted.difference(&known).collect()),
        )
        .await?;
        Ok(id)
    }

    async fn change_rules(
        &self,
        group: &str,
        revoke: Vec<Value>,
        authorize: Vec<Value>,
    ) -> Result<(), Trouble> {
        if !revoke.is_empty() {
            let input = json!({ "GroupId": group, "IpPermissions": revoke });
            match self.ec2.call("RevokeSecurityGroupIngress", input).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !authorize.is_empty() {
            let input = json!({ "GroupId": group, "IpPermissions": authorize });
            match self.ec2.call("AuthorizeSecurityGroupIngress", input).await {
                Ok(_) => {}
                Err(error) if error.code() == Some("InvalidPermission.Duplicate") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Deletes the managed security groups of a group of Ingresses.
    pub async fn delete_managed_groups(&self, id: &GroupId) -> Result<(), Trouble> {
        for group in self.groups_of_stack(id).await? {
            self.delete_group(text(&group["groupId"])).await?;
        }
        Ok(())
    }

    /// The security group of a node's instance that rules are added to: its only one, or the one with the cluster's tag.
    pub async fn group_of_instance(&self, instance: &str) -> Result<String, Trouble> {
        let reservations = self
            .ec2
            .list(
                "DescribeInstances",
                json!({ "InstanceId": [instance] }),
                "reservationSet",
            )
            .await?;
        let found = reservations
            .iter()
            .flat_map(|reservation| items(&reservation["instancesSet"]))
            .next()
            .ok_or_else(|| Trouble(format!("couldn't fetch all node instances: {instance}")))?;
        let mut ids: Vec<String> = items(&found["networkInterfaceSet"])
            .first()
            .map(|interface| items(&interface["groupSet"]))
            .filter(|groups| !groups.is_empty())
            .unwrap_or_else(|| items(&found["groupSet"]))
            .iter()
            .map(|group| text(&group["groupId"]).to_owned())
            .collect();
        if ids.len() == 1 {
            return Ok(ids.remove(0));
        }
        let groups = self
            .ec2
            .list(
                "DescribeSecurityGroups",
                json!({ "GroupId": ids }),
                "securityGroupInfo",
            )
            .await?;
        let cluster = format!("kubernetes.io/cluster/{}", self.name);
        let mut tagged: Vec<String> = groups
            .iter()
            .filter(|group| tag(group, &cluster).is_some())
            .map(|group| text(&group["groupId"]).to_owned())
            .collect();
        if tagged.len() == 1 {
            return Ok(tagged.remove(0));
        }
        Err(format!(
            "expected exactly one securityGroup tagged with {cluster} for eni of {instance}, got: {tagged:?} (clusterName: {})",
            self.name
        )
        .into())
    }

    /// Opens what all TargetGroupBindings need, and closes what none needs any more.
    pub async fn open(&self, binding: &Key, needs: Option<Openings>) -> Result<(), Trouble> {
        let mut all = self.openings.lock().await;
        match needs {
            Some(needs) => all.insert(binding.clone(), needs),
            None => all.remove(binding),
        };
        let bindings = self.cluster.cache(&TARGET_GROUP_BINDINGS);
        all.retain(|key, _| bindings.get(key).is_some());
        let with_rules = bindings
            .all()
            .iter()
            .filter(|binding| {
                !binding["spec"]["networking"].is_null()
                    && (!binding.deleting() || all.contains_key(&binding.key()))
            })
            .count();
        // Until every binding has been looked at, nothing is closed.
        let complete = all.len() >= with_rules;
        let mut wanted: BTreeMap<String, BTreeMap<String, (i64, i64)>> = BTreeMap::new();
        for openings in all.values() {
            for (group, rules) in openings {
                let sources = wanted.entry(group.clone()).or_default();
                for (source, from, to) in rules {
                    let range = sources.entry(source.clone()).or_insert((*from, *to));
                    *range = (range.0.min(*from), range.1.max(*to));
                }
            }
        }
        let cluster = format!("tag:kubernetes.io/cluster/{}", self.name);
        let filters = json!({ "Filter": [
            filter("vpc-id", &[&self.vpc]),
            filter(&cluster, &["owned", "shared"]),
        ] });
        let mut groups = self
            .ec2
            .list("DescribeSecurityGroups", filters, "securityGroupInfo")
            .await?;
        let others: Vec<&String> = wanted
            .keys()
            .filter(|id| !groups.iter().any(|group| group["groupId"] == id.as_str()))
            .collect();
        if !others.is_empty() {
            let more = self
                .ec2
                .list(
                    "DescribeSecurityGroups",
                    json!({ "GroupId": others }),
                    "securityGroupInfo",
                )
                .await?;
            groups.extend(more);
        }
        for group in &groups {
            let id = text(&group["groupId"]);
            let mut known: BTreeSet<(String, i64, i64)> = BTreeSet::new();
            for permission in items(&group["ipPermissions"]) {
                for pair in items(&permission["groups"]) {
                    if pair["description"] == SHARED {
                        known.insert((
                            text(&pair["groupId"]).to_owned(),
                            number(&permission["fromPort"]),
                            number(&permission["toPort"]),
                        ));
                    }
                }
            }
            let needed: BTreeSet<(String, i64, i64)> = wanted
                .get(id)
                .into_iter()
                .flatten()
                .map(|(source, (from, to))| (source.clone(), *from, *to))
                .collect();
            let rules = |rules: Vec<&(String, i64, i64)>| -> Vec<Value> {
                rules
                    .into_iter()
                    .map(|(source, from, to)| {
                        json!({
                            "IpProtocol": "tcp",
                            "FromPort": from,
                            "ToPort": to,
                            "Groups": [{ "GroupId": source, "Description": SHARED }],
                        })
                    })
                    .collect()
            };
            let revoke = if complete {
                rules(known.difference(&needed).collect())
            } else {
                Vec::new()
            };
            self.change_rules(id, revoke, rules(needed.difference(&known).collect()))
                .await?;
        }
        Ok(())
    }
}

fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .or_else(|| text(value).parse().ok())
        .unwrap_or(0)
}

/// One subnet per zone, those of this cluster before others; an application load balancer needs two zones.
fn one_per_zone(subnets: &[Value], cluster: &str, chosen: bool) -> Result<Vec<String>, Trouble> {
    let own = format!("kubernetes.io/cluster/{cluster}");
    let is_others = |subnet: &Value| {
        tag(subnet, &own).is_none()
            && items(&subnet["tagSet"])
                .iter()
                .any(|tag| text(&tag["key"]).starts_with("kubernetes.io/cluster/"))
    };
    let (mut foreign, mut full) = (0, 0);
    let mut zones: BTreeMap<&str, (bool, &str)> = BTreeMap::new();
    for subnet in subnets {
        if !chosen {
            if is_others(subnet) {
                foreign += 1;
                continue;
            }
            if number(&subnet["availableIpAddressCount"]) < ADDRESSES {
                full += 1;
                continue;
            }
        }
        let zone = text(&subnet["availabilityZone"]);
        let candidate = (tag(subnet, &own).is_none(), text(&subnet["subnetId"]));
        match zones.get(zone) {
            Some(_) if chosen => {
                return Err(format!("multiple subnets in same Availability Zone {zone}").into());
            }
            Some(best) if *best <= candidate => {}
            _ => {
                zones.insert(zone, candidate);
            }
        }
    }
    if zones.is_empty() {
        return Err(format!(
            "unable to resolve at least one subnet. Evaluated {} subnets: {foreign} are tagged for other clusters, and {full} have insufficient available IP addresses",
            subnets.len()
        )
        .into());
    }
    if zones.len() < 2 {
        return Err(format!(
            "subnets count less than minimal required count: {} < 2",
            zones.len()
        )
        .into());
    }
    Ok(zones.into_values().map(|(_, id)| id.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(id: &str, zone: &str, tags: Value) -> Value {
        json!({ "subnetId": id, "availabilityZone": zone, "availableIpAddressCount": "100", "tagSet": tags })
    }

    #[test]
    fn two_zones_are_needed_and_own_subnets_come_first() {
        let own = json!([{ "key": "kubernetes.io/cluster/c", "value": "shared" }]);
        let subnets = [
            subnet("subnet-1", "a", json!([])),
            subnet("subnet-2", "a", own.clone()),
            subnet("subnet-3", "b", own),
        ];
        assert_eq!(
            one_per_zone(&subnets, "c", false).map_err(|error| error.0),
            Ok(vec!["subnet-2".to_owned(), "subnet-3".to_owned()])
        );
        assert_eq!(
            one_per_zone(&subnets[..2], "c", false).map_err(|error| error.0),
            Err("subnets count less than minimal required count: 1 < 2".to_owned())
        );
    }
}
