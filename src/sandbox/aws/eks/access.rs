//! Access entries: which IAM principals are whom in a cluster. A change takes effect a few seconds after the call
//! succeeded, as in reality.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clusters::Cluster;
use super::{
    Call, Fault, arn, fault, find, find_active, fresh_id, invalid, network, page, seconds, strings,
    texts,
};
use crate::sandbox::aws::Caller;
use crate::sandbox::clock::Millis;
use crate::sandbox::kubernetes::UserInfo;
use crate::sandbox::state;

/// How long a change takes to be seen by the cluster.
const PROPAGATION: Duration = Duration::from_secs(5);
const POLICY_PREFIX: &str = "arn:aws:eks::aws:cluster-access-policy/";
const POLICIES: [&str; 5] = [
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSViewPolicy",
];
const RESERVED: [&str; 5] = ["system:", "eks:", "aws:", "amazon:", "iam:"];

/// An access entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessEntry {
    /// Its ARN.
    pub arn: String,
    /// The role or user.
    pub principal: String,
    /// `STANDARD`, `EC2_LINUX`, …
    pub kind: String,
    /// The name in the cluster, with placeholders.
    pub username: String,
    /// The Kubernetes groups.
    pub groups: Vec<String>,
    /// Associated access policies by ARN.
    pub policies: BTreeMap<String, Policy>,
    /// Creation.
    pub created_at: Millis,
    modified_at: Millis,
    /// From when on the cluster sees it as it is now.
    pub effective_at: Millis,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// An associated access policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Policy {
    scope: Value,
    associated_at: Millis,
    modified_at: Millis,
    effective_at: Millis,
}

impl AccessEntry {
    fn describe(&self, cluster: &str) -> Value {
        json!({
            "clusterName": cluster,
            "principalArn": self.principal,
            "kubernetesGroups": self.groups,
            "accessEntryArn": self.arn,
            "createdAt": seconds(self.created_at),
            "modifiedAt": seconds(self.modified_at),
            "tags": self.tags,
            "username": self.username,
            "type": self.kind,
        })
    }
}

impl Policy {
    fn describe(&self, arn: &str) -> Value {
        json!({
            "policyArn": arn,
            "accessScope": self.scope,
            "associatedAt": seconds(self.associated_at),
            "modifiedAt": seconds(self.modified_at),
        })
    }
}

