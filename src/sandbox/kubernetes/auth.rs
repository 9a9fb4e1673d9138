//! Who calls: the admin's token, service accounts' tokens, and whoever the hook knows; and making such tokens.

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::api::Api;
use super::object;
use super::request::Info;
use super::status::{Cause, Result, Status};
use super::{UserInfo, rbac};

/// What the API server itself is called in a token's audiences.
const AUDIENCE: &str = "https://kubernetes.default.svc";

/// Finds out who sent a request, impersonation included.
pub fn authenticate(api: &Api, headers: &HeaderMap) -> Result<UserInfo> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let mut user = match header("authorization") {
        None => UserInfo {
            username: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            ..UserInfo::default()
        },
        Some(value) => {
            let token = value
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim());
            let mut user = token
                .and_then(|token| bearer(api, token))
                .ok_or_else(Status::unauthorized)?;
            user.groups.push("system:authenticated".into());
            user
        }
    };
    if let Some(name) = header("impersonate-user") {
        let groups: Vec<String> = headers
            .get_all("impersonate-group")
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_owned))
            .collect();
        let wanted = std::iter::once(("users", name))
            .chain(groups.iter().map(|group| ("groups", group.as_str())));
        for (resource, name) in wanted {
            let info = Info {
                verb: "impersonate",
                resource_request: true,
                resource: resource.into(),
                name: name.into(),
                ..Info::default()
            };
            rbac::authorize(api, &user, &info)?;
        }
        user = UserInfo {
            username: name.to_owned(),
            groups,
            ..UserInfo::default()
        };
        if user.groups.is_empty()
            && let Some(account) = name.strip_prefix("system:serviceaccount:")
            && let Some((namespace, _)) = account.split_once(':')
        {
            user.groups.push("system:serviceaccounts".into());
            user.groups
                .push(format!("system:serviceaccounts:{namespace}"));
        }
        user.groups.push("system:authenticated".into());
    }
    Ok(user)
}

/// Whose token this is.
fn bearer(api: &Api, token: &str) -> Option<UserInfo> {
    if token == api.admin_token {
        return Some(UserInfo {
            username: "system:admin".into(),
            groups: vec!["system:masters".into()],
            ..UserInfo::default()
        });
    }
    if let Some(claims) = api.keys.verify(token) {
        return service_account(api, &claims, &[]).ok();
    }
    api.options
        .authenticate
        .as_ref()
        .and_then(|known| known(token))
}

/// The service account that a token's claims speak for. With no audiences, the token must be meant for this server.
fn service_account(
    api: &Api,
    claims: &Value,
    audiences: &[&str],
) -> std::result::Result<UserInfo, String> {
    let now = jiff::Timestamp::now().as_second();
    if claims["exp"].as_i64().is_none_or(|end| end < now) {
        return Err("service account token has expired".into());
    }
    let own = [AUDIENCE, api.options.issuer.as_str()];
    let wanted = if audiences.is_empty() {
        &own[..]
    } else {
        audiences
    };
    let meant = object::list(claims, "aud")
        .iter()
        .filter_map(Value::as_str)
        .any(|audience| wanted.contains(&audience));
    if !meant {
        return Err(format!(
            "token audiences {} is invalid for the target audiences {wanted:?}",
            claims["aud"]
        ));
    }
    let private = &claims["kubernetes.io"];
    let namespace = object::text(private, "namespace");
    let name = object::text(private, "serviceaccount.name");
    let account = api.store.get("serviceaccounts", namespace, name);
    if account.is_none_or(|account| {
        object::uid(&account.value) != object::text(private, "serviceaccount.uid")
    }) {
        return Err(format!(
            "service account {namespace}/{name} has been deleted"
        ));
    }
    let mut extra = vec![(
        "authentication.kubernetes.io/credential-id".to_owned(),
        vec![format!("JTI={}", object::text(claims, "jti"))],
    )];
    if let Some(pod) = private.get("pod") {
        let found = api.store.get("pods", namespace, object::text(pod, "name"));
        if found.is_none_or(|found| object::uid(&found.value) != object::text(pod, "uid")) {
            return Err("service account token has been invalidated".into());
        }
        for (key, field) in [("pod-name", "name"), ("pod-uid", "uid")] {
            extra.push((
                format!("authentication.kubernetes.io/{key}"),
                vec![object::text(pod, field).to_owned()],
            ));
        }
    }
    Ok(UserInfo {
        username: format!("system:serviceaccount:{namespace}:{name}"),
        uid: object::text(private, "serviceaccount.uid").to_owned(),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
        ],
        extra,
    })
}

