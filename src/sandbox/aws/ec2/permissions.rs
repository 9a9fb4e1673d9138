//! What each operation acts on, for policies: every resource it touches, with the tags that it has now.

use std::collections::BTreeMap;

use super::super::{Call, Check};
use super::Region;
use super::input::Input;
use super::tags::kind;

/// For operations that make something: its resource type, and the inputs that name what it is made in.
const MAKERS: &[(&str, &str, &[&str])] = &[
    ("AllocateAddress", "elastic-ip", &[]),
    ("CreateInternetGateway", "internet-gateway", &[]),
    ("CreateLaunchTemplate", "launch-template", &[]),
    (
        "CreateNatGateway",
        "natgateway",
        &["SubnetId", "AllocationId"],
    ),
    (
        "CreateNetworkInterface",
        "network-interface",
        &["SubnetId", "SecurityGroupId"],
    ),
    ("CreateRouteTable", "route-table", &["VpcId"]),
    ("CreateSecurityGroup", "security-group", &["VpcId"]),
    ("CreateSubnet", "subnet", &["VpcId"]),
    ("CreateVolume", "volume", &[]),
    ("CreateVpc", "vpc", &[]),
];

/// For the others: the inputs that name what they act on.
const ACTED_ON: &[&str] = &[
    "AllocationId",
    "GroupId",
    "InstanceId",
    "InternetGatewayId",
    "LaunchTemplateId",
    "NatGatewayId",
    "NetworkInterfaceId",
    "ResourceId",
    "RouteTableId",
    "SubnetId",
    "VolumeId",
    "VpcId",
];

/// The permissions that a call needs.
pub(super) fn checks(region: Option<&Region>, call: &Call<'_>) -> Vec<Check> {
    let action = format!("ec2:{}", call.operation);
    if call.operation.starts_with("Describe") {
        return vec![Check::new(action, "*")];
    }
    let input = Input(call.input);
    let arn = |kind: &str, id: &str| {
        format!(
            "arn:aws:ec2:{}:{}:{kind}/{id}",
            call.region, call.world.account
        )
    };
    let none = BTreeMap::new();
    let existing = |id: &str| {
        let kind = kind(id)?;
        let tags = region
            .and_then(|region| region.tags.get(id))
            .unwrap_or(&none);
        let mut check = Check::new(action.clone(), arn(kind, id)).tagged(tags);
        for (key, value) in tags {
            check = check.with(format!("ec2:ResourceTag/{key}"), value.clone());
        }
        Some(check)
    };
    let mut checks = Vec::new();
    match MAKERS
        .iter()
        .find(|(operation, ..)| *operation == call.operation)
    {
        Some((_, made, inside)) => {
            checks.push(Check::new(action.clone(), arn(made, "*")));
            for name in *inside {
                checks.extend(input.list(name).iter().filter_map(|id| existing(id)));
            }
            let tagged = input
                .objects("TagSpecification")
                .iter()
                .any(|specification| !specification.objects("Tag").is_empty());
            if tagged {
                checks.push(
                    Check::new("ec2:CreateTags", arn(made, "*"))
                        .with("ec2:CreateAction", call.operation),
                );
            }
        }
        None => {
            for name in ACTED_ON {
                checks.extend(input.list(name).iter().filter_map(|id| existing(id)));
            }
            let named = input.text("LaunchTemplateName").and_then(|name| {
                let templates = &region?.launch_templates;
                templates.values().find(|template| template.name == name)
            });
            checks.extend(named.and_then(|template| existing(&template.id)));
            if let (Some(region), Some(association)) = (region, input.text("AssociationId")) {
                let table = region
                    .route_tables
                    .values()
                    .find(|table| table.associations.iter().any(|held| held.id == association));
                checks.extend(table.and_then(|table| existing(&table.id)));
            }
        }
    }
    if checks.is_empty() {
        checks.push(Check::new(action, "*"));
    }
    checks
}
