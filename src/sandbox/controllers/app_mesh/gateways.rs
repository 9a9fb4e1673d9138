//! Gateway routes, and backend groups.

use serde_json::{Value, json};

use super::super::runtime::object::{Meta, items, text};
use super::api::Address;
use super::reconcile::Trouble;
use super::spec::namespace_of;
use super::{
    BACKEND_GROUPS, Controller, VIRTUAL_GATEWAYS, VIRTUAL_SERVICES, active, references::lower,
};

/// Where a gateway route is; its gateway has to be there and, while it is being written, active.
pub fn route_address(
    controller: &Controller,
    mesh: &Value,
    route: &Value,
    writing: bool,
) -> Result<Address, Trouble> {
    let reference = &route["spec"]["virtualGatewayRef"];
    if reference.is_null() {
        return Err("virtualGatewayRef shouldn't be nil, please check webhook setup".into());
    }
    let gateway = controller
        .resolve(&VIRTUAL_GATEWAYS, reference, route.namespace())
        .and_then(|gateway| {
            if gateway["metadata"]["uid"] == reference["uid"] {
                Ok(gateway)
            } else {
                Err(format!(
                    "virtualGateway UID mismatch: {}",
                    text(&reference["name"])
                ))
            }
        })
        .map_err(|error| format!("failed to resolve virtualGatewayRef: {error}"))?;
    if writing {
        let theirs = &gateway["spec"]["meshRef"];
        if theirs["name"] != mesh.name() || theirs["uid"] != mesh.uid() {
            return Err(format!(
                "{} {} didn't belong to mesh /{}",
                lower("VirtualGateway"),
                gateway.key(),
                mesh.name()
            )
            .into());
        }
        if !active(&gateway, "VirtualGateway") {
            return Err(Trouble::Wait("virtualGateway is not active yet".into()));
        }
    }
    Ok(Address {
        collection: format!(
            "/v20190125/meshes/{}/virtualGateway/{}/gatewayRoutes",
            text(&mesh["spec"]["awsName"]),
            text(&gateway["spec"]["awsName"])
        ),
        field: "gatewayRouteName",
        name: text(&route["spec"]["awsName"]).to_owned(),
        owner: mesh["spec"]["meshOwner"].as_str().map(str::to_owned),
    })
}

/// The virtual services that a node's backend groups stand for, where the experiment is switched on.
pub fn grouped_services(controller: &Controller, node: &Value) -> Result<Vec<Value>, Trouble> {
    let mut services = Vec::new();
    if !controller.flags.is("enable-backend-groups") {
        return Ok(services);
    }
    for reference in items(&node["spec"]["backendGroups"]) {
        let namespace = namespace_of(reference, node.namespace());
        if reference["name"] == "*" {
            for service in controller
                .cluster
                .cache(&VIRTUAL_SERVICES)
                .within(namespace)
            {
                services.push(json!({ "virtualServiceRef": {
                    "name": service.name(), "namespace": namespace,
                } }));
            }
            continue;
        }
        let group = controller
            .resolve(&BACKEND_GROUPS, reference, node.namespace())
            .map_err(|error| format!("failed to resolve backendGroupRef: {error}"))?;
        for service in items(&group["spec"]["virtualservices"]) {
            services.push(json!({ "virtualServiceRef": {
                "name": service["name"],
                "namespace": namespace_of(service, namespace),
            } }));
        }
    }
    Ok(services)
}
