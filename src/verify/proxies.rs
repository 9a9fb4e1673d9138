//! The services' pods and the proxies beside them.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::{Value, json};

use super::{Finding, Verify};
use crate::check::Verdict;
use crate::clients::kube::{PodAnswer, condition};
use crate::config::Service;
use crate::engine::Result;
use crate::mesh::Counters;

/// A pod of a service.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    /// Its service.
    pub service: String,
    /// Its version, as its label says.
    pub version: String,
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it carries the mesh's proxy.
    pub has_proxy: bool,
    /// How often its containers were restarted.
    pub restarts: i64,
    /// When that happened last and why.
    last: Value,
}

impl Pod {
    fn of(service: &str, proxy: &str, live: &Value) -> Self {
        let text = |pointer: &str| live.pointer(pointer).and_then(Value::as_str);
        let list = |pointer: &str| live.pointer(pointer).and_then(Value::as_array);
        // A native sidecar stands among the init containers.
        let containers = ["/spec/containers", "/spec/initContainers"];
        let mut containers = containers.iter().filter_map(|at| list(at)).flatten();
        let statuses = || list("/status/containerStatuses").into_iter().flatten();
        let restarted = statuses().find(|status| status["restartCount"] != 0);
        Pod {
            service: service.to_owned(),
            version: text("/metadata/labels/version")
                .unwrap_or_default()
                .to_owned(),
            name: text("/metadata/name").unwrap_or_default().to_owned(),
            ready: matches!(condition(live, "Ready"), Some(("True", _))),
            has_proxy: containers.any(|container| container["name"] == proxy),
            restarts: statuses()
                .filter_map(|status| status["restartCount"].as_i64())
                .sum(),
            last: restarted.map_or(Value::Null, |status| {
                status["lastState"]["terminated"].clone()
            }),
        }
    }
}

/// Requests by service and version, as the callers' proxies have counted them so far.
pub(super) type Counted = BTreeMap<(String, String), u64>;

