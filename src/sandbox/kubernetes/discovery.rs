//! Which groups, versions and resources there are.

use std::sync::Arc;

use hyper::Response;
use serde_json::{Value, json};

use super::api::{Api, Body, bytes, json_body};
use super::object;
use super::resources::{Index, Resource};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers a path of discovery; nothing when it is none.
pub fn answer(api: &Api, path: &str, accept: &str) -> Option<Response<Body>> {
    let index = api.registry.index();
    let aggregated = accept.split(',').any(|part| {
        part.contains("as=APIGroupDiscoveryList")
            && part.contains("v=v2")
            && !part.contains("v2beta1")
    });
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Some(match parts[..] {
        [] => {
            let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
            for (group, versions) in named(&index) {
                paths.push(format!("/apis/{group}"));
                paths.extend(
                    versions
                        .iter()
                        .map(|version| format!("/apis/{group}/{version}")),
                );
            }
            for path in [
                "/healthz",
                "/livez",
                "/openapi/v2",
                "/openapi/v3",
                "/openid/v1/jwks",
                "/readyz",
                "/version",
            ] {
                paths.push(path.into());
            }
            json_body(200, &json!({"paths": paths}))
        }
        ["api"] if aggregated => list(&index, true),
        ["apis"] if aggregated => list(&index, false),
        ["api"] => json_body(
            200,
            &json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}],
            }),
        ),
        ["apis"] => {
            let groups: Vec<Value> = named(&index).map(group).collect();
            json_body(
                200,
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            )
        }
        ["apis", name] => {
            let found = named(&index).find(|(group, _)| group == name)?;
            let mut group = group(found);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            json_body(200, &group)
        }
        ["api", version] => resources(&index, "", version)?,
        ["apis", group, version] => resources(&index, group, version)?,
        _ => return None,
    })
}

fn named(index: &Index) -> impl Iterator<Item = &(String, Vec<String>)> {
    index.groups.iter().filter(|(group, _)| !group.is_empty())
}

fn group((name, versions): &(String, Vec<String>)) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first().cloned();
    json!({"name": name, "versions": versions, "preferredVersion": preferred})
}

/// What can be done with resources.
pub const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The verbs of a resource.
pub fn verbs(resource: &Resource) -> &'static [&'static str] {
    match resource.review {
        true => &["create"],
        false => &VERBS,
    }
}

/// Name, kind's group, version and kind, and verbs of what is under a resource.
fn subresources(
    resource: &Resource,
) -> Vec<(
    &'static str,
    String,
    &'static str,
    String,
    Vec<&'static str>,
)> {
    let own = || (resource.group.clone(), resource.kind.clone());
    let mut found = Vec::new();
    let mut add = |name, group: &str, version, kind: &str, verbs: &[&'static str]| {
        found.push((
            name,
            group.to_owned(),
            version,
            kind.to_owned(),
            verbs.to_vec(),
        ));
    };
    if resource.is("", "pods") {
        add("attach", "", "v1", "PodAttachOptions", &["create", "get"]);
        add("binding", "", "v1", "Binding", &["create"]);
        add("eviction", "policy", "v1", "Eviction", &["create"]);
        add("exec", "", "v1", "PodExecOptions", &["create", "get"]);
        add("log", "", "v1", "Pod", &["get"]);
        add(
            "portforward",
            "",
            "v1",
            "PodPortForwardOptions",
            &["create", "get"],
        );
    }
    if resource.is("", "namespaces") {
        add("finalize", "", "v1", "Namespace", &["update"]);
    }
    if resource.is("", "serviceaccounts") {
        add(
            "token",
            "authentication.k8s.io",
            "v1",
            "TokenRequest",
            &["create"],
        );
    }
    if resource.scale.is_some() {
        add(
            "scale",
            "autoscaling",
            "v1",
            "Scale",
            &["get", "patch", "update"],
        );
    }
    if resource.status {
        let (group, kind) = own();
        add("status", &group, "", &kind, &["get", "patch", "update"]);
    }
    found
}

fn resources(index: &Index, group: &str, version: &str) -> Option<Response<Body>> {
    let listed = index.listed.get(&(group.to_owned(), version.to_owned()))?;
    let mut resources = Vec::new();
    for resource in listed {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs(resource),
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = resource.short_names.clone().into();
        }
        if !resource.categories.is_empty() {
            entry["categories"] = resource.categories.clone().into();
        }
        resources.push(entry);
        for (name, group, version, kind, verbs) in subresources(resource) {
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": kind, "verbs": verbs,
            });
            if group != resource.group {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            resources.push(entry);
        }
    }
    Some(json_body(
        200,
        &json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": object::api_version(group, version), "resources": resources,
        }),
    ))
}

/// The aggregated form: everything in one answer.
fn list(index: &Index, core: bool) -> Response<Body> {
    let mut items = Vec::new();
    for (group, versions) in &index.groups {
        if group.is_empty() != core {
            continue;
        }
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let key = (group.clone(), version.clone());
                let listed = index.listed.get(&key).map_or(&[][..], Vec::as_slice);
                let resources: Vec<Value> = listed.iter().map(entry).collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let mut metadata = json!({"creationTimestamp": null});
        if !group.is_empty() {
            metadata["name"] = group.as_str().into();
        }
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items,
    });
    bytes(200, AGGREGATED, body.to_string().into())
}

fn entry(resource: &Arc<Resource>) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    let below: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|(name, group, version, of, verbs)| {
            let version = if version.is_empty() {
                resource.version.as_str()
            } else {
                version
            };
            json!({"subresource": name, "responseKind": kind(&group, version, &of), "verbs": verbs})
        })
        .collect();
    if !below.is_empty() {
        entry["subresources"] = below.into();
    }
    entry
}
