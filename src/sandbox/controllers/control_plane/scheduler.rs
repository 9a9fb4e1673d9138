//! Gives pods to nodes: the feasible node with the fewest pods of the same owner, then the least used one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::http::Method;
use serde_json::{Value, json};

use super::super::runtime::kinds::{NODES, PODS};
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Cache, Cluster, Key, Next, Queue, Work};
use super::placement::{self, Amount};

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue: Queue<Key> = Queue::with_last_delay(Duration::from_secs(10));
    let add = queue.clone();
    let waiting: Arc<Mutex<Parking>> = Arc::default();
    let parked = waiting.clone();
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let (kept, pods) = (ledger.clone(), cluster.cache(&PODS));
    pods.clone().subscribe(move |change| {
        settle(&pods, &kept, &change.latest().key());
        let Some(pod) = change.new else {
            // Room on a node: who waits has another chance.
            release(&parked, &add);
            return;
        };
        if unscheduled(pod) {
            // A pod's own status update (that it is unschedulable) is no reason to try again.
            if change
                .old
                .is_none_or(|old| old["spec"] != pod["spec"] || old.uid() != pod.uid())
            {
                add.add(pod.key());
            }
        } else if object::pod_finished(pod) {
            release(&parked, &add);
        }
    });
    let add = queue.clone();
    let parked = waiting.clone();
    cluster.cache(&NODES).subscribe(move |change| {
        let same = change.old.zip(change.new).is_some_and(|(old, new)| {
            old["spec"] == new["spec"]
                && old["metadata"]["labels"] == new["metadata"]["labels"]
                && old["status"]["allocatable"] == new["status"]["allocatable"]
        });
        if !same {
            release(&parked, &add);
        }
    });
    cluster.cache(&PODS).synced().await;
    cluster.cache(&NODES).synced().await;
    let shutdown = cluster.shutdown();
    queue
        .run("scheduler", 1, shutdown, move |key| {
            let (cluster, waiting) = (cluster.clone(), waiting.clone());
            let ledger = ledger.clone();
            async move { schedule(&cluster, &key, &waiting, &ledger).await }
        })
        .await;
}

/// Where a pod is, and what it takes there.
struct Placed {
    uid: String,
    node: String,
    request: Amount,
    owner: Option<String>,
}

/// What is taken on each node, kept with each change of a pod: to add it up for each pod to be placed would be a sum over
/// all pods for each of them.
#[derive(Default)]
struct Ledger {
    placed: HashMap<Key, Placed>,
    used: HashMap<String, Amount>,
    /// Pods of each owner on each node.
    siblings: HashMap<String, HashMap<String, i64>>,
}

impl Ledger {
    /// Takes in how a pod is.
    fn note(&mut self, pod: &Value) {
        let key = pod.key();
        let node = text(&pod["spec"]["nodeName"]);
        let known = self.placed.get(&key);
        // No pod is taken from its node: what says so was sent before it was bound.
        if node.is_empty() && known.is_some_and(|known| known.uid == pod.uid()) {
            return;
        }
        self.forget(&key);
        if node.is_empty() || object::pod_finished(pod) {
            return;
        }
        let placed = Placed {
            uid: pod.uid().to_owned(),
            node: node.to_owned(),
            request: Amount::requested(pod),
            owner: placement::group(pod).map(str::to_owned),
        };
        let used = self.used.entry(placed.node.clone()).or_default();
        used.add(placed.request);
        if let Some(owner) = &placed.owner {
            let siblings = self.siblings.entry(owner.clone()).or_default();
            *siblings.entry(placed.node.clone()).or_default() += 1;
        }
        self.placed.insert(key, placed);
    }

    /// Gives back what a pod took.
    fn forget(&mut self, key: &Key) {
        let Some(placed) = self.placed.remove(key) else {
            return;
        };
        if let Some(used) = self.used.get_mut(&placed.node) {
            used.take(placed.request);
            if used.pods == 0 {
                self.used.remove(&placed.node);
            }
        }
        let Some(owner) = placed.owner else { return };
        if let Some(siblings) = self.siblings.get_mut(&owner) {
            if let Some(count) = siblings.get_mut(&placed.node) {
                *count -= 1;
            }
            siblings.retain(|_, count| *count > 0);
            if siblings.is_empty() {
                self.siblings.remove(&owner);
            }
        }
    }

    /// What is taken on a node, and how many pods of the owner are there.
    fn on(&self, node: &str, owner: Option<&str>) -> (Amount, i64) {
        let siblings = owner.and_then(|owner| self.siblings.get(owner)?.get(node));
        (
            self.used.get(node).copied().unwrap_or_default(),
            siblings.copied().unwrap_or_default(),
        )
    }
}

