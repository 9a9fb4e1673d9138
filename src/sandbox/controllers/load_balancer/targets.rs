//! Target groups in AWS and the TargetGroupBindings that fill them.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types;
use serde_json::{Value, json};

use super::super::runtime::Key;
use super::super::runtime::cluster::Propagation;
use super::super::runtime::object::{self, Meta};
use super::groups::GroupId;
use super::model::{HealthCheck, Model, TargetGroup};
use super::networks::Placement;
use super::{Controller, TARGET_GROUP_BINDINGS, Trouble, refused};

/// How long a binding may take to let go of its targets.
const PATIENCE: Duration = Duration::from_secs(60);

/// The labels of what belongs to a group in the cluster.
fn labels(id: &GroupId) -> Value {
    if id.namespace.is_empty() {
        json!({ "ingress.k8s.aws/stack": id.name })
    } else {
        json!({
            "ingress.k8s.aws/stack-namespace": id.namespace,
            "ingress.k8s.aws/stack-name": id.name,
        })
    }
}

impl Controller {
    /// Makes or changes the target groups of a model; the answer is their ARNs by id.
    pub async fn write_target_groups(
        &self,
        model: &Model,
    ) -> Result<BTreeMap<String, String>, Trouble> {
        let present = self.tagged_target_groups(&model.id).await?;
        let mut arns = BTreeMap::new();
        for (id, wanted) in &model.target_groups {
            let known = present.iter().find(|group| {
                group.target_group_name() == Some(&wanted.name)
                    && group.port() == Some(wanted.port as i32)
                    && group
                        .protocol()
                        .is_some_and(|known| known.as_str() == wanted.protocol)
            });
            let arn = match known {
                Some(group) => {
                    let arn = group.target_group_arn().unwrap_or_default().to_owned();
                    if health_of(group) != wanted.health {
                        self.change_health_check(&arn, &wanted.health).await?;
                    }
                    arn
                }
                None => self.make_target_group(model, id, wanted).await?,
            };
            self.write_target_group_attributes(&arn, wanted).await?;
            arns.insert(id.clone(), arn);
        }
        Ok(arns)
    }

    async fn make_target_group(
        &self,
        model: &Model,
        id: &str,
        wanted: &TargetGroup,
    ) -> Result<String, Trouble> {
        let tags = model.tags_of(&self.name, id, &wanted.tags);
        let health = &wanted.health;
        let answer = self
            .elb
            .create_target_group()
            .name(&wanted.name)
            .target_type(types::TargetTypeEnum::from(wanted.target_type.as_str()))
            .port(wanted.port as i32)
            .protocol(types::ProtocolEnum::from(wanted.protocol.as_str()))
            .protocol_version(&wanted.version)
            .ip_address_type(types::TargetGroupIpAddressTypeEnum::Ipv4)
            .vpc_id(&self.vpc)
            .health_check_enabled(true)
            .health_check_port(&health.port)
            .health_check_protocol(types::ProtocolEnum::from(health.protocol.as_str()))
            .health_check_path(&health.path)
            .health_check_interval_seconds(health.interval)
            .health_check_timeout_seconds(health.timeout)
            .healthy_threshold_count(health.healthy)
            .unhealthy_threshold_count(health.unhealthy)
            .matcher(matcher(health))
            .set_tags(Some(super::deploy::sdk_tags(&tags)))
            .send()
            .await
            .map_err(refused("CreateTargetGroup"))?;
        answer
            .target_groups()
            .first()
            .and_then(|group| group.target_group_arn())
            .map(str::to_owned)
            .ok_or_else(|| "CreateTargetGroup answered without a target group".into())
    }

    async fn change_health_check(&self, arn: &str, health: &HealthCheck) -> Result<(), Trouble> {
        self.elb
            .modify_target_group()
            .target_group_arn(arn)
            .health_check_enabled(true)
            .health_check_port(&health.port)
            .health_check_protocol(types::ProtocolEnum::from(health.protocol.as_str()))
            .health_check_path(&health.path)
            .health_check_interval_seconds(health.interval)
            .health_check_timeout_seconds(health.timeout)
            .healthy_threshold_count(health.healthy)
            .unhealthy_threshold_count(health.unhealthy)
            .matcher(matcher(health))
            .send()
            .await
            .map_err(refused("ModifyTargetGroup"))?;
        Ok(())
    }

    async fn write_target_group_attributes(
        &self,
        arn: &str,
        wanted: &TargetGroup,
    ) -> Result<(), Trouble> {
        if wanted.attributes.is_empty() {
            return Ok(());
        }
        let present = self
            .elb
            .describe_target_group_attributes()
            .target_group_arn(arn)
            .send()
            .await
            .map_err(refused("DescribeTargetGroupAttributes"))?;
        let changes: Vec<types::TargetGroupAttribute> = wanted
            .attributes
            .iter()
            .filter(|(key, value)| {
                !present
                    .attributes()
                    .iter()
                    .any(|known| known.key() == Some(key) && known.value() == Some(value))
            })
            .map(|(key, value)| {
                types::TargetGroupAttribute::builder()
                    .key(key)
                    .value(value)
                    .build()
            })
            .collect();
        if !changes.is_empty() {
            self.elb
                .modify_target_group_attributes()
                .target_group_arn(arn)
                .set_attributes(Some(changes))
                .send()
                .await
                .map_err(refused("ModifyTargetGroupAttributes"))?;
        }
        Ok(())
    }

