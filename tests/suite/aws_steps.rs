//! The AWS steps against the sandbox: half-made things, foreign things, twice, and gone again.

use std::sync::Arc;

use meshctl::clients::Clients;
use meshctl::config::{Environment, OWNER_TAG};
use meshctl::engine::{Cancellation, Change, Executor, Graph, Outcome, Report, Silence};
use meshctl::steps::{audit, image, launch_template, log_group, network, repository, roles};

use crate::harness::World;

/// A running sandbox, its clients and the demo.
struct Scene {
    _world: World,
    clients: Arc<Clients>,
    environment: Arc<Environment>,
}

impl Scene {
    async fn new() -> Self {
        let world = World::without_data_plane();
        world.start_sandbox();
        let clients = Arc::new(world.clients().await);
        let mut environment = Environment::demo();
        environment.region = clients.region().to_owned();
        Scene {
            _world: world,
            clients,
            environment: Arc::new(environment),
        }
    }

    /// Everything of the AWS side that needs no cluster.
    fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        let (environment, clients) = (&self.environment, &self.clients);
        let subnets = graph.add(|_| network::NetworkSubnets {
            environment: environment.clone(),
            clients: clients.clone(),
        });
        graph.add(|needs| network::NetworkEgress {
            environment: environment.clone(),
            clients: clients.clone(),
            subnets: needs.input(&subnets),
        });
        graph.add(|_| roles::ClusterRolesStack {
            environment: environment.clone(),
            clients: clients.clone(),
        });
        graph.add(|_| launch_template::NodesStack {
            environment: environment.clone(),
            clients: clients.clone(),
        });
        graph.add(|_| log_group::LogGroup {
            environment: environment.clone(),
            clients: clients.clone(),
        });
        for service in environment.services.values() {
            let repository = graph.add(|_| repository::ServiceRepository {
                environment: environment.clone(),
                clients: clients.clone(),
                service: service.name.clone(),
            });
            graph.add(|needs| image::ServiceImage {
                environment: environment.clone(),
                clients: clients.clone(),
                service: service.clone(),
                repository: needs.input(&repository),
            });
        }
        graph
    }

    async fn up(&self) -> Report {
        executor().up(&self.graph()).await
    }

    async fn down(&self) -> Report {
        executor().down(&self.graph()).await
    }

    async fn leftovers(&self) -> Vec<String> {
        let mesh = meshctl::mesh::provider(&self.environment, &self.clients);
        let audit = audit::audit(&self.environment, &self.clients, &*mesh).await;
        assert!(audit.unchecked.is_empty(), "{:?}", audit.unchecked);
        let leftovers = audit.leftovers.into_iter();
        leftovers
            .map(|leftover| format!("{} {}", leftover.kind, leftover.arn))
            .collect()
    }
}

fn executor() -> Executor {
    Executor {
        listener: Arc::new(Silence),
        cancellation: Cancellation::new(),
        parallelism: 16,
        timeout: None,
    }
}

#[track_caller]
fn assert_well(report: &Report) {
    let failures: Vec<String> = report
        .failures()
        .map(|(_, failure)| failure.to_string())
        .collect();
    assert!(report.is_success(), "{failures:#?}");
}

fn outcome<'a>(report: &'a Report, id: &str) -> &'a Outcome {
    let step = report.steps.iter().find(|step| step.id.as_str() == id);
    &step.expect("the step is in the graph").outcome
}

