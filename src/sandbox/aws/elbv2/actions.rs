//! Actions and conditions of listeners and rules, checked and brought into the form in which they are described.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Call, Fault, State, flag, number, refuse, text, texts};

/// Checks actions and completes them; `kind` is the load balancer's.
pub fn complete(
    state: &State,
    call: &Call<'_>,
    actions: &Value,
    balancer: &str,
) -> Result<Vec<Value>, Fault> {
    let mut complete = Vec::new();
    for action in actions.as_array().into_iter().flatten() {
        let kind = text(action, "Type");
        let mut out = json!({ "Type": kind });
        if let Some(order) = number(&action["Order"]) {
            out["Order"] = json!(order);
        }
        match kind {
            "forward" => forward(state, call, action, balancer, &mut out)?,
            "redirect" => {
                let given = &action["RedirectConfig"];
                if given.is_null() {
                    return Err(refuse(
                        "InvalidLoadBalancerAction",
                        "A redirect action must have a RedirectConfig",
                    ));
                }
                let or = |member: &str, default: &str| {
                    given[member].as_str().unwrap_or(default).to_owned()
                };
                out["RedirectConfig"] = json!({
                    "Protocol": or("Protocol", "#{protocol}"),
                    "Port": or("Port", "#{port}"),
                    "Host": or("Host", "#{host}"),
                    "Path": or("Path", "/#{path}"),
                    "Query": or("Query", "#{query}"),
                    "StatusCode": given["StatusCode"],
                });
            }
            "fixed-response" => {
                let given = &action["FixedResponseConfig"];
                if given.is_null() {
                    return Err(refuse(
                        "InvalidLoadBalancerAction",
                        "A fixed-response action must have a FixedResponseConfig",
                    ));
                }
                out["FixedResponseConfig"] = given.clone();
            }
            other => {
                return Err(refuse(
                    "InvalidLoadBalancerAction",
                    format!("the sandbox's load balancers have no {other} actions"),
                ));
            }
        }
        complete.push(out);
    }
    if complete.is_empty() {
        return Err(refuse(
            "ValidationError",
            "At least one action must be specified",
        ));
    }
    if complete.len() > 1 {
        return Err(refuse(
            "InvalidLoadBalancerAction",
            "Only one forward, redirect or fixed-response action can be specified",
        ));
    }
    Ok(complete)
}

fn forward(
    state: &State,
    call: &Call<'_>,
    action: &Value,
    balancer: &str,
    out: &mut Value,
) -> Result<(), Fault> {
    let mut tuples: Vec<(String, u64)> = Vec::new();
    for tuple in action["ForwardConfig"]["TargetGroups"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let weight = number(&tuple["Weight"]).unwrap_or(1);
        if weight > 999 {
            return Err(refuse(
                "ValidationError",
                format!("Weight '{weight}' must be between 0 and 999"),
            ));
        }
        tuples.push((text(tuple, "TargetGroupArn").to_owned(), weight));
    }
    if let Some(arn) = action["TargetGroupArn"].as_str() {
        if tuples.is_empty() {
            tuples.push((arn.to_owned(), 1));
        } else if tuples.len() > 1 || tuples[0].0 != arn {
            return Err(refuse(
                "ValidationError",
                "TargetGroupArn must be the only target group of ForwardConfig",
            ));
        }
    }
    if tuples.is_empty() {
        return Err(refuse(
            "ValidationError",
            "A forward action must have a target group",
        ));
    }
    if tuples.len() > 5 {
        return Err(refuse(
            "TooManyTargetGroups",
            "You've reached the limit on target groups of an action",
        ));
    }
    for (arn, _) in &tuples {
        let group = state
            .target_groups
            .get(arn)
            .filter(|group| group.region == call.region)
            .ok_or_else(|| {
                refuse(
                    "TargetGroupNotFound",
                    format!("Target groups '{arn}' not found"),
                )
            })?;
        let owner = state.load_balancers.get(balancer);
        if owner.is_some_and(|owner| owner.vpc != group.vpc) {
            return Err(refuse(
                "InvalidConfigurationRequest",
                format!("The target group '{arn}' is not in the VPC of the load balancer"),
            ));
        }
        if users(state, arn).iter().any(|user| user != balancer) {
            return Err(refuse(
                "TargetGroupAssociationLimit",
                format!(
                    "The following target groups cannot be associated with more than one load balancer: {arn}"
                ),
            ));
        }
    }
    if let [(arn, _)] = &tuples[..] {
        out["TargetGroupArn"] = json!(arn);
    }
    let sticky = &action["ForwardConfig"]["TargetGroupStickinessConfig"];
    let mut stickiness = json!({ "Enabled": flag(&sticky["Enabled"]).unwrap_or(false) });
    if let Some(seconds) = number(&sticky["DurationSeconds"]) {
        stickiness["DurationSeconds"] = json!(seconds);
    }
    let groups: Vec<Value> = tuples
        .iter()
        .map(|(arn, weight)| json!({ "TargetGroupArn": arn, "Weight": weight }))
        .collect();
    out["ForwardConfig"] =
        json!({ "TargetGroups": groups, "TargetGroupStickinessConfig": stickiness });
    Ok(())
}

