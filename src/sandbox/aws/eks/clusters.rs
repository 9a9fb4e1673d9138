//! Clusters, and the passing of time for all that belongs to them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{self, AccessEntry};
use super::addons::{self, Addon};
use super::nodegroups::{self, Nodegroup};
use super::pods::Association;
use super::updates::{self, Update};
use super::{
    Call, Fault, arn, catalog, cluster_name, fault, find, fingerprint, fresh_id, invalid, key,
    network, page, seconds, tags,
};
use crate::sandbox::aws::doom::Of;
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{self, World};

/// From `CreateCluster` to ACTIVE.
const CREATION: Duration = Duration::from_secs(9 * 60);
/// From `CreateCluster` until the cluster's security group and network interfaces are there.
const NETWORKING: Duration = Duration::from_secs(90);
/// From `DeleteCluster` until it is gone.
const DELETION: Duration = Duration::from_secs(4 * 60);
/// How often the control plane writes its logs, and makes the log group anew when somebody has deleted it.
const LOG_FLUSH: Duration = Duration::from_secs(60);
/// Clusters per region and account (`L-1194D53C`).
const QUOTA: usize = 100;

/// A cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its ARN.
    pub arn: String,
    /// Unique also among clusters of the same name: 32 upper-case hexadecimal digits, the end of its issuer URL.
    pub id: String,
    /// Creation.
    pub created_at: Millis,
    /// The Kubernetes version: `1.35`.
    pub version: String,
    /// `CREATING`, `ACTIVE`, `UPDATING`, `DELETING`, `FAILED`.
    pub status: String,
    /// The role that EKS acts with.
    pub role_arn: String,
    /// The network: subnets, security groups, VPC, endpoint access, in the members of `VpcConfigResponse`.
    pub vpc: Value,
    /// The control plane's network interfaces.
    pub interfaces: Vec<String>,
    /// The range of Service addresses.
    pub service_cidr: String,
    /// `STANDARD` or `EXTENDED`.
    pub support: String,
    /// The kinds of control-plane logs that are on.
    pub logs: Vec<String>,
    /// `API`, `API_AND_CONFIG_MAP` or `CONFIG_MAP`.
    pub authentication_mode: String,
    /// Whether its creator became its administrator.
    pub bootstrap_admin: bool,
    /// Refuses deletion.
    pub deletion_protection: bool,
    /// Encryption of secrets, as asked for.
    pub encryption: Value,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// When the status changes next: creation or deletion ends.
    pub due_at: Millis,
    /// When the control plane writes logs next.
    pub logs_at: Millis,
    token: Option<String>,
    fingerprint: String,
    /// Where its API server listens, once it has been started; kept over restarts.
    pub runtime: Option<Runtime>,
    /// Updates, oldest first.
    pub updates: Vec<Update>,
    /// Node groups by name.
    pub nodegroups: BTreeMap<String, Nodegroup>,
    /// Add-ons by name.
    pub addons: BTreeMap<String, Addon>,
    /// Add-ons that EKS put there at the start and does not manage: name and version.
    #[serde(default)]
    pub self_managed: BTreeMap<String, String>,
    /// Access entries by principal ARN.
    pub access_entries: BTreeMap<String, AccessEntry>,
    /// Pod identity associations by id.
    pub associations: BTreeMap<String, Association>,
}

/// What the supervisor says of a running API server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Runtime {
    /// `https://127.0.0.1:PORT`.
    pub endpoint: String,
    /// The loopback port, taken again after a restart.
    pub port: u16,
    /// The certificate authority, PEM.
    pub certificate_authority: String,
    /// The loopback port of the webhooks that EKS runs beside it, taken again after a restart.
    #[serde(default)]
    pub webhook_port: u16,
    /// Which Kubernetes it is, for people; empty until it runs.
    #[serde(skip)]
    pub kubernetes: String,
}

