//! Managed node groups: instances are launched, their kubelets join, and only then is the group ACTIVE.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clusters::Cluster;
use super::{
    Call, Fault, access, arn, catalog, fault, find, find_active, fingerprint, fresh_id, invalid,
    network, page, seconds, strings, tags, texts, updates,
};
use crate::sandbox::aws::doom::Of;
use crate::sandbox::clock::Millis;
use crate::sandbox::state::{self, World};

/// From the call until instances are asked for.
const LAUNCH: Duration = Duration::from_secs(15);
/// From the call to ACTIVE, if the nodes have joined by then.
const CREATION: Duration = Duration::from_secs(110);
/// When nodes that have not joined make the creation a failure.
const PATIENCE: Duration = Duration::from_secs(25 * 60);
/// The least of it in real time: kubelets start no faster for a faster clock.
const REAL_PATIENCE: Millis = 30_000;
/// From the call until it is gone.
const DELETION: Duration = Duration::from_secs(3 * 60);
/// From the call until instances are terminated, the time in which their pods are drained.
const DRAIN: Duration = Duration::from_secs(60);
/// An update of labels, taints or sizes.
const UPDATE: Duration = Duration::from_secs(30);
/// An update of the version or the launch template, which replaces the nodes.
const REPLACEMENT: Duration = Duration::from_secs(5 * 60);

/// A managed node group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nodegroup {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `CREATING`, `ACTIVE`, `UPDATING`, `DEGRADED`, `CREATE_FAILED`, `DELETING`.
    pub status: String,
    /// The Kubernetes version of its nodes.
    pub version: String,
    /// The AMI's release.
    pub release: String,
    /// `AL2023_x86_64_STANDARD`.
    pub ami_type: String,
    /// `ON_DEMAND` or `SPOT`.
    pub capacity_type: String,
    /// Smallest, largest and wanted number of nodes.
    pub sizes: (u64, u64, u64),
    /// Instance types, the preferred one first.
    pub instance_types: Vec<String>,
    /// Where the instances go, in turn.
    pub subnets: Vec<String>,
    /// The nodes' role.
    pub role_arn: String,
    /// Labels that its nodes register with.
    pub labels: BTreeMap<String, String>,
    /// Taints, in the API's form.
    pub taints: Vec<Value>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The launch template in the API's form, or null.
    pub launch_template: Value,
    /// GiB, without a launch template.
    pub disk_size: Option<u64>,
    update_config: Value,
    /// Its instances.
    pub nodes: Vec<Node>,
    autoscaling_group: String,
    issue: Option<(String, String, Vec<String>)>,
    created_at: Millis,
    modified_at: Millis,
    launch_at: Millis,
    due_at: Millis,
    pub(super) fail_at: Millis,
    token: Option<String>,
    fingerprint: String,
}

/// An instance of a node group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `i-…`.
    pub instance: String,
    /// The private DNS name, which is the Node's name.
    pub name: String,
    /// `t3.large`.
    pub instance_type: String,
    /// The availability zone.
    pub zone: String,
    /// Its first address.
    pub address: Ipv4Addr,
    /// The subnet's addresses.
    pub subnet_cidr: String,
    /// The instance's state; its kubelet runs while it is `running`.
    pub state: String,
    /// Whether a Node of that name exists, as the supervisor sees it.
    pub registered: bool,
    /// Whether that Node is Ready.
    pub ready: bool,
}

impl Nodegroup {
    fn describe(&self, cluster: &str) -> Value {
        let issues: Vec<Value> = self
            .issue
            .iter()
            .map(|(code, message, ids)| json!({ "code": code, "message": message, "resourceIds": ids }))
            .collect();
        let templated = !self.launch_template.is_null();
        json!({
            "nodegroupName": self.name,
            "nodegroupArn": self.arn,
            "clusterName": cluster,
            "version": self.version,
            "releaseVersion": self.release,
            "createdAt": seconds(self.created_at),
            "modifiedAt": seconds(self.modified_at),
            "status": self.status,
            "capacityType": self.capacity_type,
            "scalingConfig": { "minSize": self.sizes.0, "maxSize": self.sizes.1, "desiredSize": self.sizes.2 },
            "instanceTypes": self.instance_types,
            "subnets": self.subnets,
            "amiType": self.ami_type,
            "nodeRole": self.role_arn,
            "labels": self.labels,
            "taints": (!self.taints.is_empty()).then_some(&self.taints),
            "resources": { "autoScalingGroups": [{ "name": self.autoscaling_group }] },
            "diskSize": self.disk_size.filter(|_| !templated),
            "health": { "issues": issues },
            "updateConfig": self.update_config,
            "launchTemplate": self.launch_template,
            "tags": self.tags,
        })
    }

