"""Runs last: that nothing was left out, and what is said of what does not exist."""

import boto3
import pytest
from botocore.exceptions import ClientError

from conftest import CHECKER, implemented, refused

# App Mesh's proxies alone call it; no SDK has it.
NOT_IN_SDKS = {"appmesh:StreamAggregatedResources"}


def test_every_operation_was_called_and_succeeded():
    missing = implemented() - NOT_IN_SDKS - CHECKER.succeeded
    assert not missing, f"implemented and never called with success: {sorted(missing)}"


@pytest.mark.parametrize(("service", "operation", "code", "arguments"), [
    ("iam", "generate_credential_report", "InvalidAction", {}),
    ("sts", "get_session_token", "InvalidAction", {}),
    ("ec2", "describe_key_pairs", "InvalidAction", {}),
    ("elbv2", "create_trust_store", "InvalidAction", {"Name": "x", "CaCertificatesBundleS3Bucket": "b", "CaCertificatesBundleS3Key": "k"}),
    ("cloudformation", "list_stack_sets", "InvalidAction", {}),
    ("ecr", "describe_pull_through_cache_rules", "UnknownOperationException", {}),
    ("logs", "describe_metric_filters", "UnknownOperationException", {}),
    ("eks", "list_insights", "UnknownOperationException", {"clusterName": "x"}),
    ("xray", "get_encryption_config", "UnknownOperationException", {}),
])
def test_what_is_not_implemented_is_named(aws, service, operation, code, arguments):
    client = getattr(aws, service)
    with refused(code) as caught:
        getattr(client, operation)(**arguments)
    message = caught.value.response["Error"]["Message"]
    assert client.meta.method_to_api_mapping[operation] in message, message


def test_a_service_that_is_not_there_is_named(aws):
    with pytest.raises(ClientError, match="the service sqs"):
        boto3.client("sqs").list_queues()
