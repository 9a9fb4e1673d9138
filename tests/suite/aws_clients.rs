//! The sandbox's AWS as the generated SDK clients see it: what they send is understood, what they get they can read.

use aws_sdk_appmesh::types::{
    HttpRoute, HttpRouteAction, HttpRouteMatch, Listener, PortMapping, PortProtocol, RouteSpec,
    ServiceDiscovery, VirtualNodeSpec, VirtualRouterListener, VirtualRouterServiceProvider,
    VirtualRouterSpec, VirtualServiceProvider, VirtualServiceSpec, WeightedTarget,
};
use aws_sdk_elasticloadbalancingv2::types::{Action, ActionTypeEnum, ProtocolEnum, TargetTypeEnum};
use meshctl::clients::Clients;
use serde_json::Value;

use crate::harness::World;
use crate::lifecycle::last_event;

/// A sandbox and the clients of its AWS.
struct Scene {
    _world: World,
    clients: Clients,
}

impl Scene {
    async fn new() -> Self {
        let world = World::without_data_plane();
        world.start_sandbox();
        let clients = world.clients().await;
        Scene {
            _world: world,
            clients,
        }
    }
}

#[tokio::test]
async fn app_mesh_speaks_to_its_sdk() {
    let scene = Scene::new().await;
    let mesh = &scene.clients.app_mesh;
    let made = mesh.create_mesh().mesh_name("m").send().await.unwrap();
    let metadata = made.mesh().unwrap().metadata().unwrap();
    assert_eq!(metadata.version(), 1);
    assert!(metadata.created_at().secs() > 1_700_000_000);
    let port = || {
        PortMapping::builder()
            .port(8080)
            .protocol(PortProtocol::Http)
            .build()
            .unwrap()
    };
    let node = VirtualNodeSpec::builder()
        .listeners(Listener::builder().port_mapping(port()).build())
        .service_discovery(ServiceDiscovery::Dns(
            aws_sdk_appmesh::types::DnsServiceDiscovery::builder()
                .hostname("v1.demo.svc.cluster.local")
                .build()
                .unwrap(),
        ))
        .build();
    mesh.create_virtual_node()
        .mesh_name("m")
        .virtual_node_name("v1")
        .spec(node)
        .send()
        .await
        .unwrap();
    let listener = VirtualRouterListener::builder()
        .port_mapping(port())
        .build();
    mesh.create_virtual_router()
        .mesh_name("m")
        .virtual_router_name("r")
        .spec(VirtualRouterSpec::builder().listeners(listener).build())
        .send()
        .await
        .unwrap();
    let target = WeightedTarget::builder()
        .virtual_node("v1")
        .weight(100)
        .build()
        .unwrap();
    let route = HttpRoute::builder()
        .r#match(HttpRouteMatch::builder().prefix("/").build())
        .action(
            HttpRouteAction::builder()
                .weighted_targets(target)
                .build()
                .unwrap(),
        )
        .build();
    mesh.create_route()
        .mesh_name("m")
        .virtual_router_name("r")
        .route_name("all")
        .spec(RouteSpec::builder().http_route(route).build())
        .send()
        .await
        .unwrap();
    let provider = VirtualRouterServiceProvider::builder()
        .virtual_router_name("r")
        .build()
        .unwrap();
    mesh.create_virtual_service()
        .mesh_name("m")
        .virtual_service_name("backend.demo.svc.cluster.local")
        .spec(
            VirtualServiceSpec::builder()
                .provider(VirtualServiceProvider::VirtualRouter(provider))
                .build(),
        )
        .send()
        .await
        .unwrap();
    let seen = mesh
        .describe_route()
        .mesh_name("m")
        .virtual_router_name("r")
        .route_name("all")
        .send()
        .await
        .unwrap();
    let spec = seen.route().unwrap().spec().unwrap();
    let targets = spec
        .http_route()
        .unwrap()
        .action()
        .unwrap()
        .weighted_targets();
    assert_eq!(
        (targets[0].virtual_node(), targets[0].weight()),
        ("v1", 100)
    );
    let refused = mesh.delete_mesh().mesh_name("m").send().await.unwrap_err();
    assert!(refused.into_service_error().is_resource_in_use_exception());
    let missing = mesh
        .describe_virtual_node()
        .mesh_name("m")
        .virtual_node_name("none")
        .send()
        .await
        .unwrap_err();
    assert!(missing.into_service_error().is_not_found_exception());
}

