//! What makes pods from a template.

use serde_json::{Value, json};

use super::super::object::{self, list, text};
use super::super::resources::Resource;
use super::super::selector::Labels;
use super::super::status::Cause;
use super::immutable;
use super::names::{key_errors, labels_valid, value_errors};
use super::pods::pod_spec;

fn positive(object: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(number) = object::at(object, path).and_then(Value::as_i64)
        && number < 0
    {
        causes.push(Cause::invalid(
            path,
            &number.into(),
            "must be greater than or equal to 0",
        ));
    }
}

pub fn workload(resource: &Resource, object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    positive(object, "spec.replicas", causes);
    let selector = &object["spec"]["selector"];
    let empty = |value: &Value| {
        value["matchLabels"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
            && list(value, "matchExpressions").is_empty()
    };
    let mut understood = true;
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else {
        understood = selector_valid(selector, "spec.selector", causes);
        if empty(selector) {
            let kind = match resource.plural.as_str() {
                "daemonsets" => "daemonset",
                "statefulsets" => "statefulset",
                _ => "deployment",
            };
            causes.push(Cause::invalid(
                "spec.selector",
                selector,
                format!("empty selector is invalid for {kind}"),
            ));
        }
    }
    if understood {
        let labels = object::at(object, "spec.template.metadata.labels");
        let matches = !selector.is_null() && Labels::from_object(selector).matches_labels(labels);
        if !matches {
            causes.push(Cause::invalid(
                "spec.template.metadata.labels",
                labels.unwrap_or(&Value::Null),
                "`selector` does not match template `labels`",
            ));
        }
        if let Some(labels) = labels.and_then(Value::as_object) {
            labels_valid(labels, "spec.template.labels", causes);
        }
        template(object, "spec.template", causes);
        let restart = object::at(object, "spec.template.spec.restartPolicy");
        if let Some(restart) = restart
            && restart != "Always"
        {
            causes.push(Cause::unsupported(
                "spec.template.spec.restartPolicy",
                restart,
                &["Always"],
            ));
        }
        let deadline = "spec.template.spec.activeDeadlineSeconds";
        if object::at(object, deadline).is_some() {
            let kind = match resource.plural.as_str() {
                "daemonsets" => "DaemonSet",
                "statefulsets" => "StatefulSet",
                _ => "ReplicaSet",
            };
            let why = format!("activeDeadlineSeconds in {kind} is not Supported");
            causes.push(Cause::forbidden(deadline, &why));
        }
    } else {
        causes.push(Cause::invalid(
            "spec.selector",
            selector,
            "invalid label selector",
        ));
    }
    if resource.plural == "deployments" {
        strategy(&object["spec"]["strategy"], causes);
        for field in [
            "minReadySeconds",
            "revisionHistoryLimit",
            "progressDeadlineSeconds",
        ] {
            positive(object, &format!("spec.{field}"), causes);
        }
        let ready = object["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        if let Some(deadline) = object["spec"]["progressDeadlineSeconds"].as_i64()
            && deadline <= ready
        {
            causes.push(Cause::invalid(
                "spec.progressDeadlineSeconds",
                &deadline.into(),
                "must be greater than minReadySeconds",
            ));
        }
        status(object, causes);
    }
    if let Some(old) = old {
        if resource.plural == "statefulsets" {
            let plain = |value: &Value| -> Value {
                let mut spec = value["spec"].clone();
                for field in [
                    "replicas",
                    "ordinals",
                    "template",
                    "updateStrategy",
                    "revisionHistoryLimit",
                    "persistentVolumeClaimRetentionPolicy",
                    "minReadySeconds",
                ] {
                    object::remove(&mut spec, field);
                }
                spec
            };
            if plain(object) != plain(old) {
                causes.push(Cause::forbidden(
                    "spec",
                    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
                ));
            }
        } else {
            immutable(object, old, "spec.selector", causes);
        }
    }
}

/// The numbers of a Deployment's status agree with each other.
fn status(object: &Value, causes: &mut Vec<Cause>) {
    let status = &object["status"];
    for field in [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ] {
        positive(object, &format!("status.{field}"), causes);
    }
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    for (field, other, why) in [
        (
            "updatedReplicas",
            "replicas",
            "cannot be greater than status.replicas",
        ),
        (
            "readyReplicas",
            "replicas",
            "cannot be greater than status.replicas",
        ),
        (
            "availableReplicas",
            "replicas",
            "cannot be greater than status.replicas",
        ),
        (
            "availableReplicas",
            "readyReplicas",
            "cannot be greater than readyReplicas",
        ),
    ] {
        if number(field) > number(other) {
            causes.push(Cause::invalid(
                format!("status.{field}"),
                &number(field).into(),
                why,
            ));
        }
    }
}

fn strategy(strategy: &Value, causes: &mut Vec<Cause>) {
    let rolling = &strategy["rollingUpdate"];
    let at = "spec.strategy.rollingUpdate";
    match text(strategy, "type") {
        "Recreate" if !rolling.is_null() => causes.push(Cause::forbidden(
            at,
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        "Recreate" => {}
        "RollingUpdate" => {
            let mut zero = true;
            for field in ["maxUnavailable", "maxSurge"] {
                let value = &rolling[field];
                let percent = value.as_str().map(|text| {
                    text.strip_suffix('%')
                        .and_then(|text| text.parse::<u32>().ok())
                });
                match (value.as_i64(), percent) {
                    (Some(number), _) => {
                        zero &= number == 0;
                        if number < 0 {
                            causes.push(Cause::invalid(
                                format!("{at}.{field}"),
                                value,
                                "must be greater than or equal to 0",
                            ));
                        }
                    }
                    (_, Some(Some(percent))) => {
                        zero &= percent == 0;
                        if field == "maxUnavailable" && percent > 100 {
                            causes.push(Cause::invalid(
                                format!("{at}.{field}"),
                                value,
                                "must not be greater than 100%",
                            ));
                        }
                    }
                    (_, Some(None)) => {
                        let number = value.as_str().and_then(|text| text.parse().ok());
                        zero &= number.unwrap_or(0_i64) == 0;
                        causes.push(Cause::invalid(
                            format!("{at}.{field}"),
                            value,
                            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                        ));
                    }
                    _ => {}
                }
            }
            if zero {
                causes.push(Cause::invalid(
                    format!("{at}.maxUnavailable"),
                    &rolling["maxUnavailable"],
                    "may not be 0 when `maxSurge` is 0",
                ));
            }
        }
        _ => causes.push(Cause::unsupported(
            "spec.strategy",
            &inner_strategy(strategy),
            &["Recreate", "RollingUpdate"],
        )),
    }
}

/// A strategy as the real server has it inside, which it shows of one that it refuses.
fn inner_strategy(strategy: &Value) -> Value {
    let rolling = match &strategy["rollingUpdate"] {
        Value::Null => Value::Null,
        rolling => {
            let number = |field: &str| match &rolling[field] {
                Value::Null => 0.into(),
                given => given.clone(),
            };
            json!({"MaxUnavailable": number("maxUnavailable"), "MaxSurge": number("maxSurge")})
        }
    };
    json!({"Type": strategy["type"], "RollingUpdate": rolling})
}

/// Checks a label selector; false when it has no meaning at all.
pub fn selector_valid(selector: &Value, at: &str, causes: &mut Vec<Cause>) -> bool {
    let mut understood = true;
    if let Some(labels) = selector["matchLabels"].as_object() {
        let known = causes.len();
        labels_valid(labels, &format!("{at}.matchLabels"), causes);
        understood &= causes.len() == known;
    }
    for (index, one) in list(selector, "matchExpressions").iter().enumerate() {
        let at = format!("{at}.matchExpressions[{index}]");
        let values = list(one, "values");
        match text(one, "operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    understood = false;
                    causes.push(Cause::required(
                        format!("{at}.values"),
                        "must be specified when `operator` is 'In' or 'NotIn'",
                    ));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    understood = false;
                    causes.push(Cause::forbidden(
                        format!("{at}.values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    ));
                }
            }
            other => {
                understood = false;
                causes.push(Cause::invalid(
                    format!("{at}.operator"),
                    &other.into(),
                    "not a valid selector operator",
                ));
            }
        }
        for why in key_errors(text(one, "key")) {
            understood = false;
            causes.push(Cause::invalid(format!("{at}.key"), &one["key"], why));
        }
        for (index, value) in values.iter().enumerate() {
            for why in value_errors(value.as_str().unwrap_or("")) {
                understood = false;
                causes.push(Cause::invalid(format!("{at}.values[{index}]"), value, why));
            }
        }
    }
    understood
}

fn template(object: &Value, path: &str, causes: &mut Vec<Cause>) {
    let spec = object::at(object, &format!("{path}.spec")).unwrap_or(&Value::Null);
    pod_spec(spec, &format!("{path}.spec"), causes);
}

pub fn job(object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    template(object, "spec.template", causes);
    let restart = object::at(object, "spec.template.spec.restartPolicy").unwrap_or(&Value::Null);
    if restart == "Always" {
        causes.push(Cause {
            reason: "FieldValueRequired",
            message: "Required value: valid values: \"OnFailure\", \"Never\"".into(),
            field: "spec.template.spec.restartPolicy".into(),
        });
    }
    if let Some(old) = old {
        for field in ["spec.template", "spec.selector", "spec.completionMode"] {
            if object::at(old, field).is_some() {
                immutable(object, old, field, causes);
            }
        }
    }
}
