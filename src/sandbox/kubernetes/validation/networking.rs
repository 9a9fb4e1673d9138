//! Services, endpoints and ingresses.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::super::object::{list, text};
use super::super::status::Cause;
use super::immutable;
use super::names::{
    LABEL, SERVICE, SUBDOMAIN, is_label, is_subdomain, port_name_valid, port_valid,
};

/// What an address has to be.
const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// What is wrong with the addresses that a Service is to have. Looked at before anything else.
pub fn cluster_addresses(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if text(object, "spec.type") == "ExternalName" {
        return causes;
    }
    for (index, address) in list(object, "spec.clusterIPs").iter().enumerate() {
        let valid = address
            .as_str()
            .is_some_and(|text| text.parse::<IpAddr>().is_ok());
        if !(valid || index == 0 && address == "None") {
            let at = format!("spec.clusterIPs[{index}]");
            causes.push(Cause::invalid(at, address, ADDRESS));
        }
    }
    causes
}

fn external_name(spec: &Value, causes: &mut Vec<Cause>) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec[field].is_null() {
            causes.push(Cause::forbidden(
                format!("spec.{field}"),
                "may not be set for ExternalName services",
            ));
        }
    }
    let name = text(spec, "externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    } else if !is_subdomain(name) {
        causes.push(Cause::invalid("spec.externalName", &name.into(), SUBDOMAIN));
    }
}

pub fn service(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    let kind = text(spec, "type");
    if !matches!(
        kind,
        "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName"
    ) {
        causes.push(Cause::unsupported(
            "spec.type",
            &spec["type"],
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ));
    }
    let ports = list(spec, "ports");
    if ports.is_empty() && kind != "ExternalName" && spec["clusterIP"] != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    if kind == "ExternalName" {
        external_name(spec, causes);
    }
    let (mut names, mut pairs, mut nodes) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, port) in ports.iter().enumerate() {
        let at = format!("spec.ports[{index}]");
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(Cause::required(format!("{at}.name"), ""));
            }
        } else if !is_label(name) {
            causes.push(Cause::invalid(format!("{at}.name"), &name.into(), LABEL));
        } else if !names.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &name.into()));
        }
        let number = port["port"].as_i64().unwrap_or(0);
        port_valid(number, &format!("{at}.port"), causes);
        match &port["targetPort"] {
            Value::Number(target) => port_valid(
                target.as_i64().unwrap_or(0),
                &format!("{at}.targetPort"),
                causes,
            ),
            Value::String(name) => port_name_valid(name, &format!("{at}.targetPort"), causes),
            _ => {}
        }
        let protocol = text(port, "protocol");
        if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
            causes.push(Cause::unsupported(
                format!("{at}.protocol"),
                &port["protocol"],
                &["SCTP", "TCP", "UDP"],
            ));
        }
        if !pairs.insert((number, protocol)) {
            let shown = serde_json::json!({
                "Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number,
                "TargetPort": 0, "NodePort": 0,
            });
            causes.push(Cause::duplicate(at.clone(), &shown));
        }
        let node = port["nodePort"].as_i64().unwrap_or(0);
        if node != 0 && !nodes.insert((node, protocol)) {
            causes.push(Cause::duplicate(format!("{at}.nodePort"), &node.into()));
        }
        if kind == "ClusterIP" && node != 0 {
            causes.push(Cause::forbidden(
                format!("{at}.nodePort"),
                "may not be used when `type` is 'ClusterIP'",
            ));
        }
        if node != 0 && !(30000..=32767).contains(&node) {
            causes.push(Cause::invalid(
                format!("{at}.nodePort"),
                &node.into(),
                "provided port is not in the valid range. The range of valid ports is 30000-32767",
            ));
        }
    }
    if matches!(kind, "NodePort" | "LoadBalancer") && spec["clusterIP"] == "None" {
        causes.push(Cause::invalid(
            "spec.clusterIPs[0]",
            &"None".into(),
            format!("may not be set to 'None' for {kind} services"),
        ));
    }
    let balanced = list(object, "status.loadBalancer.ingress");
    if !balanced.is_empty() && kind != "LoadBalancer" {
        causes.push(Cause::forbidden(
            "status.loadBalancer.ingress",
            "may only be used when `spec.type` is 'LoadBalancer'",
        ));
    }
    let affinity = text(spec, "sessionAffinity");
    if !matches!(affinity, "" | "ClientIP" | "None") {
        causes.push(Cause::unsupported(
            "spec.sessionAffinity",
            &affinity.into(),
            &["ClientIP", "None"],
        ));
    }
    let external = matches!(kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !list(spec, "externalIPs").is_empty();
    let traffic = text(spec, "externalTrafficPolicy");
    if !external && !traffic.is_empty() {
        causes.push(Cause::invalid(
            "spec.externalTrafficPolicy",
            &traffic.into(),
            "may only be set for externally-accessible services",
        ));
    } else if external && !matches!(traffic, "Cluster" | "Local" | "") {
        causes.push(Cause::unsupported(
            "spec.externalTrafficPolicy",
            &traffic.into(),
            &["Cluster", "Local"],
        ));
    }
    for (index, address) in list(spec, "externalIPs").iter().enumerate() {
        address_valid(address, &format!("spec.externalIPs[{index}]"), causes);
    }
    if let Some(old) = old {
        let (before, now) = (text(old, "spec.clusterIP"), text(spec, "clusterIP"));
        let both = kind != "ExternalName" && text(old, "spec.type") != "ExternalName";
        if both && !before.is_empty() && before != now {
            causes.push(Cause::invalid(
                "spec.clusterIPs[0]",
                &serde_json::json!([now]),
                "may not change once set",
            ));
        }
    }
}