#[tokio::test]
async fn eks_and_ecr_speak_to_their_sdks() {
    let scene = Scene::new().await;
    let eks = &scene.clients.eks;
    let versions = eks.describe_cluster_versions().send().await.unwrap();
    let default = versions
        .cluster_versions()
        .iter()
        .find(|version| version.default_version())
        .unwrap();
    assert_eq!(
        default.version_status().unwrap().as_str(),
        "STANDARD_SUPPORT"
    );
    assert!(default.end_of_standard_support_date().unwrap().secs() > 0);
    let missing = eks
        .describe_cluster()
        .name("none")
        .send()
        .await
        .unwrap_err();
    assert!(
        missing
            .into_service_error()
            .is_resource_not_found_exception()
    );
    let addons = eks
        .describe_addon_versions()
        .addon_name("coredns")
        .kubernetes_version("1.35")
        .send()
        .await
        .unwrap();
    assert_eq!(addons.addons()[0].addon_name(), Some("coredns"));

    let ecr = &scene.clients.ecr;
    let made = ecr
        .create_repository()
        .repository_name("demo/app")
        .image_tag_mutability(aws_sdk_ecr::types::ImageTagMutability::Immutable)
        .send()
        .await
        .unwrap();
    assert!(
        made.repository()
            .unwrap()
            .repository_uri()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    let again = ecr
        .create_repository()
        .repository_name("demo/app")
        .send()
        .await
        .unwrap_err();
    assert!(
        again
            .into_service_error()
            .is_repository_already_exists_exception()
    );
    let token = ecr.get_authorization_token().send().await.unwrap();
    let token = &token.authorization_data()[0];
    assert!(
        token
            .proxy_endpoint()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    assert!(token.expires_at().is_some());
    assert!(
        ecr.describe_images()
            .repository_name("demo/app")
            .send()
            .await
            .unwrap()
            .image_details()
            .is_empty()
    );
}

#[tokio::test]
async fn load_balancing_speaks_to_its_sdk() {
    let scene = Scene::new().await;
    let ec2 = &scene.clients.ec2;
    let subnets = ec2
        .list("DescribeSubnets", serde_json::json!({}), "subnetSet")
        .await
        .unwrap();
    let id = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let elb = &scene.clients.load_balancing;
    let made = elb
        .create_load_balancer()
        .name("web")
        .subnets(id(&subnets[0], "subnetId"))
        .subnets(id(&subnets[1], "subnetId"))
        .send()
        .await
        .unwrap();
    let balancer = &made.load_balancers()[0];
    assert_eq!(
        balancer.state().unwrap().code().unwrap().as_str(),
        "provisioning"
    );
    assert!(balancer.created_time().is_some());
    let group = elb
        .create_target_group()
        .name("pods")
        .protocol(ProtocolEnum::Http)
        .port(8080)
        .vpc_id(id(&subnets[0], "vpcId"))
        .target_type(TargetTypeEnum::Ip)
        .send()
        .await
        .unwrap();
    let group = group.target_groups()[0]
        .target_group_arn()
        .unwrap()
        .to_owned();
    let forward = Action::builder()
        .r#type(ActionTypeEnum::Forward)
        .target_group_arn(&group)
        .build();
    elb.create_listener()
        .load_balancer_arn(balancer.load_balancer_arn().unwrap())
        .protocol(ProtocolEnum::Http)
        .port(8080)
        .default_actions(forward)
        .send()
        .await
        .unwrap();
    let refused = elb
        .delete_target_group()
        .target_group_arn(&group)
        .send()
        .await
        .unwrap_err();
    assert!(refused.into_service_error().is_resource_in_use_exception());
    let listeners = elb
        .describe_listeners()
        .load_balancer_arn(balancer.load_balancer_arn().unwrap())
        .send()
        .await
        .unwrap();
    let action = &listeners.listeners()[0].default_actions()[0];
    assert_eq!(action.target_group_arn(), Some(group.as_str()));
}

/// Calls of ECR's DescribeRepositories so far.
fn descriptions(scene: &Scene) -> u64 {
    let condition = scene
        ._world
        .run(&["sandbox", "status", "--output", "json"])
        .succeeds();
    let condition = last_event(&condition.stdout(), "sandbox-condition");
    let callers = condition["condition"]["calls"]
        .as_object()
        .unwrap()
        .values();
    callers
        .filter_map(|calls| calls["ecr:DescribeRepositories"].as_u64())
        .sum()
}

#[tokio::test]
async fn many_repositories_are_read_at_once_and_own_changes_are_seen() {
    let scene = Scene::new().await;
    let (ecr, repositories) = (&scene.clients.ecr, &scene.clients.repositories);
    let create = |name: String| ecr.create_repository().repository_name(name).send();
    for index in 0..30 {
        create(format!("many/{index}")).await.unwrap();
    }
    let before = descriptions(&scene);
    for index in 0..30 {
        let name = format!("many/{index}");
        let found = repositories.find_one_of_many(&name).await.unwrap();
        assert_eq!(found.unwrap().repository_name(), Some(&*name));
    }
    let found = repositories.find_one_of_many("many/30").await.unwrap();
    assert!(found.is_none());
    assert!(descriptions(&scene) <= before + 2, "they are listed");
    // What is changed after the list was made is asked for.
    for (name, changed) in [("many/30", true), ("many/7", false)] {
        repositories.change(name);
        match changed {
            true => drop(create(name.to_owned()).await.unwrap()),
            false => {
                let delete = ecr.delete_repository().repository_name(name);
                delete.send().await.unwrap();
            }
        }
        let found = repositories.find_one_of_many(name).await.unwrap();
        assert_eq!(found.is_some(), changed, "{name}");
    }
}
