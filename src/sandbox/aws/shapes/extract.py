#!/usr/bin/env python3
"""Writes the compact `*.shapes` tables beside this file from botocore's service models (pip install botocore).

Run it again after adding an operation to OPERATIONS or to take a newer model; commit what it writes.
"""
import gzip
import json
import pathlib

import botocore

OPERATIONS = {
    "appmesh": ("2019-01-25", None),
    "ecr": ("2015-09-21", """BatchCheckLayerAvailability BatchDeleteImage BatchGetImage CompleteLayerUpload CreateRepository
        DeleteLifecyclePolicy DeleteRepository DeleteRepositoryPolicy DescribeImages DescribeImageScanFindings DescribeRegistry
        DescribeRepositories GetAuthorizationToken GetDownloadUrlForLayer GetLifecyclePolicy GetRepositoryPolicy
        InitiateLayerUpload ListImages ListTagsForResource PutImage PutImageScanningConfiguration PutImageTagMutability
        PutLifecyclePolicy SetRepositoryPolicy TagResource UntagResource UploadLayerPart"""),
    "eks": ("2017-11-01", """AssociateAccessPolicy CreateAccessEntry CreateAddon CreateCluster CreateNodegroup
        CreatePodIdentityAssociation DeleteAccessEntry DeleteAddon DeleteCluster DeleteNodegroup
        DeletePodIdentityAssociation DescribeAccessEntry DescribeAddon DescribeAddonConfiguration DescribeAddonVersions
        DescribeCluster DescribeClusterVersions DescribeNodegroup DescribePodIdentityAssociation DescribeUpdate
        DisassociateAccessPolicy ListAccessEntries ListAccessPolicies ListAddons ListAssociatedAccessPolicies
        ListClusters ListFargateProfiles ListIdentityProviderConfigs ListNodegroups ListPodIdentityAssociations
        ListTagsForResource ListUpdates TagResource UntagResource UpdateAccessEntry UpdateAddon UpdateClusterConfig
        UpdateClusterVersion UpdateNodegroupConfig UpdateNodegroupVersion"""),
    "elbv2": ("2015-12-01", """AddListenerCertificates AddTags CreateListener CreateLoadBalancer CreateRule CreateTargetGroup
        DeleteListener DeleteLoadBalancer DeleteRule DeleteTargetGroup DeregisterTargets DescribeAccountLimits
        DescribeCapacityReservation DescribeListenerAttributes DescribeListenerCertificates DescribeListeners
        DescribeLoadBalancerAttributes DescribeLoadBalancers DescribeRules DescribeSSLPolicies DescribeTags
        DescribeTargetGroupAttributes DescribeTargetGroups DescribeTargetHealth DescribeTrustStores ModifyListener
        ModifyListenerAttributes ModifyLoadBalancerAttributes ModifyRule ModifyTargetGroup ModifyTargetGroupAttributes
        RegisterTargets RemoveListenerCertificates RemoveTags SetIpAddressType SetRulePriorities SetSecurityGroups
        SetSubnets"""),
}
BASE = {"string": "$string", "integer": "$int", "long": "$int", "boolean": "$bool", "timestamp": "$time",
        "double": "$float", "float": "$float", "blob": "$blob"}


def load(service, version):
    path = pathlib.Path(botocore.__file__).parent / "data" / service / version / "service-2.json"
    if path.exists():
        return json.loads(path.read_text())
    return json.loads(gzip.decompress((path.parent / "service-2.json.gz").read_bytes()))


def table(service, version, operations):
    model = load(service, version)
    shapes = model["shapes"]
    lines, seen, todo = [], set(), []

    def reference(name):
        shape = shapes[name]
        plain = not {"min", "max", "pattern", "enum"} & set(shape)
        if shape["type"] in BASE and plain:
            return BASE[shape["type"]]
        if name not in seen:
            seen.add(name)
            todo.append(name)
        return name

    for name in operations or sorted(model["operations"]):
        operation = model["operations"][name]
        ends = []
        for side in ("input", "output"):
            shape = operation.get(side, {}).get("shape")
            if side == "output" and shape and "payload" in shapes[shape]:
                shape = shapes[shape]["members"][shapes[shape]["payload"]]["shape"]
            ends.append(reference(shape) if shape else "-")
        lines.append(f"o {name} {ends[0]} {ends[1]}")
    while todo:
        name = todo.pop(0)
        shape = shapes[name]
        kind = shape["type"]
        span = f'{shape.get("min", "-")} {shape.get("max", "-")}'
        if kind == "structure":
            required = shape.get("required", [])
            members = " ".join(
                f'{member}{"!" if member in required else ""}:{reference(target["shape"])}'
                for member, target in shape["members"].items())
            lines.append(f'{"u" if shape.get("union") else "s"} {name} {members}'.rstrip())
        elif kind == "list":
            lines.append(f'l {name} {reference(shape["member"]["shape"])} {span}')
        elif kind == "map":
            lines.append(f'm {name} {reference(shape["key"]["shape"])} {reference(shape["value"]["shape"])} {span}')
        elif "enum" in shape:
            lines.append(f'e {name} {"|".join(shape["enum"])}')
        else:
            lines.append(f't {name} {BASE[kind]} {span} {shape.get("pattern", "")}'.rstrip())
    return f"# {service} {version}, written by extract.py\n" + "\n".join(lines) + "\n"


for service, (version, operations) in OPERATIONS.items():
    target = pathlib.Path(__file__).parent / f"{service}.shapes"
    target.write_text(table(service, version, operations and operations.split()))
