//! Pods and what makes them.

use std::collections::HashSet;

use serde_json::Value;

use super::super::object::{self, list, text};
use super::super::status::Cause;
use super::super::unified;
use super::containers::container_valid;
use super::internal;
use super::names::{LABEL, SUBDOMAIN, is_label, is_subdomain, key_errors};

pub fn pod_spec(spec: &Value, path: &str, causes: &mut Vec<Cause>) {
    let containers = list(spec, "containers");
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut volumes = HashSet::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let at = format!("{path}.volumes[{index}]");
        let (name, before) = (text(volume, "name"), causes.len());
        volume_valid(volume, &at, causes);
        if name.is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        } else if !is_label(name) {
            causes.push(Cause::invalid(format!("{at}.name"), &name.into(), LABEL));
        } else if volumes.contains(name) {
            causes.push(Cause::duplicate(format!("{at}.name"), &name.into()));
        }
        // What is wrong in itself is not there for those who mount it.
        if causes.len() == before {
            volumes.insert(name);
        }
    }
    let mut names = HashSet::new();
    for (kind, containers) in [
        ("containers", containers),
        ("initContainers", list(spec, "initContainers")),
    ] {
        let mut taken = HashSet::new();
        for (index, container) in containers.iter().enumerate() {
            let at = format!("{path}.{kind}[{index}]");
            match kind {
                "containers" => host_ports(container, &at, &mut taken, causes),
                // Each is done before the next one; the server calls all of them the first.
                _ => host_ports(
                    container,
                    &format!("{path}.{kind}[0]"),
                    &mut HashSet::new(),
                    causes,
                ),
            }
            let name = text(container, "name");
            if name.is_empty() {
                causes.push(Cause::required(format!("{at}.name"), ""));
            } else if !is_label(name) {
                causes.push(Cause::invalid(format!("{at}.name"), &name.into(), LABEL));
            }
            // One without a name is one more of that name among the regular ones.
            if names.contains(name) {
                causes.push(Cause::duplicate(format!("{at}.name"), &name.into()));
            } else if kind == "containers" || !name.is_empty() {
                names.insert(name);
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
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        causes.push(Cause::invalid(
            format!("{path}.activeDeadlineSeconds"),
            &seconds.into(),
            "must be between 1 and 2147483647, inclusive",
        ));
    }
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

/// A port of the node is for one port alone.
fn host_ports(container: &Value, at: &str, taken: &mut HashSet<String>, causes: &mut Vec<Cause>) {
    for (index, port) in list(container, "ports").iter().enumerate() {
        let number = port["hostPort"].as_i64().unwrap_or(0);
        let shown = format!(
            "{}/{}/{number}",
            text(port, "protocol"),
            text(port, "hostIP")
        );
        if number != 0 && !taken.insert(shown.clone()) {
            let at = format!("{at}.ports[{index}].hostPort");
            causes.push(Cause::duplicate(at, &shown.into()));
        }
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

/// Tolerations may only be added, or tolerate for another time.
fn added_tolerations(spec: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let timeless = |toleration: &Value| {
        let mut toleration = toleration.clone();
        object::remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let new: Vec<Value> = list(spec, "tolerations").iter().map(timeless).collect();
    let kept = |one: &Value| new.contains(&timeless(one));
    if !list(old, "tolerations").iter().all(kept) {
        causes.push(Cause::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
}

/// What may be changed of a pod, as it is said to whoever changes something else.
const CHANGEABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What may become of a pod: other images, a shorter deadline, more tolerations, fewer gates.
pub fn pod_update(object: &Value, old: &Value, causes: &mut Vec<Cause>) {
    let (new, old) = (&object["spec"], &old["spec"]);
    for kind in ["containers", "initContainers"] {
        if list(new, kind).len() != list(old, kind).len() {
            causes.push(Cause::forbidden(
                format!("spec.{kind}"),
                "pod updates may not add or remove containers",
            ));
            return;
        }
        for (index, container) in list(new, kind).iter().enumerate() {
            let image = text(container, "image");
            if image.trim() != image {
                causes.push(Cause::invalid(
                    format!("spec.{kind}[{index}].image"),
                    &image.into(),
                    "must not have leading or trailing whitespace",
                ));
            }
        }
    }
    if !deadline(new, old, causes) {
        return;
    }
    added_tolerations(new, old, causes);
    let gates = |spec: &Value| -> Vec<String> {
        let named = list(spec, "schedulingGates").iter();
        named.map(|gate| text(gate, "name").to_owned()).collect()
    };
    let before = gates(old);
    for (index, gate) in gates(new).iter().enumerate() {
        if !before.contains(gate) {
            causes.push(Cause::forbidden(
                format!("spec.schedulingGates[{index}].name"),
                &format!("only deletion is allowed, but found new scheduling gate '{gate}'"),
            ));
        }
    }
    if new == old {
        return;
    }
    let mut rest = new.clone();
    for kind in ["containers", "initContainers"] {
        let containers = rest[kind].as_array_mut().into_iter().flatten();
        for (container, was) in containers.zip(list(old, kind)) {
            container["image"] = was["image"].clone();
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        rest[field] = old[field].clone();
    }
    if !before.is_empty() {
        chosen_nodes(&mut rest, old, causes);
    }
    let (was, rest) = (internal::pod_spec(old), internal::pod_spec(&rest));
    if was != rest {
        let shown = unified::difference(&internal::indented(&was), &internal::indented(&rest));
        let why = format!("pod updates may not change fields other than {CHANGEABLE}\n{shown}");
        causes.push(Cause::forbidden("spec", &why));
    }
}

/// A deadline may come and be shortened. Whether to look any further.
fn deadline(new: &Value, old: &Value, causes: &mut Vec<Cause>) -> bool {
    let at = "spec.activeDeadlineSeconds";
    let seconds = |spec: &Value| spec["activeDeadlineSeconds"].as_i64();
    let wrong = match (seconds(new), seconds(old)) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => Cause::invalid(
            at,
            &now.into(),
            "must be between 0 and 2147483647, inclusive",
        ),
        (Some(now), Some(before)) if before < now => Cause::invalid(
            at,
            &now.into(),
            "must be less than or equal to previous value",
        ),
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            causes.push(Cause::invalid(at, &Value::Null, why));
            return true;
        }
        _ => return true,
    };
    causes.push(wrong);
    false
}

/// While gates keep a pod from being scheduled, it may become more choosy about its nodes.
fn chosen_nodes(rest: &mut Value, old: &Value, causes: &mut Vec<Cause>) {
    let chosen = |spec: &Value| {
        spec["nodeSelector"]
            .as_object()
            .cloned()
            .unwrap_or_default()
    };
    let (now, before) = (chosen(rest), chosen(old));
    if before
        .iter()
        .any(|(key, value)| now.get(key) != Some(value))
    {
        causes.push(Cause::invalid(
            "spec.nodeSelector",
            &rest["nodeSelector"],
            "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ));
    }
    rest["nodeSelector"] = old["nodeSelector"].clone();
}
