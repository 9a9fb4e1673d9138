//! Stacks that change: in place, by replacement, by change sets, and back again.

use serde_json::{Value, json};

use super::{Account, VPC};
use crate::sandbox::aws;

#[test]
fn updates_change_in_place_replace_and_roll_back() {
    let aws = Account::new();
    let id = aws.create("net", VPC);
    assert_eq!(aws.settle(&id), "CREATE_COMPLETE");
    let before = aws.stack("net")["Outputs"][0]["OutputValue"].clone();
    aws.refuse(
        "UpdateStack",
        json!({"StackName": "net", "TemplateBody": VPC}),
        "ValidationError",
        "No updates are to be performed.",
    );

    let parameters = json!([{"ParameterKey": "Dns", "ParameterValue": "true"}]);
    aws.get(
        "UpdateStack",
        json!({"StackName": "net", "TemplateBody": VPC, "Parameters": parameters}),
    );
    assert_eq!(aws.settle(&id), "UPDATE_COMPLETE");
    assert_eq!(
        aws.stack("net")["Outputs"][0]["OutputValue"],
        before,
        "the VPC changed in place"
    );

    let moved = VPC
        .replace("10.0.0.0/24", "10.0.1.0/24")
        .replace("'false'", "'true'");
    aws.get(
        "UpdateStack",
        json!({"StackName": "net", "TemplateBody": moved}),
    );
    assert_eq!(aws.settle(&id), "UPDATE_COMPLETE");
    let after = aws.stack("net")["Outputs"][0]["OutputValue"].clone();
    assert_ne!(after, before, "the subnet was replaced");
    let events = aws.events(&id);
    assert!(events.contains(
        &"Subnet UPDATE_IN_PROGRESS Requested update requires the creation of a new physical resource; hence creating one.".to_owned()
    ));
    assert!(events.contains(&"net UPDATE_COMPLETE_CLEANUP_IN_PROGRESS".to_owned()));
    assert_eq!(
        aws.ec2(
            "DescribeSubnets",
            json!({"Filter": [{"Name": "cidr", "Value": ["10.0.?.0/24"]}]})
        )["subnetSet"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // One resource more, and one that can't be: everything is as before.
    let broken = moved.replace("10.0.1.0/24", "10.9.1.0/24").replace(
        "Outputs:",
        "  Gateway: {Type: 'AWS::EC2::InternetGateway'}\nOutputs:",
    );
    aws.get(
        "UpdateStack",
        json!({"StackName": "net", "TemplateBody": broken}),
    );
    assert_eq!(
        aws.settle(&id),
        "UPDATE_ROLLBACK_COMPLETE",
        "{:#?}",
        aws.events(&id)
    );
    assert_eq!(aws.stack("net")["Outputs"][0]["OutputValue"], after);
    let gateways = aws.ec2("DescribeInternetGateways", json!({}));
    assert_eq!(
        gateways["internetGatewaySet"].as_array().unwrap().len(),
        1,
        "the default VPC's"
    );
    let subnets = aws.ec2("DescribeSubnets", json!({"SubnetId": [after]}));
    assert_eq!(subnets["subnetSet"][0]["cidrBlock"], "10.0.1.0/24");
    aws.get("DeleteStack", json!({"StackName": "net"}));
    assert_eq!(aws.settle(&id), "DELETE_COMPLETE", "{:#?}", aws.events(&id));
}

#[test]
fn a_restart_in_the_middle_goes_on() {
    let aws = Account::new();
    let id = aws.create("net", VPC);
    aws::tick(&mut aws.world.state(), &aws.world);
    let saved = serde_json::to_string(&*aws.world.state()).unwrap();
    *aws.world.state() = serde_json::from_str(&saved).unwrap();
    assert_eq!(aws.settle(&id), "CREATE_COMPLETE");
    assert_eq!(
        aws.ec2(
            "DescribeVpcs",
            json!({"Filter": [{"Name": "cidr", "Value": ["10.0.0.0/16"]}]})
        )["vpcSet"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn exports_are_shared_and_held() {
    let aws = Account::new();
    let id = aws.create("net", VPC);
    assert_eq!(aws.settle(&id), "CREATE_COMPLETE");
    let user = "Resources:\n  Nic: {Type: 'AWS::EC2::RouteTable', Properties: {VpcId: !Ref V}}\n  V: {Type: 'AWS::EC2::VPC', \
                Properties: {CidrBlock: 10.1.0.0/16, Tags: [{Key: s, Value: !ImportValue net-subnet}]}}\n";
    let user = aws.create("user", user);
    assert_eq!(
        aws.settle(&user),
        "CREATE_COMPLETE",
        "{:#?}",
        aws.events(&user)
    );
    assert_eq!(
        aws.get("ListImports", json!({"ExportName": "net-subnet"}))["Imports"],
        json!(["user"])
    );
    aws.refuse(
        "DeleteStack",
        json!({"StackName": "net"}),
        "ValidationError",
        "Export net-subnet cannot be deleted as it is in use by user",
    );
    aws.get("DeleteStack", json!({"StackName": "user"}));
    aws.settle(&user);
    aws.get("DeleteStack", json!({"StackName": "net"}));
    assert_eq!(aws.settle(&id), "DELETE_COMPLETE");
}

#[test]
fn a_change_set_shows_what_it_would_do_and_does_it() {
    let aws = Account::new();
    let set = |name: &str, kind: &str, body: &str| json!({"StackName": "net", "ChangeSetName": name, "ChangeSetType": kind, "TemplateBody": body});
    aws.get("CreateChangeSet", set("first", "CREATE", VPC));
    let seen = aws.get(
        "DescribeChangeSet",
        json!({"StackName": "net", "ChangeSetName": "first"}),
    );
    assert_eq!(seen["Status"], "CREATE_COMPLETE");
    assert_eq!(seen["Changes"].as_array().unwrap().len(), 2);
    assert_eq!(aws.stack("net")["StackStatus"], "REVIEW_IN_PROGRESS");
    aws.get(
        "ExecuteChangeSet",
        json!({"StackName": "net", "ChangeSetName": "first"}),
    );
    assert_eq!(aws.settle("net"), "CREATE_COMPLETE");

    aws.get("CreateChangeSet", set("same", "UPDATE", VPC));
    let seen = aws.get(
        "DescribeChangeSet",
        json!({"StackName": "net", "ChangeSetName": "same"}),
    );
    assert_eq!(seen["Status"], "FAILED");
    assert!(
        seen["StatusReason"]
            .as_str()
            .unwrap()
            .contains("didn't contain changes")
    );
    aws.refuse(
        "ExecuteChangeSet",
        json!({"StackName": "net", "ChangeSetName": "same"}),
        "InvalidChangeSetStatus",
        "cannot be executed",
    );

    let moved = VPC.replace("10.0.0.0/24", "10.0.1.0/24");
    aws.get("CreateChangeSet", set("move", "UPDATE", &moved));
    let seen = aws.get(
        "DescribeChangeSet",
        json!({"StackName": "net", "ChangeSetName": "move"}),
    );
    assert_eq!(seen["Changes"][0]["ResourceChange"]["Replacement"], "True");
    assert_eq!(seen["Changes"].as_array().unwrap().len(), 1);
    aws.get(
        "ExecuteChangeSet",
        json!({"StackName": "net", "ChangeSetName": "move"}),
    );
    assert_eq!(aws.settle("net"), "UPDATE_COMPLETE");
}

/// What an update sets, the way back unsets, in every service that it touched.
#[test]
fn properties_that_go_away_become_defaults_again() {
    let account = Account::new();
    let template = |log: &str, repository: &str, role: &str, vpc: &str| {
        format!(
            r#"{{"Resources": {{
                "Log": {{"Type": "AWS::Logs::LogGroup", "Properties": {{"LogGroupName": "/kept"{log}}}}},
                "Repository": {{"Type": "AWS::ECR::Repository", "Properties": {{"RepositoryName": "kept"{repository}}}}},
                "Role": {{"Type": "AWS::IAM::Role", "Properties": {{"RoleName": "kept"{role}, "AssumeRolePolicyDocument":
                    {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"Service": "ec2.amazonaws.com"}},
                    "Action": "sts:AssumeRole"}}]}}}}}},
                "Vpc": {{"Type": "AWS::EC2::VPC", "Properties": {{"CidrBlock": "10.0.0.0/16"{vpc}}}}}
            }}}}"#
        )
    };
    let seen = || {
        let ask = |service: &str, operation: &str, input: Value| {
            account
                .ask(service, operation, &input)
                .unwrap_or_else(|fault| json!(fault.code))
        };
        let logs = ask(
            "logs",
            "DescribeLogGroups",
            json!({"logGroupNamePrefix": "/kept"}),
        );
        let arn = "arn:aws:logs:eu-west-1:123456789012:log-group:/kept";
        let repository = ask(
            "ecr",
            "DescribeRepositories",
            json!({"repositoryNames": ["kept"]}),
        );
        let role = ask("iam", "GetRole", json!({"RoleName": "kept"}));
        let vpcs = ask(
            "ec2",
            "DescribeVpcs",
            json!({"Filter": [{"Name": "cidr", "Value": ["10.0.0.0/16"]}]}),
        );
        let vpc = vpcs["vpcSet"][0]["vpcId"].clone();
        json!({
            "retention": logs["logGroups"][0]["retentionInDays"],
            "log tags": ask("logs", "ListTagsForResource", json!({"resourceArn": arn}))["tags"],
            "mutability": repository["repositories"][0]["imageTagMutability"],
            "scanning": repository["repositories"][0]["imageScanningConfiguration"],
            "lifecycle": ask("ecr", "GetLifecyclePolicy", json!({"repositoryName": "kept"}))["lifecyclePolicyText"],
            "policy": ask("ecr", "GetRepositoryPolicy", json!({"repositoryName": "kept"}))["policyText"],
            "description": role["Role"]["Description"].as_str().unwrap_or(""),
            "boundary": role["Role"]["PermissionsBoundary"],
            "longest": role["Role"]["MaxSessionDuration"],
            "host names": ask("ec2", "DescribeVpcAttribute", json!({"VpcId": vpc, "Attribute": "enableDnsHostnames"}))["enableDnsHostnames"],
        })
    };
    let bare = template("", "", "", "");
    let id = account.create("kept", &bare);
    assert_eq!(account.settle(&id), "CREATE_COMPLETE");
    let before = seen();
    let full = template(
        r#", "RetentionInDays": 7, "Tags": [{"Key": "a", "Value": "b"}]"#,
        r#", "ImageTagMutability": "IMMUTABLE", "ImageScanningConfiguration": {"ScanOnPush": true},
            "LifecyclePolicy": {"LifecyclePolicyText": "{\"rules\":[{\"rulePriority\":1,\"selection\":{\"tagStatus\":\"untagged\",\"countType\":\"imageCountMoreThan\",\"countNumber\":5},\"action\":{\"type\":\"expire\"}}]}"},
            "RepositoryPolicyText": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}]}"#,
        r#", "Description": "d", "MaxSessionDuration": 7200,
            "PermissionsBoundary": "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly""#,
        r#", "EnableDnsHostnames": true"#,
    );
    let update = |body: &str| {
        let input = json!({"StackName": "kept", "TemplateBody": body, "Capabilities": ["CAPABILITY_NAMED_IAM"]});
        account.get("UpdateStack", input);
        assert_eq!(account.settle(&id), "UPDATE_COMPLETE");
        seen()
    };
    let between = update(&full);
    for (what, value) in before.as_object().unwrap() {
        assert_ne!(*value, between[what], "{what} was not set");
    }
    assert_eq!(update(&bare), before);
}
