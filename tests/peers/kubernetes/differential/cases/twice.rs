//! Fields that are given twice.

use serde_json::{Value, json};

use super::{APPLY, DEPLOYMENTS, JSON, MERGE, PATCH, Request, STRATEGIC, THINGS};

const MAPS: &str = "/api/v1/namespaces/@run-a/configmaps";
const YAML: &str = "application/yaml";

/// Whole objects: path, name, text.
const WHOLE: [(&str, &str); 16] = [
    (
        MAPS,
        r#"{"metadata": {"name": "a", "name": "NAME"}, "data": {"a": "1", "a": "2", "b": "1"}, "data": {"b": "2", "c": "3"}}"#,
    ),
    (
        MAPS,
        r#"{"metadata": {"name": "NAME", "labels": {"a": "1"}}, "odd": {"x": 1, "x": 2}, "odd": 1, "metadata": {"labels": {"b": "2"}, "odd": 1, "odd": 2}}"#,
    ),
    (
        MAPS,
        r#"{"kind": "ConfigMap", "kind": "ConfigMap", "apiVersion": "v2", "apiVersion": "v1", "metadata": {"name": "NAME"}, "metadata": null, "data": null, "data": {}}"#,
    ),
    (
        MAPS,
        r#"{"kind": "ConfigMap", "kind": "Other", "metadata": {"name": "NAME"}}"#,
    ),
    (
        MAPS,
        r#"{"metadata": {"name": "NAME"}, "data": {"a": 5, "a": "1"}}"#,
    ),
    (
        MAPS,
        r#"{"metadata": {"name": "NAME"}, "data": {"a": "1"}, "data": null}"#,
    ),
    (
        MAPS,
        r#"{"metadata": {"name": "NAME", "ownerReferences": [{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "x"}, {"apiVersion": "v1", "kind": "A", "name": "b", "uid": "y"}], "ownerReferences": [{"name": "c", "name": "d"}]}}"#,
    ),
    (
        DEPLOYMENTS,
        r#"{"metadata": {"name": "NAME"}, "spec": {"replicas": 1, "replicas": 2, "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "a", "image": "x", "image": "y"}, {"name": "b", "image": "b"}]}}}, "spec": {"paused": true, "template": {"spec": {"containers": [{"image": "z", "command": ["a", "b"], "command": ["c"]}]}}}}"#,
    ),
    (
        DEPLOYMENTS,
        r#"{"metadata": {"name": "NAME"}, "spec": {"replicas": "x", "replicas": 2}, "spec": 5}"#,
    ),
    (
        DEPLOYMENTS,
        r#"{"metadata": {"name": "NAME"}, "spec": {"selector": {"matchLabels": {"app": "x"}}, "selector": null, "selector": {"matchLabels": {"app": "x", "app": "x"}}, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxSurge": 2}, "rollingUpdate": {"maxUnavailable": 0}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "a", "image": "x", "resources": {"limits": {"cpu": 1, "cpu": "x", "cpu": 2}}, "nonsense": 1, "env": [{"name": "A"}], "env": [{"value": "1"}]}]}}}}"#,
    ),
    (
        THINGS,
        r#"{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a", "name": "NAME"}, "spec": {"size": 1, "size": 2, "free": {"a": 1, "a": {"b": 1, "b": 2}}}}"#,
    ),
    (
        THINGS,
        r#"{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "NAME", "labels": {"a": "1"}}, "metadata": {"name": "NAME"}, "spec": {"size": 1, "odd": 1, "odd": 2}, "more": {"x": 1, "x": 1}, "spec": {"size": 3, "parts": [{"id": "a", "id": "b"}]}}"#,
    ),
    (
        THINGS,
        r#"{"apiVersion": "example.com/v1", "kind": "Other", "kind": "Thing", "metadata": {"name": "NAME"}, "spec": {"size": "x", "size": 1}}"#,
    ),
    (
        THINGS,
        r#"{"apiVersion": "example.com/v1", "kind": "Thing", "kind": "Other", "metadata": {"name": "NAME"}, "spec": {"size": 1}}"#,
    ),
    (
        THINGS,
        r#"{"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "NAME"}, "spec": {"size": 1}, "spec": null}"#,
    ),
    (
        MAPS,
        r#"{"metadata": {"name": "NAME"}, "": 1, "": 2, "data": {"": "1", "": "2"}}"#,
    ),
];

