//! Says, per Service, which pods answer for it and on which ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::runtime::cluster::Propagation;
use super::super::runtime::index;
use super::super::runtime::kinds::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Cache, Cluster, Key, Next, Queue, Work};
use super::placement::service_selects;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// As many endpoints as one slice takes.
const MOST: usize = 100;

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue = Queue::new();
    follow(&cluster, &queue);
    let add = queue.clone();
    cluster.cache(&ENDPOINT_SLICES).subscribe(move |change| {
        // A slice that someone removed or changed is put right.
        let slice = change.latest();
        if slice.label(MANAGED_BY) == Some(MANAGER)
            && let Some(service) = slice.label(SERVICE_NAME)
        {
            add.add(Key::new(slice.namespace(), service));
        }
    });
    for kind in [&SERVICES, &PODS, &ENDPOINT_SLICES, &NODES] {
        cluster.cache(kind).synced().await;
    }
    let shutdown = cluster.shutdown();
    queue
        .run("endpointslices", 5, shutdown, move |key| {
            let cluster = cluster.clone();
            async move { sync(&cluster, &key).await }
        })
        .await;
}

/// Enqueues Services that changed and those whose pods changed.
pub fn follow(cluster: &Cluster, queue: &Queue<Key>) {
    let services = cluster.cache(&SERVICES);
    let add = queue.clone();
    services.subscribe(move |change| add.add(change.latest().key()));
    let add = queue.clone();
    cluster.cache(&PODS).subscribe(move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && old["metadata"]["labels"] == new["metadata"]["labels"]
            && old.deleting() == new.deleting()
            && old["status"]["podIP"] == new["status"]["podIP"]
            && object::pod_ready(old) == object::pod_ready(new)
            && old["status"]["phase"] == new["status"]["phase"]
            && old["spec"]["nodeName"] == new["spec"]["nodeName"]
        {
            return;
        }
        for pod in change.both() {
            enqueue_services_of(&services, pod, &add);
        }
    });
}

fn enqueue_services_of(services: &Cache, pod: &Value, queue: &Queue<Key>) {
    for term in index::terms(pod.namespace(), &pod["metadata"]["labels"]) {
        for service in services.by(&index::SERVICE_SELECTOR, &term) {
            if service_selects(&service["spec"]["selector"], pod) {
                queue.add(service.key());
            }
        }
    }
}

/// The pods that a Service selects and that have an address, finished ones left out.
pub fn pods_of(cluster: &Cluster, service: &Value) -> Vec<Arc<Value>> {
    let term = index::first(service.namespace(), &service["spec"]["selector"]);
    let pods = cluster.cache(&PODS);
    term.iter()
        .flat_map(|term| pods.by(&index::LABELS, term))
        .filter(|pod| {
            service_selects(&service["spec"]["selector"], pod)
                && !text(&pod["status"]["podIP"]).is_empty()
                && !object::pod_finished(pod)
        })
        .collect()
}

/// A Service's ports as one pod has them; a port whose name the pod lacks is left out.
pub fn ports_of(service: &Value, pod: &Value) -> Vec<Value> {
    let ports = items(&service["spec"]["ports"]);
    let mut found = Vec::new();
    for port in ports {
        let protocol = match text(&port["protocol"]) {
            "" => "TCP",
            protocol => protocol,
        };
        let number = match &port["targetPort"] {
            Value::String(name) => items(&pod["spec"]["containers"])
                .iter()
                .chain(
                    items(&pod["spec"]["initContainers"])
                        .iter()
                        .filter(|container| container["restartPolicy"] == "Always"),
                )
                .flat_map(|container| items(&container["ports"]))
                .find(|candidate| {
                    candidate["name"] == name.as_str()
                        && matches!(&candidate["protocol"], Value::Null)
                            | (candidate["protocol"] == protocol)
                })
                .and_then(|candidate| candidate["containerPort"].as_i64()),
            Value::Number(number) if number.as_i64() != Some(0) => number.as_i64(),
            _ => port["port"].as_i64(),
        };
        if let Some(number) = number {
            let mut entry = json!({
                "name": text(&port["name"]),
                "port": number,
                "protocol": protocol,
            });
            if !port["appProtocol"].is_null() {
                entry["appProtocol"] = port["appProtocol"].clone();
            }
            found.push(entry);
        }
    }
    found
}

fn endpoint(cluster: &Cluster, service: &Value, pod: &Value) -> Value {
    let serving = object::pod_ready(pod);
    let terminating = pod.deleting();
    let ready = service["spec"]["publishNotReadyAddresses"] == true || (serving && !terminating);
    let node = text(&pod["spec"]["nodeName"]);
    let mut endpoint = json!({
        "addresses": [pod["status"]["podIP"]],
        "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
        "nodeName": node,
        "targetRef": {
            "kind": "Pod",
            "namespace": pod.namespace(),
            "name": pod.name(),
            "uid": pod.uid(),
        },
    });
    if let Some(zone) = cluster
        .cache(&NODES)
        .get(&Key::new("", node))
        .and_then(|node| node.label("topology.kubernetes.io/zone").map(str::to_owned))
    {
        endpoint["zone"] = zone.into();
    }
    let subdomain = text(&pod["spec"]["subdomain"]);
    let host = text(&pod["spec"]["hostname"]);
    if !host.is_empty() && subdomain == service.name() {
        endpoint["hostname"] = host.into();
    }
    endpoint
}