    async fn tagged_target_groups(&self, id: &GroupId) -> Result<Vec<types::TargetGroup>, Trouble> {
        let mut pages = self
            .elb
            .describe_target_groups()
            .into_paginator()
            .items()
            .send();
        let mut all = Vec::new();
        while let Some(group) = pages.next().await {
            all.push(group.map_err(refused("DescribeTargetGroups"))?);
        }
        let arns: Vec<String> = all
            .iter()
            .filter_map(|group| group.target_group_arn().map(str::to_owned))
            .collect();
        let own = self.of_stack(&arns, id).await?;
        all.retain(|group| {
            group
                .target_group_arn()
                .is_some_and(|arn| own.contains(arn))
        });
        Ok(all)
    }

    /// Deletes the target groups of a group of Ingresses that are not among these.
    pub async fn delete_target_groups(&self, id: &GroupId, kept: &[String]) -> Result<(), Trouble> {
        for group in self.tagged_target_groups(id).await? {
            let arn = group.target_group_arn().unwrap_or_default();
            if kept.iter().any(|known| known == arn) {
                continue;
            }
            let begun = tokio::time::Instant::now();
            loop {
                let outcome = self
                    .elb
                    .delete_target_group()
                    .target_group_arn(arn)
                    .send()
                    .await;
                match outcome {
                    Ok(_) => break,
                    // A listener that has just gone may hold on to it for a moment.
                    Err(error)
                        if error
                            .as_service_error()
                            .is_some_and(|service| service.is_resource_in_use_exception())
                            && begun.elapsed() < Duration::from_secs(20) =>
                    {
                        tokio::time::sleep(Duration::from_millis(250)).await;
                    }
                    Err(error) => return Err(refused("DeleteTargetGroup")(error)),
                }
            }
        }
        Ok(())
    }

    /// Writes a binding for each target group.
    pub async fn write_bindings(
        &self,
        model: &Model,
        placement: &Placement,
        arns: &BTreeMap<String, String>,
    ) -> Result<(), Trouble> {
        for (id, group) in &model.target_groups {
            let key = Key::new(&group.service.namespace, &group.name);
            let mut spec = json!({
                "targetGroupARN": arns[id],
                "targetType": group.target_type,
                "ipAddressType": "ipv4",
                "vpcID": self.vpc,
                "serviceRef": { "name": group.service.name, "port": group.service_port },
            });
            if let Some(backend) = &placement.backend {
                let mut ports = vec![group.target_port.clone()];
                if group.health.port != "traffic-port" {
                    ports.push(
                        group
                            .health
                            .port
                            .parse::<i64>()
                            .map_or_else(|_| Value::from(group.health.port.as_str()), Value::from),
                    );
                }
                let rules: Vec<Value> = ports
                    .into_iter()
                    .map(|port| {
                        json!({
                            "from": [{ "securityGroup": { "groupID": backend } }],
                            "ports": [{ "protocol": "TCP", "port": port }],
                        })
                    })
                    .collect();
                spec["networking"] = json!({ "ingress": rules });
            }
            let wanted = json!({
                "apiVersion": "elbv2.k8s.aws/v1beta1",
                "kind": "TargetGroupBinding",
                "metadata": {
                    "name": key.name,
                    "namespace": key.namespace,
                    "labels": labels(&model.id),
                },
                "spec": spec,
            });
            match self.cluster.find(&TARGET_GROUP_BINDINGS, &key).await? {
                None => {
                    self.cluster.create(&TARGET_GROUP_BINDINGS, &wanted).await?;
                }
                Some(present) => {
                    let differs = object::entries(&wanted["spec"])
                        .any(|(name, value)| !object::same(value, &present["spec"][name]));
                    if differs {
                        self.cluster
                            .patch(
                                &TARGET_GROUP_BINDINGS,
                                &key,
                                &json!({ "spec": wanted["spec"] }),
                            )
                            .await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes the bindings of a group of Ingresses that are not among these, and waits until they are gone.
    pub async fn delete_bindings(&self, id: &GroupId, kept: &[Key]) -> Result<(), Trouble> {
        let mark = labels(id);
        let cache = self.cluster.cache(&TARGET_GROUP_BINDINGS);
        let surplus: Vec<Key> = cache
            .all()
            .iter()
            .filter(|binding| {
                object::matches_labels(&mark, &binding["metadata"]["labels"])
                    && !kept.contains(&binding.key())
            })
            .map(|binding| binding.key())
            .collect();
        for key in &surplus {
            self.cluster
                .delete(&TARGET_GROUP_BINDINGS, key, "", Propagation::Background)
                .await?;
        }
        let begun = tokio::time::Instant::now();
        for key in &surplus {
            while self
                .cluster
                .find(&TARGET_GROUP_BINDINGS, key)
                .await?
                .is_some()
            {
                if begun.elapsed() > PATIENCE {
                    return Err(format!(
                        "failed to wait targetGroupBinding deletion: {key}: timed out waiting for the condition"
                    )
                    .into());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

fn matcher(health: &HealthCheck) -> types::Matcher {
    let builder = types::Matcher::builder();
    if health.path == "/AWS.ALB/healthcheck" {
        builder.grpc_code(&health.codes).build()
    } else {
        builder.http_code(&health.codes).build()
    }
}

fn health_of(group: &types::TargetGroup) -> HealthCheck {
    HealthCheck {
        port: group.health_check_port().unwrap_or_default().to_owned(),
        protocol: group
            .health_check_protocol()
            .map_or_else(String::new, |protocol| protocol.as_str().to_owned()),
        path: group.health_check_path().unwrap_or_default().to_owned(),
        codes: group
            .matcher()
            .and_then(|matcher| matcher.http_code().or(matcher.grpc_code()))
            .unwrap_or_default()
            .to_owned(),
        interval: group.health_check_interval_seconds().unwrap_or_default(),
        timeout: group.health_check_timeout_seconds().unwrap_or_default(),
        healthy: group.healthy_threshold_count().unwrap_or_default(),
        unhealthy: group.unhealthy_threshold_count().unwrap_or_default(),
    }
}
