//! The way in: an Ingress, and the load balancer that its controller makes.
//!
//! A load balancer takes minutes, so it is made while the pods start; that it answers is [`super::entrance`]'s business.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::types::{LoadBalancer, LoadBalancerStateEnum};
use serde_json::{Value, json};

use super::load_balancer_controller::deployment;
use crate::clients::Clients;
use crate::clients::aws::failed;
use crate::clients::kube::{Bundle, Cluster, Reference, Template, Trouble, remove};
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Poll, Result, Step, StepId,
    Wait,
};
use crate::mesh::labels;
use crate::rollout::{Entrance, entrance};
use crate::template;

pub(super) const TEMPLATE: Template = template!("load-balancer/ingress.yaml");

/// How long the controller may take for the load balancer's name, and the load balancer to become active: each.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a living controller gets to remove the load balancer and take its finalizer off.
const REMOVAL: Duration = Duration::from_secs(300);

/// The Ingress with the load balancer it brings.
pub struct IngressLoadBalancer {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The cluster.
    pub cluster: Input<Cluster>,
}

pub(super) fn manifests(environment: &Environment) -> Result<Vec<Value>> {
    let service = environment.services.get(&environment.ingress.service);
    TEMPLATE.manifests(json!({
        "labels": labels(&Names::new(&environment.name)),
        "environment": environment.name,
        "owner_tag": OWNER_TAG,
        "namespace": environment.namespace,
        "ingress": {
            "service": environment.ingress.service,
            "port": environment.ingress.port.unwrap_or(80),
            "internal": environment.ingress.internal,
        },
        "health_path": service.map_or("/", |service| &service.health_path),
    }))
}

/// The load balancer behind the entrance.
///
/// # Errors
/// What ELB says.
pub(super) async fn load_balancer(
    clients: &Clients,
    entrance: &Entrance,
) -> Result<Option<LoadBalancer>> {
    let pages = clients
        .load_balancing
        .describe_load_balancers()
        .into_paginator()
        .items();
    let mut pages = pages.send();
    while let Some(found) = pages.next().await {
        let found = found.map_err(failed("load balancer"))?;
        let name = found.dns_name().unwrap_or_default();
        if name.eq_ignore_ascii_case(&entrance.host) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl IngressLoadBalancer {
    fn bundle<'a>(&self, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        Ok(Bundle::new(
            self.title(),
            cluster,
            manifests(&self.environment)?,
        ))
    }

    async fn wait_name(&self, cx: &Context, cluster: &Cluster) -> Result<Entrance> {
        let wait = Wait::new(self.title(), PATIENCE)
            .hint("see the log of aws-load-balancer-controller in kube-system");
        cx.wait_for(wait, || async {
            match entrance(cluster, &self.environment).await? {
                Some(entrance) => Ok(Poll::Ready(entrance)),
                None => Ok(Poll::Pending(match self.last_warning(cluster).await {
                    Some(words) => words,
                    None => "waiting for the load balancer's name".into(),
                })),
            }
        })
        .await
    }

    /// What the controller complains about.
    async fn last_warning(&self, cluster: &Cluster) -> Option<String> {
        let namespace = &self.environment.namespace;
        let events = cluster
            .list("v1", "Event", Some(namespace), "")
            .await
            .ok()?;
        let ours = events.iter().rev().find(|event| {
            event["type"] == "Warning"
                && event["involvedObject"]["kind"] == "Ingress"
                && event["involvedObject"]["name"] == self.environment.ingress.service
        })?;
        let text = |field: &str| ours[field].as_str().unwrap_or_default().to_owned();
        Some(format!("{}: {}", text("reason"), text("message")))
    }

    async fn wait_active(&self, cx: &Context, entrance: &Entrance) -> Result<()> {
        let wait = Wait::new(format!("load balancer {}", entrance.host), PATIENCE);
        cx.wait_for(wait, || async {
            let found = load_balancer(&self.clients, entrance).await?;
            let state = found.as_ref().and_then(LoadBalancer::state);
            let code = state.and_then(|state| state.code());
            match code {
                Some(LoadBalancerStateEnum::Active) => Ok(Poll::Ready(())),
                Some(LoadBalancerStateEnum::Failed) => {
                    let reason = state.and_then(|state| state.reason()).unwrap_or("failed");
                    Err(Failure::new(
                        format!("load balancer {}", entrance.host),
                        reason,
                    ))
                }
                code => {
                    let word = code.map_or("not there yet", |code| code.as_str());
                    Ok(Poll::Pending(format!("load balancer is {word}")))
                }
            }
        })
        .await
    }

    /// Takes what the controller holds by finalizers, when the controller does not come to it. The load balancer itself
    /// is swept by its tags afterwards.
    async fn release(&self, cx: &Context, cluster: &Cluster, ingress: &Reference) -> Result<()> {
        cx.progress("its controller does not work, taking finalizers off");
        let failure = |trouble: Trouble| trouble.failure(ingress.to_string());
        let configurations = [
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
        ];
        for kind in configurations {
            let api = "admissionregistration.k8s.io/v1";
            let configuration = Reference::cluster(api, kind, "aws-load-balancer-webhook");
            cluster.delete(&configuration).await.map_err(failure)?;
        }
        let free = json!({"metadata": {"finalizers": null}});
        for binding in self.bindings(cluster).await.map_err(failure)? {
            let binding = Reference::of(&binding);
            cluster.delete(&binding).await.map_err(failure)?;
            cluster.merge(&binding, &free).await.map_err(failure)?;
        }
        cluster.merge(ingress, &free).await.map_err(failure)?;
        remove(cx, cluster, ingress, Duration::from_secs(60)).await
    }

    async fn bindings(&self, cluster: &Cluster) -> Result<Vec<Value>, Trouble> {
        let namespace = Some(self.environment.namespace.as_str());
        cluster
            .list("elbv2.k8s.aws/v1beta1", "TargetGroupBinding", namespace, "")
            .await
    }
}

