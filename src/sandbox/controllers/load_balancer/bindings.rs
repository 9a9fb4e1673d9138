//! TargetGroupBindings: the ready pods of a Service become targets, and pods that wait for it learn when they are
//! healthy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types;
use serde_json::{Value, json};

use super::super::program;
use super::super::runtime::index;
use super::super::runtime::kinds::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{Key, Next, Queue, Work};
use super::networks::Openings;
use super::{Controller, TARGET_GROUP_BINDINGS, Trouble, refused};

/// On bindings, until their targets are deregistered.
const FINALIZER: &str = "elbv2.k8s.aws/resources";
/// Before the binding's name in a pod's readiness gate.
pub const GATE: &str = "target-health.elbv2.k8s.aws/";
/// After how long a binding is looked at again whose pods wait for their target's health or may become targets without a
/// change of their slice.
const AGAIN: Duration = Duration::from_secs(1);

/// A pod that is to be a target.
struct Endpoint {
    address: String,
    port: i64,
    pod: Arc<Value>,
}

type Target = (String, i64);

/// Runs the controller of TargetGroupBindings until a shutdown.
pub async fn run(controller: Arc<Controller>) {
    let queue = Queue::new();
    let cluster = &controller.cluster;
    let add = queue.clone();
    cluster
        .cache(&TARGET_GROUP_BINDINGS)
        .subscribe(move |change| {
            if change.new.is_some() {
                add.add(change.latest().key());
            }
        });
    let (add, bindings) = (queue.clone(), cluster.cache(&TARGET_GROUP_BINDINGS));
    let enqueue = move |namespace: &str, service: &str| {
        for binding in bindings.within(namespace) {
            if binding["spec"]["serviceRef"]["name"] == service {
                add.add(binding.key());
            }
        }
    };
    let enqueue = Arc::new(enqueue);
    let wake = enqueue.clone();
    cluster.cache(&SERVICES).subscribe(move |change| {
        let service = change.latest();
        wake(service.namespace(), service.name());
    });
    cluster.cache(&ENDPOINT_SLICES).subscribe(move |change| {
        let slice = change.latest();
        if let Some(service) = slice.label("kubernetes.io/service-name") {
            enqueue(slice.namespace(), service);
        }
    });
    let shutdown = cluster.shutdown();
    queue
        .run("targetgroupbinding", 3, shutdown, move |key| {
            let controller = controller.clone();
            async move { controller.reconcile_binding(&key).await }
        })
        .await;
}

impl Controller {
    async fn reconcile_binding(&self, key: &Key) -> Work {
        let Some(binding) = self.cluster.cache(&TARGET_GROUP_BINDINGS).get(key) else {
            return Ok(Next::Done);
        };
        let outcome = if binding.deleting() {
            self.release_binding(&binding).await.map(|()| Next::Done)
        } else {
            self.fill_binding(&binding).await
        };
        match outcome {
            Ok(next) => Ok(next),
            Err(error) => {
                program::say(
                    &self.context,
                    "error",
                    "",
                    "Reconciler error",
                    json!({ "controller": "targetGroupBinding", "name": key.to_string(), "error": error.to_string() }),
                );
                let reason = if binding.deleting() {
                    "FailedCleanup"
                } else if error.0.contains("Service") && error.0.contains("not found") {
                    "BackendNotFound"
                } else {
                    "FailedReconcile"
                };
                self.cluster
                    .as_component("targetGroupBinding")
                    .event(
                        &TARGET_GROUP_BINDINGS,
                        &binding,
                        "Warning",
                        reason,
                        &error.to_string(),
                    )
                    .await;
                Ok(Next::Retry)
            }
        }
    }

    async fn release_binding(&self, binding: &Value) -> Result<(), Trouble> {
        if !binding.has_finalizer(FINALIZER) {
            return Ok(());
        }
        let arn = text(&binding["spec"]["targetGroupARN"]);
        if let Some(present) = self.targets(arn).await? {
            let all: Vec<Target> = present
                .into_iter()
                .filter(|(_, state)| state != "draining")
                .map(|(target, _)| target)
                .collect();
            self.deregister(arn, all).await?;
        }
        self.open(&binding.key(), None).await?;
        self.write_finalizer(binding, false).await
    }

