//! Objects of the kinds in scope, drawn at random: mostly right, sometimes wrong.

use fastrand::Rng;
use serde_json::{Value, json};

/// A kind that sequences use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// `apiVersion`.
    pub api: &'static str,
    /// `kind`.
    pub name: &'static str,
    /// The plural.
    pub plural: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Whether there is a scale subresource.
    pub scale: bool,
    /// How often it is drawn.
    pub weight: usize,
}

const fn kind(api: &'static str, name: &'static str, plural: &'static str, weight: usize) -> Kind {
    Kind {
        api,
        name,
        plural,
        namespaced: true,
        status: false,
        scale: false,
        weight,
    }
}

/// The kinds.
pub const KINDS: &[Kind] = &[
    kind("v1", "ConfigMap", "configmaps", 8),
    kind("v1", "Secret", "secrets", 4),
    kind("v1", "ServiceAccount", "serviceaccounts", 3),
    Kind {
        status: true,
        ..kind("v1", "Service", "services", 5)
    },
    Kind {
        status: true,
        ..kind("v1", "Pod", "pods", 5)
    },
    Kind {
        status: true,
        scale: true,
        ..kind("apps/v1", "Deployment", "deployments", 8)
    },
    kind("rbac.authorization.k8s.io/v1", "Role", "roles", 3),
    kind(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        "rolebindings",
        3,
    ),
    Kind {
        namespaced: false,
        ..kind(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "clusterroles",
            2,
        )
    },
    Kind {
        namespaced: false,
        status: true,
        ..kind("v1", "Namespace", "namespaces", 3)
    },
    Kind {
        status: true,
        scale: true,
        ..kind("example.com/v1", "Thing", "things", 9)
    },
    Kind {
        namespaced: false,
        ..kind("example.com/v1", "World", "worlds", 3)
    },
    Kind {
        namespaced: false,
        status: true,
        ..kind("appmesh.k8s.aws/v1beta2", "Mesh", "meshes", 2)
    },
    Kind {
        status: true,
        ..kind("appmesh.k8s.aws/v1beta2", "VirtualNode", "virtualnodes", 3)
    },
    Kind {
        status: true,
        ..kind(
            "appmesh.k8s.aws/v1beta2",
            "VirtualRouter",
            "virtualrouters",
            3,
        )
    },
    Kind {
        status: true,
        ..kind(
            "appmesh.k8s.aws/v1beta2",
            "VirtualService",
            "virtualservices",
            2,
        )
    },
];

impl Kind {
    /// The path of its collection.
    pub fn path(&self, namespace: &str) -> String {
        let base = match self.api {
            "v1" => "/api/v1".to_owned(),
            api => format!("/apis/{api}"),
        };
        if self.namespaced {
            format!("{base}/namespaces/{namespace}/{}", self.plural)
        } else {
            format!("{base}/{}", self.plural)
        }
    }
}

/// One of these.
pub fn pick<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())].clone()
}

/// True once in `n` times.
pub fn once_in(rng: &mut Rng, n: usize) -> bool {
    rng.usize(..n) == 0
}

/// A value, or an odd one now and then.
fn odd(rng: &mut Rng, usual: &[Value], unusual: &[Value]) -> Value {
    if once_in(rng, 8) {
        pick(rng, unusual)
    } else {
        pick(rng, usual)
    }
}

fn data(rng: &mut Rng) -> Value {
    let mut map = serde_json::Map::new();
    for key in ["one", "two", "three.txt"] {
        if rng.bool() {
            map.insert(key.into(), pick(rng, &["x", "y", ""]).into());
        }
    }
    if once_in(rng, 25) {
        map.insert("bad key!".into(), "x".into());
    }
    Value::Object(map)
}

fn labels(rng: &mut Rng) -> Value {
    let mut map = serde_json::Map::new();
    map.insert("run".into(), "@run".into());
    if rng.bool() {
        map.insert("app".into(), pick(rng, &["x", "y"]).into());
    }
    if once_in(rng, 4) {
        map.insert(
            "example.com/tier".into(),
            pick(rng, &["front", "back", ""]).into(),
        );
    }
    if once_in(rng, 40) {
        map.insert(pick(rng, &["-bad", "a/b/c", ""]).into(), "x".into());
    } else if once_in(rng, 40) {
        map.insert("wrong".into(), "not a value!".into());
    }
    Value::Object(map)
}

