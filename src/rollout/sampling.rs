//! Real requests through the load balancer, counted by the version that answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use serde::Serialize;
use serde_json::Value;

use crate::engine::{Context, Failure, FailureKind, Result};

/// An answer beyond this is not read on: a version stands at its beginning or nowhere.
const LARGEST: usize = 1 << 20;

/// How to sample.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// How many requests.
    pub requests: u64,
    /// How many of them at once.
    pub concurrency: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// How long all of them may take.
    pub deadline: Duration,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            requests: 1000,
            concurrency: 32,
            timeout: Duration::from_secs(20),
            deadline: Duration::from_secs(300),
        }
    }
}

/// What came from one version.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VersionSample {
    /// Requests it answered or took part in.
    pub requests: u64,
    /// Those of them that ended with a status of 500 or above.
    pub errors: u64,
    /// The median of their durations, in milliseconds.
    pub p50_millis: f64,
    /// The 99th percentile of their durations, in milliseconds.
    pub p99_millis: f64,
}

/// What a sample saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Requests sent.
    pub requests: u64,
    /// By the version of the service that took part.
    pub versions: BTreeMap<String, VersionSample>,
    /// Requests whose answer named no version of the service, by what came instead: `HTTP 503`, `timed out`.
    pub unrecognised: BTreeMap<String, u64>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Sample {
    /// Requests whose version is known.
    pub fn recognised(&self) -> u64 {
        self.versions.values().map(|version| version.requests).sum()
    }

    /// Requests that one version took part in.
    pub fn of(&self, version: &str) -> u64 {
        self.versions
            .get(version)
            .map_or(0, |version| version.requests)
    }
}

/// The version of `service` that an answer names: in its JSON (`{"service": …, "version": …, "upstream": {…}}`, at any
/// depth) or in its header `x-service-version: frontend=v1,backend=v2`.
pub fn versions_in(service: &str, body: &Value, header: Option<&str>) -> Option<String> {
    fn find(service: &str, body: &Value) -> Option<String> {
        match body {
            Value::Object(fields) => {
                if fields.get("service").and_then(Value::as_str) == Some(service)
                    && let Some(version) = fields.get("version").and_then(Value::as_str)
                {
                    return Some(version.to_owned());
                }
                fields.values().find_map(|inner| find(service, inner))
            }
            Value::Array(items) => items.iter().find_map(|inner| find(service, inner)),
            _ => None,
        }
    }
    find(service, body).or_else(|| {
        header?.split(',').find_map(|part| {
            let (name, version) = part.trim().split_once('=')?;
            (name == service).then(|| version.to_owned())
        })
    })
}

/// One request's end.
pub(super) struct Answer {
    /// The version that took part.
    pub version: Option<String>,
    /// The status, or why there was none.
    pub end: Result<u16, String>,
    /// How long it took.
    pub took: Duration,
}

/// Sends requests to `url` and counts the versions of `service` that took part. Each request has a connection of its
/// own, as from that many clients; none is sent twice.
///
/// # Errors
/// `Cancelled` when everything has to stop; `Input` for what is not a URL. Requests that fail are counted, not errors.
pub async fn sample(cx: &Context, url: &str, service: &str, sampling: &Sampling) -> Result<Sample> {
    let client = client(sampling.timeout)?;
    let url: reqwest::Url = url
        .parse()
        .map_err(|error| Failure::of(FailureKind::Input, url.to_owned(), error))?;
    let began = Instant::now();
    let mut answers = stream::iter(0..sampling.requests)
        .map(|_| ask(&client, &url, service))
        .buffer_unordered(sampling.concurrency.max(1));
    let mut taken: Vec<Answer> = Vec::new();
    let deadline = tokio::time::sleep(sampling.deadline);
    tokio::pin!(deadline);
    let mut told = Instant::now();
    loop {
        tokio::select! {
            answer = answers.next() => match answer {
                Some(answer) => taken.push(answer),
                None => break,
            },
            () = &mut deadline => break,
            () = cx.cancellation().interrupted() => {
                return Err(Failure::of(FailureKind::Cancelled, "sampling", "stopped while sampling")
                    .hint("traffic stays as it is: `meshctl canary status` tells how"));
            }
        }
        if told.elapsed() >= Duration::from_millis(200) {
            cx.progress(format!("{} of {} requests", taken.len(), sampling.requests));
            told = Instant::now();
        }
    }
    Ok(count(taken, began.elapsed()))
}

