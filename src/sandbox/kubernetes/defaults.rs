//! The values that built-in kinds have where nothing was said.

use serde_json::{Value, json};

use super::object::{self, default};
use super::resources::Resource;

/// Fills in the defaults of a built-in kind.
pub fn apply(resource: &Resource, object: &mut Value) {
    if resource.custom.is_some() {
        return;
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => {
            // Go writes a structure that is no pointer even when it is empty.
            for list in ["containerStatuses", "initContainerStatuses"] {
                let path = format!("status.{list}");
                if object::at(object, &path).is_none() {
                    continue;
                }
                for one in object["status"][list].as_array_mut().into_iter().flatten() {
                    default(one, "lastState", json!({}));
                    default(one, "state", json!({}));
                }
            }
            if object::at(object, "status.conditions").is_some() {
                let conditions = object["status"]["conditions"].as_array_mut();
                for one in conditions.into_iter().flatten() {
                    for time in ["lastProbeTime", "lastTransitionTime"] {
                        if one.is_object() && one.get(time).is_none() {
                            one[time] = Value::Null;
                        }
                    }
                }
            }
            let spec = &mut object["spec"];
            pod_spec(spec);
            if spec.is_object() {
                default(spec, "enableServiceLinks", true);
                let grace = spec["terminationGracePeriodSeconds"].as_i64();
                if grace.is_some_and(|seconds| seconds < 0) {
                    spec["terminationGracePeriodSeconds"] = 1.into();
                }
                requests(spec);
                if spec["hostNetwork"] == true {
                    host_ports(spec);
                }
            }
        }
        ("", "services") => service(object),
        ("", "secrets") => default(object, "type", "Opaque"),
        ("", "namespaces") => {
            let name = object::name(object).to_owned();
            if !name.is_empty() {
                label(object, "kubernetes.io/metadata.name", &name);
            }
            default(object, "status.phase", "Active");
        }
        ("", "nodes") if object::at(object, "status.capacity").is_some() => {
            let capacity = object["status"]["capacity"].clone();
            default(object, "status.allocatable", capacity);
        }
        ("", "persistentvolumeclaims") => default(object, "spec.volumeMode", "Filesystem"),
        ("", "persistentvolumes") => {
            default(object, "spec.volumeMode", "Filesystem");
            default(object, "spec.persistentVolumeReclaimPolicy", "Retain");
        }
        ("apps", "deployments") => {
            default(object, "spec.replicas", 1);
            default(object, "spec.revisionHistoryLimit", 10);
            default(object, "spec.progressDeadlineSeconds", 600);
            default(object, "spec.strategy.type", "RollingUpdate");
            if object::text(object, "spec.strategy.type") == "RollingUpdate" {
                default(object, "spec.strategy.rollingUpdate.maxUnavailable", "25%");
                default(object, "spec.strategy.rollingUpdate.maxSurge", "25%");
            }
            template(object);
        }
        ("apps", "replicasets") | ("", "replicationcontrollers") => {
            default(object, "spec.replicas", 1);
            template(object);
        }
        ("apps", "daemonsets") => {
            default(object, "spec.revisionHistoryLimit", 10);
            default(object, "spec.updateStrategy.type", "RollingUpdate");
            if object::text(object, "spec.updateStrategy.type") == "RollingUpdate" {
                default(
                    object,
                    "spec.updateStrategy.rollingUpdate.maxUnavailable",
                    1,
                );
                default(object, "spec.updateStrategy.rollingUpdate.maxSurge", 0);
            }
            template(object);
        }
        ("apps", "statefulsets") => {
            default(object, "spec.replicas", 1);
            default(object, "spec.revisionHistoryLimit", 10);
            default(object, "spec.podManagementPolicy", "OrderedReady");
            default(object, "spec.updateStrategy.type", "RollingUpdate");
            if object::text(object, "spec.updateStrategy.type") == "RollingUpdate" {
                default(object, "spec.updateStrategy.rollingUpdate.partition", 0);
            }
            default(
                object,
                "spec.persistentVolumeClaimRetentionPolicy",
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
            );
            template(object);
        }
        ("batch", "jobs") => job(&mut object["spec"]),
        ("batch", "cronjobs") => {
            default(object, "spec.concurrencyPolicy", "Allow");
            default(object, "spec.suspend", false);
            default(object, "spec.successfulJobsHistoryLimit", 3);
            default(object, "spec.failedJobsHistoryLimit", 1);
            if object::at(object, "spec.jobTemplate.spec.template.spec").is_some() {
                pod_spec(&mut object["spec"]["jobTemplate"]["spec"]["template"]["spec"]);
            }
        }
        ("discovery.k8s.io", "endpointslices") => {
            for port in object["ports"].as_array_mut().into_iter().flatten() {
                default(port, "name", "");
                default(port, "protocol", "TCP");
            }
        }
        ("", "endpoints") => {
            for subset in object["subsets"].as_array_mut().into_iter().flatten() {
                for port in subset["ports"].as_array_mut().into_iter().flatten() {
                    default(port, "protocol", "TCP");
                }
            }
        }
        ("networking.k8s.io", "networkpolicies") => {
            let types = if object::at(object, "spec.egress").is_some() {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            };
            default(object, "spec.policyTypes", types);
        }
        ("networking.k8s.io", "ingressclasses")
            if object::at(object, "spec.parameters").is_some() =>
        {
            default(object, "spec.parameters.scope", "Cluster");
        }
        ("admissionregistration.k8s.io", _) => webhooks(object),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => bindings(object),
        ("rbac.authorization.k8s.io", "roles" | "clusterroles")
            if object.get("rules").is_none() =>
        {
            object["rules"] = Value::Null;
        }
        ("scheduling.k8s.io", "priorityclasses") => {
            default(object, "preemptionPolicy", "PreemptLowerPriority");
        }
        ("storage.k8s.io", "storageclasses") => {
            default(object, "reclaimPolicy", "Delete");
            default(object, "volumeBindingMode", "Immediate");
        }
        ("storage.k8s.io", "csidrivers") => {
            default(object, "spec.attachRequired", true);
            default(object, "spec.podInfoOnMount", false);
            default(object, "spec.fsGroupPolicy", "ReadWriteOnceWithFSType");
        }
        ("autoscaling", "horizontalpodautoscalers") => default(object, "spec.minReplicas", 1),
        ("policy", "poddisruptionbudgets") => {}
        _ => {}
    }
}

