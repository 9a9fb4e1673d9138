//! Brings a model about in AWS: security group, target groups, load balancer, listeners, rules, bindings; and takes all
//! of it away again in the reverse order.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types;

use super::super::runtime::Key;
use super::groups::{GroupId, tracking_tags};
use super::model::{Model, Tags};
use super::networks::Placement;
use super::{Controller, Trouble, refused};

/// ARNs of target groups by their ids.
pub type Arns = BTreeMap<String, String>;

/// Tags as the SDK takes them.
pub fn sdk_tags(tags: &Tags) -> Vec<types::Tag> {
    tags.iter()
        .filter_map(|(key, value)| types::Tag::builder().key(key).value(value).build().into())
        .collect()
}

impl Controller {
    /// Brings a model about; the answer is the load balancer's DNS name in lower case.
    pub async fn deploy(&self, model: &Model, placement: &Placement) -> Result<String, Trouble> {
        let mut groups = model.security_groups.clone();
        let managed = groups.is_empty();
        if managed {
            groups.push(self.managed_group(model).await?);
        }
        groups.extend(placement.backend.clone());
        let arns = self.write_target_groups(model).await?;
        let balancer = self.write_load_balancer(model, placement, &groups).await?;
        let arn = balancer.load_balancer_arn().unwrap_or_default().to_owned();
        self.write_listeners(model, &arn, &arns).await?;
        self.write_bindings(model, placement, &arns).await?;
        let kept: Vec<Key> = model
            .target_groups
            .values()
            .map(|group| Key::new(&group.service.namespace, &group.name))
            .collect();
        self.delete_bindings(&model.id, &kept).await?;
        let kept: Vec<String> = arns.into_values().collect();
        self.delete_target_groups(&model.id, &kept).await?;
        if !managed {
            self.delete_managed_groups(&model.id).await?;
        }
        Ok(balancer.dns_name().unwrap_or_default().to_lowercase())
    }

    /// Takes away all that a group of Ingresses has in AWS.
    pub async fn tear_down(&self, id: &GroupId) -> Result<(), Trouble> {
        for balancer in self.balancers_of(id).await? {
            self.delete_load_balancer(&balancer).await?;
        }
        self.delete_bindings(id, &[]).await?;
        self.delete_target_groups(id, &[]).await?;
        self.delete_managed_groups(id).await?;
        self.release_backend_group(id).await
    }

    async fn delete_load_balancer(&self, balancer: &types::LoadBalancer) -> Result<(), Trouble> {
        self.elb
            .delete_load_balancer()
            .set_load_balancer_arn(balancer.load_balancer_arn().map(str::to_owned))
            .send()
            .await
            .map_err(refused("DeleteLoadBalancer"))?;
        Ok(())
    }

    /// Which of these resources carry the tags of a group.
    pub async fn of_stack(
        &self,
        arns: &[String],
        id: &GroupId,
    ) -> Result<BTreeSet<String>, Trouble> {
        let wanted = tracking_tags(&self.name, id, None);
        let mut own = BTreeSet::new();
        for chunk in arns.chunks(20) {
            let answer = self
                .elb
                .describe_tags()
                .set_resource_arns(Some(chunk.to_vec()))
                .send()
                .await
                .map_err(refused("DescribeTags"))?;
            for description in answer.tag_descriptions() {
                let carries = wanted.iter().all(|(key, value)| {
                    description
                        .tags()
                        .iter()
                        .any(|tag| tag.key() == Some(key) && tag.value() == Some(value))
                });
                if carries && let Some(arn) = description.resource_arn() {
                    own.insert(arn.to_owned());
                }
            }
        }
        Ok(own)
    }

    async fn balancers_of(&self, id: &GroupId) -> Result<Vec<types::LoadBalancer>, Trouble> {
        let mut pages = self
            .elb
            .describe_load_balancers()
            .into_paginator()
            .items()
            .send();
        let mut all = Vec::new();
        while let Some(balancer) = pages.next().await {
            all.push(balancer.map_err(refused("DescribeLoadBalancers"))?);
        }
        all.retain(|balancer| balancer.vpc_id() == Some(&self.vpc));
        let arns: Vec<String> = all
            .iter()
            .filter_map(|balancer| balancer.load_balancer_arn().map(str::to_owned))
            .collect();
        let own = self.of_stack(&arns, id).await?;
        all.retain(|balancer| {
            balancer
                .load_balancer_arn()
                .is_some_and(|arn| own.contains(arn))
        });
        Ok(all)
    }

