//! The Node object: registration, conditions, heartbeats.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};

use super::super::runtime::object::{condition, is_true, text};
use super::events::Event;
use super::status::time;
use super::{Kubelet, NodeOptions};
use crate::sandbox::kubernetes::canonical_quantity;

/// Between two renewals of the lease, and two looks at how the Node says that it is.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The least real time between two.
const LEAST_HEARTBEAT: Duration = Duration::from_millis(500);
const LEASES: &str = "kube-node-lease";

/// Registers the node and keeps its status and lease. Never returns.
pub async fn keep(kubelet: Arc<Kubelet>, port: u16) {
    let name = kubelet.options.name.clone();
    let nodes: Api<Node> = Api::all(kubelet.client.clone());
    let leases: Api<Lease> = Api::namespaced(kubelet.client.clone(), LEASES);
    while let Err(error) = register(&kubelet, &nodes).await {
        tracing::debug!("node {name}: {error}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    kubelet
        .events
        .node(&name, Event::normal("Starting", "Starting kubelet."));
    let pause = kubelet.scale(HEARTBEAT).max(LEAST_HEARTBEAT);
    let mut network = kubelet.network.subscribe();
    let mut watched = pin!(watch_object(nodes.clone(), &name).default_backoff());
    let mut known = None;
    while known.is_none() {
        known = watched.next().await.and_then(Result::ok).flatten();
    }
    loop {
        let ready = network_runs(&kubelet);
        kubelet
            .network
            .send_if_modified(|before| std::mem::replace(before, ready) != ready);
        network.mark_unchanged();
        let told = tell(&kubelet, &nodes, &mut known, ready, port).await;
        if let Err(error) = &told {
            tracing::debug!("status of node {name}: {error}");
        }
        if let Err(error) = renew(&leases, &name, pause).await {
            tracing::debug!("lease of node {name}: {error}");
        }
        // Readiness follows the CNI pod within moments; the lease has its own pace.
        let until = tokio::time::Instant::now() + pause;
        while tokio::time::Instant::now() < until {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(25).min(pause)) => {}
                Some(Ok(node)) = watched.next() => known = node,
            }
            if told.is_err() || ready != network_runs(&kubelet) {
                break;
            }
        }
    }
}

/// Whether the VPC CNI's pod runs on this node.
fn network_runs(kubelet: &Kubelet) -> bool {
    let handles = kubelet.handles();
    let mut reports = handles
        .values()
        .filter(|handle| handle.is_network)
        .filter_map(|handle| handle.runtime.report("aws-node"));
    reports.any(|report| report.ready)
}

async fn register(kubelet: &Kubelet, nodes: &Api<Node>) -> Result<(), kube::Error> {
    let options = &kubelet.options;
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let mut labels = options.labels.clone();
    for (key, value) in [
        ("kubernetes.io/hostname", options.name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture),
        ("node.kubernetes.io/instance-type", &options.instance_type),
        ("beta.kubernetes.io/instance-type", &options.instance_type),
        ("topology.kubernetes.io/region", &options.access.region),
        ("topology.kubernetes.io/zone", &options.zone),
        (
            "failure-domain.beta.kubernetes.io/region",
            &options.access.region,
        ),
        ("failure-domain.beta.kubernetes.io/zone", &options.zone),
        ("topology.k8s.aws/zone-id", &options.zone),
    ] {
        labels
            .entry(key.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    let mut taints: Vec<Value> = options
        .taints
        .iter()
        .map(|(key, value, effect)| json!({"key": key, "value": value, "effect": effect}))
        .collect();
    // The kubelet is not ready yet; the control plane takes the taint away when it is.
    taints.push(json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}));
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": options.name,
            "labels": labels,
            "annotations": {
                "alpha.kubernetes.io/provided-node-ip": options.private_ip.to_string(),
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": {
            "providerID": format!("aws:///{}/{}", options.zone, options.instance_id),
            "taints": taints,
        },
    });
    let node: Node = serde_json::from_value(node).map_err(kube::Error::SerdeError)?;
    match nodes.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let provider = |node: Node| node.spec.and_then(|spec| spec.provider_id);
            // This node from before a restart, or one that had the same address: that one's object goes with its instance.
            if provider(nodes.get(&options.name).await?) == provider(node) {
                Ok(())
            } else {
                Err(kube::Error::Api(answer))
            }
        }
        other => other.map(drop),
    }
}

