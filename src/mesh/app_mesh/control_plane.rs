//! App Mesh's control plane in AWS: is it served, what is left in it, and sweeping it without the cluster.

use aws_sdk_appmesh::error::{ProvideErrorMetadata, SdkError};

use super::AppMesh;
use crate::clients::{aws, eks};
use crate::config::OWNER_TAG;
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Observed, Poll, Result, Step, StepId, Wait,
};
use crate::mesh::Leftover;

const ALTERNATIVES: &str = "AWS App Mesh ended on 2026-09-30 and has been closed to new accounts since 2024-09-24; Istio and the Gateway API do the same on EKS, ECS Service Connect does on ECS; the embedded sandbox still serves it: --sandbox";

/// Whether App Mesh answers this account in this region.
pub(super) async fn is_served(app_mesh: &AppMesh) -> Result<()> {
    meshes(app_mesh).await.map(drop)
}

async fn meshes(app_mesh: &AppMesh) -> Result<Vec<aws_sdk_appmesh::types::MeshRef>> {
    let pages = app_mesh
        .client()
        .list_meshes()
        .into_paginator()
        .items()
        .send();
    let listed = pages.collect::<Result<Vec<_>, _>>().await;
    listed.map_err(|error| {
        if aws::is(&error, "AccessDeniedException") {
            return aws::failed("App Mesh")(error).hint(format!(
                "the identity in use lacks appmesh:ListMeshes, or App Mesh refuses the whole account: {ALTERNATIVES}"
            ));
        }
        let served = error
            .as_service_error()
            .and_then(|error| error.code())
            .is_some_and(|code| {
                matches!(
                    code,
                    "ExpiredTokenException"
                        | "UnrecognizedClientException"
                        | "InvalidSignatureException"
                        | "TooManyRequestsException"
                        | "ThrottlingException"
                        | "InternalServerErrorException"
                        | "ServiceUnavailableException"
                )
            });
        let failure = aws::failed("App Mesh")(error);
        if served || failure.kind == FailureKind::Denied {
            failure
        } else {
            Failure::of(
                FailureKind::Blocked,
                "App Mesh",
                format!("is not served here: {}", failure.message),
            )
            .hint(ALTERNATIVES)
        }
    })
}

/// One thing in the mesh, in the order in which App Mesh lets it be deleted.
#[derive(Clone, Debug)]
enum Member {
    GatewayRoute { gateway: String, name: String },
    VirtualService { name: String },
    Route { router: String, name: String },
    VirtualRouter { name: String },
    VirtualNode { name: String },
    VirtualGateway { name: String },
    Mesh,
}

impl Member {
    fn kind(&self) -> &'static str {
        match self {
            Member::GatewayRoute { .. } => "App Mesh gateway route",
            Member::VirtualService { .. } => "App Mesh virtual service",
            Member::Route { .. } => "App Mesh route",
            Member::VirtualRouter { .. } => "App Mesh virtual router",
            Member::VirtualNode { .. } => "App Mesh virtual node",
            Member::VirtualGateway { .. } => "App Mesh virtual gateway",
            Member::Mesh => "mesh",
        }
    }

    fn removal(&self, mesh: &str) -> String {
        let rest = match self {
            Member::GatewayRoute { gateway, name } => {
                format!(
                    "gateway-route --virtual-gateway-name {gateway} --gateway-route-name {name}"
                )
            }
            Member::VirtualService { name } => {
                format!("virtual-service --virtual-service-name {name}")
            }
            Member::Route { router, name } => {
                format!("route --virtual-router-name {router} --route-name {name}")
            }
            Member::VirtualRouter { name } => {
                format!("virtual-router --virtual-router-name {name}")
            }
            Member::VirtualNode { name } => format!("virtual-node --virtual-node-name {name}"),
            Member::VirtualGateway { name } => {
                format!("virtual-gateway --virtual-gateway-name {name}")
            }
            Member::Mesh => "mesh".to_owned(),
        };
        format!("aws appmesh delete-{rest} --mesh-name {mesh}")
    }
}

/// The mesh of our name.
async fn find(app_mesh: &AppMesh) -> Result<Option<aws_sdk_appmesh::types::MeshRef>> {
    let name = app_mesh.mesh();
    let meshes = meshes(app_mesh).await?;
    Ok(meshes.into_iter().find(|mesh| mesh.mesh_name == name))
}

