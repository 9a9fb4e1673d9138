//! Rolls each Deployment's pod template out through ReplicaSets.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::runtime::cluster::Propagation;
use super::super::runtime::index;
use super::super::runtime::kinds::{DEPLOYMENTS, REPLICA_SETS};
use super::super::runtime::object::{self, Meta, entries, text};
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Work};
use super::deployment_status as status;

/// The label that ties pods to the template they were made from.
pub const TEMPLATE_HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue = Queue::new();
    let add = queue.clone();
    cluster
        .cache(&DEPLOYMENTS)
        .subscribe(move |change| add.add(change.latest().key()));
    let add = queue.clone();
    cluster.cache(&REPLICA_SETS).subscribe(move |change| {
        for set in change.both() {
            if let Some(key) = object::controller_key(set, &DEPLOYMENTS) {
                add.add(key);
            }
        }
    });
    cluster.cache(&DEPLOYMENTS).synced().await;
    cluster.cache(&REPLICA_SETS).synced().await;
    let shutdown = cluster.shutdown();
    queue
        .run("deployments", 5, shutdown, move |key| {
            let cluster = cluster.clone();
            async move { sync(&cluster, &key).await }
        })
        .await;
}

/// The numbers that a rolling update moves within.
struct Limits {
    replicas: i64,
    surge: i64,
    unavailable: i64,
    recreate: bool,
}

impl Limits {
    fn of(deployment: &Value) -> Self {
        let replicas = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
        let strategy = &deployment["spec"]["strategy"];
        let recreate = strategy["type"] == "Recreate";
        let quarter = json!("25%");
        let field = |name: &str| match &strategy["rollingUpdate"][name] {
            Value::Null => quarter.clone(),
            value => value.clone(),
        };
        let surge = object::int_or_percent(&field("maxSurge"), replicas, true);
        let mut unavailable = object::int_or_percent(&field("maxUnavailable"), replicas, false);
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Limits {
            replicas,
            surge: if recreate { 0 } else { surge },
            unavailable: if recreate {
                0
            } else {
                unavailable.min(replicas)
            },
            recreate,
        }
    }
}

fn wanted(set: &Value) -> i64 {
    set["spec"]["replicas"].as_i64().unwrap_or(0)
}

fn usable(set: &Value) -> i64 {
    set["status"]["availableReplicas"].as_i64().unwrap_or(0)
}

fn revision(object: &Value) -> i64 {
    object
        .annotation(REVISION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or(0)
}

/// A template without the label that ReplicaSets add.
fn plain_template(template: &Value) -> Value {
    let mut plain = template.clone();
    if let Some(labels) = plain["metadata"]["labels"].as_object_mut() {
        labels.remove(TEMPLATE_HASH);
    }
    object::canonical(&plain)
}

fn template_hash(deployment: &Value) -> String {
    let collisions = deployment["status"]["collisionCount"].as_i64().unwrap_or(0);
    let text = format!(
        "{}{collisions}",
        plain_template(&deployment["spec"]["template"])
    );
    object::safe_hash(&text, 10)
}

async fn sync(cluster: &Cluster, key: &Key) -> Work {
    let Some(deployment) = cluster.cache(&DEPLOYMENTS).get(key) else {
        return Ok(Next::Done);
    };
    let mut sets: Vec<Arc<Value>> = cluster
        .cache(&REPLICA_SETS)
        .by(&index::CONTROLLER, &index::controlled_by(&deployment));
    sets.sort_by_key(|set| {
        (
            text(&set["metadata"]["creationTimestamp"]).to_owned(),
            revision(set),
        )
    });
    let template = plain_template(&deployment["spec"]["template"]);
    let current = sets
        .iter()
        .position(|set| plain_template(&set["spec"]["template"]) == template);
    let mut new = current.map(|position| sets.remove(position));
    if deployment.deleting() {
        return status::update(cluster, &deployment, new.as_ref(), &sets, None).await;
    }
    let limits = Limits::of(&deployment);
    let paused = deployment["spec"]["paused"] == true;
    let mut made = None;

    if !paused {
        let busy = limits.recreate && sets.iter().any(|set| wanted(set) > 0 || replicas(set) > 0);
        if limits.recreate {
            for set in &sets {
                scale(cluster, &deployment, set, 0, &limits).await?;
            }
        }
        if !busy {
            match &new {
                None => {
                    new = create(cluster, &deployment, &sets, &limits).await?;
                    made = new.as_ref().map(|set| set.name().to_owned());
                }
                Some(set) => {
                    adopt_revision(cluster, &deployment, set, &sets, &limits).await?;
                    new = cluster.cache(&REPLICA_SETS).get(&set.key());
                }
            }
        }
    }

    if let Some(set) = &new {
        let all: i64 = sets.iter().map(|set| wanted(set)).sum::<i64>() + wanted(set);
        if paused || limits.recreate {
            // While paused only the size follows, as it does in `scale`.
            if sets.iter().all(|set| wanted(set) == 0) {
                scale(cluster, &deployment, set, limits.replicas, &limits).await?;
            }
        } else if wanted(set) > limits.replicas {
            scale(cluster, &deployment, set, limits.replicas, &limits).await?;
        } else if wanted(set) < limits.replicas && all < limits.replicas + limits.surge {
            let room = limits.replicas + limits.surge - all;
            let size = wanted(set) + room.min(limits.replicas - wanted(set));
            scale(cluster, &deployment, set, size, &limits).await?;
        } else {
            shrink_old(cluster, &deployment, set, &sets, &limits).await?;
        }
    }

    let newest = new
        .as_ref()
        .and_then(|set| cluster.cache(&REPLICA_SETS).get(&set.key()))
        .or(new);
    let old: Vec<Arc<Value>> = sets
        .iter()
        .filter_map(|set| cluster.cache(&REPLICA_SETS).get(&set.key()))
        .collect();
    if status::complete(&deployment) {
        forget_history(cluster, &deployment, &old).await?;
    }
    status::update(cluster, &deployment, newest.as_ref(), &old, made).await
}

fn replicas(set: &Value) -> i64 {
    set["status"]["replicas"].as_i64().unwrap_or(0)
}

/// The annotations that a ReplicaSet takes over from its Deployment.
fn annotations(deployment: &Value, revision: i64, limits: &Limits) -> Map<String, Value> {
    let mut annotations: Map<String, Value> = entries(&deployment["metadata"]["annotations"])
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "kubectl.kubernetes.io/last-applied-configuration"
                    | "deprecated.deployment.rollback.to"
                    | REVISION
                    | DESIRED
                    | MAXIMUM
            )
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    annotations.insert(REVISION.into(), revision.to_string().into());
    annotations.insert(DESIRED.into(), limits.replicas.to_string().into());
    annotations.insert(
        MAXIMUM.into(),
        (limits.replicas + limits.surge).to_string().into(),
    );
    annotations
}

