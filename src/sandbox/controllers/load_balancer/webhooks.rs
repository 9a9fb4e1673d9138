//! The controller's webhooks: readiness gates, defaults and checks of its own kinds and of Ingresses.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::program::webhooks::{Review, Verdict, Webhooks};
use super::super::runtime::Key;
use super::super::runtime::kinds::INGRESS_CLASSES;
use super::super::runtime::object::{Meta, items, text};
use super::bindings::GATE;
use super::groups::annotation;
use super::{Controller, TARGET_GROUP_BINDINGS, refused};

/// Registers all of them.
pub fn register(controller: &Arc<Controller>, hooks: &mut Webhooks) {
    let owner = controller.clone();
    hooks.on("/mutate-v1-pod", move |review| {
        let owner = owner.clone();
        async move {
            owner.synced().await;
            gates(&owner, &review)
        }
    });
    let owner = controller.clone();
    hooks.on("/mutate-v1-service", move |review| {
        let owner = owner.clone();
        async move { service(&owner, &review) }
    });
    let owner = controller.clone();
    hooks.on(
        "/mutate-elbv2-k8s-aws-v1beta1-targetgroupbinding",
        move |review| {
            let owner = owner.clone();
            async move { binding_defaults(&owner, &review).await }
        },
    );
    let owner = controller.clone();
    hooks.on(
        "/validate-elbv2-k8s-aws-v1beta1-targetgroupbinding",
        move |review| {
            let owner = owner.clone();
            async move {
                owner.synced().await;
                binding(&owner, &review).map(|()| review["object"].clone())
            }
        },
    );
    hooks.on(
        "/validate-elbv2-k8s-aws-v1beta1-ingressclassparams",
        |review| async move { params(&review).map(|()| review["object"].clone()) },
    );
    let owner = controller.clone();
    hooks.on("/validate-networking-v1-ingress", move |review| {
        let owner = owner.clone();
        async move {
            owner.synced().await;
            ingress(&owner, &review).map(|()| review["object"].clone())
        }
    });
}

/// A pod behind a load balancer becomes ready only once its target is healthy.
fn gates(controller: &Controller, review: &Review) -> Verdict {
    let mut pod = review["object"].clone();
    if review["operation"] != "CREATE" || !controller.flags.is("enable-pod-readiness-gate-inject") {
        return Ok(pod);
    }
    let namespace = text(&review["namespace"]);
    let mut present = items(&pod["spec"]["readinessGates"]).to_vec();
    let before = present.len();
    let services = controller
        .cluster
        .cache(&super::super::runtime::kinds::SERVICES);
    for binding in controller
        .cluster
        .cache(&TARGET_GROUP_BINDINGS)
        .within(namespace)
    {
        if binding["spec"]["targetType"] != "ip" || binding.deleting() {
            continue;
        }
        let key = Key::new(namespace, text(&binding["spec"]["serviceRef"]["name"]));
        let selected = services.get(&key).is_some_and(|service| {
            super::super::control_plane::placement::service_selects(
                &service["spec"]["selector"],
                &pod,
            )
        });
        let gate = json!({ "conditionType": format!("{GATE}{}", binding.name()) });
        if selected && !present.contains(&gate) {
            present.push(gate);
        }
    }
    if present.len() > before {
        pod["spec"]["readinessGates"] = present.into();
    }
    Ok(pod)
}

/// Services of type LoadBalancer without a class become this controller's.
fn service(controller: &Controller, review: &Review) -> Verdict {
    let mut object = review["object"].clone();
    if review["operation"] == "CREATE"
        && controller.flags.is("enable-service-mutator-webhook")
        && object["spec"]["type"] == "LoadBalancer"
        && text(&object["spec"]["loadBalancerClass"]).is_empty()
    {
        object["spec"]["loadBalancerClass"] = controller.flags.text("load-balancer-class").into();
    }
    Ok(object)
}

async fn binding_defaults(controller: &Controller, review: &Review) -> Verdict {
    let mut object = review["object"].clone();
    if review["operation"] != "CREATE" {
        return Ok(object);
    }
    let (arn, name) = (
        text(&object["spec"]["targetGroupARN"]).to_owned(),
        text(&object["spec"]["targetGroupName"]).to_owned(),
    );
    if arn.is_empty() && name.is_empty() {
        return Err("must provide either TargetGroupARN or TargetGroupName".into());
    }
    let complete = ["targetGroupARN", "targetType", "ipAddressType", "vpcID"]
        .iter()
        .all(|field| !text(&object["spec"][*field]).is_empty());
    if complete {
        return Ok(object);
    }
    let mut request = controller.elb.describe_target_groups();
    request = if arn.is_empty() {
        request.names(&name)
    } else {
        request.target_group_arns(&arn)
    };
    let answer = request.send().await.map_err(|error| {
        format!(
            "couldn't determine TargetType: {}",
            refused("DescribeTargetGroups")(error)
        )
    })?;
    let group = answer
        .target_groups()
        .first()
        .ok_or("couldn't determine TargetType: the target group is not there")?;
    let mut set = |field: &str, value: Option<&str>| {
        if text(&object["spec"][field]).is_empty()
            && let Some(value) = value
        {
            object["spec"][field] = value.into();
        }
    };
    set("targetGroupARN", group.target_group_arn());
    set("targetType", group.target_type().map(|kind| kind.as_str()));
    set(
        "ipAddressType",
        group.ip_address_type().map(|kind| kind.as_str()),
    );
    set("vpcID", group.vpc_id());
    Ok(object)
}

