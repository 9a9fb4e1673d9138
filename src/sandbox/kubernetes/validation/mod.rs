//! What objects of built-in kinds must be like.

mod containers;
mod networking;
mod pods;
mod rbac;
mod workloads;

use std::collections::HashSet;

use serde_json::Value;

use super::crd;
use super::object::{self, list, text};
use super::resources::Resource;
use super::status::Cause;
pub use networking::cluster_addresses;
use networking::{address_valid, ingress, service, slice};
use pods::{pod_addresses, pod_spec, pod_update};
use workloads::{job, workload};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_label_shaped(name)
}

fn is_label_shaped(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
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
pub fn metadata(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    }
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
        _ if name.is_empty() => {}
        (false, "namespaces") if !is_label(name) => causes.push(bad(LABEL, 63)),
        (false, "services")
            if !is_label(name) || name.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            causes.push(bad(SERVICE, 63));
        }
        // Path segments only: anything but a slash and a percent sign.
        (false, "roles" | "rolebindings" | "clusterroles" | "clusterrolebindings") => {
            let bad = name.contains('/') || name.contains('%') || matches!(name, "." | "..");
            causes.extend(
                bad.then(|| Cause::invalid("metadata.name", &name.into(), "may not contain '/'")),
            );
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
    let mut controllers = 0;
    for owner in list(object, "metadata.ownerReferences") {
        let place = "metadata.ownerReferences";
        let version = text(owner, "apiVersion");
        if version.is_empty() {
            causes.push(Cause::invalid(
                format!("{place}.apiVersion"),
                &"".into(),
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                causes.push(Cause::invalid(
                    format!("{place}.{field}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
        if text(owner, "kind") == "Event" && matches!(version, "v1" | "events.k8s.io/v1") {
            let slash = if version == "v1" { "/" } else { "" };
            causes.push(Cause::invalid(
                place,
                owner,
                format!("{slash}{version}, Kind=Event is disallowed from being an owner"),
            ));
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
    finalizers_valid(resource, object, old, &mut causes);
    causes
}

/// The numbers that a custom resource is scaled by.
pub fn scale(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let Some(scale) = &resource.scale else {
        return causes;
    };
    for path in [&scale.spec, &scale.status] {
        let shown = format!(".{path}");
        match object::at(object, path) {
            None => {}
            Some(value) => match value.as_i64() {
                Some(number) if number < 0 => causes.push(Cause::invalid(
                    shown,
                    &number.into(),
                    "should be a non-negative integer",
                )),
                Some(_) => {}
                None => {
                    let (said, kind) = match value {
                        Value::String(text) => (text.clone(), "string"),
                        Value::Bool(value) => (value.to_string(), "bool"),
                        Value::Number(number) => (number.to_string(), "float64"),
                        Value::Null => ("<nil>".to_owned(), "<nil>"),
                        other => (other.to_string(), "map[string]interface {}"),
                    };
                    let why = format!(
                        "{shown} accessor error: {said} is of the type {kind}, expected int64"
                    );
                    causes.push(Cause::invalid(shown, &0.into(), why));
                }
            },
        }
    }
    causes
}

fn finalizers_valid(
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
) {
    let finalizers = object::finalizers(object);
    for finalizer in finalizers {
        for why in key_errors(finalizer.as_str().unwrap_or("")) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, why));
        }
    }
    if let Some(old) = old
        && object::terminating(old)
    {
        let before = object::finalizers(old);
        let mut fresh: Vec<&str> = finalizers
            .iter()
            .filter(|one| !before.contains(one))
            .filter_map(Value::as_str)
            .collect();
        fresh.sort_unstable();
        if !fresh.is_empty() {
            let words: Vec<String> = fresh.iter().map(|one| format!("{one:?}")).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                words.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", &why));
        }
    }
    // Some kinds are validated as a whole when they are changed.
    let whole = matches!(
        resource.plural.as_str(),
        "configmaps"
            | "secrets"
            | "serviceaccounts"
            | "roles"
            | "rolebindings"
            | "clusterroles"
            | "clusterrolebindings"
    );
    if resource.custom.is_some() || old.is_some() && !whole {
        return;
    }
    for (index, finalizer) in finalizers.iter().enumerate() {
        let name = finalizer.as_str().unwrap_or("");
        if !name.contains('/') && !matches!(name, "orphan" | "foregroundDeletion" | "kubernetes") {
            causes.push(Cause::invalid(
                format!("metadata.finalizers[{index}]"),
                finalizer,
                "name is neither a standard finalizer name nor is it fully qualified",
            ));
        }
    }
}

/// What is wrong with a qualified name: `example.com/name` or `name`.
pub fn key_errors(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                if prefix.len() > 253 {
                    errors.push("prefix part must be no more than 253 bytes".into());
                }
                if !is_subdomain(prefix) {
                    errors.push(format!("prefix part {SUBDOMAIN}"));
                }
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                QUALIFIED.trim_start_matches("name part ")
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".into());
    }
    if name.len() > 63 && name.get(..1).is_some_and(is_qualified)
        || !is_qualified(name) && name.len() <= 63
    {
        errors.push(QUALIFIED.into());
    }
    errors
}

/// What is wrong with the name of a host.
pub fn label_errors(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 63 {
        errors.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label_shaped(name) {
        errors.push(LABEL.to_owned());
    }
    errors
}

/// What is wrong with the value of a label.
pub fn value_errors(value: &str) -> Vec<String> {
    if value.len() > 63 {
        vec!["must be no more than 63 bytes".into()]
    } else if value.is_empty() || is_qualified(value) {
        Vec::new()
    } else {
        vec![LABEL_VALUE.into()]
    }
}

fn key_valid(key: &str, shown: &str, field: &str, causes: &mut Vec<Cause>) {
    for why in key_errors(key) {
        causes.push(Cause::invalid(field, &shown.into(), why));
    }
}

fn labels_valid(labels: &serde_json::Map<String, Value>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels {
        key_valid(key, key, field, causes);
        for why in value_errors(value.as_str().unwrap_or("")) {
            causes.push(Cause::invalid(field, value, why));
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
            pod_addresses(object, &mut causes);
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
        ("", "namespaces") => {
            let (going, phase) = (object::terminating(object), text(object, "status.phase"));
            let wanted = if going { "Terminating" } else { "Active" };
            if old.is_some() && phase != wanted {
                let so = if going { "not empty" } else { "empty" };
                causes.push(Cause::invalid(
                    "status.Phase",
                    &phase.into(),
                    format!("may only be '{wanted}' if `deletionTimestamp` is {so}"),
                ));
            }
        }
        ("", "serviceaccounts") => {}
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
            rbac::binding(resource, object, old, &mut causes);
        }
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => {
            rbac::role(resource, object, &mut causes);
        }
        ("admissionregistration.k8s.io", _) => webhooks(object, &mut causes),
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            causes.extend(crd::validate(object, old));
        }
        ("policy", "poddisruptionbudgets")
            if !object["spec"]["minAvailable"].is_null()
                && !object["spec"]["maxUnavailable"].is_null() =>
        {
            causes.push(Cause::invalid(
                "spec",
                &object["spec"],
                "minAvailable and maxUnavailable cannot be both set",
            ));
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

fn port_name_valid(name: &str, path: &str, causes: &mut Vec<Cause>) {
    let mut say = |why: &str| causes.push(Cause::invalid(path, &name.into(), why));
    if name.len() > 15 {
        say("must be no more than 15 characters");
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(good) {
        say("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        say("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        say("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        say("must not begin or end with a hyphen");
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
            if field == "data" && object["binaryData"].get(key).is_some() {
                causes.push(Cause::invalid(
                    format!("data[{key}]"),
                    &key.as_str().into(),
                    "duplicate of key present in binaryData",
                ));
            }
        }
    }
    if size > 1024 * 1024 * 4 / 3 {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 1048576 bytes".into(),
            field: "data".into(),
        });
    }
    let keys: &[&str] = match text(object, "type") {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" => &["username", "password"],
        _ => &[],
    };
    // Basic authentication does with one of the two.
    let some = keys.iter().any(|key| object["data"].get(key).is_some());
    if object["kind"] == "Secret" && !some {
        for key in keys {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    }
    let account = "kubernetes.io/service-account.name";
    if object["type"] == "kubernetes.io/service-account-token"
        && object::annotation(object, account).is_none_or(str::is_empty)
    {
        causes.push(Cause::required(
            format!("metadata.annotations[{account}]"),
            "",
        ));
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
