//! The pod webhook: decides whether a pod gets Envoy, and for which virtual node or gateway.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::program::webhooks::{Review, Verdict, Webhooks};
use super::super::runtime::index;
use super::super::runtime::kinds::NAMESPACES;
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{Key, Resource};
use super::{Controller, VIRTUAL_GATEWAYS, VIRTUAL_NODES, sidecars};

/// The label of namespaces and annotation of pods that switches injection.
const SWITCH: &str = "appmesh.k8s.aws/sidecarInjectorWebhook";

/// Registers the pod webhook.
pub fn register(controller: &Arc<Controller>, hooks: &mut Webhooks) {
    let owner = controller.clone();
    hooks.on("/mutate-v1-pod", move |review| {
        let owner = owner.clone();
        async move {
            owner.synced().await;
            inject(&owner, &review)
        }
    });
}

fn inject(controller: &Controller, review: &Review) -> Verdict {
    let mut pod = review["object"].clone();
    if review["operation"] != "CREATE" {
        return Ok(pod);
    }
    let namespace = text(&review["namespace"]);
    let mode = mode(controller, &pod, namespace)?;
    if mode == "disabled" {
        return Ok(pod);
    }
    let node = designate(controller, &VIRTUAL_NODES, &pod, namespace)?;
    let gateway = designate(controller, &VIRTUAL_GATEWAYS, &pod, namespace)?;
    let member = match (&node, &gateway) {
        (Some(node), Some(gateway)) => {
            return Err(format!(
                "sidecarInject enabled for both virtualNode {} and virtualGateway {} on pod {}. Please use podSelector on one",
                node.name(),
                gateway.name(),
                pod.name()
            ));
        }
        (Some(member), None) | (None, Some(member)) if !member["spec"]["meshRef"].is_null() => {
            member
        }
        _ if mode == "enabled" => {
            return Err(
                "sidecarInject enabled but no matching VirtualNode or VirtualGateway found".into(),
            );
        }
        _ => return Ok(pod),
    };
    let mesh = controller.resolve_mesh(&member["spec"]["meshRef"])?;
    let settings = sidecars::Settings {
        flags: &controller.flags,
        account: &controller.account,
        region: &controller.region,
        kubernetes_version: &controller.kubernetes_version,
    };
    if node.is_some() {
        settings.equip_node_pod(&mut pod, &mesh, member)?;
    } else {
        settings.equip_gateway_pod(&mut pod, &mesh, member)?;
    }
    Ok(pod)
}

fn mode(controller: &Controller, pod: &Value, namespace: &str) -> Result<String, String> {
    let found = controller
        .cluster
        .cache(&NAMESPACES)
        .get(&Key::new("", namespace))
        .ok_or_else(|| {
            format!("failed to determine sidecarInject mode: Namespace \"{namespace}\" not found")
        })?;
    let wanted = pod
        .annotation(SWITCH)
        .or_else(|| found.label(SWITCH))
        .unwrap_or("");
    Ok(wanted.to_lowercase())
}

/// The one virtual node or gateway that selects a pod.
fn designate(
    controller: &Controller,
    kind: &Resource,
    pod: &Value,
    namespace: &str,
) -> Result<Option<Arc<Value>>, String> {
    let members = controller.cluster.cache(kind);
    let labels = index::terms(namespace, &pod["metadata"]["labels"]);
    let mut candidates: Vec<Arc<Value>> = labels
        .iter()
        .chain([&index::anything(namespace)])
        .flat_map(|term| members.by(&index::POD_SELECTOR, term))
        .filter(|member| {
            object::selects(&member["spec"]["podSelector"], &pod["metadata"]["labels"])
        })
        .collect();
    candidates.sort_by_key(|member| member.key());
    if candidates.len() > 1 {
        let names: Vec<String> = candidates
            .iter()
            .map(|member| member.key().to_string())
            .collect();
        return Err(format!(
            "found multiple matching {}s for pod {}/{}: {}",
            kind.kind,
            pod.namespace(),
            pod.name(),
            names.join(",")
        ));
    }
    Ok(candidates.pop())
}

/// Adds to a list within a pod's spec, at its end or at its beginning.
pub fn add(pod: &mut Value, list: &str, entry: Value, first: bool) {
    let mut entries = items(&pod["spec"][list]).to_vec();
    if first {
        entries.insert(0, entry);
    } else {
        entries.push(entry);
    }
    pod["spec"][list] = json!(entries);
}
