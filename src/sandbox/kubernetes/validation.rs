//! What objects of built-in kinds must be like.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::crd;
use super::object::{self, list, text};
use super::resources::Resource;
use super::selector::Labels;
use super::status::Cause;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn is_label(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(|c| good(c) || c == '-')
        && name.starts_with(good)
        && name.ends_with(good)
}

fn is_subdomain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|part| {
            !part.is_empty()
                && part.chars().all(|c| good(c) || c == '-')
                && part.starts_with(good)
                && part.ends_with(good)
        })
}

fn is_qualified(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric();
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| good(c) || "-_.".contains(c))
        && text.starts_with(good)
        && text.ends_with(good)
}

/// Names, labels, annotations, finalizers, owners: of every kind.
pub fn metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    let bad = |why: &str, max: usize| {
        if name.len() > max {
            return Cause::invalid(
                "metadata.name",
                &name.into(),
                format!("must be no more than {max} characters"),
            );
        }
        Cause::invalid("metadata.name", &name.into(), why)
    };
    match (resource.custom.is_some(), resource.plural.as_str()) {
        (false, "namespaces") if !is_label(name) => causes.push(bad(LABEL, 63)),
        (false, "services")
            if !is_label(name) || name.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            causes.push(bad(SERVICE, 63));
        }
        // Path segments only: anything but a slash and a percent sign.
        (false, "roles" | "rolebindings" | "clusterroles" | "clusterrolebindings") => {
            if name.contains('/') || name.contains('%') || matches!(name, "." | "..") {
                causes.push(Cause::invalid(
                    "metadata.name",
                    &name.into(),
                    "may not contain '/'",
                ));
            }
        }
        (false, "events") => {}
        (false, "namespaces" | "services") => {}
        _ if !is_subdomain(name) => causes.push(bad(SUBDOMAIN, 253)),
        _ => {}
    }
    let meta = &object["metadata"];
    if let Some(labels) = meta["labels"].as_object() {
        labels_valid(labels, "metadata.labels", &mut causes);
    }
    if let Some(annotations) = meta["annotations"].as_object() {
        let mut size = 0;
        for (key, value) in annotations {
            key_valid(
                &key.to_lowercase(),
                key,
                "metadata.annotations",
                &mut causes,
            );
            size += key.len() + value.as_str().map_or(0, str::len);
        }
        if size > 262_144 {
            causes.push(Cause {
                reason: "FieldValueTooLong",
                message: "Too long: may not be more than 262144 bytes".into(),
                field: "metadata.annotations".into(),
            });
        }
    }
    for finalizer in object::finalizers(object) {
        let name = finalizer.as_str().unwrap_or("");
        let known = matches!(name, "orphan" | "foregroundDeletion" | "kubernetes");
        if !known && !name.contains('/') && resource.custom.is_none() && !is_subdomain(name) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, QUALIFIED));
        }
    }
    let mut controllers = 0;
    for (index, owner) in list(object, "metadata.ownerReferences").iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                causes.push(Cause::invalid(
                    format!("metadata.ownerReferences[{index}].{field}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            &meta["ownerReferences"],
            "Only one reference can have Controller set to true.",
        ));
    }
    causes
}

fn key_valid(key: &str, shown: &str, field: &str, causes: &mut Vec<Cause>) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        causes.push(Cause::invalid(
            field,
            &shown.into(),
            format!("prefix part {SUBDOMAIN}"),
        ));
    }
    if !is_qualified(name) {
        causes.push(Cause::invalid(field, &shown.into(), QUALIFIED));
    }
}

fn labels_valid(labels: &serde_json::Map<String, Value>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels {
        key_valid(key, key, field, causes);
        let text = value.as_str().unwrap_or("");
        if text.len() > 63 {
            causes.push(Cause::invalid(
                field,
                value,
                "must be no more than 63 bytes",
            ));
        } else if !text.is_empty() && !is_qualified(text) {
            causes.push(Cause::invalid(field, value, LABEL_VALUE));
        }
    }
}

fn immutable(object: &Value, old: &Value, path: &str, causes: &mut Vec<Cause>) {
    if object::at(object, path) != object::at(old, path) {
        let value = object::at(object, path).unwrap_or(&Value::Null);
        causes.push(Cause::invalid(path, value, "field is immutable"));
    }
}

