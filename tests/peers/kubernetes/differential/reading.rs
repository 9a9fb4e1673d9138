//! What lists and watches may ask for of the past: every combination of their options, and what is said once the past is
//! forgotten.

use serde_json::{Value, json};

use super::play::Request;

const JSON: &str = "application/json";

/// A kind that both servers have built in, and one of a definition.
const KINDS: [(&str, &str); 2] = [
    ("ConfigMap", "/api/v1/namespaces/@run-a/configmaps"),
    ("Thing", "/apis/example.com/v1/namespaces/@run-a/things"),
];

fn object(kind: &str, name: &str) -> Value {
    match kind {
        "ConfigMap" => json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}),
        _ => json!({
            "apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": name},
            "spec": {"size": 1},
        }),
    }
}

fn create(kind: &str, path: &str) -> Vec<Request> {
    ["a", "b", "c"]
        .map(|name| Request::new("POST", path).body(JSON, object(kind, name)))
        .to_vec()
}

/// Sequences that ask in every way, to be played side by side.
pub fn combinations() -> Vec<Vec<Request>> {
    let versions = ["", "0", "@began", "x", "-1", "1.5", "18446744073709551616"];
    let matches = ["", "Exact", "NotOlderThan", "Nonsense"];
    let mut sequences = Vec::new();
    for (kind, path) in KINDS {
        for matching in matches {
            let mut lists = create(kind, path);
            let mut watches = create(kind, path);
            for version in versions {
                for extra in [
                    &[][..],
                    &["limit=1"],
                    &["sendInitialEvents=true"],
                    &["limit=1", "continue=@continue"],
                ] {
                    lists.push(ask("GET", path, version, matching, extra));
                }
                for extra in [
                    &["timeoutSeconds=1"][..],
                    &["timeoutSeconds=1", "sendInitialEvents=true"],
                    &[
                        "timeoutSeconds=1",
                        "sendInitialEvents=true",
                        "allowWatchBookmarks=true",
                    ],
                    &[
                        "timeoutSeconds=1",
                        "sendInitialEvents=false",
                        "allowWatchBookmarks=true",
                    ],
                ] {
                    watches.push(ask("WATCH", path, version, matching, extra));
                }
            }
            // What is not there yet: the real server waits for it.
            lists.push(ask("GET", path, "999999999", matching, &[]));
            sequences.extend([lists, watches]);
        }
        let mut tokens = create(kind, path);
        for token in [
            "x",
            "=",
            "!!!!",
            "e30",
            "bnVsbA",
            "W10",
            // {"v":"v2","rv":1,"start":"a"}
            "eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJhIn0",
            // {"v":"meta.k8s.io/v1","rv":0,"start":"a"}
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0",
            // {"v":"meta.k8s.io/v1","rv":-1,"start":"b"}
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiYiJ9",
            // {"v":"meta.k8s.io/v1","rv":-1,"start":""}
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiIn0",
            // {"v":"meta.k8s.io/v1","rv":-1,"start":"../b"}
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiLi4vYiJ9",
            // {"v":"meta.k8s.io/v1","rv":"1","start":"a"}
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6IjEiLCJzdGFydCI6ImEifQ",
            // {"v":1,"rv":1,"start":"a"}
            "eyJ2IjoxLCJydiI6MSwic3RhcnQiOiJhIn0",
        ] {
            tokens.push(
                Request::new("GET", path)
                    .with("limit", "1")
                    .with("continue", token),
            );
        }
        sequences.push(tokens);
        let mut told = create(kind, path);
        for view in [
            JSON,
            "application/json;as=Table;g=meta.k8s.io;v=v1",
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ] {
            let mut request = Request::new("WATCH", path)
                .with("watch", "1")
                .with("resourceVersion", "@began")
                .with("allowWatchBookmarks", "true")
                .with("timeoutSeconds", "5");
            request.accept = view;
            told.push(request);
        }
        sequences.push(told);
    }
    sequences
}

/// Pages of what is in no namespace. Whether one has another after it depends on all that is there: nobody else may change it.
pub fn paged() -> Vec<Request> {
    let worlds = "/apis/example.com/v1/worlds";
    let mut requests: Vec<Request> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let world = json!({
                "apiVersion": "example.com/v1", "kind": "World",
                "metadata": {"name": format!("@run-{name}"), "labels": {"run": "@run", "own": name}},
            });
            Request::new("POST", worlds).body(JSON, world)
        })
        .collect();
    // What a cluster has from its first moment.
    requests.extend(
        [
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin",
        ]
        .map(|path| Request::new("GET", path)),
    );
    for path in [worlds, "/api/v1/namespaces"] {
        for selector in [
            "",
            "run=@run",
            "run=@run,own!=b",
            "run=@run,own in (a,c)",
            "run=nothing",
        ] {
            for limit in ["1", "2"] {
                let mut first = Request::new("GET", path).with("limit", limit);
                if !selector.is_empty() {
                    first = first.with("labelSelector", selector);
                }
                let next = first.clone().with("continue", "@continue");
                requests.extend([first, next.clone(), next]);
            }
        }
    }
    requests
}

fn ask(method: &'static str, path: &str, version: &str, matching: &str, extra: &[&str]) -> Request {
    let mut request = Request::new(method, path);
    if method == "WATCH" {
        request = request.with("watch", "1");
    }
    if !version.is_empty() {
        request = request.with("resourceVersion", version);
    }
    if !matching.is_empty() {
        request = request.with("resourceVersionMatch", matching);
    }
    for (key, value) in extra.iter().filter_map(|pair| pair.split_once('=')) {
        request = request.with(key, value);
    }
    request
}

/// Sequences whose past is forgotten in the middle of them: by compaction, or because too much has happened since.
pub fn forgotten() -> Vec<Vec<Request>> {
    KINDS
        .map(|(kind, path)| {
            let mut requests = create(kind, path);
            let list = Request::new("GET", path).with("limit", "1");
            requests.push(list.clone());
            let label = |n: usize| json!({"metadata": {"labels": {"n": n.to_string()}}});
            requests.extend((0..20).map(|n| {
                let one = format!("{path}/a");
                Request::new("PATCH", one).body("application/merge-patch+json", label(n))
            }));
            let mut gone = list.clone().with("continue", "@continue");
            gone.method = "GONE";
            // Its answer has another token, which goes on with what is there now.
            requests.extend([gone, list.clone().with("continue", "@continue")]);
            let old = |request: Request| request.with("resourceVersion", "@began");
            requests.push(old(list.clone()));
            requests.push(old(Request::new("GET", path)));
            for matching in ["Exact", "NotOlderThan"] {
                requests.push(old(list.clone()).with("resourceVersionMatch", matching));
            }
            if kind == "Thing" {
                // Older than the definition.
                let watch = Request::new("WATCH", path).with("watch", "1");
                requests.push(
                    watch
                        .with("resourceVersion", "1")
                        .with("timeoutSeconds", "1"),
                );
            }
            requests
        })
        .to_vec()
}
