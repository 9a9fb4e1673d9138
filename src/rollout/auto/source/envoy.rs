//! The counters of the callers' own sidecars, read through the Kubernetes API. Envoy's administration listens on the
//! pod's loopback alone, so the way to it is a port-forward, as with `kubectl port-forward`.
//!
//! # What is a failure with gRPC
//!
//! A gRPC call that fails is an HTTP 200 with its status in the trailers, so Envoy's `upstream_rq_5xx` never hears of it.
//! Envoy has counters for each status where a `grpc_stats` filter stands among the HTTP filters; App Mesh sets none: a
//! dump of its Envoy's configuration shows the router as the only one, and what the App Mesh user guide lists of metrics
//! has none of that filter's. What every Envoy has are the counters of its endpoints in `/clusters`, by which it reports
//! load. There the router itself looks at the status of a gRPC answer (`Filter::handleNon5xxResponseHeaders`,
//! `onUpstreamTrailers` in Envoy's `router.cc`): `rq_error` grows for a status whose HTTP equivalent is 5xx (UNKNOWN,
//! DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, and what is no status), for an answer that ends
//! without one, for HTTP 5xx, time-outs and resets, and for each try that is followed by another; `rq_success` for the
//! others. The same six are the server's errors in OpenTelemetry's semantic conventions for gRPC. A stream that is cut by
//! the route's time-out when its answer has begun is in neither, as Envoy has it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;

use super::{Clock, Growth, Source, Versions, pace, tries};
use crate::clients::kube::{Cluster, condition};
use crate::config::Protocol;
use crate::mesh::Counters;
use crate::rollout::auto::samples::{Counts, Side, Tick, bucket};

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(1);

/// What one proxy says.
#[derive(Debug, Default)]
struct Reading {
    /// Its `/stats`.
    stats: Value,
    /// Its `/clusters`, where gRPC is spoken.
    endpoints: Value,
}

/// The sidecars of a service's callers.
pub struct Envoy {
    cluster: Cluster,
    namespace: String,
    counters: Counters,
    versions: Versions,
    growth: Growth,
    /// The histograms and the endpoints that were read before, by proxy.
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
        let counters = match self.counters.protocol {
            Protocol::Http => "rq_(active|completed|5xx|retry|time)",
            Protocol::Grpc => "(rq_active|rq_time|cx_none_healthy)",
        };
        let filter = format!(r"^cluster\.({})\.upstream_{counters}$", clusters.join("|"));
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

    /// Asks one proxy for all that is read of it.
    async fn ask(&self, pod: &str) -> Result<Reading, String> {
        let asked = async |path: &str| {
            let port = self.counters.admin_port;
            let asking = self
                .cluster
                .ask_pod(&self.namespace, pod, port, "localhost", path);
            let read = asking.await.and_then(|answer| answer.json());
            read.map_err(|why| format!("Envoy of {pod}: {why}"))
        };
        Ok(Reading {
            stats: asked(&self.path()).await?,
            endpoints: match self.counters.protocol {
                Protocol::Http => Value::Null,
                Protocol::Grpc => asked("/clusters?format=json").await?,
            },
        })
    }

