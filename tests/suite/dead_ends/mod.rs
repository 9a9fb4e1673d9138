//! What is left when something the environment lives on is gone: `down` still ends with nothing left.

mod half;
mod roles;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::faults::drive;
use crate::harness::World;
use crate::lifecycle::last_event;
use crate::races::{Running, wait_until};

/// An environment that is up, and a runtime to change it with behind meshctl's back.
fn environment() -> (World, tokio::runtime::Runtime) {
    let world = World::without_data_plane();
    world.start_sandbox();
    world.run(&["up", "--sandbox"]).succeeds();
    (world, tokio::runtime::Runtime::new().unwrap())
}

fn ends_with_nothing_left(world: &World) {
    let down = world.run(&["down", "--sandbox", "--yes"]).succeeds();
    assert!(
        down.stdout().ends_with("nothing left\n"),
        "{}",
        down.stdout()
    );
}

/// Gives the mesh's controller so many pods, and waits until it has them.
async fn scale_mesh_controller(world: &World, replicas: i32) {
    let deployments: Api<Deployment> = Api::namespaced(world.kubernetes().await, "appmesh-system");
    let scaled = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let name = "appmesh-controller";
    let params = PatchParams::default();
    let patched = deployments.patch(name, &params, &scaled).await;
    let generation = patched.unwrap().metadata.generation;
    loop {
        let status = deployments.get(name).await.unwrap().status.unwrap();
        let pods = status.replicas.unwrap_or(0);
        if status.observed_generation >= generation
            && pods == replicas
            && status.available_replicas.unwrap_or(0) == replicas
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_canary_waits_for_the_mesh_controller_s_webhook_and_down_does_without_it() {
    let (world, runtime) = environment();
    runtime.block_on(scale_mesh_controller(&world, 0));
    let mut canary = world
        .command(&["canary", "--weight", "10", "--sandbox"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Read on to its end: nobody writes into what is closed.
    let mut said = BufReader::new(canary.stderr.take().unwrap()).lines();
    let waits = said
        .by_ref()
        .any(|line| line.unwrap().contains("failed calling webhook"));
    assert!(waits, "it says what it waits for");
    runtime.block_on(scale_mesh_controller(&world, 1));
    // Without a data plane nothing can be measured, which it comes to once the mesh has taken the split.
    let goes_on = said
        .by_ref()
        .any(|line| line.unwrap().contains("proxies have not followed yet"));
    assert!(goes_on, "it goes on by itself");
    canary.kill().unwrap();
    canary.wait().unwrap();
    let status = world.run(&["canary", "status", "--sandbox", "--output", "json"]);
    let status = last_event(&status.succeeds().stdout(), "canary-status")["status"].clone();
    assert_eq!(status["settled"], true, "{status}");
    assert_eq!(status["versions"][1]["weight"], 10, "{status}");
    runtime.block_on(scale_mesh_controller(&world, 0));
    ends_with_nothing_left(&world);
}

#[test]
fn down_without_the_cluster_leaves_nothing_and_up_makes_it_again() {
    let (world, runtime) = environment();
    let delete = || {
        runtime.block_on(async {
            let clients = world.clients().await;
            let (cluster, nodes) = ("meshctl-demo", "meshctl-demo-workers");
            let delete = clients.eks.delete_nodegroup().cluster_name(cluster);
            delete.nodegroup_name(nodes).send().await.unwrap();
            // EKS refuses to delete a cluster that still has nodes.
            loop {
                let listed = clients.eks.list_nodegroups().cluster_name(cluster);
                if listed.send().await.unwrap().nodegroups().is_empty() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            clients
                .eks
                .delete_cluster()
                .name(cluster)
                .send()
                .await
                .unwrap();
        });
    };
    let names_another_run = |up: &mut Running| {
        assert_eq!(up.ends(), 6, "{}", up.said());
        for words in [
            "EKS cluster meshctl-demo:",
            "another run is at work on this environment",
        ] {
            assert!(up.said().contains(words), "{words}: {}", up.said());
        }
    };
    // Deleted while `up` waits for its API, it is not waited for any longer.
    faults(&world, &["kubernetes:get:namespaces", "denied"]);
    let mut up = Running::start(world.command(&["up", "--sandbox"]), world.path());
    up.says("denied by a fault rule");
    delete();
    names_another_run(&mut up);
    assert!(!up.said().contains("after 180 s"), "{}", up.said());
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    world.run(&["up", "--sandbox"]).succeeds();
    // What EKS refuses for a cluster that goes is no trouble of its own.
    for (call, words) in [
        ("eks:CreateAddon", "ACTIVE status"),
        ("eks:AssociateAccessPolicy", "does not show yet"),
    ] {
        runtime.block_on(take_away_an_addon_and_the_administrators(&world));
        let held = drive::add_fault(&world, &json!({"calls": call, "kind": "held"}));
        let mut up = Running::start(world.command(&["up", "--sandbox"]), world.path());
        wait_until(call, || drive::has_struck(&world, held).then_some(()));
        delete();
        world.run(&["sandbox", "faults", "clear"]).succeeds();
        names_another_run(&mut up);
        assert!(!up.said().contains(words), "{}", up.said());
        world.run(&["up", "--sandbox"]).succeeds();
    }
    world.run(&["plan", "--sandbox"]).succeeds();
    delete();
    ends_with_nothing_left(&world);
}

async fn take_away_an_addon_and_the_administrators(world: &World) {
    let eks = world.clients().await.eks;
    let cluster = "meshctl-demo";
    let addon = eks.delete_addon().cluster_name(cluster);
    addon.addon_name("kube-proxy").send().await.unwrap();
    let entries = eks.list_access_entries().cluster_name(cluster);
    for entry in entries.send().await.unwrap().access_entries() {
        let policies = eks.list_associated_access_policies();
        let policies = policies.cluster_name(cluster).principal_arn(entry);
        for policy in policies.send().await.unwrap().associated_access_policies() {
            let taken = eks.disassociate_access_policy().cluster_name(cluster);
            let taken = taken.principal_arn(entry);
            let taken = taken.policy_arn(policy.policy_arn().unwrap());
            taken.send().await.unwrap();
        }
    }
}

#[test]
fn a_stranger_s_interface_in_the_network_is_named_and_left_alone() {
    let (world, runtime) = environment();
    let ec2 = |call: &str, input: serde_json::Value| {
        runtime.block_on(async { world.clients().await.ec2.call(call, input).await.unwrap() })
    };
    let ours = json!({"Filter": [{"Name": "tag:meshctl:environment", "Value": ["demo"]}]});
    let subnets = ec2("DescribeSubnets", ours);
    let subnet = subnets["subnetSet"][0]["subnetId"].clone();
    let made = ec2(
        "CreateNetworkInterface",
        json!({"SubnetId": subnet, "Description": "the other team's"}),
    );
    let stranger = made["networkInterface"]["networkInterfaceId"].clone();
    let id = stranger.as_str().unwrap();

    let down = world.run(&["down", "--sandbox", "--yes"]).exits_with(6);
    for words in [id, "the other team's", "Remove it", "meshctl down"] {
        assert!(down.stderr().contains(words), "{words}: {}", down.stderr());
    }
    ec2(
        "DeleteNetworkInterface",
        json!({"NetworkInterfaceId": stranger}),
    );
    ends_with_nothing_left(&world);
}

/// Deletes a stack and waits until CloudFormation has done with it; returns what became of it.
async fn delete_stack(world: &World, name: &str) -> String {
    let cloudformation = world.clients().await.cloudformation;
    let described = cloudformation
        .describe_stacks()
        .stack_name(name)
        .send()
        .await;
    let id = described.unwrap().stacks()[0].stack_id.clone().unwrap();
    cloudformation
        .delete_stack()
        .stack_name(&id)
        .send()
        .await
        .unwrap();
    loop {
        let described = cloudformation
            .describe_stacks()
            .stack_name(&id)
            .send()
            .await;
        let status = described.unwrap().stacks()[0].stack_status.clone().unwrap();
        if !status.as_str().ends_with("_IN_PROGRESS") && status.as_str() != "CREATE_COMPLETE" {
            return status.as_str().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn what_is_deleted_by_hand_comes_back() {
    let (world, runtime) = environment();
    let comes_back = |how_many: usize| {
        let plan = world.run(&["plan", "--sandbox"]).exits_with(2);
        let changes = plan
            .stdout()
            .lines()
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .count();
        assert!(changes >= how_many, "{}", plan.stdout());
        world.run(&["up", "--sandbox"]).succeeds();
        world.run(&["plan", "--sandbox"]).succeeds();
    };
    runtime.block_on(async {
        let clients = world.clients().await;
        let found = clients.load_balancing.describe_load_balancers();
        let found = found.send().await.unwrap();
        let arn = found.load_balancers()[0].load_balancer_arn().unwrap();
        let delete = clients.load_balancing.delete_load_balancer();
        delete.load_balancer_arn(arn).send().await.unwrap();
        meshctl::clients::iam::delete_role(&clients.iam, "meshctl-demo-mesh-controller")
            .await
            .unwrap();
        let launch_template = delete_stack(&world, "meshctl-demo-nodes").await;
        assert_eq!(launch_template, "DELETE_COMPLETE");
        let policies: Api<NetworkPolicy> = Api::namespaced(world.kubernetes().await, "demo");
        let deleted = policies.delete("backend", &DeleteParams::default()).await;
        deleted.unwrap();
        // Somebody's settings in place of ours: without them the network policies are ignored.
        let update = clients.eks.update_addon().cluster_name("meshctl-demo");
        let update = update.addon_name("vpc-cni");
        let update = update.configuration_values(r#"{"env":{"WARM_IP_TARGET":"2"}}"#);
        update.send().await.unwrap();
    });
    comes_back(5);
    let addon = runtime.block_on(async {
        let eks = world.clients().await.eks;
        let described = eks.describe_addon().cluster_name("meshctl-demo");
        described.addon_name("vpc-cni").send().await.unwrap().addon
    });
    assert_eq!(
        addon.unwrap().configuration_values(),
        Some(r#"{"env":{"WARM_IP_TARGET":"2"},"enableNetworkPolicy":"true"}"#)
    );
    let remove = || {
        runtime.block_on(async {
            let kinds: Api<CustomResourceDefinition> = Api::all(world.kubernetes().await);
            let all = kinds.list(&ListParams::default()).await.unwrap().items;
            let names = all.into_iter().filter_map(|kind| kind.metadata.name);
            let names: Vec<String> = names
                .filter(|name| name.ends_with(".appmesh.k8s.aws"))
                .collect();
            assert!(names.len() > 3, "{names:?}");
            for name in names {
                kinds.delete(&name, &DeleteParams::default()).await.unwrap();
            }
        });
    };
    remove();
    // Nodes that are shut out run nothing new.
    runtime.block_on(async {
        let eks = world.clients().await.eks;
        let nodes = eks.describe_nodegroup().cluster_name("meshctl-demo");
        let nodes = nodes.nodegroup_name("meshctl-demo-workers").send().await;
        let role = nodes.unwrap().nodegroup.unwrap().node_role.unwrap();
        let delete = eks.delete_access_entry().cluster_name("meshctl-demo");
        delete.principal_arn(role).send().await.unwrap();
    });
    comes_back(2);
    // What carries traffic App Mesh does not let go: made again, it takes that over.
    runtime.block_on(async {
        let kind = GroupVersionKind::gvk("appmesh.k8s.aws", "v1beta2", "VirtualNode");
        let nodes: Api<DynamicObject> = Api::namespaced_with(
            world.kubernetes().await,
            "demo",
            &ApiResource::from_gvk(&kind),
        );
        let deleted = nodes.delete("backend-v1", &DeleteParams::default()).await;
        assert!(deleted.unwrap().is_left(), "its controller holds it");
    });
    comes_back(1);
    // A network that is half deleted under its cluster is beyond mending, which `up` says.
    let status = runtime.block_on(delete_stack(&world, "meshctl-demo-network"));
    assert_eq!(status, "DELETE_FAILED");
    let up = world.run(&["up", "--sandbox"]).exits_with(6);
    for words in [
        "half deleted under the cluster",
        "`meshctl down`, then `meshctl up`",
    ] {
        assert!(up.stderr().contains(words), "{words}: {}", up.stderr());
    }
    // What nobody is there to finalize keeps nothing alive either.
    runtime.block_on(scale_mesh_controller(&world, 0));
    remove();
    ends_with_nothing_left(&world);
}

#[test]
fn a_deleted_mesh_that_its_members_keep_is_refused_at_once_and_named() {
    let (world, runtime) = environment();
    runtime.block_on(async {
        let kind = GroupVersionKind::gvk("appmesh.k8s.aws", "v1beta2", "Mesh");
        let resource = ApiResource::from_gvk(&kind);
        let meshes: Api<DynamicObject> = Api::all_with(world.kubernetes().await, &resource);
        let options = DeleteParams::default();
        let deleted = meshes.delete("meshctl-demo", &options).await;
        assert!(deleted.unwrap().is_left(), "its members keep it");
    });
    let plan = world.run(&["plan", "--sandbox"]).exits_with(2);
    let going = "Mesh meshctl-demo is being deleted: to be waited for";
    assert!(plan.stdout().contains(going), "{}", plan.stdout());
    let began = Instant::now();
    let up = world.run(&["up", "--sandbox"]).exits_with(6);
    assert!(
        began.elapsed() < Duration::from_secs(45),
        "it does not wait"
    );
    for words in [
        "its members keep it: VirtualService demo/backend",
        "`meshctl down`, then `meshctl up`",
    ] {
        assert!(up.stderr().contains(words), "{words}: {}", up.stderr());
    }
    ends_with_nothing_left(&world);
}

#[test]
fn without_the_roles_stack_up_goes_on_and_down_leaves_nothing() {
    let (world, runtime) = environment();
    // IAM keeps the role that is in the nodes' instance profile, so that the stack ends half deleted.
    runtime.block_on(delete_stack(&world, "meshctl-demo-roles"));
    let plan = world.run(&["plan", "--sandbox"]).exits_with(2).stdout();
    assert!(plan.contains("DELETE_FAILED"), "{plan}");
    assert!(
        plan.contains("the nodes, which hold its role, are made again with it"),
        "{plan}"
    );
    world.run(&["up", "--sandbox"]).succeeds();
    world.run(&["plan", "--sandbox"]).succeeds();
    runtime.block_on(delete_stack(&world, "meshctl-demo-roles"));
    ends_with_nothing_left(&world);
}

/// Takes everything away while somebody makes what the entrance had of a kind once more, when its controller is gone.
fn down_while_made_again(api_version: &str, kind: &str) {
    let (world, runtime) = environment();
    let (group, version) = api_version.split_once('/').unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let client = runtime.block_on(world.kubernetes());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), "demo", &resource);
    let mut made = runtime.block_on(async {
        let made = objects.list(&ListParams::default()).await.unwrap();
        made.items.into_iter().next().unwrap()
    });
    made.metadata.resource_version = None;
    made.metadata.uid = None;
    made.data["status"] = json!(null);
    assert!(
        made.metadata.finalizers.is_some(),
        "its controller holds it"
    );
    // Afterwards nothing can be made in what goes.
    for deleted in [
        "kubernetes:delete:namespaces",
        "kubernetes:delete:customresourcedefinitions.apiextensions.k8s.io",
    ] {
        faults(&world, &[deleted, "held"]);
    }
    let down = ["down", "--sandbox", "--yes"];
    let mut down = Running::start(world.command(&down), world.path());
    runtime.block_on(async {
        let deployments: Api<Deployment> = Api::namespaced(client, "kube-system");
        let controller = "aws-load-balancer-controller";
        while deployments.get_opt(controller).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let made = objects.create(&PostParams::default(), &made).await;
        made.unwrap();
    });
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    assert_eq!(down.ends(), 0, "{}", down.said());
    assert!(down.said().ends_with("nothing left\n"), "{}", down.said());
    // The mesh's own went before, and nothing is told of what is not there.
    let freed = |line: &str| line.contains("VirtualNode") && line.contains("finalizers off");
    assert!(!down.said().lines().any(freed), "{}", down.said());
}

#[test]
fn an_ingress_that_another_run_makes_again_does_not_hold_down() {
    down_while_made_again("networking.k8s.io/v1", "Ingress");
}

#[test]
fn a_target_group_binding_that_its_controller_makes_last_does_not_hold_down() {
    down_while_made_again("elbv2.k8s.aws/v1beta1", "TargetGroupBinding");
}

/// Makes a call go wrong, once unless it says otherwise.
fn fault(world: &World, fault: &[&str]) {
    let add = ["sandbox", "faults", "add"];
    world.run(&[&add[..], fault].concat()).succeeds();
}

/// Makes such calls go wrong for everybody until faults are cleared.
fn faults(world: &World, each: &[&str]) {
    let always = ["--caller", "any", "--count", "100000"];
    fault(world, &[each, &always[..]].concat());
}

#[test]
fn an_app_mesh_that_refuses_everything_is_named_and_leaves_nothing_once_it_answers() {
    let (world, _) = environment();
    // One that has ended, for the tool and the controller alike.
    faults(&world, &["appmesh:*", "ended"]);
    let up = world.run(&["up", "--sandbox"]).exits_with(6);
    for words in [
        "is not served here: GoneException",
        "Istio and the Gateway API",
    ] {
        assert!(up.stderr().contains(words), "{words}: {}", up.stderr());
    }
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    faults(&world, &["appmesh:*", "denied"]);
    for command in [&["up", "--sandbox"][..], &["down", "--sandbox", "--yes"]] {
        let run = world.run(command).exits_with(5);
        assert!(
            run.stderr().contains("App Mesh") && run.stderr().contains("appmesh:ListMeshes"),
            "{}",
            run.stderr()
        );
    }
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    ends_with_nothing_left(&world);
}

#[test]
fn down_with_an_app_mesh_that_has_ended_says_what_could_not_be_looked_at() {
    let (world, _) = environment();
    faults(&world, &["appmesh:*", "ended"]);
    let down = world.run(&["down", "--sandbox", "--yes"]).exits_with(6);
    for words in [
        "App Mesh control plane of meshctl-demo",
        "is not served here",
        "go on with `meshctl down --sandbox`",
    ] {
        assert!(down.stderr().contains(words), "{words}: {}", down.stderr());
    }
    // All else is gone.
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    let audit = world.run(&["audit", "--sandbox"]).exits_with(3);
    let left: Vec<String> = audit
        .stdout()
        .lines()
        .filter(|line| line.contains("left:"))
        .map(str::to_owned)
        .collect();
    assert!(
        left.iter().all(|line| line.contains(":appmesh:")),
        "{left:?}"
    );
    ends_with_nothing_left(&world);
}

#[test]
fn down_goes_on_from_a_network_that_what_eks_left_keeps() {
    let (world, _) = environment();
    // The network's stack fails to go, because EKS leaves a security group in it, which may then not be changed.
    fault(&world, &["ec2:RevokeSecurityGroupIngress", "denied"]);
    let down = world.run(&["down", "--sandbox", "--yes"]).exits_with(5);
    let words = "network meshctl-demo-network";
    assert!(down.stderr().contains(words), "{}", down.stderr());
    ends_with_nothing_left(&world);
}

#[test]
fn down_without_a_way_to_the_cluster_s_api_leaves_nothing() {
    let (world, _) = environment();
    fault(&world, &["kubernetes:*:*", "reset", "--count", "1000000"]);
    let up = world
        .run(&["up", "--sandbox", "--timeout", "20s"])
        .exits_with(124);
    for words in [
        "Kubernetes API",
        "the run's time of 20 s was over",
        "it goes on from here",
    ] {
        assert!(up.stderr().contains(words), "{words}: {}", up.stderr());
    }
    ends_with_nothing_left(&world);
}