/// The target groups that completed actions forward to, with their weights.
pub fn target_groups(actions: &[Value]) -> impl Iterator<Item = (&str, u64)> {
    actions
        .iter()
        .flat_map(|action| {
            action["ForwardConfig"]["TargetGroups"]
                .as_array()
                .into_iter()
                .flatten()
        })
        .filter_map(|tuple| {
            Some((
                tuple["TargetGroupArn"].as_str()?,
                tuple["Weight"].as_u64().unwrap_or(1),
            ))
        })
}

/// The load balancers whose listeners or rules forward to a target group.
pub fn users(state: &State, group: &str) -> BTreeSet<String> {
    let listeners = state
        .listeners
        .values()
        .map(|listener| (&listener.actions, &listener.load_balancer));
    let rules = state.rules.values().filter_map(|rule| {
        let listener = state.listeners.get(&rule.listener)?;
        Some((&rule.actions, &listener.load_balancer))
    });
    listeners
        .chain(rules)
        .filter(|(actions, _)| target_groups(actions).any(|(arn, _)| arn == group))
        .map(|(_, balancer)| balancer.clone())
        .collect()
}

/// Checks conditions and completes them: values stand both beside the field and in its own structure.
pub fn conditions(given: &Value) -> Result<Vec<Value>, Fault> {
    let mut complete = Vec::new();
    let mut values_in_all = 0;
    for condition in given.as_array().into_iter().flatten() {
        let field = text(condition, "Field");
        let config = match field {
            "host-header" => "HostHeaderConfig",
            "path-pattern" => "PathPatternConfig",
            "http-header" => "HttpHeaderConfig",
            "http-request-method" => "HttpRequestMethodConfig",
            "query-string" => "QueryStringConfig",
            "source-ip" => "SourceIpConfig",
            other => {
                return Err(refuse(
                    "ValidationError",
                    format!(
                        "Condition field '{other}' must be one of '[path-pattern, host-header, http-header, \
                             http-request-method, query-string, source-ip]'"
                    ),
                ));
            }
        };
        let mut out = json!({ "Field": field });
        if field == "query-string" {
            let pairs = condition[config]["Values"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            values_in_all += pairs.len();
            if pairs.is_empty() {
                return Err(refuse(
                    "ValidationError",
                    "A condition value must be specified",
                ));
            }
            out[config] = json!({ "Values": pairs });
        } else {
            let mut values = texts(&condition["Values"]);
            values.extend(texts(&condition[config]["Values"]));
            values_in_all += values.len();
            if values.is_empty() {
                return Err(refuse(
                    "ValidationError",
                    "A condition value must be specified",
                ));
            }
            if let Some(long) = values.iter().find(|value| value.len() > 128) {
                return Err(refuse(
                    "ValidationError",
                    format!("Condition value '{long}' is longer than 128 characters"),
                ));
            }
            if matches!(field, "host-header" | "path-pattern") {
                out["Values"] = json!(values);
            }
            out[config] = json!({ "Values": values });
            if field == "http-header" {
                let name = text(&condition[config], "HttpHeaderName");
                if name.is_empty() {
                    return Err(refuse(
                        "ValidationError",
                        "An http-header condition must have an HttpHeaderName",
                    ));
                }
                out[config]["HttpHeaderName"] = json!(name);
            }
        }
        complete.push(out);
    }
    if complete.is_empty() {
        return Err(refuse(
            "ValidationError",
            "A rule must have at least one condition",
        ));
    }
    if values_in_all > 5 {
        return Err(refuse(
            "ValidationError",
            "A rule can have at most 5 condition values",
        ));
    }
    Ok(complete)
}