pub fn address_valid(value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(Ok(address)) = value.as_str().map(str::parse::<IpAddr>) else {
        causes.push(Cause::invalid(path, value, ADDRESS));
        return;
    };
    let (link_local, multicast_local) = match address {
        IpAddr::V4(address) => (
            address.is_link_local(),
            address.octets()[..3] == [224, 0, 0],
        ),
        IpAddr::V6(address) => (
            address.segments()[0] & 0xffc0 == 0xfe80,
            address.segments()[0] == 0xff02,
        ),
    };
    if address.is_unspecified() {
        causes.push(Cause::invalid(
            path,
            value,
            format!("may not be unspecified ({address})"),
        ));
    }
    if address.is_loopback() {
        causes.push(Cause::invalid(
            path,
            value,
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ));
    }
    if link_local {
        causes.push(Cause::invalid(
            path,
            value,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ));
    }
    if multicast_local {
        causes.push(Cause::invalid(
            path,
            value,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ));
    }
}

pub fn slice(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    match text(object, "addressType") {
        "" => causes.push(Cause::required("addressType", "")),
        "IPv4" | "IPv6" | "FQDN" => {}
        _ => causes.push(Cause::unsupported(
            "addressType",
            &object["addressType"],
            &["FQDN", "IPv4", "IPv6"],
        )),
    }
    for (index, endpoint) in list(object, "endpoints").iter().enumerate() {
        let addresses = list(endpoint, "addresses");
        let at = format!("endpoints[{index}].addresses");
        if addresses.is_empty() {
            causes.push(Cause::required(
                at.clone(),
                "must contain at least 1 address",
            ));
        }
        for (place, address) in addresses.iter().enumerate() {
            if object["addressType"] != "FQDN" {
                address_valid(address, &format!("{at}[{place}]"), causes);
            }
        }
    }
    let mut names = HashSet::new();
    for (index, port) in list(object, "ports").iter().enumerate() {
        let name = text(port, "name");
        if !names.insert(name) {
            causes.push(Cause::duplicate(
                format!("ports[{index}].name"),
                &name.into(),
            ));
        }
    }
    if let Some(old) = old {
        immutable(object, old, "addressType", causes);
    }
}

pub fn ingress(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    load_balancer(object, causes);
    if list(spec, "rules").is_empty() && spec["defaultBackend"].is_null() {
        causes.push(Cause::invalid(
            "spec",
            spec,
            "either `defaultBackend` or `rules` must be specified",
        ));
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", causes);
    }
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let at = format!("spec.rules[{index}]");
        let host = text(rule, "host");
        if !host.is_empty() && !is_subdomain(host.strip_prefix("*.").unwrap_or(host)) {
            causes.push(Cause::invalid(
                format!("{at}.host"),
                &host.into(),
                SUBDOMAIN,
            ));
        }
        let paths = list(rule, "http.paths");
        if rule["http"].is_object() && paths.is_empty() {
            causes.push(Cause::required(format!("{at}.http.paths"), ""));
        }
        for (place, path) in paths.iter().enumerate() {
            let at = format!("{at}.http.paths[{place}]");
            match text(path, "pathType") {
                "" => causes.push(Cause::required(
                    format!("{at}.pathType"),
                    "pathType must be specified",
                )),
                "Exact" | "Prefix" => {
                    let value = text(path, "path");
                    if !value.starts_with('/') {
                        causes.push(Cause::invalid(
                            format!("{at}.path"),
                            &value.into(),
                            "must be an absolute path",
                        ));
                    }
                }
                "ImplementationSpecific" => {}
                _ => causes.push(Cause::unsupported(
                    format!("{at}.pathType"),
                    &path["pathType"],
                    &["Exact", "ImplementationSpecific", "Prefix"],
                )),
            }
            backend(&path["backend"], &format!("{at}.backend"), causes);
        }
    }
}

/// What a load balancer's controller wrote into the status: host names are no addresses.
fn load_balancer(object: &Value, causes: &mut Vec<Cause>) {
    let places = list(object, "status.loadBalancer.ingress");
    for (index, place) in places.iter().enumerate() {
        let at = |field: &str| format!("status.loadBalancer.ingress[{index}].{field}");
        let (host, ip) = (text(place, "hostname"), text(place, "ip"));
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            causes.push(Cause::invalid(at("ip"), &ip.into(), ADDRESS));
        }
        if !host.is_empty() && !is_subdomain(host) {
            causes.push(Cause::invalid(at("hostname"), &host.into(), SUBDOMAIN));
        }
        if host.parse::<IpAddr>().is_ok() {
            causes.push(Cause::invalid(
                at("hostname"),
                &host.into(),
                "must be a DNS name, not an IP address",
            ));
        }
    }
}

fn backend(backend: &Value, at: &str, causes: &mut Vec<Cause>) {
    let service = &backend["service"];
    if !service.is_object() {
        if !backend["resource"].is_object() {
            causes.push(Cause::required(
                at,
                "cannot set both resource and service backends",
            ));
        }
        return;
    }
    let name = text(service, "name");
    if name.is_empty() {
        causes.push(Cause::required(format!("{at}.service.name"), ""));
    } else if !is_label(name) {
        causes.push(Cause::invalid(
            format!("{at}.service.name"),
            &name.into(),
            SERVICE,
        ));
    }
    let number = service["port"]["number"].as_i64().unwrap_or(0);
    match (number, text(service, "port.name")) {
        (0, "") => causes.push(Cause::required(at, "port name or number is required")),
        (0, _) => {}
        (number, "") => port_valid(number, &format!("{at}.service.port.number"), causes),
        _ => causes.push(Cause::invalid(
            at,
            backend,
            "cannot set both port name & port number",
        )),
    }
}
