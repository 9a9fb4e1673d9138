//! Events of a node and its pods, repeated ones counted on the same object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::status::time;

/// What happened.
#[derive(Clone, Debug)]
pub struct Event {
    kind: &'static str,
    reason: &'static str,
    message: String,
}

impl Event {
    /// Something expected.
    pub fn normal(reason: &'static str, message: &str) -> Event {
        Event {
            kind: "Normal",
            reason,
            message: message.to_owned(),
        }
    }

    /// Something wrong.
    pub fn warning(reason: &'static str, message: &str) -> Event {
        Event {
            kind: "Warning",
            reason,
            message: message.to_owned(),
        }
    }
}

/// Sends events in the background, one after the other; containers do not wait for them.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<(Value, Event)>,
}

impl Events {
    /// Events of one node.
    pub fn new(client: Client, node: &str) -> Events {
        let (sender, mut receiver) = mpsc::channel::<(Value, Event)>(1000);
        let node: Arc<str> = node.into();
        tokio::spawn(async move {
            let seen: Mutex<HashMap<String, (String, i32)>> = Mutex::default();
            while let Some((object, event)) = receiver.recv().await {
                send(&client, &node, &seen, object, event).await;
            }
        });
        Events { sender }
    }

    /// An event of a pod; `path` names the part of it.
    pub fn pod(&self, pod: &Pod, path: Option<&str>, event: Event) {
        let metadata = &pod.metadata;
        let mut object = json!({
            "apiVersion": "v1", "kind": "Pod", "name": metadata.name, "namespace": metadata.namespace,
            "uid": metadata.uid, "resourceVersion": metadata.resource_version,
        });
        if let Some(path) = path {
            object["fieldPath"] = json!(path);
        }
        // A full queue drops events; they are best effort in a real cluster too.
        let _ = self.sender.try_send((object, event));
    }

    /// An event of the node.
    pub fn node(&self, name: &str, event: Event) {
        let object = json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": name});
        let _ = self.sender.try_send((object, event));
    }
}

async fn send(
    client: &Client,
    node: &str,
    seen: &Mutex<HashMap<String, (String, i32)>>,
    object: Value,
    event: Event,
) {
    let namespace = object["namespace"].as_str().unwrap_or("default").to_owned();
    let api: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(client.clone(), &namespace);
    let key = format!(
        "{}/{}/{}/{}",
        object["uid"], object["fieldPath"], event.reason, event.message
    );
    let now = time(Timestamp::now());
    let before = {
        let mut seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if seen.len() > 5000 {
            seen.clear();
        }
        seen.get_mut(&key).map(|(name, count)| {
            *count += 1;
            (name.clone(), *count)
        })
    };
    if let Some((name, count)) = before {
        let patch = json!({"count": count, "lastTimestamp": now});
        if api
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .is_ok()
        {
            return;
        }
    }
    let name = format!(
        "{}.{:x}",
        object["name"].as_str().unwrap_or_default(),
        Timestamp::now().as_nanosecond()
    );
    let body = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": object, "type": event.kind, "reason": event.reason, "message": event.message,
        "source": {"component": "kubelet", "host": node}, "reportingComponent": "kubelet", "reportingInstance": node,
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    let Ok(body) = serde_json::from_value(body) else {
        return;
    };
    if api.create(&PostParams::default(), &body).await.is_ok() {
        let mut seen = seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        seen.insert(key, (name, 1));
    }
}
