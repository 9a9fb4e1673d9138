//! Roles with their inline and attached policies.

use serde_json::{Value, json};

use super::policy::{Document, Kind};
use super::{
    Handler, Role, access, add_tags, conflict, exists, invalid, limit, linked, malformed, missing,
    new_name, page, path, remove_tags, required, show_document, show_tags, tags, unique_id,
};
use crate::sandbox::aws::{Call, Fault};
use crate::sandbox::clock::iso8601;
use crate::sandbox::state::State;

/// The quotas of a new account.
const POLICIES_PER_ROLE: usize = 10;
const ROLES: usize = 1000;
const TRUST_SIZE: usize = 2048;
const INLINE_SIZE: usize = 10_240;

pub(super) const HANDLERS: &[(&str, Handler)] = &[
    ("CreateRole", create),
    ("GetRole", get),
    ("DeleteRole", delete),
    ("ListRoles", list),
    ("UpdateRole", update),
    ("UpdateRoleDescription", update_description),
    ("UpdateAssumeRolePolicy", update_trust),
    ("PutRolePermissionsBoundary", bound),
    ("DeleteRolePermissionsBoundary", unbound),
    ("TagRole", tag),
    ("UntagRole", untag),
    ("ListRoleTags", list_tags),
    ("PutRolePolicy", put_policy),
    ("GetRolePolicy", get_policy),
    ("DeleteRolePolicy", delete_policy),
    ("ListRolePolicies", list_policies),
    ("AttachRolePolicy", attach),
    ("DetachRolePolicy", detach),
    ("ListAttachedRolePolicies", list_attached),
    ("CreateServiceLinkedRole", linked::create_requested),
    ("DeleteServiceLinkedRole", linked::delete),
    (
        "GetServiceLinkedRoleDeletionStatus",
        linked::deletion_status,
    ),
    ("SimulatePrincipalPolicy", access::simulate),
];

pub(super) fn find<'a>(state: &'a mut State, name: &str) -> Result<&'a mut Role, Fault> {
    let role = state.iam.roles.get_mut(name);
    role.ok_or_else(|| missing(format!("The role with name {name} cannot be found.")))
}

/// The role that a call changes: not one that belongs to a service.
fn changeable<'a>(state: &'a mut State, call: &Call<'_>) -> Result<(String, &'a mut Role), Fault> {
    let name = required(call, "RoleName")?;
    let role = find(state, &name)?;
    if role.path.starts_with("/aws-service-role/") {
        return Err(Fault::new(
            400,
            "UnmodifiableEntity",
            format!(
                "Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
            ),
        ));
    }
    Ok((name, role))
}

pub(super) fn show(name: &str, role: &Role) -> Value {
    json!({
        "Path": role.path,
        "RoleName": name,
        "RoleId": role.id,
        "Arn": role.arn(name),
        "CreateDate": iso8601(role.created),
        "AssumeRolePolicyDocument": show_document(&role.trust),
        "Description": role.description,
        "MaxSessionDuration": role.max_session,
        "PermissionsBoundary": role.boundary.as_ref().map(|arn| json!({
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": arn,
        })),
    })
}

fn show_whole(name: &str, role: &Role) -> Value {
    let mut shown = show(name, role);
    if !role.tags.is_empty() {
        shown["Tags"] = show_tags(&role.tags);
    }
    shown["RoleLastUsed"] = match &role.last_used {
        Some((at, region)) => json!({"LastUsedDate": iso8601(*at), "Region": region}),
        None => json!({}),
    };
    shown
}

/// Reads a trust policy; the principals that it names by ARN must exist.
fn trust(state: &State, text: &str) -> Result<(), Fault> {
    if text.len() > TRUST_SIZE {
        return Err(limit(&format!(
            "Cannot exceed quota for ACLSizePerRole: {TRUST_SIZE}"
        )));
    }
    let document = Document::parse(text, Kind::Trust).map_err(malformed)?;
    for arn in document.principal_arns() {
        let name = arn.rsplit('/').next().unwrap_or_default();
        let known = match arn.split(':').nth(5).unwrap_or_default() {
            resource if resource.starts_with("role/") => state
                .iam
                .roles
                .get(name)
                .is_some_and(|role| role.arn(name) == arn),
            resource if resource.starts_with("user/") => state.iam.users.contains_key(name),
            _ => true,
        };
        if !known {
            return Err(malformed(format!(
                "Invalid principal in policy: \"AWS\":\"{arn}\""
            )));
        }
    }
    Ok(())
}

fn max_session(call: &Call<'_>) -> Result<u32, Fault> {
    match call.integer("MaxSessionDuration") {
        None => Ok(3600),
        Some(seconds @ 3600..=43_200) => Ok(seconds as u32),
        Some(seconds) => Err(invalid(format!(
            "1 validation error detected: Value '{seconds}' at 'maxSessionDuration' failed to satisfy constraint: Member \
             must have value between 3600 and 43200"
        ))),
    }
}

fn create(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = new_name(call, "RoleName", 64)?;
    let document = required(call, "AssumeRolePolicyDocument")?;
    let (path, tags, max_session) = (path(call)?, tags(call)?, max_session(call)?);
    // Names are compared without regard to case.
    if state
        .iam
        .roles
        .keys()
        .any(|known| known.eq_ignore_ascii_case(&name))
    {
        return Err(exists(format!("Role with name {name} already exists.")));
    }
    trust(state, &document)?;
    if let Some(boundary) = call.text("PermissionsBoundary") {
        state.iam.attachable(&boundary)?;
    }
    if state.iam.roles.len() >= ROLES {
        return Err(limit(&format!(
            "Cannot exceed quota for RolesPerAccount: {ROLES}"
        )));
    }
    let role = Role {
        id: unique_id(state, "AROA"),
        path,
        description: call.text("Description"),
        trust: document,
        max_session,
        created: call.world.clock.now(),
        tags,
        boundary: call.text("PermissionsBoundary"),
        ..Role::default()
    };
    let mut shown = show(&name, &role);
    if !role.tags.is_empty() {
        shown["Tags"] = show_tags(&role.tags);
    }
    state.iam.roles.insert(name, role);
    Ok(json!({"Role": shown}))
}