/// Fills in what a request for a token leaves open, and checks it.
pub fn complete(account: &Value, request: &mut Value) -> Result<()> {
    let metadata = [
        ("name", object::name(account)),
        ("namespace", object::namespace(account)),
        ("uid", object::uid(account)),
    ];
    for (field, known) in metadata {
        if object::text(&request["metadata"], field).is_empty() {
            request["metadata"][field] = known.into();
        }
    }
    request["metadata"]["creationTimestamp"] = object::now().into();
    if object::list(request, "spec.audiences").is_empty() {
        object::set(request, "spec.audiences", json!([AUDIENCE]));
    }
    object::default(request, "spec.expirationSeconds", 3600);
    request["status"] = json!({"expirationTimestamp": null, "token": ""});
    let seconds = &request["spec"]["expirationSeconds"];
    let why = match seconds.as_i64() {
        Some(..600) => "may not specify a duration less than 10 minutes",
        Some(0x1_0000_0001..) => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let cause = Cause::invalid("spec.expirationSeconds", seconds, why);
    Err(Status::invalid(
        "authentication.k8s.io",
        "TokenRequest",
        "",
        &[cause],
    ))
}

/// Issues the token of a complete request.
pub fn issue(api: &Api, account: &Value, mut request: Value) -> Result<Value> {
    let (namespace, name) = (object::namespace(account), object::name(account));
    let seconds = request["spec"]["expirationSeconds"]
        .as_i64()
        .unwrap_or(3600);
    let audiences = object::list(&request, "spec.audiences").to_vec();
    let mut private = json!({
        "namespace": namespace,
        "serviceaccount": {"name": name, "uid": object::uid(account)},
    });
    let bound = &request["spec"]["boundObjectRef"];
    if bound.is_object() {
        let (kind, wanted) = (object::text(bound, "kind"), object::text(bound, "name"));
        let table = match kind {
            "Pod" => "pods",
            "Secret" => "secrets",
            "Node" => "nodes",
            _ => {
                let (group, version) = object::group_version(object::text(bound, "apiVersion"));
                return Err(Status::bad_request(format!(
                    "cannot bind token to object of type {group}/{version}, Kind={kind}"
                )));
            }
        };
        let space = if table == "nodes" { "" } else { namespace };
        let object = api
            .store
            .get(table, space, wanted)
            .ok_or_else(|| Status::not_found("", table, wanted))?;
        let uid = object::text(bound, "uid");
        if !uid.is_empty() && uid != object::uid(&object.value) {
            return Err(Status::conflict(
                "",
                kind,
                wanted,
                &format!(
                    "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
                ),
            ));
        }
        private[kind.to_lowercase()] = json!({"name": wanted, "uid": object::uid(&object.value)});
        if table == "pods" {
            if object::text(&object.value, "spec.serviceAccountName") != name {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
                )));
            }
            let node = object::text(&object.value, "spec.nodeName");
            if let Some(node) = api.store.get("nodes", "", node) {
                private["node"] =
                    json!({"name": object::name(&node.value), "uid": object::uid(&node.value)});
            }
        }
    }
    let now = jiff::Timestamp::now().as_second();
    let end = now + seconds;
    let token = api.keys.sign(&json!({
        "aud": audiences,
        "exp": end,
        "iat": now,
        "iss": api.options.issuer,
        "jti": object::new_uid(),
        "kubernetes.io": private,
        "nbf": now,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    }));
    let expires = jiff::Timestamp::from_second(end)
        .map(object::stamp)
        .unwrap_or_default();
    object::set(
        &mut request,
        "status",
        json!({"token": token, "expirationTimestamp": expires}),
    );
    Ok(request)
}

/// Answers a TokenReview.
pub fn review(api: &Api, mut review: Value) -> Value {
    let token = object::text(&review, "spec.token").to_owned();
    let audiences = object::list(&review, "spec.audiences").to_vec();
    let words: Vec<&str> = audiences.iter().filter_map(Value::as_str).collect();
    let found = match api.keys.verify(&token) {
        Some(claims) => service_account(api, &claims, &words),
        None => bearer(api, &token).ok_or_else(|| "invalid bearer token".into()),
    };
    review["status"] = match found {
        Ok(mut user) => {
            user.groups.push("system:authenticated".into());
            let audiences = if audiences.is_empty() {
                vec![Value::from(AUDIENCE)]
            } else {
                audiences
            };
            json!({"authenticated": true, "user": user_value(&user), "audiences": audiences})
        }
        Err(error) => json!({"authenticated": false, "error": error}),
    };
    review
}

/// A user as `UserInfo` objects show it.
pub fn user_value(user: &UserInfo) -> Value {
    let mut value = json!({"username": user.username, "groups": user.groups});
    if !user.uid.is_empty() {
        value["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        value["extra"] = user
            .extra
            .iter()
            .map(|(key, values)| (key.clone(), Value::from(values.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    value
}
