use serde_json::{Value, json};

use super::*;
use crate::sandbox::aws::{self, Caller};

struct Api {
    world: World,
    state: state::State,
}

use crate::sandbox::state::World;

impl Api {
    fn new() -> Self {
        Api {
            world: World::for_tests(),
            state: state::State::default(),
        }
    }

    /// Calls an operation and holds its answer against the service model.
    fn call(&mut self, operation: &str, input: Value) -> Result<Value, Fault> {
        let caller = Caller {
            arn: "arn:aws:iam::123456789012:user/sandbox".to_owned(),
            user_id: "AIDAEXAMPLE".to_owned(),
        };
        let call = Call {
            world: &self.world,
            operation,
            input: &input,
            caller: &caller,
            region: "us-west-2",
        };
        let answer = aws::answer(&AppMesh, &mut self.state, &call)?;
        assert_eq!(
            shapes::of("appmesh")
                .unwrap()
                .output(operation, &without_nulls(&answer)),
            []
        );
        Ok(answer)
    }

    fn ok(&mut self, operation: &str, input: Value) -> Value {
        self.call(operation, input)
            .unwrap_or_else(|fault| panic!("{operation}: {}: {}", fault.code, fault.message))
    }

    fn refused(&mut self, operation: &str, input: Value) -> (u16, String, String) {
        match self.call(operation, input) {
            Ok(answer) => panic!("{operation} answered {answer}"),
            Err(fault) => (fault.status, fault.code, fault.message),
        }
    }

    /// The graph of the demo: frontend → backend (router, v1 and v2).
    fn demo(&mut self) {
        self.ok(
            "CreateMesh",
            json!({ "meshName": "m", "spec": { "egressFilter": { "type": "DROP_ALL" } } }),
        );
        for node in ["backend-v1", "backend-v2"] {
            self.ok("CreateVirtualNode", node_input(node, &[]));
        }
        self.ok(
            "CreateVirtualRouter",
            json!({ "meshName": "m", "virtualRouterName": "backend", "spec": {
                "listeners": [{ "portMapping": { "port": 8080, "protocol": "http" } }],
            }}),
        );
        self.ok("CreateRoute", route(100, 0));
        self.ok(
            "CreateVirtualService",
            json!({ "meshName": "m", "virtualServiceName": "backend.demo", "spec": {
                "provider": { "virtualRouter": { "virtualRouterName": "backend" } },
            }}),
        );
        self.ok(
            "CreateVirtualNode",
            node_input("frontend", &["backend.demo"]),
        );
    }

    fn stream(&mut self, version: &str) -> Value {
        self.ok(
            "StreamAggregatedResources",
            json!({ "resource": "mesh/m/virtualNode/frontend", "version": version }),
        )
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        scalar => scalar.clone(),
    }
}

fn node_input(name: &str, backends: &[&str]) -> Value {
    let backends: Vec<Value> = backends
        .iter()
        .map(|service| json!({ "virtualService": { "virtualServiceName": service } }))
        .collect();
    json!({ "meshName": "m", "virtualNodeName": name, "spec": {
        "listeners": [{ "portMapping": { "port": 8080, "protocol": "http" } }],
        "serviceDiscovery": { "dns": { "hostname": format!("{name}.demo.svc.cluster.local") } },
        "backends": backends,
    }})
}

fn route(first: u32, second: u32) -> Value {
    json!({ "meshName": "m", "virtualRouterName": "backend", "routeName": "all", "spec": { "httpRoute": {
        "match": { "prefix": "/" },
        "action": { "weightedTargets": [
            { "virtualNode": "backend-v1", "weight": first },
            { "virtualNode": "backend-v2", "weight": second },
        ]},
    }}})
}

#[test]
fn a_route_counts_its_versions_and_keeps_its_uid() {
    let mut api = Api::new();
    api.demo();
    let name = json!({ "meshName": "m", "virtualRouterName": "backend", "routeName": "all" });
    let before = api.ok("DescribeRoute", name.clone());
    api.ok("UpdateRoute", route(90, 10));
    let after = api.ok("DescribeRoute", name);
    assert_eq!(before["metadata"]["version"], 1);
    assert_eq!(after["metadata"]["version"], 2);
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(
        after["metadata"]["arn"],
        "arn:aws:appmesh:us-west-2:123456789012:mesh/m/virtualRouter/backend/route/all"
    );
    assert_eq!(after["spec"], route(90, 10)["spec"]);
}

#[test]
fn what_others_need_is_not_deleted() {
    let mut api = Api::new();
    api.demo();
    let account = "123456789012";
    let expected = [
        ("DeleteMesh", json!({ "meshName": "m" }), format!("Mesh m for account {account} has active VirtualServices, please delete VirtualServices before deleting the Mesh")),
        ("DeleteVirtualRouter", json!({ "meshName": "m", "virtualRouterName": "backend" }), "VirtualRouter with name backend has active Routes, please delete Routes before deleting the VirtualRouter".to_owned()),
        ("DeleteVirtualNode", json!({ "meshName": "m", "virtualNodeName": "backend-v1" }), "VirtualNode backend-v1 is being referenced in the following: ROUTE: [all]".to_owned()),
    ];
    for (operation, input, message) in expected {
        assert_eq!(
            api.refused(operation, input),
            (409, "ResourceInUseException".to_owned(), message)
        );
    }
    api.ok(
        "DeleteRoute",
        json!({ "meshName": "m", "virtualRouterName": "backend", "routeName": "all" }),
    );
    assert_eq!(
        api.refused(
            "DeleteVirtualRouter",
            json!({ "meshName": "m", "virtualRouterName": "backend" })
        )
        .2,
        "VirtualRouter with name backend cannot be deleted because it is a VirtualService provider"
    );
    let gone = api.ok(
        "DeleteVirtualService",
        json!({ "meshName": "m", "virtualServiceName": "backend.demo" }),
    );
    assert_eq!(gone["status"]["status"], "DELETED");
    api.ok(
        "DeleteVirtualRouter",
        json!({ "meshName": "m", "virtualRouterName": "backend" }),
    );
    for node in ["frontend", "backend-v1", "backend-v2"] {
        api.ok(
            "DeleteVirtualNode",
            json!({ "meshName": "m", "virtualNodeName": node }),
        );
    }
    api.ok("DeleteMesh", json!({ "meshName": "m" }));
    assert_eq!(api.ok("ListMeshes", json!({}))["meshes"], json!([]));
}

