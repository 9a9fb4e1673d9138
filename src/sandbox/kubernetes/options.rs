//! What may stand in the query of a request, read and refused as upstream does, before anything else is looked at.

use serde_json::{Value, json};

use super::request::{Info, Query};
use super::status::{Cause, Result, Status};

fn invalid(kind: &str, causes: &[Cause]) -> Result<()> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid("meta.k8s.io", kind, "", causes))
    }
}

/// A whole number of the query; 400 when it is none.
pub fn integer(query: &Query, key: &str) -> Result<Option<i64>> {
    match query.get(key) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!(
                "strconv.ParseInt: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}

/// `dryRun`, which may stand there more than once.
pub fn dry_run(values: &[&str]) -> Option<Cause> {
    values
        .iter()
        .any(|value| *value != "All")
        .then(|| Cause::unsupported("dryRun", &json!(values), &["All"]))
}

/// Checks what create, update and patch have in common. `apply` tells of a patch whether it is server-side apply.
pub fn writing(info: &Info, kind: &str, apply: Option<bool>) -> Result<()> {
    let query = &info.query;
    let mut causes = Vec::new();
    let manager = query.get("fieldManager");
    match apply {
        Some(true) if manager.is_empty() => {
            causes.push(Cause::required(
                "fieldManager",
                "is required for apply patch",
            ));
        }
        Some(false) if query.has("force") => causes.push(Cause::forbidden(
            "force",
            "may not be specified for non-apply patch",
        )),
        _ => {}
    }
    if manager.len() > 128 {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 128 bytes".into(),
            field: "fieldManager".into(),
        });
    }
    for (at, letter) in manager.char_indices() {
        if letter.is_control() {
            let why = format!(
                "invalid character U+{:04X} (at position {at})",
                letter as u32
            );
            causes.push(Cause::invalid("fieldManager", &manager.into(), why));
        }
    }
    causes.extend(dry_run(&query.all("dryRun")));
    let validation = query.get("fieldValidation");
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        causes.push(Cause::unsupported(
            "fieldValidation",
            &validation.into(),
            &["", "Ignore", "Strict", "Warn"],
        ));
    }
    invalid(kind, &causes)
}

/// What the query of a change says, as admission is shown it.
pub fn said(info: &Info) -> Value {
    let query = &info.query;
    let mut said = json!({});
    if query.has("dryRun") {
        said["dryRun"] = json!(query.all("dryRun"));
    }
    for field in ["fieldManager", "fieldValidation"] {
        if !query.get(field).is_empty() {
            said[field] = query.get(field).into();
        }
    }
    said
}

/// Checks the options of a list or a watch.
pub fn listing(info: &Info) -> Result<()> {
    let query = &info.query;
    for key in ["timeoutSeconds", "limit"] {
        integer(query, key)?;
    }
    super::selector::Labels::parse(query.get("labelSelector"))?;
    let fields = query.get("fieldSelector");
    for part in fields.split(',').filter(|part| !part.is_empty()) {
        if !part.contains('=') {
            return Err(Status::bad_request(format!(
                "invalid selector: '{fields}'; can't understand '{part}'"
            )));
        }
    }
    let mut causes = Vec::new();
    let initial = query.has("sendInitialEvents");
    let matching = query.get("resourceVersionMatch");
    let version = query.get("resourceVersion");
    let place = "resourceVersionMatch";
    let known = matches!(matching, "Exact" | "NotOlderThan");
    if info.verb == "watch" {
        if initial && matching != "NotOlderThan" {
            causes.push(Cause::forbidden(
                place,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        if !matching.is_empty() {
            if !initial {
                causes.push(Cause::forbidden(
                    place,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if matching != "NotOlderThan" {
                causes.push(Cause::unsupported(
                    place,
                    &matching.into(),
                    &["NotOlderThan"],
                ));
            }
        }
    } else {
        if !matching.is_empty() {
            if version.is_empty() {
                causes.push(Cause::forbidden(
                    place,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !query.get("continue").is_empty() {
                causes.push(Cause::forbidden(
                    place,
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if !known {
                causes.push(Cause::unsupported(
                    place,
                    &matching.into(),
                    &["Exact", "NotOlderThan", ""],
                ));
            }
            if matching == "Exact" && version == "0" {
                causes.push(Cause::forbidden(
                    place,
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if initial {
            causes.push(Cause::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
    }
    invalid("ListOptions", &causes)
}

/// Checks the options of a deletion, wherever they came from.
pub fn deleting(options: &Value) -> Result<()> {
    let mut causes = Vec::new();
    let policy = &options["propagationPolicy"];
    if !options["orphanDependents"].is_null() && !policy.is_null() {
        causes.push(Cause::invalid(
            "propagationPolicy",
            policy,
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    if let Some(policy) = policy.as_str()
        && !matches!(policy, "Foreground" | "Background" | "Orphan")
    {
        causes.push(Cause::unsupported(
            "propagationPolicy",
            &policy.into(),
            &["Foreground", "Background", "Orphan", "nil"],
        ));
    }
    let words: Vec<&str> = options["dryRun"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    causes.extend(dry_run(&words));
    invalid("DeleteOptions", &causes)
}
