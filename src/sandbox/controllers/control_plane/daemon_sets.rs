//! Runs one pod of each DaemonSet on every node that it fits.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::runtime::cluster::Propagation;
use super::super::runtime::index;
use super::super::runtime::kinds::{DAEMON_SETS, NODES, PODS};
use super::super::runtime::object::{self, Meta, text};
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Work};
use super::placement;
use super::replica_sets::{available, pod_from_template};

const HASH: &str = "controller-revision-hash";
/// Conditions of nodes that pods of daemon sets live with.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue = Queue::new();
    let add = queue.clone();
    cluster
        .cache(&DAEMON_SETS)
        .subscribe(move |change| add.add(change.latest().key()));
    let add = queue.clone();
    cluster.cache(&PODS).subscribe(move |change| {
        for pod in change.both() {
            if let Some(key) = object::controller_key(pod, &DAEMON_SETS) {
                add.add(key);
            }
        }
    });
    let (add, sets) = (queue.clone(), cluster.cache(&DAEMON_SETS));
    cluster.cache(&NODES).subscribe(move |change| {
        let same = change.old.zip(change.new).is_some_and(|(old, new)| {
            old["spec"] == new["spec"] && old["metadata"]["labels"] == new["metadata"]["labels"]
        });
        if !same {
            for set in sets.all() {
                add.add(set.key());
            }
        }
    });
    for kind in [&DAEMON_SETS, &PODS, &NODES] {
        cluster.cache(kind).synced().await;
    }
    let shutdown = cluster.shutdown();
    queue
        .run("daemonsets", 2, shutdown, move |key| {
            let cluster = cluster.clone();
            async move { sync(&cluster, &key).await }
        })
        .await;
}

/// The pod for one node: pinned to it, and tolerating what nodes go through.
fn pod_for(set: &Value, node: &str, hash: &str) -> Value {
    let mut pod = pod_from_template(&DAEMON_SETS, set, &set["spec"]["template"]);
    pod["metadata"]["labels"][HASH] = hash.into();
    let term =
        json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [node] }] });
    let required = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    match required["nodeSelectorTerms"].as_array_mut() {
        Some(terms) => {
            for present in terms {
                present["matchFields"] = term["matchFields"].clone();
            }
        }
        None => *required = json!({ "nodeSelectorTerms": [term] }),
    }
    let host_network = pod["spec"]["hostNetwork"] == true;
    if !pod["spec"]["tolerations"].is_array() {
        pod["spec"]["tolerations"] = json!([]);
    }
    if let Some(tolerations) = pod["spec"]["tolerations"].as_array_mut() {
        let network = [("node.kubernetes.io/network-unavailable", "NoSchedule")];
        let more = if host_network { &network[..] } else { &[] };
        for (key, effect) in TOLERATED.iter().chain(more) {
            tolerations.push(json!({ "key": key, "operator": "Exists", "effect": effect }));
        }
    }
    pod
}

