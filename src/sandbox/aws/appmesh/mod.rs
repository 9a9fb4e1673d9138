//! App Mesh, API version 2019-01-25: meshes and what lives in them, kept by the part of their ARN after the colon
//! (`mesh/m/virtualRouter/r/route/x`), with versions, references that block deletion, quotas and tags.

mod resources;
mod rules;
mod stream;
mod tags;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shapes::{self, Violation};
use super::{Call, Check, Fault, Operation, Protocol, Service};
use crate::sandbox::clock::Millis;
use crate::sandbox::state;

pub use stream::{resolve, resolved_version};

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Answers as a service that has been shut down, so that the end of App Mesh can be rehearsed. What the real one
    /// answers since its end is not documented; a 403 `ForbiddenException` is an assumption.
    pub ended: bool,
    /// By region, then by the resource part of the ARN.
    pub resources: BTreeMap<String, BTreeMap<String, Resource>>,
}

/// A mesh or anything in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// The names along its path, its own last: mesh, then router or gateway, then route.
    pub names: Vec<String>,
    /// As the caller wrote it.
    pub spec: Value,
    /// A unique id, kept over updates.
    pub uid: String,
    /// Counts updates, from 1.
    pub version: u64,
    /// Creation.
    pub created_at: Millis,
    /// The last update.
    pub updated_at: Millis,
    /// In the order they were given.
    pub tags: Vec<(String, String)>,
    /// The client tokens that were used on it, with a digest of what was asked.
    pub tokens: BTreeMap<String, String>,
}

/// The kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A mesh.
    Mesh,
    /// A virtual gateway.
    VirtualGateway,
    /// A route of a virtual gateway.
    GatewayRoute,
    /// A virtual node.
    VirtualNode,
    /// A virtual router.
    VirtualRouter,
    /// A route of a virtual router.
    Route,
    /// A virtual service.
    VirtualService,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Mesh,
        Kind::VirtualGateway,
        Kind::GatewayRoute,
        Kind::VirtualNode,
        Kind::VirtualRouter,
        Kind::Route,
        Kind::VirtualService,
    ];

    /// As operations name it: `VirtualNode`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mesh => "Mesh",
            Kind::VirtualGateway => "VirtualGateway",
            Kind::GatewayRoute => "GatewayRoute",
            Kind::VirtualNode => "VirtualNode",
            Kind::VirtualRouter => "VirtualRouter",
            Kind::Route => "Route",
            Kind::VirtualService => "VirtualService",
        }
    }

    /// The member that lists it: `virtualNodes`.
    fn plural(self) -> &'static str {
        match self {
            Kind::Mesh => "meshes",
            Kind::VirtualGateway => "virtualGateways",
            Kind::GatewayRoute => "gatewayRoutes",
            Kind::VirtualNode => "virtualNodes",
            Kind::VirtualRouter => "virtualRouters",
            Kind::Route => "routes",
            Kind::VirtualService => "virtualServices",
        }
    }

    /// As members and ARNs name it: `virtualNode`.
    fn key(self) -> &'static str {
        match self {
            Kind::Mesh => "mesh",
            Kind::VirtualGateway => "virtualGateway",
            Kind::GatewayRoute => "gatewayRoute",
            Kind::VirtualNode => "virtualNode",
            Kind::VirtualRouter => "virtualRouter",
            Kind::Route => "route",
            Kind::VirtualService => "virtualService",
        }
    }

    /// The kinds along the path, itself last.
    fn path(self) -> &'static [Kind] {
        match self {
            Kind::Mesh => &[Kind::Mesh],
            Kind::VirtualGateway => &[Kind::Mesh, Kind::VirtualGateway],
            Kind::GatewayRoute => &[Kind::Mesh, Kind::VirtualGateway, Kind::GatewayRoute],
            Kind::VirtualNode => &[Kind::Mesh, Kind::VirtualNode],
            Kind::VirtualRouter => &[Kind::Mesh, Kind::VirtualRouter],
            Kind::Route => &[Kind::Mesh, Kind::VirtualRouter, Kind::Route],
            Kind::VirtualService => &[Kind::Mesh, Kind::VirtualService],
        }
    }

    /// The ARN's resource part for the names along the path.
    fn arn_path(self, names: &[impl AsRef<str>]) -> String {
        let parts: Vec<String> = self
            .path()
            .iter()
            .zip(names)
            .map(|(kind, name)| format!("{}/{}", kind.key(), name.as_ref()))
            .collect();
        parts.join("/")
    }
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Create,
    Describe,
    Update,
    Delete,
    List,
}

