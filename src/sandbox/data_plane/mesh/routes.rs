//! Routes of the egress listener: one virtual host per backend, and the rest of the world where the mesh allows it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Listener, Settings, duration, listeners, typed};
use crate::sandbox::data_plane::names::Names;

/// The route configuration's name.
pub const EGRESS: &str = "rds_egress_http";
/// The cluster of tunnels. It is the sandbox's own: on a node there is no proxy that a client knows of.
pub const TUNNEL: &str = "sandbox_tunnel";
/// App Mesh's overall time-out of a request.
pub const TIMEOUT: &str = "15s";

/// The egress routes.
pub fn egress(model: &Value, settings: &Settings, names: &Names) -> Value {
    let mut taken = BTreeSet::new();
    let mut hosts = Vec::new();
    for backend in model["backends"].as_array().into_iter().flatten() {
        let Some(service) = backend["virtualService"].as_str() else {
            continue;
        };
        let (ports, mut routes) = provider(backend, settings);
        routes.push(tunnel());
        let mut domains = vec![service.to_owned()];
        domains.extend(ports.iter().map(|port| format!("{service}:{port}")));
        // One domain twice would make Envoy refuse the whole configuration.
        domains.retain(|domain| taken.insert(domain.clone()));
        if !domains.is_empty() {
            hosts.push(json!({"name": format!("rds_egress_{service}"), "domains": domains, "routes": routes}));
        }
    }
    hosts.push(json!({
        "name": "amazonaws",
        "domains": ["*.amazonaws.com", "*.amazonaws.com:443", "*.amazonaws.com:80"],
        "routes": [{
            "match": {"prefix": "/"},
            "route": {"cluster": format!("cds_egress_{}_amazonaws", settings.mesh)},
        }],
    }));
    if model["mesh"]["spec"]["egressFilter"]["type"] == "ALLOW_ALL" {
        hosts.extend(everything(settings, names, &mut taken));
    }
    // With DROP_ALL nothing else matches, and Envoy answers 404.
    typed(
        "envoy.config.route.v3.RouteConfiguration",
        json!({"name": EGRESS, "virtual_hosts": hosts, "validate_clusters": false}),
    )
}

