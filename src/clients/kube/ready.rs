//! Whether an object has become what it was made for.

use serde_json::Value;

/// How far an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It is what it was made for.
    Ready,
    /// Not yet; how it is.
    Waiting(String),
    /// Its controller has given up; why.
    Failed(String),
}

/// A condition of the object's status: its status and its words.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, String)> {
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == kind)?;
    let words = [&found["reason"], &found["message"]]
        .into_iter()
        .filter_map(Value::as_str)
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    Some((found["status"].as_str().unwrap_or_default(), words))
}

/// How far an object of Kubernetes' own kinds is. What has no way to be unready is ready.
pub fn readiness(object: &Value) -> Readiness {
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => deployment(object),
        "CustomResourceDefinition" => match condition(object, "Established") {
            Some(("True", _)) => Readiness::Ready,
            _ => match condition(object, "NamesAccepted") {
                Some(("False", words)) => Readiness::Failed(words),
                _ => Readiness::Waiting("not established".into()),
            },
        },
        "Namespace" => match object["status"]["phase"].as_str() {
            Some("Terminating") => Readiness::Waiting("terminating".into()),
            _ => Readiness::Ready,
        },
        _ => Readiness::Ready,
    }
}

fn deployment(object: &Value) -> Readiness {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let status = &object["status"];
    if number(&status["observedGeneration"]) < number(&object["metadata"]["generation"]) {
        return Readiness::Waiting("not seen by its controller".into());
    }
    if let Some(("True", words)) = condition(object, "ReplicaFailure") {
        return Readiness::Waiting(words);
    }
    if let Some(("False", words)) = condition(object, "Progressing") {
        return Readiness::Failed(words);
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let updated = number(&status["updatedReplicas"]);
    let available = number(&status["availableReplicas"]);
    let all = number(&status["replicas"]);
    if updated >= wanted && available >= wanted && all <= updated {
        Readiness::Ready
    } else if updated < wanted {
        Readiness::Waiting(format!("{updated} of {wanted} pods made"))
    } else if available < wanted {
        Readiness::Waiting(format!("{available} of {wanted} pods ready"))
    } else {
        Readiness::Waiting(format!("{} old pods to go", all - updated))
    }
}

/// Whether a controller can do anything: a pod of its Deployment is available. Scaled to zero it is complete, and dead.
pub(super) fn is_alive(deployment: &Value) -> bool {
    deployment["status"]["availableReplicas"].as_i64() > Some(0)
        && deployment["spec"]["replicas"] != 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(generation: i64, status: Value) -> Readiness {
        readiness(
            &json!({"kind": "Deployment", "metadata": {"generation": generation},
            "spec": {"replicas": 2}, "status": status}),
        )
    }

    #[test]
    fn a_deployment_is_ready_when_its_controller_saw_it_and_all_new_pods_are_available() {
        let done = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        assert_eq!(rollout(2, done.clone()), Readiness::Ready);
        assert!(matches!(rollout(3, done), Readiness::Waiting(_)));
        let old = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3});
        assert_eq!(
            rollout(2, old),
            Readiness::Waiting("1 old pods to go".into())
        );
        let none = json!({"observedGeneration": 2, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]});
        assert_eq!(
            rollout(2, none),
            Readiness::Waiting("FailedCreate: quota".into())
        );
    }
}