/// The rules of a built-in kind.
pub fn builtin(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => {
            pod_spec(&object["spec"], "spec", &mut causes);
            if let Some(old) = old {
                pod_update(object, old, &mut causes);
            }
        }
        ("", "services") => service(object, old, &mut causes),
        ("", "endpoints") => {
            for (index, subset) in list(object, "subsets").iter().enumerate() {
                for field in ["addresses", "notReadyAddresses"] {
                    for (at, address) in list(subset, field).iter().enumerate() {
                        let path = format!("subsets[{index}].{field}[{at}].ip");
                        address_valid(&address["ip"], &path, &mut causes);
                    }
                }
            }
        }
        ("", "secrets" | "configmaps") => data(object, old, &mut causes),
        ("", "namespaces") | ("", "serviceaccounts") => {}
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets") => {
            workload(resource, object, old, &mut causes);
        }
        ("batch", "jobs") => job(object, old, &mut causes),
        ("discovery.k8s.io", "endpointslices") => slice(object, old, &mut causes),
        ("networking.k8s.io", "ingresses") => ingress(object, &mut causes),
        ("networking.k8s.io", "ingressclasses") => {
            if text(object, "spec.controller").is_empty() {
                causes.push(Cause::required("spec.controller", ""));
            }
            if let Some(old) = old {
                immutable(object, old, "spec.controller", &mut causes);
            }
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            if text(object, "roleRef.name").is_empty() {
                causes.push(Cause::required("roleRef.name", ""));
            }
            if let Some(old) = old
                && old["roleRef"] != object["roleRef"]
            {
                causes.push(Cause::invalid(
                    "roleRef",
                    &object["roleRef"],
                    "cannot change roleRef",
                ));
            }
            for (index, subject) in list(object, "subjects").iter().enumerate() {
                if text(subject, "name").is_empty() {
                    causes.push(Cause::required(format!("subjects[{index}].name"), ""));
                }
                if subject["kind"] == "ServiceAccount" && text(subject, "namespace").is_empty() {
                    causes.push(Cause::required(format!("subjects[{index}].namespace"), ""));
                }
            }
        }
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => {
            for (index, rule) in list(object, "rules").iter().enumerate() {
                if list(rule, "verbs").is_empty() {
                    causes.push(Cause::required(
                        format!("rules[{index}].verbs"),
                        "verbs must contain at least one value",
                    ));
                }
                if list(rule, "nonResourceURLs").is_empty() {
                    if list(rule, "apiGroups").is_empty() {
                        causes.push(Cause::required(
                            format!("rules[{index}].apiGroups"),
                            "resource rules must supply at least one api group",
                        ));
                    }
                    if list(rule, "resources").is_empty() {
                        causes.push(Cause::required(
                            format!("rules[{index}].resources"),
                            "resource rules must supply at least one resource",
                        ));
                    }
                }
            }
        }
        ("admissionregistration.k8s.io", _) => webhooks(object, &mut causes),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            causes.extend(crd::validate(object, old));
        }
        ("policy", "poddisruptionbudgets") => {
            if !object["spec"]["minAvailable"].is_null()
                && !object["spec"]["maxUnavailable"].is_null()
            {
                causes.push(Cause::invalid(
                    "spec",
                    &object["spec"],
                    "minAvailable and maxUnavailable cannot be both set",
                ));
            }
        }
        ("coordination.k8s.io", "leases") => {
            let seconds = object["spec"]["leaseDurationSeconds"].as_i64();
            if let Some(seconds) = seconds
                && seconds <= 0
            {
                causes.push(Cause::invalid(
                    "spec.leaseDurationSeconds",
                    &seconds.into(),
                    "must be greater than 0",
                ));
            }
        }
        _ => {}
    }
    causes
}

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