impl Verify<'_> {
    /// The pods of all services that are not going away.
    pub(super) async fn pods(&self) -> Result<Vec<Pod>> {
        let proxy = self.mesh.proxies().container;
        let mut pods = Vec::new();
        for service in self.environment.services.keys() {
            let namespace = Some(self.environment.namespace.as_str());
            let labels = format!("app={service}");
            let listed = self.cluster.list("v1", "Pod", namespace, &labels).await;
            let listed = listed.map_err(|trouble| trouble.failure(format!("pods of {service}")))?;
            let staying = listed
                .iter()
                .filter(|live| !live["metadata"]["deletionTimestamp"].is_string());
            pods.extend(staying.map(|live| Pod::of(service, proxy, live)));
        }
        Ok(pods)
    }

    /// Asks the administration of a pod's proxy.
    pub(super) async fn ask_proxy(
        &self,
        pod: &Pod,
        path: &str,
    ) -> std::result::Result<PodAnswer, String> {
        let (namespace, port) = (&self.environment.namespace, self.mesh.proxies().admin_port);
        self.cluster
            .ask_pod(namespace, &pod.name, port, "localhost", path)
            .await
    }

    /// Every pod has a proxy, and the proxy says that it is live.
    pub(super) async fn check_proxies(&self, service: &Service, pods: &[&Pod]) -> Finding {
        let asked = join_all(pods.iter().map(|pod| async move {
            if !pod.has_proxy {
                return Err("has no proxy".to_owned());
            }
            match self.ask_proxy(pod, "/ready").await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("its proxy is not live: HTTP {}", answer.status)),
                Err(why) => Err(format!("its proxy does not answer: {why}")),
            }
        }))
        .await;
        let evidence: Vec<Value> = pods
            .iter()
            .zip(&asked)
            .map(|(pod, asked)| json!({"pod": pod.name, "version": pod.version, "proxy": pod.has_proxy, "live": asked.is_ok()}))
            .collect();
        let wrong: Vec<String> = pods
            .iter()
            .zip(asked)
            .filter_map(|(pod, asked)| Some(format!("{} {}", pod.name, asked.err()?)))
            .collect();
        let verdict = match (pods.is_empty(), wrong.is_empty()) {
            (true, _) => Verdict::Failed("it has no pods".into()),
            (_, true) => Verdict::Passed,
            _ => Verdict::Failed(wrong.join("; ")),
        };
        let hint = "a pod gets its proxy when it is made: see that its namespace has the mesh's labels and the mesh's controller runs, then delete the pod";
        Finding::new(
            "proxies",
            &service.name,
            verdict,
            hint,
            json!({"pods": evidence}),
        )
    }

    /// Every version has its pods, and their probes pass.
    pub(super) fn check_probes(&self, service: &Service, pods: &[&Pod]) -> Finding {
        let mut wrong = Vec::new();
        for version in &service.versions {
            let of = pods.iter().filter(|pod| pod.version == version.name);
            let ready = of.filter(|pod| pod.ready).count();
            let wanted = usize::try_from(version.replicas).unwrap_or(0);
            if ready < wanted {
                wrong.push(format!(
                    "{ready} of {wanted} pods of {} are ready",
                    version.name
                ));
            }
        }
        let restarted = pods.iter().filter(|pod| pod.restarts > 0);
        let restarted: Vec<String> = restarted
            .map(|pod| format!("{} has a restart count of {}", pod.name, pod.restarts))
            .collect();
        let evidence: Vec<Value> = pods
            .iter()
            .map(|pod| json!({"pod": pod.name, "version": pod.version, "ready": pod.ready, "restarts": pod.restarts, "last": pod.last}))
            .collect();
        let verdict = match (wrong.is_empty(), restarted.is_empty()) {
            (false, _) => Verdict::Failed(wrong.join("; ")),
            (true, false) => Verdict::Warning(restarted.join("; ")),
            (true, true) => Verdict::Passed,
        };
        let hint = format!(
            "`kubectl -n {} describe pod -l app={}` shows which probe fails",
            self.environment.namespace, service.name
        );
        Finding::new(
            "probes",
            &service.name,
            verdict,
            &hint,
            json!({"pods": evidence}),
        )
    }

    /// What the proxies of all callers have counted so far, of every service that is called.
    pub(super) async fn counted(&self, pods: &[Pod]) -> std::result::Result<Counted, String> {
        let mut counted = Counted::new();
        for service in self.called() {
            let counters = self.mesh.counters(service);
            let callers = self.callers(service, pods);
            let read = join_all(callers.iter().map(|pod| self.read(&counters, pod))).await;
            for read in read {
                for (version, count) in read? {
                    let key = (service.name.clone(), version);
                    *counted.entry(key).or_default() += count;
                }
            }
        }
        Ok(counted)
    }

    async fn read(
        &self,
        counters: &Counters,
        pod: &Pod,
    ) -> std::result::Result<Vec<(String, u64)>, String> {
        let clusters = counters.clusters.iter();
        let names: Vec<String> = clusters
            .clone()
            .map(|(_, cluster)| format!("cluster.{cluster}.upstream_rq_completed"))
            .collect();
        let path = "/stats?format=json&filter=upstream_rq_completed$";
        let stats = self
            .ask_proxy(pod, path)
            .await
            .and_then(|answer| answer.json());
        let stats = stats.map_err(|why| format!("the proxy of {}: {why}", pod.name))?;
        let list = stats["stats"].as_array().into_iter().flatten();
        let value = |name: &String| {
            let mut list = list.clone();
            list.find(|stat| stat["name"] == name.as_str())
                .and_then(|stat| stat["value"].as_u64())
                .unwrap_or(0)
        };
        Ok(clusters
            .zip(&names)
            .map(|((version, _), name)| (version.clone(), value(name)))
            .collect())
    }

    /// How many lines of the access logs of each pod's proxy hold the mark.
    pub(super) async fn logged(&self, pods: &[&Pod], mark: &str) -> BTreeMap<String, u64> {
        /// Far back enough for all requests of this run.
        const SINCE: i64 = 900;
        let container = self.mesh.proxies().container;
        let namespace = &self.environment.namespace;
        let lines = join_all(
            pods.iter()
                .filter(|pod| pod.has_proxy)
                .map(|pod| async move {
                    let log = self
                        .cluster
                        .log_of(namespace, &pod.name, container, SINCE)
                        .await;
                    let lines = log.unwrap_or_default();
                    let count = lines.lines().filter(|line| line.contains(mark)).count();
                    (pod.name.clone(), count as u64)
                }),
        )
        .await;
        lines.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_read_as_it_is() {
        let live = json!({
            "metadata": {"name": "backend-v1-x", "labels": {"version": "v1"}},
            "spec": {"containers": [{"name": "app"}, {"name": "envoy"}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [
                    {"name": "app", "restartCount": 2, "lastState": {"terminated": {"exitCode": 137}}},
                    {"name": "envoy", "restartCount": 0},
                ],
            },
        });
        let pod = Pod::of("backend", "envoy", &live);
        assert!(pod.ready && pod.has_proxy);
        assert_eq!((pod.restarts, &pod.last["exitCode"]), (2, &json!(137)));
        let bare = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "app"}]}});
        let pod = Pod::of("backend", "envoy", &bare);
        assert!(!pod.ready && !pod.has_proxy);
        let native = json!({"spec": {"containers": [{"name": "app"}], "initContainers": [{"name": "envoy"}]}});
        assert!(Pod::of("backend", "envoy", &native).has_proxy);
    }
}
