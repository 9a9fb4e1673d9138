//! VPCs, with the main route table, the default security group and the default network ACL that come with each.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, Listing, fault, invalid};
use super::{Cidr, Ec2, Fault, InternetGateway, Route, Target, done, zones};

/// How many VPCs a region of an account may have (`L-F678F1CE`).
const QUOTA: usize = 5;

/// A virtual private cloud.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpc-…`.
    pub id: String,
    /// Its addresses.
    pub cidr: String,
    /// Whether it is the region's default VPC.
    pub default: bool,
    /// Whether instances get host names.
    pub dns_hostnames: bool,
    /// Whether Amazon's resolver answers.
    pub dns_support: bool,
    tenancy: String,
    association: String,
    usage_metrics: bool,
}

impl Ec2<'_> {
    /// Every account has one VPC in every region from the start, with a public subnet in each zone.
    pub(super) fn make_default_vpc(&mut self) {
        let Some(network) = Cidr::parse("172.31.0.0/16") else {
            return;
        };
        let vpc = self.insert_vpc(network, true);
        let gateway = self.fresh("igw");
        self.region.internet_gateways.insert(
            gateway.clone(),
            InternetGateway {
                id: gateway.clone(),
                vpc: Some(vpc.clone()),
            },
        );
        if let Some(table) = self
            .region
            .route_tables
            .values_mut()
            .find(|table| table.vpc == vpc)
        {
            table.routes.push(Route {
                destination: "0.0.0.0/0".into(),
                target: Target::InternetGateway(gateway),
            });
        }
        let zones = zones(self.name);
        let blocks = network.blocks(zones.len() as u64, 12).unwrap_or_default();
        for (zone, block) in zones.iter().zip(blocks) {
            self.insert_subnet(&vpc, zone, block, true);
        }
    }

    fn insert_vpc(&mut self, network: Cidr, default: bool) -> String {
        let id = self.fresh("vpc");
        let association = self.fresh("vpc-cidr-assoc");
        self.region.vpcs.insert(
            id.clone(),
            Vpc {
                id: id.clone(),
                cidr: network.to_string(),
                default,
                dns_hostnames: default,
                dns_support: true,
                tenancy: "default".into(),
                association,
                usage_metrics: false,
            },
        );
        self.insert_main_route_table(&id);
        self.insert_default_acl(&id);
        self.insert_default_group(&id);
        id
    }

    /// Looks a VPC up.
    ///
    /// # Errors
    /// `InvalidVpcID.NotFound`.
    pub fn vpc(&self, id: &str) -> Result<&Vpc, Fault> {
        self.region.vpcs.get(id).ok_or_else(|| unknown(id))
    }

    pub(super) fn create_vpc(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let cidr = input.required("CidrBlock")?;
        let network = Cidr::parse(&cidr).ok_or_else(|| {
            invalid(format!(
                "Value ({cidr}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
            ))
        })?;
        if !(16..=28).contains(&network.prefix()) {
            return Err(fault(
                "InvalidVpc.Range",
                format!("The CIDR '{cidr}' is invalid."),
            ));
        }
        let tenancy = input
            .text("InstanceTenancy")
            .unwrap_or_else(|| "default".into());
        if !["default", "dedicated"].contains(&tenancy.as_str()) {
            return Err(invalid(format!(
                "Value ({tenancy}) for parameter instanceTenancy is invalid."
            )));
        }
        let tags = self.tags_of_request(input, "vpc")?;
        if self.region.vpcs.len() >= QUOTA {
            return Err(fault(
                "VpcLimitExceeded",
                "The maximum number of VPCs has been reached.",
            ));
        }
        let id = self.insert_vpc(network, false);
        self.set_tags(&id, tags);
        if let Some(vpc) = self.region.vpcs.get_mut(&id) {
            vpc.tenancy = tenancy;
        }
        let mut vpc = self.render_vpc(&self.region.vpcs[&id]);
        vpc["state"] = json!("pending");
        Ok(json!({ "vpc": vpc }))
    }

    pub(super) fn delete_vpc(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("VpcId")?;
        self.vpc(&id)?;
        let region = &self.region;
        let needed = region.subnets.values().any(|subnet| subnet.vpc == id)
            || region
                .internet_gateways
                .values()
                .any(|gateway| gateway.vpc.as_deref() == Some(&id))
            || region
                .interfaces
                .values()
                .any(|interface| interface.vpc == id)
            || region
                .security_groups
                .values()
                .any(|group| group.vpc == id && group.name != "default")
            || region
                .route_tables
                .values()
                .any(|table| table.vpc == id && !table.is_main());
        if needed {
            return Err(fault(
                "DependencyViolation",
                format!("The vpc '{id}' has dependencies and cannot be deleted."),
            ));
        }
        let mut gone = vec![id.clone()];
        let keep = |vpc: &str, member: &str, gone: &mut Vec<String>| {
            let keep = vpc != id;
            if !keep {
                gone.push(member.to_owned());
            }
            keep
        };
        self.region
            .route_tables
            .retain(|member, table| keep(&table.vpc, member, &mut gone));
        self.region
            .network_acls
            .retain(|member, acl| keep(&acl.vpc, member, &mut gone));
        self.region
            .security_groups
            .retain(|member, group| keep(&group.vpc, member, &mut gone));
        self.region.vpcs.remove(&id);
        for id in gone {
            self.region.tags.remove(&id);
        }
        done()
    }

    pub(super) fn describe_vpcs(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .vpcs
            .values()
            .map(|vpc| self.render_vpc(vpc))
            .collect();
        Listing {
            set: "vpcSet",
            ids: "VpcId",
            key: "vpcId",
            filters: &[
                ("cidr", "cidrBlock"),
                (
                    "cidr-block-association.cidr-block",
                    "cidrBlockAssociationSet.cidrBlock",
                ),
                ("dhcp-options-id", "dhcpOptionsId"),
                ("isDefault", "isDefault"),
                ("is-default", "isDefault"),
                ("owner-id", "ownerId"),
                ("state", "state"),
                ("vpc-id", "vpcId"),
            ],
            unknown,
        }
        .answer(input, all)
    }

    pub(super) fn describe_vpc_attribute(&self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("VpcId")?;
        let attribute = input.required("Attribute")?;
        let vpc = self.vpc(&id)?;
        let value = match attribute.as_str() {
            "enableDnsSupport" => vpc.dns_support,
            "enableDnsHostnames" => vpc.dns_hostnames,
            "enableNetworkAddressUsageMetrics" => vpc.usage_metrics,
            _ => {
                return Err(invalid(format!(
                    "Value ({attribute}) for parameter attribute is invalid. Unknown attribute."
                )));
            }
        };
        Ok(json!({"vpcId": id, attribute: {"value": value}}))
    }

    pub(super) fn modify_vpc_attribute(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("VpcId")?;
        let support = input.wrapped("EnableDnsSupport")?;
        let hostnames = input.wrapped("EnableDnsHostnames")?;
        let metrics = input.wrapped("EnableNetworkAddressUsageMetrics")?;
        let vpc = self.region.vpcs.get_mut(&id).ok_or_else(|| unknown(&id))?;
        match (support, hostnames, metrics) {
            (Some(value), None, None) => vpc.dns_support = value,
            (None, Some(value), None) => vpc.dns_hostnames = value,
            (None, None, Some(value)) => vpc.usage_metrics = value,
            (None, None, None) => {
                return Err(fault(
                    "MissingParameter",
                    "Either EnableDnsSupport or EnableDnsHostnames must be specified",
                ));
            }
            _ => {
                return Err(fault(
                    "InvalidParameterCombination",
                    "Fields for multiple attribute types specified: only one attribute can be modified at a time",
                ));
            }
        }
        done()
    }

    fn render_vpc(&self, vpc: &Vpc) -> Value {
        json!({
            "vpcId": vpc.id,
            "ownerId": self.account,
            "state": "available",
            "cidrBlock": vpc.cidr,
            "dhcpOptionsId": "default",
            "instanceTenancy": vpc.tenancy,
            "isDefault": vpc.default,
            "cidrBlockAssociationSet": [{
                "associationId": vpc.association,
                "cidrBlock": vpc.cidr,
                "cidrBlockState": {"state": "associated"},
            }],
            "ipv6CidrBlockAssociationSet": [],
            "tagSet": self.rendered_tags(&vpc.id),
        })
    }
}

fn unknown(id: &str) -> Fault {
    if id.starts_with("vpc-") {
        fault(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{id}' does not exist"),
        )
    } else {
        fault(
            "InvalidVpcID.Malformed",
            format!("Invalid id: \"{id}\" (expecting \"vpc-...\")"),
        )
    }
}
