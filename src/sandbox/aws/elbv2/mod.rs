//! Elastic Load Balancing v2: load balancers, listeners, rules, target groups and targets. What serves them is the data
//! plane, which reads [`State`] and tells the health of targets through [`set_health`].

mod actions;
mod attributes;
mod balancers;
mod groups;
mod listeners;
mod tags;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Call, Check, Fault, Operation, Protocol, Service};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{self, World};

pub use balancers::LoadBalancer;
pub use groups::{HealthCheck, Target, TargetGroup, set_health};
pub use listeners::{Listener, Rule};

/// The service's part of the state; everything by ARN.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Load balancers.
    pub load_balancers: BTreeMap<String, LoadBalancer>,
    /// Target groups.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// Listeners.
    pub listeners: BTreeMap<String, Listener>,
    /// Rules, the default ones (which are part of their listener) not among them.
    pub rules: BTreeMap<String, Rule>,
    /// Network interfaces of deleted load balancers: when each goes, its region and id.
    leaving: Vec<(Millis, String, String)>,
}

/// Elastic Load Balancing.
pub struct Elb;

macro_rules! operations {
    ($($name:literal),* $(,)?) => {
        &[$(Operation { name: $name, method: "", path: "" }),*]
    };
}

const OPERATIONS: &[Operation] = operations![
    "AddListenerCertificates",
    "AddTags",
    "CreateListener",
    "CreateLoadBalancer",
    "CreateRule",
    "CreateTargetGroup",
    "DeleteListener",
    "DeleteLoadBalancer",
    "DeleteRule",
    "DeleteTargetGroup",
    "DeregisterTargets",
    "DescribeAccountLimits",
    "DescribeCapacityReservation",
    "DescribeListenerAttributes",
    "DescribeListenerCertificates",
    "DescribeListeners",
    "DescribeLoadBalancerAttributes",
    "DescribeLoadBalancers",
    "DescribeRules",
    "DescribeSSLPolicies",
    "DescribeTags",
    "DescribeTargetGroupAttributes",
    "DescribeTargetGroups",
    "DescribeTargetHealth",
    "DescribeTrustStores",
    "ModifyListener",
    "ModifyListenerAttributes",
    "ModifyLoadBalancerAttributes",
    "ModifyRule",
    "ModifyTargetGroup",
    "ModifyTargetGroupAttributes",
    "RegisterTargets",
    "RemoveListenerCertificates",
    "RemoveTags",
    "SetIpAddressType",
    "SetRulePriorities",
    "SetSecurityGroups",
    "SetSubnets",
];

