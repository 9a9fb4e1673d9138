//! Evictions, which disruption budgets allow or refuse. Nobody follows the budgets here: the sequences say what is left of them.

use serde_json::{Value, json};

use super::{JSON, MERGE, Request, post};

const PODS: &str = "/api/v1/namespaces/@run-a/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/@run-a/poddisruptionbudgets";

/// All about them.
pub(super) fn evictions() -> Vec<Vec<Request>> {
    let mut sequences = vec![left(), unready(), beside(), selected(), crowded()];
    sequences.extend([refused(), expecting()]);
    sequences
}

fn pod(name: &str) -> Request {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "main", "image": "b"}]},
    });
    post(PODS, pod)
}

fn is(name: &str, phase: &str, ready: &str) -> Request {
    let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
    Request::new("PATCH", format!("{PODS}/{name}/status")).body(MERGE, json!({"status": status}))
}

/// Pods that run and are ready.
fn running(names: &[&str]) -> Vec<Request> {
    let names = names.iter();
    names
        .flat_map(|name| [pod(name), is(name, "Running", "True")])
        .collect()
}

fn budget(name: &str, spec: Value) -> Request {
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec,
    });
    post(BUDGETS, budget)
}

/// A budget of the pods.
fn plain(name: &str) -> Request {
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}});
    budget(name, spec)
}

/// What is left of a budget: what it allows, how many are healthy, how many should be.
fn says(name: &str, allowed: i64, healthy: i64, wanted: i64, more: Value) -> Request {
    let mut status = json!({
        "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy,
        "desiredHealthy": wanted, "expectedPods": 3,
    });
    if let (Some(status), Value::Object(more)) = (status.as_object_mut(), more) {
        status.extend(more);
    }
    Request::new("PATCH", format!("{BUDGETS}/{name}/status")).body(MERGE, json!({"status": status}))
}

fn evict(name: &str, options: Value) -> Request {
    let mut eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    if options.is_object() {
        eviction["deleteOptions"] = options;
    }
    post(&format!("{PODS}/{name}/eviction"), eviction)
}

fn at_once() -> Value {
    json!({"gracePeriodSeconds": 0})
}

fn look(path: &str, name: &str) -> Request {
    Request::new("GET", format!("{path}/{name}"))
}

/// Each eviction takes one from the budget, until nothing is left of it; on trial none is taken.
fn left() -> Vec<Request> {
    let mut requests = running(&["a", "b", "c"]);
    requests.extend([
        plain("p"),
        look(BUDGETS, "p"),
        evict("a", Value::Null),
        says("p", 2, 3, 1, json!({})),
        evict("a", json!({"dryRun": ["All"]})),
        evict("a", Value::Null).with("dryRun", "All"),
        look(BUDGETS, "p"),
        evict("a", at_once()),
        look(BUDGETS, "p"),
        look(PODS, "a"),
        evict("b", Value::Null),
        look(BUDGETS, "p"),
        look(PODS, "b"),
        // What goes already goes without asking.
        evict("b", at_once()),
        evict("c", at_once()),
        look(BUDGETS, "p"),
        says("p", 1, 1, 0, json!({"disruptedPods": null})),
        evict("c", at_once()),
        look(BUDGETS, "p"),
        evict("c", at_once()),
        Request::new("GET", BUDGETS),
    ]);
    requests
}

/// Pods that are not ready count for nothing where enough are, or where the budget says so.
fn unready() -> Vec<Request> {
    let mut requests = running(&["a", "b", "c"]);
    requests.extend(["a", "b", "c"].map(|name| is(name, "Running", "False")));
    requests.extend([
        plain("p"),
        evict("a", at_once()),
        says("p", 0, 1, 2, json!({})),
        evict("a", at_once()),
        says("p", 0, 0, 0, json!({})),
        evict("a", at_once()),
        says("p", 0, 2, 2, json!({})),
        evict("a", json!({"gracePeriodSeconds": 0, "dryRun": ["All"]})),
        evict("a", at_once()),
        look(PODS, "a"),
        look(BUDGETS, "p"),
        says("p", 0, 0, 2, json!({})),
        Request::new("PATCH", format!("{BUDGETS}/p")).body(
            MERGE,
            json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}),
        ),
        evict("b", at_once()),
        look(BUDGETS, "p"),
        Request::new("PATCH", format!("{BUDGETS}/p")).body(
            MERGE,
            json!({"spec": {"unhealthyPodEvictionPolicy": "IfHealthyBudget"}}),
        ),
        evict("c", at_once()),
        says("p", 0, 2, 2, json!({"observedGeneration": 3})),
        evict("c", json!({"gracePeriodSeconds": 7})),
        look(PODS, "c"),
    ]);
    requests
}

/// What is not running is nobody's to keep.
fn beside() -> Vec<Request> {
    let mut requests = vec![plain("p")];
    for (name, phase) in [
        ("a", "Succeeded"),
        ("b", "Failed"),
        ("c", "Pending"),
        ("d", "Unknown"),
    ] {
        requests.extend([pod(name), is(name, phase, "True"), evict(name, at_once())]);
        requests.push(look(PODS, name));
    }
    requests.extend([pod("e"), evict("e", at_once()), look(BUDGETS, "p")]);
    requests
}

