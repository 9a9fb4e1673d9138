"""IAM and STS."""

import json

import boto3

from conftest import ACCOUNT_TAGS, CHECKER, cli, paged, refused, wait

TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
READ = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "eks:ListClusters", "Resource": "*"}]})
READ_ONLY = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"


def test_roles(aws):
    iam = aws.iam
    role = iam.create_role(RoleName="peer", AssumeRolePolicyDocument=TRUST, Path="/p/", Description="d",
                           MaxSessionDuration=7200, Tags=ACCOUNT_TAGS)["Role"]
    assert role["Arn"] == f"arn:aws:iam::{aws.account}:role/p/peer"
    assert role["AssumeRolePolicyDocument"]["Statement"][0]["Action"] == "sts:AssumeRole"
    with refused("EntityAlreadyExists", "peer"):
        iam.create_role(RoleName="peer", AssumeRolePolicyDocument=TRUST)
    with refused("MalformedPolicyDocument"):
        iam.create_role(RoleName="broken", AssumeRolePolicyDocument="{")
    with refused("ValidationError", "maxSessionDuration"):
        aws.unchecked.iam.create_role(RoleName="long", AssumeRolePolicyDocument=TRUST, MaxSessionDuration=99999)
    wait(iam, "role_exists", RoleName="peer")
    iam.update_role(RoleName="peer", Description="e", MaxSessionDuration=3600)
    assert iam.update_role_description(RoleName="peer", Description="f")["Role"]["Description"] == "f"
    iam.update_assume_role_policy(RoleName="peer", PolicyDocument=TRUST.replace("ec2", "eks"))
    iam.tag_role(RoleName="peer", Tags=[{"Key": "a", "Value": "b"}])
    assert {tag["Key"] for tag in paged(iam, "list_role_tags", RoleName="peer")["Tags"]} == {"suite", "a"}
    iam.untag_role(RoleName="peer", TagKeys=["a", "absent"])
    assert "eks.amazonaws.com" in str(iam.get_role(RoleName="peer")["Role"]["AssumeRolePolicyDocument"])
    assert "peer" in {role["RoleName"] for role in paged(iam, "list_roles")["Roles"]}
    assert [role["RoleName"] for role in iam.list_roles(PathPrefix="/p/")["Roles"]] == ["peer"]

    iam.put_role_policy(RoleName="peer", PolicyName="inline", PolicyDocument=READ)
    assert iam.get_role_policy(RoleName="peer", PolicyName="inline")["PolicyDocument"] == json.loads(READ)
    assert paged(iam, "list_role_policies", RoleName="peer")["PolicyNames"] == ["inline"]
    with refused("NoSuchEntity", "absent"):
        iam.get_role_policy(RoleName="peer", PolicyName="absent")
    with refused("MalformedPolicyDocument"):
        iam.put_role_policy(RoleName="peer", PolicyName="x", PolicyDocument='{"Version":"2012-10-17"}')
    iam.attach_role_policy(RoleName="peer", PolicyArn=READ_ONLY)
    iam.attach_role_policy(RoleName="peer", PolicyArn=READ_ONLY)
    attached = paged(iam, "list_attached_role_policies", RoleName="peer")["AttachedPolicies"]
    assert [policy["PolicyArn"] for policy in attached] == [READ_ONLY]
    with refused("NoSuchEntity"):
        iam.attach_role_policy(RoleName="peer", PolicyArn=f"arn:aws:iam::{aws.account}:policy/absent")
    assert "peer" in {role["RoleName"] for role in paged(iam, "list_entities_for_policy", PolicyArn=READ_ONLY)["PolicyRoles"]}
    verdict = paged(iam, "simulate_principal_policy", PolicySourceArn=role["Arn"],
                    ActionNames=["eks:ListClusters", "eks:DeleteCluster"])["EvaluationResults"]
    assert [each["EvalDecision"] for each in verdict] == ["allowed", "implicitDeny"]
    iam.put_role_permissions_boundary(RoleName="peer", PermissionsBoundary=READ_ONLY)
    assert iam.get_role(RoleName="peer")["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == READ_ONLY
    verdict = iam.simulate_principal_policy(PolicySourceArn=role["Arn"], ActionNames=["eks:ListClusters"])
    assert verdict["EvaluationResults"][0]["EvalDecision"] == "implicitDeny"
    iam.delete_role_permissions_boundary(RoleName="peer")
    with refused("NoSuchEntity"):
        iam.delete_role_permissions_boundary(RoleName="peer")
    with refused("DeleteConflict", "polic"):
        iam.delete_role(RoleName="peer")
    iam.detach_role_policy(RoleName="peer", PolicyArn=READ_ONLY)
    with refused("NoSuchEntity"):
        iam.detach_role_policy(RoleName="peer", PolicyArn=READ_ONLY)
    with refused("DeleteConflict"):
        iam.delete_role(RoleName="peer")
    iam.delete_role_policy(RoleName="peer", PolicyName="inline")
    with refused("NoSuchEntity"):
        iam.delete_role_policy(RoleName="peer", PolicyName="inline")
    iam.delete_role(RoleName="peer")
    for call in (iam.get_role, iam.delete_role, iam.list_role_policies, iam.list_role_tags):
        with refused("NoSuchEntity", "role with name peer cannot be found"):
            call(RoleName="peer")


def test_managed_policies(aws):
    iam = aws.iam
    arn = iam.create_policy(PolicyName="mine", PolicyDocument=READ, Description="d", Tags=ACCOUNT_TAGS)["Policy"]["Arn"]
    with refused("EntityAlreadyExists"):
        iam.create_policy(PolicyName="mine", PolicyDocument=READ)
    with refused("MalformedPolicyDocument"):
        iam.create_policy(PolicyName="bad", PolicyDocument=READ.replace("Allow", "Permit"))
    wait(iam, "policy_exists", PolicyArn=arn)
    second = iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ.replace("List", "Describe"), SetAsDefault=True)
    assert second["PolicyVersion"]["VersionId"] == "v2"
    version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert not version["IsDefaultVersion"] and version["Document"] == json.loads(READ)
    with refused("NoSuchEntity"):
        iam.get_policy_version(PolicyArn=arn, VersionId="v9")
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v1"
    with refused("DeleteConflict"):
        iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    for _ in range(3):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)
    with refused("LimitExceeded"):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)
    assert len(paged(iam, "list_policy_versions", PolicyArn=arn)["Versions"]) == 5
    with refused("DeleteConflict"):
        iam.delete_policy(PolicyArn=arn)
    for version in ("v2", "v3", "v4", "v5"):
        iam.delete_policy_version(PolicyArn=arn, VersionId=version)
    iam.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert len(paged(iam, "list_policy_tags", PolicyArn=arn)["Tags"]) == 2
    iam.untag_policy(PolicyArn=arn, TagKeys=["a"])
    assert [policy["Arn"] for policy in paged(iam, "list_policies", Scope="Local")["Policies"]] == [arn]
    assert READ_ONLY in {policy["Arn"] for policy in paged(iam, "list_policies", 100, Scope="AWS")["Policies"]}

    iam.create_user(UserName="uses")
    iam.attach_user_policy(UserName="uses", PolicyArn=arn)
    with refused("DeleteConflict"):
        iam.delete_policy(PolicyArn=arn)
    iam.detach_user_policy(UserName="uses", PolicyArn=arn)
    iam.delete_user(UserName="uses")
    iam.delete_policy(PolicyArn=arn)
    with refused("NoSuchEntity"):
        iam.get_policy(PolicyArn=arn)
    with refused("AccessDenied"):
        iam.delete_policy(PolicyArn=READ_ONLY)