    /// The name of its Auto Scaling group.
    pub fn autoscaling_group(&self) -> &str {
        &self.autoscaling_group
    }

    /// Whether every wanted node is there and Ready.
    pub fn ready(&self) -> bool {
        self.nodes.len() as u64 == self.sizes.2 && self.nodes.iter().all(|node| node.ready)
    }
}

fn name<'a>(call: &'a Call<'_>) -> &'a str {
    call.input["nodegroupName"].as_str().unwrap_or_default()
}

fn missing(cluster: &str, name: &str) -> Fault {
    let mut fault = fault(
        404,
        "ResourceNotFoundException",
        cluster,
        format!("No node group found for name: {name}."),
    );
    fault
        .fields
        .insert("nodegroupName".to_owned(), Value::from(name));
    fault
}

fn find_group<'a>(
    state: &'a mut state::State,
    call: &Call<'_>,
) -> Result<(&'a mut Nodegroup, &'a mut Vec<updates::Update>, String), Fault> {
    let cluster = find(state, call)?;
    let cluster_name = cluster.name.clone();
    match cluster.nodegroups.get_mut(name(call)) {
        Some(group) => Ok((group, &mut cluster.updates, cluster_name)),
        None => Err(missing(&cluster_name, name(call))),
    }
}

fn sizes(
    cluster: &str,
    scaling: &Value,
    before: (u64, u64, u64),
) -> Result<(u64, u64, u64), Fault> {
    let number = |member: &str, default| scaling[member].as_u64().unwrap_or(default);
    let (least, most, wanted) = (
        number("minSize", before.0),
        number("maxSize", before.1),
        number("desiredSize", before.2),
    );
    if least > wanted {
        return Err(invalid(
            cluster,
            format!("Minimum capacity {least} can't be greater than desired size {wanted}"),
        ));
    }
    if wanted > most {
        return Err(invalid(
            cluster,
            format!("desired capacity {wanted} can't be greater than max size {most}"),
        ));
    }
    Ok((least, most, wanted))
}

