use aws_sdk_appmesh::config::{BehaviorVersion, Region};

use super::*;
use crate::clients::iam::trust_policy;
use crate::config::Protocol;
use crate::mesh::Place;

pub(super) fn app_mesh() -> AppMesh {
    app_mesh_of(&Environment::demo())
}

fn app_mesh_of(environment: &Environment) -> AppMesh {
    let config = aws_sdk_appmesh::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .build();
    AppMesh::with(
        environment,
        aws_sdk_appmesh::Client::from_conf(config),
        None,
    )
}

fn yaml(manifests: &[Value]) -> String {
    let parts: Vec<String> = manifests
        .iter()
        .map(|manifest| serde_yaml::to_string(manifest).expect("yaml"))
        .collect();
    parts.join("---\n")
}

fn access() -> Access {
    Access {
        name: "meshctl-demo".into(),
        environment: "demo".into(),
        region: "eu-west-1".into(),
        partition: "aws".into(),
        account: "123456789012".into(),
        endpoint: "https://example.eks".into(),
        certificate_authority: String::new(),
        credentials: aws_credential_types::provider::SharedCredentialsProvider::new(
            aws_credential_types::Credentials::for_tests(),
        ),
    }
}

#[test]
fn the_demos_services() {
    let app_mesh = app_mesh();
    let mut all = MESH.manifests(app_mesh.context()).expect("rendered");
    for service in app_mesh.environment().services.values() {
        all.extend(
            app_mesh
                .service_manifests(service, &initial_weights(service))
                .expect("rendered"),
        );
    }
    insta::assert_snapshot!(yaml(&all));
}

#[test]
fn a_grpc_services_resources() {
    let mut environment = Environment::demo();
    let backend = environment
        .services
        .get_mut("backend")
        .expect("it is there");
    backend.protocol = Protocol::Grpc;
    let backend = backend.clone();
    let app_mesh = app_mesh_of(&environment);
    let manifests = app_mesh
        .service_manifests(&backend, &initial_weights(&backend))
        .expect("rendered");
    insta::assert_snapshot!(yaml(&manifests));
    let clusters = app_mesh.counters(&backend).clusters;
    assert_eq!(
        clusters[1].1,
        "cds_egress_meshctl-demo_backend-v2_demo_grpc_8080"
    );
}

#[test]
fn the_controller() {
    let app_mesh = app_mesh();
    let certificate = crate::clients::kube::Certificate {
        ca: "Q0E=".into(),
        certificate: "Q0VSVA==".into(),
        key: "S0VZ".into(),
        fingerprint: "00".into(),
    };
    let all = controller::manifests(&app_mesh, &access(), &certificate).expect("rendered");
    insta::assert_snapshot!(yaml(&all));
}

#[test]
fn the_kinds_are_structural_and_complete() {
    let kinds = CRDS.manifests(app_mesh().context()).expect("rendered");
    let names: Vec<&str> = kinds
        .iter()
        .filter_map(|kind| kind["spec"]["names"]["kind"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "Mesh",
            "VirtualNode",
            "VirtualRouter",
            "VirtualService",
            "VirtualGateway",
            "GatewayRoute",
            "BackendGroup"
        ]
    );
    for kind in &kinds {
        let schema = &kind["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        every_schema_has_a_type(schema, kind["metadata"]["name"].as_str().expect("named"));
    }
    let weight = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/routes/items/properties/httpRoute/properties/action/properties/weightedTargets/items/properties/weight";
    assert_eq!(kinds[2].pointer(weight).expect("weights")["maximum"], 100);
}

fn every_schema_has_a_type(schema: &Value, path: &str) {
    assert!(schema["type"].is_string(), "{path} has no type: {schema}");
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        every_schema_has_a_type(property, &format!("{path}.{name}"));
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            every_schema_has_a_type(&schema[inner], &format!("{path}[]"));
        }
    }
    if schema["type"] == "array" {
        assert!(schema["items"].is_object(), "{path} lacks items");
    }
}

#[test]
fn policies_are_least_privilege_json() {
    let place = Place {
        partition: "aws".into(),
        region: "eu-west-1".into(),
        account: "123456789012".into(),
    };
    let mut all = String::new();
    for role in app_mesh().roles() {
        let policy = role.policy(&place).expect("rendered");
        let text = serde_json::to_string_pretty(&policy).expect("json");
        all.push_str(&format!(
            "{} for {:?}\n{text}\n",
            role.name,
            role.subject_claims()
        ));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn an_object_is_ready_only_when_its_controller_saw_this_very_generation() {
    let router = |generation: i64, status: &str| {
        mesh_readiness(&json!({
            "apiVersion": API, "kind": "VirtualRouter", "metadata": {"generation": generation},
            "status": {"observedGeneration": 2, "conditions": [
                {"type": "VirtualRouterActive", "status": status, "message": "why"}]},
        }))
    };
    assert_eq!(router(2, "True"), Readiness::Ready);
    assert!(matches!(router(3, "True"), Readiness::Waiting(_)));
    assert_eq!(router(2, "False"), Readiness::Waiting("why".into()));
}

#[test]
fn a_thousand_services_fit_into_what_iam_takes() {
    let mut environment = Environment::demo();
    let one = environment.services["backend"].clone();
    for number in 0..1000 {
        let name = format!("a-service-with-a-long-name-{number}");
        let service = Service {
            name: name.clone(),
            ..one.clone()
        };
        environment.services.insert(name, service);
    }
    let config = aws_sdk_appmesh::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .build();
    let client = aws_sdk_appmesh::Client::from_conf(config);
    let app_mesh = AppMesh::with(&environment, client, None);
    let issuer =
        "https://oidc.eks.ap-southeast-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF";
    let provider = format!(
        "arn:aws-us-gov:iam::123456789012:oidc-provider/{}",
        issuer.trim_start_matches("https://")
    );
    let place = Place {
        partition: "aws-us-gov".into(),
        region: "ap-southeast-1".into(),
        account: "123456789012".into(),
    };
    for role in app_mesh.roles() {
        let trust = trust_policy(&provider, issuer, &role.subject_claims()).to_string();
        assert!(
            trust.len() <= 2048,
            "{}: {} characters",
            role.name,
            trust.len()
        );
        let policy = role.policy(&place).expect("rendered").to_string();
        assert!(
            policy.len() <= 10_240,
            "{}: {} characters",
            role.name,
            policy.len()
        );
    }
}

#[test]
fn more_nodes_than_app_mesh_usually_allows_are_said_before_anything_is_made() {
    let nodes = |count| [(count, "virtual nodes"), (0, "virtual routers"), (0, "…")];
    assert_eq!(fits(nodes(200)).verdict, Verdict::Passed);
    let over = fits(nodes(201));
    assert!(matches!(over.verdict, Verdict::Warning(_)), "{over:?}");
    assert!(over.title == "201 virtual nodes in the mesh", "{over:?}");
}

#[test]
fn members_are_counted_as_they_are_made() {
    let app_mesh = app_mesh();
    let made = app_mesh.members().expect("rendered");
    let of = |kind: &str| made.iter().filter(|member| member.kind == kind).count();
    let counted = app_mesh.member_counts().map(|(count, _)| count);
    let kinds = ["VirtualNode", "VirtualRouter", "VirtualService"];
    assert_eq!(counted, kinds.map(of));
    assert!(counted.iter().all(|count| *count > 0), "{counted:?}");
}
