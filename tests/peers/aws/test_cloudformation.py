"""CloudFormation: what a stack's life looks like from outside, event by event."""

import json
import time

import pytest
from botocore.exceptions import WaiterError

from conftest import ACCOUNT_TAGS, SOON, cli, paged, refused, wait

FIRST = """
Parameters:
  Size: {Type: Number, Default: 10, MinValue: 1, MaxValue: 16384}
  Name: {Type: String, AllowedPattern: "[a-z]+", ConstraintDescription: small letters}
  Kind: {Type: String, Default: one, AllowedValues: [one, two]}
Conditions:
  Two: !Equals [!Ref Kind, two]
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties: {CidrBlock: 10.9.0.0/16, Tags: [{Key: Name, Value: !Ref Name}]}
  Subnet:
    Type: AWS::EC2::Subnet
    Properties: {VpcId: !Ref Vpc, CidrBlock: 10.9.0.0/24}
  Second:
    Type: AWS::EC2::Subnet
    Condition: Two
    Properties: {VpcId: !Ref Vpc, CidrBlock: 10.9.1.0/24}
Outputs:
  VpcId: {Value: !Ref Vpc, Export: {Name: !Sub "${AWS::StackName}-vpc"}}
  Named: {Description: what it is called, Value: !Sub "${Name}-${Size}"}
"""
IMPORTING = """
Parameters: {From: {Type: String}}
Resources:
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: d
      VpcId: {"Fn::ImportValue": !Sub "${From}-vpc"}
"""
ROLE = """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      %s
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Principal: {Service: ec2.amazonaws.com}, Action: sts:AssumeRole}]
"""
FAILING = """
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.8.0.0/16}}
  Good: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.8.0.0/24}}
  Bad: {Type: AWS::EC2::Subnet, DependsOn: Good, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.7.0.0/24}}
"""
NAME = [{"ParameterKey": "Name", "ParameterValue": "first"}]


def story(aws, stack):
    """What has happened, oldest first: `Logical STATUS`."""
    events = paged(aws.cloudformation, "describe_stack_events", StackName=stack)["StackEvents"]
    times = [event["Timestamp"] for event in events]
    assert times == sorted(times, reverse=True)
    assert len({event["EventId"] for event in events}) == len(events)
    return [f"{event['LogicalResourceId']} {event['ResourceStatus']}" for event in reversed(events)]


def reasons(aws, stack):
    events = aws.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    return {f"{event['LogicalResourceId']} {event['ResourceStatus']}": event.get("ResourceStatusReason", "") for event in events}


def status(aws, stack):
    return aws.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]


def settled(aws, stack):
    """The status that a stack comes to; the waiters of roll-backs know only one of them."""
    for _ in range(SOON["MaxAttempts"]):
        if not status(aws, stack).endswith("_IN_PROGRESS"):
            return status(aws, stack)
        aws.pause()
    raise AssertionError(f"{stack} does not settle")


def create(aws, stack, body, until="stack_create_complete", **more):
    identity = aws.cloudformation.create_stack(StackName=stack, TemplateBody=body, **more)["StackId"]
    wait(aws.cloudformation, until, StackName=stack)
    return identity


def delete(aws, stack, **more):
    identity = aws.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
    aws.cloudformation.delete_stack(StackName=stack, **more)
    wait(aws.cloudformation, "stack_delete_complete", StackName=identity)
    assert status(aws, identity) == "DELETE_COMPLETE"
    with refused("ValidationError", "does not exist"):
        aws.cloudformation.describe_stacks(StackName=stack)
    return identity