/// `CreateNodegroup`.
pub fn create(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = fresh_id(state, "nodegroup");
    let entry_id = fresh_id(state, "access-entry");
    let input = call.input;
    let print = fingerprint(call);
    let token = input["clientRequestToken"].as_str().map(str::to_owned);
    let cluster = find(state, call)?;
    let cluster_name = cluster.name.clone();
    if let Some(known) = cluster.nodegroups.get(name(call)) {
        if token.is_some() && known.token == token && known.fingerprint == print {
            return Ok(json!({ "nodegroup": known.describe(&cluster_name) }));
        }
        return Err(fault(
            409,
            "ResourceInUseException",
            &cluster_name,
            format!(
                "NodeGroup already exists with name {} and cluster name {cluster_name}",
                name(call)
            ),
        ));
    }
    let cluster = find_active(state, call)?.clone();
    let version = input["version"].as_str().unwrap_or(&cluster.version);
    let Some(offered) = catalog::find(version, call.world) else {
        return Err(invalid(
            &cluster_name,
            format!("Requested Nodegroup version {version} is not supported"),
        ));
    };
    let minor = |text: &str| {
        text.split_once('.')
            .and_then(|(_, m)| m.parse::<u32>().ok())
    };
    if minor(version) > minor(&cluster.version) {
        return Err(invalid(
            &cluster_name,
            format!(
                "Requested Nodegroup version {version} is greater than the cluster's version {}",
                cluster.version
            ),
        ));
    }
    let sizes = sizes(&cluster_name, &input["scalingConfig"], (1, 2, 2))?;
    let subnets = texts(&input["subnets"]);
    network::check_nodes(state, call, &cluster, &subnets)?;
    let role_arn = input["nodeRole"].as_str().unwrap_or_default().to_owned();
    network::check_node_role(state, &cluster_name, &role_arn)?;
    let launch_template = network::check_template(state, call, &cluster_name)?;
    let instance_types = texts(&input["instanceTypes"]);
    let now = call.world.clock.now();
    let group = Nodegroup {
        name: name(call).to_owned(),
        arn: arn(
            call.world,
            call.region,
            "nodegroup",
            &format!("{cluster_name}/{}/{id}", name(call)),
        ),
        status: "CREATING".to_owned(),
        version: version.to_owned(),
        release: input["releaseVersion"]
            .as_str()
            .map_or_else(|| offered.release(), str::to_owned),
        ami_type: input["amiType"]
            .as_str()
            .unwrap_or("AL2023_x86_64_STANDARD")
            .to_owned(),
        capacity_type: input["capacityType"]
            .as_str()
            .unwrap_or("ON_DEMAND")
            .to_owned(),
        sizes,
        instance_types: if instance_types.is_empty() {
            vec!["t3.medium".to_owned()]
        } else {
            instance_types
        },
        subnets,
        role_arn: role_arn.clone(),
        labels: strings(&input["labels"]),
        taints: input["taints"].as_array().cloned().unwrap_or_default(),
        tags: tags(call),
        launch_template,
        disk_size: Some(input["diskSize"].as_u64().unwrap_or(20)),
        update_config: match &input["updateConfig"] {
            Value::Null => json!({ "maxUnavailable": 1 }),
            given => given.clone(),
        },
        nodes: Vec::new(),
        autoscaling_group: format!("eks-{}-{id}", name(call)),
        issue: None,
        created_at: now,
        modified_at: now,
        launch_at: call.world.clock.after(LAUNCH),
        due_at: call.world.clock.after(CREATION),
        fail_at: call.world.clock.after(PATIENCE).max(now + REAL_PATIENCE),
        token,
        fingerprint: print,
    };
    let answer = json!({ "nodegroup": group.describe(&cluster_name) });
    let cluster = find(state, call)?;
    access::admit_nodes(cluster, call, &role_arn, &entry_id);
    cluster.nodegroups.insert(group.name.clone(), group);
    Ok(answer)
}

/// `ListNodegroups`.
pub fn list(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let cluster = find(state, call)?;
    Ok(page(call, "nodegroups", cluster.nodegroups.keys().cloned()))
}

/// `DescribeNodegroup`.
pub fn describe(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (group, _, cluster) = find_group(state, call)?;
    Ok(json!({ "nodegroup": group.describe(&cluster) }))
}

/// `DeleteNodegroup`.
pub fn delete(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let (group, updates, cluster) = find_group(state, call)?;
    let subject = format!("nodegroup/{}", group.name);
    if updates
        .iter()
        .any(|update| update.subject == subject && update.is_running())
    {
        return Err(fault(
            409,
            "ResourceInUseException",
            &cluster,
            format!(
                "Nodegroup cannot be deleted as it is currently in {} State",
                group.status
            ),
        ));
    }
    if group.status != "DELETING" {
        group.status = "DELETING".to_owned();
        group.modified_at = call.world.clock.now();
        group.launch_at = call.world.clock.after(DRAIN);
        group.due_at = call.world.clock.after(DELETION);
    }
    Ok(json!({ "nodegroup": group.describe(&cluster) }))
}

fn busy(group: &Nodegroup, cluster: &str) -> Result<(), Fault> {
    if matches!(group.status.as_str(), "ACTIVE" | "DEGRADED") {
        return Ok(());
    }
    Err(fault(
        409,
        "ResourceInUseException",
        cluster,
        "Nodegroup cannot be updated as it is currently not in Active State",
    ))
}

