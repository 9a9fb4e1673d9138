use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::sandbox::aws::ec2::Ec2;
use crate::sandbox::aws::{self, Caller, iam};
use crate::sandbox::clock::Clock;

const CLUSTER_ROLE: &str = "arn:aws:iam::123456789012:role/demo-cluster";
const NODE_ROLE: &str = "arn:aws:iam::123456789012:role/demo-node";

struct Api {
    world: World,
    state: state::State,
    subnets: Vec<String>,
}

fn role(service: &str) -> iam::Role {
    iam::Role {
        id: "AROAEXAMPLE".to_owned(),
        path: "/".to_owned(),
        trust: json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": { "Service": service }, "Action": "sts:AssumeRole" }] })
        .to_string(),
        ..iam::Role::default()
    }
}

fn caller() -> Caller {
    Caller {
        arn: "arn:aws:sts::123456789012:assumed-role/deployer/ci".to_owned(),
        user_id: "AROADEPLOYER:ci".to_owned(),
    }
}

impl Api {
    fn new() -> Self {
        let world = World::new(
            Clock::new(5_000.0),
            "us-west-2",
            "http://127.0.0.1:9",
            "127.0.0.1:9",
            std::path::Path::new("unused"),
            state::State::default(),
        );
        let mut state = state::State::default();
        state
            .iam
            .roles
            .insert("demo-cluster".to_owned(), role("eks.amazonaws.com"));
        state
            .iam
            .roles
            .insert("demo-node".to_owned(), role("ec2.amazonaws.com"));
        let mut subnets: Vec<(String, String)> = Ec2::of(&mut state, &world, "us-west-2")
            .region
            .subnets
            .values()
            .map(|subnet| (subnet.zone.clone(), subnet.id.clone()))
            .collect();
        subnets.sort();
        Api {
            world,
            state,
            subnets: subnets.into_iter().map(|(_, id)| id).collect(),
        }
    }

    fn call(&mut self, operation: &str, input: Value) -> Result<Value, Fault> {
        let caller = caller();
        let call = Call {
            world: &self.world,
            operation,
            input: &input,
            caller: &caller,
            region: "us-west-2",
        };
        let mut answer = aws::answer(&Eks, &mut self.state, &call)?;
        strip(&mut answer);
        assert_eq!(
            shapes::of("eks").unwrap().output(operation, &answer),
            [],
            "{operation}: {answer}"
        );
        Ok(answer)
    }

    fn ok(&mut self, operation: &str, input: Value) -> Value {
        self.call(operation, input)
            .unwrap_or_else(|fault| panic!("{operation}: {}: {}", fault.code, fault.message))
    }

    fn refused(&mut self, operation: &str, input: Value) -> (String, String) {
        match self.call(operation, input) {
            Ok(answer) => panic!("{operation} answered {answer}"),
            Err(fault) => (fault.code, fault.message),
        }
    }

    fn cluster_input(&self) -> Value {
        json!({
            "name": "demo", "roleArn": CLUSTER_ROLE, "version": "1.35",
            "resourcesVpcConfig": { "subnetIds": self.subnets, "endpointPrivateAccess": true },
            "accessConfig": { "authenticationMode": "API" },
            "upgradePolicy": { "supportType": "STANDARD" },
            "bootstrapSelfManagedAddons": false,
            "tags": { "meshctl:environment": "demo" },
        })
    }

