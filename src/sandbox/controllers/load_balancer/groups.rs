//! Ingress groups: an Ingress by itself, or several with one group name; each becomes one load balancer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::program;
use super::super::runtime::kinds::{INGRESS_CLASSES, INGRESSES, SERVICES};
use super::super::runtime::object::{self, Meta, items, text};
use super::super::runtime::{ApiError, Key, Next, Queue, Work};
use super::{Controller, INGRESS_CLASS_PARAMS, Trouble, model};

/// The controller that an IngressClass names.
pub const CLASS_CONTROLLER: &str = "ingress.k8s.aws/alb";
/// On an Ingress that is a group by itself.
pub const IMPLICIT_FINALIZER: &str = "ingress.k8s.aws/resources";
/// On an Ingress of a named group, followed by the name.
pub const EXPLICIT_FINALIZER: &str = "group.ingress.k8s.aws/";
const PREFIX: &str = "alb.ingress.kubernetes.io/";

/// A group's name: namespace and name of its one Ingress, or no namespace and the given name.
pub type GroupId = Key;

/// An annotation of the controller's.
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.annotation(&format!("{PREFIX}{name}"))
}

/// An Ingress with what its class adds.
#[derive(Clone)]
pub struct Member {
    /// The Ingress.
    pub ingress: Arc<Value>,
    /// The spec of its class's IngressClassParams; null without.
    pub params: Value,
}

/// A group as it is now.
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// The Ingresses in it, by order and name.
    pub members: Vec<Member>,
    /// Ingresses that were in it and still carry its finalizer.
    pub inactive: Vec<Arc<Value>>,
}

/// The finalizer of a group.
fn finalizer(id: &GroupId) -> String {
    if id.namespace.is_empty() {
        format!("{EXPLICIT_FINALIZER}{}", id.name)
    } else {
        IMPLICIT_FINALIZER.into()
    }
}

/// Runs the Ingress controller until a shutdown.
pub async fn run(controller: Arc<Controller>) {
    let queue: Queue<GroupId> = Queue::new();
    let cluster = &controller.cluster;
    let (add, owner) = (queue.clone(), controller.clone());
    cluster.cache(&INGRESSES).subscribe(move |change| {
        for ingress in change.both() {
            for id in owner.groups_of(ingress) {
                add.add(id);
            }
        }
    });
    for kind in [&INGRESS_CLASSES, &INGRESS_CLASS_PARAMS] {
        let (add, owner) = (queue.clone(), controller.clone());
        cluster.cache(kind).subscribe(move |_| {
            for ingress in owner.cluster.cache(&INGRESSES).all() {
                for id in owner.groups_of(&ingress) {
                    add.add(id);
                }
            }
        });
    }
    let (add, owner) = (queue.clone(), controller.clone());
    cluster.cache(&SERVICES).subscribe(move |change| {
        let service = change.latest();
        for ingress in owner.cluster.cache(&INGRESSES).within(service.namespace()) {
            if mentions(&ingress["spec"], service.name()) {
                for id in owner.groups_of(&ingress) {
                    add.add(id);
                }
            }
        }
    });
    let shutdown = cluster.shutdown();
    queue
        .run("ingress", 3, shutdown, move |id| {
            let controller = controller.clone();
            async move { controller.reconcile_group(&id).await }
        })
        .await;
}

fn mentions(value: &Value, service: &str) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, inner)| {
            (name == "service" && inner["name"] == service) || mentions(inner, service)
        }),
        Value::Array(values) => values.iter().any(|inner| mentions(inner, service)),
        _ => false,
    }
}

