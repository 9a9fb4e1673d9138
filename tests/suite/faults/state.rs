//! The whole state of a sandbox in a form in which two runs that did the same are the same.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::harness::World;
use crate::wire::{Request, exchange_tls};

/// What passes, counts up or is forgotten after a while, wherever it is.
const PASSING: &[&str] = &[
    // AWS.
    "next_id",
    "xray",
    "sessions",
    "tokens",
    "token",
    "uploads",
    "events",
    "updates",
    "change_sets",
    "change_set",
    "detections",
    "fingerprint",
    "last_used",
    "leaving",
    "doomed",
    "issuers",
    "seen",
    "version",
    "generation",
    "runtime",
    "thumbprints",
    "previous",
    "reason",
    "logs_at",
    "streams",
    "health",
    "state_reason",
    "patience",
    "caller",
    "before",
    // Kubernetes.
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "status",
    "time",
    "caBundle",
    "clusterIP",
    "clusterIPs",
    "nodePort",
    "observedGeneration",
];

/// What is made from chance or from the order of things, and what it becomes.
static CHANCE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b", "MAC"),
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UUID",
        ),
        (r"\b([a-z]+(?:-[a-z]+)?)-[0-9a-f]{8,17}\b", "$1-ID"),
        (r"\b[0-9a-fA-F]{16,}\b", "HEX"),
        (r"\bA(?:KIA|SIA|ROA|IDA|IPA|NPA)[A-Z0-9]{16,17}\b", "KEY"),
        (r"\b(?:10|127|172|203|198|192)\.\d+\.\d+\.\d+\b", "ADDRESS"),
        (r"\bip-\d+-\d+-\d+-\d+\b", "NODE"),
        (r"-[A-Z0-9]{12}\b", "-SUFFIX"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
        (r":\d{4,5}\b", ":PORT"),
    ]
    .into_iter()
    .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name))
    .collect()
});

fn calm(text: &str) -> String {
    // Certificates and their keys are made anew.
    if text.len() > 400 && !text.contains(' ') || text.starts_with("-----BEGIN") {
        return "LONG".into();
    }
    CHANCE
        .iter()
        .fold(text.to_owned(), |text, (pattern, name)| {
            pattern.replace_all(&text, *name).into_owned()
        })
}

/// Writes each leaf as a line, in an order of their own: what was made from chance says nothing of order either.
fn write(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members
                .iter()
                .filter(|(name, _)| !PASSING.contains(&name.as_str()));
            let mut parts: Vec<Value> = kept
                .map(|(name, value)| Value::Array(vec![calm(name).into(), write(value)]))
                .filter(|part| !part[1].is_null())
                .collect();
            parts.sort_by_cached_key(Value::to_string);
            Value::Array(parts)
        }
        Value::Array(items) => {
            let mut parts: Vec<Value> = items.iter().map(write).collect();
            parts.sort_by_cached_key(Value::to_string);
            Value::Array(parts)
        }
        Value::String(text) => {
            // Documents in documents, such as policies.
            match serde_json::from_str::<Value>(text) {
                Ok(inner @ (Value::Object(_) | Value::Array(_))) => write(&inner),
                _ => calm(text).into(),
            }
        }
        // Milliseconds since 1970, this century.
        Value::Number(number) if number.as_f64().is_some_and(|n| n > 1.6e12) => "TIME".into(),
        other => other.clone(),
    }
}

/// The lines in which two states differ, for people.
fn lines(prefix: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Array(parts)
            if parts
                .iter()
                .all(|part| part[0].is_string() && part[1] != Value::Null) =>
        {
            for part in parts {
                lines(
                    &format!("{prefix}/{}", part[0].as_str().unwrap()),
                    &part[1],
                    into,
                );
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| lines(prefix, part, into)),
        leaf => {
            into.insert(format!("{prefix} = {leaf}"));
        }
    }
}

/// A state, calmed.
#[derive(Clone, Debug, PartialEq)]
pub struct Everything(Value);

