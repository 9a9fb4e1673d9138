#!/usr/bin/env python3
"""Writes the compact `*.shapes` tables beside this file from botocore's service models (pip install botocore).

Takes what the sandbox implements from `meshctl sandbox operations`: run it again after adding an operation or to take a
newer model, and commit what it writes.

    meshctl sandbox operations | src/sandbox/aws/shapes/extract.py
"""
import gzip
import json
import pathlib
import sys

import botocore

# By the name in the credential scope: botocore's name and version, and whether the tests hold outputs against the table.
SERVICES = {
    "appmesh": ("appmesh", "2019-01-25", True),
    "cloudformation": ("cloudformation", "2010-05-15", False),
    "ec2": ("ec2", "2016-11-15", False),
    "ecr": ("ecr", "2015-09-21", True),
    "eks": ("eks", "2017-11-01", True),
    "elasticloadbalancing": ("elbv2", "2015-12-01", True),
    "iam": ("iam", "2010-05-08", False),
    "logs": ("logs", "2014-03-28", False),
    "sts": ("sts", "2011-06-15", False),
    "xray": ("xray", "2016-04-12", False),
}
BASE = {"string": "$string", "integer": "$int", "long": "$int", "boolean": "$bool", "timestamp": "$time",
        "double": "$float", "float": "$float", "blob": "$blob"}
# Values that the documentation of a member names and its enum lacks.
DOCUMENTED = {
    "AccountAttributeName": ["max-instances", "vpc-max-security-groups-per-interface", "max-elastic-ips",
                             "vpc-max-elastic-ips"],
}
# Lists of instance types and the like grow weekly; what is offered is the service's own table.
LONGEST_ENUM = 100


def load(service, version):
    path = pathlib.Path(botocore.__file__).parent / "data" / service / version / "service-2.json"
    if path.exists():
        return json.loads(path.read_text())
    return json.loads(gzip.decompress((path.parent / "service-2.json.gz").read_bytes()))


def wire_name(protocol, member, target):
    """The member's name as a request carries it."""
    if protocol == "ec2":
        name = target.get("queryName") or target.get("locationName", member)
        return name if "queryName" in target else name[0].upper() + name[1:]
    # The sandbox's path templates have the members' names.
    return member if target.get("location") == "uri" else target.get("locationName", member)


def table(service, version, operations, outputs):
    model = load(service, version)
    protocol, shapes = model["metadata"]["protocol"], model["shapes"]
    lines, seen, todo = [], set(), []

    def reference(name):
        shape = shapes[name]
        endless = len(shape.get("enum", [])) > LONGEST_ENUM
        plain = endless or not {"min", "max", "pattern", "enum"} & set(shape)
        if shape["type"] in BASE and plain:
            return BASE[shape["type"]]
        if name not in seen:
            seen.add(name)
            todo.append(name)
        return name

    for name in sorted(operations & set(model["operations"])):
        operation = model["operations"][name]
        ends = []
        for side in ("input", "output"):
            shape = operation.get(side, {}).get("shape")
            if side == "output" and shape and "payload" in shapes[shape]:
                shape = shapes[shape]["members"][shapes[shape]["payload"]]["shape"]
            ends.append(reference(shape) if shape and (side == "input" or outputs) else "-")
        lines.append(f"o {name} {ends[0]} {ends[1]}")
    if protocol == "rest-json":
        # Requests name no operation: what is not implemented is recognised by its path.
        for name in sorted(set(model["operations"]) - operations):
            http = model["operations"][name]["http"]
            lines.append(f'n {name} {http["method"]} {http["requestUri"]}')
    while todo:
        name = todo.pop(0)
        shape = shapes[name]
        kind = shape["type"]
        span = f'{shape.get("min", "-")} {shape.get("max", "-")}'
        if kind == "structure":
            required = shape.get("required", [])
            members = " ".join(
                f'{wire_name(protocol, member, target)}{"!" if member in required else ""}:{reference(target["shape"])}'
                for member, target in shape["members"].items())
            lines.append(f'{"u" if shape.get("union") else "s"} {name} {members}'.rstrip())
        elif kind == "list":
            lines.append(f'l {name} {reference(shape["member"]["shape"])} {span}')
        elif kind == "map":
            lines.append(f'm {name} {reference(shape["key"]["shape"])} {reference(shape["value"]["shape"])} {span}')
        elif "enum" in shape:
            lines.append(f'e {name} {"|".join(shape["enum"] + DOCUMENTED.get(name, []))}')
        else:
            lines.append(f't {name} {BASE[kind]} {span} {shape.get("pattern", "")}'.rstrip())
    return f"# {service} {version}, written by extract.py\n" + "\n".join(lines) + "\n"


implemented = {}
for line in sys.stdin.read().split():
    scope, _, operation = line.partition(":")
    implemented.setdefault(scope, set()).add(operation)
for scope, (service, version, outputs) in SERVICES.items():
    target = pathlib.Path(__file__).parent / f"{service}.shapes"
    target.write_text(table(service, version, implemented[scope], outputs))
