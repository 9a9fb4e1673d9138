//! What people delete by hand, at random.

use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::discovery::{Discovery, verbs};

use super::{delete_stack, ends_with_nothing_left, environment};
use crate::harness::World;

/// What a person may delete in AWS without a word, by service and name.
#[derive(Clone, Debug)]
enum Thing {
    Role(String),
    Repository(String),
    LogGroup(String),
    Provider(String),
    Addon(String),
    Nodes,
    AccessEntries,
    LoadBalancer,
    Stack(&'static str),
    /// A Deployment, a Service, … of ours in the cluster.
    Object(ApiResource, Option<String>, String),
}

/// Everything of the environment that can go without the rest.
async fn everything(world: &World) -> Vec<Thing> {
    let clients = world.clients().await;
    let mut all = vec![
        Thing::Nodes,
        Thing::AccessEntries,
        Thing::LoadBalancer,
        Thing::Stack("meshctl-demo-nodes"),
    ];
    for role in ["mesh-controller", "proxy", "load-balancer-controller"] {
        all.push(Thing::Role(format!("meshctl-demo-{role}")));
    }
    let repositories = clients.ecr.describe_repositories().send().await.unwrap();
    for repository in repositories.repositories() {
        all.push(Thing::Repository(
            repository.repository_name.clone().unwrap(),
        ));
    }
    let groups = clients.logs.describe_log_groups().send().await.unwrap();
    for group in groups.log_groups() {
        all.push(Thing::LogGroup(group.log_group_name.clone().unwrap()));
    }
    let providers = clients
        .iam
        .list_open_id_connect_providers()
        .send()
        .await
        .unwrap();
    for provider in providers.open_id_connect_provider_list() {
        all.push(Thing::Provider(provider.arn.clone().unwrap()));
    }
    for addon in ["vpc-cni", "kube-proxy", "coredns"] {
        all.push(Thing::Addon(addon.to_owned()));
    }
    let client = world.kubernetes().await;
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=meshctl");
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let can = |verb| capabilities.supports_operation(verb);
            // A namespace or a kind takes all that is in it along, and a mesh waits for all that is in it.
            let takes_more = ["Namespace", "CustomResourceDefinition", "Mesh", "Pod"]
                .contains(&resource.kind.as_str());
            if takes_more || !can(verbs::LIST) || !can(verbs::DELETE) {
                continue;
            }
            let objects: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            for object in objects.list(&ours).await.unwrap().items {
                if object.metadata.owner_references.is_none() {
                    let name = object.metadata.name.unwrap();
                    all.push(Thing::Object(
                        resource.clone(),
                        object.metadata.namespace,
                        name,
                    ));
                }
            }
        }
    }
    all
}

/// Deletes it; what is in the way of that keeps it.
async fn delete_thing(world: &World, thing: &Thing) {
    let clients = world.clients().await;
    let cluster = "meshctl-demo";
    match thing {
        Thing::Role(name) => {
            let _ = meshctl::clients::iam::delete_role(&clients.iam, name).await;
        }
        Thing::Repository(name) => {
            let delete = clients.ecr.delete_repository().repository_name(name);
            delete.force(true).send().await.unwrap();
        }
        Thing::LogGroup(name) => {
            let delete = clients.logs.delete_log_group().log_group_name(name);
            delete.send().await.unwrap();
        }
        Thing::Provider(arn) => {
            let delete = clients.iam.delete_open_id_connect_provider();
            delete
                .open_id_connect_provider_arn(arn)
                .send()
                .await
                .unwrap();
        }
        Thing::Addon(name) => {
            let delete = clients.eks.delete_addon().cluster_name(cluster);
            delete.addon_name(name).send().await.unwrap();
        }
        Thing::Nodes => {
            let delete = clients.eks.delete_nodegroup().cluster_name(cluster);
            let delete = delete.nodegroup_name("meshctl-demo-workers");
            delete.send().await.unwrap();
        }
        Thing::AccessEntries => {
            let entries = clients.eks.list_access_entries().cluster_name(cluster);
            for entry in entries.send().await.unwrap().access_entries() {
                let delete = clients.eks.delete_access_entry().cluster_name(cluster);
                // Those of nodes are EKS's own.
                let _ = delete.principal_arn(entry).send().await;
            }
        }
        Thing::LoadBalancer => {
            let found = clients.load_balancing.describe_load_balancers();
            for balancer in found.send().await.unwrap().load_balancers() {
                let delete = clients.load_balancing.delete_load_balancer();
                let delete = delete.load_balancer_arn(balancer.load_balancer_arn().unwrap());
                delete.send().await.unwrap();
            }
        }
        Thing::Stack(name) => {
            delete_stack(world, name).await;
        }
        Thing::Object(resource, namespace, name) => {
            let client = world.kubernetes().await;
            let objects: Api<DynamicObject> = match namespace {
                Some(namespace) => Api::namespaced_with(client, namespace, resource),
                None => Api::all_with(client, resource),
            };
            let _ = objects.delete(name, &DeleteParams::background()).await;
        }
    }
}

#[test]
fn half_of_everything_deleted_at_random_comes_back_and_goes() {
    let seed = std::env::var("MESHCTL_SEED").map_or(2, |seed| seed.parse().unwrap());
    let (world, runtime) = environment();
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut halve = || {
        runtime.block_on(async {
            let mut half = everything(&world).await;
            assert!(half.len() > 40, "{half:?}");
            chance.shuffle(&mut half);
            half.truncate(half.len() / 2);
            // The way to the cluster's API goes last, with what goes in AWS.
            half.sort_by_key(|thing| !matches!(thing, Thing::Object(..)));
            for thing in &half {
                delete_thing(&world, thing).await;
            }
            half
        })
    };
    let half = halve();
    let up = world.run(&["up", "--sandbox"]);
    assert_eq!(up.code(), 0, "seed {seed}: {half:#?}\n{}", up.stderr());
    let plan = world.run(&["plan", "--sandbox"]);
    assert_eq!(plan.code(), 0, "seed {seed}: {half:#?}\n{}", plan.stdout());
    halve();
    ends_with_nothing_left(&world);
}
