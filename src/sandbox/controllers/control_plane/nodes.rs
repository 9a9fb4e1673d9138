//! Nodes that stop answering: their condition, their taints, and the pods that were on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::runtime::cluster::Propagation;
use super::super::runtime::index;
use super::super::runtime::kinds::{LEASES, NODES, PODS};
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Cluster, Key, Next, Queue, Work};
use super::placement;

/// How long a node may stay silent: `nodeMonitorGracePeriod` in Kubernetes 1.35,
/// `pkg/controller/nodelifecycle/config/v1alpha1/defaults.go`.
const GRACE: Duration = Duration::from_secs(50);
/// The same for one whose kubelet has said nothing yet: `nodeStartupGracePeriod`, there too.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// How often a node that says nothing new is looked at.
const PERIOD: Duration = Duration::from_secs(5);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// How long a pod without a toleration of its own stays on a node that fails: what admission adds by default.
const STAY: i64 = 300;

/// When each node was last heard of, by this controller's own clock, as the real one counts: a lease that grew old while
/// no control plane ran says nothing of its node.
#[derive(Default)]
struct Heard(Mutex<HashMap<String, (Sign, Instant)>>);

/// What changes when a kubelet is heard of.
#[derive(PartialEq)]
struct Sign {
    renewed: Value,
    heartbeat: Value,
}

impl Heard {
    /// How long a node has been silent. One that is seen for the first time has just been heard of.
    fn silence(&self, name: &str, sign: Sign, now: Instant) -> Duration {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get(name) {
            Some((last, at)) if *last == sign => now.duration_since(*at),
            _ => {
                heard.insert(name.to_owned(), (sign, now));
                Duration::ZERO
            }
        }
    }

    fn forget(&self, name: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.remove(name);
    }
}

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
    let heard = Arc::new(Heard::default());
    queue
        .run("nodes", 2, shutdown, move |name| {
            let (cluster, heard) = (cluster.clone(), heard.clone());
            async move { sync(&cluster, &heard, &name).await }
        })
        .await;
}

async fn sync(cluster: &Cluster, heard: &Heard, name: &str) -> Work {
    let key = Key::new("", name);
    let Some(node) = cluster.cache(&NODES).get(&key) else {
        heard.forget(name);
        return collect_pods(cluster, name).await;
    };
    let ready = object::condition(&node, "Ready");
    let lease = cluster
        .cache(&LEASES)
        .get(&Key::new("kube-node-lease", name));
    let sign = Sign {
        renewed: lease.map_or(Value::Null, |lease| lease["spec"]["renewTime"].clone()),
        heartbeat: ready.map_or(Value::Null, |ready| ready["lastHeartbeatTime"].clone()),
    };
    let grace = if ready.is_some() {
        GRACE
    } else {
        STARTUP_GRACE
    };
    if heard.silence(name, sign, Instant::now()) > grace
        && ready.is_none_or(|ready| ready["status"] != "Unknown")
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
        let lost = match object::condition(node, kind) {
            Some(condition) => {
                let mut lost = condition.clone();
                lost["status"] = "Unknown".into();
                lost["reason"] = "NodeStatusUnknown".into();
                lost["message"] = "Kubelet stopped posting node status.".into();
                lost
            }
            None => json!({
                "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": node["metadata"]["creationTimestamp"],
            }),
        };
        object::set_condition(&mut conditions, lost);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missed_while_one_listens_counts_as_silence() {
        let heard = Heard::default();
        let sign = |renewed: &str| Sign {
            renewed: renewed.into(),
            heartbeat: "2026-10-01T12:00:00Z".into(),
        };
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        // However old its lease is, as after a control plane's restart.
        assert_eq!(heard.silence("a", sign("1"), began), Duration::ZERO);
        assert_eq!(
            heard.silence("a", sign("1"), after(51)),
            Duration::from_secs(51)
        );
        assert_eq!(heard.silence("a", sign("2"), after(52)), Duration::ZERO);
        assert_eq!(heard.silence("b", sign("2"), after(53)), Duration::ZERO);
        heard.forget("a");
        assert_eq!(heard.silence("a", sign("2"), after(99)), Duration::ZERO);
    }
}
