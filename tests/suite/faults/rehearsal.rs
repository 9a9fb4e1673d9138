//! `meshctl sandbox faults`, as somebody rehearses with it.

use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::World;
use crate::wire::{Request, Sandbox, exchange, exchange_tls};

fn list(world: &World) -> Vec<Value> {
    let listed = world.run(&["sandbox", "faults", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(listed.succeeds().stdout().trim()).unwrap();
    listed["faults"].as_array().unwrap().clone()
}

fn add(world: &World, rule: &[&str]) {
    let line = [&["sandbox", "faults", "add"], rule].concat();
    world.run(&line).succeeds();
}

#[test]
fn each_service_refuses_in_its_own_terms() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let sandbox = Sandbox::of(&world);
    let form = |service: &str, action: &str, version: &str| {
        Request::form(service, &format!("Action={action}&Version={version}"))
    };
    let (ecr, logs) = (
        "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories",
        "Logs_20140328.DescribeLogGroups",
    );
    // Call, status and code when throttled.
    let calls = [
        (
            form("sts", "GetCallerIdentity", "2011-06-15"),
            400,
            "Throttling",
        ),
        (form("iam", "ListRoles", "2010-05-08"), 400, "Throttling"),
        (
            form("cloudformation", "DescribeStacks", "2010-05-15"),
            400,
            "Throttling",
        ),
        (
            form(
                "elasticloadbalancing",
                "DescribeLoadBalancers",
                "2015-12-01",
            ),
            400,
            "Throttling",
        ),
        (
            form("ec2", "DescribeVpcs", "2016-11-15"),
            503,
            "RequestLimitExceeded",
        ),
        (Request::json("ecr", ecr, "{}"), 400, "ThrottlingException"),
        (
            Request::json("logs", logs, "{}"),
            400,
            "ThrottlingException",
        ),
        (
            Request::new("eks", "GET", "/clusters", b""),
            429,
            "throttlingexception",
        ),
        (
            Request::new("appmesh", "GET", "/v20190125/meshes", b""),
            429,
            "toomanyrequestsexception",
        ),
        (
            Request::new("xray", "POST", "/GetSamplingRules", b"{}"),
            429,
            "throttledexception",
        ),
    ];
    let ask = |request: &Request| {
        let signed = request.clone().signed(&sandbox.keys());
        exchange(sandbox.aws(), &signed.bytes())
    };
    for (request, status, code) in &calls {
        assert_eq!(ask(request).status, 200, "{request:?}");
        for (kind, wanted) in [
            ("throttling", *status),
            ("unavailable", 503),
            ("internal-error", 500),
        ] {
            add(&world, &[&format!("{}:*", request.service), kind]);
            let answer = ask(request);
            assert_eq!(answer.status, wanted, "{kind}: {answer:?}");
            assert!(
                !answer.code().is_empty() && !answer.message().is_empty(),
                "{answer:?}"
            );
            if kind == "throttling" {
                assert_eq!(answer.code(), *code, "{answer:?}");
            }
            // One call, then no more.
            assert_eq!(ask(request).status, 200, "{request:?}");
        }
        for kind in ["denied", "expired"] {
            add(&world, &[&format!("{}:*", request.service), kind]);
            let answer = ask(request);
            assert!(matches!(answer.status, 400 | 403), "{kind}: {answer:?}");
            let told = answer.code().to_lowercase();
            let telling = ["denied", "unauthorized", "expired"];
            assert!(telling.iter().any(|word| told.contains(word)), "{told}");
        }
    }
    assert!(list(&world).iter().all(|rule| rule["struck"] == 1));
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    assert_eq!(list(&world), Vec::<Value>::new());
}

#[test]
fn connections_break_before_and_after_the_effect() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let sandbox = Sandbox::of(&world);
    let create = |name: &str| {
        let input = json!({"logGroupName": name}).to_string();
        let request = Request::json("logs", "Logs_20140328.CreateLogGroup", &input);
        exchange(sandbox.aws(), &request.signed(&sandbox.keys()).bytes())
    };
    add(&world, &["logs:CreateLogGroup", "reset"]);
    assert_eq!(create("a").status, 0, "no answer");
    assert_eq!(create("a").status, 200, "nothing had been done");
    add(&world, &["logs:CreateLogGroup", "lost"]);
    assert_eq!(create("b").status, 0, "no answer");
    assert_eq!(create("b").code(), "ResourceAlreadyExistsException");
    add(&world, &["logs:CreateLogGroup", "slow", "--seconds", "0.3"]);
    let began = Instant::now();
    assert_eq!(create("c").status, 200);
    assert!(began.elapsed().as_millis() >= 300);
}