async fn create(
    cluster: &Cluster,
    deployment: &Value,
    old: &[Arc<Value>],
    limits: &Limits,
) -> Result<Option<Arc<Value>>, ApiError> {
    let hash = template_hash(deployment);
    let next = old.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][TEMPLATE_HASH] = hash.as_str().into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][TEMPLATE_HASH] = hash.as_str().into();
    let running: i64 = old.iter().map(|set| wanted(set)).sum();
    let size = if limits.recreate {
        limits.replicas
    } else {
        (limits.replicas + limits.surge - running).clamp(0, limits.replicas)
    };
    let name = format!("{}-{hash}", deployment.name());
    let mut spec = json!({ "replicas": size, "selector": selector, "template": template });
    if !deployment["spec"]["minReadySeconds"].is_null() {
        spec["minReadySeconds"] = deployment["spec"]["minReadySeconds"].clone();
    }
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": deployment.namespace(),
            "labels": template["metadata"]["labels"],
            "annotations": annotations(deployment, next, limits),
            "ownerReferences": [object::controller_reference(&DEPLOYMENTS, deployment)],
        },
        "spec": spec,
    });
    let made = match cluster.create(&REPLICA_SETS, &set).await {
        Ok(made) => made,
        Err(error) if error.is_already_exists() => {
            let present = cluster
                .get(&REPLICA_SETS, &Key::new(deployment.namespace(), &name))
                .await?;
            if object::is_controlled_by(&present, deployment.uid())
                && plain_template(&present["spec"]["template"])
                    == plain_template(&deployment["spec"]["template"])
            {
                present
            } else {
                let collisions = deployment["status"]["collisionCount"].as_i64().unwrap_or(0);
                cluster
                    .patch_status(
                        &DEPLOYMENTS,
                        &deployment.key(),
                        &json!({ "status": { "collisionCount": collisions + 1 } }),
                    )
                    .await?;
                return Err(error);
            }
        }
        Err(error) if error.is_terminating() => return Ok(None),
        Err(error) => {
            status::creation_failed(cluster, deployment, &name, &error).await?;
            return Err(error);
        }
    };
    if size > 0 {
        let message = format!("Scaled up replica set {name} from 0 to {size}");
        cluster
            .event(
                &DEPLOYMENTS,
                deployment,
                "Normal",
                "ScalingReplicaSet",
                &message,
            )
            .await;
    }
    write_revision(cluster, deployment, next).await?;
    Ok(Some(Arc::new(made)))
}

