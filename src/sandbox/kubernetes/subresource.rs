//! Subresources and reviews: scale, token, binding, eviction, finalize.

use std::sync::{Arc, OnceLock};

use hyper::HeaderMap;
use hyper::body::Bytes;
use k8s_openapi::api::{
    authentication::v1 as authentication, core::v1 as core, policy::v1 as policy,
};
use serde_json::{Value, json};

use super::admission::{self, Attributes};
use super::auth;
use super::evict;
use super::object;
use super::options;
use super::rbac;
use super::read::find;
use super::reflect;
use super::resources::{Resource, Shape};
use super::schema::Schema;
use super::status::{Cause, Result, Status};
use super::store::Expected;
use super::write::{self, Call, decode};

/// Answers the reviews, which store nothing, and bindings.
pub async fn review(
    call: &mut Call<'_>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(u16, Value)> {
    if call.resource.is("", "bindings") {
        return bind(call, headers, body).await;
    }
    let body = decode(headers, body, &call.resource.kind)?;
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
        _ => rbac::review(call.api, call.user, &kind, &call.info.namespace, body)?,
    };
    Ok((201, answer))
}

/// Everything else under an object.
pub async fn other(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let info = call.info;
    let resource = call.resource.clone();
    let of_core = |plural: &str| resource.is("", plural);
    match (info.verb, info.subresource.as_str()) {
        ("create", "token") if of_core("serviceaccounts") => token(call, headers, body).await,
        ("create", "binding") if of_core("pods") => bind(call, headers, body).await,
        ("create", "eviction") if of_core("pods") => {
            let (mut call, eviction) = created(call, kind("Eviction"), headers, body).await?;
            evict::evict(&mut call, eviction).await
        }
        ("update", "finalize") if of_core("namespaces") => {
            write::replace(call, headers, body).await
        }
        (_, "binding" | "eviction") | ("update" | "patch", "ephemeralcontainers" | "resize")
            if of_core("pods") =>
        {
            Err(Status::method_not_allowed())
        }
        (_, "token") if of_core("serviceaccounts") => Err(Status::method_not_allowed()),
        (_, "finalize") if of_core("namespaces") => Err(Status::method_not_allowed()),
        _ if resource.custom.is_some() => Err(Status::not_found(
            &resource.group,
            &resource.plural,
            &info.name,
        )),
        _ => Err(Status::no_resource()),
    }
}