#[test]
fn the_cluster_and_the_registry_fail_alike() {
    let world = World::without_data_plane();
    world.start_sandbox();
    world.run(&["up", "--sandbox"]).succeeds();
    let sandbox = Sandbox::of(&world);
    let cluster = sandbox.get("eks", "/clusters/meshctl-demo");
    let server = cluster["cluster"]["endpoint"].as_str().unwrap();
    let server = server.trim_start_matches("https://").parse().unwrap();
    let bearer = world.bearer();
    let map = |name: &str| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let path = "/api/v1/namespaces/default/configmaps";
        let request = Request::new("", "POST", path, object.to_string().as_bytes())
            .header("authorization", &bearer)
            .header("content-type", "application/json");
        exchange_tls(server, &request.bytes())
    };
    for (kind, status) in [
        ("throttling", 429),
        ("unavailable", 503),
        ("internal-error", 500),
        ("denied", 403),
        ("expired", 401),
        ("reset", 0),
    ] {
        add(&world, &["kubernetes:create:configmaps", kind]);
        let answer = map("x");
        assert_eq!(answer.status, status, "{kind}: {answer:?}");
        if status > 0 {
            let body: Value = serde_json::from_str(&answer.body()).unwrap();
            assert_eq!(
                (&body["kind"], &body["code"]),
                (&json!("Status"), &json!(status))
            );
        }
    }
    assert_eq!(map("x").status, 201, "nothing had been done");
    add(&world, &["kubernetes:create:configmaps", "lost"]);
    assert_eq!(map("y").status, 0);
    assert_eq!(map("y").status, 409, "it had been done");

    let target = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
    let login = sandbox.json("ecr", target, &json!({}));
    let login = login["authorizationData"][0]["authorizationToken"].clone();
    let login = format!("Basic {}", login.as_str().unwrap());
    let begin = || {
        let path = "/v2/meshctl-demo/backend/blobs/uploads/";
        let request = Request::new("", "POST", path, b"").header("authorization", &login);
        exchange(sandbox.port("ecrPort"), &request.bytes()).status
    };
    for (kind, status) in [
        ("throttling", 429),
        ("unavailable", 503),
        ("internal-error", 500),
        ("denied", 403),
        ("reset", 0),
        ("lost", 0),
    ] {
        add(&world, &["registry:POST:uploads", kind]);
        assert_eq!(begin(), status, "{kind}");
    }
    assert_eq!(begin(), 202);
}

#[test]
fn the_tool_rides_out_what_passes() {
    let world = World::without_data_plane();
    let file = world.path().join("faults.yaml");
    let rules = "faults:
  - {calls: '*:Create*', kind: throttling, probability: 0.2, seed: 1, count: 8}
  - {calls: '*:Describe*', kind: unavailable, probability: 0.05, seed: 2, count: 8}
  - {calls: 'kubernetes:patch:*', kind: unavailable, probability: 0.1, seed: 3, count: 8}
  - {calls: 'kubernetes:get:*', kind: reset, probability: 0.1, seed: 4, count: 8}
  - {calls: 'kubernetes:watch:ingressclasses.networking.k8s.io', kind: slow, seconds: 10, count: 9, caller: controllers}
  - {calls: 'registry:HEAD:blobs', kind: throttling, count: 6}
  - {calls: 'registry:HEAD:blobs', kind: unavailable, nth: 9}
  - {calls: 'registry:PUT:manifests', kind: throttling, count: 6}
";
    std::fs::write(&file, rules).unwrap();
    let start = [
        "sandbox",
        "start",
        "--no-data-plane",
        "--speed",
        "2000",
        "--faults",
    ];
    world
        .run(&[&start[..], &["faults.yaml"]].concat())
        .succeeds();
    world.run(&["up", "--sandbox"]).succeeds();
    let listed = list(&world);
    assert_eq!(listed.len(), 8);
    for rule in &listed {
        assert!(rule["struck"].as_u64().unwrap() > 0, "{rule}");
    }
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    world.run(&["plan", "--sandbox"]).succeeds();
}

