//! X-Ray: keeps the segments that proxies and daemons send, and answers with traces, summaries and the service graph that
//! are computed from them.

mod filter;
mod graph;
mod segment;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::shapes::{self, Violation};
use super::{Call, Fault, Operation, Protocol, Service, rejection};
use crate::sandbox::clock::epoch_seconds;
use crate::sandbox::state::State as Everything;
use segment::Segment;

/// How many traces are kept; the oldest go first.
const TRACES: usize = 5000;
/// X-Ray's own limit on a segment document.
const SEGMENT_BYTES: usize = 64 << 10;
/// A trace that keeps growing stops at this many segments.
const SEGMENTS: usize = 1000;
const PAGE: usize = 200;

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Traces by region and id. They come by the thousand during a canary, so they are not saved with the rest: see
    /// [`State::export`].
    #[serde(skip)]
    traces: BTreeMap<String, BTreeMap<String, Trace>>,
}

/// The segment documents of one trace by segment id.
type Trace = BTreeMap<String, String>;

impl State {
    /// The traces, to be saved on their own.
    pub fn export(&self) -> Vec<u8> {
        serde_json::to_vec(&self.traces).unwrap_or_default()
    }

    /// Takes back what [`State::export`] gave.
    pub fn import(&mut self, bytes: &[u8]) {
        self.traces = serde_json::from_slice(bytes).unwrap_or_default();
    }

    /// Takes in a segment document. The error is a code and a message.
    fn put(
        &mut self,
        region: &str,
        document: &str,
    ) -> Result<(), (Option<String>, &'static str, String)> {
        if document.len() > SEGMENT_BYTES {
            return Err((
                None,
                "SegmentTooLarge",
                "Segment document is larger than 64 kB".into(),
            ));
        }
        let segment =
            Segment::parse(document).map_err(|(id, message)| (id, "ParseError", message))?;
        let traces = self.traces.entry(region.to_owned()).or_default();
        if !traces.contains_key(&segment.trace_id) && traces.len() >= TRACES {
            // Ids begin with the time, so the first is the oldest.
            traces.pop_first();
        }
        let trace = traces.entry(segment.trace_id.clone()).or_default();
        if trace.len() < SEGMENTS || trace.contains_key(&segment.id) {
            trace.insert(segment.id, document.to_owned());
        }
        Ok(())
    }
}

/// The service.
pub struct XRay;

const fn post(name: &'static str, path: &'static str) -> Operation {
    Operation {
        name,
        method: "POST",
        path,
    }
}

impl Service for XRay {
    fn signing_name(&self) -> &'static str {
        "xray"
    }
    fn protocol(&self) -> Protocol {
        Protocol::RestJson
    }
    fn version(&self) -> &'static str {
        "2016-04-12"
    }
    fn namespace(&self) -> &'static str {
        ""
    }
    fn operations(&self) -> &'static [Operation] {
        const OPERATIONS: &[Operation] = &[
            post("PutTraceSegments", "/TraceSegments"),
            post("PutTelemetryRecords", "/TelemetryRecords"),
            post("GetSamplingRules", "/GetSamplingRules"),
            post("GetSamplingTargets", "/SamplingTargets"),
            post(
                "GetSamplingStatisticSummaries",
                "/SamplingStatisticSummaries",
            ),
            post("GetTraceSummaries", "/TraceSummaries"),
            post("BatchGetTraces", "/Traces"),
            post("GetServiceGraph", "/ServiceGraph"),
            post("GetTraceGraph", "/TraceGraph"),
            post("GetGroups", "/Groups"),
        ];
        OPERATIONS
    }
    fn resource(&self, _call: &Call<'_>) -> String {
        "*".into()
    }
    fn invalid(&self, _operation: &str, _first: &Violation, all: &[Violation]) -> Fault {
        refuse(shapes::say(all))
    }
    fn handle(&self, state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
        match call.operation {
            "PutTraceSegments" => put_segments(state, call),
            "PutTelemetryRecords" => Ok(json!({})),
            "GetSamplingRules" => Ok(json!({"SamplingRuleRecords": [default_rule(call)]})),
            "GetSamplingTargets" => Ok(targets(call)),
            "GetSamplingStatisticSummaries" => Ok(json!({"SamplingStatisticSummaries": []})),
            "GetTraceSummaries" => summaries(state, call),
            "BatchGetTraces" => batch_get(state, call),
            "GetServiceGraph" => service_graph(state, call),
            "GetTraceGraph" => {
                let traces = state.xray.traces.get(call.region);
                let ids = call.texts("TraceIds");
                let found = ids.iter().filter_map(|id| traces?.get(id));
                Ok(
                    json!({"Services": graph::services(found.map(segment::read), &call.world.account)}),
                )
            }
            "GetGroups" => Ok(json!({"Groups": [{
                "GroupName": "Default",
                "GroupARN": format!("arn:aws:xray:{}:{}:group/Default", call.region, call.world.account),
                "InsightsConfiguration": {"InsightsEnabled": false, "NotificationsEnabled": false},
            }]})),
            _ => Err(rejection::unknown_operation(self, call.operation)),
        }
    }
}

