//! Letting go of the mesh's objects when its controller cannot: nothing else would ever take their finalizers off.
//!
//! Taking a finalizer off is an UPDATE, which the controller's own webhooks would stop: so first the controller is
//! scaled to zero and its webhook configurations go, then the finalizers. What App Mesh still holds is swept through
//! its API afterwards.

use std::time::Duration;

use serde_json::{Value, json};

use super::{API, AppMesh, CONTROLLER_NAME, SYSTEM, control_plane};
use crate::clients::kube::{Cluster, Left, Reference, Trouble, remove, renew_pods};
use crate::clients::made_again;
use crate::engine::{Context, Failure, FailureKind, Poll, Result, Wait};
use crate::mesh::MeshProvider as _;

/// How long an object may take to go before it is looked whether its controller can do anything.
const SOON: Duration = Duration::from_secs(10);
/// How long a living controller gets to take one finalizer off.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a deleted object may take to go before it counts as in use.
const IN_USE: Duration = Duration::from_secs(20);
/// How long an object may take to go once nothing holds it.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// The mesh's controller.
pub(super) fn deployment() -> Reference {
    Reference::namespaced("apps/v1", "Deployment", SYSTEM, CONTROLLER_NAME)
}

/// Removes objects in order, each gone before the next; by force where the controller is dead or does not come to it.
pub(super) async fn remove_all(
    cx: &Context,
    app_mesh: &AppMesh,
    cluster: &Cluster,
    names: &[Reference],
) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    // Where App Mesh is no more, its controller waits for it for ever.
    let served = control_plane::is_served(app_mesh).await;
    let has_ended = served.is_err_and(|failure| failure.kind == FailureKind::Blocked);
    for name in names {
        let failure = |trouble: Trouble| trouble.failure(name.to_string());
        let is_alive = cluster.is_alive(&deployment()).await;
        if !has_ended && is_alive.map_err(failure)? {
            let mut removed = remove(cx, cluster, name, SOON).await;
            if is_late(&removed) {
                renew_pods(cx, cluster, &deployment()).await?;
                removed = remove(cx, cluster, name, PATIENCE).await;
            }
            if !is_late(&removed) {
                removed?;
                continue;
            }
        }
        if cluster.get(name).await.map_err(failure)?.is_none() {
            continue;
        }
        cx.progress(format!(
            "{name}: its controller does not work, taking its finalizers off"
        ));
        silence(cluster).await.map_err(failure)?;
        release(cx, cluster, name).await?;
    }
    Ok(())
}

fn is_late(removed: &Result<()>) -> bool {
    matches!(removed, Err(failure) if failure.kind == FailureKind::Timeout)
}

/// Removes custom resource definitions. A definition goes once its last object has, which waits for the controller, and
/// that has gone before: what another run made of them meanwhile is released here.
pub(super) async fn remove_kinds(cx: &Context, cluster: &Cluster, kinds: &[Value]) -> Result<()> {
    for kind in kinds.iter().rev() {
        let name = &Reference::of(kind);
        let failure = |trouble: Trouble| trouble.failure(name.to_string());
        let Some(live) = cluster.get(name).await.map_err(failure)? else {
            continue;
        };
        if cluster.foreign_owner(&live).is_some() {
            continue;
        }
        cluster.delete_seen(&live).await.map_err(failure)?;
        let (live, kind) = (&live, live["spec"]["names"]["kind"].as_str());
        let kind = kind.unwrap_or_default();
        let wait = Wait::new(name.to_string(), PATIENCE)
            .hint("see what still has finalizers of that kind, then run the same command again");
        cx.wait_for(wait, || async move {
            match cluster.left_of(live).await.map_err(failure)? {
                Left::It(_) => {}
                Left::Another => return Err(made_again(&name.to_string())),
                Left::Nothing => return Ok(Poll::Ready(())),
            }
            let held = release_deleted(cluster, kind).await.map_err(failure)?;
            Ok(Poll::Pending(match held {
                Some(object) => format!("deleting {name}, waiting for {object} to go"),
                None => format!("deleting {name}"),
            }))
        })
        .await?;
    }
    Ok(())
}

/// Takes the finalizers off what was deleted of a kind, unless the controller lives; names one of what is still there.
async fn release_deleted(cluster: &Cluster, kind: &str) -> Result<Option<Reference>, Trouble> {
    let left = cluster.list(API, kind, None, "").await?;
    if left.is_empty() || cluster.is_alive(&deployment()).await? {
        return Ok(left.first().map(Reference::of));
    }
    silence(cluster).await?;
    for object in &left {
        if object["metadata"]["deletionTimestamp"].is_string() {
            cluster.release(&Reference::of(object)).await?;
        }
    }
    Ok(left.first().map(Reference::of))
}

