//! Objects of definitions: the test's own and those of App Mesh.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{odd, once_in, pick};

pub(super) fn thing(rng: &mut Rng) -> Value {
    let mut spec = serde_json::Map::new();
    if !once_in(rng, 20) {
        spec.insert(
            "size".into(),
            odd(
                rng,
                &[1.into(), 5.into(), 10.into()],
                &[0.into(), 11.into(), "5".into(), json!(2.5), Value::Null],
            ),
        );
    }
    let mut maybe = |rng: &mut Rng, n: usize, key: &str, usual: &[Value], unusual: &[Value]| {
        if once_in(rng, n) {
            spec.insert(key.into(), odd(rng, usual, unusual));
        }
    };
    maybe(
        rng,
        5,
        "ratio",
        &[json!(0.5), json!(2), json!(2.0)],
        &[json!(0), json!(-1), json!("x")],
    );
    maybe(
        rng,
        6,
        "count",
        &[json!(7)],
        &[json!(3_000_000_000_i64), json!("7")],
    );
    maybe(
        rng,
        3,
        "mode",
        &["fast".into(), "slow".into()],
        &["odd".into(), Value::Null, "".into()],
    );
    maybe(
        rng,
        4,
        "name",
        &["abc".into()],
        &["a".into(), "abcdefg".into(), "AB".into(), json!(["abc"])],
    );
    maybe(
        rng,
        5,
        "on",
        &[true.into(), false.into()],
        &["true".into(), Value::Null],
    );
    maybe(
        rng,
        5,
        "port",
        &[80.into(), "http".into()],
        &[json!(1.5), json!([80]), true.into()],
    );
    maybe(
        rng,
        6,
        "when",
        &["2026-01-01T10:00:00Z".into()],
        &["yesterday".into()],
    );
    maybe(rng, 4, "replicas", &[2.into(), 0.into()], &["2".into()]);
    maybe(rng, 6, "maybe", &["x".into(), Value::Null], &[5.into()]);
    maybe(
        rng,
        4,
        "free",
        &[json!({"known": 1, "other": {"deep": [1, 2]}}), json!({})],
        &[json!({"known": "x"})],
    );
    maybe(
        rng,
        4,
        "labels",
        &[json!({"a": "1"}), json!({})],
        &[
            json!({"a": 1}),
            json!({"a": "1", "b": "2", "c": "3", "d": "4"}),
            json!({"a": null}),
        ],
    );
    maybe(
        rng,
        4,
        "tags",
        &[json!(["x", "y"]), json!([])],
        &[
            json!(["x", "x"]),
            json!(["a", "b", "c", "d", "e"]),
            json!("x"),
            json!([1]),
        ],
    );
    maybe(
        rng,
        5,
        "numbers",
        &[json!([1, 2])],
        &[json!([]), json!([101]), json!([1, "2"]), json!([null])],
    );
    maybe(
        rng,
        3,
        "parts",
        &[
            json!([{"id": "a"}, {"id": "b", "weight": 1}]),
            json!([{"id": "a", "colour": "red"}]),
        ],
        &[
            json!([{"id": "a"}, {"id": "a"}]),
            json!([{"weight": 1}]),
            json!([{"id": "a", "extra": 1}]),
            json!([5]),
        ],
    );
    maybe(
        rng,
        5,
        "whole",
        &[json!({"x": "1"}), json!({"x": "1", "y": "2"})],
        &[json!({"z": "1"})],
    );
    maybe(
        rng,
        4,
        "nested",
        &[json!({}), json!({"note": "n"}), json!({"depth": 9})],
        &[
            json!({"depth": null}),
            json!({"extra": 1}),
            Value::Null,
            json!("x"),
        ],
    );
    maybe(
        rng,
        6,
        "choice",
        &[json!({"left": "l"}), json!({"right": "r"})],
        &[json!({}), json!({"left": "l", "right": "r"})],
    );
    maybe(rng, 4, "low", &[1.into(), 5.into()], &["x".into()]);
    maybe(rng, 4, "high", &[3.into(), 9.into()], &[0.into()]);
    maybe(rng, 4, "fixed", &["a".into(), "b".into()], &[5.into()]);
    maybe(
        rng,
        20,
        "unknown",
        &[json!(1), json!({"deep": true})],
        &[json!("x")],
    );
    Value::Object(spec)
}

pub(super) fn world(rng: &mut Rng) -> Value {
    let mut world = json!({});
    if rng.bool() {
        world["spec"] = pick(
            rng,
            &[
                json!({}),
                json!({"level": 3}),
                json!({"level": 3, "gone": 1}),
            ],
        );
    }
    if rng.bool() {
        world["free"] = pick(
            rng,
            &[
                json!({"a": [1, 2.5, "x", null]}),
                json!("text"),
                json!(true),
            ],
        );
    }
    if once_in(rng, 10) {
        world["spec"] = pick(rng, &[json!({"level": "x"}), json!(5)]);
    }
    world
}

pub(super) fn virtual_node(rng: &mut Rng) -> Value {
    let mut node = json!({
        "awsName": "a_demo",
        "podSelector": {"matchLabels": {"app": "a"}},
        "listeners": [{
            "portMapping": odd(
                rng,
                &[json!({"port": 8080, "protocol": "http"})],
                &[json!({"port": 0, "protocol": "http"}), json!({"port": 80, "protocol": "udp"}), json!({"port": "80"}), json!({})],
            ),
        }],
        "serviceDiscovery": {"dns": {"hostname": "a.demo.svc.cluster.local"}},
    });
    if rng.bool() {
        node["listeners"][0]["healthCheck"] = odd(
            rng,
            &[
                json!({"protocol": "http", "path": "/healthz", "healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5000, "timeoutMillis": 2000}),
            ],
            &[
                json!({"protocol": "http", "healthyThreshold": 1, "unhealthyThreshold": 2, "intervalMillis": 5000, "timeoutMillis": 2000}),
                json!({"protocol": "http"}),
            ],
        );
    }
    if rng.bool() {
        node["backends"] = json!([{"virtualService": {"virtualServiceRef": {"name": "b"}}}]);
    }
    if once_in(rng, 8) {
        node["loging"] = json!({});
    }
    node
}

pub(super) fn virtual_router(rng: &mut Rng) -> Value {
    let targets = odd(
        rng,
        &[
            json!([{"virtualNodeRef": {"name": "a"}, "weight": 100}]),
            json!([{"virtualNodeRef": {"name": "a"}, "weight": 90}, {"virtualNodeRef": {"name": "b"}, "weight": 10}]),
        ],
        &[
            json!([]),
            json!([{"virtualNodeRef": {"name": "a"}, "weight": 101}]),
            json!([{"virtualNodeRef": {}}]),
        ],
    );
    json!({
        "awsName": "a_demo",
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        "routes": [{"name": "a", "httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}],
    })
}
