//! EKS: clusters, node groups, add-ons, access entries and pod identity associations, with modelled durations.
//!
//! This file holds what AWS knows. What runs for a cluster (its API server, its nodes' kubelets, its add-ons) is started
//! by [`clusters`](crate::sandbox::clusters), which tells this state through [`Cluster::runtime`], [`Nodegroup::ready`]
//! and [`Addon::seen`] what it sees; a cluster is ACTIVE only when its API server answers.

mod access;
mod addons;
mod catalog;
mod clusters;
mod network;
mod nodegroups;
mod pods;
mod updates;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shapes::{self, Violation};
use super::{Call, Check, Fault, Operation, Protocol, Service};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{self, World};

pub use access::{AccessEntry, identify};
pub use addons::{Addon, Observed};
pub use catalog::kubelet_version;
pub use clusters::{Cluster, Runtime, started};
pub use network::block;
pub use nodegroups::{Node, Nodegroup, observe};
pub use pods::Association;
pub use updates::Update;

/// The service's part of the state.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// By [`key`].
    pub clusters: BTreeMap<String, Cluster>,
    /// The public keys of every cluster's service-account tokens, by issuer URL.
    pub issuers: BTreeMap<String, Value>,
}

/// The key of a cluster in the state.
pub fn key(region: &str, name: &str) -> String {
    format!("{region}/{name}")
}

/// EKS.
pub struct Eks;

macro_rules! operations {
    ($($name:literal $method:literal $path:literal),* $(,)?) => {
        &[$(Operation { name: $name, method: $method, path: $path }),*]
    };
}

const OPERATIONS: &[Operation] = operations![
    "CreateCluster" "POST" "/clusters",
    "ListClusters" "GET" "/clusters",
    "DescribeCluster" "GET" "/clusters/{name}",
    "DeleteCluster" "DELETE" "/clusters/{name}",
    "UpdateClusterConfig" "POST" "/clusters/{name}/update-config",
    "ListUpdates" "GET" "/clusters/{name}/updates",
    "DescribeUpdate" "GET" "/clusters/{name}/updates/{updateId}",
    "DescribeClusterVersions" "GET" "/cluster-versions",
    "CreateNodegroup" "POST" "/clusters/{clusterName}/node-groups",
    "ListNodegroups" "GET" "/clusters/{clusterName}/node-groups",
    "DescribeNodegroup" "GET" "/clusters/{clusterName}/node-groups/{nodegroupName}",
    "DeleteNodegroup" "DELETE" "/clusters/{clusterName}/node-groups/{nodegroupName}",
    "UpdateNodegroupConfig" "POST" "/clusters/{clusterName}/node-groups/{nodegroupName}/update-config",
    "UpdateNodegroupVersion" "POST" "/clusters/{clusterName}/node-groups/{nodegroupName}/update-version",
    "CreateAddon" "POST" "/clusters/{clusterName}/addons",
    "ListAddons" "GET" "/clusters/{clusterName}/addons",
    "DescribeAddon" "GET" "/clusters/{clusterName}/addons/{addonName}",
    "DeleteAddon" "DELETE" "/clusters/{clusterName}/addons/{addonName}",
    "UpdateAddon" "POST" "/clusters/{clusterName}/addons/{addonName}/update",
    "DescribeAddonVersions" "GET" "/addons/supported-versions",
    "DescribeAddonConfiguration" "GET" "/addons/configuration-schemas",
    "CreateAccessEntry" "POST" "/clusters/{clusterName}/access-entries",
    "ListAccessEntries" "GET" "/clusters/{clusterName}/access-entries",
    "DescribeAccessEntry" "GET" "/clusters/{clusterName}/access-entries/{principalArn}",
    "UpdateAccessEntry" "POST" "/clusters/{clusterName}/access-entries/{principalArn}",
    "DeleteAccessEntry" "DELETE" "/clusters/{clusterName}/access-entries/{principalArn}",
    "AssociateAccessPolicy" "POST" "/clusters/{clusterName}/access-entries/{principalArn}/access-policies",
    "ListAssociatedAccessPolicies" "GET" "/clusters/{clusterName}/access-entries/{principalArn}/access-policies",
    "DisassociateAccessPolicy" "DELETE" "/clusters/{clusterName}/access-entries/{principalArn}/access-policies/{policyArn}",
    "ListAccessPolicies" "GET" "/access-policies",
    "CreatePodIdentityAssociation" "POST" "/clusters/{clusterName}/pod-identity-associations",
    "ListPodIdentityAssociations" "GET" "/clusters/{clusterName}/pod-identity-associations",
    "DescribePodIdentityAssociation" "GET" "/clusters/{clusterName}/pod-identity-associations/{associationId}",
    "DeletePodIdentityAssociation" "DELETE" "/clusters/{clusterName}/pod-identity-associations/{associationId}",
    "ListFargateProfiles" "GET" "/clusters/{clusterName}/fargate-profiles",
    "ListIdentityProviderConfigs" "GET" "/clusters/{clusterName}/identity-provider-configs",
    "ListTagsForResource" "GET" "/tags/{resourceArn}",
    "TagResource" "POST" "/tags/{resourceArn}",
    "UntagResource" "DELETE" "/tags/{resourceArn}",
];

