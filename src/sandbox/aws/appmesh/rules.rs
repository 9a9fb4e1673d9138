//! What the shapes do not say: references that must exist, alternatives that exclude each other, quotas, and what
//! keeps a resource from being deleted. The wordings are the service's where its users have reported them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::resources::missing;
use super::{Fault, Kind, Resource, bad};
use crate::sandbox::aws::Call;

type Resources = BTreeMap<String, Resource>;

/// The quotas of the App Mesh user guide, per parent.
const QUOTAS: [(Kind, usize); 7] = [
    (Kind::Mesh, 15),
    (Kind::VirtualGateway, 3),
    (Kind::GatewayRoute, 10),
    (Kind::VirtualNode, 200),
    (Kind::VirtualRouter, 200),
    (Kind::Route, 50),
    (Kind::VirtualService, 200),
];
/// AWS raises most of these quotas when it is asked to. Where this names a number, the account has been given as many virtual
/// nodes, routers and services in a mesh, for environments of hundreds of services.
const RAISED: &str = "MESHCTL_SANDBOX_APP_MESH_QUOTA";
const BACKENDS: usize = 50;
const HTTP_EVENTS: [&str; 4] = [
    "server-error",
    "gateway-error",
    "client-error",
    "stream-error",
];
const ROUTE_TYPES: [&str; 4] = ["httpRoute", "http2Route", "grpcRoute", "tcpRoute"];

fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

fn exists(
    resources: &Resources,
    call: &Call<'_>,
    mesh: &str,
    kind: Kind,
    name: &str,
) -> Result<(), Fault> {
    let names = [mesh.to_owned(), name.to_owned()];
    if resources.contains_key(&kind.arn_path(&names)) {
        Ok(())
    } else {
        Err(missing(call, kind, &names))
    }
}

/// How many of a kind a parent may have, where the account was given so many members of a mesh.
fn quota(kind: Kind, given: usize) -> usize {
    let known = QUOTAS.iter().find(|(known, _)| *known == kind);
    let limit = known.map_or(usize::MAX, |(_, limit)| *limit);
    match kind {
        Kind::VirtualNode | Kind::VirtualRouter | Kind::VirtualService => limit.max(given),
        _ => limit,
    }
}

/// Refuses a new resource beyond the quota of its parent.
pub fn check_quota(resources: &Resources, kind: Kind, names: &[String]) -> Result<(), Fault> {
    static GIVEN: LazyLock<usize> = LazyLock::new(|| {
        let given = std::env::var(RAISED).ok();
        given.and_then(|given| given.parse().ok()).unwrap_or(0)
    });
    let limit = quota(kind, *GIVEN);
    // All kinds in all meshes together are fewer.
    if resources.len() < limit {
        return Ok(());
    }
    let parents = &names[..names.len() - 1];
    let count = resources
        .values()
        .filter(|resource| resource.kind == kind && resource.names.starts_with(parents))
        .count();
    if count < limit {
        return Ok(());
    }
    Err(Fault::new(
        400,
        "LimitExceededException",
        format!("the limit of {limit} {} is reached", kind.plural()),
    ))
}

/// Refuses a specification that the shapes allow and the service does not.
pub fn check(
    resources: &Resources,
    call: &Call<'_>,
    kind: Kind,
    names: &[String],
    spec: &Value,
) -> Result<(), Fault> {
    match kind {
        Kind::Mesh => Ok(()),
        Kind::VirtualNode => check_node(spec),
        Kind::VirtualService => check_service(resources, call, &names[0], spec),
        Kind::VirtualRouter => check_router(resources, names, spec),
        Kind::Route => check_route(resources, call, names, spec),
        Kind::VirtualGateway => {
            if items(spec, "listeners").is_empty() {
                return Err(bad("a VirtualGateway must have a listener"));
            }
            check_listeners(spec)
        }
        Kind::GatewayRoute => check_gateway_route(resources, call, &names[0], spec),
    }
}

fn check_listeners(spec: &Value) -> Result<(), Fault> {
    let mut ports = BTreeSet::new();
    for listener in items(spec, "listeners") {
        let mapping = &listener["portMapping"];
        let port = mapping["port"].as_i64().unwrap_or_default();
        let protocol = mapping["protocol"].as_str().unwrap_or_default();
        if !ports.insert(port) {
            return Err(bad(format!("Multiple listeners use port {port}")));
        }
        let health = &listener["healthCheck"];
        if let Some(checked) = health["port"].as_i64()
            && checked != port
        {
            return Err(bad(format!(
                "The health check port {checked} does not match the listener's port {port}"
            )));
        }
        if matches!(health["protocol"].as_str(), Some("http" | "http2"))
            && health["path"].as_str().is_none_or(str::is_empty)
        {
            return Err(bad("An HTTP health check must have a path"));
        }
        for member in ["connectionPool", "timeout"] {
            if let Some(alternatives) = listener[member].as_object()
                && let Some(other) = alternatives.keys().find(|key| *key != protocol)
            {
                return Err(bad(format!(
                    "The listener's {member} is for {other} and its protocol is {protocol}"
                )));
            }
        }
    }
    Ok(())
}

