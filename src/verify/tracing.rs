//! Traces: each request's segments are one trace, and X-Ray's service graph holds every version that had traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use serde_json::{Value, json};

use super::traffic::{Sent, Traffic};
use super::{Finding, Verify, callers_of, late_is_fine, lock, reached};
use crate::check::Verdict;
use crate::clients::aws::failed;
use crate::engine::{Context, FailureKind, Poll, Result, Wait};

/// Traces that are looked at of each path through the versions.
const TRACES: usize = 3;
/// Traces of one question, as the API has it.
const BATCH: usize = 5;
/// What to do.
const HINT: &str = "the proxies send segments to the X-Ray daemon beside them over UDP, and it needs xray:PutTraceSegments: see the log of the container xray-daemon, and that services hand on the header x-amzn-trace-id";

/// What is known of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trace {
    /// The names of its segments.
    names: BTreeSet<String>,
    segments: usize,
    /// Segments whose parent is not in the trace, beside the one that it begins with.
    orphans: usize,
}

impl Trace {
    /// Reads segment documents.
    fn of<'d>(documents: impl Iterator<Item = &'d str>) -> Self {
        let mut ids = BTreeSet::new();
        let mut parents = Vec::new();
        let mut trace = Trace::default();
        for document in documents {
            let Ok(document) = serde_json::from_str::<Value>(document) else {
                continue;
            };
            // Calls may be embedded in the segment that makes them.
            let mut pending = vec![&document];
            while let Some(part) = pending.pop() {
                ids.insert(part["id"].as_str().unwrap_or_default().to_owned());
                pending.extend(part["subsegments"].as_array().into_iter().flatten());
            }
            if document["type"] != "subsegment" {
                trace
                    .names
                    .insert(document["name"].as_str().unwrap_or_default().to_owned());
            }
            trace.segments += 1;
            parents.push(document["parent_id"].as_str().map(str::to_owned));
        }
        let unknown =
            |parent: &Option<String>| parent.as_ref().is_none_or(|parent| !ids.contains(parent));
        trace.orphans = parents
            .iter()
            .filter(|parent| unknown(parent))
            .count()
            .saturating_sub(1);
        trace
    }
}

/// A node of the service graph: its name and the names that it calls.
type Graph = BTreeMap<String, BTreeSet<String>>;

