//! Defaults and checks of the custom resources.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::program::webhooks::{Review, Verdict, Webhooks};
use super::super::runtime::Key;
use super::super::runtime::kinds::NAMESPACES;
use super::super::runtime::object::{self, Meta, items, text};
use super::spec::namespace_of;
use super::{Controller, MESHES, VIRTUAL_GATEWAYS};

/// Registers the mutating and validating webhooks of all kinds.
pub fn register(controller: &Arc<Controller>, hooks: &mut Webhooks) {
    macro_rules! kind {
        ($kind:literal, $lower:literal) => {
            let owner = controller.clone();
            hooks.on(
                concat!("/mutate-appmesh-k8s-aws-v1beta2-", $lower),
                move |review| {
                    let owner = owner.clone();
                    async move {
                        owner.synced().await;
                        mutate(&owner, $kind, &review)
                    }
                },
            );
            hooks.on(
                concat!("/validate-appmesh-k8s-aws-v1beta2-", $lower),
                |review| async move { validate($kind, &review).map(|()| review["object"].clone()) },
            );
        };
    }
    kind!("Mesh", "mesh");
    kind!("VirtualNode", "virtualnode");
    kind!("VirtualRouter", "virtualrouter");
    kind!("VirtualService", "virtualservice");
    kind!("VirtualGateway", "virtualgateway");
    kind!("GatewayRoute", "gatewayroute");
    kind!("BackendGroup", "backendgroup");
}

fn mutate(controller: &Controller, kind: &str, review: &Review) -> Verdict {
    let mut object = review["object"].clone();
    if kind == "Mesh" && object["spec"]["serviceDiscovery"].is_object() {
        object["spec"]["serviceDiscovery"] = json!({ "ipPreference": "IPv4_ONLY" });
    }
    if review["operation"] != "CREATE" {
        return Ok(object);
    }
    let namespace = text(&review["namespace"]).to_owned();
    if kind != "Mesh" {
        if !object["spec"]["meshRef"].is_null() {
            return Err(format!(
                "{kind} create may not specify read-only field: spec.meshRef"
            ));
        }
        let mesh = designate(controller, &namespace)?;
        object["spec"]["meshRef"] = json!({ "name": mesh.name(), "uid": mesh.uid() });
        if kind == "GatewayRoute" {
            let gateway = designate_gateway(controller, &object, &namespace)?;
            let theirs = &gateway["spec"]["meshRef"];
            if theirs["name"] != mesh.name() || theirs["uid"] != mesh.uid() {
                return Err("virtualGateway referenced does not belong to the mesh referenced in GatewayRoute Create".into());
            }
            object["spec"]["virtualGatewayRef"] = json!({
                "namespace": gateway.namespace(),
                "name": gateway.name(),
                "uid": gateway.uid(),
            });
        }
    }
    if kind != "BackendGroup" && text(&object["spec"]["awsName"]).is_empty() {
        let name = object.name();
        let aws_name = match kind {
            "Mesh" => name.to_owned(),
            "VirtualService" => format!("{name}.{namespace}"),
            _ => format!("{name}_{namespace}"),
        };
        object["spec"]["awsName"] = aws_name.into();
    }
    Ok(object)
}

/// The one mesh that selects a namespace.
fn designate(controller: &Controller, namespace: &str) -> Result<Arc<Value>, String> {
    let labels = controller
        .cluster
        .cache(&NAMESPACES)
        .get(&Key::new("", namespace))
        .map(|found| found["metadata"]["labels"].clone())
        .ok_or_else(|| {
            format!("failed to get namespace: {namespace}: Namespace \"{namespace}\" not found")
        })?;
    let mut candidates: Vec<Arc<Value>> = controller
        .cluster
        .cache(&MESHES)
        .all()
        .into_iter()
        .filter(|mesh| object::selects(&mesh["spec"]["namespaceSelector"], &labels))
        .collect();
    if candidates.len() > 1 {
        let names: Vec<&str> = candidates.iter().map(|mesh| mesh.name()).collect();
        return Err(format!(
            "found multiple matching meshes for namespace: {namespace}, expecting 1 but found {}: {}",
            names.len(),
            names.join(",")
        ));
    }
    let Some(mesh) = candidates.pop() else {
        return Err(format!(
            "failed to find matching mesh for namespace: {namespace}, expecting 1 but found 0"
        ));
    };
    if mesh.deleting() {
        return Err(format!(
            "unable to create new content in mesh {} because it is being terminated",
            mesh.name()
        ));
    }
    Ok(mesh)
}