/// The kinds that are made under another object, as if they were resources of their own.
fn kind(name: &str) -> Arc<Resource> {
    static KINDS: [OnceLock<Arc<Resource>>; 3] = [const { OnceLock::new() }; 3];
    let (place, group, schema): (_, _, fn() -> Arc<Schema>) = match name {
        "Eviction" => (0, "policy", reflect::of::<policy::Eviction>),
        "Binding" => (1, "", reflect::of::<core::Binding>),
        _ => (
            2,
            "authentication.k8s.io",
            reflect::of::<authentication::TokenRequest>,
        ),
    };
    let resource = KINDS[place].get_or_init(|| {
        Arc::new(Resource {
            group: group.into(),
            version: "v1".into(),
            plural: String::new(),
            singular: String::new(),
            kind: name.into(),
            list_kind: String::new(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            review: false,
            status: false,
            scale: None,
            generation: false,
            schema: Shape::Builtin(schema, OnceLock::new()),
            custom: None,
            table: String::new(),
        })
    });
    resource.clone()
}

/// What such a kind has in any case.
fn empty(kind: &str) -> Value {
    match kind {
        "TokenRequest" => json!({
            "spec": {"audiences": null, "boundObjectRef": null},
            "status": {"expirationTimestamp": null, "token": ""},
        }),
        "Binding" => json!({"target": {}}),
        _ => json!({}),
    }
}

/// Puts what is missing into an object.
fn fill(object: &mut Value, missing: &Value) {
    for (key, item) in missing.as_object().into_iter().flatten() {
        if !item.is_object() {
            object::default(object, key, item.clone());
            continue;
        }
        object::default(object, key, json!({}));
        fill(&mut object[key], item);
    }
}

/// What is made under an object: read, and changed by admission. The call is about the object.
async fn created<'a>(
    call: &mut Call<'a>,
    kind: Arc<Resource>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<(Call<'a>, Made)> {
    options::writing(call.info, "CreateOptions", None)?;
    let mut inner = Call {
        resource: kind.clone(),
        ..call.clone()
    };
    let mut object = write::whole(&mut inner, headers, body)?;
    call.warnings = std::mem::take(&mut inner.warnings);
    // Which version of the object they are about stays.
    let preserved = matches!(kind.kind.as_str(), "Binding" | "TokenRequest");
    if !preserved {
        write::wipe_system_fields(&mut object);
    }
    write::place_in(&inner, &mut object)?;
    // What is new of it is what the empty one has not.
    let empty = empty(&kind.kind);
    fill(&mut object, &empty);
    if kind.kind == "TokenRequest" {
        object::default(&mut object, "spec.expirationSeconds", 3600);
    }
    inner.track(&Value::Null, &mut object);
    let name = match call.info.name.as_str() {
        "" => object::name(&object).to_owned(),
        name => name.to_owned(),
    };
    let attributes = Attributes {
        kind: &kind,
        ..call.attributes("CREATE", &name)
    };
    admission::lifecycle(&attributes)?;
    admission::mutate(&attributes, &mut object, None).await?;
    inner.shape(&mut object, false)?;
    fill(&mut object, &empty);
    let made = Made { name, kind, object };
    Ok((call.clone(), made))
}

/// Something that was made under an object.
pub struct Made {
    /// The name of the object.
    pub name: String,
    /// Its kind.
    pub kind: Arc<Resource>,
    /// Itself.
    pub object: Value,
}

impl Made {
    /// Lets admission refuse it.
    pub async fn admit(&self, call: &Call<'_>) -> Result<()> {
        let attributes = Attributes {
            kind: &self.kind,
            ..call.attributes("CREATE", &self.name)
        };
        admission::validate(&attributes, Some(&self.object), None).await
    }
}

/// That it was done.
pub fn done() -> (u16, Value) {
    (
        201,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    )
}

/// Issues a token for a service account.
async fn token(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let (call, mut made) = created(call, kind("TokenRequest"), headers, body).await?;
    let said = |path: &str| object::text(&made.object, path).to_owned();
    let invalid = |cause: Cause, name: &str| {
        Status::invalid("authentication.k8s.io", "TokenRequest", name, &[cause])
    };
    for (field, wanted) in [("name", &made.name), ("namespace", &call.info.namespace)] {
        let path = format!("metadata.{field}");
        let given = said(&path);
        if !given.is_empty() && given != *wanted {
            let field = match field {
                "name" => "name",
                _ => "namespace",
            };
            let why = format!("must match the service account {field} if specified");
            let cause = Cause::invalid(path, &given.into(), why);
            return Err(invalid(cause, &made.name));
        }
    }
    let account = find(call.api, call.info, &call.resource)?;
    let (given, uid) = (said("metadata.uid"), object::uid(&account.value));
    if !given.is_empty() && given != uid {
        let why = format!(
            "the UID in the token request ({given}) does not match the UID of the service account ({uid})"
        );
        return Err(Status::conflict(
            "authentication.k8s.io",
            "TokenRequest",
            &made.name,
            &why,
        ));
    }
    auth::complete(&account.value, &mut made.object)?;
    made.admit(&call).await?;
    auth::issue(call.api, &account.value, made.object).map(|token| (201, token))
}

/// Puts a pod on a node.
async fn bind(call: &mut Call<'_>, headers: &HeaderMap, body: &Bytes) -> Result<(u16, Value)> {
    let (call, made) = created(call, kind("Binding"), headers, body).await?;
    let (name, binding) = (&made.name, &made.object);
    if name != object::name(binding) {
        return Err(Status::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    let node = object::text(binding, "target.name").to_owned();
    let mut wrong = Vec::new();
    let target = object::text(binding, "target.kind");
    if !matches!(target, "" | "Node") {
        let given = binding["target"]["kind"].clone();
        wrong.push(Cause::unsupported(
            "target.kind",
            &given,
            &["Node", "<empty>"],
        ));
    }
    if node.is_empty() {
        wrong.push(Cause::required("target.name", ""));
    }
    if !wrong.is_empty() {
        // As they are, without a kind.
        let said: Vec<String> = wrong
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let why = match said.as_slice() {
            [one] => one.clone(),
            more => format!("[{}]", more.join(", ")),
        };
        return Err(Status::new(500, "", why));
    }
    made.admit(&call).await?;
    let resource = call
        .api
        .resource("", "v1", "pods")
        .ok_or_else(Status::no_resource)?;
    let conflict = |why: &str| Status::conflict("", "pods/binding", name, why);
    for _ in 0..20 {
        let Some(stored) = call.api.store.get("pods", &call.info.namespace, name) else {
            return Err(Status::not_found("", "pods", name));
        };
        let found = stored.revision.to_string();
        for (what, path, found) in [
            ("UID", "metadata.uid", object::uid(&stored.value)),
            ("ResourceVersion", "metadata.resourceVersion", &found),
        ] {
            let wanted = object::text(binding, path);
            if !wanted.is_empty() && wanted != found {
                let why = format!(
                    "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
                );
                return Err(Status::conflict("", "pods", name, &why));
            }
        }
        if object::terminating(&stored.value) {
            return Err(conflict(&format!(
                "pod {name} is being deleted, cannot be assigned to a host"
            )));
        }
        let bound = object::text(&stored.value, "spec.nodeName");
        if !bound.is_empty() {
            return Err(conflict(&format!(
                "pod {name} is already assigned to node {bound:?}"
            )));
        }
        if !object::list(&stored.value, "spec.schedulingGates").is_empty() {
            return Err(conflict(&format!(
                "pod {name} has non-empty .spec.schedulingGates"
            )));
        }
        let mut pod = stored.value.clone();
        object::set(&mut pod, "spec.nodeName", node.as_str());
        object::remove(&mut pod, "status.nominatedNodeName");
        for place in ["annotations", "labels"] {
            let given = binding["metadata"][place].as_object();
            for (key, value) in given.into_iter().flatten() {
                pod["metadata"][place][key] = value.clone();
            }
        }
        say(&mut pod, json!({"type": "PodScheduled", "status": "True"}));
        if call.dry_run
            || call
                .api
                .store
                .put(&resource.table, pod, Expected::Revision(stored.revision))
                .is_ok()
        {
            return Ok(done());
        }
    }
    Err(Status::modified("", "pods", name))
}

/// Puts a condition into a pod's status; its moment is now unless it was so before.
pub fn say(pod: &mut Value, mut condition: Value) {
    let mut conditions = object::list(pod, "status.conditions").to_vec();
    let place = conditions
        .iter()
        .position(|one| one["type"] == condition["type"]);
    let before = place.map(|place| &conditions[place]);
    let same = before.filter(|before| before["status"] == condition["status"]);
    condition["lastProbeTime"] = Value::Null;
    condition["lastTransitionTime"] = match same {
        Some(before) => before["lastTransitionTime"].clone(),
        None => object::now().into(),
    };
    match place {
        Some(place) => conditions[place] = condition,
        None => conditions.push(condition),
    }
    object::set(pod, "status.conditions", conditions);
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
