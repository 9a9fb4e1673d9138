"""EC2: networks, their parts, launch templates, and what cleaning up must see."""

import pytest

from conftest import ACCOUNT_TAGS, cli, paged, refused, wait

ANYWHERE = "0.0.0.0/0"


def tags(kind):
    return [{"ResourceType": kind, "Tags": ACCOUNT_TAGS}]


def tagged(thing):
    return thing["Tags"] == ACCOUNT_TAGS


@pytest.fixture(scope="module")
def vpc(aws):
    made = aws.ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags("vpc"))["Vpc"]
    assert tagged(made)
    wait(aws.ec2, "vpc_exists", VpcIds=[made["VpcId"]])
    wait(aws.ec2, "vpc_available", VpcIds=[made["VpcId"]])
    yield made["VpcId"]
    aws.ec2.delete_vpc(VpcId=made["VpcId"])
    with refused("InvalidVpcID.NotFound", made["VpcId"]):
        aws.ec2.describe_vpcs(VpcIds=[made["VpcId"]])


@pytest.fixture(scope="module")
def subnet(aws, vpc):
    made = aws.ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone=f"{aws.region}a",
                                 TagSpecifications=tags("subnet"))["Subnet"]
    assert tagged(made)
    wait(aws.ec2, "subnet_available", SubnetIds=[made["SubnetId"]])
    yield made["SubnetId"]
    aws.ec2.delete_subnet(SubnetId=made["SubnetId"])


@pytest.fixture(scope="module")
def group(aws, vpc):
    made = aws.ec2.create_security_group(GroupName="peers", Description="d", VpcId=vpc,
                                         TagSpecifications=tags("security-group"))["GroupId"]
    wait(aws.ec2, "security_group_exists", GroupIds=[made])
    yield made
    aws.ec2.delete_security_group(GroupId=made)


def test_what_every_account_has(aws):
    ec2 = aws.ec2
    assert aws.region in {each["RegionName"] for each in ec2.describe_regions()["Regions"]}
    zones = ec2.describe_availability_zones(Filters=[{"Name": "state", "Values": ["available"]}])["AvailabilityZones"]
    assert f"{aws.region}a" in {each["ZoneName"] for each in zones}
    assert ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"]
    types = paged(ec2, "describe_instance_types", 5, InstanceTypes=[])["InstanceTypes"]
    assert "t3.medium" in {each["InstanceType"] for each in types}
    with refused("InvalidInstanceType", "t1.absent"):
        aws.unchecked.ec2.describe_instance_types(InstanceTypes=["t1.absent"])
    assert [each["IsDefault"] for each in ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]]


def test_vpcs(aws, vpc):
    ec2 = aws.ec2
    for attribute, member in (("enableDnsHostnames", "EnableDnsHostnames"), ("enableDnsSupport", "EnableDnsSupport")):
        ec2.modify_vpc_attribute(VpcId=vpc, **{member: {"Value": True}})
        assert ec2.describe_vpc_attribute(VpcId=vpc, Attribute=attribute)[member]["Value"]
    with refused("InvalidVpc.Range"):
        ec2.create_vpc(CidrBlock="10.0.0.0/8")
    with refused("InvalidParameterValue"):
        ec2.create_vpc(CidrBlock="nonsense")
    with refused("InvalidVpcID.NotFound", "vpc-0123456789abcdef0"):
        ec2.delete_vpc(VpcId="vpc-0123456789abcdef0")
    with refused("DryRunOperation"):
        ec2.describe_vpcs(DryRun=True)
    with refused("InvalidParameterValue", "nope"):
        ec2.describe_vpcs(Filters=[{"Name": "nope", "Values": ["x"]}])
    with refused("MissingParameter", "vpcId"):
        aws.unchecked.ec2.delete_vpc()
    found = paged(ec2, "describe_vpcs", 5, Filters=[{"Name": "tag:suite", "Values": ["peers"]}])["Vpcs"]
    assert [each["VpcId"] for each in found] == [vpc]
    assert len(paged(ec2, "describe_network_acls", 5, Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkAcls"]) == 1
    assert cli("ec2", "describe-vpcs", "--vpc-ids", vpc, "--query", "Vpcs[0].CidrBlock", "--output", "text") == "10.0.0.0/16"


def test_subnets_and_tags(aws, vpc, subnet):
    ec2 = aws.ec2
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    shown = paged(ec2, "describe_subnets", 5, SubnetIds=[])["Subnets"]
    assert [each["MapPublicIpOnLaunch"] for each in shown if each["SubnetId"] == subnet] == [True]
    with refused("InvalidSubnet.Conflict"):
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/25")
    with refused("InvalidSubnet.Range"):
        ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.0.0/24")
    with refused("InvalidSubnetID.NotFound"):
        ec2.describe_subnets(SubnetIds=["subnet-0123456789abcdef0"])
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc)
    ec2.create_tags(Resources=[vpc, subnet], Tags=[{"Key": "k", "Value": ""}])
    assert {each["ResourceId"] for each in paged(ec2, "describe_tags", 5, Filters=[
        {"Name": "key", "Values": ["k"]}])["Tags"]} == {vpc, subnet}
    ec2.delete_tags(Resources=[vpc, subnet], Tags=[{"Key": "k"}])
    with refused("InvalidParameterValue"):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "aws:mine", "Value": "x"}])
    with refused("InvalidVpcID.NotFound"):
        ec2.create_tags(Resources=["vpc-0123456789abcdef0"], Tags=[{"Key": "a", "Value": "x"}])


