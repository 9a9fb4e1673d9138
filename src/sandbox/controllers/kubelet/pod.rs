//! One pod's life on its node: an address, volumes, init containers, containers, the status told, the end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::container::{Place, Runner, Stop};
use super::environment::Seen;
use super::events::Event;
use super::runtime::Runtime;
use super::status::{self, Shown};
use super::{Kubelet, volumes};
use crate::sandbox::controllers::program;
use crate::sandbox::data_plane::address::{self, Hold};

/// Between two attempts to mount what is not there yet.
const MOUNT_RETRY: Duration = Duration::from_secs(2);
/// How often projected tokens are looked after: well before the shortest life that they may have.
const TOKEN_RENEWAL: Duration = Duration::from_secs(300);

/// A pod that the node looks after.
pub struct Handle {
    /// Whether it is the VPC CNI's.
    pub is_network: bool,
    /// The newest version of the object.
    pub latest: watch::Sender<Arc<Pod>>,
    /// Its containers.
    pub runtime: Arc<Runtime>,
    /// Ends it at once when the sandbox ends.
    pub kill: watch::Sender<bool>,
    /// The task.
    pub task: tokio::task::JoinHandle<()>,
}

/// Starts to look after a pod.
pub fn start(kubelet: &Arc<Kubelet>, pod: Arc<Pod>) -> Handle {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let folder = kubelet.options.directory.join("pods").join(uid);
    let runtime = Arc::new(Runtime::new(&pod, &folder));
    let labels = pod.metadata.labels.as_ref();
    let app = labels.and_then(|labels| labels.get("k8s-app"));
    let is_network = app.is_some_and(|app| app == "aws-node");
    let (latest, newest) = watch::channel(pod);
    let (kill, killed) = watch::channel(false);
    let (place, _) = watch::channel(None);
    let worker = Worker {
        kubelet: kubelet.clone(),
        newest,
        runtime: runtime.clone(),
        folder,
        place,
        killed,
    };
    Handle {
        is_network,
        latest,
        runtime,
        kill,
        task: tokio::spawn(worker.run()),
    }
}

struct Worker {
    kubelet: Arc<Kubelet>,
    newest: watch::Receiver<Arc<Pod>>,
    runtime: Arc<Runtime>,
    folder: PathBuf,
    place: watch::Sender<Option<Place>>,
    killed: watch::Receiver<bool>,
}

fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Waits for a value, or for the sender's end. Unlike `wait_for` it keeps no lock in what it answers.
async fn until<T>(receiver: &mut watch::Receiver<T>, is: impl FnMut(&T) -> bool) {
    let _ = receiver.wait_for(is).await;
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the App Mesh controller has put its proxy in front of the pod's containers. On a node, the init container
/// redirects the traffic with iptables; here the kubelet wires the containers accordingly.
fn is_injected(pod: &Pod) -> bool {
    let inits = pod
        .spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten());
    inits
        .filter_map(|container| container.image.as_deref())
        .any(|image| {
            program(image)
                .is_some_and(|program| program.repository.ends_with("proxy-route-manager"))
        })
}

impl Worker {
    async fn run(mut self) {
        let (stop, stopped) = watch::channel(None);
        let start = {
            let pod = self.newest.borrow();
            let began = pod
                .status
                .as_ref()
                .and_then(|status| status.start_time.as_ref());
            began.map_or_else(Timestamp::now, |began| began.0)
        };
        let mut holds = Vec::new();
        let over = {
            let pod = self.newest.borrow().clone();
            is_over(&pod)
        };
        if !over {
            let mut deleted = self.newest.clone();
            let mut killed = self.killed.clone();
            let mut killed_later = self.killed.clone();
            let life = self.live(stopped, &mut holds, start);
            tokio::pin!(life);
            tokio::select! {
                () = &mut life => {}
                () = until(&mut deleted, |pod| is_deleted(pod)) => {
                    stop.send_replace(Some(Stop::Gracefully));
                    tokio::select! {
                        () = &mut life => {}
                        () = until(&mut killed_later, |kill| *kill) => {
                            stop.send_replace(Some(Stop::Now));
                            life.await;
                            return;
                        }
                    }
                }
                () = until(&mut killed, |kill| *kill) => {
                    stop.send_replace(Some(Stop::Now));
                    life.await;
                    return;
                }
            }
        }
        // Whatever ended by itself stays until it is deleted.
        let _ = self.newest.wait_for(|pod| is_deleted(pod)).await;
        let pod = self.newest.borrow().clone();
        if !is_deleted(&pod) {
            return;
        }
        if !over {
            self.report(start).await;
        }
        drop(holds);
        self.forget(&pod).await;
        let _ = std::fs::remove_dir_all(&self.folder);
    }

    /// From the first status to the last container's end.
    async fn live(
        &self,
        stop: watch::Receiver<Option<Stop>>,
        holds: &mut Vec<Hold>,
        start: Timestamp,
    ) {
        let (done, finished) = watch::channel(false);
        let work = async {
            self.work(stop, holds).await;
            done.send_replace(true);
        };
        let ((), ()) = tokio::join!(work, self.report_changes(start, finished));
    }

