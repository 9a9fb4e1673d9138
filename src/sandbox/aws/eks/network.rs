//! What EKS needs of the other services: subnets, security groups, network interfaces and instances of EC2, roles of IAM,
//! log groups of CloudWatch Logs.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::clusters::Cluster;
use super::nodegroups::{Node, Nodegroup};
use super::{Call, Fault, fault, invalid, texts};
use crate::sandbox::aws::ec2::{Ec2, NewInterface, NewNode};
use crate::sandbox::aws::iam::InstanceProfile;
use crate::sandbox::aws::iam::policy::{Context, Decision, Document, Kind, Principal, Request};
use crate::sandbox::aws::{self, Caller};
use crate::sandbox::state::{self, World};

/// The one availability zone in which EKS offers no control planes, whatever the account (`use1-az3`; its name here).
const WITHOUT_EKS: &str = "us-east-1e";
/// How many network interfaces a control plane has.
const INTERFACES: usize = 2;

fn role_name(arn: &str) -> Option<&str> {
    let (_, path) = arn.split_once(":role/")?;
    path.rsplit('/').next()
}

/// Whether a role exists and lets a service assume it.
pub fn role_trusts(state: &state::State, arn: &str, service: &str) -> bool {
    let Some(role) = role_name(arn).and_then(|name| state.iam.roles.get(name)) else {
        return false;
    };
    Document::parse(&role.trust, Kind::Trust).is_ok_and(|trust| {
        let request = Request {
            action: "sts:AssumeRole",
            resource: "*",
            context: &Context::default(),
            principal: Some(Principal::Service(service)),
        };
        trust.evaluate(&request) == Decision::Allowed
    })
}

/// Whether a role or user exists.
pub fn principal_exists(state: &state::State, arn: &str) -> bool {
    if let Some(name) = role_name(arn) {
        return state.iam.roles.contains_key(name);
    }
    match arn.split_once(":user/") {
        Some((_, path)) => state
            .iam
            .users
            .contains_key(path.rsplit('/').next().unwrap_or(path)),
        None => arn.starts_with("arn:aws:iam::") && arn.ends_with(":root"),
    }
}

/// An error of EC2's as EKS passes it on.
fn passed_on(cluster: &str, from: &Fault) -> Fault {
    invalid(
        cluster,
        format!(
            "{} (Service: Ec2, Status Code: {}, Error Code: {})",
            from.message, from.status, from.code
        ),
    )
}

/// Checks a new cluster's network; the answer is its `VpcConfigResponse`.
pub fn check_cluster(
    state: &mut state::State,
    call: &Call<'_>,
    name: &str,
    config: &Value,
) -> Result<Value, Fault> {
    let subnets = texts(&config["subnetIds"]);
    if subnets.is_empty() {
        return Err(invalid(name, "subnetIds must not be empty"));
    }
    let ec2 = Ec2::of(state, call.world, call.region);
    let mut zones = BTreeSet::new();
    let mut vpcs = BTreeSet::new();
    for id in &subnets {
        let subnet = ec2.subnet(id).map_err(|from| passed_on(name, &from))?;
        if subnet.zone == WITHOUT_EKS {
            let valid: Vec<String> = aws::ec2::zones(call.region)
                .into_iter()
                .filter(|zone| zone != WITHOUT_EKS)
                .collect();
            let message = format!(
                "Cannot create cluster '{name}' because {WITHOUT_EKS}, the targeted availability zone, does not \
                 currently have sufficient capacity to support the cluster. Retry and choose from these availability \
                 zones: {}",
                valid.join(", ")
            );
            return Err(
                fault(400, "UnsupportedAvailabilityZoneException", name, message)
                    .with("validZones", valid),
            );
        }
        zones.insert(subnet.zone.clone());
        vpcs.insert(subnet.vpc.clone());
    }
    if zones.len() < 2 {
        return Err(invalid(
            name,
            "Subnets specified must be in at least two different AZs",
        ));
    }
    let mut vpcs = vpcs.into_iter();
    let (Some(vpc), None) = (vpcs.next(), vpcs.next()) else {
        return Err(invalid(name, "Subnets specified must be in the same VPC"));
    };
    let groups = texts(&config["securityGroupIds"]);
    for id in &groups {
        let group = ec2
            .security_group(id)
            .map_err(|from| passed_on(name, &from))?;
        if group.vpc != vpc {
            return Err(invalid(
                name,
                format!("Security group {id} is not in the VPC {vpc} of the subnets"),
            ));
        }
    }
    let (public, private) = (
        config["endpointPublicAccess"] != false,
        config["endpointPrivateAccess"] == true,
    );
    if !public && !private {
        return Err(invalid(
            name,
            "Private and public endpoint access cannot be false",
        ));
    }
    let ranges = texts(&config["publicAccessCidrs"]);
    Ok(json!({
        "subnetIds": subnets,
        "securityGroupIds": groups,
        "vpcId": vpc,
        "endpointPublicAccess": public,
        "endpointPrivateAccess": private,
        "publicAccessCidrs": if ranges.is_empty() { vec!["0.0.0.0/0".to_owned()] } else { ranges },
    }))
}

