//! What proxies have been given: the routes in their own words, compared with what is wanted.

use futures::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};

use super::proxies::Pod;
use super::{Finding, Verify};
use crate::check::Verdict;
use crate::config::Service;

/// The route to a service as a proxy has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    /// Milliseconds that a request may take.
    timeout_millis: Option<u64>,
    /// Tries after a failed one.
    retries: Option<u64>,
    /// Milliseconds that one try may take.
    try_millis: Option<u64>,
}

/// Milliseconds of `1.5s`.
fn millis(value: &Value) -> Option<u64> {
    let seconds: f64 = value.as_str()?.strip_suffix('s')?.parse().ok()?;
    Some((seconds * 1000.0).round() as u64)
}

/// The route to `host` in what Envoy's `/config_dump` says of route configurations.
fn route_to(dump: &Value, host: &str) -> Option<Given> {
    let name = host.split(':').next().unwrap_or(host);
    let configurations = dump["configs"].as_array()?.iter();
    let mut hosts = configurations
        .filter_map(|found| found["route_config"]["virtual_hosts"].as_array())
        .flatten();
    let found = hosts.find(|found| {
        let mut domains = found["domains"].as_array().into_iter().flatten();
        domains.any(|domain| domain == host || domain == name)
    })?;
    let mut routes = found["routes"].as_array()?.iter();
    let action = &routes.find(|route| route["route"].is_object())?["route"];
    let retry = &action["retry_policy"];
    Some(Given {
        timeout_millis: millis(&action["timeout"]),
        retries: retry["num_retries"].as_u64(),
        try_millis: millis(&retry["per_try_timeout"]),
    })
}

impl Verify<'_> {
    /// Retries and time-outs of a service are with its callers' proxies as they are wanted.
    pub(super) async fn check_routes(&self, service: &Service, pods: &[Pod]) -> [Finding; 2] {
        let wanted = self.mesh.route(service);
        let path = "/config_dump?resource=dynamic_route_configs";
        let callers = self.callers(service, pods);
        let given = join_all(callers.iter().map(|pod| {
            let wanted = &wanted;
            async move {
                let dump = self
                    .ask_proxy(pod, path)
                    .await
                    .and_then(|answer| answer.json());
                let given = dump.and_then(|dump| {
                    let missing = || format!("has no route to {}", wanted.host);
                    route_to(&dump, &wanted.host).ok_or_else(missing)
                });
                (pod.name.as_str(), given)
            }
        }))
        .await;
        let proxies: Vec<Value> = given
            .iter()
            .map(|(pod, given)| match given {
                Ok(given) => json!({"pod": pod, "given": given}),
                Err(why) => json!({"pod": pod, "trouble": why}),
            })
            .collect();
        let evidence = json!({"wanted": wanted, "proxies": proxies});
        let differing = |differs: &dyn Fn(&Given) -> Option<String>| -> Vec<String> {
            let wrong = given.iter().filter_map(|(pod, given)| {
                let why = match given {
                    Ok(given) => differs(given)?,
                    Err(why) => why.clone(),
                };
                Some(format!("the proxy of {pod} {why}"))
            });
            wrong.collect()
        };
        let retries = wanted.retries.map(|(retries, each)| {
            differing(&|given| {
                let is = (given.retries.unwrap_or(0), given.try_millis.unwrap_or(0));
                let same = is == (u64::from(retries), each);
                (!same).then(|| format!("retries {} times within {} ms each, wanted {retries} times within {each} ms", is.0, is.1))
            })
        });
        let timeouts = wanted.timeout_millis.map(|wanted| {
            differing(&|given| {
                let is = given.timeout_millis;
                let words = is.map_or("for ever".into(), |is| format!("{is} ms"));
                (is != Some(wanted)).then(|| format!("waits {words}, wanted {wanted} ms"))
            })
        });
        let verdict = |wrong: Option<Vec<String>>| match wrong {
            _ if callers.is_empty() => Verdict::Failed("no pod calls it".into()),
            None => Verdict::Skipped("the mesh's own defaults hold".into()),
            Some(wrong) if wrong.is_empty() => Verdict::Passed,
            Some(wrong) => Verdict::Failed(wrong.join("; ")),
        };
        let hint = "`meshctl plan` tells whether the route was changed by hand, `meshctl up` sets it; a proxy that has lost its control plane keeps what it had";
        [
            ("retries", verdict(retries)),
            ("timeouts", verdict(timeouts)),
        ]
        .map(|(code, verdict)| Finding::new(code, &service.name, verdict, hint, evidence.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route_is_found_by_its_host() {
        let dump = json!({"configs": [{"route_config": {"name": "rds_egress_http", "virtual_hosts": [
            {"name": "other", "domains": ["other"], "routes": [{"route": {"timeout": "1s"}}]},
            {"name": "backend", "domains": ["backend.demo", "backend.demo:8080"], "routes": [{
                "match": {"prefix": "/"},
                "route": {"timeout": "15s", "retry_policy": {"num_retries": 2, "per_try_timeout": "5s"}},
            }]},
        ]}}]});
        let given = route_to(&dump, "backend.demo:8080").expect("a route");
        assert_eq!(
            given,
            Given {
                timeout_millis: Some(15_000),
                retries: Some(2),
                try_millis: Some(5_000)
            }
        );
        assert_eq!(route_to(&dump, "database.demo:5432"), None);
        assert_eq!(route_to(&json!({}), "backend.demo:8080"), None);
        assert_eq!(millis(&json!("0.250s")), Some(250));
    }
}