fn workload(resource: &Resource, object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
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

fn job(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
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

fn pod_spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
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

fn pod_update(object: &Value, old: &Value, causes: &mut Vec<Cause>) {
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

fn port_valid(number: i64, path: &str, causes: &mut Vec<Cause>) {
    if !(1..=65535).contains(&number) {
        causes.push(Cause::invalid(
            path,
            &number.into(),
            "must be between 1 and 65535, inclusive",
        ));
    }
}

fn service(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
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
    if kind == "ExternalName" && text(spec, "externalName").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    let (mut names, mut pairs) = (HashSet::new(), HashSet::new());
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
        if let Some(target) = port["targetPort"].as_i64() {
            port_valid(target, &format!("{at}.targetPort"), causes);
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
            causes.push(Cause::duplicate(at.clone(), port));
        }
        let node = port["nodePort"].as_i64().unwrap_or(0);
        if node != 0 && !(30000..=32767).contains(&node) {
            causes.push(Cause::invalid(
                format!("{at}.nodePort"),
                &node.into(),
                "provided port is not in the valid range. The range of valid ports is 30000-32767",
            ));
        }
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

fn address_valid(value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(Ok(address)) = value.as_str().map(str::parse::<IpAddr>) else {
        causes.push(Cause::invalid(
            path,
            value,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ));
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

fn slice(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
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

fn ingress(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
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

fn data(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let good = !key.is_empty()
                && key.len() <= 253
                && key
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if !good {
                causes.push(Cause::invalid(
                    format!("{field}[{key}]"),
                    &key.as_str().into(),
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                ));
            }
            size += value.as_str().map_or(0, str::len);
        }
    }
    if size > 1024 * 1024 * 4 / 3 {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 1048576 bytes".into(),
            field: "data".into(),
        });
    }
    if object["type"] == "kubernetes.io/tls" {
        for key in ["tls.crt", "tls.key"] {
            if object["data"][key].is_null() {
                causes.push(Cause::required(format!("data[{key}]"), ""));
            }
        }
    }
    if let Some(old) = old {
        if old["immutable"] == true {
            if object["immutable"] != true {
                causes.push(Cause::forbidden(
                    "immutable",
                    "field is immutable when `immutable` is set",
                ));
            }
            for field in ["data", "binaryData"] {
                if object[field] != old[field] {
                    causes.push(Cause::forbidden(
                        field,
                        "field is immutable when `immutable` is set",
                    ));
                }
            }
        }
        if object["type"] != old["type"] {
            causes.push(Cause::invalid(
                "type",
                &object["type"],
                "field is immutable",
            ));
        }
    }
}

fn webhooks(object: &Value, causes: &mut Vec<Cause>) {
    let mut names = HashSet::new();
    for (index, hook) in list(object, "webhooks").iter().enumerate() {
        let at = format!("webhooks[{index}]");
        let name = text(hook, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if !is_subdomain(name) || name.split('.').count() < 3 {
            causes.push(Cause::invalid(
                format!("{at}.name"),
                &name.into(),
                "should be a domain with at least three segments separated by dots",
            ));
        }
        if !names.insert(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &name.into()));
        }
        let config = &hook["clientConfig"];
        if config["url"].is_null() == config["service"].is_null() {
            causes.push(Cause::required(
                format!("{at}.clientConfig"),
                "exactly one of url or service is required",
            ));
        }
        match hook["sideEffects"].as_str() {
            Some("None" | "NoneOnDryRun") => {}
            None => causes.push(Cause::required(
                format!("{at}.sideEffects"),
                "must specify one of None, NoneOnDryRun",
            )),
            Some(_) => causes.push(Cause::unsupported(
                format!("{at}.sideEffects"),
                &hook["sideEffects"],
                &["None", "NoneOnDryRun"],
            )),
        }
        let versions = list(hook, "admissionReviewVersions");
        if versions.is_empty() {
            causes.push(Cause::required(
                format!("{at}.admissionReviewVersions"),
                "must specify one of v1, v1beta1",
            ));
        } else if !versions
            .iter()
            .any(|version| version == "v1" || version == "v1beta1")
        {
            causes.push(Cause::invalid(
                format!("{at}.admissionReviewVersions"),
                &hook["admissionReviewVersions"],
                "must include at least one of v1, v1beta1",
            ));
        }
        let seconds = hook["timeoutSeconds"].as_i64().unwrap_or(10);
        if !(1..=30).contains(&seconds) {
            causes.push(Cause::invalid(
                format!("{at}.timeoutSeconds"),
                &seconds.into(),
                "the timeout value must be between 1 and 30 seconds",
            ));
        }
    }
}
