//! The control plane against the embedded API server, with a stand-in for kubelets.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::runtime::cluster::Propagation;
use super::super::runtime::kinds::*;
use super::super::runtime::object::{self, Meta, items};
use super::super::runtime::{Cluster, Key, Resource};
use super::{ControlPlaneOptions, run_control_plane};
use crate::sandbox::kubernetes::testing::{self, TestServer};

struct Fixture {
    cluster: Cluster,
    _server: TestServer,
    stop: watch::Sender<bool>,
}

impl Fixture {
    async fn start() -> Self {
        let (server, client) = testing::start().await;
        let (stop, shutdown) = watch::channel(false);
        let cluster = Cluster::new(client, "test", shutdown.clone());
        tokio::spawn(run_control_plane(
            ControlPlaneOptions {
                cluster: cluster.clone(),
                certificate_authority: server.ca_pem().to_owned(),
                controller_manager: true,
                scheduler: true,
            },
            shutdown,
        ));
        let fixture = Fixture {
            cluster,
            _server: server,
            stop,
        };
        fixture
            .until(&SERVICE_ACCOUNTS, "default", "default", |_| true)
            .await;
        fixture
    }

    /// Waits until an object is as it should be.
    async fn until(
        &self,
        kind: &Resource,
        namespace: &str,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let key = Key::new(namespace, name);
        for _ in 0..1000 {
            if let Ok(Some(found)) = self.cluster.find(kind, &key).await
                && wanted(&found)
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let last = self.cluster.find(kind, &key).await;
        panic!("{} {key} does not come about: {last:#?}", kind.kind);
    }

    async fn until_gone(&self, kind: &Resource, namespace: &str, name: &str) {
        let key = Key::new(namespace, name);
        for _ in 0..1000 {
            if let Ok(None) = self.cluster.find(kind, &key).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "{} {key} stays: {:#?}",
            kind.kind,
            self.cluster.find(kind, &key).await
        );
    }

    async fn node(&self, name: &str) {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        self.cluster.create(&NODES, &node).await.expect("a node");
        let status = json!({ "status": {
            "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "20" },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
                "lastHeartbeatTime": object::now(), "lastTransitionTime": object::now(),
            }],
        } });
        self.cluster
            .patch_status(&NODES, &Key::new("", name), &status)
            .await
            .expect("its status");
    }

    /// Stands for the kubelets: what is bound runs, what is deleted ends.
    fn kubelets(&self) {
        let cluster = self.cluster.clone();
        tokio::spawn(async move {
            for round in 0u32.. {
                for pod in cluster.list(&PODS, "", "").await.unwrap_or_default() {
                    let key = pod.key();
                    if pod.deleting() {
                        let path = format!("{}/{}", PODS.path(&key.namespace), key.name);
                        let now = json!({ "gracePeriodSeconds": 0 });
                        let _ = cluster
                            .request(
                                hyper::http::Method::DELETE,
                                &path,
                                "application/json",
                                Some(&now),
                            )
                            .await;
                    } else if !object::text(&pod["spec"]["nodeName"]).is_empty()
                        && !object::pod_ready(&pod)
                    {
                        let mut conditions = items(&pod["status"]["conditions"]).to_vec();
                        for kind in ["Ready", "ContainersReady"] {
                            object::set_condition(
                                &mut conditions,
                                json!({ "type": kind, "status": "True" }),
                            );
                        }
                        let address = format!("10.0.{}.{}", round % 250, 2 + key.name.len() % 200);
                        let status = json!({ "status": {
                            "phase": "Running", "podIP": address,
                            "podIPs": [{ "ip": address }], "conditions": conditions,
                        } });
                        let _ = cluster.patch_status(&PODS, &key, &status).await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
}

fn deployment(image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{
                    "name": "web", "image": image,
                    "ports": [{ "name": "http", "containerPort": 8080 }],
                }] },
            },
        },
    })
}