    async fn write_finalizer(&self, binding: &Value, present: bool) -> Result<(), Trouble> {
        let mut finalizers: Vec<Value> = items(&binding["metadata"]["finalizers"])
            .iter()
            .filter(|entry| *entry != FINALIZER)
            .cloned()
            .collect();
        if present {
            finalizers.push(FINALIZER.into());
        }
        let patch = json!({ "metadata": {
            "resourceVersion": binding.resource_version(),
            "finalizers": finalizers,
        } });
        match self
            .cluster
            .patch(&TARGET_GROUP_BINDINGS, &binding.key(), &patch)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The targets of a group with their states; `None` when the group is gone.
    async fn targets(&self, arn: &str) -> Result<Option<BTreeMap<Target, String>>, Trouble> {
        let outcome = self
            .elb
            .describe_target_health()
            .target_group_arn(arn)
            .send()
            .await;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|service| service.is_target_group_not_found_exception()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(refused("DescribeTargetHealth")(error)),
        };
        Ok(Some(
            answer
                .target_health_descriptions()
                .iter()
                .filter_map(|description| {
                    let target = description.target()?;
                    let state = description
                        .target_health()
                        .and_then(|health| health.state())
                        .map_or("", |state| state.as_str());
                    Some((
                        (
                            target.id().unwrap_or_default().to_owned(),
                            i64::from(target.port().unwrap_or_default()),
                        ),
                        state.to_owned(),
                    ))
                })
                .collect(),
        ))
    }

    async fn deregister(&self, arn: &str, targets: Vec<Target>) -> Result<(), Trouble> {
        for chunk in targets.chunks(200) {
            self.elb
                .deregister_targets()
                .target_group_arn(arn)
                .set_targets(Some(chunk.iter().map(description).collect()))
                .send()
                .await
                .map_err(refused("DeregisterTargets"))?;
        }
        Ok(())
    }

    async fn fill_binding(&self, binding: &Value) -> Result<Next, Trouble> {
        if !binding.has_finalizer(FINALIZER) {
            self.write_finalizer(binding, true).await?;
        }
        let gate = format!("{GATE}{}", binding.name());
        let (endpoints, potential) = self.endpoints(binding, &gate)?;
        let needs = self.needs(binding, &endpoints).await?;
        self.open(&binding.key(), needs).await?;
        let arn = text(&binding["spec"]["targetGroupARN"]);
        let present = self.targets(arn).await?.ok_or_else(|| {
            Trouble(format!(
                "TargetGroupNotFound: One or more target groups not found: {arn}"
            ))
        })?;
        let wanted: BTreeSet<Target> = endpoints
            .iter()
            .map(|endpoint| (endpoint.address.clone(), endpoint.port))
            .collect();
        let surplus: Vec<Target> = present
            .iter()
            .filter(|(target, state)| *state != "draining" && !wanted.contains(*target))
            .map(|(target, _)| target.clone())
            .collect();
        self.deregister(arn, surplus).await?;
        let missing: Vec<Target> = wanted
            .iter()
            .filter(|target| present.get(*target).is_none_or(|state| state == "draining"))
            .cloned()
            .collect();
        for chunk in missing.chunks(200) {
            self.elb
                .register_targets()
                .target_group_arn(arn)
                .set_targets(Some(chunk.iter().map(description).collect()))
                .send()
                .await
                .map_err(refused("RegisterTargets"))?;
        }
        let waiting = self.tell_pods(&endpoints, &present, &gate).await?;
        if binding["status"]["observedGeneration"] != binding.generation() {
            let status = json!({ "status": { "observedGeneration": binding.generation() } });
            self.cluster
                .patch_status(&TARGET_GROUP_BINDINGS, &binding.key(), &status)
                .await?;
            self.cluster
                .as_component("targetGroupBinding")
                .event(
                    &TARGET_GROUP_BINDINGS,
                    binding,
                    "Normal",
                    "SuccessfullyReconciled",
                    "Successfully reconciled",
                )
                .await;
        }
        Ok(if waiting || potential {
            Next::After(AGAIN)
        } else {
            Next::Done
        })
    }