fn refuse(message: impl Into<String>) -> Fault {
    Fault::new(400, "InvalidRequestException", message)
}

fn put_segments(state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
    if !call
        .input
        .get("TraceSegmentDocuments")
        .is_some_and(Value::is_array)
    {
        return Err(refuse("TraceSegmentDocuments must not be null"));
    }
    let refused: Vec<Value> = call
        .texts("TraceSegmentDocuments")
        .iter()
        .filter_map(|document| state.xray.put(call.region, document).err())
        .map(|(id, code, message)| json!({"Id": id, "ErrorCode": code, "Message": message}))
        .collect();
    Ok(json!({"UnprocessedTraceSegments": refused}))
}

/// The rule that every account has.
fn default_rule(call: &Call<'_>) -> Value {
    json!({
        "SamplingRule": {
            "RuleName": "Default",
            "RuleARN": format!("arn:aws:xray:{}:{}:sampling-rule/Default", call.region, call.world.account),
            "ResourceARN": "*",
            "Priority": 10000,
            "FixedRate": 0.05,
            "ReservoirSize": 1,
            "ServiceName": "*",
            "ServiceType": "*",
            "Host": "*",
            "HTTPMethod": "*",
            "URLPath": "*",
            "Version": 1,
            "Attributes": {},
        },
        "CreatedAt": 0.0,
        "ModifiedAt": 0.0,
    })
}

fn targets(call: &Call<'_>) -> Value {
    let now = call.world.clock.now();
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for document in call.list("SamplingStatisticsDocuments") {
        let rule = document
            .get("RuleName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if rule == "Default" {
            known.push(json!({
                "RuleName": rule,
                "FixedRate": 0.05,
                "ReservoirQuota": 1,
                "ReservoirQuotaTTL": epoch_seconds(now + 10_000),
                "Interval": 10,
            }));
        } else {
            unknown
                .push(json!({"RuleName": rule, "ErrorCode": "404", "Message": "Rule not found"}));
        }
    }
    json!({"SamplingTargetDocuments": known, "LastRuleModification": 0.0, "UnprocessedStatistics": unknown})
}

/// The period that a call asks for, in seconds; X-Ray looks at six hours at most.
fn period(call: &Call<'_>) -> Result<(f64, f64), Fault> {
    let moment = |member: &str| {
        let value = call
            .input
            .get(member)
            .ok_or_else(|| refuse(format!("{member} must not be null")))?;
        let text = || value.as_str()?.parse::<jiff::Timestamp>().ok();
        value
            .as_f64()
            .or_else(|| text().map(|timestamp| timestamp.as_millisecond() as f64 / 1000.0))
            .ok_or_else(|| refuse(format!("{member} is not a timestamp")))
    };
    let (start, end) = (moment("StartTime")?, moment("EndTime")?);
    if start > end {
        return Err(refuse("StartTime must be before EndTime"));
    }
    if end - start > 6.0 * 3600.0 {
        return Err(refuse("Time range cannot be longer than 6 hours"));
    }
    Ok((start, end))
}

fn summaries(state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
    let (start, end) = period(call)?;
    let filter = match call.text("FilterExpression") {
        Some(expression) => Some(
            filter::Filter::parse(&expression)
                .map_err(|why| refuse(format!("Invalid filter expression: {why}")))?,
        ),
        None => None,
    };
    let after = call.text("NextToken");
    let account = &*call.world.account;
    let mut found = Vec::new();
    let mut processed = 0u64;
    let mut next = None;
    for (id, trace) in state.xray.traces.get(call.region).into_iter().flatten() {
        if after.as_ref().is_some_and(|after| id <= after) {
            continue;
        }
        let segments = segment::read(trace);
        if !segments
            .iter()
            .any(|segment| segment.end >= start && segment.start <= end)
        {
            continue;
        }
        processed += 1;
        if filter
            .as_ref()
            .is_some_and(|filter| !filter.holds(&segments))
        {
            continue;
        }
        if found.len() == PAGE {
            next = found
                .last()
                .and_then(|summary: &Value| summary["Id"].as_str().map(str::to_owned));
            break;
        }
        found.push(summary(id, &segments, account));
    }
    Ok(json!({
        "TraceSummaries": found,
        "ApproximateTime": epoch_seconds(call.world.clock.now()),
        "TracesProcessedCount": processed,
        "NextToken": next,
    }))
}