/// An object of a kind.
pub fn object(rng: &mut Rng, kind: &Kind, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": kind.api, "kind": kind.name, "metadata": {"name": name}});
    if kind.namespaced && rng.bool() {
        object["metadata"]["namespace"] = namespace.into();
    }
    if !kind.namespaced || rng.bool() {
        object["metadata"]["labels"] = labels(rng);
    }
    if once_in(rng, 4) {
        object["metadata"]["annotations"] = json!({"note": pick(rng, &["1", "2"])});
    }
    if once_in(rng, 12) {
        object["metadata"]["finalizers"] = odd(
            rng,
            &[
                json!(["example.com/a"]),
                json!(["example.com/a", "example.com/b"]),
            ],
            &[
                json!(["nothing"]),
                json!(["a b/c"]),
                json!(["foregroundDeletion"]),
            ],
        );
    }
    if once_in(rng, 15) {
        object["metadata"]["ownerReferences"] = odd(
            rng,
            &[
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "11111111-2222-3333-4444-555555555555"}]),
            ],
            &[
                json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": ""}]),
                json!([{"apiVersion": "", "kind": "", "name": "", "uid": "11111111-2222-3333-4444-555555555555"}]),
                json!([{"apiVersion": "v1", "kind": "Event", "name": "a", "uid": "11111111-2222-3333-4444-555555555555"}]),
            ],
        );
    }
    let content = match kind.name {
        "ConfigMap" => config_map(rng),
        "Secret" => secret(rng),
        "ServiceAccount" => service_account(rng),
        "Service" => service(rng),
        "Pod" => json!({"spec": pod_spec(rng)}),
        "Deployment" => deployment(rng),
        "Role" | "ClusterRole" => json!({"rules": rules(rng, kind.name == "ClusterRole")}),
        "RoleBinding" => role_binding(rng),
        "Thing" => json!({"spec": thing(rng)}),
        "World" => world(rng),
        "Mesh" => json!({"spec": {"namespaceSelector": {"matchLabels": {"mesh": "m"}}}}),
        "VirtualNode" => json!({"spec": virtual_node(rng)}),
        "VirtualRouter" => json!({"spec": virtual_router(rng)}),
        "VirtualService" => json!({"spec": {"awsName": "a.example", "provider": odd(
            rng,
            &[json!({"virtualRouter": {"virtualRouterRef": {"name": "a"}}}), json!({"virtualNode": {"virtualNodeRef": {"name": "b"}}})],
            &[json!({"virtualNode": {}}), json!({"nobody": 1}), json!("x")],
        )}}),
        _ => json!({}),
    };
    if let (Value::Object(object), Value::Object(content)) = (&mut object, content) {
        object.extend(content);
    }
    object
}

fn config_map(rng: &mut Rng) -> Value {
    let mut map = json!({"data": data(rng)});
    if once_in(rng, 6) {
        map["binaryData"] = odd(
            rng,
            &[json!({"bin": "AAEC"})],
            &[
                json!({"bin": "not base64!"}),
                json!({"one": "AAEC"}),
                json!({"bin": 5}),
            ],
        );
    }
    if once_in(rng, 6) {
        map["immutable"] = rng.bool().into();
    }
    map
}

fn secret(rng: &mut Rng) -> Value {
    let mut secret = json!({});
    if rng.bool() {
        secret["stringData"] = data(rng);
    }
    if rng.bool() {
        secret["data"] = json!({"one": pick(rng, &["AAEC", "eA=="])});
    }
    if rng.bool() {
        secret["type"] = odd(
            rng,
            &["Opaque".into(), "example.com/own".into()],
            &[
                "kubernetes.io/tls".into(),
                "kubernetes.io/basic-auth".into(),
                "kubernetes.io/ssh-auth".into(),
                "kubernetes.io/dockerconfigjson".into(),
                "kubernetes.io/service-account-token".into(),
            ],
        );
    }
    if once_in(rng, 8) {
        secret["immutable"] = rng.bool().into();
    }
    secret
}

fn service_account(rng: &mut Rng) -> Value {
    let mut account = json!({});
    if rng.bool() {
        account["imagePullSecrets"] = json!([{"name": pick(rng, &["x", "y"])}]);
    }
    if once_in(rng, 3) {
        account["secrets"] = json!([{"name": pick(rng, &["x", "y"])}]);
    }
    if once_in(rng, 3) {
        account["automountServiceAccountToken"] = rng.bool().into();
    }
    account
}