#[test]
fn references_and_alternatives_are_checked() {
    let mut api = Api::new();
    api.demo();
    assert_eq!(
        api.refused(
            "CreateVirtualService",
            json!({ "meshName": "m", "virtualServiceName": "x", "spec": {
            "provider": { "virtualRouter": { "virtualRouterName": "none" } } } })
        ),
        (
            404,
            "NotFoundException".to_owned(),
            "VirtualRouter with name none is not present under mesh m for account 123456789012"
                .to_owned()
        )
    );
    let mut both = route(50, 50);
    both["spec"]["tcpRoute"] =
        json!({ "action": { "weightedTargets": [{ "virtualNode": "backend-v1", "weight": 1 }] } });
    assert_eq!(api.refused("UpdateRoute", both).1, "BadRequestException");
    let mut heavy = route(50, 101);
    assert_eq!(api.refused("UpdateRoute", heavy.clone()).0, 400);
    heavy["spec"]["httpRoute"]["action"]["weightedTargets"][1] =
        json!({ "virtualNode": "v3", "weight": 1 });
    assert_eq!(api.refused("UpdateRoute", heavy).1, "NotFoundException");
    let mut lost = node_input("lost", &[]);
    lost["spec"]["serviceDiscovery"] = Value::Null;
    assert_eq!(
        api.refused("CreateVirtualNode", lost).2,
        "A VirtualNode with listeners must have a service discovery"
    );
}

#[test]
fn client_tokens_make_creation_idempotent() {
    let mut api = Api::new();
    let input = json!({ "meshName": "m", "clientToken": "t" });
    let first = api.ok("CreateMesh", input.clone());
    assert_eq!(api.ok("CreateMesh", input), first);
    let other = json!({ "meshName": "m", "clientToken": "t", "spec": { "egressFilter": { "type": "ALLOW_ALL" } } });
    assert_eq!(api.refused("CreateMesh", other).1, "ConflictException");
    assert_eq!(
        api.refused("CreateMesh", json!({ "meshName": "m", "clientToken": "u" }))
            .1,
        "ConflictException"
    );
}

#[test]
fn the_stream_changes_its_version_exactly_with_the_model() {
    let mut api = Api::new();
    api.demo();
    let first = api.stream("");
    assert_eq!(first["mesh"]["spec"]["egressFilter"]["type"], "DROP_ALL");
    let backend = &first["backends"][0];
    assert_eq!(backend["virtualService"], "backend.demo");
    assert_eq!(backend["router"]["routes"][0]["name"], "all");
    assert_eq!(
        backend["nodes"]
            .as_object()
            .map(|nodes| nodes.keys().collect::<Vec<_>>()),
        Some(vec![&"backend-v1".to_owned(), &"backend-v2".to_owned()])
    );
    let version = first["version"].as_str().unwrap_or_default().to_owned();
    assert_eq!(api.stream(&version), json!({ "version": version }));
    // An update to the same specification is a new version of the route and not of the model.
    api.ok("UpdateRoute", route(100, 0));
    assert_eq!(api.stream(&version), json!({ "version": version }));
    // What the node does not reach does not concern it.
    api.ok("CreateVirtualNode", node_input("stranger", &[]));
    assert_eq!(api.stream(&version), json!({ "version": version }));
    api.ok("UpdateRoute", route(90, 10));
    let second = api.stream(&version);
    assert_ne!(second["version"], first["version"]);
    assert_eq!(
        second["backends"][0]["router"]["routes"][0]["spec"],
        route(90, 10)["spec"]
    );
}

#[test]
fn lists_come_in_pages_and_tags_stay() {
    let mut api = Api::new();
    for name in ["a", "b", "c"] {
        api.ok(
            "CreateMesh",
            json!({ "meshName": name, "tags": [{ "key": "k", "value": name }] }),
        );
    }
    let first = api.ok("ListMeshes", json!({ "limit": "2" }));
    assert_eq!(first["meshes"].as_array().map(Vec::len), Some(2));
    let rest = api.ok(
        "ListMeshes",
        json!({ "limit": "2", "nextToken": first["nextToken"] }),
    );
    assert_eq!(rest["meshes"][0]["meshName"], "c");
    assert_eq!(rest["nextToken"], Value::Null);
    let arn = "arn:aws:appmesh:us-west-2:123456789012:mesh/a";
    api.ok("TagResource", json!({ "resourceArn": arn, "tags": [{ "key": "k", "value": "new" }, { "key": "l", "value": "" }] }));
    api.ok(
        "UntagResource",
        json!({ "resourceArn": arn, "tagKeys": ["l"] }),
    );
    let tags = api.ok("ListTagsForResource", json!({ "resourceArn": arn }));
    assert_eq!(tags["tags"], json!([{ "key": "k", "value": "new" }]));
}

#[test]
fn an_ended_service_answers_nothing() {
    let mut api = Api::new();
    api.state.appmesh.ended = true;
    assert_eq!(api.refused("ListMeshes", json!({})).1, "ForbiddenException");
}
