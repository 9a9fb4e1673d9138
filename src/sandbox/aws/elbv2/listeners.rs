//! Listeners and their rules.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attributes::{self, Attributes};
use super::tags::{self, Tags};
use super::{Call, Fault, State, actions, arn, number, page, refuse, text, texts};
use crate::sandbox::state;

/// Listeners per load balancer (`L-B6DF7632`).
pub const QUOTA: usize = 50;
/// Rules per load balancer, the default ones not counted (`L-2EC3E6CB`).
pub const RULES: usize = 100;

/// A listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listener {
    /// Its ARN.
    pub arn: String,
    /// The load balancer's ARN.
    pub load_balancer: String,
    /// The port.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TCP`, …
    pub protocol: String,
    /// ARNs of certificates, the default one first.
    pub certificates: Vec<String>,
    /// The TLS policy.
    pub ssl_policy: Option<String>,
    /// The default actions, as they are described.
    pub actions: Vec<Value>,
    /// Attributes.
    pub attributes: Attributes,
    /// Tags.
    pub tags: Tags,
}

/// A rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Its ARN.
    pub arn: String,
    /// The listener's ARN.
    pub listener: String,
    /// From 1; the lowest that fits decides.
    pub priority: u32,
    /// The conditions, as they are described; all of them must fit.
    pub conditions: Vec<Value>,
    /// The actions, as they are described.
    pub actions: Vec<Value>,
    /// Tags.
    pub tags: Tags,
}

impl Listener {
    fn path(&self) -> &str {
        self.arn
            .split_once(":listener/")
            .map_or("", |(_, path)| path)
    }

    fn default_rule(&self) -> Value {
        let rule = self.arn.replacen(":listener/", ":listener-rule/", 1);
        // The default rule's own id is derived, as it lives and dies with the listener.
        let id: String = self
            .path()
            .chars()
            .rev()
            .filter(char::is_ascii_hexdigit)
            .take(16)
            .collect();
        json!({
            "RuleArn": format!("{rule}/{id}"),
            "Priority": "default",
            "Conditions": [],
            "Actions": self.actions,
            "IsDefault": true,
        })
    }

    fn describe(&self) -> Value {
        let certificates: Vec<Value> = self
            .certificates
            .iter()
            .take(1)
            .map(|arn| json!({ "CertificateArn": arn }))
            .collect();
        let secure = !certificates.is_empty();
        json!({
            "ListenerArn": self.arn,
            "LoadBalancerArn": self.load_balancer,
            "Port": self.port,
            "Protocol": self.protocol,
            "Certificates": secure.then_some(certificates),
            "SslPolicy": self.ssl_policy,
            "DefaultActions": self.actions,
            "MutualAuthentication": secure.then(|| json!({ "Mode": "off" })),
        })
    }
}

impl Rule {
    fn describe(&self) -> Value {
        json!({
            "RuleArn": self.arn,
            "Priority": self.priority.to_string(),
            "Conditions": self.conditions,
            "Actions": self.actions,
            "IsDefault": false,
        })
    }
}

fn missing(arn: &str) -> Fault {
    refuse("ListenerNotFound", format!("Listener '{arn}' not found"))
}

fn missing_rule(arn: &str) -> Fault {
    refuse("RuleNotFound", format!("Rule '{arn}' not found"))
}

/// The listener that a call names.
pub fn find<'a>(state: &'a mut State, call: &Call<'_>) -> Result<&'a mut Listener, Fault> {
    let arn = text(call.input, "ListenerArn");
    state.listeners.get_mut(arn).ok_or_else(|| missing(arn))
}

struct Settings {
    port: u16,
    protocol: String,
    certificates: Vec<String>,
    ssl_policy: Option<String>,
}