def test_gateways_and_routes(aws, vpc, subnet):
    ec2 = aws.ec2
    internet = ec2.create_internet_gateway(TagSpecifications=tags("internet-gateway"))["InternetGateway"]["InternetGatewayId"]
    wait(ec2, "internet_gateway_exists", InternetGatewayIds=[internet])
    with refused("Gateway.NotAttached"):
        ec2.detach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    ec2.attach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    with refused("Resource.AlreadyAssociated"):
        ec2.attach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    with refused("DependencyViolation"):
        ec2.delete_internet_gateway(InternetGatewayId=internet)
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip"))["AllocationId"]
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, TagSpecifications=tags("natgateway"),
                                 ClientToken="once")["NatGateway"]["NatGatewayId"]
    again = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address, TagSpecifications=tags("natgateway"),
                                   ClientToken="once")["NatGateway"]["NatGatewayId"]
    assert nat == again
    wait(ec2, "nat_gateway_available", NatGatewayIds=[nat])
    with refused("InvalidIPAddress.InUse"):
        ec2.release_address(AllocationId=address)

    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=tags("route-table"))["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=internet)
    with refused("RouteAlreadyExists"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NatGatewayId=nat)
    with refused("InvalidGatewayID.NotFound"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="1.0.0.0/8", GatewayId="igw-0123456789abcdef0")
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, NatGatewayId=nat)
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
    main = next(each["RouteTableId"] for each in paged(ec2, "describe_route_tables", 5, Filters=[
        {"Name": "vpc-id", "Values": [vpc]}])["RouteTables"] if each["Associations"][0]["Main"])
    association = ec2.replace_route_table_association(AssociationId=association, RouteTableId=main)["NewAssociationId"]
    association = ec2.replace_route_table_association(AssociationId=association, RouteTableId=table)["NewAssociationId"]
    with refused("DependencyViolation"):
        ec2.delete_route_table(RouteTableId=table)
    ec2.disassociate_route_table(AssociationId=association)
    with refused("InvalidAssociationID.NotFound"):
        ec2.disassociate_route_table(AssociationId=association)
    with refused("DependencyViolation"):
        ec2.detach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    with refused("DependencyViolation"):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    with refused("InvalidRoute.NotFound"):
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE)
    ec2.delete_route_table(RouteTableId=table)
    with refused("InvalidRouteTableID.NotFound"):
        ec2.delete_route_table(RouteTableId=table)

    ec2.delete_nat_gateway(NatGatewayId=nat)
    wait(ec2, "nat_gateway_deleted", NatGatewayIds=[nat])
    assert {each["State"] for each in paged(ec2, "describe_nat_gateways", 5)["NatGateways"]} == {"deleted"}
    with refused("NatGatewayNotFound"):
        ec2.delete_nat_gateway(NatGatewayId="nat-0123456789abcdef0")
    assert [tagged(each) for each in ec2.describe_addresses(AllocationIds=[address])["Addresses"]] == [True]
    ec2.release_address(AllocationId=address)
    with refused("InvalidAllocationID.NotFound"):
        ec2.describe_addresses(AllocationIds=[address])
    ec2.detach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    assert tagged(paged(ec2, "describe_internet_gateways", 5, Filters=[
        {"Name": "internet-gateway-id", "Values": [internet]}])["InternetGateways"][0])
    ec2.delete_internet_gateway(InternetGatewayId=internet)
    with refused("InvalidInternetGatewayID.NotFound"):
        ec2.delete_internet_gateway(InternetGatewayId=internet)


def test_security_groups(aws, vpc, group):
    ec2 = aws.ec2
    rules = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": ANYWHERE, "Description": "x"}],
              "Ipv6Ranges": [{"CidrIpv6": "::/0"}], "UserIdGroupPairs": [{"GroupId": group}]}]
    made = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
    assert made["Return"] and len(made["SecurityGroupRules"]) == 3
    with refused("InvalidPermission.Duplicate"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
    with refused("InvalidParameterValue"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[{**rules[0], "FromPort": 90}])
    ec2.authorize_security_group_egress(GroupId=group, IpPermissions=rules)
    shown = paged(ec2, "describe_security_group_rules", 5, Filters=[{"Name": "group-id", "Values": [group]}])
    assert len(shown["SecurityGroupRules"]) == 7
    assert paged(ec2, "describe_security_groups", 5, Filters=[{"Name": "group-name", "Values": ["peers"]}])["SecurityGroups"]
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    ec2.revoke_security_group_egress(GroupId=group, SecurityGroupRuleIds=[
        each["SecurityGroupRuleId"] for each in shown["SecurityGroupRules"] if each["IsEgress"]])
    with refused("InvalidPermission.NotFound"):
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=rules)
    with refused("InvalidGroup.Duplicate", "peers"):
        ec2.create_security_group(GroupName="peers", Description="d", VpcId=vpc)
    with refused("InvalidGroup.NotFound"):
        ec2.describe_security_groups(GroupIds=["sg-0123456789abcdef0"])
    default = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]},
                                                    {"Name": "group-name", "Values": ["default"]}])["SecurityGroups"][0]
    with refused("CannotDelete"):
        ec2.delete_security_group(GroupId=default["GroupId"])


