//! EC2: networks, what lives in them, and what refuses to be deleted while something else needs it.
//!
//! Everything is kept per region. Other services (EKS, Elastic Load Balancing) make and remove network interfaces,
//! nodes and security groups through [`Ec2`], which is also what the API's operations call.

mod addresses;
mod cidr;
mod gateways;
mod groups;
mod input;
mod instances;
mod interfaces;
mod permissions;
mod places;
mod routes;
mod rules;
mod subnets;
mod tags;
mod templates;
mod volumes;
mod vpcs;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shapes::Violation;
use super::{Call, Check, Fault, Operation, Protocol};
use crate::sandbox::clock::{Clock, Millis};
use crate::sandbox::state::{State as Everything, World};
use input::{Input, fault};

pub use addresses::Address;
pub use cidr::Cidr;
pub use gateways::{InternetGateway, NatGateway};
pub use groups::SecurityGroup;
pub use instances::{Instance, NewNode};
pub use interfaces::{Attachment, Interface, NewInterface};
pub use places::{InstanceType, instance_type, zones};
pub use routes::{NetworkAcl, Route, RouteTable, Target};
pub use rules::{Peer, Rule};
pub use subnets::Subnet;
pub use templates::{LaunchTemplate, TemplateVersion};
pub use volumes::Volume;
pub use vpcs::Vpc;

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    regions: BTreeMap<String, Region>,
}

/// Everything of one region; each map is by id.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Region {
    /// VPCs, the default one among them.
    pub vpcs: BTreeMap<String, Vpc>,
    /// Subnets.
    pub subnets: BTreeMap<String, Subnet>,
    /// Internet gateways.
    pub internet_gateways: BTreeMap<String, InternetGateway>,
    /// NAT gateways, deleted ones for an hour.
    pub nat_gateways: BTreeMap<String, NatGateway>,
    /// Elastic IP addresses by allocation id.
    pub addresses: BTreeMap<String, Address>,
    /// Route tables.
    pub route_tables: BTreeMap<String, RouteTable>,
    /// Network ACLs.
    pub network_acls: BTreeMap<String, NetworkAcl>,
    /// Security groups.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Network interfaces.
    pub interfaces: BTreeMap<String, Interface>,
    /// Launch templates.
    pub launch_templates: BTreeMap<String, LaunchTemplate>,
    /// Instances, terminated ones for an hour.
    pub instances: BTreeMap<String, Instance>,
    /// Volumes.
    pub volumes: BTreeMap<String, Volume>,
    /// Tags by the id of what carries them.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
    /// Client tokens and the id that the first request with one made.
    tokens: BTreeMap<String, String>,
}

/// How many client tokens are remembered; AWS forgets them after a while.
const TOKENS: usize = 1000;

/// One region of EC2, at work.
pub struct Ec2<'a> {
    next: &'a mut u64,
    /// What the region holds.
    pub region: &'a mut Region,
    name: &'a str,
    account: &'a str,
    clock: Clock,
}

impl<'a> Ec2<'a> {
    /// The region `name`; a region seen for the first time gets its default VPC, as every account has one.
    pub fn of(state: &'a mut Everything, world: &'a World, name: &'a str) -> Self {
        Ec2::new(state, world.clock, &world.account, name)
    }

    fn new(state: &'a mut Everything, clock: Clock, account: &'a str, name: &'a str) -> Self {
        let first = !state.ec2.regions.contains_key(name);
        let Everything { next_id, ec2, .. } = state;
        let mut ec2 = Ec2 {
            next: next_id,
            region: ec2.regions.entry(name.to_owned()).or_default(),
            name,
            account,
            clock,
        };
        if first {
            ec2.make_default_vpc();
        }
        ec2
    }

