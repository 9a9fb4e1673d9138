"""App Mesh."""

import pytest

from conftest import cli, paged, refused

LISTENER = [{"portMapping": {"port": 8080, "protocol": "http"}}]
NODE = {"listeners": LISTENER, "serviceDiscovery": {"dns": {"hostname": "back.local"}},
        "backends": [{"virtualService": {"virtualServiceName": "other.local"}}]}


def route(**weights):
    return {"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": [
        {"virtualNode": node, "weight": weight} for node, weight in weights.items()]}}}


def gateway_route(service):
    return {"httpRoute": {"match": {"prefix": "/"}, "action": {"target": {"virtualService": {"virtualServiceName": service}}}}}


@pytest.fixture(scope="module")
def mesh(aws):
    aws.appmesh.create_mesh(meshName="peers", tags=[{"key": "suite", "value": "peers"}])
    yield {"meshName": "peers"}
    aws.appmesh.delete_mesh(meshName="peers")


def test_meshes(aws, mesh):
    appmesh = aws.appmesh
    with refused("ConflictException", "peers"):
        appmesh.create_mesh(meshName="peers")
    with refused("BadRequestException"):
        aws.unchecked.appmesh.create_mesh(meshName="x" * 256)
    with refused("NotFoundException", "absent"):
        appmesh.describe_mesh(meshName="absent")
    changed = appmesh.update_mesh(meshName="peers", spec={"egressFilter": {"type": "ALLOW_ALL"}})["mesh"]
    assert changed["metadata"]["version"] == 2 and changed["spec"]["egressFilter"]["type"] == "ALLOW_ALL"
    appmesh.create_mesh(meshName="second")
    assert {each["meshName"] for each in paged(appmesh, "list_meshes")["meshes"]} == {"peers", "second"}
    assert appmesh.delete_mesh(meshName="second")["mesh"]["status"]["status"] == "DELETED"
    arn = appmesh.describe_mesh(meshName="peers")["mesh"]["metadata"]["arn"]
    appmesh.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
    assert len(paged(appmesh, "list_tags_for_resource", resourceArn=arn)["tags"]) == 2
    appmesh.untag_resource(resourceArn=arn, tagKeys=["a"])
    with refused("NotFoundException"):
        appmesh.list_tags_for_resource(resourceArn=arn + "x")


def test_what_is_in_a_mesh(aws, mesh):
    appmesh = aws.appmesh
    for node in ("v1", "v2"):
        appmesh.create_virtual_node(virtualNodeName=node, spec=NODE, **mesh)
    appmesh.create_virtual_router(virtualRouterName="router", spec={"listeners": LISTENER}, **mesh)
    with refused("NotFoundException", "absent"):
        appmesh.create_route(virtualRouterName="absent", routeName="main", spec=route(v1=1), **mesh)
    with refused("NotFoundException", "VirtualNode with name absent"):
        appmesh.create_route(virtualRouterName="router", routeName="main", spec=route(absent=1), **mesh)
    with refused("BadRequestException"):
        aws.unchecked.appmesh.create_route(virtualRouterName="router", routeName="main", spec=route(v1=101), **mesh)
    appmesh.create_route(virtualRouterName="router", routeName="main", spec=route(v1=90, v2=10), **mesh)
    appmesh.create_virtual_service(virtualServiceName="back.local", **mesh,
                                   spec={"provider": {"virtualRouter": {"virtualRouterName": "router"}}})
    appmesh.create_virtual_gateway(virtualGatewayName="edge", spec={"listeners": LISTENER}, **mesh)
    appmesh.create_gateway_route(virtualGatewayName="edge", gatewayRouteName="all", spec=gateway_route("back.local"), **mesh)

    kinds = [  # name, plural, the names that lead to it, what an update may say
        ("virtual_node", "virtual_nodes", {"virtualNodeName": "v1"}, NODE),
        ("virtual_router", "virtual_routers", {"virtualRouterName": "router"}, {"listeners": LISTENER}),
        ("route", "routes", {"virtualRouterName": "router", "routeName": "main"}, route(v1=50, v2=50)),
        ("virtual_service", "virtual_services", {"virtualServiceName": "back.local"},
         {"provider": {"virtualNode": {"virtualNodeName": "v1"}}}),
        ("virtual_gateway", "virtual_gateways", {"virtualGatewayName": "edge"},
         {"listeners": LISTENER, "logging": {"accessLog": {"file": {"path": "/dev/stdout"}}}}),
        ("gateway_route", "gateway_routes", {"virtualGatewayName": "edge", "gatewayRouteName": "all"},
         gateway_route("back.local")),
    ]
    for kind, plural, names, spec in kinds:
        *parents, own = names
        call = lambda verb, **more: getattr(appmesh, f"{verb}_{kind}")(**{**mesh, **names, **more})
        with refused("ConflictException"):
            call("create", spec=spec)
        before, after = call("describe"), call("update", spec=spec)
        member = own.removesuffix("Name")
        assert after[member]["metadata"]["version"] >= before[member]["metadata"]["version"], kind
        assert after[member]["spec"] == spec, kind
        with refused("NotFoundException", "absent"):
            call("describe", **{own: "absent"})
        with refused("NotFoundException", "absent"):
            call("update", spec=spec, **{own: "absent"})
        within = {name: names[name] for name in parents}
        listed = next(iter(paged(appmesh, f"list_{plural}", **mesh, **within).values()))
        assert names[own] in {each[own] for each in listed}, kind

    # What is in use stays.
    with refused("ResourceInUseException"):
        appmesh.delete_mesh(**mesh)
    with refused("ResourceInUseException"):
        appmesh.delete_virtual_router(virtualRouterName="router", **mesh)
    for node in ("v1", "v2"):
        with refused("ResourceInUseException"):
            appmesh.delete_virtual_node(virtualNodeName=node, **mesh)
    with refused("ResourceInUseException"):
        appmesh.delete_virtual_gateway(virtualGatewayName="edge", **mesh)

    typed = cli("appmesh", "describe-route", "--mesh-name", "peers", "--virtual-router-name", "router", "--route-name", "main")
    assert [target["weight"] for target in typed["route"]["spec"]["httpRoute"]["action"]["weightedTargets"]] == [50, 50]
    assert cli("appmesh", "list-meshes")["meshes"][0]["meshName"] == "peers"
    assert cli("appmesh", "list-virtual-nodes", "--mesh-name", "peers", "--max-items", "1")["NextToken"]

    for kind, _, names, _ in [kinds[5], kinds[4], kinds[3], kinds[2], kinds[1], kinds[0]]:
        gone = getattr(appmesh, f"delete_{kind}")(**mesh, **names)
        assert next(value for key, value in gone.items() if key != "ResponseMetadata")["status"]["status"] == "DELETED"
        with refused("NotFoundException"):
            getattr(appmesh, f"delete_{kind}")(**mesh, **names)
    appmesh.delete_virtual_node(virtualNodeName="v2", **mesh)