def test_users_and_their_keys(aws):
    iam = aws.iam
    iam.create_user(UserName="ann")
    with refused("EntityAlreadyExists"):
        iam.create_user(UserName="ann")
    wait(iam, "user_exists", UserName="ann")
    assert iam.get_user(UserName="ann")["User"]["UserName"] == "ann"
    assert iam.get_user()["User"]["Arn"] == aws.sts.get_caller_identity()["Arn"]
    assert "ann" in {user["UserName"] for user in paged(iam, "list_users")["Users"]}
    iam.put_user_policy(UserName="ann", PolicyName="inline", PolicyDocument=READ)
    assert iam.get_user_policy(UserName="ann", PolicyName="inline")["PolicyDocument"] == json.loads(READ)
    assert paged(iam, "list_user_policies", UserName="ann")["PolicyNames"] == ["inline"]
    iam.attach_user_policy(UserName="ann", PolicyArn=READ_ONLY)
    assert len(paged(iam, "list_attached_user_policies", UserName="ann")["AttachedPolicies"]) == 1
    iam.detach_user_policy(UserName="ann", PolicyArn=READ_ONLY)
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    iam.create_access_key(UserName="ann")
    with refused("LimitExceeded"):
        iam.create_access_key(UserName="ann")
    keys = paged(iam, "list_access_keys", UserName="ann")["AccessKeyMetadata"]
    assert key["AccessKeyId"] in {each["AccessKeyId"] for each in keys} and len(keys) == 2
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=aws.region)
    as_ann = lambda service: CHECKER.watch(session.client(service))
    assert as_ann("eks").list_clusters()["clusters"] is not None
    with refused("AccessDeniedException", "not authorized to perform: eks:DescribeCluster"):
        as_ann("eks").describe_cluster(name="x")
    with refused("AccessDenied", "not authorized to perform: iam:CreateRole"):
        as_ann("iam").create_role(RoleName="x", AssumeRolePolicyDocument=TRUST)
    with refused("UnauthorizedOperation", "ec2:DescribeVpcs"):
        as_ann("ec2").describe_vpcs()
    with refused("DeleteConflict"):
        iam.delete_user(UserName="ann")
    for each in keys:
        iam.delete_access_key(UserName="ann", AccessKeyId=each["AccessKeyId"])
    with refused("InvalidClientTokenId"):
        as_ann("sts").get_caller_identity()
    iam.delete_user_policy(UserName="ann", PolicyName="inline")
    iam.delete_user(UserName="ann")
    with refused("NoSuchEntity"):
        iam.get_user(UserName="ann")
    assert iam.list_account_aliases()["AccountAliases"] == []


