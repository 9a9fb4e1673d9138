//! The older `Endpoints` objects, which some clients still read.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::runtime::cluster::Propagation;
use super::super::runtime::kinds::{ENDPOINTS, PODS, SERVICES};
use super::super::runtime::object::{self, Meta};
use super::super::runtime::{Cluster, Key, Next, Queue, Work};
use super::endpoint_slices::{follow, pods_of, ports_of};

/// Runs until a shutdown is asked for.
pub async fn run(cluster: Cluster) {
    let queue = Queue::new();
    follow(&cluster, &queue);
    for kind in [&SERVICES, &PODS, &ENDPOINTS] {
        cluster.cache(kind).synced().await;
    }
    let shutdown = cluster.shutdown();
    queue
        .run("endpoints", 2, shutdown, move |key| {
            let cluster = cluster.clone();
            async move { sync(&cluster, &key).await }
        })
        .await;
}

async fn sync(cluster: &Cluster, key: &Key) -> Work {
    let Some(service) = cluster.cache(&SERVICES).get(key) else {
        // Endpoints of a Service that has gone go with it.
        if let Some(endpoints) = cluster.cache(&ENDPOINTS).get(key)
            && endpoints.label("endpoints.kubernetes.io/managed-by") == Some("endpoint-controller")
        {
            cluster
                .delete(&ENDPOINTS, key, endpoints.uid(), Propagation::Background)
                .await?;
        }
        return Ok(Next::Done);
    };
    if !service["spec"]["selector"].is_object() || service["spec"]["type"] == "ExternalName" {
        return Ok(Next::Done);
    }
    let mut subsets: BTreeMap<String, (Value, Vec<Value>, Vec<Value>)> = BTreeMap::new();
    for pod in pods_of(cluster, &service) {
        if pod.deleting() {
            continue;
        }
        let ports = Value::from(ports_of(&service, &pod));
        let address = json!({
            "ip": pod["status"]["podIP"],
            "nodeName": pod["spec"]["nodeName"],
            "targetRef": {
                "kind": "Pod",
                "namespace": pod.namespace(),
                "name": pod.name(),
                "uid": pod.uid(),
            },
        });
        let (_, ready, not_ready) = subsets
            .entry(ports.to_string())
            .or_insert_with(|| (ports, Vec::new(), Vec::new()));
        if object::pod_ready(&pod) || service["spec"]["publishNotReadyAddresses"] == true {
            ready.push(address);
        } else {
            not_ready.push(address);
        }
    }
    let subsets: Vec<Value> = subsets
        .into_values()
        .map(|(ports, ready, not_ready)| {
            let mut subset = json!({ "ports": ports });
            if !ready.is_empty() {
                subset["addresses"] = ready.into();
            }
            if !not_ready.is_empty() {
                subset["notReadyAddresses"] = not_ready.into();
            }
            subset
        })
        .collect();
    let mut labels = match &service["metadata"]["labels"] {
        Value::Object(labels) => Value::Object(labels.clone()),
        _ => json!({}),
    };
    labels["endpoints.kubernetes.io/managed-by"] = "endpoint-controller".into();
    let outcome = match cluster.cache(&ENDPOINTS).get(key) {
        Some(present) => {
            let before = match &present["subsets"] {
                Value::Null => json!([]),
                subsets => subsets.clone(),
            };
            let subsets = Value::from(subsets);
            if object::same(&before, &subsets)
                && object::same(&present["metadata"]["labels"], &labels)
            {
                return Ok(Next::Done);
            }
            let mut written = Value::clone(&present);
            written["subsets"] = subsets;
            written["metadata"]["labels"] = labels;
            cluster.update(&ENDPOINTS, &written).await
        }
        None => {
            let endpoints = json!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": { "name": key.name, "namespace": key.namespace, "labels": labels },
                "subsets": subsets,
            });
            cluster.create(&ENDPOINTS, &endpoints).await
        }
    };
    match outcome {
        Ok(_) => Ok(Next::Done),
        Err(error) if error.is_terminating() => Ok(Next::Done),
        Err(error) => Err(error),
    }
}