/// Whose the mesh is, when it is not ours. Its name says that it is: the controller sets no tags. But somebody else's tag
/// on it, or on the cluster whose controller made it, says otherwise.
async fn foreign_owner(app_mesh: &AppMesh, arn: &str) -> Result<Option<String>> {
    let environment = app_mesh.names().environment();
    let about = || format!("mesh {}", app_mesh.mesh());
    let listed = app_mesh.client().list_tags_for_resource();
    match listed.resource_arn(arn).send().await {
        Ok(listed) => {
            let owner = listed.tags.iter().find(|tag| tag.key == OWNER_TAG);
            if let Some(owner) = owner
                && let Some(whose) = aws::foreign(Some(&owner.value), environment)
            {
                return Ok(Some(whose));
            }
        }
        Err(error) if aws::is(&error, "NotFoundException") => return Ok(None),
        Err(error) => return Err(aws::failed(about())(error)),
    }
    let Some(client) = app_mesh.eks() else {
        return Ok(None);
    };
    let cluster = eks::find_cluster(client, &app_mesh.names().cluster()).await?;
    Ok(cluster.and_then(|cluster| {
        let owner = cluster.tags().and_then(|tags| tags.get(OWNER_TAG));
        aws::foreign(owner.map(String::as_str), environment)
    }))
}

/// Everything of the mesh in deletion order, with ARNs.
async fn members(app_mesh: &AppMesh) -> Result<Vec<(Member, String)>> {
    let client = app_mesh.client();
    let name = app_mesh.mesh();
    let Some(mesh) = find(app_mesh).await? else {
        return Ok(Vec::new());
    };
    let about = || format!("mesh {name}");
    macro_rules! list {
        ($call:expr) => {{
            let pages = $call.mesh_name(&name).into_paginator().items().send();
            match pages.collect::<Result<Vec<_>, _>>().await {
                Ok(items) => items,
                // The mesh, or what the list is of, went meanwhile.
                Err(error) if aws::is(&error, "NotFoundException") => Vec::new(),
                Err(error) => return Err(aws::failed(about())(error)),
            }
        }};
    }
    let gateways = list!(client.list_virtual_gateways());
    let services = list!(client.list_virtual_services());
    let routers = list!(client.list_virtual_routers());
    let nodes = list!(client.list_virtual_nodes());
    let mut members = Vec::new();
    for gateway in &gateways {
        let gateway = &gateway.virtual_gateway_name;
        for route in list!(client.list_gateway_routes().virtual_gateway_name(gateway)) {
            let member = Member::GatewayRoute {
                gateway: gateway.clone(),
                name: route.gateway_route_name,
            };
            members.push((member, route.arn));
        }
    }
    for service in services {
        members.push((
            Member::VirtualService {
                name: service.virtual_service_name,
            },
            service.arn,
        ));
    }
    for router in &routers {
        let router = &router.virtual_router_name;
        for route in list!(client.list_routes().virtual_router_name(router)) {
            let member = Member::Route {
                router: router.clone(),
                name: route.route_name,
            };
            members.push((member, route.arn));
        }
    }
    for router in routers {
        members.push((
            Member::VirtualRouter {
                name: router.virtual_router_name,
            },
            router.arn,
        ));
    }
    for node in nodes {
        members.push((
            Member::VirtualNode {
                name: node.virtual_node_name,
            },
            node.arn,
        ));
    }
    for gateway in gateways {
        members.push((
            Member::VirtualGateway {
                name: gateway.virtual_gateway_name,
            },
            gateway.arn,
        ));
    }
    members.push((Member::Mesh, mesh.arn));
    Ok(members)
}

/// What is left, for the audit.
pub(super) async fn leftovers(app_mesh: &AppMesh) -> Result<Vec<Leftover>> {
    let mesh = app_mesh.mesh();
    if let Some(found) = find(app_mesh).await?
        && foreign_owner(app_mesh, &found.arn).await?.is_some()
    {
        return Ok(Vec::new());
    }
    let left = members(app_mesh)
        .await?
        .into_iter()
        .map(|(member, arn)| Leftover {
            kind: member.kind().to_owned(),
            arn,
            removal: member.removal(&mesh),
        });
    Ok(left.collect())
}

/// What a deletion was answered with.
enum Deleted {
    Gone,
    InUse(String),
}

