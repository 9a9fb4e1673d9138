//! What is allowed and still a mistake, in all probability: said in warnings, as upstream says it.

use std::collections::{HashMap, HashSet};

use hyper::header::HeaderValue;
use serde_json::Value;

use super::object::{self, list, text};
use super::resources::Resource;
use super::validation::label_errors;

/// How many characters are said in warnings before each is cut.
const MOST_SAID: usize = 4096;
/// How many characters of a warning are left when it is cut.
const MOST_OF_ONE: usize = 256;

/// Headers for what was said, once each; when it is too much, each is cut and the last ones are left out.
pub fn headers(said: &[String]) -> Vec<HeaderValue> {
    let mut seen = HashSet::new();
    let once: Vec<&String> = said
        .iter()
        .filter(|text| !text.is_empty() && seen.insert(*text))
        .collect();
    let whole: usize = once.iter().map(|text| text.chars().count()).sum();
    let most = match whole > MOST_SAID {
        true => MOST_OF_ONE,
        false => usize::MAX,
    };
    let mut written = 0;
    let mut headers = Vec::new();
    for text in once {
        if written >= MOST_SAID && whole > MOST_SAID {
            break;
        }
        let text: String = text.chars().take(most).collect();
        // Nobody is told what a header cannot say.
        if text.chars().any(char::is_control) {
            continue;
        }
        written += text.chars().count();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        headers.extend(HeaderValue::from_bytes(
            format!("299 - \"{quoted}\"").as_bytes(),
        ));
    }
    headers
}

/// The warnings that a strict reader's words are: one for each line of what is wrong with YAML.
pub fn strict(said: &str) -> Vec<String> {
    const HEAD: &str = "yaml: unmarshal errors:\n";
    let said = said
        .strip_prefix("error converting YAML to JSON: ")
        .filter(|rest| rest.starts_with(HEAD))
        .unwrap_or(said);
    match said.strip_prefix(HEAD) {
        Some(lines) => lines
            .split('\n')
            .map(|line| line.trim().to_owned())
            .collect(),
        None => vec![said.to_owned()],
    }
}

/// What is to be said of a new object, or of a changed one.
pub fn of(
    resource: &Resource,
    subresource: &str,
    object: &Value,
    old: Option<&Value>,
) -> Vec<String> {
    let mut said = Vec::new();
    // Whoever scales is told of the whole.
    if !matches!(subresource, "" | "scale") || resource.custom.is_some() {
        return said;
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        // Pods are seldom changed by people.
        ("", "pods") if old.is_none() => {
            name(object, "the Pod's hostname", &mut said);
            pod(&object["spec"], &object["metadata"], "", &mut said);
        }
        ("", "services") => service(object, &mut said),
        ("", "serviceaccounts") => service_account(object, old, &mut said),
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets")
        | ("batch", "jobs") => {
            let named = matches!(
                resource.plural.as_str(),
                "deployments" | "replicasets" | "jobs"
            );
            if old.is_none() && named {
                name(object, "Pod names and hostnames", &mut said);
            }
            let generation = |object: &Value| object["metadata"]["generation"].clone();
            if old.is_none_or(|old| generation(old) != generation(object)) {
                let template = &object["spec"]["template"];
                let place = "spec.template.";
                pod(&template["spec"], &template["metadata"], place, &mut said);
            }
        }
        _ => {}
    }
    said
}

fn name(object: &Value, of: &str, said: &mut Vec<String>) {
    let errors = label_errors(object::name(object));
    if !errors.is_empty() {
        said.push(format!(
            "metadata.name: this is used in {of}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            errors.join(" ")
        ));
    }
}

