//! Pods that were made without the role of their account, which nobody gives them afterwards.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};

use super::{ends_with_nothing_left, environment, fault, faults};
use crate::harness::World;
use crate::races::Running;

const CONTROLLERS: [(&str, &str); 2] = [
    ("appmesh-system", "appmesh-controller"),
    ("kube-system", "aws-load-balancer-controller"),
];

/// EKS cannot look at service accounts until faults are cleared.
fn accounts_are_unreadable(world: &World) {
    let rule = ["kubernetes:get:serviceaccounts", "denied"];
    let who = ["--caller", "controllers", "--count", "100000"];
    fault(world, &[&rule[..], &who[..]].concat());
}

/// Has the mesh's and the load balancers' controllers made again, without their roles.
async fn take_roles_from_controllers(world: &World) {
    accounts_are_unreadable(world);
    let client = world.kubernetes().await;
    for (namespace, controller) in CONTROLLERS {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let label = format!("app.kubernetes.io/name={controller}");
        let of = ListParams::default().labels(&label);
        let before = pods.list(&of).await.unwrap().items;
        assert!(!before.is_empty(), "{controller}");
        for pod in &before {
            let name = pod.metadata.name.as_deref().unwrap();
            pods.delete(name, &DeleteParams::default()).await.unwrap();
        }
        let is_new = |pod: &Pod| {
            before
                .iter()
                .all(|old| old.metadata.uid != pod.metadata.uid)
        };
        let is_ready = |pod: &Pod| {
            let status = pod.status.clone().unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            conditions.any(|one| one.type_ == "Ready" && one.status == "True")
        };
        loop {
            let now = pods.list(&of).await.unwrap().items;
            if now.len() == before.len() && now.iter().all(|pod| is_new(pod) && is_ready(pod)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    world.run(&["sandbox", "faults", "clear"]).succeeds();
}

#[test]
fn up_has_pods_made_again_that_got_no_role() {
    let world = World::with_data_plane();
    world.start_sandbox();
    accounts_are_unreadable(&world);
    let mut up = Running::start(world.command(&["up", "--sandbox"]), world.path());
    up.says("was made without the credentials of arn:aws:iam::123456789012:role/meshctl-demo-");
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    assert_eq!(up.ends(), 0, "{}", up.said());
    world.run(&["plan", "--sandbox"]).succeeds();
}

#[test]
fn up_does_not_wait_for_a_controller_whose_role_was_deleted() {
    let world = World::without_data_plane();
    world.start_sandbox();
    faults(
        &world,
        &["elasticloadbalancing:CreateLoadBalancer", "denied"],
    );
    let mut up = Running::start(world.command(&["up", "--sandbox"]), world.path());
    up.says("load balancer: waiting for the load balancer's name");
    let role = "meshctl-demo-load-balancer-controller";
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let iam = world.clients().await.iam.clone();
        let policies = iam.list_role_policies().role_name(role).send().await;
        for policy in policies.unwrap().policy_names() {
            let delete = iam.delete_role_policy().role_name(role);
            delete.policy_name(policy).send().await.unwrap();
        }
        iam.delete_role().role_name(role).send().await.unwrap();
    });
    assert_eq!(up.ends(), 6, "{}", up.said());
    for words in [
        format!("error: IAM role {role}: was deleted while load balancer needs it"),
        "run the same command again".to_owned(),
    ] {
        assert!(up.said().contains(&words), "{words}: {}", up.said());
    }
    world.run(&["sandbox", "faults", "clear"]).succeeds();
    world.run(&["up", "--sandbox"]).succeeds();
    ends_with_nothing_left(&world);
}

#[test]
fn controllers_without_their_roles_are_drift_that_up_mends() {
    let (world, runtime) = environment();
    runtime.block_on(take_roles_from_controllers(&world));
    let plan = world.run(&["plan", "--sandbox"]).exits_with(2);
    for role in ["mesh-controller", "load-balancer-controller"] {
        let words = format!("role/meshctl-demo-{role}");
        assert!(plan.stdout().contains(&words), "{}", plan.stdout());
    }
    world.run(&["up", "--sandbox"]).succeeds();
    world.run(&["plan", "--sandbox"]).succeeds();
}

#[test]
fn down_does_not_wait_for_controllers_without_their_roles() {
    let (world, runtime) = environment();
    runtime.block_on(take_roles_from_controllers(&world));
    ends_with_nothing_left(&world);
}