fn get(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "RoleName")?;
    let role = find(state, &name)?;
    Ok(json!({"Role": show_whole(&name, role)}))
}

fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, role) = changeable(state, call)?;
    if !role.attached.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must detach all policies first.",
        ));
    }
    if !role.inline.is_empty() {
        return Err(conflict(
            "Cannot delete entity, must delete policies first.",
        ));
    }
    let mut profiles = state.iam.instance_profiles.values();
    if profiles.any(|profile| profile.role.as_ref() == Some(&name)) {
        return Err(conflict(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    state.iam.roles.remove(&name);
    Ok(Value::Null)
}

fn list(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let prefix = call.text("PathPrefix").unwrap_or_else(|| "/".into());
    let roles = state
        .iam
        .roles
        .iter()
        .filter(|(_, role)| role.path.starts_with(&prefix));
    page(
        call,
        "Roles",
        roles.map(|(name, role)| (name.clone(), show(name, role))),
    )
}

fn update(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let seconds = max_session(call)?;
    let (_, role) = changeable(state, call)?;
    // An empty description takes the old one away.
    if call.input.get("Description").is_some() {
        role.description = call.text("Description");
    }
    if call.integer("MaxSessionDuration").is_some() {
        role.max_session = seconds;
    }
    Ok(json!({}))
}

fn update_description(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, role) = changeable(state, call)?;
    role.description = call.text("Description");
    Ok(json!({"Role": show(&name, role)}))
}

fn update_trust(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    changeable(state, call)?;
    let document = required(call, "PolicyDocument")?;
    trust(state, &document)?;
    changeable(state, call)?.1.trust = document;
    Ok(Value::Null)
}

fn bound(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let boundary = required(call, "PermissionsBoundary")?;
    changeable(state, call)?;
    state.iam.attachable(&boundary)?;
    changeable(state, call)?.1.boundary = Some(boundary);
    Ok(Value::Null)
}

fn unbound(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, role) = changeable(state, call)?;
    match role.boundary.take() {
        Some(_) => Ok(Value::Null),
        None => Err(missing(format!(
            "Permissions boundary for role {name} does not exist."
        ))),
    }
}

fn tag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let tags = tags(call)?;
    add_tags(&mut changeable(state, call)?.1.tags, tags)
}

fn untag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    remove_tags(&mut changeable(state, call)?.1.tags, call)
}

fn list_tags(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let role = find(state, &required(call, "RoleName")?)?;
    let tags = role
        .tags
        .iter()
        .map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value})));
    page(call, "Tags", tags)
}

fn put_policy(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = new_name(call, "PolicyName", 128)?;
    let document = required(call, "PolicyDocument")?;
    let (name, role) = changeable(state, call)?;
    Document::parse(&document, Kind::Identity).map_err(malformed)?;
    let others = role.inline.iter().filter(|(other, _)| **other != policy);
    let size: usize = others.map(|(_, text)| text.len()).sum::<usize>() + document.len();
    if size > INLINE_SIZE {
        return Err(limit(&format!(
            "Maximum policy size of {INLINE_SIZE} bytes exceeded for role {name}"
        )));
    }
    role.inline.insert(policy, document);
    Ok(Value::Null)
}

fn get_policy(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, policy) = (required(call, "RoleName")?, required(call, "PolicyName")?);
    let role = find(state, &name)?;
    let document = role.inline.get(&policy).ok_or_else(|| {
        missing(format!(
            "The role policy with name {policy} cannot be found."
        ))
    })?;
    Ok(json!({"RoleName": name, "PolicyName": policy, "PolicyDocument": show_document(document)}))
}

fn delete_policy(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = required(call, "PolicyName")?;
    let (_, role) = changeable(state, call)?;
    match role.inline.remove(&policy) {
        Some(_) => Ok(Value::Null),
        None => Err(missing(format!(
            "The role policy with name {policy} cannot be found."
        ))),
    }
}

fn list_policies(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let role = find(state, &required(call, "RoleName")?)?;
    page(
        call,
        "PolicyNames",
        role.inline.keys().map(|name| (name.clone(), json!(name))),
    )
}

fn attach(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = required(call, "PolicyArn")?;
    changeable(state, call)?;
    state.iam.attachable(&policy)?;
    let (_, role) = changeable(state, call)?;
    if role.attached.contains(&policy) {
        return Ok(Value::Null);
    }
    if role.attached.len() >= POLICIES_PER_ROLE {
        return Err(limit(&format!(
            "Cannot exceed quota for PoliciesPerRole: {POLICIES_PER_ROLE}"
        )));
    }
    role.attached.push(policy);
    Ok(Value::Null)
}

fn detach(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = required(call, "PolicyArn")?;
    let (_, role) = changeable(state, call)?;
    let before = role.attached.len();
    role.attached.retain(|attached| *attached != policy);
    match role.attached.len() == before {
        true => Err(missing(format!("Policy {policy} was not found."))),
        false => Ok(Value::Null),
    }
}

fn list_attached(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let role = find(state, &required(call, "RoleName")?)?;
    let policies = role.attached.iter().map(|arn| {
        let name = arn.rsplit('/').next().unwrap_or(arn);
        (arn.clone(), json!({"PolicyName": name, "PolicyArn": arn}))
    });
    page(call, "AttachedPolicies", policies)
}
