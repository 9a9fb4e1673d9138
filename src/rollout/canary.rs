//! The canary by hand: shift, wait until the mesh took it, measure, judge.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::entrance::{Entrance, existing};
use super::sampling::{Sample, Sampling, sample};
use super::split::Verdict;
use crate::clients::kube::{Cluster, Readiness, Reference, pods_of, readiness};
use crate::config::{Environment, Service, Version};
use crate::engine::{Context, Failure, FailureKind, Poll, Result, Wait};
use crate::mesh::{MeshProvider, SplitState, Weights, workload};

/// How long a version may take to become ready before its traffic is not touched.
const READY: Duration = Duration::from_secs(180);
/// How long the mesh may take to accept a split.
const ACCEPTED: Duration = Duration::from_secs(120);
/// How long proxies may take to follow what was accepted, before the sample says that they did not.
const FOLLOWED: Duration = Duration::from_secs(60);
/// Requests of one look at whether proxies follow.
const LOOK: u64 = 100;
/// Looks in a row that must agree with the new split: several proxies follow one after the other.
const AGREEING: u32 = 3;

/// A canary on one environment.
pub struct Canary<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// Its mesh.
    pub mesh: &'a dyn MeshProvider,
    /// Its cluster.
    pub cluster: &'a Cluster,
    /// How traffic is sampled.
    pub sampling: Sampling,
}

/// What a shift did, and what traffic says about it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The service.
    pub service: String,
    /// The stable version.
    pub stable: String,
    /// The version under trial.
    pub canary: String,
    /// The split before.
    pub before: Weights,
    /// The split now, accepted by the mesh.
    pub after: Weights,
    /// What traffic says.
    pub measured: Measured,
}

impl Report {
    /// Whether traffic goes as the weights say.
    pub fn matches(&self) -> bool {
        self.measured.verdict.matches
    }
}

/// A measured split.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Where the requests went in.
    pub url: String,
    /// What they met.
    pub sample: Sample,
    /// The canary's share, judged.
    pub verdict: Verdict,
    /// Why it may differ, likeliest first; empty when it does not.
    pub likely_causes: Vec<String>,
}

/// A service's split as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The service.
    pub service: String,
    /// The split, as configured and as accepted.
    pub split: SplitState,
    /// Whether the two agree.
    pub settled: bool,
    /// Its versions.
    pub versions: Vec<VersionStatus>,
}

/// One version as it is.
#[derive(Clone, Debug, Serialize)]
pub struct VersionStatus {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u8,
    /// Wanted pods.
    pub wanted: i64,
    /// Ready pods.
    pub ready: i64,
    /// What keeps pods from being ready.
    pub trouble: Option<String>,
}

