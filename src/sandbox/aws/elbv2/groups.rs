//! Target groups and the health of their targets, which the data plane tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::actions::users;
use super::attributes::{self, Attributes};
use super::tags::{self, Tags};
use super::{Call, Fault, State, arn, check_name, chosen, flag, number, page, refuse, text};
use crate::sandbox::aws::ec2::{Cidr, Ec2};
use crate::sandbox::clock::Millis;
use crate::sandbox::state;

/// Target groups per region (`L-B22855CB`).
pub const QUOTA: usize = 3000;

/// A target group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The region.
    pub region: String,
    /// `HTTP`, `HTTPS`, `TCP`, …
    pub protocol: String,
    /// `HTTP1`, `HTTP2` or `GRPC`.
    pub protocol_version: String,
    /// The port of targets that name none.
    pub port: u16,
    /// The VPC.
    pub vpc: String,
    /// `ip` or `instance`.
    pub target_type: String,
    /// How targets are checked.
    pub health_check: HealthCheck,
    /// Attributes.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
    /// Targets.
    pub targets: Vec<Target>,
}

/// How the targets of a group are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Whether they are.
    pub enabled: bool,
    /// `HTTP`, `HTTPS` or `TCP`.
    pub protocol: String,
    /// `traffic-port` or a number.
    pub port: String,
    /// The path, for HTTP.
    pub path: String,
    /// Seconds between two checks.
    pub interval: u64,
    /// Seconds that a check may take.
    pub timeout: u64,
    /// Successes in a row that make a target healthy.
    pub healthy: u64,
    /// Failures in a row that make it unhealthy.
    pub unhealthy: u64,
    /// The status codes of a success: `200`, `200-299`, `200,202`.
    pub codes: String,
}

impl HealthCheck {
    /// Whether a status code is a success.
    pub fn is_success(&self, status: u16) -> bool {
        self.codes.split(',').any(|part| {
            let mut ends = part.splitn(2, '-').map(|end| end.trim().parse::<u16>());
            match (ends.next(), ends.next()) {
                (Some(Ok(first)), Some(Ok(last))) => (first..=last).contains(&status),
                (Some(Ok(only)), None) => only == status,
                _ => false,
            }
        })
    }
}

/// A registered target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// An address or an instance's id.
    pub id: String,
    /// The port.
    pub port: u16,
    /// The availability zone, where one was given.
    pub zone: Option<String>,
    /// `initial`, `healthy`, `unhealthy` or `draining`.
    pub state: String,
    /// Why, unless it is healthy: `Target.Timeout`.
    pub reason: Option<String>,
    /// The same in words.
    pub description: Option<String>,
    /// When a draining one is gone.
    pub until: Option<Millis>,
}

/// The data plane says how a target is. Returns whether that is news.
pub fn set_health(
    state: &mut State,
    group: &str,
    id: &str,
    port: u16,
    health: (&str, Option<&str>, Option<&str>),
) -> bool {
    let target = state.target_groups.get_mut(group).and_then(|group| {
        group
            .targets
            .iter_mut()
            .find(|target| target.id == id && target.port == port && target.state != "draining")
    });
    let Some(target) = target else {
        return false;
    };
    let before = target.clone();
    health.0.clone_into(&mut target.state);
    target.reason = health.1.map(str::to_owned);
    target.description = health.2.map(str::to_owned);
    *target != before
}

impl TargetGroup {
    fn describe(&self, state: &State) -> Value {
        let check = &self.health_check;
        let http = check.protocol.starts_with("HTTP");
        let web = self.protocol.starts_with("HTTP");
        json!({
            "TargetGroupArn": self.arn,
            "TargetGroupName": self.name,
            "Protocol": self.protocol,
            "Port": self.port,
            "VpcId": self.vpc,
            "HealthCheckProtocol": check.protocol,
            "HealthCheckPort": check.port,
            "HealthCheckEnabled": check.enabled,
            "HealthCheckIntervalSeconds": check.interval,
            "HealthCheckTimeoutSeconds": check.timeout,
            "HealthyThresholdCount": check.healthy,
            "UnhealthyThresholdCount": check.unhealthy,
            "HealthCheckPath": http.then_some(&check.path),
            "Matcher": http.then(|| json!({ "HttpCode": check.codes })),
            "LoadBalancerArns": users(state, &self.arn),
            "TargetType": self.target_type,
            "ProtocolVersion": web.then_some(&self.protocol_version),
            "IpAddressType": "ipv4",
        })
    }
}