fn parse(operation: &str) -> Option<(Verb, Kind)> {
    let verbs = [
        ("Create", Verb::Create),
        ("Describe", Verb::Describe),
        ("Update", Verb::Update),
        ("Delete", Verb::Delete),
        ("List", Verb::List),
    ];
    let (verb, rest) = verbs
        .iter()
        .find_map(|(word, verb)| Some((*verb, operation.strip_prefix(word)?)))?;
    let kind = Kind::ALL.into_iter().find(|kind| match verb {
        Verb::List if *kind == Kind::Mesh => rest == "Meshes",
        Verb::List => rest.strip_suffix('s') == Some(kind.name()),
        _ => rest == kind.name(),
    })?;
    Some((verb, kind))
}

/// App Mesh.
pub struct AppMesh;

macro_rules! operations {
    ($($name:literal $method:literal $path:literal),* $(,)?) => {
        &[$(Operation { name: $name, method: $method, path: $path }),*]
    };
}

const OPERATIONS: &[Operation] = operations![
    "CreateMesh" "PUT" "/v20190125/meshes",
    "ListMeshes" "GET" "/v20190125/meshes",
    "DescribeMesh" "GET" "/v20190125/meshes/{meshName}",
    "UpdateMesh" "PUT" "/v20190125/meshes/{meshName}",
    "DeleteMesh" "DELETE" "/v20190125/meshes/{meshName}",
    "CreateVirtualNode" "PUT" "/v20190125/meshes/{meshName}/virtualNodes",
    "ListVirtualNodes" "GET" "/v20190125/meshes/{meshName}/virtualNodes",
    "DescribeVirtualNode" "GET" "/v20190125/meshes/{meshName}/virtualNodes/{virtualNodeName}",
    "UpdateVirtualNode" "PUT" "/v20190125/meshes/{meshName}/virtualNodes/{virtualNodeName}",
    "DeleteVirtualNode" "DELETE" "/v20190125/meshes/{meshName}/virtualNodes/{virtualNodeName}",
    "CreateVirtualService" "PUT" "/v20190125/meshes/{meshName}/virtualServices",
    "ListVirtualServices" "GET" "/v20190125/meshes/{meshName}/virtualServices",
    "DescribeVirtualService" "GET" "/v20190125/meshes/{meshName}/virtualServices/{virtualServiceName}",
    "UpdateVirtualService" "PUT" "/v20190125/meshes/{meshName}/virtualServices/{virtualServiceName}",
    "DeleteVirtualService" "DELETE" "/v20190125/meshes/{meshName}/virtualServices/{virtualServiceName}",
    "CreateVirtualRouter" "PUT" "/v20190125/meshes/{meshName}/virtualRouters",
    "ListVirtualRouters" "GET" "/v20190125/meshes/{meshName}/virtualRouters",
    "DescribeVirtualRouter" "GET" "/v20190125/meshes/{meshName}/virtualRouters/{virtualRouterName}",
    "UpdateVirtualRouter" "PUT" "/v20190125/meshes/{meshName}/virtualRouters/{virtualRouterName}",
    "DeleteVirtualRouter" "DELETE" "/v20190125/meshes/{meshName}/virtualRouters/{virtualRouterName}",
    "CreateRoute" "PUT" "/v20190125/meshes/{meshName}/virtualRouter/{virtualRouterName}/routes",
    "ListRoutes" "GET" "/v20190125/meshes/{meshName}/virtualRouter/{virtualRouterName}/routes",
    "DescribeRoute" "GET" "/v20190125/meshes/{meshName}/virtualRouter/{virtualRouterName}/routes/{routeName}",
    "UpdateRoute" "PUT" "/v20190125/meshes/{meshName}/virtualRouter/{virtualRouterName}/routes/{routeName}",
    "DeleteRoute" "DELETE" "/v20190125/meshes/{meshName}/virtualRouter/{virtualRouterName}/routes/{routeName}",
    "CreateVirtualGateway" "PUT" "/v20190125/meshes/{meshName}/virtualGateways",
    "ListVirtualGateways" "GET" "/v20190125/meshes/{meshName}/virtualGateways",
    "DescribeVirtualGateway" "GET" "/v20190125/meshes/{meshName}/virtualGateways/{virtualGatewayName}",
    "UpdateVirtualGateway" "PUT" "/v20190125/meshes/{meshName}/virtualGateways/{virtualGatewayName}",
    "DeleteVirtualGateway" "DELETE" "/v20190125/meshes/{meshName}/virtualGateways/{virtualGatewayName}",
    "CreateGatewayRoute" "PUT" "/v20190125/meshes/{meshName}/virtualGateway/{virtualGatewayName}/gatewayRoutes",
    "ListGatewayRoutes" "GET" "/v20190125/meshes/{meshName}/virtualGateway/{virtualGatewayName}/gatewayRoutes",
    "DescribeGatewayRoute" "GET" "/v20190125/meshes/{meshName}/virtualGateway/{virtualGatewayName}/gatewayRoutes/{gatewayRouteName}",
    "UpdateGatewayRoute" "PUT" "/v20190125/meshes/{meshName}/virtualGateway/{virtualGatewayName}/gatewayRoutes/{gatewayRouteName}",
    "DeleteGatewayRoute" "DELETE" "/v20190125/meshes/{meshName}/virtualGateway/{virtualGatewayName}/gatewayRoutes/{gatewayRouteName}",
    "ListTagsForResource" "GET" "/v20190125/tags",
    "TagResource" "PUT" "/v20190125/tag",
    "UntagResource" "PUT" "/v20190125/untag",
    "StreamAggregatedResources" "GET" "/v20190125/streamAggregatedResources",
];

