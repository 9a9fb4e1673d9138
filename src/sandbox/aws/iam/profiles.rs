//! Instance profiles, which hand a role to EC2 instances, and the account's aliases.

use serde_json::{Value, json};

use super::{
    Handler, InstanceProfile, add_tags, conflict, exists, limit, missing, new_name, page, path,
    remove_tags, required, roles, show_tags, tags, unique_id,
};
use crate::sandbox::aws::{Call, Fault};
use crate::sandbox::clock::iso8601;
use crate::sandbox::state::State;

pub(super) const HANDLERS: &[(&str, Handler)] = &[
    ("CreateInstanceProfile", create),
    ("GetInstanceProfile", get),
    ("DeleteInstanceProfile", delete),
    ("ListInstanceProfiles", list),
    ("ListInstanceProfilesForRole", list_for_role),
    ("AddRoleToInstanceProfile", add_role),
    ("RemoveRoleFromInstanceProfile", remove_role),
    ("TagInstanceProfile", tag),
    ("UntagInstanceProfile", untag),
    ("ListInstanceProfileTags", list_tags),
    ("ListAccountAliases", aliases),
];

fn not_found(name: &str) -> Fault {
    missing(format!("Instance Profile {name} cannot be found."))
}

fn find<'a>(state: &'a mut State, call: &Call<'_>) -> Result<&'a mut InstanceProfile, Fault> {
    let name = required(call, "InstanceProfileName")?;
    state
        .iam
        .instance_profiles
        .get_mut(&name)
        .ok_or_else(|| not_found(&name))
}

fn show(state: &State, name: &str, profile: &InstanceProfile) -> Value {
    let role = profile
        .role
        .as_ref()
        .and_then(|role| Some((role, state.iam.roles.get(role)?)));
    json!({
        "Path": profile.path,
        "InstanceProfileName": name,
        "InstanceProfileId": profile.id,
        "Arn": format!("arn:aws:iam::{}:instance-profile{}{name}", crate::sandbox::state::ACCOUNT, profile.path),
        "CreateDate": iso8601(profile.created),
        "Roles": role.iter().map(|(name, role)| roles::show(name, role)).collect::<Vec<_>>(),
    })
}

fn create(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = new_name(call, "InstanceProfileName", 128)?;
    let (path, tags) = (path(call)?, tags(call)?);
    if state
        .iam
        .instance_profiles
        .keys()
        .any(|known| known.eq_ignore_ascii_case(&name))
    {
        return Err(exists(format!("Instance Profile {name} already exists.")));
    }
    let profile = InstanceProfile {
        id: unique_id(state, "AIPA"),
        path,
        created: call.world.clock.now(),
        role: None,
        tags,
    };
    let mut shown = show(state, &name, &profile);
    if !profile.tags.is_empty() {
        shown["Tags"] = show_tags(&profile.tags);
    }
    state.iam.instance_profiles.insert(name, profile);
    Ok(json!({"InstanceProfile": shown}))
}

fn get(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "InstanceProfileName")?;
    let profile = find(state, call)?.clone();
    let mut shown = show(state, &name, &profile);
    shown["Tags"] = show_tags(&profile.tags);
    Ok(json!({"InstanceProfile": shown}))
}

fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    if find(state, call)?.role.is_some() {
        return Err(conflict(
            "Cannot delete entity, must remove roles from instance profile first.",
        ));
    }
    state
        .iam
        .instance_profiles
        .remove(&required(call, "InstanceProfileName")?);
    Ok(Value::Null)
}

fn list(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let prefix = call.text("PathPrefix").unwrap_or_else(|| "/".into());
    let profiles = state
        .iam
        .instance_profiles
        .iter()
        .filter(|(_, profile)| profile.path.starts_with(&prefix));
    page(
        call,
        "InstanceProfiles",
        profiles.map(|(name, profile)| (name.clone(), show(state, name, profile))),
    )
}

fn list_for_role(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let role = required(call, "RoleName")?;
    roles::find(state, &role)?;
    let profiles = state
        .iam
        .instance_profiles
        .iter()
        .filter(|(_, profile)| profile.role.as_ref() == Some(&role));
    page(
        call,
        "InstanceProfiles",
        profiles.map(|(name, profile)| (name.clone(), show(state, name, profile))),
    )
}

fn add_role(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let role = required(call, "RoleName")?;
    find(state, call)?;
    roles::find(state, &role)?;
    let profile = find(state, call)?;
    if profile.role.is_some() {
        return Err(limit(
            "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
        ));
    }
    profile.role = Some(role);
    Ok(Value::Null)
}

fn remove_role(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let role = required(call, "RoleName")?;
    let profile = find(state, call)?;
    if profile.role.as_ref() != Some(&role) {
        return Err(missing(format!(
            "The role with name {role} cannot be found."
        )));
    }
    profile.role = None;
    Ok(Value::Null)
}

fn tag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let tags = tags(call)?;
    add_tags(&mut find(state, call)?.tags, tags)
}

fn untag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    remove_tags(&mut find(state, call)?.tags, call)
}

fn list_tags(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let profile = find(state, call)?;
    let tags = profile
        .tags
        .iter()
        .map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value})));
    page(call, "Tags", tags)
}

fn aliases(_: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    page(call, "AccountAliases", [])
}
