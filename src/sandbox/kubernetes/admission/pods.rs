//! What a pod gets from its service account and from the cluster.

use serde_json::{Value, json};

use super::super::object;
use super::super::status::Result;
use super::Attributes;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The ServiceAccount plugin: the account must be there, and its token is mounted.
pub fn service_account(attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
    if object::annotation(pod, "kubernetes.io/config.mirror").is_some() {
        return Ok(());
    }
    object::default(pod, "spec.serviceAccountName", "default");
    if object::text(pod, "spec.serviceAccountName").is_empty() {
        object::set(pod, "spec.serviceAccountName", "default");
    }
    let name = object::text(pod, "spec.serviceAccountName").to_owned();
    object::set(pod, "spec.serviceAccount", name.as_str());
    let namespace = attributes.namespace;
    let Some(account) = attributes
        .api
        .store
        .get("serviceaccounts", namespace, &name)
    else {
        return Err(attributes.forbidden(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        )));
    };
    let automount = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or(account.value["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if automount {
        mount(pod);
    }
    let secrets = object::list(&account.value, "imagePullSecrets");
    if object::list(pod, "spec.imagePullSecrets").is_empty() && !secrets.is_empty() {
        object::set(pod, "spec.imagePullSecrets", secrets.to_vec());
    }
    Ok(())
}

fn mount(pod: &mut Value) {
    // Somebody mounted it by hand, or the pod was made from one that had it.
    let existing = object::list(pod, "spec.volumes")
        .iter()
        .map(|volume| object::text(volume, "name"))
        .find(|name| name.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let name = existing
        .clone()
        .unwrap_or_else(|| format!("kube-api-access-{}", object::suffix()));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in containers(pod, list) {
            let mounted = object::list(container, "volumeMounts")
                .iter()
                .any(|mount| mount["mountPath"] == MOUNT);
            if !mounted {
                push(
                    container,
                    "volumeMounts",
                    json!({"name": name, "readOnly": true, "mountPath": MOUNT}),
                );
                used = true;
            }
        }
    }
    if used && existing.is_none() {
        let volume = json!({"name": name, "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
            "defaultMode": 420,
        }});
        push(&mut pod["spec"], "volumes", volume);
    }
}

/// The containers of a list, if there is one.
pub fn containers<'a>(pod: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    pod.get_mut("spec")
        .and_then(|spec| spec.get_mut(list))
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// Appends to a list, made when missing.
pub fn push(object: &mut Value, field: &str, item: Value) {
    if !object[field].is_array() {
        object[field] = json!([]);
    }
    if let Some(list) = object[field].as_array_mut() {
        list.push(item);
    }
}

/// What other plugins add: priority, tolerations, service links.
pub fn defaults(attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
    object::default(pod, "spec.enableServiceLinks", true);
    let class = object::text(pod, "spec.priorityClassName").to_owned();
    let mut priority = 0;
    if !class.is_empty() {
        let found = attributes
            .api
            .store
            .get("scheduling.k8s.io/priorityclasses", "", &class);
        match found {
            Some(found) => priority = found.value["value"].as_i64().unwrap_or(0),
            None => {
                return Err(
                    attributes.forbidden(&format!("no PriorityClass with name {class} was found"))
                );
            }
        }
    }
    let said = object::at(pod, "spec.priority").and_then(Value::as_i64);
    if let Some(said) = said.filter(|said| *said != priority) {
        return Err(attributes.forbidden(&format!(
            "the integer value of priority ({said}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        )));
    }
    object::set(pod, "spec.priority", priority);
    object::default(pod, "spec.preemptionPolicy", "PreemptLowerPriority");
    tolerate(pod);
    Ok(())
}

/// A change that says nothing of the priority leaves it.
pub fn keep_priority(old: &Value, pod: &mut Value) {
    for field in ["spec.priority", "spec.preemptionPolicy"] {
        if let Some(before) = object::at(old, field) {
            object::default(pod, field, before.clone());
        }
    }
}

/// A pod stays for five minutes on a node that does not answer, unless it says otherwise.
pub fn tolerate(pod: &mut Value) {
    if !pod["spec"].is_object() {
        return;
    }
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let tolerated = object::list(pod, "spec.tolerations").iter().any(|one| {
            let same_key = one["key"] == key || object::text(one, "key").is_empty();
            same_key && (one["effect"] == "NoExecute" || object::text(one, "effect").is_empty())
        });
        if !tolerated {
            push(
                &mut pod["spec"],
                "tolerations",
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
}
