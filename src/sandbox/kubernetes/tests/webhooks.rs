//! Webhooks, with a small one of our own behind a Service.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::testing::start;
use super::{from, message};

/// Answers reviews: objects named `no` are denied, all others get a label.
async fn review(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let review: Value = serde_json::from_slice(&body).expect("a review");
    let request = &review["request"];
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if request["name"] == "no" {
        response["allowed"] = false.into();
        response["status"] = json!({"code": 403, "message": "not this one"});
    } else {
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "true"}}]);
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    }
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}

/// Serves reviews on a listener with a certificate of its own; returns the certificate, PEM.
fn serve_reviews(listener: TcpListener, name: &str) -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec![name.to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("versions")
    .with_no_client_auth()
    .with_single_cert(vec![certificate.der().clone()], private)
    .expect("a TLS configuration");
    let tls = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = tls.accept(stream).await else {
                continue;
            };
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(review)),
            );
        }
    });
    certificate.pem()
}

#[tokio::test]
async fn webhooks_are_found_through_their_service() {
    let (server, kube) = start().await;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 9, 8, 7), 0))
        .await
        .expect("a port");
    let port = listener.local_addr().expect("an address").port();
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
    let ca = serve_reviews(listener, "hook.default.svc");
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
    server.stop().await;
}
