//! What a group of Ingresses wants in AWS, worked out without asking AWS anything.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::runtime::Key;
use super::super::runtime::kinds::SERVICES;
use super::super::runtime::object::{Meta, items, text};
use super::flags::pairs;
use super::groups::{Group, GroupId, Member, annotation, tracking_tags};
use super::rules::{self, Rule};
use super::{Controller, Trouble};

/// Tags, by key.
pub type Tags = BTreeMap<String, String>;

/// A load balancer and all that belongs to it.
#[derive(Debug)]
pub struct Model {
    /// The group it is for.
    pub id: GroupId,
    /// The load balancer's name.
    pub name: String,
    /// `internet-facing` or `internal`.
    pub scheme: String,
    /// Its attributes.
    pub attributes: Tags,
    /// Its tags, without those that say whose it is.
    pub tags: Tags,
    /// Subnets that the user chose; empty for discovery.
    pub subnets: Vec<String>,
    /// Security groups that the user chose; empty for a managed one.
    pub security_groups: Vec<String>,
    /// The managed security group's name.
    pub security_group_name: String,
    /// From where the listeners may be reached.
    pub cidrs: Vec<String>,
    /// Listeners by port.
    pub listeners: Vec<Listener>,
    /// Target groups by the id within the group: `namespace/ingress-service:port`.
    pub target_groups: BTreeMap<String, TargetGroup>,
}

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// Its port.
    pub port: i64,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// Certificates of an HTTPS listener.
    pub certificates: Vec<String>,
    /// What is done where no rule matches.
    pub default: Action,
    /// Its rules, first come first.
    pub rules: Vec<Rule>,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It goes to target groups (by their ids) with weights.
    Forward(Vec<(String, i64)>),
    /// It is answered.
    Fixed {
        /// The status.
        status: String,
        /// The content type.
        kind: String,
        /// The body.
        body: String,
    },
    /// It is sent elsewhere: the members of a redirect action as in the annotation.
    Redirect(Value),
}

/// A target group and the Service behind it.
#[derive(Clone, Debug)]
pub struct TargetGroup {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: i64,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// `HTTP1`, `HTTP2` or `GRPC`.
    pub version: String,
    /// `ip` or `instance`.
    pub target_type: String,
    /// The health check.
    pub health: HealthCheck,
    /// Attributes.
    pub attributes: Tags,
    /// Tags, without those that say whose it is.
    pub tags: Tags,
    /// The Service.
    pub service: Key,
    /// The Service's port as the Ingress names it: a number or a name.
    pub service_port: Value,
    /// The port on the pods: a number or a name.
    pub target_port: Value,
}

/// A health check.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// A number or `traffic-port`.
    pub port: String,
    /// `HTTP` or `HTTPS`.
    pub protocol: String,
    /// The path.
    pub path: String,
    /// Status codes that mean healthy.
    pub codes: String,
    /// Seconds between checks.
    pub interval: i32,
    /// Seconds until a check has failed.
    pub timeout: i32,
    /// Successes in a row that make a target healthy.
    pub healthy: i32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy: i32,
}

/// The first hexadecimal digits of a hash over parts.
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    hash.finalize()
        .iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn plain(text: &str, length: usize) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(length)
        .collect()
}

fn resource_name(id: &GroupId, uid: &str) -> String {
    if id.namespace.is_empty() {
        format!("k8s-{}-{uid}", plain(&id.name, 17))
    } else {
        format!(
            "k8s-{}-{}-{uid}",
            plain(&id.namespace, 8),
            plain(&id.name, 8)
        )
    }
}

/// The one value that all members agree on.
fn agreed<T: PartialEq + std::fmt::Debug>(
    group: &Group,
    what: &str,
    read: impl Fn(&Member) -> Option<T>,
) -> Result<Option<T>, Trouble> {
    let mut found: Option<T> = None;
    for member in &group.members {
        let Some(value) = read(member) else { continue };
        match &found {
            None => found = Some(value),
            Some(known) if *known == value => {}
            Some(known) => {
                return Err(format!("conflicting {what}: {known:?} | {value:?}").into());
            }
        }
    }
    Ok(found)
}

