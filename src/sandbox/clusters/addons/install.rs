//! Applies an add-on's objects under the field manager `eks`, takes them away, and looks at its workloads.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::{AddonSpec, manifests};
use crate::sandbox::controllers::runtime::kinds::{DAEMON_SETS, DEPLOYMENTS};
use crate::sandbox::controllers::runtime::object::{self, Meta as _};
use crate::sandbox::controllers::runtime::{Cluster, Resource};

fn api(client: &kube::Client, object: &Value) -> Option<(Api<DynamicObject>, String)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (group, version) = match text("/apiVersion")?.split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", text("/apiVersion")?),
    };
    let kind = GroupVersionKind::gvk(group, version, text("/kind")?);
    let resource = ApiResource::from_gvk(&kind);
    let api = match text("/metadata/namespace") {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Some((api, text("/metadata/name")?.to_owned()))
}

/// The kind of a workload, on which an add-on's health depends.
fn workload(object: &Value) -> Option<&'static Resource> {
    match object::text(&object["kind"]) {
        "Deployment" => Some(&DEPLOYMENTS),
        "DaemonSet" => Some(&DAEMON_SETS),
        _ => None,
    }
}

/// Makes or changes the add-on's objects.
pub async fn install(cluster: &Cluster, spec: &AddonSpec) -> Result<(), kube::Error> {
    let parameters = PatchParams::apply("eks").force();
    for object in manifests::objects(spec) {
        let Some((api, name)) = api(cluster.client(), &object) else {
            continue;
        };
        let made = api
            .patch(&name, &parameters, &Patch::Apply(&object))
            .await?;
        // Its health is not that of what was there before.
        if let Some(resource) = workload(&object)
            && let Ok(made) = serde_json::to_value(&made)
        {
            cluster.remember(resource, &made);
        }
    }
    Ok(())
}

/// Takes the add-on's objects away; absent ones are fine.
pub async fn remove(client: &kube::Client, spec: &AddonSpec) -> Result<(), kube::Error> {
    for object in manifests::objects(spec).iter().rev() {
        if let Some((api, name)) = api(client, object)
            && let Err(error) = api.delete(&name, &DeleteParams::background()).await
            && !matches!(&error, kube::Error::Api(status) if status.code == 404)
        {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether the add-on's workloads have all they want; else what is missing.
pub async fn health(cluster: &Cluster, spec: &AddonSpec) -> Result<(), String> {
    const UNHEALTHY: &str =
        "The add-on is unhealthy because it doesn't have the desired number of replicas.";
    for wanted in manifests::objects(spec) {
        let Some(resource) = workload(&wanted) else {
            continue;
        };
        let known = cluster.cache(resource);
        known.synced().await;
        let kind = resource.kind.as_ref();
        let Some(live) = known.get(&wanted.key()) else {
            return Err(format!("{kind} {} is missing", wanted.name()));
        };
        let number = |member: &str| live["status"][member].as_i64().unwrap_or(0);
        let observed = number("observedGeneration") >= live.generation();
        let complete = match kind {
            "DaemonSet" => number("numberReady") >= number("desiredNumberScheduled"),
            _ => number("availableReplicas") >= live["spec"]["replicas"].as_i64().unwrap_or(1),
        };
        if !(observed && complete) {
            return Err(UNHEALTHY.to_owned());
        }
    }
    Ok(())
}
