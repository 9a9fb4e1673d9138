use serde_json::{Value, json};

use crate::sandbox::aws::{self, Caller, Fault};
use crate::sandbox::state::World;

/// Calls as a user with full access, or with the given inline policy.
fn call(world: &World, user: &str, operation: &str, input: Value) -> Result<Value, Fault> {
    let caller = Caller {
        arn: format!("arn:aws:iam::123456789012:user/{user}"),
        user_id: "AIDAX".into(),
    };
    let mut state = world.state();
    if state.iam.users.is_empty() {
        super::bootstrap(world, &mut state);
    }
    aws::invoke(
        world,
        &mut state,
        &caller,
        "us-west-2",
        "iam",
        operation,
        &input,
    )
}

fn admin(world: &World, operation: &str, input: Value) -> Result<Value, Fault> {
    call(world, "sandbox", operation, input)
}

fn code(outcome: Result<Value, Fault>) -> (u16, String, String) {
    let fault = outcome.expect_err("a refusal");
    (fault.status, fault.code, fault.message)
}

fn trust(service: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}],
    })
    .to_string()
}

fn allow(action: &str) -> String {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": "*"}]}).to_string()
}

#[test]
fn a_role_lives_and_goes_only_when_nothing_hangs_on_it() {
    let world = World::for_tests();
    let role = json!({"RoleName": "r", "AssumeRolePolicyDocument": trust("ec2.amazonaws.com"), "Tags": [{"Key": "a", "Value": "b"}]});
    let made = admin(&world, "CreateRole", role.clone()).expect("made");
    assert_eq!(made["Role"]["Arn"], "arn:aws:iam::123456789012:role/r");
    assert!(
        made["Role"]["AssumeRolePolicyDocument"]
            .as_str()
            .is_some_and(|text| text.starts_with("%7B%22Version%22"))
    );
    assert_eq!(
        code(admin(&world, "CreateRole", role)).1,
        "EntityAlreadyExists"
    );

    let name = json!({"RoleName": "r"});
    let pull = json!({"RoleName": "r", "PolicyArn": "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"});
    admin(&world, "AttachRolePolicy", pull.clone()).expect("attached");
    admin(&world, "AttachRolePolicy", pull.clone()).expect("attached again");
    admin(
        &world,
        "PutRolePolicy",
        json!({"RoleName": "r", "PolicyName": "p", "PolicyDocument": allow("eks:*")}),
    )
    .expect("put");
    admin(
        &world,
        "CreateInstanceProfile",
        json!({"InstanceProfileName": "i"}),
    )
    .expect("made");
    admin(
        &world,
        "AddRoleToInstanceProfile",
        json!({"InstanceProfileName": "i", "RoleName": "r"}),
    )
    .expect("added");

    let conflict = |message: &str| (409, "DeleteConflict".to_owned(), message.to_owned());
    assert_eq!(
        code(admin(&world, "DeleteRole", name.clone())),
        conflict("Cannot delete entity, must detach all policies first.")
    );
    admin(&world, "DetachRolePolicy", pull.clone()).expect("detached");
    assert_eq!(
        code(admin(&world, "DetachRolePolicy", pull)).1,
        "NoSuchEntity"
    );
    assert_eq!(
        code(admin(&world, "DeleteRole", name.clone())),
        conflict("Cannot delete entity, must delete policies first.")
    );
    admin(
        &world,
        "DeleteRolePolicy",
        json!({"RoleName": "r", "PolicyName": "p"}),
    )
    .expect("deleted");
    assert_eq!(
        code(admin(&world, "DeleteRole", name.clone())),
        conflict("Cannot delete entity, must remove roles from instance profile first.")
    );
    admin(
        &world,
        "RemoveRoleFromInstanceProfile",
        json!({"InstanceProfileName": "i", "RoleName": "r"}),
    )
    .expect("removed");
    admin(&world, "DeleteRole", name.clone()).expect("deleted");
    assert_eq!(
        code(admin(&world, "GetRole", name)),
        (
            404,
            "NoSuchEntity".into(),
            "The role with name r cannot be found.".into()
        )
    );
}

