//! What objects of built-in kinds must be like.

mod containers;
mod internal;
mod metadata;
mod names;
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
use super::typed;
pub use metadata::metadata;
use metadata::own_finalizers;
use names::is_subdomain;
pub use names::{key_errors, label_errors, value_errors};
pub use networking::cluster_addresses;
use networking::{address_valid, ingress, service, slice};
use pods::{pod_addresses, pod_spec, pod_update};
use workloads::{job, workload};

/// The numbers that a custom resource is scaled by, and the selector of what it makes.
pub fn scale(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let Some(scale) = &resource.scale else {
        return causes;
    };
    for path in [&scale.spec, &scale.status] {
        let shown = format!(".{path}");
        let number = match nested(object, path) {
            Ok(None) => continue,
            Ok(Some(value)) => value.as_i64().ok_or_else(|| accessed(path, value, "int64")),
            Err(why) => Err(why),
        };
        let (number, why) = match number {
            Err(why) => (0, why),
            Ok(number) if number < 0 => (number, "should be a non-negative integer".to_owned()),
            Ok(number) if number > i32::MAX.into() => (
                number,
                format!("should be less than or equal to {}", i32::MAX),
            ),
            Ok(_) => continue,
        };
        causes.push(Cause::invalid(shown, &number.into(), why));
    }
    if let Some(path) = &scale.selector {
        let wrong = match nested(object, path) {
            Ok(Some(value)) if !value.is_string() => Some(accessed(path, value, "string")),
            Ok(_) => None,
            Err(why) => Some(why),
        };
        let shown = format!(".{path}");
        causes.extend(wrong.map(|why| Cause::invalid(shown, &"".into(), why)));
    }
    causes
}

/// What stands at a dotted path; an error where that leads through something that is no object.
fn nested<'a>(object: &'a Value, path: &str) -> Result<Option<&'a Value>, String> {
    let mut place = object;
    let mut end = 0;
    for field in path.split('.') {
        end += field.len();
        match place {
            Value::Null => return Ok(None),
            Value::Object(map) => match map.get(field) {
                Some(below) => place = below,
                None => return Ok(None),
            },
            other => return Err(accessed(&path[..end], other, "map[string]interface{}")),
        }
        end += 1;
    }
    Ok(Some(place))
}

/// The real server's words for a value that another type was expected of.
fn accessed(path: &str, value: &Value, expected: &str) -> String {
    format!(
        ".{path} accessor error: {} is of the type {}, expected {expected}",
        typed::go(value),
        typed::go_type(value)
    )
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
            own_finalizers(object, old, &mut causes);
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
        ("policy", "poddisruptionbudgets") => budget(object, &mut causes),
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

fn budget(object: &Value, causes: &mut Vec<Cause>) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let why = "minAvailable and maxUnavailable cannot be both set";
        causes.push(Cause::invalid("spec", spec, why));
    }
    for field in [
        "disruptionsAllowed",
        "currentHealthy",
        "desiredHealthy",
        "expectedPods",
    ] {
        let count = &object["status"][field];
        if count.as_i64().is_some_and(|count| count < 0) {
            let why = "must be greater than or equal to 0";
            causes.push(Cause::invalid(format!("status.{field}"), count, why));
        }
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