/// `UpdateNodegroupConfig`.
pub fn update_config(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = fresh_id(state, "update");
    let (group, updates, cluster) = find_group(state, call)?;
    busy(group, &cluster)?;
    let input = call.input;
    let mut params = Vec::new();
    if input["scalingConfig"].is_object() {
        group.sizes = sizes(&cluster, &input["scalingConfig"], group.sizes)?;
        for (kind, value) in [
            ("MinSize", group.sizes.0),
            ("MaxSize", group.sizes.1),
            ("DesiredSize", group.sizes.2),
        ] {
            params.push((kind.to_owned(), value.to_string()));
        }
    }
    let labels = &input["labels"];
    if labels.is_object() {
        group.labels.extend(strings(&labels["addOrUpdateLabels"]));
        for key in texts(&labels["removeLabels"]) {
            group.labels.remove(&key);
        }
        params.push((
            "LabelsToAdd".to_owned(),
            labels["addOrUpdateLabels"].to_string(),
        ));
    }
    let taints = &input["taints"];
    if taints.is_object() {
        let same = |a: &Value, b: &Value| a["key"] == b["key"] && a["effect"] == b["effect"];
        for taint in ["removeTaints", "addOrUpdateTaints"]
            .iter()
            .flat_map(|member| taints[*member].as_array().into_iter().flatten())
        {
            group.taints.retain(|known| !same(known, taint));
        }
        if let Some(added) = taints["addOrUpdateTaints"].as_array() {
            group.taints.extend(added.iter().cloned());
        }
        params.push((
            "TaintsToAdd".to_owned(),
            taints["addOrUpdateTaints"].to_string(),
        ));
    }
    if input["updateConfig"].is_object() {
        group.update_config = input["updateConfig"].clone();
        params.push((
            "MaxUnavailable".to_owned(),
            input["updateConfig"]["maxUnavailable"].to_string(),
        ));
    }
    if params.is_empty() {
        return Err(invalid(
            &cluster,
            "No changes needed for the nodegroup config provided",
        ));
    }
    finish(call, group, updates, id, "ConfigUpdate", params, UPDATE)
}

/// `UpdateNodegroupVersion`.
pub fn update_version(state: &mut state::State, call: &Call<'_>) -> Result<Value, Fault> {
    let id = fresh_id(state, "update");
    let template = match &call.input["launchTemplate"] {
        Value::Null => Value::Null,
        _ => network::check_template(state, call, super::cluster_name(call))?,
    };
    let newest = find(state, call)?.version.clone();
    let (group, updates, cluster) = find_group(state, call)?;
    busy(group, &cluster)?;
    let version = call.input["version"].as_str().unwrap_or(&newest);
    let Some(offered) = catalog::find(version, call.world) else {
        return Err(invalid(
            &cluster,
            format!("Requested Nodegroup version {version} is not supported"),
        ));
    };
    group.version = version.to_owned();
    group.release = offered.release();
    let mut params = vec![
        ("Version".to_owned(), version.to_owned()),
        ("ReleaseVersion".to_owned(), group.release.clone()),
    ];
    if !template.is_null() {
        params.push((
            "LaunchTemplateVersion".to_owned(),
            template["version"].as_str().unwrap_or_default().to_owned(),
        ));
        group.launch_template = template;
    }
    finish(
        call,
        group,
        updates,
        id,
        "VersionUpdate",
        params,
        REPLACEMENT,
    )
}

fn finish(
    call: &Call<'_>,
    group: &mut Nodegroup,
    updates: &mut Vec<updates::Update>,
    id: String,
    kind: &str,
    params: Vec<(String, String)>,
    duration: Duration,
) -> Result<Value, Fault> {
    group.status = "UPDATING".to_owned();
    group.modified_at = call.world.clock.now();
    let subject = format!("nodegroup/{}", group.name);
    let update = updates::begin(call, id, subject, kind, params, duration);
    let answer = json!({ "update": update.describe() });
    updates.push(update);
    Ok(answer)
}

/// The supervisor says how a node is seen in the cluster. Returns whether that is news.
pub fn observe(group: &mut Nodegroup, instance: &str, registered: bool, ready: bool) -> bool {
    let Some(node) = group
        .nodes
        .iter_mut()
        .find(|node| node.instance == instance)
    else {
        return false;
    };
    let news = (node.registered, node.ready) != (registered, ready);
    (node.registered, node.ready) = (registered, ready);
    news
}

