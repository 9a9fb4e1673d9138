//! The server as its clients see it.

mod evictions;
mod hostile;
mod networking;
mod reviews;
mod webhooks;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::testing::{client, start};

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the object")
}

fn message<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.expect_err("a refusal") {
        kube::Error::Api(status) => (status.code, status.message.clone()),
        other => panic!("{other}"),
    }
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "app", "image": "busybox:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

#[tokio::test]
async fn objects_are_made_changed_and_deleted() {
    let (server, kube) = start().await;
    assert_eq!(
        kube.apiserver_version().await.expect("a version").minor,
        "35"
    );
    let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), "default");
    let made = maps
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"generateName": "a-"}, "data": {"k": "v"}})),
        )
        .await
        .expect("created");
    let name = made.metadata.name.clone().expect("a name");
    assert!(name.starts_with("a-") && name.len() == 7);
    let again = maps.create(&PostParams::default(), &made).await;
    assert!(
        message(again)
            .1
            .contains("resourceVersion should not be set")
    );
    let mut changed = made.clone();
    changed.data = Some([("k".to_owned(), "w".to_owned())].into());
    let changed = maps
        .replace(&name, &PostParams::default(), &changed)
        .await
        .expect("replaced");
    let stale = maps.replace(&name, &PostParams::default(), &made).await;
    assert_eq!(
        message(stale),
        (
            409,
            format!(
                "Operation cannot be fulfilled on configmaps \"{name}\": the object has been modified; please apply your changes to the latest version and try again"
            )
        )
    );
    let same = maps
        .replace(&name, &PostParams::default(), &changed)
        .await
        .expect("replaced");
    assert_eq!(
        same.metadata.resource_version,
        changed.metadata.resource_version
    );
    maps.delete(&name, &DeleteParams::default())
        .await
        .expect("deleted");
    assert_eq!(
        message(maps.get(&name).await),
        (404, format!("configmaps \"{name}\" not found"))
    );
    let elsewhere: Api<ConfigMap> = Api::namespaced(kube, "nowhere");
    let refused = elsewhere
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": "x"}})),
        )
        .await;
    assert_eq!(
        message(refused),
        (404, "namespaces \"nowhere\" not found".into())
    );
    server.stop().await;
}

