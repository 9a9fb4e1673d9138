//! What an Envoy is told about its virtual node or gateway: the resolved model, with a version that changes exactly
//! when the model does. The real service streams it as xDS over gRPC under the permission
//! `appmesh:StreamAggregatedResources`; here it is a plain GET under the same permission.
//!
//! `GET /v20190125/streamAggregatedResources?resource=mesh/M/virtualNode/N[&version=V]` answers
//! `{version, mesh: {name, spec}, virtualNode: {name, spec}, backends: [{virtualService, node | router: {name,
//! listeners, routes: [{name, spec}]}, nodes: {name: spec}}]}`, or `{version}` alone while `V` is still current. A virtual
//! gateway (`mesh/M/virtualGateway/G`) answers with `virtualGateway: {name, spec, routes: [{name, spec}]}` and, as
//! backends, the services that its routes name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::resources::{digest, missing};
use super::{Fault, Kind, Resource, State, bad, rules};
use crate::sandbox::aws::Call;

type Resources = BTreeMap<String, Resource>;

/// The resource part of the ARN that the caller speaks for, from a full ARN or the short form.
pub fn requested(call: &Call<'_>) -> Option<String> {
    let given = call.input["resource"].as_str()?;
    let path = match given.strip_prefix("arn:") {
        Some(rest) => rest.splitn(5, ':').nth(4)?,
        None => given,
    };
    Some(path.to_owned())
}

/// Answers a proxy.
pub fn answer(state: &State, call: &Call<'_>) -> Result<Value, Fault> {
    let path = requested(call)
        .ok_or_else(|| bad("resource must be mesh/MESH/virtualNode/NAME or its ARN"))?;
    let parts: Vec<&str> = path.split('/').collect();
    let (kind, mesh, name) = match parts[..] {
        ["mesh", mesh, "virtualNode", name] => (Kind::VirtualNode, mesh, name),
        ["mesh", mesh, "virtualGateway", name] => (Kind::VirtualGateway, mesh, name),
        _ => {
            return Err(bad(
                "resource must be mesh/MESH/virtualNode/NAME or its ARN",
            ));
        }
    };
    let Some(mut model) = state
        .resources
        .get(call.region)
        .and_then(|resources| model(resources, kind, mesh, name))
    else {
        return Err(missing(call, kind, &[mesh.to_owned(), name.to_owned()]));
    };
    let version = digest(&model);
    if call.input["version"].as_str() == Some(&version) {
        return Ok(json!({ "version": version }));
    }
    if let Value::Object(members) = &mut model {
        members.insert("version".to_owned(), Value::from(version));
    }
    Ok(model)
}

/// The resolved model of a virtual node, without its version.
pub fn resolve(state: &State, region: &str, mesh: &str, node: &str) -> Option<Value> {
    model(state.resources.get(region)?, Kind::VirtualNode, mesh, node)
}

/// The version of a resolved model.
pub fn resolved_version(model: &Value) -> String {
    digest(model)
}

fn model(resources: &Resources, kind: Kind, mesh: &str, name: &str) -> Option<Value> {
    let holder = resources.get(&Kind::Mesh.arn_path(&[mesh]))?;
    let own = resources.get(&kind.arn_path(&[mesh, name]))?;
    let mut subject = Map::new();
    subject.insert("name".to_owned(), Value::from(name));
    subject.insert("spec".to_owned(), own.spec.clone());
    let mut services: Vec<String> = Vec::new();
    if kind == Kind::VirtualGateway {
        let routes = children(resources, Kind::GatewayRoute, &[mesh, name]);
        for route in routes.as_array().into_iter().flatten() {
            for kind in ["httpRoute", "http2Route", "grpcRoute"] {
                let target = &route["spec"][kind]["action"]["target"]["virtualService"];
                if let Some(service) = target["virtualServiceName"].as_str()
                    && !services.iter().any(|known| known == service)
                {
                    services.push(service.to_owned());
                }
            }
        }
        subject.insert("routes".to_owned(), routes);
    } else {
        for backend in own.spec["backends"].as_array().into_iter().flatten() {
            if let Some(service) = backend["virtualService"]["virtualServiceName"].as_str() {
                services.push(service.to_owned());
            }
        }
    }
    let backends: Vec<Value> = services
        .iter()
        .map(|service| backend(resources, mesh, service))
        .collect();
    let mut answer = Map::new();
    answer.insert(
        "mesh".to_owned(),
        json!({ "name": mesh, "spec": holder.spec }),
    );
    answer.insert(kind.key().to_owned(), Value::Object(subject));
    answer.insert("backends".to_owned(), Value::Array(backends));
    Some(Value::Object(answer))
}

/// What belongs to a router or gateway, by name.
fn children(resources: &Resources, kind: Kind, parents: &[&str]) -> Value {
    resources
        .values()
        .filter(|child| {
            child.kind == kind
                && child.names.len() == parents.len() + 1
                && child.names.iter().zip(parents).all(|(a, b)| a == b)
        })
        .map(|child| json!({ "name": child.names.last(), "spec": child.spec }))
        .collect()
}

/// A virtual service with its provider resolved; one that does not exist or has no provider has neither node nor router.
fn backend(resources: &Resources, mesh: &str, service: &str) -> Value {
    let mut answer = Map::new();
    answer.insert("virtualService".to_owned(), Value::from(service));
    let mut nodes = Map::new();
    let mut add = |name: &str| {
        if let Some(node) = resources.get(&Kind::VirtualNode.arn_path(&[mesh, name])) {
            nodes.insert(name.to_owned(), node.spec.clone());
        }
    };
    let provider = resources
        .get(&Kind::VirtualService.arn_path(&[mesh, service]))
        .map_or(&Value::Null, |service| &service.spec["provider"]);
    if let Some(node) = provider["virtualNode"]["virtualNodeName"].as_str() {
        answer.insert("node".to_owned(), Value::from(node));
        add(node);
    }
    if let Some(name) = provider["virtualRouter"]["virtualRouterName"].as_str()
        && let Some(router) = resources.get(&Kind::VirtualRouter.arn_path(&[mesh, name]))
    {
        let routes = children(resources, Kind::Route, &[mesh, name]);
        for route in routes.as_array().into_iter().flatten() {
            rules::targets(&route["spec"]).for_each(&mut add);
        }
        answer.insert(
            "router".to_owned(),
            json!({ "name": name, "listeners": router.spec["listeners"], "routes": routes }),
        );
    }
    answer.insert("nodes".to_owned(), Value::Object(nodes));
    Value::Object(answer)
}
