//! The client against the embedded API server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::pods::PodWatch;
use super::*;
use crate::engine::{Cancellation, Context, FailureKind, Observed, Silence};
use crate::sandbox::kubernetes::testing::{self, TestServer};

fn context() -> Context {
    Context::detached("test", Arc::new(Silence), Cancellation::new())
}

fn access(environment: &str) -> Access {
    Access {
        name: "meshctl-demo".into(),
        environment: environment.into(),
        region: "eu-west-1".into(),
        partition: "aws".into(),
        account: "123456789012".into(),
        endpoint: "https://127.0.0.1:9".into(),
        certificate_authority: String::new(),
        credentials: aws_credential_types::provider::SharedCredentialsProvider::new(
            aws_credential_types::Credentials::for_tests(),
        ),
    }
}

async fn start() -> (TestServer, Cluster) {
    let (server, client) = testing::start().await;
    (server, Cluster::with_client(access("demo"), client))
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {MANAGED_BY: FIELD_MANAGER, ENVIRONMENT: "demo"}}})
}

fn map(namespace: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": namespace,
        "labels": {MANAGED_BY: FIELD_MANAGER, ENVIRONMENT: "demo"}}, "data": {"key": value}})
}

#[tokio::test]
async fn a_bundle_is_made_once_kept_and_mended() {
    let (server, cluster) = start().await;
    let cx = context();
    let bundle = |value| {
        Bundle::new(
            "test",
            &cluster,
            vec![namespace("demo"), map("demo", value)],
        )
    };
    let first = bundle("1");
    assert!(matches!(first.observe().await, Ok(Observed::Absent)));
    first.apply(&cx).await.expect("made");
    assert!(matches!(first.observe().await, Ok(Observed::Ready { drift, .. }) if drift.is_empty()));
    let Ok(Observed::Ready { drift, .. }) = bundle("2").observe().await else {
        panic!("it is there");
    };
    assert_eq!(drift, ["ConfigMap demo/a: .data.key differs"]);
    bundle("2").apply(&cx).await.expect("changed");
    assert!(
        matches!(bundle("2").observe().await, Ok(Observed::Ready { drift, .. }) if drift.is_empty())
    );
    // By hand: seen and mended. What others add is theirs.
    let name = Reference::namespaced("v1", "ConfigMap", "demo", "a");
    cluster
        .merge(
            &name,
            &json!({"data": {"key": "by hand", "more": "theirs"}}),
        )
        .await
        .expect("patched");
    assert!(
        matches!(bundle("2").observe().await, Ok(Observed::Ready { drift, .. }) if drift.len() == 1)
    );
    bundle("2").apply(&cx).await.expect("mended");
    let live = cluster.get(&name).await.expect("answered").expect("there");
    assert_eq!(live["data"], json!({"key": "2", "more": "theirs"}));
    server.stop().await;
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_refused_and_never_removed() {
    let (server, cluster) = start().await;
    let cx = context();
    Bundle::new(
        "theirs",
        &cluster,
        vec![namespace("demo"), map("demo", "1")],
    )
    .apply(&cx)
    .await
    .expect("made");
    let client = cluster.client().await.expect("a client");
    let other = Cluster::with_client(access("other"), client);
    let bundle = Bundle::new("ours", &other, vec![map("demo", "2")]);
    match bundle.observe().await {
        Ok(Observed::Foreign(owner)) => assert_eq!(owner, "environment demo (ConfigMap demo/a)"),
        seen => panic!("{seen:?}"),
    }
    let refused = bundle
        .apply(&cx)
        .await
        .expect_err("it is another environment's");
    assert_eq!(refused.kind, FailureKind::Blocked);
    bundle.destroy(&cx).await.expect("nothing of ours is there");
    let name = Reference::of(&map("demo", "1"));
    assert!(cluster.get(&name).await.expect("answered").is_some());
    server.stop().await;
}

#[tokio::test]
async fn removal_waits_for_finalizers_and_says_which() {
    let (server, cluster) = start().await;
    let cx = context();
    let mut held = map("default", "1");
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    cluster.apply(&held).await.expect("made");
    let name = Reference::of(&held);
    let failure = remove(&cx, &cluster, &name, Duration::from_millis(300))
        .await
        .expect_err("nobody takes the finalizer off");
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(
        failure
            .message
            .contains("held by finalizer example.com/held"),
        "{}",
        failure.message
    );
    cluster
        .merge(&name, &json!({"metadata": {"finalizers": null}}))
        .await
        .expect("released");
    remove(&cx, &cluster, &name, Duration::from_secs(10))
        .await
        .expect("gone");
    remove(&cx, &cluster, &name, Duration::from_secs(10))
        .await
        .expect("absent is fine");
    server.stop().await;
}

/// A client whose deletions another run gets in the way of: before or after them, it makes the object anew.
fn disturbed(client: kube::Client, object: &Value, before: bool) -> kube::Client {
    let other = Cluster::with_client(access("demo"), client.clone());
    let object = object.clone();
    let service = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
        let (client, other, object) = (client.clone(), other.clone(), object.clone());
        async move {
            let is_deletion = request.method() == hyper::Method::DELETE;
            let remake = async {
                let name = Reference::of(&object);
                other.delete(&name).await.expect("deleted");
                other.apply(&object).await.expect("made again");
            };
            if is_deletion && before {
                remake.await;
                return client.send(request).await;
            }
            let answer = client.send(request).await;
            if is_deletion {
                remake.await;
            }
            answer
        }
    });
    kube::Client::new(service, "default")
}