/// The addresses of a VPC.
pub fn vpc_block(state: &mut state::State, call: &Call<'_>, vpc: &str) -> String {
    Ec2::of(state, call.world, call.region)
        .region
        .vpcs
        .get(vpc)
        .map_or(String::new(), |vpc| vpc.cidr.clone())
}

/// Makes a cluster's security group and its control plane's network interfaces. A network that has gone meanwhile makes the
/// cluster FAILED.
pub fn prepare(state: &mut state::State, world: &World, cluster: &mut Cluster) -> bool {
    let outcome = (|| {
        let mut ec2 = Ec2::of(state, world, &cluster.region);
        let vpc = cluster.vpc["vpcId"].as_str().unwrap_or_default();
        let digits: String = cluster
            .id
            .bytes()
            .take(10)
            .map(|byte| char::from(b'0' + byte % 10))
            .collect();
        let name = format!("eks-cluster-sg-{}-{digits}", cluster.name);
        let group = ec2.add_service_group(
            vpc,
            &name,
            "EKS created security group applied to ENI that is attached to EKS Control Plane master nodes, as well as any \
             managed workloads.",
            vec![
                ("Name".to_owned(), name.clone()),
                ("aws:eks:cluster-name".to_owned(), cluster.name.clone()),
                (format!("kubernetes.io/cluster/{}", cluster.name), "owned".to_owned()),
            ],
        )?;
        let mut groups = texts(&cluster.vpc["securityGroupIds"]);
        groups.push(group.clone());
        let mut zones = BTreeSet::new();
        for subnet in texts(&cluster.vpc["subnetIds"]) {
            let zone = ec2.subnet(&subnet)?.zone.clone();
            if cluster.interfaces.len() < INTERFACES && zones.insert(zone) {
                cluster.interfaces.push(ec2.insert_interface(NewInterface {
                    subnet,
                    groups: groups.clone(),
                    description: format!("Amazon EKS {}", cluster.name),
                    requester: Some("amazon-eks".to_owned()),
                    attached: true,
                    tags: vec![(
                        "cluster.eks.amazonaws.com/name".to_owned(),
                        cluster.name.clone(),
                    )],
                    ..NewInterface::default()
                })?);
            }
        }
        Ok::<String, Fault>(group)
    })();
    match outcome {
        Ok(group) => cluster.vpc["clusterSecurityGroupId"] = Value::from(group),
        Err(fault) => {
            tracing::warn!(
                "cluster {}: {}: {}",
                cluster.name,
                fault.code,
                fault.message
            );
            cluster.status = "FAILED".to_owned();
        }
    }
    true
}

/// Takes a deleted cluster's interfaces and security group away. A group that somebody still uses stays behind, as it does
/// in reality.
pub fn remove(state: &mut state::State, world: &World, cluster: &mut Cluster) {
    let mut ec2 = Ec2::of(state, world, &cluster.region);
    for id in cluster.interfaces.drain(..) {
        ec2.remove_interface(&id);
    }
    if let Some(group) = cluster.security_group()
        && let Err(fault) = ec2.drop_security_group(group)
    {
        tracing::info!("cluster {}: {}", cluster.name, fault.message);
    }
}

