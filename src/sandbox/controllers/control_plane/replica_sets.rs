//! Keeps as many pods as each ReplicaSet wants.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Map, Value, json};

use super::super::runtime::cluster::Propagation;
use super::super::runtime::index;
use super::super::runtime::kinds::{PODS, REPLICA_SETS};
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Work};

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue = Queue::new();
    let add = queue.clone();
    cluster
        .cache(&REPLICA_SETS)
        .subscribe(move |change| add.add(change.latest().key()));
    let add = queue.clone();
    cluster.cache(&PODS).subscribe(move |change| {
        for pod in change.both() {
            if let Some(key) = object::controller_key(pod, &REPLICA_SETS) {
                add.add(key);
            }
        }
    });
    cluster.cache(&REPLICA_SETS).synced().await;
    cluster.cache(&PODS).synced().await;
    let shutdown = cluster.shutdown();
    queue
        .run("replicasets", 5, shutdown, move |key| {
            let cluster = cluster.clone();
            async move { sync(&cluster, &key).await }
        })
        .await;
}

/// The pod that a template describes, controlled by its owner.
pub fn pod_from_template(
    resource: &super::super::runtime::Resource,
    owner: &Value,
    template: &Value,
) -> Value {
    let mut metadata = Map::new();
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            metadata.insert(field.into(), template["metadata"][field].clone());
        }
    }
    metadata.insert("generateName".into(), format!("{}-", owner.name()).into());
    metadata.insert("namespace".into(), owner.namespace().into());
    metadata.insert(
        "ownerReferences".into(),
        json!([object::controller_reference(resource, owner)]),
    );
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// Whether a ready pod has been so for long enough; if not, after how long it will have been.
pub fn available(pod: &Value, min_ready_seconds: i64) -> Result<bool, Duration> {
    if !object::pod_ready(pod) {
        return Ok(false);
    }
    if min_ready_seconds == 0 {
        return Ok(true);
    }
    let since = object::condition(pod, "Ready")
        .and_then(|ready| object::seconds_since(&ready["lastTransitionTime"]))
        .unwrap_or(0.0);
    let rest = min_ready_seconds as f64 - since;
    if rest <= 0.0 {
        Ok(true)
    } else {
        Err(Duration::from_secs_f64(rest))
    }
}

async fn sync(cluster: &Cluster, key: &Key) -> Work {
    let Some(set) = cluster.cache(&REPLICA_SETS).get(key) else {
        return Ok(Next::Done);
    };
    let pods: Vec<Arc<Value>> = cluster
        .cache(&PODS)
        .by(&index::CONTROLLER, &index::controlled_by(&set))
        .into_iter()
        .filter(|pod| object::pod_active(pod))
        .collect();
    let outcome = if set.deleting() {
        Ok(())
    } else {
        manage(cluster, &set, &pods).await
    };
    let again = update_status(cluster, &set, outcome.as_ref().err()).await?;
    outcome?;
    Ok(again.map_or(Next::Done, Next::After))
}

async fn manage(cluster: &Cluster, set: &Value, pods: &[Arc<Value>]) -> Result<(), ApiError> {
    let wanted = set["spec"]["replicas"].as_i64().unwrap_or(1).max(0) as usize;
    if pods.len() < wanted {
        create(cluster, set, (wanted - pods.len()).min(500)).await
    } else if pods.len() > wanted {
        delete(cluster, set, pods, pods.len() - wanted).await
    } else {
        Ok(())
    }
}

