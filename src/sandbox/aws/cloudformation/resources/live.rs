//! What resources are like now, in the form of the template: what drift detection reads.
//!
//! Each type tells what its schema in CloudFormation's registry lets be read. What is only written, such as all of a
//! launch template but its name, is never compared.

use serde_json::{Map, Value, json};

use super::super::super::Fault;
use super::super::super::protocol::percent_decode;
use super::network::text;
use super::{Cx, Properties, first};

/// A resource's properties as they are; none when it is gone. None at all for a type that is not checked.
pub fn live(
    cx: &mut Cx<'_>,
    kind: &str,
    physical: &str,
    expected: Properties<'_>,
) -> Option<Result<Option<Value>, Fault>> {
    let read = match kind {
        "AWS::EC2::VPC" => vpc(cx, physical),
        "AWS::EC2::Subnet" => subnet(cx, physical),
        "AWS::EC2::InternetGateway" => gateway(cx, physical),
        "AWS::EC2::VPCGatewayAttachment" => attachment(cx, expected),
        "AWS::EC2::EIP" => address(cx, physical),
        "AWS::EC2::NatGateway" => nat_gateway(cx, physical),
        "AWS::EC2::RouteTable" => route_table(cx, physical),
        "AWS::EC2::Route" => route(cx, expected),
        "AWS::EC2::SubnetRouteTableAssociation" => association(cx, physical),
        "AWS::EC2::LaunchTemplate" => launch_template(cx, physical),
        "AWS::IAM::Role" => role(cx, physical),
        _ => return None,
    };
    Some(match read {
        Ok(Value::Null) => Ok(None),
        Ok(properties) => Ok(Some(properties)),
        Err(fault) if fault.code.contains("NotFound") || fault.code == "NoSuchEntity" => Ok(None),
        Err(fault) => Err(fault),
    })
}

/// EC2's tags as a template has them; those of AWS itself aside.
fn tags(thing: &Value) -> Value {
    thing["tagSet"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|tag| !text(&tag["key"]).starts_with("aws:"))
        .map(|tag| json!({"Key": tag["key"], "Value": tag["value"]}))
        .collect()
}

fn vpc(cx: &mut Cx<'_>, id: &str) -> Result<Value, Fault> {
    let found = cx.call("ec2", "DescribeVpcs", json!({"VpcId": [id]}))?;
    let vpc = first(&found, "vpcSet");
    let mut properties = json!({
        "CidrBlock": vpc["cidrBlock"],
        "InstanceTenancy": vpc["instanceTenancy"],
        "Tags": tags(vpc),
    });
    for (property, attribute) in [
        ("EnableDnsSupport", "enableDnsSupport"),
        ("EnableDnsHostnames", "enableDnsHostnames"),
    ] {
        let input = json!({"VpcId": id, "Attribute": attribute});
        let asked = cx.call("ec2", "DescribeVpcAttribute", input)?;
        properties[property] = asked[attribute]["value"].clone();
    }
    Ok(properties)
}

fn subnet(cx: &mut Cx<'_>, id: &str) -> Result<Value, Fault> {
    let found = cx.call("ec2", "DescribeSubnets", json!({"SubnetId": [id]}))?;
    let subnet = first(&found, "subnetSet");
    Ok(json!({
        "VpcId": subnet["vpcId"],
        "CidrBlock": subnet["cidrBlock"],
        "AvailabilityZone": subnet["availabilityZone"],
        "AvailabilityZoneId": subnet["availabilityZoneId"],
        "MapPublicIpOnLaunch": subnet["mapPublicIpOnLaunch"],
        "Tags": tags(subnet),
    }))
}

fn gateway(cx: &mut Cx<'_>, id: &str) -> Result<Value, Fault> {
    let input = json!({"InternetGatewayId": [id]});
    let found = cx.call("ec2", "DescribeInternetGateways", input)?;
    Ok(json!({"Tags": tags(first(&found, "internetGatewaySet"))}))
}

fn attachment(cx: &mut Cx<'_>, expected: Properties<'_>) -> Result<Value, Fault> {
    let vpc = expected.or_empty("VpcId");
    let filter = json!([{"Name": "attachment.vpc-id", "Value": [vpc]}]);
    let found = cx.call(
        "ec2",
        "DescribeInternetGateways",
        json!({ "Filter": filter }),
    )?;
    Ok(match first(&found, "internetGatewaySet") {
        Value::Null => Value::Null,
        gateway => json!({"VpcId": vpc, "InternetGatewayId": gateway["internetGatewayId"]}),
    })
}

fn address(cx: &mut Cx<'_>, public: &str) -> Result<Value, Fault> {
    let found = cx.call("ec2", "DescribeAddresses", json!({"PublicIp": [public]}))?;
    let address = first(&found, "addressesSet");
    Ok(json!({"Domain": address["domain"], "Tags": tags(address)}))
}

