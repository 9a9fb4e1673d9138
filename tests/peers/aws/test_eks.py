"""EKS: a cluster from the project's own stacks, everything that hangs on it, and the way back."""

import base64
import json
import pathlib
import ssl
import urllib.request

import pytest

from conftest import SOON, cli, paged, refused, wait

STACKS = pathlib.Path(__file__).parents[3] / "stacks"
NAME = "peers-eks"
ADMIN = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


def outputs(aws, stack):
    parameters = [{"ParameterKey": "EnvironmentName", "ParameterValue": "peers"},
                  {"ParameterKey": "ClusterName", "ParameterValue": NAME}]
    aws.cloudformation.create_stack(StackName=f"{NAME}-{stack}", TemplateBody=(STACKS / f"{stack}.yaml").read_text(),
                                    Parameters=parameters, Capabilities=["CAPABILITY_NAMED_IAM"])
    wait(aws.cloudformation, "stack_create_complete", StackName=f"{NAME}-{stack}")
    shown = aws.cloudformation.describe_stacks(StackName=f"{NAME}-{stack}")["Stacks"][0]["Outputs"]
    return {each["OutputKey"]: each["OutputValue"] for each in shown}


def kubernetes(cluster, token, path, body=None):
    """Asks the cluster's own API."""
    authority = base64.b64decode(cluster["certificateAuthority"]["data"]).decode()
    request = urllib.request.Request(cluster["endpoint"] + path, data=body and json.dumps(body).encode(), headers={
        "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cadata=authority), timeout=30) as answer:
        return json.load(answer)


def updated(aws, update, **where):
    """Waits for an update as people do; there is no waiter for it."""
    identity = update["update"]["id"]
    for _ in range(SOON["MaxAttempts"]):
        shown = aws.eks.describe_update(name=NAME, updateId=identity, **where)["update"]
        if shown["status"] != "InProgress":
            assert shown["status"] == "Successful", shown
            return
        aws.pause()
    raise AssertionError(f"update {identity} does not end")


@pytest.fixture(scope="module")
def world(aws):
    """The network and the roles."""
    made = outputs(aws, "network") | outputs(aws, "roles")
    yield made
    # A node leaves an interface behind at times, and EKS then its security group: they would keep the network.
    left = aws.ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [made["VpcId"]]},
                                                        {"Name": "status", "Values": ["available"]}])["NetworkInterfaces"]
    for interface in left:
        aws.ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    for group in aws.ec2.describe_security_groups(Filters=[{"Name": "tag:aws:eks:cluster-name", "Values": [NAME]}])["SecurityGroups"]:
        aws.ec2.delete_security_group(GroupId=group["GroupId"])
    for stack in ("network", "roles"):
        aws.cloudformation.delete_stack(StackName=f"{NAME}-{stack}")
    for stack in ("network", "roles"):
        wait(aws.cloudformation, "stack_delete_complete", StackName=f"{NAME}-{stack}")


@pytest.fixture(scope="module")
def cluster(aws, world):
    private = world["PrivateSubnetIds"].split(",")
    with refused("InvalidParameterException", "role"):
        aws.eks.create_cluster(name=NAME, roleArn=world["ClusterRoleArn"] + "x", resourcesVpcConfig={"subnetIds": private})
    with refused("InvalidParameterException", "subnet"):
        aws.eks.create_cluster(name=NAME, roleArn=world["ClusterRoleArn"], resourcesVpcConfig={"subnetIds": private[:1]})
    with refused("InvalidParameterException", "name"):
        aws.eks.create_cluster(name="-", roleArn=world["ClusterRoleArn"], resourcesVpcConfig={"subnetIds": private})
    made = aws.eks.create_cluster(
        name=NAME, roleArn=world["ClusterRoleArn"], version="1.35", tags={"suite": "peers"}, clientRequestToken="once",
        resourcesVpcConfig={"subnetIds": private, "endpointPublicAccess": True, "endpointPrivateAccess": True},
        accessConfig={"authenticationMode": "API_AND_CONFIG_MAP", "bootstrapClusterCreatorAdminPermissions": True})["cluster"]
    assert made["status"] == "CREATING"
    with refused("ResourceInUseException", NAME):
        aws.eks.create_cluster(name=NAME, roleArn=world["ClusterRoleArn"], resourcesVpcConfig={"subnetIds": private})
    wait(aws.eks, "cluster_active", name=NAME)
    made = aws.eks.describe_cluster(name=NAME)["cluster"]
    yield made
    aws.eks.delete_cluster(name=NAME)
    wait(aws.eks, "cluster_deleted", name=NAME)
    with refused("ResourceNotFoundException", NAME):
        aws.eks.describe_cluster(name=NAME)


