//! Users and their access keys, with which permissions are tried out.

use serde_json::{Value, json};

use super::policy::{Document, Kind};
use super::{
    AccessKey, Handler, User, access_key_id, conflict, exists, limit, malformed, missing, new_name,
    page, required, secret, unique_id,
};
use crate::sandbox::aws::{Call, Fault};
use crate::sandbox::clock::iso8601;
use crate::sandbox::state::{ACCOUNT, State};

pub(super) const HANDLERS: &[(&str, Handler)] = &[
    ("CreateUser", create),
    ("GetUser", get),
    ("DeleteUser", delete),
    ("ListUsers", list),
    ("CreateAccessKey", create_key),
    ("DeleteAccessKey", delete_key),
    ("ListAccessKeys", list_keys),
    ("PutUserPolicy", put_policy),
    ("GetUserPolicy", get_policy),
    ("DeleteUserPolicy", delete_policy),
    ("ListUserPolicies", list_policies),
    ("AttachUserPolicy", attach),
    ("DetachUserPolicy", detach),
    ("ListAttachedUserPolicies", list_attached),
];

/// The user a call means: the caller, where it names none.
fn name(call: &Call<'_>) -> Result<String, Fault> {
    match call.text("UserName") {
        Some(name) => Ok(name),
        None => match call.caller.arn.split_once(":user/") {
            Some((_, name)) => Ok(name.to_owned()),
            None => Err(super::invalid(
                "Must specify userName when calling with non-User credentials",
            )),
        },
    }
}

fn find<'a>(state: &'a mut State, name: &str) -> Result<&'a mut User, Fault> {
    let user = state.iam.users.get_mut(name);
    user.ok_or_else(|| missing(format!("The user with name {name} cannot be found.")))
}

fn show(name: &str, user: &User) -> Value {
    json!({
        "Path": "/",
        "UserName": name,
        "UserId": user.id,
        "Arn": format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
        "CreateDate": iso8601(user.created),
    })
}

fn create(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = new_name(call, "UserName", 64)?;
    if state.iam.users.contains_key(&name) {
        return Err(exists(format!("User with name {name} already exists.")));
    }
    let user = User {
        id: unique_id(state, "AIDA"),
        created: call.world.clock.now(),
        ..User::default()
    };
    let shown = show(&name, &user);
    state.iam.users.insert(name, user);
    Ok(json!({"User": shown}))
}

fn get(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = name(call)?;
    Ok(json!({"User": show(&name, find(state, &name)?)}))
}

fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "UserName")?;
    let user = find(state, &name)?;
    if !user.attached.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must detach all policies first.",
        ));
    }
    if !user.inline.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must delete policies first.",
        ));
    }
    if state.iam.access_keys.values().any(|key| key.user == name) {
        return Err(conflict(
            "Cannot delete entity, must delete access keys first.",
        ));
    }
    state.iam.users.remove(&name);
    Ok(Value::Null)
}

fn list(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    page(
        call,
        "Users",
        state
            .iam
            .users
            .iter()
            .map(|(name, user)| (name.clone(), show(name, user))),
    )
}

fn create_key(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = name(call)?;
    find(state, &name)?;
    if state
        .iam
        .access_keys
        .values()
        .filter(|key| key.user == name)
        .count()
        >= 2
    {
        return Err(limit("Cannot exceed quota for AccessKeysPerUser: 2"));
    }
    let (id, secret) = (access_key_id(state, "AKIA"), secret(40));
    let shown = json!({
        "UserName": name,
        "AccessKeyId": id,
        "Status": "Active",
        "SecretAccessKey": secret,
        "CreateDate": iso8601(call.world.clock.now()),
    });
    state
        .iam
        .access_keys
        .insert(id, AccessKey { user: name, secret });
    Ok(json!({"AccessKey": shown}))
}

fn delete_key(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, id) = (name(call)?, required(call, "AccessKeyId")?);
    match state.iam.access_keys.get(&id) {
        Some(key) if key.user == name => {
            state.iam.access_keys.remove(&id);
            Ok(Value::Null)
        }
        _ => Err(missing(format!(
            "The Access Key with id {id} cannot be found."
        ))),
    }
}

fn list_keys(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = name(call)?;
    let created = iso8601(find(state, &name)?.created);
    let keys = state
        .iam
        .access_keys
        .iter()
        .filter(|(_, key)| key.user == name);
    let keys = keys.map(|(id, key)| {
        let shown = json!({"UserName": key.user, "AccessKeyId": id, "Status": "Active", "CreateDate": created});
        (id.clone(), shown)
    });
    page(call, "AccessKeyMetadata", keys)
}

fn put_policy(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (policy, document) = (
        new_name(call, "PolicyName", 128)?,
        required(call, "PolicyDocument")?,
    );
    let user = find(state, &required(call, "UserName")?)?;
    Document::parse(&document, Kind::Identity).map_err(malformed)?;
    user.inline.insert(policy, document);
    Ok(Value::Null)
}

fn no_policy(policy: &str) -> Fault {
    missing(format!(
        "The user policy with name {policy} cannot be found."
    ))
}

fn get_policy(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, policy) = (required(call, "UserName")?, required(call, "PolicyName")?);
    let user = find(state, &name)?;
    let document = user.inline.get(&policy).ok_or_else(|| no_policy(&policy))?;
    Ok(
        json!({"UserName": name, "PolicyName": policy, "PolicyDocument": super::show_document(document)}),
    )
}

fn delete_policy(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = required(call, "PolicyName")?;
    let user = find(state, &required(call, "UserName")?)?;
    user.inline
        .remove(&policy)
        .map(|_| Value::Null)
        .ok_or_else(|| no_policy(&policy))
}

fn list_policies(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let user = find(state, &required(call, "UserName")?)?;
    page(
        call,
        "PolicyNames",
        user.inline.keys().map(|name| (name.clone(), json!(name))),
    )
}

fn attach(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, policy) = (required(call, "UserName")?, required(call, "PolicyArn")?);
    find(state, &name)?;
    state.iam.attachable(&policy)?;
    let user = find(state, &name)?;
    if !user.attached.contains(&policy) {
        if user.attached.len() >= 10 {
            return Err(limit("Cannot exceed quota for PoliciesPerUser: 10"));
        }
        user.attached.push(policy);
    }
    Ok(Value::Null)
}

fn detach(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = required(call, "PolicyArn")?;
    let user = find(state, &required(call, "UserName")?)?;
    let before = user.attached.len();
    user.attached.retain(|attached| *attached != policy);
    match user.attached.len() == before {
        true => Err(missing(format!("Policy {policy} was not found."))),
        false => Ok(Value::Null),
    }
}

fn list_attached(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let user = find(state, &required(call, "UserName")?)?;
    let policies = user.attached.iter().map(|arn| {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        (arn.clone(), json!({"PolicyName": name, "PolicyArn": arn}))
    });
    page(call, "AttachedPolicies", policies)
}
