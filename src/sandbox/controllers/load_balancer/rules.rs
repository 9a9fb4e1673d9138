//! Listeners and their rules: paths in the order of their precedence, backends as actions.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::runtime::object::{Meta, items, text};
use super::groups::{Member, annotation};
use super::model::{Action, Listener, Model, Tags, target_group};
use super::{Controller, Trouble};

/// A rule of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Hosts that match; empty for all.
    pub hosts: Vec<String>,
    /// Path patterns that match.
    pub paths: Vec<String>,
    /// What is done.
    pub action: Action,
    /// Tags of the Ingress.
    pub tags: Tags,
}

/// The listener of one port for the Ingresses that listen on it.
pub fn listener(
    controller: &Controller,
    model: &mut Model,
    port: i64,
    protocol: String,
    certificates: Vec<String>,
    members: &[&Member],
) -> Result<Listener, Trouble> {
    let mut default = None;
    let mut rules = Vec::new();
    for member in members {
        let ingress = &member.ingress;
        let backend = &ingress["spec"]["defaultBackend"];
        if !backend.is_null() {
            if default.is_some() {
                return Err("multiple ingress defined default backend".into());
            }
            default = Some(action(controller, model, member, backend)?);
        }
        for rule in items(&ingress["spec"]["rules"]) {
            for path in sorted(items(&rule["http"]["paths"])) {
                let action = action(controller, model, member, &path["backend"])?;
                let hosts = match text(&rule["host"]) {
                    "" => Vec::new(),
                    host => vec![host.to_owned()],
                };
                let mut paths = patterns(ingress, path)?;
                if hosts.is_empty() && paths.is_empty() {
                    paths.push("/*".into());
                }
                rules.push(Rule {
                    hosts,
                    paths,
                    action,
                    tags: model.tags.clone(),
                });
            }
        }
    }
    Ok(Listener {
        port,
        protocol,
        certificates,
        default: default.unwrap_or_else(|| Action::Fixed {
            status: "404".into(),
            kind: "text/plain".into(),
            body: String::new(),
        }),
        rules,
    })
}

/// Exact paths first, then prefixes from long to short, then the others as they stand.
fn sorted(paths: &[Value]) -> Vec<&Value> {
    let rank = |path: &Value| match text(&path["pathType"]) {
        "Exact" => 0,
        "Prefix" => 1,
        _ => 2,
    };
    let mut sorted: Vec<&Value> = paths.iter().collect();
    sorted.sort_by_key(|path| {
        let kind = rank(path);
        let length = if kind == 1 {
            text(&path["path"]).len()
        } else {
            0
        };
        (kind, std::cmp::Reverse(length))
    });
    sorted
}

fn patterns(ingress: &Value, path: &Value) -> Result<Vec<String>, Trouble> {
    let given = text(&path["path"]);
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let wild = given.contains(['*', '?']);
    match text(&path["pathType"]) {
        "Exact" if wild => Err(format!(
            "ingress: {}: exact path shouldn't contain wildcards: {given}",
            ingress.key()
        )
        .into()),
        "Prefix" if given == "/" => Ok(vec!["/*".into()]),
        "Prefix" if wild => Err(format!(
            "ingress: {}: prefix path shouldn't contain wildcards: {given}",
            ingress.key()
        )
        .into()),
        "Prefix" => {
            let base = given.strip_suffix('/').unwrap_or(given);
            Ok(vec![base.to_owned(), format!("{base}/*")])
        }
        _ => Ok(vec![given.to_owned()]),
    }
}

fn action(
    controller: &Controller,
    model: &mut Model,
    member: &Member,
    backend: &Value,
) -> Result<Action, Trouble> {
    let service = text(&backend["service"]["name"]);
    let port = &backend["service"]["port"];
    if port["name"] == "use-annotation" {
        return annotated(controller, model, member, service);
    }
    let port = if port["name"].is_string() {
        &port["name"]
    } else {
        &port["number"]
    };
    Ok(
        match target_group(controller, model, member, service, port)? {
            Ok(id) => Action::Forward(vec![(id, 1)]),
            Err(instead) => instead,
        },
    )
}