impl Service for AppMesh {
    fn signing_name(&self) -> &'static str {
        "appmesh"
    }

    fn protocol(&self) -> Protocol {
        Protocol::RestJson
    }

    fn version(&self) -> &'static str {
        "2019-01-25"
    }

    fn namespace(&self) -> &'static str {
        ""
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn resource(&self, call: &Call<'_>) -> String {
        if let Some(arn) = call.input["resourceArn"].as_str() {
            return arn.to_owned();
        }
        if call.operation == "StreamAggregatedResources" {
            return stream::requested(call).map_or("*".to_owned(), |path| arn(call, &path));
        }
        let Some((verb, kind)) = parse(call.operation) else {
            return "*".to_owned();
        };
        // A list is authorised on what holds its items; ListMeshes on nothing in particular.
        let holder = match (verb, kind.path()) {
            (Verb::List, [_]) => return "*".to_owned(),
            (Verb::List, path) => path[path.len() - 2],
            _ => kind,
        };
        resources::names(holder, call.input)
            .map_or("*".to_owned(), |names| arn(call, &holder.arn_path(&names)))
    }

    fn checks(&self, _state: &state::State, call: &Call<'_>) -> Vec<Check> {
        let resource = self.resource(call);
        let mut checks = vec![Check::new(
            format!("appmesh:{}", call.operation),
            resource.clone(),
        )];
        if call.operation.starts_with("Create") && call.input["tags"].is_array() {
            checks.push(Check::new("appmesh:TagResource", resource));
        }
        checks
    }

    fn invalid(&self, _operation: &str, _first: &Violation, all: &[Violation]) -> Fault {
        bad(shapes::say(all))
    }

    fn handle(&self, state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
        let mine = &mut state.appmesh;
        if mine.ended {
            return Err(Fault::new(
                403,
                "ForbiddenException",
                "AWS App Mesh is no longer available",
            ));
        }
        match (call.operation, parse(call.operation)) {
            ("StreamAggregatedResources", _) => stream::answer(mine, call),
            ("TagResource", _) => tags::tag(mine, call),
            ("UntagResource", _) => tags::untag(mine, call),
            ("ListTagsForResource", _) => tags::list(mine, call),
            (_, Some((Verb::Create, kind))) => resources::create(state, call, kind),
            (_, Some((Verb::Update, kind))) => resources::update(mine, call, kind),
            (_, Some((Verb::Describe, kind))) => resources::describe(mine, call, kind),
            (_, Some((Verb::Delete, kind))) => resources::delete(mine, call, kind),
            (_, Some((Verb::List, kind))) => resources::list(mine, call, kind),
            (name, None) => Err(Fault::new(
                404,
                "UnknownOperationException",
                format!("the sandbox's App Mesh has no operation {name}"),
            )),
        }
    }
}

/// The full ARN of a resource part.
fn arn(call: &Call<'_>, path: &str) -> String {
    format!(
        "arn:aws:appmesh:{}:{}:{path}",
        call.region, call.world.account
    )
}

fn bad(message: impl Into<String>) -> Fault {
    Fault::new(400, "BadRequestException", message)
}

fn in_use(message: impl Into<String>) -> Fault {
    Fault::new(409, "ResourceInUseException", message)
}

#[cfg(test)]
mod tests;