impl Service for Eks {
    fn signing_name(&self) -> &'static str {
        "eks"
    }

    fn protocol(&self) -> Protocol {
        Protocol::RestJson
    }

    fn version(&self) -> &'static str {
        "2017-11-01"
    }

    fn namespace(&self) -> &'static str {
        ""
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn resource(&self, call: &Call<'_>) -> String {
        let text = |member: &str| call.input[member].as_str();
        if let Some(arn) = text("resourceArn") {
            return arn.to_owned();
        }
        let Some(cluster) = text("clusterName").or(text("name")) else {
            return "*".to_owned();
        };
        let part = |kind: &str, rest: &str| arn(call.world, call.region, kind, rest);
        match call.operation {
            "DescribeNodegroup"
            | "DeleteNodegroup"
            | "UpdateNodegroupConfig"
            | "UpdateNodegroupVersion" => {
                let group = text("nodegroupName").unwrap_or("*");
                part("nodegroup", &format!("{cluster}/{group}/*"))
            }
            "DescribeAddon" | "DeleteAddon" | "UpdateAddon" => {
                let addon = text("addonName").unwrap_or("*");
                part("addon", &format!("{cluster}/{addon}/*"))
            }
            "DescribeAccessEntry"
            | "UpdateAccessEntry"
            | "DeleteAccessEntry"
            | "AssociateAccessPolicy"
            | "DisassociateAccessPolicy"
            | "ListAssociatedAccessPolicies" => part("access-entry", &format!("{cluster}/*")),
            "DescribePodIdentityAssociation" | "DeletePodIdentityAssociation" => {
                let id = text("associationId").unwrap_or("*");
                part("podidentityassociation", &format!("{cluster}/{id}"))
            }
            _ => part("cluster", cluster),
        }
    }

    fn checks(&self, state: &state::State, call: &Call<'_>) -> Vec<Check> {
        let resource = self.resource(call);
        let cluster = state
            .eks
            .clusters
            .get(&key(call.region, cluster_name(call)));
        let tags = cluster.and_then(|cluster| {
            let text = |member: &str| call.input[member].as_str();
            match (text("nodegroupName"), text("addonName")) {
                (Some(name), _) => cluster.nodegroups.get(name).map(|group| &group.tags),
                (_, Some(name)) => cluster.addons.get(name).map(|addon| &addon.tags),
                _ => Some(&cluster.tags),
            }
        });
        let action = format!("eks:{}", call.operation);
        let mut checks =
            vec![Check::new(action, resource.clone()).tagged(tags.into_iter().flatten())];
        // A role is handed to EKS, and tags are set, with permissions of their own.
        for member in ["roleArn", "nodeRole", "serviceAccountRoleArn"] {
            if let Some(role) = call.input[member].as_str() {
                checks.push(Check::pass_role(role, "eks.amazonaws.com"));
            }
        }
        if call.operation.starts_with("Create") && call.input["tags"].is_object() {
            let part = |kind: &str, member: &str| {
                let name = call.input[member].as_str().unwrap_or("*");
                arn(
                    call.world,
                    call.region,
                    kind,
                    &format!("{}/{name}/*", cluster_name(call)),
                )
            };
            let target = match call.operation {
                "CreateNodegroup" => part("nodegroup", "nodegroupName"),
                "CreateAddon" => part("addon", "addonName"),
                "CreateAccessEntry" => arn(
                    call.world,
                    call.region,
                    "access-entry",
                    &format!("{}/*", cluster_name(call)),
                ),
                _ => resource,
            };
            checks.push(Check::new("eks:TagResource", target));
        }
        checks
    }

    fn invalid(&self, operation: &str, _first: &Violation, all: &[Violation]) -> Fault {
        let code = match operation {
            "TagResource" | "UntagResource" | "ListTagsForResource" => "BadRequestException",
            "DeleteAccessEntry"
            | "DeleteCluster"
            | "DescribeAccessEntry"
            | "DisassociateAccessPolicy"
            | "ListAssociatedAccessPolicies" => "InvalidRequestException",
            "DescribeCluster" | "ListAccessPolicies" => "ValidationException",
            _ => "InvalidParameterException",
        };
        Fault::new(400, code, shapes::say(all))
    }

    fn handle(&self, state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
        match call.operation {
            "CreateCluster" => clusters::create(state, call),
            "ListClusters" => clusters::list(state, call),
            "DescribeCluster" => clusters::describe(state, call),
            "DeleteCluster" => clusters::delete(state, call),
            "UpdateClusterConfig" => updates::config(state, call),
            "ListUpdates" => updates::list(state, call),
            "DescribeUpdate" => updates::describe(state, call),
            "DescribeClusterVersions" => catalog::cluster_versions(call),
            "CreateNodegroup" => nodegroups::create(state, call),
            "ListNodegroups" => nodegroups::list(state, call),
            "DescribeNodegroup" => nodegroups::describe(state, call),
            "DeleteNodegroup" => nodegroups::delete(state, call),
            "UpdateNodegroupConfig" => nodegroups::update_config(state, call),
            "UpdateNodegroupVersion" => nodegroups::update_version(state, call),
            "CreateAddon" => addons::create(state, call),
            "ListAddons" => addons::list(state, call),
            "DescribeAddon" => addons::describe(state, call),
            "DeleteAddon" => addons::delete(state, call),
            "UpdateAddon" => addons::update(state, call),
            "DescribeAddonVersions" => catalog::addon_versions(call),
            "DescribeAddonConfiguration" => catalog::addon_configuration(call),
            "CreateAccessEntry" => access::create(state, call),
            "ListAccessEntries" => access::list(state, call),
            "DescribeAccessEntry" => access::describe(state, call),
            "UpdateAccessEntry" => access::update(state, call),
            "DeleteAccessEntry" => access::delete(state, call),
            "AssociateAccessPolicy" => access::associate(state, call),
            "ListAssociatedAccessPolicies" => access::associated(state, call),
            "DisassociateAccessPolicy" => access::disassociate(state, call),
            "ListAccessPolicies" => access::policies(call),
            "CreatePodIdentityAssociation" => pods::create(state, call),
            "ListPodIdentityAssociations" => pods::list(state, call),
            "DescribePodIdentityAssociation" => pods::describe(state, call),
            "DeletePodIdentityAssociation" => pods::delete(state, call),
            // Neither Fargate nor OIDC users are offered; a cluster has none.
            "ListFargateProfiles" => {
                find(state, call)?;
                Ok(json!({ "fargateProfileNames": [] }))
            }
            "ListIdentityProviderConfigs" => {
                find(state, call)?;
                Ok(json!({ "identityProviderConfigs": [] }))
            }
            "ListTagsForResource" => Ok(json!({ "tags": tagged(state, call)? })),
            "TagResource" => {
                let more = tags(call);
                let tags = tagged(state, call)?;
                if tags
                    .keys()
                    .chain(more.keys())
                    .collect::<std::collections::BTreeSet<_>>()
                    .len()
                    > 50
                {
                    return Err(Fault::new(400, "BadRequestException", "Tag limit exceeded"));
                }
                tags.extend(more);
                Ok(json!({}))
            }
            "UntagResource" => {
                let keys = texts(&call.input["tagKeys"]);
                tagged(state, call)?.retain(|key, _| !keys.contains(key));
                Ok(json!({}))
            }
            name => Err(Fault::new(
                404,
                "UnknownOperationException",
                format!("the sandbox's EKS has no operation {name}"),
            )),
        }
    }

    fn tick(&self, state: &mut state::State, world: &World) -> bool {
        clusters::tick(state, world)
    }
}