fn binding(controller: &Controller, review: &Review) -> Result<(), String> {
    let (new, old) = (&review["object"]["spec"], &review["oldObject"]["spec"]);
    if !matches!(text(&review["operation"]), "CREATE" | "UPDATE") {
        return Ok(());
    }
    let mut absent = Vec::new();
    if text(&new["targetGroupARN"]).is_empty() && text(&new["targetGroupName"]).is_empty() {
        absent.push("either TargetGroupARN or TargetGroupName");
    }
    if new["targetType"].is_null() {
        absent.push("spec.targetType");
    }
    if !absent.is_empty() {
        return Err(format!(
            "TargetGroupBinding must specify these fields: {}",
            absent.join(",")
        ));
    }
    if review["operation"] == "UPDATE" {
        let changed: Vec<String> = ["targetGroupARN", "targetType", "ipAddressType", "vpcID"]
            .iter()
            .filter(|field| !old[**field].is_null() && old[**field] != new[**field])
            .map(|field| format!("spec.{field}"))
            .collect();
        if !changed.is_empty() {
            return Err(format!(
                "TargetGroupBinding update may not change these fields: {}",
                changed.join(",")
            ));
        }
    }
    if new["targetType"] == "ip" && !new["nodeSelector"].is_null() {
        return Err("TargetGroupBinding cannot set NodeSelector when TargetType is ip".into());
    }
    let own = review["object"].key();
    for other in controller.cluster.cache(&TARGET_GROUP_BINDINGS).all() {
        if other.key() != own && other["spec"]["targetGroupARN"] == new["targetGroupARN"] {
            return Err(format!(
                "TargetGroup {} is already bound to TargetGroupBinding {}",
                text(&new["targetGroupARN"]),
                other.key()
            ));
        }
    }
    Ok(())
}

fn params(review: &Review) -> Result<(), String> {
    let spec = &review["object"]["spec"];
    let subnets = &spec["subnets"];
    if subnets.is_object() {
        match (items(&subnets["ids"]).is_empty(), subnets["tags"].is_null()) {
            (true, true) => {
                return Err(
                    "spec.subnets: Required value: must have either `ids` or `tags`".into(),
                );
            }
            (false, false) => {
                return Err(
                    "spec.subnets.tags: Forbidden: may not have both `ids` and `tags` set".into(),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

fn ingress(controller: &Controller, review: &Review) -> Result<(), String> {
    let object = &review["object"];
    if !matches!(text(&review["operation"]), "CREATE" | "UPDATE") {
        return Ok(());
    }
    let old = &review["oldObject"];
    let name = text(&object["spec"]["ingressClassName"]);
    if name.is_empty() && object.annotation("kubernetes.io/ingress.class").is_none() {
        return Ok(());
    }
    if !name.is_empty() {
        let class = controller
            .cluster
            .cache(&INGRESS_CLASSES)
            .get(&Key::new("", name));
        // A class that has gone does not hold back what was there before it went.
        if class.is_none() && old["spec"]["ingressClassName"] == object["spec"]["ingressClassName"]
        {
            return Ok(());
        }
    }
    if controller.class_of(object)?.is_none() {
        return Ok(());
    }
    for (name, value) in super::super::runtime::object::entries(&object["metadata"]["annotations"])
    {
        let Some(action) = name.strip_prefix("alb.ingress.kubernetes.io/conditions.") else {
            continue;
        };
        let parsed: Result<Vec<Value>, _> = serde_json::from_str(text(value));
        if let Err(error) = parsed {
            return Err(format!(
                "failed to parse json annotation, conditions.{action}: {error}"
            ));
        }
    }
    if controller.flags.is("disable-ingress-group-name-annotation")
        && annotation(object, "group.name").is_some()
        && annotation(object, "group.name") != annotation(old, "group.name")
    {
        return Err(
            "new usage of `alb.ingress.kubernetes.io/group.name` annotation is forbidden".into(),
        );
    }
    Ok(())
}
