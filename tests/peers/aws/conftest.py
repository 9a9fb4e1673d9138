"""The clients that the tests use, all of them watched."""

import contextlib
import json
import os
import pathlib
import subprocess
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from conformance import Checker

CHECKER = Checker()
# Modelled time passes quickly; botocore's own delays are for real time.
SOON = {"Delay": 0.1, "MaxAttempts": 600}
ACCOUNT_TAGS = [{"Key": "suite", "Value": "peers"}]


class Aws:
    """A client of each service, made when it is first used: `aws.iam`, `aws.unchecked.iam`."""

    def __init__(self, **settings):
        self._config = Config(retries={"max_attempts": 1}, **settings)

    def __getattr__(self, service):
        client = CHECKER.watch(boto3.client(service, config=self._config))
        setattr(self, service, client)
        return client


@pytest.fixture(scope="session")
def aws():
    clients = Aws()
    clients.unchecked = Aws(parameter_validation=False)
    clients.account = clients.sts.get_caller_identity()["Account"]
    clients.pause = lambda: time.sleep(SOON["Delay"])
    clients.region = clients.sts.meta.region_name
    return clients


@pytest.fixture(autouse=True)
def answers_fit_the_models():
    yield
    problems, CHECKER.problems = CHECKER.problems, []
    assert not problems, "answers that do not fit botocore's models:\n  " + "\n  ".join(dict.fromkeys(problems))


@contextlib.contextmanager
def refused(code, saying=""):
    """What is done inside must be refused with this code, in a message that says so."""
    with pytest.raises(ClientError) as caught:
        yield caught
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    assert saying.lower() in error["Message"].lower(), error


def wait(client, waiter, **arguments):
    client.get_waiter(waiter).wait(WaiterConfig=SOON, **arguments)


def paged(client, operation, size=1, **arguments):
    """All of a paginator's pages, two at the least being asked for when there is more than `size`."""
    paginator = client.get_paginator(operation)
    limited = "limit_key" in paginator._pagination_cfg  # noqa: SLF001, nothing else tells
    return paginator.paginate(PaginationConfig={"PageSize": size} if limited else {}, **arguments).build_full_result()


def cli(*arguments, ok=True):
    """Runs the aws CLI; returns what it printed, read as JSON unless it is to be text."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent / "hurried")}
    ended = subprocess.run(["aws", *arguments], capture_output=True, text=True, timeout=120, env=environment)
    if ok:
        assert ended.returncode == 0, f"aws {' '.join(arguments)}: {ended.stdout}{ended.stderr}"
    else:
        assert ended.returncode != 0, f"aws {' '.join(arguments)} was not refused: {ended.stdout}"
        return ended.stderr
    return ended.stdout.strip() if "text" in arguments else json.loads(ended.stdout or "null")


def implemented():
    """What the sandbox says that it implements."""
    printed = subprocess.run([os.environ["MESHCTL"], "sandbox", "operations"], capture_output=True, text=True, check=True)
    return set(printed.stdout.split())