impl Cluster {
    /// The issuer of its service-account tokens.
    pub fn issuer(&self) -> String {
        format!(
            "https://oidc.eks.{}.amazonaws.com/id/{}",
            self.region, self.id
        )
    }

    /// The folder of its API server's files, below the sandbox's `clusters`. Another cluster of the same name has another.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.name, self.id[..8].to_lowercase())
    }

    /// The security group that EKS made for it, once it is there.
    pub fn security_group(&self) -> Option<&str> {
        self.vpc["clusterSecurityGroupId"].as_str()
    }

    fn describe(&self) -> Value {
        let public = matches!(self.status.as_str(), "ACTIVE" | "UPDATING" | "DELETING");
        let runtime = self.runtime.as_ref().filter(|_| public);
        let authority = runtime.map(|runtime| {
            base64::engine::general_purpose::STANDARD.encode(&runtime.certificate_authority)
        });
        let all = [
            "api",
            "audit",
            "authenticator",
            "controllerManager",
            "scheduler",
        ];
        let (on, off): (Vec<&str>, Vec<&str>) = all
            .iter()
            .partition(|kind| self.logs.iter().any(|log| log == *kind));
        let mut logging = Vec::new();
        if !on.is_empty() {
            logging.push(json!({ "types": on, "enabled": true }));
        }
        if !off.is_empty() {
            logging.push(json!({ "types": off, "enabled": false }));
        }
        let platform = catalog::known(&self.version).map(|version| version.platform());
        json!({
            "name": self.name,
            "arn": self.arn,
            "createdAt": seconds(self.created_at),
            "version": self.version,
            "endpoint": runtime.map(|runtime| &runtime.endpoint),
            "roleArn": self.role_arn,
            "resourcesVpcConfig": self.vpc,
            "kubernetesNetworkConfig": {
                "serviceIpv4Cidr": self.service_cidr,
                "ipFamily": "ipv4",
                "elasticLoadBalancing": { "enabled": false },
            },
            "logging": { "clusterLogging": logging },
            "identity": public.then(|| json!({ "oidc": { "issuer": self.issuer() } })),
            "status": self.status,
            "certificateAuthority": authority.map_or(json!({}), |data| json!({ "data": data })),
            "clientRequestToken": self.token,
            "platformVersion": platform,
            "tags": self.tags,
            "encryptionConfig": self.encryption,
            "health": { "issues": [] },
            "accessConfig": {
                "bootstrapClusterCreatorAdminPermissions": self.bootstrap_admin,
                "authenticationMode": self.authentication_mode,
            },
            "upgradePolicy": { "supportType": self.support },
            "deletionProtection": self.deletion_protection,
        })
    }
}

/// The kinds of logs that a `Logging` structure turns on or off, in that order.
pub fn log_kinds(logging: &Value) -> (Vec<String>, Vec<String>) {
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for setup in logging["clusterLogging"].as_array().into_iter().flatten() {
        let list = if setup["enabled"] == true {
            &mut on
        } else {
            &mut off
        };
        list.extend(super::texts(&setup["types"]));
    }
    (on, off)
}

