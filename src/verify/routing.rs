//! Where requests went: by the callers' counters and by the access logs of those that were called.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::json;

use super::proxies::{Counted, Pod};
use super::traffic::Traffic;
use super::{Finding, Verify, callers_of, late_is_fine, lock, reached};
use crate::check::Verdict;
use crate::config::{Environment, Protocol, Service};
use crate::engine::{Context, Poll, Result, Wait};
use crate::mesh::SplitState;
use crate::rollout;

/// Requests by service and version that were counted meanwhile, or why they could not be.
pub(super) type Grown = std::result::Result<Counted, String>;

/// Successes below which something is the matter.
const SOUND: f64 = 0.99;

/// How much counters grew; a proxy that began anew counts from nothing.
pub(super) fn growth(before: &Counted, after: &Counted) -> Counted {
    let grown = after.iter().map(|(key, now)| {
        let earlier = before.get(key).copied().unwrap_or(0);
        let grown = now.checked_sub(earlier).unwrap_or(*now);
        (key.clone(), grown)
    });
    grown.collect()
}

fn of_service(grown: &Counted, service: &Service) -> BTreeMap<String, u64> {
    let of = grown.iter().filter(|((name, _), _)| *name == service.name);
    of.map(|((_, version), count)| (version.clone(), *count))
        .collect()
}

/// Requests through the load balancer are answered.
pub(super) fn check_entrance(environment: &Environment, traffic: &Traffic) -> Finding {
    let ends = traffic.ends();
    let failed = ends.requests - ends.succeeded;
    let failures = ends.failures.iter();
    let failures: Vec<String> = failures
        .map(|(how, count)| format!("{count} × {how}"))
        .collect();
    let words = format!(
        "{failed} of {} requests failed: {}",
        ends.requests,
        failures.join(", ")
    );
    let verdict = match ends.succeeded as f64 / ends.requests.max(1) as f64 {
        _ if failed == 0 => Verdict::Passed,
        share if share >= SOUND => Verdict::Warning(words),
        _ => Verdict::Failed(words),
    };
    let hint = "the findings below tell how far requests came; `meshctl status` shows the pods";
    Finding::new(
        "entrance",
        &environment.ingress.service,
        verdict,
        hint,
        json!({"url": traffic.url, "ends": ends}),
    )
}

/// The share that each version got is the one that is configured.
pub(super) fn check_split(service: &Service, split: &SplitState, grown: &Grown) -> Finding {
    let hint = format!(
        "`meshctl canary status --service {0}` shows both sides; callers that use another host name than {0}'s in the mesh, or whose pods have no proxy, do not follow weights",
        service.name
    );
    let finding =
        |verdict, evidence| Finding::new("split", &service.name, verdict, &hint, evidence);
    let grown = match grown {
        Ok(grown) => of_service(grown, service),
        Err(why) => return finding(Verdict::Failed(why.clone()), json!({"split": split})),
    };
    let total: u64 = grown.values().sum();
    let shares: Vec<(&str, u8, rollout::Verdict)> = split
        .configured
        .iter()
        .map(|(version, weight)| {
            let hits = grown.get(version).copied().unwrap_or(0);
            let wanted = f64::from(*weight) / 100.0;
            (
                version.as_str(),
                *weight,
                rollout::Verdict::of(hits, total, wanted),
            )
        })
        .collect();
    let evidence = json!({
        "split": split,
        "requests": grown,
        "shares": shares.iter().map(|(version, _, verdict)| json!({"version": version, "share": verdict})).collect::<Vec<_>>(),
    });
    let wrong: Vec<String> = shares
        .iter()
        .filter(|(_, _, verdict)| !verdict.matches)
        .map(|(version, weight, verdict)| {
            format!(
                "{version} got {:.1} % of {total} requests, wanted {weight} %",
                verdict.observed * 100.0
            )
        })
        .collect();
    let verdict = match (total, split.is_settled()) {
        (0, _) => Verdict::Failed("its callers' proxies counted no requests to it".into()),
        (_, false) => {
            Verdict::Failed("the mesh's control plane has another split than the cluster".into())
        }
        _ if wrong.is_empty() => Verdict::Passed,
        _ => Verdict::Failed(wrong.join("; ")),
    };
    finding(verdict, evidence)
}