fn settings(call: &Call<'_>, balancer: &str, before: Option<&Listener>) -> Result<Settings, Fault> {
    let input = call.input;
    let port = number(&input["Port"]).or(before.map(|known| u64::from(known.port)));
    let protocol = input["Protocol"]
        .as_str()
        .map(str::to_owned)
        .or(before.map(|known| known.protocol.clone()));
    let (Some(port), Some(protocol)) = (port, protocol) else {
        return Err(refuse(
            "ValidationError",
            "A port and a protocol must be specified",
        ));
    };
    let allowed: &[&str] = if balancer == "application" {
        &["HTTP", "HTTPS"]
    } else {
        &["TCP", "TLS", "UDP", "TCP_UDP"]
    };
    if !allowed.contains(&protocol.as_str()) {
        return Err(refuse(
            "ValidationError",
            format!(
                "Protocol '{protocol}' must be one of '{}'",
                allowed.join(", ")
            ),
        ));
    }
    let mut certificates: Vec<String> = input["Certificates"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|certificate| text(certificate, "CertificateArn").to_owned())
        .collect();
    let secure = matches!(protocol.as_str(), "HTTPS" | "TLS");
    if certificates.is_empty()
        && let Some(before) = before
        && secure
    {
        certificates.clone_from(&before.certificates);
    }
    if secure && certificates.is_empty() {
        return Err(refuse(
            "ValidationError",
            format!("A certificate must be specified for {protocol} listeners"),
        ));
    }
    if !secure && !certificates.is_empty() {
        return Err(refuse(
            "ValidationError",
            format!("A certificate cannot be specified for {protocol} listeners"),
        ));
    }
    let ssl_policy = secure.then(|| {
        input["SslPolicy"]
            .as_str()
            .or(before.and_then(|known| known.ssl_policy.as_deref()))
            .unwrap_or("ELBSecurityPolicy-TLS13-1-2-2021-06")
            .to_owned()
    });
    Ok(Settings {
        port: u16::try_from(port).unwrap_or(u16::MAX),
        protocol,
        certificates,
        ssl_policy,
    })
}

fn duplicate(balancer: &str) -> Fault {
    refuse(
        "DuplicateListener",
        format!("A listener already exists on this port for this load balancer '{balancer}'"),
    )
}

/// `CreateListener`; the same settings again are the same listener.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let balancer = super::balancers::find(&mut state.elbv2, call)?;
    let (owner, kind, path) = (
        balancer.arn.clone(),
        balancer.kind.clone(),
        balancer.path().to_owned(),
    );
    let tags = tags::read(call)?;
    let settings = settings(call, &kind, None)?;
    let actions = actions::complete(&state.elbv2, call, &call.input["DefaultActions"], &owner)?;
    let beside: Vec<&Listener> = state
        .elbv2
        .listeners
        .values()
        .filter(|known| known.load_balancer == owner)
        .collect();
    if let Some(known) = beside.iter().find(|known| known.port == settings.port) {
        if known.protocol == settings.protocol && known.actions == actions {
            return Ok(json!({ "Listeners": [known.describe()] }));
        }
        return Err(duplicate(&owner));
    }
    if beside.len() >= QUOTA {
        return Err(refuse(
            "TooManyListeners",
            "You've reached the limit on listeners of this load balancer",
        ));
    }
    let id = state.unique_hex(16);
    let listener = Listener {
        arn: arn(call, &format!("listener/{path}/{id}")),
        load_balancer: owner,
        port: settings.port,
        protocol: settings.protocol,
        certificates: settings.certificates,
        ssl_policy: settings.ssl_policy,
        actions,
        attributes: attributes::of_listener(),
        tags,
    };
    let answer = json!({ "Listeners": [listener.describe()] });
    state.elbv2.listeners.insert(listener.arn.clone(), listener);
    Ok(answer)
}

/// `DescribeListeners`.
pub fn describe(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arns = texts(&call.input["ListenerArns"]);
    let owner = call.input["LoadBalancerArn"].as_str();
    if owner.is_some() {
        super::balancers::find(state, call)?;
    } else if arns.is_empty() {
        return Err(refuse(
            "ValidationError",
            "You must specify either listener ARNs or a load balancer ARN",
        ));
    }
    for arn in &arns {
        if !state.listeners.contains_key(arn) {
            return Err(missing(arn));
        }
    }
    let mut found: Vec<&Listener> = state
        .listeners
        .values()
        .filter(|known| owner.is_none_or(|owner| owner == known.load_balancer))
        .filter(|known| arns.is_empty() || arns.contains(&known.arn))
        .collect();
    found.sort_by_key(|known| known.port);
    page(
        call,
        "Listeners",
        found.into_iter().map(Listener::describe).collect(),
    )
}

