//! VPCs and what is in them.

use serde_json::{Value, json};

use super::super::super::{Fault, ec2};
use super::{Cx, Handler, PLAIN, Properties, first, pairs, retagging};

pub(super) const TYPES: &[Handler] = &[
    Handler {
        kind: "AWS::EC2::VPC",
        service: "Ec2",
        attributes: &[
            "CidrBlock",
            "CidrBlockAssociations",
            "DefaultNetworkAcl",
            "DefaultSecurityGroup",
            "Ipv6CidrBlocks",
            "VpcId",
        ],
        properties: &[
            "CidrBlock",
            "EnableDnsHostnames",
            "EnableDnsSupport",
            "InstanceTenancy",
            "Tags",
        ],
        required: &["CidrBlock"],
        fixed: &["CidrBlock", "InstanceTenancy"],
        creation: 10,
        create: |cx, properties| {
            let mut input = properties.only(&["CidrBlock", "InstanceTenancy"]);
            tag_on_creation(&mut input, "vpc", properties);
            let made = cx.call("ec2", "CreateVpc", Value::Object(input))?;
            let id = text(&made["vpc"]["vpcId"]);
            cx.made(&id);
            set_dns(cx, &id, properties)?;
            Ok(id)
        },
        read: |cx, id, _| {
            let vpc = cx.call("ec2", "DescribeVpcs", json!({"VpcId": [id]}))?;
            let vpc = first(&vpc, "vpcSet").clone();
            let here = json!([{"Name": "vpc-id", "Value": [id]}]);
            let group = json!([{"Name": "vpc-id", "Value": [id]}, {"Name": "group-name", "Value": ["default"]}]);
            let groups = cx.call("ec2", "DescribeSecurityGroups", json!({ "Filter": group }))?;
            let acls = cx.call("ec2", "DescribeNetworkAcls", json!({ "Filter": here }))?;
            Ok(json!({
                "VpcId": id,
                "CidrBlock": vpc["cidrBlock"],
                "CidrBlockAssociations": [vpc["cidrBlockAssociationSet"][0]["associationId"]],
                "DefaultSecurityGroup": first(&groups, "securityGroupInfo")["groupId"],
                "DefaultNetworkAcl": first(&acls, "networkAclSet")["networkAclId"],
                "Ipv6CidrBlocks": [],
            }))
        },
        update: |cx, id, old, new| {
            for (name, default) in [
                ("EnableDnsSupport", "true"),
                ("EnableDnsHostnames", "false"),
            ] {
                if old.text(name).is_some() && new.text(name).is_none() {
                    let input = json!({"VpcId": id, name: {"Value": default}});
                    cx.call("ec2", "ModifyVpcAttribute", input)?;
                }
            }
            set_dns(cx, id, new)?;
            retag(cx, id, old, new)
        },
        delete: |cx, id, _| cx.call("ec2", "DeleteVpc", json!({"VpcId": id})).map(drop),
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::Subnet",
        service: "Ec2",
        attributes: &[
            "AvailabilityZone",
            "AvailabilityZoneId",
            "CidrBlock",
            "NetworkAclAssociationId",
            "SubnetId",
            "VpcId",
        ],
        properties: &[
            "AvailabilityZone",
            "AvailabilityZoneId",
            "CidrBlock",
            "MapPublicIpOnLaunch",
            "Tags",
            "VpcId",
        ],
        required: &["VpcId"],
        fixed: &[
            "AvailabilityZone",
            "AvailabilityZoneId",
            "CidrBlock",
            "VpcId",
        ],
        creation: 4,
        create: |cx, properties| {
            let mut input = properties.only(&[
                "VpcId",
                "CidrBlock",
                "AvailabilityZone",
                "AvailabilityZoneId",
            ]);
            tag_on_creation(&mut input, "subnet", properties);
            let made = cx.call("ec2", "CreateSubnet", Value::Object(input))?;
            let id = text(&made["subnet"]["subnetId"]);
            cx.made(&id);
            set_public(cx, &id, properties)?;
            Ok(id)
        },
        read: |cx, id, _| {
            let found = cx.call("ec2", "DescribeSubnets", json!({"SubnetId": [id]}))?;
            let subnet = first(&found, "subnetSet");
            Ok(json!({
                "SubnetId": id,
                "VpcId": subnet["vpcId"],
                "CidrBlock": subnet["cidrBlock"],
                "AvailabilityZone": subnet["availabilityZone"],
                "AvailabilityZoneId": subnet["availabilityZoneId"],
                "NetworkAclAssociationId": id.replacen("subnet", "aclassoc", 1),
            }))
        },
        update: |cx, id, old, new| {
            if old.text("MapPublicIpOnLaunch").is_some()
                && new.text("MapPublicIpOnLaunch").is_none()
            {
                let input = json!({"SubnetId": id, "MapPublicIpOnLaunch": {"Value": "false"}});
                cx.call("ec2", "ModifySubnetAttribute", input)?;
            }
            set_public(cx, id, new)?;
            retag(cx, id, old, new)
        },
        delete: |cx, id, _| {
            cx.call("ec2", "DeleteSubnet", json!({"SubnetId": id}))
                .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::InternetGateway",
        service: "Ec2",
        attributes: &["InternetGatewayId"],
        properties: &["Tags"],
        creation: 14,
        create: |cx, properties| {
            let mut input = properties.only(&[]);
            tag_on_creation(&mut input, "internet-gateway", properties);
            let made = cx.call("ec2", "CreateInternetGateway", Value::Object(input))?;
            Ok(text(&made["internetGateway"]["internetGatewayId"]))
        },
        read: |_, id, _| Ok(json!({"InternetGatewayId": id})),
        update: retag,
        delete: |cx, id, _| {
            cx.call(
                "ec2",
                "DeleteInternetGateway",
                json!({"InternetGatewayId": id}),
            )
            .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::VPCGatewayAttachment",
        service: "Ec2",
        attributes: &["AttachmentType"],
        properties: &["InternetGatewayId", "VpcId", "VpnGatewayId"],
        required: &["VpcId"],
        fixed: &["InternetGatewayId", "VpcId"],
        create: |cx, properties| {
            cx.call(
                "ec2",
                "AttachInternetGateway",
                Value::Object(properties.only(&["InternetGatewayId", "VpcId"])),
            )?;
            Ok(format!("IGW|{}", properties.or_empty("VpcId")))
        },
        read: |_, _, _| Ok(json!({"AttachmentType": "IGW"})),
        delete: |cx, _, properties| {
            cx.call(
                "ec2",
                "DetachInternetGateway",
                Value::Object(properties.only(&["InternetGatewayId", "VpcId"])),
            )
            .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::EIP",
        service: "Ec2",
        attributes: &["AllocationId", "PublicIp"],
        properties: &["Domain", "InstanceId", "Tags"],
        fixed: &["Domain"],
        creation: 10,
        create: |cx, properties| {
            let mut input = properties.only(&["Domain"]);
            tag_on_creation(&mut input, "elastic-ip", properties);
            let made = cx.call("ec2", "AllocateAddress", Value::Object(input))?;
            Ok(text(&made["publicIp"]))
        },
        read: |cx, public, _| {
            Ok(json!({"PublicIp": public, "AllocationId": allocation(cx, public)?}))
        },
        update: |cx, public, old, new| {
            let id = allocation(cx, public)?;
            retag(cx, &id, old, new)
        },
        delete: |cx, public, _| {
            let id = allocation(cx, public)?;
            cx.call("ec2", "ReleaseAddress", json!({"AllocationId": id}))
                .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::NatGateway",
        service: "Ec2",
        attributes: &["NatGatewayId"],
        properties: &[
            "AllocationId",
            "ConnectivityType",
            "PrivateIpAddress",
            "SubnetId",
            "Tags",
        ],
        required: &["SubnetId"],
        fixed: &[
            "AllocationId",
            "ConnectivityType",
            "PrivateIpAddress",
            "SubnetId",
        ],
        create: |cx, properties| {
            let mut input = properties.only(&["AllocationId", "ConnectivityType", "SubnetId"]);
            tag_on_creation(&mut input, "natgateway", properties);
            let made = cx.call("ec2", "CreateNatGateway", Value::Object(input))?;
            Ok(text(&made["natGateway"]["natGatewayId"]))
        },
        ready: |cx, id, _| {
            let found = cx.call("ec2", "DescribeNatGateways", json!({"NatGatewayId": [id]}))?;
            let gateway = first(&found, "natGatewaySet");
            match gateway["state"].as_str() {
                Some("available") => Ok(true),
                Some("pending") => Ok(false),
                state => Err(Fault::new(
                    400,
                    "NotStabilized",
                    format!(
                        "NatGateway {id} is in state {} and hence failed to stabilize. Detailed failure message: {}",
                        state.unwrap_or("unknown"),
                        gateway["failureMessage"].as_str().unwrap_or_default()
                    ),
                )),
            }
        },
        read: |_, id, _| Ok(json!({"NatGatewayId": id})),
        update: retag,
        delete: |cx, id, _| {
            cx.call("ec2", "DeleteNatGateway", json!({"NatGatewayId": id}))
                .map(drop)
        },
        gone: |cx, id, _| match cx.call("ec2", "DescribeNatGateways", json!({"NatGatewayId": [id]}))
        {
            Ok(found) => Ok(first(&found, "natGatewaySet")["state"] == "deleted"),
            Err(fault) if fault.code == "NatGatewayNotFound" => Ok(true),
            Err(fault) => Err(fault),
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::RouteTable",
        service: "Ec2",
        attributes: &["RouteTableId"],
        properties: &["Tags", "VpcId"],
        required: &["VpcId"],
        fixed: &["VpcId"],
        creation: 8,
        create: |cx, properties| {
            let mut input = properties.only(&["VpcId"]);
            tag_on_creation(&mut input, "route-table", properties);
            let made = cx.call("ec2", "CreateRouteTable", Value::Object(input))?;
            Ok(text(&made["routeTable"]["routeTableId"]))
        },
        read: |_, id, _| Ok(json!({"RouteTableId": id})),
        update: retag,
        delete: |cx, id, _| {
            cx.call("ec2", "DeleteRouteTable", json!({"RouteTableId": id}))
                .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::Route",
        service: "Ec2",
        attributes: &["CidrBlock"],
        properties: &[
            "DestinationCidrBlock",
            "GatewayId",
            "NatGatewayId",
            "NetworkInterfaceId",
            "RouteTableId",
        ],
        required: &["RouteTableId"],
        fixed: &["DestinationCidrBlock", "RouteTableId"],
        create: |cx, properties| {
            cx.call("ec2", "CreateRoute", properties.0.clone())?;
            Ok(format!(
                "{}|{}",
                properties.or_empty("RouteTableId"),
                properties.or_empty("DestinationCidrBlock")
            ))
        },
        read: |_, _, properties| Ok(json!({"CidrBlock": properties.text("DestinationCidrBlock")})),
        update: |cx, _, _, new| cx.call("ec2", "ReplaceRoute", new.0.clone()).map(drop),
        delete: |cx, _, properties| {
            cx.call(
                "ec2",
                "DeleteRoute",
                Value::Object(properties.only(&["RouteTableId", "DestinationCidrBlock"])),
            )
            .map(drop)
        },
        ..PLAIN
    },
    Handler {
        kind: "AWS::EC2::SubnetRouteTableAssociation",
        service: "Ec2",
        attributes: &["Id"],
        properties: &["RouteTableId", "SubnetId"],
        required: &["RouteTableId", "SubnetId"],
        fixed: &["RouteTableId", "SubnetId"],
        create: |cx, properties| {
            let made = cx.call("ec2", "AssociateRouteTable", properties.0.clone())?;
            Ok(text(&made["associationId"]))
        },
        read: |_, id, _| Ok(json!({"Id": id})),
        delete: |cx, id, _| {
            cx.call(
                "ec2",
                "DisassociateRouteTable",
                json!({"AssociationId": id}),
            )
            .map(drop)
        },
        ..PLAIN
    },
];

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn tag_on_creation(
    input: &mut serde_json::Map<String, Value>,
    resource: &str,
    properties: Properties<'_>,
) {
    let tags: Vec<Value> = pairs(properties.list("Tags"))
        .into_iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    if !tags.is_empty() {
        input.insert(
            "TagSpecification".into(),
            json!([{"ResourceType": resource, "Tag": tags}]),
        );
    }
}

pub(super) fn retag(
    cx: &mut Cx<'_>,
    id: &str,
    old: Properties<'_>,
    new: Properties<'_>,
) -> Result<(), Fault> {
    let (set, removed) = retagging(old, new);
    if !removed.is_empty() {
        let tags: Vec<Value> = removed.iter().map(|key| json!({"Key": key})).collect();
        cx.call(
            "ec2",
            "DeleteTags",
            json!({"ResourceId": [id], "Tag": tags}),
        )?;
    }
    if !set.is_empty() {
        let tags: Vec<Value> = set
            .iter()
            .map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect();
        cx.call(
            "ec2",
            "CreateTags",
            json!({"ResourceId": [id], "Tag": tags}),
        )?;
    }
    Ok(())
}

fn set_dns(cx: &mut Cx<'_>, id: &str, properties: Properties<'_>) -> Result<(), Fault> {
    for name in ["EnableDnsSupport", "EnableDnsHostnames"] {
        if let Some(value) = properties.text(name) {
            cx.call(
                "ec2",
                "ModifyVpcAttribute",
                json!({"VpcId": id, name: {"Value": value}}),
            )?;
        }
    }
    Ok(())
}

fn set_public(cx: &mut Cx<'_>, id: &str, properties: Properties<'_>) -> Result<(), Fault> {
    if let Some(value) = properties.text("MapPublicIpOnLaunch") {
        cx.call(
            "ec2",
            "ModifySubnetAttribute",
            json!({"SubnetId": id, "MapPublicIpOnLaunch": {"Value": value}}),
        )?;
    }
    Ok(())
}

fn allocation(cx: &mut Cx<'_>, public: &str) -> Result<String, Fault> {
    let found = cx.call("ec2", "DescribeAddresses", json!({"PublicIp": [public]}))?;
    Ok(text(&first(&found, "addressesSet")["allocationId"]))
}

/// What AWS adds to everything that a stack makes and that has tags.
pub(in super::super) fn system_tags(
    cx: &mut Cx<'_>,
    kind: &str,
    physical: &str,
    tags: Vec<(String, String)>,
) {
    let id = match kind {
        "AWS::EC2::EIP" => match allocation(cx, physical) {
            Ok(id) => id,
            Err(_) => return,
        },
        kind if kind.starts_with("AWS::EC2::") => physical.to_owned(),
        _ => return,
    };
    ec2::Ec2::of(cx.state, cx.world, cx.region).set_tags(&id, tags);
}