    /// The pods of a binding's Service that are ready or whose containers are, and whether others may become so without a
    /// change of their slice: a pod that is not known yet, because its slice came first, and one that waits for this
    /// binding's readiness gate (`ResolvePodEndpoints` of the real controller).
    fn endpoints(&self, binding: &Value, gate: &str) -> Result<(Vec<Endpoint>, bool), Trouble> {
        let reference = &binding["spec"]["serviceRef"];
        let name = text(&reference["name"]);
        let key = Key::new(binding.namespace(), name);
        let service =
            self.cluster.cache(&SERVICES).get(&key).ok_or_else(|| {
                Trouble(format!("backend not found: Service \"{name}\" not found"))
            })?;
        let port = items(&service["spec"]["ports"])
            .iter()
            .find(|port| port["name"] == reference["port"] || port["port"] == reference["port"])
            .ok_or_else(|| {
                Trouble(format!(
                    "backend not found: unable to find port {} on service {key}",
                    reference["port"]
                ))
            })?;
        if binding["spec"]["targetType"] == "instance" {
            return Ok((self.node_endpoints(port), false));
        }
        let (mut found, mut potential) = (Vec::new(), false);
        let own = index::term(&key.namespace, "kubernetes.io/service-name", name);
        for slice in self
            .cluster
            .cache(&ENDPOINT_SLICES)
            .by(&index::LABELS, &own)
        {
            let Some(number) = items(&slice["ports"])
                .iter()
                .find(|entry| text(&entry["name"]) == text(&port["name"]))
                .and_then(|entry| entry["port"].as_i64())
            else {
                continue;
            };
            for endpoint in items(&slice["endpoints"]) {
                let target = Key::new(
                    text(&endpoint["targetRef"]["namespace"]),
                    text(&endpoint["targetRef"]["name"]),
                );
                let Some(pod) = self.cluster.cache(&PODS).get(&target) else {
                    potential = true;
                    continue;
                };
                let conditions = &endpoint["conditions"];
                let runs = object::is_true(&pod, "ContainersReady");
                potential |= !runs && is_gated(&pod, gate);
                let alive =
                    || runs && conditions["terminating"] != true && self.has_ready_node(&pod);
                if conditions["ready"] == true || alive() {
                    for address in items(&endpoint["addresses"]) {
                        found.push(Endpoint {
                            address: text(address).to_owned(),
                            port: number,
                            pod: pod.clone(),
                        });
                    }
                }
            }
        }
        Ok((found, potential))
    }

    fn has_ready_node(&self, pod: &Value) -> bool {
        let name = Key::new("", text(&pod["spec"]["nodeName"]));
        let node = self.cluster.cache(&NODES).get(&name);
        node.is_some_and(|node| object::is_true(&node, "Ready"))
    }

    /// The ready nodes, for a Service with a node port.
    fn node_endpoints(&self, port: &Value) -> Vec<Endpoint> {
        let Some(number) = port["nodePort"].as_i64() else {
            return Vec::new();
        };
        self.cluster
            .cache(&NODES)
            .all()
            .into_iter()
            .filter(|node| object::is_true(node, "Ready"))
            .filter_map(|node| {
                let instance = text(&node["spec"]["providerID"])
                    .rsplit('/')
                    .next()?
                    .to_owned();
                Some(Endpoint {
                    address: instance,
                    port: number,
                    pod: node,
                })
            })
            .collect()
    }