impl Everything {
    /// What the two have not in common.
    pub fn difference(&self, other: &Everything) -> String {
        let (mut mine, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        lines("", &self.0, &mut mine);
        lines("", &other.0, &mut theirs);
        let lost = mine.difference(&theirs).map(|line| format!("- {line}\n"));
        let new = theirs.difference(&mine).map(|line| format!("+ {line}\n"));
        let all: Vec<String> = lost.chain(new).take(40).collect();
        match all.is_empty() {
            true => "the same things, in other numbers".into(),
            false => all.concat(),
        }
    }

    /// What the other has and this has not.
    pub fn gained(&self, other: &Everything) -> String {
        let (mut mine, mut theirs) = (BTreeSet::new(), BTreeSet::new());
        lines("", &self.0, &mut mine);
        lines("", &other.0, &mut theirs);
        let gained = theirs.difference(&mine).map(|line| format!("{line}\n"));
        gained.collect()
    }

    /// The state of a world's sandbox as it is now; none while a file is being replaced or a cluster comes up.
    pub fn of(world: &World) -> Option<Everything> {
        let file = world.sandbox_directory().join("state.json");
        let mut state: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        forget(&mut state);
        let mut all = vec![Value::Array(vec!["aws".into(), write(&state)])];
        let clusters = state["eks"]["clusters"].as_object()?.clone();
        for cluster in clusters.values().filter(|one| one["status"] == "ACTIVE") {
            let objects = objects(world, cluster)?;
            all.push(Value::Array(vec!["kubernetes".into(), write(&objects)]));
        }
        Some(Everything(Value::Array(all)))
    }
}

/// Removes what has ended and is only remembered.
fn forget(state: &mut Value) {
    let retain = |value: Option<&mut Value>, keep: &dyn Fn(&Value) -> bool| {
        if let Some(members) = value.and_then(Value::as_object_mut) {
            members.retain(|_, value| keep(value));
        }
    };
    retain(state.pointer_mut("/cloudformation/stacks"), &|stack| {
        stack["deleted_at"].is_null()
    });
    let regions = state.pointer_mut("/ec2/regions");
    for region in regions.and_then(Value::as_object_mut).into_iter().flatten() {
        let (_, region) = region;
        retain(region.get_mut("instances"), &|instance| {
            instance["state"] != "terminated"
        });
        retain(region.get_mut("nat_gateways"), &|gateway| {
            gateway["state"] != "deleted"
        });
    }
    let groups = state.pointer_mut("/logs/groups");
    for (_, region) in groups.and_then(Value::as_object_mut).into_iter().flatten() {
        retain(Some(region), &|group| !group.is_null());
    }
}

/// All objects of a cluster that last.
fn objects(world: &World, cluster: &Value) -> Option<Value> {
    const FLEETING: &[&str] = &[
        "events",
        "leases",
        "pods",
        "replicasets",
        "endpoints",
        "endpointslices",
        "nodes",
        "csinodes",
        "componentstatuses",
        "controllerrevisions",
        "podtemplates",
        "targetgroupbindings",
        "certificatesigningrequests",
    ];
    let server = cluster["runtime"]["endpoint"].as_str()?;
    let server: std::net::SocketAddr = server.trim_start_matches("https://").parse().ok()?;
    // Once the API server is there: after a start that takes a moment.
    std::net::TcpStream::connect(server).ok()?;
    let environment = cluster["name"].as_str()?.trim_start_matches("meshctl-");
    let bearer = world.bearer_of(environment);
    let get = |path: &str| -> Option<Value> {
        let request = Request::new("", "GET", path, b"").header("authorization", &bearer);
        let answer = exchange_tls(server, &request.bytes());
        (answer.status == 200).then(|| serde_json::from_str(&answer.body()).ok())?
    };
    let mut roots = vec!["/api/v1".to_owned()];
    for group in get("/apis")?["groups"].as_array()? {
        let version = group["preferredVersion"]["groupVersion"].as_str()?;
        roots.push(format!("/apis/{version}"));
    }
    let mut all = serde_json::Map::new();
    for root in roots {
        for resource in get(&root)?["resources"].as_array()? {
            let name = resource["name"].as_str()?;
            let listable = resource["verbs"]
                .as_array()?
                .iter()
                .any(|verb| verb == "list");
            if listable && !name.contains('/') && !FLEETING.contains(&name) {
                let mut items = get(&format!("{root}/{name}"))?["items"].take();
                for item in items.as_array_mut()? {
                    // Keys and certificates are made anew.
                    if name == "secrets" {
                        item["data"] = Value::Null;
                    }
                }
                all.insert(format!("{root}/{name}"), items);
            }
        }
    }
    Some(Value::Object(all))
}
