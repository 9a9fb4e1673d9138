//! Envoy's configuration from what App Mesh says of a virtual node.
//!
//! Names are App Mesh's own (`cds_egress_MESH_NODE_http_8080`, `lds_egress_0.0.0.0_15001`), since people and tools look
//! for them in the admin port's answers. What cannot be as on a node, because nothing redirects packets here: each
//! ingress listener has the application's port on the pod's address, and the egress listener is an HTTP proxy, so that a
//! destination is told by the Host of a request and not by an address. TCP routes are therefore served as HTTP. What makes
//! tunnels through that proxy (`CONNECT`, as gRPC's clients do) comes out at the proxy itself, and is seen there as what
//! would come without one.
//!
//! The router is the only HTTP filter, as in a dump of an App Mesh Envoy's configuration: there is no `grpc_stats`, so no
//! counter of gRPC's statuses but `rq_success` and `rq_error` of the endpoints.

mod clusters;
mod routes;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::egress;
use super::names::Names;
use crate::sandbox::clock::Clock;

/// What the proxy of one pod is set up with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mesh.
    pub mesh: String,
    /// The virtual node.
    pub node: String,
    /// The pod's address as others dial it.
    pub twin: IpAddr,
    /// Where the application listens.
    pub application: IpAddr,
    /// The pod's namespace, for short names.
    pub namespace: String,
    /// Envoy's admin port.
    pub admin_port: u16,
    /// The X-Ray daemon's port and the sampled share of requests, with tracing on.
    pub tracing: Option<(u16, f64)>,
    /// Where the files are.
    pub folder: PathBuf,
    /// For the intervals of health checks.
    pub clock: Clock,
}

impl Settings {
    fn cluster(&self, direction: &str, node: &str, listener: &Listener) -> String {
        format!(
            "cds_{direction}_{}_{node}_{}_{}",
            self.mesh, listener.protocol, listener.port
        )
    }

    /// The cluster of everything that is no backend.
    pub fn allow_all(&self) -> String {
        format!("cds_egress_{}_mesh-allow-all", self.mesh)
    }

    fn source(&self, file: &str) -> Value {
        json!({
            "path_config_source": {"path": self.folder.join(file)},
            "resource_api_version": "V3",
        })
    }
}

/// A listener of a virtual node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listener {
    protocol: String,
    port: u16,
    spec: Value,
}

fn listeners(spec: &Value) -> Vec<Listener> {
    let all = spec["listeners"].as_array().into_iter().flatten();
    all.filter_map(|listener| {
        let mapping = &listener["portMapping"];
        Some(Listener {
            protocol: mapping["protocol"].as_str()?.to_owned(),
            port: u16::try_from(mapping["port"].as_u64()?).ok()?,
            spec: listener.clone(),
        })
    })
    .collect()
}

/// A duration of App Mesh, `{unit, value}`, as Envoy writes it.
fn duration(value: &Value) -> Option<String> {
    let amount = value["value"].as_u64()?;
    Some(match value["unit"].as_str()? {
        "ms" => format!("{}.{:03}s", amount / 1000, amount % 1000),
        _ => format!("{amount}s"),
    })
}

fn milliseconds(value: &Value) -> Option<String> {
    let amount = value.as_u64()?;
    Some(format!("{}.{:03}s", amount / 1000, amount % 1000))
}

pub(super) fn typed(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("type.googleapis.com/{kind}"));
    config
}

pub(super) fn address(at: SocketAddr) -> Value {
    json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}})
}

/// The files of a proxy by name; each is to be renamed into place.
pub type Files = BTreeMap<String, Value>;

/// Everything but the bootstrap. `model` is the App Mesh stream's answer.
pub fn files(model: &Value, settings: &Settings, names: &Names) -> Files {
    let mut files = Files::new();
    files.insert(
        "lds.json".to_owned(),
        discovery(listener_resources(model, settings)),
    );
    files.insert(
        "rds.json".to_owned(),
        discovery(vec![routes::egress(model, settings, names)]),
    );
    let (resources, endpoints) = clusters::all(model, settings, names);
    files.insert("cds.json".to_owned(), discovery(resources));
    files.extend(endpoints);
    files
}

pub(super) fn discovery(resources: Vec<Value>) -> Value {
    json!({ "resources": resources })
}

/// The static part, which says where the rest is.
pub fn bootstrap(settings: &Settings, node_id: &str) -> Value {
    json!({
        "node": {
            "id": node_id,
            "cluster": format!("mesh/{}/virtualNode/{}", settings.mesh, settings.node),
        },
        "admin": {"address": address(SocketAddr::new(settings.twin, settings.admin_port))},
        "dynamic_resources": {
            "lds_config": settings.source("lds.json"),
            "cds_config": settings.source("cds.json"),
        },
        "layered_runtime": {"layers": [{
            "name": "static",
            "static_layer": {"overload": {"global_downstream_max_connections": 50000}},
        }]},
    })
}

fn listener_resources(model: &Value, settings: &Settings) -> Vec<Value> {
    let spec = &model["virtualNode"]["spec"];
    let mut resources: Vec<Value> = listeners(spec)
        .iter()
        .map(|listener| ingress(listener, spec, settings))
        .collect();
    let config_source = settings.source("rds.json");
    let manager = json!({
        "stat_prefix": "egress",
        "http_protocol_options": {"allow_absolute_url": true},
        "rds": {"route_config_name": routes::EGRESS, "config_source": config_source},
    });
    resources.push(typed(
        "envoy.config.listener.v3.Listener",
        json!({
            "name": "lds_egress_0.0.0.0_15001",
            "address": address(SocketAddr::new(settings.twin, egress::PORT)),
            "filter_chains": [{"filters": [connection_manager(manager, spec, settings, false)]}],
        }),
    ));
    resources
}

