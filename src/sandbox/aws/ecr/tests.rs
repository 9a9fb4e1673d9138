use serde_json::{Value, json};

use super::*;
use crate::sandbox::aws::{self, Caller, shapes};
use crate::sandbox::state::World;

fn call(
    state: &mut state::State,
    world: &World,
    operation: &str,
    input: Value,
) -> Result<Value, Fault> {
    let caller = Caller {
        arn: "arn:aws:iam::123456789012:user/sandbox".to_owned(),
        user_id: "AIDA".to_owned(),
    };
    let call = Call {
        world,
        operation,
        input: &input,
        caller: &caller,
        region: "us-west-2",
    };
    let mut answer = aws::answer(&Ecr, state, &call)?;
    strip(&mut answer);
    assert_eq!(
        shapes::of("ecr").unwrap().output(operation, &answer),
        [],
        "{operation}: {answer}"
    );
    Ok(answer)
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
fn repositories_keep_their_settings() {
    let (world, mut state) = (World::for_tests(), state::State::default());
    let mut ok = |operation: &str, input: Value| {
        call(&mut state, &world, operation, input)
            .unwrap_or_else(|fault| panic!("{operation}: {fault:?}"))
    };
    let made = ok(
        "CreateRepository",
        json!({
            "repositoryName": "demo/app", "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": { "scanOnPush": true },
            "tags": [{ "Key": "meshctl:environment", "Value": "demo" }],
        }),
    );
    let arn = made["repository"]["repositoryArn"].clone();
    assert_eq!(made["repository"]["repositoryUri"], "127.0.0.1:9/demo/app");
    assert_eq!(
        made["repository"]["encryptionConfiguration"]["encryptionType"],
        "AES256"
    );
    let policy = json!({ "rules": [{ "rulePriority": 1, "selection": {
        "tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7 },
        "action": { "type": "expire" } }] })
    .to_string();
    ok(
        "PutLifecyclePolicy",
        json!({ "repositoryName": "demo/app", "lifecyclePolicyText": policy }),
    );
    assert_eq!(
        ok(
            "GetLifecyclePolicy",
            json!({ "repositoryName": "demo/app" })
        )["lifecyclePolicyText"],
        json!(policy)
    );
    let tags = ok("ListTagsForResource", json!({ "resourceArn": arn }));
    assert_eq!(tags["tags"][0]["Value"], "demo");
    let listed = ok("DescribeRepositories", json!({}));
    assert_eq!(
        listed["repositories"][0]["imageScanningConfiguration"]["scanOnPush"],
        true
    );
}

#[test]
fn what_ecr_refuses_is_refused_in_its_words() {
    let (world, mut state) = (World::for_tests(), state::State::default());
    let mut refused =
        |operation: &str, input: Value| match call(&mut state, &world, operation, input) {
            Ok(answer) => (String::new(), answer.to_string()),
            Err(fault) => (fault.code, fault.message),
        };
    let (code, message) = refused("CreateRepository", json!({ "repositoryName": "Demo" }));
    assert_eq!(code, "InvalidParameterException");
    assert!(message.contains("repositoryName"), "{message}");
    refused("CreateRepository", json!({ "repositoryName": "demo" }));
    assert_eq!(
        refused("CreateRepository", json!({ "repositoryName": "demo" })),
        (
            "RepositoryAlreadyExistsException".to_owned(),
            "The repository with name 'demo' already exists in the registry with id '123456789012'"
                .to_owned()
        )
    );
    assert_eq!(
        refused(
            "DescribeRepositories",
            json!({ "repositoryNames": ["none"] })
        )
        .0,
        "RepositoryNotFoundException"
    );
    assert_eq!(
        refused("GetLifecyclePolicy", json!({ "repositoryName": "demo" })).0,
        "LifecyclePolicyNotFoundException"
    );
    let hostile = [
        "not json".repeat(20),
        json!({ "rules": [] , "padding": "x".repeat(100) }).to_string(),
        json!({ "rules": [{ "rulePriority": 0, "padding": "x".repeat(100) }] }).to_string(),
    ];
    for text in hostile {
        let (code, message) = refused(
            "PutLifecyclePolicy",
            json!({ "repositoryName": "demo", "lifecyclePolicyText": text }),
        );
        assert_eq!(code, "InvalidParameterException");
        assert!(
            message.contains("Lifecycle policy validation failure"),
            "{message}"
        );
    }
}
