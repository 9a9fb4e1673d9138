"""X-Ray."""

import json
import time

from conftest import cli, paged, refused


def segment(trace, identity, name, start, parent=None, **more):
    return json.dumps({"trace_id": trace, "id": identity, "name": name, "start_time": start, "end_time": start + 0.25,
                       **({"parent_id": parent} if parent else {}), **more})


def test_traces_and_the_graph(aws):
    xray = aws.xray
    now = time.time()
    traces = [f"1-{int(now):08x}-{number:024x}" for number in (1, 2)]
    for trace in traces:
        put = xray.put_trace_segments(TraceSegmentDocuments=[
            segment(trace, "a" * 16, "front", now, http={"request": {"method": "GET", "url": "http://front/"},
                                                         "response": {"status": 200}},
                    subsegments=[{"id": "b" * 16, "name": "back", "start_time": now, "end_time": now + 0.2,
                                  "namespace": "remote"}]),
            segment(trace, "c" * 16, "back", now, parent="b" * 16, fault=True,
                    http={"response": {"status": 500}}),
        ])
        assert put["UnprocessedTraceSegments"] == []
    unread = xray.put_trace_segments(TraceSegmentDocuments=["{", segment("bad", "a" * 16, "x", now)])
    assert len(unread["UnprocessedTraceSegments"]) == 2
    window = {"StartTime": now - 60, "EndTime": now + 60}
    found = paged(xray, "get_trace_summaries", **window)["TraceSummaries"]
    assert {each["Id"] for each in found} >= set(traces)
    assert xray.get_trace_summaries(FilterExpression='service("back") { fault }', **window)["TraceSummaries"]
    with refused("InvalidRequestException"):
        xray.get_trace_summaries(FilterExpression="service(", **window)
    with refused("InvalidRequestException"):
        xray.get_trace_summaries(StartTime=now, EndTime=now - 60)
    whole = paged(xray, "batch_get_traces", TraceIds=traces)["Traces"]
    assert [len(trace["Segments"]) for trace in whole] == [2, 2]
    assert xray.batch_get_traces(TraceIds=["1-00000000-" + "0" * 24])["UnprocessedTraceIds"] is not None
    for services in (paged(xray, "get_service_graph", **window)["Services"],
                     paged(xray, "get_trace_graph", TraceIds=traces)["Services"]):
        assert {"front", "back"} <= {service["Name"] for service in services}
    typed = cli("xray", "get-service-graph", "--start-time", str(int(now) - 60), "--end-time", str(int(now) + 60))
    assert {"front", "back"} <= {service["Name"] for service in typed["Services"]}


def test_sampling_and_the_rest(aws):
    xray = aws.xray
    rules = paged(xray, "get_sampling_rules")["SamplingRuleRecords"]
    assert rules[0]["SamplingRule"]["RuleName"] == "Default"
    document = {"RuleName": "Default", "ClientID": "a" * 24, "Timestamp": time.time(), "RequestCount": 1,
                "SampledCount": 1, "BorrowCount": 0}
    assert xray.get_sampling_targets(SamplingStatisticsDocuments=[document])["SamplingTargetDocuments"]
    assert paged(xray, "get_sampling_statistic_summaries")["SamplingStatisticSummaries"] == []
    assert paged(xray, "get_groups")["Groups"] is not None
    xray.put_telemetry_records(TelemetryRecords=[{"Timestamp": time.time(), "SegmentsSentCount": 1}])