fn missing(which: &str) -> Fault {
    refuse(
        "TargetGroupNotFound",
        format!("Target groups '{which}' not found"),
    )
}

/// The target group that a call names.
pub fn find<'a>(state: &'a mut State, call: &Call<'_>) -> Result<&'a mut TargetGroup, Fault> {
    let arn = text(call.input, "TargetGroupArn");
    state
        .target_groups
        .get_mut(arn)
        .filter(|known| known.region == call.region)
        .ok_or_else(|| missing(arn))
}

/// The health check of a request over that of before.
fn health_check(call: &Call<'_>, before: HealthCheck) -> Result<HealthCheck, Fault> {
    let input = call.input;
    let word = |member: &str, before: String| input[member].as_str().map_or(before, str::to_owned);
    let count = |member: &str, before: u64| number(&input[member]).unwrap_or(before);
    let check = HealthCheck {
        enabled: flag(&input["HealthCheckEnabled"]).unwrap_or(before.enabled),
        protocol: word("HealthCheckProtocol", before.protocol),
        port: word("HealthCheckPort", before.port),
        path: word("HealthCheckPath", before.path),
        interval: count("HealthCheckIntervalSeconds", before.interval),
        timeout: count("HealthCheckTimeoutSeconds", before.timeout),
        healthy: count("HealthyThresholdCount", before.healthy),
        unhealthy: count("UnhealthyThresholdCount", before.unhealthy),
        codes: input["Matcher"]["HttpCode"]
            .as_str()
            .map_or(before.codes, str::to_owned),
    };
    if check.timeout >= check.interval {
        return Err(refuse(
            "ValidationError",
            format!(
                "Health check timeout '{}' must be smaller than the interval '{}'",
                check.timeout, check.interval
            ),
        ));
    }
    if !check.path.starts_with('/') {
        return Err(refuse(
            "ValidationError",
            format!("Health check path '{}' must begin with '/'", check.path),
        ));
    }
    if check.port != "traffic-port" && check.port.parse::<u16>().is_err() {
        return Err(refuse(
            "ValidationError",
            format!(
                "Health check port '{}' must be 'traffic-port' or a port",
                check.port
            ),
        ));
    }
    let known = check.codes.split(',').all(|part| {
        part.split('-').all(|code| {
            code.trim()
                .parse::<u16>()
                .is_ok_and(|code| (200..600).contains(&code))
        })
    });
    if !known {
        return Err(refuse(
            "ValidationError",
            format!(
                "Health check matcher HTTP code '{}' must be within '200-599'",
                check.codes
            ),
        ));
    }
    Ok(check)
}