fn service(rng: &mut Rng) -> Value {
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

fn pod_spec(rng: &mut Rng) -> Value {
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
    spec
}

fn deployment(rng: &mut Rng) -> Value {
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

fn rules(rng: &mut Rng, cluster: bool) -> Value {
    let mut rules = vec![odd(
        rng,
        &[
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}),
            json!({"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"], "resourceNames": ["a"]}),
        ],
        &[
            json!({"apiGroups": [""], "resources": ["pods"]}),
            json!({"resources": ["pods"], "verbs": ["get"]}),
            json!({"apiGroups": [""], "verbs": ["get"]}),
            json!({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}),
            json!({"nonResourceURLs": ["/metrics"], "resources": ["pods"], "apiGroups": [""], "verbs": ["get"]}),
        ],
    )];
    if cluster && rng.bool() {
        rules.push(json!({"nonResourceURLs": ["/healthz"], "verbs": ["get"]}));
    }
    Value::Array(rules)
}

fn role_binding(rng: &mut Rng) -> Value {
    json!({
        "roleRef": odd(
            rng,
            &[
                json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}),
                json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}),
                json!({"kind": "Role", "name": "a"}),
            ],
            &[
                json!({"apiGroup": "x", "kind": "Role", "name": "a"}),
                json!({"kind": "User", "name": "a"}),
                json!({"kind": "Role"}),
            ],
        ),
        "subjects": odd(
            rng,
            &[
                json!([{"kind": "User", "name": "jane"}]),
                json!([{"kind": "ServiceAccount", "name": "default", "namespace": "@run-a"}]),
                json!([{"kind": "Group", "name": "g", "apiGroup": "rbac.authorization.k8s.io"}]),
            ],
            &[
                json!([{"kind": "ServiceAccount", "name": "default"}]),
                json!([{"kind": "Robot", "name": "r"}]),
                json!([{"kind": "User", "name": ""}]),
                json!([{"kind": "User", "name": "a", "apiGroup": "x"}]),
            ],
        ),
    })
}

fn thing(rng: &mut Rng) -> Value {
    let mut spec = serde_json::Map::new();
    if !once_in(rng, 20) {
        spec.insert(
            "size".into(),
            odd(
                rng,
                &[1.into(), 5.into(), 10.into()],
                &[0.into(), 11.into(), "5".into(), json!(2.5), Value::Null],
            ),
        );
    }
    let mut maybe = |rng: &mut Rng, n: usize, key: &str, usual: &[Value], unusual: &[Value]| {
        if once_in(rng, n) {
            spec.insert(key.into(), odd(rng, usual, unusual));
        }
    };
    maybe(
        rng,
        5,
        "ratio",
        &[json!(0.5), json!(2), json!(2.0)],
        &[json!(0), json!(-1), json!("x")],
    );
    maybe(
        rng,
        6,
        "count",
        &[json!(7)],
        &[json!(3_000_000_000_i64), json!("7")],
    );
    maybe(
        rng,
        3,
        "mode",
        &["fast".into(), "slow".into()],
        &["odd".into(), Value::Null, "".into()],
    );
    maybe(
        rng,
        4,
        "name",
        &["abc".into()],
        &["a".into(), "abcdefg".into(), "AB".into(), json!(["abc"])],
    );
    maybe(
        rng,
        5,
        "on",
        &[true.into(), false.into()],
        &["true".into(), Value::Null],
    );
    maybe(
        rng,
        5,
        "port",
        &[80.into(), "http".into()],
        &[json!(1.5), json!([80]), true.into()],
    );
    maybe(
        rng,
        6,
        "when",
        &["2026-01-01T10:00:00Z".into()],
        &["yesterday".into()],
    );
    maybe(rng, 4, "replicas", &[2.into(), 0.into()], &["2".into()]);
    maybe(rng, 6, "maybe", &["x".into(), Value::Null], &[5.into()]);
    maybe(
        rng,
        4,
        "free",
        &[json!({"known": 1, "other": {"deep": [1, 2]}}), json!({})],
        &[json!({"known": "x"})],
    );
    maybe(
        rng,
        4,
        "labels",
        &[json!({"a": "1"}), json!({})],
        &[
            json!({"a": 1}),
            json!({"a": "1", "b": "2", "c": "3", "d": "4"}),
            json!({"a": null}),
        ],
    );
    maybe(
        rng,
        4,
        "tags",
        &[json!(["x", "y"]), json!([])],
        &[
            json!(["x", "x"]),
            json!(["a", "b", "c", "d", "e"]),
            json!("x"),
            json!([1]),
        ],
    );
    maybe(
        rng,
        5,
        "numbers",
        &[json!([1, 2])],
        &[json!([]), json!([101]), json!([1, "2"]), json!([null])],
    );
    maybe(
        rng,
        3,
        "parts",
        &[
            json!([{"id": "a"}, {"id": "b", "weight": 1}]),
            json!([{"id": "a", "colour": "red"}]),
        ],
        &[
            json!([{"id": "a"}, {"id": "a"}]),
            json!([{"weight": 1}]),
            json!([{"id": "a", "extra": 1}]),
            json!([5]),
        ],
    );
    maybe(
        rng,
        5,
        "whole",
        &[json!({"x": "1"}), json!({"x": "1", "y": "2"})],
        &[json!({"z": "1"})],
    );
    maybe(
        rng,
        4,
        "nested",
        &[json!({}), json!({"note": "n"}), json!({"depth": 9})],
        &[
            json!({"depth": null}),
            json!({"extra": 1}),
            Value::Null,
            json!("x"),
        ],
    );
    maybe(
        rng,
        6,
        "choice",
        &[json!({"left": "l"}), json!({"right": "r"})],
        &[json!({}), json!({"left": "l", "right": "r"})],
    );
    maybe(rng, 4, "low", &[1.into(), 5.into()], &["x".into()]);
    maybe(rng, 4, "high", &[3.into(), 9.into()], &[0.into()]);
    maybe(rng, 4, "fixed", &["a".into(), "b".into()], &[5.into()]);
    maybe(
        rng,
        20,
        "unknown",
        &[json!(1), json!({"deep": true})],
        &[json!("x")],
    );
    Value::Object(spec)
}

