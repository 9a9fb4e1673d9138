//! Load balancers: provisioning, then active; their network interfaces outlive them for a while.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attributes::{self, Attributes};
use super::tags::{self, Tags};
use super::{Call, Fault, State, arn, check_name, chosen, moment, page, refuse, text, texts};
use crate::sandbox::aws::doom::Of;
use crate::sandbox::aws::ec2::{Ec2, NewInterface};
use crate::sandbox::clock::Millis;
use crate::sandbox::data_plane::address::free_balancer;
use crate::sandbox::state::{self, World};

/// From creation to active: two to three minutes.
const PROVISIONING: Duration = Duration::from_secs(150);
/// How long the network interfaces of a deleted load balancer stay, and keep its security groups and subnets in use.
const AFTERLIFE: Duration = Duration::from_secs(40);
/// Application load balancers per region (`L-53DA6B97`).
pub const QUOTA: usize = 50;

/// A load balancer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The region.
    pub region: String,
    /// `application` or `network`.
    pub kind: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    /// The VPC.
    pub vpc: String,
    /// The loopback address that the data plane serves it on; also its DNS name, as a literal.
    pub address: Ipv4Addr,
    /// Availability zone and subnet.
    pub zones: Vec<(String, String)>,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// `ipv4`.
    pub address_type: String,
    /// `provisioning`, `active` or `failed`.
    pub state: String,
    /// Creation.
    pub created_at: Millis,
    active_at: Millis,
    /// Attributes.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
    /// Its network interfaces.
    pub interfaces: Vec<String>,
}

impl LoadBalancer {
    /// `app/name/id`: the end of its ARN, which is also in those of its listeners.
    pub fn path(&self) -> &str {
        self.arn
            .split_once(":loadbalancer/")
            .map_or("", |(_, path)| path)
    }

    fn describe(&self) -> Value {
        let zones: Vec<Value> = self
            .zones
            .iter()
            .map(|(zone, subnet)| json!({ "ZoneName": zone, "SubnetId": subnet, "LoadBalancerAddresses": [] }))
            .collect();
        json!({
            "LoadBalancerArn": self.arn,
            "DNSName": self.address.to_string(),
            "CanonicalHostedZoneId": "Z1H1FL5HABSF5",
            "CreatedTime": moment(self.created_at),
            "LoadBalancerName": self.name,
            "Scheme": self.scheme,
            "VpcId": self.vpc,
            "State": { "Code": self.state },
            "Type": self.kind,
            "AvailabilityZones": zones,
            "SecurityGroups": self.security_groups,
            "IpAddressType": self.address_type,
        })
    }
}

fn missing(which: &str) -> Fault {
    refuse(
        "LoadBalancerNotFound",
        format!("Load balancer '{which}' not found"),
    )
}

/// The load balancer that a call names.
pub fn find<'a>(state: &'a mut State, call: &Call<'_>) -> Result<&'a mut LoadBalancer, Fault> {
    let arn = text(call.input, "LoadBalancerArn");
    state
        .load_balancers
        .get_mut(arn)
        .filter(|known| known.region == call.region)
        .ok_or_else(|| missing(arn))
}