    /// A new id: `vpc-0` and sixteen hexadecimal digits.
    fn fresh(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.random())
    }

    fn random(&mut self) -> u64 {
        *self.next += 1;
        // SplitMix64 of the counter: distinct for distinct counts, and it looks like the real thing.
        let mut z = self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn now(&self) -> Millis {
        self.clock.now()
    }

    fn after(&self, seconds: u64) -> Millis {
        self.clock.after(Duration::from_secs(seconds))
    }

    fn arn(&self, kind: &str, id: &str) -> String {
        format!("arn:aws:ec2:{}:{}:{kind}/{id}", self.name, self.account)
    }

    /// What a repeated client token made the first time, while it still exists.
    fn made_before(&self, operation: &str, token: Option<&str>) -> Option<String> {
        self.region
            .tokens
            .get(&format!("{operation} {}", token?))
            .cloned()
    }

    fn remember(&mut self, operation: &str, token: Option<&str>, id: &str) {
        if let Some(token) = token {
            if self.region.tokens.len() >= TOKENS {
                self.region.tokens.clear();
            }
            self.region
                .tokens
                .insert(format!("{operation} {token}"), id.to_owned());
        }
    }

    fn tick(&mut self) -> bool {
        let gateways = self.tick_nat_gateways();
        let instances = self.tick_instances();
        gateways || instances
    }

    fn perform(&mut self, operation: &str, input: &Value) -> Result<Value, Fault> {
        let input = Input(input);
        if input.flag("DryRun")? == Some(true) {
            return Err(Fault::new(
                412,
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            ));
        }
        match operation {
            "AllocateAddress" => self.allocate_address(input),
            "AssociateAddress" => self.associate_address(input),
            "AssociateRouteTable" => self.associate_route_table(input),
            "AttachInternetGateway" => self.attach_internet_gateway(input),
            "AuthorizeSecurityGroupEgress" => self.authorize(input, true),
            "AuthorizeSecurityGroupIngress" => self.authorize(input, false),
            "CreateInternetGateway" => self.create_internet_gateway(input),
            "CreateLaunchTemplate" => self.create_launch_template(input),
            "CreateLaunchTemplateVersion" => self.create_launch_template_version(input),
            "CreateNatGateway" => self.create_nat_gateway(input),
            "CreateNetworkInterface" => self.create_network_interface(input),
            "CreateRoute" => self.create_route(input),
            "CreateRouteTable" => self.create_route_table(input),
            "CreateSecurityGroup" => self.create_security_group(input),
            "CreateSubnet" => self.create_subnet(input),
            "CreateTags" => self.create_tags(input),
            "CreateVolume" => self.create_volume(input),
            "CreateVpc" => self.create_vpc(input),
            "DeleteInternetGateway" => self.delete_internet_gateway(input),
            "DeleteLaunchTemplate" => self.delete_launch_template(input),
            "DeleteLaunchTemplateVersions" => self.delete_launch_template_versions(input),
            "DeleteNatGateway" => self.delete_nat_gateway(input),
            "DeleteNetworkInterface" => self.delete_network_interface(input),
            "DeleteRoute" => self.delete_route(input),
            "DeleteRouteTable" => self.delete_route_table(input),
            "DeleteSecurityGroup" => self.delete_security_group(input),
            "DeleteSubnet" => self.delete_subnet(input),
            "DeleteTags" => self.delete_tags(input),
            "DeleteVolume" => self.delete_volume(input),
            "DeleteVpc" => self.delete_vpc(input),
            "DescribeAccountAttributes" => self.describe_account_attributes(input),
            "DescribeAddresses" => self.describe_addresses(input),
            "DescribeAvailabilityZones" => self.describe_availability_zones(input),
            "DescribeInstanceTypes" => self.describe_instance_types(input),
            "DescribeInstances" => self.describe_instances(input),
            "DescribeInternetGateways" => self.describe_internet_gateways(input),
            "DescribeLaunchTemplateVersions" => self.describe_launch_template_versions(input),
            "DescribeLaunchTemplates" => self.describe_launch_templates(input),
            "DescribeNatGateways" => self.describe_nat_gateways(input),
            "DescribeNetworkAcls" => self.describe_network_acls(input),
            "DescribeNetworkInterfaces" => self.describe_network_interfaces(input),
            "DescribeRegions" => self.describe_regions(input),
            "DescribeRouteTables" => self.describe_route_tables(input),
            "DescribeSecurityGroupRules" => self.describe_security_group_rules(input),
            "DescribeSecurityGroups" => self.describe_security_groups(input),
            "DescribeSubnets" => self.describe_subnets(input),
            "DescribeTags" => self.describe_tags(input),
            "DescribeVolumes" => self.describe_volumes(input),
            "DescribeVpcAttribute" => self.describe_vpc_attribute(input),
            "DescribeVpcs" => self.describe_vpcs(input),
            "DetachInternetGateway" => self.detach_internet_gateway(input),
            "DetachNetworkInterface" => self.detach_network_interface(input),
            "DisassociateAddress" => self.disassociate_address(input),
            "DisassociateRouteTable" => self.disassociate_route_table(input),
            "ModifyLaunchTemplate" => self.modify_launch_template(input),
            "ModifyNetworkInterfaceAttribute" => self.modify_network_interface_attribute(input),
            "ModifySubnetAttribute" => self.modify_subnet_attribute(input),
            "ModifyVpcAttribute" => self.modify_vpc_attribute(input),
            "ReleaseAddress" => self.release_address(input),
            "ReplaceRoute" => self.replace_route(input),
            "ReplaceRouteTableAssociation" => self.replace_route_table_association(input),
            "RevokeSecurityGroupEgress" => self.revoke(input, true),
            "RevokeSecurityGroupIngress" => self.revoke(input, false),
            "TerminateInstances" => self.terminate_instances(input),
            _ => Err(fault(
                "InvalidAction",
                format!("The action {operation} is not valid for this web service."),
            )),
        }
    }
}

