//! The Kubernetes objects of each add-on, as much of EKS's own as others look at: names, labels, images, accounts.

use serde_json::{Value, json};

use super::AddonSpec;

/// The account from which EKS's add-on images come in most regions.
const IMAGES: &str = "602401143452";

/// The objects of an add-on in the order in which they are applied.
pub fn objects(spec: &AddonSpec) -> Vec<Value> {
    match spec.name.as_str() {
        "vpc-cni" => network(spec),
        "kube-proxy" => proxy(spec),
        "coredns" => dns(spec),
        "eks-pod-identity-agent" => vec![daemon_set(
            spec,
            "eks-pod-identity-agent",
            None,
            json!([{ "name": "eks-pod-identity-agent", "image": image(spec, "eks/eks-pod-identity-agent") }]),
            Value::Null,
        )],
        _ => Vec::new(),
    }
}

fn image(spec: &AddonSpec, repository: &str) -> String {
    let tag = &spec.version;
    format!(
        "{IMAGES}.dkr.ecr.{}.amazonaws.com/{repository}:{tag}",
        spec.region
    )
}

fn metadata(spec: &AddonSpec, name: &str, app: &str) -> Value {
    json!({
        "name": name,
        "namespace": "kube-system",
        "labels": {
            "k8s-app": app,
            "app.kubernetes.io/name": app,
            "app.kubernetes.io/managed-by": "eks",
            "app.kubernetes.io/version": spec.version,
        },
    })
}

fn account(spec: &AddonSpec, name: &str) -> Value {
    let mut metadata = metadata(spec, name, name);
    if let Some(role) = &spec.role_arn {
        metadata["annotations"] = json!({ "eks.amazonaws.com/role-arn": role });
    }
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata })
}

/// A cluster role and its binding to a service account of kube-system.
fn rights(name: &str, account: &str, rules: Value) -> [Value; 2] {
    let api = "rbac.authorization.k8s.io/v1";
    [
        json!({ "apiVersion": api, "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules }),
        json!({
            "apiVersion": api,
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": "kube-system" }],
        }),
    ]
}

/// A daemon set on every node, whatever its taints, in the node's own network.
fn daemon_set(
    spec: &AddonSpec,
    name: &str,
    account: Option<&str>,
    containers: Value,
    init_containers: Value,
) -> Value {
    let labels = json!({ "k8s-app": name });
    let mut pod = json!({
        "hostNetwork": true,
        "priorityClassName": "system-node-critical",
        "tolerations": [{ "operator": "Exists" }],
        "containers": containers,
    });
    if let Some(account) = account {
        pod["serviceAccountName"] = json!(account);
    }
    if !init_containers.is_null() {
        pod["initContainers"] = init_containers;
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(spec, name, name),
        "spec": {
            "selector": { "matchLabels": labels },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "10%" } },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}

/// The `env` of the configuration values, over the add-on's own.
fn environment(spec: &AddonSpec, own: &[(&str, &str)]) -> Value {
    let mut values: Vec<(String, String)> = own
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    for (name, value) in spec.configuration["env"].as_object().into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        values.retain(|(known, _)| known != name);
        values.push((name.clone(), value));
    }
    values
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect()
}

fn network(spec: &AddonSpec) -> Vec<Value> {
    let rules = json!([
        { "apiGroups": [""], "resources": ["namespaces", "nodes", "pods"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "list"] },
    ]);
    let containers = json!([
        {
            "name": "aws-node",
            "image": image(spec, "amazon-k8s-cni"),
            "env": environment(spec, &[("CLUSTER_NAME", &spec.cluster), ("WARM_ENI_TARGET", "1")]),
        },
        { "name": "aws-eks-nodeagent", "image": image(spec, "amazon/aws-network-policy-agent") },
    ]);
    let first =
        json!([{ "name": "aws-vpc-cni-init", "image": image(spec, "amazon-k8s-cni-init") }]);
    let [role, binding] = rights("aws-node", "aws-node", rules);
    vec![
        account(spec, "aws-node"),
        role,
        binding,
        daemon_set(spec, "aws-node", Some("aws-node"), containers, first),
    ]
}

fn proxy(spec: &AddonSpec) -> Vec<Value> {
    let api = "rbac.authorization.k8s.io/v1";
    let containers = json!([{
        "name": "kube-proxy",
        "image": image(spec, "eks/kube-proxy"),
        "command": ["kube-proxy", "--v=2", "--config=/var/lib/kube-proxy-config/config"],
        "volumeMounts": [{ "name": "config", "mountPath": "/var/lib/kube-proxy-config/" }],
    }]);
    let mut set = daemon_set(
        spec,
        "kube-proxy",
        Some("kube-proxy"),
        containers,
        Value::Null,
    );
    set["spec"]["template"]["spec"]["volumes"] =
        json!([{ "name": "config", "configMap": { "name": "kube-proxy-config" } }]);
    vec![
        account(spec, "kube-proxy"),
        json!({
            "apiVersion": api,
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "eks:kube-proxy" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier" },
            "subjects": [{ "kind": "ServiceAccount", "name": "kube-proxy", "namespace": "kube-system" }],
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(spec, "kube-proxy-config", "kube-proxy"),
            "data": { "config": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n" },
        }),
        set,
    ]
}

const COREFILE: &str = ".:53 {
    errors
    health {
        lameduck 5s
      }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}
";

fn dns(spec: &AddonSpec) -> Vec<Value> {
    let rules = json!([
        { "apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"] },
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"] },
    ]);
    let labels = json!({ "k8s-app": "kube-dns", "eks.amazonaws.com/component": "coredns" });
    let replicas = spec.configuration["replicaCount"].as_u64().unwrap_or(2);
    let [role, binding] = rights("system:coredns", "coredns", rules);
    vec![
        account(spec, "coredns"),
        role,
        binding,
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(spec, "coredns", "kube-dns"),
            "data": { "Corefile": COREFILE },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(spec, "kube-dns", "kube-dns"),
            "spec": {
                "clusterIP": spec.dns_address,
                "selector": { "k8s-app": "kube-dns" },
                "ports": [
                    { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53 },
                    { "name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53 },
                    { "name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153 },
                ],
            },
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata(spec, "coredns", "kube-dns"),
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": {
                        "serviceAccountName": "coredns",
                        "priorityClassName": "system-cluster-critical",
                        "dnsPolicy": "Default",
                        "tolerations": [
                            { "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" },
                            { "key": "CriticalAddonsOnly", "operator": "Exists" },
                        ],
                        "containers": [{
                            "name": "coredns",
                            "image": image(spec, "eks/coredns"),
                            "args": ["-conf", "/etc/coredns/Corefile"],
                            "ports": [
                                { "name": "dns", "containerPort": 53, "protocol": "UDP" },
                                { "name": "dns-tcp", "containerPort": 53, "protocol": "TCP" },
                                { "name": "metrics", "containerPort": 9153, "protocol": "TCP" },
                            ],
                            "resources": { "requests": { "cpu": "100m", "memory": "70Mi" }, "limits": { "memory": "170Mi" } },
                            "volumeMounts": [{ "name": "config-volume", "mountPath": "/etc/coredns", "readOnly": true }],
                        }],
                        "volumes": [{
                            "name": "config-volume",
                            "configMap": { "name": "coredns", "items": [{ "key": "Corefile", "path": "Corefile" }] },
                        }],
                    },
                },
            },
        }),
    ]
}
