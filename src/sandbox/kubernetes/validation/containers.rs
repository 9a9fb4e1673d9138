//! Containers: what runs in them, what they show, and how they are asked.

use std::collections::HashSet;

use serde_json::Value;

use super::super::object::{list, text};
use super::super::status::Cause;
use super::names::{port_name_valid, port_valid};

/// The fields of a pod that its environment may show.
const FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
];

fn field_valid(field: &Value, at: &str, causes: &mut Vec<Cause>) {
    let path = text(field, "fieldPath");
    if path.is_empty() {
        causes.push(Cause::required(format!("{at}.fieldPath"), ""));
        return;
    }
    let known = FIELDS.contains(&path)
        || path == "status.hostIPs"
        || path.starts_with("metadata.labels['")
        || path.starts_with("metadata.annotations['");
    if !known {
        causes.push(Cause::invalid(
            format!("{at}.fieldPath"),
            &path.into(),
            format!("error converting fieldPath: field label not supported: {path}"),
        ));
    }
}

fn variable_valid(variable: &Value, at: &str, causes: &mut Vec<Cause>) {
    let name = text(variable, "name");
    if name.is_empty() {
        causes.push(Cause::required(format!("{at}.name"), ""));
    } else if !name.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
        causes.push(Cause::invalid(
            format!("{at}.name"),
            &name.into(),
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
        ));
    }
    let Some(from) = variable["valueFrom"].as_object() else {
        return;
    };
    let at = format!("{at}.valueFrom");
    if let Some(field) = from.get("fieldRef") {
        field_valid(field, &format!("{at}.fieldRef"), causes);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = from.get(kind) {
            for field in ["name", "key"] {
                if text(reference, field).is_empty() {
                    causes.push(Cause::required(format!("{at}.{kind}.{field}"), ""));
                }
            }
        }
    }
    if from.is_empty() {
        causes.push(Cause::invalid(
            at,
            &"".into(),
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ));
    } else if !text(variable, "value").is_empty() {
        causes.push(Cause::invalid(
            at,
            &"".into(),
            "may not be specified when `value` is not empty",
        ));
    } else if from.len() > 1 {
        causes.push(Cause::invalid(
            at,
            &"".into(),
            "may not have more than one field specified at a time",
        ));
    }
}

fn probe_valid(probe: &Value, at: &str, ready: bool, causes: &mut Vec<Cause>) {
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        if let Some(number) = probe[field].as_i64()
            && number < 0
        {
            causes.push(Cause::invalid(
                format!("{at}.{field}"),
                &number.into(),
                "must be greater than or equal to 0",
            ));
        }
    }
    if !ready
        && let Some(number) = probe["successThreshold"].as_i64()
        && number != 1
    {
        causes.push(Cause::invalid(
            format!("{at}.successThreshold"),
            &number.into(),
            "must be 1",
        ));
    }
    let mut several = !probe["exec"].is_null();
    for handler in ["httpGet", "tcpSocket"] {
        let port = &probe[handler]["port"];
        if !probe[handler].is_object() {
            continue;
        }
        // Of several only the first is looked into.
        if std::mem::replace(&mut several, true) {
            continue;
        }
        let at = format!("{at}.{handler}.port");
        match port {
            Value::String(name) => port_name_valid(name, &at, causes),
            other => port_valid(other.as_i64().unwrap_or(0), &at, causes),
        }
    }
}