/// vCPUs, memory in KiB and pods of an instance type; pods as the VPC CNI limits them (interfaces × addresses).
fn capacity(instance_type: &str) -> (u32, u64, u32) {
    let gib = 1024 * 1024;
    match instance_type {
        "t3.small" | "t3a.small" | "t4g.small" => (2, 2 * gib, 11),
        "t3.medium" | "t3a.medium" | "t4g.medium" => (2, 4 * gib, 17),
        "t3.large" | "t3a.large" | "t4g.large" => (2, 8 * gib, 35),
        "t3.xlarge" | "t3a.xlarge" | "t4g.xlarge" => (4, 16 * gib, 58),
        "t3.2xlarge" => (8, 32 * gib, 58),
        other => {
            let family = other.chars().next().unwrap_or('m');
            let per_cpu: u64 = match family {
                'c' => 2,
                'r' => 8,
                _ => 4,
            };
            let (cpus, pods) = match other.split('.').nth(1) {
                Some("medium") => (1, 8),
                Some("large") => (2, 29),
                Some("xlarge") => (4, 58),
                Some("2xlarge") => (8, 58),
                Some("4xlarge") => (16, 234),
                _ => (2, 29),
            };
            (cpus, u64::from(cpus) * per_cpu * gib, pods)
        }
    }
}

/// Writes how the node is unless its Node, as it was seen last, says so already. That is compared each time, as kubelets
/// do: the control plane says "Unknown" of a node that was silent, whose kubelet takes that back.
async fn tell(
    kubelet: &Kubelet,
    nodes: &Api<Node>,
    known: &mut Option<Node>,
    ready: bool,
    port: u16,
) -> Result<(), kube::Error> {
    let name = &kubelet.options.name;
    // Nobody registers a node again whose object somebody deleted.
    let Some(node) = known else {
        return Ok(());
    };
    let before = serde_json::to_value(&*node).map_err(kube::Error::SerdeError)?;
    let Some(status) = news(&before, status(&kubelet.options, ready, port)) else {
        return Ok(());
    };
    let patch = Patch::Strategic(json!({"status": status}));
    let params = PatchParams::default();
    *node = nodes.patch_status(name, &params, &patch).await?;
    if is_true(&before, "Ready") != ready {
        let reason = if ready { "NodeReady" } else { "NodeNotReady" };
        let message = format!("Node {name} status is now: {reason}");
        kubelet.events.node(name, Event::normal(reason, &message));
    }
    Ok(())
}

/// The status to write, with the times of the conditions that the Node has already; none if it has all of them.
fn news(before: &Value, mut status: Value) -> Option<Value> {
    let mut same = true;
    let members = status.as_object_mut()?;
    for (name, value) in members.iter().filter(|(name, _)| *name != "conditions") {
        same &= before["status"][name] == *value;
    }
    for new in members.get_mut("conditions")?.as_array_mut()? {
        let known = condition(before, text(&new["type"]));
        if let Some(known) = known.filter(|known| known["status"] == new["status"]) {
            new["lastTransitionTime"] = known["lastTransitionTime"].clone();
            same &= known["reason"] == new["reason"];
            same &= known["message"] == new["message"];
        } else {
            same = false;
        }
    }
    (!same).then_some(status)
}