    /// Ticks until a condition on a description holds, as the sandbox's clock does.
    fn until(
        &mut self,
        operation: &str,
        input: &Value,
        holds: impl Fn(&Result<Value, Fault>) -> bool,
    ) -> Result<Value, Fault> {
        for _ in 0..2000 {
            aws::tick(&mut self.state, &self.world);
            let answer = self.call(operation, input.clone());
            if holds(&answer) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!(
            "{operation} {input} does not become what it should be: {:?}",
            self.call(operation, input.clone())
        );
    }

    fn server_starts(&mut self) {
        let runtime = Runtime {
            endpoint: "https://127.0.0.1:6443".to_owned(),
            port: 6443,
            certificate_authority: "pem".to_owned(),
            ..Runtime::default()
        };
        started(
            &mut self.state,
            "us-west-2/demo",
            runtime,
            json!({ "keys": [] }),
        );
    }

    fn active_cluster(&mut self) -> Value {
        let input = self.cluster_input();
        self.ok("CreateCluster", input);
        self.server_starts();
        self.until("DescribeCluster", &json!({ "name": "demo" }), |answer| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer["cluster"]["status"] == "ACTIVE")
        })
        .unwrap_or_default()
    }

    fn nodegroup_input(&self) -> Value {
        json!({ "clusterName": "demo", "nodegroupName": "workers", "nodeRole": NODE_ROLE, "subnets": self.subnets,
            "scalingConfig": { "minSize": 2, "maxSize": 3, "desiredSize": 2 }, "instanceTypes": ["t3.large"] })
    }
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[test]
fn a_cluster_is_active_only_when_its_api_server_answers() {
    let mut api = Api::new();
    let input = api.cluster_input();
    let created = api.ok("CreateCluster", input);
    assert_eq!(created["cluster"]["status"], "CREATING");
    assert_eq!(created["cluster"].get("endpoint"), None);
    let due = api.state.eks.clusters["us-west-2/demo"].due_at;
    while api.world.clock.now() <= due {
        aws::tick(&mut api.state, &api.world);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(
        api.ok("DescribeCluster", json!({ "name": "demo" }))["cluster"]["status"],
        "CREATING"
    );
    api.server_starts();
    aws::tick(&mut api.state, &api.world);
    let cluster = api.ok("DescribeCluster", json!({ "name": "demo" }))["cluster"].take();
    assert_eq!(cluster["status"], "ACTIVE");
    assert_eq!(cluster["endpoint"], "https://127.0.0.1:6443");
    assert_eq!(
        cluster["kubernetesNetworkConfig"]["serviceIpv4Cidr"],
        "10.100.0.0/16"
    );
    let issuer = cluster["identity"]["oidc"]["issuer"]
        .as_str()
        .unwrap_or_default();
    assert!(issuer.starts_with("https://oidc.eks.us-west-2.amazonaws.com/id/"));
    assert!(api.state.eks.issuers.contains_key(issuer));
    let group = cluster["resourcesVpcConfig"]["clusterSecurityGroupId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let ec2 = Ec2::of(&mut api.state, &api.world, "us-west-2");
    assert!(
        ec2.security_group(&group)
            .is_ok_and(|group| group.name.starts_with("eks-cluster-sg-demo-"))
    );
    assert_eq!(
        ec2.region
            .interfaces
            .values()
            .filter(|eni| eni.groups.contains(&group))
            .count(),
        2
    );
}

#[test]
fn creation_is_idempotent_by_token_and_refused_by_name() {
    let mut api = Api::new();
    let mut input = api.cluster_input();
    input["clientRequestToken"] = json!("t");
    let first = api.ok("CreateCluster", input.clone());
    assert_eq!(
        api.ok("CreateCluster", input.clone())["cluster"]["arn"],
        first["cluster"]["arn"]
    );
    input["clientRequestToken"] = json!("u");
    assert_eq!(
        api.refused("CreateCluster", input),
        (
            "ResourceInUseException".to_owned(),
            "Cluster already exists with name: demo".to_owned()
        )
    );
}

#[test]
fn a_cluster_needs_two_zones_a_role_and_a_supported_version() {
    let mut api = Api::new();
    let good = api.cluster_input();
    let with = |path: &str, value: Value| {
        let mut input = good.clone();
        if let Some(member) = input.pointer_mut(path) {
            *member = value;
        }
        input
    };
    let one = json!([api.subnets[0]]);
    for (input, message) in [
        (
            with("/resourcesVpcConfig/subnetIds", one),
            "Subnets specified must be in at least two different AZs",
        ),
        (
            with("/roleArn", json!(NODE_ROLE)),
            "could not be assumed because it does not exist or the trusted entity is not correct",
        ),
        (
            with("/version", json!("1.20")),
            "unsupported Kubernetes version 1.20",
        ),
        (
            with(
                "/resourcesVpcConfig/subnetIds",
                json!(["subnet-1", "subnet-2"]),
            ),
            "subnet-1",
        ),
    ] {
        let (code, said) = api.refused("CreateCluster", input);
        assert_eq!(code, "InvalidParameterException");
        assert!(said.contains(message), "{said}");
    }
}

#[test]
fn a_node_group_is_active_when_its_nodes_are_ready_and_blocks_deletion() {
    let mut api = Api::new();
    let input = api.nodegroup_input();
    assert_eq!(
        api.refused("CreateNodegroup", input.clone()).0,
        "ResourceNotFoundException"
    );
    api.active_cluster();
    let created = api.ok("CreateNodegroup", input);
    assert_eq!(created["nodegroup"]["status"], "CREATING");
    assert_eq!(
        api.refused("DeleteCluster", json!({ "name": "demo" })),
        (
            "ResourceInUseException".to_owned(),
            "Cluster has nodegroups attached".to_owned()
        )
    );
    let name = json!({ "clusterName": "demo", "nodegroupName": "workers" });
    for _ in 0..1000 {
        aws::tick(&mut api.state, &api.world);
        let group = &api.state.eks.clusters["us-west-2/demo"].nodegroups["workers"];
        if group.nodes.len() == 2 && group.nodes.iter().all(|node| node.state == "running") {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(
        api.ok("DescribeNodegroup", name.clone())["nodegroup"]["status"],
        "CREATING"
    );
    let Some(cluster) = api.state.eks.clusters.get_mut("us-west-2/demo") else {
        panic!("no cluster");
    };
    assert_eq!(cluster.access_entries[NODE_ROLE].kind, "EC2_LINUX");
    let Some(group) = cluster.nodegroups.get_mut("workers") else {
        panic!("no node group");
    };
    let instances: Vec<String> = group
        .nodes
        .iter()
        .map(|node| node.instance.clone())
        .collect();
    for instance in &instances {
        assert!(observe(group, instance, true, true));
    }
    let active = |answer: &Result<Value, Fault>| {
        answer
            .as_ref()
            .is_ok_and(|answer| answer["nodegroup"]["status"] == "ACTIVE")
    };
    let _ = api.until("DescribeNodegroup", &name, active);
    api.ok("DeleteNodegroup", name.clone());
    let gone = api.until("DescribeNodegroup", &name, Result::is_err);
    assert!(gone.is_err_and(|fault| fault.code == "ResourceNotFoundException"));
    assert!(api.state.iam.instance_profiles.is_empty());
    api.ok("DeleteCluster", json!({ "name": "demo" }));
    let _ = api.until(
        "DescribeCluster",
        &json!({ "name": "demo" }),
        Result::is_err,
    );
    let ec2 = Ec2::of(&mut api.state, &api.world, "us-west-2");
    // What the CNI plugin leaked stays, and with it the cluster's security group; nothing else does.
    let (leaked, others): (Vec<_>, Vec<_>) = ec2
        .region
        .interfaces
        .values()
        .partition(|eni| eni.description.starts_with("aws-K8S-"));
    assert!(others.is_empty());
    assert!(ec2.region.security_groups.values().all(|group| {
        group.name == "default" || leaked.iter().any(|eni| eni.groups.contains(&group.id))
    }));
    assert!(api.state.eks.issuers.is_empty());
}

#[test]
fn nodes_that_never_join_make_a_failure() {
    let mut api = Api::new();
    api.active_cluster();
    let input = api.nodegroup_input();
    api.ok("CreateNodegroup", input);
    let name = json!({ "clusterName": "demo", "nodegroupName": "workers" });
    let now = api.world.clock.now();
    if let Some(cluster) = api.state.eks.clusters.get_mut("us-west-2/demo")
        && let Some(group) = cluster.nodegroups.get_mut("workers")
    {
        group.fail_at = now;
    }
    let failed = api.until("DescribeNodegroup", &name, |answer| {
        answer
            .as_ref()
            .is_ok_and(|answer| answer["nodegroup"]["status"] == "CREATE_FAILED")
    });
    let issue = failed.unwrap_or_default()["nodegroup"]["health"]["issues"][0].take();
    assert_eq!(issue["code"], "NodeCreationFailure");
    assert_eq!(
        issue["message"],
        "Instances failed to join the kubernetes cluster"
    );
}

#[test]
fn an_add_on_follows_what_is_seen_in_the_cluster() {
    let mut api = Api::new();
    api.active_cluster();
    api.ok(
        "CreateAddon",
        json!({ "clusterName": "demo", "addonName": "coredns" }),
    );
    let name = json!({ "clusterName": "demo", "addonName": "coredns" });
    let status = |wanted: &'static str| {
        move |answer: &Result<Value, Fault>| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer["addon"]["status"] == wanted)
        }
    };
    // Its patience is real time, which a test does not wait for.
    for _ in 0..1000 {
        aws::tick(&mut api.state, &api.world);
        let addon = api
            .state
            .eks
            .clusters
            .get_mut("us-west-2/demo")
            .and_then(|cluster| cluster.addons.get_mut("coredns"));
        if let Some(since) = addon.and_then(|addon| addon.unhealthy_since.as_mut()) {
            *since = 0;
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let degraded = api
        .until("DescribeAddon", &name, status("DEGRADED"))
        .unwrap_or_default();
    assert_eq!(
        degraded["addon"]["health"]["issues"][0]["code"],
        "InsufficientNumberOfReplicas"
    );
    if let Some(addon) = api
        .state
        .eks
        .clusters
        .get_mut("us-west-2/demo")
        .and_then(|c| c.addons.get_mut("coredns"))
    {
        addon.seen = Observed {
            generation: 1,
            healthy: true,
            message: String::new(),
        };
    }
    let active = api
        .until("DescribeAddon", &name, status("ACTIVE"))
        .unwrap_or_default();
    assert_eq!(active["addon"]["health"]["issues"], json!([]));
    assert_eq!(
        api.refused(
            "CreateAddon",
            json!({ "clusterName": "demo", "addonName": "nope" })
        )
        .0,
        "InvalidParameterException"
    );
}

#[test]
fn principals_become_users_by_their_access_entries() {
    let mut api = Api::new();
    api.active_cluster();
    let later = api.world.clock.now() + 60_000;
    let cluster = &api.state.eks.clusters["us-west-2/demo"];
    let creator = identify(cluster, &caller(), later);
    let creator = creator.unwrap_or_default();
    assert_eq!(
        creator.username,
        "arn:aws:sts::123456789012:assumed-role/deployer/ci"
    );
    assert_eq!(creator.groups, ["system:masters"]);
    let stranger = Caller {
        arn: NODE_ROLE
            .replace(":iam:", ":sts:")
            .replace(":role/", ":assumed-role/")
            + "/i-1",
        user_id: String::new(),
    };
    assert_eq!(identify(cluster, &stranger, later), None);

    api.ok("CreateAccessEntry", json!({ "clusterName": "demo", "principalArn": NODE_ROLE, "kubernetesGroups": ["viewers"] }));
    let input = json!({ "clusterName": "demo", "principalArn": NODE_ROLE,
        "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy", "accessScope": { "type": "cluster" } });
    api.ok("AssociateAccessPolicy", input);
    let cluster = &api.state.eks.clusters["us-west-2/demo"];
    assert_eq!(
        identify(cluster, &stranger, later - 60_000 - 60_000),
        None,
        "not yet in effect"
    );
    assert_eq!(
        identify(cluster, &stranger, later).map(|user| user.groups),
        Some(vec!["viewers".to_owned(), "system:masters".to_owned()])
    );
    assert_eq!(
        api.refused(
            "CreateAccessEntry",
            json!({ "clusterName": "demo", "principalArn": "arn:aws:iam::123456789012:role/none" })
        )
        .1,
        "The specified principalArn is invalid: invalid principal."
    );
}

#[test]
fn updates_go_one_at_a_time() {
    let mut api = Api::new();
    api.active_cluster();
    let logging = json!({ "name": "demo", "logging": { "clusterLogging": [{ "types": ["api", "audit"], "enabled": true }] } });
    let update = api.ok("UpdateClusterConfig", logging.clone())["update"].take();
    assert_eq!(
        (&update["status"], &update["type"]),
        (&json!("InProgress"), &json!("LoggingUpdate"))
    );
    assert_eq!(
        api.refused("UpdateClusterConfig", logging.clone()).0,
        "ResourceInUseException"
    );
    let (code, message) = api.refused("DeleteCluster", json!({ "name": "demo" }));
    assert_eq!(code, "ResourceInUseException");
    assert!(
        message.starts_with("Cannot delete because cluster demo currently has update "),
        "{message}"
    );
    let which = json!({ "name": "demo", "updateId": update["id"] });
    let _ = api.until("DescribeUpdate", &which, |answer| {
        answer
            .as_ref()
            .is_ok_and(|answer| answer["update"]["status"] == "Successful")
    });
    assert_eq!(
        api.refused("UpdateClusterConfig", logging).1,
        "No changes needed for the logging config provided"
    );
}

#[test]
fn the_version_that_is_served_is_the_one_that_is_offered() {
    let mut api = Api::new();
    let version = crate::sandbox::kubernetes::VERSION.2;
    assert!(version.starts_with("v1.35."), "{version}");
    let standard = api.ok(
        "DescribeClusterVersions",
        json!({ "versionStatus": "STANDARD_SUPPORT" }),
    );
    let names: BTreeMap<&str, &str> = standard["clusterVersions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|version| {
            Some((
                version["clusterVersion"].as_str()?,
                version["versionStatus"].as_str()?,
            ))
        })
        .collect();
    assert_eq!(names, BTreeMap::from([("1.35", "STANDARD_SUPPORT")]));
    let offered = api.ok(
        "DescribeAddonVersions",
        json!({ "kubernetesVersion": "1.35", "addonName": "kube-proxy" }),
    );
    let versions = offered["addons"][0]["addonVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert!(
        versions
            .iter()
            .any(|version| version["compatibilities"][0]["defaultVersion"] == true)
    );
}