fn world(rng: &mut Rng) -> Value {
    let mut world = json!({});
    if rng.bool() {
        world["spec"] = pick(
            rng,
            &[
                json!({}),
                json!({"level": 3}),
                json!({"level": 3, "gone": 1}),
            ],
        );
    }
    if rng.bool() {
        world["free"] = pick(
            rng,
            &[
                json!({"a": [1, 2.5, "x", null]}),
                json!("text"),
                json!(true),
            ],
        );
    }
    if once_in(rng, 10) {
        world["spec"] = pick(rng, &[json!({"level": "x"}), json!(5)]);
    }
    world
}

fn virtual_node(rng: &mut Rng) -> Value {
    let mut node = json!({
        "awsName": "a_demo",
        "podSelector": {"matchLabels": {"app": "a"}},
        "listeners": [{
            "portMapping": odd(
                rng,
                &[json!({"port": 8080, "protocol": "http"})],
                &[json!({"port": 0, "protocol": "http"}), json!({"port": 80, "protocol": "udp"}), json!({"port": "80"}), json!({})],
            ),
        }],
        "serviceDiscovery": {"dns": {"hostname": "a.demo.svc.cluster.local"}},
    });
    if rng.bool() {
        node["listeners"][0]["healthCheck"] = odd(
            rng,
            &[
                json!({"protocol": "http", "path": "/healthz", "healthyThreshold": 2, "unhealthyThreshold": 2, "intervalMillis": 5000, "timeoutMillis": 2000}),
            ],
            &[
                json!({"protocol": "http", "healthyThreshold": 1, "unhealthyThreshold": 2, "intervalMillis": 5000, "timeoutMillis": 2000}),
                json!({"protocol": "http"}),
            ],
        );
    }
    if rng.bool() {
        node["backends"] = json!([{"virtualService": {"virtualServiceRef": {"name": "b"}}}]);
    }
    if once_in(rng, 8) {
        node["loging"] = json!({});
    }
    node
}

fn virtual_router(rng: &mut Rng) -> Value {
    let targets = odd(
        rng,
        &[
            json!([{"virtualNodeRef": {"name": "a"}, "weight": 100}]),
            json!([{"virtualNodeRef": {"name": "a"}, "weight": 90}, {"virtualNodeRef": {"name": "b"}, "weight": 10}]),
        ],
        &[
            json!([]),
            json!([{"virtualNodeRef": {"name": "a"}, "weight": 101}]),
            json!([{"virtualNodeRef": {}}]),
        ],
    );
    json!({
        "awsName": "a_demo",
        "listeners": [{"portMapping": {"port": 8080, "protocol": "http"}}],
        "routes": [{"name": "a", "httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}],
    })
}
