//! Envoy's configuration of one load balancer.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};

use super::{Action, Balancer, Condition, Healths, Listener, Rule, Snapshot, health};
use crate::sandbox::data_plane::mesh::{Files, address, discovery, typed};

/// The files of a load balancer's Envoy.
pub fn files(balancer: &Balancer, snapshot: &Snapshot, healths: &Healths, folder: &Path) -> Files {
    let source = |file: &str| {
        json!({
            "path_config_source": {"path": folder.join(file)},
            "resource_api_version": "V3",
        })
    };
    let mut files = Files::new();
    let mut clusters = Vec::new();
    for group in snapshot.groups_of(balancer) {
        let name = cluster(&group.arn);
        let file = format!("eds-{name}.json");
        clusters.push(typed(
            "envoy.config.cluster.v3.Cluster",
            json!({
                "name": name,
                "type": "EDS",
                "connect_timeout": "10s",
                "lb_policy": "ROUND_ROBIN",
                // All targets get traffic when none is healthy; which are is decided here, not by Envoy.
                "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
                "eds_cluster_config": {"eds_config": source(&file)},
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        json!({
                            // Shorter than what servers commonly keep idle connections open.
                            "common_http_protocol_options": {"idle_timeout": "30s"},
                            "explicit_http_config": {"http_protocol_options": {}},
                        }),
                    ),
                },
            }),
        ));
        let endpoints: Vec<Value> = health::serving(&group.arn, &group.targets, healths)
            .into_iter()
            .map(|at| json!({"endpoint": {"address": address(at)}}))
            .collect();
        let assignment = json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]});
        let resource = typed("envoy.config.endpoint.v3.ClusterLoadAssignment", assignment);
        files.insert(file, discovery(vec![resource]));
    }
    files.insert("cds.json".to_owned(), discovery(clusters));
    let mut listeners = Vec::new();
    for listener in &balancer.listeners {
        let file = format!("rds-{}.json", listener.port);
        files.insert(file.clone(), discovery(vec![routes(listener, snapshot)]));
        listeners.push(listener_resource(balancer, listener, source(&file)));
    }
    files.insert("lds.json".to_owned(), discovery(listeners));
    // The admin port is nobody's business; a socket in the folder is free of other addresses' ports.
    files.insert(
        "bootstrap.json".to_owned(),
        json!({
            "node": {"id": balancer.arn, "cluster": "load-balancer"},
            "admin": {"address": {"pipe": {"path": admin_socket(folder)}}},
            "dynamic_resources": {"lds_config": source("lds.json"), "cds_config": source("cds.json")},
            "layered_runtime": {"layers": [{
                "name": "static",
                "static_layer": {"overload": {"global_downstream_max_connections": 50000}},
            }]},
        }),
    );
    files
}

/// A socket's path may have 107 bytes; Envoy takes an abstract one for what starts with `@`.
fn admin_socket(folder: &Path) -> String {
    let path = folder.join("admin").display().to_string();
    if path.len() <= 100 {
        return path;
    }
    use sha2::Digest;
    let digest = sha2::Sha256::digest(path.as_bytes());
    let name: String = digest
        .iter()
        .take(12)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("@meshctl-{name}")
}

/// The last two parts of a target group's ARN, which are unique.
fn cluster(arn: &str) -> String {
    let mut parts = arn.rsplit('/');
    let id = parts.next().unwrap_or_default();
    format!("{}-{id}", parts.next().unwrap_or_default())
}

fn listener_resource(balancer: &Balancer, listener: &Listener, source: Value) -> Value {
    let flags = |flags: &[&str], status: u32| {
        json!({
            "filter": {"response_flag_filter": {"flags": flags}},
            "status_code": status,
        })
    };
    let manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": format!("listener_{}", listener.port),
            "codec_type": "AUTO",
            "rds": {"route_config_name": format!("listener-{}", listener.port), "config_source": source},
            "use_remote_address": true,
            "server_name": "awselb/2.0",
            "server_header_transformation": "PASS_THROUGH",
            "common_http_protocol_options": {"idle_timeout": format!("{}s", balancer.idle_timeout.max(1))},
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "http_filters": [{
                "name": "envoy.filters.http.router",
                "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})),
            }],
            // A load balancer says 502 of a target that breaks off or refuses, 504 of one that does not answer.
            "local_reply_config": {"mappers": [
                flags(&["UF", "UC", "UR", "LR", "UPE"], 502),
                flags(&["UT", "SI"], 504),
            ]},
        }),
    );
    typed(
        "envoy.config.listener.v3.Listener",
        json!({
            "name": format!("listener-{}", listener.port),
            "address": address(SocketAddr::new(IpAddr::V4(balancer.address), listener.port)),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }]}],
        }),
    )
}