fn label(object: &mut Value, key: &str, value: &str) {
    if !object["metadata"]["labels"].is_object() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"][key] = value.into();
}

fn template(object: &mut Value) {
    if object::at(object, "spec.template.spec").is_some() {
        pod_spec(&mut object["spec"]["template"]["spec"]);
    }
}

fn job(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default(spec, "parallelism", 1);
    default(spec, "completions", 1);
    default(spec, "backoffLimit", 6);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    default(spec, "podReplacementPolicy", "TerminatingOrFailed");
    object::remove(spec, "manualSelector");
    if object::at(spec, "template.spec").is_some() {
        pod_spec(&mut spec["template"]["spec"]);
    }
}

/// The defaults of a pod's specification, in a pod or in a template.
pub fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    default(spec, "restartPolicy", "Always");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    // The two names of one field.
    let account = object::text(spec, "serviceAccountName").to_owned();
    if !account.is_empty() {
        object::set(spec, "serviceAccount", account);
    } else if let Some(account) = spec["serviceAccount"].as_str().map(str::to_owned) {
        object::set(spec, "serviceAccountName", account);
    }
    for each in containers(spec) {
        container(each);
    }
    // Go writes a list that must be there even when it is none.
    if spec.get("containers").is_none() {
        spec["containers"] = Value::Null;
    }
    if spec["containers"].is_null() {
        object::remove(spec, "containers");
    }
    for volume in spec["volumes"].as_array_mut().into_iter().flatten() {
        self::volume(volume);
    }
    if spec["volumes"].is_null() {
        object::remove(spec, "volumes");
    }
}

/// The containers of a pod's specification, those first that run first.
fn containers(spec: &mut Value) -> impl Iterator<Item = &mut Value> {
    let mut lists = [None, None];
    for (key, list) in spec.as_object_mut().into_iter().flatten() {
        match key.as_str() {
            "initContainers" => lists[0] = list.as_array_mut(),
            "containers" => lists[1] = list.as_array_mut(),
            _ => {}
        }
    }
    lists.into_iter().flatten().flatten()
}

/// A limit without a request is the request too: in a pod, not in a template.
fn requests(spec: &mut Value) {
    for container in containers(spec) {
        if let Some(resources) = container.get_mut("resources")
            && let Some(Value::Object(limits)) = resources.get("limits").cloned()
        {
            for (name, limit) in limits {
                if resources["requests"][&name].is_null() {
                    resources["requests"][&name] = limit;
                }
            }
        }
    }
}

/// In the host's network a port of a container is the host's; of a pod, not of a template.
fn host_ports(spec: &mut Value) {
    for container in containers(spec) {
        let ports = container.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            if let Some(number) = port.get("containerPort").cloned() {
                default(port, "hostPort", number);
            }
        }
    }
}