/// The IAM principal behind a caller: the role of an assumed-role session, else the user itself.
fn principal_of(caller: &str) -> String {
    match caller.split_once(":assumed-role/") {
        Some((front, rest)) => format!(
            "{}:role/{}",
            front.replacen(":sts:", ":iam:", 1),
            rest.split('/').next().unwrap_or(rest)
        ),
        None => caller.to_owned(),
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The account of an ARN.
fn account(arn: &str) -> &str {
    arn.split(':').nth(4).unwrap_or_default()
}

fn default_username(principal: &str, kind: &str) -> String {
    match principal.split_once(":role/") {
        _ if kind == "EC2_LINUX" => "system:node:{{EC2PrivateDNSName}}".to_owned(),
        Some((_, path)) => format!(
            "arn:aws:sts::{}:assumed-role/{}/{{{{SessionName}}}}",
            account(principal),
            last(path)
        ),
        None => principal.to_owned(),
    }
}

fn entry(call: &Call<'_>, cluster: &str, principal: &str, kind: &str, id: &str) -> AccessEntry {
    let now = call.world.clock.now();
    let part = principal.split(':').nth(5).unwrap_or_default();
    let word = part.split('/').next().unwrap_or_default();
    AccessEntry {
        arn: arn(
            call.world,
            call.region,
            "access-entry",
            &format!(
                "{cluster}/{word}/{}/{}/{id}",
                account(principal),
                last(part)
            ),
        ),
        principal: principal.to_owned(),
        kind: kind.to_owned(),
        username: default_username(principal, kind),
        groups: match kind {
            "EC2_LINUX" => vec!["system:nodes".to_owned()],
            _ => Vec::new(),
        },
        policies: BTreeMap::new(),
        created_at: now,
        modified_at: now,
        effective_at: call.world.clock.after(PROPAGATION),
        tags: BTreeMap::new(),
    }
}

/// Makes the creator of a cluster its administrator.
pub fn bootstrap(state: &mut state::State, call: &Call<'_>, cluster: &mut Cluster) {
    let principal = principal_of(&call.caller.arn);
    let id = fresh_id(state, &principal);
    let mut entry = entry(call, &cluster.name, &principal, "STANDARD", &id);
    let now = call.world.clock.now();
    entry.policies.insert(
        format!("{POLICY_PREFIX}AmazonEKSClusterAdminPolicy"),
        Policy {
            scope: json!({ "type": "cluster", "namespaces": [] }),
            associated_at: now,
            modified_at: now,
            effective_at: now,
        },
    );
    cluster.access_entries.insert(principal, entry);
}

/// Lets a node group's role join nodes, where EKS does so by itself.
pub fn admit_nodes(cluster: &mut Cluster, call: &Call<'_>, role: &str, id: &str) {
    if cluster.authentication_mode != "CONFIG_MAP" && !cluster.access_entries.contains_key(role) {
        let entry = entry(call, &cluster.name, role, "EC2_LINUX", id);
        cluster.access_entries.insert(role.to_owned(), entry);
    }
}

fn checked<'a>(state: &'a mut state::State, call: &Call<'_>) -> Result<&'a mut Cluster, Fault> {
    let cluster = find(state, call)?;
    if cluster.authentication_mode == "CONFIG_MAP" {
        return Err(fault(
            400,
            "InvalidRequestException",
            &cluster.name,
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this operation.",
        ));
    }
    Ok(cluster)
}

fn missing(call: &Call<'_>) -> Fault {
    fault(
        404,
        "ResourceNotFoundException",
        super::cluster_name(call),
        "The specified principalArn could not be found. You can view your available access entries with \
         'list-access-entries'.",
    )
}

fn find_entry<'a>(
    state: &'a mut state::State,
    call: &Call<'_>,
) -> Result<(String, &'a mut AccessEntry), Fault> {
    let principal = call.input["principalArn"].as_str().unwrap_or_default();
    let cluster = checked(state, call)?;
    let name = cluster.name.clone();
    match cluster.access_entries.get_mut(principal) {
        Some(entry) => Ok((name, entry)),
        None => Err(missing(call)),
    }
}

fn check_groups(cluster: &str, groups: &[String]) -> Result<(), Fault> {
    for group in groups {
        if let Some(prefix) = RESERVED.iter().find(|prefix| group.starts_with(**prefix)) {
            return Err(invalid(
                cluster,
                format!(
                    "The kubernetes group name {group} is invalid, it cannot start with {prefix}"
                ),
            ));
        }
    }
    Ok(())
}

/// `CreateAccessEntry`.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let principal = call.input["principalArn"].as_str().unwrap_or_default();
    let kind = call.input["type"].as_str().unwrap_or("STANDARD");
    let groups = texts(&call.input["kubernetesGroups"]);
    let id = fresh_id(state, principal);
    let known = network::principal_exists(state, principal);
    checked(state, call)?;
    let cluster = find_active(state, call)?;
    let name = cluster.name.clone();
    if ![
        "STANDARD",
        "EC2_LINUX",
        "EC2_WINDOWS",
        "FARGATE_LINUX",
        "EC2",
        "HYBRID_LINUX",
    ]
    .contains(&kind)
    {
        return Err(invalid(
            &name,
            format!("The specified type is invalid: {kind}"),
        ));
    }
    if !known {
        return Err(invalid(
            &name,
            "The specified principalArn is invalid: invalid principal.",
        ));
    }
    if cluster.access_entries.contains_key(principal) {
        return Err(fault(
            409,
            "ResourceInUseException",
            &name,
            "The specified access entry resource is already in use on this cluster.",
        ));
    }
    check_groups(&name, &groups)?;
    if kind != "STANDARD" && !(groups.is_empty() && call.input["username"].is_null()) {
        return Err(invalid(
            &name,
            format!("The username and kubernetesGroups of a {kind} access entry cannot be set"),
        ));
    }
    let mut entry = entry(call, &name, principal, kind, &id);
    if kind == "STANDARD" {
        entry.groups = groups;
    }
    if let Some(username) = call.input["username"].as_str() {
        entry.username = username.to_owned();
    }
    entry.tags = strings(&call.input["tags"]);
    let answer = json!({ "accessEntry": entry.describe(&name) });
    cluster.access_entries.insert(principal.to_owned(), entry);
    Ok(answer)
}

/// `ListAccessEntries`.
pub fn list(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = call.input["associatedPolicyArn"].as_str();
    let cluster = checked(state, call)?;
    let principals = cluster
        .access_entries
        .values()
        .filter(|entry| policy.is_none_or(|policy| entry.policies.contains_key(policy)))
        .map(|entry| entry.principal.clone());
    Ok(page(call, "accessEntries", principals))
}

/// `DescribeAccessEntry`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, entry) = find_entry(state, call)?;
    Ok(json!({ "accessEntry": entry.describe(&name) }))
}

/// `UpdateAccessEntry`.
pub fn update(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, entry) = find_entry(state, call)?;
    if call.input["kubernetesGroups"].is_array() {
        let groups = texts(&call.input["kubernetesGroups"]);
        check_groups(&name, &groups)?;
        entry.groups = groups;
    }
    if let Some(username) = call.input["username"].as_str() {
        entry.username = username.to_owned();
    }
    entry.modified_at = call.world.clock.now();
    Ok(json!({ "accessEntry": entry.describe(&name) }))
}

/// `DeleteAccessEntry`.
pub fn delete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let principal = call.input["principalArn"].as_str().unwrap_or_default();
    let cluster = checked(state, call)?;
    match cluster.access_entries.remove(principal) {
        Some(_) => Ok(json!({})),
        None => Err(missing(call)),
    }
}