/// Makes the log group of a cluster's control plane, unless it is there.
pub fn ensure_log_group(state: &mut state::State, world: &World, cluster: &Cluster) -> bool {
    let caller = Caller::service_linked(&world.account, "AWSServiceRoleForAmazonEKS", "eks");
    let input = json!({ "logGroupName": format!("/aws/eks/{}/cluster", cluster.name) });
    aws::invoke(
        world,
        state,
        &caller,
        &cluster.region,
        "logs",
        "CreateLogGroup",
        &input,
    )
    .is_ok()
}

/// Checks a node group's subnets.
pub fn check_nodes(
    state: &mut state::State,
    call: &Call<'_>,
    cluster: &Cluster,
    subnets: &[String],
) -> Result<(), Fault> {
    if subnets.is_empty() {
        return Err(invalid(&cluster.name, "subnets must not be empty"));
    }
    let ec2 = Ec2::of(state, call.world, call.region);
    for id in subnets {
        let subnet = ec2
            .subnet(id)
            .map_err(|from| passed_on(&cluster.name, &from))?;
        if cluster.vpc["vpcId"] != *subnet.vpc {
            return Err(invalid(
                &cluster.name,
                "Subnets are not in the same VPC as the cluster",
            ));
        }
    }
    Ok(())
}

/// Checks the role that nodes get.
pub fn check_node_role(state: &state::State, cluster: &str, arn: &str) -> Result<(), Fault> {
    if !principal_exists(state, arn) || role_name(arn).is_none() {
        let name = role_name(arn).unwrap_or(arn);
        return Err(fault(
            400,
            "InvalidRequestException",
            cluster,
            format!(
                "The role with name {name} cannot be found. (Service: AmazonIdentityManagement; Status Code: 404; Error \
                 Code: NoSuchEntity)"
            ),
        ));
    }
    if !role_trusts(state, arn, "ec2.amazonaws.com") {
        return Err(invalid(
            cluster,
            format!(
                "Following required service principals [ec2.amazonaws.com] were not found in the trust relationships of \
                 nodeRole {arn}"
            ),
        ));
    }
    Ok(())
}

/// Resolves the launch template of a request to `{name, id, version}`; null without one.
pub fn check_template(
    state: &mut state::State,
    call: &Call<'_>,
    cluster: &str,
) -> Result<Value, Fault> {
    let given = &call.input["launchTemplate"];
    if given.is_null() {
        return Ok(Value::Null);
    }
    if !call.input["diskSize"].is_null() {
        return Err(invalid(
            cluster,
            "Disk size must be specified within the launch template.",
        ));
    }
    if !call.input["remoteAccess"].is_null() {
        return Err(invalid(
            cluster,
            "Remote access configuration cannot be specified with a launch template.",
        ));
    }
    let version = given["version"].as_str().unwrap_or("$Default");
    let ec2 = Ec2::of(state, call.world, call.region);
    let (template, version) = ec2
        .launch_template_version(given["id"].as_str(), given["name"].as_str(), version)
        .map_err(|from| {
            fault(
                400,
                "InvalidRequestException",
                cluster,
                format!("Launch template: {} ({})", from.message, from.code),
            )
        })?;
    if !call.input["instanceTypes"].is_null() && !version.data["instanceType"].is_null() {
        return Err(invalid(
            cluster,
            "Cannot specify instance types in launch template and API request",
        ));
    }
    Ok(json!({ "name": template.name, "id": template.id, "version": version.number.to_string() }))
}