async fn sync(cluster: &Cluster, key: &Key) -> Work {
    let present: Vec<Arc<Value>> = cluster
        .cache(&ENDPOINT_SLICES)
        .by(
            &index::LABELS,
            &index::term(&key.namespace, SERVICE_NAME, &key.name),
        )
        .into_iter()
        .filter(|slice| slice.label(MANAGED_BY) == Some(MANAGER) && !slice.deleting())
        .collect();
    let service = cluster.cache(&SERVICES).get(key);
    let Some(service) = service.filter(|service| {
        service["spec"]["type"] != "ExternalName"
            && service["spec"]["selector"].is_object()
            && !service.deleting()
    }) else {
        // The garbage collector follows the owner reference; a Service that lost its selector keeps its slices.
        if cluster.cache(&SERVICES).get(key).is_none() {
            for slice in present {
                delete(cluster, &slice).await?;
            }
        }
        return Ok(Next::Done);
    };
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in pods_of(cluster, &service) {
        let ports = ports_of(&service, &pod);
        groups
            .entry(Value::from(ports.clone()).to_string())
            .or_insert_with(|| (ports, Vec::new()))
            .1
            .push(endpoint(cluster, &service, &pod));
    }
    let mut wanted: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
    for (ports, endpoints) in groups.into_values() {
        for chunk in endpoints.chunks(MOST) {
            wanted.push((ports.clone(), chunk.to_vec()));
        }
    }
    if wanted.is_empty() {
        // A Service without pods has one empty slice.
        wanted.push((Vec::new(), Vec::new()));
    }
    let labels = labels(&service);
    let mut left = present;
    for (ports, endpoints) in wanted {
        let ports = Value::from(ports);
        let same = left
            .iter()
            .position(|slice| ports_equal(&slice["ports"], &ports))
            .or(if left.is_empty() { None } else { Some(0) });
        match same.map(|position| left.remove(position)) {
            Some(slice) => {
                if object::same(&slice["endpoints"], &Value::from(endpoints.clone()))
                    && ports_equal(&slice["ports"], &ports)
                    && object::same(&slice["metadata"]["labels"], &labels)
                {
                    continue;
                }
                let mut written = Value::clone(&slice);
                written["endpoints"] = endpoints.into();
                written["ports"] = ports;
                written["metadata"]["labels"] = labels.clone();
                cluster.update(&ENDPOINT_SLICES, &written).await?;
            }
            None => {
                let slice = json!({
                    "apiVersion": "discovery.k8s.io/v1",
                    "kind": "EndpointSlice",
                    "metadata": {
                        "generateName": format!("{}-", service.name()),
                        "namespace": service.namespace(),
                        "labels": labels,
                        "ownerReferences": [object::controller_reference(&SERVICES, &service)],
                    },
                    "addressType": "IPv4",
                    "endpoints": endpoints,
                    "ports": ports,
                });
                match cluster.create(&ENDPOINT_SLICES, &slice).await {
                    Ok(_) => {}
                    Err(error) if error.is_terminating() => return Ok(Next::Done),
                    Err(error) => return Err(error),
                }
            }
        }
    }
    for slice in left {
        delete(cluster, &slice).await?;
    }
    Ok(Next::Done)
}

fn ports_equal(left: &Value, right: &Value) -> bool {
    let plain = |ports: &Value| Value::from(items(ports).to_vec());
    object::same(&plain(left), &plain(right))
}

fn labels(service: &Value) -> Value {
    let mut labels = match &service["metadata"]["labels"] {
        Value::Object(labels) => Value::Object(labels.clone()),
        _ => json!({}),
    };
    labels[MANAGED_BY] = MANAGER.into();
    labels[SERVICE_NAME] = service.name().into();
    if service["spec"]["clusterIP"] == "None" {
        labels["service.kubernetes.io/headless"] = "".into();
    }
    labels
}

async fn delete(cluster: &Cluster, slice: &Value) -> Result<(), ApiError> {
    cluster
        .delete(
            &ENDPOINT_SLICES,
            &slice.key(),
            slice.uid(),
            Propagation::Background,
        )
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_ports_follow_the_pod() {
        let service = json!({ "spec": { "ports": [
            { "name": "http", "port": 80, "targetPort": "web" },
            { "name": "plain", "port": 81 },
            { "name": "gone", "port": 82, "targetPort": "nowhere" },
        ] } });
        let pod = json!({ "spec": { "containers": [
            { "ports": [{ "name": "web", "containerPort": 8080, "protocol": "TCP" }] },
        ] } });
        let ports = ports_of(&service, &pod);
        assert_eq!(ports.len(), 2);
        assert_eq!(ports[0]["port"], 8080);
        assert_eq!(ports[1]["port"], 81);
    }
}
