//! Pods and what makes them.

use std::collections::HashSet;

use serde_json::Value;

use super::super::object::{self, list, text};
use super::super::resources::Resource;
use super::super::selector::Labels;
use super::super::status::Cause;
use super::{
    LABEL, SUBDOMAIN, immutable, is_label, is_subdomain, key_errors, labels_valid, port_name_valid,
    port_valid,
};

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
    let mut understood = true;
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        understood = selector_valid(selector, "spec.selector", causes);
        if empty(selector) {
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
    }
    if understood {
        let labels = object::at(object, "spec.template.metadata.labels");
        let matches = !selector.is_null() && Labels::from_object(selector).matches_labels(labels);
        if !matches {
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
    } else {
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "invalid label selector",
        ));
    }
    if resource.plural == "deployments" {
        strategy(&object["spec"]["strategy"], causes);
        for field in [
            "minReadySeconds",
            "revisionHistoryLimit",
            "progressDeadlineSeconds",
        ] {
            positive(object, &format!("spec.{field}"), causes);
        }
        let ready = object["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        if let Some(deadline) = object["spec"]["progressDeadlineSeconds"].as_i64()
            && deadline <= ready
        {
            causes.push(Cause::invalid(
                "spec.progressDeadlineSeconds",
                &deadline.into(),
                "must be greater than minReadySeconds",
            ));
        }
        status(object, causes);
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

/// The numbers of a Deployment's status agree with each other.
fn status(object: &Value, causes: &mut Vec<Cause>) {
    let status = &object["status"];
    for field in [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ] {
        positive(object, &format!("status.{field}"), causes);
    }
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    for (field, other, why) in [
        (
            "updatedReplicas",
            "replicas",
            "cannot be greater than status.replicas",
        ),
        (
            "readyReplicas",
            "replicas",
            "cannot be greater than status.replicas",
        ),
        (
            "availableReplicas",
            "replicas",
            "cannot be greater than status.replicas",
        ),
        (
            "availableReplicas",
            "readyReplicas",
            "cannot be greater than readyReplicas",
        ),
    ] {
        if number(field) > number(other) {
            causes.push(Cause::invalid(
                format!("status.{field}"),
                &number(field).into(),
                why,
            ));
        }
    }
}

fn strategy(strategy: &Value, causes: &mut Vec<Cause>) {
    let rolling = &strategy["rollingUpdate"];
    let at = "spec.strategy.rollingUpdate";
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => causes.push(Cause::forbidden(
            at,
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        "Recreate" => {}
        "RollingUpdate" => {
            let mut zero = true;
            for field in ["maxUnavailable", "maxSurge"] {
                let value = &rolling[field];
                let percent = value.as_str().map(|text| {
                    text.strip_suffix('%')
                        .and_then(|text| text.parse::<u32>().ok())
                });
                match (value.as_i64(), percent) {
                    (Some(number), _) => {
                        zero &= number == 0;
                        if number < 0 {
                            causes.push(Cause::invalid(
                                format!("{at}.{field}"),
                                value,
                                "must be greater than or equal to 0",
                            ));
                        }
                    }
                    (_, Some(Some(percent))) => {
                        zero &= percent == 0;
                        if field == "maxUnavailable" && percent > 100 {
                            causes.push(Cause::invalid(
                                format!("{at}.{field}"),
                                value,
                                "must not be greater than 100%",
                            ));
                        }
                    }
                    (_, Some(None)) => causes.push(Cause::invalid(
                        format!("{at}.{field}"),
                        value,
                        "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                    )),
                    _ => {}
                }
            }
            if zero {
                causes.push(Cause::invalid(
                    format!("{at}.maxUnavailable"),
                    &rolling["maxUnavailable"],
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
        }
        _ => causes.push(Cause::unsupported(
            "spec.strategy.type",
            &strategy["type"],
            &["Recreate", "RollingUpdate"],
        )),
    }
}

/// Checks a label selector; false when it has no meaning at all.
pub fn selector_valid(selector: &Value, at: &str, causes: &mut Vec<Cause>) -> bool {
    let mut understood = true;
    if let Some(labels) = selector["matchLabels"].as_object() {
        labels_valid(labels, &format!("{at}.matchLabels"), causes);
    }
    for (index, one) in list(selector, "matchExpressions").iter().enumerate() {
        let at = format!("{at}.matchExpressions[{index}]");
        let values = list(one, "values");
        match text(one, "operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    understood = false;
                    causes.push(Cause::required(
                        format!("{at}.values"),
                        "must be specified when `operator` is 'In' or 'NotIn'",
                    ));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    understood = false;
                    causes.push(Cause::forbidden(
                        format!("{at}.values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    ));
                }
            }
            other => {
                understood = false;
                causes.push(Cause::invalid(
                    format!("{at}.operator"),
                    &other.into(),
                    "not a valid selector operator",
                ));
            }
        }
        for why in key_errors(text(one, "key")) {
            causes.push(Cause::invalid(format!("{at}.key"), &one["key"], why));
        }
    }
    understood
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
        volume_valid(volume, &at, causes);
    }
    let mut names = HashSet::new();
    for (kind, containers) in [
        ("containers", containers),
        ("initContainers", list(spec, "initContainers")),
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
    tolerations(spec, path, causes);
    let account = text(spec, "serviceAccountName");
    if !account.is_empty() && !is_subdomain(account) {
        causes.push(Cause::invalid(
            format!("{path}.serviceAccountName"),
            &account.into(),
            SUBDOMAIN,
        ));
    }
}

/// The kinds of volumes in the order in which they are looked at: the first one stands.
const VOLUMES: [&str; 13] = [
    "emptyDir",
    "hostPath",
    "secret",
    "nfs",
    "iscsi",
    "persistentVolumeClaim",
    "downwardAPI",
    "fc",
    "configMap",
    "projected",
    "csi",
    "ephemeral",
    "image",
];

fn volume_valid(volume: &Value, at: &str, causes: &mut Vec<Cause>) {
    let mut seen = false;
    for kind in VOLUMES {
        let source = &volume[kind];
        if !source.is_object() {
            continue;
        }
        if seen {
            causes.push(Cause::forbidden(
                format!("{at}.{kind}"),
                "may not specify more than 1 volume type",
            ));
            continue;
        }
        seen = true;
        let name = match kind {
            "configMap" => "name",
            "secret" => "secretName",
            _ => continue,
        };
        if text(source, name).is_empty() {
            causes.push(Cause::required(format!("{at}.{kind}.{name}"), ""));
        }
    }
}

fn tolerations(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    for (index, one) in list(spec, "tolerations").iter().enumerate() {
        let at = format!("{path}.tolerations[{index}]");
        let (key, operator) = (text(one, "key"), text(one, "operator"));
        if !key.is_empty() {
            for why in key_errors(key) {
                causes.push(Cause::invalid(format!("{at}.key"), &key.into(), why));
            }
        } else if operator != "Exists" {
            causes.push(Cause::invalid(
                format!("{at}.operator"),
                &operator.into(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        match operator {
            "" | "Equal" => {}
            "Exists" if text(one, "value").is_empty() => {}
            "Exists" => causes.push(Cause::invalid(
                format!("{at}.operator"),
                one,
                "value must be empty when `operator` is 'Exists'",
            )),
            _ => causes.push(Cause::unsupported(
                format!("{at}.operator"),
                &operator.into(),
                &["Equal", "Exists"],
            )),
        }
        let effect = text(one, "effect");
        if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            causes.push(Cause::unsupported(
                format!("{at}.effect"),
                &effect.into(),
                &["NoExecute", "NoSchedule", "PreferNoSchedule"],
            ));
        }
    }
}

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
    for handler in ["httpGet", "tcpSocket"] {
        let port = &probe[handler]["port"];
        if !probe[handler].is_object() {
            continue;
        }
        let at = format!("{at}.{handler}.port");
        match port {
            Value::String(name) => port_name_valid(name, &at, causes),
            other => port_valid(other.as_i64().unwrap_or(0), &at, causes),
        }
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
        if value.is_object() {
            let ready = probe == "readinessProbe";
            probe_valid(value, &format!("{at}.{probe}"), ready, causes);
        }
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

/// At most one address of each family.
pub fn pod_addresses(object: &Value, causes: &mut Vec<Cause>) {
    let addresses = list(object, "status.podIPs");
    let sixth = |one: &&Value| text(one, "ip").contains(':');
    let six = addresses.iter().filter(sixth).count();
    if six > 1 || addresses.len() - six > 1 {
        let shown: Vec<Value> = addresses
            .iter()
            .map(|one| serde_json::json!({"IP": one["ip"]}))
            .collect();
        causes.push(Cause::invalid(
            "status.podIPs",
            &Value::from(shown),
            "may specify no more than one IP for each IP family",
        ));
    }
}

pub fn pod_update(object: &Value, old: &Value, causes: &mut Vec<Cause>) {
    for kind in ["containers", "initContainers"] {
        if list(&object["spec"], kind).len() != list(&old["spec"], kind).len() {
            causes.push(Cause::forbidden(
                format!("spec.{kind}"),
                "pod updates may not add or remove containers",
            ));
            return;
        }
    }
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
