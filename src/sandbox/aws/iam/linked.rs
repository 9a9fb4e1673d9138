//! Service-linked roles: made once for the account, by a service or on request, and removed only by their service.

use serde_json::{Value, json};

use super::{Role, missing, required, roles, unique_id};
use crate::sandbox::aws::{Call, Fault};
use crate::sandbox::state::{ACCOUNT, State, World};

/// Services, the rest of their role's name, and its policy.
const SERVICES: &[(&str, &str, &str)] = &[
    (
        "appmesh.amazonaws.com",
        "AppMesh",
        "AWSAppMeshServiceRolePolicy",
    ),
    (
        "autoscaling.amazonaws.com",
        "AutoScaling",
        "AutoScalingServiceRolePolicy",
    ),
    (
        "eks.amazonaws.com",
        "AmazonEKS",
        "AmazonEKSServiceRolePolicy",
    ),
    (
        "eks-nodegroup.amazonaws.com",
        "AmazonEKSNodegroup",
        "AWSServiceRoleForAmazonEKSNodegroup",
    ),
    (
        "elasticloadbalancing.amazonaws.com",
        "ElasticLoadBalancing",
        "AWSElasticLoadBalancingServiceRolePolicy",
    ),
    (
        "spot.amazonaws.com",
        "EC2Spot",
        "AWSEC2SpotServiceRolePolicy",
    ),
];

/// The name of a service's role.
pub(super) fn name_of(service: &str) -> Option<String> {
    let mut services = SERVICES.iter();
    let (_, name, _) = services.find(|(known, ..)| *known == service)?;
    Some(format!("AWSServiceRoleFor{name}"))
}

pub(super) fn arn(account: &str, service: &str, name: &str) -> String {
    format!("arn:aws:iam::{account}:role/aws-service-role/{service}/{name}")
}

/// The ARN that a service's role has, whether or not it exists.
pub fn service_linked_role_arn(service: &str) -> Option<String> {
    name_of(service).map(|name| arn(ACCOUNT, service, &name))
}

/// Makes a service's role unless the account has it, as services do when they are first used.
pub fn ensure_service_linked_role(world: &World, state: &mut State, service: &str) {
    if let Some(name) = name_of(service)
        && !state.iam.roles.contains_key(&name)
    {
        create(world, state, service, name);
    }
}

fn create(world: &World, state: &mut State, service: &str, name: String) {
    let policy = SERVICES
        .iter()
        .find(|(known, ..)| *known == service)
        .map(|(.., policy)| *policy);
    let role = Role {
        id: unique_id(state, "AROA"),
        path: format!("/aws-service-role/{service}/"),
        trust: json!({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
        })
        .to_string(),
        max_session: 3600,
        created: world.clock.now(),
        attached: policy
            .map(|policy| format!("arn:aws:iam::aws:policy/aws-service-role/{policy}"))
            .into_iter()
            .collect(),
        ..Role::default()
    };
    state.iam.roles.insert(name, role);
}

/// `CreateServiceLinkedRole`.
pub(super) fn create_requested(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let service = required(call, "AWSServiceName")?;
    let name = name_of(&service)
        .ok_or_else(|| missing(format!("Cannot find service principal {service}")))?;
    if state.iam.roles.contains_key(&name) {
        return Err(Fault::new(
            400,
            "InvalidInput",
            format!(
                "Service role name {name} has been taken in this account, please try a different suffix."
            ),
        ));
    }
    create(call.world, state, &service, name.clone());
    Ok(json!({"Role": roles::show(&name, &state.iam.roles[&name])}))
}

/// `DeleteServiceLinkedRole`. The services of the sandbox never object.
pub(super) fn delete(state: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let name = required(call, "RoleName")?;
    let role = roles::find(state, &name)?;
    let service = role
        .path
        .trim_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    if !role.path.starts_with("/aws-service-role/") {
        return Err(missing(format!(
            "The role with name {name} cannot be found."
        )));
    }
    state.iam.roles.remove(&name);
    let task = format!(
        "task/aws-service-role/{service}/{name}/{}",
        state.unique_uuid()
    );
    Ok(json!({"DeletionTaskId": task}))
}

/// `GetServiceLinkedRoleDeletionStatus`.
pub(super) fn deletion_status(_: &mut State, call: &Call<'_>) -> Result<Value, Fault> {
    let task = required(call, "DeletionTaskId")?;
    if !task.starts_with("task/aws-service-role/") {
        return Err(missing(format!("Cannot find deletion task {task}")));
    }
    Ok(json!({"Status": "SUCCEEDED"}))
}
