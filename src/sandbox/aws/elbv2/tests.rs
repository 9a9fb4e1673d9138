use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::sandbox::aws::ec2::Ec2;
use crate::sandbox::aws::{self, Caller, shapes};

struct Api {
    world: World,
    state: state::State,
    subnets: Vec<String>,
    vpc: String,
}

impl Api {
    fn new() -> Self {
        let (world, mut state) = (World::for_tests(), state::State::default());
        let ec2 = Ec2::of(&mut state, &world, "us-west-2");
        let subnets: Vec<String> = ec2.region.subnets.keys().take(2).cloned().collect();
        let vpc = ec2.region.vpcs.keys().next().cloned().unwrap_or_default();
        Api {
            world,
            state,
            subnets,
            vpc,
        }
    }

    fn call(&mut self, operation: &str, input: Value) -> Result<Value, Fault> {
        let caller = Caller {
            arn: "arn:aws:iam::123456789012:user/sandbox".to_owned(),
            user_id: "AIDA".to_owned(),
        };
        let call = Call {
            world: &self.world,
            operation,
            input: &input,
            caller: &caller,
            region: "us-west-2",
        };
        let mut answer = aws::answer(&Elb, &mut self.state, &call)?;
        strip(&mut answer);
        let mut wrong = shapes::of("elasticloadbalancing")
            .unwrap()
            .output(operation, &answer);
        // Times are text in this protocol.
        wrong.retain(|violation| !violation.path.ends_with("CreatedTime"));
        assert_eq!(wrong, [], "{operation}: {answer}");
        Ok(answer)
    }

    fn ok(&mut self, operation: &str, input: Value) -> Value {
        self.call(operation, input)
            .unwrap_or_else(|fault| panic!("{operation}: {}: {}", fault.code, fault.message))
    }

    fn refused(&mut self, operation: &str, input: Value) -> String {
        match self.call(operation, input) {
            Ok(answer) => panic!("{operation} answered {answer}"),
            Err(fault) => fault.code,
        }
    }

    fn balancer(&mut self, name: &str) -> Value {
        let input = json!({ "Name": name, "Subnets": self.subnets });
        self.ok("CreateLoadBalancer", input)["LoadBalancers"][0].take()
    }

    fn group(&mut self, name: &str) -> Value {
        let input = json!({ "Name": name, "Protocol": "HTTP", "Port": "8080", "VpcId": self.vpc, "TargetType": "ip",
            "HealthCheckPath": "/healthz", "Tags": [{ "Key": "elbv2.k8s.aws/cluster", "Value": "demo" }] });
        self.ok("CreateTargetGroup", input)["TargetGroups"][0].take()
    }