impl Service for Elb {
    fn signing_name(&self) -> &'static str {
        "elasticloadbalancing"
    }

    fn protocol(&self) -> Protocol {
        Protocol::Query
    }

    fn version(&self) -> &'static str {
        "2015-12-01"
    }

    fn namespace(&self) -> &'static str {
        "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn resource(&self, call: &Call<'_>) -> String {
        let text = |member: &str| call.input[member].as_str();
        // The descriptions have no resource types in IAM.
        if call.operation.starts_with("Describe") {
            return "*".to_owned();
        }
        let name = text("Name").unwrap_or_default();
        match call.operation {
            "CreateLoadBalancer" => {
                let kind = if text("Type") == Some("network") {
                    "net"
                } else {
                    "app"
                };
                arn(call, &format!("loadbalancer/{kind}/{name}/*"))
            }
            "CreateTargetGroup" => arn(call, &format!("targetgroup/{name}/*")),
            _ => [
                "RuleArn",
                "ListenerArn",
                "TargetGroupArn",
                "LoadBalancerArn",
            ]
            .iter()
            .find_map(|member| text(member))
            .or(call.input["ResourceArns"][0].as_str())
            .or(call.input["RulePriorities"][0]["RuleArn"].as_str())
            .unwrap_or("*")
            .to_owned(),
        }
    }

    fn checks(&self, state: &state::State, call: &Call<'_>) -> Vec<Check> {
        let resource = self.resource(call);
        let tags = tags::of(&state.elbv2, &resource);
        let mut check = Check::new(
            format!("elasticloadbalancing:{}", call.operation),
            resource.clone(),
        )
        .tagged(tags.iter().flat_map(|tags| tags.iter()));
        for (key, value) in tags.into_iter().flatten() {
            check = check.with(
                format!("elasticloadbalancing:ResourceTag/{key}"),
                value.clone(),
            );
        }
        let mut checks = vec![check];
        // Tags on creation need the permission to tag, which policies tie to the creating action.
        if call.operation.starts_with("Create") && call.input["Tags"].is_array() {
            checks.push(
                Check::new("elasticloadbalancing:AddTags", created(call, resource))
                    .with("elasticloadbalancing:CreateAction", call.operation),
            );
        }
        checks
    }

    fn handle(&self, state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
        let mine = &mut state.elbv2;
        match call.operation {
            "CreateLoadBalancer" => balancers::create(state, call),
            "DescribeLoadBalancers" => balancers::describe(mine, call),
            "DeleteLoadBalancer" => balancers::delete(mine, call),
            "SetSecurityGroups" => balancers::set_groups(state, call),
            "SetSubnets" => balancers::set_subnets(state, call),
            "SetIpAddressType" => balancers::set_address_type(mine, call),
            "DescribeLoadBalancerAttributes" | "ModifyLoadBalancerAttributes" => {
                let modify = call.operation.starts_with("Modify");
                let attributes = &mut balancers::find(mine, call)?.attributes;
                attributes::answer(attributes, call, modify, "Load balancer")
            }
            "CreateTargetGroup" => groups::create(state, call),
            "DescribeTargetGroups" => groups::describe(mine, call),
            "ModifyTargetGroup" => groups::modify(mine, call),
            "DeleteTargetGroup" => groups::delete(mine, call),
            "RegisterTargets" => groups::register(state, call),
            "DeregisterTargets" => groups::deregister(mine, call),
            "DescribeTargetHealth" => groups::health(mine, call),
            "DescribeTargetGroupAttributes" | "ModifyTargetGroupAttributes" => {
                let modify = call.operation.starts_with("Modify");
                let attributes = &mut groups::find(mine, call)?.attributes;
                attributes::answer(attributes, call, modify, "Target group")
            }
            "CreateListener" => listeners::create(state, call),
            "DescribeListeners" => listeners::describe(mine, call),
            "ModifyListener" => listeners::modify(mine, call),
            "DeleteListener" => listeners::delete(mine, call),
            "DescribeListenerAttributes" | "ModifyListenerAttributes" => {
                let modify = call.operation.starts_with("Modify");
                let attributes = &mut listeners::find(mine, call)?.attributes;
                attributes::answer(attributes, call, modify, "Listener")
            }
            "DescribeListenerCertificates" => listeners::certificates(mine, call),
            "AddListenerCertificates" => listeners::add_certificates(mine, call),
            "RemoveListenerCertificates" => listeners::remove_certificates(mine, call),
            "CreateRule" => listeners::create_rule(state, call),
            "DescribeRules" => listeners::describe_rules(mine, call),
            "ModifyRule" => listeners::modify_rule(mine, call),
            "DeleteRule" => listeners::delete_rule(mine, call),
            "SetRulePriorities" => listeners::set_priorities(mine, call),
            "AddTags" => tags::add(mine, call),
            "RemoveTags" => tags::remove(mine, call),
            "DescribeTags" => tags::describe(mine, call),
            "DescribeAccountLimits" => Ok(limits()),
            "DescribeSSLPolicies" => Ok(json!({ "SslPolicies": [{
                "Name": "ELBSecurityPolicy-TLS13-1-2-2021-06",
                "SslProtocols": ["TLSv1.2", "TLSv1.3"],
                "Ciphers": [{ "Name": "TLS_AES_128_GCM_SHA256", "Priority": 1 }],
                "SupportedLoadBalancerTypes": ["application", "network"],
            }]})),
            "DescribeTrustStores" => Ok(json!({ "TrustStores": [] })),
            "DescribeCapacityReservation" => {
                balancers::find(mine, call)?;
                Ok(json!({ "CapacityReservationState": [] }))
            }
            name => Err(refuse(
                "InvalidAction",
                format!("the sandbox's Elastic Load Balancing has no operation {name}"),
            )),
        }
    }

    fn tick(&self, state: &mut state::State, world: &World) -> bool {
        let balancers = balancers::tick(state, world);
        groups::tick(&mut state.elbv2, world.clock.now()) || balancers
    }
}