impl<'a> Canary<'a> {
    /// The service meant: the named one, or the only one with two versions that is called through the mesh.
    ///
    /// # Errors
    /// `Input` for an unknown name, or when there are several or none.
    pub fn service(&self, name: Option<&str>) -> Result<&'a Service> {
        let environment: &'a Environment = self.environment;
        let split: Vec<&Service> = environment
            .services
            .values()
            .filter(|service| service.is_split())
            .collect();
        let names = |services: &[&Service]| {
            services
                .iter()
                .map(|service| service.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match (name, split.as_slice()) {
            (Some(name), _) => environment.services.get(name).ok_or_else(|| {
                Failure::of(
                    FailureKind::Input,
                    format!("service {name}"),
                    "is not in this environment",
                )
                .hint(format!("services with several versions: {}", names(&split)))
            }),
            (None, [only]) => Ok(only),
            (None, []) => {
                Err(
                    Failure::of(FailureKind::Input, "canary", "no service has two versions")
                        .hint("add a version to the environment's file and run `meshctl up`"),
                )
            }
            (None, several) => Err(Failure::of(
                FailureKind::Input,
                "canary",
                "several services have two versions",
            )
            .hint(format!("name one with --service: {}", names(several)))),
        }
    }

    /// Shifts `weight` percent of the service's traffic to its second version, and measures what comes of it. A version
    /// that is not ready gets no traffic: an error, and nothing is changed.
    ///
    /// # Errors
    /// A version that does not become ready, a mesh that refuses or does not take the split, no way in. A measured split
    /// that differs is no error of this call: see [`Report::matches`].
    pub async fn shift(&self, cx: &Context, service: &Service, weight: u8) -> Result<Report> {
        if weight > 100 {
            let message = format!("{weight} is not a percentage");
            return Err(Failure::of(FailureKind::Input, "--weight", message)
                .hint("give a whole number from 0 to 100"));
        }
        let (stable, canary) = pair(service)?;
        let before = self.mesh.split(self.cluster, service).await?;
        let entrance = existing(self.cluster, self.environment).await?;
        let after = weights(service, weight);
        if weight > 0 {
            self.wait_for_version(cx, service, canary).await?;
        }
        if before.configured != after {
            self.mesh.shift(cx, self.cluster, service, &after).await?;
        }
        self.wait_accepted(cx, service, &after).await?;
        let wanted = f64::from(weight) / 100.0;
        self.wait_followed(cx, &entrance, service, canary, wanted)
            .await?;
        let measured = self
            .measure(cx, &entrance, service, &before.configured, wanted)
            .await?;
        Ok(Report {
            service: service.name.clone(),
            stable: stable.name.clone(),
            canary: canary.name.clone(),
            before: before.configured,
            after,
            measured,
        })
    }

    /// Gives the second version all traffic.
    ///
    /// # Errors
    /// As [`Canary::shift`].
    pub async fn promote(&self, cx: &Context, service: &Service) -> Result<Report> {
        self.shift(cx, service, 100).await
    }

    /// Gives the stable version all traffic again.
    ///
    /// # Errors
    /// As [`Canary::shift`].
    pub async fn abort(&self, cx: &Context, service: &Service) -> Result<Report> {
        self.shift(cx, service, 0).await
    }

    /// The split as it is.
    ///
    /// # Errors
    /// What the cluster or the mesh says.
    pub async fn status(&self, service: &Service) -> Result<Status> {
        let split = self.mesh.split(self.cluster, service).await?;
        let mut versions = Vec::new();
        for (version, (_, weight)) in service.versions.iter().zip(&split.configured) {
            let deployment = self.deployment(service, version).await?;
            let (mut ready, mut trouble) = (0, Some("its Deployment is missing".to_owned()));
            if let Some(deployment) = &deployment {
                ready = deployment["status"]["availableReplicas"]
                    .as_i64()
                    .unwrap_or(0);
                let pods = pods_of(self.cluster, deployment).await;
                let pods =
                    pods.map_err(|failed| failed.failure(workload(&service.name, &version.name)))?;
                trouble = pods.trouble.map(|trouble| trouble.words);
            }
            versions.push(VersionStatus {
                name: version.name.clone(),
                weight: *weight,
                wanted: i64::from(version.replicas),
                ready,
                trouble,
            });
        }
        Ok(Status {
            service: service.name.clone(),
            settled: split.is_settled(),
            split,
            versions,
        })
    }

    async fn deployment(&self, service: &Service, version: &Version) -> Result<Option<Value>> {
        let name = Reference::namespaced(
            "apps/v1",
            "Deployment",
            &self.environment.namespace,
            &workload(&service.name, &version.name),
        );
        self.cluster
            .get(&name)
            .await
            .map_err(|trouble| trouble.failure(name.to_string()))
    }

    /// Waits until a version can take traffic, or says why it cannot.
    pub(super) async fn wait_for_version(
        &self,
        cx: &Context,
        service: &Service,
        version: &Version,
    ) -> Result<()> {
        let what = format!("{} {}", service.name, version.name);
        let refuse = |message: String, hint: String| {
            Failure::of(
                FailureKind::Blocked,
                what.clone(),
                format!("is not ready, so traffic is left as it is: {message}"),
            )
            .hint(hint)
        };
        let wait = Wait::new(what.clone(), READY)
            .hint("traffic is left as it is; `meshctl status` shows the pods");
        cx.wait_for(wait, || async {
            let Some(live) = self.deployment(service, version).await? else {
                return Err(refuse(
                    "its Deployment is missing".into(),
                    "run `meshctl up` first".into(),
                ));
            };
            if live["spec"]["replicas"].as_i64() == Some(0) {
                return Err(refuse(
                    "it has no pods".into(),
                    "give it replicas in the environment's file and run `meshctl up`".into(),
                ));
            }
            let how = match readiness(&live) {
                Readiness::Ready => return Ok(Poll::Ready(())),
                Readiness::Failed(how) | Readiness::Waiting(how) => how,
            };
            let pods = pods_of(self.cluster, &live).await;
            match pods
                .map_err(|trouble| trouble.failure(what.clone()))?
                .trouble
            {
                Some(trouble) if trouble.is_final => Err(refuse(trouble.words, trouble.hint)),
                Some(trouble) => Ok(Poll::Pending(format!("{how}, {}", trouble.words))),
                None => Ok(Poll::Pending(how)),
            }
        })
        .await
    }

    /// Waits until the mesh's controller has seen the split and its control plane says the same.
    pub(super) async fn wait_accepted(
        &self,
        cx: &Context,
        service: &Service,
        wanted: &Weights,
    ) -> Result<()> {
        let wait = Wait::new(format!("split of {}", service.name), ACCEPTED)
            .hint("see the mesh controller's log; `meshctl canary status` shows both sides");
        cx.wait_for(wait, || async {
            let state = self.mesh.split(self.cluster, service).await?;
            if state.configured != *wanted {
                let message = "somebody else changed the split meanwhile";
                return Err(
                    Failure::of(FailureKind::Blocked, service.name.clone(), message)
                        .hint("`meshctl canary status` shows how it is now"),
                );
            }
            if state.is_settled() {
                return Ok(Poll::Ready(()));
            }
            Ok(Poll::Pending(match state.refused {
                Some(words) => words,
                None if state.observed_generation < state.generation => {
                    "not seen by the mesh controller".into()
                }
                None => "not accepted by the mesh's control plane".into(),
            }))
        })
        .await
    }

    /// Waits until proxies follow, as far as small samples can tell. Time is all it costs to be wrong: the sample that
    /// is judged comes after.
    async fn wait_followed(
        &self,
        cx: &Context,
        entrance: &Entrance,
        service: &Service,
        canary: &Version,
        wanted: f64,
    ) -> Result<()> {
        let began = std::time::Instant::now();
        let mut agreeing = 0;
        while agreeing < AGREEING && began.elapsed() < FOLLOWED {
            let look = Sampling {
                requests: LOOK,
                ..self.sampling.clone()
            };
            let seen = sample(cx, &entrance.url, &service.name, &look).await?;
            let verdict = Verdict::of(seen.of(&canary.name), seen.recognised(), wanted);
            if verdict.matches {
                agreeing += 1;
            } else {
                agreeing = 0;
                let percent = verdict.observed * 100.0;
                cx.progress(format!(
                    "proxies have not followed yet: {} has {percent:.0} %",
                    canary.name
                ));
            }
        }
        Ok(())
    }

    /// Measures the share of the service's second version against the wanted one.
    ///
    /// # Errors
    /// An interrupted run.
    pub async fn measure(
        &self,
        cx: &Context,
        entrance: &Entrance,
        service: &Service,
        before: &Weights,
        wanted: f64,
    ) -> Result<Measured> {
        let (_, canary) = pair(service)?;
        let sample = sample(cx, &entrance.url, &service.name, &self.sampling).await?;
        let verdict = Verdict::of(sample.of(&canary.name), sample.recognised(), wanted);
        let likely_causes = likely_causes(service, &sample, &verdict, before, canary);
        Ok(Measured {
            url: entrance.url.clone(),
            sample,
            verdict,
            likely_causes,
        })
    }
}

/// The stable version and the one under trial.
pub(super) fn pair(service: &Service) -> Result<(&Version, &Version)> {
    match service.versions.as_slice() {
        [stable, canary, ..] => Ok((stable, canary)),
        _ => Err(Failure::of(
            FailureKind::Input,
            format!("service {}", service.name),
            "it has one version, so there is nothing to shift",
        )
        .hint("add a version to the environment's file and run `meshctl up`")),
    }
}

/// `weight` for the second version, the rest for the first, nothing for others.
pub(super) fn weights(service: &Service, weight: u8) -> Weights {
    let share = |index: usize| match index {
        0 => 100 - weight,
        1 => weight,
        _ => 0,
    };
    let versions = service.versions.iter().enumerate();
    versions
        .map(|(index, version)| (version.name.clone(), share(index)))
        .collect()
}

fn likely_causes(
    service: &Service,
    sample: &Sample,
    verdict: &Verdict,
    before: &Weights,
    canary: &Version,
) -> Vec<String> {
    let mut causes = Vec::new();
    if verdict.matches {
        return causes;
    }
    if sample.recognised() == 0 {
        let what: Vec<String> = sample
            .unrecognised
            .iter()
            .map(|(what, count)| format!("{count} × {what}"))
            .collect();
        causes.push(format!(
            "no answer named a version of {} ({}): the services on the way to it fail, or their answers do not say `service` and `version`",
            service.name,
            if what.is_empty() { "no request was answered".into() } else { what.join(", ") },
        ));
        return causes;
    }
    let pods: i32 = service
        .versions
        .iter()
        .map(|version| version.replicas)
        .sum();
    if pods > 0
        && verdict
            .interval
            .contains(f64::from(canary.replicas) / f64::from(pods))
    {
        causes.push(format!(
            "the split follows the numbers of pods ({} of {pods} are {}): callers bypass the mesh, for want of a sidecar or because they use another host name than {}",
            canary.replicas, canary.name, service.name,
        ));
    }
    let old = before
        .iter()
        .find(|(name, _)| *name == canary.name)
        .map(|(_, weight)| f64::from(*weight) / 100.0);
    if let Some(old) = old
        && old != verdict.wanted
        && verdict.interval.contains(old)
    {
        causes.push(format!(
            "it is still the split from before ({:.0} %): proxies have lost their connection to the mesh's control plane",
            old * 100.0,
        ));
    }
    let failed: u64 = sample.unrecognised.values().sum();
    if failed * 20 > sample.requests {
        causes.push(format!(
            "{failed} of {} requests failed before they could be counted: {} may be overloaded or down",
            sample.requests, canary.name,
        ));
    }
    if causes.is_empty() {
        causes.push("some proxies follow the new split and some do not: wait a minute and run the same command again".into());
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Environment {
        Environment::demo()
    }

    #[test]
    fn weights_are_sent_whole_and_sum_to_a_hundred() {
        let environment = demo();
        let backend = &environment.services["backend"];
        assert_eq!(
            weights(backend, 10),
            [("v1".to_owned(), 90), ("v2".to_owned(), 10)]
        );
        assert_eq!(
            weights(backend, 100),
            [("v1".to_owned(), 0), ("v2".to_owned(), 100)]
        );
    }

    #[test]
    fn a_wrong_split_is_told_with_its_likely_cause() {
        let environment = demo();
        let backend = &environment.services["backend"];
        let (_, canary) = pair(backend).expect("two versions");
        let causes = |hits: u64, before: u8| {
            let mut sample = Sample {
                requests: 1000,
                ..Sample::default()
            };
            for (version, requests) in [("v1", 1000 - hits), ("v2", hits)] {
                sample.versions.entry(version.into()).or_default().requests = requests;
            }
            let verdict = Verdict::of(hits, 1000, 0.1);
            likely_causes(
                backend,
                &sample,
                &verdict,
                &weights(backend, before),
                canary,
            )
        };
        assert!(causes(100, 0).is_empty());
        assert!(
            causes(333, 0)[0].contains("numbers of pods"),
            "{:?}",
            causes(333, 0)
        );
        assert!(
            causes(0, 0)[0].contains("split from before"),
            "{:?}",
            causes(0, 0)
        );
        assert!(
            causes(60, 0)[0].contains("some proxies"),
            "{:?}",
            causes(60, 0)
        );
    }
}