pub(super) fn container_valid(
    container: &Value,
    at: &str,
    volumes: &HashSet<&str>,
    causes: &mut Vec<Cause>,
) {
    let image = text(container, "image");
    if image.is_empty() {
        causes.push(Cause::required(format!("{at}.image"), ""));
    } else if image.trim() != image {
        causes.push(Cause::invalid(
            format!("{at}.image"),
            &image.into(),
            "must not have leading or trailing whitespace",
        ));
    }
    if let Some(policy) = container["imagePullPolicy"].as_str()
        && !matches!(policy, "Always" | "IfNotPresent" | "Never")
    {
        causes.push(Cause::unsupported(
            format!("{at}.imagePullPolicy"),
            &policy.into(),
            &["Always", "IfNotPresent", "Never"],
        ));
    }
    let mut port_names = HashSet::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let at = format!("{at}.ports[{index}]");
        let name = text(port, "name");
        if !name.is_empty() {
            port_name_valid(name, &format!("{at}.name"), causes);
            if !port_names.insert(name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &name.into()));
            }
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => causes.push(Cause::required(format!("{at}.containerPort"), "")),
            number => port_valid(number, &format!("{at}.containerPort"), causes),
        }
        if let Some(protocol) = port["protocol"].as_str()
            && !matches!(protocol, "TCP" | "UDP" | "SCTP")
        {
            causes.push(Cause::unsupported(
                format!("{at}.protocol"),
                &protocol.into(),
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
    for (index, variable) in list(container, "env").iter().enumerate() {
        variable_valid(variable, &format!("{at}.env[{index}]"), causes);
    }
    let mut paths = HashSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = format!("{at}.volumeMounts[{index}]");
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if !volumes.contains(name) {
            causes.push(Cause::not_found(format!("{at}.name"), &name.into()));
        }
        if path.is_empty() {
            causes.push(Cause::required(format!("{at}.mountPath"), ""));
        }
        if !paths.insert(path) {
            causes.push(Cause::invalid(
                format!("{at}.mountPath"),
                &path.into(),
                "must be unique",
            ));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let value = &container[probe];
        if value.is_object() {
            let ready = probe == "readinessProbe";
            probe_valid(value, &format!("{at}.{probe}"), ready, causes);
        }
        let mut handlers = ["exec", "httpGet", "tcpSocket", "grpc"]
            .into_iter()
            .filter(|one| !value[*one].is_null());
        if handlers.next().is_none() && value.is_object() {
            causes.push(Cause::required(
                format!("{at}.{probe}"),
                "must specify a handler type",
            ));
        }
        for another in handlers {
            causes.push(Cause::forbidden(
                format!("{at}.{probe}.{another}"),
                "may not specify more than 1 handler type",
            ));
        }
    }
    for kind in ["requests", "limits"] {
        for (name, quantity) in container["resources"][kind]
            .as_object()
            .into_iter()
            .flatten()
        {
            if quantity.as_str().and_then(self::quantity).is_none() {
                causes.push(Cause::invalid(
                    format!("{at}.resources.{kind}[{name}]"),
                    quantity,
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                ));
            }
            let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
                || name.contains('/');
            if !known {
                for why in [
                    "must be a standard resource type or fully qualified",
                    "must be a standard resource for containers",
                ] {
                    causes.push(Cause::invalid(
                        format!("{at}.resources.{kind}[{name}]"),
                        &name.as_str().into(),
                        why,
                    ));
                }
            }
            if quantity.as_str().is_some_and(|text| text.starts_with('-')) {
                causes.push(Cause::invalid(
                    format!("{at}.resources.{kind}[{name}]"),
                    quantity,
                    "must be greater than or equal to 0",
                ));
            }
            let limit = container["resources"]["limits"][name]
                .as_str()
                .and_then(self::quantity);
            let request = quantity.as_str().and_then(self::quantity);
            if kind == "requests"
                && let (Some(limit), Some(request)) = (limit, request)
                && request > limit
            {
                causes.push(Cause::invalid(
                    format!("{at}.resources.requests"),
                    quantity,
                    format!(
                        "must be less than or equal to {name} limit of {}",
                        text(&container["resources"]["limits"], name)
                    ),
                ));
            }
        }
    }
}

/// A quantity as a number; nothing when it is none.
pub fn quantity(text: &str) -> Option<f64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !".+-".contains(c))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024f64.powi(2),
        "Gi" => 1024f64.powi(3),
        "Ti" => 1024f64.powi(4),
        "Pi" => 1024f64.powi(5),
        "Ei" => 1024f64.powi(6),
        exponent => 10f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}
