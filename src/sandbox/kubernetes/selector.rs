//! Label and field selectors.

use serde_json::Value;

use super::object;
use super::status::{Result, Status};

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector: all requirements hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Reads `a=b,c in (d,e),!f`.
    pub fn parse(text: &str) -> Result<Labels> {
        let wrong = |part: &str| {
            Status::bad_request(format!(
                "unable to parse requirement: found '{part}', expected: a label selector requirement"
            ))
        };
        let mut requirements = Vec::new();
        for part in split(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let word = |text: &str| -> Result<String> {
                let text = text.trim();
                let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
                if text.chars().all(good) {
                    Ok(text.to_owned())
                } else {
                    Err(wrong(part))
                }
            };
            let values = |text: &str| -> Result<Vec<String>> {
                let inner = text
                    .trim()
                    .strip_prefix('(')
                    .and_then(|text| text.strip_suffix(')'))
                    .ok_or_else(|| wrong(part))?;
                inner.split(',').map(word).collect()
            };
            let requirement = if let Some(key) = part.strip_prefix('!') {
                Requirement::Absent(word(key)?)
            } else if let Some((key, value)) = part.split_once("!=") {
                Requirement::NotIn(word(key)?, vec![word(value)?])
            } else if let Some((key, list)) = part.split_once(" notin ") {
                Requirement::NotIn(word(key)?, values(list)?)
            } else if let Some((key, list)) = part.split_once(" in ") {
                Requirement::In(word(key)?, values(list)?)
            } else if let Some((key, value)) = part.split_once("==").or(part.split_once('=')) {
                Requirement::In(word(key)?, vec![word(value)?])
            } else if let Some((key, value)) = part.split_once('>') {
                let value = value.trim().parse().map_err(|_| wrong(part))?;
                Requirement::Greater(word(key)?, value)
            } else if let Some((key, value)) = part.split_once('<') {
                let value = value.trim().parse().map_err(|_| wrong(part))?;
                Requirement::Less(word(key)?, value)
            } else {
                Requirement::Exists(word(part)?)
            };
            requirements.push(requirement);
        }
        Ok(Labels(requirements))
    }

    /// Reads a `LabelSelector` object. Nothing selects nothing's opposite: an empty one selects everything.
    pub fn from_object(selector: &Value) -> Labels {
        let mut requirements = Vec::new();
        if let Some(labels) = selector["matchLabels"].as_object() {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or("").to_owned();
                requirements.push(Requirement::In(key.clone(), vec![value]));
            }
        }
        for expression in object::list(selector, "matchExpressions") {
            let key = object::text(expression, "key").to_owned();
            let values = object::list(expression, "values")
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            requirements.push(match object::text(expression, "operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "DoesNotExist" => Requirement::Absent(key),
                _ => Requirement::Exists(key),
            });
        }
        Labels(requirements)
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's labels satisfy it.
    pub fn matches(&self, value: &Value) -> bool {
        self.matches_labels(value.get("metadata").and_then(|meta| meta.get("labels")))
    }

    /// Whether these labels satisfy it.
    pub fn matches_labels(&self, labels: Option<&Value>) -> bool {
        let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        let number = |key: &str| label(key).and_then(|value| value.parse::<i64>().ok());
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|label| values.iter().any(|value| value == label))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|label| values.iter().all(|value| value != label))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::Greater(key, bound) => number(key).is_some_and(|number| number > *bound),
            Requirement::Less(key, bound) => number(key).is_some_and(|number| number < *bound),
        })
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A field selector: path, value, and whether they must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Reads `metadata.name=x,status.phase!=Running`; only fields that the resource offers are allowed.
    pub fn parse(text: &str, group: &str, plural: &str, selectable: &[String]) -> Result<Fields> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) =
                part.split_once("==").or_else(|| part.split_once('='))
            {
                (field, value, true)
            } else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let known = matches!(field, "metadata.name" | "metadata.namespace")
                || offered(group, plural).contains(&field)
                || selectable.iter().any(|one| one == field);
            if !known {
                return Err(Status::bad_request(format!(
                    "field label not supported: {field}"
                )));
            }
            terms.push((field.to_owned(), value.to_owned(), equal));
        }
        Ok(Fields(terms))
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object satisfies it.
    pub fn matches(&self, value: &Value) -> bool {
        self.0.iter().all(|(field, wanted, equal)| {
            let found = match field.as_str() {
                "source" => object::text(value, "source.component").to_owned(),
                "reportingComponent" => {
                    let reporting = object::text(value, "reportingComponent");
                    let source = object::text(value, "source.component");
                    (if reporting.is_empty() {
                        source
                    } else {
                        reporting
                    })
                    .to_owned()
                }
                field => match object::at(value, field) {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Null) | None => match field {
                        "spec.unschedulable" | "spec.hostNetwork" => "false".into(),
                        "status.successful" | "status.replicas" => "0".into(),
                        _ => String::new(),
                    },
                    Some(other) => other.to_string(),
                },
            };
            (found == *wanted) == *equal
        })
    }
}

fn offered(group: &str, plural: &str) -> &'static [&'static str] {
    match (group, plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "reason",
            "type",
            "regarding.name",
            "regarding.namespace",
            "regarding.kind",
            "regarding.uid",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "secrets") => &["type"],
        ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    }
}