    async fn work(&self, mut stop: watch::Receiver<Option<Stop>>, holds: &mut Vec<Hold>) {
        let pod = self.newest.borrow().clone();
        let kubelet = &self.kubelet;
        let spec = pod.spec.clone().unwrap_or_default();
        let host = spec.host_network == Some(true);
        let prepared = async {
            let place = match host {
                true => {
                    let twin = IpAddr::V4(address::twin(kubelet.options.private_ip));
                    Place {
                        shown: IpAddr::V4(kubelet.options.private_ip),
                        twin,
                        application: twin,
                        injected: false,
                    }
                }
                false => self.take_address(&pod, holds).await,
            };
            self.place.send_replace(Some(place.clone()));
            self.runtime.touch();
            let volumes = self.mount(&pod, &place).await;
            (place, volumes)
        };
        let (place, volumes) = tokio::select! {
            prepared = prepared => prepared,
            () = until(&mut stop, Option::is_some) => return,
        };
        let runner = |container: &Container, init: bool| Runner {
            kubelet: kubelet.clone(),
            pod: pod.clone(),
            container: container.clone(),
            init,
            runtime: self.runtime.clone(),
            volumes: volumes.clone(),
            place: place.clone(),
            stop: stop.clone(),
        };
        let mut running = JoinSet::new();
        for container in spec.init_containers.iter().flatten() {
            if container.restart_policy.as_deref() == Some("Always") {
                running.spawn(runner(container, false).run());
                if !self
                    .reached(&container.name, &stop, |report| {
                        report.launched && report.started
                    })
                    .await
                {
                    break;
                }
            } else if !runner(container, true).run().await {
                break;
            }
            if stop.borrow().is_some() {
                break;
            }
        }
        let initialized = {
            let inits = spec.init_containers.iter().flatten();
            let mut reports = inits.filter_map(|container| self.runtime.report(&container.name));
            reports.all(|report| {
                report.started || matches!(report.state, super::runtime::State::Terminated(ended) if ended.code == 0)
            })
        };
        if initialized && stop.borrow().is_none() {
            for container in &spec.containers {
                running.spawn(runner(container, false).run());
                // Containers start one after the other; only a hook makes the next one wait for long.
                let hooked = container
                    .lifecycle
                    .as_ref()
                    .is_some_and(|lifecycle| lifecycle.post_start.is_some());
                if hooked
                    && !self
                        .reached(&container.name, &stop, |report| report.launched)
                        .await
                {
                    break;
                }
            }
        }
        let renewing = self.renew_tokens(&pod, &place);
        let ended = async { while running.join_next().await.is_some() {} };
        tokio::select! {
            () = ended => {}
            () = renewing => {}
        }
    }

