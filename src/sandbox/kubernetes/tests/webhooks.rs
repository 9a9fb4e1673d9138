//! Webhooks, with a small one of our own behind a Service.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::testing::start;
use super::{from, message, reviews};

/// Answers reviews: objects named `no` are denied, all others get a label.
fn label(_: &str, request: &Value) -> Value {
    if request["name"] == "no" {
        return json!({"allowed": false, "status": {"code": 403, "message": "not this one"}});
    }
    let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "true"}}]);
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch.to_string())})
}

/// What lies between a caller and a webhook.
struct Line {
    connections: Arc<Mutex<JoinSet<()>>>,
    /// Whether the connections of this moment break with the caller's next word.
    brittle: watch::Sender<bool>,
}

impl Line {
    fn start(listener: TcpListener, webhook: SocketAddr) -> Line {
        let connections: Arc<Mutex<JoinSet<()>>> = Arc::default();
        let line = Line {
            connections: connections.clone(),
            brittle: watch::Sender::new(false),
        };
        let brittle = line.brittle.clone();
        tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                brittle.send_replace(false);
                let mut brittle = brittle.subscribe();
                connections.lock().expect("connections").spawn(async move {
                    let Ok(mut webhook) = TcpStream::connect(webhook).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut caller, &mut webhook) => return,
                        _ = brittle.wait_for(|brittle| *brittle) => {}
                    }
                    let _ = caller.readable().await;
                });
            }
        });
        line
    }

    fn connections(&self) -> usize {
        let mut connections = self.connections.lock().expect("connections");
        while connections.try_join_next().is_some() {}
        connections.len()
    }

    fn hang_up(&self) {
        self.connections.lock().expect("connections").abort_all();
    }

    fn hang_up_at_the_next_word(&self) {
        self.brittle.send_replace(true);
    }
}

#[tokio::test]
async fn webhooks_are_found_through_their_service() {
    let (server, kube) = start().await;
    let bind = async |address: [u8; 4]| {
        let listener = TcpListener::bind((Ipv4Addr::from(address), 0)).await;
        listener.expect("a port")
    };
    let (listener, webhook) = (bind([127, 9, 8, 7]).await, bind([127, 0, 0, 1]).await);
    let port = listener.local_addr().expect("an address").port();
    let line = Line::start(listener, webhook.local_addr().expect("an address"));
    let hooks: Api<MutatingWebhookConfiguration> = Api::all(kube.clone());
    let configuration = |ca: &str| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "hooks"},
            "webhooks": [{
                "name": "maps.example.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "timeoutSeconds": 5,
                "clientConfig": {
                    "service": {"namespace": "default", "name": "hook", "path": "/mutate"},
                    "caBundle": STANDARD.encode(ca),
                },
                "rules": [{
                    "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                }],
            }],
        })
    };
    let apply = PatchParams::apply("test").force();
    hooks
        .patch(
            "hooks",
            &apply,
            &Patch::Apply(configuration(server.ca_pem())),
        )
        .await
        .expect("applied");
    let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), "default");
    let create = async |name: &str| {
        maps.create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": name}})),
        )
        .await
    };
    let head = "Internal error occurred: failed calling webhook \"maps.example.dev\": failed to call webhook: Post \"https://hook.default.svc:443/mutate?timeout=5s\": ";
    assert_eq!(
        message(create("a").await),
        (500, format!("{head}service \"hook\" not found"))
    );
    let services: Api<Service> = Api::namespaced(kube.clone(), "default");
    let service = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443, "targetPort": port}]}});
    services
        .create(&PostParams::default(), &from(service))
        .await
        .expect("created");
    assert_eq!(
        message(create("a").await),
        (
            500,
            format!("{head}no endpoints available for service \"hook\"")
        )
    );
    let slices: Api<EndpointSlice> = Api::namespaced(kube.clone(), "default");
    let slice = |port: u16| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
            "addressType": "IPv4", "ports": [{"name": "", "port": port}],
            "endpoints": [{"addresses": ["10.9.8.7"], "conditions": {"ready": true}}],
        })
    };
    slices
        .patch("hook-1", &apply, &Patch::Apply(slice(9)))
        .await
        .expect("applied");
    assert_eq!(
        message(create("a").await),
        (
            500,
            format!("{head}dial tcp 10.9.8.7:9: connect: connection refused")
        )
    );
    slices
        .patch("hook-1", &apply, &Patch::Apply(slice(port)))
        .await
        .expect("applied");
    let ca = reviews::serve(webhook, "hook.default.svc", label);
    assert_eq!(
        message(create("a").await),
        (
            500,
            format!(
                "{head}tls: failed to verify certificate: x509: certificate signed by unknown authority"
            )
        )
    );
    hooks
        .patch("hooks", &apply, &Patch::Apply(configuration(&ca)))
        .await
        .expect("applied");
    let made = create("a").await.expect("created");
    assert_eq!(
        made.metadata
            .labels
            .unwrap_or_default()
            .get("seen")
            .map(String::as_str),
        Some("true")
    );
    assert_eq!(
        message(create("no").await),
        (
            403,
            "admission webhook \"maps.example.dev\" denied the request: not this one".into()
        )
    );
    // One connection serves every call, until it ends.
    create("b").await.expect("created");
    assert_eq!(line.connections(), 1);
    line.hang_up();
    create("c").await.expect("created");
    assert_eq!(line.connections(), 1);
    line.hang_up_at_the_next_word();
    create("d").await.expect("created");
    assert_eq!(line.connections(), 1);
    server.stop().await;
}