async fn delete(app_mesh: &AppMesh, member: &Member) -> Result<Deleted> {
    fn answer<T, E>(
        member: &Member,
        answered: Result<
            T,
            SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
        >,
    ) -> Result<Deleted>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        match answered {
            Ok(_) => Ok(Deleted::Gone),
            Err(error) if aws::is(&error, "NotFoundException") => Ok(Deleted::Gone),
            Err(error) if aws::is(&error, "ResourceInUseException") => {
                let words = error.as_service_error().and_then(|error| error.message());
                Ok(Deleted::InUse(words.unwrap_or("in use").to_owned()))
            }
            Err(error) => Err(aws::failed(member.kind())(error)),
        }
    }
    let (client, mesh) = (app_mesh.client(), app_mesh.mesh());
    match member {
        Member::GatewayRoute { gateway, name } => {
            let call = client
                .delete_gateway_route()
                .mesh_name(mesh)
                .virtual_gateway_name(gateway);
            answer(member, call.gateway_route_name(name).send().await)
        }
        Member::VirtualService { name } => {
            let call = client.delete_virtual_service().mesh_name(mesh);
            answer(member, call.virtual_service_name(name).send().await)
        }
        Member::Route { router, name } => {
            let call = client
                .delete_route()
                .mesh_name(mesh)
                .virtual_router_name(router);
            answer(member, call.route_name(name).send().await)
        }
        Member::VirtualRouter { name } => {
            let call = client.delete_virtual_router().mesh_name(mesh);
            answer(member, call.virtual_router_name(name).send().await)
        }
        Member::VirtualNode { name } => {
            let call = client.delete_virtual_node().mesh_name(mesh);
            answer(member, call.virtual_node_name(name).send().await)
        }
        Member::VirtualGateway { name } => {
            let call = client.delete_virtual_gateway().mesh_name(mesh);
            answer(member, call.virtual_gateway_name(name).send().await)
        }
        Member::Mesh => answer(member, client.delete_mesh().mesh_name(mesh).send().await),
    }
}

/// Stands for App Mesh's side of the mesh. Up checks that App Mesh is served; down removes what the controller, for
/// whatever reason, did not.
pub(super) struct ControlPlane {
    pub app_mesh: AppMesh,
}

impl Step for ControlPlane {
    type Outputs = ();

    fn id(&self) -> StepId {
        "mesh-control-plane".into()
    }

    fn title(&self) -> String {
        format!("App Mesh control plane of {}", self.app_mesh.mesh())
    }

    async fn observe(&self, _: &Context) -> Result<Observed<()>> {
        match find(&self.app_mesh).await {
            Ok(Some(mesh)) => Ok(match foreign_owner(&self.app_mesh, &mesh.arn).await? {
                Some(whose) => Observed::Foreign(whose),
                None => Observed::ready(()),
            }),
            Ok(None) => Ok(Observed::Absent),
            Err(failure) if failure.kind == FailureKind::Blocked => {
                let hint = failure.hint.unwrap_or_default();
                Ok(Observed::Unreachable(format!(
                    "{}; {hint}",
                    failure.message
                )))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The controller makes the mesh; what there is to do here is to see that it can be made.
    fn plan(&self, seen: &Observed<()>) -> Change {
        match seen {
            Observed::Unreachable(reason) => Change::Blocked(reason.clone()),
            Observed::Foreign(owner) => Change::Blocked(format!("belongs to {owner}")),
            _ => Change::Keep,
        }
    }

    async fn apply(&self, _: &Context, _: &Change) -> Result<()> {
        Ok(())
    }

    fn expected(&self) -> Expected {
        Expected::seconds(0, 5)
    }

    async fn destroy(&self, cx: &Context, _: &Observed<()>) -> Result<()> {
        let wait = Wait::new(
            format!("mesh {}", self.app_mesh.mesh()),
            std::time::Duration::from_secs(300),
        )
        .hint(
            "something outside this environment uses the mesh: `meshctl audit` lists what is left",
        );
        cx.wait_for(wait, || async {
            let members = members(&self.app_mesh).await?;
            if members.is_empty() {
                return Ok(Poll::Ready(()));
            }
            let mut held = None;
            for (member, arn) in &members {
                cx.progress(format!("deleting {arn}"));
                if let Deleted::InUse(words) = delete(&self.app_mesh, member).await? {
                    held.get_or_insert(words);
                }
            }
            Ok(Poll::Pending(held.unwrap_or_else(|| "deleting".into())))
        })
        .await
    }
}