def test_instance_profiles(aws):
    iam = aws.iam
    iam.create_role(RoleName="node", AssumeRolePolicyDocument=TRUST)
    iam.create_instance_profile(InstanceProfileName="node", Tags=ACCOUNT_TAGS)
    with refused("EntityAlreadyExists"):
        iam.create_instance_profile(InstanceProfileName="node")
    wait(iam, "instance_profile_exists", InstanceProfileName="node")
    iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
    with refused("LimitExceeded"):
        iam.add_role_to_instance_profile(InstanceProfileName="node", RoleName="node")
    roles = iam.get_instance_profile(InstanceProfileName="node")["InstanceProfile"]["Roles"]
    assert [role["RoleName"] for role in roles] == ["node"]
    assert len(paged(iam, "list_instance_profiles_for_role", RoleName="node")["InstanceProfiles"]) == 1
    assert paged(iam, "list_instance_profiles")["InstanceProfiles"]
    iam.tag_instance_profile(InstanceProfileName="node", Tags=[{"Key": "a", "Value": "b"}])
    iam.untag_instance_profile(InstanceProfileName="node", TagKeys=["a"])
    assert iam.list_instance_profile_tags(InstanceProfileName="node")["Tags"] == ACCOUNT_TAGS
    with refused("DeleteConflict"):
        iam.delete_role(RoleName="node")
    with refused("DeleteConflict"):
        iam.delete_instance_profile(InstanceProfileName="node")
    iam.remove_role_from_instance_profile(InstanceProfileName="node", RoleName="node")
    with refused("NoSuchEntity"):
        iam.remove_role_from_instance_profile(InstanceProfileName="node", RoleName="node")
    iam.delete_instance_profile(InstanceProfileName="node")
    iam.delete_role(RoleName="node")
    with refused("NoSuchEntity"):
        iam.get_instance_profile(InstanceProfileName="node")