#[test]
fn a_policy_keeps_five_versions_and_stays_while_attached() {
    let world = World::for_tests();
    let made = admin(
        &world,
        "CreatePolicy",
        json!({"PolicyName": "p", "PolicyDocument": allow("eks:*")}),
    )
    .expect("made");
    let arn = made["Policy"]["Arn"].as_str().expect("an ARN").to_owned();
    let version = |default: &str| json!({"PolicyArn": arn, "PolicyDocument": allow("ec2:*"), "SetAsDefault": default});
    for _ in 0..4 {
        admin(&world, "CreatePolicyVersion", version("true")).expect("made");
    }
    assert_eq!(
        code(admin(&world, "CreatePolicyVersion", version("true"))).1,
        "LimitExceeded"
    );
    let versions = admin(&world, "ListPolicyVersions", json!({"PolicyArn": arn})).expect("listed");
    assert_eq!(versions["Versions"][0]["VersionId"], "v5");
    assert_eq!(versions["Versions"][0]["IsDefaultVersion"], true);
    assert_eq!(
        code(admin(&world, "DeletePolicy", json!({"PolicyArn": arn}))).1,
        "DeleteConflict"
    );
    for number in 1..5 {
        let version = json!({"PolicyArn": arn, "VersionId": format!("v{number}")});
        admin(&world, "DeletePolicyVersion", version).expect("deleted");
    }
    admin(
        &world,
        "CreateRole",
        json!({"RoleName": "r", "AssumeRolePolicyDocument": trust("ec2.amazonaws.com")}),
    )
    .expect("made");
    admin(
        &world,
        "AttachRolePolicy",
        json!({"RoleName": "r", "PolicyArn": arn}),
    )
    .expect("attached");
    assert_eq!(
        code(admin(&world, "DeletePolicy", json!({"PolicyArn": arn}))).1,
        "DeleteConflict"
    );
    admin(
        &world,
        "DetachRolePolicy",
        json!({"RoleName": "r", "PolicyArn": arn}),
    )
    .expect("detached");
    admin(&world, "DeletePolicy", json!({"PolicyArn": arn})).expect("deleted");
}

#[test]
fn lists_come_in_pages() {
    let world = World::for_tests();
    for name in ["c", "a", "b"] {
        let role =
            json!({"RoleName": name, "AssumeRolePolicyDocument": trust("ec2.amazonaws.com")});
        admin(&world, "CreateRole", role).expect("made");
    }
    let names = |page: &Value| -> Vec<String> {
        let roles = page["Roles"].as_array().expect("roles");
        roles
            .iter()
            .filter_map(|role| Some(role["RoleName"].as_str()?.to_owned()))
            .collect()
    };
    let first = admin(&world, "ListRoles", json!({"MaxItems": "2"})).expect("listed");
    assert_eq!(
        (names(&first), &first["IsTruncated"]),
        (vec!["a".into(), "b".into()], &json!(true))
    );
    let rest = admin(&world, "ListRoles", json!({"Marker": first["Marker"]})).expect("listed");
    assert_eq!(
        (names(&rest), &rest["IsTruncated"]),
        (vec!["c".into()], &json!(false))
    );
}

#[test]
fn permissions_are_evaluated_in_awss_words() {
    let world = World::for_tests();
    admin(&world, "CreateUser", json!({"UserName": "u"})).expect("made");
    let policy = |document: Value| json!({"UserName": "u", "PolicyName": "p", "PolicyDocument": document.to_string()});
    let get = || call(&world, "u", "GetRole", json!({"RoleName": "r"}));
    assert_eq!(
        code(get()),
        (
            403,
            "AccessDenied".into(),
            "User: arn:aws:iam::123456789012:user/u is not authorized to perform: iam:GetRole on resource: \
             arn:aws:iam::123456789012:role/r because no identity-based policy allows the iam:GetRole action"
                .into()
        )
    );
    admin(
        &world,
        "PutUserPolicy",
        policy(serde_json::from_str(&allow("iam:Get*")).expect("JSON")),
    )
    .expect("put");
    assert_eq!(code(get()).1, "NoSuchEntity");
    let both = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:GetRole", "Resource": "arn:aws:iam::*:role/r"},
    ]});
    admin(&world, "PutUserPolicy", policy(both)).expect("put");
    assert!(
        code(get())
            .2
            .ends_with("role/r with an explicit deny in an identity-based policy")
    );

    let simulated = admin(
        &world,
        "SimulatePrincipalPolicy",
        json!({
            "PolicySourceArn": "arn:aws:iam::123456789012:user/u",
            "ActionNames": ["iam:GetRole", "eks:CreateCluster"],
            "ResourceArns": ["arn:aws:iam::123456789012:role/r"],
        }),
    )
    .expect("simulated");
    let decisions: Vec<&Value> = simulated["EvaluationResults"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| &result["EvalDecision"])
        .collect();
    assert_eq!(decisions, ["explicitDeny", "allowed"]);
}