/// `CreateTargetGroup`; the same name with the same settings is the same group.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let input = call.input;
    let name = text(input, "Name").to_owned();
    check_name("Target group", &name)?;
    let tags = tags::read(call)?;
    let target_type = input["TargetType"].as_str().unwrap_or("instance");
    if !matches!(target_type, "ip" | "instance") {
        return Err(refuse(
            "InvalidConfigurationRequest",
            format!("the sandbox has no target groups of type {target_type}"),
        ));
    }
    let (Some(protocol), Some(port), Some(vpc)) = (
        input["Protocol"].as_str(),
        number(&input["Port"]),
        input["VpcId"].as_str(),
    ) else {
        return Err(refuse(
            "ValidationError",
            "A protocol, a port and a VPC ID must be specified",
        ));
    };
    if !Ec2::of(state, call.world, call.region)
        .region
        .vpcs
        .contains_key(vpc)
    {
        return Err(refuse(
            "ValidationError",
            format!("The VPC ID '{vpc}' is not found"),
        ));
    }
    let web = protocol.starts_with("HTTP");
    let check = health_check(
        call,
        HealthCheck {
            enabled: true,
            protocol: if web {
                "HTTP".to_owned()
            } else {
                "TCP".to_owned()
            },
            port: "traffic-port".to_owned(),
            path: "/".to_owned(),
            interval: 30,
            timeout: if web { 5 } else { 10 },
            healthy: 5,
            unhealthy: 2,
            codes: "200".to_owned(),
        },
    )?;
    let version = input["ProtocolVersion"].as_str().unwrap_or("HTTP1");
    let port = u16::try_from(port).unwrap_or(u16::MAX);
    let known = state
        .elbv2
        .target_groups
        .values()
        .find(|known| known.region == call.region && known.name == name);
    if let Some(known) = known {
        let same = (
            known.protocol.as_str(),
            known.port,
            known.vpc.as_str(),
            known.target_type.as_str(),
        ) == (protocol, port, vpc, target_type)
            && known.health_check == check
            && known.tags == tags;
        if same {
            return Ok(json!({ "TargetGroups": [known.describe(&state.elbv2)] }));
        }
        return Err(refuse(
            "DuplicateTargetGroupName",
            format!(
                "A target group with the same name '{name}' exists, but with different settings"
            ),
        ));
    }
    if state.elbv2.target_groups.len() >= QUOTA {
        return Err(refuse(
            "TooManyTargetGroups",
            "You've reached the limit on target groups",
        ));
    }
    let id = state.unique_hex(16);
    let group = TargetGroup {
        arn: arn(call, &format!("targetgroup/{name}/{id}")),
        name,
        region: call.region.to_owned(),
        protocol: protocol.to_owned(),
        protocol_version: version.to_owned(),
        port,
        vpc: vpc.to_owned(),
        target_type: target_type.to_owned(),
        health_check: check,
        attributes: attributes::of_group(),
        tags,
        targets: Vec::new(),
    };
    let answer = json!({ "TargetGroups": [group.describe(&state.elbv2)] });
    state.elbv2.target_groups.insert(group.arn.clone(), group);
    Ok(answer)
}

/// `DescribeTargetGroups`.
pub fn describe(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let balancer = call.input["LoadBalancerArn"].as_str();
    if balancer.is_some() {
        super::balancers::find(state, call)?;
    }
    let here = state.target_groups.values();
    let here = here.filter(|known| known.region == call.region);
    let shown = chosen(
        call,
        "TargetGroupArns",
        here.map(|known| (&*known.arn, &*known.name, known)),
        (missing, missing),
    )?;
    let shown = shown
        .into_iter()
        .filter(|known| balancer.is_none_or(|arn| users(state, &known.arn).contains(arn)))
        .map(|known| known.describe(state))
        .collect();
    page(call, "TargetGroups", shown)
}

/// `ModifyTargetGroup`.
pub fn modify(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let group = find(state, call)?;
    group.health_check = health_check(call, group.health_check.clone())?;
    let group = group.clone();
    Ok(json!({ "TargetGroups": [group.describe(state)] }))
}

/// `DeleteTargetGroup`; one that does not exist is fine.
pub fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = text(call.input, "TargetGroupArn");
    if !users(state, arn).is_empty() {
        return Err(refuse(
            "ResourceInUse",
            format!("Target group '{arn}' is currently in use by a listener or a rule"),
        ));
    }
    state.target_groups.remove(arn);
    Ok(json!({}))
}

fn ports(group: &TargetGroup, target: &Value) -> u16 {
    number(&target["Port"])
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(group.port)
}

