//! The containers that are put into pods: `proxyinit`, `envoy` and `xray-daemon`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::program::flags::Flags;
use super::super::runtime::object::{Meta, items, text};
use super::VERSION;
use super::injector::add;

const PREFIX: &str = "appmesh.k8s.aws/";

/// Shows whether Envoy is at work.
const LIVE: &str = "grep state | grep -q LIVE";

/// What the controller was started with.
pub struct Settings<'a> {
    /// Its flags.
    pub flags: &'a Flags,
    /// The account.
    pub account: &'a str,
    /// The region.
    pub region: &'a str,
    /// The API server's version.
    pub kubernetes_version: &'a str,
}

fn annotation<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod.annotation(&format!("{PREFIX}{name}"))
}

fn has_container(pod: &Value, list: &str, name: &str) -> bool {
    items(&pod["spec"][list])
        .iter()
        .any(|container| container["name"] == name)
}

impl Settings<'_> {
    /// Makes a pod one of a virtual node.
    pub fn equip_node_pod(
        &self,
        pod: &mut Value,
        mesh: &Value,
        node: &Value,
    ) -> Result<(), String> {
        self.add_init(pod, node);
        self.add_envoy(pod, mesh, node)?;
        self.add_xray(pod)?;
        if !node["spec"]["serviceDiscovery"]["awsCloudMap"].is_null() {
            let gate =
                json!({ "conditionType": "conditions.appmesh.k8s.aws/aws-cloudmap-healthy" });
            add(pod, "readinessGates", gate, false);
        }
        if self.flags.is("enable-iam-for-service-accounts")
            && pod["spec"]["securityContext"]["fsGroup"].is_null()
        {
            pod["spec"]["securityContext"]["fsGroup"] = 1337.into();
        }
        if self.flags.is("enable-ecr-secret") {
            let secret = json!({ "name": "appmesh-ecr-secret" });
            if !items(&pod["spec"]["imagePullSecrets"]).contains(&secret) {
                add(pod, "imagePullSecrets", secret, false);
            }
        }
        Ok(())
    }

    /// Sets up the Envoy that a gateway's pod brings along.
    pub fn equip_gateway_pod(
        &self,
        pod: &mut Value,
        mesh: &Value,
        gateway: &Value,
    ) -> Result<(), String> {
        let position = items(&pod["spec"]["containers"])
            .iter()
            .position(|container| container["name"] == "envoy")
            .ok_or("envoy container is not found")?;
        let resource = format!(
            "mesh/{}/virtualGateway/{}",
            self.mesh_name(mesh),
            text(&gateway["spec"]["awsName"])
        );
        let env = self.envoy_env(BTreeMap::new(), &resource, pod)?;
        let keep_image = annotation(pod, "virtualGatewaySkipImageOverride") == Some("enabled");
        let probe = self.readiness_probe();
        let image = self.envoy_image();
        let container = &mut pod["spec"]["containers"][position];
        if !keep_image {
            container["image"] = image.into();
        }
        let mut variables = items(&container["env"]).to_vec();
        variables.retain(|known| !env.iter().any(|entry| entry["name"] == known["name"]));
        variables.extend(env);
        container["env"] = variables.into();
        if container["readinessProbe"].is_null() {
            container["readinessProbe"] = probe;
        }
        self.add_xray(pod)
    }

    fn add_init(&self, pod: &mut Value, node: &Value) {
        if has_container(pod, "initContainers", "proxyinit") {
            return;
        }
        let ports = match annotation(pod, "ports") {
            Some(ports) => ports.to_owned(),
            None => items(&node["spec"]["listeners"])
                .iter()
                .map(|listener| listener["portMapping"]["port"].to_string())
                .collect::<Vec<_>>()
                .join(","),
        };
        let variables = [
            ("APPMESH_START_ENABLED", "1".to_owned()),
            ("APPMESH_IGNORE_UID", "1337".into()),
            ("APPMESH_ENVOY_INGRESS_PORT", "15000".into()),
            ("APPMESH_ENVOY_EGRESS_PORT", "15001".into()),
            ("APPMESH_APP_PORTS", ports),
            (
                "APPMESH_EGRESS_IGNORED_IP",
                annotation(pod, "egressIgnoredIPs")
                    .unwrap_or(self.flags.text("ignored-ips"))
                    .to_owned(),
            ),
            (
                "APPMESH_EGRESS_IGNORED_PORTS",
                annotation(pod, "egressIgnoredPorts")
                    .unwrap_or("22")
                    .to_owned(),
            ),
            (
                "APPMESH_ENABLE_IPV6",
                if annotation(pod, "ipv6") == Some("disabled") {
                    "0".into()
                } else {
                    "1".into()
                },
            ),
        ];
        let env: Vec<Value> = variables
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value }))
            .collect();
        let container = json!({
            "name": "proxyinit",
            "image": self.flags.text("init-image"),
            "securityContext": { "capabilities": { "add": ["NET_ADMIN"] } },
            "env": env,
            "resources": self.resources(None),
        });
        add(pod, "initContainers", container, false);
    }

    fn add_envoy(&self, pod: &mut Value, mesh: &Value, node: &Value) -> Result<(), String> {
        if has_container(pod, "containers", "envoy") {
            return Ok(());
        }
        let secrets = pairs(pod, "secretMounts", ':', "secretName:mountPath")?;
        let volumes = pairs(pod, "volumeMounts", ':', "volumeName:mountPath")?;
        let mut custom = BTreeMap::new();
        for (name, value) in pairs(pod, "sidecarEnv", '=', "EnvVariableKey=EnvVariableValue")? {
            custom.insert(name, value);
        }
        custom.extend(json_env(pod)?);
        let resource = format!(
            "mesh/{}/virtualNode/{}",
            self.mesh_name(mesh),
            text(&node["spec"]["awsName"])
        );
        let env = self.envoy_env(custom, &resource, pod)?;
        let port = self.flags.int("envoy-admin-access-port");
        let mut container = json!({
            "name": "envoy",
            "image": self.envoy_image(),
            "securityContext": { "runAsUser": 1337 },
            "ports": [{ "name": "stats", "containerPort": port, "protocol": "TCP" }],
            "lifecycle": { "preStop": { "exec": { "command": [
                "sh", "-c", format!("sleep {}", self.flags.text("prestop-delay")),
            ] } } },
            "env": env,
            "resources": self.resources(Some(pod)),
            "readinessProbe": self.readiness_probe(),
        });
        let wait = self.flags.is("wait-until-proxy-ready");
        if wait {
            // The agent is asked only where the image has one; its variables say how long.
            container["lifecycle"]["postStart"] = json!({ "exec": { "command": [
                "sh", "-c", format!(
                    "APPNET_AGENT_POLL_ENVOY_READINESS_TIMEOUT_S={} APPNET_AGENT_POLL_ENVOY_READINESS_INTERVAL_S={} /usr/bin/agent -envoyReadiness",
                    self.flags.text("poststart-timeout"),
                    self.flags.text("poststart-interval"),
                ),
            ] } });
        }
        let mut mounts = Vec::new();
        for (name, path) in &secrets {
            mounts.push(json!({ "name": name, "mountPath": path, "readOnly": true }));
            let volume = json!({ "name": name, "secret": { "secretName": name } });
            add(pod, "volumes", volume, false);
        }
        for (name, path) in &volumes {
            mounts.push(json!({ "name": name, "mountPath": path, "readOnly": true }));
        }
        if self.flags.is("enable-sds") && annotation(pod, "sds") != Some("disabled") {
            let path = self.flags.text("sds-uds-path");
            mounts.push(json!({ "name": "appmesh-sds-socket-volume", "mountPath": path }));
            let volume = json!({
                "name": "appmesh-sds-socket-volume",
                "hostPath": { "path": path, "type": "Socket" },
            });
            add(pod, "volumes", volume, false);
        }
        if !mounts.is_empty() {
            container["volumeMounts"] = mounts.into();
        }
        // A container's postStart holds back those after it, so a proxy to wait for comes first.
        add(pod, "containers", container, wait);
        Ok(())
    }

    fn envoy_image(&self) -> String {
        format!(
            "{}:{}",
            self.flags.text("sidecar-image-repository"),
            self.flags.text("sidecar-image-tag")
        )
    }

    fn mesh_name(&self, mesh: &Value) -> String {
        let name = text(&mesh["spec"]["awsName"]);
        match mesh["spec"]["meshOwner"].as_str() {
            Some(owner) if owner != self.account => format!("{name}@{owner}"),
            _ => name.to_owned(),
        }
    }

    fn readiness_probe(&self) -> Value {
        json!({
            "exec": { "command": ["sh", "-c", format!(
                "curl -s http://localhost:{}/server_info | {LIVE}",
                self.flags.int("envoy-admin-access-port")
            )] },
            "initialDelaySeconds": self.flags.int("readiness-probe-initial-delay"),
            "timeoutSeconds": 1,
            "periodSeconds": self.flags.int("readiness-probe-period"),
            "successThreshold": 1,
            "failureThreshold": 3,
        })
    }

    fn envoy_env(
        &self,
        mut env: BTreeMap<String, String>,
        resource: &str,
        pod: &Value,
    ) -> Result<Vec<Value>, String> {
        let flags = self.flags;
        let digit = |set: bool| if set { "1" } else { "0" }.to_owned();
        let mut set = |name: &str, value: String| {
            env.insert(name.to_owned(), value);
        };
        set("APPMESH_RESOURCE_ARN", resource.to_owned());
        set("APPMESH_VIRTUAL_NODE_NAME", resource.to_owned());
        set("AWS_REGION", self.region.to_owned());
        for (flag, name) in [
            ("envoy-aws-access-key-id", "AWS_ACCESS_KEY_ID"),
            ("envoy-aws-secret-access-key", "AWS_SECRET_ACCESS_KEY"),
            ("envoy-aws-session-token", "AWS_SESSION_TOKEN"),
        ] {
            if !flags.text(flag).is_empty() {
                set(name, flags.text(flag).to_owned());
            }
        }
        set("ENVOY_ADMIN_ACCESS_ENABLE_IPV6", "false".into());
        // Both flags write the same setting: switching on the one switches on the other.
        set(
            "APPMESH_DUALSTACK_ENDPOINT",
            digit(flags.is("dual-stack-endpoint") || flags.is("envoy-admin-access-enable-ipv6")),
        );
        set("APPMESH_FIPS_ENDPOINT", digit(flags.is("fips-endpoint")));
        let preview = match annotation(pod, "preview") {
            Some(value) => value.eq_ignore_ascii_case("enabled"),
            None => flags.is("preview"),
        };
        set("APPMESH_PREVIEW", digit(preview));
        set(
            "ENVOY_LOG_LEVEL",
            flags.text("sidecar-log-level").to_owned(),
        );
        if flags.is("enable-sds") && annotation(pod, "sds") != Some("disabled") {
            set(
                "APPMESH_SDS_SOCKET_PATH",
                flags.text("sds-uds-path").to_owned(),
            );
        }
        set(
            "ENVOY_ADMIN_ACCESS_PORT",
            flags.text("envoy-admin-access-port").to_owned(),
        );
        set(
            "ENVOY_ADMIN_ACCESS_LOG_FILE",
            flags.text("envoy-admin-access-log-file").to_owned(),
        );
        if flags.is("enable-datadog-tracing") {
            set("ENABLE_ENVOY_DATADOG_TRACING", "1".into());
            set("DATADOG_TRACER_PORT", flags.text("datadog-port").to_owned());
            set(
                "DATADOG_TRACER_ADDRESS",
                flags.text("datadog-address").to_owned(),
            );
        }
        if flags.is("enable-stats-tags") {
            set("ENABLE_ENVOY_STATS_TAGS", "1".into());
        }
        if flags.is("enable-statsd") {
            set("ENABLE_ENVOY_DOG_STATSD", "1".into());
            set("STATSD_PORT", flags.text("statsd-port").to_owned());
            set("STATSD_ADDRESS", flags.text("statsd-address").to_owned());
            if !flags.text("statsd-socket-path").trim().is_empty() {
                set(
                    "STATSD_SOCKET_PATH",
                    flags.text("statsd-socket-path").trim().to_owned(),
                );
            }
        }
        if flags.is("enable-jaeger-tracing") {
            set("ENABLE_ENVOY_JAEGER_TRACING", "1".into());
            set("JAEGER_TRACER_PORT", flags.text("jaeger-port").to_owned());
            set(
                "JAEGER_TRACER_ADDRESS",
                flags.text("jaeger-address").to_owned(),
            );
        }
        set(
            "APPMESH_PLATFORM_K8S_VERSION",
            self.kubernetes_version.to_owned(),
        );
        set(
            "APPMESH_PLATFORM_APP_MESH_CONTROLLER_VERSION",
            VERSION.to_owned(),
        );
        set("APPNET_AGENT_ADMIN_MODE", "uds".into());
        set("APPNET_AGENT_ADMIN_UDS_PATH", "/tmp/agent.sock".into());
        if flags.is("enable-xray-tracing") {
            let rate = env
                .get("XRAY_SAMPLING_RATE")
                .map_or(flags.text("xray-sampling-rate"), String::as_str)
                .to_owned();
            let parsed: Result<f64, _> = rate.parse();
            let Some(fixed) = parsed.ok().filter(|rate| (0.0..=1.0).contains(rate)) else {
                return Err(format!(
                    "tracing.samplingRate should be a decimal between 0 & 1.00, but instead got {rate} <nil>"
                ));
            };
            let fixed = (fixed * 100.0).round() / 100.0;
            env.insert("ENABLE_ENVOY_XRAY_TRACING".into(), "1".into());
            env.insert(
                "XRAY_DAEMON_PORT".into(),
                flags.text("xray-daemon-port").into(),
            );
            env.insert("XRAY_SAMPLING_RATE".into(), fixed.to_string());
        }
        let mut list: Vec<Value> = env
            .into_iter()
            .map(|(name, value)| {
                let by_host = value == "ref:status.hostIP"
                    && matches!(name.as_str(), "STATSD_ADDRESS" | "DATADOG_TRACER_ADDRESS");
                if by_host {
                    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": "status.hostIP" } } })
                } else {
                    json!({ "name": name, "value": value })
                }
            })
            .collect();
        list.push(json!({
            "name": "APPMESH_PLATFORM_K8S_POD_UID",
            "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } },
        }));
        Ok(list)
    }

    /// What a sidecar asks for; a pod's annotations come before the flags.
    fn resources(&self, pod: Option<&Value>) -> Value {
        let mut resources = Map::new();
        for (group, cpu, memory) in [
            (
                "requests",
                ("cpuRequest", "sidecar-cpu-requests"),
                ("memoryRequest", "sidecar-memory-requests"),
            ),
            (
                "limits",
                ("cpuLimit", "sidecar-cpu-limits"),
                ("memoryLimit", "sidecar-memory-limits"),
            ),
        ] {
            let mut amounts = Map::new();
            for (name, (own, flag)) in [("cpu", cpu), ("memory", memory)] {
                let amount = pod
                    .and_then(|pod| annotation(pod, own))
                    .unwrap_or(self.flags.text(flag));
                if !amount.is_empty() {
                    amounts.insert(name.into(), amount.into());
                }
            }
            if !amounts.is_empty() {
                resources.insert(group.into(), amounts.into());
            }
        }
        resources.into()
    }

    fn add_xray(&self, pod: &mut Value) -> Result<(), String> {
        if !self.flags.is("enable-xray-tracing") || has_container(pod, "containers", "xray-daemon")
        {
            return Ok(());
        }
        let mut container = json!({
            "name": "xray-daemon",
            "image": self.flags.text("xray-image"),
            "securityContext": { "runAsUser": 1337 },
            "ports": [{ "containerPort": self.flags.int("xray-daemon-port"), "name": "xray", "protocol": "UDP" }],
            "env": [{ "name": "AWS_REGION", "value": self.region }],
            "resources": self.resources(Some(pod)),
        });
        let mut args: Vec<&str> = Vec::new();
        let level = self.flags.text("xray-log-level");
        match level {
            "" | "prod" => {}
            "dev" | "debug" | "info" | "warn" | "error" => args.extend(["--log-level", level]),
            other => {
                return Err(format!(
                    "tracing.logLevel: \"{other}\" is not valid. Set one of dev, debug, info, prod, warn, error"
                ));
            }
        }
        let role = self.flags.text("xray-config-roleArn");
        if !role.is_empty() {
            if !role.starts_with("arn:") {
                return Err(format!(
                    "tracing.role: \"{role}\" is not a valid `--role-arn`. Please refer to AWS X-Ray Documentation for more information"
                ));
            }
            args.extend(["--role-arn", role]);
        }
        if let Some(mount) = annotation(pod, "xrayAgentConfigMount") {
            let parts: Vec<&str> = mount.split(':').map(str::trim).collect();
            let [volume, path] = parts[..] else {
                return Err(format!(
                    "malformed annotation \"{PREFIX}xrayAgentConfigMount\", expected format: volumeName:mountPath"
                ));
            };
            container["volumeMounts"] =
                json!([{ "name": volume, "mountPath": path, "readOnly": true }]);
            let file = format!("{}/xray-daemon.yaml", path.trim_end_matches([' ', '/']));
            container["command"] = json!(["/xray", "--config", file]);
        } else if !args.is_empty() {
            container["args"] = json!(args);
        }
        add(pod, "containers", container, false);
        Ok(())
    }
}

