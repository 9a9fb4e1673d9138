//! Mutating and validating webhooks: which are asked, what, and what their answers do.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::auth::user_value;
use super::super::crd::cel;
use super::super::object;
use super::super::patch;
use super::super::read::external;
use super::super::selector::Labels;
use super::super::status::{Result, Status};
use super::Attributes;
use super::calling::{Trouble, call};

const MUTATING: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
const VALIDATING: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";

/// What a webhook may give as the reason of its refusal.
const REASONS: &[&str] = &[
    "AlreadyExists",
    "BadRequest",
    "Conflict",
    "Expired",
    "Forbidden",
    "Gone",
    "InternalError",
    "Invalid",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotFound",
    "RequestEntityTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "UnsupportedMediaType",
];

/// The calls of mutating webhooks for one object, of which there may be a second round.
#[derive(Default)]
pub struct Rounds {
    second: bool,
    /// Who is to see again what others change after it.
    watching: HashSet<(String, usize)>,
    /// Who is called in the second round.
    due: HashSet<(String, usize)>,
    /// What the first round ended with.
    left: Value,
}

impl Rounds {
    /// Something has changed: whoever wanted to see that will.
    fn changed(&mut self) {
        self.due.extend(self.watching.drain());
    }
}

/// Calls the mutating webhooks in the order of their configurations' names. The object is `Null` when it is deleted. Says
/// whether one of them changed it.
pub async fn mutate(
    attributes: &Attributes<'_>,
    object: &mut Value,
    old: Option<&Value>,
    rounds: &mut Rounds,
) -> Result<bool> {
    if exempt(attributes) {
        return Ok(false);
    }
    if rounds.second && rounds.left != *object {
        rounds.changed();
    }
    let mut changed = false;
    for configuration in attributes.api.store.all(MUTATING, "") {
        let hooks = object::list(&configuration.value, "webhooks");
        for (index, hook) in hooks.iter().enumerate() {
            let shown = Some(&*object).filter(|object| !object.is_null());
            if !matches(attributes, hook, shown, old)? {
                continue;
            }
            let key = (object::name(&configuration.value).to_owned(), index);
            if rounds.second && !rounds.due.contains(&key) {
                continue;
            }
            let response = ask(attributes, hook, shown, old).await?;
            let patch = response.as_ref().and_then(|it| it["patch"].as_str());
            if let Some(patch) = patch.filter(|patch| !patch.is_empty()) {
                let before = object.clone();
                patched(hook, object, patch)?;
                if before != *object {
                    changed = true;
                    rounds.changed();
                }
            }
            if hook["reinvocationPolicy"] == "IfNeeded" {
                rounds.watching.insert(key);
            }
        }
    }
    rounds.second = true;
    rounds.left = object.clone();
    Ok(changed)
}

fn patched(hook: &Value, object: &mut Value, patch: &str) -> Result<()> {
    let name = object::text(hook, "name");
    let undecodable = |error: String| {
        Status::internal(format!(
            "failed calling webhook {name:?}: received undecodable patch in webhook response: {error}"
        ))
    };
    let patch = STANDARD
        .decode(patch)
        .map_err(|error| undecodable(error.to_string()))?;
    let patch: Value =
        serde_json::from_slice(&patch).map_err(|error| undecodable(error.to_string()))?;
    if patch.as_array().is_none_or(Vec::is_empty) {
        return Ok(());
    }
    if object.is_null() {
        return Err(Status::internal(format!(
            "admission webhook {name:?} attempted to modify the object, which is not supported for this operation"
        )));
    }
    patch::apply(object, &patch).map_err(Status::internal)
}