#[tokio::test]
async fn workloads_have_defaults_generations_and_rules() {
    let (server, kube) = start().await;
    let api: Api<Deployment> = Api::namespaced(kube.clone(), "default");
    let made = api
        .create(&PostParams::default(), &from(deployment("web")))
        .await
        .expect("created");
    let spec = made.spec;
    assert_eq!(
        (spec.replicas, spec.revision_history_limit),
        (Some(1), Some(10))
    );
    let pod = spec.template.spec.expect("a pod");
    assert_eq!(pod.restart_policy.as_deref(), Some("Always"));
    assert_eq!(
        pod.containers[0].image_pull_policy.as_deref(),
        Some("IfNotPresent")
    );
    assert_eq!(made.metadata.generation, Some(1));
    let status =
        json!({"status": {"replicas": 1, "observedGeneration": 1}, "spec": {"replicas": 7}});
    let patched = api
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .expect("patched");
    assert_eq!(patched.metadata.generation, Some(1));
    assert_eq!(patched.spec.replicas, Some(1));
    let scaled = api
        .patch_scale(
            "web",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 3}})),
        )
        .await
        .expect("scaled");
    assert_eq!(scaled.spec.and_then(|spec| spec.replicas), Some(3));
    let now = api.get("web").await.expect("found");
    assert_eq!(now.metadata.generation, Some(2));
    assert_eq!(now.status.and_then(|status| status.replicas), Some(1));
    let strategic = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "busybox:2"}]}}}});
    let patched = api
        .patch(
            "web",
            &PatchParams::default(),
            &Patch::Strategic(&strategic),
        )
        .await
        .expect("patched");
    let pod = patched.spec.template.spec.expect("a pod");
    assert_eq!(pod.containers[0].image.as_deref(), Some("busybox:2"));
    assert_eq!(pod.containers[0].ports.as_ref().map(Vec::len), Some(1));
    let mut wrong = deployment("other");
    wrong["spec"]["template"]["metadata"]["labels"]["app"] = "x".into();
    let (code, text) = message(api.create(&PostParams::default(), &from(wrong)).await);
    assert_eq!(code, 422);
    assert_eq!(
        text,
        "Deployment.apps \"other\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"
    );
    let mut misspelled = deployment("web");
    misspelled["spec"]["replica"] = 2.into();
    let strict = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let (_, text) = message(api.patch("web", &strict, &Patch::Merge(&misspelled)).await);
    assert!(
        text.ends_with("strict decoding error: unknown field \"spec.replica\""),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn server_side_apply_knows_who_owns_what() {
    let (server, kube) = start().await;
    let api: Api<Deployment> = Api::namespaced(kube.clone(), "default");
    let mut config = deployment("web");
    config["spec"]["replicas"] = 2.into();
    config["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let first = api
        .patch("web", &PatchParams::apply("one"), &Patch::Apply(&config))
        .await
        .expect("applied");
    let again = api
        .patch("web", &PatchParams::apply("one"), &Patch::Apply(&config))
        .await
        .expect("applied");
    assert_eq!(
        first.metadata.resource_version,
        again.metadata.resource_version
    );
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 5}});
    let (code, text) = message(
        api.patch("web", &PatchParams::apply("two"), &Patch::Apply(&other))
            .await,
    );
    assert_eq!(
        (code, text.as_str()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
        )
    );
    let forced = api
        .patch(
            "web",
            &PatchParams::apply("two").force(),
            &Patch::Apply(&other),
        )
        .await
        .expect("applied");
    assert_eq!(forced.spec.replicas, Some(5));
    // What is applied no more goes away, and what another manager owns stays.
    config["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "B", "value": "2"}]);
    if let Some(spec) = config["spec"].as_object_mut() {
        spec.shift_remove("replicas");
    }
    let less = api
        .patch("web", &PatchParams::apply("one"), &Patch::Apply(&config))
        .await
        .expect("applied");
    let spec = less.spec;
    assert_eq!(spec.replicas, Some(5));
    let container = spec.template.spec.expect("a pod").containers.remove(0);
    let names: Vec<String> = container
        .env
        .unwrap_or_default()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["B"]);
    assert_eq!(container.ports.map(|ports| ports.len()), Some(1));
    let managers: Vec<(String, String)> = less
        .metadata
        .managed_fields
        .unwrap_or_default()
        .into_iter()
        .map(|entry| {
            (
                entry.manager.unwrap_or_default(),
                entry.operation.unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(managers.len(), 2, "{managers:?}");
    let unknown = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"nonsense": 5}});
    let (code, text) = message(
        api.patch("web", &PatchParams::apply("two"), &Patch::Apply(&unknown))
            .await,
    );
    assert_eq!(
        (code, text.as_str()),
        (
            500,
            "failed to create typed patch object (/; apps/v1, Kind=Deployment): .spec.nonsense: field not declared in schema"
        )
    );
    server.stop().await;
}

