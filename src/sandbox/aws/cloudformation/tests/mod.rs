//! Stacks from beginning to end, through the services that they are made of.

mod drift;
mod updates;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::aws::{self, Caller, Fault, iam};
use crate::sandbox::state::World;

struct Account {
    world: World,
    user: &'static str,
}

impl Account {
    fn new() -> Self {
        let world = World::for_tests();
        iam::bootstrap(&world, &mut world.state());
        Account {
            world,
            user: "sandbox",
        }
    }

    fn ask(&self, service: &str, operation: &str, input: &Value) -> Result<Value, Fault> {
        let caller = Caller {
            arn: format!("arn:aws:iam::123456789012:user/{}", self.user),
            user_id: "AIDATEST".into(),
        };
        let mut state = self.world.state();
        aws::invoke(
            &self.world,
            &mut state,
            &caller,
            "eu-west-1",
            service,
            operation,
            input,
        )
    }

    fn get(&self, operation: &str, input: Value) -> Value {
        match self.ask("cloudformation", operation, &input) {
            Ok(answer) => answer,
            Err(fault) => panic!("{operation}: {} {}", fault.code, fault.message),
        }
    }

    fn ec2(&self, operation: &str, input: Value) -> Value {
        match self.ask("ec2", operation, &input) {
            Ok(answer) => answer,
            Err(fault) => panic!("{operation}: {} {}", fault.code, fault.message),
        }
    }

    fn refuse(&self, operation: &str, input: Value, code: &str, part: &str) {
        let fault = self.ask("cloudformation", operation, &input).unwrap_err();
        assert_eq!(fault.code, code, "{}", fault.message);
        assert!(fault.message.contains(part), "{}", fault.message);
    }

    fn stack(&self, name: &str) -> Value {
        self.get("DescribeStacks", json!({"StackName": name}))["Stacks"][0].clone()
    }

    fn create(&self, name: &str, template: &str) -> String {
        let made = self.get(
            "CreateStack",
            json!({"StackName": name, "TemplateBody": template, "Capabilities": ["CAPABILITY_NAMED_IAM"]}),
        );
        made["StackId"].as_str().unwrap().to_owned()
    }

