//! A Prometheus server: raw counters, series by series, so that one that begins anew is noticed as such.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Clock, Growth, Source, Versions, pace, tries};
use crate::mesh::Counters;
use crate::rollout::auto::samples::{Counts, Tick, bucket};
use crate::rollout::sampling;

/// Between two questions; servers scrape less often than that.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What is asked, `$cluster` standing for Envoy's name of a version's cluster and `$version` for the version's own. Each is
/// to give counters, not rates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Queries {
    /// Requests.
    pub requests: String,
    /// Those that failed.
    pub errors: String,
    /// Tries after a failed one.
    pub retries: String,
    /// Buckets of latencies in milliseconds, with the label `le`.
    pub latency: String,
}

impl Default for Queries {
    /// The names that Envoy's own Prometheus endpoint gives.
    fn default() -> Self {
        let of =
            |metric: &str, more: &str| format!("{metric}{{envoy_cluster_name=\"$cluster\"{more}}}");
        Queries {
            requests: of("envoy_cluster_upstream_rq_completed", ""),
            errors: of(
                "envoy_cluster_upstream_rq_xx",
                ",envoy_response_code_class=\"5\"",
            ),
            retries: of("envoy_cluster_upstream_rq_retry", ""),
            latency: of("envoy_cluster_upstream_rq_time_bucket", ""),
        }
    }
}

impl Queries {
    /// As [`Queries::default`] for a service that speaks gRPC, with what counts its requests and those that failed: a
    /// status is in no metric of an Envoy without the filter `grpc_stats`, and App Mesh's have none (see [`super::Envoy`]).
    /// Who serves calls counts each try as one, so none are added.
    pub fn for_grpc(requests: String, errors: String) -> Self {
        Queries {
            requests,
            errors,
            retries: "vector(0)".into(),
            ..Queries::default()
        }
    }
}

/// The source.
pub struct Prometheus {
    client: reqwest::Client,
    url: reqwest::Url,
    queries: Queries,
    counters: Counters,
    versions: Versions,
    growth: Growth,
    clock: Clock,
    due: Option<Instant>,
}

impl Prometheus {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// What is no URL.
    pub fn new(
        url: &str,
        queries: Queries,
        counters: Counters,
        versions: &Versions,
        clock: Clock,
    ) -> Result<Self, String> {
        let base = format!("{}/api/v1/query", url.trim_end_matches('/'));
        Ok(Prometheus {
            client: sampling::client(ANSWER).map_err(|failure| failure.to_string())?,
            url: base
                .parse()
                .map_err(|error| format!("{url} is no URL: {error}"))?,
            queries,
            counters,
            versions: versions.clone(),
            growth: Growth::default(),
            clock,
            due: None,
        })
    }

    async fn ask(&self, query: &str) -> Result<Vec<Value>, String> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("query", query);
        let host = self.url.host_str().unwrap_or_default().to_owned();
        let answer = self.client.get(url).send().await;
        let answer =
            answer.map_err(|error| format!("Prometheus at {host}: {}", sampling::why(&error)))?;
        let status = answer.status();
        let body: Value = answer
            .json()
            .await
            .map_err(|_| format!("Prometheus at {host} answered {status} with what is not JSON"))?;
        if body["status"] != "success" {
            let why = body["error"].as_str().unwrap_or("no reason given");
            return Err(format!("Prometheus at {host} answered {status}: {why}"));
        }
        let result = body["data"]["result"].as_array().cloned();
        result.ok_or_else(|| format!("Prometheus at {host} answered no vector to {query}"))
    }

    /// How much all series of an answer grew together.
    fn grown(&mut self, query: &str, series: &[Value]) -> Result<u64, String> {
        let mut sum = 0;
        for series in series {
            let value = value(series).ok_or_else(|| format!("{query} gave what is no number"))?;
            sum += self
                .growth
                .since(format!("{query} {}", series["metric"]), value)?;
        }
        Ok(sum)
    }

    /// Latencies from cumulative buckets, each counted at its upper end.
    fn latencies(
        &mut self,
        counts: &mut Counts,
        query: &str,
        series: &[Value],
    ) -> Result<(), String> {
        let mut buckets = Vec::new();
        for series in series {
            let le = series["metric"]["le"].as_str().unwrap_or_default();
            let le: f64 = match le {
                "+Inf" => 1e7,
                le => le
                    .parse()
                    .map_err(|_| format!("{query} gave a bucket `{le}`"))?,
            };
            let value = value(series).ok_or_else(|| format!("{query} gave what is no number"))?;
            let grown = self
                .growth
                .since(format!("{query} {}", series["metric"]), value)?;
            buckets.push((le, grown));
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        // Series of several proxies share their bounds.
        buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        let mut below = 0;
        for (le, cumulative) in buckets {
            let here = cumulative.saturating_sub(below);
            below = below.max(cumulative);
            if let Some(bucket) = bucket(le).filter(|_| here > 0) {
                counts
                    .latencies
                    .push((bucket, u32::try_from(here).unwrap_or(u32::MAX)));
            }
        }
        Ok(())
    }
}