/// `ModifyListener`.
pub fn modify(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let before = find(state, call)?.clone();
    let kind = state
        .load_balancers
        .get(&before.load_balancer)
        .map_or("application", |owner| owner.kind.as_str())
        .to_owned();
    let settings = settings(call, &kind, Some(&before))?;
    let taken = state.listeners.values().any(|known| {
        known.load_balancer == before.load_balancer
            && known.arn != before.arn
            && known.port == settings.port
    });
    if taken {
        return Err(duplicate(&before.load_balancer));
    }
    let actions = match &call.input["DefaultActions"] {
        Value::Array(_) => actions::complete(
            state,
            call,
            &call.input["DefaultActions"],
            &before.load_balancer,
        )?,
        _ => before.actions,
    };
    let listener = find(state, call)?;
    listener.port = settings.port;
    listener.protocol = settings.protocol;
    listener.certificates = settings.certificates;
    listener.ssl_policy = settings.ssl_policy;
    listener.actions = actions;
    Ok(json!({ "Listeners": [listener.describe()] }))
}

/// Removes a listener and its rules.
pub fn drop_listener(state: &mut State, arn: &str) {
    state.listeners.remove(arn);
    state.rules.retain(|_, rule| rule.listener != arn);
}

/// `DeleteListener`.
pub fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = find(state, call)?.arn.clone();
    drop_listener(state, &arn);
    Ok(json!({}))
}

/// `DescribeListenerCertificates`.
pub fn certificates(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let list: Vec<Value> = find(state, call)?
        .certificates
        .iter()
        .enumerate()
        .map(|(index, arn)| json!({ "CertificateArn": arn, "IsDefault": index == 0 }))
        .collect();
    Ok(json!({ "Certificates": list }))
}

/// `AddListenerCertificates`.
pub fn add_certificates(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let listener = find(state, call)?;
    let mut added = Vec::new();
    for certificate in call.input["Certificates"].as_array().into_iter().flatten() {
        let arn = text(certificate, "CertificateArn").to_owned();
        added.push(json!({ "CertificateArn": arn, "IsDefault": false }));
        if !listener.certificates.contains(&arn) {
            listener.certificates.push(arn);
        }
    }
    Ok(json!({ "Certificates": added }))
}

/// `RemoveListenerCertificates`.
pub fn remove_certificates(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let listener = find(state, call)?;
    for certificate in call.input["Certificates"].as_array().into_iter().flatten() {
        let arn = text(certificate, "CertificateArn");
        if listener
            .certificates
            .first()
            .is_some_and(|first| first == arn)
        {
            return Err(refuse(
                "OperationNotPermitted",
                "Default certificate cannot be removed",
            ));
        }
        listener.certificates.retain(|known| known != arn);
    }
    Ok(json!({}))
}

/// `CreateRule`.
pub fn create_rule(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let listener = find(&mut state.elbv2, call)?.clone();
    let tags = tags::read(call)?;
    let priority = number(&call.input["Priority"]).unwrap_or_default() as u32;
    let conditions = actions::conditions(&call.input["Conditions"])?;
    let actions = actions::complete(
        &state.elbv2,
        call,
        &call.input["Actions"],
        &listener.load_balancer,
    )?;
    let rules = state.elbv2.rules.values();
    if rules
        .clone()
        .any(|rule| rule.listener == listener.arn && rule.priority == priority)
    {
        return Err(refuse(
            "PriorityInUse",
            format!("Priority '{priority}' is currently in use"),
        ));
    }
    let beside = rules
        .filter(|rule| {
            let owner = state.elbv2.listeners.get(&rule.listener);
            owner.is_some_and(|owner| owner.load_balancer == listener.load_balancer)
        })
        .count();
    if beside >= RULES {
        return Err(refuse(
            "TooManyRules",
            "You've reached the limit on rules of this load balancer",
        ));
    }
    let id = state.unique_hex(16);
    let rule = Rule {
        arn: arn(call, &format!("listener-rule/{}/{id}", listener.path())),
        listener: listener.arn,
        priority,
        conditions,
        actions,
        tags,
    };
    let answer = json!({ "Rules": [rule.describe()] });
    state.elbv2.rules.insert(rule.arn.clone(), rule);
    Ok(answer)
}