async fn sync(cluster: &Cluster, key: &Key) -> Work {
    let Some(set) = cluster.cache(&DAEMON_SETS).get(key) else {
        return Ok(Next::Done);
    };
    if set.deleting() {
        return Ok(Next::Done);
    }
    let hash = object::safe_hash(&object::canonical(&set["spec"]["template"]).to_string(), 10);
    let pods = cluster
        .cache(&PODS)
        .by(&index::CONTROLLER, &index::controlled_by(&set));
    let nodes = cluster.cache(&NODES).all();
    let mut status = Counts::default();
    let minimum = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
    let mut outdated: Vec<Arc<Value>> = Vec::new();
    for node in &nodes {
        let here: Vec<&Arc<Value>> = pods
            .iter()
            .filter(|pod| target(pod) == node.name())
            .collect();
        let model = pod_for(&set, node.name(), &hash);
        let fits = placement::affinity_matches(&model, node)
            && placement::untolerated(&model, node).is_none();
        if !fits {
            for pod in here {
                // Only what a NoExecute taint or a label change drove away is removed.
                if object::pod_active(pod) {
                    status.misplaced += 1;
                    remove(cluster, &set, pod).await?;
                }
            }
            continue;
        }
        status.desired += 1;
        for pod in here
            .iter()
            .filter(|pod| object::pod_finished(pod) && !pod.deleting())
        {
            remove(cluster, &set, pod).await?;
        }
        let mut active = here.iter().filter(|pod| !object::pod_finished(pod));
        match active.next() {
            None => {
                if here.is_empty() {
                    create(cluster, &set, &model).await?;
                }
            }
            Some(pod) => {
                status.current += 1;
                if object::pod_ready(pod) {
                    status.ready += 1;
                }
                if available(pod, minimum).unwrap_or(false) {
                    status.available += 1;
                }
                if pod.label(HASH) == Some(&hash) {
                    status.updated += 1;
                } else if !pod.deleting() {
                    outdated.push(Arc::clone(pod));
                }
            }
        }
        for surplus in active {
            if !surplus.deleting() {
                remove(cluster, &set, surplus).await?;
            }
        }
    }
    if set["spec"]["updateStrategy"]["type"] != "OnDelete" {
        let limit = match &set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] {
            Value::Null => 1,
            value => object::int_or_percent(value, status.desired, true),
        };
        // A pod that is not available anyway costs nothing.
        outdated.sort_by_key(|pod| available(pod, minimum).unwrap_or(false));
        let mut room = limit - (status.desired - status.available);
        for pod in outdated {
            let counts = available(&pod, minimum).unwrap_or(false);
            if counts {
                if room <= 0 {
                    break;
                }
                room -= 1;
            }
            remove(cluster, &set, &pod).await?;
        }
    }
    status.write(cluster, &set).await?;
    Ok(Next::Done)
}

/// The node that a pod is on or pinned to.
fn target(pod: &Value) -> &str {
    match text(&pod["spec"]["nodeName"]) {
        "" => text(
            &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                ["nodeSelectorTerms"][0]["matchFields"][0]["values"][0],
        ),
        node => node,
    }
}

async fn create(cluster: &Cluster, set: &Value, pod: &Value) -> Result<(), ApiError> {
    match cluster.create(&PODS, pod).await {
        Ok(pod) => {
            let message = format!("Created pod: {}", pod.name());
            cluster
                .event(&DAEMON_SETS, set, "Normal", "SuccessfulCreate", &message)
                .await;
            Ok(())
        }
        Err(error) if error.is_terminating() => Ok(()),
        Err(error) => {
            let message = format!("Error creating: {error}");
            cluster
                .event(&DAEMON_SETS, set, "Warning", "FailedCreate", &message)
                .await;
            Err(error)
        }
    }
}

async fn remove(cluster: &Cluster, set: &Value, pod: &Value) -> Result<(), ApiError> {
    cluster
        .delete(&PODS, &pod.key(), pod.uid(), Propagation::Background)
        .await?;
    let message = format!("Deleted pod: {}", pod.name());
    cluster
        .event(&DAEMON_SETS, set, "Normal", "SuccessfulDelete", &message)
        .await;
    Ok(())
}

#[derive(Default)]
struct Counts {
    desired: i64,
    current: i64,
    misplaced: i64,
    ready: i64,
    available: i64,
    updated: i64,
}

impl Counts {
    async fn write(&self, cluster: &Cluster, set: &Value) -> Result<(), ApiError> {
        let mut status = json!({
            "currentNumberScheduled": self.current,
            "desiredNumberScheduled": self.desired,
            "numberMisscheduled": self.misplaced,
            "numberReady": self.ready,
            "observedGeneration": set.generation(),
        });
        for (field, value) in [
            ("numberAvailable", self.available),
            ("numberUnavailable", self.desired - self.available),
            ("updatedNumberScheduled", self.updated),
        ] {
            if value > 0 {
                status[field] = value.into();
            }
        }
        if object::same(&status, &set["status"]) {
            return Ok(());
        }
        let mut written = set.clone();
        written["status"] = status;
        match cluster.update_status(&DAEMON_SETS, &written).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
