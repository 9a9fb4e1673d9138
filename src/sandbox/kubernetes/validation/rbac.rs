//! Roles and their bindings.

use serde_json::{Value, json};

use super::super::object::{list, text};
use super::super::resources::Resource;
use super::super::status::Cause;
use super::names::{SUBDOMAIN, is_subdomain};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The rules of a role.
pub fn role(resource: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    for (index, rule) in list(object, "rules").iter().enumerate() {
        let at = |field: &str| format!("rules[{index}].{field}");
        if list(rule, "verbs").is_empty() {
            causes.push(Cause::required(
                at("verbs"),
                "verbs must contain at least one value",
            ));
        }
        let urls = "nonResourceURLs";
        if !list(rule, urls).is_empty() {
            let mut invalid = |why: &str| causes.push(Cause::invalid(at(urls), &rule[urls], why));
            if resource.namespaced {
                invalid("namespaced rules cannot apply to non-resource URLs");
            }
            let both = ["apiGroups", "resources", "resourceNames"]
                .iter()
                .any(|field| !list(rule, field).is_empty());
            if both {
                invalid("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if list(rule, "apiGroups").is_empty() {
            causes.push(Cause::required(
                at("apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if list(rule, "resources").is_empty() {
            causes.push(Cause::required(
                at("resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
}

/// What a binding binds, and to whom.
pub fn binding(resource: &Resource, object: &Value, old: Option<&Value>, causes: &mut Vec<Cause>) {
    let group = text(object, "roleRef.apiGroup");
    if group != GROUP {
        causes.push(Cause::unsupported(
            "roleRef.apiGroup",
            &group.into(),
            &[GROUP],
        ));
    }
    let kinds: &[&str] = if resource.namespaced {
        &["Role", "ClusterRole"]
    } else {
        &["ClusterRole"]
    };
    let kind = text(object, "roleRef.kind");
    if !kinds.contains(&kind) {
        causes.push(Cause::unsupported("roleRef.kind", &kind.into(), kinds));
    }
    if text(object, "roleRef.name").is_empty() {
        causes.push(Cause::required("roleRef.name", ""));
    }
    for (index, subject) in list(object, "subjects").iter().enumerate() {
        let at = |field: &str| format!("subjects[{index}].{field}");
        let name = text(subject, "name");
        if name.is_empty() {
            causes.push(Cause::required(at("name"), ""));
        }
        let group = text(subject, "apiGroup");
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !name.is_empty() && !is_subdomain(name) {
                    causes.push(Cause::invalid(at("name"), &name.into(), SUBDOMAIN));
                }
                if !group.is_empty() {
                    causes.push(Cause::unsupported(at("apiGroup"), &group.into(), &[""]));
                }
                if !resource.namespaced && text(subject, "namespace").is_empty() {
                    causes.push(Cause::required(at("namespace"), ""));
                }
            }
            "User" | "Group" => {
                if group != GROUP {
                    causes.push(Cause::unsupported(at("apiGroup"), &group.into(), &[GROUP]));
                }
            }
            kind => causes.push(Cause::unsupported(
                at("kind"),
                &kind.into(),
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
    if let Some(old) = old
        && old["roleRef"] != object["roleRef"]
    {
        let shown = json!({
            "APIGroup": text(object, "roleRef.apiGroup"),
            "Kind": text(object, "roleRef.kind"),
            "Name": text(object, "roleRef.name"),
        });
        causes.push(Cause::invalid("roleRef", &shown, "cannot change roleRef"));
    }
}
