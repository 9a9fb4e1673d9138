use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use super::*;
use crate::sandbox::aws::{Caller, invoke};

const ISSUER: &str = "https://oidc.eks.us-west-2.amazonaws.com/id/ABC";
const ROLE: &str = "arn:aws:iam::123456789012:role/pod";

struct Cluster {
    key: EcdsaKeyPair,
}

impl Cluster {
    fn new() -> Self {
        let random = SystemRandom::new();
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Cluster {
            key: key.expect("a key"),
        }
    }

    fn jwks(&self) -> Value {
        let point = self.key.public_key().as_ref();
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "k",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]),
            "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
        }]})
    }

    fn token(&self, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!(
            "{}.{}",
            encode(&json!({"alg": "ES256", "kid": "k"})),
            encode(claims)
        );
        let signature = self
            .key
            .sign(&SystemRandom::new(), message.as_bytes())
            .expect("signs");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn sts(world: &World, caller: &str, operation: &str, input: &Value) -> Result<Value, Fault> {
    let caller = Caller {
        arn: caller.into(),
        user_id: "X".into(),
    };
    invoke(
        world,
        &mut world.state(),
        &caller,
        "us-west-2",
        "sts",
        operation,
        input,
    )
}

fn world(cluster: &Cluster) -> World {
    let world = World::for_tests();
    let mut state = world.state();
    iam::bootstrap(&world, &mut state);
    state.eks.issuers.insert(ISSUER.into(), cluster.jwks());
    let provider =
        "arn:aws:iam::123456789012:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/ABC";
    state.iam.oidc_providers.insert(
        provider.into(),
        iam::OidcProvider {
            client_ids: vec!["sts.amazonaws.com".into()],
            ..iam::OidcProvider::default()
        },
    );
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {"StringEquals": {
                "oidc.eks.us-west-2.amazonaws.com/id/ABC:sub": "system:serviceaccount:demo:proxy",
                "oidc.eks.us-west-2.amazonaws.com/id/ABC:aud": "sts.amazonaws.com",
            }},
        },
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"},
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]});
    state.iam.roles.insert(
        "pod".into(),
        Role {
            id: "AROAPOD".into(),
            path: "/".into(),
            trust: trust.to_string(),
            max_session: 3600,
            ..Role::default()
        },
    );
    drop(state);
    world
}

fn claims(world: &World) -> Value {
    json!({
        "iss": ISSUER,
        "sub": "system:serviceaccount:demo:proxy",
        "aud": ["sts.amazonaws.com"],
        "exp": world.clock.now() / 1000 + 600,
    })
}

fn exchange(world: &World, token: String) -> Result<Value, Fault> {
    let input = json!({"RoleArn": ROLE, "RoleSessionName": "pod-1", "WebIdentityToken": token});
    sts(world, "anonymous", "AssumeRoleWithWebIdentity", &input)
}

#[test]
fn a_pods_token_becomes_credentials_of_its_role() {
    let cluster = Cluster::new();
    let world = world(&cluster);
    let answer = exchange(&world, cluster.token(&claims(&world))).expect("exchanged");
    assert_eq!(
        answer["AssumedRoleUser"]["Arn"],
        "arn:aws:sts::123456789012:assumed-role/pod/pod-1"
    );
    assert_eq!(answer["AssumedRoleUser"]["AssumedRoleId"], "AROAPOD:pod-1");
    let key = answer["Credentials"]["AccessKeyId"]
        .as_str()
        .expect("a key");
    let credential = world.state().iam.credential(key).expect("a session");
    assert_eq!(
        credential.caller.arn,
        "arn:aws:sts::123456789012:assumed-role/pod/pod-1"
    );
}

#[test]
fn every_other_token_is_refused() {
    let cluster = Cluster::new();
    let world = world(&cluster);
    let code = |token: String| exchange(&world, token).map(|_| ()).unwrap_err().code;
    let with = |claim: &str, value: Value| {
        let mut claims = claims(&world);
        claims[claim] = value;
        cluster.token(&claims)
    };
    assert_eq!(code("a.b.c".into()), "InvalidIdentityToken");
    assert_eq!(
        code(Cluster::new().token(&claims(&world))),
        "InvalidIdentityToken"
    );
    assert_eq!(
        code(with("iss", json!("https://elsewhere"))),
        "InvalidIdentityToken"
    );
    assert_eq!(
        code(with("aud", json!("kubernetes"))),
        "InvalidIdentityToken"
    );
    assert_eq!(code(with("exp", json!(1))), "ExpiredTokenException");
    assert_eq!(
        code(with("sub", json!("system:serviceaccount:demo:other"))),
        "AccessDenied"
    );
    world.state().eks.issuers.clear();
    assert_eq!(code(cluster.token(&claims(&world))), "InvalidIdentityToken");
}

#[test]
fn roles_are_assumed_by_those_they_trust() {
    let world = world(&Cluster::new());
    let input = json!({"RoleArn": ROLE, "RoleSessionName": "me"});
    let user = "arn:aws:iam::123456789012:user/sandbox";
    sts(&world, user, "AssumeRole", &input).expect("the administrator may");
    world
        .state()
        .iam
        .users
        .insert("weak".into(), iam::User::default());
    let weak = "arn:aws:iam::123456789012:user/weak";
    let refused = sts(&world, weak, "AssumeRole", &input).unwrap_err();
    assert_eq!(
        refused.message,
        "User: arn:aws:iam::123456789012:user/weak is not authorized to perform: sts:AssumeRole on resource: \
         arn:aws:iam::123456789012:role/pod"
    );
    let long = json!({"RoleArn": ROLE, "RoleSessionName": "me", "DurationSeconds": "7200"});
    assert_eq!(
        sts(&world, user, "AssumeRole", &long).unwrap_err().code,
        "ValidationError"
    );
    let mut state = world.state();
    assert!(service_session(&world, &mut state, "ec2.amazonaws.com", "pod", "i-1").is_ok());
    assert!(service_session(&world, &mut state, "eks.amazonaws.com", "pod", "i-1").is_err());
}