    /// Adds what one proxy counted since it was asked last.
    fn add(&mut self, tick: &mut Tick, uid: &str, reading: &Reading) -> Result<(), String> {
        let list = reading.stats["stats"]
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
            let number =
                |name: &str| value(name).ok_or_else(|| format!("{name} of {cluster} is no number"));
            tick.under_way += number("upstream_rq_active")?.max(0.0) as u64;
            let mut grown = |name: &str| {
                let value = number(name)?;
                self.growth.since(format!("{uid} {cluster} {name}"), value)
            };
            let (requests, errors) = match self.counters.protocol {
                Protocol::Http => {
                    let counted = tries(
                        grown("upstream_rq_completed")?,
                        grown("upstream_rq_5xx")?,
                        grown("upstream_rq_retry")?,
                    );
                    (counted.requests, counted.errors)
                }
                Protocol::Grpc => {
                    // A try for which there was no endpoint stands with none.
                    let nowhere = grown("upstream_cx_none_healthy")?;
                    let [succeeded, failed] = self.endpoints(uid, &cluster, &reading.endpoints)?;
                    (succeeded + failed + nowhere, failed + nowhere)
                }
            };
            let counts = tick.side_mut(side);
            counts.requests += requests;
            counts.errors += errors;
            self.latencies(counts, uid, &cluster, list)?;
        }
        Ok(())
    }

    /// By how much `rq_success` and `rq_error` of all endpoints of a cluster grew.
    fn endpoints(
        &mut self,
        uid: &str,
        cluster: &str,
        endpoints: &Value,
    ) -> Result<[u64; 2], String> {
        let list = endpoints["cluster_statuses"]
            .as_array()
            .ok_or("Envoy's clusters are no list")?;
        let found = list.iter().find(|found| found["name"] == cluster);
        let hosts = found.and_then(|found| found["host_statuses"].as_array());
        let proxy = format!("{uid} {cluster} endpoints");
        let mut sums = [0; 2];
        for host in hosts.into_iter().flatten() {
            let address = host["address"].to_string();
            let stats = host["stats"].as_array().map_or(&[][..], Vec::as_slice);
            for (sum, name) in sums.iter_mut().zip(["rq_success", "rq_error"]) {
                let stat = stats.iter().find(|stat| stat["name"] == name);
                let value = match stat.map(|stat| &stat["value"]) {
                    // As JSON has it of a 64-bit number: a text, and left out when it is 0.
                    None | Some(Value::Null) => Some(0.0),
                    Some(Value::String(digits)) => digits.parse().ok(),
                    Some(number) => number.as_f64(),
                };
                let value = value.ok_or_else(|| format!("{name} of {cluster} is no number"))?;
                let key = format!("{uid} {cluster} {address} {name}");
                // An endpoint that was not there before has counted nothing before.
                *sum += match self.read.contains(&proxy) {
                    true => self.growth.since_nothing(key, value)?,
                    false => self.growth.since(key, value)?,
                };
            }
        }
        self.read.insert(proxy);
        Ok(sums)
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
        match self.counters.protocol {
            Protocol::Http => "the callers' Envoys, every try by itself: upstream_rq_completed and upstream_rq_retry are requests, upstream_rq_5xx (time-outs and resets included) and upstream_rq_retry are failures, upstream_rq_time is latency",
            Protocol::Grpc => "the callers' Envoys, every try by itself: their endpoints' rq_success and rq_error and upstream_cx_none_healthy are requests, rq_error (UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS or no gRPC status; time-outs, resets and what was tried again included) and upstream_cx_none_healthy are failures, upstream_rq_time is latency",
        }
        .into()
    }

    async fn next(&mut self) -> Result<Tick, String> {
        pace(&mut self.due, INTERVAL).await;
        let callers = self.callers().await?;
        let read = join_all(callers.iter().map(|(name, _)| self.ask(name))).await;
        let mut tick = Tick {
            at: self.clock.now(),
            ..Tick::default()
        };
        let mut trouble = None;
        for ((_, uid), reading) in callers.iter().zip(read) {
            match reading {
                Ok(reading) => {
                    self.add(&mut tick, uid, &reading)?;
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
        envoy_for(Protocol::Http)
    }

    fn envoy_for(protocol: Protocol) -> Envoy {
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
            protocol,
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

    fn stats(completed: u64, failed: u64, retried: u64, slow: u64) -> Reading {
        of(json!({"stats": [
            {"name": "cluster.one.upstream_rq_completed", "value": completed},
            {"name": "cluster.one.upstream_rq_5xx", "value": failed},
            {"name": "cluster.one.upstream_rq_retry", "value": retried},
            {"histograms": {"details": [{"name": "cluster.one.upstream_rq_time", "totals": [
                {"lower_bound": 3, "width": 0.1, "count": completed - slow},
                {"lower_bound": 50, "width": 1, "count": slow},
            ]}]}},
        ]}))
    }

    fn of(stats: Value) -> Reading {
        Reading {
            stats,
            endpoints: Value::Null,
        }
    }

    /// As Envoy 1.40 has it: all HTTP answers are 200, and what is 0 is left out.
    fn calls(endpoints: &[(&str, u64, u64)], nowhere: u64) -> Reading {
        let hosts: Vec<Value> = endpoints
            .iter()
            .map(|(address, succeeded, failed)| {
                let stat = |name: &str, value: u64| match value {
                    0 => json!({"name": name}),
                    value => json!({"name": name, "value": value.to_string()}),
                };
                json!({
                    "address": {"socket_address": {"address": address, "port_value": 8080}},
                    "stats": [stat("rq_error", *failed), stat("rq_success", *succeeded), stat("rq_total", succeeded + failed)],
                    "health_status": {"eds_health_status": "HEALTHY"},
                })
            })
            .collect();
        Reading {
            stats: json!({"stats": [
                {"name": "cluster.two.upstream_cx_none_healthy", "value": nowhere},
                {"name": "cluster.two.upstream_rq_completed", "value": 1000},
                {"name": "cluster.two.upstream_rq_5xx", "value": 0},
            ]}),
            endpoints: json!({"cluster_statuses": [
                {"name": "other"},
                {"name": "two", "added_via_api": true, "host_statuses": hosts},
            ]}),
        }
    }

    #[test]
    fn a_grpc_status_is_a_failure_behind_an_http_200() {
        let mut envoy = envoy_for(Protocol::Grpc);
        let mut next = |reading: &Reading| {
            let mut tick = Tick::default();
            envoy.add(&mut tick, "pod", reading).expect("statistics");
            assert_eq!(tick.stable, Counts::default());
            (tick.canary.requests, tick.canary.errors)
        };
        let before = calls(&[("10.0.0.1", 90, 10)], 5);
        assert_eq!(next(&before), (0, 0), "what was before the run");
        assert_eq!(next(&calls(&[("10.0.0.1", 95, 12)], 5)), (7, 2));
        // Another endpoint comes, and for a moment there was none.
        let both = calls(&[("10.0.0.1", 95, 12), ("10.0.0.2", 3, 1)], 7);
        assert_eq!(next(&both), (6, 3));
        assert_eq!(next(&calls(&[("10.0.0.2", 4, 1)], 7)), (1, 0));
        assert_eq!(next(&calls(&[], 7)), (0, 0));
    }

    #[test]
    fn nonsense_about_endpoints_is_an_error() {
        let mut envoy = envoy_for(Protocol::Grpc);
        let wrong = |value: Value| {
            let stats = json!([{"name": "rq_error", "value": value}]);
            json!({"cluster_statuses": [{"name": "two", "host_statuses": [{"address": {}, "stats": stats}]}]})
        };
        for nonsense in [
            json!({}),
            json!({"cluster_statuses": "none"}),
            wrong(json!("many")),
            wrong(json!("NaN")),
            wrong(json!("-1")),
            wrong(json!(true)),
        ] {
            let reading = Reading {
                stats: json!({"stats": []}),
                endpoints: nonsense,
            };
            let mut tick = Tick::default();
            let added = envoy.add(&mut tick, "pod", &reading);
            assert!(added.is_err(), "{reading:?}");
            assert_eq!(tick, Tick::default());
        }
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
            let nonsense = of(nonsense);
            assert!(
                envoy.add(&mut tick, "pod", &nonsense).is_err(),
                "{nonsense:?}"
            );
        }
        assert_eq!(tick, Tick::default());
    }
}
