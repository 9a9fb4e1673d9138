use super::*;
use crate::sandbox::aws::{Caller, iam, invoke};
use crate::sandbox::state::World;

fn call(world: &World, operation: &str, input: Value) -> Result<Value, Fault> {
    let caller = Caller {
        arn: "arn:aws:iam::123456789012:user/sandbox".into(),
        user_id: "X".into(),
    };
    let mut state = world.state();
    if state.iam.users.is_empty() {
        iam::bootstrap(world, &mut state);
    }
    invoke(
        world,
        &mut state,
        &caller,
        "us-west-2",
        "xray",
        operation,
        &input,
    )
}

const TRACE: &str = "1-6a0fe5f0-000000000000000000000001";
const SECONDS: f64 = 1_779_426_800.0;

/// A proxy's segment.
fn segment(id: u8, parent: Option<u8>, name: &str, status: u16) -> String {
    let start = SECONDS + f64::from(id) / 100.0;
    json!({
        "id": format!("{id:016x}"),
        "parent_id": parent.map(|parent| format!("{parent:016x}")),
        "trace_id": TRACE,
        "name": name,
        "origin": "AWS::AppMesh::Proxy",
        "start_time": start,
        "end_time": start + 0.1,
        "http": {"request": {"method": "GET", "url": "http://x/"}, "response": {"status": status}},
        "annotations": {"who": name},
    })
    .to_string()
}

/// A call that a service makes.
fn subsegment(id: u8, parent: u8, name: &str) -> String {
    json!({
        "id": format!("{id:016x}"),
        "parent_id": format!("{parent:016x}"),
        "trace_id": TRACE,
        "type": "subsegment",
        "namespace": "remote",
        "name": name,
        "start_time": SECONDS,
        "end_time": SECONDS + 0.05,
    })
    .to_string()
}

fn world() -> World {
    let world = World::for_tests();
    let documents = [
        segment(1, None, "demo/frontend", 200),
        subsegment(2, 1, "backend"),
        segment(3, Some(2), "demo/backend-v1", 503),
        subsegment(4, 3, "database"),
    ];
    let answer = call(
        &world,
        "PutTraceSegments",
        json!({"TraceSegmentDocuments": documents}),
    )
    .expect("taken");
    assert_eq!(answer["UnprocessedTraceSegments"], json!([]));
    world
}

fn period() -> Value {
    json!({"StartTime": SECONDS - 60.0, "EndTime": SECONDS + 60.0})
}

#[test]
fn segments_become_summaries() {
    let world = world();
    let answer = call(&world, "GetTraceSummaries", period()).expect("summaries");
    let summary = &answer["TraceSummaries"][0];
    assert_eq!(summary["Id"], TRACE);
    assert_eq!(
        (&summary["HasFault"], &summary["HasError"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(summary["EntryPoint"]["Name"], "demo/frontend");
    assert_eq!(summary["Http"]["HttpStatus"], 200);
    assert_eq!(
        summary["Annotations"]["who"].as_array().map(Vec::len),
        Some(2)
    );
    assert_eq!(summary["Duration"], 0.13);
    let elsewhere = json!({"StartTime": 1.0, "EndTime": 2.0});
    assert_eq!(
        call(&world, "GetTraceSummaries", elsewhere).expect("none")["TraceSummaries"],
        json!([])
    );
}

#[test]
fn traces_are_found_by_what_happened() {
    let world = world();
    let found = |expression: &str| {
        let mut input = period();
        input["FilterExpression"] = json!(expression);
        call(&world, "GetTraceSummaries", input)
            .map(|answer| answer["TraceSummaries"].as_array().map_or(0, Vec::len))
    };
    for (expression, count) in [
        ("fault", 1),
        ("ok", 0),
        ("service(\"demo/backend-v1\") AND http.status = 503", 1),
        ("service(\"backend-v2\") OR http.status > 503", 0),
        ("service(\"demo/backend-v1\") { fault }", 1),
        ("service(\"demo/frontend\") { http.status = 503 }", 0),
        (
            "edge(\"demo/frontend\", \"demo/backend-v1\") { responsetime > 5 OR ok }",
            0,
        ),
        ("service(\"demo/frontend\") { }", 1),
        ("edge(\"demo/frontend\", \"demo/backend-v1\")", 1),
        ("edge(\"demo/backend-v1\", \"demo/frontend\")", 0),
        ("!(duration > 5) AND annotation.who = \"demo/frontend\"", 1),
        ("http.url CONTAINS \"x\"", 1),
    ] {
        assert_eq!(found(expression).expect(expression), count, "{expression}");
    }
    for expression in [
        "service(",
        "http.status",
        "nonsense = 1",
        "\"",
        "a b c",
        "service(\"x\") { fault",
        "service(\"x\") { = }",
    ] {
        assert_eq!(
            found(expression).unwrap_err().code,
            "InvalidRequestException",
            "{expression}"
        );
    }
    assert!(found(&"(".repeat(10_000)).is_err());
}

#[test]
fn the_graph_joins_services_by_their_calls() {
    let world = world();
    let answer = call(&world, "GetServiceGraph", period()).expect("a graph");
    let services = answer["Services"].as_array().expect("services");
    let named = |name: &str, kind: &str| {
        services
            .iter()
            .find(|service| service["Name"] == name && service["Type"] == kind)
            .unwrap_or_else(|| panic!("{name} {kind} in {answer:#}"))
    };
    let proxy = "AWS::AppMesh::Proxy";
    let leads = |from: &Value, to: &Value| {
        let edges = from["Edges"].as_array().expect("edges");
        edges
            .iter()
            .any(|edge| edge["ReferenceId"] == to["ReferenceId"])
    };
    let frontend = named("demo/frontend", proxy);
    let backend = named("demo/backend-v1", proxy);
    assert!(leads(named("demo/frontend", "client"), frontend));
    assert!(leads(frontend, backend));
    assert!(leads(backend, named("database", "remote")));
    assert_eq!(frontend["Root"], true);
    assert_eq!(
        backend["SummaryStatistics"]["FaultStatistics"]["TotalCount"],
        1
    );
    assert_eq!(frontend["SummaryStatistics"]["OkCount"], 1);
}

#[test]
fn traces_come_back_whole_and_bad_segments_are_named() {
    let world = world();
    let answer = call(
        &world,
        "BatchGetTraces",
        json!({"TraceIds": [TRACE, "1-00000000-000000000000000000000000"]}),
    )
    .expect("traces");
    assert_eq!(
        answer["Traces"][0]["Segments"].as_array().map(Vec::len),
        Some(4)
    );
    assert_eq!(
        answer["UnprocessedTraceIds"],
        json!(["1-00000000-000000000000000000000000"])
    );
    let bad = [
        "{",
        "{}",
        "{\"id\":\"0000000000000001\",\"trace_id\":\"x\"}",
    ];
    let answer = call(
        &world,
        "PutTraceSegments",
        json!({"TraceSegmentDocuments": bad}),
    )
    .expect("refused one by one");
    assert_eq!(
        answer["UnprocessedTraceSegments"].as_array().map(Vec::len),
        Some(3)
    );
    let mut copy = State::default();
    copy.import(&world.state().xray.export());
    assert_eq!(copy.traces["us-west-2"][TRACE].len(), 4);
}