#[tokio::test]
async fn watches_follow_from_where_they_are_asked_to() {
    let (server, kube) = start().await;
    let api: Api<ConfigMap> = Api::namespaced(kube.clone(), "default");
    let map = |name: &str, label: &str| {
        from::<ConfigMap>(json!({"metadata": {"name": name, "labels": {"l": label}}}))
    };
    api.create(&PostParams::default(), &map("a", "x"))
        .await
        .expect("created");
    let list = api.list(&ListParams::default()).await.expect("listed");
    let revision = list.metadata.resource_version.clone().expect("a revision");
    let watching = WatchParams::default().labels("l=x");
    let mut events = api
        .watch(&watching, &revision)
        .await
        .expect("watching")
        .boxed();
    api.create(&PostParams::default(), &map("b", "x"))
        .await
        .expect("created");
    api.create(&PostParams::default(), &map("c", "y"))
        .await
        .expect("created");
    let relabel = Patch::Merge(json!({"metadata": {"labels": {"l": "y"}}}));
    api.patch("b", &PatchParams::default(), &relabel)
        .await
        .expect("patched");
    api.delete("a", &DeleteParams::default())
        .await
        .expect("deleted");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match events.try_next().await.expect("an event") {
            Some(WatchEvent::Added(map)) => {
                seen.push(format!("+{}", map.metadata.name.unwrap_or_default()))
            }
            Some(WatchEvent::Deleted(map)) => {
                seen.push(format!("-{}", map.metadata.name.unwrap_or_default()))
            }
            Some(WatchEvent::Bookmark(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, ["+b", "-b", "-a"]);
    let page = api
        .list(&ListParams::default().limit(1))
        .await
        .expect("listed");
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.metadata.remaining_item_count, Some(1));
    let token = page.metadata.continue_.expect("more");
    let rest = api
        .list(&ListParams::default().limit(5).continue_token(&token))
        .await
        .expect("listed");
    assert_eq!(rest.items.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn pods_need_a_service_account_and_bind_to_nodes() {
    let (server, kube) = start().await;
    let pods: Api<Pod> = Api::namespaced(kube.clone(), "default");
    let pod: Pod = from(
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
    );
    let refused = pods.create(&PostParams::default(), &pod).await;
    assert_eq!(
        message(refused),
        (403, "pods \"p\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found".into())
    );
    let accounts: Api<ServiceAccount> = Api::namespaced(kube.clone(), "default");
    accounts
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": "default"}})),
        )
        .await
        .expect("created");
    let made = pods
        .create(&PostParams::default(), &pod)
        .await
        .expect("created");
    let spec = made.spec.expect("a spec");
    assert!(
        spec.volumes.unwrap_or_default()[0]
            .name
            .starts_with("kube-api-access-")
    );
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n"},
    });
    let bound: Value = kube
        .request(http_post(
            "/api/v1/namespaces/default/pods/p/binding",
            &binding,
        ))
        .await
        .expect("bound");
    assert_eq!(bound["status"], "Success");
    let gone = pods
        .delete("p", &DeleteParams::default())
        .await
        .expect("deleting");
    assert_eq!(
        gone.left()
            .and_then(|pod| pod.metadata.deletion_grace_period_seconds),
        Some(30)
    );
    pods.delete("p", &DeleteParams::default().grace_period(0))
        .await
        .expect("deleted");
    assert_eq!(message(pods.get("p").await).0, 404);
    let token = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    });
    let token: Value = kube
        .request(http_post(
            "/api/v1/namespaces/default/serviceaccounts/default/token",
            &token,
        ))
        .await
        .expect("a token");
    let token = token["status"]["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let weak = client(&server, &token);
    let refused = Api::<Pod>::namespaced(weak, "default")
        .list(&ListParams::default())
        .await;
    assert_eq!(
        message(refused),
        (403, "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"".into())
    );
    let refused = Api::<Pod>::namespaced(client(&server, "nobody"), "default")
        .list(&ListParams::default())
        .await;
    assert_eq!(message(refused), (401, "Unauthorized".into()));
    server.stop().await;
}

fn http_post(path: &str, body: &Value) -> hyper::Request<Vec<u8>> {
    hyper::Request::post(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes())
        .expect("a request")
}

#[tokio::test]
async fn custom_resources_are_served_checked_and_cleared() {
    let (server, kube) = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(kube.clone());
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "meshes.example.dev"},
        "spec": {
            "group": "example.dev", "scope": "Cluster",
            "names": {"plural": "meshes", "kind": "Mesh"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "integer", "minimum": 1, "maximum": 9},
                        "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
                        "fixed": {"type": "string", "x-kubernetes-validations": [
                            {"rule": "self == oldSelf", "message": "fixed is immutable"},
                        ]},
                    }},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    });
    definitions
        .create(&PostParams::default(), &from(definition))
        .await
        .expect("created");
    let established = kube::runtime::conditions::is_crd_established();
    kube::runtime::wait::await_condition(definitions.clone(), "meshes.example.dev", established)
        .await
        .expect("established");
    let kind = ApiResource {
        group: "example.dev".into(),
        version: "v1".into(),
        api_version: "example.dev/v1".into(),
        kind: "Mesh".into(),
        plural: "meshes".into(),
    };
    let meshes: Api<DynamicObject> = Api::all_with(kube.clone(), &kind);
    let mesh = |spec: Value| {
        from::<DynamicObject>(json!({
            "apiVersion": "example.dev/v1", "kind": "Mesh", "spec": spec,
            "metadata": {"name": "m", "finalizers": ["example.dev/keep"]},
        }))
    };
    let (code, text) = message(
        meshes
            .create(&PostParams::default(), &mesh(json!({"size": 10})))
            .await,
    );
    assert_eq!(
        (code, text.as_str()),
        (
            422,
            "Mesh.example.dev \"m\" is invalid: spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9"
        )
    );
    let made = meshes
        .create(
            &PostParams::default(),
            &mesh(json!({"size": 2, "fixed": "x", "other": true})),
        )
        .await
        .expect("created");
    assert_eq!(
        made.data["spec"],
        json!({"size": 2, "fixed": "x", "mode": "A"})
    );
    let change = Patch::Merge(json!({"spec": {"fixed": "y"}}));
    let (_, text) = message(meshes.patch("m", &PatchParams::default(), &change).await);
    assert!(
        text.ends_with("spec.fixed: Invalid value: \"y\": fixed is immutable"),
        "{text}"
    );
    let status = Patch::Merge(json!({"status": {"ready": true}, "spec": {"size": 5}}));
    let patched = meshes
        .patch_status("m", &PatchParams::default(), &status)
        .await
        .expect("patched");
    assert_eq!(patched.data["spec"]["size"], 2);
    assert_eq!(patched.metadata.generation, Some(1));
    definitions
        .delete("meshes.example.dev", &DeleteParams::default())
        .await
        .expect("deleting");
    let waiting = meshes.get("m").await.expect("it has a finalizer");
    assert!(waiting.metadata.name.is_some());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let wait = kube::runtime::wait::conditions::is_deleted;
    let uid = definitions
        .get("meshes.example.dev")
        .await
        .expect("terminating")
        .metadata
        .uid
        .unwrap_or_default();
    meshes
        .patch("m", &PatchParams::default(), &free)
        .await
        .expect("freed");
    kube::runtime::wait::await_condition(definitions, "meshes.example.dev", wait(&uid))
        .await
        .expect("gone");
    server.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let (server, kube) = start().await;
    let namespaces: Api<Namespace> = Api::all(kube.clone());
    namespaces
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": "demo"}})),
        )
        .await
        .expect("created");
    let services: Api<Service> = Api::namespaced(kube, "demo");
    let made = services
        .create(
            &PostParams::default(),
            &from(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})),
        )
        .await
        .expect("created");
    let address = made.spec.as_ref().and_then(|spec| spec.cluster_ip.clone());
    assert!(
        address
            .as_ref()
            .is_some_and(|address| address.starts_with("10.100."))
    );
    let ca = server.ca_pem().to_owned();
    let folder = server.stop().await;
    let mut options = super::ServerOptions::new(folder.path());
    options.issuer = "https://example".into();
    let server = super::serve(options).await.expect("started again");
    assert_eq!(server.ca_pem(), ca);
    let services: Api<Service> = Api::namespaced(client(&server, server.admin_token()), "demo");
    let found = services.get("s").await.expect("still there");
    assert_eq!(
        found.metadata.resource_version,
        made.metadata.resource_version
    );
    assert_eq!(found.spec.and_then(|spec| spec.cluster_ip), address);
    server.stop().await;
}
