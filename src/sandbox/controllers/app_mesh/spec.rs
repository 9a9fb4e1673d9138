//! Turns the specs of custom resources into those of App Mesh's API. Most fields have one name in both; references to
//! other custom resources become the names that these have in AWS.

use serde_json::{Map, Value, json};

use super::super::runtime::object::{items, text};

/// Finds the AWS name behind a reference: the kind (`VirtualNode`) and the reference.
pub type Names<'a> = &'a dyn Fn(&str, &Value) -> Result<String, String>;

/// The spec of a mesh.
pub fn mesh(spec: &Value) -> Value {
    pick(spec, &["egressFilter", "serviceDiscovery"])
}

/// The spec of a virtual node.
pub fn virtual_node(
    spec: &Value,
    more_backends: &[Value],
    names: Names<'_>,
) -> Result<Value, String> {
    let mut out = pick(
        spec,
        &[
            "listeners",
            "serviceDiscovery",
            "backendDefaults",
            "logging",
        ],
    );
    let mut backends = Vec::new();
    let own = items(&spec["backends"])
        .iter()
        .map(|backend| &backend["virtualService"]);
    for service in own.chain(more_backends) {
        let mut backend = json!({ "virtualServiceName": service_name(service, names)? });
        if !service["clientPolicy"].is_null() {
            backend["clientPolicy"] = rename(&service["clientPolicy"]);
        }
        backends.push(json!({ "virtualService": backend }));
    }
    if !backends.is_empty() {
        out["backends"] = backends.into();
    }
    Ok(out)
}

fn service_name(reference: &Value, names: Names<'_>) -> Result<String, String> {
    by_reference_or_arn(
        reference,
        "VirtualService",
        "virtualServiceRef",
        "virtualServiceARN",
        names,
    )
}

fn by_reference_or_arn(
    holder: &Value,
    kind: &str,
    reference: &str,
    arn: &str,
    names: Names<'_>,
) -> Result<String, String> {
    match (&holder[reference], holder[arn].as_str()) {
        (Value::Object(_), _) => names(kind, &holder[reference]),
        (_, Some(arn)) => Ok(arn.rsplit('/').next().unwrap_or(arn).to_owned()),
        _ => Err(format!("{reference} and {arn} are both missing")),
    }
}

/// The spec of a virtual router.
pub fn virtual_router(spec: &Value) -> Value {
    json!({ "listeners": rename(&json!(items(&spec["listeners"]))) })
}

/// The spec of one route of a virtual router.
pub fn route(route: &Value, names: Names<'_>) -> Result<Value, String> {
    let mut out = pick(
        route,
        &[
            "priority",
            "httpRoute",
            "http2Route",
            "grpcRoute",
            "tcpRoute",
        ],
    );
    for kind in ["httpRoute", "http2Route", "grpcRoute", "tcpRoute"] {
        if out[kind].is_null() {
            continue;
        }
        let mut targets = Vec::new();
        for target in items(&route[kind]["action"]["weightedTargets"]) {
            let name = by_reference_or_arn(
                target,
                "VirtualNode",
                "virtualNodeRef",
                "virtualNodeARN",
                names,
            )?;
            let mut entry = json!({ "virtualNode": name, "weight": target["weight"] });
            if !target["port"].is_null() {
                entry["port"] = target["port"].clone();
            }
            targets.push(entry);
        }
        out[kind]["action"] = json!({ "weightedTargets": targets });
    }
    Ok(out)
}

/// The spec of a virtual service.
pub fn virtual_service(spec: &Value, names: Names<'_>) -> Result<Value, String> {
    let provider = &spec["provider"];
    let mut out = Map::new();
    if !provider["virtualNode"].is_null() {
        let name = by_reference_or_arn(
            &provider["virtualNode"],
            "VirtualNode",
            "virtualNodeRef",
            "virtualNodeARN",
            names,
        )?;
        out.insert("virtualNode".into(), json!({ "virtualNodeName": name }));
    }
    if !provider["virtualRouter"].is_null() {
        let name = by_reference_or_arn(
            &provider["virtualRouter"],
            "VirtualRouter",
            "virtualRouterRef",
            "virtualRouterARN",
            names,
        )?;
        out.insert("virtualRouter".into(), json!({ "virtualRouterName": name }));
    }
    Ok(if out.is_empty() {
        json!({})
    } else {
        json!({ "provider": out })
    })
}

/// The spec of a virtual gateway.
pub fn virtual_gateway(spec: &Value) -> Value {
    pick(spec, &["listeners", "backendDefaults", "logging"])
}