def test_openid_connect_providers(aws):
    iam = aws.iam
    url, thumbprint = "https://oidc.example.com/id/1", "a" * 40
    arn = iam.create_open_id_connect_provider(Url=url, ClientIDList=["sts.amazonaws.com"], ThumbprintList=[thumbprint],
                                              Tags=ACCOUNT_TAGS)["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{aws.account}:oidc-provider/oidc.example.com/id/1"
    with refused("EntityAlreadyExists"):
        iam.create_open_id_connect_provider(Url=url, ThumbprintList=[thumbprint])
    with refused("ValidationError"):
        aws.unchecked.iam.create_open_id_connect_provider(Url=url + "2", ThumbprintList=["short"])
    with refused("ValidationError"):
        iam.create_open_id_connect_provider(Url="http://not.tls.example.com", ThumbprintList=[thumbprint])
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=["b" * 40])
    shown = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert shown["ClientIDList"] == ["sts.amazonaws.com", "other"] and shown["ThumbprintList"] == ["b" * 40]
    iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="other")
    iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=arn, TagKeys=["a"])
    assert iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"] == ACCOUNT_TAGS
    assert arn in {each["Arn"] for each in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]}
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    with refused("NoSuchEntity"):
        iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def test_service_linked_roles(aws):
    iam = aws.iam
    name = "spot.amazonaws.com"
    role = iam.create_service_linked_role(AWSServiceName=name)["Role"]
    assert role["Path"] == f"/aws-service-role/{name}/"
    with refused("InvalidInput", "taken"):
        iam.create_service_linked_role(AWSServiceName=name)
    with refused("UnmodifiableEntity"):
        iam.delete_role(RoleName=role["RoleName"])
    task = iam.delete_service_linked_role(RoleName=role["RoleName"])["DeletionTaskId"]
    assert iam.get_service_linked_role_deletion_status(DeletionTaskId=task)["Status"] in ("IN_PROGRESS", "SUCCEEDED")
    with refused("NoSuchEntity"):
        iam.get_service_linked_role_deletion_status(DeletionTaskId="task/absent")


def test_assumed_roles(aws):
    me = aws.sts.get_caller_identity()["Arn"]
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": me}, "Action": "sts:AssumeRole",
         "Condition": {"StringEquals": {"sts:ExternalId": "outside"}}}]}
    arn = aws.iam.create_role(RoleName="assumed", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    with refused("AccessDenied", "sts:AssumeRole"):
        aws.sts.assume_role(RoleArn=arn, RoleSessionName="session")
    with refused("ValidationError", "durationSeconds"):
        aws.unchecked.sts.assume_role(RoleArn=arn, RoleSessionName="session", ExternalId="outside", DurationSeconds=1)
    with refused("ValidationError", "roleSessionName"):
        aws.unchecked.sts.assume_role(RoleArn=arn, RoleSessionName="no spaces")
    answer = aws.sts.assume_role(RoleArn=arn, RoleSessionName="session", ExternalId="outside", DurationSeconds=900)
    key = answer["Credentials"]
    session = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"], region_name=aws.region)
    sts = CHECKER.watch(session.client("sts"))
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:sts::{aws.account}:assumed-role/assumed/session"
    with refused("AccessDeniedException"):
        CHECKER.watch(session.client("eks")).list_clusters()
    assert aws.sts.get_access_key_info(AccessKeyId=key["AccessKeyId"])["Account"] == aws.account
    with refused("InvalidIdentityToken"):
        aws.sts.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="session", WebIdentityToken="not.a.token")
    aws.iam.delete_role(RoleName="assumed")


def test_what_people_type(aws):
    aws.iam.create_role(RoleName="typed", AssumeRolePolicyDocument=TRUST)
    assert cli("sts", "get-caller-identity", "--query", "Account", "--output", "text") == aws.account
    assert cli("iam", "get-role", "--role-name", "typed")["Role"]["RoleName"] == "typed"
    assert "typed" in cli("iam", "list-roles", "--query", "Roles[].RoleName", "--output", "text").split()
    assert "NoSuchEntity" in cli("iam", "get-role", "--role-name", "absent", ok=False)
    cli("iam", "delete-role", "--role-name", "typed")
