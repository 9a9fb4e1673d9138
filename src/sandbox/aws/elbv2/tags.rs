//! Tags of load balancers, target groups, listeners and rules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Call, Fault, State, refuse, text, texts};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// Reads the tags of a request.
pub fn read(call: &Call<'_>) -> Result<Tags, Fault> {
    let mut tags = Tags::new();
    for tag in call.input["Tags"].as_array().into_iter().flatten() {
        let key = text(tag, "Key").to_owned();
        if key.starts_with("aws:") {
            return Err(refuse(
                "ValidationError",
                "Tag keys must not begin with the reserved prefix aws:",
            ));
        }
        if tags.insert(key, text(tag, "Value").to_owned()).is_some() {
            return Err(refuse(
                "DuplicateTagKeys",
                "A tag key was specified more than once",
            ));
        }
    }
    check(&tags)?;
    Ok(tags)
}

fn check(tags: &Tags) -> Result<(), Fault> {
    if tags.len() > 50 {
        return Err(refuse(
            "TooManyTags",
            "You've reached the limit on the number of tags for this resource",
        ));
    }
    Ok(())
}

/// The tags of whatever an ARN names.
pub fn of<'a>(state: &'a State, arn: &str) -> Option<&'a Tags> {
    None.or_else(|| state.load_balancers.get(arn).map(|known| &known.tags))
        .or_else(|| state.target_groups.get(arn).map(|known| &known.tags))
        .or_else(|| state.listeners.get(arn).map(|known| &known.tags))
        .or_else(|| state.rules.get(arn).map(|known| &known.tags))
}

fn of_mut<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut Tags, Fault> {
    let missing = |code: &str, what: &str| refuse(code, format!("{what} '{arn}' not found"));
    if arn.contains(":loadbalancer/") {
        let known = state.load_balancers.get_mut(arn);
        known
            .map(|known| &mut known.tags)
            .ok_or_else(|| missing("LoadBalancerNotFound", "Load balancer"))
    } else if arn.contains(":targetgroup/") {
        let known = state.target_groups.get_mut(arn);
        known
            .map(|known| &mut known.tags)
            .ok_or_else(|| missing("TargetGroupNotFound", "Target group"))
    } else if arn.contains(":listener-rule/") {
        let known = state.rules.get_mut(arn);
        known
            .map(|known| &mut known.tags)
            .ok_or_else(|| missing("RuleNotFound", "Rule"))
    } else if arn.contains(":listener/") {
        let known = state.listeners.get_mut(arn);
        known
            .map(|known| &mut known.tags)
            .ok_or_else(|| missing("ListenerNotFound", "Listener"))
    } else {
        Err(refuse(
            "ValidationError",
            format!("'{arn}' is not a valid resource ARN"),
        ))
    }
}

/// `AddTags`.
pub fn add(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let new = read(call)?;
    let arns = texts(&call.input["ResourceArns"]);
    for arn in &arns {
        let mut tags = of_mut(state, arn)?.clone();
        tags.extend(new.clone());
        check(&tags)?;
    }
    for arn in &arns {
        of_mut(state, arn)?.extend(new.clone());
    }
    Ok(json!({}))
}

/// `RemoveTags`.
pub fn remove(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let keys = texts(&call.input["TagKeys"]);
    for arn in texts(&call.input["ResourceArns"]) {
        of_mut(state, &arn)?.retain(|key, _| !keys.contains(key));
    }
    Ok(json!({}))
}

/// `DescribeTags`.
pub fn describe(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arns = texts(&call.input["ResourceArns"]);
    if arns.len() > 20 {
        return Err(refuse(
            "ValidationError",
            "At most 20 resources can be described at once",
        ));
    }
    let mut descriptions = Vec::new();
    for arn in arns {
        let tags: Vec<Value> = of_mut(state, &arn)?
            .iter()
            .map(|(key, value)| json!({ "Key": key, "Value": value }))
            .collect();
        descriptions.push(json!({ "ResourceArn": arn, "Tags": tags }));
    }
    Ok(json!({ "TagDescriptions": descriptions }))
}
