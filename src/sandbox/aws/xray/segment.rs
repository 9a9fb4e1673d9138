//! Segment documents, as far as summaries and graphs look into them.
//!
//! Source: "AWS X-Ray segment documents", AWS X-Ray Developer Guide.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

/// A segment, or a subsegment that was sent or embedded.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    pub trace_id: String,
    pub id: String,
    pub parent: Option<String>,
    pub name: String,
    /// `AWS::AppMesh::Proxy`.
    pub origin: Option<String>,
    /// Whether it is work within a service, such as a call it makes, rather than a service's own.
    pub is_subsegment: bool,
    /// `remote` or `aws` for a subsegment that calls another service.
    pub namespace: Option<String>,
    pub start: f64,
    pub end: f64,
    pub in_progress: bool,
    pub fault: bool,
    pub error: bool,
    pub throttle: bool,
    pub method: Option<String>,
    pub url: Option<String>,
    pub status: Option<i64>,
    pub user_agent: Option<String>,
    pub client_ip: Option<String>,
    pub annotations: Map<String, Value>,
    pub resource_arn: Option<String>,
}

impl Segment {
    /// Reads a document. The error has the segment's id, where that can be read.
    pub(super) fn parse(document: &str) -> Result<Self, (Option<String>, String)> {
        let value: Value = serde_json::from_str(document).map_err(|error| {
            (
                None,
                format!("Invalid segment. ErrorCode: ParseError {error}"),
            )
        })?;
        let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
        let fail = |message: &str| (id.clone(), message.to_owned());
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
        };
        let id = id
            .clone()
            .filter(|id| hex(id, 16))
            .ok_or_else(|| fail("Invalid segment. ErrorCode: InvalidId"))?;
        let trace_id = value["trace_id"].as_str().unwrap_or_default();
        let valid_trace = matches!(trace_id.split('-').collect::<Vec<_>>()[..], ["1", time, unique] if hex(time, 8) && hex(unique, 24));
        if !valid_trace {
            return Err(fail("Invalid segment. ErrorCode: InvalidTraceId"));
        }
        let name = value["name"]
            .as_str()
            .filter(|name| !name.is_empty() && name.len() <= 200);
        if name.is_none() {
            return Err(fail("Invalid segment. ErrorCode: MissingName"));
        }
        if value["start_time"].as_f64().is_none() {
            return Err(fail("Invalid segment. ErrorCode: MissingStartTime"));
        }
        let in_progress = value["in_progress"] == true;
        if value["end_time"].as_f64().is_none() && !in_progress {
            return Err(fail("Invalid segment. ErrorCode: MissingEndTime"));
        }
        let is_subsegment = value["type"] == "subsegment";
        if is_subsegment && value["parent_id"].as_str().is_none() {
            return Err(fail("Invalid segment. ErrorCode: MissingParentId"));
        }
        Ok(Segment {
            id,
            ..read_one(&value, trace_id, None, is_subsegment)
        })
    }

    /// The service that it belongs to, as X-Ray shows services.
    pub(super) fn service(&self, account: &str) -> Value {
        json!({"Name": self.name, "Names": [self.name], "AccountId": account, "Type": self.origin})
    }

    /// Seconds.
    pub(super) fn duration(&self) -> f64 {
        (self.end - self.start).max(0.0)
    }
}

fn read_one(value: &Value, trace_id: &str, parent: Option<&str>, is_subsegment: bool) -> Segment {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let http = &value["http"];
    let start = value["start_time"].as_f64().unwrap_or_default();
    let status = http["response"]["status"].as_i64();
    let said = |flag: &str| value[flag] == true;
    Segment {
        trace_id: trace_id.to_owned(),
        id: text(&value["id"]).unwrap_or_default(),
        parent: parent
            .map(str::to_owned)
            .or_else(|| text(&value["parent_id"])),
        name: text(&value["name"]).unwrap_or_default(),
        origin: text(&value["origin"]),
        is_subsegment,
        namespace: text(&value["namespace"]),
        start,
        end: value["end_time"].as_f64().unwrap_or(start),
        in_progress: value["in_progress"] == true,
        // Senders that only give a status leave the verdict to X-Ray.
        fault: said("fault") || status.is_some_and(|status| status >= 500),
        error: said("error") || status.is_some_and(|status| (400..500).contains(&status)),
        throttle: said("throttle") || status == Some(429),
        method: text(&http["request"]["method"]),
        url: text(&http["request"]["url"]),
        status,
        user_agent: text(&http["request"]["user_agent"]),
        client_ip: text(&http["request"]["client_ip"]),
        annotations: value["annotations"]
            .as_object()
            .cloned()
            .unwrap_or_default(),
        resource_arn: text(&value["resource_arn"])
            .or_else(|| text(&value["aws"]["app_mesh"]["virtual_node_arn"])),
    }
}

/// The segments of a trace, embedded subsegments included.
pub(super) fn read(trace: &super::Trace) -> Vec<Segment> {
    let mut all = Vec::with_capacity(trace.len());
    for document in trace.values() {
        let Ok(value) = serde_json::from_str::<Value>(document) else {
            continue;
        };
        let trace_id = value["trace_id"].as_str().unwrap_or_default();
        let segment = read_one(&value, trace_id, None, value["type"] == "subsegment");
        // Nesting as deep as a document allows is walked without recursion.
        let mut pending: Vec<(&Value, String)> = vec![(&value, segment.id.clone())];
        all.push(segment);
        while let Some((parent, parent_id)) = pending.pop() {
            for child in parent["subsegments"].as_array().into_iter().flatten() {
                let segment = read_one(child, trace_id, Some(&parent_id), true);
                pending.push((child, segment.id.clone()));
                all.push(segment);
            }
        }
    }
    all.sort_by(|a, b| a.start.total_cmp(&b.start));
    all
}

/// The segment that a trace begins with.
pub(super) fn root(segments: &[Segment]) -> Option<&Segment> {
    let known = |id: &String| segments.iter().any(|segment| segment.id == *id);
    segments
        .iter()
        .find(|segment| {
            !segment.is_subsegment && segment.parent.as_ref().is_none_or(|parent| !known(parent))
        })
        .or_else(|| segments.first())
}

// Services are told apart by name and type.
impl PartialEq for Segment {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Segment {}

impl PartialOrd for Segment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Segment {
    fn cmp(&self, other: &Self) -> Ordering {
        (&self.name, &self.origin).cmp(&(&other.name, &other.origin))
    }
}