    /// Waits until a container has come that far; false when the pod is to end.
    async fn reached(
        &self,
        container: &str,
        stop: &watch::Receiver<Option<Stop>>,
        is: impl Fn(&super::runtime::Report) -> bool,
    ) -> bool {
        let mut changes = self.runtime.changes();
        let mut stop = stop.clone();
        loop {
            if self
                .runtime
                .report(container)
                .is_some_and(|report| is(&report))
            {
                return true;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return false },
                () = until(&mut stop, Option::is_some) => return false,
            }
        }
    }

    /// Waits for the network of the node, then for a free address.
    async fn take_address(&self, pod: &Pod, holds: &mut Vec<Hold>) -> Place {
        let mut network = self.kubelet.network.subscribe();
        if !*network.borrow() {
            self.kubelet.events.pod(pod, None, Event::warning(
                "NetworkNotReady",
                "network is not ready: container runtime network not ready: NetworkReady=false \
                 reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized",
            ));
            until(&mut network, |ready| *ready).await;
        }
        let injected = is_injected(pod);
        loop {
            match self.kubelet.addresses.take() {
                Ok(hold) => {
                    let twin = IpAddr::V4(hold.twin);
                    let inner = address::inner(hold.shown);
                    let place = Place {
                        shown: IpAddr::V4(hold.shown),
                        twin,
                        application: if injected { IpAddr::V4(inner) } else { twin },
                        injected,
                    };
                    holds.push(hold);
                    return place;
                }
                Err(error) => {
                    let message = format!(
                        "Failed to create pod sandbox: failed to assign an IP address to container: {error}"
                    );
                    self.kubelet.events.pod(
                        pod,
                        None,
                        Event::warning("FailedCreatePodSandBox", &message),
                    );
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    fn seen(&self, place: &Place) -> Seen {
        Seen {
            pod_ip: place.application.to_string(),
            host_ip: address::twin(self.kubelet.options.private_ip).to_string(),
        }
    }

    async fn mount(&self, pod: &Pod, place: &Place) -> PathBuf {
        let folder = self.folder.join("volumes");
        let mut told = String::new();
        loop {
            match volumes::make(&self.kubelet, pod, &folder, &self.seen(place)).await {
                Ok(()) => return folder,
                Err(message) => {
                    if told != message {
                        self.kubelet
                            .events
                            .pod(pod, None, Event::warning("FailedMount", &message));
                        told = message;
                    }
                    let pause = self
                        .kubelet
                        .scale(MOUNT_RETRY)
                        .max(Duration::from_millis(50));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Writes fresh tokens long before the old ones expire; never returns.
    async fn renew_tokens(&self, pod: &Pod, place: &Place) {
        if !volumes::has_tokens(pod) {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(TOKEN_RENEWAL).await;
            // A failure leaves the old token, which is good for the next attempts.
            let _ = volumes::make(
                &self.kubelet,
                pod,
                &self.folder.join("volumes"),
                &self.seen(place),
            )
            .await;
        }
    }

    /// Tells the API server of every change until all is done.
    async fn report_changes(&self, start: Timestamp, mut finished: watch::Receiver<bool>) {
        let mut changes = self.runtime.changes();
        let mut newest = self.newest.clone();
        let mut killed = self.killed.clone();
        loop {
            changes.mark_unchanged();
            newest.mark_unchanged();
            if *killed.borrow() {
                return;
            }
            let told = self.report(start).await;
            if *finished.borrow() && told && !changes.has_changed().unwrap_or(false) {
                return;
            }
            tokio::select! {
                _ = changes.changed() => {}
                // Readiness gates are conditions that others set.
                _ = newest.changed() => {}
                _ = finished.changed() => {}
                () = until(&mut killed, |kill| *kill) => return,
                () = tokio::time::sleep(Duration::from_millis(500)), if !told => {}
            }
        }
    }

    /// Tells the API server the whole status, unless it knows. Answers whether it does now.
    async fn report(&self, start: Timestamp) -> bool {
        let pod = self.newest.borrow().clone();
        let place = self.place.borrow().clone();
        let shown = Shown {
            pod_ip: place.map(|place| place.shown.to_string()),
            host_ip: self.kubelet.options.private_ip.to_string(),
        };
        let mut status = status::whole(&pod, &self.runtime, &shown, start);
        if told(&pod, &status) {
            return true;
        }
        // The list would be merged by address: an address from before the kubelet's restart would stay beside the new one.
        if let Some(addresses) = status["podIPs"].as_array_mut() {
            addresses.insert(0, json!({"$patch": "replace"}));
        }
        let api: Api<Pod> = Api::namespaced(
            self.kubelet.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or("default"),
        );
        let name = pod.metadata.name.clone().unwrap_or_default();
        // The uid makes sure that it is not another pod of the same name.
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        match api
            .patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(_) => true,
            Err(kube::Error::Api(answer)) if answer.code == 404 => true,
            Err(error) => {
                tracing::debug!("status of pod {name}: {error}");
                false
            }
        }
    }

    /// Removes the object: the node is done with it.
    async fn forget(&self, pod: &Pod) {
        let api: Api<Pod> = Api::namespaced(
            self.kubelet.client.clone(),
            pod.metadata.namespace.as_deref().unwrap_or("default"),
        );
        let name = pod.metadata.name.clone().unwrap_or_default();
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let mut killed = self.killed.clone();
        loop {
            match api.delete(&name, &parameters).await {
                Ok(_) => return,
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => return,
                Err(_) => {
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(500)) => {}
                        () = until(&mut killed, |kill| *kill) => return,
                    }
                }
            }
        }
    }
}

/// Whether the object already says all of a status; conditions are compared by type, since others set some too.
fn told(pod: &Pod, status: &serde_json::Value) -> bool {
    let Ok(known) = serde_json::to_value(pod.status.clone().unwrap_or_default()) else {
        return false;
    };
    let Some(fields) = status.as_object() else {
        return true;
    };
    fields
        .iter()
        .all(|(name, value)| match (name.as_str(), value.as_array()) {
            ("conditions", Some(list)) => {
                let known = known["conditions"].as_array().cloned().unwrap_or_default();
                list.iter().all(|wanted| {
                    known
                        .iter()
                        .any(|found| found["type"] == wanted["type"] && covers(found, wanted))
                })
            }
            _ => covers(&known[name], value),
        })
}

/// Whether `known` has every member of `wanted`; null and an empty object mean absent.
fn covers(known: &serde_json::Value, wanted: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (known, wanted) {
        (Value::Object(known), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| covers(known.get(name).unwrap_or(&Value::Null), value)),
        (Value::Array(known), Value::Array(wanted)) => {
            known.len() == wanted.len()
                && known
                    .iter()
                    .zip(wanted)
                    .all(|(known, wanted)| covers(known, wanted))
        }
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        (Value::Null, Value::String(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Bool(wanted)) => !wanted,
        (known, wanted) => known == wanted,
    }
}