    async fn write_load_balancer(
        &self,
        model: &Model,
        placement: &Placement,
        groups: &[String],
    ) -> Result<types::LoadBalancer, Trouble> {
        let mut known = None;
        for balancer in self.balancers_of(&model.id).await? {
            let same = balancer.load_balancer_name() == Some(&model.name)
                && balancer
                    .scheme()
                    .is_some_and(|scheme| scheme.as_str() == model.scheme);
            if same {
                known = Some(balancer);
            } else {
                // Neither name nor scheme can be changed: a new one takes its place.
                self.delete_load_balancer(&balancer).await?;
            }
        }
        let tags = model.tags_of(&self.name, "LoadBalancer", &model.tags);
        let balancer = match known {
            None => {
                let answer = self
                    .elb
                    .create_load_balancer()
                    .name(&model.name)
                    .r#type(types::LoadBalancerTypeEnum::Application)
                    .scheme(types::LoadBalancerSchemeEnum::from(model.scheme.as_str()))
                    .ip_address_type(types::IpAddressType::Ipv4)
                    .set_subnet_mappings(Some(mappings(&placement.subnets)))
                    .set_security_groups(Some(groups.to_vec()))
                    .set_tags(Some(sdk_tags(&tags)))
                    .send()
                    .await
                    .map_err(refused("CreateLoadBalancer"))?;
                answer
                    .load_balancers()
                    .first()
                    .cloned()
                    .ok_or("CreateLoadBalancer answered without a load balancer")?
            }
            Some(balancer) => {
                let arn = balancer.load_balancer_arn().unwrap_or_default();
                let sorted = |list: &[String]| list.iter().cloned().collect::<BTreeSet<String>>();
                if sorted(balancer.security_groups()) != sorted(groups) {
                    self.elb
                        .set_security_groups()
                        .load_balancer_arn(arn)
                        .set_security_groups(Some(groups.to_vec()))
                        .send()
                        .await
                        .map_err(refused("SetSecurityGroups"))?;
                }
                let present: BTreeSet<String> = balancer
                    .availability_zones()
                    .iter()
                    .filter_map(|zone| zone.subnet_id().map(str::to_owned))
                    .collect();
                if present != sorted(&placement.subnets) {
                    self.elb
                        .set_subnets()
                        .load_balancer_arn(arn)
                        .set_subnet_mappings(Some(mappings(&placement.subnets)))
                        .send()
                        .await
                        .map_err(refused("SetSubnets"))?;
                }
                self.write_tags(arn, &tags).await?;
                balancer
            }
        };
        let arn = balancer.load_balancer_arn().unwrap_or_default();
        self.write_attributes(arn, &model.attributes).await?;
        Ok(balancer)
    }

    /// Adds the tags that a resource lacks and takes away those that nobody wants.
    async fn write_tags(&self, arn: &str, wanted: &Tags) -> Result<(), Trouble> {
        let answer = self
            .elb
            .describe_tags()
            .resource_arns(arn)
            .send()
            .await
            .map_err(refused("DescribeTags"))?;
        let present: Tags = answer
            .tag_descriptions()
            .iter()
            .flat_map(|description| description.tags())
            .map(|tag| {
                (
                    tag.key().unwrap_or_default().to_owned(),
                    tag.value().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        let missing: Tags = wanted
            .iter()
            .filter(|(key, value)| present.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !missing.is_empty() {
            self.elb
                .add_tags()
                .resource_arns(arn)
                .set_tags(Some(sdk_tags(&missing)))
                .send()
                .await
                .map_err(refused("AddTags"))?;
        }
        let surplus: Vec<String> = present
            .keys()
            .filter(|key| !wanted.contains_key(*key) && !key.starts_with("aws:"))
            .cloned()
            .collect();
        if !surplus.is_empty() {
            self.elb
                .remove_tags()
                .resource_arns(arn)
                .set_tag_keys(Some(surplus))
                .send()
                .await
                .map_err(refused("RemoveTags"))?;
        }
        Ok(())
    }

    async fn write_attributes(&self, arn: &str, wanted: &Tags) -> Result<(), Trouble> {
        let present = self
            .elb
            .describe_load_balancer_attributes()
            .load_balancer_arn(arn)
            .send()
            .await
            .map_err(refused("DescribeLoadBalancerAttributes"))?;
        let changes: Vec<types::LoadBalancerAttribute> = wanted
            .iter()
            .filter(|(key, value)| {
                !present
                    .attributes()
                    .iter()
                    .any(|known| known.key() == Some(key) && known.value() == Some(value))
            })
            .map(|(key, value)| {
                types::LoadBalancerAttribute::builder()
                    .key(key)
                    .value(value)
                    .build()
            })
            .collect();
        if !changes.is_empty() {
            self.elb
                .modify_load_balancer_attributes()
                .load_balancer_arn(arn)
                .set_attributes(Some(changes))
                .send()
                .await
                .map_err(refused("ModifyLoadBalancerAttributes"))?;
        }
        Ok(())
    }
}

fn mappings(subnets: &[String]) -> Vec<types::SubnetMapping> {
    subnets
        .iter()
        .map(|id| types::SubnetMapping::builder().subnet_id(id).build())
        .collect()
}