fn rolled_out(deployment: &Value) -> bool {
    let status = &deployment["status"];
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && status["updatedReplicas"] == 3
        && status["availableReplicas"] == 3
        && status["replicas"] == 3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_rolls_out_and_on() {
    let fixture = Fixture::start().await;
    fixture.node("node-1").await;
    fixture.node("node-2").await;
    fixture.kubelets();
    let cluster = &fixture.cluster;
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    });
    cluster
        .create(&SERVICES, &service)
        .await
        .expect("a service");
    cluster
        .create(&DEPLOYMENTS, &deployment("a:1"))
        .await
        .expect("a deployment");
    fixture
        .until(&DEPLOYMENTS, "default", "web", rolled_out)
        .await;
    fixture
        .until(&ENDPOINTS, "default", "web", |endpoints| {
            items(&endpoints["subsets"][0]["addresses"]).len() == 3
                && endpoints["subsets"][0]["ports"][0]["port"] == 8080
        })
        .await;

    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": "a:2" }] } } } });
    let key = Key::new("default", "web");
    cluster
        .patch(&DEPLOYMENTS, &key, &patch)
        .await
        .expect("a new image");
    let done = fixture
        .until(&DEPLOYMENTS, "default", "web", rolled_out)
        .await;
    assert_eq!(
        done.annotation("deployment.kubernetes.io/revision"),
        Some("2")
    );
    let progressing = object::condition(&done, "Progressing").expect("a condition");
    assert_eq!(progressing["reason"], "NewReplicaSetAvailable");
    let mut slices = 0;
    for _ in 0..1000 {
        let selector = "labelSelector=kubernetes.io/service-name=web";
        let listed = cluster.list(&ENDPOINT_SLICES, "default", selector).await;
        slices = listed.expect("slices").len();
        if slices == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(slices, 1);

    cluster
        .delete(&DEPLOYMENTS, &key, "", Propagation::Background)
        .await
        .expect("deleted");
    for _ in 0..1000 {
        let left = cluster.list(&PODS, "default", "").await.expect("pods");
        let sets = cluster
            .list(&REPLICA_SETS, "default", "")
            .await
            .expect("sets");
        if left.is_empty() && sets.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the garbage collector leaves something behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_is_told_why() {
    let fixture = Fixture::start().await;
    fixture.node("node-1").await;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "large", "namespace": "default" },
        "spec": { "containers": [{
            "name": "c", "image": "a", "resources": { "requests": { "cpu": "64" } },
        }] },
    });
    fixture.cluster.create(&PODS, &pod).await.expect("a pod");
    let refused = fixture
        .until(&PODS, "default", "large", |pod| {
            // Before that the node may have the taint of one that is not ready yet.
            object::condition(pod, "PodScheduled")
                .is_some_and(|condition| !object::text(&condition["message"]).contains("taint"))
        })
        .await;
    let condition = object::condition(&refused, "PodScheduled").expect("a condition");
    assert_eq!(condition["reason"], "Unschedulable");
    assert!(
        object::text(&condition["message"])
            .starts_with("0/1 nodes are available: 1 Insufficient cpu."),
        "{condition}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_goes_with_all_that_is_in_it_but_waits_for_finalizers() {
    let fixture = Fixture::start().await;
    let cluster = &fixture.cluster;
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "demo" } });
    cluster
        .create(&NAMESPACES, &namespace)
        .await
        .expect("a namespace");
    fixture
        .until(&SERVICE_ACCOUNTS, "demo", "default", |_| true)
        .await;
    fixture
        .until(&CONFIG_MAPS, "demo", "kube-root-ca.crt", |_| true)
        .await;
    let held = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "held", "namespace": "demo", "finalizers": ["example.com/hold"] },
    });
    cluster
        .create(&CONFIG_MAPS, &held)
        .await
        .expect("a config map");
    cluster
        .delete(
            &NAMESPACES,
            &Key::new("", "demo"),
            "",
            Propagation::Background,
        )
        .await
        .expect("deleted");
    let waiting = fixture
        .until(&NAMESPACES, "", "demo", |namespace| {
            object::is_true(namespace, "NamespaceFinalizersRemaining")
        })
        .await;
    assert_eq!(
        object::condition(&waiting, "NamespaceFinalizersRemaining").expect("a condition")["message"],
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    );
    let patch = json!({ "metadata": { "finalizers": null } });
    cluster
        .patch(&CONFIG_MAPS, &Key::new("demo", "held"), &patch)
        .await
        .expect("let go");
    fixture.until_gone(&NAMESPACES, "", "demo").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_runs_on_every_node() {
    let fixture = Fixture::start().await;
    fixture.node("node-1").await;
    fixture.kubelets();
    let set = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "agent", "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": "agent" } },
            "template": {
                "metadata": { "labels": { "app": "agent" } },
                "spec": { "containers": [{ "name": "agent", "image": "a" }] },
            },
        },
    });
    fixture
        .cluster
        .create(&DAEMON_SETS, &set)
        .await
        .expect("a daemon set");
    let ready = |count: i64| move |set: &Value| set["status"]["numberReady"] == count;
    fixture
        .until(&DAEMON_SETS, "default", "agent", ready(1))
        .await;
    fixture.node("node-2").await;
    fixture
        .until(&DAEMON_SETS, "default", "agent", ready(2))
        .await;
}

#[tokio::test]
async fn who_is_told_of_changes_is_let_go_when_the_watch_ends() {
    let fixture = Fixture::start().await;
    let pods = fixture.cluster.cache(&PODS);
    let held = pods.clone();
    let (alive, mut is_alive) = watch::channel(());
    pods.subscribe(move |_| {
        let _ = (&held, &alive);
    });
    fixture.stop.send_replace(true);
    let let_go = async { while is_alive.changed().await.is_ok() {} };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), let_go).await;
    assert!(waited.is_ok(), "the handler lives on");
}
