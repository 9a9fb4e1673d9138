//! A pod's status as the API server is told it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use serde_json::{Value, json};

use super::runtime::{Ended, Report, Runtime, State};

/// Addresses that the API shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The pod's.
    pub pod_ip: Option<String>,
    /// The node's.
    pub host_ip: String,
}

/// A time as the API has it.
pub fn time(timestamp: Timestamp) -> String {
    // Whole seconds, as metav1.Time.
    Timestamp::from_second(timestamp.as_second())
        .unwrap_or(timestamp)
        .to_string()
}

/// The whole status. `before` is the pod as last seen, whose conditions keep their times while they do not change.
pub fn whole(before: &Pod, runtime: &Runtime, shown: &Shown, start: Timestamp) -> Value {
    let spec = before.spec.clone().unwrap_or_default();
    let inits = spec.init_containers.unwrap_or_default();
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let read = |containers: &[Container]| -> Vec<(String, Report)> {
        let reports = containers.iter().filter_map(|container| {
            Some((container.name.clone(), runtime.report(&container.name)?))
        });
        reports.collect()
    };
    let init_reports = read(&inits);
    let reports = read(&spec.containers);
    let succeeded =
        |report: &Report| matches!(&report.state, State::Terminated(ended) if ended.code == 0);
    let ended = |report: &Report| matches!(report.state, State::Terminated(_));
    let sidecar = |name: &str| {
        let found = inits.iter().find(|container| container.name == name);
        found.is_some_and(|container| container.restart_policy.as_deref() == Some("Always"))
    };
    let initialized = init_reports
        .iter()
        .all(|(name, report)| succeeded(report) || (sidecar(name) && report.started));
    let init_failed = policy == "Never"
        && init_reports
            .iter()
            .any(|(name, report)| !sidecar(name) && ended(report) && !succeeded(report));
    let phase = if init_failed {
        "Failed"
    } else if !initialized {
        "Pending"
    } else if policy != "Always"
        && !reports.is_empty()
        && reports.iter().all(|(_, report)| ended(report))
    {
        match reports.iter().all(|(_, report)| succeeded(report)) {
            true => "Succeeded",
            false if policy == "Never" => "Failed",
            false => "Running",
        }
    } else if reports.iter().any(|(_, report)| !report.id.is_empty()) {
        "Running"
    } else {
        "Pending"
    };
    let over = matches!(phase, "Succeeded" | "Failed");

    let unready: Vec<&str> = reports
        .iter()
        .filter(|(_, report)| !report.ready)
        .map(|(name, _)| name.as_str())
        .collect();
    let containers_ready = initialized && unready.is_empty() && !over;
    let not_ready = || match phase {
        "Succeeded" => ("PodCompleted", String::new()),
        "Failed" => ("PodFailed", String::new()),
        _ => (
            "ContainersNotReady",
            format!("containers with unready status: [{}]", unready.join(" ")),
        ),
    };
    let gate_fails = spec.readiness_gates.iter().flatten().find(|gate| {
        let conditions = before
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        !conditions
            .into_iter()
            .any(|found| found.type_ == gate.condition_type && found.status == "True")
    });
    let mut conditions = Conditions::new(before);
    conditions.set(
        "PodReadyToStartContainers",
        shown.pod_ip.is_some() && !over,
        None,
    );
    let unfinished: Vec<&str> = init_reports
        .iter()
        .filter(|(name, report)| !(succeeded(report) || sidecar(name) && report.started))
        .map(|(name, _)| name.as_str())
        .collect();
    let incomplete = (!initialized).then(|| {
        let message = format!(
            "containers with incomplete status: [{}]",
            unfinished.join(" ")
        );
        ("ContainersNotInitialized", message)
    });
    conditions.set("Initialized", initialized, incomplete);
    let why = (!containers_ready).then(not_ready);
    let ready = containers_ready && gate_fails.is_none();
    let why_pod = match (&why, gate_fails) {
        (Some(why), _) => Some(why.clone()),
        (None, Some(gate)) => Some((
            "ReadinessGatesNotReady",
            format!(
                "the status of pod readiness gate \"{}\" is not \"True\", but False",
                gate.condition_type
            ),
        )),
        (None, None) => None,
    };
    conditions.set("Ready", ready, why_pod);
    conditions.set("ContainersReady", containers_ready, why);
    conditions.set("PodScheduled", true, None);

    let statuses = |reports: &[(String, Report)]| -> Vec<Value> {
        reports
            .iter()
            .map(|(name, report)| container_status(name, report))
            .collect()
    };
    let mut status = json!({
        "phase": phase,
        "hostIP": shown.host_ip,
        "hostIPs": [{"ip": shown.host_ip}],
        "startTime": time(start),
        "qosClass": qos(&spec.containers),
        "conditions": conditions.list,
        "containerStatuses": statuses(&reports),
    });
    if !init_reports.is_empty() {
        status["initContainerStatuses"] = Value::from(statuses(&init_reports));
    }
    if let Some(address) = &shown.pod_ip {
        status["podIP"] = json!(address);
        status["podIPs"] = json!([{"ip": address}]);
    }
    status
}

