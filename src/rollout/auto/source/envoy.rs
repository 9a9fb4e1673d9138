//! The counters of the callers' own sidecars, read through the Kubernetes API. Envoy's administration listens on the
//! pod's loopback alone, so the way to it is a port-forward, as with `kubectl port-forward`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;

use super::{Clock, Growth, Source, Versions, pace, tries};
use crate::clients::kube::{Cluster, condition};
use crate::mesh::Counters;
use crate::rollout::auto::samples::{Counts, Side, Tick, bucket};

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// The sidecars of a service's callers.
pub struct Envoy {
    cluster: Cluster,
    namespace: String,
    counters: Counters,
    versions: Versions,
    growth: Growth,
    /// The histograms that were read before, by proxy.
    read: HashSet<String>,
    clock: Clock,
    due: Option<Instant>,
}

impl Envoy {
    /// Reads nothing yet.
    pub fn new(
        cluster: &Cluster,
        namespace: &str,
        counters: Counters,
        versions: &Versions,
        clock: Clock,
    ) -> Self {
        Envoy {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            counters,
            versions: versions.clone(),
            growth: Growth::default(),
            read: HashSet::new(),
            clock,
            due: None,
        }
    }

    /// The ready pods of all callers: name and uid.
    async fn callers(&self) -> Result<Vec<(String, String)>, String> {
        let mut callers = Vec::new();
        for labels in &self.counters.callers {
            let pods = self
                .cluster
                .list("v1", "Pod", Some(&self.namespace), labels)
                .await
                .map_err(|trouble| trouble.to_string())?;
            for pod in pods {
                let text = |name: &str| {
                    pod["metadata"][name]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                if matches!(condition(&pod, "Ready"), Some(("True", _))) {
                    callers.push((text("name"), text("uid")));
                }
            }
        }
        match callers.is_empty() {
            true => Err(format!(
                "no ready pod calls it ({})",
                self.counters.callers.join(", ")
            )),
            false => Ok(callers),
        }
    }

    fn path(&self) -> String {
        let clusters = self.counters.clusters.iter();
        let clusters: Vec<String> = clusters
            .filter(|(version, _)| self.versions.side(version).is_some())
            .map(|(_, cluster)| regex_lite::escape(cluster))
            .collect();
        let filter = format!(
            r"^cluster\.({})\.upstream_rq_(completed|5xx|retry|time)$",
            clusters.join("|")
        );
        let filter: String = filter
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
                    char::from(byte).to_string()
                }
                other => format!("%{other:02X}"),
            })
            .collect();
        format!("/stats?format=json&histogram_buckets=detailed&filter={filter}")
    }

    /// Adds what one proxy counted since it was asked last.
    fn add(&mut self, tick: &mut Tick, uid: &str, stats: &Value) -> Result<(), String> {
        let list = stats["stats"]
            .as_array()
            .ok_or("Envoy's statistics are no list")?;
        for (version, cluster) in self.counters.clusters.clone() {
            let Some(side) = self.versions.side(&version) else {
                continue;
            };
            let value = |name: &str| {
                let name = format!("cluster.{cluster}.{name}");
                let found = list.iter().find(|stat| stat["name"] == name.as_str());
                // What was never counted is not listed.
                found.map_or(Some(0.0), |stat| stat["value"].as_f64())
            };
            let mut grown = |name: &str| {
                let value =
                    value(name).ok_or_else(|| format!("{name} of {cluster} is no number"))?;
                self.growth.since(format!("{uid} {cluster} {name}"), value)
            };
            let counted = tries(
                grown("upstream_rq_completed")?,
                grown("upstream_rq_5xx")?,
                grown("upstream_rq_retry")?,
            );
            let counts = tick.side_mut(side);
            counts.requests += counted.requests;
            counts.errors += counted.errors;
            self.latencies(counts, uid, &cluster, list)?;
        }
        Ok(())
    }

    fn latencies(
        &mut self,
        counts: &mut Counts,
        uid: &str,
        cluster: &str,
        list: &[Value],
    ) -> Result<(), String> {
        let name = format!("cluster.{cluster}.upstream_rq_time");
        let details = list
            .iter()
            .filter_map(|stat| stat["histograms"]["details"].as_array())
            .flatten()
            .find(|histogram| histogram["name"] == name.as_str());
        let proxy = format!("{uid} {name}");
        let totals = details.and_then(|histogram| histogram["totals"].as_array());
        for total in totals.into_iter().flatten() {
            let (Some(lower), Some(count)) =
                (total["lower_bound"].as_f64(), total["count"].as_f64())
            else {
                return Err(format!("{name} has a bucket that is none"));
            };
            let key = format!("{uid} {name} {lower}");
            // Buckets appear when they are first counted: only what a proxy shows at its first reading was before the run.
            let grown = match self.read.contains(&proxy) {
                true => self.growth.since_nothing(key, count)?,
                false => self.growth.since(key, count)?,
            };
            if let Some(bucket) = bucket(lower).filter(|_| grown > 0) {
                let grown = u32::try_from(grown).unwrap_or(u32::MAX);
                counts.latencies.push((bucket, grown));
            }
        }
        self.read.insert(proxy);
        Ok(())
    }
}