/// Which pods a budget is for; a pod has one or none.
fn selected() -> Vec<Request> {
    let mut requests = running(&["a", "b", "c"]);
    let other = json!({"maxUnavailable": 0, "selector": {"matchLabels": {"app": "y"}}});
    let odd = json!({"minAvailable": "50%", "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["x"]}]}});
    requests.extend([
        budget("other", other),
        budget("none", json!({"minAvailable": 1})),
        evict("a", at_once()),
        budget("all", json!({"minAvailable": 1, "selector": {}})),
        evict("b", at_once()),
        says("all", 1, 1, 0, json!({})),
        evict("b", at_once()),
        budget("odd", odd),
        evict("c", at_once()),
        evict("c", json!({"dryRun": ["All"]})),
        Request::new("DELETE", format!("{BUDGETS}/all")),
        evict("c", at_once()),
        says("odd", 1, 1, 0, json!({})),
        evict("c", at_once()),
        Request::new("GET", BUDGETS),
    ]);
    requests
}

/// A budget that waits for too many pods waits for no more.
fn crowded() -> Vec<Request> {
    let waiting = |count: usize| -> Value {
        let pods = (0..count).map(|n| (format!("pod-{n}"), json!("2026-01-01T00:00:00Z")));
        json!({"disruptedPods": pods.collect::<serde_json::Map<_, _>>()})
    };
    let mut requests = running(&["a"]);
    requests.extend([
        plain("p"),
        says("p", 1, 2, 1, waiting(2001)).quiet(),
        evict("a", at_once()),
        says("p", 0, 2, 1, json!({})).quiet(),
        evict("a", at_once()),
        Request::new("PATCH", format!("{BUDGETS}/p/status"))
            .body(
                MERGE,
                json!({"status": {"disruptionsAllowed": 1, "disruptedPods": {"pod-0": null}}}),
            )
            .quiet(),
        evict("a", at_once()),
        Request::new("PATCH", format!("{BUDGETS}/p/status"))
            .body(MERGE, json!({"status": {"disruptedPods": null}}))
            .quiet(),
        look(BUDGETS, "p"),
    ]);
    requests
}

/// Why nothing is left of a budget.
fn refused() -> Vec<Request> {
    let mut requests = running(&["a"]);
    requests.push(plain("p"));
    let condition = |reason: &str, status: &str, message: &str| {
        json!({"conditions": [{
            "type": "DisruptionAllowed", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]})
    };
    for (allowed, healthy, wanted) in [
        (0, 1, 1),
        (0, 0, 1),
        (0, 2, 1),
        (-1, 1, 1),
        (0, -1, 1),
        (0, 1, -1),
    ] {
        requests.extend([
            says("p", allowed, healthy, wanted, json!({})),
            evict("a", at_once()),
        ]);
    }
    for said in [
        condition("SyncFailed", "False", "no way"),
        condition("SyncFailed", "False", ""),
        condition("SyncFailed", "True", "no way"),
        condition("InsufficientPods", "False", ""),
        condition("InsufficientPods", "False", "too few"),
        condition("SufficientPods", "True", ""),
        condition("Other", "False", "because"),
    ] {
        for (healthy, wanted) in [(1, 1), (2, 1)] {
            requests.extend([
                says("p", 0, healthy, wanted, said.clone()),
                evict("a", at_once()),
            ]);
        }
    }
    requests.extend([
        says("p", 1, 2, 1, condition("SufficientPods", "True", "")),
        evict("a", json!({"dryRun": ["All"]})),
        evict("a", json!({"propagationPolicy": "Nonsense"})),
        evict("a", at_once()),
        look(BUDGETS, "p"),
    ]);
    requests
}

/// Evictions that are about one version of a pod.
fn expecting() -> Vec<Request> {
    let mut requests = running(&["a", "b", "c"]);
    let version = |version: &str| json!({"gracePeriodSeconds": 0, "preconditions": {"resourceVersion": version}});
    let uid = |uid: &str| json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
    requests.extend([
        plain("p"),
        says("p", 9, 3, 1, json!({})),
        evict("a", version("1")),
        look(BUDGETS, "p"),
        evict("a", uid("11111111-2222-3333-4444-555555555555")),
        look(BUDGETS, "p"),
        evict("a", version("@rv(Pod/@run-a/a)")),
        look(PODS, "a"),
        evict("b", uid("@uid(Pod/@run-a/b)")),
        look(PODS, "b"),
        is("c", "Pending", "False"),
        evict("c", version("1")),
        evict("c", version("@rv(Pod/@run-a/c)")),
        look(PODS, "c"),
        look(BUDGETS, "p"),
    ]);
    // What is held stays until it is let go.
    let held = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "h", "labels": {"app": "x"}, "finalizers": ["example.com/a"]},
        "spec": {"containers": [{"name": "main", "image": "b"}]},
    });
    let beta =
        json!({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "h"}});
    requests.extend([
        post(PODS, held),
        is("h", "Running", "True"),
        evict("h", at_once()),
        look(PODS, "h"),
        evict("h", at_once()),
        post(&format!("{PODS}/h/eviction"), beta),
        look(BUDGETS, "p"),
        Request::new("POST", format!("{PODS}/h/eviction"))
            .body(JSON, json!({"metadata": {"name": "h"}})),
    ]);
    // What is only made is not asked for.
    for path in [
        format!("{PODS}/h/eviction"),
        format!("{PODS}/h/binding"),
        "/api/v1/namespaces/@run-a/serviceaccounts/default/token".to_owned(),
        "/api/v1/namespaces/@run-a/finalize".to_owned(),
    ] {
        let not = |method| Request::new(method, path.clone());
        requests.extend([not("GET"), not("DELETE"), not("PUT").body(JSON, json!({}))]);
    }
    requests
}