def test_clusters(aws, cluster):
    eks = aws.eks
    assert cluster["version"] == "1.35" and cluster["endpoint"].startswith("https://")
    assert paged(eks, "list_clusters")["clusters"] == [NAME]
    # What the API server is, and nothing else.
    assert ["1.35"] == [each["clusterVersion"] for each in paged(eks, "describe_cluster_versions")["clusterVersions"]]
    eks.tag_resource(resourceArn=cluster["arn"], tags={"a": "b"})
    eks.untag_resource(resourceArn=cluster["arn"], tagKeys=["a"])
    assert eks.list_tags_for_resource(resourceArn=cluster["arn"])["tags"] == {"suite": "peers"}
    with refused("NotFoundException"):
        eks.list_tags_for_resource(resourceArn=cluster["arn"] + "x")
    with refused("BadRequestException"):
        eks.list_tags_for_resource(resourceArn="nonsense")
    updated(aws, eks.update_cluster_config(name=NAME, logging={"clusterLogging": [{"types": ["api"], "enabled": True}]}))
    with refused("InvalidParameterException"):
        eks.update_cluster_config(name=NAME, logging={"clusterLogging": [{"types": ["api"], "enabled": True}]})
    update = eks.update_cluster_config(name=NAME, upgradePolicy={"supportType": "STANDARD"})
    with refused("ResourceInUseException"):
        eks.update_cluster_config(name=NAME, logging={"clusterLogging": [{"types": ["audit"], "enabled": True}]})
    updated(aws, update)
    assert update["update"]["id"] in paged(eks, "list_updates", name=NAME)["updateIds"]
    with refused("ResourceNotFoundException"):
        eks.describe_update(name=NAME, updateId="00000000-0000-0000-0000-000000000000")
    assert paged(eks, "list_fargate_profiles", clusterName=NAME)["fargateProfileNames"] == []
    assert paged(eks, "list_identity_provider_configs", clusterName=NAME)["identityProviderConfigs"] == []
    for call in (eks.list_nodegroups, eks.list_addons, eks.list_access_entries):
        with refused("ResourceNotFoundException", "absent"):
            call(clusterName="absent")