pub(crate) fn client(timeout: Duration) -> Result<reqwest::Client> {
    // Refused where a provider is installed already: then that one serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(timeout.min(Duration::from_secs(5)))
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        // A proxy in between would be what is measured.
        .no_proxy()
        .user_agent(concat!("meshctl/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Failure::new("sampling", error))
}

pub(super) async fn ask(client: &reqwest::Client, url: &reqwest::Url, service: &str) -> Answer {
    let began = Instant::now();
    let (end, version) = match answer(client.get(url.clone())).await {
        Ok((status, body, header)) => (Ok(status), versions_in(service, &body, header.as_deref())),
        Err(why) => (Err(why.to_owned()), None),
    };
    Answer {
        version,
        end,
        took: began.elapsed(),
    }
}

/// The status of an answer, its body where that is JSON, and the versions that its header names; or why there is none.
pub(crate) async fn answer(
    request: reqwest::RequestBuilder,
) -> std::result::Result<(u16, Value, Option<String>), &'static str> {
    let asked = async {
        let mut response = request.send().await?;
        let status = response.status().as_u16();
        let header = response.headers().get("x-service-version");
        let header = header
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() < LARGEST {
                body.extend_from_slice(&chunk);
            }
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok::<_, reqwest::Error>((status, body, header))
    };
    asked.await.map_err(|error| why(&error))
}

pub(super) fn why(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timed out"
    } else if error.is_connect() {
        "no connection"
    } else {
        "connection broken"
    }
}

fn count(answers: Vec<Answer>, took: Duration) -> Sample {
    let mut sample = Sample {
        requests: answers.len() as u64,
        seconds: took.as_secs_f64(),
        ..Sample::default()
    };
    let mut durations: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for answer in answers {
        let Some(version) = answer.version else {
            let what = match answer.end {
                Ok(status) => format!("HTTP {status}"),
                Err(why) => why,
            };
            *sample.unrecognised.entry(what).or_default() += 1;
            continue;
        };
        let counted = sample.versions.entry(version.clone()).or_default();
        counted.requests += 1;
        if answer.end.is_ok_and(|status| status >= 500) {
            counted.errors += 1;
        }
        durations
            .entry(version)
            .or_default()
            .push(answer.took.as_secs_f64() * 1000.0);
    }
    for (version, mut millis) in durations {
        millis.sort_by(f64::total_cmp);
        let at = |part: f64| millis[((millis.len() - 1) as f64 * part).round() as usize];
        if let Some(counted) = sample.versions.get_mut(&version) {
            counted.p50_millis = at(0.5);
            counted.p99_millis = at(0.99);
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_found_in_the_answer_or_in_its_header() {
        let body = json!({"service": "frontend", "version": "v1", "upstream":
            {"service": "backend", "version": "v2", "upstream": {"service": "database", "version": "v1"}}});
        assert_eq!(versions_in("backend", &body, None).as_deref(), Some("v2"));
        assert_eq!(versions_in("frontend", &body, None).as_deref(), Some("v1"));
        assert_eq!(versions_in("other", &body, None), None);
        let header = Some("frontend=v1, backend=v2,database=v1");
        assert_eq!(
            versions_in("backend", &Value::Null, header).as_deref(),
            Some("v2")
        );
        assert_eq!(versions_in("backend", &json!("text"), None), None);
    }

    #[test]
    fn failures_are_counted_by_what_they_were() {
        let answer = |version: Option<&str>, end: Result<u16, &str>| Answer {
            version: version.map(str::to_owned),
            end: end.map_err(str::to_owned),
            took: Duration::from_millis(5),
        };
        let sample = count(
            vec![
                answer(Some("v1"), Ok(200)),
                answer(Some("v1"), Ok(502)),
                answer(Some("v2"), Ok(200)),
                answer(None, Ok(503)),
                answer(None, Err("timed out")),
            ],
            Duration::from_secs(1),
        );
        assert_eq!(sample.requests, 5);
        assert_eq!(sample.recognised(), 3);
        assert_eq!(
            (sample.versions["v1"].requests, sample.versions["v1"].errors),
            (2, 1)
        );
        assert_eq!(sample.unrecognised["HTTP 503"], 1);
        assert_eq!(sample.unrecognised["timed out"], 1);
    }
}
