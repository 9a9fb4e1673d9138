//! A Deployment's status: counts, and the conditions Available, Progressing and ReplicaFailure.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::runtime::kinds::DEPLOYMENTS;
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Cluster, Next, Work};
use super::deployments::SOON;

fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

/// Whether the rollout that the status describes is complete.
pub fn complete(deployment: &Value) -> bool {
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    count(deployment, "updatedReplicas") == wanted
        && count(deployment, "replicas") == wanted
        && count(deployment, "availableReplicas") == wanted
        && count(deployment, "observedGeneration") >= deployment.generation()
}

/// Says in the status that a ReplicaSet could not be made.
pub async fn creation_failed(
    cluster: &Cluster,
    deployment: &Value,
    set: &str,
    error: &ApiError,
) -> Result<(), ApiError> {
    let mut written = deployment.clone();
    let mut conditions = items(&deployment["status"]["conditions"]).to_vec();
    set_progressing(
        &mut conditions,
        "False",
        "ReplicaSetCreateError",
        &format!("Failed to create new replica set \"{set}\": {error}"),
    );
    written["status"]["conditions"] = conditions.into();
    cluster.update_status(&DEPLOYMENTS, &written).await?;
    Ok(())
}

fn set_progressing(conditions: &mut Vec<Value>, status: &str, reason: &str, message: &str) {
    object::set_condition(
        conditions,
        json!({
            "type": "Progressing",
            "status": status,
            "reason": reason,
            "message": message,
            "lastUpdateTime": object::now(),
        }),
    );
}