fn list(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

fn strings(value: &Value) -> Option<Vec<String>> {
    let list: Vec<String> = items(value)
        .iter()
        .map(|entry| text(entry).to_owned())
        .collect();
    (!list.is_empty()).then_some(list)
}

/// An Ingress's tags: its class's come first, then its own and those of a Service.
fn tags(controller: &Controller, member: &Member, service: Option<&Value>) -> Tags {
    let mut tags: Tags = pairs(controller.flags.text("default-tags"))
        .into_iter()
        .collect();
    if let Some(service) = service {
        tags.extend(pairs(annotation(service, "tags").unwrap_or("")));
    }
    tags.extend(pairs(annotation(&member.ingress, "tags").unwrap_or("")));
    for tag in items(&member.params["tags"]) {
        tags.insert(text(&tag["key"]).to_owned(), text(&tag["value"]).to_owned());
    }
    tags
}

/// Works out what a group wants.
pub fn build(controller: &Controller, group: &Group) -> Result<Model, Trouble> {
    let scheme = agreed(group, "scheme", |member| {
        member.params["scheme"]
            .as_str()
            .or_else(|| annotation(&member.ingress, "scheme"))
            .map(str::to_owned)
    })?
    .unwrap_or_else(|| {
        controller
            .flags
            .text("default-load-balancer-scheme")
            .to_owned()
    });
    if !matches!(scheme.as_str(), "internet-facing" | "internal") {
        return Err(format!("unknown scheme: {scheme}").into());
    }
    let given = agreed(group, "load balancer name", |member| {
        member.params["loadBalancerName"]
            .as_str()
            .or_else(|| annotation(&member.ingress, "load-balancer-name"))
            .map(str::to_owned)
    })?;
    let id = group.id.to_string();
    let name = match given {
        Some(name) if name.len() > 32 => {
            return Err("load balancer name cannot be longer than 32 characters".into());
        }
        Some(name) => name,
        None => resource_name(&group.id, &digest(&[&controller.name, &id, &scheme])),
    };
    let mut model = Model {
        id: group.id.clone(),
        name,
        scheme,
        attributes: Tags::new(),
        tags: Tags::new(),
        subnets: agreed(group, "subnets", |member| {
            strings(&member.params["subnets"]["ids"])
                .or_else(|| annotation(&member.ingress, "subnets").map(list))
        })?
        .unwrap_or_default(),
        security_groups: agreed(group, "securityGroups", |member| {
            annotation(&member.ingress, "security-groups").map(list)
        })?
        .unwrap_or_default(),
        security_group_name: resource_name(&group.id, &digest(&[&controller.name, &id])),
        cidrs: agreed(group, "inbound-cidrs", |member| {
            strings(&member.params["inboundCIDRs"])
                .or_else(|| annotation(&member.ingress, "inbound-cidrs").map(list))
        })?
        .unwrap_or_else(|| vec!["0.0.0.0/0".to_owned()]),
        listeners: Vec::new(),
        target_groups: BTreeMap::new(),
    };
    for member in &group.members {
        for (key, value) in tags(controller, member, None) {
            if let Some(known) = model.tags.get(&key)
                && *known != value
            {
                return Err(format!("conflicting tag {key}: {known} | {value}").into());
            }
            model.tags.insert(key, value);
        }
        model.attributes.extend(pairs(
            annotation(&member.ingress, "load-balancer-attributes").unwrap_or(""),
        ));
        for attribute in items(&member.params["loadBalancerAttributes"]) {
            model.attributes.insert(
                text(&attribute["key"]).to_owned(),
                text(&attribute["value"]).to_owned(),
            );
        }
    }
    let mut ports: BTreeMap<i64, (String, Vec<String>, Vec<&Member>)> = BTreeMap::new();
    for member in &group.members {
        let certificates = annotation(&member.ingress, "certificate-arn")
            .map(list)
            .unwrap_or_default();
        for (port, protocol) in listen_ports(&member.ingress, !certificates.is_empty())? {
            if protocol == "HTTPS" && certificates.is_empty() {
                return Err(format!(
                    "ingress: {}: no certificate found for host: ",
                    member.ingress.key()
                )
                .into());
            }
            let entry = ports
                .entry(port)
                .or_insert_with(|| (protocol.clone(), Vec::new(), Vec::new()));
            if entry.0 != protocol {
                return Err(format!(
                    "failed to merge listenPort config for port: {port}: conflicting protocol, {}: {protocol}",
                    member.ingress.key()
                )
                .into());
            }
            if protocol == "HTTPS" {
                entry.1.extend(certificates.iter().cloned());
            }
            entry.2.push(member);
        }
    }
    for (port, (protocol, certificates, members)) in ports {
        let listener = rules::listener(
            controller,
            &mut model,
            port,
            protocol,
            certificates,
            &members,
        )?;
        model.listeners.push(listener);
    }
    Ok(model)
}

fn listen_ports(ingress: &Value, secure: bool) -> Result<Vec<(i64, String)>, Trouble> {
    let Some(annotation) = annotation(ingress, "listen-ports") else {
        return Ok(vec![if secure {
            (443, "HTTPS".into())
        } else {
            (80, "HTTP".into())
        }]);
    };
    let wrong = |why: String| {
        Trouble(format!(
            "ingress: {}: failed to parse listen-ports configuration: `{annotation}`: {why}",
            ingress.key()
        ))
    };
    let parsed: Vec<BTreeMap<String, i64>> =
        serde_json::from_str(annotation).map_err(|error| wrong(error.to_string()))?;
    if parsed.is_empty() {
        return Err(wrong(format!(
            "empty listen-ports configuration: `{annotation}`"
        )));
    }
    let mut ports = Vec::new();
    for (protocol, port) in parsed.into_iter().flatten() {
        if !(1..=65535).contains(&port) {
            return Err(wrong(format!(
                "listen port must be within [1, 65535]: {port}"
            )));
        }
        if !matches!(protocol.as_str(), "HTTP" | "HTTPS") {
            return Err(wrong(format!(
                "listen protocol must be within [HTTP, HTTPS]: {protocol}"
            )));
        }
        ports.push((port, protocol));
    }
    Ok(ports)
}

/// The id of the target group for a Service's port, which is added to the model. A Service or port that is missing
/// is answered with 503 where that is tolerated.
pub fn target_group(
    controller: &Controller,
    model: &mut Model,
    member: &Member,
    service: &str,
    port: &Value,
) -> Result<Result<String, Action>, Trouble> {
    let ingress = &member.ingress;
    let key = Key::new(ingress.namespace(), service);
    let port_text = match port {
        Value::String(name) => name.clone(),
        number => number.to_string(),
    };
    let Some(object) = controller.cluster.cache(&SERVICES).get(&key) else {
        if controller.flags.is("tolerate-non-existent-backend-service") {
            return Ok(Err(Action::Fixed {
                status: "503".into(),
                kind: "text/plain".into(),
                body: "Backend service does not exist".into(),
            }));
        }
        return Err(format!(
            "ingress: {}: Service \"{service}\" not found",
            ingress.key()
        )
        .into());
    };
    let entry = items(&object["spec"]["ports"])
        .iter()
        .find(|entry| entry["name"] == *port || entry["port"] == *port)
        .ok_or_else(|| {
            Trouble(format!(
                "ingress: {}: unable to find port {port_text} on service {key}",
                ingress.key()
            ))
        })?;
    let id = format!("{}-{service}:{port_text}", ingress.key());
    if model.target_groups.contains_key(&id) {
        return Ok(Ok(id));
    }
    // A Service's annotations come before the Ingress's.
    let read = |name: &str| annotation(&object, name).or_else(|| annotation(ingress, name));
    let number = |name: &str, default: i32| -> Result<i32, Trouble> {
        match read(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| {
                Trouble(format!(
                    "failed to parse int64 annotation, alb.ingress.kubernetes.io/{name}: {value}: strconv.ParseInt: parsing \"{value}\": invalid syntax"
                ))
            }),
        }
    };
    let target_type = member.params["targetType"]
        .as_str()
        .or_else(|| read("target-type"))
        .unwrap_or(controller.flags.text("default-target-type"))
        .to_owned();
    let target_port = match &entry["targetPort"] {
        Value::Null => entry["port"].clone(),
        port => port.clone(),
    };
    let group_port = match target_type.as_str() {
        "ip" => target_port.as_i64().unwrap_or(1),
        "instance" => entry["nodePort"].as_i64().ok_or(
            "TargetGroup port is empty. When using Instance targets, your service be must of type 'NodePort' or 'LoadBalancer'",
        )?,
        other => return Err(format!("unknown targetType: {other}").into()),
    };
    let protocol = read("backend-protocol").unwrap_or("HTTP").to_owned();
    if !matches!(protocol.as_str(), "HTTP" | "HTTPS") {
        return Err(format!("backend protocol must be within [HTTP, HTTPS]: {protocol}").into());
    }
    let version = read("backend-protocol-version")
        .unwrap_or("HTTP1")
        .to_owned();
    let grpc = version == "GRPC";
    let health = HealthCheck {
        port: read("healthcheck-port")
            .unwrap_or("traffic-port")
            .to_owned(),
        protocol: read("healthcheck-protocol").unwrap_or(&protocol).to_owned(),
        path: read("healthcheck-path")
            .unwrap_or(if grpc { "/AWS.ALB/healthcheck" } else { "/" })
            .to_owned(),
        codes: read("success-codes")
            .unwrap_or(if grpc { "12" } else { "200" })
            .to_owned(),
        interval: number("healthcheck-interval-seconds", 15)?,
        timeout: number("healthcheck-timeout-seconds", 5)?,
        healthy: number("healthy-threshold-count", 2)?,
        unhealthy: number("unhealthy-threshold-count", 2)?,
    };
    let uid = digest(&[
        &controller.name,
        &group_id(model),
        ingress.namespace(),
        ingress.name(),
        object.uid(),
        &port_text,
        &group_port.to_string(),
        &target_type,
        &protocol,
        &version,
    ]);
    let group = TargetGroup {
        name: format!(
            "k8s-{}-{}-{uid}",
            plain(&key.namespace, 8),
            plain(service, 8)
        ),
        port: group_port,
        protocol,
        version,
        target_type,
        health,
        attributes: pairs(read("target-group-attributes").unwrap_or(""))
            .into_iter()
            .collect(),
        tags: tags(controller, member, Some(&object)),
        service: key,
        service_port: port.clone(),
        target_port,
    };
    model.target_groups.insert(id.clone(), group);
    Ok(Ok(id))
}

fn group_id(model: &Model) -> String {
    model.id.to_string()
}

impl Model {
    /// All tags of one of its resources.
    pub fn tags_of(&self, cluster: &str, resource: &str, own: &Tags) -> Tags {
        let mut tags = own.clone();
        tags.extend(tracking_tags(cluster, &self.id, Some(resource)));
        tags
    }
}