/// `RegisterTargets`.
pub fn register(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let group = find(&mut state.elbv2, call)?.clone();
    let ec2 = Ec2::of(state, call.world, call.region);
    for target in call.input["Targets"].as_array().into_iter().flatten() {
        let id = text(target, "Id");
        if group.target_type == "instance" {
            if !ec2
                .instance(id)
                .is_ok_and(|instance| instance.state == "running")
            {
                return Err(refuse(
                    "InvalidTarget",
                    format!(
                        "The following targets are not in a running state and cannot be registered: '{id}'"
                    ),
                ));
            }
            continue;
        }
        let Ok(address) = id.parse::<std::net::Ipv4Addr>() else {
            return Err(refuse(
                "ValidationError",
                format!("The IP address '{id}' is not a valid IPv4 address"),
            ));
        };
        let inside = ec2
            .region
            .vpcs
            .get(&group.vpc)
            .and_then(|vpc| Cidr::parse(&vpc.cidr))
            .is_some_and(|block| block.has(address));
        if !inside && target["AvailabilityZone"] != "all" {
            return Err(refuse(
                "InvalidTarget",
                format!(
                    "The IP address '{id}' is not within a CIDR block of VPC '{}'",
                    group.vpc
                ),
            ));
        }
    }
    let group = find(&mut state.elbv2, call)?;
    for target in call.input["Targets"].as_array().into_iter().flatten() {
        let (id, port) = (text(target, "Id"), ports(group, target));
        // One that drains comes back by being registered again.
        if group
            .targets
            .iter()
            .any(|known| known.id == id && known.port == port && known.state != "draining")
        {
            continue;
        }
        group
            .targets
            .retain(|known| known.id != id || known.port != port);
        group.targets.push(Target {
            id: id.to_owned(),
            port,
            zone: target["AvailabilityZone"].as_str().map(str::to_owned),
            state: "initial".to_owned(),
            reason: Some("Elb.RegistrationInProgress".to_owned()),
            description: Some("Target registration is in progress".to_owned()),
            until: None,
        });
    }
    Ok(json!({}))
}

/// `DeregisterTargets`; those that are not registered are fine.
pub fn deregister(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = find(state, call)?.arn.clone();
    let used = !users(state, &arn).is_empty();
    let group = find(state, call)?;
    let delay = group
        .attributes
        .get("deregistration_delay.timeout_seconds")
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(300);
    let until = call.world.clock.after(Duration::from_secs(delay));
    for target in call.input["Targets"].as_array().into_iter().flatten() {
        let (id, all) = (text(target, "Id"), target["Port"].is_null());
        let port = ports(group, target);
        for known in &mut group.targets {
            if known.id == id && (all || known.port == port) && known.until.is_none() {
                known.state = "draining".to_owned();
                known.reason = Some("Target.DeregistrationInProgress".to_owned());
                known.description = Some("Target deregistration is in progress".to_owned());
                known.until = Some(until);
            }
        }
    }
    if !used {
        group.targets.retain(|known| known.until.is_none());
    }
    Ok(json!({}))
}

/// `DescribeTargetHealth`.
pub fn health(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let group = find(state, call)?.clone();
    let used = !users(state, &group.arn).is_empty();
    let wanted = call.input["Targets"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let show = |target: &Target| {
        let check_port = match group.health_check.port.as_str() {
            "traffic-port" => target.port.to_string(),
            port => port.to_owned(),
        };
        let health = if !used && target.until.is_none() {
            json!({
                "State": "unused",
                "Reason": "Target.NotInUse",
                "Description": "Target group is not configured to receive traffic from the load balancer",
            })
        } else {
            json!({ "State": target.state, "Reason": target.reason, "Description": target.description })
        };
        json!({
            "Target": { "Id": target.id, "Port": target.port, "AvailabilityZone": target.zone },
            "HealthCheckPort": check_port,
            "TargetHealth": health,
        })
    };
    let mut shown = Vec::new();
    for target in &wanted {
        let (id, port) = (text(target, "Id"), ports(&group, target));
        match group
            .targets
            .iter()
            .find(|known| known.id == id && known.port == port)
        {
            Some(known) => shown.push(show(known)),
            None => shown.push(json!({
                "Target": { "Id": id, "Port": port },
                "TargetHealth": {
                    "State": "unused",
                    "Reason": "Target.NotRegistered",
                    "Description": "Target is not registered to the target group",
                },
            })),
        }
    }
    if wanted.is_empty() {
        shown = group.targets.iter().map(show).collect();
    }
    Ok(json!({ "TargetHealthDescriptions": shown }))
}

/// Takes targets away that have drained.
pub fn tick(state: &mut State, now: Millis) -> bool {
    let mut changed = false;
    for group in state.target_groups.values_mut() {
        let before = group.targets.len();
        group
            .targets
            .retain(|target| target.until.is_none_or(|until| now < until));
        changed |= group.targets.len() != before;
    }
    changed
}