#[test]
fn bad_rules_are_refused_with_their_place() {
    let world = World::without_data_plane();
    let refused = |text: &str| {
        std::fs::write(world.path().join("faults.yaml"), text).unwrap();
        let start = [
            "sandbox",
            "start",
            "--no-data-plane",
            "--faults",
            "faults.yaml",
        ];
        world.run(&start).exits_with(4).stderr()
    };
    for (text, place, said) in [
        (
            "faults:\n  - calls: eks:CreateClustr\n    kind: reset\n",
            "faults.yaml:2:12",
            "calls: the sandbox's eks has no operation `CreateClustr`",
        ),
        (
            "faults:\n  - calls: eks:*\n    kind: explode\n",
            "faults.yaml:3:11",
            "explode",
        ),
        (
            "faults:\n  - calls: eks:*\n    kind: reset\n    seconds: 1\n",
            "faults.yaml:4:14",
            "seconds: a fault of the kind reset takes no time",
        ),
        (
            "faults:\n  - calls: eks:*\n    kind: reset\n    often: 1\n",
            "faults.yaml:4",
            "unknown field `often`",
        ),
        (
            "faults:\n  - kind: reset\n",
            "faults.yaml:2",
            "missing field `calls`",
        ),
        (
            "faults:\n  - {calls: 'eks:DescribeCluster', kind: fails}\n",
            "faults.yaml:2",
            "a fault of the kind fails is for cloudformation:CreateStack",
        ),
        (
            "faults:\n  - {calls: 'eks:*', kind: cut}\n",
            "faults.yaml:2",
            "for watches of Kubernetes",
        ),
        ("rules: []\n", "faults.yaml:1", "unknown field `rules`"),
        ("faults: 3\n", "faults.yaml:1", "sequence"),
        ("", "faults.yaml", "faults"),
    ] {
        let stderr = refused(text);
        assert!(
            stderr.contains(place) && stderr.contains(said),
            "{text}: {stderr}"
        );
    }
    // Nothing was started for it.
    world.run(&["sandbox", "status"]).exits_with(1);
    world.start_sandbox();
    let add = |rule: &[&str]| world.run(&[&["sandbox", "faults", "add"], rule].concat());
    let stderr = add(&["kubernetes:apply:pods", "reset"])
        .exits_with(4)
        .stderr();
    assert!(
        stderr.contains("`apply` is no verb of Kubernetes"),
        "{stderr}"
    );
    add(&["eks:*", "explode"]).exits_with(64);
    add(&["eks:*", "reset", "--probability", "2"]).exits_with(4);
    assert_eq!(list(&world), Vec::<Value>::new());
    world.run(&["sandbox", "stop"]).succeeds();
    let stderr = add(&["eks:*", "reset"]).exits_with(1).stderr();
    assert!(stderr.contains("no sandbox runs"), "{stderr}");
}

/// Runs a command until it succeeds, as its hint says; how often that took.
#[track_caller]
fn until_it_succeeds(world: &World, command: &[&str]) -> usize {
    let mut said = String::new();
    for attempt in 1..=5 {
        let run = world.run(command);
        if run.code() == 0 {
            return attempt;
        }
        said += &run.stderr();
    }
    panic!("{command:?} never succeeds: {said}");
}

fn all_struck(world: &World) {
    for rule in list(world) {
        assert_ne!(rule["struck"], 0, "{rule}");
    }
    world.run(&["sandbox", "faults", "clear"]).succeeds();
}

