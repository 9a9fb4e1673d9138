//! Pods and what makes them.

use std::collections::HashSet;

use serde_json::Value;

use super::super::object::{self, list, text};
use super::super::resources::Resource;
use super::super::selector::Labels;
use super::super::status::Cause;
use super::{LABEL, SUBDOMAIN, immutable, is_label, is_subdomain, labels_valid, port_valid};

fn positive(object: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(number) = object::at(object, path).and_then(Value::as_i64)
        && number < 0
    {
        causes.push(Cause::invalid(
            path,
            &number.into(),
            "must be greater than or equal to 0",
        ));
    }
}

pub fn workload(resource: &Resource, object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    positive(object, "spec.replicas", causes);
    let selector = &object["spec"]["selector"];
    let empty = |value: &Value| {
        value["matchLabels"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
            && list(value, "matchExpressions").is_empty()
    };
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if empty(selector) {
        let kind = match resource.plural.as_str() {
            "daemonsets" => "daemonset",
            "statefulsets" => "statefulset",
            _ => "deployment",
        };
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            format!("empty selector is invalid for {kind}"),
        ));
    }
    let labels = object::at(object, "spec.template.metadata.labels");
    if !selector.is_null() && !Labels::from_object(selector).matches_labels(labels) {
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            labels.unwrap_or(&Value::Null),
            "`selector` does not match template `labels`",
        ));
    }
    if let Some(labels) = labels.and_then(Value::as_object) {
        labels_valid(labels, "spec.template.labels", causes);
    }
    template(object, "spec.template", causes);
    let restart = object::at(object, "spec.template.spec.restartPolicy");
    if let Some(restart) = restart
        && restart != "Always"
    {
        causes.push(Cause::unsupported(
            "spec.template.spec.restartPolicy",
            restart,
            &["Always"],
        ));
    }
    if let Some(old) = old {
        if resource.plural == "statefulsets" {
            let plain = |value: &Value| -> Value {
                let mut spec = value["spec"].clone();
                for field in [
                    "replicas",
                    "ordinals",
                    "template",
                    "updateStrategy",
                    "revisionHistoryLimit",
                    "persistentVolumeClaimRetentionPolicy",
                    "minReadySeconds",
                ] {
                    object::remove(&mut spec, field);
                }
                spec
            };
            if plain(object) != plain(old) {
                causes.push(Cause::forbidden(
                    "spec",
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
                ));
            }
        } else {
            immutable(object, old, "spec.selector", causes);
        }
    }
}

fn template(object: &Value, path: &str, causes: &mut Vec<Cause>) {
    let spec = object::at(object, &format!("{path}.spec")).unwrap_or(&Value::Null);
    pod_spec(spec, &format!("{path}.spec"), causes);
}

pub fn job(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    template(object, "spec.template", causes);
    let restart = object::at(object, "spec.template.spec.restartPolicy").unwrap_or(&Value::Null);
    if restart == "Always" {
        causes.push(Cause {
            reason: "FieldValueRequired",
            message: "Required value: valid values: \"OnFailure\", \"Never\"".into(),
            field: "spec.template.spec.restartPolicy".into(),
        });
    }
    if let Some(old) = old {
        for field in ["spec.template", "spec.selector", "spec.completionMode"] {
            if object::at(old, field).is_some() {
                immutable(object, old, field, causes);
            }
        }
    }
}

pub fn pod_spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let containers = list(spec, "containers");
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut volumes = HashSet::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let at = format!("{path}.volumes[{index}]");
        let name = text(volume, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if !is_label(name) {
            causes.push(Cause::invalid(format!("{at}.name"), &name.into(), LABEL));
        }
        if !volumes.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &name.into()));
        }
        let sources = volume.as_object().map_or(0, serde_json::Map::len);
        if sources > 2 {
            causes.push(Cause::forbidden(
                at,
                "may not specify more than 1 volume type",
            ));
        }
    }
    let mut names = HashSet::new();
    for (kind, containers) in [
        ("initContainers", list(spec, "initContainers")),
        ("containers", containers),
    ] {
        for (index, container) in containers.iter().enumerate() {
            let at = format!("{path}.{kind}[{index}]");
            let name = text(container, "name");
            if name.is_empty() {
                causes.push(Cause::required(format!("{at}.name"), ""));
            } else if !is_label(name) {
                causes.push(Cause::invalid(format!("{at}.name"), &name.into(), LABEL));
            } else if !names.insert(name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &name.into()));
            }
            container_valid(container, &at, &volumes, causes);
        }
    }
    let one_of = |field: &str, allowed: &[&str], causes: &mut Vec<Cause>| {
        if let Some(value) = spec[field].as_str()
            && !allowed.contains(&value)
        {
            causes.push(Cause::unsupported(
                format!("{path}.{field}"),
                &value.into(),
                allowed,
            ));
        }
    };
    one_of("restartPolicy", &["Always", "OnFailure", "Never"], causes);
    one_of(
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        causes,
    );
    let account = text(spec, "serviceAccountName");
    if !account.is_empty() && !is_subdomain(account) {
        causes.push(Cause::invalid(
            format!("{path}.serviceAccountName"),
            &account.into(),
            SUBDOMAIN,
        ));
    }
}

fn container_valid(container: &Value, at: &str, volumes: &HashSet<&str>, causes: &mut Vec<Cause>) {
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
    for (index, port) in list(container, "ports").iter().enumerate() {
        let at = format!("{at}.ports[{index}]");
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
        let at = format!("{at}.env[{index}]");
        if text(variable, "name").is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        }
        if !text(variable, "value").is_empty() && variable["valueFrom"].is_object() {
            causes.push(Cause::invalid(
                format!("{at}.valueFrom"),
                &"".into(),
                "may not be specified when `value` is not empty",
            ));
        }
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
        } else if !paths.insert(path) {
            causes.push(Cause::invalid(
                format!("{at}.mountPath"),
                &path.into(),
                "must be unique",
            ));
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let value = &container[probe];
        let handlers = ["exec", "httpGet", "tcpSocket", "grpc"]
            .iter()
            .filter(|one| !value[**one].is_null())
            .count();
        if value.is_object() && handlers == 0 {
            causes.push(Cause::required(
                format!("{at}.{probe}"),
                "must specify a handler type",
            ));
        }
        if handlers > 1 {
            causes.push(Cause::forbidden(
                format!("{at}.{probe}"),
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

pub fn pod_update(object: &Value, old: &Value, causes: &mut Vec<Cause>) {
    // What may change: images, deadlines, tolerations that are added, scheduling gates that go; and the scheduler binds.
    let plain = |pod: &Value| -> Value {
        let mut spec = pod["spec"].clone();
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                object::remove(container, "image");
            }
            if spec[list].is_null() {
                object::remove(&mut spec, list);
            }
        }
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
            "ephemeralContainers",
        ] {
            object::remove(&mut spec, field);
        }
        if text(&old["spec"], "nodeName").is_empty() {
            object::remove(&mut spec, "nodeName");
        }
        spec
    };
    if plain(object) != plain(old) {
        causes.push(Cause::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ));
    }
}
