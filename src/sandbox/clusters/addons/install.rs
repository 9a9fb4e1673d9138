//! Applies an add-on's objects under the field manager `eks`, takes them away, and looks at its workloads.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::{AddonSpec, manifests};

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

/// Makes or changes the add-on's objects.
pub async fn install(client: &kube::Client, spec: &AddonSpec) -> Result<(), kube::Error> {
    let parameters = PatchParams::apply("eks").force();
    for object in manifests::objects(spec) {
        if let Some((api, name)) = api(client, &object) {
            api.patch(&name, &parameters, &Patch::Apply(&object))
                .await?;
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
pub async fn health(client: &kube::Client, spec: &AddonSpec) -> Result<(), String> {
    const UNHEALTHY: &str =
        "The add-on is unhealthy because it doesn't have the desired number of replicas.";
    for object in manifests::objects(spec) {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !matches!(kind, "Deployment" | "DaemonSet") {
            continue;
        }
        let Some((api, name)) = api(client, &object) else {
            continue;
        };
        let live = match api.get_opt(&name).await {
            Ok(Some(live)) => live,
            Ok(None) => return Err(format!("{kind} {name} is missing")),
            Err(error) => return Err(error.to_string()),
        };
        let status = &live.data["status"];
        let number = |member: &str| status[member].as_i64().unwrap_or(0);
        let observed = number("observedGeneration") >= live.metadata.generation.unwrap_or(1);
        let complete = match kind {
            "DaemonSet" => number("numberReady") >= number("desiredNumberScheduled"),
            _ => number("availableReplicas") >= live.data["spec"]["replicas"].as_i64().unwrap_or(1),
        };
        if !(observed && complete) {
            return Err(UNHEALTHY.to_owned());
        }
    }
    Ok(())
}
