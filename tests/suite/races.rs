//! Several hands on one environment at once: they converge, or one of them is told clearly who is in its way.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

use crate::harness::World;
use crate::lifecycle::last_event;
use crate::wire::Sandbox;

/// How long anything here may take. On two busy cores an `up` takes a minute, and here two share them; no wait of the
/// tool for what another run takes away is longer.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running command and where it writes.
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Starts a command, and keeps what it says in that folder.
    pub fn start(mut command: Command, folder: &Path) -> Self {
        let output = folder.join(format!("output-{}", fastrand::u64(..)));
        let file = std::fs::File::create(&output).unwrap();
        let child = command
            .stdout(Stdio::from(file.try_clone().unwrap()))
            .stderr(Stdio::from(file))
            .spawn()
            .unwrap();
        Running { child, output }
    }

    /// What it has said so far, on both.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Its exit code.
    #[track_caller]
    pub fn ends(&mut self) -> i32 {
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

    /// Waits until it has said that.
    #[track_caller]
    pub fn says(&self, words: &str) {
        wait_until(words, || self.said().contains(words).then_some(()));
    }

    /// Presses Ctrl-C.
    #[track_caller]
    fn interrupt(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
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
        Running::start(command, self.world.path())
    }

    /// Waits until the tool has made such a call.
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
fn two_ups_from_two_machines_make_one_environment_and_ctrl_c_ends_the_audit() {
    let machines = Machines::new();
    let mut one = machines.start(1, UP);
    let mut other = machines.start(2, UP);
    for run in [&mut one, &mut other] {
        assert_eq!(run.ends(), 0, "{}", run.said());
    }
    machines.run(&["plan", "--sandbox"]);

    // Only the audit asks for that, and gets no answer.
    let add = ["sandbox", "faults", "add", "ec2:DescribeTags", "time-out"];
    machines.run(&[&add[..], &["--count", "100"]].concat());
    let mut down = machines.start(1, DOWN);
    down.says("looking for leftovers");
    down.interrupt();
    assert_eq!(down.ends(), 130, "{}", down.said());
    for words in [
        "error: interrupted: not everything was looked at",
        "hint: `meshctl audit --sandbox` looks again",
    ] {
        assert!(down.said().contains(words), "{words}: {}", down.said());
    }
    machines.run(&["sandbox", "faults", "clear"]);
    machines.run(&["audit", "--sandbox"]);
}

/// A run that another one was in the way of says about each thing that it could not do what to do next; `down` may find
/// in the end what the other one made meanwhile.
#[track_caller]
fn ends_well_or_says_what_to_do(run: &mut Running) {
    let code = run.ends();
    let said = run.said();
    let lines: Vec<&str> = said.lines().collect();
    let errors = lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("error: "));
    let without: Vec<&str> = errors
        .clone()
        .filter(|pair| !pair[1].starts_with("  hint: "))
        .map(|pair| pair[0])
        .collect();
    assert!(
        without.is_empty(),
        "errors without a hint: {without:?} in {said}"
    );
    let next =
        "what was made meanwhile, by another run for example, goes with `meshctl down --sandbox`";
    match code {
        0 => assert_eq!(errors.count(), 0, "{said}"),
        3 => assert!(said.contains(next), "{said}"),
        1 | 6 => assert!(errors.count() > 0, "{said}"),
        code => panic!("exit {code}: {said}"),
    }
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
fn down_from_another_machine_while_up_makes_the_mesh_ends_with_nothing() {
    down_after("kubernetes:patch:meshes.appmesh.k8s.aws");
}

/// `up` from a second machine once `down` on the first has made a call.
#[track_caller]
fn up_after(moment: &str) {
    let machines = Machines::new();
    machines.run(UP);
    let mut down = machines.start(1, DOWN);
    machines.wait_for_call(moment);
    let mut up = machines.start(2, UP);
    ends_well_or_says_what_to_do(&mut up);
    ends_well_or_says_what_to_do(&mut down);
    machines.run(UP);
    machines.is_whole_and_goes();
}

#[test]
fn up_while_another_machine_takes_the_pods_away_ends_whole() {
    up_after("kubernetes:delete:deployments.apps");
}

#[test]
fn up_while_another_machine_takes_the_cluster_away_ends_whole() {
    up_after("eks:DeleteCluster");
}

/// Who else is at work: another run here, another owner, another canary elsewhere.
#[test]
fn whoever_is_in_the_way_is_named_and_the_last_canary_wins_whole() {
    let machines = Machines::new();
    let world = &machines.world;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let tag = |owner: &str| {
        runtime.block_on(async {
            let clients = world.clients().await;
            let cluster = clients.eks.describe_cluster().name("meshctl-demo");
            let cluster = cluster.send().await.unwrap().cluster.unwrap();
            let tag = clients.eks.tag_resource();
            let tag = tag.resource_arn(cluster.arn.unwrap());
            tag.tags("meshctl:environment", owner).send().await.unwrap();
        });
    };
    let mut up = machines.start(1, UP);
    machines.wait_for_call("eks:CreateCluster");
    let refused = world.run(DOWN).exits_with(6);
    let said = refused.stderr();
    for words in [
        "is in use by `meshctl up`",
        &format!("process {}", up.child.id()),
        "since 20",
        "hint: wait until it is done",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // An owner's tag that changes in mid-run stops everything until it is back.
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

    let shift = |weight| ["canary", "--weight", weight, "--sandbox"];
    let first = machines.start(1, &shift("10"));
    first.says("proxies have not followed yet");
    let refused = world.run(&shift("30")).exits_with(6);
    let said = refused.stderr();
    assert!(said.contains("is in use by `meshctl canary`"), "{said}");
    let second = machines.start(2, &shift("30"));
    second.says("proxies have not followed yet");
    let status = world
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

/// What a control plane says of a silent node, its kubelet takes back: else it would be lost for ever.
async fn nodes_called_silent_say_that_they_are_ready(world: &World) {
    let nodes: Api<Node> = Api::all(world.kubernetes().await);
    let is_ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|one| one.conditions.as_ref());
        let ready = conditions.and_then(|all| all.iter().find(|one| one.type_ == "Ready"));
        ready.is_some_and(|ready| ready.status == "True")
    };
    let silent = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    for node in nodes.list(&ListParams::default()).await.unwrap() {
        assert!(is_ready(&node));
        let name = node.metadata.name.unwrap();
        let patch = Patch::Strategic(&silent);
        let lost = nodes
            .patch_status(&name, &PatchParams::default(), &patch)
            .await;
        assert!(!is_ready(&lost.unwrap()));
        let back = await_condition(nodes.clone(), &name, |node: Option<&Node>| {
            node.is_some_and(is_ready)
        });
        let back = tokio::time::timeout(Duration::from_secs(30), back).await;
        back.expect("the node is ready again").unwrap();
    }
}

#[test]
fn what_people_change_by_hand_is_named_with_who_did_it_and_restored_or_respected() {
    let machines = Machines::new();
    let world = &machines.world;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let clients = runtime.block_on(world.clients());
    let ec2 = |call: &str, input: Value| runtime.block_on(clients.ec2.call(call, input)).unwrap();
    let groups = |tag: &str| {
        let filter = json!({"Filter": [{"Name": format!("tag:{tag}"), "Value": ["meshctl-demo"]}]});
        let listed = clients
            .ec2
            .list("DescribeSecurityGroups", filter, "securityGroupInfo");
        runtime.block_on(listed).unwrap()
    };
    // The load balancer's own group, once it is open.
    let entrance = || {
        groups("elbv2.k8s.aws/cluster")
            .into_iter()
            .find_map(|group| {
                let rules = group["ipPermissions"].as_array()?;
                let open = rules.iter().find(|rule| rule["ipRanges"].is_array())?;
                Some((group["groupId"].clone(), open.clone()))
            })
    };
    let close = |group: &Value, rule: &Value| {
        let rule = json!({
            "IpProtocol": rule["ipProtocol"],
            "FromPort": rule["fromPort"],
            "ToPort": rule["toPort"],
            "IpRanges": [{"CidrIp": rule["ipRanges"][0]["cidrIp"]}],
        });
        let input = json!({"GroupId": group, "IpPermissions": [rule]});
        ec2("RevokeSecurityGroupIngress", input);
    };
    let mut up = machines.start(1, UP);
    machines.wait_for_call("kubernetes:patch:deployments.apps");
    runtime.block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(world.kubernetes().await, "demo");
        while deployments.get_opt("backend-v1").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let replicas = json!({"spec": {"replicas": 4}});
        edit(world, ("apps", "v1", "Deployment"), "backend-v1", replicas).await;
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
    let (group, rule) = wait_until("the load balancer's group is open", entrance);
    close(&group, &rule);
    // The cluster's group lets it in, and so keeps it from being deleted.
    let cluster = groups("aws:eks:cluster-name")[0]["groupId"].clone();
    let lets_in = json!([{"IpProtocol": "tcp", "FromPort": 9999, "ToPort": 9999, "Groups": [{"GroupId": group}]}]);
    let input = json!({"GroupId": cluster, "IpPermissions": lets_in});
    ec2("AuthorizeSecurityGroupIngress", input);
    ends_well_or_says_what_to_do(&mut up);
    machines.run(UP);
    machines.run(&["plan", "--sandbox"]);
    assert!(entrance().is_some(), "it is open again");
    let replicas = || {
        runtime.block_on(async {
            let deployments: Api<Deployment> = Api::namespaced(world.kubernetes().await, "demo");
            deployments.get("backend-v1").await.unwrap().spec.replicas
        })
    };
    assert_eq!(replicas(), Some(2), "restored");
    let weight = || {
        let status = world.run(&["canary", "status", "--sandbox", "--output", "json"]);
        last_event(&status.succeeds().stdout(), "canary-status")["status"]["versions"][1]["weight"]
            .clone()
    };
    assert_eq!(weight(), 25, "respected");
    runtime.block_on(nodes_called_silent_say_that_they_are_ready(world));

    // Between runs, each change is named, with who made it where that is known.
    runtime.block_on(async {
        let replicas = json!({"spec": {"replicas": 5}});
        edit(world, ("apps", "v1", "Deployment"), "backend-v1", replicas).await;
        let policy = "arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy";
        let detach = clients.iam.detach_role_policy();
        let detach = detach.role_name("meshctl-demo-node").policy_arn(policy);
        detach.send().await.unwrap();
    });
    let (group, rule) = entrance().unwrap();
    close(&group, &rule);
    let itself = json!([{"IpProtocol": "-1", "Groups": [{"GroupId": cluster}]}]);
    let input = json!({"GroupId": cluster, "IpPermissions": itself});
    ec2("RevokeSecurityGroupIngress", input);
    let tables = json!({"Filter": [{"Name": "tag:Name", "Value": ["meshctl-demo-private-a"]}]});
    let tables = ec2("DescribeRouteTables", tables);
    let table = tables["routeTableSet"][0]["routeTableId"].as_str().unwrap();
    let route = json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"});
    ec2("DeleteRoute", route);
    let plan = world
        .run(&["plan", "--sandbox", "--output", "json"])
        .exits_with(2);
    let finished = plan.stdout();
    let told: Vec<String> = finished
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["outcome"]["change"]["action"] == "update")
        .flat_map(|event| {
            event["outcome"]["change"]["reason"]
                .as_array()
                .unwrap()
                .clone()
        })
        .map(|reason| reason.as_str().unwrap().to_owned())
        .collect();
    let entrance_group = group.as_str().unwrap();
    let cluster = cluster.as_str().unwrap();
    for wanted in [
        "Deployment demo/backend-v1: .spec.replicas: 5 → 2 (kubectl-edit set 5 at 20".to_owned(),
        "meshctl-demo-roles: NodeRole meshctl-demo-node: /ManagedPolicyArns/2: none → arn:aws:iam::aws:policy/AmazonEKS_CNI_Policy".to_owned(),
        format!("meshctl-demo-network: PrivateDefaultRouteA {table}|0.0.0.0/0 was deleted outside of its stack"),
        format!("security group {cluster}: no rule lets nodes and control plane reach each other"),
        format!("security group {entrance_group}"),
    ] {
        assert!(told.iter().any(|line| line.starts_with(&wanted)), "{wanted}: {told:#?}\n{finished}");
    }
    assert_eq!(told.len(), 5, "{told:#?}");
    machines.run(UP);
    machines.run(&["plan", "--sandbox"]);
    assert_eq!(replicas(), Some(2));
    assert!(entrance().is_some());
    assert_eq!(weight(), 25, "a canary in progress stays");
    machines.leaves_nothing();
}