#[tokio::test]
async fn what_another_run_makes_again_is_left_to_it() {
    let (server, client) = testing::start().await;
    let quiet = Cluster::with_client(access("demo"), client.clone());
    let object = map("default", "1");
    let name = Reference::of(&object);
    for before in [true, false] {
        quiet.apply(&object).await.expect("made");
        let cluster = disturbed(client.clone(), &object, before);
        let cluster = Cluster::with_client(access("demo"), cluster);
        let failure = remove(&context(), &cluster, &name, Duration::from_secs(10)).await;
        let failure = failure.expect_err("it is there again");
        assert_eq!(failure.kind, FailureKind::Blocked);
        assert!(failure.message.contains("made again"), "{failure}");
        let live = quiet.get(&name).await.expect("an answer");
        assert!(live.is_some(), "it is another run's");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_refused() {
    let (server, cluster) = start().await;
    let mut wrong = map("default", "1");
    wrong["dota"] = json!({"key": "2"});
    let trouble = cluster.apply(&wrong).await.expect_err("a typing error");
    assert!(trouble.to_string().contains("dota"), "{trouble}");
    server.stop().await;
}

/// A webhook that is asked about ConfigMaps with these labels, and that nobody serves.
fn webhook(labels: &Value) -> Value {
    let certificate = Certificate::kept_or_new(None, "default", "hook").expect("made");
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "hook", "labels": {MANAGED_BY: FIELD_MANAGER, ENVIRONMENT: "demo"}},
        "webhooks": [{
            "name": "hook.example.com",
            "clientConfig": {"caBundle": certificate.ca, "service": {"name": "hook", "namespace": "default", "port": 443}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
            "objectSelector": {"matchLabels": labels},
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }],
    })
}

#[tokio::test]
async fn a_webhook_without_endpoints_is_waited_for() {
    let (server, cluster) = start().await;
    let webhook = webhook(&json!({}));
    cluster.apply(&webhook).await.expect("made");
    let trouble = cluster
        .apply(&map("default", "1"))
        .await
        .expect_err("nobody serves it");
    assert!(trouble.is_webhook_away(), "{trouble}");
    let cx = context();
    let bundle = Bundle::new("test", &cluster, vec![map("default", "1")]);
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster
            .delete(&Reference::of(&webhook))
            .await
            .expect("removed");
    };
    let (applied, ()) = tokio::join!(bundle.apply(&cx), later);
    applied.expect("applied once nothing is in the way");
    server.stop().await;
}

/// The manifests of a webhook's controller, as far as its certificate goes.
fn serving(certificate: &Certificate) -> Vec<Value> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "tls", "namespace": "system", "labels": {MANAGED_BY: FIELD_MANAGER, ENVIRONMENT: "demo"}},
        "data": {"ca.crt": certificate.ca, "tls.crt": certificate.certificate, "tls.key": certificate.key}});
    vec![namespace("system"), secret]
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_a_webhooks_certificate_first_has_made_it_for_all() {
    let (server, cluster) = start().await;
    let cx = context();
    let kept = CertificateSecret::new("system", "tls", "hook");
    let alone = |certificate: &Certificate| Ok(serving(certificate));
    let faster = || async {
        kept.agree(&cx, &cluster, alone).await?;
        kept.certificate(&cluster).await
    };
    // Another run comes in between what this one has read and what it writes.
    let overtaken = || async {
        let first = std::sync::OnceLock::new();
        let manifests = |certificate: &Certificate| {
            let other = || tokio::runtime::Handle::current().block_on(faster());
            first.get_or_init(|| tokio::task::block_in_place(other));
            alone(certificate)
        };
        kept.agree(&cx, &cluster, manifests).await.expect("agreed");
        let first = first.into_inner().expect("overtaken").expect("agreed");
        let used = kept.certificate(&cluster).await.expect("kept");
        assert_eq!(used, first);
        used
    };
    let made = overtaken().await;
    // One that is not good for the webhook is replaced, once.
    let wrong = Certificate::kept_or_new(None, "system", "other").expect("made");
    cluster.apply(&serving(&wrong)[1]).await.expect("replaced");
    let replaced = overtaken().await;
    assert!(replaced != made && replaced != wrong);
    server.stop().await;
}

