//! Two answers side by side, without what must differ between two servers.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a regular expression")
}

static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    vec![
        (
            regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
            "<uid>",
        ),
        (regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
        // What generateName adds.
        (
            regex("(gen-|kube-api-access-)[bcdfghjklmnpqrstvwxz2456789]{5}"),
            "${1}<random>",
        ),
        // Allocated addresses; sequences ask only for others by name.
        (regex(r"10\.100\.\d+\.\d+"), "<address>"),
        // An object that a message shows.
        (
            regex(r#""resourceVersion":"\d+""#),
            "\"resourceVersion\":\"<rv>\"",
        ),
        (regex(r#""nodePort":\d+"#), "\"nodePort\":\"<port>\""),
        // Where etcd keeps it.
        (
            regex(
                "StorageError: invalid object, Code: 4, Key: [^,]*, ResourceVersion: 0, AdditionalErrorMsg: ",
            ),
            "",
        ),
        (
            regex(r"too old resource version: \d+ \(\d+\)"),
            "too old resource version: <rv> (<rv>)",
        ),
        (
            regex(
                r"in the precondition \(\d+\) does not match the ResourceVersion in record \(\d+\)",
            ),
            "in the precondition (<rv>) does not match the ResourceVersion in record (<rv>)",
        ),
        (
            regex(r"nodePort: Duplicate value: \d+"),
            "nodePort: Duplicate value: <port>",
        ),
        (
            regex(r"Too large resource version: \d+, current: \d+"),
            "Too large resource version: <rv>, current: <rv>",
        ),
    ]
});

/// The whole object, in an order of its own.
static PATCHED: LazyLock<Regex> = LazyLock::new(|| regex(r#"(?s)Invalid value: "\{.*\}": "#));

static RUN: LazyLock<Regex> = LazyLock::new(|| regex(r"run\d{6}"));
static PRECONDITION: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"ResourceVersion in precondition: (\d+), ResourceVersion in object meta: (\d+)")
});

/// Replaces what must differ, the same thing by the same name throughout a sequence.
#[derive(Default)]
pub struct Normal {
    revisions: HashMap<String, usize>,
}

impl Normal {
    fn revision(&mut self, text: &str) -> String {
        let next = self.revisions.len() + 1;
        format!(
            "rv{}",
            self.revisions.entry(text.to_owned()).or_insert(next)
        )
    }

    fn text(&mut self, text: &str) -> String {
        let mut text = RUN.replace_all(text, "RUN").into_owned();
        for (pattern, name) in PATTERNS.iter() {
            text = pattern.replace_all(&text, *name).into_owned();
        }
        text = PATCHED
            .replace_all(&text, "Invalid value: <patched>: ")
            .into_owned();
        // Several errors of the merger come in any order.
        if let Some((head, rest)) = text.split_once("errors:\n") {
            let mut lines: Vec<&str> = rest.lines().collect();
            lines.sort_unstable();
            text = format!("{head}errors:\n{}", lines.join("\n"));
        }
        if PRECONDITION.is_match(&text) {
            text = PRECONDITION
                .replace_all(&text, |found: &Captures<'_>| {
                    format!(
                        "ResourceVersion in precondition: {}, ResourceVersion in object meta: {}",
                        self.revision(&found[1]),
                        self.revision(&found[2])
                    )
                })
                .into_owned();
        }
        text
    }

    /// A body in its comparable form.
    pub fn value(&mut self, value: &Value) -> Value {
        // The failure of a list may have a token too.
        let list = value.get("items").is_some()
            || value.get("rows").is_some()
            || value["kind"] == "Status";
        let mut value = self.part(value, list);
        sort_causes(&mut value);
        value
    }

    fn part(&mut self, value: &Value, list: bool) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.part(item, false)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, item)| {
                    let item = match (key.as_str(), item) {
                        ("metadata", Value::Object(meta)) if list => self.list_meta(meta),
                        ("resourceVersion", Value::String(text)) => self.revision(text).into(),
                        ("managedFields", Value::Array(entries)) => self.managers(entries),
                        ("nodePort" | "healthCheckNodePort", Value::Number(_)) => "<port>".into(),
                        // Empty is one and the same, and the server itself says it in both ways.
                        ("rows", Value::Null) => Value::Array(Vec::new()),
                        ("cells", Value::Array(cells)) => cells
                            .iter()
                            .map(|one| cell(&self.part(one, false)))
                            .collect(),
                        ("deletionTimestamp", Value::String(_)) => "<time>".into(),
                        ("token", Value::String(text)) if text.starts_with("ey") => {
                            "<token>".into()
                        }
                        _ => self.part(item, false),
                    };
                    (self.text(key), item)
                })
                .collect(),
            other => other.clone(),
        }
    }

    fn list_meta(&mut self, meta: &serde_json::Map<String, Value>) -> Value {
        meta.iter()
            .map(|(key, item)| {
                let item = match key.as_str() {
                    "resourceVersion" => "<revision of the list>".into(),
                    "continue" => "<token>".into(),
                    _ => item.clone(),
                };
                (key.clone(), item)
            })
            .collect()
    }

    /// Entries are sorted by time in seconds, and two servers do not pass a second at the same moment.
    fn managers(&mut self, entries: &[Value]) -> Value {
        let mut entries: Vec<Value> = entries
            .iter()
            .map(|entry| self.part(entry, false))
            .collect();
        entries.sort_by_key(|entry| {
            ["operation", "manager", "subresource", "apiVersion"]
                .map(|key| entry[key].as_str().unwrap_or("").to_owned())
        });
        Value::Array(entries)
    }
}