fn arn(world: &World, region: &str, kind: &str, rest: &str) -> String {
    format!("arn:aws:eks:{region}:{}:{kind}/{rest}", world.account)
}

/// An error about a cluster.
fn fault(status: u16, code: &str, cluster: &str, message: impl Into<String>) -> Fault {
    let mut fault = Fault::new(status, code, message);
    if !cluster.is_empty() {
        fault
            .fields
            .insert("clusterName".to_owned(), Value::from(cluster));
    }
    fault
}

fn invalid(cluster: &str, message: impl Into<String>) -> Fault {
    fault(400, "InvalidParameterException", cluster, message)
}

fn cluster_name<'a>(call: &'a Call<'_>) -> &'a str {
    call.input["clusterName"]
        .as_str()
        .or(call.input["name"].as_str())
        .unwrap_or_default()
}

fn no_cluster(name: &str) -> Fault {
    fault(
        404,
        "ResourceNotFoundException",
        name,
        format!("No cluster found for name: {name}."),
    )
}

/// The cluster that the call names.
fn find<'a>(state: &'a mut state::State, call: &Call<'_>) -> Result<&'a mut Cluster, Fault> {
    let name = cluster_name(call);
    state
        .eks
        .clusters
        .get_mut(&key(call.region, name))
        .ok_or_else(|| no_cluster(name))
}

