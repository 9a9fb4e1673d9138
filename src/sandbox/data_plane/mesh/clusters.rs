//! Clusters: the application behind the proxy, the virtual nodes in front of it, and the rest of the world.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    Files, Listener, Settings, address, discovery, duration, listeners, milliseconds, routes, typed,
};
use crate::sandbox::data_plane::egress;
use crate::sandbox::data_plane::names::Names;

/// What App Mesh sets where no connection pool limits anything.
const UNLIMITED: u32 = 2_147_483_647;

/// The clusters and the files that hold their endpoints.
pub fn all(model: &Value, settings: &Settings, names: &Names) -> (Vec<Value>, Files) {
    let mut clusters = Vec::new();
    let mut files = Files::new();
    for listener in listeners(&model["virtualNode"]["spec"]) {
        let name = settings.cluster("ingress", &settings.node, &listener);
        let at = SocketAddr::new(settings.application, listener.port);
        let mut cluster = base(&name, &listener.protocol);
        cluster["type"] = json!("STATIC");
        cluster["load_assignment"] = assignment(&name, &[at]);
        // The listener's own pool protects the application from everybody.
        cluster["circuit_breakers"] =
            breakers(&listener.spec["connectionPool"][&listener.protocol]);
        clusters.push(cluster);
    }
    for (node, spec) in nodes(model) {
        for listener in listeners(&spec) {
            let name = settings.cluster("egress", &node, &listener);
            let file = format!("eds-{}.json", file_name(&name));
            let mut cluster = base(&name, &listener.protocol);
            cluster["type"] = json!("EDS");
            cluster["eds_cluster_config"] =
                json!({"eds_config": settings.source(&file), "service_name": name});
            // An endpoint that is gone gets nothing more, as behind a ClusterIP. Envoy would keep it for as long as
            // somebody answers the health checks there: with a pod's address that can be another pod.
            cluster["ignore_health_on_host_removal"] = json!(true);
            cluster["circuit_breakers"] = breakers(&Value::Null);
            if let Some(detection) = outlier_detection(&listener.spec["outlierDetection"]) {
                cluster["outlier_detection"] = detection;
            }
            if let Some(check) = health_check(&listener, settings) {
                cluster["health_checks"] = json!([check]);
            }
            let host = spec["serviceDiscovery"]["dns"]["hostname"]
                .as_str()
                .unwrap_or_default();
            let endpoints = names.resolve(host, listener.port);
            let resource = typed(
                "envoy.config.endpoint.v3.ClusterLoadAssignment",
                assignment(&name, &endpoints),
            );
            files.insert(file, discovery(vec![resource]));
            clusters.push(cluster);
        }
    }
    let mut tunnel = base(routes::TUNNEL, "tcp");
    tunnel["type"] = json!("STATIC");
    let egress = SocketAddr::new(settings.twin, egress::PORT);
    tunnel["load_assignment"] = assignment(routes::TUNNEL, &[egress]);
    clusters.push(tunnel);
    for name in [
        settings.allow_all(),
        format!("cds_egress_{}_amazonaws", settings.mesh),
    ] {
        let mut cluster = base(&name, "http");
        cluster["type"] = json!("ORIGINAL_DST");
        cluster["lb_policy"] = json!("CLUSTER_PROVIDED");
        cluster["original_dst_lb_config"] = json!({"use_http_header": true});
        cluster["circuit_breakers"] = breakers(&Value::Null);
        clusters.push(cluster);
    }
    (clusters, files)
}

/// The virtual nodes that any backend leads to, each once.
pub fn nodes(model: &Value) -> Map<String, Value> {
    let backends = model["backends"].as_array().into_iter().flatten();
    let nodes = backends
        .filter_map(|backend| backend["nodes"].as_object())
        .flatten();
    nodes
        .map(|(name, spec)| (name.clone(), spec.clone()))
        .collect()
}

fn base(name: &str, protocol: &str) -> Value {
    let mut cluster = typed(
        "envoy.config.cluster.v3.Cluster",
        json!({"name": name, "connect_timeout": "5s", "lb_policy": "ROUND_ROBIN"}),
    );
    if matches!(protocol, "http2" | "grpc") {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                json!({"explicit_http_config": {"http2_protocol_options": {}}}),
            ),
        });
    }
    cluster
}

fn assignment(name: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|at| json!({"endpoint": {"address": address(*at)}}))
        .collect();
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]})
}

/// A name that is fit for a file.
fn file_name(name: &str) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    name.chars()
        .map(|letter| if fits(letter) { letter } else { '_' })
        .collect()
}

fn breakers(pool: &Value) -> Value {
    let limit = |name: &str| {
        pool[name]
            .as_u64()
            .map_or(json!(UNLIMITED), |limit| json!(limit))
    };
    json!({"thresholds": [{
        "priority": "DEFAULT",
        "max_connections": limit("maxConnections"),
        "max_pending_requests": limit("maxPendingRequests"),
        "max_requests": limit("maxRequests"),
        "max_retries": UNLIMITED,
    }]})
}

fn outlier_detection(spec: &Value) -> Option<Value> {
    let errors = spec["maxServerErrors"].as_u64()?;
    Some(json!({
        "consecutive_5xx": errors,
        "enforcing_consecutive_5xx": 100,
        "interval": duration(&spec["interval"])?,
        "base_ejection_time": duration(&spec["baseEjectionDuration"])?,
        "max_ejection_percent": spec["maxEjectionPercent"].as_u64()?,
        "enforcing_success_rate": 0,
    }))
}

fn health_check(listener: &Listener, settings: &Settings) -> Option<Value> {
    let spec = &listener.spec["healthCheck"];
    // Intervals are modelled time; time-outs are not, since processes run in real time.
    let modelled = Duration::from_millis(spec["intervalMillis"].as_u64()?);
    let interval = settings
        .clock
        .scale(modelled)
        .max(Duration::from_secs(1).min(modelled));
    let mut check = json!({
        "timeout": milliseconds(&spec["timeoutMillis"])?,
        "interval": format!("{:.3}s", interval.as_secs_f64()),
        "unhealthy_threshold": spec["unhealthyThreshold"].as_u64()?,
        "healthy_threshold": spec["healthyThreshold"].as_u64()?,
    });
    let path = spec["path"].as_str().unwrap_or("/");
    match spec["protocol"].as_str()? {
        "http" => check["http_health_check"] = json!({"path": path}),
        "http2" => check["http_health_check"] = json!({"path": path, "codec_client_type": "HTTP2"}),
        "grpc" => check["grpc_health_check"] = json!({}),
        _ => check["tcp_health_check"] = json!({}),
    }
    Some(check)
}