fn in_order(state: &State, listener: &Listener) -> Vec<Value> {
    let mut rules: Vec<&Rule> = state
        .rules
        .values()
        .filter(|rule| rule.listener == listener.arn)
        .collect();
    rules.sort_by_key(|rule| rule.priority);
    rules
        .into_iter()
        .map(Rule::describe)
        .chain([listener.default_rule()])
        .collect()
}

/// `DescribeRules`.
pub fn describe_rules(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arns = texts(&call.input["RuleArns"]);
    if arns.is_empty() {
        if call.input["ListenerArn"].is_null() {
            return Err(refuse(
                "ValidationError",
                "You must specify either a listener ARN or rule ARNs",
            ));
        }
        let listener = find(state, call)?.clone();
        return page(call, "Rules", in_order(state, &listener));
    }
    let mut found = Vec::new();
    for arn in &arns {
        let rule = state.rules.get(arn).map(Rule::describe).or_else(|| {
            let mut defaults = state.listeners.values().map(Listener::default_rule);
            defaults.find(|rule| rule["RuleArn"] == **arn)
        });
        found.push(rule.ok_or_else(|| missing_rule(arn))?);
    }
    page(call, "Rules", found)
}

fn is_default(state: &State, arn: &str) -> bool {
    state
        .listeners
        .values()
        .any(|listener| listener.default_rule()["RuleArn"] == *arn)
}

/// `ModifyRule`.
pub fn modify_rule(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = text(call.input, "RuleArn");
    if is_default(state, arn) {
        return Err(refuse(
            "OperationNotPermitted",
            format!("Default rule '{arn}' cannot be modified"),
        ));
    }
    let before = state
        .rules
        .get(arn)
        .cloned()
        .ok_or_else(|| missing_rule(arn))?;
    let owner = state
        .listeners
        .get(&before.listener)
        .map_or(String::new(), |listener| listener.load_balancer.clone());
    let conditions = match &call.input["Conditions"] {
        Value::Array(_) => actions::conditions(&call.input["Conditions"])?,
        _ => before.conditions,
    };
    let actions = match &call.input["Actions"] {
        Value::Array(_) => actions::complete(state, call, &call.input["Actions"], &owner)?,
        _ => before.actions,
    };
    let rule = state.rules.get_mut(arn).ok_or_else(|| missing_rule(arn))?;
    rule.conditions = conditions;
    rule.actions = actions;
    Ok(json!({ "Rules": [rule.describe()] }))
}

/// `DeleteRule`.
pub fn delete_rule(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = text(call.input, "RuleArn");
    if is_default(state, arn) {
        return Err(refuse(
            "OperationNotPermitted",
            format!("Default rule '{arn}' cannot be deleted"),
        ));
    }
    match state.rules.remove(arn) {
        Some(_) => Ok(json!({})),
        None => Err(missing_rule(arn)),
    }
}

/// `SetRulePriorities`.
pub fn set_priorities(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let mut wanted: Vec<(String, u32)> = Vec::new();
    for pair in call.input["RulePriorities"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let arn = text(pair, "RuleArn").to_owned();
        if !state.rules.contains_key(&arn) {
            return Err(missing_rule(&arn));
        }
        wanted.push((arn, number(&pair["Priority"]).unwrap_or_default() as u32));
    }
    let mut seen = BTreeSet::new();
    for (arn, rule) in &state.rules {
        let priority = wanted
            .iter()
            .find(|(known, _)| known == arn)
            .map_or(rule.priority, |(_, priority)| *priority);
        if !seen.insert((rule.listener.clone(), priority)) {
            return Err(refuse(
                "PriorityInUse",
                format!("Priority '{priority}' is currently in use"),
            ));
        }
    }
    let mut changed = Vec::new();
    for (arn, priority) in wanted {
        if let Some(rule) = state.rules.get_mut(&arn) {
            rule.priority = priority;
            changed.push(rule.describe());
        }
    }
    Ok(json!({ "Rules": changed }))
}
