use super::*;
use serde_json::json;

#[test]
fn a_violation_is_said_as_the_services_say_it() {
    let input = json!({"meshName": "m", "routeName": "", "virtualRouterName": "r", "spec": {
        "priority": 1001,
        "httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": [{"virtualNode": "n", "weight": 101}]}},
    }});
    let found = of("appmesh").unwrap().input("CreateRoute", &input);
    assert_eq!(
        say(&found),
        "3 validation errors detected: \
         Value '' at 'routeName' failed to satisfy constraint: Member must have length greater than or equal to 1; \
         Value '101' at 'spec.httpRoute.action.weightedTargets.1.member.weight' failed to satisfy constraint: \
         Member must have value less than or equal to 100; \
         Value '1001' at 'spec.priority' failed to satisfy constraint: Member must have value less than or equal to 1000"
    );
}

#[test]
fn what_is_required_or_of_another_type_is_named() {
    let found = of("eks")
        .unwrap()
        .input("CreateCluster", &json!({"name": "-x", "roleArn": 3}));
    let said: Vec<_> = found
        .iter()
        .map(|v| (v.path.as_str(), v.constraint.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            (
                "name",
                "Member must satisfy regular expression pattern: ^[0-9A-Za-z][A-Za-z0-9\\-_]*"
            ),
            ("roleArn", "Member must be a string"),
            ("resourcesVpcConfig", "Member must not be null"),
        ]
    );
}

#[test]
fn patterns_over_unicode_are_exact_in_ascii() {
    let key = |key: &str| {
        let tags = json!([{"Key": key, "Value": "v"}]);
        let input = json!({"RoleName": "r", "Tags": tags});
        of("iam").unwrap().input("TagRole", &input).is_empty()
    };
    assert!(key("team name/é+1") && key("名前"));
    assert!(!key("a|b") && !key(""));
}

#[test]
fn what_is_not_in_the_model_is_found_at_any_depth() {
    let input = json!({"VpcId": "v", "Colour": "red", "Filter": [{"Name": "x", "Values": ["y"]}]});
    let found = of("ec2").unwrap().unknown("DescribeSubnets", &input);
    let mut paths: Vec<_> = found.iter().map(|v| v.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["Colour", "Filter.1.member.Values", "VpcId"]);
}

#[test]
fn every_table_is_whole() {
    for service in crate::sandbox::aws::services() {
        let model = of(service.signing_name()).expect("a table");
        for operation in service.operations() {
            // App Mesh's proxies alone call it.
            assert!(
                model.operations.contains_key(operation.name)
                    || operation.name == "StreamAggregatedResources",
                "{}: run extract.py",
                operation.name
            );
        }
        for (name, shape) in &model.shapes {
            if let Shape::Scalar {
                pattern: Some((text, compiled)),
                ..
            } = shape
            {
                assert!(compiled.is_some(), "{name} is not enforced: {text}");
            }
            let inner: Vec<&str> = match shape {
                Shape::Structure { members, .. } => members.iter().map(|(.., s)| *s).collect(),
                Shape::List(member, _) => vec![member],
                Shape::Map(key, member, _) => vec![key, member],
                _ => vec![],
            };
            for name in inner {
                assert!(
                    name.starts_with('$') || model.shapes.contains_key(name),
                    "{name}"
                );
            }
        }
    }
}