fn check_node(spec: &Value) -> Result<(), Fault> {
    check_listeners(spec)?;
    if !items(spec, "listeners").is_empty()
        && spec["serviceDiscovery"]
            .as_object()
            .is_none_or(|d| d.is_empty())
    {
        return Err(bad(
            "A VirtualNode with listeners must have a service discovery",
        ));
    }
    if items(spec, "backends").len() > BACKENDS {
        return Err(Fault::new(
            400,
            "LimitExceededException",
            format!("the limit of {BACKENDS} backends is reached"),
        ));
    }
    let mut seen = BTreeSet::new();
    for backend in items(spec, "backends") {
        let name = backend["virtualService"]["virtualServiceName"]
            .as_str()
            .unwrap_or_default();
        if !seen.insert(name) {
            return Err(bad(format!("The backend {name} is listed more than once")));
        }
    }
    Ok(())
}

fn check_service(
    resources: &Resources,
    call: &Call<'_>,
    mesh: &str,
    spec: &Value,
) -> Result<(), Fault> {
    let provider = &spec["provider"];
    if let Some(name) = provider["virtualNode"]["virtualNodeName"].as_str() {
        exists(resources, call, mesh, Kind::VirtualNode, name)?;
    }
    if let Some(name) = provider["virtualRouter"]["virtualRouterName"].as_str() {
        exists(resources, call, mesh, Kind::VirtualRouter, name)?;
    }
    Ok(())
}

fn check_router(resources: &Resources, names: &[String], spec: &Value) -> Result<(), Fault> {
    check_listeners(spec)?;
    if items(spec, "listeners").len() < 2 {
        return Ok(());
    }
    let open: Vec<&str> = resources
        .values()
        .filter(|route| route.kind == Kind::Route && route.names.starts_with(names))
        .filter(|route| route_match(&route.spec).is_none_or(|m| m["port"].is_null()))
        .filter_map(|route| route.names.last().map(String::as_str))
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(bad(format!(
        "All Routes for this Virtual Router must define a port match before adding multiple listeners to this \
         Virtual Router. {} Route(s) are missing port. Listing up to 5 route names: [{}]",
        open.len(),
        open[..open.len().min(5)].join(", ")
    )))
}

fn route_match(spec: &Value) -> Option<&Value> {
    ROUTE_TYPES
        .iter()
        .find(|kind| spec[**kind].is_object())
        .map(|kind| &spec[*kind]["match"])
}

/// The virtual nodes that a route sends to.
pub fn targets(spec: &Value) -> impl Iterator<Item = &str> {
    ROUTE_TYPES
        .iter()
        .flat_map(|kind| items(&spec[*kind]["action"], "weightedTargets"))
        .filter_map(|target| target["virtualNode"].as_str())
}

fn check_route(
    resources: &Resources,
    call: &Call<'_>,
    names: &[String],
    spec: &Value,
) -> Result<(), Fault> {
    let given: Vec<&str> = ROUTE_TYPES
        .into_iter()
        .filter(|kind| spec[*kind].is_object())
        .collect();
    let [kind] = given[..] else {
        return Err(bad(format!(
            "A Route must have exactly one of {}",
            ROUTE_TYPES.join(", ")
        )));
    };
    let route = &spec[kind];
    if kind.starts_with("http") {
        check_http_match(&route["match"])?;
    }
    let retry = &route["retryPolicy"];
    if retry.is_object() {
        let events = ["httpRetryEvents", "grpcRetryEvents", "tcpRetryEvents"];
        if events.iter().all(|member| items(retry, member).is_empty()) {
            return Err(bad("A retry policy must name at least one retry event"));
        }
        for event in items(retry, "httpRetryEvents") {
            let event = event.as_str().unwrap_or_default();
            if !HTTP_EVENTS.contains(&event) {
                return Err(bad(format!(
                    "'{event}' is not an HTTP retry event: [{}]",
                    HTTP_EVENTS.join(", ")
                )));
            }
        }
    }
    let router = resources.get(&Kind::VirtualRouter.arn_path(&names[..2]));
    let ports: Vec<i64> = router
        .map_or(&[][..], |router| items(&router.spec, "listeners"))
        .iter()
        .filter_map(|listener| listener["portMapping"]["port"].as_i64())
        .collect();
    match route["match"]["port"].as_i64() {
        None if ports.len() > 1 => {
            return Err(bad(
                "The Route must define a port match because the Virtual Router has multiple listeners",
            ));
        }
        Some(port) if !ports.contains(&port) => {
            return Err(bad(format!(
                "The Virtual Router has no listener on port {port}"
            )));
        }
        _ => {}
    }
    for target in targets(spec) {
        exists(resources, call, &names[0], Kind::VirtualNode, target)?;
    }
    Ok(())
}

