//! Eviction: the deletion of a pod that its disruption budget allows.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::apply::{self, Writer};
use super::read::find;
use super::selector::Labels;
use super::status::{Cause, Result, Status};
use super::store::Expected;
use super::subresource::{Made, done, say};
use super::write::{self, Call};
use super::{object, strategy};

/// How many evictions a budget waits for.
const MOST: usize = 2000;

/// Deletes a pod if the disruption budgets allow it.
pub async fn evict(call: &mut Call<'_>, made: Made) -> Result<(u16, Value)> {
    let (name, mut eviction) = (made.name.clone(), made.object.clone());
    if name != object::name(&eviction) {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let options = &mut eviction["deleteOptions"];
    if options["ignoreStoreReadErrorWithClusterBreakingPotential"] == true {
        let cause = Cause::invalid(
            "deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential",
            &true.into(),
            "can not be set for pod eviction, try after removing the option",
        );
        return Err(Status::invalid("policy", "Eviction", &name, &[cause]));
    }
    made.admit(call).await?;
    // Admission is told of the query alone.
    let trial = object::list(&eviction["deleteOptions"], "dryRun");
    call.dry_run |= trial.iter().any(|one| one == "All");
    let pod = find(call.api, call.info, &call.resource)?;
    let phase = object::text(&pod.value, "status.phase");
    let ending = object::terminating(&pod.value);
    let unbudgeted = ending || matches!(phase, "Succeeded" | "Failed" | "Pending");
    if !unbudgeted {
        budgeted(call, &pod.value)?;
    }
    let body = match eviction["deleteOptions"].take() {
        Value::Null => json!({}),
        options => options,
    };
    let body = Bytes::from(body.to_string());
    let mut options = write::delete_options(call.info, &HeaderMap::new(), &body)?;
    options.dry_run |= call.dry_run;
    if !options.dry_run {
        target(call, &mut options)?;
    }
    write::delete(call, &options).await?;
    Ok(done())
}

/// Says in the pod why it goes, and expects that version of it where one was.
fn target(call: &Call<'_>, options: &mut write::DeleteOptions) -> Result<()> {
    for _ in 0..20 {
        let stored = find(call.api, call.info, &call.resource)?;
        let found = stored.revision.to_string();
        // The deletion finds what is wrong with it.
        let other = options.revision.as_ref().is_some_and(|it| *it != found)
            || options
                .uid
                .as_deref()
                .is_some_and(|uid| uid != object::uid(&stored.value));
        if other {
            return Ok(());
        }
        let mut pod = stored.value.clone();
        say(
            &mut pod,
            json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            }),
        );
        if pod == stored.value {
            return Ok(());
        }
        let expected = Expected::Revision(stored.revision);
        if let Ok(stored) = call.api.store.put(&call.resource.table, pod, expected) {
            if options.revision.is_some() {
                options.revision = Some(stored.revision.to_string());
            }
            return Ok(());
        }
    }
    Err(Status::modified("", "pods", &call.info.name))
}