/// Lets go of what somebody deleted while it is in use. App Mesh refuses that for as long as a route names it, and its
/// controller tries again for ever; made again, the object takes over what App Mesh has under its name, and no request
/// is lost.
pub(super) async fn let_go_of_deleted(
    cx: &Context,
    cluster: &Cluster,
    names: &[Reference],
) -> Result<()> {
    for name in names {
        let failure = |trouble: Trouble| trouble.failure(name.to_string());
        let live = cluster.get(name).await.map_err(failure)?;
        if !live.is_some_and(|live| is_deleted(cluster, &live)) {
            continue;
        }
        let removed = remove(cx, cluster, name, IN_USE).await;
        if !is_late(&removed) {
            removed?;
            continue;
        }
        cx.progress(format!("{name} was deleted while in use, making it again"));
        release(cx, cluster, name).await?;
    }
    Ok(())
}

/// Waits until a mesh that somebody deleted is gone, unless it cannot go: its controller keeps it until it has no members,
/// and they do not go by themselves. Nor can it be made again around them, since they name it by its UID.
pub(super) async fn wait_for_deleted_mesh(
    cx: &Context,
    app_mesh: &AppMesh,
    cluster: &Cluster,
    mesh: &Reference,
) -> Result<()> {
    const AGAIN: &str = "`meshctl down`, then `meshctl up`, makes it again with all its members";
    let failure = |trouble: Trouble| trouble.failure(mesh.to_string());
    remind_of_deleted(cluster, mesh).await?;
    let wait = Wait::new(mesh.to_string(), PATIENCE).hint(AGAIN);
    cx.wait_for(wait, || async {
        let live = cluster.get(mesh).await.map_err(failure)?;
        if !live.is_some_and(|live| is_deleted(cluster, &live)) {
            return Ok(Poll::Ready(()));
        }
        let held = staying_members(app_mesh, cluster, mesh).await;
        let held = held.map_err(failure)?;
        if held.is_empty() {
            return Ok(Poll::Pending(format!("{mesh} is being deleted")));
        }
        let message = format!("is being deleted, and its members keep it: {}", some(&held));
        Err(Failure::of(FailureKind::Blocked, mesh.to_string(), message).hint(AGAIN))
    })
    .await
}

/// The members of a mesh that nobody has deleted, in whatever namespace.
async fn staying_members(
    app_mesh: &AppMesh,
    cluster: &Cluster,
    mesh: &Reference,
) -> Result<Vec<Reference>, Trouble> {
    let mut members = Vec::new();
    for (api, kind) in app_mesh.member_kinds() {
        let found = cluster.list_as(api, kind, None, "", |member| {
            let stays = member["spec"]["meshRef"]["name"] == mesh.name.as_str()
                && !member["metadata"]["deletionTimestamp"].is_string();
            stays.then(|| Reference::of(&member))
        });
        members.extend(found.await?.into_iter().flatten());
    }
    Ok(members)
}

/// Some of them by name, and how many more there are.
fn some(names: &[Reference]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = names.iter().take(SHOWN).map(Reference::to_string).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Has the controller look again at a deleted object now: what waits for its members it looks at once a minute.
pub(super) async fn remind_of_deleted(cluster: &Cluster, name: &Reference) -> Result<()> {
    let failure = |trouble: Trouble| trouble.failure(name.to_string());
    let live = cluster.get(name).await.map_err(failure)?;
    if live.is_some_and(|live| is_deleted(cluster, &live)) {
        let now = jiff::Timestamp::now().to_string();
        let patch = json!({"metadata": {"annotations": {"meshctl.dev/looked-again": now}}});
        match cluster.merge(name, &patch).await {
            // Without its webhook nobody would look.
            Err(trouble) if trouble.is_webhook_away() => {}
            merged => merged.map_err(failure)?,
        }
    }
    Ok(())
}

fn is_deleted(cluster: &Cluster, live: &Value) -> bool {
    live["metadata"]["deletionTimestamp"].is_string() && cluster.foreign_owner(live).is_none()
}

/// Stops the controller and its webhooks.
async fn silence(cluster: &Cluster) -> Result<(), Trouble> {
    cluster
        .merge(&deployment(), &json!({"spec": {"replicas": 0}}))
        .await?;
    cluster
        .remove_webhooks(
            "appmesh-controller-mutating-webhook-configuration",
            "appmesh-controller-validating-webhook-configuration",
        )
        .await
}

async fn release(cx: &Context, cluster: &Cluster, name: &Reference) -> Result<()> {
    debug_assert_eq!(name.api_version, API);
    let failure = |trouble: Trouble| trouble.failure(name.to_string());
    let Some(live) = cluster.get(name).await.map_err(failure)? else {
        return Ok(());
    };
    if cluster.foreign_owner(&live).is_some() {
        return Ok(());
    }
    cluster.delete(name).await.map_err(failure)?;
    cluster.release(name).await.map_err(failure)?;
    remove(cx, cluster, name, AFTERWARDS).await
}