/// `CreateCluster`.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let input = call.input;
    let name = cluster_name(call).to_owned();
    let id = key(call.region, &name);
    let token = input["clientRequestToken"].as_str().map(str::to_owned);
    let print = fingerprint(call);
    if let Some(known) = state.eks.clusters.get(&id) {
        if token.is_some() && known.token == token && known.fingerprint == print {
            return Ok(json!({ "cluster": known.describe() }));
        }
        return Err(fault(
            409,
            "ResourceInUseException",
            &name,
            format!("Cluster already exists with name: {name}"),
        ));
    }
    let in_region = state
        .eks
        .clusters
        .values()
        .filter(|cluster| cluster.region == call.region)
        .count();
    if in_region >= QUOTA {
        return Err(fault(
            400,
            "ResourceLimitExceededException",
            &name,
            format!("Cluster limit exceeded: {QUOTA}"),
        ));
    }
    let now = call.world.clock.now();
    let version = input["version"].as_str().unwrap_or(&call.world.kubernetes);
    if catalog::served(call.world).is_none_or(|served| served.name != version) {
        return Err(invalid(
            &name,
            format!("unsupported Kubernetes version {version}"),
        ));
    }
    let role = input["roleArn"].as_str().unwrap_or_default();
    if !network::role_trusts(state, role, "eks.amazonaws.com") {
        return Err(invalid(
            &name,
            format!(
                "Role with arn: {role}, could not be assumed because it does not exist or the trusted entity is not correct"
            ),
        ));
    }
    let vpc = network::check_cluster(state, call, &name, &input["resourcesVpcConfig"])?;
    let service_cidr = service_range(state, call, &name, &vpc)?;
    let mode = input["accessConfig"]["authenticationMode"]
        .as_str()
        .unwrap_or("CONFIG_MAP")
        .to_owned();
    let bootstrap = input["accessConfig"]["bootstrapClusterCreatorAdminPermissions"] != false;
    let uuid = fresh_id(state, &id);
    let mut cluster = Cluster {
        arn: arn(call.world, call.region, "cluster", &name),
        name,
        region: call.region.to_owned(),
        id: uuid.replace('-', "").to_uppercase(),
        created_at: now,
        version: version.to_owned(),
        status: "CREATING".to_owned(),
        role_arn: role.to_owned(),
        vpc,
        interfaces: Vec::new(),
        service_cidr,
        support: input["upgradePolicy"]["supportType"]
            .as_str()
            .unwrap_or("EXTENDED")
            .to_owned(),
        logs: log_kinds(&input["logging"]).0,
        authentication_mode: mode,
        bootstrap_admin: bootstrap,
        deletion_protection: input["deletionProtection"] == true,
        encryption: input["encryptionConfig"].clone(),
        tags: tags(call),
        due_at: call.world.clock.after(CREATION),
        logs_at: call.world.clock.after(CREATION),
        token,
        fingerprint: print,
        runtime: None,
        updates: Vec::new(),
        nodegroups: BTreeMap::new(),
        addons: BTreeMap::new(),
        self_managed: BTreeMap::new(),
        access_entries: BTreeMap::new(),
        associations: BTreeMap::new(),
    };
    if bootstrap {
        access::bootstrap(state, call, &mut cluster);
    }
    // Without this the classic way is taken: self-managed add-ons are there from the start and no add-on of EKS's.
    if input["bootstrapSelfManagedAddons"] != false {
        addons::self_managed(&mut cluster, call);
    }
    let answer = json!({ "cluster": cluster.describe() });
    state.eks.clusters.insert(id, cluster);
    Ok(answer)
}

/// The range of Service addresses: the one asked for, or the one of EKS's two that the VPC does not use.
fn service_range(
    state: &mut state::State,
    call: &Call<'_>,
    name: &str,
    vpc: &Value,
) -> Result<String, Fault> {
    let block = network::vpc_block(state, call, vpc["vpcId"].as_str().unwrap_or_default());
    let asked = call.input["kubernetesNetworkConfig"]["serviceIpv4Cidr"].as_str();
    let Some(asked) = asked else {
        let first = if block.starts_with("10.") {
            "172.20.0.0/16"
        } else {
            "10.100.0.0/16"
        };
        return Ok(first.to_owned());
    };
    let prefix: u8 = asked
        .split_once('/')
        .and_then(|(_, prefix)| prefix.parse().ok())
        .unwrap_or(0);
    let private = ["10.", "192.168."]
        .iter()
        .any(|start| asked.starts_with(start))
        || (16..32).any(|second| asked.starts_with(&format!("172.{second}.")));
    if !private || !(12..=24).contains(&prefix) {
        return Err(invalid(
            name,
            format!(
                "The specified serviceIpv4Cidr is not valid: {asked} must be within 10.0.0.0/8, 172.16.0.0/12 or \
                 192.168.0.0/16, between /24 and /12"
            ),
        ));
    }
    Ok(asked.to_owned())
}