#[tokio::test]
async fn one_object_does_not_hold_up_its_likes_but_what_comes_after_them() {
    let (server, cluster) = start().await;
    let webhook = webhook(&json!({"held": "yes"}));
    cluster.apply(&webhook).await.expect("made");
    let mut manifests: Vec<Value> = (0..6)
        .map(|index| {
            let mut map = map("default", "1");
            map["metadata"]["name"] = format!("map-{index}").into();
            map
        })
        .collect();
    manifests[0]["metadata"]["labels"]["held"] = "yes".into();
    let mut secret = map("default", "MQ==");
    secret["kind"] = "Secret".into();
    let names: Vec<Reference> = manifests.iter().map(Reference::of).collect();
    let after = Reference::of(&secret);
    manifests.push(secret);
    let cx = context();
    let bundle = Bundle::new("test", &cluster, manifests);
    let later = async {
        for name in &names[1..] {
            while cluster.get(name).await.expect("answered").is_none() {
                tokio::task::yield_now().await;
            }
        }
        assert!(cluster.get(&names[0]).await.expect("answered").is_none());
        assert!(cluster.get(&after).await.expect("answered").is_none());
        let webhook = Reference::of(&webhook);
        cluster.delete(&webhook).await.expect("removed");
    };
    let (applied, ()) = tokio::join!(bundle.apply(&cx), later);
    applied.expect("applied once nothing is in the way");
    for name in names.iter().chain([&after]) {
        assert!(cluster.get(name).await.expect("answered").is_some());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_wait_in_vain_ends_with_what_the_controller_complained_of_last() {
    let (server, cluster) = start().await;
    let complaint = |about: &str, second: u32, message: &str| {
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{about}.{second}"), "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": about},
            "type": if second == 9 { "Normal" } else { "Warning" }, "reason": "ReconcileError", "message": message,
            "lastTimestamp": format!("2026-01-01T00:00:0{second}Z")})
    };
    for event in [
        complaint("a", 2, "the limit is exceeded"),
        complaint("a", 1, "it is not there yet"),
        complaint("a", 9, "all is well"),
        complaint("b", 3, "another's"),
    ] {
        cluster.apply(&event).await.expect("made");
    }
    let mut bundle = Bundle::new("test", &cluster, vec![map("default", "1")]);
    bundle.readiness = |_| Readiness::Waiting("not seen".into());
    bundle.deadline = Duration::from_millis(500);
    let failure = bundle.apply(&context()).await.expect_err("never ready");
    assert_eq!(failure.kind, FailureKind::Timeout);
    let words = "not seen, ReconcileError: the limit is exceeded";
    assert!(failure.message.contains(words), "{}", failure.message);
    server.stop().await;
}

/// A Deployment of one pod as the API server has it.
fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": "main"}]}}}})
}

#[tokio::test]
async fn what_a_controller_makes_ready_is_not_waited_for_without_it() {
    let (server, cluster) = start().await;
    let controller = Reference::of(&deployment("controller"));
    let waited = async || {
        let mut bundle = Bundle::new("test", &cluster, vec![map("default", "1")]);
        bundle.readiness = |_| Readiness::Waiting("not seen".into());
        bundle.controller = Some(controller.clone());
        bundle.deadline = Duration::from_millis(500);
        bundle.apply(&context()).await.expect_err("never ready")
    };
    let gone = waited().await;
    let said = (gone.kind, gone.resource, gone.message);
    let name = "Deployment default/controller".to_owned();
    let words = "was deleted meanwhile".to_owned();
    assert_eq!(said, (FailureKind::Blocked, name, words));

    cluster
        .apply(&deployment("controller"))
        .await
        .expect("made");
    let idle = waited().await;
    assert_eq!(idle.kind, FailureKind::Timeout);
    let words = "not seen, Deployment default/controller: ";
    assert!(idle.message.contains(words), "{}", idle.message);
    let hint = "its controller says why: kubectl -n default logs deployment/controller";
    assert_eq!(idle.hint.as_deref(), Some(hint));
    server.stop().await;
}