def test_create_update_delete(aws):
    cfn = aws.cloudformation
    identity = create(aws, "life", FIRST, Parameters=NAME, Tags=ACCOUNT_TAGS)
    wait(cfn, "stack_exists", StackName="life")
    assert story(aws, "life") == [
        "life CREATE_IN_PROGRESS", "Vpc CREATE_IN_PROGRESS", "Vpc CREATE_IN_PROGRESS", "Vpc CREATE_COMPLETE",
        "Subnet CREATE_IN_PROGRESS", "Subnet CREATE_IN_PROGRESS", "Subnet CREATE_COMPLETE", "life CREATE_COMPLETE"]
    told = reasons(aws, "life")
    assert told["life CREATE_IN_PROGRESS"] == "User Initiated"
    assert told["life CREATE_COMPLETE"] == told["Vpc CREATE_COMPLETE"] == ""
    begun = [event.get("ResourceStatusReason") for event in cfn.describe_stack_events(StackName="life")["StackEvents"]
             if event["LogicalResourceId"] == "Vpc" and event["ResourceStatus"] == "CREATE_IN_PROGRESS"]
    assert begun == ["Resource creation Initiated", None]
    shown = cfn.describe_stacks(StackName=identity)["Stacks"][0]
    outputs = {each["OutputKey"]: each for each in shown["Outputs"]}
    vpc = outputs["VpcId"]["OutputValue"]
    assert outputs["VpcId"]["ExportName"] == "life-vpc" and outputs["Named"]["OutputValue"] == "first-10"
    assert shown["Tags"] == ACCOUNT_TAGS
    carried = {tag["Key"]: tag["Value"] for tag in aws.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["Tags"]}
    assert carried == {"Name": "first", "suite": "peers", "aws:cloudformation:stack-name": "life",
                       "aws:cloudformation:stack-id": identity, "aws:cloudformation:logical-id": "Vpc"}

    with refused("AlreadyExistsException", "life"):
        cfn.create_stack(StackName="life", TemplateBody=FIRST, Parameters=NAME)
    keep = [{"ParameterKey": key, "UsePreviousValue": True} for key in ("Name", "Size")]
    with refused("ValidationError", "No updates are to be performed."):
        cfn.update_stack(StackName="life", UsePreviousTemplate=True, Parameters=keep)
    cfn.update_stack(StackName="life", UsePreviousTemplate=True,
                     Parameters=[*keep, {"ParameterKey": "Kind", "ParameterValue": "two"}])
    wait(cfn, "stack_update_complete", StackName="life")
    assert story(aws, "life")[8:] == [
        "life UPDATE_IN_PROGRESS", "Second CREATE_IN_PROGRESS", "Second CREATE_IN_PROGRESS", "Second CREATE_COMPLETE",
        "life UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "life UPDATE_COMPLETE"]
    # Going back removes the subnet again, during the clean-up.
    cfn.update_stack(StackName="life", UsePreviousTemplate=True, Parameters=keep)
    wait(cfn, "stack_update_complete", StackName="life")
    assert story(aws, "life")[14:] == [
        "life UPDATE_IN_PROGRESS", "life UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Second DELETE_IN_PROGRESS",
        "Second DELETE_COMPLETE", "life UPDATE_COMPLETE"]

    kinds = {each["LogicalResourceId"]: each["ResourceType"] for each in paged(cfn, "list_stack_resources", StackName="life")["StackResourceSummaries"]}
    assert kinds == {"Vpc": "AWS::EC2::VPC", "Subnet": "AWS::EC2::Subnet"}
    assert len(cfn.describe_stack_resources(StackName="life")["StackResources"]) == 2
    assert cfn.describe_stack_resources(PhysicalResourceId=vpc)["StackResources"][0]["StackName"] == "life"
    assert cfn.describe_stack_resource(StackName="life", LogicalResourceId="Vpc")["StackResourceDetail"]["PhysicalResourceId"] == vpc
    with refused("ValidationError", "Absent"):
        cfn.describe_stack_resource(StackName="life", LogicalResourceId="Absent")
    assert "AWS::EC2::Subnet" in str(cfn.get_template(StackName="life")["TemplateBody"])
    assert "life" in {each["StackName"] for each in paged(cfn, "list_stacks")["StackSummaries"]}
    assert "life" in {each["StackName"] for each in paged(cfn, "describe_stacks")["Stacks"]}

    # Exports in use keep their stack.
    assert {each["Name"] for each in paged(cfn, "list_exports")["Exports"]} == {"life-vpc"}
    with refused("ValidationError", "not imported"):
        cfn.list_imports(ExportName="life-vpc")
    from_life = [{"ParameterKey": "From", "ParameterValue": "life"}]
    create(aws, "importing", IMPORTING, Parameters=from_life)
    assert paged(cfn, "list_imports", ExportName="life-vpc")["Imports"] == ["importing"]
    with refused("ValidationError", "life-vpc"):
        cfn.delete_stack(StackName="life")
    delete(aws, "importing")

    cfn.update_termination_protection(StackName="life", EnableTerminationProtection=True)
    with refused("ValidationError", "TerminationProtection"):
        cfn.delete_stack(StackName="life")
    cfn.update_termination_protection(StackName="life", EnableTerminationProtection=False)
    delete(aws, "life")
    assert story(aws, identity)[-5:] == [
        "Subnet DELETE_IN_PROGRESS", "Subnet DELETE_COMPLETE", "Vpc DELETE_IN_PROGRESS", "Vpc DELETE_COMPLETE",
        "life DELETE_COMPLETE"]
    cfn.delete_stack(StackName="life")
    for call in (cfn.describe_stack_events, cfn.get_template, cfn.list_stack_resources, cfn.describe_stack_resources):
        with refused("ValidationError", "does not exist"):
            call(StackName="life")
    with refused("ValidationError", "does not exist"):
        cfn.update_stack(StackName="life", TemplateBody=FIRST)


@pytest.mark.parametrize(("parameters", "saying"), [
    ([], "Parameters: [Name] must have values"),
    ([{"ParameterKey": "Name", "ParameterValue": "UP"}], "Parameter Name failed to satisfy constraint: small letters"),
    ([*NAME, {"ParameterKey": "Kind", "ParameterValue": "three"}], "Parameter 'Kind' must be one of AllowedValues"),
    ([*NAME, {"ParameterKey": "Size", "ParameterValue": "0"}], "Parameter 'Size' must be a number not less than 1"),
    ([*NAME, {"ParameterKey": "Size", "ParameterValue": "99999"}], "Parameter 'Size' must be a number not greater than 16384"),
    ([*NAME, {"ParameterKey": "Size", "ParameterValue": "ten"}], "Parameter 'Size' must be a number"),
    ([*NAME, {"ParameterKey": "Other", "ParameterValue": "x"}], "Parameters: [Other] do not exist in the template"),
])
def test_parameters(aws, parameters, saying):
    with refused("ValidationError", saying):
        aws.cloudformation.create_stack(StackName="parameters", TemplateBody=FIRST, Parameters=parameters)


@pytest.mark.parametrize(("body", "saying"), [
    ("{", "Template format error"),
    ("Resources: {}", "At least one Resources member must be defined"),
    ("Resources: {A: {Type: 'AWS::No::Such'}}", "Unrecognized resource types: [AWS::No::Such]"),
    ("Resources: {A: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: !Ref B}}}", "Unresolved resource dependencies [B]"),
    ("Resources: {A: {Type: 'AWS::EC2::VPC', DependsOn: A, Properties: {CidrBlock: 10.0.0.0/16}}}", "Circular dependency"),
    ("Parameters: {A: {}}\nResources: {A: {Type: 'AWS::EC2::VPC'}}", "Template format error"),
])
def test_broken_templates(aws, body, saying):
    for call, more in ((aws.cloudformation.validate_template, {}), (aws.cloudformation.create_stack, {"StackName": "broken"})):
        with refused("ValidationError", saying):
            call(TemplateBody=body, **more)


def test_templates_are_described(aws):
    cfn = aws.cloudformation
    assert {each["ParameterKey"] for each in cfn.validate_template(TemplateBody=FIRST)["Parameters"]} == {"Size", "Name", "Kind"}
    summary = cfn.get_template_summary(TemplateBody=FIRST)
    assert set(summary["ResourceTypes"]) == {"AWS::EC2::VPC", "AWS::EC2::Subnet"}
    assert cfn.validate_template(TemplateBody=ROLE % "RoleName: named")["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
    assert cfn.validate_template(TemplateBody=ROLE % "")["Capabilities"] == ["CAPABILITY_IAM"]


def test_capabilities(aws):
    with refused("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_NAMED_IAM]"):
        aws.cloudformation.create_stack(StackName="roles", TemplateBody=ROLE % "RoleName: named", Capabilities=["CAPABILITY_IAM"])
    with refused("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]"):
        aws.cloudformation.create_stack(StackName="roles", TemplateBody=ROLE % "")
    create(aws, "roles", ROLE % "", Capabilities=["CAPABILITY_IAM"])
    role = aws.cloudformation.describe_stack_resource(StackName="roles", LogicalResourceId="Role")["StackResourceDetail"]
    assert role["PhysicalResourceId"].startswith("roles-Role-")
    delete(aws, "roles")


def test_a_creation_that_fails_is_rolled_back(aws):
    cfn = aws.cloudformation
    cfn.create_stack(StackName="failing", TemplateBody=FAILING)
    with pytest.raises(WaiterError, match="ROLLBACK"):
        wait(cfn, "stack_create_complete", StackName="failing")
    assert settled(aws, "failing") == "ROLLBACK_COMPLETE"
    told = story(aws, "failing")
    assert [each for each in told if each.startswith("failing ")] == [
        "failing CREATE_IN_PROGRESS", "failing ROLLBACK_IN_PROGRESS", "failing ROLLBACK_COMPLETE"]
    order = [told.index(each) for each in ("Bad CREATE_FAILED", "failing ROLLBACK_IN_PROGRESS", "Bad DELETE_COMPLETE",
                                           "Good DELETE_COMPLETE", "Vpc DELETE_COMPLETE", "failing ROLLBACK_COMPLETE")]
    assert order == sorted(order), told
    why = reasons(aws, "failing")
    assert "is invalid" in why["Bad CREATE_FAILED"] or "InvalidSubnet.Range" in why["Bad CREATE_FAILED"]
    assert "[Bad]" in why["failing ROLLBACK_IN_PROGRESS"] and "Rollback requested by user." in why["failing ROLLBACK_IN_PROGRESS"]
    with refused("ValidationError", "is in ROLLBACK_COMPLETE state and can not be updated"):
        cfn.update_stack(StackName="failing", TemplateBody=FAILING.replace("10.7", "10.8").replace("8.0.0/24}}\n", "8.1.0/24}}\n", 1))
    delete(aws, "failing")

    # Without a rollback everything stays, to be looked at.
    cfn.create_stack(StackName="failing", TemplateBody=FAILING, OnFailure="DO_NOTHING")
    with pytest.raises(WaiterError):
        wait(cfn, "stack_create_complete", StackName="failing")
    assert settled(aws, "failing") == "CREATE_FAILED"
    delete(aws, "failing")
    identity = cfn.create_stack(StackName="failing", TemplateBody=FAILING, OnFailure="DELETE")["StackId"]
    wait(cfn, "stack_delete_complete", StackName=identity)


def test_an_update_that_fails_is_rolled_back(aws):
    cfn = aws.cloudformation
    good = FAILING.replace("10.7.0.0", "10.8.1.0")
    create(aws, "falling", good)
    third = "  Third: {Type: AWS::EC2::Subnet, Properties: {VpcId: !Ref Vpc, CidrBlock: 10.8.2.0/24}}\n"
    cfn.update_stack(StackName="falling", TemplateBody=good + third + third.replace("Third", "Worse").replace("10.8.2", "10.6.0").replace(
        "Type: AWS::EC2::Subnet,", "Type: AWS::EC2::Subnet, DependsOn: Third,"))
    with pytest.raises(WaiterError, match="UPDATE_ROLLBACK"):
        wait(cfn, "stack_update_complete", StackName="falling")
    assert settled(aws, "falling") == "UPDATE_ROLLBACK_COMPLETE"
    told = story(aws, "falling")
    assert [each.removeprefix("falling ") for each in told if each.startswith("falling ")][2:] == [
        "UPDATE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
        "UPDATE_ROLLBACK_COMPLETE"]
    assert told.index("falling UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS") < told.index("Third DELETE_COMPLETE")
    with refused("ValidationError", "UPDATE_ROLLBACK_COMPLETE state"):
        cfn.continue_update_rollback(StackName="falling")
    with refused("ValidationError", "CancelUpdateStack cannot be called"):
        cfn.cancel_update_stack(StackName="falling")
    # From here an update is possible again, and one that runs can be cancelled.
    cfn.update_stack(StackName="falling", TemplateBody=good + third)
    cfn.cancel_update_stack(StackName="falling")
    wait(cfn, "stack_rollback_complete", StackName="falling")
    assert status(aws, "falling") == "UPDATE_ROLLBACK_COMPLETE"
    delete(aws, "falling")


def test_a_deletion_that_fails(aws):
    cfn = aws.cloudformation
    identity = create(aws, "stuck", FAILING.replace("10.7.0.0", "10.8.1.0"))
    subnet = cfn.describe_stack_resource(StackName="stuck", LogicalResourceId="Good")["StackResourceDetail"]["PhysicalResourceId"]
    vpc = cfn.describe_stack_resource(StackName="stuck", LogicalResourceId="Vpc")["StackResourceDetail"]["PhysicalResourceId"]
    interface = aws.ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    with refused("ValidationError", "DELETE_FAILED"):
        cfn.delete_stack(StackName="stuck", RetainResources=["Good"])
    cfn.delete_stack(StackName="stuck")
    with pytest.raises(WaiterError, match="DELETE_FAILED"):
        wait(cfn, "stack_delete_complete", StackName="stuck")
    assert status(aws, "stuck") == "DELETE_FAILED"
    why = reasons(aws, "stuck")
    assert "dependencies" in why["Good DELETE_FAILED"] and "[Good]" in why["stuck DELETE_FAILED"]
    with refused("ValidationError", "DELETE_FAILED"):
        cfn.update_stack(StackName="stuck", TemplateBody=FAILING)
    cfn.delete_stack(StackName="stuck", RetainResources=["Good", "Vpc"])
    wait(cfn, "stack_delete_complete", StackName=identity)
    assert "Good DELETE_SKIPPED" in story(aws, identity)
    aws.ec2.delete_network_interface(NetworkInterfaceId=interface)
    aws.ec2.delete_subnet(SubnetId=subnet)
    aws.ec2.delete_vpc(VpcId=vpc)


def test_a_rollback_that_fails_is_continued(aws):
    """The stack's role may set a retention and not take it away, which the roll-back needs."""
    cfn, group = aws.cloudformation, "Group: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: /peers/stuck%s}}"
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "cloudformation.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role = aws.iam.create_role(RoleName="stack", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    may = lambda *actions: aws.iam.put_role_policy(RoleName="stack", PolicyName="may", PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}))
    most = ["ec2:*", "logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:Describe*", "logs:ListTags*", "logs:TagResource",
            "logs:PutRetentionPolicy"]
    may(*most)
    create(aws, "unwell", "Resources:\n  " + group % "", RoleARN=role)
    cfn.update_stack(StackName="unwell", TemplateBody="Resources:\n  " + group % ", RetentionInDays: 7" + (
        "\n  Vpc: {Type: 'AWS::EC2::VPC', DependsOn: Group, Properties: {CidrBlock: 10.0.0.0/8}}"))
    assert settled(aws, "unwell") == "UPDATE_ROLLBACK_FAILED"
    assert "logs:DeleteRetentionPolicy" in reasons(aws, "unwell")["Group UPDATE_FAILED"]
    with refused("ValidationError", "UPDATE_ROLLBACK_FAILED"):
        cfn.update_stack(StackName="unwell", TemplateBody="Resources:\n  " + group % "")
    may(*most, "logs:DeleteRetentionPolicy")
    cfn.continue_update_rollback(StackName="unwell")
    wait(cfn, "stack_rollback_complete", StackName="unwell")
    assert "retentionInDays" not in aws.logs.describe_log_groups(logGroupNamePrefix="/peers/stuck")["logGroups"][0]
    delete(aws, "unwell")
    aws.iam.delete_role_policy(RoleName="stack", PolicyName="may")
    aws.iam.delete_role(RoleName="stack")


def test_what_is_to_be_retained(aws):
    body = "Resources:\n  Group: {Type: 'AWS::Logs::LogGroup', DeletionPolicy: Retain, Properties: {LogGroupName: /peers/kept}}\n"
    create(aws, "retaining", body)
    identity = delete(aws, "retaining")
    assert "Group DELETE_SKIPPED" in story(aws, identity)
    aws.logs.delete_log_group(logGroupName="/peers/kept")


def test_change_sets(aws):
    cfn = aws.cloudformation
    made = cfn.create_change_set(StackName="changing", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=FIRST,
                                 Parameters=NAME, Description="d")
    wait(cfn, "change_set_create_complete", StackName="changing", ChangeSetName="first")
    assert status(aws, "changing") == "REVIEW_IN_PROGRESS"
    shown = cfn.describe_change_set(ChangeSetName=made["Id"])
    assert {change["ResourceChange"]["Action"] for change in shown["Changes"]} == {"Add"}
    with refused("AlreadyExistsException"):
        cfn.create_change_set(StackName="changing", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=FIRST, Parameters=NAME)
    cfn.execute_change_set(StackName="changing", ChangeSetName="first")
    wait(cfn, "stack_create_complete", StackName="changing")
    assert story(aws, "changing")[:2] == ["changing REVIEW_IN_PROGRESS", "changing CREATE_IN_PROGRESS"]

    cfn.create_change_set(StackName="changing", ChangeSetName="none", TemplateBody=FIRST, Parameters=NAME)
    with pytest.raises(WaiterError):
        wait(cfn, "change_set_create_complete", StackName="changing", ChangeSetName="none")
    nothing = cfn.describe_change_set(StackName="changing", ChangeSetName="none")
    assert nothing["Status"] == "FAILED" and nothing["ExecutionStatus"] == "UNAVAILABLE"
    assert "didn't contain changes" in nothing["StatusReason"]
    with refused("InvalidChangeSetStatus"):
        cfn.execute_change_set(StackName="changing", ChangeSetName="none")
    cfn.delete_change_set(StackName="changing", ChangeSetName="none")

    body = FIRST.replace("10.9.0.0/24", "10.9.5.0/24").replace("Value: !Ref Name", "Value: !Sub '${Name}-x'")
    cfn.create_change_set(StackName="changing", ChangeSetName="second", TemplateBody=body, Parameters=NAME)
    wait(cfn, "change_set_create_complete", StackName="changing", ChangeSetName="second")
    changes = {change["ResourceChange"]["LogicalResourceId"]: change["ResourceChange"]
               for change in paged(cfn, "describe_change_set", StackName="changing", ChangeSetName="second")["Changes"]}
    assert (changes["Vpc"]["Action"], changes["Vpc"]["Replacement"], changes["Vpc"]["Scope"]) == ("Modify", "False", ["Tags"])
    assert (changes["Subnet"]["Action"], changes["Subnet"]["Replacement"]) == ("Modify", "True")
    assert {each["ChangeSetName"] for each in paged(cfn, "list_change_sets", StackName="changing")["Summaries"]} >= {"second"}
    cfn.execute_change_set(StackName="changing", ChangeSetName="second")
    wait(cfn, "stack_update_complete", StackName="changing")
    with refused("ChangeSetNotFound"):
        cfn.describe_change_set(StackName="changing", ChangeSetName="absent")
    delete(aws, "changing")


def drift(aws, stack):
    """Detects a stack's drift; returns its status and the drifts of its resources by their logical names."""
    cfn = aws.cloudformation
    begun = cfn.detect_stack_drift(StackName=stack)["StackDriftDetectionId"]
    for _ in range(SOON["MaxAttempts"]):
        asked = cfn.describe_stack_drift_detection_status(StackDriftDetectionId=begun)
        if asked["DetectionStatus"] != "DETECTION_IN_PROGRESS":
            break
        aws.pause()
    assert asked["DetectionStatus"] == "DETECTION_COMPLETE"
    page = cfn.describe_stack_resource_drifts(StackName=stack, MaxResults=1)
    found = page["StackResourceDrifts"]
    while "NextToken" in page:
        page = cfn.describe_stack_resource_drifts(StackName=stack, MaxResults=1, NextToken=page["NextToken"])
        found += page["StackResourceDrifts"]
    return asked["StackDriftStatus"], {each["LogicalResourceId"]: each for each in found}


def test_drift_is_detected_and_taken_back(aws):
    cfn = aws.cloudformation
    create(aws, "drifting", FIRST, Parameters=NAME)
    whole, found = drift(aws, "drifting")
    assert whole == "IN_SYNC" and {each["StackResourceDriftStatus"] for each in found.values()} == {"IN_SYNC"}
    vpc = cfn.describe_stack_resource(StackName="drifting", LogicalResourceId="Vpc")["StackResourceDetail"]
    assert vpc["DriftInformation"]["StackResourceDriftStatus"] == "IN_SYNC"
    aws.ec2.create_tags(Resources=[vpc["PhysicalResourceId"]], Tags=[{"Key": "Name", "Value": "other"}])
    one = cfn.detect_stack_resource_drift(StackName="drifting", LogicalResourceId="Vpc")["StackResourceDrift"]
    assert one["PropertyDifferences"] == [{"PropertyPath": "/Tags/0/Value", "ExpectedValue": "first", "ActualValue": "other",
                                           "DifferenceType": "NOT_EQUAL"}]
    assert json.loads(one["ActualProperties"])["CidrBlock"] == "10.9.0.0/16"
    subnet = cfn.describe_stack_resource(StackName="drifting", LogicalResourceId="Subnet")["StackResourceDetail"]
    aws.ec2.delete_subnet(SubnetId=subnet["PhysicalResourceId"])
    whole, found = drift(aws, "drifting")
    assert whole == cfn.describe_stacks(StackName="drifting")["Stacks"][0]["DriftInformation"]["StackDriftStatus"] == "DRIFTED"
    assert {name: each["StackResourceDriftStatus"] for name, each in found.items()} == {"Vpc": "MODIFIED", "Subnet": "DELETED"}

    cfn.create_change_set(StackName="drifting", ChangeSetName="back", UsePreviousTemplate=True, DeploymentMode="REVERT_DRIFT",
                          Parameters=[{"ParameterKey": "Name", "UsePreviousValue": True}])
    wait(cfn, "change_set_create_complete", StackName="drifting", ChangeSetName="back")
    shown = cfn.describe_change_set(StackName="drifting", ChangeSetName="back")
    assert (shown["DeploymentMode"], shown["StackDriftStatus"]) == ("REVERT_DRIFT", "DRIFTED")
    assert {change["ResourceChange"]["ResourceDriftStatus"] for change in shown["Changes"]} == {"MODIFIED", "DELETED"}
    cfn.execute_change_set(StackName="drifting", ChangeSetName="back")
    wait(cfn, "stack_update_complete", StackName="drifting")
    assert drift(aws, "drifting")[0] == "IN_SYNC"
    with refused("ValidationError", "does not exist"):
        cfn.detect_stack_drift(StackName="absent")
    with refused("ValidationError", "does not exist"):
        cfn.detect_stack_resource_drift(StackName="drifting", LogicalResourceId="Absent")
    delete(aws, "drifting")


def test_deploy_and_the_rest_that_people_type(aws, tmp_path):
    file = tmp_path / "template.yaml"
    file.write_text(FIRST)
    command = ["cloudformation", "deploy", "--stack-name", "typed", "--template-file", str(file), "--output", "text"]

    def deploy(*arguments, ok=True):
        # The CLI names its change sets by the second, so the next deploy has to begin in another.
        answer = cli(*command, *arguments, ok=ok)
        ended = int(time.time())
        while int(time.time()) == ended:
            pass
        return answer

    deploy("--parameter-overrides", "Name=first", "--tags", "a=b")
    assert status(aws, "typed") == "CREATE_COMPLETE"
    assert "No changes to deploy" in deploy("--no-fail-on-empty-changeset")
    assert "No changes to deploy" in deploy("--fail-on-empty-changeset", ok=False)
    deploy("--parameter-overrides", "Kind=two")
    assert status(aws, "typed") == "UPDATE_COMPLETE"
    events = cli("cloudformation", "describe-stack-events", "--stack-name", "typed", "--max-items", "3")
    assert len(events["StackEvents"]) == 3 and events["NextToken"]
    assert cli("cloudformation", "list-stacks", "--stack-status-filter", "UPDATE_COMPLETE")["StackSummaries"][0]["StackName"] == "typed"
    cli("cloudformation", "wait", "stack-update-complete", "--stack-name", "typed")
    cli("cloudformation", "validate-template", "--template-body", f"file://{file}")
    assert "ValidationError" in cli("cloudformation", "describe-stacks", "--stack-name", "absent", ok=False)
    cli("cloudformation", "delete-stack", "--stack-name", "typed")
    wait(aws.cloudformation, "stack_delete_complete", StackName="typed")


def test_the_templates_pass_cfn_lint(tmp_path):
    import subprocess
    for name, body in (("first", FIRST), ("importing", IMPORTING), ("role", ROLE % "RoleName: named")):
        (tmp_path / f"{name}.yaml").write_text(body.lstrip())
    # W1020 and the like are advice on how a template is written.
    ended = subprocess.run(["cfn-lint", "--ignore-checks", "W", "--", *map(str, tmp_path.glob("*.yaml"))], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