#[async_trait]
impl Source for Envoy {
    fn name(&self) -> &'static str {
        "envoy"
    }

    fn counts(&self) -> String {
        "the callers' Envoys, every try by itself: upstream_rq_completed and upstream_rq_retry are requests, upstream_rq_5xx (time-outs and resets included) and upstream_rq_retry are failures, upstream_rq_time is latency".into()
    }

    async fn next(&mut self) -> Result<Tick, String> {
        pace(&mut self.due, INTERVAL).await;
        let callers = self.callers().await?;
        let (path, port) = (self.path(), self.counters.admin_port);
        let read = callers.iter().map(|(name, _)| {
            let reading = self
                .cluster
                .ask_pod(&self.namespace, name, port, "localhost", &path);
            async move {
                let read = reading.await.and_then(|answer| answer.json());
                read.map_err(|why| format!("Envoy of {name}: {why}"))
            }
        });
        let read = join_all(read).await;
        let mut tick = Tick {
            at: self.clock.now(),
            ..Tick::default()
        };
        let mut trouble = None;
        for ((_, uid), stats) in callers.iter().zip(read) {
            match stats {
                Ok(stats) => {
                    self.add(&mut tick, uid, &stats)?;
                }
                // A pod may be going away just now; what it counted is read the next time.
                Err(why) => trouble = Some(why),
            }
        }
        match trouble {
            Some(why)
                if tick.stable == Counts::default()
                    && tick.side(Side::Canary) == &Counts::default() =>
            {
                Err(why)
            }
            _ => Ok(tick),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clients::kube::Access;

    fn envoy() -> Envoy {
        let access = Access {
            name: String::new(),
            environment: String::new(),
            region: String::new(),
            partition: String::new(),
            account: String::new(),
            endpoint: String::new(),
            certificate_authority: String::new(),
            credentials: aws_credential_types::provider::SharedCredentialsProvider::new(
                aws_credential_types::Credentials::for_tests(),
            ),
        };
        let counters = Counters {
            callers: vec!["app=frontend".into()],
            admin_port: 9901,
            clusters: vec![("v1".into(), "one".into()), ("v2".into(), "two".into())],
        };
        let versions = Versions {
            stable: "v1".into(),
            canary: "v2".into(),
        };
        Envoy::new(
            &Cluster::new(access),
            "demo",
            counters,
            &versions,
            Clock::from(0.0),
        )
    }

    fn stats(completed: u64, failed: u64, retried: u64, slow: u64) -> Value {
        json!({"stats": [
            {"name": "cluster.one.upstream_rq_completed", "value": completed},
            {"name": "cluster.one.upstream_rq_5xx", "value": failed},
            {"name": "cluster.one.upstream_rq_retry", "value": retried},
            {"histograms": {"details": [{"name": "cluster.one.upstream_rq_time", "totals": [
                {"lower_bound": 3, "width": 0.1, "count": completed - slow},
                {"lower_bound": 50, "width": 1, "count": slow},
            ]}]}},
        ]})
    }

    #[test]
    fn what_proxies_count_becomes_samples() {
        let mut envoy = envoy();
        let mut tick = Tick::default();
        envoy
            .add(&mut tick, "pod", &stats(100, 5, 3, 0))
            .expect("statistics");
        assert_eq!(
            tick,
            Tick::default(),
            "what was before the run is not its own"
        );
        envoy
            .add(&mut tick, "pod", &stats(150, 7, 6, 4))
            .expect("statistics");
        assert_eq!((tick.stable.requests, tick.stable.errors), (53, 5));
        let counted: u32 = tick.stable.latencies.iter().map(|(_, count)| count).sum();
        assert_eq!(counted, 50);
        let mut after = Tick::default();
        envoy
            .add(&mut after, "pod", &stats(10, 1, 0, 0))
            .expect("statistics");
        assert_eq!(
            (after.stable.requests, after.stable.errors),
            (10, 1),
            "a proxy that was restarted"
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut envoy = envoy();
        let mut tick = Tick::default();
        for nonsense in [
            json!({}),
            json!([]),
            json!({"stats": [{"name": "cluster.one.upstream_rq_completed", "value": "many"}]}),
            json!({"stats": [{"name": "cluster.one.upstream_rq_completed", "value": -1}]}),
            json!({"stats": [{"name": "cluster.one.upstream_rq_completed", "value": null}]}),
        ] {
            assert!(
                envoy.add(&mut tick, "pod", &nonsense).is_err(),
                "{nonsense}"
            );
        }
        assert_eq!(tick, Tick::default());
    }
}