def test_interfaces_and_addresses(aws, subnet, group):
    ec2 = aws.ec2
    made = ec2.create_network_interface(SubnetId=subnet, Groups=[group], Description="d",
                                        TagSpecifications=tags("network-interface"))["NetworkInterface"]
    interface = made["NetworkInterfaceId"]
    wait(ec2, "network_interface_available", NetworkInterfaceIds=[interface])
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Description={"Value": "e"})
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    association = ec2.associate_address(AllocationId=address, NetworkInterfaceId=interface)["AssociationId"]
    shown = paged(ec2, "describe_network_interfaces", 5, NetworkInterfaceIds=[])["NetworkInterfaces"]
    shown = next(each for each in shown if each["NetworkInterfaceId"] == interface)
    assert shown["Description"] == "e" and shown["Association"]["AllocationId"] == address
    ec2.disassociate_address(AssociationId=association)
    with refused("InvalidAssociationID.NotFound"):
        ec2.disassociate_address(AssociationId=association)
    ec2.release_address(AllocationId=address)
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    with refused("DependencyViolation"):
        ec2.delete_subnet(SubnetId=subnet)
    with refused("InvalidAttachmentID.NotFound"):
        ec2.detach_network_interface(AttachmentId="eni-attach-0123456789abcdef0")
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    with refused("InvalidNetworkInterfaceID.NotFound"):
        ec2.delete_network_interface(NetworkInterfaceId=interface)


def test_launch_templates(aws, group):
    ec2 = aws.ec2
    data = {"InstanceType": "t3.medium", "SecurityGroupIds": [group], "MetadataOptions": {"HttpTokens": "required"},
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 10, "VolumeType": "gp3"}}],
            "TagSpecifications": [{"ResourceType": "instance", "Tags": ACCOUNT_TAGS}]}
    template = ec2.create_launch_template(LaunchTemplateName="peers", LaunchTemplateData=data,
                                          TagSpecifications=tags("launch-template"))["LaunchTemplate"]
    identity = template["LaunchTemplateId"]
    assert tagged(template)
    with refused("InvalidLaunchTemplateName.AlreadyExistsException"):
        ec2.create_launch_template(LaunchTemplateName="peers", LaunchTemplateData=data)
    ec2.create_launch_template_version(LaunchTemplateId=identity, SourceVersion="1", LaunchTemplateData={"ImageId": "ami-1"})
    versions = paged(ec2, "describe_launch_template_versions", LaunchTemplateId=identity)["LaunchTemplateVersions"]
    assert {each["VersionNumber"]: each["LaunchTemplateData"].get("ImageId") for each in versions} == {1: None, 2: "ami-1"}
    assert {each["LaunchTemplateData"]["InstanceType"] for each in versions} == {"t3.medium"}
    ec2.modify_launch_template(LaunchTemplateId=identity, DefaultVersion="2")
    assert paged(ec2, "describe_launch_templates", LaunchTemplateNames=["peers"])["LaunchTemplates"][0]["DefaultVersionNumber"] == 2
    gone = ec2.delete_launch_template_versions(LaunchTemplateId=identity, Versions=["1", "2", "9"])
    assert [each["VersionNumber"] for each in gone["SuccessfullyDeletedLaunchTemplateVersions"]] == [1]
    assert len(gone["UnsuccessfullyDeletedLaunchTemplateVersions"]) == 2
    ec2.delete_launch_template(LaunchTemplateId=identity)
    with refused("InvalidLaunchTemplateId.NotFound"):
        ec2.delete_launch_template(LaunchTemplateId=identity)
    with refused("InvalidLaunchTemplateName.NotFoundException"):
        ec2.describe_launch_templates(LaunchTemplateNames=["peers"])


def test_volumes(aws):
    ec2 = aws.ec2
    volume = ec2.create_volume(AvailabilityZone=f"{aws.region}a", Size=1, VolumeType="gp3",
                               TagSpecifications=tags("volume"))["VolumeId"]
    wait(ec2, "volume_available", VolumeIds=[volume])
    assert volume in {each["VolumeId"] for each in paged(ec2, "describe_volumes", 5)["Volumes"]}
    ec2.delete_volume(VolumeId=volume)
    wait(ec2, "volume_deleted", VolumeIds=[volume])
    with refused("InvalidVolume.NotFound"):
        ec2.delete_volume(VolumeId=volume)
    with refused("InvalidInstanceID.NotFound"):
        ec2.terminate_instances(InstanceIds=["i-0123456789abcdef0"])