fn container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    let image = object::text(container, "image");
    // What is no image has no tag, so that it is not the latest either.
    let tagged = image.is_empty()
        || image.contains(char::is_whitespace)
        || image.contains('@')
        || image
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':') && !last.ends_with(":latest"));
    default(
        container,
        "imagePullPolicy",
        if tagged { "IfNotPresent" } else { "Always" },
    );
    if let Some(ports) = container.get_mut("ports").and_then(Value::as_array_mut) {
        for port in ports {
            default(port, "protocol", "TCP");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(probe) else {
            continue;
        };
        default(probe, "timeoutSeconds", 1);
        default(probe, "periodSeconds", 10);
        default(probe, "successThreshold", 1);
        default(probe, "failureThreshold", 3);
        if let Some(http) = probe.get_mut("httpGet") {
            default(http, "path", "/");
            default(http, "scheme", "HTTP");
        }
        if let Some(grpc) = probe.get_mut("grpc") {
            default(grpc, "service", "");
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(http) = container
            .get_mut("lifecycle")
            .and_then(|lifecycle| lifecycle.get_mut(hook))
            .and_then(|hook| hook.get_mut("httpGet"))
        {
            default(http, "path", "/");
            default(http, "scheme", "HTTP");
        }
    }
    if let Some(variables) = container.get_mut("env").and_then(Value::as_array_mut) {
        for variable in variables {
            if let Some(field) = variable
                .get_mut("valueFrom")
                .and_then(|from| from.get_mut("fieldRef"))
            {
                default(field, "apiVersion", "v1");
            }
        }
    }
}

fn volume(volume: &mut Value) {
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", 420);
        }
    }
    if let Some(path) = volume.get_mut("hostPath") {
        default(path, "type", "");
    }
    if let Some(sources) = volume
        .get_mut("projected")
        .and_then(|projected| projected.get_mut("sources"))
        .and_then(Value::as_array_mut)
    {
        for source in sources {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                default(token, "expirationSeconds", 3600);
            }
            items(source.get_mut("downwardAPI"));
        }
    }
    items(volume.get_mut("downwardAPI"));
    let Some(map) = volume.as_object_mut() else {
        return;
    };
    if map.keys().all(|field| field == "name") {
        map.insert("emptyDir".into(), json!({}));
    }
}

fn items(downward: Option<&mut Value>) {
    let items = downward
        .and_then(|one| one.get_mut("items"))
        .and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        if let Some(field) = item.get_mut("fieldRef") {
            default(field, "apiVersion", "v1");
        }
    }
}

fn service(object: &mut Value) {
    default(object, "spec", json!({}));
    let spec = &mut object["spec"];
    if !spec.is_object() {
        return;
    }
    // What is empty is not written.
    for field in ["clusterIP", "externalName", "loadBalancerIP"] {
        if spec[field] == "" {
            object::remove(spec, field);
        }
    }
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    let kind = object::text(spec, "type").to_owned();
    if spec["sessionAffinity"] == "ClientIP" {
        default(spec, "sessionAffinityConfig.clientIP.timeoutSeconds", 10800);
    }
    if kind != "ExternalName" {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    let reached = kind == "ClusterIP" && !object::list(spec, "externalIPs").is_empty();
    if reached || matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        default(port, "protocol", "TCP");
        let missing = matches!(port.get("targetPort"), None | Some(Value::Null))
            || port["targetPort"] == 0
            || port["targetPort"] == "";
        if missing && let Some(number) = port.get("port").cloned() {
            port["targetPort"] = number;
        }
    }
}

fn webhooks(object: &mut Value) {
    let mutating = object["kind"] == "MutatingWebhookConfiguration";
    for hook in object
        .get_mut("webhooks")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        default(hook, "failurePolicy", "Fail");
        default(hook, "matchPolicy", "Equivalent");
        default(hook, "namespaceSelector", json!({}));
        default(hook, "objectSelector", json!({}));
        default(hook, "timeoutSeconds", 10);
        if mutating {
            default(hook, "reinvocationPolicy", "Never");
        }
        if let Some(service) = hook
            .get_mut("clientConfig")
            .and_then(|config| config.get_mut("service"))
        {
            default(service, "port", 443);
        }
        for rule in hook
            .get_mut("rules")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            default(rule, "scope", "*");
        }
    }
}

fn bindings(object: &mut Value) {
    if object::text(object, "roleRef.apiGroup").is_empty() {
        object::set(object, "roleRef.apiGroup", "rbac.authorization.k8s.io");
    }
    for subject in object
        .get_mut("subjects")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            default(subject, "apiGroup", "rbac.authorization.k8s.io");
        }
    }
}

/// The names of one thing in `events.k8s.io` and in the core group, where events are kept.
const EVENT: [(&str, &str); 6] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
];

/// From `events.k8s.io` to the core's form.
pub fn event_from_events(object: &mut Value) {
    rename(
        object,
        EVENT.iter().chain(&[("deprecatedCount", "count")]).copied(),
    );
    if object.is_object() {
        object["apiVersion"] = "v1".into();
    }
}

/// From the core's form to `events.k8s.io`.
pub fn event_to_events(object: &mut Value) {
    let names = EVENT.iter().chain(&[("deprecatedCount", "count")]).copied();
    rename(object, names.map(|(new, old)| (old, new)));
    if object.is_object() {
        object["apiVersion"] = "events.k8s.io/v1".into();
    }
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for (from, to) in names {
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}