/// `AssociateAccessPolicy`.
pub fn associate(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = call.input["policyArn"].as_str().unwrap_or_default();
    let (name, entry) = find_entry(state, call)?;
    let known = policy
        .strip_prefix(POLICY_PREFIX)
        .is_some_and(|short| POLICIES.contains(&short));
    if !known {
        return Err(fault(
            404,
            "ResourceNotFoundException",
            &name,
            format!("The specified policyArn could not be found: {policy}"),
        ));
    }
    if entry.kind != "STANDARD" {
        return Err(fault(
            400,
            "InvalidRequestException",
            &name,
            "The specified access entry type does not support access policies.",
        ));
    }
    let mut scope = call.input["accessScope"].clone();
    let namespaces = texts(&scope["namespaces"]);
    if (scope["type"] == "namespace") == namespaces.is_empty() {
        return Err(invalid(
            &name,
            "The accessScope must have namespaces if and only if its type is namespace",
        ));
    }
    scope["namespaces"] = Value::from(namespaces);
    let now = call.world.clock.now();
    let effective_at = call.world.clock.after(PROPAGATION).max(entry.effective_at);
    let record = entry
        .policies
        .entry(policy.to_owned())
        .and_modify(|known| known.modified_at = now)
        .or_insert(Policy {
            scope: Value::Null,
            associated_at: now,
            modified_at: now,
            effective_at,
        });
    record.scope = scope;
    Ok(json!({
        "clusterName": name,
        "principalArn": entry.principal,
        "associatedAccessPolicy": record.describe(policy),
    }))
}

/// `ListAssociatedAccessPolicies`.
pub fn associated(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (name, entry) = find_entry(state, call)?;
    let policies: Vec<Value> = entry
        .policies
        .iter()
        .map(|(arn, policy)| policy.describe(arn))
        .collect();
    Ok(json!({
        "clusterName": name,
        "principalArn": entry.principal,
        "associatedAccessPolicies": policies,
    }))
}

/// `DisassociateAccessPolicy`.
pub fn disassociate(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let policy = call.input["policyArn"].as_str().unwrap_or_default();
    let (name, entry) = find_entry(state, call)?;
    match entry.policies.remove(policy) {
        Some(_) => Ok(json!({})),
        None => Err(fault(
            404,
            "ResourceNotFoundException",
            &name,
            "The specified policyArn is not associated with the access entry.",
        )),
    }
}

/// `ListAccessPolicies`.
pub fn policies(call: &Call<'_>) -> Result<Value, Fault> {
    let mut answer = page(
        call,
        "accessPolicies",
        POLICIES.iter().map(|name| (*name).to_owned()),
    );
    if let Some(names) = answer["accessPolicies"].as_array_mut() {
        for name in names {
            let text = name.as_str().unwrap_or_default().to_owned();
            *name = json!({ "name": text, "arn": format!("{POLICY_PREFIX}{text}") });
        }
    }
    Ok(answer)
}

/// Who an authenticated AWS principal is in a cluster; `None` without an access entry that is in effect.
///
/// A cluster-wide `AmazonEKSClusterAdminPolicy` makes it a member of `system:masters`. The other policies become the
/// groups `eks:access-policy:NAME` and `eks:access-policy:NAME:NAMESPACE`, which role bindings may name; EKS has an
/// authorizer of its own for them.
pub fn identify(cluster: &Cluster, caller: &Caller, now: Millis) -> Option<UserInfo> {
    let principal = principal_of(&caller.arn);
    // A session's ARN has lost the role's path, so that the entry is found by the role's name.
    let entry = cluster.access_entries.get(&principal).or_else(|| {
        cluster.access_entries.values().find(|entry| {
            caller.arn.contains(":assumed-role/")
                && entry.principal.contains(":role/")
                && account(&entry.principal) == account(&principal)
                && last(&entry.principal) == last(&principal)
        })
    })?;
    if now < entry.effective_at {
        return None;
    }
    let session = last(&caller.arn);
    let username = entry
        .username
        .replace("{{SessionName}}", session)
        .replace("{{SessionNameRaw}}", session)
        .replace("{{AccountID}}", account(&principal));
    let mut groups = entry.groups.clone();
    for (arn, policy) in &entry.policies {
        let name = arn.strip_prefix(POLICY_PREFIX).unwrap_or(arn);
        if now < policy.effective_at {
            continue;
        }
        if policy.scope["type"] == "cluster" && name == "AmazonEKSClusterAdminPolicy" {
            groups.push("system:masters".to_owned());
        } else if policy.scope["type"] == "cluster" {
            groups.push(format!("eks:access-policy:{name}"));
        } else {
            for namespace in texts(&policy.scope["namespaces"]) {
                groups.push(format!("eks:access-policy:{name}:{namespace}"));
            }
        }
    }
    let id = caller.user_id.split(':').next().unwrap_or_default();
    let one = |key: &str, value: &str| (key.to_owned(), vec![value.to_owned()]);
    Some(UserInfo {
        username,
        uid: format!("aws-iam-authenticator:{}:{id}", account(&principal)),
        groups,
        extra: vec![
            one("arn", &caller.arn),
            one("canonicalArn", &principal),
            one("principalId", id),
            one("sessionName", session),
        ],
    })
}