/// What asks for a tunnel to a backend gets one to this very listener: gRPC's clients do so where there is an HTTP proxy.
fn tunnel() -> Value {
    json!({
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": TUNNEL,
            "timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    })
}

/// Ports and routes of a backend's provider.
fn provider(backend: &Value, settings: &Settings) -> (Vec<u16>, Vec<Value>) {
    let node_listeners = |name: &str| listeners(&backend["nodes"][name]);
    if let Some(node) = backend["node"].as_str() {
        let all = node_listeners(node);
        let ports = all.iter().map(|listener| listener.port).collect();
        let routes = all.first().map(|listener| {
            let mut action = json!({
                "cluster": settings.cluster("egress", node, listener),
                "timeout": TIMEOUT,
            });
            action["retry_policy"] = default_retries(&listener.protocol);
            json!({"match": {"prefix": "/"}, "route": action})
        });
        return (ports, routes.into_iter().collect());
    }
    let router = &backend["router"];
    let ports = listeners(router)
        .iter()
        .map(|listener| listener.port)
        .collect();
    let mut routes: Vec<&Value> = router["routes"].as_array().into_iter().flatten().collect();
    // The lowest number goes first, none last; among equals the longest prefix.
    routes.sort_by_key(|route| {
        let spec = &route["spec"];
        let prefix = ["httpRoute", "http2Route"]
            .iter()
            .find_map(|kind| spec[*kind]["match"]["prefix"].as_str());
        (
            spec["priority"].as_u64().unwrap_or(u64::MAX),
            std::cmp::Reverse(prefix.map_or(usize::MAX, str::len)),
        )
    });
    let routes = routes
        .into_iter()
        .filter_map(|found| route(found, &node_listeners, settings))
        .collect();
    (ports, routes)
}

fn route(
    found: &Value,
    node_listeners: &dyn Fn(&str) -> Vec<Listener>,
    settings: &Settings,
) -> Option<Value> {
    let spec = &found["spec"];
    let kinds = [
        ("httpRoute", "http"),
        ("http2Route", "http2"),
        ("grpcRoute", "grpc"),
        ("tcpRoute", "tcp"),
    ];
    let (kind, protocol) = kinds
        .into_iter()
        .find(|(kind, _)| spec[*kind].is_object())?;
    let spec = &spec[kind];
    let mut clusters = Vec::new();
    for target in spec["action"]["weightedTargets"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let node = target["virtualNode"].as_str()?;
        let all = node_listeners(node);
        let wanted = target["port"].as_u64();
        let listener = match wanted {
            Some(port) => all.iter().find(|listener| u64::from(listener.port) == port),
            None => all.first(),
        };
        // A target that has gone from App Mesh has no cluster; its share is answered with 503.
        let name = listener.map_or_else(
            || format!("cds_egress_{}_{node}_missing", settings.mesh),
            |listener| settings.cluster("egress", node, listener),
        );
        clusters.push(json!({"name": name, "weight": target["weight"].as_u64().unwrap_or(0)}));
    }
    let total: u64 = clusters
        .iter()
        .filter_map(|cluster| cluster["weight"].as_u64())
        .sum();
    let name = found["name"].as_str().unwrap_or_default();
    let matched = matches(&spec["match"], kind)?;
    if total == 0 {
        // Envoy refuses weights that add up to nothing.
        return Some(json!({
            "name": name, "match": matched,
            "direct_response": {"status": 503, "body": {"inline_string": "no target has any weight\n"}},
        }));
    }
    let mut action = json!({
        "weighted_clusters": {"clusters": clusters},
        "cluster_not_found_response_code": "SERVICE_UNAVAILABLE",
        "timeout": duration(&spec["timeout"]["perRequest"]).unwrap_or_else(|| TIMEOUT.to_owned()),
        "retry_policy": retries(&spec["retryPolicy"], protocol),
    });
    if let Some(idle) = duration(&spec["timeout"]["idle"]) {
        action["idle_timeout"] = json!(idle);
    }
    Some(json!({"name": name, "match": matched, "route": action}))
}

/// What App Mesh sets where a route has no policy of its own.
fn default_retries(protocol: &str) -> Value {
    let mut events = "connect-failure,refused-stream,retriable-status-codes".to_owned();
    if protocol == "grpc" {
        events.push_str(",unavailable");
    }
    json!({"retry_on": events, "retriable_status_codes": [503], "num_retries": 2})
}

fn retries(policy: &Value, protocol: &str) -> Value {
    if !policy.is_object() {
        return default_retries(protocol);
    }
    let mut events = Vec::new();
    let listed = |name: &str| -> Vec<String> {
        let list = policy[name].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for event in listed("httpRetryEvents") {
        events.extend(match event.as_str() {
            // Both include a reset connection.
            "server-error" => vec!["5xx", "reset"],
            "gateway-error" => vec!["gateway-error", "reset"],
            "client-error" => vec!["retriable-4xx"],
            "stream-error" => vec!["refused-stream"],
            _ => vec![],
        });
    }
    if !listed("tcpRetryEvents").is_empty() {
        events.push("connect-failure");
    }
    let grpc = listed("grpcRetryEvents");
    events.extend(grpc.iter().map(String::as_str));
    events.dedup();
    let mut retry = json!({
        "retry_on": events.join(","),
        "num_retries": policy["maxRetries"].as_u64().unwrap_or(0),
    });
    if let Some(timeout) = duration(&policy["perRetryTimeout"]) {
        retry["per_try_timeout"] = json!(timeout);
    }
    retry
}

/// A route's match in Envoy's terms.
fn matches(given: &Value, kind: &str) -> Option<Value> {
    let mut matched = json!({});
    let mut headers = Vec::new();
    if kind == "grpcRoute" {
        match (given["serviceName"].as_str(), given["methodName"].as_str()) {
            (Some(service), Some(method)) => {
                matched["path"] = json!(format!("/{service}/{method}"))
            }
            (Some(service), None) => matched["prefix"] = json!(format!("/{service}/")),
            _ => matched["prefix"] = json!("/"),
        }
        matched["grpc"] = json!({});
    } else if let Some(exact) = given["path"]["exact"].as_str() {
        matched["path"] = json!(exact);
    } else if let Some(regex) = given["path"]["regex"].as_str() {
        matched["safe_regex"] = json!({"regex": regex});
    } else {
        matched["prefix"] = json!(given["prefix"].as_str().unwrap_or("/"));
    }
    if let Some(method) = given["method"].as_str() {
        headers.push(json!({"name": ":method", "string_match": {"exact": method}}));
    }
    if let Some(scheme) = given["scheme"].as_str() {
        headers.push(json!({"name": ":scheme", "string_match": {"exact": scheme}}));
    }
    let listed = if kind == "grpcRoute" {
        &given["metadata"]
    } else {
        &given["headers"]
    };
    for header in listed.as_array().into_iter().flatten() {
        let by = &header["match"];
        let mut matcher = json!({"name": header["name"], "invert_match": header["invert"].as_bool().unwrap_or(false)});
        if let Some(exact) = by["exact"].as_str() {
            matcher["string_match"] = json!({"exact": exact});
        } else if let Some(prefix) = by["prefix"].as_str() {
            matcher["string_match"] = json!({"prefix": prefix});
        } else if let Some(suffix) = by["suffix"].as_str() {
            matcher["string_match"] = json!({"suffix": suffix});
        } else if let Some(regex) = by["regex"].as_str() {
            matcher["string_match"] = json!({"safe_regex": {"regex": regex}});
        } else if by["range"].is_object() {
            matcher["range_match"] =
                json!({"start": by["range"]["start"], "end": by["range"]["end"]});
        } else {
            matcher["present_match"] = json!(true);
        }
        headers.push(matcher);
    }
    if !headers.is_empty() {
        matched["headers"] = json!(headers);
    }
    let parameters: Vec<Value> = given["queryParameters"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|parameter| match parameter["match"]["exact"].as_str() {
            Some(exact) => json!({"name": parameter["name"], "string_match": {"exact": exact}}),
            None => json!({"name": parameter["name"], "present_match": true}),
        })
        .collect();
    if !parameters.is_empty() {
        matched["query_parameters"] = json!(parameters);
    }
    Some(matched)
}

/// What a mesh with `ALLOW_ALL` lets through besides its backends. On a node the packet's own destination is used; an
/// HTTP proxy has only the Host, so every service of the cluster gets a virtual host, and a literal address is taken as
/// it is. All goes through one cluster, whose counters tell of traffic that missed the mesh.
fn everything(settings: &Settings, names: &Names, taken: &mut BTreeSet<String>) -> Vec<Value> {
    let cluster = settings.allow_all();
    let header = |value: String| {
        json!([{
            "header": {"key": "x-envoy-original-dst-host", "value": value},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }])
    };
    let mut hosts = Vec::new();
    for entry in names.entries() {
        let (service, namespace) = (&entry.service, &entry.namespace);
        let mut known = vec![
            format!("{service}.{namespace}.svc.cluster.local"),
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}"),
        ];
        if *namespace == settings.namespace {
            known.push(service.clone());
        }
        let mut domains: Vec<String> = known
            .iter()
            .map(|name| format!("{name}:{}", entry.port))
            .collect();
        if entry.port == 80 {
            domains.extend(known);
        }
        domains.retain(|domain| taken.insert(domain.clone()));
        if domains.is_empty() {
            continue;
        }
        let weighted: Vec<Value> = entry
            .endpoints
            .iter()
            .map(|at| json!({"name": cluster, "weight": 1, "request_headers_to_add": header(at.to_string())}))
            .collect();
        let route = match weighted.is_empty() {
            true => json!({"match": {"prefix": "/"}, "direct_response": {"status": 503}}),
            false => {
                json!({"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": weighted}}})
            }
        };
        hosts.push(json!({
            "name": format!("{service}.{namespace}:{}", entry.port), "domains": domains, "routes": [route],
        }));
    }
    hosts.push(json!({
        "name": "mesh-allow-all",
        "domains": ["*"],
        "routes": [{
            "match": {"prefix": "/"},
            "route": {"cluster": cluster},
            "request_headers_to_add": header("%REQ(:AUTHORITY)%".to_owned()),
        }],
    }));
    hosts
}