    /// Lets time pass until the stack is in a state that ends an operation.
    fn settle(&self, id: &str) -> String {
        let began = Instant::now();
        loop {
            aws::tick(&mut self.world.state(), &self.world);
            let status = self.stack(id)["StackStatus"].as_str().unwrap().to_owned();
            if !status.ends_with("_IN_PROGRESS") {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "still {status}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn events(&self, id: &str) -> Vec<String> {
        let mut all = Vec::new();
        let mut input = json!({"StackName": id});
        loop {
            let page = self.get("DescribeStackEvents", input.clone());
            for event in page["StackEvents"].as_array().unwrap() {
                let part = |name: &str| event[name].as_str().unwrap_or("").to_owned();
                let line = format!(
                    "{} {} {}",
                    part("LogicalResourceId"),
                    part("ResourceStatus"),
                    part("ResourceStatusReason")
                );
                all.push(line.trim_end().to_owned());
            }
            match page["NextToken"].as_str() {
                Some(token) => input["NextToken"] = json!(token),
                None => break,
            }
        }
        all.reverse();
        all
    }
}

const VPC: &str = "
Parameters:
  Dns: {Type: String, Default: 'false'}
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties:
      CidrBlock: 10.0.0.0/16
      EnableDnsHostnames: !Ref Dns
  Subnet:
    Type: AWS::EC2::Subnet
    Properties:
      VpcId: !Ref Vpc
      CidrBlock: 10.0.0.0/24
Outputs:
  SubnetId:
    Value: !Ref Subnet
    Export: {Name: !Sub '${AWS::StackName}-subnet'}
";

#[test]
fn the_network_stack_comes_up_and_goes() {
    let aws = Account::new();
    let template = include_str!("../../../../../stacks/network.yaml");
    let input = json!({"StackName": "net", "TemplateBody": template, "ClientRequestToken": "once",
        "Parameters": [{"ParameterKey": "EnvironmentName", "ParameterValue": "demo"},
            {"ParameterKey": "ClusterName", "ParameterValue": "meshctl-demo"}],
        "Tags": [{"Key": "owner", "Value": "me"}]});
    let id = aws.get("CreateStack", input.clone())["StackId"].clone();
    assert_eq!(
        aws.get("CreateStack", input.clone())["StackId"],
        id,
        "the token makes it idempotent"
    );
    let mut other = input.clone();
    other["ClientRequestToken"] = json!("twice");
    aws.refuse(
        "CreateStack",
        other,
        "AlreadyExistsException",
        "Stack [net] already exists",
    );
    let id = id.as_str().unwrap();
    assert_eq!(aws.settle(id), "CREATE_COMPLETE", "{:#?}", aws.events(id));

    let stack = aws.stack("net");
    let output = |key: &str| {
        let outputs = stack["Outputs"].as_array().unwrap();
        let found = outputs
            .iter()
            .find(|output| output["OutputKey"] == key)
            .unwrap();
        found["OutputValue"].as_str().unwrap().to_owned()
    };
    let private: Vec<String> = output("PrivateSubnetIds")
        .split(',')
        .map(str::to_owned)
        .collect();
    assert_eq!(private.len(), 3);
    let subnets = aws.ec2("DescribeSubnets", json!({"SubnetId": private}));
    let zones: std::collections::BTreeSet<&str> = subnets["subnetSet"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subnet| subnet["availabilityZone"].as_str().unwrap())
        .collect();
    assert_eq!(zones.len(), 3);
    let tagged = json!([{"Name": "tag:kubernetes.io/cluster/meshctl-demo", "Value": ["shared"]},
        {"Name": "tag:owner", "Value": ["me"]}, {"Name": "tag:aws:cloudformation:stack-name", "Value": ["net"]}]);
    let found = aws.ec2("DescribeSubnets", json!({ "Filter": tagged }));
    assert_eq!(found["subnetSet"].as_array().unwrap().len(), 6);
    let gateways = json!([{"Name": "state", "Value": ["available"]}]);
    assert_eq!(
        aws.ec2("DescribeNatGateways", json!({"Filter": gateways}))["natGatewaySet"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let events = aws.events(id);
    assert_eq!(events[0], "net CREATE_IN_PROGRESS User Initiated");
    assert_eq!(events.last().unwrap(), "net CREATE_COMPLETE");
    let place = |line: &str| {
        events
            .iter()
            .position(|event| event == line)
            .unwrap_or_else(|| panic!("{line}: {events:#?}"))
    };
    assert!(
        place("Vpc CREATE_IN_PROGRESS")
            < place("Vpc CREATE_IN_PROGRESS Resource creation Initiated")
    );
    assert!(place("Vpc CREATE_COMPLETE") < place("PublicSubnetA CREATE_IN_PROGRESS"));
    assert!(
        place("NatGatewayA CREATE_COMPLETE") < place("PrivateDefaultRouteB CREATE_IN_PROGRESS")
    );

    aws.get("DeleteStack", json!({"StackName": "net"}));
    assert_eq!(aws.settle(id), "DELETE_COMPLETE", "{:#?}", aws.events(id));
    let events = aws.events(id);
    let place = |line: &str| events.iter().position(|event| event == line).unwrap();
    assert!(place("NatGatewayA DELETE_COMPLETE") < place("NatAddressA DELETE_IN_PROGRESS"));
    assert!(
        place("NatAddressA DELETE_COMPLETE")
            < place("InternetGatewayAttachment DELETE_IN_PROGRESS")
    );
    aws.refuse(
        "DescribeStacks",
        json!({"StackName": "net"}),
        "ValidationError",
        "Stack with id net does not exist",
    );
    assert_eq!(
        aws.ec2("DescribeVpcs", json!({}))["vpcSet"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "only the default one"
    );
    assert_eq!(
        aws.ec2("DescribeAddresses", json!({}))["addressesSet"],
        json!([])
    );
}

#[test]
fn a_nat_gateway_per_zone_where_wanted() {
    let aws = Account::new();
    let template = include_str!("../../../../../stacks/network.yaml");
    let made = aws.get(
        "CreateStack",
        json!({"StackName": "net", "TemplateBody": template, "Parameters": [
            {"ParameterKey": "EnvironmentName", "ParameterValue": "demo"},
            {"ParameterKey": "ClusterName", "ParameterValue": "meshctl-demo"},
            {"ParameterKey": "NatGateways", "ParameterValue": "per-zone"}]}),
    );
    assert_eq!(
        aws.settle(made["StackId"].as_str().unwrap()),
        "CREATE_COMPLETE"
    );
    let gateways = aws.ec2("DescribeNatGateways", json!({}));
    assert_eq!(gateways["natGatewaySet"].as_array().unwrap().len(), 3);
    // Back to one: the others are cleaned up after the update.
    aws.get(
        "UpdateStack",
        json!({"StackName": "net", "UsePreviousTemplate": true, "Parameters": [
            {"ParameterKey": "EnvironmentName", "UsePreviousValue": true},
            {"ParameterKey": "ClusterName", "UsePreviousValue": true},
            {"ParameterKey": "NatGateways", "ParameterValue": "single"}]}),
    );
    assert_eq!(aws.settle("net"), "UPDATE_COMPLETE");
    let alive = json!({"Filter": [{"Name": "state", "Value": ["available"]}]});
    assert_eq!(
        aws.ec2("DescribeNatGateways", alive)["natGatewaySet"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        aws.ec2("DescribeAddresses", json!({}))["addressesSet"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let tables = aws.ec2(
        "DescribeRouteTables",
        json!({"Filter": [{"Name": "route.state", "Value": ["blackhole"]}]}),
    );
    assert_eq!(tables["routeTableSet"], json!([]));
}

#[test]
fn the_other_stacks_give_what_they_promise() {
    let aws = Account::new();
    let names = json!([{"ParameterKey": "EnvironmentName", "ParameterValue": "demo"},
        {"ParameterKey": "ClusterName", "ParameterValue": "meshctl-demo"}]);
    let roles = include_str!("../../../../../stacks/roles.yaml");
    aws.refuse(
        "CreateStack",
        json!({"StackName": "roles", "TemplateBody": roles, "Parameters": names, "Capabilities": ["CAPABILITY_IAM"]}),
        "InsufficientCapabilitiesException",
        "Requires capabilities : [CAPABILITY_NAMED_IAM]",
    );
    aws.get(
        "CreateStack",
        json!({"StackName": "roles", "TemplateBody": roles, "Parameters": names, "Capabilities": ["CAPABILITY_NAMED_IAM"]}),
    );
    assert_eq!(
        aws.settle("roles"),
        "CREATE_COMPLETE",
        "{:#?}",
        aws.events("roles")
    );
    assert_eq!(
        aws.stack("roles")["Outputs"][0]["OutputValue"],
        "arn:aws:iam::123456789012:role/meshctl-demo-cluster"
    );
    let nodes = include_str!("../../../../../stacks/nodes.yaml");
    aws.get(
        "CreateStack",
        json!({"StackName": "nodes", "TemplateBody": nodes, "Parameters": names}),
    );
    assert_eq!(
        aws.settle("nodes"),
        "CREATE_COMPLETE",
        "{:#?}",
        aws.events("nodes")
    );
    let mut bigger = names.clone();
    bigger
        .as_array_mut()
        .unwrap()
        .push(json!({"ParameterKey": "DiskGib", "ParameterValue": "80"}));
    aws.get(
        "UpdateStack",
        json!({"StackName": "nodes", "UsePreviousTemplate": "true", "Parameters": bigger}),
    );
    assert_eq!(
        aws.settle("nodes"),
        "UPDATE_COMPLETE",
        "{:#?}",
        aws.events("nodes")
    );
    assert_eq!(aws.stack("nodes")["Outputs"][1]["OutputValue"], "2");
    aws.refuse(
        "UpdateStack",
        json!({"StackName": "nodes", "UsePreviousTemplate": "true", "Parameters": bigger}),
        "ValidationError",
        "No updates are to be performed.",
    );
    for name in ["nodes", "roles"] {
        let id = aws.stack(name)["StackId"].as_str().unwrap().to_owned();
        aws.get("DeleteStack", json!({"StackName": name}));
        assert_eq!(aws.settle(&id), "DELETE_COMPLETE", "{:#?}", aws.events(&id));
    }
}

#[test]
fn a_failure_rolls_back_and_leaves_only_deleting() {
    let aws = Account::new();
    let broken = VPC.replace("10.0.0.0/24", "10.9.0.0/24");
    let id = aws.create("broken", &broken);
    assert_eq!(aws.settle(&id), "ROLLBACK_COMPLETE");
    let events = aws.events(&id);
    assert!(
        events.iter().any(|event| event.starts_with("Subnet CREATE_FAILED Resource handler returned message: \"The CIDR '10.9.0.0/24' is invalid. (Service: Ec2, Status Code: 400")),
        "{events:#?}"
    );
    assert!(events.contains(
        &"broken ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [Subnet]. Rollback requested by user.".to_owned()
    ));
    assert!(events.contains(&"Vpc DELETE_COMPLETE".to_owned()));
    aws.refuse(
        "UpdateStack",
        json!({"StackName": "broken", "TemplateBody": VPC}),
        "ValidationError",
        "is in ROLLBACK_COMPLETE state and can not be updated.",
    );
    aws.refuse(
        "CreateStack",
        json!({"StackName": "broken", "TemplateBody": VPC}),
        "AlreadyExistsException",
        "already exists",
    );
    aws.get("DeleteStack", json!({"StackName": "broken"}));
    assert_eq!(aws.settle(&id), "DELETE_COMPLETE");

    let made = aws.get(
        "CreateStack",
        json!({"StackName": "kept", "TemplateBody": broken, "OnFailure": "DO_NOTHING"}),
    );
    let id = made["StackId"].as_str().unwrap();
    assert_eq!(aws.settle(id), "CREATE_FAILED");
    assert_eq!(
        aws.ec2("DescribeVpcs", json!({}))["vpcSet"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    aws.get("DeleteStack", json!({"StackName": "kept"}));
    assert_eq!(aws.settle(id), "DELETE_COMPLETE");

    let made = aws.get(
        "CreateStack",
        json!({"StackName": "gone", "TemplateBody": broken, "OnFailure": "DELETE"}),
    );
    assert_eq!(
        aws.settle(made["StackId"].as_str().unwrap()),
        "DELETE_COMPLETE"
    );
}

#[test]
fn a_strangers_interface_makes_deletion_fail() {
    let aws = Account::new();
    let id = aws.create("held", VPC);
    assert_eq!(aws.settle(&id), "CREATE_COMPLETE");
    let subnet = aws.stack("held")["Outputs"][0]["OutputValue"].clone();
    let stranger = aws.ec2("CreateNetworkInterface", json!({"SubnetId": subnet}));
    aws.get("DeleteStack", json!({"StackName": "held"}));
    assert_eq!(aws.settle(&id), "DELETE_FAILED");
    assert_eq!(
        aws.stack("held")["StackStatusReason"],
        "The following resource(s) failed to delete: [Subnet]. "
    );
    let events = aws.events(&id);
    assert!(
        events.iter().any(|event| event
            .starts_with("Subnet DELETE_FAILED Resource handler returned message: \"The subnet")
            && event.contains("has dependencies and cannot be deleted.")
            && event.ends_with("HandlerErrorCode: InvalidRequest)")),
        "{events:#?}"
    );
    assert!(
        !events.contains(&"Vpc DELETE_IN_PROGRESS".to_owned()),
        "what the subnet needs stays"
    );

    // Removing the cause and deleting again is enough.
    let interface = &stranger["networkInterface"]["networkInterfaceId"];
    aws.ec2(
        "DeleteNetworkInterface",
        json!({"NetworkInterfaceId": interface}),
    );
    aws.get("DeleteStack", json!({"StackName": "held"}));
    assert_eq!(aws.settle(&id), "DELETE_COMPLETE");

    // And so is retaining what can't go.
    let id = aws.create("retained", &VPC.replace("10.0.0.0/16", "10.0.0.0/20"));
    assert_eq!(aws.settle(&id), "CREATE_COMPLETE");
    let subnet = aws.stack("retained")["Outputs"][0]["OutputValue"].clone();
    aws.ec2("CreateNetworkInterface", json!({"SubnetId": subnet}));
    aws.get("DeleteStack", json!({"StackName": "retained"}));
    assert_eq!(aws.settle(&id), "DELETE_FAILED");
    aws.get(
        "DeleteStack",
        json!({"StackName": "retained", "RetainResources": ["Subnet", "Vpc"]}),
    );
    assert_eq!(aws.settle(&id), "DELETE_COMPLETE");
}

#[test]
fn the_callers_permissions_count() {
    let aws = Account::new();
    aws.ask("iam", "CreateUser", &json!({"UserName": "deployer"}))
        .ok();
    let weak = Account {
        world: aws.world.clone(),
        user: "nobody",
    };
    let fault = weak
        .ask(
            "cloudformation",
            "CreateStack",
            &json!({"StackName": "x", "TemplateBody": VPC}),
        )
        .unwrap_err();
    assert!(fault.code.contains("AccessDenied"), "{}", fault.code);
}

#[test]
fn protection_holds_and_deleting_what_is_absent_is_fine() {
    let aws = Account::new();
    aws.get("DeleteStack", json!({"StackName": "never-was"}));
    aws.get(
        "CreateStack",
        json!({"StackName": "net", "TemplateBody": VPC, "EnableTerminationProtection": "true"}),
    );
    aws.settle("net");
    aws.refuse(
        "DeleteStack",
        json!({"StackName": "net"}),
        "ValidationError",
        "while TerminationProtection is enabled",
    );
    aws.refuse(
        "CreateStack",
        json!({"StackName": "1net", "TemplateBody": VPC}),
        "ValidationError",
        "regular expression pattern",
    );
    aws.refuse(
        "DescribeStackEvents",
        json!({"StackName": "nope"}),
        "ValidationError",
        "Stack [nope] does not exist",
    );
}

#[test]
fn properties_are_checked_before_anything_is_made() {
    let aws = Account::new();
    let id = aws.create(
        "odd",
        &VPC.replace("VpcId: !Ref Vpc", "VpcId: !Ref Vpc\n      Colour: red"),
    );
    assert_eq!(aws.settle(&id), "ROLLBACK_COMPLETE");
    let reason = "Subnet CREATE_FAILED Properties validation failed for resource Subnet with message:\n#: extraneous key \
                  [Colour] is not permitted";
    assert!(
        aws.events(&id).contains(&reason.to_owned()),
        "{:#?}",
        aws.events(&id)
    );
}