/// The same in YAML.
const LINES: [(&str, &str); 4] = [
    (
        MAPS,
        "metadata:\n  name: a\n  name: NAME\ndata:\n  a: '1'\n  a: '2'\nodd: 1\ndata:\n  b: '2'\n",
    ),
    (
        MAPS,
        "{\"metadata\": {\"name\": \"NAME\"}, \"data\": {\"a\": \"1\", \"a\": \"2\"}}",
    ),
    (
        MAPS,
        "metadata: {name: NAME}\ndata:\n  a: '1'\n\n  a: |\n    x\n    y\n",
    ),
    (
        THINGS,
        "apiVersion: example.com/v1\nkind: Thing\nmetadata:\n  name: NAME\nspec:\n  size: 1\n  odd: 2\n  size: 2\n",
    ),
];

const VALIDATION: [&str; 4] = ["", "Strict", "Warn", "Ignore"];

fn validated(request: Request, how: &str) -> Request {
    match how {
        "" => request,
        how => request.with("fieldValidation", how),
    }
}

fn text(request: Request, content: &'static str, text: &str) -> Request {
    request.body(content, Value::String(text.to_owned()))
}

/// Sequences of all kinds.
pub(super) fn twice() -> Vec<Vec<Request>> {
    let mut sequences = Vec::new();
    for how in VALIDATION {
        let mut whole = Vec::new();
        let all = WHOLE.iter().map(|one| (JSON, one));
        for (content, (path, body)) in all.chain(LINES.iter().map(|one| (YAML, one))) {
            let body = body.replace("NAME", &format!("n{}", whole.len()));
            let one = format!("{path}/n{}", whole.len());
            whole.push(validated(
                text(Request::new("POST", *path), content, &body),
                how,
            ));
            if path == &MAPS {
                whole.push(validated(
                    text(Request::new("PUT", one), content, &body),
                    how,
                ));
            }
        }
        sequences.push(whole);
        sequences.push(patches(how));
    }
    sequences
}

fn patches(how: &str) -> Vec<Request> {
    let made = json!({"metadata": {"name": "a", "labels": {"a": "1"}}, "data": {"a": "1"}});
    let thing = json!({
        "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"size": 1},
    });
    let mut requests = vec![
        Request::new("POST", MAPS).body(JSON, made),
        Request::new("POST", THINGS).body(JSON, thing),
    ];
    let merges = [
        r#"{"data": {"a": "2", "a": "3"}, "data": {"b": "1"}}"#,
        r#"{"odd": 1, "odd": {"x": 1, "x": 2}, "data": {"c": "1"}}"#,
        r#"{"metadata": {"labels": {"x": "1", "x": null}}, "metadata": {"labels": {"y": "1"}}}"#,
        r#"{"data": {"a": 5, "a": 6}}"#,
        r#"{"spec": {"size": 2, "size": 3}, "spec": {"size": 4}}"#,
        r#"{"kind": "x", "kind": "ConfigMap"}"#,
    ];
    let operations = [
        r#"[{"op": "add", "op": "remove", "path": "/metadata/labels/a"}]"#,
        r#"[{"op": "add", "path": "/data", "path": "/metadata/labels", "value": {"b": "1", "b": "2"}, "more": 1, "more": 2}]"#,
        r#"[{"op": "add", "path": "/metadata/labels", "value": 1, "value": {"c": "1"}}, {"op": 5, "op": "add", "path": "/x", "value": 1}]"#,
        r#"[{"op": "add", "path": "/odd", "value": {"c": [{"d": 1, "d": 2}]}}]"#,
        r#"[{"value": 1, "value": 2}]"#,
    ];
    let applied = [
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "7", "a": "8"}}"#,
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  name: a\ndata:\n  a: '1'\ndata:\n  b: '2'\n  b: '3'\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nodd: 1\nodd: 2\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: new\n  labels: {a: b, a: c}\n",
    ];
    for path in [MAPS, THINGS] {
        let one = || Request::new("PATCH", format!("{path}/a"));
        for body in merges {
            requests.push(validated(text(one(), MERGE, body), how));
            if path == MAPS {
                requests.push(validated(text(one(), STRATEGIC, body), how));
            }
        }
        for body in operations {
            requests.push(validated(text(one(), PATCH, body), how));
        }
        for body in applied {
            let (mut body, mut path) = (body.to_owned(), path.to_owned());
            let name = if body.contains("name: new") {
                "new"
            } else {
                "a"
            };
            path = format!("{path}/{name}");
            if path.starts_with(THINGS) {
                body = body
                    .replace("apiVersion: v1", "apiVersion: example.com/v1")
                    .replace("\"v1\"", "\"example.com/v1\"")
                    .replace("ConfigMap", "Thing")
                    .replace("data:", "spec:\n  size: 2\nmore:");
            }
            let request = Request::new("PATCH", path)
                .with("fieldManager", "one")
                .with("force", "true");
            requests.push(validated(text(request, APPLY, &body), how));
        }
    }
    requests
}