#[tokio::test]
async fn up_twice_changes_nothing_and_down_twice_leaves_nothing() {
    let scene = Scene::new().await;
    let first = scene.up().await;
    assert_well(&first);
    assert!(first.has_changes());
    let second = scene.up().await;
    assert_well(&second);
    assert!(!second.has_changes(), "{:#?}", second.steps);

    let left = scene.leftovers().await;
    for kind in [
        "CloudFormation stack",
        "ECR repository",
        "VPC",
        "IAM role",
        "log group",
    ] {
        assert!(
            left.iter().any(|line| line.starts_with(kind)),
            "no {kind} in {left:#?}"
        );
    }
    assert_well(&scene.down().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
    let again = scene.down().await;
    assert_well(&again);
    assert!(!again.has_changes());
}

#[tokio::test]
async fn every_size_that_a_network_may_have_is_divided_among_six_subnets() {
    let mut scene = Scene::new().await;
    for prefix in 16..=20 {
        let mut environment = (*scene.environment).clone();
        environment.name = format!("of-{prefix}");
        environment.network.cidr = format!("10.7.0.0/{prefix}");
        scene.environment = Arc::new(environment);
        assert_well(&scene.up().await);
        assert!(!scene.up().await.has_changes());
        assert_well(&scene.down().await);
    }
}

#[tokio::test]
async fn a_stack_that_rolled_back_says_why_and_is_made_again() {
    let scene = Scene::new().await;
    let iam = &scene.clients.iam;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    iam.create_role()
        .role_name("meshctl-demo-node")
        .assume_role_policy_document(trust)
        .send()
        .await
        .unwrap();
    let report = scene.up().await;
    let Outcome::Failed { failure } = outcome(&report, "roles") else {
        panic!("the name is taken: {:?}", outcome(&report, "roles"));
    };
    assert!(
        failure.message.contains("NodeRole (AWS::IAM::Role)"),
        "{failure}"
    );
    assert!(failure.message.contains("already exists"), "{failure}");

    iam.delete_role()
        .role_name("meshctl-demo-node")
        .send()
        .await
        .unwrap();
    let report = scene.up().await;
    assert_well(&report);
    assert!(matches!(
        outcome(&report, "roles"),
        Outcome::Applied {
            change: Change::Replace(_)
        }
    ));
    assert_well(&scene.down().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test]
async fn what_belongs_to_others_is_refused_and_left_alone() {
    let scene = Scene::new().await;
    let ecr = &scene.clients.ecr;
    ecr.create_repository()
        .repository_name("meshctl-demo/backend")
        .send()
        .await
        .unwrap();
    scene
        .clients
        .logs
        .create_log_group()
        .log_group_name("/aws/eks/meshctl-demo/cluster")
        .tags(OWNER_TAG, "other")
        .send()
        .await
        .unwrap();
    let report = scene.up().await;
    for id in ["repository/backend", "log-group"] {
        let Outcome::Failed { failure } = outcome(&report, id) else {
            panic!("{id} is somebody else's: {:?}", outcome(&report, id));
        };
        assert!(failure.message.contains("belongs to"), "{failure}");
    }
    assert!(outcome(&report, "repository/frontend").is_success());
    let report = scene.down().await;
    assert!(matches!(
        outcome(&report, "log-group"),
        Outcome::LeftAlone { .. }
    ));
    let left = ecr.describe_repositories().send().await.unwrap();
    let left: Vec<&str> = left
        .repositories()
        .iter()
        .filter_map(|repository| repository.repository_name())
        .collect();
    assert_eq!(left, ["meshctl-demo/backend"]);
}

#[tokio::test]
async fn a_run_that_dies_at_any_moment_is_gone_on_with() {
    let scene = Scene::new().await;
    // Dropping the run is what a kill does: nothing is finished, nothing is undone.
    for millis in [5, 30, 60, 120] {
        let limit = std::time::Duration::from_millis(millis);
        let graph = scene.graph();
        let _ = tokio::time::timeout(limit, executor().up(&graph)).await;
    }
    assert_well(&scene.up().await);
    for millis in [5, 30, 60] {
        let limit = std::time::Duration::from_millis(millis);
        let graph = scene.graph();
        let _ = tokio::time::timeout(limit, executor().down(&graph)).await;
    }
    assert_well(&scene.down().await);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}

#[tokio::test]
async fn two_runs_at_once_converge() {
    let scene = Scene::new().await;
    let (one, other) = tokio::join!(scene.up(), scene.up());
    assert_well(&one);
    assert_well(&other);
    let (one, other) = tokio::join!(scene.down(), scene.down());
    assert_well(&one);
    assert_well(&other);
    assert_eq!(scene.leftovers().await, Vec::<String>::new());
}
