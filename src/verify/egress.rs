//! The egress filter: a host that is no backend is refused by the pod's own proxy.

use serde_json::{Value, json};

use super::proxies::Pod;
use super::{Finding, Verify};
use crate::check::Verdict;
use crate::clients::kube::PodAnswer;
use crate::config::{Egress, Protocol, Service};

/// What became of a request that was handed to a proxy as if its service had sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Passage {
    /// The proxy knows no such host, or cut the connection.
    Refused,
    /// Something answered.
    Answered(u16),
    /// The proxy could not be asked.
    Unknown(String),
}

impl Passage {
    fn of(asked: Result<PodAnswer, String>) -> Self {
        match asked {
            Ok(answer) if is_refusal(&answer) => Passage::Refused,
            Ok(answer) => Passage::Answered(answer.status),
            Err(why) if why.contains("connection") => Passage::Refused,
            Err(why) => Passage::Unknown(why),
        }
    }

    fn words(&self) -> Value {
        match self {
            Passage::Refused => json!("refused"),
            Passage::Answered(status) => json!(status),
            Passage::Unknown(why) => json!({ "trouble": why }),
        }
    }
}

/// Whether a proxy has no route, which it says by itself: with a bare 404, or to a gRPC client with the status
/// UNIMPLEMENTED, which is what gRPC makes of a 404. What a service said itself comes with the time that it took.
fn is_refusal(answer: &PodAnswer) -> bool {
    let own = answer.header("x-envoy-upstream-service-time").is_none();
    let bare = match answer.header("grpc-status") {
        Some(status) => status == "12" && own,
        None => answer.status == 404 && answer.body.is_empty(),
    };
    bare && answer.header("server") == Some("envoy")
}

impl Verify<'_> {
    /// Asks each version's proxy for a service of the mesh that is not among its service's backends, and for one that is.
    pub(super) async fn check_egress(&self, service: &Service, pods: &[&Pod]) -> Finding {
        let hint = "the mesh's egress filter lets everything through: `meshctl plan` tells whether it was changed by hand, `meshctl up` sets it";
        let finding =
            |verdict, evidence| Finding::new("egress", &service.name, verdict, hint, evidence);
        if self.environment.mesh.egress == Egress::AllowAll {
            let why = "the environment's file allows all hosts";
            return finding(Verdict::Skipped(why.into()), Value::Null);
        }
        let others = || self.environment.services.values();
        let unlisted = others()
            .find(|other| other.name != service.name && !service.backends.contains(&other.name));
        let Some(unlisted) = unlisted else {
            let why = "every other service is among its backends";
            return finding(Verdict::Skipped(why.into()), Value::Null);
        };
        let listed = others().find(|other| service.backends.contains(&other.name));
        let mut evidence = Vec::new();
        let (mut passed, mut blind) = (Vec::new(), Vec::new());
        for version in &service.versions {
            let mut of = pods.iter().filter(|pod| pod.version == version.name);
            let Some(pod) = of.find(|pod| pod.ready && pod.has_proxy) else {
                blind.push(format!("no ready pod of {} has a proxy", version.name));
                continue;
            };
            let refused = self.hand_over(pod, unlisted).await;
            let control = match listed {
                Some(listed) => Some((listed, self.hand_over(pod, listed).await)),
                None => None,
            };
            evidence.push(json!({
                "pod": pod.name,
                "unlisted": {"host": self.mesh.route(unlisted).host, "answer": refused.words()},
                "listed": control.as_ref().map(|(listed, passage)| json!({"host": self.mesh.route(listed).host, "answer": passage.words()})),
            }));
            match &refused {
                Passage::Refused => {}
                Passage::Answered(status) => passed.push(format!(
                    "{} reaches {}, which is no backend of it: HTTP {status}",
                    pod.name, unlisted.name
                )),
                Passage::Unknown(why) => blind.push(format!("the proxy of {}: {why}", pod.name)),
            }
            // A proxy that refuses everything filters nothing.
            if let Some((listed, Passage::Refused | Passage::Unknown(_))) = &control {
                passed.push(format!(
                    "{} does not reach its backend {}",
                    pod.name, listed.name
                ));
            }
        }
        let verdict = match (passed.is_empty(), blind.is_empty()) {
            (false, _) => Verdict::Failed(passed.join("; ")),
            (true, false) => Verdict::Warning(blind.join("; ")),
            (true, true) => Verdict::Passed,
        };
        finding(verdict, Value::Array(evidence))
    }

    async fn hand_over(&self, pod: &Pod, to: &Service) -> Passage {
        let (namespace, port) = (&self.environment.namespace, self.mesh.proxies().egress_port);
        let host = self.mesh.route(to).host;
        let (cluster, path) = (self.cluster, &to.health_path);
        Passage::of(match to.protocol {
            Protocol::Http => {
                cluster
                    .ask_pod(namespace, &pod.name, port, &host, path)
                    .await
            }
            // Routes to gRPC services take nothing else.
            Protocol::Grpc => {
                cluster
                    .call_pod(namespace, &pod.name, port, &host, path)
                    .await
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_refusal_is_told_from_a_services_answer() {
        let given = |status, headers: &[(&'static str, &str)], body: &'static str| {
            let headers = headers
                .iter()
                .map(|(name, value)| {
                    let name = hyper::header::HeaderName::from_static(name);
                    (name, value.parse().expect("a header"))
                })
                .collect();
            Ok(PodAnswer {
                status,
                headers,
                body: body.into(),
            })
        };
        let answer = |status, server: &str, body| given(status, &[("server", server)], body);
        let grpc = |status: &str, more: &[(&'static str, &str)]| {
            let own = [("server", "envoy"), ("grpc-status", status)];
            given(200, &[&own[..], more].concat(), "")
        };
        assert_eq!(Passage::of(grpc("12", &[])), Passage::Refused);
        let took = [("x-envoy-upstream-service-time", "3")];
        assert_eq!(
            Passage::of(grpc("12", &took)),
            Passage::Answered(200),
            "the service has no such method, but it was reached"
        );
        assert_eq!(
            Passage::of(grpc("14", &[])),
            Passage::Answered(200),
            "the proxy has a route and nobody at its end"
        );
        assert_eq!(Passage::of(answer(404, "envoy", "")), Passage::Refused);
        assert_eq!(
            Passage::of(answer(404, "envoy", "not here")),
            Passage::Answered(404)
        );
        assert_eq!(
            Passage::of(answer(404, "database/v1", "")),
            Passage::Answered(404)
        );
        assert_eq!(
            Passage::of(answer(200, "envoy", "")),
            Passage::Answered(200)
        );
        assert_eq!(
            Passage::of(Err("connection closed before message completed".into())),
            Passage::Refused
        );
        assert!(matches!(
            Passage::of(Err("no answer within 10 s".into())),
            Passage::Unknown(_)
        ));
    }
}