/// Creates in batches of 1, 2, 4 …, so that a set whose pods are refused costs one request and not hundreds.
async fn create(cluster: &Cluster, set: &Value, count: usize) -> Result<(), ApiError> {
    let pod = pod_from_template(&REPLICA_SETS, set, &set["spec"]["template"]);
    let (mut left, mut batch) = (count, 1);
    while left > 0 {
        let size = batch.min(left);
        let made = join_all((0..size).map(|_| cluster.create(&PODS, &pod))).await;
        let mut failure = None;
        for outcome in made {
            match outcome {
                Ok(pod) => {
                    let message = format!("Created pod: {}", pod.name());
                    cluster
                        .event(&REPLICA_SETS, set, "Normal", "SuccessfulCreate", &message)
                        .await;
                }
                Err(error) => {
                    if !error.is_terminating() {
                        let message = format!("Error creating: {error}");
                        cluster
                            .event(&REPLICA_SETS, set, "Warning", "FailedCreate", &message)
                            .await;
                    }
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if error.is_terminating() => return Ok(()),
            Some(error) => return Err(error),
            None => {}
        }
        left -= size;
        batch *= 2;
    }
    Ok(())
}

async fn delete(
    cluster: &Cluster,
    set: &Value,
    pods: &[Arc<Value>],
    count: usize,
) -> Result<(), ApiError> {
    let mut ranked: Vec<&Arc<Value>> = pods.iter().collect();
    ranked.sort_by_key(|pod| {
        (
            !text(&pod["spec"]["nodeName"]).is_empty(),
            match text(&pod["status"]["phase"]) {
                "Running" => 2,
                "Unknown" => 1,
                _ => 0,
            },
            object::pod_ready(pod),
            pod.annotation("controller.kubernetes.io/pod-deletion-cost")
                .and_then(|cost| cost.parse::<i64>().ok())
                .unwrap_or(0),
            Reverse(text(&pod["metadata"]["creationTimestamp"]).to_owned()),
        )
    });
    let outcomes = join_all(ranked.into_iter().take(count).map(|pod| async move {
        cluster
            .delete(&PODS, &pod.key(), pod.uid(), Propagation::Background)
            .await
            .map(|()| pod.name())
    }))
    .await;
    for outcome in outcomes {
        let message = format!("Deleted pod: {}", outcome?);
        cluster
            .event(&REPLICA_SETS, set, "Normal", "SuccessfulDelete", &message)
            .await;
    }
    Ok(())
}

async fn update_status(
    cluster: &Cluster,
    set: &Value,
    failure: Option<&ApiError>,
) -> Result<Option<Duration>, ApiError> {
    let template_labels = &set["spec"]["template"]["metadata"]["labels"];
    let minimum = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let (mut replicas, mut labelled, mut ready, mut usable) = (0, 0, 0, 0);
    let mut again: Option<Duration> = None;
    let own = index::controlled_by(set);
    for pod in cluster.cache(&PODS).by(&index::CONTROLLER, &own) {
        if !object::pod_active(&pod) {
            continue;
        }
        replicas += 1;
        if object::matches_labels(template_labels, &pod["metadata"]["labels"]) {
            labelled += 1;
        }
        if object::pod_ready(&pod) {
            ready += 1;
        }
        match available(&pod, minimum) {
            Ok(true) => usable += 1,
            Ok(false) => {}
            Err(rest) => again = Some(again.map_or(rest, |again| again.min(rest))),
        }
    }
    let mut conditions: Vec<Value> = items(&set["status"]["conditions"]).to_vec();
    match failure {
        Some(error) => object::set_condition(
            &mut conditions,
            json!({
                "type": "ReplicaFailure",
                "status": "True",
                "reason": if (replicas as i64) < set["spec"]["replicas"].as_i64().unwrap_or(1) { "FailedCreate" } else { "FailedDelete" },
                "message": error.to_string(),
            }),
        ),
        None => conditions.retain(|condition| condition["type"] != "ReplicaFailure"),
    }
    let mut status = json!({
        "replicas": replicas,
        "observedGeneration": set.generation(),
    });
    for (name, count) in [
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", ready),
        ("availableReplicas", usable),
    ] {
        if count > 0 {
            status[name] = count.into();
        }
    }
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    if !object::same(&status, &set["status"]) {
        let mut written = set.clone();
        written["status"] = status;
        match cluster.update_status(&REPLICA_SETS, &written).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(again)
}
