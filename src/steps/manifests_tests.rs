//! Everything that is applied to the cluster, but for what is the mesh's own.

use std::sync::Arc;

use serde_json::{Value, json};

use super::outputs::Image;
use super::{
    ingress, load_balancer_controller, namespace, network_policies, service_names, workload,
};
use crate::clients::kube::{Access, Certificate};
use crate::clients::{Clients, Credentials, Settings};
use crate::config::{Environment, Names, Protocol};
use crate::mesh::{self, MeshProvider, Place, labels};

async fn provider(environment: &Environment) -> Arc<dyn MeshProvider> {
    let clients = Clients::new(Settings {
        region: "eu-west-1".into(),
        credentials: Some(Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "secret".into(),
            session_token: None,
        }),
        ..Settings::default()
    });
    mesh::provider(environment, &clients.await)
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

fn certificate() -> Certificate {
    Certificate {
        ca: "Q0E=".into(),
        certificate: "Q0VSVA==".into(),
        key: "S0VZ".into(),
        fingerprint: "00".into(),
    }
}

fn yaml(manifests: &[Value]) -> String {
    let parts: Vec<String> = manifests
        .iter()
        .map(|manifest| serde_yaml::to_string(manifest).expect("yaml"))
        .collect();
    parts.join("---\n")
}

#[test]
fn the_load_balancer_controller() {
    let environment = Environment::demo();
    let made =
        load_balancer_controller::manifests(&environment, &access(), "vpc-0123", &certificate());
    insta::assert_snapshot!(yaml(&made.expect("rendered")));
}

#[test]
fn the_load_balancer_controllers_policy_is_json() {
    let place = Place {
        partition: "aws".into(),
        region: "eu-west-1".into(),
        account: "123456789012".into(),
    };
    let role = load_balancer_controller::role();
    assert_eq!(
        role.subject_claims(),
        ["system:serviceaccount:kube-system:aws-load-balancer-controller"]
    );
    let policy = role.policy(&place).expect("json");
    let size = serde_json::to_string(&policy).expect("json").len();
    // IAM counts an inline policy without its white space.
    assert!(size < 10_240, "{size} bytes do not fit into a role");
}

#[tokio::test]
async fn the_demos_pods_and_the_way_in() {
    let environment = Environment::demo();
    let mesh = provider(&environment).await;
    let mut namespace_labels = labels(&Names::new("demo"));
    namespace_labels.extend(mesh.namespace_labels());
    let context = json!({"namespace": "demo", "labels": namespace_labels});
    let mut made = namespace::TEMPLATE.manifests(context).expect("rendered");
    for service in environment.services.values() {
        let names = service_names::manifests(&environment, &*mesh, service, &access());
        made.extend(names.expect("rendered"));
        let image = Image {
            reference: format!("registry.example/meshctl-demo/{}@sha256:00", service.name),
        };
        let pods = workload::manifests(&environment, &*mesh, service, &image);
        made.extend(pods.expect("rendered"));
    }
    made.extend(network_policies::manifests(&environment).expect("rendered"));
    made.extend(ingress::manifests(&environment).expect("rendered"));
    insta::assert_snapshot!(yaml(&made));
}

#[tokio::test]
async fn a_grpc_service_is_asked_for_its_health_by_grpc() {
    let mut environment = Environment::demo();
    let backend = environment.services.get_mut("backend").expect("there");
    backend.protocol = Protocol::Grpc;
    let backend = backend.clone();
    let mesh = provider(&environment).await;
    let image = Image {
        reference: "registry.example/backend@sha256:00".into(),
    };
    let pods = workload::manifests(&environment, &*mesh, &backend, &image).expect("rendered");
    let container = pods[0]
        .pointer("/spec/template/spec/containers/0")
        .expect("a container");
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["grpc"], json!({"port": 8080}));
        assert!(container[probe]["httpGet"].is_null());
    }
    assert_eq!(container["ports"][0]["name"], "grpc");
    let names = service_names::manifests(&environment, &*mesh, &backend, &access());
    let names = names.expect("rendered");
    let port = names.last().expect("a Service").pointer("/spec/ports/0");
    let port = port.expect("a port");
    assert_eq!(
        [&port["name"], &port["targetPort"], &port["appProtocol"]],
        ["grpc", "grpc", "kubernetes.io/h2c"]
    );
}

