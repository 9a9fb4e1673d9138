//! The traffic split: the weights of a VirtualRouter's route, and of the route as App Mesh has it.

use std::time::Duration;

use kube::api::PatchParams;
use serde_json::{Value, json};

use super::{API, AppMesh};
use crate::clients::aws;
use crate::clients::kube::{Cluster, Reference, Trouble, condition};
use crate::config::{Protocol, Service};
use crate::engine::{Context, Failure, FailureKind, Poll, Result, Wait};
use crate::mesh::{SplitState, Weights, workload};

/// Who owns the weights once a canary has begun: not the manager of `up`, which leaves them as they are.
const CANARY_MANAGER: &str = "meshctl-canary";

/// How long the mesh controller's webhook may be away.
const WEBHOOK: Duration = Duration::from_secs(180);

pub(super) fn router(app_mesh: &AppMesh, service: &Service) -> Reference {
    let namespace = &app_mesh.environment().namespace;
    Reference::namespaced(API, "VirtualRouter", namespace, &service.name)
}

async fn live(app_mesh: &AppMesh, cluster: &Cluster, service: &Service) -> Result<Option<Value>> {
    let router = router(app_mesh, service);
    cluster
        .get(&router)
        .await
        .map_err(|trouble| trouble.failure(router.to_string()))
}

/// The weights of the service's versions among the targets; none when the versions are not exactly the targets.
fn weights_of<'a>(
    service: &Service,
    targets: impl Iterator<Item = (&'a str, i64)>,
) -> Option<Weights> {
    let targets: Vec<(&str, i64)> = targets.collect();
    if targets.len() != service.versions.len() {
        return None;
    }
    let of = |version: &str| {
        let node = workload(&service.name, version);
        let found = targets.iter().find(|(target, _)| *target == node)?;
        u8::try_from(found.1).ok()
    };
    let versions = service.versions.iter();
    versions
        .map(|version| Some((version.name.clone(), of(&version.name)?)))
        .collect()
}

/// The kind of route that a service's router has.
fn kind_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "httpRoute",
        Protocol::Grpc => "grpcRoute",
    }
}

/// The targets of the router's route and their weights, whatever protocol it has been made for.
fn targets(router: &Value) -> Vec<(String, i64)> {
    let route = &router["spec"]["routes"][0];
    let mut kinds = [Protocol::Http, Protocol::Grpc].into_iter().map(kind_of);
    let targets = kinds.find_map(|kind| route[kind]["action"]["weightedTargets"].as_array());
    let targets = targets.into_iter().flatten();
    targets
        .map(|target| {
            let node = target["virtualNodeRef"]["name"]
                .as_str()
                .unwrap_or_default();
            (node.to_owned(), target["weight"].as_i64().unwrap_or(0))
        })
        .collect()
}

fn configured(service: &Service, router: &Value) -> Option<Weights> {
    let targets = targets(router);
    weights_of(
        service,
        targets
            .iter()
            .map(|(node, weight)| (node.as_str(), *weight)),
    )
}

/// The weights as they are in the cluster, which a canary may have changed since `up`: a version that is new gets
/// nothing, and what a version that is gone had goes to the stable one.
pub(super) async fn live_weights(
    app_mesh: &AppMesh,
    cluster: &Cluster,
    service: &Service,
) -> Result<Option<Weights>> {
    if !app_mesh.is_routed(service) {
        return Ok(None);
    }
    let router = live(app_mesh, cluster, service).await?;
    Ok(router.and_then(|router| carried_over(service, &targets(&router))))
}

fn carried_over(service: &Service, targets: &[(String, i64)]) -> Option<Weights> {
    let mut weights: Weights = Vec::new();
    let mut sum = 0;
    for version in &service.versions {
        let node = workload(&service.name, &version.name);
        let live = targets.iter().find(|(target, _)| *target == node);
        let weight = live.and_then(|(_, weight)| u8::try_from(*weight).ok());
        let weight = weight.unwrap_or(0).min(100 - sum);
        sum += weight;
        weights.push((version.name.clone(), weight));
    }
    if sum == 0 {
        return None;
    }
    weights[0].1 += 100 - sum;
    Some(weights)
}

fn not_split(service: &Service) -> Failure {
    let message = if service.is_split() {
        "no other service calls it, so the mesh does not split its traffic"
    } else {
        "it has one version, so there is nothing to shift"
    };
    Failure::of(FailureKind::Input, format!("service {}", service.name), message)
        .hint("name another with --service, or add a version to the environment's file and run `meshctl up`")
}

fn not_there(service: &Service) -> Failure {
    Failure::of(
        FailureKind::Blocked,
        format!("service {}", service.name),
        "is not in the mesh yet",
    )
    .hint("run `meshctl up` first")
}

/// The split as configured and as accepted.
pub(super) async fn read(
    app_mesh: &AppMesh,
    cluster: &Cluster,
    service: &Service,
) -> Result<SplitState> {
    if !service.is_split() || !app_mesh.is_routed(service) {
        return Err(not_split(service));
    }
    let router = live(app_mesh, cluster, service)
        .await?
        .ok_or_else(|| not_there(service))?;
    let configured = configured(service, &router).ok_or_else(|| {
        Failure::of(
            FailureKind::Blocked,
            format!("service {}", service.name),
            "its router's targets are not the versions in the environment's file",
        )
        .hint("run `meshctl up` to bring the two together")
    })?;
    let refused = match condition(&router, "VirtualRouterActive") {
        Some(("False", words)) if !words.is_empty() => Some(words),
        _ => None,
    };
    Ok(SplitState {
        configured,
        accepted: accepted(app_mesh, service).await?,
        generation: router["metadata"]["generation"].as_i64().unwrap_or(0),
        observed_generation: router["status"]["observedGeneration"].as_i64().unwrap_or(0),
        refused,
    })
}

