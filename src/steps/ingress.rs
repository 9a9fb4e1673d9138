//! The way in: an Ingress, and the load balancer that its controller makes.
//!
//! A load balancer takes minutes, so it is made while the pods start; that it answers is [`super::entrance`]'s business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_elasticloadbalancingv2::types::{LoadBalancer, LoadBalancerStateEnum};
use serde_json::{Value, json};

use super::load_balancer_controller::deployment;
use super::open_groups::closed_entrance;
use super::sweep;
use crate::clients::Clients;
use crate::clients::aws::failed;
use crate::clients::kube::{
    Bundle, Cluster, Denials, Readiness, Reference, Template, Trouble, remove, renew_pods,
};
use crate::config::{Environment, Names, OWNER_TAG};
use crate::engine::{
    Change, Context, Expected, Failure, FailureKind, Input, Observed, Poll, Result, Step, StepId,
    Wait,
};
use crate::mesh::labels;
use crate::rollout::entrance::{existing, host};
use crate::rollout::{Entrance, entrance};
use crate::template;

pub(super) const TEMPLATE: Template = template!("load-balancer/ingress.yaml");

/// How long the controller may take for the load balancer's name, and the load balancer to become active: each.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a living controller gets to remove the load balancer and take its finalizer off.
const REMOVAL: Duration = Duration::from_secs(300);
/// After how long of that, each time, it is looked whether the controller still lives, and for rules that others made,
/// which keep its security groups from being deleted.
const HELD: Duration = Duration::from_secs(20);

/// How long a load balancer whose name is known may not be found: ELB shows new ones late.
const SHOWN: Duration = Duration::from_secs(30);
/// How an Ingress is whose controller has not yet written the name down.
const NAMELESS: &str = "waiting for the load balancer's name";
/// What is said of one that was deleted behind the controller's back.
const GONE: &str = "ELB does not know it any more";
/// How many load balancers one run makes at most.
const TRIES: u32 = 2;

/// What the controller's webhook says of an Ingress whose class, made a moment ago, its cache does not have yet.
const UNSEEN: Denials = &[
    "invalid ingress class: IngressClass.networking.k8s.io",
    "invalid ingress class: IngressClassParams.elbv2.k8s.aws",
];

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

/// How far the Ingress is: it has its load balancer's name.
fn readiness(ingress: &Value) -> Readiness {
    match host(ingress) {
        Some(_) => Readiness::Ready,
        None => Readiness::Waiting(NAMELESS.into()),
    }
}

/// How a load balancer is.
enum Balancer {
    Active,
    /// It works, and nobody may reach it; why.
    Closed(String),
    Missing,
    Failed(String),
    /// ELB's word.
    Other(String),
}

async fn condition(clients: &Clients, entrance: &Entrance, port: u16) -> Result<Balancer> {
    let Some(found) = load_balancer(clients, entrance).await? else {
        return Ok(Balancer::Missing);
    };
    let state = found.state();
    Ok(match state.and_then(|state| state.code()) {
        // Impaired: it carries traffic, and cannot grow.
        Some(LoadBalancerStateEnum::Active | LoadBalancerStateEnum::ActiveImpaired) => {
            match closed_entrance(clients, &found, port).await? {
                None => Balancer::Active,
                Some(groups) => Balancer::Closed(format!(
                    "security group {groups}: no rule lets anybody in by port {port}"
                )),
            }
        }
        Some(LoadBalancerStateEnum::Failed) => {
            let reason = state.and_then(|state| state.reason());
            Balancer::Failed(reason.unwrap_or("ELB could not set it up").to_owned())
        }
        code => Balancer::Other(code.map_or("in no state", |code| code.as_str()).to_owned()),
    })
}

impl IngressLoadBalancer {
    fn bundle<'a>(&self, cluster: &'a Cluster) -> Result<Bundle<'a>> {
        let mut bundle = Bundle::new(self.title(), cluster, manifests(&self.environment)?);
        bundle.passing = UNSEEN;
        bundle.readiness = readiness;
        bundle.controller = Some(deployment());
        bundle.deadline = PATIENCE;
        Ok(bundle)
    }

    /// Waits until the load balancer works, or says why it never will.
    async fn wait_active(&self, cx: &Context, entrance: &Entrance) -> Result<Option<String>> {
        let wait = Wait::new(format!("load balancer {}", entrance.host), PATIENCE);
        let began = Instant::now();
        cx.wait_for(wait, || async {
            Ok(
                match condition(&self.clients, entrance, self.port()).await? {
                    Balancer::Active => Poll::Ready(None),
                    Balancer::Closed(why) => Poll::Pending(why),
                    Balancer::Failed(why) => Poll::Ready(Some(why)),
                    Balancer::Missing if began.elapsed() > SHOWN => Poll::Ready(Some(GONE.into())),
                    Balancer::Missing => Poll::Pending("load balancer is not there yet".into()),
                    Balancer::Other(word) => Poll::Pending(format!("load balancer is {word}")),
                },
            )
        })
        .await
    }

    fn port(&self) -> u16 {
        self.environment.ingress.port.unwrap_or(80)
    }

    /// Has the controller look again: it does when an annotation of its Ingress changes, and otherwise after hours.
    async fn nudge(&self, cluster: &Cluster) -> Result<()> {
        let now = jiff::Timestamp::now().to_string();
        let patch = json!({"metadata": {"annotations": {"meshctl.dev/looked-again": now}}});
        for manifest in self.bundle(cluster)?.manifests {
            let ingress = Reference::of(&manifest);
            let merged = cluster.merge(&ingress, &patch).await;
            merged.map_err(|trouble| trouble.failure(ingress.to_string()))?;
        }
        Ok(())
    }
}

