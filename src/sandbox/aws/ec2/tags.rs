//! Tags.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::input::{Input, fault, filters, invalid, missing, page};
use super::{Ec2, Fault, done};

/// How many tags a resource may have.
const QUOTA: usize = 50;

/// Id prefixes and the resource types that tags and ARNs name.
const KINDS: &[(&str, &str)] = &[
    ("acl-", "network-acl"),
    ("eipalloc-", "elastic-ip"),
    ("eni-", "network-interface"),
    ("i-", "instance"),
    ("igw-", "internet-gateway"),
    ("lt-", "launch-template"),
    ("nat-", "natgateway"),
    ("rtb-", "route-table"),
    ("sg-", "security-group"),
    ("sgr-", "security-group-rule"),
    ("subnet-", "subnet"),
    ("vol-", "volume"),
    ("vpc-", "vpc"),
];

/// The resource type of an id.
pub(super) fn kind(id: &str) -> Option<&'static str> {
    KINDS
        .iter()
        .find(|(prefix, _)| id.starts_with(prefix))
        .map(|(_, kind)| *kind)
}

fn check(key: &str, value: &str) -> Result<(), Fault> {
    if key.to_lowercase().starts_with("aws:") {
        return Err(invalid(
            "Tag keys starting with 'aws:' are reserved for internal use",
        ));
    }
    if key.is_empty() || key.chars().count() > 127 {
        return Err(invalid(format!(
            "Tag key '{key}' is invalid. Tag keys must be between 1 and 127 characters"
        )));
    }
    if value.chars().count() > 255 {
        return Err(invalid(format!(
            "Tag value '{value}' exceeds the maximum length of 255 characters"
        )));
    }
    Ok(())
}

