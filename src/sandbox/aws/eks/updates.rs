//! Updates of clusters, node groups and add-ons: `InProgress`, then `Successful`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clusters::{Cluster, log_kinds};
use super::{Call, Fault, fault, find, find_active, fresh_id, invalid, page, seconds};
use crate::sandbox::clock::Millis;
use crate::sandbox::state;

/// A change of configuration: one to several minutes, by user reports.
const CONFIGURATION: Duration = Duration::from_secs(90);

/// Types and values of an update's parameters, as text.
pub type Params = Vec<(String, String)>;

/// An update.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Update {
    /// Its id.
    pub id: String,
    /// `LoggingUpdate`, `VersionUpdate`, …
    pub kind: String,
    /// `InProgress` or `Successful`.
    pub status: String,
    /// Type and value, as text.
    pub params: Vec<(String, String)>,
    /// Creation.
    pub created_at: Millis,
    /// When it ends.
    pub due_at: Millis,
    /// What it is about: nothing for the cluster, else `nodegroup/NAME` or `addon/NAME`.
    pub subject: String,
    /// The client token it was asked for with.
    pub token: Option<String>,
}

impl Update {
    /// Whether it is still going on.
    pub fn is_running(&self) -> bool {
        self.status == "InProgress"
    }

    /// As `DescribeUpdate` shows it.
    pub fn describe(&self) -> Value {
        let params: Vec<Value> = self
            .params
            .iter()
            .map(|(kind, value)| json!({ "type": kind, "value": value }))
            .collect();
        json!({
            "id": self.id,
            "status": self.status,
            "type": self.kind,
            "params": params,
            "createdAt": seconds(self.created_at),
            "errors": [],
        })
    }
}

/// Makes an update; the cluster's own or that of something in it.
pub fn begin(
    call: &Call<'_>,
    id: String,
    subject: String,
    kind: &str,
    params: Vec<(String, String)>,
    duration: Duration,
) -> Update {
    Update {
        id,
        kind: kind.to_owned(),
        status: "InProgress".to_owned(),
        params,
        created_at: call.world.clock.now(),
        due_at: call.world.clock.after(duration),
        subject,
        token: call.input["clientRequestToken"].as_str().map(str::to_owned),
    }
}

fn repeated(cluster: &Cluster, call: &Call<'_>) -> Option<Value> {
    let token = call.input["clientRequestToken"].as_str()?;
    let known = cluster
        .updates
        .iter()
        .find(|update| update.token.as_deref() == Some(token))?;
    Some(json!({ "update": known.describe() }))
}

/// `UpdateClusterConfig`: one thing at a time.
pub fn config(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = fresh_id(state, call.operation);
    if let Some(answer) = repeated(find(state, call)?, call) {
        return Ok(answer);
    }
    let input = call.input;
    let cluster = find(state, call)?;
    let name = cluster.name.clone();
    if cluster.updates.iter().any(Update::is_running) {
        return Err(fault(
            409,
            "ResourceInUseException",
            &name,
            format!("Cluster {name} already has an update in progress"),
        ));
    }
    let cluster = find_active(state, call)?;
    let given: Vec<&str> = [
        "resourcesVpcConfig",
        "logging",
        "accessConfig",
        "upgradePolicy",
        "deletionProtection",
        "zonalShiftConfig",
    ]
    .into_iter()
    .filter(|member| !input[*member].is_null())
    .collect();
    let [member] = given[..] else {
        let message = if given.is_empty() {
            "No changes needed for the cluster config provided"
        } else {
            "Only one type of update can be allowed."
        };
        return Err(invalid(&name, message));
    };
    let value = &input[member];
    let (kind, params) = match member {
        "logging" => {
            let (on, off) = log_kinds(value);
            let mut logs = cluster.logs.clone();
            logs.retain(|log| !off.contains(log));
            for log in on {
                if !logs.contains(&log) {
                    logs.push(log);
                }
            }
            if logs == cluster.logs {
                return Err(invalid(
                    &name,
                    "No changes needed for the logging config provided",
                ));
            }
            cluster.logs = logs;
            (
                "LoggingUpdate",
                vec![("ClusterLogging".to_owned(), value.to_string())],
            )
        }
        "upgradePolicy" => {
            let support = value["supportType"].as_str().unwrap_or_default();
            if support == cluster.support {
                return Err(invalid(
                    &name,
                    "No changes needed for the upgrade policy provided",
                ));
            }
            cluster.support = support.to_owned();
            (
                "UpgradePolicyUpdate",
                vec![("UpgradePolicy".to_owned(), value.to_string())],
            )
        }
        "accessConfig" => {
            let mode = value["authenticationMode"].as_str().unwrap_or_default();
            let rank = |mode: &str| {
                ["CONFIG_MAP", "API_AND_CONFIG_MAP", "API"]
                    .iter()
                    .position(|m| *m == mode)
            };
            if mode == cluster.authentication_mode {
                return Err(invalid(
                    &name,
                    format!("Unsupported authentication mode update from {mode} to {mode}"),
                ));
            }
            // The way back is closed: access entries may exist that the config map cannot express.
            if rank(mode) < rank(&cluster.authentication_mode) {
                return Err(invalid(
                    &name,
                    format!(
                        "Unsupported authentication mode update from {} to {mode}",
                        cluster.authentication_mode
                    ),
                ));
            }
            cluster.authentication_mode = mode.to_owned();
            (
                "AccessConfigUpdate",
                vec![("AuthenticationMode".to_owned(), mode.to_owned())],
            )
        }
        "deletionProtection" => {
            cluster.deletion_protection = *value == true;
            (
                "DeletionProtectionUpdate",
                vec![("DeletionProtection".to_owned(), value.to_string())],
            )
        }
        "zonalShiftConfig" => (
            "ZonalShiftConfigUpdate",
            vec![("ZonalShiftConfig".to_owned(), value.to_string())],
        ),
        _ => vpc(cluster, value)?,
    };
    let update = begin(call, id, String::new(), kind, params, CONFIGURATION);
    cluster.status = "UPDATING".to_owned();
    let answer = json!({ "update": update.describe() });
    cluster.updates.push(update);
    Ok(answer)
}