/// Removes the Ingress, and with it, through its controller, the load balancer; by force where the controller is dead or
/// does not come to it.
pub(super) async fn remove_ingress(
    cx: &Context,
    clients: &Clients,
    cluster: &Cluster,
    environment: &Environment,
) -> Result<()> {
    let failure = |trouble: Trouble| trouble.failure("load balancer");
    for manifest in manifests(environment)? {
        let ingress = Reference::of(&manifest);
        let began = Instant::now();
        loop {
            let alive = cluster.is_alive(&deployment()).await.map_err(failure)?;
            let patience = if alive { HELD } else { Duration::ZERO };
            match remove(cx, cluster, &ingress, patience).await {
                Err(failure) if failure.kind == FailureKind::Timeout => {}
                removed => {
                    removed?;
                    break;
                }
            }
            if !alive || began.elapsed() > REMOVAL {
                release(cx, cluster, &ingress).await?;
                break;
            }
            renew_pods(cx, cluster, &deployment()).await?;
            cx.progress("taking away the rules that keep its security groups");
            sweep::let_go_of_groups(clients, &environment.name).await?;
        }
    }
    let wait = Wait::new("target group bindings", Duration::from_secs(120));
    cx.wait_for(wait, || async {
        let namespace = &environment.namespace;
        let left = bindings(cluster, namespace).await.map_err(failure)?;
        if left.is_empty() {
            return Ok(Poll::Ready(()));
        }
        if !cluster.is_alive(&deployment()).await.map_err(failure)? {
            let released = release_bindings(cluster, namespace).await;
            released.map_err(failure)?;
        }
        let left = left.len();
        Ok(Poll::Pending(format!("{left} target group bindings to go")))
    })
    .await
}

/// Takes off what the controller holds by finalizers. The load balancer itself is swept by its tags afterwards.
async fn release(cx: &Context, cluster: &Cluster, ingress: &Reference) -> Result<()> {
    cx.progress("its controller does not work, taking finalizers off");
    let failure = |trouble: Trouble| trouble.failure(ingress.to_string());
    let webhook = "aws-load-balancer-webhook";
    let removed = cluster.remove_webhooks(webhook, webhook).await;
    removed.map_err(failure)?;
    let namespace = ingress.namespace.as_deref().unwrap_or_default();
    let released = release_bindings(cluster, namespace).await;
    released.map_err(failure)?;
    cluster.release(ingress).await.map_err(failure)?;
    remove(cx, cluster, ingress, Duration::from_secs(60)).await
}

/// Deletes the target group bindings of a namespace and takes off what holds them.
pub(super) async fn release_bindings(cluster: &Cluster, namespace: &str) -> Result<(), Trouble> {
    for binding in bindings(cluster, namespace).await? {
        let binding = Reference::of(&binding);
        cluster.delete(&binding).await?;
        cluster.release(&binding).await?;
    }
    Ok(())
}

async fn bindings(cluster: &Cluster, namespace: &str) -> Result<Vec<Value>, Trouble> {
    let api = "elbv2.k8s.aws/v1beta1";
    cluster
        .list(api, "TargetGroupBinding", Some(namespace), "")
        .await
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
            return Ok(Observed::Pending(NAMELESS.into()));
        };
        Ok(
            match condition(&self.clients, &entrance, self.port()).await? {
                Balancer::Active => Observed::Ready {
                    outputs: entrance,
                    drift,
                },
                Balancer::Closed(why) => Observed::Ready {
                    outputs: entrance,
                    drift: drift.into_iter().chain([why]).collect(),
                },
                Balancer::Failed(why) => Observed::Failed(why),
                // Perhaps made a moment ago: whether it stays away, only waiting tells.
                Balancer::Missing => Observed::Pending("load balancer is not there".into()),
                Balancer::Other(word) => Observed::Pending(format!("load balancer is {word}")),
            },
        )
    }

    async fn apply(&self, cx: &Context, change: &Change) -> Result<Entrance> {
        let cluster = self.cluster.get(cx)?;
        if let Change::Replace(_) = change {
            cx.progress("removing the one that is there first");
            remove_ingress(cx, &self.clients, &cluster, &self.environment).await?;
        }
        let mut tries = 0;
        loop {
            self.bundle(&cluster)?.apply(cx).await?;
            let entrance = existing(&cluster, &self.environment).await?;
            if let Balancer::Closed(why) = condition(&self.clients, &entrance, self.port()).await? {
                cx.progress(format!("{why}; having its controller look again"));
                self.nudge(&cluster).await?;
            }
            let Some(why) = self.wait_active(cx, &entrance).await? else {
                return Ok(entrance);
            };
            tries += 1;
            if tries == TRIES {
                let what = format!("load balancer {}", entrance.host);
                return Err(Failure::new(what, why)
                    .hint("mend the cause, then run the same command again: it makes a new one"));
            }
            // Its controller makes none anew, neither for one that failed nor for one that somebody deleted.
            cx.progress(format!("{why}; making another"));
            remove_ingress(cx, &self.clients, &cluster, &self.environment).await?;
        }
    }

    async fn destroy(&self, cx: &Context, seen: &Observed<Entrance>) -> Result<()> {
        if matches!(seen, Observed::Unreachable(_)) {
            return Ok(());
        }
        let cluster = self.cluster.get(cx)?;
        remove_ingress(cx, &self.clients, &cluster, &self.environment).await
    }
}