    fn listener(&mut self, balancer: &Value, group: &Value) -> Value {
        self.ok("CreateListener", json!({ "LoadBalancerArn": balancer["LoadBalancerArn"], "Port": "8080", "Protocol": "HTTP",
            "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group["TargetGroupArn"] }] }))["Listeners"][0].take()
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
fn a_load_balancer_becomes_active_on_a_loopback_address() {
    let mut api = Api::new();
    let made = api.balancer("web");
    assert_eq!(made["State"]["Code"], "provisioning");
    let address = made["DNSName"].as_str().unwrap_or_default().to_owned();
    assert!(address.starts_with("127."), "{address}");
    assert_ne!(api.balancer("other")["DNSName"], made["DNSName"]);
    for _ in 0..1000 {
        aws::tick(&mut api.state, &api.world);
        Elb.tick(&mut api.state, &api.world);
        let seen = api.ok("DescribeLoadBalancers", json!({ "Names": ["web"] }));
        if seen["LoadBalancers"][0]["State"]["Code"] == "active" {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the load balancer does not become active");
}

#[test]
fn the_same_name_is_the_same_load_balancer_only_with_the_same_settings() {
    let mut api = Api::new();
    let first = api.balancer("web");
    assert_eq!(
        api.balancer("web")["LoadBalancerArn"],
        first["LoadBalancerArn"]
    );
    let other = json!({ "Name": "web", "Subnets": api.subnets, "Scheme": "internal" });
    assert_eq!(
        api.refused("CreateLoadBalancer", other),
        "DuplicateLoadBalancerName"
    );
    let one = json!({ "Name": "small", "Subnets": [api.subnets[0]] });
    assert_eq!(api.refused("CreateLoadBalancer", one), "ValidationError");
    let hostile = json!({ "Name": "-web", "Subnets": api.subnets });
    assert_eq!(
        api.refused("CreateLoadBalancer", hostile),
        "ValidationError"
    );
}

#[test]
fn interfaces_outlive_their_load_balancer_and_hold_the_network() {
    let mut api = Api::new();
    let made = api.balancer("web");
    let count = |api: &mut Api| {
        Ec2::of(&mut api.state, &api.world, "us-west-2")
            .region
            .interfaces
            .len()
    };
    assert_eq!(count(&mut api), 2);
    api.ok(
        "DeleteLoadBalancer",
        json!({ "LoadBalancerArn": made["LoadBalancerArn"] }),
    );
    assert_eq!(
        api.ok("DescribeLoadBalancers", json!({}))["LoadBalancers"],
        json!([])
    );
    assert_eq!(count(&mut api), 2, "still there");
    for _ in 0..1000 {
        Elb.tick(&mut api.state, &api.world);
        if count(&mut api) == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the interfaces stay");
}

#[test]
fn what_is_in_use_or_protected_stays() {
    let mut api = Api::new();
    let (balancer, group) = (api.balancer("web"), api.group("pods"));
    let listener = api.listener(&balancer, &group);
    let which = json!({ "TargetGroupArn": group["TargetGroupArn"] });
    assert_eq!(
        api.refused("DeleteTargetGroup", which.clone()),
        "ResourceInUse"
    );
    let owner = json!({ "LoadBalancerArn": balancer["LoadBalancerArn"] });
    let mut protect = owner.clone();
    protect["Attributes"] = json!([{ "Key": "deletion_protection.enabled", "Value": "true" }]);
    api.ok("ModifyLoadBalancerAttributes", protect.clone());
    assert_eq!(
        api.refused("DeleteLoadBalancer", owner.clone()),
        "OperationNotPermitted"
    );
    protect["Attributes"][0]["Value"] = json!("false");
    api.ok("ModifyLoadBalancerAttributes", protect);
    let second = api.balancer("second");
    let again = json!({ "LoadBalancerArn": second["LoadBalancerArn"], "Port": "80", "Protocol": "HTTP",
        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group["TargetGroupArn"] }] });
    assert_eq!(
        api.refused("CreateListener", again),
        "TargetGroupAssociationLimit"
    );
    api.ok("DeleteLoadBalancer", owner);
    assert_eq!(
        api.refused(
            "DescribeListeners",
            json!({ "ListenerArns": [listener["ListenerArn"]] })
        ),
        "ListenerNotFound"
    );
    api.ok("DeleteTargetGroup", which);
}

#[test]
fn rules_have_priorities_of_their_own_and_the_default_one_stays() {
    let mut api = Api::new();
    let (balancer, group) = (api.balancer("web"), api.group("pods"));
    let listener = api.listener(&balancer, &group);
    let rule = |priority: &str| {
        json!({ "ListenerArn": listener["ListenerArn"], "Priority": priority,
        "Conditions": [{ "Field": "path-pattern", "PathPatternConfig": { "Values": ["/*"] } }],
        "Actions": [{ "Type": "forward", "Order": "1", "ForwardConfig": { "TargetGroups": [{ "TargetGroupArn": group["TargetGroupArn"], "Weight": "1" }] } }] })
    };
    let made = api.ok("CreateRule", rule("2"))["Rules"][0].take();
    assert_eq!(made["Conditions"][0]["Values"], json!(["/*"]));
    assert_eq!(
        made["Actions"][0]["TargetGroupArn"],
        group["TargetGroupArn"]
    );
    assert_eq!(api.refused("CreateRule", rule("2")), "PriorityInUse");
    api.ok("CreateRule", rule("1"));
    let rules = api.ok(
        "DescribeRules",
        json!({ "ListenerArn": listener["ListenerArn"] }),
    )["Rules"]
        .take();
    let order: Vec<&str> = rules
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["Priority"].as_str())
        .collect();
    assert_eq!(order, ["1", "2", "default"]);
    assert_eq!(
        api.refused("DeleteRule", json!({ "RuleArn": rules[2]["RuleArn"] })),
        "OperationNotPermitted"
    );
    api.ok("DeleteRule", json!({ "RuleArn": made["RuleArn"] }));
}

#[test]
fn targets_are_initial_healthy_and_draining() {
    let mut api = Api::new();
    let (balancer, group) = (api.balancer("web"), api.group("pods"));
    let which = json!({ "TargetGroupArn": group["TargetGroupArn"], "Targets": [{ "Id": "172.31.1.9", "Port": "8080" }] });
    let outside =
        json!({ "TargetGroupArn": group["TargetGroupArn"], "Targets": [{ "Id": "10.9.9.9" }] });
    assert_eq!(api.refused("RegisterTargets", outside), "InvalidTarget");
    api.ok("RegisterTargets", which.clone());
    let state = |api: &mut Api| {
        let health = api.ok(
            "DescribeTargetHealth",
            json!({ "TargetGroupArn": group["TargetGroupArn"] }),
        );
        health["TargetHealthDescriptions"][0]["TargetHealth"]["State"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    };
    assert_eq!(state(&mut api), "unused");
    api.listener(&balancer, &group);
    assert_eq!(state(&mut api), "initial");
    let arn = group["TargetGroupArn"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(set_health(
        &mut api.state.elbv2,
        &arn,
        "172.31.1.9",
        8080,
        ("healthy", None, None)
    ));
    assert!(!set_health(
        &mut api.state.elbv2,
        &arn,
        "172.31.1.9",
        8080,
        ("healthy", None, None)
    ));
    assert_eq!(state(&mut api), "healthy");
    api.ok("DeregisterTargets", which);
    assert_eq!(state(&mut api), "draining");
    for _ in 0..1000 {
        Elb.tick(&mut api.state, &api.world);
        if state(&mut api) == "none" {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the target stays");
}

#[test]
fn codes_of_success_are_lists_and_ranges() {
    let check = HealthCheck {
        enabled: true,
        protocol: String::new(),
        port: String::new(),
        path: String::new(),
        interval: 1,
        timeout: 1,
        healthy: 1,
        unhealthy: 1,
        codes: "200,202-204".to_owned(),
    };
    let fit: Vec<u16> = (199..206).filter(|code| check.is_success(*code)).collect();
    assert_eq!(fit, [200, 202, 203, 204]);
}
