//! EC2 as a user sees it, without the wire.

use serde_json::{Value, json};

use super::*;
use crate::sandbox::clock::Clock;

/// A modelled minute passes in less than a millisecond.
const SPEED: f64 = 200_000.0;

struct Account(Everything);

impl Account {
    fn new() -> Self {
        Account(Everything::default())
    }

    fn ec2(&mut self) -> Ec2<'_> {
        Ec2::new(&mut self.0, Clock::new(SPEED), "123456789012", "eu-west-1")
    }

    fn ask(&mut self, operation: &str, input: Value) -> Result<Value, Fault> {
        self.ec2().perform(operation, &input)
    }

    fn get(&mut self, operation: &str, input: Value) -> Value {
        match self.ask(operation, input) {
            Ok(answer) => answer,
            Err(fault) => panic!("{operation}: {} {}", fault.code, fault.message),
        }
    }

    fn refuse(&mut self, operation: &str, input: Value, code: &str, part: &str) {
        let fault = self.ask(operation, input).unwrap_err();
        assert_eq!(fault.code, code, "{}", fault.message);
        assert!(fault.message.contains(part), "{}", fault.message);
    }

    fn until(&mut self, what: impl Fn(&mut Self) -> bool) {
        for _ in 0..2000 {
            self.ec2().tick();
            if what(self) {
                return;
            }
            std::thread::yield_now();
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        panic!("it never happened");
    }

    fn vpc(&mut self) -> String {
        text(&self.get("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}))["vpc"]["vpcId"])
    }

    fn subnet(&mut self, vpc: &str, cidr: &str) -> String {
        let made = self.get(
            "CreateSubnet",
            json!({"VpcId": vpc, "CidrBlock": cidr, "AvailabilityZone": "eu-west-1a"}),
        );
        text(&made["subnet"]["subnetId"])
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn a_vpc_comes_with_its_defaults_and_goes_only_when_empty() {
    let mut aws = Account::new();
    let vpc = aws.vpc();
    let of_vpc = json!({"Filter": [{"Name": "vpc-id", "Value": [vpc]}]});
    let tables = aws.get("DescribeRouteTables", of_vpc.clone());
    assert_eq!(
        tables["routeTableSet"][0]["associationSet"][0]["main"],
        true
    );
    assert_eq!(
        tables["routeTableSet"][0]["routeSet"][0]["gatewayId"],
        "local"
    );
    let groups = aws.get("DescribeSecurityGroups", of_vpc.clone());
    assert_eq!(groups["securityGroupInfo"][0]["groupName"], "default");
    assert_eq!(
        aws.get("DescribeNetworkAcls", of_vpc)["networkAclSet"][0]["default"],
        true
    );

    let subnet = aws.subnet(&vpc, "10.0.0.0/24");
    aws.refuse(
        "DeleteVpc",
        json!({"VpcId": vpc}),
        "DependencyViolation",
        &format!("The vpc '{vpc}' has dependencies and cannot be deleted."),
    );
    aws.get("DeleteSubnet", json!({"SubnetId": subnet}));
    let group = aws.get(
        "CreateSecurityGroup",
        json!({"VpcId": vpc, "GroupName": "web", "GroupDescription": "web"}),
    );
    aws.refuse(
        "DeleteVpc",
        json!({"VpcId": vpc}),
        "DependencyViolation",
        &vpc,
    );
    aws.get("DeleteSecurityGroup", json!({"GroupId": group["groupId"]}));
    aws.get("DeleteVpc", json!({"VpcId": vpc}));
    aws.refuse(
        "DeleteVpc",
        json!({"VpcId": vpc}),
        "InvalidVpcID.NotFound",
        "does not exist",
    );
}

#[test]
fn subnets_keep_inside_their_vpc_and_apart() {
    let mut aws = Account::new();
    let vpc = aws.vpc();
    aws.subnet(&vpc, "10.0.0.0/24");
    let with = |cidr: &str| json!({"VpcId": vpc, "CidrBlock": cidr});
    aws.refuse(
        "CreateSubnet",
        with("10.0.0.128/25"),
        "InvalidSubnet.Conflict",
        "conflicts with another subnet",
    );
    aws.refuse(
        "CreateSubnet",
        with("10.1.0.0/24"),
        "InvalidSubnet.Range",
        "The CIDR '10.1.0.0/24' is invalid.",
    );
    aws.refuse(
        "CreateSubnet",
        with("10.0.0.0"),
        "InvalidParameterValue",
        "not a valid CIDR block",
    );
    aws.refuse(
        "CreateSubnet",
        json!({"VpcId": vpc, "CidrBlock": "10.0.1.0/24", "AvailabilityZone": "eu-west-1z"}),
        "InvalidParameterValue",
        "eu-west-1a, eu-west-1b, eu-west-1c",
    );
}

#[test]
fn quotas_hold() {
    let mut aws = Account::new();
    // The default VPC counts.
    for _ in 0..4 {
        aws.vpc();
    }
    aws.refuse(
        "CreateVpc",
        json!({"CidrBlock": "10.0.0.0/16"}),
        "VpcLimitExceeded",
        "maximum number of VPCs",
    );
    for _ in 0..5 {
        aws.get("AllocateAddress", json!({"Domain": "vpc"}));
    }
    aws.refuse(
        "AllocateAddress",
        json!({}),
        "AddressLimitExceeded",
        "maximum number of addresses",
    );
}

#[test]
fn a_nat_gateway_lives_and_holds_what_it_needs() {
    let mut aws = Account::new();
    let vpc = aws.vpc();
    let subnet = aws.subnet(&vpc, "10.0.0.0/24");
    let allocation = text(&aws.get("AllocateAddress", json!({}))["allocationId"]);
    let lonely = aws.get(
        "CreateNatGateway",
        json!({"SubnetId": subnet, "AllocationId": allocation}),
    );
    let lonely = text(&lonely["natGateway"]["natGatewayId"]);
    let state = |aws: &mut Account, id: &str| {
        aws.get("DescribeNatGateways", json!({"NatGatewayId": [id]}))["natGatewaySet"][0].clone()
    };
    aws.until(|aws| state(aws, &lonely)["state"] == "failed");
    assert_eq!(
        state(&mut aws, &lonely)["failureCode"],
        "Gateway.NotAttached"
    );

    let gateway =
        text(&aws.get("CreateInternetGateway", json!({}))["internetGateway"]["internetGatewayId"]);
    aws.get(
        "AttachInternetGateway",
        json!({"InternetGatewayId": gateway, "VpcId": vpc}),
    );
    let make = json!({"SubnetId": subnet, "AllocationId": allocation, "ClientToken": "once"});
    let nat = aws.get("CreateNatGateway", make.clone());
    assert_eq!(nat["natGateway"]["state"], "pending");
    let nat = text(&nat["natGateway"]["natGatewayId"]);
    assert_eq!(
        aws.get("CreateNatGateway", make)["natGateway"]["natGatewayId"],
        nat
    );
    aws.until(|aws| state(aws, &nat)["state"] == "available");

    aws.refuse(
        "ReleaseAddress",
        json!({"AllocationId": allocation}),
        "InvalidIPAddress.InUse",
        "is in use.",
    );
    aws.refuse(
        "DetachInternetGateway",
        json!({"InternetGatewayId": gateway, "VpcId": vpc}),
        "DependencyViolation",
        "has some mapped public address(es)",
    );
    aws.refuse(
        "DeleteSubnet",
        json!({"SubnetId": subnet}),
        "DependencyViolation",
        "has dependencies",
    );
    let interface = state(&mut aws, &nat)["natGatewayAddressSet"][0]["networkInterfaceId"].clone();
    aws.refuse(
        "DeleteNetworkInterface",
        json!({"NetworkInterfaceId": interface}),
        "InvalidParameterValue",
        "currently in use",
    );

    aws.get("DeleteNatGateway", json!({"NatGatewayId": nat}));
    aws.until(|aws| state(aws, &nat)["state"] == "deleted");
    aws.get("ReleaseAddress", json!({"AllocationId": allocation}));
    aws.get(
        "DetachInternetGateway",
        json!({"InternetGatewayId": gateway, "VpcId": vpc}),
    );
    aws.refuse(
        "DetachInternetGateway",
        json!({"InternetGatewayId": gateway, "VpcId": vpc}),
        "Gateway.NotAttached",
        "is not attached",
    );
    aws.get("DeleteSubnet", json!({"SubnetId": subnet}));
    aws.until(|aws| {
        let answer = aws.ask("DescribeNatGateways", json!({"NatGatewayId": [nat]}));
        answer.is_err_and(|fault| fault.code == "NatGatewayNotFound")
    });
}

#[test]
fn security_groups_hold_on_to_each_other() {
    let mut aws = Account::new();
    let vpc = aws.vpc();
    let make = |name: &str| json!({"VpcId": vpc, "GroupName": name, "GroupDescription": name});
    let front = text(&aws.get("CreateSecurityGroup", make("front"))["groupId"]);
    let back = text(&aws.get("CreateSecurityGroup", make("back"))["groupId"]);
    aws.refuse(
        "CreateSecurityGroup",
        make("front"),
        "InvalidGroup.Duplicate",
        "already exists for VPC",
    );
    let rule = json!({"GroupId": back, "IpPermissions": [{"IpProtocol": "tcp", "FromPort": "8080", "ToPort": "8080",
        "Groups": [{"GroupId": front, "Description": "from the front"}], "IpRanges": [{"CidrIp": "10.0.0.0/16"}]}]});
    aws.get("AuthorizeSecurityGroupIngress", rule.clone());
    aws.refuse(
        "AuthorizeSecurityGroupIngress",
        rule.clone(),
        "InvalidPermission.Duplicate",
        "TCP, from port: 8080, to port: 8080, ALLOW",
    );
    let seen = aws.get("DescribeSecurityGroups", json!({"GroupId": [back]}));
    let permission = &seen["securityGroupInfo"][0]["ipPermissions"][0];
    assert_eq!(permission["groups"][0]["description"], "from the front");
    assert_eq!(permission["ipRanges"][0]["cidrIp"], "10.0.0.0/16");
    aws.refuse(
        "DeleteSecurityGroup",
        json!({"GroupId": front}),
        "DependencyViolation",
        "has a dependent object",
    );
    aws.get("RevokeSecurityGroupIngress", rule.clone());
    aws.refuse(
        "RevokeSecurityGroupIngress",
        rule,
        "InvalidPermission.NotFound",
        "does not exist",
    );
    aws.get("DeleteSecurityGroup", json!({"GroupId": front}));
}

#[test]
fn a_node_dies_and_leaves_an_interface_behind() {
    let mut aws = Account::new();
    let vpc = aws.vpc();
    let subnet = aws.subnet(&vpc, "10.0.0.0/24");
    let data = json!({"MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": "1"},
        "BlockDeviceMapping": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": "40", "VolumeType": "gp3", "Encrypted": "true"}}],
        "TagSpecification": [{"ResourceType": "volume", "Tag": [{"Key": "meshctl:environment", "Value": "demo"}]}]});
    let template = aws.get(
        "CreateLaunchTemplate",
        json!({"LaunchTemplateName": "workers", "LaunchTemplateData": data}),
    );
    let template = text(&template["launchTemplate"]["launchTemplateId"]);
    let versions = aws.get(
        "DescribeLaunchTemplateVersions",
        json!({"LaunchTemplateId": template, "LaunchTemplateVersion": ["$Latest"]}),
    );
    let seen = &versions["launchTemplateVersionSet"][0]["launchTemplateData"];
    assert_eq!(seen["blockDeviceMappingSet"][0]["ebs"]["volumeType"], "gp3");
    assert_eq!(
        seen["tagSpecificationSet"][0]["tagSet"][0]["key"],
        "meshctl:environment"
    );

    let node = aws
        .ec2()
        .run_node(NewNode {
            subnet: subnet.clone(),
            kind: "t3.medium".into(),
            image: "ami-1".into(),
            template: Some((template, 1)),
            cluster: Some("meshctl-demo".into()),
            ..NewNode::default()
        })
        .unwrap();
    assert_eq!(node.host_name, "ip-10-0-0-4.eu-west-1.compute.internal");
    aws.until(|aws| aws.ec2().instance(&node.id).unwrap().state == "running");
    let disks = aws.get(
        "DescribeVolumes",
        json!({"Filter": [{"Name": "tag:meshctl:environment", "Value": ["demo"]}]}),
    );
    assert_eq!(disks["volumeSet"][0]["size"], 40);
    aws.get("TerminateInstances", json!({"InstanceId": [node.id]}));
    let alive = json!({"Filter": [{"Name": "instance-state-name", "Value": ["pending", "running", "shutting-down"]}]});
    aws.until(|aws| aws.get("DescribeInstances", alive.clone())["reservationSet"] == json!([]));
    assert_eq!(
        aws.get("DescribeVolumes", json!({}))["volumeSet"],
        json!([])
    );
    let left = aws.get(
        "DescribeNetworkInterfaces",
        json!({"Filter": [{"Name": "status", "Value": ["available"]},
        {"Name": "tag:cluster.k8s.amazonaws.com/name", "Value": ["meshctl-demo"]}]}),
    );
    let left = left["networkInterfaceSet"][0]["networkInterfaceId"].clone();
    aws.refuse(
        "DeleteSubnet",
        json!({"SubnetId": subnet}),
        "DependencyViolation",
        "has dependencies",
    );
    aws.get(
        "DeleteNetworkInterface",
        json!({"NetworkInterfaceId": left}),
    );
    aws.get("DeleteSubnet", json!({"SubnetId": subnet}));
}

#[test]
fn routes_lead_only_where_they_can() {
    let mut aws = Account::new();
    let vpc = aws.vpc();
    let table =
        text(&aws.get("CreateRouteTable", json!({"VpcId": vpc}))["routeTable"]["routeTableId"]);
    let gateway =
        text(&aws.get("CreateInternetGateway", json!({}))["internetGateway"]["internetGatewayId"]);
    let route =
        json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway});
    aws.refuse(
        "CreateRoute",
        route.clone(),
        "InvalidParameterValue",
        "belong to different networks",
    );
    aws.get(
        "AttachInternetGateway",
        json!({"InternetGatewayId": gateway, "VpcId": vpc}),
    );
    aws.get("CreateRoute", route);
    let subnet = aws.subnet(&vpc, "10.0.0.0/24");
    let association = aws.get(
        "AssociateRouteTable",
        json!({"RouteTableId": table, "SubnetId": subnet}),
    );
    aws.refuse(
        "DeleteRouteTable",
        json!({"RouteTableId": table}),
        "DependencyViolation",
        "has dependencies",
    );
    aws.get(
        "DetachInternetGateway",
        json!({"InternetGatewayId": gateway, "VpcId": vpc}),
    );
    let seen = aws.get("DescribeRouteTables", json!({"RouteTableId": [table]}));
    assert_eq!(
        seen["routeTableSet"][0]["routeSet"][1]["state"],
        "blackhole"
    );
    aws.get(
        "DisassociateRouteTable",
        json!({"AssociationId": association["associationId"]}),
    );
    aws.get("DeleteRouteTable", json!({"RouteTableId": table}));
}

#[test]
fn tags_are_found_and_reserved_ones_refused() {
    let mut aws = Account::new();
    let tagged = json!({"CidrBlock": "10.0.0.0/16", "TagSpecification": [{"ResourceType": "vpc",
        "Tag": [{"Key": "meshctl:environment", "Value": "demo"}]}]});
    let vpc = text(&aws.get("CreateVpc", tagged)["vpc"]["vpcId"]);
    let found = aws.get(
        "DescribeTags",
        json!({"Filter": [{"Name": "key", "Value": ["meshctl:environment"]}]}),
    );
    assert_eq!(found["tagSet"][0]["resourceId"], vpc);
    assert_eq!(found["tagSet"][0]["resourceType"], "vpc");
    aws.refuse(
        "CreateTags",
        json!({"ResourceId": [vpc], "Tag": [{"Key": "aws:mine", "Value": "x"}]}),
        "InvalidParameterValue",
        "reserved",
    );
    aws.refuse(
        "CreateTags",
        json!({"ResourceId": ["vpc-1"], "Tag": [{"Key": "a"}]}),
        "InvalidVpcID.NotFound",
        "vpc-1",
    );
    aws.get(
        "DeleteTags",
        json!({"ResourceId": [vpc], "Tag": [{"Key": "meshctl:environment"}]}),
    );
    assert_eq!(aws.get("DescribeTags", json!({}))["tagSet"], json!([]));
    aws.refuse(
        "DescribeVpcs",
        json!({"Filter": [{"Name": "colour", "Value": ["red"]}]}),
        "InvalidParameterValue",
        "The filter 'colour' is invalid",
    );
    aws.refuse(
        "CreateVpc",
        json!({"CidrBlock": "10.0.0.0/16", "DryRun": "true"}),
        "DryRunOperation",
        "Request would have succeeded",
    );
}

#[test]
fn a_role_may_touch_only_what_its_conditions_say() {
    use crate::sandbox::aws::{self, Caller, iam};
    use crate::sandbox::state::World;

    let world = World::for_tests();
    let mut state = world.state();
    iam::bootstrap(&world, &mut state);
    let mut ask = |user: &str, service: &str, operation: &str, input: Value| {
        let caller = Caller {
            arn: format!("arn:aws:iam::123456789012:user/{user}"),
            user_id: "AIDATEST".into(),
        };
        aws::invoke(
            &world,
            &mut state,
            &caller,
            "us-west-2",
            service,
            operation,
            &input,
        )
    };
    // What the load balancer controller's policy says of security groups.
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "ec2:CreateSecurityGroup", "Resource": "*"},
        {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "arn:aws:ec2:*:*:security-group/*", "Condition": {
            "StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"},
            "Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "false"}}},
        {"Effect": "Allow", "Action": "ec2:DeleteSecurityGroup", "Resource": "*", "Condition": {
            "Null": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "false"}}}]});
    ask(
        "sandbox",
        "iam",
        "CreateUser",
        json!({"UserName": "controller"}),
    )
    .expect("a user");
    let put =
        json!({"UserName": "controller", "PolicyName": "p", "PolicyDocument": policy.to_string()});
    ask("sandbox", "iam", "PutUserPolicy", put).expect("a policy");
    let vpcs = ask("sandbox", "ec2", "DescribeVpcs", json!({})).unwrap();
    let make = |name: &str, key: &str| {
        json!({"GroupName": name, "GroupDescription": name, "VpcId": vpcs["vpcSet"][0]["vpcId"],
            "TagSpecification": [{"ResourceType": "security-group", "Tag": [{"Key": key, "Value": "demo"}]}]})
    };
    let own = ask(
        "controller",
        "ec2",
        "CreateSecurityGroup",
        make("own", "elbv2.k8s.aws/cluster"),
    )
    .unwrap();
    let refused = ask(
        "controller",
        "ec2",
        "CreateSecurityGroup",
        make("other", "colour"),
    )
    .unwrap_err();
    assert_eq!(refused.code, "UnauthorizedOperation");
    let other = ask(
        "sandbox",
        "ec2",
        "CreateSecurityGroup",
        make("other", "colour"),
    )
    .unwrap();
    let refused = ask(
        "controller",
        "ec2",
        "DeleteSecurityGroup",
        json!({"GroupId": other["groupId"]}),
    )
    .unwrap_err();
    assert_eq!(refused.code, "UnauthorizedOperation");
    ask(
        "controller",
        "ec2",
        "DeleteSecurityGroup",
        json!({"GroupId": own["groupId"]}),
    )
    .unwrap();
    ask("controller", "ec2", "DescribeSecurityGroups", json!({})).unwrap_err();
}