def test_node_groups(aws, world, cluster):
    eks, private = aws.eks, world["PrivateSubnetIds"].split(",")
    asked = {"clusterName": NAME, "nodegroupName": "nodes", "nodeRole": world["NodeRoleArn"], "subnets": private}
    with refused("InvalidParameterException"):
        eks.create_nodegroup(**asked, scalingConfig={"minSize": 3, "maxSize": 2, "desiredSize": 2})
    with refused("InvalidParameterException"):
        eks.create_nodegroup(**asked, version="1.36")
    made = eks.create_nodegroup(**asked, scalingConfig={"minSize": 1, "maxSize": 3, "desiredSize": 2}, version="1.34",
                                labels={"a": "b"}, tags={"suite": "peers"})["nodegroup"]
    assert made["status"] == "CREATING"
    wait(eks, "nodegroup_active", clusterName=NAME, nodegroupName="nodes")
    with refused("ResourceInUseException"):
        eks.create_nodegroup(**asked)
    assert paged(eks, "list_nodegroups", clusterName=NAME)["nodegroups"] == ["nodes"]
    instances = paged(aws.ec2, "describe_instances", 5, Filters=[
        {"Name": "tag:eks:nodegroup-name", "Values": ["nodes"]}, {"Name": "instance-state-name", "Values": ["running"]}])
    instances = [each["InstanceId"] for reservation in instances["Reservations"] for each in reservation["Instances"]]
    assert len(instances) == 2
    wait(aws.ec2, "instance_running", InstanceIds=instances)
    updated(aws, eks.update_nodegroup_config(clusterName=NAME, nodegroupName="nodes", scalingConfig={"desiredSize": 1}),
            nodegroupName="nodes")
    updated(aws, eks.update_nodegroup_version(clusterName=NAME, nodegroupName="nodes"), nodegroupName="nodes")
    shown = eks.describe_nodegroup(clusterName=NAME, nodegroupName="nodes")["nodegroup"]
    assert shown["version"] == "1.35" and shown["scalingConfig"]["desiredSize"] == 1
    with refused("ResourceInUseException", "nodegroup"):
        eks.delete_cluster(name=NAME)
    held = aws.ec2.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": instances}])
    held = {each["Attachment"]["DeviceIndex"]: each["Attachment"]["AttachmentId"] for each in held["NetworkInterfaces"]}
    with refused("OperationNotPermitted"):
        aws.ec2.detach_network_interface(AttachmentId=held[0])
    aws.ec2.detach_network_interface(AttachmentId=held[1])
    doomed = aws.ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
    doomed = doomed["Reservations"][0]["Instances"][0]["InstanceId"]
    aws.ec2.terminate_instances(InstanceIds=[doomed])
    wait(aws.ec2, "instance_terminated", InstanceIds=[doomed])
    eks.delete_nodegroup(clusterName=NAME, nodegroupName="nodes")
    wait(eks, "nodegroup_deleted", clusterName=NAME, nodegroupName="nodes")
    for call in (eks.describe_nodegroup, eks.delete_nodegroup, eks.update_nodegroup_config):
        with refused("ResourceNotFoundException", "nodes"):
            call(clusterName=NAME, nodegroupName="nodes")


def test_add_ons(aws, cluster):
    eks = aws.eks
    offered = paged(eks, "describe_addon_versions", addonName="coredns", kubernetesVersion="1.35")["addons"][0]["addonVersions"]
    version = offered[0]["addonVersion"]
    schema = eks.describe_addon_configuration(addonName="coredns", addonVersion=version)["configurationSchema"]
    assert json.loads(schema)["type"] == "object"
    with refused("InvalidParameterException"):
        eks.create_addon(clusterName=NAME, addonName="no-such-addon")
    made = eks.create_addon(clusterName=NAME, addonName="kube-proxy", resolveConflicts="OVERWRITE", tags={"a": "b"})["addon"]
    assert made["status"] == "CREATING"
    with refused("ResourceInUseException"):
        eks.create_addon(clusterName=NAME, addonName="kube-proxy")
    wait(eks, "addon_active", clusterName=NAME, addonName="kube-proxy")
    assert "kube-proxy" in paged(eks, "list_addons", clusterName=NAME)["addons"]
    updated(aws, eks.update_addon(clusterName=NAME, addonName="kube-proxy", configurationValues="{}"), addonName="kube-proxy")
    assert eks.describe_addon(clusterName=NAME, addonName="kube-proxy")["addon"]["status"] == "ACTIVE"
    eks.delete_addon(clusterName=NAME, addonName="kube-proxy")
    wait(eks, "addon_deleted", clusterName=NAME, addonName="kube-proxy")
    with refused("ResourceNotFoundException", "kube-proxy"):
        eks.delete_addon(clusterName=NAME, addonName="kube-proxy")


def test_access(aws, world, cluster):
    eks, who = aws.eks, world["ClusterRoleArn"]
    named = {"clusterName": NAME, "principalArn": who}
    with refused("InvalidParameterException"):
        eks.create_access_entry(clusterName=NAME, principalArn=who + "x")
    made = eks.create_access_entry(**named, kubernetesGroups=["viewers"], tags={"a": "b"})["accessEntry"]
    assert made["type"] == "STANDARD" and made["kubernetesGroups"] == ["viewers"]
    with refused("ResourceInUseException"):
        eks.create_access_entry(**named)
    assert who in paged(eks, "list_access_entries", clusterName=NAME)["accessEntries"]
    assert eks.update_access_entry(**named, kubernetesGroups=[])["accessEntry"]["kubernetesGroups"] == []
    assert ADMIN in {each["arn"] for each in paged(eks, "list_access_policies", 100)["accessPolicies"]}
    with refused("ResourceNotFoundException", "policyArn"):
        eks.associate_access_policy(**named, policyArn=ADMIN + "x", accessScope={"type": "cluster"})
    eks.associate_access_policy(**named, policyArn=ADMIN, accessScope={"type": "namespace", "namespaces": ["default"]})
    associated = paged(eks, "list_associated_access_policies", **named)["associatedAccessPolicies"]
    assert [each["accessScope"]["type"] for each in associated] == ["namespace"]
    eks.disassociate_access_policy(**named, policyArn=ADMIN)
    assert eks.describe_access_entry(**named)["accessEntry"]["principalArn"] == who
    eks.delete_access_entry(**named)
    for call in (eks.describe_access_entry, eks.delete_access_entry):
        with refused("ResourceNotFoundException"):
            call(**named)


