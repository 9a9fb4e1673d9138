//! What the controllers' roles are granted equals what they use, but for what `docs/permissions.md` lists with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::wire::Sandbox;

/// One action of one statement of one policy.
type Grant = (String, String, String);

/// The policies and the roles that have them, by the end of their names.
const POLICIES: [(&str, &str); 3] = [
    ("app-mesh/controller-policy.json", "-mesh-controller"),
    ("app-mesh/proxy-policy.json", "-proxy"),
    ("load-balancer/policy.json", "-load-balancer-controller"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn granted() -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    for (file, _) in POLICIES {
        let text = std::fs::read_to_string(root().join("templates").join(file)).unwrap();
        let values = serde_json::json!({
            "partition": "aws", "region": "us-west-2", "account": "123456789012", "mesh": "m",
            "namespace": "n", "tracing": {"xray": true},
        });
        let policy = minijinja::Environment::new()
            .render_str(
                &text,
                minijinja::value::Value::from(minijinja::value::Serde(&values)),
            )
            .unwrap();
        let policy: Value = serde_json::from_str(&policy).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            let id = statement["Sid"]
                .as_str()
                .expect("every statement has an id");
            for action in statement["Action"].as_array().unwrap() {
                let action = action.as_str().unwrap();
                assert!(!action.contains('*'), "{file}: {id}: {action}");
                grants.insert((file.into(), id.into(), action.into()));
            }
        }
    }
    grants
}

/// The rows of the table in the documentation: grants and their reasons.
fn listed() -> BTreeMap<Grant, String> {
    let text = std::fs::read_to_string(root().join("docs/permissions.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", policy, statement, actions, reason, ""] = cells[..] else {
            continue;
        };
        if !policy.ends_with(".json") {
            continue;
        }
        for action in actions.split(", ") {
            let grant = (policy.into(), statement.into(), action.into());
            assert!(reason.len() > 20, "{grant:?} has a reason");
            let twice = rows.insert(grant, reason.to_owned());
            assert_eq!(twice, None, "{policy} {statement} {action} is listed twice");
        }
    }
    rows
}

#[test]
fn what_the_documentation_lists_is_granted() {
    let granted = granted();
    for grant in listed().keys() {
        assert!(granted.contains(grant), "{grant:?} is not granted");
    }
}

/// Compares what the roles did in this sandbox's life with what they may do.
pub fn check(sandbox: &Sandbox) {
    let decisions = sandbox.control("GET", "decisions", &Value::Null);
    let mut used = BTreeSet::new();
    for decision in decisions.as_array().unwrap() {
        let principal = decision["principal"].as_str().unwrap();
        let Some((file, _)) = POLICIES.iter().find(|(_, end)| principal.ends_with(end)) else {
            continue;
        };
        let action = decision["action"].as_str().unwrap();
        assert_eq!(decision["allowed"], true, "{file} lacks {decision}");
        for statement in decision["statements"].as_array().unwrap() {
            let statement = statement.as_str().unwrap();
            used.insert((file.to_string(), statement.to_owned(), action.to_owned()));
        }
    }
    let (granted, listed) = (granted(), listed());
    let idle: Vec<&Grant> = granted
        .difference(&used)
        .filter(|grant| !listed.contains_key(*grant))
        .collect();
    assert!(
        idle.is_empty(),
        "granted, never used, and not in docs/permissions.md: {idle:#?}"
    );
    let busy: Vec<&Grant> = used
        .iter()
        .filter(|grant| listed.contains_key(*grant))
        .collect();
    assert!(
        busy.is_empty(),
        "listed in docs/permissions.md as unused, but used: {busy:#?}"
    );
}