/// Launches, counts and terminates instances.
pub fn tick(state: &mut state::State, world: &World, cluster: &mut Cluster, now: Millis) -> bool {
    let mut changed = false;
    let names: Vec<String> = cluster.nodegroups.keys().cloned().collect();
    for name in names {
        let Some(mut group) = cluster.nodegroups.remove(&name) else {
            continue;
        };
        changed |= network::refresh(state, world, &cluster.region, &mut group);
        if group.status == "DELETING" {
            let alive = |node: &Node| matches!(node.state.as_str(), "pending" | "running");
            if now >= group.launch_at && group.nodes.iter().any(alive) {
                network::terminate(state, world, &cluster.region, &group.nodes);
                changed = true;
            }
            if now >= group.due_at && state.doomed.take(Of::Deletion, &group.arn) {
                group.status = "DELETE_FAILED".to_owned();
                group.issue = Some((
                    "Ec2LaunchTemplateDeletionFailure".to_owned(),
                    "Failed to delete the launch template of the node group".to_owned(),
                    vec![group.autoscaling_group.clone()],
                ));
                changed = true;
            } else if now >= group.due_at && group.nodes.is_empty() {
                state.doomed.take(Of::Creation, &group.arn);
                network::drop_profile(state, &group);
                changed = true;
                continue;
            }
        } else if now >= group.launch_at {
            changed |= scale(state, world, cluster, &mut group);
            let fails = state.doomed.has(Of::Creation, &group.arn);
            changed |= judge(&mut group, fails, now);
        }
        cluster.nodegroups.insert(name, group);
    }
    changed
}

/// Brings the number of instances to the wanted one.
fn scale(
    state: &mut state::State,
    world: &World,
    cluster: &Cluster,
    group: &mut Nodegroup,
) -> bool {
    if matches!(group.status.as_str(), "CREATE_FAILED" | "DELETE_FAILED") {
        return false;
    }
    let mut changed = false;
    while (group.nodes.len() as u64) < group.sizes.2 {
        let subnet = group.subnets[group.nodes.len() % group.subnets.len()].clone();
        match network::launch(state, world, cluster, group, &subnet) {
            Ok(node) => group.nodes.push(node),
            Err(fault) => {
                let issue = Some((
                    "AsgInstanceLaunchFailures".to_owned(),
                    format!(
                        "Could not launch On-Demand Instances. {} - {}. Launching EC2 instance failed.",
                        fault.code, fault.message
                    ),
                    vec![group.autoscaling_group.clone()],
                ));
                changed |= group.issue != issue;
                group.issue = issue;
                return changed;
            }
        }
        changed = true;
    }
    if group.nodes.len() as u64 > group.sizes.2 {
        let surplus = &group.nodes[group.sizes.2 as usize..];
        if surplus.iter().any(|node| node.state == "running") {
            network::terminate(state, world, &cluster.region, surplus);
            changed = true;
        }
    }
    changed
}

/// How a group's creation ends; one that is to fail does.
fn judge(group: &mut Nodegroup, fails: bool, now: Millis) -> bool {
    let status = match group.status.as_str() {
        "CREATING" if fails && now >= group.due_at => "CREATE_FAILED",
        "CREATE_FAILED" if fails => return false,
        "CREATING" if now >= group.due_at && group.ready() => "ACTIVE",
        "CREATING" if now >= group.fail_at => "CREATE_FAILED",
        "CREATE_FAILED" if group.ready() => "ACTIVE",
        _ => return false,
    };
    group.status = status.to_owned();
    group.modified_at = now;
    if status == "ACTIVE" {
        group.issue = None;
    } else if group.issue.is_none() {
        let absent: Vec<String> = group
            .nodes
            .iter()
            .filter(|node| !node.ready)
            .map(|node| node.instance.clone())
            .collect();
        let message = if group.nodes.iter().any(|node| !node.registered) {
            "Instances failed to join the kubernetes cluster"
        } else {
            "Unhealthy nodes in the kubernetes cluster"
        };
        group.issue = Some(("NodeCreationFailure".to_owned(), message.to_owned(), absent));
    }
    true
}