struct Conditions {
    before: Vec<PodCondition>,
    list: Vec<Value>,
}

impl Conditions {
    fn new(pod: &Pod) -> Self {
        let before = pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone());
        Conditions {
            before: before.unwrap_or_default(),
            list: Vec::new(),
        }
    }

    fn set(&mut self, kind: &str, is: bool, why: Option<(&str, String)>) {
        let status = if is { "True" } else { "False" };
        let same = self
            .before
            .iter()
            .find(|found| found.type_ == kind && found.status == status);
        let since = same
            .and_then(|found| found.last_transition_time.as_ref())
            .map_or_else(Timestamp::now, |since| since.0);
        let mut condition = json!({
            "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": time(since),
        });
        // Null removes what an earlier patch left.
        let (reason, message) = why.map_or((Value::Null, Value::Null), |(reason, message)| {
            (
                json!(reason),
                if message.is_empty() {
                    Value::Null
                } else {
                    json!(message)
                },
            )
        });
        condition["reason"] = reason;
        condition["message"] = message;
        self.list.push(condition);
    }
}

fn ended_value(ended: &Ended) -> Value {
    let mut value = json!({
        "exitCode": ended.code, "reason": ended.reason, "startedAt": time(ended.started),
        "finishedAt": time(ended.finished), "containerID": ended.id,
    });
    if !ended.message.is_empty() {
        value["message"] = json!(ended.message);
    }
    value
}

fn container_status(name: &str, report: &Report) -> Value {
    let state = match &report.state {
        State::Waiting { reason, message } if message.is_empty() => {
            json!({"waiting": {"reason": reason}})
        }
        State::Waiting { reason, message } => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        State::Running { since } => json!({"running": {"startedAt": time(*since)}}),
        State::Terminated(ended) => json!({"terminated": ended_value(ended)}),
    };
    let last = report.last.as_ref();
    let mut status = json!({
        "name": name,
        "image": report.image,
        "imageID": report.image_id,
        "state": state,
        "lastState": last.map_or(json!({}), |ended| json!({"terminated": ended_value(ended)})),
        "ready": report.ready,
        "started": report.started,
        "restartCount": report.restarts,
    });
    if !report.id.is_empty() {
        status["containerID"] = json!(report.id);
    }
    status
}

fn qos(containers: &[Container]) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in containers {
        let resources = container.resources.clone().unwrap_or_default();
        let (requests, limits) = (
            resources.requests.unwrap_or_default(),
            resources.limits.unwrap_or_default(),
        );
        any |= !requests.is_empty() || !limits.is_empty();
        guaranteed &= ["cpu", "memory"].iter().all(|resource| {
            let limit = limits.get(*resource);
            limit.is_some()
                && requests
                    .get(*resource)
                    .is_none_or(|request| Some(request) == limit)
        });
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