/// An action that stands in an annotation of the Ingress.
fn annotated(
    controller: &Controller,
    model: &mut Model,
    member: &Member,
    name: &str,
) -> Result<Action, Trouble> {
    let Some(json) = annotation(&member.ingress, &format!("actions.{name}")) else {
        if controller.flags.is("tolerate-non-existent-backend-action") {
            return Ok(Action::Fixed {
                status: "503".into(),
                kind: "text/plain".into(),
                body: "Backend action does not exist".into(),
            });
        }
        return Err(format!("missing actions.{name} configuration").into());
    };
    let written: Value = serde_json::from_str(json).map_err(|error| {
        Trouble(format!(
            "failed to parse JSON annotation alb.ingress.kubernetes.io/actions.{name}: {error}"
        ))
    })?;
    // Keys come in both spellings: `fixedResponseConfig` and `FixedResponseConfig`.
    let field = |value: &Value, name: &str| -> Value {
        let found = value.as_object().and_then(|fields| {
            fields
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
        });
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    match text(&field(&written, "type")) {
        "fixed-response" => {
            let config = field(&written, "fixedResponseConfig");
            Ok(Action::Fixed {
                status: text(&field(&config, "statusCode")).to_owned(),
                kind: text(&field(&config, "contentType")).to_owned(),
                body: text(&field(&config, "messageBody")).to_owned(),
            })
        }
        "redirect" => {
            let config = field(&written, "redirectConfig");
            let members: BTreeMap<String, Value> =
                ["host", "path", "port", "protocol", "query", "statusCode"]
                    .iter()
                    .map(|name| ((*name).to_owned(), field(&config, name)))
                    .filter(|(_, value)| !value.is_null())
                    .collect();
            Ok(Action::Redirect(members.into_iter().collect()))
        }
        "forward" => {
            let config = field(&written, "forwardConfig");
            let mut targets = Vec::new();
            for target in items(&field(&config, "targetGroups")) {
                let service = field(target, "serviceName");
                let port = match field(target, "servicePort") {
                    Value::String(text) => text
                        .parse::<i64>()
                        .map_or(Value::String(text.clone()), Value::from),
                    number => number,
                };
                let weight = field(target, "weight").as_i64().unwrap_or(1);
                match target_group(controller, model, member, text(&service), &port)? {
                    Ok(id) => targets.push((id, weight)),
                    Err(instead) => return Ok(instead),
                }
            }
            if targets.is_empty() {
                return Err("missing TargetGroups in ForwardConfig".into());
            }
            Ok(Action::Forward(targets))
        }
        other => Err(format!("unknown action type: {other}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_come_in_the_order_of_their_precedence() {
        let paths = [
            json!({ "path": "/a*", "pathType": "ImplementationSpecific" }),
            json!({ "path": "/", "pathType": "Prefix" }),
            json!({ "path": "/long", "pathType": "Prefix" }),
            json!({ "path": "/x", "pathType": "Exact" }),
        ];
        let order: Vec<&str> = sorted(&paths)
            .iter()
            .map(|path| text(&path["path"]))
            .collect();
        assert_eq!(order, ["/x", "/long", "/", "/a*"]);
    }

    #[test]
    fn a_prefix_matches_itself_and_what_is_below() {
        let ingress = json!({ "metadata": { "name": "i", "namespace": "n" } });
        let of = |path: &str| {
            patterns(&ingress, &json!({ "path": path, "pathType": "Prefix" }))
                .map_err(|error| error.0)
        };
        assert_eq!(of("/"), Ok(vec!["/*".to_owned()]));
        assert_eq!(of("/a/"), Ok(vec!["/a".to_owned(), "/a/*".to_owned()]));
        assert_eq!(
            of("/a*"),
            Err("ingress: n/i: prefix path shouldn't contain wildcards: /a*".to_owned())
        );
    }
}
