//! Lifecycle policies: validated and kept. Nothing expires in the life of a sandbox.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Call, Fault, bad, find, refuse, seconds};
use crate::sandbox::state;

/// What is wrong with a policy.
fn check(text: &str) -> Result<(), String> {
    let policy: Value = serde_json::from_str(text).map_err(|_| "invalid JSON".to_owned())?;
    let Some(rules) = policy["rules"].as_array().filter(|rules| !rules.is_empty()) else {
        return Err("object has missing required properties ([\"rules\"])".to_owned());
    };
    if rules.len() > 50 {
        return Err("there are more than 50 rules".to_owned());
    }
    let mut priorities = BTreeSet::new();
    let mut any = None;
    for rule in rules {
        let priority = rule["rulePriority"].as_i64().filter(|number| *number >= 1);
        let Some(priority) = priority else {
            return Err("rulePriority must be an integer of at least 1".to_owned());
        };
        if !priorities.insert(priority) {
            return Err(format!("rulePriority {priority} is used more than once"));
        }
        let selection = &rule["selection"];
        let listed = |member: &str| {
            selection[member]
                .as_array()
                .is_some_and(|list| !list.is_empty())
        };
        match selection["tagStatus"].as_str() {
            Some("tagged") if listed("tagPrefixList") == listed("tagPatternList") => {
                return Err(
                    "a tagged selection must have a tagPrefixList or a tagPatternList".to_owned(),
                );
            }
            Some("untagged" | "any") if listed("tagPrefixList") || listed("tagPatternList") => {
                return Err(
                    "only a tagged selection may have a tagPrefixList or a tagPatternList"
                        .to_owned(),
                );
            }
            Some("any") => any = Some(priority),
            Some("tagged" | "untagged") => {}
            _ => return Err("tagStatus must be tagged, untagged or any".to_owned()),
        }
        match selection["countType"].as_str() {
            Some("imageCountMoreThan") if selection["countUnit"].is_null() => {}
            Some("sinceImagePushed") if selection["countUnit"] == "days" => {}
            Some("imageCountMoreThan" | "sinceImagePushed") => {
                return Err(
                    "countUnit must be days with sinceImagePushed, and only then".to_owned(),
                );
            }
            _ => return Err("countType must be imageCountMoreThan or sinceImagePushed".to_owned()),
        }
        if selection["countNumber"]
            .as_i64()
            .is_none_or(|number| number < 1)
        {
            return Err("countNumber must be an integer of at least 1".to_owned());
        }
        if rule["action"]["type"] != "expire" {
            return Err("the action's type must be expire".to_owned());
        }
    }
    match (any, priorities.last()) {
        (Some(any), Some(last)) if any != *last => {
            Err("a rule with tagStatus any must have the highest rulePriority".to_owned())
        }
        _ => Ok(()),
    }
}

/// `PutLifecyclePolicy`.
pub fn set(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let text = call.input["lifecyclePolicyText"]
        .as_str()
        .unwrap_or_default();
    check(text).map_err(|reason| {
        bad(
            "LifecyclePolicyText",
            &format!("Lifecycle policy validation failure: {reason}"),
        )
    })?;
    let now = call.world.clock.now();
    let repository = find(state, call)?;
    repository.lifecycle = Some((text.to_owned(), now));
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": repository.name,
        "lifecyclePolicyText": text,
    }))
}

/// `GetLifecyclePolicy` and `DeleteLifecyclePolicy`.
pub fn get(state: &mut state::State, call: &Call<'_>, delete: bool) -> Result<Value, Fault> {
    let repository = find(state, call)?;
    let Some((text, set_at)) = repository.lifecycle.clone() else {
        return Err(refuse(
            "LifecyclePolicyNotFoundException",
            format!(
                "Lifecycle policy does not exist for the repository with name '{}' in the registry with id '{}'",
                repository.name, call.world.account
            ),
        ));
    };
    if delete {
        repository.lifecycle = None;
    }
    Ok(json!({
        "registryId": &*call.world.account,
        "repositoryName": repository.name,
        "lifecyclePolicyText": text,
        "lastEvaluatedAt": seconds(set_at),
    }))
}
