//! Proves that the mesh does what it was told: sends real requests and looks at what proxies, access logs and traces say
//! of them. Nothing here knows which mesh it is; that is [`MeshProvider`]'s part.

mod egress;
mod proxies;
mod routes;
mod routing;
mod tracing;
mod traffic;

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use self::proxies::Pod;
use crate::check::{Check, Verdict};
use crate::clients::Clients;
use crate::clients::kube::Cluster;
use crate::config::{Environment, Service};
use crate::engine::{Context, FailureKind, Result};
use crate::junit;
use crate::mesh::MeshProvider;
use crate::rollout::entrance::existing;

/// What is verified.
pub struct Verify<'a> {
    /// The environment.
    pub environment: &'a Environment,
    /// Its mesh.
    pub mesh: &'a dyn MeshProvider,
    /// Its cluster.
    pub cluster: &'a Cluster,
    /// The way to the traces.
    pub clients: &'a Clients,
    /// How many requests are sent at least.
    pub requests: u64,
    /// How long access logs and traces may take to show them.
    pub patience: Duration,
}

/// A check and what speaks for its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check.
    #[serde(flatten)]
    pub check: Check,
    /// What it is about: a service, or `environment`.
    pub about: String,
    /// What was seen.
    pub evidence: Value,
}

impl Finding {
    fn new(code: &'static str, about: &str, verdict: Verdict, hint: &str, evidence: Value) -> Self {
        let needs_hint = matches!(verdict, Verdict::Failed(_) | Verdict::Warning(_));
        Finding {
            check: Check {
                code,
                title: format!("{code} of {about}"),
                verdict,
                hint: needs_hint.then(|| hint.to_owned()),
            },
            about: about.to_owned(),
            evidence,
        }
    }

    /// As a case of a JUnit file.
    pub fn case(&self) -> junit::Case {
        junit::Case {
            class: format!("verify.{}", self.check.code),
            name: self.about.clone(),
            seconds: None,
            result: match &self.check.verdict {
                Verdict::Passed | Verdict::Warning(_) => junit::Result::Passed,
                Verdict::Skipped(why) => junit::Result::Skipped(why.clone()),
                Verdict::Failed(why) => junit::Result::Failed {
                    kind: self.check.code.to_owned(),
                    message: why.clone(),
                    text: format!("{:#}", self.evidence),
                },
            },
        }
    }
}

/// Requests that show a version of this share at least once, but for one run in a thousand.
fn enough(share: u8) -> u64 {
    let missed = 1.0 - f64::from(share.clamp(1, 99)) / 100.0;
    (0.001f64.ln() / missed.ln()).ceil() as u64
}

impl<'a> Verify<'a> {
    /// Checks everything; `heard` hears of each finding when it is there.
    ///
    /// # Errors
    /// What keeps checks from being made at all: no cluster, no way in, an interruption. What is not as it should be is a
    /// finding.
    pub async fn run(&self, cx: &Context, heard: &dyn Fn(&Finding)) -> Result<Vec<Finding>> {
        let entrance = existing(self.cluster, self.environment).await?;
        let mut found = Vec::new();
        let mut tell = |finding: Finding| {
            heard(&finding);
            found.push(finding);
        };
        let services = || self.environment.services.values();
        let pods = self.pods().await?;
        let of = |service: &Service| -> Vec<&Pod> {
            pods.iter()
                .filter(|pod| pod.service == service.name)
                .collect()
        };
        cx.progress("looking at pods and proxies");
        for service in services() {
            tell(self.check_proxies(service, &of(service)).await);
            tell(self.check_probes(service, &of(service)));
        }
        for service in self.called() {
            for finding in self.check_routes(service, &pods).await {
                tell(finding);
            }
        }
        for service in services() {
            tell(self.check_egress(service, &of(service)).await);
        }

        let mut requests = self.requests;
        let mut splits = Vec::new();
        for service in self.called().filter(|service| service.is_split()) {
            let split = self.mesh.split(self.cluster, service).await?;
            let smallest = split.configured.iter().map(|(_, weight)| *weight);
            if let Some(smallest) = smallest.filter(|weight| *weight > 0).min() {
                requests = requests.max(enough(smallest));
            }
            splits.push((service, split));
        }
        let before = self.counted(&pods).await;
        let began = Instant::now();
        let traffic = traffic::send(cx, self.environment, &entrance.url, requests).await?;
        cx.progress(format!(
            "{requests} requests in {:.1} s; looking at counters and access logs",
            began.elapsed().as_secs_f64()
        ));
        let grown = match (before, self.counted(&pods).await) {
            (Ok(before), Ok(after)) => Ok(routing::growth(&before, &after)),
            (Err(why), _) | (_, Err(why)) => Err(why),
        };
        tell(routing::check_entrance(self.environment, &traffic));
        for finding in self.check_routing(cx, &traffic, &grown, &pods).await? {
            tell(finding);
        }
        for (service, split) in &splits {
            tell(routing::check_split(service, split, &grown));
        }
        for finding in self.check_tracing(cx, &traffic).await? {
            tell(finding);
        }
        Ok(found)
    }

