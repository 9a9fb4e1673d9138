//! Real requests through the load balancer, each with a trace of its own, so that what becomes of it can be looked up.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::stream::{self, StreamExt};
use serde::Serialize;

use crate::config::Environment;
use crate::engine::{Context, Failure, FailureKind, Result};
use crate::rollout::{sampling, versions_in};

/// Requests at once.
const CONCURRENCY: usize = 8;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One request and its end.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// The id of its trace.
    pub trace: String,
    /// The status, or why there was none.
    pub end: std::result::Result<u16, &'static str>,
    /// The version of each service that took part, as far as the answer names them.
    pub versions: BTreeMap<String, String>,
}

/// What was sent.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    /// Where to.
    pub url: String,
    /// What stands in each request's query, and so in the proxies' access logs.
    pub mark: String,
    /// When the first was sent.
    pub began: SystemTime,
    /// The requests.
    pub sent: Vec<Sent>,
}

/// The ends of requests, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ends {
    /// How many were sent.
    pub requests: u64,
    /// How many were answered with a success.
    pub succeeded: u64,
    /// The others, by what they were.
    pub failures: BTreeMap<String, u64>,
}

impl Traffic {
    /// How the requests ended.
    pub fn ends(&self) -> Ends {
        let mut ends = Ends::default();
        for sent in &self.sent {
            ends.requests += 1;
            let how = match sent.end {
                Ok(200..=299) => {
                    ends.succeeded += 1;
                    continue;
                }
                Ok(status) => format!("HTTP {status}"),
                Err(why) => why.to_owned(),
            };
            *ends.failures.entry(how).or_default() += 1;
        }
        ends
    }

    /// Traces to look at: some of each combination of versions that answered with a success.
    pub fn traces(&self, each: usize) -> Vec<&Sent> {
        let mut taken: BTreeMap<&BTreeMap<String, String>, usize> = BTreeMap::new();
        let succeeded = self
            .sent
            .iter()
            .filter(|sent| matches!(sent.end, Ok(200..=299)));
        succeeded
            .filter(|sent| {
                let count = taken.entry(&sent.versions).or_default();
                *count += 1;
                *count <= each
            })
            .collect()
    }
}

fn random(digits: usize) -> String {
    (0..digits).map(|_| fastrand::digit(16)).collect()
}

/// Sends that many requests to the environment's entrance.
///
/// # Errors
/// What is no URL; an interrupted run.
pub(super) async fn send(
    cx: &Context,
    environment: &Environment,
    url: &str,
    requests: u64,
) -> Result<Traffic> {
    let client = sampling::client(PATIENCE)?;
    let mark = format!("meshctl-verify={}", random(16));
    let mut target: reqwest::Url = url
        .parse()
        .map_err(|error| Failure::of(FailureKind::Input, url, error))?;
    target.set_query(Some(&mark));
    let began = SystemTime::now();
    let one = |_| {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let trace = format!("1-{:08x}-{}", seconds.as_secs(), random(24));
        let request = client
            .get(target.clone())
            .header("x-amzn-trace-id", format!("Root={trace};Sampled=1"));
        async move {
            let (end, versions) = match sampling::answer(request).await {
                Err(why) => (Err(why), BTreeMap::new()),
                Ok((status, body, header)) => {
                    let named = environment.services.keys().filter_map(|service| {
                        let version = versions_in(service, &body, header.as_deref())?;
                        Some((service.clone(), version))
                    });
                    (Ok(status), named.collect())
                }
            };
            Sent {
                trace,
                end,
                versions,
            }
        }
    };
    let mut answers = stream::iter(0..requests)
        .map(one)
        .buffer_unordered(CONCURRENCY);
    let mut sent = Vec::new();
    loop {
        tokio::select! {
            answer = answers.next() => match answer {
                Some(answer) => sent.push(answer),
                None => break,
            },
            () = cx.cancellation().interrupted() => {
                return Err(Failure::of(FailureKind::Cancelled, "verify", "stopped while sending requests"));
            }
        }
        if sent.len() % 50 == 0 {
            cx.progress(format!("{} of {requests} requests", sent.len()));
        }
    }
    Ok(Traffic {
        url: url.to_owned(),
        mark,
        began,
        sent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_and_traces_taken_of_every_path() {
        let sent = |end, version: &str| Sent {
            trace: random(24),
            end,
            versions: BTreeMap::from([("backend".to_owned(), version.to_owned())]),
        };
        let traffic = Traffic {
            url: String::new(),
            mark: String::new(),
            began: UNIX_EPOCH,
            sent: vec![
                sent(Ok(200), "v1"),
                sent(Ok(200), "v1"),
                sent(Ok(200), "v1"),
                sent(Ok(200), "v2"),
                sent(Ok(503), "v2"),
                sent(Err("timed out"), "v2"),
            ],
        };
        let ends = traffic.ends();
        assert_eq!((ends.requests, ends.succeeded), (6, 4));
        assert_eq!(ends.failures["HTTP 503"], 1);
        assert_eq!(ends.failures["timed out"], 1);
        assert_eq!(traffic.traces(2).len(), 3);
    }
}