/// Ages are of the moment, and ports of nodes are allocated.
fn cell(value: &Value) -> Value {
    static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"^\d+s$"));
    static PORT: LazyLock<Regex> = LazyLock::new(|| regex(r"\b(\d+):3[0-2]\d{3}/"));
    match value {
        Value::String(text) if AGE.is_match(text) => "<age>".into(),
        Value::String(text) => PORT.replace_all(text, "$1:<port>/").into(),
        other => other.clone(),
    }
}

/// The merger walks a map of Go until it finds an unknown field, so that chance decides what else it has found.
fn found_by_chance(ours: &str, theirs: &str) -> bool {
    let parts = |text: &str| -> Option<(String, Vec<String>)> {
        let (head, rest) = text.split_once("): ")?;
        let said = rest.strip_prefix("errors:").unwrap_or(rest).lines();
        let said = said.map(str::trim).filter(|line| !line.is_empty());
        Some((head.to_owned(), said.map(str::to_owned).collect()))
    };
    let unknown = "field not declared in schema";
    match (parts(ours), parts(theirs)) {
        (Some((ours_head, ours)), Some((theirs_head, theirs))) => {
            ours_head == theirs_head
                && ours_head.starts_with("failed to create typed patch object")
                && theirs.iter().any(|line| line.contains(unknown))
                && theirs.iter().all(|line| ours.contains(line))
        }
        _ => false,
    }
}

/// The port of a cause is in its field alone.
fn ports(causes: &mut [Value]) {
    for cause in causes {
        let at = cause["field"].as_str().unwrap_or("");
        let message = cause["message"].as_str().unwrap_or("");
        if at.ends_with(".nodePort") && message.starts_with("Duplicate value: ") {
            cause["message"] = "Duplicate value: <port>".into();
        }
    }
}

/// Go walks its maps in any order, so that several causes come in any order.
fn sort_causes(status: &mut Value) {
    let Some(mut causes) = status["details"]["causes"].as_array().cloned() else {
        return;
    };
    ports(&mut causes);
    causes.sort_by_key(Value::to_string);
    // Metadata is looked at by two hands of the server, and what it finds stands there twice.
    causes.dedup();
    status["details"]["causes"] = Value::Array(causes.clone());
    let said: Vec<String> = causes
        .iter()
        .map(|cause| {
            let text = |key: &str| cause[key].as_str().unwrap_or("");
            format!("{}: {}", text("field"), text("message"))
        })
        .collect();
    let message = status["message"].as_str().unwrap_or("");
    if said.len() > 1
        && said.iter().all(|one| message.contains(one))
        && let Some((head, _)) = message.split_once(": [")
    {
        let message = format!("{head}: [{}]", said.join(", "));
        status["message"] = message.into();
        status["details"]["causes"] = Value::Array(causes);
    }
}

/// Where two values differ: path, ours, theirs.
pub fn differences(ours: &Value, theirs: &Value) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    walk("", ours, theirs, &mut found);
    found
}

fn walk(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<(String, String, String)>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => walk(&path, a, b, found),
                    // Whether the real server gets to a regular bookmark before the end is chance.
                    (Some(_), None) if path == ".body.bookmark" => {}
                    (Some(a), None) => found.push((path, a.to_string(), "absent".into())),
                    (None, Some(b)) => found.push((path, "absent".into(), b.to_string())),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}[{index}]"), a, b, found);
            }
        }
        _ if ours == theirs => {}
        (Value::String(a), Value::String(b))
            if path.ends_with(".message") && found_by_chance(a, b) => {}
        _ => found.push((path.to_owned(), ours.to_string(), theirs.to_string())),
    }
}
