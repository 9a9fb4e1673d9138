//! Add-ons. The supervisor installs them in the cluster and says through [`Addon::seen`] how they are.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clusters::Cluster;
use super::{
    Call, Fault, arn, catalog, fault, find, find_active, fingerprint, fresh_id, invalid, network,
    page, seconds, tags, updates,
};
use crate::sandbox::aws::doom::{Doomed, Of};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{self, World};

/// From the call to ACTIVE, where nothing keeps it from being healthy.
const CREATION: Duration = Duration::from_secs(30);
/// How long an add-on may be unhealthy before it is called DEGRADED.
const PATIENCE: Duration = Duration::from_secs(3 * 60);
/// The least of it in real time: pods start no faster for a faster clock.
const REAL_PATIENCE: Millis = 15_000;
/// From the call until it is gone.
const DELETION: Duration = Duration::from_secs(20);

/// An add-on of a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addon {
    /// `coredns`.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `v1.13.1-eksbuild.1`.
    pub version: String,
    /// `CREATING`, `ACTIVE`, `UPDATING`, `DEGRADED`, `CREATE_FAILED`, `DELETING`.
    pub status: String,
    /// JSON or YAML, as the caller wrote it.
    pub configuration: Option<String>,
    /// The role of its service account, for IRSA.
    pub role_arn: Option<String>,
    /// Counts what has to be installed: the first time 1, one more with every update.
    pub generation: u64,
    /// Whether its objects stay in the cluster when it is deleted.
    pub preserve: bool,
    /// What the supervisor last saw.
    pub seen: Observed,
    created_at: Millis,
    modified_at: Millis,
    due_at: Millis,
    /// Since when it has been seen unhealthy, once its time was over.
    #[serde(default)]
    pub(super) unhealthy_since: Option<Millis>,
    issue: Option<(String, String)>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    token: Option<String>,
    fingerprint: String,
}

/// How an add-on is in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The generation whose objects are installed; 0 for none.
    pub generation: u64,
    /// Whether its workloads have what they want.
    pub healthy: bool,
    /// Why not.
    pub message: String,
}

impl Addon {
    fn describe(&self, cluster: &str) -> Value {
        let issues: Vec<Value> = self
            .issue
            .iter()
            .map(|(code, message)| json!({ "code": code, "message": message, "resourceIds": [] }))
            .collect();
        json!({
            "addonName": self.name,
            "clusterName": cluster,
            "status": self.status,
            "addonVersion": self.version,
            "health": { "issues": issues },
            "addonArn": self.arn,
            "createdAt": seconds(self.created_at),
            "modifiedAt": seconds(self.modified_at),
            "serviceAccountRoleArn": self.role_arn,
            "tags": self.tags,
            "configurationValues": self.configuration,
            "namespaceConfig": { "namespace": "kube-system" },
        })
    }
}