/// What App Mesh itself says of the route.
async fn accepted(app_mesh: &AppMesh, service: &Service) -> Result<Option<Weights>> {
    let namespace = &app_mesh.environment().namespace;
    let described = app_mesh
        .client()
        .describe_route()
        .mesh_name(app_mesh.mesh())
        .virtual_router_name(format!("{}_{namespace}", service.name))
        .route_name(&service.name)
        .send()
        .await;
    let route = match described {
        Ok(described) => described.route,
        Err(error) if aws::is(&error, "NotFoundException") => None,
        Err(error) => return Err(aws::failed(format!("route of {}", service.name))(error)),
    };
    let suffix = format!("_{namespace}");
    Ok(route.and_then(|route| {
        let spec = route.spec?;
        let targets = match service.protocol {
            Protocol::Http => spec.http_route?.action?.weighted_targets,
            Protocol::Grpc => spec.grpc_route?.action?.weighted_targets,
        };
        let targets = targets.iter().map(|target| {
            let node = target.virtual_node.strip_suffix(&suffix);
            (
                node.unwrap_or(&target.virtual_node),
                i64::from(target.weight),
            )
        });
        weights_of(service, targets)
    }))
}

/// Writes the weights into the router. The list of targets is replaced whole, so all of them are sent.
pub(super) async fn shift(
    app_mesh: &AppMesh,
    cx: &Context,
    cluster: &Cluster,
    service: &Service,
    weights: &Weights,
) -> Result<()> {
    if !service.is_split() || !app_mesh.is_routed(service) {
        return Err(not_split(service));
    }
    cx.progress(format!("setting {}", in_words(weights)));
    let wait = Wait::new(router(app_mesh, service).to_string(), WEBHOOK)
        .hint("the mesh controller's webhook is not serving: see its pods and log; traffic is left as it is");
    cx.wait_for(wait, async || {
        match write(app_mesh, cluster, service, weights).await? {
            Ok(()) => Ok(Poll::Ready(())),
            // As long as the controller starts, or starts again.
            Err(trouble) if trouble.is_webhook_away() => Ok(Poll::Pending(trouble.to_string())),
            Err(trouble) => {
                let conflict = trouble.code() == 409;
                let failure = trouble.failure(router(app_mesh, service).to_string());
                Err(match conflict {
                    true => failure.hint(
                        "somebody else changed it at the same moment: run the same command again",
                    ),
                    false => failure,
                })
            }
        }
    })
    .await
}

/// Writes the weights once.
async fn write(
    app_mesh: &AppMesh,
    cluster: &Cluster,
    service: &Service,
    weights: &Weights,
) -> Result<Result<(), Trouble>> {
    let name = router(app_mesh, service);
    let live = live(app_mesh, cluster, service)
        .await?
        .ok_or_else(|| not_there(service))?;
    let mut routes = live["spec"]["routes"].clone();
    let targets: Vec<Value> = weights
        .iter()
        .map(|(version, weight)| {
            json!({"virtualNodeRef": {"name": workload(&service.name, version)}, "weight": weight})
        })
        .collect();
    let at = format!("/0/{}/action", kind_of(service.protocol));
    let Some(action) = routes.pointer_mut(&at) else {
        return Err(not_there(service));
    };
    action["weightedTargets"] = json!(targets);
    let manifest = json!({
        "apiVersion": API,
        "kind": name.kind,
        "metadata": {
            "name": name.name,
            "namespace": name.namespace,
            // Whoever changed it since it was read comes first.
            "resourceVersion": live["metadata"]["resourceVersion"],
        },
        "spec": {"routes": routes},
    });
    let params = PatchParams::apply(CANARY_MANAGER)
        .force()
        .validation_strict();
    Ok(cluster.apply_as(&manifest, &params).await.map(drop))
}

fn in_words(weights: &Weights) -> String {
    let parts: Vec<String> = weights
        .iter()
        .map(|(version, weight)| format!("{version} {weight} %"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn carried(targets: &[(&str, i64)]) -> Option<Vec<u8>> {
        let environment = Environment::demo();
        let targets: Vec<_> = targets
            .iter()
            .map(|(node, weight)| ((*node).to_owned(), *weight))
            .collect();
        let weights = carried_over(&environment.services["backend"], &targets)?;
        Some(weights.into_iter().map(|(_, weight)| weight).collect())
    }

    #[test]
    fn up_leaves_a_canary_as_it_is_and_never_gives_a_new_version_traffic() {
        assert_eq!(
            carried(&[("backend-v1", 90), ("backend-v2", 10)]),
            Some(vec![90, 10])
        );
        assert_eq!(
            carried(&[("backend-v2", 100), ("backend-v1", 0)]),
            Some(vec![0, 100])
        );
        assert_eq!(carried(&[("backend-v1", 100)]), Some(vec![100, 0]));
        assert_eq!(
            carried(&[("backend-v0", 70), ("backend-v2", 30)]),
            Some(vec![70, 30])
        );
        assert_eq!(carried(&[("backend-v0", 100)]), None);
        assert_eq!(carried(&[]), None);
    }
}