/// Takes one disruption from the budget of a pod.
fn budgeted(call: &Call<'_>, pod: &Value) -> Result<()> {
    const TABLE: &str = "policy/poddisruptionbudgets";
    let api = call.api;
    for _ in 0..20 {
        let budgets = api.store.all(TABLE, &call.info.namespace);
        let mut of_pod = budgets.iter().filter(|budget| {
            let selector = &budget.value["spec"]["selector"];
            selector.is_object() && Labels::from_object(selector).matches(pod)
        });
        let Some(stored) = of_pod.next() else {
            return Ok(());
        };
        if of_pod.next().is_some() {
            return Err(Status::new(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        let budget = &stored.value;
        let name = object::name(budget);
        let number = |path: &str| {
            object::at(budget, path)
                .and_then(Value::as_i64)
                .unwrap_or(0)
        };
        let (healthy, wanted) = (
            number("status.currentHealthy"),
            number("status.desiredHealthy"),
        );
        let ready = object::list(pod, "status.conditions")
            .iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True");
        let always = object::text(budget, "spec.unhealthyPodEvictionPolicy") == "AlwaysAllow";
        if !ready && (always || healthy >= wanted && wanted > 0) {
            return Ok(());
        }
        if number("status.observedGeneration") < number("metadata.generation") {
            let why =
                format!("The disruption budget {name} is still being processed by the server.");
            return Err(refused(&why, 10));
        }
        let forbidden = |why: &str| Status::forbidden("policy", "poddisruptionbudget", name, why);
        let allowed = number("status.disruptionsAllowed");
        if allowed < 0 {
            return Err(forbidden("pdb disruptions allowed is negative"));
        }
        let waiting = budget["status"]["disruptedPods"].as_object();
        if waiting.is_some_and(|pods| pods.len() > MOST) {
            return Err(forbidden(
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            ));
        }
        if allowed == 0 {
            return Err(refused(&exhausted(budget, healthy, wanted), 0));
        }
        let mut new = budget.clone();
        new["status"]["disruptionsAllowed"] = (allowed - 1).into();
        if allowed == 1 {
            insufficient(&mut new);
        }
        if call.dry_run {
            return Ok(());
        }
        let pod = object::name(pod);
        new["status"]["disruptedPods"][pod] = object::now().into();
        record(call, budget, &mut new);
        if api
            .store
            .put(TABLE, new, Expected::Revision(stored.revision))
            .is_ok()
        {
            return Ok(());
        }
    }
    Err(Status::modified(
        "policy",
        "poddisruptionbudgets",
        &call.info.name,
    ))
}

/// The server itself is who changes a budget.
fn record(call: &Call<'_>, old: &Value, new: &mut Value) {
    let Some(resource) = call.api.resource("policy", "v1", "poddisruptionbudgets") else {
        return;
    };
    let writer = Writer {
        manager: "kube-apiserver",
        api_version: "policy/v1",
        subresource: "status",
    };
    let reset = strategy::reset(&resource, "status");
    apply::track(resource.schema(), old, new, &writer, reset);
}

/// Says in a budget that there is nothing left of it.
fn insufficient(budget: &mut Value) {
    let mut condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "lastTransitionTime": object::now(), "observedGeneration": budget["metadata"]["generation"],
    });
    let mut conditions = object::list(budget, "status.conditions").to_vec();
    let known = conditions
        .iter_mut()
        .find(|one| one["type"] == "DisruptionAllowed");
    match known {
        Some(known) => {
            if known["status"] == "False" {
                condition["lastTransitionTime"] = known["lastTransitionTime"].take();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
    object::set(budget, "status.conditions", conditions);
}

/// Why a budget allows nothing.
fn exhausted(budget: &Value, healthy: i64, wanted: i64) -> String {
    let name = object::name(budget);
    let conditions = object::list(budget, "status.conditions");
    let said = conditions.iter().find(|one| {
        one["type"] == "DisruptionAllowed"
            && one["status"] == "False"
            && !object::text(one, "message").is_empty()
    });
    let (reason, message) = said.map_or(("", ""), |one| {
        (object::text(one, "reason"), object::text(one, "message"))
    });
    let head = format!("The disruption budget {name}");
    match reason {
        "SyncFailed" => format!(
            "{head} does not allow evicting pods currently because it failed sync: {message}"
        ),
        _ if healthy <= wanted => {
            format!("{head} needs {wanted} healthy pods and has {healthy} currently")
        }
        _ if said.is_some() => {
            format!("{head} does not allow evicting pods currently ({reason}): {message}")
        }
        _ => format!("{head} does not allow evicting pods currently"),
    }
}

fn refused(why: &str, seconds: u64) -> Status {
    let mut status = Status::new(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    if seconds > 0 {
        details["retryAfterSeconds"] = seconds.into();
    }
    status.details = Some(details);
    status
}