fn limits() -> Value {
    let limits: Vec<Value> = [
        ("application-load-balancers", balancers::QUOTA),
        ("target-groups", groups::QUOTA),
        ("targets-per-application-load-balancer", 1000),
        ("listeners-per-application-load-balancer", listeners::QUOTA),
        ("rules-per-application-load-balancer", listeners::RULES),
        ("network-load-balancers", 50),
    ]
    .into_iter()
    .map(|(name, max)| json!({ "Name": name, "Max": max.to_string() }))
    .collect();
    json!({ "Limits": limits })
}

/// What a `Create…` makes: listeners and rules are created on something else, which their own ARNs continue.
fn created(call: &Call<'_>, on: String) -> String {
    match call.operation {
        "CreateListener" => on.replacen(":loadbalancer/", ":listener/", 1) + "/*",
        "CreateRule" => on.replacen(":listener/", ":listener-rule/", 1) + "/*",
        _ => on,
    }
}

fn arn(call: &Call<'_>, rest: &str) -> String {
    format!(
        "arn:aws:elasticloadbalancing:{}:{}:{rest}",
        call.region, call.world.account
    )
}

/// An error of the service; nearly all have status 400.
fn refuse(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(400, code, message)
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

/// A list of strings.
fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn number(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn flag(value: &Value) -> Option<bool> {
    value
        .as_bool()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

/// ISO 8601 with milliseconds.
fn moment(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at as i64)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        .to_string()
}

/// What a `Describe…` asks for by ARN (in the member `arns`) and by name, or all; each of `all` comes with both. What is
/// asked for and not there is refused with the first of `missing`, for an ARN, or the second, for a name.
fn chosen<'a, T>(
    call: &Call<'_>,
    arns: &str,
    all: impl Iterator<Item = (&'a str, &'a str, &'a T)>,
    missing: (impl Fn(&str) -> Fault, impl Fn(&str) -> Fault),
) -> Result<Vec<&'a T>, Fault> {
    let (arns, names) = (texts(&call.input[arns]), texts(&call.input["Names"]));
    let all: Vec<_> = all.collect();
    for arn in &arns {
        if !all.iter().any(|(known, ..)| known == arn) {
            return Err(missing.0(arn));
        }
    }
    for name in &names {
        if !all.iter().any(|(_, known, _)| known == name) {
            return Err(missing.1(name));
        }
    }
    let is_chosen = |arn: &str, name: &str| {
        (arns.is_empty() || arns.iter().any(|one| one == arn))
            && (names.is_empty() || names.iter().any(|one| one == name))
    };
    let chosen = all
        .into_iter()
        .filter(|(arn, name, _)| is_chosen(arn, name));
    Ok(chosen.map(|(.., one)| one).collect())
}

/// One page of descriptions: the marker is the position that follows.
fn page(call: &Call<'_>, member: &str, items: Vec<Value>) -> Result<Value, Fault> {
    let start: usize = match call.input["Marker"].as_str() {
        None | Some("") => 0,
        Some(marker) => marker
            .parse()
            .map_err(|_| refuse("ValidationError", "The marker is not valid"))?,
    };
    let limit = number(&call.input["PageSize"]).unwrap_or(400) as usize;
    let total = items.len();
    let shown: Vec<Value> = items.into_iter().skip(start).take(limit).collect();
    let end = start + shown.len();
    Ok(json!({ member: shown, "NextMarker": (end < total).then(|| end.to_string()) }))
}

/// Names of load balancers and target groups: at most 32 letters, digits and hyphens, no hyphen at the edges.
fn check_name(what: &str, name: &str) -> Result<(), Fault> {
    let message = if name.is_empty() || name.len() > 32 {
        format!("{what} name '{name}' cannot be longer than '32' characters")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        format!(
            "{what} name '{name}' can only contain characters that are alphanumeric characters and hyphens(-)"
        )
    } else if name.starts_with('-') || name.ends_with('-') {
        format!("{what} name '{name}' cannot begin or end with a hyphen(-)")
    } else if name.starts_with("internal-") {
        format!("{what} name '{name}' cannot begin with 'internal-'")
    } else {
        return Ok(());
    };
    Err(refuse("ValidationError", message))
}

#[cfg(test)]
mod tests;