impl Controller {
    /// Whether an Ingress is this controller's, and what its class adds; the error is why it cannot be told.
    pub fn class_of(&self, ingress: &Value) -> Result<Option<Value>, String> {
        let wanted = self.flags.text("ingress-class");
        if let Some(class) = ingress.annotation("kubernetes.io/ingress.class") {
            return Ok((class == wanted).then_some(Value::Null));
        }
        let name = text(&ingress["spec"]["ingressClassName"]);
        if name.is_empty() {
            return Ok(None);
        }
        let class = self
            .cluster
            .cache(&INGRESS_CLASSES)
            .get(&Key::new("", name))
            // A cache of the controller's own answers, which puts the kind where the API server has the resource.
            .ok_or_else(|| {
                format!(
                    "invalid ingress class: IngressClass.networking.k8s.io \"{name}\" not found"
                )
            })?;
        if class["spec"]["controller"] != CLASS_CONTROLLER {
            return Ok(None);
        }
        let reference = &class["spec"]["parameters"];
        if reference.is_null() {
            return Ok(Some(Value::Null));
        }
        if reference["apiGroup"] != "elbv2.k8s.aws" || reference["kind"] != "IngressClassParams" {
            return Err(format!(
                "invalid ingress class: IngressClass {name} references unknown parameters"
            ));
        }
        let params = text(&reference["name"]);
        self.cluster
            .cache(&INGRESS_CLASS_PARAMS)
            .get(&Key::new("", params))
            .map(|found| Some(found["spec"].clone()))
            .ok_or_else(|| {
                format!(
                    "invalid ingress class: IngressClassParams.elbv2.k8s.aws \"{params}\" not found"
                )
            })
    }

    /// The group that an Ingress belongs to now.
    fn group_of(&self, ingress: &Value) -> Option<(GroupId, Value)> {
        if ingress.deleting() {
            return None;
        }
        let params = self.class_of(ingress).ok()??;
        let named = params["group"]["name"]
            .as_str()
            .or_else(|| annotation(ingress, "group.name"));
        let id = match named {
            Some(name) => Key::new("", name),
            None => ingress.key(),
        };
        Some((id, params))
    }

    /// All groups that an Ingress concerns: its own and those whose finalizers it carries.
    fn groups_of(&self, ingress: &Value) -> Vec<GroupId> {
        let mut ids: Vec<GroupId> = self
            .group_of(ingress)
            .map(|(id, _)| id)
            .into_iter()
            .collect();
        for finalizer in items(&ingress["metadata"]["finalizers"]) {
            let finalizer = text(finalizer);
            if finalizer == IMPLICIT_FINALIZER {
                ids.push(ingress.key());
            } else if let Some(name) = finalizer.strip_prefix(EXPLICIT_FINALIZER) {
                ids.push(Key::new("", name));
            }
        }
        ids.dedup();
        ids
    }

    fn load_group(&self, id: &GroupId) -> Group {
        let mark = finalizer(id);
        let mut group = Group {
            id: id.clone(),
            members: Vec::new(),
            inactive: Vec::new(),
        };
        let candidates = if id.namespace.is_empty() {
            self.cluster.cache(&INGRESSES).all()
        } else {
            self.cluster.cache(&INGRESSES).get(id).into_iter().collect()
        };
        for ingress in candidates {
            match self.group_of(&ingress) {
                Some((own, params)) if own == *id => group.members.push(Member { ingress, params }),
                _ if ingress.has_finalizer(&mark) => group.inactive.push(ingress),
                _ => {}
            }
        }
        group.members.sort_by_key(|member| {
            let order: i64 = annotation(&member.ingress, "group.order")
                .and_then(|order| order.parse().ok())
                .unwrap_or(0);
            (order, member.ingress.key())
        });
        group
    }

    async fn reconcile_group(&self, id: &GroupId) -> Work {
        let group = self.load_group(id);
        if group.members.is_empty() && group.inactive.is_empty() {
            return Ok(Next::Done);
        }
        match self.bring_about(&group).await {
            Ok(()) => {
                self.record(
                    &group,
                    "Normal",
                    "SuccessfullyReconciled",
                    "Successfully reconciled",
                )
                .await;
                Ok(Next::Done)
            }
            Err((reason, error)) => {
                program::say(
                    &self.context,
                    "error",
                    "",
                    "Reconciler error",
                    json!({ "controller": "ingress", "name": id.to_string(), "error": error.to_string() }),
                );
                let words = match reason {
                    "FailedAddFinalizer" => "Failed add finalizer due to",
                    "FailedBuildModel" => "Failed build model due to",
                    "FailedUpdateStatus" => "Failed update status due to",
                    "FailedRemoveFinalizer" => "Failed remove finalizer due to",
                    _ => "Failed deploy model due to",
                };
                self.record(&group, "Warning", reason, &format!("{words} {error}"))
                    .await;
                Ok(Next::Retry)
            }
        }
    }

