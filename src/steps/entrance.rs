//! That the environment answers: healthy targets behind the load balancer, and HTTP 200 through all of it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use aws_sdk_elasticloadbalancingv2::types::{TargetHealthDescription, TargetHealthStateEnum};
use futures::future::join_all;

use super::ingress::load_balancer;
use crate::clients::Clients;
use crate::clients::aws::failed;
use crate::config::Environment;
use crate::engine::{
    Change, Context, Expected, Failure, Input, Observed, Poll, Result, Step, StepId, Wait,
};
use crate::rollout::{Entrance, probe};

/// So many requests are to be answered: behind one load balancer are several pods, whose proxies learn of each other one
/// by one.
const ANSWERS: usize = 8;

/// How long targets may take to become healthy, and the first answer to come: each.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long after the first answer proxies may take to learn of each other. Requests that fail later, between others that
/// are answered, fail by the services' own doing.
const SETTLED: Duration = Duration::from_secs(60);

/// What is wrong with the answers to [`ANSWERS`] requests.
struct Trouble {
    /// How many were not answered with HTTP 200.
    failed: usize,
    /// What became of the first of these.
    why: String,
}

/// The way in, answering.
pub struct AnsweringEntrance {
    /// The environment.
    pub environment: Arc<Environment>,
    /// The clients.
    pub clients: Arc<Clients>,
    /// The load balancer.
    pub entrance: Input<Entrance>,
}

impl AnsweringEntrance {
    /// Whether nobody is there to answer, as the environment's file has it.
    fn is_deserted(&self) -> bool {
        let service = self
            .environment
            .services
            .get(&self.environment.ingress.service);
        service.is_some_and(|service| service.versions.iter().all(|version| version.replicas == 0))
    }

    /// Why the entrance does not answer as it should; none when it does. One that faces inwards cannot be tried from here.
    async fn trouble(&self, entrance: &Entrance) -> Option<Trouble> {
        if self.environment.ingress.internal || self.is_deserted() {
            return None;
        }
        let requests = (0..ANSWERS).map(|_| probe(&entrance.url, Duration::from_secs(5)));
        let answers = join_all(requests).await;
        let failed = answers.iter().filter(|answer| **answer != Ok(200)).count();
        let why = answers.into_iter().find_map(|answer| match answer {
            Ok(200) => None,
            Ok(status) => Some(format!("{} answers HTTP {status}", entrance.url)),
            Err(why) => Some(format!("{}: {why}", entrance.url)),
        })?;
        Some(Trouble { failed, why })
    }

    async fn wait_targets(&self, cx: &Context, load_balancer: &str) -> Result<()> {
        let wait = Wait::new("targets of the load balancer", PATIENCE)
            .hint("the targets are the pods of the ingress's service: `meshctl status` shows them");
        cx.wait_for(wait, || async {
            let targets = self.targets(load_balancer).await?;
            let healthy = targets
                .iter()
                .filter(|target| state(target) == Some(&TargetHealthStateEnum::Healthy));
            let healthy = healthy.count();
            if healthy > 0 && healthy == targets.len() {
                return Ok(Poll::Ready(()));
            }
            let why = targets.iter().find_map(|target| {
                let health = target.target_health()?;
                (health.state() != Some(&TargetHealthStateEnum::Healthy)).then(|| {
                    let words = health
                        .description()
                        .or(health.reason().map(|reason| reason.as_str()));
                    words.unwrap_or("not healthy").to_owned()
                })
            });
            let why = why.map_or(String::new(), |why| format!(": {why}"));
            Ok(Poll::Pending(format!(
                "{healthy} of {} targets healthy{why}",
                targets.len()
            )))
        })
        .await
    }

    async fn targets(&self, load_balancer: &str) -> Result<Vec<TargetHealthDescription>> {
        let client = &self.clients.load_balancing;
        let groups = client
            .describe_target_groups()
            .load_balancer_arn(load_balancer)
            .send()
            .await;
        let groups = groups.map_err(failed(self.title()))?;
        let mut targets = Vec::new();
        for group in groups.target_groups.unwrap_or_default() {
            let health = client
                .describe_target_health()
                .set_target_group_arn(group.target_group_arn);
            let health = health.send().await.map_err(failed(self.title()))?;
            targets.extend(health.target_health_descriptions.unwrap_or_default());
        }
        // On its way out is nobody's worry.
        targets.retain(|target| state(target) != Some(&TargetHealthStateEnum::Draining));
        Ok(targets)
    }

    async fn wait_answer(&self, cx: &Context, entrance: &Entrance) -> Result<()> {
        let wait = Wait::new(self.title(), PATIENCE)
            .hint("a new load balancer's name takes a minute or two to resolve; after that, see the pods' logs");
        let first_answer = OnceLock::new();
        cx.wait_for(wait, || async {
            let Some(Trouble { failed, why }) = self.trouble(entrance).await else {
                return Ok(Poll::Ready(()));
            };
            // Its name goes on to be known for a while.
            if load_balancer(&self.clients, entrance).await?.is_none() {
                return Err(gone());
            }
            if failed < ANSWERS {
                first_answer.get_or_init(Instant::now);
            }
            let Some(first_answer) = first_answer.get() else {
                return Ok(Poll::Pending(why));
            };
            if failed == ANSWERS || first_answer.elapsed() < SETTLED {
                return Ok(Poll::Pending(format!("some requests fail: {why}")));
            }
            cx.warn(format!(
                "{failed} of {ANSWERS} requests fail: {why}; the services themselves do, see their pods' logs"
            ));
            Ok(Poll::Ready(()))
        })
        .await
    }
}

fn gone() -> Failure {
    Failure::taken_away("load balancer", "is gone")
}

fn state(target: &TargetHealthDescription) -> Option<&TargetHealthStateEnum> {
    target.target_health().and_then(|health| health.state())
}

impl Step for AnsweringEntrance {
    type Outputs = Entrance;
    const OWNS: bool = false;

    fn id(&self) -> StepId {
        "entrance".into()
    }

    fn title(&self) -> String {
        "answers through the load balancer".into()
    }

    fn expected(&self) -> Expected {
        Expected::seconds(15, 0)
    }

    async fn observe(&self, cx: &Context) -> Result<Observed<Entrance>> {
        let entrance = self.entrance.get(cx)?;
        Ok(match self.trouble(&entrance).await {
            None => Observed::ready(entrance),
            Some(_) => Observed::Absent,
        })
    }

    async fn apply(&self, cx: &Context, _: &Change) -> Result<Entrance> {
        let entrance = self.entrance.get(cx)?;
        if self.is_deserted() {
            return Ok(entrance);
        }
        let balancer = load_balancer(&self.clients, &entrance).await?;
        let balancer = balancer.ok_or_else(gone)?;
        let arn = balancer.load_balancer_arn().unwrap_or_default();
        self.wait_targets(cx, arn).await?;
        self.wait_answer(cx, &entrance).await?;
        Ok(entrance)
    }
}