/// Takes in how a pod is by now, whatever told of it: that may be older than its end.
fn settle(pods: &Cache, ledger: &Mutex<Ledger>, key: &Key) {
    // Of two who settle the same pod the later one sees what is newer.
    let mut ledger = lock(ledger);
    match pods.get(key) {
        Some(pod) => ledger.note(&pod),
        None => ledger.forget(key),
    }
}

/// Pods that found no node and wait for something to change.
#[derive(Default)]
struct Parking {
    pods: BTreeSet<Key>,
    /// Counts changes: one that happened while a pod was being looked at is not missed.
    changes: u64,
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(|error| error.into_inner())
}

fn release(parked: &Mutex<Parking>, queue: &Queue<Key>) {
    let mut parking = lock(parked);
    parking.changes += 1;
    for key in std::mem::take(&mut parking.pods) {
        queue.add(key);
    }
}

fn unscheduled(pod: &Value) -> bool {
    text(&pod["spec"]["nodeName"]).is_empty()
        && object::pod_active(pod)
        && items(&pod["spec"]["schedulingGates"]).is_empty()
        && matches!(
            text(&pod["spec"]["schedulerName"]),
            "" | "default-scheduler"
        )
}

async fn schedule(
    cluster: &Cluster,
    key: &Key,
    waiting: &Mutex<Parking>,
    ledger: &Mutex<Ledger>,
) -> Work {
    let changes = lock(waiting).changes;
    let Some(pod) = cluster.cache(&PODS).get(key) else {
        return Ok(Next::Done);
    };
    if !unscheduled(&pod) {
        return Ok(Next::Done);
    }
    let nodes = cluster.cache(&NODES).all();
    let chosen = choose(&pod, &nodes, &lock(ledger));
    match chosen {
        Ok(node) => {
            bind(cluster, &pod, node.name(), ledger).await?;
            Ok(Next::Done)
        }
        Err(message) => {
            {
                let mut parking = lock(waiting);
                if parking.changes != changes {
                    return Ok(Next::Retry);
                }
                parking.pods.insert(key.clone());
            }
            refuse(cluster, &pod, &message).await?;
            Ok(Next::Done)
        }
    }
}

/// The best node, or why there is none, in the scheduler's words.
fn choose<'a>(
    pod: &Value,
    nodes: &'a [Arc<Value>],
    ledger: &Ledger,
) -> Result<&'a Arc<Value>, String> {
    if nodes.is_empty() {
        return Err("no nodes available to schedule pods".into());
    }
    let request = Amount::requested(pod);
    let owner = placement::group(pod);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut best: Option<((i64, i64), &Arc<Value>)> = None;
    for node in nodes {
        let (taken, siblings) = ledger.on(node.name(), owner);
        match fits(pod, node, request, taken) {
            Ok(load) => {
                let score = (siblings, load);
                if best.as_ref().is_none_or(|(lowest, _)| score < *lowest) {
                    best = Some((score, node));
                }
            }
            Err(why) => {
                for reason in why {
                    *reasons.entry(reason).or_default() += 1;
                }
            }
        }
    }
    best.map(|(_, node)| node).ok_or_else(|| {
        let mut parts: Vec<String> = reasons
            .into_iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        parts.sort();
        format!(
            "0/{} nodes are available: {}. preemption: 0/{} nodes are available: {} Preemption is not helpful for scheduling.",
            nodes.len(),
            parts.join(", "),
            nodes.len(),
            nodes.len(),
        )
    })
}

/// The node's load in thousandths after the pod, or what keeps the pod away.
fn fits(pod: &Value, node: &Value, request: Amount, taken: Amount) -> Result<i64, Vec<String>> {
    if node["spec"]["unschedulable"] == true
        && !placement::tolerates(
            pod,
            &json!({ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }),
        )
    {
        return Err(vec!["node(s) were unschedulable".into()]);
    }
    if let Some(taint) = placement::untolerated(pod, node) {
        return Err(vec![format!(
            "node(s) had untolerated taint {{{}: {}}}",
            text(&taint["key"]),
            text(&taint["value"])
        )]);
    }
    if !placement::affinity_matches(pod, node) {
        return Err(vec![
            "node(s) didn't match Pod's node affinity/selector".into(),
        ]);
    }
    let offer = Amount::allocatable(node);
    let mut missing = Vec::new();
    if taken.pods + 1 > offer.pods {
        missing.push("Too many pods".into());
    }
    if request.cpu > 0 && taken.cpu + request.cpu > offer.cpu {
        missing.push("Insufficient cpu".into());
    }
    if request.memory > 0 && taken.memory + request.memory > offer.memory {
        missing.push("Insufficient memory".into());
    }
    if missing.is_empty() {
        let share = |used: i64, of: i64| used * 1000 / of.max(1);
        Ok(share(taken.cpu + request.cpu, offer.cpu)
            + share(taken.memory + request.memory, offer.memory)
            + share(taken.pods + 1, offer.pods))
    } else {
        Err(missing)
    }
}