/// Calls the validating webhooks.
pub async fn validate(
    attributes: &Attributes<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<()> {
    if exempt(attributes) {
        return Ok(());
    }
    for configuration in attributes.api.store.all(VALIDATING, "") {
        for hook in object::list(&configuration.value, "webhooks") {
            if matches(attributes, hook, object, old)? {
                ask(attributes, hook, object, old).await?;
            }
        }
    }
    Ok(())
}

/// Webhooks are not asked about webhooks, or nobody could repair a broken one.
fn exempt(attributes: &Attributes<'_>) -> bool {
    attributes.resource.group == "admissionregistration.k8s.io"
}

fn matches(
    attributes: &Attributes<'_>,
    hook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<bool> {
    let resource = attributes.resource;
    let has = |rule: &Value, field: &str, wanted: &str| {
        object::list(rule, field)
            .iter()
            .any(|one| one == "*" || one == wanted)
    };
    let full = if attributes.subresource.is_empty() {
        resource.plural.clone()
    } else {
        format!("{}/{}", resource.plural, attributes.subresource)
    };
    let equivalent = hook["matchPolicy"] != "Exact";
    let ruled = object::list(hook, "rules").iter().any(|rule| {
        let scope = match object::text(rule, "scope") {
            "Namespaced" => resource.namespaced,
            "Cluster" => !resource.namespaced,
            _ => true,
        };
        let named = object::list(rule, "resources").iter().any(|one| {
            let one = one.as_str().unwrap_or("");
            let (name, sub) = one.split_once('/').unwrap_or((one, ""));
            one == "*/*"
                || one == full
                || (name == "*" || name == resource.plural)
                    && (sub == "*" || sub == attributes.subresource)
        });
        scope
            && named
            && has(rule, "operations", attributes.operation)
            && has(rule, "apiGroups", &resource.group)
            && (equivalent || has(rule, "apiVersions", &resource.version))
    });
    if !ruled {
        return Ok(false);
    }
    let selector = Labels::from_object(&hook["objectSelector"]);
    let selected = selector.is_empty()
        || object.is_some_and(|object| selector.matches(object))
        || old.is_some_and(|old| selector.matches(old));
    if !selected || !in_namespace(attributes, hook, object.or(old)) {
        return Ok(false);
    }
    conditions(attributes, hook, object, old)
}

/// Whether the conditions of a webhook are all true. One that cannot be told is as its failure policy says.
fn conditions(
    attributes: &Attributes<'_>,
    hook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<bool> {
    let conditions = object::list(hook, "matchConditions");
    if conditions.is_empty() {
        return Ok(true);
    }
    let mut request = review(attributes, "", object, old)["request"].take();
    let name = object::text(&request, "name").to_owned();
    let mut take = |field: &str| request[field].take();
    let (object, old) = (take("object"), take("oldObject"));
    if let Some(fields) = request.as_object_mut() {
        fields.retain(|field, _| !matches!(field.as_str(), "uid" | "object" | "oldObject"));
    }
    let variables = [("object", object), ("oldObject", old), ("request", request)];
    let mut wrong = Vec::new();
    for condition in conditions {
        let expression = object::text(condition, "expression");
        match cel::judge(expression, &variables) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => wrong.push(format!(
                "expression '{expression}' resulted in error: {why}"
            )),
        }
    }
    if wrong.is_empty() {
        return Ok(true);
    }
    if hook["failurePolicy"] == "Ignore" {
        return Ok(false);
    }
    let why = match wrong.as_slice() {
        [one] => one.clone(),
        more => format!("[{}]", more.join(", ")),
    };
    let (group, plural) = (&attributes.resource.group, &attributes.resource.plural);
    Err(Status::forbidden(group, plural, &name, &why))
}

fn in_namespace(attributes: &Attributes<'_>, hook: &Value, object: Option<&Value>) -> bool {
    let selector = Labels::from_object(&hook["namespaceSelector"]);
    if selector.is_empty() {
        return true;
    }
    if attributes.resource.is("", "namespaces") {
        return object.is_some_and(|object| selector.matches(object));
    }
    if attributes.namespace.is_empty() {
        return true;
    }
    attributes
        .api
        .store
        .get("namespaces", "", attributes.namespace)
        .is_some_and(|namespace| selector.matches(&namespace.value))
}

/// Asks a webhook. Its response when it allows; nothing when it could not be asked and may be left out.
async fn ask(
    attributes: &Attributes<'_>,
    hook: &Value,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Option<Value>> {
    let name = object::text(hook, "name");
    if attributes.dry_run && !matches!(object::text(hook, "sideEffects"), "None" | "NoneOnDryRun") {
        return Err(Status::bad_request(format!(
            "admission webhook {name:?} does not support dry run"
        )));
    }
    let uid = object::new_uid();
    let review = review(attributes, &uid, object, old);
    let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(10).clamp(1, 30);
    let failed = |error: String| {
        if hook["failurePolicy"] == "Ignore" {
            Ok(None)
        } else {
            Err(Status::internal(format!(
                "failed calling webhook {name:?}: {error}"
            )))
        }
    };
    let (url, answer) = call(attributes, &hook["clientConfig"], &review, seconds).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(Trouble::Connect(error)) => {
            return failed(format!("failed to call webhook: Post {url:?}: {error}"));
        }
        Err(Trouble::Answer(error)) => return failed(format!("failed to call webhook: {error}")),
    };
    let response = &answer["response"];
    if !response.is_object() {
        return failed(format!("expected response, got {answer}"));
    }
    if response["uid"] != uid.as_str() {
        let got = object::text(response, "uid");
        return failed(format!(
            "received invalid webhook response: expected response.uid={uid:?}, got {got:?}"
        ));
    }
    for warning in object::list(response, "warnings") {
        attributes.warn(warning.as_str().unwrap_or(""));
    }
    if response["allowed"] == true {
        return Ok(Some(response.clone()));
    }
    let status = &response["status"];
    let why = ["message", "reason"]
        .into_iter()
        .map(|field| object::text(status, field))
        .find(|text| !text.is_empty());
    let message = match why {
        Some(why) => format!("admission webhook {name:?} denied the request: {why}"),
        None => format!("admission webhook {name:?} denied the request without explanation"),
    };
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| *code >= 400)
        .unwrap_or(400);
    // The reason is the webhook's, or none.
    let reason = REASONS
        .iter()
        .find(|reason| **reason == object::text(status, "reason"))
        .unwrap_or(&"");
    let mut refused = Status::new(code, reason, message);
    refused.details = status
        .get("details")
        .filter(|details| details.is_object())
        .cloned();
    Err(refused)
}

fn review(
    attributes: &Attributes<'_>,
    uid: &str,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Value {
    let resource = attributes.resource;
    let kind = attributes.kind;
    let shown = |value: Option<&Value>| {
        let mut shown = value.map_or(Value::Null, |value| external(kind, value).into_owned());
        // A structure that is no pointer in Go is always there.
        let typed = kind.custom.is_none() && shown.is_object();
        for field in ["spec", "status"] {
            if typed && kind.schema().field(field).is_some() {
                let balanced = matches!(kind.plural.as_str(), "services" | "ingresses");
                let empty = match balanced && field == "status" {
                    true => json!({"loadBalancer": {}}),
                    false => json!({}),
                };
                object::default(&mut shown, field, empty);
            }
        }
        shown
    };
    let kind = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let plural =
        json!({"group": resource.group, "version": resource.version, "resource": resource.plural});
    let mut options = attributes.options.clone();
    options["kind"] = match attributes.operation {
        "CREATE" => "CreateOptions",
        "DELETE" => "DeleteOptions",
        _ => "UpdateOptions",
    }
    .into();
    options["apiVersion"] = "meta.k8s.io/v1".into();
    let mut request = json!({
        "uid": uid,
        "kind": kind,
        "resource": plural,
        "requestKind": kind,
        "requestResource": plural,
        "operation": attributes.operation,
        "userInfo": user_value(attributes.user),
        "dryRun": attributes.dry_run,
        "options": options,
    });
    // Moved, where `json!` would copy them whole.
    request["object"] = shown(object);
    request["oldObject"] = shown(old);
    // A name that is still to be made is none, nor is that of one of a collection.
    let name = match (attributes.operation, object) {
        ("CREATE", Some(object)) if attributes.subresource.is_empty() => object::name(object),
        _ => attributes.name,
    };
    if !name.is_empty() {
        request["name"] = name.into();
    }
    if !attributes.namespace.is_empty() {
        request["namespace"] = attributes.namespace.into();
    } else if resource.is("", "namespaces") {
        request["namespace"] = attributes.name.into();
    }
    if !attributes.subresource.is_empty() {
        request["subResource"] = attributes.subresource.into();
        request["requestSubResource"] = attributes.subresource.into();
    }
    let mut review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"});
    review["request"] = request;
    review
}