    /// The services that others call.
    fn called(&self) -> impl Iterator<Item = &'a Service> {
        let environment: &'a Environment = self.environment;
        let services = environment.services.values();
        services.filter(|service| !callers_of(environment, service).is_empty())
    }

    /// The pods with proxies that call a service.
    fn callers<'p>(&self, service: &Service, pods: &'p [Pod]) -> Vec<&'p Pod> {
        let callers = callers_of(self.environment, service);
        let calling = |pod: &&Pod| pod.has_proxy && callers.contains(&pod.service.as_str());
        pods.iter().filter(calling).collect()
    }
}

/// What has not come in time is for the judgement to say.
fn late_is_fine(waited: Result<()>) -> Result<()> {
    match waited {
        Err(failure) if failure.kind == FailureKind::Timeout => Ok(()),
        waited => waited,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The services that call a service.
fn callers_of<'e>(environment: &'e Environment, service: &Service) -> Vec<&'e str> {
    let services = environment.services.values();
    services
        .filter(|other| other.backends.contains(&service.name))
        .map(|other| other.name.as_str())
        .collect()
}

/// The services that a request to the entrance may come to, the entrance's first.
fn reached(environment: &Environment) -> Vec<&Service> {
    let mut found: Vec<&Service> = environment
        .services
        .get(&environment.ingress.service)
        .into_iter()
        .collect();
    let mut next = 0;
    while let Some(service) = found.get(next) {
        next += 1;
        for backend in &service.backends {
            if let Some(backend) = environment.services.get(backend)
                && !found.iter().any(|known| known.name == backend.name)
            {
                found.push(backend);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_share_takes_many_requests() {
        assert_eq!(enough(100), 2);
        assert_eq!(enough(50), 10);
        assert_eq!(enough(10), 66);
        assert_eq!(enough(1), 688);
    }

    #[test]
    fn the_demo_is_walked_from_its_entrance() {
        let environment = Environment::demo();
        let names: Vec<&str> = reached(&environment)
            .iter()
            .map(|service| service.name.as_str())
            .collect();
        assert_eq!(names, ["frontend", "backend", "database"]);
        let database = &environment.services["database"];
        assert_eq!(callers_of(&environment, database), ["backend"]);
    }

    #[test]
    fn a_finding_is_a_case() {
        let finding = Finding::new(
            "egress",
            "backend",
            Verdict::Failed("passed".into()),
            "mend it",
            serde_json::json!({"status": 200}),
        );
        let case = finding.case();
        assert_eq!(
            (case.class.as_str(), case.name.as_str()),
            ("verify.egress", "backend")
        );
        let junit::Result::Failed { text, .. } = case.result else {
            panic!("{:?}", case.result);
        };
        assert!(text.contains("200"), "{text}");
        let value = serde_json::to_value(&finding).expect("JSON");
        assert_eq!(
            (&value["outcome"], &value["hint"]),
            (&"failed".into(), &"mend it".into())
        );
    }
}
