//! A load balancer's listeners and their rules in AWS.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types;
use serde_json::Value;

use super::super::runtime::object::text;
use super::deploy::{Arns, sdk_tags};
use super::model::{Action, Listener, Model};
use super::rules::Rule;
use super::{Controller, Trouble, refused};

impl Controller {
    /// Makes, changes and takes away listeners and their rules.
    pub(super) async fn write_listeners(
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