/// The add-ons that a cluster has from the start unless its creator says otherwise; EKS does not list them.
pub fn self_managed(cluster: &mut Cluster, call: &Call<'_>) {
    let _ = call;
    cluster.self_managed = ["vpc-cni", "kube-proxy", "coredns"]
        .into_iter()
        .filter_map(|name| {
            let version = catalog::offer(name)?.default_version(&cluster.version)?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect();
}

fn missing(cluster: &str, name: &str) -> Fault {
    let mut fault = fault(
        404,
        "ResourceNotFoundException",
        cluster,
        format!("No addon: {name} found in cluster: {cluster}"),
    );
    fault
        .fields
        .insert("addonName".to_owned(), Value::from(name));
    fault
}

fn name<'a>(call: &'a Call<'_>) -> &'a str {
    call.input["addonName"].as_str().unwrap_or_default()
}

/// Checks version, configuration and role.
fn check(
    call: &Call<'_>,
    cluster: &str,
    kubernetes: &str,
    role_known: bool,
) -> Result<Option<String>, Fault> {
    let Some(offer) = catalog::offer(name(call)) else {
        return Err(invalid(
            cluster,
            format!(
                "Addon {} specified is not supported in {kubernetes} kubernetes version",
                name(call)
            ),
        ));
    };
    let version = call.input["addonVersion"].as_str();
    if let Some(version) = version
        && !offer.versions(kubernetes).contains(&version)
    {
        return Err(invalid(
            cluster,
            "Addon version specified is not supported".to_owned(),
        ));
    }
    if let Some(text) = call.input["configurationValues"].as_str() {
        let parsed: Result<Value, _> = serde_yaml::from_str(text);
        if !text.trim().is_empty() && !parsed.is_ok_and(|value| value.is_object()) {
            return Err(invalid(
                cluster,
                "ConfigurationValue provided in request is not supported: it is not a JSON or YAML object",
            ));
        }
    }
    if !role_known {
        return Err(invalid(
            cluster,
            format!(
                "The role {} does not exist",
                call.input["serviceAccountRoleArn"]
                    .as_str()
                    .unwrap_or_default()
            ),
        ));
    }
    Ok(version.map(str::to_owned))
}

fn role_known(state: &state::State, call: &Call<'_>) -> bool {
    call.input["serviceAccountRoleArn"]
        .as_str()
        .is_none_or(|role| network::principal_exists(state, role))
}

/// `CreateAddon`.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = fresh_id(state, "addon");
    let role_known = role_known(state, call);
    let print = fingerprint(call);
    let token = call.input["clientRequestToken"].as_str().map(str::to_owned);
    let cluster = find(state, call)?;
    if let Some(known) = cluster.addons.get(name(call)) {
        if token.is_some() && known.token == token && known.fingerprint == print {
            return Ok(json!({ "addon": known.describe(&cluster.name) }));
        }
        return Err(fault(
            409,
            "ResourceInUseException",
            &cluster.name,
            "Addon already exists.",
        ));
    }
    let cluster = find_active(state, call)?;
    let version = check(call, &cluster.name, &cluster.version, role_known)?;
    let version = version.unwrap_or_else(|| {
        catalog::offer(name(call))
            .and_then(|offer| offer.default_version(&cluster.version))
            .unwrap_or_default()
            .to_owned()
    });
    let now = call.world.clock.now();
    let overwrite = call.input["resolveConflicts"] == "OVERWRITE";
    let conflict = !overwrite && cluster.self_managed.remove(name(call)).is_some();
    let addon = Addon {
        name: name(call).to_owned(),
        arn: arn(
            call.world,
            call.region,
            "addon",
            &format!("{}/{}/{id}", cluster.name, name(call)),
        ),
        version,
        status: "CREATING".to_owned(),
        configuration: call.input["configurationValues"].as_str().map(str::to_owned),
        role_arn: call.input["serviceAccountRoleArn"].as_str().map(str::to_owned),
        generation: 1,
        preserve: false,
        seen: Observed::default(),
        created_at: now,
        modified_at: now,
        due_at: call.world.clock.after(CREATION),
        unhealthy_since: None,
        issue: conflict.then(|| {
            (
                "ConfigurationConflict".to_owned(),
                "Conflicts found when trying to apply. Will not continue due to resolve conflicts mode.".to_owned(),
            )
        }),
        tags: tags(call),
        token,
        fingerprint: print,
    };
    let answer = json!({ "addon": addon.describe(&cluster.name) });
    cluster.addons.insert(addon.name.clone(), addon);
    Ok(answer)
}

/// `ListAddons`.
pub fn list(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let cluster = find(state, call)?;
    Ok(page(call, "addons", cluster.addons.keys().cloned()))
}

/// `DescribeAddon`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let cluster = find(state, call)?;
    match cluster.addons.get(name(call)) {
        Some(addon) => Ok(json!({ "addon": addon.describe(&cluster.name) })),
        None => Err(missing(&cluster.name, name(call))),
    }
}

/// `DeleteAddon`.
pub fn delete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let cluster = find(state, call)?;
    let cluster_name = cluster.name.clone();
    let Some(addon) = cluster.addons.get_mut(name(call)) else {
        return Err(missing(&cluster_name, name(call)));
    };
    if addon.status != "DELETING" {
        addon.status = "DELETING".to_owned();
        addon.preserve = call.input["preserve"] == true || call.input["preserve"] == "true";
        addon.due_at = call.world.clock.after(DELETION);
        addon.modified_at = call.world.clock.now();
    }
    Ok(json!({ "addon": addon.describe(&cluster_name) }))
}