fn designate_gateway(
    controller: &Controller,
    route: &Value,
    namespace: &str,
) -> Result<Arc<Value>, String> {
    if !route["spec"]["virtualGatewayRef"].is_null() {
        return Err(
            "GatewayRoute create may not specify read-only field: spec.virtualGatewayRef".into(),
        );
    }
    let labels = controller
        .cluster
        .cache(&NAMESPACES)
        .get(&Key::new("", namespace))
        .map(|found| found["metadata"]["labels"].clone())
        .ok_or_else(|| format!("failed to get namespace: {namespace}"))?;
    let mut candidates: Vec<Arc<Value>> = controller
        .cluster
        .cache(&VIRTUAL_GATEWAYS)
        .all()
        .into_iter()
        .filter(|gateway| {
            let selector = &gateway["spec"]["gatewayRouteSelector"];
            object::selects(&gateway["spec"]["namespaceSelector"], &labels)
                && (selector.is_null() || object::selects(selector, &route["metadata"]["labels"]))
        })
        .collect();
    if candidates.len() > 1 {
        let names: Vec<&str> = candidates.iter().map(|gateway| gateway.name()).collect();
        return Err(format!(
            "found multiple matching virtualGateways for gatewayRoute: {}, expecting 1 but found {}: {}",
            route.name(),
            names.len(),
            names.join(",")
        ));
    }
    candidates.pop().ok_or_else(|| {
        format!(
            "failed to find matching virtualGateway for gatewayRoute: {}, expecting 1 but found 0",
            route.name()
        )
    })
}

fn validate(kind: &str, review: &Review) -> Result<(), String> {
    let object = &review["object"];
    let operation = text(&review["operation"]);
    if !matches!(operation, "CREATE" | "UPDATE") {
        return Ok(());
    }
    if kind == "VirtualNode" {
        required_fields(object)?;
    }
    if operation == "UPDATE" {
        unchanged(kind, object, &review["oldObject"])?;
    }
    match kind {
        "Mesh" => ip_preference(object),
        "VirtualNode" => {
            no_duplicate_backends(object)?;
            connection_pools(object, "Node")
        }
        "VirtualRouter" => routes(object),
        "VirtualGateway" => connection_pools(object, "Gateway"),
        _ => Ok(()),
    }
}

fn unchanged(kind: &str, new: &Value, old: &Value) -> Result<(), String> {
    let mut fields: Vec<&str> = match kind {
        "Mesh" => vec!["awsName"],
        "BackendGroup" => vec!["meshRef"],
        "GatewayRoute" => vec!["awsName", "meshRef", "virtualGatewayRef"],
        _ => vec!["awsName", "meshRef"],
    };
    fields.retain(|field| new["spec"][field] != old["spec"][field]);
    let mut changed: Vec<String> = fields.iter().map(|field| format!("spec.{field}")).collect();
    if kind == "VirtualNode" {
        let (before, after) = (
            &old["spec"]["serviceDiscovery"]["awsCloudMap"],
            &new["spec"]["serviceDiscovery"]["awsCloudMap"],
        );
        if !before.is_null() && before != after {
            changed.push("spec.serviceDiscovery.awsCloudMap".into());
        }
    }
    if changed.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{kind} update may not change these fields: {}",
            changed.join(",")
        ))
    }
}

