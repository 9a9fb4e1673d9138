//! Nodes that stop answering: their condition, their taints, and the pods that were on them.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::runtime::cluster::Propagation;
use super::super::runtime::index;
use super::super::runtime::kinds::{LEASES, NODES, PODS};
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Work};
use super::placement;

/// How long a node may stay silent.
const GRACE: f64 = 40.0;
/// How often a node that says nothing new is looked at.
const PERIOD: Duration = Duration::from_secs(5);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// How long a pod without a toleration of its own stays on a node that fails: what admission adds by default.
const STAY: i64 = 300;

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue: Queue<String> = Queue::new();
    let add = queue.clone();
    cluster
        .cache(&NODES)
        .subscribe(move |change| add.add(change.latest().name().to_owned()));
    let add = queue.clone();
    cluster.cache(&PODS).subscribe(move |change| {
        if let (None, Some(pod)) = (change.old, change.new)
            && let Some(node) = pod["spec"]["nodeName"].as_str()
        {
            add.add(node.to_owned());
        }
    });
    for kind in [&NODES, &PODS, &LEASES] {
        cluster.cache(kind).synced().await;
    }
    let shutdown = cluster.shutdown();
    queue
        .run("nodes", 2, shutdown, move |name| {
            let cluster = cluster.clone();
            async move { sync(&cluster, &name).await }
        })
        .await;
}

async fn sync(cluster: &Cluster, name: &str) -> Work {
    let key = Key::new("", name);
    let Some(node) = cluster.cache(&NODES).get(&key) else {
        return collect_pods(cluster, name).await;
    };
    let ready = object::condition(&node, "Ready");
    let heartbeat = cluster
        .cache(&LEASES)
        .get(&Key::new("kube-node-lease", name))
        .and_then(|lease| object::seconds_since(&lease["spec"]["renewTime"]))
        .or_else(|| ready.and_then(|ready| object::seconds_since(&ready["lastHeartbeatTime"])));
    if heartbeat.is_some_and(|silence| silence > GRACE)
        && ready.is_some_and(|ready| ready["status"] != "Unknown")
    {
        lose(cluster, &node).await?;
        return Ok(Next::Retry);
    }
    let (not_ready, unreachable) = match ready.map_or("False", |ready| text(&ready["status"])) {
        "True" => (false, false),
        "Unknown" => (false, true),
        _ => (true, false),
    };
    taint(cluster, &node, not_ready, unreachable).await?;
    let node = cluster.cache(&NODES).get(&key).unwrap_or(node);
    evict(cluster, &node).await?;
    Ok(Next::After(PERIOD))
}

async fn lose(cluster: &Cluster, node: &Value) -> Result<(), ApiError> {
    let mut written = node.clone();
    let mut conditions = items(&node["status"]["conditions"]).to_vec();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        if let Some(condition) = object::condition(node, kind) {
            let mut lost = condition.clone();
            lost["status"] = "Unknown".into();
            lost["reason"] = "NodeStatusUnknown".into();
            lost["message"] = "Kubelet stopped posting node status.".into();
            object::set_condition(&mut conditions, lost);
        }
    }
    written["status"]["conditions"] = conditions.into();
    cluster.update_status(&NODES, &written).await?;
    cluster
        .event(
            &NODES,
            node,
            "Normal",
            "NodeNotReady",
            &format!("Node {} status is now: NodeNotReady", node.name()),
        )
        .await;
    Ok(())
}

async fn taint(
    cluster: &Cluster,
    node: &Value,
    not_ready: bool,
    unreachable: bool,
) -> Result<(), ApiError> {
    let present = items(&node["spec"]["taints"]);
    let mut taints: Vec<Value> = present
        .iter()
        .filter(|taint| taint["key"] != NOT_READY && taint["key"] != UNREACHABLE)
        .cloned()
        .collect();
    for (wanted, key) in [(not_ready, NOT_READY), (unreachable, UNREACHABLE)] {
        if !wanted {
            continue;
        }
        for effect in ["NoSchedule", "NoExecute"] {
            let known = present
                .iter()
                .find(|taint| taint["key"] == key && taint["effect"] == effect);
            let mut taint = known
                .cloned()
                .unwrap_or_else(|| json!({ "key": key, "effect": effect }));
            if effect == "NoExecute" && taint["timeAdded"].is_null() {
                taint["timeAdded"] = object::now().into();
            }
            taints.push(taint);
        }
    }
    let before = Value::from(present.to_vec());
    let after = Value::from(taints);
    if !object::same(&before, &after) {
        let patch = json!({
            "metadata": { "resourceVersion": node.resource_version() },
            "spec": { "taints": after },
        });
        cluster.patch(&NODES, &node.key(), &patch).await?;
    }
    Ok(())
}

/// Removes the pods that tolerate a NoExecute taint no longer.
async fn evict(cluster: &Cluster, node: &Value) -> Result<(), ApiError> {
    for taint in items(&node["spec"]["taints"]) {
        if taint["effect"] != "NoExecute" {
            continue;
        }
        let failing = taint["key"] == NOT_READY || taint["key"] == UNREACHABLE;
        let age = object::seconds_since(&taint["timeAdded"]).unwrap_or(f64::INFINITY);
        for pod in cluster.cache(&PODS).by(&index::NODE, node.name()) {
            if pod.deleting() {
                continue;
            }
            let stay = match placement::toleration(&pod, taint) {
                Some(toleration) => toleration["tolerationSeconds"].as_i64(),
                None if failing => Some(STAY),
                None => Some(0),
            };
            if stay.is_some_and(|seconds| age >= seconds as f64) {
                cluster
                    .event(
                        &PODS,
                        &pod,
                        "Normal",
                        "TaintManagerEviction",
                        &format!("Marking for deletion Pod {}", pod.key()),
                    )
                    .await;
                cluster
                    .delete(&PODS, &pod.key(), pod.uid(), Propagation::Background)
                    .await?;
            }
        }
    }
    Ok(())
}

/// Pods on a node that has gone have no kubelet left to end them.
async fn collect_pods(cluster: &Cluster, node: &str) -> Work {
    let lost = cluster.cache(&PODS).by(&index::NODE, node);
    if lost.is_empty() {
        return Ok(Next::Done);
    }
    // The cache may be behind: only what the API server does not know is gone.
    if cluster.find(&NODES, &Key::new("", node)).await?.is_some() {
        return Ok(Next::Retry);
    }
    for pod in lost {
        let path = format!("{}/{}", PODS.path(pod.namespace()), pod.name());
        let options = json!({
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "gracePeriodSeconds": 0,
            "preconditions": { "uid": pod.uid() },
        });
        match cluster
            .request(
                hyper::http::Method::DELETE,
                &path,
                "application/json",
                Some(&options),
            )
            .await
        {
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Next::Done)
}
