//! What is left when something the environment lives on is gone: `down` still ends with nothing left.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::harness::World;

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

#[test]
fn down_without_the_mesh_controller_leaves_nothing() {
    let (world, runtime) = environment();
    runtime.block_on(async {
        let deployments: Api<Deployment> =
            Api::namespaced(world.kubernetes().await, "appmesh-system");
        let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
        deployments
            .patch("appmesh-controller", &PatchParams::default(), &none)
            .await
            .unwrap();
    });
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
    delete();
    world.run(&["up", "--sandbox"]).succeeds();
    world.run(&["plan", "--sandbox"]).succeeds();
    delete();
    ends_with_nothing_left(&world);
}
