//! Scales of workloads and of custom resources.

use serde_json::{Value, json};

use super::super::play::Request;
use super::{APPLY, DEPLOYMENTS, JSON, MERGE, PATCH, STRATEGIC, deployment, post, thing};

/// A scale is applied, patched and replaced by several managers; after each the object is looked at.
pub(super) fn scaled(path: &'static str) -> Vec<Vec<Request>> {
    let one = format!("{path}/a");
    let scale = format!("{one}/scale");
    let make = |replicas: Option<i64>, applier: bool| {
        let mut body = match path {
            DEPLOYMENTS => deployment("a"),
            _ => thing("a"),
        };
        if let Some(replicas) = replicas {
            body["spec"]["replicas"] = replicas.into();
        }
        match applier {
            true => Request::new("PATCH", format!("{path}/a"))
                .body(APPLY, body)
                .with("fieldManager", "maker"),
            false => post(path, body).with("fieldManager", "maker"),
        }
    };
    let of = |replicas: Value| {
        let mut body =
            json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}});
        if !replicas.is_null() {
            body["spec"] = json!({"replicas": replicas});
        }
        body
    };
    let apply = |body: Value, manager: &str, force: bool| {
        let request = Request::new("PATCH", scale.clone())
            .body(APPLY, body)
            .with("fieldManager", manager);
        match force {
            true => request.with("force", "true"),
            false => request,
        }
    };
    let looked = |requests: Vec<Request>| -> Vec<Request> {
        requests
            .into_iter()
            .flat_map(|request| [request, Request::new("GET", one.clone())])
            .collect()
    };
    let merge = |content: &'static str, body: Value| {
        Request::new("PATCH", scale.clone())
            .body(content, body)
            .with("fieldManager", "patcher")
    };
    let mut labelled = of(json!(2));
    labelled["metadata"]["labels"] = json!({"app": "x"});
    let mut placed = of(json!(2));
    placed["metadata"]["namespace"] = "elsewhere".into();
    let mut named = of(json!(2));
    named["metadata"]["name"] = "other".into();
    let mut shown = of(json!(2));
    shown["status"] = json!({"replicas": 7});
    let mut versioned = of(json!(2));
    versioned["metadata"]["resourceVersion"] = "1".into();
    let mut unknown = of(json!(2));
    unknown["spec"]["nonsense"] = 1.into();
    let mut other = of(json!(2));
    other["apiVersion"] = "apps/v1".into();
    let mut sequences = Vec::new();
    for (replicas, applier) in [
        (None, false),
        (Some(1), false),
        (Some(1), true),
        (Some(0), false),
    ] {
        sequences.push(looked(vec![
            make(replicas, applier),
            apply(of(json!(1)), "one", false),
            apply(of(json!(2)), "one", false),
            apply(of(json!(2)), "one", true),
            apply(of(json!(2)), "one", true),
            apply(of(json!(3)), "one", false),
            apply(of(json!(3)), "two", false),
            apply(of(json!(4)), "two", false),
            apply(of(json!(4)), "two", true),
            Request::new("PUT", scale.clone())
                .body(JSON, of(json!(5)))
                .with("fieldManager", "three"),
            apply(of(json!(5)), "one", false),
            apply(of(Value::Null), "one", true),
            apply(of(json!(0)), "one", true),
            make(Some(6), true),
        ]));
        sequences.push(looked(vec![
            make(replicas, applier),
            apply(of(json!(2)), "maker", false),
            apply(of(json!(2)), "maker", true),
            apply(of(Value::Null), "maker", true),
            merge(MERGE, json!({"spec": {"replicas": 3}})),
            apply(of(json!(4)), "one", false),
            merge(
                PATCH,
                json!([{"op": "replace", "path": "/spec/replicas", "value": 4}]),
            ),
            apply(of(json!(4)), "one", false),
            merge(STRATEGIC, json!({"spec": {"replicas": 5}})),
            merge(MERGE, json!({"spec": null})),
            apply(of(json!(1)), "one", false),
        ]));
    }
    let made = [make(Some(1), false)];
    let odd = [
        of(json!(-1)),
        of(json!("2")),
        of(json!(1.5)),
        labelled,
        placed,
        named,
        shown,
        versioned,
        unknown,
        other,
        json!({"kind": "Scale"}),
        json!([]),
        json!({}),
        Value::Null,
    ];
    let requests = odd.into_iter().flat_map(|body| {
        [
            apply(body.clone(), "one", true),
            apply(body.clone(), "one", true).with("dryRun", "All"),
            Request::new("PUT", scale.clone()).body(JSON, body),
        ]
    });
    sequences.push(looked(made.into_iter().chain(requests).collect()));
    let mut wrong = vec![make(Some(1), false)];
    for body in [
        json!({"spec": {"replicas": -1}}),
        json!({"spec": {"replicas": "2"}}),
        json!({"spec": {"replicas": 1.5}}),
        json!({"spec": {"nonsense": 1}}),
        json!({"metadata": {"name": "other"}}),
        json!({"metadata": {"namespace": "elsewhere"}}),
        json!({"metadata": {"uid": "x"}}),
        json!({"metadata": {"resourceVersion": "1"}}),
        json!({"metadata": {"labels": {"not a label": "x"}}}),
        json!({"kind": "Other"}),
        json!({"apiVersion": "apps/v1"}),
        json!({"status": {"replicas": 4}}),
        json!([]),
        json!("{"),
    ] {
        for content in [MERGE, STRATEGIC, PATCH] {
            for validation in ["Warn", "Strict"] {
                wrong.push(merge(content, body.clone()).with("fieldValidation", validation));
            }
        }
    }
    sequences.push(wrong);
    let mut rest = vec![
        Request::new("GET", scale.clone()),
        apply(of(json!(1)), "one", false),
        merge(MERGE, json!({})),
        make(Some(2), false),
        Request::new("GET", scale.clone()),
        apply(of(json!(1)), "", false),
        apply(of(json!(1)), "one", false).with("dryRun", "Some"),
        merge(MERGE, json!({})).with("force", "true"),
        merge("text/plain", json!({})),
        Request::new("POST", scale.clone()).body(JSON, of(json!(1))),
        Request::new("DELETE", scale.clone()),
    ];
    rest.extend(labelled_puts(&scale, of(json!(3))));
    sequences.push(rest);
    sequences
}

/// A scale that brings along what it may, and what it may not.
fn labelled_puts(scale: &str, body: Value) -> Vec<Request> {
    [
        json!({"resourceVersion": "1"}),
        json!({"uid": "11111111-2222-3333-4444-555555555555"}),
        json!({"labels": {"not a label": "x"}}),
        json!({"name": "other"}),
        json!({"name": ""}),
        json!({"namespace": "@run-a"}),
    ]
    .into_iter()
    .map(|more| {
        let mut body = body.clone();
        if let (Value::Object(place), Value::Object(more)) = (&mut body["metadata"], more) {
            place.extend(more);
        }
        Request::new("PUT", scale).body(JSON, body)
    })
    .collect()
}
