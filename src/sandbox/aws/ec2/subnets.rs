//! Subnets: their addresses come out of the VPC's, and their interfaces' addresses out of theirs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::input::{Input, Listing, fault, invalid};
use super::places::{zone_id, zones};
use super::{Cidr, Ec2, Fault, done};

/// A subnet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnet-…`.
    pub id: String,
    /// The VPC.
    pub vpc: String,
    /// The availability zone's name.
    pub zone: String,
    /// Its addresses.
    pub cidr: String,
    /// Whether instances in it get a public address.
    pub public_addresses: bool,
    default: bool,
}

impl Ec2<'_> {
    pub(super) fn insert_subnet(
        &mut self,
        vpc: &str,
        zone: &str,
        block: Cidr,
        default: bool,
    ) -> String {
        let id = self.fresh("subnet");
        self.region.subnets.insert(
            id.clone(),
            Subnet {
                id: id.clone(),
                vpc: vpc.to_owned(),
                zone: zone.to_owned(),
                cidr: block.to_string(),
                public_addresses: default,
                default,
            },
        );
        id
    }

    /// Looks a subnet up.
    ///
    /// # Errors
    /// `InvalidSubnetID.NotFound`.
    pub fn subnet(&self, id: &str) -> Result<&Subnet, Fault> {
        self.region.subnets.get(id).ok_or_else(|| unknown(id))
    }

    /// The lowest address of a subnet that nothing has. The first four and the last are AWS's own.
    ///
    /// # Errors
    /// `InsufficientFreeAddressesInSubnet`.
    pub fn free_address(&self, subnet: &str) -> Result<Ipv4Addr, Fault> {
        let subnet = self.subnet(subnet)?;
        let taken = self.taken(&subnet.id);
        Cidr::parse(&subnet.cidr)
            .and_then(|block| {
                (4..block.size().saturating_sub(1))
                    .filter_map(|offset| block.address(offset))
                    .find(|address| !taken.contains(address))
            })
            .ok_or_else(|| {
                fault(
                    "InsufficientFreeAddressesInSubnet",
                    format!(
                        "Insufficient Free Addresses in Subnet: The specified subnet '{}' does not have enough free \
                         addresses to satisfy the request.",
                        subnet.id
                    ),
                )
            })
    }

    fn taken(&self, subnet: &str) -> BTreeSet<Ipv4Addr> {
        self.region
            .interfaces
            .values()
            .filter(|interface| interface.subnet == subnet)
            .map(|interface| interface.address)
            .collect()
    }

    pub(super) fn create_subnet(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let vpc_id = input.required("VpcId")?;
        let cidr = input.required("CidrBlock")?;
        let vpc = self.vpc(&vpc_id)?.clone();
        let block = Cidr::parse(&cidr).ok_or_else(|| {
            invalid(format!(
                "Value ({cidr}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
            ))
        })?;
        let inside = Cidr::parse(&vpc.cidr).is_some_and(|network| network.contains(&block));
        if !inside || !(16..=28).contains(&block.prefix()) {
            return Err(fault(
                "InvalidSubnet.Range",
                format!("The CIDR '{cidr}' is invalid."),
            ));
        }
        let zones = zones(self.name);
        let zone = match (input.text("AvailabilityZone"), input.text("AvailabilityZoneId")) {
            (Some(zone), _) => zones.iter().find(|known| **known == zone).cloned().ok_or_else(|| {
                invalid(format!(
                    "Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in \
                     the following availability zones: {}.",
                    zones.join(", ")
                ))
            })?,
            (None, Some(id)) => zones
                .iter()
                .find(|zone| zone_id(self.name, zone) == id)
                .cloned()
                .ok_or_else(|| invalid(format!("Value ({id}) for parameter availabilityZoneId is invalid.")))?,
            (None, None) => zones.first().cloned().unwrap_or_default(),
        };
        let tags = self.tags_of_request(input, "subnet")?;
        let conflict = self.region.subnets.values().any(|subnet| {
            subnet.vpc == vpc_id
                && Cidr::parse(&subnet.cidr).is_some_and(|other| other.overlaps(&block))
        });
        if conflict {
            return Err(fault(
                "InvalidSubnet.Conflict",
                format!("The CIDR '{cidr}' conflicts with another subnet"),
            ));
        }
        let id = self.insert_subnet(&vpc_id, &zone, block, false);
        self.set_tags(&id, tags);
        Ok(json!({ "subnet": self.render_subnet(&self.region.subnets[&id]) }))
    }

    pub(super) fn delete_subnet(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("SubnetId")?;
        self.subnet(&id)?;
        if self
            .region
            .interfaces
            .values()
            .any(|interface| interface.subnet == id)
        {
            return Err(fault(
                "DependencyViolation",
                format!("The subnet '{id}' has dependencies and cannot be deleted."),
            ));
        }
        self.region.subnets.remove(&id);
        self.region.tags.remove(&id);
        for table in self.region.route_tables.values_mut() {
            table
                .associations
                .retain(|association| association.subnet.as_deref() != Some(&id));
        }
        done()
    }

    pub(super) fn describe_subnets(&self, input: Input<'_>) -> Result<Value, Fault> {
        let all = self
            .region
            .subnets
            .values()
            .map(|subnet| self.render_subnet(subnet))
            .collect();
        Listing {
            set: "subnetSet",
            ids: "SubnetId",
            key: "subnetId",
            filters: &[
                ("availability-zone", "availabilityZone"),
                ("availabilityZone", "availabilityZone"),
                ("availability-zone-id", "availabilityZoneId"),
                ("available-ip-address-count", "availableIpAddressCount"),
                ("cidr", "cidrBlock"),
                ("cidr-block", "cidrBlock"),
                ("cidrBlock", "cidrBlock"),
                ("default-for-az", "defaultForAz"),
                ("defaultForAz", "defaultForAz"),
                ("map-public-ip-on-launch", "mapPublicIpOnLaunch"),
                ("owner-id", "ownerId"),
                ("state", "state"),
                ("subnet-arn", "subnetArn"),
                ("subnet-id", "subnetId"),
                ("vpc-id", "vpcId"),
            ],
            unknown,
        }
        .answer(input, all)
    }

    pub(super) fn modify_subnet_attribute(&mut self, input: Input<'_>) -> Result<Value, Fault> {
        let id = input.required("SubnetId")?;
        let public = input.wrapped("MapPublicIpOnLaunch")?;
        let subnet = self
            .region
            .subnets
            .get_mut(&id)
            .ok_or_else(|| unknown(&id))?;
        if let Some(public) = public {
            subnet.public_addresses = public;
        }
        done()
    }

    fn render_subnet(&self, subnet: &Subnet) -> Value {
        let size = Cidr::parse(&subnet.cidr).map_or(0, |block| block.size());
        let used = self.taken(&subnet.id).len() as u64 + 5;
        json!({
            "subnetId": subnet.id,
            "subnetArn": self.arn("subnet", &subnet.id),
            "ownerId": self.account,
            "vpcId": subnet.vpc,
            "state": "available",
            "cidrBlock": subnet.cidr,
            "availabilityZone": subnet.zone,
            "availabilityZoneId": zone_id(self.name, &subnet.zone),
            "availableIpAddressCount": size.saturating_sub(used),
            "defaultForAz": subnet.default,
            "mapPublicIpOnLaunch": subnet.public_addresses,
            "mapCustomerOwnedIpOnLaunch": false,
            "assignIpv6AddressOnCreation": false,
            "ipv6CidrBlockAssociationSet": [],
            "enableDns64": false,
            "ipv6Native": false,
            "privateDnsNameOptionsOnLaunch": {
                "hostnameType": "ip-name",
                "enableResourceNameDnsARecord": false,
                "enableResourceNameDnsAAAARecord": false,
            },
            "tagSet": self.rendered_tags(&subnet.id),
        })
    }
}

fn unknown(id: &str) -> Fault {
    fault(
        "InvalidSubnetID.NotFound",
        format!("The subnet ID '{id}' does not exist"),
    )
}