/// Checks subnets; the answer is the VPC, and zone and subnet for each.
fn check_subnets(
    state: &mut state::State,
    call: &Call<'_>,
    kind: &str,
    scheme: &str,
) -> Result<(String, Vec<(String, String)>), Fault> {
    let mut subnets = texts(&call.input["Subnets"]);
    for mapping in call.input["SubnetMappings"]
        .as_array()
        .into_iter()
        .flatten()
    {
        subnets.push(text(mapping, "SubnetId").to_owned());
    }
    let ec2 = Ec2::of(state, call.world, call.region);
    let mut zones: Vec<(String, String)> = Vec::new();
    let mut vpcs = BTreeSet::new();
    for id in &subnets {
        let subnet = ec2.subnet(id).map_err(|_| {
            refuse(
                "SubnetNotFound",
                format!("The subnet ID '{id}' is not valid"),
            )
        })?;
        if zones.iter().any(|(zone, _)| *zone == subnet.zone) {
            return Err(refuse(
                "InvalidConfigurationRequest",
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        zones.push((subnet.zone.clone(), id.clone()));
        vpcs.insert(subnet.vpc.clone());
    }
    let least = if kind == "application" { 2 } else { 1 };
    if zones.len() < least {
        return Err(refuse(
            "ValidationError",
            "At least two subnets in two different Availability Zones must be specified",
        ));
    }
    let mut vpcs = vpcs.into_iter();
    let (Some(vpc), None) = (vpcs.next(), vpcs.next()) else {
        return Err(refuse(
            "InvalidConfigurationRequest",
            "All subnets must belong to the same VPC",
        ));
    };
    let connected = ec2
        .region
        .internet_gateways
        .values()
        .any(|gateway| gateway.vpc.as_deref() == Some(&vpc));
    if scheme == "internet-facing" && !connected {
        return Err(refuse(
            "InvalidSubnet",
            format!("VPC {vpc} has no internet gateway"),
        ));
    }
    Ok((vpc, zones))
}

fn check_groups(
    state: &mut state::State,
    call: &Call<'_>,
    vpc: &str,
) -> Result<Vec<String>, Fault> {
    let mut groups = texts(&call.input["SecurityGroups"]);
    let ec2 = Ec2::of(state, call.world, call.region);
    if groups.is_empty() {
        groups.extend(
            ec2.region
                .security_groups
                .values()
                .find(|group| group.vpc == vpc && group.name == "default")
                .map(|group| group.id.clone()),
        );
    }
    for id in &groups {
        if !ec2.security_group(id).is_ok_and(|group| group.vpc == vpc) {
            return Err(refuse(
                "InvalidConfigurationRequest",
                "One or more security groups are invalid",
            ));
        }
    }
    Ok(groups)
}

fn connect(
    state: &mut state::State,
    world: &World,
    balancer: &LoadBalancer,
    subnet: &str,
) -> Result<String, Fault> {
    Ec2::of(state, world, &balancer.region).insert_interface(NewInterface {
        subnet: subnet.to_owned(),
        groups: balancer.security_groups.clone(),
        description: format!("ELB {}", balancer.path()),
        requester: Some("amazon-elb".to_owned()),
        attached: true,
        public: balancer.scheme == "internet-facing",
        ..NewInterface::default()
    })
}

/// `CreateLoadBalancer`; the same name with the same settings is the same load balancer.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = text(call.input, "Name").to_owned();
    check_name("Load balancer", &name)?;
    let tags = tags::read(call)?;
    let kind = call.input["Type"]
        .as_str()
        .unwrap_or("application")
        .to_owned();
    let scheme = call.input["Scheme"]
        .as_str()
        .unwrap_or("internet-facing")
        .to_owned();
    if kind == "gateway" {
        return Err(refuse(
            "InvalidConfigurationRequest",
            "the sandbox has no gateway load balancers",
        ));
    }
    let (vpc, zones) = check_subnets(state, call, &kind, &scheme)?;
    let security_groups = check_groups(state, call, &vpc)?;
    let known = state
        .elbv2
        .load_balancers
        .values()
        .find(|known| known.region == call.region && known.name == name);
    if let Some(known) = known {
        let same = (
            &known.kind,
            &known.scheme,
            &known.zones,
            &known.security_groups,
            &known.tags,
        ) == (&kind, &scheme, &zones, &security_groups, &tags);
        if same {
            return Ok(json!({ "LoadBalancers": [known.describe()] }));
        }
        return Err(refuse(
            "DuplicateLoadBalancerName",
            format!(
                "A load balancer with the same name '{name}' exists, but with different settings"
            ),
        ));
    }
    if state.elbv2.load_balancers.len() >= QUOTA {
        return Err(refuse(
            "TooManyLoadBalancers",
            "The limit on the number of load balancers has been reached",
        ));
    }
    let taken: Vec<Ipv4Addr> = state
        .elbv2
        .load_balancers
        .values()
        .map(|known| known.address)
        .collect();
    let Some(address) = free_balancer(|address| taken.contains(&address)) else {
        return Err(Fault::new(
            500,
            "InternalFailure",
            "there is no free loopback address for a load balancer",
        ));
    };
    let id = state.unique_hex(16);
    let short = if kind == "network" { "net" } else { "app" };
    let mut balancer = LoadBalancer {
        arn: arn(call, &format!("loadbalancer/{short}/{name}/{id}")),
        name,
        region: call.region.to_owned(),
        kind,
        scheme,
        vpc,
        address,
        zones,
        security_groups,
        address_type: call.input["IpAddressType"]
            .as_str()
            .unwrap_or("ipv4")
            .to_owned(),
        state: "provisioning".to_owned(),
        created_at: call.world.clock.now(),
        active_at: call.world.clock.after(PROVISIONING),
        attributes: attributes::of_balancer(),
        tags,
        interfaces: Vec::new(),
    };
    for (_, subnet) in balancer.zones.clone() {
        let id = connect(state, call.world, &balancer, &subnet)
            .map_err(|fault| refuse("InvalidSubnet", fault.message))?;
        balancer.interfaces.push(id);
    }
    let answer = json!({ "LoadBalancers": [balancer.describe()] });
    state
        .elbv2
        .load_balancers
        .insert(balancer.arn.clone(), balancer);
    Ok(answer)
}

/// `DescribeLoadBalancers`.
pub fn describe(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let here = state.load_balancers.values();
    let here = here.filter(|known| known.region == call.region);
    let unnamed = |name: &str| {
        refuse(
            "LoadBalancerNotFound",
            format!("Load balancers '[{name}]' not found"),
        )
    };
    let shown = chosen(
        call,
        "LoadBalancerArns",
        here.map(|known| (&*known.arn, &*known.name, known)),
        (missing, unnamed),
    )?;
    let shown = shown.into_iter().map(LoadBalancer::describe).collect();
    page(call, "LoadBalancers", shown)
}

/// `DeleteLoadBalancer`; one that does not exist is fine.
pub fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = text(call.input, "LoadBalancerArn").to_owned();
    let Some(known) = state.load_balancers.get(&arn) else {
        return Ok(json!({}));
    };
    if known
        .attributes
        .get("deletion_protection.enabled")
        .is_some_and(|on| on == "true")
    {
        return Err(refuse(
            "OperationNotPermitted",
            format!(
                "Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            ),
        ));
    }
    if let Some(gone) = state.load_balancers.remove(&arn) {
        let until = call.world.clock.after(AFTERLIFE);
        for interface in gone.interfaces {
            state.leaving.push((until, gone.region.clone(), interface));
        }
    }
    let listeners: Vec<String> = state
        .listeners
        .values()
        .filter(|listener| listener.load_balancer == arn)
        .map(|listener| listener.arn.clone())
        .collect();
    for listener in listeners {
        super::listeners::drop_listener(state, &listener);
    }
    Ok(json!({}))
}

/// `SetSecurityGroups`.
pub fn set_groups(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let vpc = find(&mut state.elbv2, call)?.vpc.clone();
    let groups = check_groups(state, call, &vpc)?;
    let balancer = find(&mut state.elbv2, call)?;
    balancer.security_groups.clone_from(&groups);
    let interfaces = balancer.interfaces.clone();
    let ec2 = Ec2::of(state, call.world, call.region);
    for id in interfaces {
        if let Some(interface) = ec2.region.interfaces.get_mut(&id) {
            interface.groups.clone_from(&groups);
        }
    }
    Ok(json!({ "SecurityGroupIds": groups }))
}

/// `SetSubnets`.
pub fn set_subnets(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let before = find(&mut state.elbv2, call)?.clone();
    let (_, zones) = check_subnets(state, call, &before.kind, &before.scheme)?;
    let mut interfaces = Vec::new();
    for ((zone, subnet), interface) in before.zones.iter().zip(&before.interfaces) {
        if zones.contains(&(zone.clone(), subnet.clone())) {
            interfaces.push((subnet.clone(), interface.clone()));
        } else {
            Ec2::of(state, call.world, call.region).remove_interface(interface);
        }
    }
    for (_, subnet) in &zones {
        if !interfaces.iter().any(|(known, _)| known == subnet) {
            let id = connect(state, call.world, &before, subnet)
                .map_err(|fault| refuse("InvalidSubnet", fault.message))?;
            interfaces.push((subnet.clone(), id));
        }
    }
    let balancer = find(&mut state.elbv2, call)?;
    balancer.interfaces = zones
        .iter()
        .filter_map(|(_, subnet)| interfaces.iter().find(|(known, _)| known == subnet))
        .map(|(_, id)| id.clone())
        .collect();
    balancer.zones = zones;
    let described = balancer.describe();
    Ok(json!({
        "AvailabilityZones": described["AvailabilityZones"],
        "IpAddressType": balancer.address_type,
    }))
}

/// `SetIpAddressType`: the sandbox speaks IPv4 whatever is set.
pub fn set_address_type(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let balancer = find(state, call)?;
    balancer.address_type = text(call.input, "IpAddressType").to_owned();
    Ok(json!({ "IpAddressType": balancer.address_type }))
}

/// Makes load balancers active, and takes the interfaces of deleted ones away.
pub fn tick(state: &mut state::State, world: &World) -> bool {
    let now = world.clock.now();
    let mut changed = false;
    let doomed = &mut state.doomed;
    for balancer in state.elbv2.load_balancers.values_mut() {
        if balancer.state == "provisioning" && now >= balancer.active_at {
            let fails = doomed.take(Of::Creation, &balancer.arn);
            balancer.state = if fails { "failed" } else { "active" }.to_owned();
            changed = true;
        }
    }
    let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut state.elbv2.leaving)
        .into_iter()
        .partition(|(at, ..)| *at <= now);
    state.elbv2.leaving = rest;
    for (_, region, interface) in due {
        Ec2::of(state, world, &region).remove_interface(&interface);
        changed = true;
    }
    changed
}