/// Reads `a:b,c:d` from an annotation.
fn pairs(
    pod: &Value,
    name: &str,
    separator: char,
    format: &str,
) -> Result<Vec<(String, String)>, String> {
    let Some(value) = annotation(pod, name) else {
        return Ok(Vec::new());
    };
    value
        .split(',')
        .map(|segment| {
            let parts: Vec<&str> = segment.split(separator).collect();
            match parts[..] {
                [left, right] => Ok((left.trim().to_owned(), right.trim().to_owned())),
                _ => Err(format!(
                    "malformed annotation {PREFIX}{name}, expected format: {format}"
                )),
            }
        })
        .collect()
}

fn json_env(pod: &Value) -> Result<BTreeMap<String, String>, String> {
    let mut env = BTreeMap::new();
    let Some(value) = annotation(pod, "sidecarEnvJson") else {
        return Ok(env);
    };
    let expected = "expected format: [{\"DD_ENV\":\"prod\",\"TEST_ENV\":\"env_val\"}]";
    let list: Vec<Map<String, Value>> = serde_json::from_str(value)
        .map_err(|_| format!("malformed annotation {PREFIX}sidecarEnvJson, {expected}"))?;
    for (name, value) in list.into_iter().flatten() {
        let Value::String(value) = value else {
            return Err(format!(
                "nested json isn't supported with this annotation {PREFIX}sidecarEnvJson, {expected}"
            ));
        };
        env.insert(name, value);
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::super::super::program;
    use super::super::flags::KNOWN;
    use super::*;

    #[test]
    fn a_pod_of_a_node_gets_its_sidecars() {
        let args: Vec<String> = [
            "--enable-xray-tracing",
            "--xray-sampling-rate=1.0",
            "--wait-until-proxy-ready=true",
        ]
        .iter()
        .map(|arg| (*arg).to_owned())
        .collect();
        let flags = program::flags::parse(KNOWN, &args).expect("known flags");
        let settings = Settings {
            flags: &flags,
            account: "1",
            region: "r",
            kubernetes_version: "v1",
        };
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app" }] } });
        let mesh = json!({ "spec": { "awsName": "m" } });
        let node = json!({ "spec": { "awsName": "n_ns", "listeners": [{ "portMapping": { "port": 8080 } }] } });
        settings
            .equip_node_pod(&mut pod, &mesh, &node)
            .expect("injected");
        let names: Vec<&str> = items(&pod["spec"]["containers"])
            .iter()
            .map(|container| text(&container["name"]))
            .collect();
        assert_eq!(names, ["envoy", "app", "xray-daemon"]);
        assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 1337);
        assert_eq!(pod["spec"]["initContainers"][0]["env"][4]["value"], "8080");
        let env = items(&pod["spec"]["containers"][0]["env"]);
        let value = |name: &str| {
            env.iter()
                .find(|entry| entry["name"] == name)
                .map(|entry| text(&entry["value"]))
        };
        assert_eq!(
            value("APPMESH_RESOURCE_ARN"),
            Some("mesh/m/virtualNode/n_ns")
        );
        assert_eq!(value("XRAY_SAMPLING_RATE"), Some("1"));
    }
}