/// Launches an instance of a node group, with an instance profile that EKS makes for its role.
pub fn launch(
    state: &mut state::State,
    world: &World,
    cluster: &Cluster,
    group: &Nodegroup,
    subnet: &str,
) -> Result<Node, Fault> {
    let profile = ensure_profile(state, world, group);
    let mut ec2 = Ec2::of(state, world, &cluster.region);
    let template = group.launch_template["id"].as_str().and_then(|id| {
        let version = group.launch_template["version"].as_str()?;
        Some((id.to_owned(), version.parse::<u64>().ok()?))
    });
    let data = match &template {
        Some((id, version)) => ec2
            .launch_template_version(Some(id), None, &version.to_string())?
            .1
            .data
            .clone(),
        None => Value::Null,
    };
    let mut groups = texts(&data["securityGroupIdSet"]);
    if groups.is_empty() {
        groups.extend(cluster.security_group().map(str::to_owned));
    }
    let kind = data["instanceType"]
        .as_str()
        .or(group.instance_types.first().map(String::as_str))
        .unwrap_or("t3.medium");
    let mut tags = vec![
        ("eks:cluster-name".to_owned(), cluster.name.clone()),
        ("eks:nodegroup-name".to_owned(), group.name.clone()),
        (
            format!("kubernetes.io/cluster/{}", cluster.name),
            "owned".to_owned(),
        ),
        (
            "aws:autoscaling:groupName".to_owned(),
            group.autoscaling_group().to_owned(),
        ),
    ];
    if template.is_none() {
        tags.push((
            "Name".to_owned(),
            format!("{}-{}-Node", cluster.name, group.name),
        ));
    }
    let instance = ec2.run_node(NewNode {
        subnet: subnet.to_owned(),
        kind: kind.to_owned(),
        image: "ami-0a1b2c3d4e5f60718".to_owned(),
        groups,
        profile: Some(profile),
        template,
        cluster: Some(cluster.name.clone()),
        tags,
    })?;
    let subnet_cidr = ec2.subnet(subnet)?.cidr.clone();
    Ok(Node {
        instance: instance.id,
        name: instance.host_name,
        instance_type: instance.kind,
        zone: instance.zone,
        address: instance.address,
        subnet_cidr,
        state: instance.state,
        registered: false,
        ready: false,
    })
}

fn profile_name(group: &Nodegroup) -> String {
    format!("eks-{}", group.arn.rsplit('/').next().unwrap_or_default())
}

/// The instance profile that EKS makes for a node group; it goes with the group.
fn ensure_profile(state: &mut state::State, world: &World, group: &Nodegroup) -> String {
    let name = profile_name(group);
    let arn = format!("arn:aws:iam::{}:instance-profile/{name}", world.account);
    state
        .iam
        .instance_profiles
        .entry(name)
        .or_insert_with_key(|name| {
            let digits = name.replace('-', "").to_uppercase();
            InstanceProfile {
                id: format!("AIPA{}", &digits[digits.len().saturating_sub(17)..]),
                path: "/".to_owned(),
                created: world.clock.now(),
                role: role_name(&group.role_arn).map(str::to_owned),
                ..InstanceProfile::default()
            }
        });
    arn
}

/// Takes a deleted node group's instance profile away.
pub fn drop_profile(state: &mut state::State, group: &Nodegroup) {
    state.iam.instance_profiles.remove(&profile_name(group));
}

/// Begins to terminate instances.
pub fn terminate(state: &mut state::State, world: &World, region: &str, nodes: &[Node]) {
    let mut ec2 = Ec2::of(state, world, region);
    for node in nodes {
        // One that is gone already needs no more.
        let _ = ec2.terminate_node(&node.instance, "terminated by its Auto Scaling group");
    }
}

/// Takes over how the instances are; terminated ones leave the group.
pub fn refresh(
    state: &mut state::State,
    world: &World,
    region: &str,
    group: &mut Nodegroup,
) -> bool {
    if group.nodes.is_empty() {
        return false;
    }
    let ec2 = Ec2::of(state, world, region);
    let before = group.nodes.clone();
    group
        .nodes
        .retain_mut(|node| match ec2.instance(&node.instance) {
            Ok(instance) if instance.state != "terminated" => {
                node.state.clone_from(&instance.state);
                if node.state != "running" {
                    (node.registered, node.ready) = (false, false);
                }
                true
            }
            _ => false,
        });
    group.nodes != before
}

/// Network and prefix length of `10.0.0.0/19`.
pub fn block(cidr: &str) -> Option<(Ipv4Addr, u8)> {
    let (network, prefix) = cidr.split_once('/')?;
    Some((network.parse().ok()?, prefix.parse().ok()?))
}
