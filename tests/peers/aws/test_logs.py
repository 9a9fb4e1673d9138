"""CloudWatch Logs."""

from conftest import cli, paged, refused


def test_log_groups(aws):
    logs = aws.logs
    for name in ("/peers/a", "/peers/b"):
        logs.create_log_group(logGroupName=name, tags={"suite": "peers"})
    with refused("ResourceAlreadyExistsException"):
        logs.create_log_group(logGroupName="/peers/a")
    with refused("InvalidParameterException", "logGroupName"):
        logs.create_log_group(logGroupName="no spaces")
    logs.put_retention_policy(logGroupName="/peers/a", retentionInDays=7)
    with refused("InvalidParameterException"):
        logs.put_retention_policy(logGroupName="/peers/a", retentionInDays=8)
    groups = paged(logs, "describe_log_groups", logGroupNamePrefix="/peers/")["logGroups"]
    assert [(group["logGroupName"], group.get("retentionInDays")) for group in groups] == [
        ("/peers/a", 7), ("/peers/b", None)]
    logs.delete_retention_policy(logGroupName="/peers/a")
    arn = groups[0]["arn"].removesuffix(":*")
    logs.tag_resource(resourceArn=arn, tags={"a": "b"})
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"suite": "peers", "a": "b"}
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    typed = cli("logs", "describe-log-groups", "--log-group-name-prefix", "/peers/a")
    assert typed["logGroups"][0]["logGroupName"] == "/peers/a"
    for name in ("/peers/a", "/peers/b"):
        logs.delete_log_group(logGroupName=name)
    for call, more in ((logs.delete_log_group, {}), (logs.put_retention_policy, {"retentionInDays": 1}),
                       (logs.delete_retention_policy, {})):
        with refused("ResourceNotFoundException"):
            call(logGroupName="/peers/a", **more)
    with refused("ResourceNotFoundException"):
        logs.list_tags_for_resource(resourceArn=arn)