async fn bind(
    cluster: &Cluster,
    pod: &Value,
    node: &str,
    ledger: &Mutex<Ledger>,
) -> Result<(), ApiError> {
    let path = format!("{}/{}/binding", PODS.path(pod.namespace()), pod.name());
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    match cluster
        .request(Method::POST, &path, "application/json", Some(&binding))
        .await
    {
        Ok(_) => {}
        // Gone, or bound by someone else: the watch will tell.
        Err(error) if error.is_not_found() || error.is_conflict() => return Ok(()),
        Err(error) => return Err(error),
    }
    // What was bound has to count before the next pod is placed.
    if let Some(bound) = cluster.find(&PODS, &pod.key()).await? {
        cluster.remember(&PODS, &bound);
        settle(&cluster.cache(&PODS), ledger, &pod.key());
    }
    let message = format!(
        "Successfully assigned {}/{} to {node}",
        pod.namespace(),
        pod.name()
    );
    let (cluster, pod) = (cluster.clone(), pod.clone());
    tokio::spawn(async move {
        cluster
            .event(&PODS, &pod, "Normal", "Scheduled", &message)
            .await;
    });
    Ok(())
}

async fn refuse(cluster: &Cluster, pod: &Value, message: &str) -> Result<(), ApiError> {
    let known = object::condition(pod, "PodScheduled");
    if known.is_none_or(|known| known["message"] != message) {
        let mut written = pod.clone();
        let mut conditions = items(&pod["status"]["conditions"]).to_vec();
        object::set_condition(
            &mut conditions,
            json!({
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }),
        );
        written["status"]["conditions"] = conditions.into();
        match cluster.update_status(&PODS, &written).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() || error.is_conflict() => {}
            Err(error) => return Err(error),
        }
    }
    cluster
        .event(&PODS, pod, "Warning", "FailedScheduling", message)
        .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, pods: &str) -> Arc<Value> {
        Arc::new(json!({
            "metadata": { "name": name },
            "status": { "allocatable": { "cpu": "2", "memory": "4Gi", "pods": pods } },
        }))
    }

    fn pod(name: &str, owner: &str, node: &str) -> Value {
        json!({
            "metadata": {
                "name": name, "namespace": "demo", "uid": name,
                "ownerReferences": [{ "controller": true, "uid": owner }],
            },
            "spec": { "nodeName": node, "containers": [{ "resources": { "requests": { "cpu": "1500m" } } }] },
        })
    }

    fn ledger(pods: &[Value]) -> Ledger {
        let mut ledger = Ledger::default();
        pods.iter().for_each(|pod| ledger.note(pod));
        ledger
    }

    #[test]
    fn pods_of_one_owner_spread() {
        let nodes = [node("a", "10"), node("b", "10")];
        let ledger = ledger(&[pod("0", "x", "a")]);
        let chosen = choose(&pod("1", "x", ""), &nodes, &ledger).expect("there is room");
        assert_eq!(chosen.name(), "b");
    }

    #[test]
    fn what_a_pod_takes_is_kept_as_it_is_now() {
        let there = pod("0", "x", "a");
        let mut ledger = ledger(&[there.clone(), there.clone()]);
        let cpu = |ledger: &Ledger| ledger.on("a", None).0.cpu;
        assert_eq!(cpu(&ledger), 1500);
        ledger.note(&pod("0", "x", ""));
        assert_eq!(cpu(&ledger), 1500, "from before it was bound");
        let mut resized = there.clone();
        resized["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "500m".into();
        ledger.note(&resized);
        assert_eq!(cpu(&ledger), 500);
        let mut finished = there.clone();
        finished["status"]["phase"] = "Succeeded".into();
        ledger.note(&finished);
        assert_eq!(ledger.on("a", Some("x")), Default::default());
        ledger.note(&there);
        // Another one of that name, which nobody has placed.
        let mut another = pod("0", "x", "");
        another["metadata"]["uid"] = "1".into();
        ledger.note(&another);
        assert_eq!(ledger.on("a", Some("x")), Default::default());
        ledger.note(&there);
        ledger.forget(&there.key());
        assert!(ledger.placed.is_empty() && ledger.used.is_empty() && ledger.siblings.is_empty());
    }

    #[test]
    fn the_reasons_are_counted() {
        let nodes = [node("a", "10"), node("b", "0")];
        let ledger = ledger(&[pod("0", "y", "a")]);
        let message = choose(&pod("1", "x", ""), &nodes, &ledger).expect_err("no room");
        assert!(
            message.starts_with("0/2 nodes are available: 1 Insufficient cpu, 1 Too many pods."),
            "{message}"
        );
    }
}