fn routes(listener: &Listener, snapshot: &Snapshot) -> Value {
    let routes: Vec<Value> = listener
        .rules
        .iter()
        .map(|rule| route(rule, snapshot))
        .collect();
    typed(
        "envoy.config.route.v3.RouteConfiguration",
        json!({
            "name": format!("listener-{}", listener.port),
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
            "validate_clusters": false,
        }),
    )
}

fn route(rule: &Rule, snapshot: &Snapshot) -> Value {
    let mut matched = json!({"prefix": "/"});
    let mut headers = Vec::new();
    let mut parameters = Vec::new();
    for condition in &rule.conditions {
        match condition {
            Condition::Path(patterns) => matched = json!({"safe_regex": {"regex": any(patterns, false)}}),
            // The port is no part of the host that a rule names.
            Condition::Host(patterns) => headers.push(json!({
                "name": ":authority",
                "string_match": {"safe_regex": {"regex": format!("{}(:[0-9]+)?", any(patterns, true))}},
            })),
            Condition::Method(methods) => headers.push(json!({
                "name": ":method", "string_match": {"safe_regex": {"regex": any(methods, false)}},
            })),
            Condition::Header(name, patterns) => headers.push(json!({
                "name": name, "string_match": {"safe_regex": {"regex": any(patterns, true)}},
            })),
            // Several pairs mean any of them; Envoy can only ask for all, so the first has to do.
            Condition::Query(pairs) => parameters.extend(pairs.first().and_then(|(key, value)| {
                Some(json!({
                    "name": key.as_ref()?,
                    "string_match": {"safe_regex": {"regex": any(std::slice::from_ref(value), true)}},
                }))
            })),
        }
    }
    if !headers.is_empty() {
        matched["headers"] = json!(headers);
    }
    if !parameters.is_empty() {
        matched["query_parameters"] = json!(parameters);
    }
    let mut route = json!({"match": matched});
    match &rule.action {
        Action::Forward(groups) => forward(&mut route, groups, snapshot),
        Action::Redirect {
            status,
            protocol,
            host,
            port,
            path,
        } => {
            let mut redirect = json!({
                "response_code": if *status == 302 { "FOUND" } else { "MOVED_PERMANENTLY" },
            });
            let own = |text: &str| text.is_empty() || text.starts_with("#{");
            if !own(protocol) {
                redirect["scheme_redirect"] = json!(protocol.to_ascii_lowercase());
            }
            if !own(host) {
                redirect["host_redirect"] = json!(host);
            }
            if let Ok(port) = port.parse::<u16>() {
                redirect["port_redirect"] = json!(port);
            }
            if !path.is_empty() && path != "/#{path}" {
                redirect["path_redirect"] = json!(path);
            }
            route["redirect"] = redirect;
        }
        Action::Fixed {
            status,
            content_type,
            body,
        } => {
            route["direct_response"] = json!({"status": status, "body": {"inline_string": body}});
            if !content_type.is_empty() {
                route["response_headers_to_add"] = json!([{
                    "header": {"key": "content-type", "value": content_type},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }]);
            }
        }
    }
    route
}

fn forward(route: &mut Value, groups: &[(String, u32)], snapshot: &Snapshot) {
    let empty = |arn: &String| {
        let group = snapshot.groups.get(arn);
        group.is_none_or(|group| group.targets.iter().all(|target| target.draining))
    };
    let total: u32 = groups.iter().map(|(_, weight)| weight).sum();
    // The words of the real one, whose body is an HTML page.
    let unavailable = json!({
        "status": 503,
        "body": {"inline_string": "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n</body>\r\n</html>\r\n"},
    });
    if total == 0 || groups.iter().all(|(arn, _)| empty(arn)) {
        route["direct_response"] = unavailable;
        return;
    }
    let clusters: Vec<Value> = groups
        .iter()
        .map(|(arn, weight)| json!({"name": cluster(arn), "weight": weight}))
        .collect();
    route["route"] = json!({"weighted_clusters": {"clusters": clusters}, "timeout": "60s"});
}

/// A regular expression for any of some patterns; `*` is any text, `?` any letter.
fn any(patterns: &[String], ignore_case: bool) -> String {
    let parts: Vec<String> = patterns
        .iter()
        .map(|pattern| {
            let letters = pattern.chars().map(|letter| match letter {
                '*' => ".*".to_owned(),
                '?' => ".".to_owned(),
                letter if letter.is_alphanumeric() || "/-_".contains(letter) => letter.to_string(),
                letter => format!("\\{letter}"),
            });
            letters.collect()
        })
        .collect();
    let flags = if ignore_case { "(?i)" } else { "" };
    format!("{flags}({})", parts.join("|"))
}