fn duration(segments: &[Segment]) -> f64 {
    let start = segments
        .iter()
        .map(|segment| segment.start)
        .fold(f64::INFINITY, f64::min);
    let end = segments
        .iter()
        .map(|segment| segment.end)
        .fold(0.0, f64::max);
    // Milliseconds are what X-Ray shows.
    ((end - start).max(0.0) * 1000.0).round() / 1000.0
}

fn summary(id: &str, segments: &[Segment], account: &str) -> Value {
    let root = segment::root(segments);
    let service = |segment: &Segment| segment.service(account);
    let services: BTreeSet<&Segment> = segments
        .iter()
        .filter(|segment| !segment.is_subsegment)
        .collect();
    let mut annotations: Map<String, Value> = Map::new();
    for segment in segments {
        for (key, value) in &segment.annotations {
            let kind = match value {
                Value::Bool(_) => "BooleanValue",
                Value::Number(_) => "NumberValue",
                _ => "StringValue",
            };
            let entry = json!({"AnnotationValue": {kind: value}, "ServiceIds": [service(segment)]});
            if let Some(list) = annotations
                .entry(key.clone())
                .or_insert_with(|| json!([]))
                .as_array_mut()
            {
                list.push(entry);
            }
        }
    }
    let arns: BTreeSet<&str> = segments
        .iter()
        .filter_map(|segment| segment.resource_arn.as_deref())
        .collect();
    let mut output = json!({
        "Id": id,
        "StartTime": segments.iter().map(|segment| segment.start).fold(f64::INFINITY, f64::min),
        "Duration": duration(segments),
        "HasFault": segments.iter().any(|segment| segment.fault),
        "HasError": segments.iter().any(|segment| segment.error),
        "HasThrottle": segments.iter().any(|segment| segment.throttle),
        "IsPartial": segments.iter().any(|segment| segment.in_progress),
        "Annotations": annotations,
        "Users": [],
        "ServiceIds": services.into_iter().map(service).collect::<Vec<_>>(),
        "ResourceARNs": arns.into_iter().map(|arn| json!({"ARN": arn})).collect::<Vec<_>>(),
        "InstanceIds": [],
        "AvailabilityZones": [],
        "FaultRootCauses": [],
        "ErrorRootCauses": [],
        "ResponseTimeRootCauses": [],
        "Revision": segments.len(),
    });
    if let Some(root) = root {
        output["ResponseTime"] = json!(duration(std::slice::from_ref(root)));
        output["EntryPoint"] = service(root);
        output["Http"] = json!({
            "HttpURL": root.url,
            "HttpStatus": root.status,
            "HttpMethod": root.method,
            "UserAgent": root.user_agent,
            "ClientIp": root.client_ip,
        });
    }
    output
}

fn batch_get(state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
    let ids = call.texts("TraceIds");
    if ids.is_empty() || ids.len() > 5 {
        return Err(refuse("TraceIds must hold between 1 and 5 ids"));
    }
    let traces = state.xray.traces.get(call.region);
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for id in ids {
        match traces.and_then(|traces| traces.get(&id)) {
            None => missing.push(id),
            Some(trace) => {
                let segments: Vec<Value> = trace
                    .iter()
                    .map(|(segment, document)| json!({"Id": segment, "Document": document}))
                    .collect();
                found.push(json!({
                    "Id": id,
                    "Duration": duration(&segment::read(trace)),
                    "LimitExceeded": trace.len() >= SEGMENTS,
                    "Segments": segments,
                }));
            }
        }
    }
    Ok(json!({"Traces": found, "UnprocessedTraceIds": missing}))
}

fn service_graph(state: &mut Everything, call: &Call<'_>) -> Result<Value, Fault> {
    let (start, end) = period(call)?;
    let traces = state.xray.traces.get(call.region).into_iter().flatten();
    let within = traces
        .map(|(_, trace)| segment::read(trace))
        .filter(|segments| {
            segments
                .iter()
                .any(|segment| segment.end >= start && segment.start <= end)
        });
    Ok(json!({
        "StartTime": start,
        "EndTime": end,
        "Services": graph::services(within, &call.world.account),
        "ContainsOldGroupVersions": false,
    }))
}

#[cfg(test)]
mod tests;