#[test]
fn a_service_that_may_reach_anything_has_no_policy_for_it() {
    let mut environment = Environment::demo();
    environment.mesh.egress = crate::config::Egress::AllowAll;
    environment.ingress.internal = true;
    let made = network_policies::manifests(&environment).expect("rendered");
    for policy in &made {
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
        assert!(policy["spec"]["egress"].is_null());
    }
    let frontend = made
        .iter()
        .find(|policy| policy["metadata"]["name"] == "frontend");
    let from = frontend.expect("there").pointer("/spec/ingress/0/from/0");
    // The subnets of load balancers that face inwards.
    assert_eq!(from, Some(&json!({"ipBlock": {"cidr": "10.42.96.0/19"}})));
}

#[tokio::test]
async fn odd_values_stay_one_value() {
    let mut environment = Environment::demo();
    let backend = environment.services.get_mut("backend").expect("there");
    backend.versions[0].env.insert(
        "ODD".into(),
        "a: b\n- {{ c }} # \"quoted\" 'x' <&> \u{1F600}".into(),
    );
    backend.versions[0]
        .env
        .insert("NUMBER".into(), "1e3".into());
    backend.versions[1].name = "1".into();
    let backend = environment.services["backend"].clone();
    let mesh = provider(&environment).await;
    let image = Image {
        reference: "a".into(),
    };
    let made = workload::manifests(&environment, &*mesh, &backend, &image).expect("rendered");
    let container = &made[0]["spec"]["template"]["spec"]["containers"][0];
    let value = |name: &str| {
        let env = container["env"].as_array().expect("a list");
        env.iter()
            .find(|entry| entry["name"] == name)
            .expect("there")["value"]
            .clone()
    };
    assert_eq!(
        value("ODD"),
        "a: b\n- {{ c }} # \"quoted\" 'x' <&> \u{1F600}"
    );
    assert_eq!(value("NUMBER"), "1e3");
    assert_eq!(made[2]["spec"]["selector"]["matchLabels"]["version"], "1");
}

/// All manifests of the cluster's side, the mesh's included, are accepted with unknown fields refused, and applying them
/// again is no drift.
#[cfg(feature = "sandbox")]
#[tokio::test]
async fn an_api_server_accepts_everything_and_sees_no_drift() {
    use crate::clients::kube::Cluster;
    use crate::sandbox::kubernetes::testing;

    let (server, client) = testing::start().await;
    let cluster = Cluster::with_client(access(), client);
    let environment = Environment::demo();
    let mesh = provider(&environment).await;
    let certificate = Certificate::kept_or_new(None, "default", "webhook").expect("made");
    let labels = labels(&Names::new("demo"));
    let mut made = namespace::TEMPLATE
        .manifests(json!({"namespace": "demo", "labels": labels}))
        .expect("rendered");
    made.extend(
        load_balancer_controller::CRDS
            .manifests(json!({"labels": labels}))
            .expect("rendered"),
    );
    made.extend(
        load_balancer_controller::manifests(&environment, &access(), "vpc-0123", &certificate)
            .expect("rendered"),
    );
    made.extend(mesh.manifests(&access(), &certificate).expect("rendered"));
    for service in environment.services.values() {
        made.extend(
            service_names::manifests(&environment, &*mesh, service, &access()).expect("rendered"),
        );
        let image = Image {
            reference: "registry.example/a@sha256:00".into(),
        };
        made.extend(workload::manifests(&environment, &*mesh, service, &image).expect("rendered"));
    }
    made.extend(network_policies::manifests(&environment).expect("rendered"));
    made.extend(ingress::manifests(&environment).expect("rendered"));
    // Nobody serves the webhooks here.
    made.retain(|manifest| {
        !manifest["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("WebhookConfiguration"))
    });
    for manifest in &made {
        let applied = cluster.apply(manifest).await;
        applied.unwrap_or_else(|trouble| panic!("{manifest}: {trouble}"));
    }
    let bundle = crate::clients::kube::Bundle::new("all", &cluster, made);
    match bundle.observe().await {
        Ok(crate::engine::Observed::Ready { drift, .. }) => assert!(drift.is_empty(), "{drift:?}"),
        // Nobody rolls the Deployments out here.
        Ok(crate::engine::Observed::Pending(how)) => {
            assert!(how.starts_with("Deployment"), "{how}")
        }
        seen => panic!("{seen:?}"),
    }
    server.stop().await;
}
