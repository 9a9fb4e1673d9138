//! Brings a model about in AWS: security group, target groups, load balancer, listeners, rules, bindings; and takes all
//! of it away again in the reverse order.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types;
use serde_json::Value;

use super::super::runtime::Key;
use super::super::runtime::object::text;
use super::groups::{GroupId, tracking_tags};
use super::model::{Action, Listener, Model, Tags};
use super::networks::Placement;
use super::rules::Rule;
use super::{Controller, Trouble, refused};

type Arns = BTreeMap<String, String>;

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

    async fn write_listeners(
        &self,
        model: &Model,
        arn: &str,
        groups: &Arns,
    ) -> Result<(), Trouble> {
        let mut pages = self
            .elb
            .describe_listeners()
            .load_balancer_arn(arn)
            .into_paginator()
            .items()
            .send();
        let mut present = Vec::new();
        while let Some(listener) = pages.next().await {
            present.push(listener.map_err(refused("DescribeListeners"))?);
        }
        for listener in &present {
            let wanted = model
                .listeners
                .iter()
                .any(|wanted| listener.port() == Some(wanted.port as i32));
            if !wanted {
                self.elb
                    .delete_listener()
                    .set_listener_arn(listener.listener_arn().map(str::to_owned))
                    .send()
                    .await
                    .map_err(refused("DeleteListener"))?;
            }
        }
        for wanted in &model.listeners {
            let default = sdk_action(&wanted.default, groups);
            let known = present
                .iter()
                .find(|listener| listener.port() == Some(wanted.port as i32));
            let listener = match known {
                None => self.make_listener(model, arn, wanted, default).await?,
                Some(listener) => {
                    let id = listener.listener_arn().unwrap_or_default().to_owned();
                    let same = listener
                        .protocol()
                        .is_some_and(|protocol| protocol.as_str() == wanted.protocol)
                        && listener
                            .default_actions()
                            .first()
                            .is_some_and(|known| same_action(known, &default));
                    if !same {
                        self.elb
                            .modify_listener()
                            .listener_arn(&id)
                            .port(wanted.port as i32)
                            .protocol(types::ProtocolEnum::from(wanted.protocol.as_str()))
                            .default_actions(default)
                            .set_certificates(certificates(wanted))
                            .send()
                            .await
                            .map_err(refused("ModifyListener"))?;
                    }
                    id
                }
            };
            self.write_rules(model, &listener, wanted, groups).await?;
        }
        Ok(())
    }

    async fn make_listener(
        &self,
        model: &Model,
        arn: &str,
        wanted: &Listener,
        default: types::Action,
    ) -> Result<String, Trouble> {
        let tags = model.tags_of(&self.name, &wanted.port.to_string(), &model.tags);
        let answer = self
            .elb
            .create_listener()
            .load_balancer_arn(arn)
            .port(wanted.port as i32)
            .protocol(types::ProtocolEnum::from(wanted.protocol.as_str()))
            .default_actions(default)
            .set_certificates(certificates(wanted))
            .set_ssl_policy(
                (wanted.protocol == "HTTPS")
                    .then(|| self.flags.text("default-ssl-policy").to_owned()),
            )
            .set_tags(Some(sdk_tags(&tags)))
            .send()
            .await
            .map_err(refused("CreateListener"))?;
        answer
            .listeners()
            .first()
            .and_then(|listener| listener.listener_arn())
            .map(str::to_owned)
            .ok_or_else(|| "CreateListener answered without a listener".into())
    }

    async fn write_rules(
        &self,
        model: &Model,
        listener: &str,
        wanted: &Listener,
        groups: &Arns,
    ) -> Result<(), Trouble> {
        let mut pages = self
            .elb
            .describe_rules()
            .listener_arn(listener)
            .into_paginator()
            .items()
            .send();
        let mut present: BTreeMap<i32, types::Rule> = BTreeMap::new();
        while let Some(rule) = pages.next().await {
            let rule = rule.map_err(refused("DescribeRules"))?;
            // The default rule's priority is the word `default`.
            if let Some(priority) = rule.priority().and_then(|priority| priority.parse().ok()) {
                present.insert(priority, rule);
            }
        }
        for (index, rule) in wanted.rules.iter().enumerate() {
            let priority = index as i32 + 1;
            let action = sdk_action(&rule.action, groups);
            match present.remove(&priority) {
                Some(known) => {
                    let same = known
                        .actions()
                        .first()
                        .is_some_and(|known| same_action(known, &action))
                        && values_of(&known, "host-header") == rule.hosts
                        && values_of(&known, "path-pattern") == rule.paths;
                    if !same {
                        self.elb
                            .modify_rule()
                            .set_rule_arn(known.rule_arn().map(str::to_owned))
                            .set_conditions(Some(conditions(rule)))
                            .actions(action)
                            .send()
                            .await
                            .map_err(refused("ModifyRule"))?;
                    }
                }
                None => {
                    let id = format!("{}:{priority}", wanted.port);
                    let tags = model.tags_of(&self.name, &id, &rule.tags);
                    self.elb
                        .create_rule()
                        .listener_arn(listener)
                        .priority(priority)
                        .set_conditions(Some(conditions(rule)))
                        .actions(action)
                        .set_tags(Some(sdk_tags(&tags)))
                        .send()
                        .await
                        .map_err(refused("CreateRule"))?;
                }
            }
        }
        for surplus in present.into_values() {
            self.elb
                .delete_rule()
                .set_rule_arn(surplus.rule_arn().map(str::to_owned))
                .send()
                .await
                .map_err(refused("DeleteRule"))?;
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

fn certificates(listener: &Listener) -> Option<Vec<types::Certificate>> {
    // The first one is the listener's own; the others would be added beside it.
    listener
        .certificates
        .first()
        .map(|arn| vec![types::Certificate::builder().certificate_arn(arn).build()])
}

fn conditions(rule: &Rule) -> Vec<types::RuleCondition> {
    let mut conditions = Vec::new();
    if !rule.hosts.is_empty() {
        conditions.push(
            types::RuleCondition::builder()
                .field("host-header")
                .host_header_config(
                    types::HostHeaderConditionConfig::builder()
                        .set_values(Some(rule.hosts.clone()))
                        .build(),
                )
                .build(),
        );
    }
    if !rule.paths.is_empty() {
        conditions.push(
            types::RuleCondition::builder()
                .field("path-pattern")
                .path_pattern_config(
                    types::PathPatternConditionConfig::builder()
                        .set_values(Some(rule.paths.clone()))
                        .build(),
                )
                .build(),
        );
    }
    conditions
}

fn values_of(rule: &types::Rule, field: &str) -> Vec<String> {
    let Some(condition) = rule
        .conditions()
        .iter()
        .find(|condition| condition.field() == Some(field))
    else {
        return Vec::new();
    };
    let own = match field {
        "host-header" => condition.host_header_config().map(|config| config.values()),
        _ => condition
            .path_pattern_config()
            .map(|config| config.values()),
    };
    own.filter(|values| !values.is_empty())
        .unwrap_or_else(|| condition.values())
        .to_vec()
}

fn sdk_action(action: &Action, groups: &Arns) -> types::Action {
    let (kind, builder) = match action {
        Action::Forward(targets) => {
            let tuples = targets
                .iter()
                .map(|(id, weight)| {
                    types::TargetGroupTuple::builder()
                        .set_target_group_arn(groups.get(id).cloned())
                        .weight(*weight as i32)
                        .build()
                })
                .collect();
            let config = types::ForwardActionConfig::builder()
                .set_target_groups(Some(tuples))
                .build();
            (
                types::ActionTypeEnum::Forward,
                types::Action::builder().forward_config(config),
            )
        }
        Action::Fixed { status, kind, body } => {
            let config = types::FixedResponseActionConfig::builder()
                .status_code(status)
                .set_content_type((!kind.is_empty()).then(|| kind.clone()))
                .set_message_body((!body.is_empty()).then(|| body.clone()))
                .build();
            (
                types::ActionTypeEnum::FixedResponse,
                types::Action::builder().fixed_response_config(config),
            )
        }
        Action::Redirect(members) => {
            let member = |name: &str| members[name].as_str().map(str::to_owned);
            let status = types::RedirectActionStatusCodeEnum::from(text_or(
                &members["statusCode"],
                "HTTP_301",
            ));
            let config = types::RedirectActionConfig::builder()
                .set_host(member("host"))
                .set_path(member("path"))
                .set_port(member("port"))
                .set_protocol(member("protocol"))
                .set_query(member("query"))
                .status_code(status)
                .build();
            (
                types::ActionTypeEnum::Redirect,
                types::Action::builder().redirect_config(config),
            )
        }
    };
    builder.r#type(kind).build()
}

fn text_or<'a>(value: &'a Value, default: &'a str) -> &'a str {
    match text(value) {
        "" => default,
        text => text,
    }
}

/// Whether an action is the wanted one; what the service fills in does not count.
fn same_action(known: &types::Action, wanted: &types::Action) -> bool {
    if known.r#type() != wanted.r#type() {
        return false;
    }
    if let Some(config) = wanted.forward_config() {
        let tuples = |config: &types::ForwardActionConfig| -> Vec<(Option<String>, i32)> {
            config
                .target_groups()
                .iter()
                .map(|tuple| {
                    (
                        tuple.target_group_arn().map(str::to_owned),
                        tuple.weight().unwrap_or(1),
                    )
                })
                .collect()
        };
        return match known.forward_config() {
            Some(present) => tuples(present) == tuples(config),
            None => tuples(config) == [(known.target_group_arn().map(str::to_owned), 1)],
        };
    }
    if let Some(config) = wanted.fixed_response_config() {
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        return known.fixed_response_config().is_some_and(|present| {
            text(present.status_code()) == text(config.status_code())
                && text(present.content_type()) == text(config.content_type())
                && text(present.message_body()) == text(config.message_body())
        });
    }
    if let Some(config) = wanted.redirect_config() {
        let agrees =
            |wanted: Option<&str>, present: Option<&str>| wanted.is_none() || wanted == present;
        return known.redirect_config().is_some_and(|present| {
            present.status_code() == config.status_code()
                && agrees(config.host(), present.host())
                && agrees(config.path(), present.path())
                && agrees(config.port(), present.port())
                && agrees(config.protocol(), present.protocol())
                && agrees(config.query(), present.query())
        });
    }
    true
}
