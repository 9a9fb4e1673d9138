//! Several hands on one environment at once: they converge, or one of them is told clearly who is in its way.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::harness::World;
use crate::lifecycle::last_event;
use crate::wire::Sandbox;

/// How long anything here may take: longer than the longest wait for a finalizer that nobody is left to remove.
const PATIENCE: Duration = Duration::from_secs(400);

/// A running command and where it writes.
struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Its exit code.
    #[track_caller]
    fn ends(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(
                began.elapsed() < PATIENCE,
                "it does not end: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    fn says(&self, words: &str) {
        wait_until(words, || self.said().contains(words).then_some(()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Two machines that reach one account: two homes, one sandbox.
struct Machines {
    world: World,
}

impl Machines {
    fn new() -> Self {
        let world = World::without_data_plane();
        world.start_sandbox();
        let other = world.path().join("other");
        std::fs::create_dir(&other).unwrap();
        // All that a second machine shares with the first is how to reach the account.
        std::os::unix::fs::symlink(world.sandbox_directory(), other.join("sandbox")).unwrap();
        Machines { world }
    }

    /// Starts a command on the first or the second machine.
    fn start(&self, machine: usize, arguments: &[&str]) -> Running {
        let mut command = self.world.command(arguments);
        if machine == 2 {
            let home = self.world.path().join("other");
            command.env("HOME", &home).env("MESHCTL_STATE_DIR", &home);
        }
        let name = format!("output-{machine}-{}", fastrand::u64(..));
        let output = self.world.path().join(name);
        let file = std::fs::File::create(&output).unwrap();
        let child = command
            .stdout(Stdio::from(file.try_clone().unwrap()))
            .stderr(Stdio::from(file))
            .spawn()
            .unwrap();
        Running { child, output }
    }

    /// Waits until the tool has made such a call that many times.
    #[track_caller]
    fn wait_for_call(&self, call: &str) {
        wait_until(call, || {
            let journal = Sandbox::of(&self.world).control("GET", "journal", &Value::Null);
            let mut calls = journal.as_array().unwrap().iter();
            calls
                .any(|entry| entry["call"] == call && entry["internal"] == false)
                .then_some(())
        });
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) {
        self.world.run(arguments).succeeds();
    }

    /// The environment is as wanted, and can be removed without a trace.
    #[track_caller]
    fn is_whole_and_goes(&self) {
        self.run(&["plan", "--sandbox"]);
        self.leaves_nothing();
    }

    #[track_caller]
    fn leaves_nothing(&self) {
        let down = self.world.run(&["down", "--sandbox", "--yes"]).succeeds();
        assert!(
            down.stdout().ends_with("nothing left\n"),
            "{}",
            down.stdout()
        );
    }
}

const UP: &[&str] = &["up", "--sandbox"];
const DOWN: &[&str] = &["down", "--sandbox", "--yes"];

#[test]
fn two_ups_from_two_machines_make_one_environment() {
    let machines = Machines::new();
    let mut one = machines.start(1, UP);
    let mut other = machines.start(2, UP);
    for run in [&mut one, &mut other] {
        assert_eq!(run.ends(), 0, "{}", run.said());
    }
    machines.is_whole_and_goes();
}

#[test]
fn a_second_run_on_one_machine_is_told_who_is_there() {
    let machines = Machines::new();
    let mut up = machines.start(1, UP);
    machines.wait_for_call("eks:CreateCluster");
    let refused = machines.world.run(DOWN).exits_with(6);
    let said = refused.stderr();
    for words in [
        "is in use by `meshctl up`",
        &format!("process {}", up.child.id()),
        "since 20",
        "wait until it is done",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(up.ends(), 0, "{}", up.said());
    machines.is_whole_and_goes();
}

/// A run that another one was in the way of says what to do next, or did not notice.
#[track_caller]
fn ends_well_or_says_what_to_do(run: &mut Running) {
    let code = run.ends();
    let said = run.said();
    assert!(
        code == 0
            || ["hint:", "goes on from here", "go on with", "goes with"]
                .iter()
                .any(|words| said.contains(words)),
        "exit {code}, and not what to do: {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

/// `down` from a second machine once `up` on the first has made a call.
#[track_caller]
fn down_after(moment: &str) {
    let machines = Machines::new();
    let mut up = machines.start(1, UP);
    machines.wait_for_call(moment);
    let mut down = machines.start(2, DOWN);
    ends_well_or_says_what_to_do(&mut down);
    ends_well_or_says_what_to_do(&mut up);
    machines.leaves_nothing();
    machines.run(&["audit", "--sandbox"]);
}

#[test]
fn down_from_another_machine_while_up_makes_the_network_ends_with_nothing() {
    down_after("cloudformation:CreateStack");
}

#[test]
fn down_from_another_machine_while_up_makes_the_nodes_ends_with_nothing() {
    down_after("eks:CreateNodegroup");
}

#[test]
fn up_while_another_machine_takes_all_away_ends_whole() {
    let machines = Machines::new();
    machines.run(UP);
    let mut down = machines.start(1, DOWN);
    machines.wait_for_call("eks:DeleteCluster");
    let mut up = machines.start(2, UP);
    ends_well_or_says_what_to_do(&mut up);
    ends_well_or_says_what_to_do(&mut down);
    machines.run(UP);
    machines.is_whole_and_goes();
}

#[test]
fn two_canaries_end_with_the_split_of_one() {
    let machines = Machines::new();
    machines.run(UP);
    let shift = |weight| ["canary", "--weight", weight, "--sandbox"];
    let first = machines.start(1, &shift("10"));
    first.says("proxies have not followed yet");
    // On one machine the second is told who is there.
    let refused = machines.world.run(&shift("30")).exits_with(6);
    assert!(
        refused.stderr().contains("is in use by `meshctl canary`"),
        "{}",
        refused.stderr()
    );
    // Between machines the last one wins, whole.
    let second = machines.start(2, &shift("30"));
    second.says("proxies have not followed yet");
    let status = machines
        .world
        .run(&["canary", "status", "--sandbox", "--output", "json"])
        .succeeds();
    let status = last_event(&status.stdout(), "canary-status")["status"].clone();
    assert_eq!(status["settled"], true, "{status}");
    assert_eq!(status["versions"][0]["weight"], 70, "{status}");
    assert_eq!(status["versions"][1]["weight"], 30, "{status}");
    drop((first, second));
    machines.is_whole_and_goes();
}

/// Patches an object as somebody with kubectl does.
async fn edit(world: &World, api: (&str, &str, &str), name: &str, patch: Value) {
    let (group, version, kind) = api;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let objects: Api<DynamicObject> =
        Api::namespaced_with(world.kubernetes().await, "demo", &resource);
    let params = PatchParams {
        field_manager: Some("kubectl-edit".into()),
        ..PatchParams::default()
    };
    objects
        .patch(name, &params, &Patch::Merge(patch))
        .await
        .unwrap();
}

#[test]
fn what_a_person_changes_by_hand_in_mid_run_is_restored_or_respected() {
    let machines = Machines::new();
    let world = &machines.world;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut up = machines.start(1, UP);
    machines.wait_for_call("kubernetes:patch:deployments.apps");
    runtime.block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(world.kubernetes().await, "demo");
        loop {
            let found = deployments.get_opt("backend-v1").await.unwrap();
            if found.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let apps = ("apps", "v1", "Deployment");
        let containers = json!({"spec": {"replicas": 4}});
        edit(world, apps, "backend-v1", containers).await;
        // A route that a person set is a canary by hand, which `up` does not undo.
        let weights = json!({"spec": {"routes": [{
            "name": "backend",
            "httpRoute": {
                "match": {"prefix": "/"},
                "action": {"weightedTargets": [
                    {"virtualNodeRef": {"name": "backend-v1"}, "weight": 75},
                    {"virtualNodeRef": {"name": "backend-v2"}, "weight": 25},
                ]},
            },
        }]}});
        let router = ("appmesh.k8s.aws", "v1beta2", "VirtualRouter");
        edit(world, router, "backend", weights).await;
    });
    ends_well_or_says_what_to_do(&mut up);
    machines.run(UP);
    machines.run(&["plan", "--sandbox"]);
    runtime.block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(world.kubernetes().await, "demo");
        let spec = deployments.get("backend-v1").await.unwrap().spec;
        assert_eq!(spec.replicas, Some(2), "restored");
    });
    let status = world.run(&["canary", "status", "--sandbox", "--output", "json"]);
    let status = last_event(&status.succeeds().stdout(), "canary-status")["status"].clone();
    assert_eq!(status["versions"][1]["weight"], 25, "respected: {status}");
    machines.leaves_nothing();
}

#[test]
fn an_owner_s_tag_changed_in_mid_run_stops_everything_until_it_is_back() {
    let machines = Machines::new();
    let world = &machines.world;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tag = |owner: &str| {
        runtime.block_on(async {
            let clients = world.clients().await;
            let cluster = clients.eks.describe_cluster().name("meshctl-demo");
            let cluster = cluster.send().await.unwrap().cluster.unwrap();
            let tag = clients
                .eks
                .tag_resource()
                .resource_arn(cluster.arn.unwrap());
            tag.tags("meshctl:environment", owner).send().await.unwrap();
        });
    };
    let mut up = machines.start(1, UP);
    machines.wait_for_call("eks:CreateNodegroup");
    tag("other");
    ends_well_or_says_what_to_do(&mut up);
    for (command, exit) in [(UP, 6), (&["plan", "--sandbox"][..], 2)] {
        let refused = world.run(command).exits_with(exit);
        let said = refused.stderr() + &refused.stdout();
        assert!(said.contains("belongs to environment other"), "{said}");
    }
    tag("demo");
    machines.run(UP);
    machines.is_whole_and_goes();
}

#[test]
fn rules_of_security_groups_changed_in_mid_run_keep_nothing_alive() {
    let machines = Machines::new();
    let mut up = machines.start(1, UP);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clients = runtime.block_on(machines.world.clients());
    let groups = |tag: &str| {
        let filter = json!({"Filter": [{"Name": format!("tag:{tag}"), "Value": ["meshctl-demo"]}]});
        let listed = clients
            .ec2
            .list("DescribeSecurityGroups", filter, "securityGroupInfo");
        runtime.block_on(listed).unwrap()
    };
    machines.wait_for_call("kubernetes:patch:ingresses.networking.k8s.io");
    // The load balancer's own group, once it is open.
    let (group, rule) = wait_until("the load balancer's group is open", || {
        groups("elbv2.k8s.aws/cluster")
            .into_iter()
            .find_map(|group| {
                let rules = group["ipPermissions"].as_array()?;
                let open = rules.iter().find(|rule| rule["ipRanges"].is_array())?;
                Some((group["groupId"].clone(), open.clone()))
            })
    });
    let revoke = json!({
        "GroupId": group,
        "IpPermissions": [{
            "IpProtocol": rule["ipProtocol"],
            "FromPort": rule["fromPort"],
            "ToPort": rule["toPort"],
            "IpRanges": [{"CidrIp": rule["ipRanges"][0]["cidrIp"]}],
        }],
    });
    // The cluster's group lets it in, and so keeps it from being deleted.
    let authorize = json!({
        "GroupId": groups("aws:eks:cluster-name")[0]["groupId"],
        "IpPermissions": [{
            "IpProtocol": "tcp",
            "FromPort": 9999,
            "ToPort": 9999,
            "Groups": [{"GroupId": group}],
        }],
    });
    for (call, input) in [
        ("RevokeSecurityGroupIngress", revoke),
        ("AuthorizeSecurityGroupIngress", authorize),
    ] {
        runtime.block_on(clients.ec2.call(call, input)).unwrap();
    }
    ends_well_or_says_what_to_do(&mut up);
    machines.run(UP);
    machines.is_whole_and_goes();
}