/// The cluster that the call names, if it can be worked with.
fn find_active<'a>(state: &'a mut state::State, call: &Call<'_>) -> Result<&'a mut Cluster, Fault> {
    let cluster = find(state, call)?;
    if matches!(cluster.status.as_str(), "ACTIVE") {
        return Ok(cluster);
    }
    let name = &cluster.name;
    Err(fault(
        400,
        "InvalidRequestException",
        name,
        format!("Cluster '{name}' is not in ACTIVE status"),
    ))
}

fn tags(call: &Call<'_>) -> BTreeMap<String, String> {
    strings(&call.input["tags"])
}

fn strings(map: &Value) -> BTreeMap<String, String> {
    map.as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// A list of strings; one alone may stand for itself, as in a query string.
fn texts(list: &Value) -> Vec<String> {
    match list {
        Value::String(one) => vec![one.clone()],
        Value::Array(items) => items
            .iter()
            .filter_map(|item| Some(item.as_str()?.to_owned()))
            .collect(),
        _ => Vec::new(),
    }
}

/// The tags of whatever an ARN names.
fn tagged<'a>(
    state: &'a mut state::State,
    call: &Call<'_>,
) -> Result<&'a mut BTreeMap<String, String>, Fault> {
    let wanted = call.input["resourceArn"].as_str().unwrap_or_default();
    let missing = || {
        Fault::new(
            404,
            "NotFoundException",
            format!("No resource found for ARN: {wanted}"),
        )
    };
    if !wanted.starts_with("arn:aws:eks:") {
        return Err(Fault::new(
            400,
            "BadRequestException",
            format!("The ARN {wanted} is not valid"),
        ));
    }
    for cluster in state.eks.clusters.values_mut() {
        if cluster.arn == wanted {
            return Ok(&mut cluster.tags);
        }
        if let Some(group) = cluster.nodegroups.values_mut().find(|g| g.arn == wanted) {
            return Ok(&mut group.tags);
        }
        if let Some(addon) = cluster.addons.values_mut().find(|a| a.arn == wanted) {
            return Ok(&mut addon.tags);
        }
        if let Some(entry) = cluster
            .access_entries
            .values_mut()
            .find(|e| e.arn == wanted)
        {
            return Ok(&mut entry.tags);
        }
        if let Some(association) = cluster.associations.values_mut().find(|a| a.arn == wanted) {
            return Ok(&mut association.tags);
        }
    }
    Err(missing())
}

/// Epoch seconds.
fn seconds(at: Millis) -> Value {
    Value::from(at as f64 / 1000.0)
}

/// One page of a list of names: `nextToken` is the last name of the page before.
fn page(call: &Call<'_>, member: &str, names: impl Iterator<Item = String>) -> Value {
    let limit = call.input["maxResults"]
        .as_u64()
        .or(call.input["maxResults"]
            .as_str()
            .and_then(|n| n.parse().ok()))
        .unwrap_or(100) as usize;
    let after = call.input["nextToken"].as_str().unwrap_or("");
    let mut rest = names.filter(|name| after.is_empty() || name.as_str() > after);
    let shown: Vec<String> = rest.by_ref().take(limit).collect();
    let next = rest.next().and(shown.last().cloned());
    json!({ member: shown, "nextToken": next })
}

/// A fresh UUID-shaped id.
fn fresh_id(state: &mut state::State, seed: &str) -> String {
    use sha2::{Digest, Sha256};
    state.next_id += 1;
    let hash = Sha256::digest(format!("{seed} {}", state.next_id));
    let hex: String = hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// A digest of a request, for client tokens.
fn fingerprint(call: &Call<'_>) -> String {
    use sha2::{Digest, Sha256};
    let mut input = call.input.clone();
    if let Value::Object(members) = &mut input {
        members.remove("clientRequestToken");
        members.sort_keys();
    }
    Sha256::digest(input.to_string())[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests;