#[test]
fn what_fails_after_it_was_begun_is_made_and_removed_all_the_same() {
    let world = World::without_data_plane();
    world.start_sandbox();
    for call in [
        "cloudformation:CreateStack",
        "eks:CreateNodegroup",
        "eks:CreateAddon",
        "elasticloadbalancing:CreateLoadBalancer",
    ] {
        add(&world, &[call, "fails", "--caller", "any"]);
    }
    let up = until_it_succeeds(&world, &["up", "--sandbox"]);
    assert!(up > 1, "a stack that rolls back is told");
    all_struck(&world);
    world.run(&["plan", "--sandbox"]).succeeds();

    // A deletion that fails once is not worth a person's time.
    for call in [
        "cloudformation:DeleteStack",
        "eks:DeleteNodegroup",
        "eks:DeleteAddon",
    ] {
        add(&world, &[call, "fails"]);
    }
    world.run(&["down", "--sandbox", "--yes"]).succeeds();
    all_struck(&world);
    world.run(&["audit", "--sandbox"]).succeeds();
}

#[test]
fn a_deletion_that_fails_each_time_is_told_with_the_service_s_words() {
    let world = World::without_data_plane();
    world.start_sandbox();
    world.run(&["up", "--sandbox"]).succeeds();
    for (call, resource, issue) in [
        (
            "eks:DeleteAddon",
            "add-on coredns: DELETE_FAILED",
            "InternalFailure: ",
        ),
        (
            "eks:DeleteNodegroup",
            "node group meshctl-demo-workers: DELETE_FAILED",
            "Ec2LaunchTemplateDeletionFailure: ",
        ),
        (
            "cloudformation:DeleteStack",
            "DELETE_FAILED",
            "Internal Failure",
        ),
    ] {
        add(&world, &[call, "fails", "--count", "100"]);
        let down = world.run(&["down", "--sandbox", "--yes"]).exits_with(1);
        let said = down.stderr();
        for words in [resource, issue, "meshctl audit", "meshctl down"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        all_struck(&world);
    }
    world.run(&["down", "--sandbox", "--yes"]).succeeds();
    world.run(&["audit", "--sandbox"]).succeeds();
}

#[test]
fn what_is_late_away_or_forgotten_is_ridden_out_or_told() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let sandbox = Sandbox::of(&world);
    let iam = |action: &str| {
        let request = Request::form("iam", &format!("{action}&Version=2010-05-08&RoleName=late"));
        exchange(sandbox.aws(), &request.signed(&sandbox.keys()).bytes())
    };
    add(&world, &["iam:GetRole", "stale", "--seconds", "60"]);
    let trust = "%7B%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22sts%3AAssumeRole%22%2C%22Principal%22%3A%7B%22AWS%22%3A%22*%22%7D%7D%5D%7D";
    let created = iam(&format!(
        "Action=CreateRole&AssumeRolePolicyDocument={trust}"
    ));
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(iam("Action=GetRole").code(), "NoSuchEntity", "not yet");
    assert_eq!(iam("Action=GetRole").status, 200, "now");
    world.run(&["sandbox", "faults", "clear"]).succeeds();

    for rule in [
        &["iam:*", "stale", "--seconds", "1", "--probability", "0.3"][..],
        &["eks:*", "stale", "--seconds", "1", "--probability", "0.3"],
        &["registry:PUT:uploads", "drop-upload"],
        &["kubernetes:patch:*", "restart", "--nth", "20"],
    ] {
        add(&world, rule);
    }
    until_it_succeeds(&world, &["up", "--sandbox"]);
    all_struck(&world);
    world.run(&["plan", "--sandbox"]).succeeds();

    // A failure that has no advice of its own gets it from the command.
    add(
        &world,
        &[
            "kubernetes:get:ingresses.networking.k8s.io",
            "internal-error",
        ],
    );
    let canary = world.run(&["canary", "--sandbox", "--weight", "10"]);
    let stderr = canary.exits_with(13).stderr();
    assert!(stderr.contains("Internal error occurred"), "{stderr}");
    let next = "hint: run the same command again";
    assert!(stderr.contains(next), "{stderr}");
    all_struck(&world);

    // Credentials that expire while it runs.
    add(
        &world,
        &["*", "expired", "--nth", "20", "--count", "100000"],
    );
    let down = world.run(&["down", "--sandbox", "--yes"]);
    assert_ne!(down.code(), 0, "{}", down.stdout());
    assert!(down.stderr().contains("expired"), "{}", down.stderr());
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    until_it_succeeds(&world, &["down", "--sandbox", "--yes"]);
}
