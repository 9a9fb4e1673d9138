//! Load balancers as ELBv2's state holds them.

use std::time::Duration;

use serde_json::Value;

use super::{
    Action, Balancer, Check, Condition, Directory, Healths, Listener, Rule, Snapshot, Target,
    TargetGroup,
};
use crate::sandbox::aws::elbv2;
use crate::sandbox::state::World;

/// ELBv2's state in a sandbox.
pub struct OfWorld(pub World);

impl Directory for OfWorld {
    fn snapshot(&self) -> Snapshot {
        let state = self.0.state();
        let mut snapshot = Snapshot::default();
        for (arn, balancer) in &state.elbv2.load_balancers {
            let listeners = state.elbv2.listeners.values();
            let mut listeners: Vec<Listener> = listeners
                .filter(|listener| listener.load_balancer == *arn)
                .map(|listener| read_listener(&state.elbv2, listener))
                .collect();
            listeners.sort_by_key(|listener| listener.port);
            let idle = balancer.attributes.get("idle_timeout.timeout_seconds");
            let balancer = Balancer {
                arn: arn.clone(),
                address: balancer.address,
                idle_timeout: idle.and_then(|seconds| seconds.parse().ok()).unwrap_or(60),
                listeners,
            };
            snapshot.balancers.insert(arn.clone(), balancer);
        }
        for (arn, group) in &state.elbv2.target_groups {
            snapshot.groups.insert(arn.clone(), read_group(group));
        }
        snapshot
    }

    fn tell(&self, healths: &Healths) {
        let mut state = self.0.state();
        let mut changed = false;
        for ((group, target), health) in healths {
            let news = (health.state, health.reason, health.description.as_deref());
            changed |= elbv2::set_health(&mut state.elbv2, group, &target.id, target.port, news);
        }
        drop(state);
        if changed {
            self.0.touch();
        }
    }
}

fn read_listener(state: &elbv2::State, listener: &elbv2::Listener) -> Listener {
    let rules = state
        .rules
        .values()
        .filter(|rule| rule.listener == listener.arn);
    let mut rules: Vec<&elbv2::Rule> = rules.collect();
    rules.sort_by_key(|rule| rule.priority);
    let default = Rule {
        conditions: Vec::new(),
        action: action(&listener.actions),
    };
    let rules = rules.into_iter().map(|rule| Rule {
        conditions: rule.conditions.iter().filter_map(condition).collect(),
        action: action(&rule.actions),
    });
    Listener {
        port: listener.port,
        rules: rules.chain([default]).collect(),
    }
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn condition(given: &Value) -> Option<Condition> {
    let values = |config: &str| texts(&given[config]["Values"]);
    Some(match given["Field"].as_str()? {
        "host-header" => Condition::Host(values("HostHeaderConfig")),
        "path-pattern" => Condition::Path(values("PathPatternConfig")),
        "http-request-method" => Condition::Method(values("HttpRequestMethodConfig")),
        "http-header" => {
            let config = &given["HttpHeaderConfig"];
            Condition::Header(
                config["HttpHeaderName"].as_str()?.to_owned(),
                texts(&config["Values"]),
            )
        }
        "query-string" => {
            let pairs = given["QueryStringConfig"]["Values"].as_array()?.iter();
            let pairs = pairs.filter_map(|pair| {
                Some((
                    pair["Key"].as_str().map(str::to_owned),
                    pair["Value"].as_str()?.to_owned(),
                ))
            });
            Condition::Query(pairs.collect())
        }
        // Everybody comes from loopback here; an address says nothing.
        _ => return None,
    })
}

/// What a rule ends with; authentication before it is not done here.
fn action(actions: &[Value]) -> Action {
    let last = actions.last().unwrap_or(&Value::Null);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = |value: &Value| {
        let digits: String = text(value).chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(503)
    };
    match last["Type"].as_str() {
        Some("redirect") => {
            let config = &last["RedirectConfig"];
            Action::Redirect {
                status: status(&config["StatusCode"]),
                protocol: text(&config["Protocol"]),
                host: text(&config["Host"]),
                port: text(&config["Port"]),
                path: text(&config["Path"]),
            }
        }
        Some("fixed-response") => {
            let config = &last["FixedResponseConfig"];
            Action::Fixed {
                status: status(&config["StatusCode"]),
                content_type: text(&config["ContentType"]),
                body: text(&config["MessageBody"]),
            }
        }
        _ => {
            let groups = last["ForwardConfig"]["TargetGroups"]
                .as_array()
                .into_iter()
                .flatten();
            let mut groups: Vec<(String, u32)> = groups
                .filter_map(|group| {
                    let weight = group["Weight"].as_u64().unwrap_or(1);
                    Some((group["TargetGroupArn"].as_str()?.to_owned(), weight as u32))
                })
                .collect();
            if let (true, Some(arn)) = (groups.is_empty(), last["TargetGroupArn"].as_str()) {
                groups.push((arn.to_owned(), 1));
            }
            Action::Forward(groups)
        }
    }
}

fn read_group(group: &elbv2::TargetGroup) -> TargetGroup {
    let check = &group.health_check;
    TargetGroup {
        arn: group.arn.clone(),
        check: Check {
            protocol: check.protocol.clone(),
            port: check.port.parse().ok(),
            path: check.path.clone(),
            interval: Duration::from_secs(check.interval.max(1)),
            timeout: Duration::from_secs(check.timeout.max(1)),
            healthy: check.healthy as u32,
            unhealthy: check.unhealthy as u32,
            matcher: check.codes.clone(),
        },
        targets: group
            .targets
            .iter()
            .map(|target| Target {
                id: target.id.clone(),
                port: target.port,
                draining: target.state == "draining",
            })
            .collect(),
    }
}
