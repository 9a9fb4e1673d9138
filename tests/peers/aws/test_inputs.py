"""What the models forbid is refused, member by member, in each service's own form."""

import re

import pytest
from botocore.exceptions import ClientError

from conftest import implemented

REFUSALS = {
    "appmesh": {"BadRequestException"}, "cloudformation": {"ValidationError"}, "ecr": {"InvalidParameterException"},
    "ec2": {"MissingParameter", "InvalidParameterValue"}, "eks": {"InvalidParameterException", "InvalidRequestException", "BadRequestException", "ValidationException"},
    "elbv2": {"ValidationError"}, "iam": {"ValidationError"}, "logs": {"InvalidParameterException"},
    "sts": {"ValidationError"}, "xray": {"InvalidRequestException"},
}
SCOPES = {"elbv2": "elasticloadbalancing"}
LONGEST = 4000  # An URL carries no more.


def broken(shape, depth=0):
    """Values that a shape forbids, each with the path below the member that must be named."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "string":
        if limits.get("enum") and len(limits["enum"]) <= 100:
            yield "no-such-word", ""
        if limits.get("max", LONGEST) < LONGEST:
            yield "x" * (limits["max"] + 1), ""
        elif "pattern" in limits:
            yield from ((text, "") for text in ["\x7f|"] if not fits(limits["pattern"], text))
    elif kind in ("integer", "long"):
        if "min" in limits:
            yield limits["min"] - 1, ""
        if "max" in limits:
            yield limits["max"] + 1, ""
    elif kind == "list" and depth < 3:
        yield from (([value], path) for value, path in broken(shape.member, depth + 1))
    elif kind == "structure" and depth < 3:
        if shape.required_members:
            yield {}, wire(shape, shape.required_members[0])
        for name, member in shape.members.items():
            for value, path in broken(member, depth + 1):
                yield {name: value}, path or wire(shape, name)


def fits(pattern, text):
    try:
        return re.fullmatch(pattern.replace(r"\p{L}\p{Z}\p{N}", "\\w "), text)
    except re.error:
        return True


def wire(shape, member):
    target = shape.members[member].serialization
    return target.get("queryName") or target.get("name", member)


@pytest.mark.parametrize("service", REFUSALS)
def test_every_operation_refuses_what_its_model_forbids(aws, service):
    client, wrong, tried = getattr(aws.unchecked, service), [], 0
    methods = {name: method for method, name in client.meta.method_to_api_mapping.items()}
    scope = SCOPES.get(service, service) + ":"
    for name in sorted(each.removeprefix(scope) for each in implemented() if each.startswith(scope)):
        if name not in methods:
            continue
        shape = client.meta.service_model.operation_model(name).input_shape
        cases = []
        for member, target in shape.members.items() if shape else ():
            # A structure without members is not on the wire of a query.
            empty = '{}' if client.meta.service_model.metadata["protocol"] in ("query", "ec2") else "nothing"
            in_path = target.serialization.get("location") == "uri"
            if member in shape.required_members and not in_path:
                cases.append((member, None, wire(shape, member)))
            cases += [(member, value, path or wire(shape, member)) for value, path in broken(target)
                      if empty not in str(value)]
        for member, value, path in cases:
            # The path must have something in its places.
            arguments = {each: "x" * 20 for each, target in shape.members.items()
                         if target.serialization.get("location") == "uri"}
            if value is not None:
                arguments[member] = value
            tried += 1
            what = f"{name} with {member} = {str(value)[:60]!r}"
            try:
                getattr(client, methods[name])(**arguments)
                wrong.append(f"{what} was accepted")
            except ClientError as refusal:
                error = refusal.response["Error"]
                if error["Code"] not in REFUSALS[service]:
                    wrong.append(f"{what}: {error}")
                elif service not in ("ecr", "ec2") and path.lower() not in error["Message"].lower():
                    wrong.append(f"{what}: does not name {path}: {error['Message']}")
    assert tried and not wrong, f"{len(wrong)} of {tried}:\n" + "\n".join(wrong)
