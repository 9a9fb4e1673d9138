"""Elastic Load Balancing."""

import pytest

from conftest import ACCOUNT_TAGS, SOON, cli, paged, refused, wait

CERTIFICATE = "arn:aws:acm:us-west-2:123456789012:certificate/12345678-1234-1234-1234-123456789012"


@pytest.fixture(scope="module")
def network(aws):
    """A VPC with two public subnets and a security group."""
    ec2 = aws.ec2
    vpc = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
    internet = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.2.{n}.0/24", AvailabilityZone=f"{aws.region}{zone}")["Subnet"]["SubnetId"]
               for n, zone in enumerate("ab")]
    group = ec2.create_security_group(GroupName="balancer", Description="d", VpcId=vpc)["GroupId"]
    yield {"vpc": vpc, "subnets": subnets, "group": group}
    # A load balancer's interfaces go a while after it.
    for _ in range(SOON["MaxAttempts"]):
        if not ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["NetworkInterfaces"]:
            break
        aws.pause()
    for subnet in subnets:
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_security_group(GroupId=group)
    ec2.detach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=internet)
    ec2.delete_vpc(VpcId=vpc)


def forward(*groups):
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": [
        {"TargetGroupArn": arn, "Weight": weight} for arn, weight in groups]}}]


def test_a_load_balancer_s_life(aws, network):
    elb = aws.elbv2
    made = elb.create_load_balancer(Name="peers", Subnets=network["subnets"], SecurityGroups=[network["group"]],
                                    Scheme="internet-facing", Tags=ACCOUNT_TAGS)["LoadBalancers"][0]
    arn = made["LoadBalancerArn"]
    wait(elb, "load_balancer_exists", Names=["peers"])
    wait(elb, "load_balancer_available", LoadBalancerArns=[arn])
    with refused("DuplicateLoadBalancerName"):
        elb.create_load_balancer(Name="peers", Subnets=network["subnets"], Scheme="internal")
    with refused("ValidationError"):
        elb.create_load_balancer(Name="-bad-", Subnets=network["subnets"])
    with refused("SubnetNotFound"):
        elb.create_load_balancer(Name="other", Subnets=["subnet-0123456789abcdef0", network["subnets"][0]])
    with refused("ValidationError", "two"):
        elb.create_load_balancer(Name="other", Subnets=network["subnets"][:1])
    with refused("LoadBalancerNotFound"):
        elb.describe_load_balancers(Names=["absent"])
    assert "peers" in {each["LoadBalancerName"] for each in paged(elb, "describe_load_balancers")["LoadBalancers"]}
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "idle_timeout.timeout_seconds", "Value": "30"}])
    attributes = {each["Key"]: each["Value"] for each in elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]}
    assert attributes["idle_timeout.timeout_seconds"] == "30"
    with refused("ValidationError"):
        elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "no.such", "Value": "1"}])
    assert elb.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[network["group"]])["SecurityGroupIds"]
    assert len(elb.set_subnets(LoadBalancerArn=arn, Subnets=network["subnets"])["AvailabilityZones"]) == 2
    assert elb.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")["IpAddressType"] == "ipv4"
    elb.add_tags(ResourceArns=[arn], Tags=[{"Key": "a", "Value": "b"}])
    elb.remove_tags(ResourceArns=[arn], TagKeys=["a"])
    assert elb.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"] == ACCOUNT_TAGS
    assert "CapacityReservationState" in elb.describe_capacity_reservation(LoadBalancerArn=arn)

    # Target groups
    groups = [elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=network["vpc"], TargetType="ip",
                                      HealthCheckPath="/healthz")["TargetGroups"][0]["TargetGroupArn"] for name in ("v1", "v2")]
    with refused("DuplicateTargetGroupName"):
        elb.create_target_group(Name="v1", Protocol="HTTP", Port=81, VpcId=network["vpc"], TargetType="ip")
    with refused("TargetGroupNotFound"):
        elb.describe_target_groups(Names=["absent"])
    assert elb.modify_target_group(TargetGroupArn=groups[0], HealthCheckPath="/ready")["TargetGroups"][0]["HealthCheckPath"] == "/ready"
    elb.modify_target_group_attributes(TargetGroupArn=groups[0], Attributes=[
        {"Key": "deregistration_delay.timeout_seconds", "Value": "1"}])
    assert elb.describe_target_group_attributes(TargetGroupArn=groups[0])["Attributes"]
    targets = [{"Id": "10.2.0.9", "Port": 8080}]
    elb.register_targets(TargetGroupArn=groups[0], Targets=targets)
    with refused("InvalidTarget"):
        elb.register_targets(TargetGroupArn=groups[0], Targets=[{"Id": "8.8.8.8", "Port": 80}])
    health = elb.describe_target_health(TargetGroupArn=groups[0])["TargetHealthDescriptions"]
    assert health[0]["TargetHealth"]["State"] == "unused" and health[0]["TargetHealth"]["Reason"] == "Target.NotInUse"
    typed = cli("elbv2", "describe-target-health", "--target-group-arn", groups[0])
    assert typed["TargetHealthDescriptions"][0]["Target"]["Id"] == "10.2.0.9"

    # Listeners and rules
    listener = elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80,
                                   DefaultActions=forward((groups[0], 90), (groups[1], 10)))["Listeners"][0]["ListenerArn"]
    with refused("DuplicateListener"):
        elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=forward((groups[0], 1)))
    with refused("TargetGroupNotFound"):
        elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=81, DefaultActions=forward((groups[0] + "x", 1)))
    with refused("ResourceInUse"):
        elb.delete_target_group(TargetGroupArn=groups[0])
    elb.modify_listener(ListenerArn=listener, DefaultActions=forward((groups[0], 50), (groups[1], 50)))
    shown = paged(elb, "describe_listeners", LoadBalancerArn=arn)["Listeners"][0]
    assert [each["Weight"] for each in shown["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]] == [50, 50]
    assert elb.describe_listener_attributes(ListenerArn=listener)["Attributes"]
    elb.modify_listener_attributes(ListenerArn=listener, Attributes=[
        {"Key": "routing.http.response.server.enabled", "Value": "false"}])
    conditions = [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/v2/*"]}}]
    rules = [elb.create_rule(ListenerArn=listener, Priority=priority, Conditions=conditions,
                             Actions=forward((groups[1], 1)))["Rules"][0]["RuleArn"] for priority in (1, 2)]
    with refused("PriorityInUse"):
        elb.create_rule(ListenerArn=listener, Priority=1, Conditions=conditions, Actions=forward((groups[1], 1)))
    elb.modify_rule(RuleArn=rules[0], Actions=forward((groups[0], 1)))
    elb.set_rule_priorities(RulePriorities=[{"RuleArn": rules[0], "Priority": 10}])
    assert [each["Priority"] for each in paged(elb, "describe_rules", ListenerArn=listener)["Rules"]] == ["2", "10", "default"]
    default = next(each["RuleArn"] for each in elb.describe_rules(ListenerArn=listener)["Rules"] if each["IsDefault"])
    with refused("OperationNotPermitted"):
        elb.delete_rule(RuleArn=default)
    secure = elb.create_listener(LoadBalancerArn=arn, Protocol="HTTPS", Port=443, Certificates=[{"CertificateArn": CERTIFICATE}],
                                 DefaultActions=forward((groups[0], 1)))["Listeners"][0]["ListenerArn"]
    elb.add_listener_certificates(ListenerArn=secure, Certificates=[{"CertificateArn": CERTIFICATE + "0"}])
    assert len(paged(elb, "describe_listener_certificates", ListenerArn=secure)["Certificates"]) == 2
    elb.remove_listener_certificates(ListenerArn=secure, Certificates=[{"CertificateArn": CERTIFICATE + "0"}])

    # The end of it
    for rule in rules:
        elb.delete_rule(RuleArn=rule)
    with refused("RuleNotFound"):
        elb.delete_rule(RuleArn=rules[0])
    for each in (listener, secure):
        elb.delete_listener(ListenerArn=each)
    with refused("ListenerNotFound"):
        elb.delete_listener(ListenerArn=listener)
    elb.deregister_targets(TargetGroupArn=groups[0], Targets=targets)
    wait(elb, "target_deregistered", TargetGroupArn=groups[0], Targets=targets)
    for group in groups:
        elb.delete_target_group(TargetGroupArn=group)
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}])
    with refused("OperationNotPermitted", "deletion protection"):
        elb.delete_load_balancer(LoadBalancerArn=arn)
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{"Key": "deletion_protection.enabled", "Value": "false"}])
    elb.delete_load_balancer(LoadBalancerArn=arn)
    elb.delete_load_balancer(LoadBalancerArn=arn)
    wait(elb, "load_balancers_deleted", LoadBalancerArns=[arn])


def test_the_rest(aws):
    elb = aws.elbv2
    assert elb.describe_account_limits()["Limits"]
    assert elb.describe_ssl_policies()["SslPolicies"]
    assert elb.describe_trust_stores()["TrustStores"] == []
    assert paged(elb, "describe_target_groups")["TargetGroups"] == []
