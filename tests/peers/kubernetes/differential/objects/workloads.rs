//! Pods, what makes them and what leads to them.

use fastrand::Rng;
use serde_json::{Value, json};

use super::{odd, once_in, pick};

pub(super) fn service(rng: &mut Rng) -> Value {
    let mut spec = json!({
        "ports": odd(
            rng,
            &[
                json!([{"port": 80}]),
                json!([{"port": 80, "targetPort": "http"}]),
                json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 9901, "protocol": "TCP"}]),
                json!([{"port": 80, "appProtocol": "http"}]),
            ],
            &[
                json!([{"port": 0}]),
                json!([{"port": 70000}]),
                json!([{"port": 80}, {"port": 81}]),
                json!([{"name": "Http", "port": 80}]),
                json!([{"name": "a", "port": 80}, {"name": "a", "port": 81}]),
                json!([{"name": "a", "port": 80}, {"name": "b", "port": 80}]),
                json!([{"port": 80, "protocol": "ICMP"}]),
                json!([{"port": 80, "targetPort": "Not_A_Name"}]),
                json!([]),
            ],
        ),
    });
    if rng.bool() {
        spec["selector"] = json!({"app": pick(rng, &["x", "y"])});
    }
    if rng.bool() {
        spec["type"] = odd(
            rng,
            &["ClusterIP".into(), "NodePort".into(), "LoadBalancer".into()],
            &["ExternalName".into(), "Nonsense".into()],
        );
    }
    if spec["type"] == "ExternalName" && rng.bool() {
        spec["externalName"] = "example.com".into();
    }
    if once_in(rng, 5) {
        spec["clusterIP"] = odd(
            rng,
            &["None".into()],
            &["1.2.3.4".into(), "nonsense".into(), "".into()],
        );
    }
    if once_in(rng, 8) {
        spec["sessionAffinity"] = odd(rng, &["ClientIP".into(), "None".into()], &["Maybe".into()]);
    }
    if once_in(rng, 10) {
        spec["externalTrafficPolicy"] =
            odd(rng, &["Local".into(), "Cluster".into()], &["Maybe".into()]);
    }
    if once_in(rng, 10) {
        spec["publishNotReadyAddresses"] = true.into();
    }
    // Both together get a warning, which is not in scope.
    if spec["clusterIP"] != "None" && once_in(rng, 12) {
        spec["externalIPs"] = odd(
            rng,
            &[json!(["8.8.8.8"])],
            &[json!(["127.0.0.1"]), json!(["x"])],
        );
    }
    json!({"spec": spec})
}