    /// What the endpoints' security groups have to let in.
    async fn needs(
        &self,
        binding: &Value,
        endpoints: &[Endpoint],
    ) -> Result<Option<Openings>, Trouble> {
        let rules = items(&binding["spec"]["networking"]["ingress"]);
        if rules.is_empty() {
            return Ok(None);
        }
        let mut openings = Openings::new();
        let mut groups: BTreeMap<String, String> = BTreeMap::new();
        for endpoint in endpoints {
            let node = match text(&endpoint.pod["spec"]["nodeName"]) {
                "" => endpoint.pod.name(),
                node => node,
            };
            let instance = self
                .cluster
                .cache(&NODES)
                .get(&Key::new("", node))
                .and_then(|node| {
                    text(&node["spec"]["providerID"])
                        .rsplit('/')
                        .next()
                        .map(str::to_owned)
                })
                .ok_or_else(|| Trouble(format!("couldn't resolve the node {node}")))?;
            let group = match groups.get(&instance) {
                Some(group) => group.clone(),
                None => {
                    let group = self.group_of_instance(&instance).await?;
                    groups.insert(instance, group.clone());
                    group
                }
            };
            let entry = openings.entry(group).or_default();
            for rule in rules {
                for peer in items(&rule["from"]) {
                    let source = text(&peer["securityGroup"]["groupID"]).to_owned();
                    for port in items(&rule["ports"]) {
                        let (from, to) = match &port["port"] {
                            Value::Null => (0, 65535),
                            Value::Number(number) => {
                                let number = number.as_i64().unwrap_or(0);
                                (number, number)
                            }
                            // A named port is the pod's own.
                            _ => (endpoint.port, endpoint.port),
                        };
                        let opening = (source.clone(), from, to);
                        if !entry.contains(&opening) {
                            entry.push(opening);
                        }
                    }
                }
            }
        }
        Ok(Some(openings))
    }

    /// Writes the readiness gate of pods that have it; says whether one still waits.
    async fn tell_pods(
        &self,
        endpoints: &[Endpoint],
        present: &BTreeMap<Target, String>,
        gate: &str,
    ) -> Result<bool, Trouble> {
        let mut waiting = false;
        for endpoint in endpoints {
            let pod = &endpoint.pod;
            if !is_gated(pod, gate) {
                continue;
            }
            let state = present.get(&(endpoint.address.clone(), endpoint.port));
            let (status, reason, message) = match state.map(String::as_str) {
                Some("healthy") => ("True", "", ""),
                Some("initial") => (
                    "False",
                    "Elb.InitialHealthChecking",
                    "Initial health checks in progress",
                ),
                Some("unhealthy") => ("False", "Target.FailedHealthChecks", "Health checks failed"),
                Some(_) => ("False", "Target.NotInUse", "Target is not in use"),
                None => (
                    "False",
                    "Elb.RegistrationInProgress",
                    "Target registration is in progress",
                ),
            };
            waiting |= status != "True";
            if object::condition(pod, gate)
                .is_some_and(|known| known["status"] == status && text(&known["reason"]) == reason)
            {
                continue;
            }
            let mut written = json!({ "type": gate, "status": status });
            if !reason.is_empty() {
                written["reason"] = reason.into();
                written["message"] = message.into();
            }
            let mut conditions = items(&pod["status"]["conditions"]).to_vec();
            object::set_condition(&mut conditions, written);
            let patch = json!({
                "metadata": { "resourceVersion": pod.resource_version() },
                "status": { "conditions": conditions },
            });
            match self.cluster.patch_status(&PODS, &pod.key(), &patch).await {
                Ok(_) => {}
                Err(error) if error.is_conflict() || error.is_not_found() => waiting = true,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(waiting)
    }
}

/// Whether a pod waits for a readiness gate.
fn is_gated(pod: &Value, gate: &str) -> bool {
    let gates = items(&pod["spec"]["readinessGates"]);
    gates.iter().any(|entry| entry["conditionType"] == gate)
}

fn description((id, port): &Target) -> types::TargetDescription {
    types::TargetDescription::builder()
        .id(id)
        .port(*port as i32)
        .build()
}