#[test]
fn a_boundary_bounds() {
    let world = World::for_tests();
    let boundary = admin(
        &world,
        "CreatePolicy",
        json!({"PolicyName": "b", "PolicyDocument": allow("eks:*")}),
    )
    .expect("made");
    let role = json!({
        "RoleName": "r",
        "AssumeRolePolicyDocument": trust("ec2.amazonaws.com"),
        "PermissionsBoundary": boundary["Policy"]["Arn"],
    });
    admin(&world, "CreateRole", role).expect("made");
    admin(
        &world,
        "PutRolePolicy",
        json!({"RoleName": "r", "PolicyName": "p", "PolicyDocument": allow("*")}),
    )
    .expect("put");
    let caller = Caller {
        arn: "arn:aws:sts::123456789012:assumed-role/r/s".into(),
        user_id: "AROAX:s".into(),
    };
    let mut state = world.state();
    let refused = aws::invoke(
        &world,
        &mut state,
        &caller,
        "us-west-2",
        "iam",
        "ListRoles",
        &json!({}),
    );
    assert!(
        code(refused)
            .2
            .ends_with("because no permissions boundary allows the iam:ListRoles action")
    );
}

#[test]
fn service_linked_roles_belong_to_their_service() {
    let world = World::for_tests();
    let request = json!({"AWSServiceName": "appmesh.amazonaws.com"});
    let made = admin(&world, "CreateServiceLinkedRole", request.clone()).expect("made");
    assert_eq!(
        made["Role"]["Arn"],
        "arn:aws:iam::123456789012:role/aws-service-role/appmesh.amazonaws.com/AWSServiceRoleForAppMesh"
    );
    assert_eq!(
        code(admin(&world, "CreateServiceLinkedRole", request)).2,
        "Service role name AWSServiceRoleForAppMesh has been taken in this account, please try a different suffix."
    );
    let name = json!({"RoleName": "AWSServiceRoleForAppMesh"});
    assert_eq!(
        code(admin(&world, "DeleteRole", name.clone())).1,
        "UnmodifiableEntity"
    );
    admin(&world, "DeleteServiceLinkedRole", name.clone()).expect("deleted");
    assert_eq!(code(admin(&world, "GetRole", name)).1, "NoSuchEntity");
}

#[test]
fn an_oidc_provider_is_found_by_its_issuer() {
    let world = World::for_tests();
    let url = "https://oidc.eks.us-west-2.amazonaws.com/id/ABC";
    let request = json!({"Url": url, "ClientIDList": ["sts.amazonaws.com"], "Tags": [{"Key": "k", "Value": "v"}]});
    let made = admin(&world, "CreateOpenIDConnectProvider", request.clone()).expect("made");
    let arn = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/ABC";
    assert_eq!(made["OpenIDConnectProviderArn"], arn);
    assert_eq!(
        code(admin(&world, "CreateOpenIDConnectProvider", request)),
        (
            409,
            "EntityAlreadyExists".into(),
            format!("Provider with url {url} already exists.")
        )
    );
    let seen = admin(
        &world,
        "GetOpenIDConnectProvider",
        json!({"OpenIDConnectProviderArn": arn}),
    )
    .expect("seen");
    assert_eq!(seen["Url"], "oidc.eks.us-west-2.amazonaws.com/id/ABC");
    assert_eq!(seen["ThumbprintList"].as_array().map(Vec::len), Some(1));
    assert_eq!(seen["Tags"], json!([{"Key": "k", "Value": "v"}]));
    admin(
        &world,
        "DeleteOpenIDConnectProvider",
        json!({"OpenIDConnectProviderArn": arn}),
    )
    .expect("deleted");
    assert_eq!(
        code(admin(
            &world,
            "GetOpenIDConnectProvider",
            json!({"OpenIDConnectProviderArn": arn})
        ))
        .2,
        format!("OpenIDConnect Provider not found for arn {arn}")
    );
}

#[test]
fn bad_input_is_refused_as_iam_refuses_it() {
    let world = World::for_tests();
    let role = |name: &str, document: &str| {
        admin(
            &world,
            "CreateRole",
            json!({"RoleName": name, "AssumeRolePolicyDocument": document}),
        )
    };
    assert_eq!(
        code(role("a b", &trust("x.amazonaws.com"))).1,
        "ValidationError"
    );
    assert_eq!(
        code(role(&"r".repeat(65), &trust("x.amazonaws.com"))).1,
        "ValidationError"
    );
    assert_eq!(code(role("r", "{")).1, "MalformedPolicyDocument");
    let stranger = json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::123456789012:role/gone"}}});
    assert_eq!(
        code(role("r", &stranger.to_string())).2,
        "Invalid principal in policy: \"AWS\":\"arn:aws:iam::123456789012:role/gone\""
    );
    assert_eq!(
        code(admin(&world, "GetRole", json!({}))).1,
        "ValidationError"
    );
    assert_eq!(
        code(admin(&world, "NoSuchThing", json!({}))).1,
        "InvalidAction"
    );
}