def test_pod_identities(aws, cluster):
    trust = json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]}]})
    role = aws.iam.create_role(RoleName="pods", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    asked = {"clusterName": NAME, "namespace": "default", "serviceAccount": "app", "roleArn": role}
    made = aws.eks.create_pod_identity_association(**asked)["association"]
    named = {"clusterName": NAME, "associationId": made["associationId"]}
    with refused("ResourceInUseException"):
        aws.eks.create_pod_identity_association(**asked)
    assert len(paged(aws.eks, "list_pod_identity_associations", clusterName=NAME)["associations"]) == 1
    assert aws.eks.describe_pod_identity_association(**named)["association"]["roleArn"] == role
    aws.eks.delete_pod_identity_association(**named)
    for call in (aws.eks.describe_pod_identity_association, aws.eks.delete_pod_identity_association):
        with refused("ResourceNotFoundException"):
            call(**named)
    aws.iam.delete_role(RoleName="pods")


def test_what_people_type(aws, cluster, tmp_path):
    assert cli("eks", "describe-cluster", "--name", NAME, "--query", "cluster.status", "--output", "text") == "ACTIVE"
    assert cli("eks", "list-clusters")["clusters"] == [NAME]
    assert "ResourceNotFoundException" in cli("eks", "describe-cluster", "--name", "absent", ok=False)
    cli("eks", "wait", "cluster-active", "--name", NAME)
    config = tmp_path / "kubeconfig"
    cli("eks", "update-kubeconfig", "--name", NAME, "--kubeconfig", str(config), "--output", "text")
    assert cluster["endpoint"] in config.read_text() and cluster["certificateAuthority"]["data"] in config.read_text()
    token = cli("eks", "get-token", "--cluster-name", NAME)["status"]["token"]
    assert kubernetes(cluster, token, "/api/v1/namespaces/kube-system")["metadata"]["name"] == "kube-system"
    group = f"/aws/eks/{NAME}/cluster"
    assert cli("logs", "describe-log-groups", "--log-group-name-prefix", group)["logGroups"]


def test_roles_of_service_accounts(aws, cluster):
    """A token that the cluster gives to a service account is worth a role to STS."""
    token = cli("eks", "get-token", "--cluster-name", NAME)["status"]["token"]
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["sts.amazonaws.com"]}}
    given = kubernetes(cluster, token, "/api/v1/namespaces/default/serviceaccounts/default/token", asked)["status"]["token"]
    issuer = cluster["identity"]["oidc"]["issuer"]
    provider = aws.iam.create_open_id_connect_provider(Url=issuer, ClientIDList=["sts.amazonaws.com"])["OpenIDConnectProviderArn"]
    name = issuer.removeprefix("https://")
    trust = {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{name}:sub": "system:serviceaccount:default:default", f"{name}:aud": "sts.amazonaws.com"}}}]}
    role = aws.iam.create_role(RoleName="irsa", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    who = aws.sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="session", WebIdentityToken=given)
    assert who["SubjectFromWebIdentityToken"] == "system:serviceaccount:default:default"
    aws.iam.update_assume_role_policy(RoleName="irsa", PolicyDocument=json.dumps(trust).replace("default:default", "default:other"))
    with refused("AccessDenied", "sts:AssumeRoleWithWebIdentity"):
        aws.sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="session", WebIdentityToken=given)
    aws.iam.delete_role(RoleName="irsa")
    aws.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)