/// `UpdateAddon`.
pub fn update(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = fresh_id(state, "update");
    let role_known = role_known(state, call);
    let cluster = find_active(state, call)?;
    let (cluster_name, kubernetes) = (cluster.name.clone(), cluster.version.clone());
    let Some(addon) = cluster.addons.get_mut(name(call)) else {
        return Err(missing(&cluster_name, name(call)));
    };
    if matches!(addon.status.as_str(), "CREATING" | "UPDATING" | "DELETING") {
        return Err(fault(
            409,
            "ResourceInUseException",
            &cluster_name,
            format!(
                "Addon {} cannot be updated as it is currently in {} state",
                addon.name, addon.status
            ),
        ));
    }
    let version = check(call, &cluster_name, &kubernetes, role_known)?;
    let mut params = Vec::new();
    if let Some(version) = version {
        params.push(("AddonVersion".to_owned(), version.clone()));
        addon.version = version;
    }
    if let Some(role) = call.input["serviceAccountRoleArn"].as_str() {
        params.push(("ServiceAccountRoleArn".to_owned(), role.to_owned()));
        addon.role_arn = Some(role.to_owned());
    }
    if let Some(text) = call.input["configurationValues"].as_str() {
        params.push(("ConfigurationValues".to_owned(), text.to_owned()));
        addon.configuration = Some(text.to_owned()).filter(|text| !text.is_empty());
    }
    if let Some(mode) = call.input["resolveConflicts"].as_str() {
        params.push(("ResolveConflicts".to_owned(), mode.to_owned()));
    }
    addon.status = "UPDATING".to_owned();
    addon.generation += 1;
    addon.due_at = call.world.clock.after(CREATION);
    addon.modified_at = call.world.clock.now();
    addon.issue = None;
    let update = updates::begin(
        call,
        id,
        format!("addon/{}", addon.name),
        "AddonUpdate",
        params,
        CREATION,
    );
    let answer = json!({ "update": update.describe() });
    cluster.updates.push(update);
    Ok(answer)
}

/// Moves add-ons on. One that has been deleted stays until the supervisor has taken its objects away.
pub fn tick(cluster: &mut Cluster, world: &World, doomed: &mut Doomed, now: Millis) -> bool {
    let patience = world.clock.scale(PATIENCE).as_millis() as Millis;
    let patience = patience.max(REAL_PATIENCE);
    let mut changed = false;
    let arns: BTreeMap<String, String> = cluster
        .addons
        .iter()
        .map(|(name, addon)| (name.clone(), addon.arn.clone()))
        .collect();
    cluster.addons.retain(|name, addon| {
        let arn = &arns[name];
        if addon.status == "DELETING" && now >= addon.due_at && doomed.take(Of::Deletion, arn) {
            addon.status = "DELETE_FAILED".to_owned();
            addon.issue = Some((
                "InternalFailure".to_owned(),
                "An internal failure kept the add-on from being deleted.".to_owned(),
            ));
            changed = true;
        }
        if addon.status == "DELETE_FAILED" {
            return true;
        }
        if matches!(addon.status.as_str(), "DELETING" | "UPDATING") {
            // Whatever was wrong with it goes with the next change.
            doomed.take(Of::Creation, arn);
        }
        let fails = doomed.has(Of::Creation, arn);
        if addon.status == "DELETING" {
            let gone = now >= addon.due_at && (addon.preserve || addon.seen.generation == 0);
            changed |= gone;
            return !gone;
        }
        if now < addon.due_at || addon.status == "CREATE_FAILED" {
            return true;
        }
        let healthy = !fails && addon.seen.generation == addon.generation && addon.seen.healthy;
        let status = match addon.status.as_str() {
            _ if fails => "DEGRADED",
            "CREATING" if addon.issue.is_some() => "CREATE_FAILED",
            _ if healthy => {
                addon.unhealthy_since = None;
                "ACTIVE"
            }
            _ if now < *addon.unhealthy_since.get_or_insert(now) + patience => return true,
            _ => "DEGRADED",
        };
        if status != addon.status {
            changed = true;
            addon.status = status.to_owned();
            addon.modified_at = now;
            match status {
                "ACTIVE" => addon.issue = None,
                "DEGRADED" => {
                    let message = match addon.seen.message.as_str() {
                        "" => "The add-on is unhealthy because it doesn't have the desired number of replicas.",
                        message => message,
                    };
                    addon.issue =
                        Some(("InsufficientNumberOfReplicas".to_owned(), message.to_owned()));
                }
                _ => {}
            }
        }
        true
    });
    changed
}