/// `ListClusters`.
pub fn list(state: &state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let names = state
        .eks
        .clusters
        .values()
        .filter(|cluster| cluster.region == call.region)
        .map(|cluster| cluster.name.clone());
    Ok(page(call, "clusters", names))
}

/// `DescribeCluster`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let cluster = find(state, call)?;
    Ok(json!({ "cluster": cluster.describe() }))
}

/// `DeleteCluster`.
pub fn delete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let due = call.world.clock.after(DELETION);
    let cluster = find(state, call)?;
    let name = cluster.name.clone();
    let busy = |message: String| Err(fault(409, "ResourceInUseException", &name, message));
    if cluster.deletion_protection {
        return Err(fault(
            400,
            "InvalidRequestException",
            &name,
            format!(
                "Cluster {name} has deletion protection enabled; disable it before deleting the cluster"
            ),
        ));
    }
    if !cluster.nodegroups.is_empty() {
        return busy("Cluster has nodegroups attached".to_owned());
    }
    if let Some(update) = cluster.updates.iter().find(|update| update.is_running()) {
        return busy(format!(
            "Cannot delete because cluster {name} currently has update {} in progress",
            update.id
        ));
    }
    if cluster.status != "DELETING" {
        cluster.status = "DELETING".to_owned();
        cluster.due_at = due;
    }
    Ok(json!({ "cluster": cluster.describe() }))
}

/// Lets time pass for every cluster.
pub fn tick(state: &mut state::State, world: &World) -> bool {
    let now = world.clock.now();
    let keys: Vec<String> = state.eks.clusters.keys().cloned().collect();
    let mut changed = false;
    for key in keys {
        // The cluster is taken out so that the other services' state can be worked on beside it.
        let Some(mut cluster) = state.eks.clusters.remove(&key) else {
            continue;
        };
        changed |= updates::tick(&mut cluster, now);
        changed |= nodegroups::tick(state, world, &mut cluster, now);
        changed |= addons::tick(&mut cluster, world, &mut state.doomed, now);
        changed |= step(state, world, &mut cluster, now);
        if cluster.status == "DELETING" && now >= cluster.due_at {
            network::remove(state, world, &mut cluster);
            state.eks.issuers.remove(&cluster.issuer());
            changed = true;
        } else {
            state.eks.clusters.insert(key, cluster);
        }
    }
    changed
}

fn step(state: &mut state::State, world: &World, cluster: &mut Cluster, now: Millis) -> bool {
    let networked = cluster.created_at + world.clock.scale(NETWORKING).as_millis() as Millis;
    let mut changed = false;
    if cluster.status == "CREATING" && cluster.security_group().is_none() && now >= networked {
        changed = network::prepare(state, world, cluster);
    }
    if cluster.status == "CREATING"
        && now >= cluster.due_at
        && cluster.runtime.is_some()
        && cluster.security_group().is_some()
    {
        let fails = state.doomed.take(Of::Creation, &cluster.arn);
        cluster.status = if fails { "FAILED" } else { "ACTIVE" }.to_owned();
        changed = true;
    }
    if !cluster.logs.is_empty() && cluster.status != "CREATING" && now >= cluster.logs_at {
        cluster.logs_at = world.clock.after(LOG_FLUSH);
        changed |= network::ensure_log_group(state, world, cluster);
    }
    changed
}

/// The supervisor says that a cluster's API server answers.
pub fn started(state: &mut state::State, key: &str, runtime: Runtime, keys: Value) {
    let Some(cluster) = state.eks.clusters.get_mut(key) else {
        return;
    };
    cluster.runtime = Some(runtime);
    let issuer = cluster.issuer();
    state.eks.issuers.insert(issuer, keys);
}