fn status(options: &NodeOptions, ready: bool, port: u16) -> Value {
    let (cpus, memory, pods) = capacity(&options.instance_type);
    let now = time(Timestamp::now());
    let condition = |kind: &str, is: bool, reason: &str, message: &str| {
        json!({
            "type": kind, "status": if is { "True" } else { "False" }, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let readiness = match ready {
        true => condition(
            "Ready",
            true,
            "KubeletReady",
            "kubelet is posting ready status",
        ),
        false => condition(
            "Ready",
            false,
            "KubeletNotReady",
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
             message:Network plugin returns error: cni plugin not initialized",
        ),
    };
    let capacity = |cpu: String, memory: u64| {
        let memory = format!("{memory}Ki");
        json!({
            "cpu": cpu, "memory": canonical_quantity(&memory).unwrap_or(memory), "pods": pods.to_string(),
            "ephemeral-storage": "20893676Ki", "hugepages-1Gi": "0", "hugepages-2Mi": "0",
        })
    };
    json!({
        "capacity": capacity(cpus.to_string(), memory),
        // What AL2023 reserves for the system and the kubelet on small instances.
        "allocatable": capacity(format!("{}m", cpus * 1000 - 70), memory - memory / 10),
        "addresses": [
            {"type": "InternalIP", "address": options.private_ip.to_string()},
            {"type": "InternalDNS", "address": options.name},
            {"type": "Hostname", "address": options.name},
        ],
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            readiness,
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "architecture": match std::env::consts::ARCH { "aarch64" => "arm64", _ => "amd64" },
            "bootID": options.instance_id, "machineID": options.instance_id, "systemUUID": options.instance_id,
            "containerRuntimeVersion": "containerd://2.1.4",
            "kernelVersion": "6.12.46-66.121.amzn2023.x86_64",
            "kubeProxyVersion": options.kubelet_version, "kubeletVersion": options.kubelet_version,
            "operatingSystem": "linux", "osImage": "Amazon Linux 2023",
        },
    })
}

async fn renew(leases: &Api<Lease>, name: &str, pause: Duration) -> Result<(), kube::Error> {
    let spec = json!({
        "holderIdentity": name,
        "leaseDurationSeconds": (pause.as_secs() * 4).max(40),
        "renewTime": format!("{:.6}", Timestamp::now()),
    });
    let patch = Patch::Merge(json!({"spec": spec}));
    match leases.patch(name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": LEASES}, "spec": spec,
            });
            let lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            leases
                .create(&PostParams::default(), &lease)
                .await
                .map(drop)
        }
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::clusters::ClusterAccess;

    #[test]
    fn what_somebody_else_says_of_a_node_is_taken_back() {
        let text = |value: &str| value.to_owned();
        let options = NodeOptions {
            access: ClusterAccess {
                cluster: text("demo"),
                region: text("eu-central-1"),
                server: text("https://127.0.0.1:1"),
                certificate_authority: String::new(),
                token: String::new(),
            },
            name: text("ip-10-0-64-12.eu-central-1.compute.internal"),
            instance_id: text("i-0123456789abcdef0"),
            instance_type: text("t3.large"),
            zone: text("eu-central-1a"),
            private_ip: [10, 0, 64, 12].into(),
            subnet: ([10, 0, 64, 0].into(), 19),
            role: text("nodes"),
            kubelet_version: text("v1.35.6"),
            labels: Default::default(),
            taints: Vec::new(),
            directory: Default::default(),
        };
        let told = json!({"status": status(&options, true, 10250)});
        assert!(news(&told, status(&options, true, 10250)).is_none());
        let mut lost = told.clone();
        lost["status"]["conditions"][3]["status"] = "Unknown".into();
        lost["status"]["conditions"][0]["lastTransitionTime"] = "2026-10-01T12:00:00Z".into();
        let again = news(&lost, status(&options, true, 10250)).expect("news");
        assert_eq!(again["conditions"][3]["status"], "True");
        assert_eq!(
            again["conditions"][0]["lastTransitionTime"],
            "2026-10-01T12:00:00Z"
        );
        assert!(news(&told, status(&options, false, 10250)).is_some());
        assert!(news(&told, status(&options, true, 10251)).is_some());
        assert!(news(&Value::Null, status(&options, true, 10250)).is_some());
    }
}