fn vpc(cluster: &mut Cluster, value: &Value) -> Result<(&'static str, Params), Fault> {
    let before = cluster.vpc.clone();
    let mut params = Vec::new();
    for (member, kind) in [
        ("endpointPublicAccess", "EndpointPublicAccess"),
        ("endpointPrivateAccess", "EndpointPrivateAccess"),
        ("publicAccessCidrs", "PublicAccessCidrs"),
    ] {
        if !value[member].is_null() {
            cluster.vpc[member] = value[member].clone();
            params.push((kind.to_owned(), value[member].to_string()));
        }
    }
    let name = cluster.name.clone();
    if cluster.vpc["endpointPublicAccess"] == false && cluster.vpc["endpointPrivateAccess"] == false
    {
        cluster.vpc = before;
        return Err(invalid(
            &name,
            "Private and public endpoint access cannot be false",
        ));
    }
    if cluster.vpc == before {
        return Err(invalid(
            &name,
            format!(
                "Cluster is already at the desired configuration with endpointPrivateAccess: {} , \
                 endpointPublicAccess: {}, and Public Endpoint Restrictions: {}",
                before["endpointPrivateAccess"],
                before["endpointPublicAccess"],
                before["publicAccessCidrs"]
            ),
        ));
    }
    Ok(("EndpointAccessUpdate", params))
}

fn subject(call: &Call<'_>) -> String {
    if let Some(name) = call.input["nodegroupName"].as_str() {
        format!("nodegroup/{name}")
    } else if let Some(name) = call.input["addonName"].as_str() {
        format!("addon/{name}")
    } else {
        String::new()
    }
}

/// `ListUpdates`.
pub fn list(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let subject = subject(call);
    let cluster = find(state, call)?;
    let mut ids: Vec<String> = cluster
        .updates
        .iter()
        .filter(|update| update.subject == subject)
        .map(|update| update.id.clone())
        .collect();
    ids.sort();
    Ok(page(call, "updateIds", ids.into_iter()))
}

/// `DescribeUpdate`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let subject = subject(call);
    let id = call.input["updateId"].as_str().unwrap_or_default();
    let cluster = find(state, call)?;
    match cluster
        .updates
        .iter()
        .find(|update| update.id == id && update.subject == subject)
    {
        Some(update) => Ok(json!({ "update": update.describe() })),
        None => Err(fault(
            404,
            "ResourceNotFoundException",
            &cluster.name,
            format!("No update found for ID: {id}"),
        )),
    }
}

/// Ends updates whose time has come.
pub fn tick(cluster: &mut Cluster, now: Millis) -> bool {
    let mut changed = false;
    for index in 0..cluster.updates.len() {
        let update = &mut cluster.updates[index];
        if !update.is_running() || now < update.due_at {
            continue;
        }
        let updated = match update.subject.split_once('/') {
            // An add-on's update ends with what its installer sees.
            Some(("addon", name)) => {
                update.status = match cluster.addons.get(name).map(|a| a.status.as_str()) {
                    Some("UPDATING") => continue,
                    Some("ACTIVE") => "Successful".to_owned(),
                    _ => "Failed".to_owned(),
                };
                changed = true;
                continue;
            }
            Some((_, name)) => cluster.nodegroups.get_mut(name).map(|g| &mut g.status),
            None => Some(&mut cluster.status),
        };
        if let Some(status) = updated.filter(|status| *status == "UPDATING") {
            *status = "ACTIVE".to_owned();
        }
        update.status = "Successful".to_owned();
        changed = true;
    }
    changed
}
