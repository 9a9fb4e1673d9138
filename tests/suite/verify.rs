//! `meshctl verify` with real Envoys in between: all is well, and then each thing broken in turn is told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::World;

/// The findings by code and what they are about.
struct Findings(Vec<Value>);

impl Findings {
    fn of(stdout: &str) -> Self {
        let lines = stdout
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let findings = lines.filter(|line| line["event"] == "finding");
        Findings(findings.map(|line| line["finding"].clone()).collect())
    }

    #[track_caller]
    fn get(&self, code: &str, about: &str) -> &Value {
        let found = self
            .0
            .iter()
            .find(|finding| finding["code"] == code && finding["about"] == about);
        found.unwrap_or_else(|| panic!("no {code} of {about} in {:#?}", self.0))
    }

    fn failed(&self) -> BTreeSet<String> {
        let failed = self.0.iter().filter(|one| one["outcome"] == "failed");
        let named = |one: &Value| {
            assert!(one["hint"].is_string(), "what fails has a hint: {one}");
            format!("{} {}", one["code"], one["about"]).replace('"', "")
        };
        failed.map(named).collect()
    }
}

const VERIFY: [&str; 6] = [
    "verify",
    "--sandbox",
    "--output",
    "json",
    "--patience",
    "5s",
];

#[track_caller]
fn verify(world: &World, exit: i32) -> Findings {
    let run = world.run(&VERIFY).exits_with(exit);
    Findings::of(&run.stdout())
}

/// Verifies until exactly this fails: proxies follow a change in their own time, each by itself.
#[track_caller]
fn verify_until(world: &World, wanted: &[&str]) -> Findings {
    let wanted: BTreeSet<String> = wanted.iter().copied().map(String::from).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let run = world.run(&VERIFY);
        let found = Findings::of(&run.stdout());
        if found.failed() == wanted {
            run.exits_with(if wanted.is_empty() { 0 } else { 14 });
            return found;
        }
        let failed = found.failed();
        assert!(Instant::now() < deadline, "{failed:?}, wanted {wanted:?}");
    }
}

/// Changes what the environment is made of behind meshctl's back.
struct Hand {
    client: kube::Client,
    runtime: tokio::runtime::Runtime,
}