fn nat_gateway(cx: &mut Cx<'_>, id: &str) -> Result<Value, Fault> {
    let found = cx.call("ec2", "DescribeNatGateways", json!({"NatGatewayId": [id]}))?;
    let gateway = first(&found, "natGatewaySet");
    if ["deleting", "deleted"].contains(&text(&gateway["state"]).as_str()) {
        return Ok(Value::Null);
    }
    Ok(json!({
        "AllocationId": first(gateway, "natGatewayAddressSet")["allocationId"],
        "SubnetId": gateway["subnetId"],
        "ConnectivityType": gateway["connectivityType"],
        "Tags": tags(gateway),
    }))
}

fn route_table(cx: &mut Cx<'_>, id: &str) -> Result<Value, Fault> {
    let found = cx.call("ec2", "DescribeRouteTables", json!({"RouteTableId": [id]}))?;
    let table = first(&found, "routeTableSet");
    Ok(json!({"VpcId": table["vpcId"], "Tags": tags(table)}))
}

fn route(cx: &mut Cx<'_>, expected: Properties<'_>) -> Result<Value, Fault> {
    let table = expected.or_empty("RouteTableId");
    let destination = expected.or_empty("DestinationCidrBlock");
    let found = cx.call(
        "ec2",
        "DescribeRouteTables",
        json!({"RouteTableId": [table]}),
    )?;
    let routes = first(&found, "routeTableSet")["routeSet"].as_array();
    let route = routes
        .into_iter()
        .flatten()
        .find(|route| route["destinationCidrBlock"] == destination.as_str());
    let Some(route) = route else {
        return Ok(Value::Null);
    };
    let mut properties = json!({"RouteTableId": table, "DestinationCidrBlock": destination});
    for (property, target) in [
        ("GatewayId", "gatewayId"),
        ("NatGatewayId", "natGatewayId"),
        ("NetworkInterfaceId", "networkInterfaceId"),
    ] {
        if route[target].is_string() || expected.text(property).is_some() {
            properties[property] = route[target].clone();
        }
    }
    Ok(properties)
}

fn association(cx: &mut Cx<'_>, id: &str) -> Result<Value, Fault> {
    let filter = json!([{"Name": "association.route-table-association-id", "Value": [id]}]);
    let found = cx.call("ec2", "DescribeRouteTables", json!({ "Filter": filter }))?;
    let associations = first(&found, "routeTableSet")["associationSet"].as_array();
    let association = associations
        .into_iter()
        .flatten()
        .find(|association| association["routeTableAssociationId"] == id);
    Ok(match association {
        None => Value::Null,
        Some(found) => {
            json!({"RouteTableId": found["routeTableId"], "SubnetId": found["subnetId"]})
        }
    })
}

fn launch_template(cx: &mut Cx<'_>, id: &str) -> Result<Value, Fault> {
    let input = json!({"LaunchTemplateId": [id]});
    let found = cx.call("ec2", "DescribeLaunchTemplates", input)?;
    Ok(json!({"LaunchTemplateName": first(&found, "launchTemplates")["launchTemplateName"]}))
}

fn role(cx: &mut Cx<'_>, name: &str) -> Result<Value, Fault> {
    let about = json!({"RoleName": name});
    let found = cx.call("iam", "GetRole", about.clone())?;
    let role = &found["Role"];
    let attached = cx.call("iam", "ListAttachedRolePolicies", about.clone())?;
    let attached = attached["AttachedPolicies"].as_array();
    let attached: Vec<&Value> = attached
        .into_iter()
        .flatten()
        .map(|policy| &policy["PolicyArn"])
        .collect();
    let mut policies = Vec::new();
    let listed = cx.call("iam", "ListRolePolicies", about)?;
    for policy in listed["PolicyNames"].as_array().into_iter().flatten() {
        let input = json!({"RoleName": name, "PolicyName": policy});
        let kept = cx.call("iam", "GetRolePolicy", input)?;
        policies.push(
            json!({"PolicyName": policy, "PolicyDocument": document(&kept["PolicyDocument"])}),
        );
    }
    let mut properties = json!({
        "RoleName": name,
        "Path": role["Path"],
        "Description": role["Description"],
        "MaxSessionDuration": role["MaxSessionDuration"],
        "AssumeRolePolicyDocument": document(&role["AssumeRolePolicyDocument"]),
        "ManagedPolicyArns": attached,
        "Policies": policies,
        "Tags": role["Tags"],
    });
    if let Some(boundary) = role["PermissionsBoundary"].get("PermissionsBoundaryArn") {
        properties["PermissionsBoundary"] = boundary.clone();
    }
    Ok(properties)
}

/// IAM answers documents with their URL's escapes.
fn document(encoded: &Value) -> Value {
    let encoded = text(encoded);
    let decoded = percent_decode(&encoded, false);
    serde_json::from_str(&decoded).unwrap_or(Value::Object(Map::new()))
}