/// The spec of a gateway route.
pub fn gateway_route(spec: &Value, names: Names<'_>) -> Result<Value, String> {
    let mut out = pick(spec, &["priority", "httpRoute", "http2Route", "grpcRoute"]);
    for kind in ["httpRoute", "http2Route", "grpcRoute"] {
        if out[kind].is_null() {
            continue;
        }
        let target = &spec[kind]["action"]["target"];
        let name = service_name(&target["virtualService"], names)?;
        let mut written = json!({ "virtualService": { "virtualServiceName": name } });
        if !target["port"].is_null() {
            written["port"] = target["port"].clone();
        }
        out[kind]["action"]["target"] = written;
    }
    Ok(out)
}

fn pick(spec: &Value, fields: &[&str]) -> Value {
    let mut out = Map::new();
    for field in fields {
        if !spec[field].is_null() {
            out.insert((*field).to_owned(), rename(&spec[field]));
        }
    }
    Value::Object(out)
}

/// The few fields whose spelling differs.
fn rename(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let name = match name.as_str() {
                    "certificateARN" => "certificateArn",
                    "certificateAuthorityARNs" => "certificateAuthorityArns",
                    other => other,
                };
                (name.to_owned(), rename(value))
            })
            .collect(),
        Value::Array(values) => values.iter().map(rename).collect(),
        other => other.clone(),
    }
}

/// Whether App Mesh has what is wanted: empty lists and objects count as missing, and so does a health check's port
/// that only App Mesh knows.
pub fn same(wanted: &Value, actual: &Value) -> bool {
    match (wanted, actual) {
        (Value::Object(wanted), Value::Object(actual)) => {
            wanted
                .iter()
                .all(|(name, value)| same(value, actual.get(name).unwrap_or(&Value::Null)))
                && actual.iter().all(|(name, value)| {
                    wanted.contains_key(name)
                        || blank(value)
                        || (name == "port" && wanted.contains_key("healthyThreshold"))
                })
        }
        (Value::Array(wanted), Value::Array(actual)) => {
            wanted.len() == actual.len()
                && wanted
                    .iter()
                    .zip(actual)
                    .all(|(wanted, actual)| same(wanted, actual))
        }
        (wanted, actual) => wanted == actual || (blank(wanted) && blank(actual)),
    }
}

fn blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.values().all(blank),
        _ => false,
    }
}

/// The references to other resources within a spec, by the key that holds them.
pub fn references<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if name == key && inner["name"].is_string() {
                    if !found.contains(&inner) {
                        found.push(inner);
                    }
                } else {
                    references(inner, key, found);
                }
            }
        }
        Value::Array(values) => {
            for inner in values {
                references(inner, key, found);
            }
        }
        _ => {}
    }
}

/// A reference's namespace: its own, or that of the resource that holds it.
pub fn namespace_of<'a>(reference: &'a Value, holder: &'a str) -> &'a str {
    match text(&reference["namespace"]) {
        "" => holder,
        namespace => namespace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kind: &str, reference: &Value) -> Result<String, String> {
        Ok(format!("{kind}:{}", text(&reference["name"])))
    }

    #[test]
    fn a_route_names_its_nodes_as_aws_does() {
        let written = route(
            &json!({
                "name": "all",
                "priority": 1,
                "httpRoute": {
                    "match": { "prefix": "/" },
                    "action": { "weightedTargets": [
                        { "virtualNodeRef": { "name": "v1" }, "weight": 90 },
                        { "virtualNodeARN": "arn:aws:appmesh:r:1:mesh/m/virtualNode/v2", "weight": 10, "port": 8080 },
                    ] },
                    "timeout": { "perRequest": { "unit": "s", "value": 15 } },
                },
            }),
            &names,
        )
        .expect("fine");
        assert_eq!(
            written,
            json!({
                "priority": 1,
                "httpRoute": {
                    "match": { "prefix": "/" },
                    "action": { "weightedTargets": [
                        { "virtualNode": "VirtualNode:v1", "weight": 90 },
                        { "virtualNode": "v2", "weight": 10, "port": 8080 },
                    ] },
                    "timeout": { "perRequest": { "unit": "s", "value": 15 } },
                },
            })
        );
    }

    #[test]
    fn what_app_mesh_adds_is_no_difference() {
        let wanted = json!({ "listeners": [{ "healthCheck": { "healthyThreshold": 2 } }] });
        let actual = json!({ "listeners": [{ "healthCheck": { "healthyThreshold": 2, "port": 80 } }], "backends": [] });
        assert!(same(&wanted, &actual));
        assert!(!same(&actual, &json!({ "listeners": [] })));
        assert!(!same(
            &json!({}),
            &json!({ "logging": { "accessLog": { "file": { "path": "/dev/stdout" } } } })
        ));
    }
}