impl Verify<'_> {
    /// The names under which the versions of a service trace.
    fn names(&self, service: &str) -> Vec<(String, String)> {
        let service = &self.environment.services[service];
        let versions = service.versions.iter();
        versions
            .map(|version| (version.name.clone(), self.mesh.traced_as(service, version)))
            .collect()
    }

    /// Looks the requests' traces up, and the service graph of their time.
    ///
    /// # Errors
    /// An interrupted run.
    pub(super) async fn check_tracing(
        &self,
        cx: &Context,
        traffic: &Traffic,
    ) -> Result<Vec<Finding>> {
        let about = "environment";
        if !self.environment.tracing.xray {
            let why = || Verdict::Skipped("tracing is off in the environment's file".into());
            let skipped = |code| Finding::new(code, about, why(), HINT, Value::Null);
            return Ok(vec![skipped("traces"), skipped("service-graph")]);
        }
        let chosen = traffic.traces(TRACES);
        if chosen.is_empty() {
            let why =
                || Verdict::Failed("no request succeeded, so there is nothing to trace".into());
            let failed = |code| Finding::new(code, about, why(), HINT, Value::Null);
            return Ok(vec![failed("traces"), failed("service-graph")]);
        }
        let traces = Mutex::new(BTreeMap::new());
        let wait = Wait::new(format!("{} traces", chosen.len()), self.patience);
        let waited = cx
            .wait_for(wait, || async {
                let found = self.traces(&chosen).await?;
                let missing = chosen
                    .iter()
                    .filter(|sent| self.missing(sent, found.get(&sent.trace)).is_some())
                    .count();
                *lock(&traces) = found;
                Ok(match missing {
                    0 => Poll::Ready(()),
                    count => Poll::Pending(format!("{count} are not complete")),
                })
            })
            .await;
        if let Some(finding) = self.unanswered(&waited) {
            return Ok(vec![finding]);
        }
        late_is_fine(waited)?;
        let traces = std::mem::take(&mut *lock(&traces));
        let graph = Mutex::new(Graph::new());
        let wait = Wait::new("service graph", self.patience);
        let waited = cx
            .wait_for(wait, || async {
                let found = self.graph(traffic.began).await?;
                let lacking = self.lacking(&found, traffic);
                *lock(&graph) = found;
                Ok(match lacking.first() {
                    None => Poll::Ready(()),
                    Some(first) => Poll::Pending(first.clone()),
                })
            })
            .await;
        if let Some(finding) = self.unanswered(&waited) {
            return Ok(vec![finding]);
        }
        late_is_fine(waited)?;
        let graph = std::mem::take(&mut *lock(&graph));
        Ok(vec![
            self.judge_traces(&chosen, &traces),
            self.judge_graph(&graph, traffic),
        ])
    }

    /// X-Ray itself does not answer.
    fn unanswered(&self, waited: &Result<()>) -> Option<Finding> {
        let failure = waited.as_ref().err()?;
        if matches!(failure.kind, FailureKind::Timeout | FailureKind::Cancelled) {
            return None;
        }
        let verdict = Verdict::Failed(failure.to_string());
        let hint = failure.hint.as_deref().unwrap_or(HINT);
        Some(Finding::new(
            "traces",
            "environment",
            verdict,
            hint,
            Value::Null,
        ))
    }

    async fn traces(&self, chosen: &[&Sent]) -> Result<BTreeMap<String, Trace>> {
        let mut found = BTreeMap::new();
        for batch in chosen.chunks(BATCH) {
            let ids = batch.iter().map(|sent| sent.trace.clone()).collect();
            let mut pages = self
                .clients
                .xray
                .batch_get_traces()
                .set_trace_ids(Some(ids))
                .into_paginator()
                .items()
                .send();
            let mut documents: BTreeMap<String, Vec<String>> = BTreeMap::new();
            while let Some(trace) = pages.next().await {
                let trace = trace.map_err(failed("traces"))?;
                let id = trace.id().unwrap_or_default().to_owned();
                let segments = trace.segments().iter();
                let segments = segments.filter_map(|segment| segment.document().map(str::to_owned));
                documents.entry(id).or_default().extend(segments);
            }
            let read = documents
                .into_iter()
                .map(|(id, documents)| (id, Trace::of(documents.iter().map(String::as_str))));
            found.extend(read);
        }
        Ok(found)
    }

    async fn graph(&self, began: SystemTime) -> Result<Graph> {
        let mut pages = self
            .clients
            .xray
            .get_service_graph()
            .start_time(DateTime::from(began))
            .end_time(DateTime::from(SystemTime::now() + Duration::from_secs(1)))
            .into_paginator()
            .items()
            .send();
        let (mut names, mut edges) = (BTreeMap::new(), Vec::new());
        while let Some(service) = pages.next().await {
            let service = service.map_err(failed("service graph"))?;
            let name = service.name().unwrap_or_default().to_owned();
            let is_client = service.r#type() == Some("client");
            if !is_client {
                let to = service
                    .edges()
                    .iter()
                    .filter_map(|edge| edge.reference_id());
                edges.push((name.clone(), to.collect::<Vec<_>>()));
            }
            names.insert(service.reference_id().unwrap_or_default(), name);
        }
        let edges = edges.into_iter().map(|(from, to)| {
            let to = to.iter().filter_map(|id| names.get(id).cloned());
            (from, to.collect())
        });
        Ok(edges.collect())
    }

    /// What a trace lacks of what its request met.
    fn missing(&self, sent: &Sent, trace: Option<&Trace>) -> Option<String> {
        let Some(trace) = trace else {
            return Some("is not there".into());
        };
        for service in reached(self.environment) {
            let versions = self.names(&service.name);
            let met = sent.versions.get(&service.name);
            let mut names = versions
                .iter()
                .filter(|(version, _)| met.is_none_or(|met| met == version));
            if !names.any(|(_, name)| trace.names.contains(name)) {
                let version = met.map(|met| format!(" {met}")).unwrap_or_default();
                return Some(format!("has no segment of {}{version}", service.name));
            }
        }
        (trace.orphans > 0).then(|| format!("has {} segments that nothing joins", trace.orphans))
    }

    fn judge_traces(&self, chosen: &[&Sent], traces: &BTreeMap<String, Trace>) -> Finding {
        let mut wrong = Vec::new();
        let mut evidence = Vec::new();
        for sent in chosen {
            let trace = traces.get(&sent.trace);
            let lacks = self.missing(sent, trace);
            evidence.push(json!({
                "trace": sent.trace,
                "met": sent.versions,
                "segments": trace.map(|trace| trace.segments),
                "names": trace.map(|trace| &trace.names),
                "trouble": lacks,
            }));
            wrong.extend(lacks.map(|lacks| format!("trace {} {lacks}", sent.trace)));
        }
        let verdict = match wrong.first() {
            None => Verdict::Passed,
            Some(first) => Verdict::Failed(format!(
                "{} of {} traces are incomplete: {first}",
                wrong.len(),
                chosen.len()
            )),
        };
        Finding::new(
            "traces",
            "environment",
            verdict,
            HINT,
            json!({"traces": evidence}),
        )
    }

    /// What the graph lacks of what the requests met.
    fn lacking(&self, graph: &Graph, traffic: &Traffic) -> Vec<String> {
        let mut lacking = Vec::new();
        for service in reached(self.environment) {
            let met = |version: &String| {
                let mut sent = traffic.sent.iter();
                sent.any(|sent| sent.versions.get(&service.name) == Some(version))
            };
            let versions = self.names(&service.name);
            // Answers that name no versions leave the stable one, which always has traffic or is one of two.
            let nothing_named = !versions.iter().any(|(version, _)| met(version));
            let expected: Vec<_> = match nothing_named {
                true => versions
                    .iter()
                    .filter(|(_, name)| graph.contains_key(name))
                    .collect(),
                false => versions
                    .iter()
                    .filter(|(version, _)| met(version))
                    .collect(),
            };
            if expected.is_empty() {
                lacking.push(format!("there is no node of {}", service.name));
            }
            for (version, name) in expected {
                if !graph.contains_key(name) {
                    lacking.push(format!(
                        "there is no node of {} {version} ({name})",
                        service.name
                    ));
                    continue;
                }
                for caller in callers_of(self.environment, service) {
                    let from = self.names(caller);
                    let calls = |(_, from): &(String, String)| {
                        graph.get(from).is_some_and(|to| to.contains(name))
                    };
                    if !from.iter().any(calls) {
                        lacking.push(format!(
                            "nothing joins {caller} to {} {version}",
                            service.name
                        ));
                    }
                }
            }
        }
        lacking
    }

    fn judge_graph(&self, graph: &Graph, traffic: &Traffic) -> Finding {
        let lacking = self.lacking(graph, traffic);
        let verdict = match lacking.is_empty() {
            true => Verdict::Passed,
            false => Verdict::Failed(lacking.join("; ")),
        };
        Finding::new(
            "service-graph",
            "environment",
            verdict,
            HINT,
            json!({"calls": graph}),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_joined_by_their_parents() {
        let documents = [
            r#"{"id":"a","name":"frontend"}"#,
            r#"{"id":"b","name":"frontend","parent_id":"a"}"#,
            r#"{"id":"c","name":"call","type":"subsegment","parent_id":"b"}"#,
            r#"{"id":"d","name":"backend","parent_id":"c","subsegments":[{"id":"e","name":"call"}]}"#,
            r#"{"id":"f","name":"database","parent_id":"e"}"#,
        ];
        let trace = Trace::of(documents.into_iter());
        assert_eq!((trace.segments, trace.orphans), (5, 0));
        assert_eq!(
            trace.names,
            ["backend", "database", "frontend"].map(String::from).into()
        );
        // Without the call the backend's part stands alone.
        let torn = documents
            .into_iter()
            .filter(|document| !document.contains("subsegment\""));
        assert_eq!(Trace::of(torn).orphans, 1);
        assert_eq!(Trace::of(["nonsense"].into_iter()), Trace::default());
    }
}
