//! Whether a pod may run on a node: selectors, affinity, taints, and resources.

use serde_json::Value;

use super::super::runtime::object::{self, Meta, entries, items, text};

/// Whether a node has the labels and fields that a pod requires.
pub fn affinity_matches(pod: &Value, node: &Value) -> bool {
    if !object::matches_labels(&pod["spec"]["nodeSelector"], &node["metadata"]["labels"]) {
        return false;
    }
    let required =
        &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    if required.is_null() {
        return true;
    }
    items(&required["nodeSelectorTerms"]).iter().any(|term| {
        let labels = items(&term["matchExpressions"]);
        let fields = items(&term["matchFields"]);
        !(labels.is_empty() && fields.is_empty())
            && labels.iter().all(|expression| {
                requirement(
                    expression,
                    node["metadata"]["labels"][text(&expression["key"])].as_str(),
                )
            })
            && fields
                .iter()
                .all(|expression| requirement(expression, Some(node.name())))
    })
}

fn requirement(expression: &Value, actual: Option<&str>) -> bool {
    let values = items(&expression["values"]);
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = || number(values.first().and_then(Value::as_str));
    match text(&expression["operator"]) {
        "In" => actual.is_some_and(|actual| values.iter().any(|value| value == actual)),
        "NotIn" => !actual.is_some_and(|actual| values.iter().any(|value| value == actual)),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => number(actual).zip(bound()).is_some_and(|(a, b)| a > b),
        "Lt" => number(actual).zip(bound()).is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

/// Whether one of a pod's tolerations covers a taint.
pub fn tolerates(pod: &Value, taint: &Value) -> bool {
    toleration(pod, taint).is_some()
}

/// The toleration of a pod that covers a taint.
pub fn toleration<'a>(pod: &'a Value, taint: &Value) -> Option<&'a Value> {
    items(&pod["spec"]["tolerations"])
        .iter()
        .find(|toleration| {
            let effect = text(&toleration["effect"]);
            let key = text(&toleration["key"]);
            (effect.is_empty() || taint["effect"] == effect)
                && (key.is_empty() || taint["key"] == key)
                && match text(&toleration["operator"]) {
                    "Exists" => true,
                    _ => !key.is_empty() && text(&toleration["value"]) == text(&taint["value"]),
                }
        })
}

/// The first taint that keeps a pod from being placed on a node.
pub fn untolerated<'a>(pod: &Value, node: &'a Value) -> Option<&'a Value> {
    items(&node["spec"]["taints"]).iter().find(|taint| {
        matches!(text(&taint["effect"]), "NoSchedule" | "NoExecute") && !tolerates(pod, taint)
    })
}

/// Amounts of resources: processor in thousandths, memory in bytes, pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Thousandths of a processor.
    pub cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Pods.
    pub pods: i64,
}

impl Amount {
    /// What a pod requests: the sum of its containers, sidecars included, or its largest init container.
    pub fn requested(pod: &Value) -> Self {
        let request = |container: &Value| {
            let requests = &container["resources"]["requests"];
            (cpu(&requests["cpu"]), bytes(&requests["memory"]))
        };
        let mut total = (0, 0);
        let mut peak = (0, 0);
        for container in items(&pod["spec"]["initContainers"]) {
            let (cpu, memory) = request(container);
            if container["restartPolicy"] == "Always" {
                total = (total.0 + cpu, total.1 + memory);
                peak = (peak.0.max(total.0), peak.1.max(total.1));
            } else {
                peak = (peak.0.max(total.0 + cpu), peak.1.max(total.1 + memory));
            }
        }
        for container in items(&pod["spec"]["containers"]) {
            let (cpu, memory) = request(container);
            total = (total.0 + cpu, total.1 + memory);
        }
        Amount {
            cpu: total.0.max(peak.0),
            memory: total.1.max(peak.1),
            pods: 1,
        }
    }

    /// What a node offers.
    pub fn allocatable(node: &Value) -> Self {
        let offer = &node["status"]["allocatable"];
        Amount {
            cpu: cpu(&offer["cpu"]),
            memory: bytes(&offer["memory"]),
            pods: bytes(&offer["pods"]),
        }
    }

    /// Adds another amount.
    pub fn add(&mut self, other: Amount) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
    }

    /// Takes another amount away.
    pub fn take(&mut self, other: Amount) {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
        self.pods -= other.pods;
    }
}

/// A quantity of processors in thousandths: `250m`, `1.5`, `2`.
pub fn cpu(value: &Value) -> i64 {
    (quantity(value) * 1000.0).round() as i64
}

/// A quantity in whole units: `128Mi`, `1G`, `58`.
pub fn bytes(value: &Value) -> i64 {
    quantity(value).round() as i64
}

fn quantity(value: &Value) -> f64 {
    if let Some(number) = value.as_f64() {
        return number;
    }
    const UNITS: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("m", 0.001),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    let text = text(value);
    for (suffix, factor) in UNITS {
        if let Some(number) = text.strip_suffix(suffix) {
            return number.parse::<f64>().unwrap_or(0.0) * factor;
        }
    }
    text.parse().unwrap_or(0.0)
}

/// The labels by which pods are spread: those of their ReplicaSet's pods.
pub fn group(pod: &Value) -> Option<&str> {
    pod.controller().map(|owner| text(&owner["uid"]))
}

/// Whether an object carries every label of a map; an empty map selects nothing, as in a Service.
pub fn service_selects(selector: &Value, pod: &Value) -> bool {
    entries(selector).next().is_some()
        && object::matches_labels(selector, &pod["metadata"]["labels"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_in_all_their_forms() {
        assert_eq!(cpu(&json!("250m")), 250);
        assert_eq!(cpu(&json!("1.5")), 1500);
        assert_eq!(bytes(&json!("32Mi")), 33_554_432);
        assert_eq!(bytes(&json!("58")), 58);
    }

    #[test]
    fn a_taint_keeps_pods_away_unless_tolerated() {
        let node = json!({ "spec": { "taints": [
            { "key": "node.kubernetes.io/not-ready", "effect": "NoSchedule" },
        ] } });
        assert!(untolerated(&json!({}), &node).is_some());
        let any = json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } });
        assert!(untolerated(&any, &node).is_none());
    }
}