/// A client, and how often it has listed what it was asked for.
fn counting(client: kube::Client) -> (kube::Client, impl Fn(&str) -> usize) {
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let made = calls.clone();
    let counted = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
        made.lock()
            .expect("calls")
            .push(request.uri().path().to_owned());
        let client = client.clone();
        async move { client.send(request).await }
    });
    let count = move |of: &str| {
        let calls = calls.lock().expect("calls");
        calls.iter().filter(|path| path.ends_with(of)).count()
    };
    (kube::Client::new(counted, "default"), count)
}

#[tokio::test]
async fn many_waits_together_list_little() {
    let (server, client) = testing::start().await;
    let (client, lists) = counting(client);
    let cluster = Cluster::with_client(access("demo"), client);
    let waits = (0..50).map(|number| {
        let mut manifest = map("default", "1");
        manifest["metadata"]["name"] = format!("a{number}").into();
        let mut bundle = Bundle::new("test", &cluster, vec![manifest]);
        bundle.readiness = |_| Readiness::Waiting("not seen".into());
        bundle.deadline = Duration::from_secs(1);
        async move { bundle.apply(&context()).await }
    });
    for waited in futures::future::join_all(waits).await {
        assert_eq!(waited.expect_err("in vain").kind, FailureKind::Timeout);
    }
    assert_eq!(lists("/events"), 1);
    // Looked at each 50 ms for five minutes.
    let mut deployment = json!({"metadata": {"name": "a", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}}});
    let watched = async |deployment: &Value| {
        let mut watch = PodWatch::default();
        for look in 0..6000 {
            let waited = look * Duration::from_millis(50);
            let trouble = watch.look(&cluster, deployment, waited).await;
            assert_eq!(trouble.expect("answered"), None);
        }
    };
    watched(&deployment).await;
    assert_eq!(lists("/pods"), 0, "there are none yet");
    deployment["status"]["replicas"] = 1.into();
    watched(&deployment).await;
    assert!((10..25).contains(&lists("/pods")), "{}", lists("/pods"));
    server.stop().await;
}

/// A client that answers its second page by itself, with this status.
fn stumbling(client: kube::Client, code: u16) -> kube::Client {
    let stumbled = tower::service_fn(move |request: hyper::Request<kube::client::Body>| {
        let is_next = request.uri().query().unwrap_or("").contains("continue=");
        let client = client.clone();
        async move {
            if !is_next {
                return client.send(request).await;
            }
            let status =
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code});
            let body = kube::client::Body::from(status.to_string().into_bytes());
            let answer = hyper::Response::builder().status(code).body(body);
            Ok(answer.expect("an answer"))
        }
    });
    kube::Client::new(stumbled, "default")
}

#[tokio::test]
async fn a_list_whose_pages_do_not_go_on_is_whole_or_empty() {
    let (server, client) = testing::start().await;
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(client.clone(), "default");
    for number in 0..501 {
        let mut manifest = map("default", "1");
        manifest["metadata"]["name"] = format!("a{number}").into();
        let manifest = serde_json::from_value(manifest).expect("a ConfigMap");
        maps.create(&Default::default(), &manifest)
            .await
            .expect("made");
    }
    let listed = async |code: Option<u16>| {
        let client = match code {
            Some(code) => stumbling(client.clone(), code),
            None => client.clone(),
        };
        let cluster = Cluster::with_client(access("demo"), client);
        let maps = cluster.list("v1", "ConfigMap", Some("default"), "").await;
        maps.map(|maps| maps.len())
    };
    assert_eq!(listed(None).await.expect("two pages"), 501);
    // The state that the first page is of is kept no more.
    assert_eq!(listed(Some(410)).await.expect("all at once"), 501);
    // The kind went in between.
    assert_eq!(listed(Some(404)).await.expect("none"), 0);
    let refused = listed(Some(403)).await;
    assert!(refused.is_err(), "a part is no list");
    server.stop().await;
}

#[tokio::test]
async fn a_dead_cluster_is_an_observation_and_told_soon() {
    let (server, cluster) = start().await;
    server.stop().await;
    let began = std::time::Instant::now();
    let bundle = Bundle::new("test", &cluster, vec![map("default", "1")]);
    for _ in 0..5 {
        assert!(matches!(
            bundle.observe().await,
            Ok(Observed::Unreachable(_))
        ));
    }
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}