fn container(rng: &mut Rng, name: &str) -> Value {
    let mut container = json!({"name": name, "image": pick(rng, &["busybox:1", "busybox", "busybox:latest", "registry.example/a/b:v2"])});
    // Two containers with one port get a warning, which is not in scope.
    if name == "main" && rng.bool() {
        container["ports"] = odd(
            rng,
            &[
                json!([{"containerPort": 80}]),
                json!([{"name": "http", "containerPort": 8080, "protocol": "TCP"}]),
            ],
            &[
                json!([{"containerPort": 0}]),
                json!([{"containerPort": 80, "protocol": "X"}]),
                json!([{"name": "UPPER", "containerPort": 80}]),
                json!([{"containerPort": 80}, {"containerPort": 80}]),
                json!([{"name": "p", "containerPort": 80}, {"name": "p", "containerPort": 81}]),
            ],
        );
    }
    if rng.bool() {
        container["env"] = odd(
            rng,
            &[
                json!([{"name": "A", "value": "1"}]),
                json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
                json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
                json!([{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            ],
            &[
                json!([{"name": ""}]),
                json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
                json!([{"name": "A=B", "value": "1"}]),
                json!([{"name": "A", "value": 1}]),
                json!([{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
                json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "nothing"}}}]),
                json!([{"name": "A", "valueFrom": {}}]),
            ],
        );
    }
    if once_in(rng, 3) {
        container["resources"] = odd(
            rng,
            &[
                json!({"requests": {"cpu": "100m", "memory": "64Mi"}}),
                json!({"limits": {"cpu": "0.5", "memory": "128Mi"}}),
                json!({"requests": {"cpu": 1}, "limits": {"cpu": "2000m"}}),
            ],
            &[
                json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
                json!({"requests": {"cpu": "x"}}),
                json!({"requests": {"cpu": "-1"}}),
                json!({"requests": {"bananas": "1"}}),
            ],
        );
    }
    if name != "init" && once_in(rng, 4) {
        container["readinessProbe"] = odd(
            rng,
            &[
                json!({"httpGet": {"path": "/healthz", "port": 80}}),
                json!({"tcpSocket": {"port": "http"}, "periodSeconds": 5}),
                json!({"exec": {"command": ["true"]}, "timeoutSeconds": 3}),
            ],
            &[
                json!({}),
                json!({"httpGet": {"path": "/", "port": 0}}),
                json!({"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}),
                json!({"tcpSocket": {"port": 80}, "successThreshold": -1}),
            ],
        );
    }
    if once_in(rng, 5) {
        container["imagePullPolicy"] = odd(
            rng,
            &["Always".into(), "IfNotPresent".into()],
            &["Perhaps".into()],
        );
    }
    if once_in(rng, 6) {
        container["volumeMounts"] = odd(
            rng,
            &[json!([{"name": "v", "mountPath": "/v"}])],
            &[
                json!([{"name": "nowhere", "mountPath": "/v"}]),
                json!([{"name": "v"}]),
            ],
        );
    }
    if once_in(rng, 6) {
        container["command"] = json!(["sh", "-c", "sleep 1"]);
    }
    if once_in(rng, 8) {
        container["securityContext"] = pick(
            rng,
            &[
                json!({"runAsUser": 1337}),
                json!({"runAsNonRoot": true, "readOnlyRootFilesystem": true}),
                json!({"capabilities": {"add": ["NET_ADMIN"]}}),
                json!({"privileged": true}),
            ],
        );
    }
    container
}

pub(super) fn pod_spec(rng: &mut Rng) -> Value {
    let mut containers = vec![container(rng, "main")];
    if once_in(rng, 3) {
        containers.push(container(rng, "side"));
    }
    if once_in(rng, 25) {
        containers.push(container(rng, "main"));
    }
    if once_in(rng, 25) {
        containers[0]["image"] = "".into();
    }
    if once_in(rng, 25) {
        containers[0]["name"] = pick(rng, &["", "Not_Good"]).into();
    }
    let mut spec = json!({"containers": containers});
    if once_in(rng, 25) {
        spec["containers"] = json!([]);
    }
    if once_in(rng, 6) {
        spec["initContainers"] = json!([container(rng, "init")]);
    }
    if rng.bool() {
        spec["volumes"] = odd(
            rng,
            &[
                json!([{"name": "v", "emptyDir": {}}]),
                json!([{"name": "v", "configMap": {"name": "a"}}]),
                json!([{"name": "v", "secret": {"secretName": "a"}}]),
                json!([{"name": "v"}]),
            ],
            &[
                json!([{"name": "v", "emptyDir": {}, "configMap": {"name": "a"}}]),
                json!([{"name": "", "emptyDir": {}}]),
                json!([{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]),
                json!([{"name": "v", "configMap": {}}]),
            ],
        );
    }
    if once_in(rng, 5) {
        spec["terminationGracePeriodSeconds"] = odd(rng, &[5.into(), 0.into()], &[(-1).into()]);
    }
    if once_in(rng, 8) {
        spec["nodeSelector"] = json!({"disk": "ssd"});
    }
    if once_in(rng, 8) {
        spec["tolerations"] = odd(
            rng,
            &[
                json!([{"key": "k", "operator": "Exists"}]),
                json!([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}]),
            ],
            &[
                json!([{"operator": "Equal"}]),
                json!([{"key": "k", "operator": "Nope"}]),
            ],
        );
    }
    if once_in(rng, 10) {
        spec["hostNetwork"] = true.into();
    }
    if once_in(rng, 10) {
        spec["dnsPolicy"] = odd(
            rng,
            &["Default".into(), "ClusterFirst".into()],
            &["Never".into()],
        );
    }
    if once_in(rng, 10) {
        spec["priorityClassName"] = odd(
            rng,
            &["system-cluster-critical".into()],
            &["nothing".into()],
        );
    }
    if once_in(rng, 10) {
        spec["securityContext"] = json!({"fsGroup": 1000, "runAsUser": 0});
    }
    if once_in(rng, 12) {
        spec["activeDeadlineSeconds"] = odd(rng, &[8.into()], &[0.into(), (-1).into()]);
    }
    spec
}

pub(super) fn deployment(rng: &mut Rng) -> Value {
    let mut pod = pod_spec(rng);
    if once_in(rng, 12) {
        pod["restartPolicy"] = odd(rng, &["Always".into()], &["Never".into(), "Maybe".into()]);
    }
    let app = pick(rng, &["x", "x", "x", "y"]);
    let mut spec = json!({
        "selector": {"matchLabels": {"app": app}},
        "template": {"metadata": {"labels": {"app": if once_in(rng, 15) { "z" } else { app }}}, "spec": pod},
    });
    if rng.bool() {
        spec["replicas"] = odd(
            rng,
            &[0.into(), 1.into(), 3.into()],
            &[(-1).into(), "2".into(), Value::Null],
        );
    }
    if once_in(rng, 4) {
        spec["strategy"] = odd(
            rng,
            &[
                json!({"type": "Recreate"}),
                json!({"type": "RollingUpdate"}),
                json!({"rollingUpdate": {"maxSurge": 1}}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "50%", "maxSurge": 0}}),
            ],
            &[
                json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
                json!({"type": "Other"}),
                json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}),
                json!({"rollingUpdate": {"maxSurge": "lots"}}),
            ],
        );
    }
    if once_in(rng, 6) {
        spec["minReadySeconds"] = odd(rng, &[3.into()], &[(-3).into(), 1000.into()]);
    }
    if once_in(rng, 6) {
        spec["revisionHistoryLimit"] = odd(rng, &[3.into()], &[(-3).into()]);
    }
    if once_in(rng, 6) {
        spec["progressDeadlineSeconds"] = odd(rng, &[60.into()], &[0.into(), (-3).into()]);
    }
    if once_in(rng, 15) {
        spec["selector"] = pick(
            rng,
            &[
                json!({}),
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}),
                json!({"matchExpressions": [{"key": "app", "operator": "In"}]}),
                json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["x"]}]}),
            ],
        );
    }
    json!({"spec": spec})
}