fn ip_preference(mesh: &Value) -> Result<(), String> {
    match &mesh["spec"]["serviceDiscovery"] {
        Value::Null => Ok(()),
        discovery => match text(&discovery["ipPreference"]) {
            "IPv4_ONLY" | "IPv6_ONLY" => Ok(()),
            _ => Err("Only non-empty values allowed are IPv4_ONLY or IPv6_ONLY".into()),
        },
    }
}

fn required_fields(node: &Value) -> Result<(), String> {
    if node["spec"]["listeners"].is_array() && node["spec"]["serviceDiscovery"].is_null() {
        return Err(format!(
            "ServiceDiscovery missing for VirtualNode-{}. ServiceDiscovery must be specified when a listener is specified.",
            node.name()
        ));
    }
    Ok(())
}

fn no_duplicate_backends(node: &Value) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for backend in items(&node["spec"]["backends"]) {
        let service = &backend["virtualService"];
        let reference = &service["virtualServiceRef"];
        if reference.is_object() {
            let name = text(&reference["name"]);
            let namespace = namespace_of(reference, node.namespace());
            if !seen.insert(format!("{name}-{namespace}")) {
                return Err(format!(
                    "VirtualNode-{} has duplicate VirtualServiceReferences {name}",
                    node.name()
                ));
            }
        } else if let Some(arn) = service["virtualServiceARN"].as_str()
            && !seen.insert(arn.to_owned())
        {
            return Err(format!(
                "VirtualNode-{} has duplicate VirtualServiceReferenceARNs {arn}",
                node.name()
            ));
        }
    }
    Ok(())
}

fn connection_pools(object: &Value, what: &str) -> Result<(), String> {
    for listener in items(&object["spec"]["listeners"]) {
        let kinds = ["tcp", "http", "http2", "grpc"]
            .iter()
            .filter(|kind| !listener["connectionPool"][**kind].is_null())
            .count();
        if kinds > 1 {
            return Err(format!(
                "Only one type of Virtual {what} Connection Pool is allowed"
            ));
        }
    }
    Ok(())
}

fn routes(router: &Value) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let routes = items(&router["spec"]["routes"]);
    for route in routes {
        let name = text(&route["name"]);
        if !seen.insert(name) {
            return Err(format!(
                "VirtualRouter-{} has duplicate route entries for {name}",
                router.name()
            ));
        }
    }
    for route in routes {
        let http = if route["httpRoute"].is_null() {
            &route["http2Route"]
        } else {
            &route["httpRoute"]
        };
        if http.is_null() {
            continue;
        }
        let (prefix, path) = (&http["match"]["prefix"], &http["match"]["path"]);
        match (prefix.is_null(), path.is_null()) {
            (true, true) => return Err("Either Prefix or Path must be specified".into()),
            (false, false) => {
                return Err("Both Prefix and Path cannot be specified, only 1 allowed".into());
            }
            _ => {}
        }
        if path.is_object() {
            match (path["exact"].is_null(), path["regex"].is_null()) {
                (true, true) => {
                    return Err("Either exact or regex for path must be specified".into());
                }
                (false, false) => {
                    return Err(
                        "Both exact and regex for path are not allowed. Only one must be specified"
                            .into(),
                    );
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_memberships_never_change() {
        let review = json!({
            "operation": "UPDATE",
            "object": { "metadata": { "name": "a" }, "spec": { "awsName": "b" } },
            "oldObject": { "metadata": { "name": "a" }, "spec": { "awsName": "a", "meshRef": { "name": "m" } } },
        });
        assert_eq!(
            validate("VirtualNode", &review).expect_err("changed"),
            "VirtualNode update may not change these fields: spec.awsName,spec.meshRef"
        );
    }

    #[test]
    fn a_route_matches_by_one_thing() {
        let review = json!({
            "operation": "CREATE",
            "object": { "metadata": { "name": "r" }, "spec": { "routes": [
                { "name": "a", "httpRoute": { "match": { "prefix": "/", "path": { "exact": "/" } } } },
            ] } },
        });
        assert_eq!(
            validate("VirtualRouter", &review).expect_err("two"),
            "Both Prefix and Path cannot be specified, only 1 allowed"
        );
    }
}