    async fn bring_about(&self, group: &Group) -> Result<(), (&'static str, Trouble)> {
        let mark = finalizer(&group.id);
        for member in &group.members {
            self.change_finalizer(&member.ingress, &mark, true)
                .await
                .map_err(|error| ("FailedAddFinalizer", error.into()))?;
        }
        for ingress in &group.inactive {
            let protected = annotation(ingress, "load-balancer-attributes")
                .is_some_and(|list| list.contains("deletion_protection.enabled=true"));
            if ingress.deleting() && protected {
                let error = format!(
                    "deletion_protection is enabled, cannot delete the ingress: {}",
                    ingress.name()
                );
                return Err(("FailedBuildModel", error.into()));
            }
        }
        if group.members.is_empty() {
            self.tear_down(&group.id)
                .await
                .map_err(|error| ("FailedDeployModel", error))?;
        } else {
            let wanted = model::build(self, group).map_err(|error| ("FailedBuildModel", error))?;
            let placed = self
                .place(&wanted)
                .await
                .map_err(|error| ("FailedBuildModel", error))?;
            let name = self
                .deploy(&wanted, &placed)
                .await
                .map_err(|error| ("FailedDeployModel", error))?;
            let ports: Vec<i64> = wanted
                .listeners
                .iter()
                .map(|listener| listener.port)
                .collect();
            for member in &group.members {
                self.write_status(&member.ingress.key(), &name, &ports)
                    .await
                    .map_err(|error| ("FailedUpdateStatus", error.into()))?;
            }
        }
        for ingress in &group.inactive {
            self.change_finalizer(ingress, &mark, false)
                .await
                .map_err(|error| ("FailedRemoveFinalizer", error.into()))?;
        }
        Ok(())
    }

    async fn change_finalizer(
        &self,
        ingress: &Value,
        finalizer: &str,
        present: bool,
    ) -> Result<(), ApiError> {
        let key = ingress.key();
        for _ in 0..5 {
            let Some(newest) = self.cluster.find(&INGRESSES, &key).await? else {
                return Ok(());
            };
            if newest.uid() != ingress.uid() || newest.has_finalizer(finalizer) == present {
                return Ok(());
            }
            let mut finalizers: Vec<Value> = items(&newest["metadata"]["finalizers"])
                .iter()
                .filter(|entry| *entry != finalizer)
                .cloned()
                .collect();
            if present {
                finalizers.push(finalizer.into());
            }
            let patch = json!({ "metadata": {
                "resourceVersion": newest.resource_version(),
                "finalizers": finalizers,
            } });
            match self.cluster.patch(&INGRESSES, &key, &patch).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(ApiError {
            status: 409,
            reason: "Conflict".into(),
            message: format!("ingress {key} keeps changing"),
        })
    }

    async fn write_status(&self, key: &Key, name: &str, ports: &[i64]) -> Result<(), ApiError> {
        let Some(ingress) = self.cluster.cache(&INGRESSES).get(key) else {
            return Ok(());
        };
        let ports: Vec<Value> = ports
            .iter()
            .map(|port| json!({ "port": port, "protocol": "TCP" }))
            .collect();
        // The sandbox's load balancers have an address for a name, which an API server refuses as a host name.
        let place = match name.parse::<std::net::IpAddr>() {
            Ok(_) => "ip",
            Err(_) => "hostname",
        };
        let wanted = json!({ "loadBalancer": { "ingress": [{ place: name, "ports": ports }] } });
        if object::same(&ingress["status"], &wanted) {
            return Ok(());
        }
        match self
            .cluster
            .patch_status(&INGRESSES, key, &json!({ "status": wanted }))
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn record(&self, group: &Group, kind: &str, reason: &str, message: &str) {
        let all = group
            .members
            .iter()
            .map(|member| &member.ingress)
            .chain(&group.inactive);
        for ingress in all {
            self.cluster
                .event(&INGRESSES, ingress, kind, reason, message)
                .await;
        }
    }
}

/// The tags that say whose a resource is: cluster, group and, for a resource, its id within the group.
pub fn tracking_tags(
    cluster: &str,
    id: &GroupId,
    resource: Option<&str>,
) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::from([
        ("elbv2.k8s.aws/cluster".to_owned(), cluster.to_owned()),
        ("ingress.k8s.aws/stack".to_owned(), id.to_string()),
    ]);
    if let Some(resource) = resource {
        tags.insert("ingress.k8s.aws/resource".to_owned(), resource.to_owned());
    }
    tags
}
