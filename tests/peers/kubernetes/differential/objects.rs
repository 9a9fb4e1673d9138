//! Objects of the kinds in scope, drawn at random: mostly right, sometimes wrong.

mod custom;
mod workloads;

use custom::{thing, virtual_node, virtual_router, world};
use fastrand::Rng;
use serde_json::{Value, json};
use workloads::{deployment, pod_spec, service};

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