fn service(object: &Value, said: &mut Vec<String>) {
    let spec = &object["spec"];
    let hints = "service.kubernetes.io/topology-aware-hints";
    if object::annotation(object, hints).is_some() {
        said.push(format!(
            "annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let (external, balanced) = (
        !list(spec, "externalIPs").is_empty(),
        !text(spec, "loadBalancerIP").is_empty(),
    );
    if text(spec, "type") == "ClusterIP" && text(spec, "clusterIP") == "None" {
        if balanced {
            said.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if external {
            said.push("spec.externalIPs is ignored for headless services".into());
        }
        if text(spec, "sessionAffinity") != "None" {
            said.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    match text(spec, "type") == "ExternalName" {
        true if external => {
            said.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
        }
        false if !text(spec, "externalName").is_empty() => {
            said.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into())
        }
        _ => {}
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        said.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .into(),
        );
    }
}

fn service_account(object: &Value, old: Option<&Value>, said: &mut Vec<String>) {
    let annotation = "kubernetes.io/enforce-mountable-secrets";
    let has = |object: &Value| object::annotation(object, annotation).is_some();
    if has(object) && !old.is_some_and(has) {
        said.push(format!(
            "metadata.annotations[{annotation}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

/// `place` is where the pod's metadata and specification stand, with a dot behind.
fn pod(spec: &Value, metadata: &Value, place: &str, said: &mut Vec<String>) {
    for (key, instead) in [
        (
            "scheduler.alpha.kubernetes.io/critical-pod",
            ("v1.16", "priorityClassName"),
        ),
        ("security.alpha.kubernetes.io/sysctls", ("v1.11", "sysctls")),
        (
            "security.alpha.kubernetes.io/unsafe-sysctls",
            ("v1.11", "sysctls"),
        ),
    ] {
        if metadata["annotations"].get(key).is_some() {
            let (since, field) = instead;
            said.push(format!(
                "{place}metadata.annotations[{key}]: non-functional in {since}+; use the \"{field}\" field instead"
            ));
        }
    }
    for (index, one) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        if one["labelSelector"].is_null() {
            said.push(format!(
                "{place}spec.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
    twice(spec, "hostAliases", "ip", place, said);
    twice(spec, "imagePullSecrets", "name", place, said);
    for (index, one) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(one, "name").is_empty() {
            said.push(format!(
                "{place}spec.imagePullSecrets[{index}].name: invalid empty name \"\""
            ));
        }
    }
    let containers: Vec<(String, &Value)> = ["initContainers", "containers"]
        .into_iter()
        .flat_map(|kind| {
            let numbered = list(spec, kind).iter().enumerate();
            numbered.map(move |(index, one)| (format!("{place}spec.{kind}[{index}]"), one))
        })
        .collect();
    for (at, container) in &containers {
        fractions(container, at, said);
        variables(container, at, said);
    }
    ports(&containers, said);
    let grace = spec["terminationGracePeriodSeconds"].as_i64();
    if grace.is_some_and(|seconds| seconds < 0) {
        said.push(format!(
            "{place}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
}

fn twice(spec: &Value, field: &str, key: &str, place: &str, said: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, one) in list(spec, field).iter().enumerate() {
        let value = text(one, key);
        if !seen.insert(value) {
            said.push(format!(
                "{place}spec.{field}[{index}].{key}: duplicate {key} {value:?}"
            ));
        }
    }
}

/// Bytes are whole.
fn fractions(container: &Value, at: &str, said: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        for kind in ["limits", "requests"] {
            let quantity = text(&container["resources"][kind], name);
            if quantity.ends_with('m') {
                said.push(format!(
                    "{at}.resources.{kind}[{name}]: fractional byte value {quantity:?} is invalid, must be an integer"
                ));
            }
        }
    }
}

/// A variable that is there twice is lost in an apply, unless the second one means the first.
fn variables(container: &Value, at: &str, said: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, variable) in list(container, "env").iter().enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        let builds_on = value != reference && value.contains(&reference);
        if !variable["valueFrom"].is_null() || !builds_on {
            said.push(format!(
                "{at}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

fn ports(containers: &[(String, &Value)], said: &mut Vec<String>) {
    let all: Vec<(String, &Value)> = containers
        .iter()
        .flat_map(|(at, container)| {
            let numbered = list(container, "ports").iter().enumerate();
            numbered.map(move |(index, port)| (format!("{at}.ports[{index}]"), port))
        })
        .collect();
    let mut numbers: HashMap<(i64, &str), Vec<(&String, &Value)>> = HashMap::new();
    for (at, port) in &all {
        let number = |port: &Value, field: &str| port[field].as_i64().unwrap_or(0);
        let key = (number(port, "containerPort"), text(port, "protocol"));
        let others = numbers.entry(key).or_default();
        for (other_at, other) in others.iter() {
            let (host, other_host) = (number(port, "hostPort"), number(other, "hostPort"));
            let (ip, other_ip) = (text(port, "hostIP"), text(other, "hostIP"));
            let what = if ip == other_ip && host == other_host {
                "duplicate"
            } else if host == 0 || other_host == 0 {
                "overlapping"
            } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            said.push(format!("{at}: {what} port definition with {other_at}"));
        }
        others.push((at, port));
    }
    let mut names: HashMap<&str, &String> = HashMap::new();
    for (at, port) in &all {
        let name = text(port, "name");
        if name.is_empty() {
            continue;
        }
        match names.get(name) {
            Some(other) => said.push(format!(
                "{at}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
            )),
            None => {
                names.insert(name, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn probable_mistakes_of_pods_are_named() {
        let spec = json!({
            "containers": [
                {"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "X", "value": "$(X)2"}, {"name": "X", "value": "3"}],
                 "ports": [{"containerPort": 80, "protocol": "TCP", "name": "p"}, {"containerPort": 80, "protocol": "TCP", "hostPort": 1}]},
                {"name": "b", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "p"}],
                 "resources": {"limits": {"memory": "100m"}}},
            ],
            "imagePullSecrets": [{"name": "s"}, {"name": "s"}],
        });
        let mut said = Vec::new();
        pod(&spec, &json!({}), "spec.template.", &mut said);
        assert_eq!(
            said,
            [
                "spec.template.spec.imagePullSecrets[1].name: duplicate name \"s\"",
                "spec.template.spec.containers[0].env[2]: hides previous definition of \"X\", which may be dropped when using apply",
                "spec.template.spec.containers[1].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.template.spec.containers[0].ports[1]: overlapping port definition with spec.template.spec.containers[0].ports[0]",
                "spec.template.spec.containers[1].ports[0]: duplicate port definition with spec.template.spec.containers[0].ports[0]",
                "spec.template.spec.containers[1].ports[0]: overlapping port definition with spec.template.spec.containers[0].ports[1]",
                "spec.template.spec.containers[1].ports[0]: duplicate port name \"p\" with spec.template.spec.containers[0].ports[0], services and probes that select ports by name will use spec.template.spec.containers[0].ports[0]",
            ]
        );
    }

    #[test]
    fn warnings_are_said_once_and_not_without_end() {
        let said = |texts: &[&str]| -> Vec<String> {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            let headers = headers(&texts).into_iter();
            headers
                .map(|header| String::from_utf8_lossy(header.as_bytes()).into_owned())
                .collect()
        };
        let quoted = "299 - \"say \\\"\u{e4}\\\\\\\"\"";
        assert_eq!(
            said(&["say \"\u{e4}\\\"", "", "a\nb", "say \"\u{e4}\\\""]),
            [quoted]
        );
        let long: Vec<String> = (0..30).map(|n| format!("{n:0>300}")).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let cut = said(&long);
        assert_eq!(cut.len(), MOST_SAID / MOST_OF_ONE);
        assert!(cut.iter().all(|one| one.len() == MOST_OF_ONE + 8));
        let yaml =
            "error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: a\n  line 2: b";
        assert_eq!(strict(yaml), ["line 1: a", "line 2: b"]);
        assert_eq!(strict("duplicate field \"a\""), ["duplicate field \"a\""]);
    }

    #[test]
    fn what_a_headless_service_ignores_is_named() {
        let mut said = Vec::new();
        let spec = json!({"type": "ClusterIP", "clusterIP": "None", "sessionAffinity": "ClientIP", "externalName": "x"});
        service(&json!({"spec": spec}), &mut said);
        assert_eq!(
            said,
            [
                "spec.SessionAffinity is ignored for headless services",
                "spec.externalName is ignored when spec.type is not \"ExternalName\"",
            ]
        );
    }
}
