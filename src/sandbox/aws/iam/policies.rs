//! Customer managed policies and their versions; AWS's own are in [`super::managed`].

use serde_json::{Value, json};

use super::policy::{Document, Kind};
use super::{
    Handler, Policy, Version, add_tags, conflict, exists, limit, malformed, managed, missing,
    new_name, page, path, remove_tags, required, show_document, show_tags, tags, unique_id,
};
use crate::sandbox::aws::{Call, Fault};
use crate::sandbox::clock::iso8601;
use crate::sandbox::state::State;

const VERSIONS: usize = 5;
const SIZE: usize = 6144;

pub(super) const HANDLERS: &[(&str, Handler)] = &[
    ("CreatePolicy", create),
    ("GetPolicy", get),
    ("DeletePolicy", delete),
    ("ListPolicies", list),
    ("CreatePolicyVersion", create_version),
    ("GetPolicyVersion", get_version),
    ("DeletePolicyVersion", delete_version),
    ("ListPolicyVersions", list_versions),
    ("SetDefaultPolicyVersion", set_default),
    ("ListEntitiesForPolicy", entities),
    ("TagPolicy", tag),
    ("UntagPolicy", untag),
    ("ListPolicyTags", list_tags),
];

fn not_found(arn: &str) -> Fault {
    missing(format!("Policy {arn} was not found."))
}

/// The customer's policy that a call means to change; AWS's cannot be changed.
fn own<'a>(state: &'a mut State, call: &Call<'_>) -> Result<(String, &'a mut Policy), Fault> {
    let arn = required(call, "PolicyArn")?;
    if managed::find(&arn).is_some() {
        return Err(Fault::new(
            403,
            "AccessDenied",
            format!("Policy {arn} is managed by AWS and cannot be changed."),
        ));
    }
    match state.iam.policies.get_mut(&arn) {
        Some(policy) => Ok((arn, policy)),
        None => Err(not_found(&arn)),
    }
}

fn attachments(state: &State, arn: &str) -> usize {
    let of = |attached: &Vec<String>| attached.iter().any(|policy| policy == arn);
    let roles = state
        .iam
        .roles
        .values()
        .filter(|role| of(&role.attached))
        .count();
    roles
        + state
            .iam
            .users
            .values()
            .filter(|user| of(&user.attached))
            .count()
}

fn show(state: &State, arn: &str, policy: &Policy) -> Value {
    json!({
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": arn,
        "Path": policy.path,
        "DefaultVersionId": format!("v{}", policy.default_version),
        "AttachmentCount": attachments(state, arn),
        "PermissionsBoundaryUsageCount": state.iam.roles.values().filter(|role| role.boundary.as_deref() == Some(arn)).count(),
        "IsAttachable": true,
        "CreateDate": iso8601(policy.created),
        "UpdateDate": iso8601(policy.updated),
    })
}

fn document(call: &Call<'_>) -> Result<String, Fault> {
    let text = required(call, "PolicyDocument")?;
    Document::parse(&text, Kind::Identity).map_err(malformed)?;
    // White space does not count.
    if text.chars().filter(|c| !c.is_whitespace()).count() > SIZE {
        return Err(limit(&format!(
            "Cannot exceed quota for PolicySize: {SIZE}"
        )));
    }
    Ok(text)
}

fn create(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = new_name(call, "PolicyName", 128)?;
    let (path, tags, document) = (path(call)?, tags(call)?, document(call)?);
    if state
        .iam
        .policies
        .values()
        .any(|policy| policy.name.eq_ignore_ascii_case(&name))
    {
        return Err(exists(format!(
            "A policy called {name} already exists. Duplicate names are not allowed."
        )));
    }
    let now = call.world.clock.now();
    let arn = format!("arn:aws:iam::{}:policy{path}{name}", call.world.account);
    let policy = Policy {
        id: unique_id(state, "ANPA"),
        name,
        path,
        description: call.text("Description"),
        created: now,
        updated: now,
        versions: [(
            1,
            Version {
                document,
                created: now,
            },
        )]
        .into(),
        default_version: 1,
        next_version: 2,
        tags,
    };
    let mut shown = show(state, &arn, &policy);
    if !policy.tags.is_empty() {
        shown["Tags"] = show_tags(&policy.tags);
    }
    state.iam.policies.insert(arn, policy);
    Ok(json!({"Policy": shown}))
}

fn get(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = required(call, "PolicyArn")?;
    if let Some(policy) = managed::find(&arn) {
        return Ok(json!({"Policy": policy.show(attachments(state, &arn))}));
    }
    let policy = state
        .iam
        .policies
        .get(&arn)
        .ok_or_else(|| not_found(&arn))?;
    let mut shown = show(state, &arn, policy);
    shown["Description"] = json!(policy.description);
    shown["Tags"] = show_tags(&policy.tags);
    Ok(json!({"Policy": shown}))
}

fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (arn, policy) = own(state, call)?;
    if policy.versions.len() > 1 {
        return Err(conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. \
             The default version is deleted with the policy.",
        ));
    }
    if attachments(state, &arn) > 0 {
        return Err(conflict("Cannot delete a policy attached to entities."));
    }
    state.iam.policies.remove(&arn);
    Ok(Value::Null)
}