/// What operations without an output of their own answer.
fn done() -> Result<Value, Fault> {
    Ok(json!({ "return": true }))
}

/// ISO 8601 with milliseconds, as EC2 writes moments.
fn moment(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at as i64)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}

macro_rules! operations {
    ($($name:literal),* $(,)?) => {
        &[$(Operation { name: $name, method: "", path: "" }),*]
    };
}

/// The EC2 API.
pub struct Service;

impl super::Service for Service {
    fn signing_name(&self) -> &'static str {
        "ec2"
    }

    fn protocol(&self) -> Protocol {
        Protocol::Ec2
    }

    fn version(&self) -> &'static str {
        "2016-11-15"
    }

    fn namespace(&self) -> &'static str {
        "http://ec2.amazonaws.com/doc/2016-11-15/"
    }

    fn operations(&self) -> &'static [Operation] {
        operations![
            "AllocateAddress",
            "AssociateAddress",
            "AssociateRouteTable",
            "AttachInternetGateway",
            "AuthorizeSecurityGroupEgress",
            "AuthorizeSecurityGroupIngress",
            "CreateInternetGateway",
            "CreateLaunchTemplate",
            "CreateLaunchTemplateVersion",
            "CreateNatGateway",
            "CreateNetworkInterface",
            "CreateRoute",
            "CreateRouteTable",
            "CreateSecurityGroup",
            "CreateSubnet",
            "CreateTags",
            "CreateVolume",
            "CreateVpc",
            "DeleteInternetGateway",
            "DeleteLaunchTemplate",
            "DeleteLaunchTemplateVersions",
            "DeleteNatGateway",
            "DeleteNetworkInterface",
            "DeleteRoute",
            "DeleteRouteTable",
            "DeleteSecurityGroup",
            "DeleteSubnet",
            "DeleteTags",
            "DeleteVolume",
            "DeleteVpc",
            "DescribeAccountAttributes",
            "DescribeAddresses",
            "DescribeAvailabilityZones",
            "DescribeInstanceTypes",
            "DescribeInstances",
            "DescribeInternetGateways",
            "DescribeLaunchTemplateVersions",
            "DescribeLaunchTemplates",
            "DescribeNatGateways",
            "DescribeNetworkAcls",
            "DescribeNetworkInterfaces",
            "DescribeRegions",
            "DescribeRouteTables",
            "DescribeSecurityGroupRules",
            "DescribeSecurityGroups",
            "DescribeSubnets",
            "DescribeTags",
            "DescribeVolumes",
            "DescribeVpcAttribute",
            "DescribeVpcs",
            "DetachInternetGateway",
            "DetachNetworkInterface",
            "DisassociateAddress",
            "DisassociateRouteTable",
            "ModifyLaunchTemplate",
            "ModifyNetworkInterfaceAttribute",
            "ModifySubnetAttribute",
            "ModifyVpcAttribute",
            "ReleaseAddress",
            "ReplaceRoute",
            "ReplaceRouteTableAssociation",
            "RevokeSecurityGroupEgress",
            "RevokeSecurityGroupIngress",
            "TerminateInstances",
        ]
    }

    fn resource(&self, _call: &Call<'_>) -> String {
        // Operations act on several resources: see `checks`.
        "*".into()
    }

    fn checks(&self, state: &Everything, call: &Call<'_>) -> Vec<Check> {
        permissions::checks(state.ec2.regions.get(call.region), call)
    }

    fn invalid(&self, _operation: &str, first: &Violation, _all: &[Violation]) -> Fault {
        input::refuse(first)
    }

    fn handle(&self, state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
        Ec2::of(state, call.world, call.region).perform(call.operation, call.input)
    }

    fn tick(&self, state: &mut Everything, world: &World) -> bool {
        let names: Vec<String> = state.ec2.regions.keys().cloned().collect();
        let mut changed = false;
        for name in names {
            changed |= Ec2::of(state, world, &name).tick();
        }
        changed
    }
}