impl Hand {
    fn of(world: &World) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(world.kubernetes());
        Hand { client, runtime }
    }

    fn api(&self, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("appmesh.k8s.aws", "v1beta2", kind);
        let resource = ApiResource::from_gvk(&kind);
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Changes an object of App Mesh's, and waits until its controller has dealt with it.
    fn change(&self, kind: &str, namespace: Option<&str>, name: &str, patch: &Value) {
        let api = self.api(kind, namespace);
        self.runtime.block_on(async {
            let params = PatchParams::default();
            let patch: Patch<()> = Patch::Json(serde_json::from_value(patch.clone()).unwrap());
            let patched = api.patch(name, &params, &patch);
            let wanted = patched.await.unwrap().metadata.generation;
            loop {
                let live = api.get(name).await.unwrap();
                if live.data["status"]["observedGeneration"].as_i64() >= wanted {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    /// Changes a Deployment, and waits until its pods are as it says.
    fn redeploy(&self, namespace: &str, name: &str, patch: &Value) {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        self.runtime.block_on(async {
            let params = PatchParams::default();
            let patched = api
                .patch(name, &params, &Patch::Merge(patch))
                .await
                .unwrap();
            let wanted = patched.metadata.generation;
            loop {
                let live = api.get(name).await.unwrap();
                let replicas = live.spec.replicas;
                let status = live.status.unwrap_or_default();
                let all = [
                    status.replicas,
                    status.updated_replicas,
                    status.available_replicas,
                ];
                if status.observed_generation >= wanted
                    && all
                        .iter()
                        .all(|count| count.unwrap_or(0) == replicas.unwrap_or(1))
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

fn set(path: &str, value: Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

#[test]
fn everything_is_proved_and_whatever_is_broken_is_told() {
    let world = World::with_data_plane();
    world.start_sandbox();
    world.run(&["verify", "--sandbox"]).exits_with(6);
    world.run(&["up", "--sandbox"]).succeeds();
    world
        .run(&["canary", "--weight", "40", "--sandbox"])
        .succeeds();

    // All is well, and there is evidence of it.
    let junit = world.path().join("verify.xml");
    let arguments = [
        "verify",
        "--sandbox",
        "--output",
        "json",
        "--junit",
        junit.to_str().unwrap(),
    ];
    let run = world.run(&arguments).succeeds();
    let found = Findings::of(&run.stdout());
    assert_eq!(found.failed(), BTreeSet::new());
    let evidence = |code: &str, about: &str| {
        let finding = found.get(code, about);
        assert_eq!(finding["outcome"], "passed", "{finding:#}");
        finding["evidence"].clone()
    };
    for service in ["frontend", "backend", "database"] {
        let proxies = evidence("proxies", service);
        assert!(
            proxies["pods"]
                .as_array()
                .unwrap()
                .iter()
                .all(|pod| pod["live"] == true)
        );
        evidence("probes", service);
        let routing = evidence("routing", service);
        let lines = routing["logged"]["lines"].as_object().unwrap();
        assert!(
            lines.values().any(|lines| lines.as_u64().unwrap() > 0),
            "{routing:#}"
        );
        let egress = evidence("egress", service);
        for pod in egress.as_array().unwrap() {
            assert_eq!(pod["unlisted"]["answer"], "refused", "{egress:#}");
        }
    }
    let split = evidence("split", "backend");
    let (v1, v2) = (&split["requests"]["v1"], &split["requests"]["v2"]);
    assert!(
        v1.as_u64().unwrap() + v2.as_u64().unwrap() >= 200,
        "{split:#}"
    );
    let retries = evidence("retries", "backend");
    assert_eq!(retries["proxies"][0]["given"]["retries"], 2, "{retries:#}");
    assert_eq!(
        retries["proxies"].as_array().unwrap().len(),
        2,
        "one for each pod that calls"
    );
    evidence("timeouts", "database");
    let traces = evidence("traces", "environment");
    let met: BTreeSet<&str> = traces["traces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trace| trace["met"]["backend"].as_str().unwrap())
        .collect();
    assert_eq!(met, BTreeSet::from(["v1", "v2"]));
    let calls = evidence("service-graph", "environment")["calls"].clone();
    for version in ["v1", "v2"] {
        let node = format!("meshctl-demo/backend-{version}_demo");
        let database = json!("meshctl-demo/database-v1_demo");
        assert!(
            calls["meshctl-demo/frontend-v1_demo"]
                .as_array()
                .unwrap()
                .contains(&json!(node)),
            "{calls:#}"
        );
        assert!(
            calls[&node].as_array().unwrap().contains(&database),
            "{calls:#}"
        );
    }
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(
        xml.contains("failures=\"0\"")
            && xml.contains("classname=\"verify.egress\" name=\"frontend\""),
        "{xml}"
    );

    let hand = Hand::of(&world);
    let router = |patch: Value| hand.change("VirtualRouter", Some("demo"), "backend", &patch);

    // The way to the service is another.
    router(set(
        "/spec/routes/0/httpRoute/match/prefix",
        json!("/nowhere"),
    ));
    let failed = verify(&world, 14).failed();
    for wanted in [
        "entrance frontend",
        "routing backend",
        "split backend",
        "traces environment",
    ] {
        assert!(failed.contains(wanted), "{wanted}: {failed:?}");
    }
    router(set("/spec/routes/0/httpRoute/match/prefix", json!("/")));

    // Retries and time-outs by hand.
    router(set(
        "/spec/routes/0/httpRoute/retryPolicy/maxRetries",
        json!(7),
    ));
    router(set(
        "/spec/routes/0/httpRoute/timeout/perRequest/value",
        json!(4321),
    ));
    let found = verify_until(&world, &["retries backend", "timeouts backend"]);
    let why = found.get("timeouts", "backend")["reason"].to_string();
    assert!(why.contains("waits 4321 ms, wanted 15000 ms"), "{why}");
    world.run(&["up", "--sandbox"]).succeeds();

    // Everything may leave the mesh.
    let filter = |kind: &str| {
        hand.change(
            "Mesh",
            None,
            "meshctl-demo",
            &set("/spec/egressFilter/type", json!(kind)),
        )
    };
    filter("ALLOW_ALL");
    let everywhere = ["egress backend", "egress database", "egress frontend"];
    let found = verify_until(&world, &everywhere);
    let why = found.get("egress", "frontend")["reason"].to_string();
    assert!(
        why.contains("reaches database, which is no backend of it: HTTP 200"),
        "{why}"
    );
    filter("DROP_ALL");
    verify_until(&world, &[]);

    // The daemons may not send segments any more.
    let role = "meshctl-demo-proxy";
    let permissions = hand.runtime.block_on(async {
        let iam = world.clients().await.iam;
        let get = iam.get_role_policy().role_name(role).policy_name("meshctl");
        let document = get.send().await.unwrap().policy_document;
        let silent = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "appmesh:StreamAggregatedResources", "Resource": "*"}]});
        let put = iam.put_role_policy().role_name(role).policy_name("meshctl");
        put.policy_document(silent.to_string())
            .send()
            .await
            .unwrap();
        document
    });
    assert!(permissions.contains("PutTraceSegments"), "{permissions}");
    verify_until(&world, &["service-graph environment", "traces environment"]);
    world.run(&["up", "--sandbox"]).succeeds();

    // Somebody changes the weights past the cluster, and proxies follow.
    hand.runtime.block_on(async {
        let mesh = world.clients().await.app_mesh;
        let (name, router) = ("meshctl-demo", "backend_demo");
        let describe = mesh.describe_route().mesh_name(name);
        let described = describe.virtual_router_name(router).route_name("backend");
        let mut spec = described.send().await.unwrap().route.unwrap().spec.unwrap();
        let route = spec.http_route.as_mut().unwrap();
        let targets = &mut route.action.as_mut().unwrap().weighted_targets;
        for target in targets.iter_mut() {
            target.weight = if target.virtual_node.contains("v1") {
                95
            } else {
                5
            };
        }
        let update = mesh
            .update_route()
            .mesh_name(name)
            .virtual_router_name(router);
        update
            .route_name("backend")
            .spec(spec)
            .send()
            .await
            .unwrap();
    });
    let found = verify_until(&world, &["split backend"]);
    let evidence = &found.get("split", "backend")["evidence"];
    assert_eq!(
        evidence["split"]["configured"][1],
        json!(["v2", 40]),
        "{evidence:#}"
    );
    assert_eq!(
        evidence["split"]["accepted"][1],
        json!(["v2", 5]),
        "{evidence:#}"
    );

    // A version loses its proxy, and then its pods.
    let bare = json!({"spec": {"template": {"metadata": {"annotations": {"appmesh.k8s.aws/sidecarInjectorWebhook": "disabled"}}}}});
    hand.redeploy("demo", "backend-v2", &bare);
    let found = verify(&world, 14);
    assert!(
        found.failed().contains("proxies backend"),
        "{:?}",
        found.failed()
    );
    let why = found.get("proxies", "backend")["reason"].to_string();
    assert!(
        why.contains("backend-v2-") && why.contains("has no proxy"),
        "{why}"
    );
    hand.redeploy("demo", "backend-v2", &json!({"spec": {"replicas": 0}}));
    let found = verify(&world, 14);
    let why = found.get("probes", "backend")["reason"].to_string();
    assert!(why.contains("0 of 1 pods of v2 are ready"), "{why}");
}