/// Writes the status that follows from the ReplicaSets. `made` names a ReplicaSet that was made just now.
pub async fn update(
    cluster: &Cluster,
    deployment: &Value,
    new: Option<&Arc<Value>>,
    old: &[Arc<Value>],
    made: Option<String>,
) -> Work {
    let sum = |field: &str| -> i64 {
        old.iter()
            .chain(new)
            .map(|set| count(set, field))
            .sum::<i64>()
    };
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap_or(1);
    let (replicas, ready, usable) = (
        sum("replicas"),
        sum("readyReplicas"),
        sum("availableReplicas"),
    );
    let updated = new.map_or(0, |set| count(set, "replicas"));
    let specified: i64 = old
        .iter()
        .chain(new)
        .map(|set| set["spec"]["replicas"].as_i64().unwrap_or(0))
        .sum();
    let mut conditions = items(&deployment["status"]["conditions"]).to_vec();

    let minimum = wanted - unavailable_limit(deployment, wanted);
    let (available, reason, message) = if usable >= minimum {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    set_if_changed(
        &mut conditions,
        json!({ "type": "Available", "status": available, "reason": reason, "message": message }),
    );

    let mut next = Next::Done;
    let deadline = deployment["spec"]["progressDeadlineSeconds"]
        .as_i64()
        .filter(|seconds| *seconds != i64::from(i32::MAX));
    let name = new.map_or_else(|| deployment.name().to_owned(), |set| set.name().to_owned());
    let subject = if new.is_some() {
        "ReplicaSet"
    } else {
        "Deployment"
    };
    if let Some(deadline) = deadline {
        let before = conditions
            .iter()
            .find(|condition| condition["type"] == "Progressing")
            .cloned();
        let done = updated == wanted && replicas == wanted && usable == wanted;
        let progressed = updated > count(deployment, "updatedReplicas")
            || ready > count(deployment, "readyReplicas")
            || usable > count(deployment, "availableReplicas")
            || replicas - updated
                < count(deployment, "replicas") - count(deployment, "updatedReplicas");
        let before_reason = before
            .as_ref()
            .map_or("", |condition| text(&condition["reason"]))
            .to_owned();
        let settled = replicas == updated && before_reason == "NewReplicaSetAvailable";
        if let Some(made) = &made {
            set_progressing(
                &mut conditions,
                "True",
                "NewReplicaSetCreated",
                &format!("Created new replica set \"{made}\""),
            );
            next = Next::After(Duration::from_secs(deadline.max(1) as u64));
        } else if settled && done {
            // Nothing moves.
        } else if done {
            set_progressing(
                &mut conditions,
                "True",
                "NewReplicaSetAvailable",
                &format!("{subject} \"{name}\" has successfully progressed."),
            );
        } else if deployment["spec"]["paused"] == true {
            set_if_changed(
                &mut conditions,
                json!({ "type": "Progressing", "status": "Unknown", "reason": "DeploymentPaused", "message": "Deployment is paused" }),
            );
        } else if progressed || before.is_none() {
            set_progressing(
                &mut conditions,
                "True",
                "ReplicaSetUpdated",
                &format!("{subject} \"{name}\" is progressing."),
            );
            next = Next::After(Duration::from_secs(deadline.max(1) as u64));
        } else if let Some(rest) = before.as_ref().and_then(|before| rest_of(deadline, before)) {
            if rest <= 0.0 {
                set_progressing(
                    &mut conditions,
                    "False",
                    "ProgressDeadlineExceeded",
                    &format!("{subject} \"{name}\" has timed out progressing."),
                );
            } else {
                next = Next::After(Duration::from_secs_f64(rest).max(SOON));
            }
        }
    }

    let failure = new
        .into_iter()
        .chain(old)
        .find_map(|set| object::condition(set, "ReplicaFailure"));
    match failure {
        Some(failure) => set_if_changed(
            &mut conditions,
            json!({
                "type": "ReplicaFailure",
                "status": failure["status"],
                "reason": failure["reason"],
                "message": failure["message"],
            }),
        ),
        None => conditions.retain(|condition| condition["type"] != "ReplicaFailure"),
    }

    let mut status = json!({
        "observedGeneration": deployment.generation(),
        "conditions": conditions,
    });
    for (field, value) in [
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", usable),
        ("unavailableReplicas", (specified - usable).max(0)),
    ] {
        if value > 0 {
            status[field] = value.into();
        }
    }
    let collisions = &deployment["status"]["collisionCount"];
    if !collisions.is_null() {
        status["collisionCount"] = collisions.clone();
    }
    if !object::same(&status, &deployment["status"]) {
        let mut written = cluster
            .cache(&DEPLOYMENTS)
            .get(&deployment.key())
            .map_or_else(|| deployment.clone(), |newest| Value::clone(&newest));
        if written.generation() != deployment.generation() {
            return Ok(Next::Retry);
        }
        written["status"] = status;
        match cluster.update_status(&DEPLOYMENTS, &written).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(next)
}

/// Seconds that are left of the deadline. None where nothing can be said: after it has passed, and after a rollout that
/// succeeded, as with the real controller: its time tells nothing of the next rollout, whose beginning may not stand in the
/// status yet.
fn rest_of(deadline: i64, progressing: &Value) -> Option<f64> {
    if ["ProgressDeadlineExceeded", "NewReplicaSetAvailable"]
        .contains(&text(&progressing["reason"]))
    {
        return None;
    }
    let since = object::seconds_since(&progressing["lastUpdateTime"]).unwrap_or(0.0);
    Some(deadline as f64 - since)
}

/// Sets a condition whose `lastUpdateTime` moves only when it says something new.
fn set_if_changed(conditions: &mut Vec<Value>, mut new: Value) {
    let same = conditions.iter().any(|old| {
        ["type", "status", "reason", "message"]
            .iter()
            .all(|field| old[field] == new[field])
    });
    if !same {
        new["lastUpdateTime"] = object::now().into();
        object::set_condition(conditions, new);
    }
}

fn unavailable_limit(deployment: &Value, wanted: i64) -> i64 {
    let strategy = &deployment["spec"]["strategy"];
    if strategy["type"] == "Recreate" {
        return 0;
    }
    let quarter = json!("25%");
    let field = |name: &str| match &strategy["rollingUpdate"][name] {
        Value::Null => quarter.clone(),
        value => value.clone(),
    };
    let limit = object::int_or_percent(&field("maxUnavailable"), wanted, false);
    if limit == 0 && object::int_or_percent(&field("maxSurge"), wanted, true) == 0 {
        1
    } else {
        limit.min(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_that_succeeded_long_ago_is_no_deadline_for_the_next() {
        let progressing = |reason: &str| json!({"type": "Progressing", "reason": reason, "lastUpdateTime": "2020-01-01T00:00:00Z"});
        assert_eq!(rest_of(600, &progressing("NewReplicaSetAvailable")), None);
        assert_eq!(rest_of(600, &progressing("ProgressDeadlineExceeded")), None);
        let rest = rest_of(600, &progressing("ReplicaSetUpdated")).expect("a rest");
        assert!(rest < 0.0, "{rest}");
    }
}