/// A template that comes back (a rollback) gets the next revision number.
async fn adopt_revision(
    cluster: &Cluster,
    deployment: &Value,
    set: &Arc<Value>,
    old: &[Arc<Value>],
    limits: &Limits,
) -> Result<(), ApiError> {
    let highest = old.iter().map(|set| revision(set)).max().unwrap_or(0);
    let next = revision(set).max(highest + 1);
    let wanted = annotations(deployment, next, limits);
    let differs = wanted
        .iter()
        .any(|(name, value)| set["metadata"]["annotations"][name] != *value);
    let minimum = &deployment["spec"]["minReadySeconds"];
    if differs
        || set["spec"]["minReadySeconds"].as_i64().unwrap_or(0) != minimum.as_i64().unwrap_or(0)
    {
        let patch = json!({
            "metadata": { "annotations": wanted },
            "spec": { "minReadySeconds": minimum },
        });
        cluster.patch(&REPLICA_SETS, &set.key(), &patch).await?;
    }
    write_revision(cluster, deployment, next).await
}

async fn write_revision(cluster: &Cluster, deployment: &Value, next: i64) -> Result<(), ApiError> {
    if revision(deployment) != next {
        let patch = json!({ "metadata": { "annotations": { REVISION: next.to_string() } } });
        cluster
            .patch(&DEPLOYMENTS, &deployment.key(), &patch)
            .await?;
    }
    Ok(())
}

async fn scale(
    cluster: &Cluster,
    deployment: &Value,
    set: &Value,
    size: i64,
    limits: &Limits,
) -> Result<(), ApiError> {
    let before = wanted(set);
    if before == size {
        return Ok(());
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": set.resource_version(),
            "annotations": {
                DESIRED: limits.replicas.to_string(),
                MAXIMUM: (limits.replicas + limits.surge).to_string(),
            },
        },
        "spec": { "replicas": size },
    });
    cluster.patch(&REPLICA_SETS, &set.key(), &patch).await?;
    let direction = if size > before { "up" } else { "down" };
    let message = format!(
        "Scaled {direction} replica set {} from {before} to {size}",
        set.name()
    );
    cluster
        .event(
            &DEPLOYMENTS,
            deployment,
            "Normal",
            "ScalingReplicaSet",
            &message,
        )
        .await;
    Ok(())
}

/// Takes away from the old sets what availability allows; first what is not healthy anyway.
async fn shrink_old(
    cluster: &Cluster,
    deployment: &Value,
    new: &Value,
    old: &[Arc<Value>],
    limits: &Limits,
) -> Result<(), ApiError> {
    let all: i64 = old.iter().map(|set| wanted(set)).sum::<i64>() + wanted(new);
    let floor = limits.replicas - limits.unavailable;
    let not_yet = wanted(new) - usable(new);
    let mut spare = all - floor - not_yet;
    if spare <= 0 || old.iter().all(|set| wanted(set) == 0) {
        return Ok(());
    }
    let mut sizes: Vec<i64> = old.iter().map(|set| wanted(set)).collect();
    for (set, size) in old.iter().zip(&mut sizes) {
        let unhealthy = (*size - usable(set)).clamp(0, spare);
        *size -= unhealthy;
        spare -= unhealthy;
    }
    let available: i64 = old.iter().map(|set| usable(set)).sum::<i64>() + usable(new);
    let mut removable = (available - floor).max(0);
    for size in &mut sizes {
        let count = removable.min(*size);
        *size -= count;
        removable -= count;
    }
    for (set, size) in old.iter().zip(sizes) {
        scale(cluster, deployment, set, size, limits).await?;
    }
    Ok(())
}

async fn forget_history(
    cluster: &Cluster,
    deployment: &Value,
    old: &[Arc<Value>],
) -> Result<(), ApiError> {
    let limit = deployment["spec"]["revisionHistoryLimit"]
        .as_u64()
        .unwrap_or(10) as usize;
    let mut idle: Vec<&Arc<Value>> = old
        .iter()
        .filter(|set| wanted(set) == 0 && replicas(set) == 0 && !set.deleting())
        .collect();
    idle.sort_by_key(|set| revision(set));
    let surplus = idle.len().saturating_sub(limit);
    for set in idle.into_iter().take(surplus) {
        cluster
            .delete(
                &REPLICA_SETS,
                &set.key(),
                set.uid(),
                Propagation::Background,
            )
            .await?;
    }
    Ok(())
}

/// Never shorter than this: a deadline that is due is looked at once more.
pub(super) const SOON: Duration = Duration::from_millis(100);