impl Step for IngressLoadBalancer {
    type Outputs = Entrance;

    fn id(&self) -> StepId {
        "load-balancer".into()
    }

    fn title(&self) -> String {
        "load balancer".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(150, 40)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<Entrance>> {
        let cluster = self.cluster.get(cx)?;
        let drift = match self.bundle(&cluster)?.observe().await? {
            Observed::Ready { drift, .. } => drift,
            Observed::Absent => return Ok(Observed::Absent),
            Observed::Pending(how) => return Ok(Observed::Pending(how)),
            Observed::Failed(why) => return Ok(Observed::Failed(why)),
            Observed::Foreign(owner) => return Ok(Observed::Foreign(owner)),
            Observed::Unreachable(why) => return Ok(Observed::Unreachable(why)),
        };
        let Some(entrance) = entrance(&cluster, &self.environment).await? else {
            return Ok(Observed::Pending(
                "waiting for the load balancer's name".into(),
            ));
        };
        Ok(Observed::Ready {
            outputs: entrance,
            drift,
        })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<Entrance> {
        let cluster = self.cluster.get(cx)?;
        self.bundle(&cluster)?.apply(cx).await?;
        let entrance = self.wait_name(cx, &cluster).await?;
        self.wait_active(cx, &entrance).await?;
        Ok(entrance)
    }

    async fn destroy(&self, cx: &Context, seen: &Observed<Entrance>) -> Result<()> {
        if matches!(seen, Observed::Unreachable(_)) {
            return Ok(());
        }
        let cluster = &self.cluster.get(cx)?;
        let failure = |trouble: Trouble| trouble.failure(self.title());
        for manifest in self.bundle(cluster)?.manifests {
            let ingress = Reference::of(&manifest);
            let controller = cluster.get(&deployment()).await.map_err(failure)?;
            let alive = controller
                .is_some_and(|live| live["status"]["availableReplicas"].as_i64().unwrap_or(0) > 0);
            let patience = if alive { REMOVAL } else { Duration::ZERO };
            match remove(cx, cluster, &ingress, patience).await {
                Err(Failure {
                    kind: FailureKind::Timeout,
                    ..
                }) => {
                    self.release(cx, cluster, &ingress).await?;
                }
                removed => removed?,
            }
        }
        let wait = Wait::new("target group bindings", Duration::from_secs(120));
        cx.wait_for(wait, || async {
            match self.bindings(cluster).await.map_err(failure)?.len() {
                0 => Ok(Poll::Ready(())),
                left => Ok(Poll::Pending(format!("{left} target group bindings to go"))),
            }
        })
        .await
    }
}
