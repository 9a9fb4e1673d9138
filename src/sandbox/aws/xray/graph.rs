//! The service graph: services as nodes, calls between them as edges, with counts and response times.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::segment::Segment;

/// Name and type.
type Key = (String, Option<String>);

#[derive(Default)]
struct Statistics {
    ok: u64,
    error: u64,
    throttle: u64,
    fault: u64,
    seconds: f64,
    histogram: BTreeMap<u64, u64>,
    start: Option<f64>,
    end: f64,
}

impl Statistics {
    fn add(&mut self, segment: &Segment) {
        match () {
            () if segment.fault => self.fault += 1,
            () if segment.throttle => self.throttle += 1,
            () if segment.error => self.error += 1,
            () => self.ok += 1,
        }
        self.seconds += segment.duration();
        *self
            .histogram
            .entry((segment.duration() * 1000.0).round() as u64)
            .or_default() += 1;
        self.start = Some(
            self.start
                .map_or(segment.start, |start| start.min(segment.start)),
        );
        self.end = self.end.max(segment.end);
    }

    fn show(&self) -> Value {
        json!({
            "OkCount": self.ok,
            "ErrorStatistics": {
                "ThrottleCount": self.throttle,
                "OtherCount": self.error,
                "TotalCount": self.throttle + self.error,
            },
            "FaultStatistics": {"OtherCount": self.fault, "TotalCount": self.fault},
            "TotalCount": self.ok + self.error + self.throttle + self.fault,
            "TotalResponseTime": self.seconds,
        })
    }

    fn histogram(&self) -> Value {
        self.histogram
            .iter()
            .map(|(millis, count)| json!({"Value": *millis as f64 / 1000.0, "Count": count}))
            .collect()
    }
}

#[derive(Default)]
struct Node {
    root: bool,
    statistics: Statistics,
    edges: BTreeMap<Key, Statistics>,
}

/// The services of some traces.
pub(super) fn services(traces: impl Iterator<Item = Vec<Segment>>, account: &str) -> Vec<Value> {
    let mut nodes: BTreeMap<Key, Node> = BTreeMap::new();
    for segments in traces {
        add_trace(&mut nodes, &segments);
    }
    let numbers: HashMap<&Key, usize> = nodes
        .keys()
        .enumerate()
        .map(|(number, key)| (key, number))
        .collect();
    nodes
        .iter()
        .map(|(key, node)| {
            let edges: Vec<Value> = node
                .edges
                .iter()
                .filter_map(|(to, statistics)| {
                    Some(json!({
                        "ReferenceId": numbers.get(to)?,
                        "StartTime": statistics.start,
                        "EndTime": statistics.end,
                        "SummaryStatistics": statistics.show(),
                        "ResponseTimeHistogram": statistics.histogram(),
                        "Aliases": [],
                    }))
                })
                .collect();
            let (name, kind) = key;
            json!({
                "ReferenceId": numbers[key],
                "Name": name,
                "Names": [name],
                "Root": node.root.then_some(true),
                "AccountId": account,
                "Type": kind,
                "State": if kind.as_deref() == Some("client") { "unknown" } else { "active" },
                "StartTime": node.statistics.start,
                "EndTime": node.statistics.end,
                "Edges": edges,
                "SummaryStatistics": node.statistics.show(),
                "DurationHistogram": node.statistics.histogram(),
                "ResponseTimeHistogram": node.statistics.histogram(),
            })
        })
        .collect()
}

fn add_trace(nodes: &mut BTreeMap<Key, Node>, segments: &[Segment]) {
    let by_id: HashMap<&str, &Segment> = segments
        .iter()
        .map(|segment| (segment.id.as_str(), segment))
        .collect();
    let own = |segment: &Segment| (segment.name.clone(), segment.origin.clone());
    // The service whose work a segment is, or is part of.
    let service = |segment: &Segment| -> Option<Key> {
        let mut at = segment;
        for _ in 0..segments.len() {
            if !at.is_subsegment {
                return Some(own(at));
            }
            at = by_id.get(at.parent.as_deref()?)?;
        }
        None
    };
    for segment in segments {
        let parent = segment
            .parent
            .as_deref()
            .and_then(|parent| by_id.get(parent));
        if segment.is_subsegment {
            let answered = segments
                .iter()
                .any(|other| other.parent.as_deref() == Some(&segment.id) && !other.is_subsegment);
            // A call whose other end sends no segments shows as a service of its own.
            if segment.namespace.is_some()
                && !answered
                && let Some(from) = service(segment)
            {
                let to = (segment.name.clone(), segment.namespace.clone());
                let node = nodes.entry(to.clone()).or_default();
                node.statistics.add(segment);
                nodes
                    .entry(from)
                    .or_default()
                    .edges
                    .entry(to)
                    .or_default()
                    .add(segment);
            }
            continue;
        }
        let key = own(segment);
        let node = nodes.entry(key.clone()).or_default();
        node.statistics.add(segment);
        let from = match parent.and_then(|parent| service(parent)) {
            Some(from) => from,
            None => {
                node.root = true;
                (segment.name.clone(), Some("client".to_owned()))
            }
        };
        if from != key {
            let edges = &mut nodes.entry(from).or_default().edges;
            edges.entry(key).or_default().add(segment);
        }
    }
}
