//! Subresources and reviews: scale, token, binding, eviction, finalize.

use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::auth;
use super::object;
use super::rbac;
use super::read::find;
use super::status::{Cause, Result, Status};
use super::store::{Clash, Expected};
use super::write::{Call, DeleteOptions, decode, delete, write};

/// Answers the reviews, which store nothing.
pub async fn review(call: &mut Call<'_>, body: Value) -> Result<(u16, Value)> {
    let kind = call.resource.kind.clone();
    let mut body = body;
    body["kind"] = kind.as_str().into();
    body["apiVersion"] = call.resource.api_version().into();
    let answer = match kind.as_str() {
        "TokenReview" => auth::review(call.api, body),
        "SelfSubjectReview" => {
            body["status"] = json!({"userInfo": auth::user_value(call.user)});
            body
        }
        "SelfSubjectRulesReview" => rbac::rules_review(call.api, call.user, body),
        "Binding" => return bind(call, object::name(&body).to_owned(), &body),
        _ => rbac::review(call.api, call.user, &kind, &call.info.namespace, body)?,
    };
    Ok((201, answer))
}

/// Everything else under an object.
pub async fn other(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let info = call.info;
    let resource = call.resource.clone();
    let core = |plural: &str| resource.is("", plural);
    match (info.verb, info.subresource.as_str()) {
        ("create", "token") if core("serviceaccounts") => {
            let account = find(call.api, info, &resource)?;
            auth::issue(
                call.api,
                &account.value,
                decode(headers, body, "TokenRequest")?,
            )
            .map(|token| (201, token))
        }
        ("create", "binding") if core("pods") => {
            let name = info.name.clone();
            bind(call, name, &decode(headers, body, "Binding")?)
        }
        ("create", "eviction") if core("pods") => {
            evict(call, &decode(headers, body, "Eviction")?).await
        }
        ("update", "finalize") if core("namespaces") => {
            finalize(call, decode(headers, body, "Namespace")?)
        }
        ("update" | "patch", "ephemeralcontainers" | "resize") if core("pods") => {
            Err(Status::method_not_allowed())
        }
        _ if resource.custom.is_some() => Err(Status::not_found(
            &resource.group,
            &resource.plural,
            &info.name,
        )),
        _ => Err(Status::no_resource()),
    }
}

/// Puts a pod on a node.
fn bind(call: &mut Call<'_>, name: String, body: &Value) -> Result<(u16, Value)> {
    let node = object::text(body, "target.name").to_owned();
    if node.is_empty() {
        return Err(Status::invalid(
            "",
            "Binding",
            &name,
            &[Cause::required("target.name", "")],
        ));
    }
    let resource = call
        .api
        .resource("", "v1", "pods")
        .ok_or_else(Status::no_resource)?;
    for _ in 0..20 {
        let Some(stored) = call.api.store.get("pods", &call.info.namespace, &name) else {
            return Err(Status::not_found("", "pods", &name));
        };
        let bound = object::text(&stored.value, "spec.nodeName");
        if !bound.is_empty() {
            return Err(Status::conflict(
                "",
                "pods/binding",
                &name,
                &format!("pod {name} is already assigned to node {bound:?}"),
            ));
        }
        if object::terminating(&stored.value) {
            return Err(Status::conflict(
                "",
                "pods/binding",
                &name,
                &format!("pod {name} is being deleted, cannot be assigned to a host"),
            ));
        }
        let mut pod = stored.value.clone();
        object::set(&mut pod, "spec.nodeName", node.as_str());
        let mut conditions = object::list(&pod, "status.conditions").to_vec();
        conditions.retain(|one| one["type"] != "PodScheduled");
        conditions.push(json!({
            "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": object::now(),
        }));
        object::set(&mut pod, "status.conditions", conditions);
        if call.dry_run
            || call
                .api
                .store
                .put(&resource.table, pod, Expected::Revision(stored.revision))
                .is_ok()
        {
            return Ok((
                201,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
            ));
        }
    }
    Err(Status::modified("", "pods", &name))
}

/// Deletes a pod if the disruption budgets allow it.
async fn evict(call: &mut Call<'_>, body: &Value) -> Result<(u16, Value)> {
    let pod = find(call.api, call.info, &call.resource)?;
    let budgets = call
        .api
        .store
        .all("policy/poddisruptionbudgets", &call.info.namespace);
    for budget in budgets {
        let selector = super::selector::Labels::from_object(&budget.value["spec"]["selector"]);
        let allowed =
            object::at(&budget.value, "status.disruptionsAllowed").and_then(Value::as_i64);
        if selector.matches(&pod.value) && allowed.unwrap_or(0) < 1 {
            let name = object::name(&budget.value);
            let mut status = Status::new(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
            status.details = Some(json!({"causes": [{
                "reason": "DisruptionBudget",
                "message": format!("The disruption budget {name} does not allow evicting pods currently"),
            }]}));
            return Err(status);
        }
    }
    let body = body["deleteOptions"].clone();
    let mut options = if body.is_object() {
        let bytes = Bytes::from(body.to_string());
        super::write::delete_options(call.info, &HeaderMap::new(), &bytes)?
    } else {
        DeleteOptions::default()
    };
    options.dry_run |= call.dry_run;
    delete(call, &options).await?;
    Ok((
        201,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

/// Takes finalizers from a namespace; the last one lets it go.
fn finalize(call: &mut Call<'_>, body: Value) -> Result<(u16, Value)> {
    let resource = call.resource.clone();
    let stored = find(call.api, call.info, &resource)?;
    let wanted = object::text(&body, "metadata.resourceVersion");
    if !wanted.is_empty() && wanted != stored.revision.to_string() {
        return Err(Status::modified("", "namespaces", &call.info.name));
    }
    let mut new = stored.value.clone();
    let left = object::list(&body, "spec.finalizers").to_vec();
    if left.is_empty() {
        object::remove(&mut new, "spec.finalizers");
    } else {
        object::set(&mut new, "spec.finalizers", left);
    }
    let written = write(call.api, &resource, &stored, new);
    let answer = written.map_err(|Clash| Status::modified("", "namespaces", &call.info.name))?;
    Ok((200, answer))
}

/// A label selector as the text that list requests take.
pub fn selector_text(selector: &Value) -> String {
    let mut parts: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    for expression in object::list(selector, "matchExpressions") {
        let key = object::text(expression, "key");
        let values: Vec<&str> = object::list(expression, "values")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        parts.push(match object::text(expression, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.sort();
    parts.join(",")
}