fn list(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let scope = call.text("Scope").unwrap_or_else(|| "All".into());
    let prefix = call.text("PathPrefix").unwrap_or_else(|| "/".into());
    let attached_only = call.flag("OnlyAttached").unwrap_or(false);
    let mut items = Vec::new();
    if scope != "AWS" {
        let own = state
            .iam
            .policies
            .iter()
            .filter(|(_, policy)| policy.path.starts_with(&prefix));
        items.extend(own.map(|(arn, policy)| (arn.clone(), show(state, arn, policy))));
    }
    if scope != "Local" {
        let theirs = managed::all().filter(|policy| policy.path().starts_with(&prefix));
        items.extend(
            theirs.map(|policy| (policy.arn(), policy.show(attachments(state, &policy.arn())))),
        );
    }
    items.retain(|(_, policy)| !attached_only || policy["AttachmentCount"] != 0);
    page(call, "Policies", items)
}

fn number(call: &Call<'_>) -> Result<u32, Fault> {
    let id = required(call, "VersionId")?;
    id.strip_prefix('v')
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| super::invalid(format!("Invalid policy version identifier {id}")))
}

fn show_version(number: u32, version: &Version, default: u32, whole: bool) -> Value {
    json!({
        "Document": whole.then(|| show_document(&version.document)),
        "VersionId": format!("v{number}"),
        "IsDefaultVersion": number == default,
        "CreateDate": iso8601(version.created),
    })
}

fn create_version(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let document = document(call)?;
    let now = call.world.clock.now();
    let (_, policy) = own(state, call)?;
    if policy.versions.len() >= VERSIONS {
        return Err(limit(
            "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing \
             version.",
        ));
    }
    let number = policy.next_version;
    policy.next_version += 1;
    policy.versions.insert(
        number,
        Version {
            document,
            created: now,
        },
    );
    if call.flag("SetAsDefault").unwrap_or(false) {
        policy.default_version = number;
        policy.updated = now;
    }
    Ok(
        json!({"PolicyVersion": show_version(number, &policy.versions[&number], policy.default_version, false)}),
    )
}

fn get_version(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let (arn, number) = (required(call, "PolicyArn")?, number(call)?);
    if let Some(policy) = managed::find(&arn)
        && number == 1
    {
        return Ok(json!({"PolicyVersion": policy.show_version()}));
    }
    let policy = state
        .iam
        .policies
        .get(&arn)
        .ok_or_else(|| not_found(&arn))?;
    match policy.versions.get(&number) {
        Some(version) => Ok(
            json!({"PolicyVersion": show_version(number, version, policy.default_version, true)}),
        ),
        None => Err(missing(format!(
            "Policy {arn} version v{number} does not exist or is not attachable."
        ))),
    }
}

fn delete_version(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let number = number(call)?;
    let (arn, policy) = own(state, call)?;
    if number == policy.default_version {
        return Err(conflict("Cannot delete the default version of a policy."));
    }
    match policy.versions.remove(&number) {
        Some(_) => Ok(Value::Null),
        None => Err(missing(format!(
            "Policy {arn} version v{number} does not exist or is not attachable."
        ))),
    }
}

fn list_versions(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = required(call, "PolicyArn")?;
    if let Some(policy) = managed::find(&arn) {
        return page(call, "Versions", [("v1".to_owned(), policy.show_version())]);
    }
    let policy = state
        .iam
        .policies
        .get(&arn)
        .ok_or_else(|| not_found(&arn))?;
    let versions = policy.versions.iter().map(|(number, version)| {
        // Newest first, as IAM lists them.
        (
            format!("{:08}", u32::MAX - number),
            show_version(*number, version, policy.default_version, false),
        )
    });
    page(call, "Versions", versions)
}

fn set_default(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let number = number(call)?;
    let (arn, policy) = own(state, call)?;
    if !policy.versions.contains_key(&number) {
        return Err(missing(format!(
            "Policy {arn} version v{number} does not exist or is not attachable."
        )));
    }
    policy.default_version = number;
    policy.updated = call.world.clock.now();
    Ok(Value::Null)
}

fn entities(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = required(call, "PolicyArn")?;
    if managed::find(&arn).is_none() && !state.iam.policies.contains_key(&arn) {
        return Err(not_found(&arn));
    }
    let has = |attached: &[String]| attached.contains(&arn);
    let roles: Vec<Value> = state
        .iam
        .roles
        .iter()
        .filter(|(_, role)| has(&role.attached))
        .map(|(name, role)| json!({"RoleName": name, "RoleId": role.id}))
        .collect();
    let users: Vec<Value> = state
        .iam
        .users
        .iter()
        .filter(|(_, user)| has(&user.attached))
        .map(|(name, user)| json!({"UserName": name, "UserId": user.id}))
        .collect();
    Ok(
        json!({"PolicyRoles": roles, "PolicyUsers": users, "PolicyGroups": [], "IsTruncated": false}),
    )
}

fn tag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let tags = tags(call)?;
    add_tags(&mut own(state, call)?.1.tags, tags)
}

fn untag(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    remove_tags(&mut own(state, call)?.1.tags, call)
}

fn list_tags(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let arn = required(call, "PolicyArn")?;
    let policy = state
        .iam
        .policies
        .get(&arn)
        .ok_or_else(|| not_found(&arn))?;
    let tags = policy
        .tags
        .iter()
        .map(|(key, value)| (key.clone(), json!({"Key": key, "Value": value})));
    page(call, "Tags", tags)
}