impl Verify<'_> {
    /// Each service was reached, through the proxies of its callers and through its own.
    pub(super) async fn check_routing(
        &self,
        cx: &Context,
        traffic: &Traffic,
        grown: &Grown,
        pods: &[Pod],
    ) -> Result<Vec<Finding>> {
        let services = reached(self.environment);
        let logged = self.wait_logged(cx, &services, traffic, pods).await?;
        let sent = traffic.ends();
        Ok(services
            .into_iter()
            .map(|service| {
                let own = pods.iter().filter(|pod| pod.service == service.name);
                let lines: BTreeMap<&str, u64> = own
                    .filter_map(|pod| Some((pod.name.as_str(), *logged.get(&pod.name)?)))
                    .collect();
                let counted = match callers_of(self.environment, service).is_empty() {
                    true => None,
                    false => Some(grown.as_ref().map(|grown| of_service(grown, service))),
                };
                let verdict = match &counted {
                    Some(Err(why)) => Verdict::Failed((*why).clone()),
                    Some(Ok(counted)) if counted.values().sum::<u64>() < sent.succeeded.max(1) => {
                        Verdict::Failed(format!(
                            "the proxies of its callers counted {} requests to it, wanted {}",
                            counted.values().sum::<u64>(),
                            sent.succeeded.max(1)
                        ))
                    }
                    _ if lines.values().sum::<u64>() > 0 => Verdict::Passed,
                    // A call has no query that the mark could stand in.
                    Some(Ok(_)) if service.protocol == Protocol::Grpc => Verdict::Passed,
                    // A service that does not hand on what it is asked leaves no mark in the logs below it.
                    Some(Ok(_)) => Verdict::Warning(
                        "its callers' proxies counted the requests, its own proxies' access logs show none".into(),
                    ),
                    None => Verdict::Failed(
                        "its proxies' access logs show none of the requests".into(),
                    ),
                };
                let hint = "callers must use its host name in the mesh, and it must be among their backends; a pod without a proxy calls past the mesh";
                let counted = counted.map(|counted| counted.unwrap_or_default());
                let evidence = json!({
                    "requests": sent.requests,
                    "succeeded": sent.succeeded,
                    "callersCounted": counted,
                    "logged": {"mark": traffic.mark, "lines": lines},
                });
                Finding::new("routing", &service.name, verdict, hint, evidence)
            })
            .collect())
    }

    /// Waits until every service's access logs show requests, or have had the time to.
    async fn wait_logged(
        &self,
        cx: &Context,
        services: &[&Service],
        traffic: &Traffic,
        pods: &[Pod],
    ) -> Result<BTreeMap<String, u64>> {
        let all: Vec<&Pod> = pods.iter().collect();
        let last = Mutex::new(BTreeMap::new());
        let wait = Wait::new("access logs", self.patience);
        let waited = cx
            .wait_for(wait, || async {
                let logged = self.logged(&all, &traffic.mark).await;
                let marked = |service: &&&Service| service.protocol == Protocol::Http;
                let silent = services.iter().filter(marked).find(|service| {
                    let own = pods.iter().filter(|pod| pod.service == service.name);
                    own.filter_map(|pod| logged.get(&pod.name)).sum::<u64>() == 0
                });
                let silent = silent.map(|service| service.name.clone());
                *lock(&last) = logged;
                Ok(match silent {
                    None => Poll::Ready(()),
                    Some(name) => Poll::Pending(format!("nothing of {name}")),
                })
            })
            .await;
        late_is_fine(waited)?;
        Ok(std::mem::take(&mut *lock(&last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(v1: u64, v2: u64) -> Counted {
        let key = |version: &str| ("backend".to_owned(), version.to_owned());
        Counted::from([(key("v1"), v1), (key("v2"), v2)])
    }

    #[test]
    fn counters_grow_or_begin_anew() {
        assert_eq!(growth(&counted(100, 7), &counted(150, 7)), counted(50, 0));
        assert_eq!(growth(&counted(100, 7), &counted(20, 9)), counted(20, 2));
        assert_eq!(growth(&Counted::new(), &counted(20, 9)), counted(20, 9));
    }

    #[test]
    fn a_split_is_judged_by_what_proxies_counted() {
        let environment = Environment::demo();
        let service = &environment.services["backend"];
        let weights = vec![("v1".to_owned(), 90), ("v2".to_owned(), 10)];
        let mut split = SplitState {
            configured: weights.clone(),
            accepted: Some(weights),
            generation: 2,
            observed_generation: 2,
            refused: None,
        };
        let verdict =
            |split: &SplitState, grown: Grown| check_split(service, split, &grown).check.verdict;
        assert_eq!(verdict(&split, Ok(counted(450, 50))), Verdict::Passed);
        let wrong = verdict(&split, Ok(counted(300, 200)));
        assert!(
            matches!(&wrong, Verdict::Failed(why) if why.contains("v2 got 40.0 % of 500")),
            "{wrong:?}"
        );
        assert!(matches!(
            verdict(&split, Ok(counted(0, 0))),
            Verdict::Failed(_)
        ));
        assert!(matches!(
            verdict(&split, Err("away".into())),
            Verdict::Failed(_)
        ));
        split.observed_generation = 1;
        assert!(matches!(
            verdict(&split, Ok(counted(450, 50))),
            Verdict::Failed(_)
        ));
    }
}
