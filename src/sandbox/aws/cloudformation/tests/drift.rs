//! What people change behind a stack's back, and how it is found and taken back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Account;

impl Account {
    /// Detects drift and returns the drifted resources: logical name, status, and the paths that differ.
    fn drifted(&self, stack: &str) -> Vec<(String, String, Vec<String>)> {
        let begun = self.get("DetectStackDrift", json!({"StackName": stack}));
        let began = Instant::now();
        loop {
            let status = self.get("DescribeStackDriftDetectionStatus", begun.clone());
            match status["DetectionStatus"].as_str().unwrap() {
                "DETECTION_COMPLETE" => break,
                "DETECTION_IN_PROGRESS" => {}
                other => panic!("{other}: {status}"),
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{status}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let input =
            json!({"StackName": stack, "StackResourceDriftStatusFilters": ["MODIFIED", "DELETED"]});
        let found = self.get("DescribeStackResourceDrifts", input);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        found["StackResourceDrifts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|drift| {
                let paths = drift["PropertyDifferences"].as_array().unwrap();
                (
                    text(&drift["LogicalResourceId"]),
                    text(&drift["StackResourceDriftStatus"]),
                    paths
                        .iter()
                        .map(|one| {
                            format!(
                                "{} {}",
                                text(&one["PropertyPath"]),
                                text(&one["DifferenceType"])
                            )
                        })
                        .collect(),
                )
            })
            .collect()
    }

    /// Takes drift back by a drift-aware change set; returns what the change set said that it would do.
    fn revert(&self, stack: &str, parameters: &Value) -> Vec<String> {
        let input = json!({"StackName": stack, "ChangeSetName": "revert", "UsePreviousTemplate": true,
            "Parameters": parameters, "Capabilities": ["CAPABILITY_NAMED_IAM"], "DeploymentMode": "REVERT_DRIFT"});
        let made = self.get("CreateChangeSet", input);
        let set = json!({"ChangeSetName": made["Id"]});
        let shown = self.get("DescribeChangeSet", set.clone());
        assert_eq!(shown["DeploymentMode"], "REVERT_DRIFT");
        assert_eq!(shown["StackDriftStatus"], "DRIFTED");
        self.get("ExecuteChangeSet", set);
        assert_eq!(
            self.settle(stack),
            "UPDATE_COMPLETE",
            "{:#?}",
            self.events(stack)
        );
        let changes = shown["Changes"].as_array().unwrap().iter();
        changes
            .map(|change| {
                let change = &change["ResourceChange"];
                format!(
                    "{} {}",
                    change["Action"].as_str().unwrap(),
                    change["LogicalResourceId"].as_str().unwrap()
                )
            })
            .collect()
    }
}

fn names() -> Value {
    json!([{"ParameterKey": "EnvironmentName", "ParameterValue": "demo"},
        {"ParameterKey": "ClusterName", "ParameterValue": "meshctl-demo"}])
}

#[test]
fn what_is_changed_in_a_network_by_hand_is_found_and_taken_back() {
    let aws = Account::new();
    let template = include_str!("../../../../../stacks/network.yaml");
    let tags = json!([{"Key": "owner", "Value": "me"}]);
    let input =
        json!({"StackName": "net", "TemplateBody": template, "Parameters": names(), "Tags": tags});
    aws.get("CreateStack", input);
    assert_eq!(aws.settle("net"), "CREATE_COMPLETE");
    assert_eq!(aws.drifted("net"), []);
    assert_eq!(
        aws.stack("net")["DriftInformation"]["StackDriftStatus"],
        "IN_SYNC"
    );

    let physical = |logical: &str| {
        let input = json!({"StackName": "net", "LogicalResourceId": logical});
        let found = aws.get("DescribeStackResource", input);
        found["StackResourceDetail"]["PhysicalResourceId"].clone()
    };
    let table = physical("PrivateRouteTableA");
    aws.ec2(
        "DeleteRoute",
        json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}),
    );
    aws.ec2(
        "DisassociateRouteTable",
        json!({"AssociationId": physical("PrivateRouteTableAssociationB")}),
    );
    let vpc = physical("Vpc");
    aws.ec2(
        "ModifyVpcAttribute",
        json!({"VpcId": vpc, "EnableDnsHostnames": {"Value": "false"}}),
    );
    let subnet = physical("PublicSubnetA");
    let role = json!([{"Key": "kubernetes.io/role/elb"}]);
    aws.ec2("DeleteTags", json!({"ResourceId": [subnet], "Tag": role}));
    let theirs = json!([{"Key": "theirs", "Value": "x"}]);
    aws.ec2("CreateTags", json!({"ResourceId": [subnet], "Tag": theirs}));
    let gateway = physical("InternetGateway");
    let back = json!({"RouteTableId": physical("PrivateRouteTableC"), "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway});
    aws.ec2("ReplaceRoute", back);

    let one = |logical: &str, status: &str, paths: &[&str]| {
        (
            logical.to_owned(),
            status.to_owned(),
            paths
                .iter()
                .map(|&path| path.to_owned())
                .collect::<Vec<_>>(),
        )
    };
    let mut found = aws.drifted("net");
    found.sort();
    assert_eq!(
        found,
        [
            one("PrivateDefaultRouteA", "DELETED", &[]),
            one(
                "PrivateDefaultRouteC",
                "MODIFIED",
                &["/NatGatewayId REMOVE"]
            ),
            one("PrivateRouteTableAssociationB", "DELETED", &[]),
            one(
                "PublicSubnetA",
                "MODIFIED",
                &["/Tags/2 REMOVE", "/Tags/5 ADD"]
            ),
            one("Vpc", "MODIFIED", &["/EnableDnsHostnames NOT_EQUAL"]),
        ]
    );
    assert_eq!(
        aws.stack("net")["DriftInformation"]["StackDriftStatus"],
        "DRIFTED"
    );
    // An update without a change changes nothing.
    let same =
        json!({"StackName": "net", "TemplateBody": template, "Parameters": names(), "Tags": tags});
    aws.refuse(
        "UpdateStack",
        same,
        "ValidationError",
        "No updates are to be performed",
    );

    let mut said = aws.revert("net", &names());
    said.sort();
    assert_eq!(
        said,
        [
            "Add PrivateDefaultRouteA",
            "Add PrivateRouteTableAssociationB",
            "Modify PrivateDefaultRouteC",
            "Modify PublicSubnetA",
            "Modify Vpc",
        ]
    );
    // What others added stays theirs.
    assert_eq!(
        aws.drifted("net"),
        [one("PublicSubnetA", "MODIFIED", &["/Tags/5 ADD"])]
    );
    assert_eq!(
        physical("PrivateRouteTableA"),
        table,
        "nothing was replaced"
    );
    aws.get("DeleteStack", json!({"StackName": "net"}));
    let id = aws.get("ListStacks", json!({}))["StackSummaries"][0]["StackId"].clone();
    assert_eq!(aws.settle(id.as_str().unwrap()), "DELETE_COMPLETE");
}

#[test]
fn a_role_s_policies_and_trust_are_found_and_taken_back() {
    let aws = Account::new();
    let template = include_str!("../../../../../stacks/roles.yaml");
    let input = json!({"StackName": "roles", "TemplateBody": template, "Parameters": names(), "Capabilities": ["CAPABILITY_NAMED_IAM"]});
    aws.get("CreateStack", input);
    assert_eq!(aws.settle("roles"), "CREATE_COMPLETE");
    assert_eq!(aws.drifted("roles"), []);
    let iam = |operation: &str, input: Value| aws.ask("iam", operation, &input).unwrap();
    let (cluster, node) = ("meshctl-demo-cluster", "meshctl-demo-node");
    let policy = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy";
    iam(
        "DetachRolePolicy",
        json!({"RoleName": cluster, "PolicyArn": policy}),
    );
    let all = "arn:aws:iam::aws:policy/AdministratorAccess";
    iam(
        "AttachRolePolicy",
        json!({"RoleName": node, "PolicyArn": all}),
    );
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
    iam(
        "UpdateAssumeRolePolicy",
        json!({"RoleName": node, "PolicyDocument": trust}),
    );
    let found = aws.drifted("roles");
    let paths: Vec<&String> = found.iter().flat_map(|(_, _, paths)| paths).collect();
    assert_eq!(
        paths,
        [
            "/ManagedPolicyArns/0 REMOVE",
            "/AssumeRolePolicyDocument NOT_EQUAL",
            "/ManagedPolicyArns/3 ADD"
        ]
    );
    aws.revert("roles", &names());
    assert_eq!(aws.drifted("roles"), []);
}

#[test]
fn drift_is_detected_once_at_a_time_and_of_what_is_complete() {
    let aws = Account::new();
    let id = aws.create("busy", super::VPC);
    let busy = json!({"StackName": "busy"});
    aws.refuse(
        "DetectStackDrift",
        busy.clone(),
        "ValidationError",
        "CREATE_IN_PROGRESS",
    );
    assert_eq!(aws.settle(&id), "CREATE_COMPLETE");
    let input = json!({"StackName": "busy", "LogicalResourceId": "Subnet"});
    let one = aws.get("DetectStackResourceDrift", input);
    assert_eq!(
        one["StackResourceDrift"]["StackResourceDriftStatus"],
        "IN_SYNC"
    );
    let nobody = json!({"StackDriftDetectionId": "none"});
    aws.refuse(
        "DescribeStackDriftDetectionStatus",
        nobody,
        "ValidationError",
        "do not exist",
    );
    let gone = json!({"StackName": "gone"});
    aws.refuse(
        "DetectStackDrift",
        gone,
        "ValidationError",
        "does not exist",
    );
    // Without drift there is nothing to take back.
    let input = json!({"StackName": "busy", "ChangeSetName": "none", "UsePreviousTemplate": true, "DeploymentMode": "REVERT_DRIFT"});
    let made = aws.get("CreateChangeSet", input);
    let shown = aws.get("DescribeChangeSet", json!({"ChangeSetName": made["Id"]}));
    assert_eq!(shown["Status"], "FAILED");
    assert_eq!(shown["StackDriftStatus"], "IN_SYNC");
}