fn value(series: &Value) -> Option<f64> {
    series["value"][1].as_str()?.parse().ok()
}

#[async_trait]
impl Source for Prometheus {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn counts(&self) -> String {
        let queries = &self.queries;
        format!(
            "Prometheus: requests {} and {}, failures {} and again {}, latency {}",
            queries.requests, queries.retries, queries.errors, queries.retries, queries.latency
        )
    }

    async fn next(&mut self) -> Result<Tick, String> {
        pace(&mut self.due, INTERVAL).await;
        let mut tick = Tick::default();
        for (version, cluster) in self.counters.clusters.clone() {
            let Some(side) = self.versions.side(&version) else {
                continue;
            };
            let query = |template: &str| {
                let query = template.replace("$cluster", &cluster);
                query.replace("$version", &version)
            };
            let queries = self.queries.clone();
            let mut grown = [0; 3];
            let asked = [&queries.requests, &queries.errors, &queries.retries];
            for (grown, template) in grown.iter_mut().zip(asked) {
                let query = query(template);
                let series = self.ask(&query).await?;
                *grown = self.grown(&query, &series)?;
            }
            let [requests, errors, retries] = grown;
            *tick.side_mut(side) = tries(requests, errors, retries);
            let query = query(&queries.latency);
            let series = self.ask(&query).await?;
            self.latencies(tick.side_mut(side), &query, &series)?;
        }
        tick.at = self.clock.now();
        Ok(tick)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::config::Protocol;

    fn prometheus() -> Prometheus {
        prometheus_at("http://127.0.0.1:1", &["one"])
    }

    fn prometheus_at(url: &str, clusters: &[&str]) -> Prometheus {
        let clusters = ["v1", "v2"].into_iter().zip(clusters);
        let counters = Counters {
            callers: Vec::new(),
            admin_port: 9901,
            protocol: Protocol::Http,
            clusters: clusters
                .map(|(version, cluster)| (version.into(), (*cluster).into()))
                .collect(),
        };
        let versions = Versions {
            stable: "v1".into(),
            canary: "v2".into(),
        };
        let clock = Clock::from(0.0);
        Prometheus::new(url, Queries::default(), counters, &versions, clock).expect("a source")
    }

    fn bucket_of(le: &str, value: &str) -> Value {
        json!({"metric": {"le": le}, "value": [0, value]})
    }

    #[test]
    fn cumulative_buckets_become_latencies() {
        let mut prometheus = prometheus();
        let mut counts = Counts::default();
        let at = |a: &str, b: &str, c: &str| {
            vec![bucket_of("10", a), bucket_of("25", b), bucket_of("+Inf", c)]
        };
        prometheus
            .latencies(&mut counts, "q", &at("5", "8", "9"))
            .expect("buckets");
        assert_eq!(
            counts,
            Counts::default(),
            "what was before the run is not its own"
        );
        prometheus
            .latencies(&mut counts, "q", &at("15", "20", "22"))
            .expect("buckets");
        let expected: Vec<_> = [(10.0, 10), (25.0, 2), (1e7, 1)]
            .into_iter()
            .map(|(le, count)| (bucket(le).expect("a latency"), count))
            .collect();
        assert_eq!(counts.latencies, expected);
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut prometheus = prometheus();
        for nonsense in ["NaN", "+Inf", "-1", "many", ""] {
            let series = [json!({"metric": {}, "value": [0, nonsense]})];
            assert!(prometheus.grown("q", &series).is_err(), "{nonsense}");
        }
        assert!(prometheus.grown("q", &[json!({})]).is_err());
        let mut counts = Counts::default();
        assert!(
            prometheus
                .latencies(&mut counts, "q", &[bucket_of("x", "1")])
                .is_err()
        );
    }

    /// What a server with two scraped proxies knows: requests, failures and tries again of each version at each scrape.
    type Scrapes = Arc<Mutex<VecDeque<[[u64; 3]; 2]>>>;

    /// A server that speaks Prometheus' HTTP API, `/api/v1/query` for instant vectors.
    async fn serve(scrapes: Scrapes) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let at = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a client");
                let scrapes = scrapes.clone();
                let service = hyper::service::service_fn(
                    move |request: hyper::Request<hyper::body::Incoming>| {
                        let answer = answer(&request, &scrapes);
                        async move { Ok::<_, std::convert::Infallible>(answer) }
                    },
                );
                let io = hyper_util::rt::TokioIo::new(stream);
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(io, service));
            }
        });
        at
    }

    fn answer(
        request: &hyper::Request<hyper::body::Incoming>,
        scrapes: &Scrapes,
    ) -> hyper::Response<String> {
        let url = reqwest::Url::parse(&format!("http://server{}", request.uri())).expect("a URL");
        assert_eq!(url.path(), "/api/v1/query");
        let query = url.query_pairs().find(|(name, _)| name == "query");
        let query = query.expect("a query").1.into_owned();
        let scrapes = scrapes.lock().expect("no panic while locked");
        let Some(scrape) = scrapes.front() else {
            let body =
                json!({"status": "error", "errorType": "unavailable", "error": "TSDB not ready"});
            let answer = hyper::Response::builder()
                .status(503)
                .body(body.to_string());
            return answer.expect("an answer");
        };
        let (name, rest) = query.split_once('{').expect("a selector");
        let version = usize::from(rest.contains("\"two\""));
        let [requests, errors, retries] = scrape[version];
        let metric = |pod: &str, more: Value| {
            let mut metric = json!({"__name__": name, "instance": pod});
            let labels = more.as_object().expect("labels").clone();
            metric.as_object_mut().expect("labels").extend(labels);
            metric
        };
        let value = |value: u64| json!([1.5, value.to_string()]);
        let half = |of: u64, pod: usize| if pod == 0 { of / 2 } else { of - of / 2 };
        let mut result = Vec::new();
        for (pod, instance) in ["a:9901", "b:9901"].into_iter().enumerate() {
            let counted = match name {
                "envoy_cluster_upstream_rq_completed" => requests,
                "envoy_cluster_upstream_rq_xx" => {
                    assert!(rest.contains("envoy_response_code_class=\"5\""), "{query}");
                    errors
                }
                "envoy_cluster_upstream_rq_retry" => retries,
                "envoy_cluster_upstream_rq_time_bucket" => {
                    for le in ["10", "25", "+Inf"] {
                        let below = if le == "10" { requests / 2 } else { requests };
                        result.push(json!({"metric": metric(instance, json!({"le": le})), "value": value(half(below, pod))}));
                    }
                    continue;
                }
                other => panic!("{other}"),
            };
            result.push(
                json!({"metric": metric(instance, json!({})), "value": value(half(counted, pod))}),
            );
        }
        let data = json!({"resultType": "vector", "result": result});
        let body = json!({"status": "success", "data": data});
        hyper::Response::new(body.to_string())
    }

    #[tokio::test]
    async fn a_living_server_is_read_through_troubles_and_restarts() {
        let scrapes = Scrapes::default();
        let at = serve(scrapes.clone()).await;
        let mut prometheus = prometheus_at(&format!("http://{at}/"), &["one", "two"]);
        let set = |scrape: Option<[[u64; 3]; 2]>| {
            let mut known = scrapes.lock().expect("no panic while locked");
            known.clear();
            known.extend(scrape);
        };
        let mut next = async |scrape: Option<[[u64; 3]; 2]>| {
            set(scrape);
            // Its own interval has nothing to do with what it reads.
            prometheus.due = None;
            prometheus.next().await
        };
        let first = next(Some([[1000, 10, 5], [0, 0, 0]]))
            .await
            .expect("a tick");
        assert_eq!(
            first.stable.requests, 0,
            "what was before the run is not its own"
        );
        let second = next(Some([[1100, 14, 6], [20, 3, 1]]))
            .await
            .expect("a tick");
        assert_eq!((second.stable.requests, second.stable.errors), (101, 5));
        assert_eq!((second.canary.requests, second.canary.errors), (21, 4));
        let latencies: u32 = second.stable.latencies.iter().map(|(_, count)| count).sum();
        assert_eq!(latencies, 100);
        let why = next(None).await.expect_err("it answers with an error");
        assert!(
            why.contains("503") && why.contains("TSDB not ready"),
            "{why}"
        );
        // Back, and the canary's proxies were made anew meanwhile.
        let third = next(Some([[1200, 14, 6], [8, 0, 0]]))
            .await
            .expect("a tick");
        assert_eq!((third.stable.requests, third.stable.errors), (100, 0));
        assert_eq!((third.canary.requests, third.canary.errors), (8, 0));
    }

    #[tokio::test]
    async fn a_server_that_is_down_is_an_error() {
        let mut prometheus = prometheus();
        let why = prometheus.next().await.expect_err("nobody listens there");
        assert!(why.contains("Prometheus at 127.0.0.1"), "{why}");
    }
}