fn ingress(listener: &Listener, spec: &Value, settings: &Settings) -> Value {
    let cluster = settings.cluster("ingress", &settings.node, listener);
    let timeout = &listener.spec["timeout"];
    let filter = if listener.protocol == "tcp" {
        let idle = duration(&timeout["tcp"]["idle"]).unwrap_or_else(|| "3600s".to_owned());
        json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": typed(
                "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                json!({"stat_prefix": "ingress", "cluster": cluster, "idle_timeout": idle, "access_log": access_log(spec, settings)}),
            ),
        })
    } else {
        let timeout = &timeout[&listener.protocol];
        let mut action = json!({
            "cluster": cluster,
            "timeout": duration(&timeout["perRequest"]).unwrap_or_else(|| routes::TIMEOUT.to_owned()),
        });
        if let Some(idle) = duration(&timeout["idle"]) {
            action["idle_timeout"] = json!(idle);
        }
        let manager = json!({
            "stat_prefix": "ingress",
            "route_config": {
                "name": format!("rds_ingress_{}_{}", listener.protocol, listener.port),
                "virtual_hosts": [{"name": cluster, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}],
            },
        });
        connection_manager(manager, spec, settings, true)
    };
    typed(
        "envoy.config.listener.v3.Listener",
        json!({
            "name": format!("lds_ingress_{}_{}", settings.twin, listener.port),
            "address": address(SocketAddr::new(settings.twin, listener.port)),
            "filter_chains": [{"filters": [filter]}],
        }),
    )
}

fn connection_manager(
    mut manager: Value,
    spec: &Value,
    settings: &Settings,
    ingress: bool,
) -> Value {
    manager["codec_type"] = json!("AUTO");
    manager["access_log"] = access_log(spec, settings);
    manager["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    if !ingress {
        manager["upgrade_configs"] =
            json!([{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]);
        // Nothing tells of tunnels: without a proxy there are none.
        let method =
            json!({"name": ":method", "string_match": {"exact": "CONNECT"}, "invert_match": true});
        for log in manager["access_log"].as_array_mut().into_iter().flatten() {
            log["filter"] = json!({"header_filter": {"header": method}});
        }
    }
    manager["http_filters"] = json!([{
        "name": "envoy.filters.http.router",
        "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", json!({})),
    }]);
    // Who is within the mesh keeps the id that the first proxy gave a request; it makes traces and logs join.
    manager["use_remote_address"] = json!(false);
    manager["preserve_external_request_id"] = json!(true);
    if let Some((port, rate)) = settings.tracing {
        let manifest = json!({
            "version": 2,
            "default": {"fixed_target": 0, "rate": rate},
            "rules": [{"description": "tunnels", "host": "*", "http_method": "CONNECT", "url_path": "*", "fixed_target": 0, "rate": 0}],
        });
        manager["tracing"] = json!({
            // X-Ray's own sampling decides.
            "random_sampling": {"value": 100},
            "provider": {
                "name": "envoy.tracers.xray",
                "typed_config": typed("envoy.config.trace.v3.XRayConfig", json!({
                    "daemon_endpoint": {
                        "protocol": "UDP", "address": settings.twin.to_string(), "port_value": port,
                    },
                    "segment_name": format!("{}/{}", settings.mesh, settings.node),
                    "sampling_rule_manifest": {"inline_string": manifest.to_string()},
                    "segment_fields": {"origin": "AWS::AppMesh::Proxy"},
                })),
            },
        });
        manager["tracing"]["spawn_upstream_span"] = json!(!ingress);
    }
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            manager,
        ),
    })
}

fn access_log(spec: &Value, settings: &Settings) -> Value {
    let file = &spec["logging"]["accessLog"]["file"];
    let Some(path) = file["path"].as_str() else {
        return json!([]);
    };
    let mut config = json!({});
    if let Some(text) = file["format"]["text"].as_str() {
        let text = format!("{}\n", text.trim_end_matches('\n'));
        config["log_format"] = json!({"text_format_source": {"inline_string": text}});
    } else if let Some(pairs) = file["format"]["json"].as_array() {
        let pairs = pairs
            .iter()
            .filter_map(|pair| Some((pair["key"].as_str()?.to_owned(), pair["value"].clone())));
        config["log_format"] = json!({"json_format": Value::Object(pairs.collect())});
    }
    let (name, kind) = match path {
        "/dev/stdout" => ("envoy.access_loggers.stdout", "stream.v3.StdoutAccessLog"),
        "/dev/stderr" => ("envoy.access_loggers.stderr", "stream.v3.StderrAccessLog"),
        path => {
            // A path of the container; there is no chroot, so it becomes a file of the pod's own folder.
            let flat: String = Path::new(path)
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("access.log")
                .to_owned();
            config["path"] = json!(settings.folder.join(flat));
            ("envoy.access_loggers.file", "file.v3.FileAccessLog")
        }
    };
    json!([{
        "name": name,
        "typed_config": typed(&format!("envoy.extensions.access_loggers.{kind}"), config),
    }])
}

#[cfg(test)]
mod tests;