fn check_http_match(condition: &Value) -> Result<(), Fault> {
    match (condition["prefix"].as_str(), condition["path"].is_object()) {
        (Some(_), true) => Err(bad("A match must have a prefix or a path, not both")),
        (None, false) => Err(bad("A match must have a prefix or a path")),
        (Some(prefix), _) if !prefix.starts_with('/') => {
            Err(bad(format!("The prefix '{prefix}' must start with /")))
        }
        _ => Ok(()),
    }
}

fn gateway_target(spec: &Value) -> Option<&str> {
    ROUTE_TYPES.iter().find_map(|kind| {
        spec[*kind]["action"]["target"]["virtualService"]["virtualServiceName"].as_str()
    })
}

fn check_gateway_route(
    resources: &Resources,
    call: &Call<'_>,
    mesh: &str,
    spec: &Value,
) -> Result<(), Fault> {
    let given = ROUTE_TYPES
        .iter()
        .filter(|kind| spec[**kind].is_object())
        .count();
    if given != 1 {
        return Err(bad(
            "A GatewayRoute must have exactly one of httpRoute, http2Route, grpcRoute",
        ));
    }
    match gateway_target(spec) {
        Some(name) => exists(resources, call, mesh, Kind::VirtualService, name),
        None => Ok(()),
    }
}

/// Why a resource cannot be deleted now.
pub fn in_use(
    resources: &Resources,
    call: &Call<'_>,
    kind: Kind,
    names: &[String],
) -> Option<String> {
    let name = &names[names.len() - 1];
    let within = |child: Kind| {
        resources
            .values()
            .filter(move |other| other.kind == child && other.names.starts_with(names))
    };
    let beside = |sibling: Kind| {
        resources
            .values()
            .filter(move |other| other.kind == sibling && other.names[0] == names[0])
    };
    let last = |other: &Resource| other.names[other.names.len() - 1].clone();
    match kind {
        Kind::Mesh => {
            let child = [
                Kind::VirtualService,
                Kind::VirtualRouter,
                Kind::VirtualNode,
                Kind::VirtualGateway,
            ]
            .into_iter()
            .find(|child| within(*child).next().is_some())?;
            let plural = format!("{}s", child.name());
            Some(format!(
                "Mesh {name} for account {} has active {plural}, please delete {plural} before deleting the Mesh",
                call.world.account
            ))
        }
        Kind::VirtualRouter => {
            if within(Kind::Route).next().is_some() {
                return Some(format!(
                    "VirtualRouter with name {name} has active Routes, please delete Routes before deleting the VirtualRouter"
                ));
            }
            beside(Kind::VirtualService)
                .any(|service| {
                    service.spec["provider"]["virtualRouter"]["virtualRouterName"] == **name
                })
                .then(|| {
                    format!(
                        "VirtualRouter with name {name} cannot be deleted because it is a VirtualService provider"
                    )
                })
        }
        Kind::VirtualNode => {
            if beside(Kind::VirtualService).any(|service| {
                service.spec["provider"]["virtualNode"]["virtualNodeName"] == **name
            }) {
                return Some(format!(
                    "VirtualNode with name {name} cannot be deleted because it is a VirtualService provider"
                ));
            }
            let routes: Vec<String> = beside(Kind::Route)
                .filter(|route| targets(&route.spec).any(|target| target == name))
                .map(last)
                .collect();
            (!routes.is_empty()).then(|| {
                format!(
                    "VirtualNode {name} is being referenced in the following: ROUTE: [{}]",
                    routes.join(", ")
                )
            })
        }
        Kind::VirtualService => {
            let routes: Vec<String> = beside(Kind::GatewayRoute)
                .filter(|route| gateway_target(&route.spec) == Some(name))
                .map(last)
                .collect();
            (!routes.is_empty()).then(|| {
                format!(
                    "VirtualService {name} is being referenced in the following: GATEWAY_ROUTE: [{}]",
                    routes.join(", ")
                )
            })
        }
        Kind::VirtualGateway => within(Kind::GatewayRoute).next().map(|_| {
            format!(
                "VirtualGateway with name {name} has active GatewayRoutes, please delete GatewayRoutes before deleting the VirtualGateway"
            )
        }),
        Kind::Route | Kind::GatewayRoute => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_members_of_a_mesh_are_given_more() {
        assert_eq!(quota(Kind::VirtualNode, 0), 200);
        assert_eq!(quota(Kind::VirtualNode, 5000), 5000);
        assert_eq!(quota(Kind::VirtualService, 100), 200);
        assert_eq!(quota(Kind::Route, 5000), 50);
        assert_eq!(quota(Kind::Mesh, 5000), 15);
    }
}