impl Ec2<'_> {
    /// The tags that a request gives to what it makes. CloudFormation's own `aws:` tags come by [`Ec2::set_tags`].
    pub(super) fn tags_of_request(
        &self,
        input: Input<'_>,
        made: &str,
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut tags: Vec<(String, String)> = Vec::new();
        for specification in input.objects("TagSpecification") {
            let kind = specification
                .text("ResourceType")
                .ok_or_else(|| missing("TagSpecification.ResourceType"))?;
            if kind != made {
                return Err(invalid(format!(
                    "'{kind}' is not a valid taggable resource type for this operation."
                )));
            }
            for tag in specification.objects("Tag") {
                let key = tag.text("Key").unwrap_or_default();
                let value = tag.text("Value").unwrap_or_default();
                check(&key, &value)?;
                if tags.iter().any(|(known, _)| *known == key) {
                    return Err(invalid(format!("Duplicate tag key '{key}' specified.")));
                }
                tags.push((key, value));
            }
        }
        if tags.len() > QUOTA {
            return Err(fault(
                "TagLimitExceeded",
                format!("The maximum number of Tags allowed for a resource is {QUOTA}"),
            ));
        }
        Ok(tags)
    }

    /// Adds or replaces tags, AWS's own included.
    pub fn set_tags(&mut self, id: &str, tags: Vec<(String, String)>) {
        if !tags.is_empty() {
            self.region
                .tags
                .entry(id.to_owned())
                .or_default()
                .extend(tags);
        }
    }

    pub(super) fn rendered_tags(&self, id: &str) -> Vec<Value> {
        self.region
            .tags
            .get(id)
            .into_iter()
            .flatten()
            .map(|(key, value)| json!({"key": key, "value": value}))
            .collect()
    }

    fn exists(&self, id: &str) -> bool {
        let region = &self.region;
        region.vpcs.contains_key(id)
            || region.subnets.contains_key(id)
            || region.internet_gateways.contains_key(id)
            || region.nat_gateways.contains_key(id)
            || region.addresses.contains_key(id)
            || region.route_tables.contains_key(id)
            || region.network_acls.contains_key(id)
            || region.security_groups.contains_key(id)
            || region.interfaces.contains_key(id)
            || region.launch_templates.contains_key(id)
            || region.instances.contains_key(id)
            || region.volumes.contains_key(id)
            || region
                .security_groups
                .values()
                .any(|group| group.rules.iter().any(|rule| rule.id == id))
    }

    fn taggable(&self, input: Input<'_>) -> Result<Vec<String>, Fault> {
        let ids = input.list("ResourceId");
        if ids.is_empty() {
            return Err(missing("ResourceIdSet"));
        }
        for id in &ids {
            let Some(kind) = kind(id) else {
                return Err(fault("InvalidID", format!("The ID '{id}' is not valid")));
            };
            if !self.exists(id) {
                let (code, noun) = match kind {
                    "vpc" => ("InvalidVpcID.NotFound", "vpc"),
                    "subnet" => ("InvalidSubnetID.NotFound", "subnet"),
                    "security-group" => ("InvalidGroup.NotFound", "securityGroup"),
                    "internet-gateway" => ("InvalidInternetGatewayID.NotFound", "internetGateway"),
                    "natgateway" => ("InvalidNatGatewayID.NotFound", "natGateway"),
                    "elastic-ip" => ("InvalidAllocationID.NotFound", "allocation"),
                    "route-table" => ("InvalidRouteTableID.NotFound", "routeTable"),
                    "network-interface" => {
                        ("InvalidNetworkInterfaceID.NotFound", "networkInterface")
                    }
                    "instance" => ("InvalidInstanceID.NotFound", "instance"),
                    "volume" => ("InvalidVolume.NotFound", "volume"),
                    "launch-template" => ("InvalidLaunchTemplateId.NotFound", "launchTemplate"),
                    _ => ("InvalidID", "resource"),
                };
                return Err(fault(code, format!("The {noun} ID '{id}' does not exist")));
            }
        }
        Ok(ids)
    }

    pub(super) fn create_tags(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let ids = self.taggable(input)?;
        let mut tags = BTreeMap::new();
        for tag in input.objects("Tag") {
            let key = tag.text("Key").unwrap_or_default();
            let value = tag.text("Value").unwrap_or_default();
            check(&key, &value)?;
            tags.insert(key, value);
        }
        if tags.is_empty() {
            return Err(missing("TagSet"));
        }
        for id in &ids {
            let mut all = self.region.tags.get(id).cloned().unwrap_or_default();
            all.extend(tags.clone());
            if all.keys().filter(|key| !key.starts_with("aws:")).count() > QUOTA {
                return Err(fault(
                    "TagLimitExceeded",
                    format!("The maximum number of Tags for a resource has been reached. ({id})"),
                ));
            }
        }
        for id in &ids {
            self.set_tags(id, tags.clone().into_iter().collect());
        }
        done()
    }

    pub(super) fn delete_tags(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let ids = self.taggable(input)?;
        let wanted: Vec<(String, Option<String>)> = input
            .objects("Tag")
            .into_iter()
            .map(|tag| {
                let value = tag
                    .0
                    .get("Value")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                (tag.text("Key").unwrap_or_default(), value)
            })
            .collect();
        for id in &ids {
            if let Some(tags) = self.region.tags.get_mut(id) {
                tags.retain(|key, value| {
                    let named = wanted.is_empty()
                        || wanted.iter().any(|(wanted, only)| {
                            wanted == key && only.as_ref().is_none_or(|only| only == value)
                        });
                    key.starts_with("aws:") || !named
                });
            }
        }
        done()
    }

    pub(super) fn describe_tags(&self, input: Input<'_>) -> Result<Value, Fault> {
        let filters = filters(
            input,
            &[
                ("key", "key"),
                ("resource-id", "resourceId"),
                ("resource-type", "resourceType"),
                ("value", "value"),
            ],
        )?;
        let found = self
            .region
            .tags
            .iter()
            .flat_map(|(id, tags)| tags.iter().map(move |tag| (id, tag)))
            .map(|(id, (key, value))| {
                json!({"resourceId": id, "resourceType": kind(id), "key": key, "value": value,
                    "tagSet": [{"key": key, "value": value}]})
            })
            .filter(|tag| filters.iter().all(|filter| filter.accepts(tag)))
            .map(|mut tag| {
                tag["tagSet"] = Value::Null;
                tag
            })
            .collect();
        page(input, "tagSet", found, input.number("MaxResults")?)
    }
}
