//! Who a request comes from, over HTTP: what is wrongly signed is refused with each protocol's own errors, and what is
//! rightly signed may do what policies say.

use aws_credential_types::Credentials;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

use crate::harness::World;
use crate::wire::{Answer, Request, Sandbox, encode, exchange, exchange_tls, keys};

/// How errors are told apart by protocol.
#[derive(Clone, Copy, Debug)]
enum Form {
    Query,
    Ec2,
    Json,
    RestJson,
}

/// One harmless call of every protocol.
fn calls() -> Vec<(Form, Request)> {
    let form = |service: &str, action: &str, version: &str| {
        Request::form(service, &format!("Action={action}&Version={version}"))
    };
    let json = |service: &str, target: &str| Request::json(service, target, "{}");
    let get = |service: &str, path: &str| Request::new(service, "GET", path, b"");
    vec![
        (Form::Query, form("sts", "GetCallerIdentity", "2011-06-15")),
        (Form::Query, form("iam", "ListRoles", "2010-05-08")),
        (
            Form::Query,
            form(
                "elasticloadbalancing",
                "DescribeLoadBalancers",
                "2015-12-01",
            ),
        ),
        (
            Form::Query,
            form("cloudformation", "DescribeStacks", "2010-05-15"),
        ),
        (Form::Ec2, form("ec2", "DescribeVpcs", "2016-11-15")),
        (
            Form::Json,
            json(
                "ecr",
                "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories",
            ),
        ),
        (Form::Json, json("logs", "Logs_20140328.DescribeLogGroups")),
        (Form::RestJson, get("eks", "/clusters?maxResults=5")),
        (Form::RestJson, get("appmesh", "/v20190125/meshes")),
        (
            Form::RestJson,
            Request::new("xray", "POST", "/GetSamplingRules", b"{}"),
        ),
    ]
}

fn send(sandbox: &Sandbox, request: &Request) -> Answer {
    exchange(sandbox.aws(), &request.bytes())
}

/// Asserts status and code, and that the answer has the form of its protocol.
#[track_caller]
fn refused(what: &str, form: Form, answer: &Answer, wanted: [(u16, &str); 4]) {
    let (status, code) = wanted[form as usize];
    let body = answer.body();
    assert_eq!(answer.status, status, "{what}: {form:?}: {body}");
    let kind = answer.header("content-type");
    match form {
        Form::Query => {
            assert!(kind.starts_with("text/xml"), "{kind}");
            assert!(
                body.starts_with("<ErrorResponse") && body.contains("<Type>Sender</Type>"),
                "{what}: {body}"
            );
            assert_eq!(answer.code(), code, "{what}");
        }
        Form::Ec2 => {
            assert!(kind.starts_with("text/xml"), "{kind}");
            assert!(body.contains("<Response><Errors><Error>"), "{what}: {body}");
            assert_eq!(answer.code(), code, "{what}");
        }
        Form::Json => {
            assert_eq!(kind, "application/x-amz-json-1.1");
            assert_eq!(answer.code(), code, "{what}: {body}");
        }
        Form::RestJson => {
            assert_eq!(kind, "application/json");
            assert_eq!(
                answer.header("x-amzn-errortype"),
                code.to_lowercase(),
                "{what}: {body}"
            );
        }
    }
    assert!(!answer.header("x-amzn-requestid").is_empty(), "{what}");
    assert!(!answer.message().is_empty(), "{what}: {body}");
}

const MISMATCH: [(u16, &str); 4] = [
    (403, "SignatureDoesNotMatch"),
    (401, "AuthFailure"),
    (400, "InvalidSignatureException"),
    (403, "InvalidSignatureException"),
];
const UNKNOWN: [(u16, &str); 4] = [
    (403, "InvalidClientTokenId"),
    (401, "AuthFailure"),
    (400, "UnrecognizedClientException"),
    (403, "UnrecognizedClientException"),
];
const EXPIRED: [(u16, &str); 4] = [
    (403, "ExpiredToken"),
    (400, "RequestExpired"),
    (400, "ExpiredTokenException"),
    (403, "ExpiredTokenException"),
];
const SKEWED: [(u16, &str); 4] = [
    (403, "SignatureDoesNotMatch"),
    (400, "RequestExpired"),
    (400, "InvalidSignatureException"),
    (403, "InvalidSignatureException"),
];
const UNSIGNED: [(u16, &str); 4] = [
    (403, "MissingAuthenticationToken"),
    (400, "MissingParameter"),
    (400, "MissingAuthenticationTokenException"),
    (403, "MissingAuthenticationTokenException"),
];
const INCOMPLETE: [(u16, &str); 4] = [
    (400, "IncompleteSignature"),
    (400, "IncompleteSignature"),
    (400, "IncompleteSignatureException"),
    (403, "IncompleteSignatureException"),
];

fn without(mut request: Request, header: &str) -> Request {
    request.headers.retain(|(name, _)| name != header);
    request
}

fn rewritten(mut request: Request, change: impl Fn(&str) -> String) -> Request {
    for (name, value) in &mut request.headers {
        if name == "authorization" {
            *value = change(value);
        }
    }
    request
}

/// Credentials of a role that may do anything, as STS gives them.
fn session(sandbox: &Sandbox) -> Credentials {
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole",
    }]});
    sandbox.query(
        "iam",
        &format!(
            "Action=CreateRole&Version=2010-05-08&RoleName=worker&AssumeRolePolicyDocument={}",
            encode(&trust.to_string())
        ),
    );
    credentials(&sandbox.query(
        "sts",
        "Action=AssumeRole&Version=2011-06-15&RoleSessionName=me&RoleArn=arn:aws:iam::123456789012:role/worker",
    ))
}

/// The credentials in an answer of STS.
fn credentials(body: &str) -> Credentials {
    let part = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>")).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    keys(
        &part("AccessKeyId"),
        &part("SecretAccessKey"),
        Some(&part("SessionToken")),
    )
}

#[test]
fn what_is_wrongly_signed_is_refused_in_each_protocols_own_terms() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let sandbox = Sandbox::of(&world);
    let admin = sandbox.keys();
    let id = sandbox.text("accessKeyId");
    let session = session(&sandbox);
    let token = |token| keys(session.access_key_id(), session.secret_access_key(), token);
    for (form, call) in calls() {
        let ok = send(&sandbox, &call.clone().signed(&admin));
        assert_eq!(ok.status, 200, "{call:?}: {}", ok.body());
        let check = |what: &str, request: Request, wanted: [(u16, &str); 4]| {
            let answer = send(&sandbox, &request);
            refused(what, form, &answer, wanted);
            answer.message()
        };
        let signed = |keys: &Credentials| call.clone().signed(keys);
        check(
            "a wrong secret",
            signed(&keys(&id, "wrong", None)),
            MISMATCH,
        );
        let stranger = keys("AKIAAAAAAAAAAAAAAAAA", "x", None);
        check("an unknown key", signed(&stranger), UNKNOWN);
        check("a session without its token", signed(&token(None)), UNKNOWN);
        let other = token(Some("another"));
        check("a session with another token", signed(&other), UNKNOWN);
        let mut surplus = keys(&id, &sandbox.text("secretAccessKey"), Some("a token"));
        check("a user's key with a token", signed(&surplus), UNKNOWN);
        surplus = keys(&id.to_lowercase(), "x", None);
        check("a key in another case", signed(&surplus), UNKNOWN);
        for (skew, said) in [
            (-1200, "Signature expired: "),
            (1200, "Signature not yet current: "),
        ] {
            let mut late = call.clone();
            late.skew = skew;
            let message = check("a wrong clock", late.signed(&admin), SKEWED);
            assert!(
                matches!(form, Form::Ec2) || message.starts_with(said),
                "{message}"
            );
        }
        let mut changed = signed(&admin);
        changed.body.extend_from_slice(b" ");
        check("a changed body", changed, MISMATCH);
        let mut changed = signed(&admin);
        changed.target.push_str(if call.target.contains('?') {
            "&a=b"
        } else {
            "?a=b"
        });
        check("a changed query", changed, MISMATCH);
        let changed = rewritten(signed(&admin), |value| {
            value.replace("us-west-2", "us-east-1")
        });
        check("a changed region", changed, MISMATCH);
        let changed = rewritten(signed(&admin), |value| {
            value.replace("aws4_request", "aws5_request")
        });
        check("another terminator", changed, MISMATCH);
        let half = rewritten(signed(&admin), |value| value[..value.len() - 2].to_owned());
        check("half a signature", half, MISMATCH);
        let garbage = rewritten(signed(&admin), |value| format!("{value}zz"));
        check("a signature of other letters", garbage, MISMATCH);
        let hostless = rewritten(signed(&admin), |value| {
            value.replace(";host;", ";").replace("=host;", "=")
        });
        check("a host that is not signed", hostless, MISMATCH);
        check("no signature", call.clone(), UNSIGNED);
        let undated = without(signed(&admin), "x-amz-date");
        check("no date", undated, INCOMPLETE);
        for part in ["Credential", "Signature", "SignedHeaders"] {
            let lacking = rewritten(signed(&admin), |value| value.replace(part, "Something"));
            let message = check("a missing part", lacking, INCOMPLETE);
            assert!(message.contains(part), "{message}");
        }
        let basic = rewritten(signed(&admin), |_| "Basic QVdTOng=".into());
        check("another scheme", basic, INCOMPLETE);
        let ended = rewritten(signed(&admin), |_| "AWS4-HMAC-SHA256".into());
        check("a scheme and nothing else", ended, INCOMPLETE);
    }

    // An expired session: nobody can wait for one, so the clock of its record is put back.
    world.run(&["sandbox", "stop"]).succeeds();
    let file = world.sandbox_directory().join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    for one in state["iam"]["sessions"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        one["expires"] = json!(now - 60_000);
    }
    std::fs::write(&file, state.to_string()).unwrap();
    world.start_sandbox();
    let sandbox = Sandbox::of(&world);
    for (form, call) in calls() {
        let answer = send(&sandbox, &call.signed(&session));
        refused("an expired session", form, &answer, EXPIRED);
    }
}

#[test]
fn presigned_urls_are_honoured_until_they_expire() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let sandbox = Sandbox::of(&world);
    let presigned = |service: &str, target: &str, skew: i64, seconds: u64| {
        let mut request = Request::new(service, "GET", target, b"");
        request.presigned = Some(std::time::Duration::from_secs(seconds));
        request.skew = skew;
        request.signed(&sandbox.keys())
    };
    let identity = "/?Action=GetCallerIdentity&Version=2011-06-15";
    let good = send(&sandbox, &presigned("sts", identity, 0, 60));
    assert_eq!(good.status, 200, "{good:?}");
    // STS honours its presigned URLs for a quarter of an hour, whatever they say.
    let old = send(&sandbox, &presigned("sts", identity, -600, 60));
    assert_eq!(old.status, 200, "{old:?}");
    let expired = send(&sandbox, &presigned("sts", identity, -1000, 60));
    refused("an expired URL", Form::Query, &expired, SKEWED);
    assert!(expired.message().starts_with("Signature expired: "));
    let vpcs = "/?Action=DescribeVpcs&Version=2016-11-15";
    let good = send(&sandbox, &presigned("ec2", vpcs, -100, 300));
    assert_eq!(good.status, 200, "{good:?}");
    let expired = send(&sandbox, &presigned("ec2", vpcs, -400, 300));
    refused("an expired URL", Form::Ec2, &expired, SKEWED);
    let early = send(&sandbox, &presigned("ec2", vpcs, 1200, 300));
    refused("an early URL", Form::Ec2, &early, SKEWED);
    let mut changed = presigned("sts", identity, 0, 60);
    changed.target = changed.target.replace("2011-06-15", "2011-06-16");
    let answer = send(&sandbox, &changed);
    refused("a changed URL", Form::Query, &answer, MISMATCH);
    for part in ["Credential", "Signature", "SignedHeaders", "Date"] {
        let mut lacking = presigned("sts", identity, 0, 60);
        lacking.target = lacking
            .target
            .replace(&format!("X-Amz-{part}="), "Something=");
        let answer = send(&sandbox, &lacking);
        refused("a missing part", Form::Query, &answer, INCOMPLETE);
        assert!(answer.message().contains(part), "{}", answer.message());
    }
    let mut endless = presigned("sts", identity, 0, 60);
    endless.target = endless.target.replace("Expires=60", "Expires=604801");
    refused(
        "too long",
        Form::Query,
        &send(&sandbox, &endless),
        INCOMPLETE,
    );
}

#[test]
fn policies_decide_what_a_session_may_do() {
    let world = World::without_data_plane();
    world.start_sandbox();
    let sandbox = Sandbox::of(&world);
    let worker = session(&sandbox);
    let ecr = |keys: &Credentials, operation: &str, input: &Value| {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        let request = Request::json("ecr", &target, &input.to_string());
        send(&sandbox, &request.signed(keys))
    };
    let arn = |name: &str| format!("arn:aws:ecr:us-west-2:123456789012:repository/{name}");
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {
            "Sid": "Make", "Effect": "Allow", "Action": ["ecr:CreateRepository", "ecr:TagResource"],
            "Resource": arn("team/*"),
            "Condition": {
                "StringEquals": {"aws:RequestTag/owner": "team"},
                "ForAllValues:StringLike": {"aws:TagKeys": ["own*"]},
            },
        },
        {"Sid": "All", "Effect": "Allow", "Action": ["ecr:Describe*", "ecr:Delete*"], "Resource": arn("team/*")},
        {
            "Sid": "Never", "Effect": "Deny", "Action": "ecr:DeleteRepository", "Resource": "*",
            "Condition": {"StringLike": {"aws:ResourceTag/keep": "y*"}},
        },
        {
            "Sid": "Abroad", "Effect": "Allow", "Action": "ecr:CreateRepository", "Resource": arn("abroad"),
            "Condition": {"StringNotEquals": {"aws:RequestedRegion": "us-west-2"}},
        },
    ]});
    sandbox.query(
        "iam",
        &format!(
            "Action=PutRolePolicy&Version=2010-05-08&RoleName=worker&PolicyName=p&PolicyDocument={}",
            encode(&policy.to_string())
        ),
    );
    let tags = |pairs: &[(&str, &str)]| -> Value {
        let tags = pairs.iter();
        tags.map(|(key, value)| json!({"Key": key, "Value": value}))
            .collect()
    };
    let create = |name: &str, pairs: &[(&str, &str)]| {
        let input = json!({"repositoryName": name, "tags": tags(pairs)});
        ecr(&worker, "CreateRepository", &input).status
    };
    assert_eq!(create("team/a", &[("owner", "team")]), 200);
    assert_eq!(
        create("team/b", &[("owner", "other")]),
        400,
        "another value"
    );
    assert_eq!(create("team/b", &[]), 400, "no tag");
    assert_eq!(
        create("team/b", &[("owner", "team"), ("more", "x")]),
        400,
        "a tag too many"
    );
    assert_eq!(create("others/b", &[("owner", "team")]), 400, "elsewhere");
    assert_eq!(create("abroad", &[]), 400, "the wrong region");
    let refusal = ecr(&worker, "ListImages", &json!({"repositoryName": "team/a"}));
    assert_eq!(refusal.code(), "AccessDeniedException");
    assert_eq!(
        refusal.message(),
        format!(
            "User: arn:aws:sts::123456789012:assumed-role/worker/me is not authorized to perform: ecr:ListImages on \
             resource: {} because no identity-based policy allows the ecr:ListImages action",
            arn("team/a")
        )
    );
    let kept = json!({"repositoryName": "team/kept", "tags": tags(&[("keep", "yes")])});
    assert_eq!(ecr(&sandbox.keys(), "CreateRepository", &kept).status, 200);
    let delete = |name: &str| {
        ecr(
            &worker,
            "DeleteRepository",
            &json!({"repositoryName": name}),
        )
    };
    let denied = delete("team/kept");
    assert!(
        denied
            .message()
            .ends_with("with an explicit deny in an identity-based policy"),
        "{}",
        denied.message()
    );
    assert_eq!(delete("team/a").status, 200);
    let form = Request::form("iam", "Action=ListRoles&Version=2010-05-08").signed(&worker);
    let answer = send(&sandbox, &form);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "AccessDenied")
    );
    let form = Request::form("ec2", "Action=DescribeVpcs&Version=2016-11-15").signed(&worker);
    let answer = send(&sandbox, &form);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "UnauthorizedOperation")
    );
}

/// A JSON Web Token of these claims, signed with a key.
fn token(header: &Value, claims: &Value, key: &EcdsaKeyPair) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let random = ring::rand::SystemRandom::new();
    let signature = key.sign(&random, message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn a_service_accounts_token_becomes_its_roles_credentials_and_nobody_elses() {
    let world = World::without_data_plane();
    world.start_sandbox();
    world.run(&["up", "--sandbox"]).succeeds();
    let sandbox = Sandbox::of(&world);
    let cluster = sandbox.get("eks", "/clusters/meshctl-demo")["cluster"].clone();
    let issuer = cluster["identity"]["oidc"]["issuer"].as_str().unwrap();
    let server = cluster["endpoint"].as_str().unwrap();
    let server = server.trim_start_matches("https://").parse().unwrap();
    let bearer = world.bearer();
    let kubernetes = |method: &str, path: &str, body: &Value| {
        let request = Request::new("", method, path, body.to_string().as_bytes())
            .header("authorization", &bearer)
            .header("content-type", "application/json");
        let answer = exchange_tls(server, &request.bytes());
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        serde_json::from_str::<Value>(&answer.body()).unwrap()
    };

    // What a relying party reads of the issuer, and whether the tokens are what it says.
    let path = issuer.split_once(".amazonaws.com").unwrap().1;
    let document = |path: &str| {
        let answer = exchange(sandbox.aws(), &Request::new("", "GET", path, b"").bytes());
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        serde_json::from_str::<Value>(&answer.body()).unwrap()
    };
    let discovery = document(&format!("{path}/.well-known/openid-configuration"));
    assert_eq!(discovery["issuer"], issuer);
    assert_eq!(discovery["jwks_uri"], format!("{issuer}/keys"));
    let jwks = document(&format!("{path}/keys"));
    let gone = Request::new("", "GET", "/id/0123456789ABCDEF/keys", b"");
    assert_eq!(exchange(sandbox.aws(), &gone.bytes()).status, 404);

    let account_token = |namespace: &str, account: &str, audience: &str| {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": 3600},
        });
        let made = kubernetes("POST", &path, &body);
        made["status"]["token"].as_str().unwrap().to_owned()
    };
    let accounts = kubernetes("GET", "/api/v1/serviceaccounts", &Value::Null);
    let annotated = accounts["items"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|one| {
            let role = one["metadata"]["annotations"]["eks.amazonaws.com/role-arn"].as_str()?;
            let name = one["metadata"]["name"].as_str()?;
            let namespace = one["metadata"]["namespace"].as_str()?;
            Some((namespace.to_owned(), name.to_owned(), role.to_owned()))
        });
    let (namespace, account, role) = annotated.expect("an account with a role");
    let right = account_token(&namespace, &account, "sts.amazonaws.com");
    let (message, signature) = right.rsplit_once('.').unwrap();
    let coordinate = |name: &str| {
        URL_SAFE_NO_PAD
            .decode(jwks["keys"][0][name].as_str().unwrap())
            .unwrap()
    };
    let point = [&[4], &coordinate("x")[..], &coordinate("y")].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(
            message.as_bytes(),
            &URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
        .expect("the published key is the one that signs");

    let assume = |role: &str, token: &str| {
        let parameters = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=pod&RoleArn={}&WebIdentityToken={token}",
            encode(role)
        );
        send(&sandbox, &Request::form("sts", &parameters))
    };
    let given = assume(&role, &right);
    assert_eq!(given.status, 200, "{given:?}");
    let pod = credentials(&given.body());
    let identity = Request::form("sts", "Action=GetCallerIdentity&Version=2011-06-15");
    let who = send(&sandbox, &identity.signed(&pod));
    assert!(who.body().contains(":assumed-role/"), "{who:?}");
    // It may do what its role may, and nothing else.
    let other = Request::form("iam", "Action=ListRoles&Version=2010-05-08");
    assert_eq!(send(&sandbox, &other.signed(&pod)).code(), "AccessDenied");

    let refused = |what: &str, role: &str, token: &str, status: u16, code: &str, said: &str| {
        let answer = assume(role, token);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{what}: {}",
            answer.body()
        );
        assert!(
            answer.message().contains(said),
            "{what}: {}",
            answer.message()
        );
    };
    let denied = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
    let audience = account_token(&namespace, &account, "https://kubernetes.default.svc");
    let invalid = "InvalidIdentityToken";
    refused(
        "another audience",
        &role,
        &audience,
        400,
        invalid,
        "Incorrect token audience",
    );
    let subject = account_token("default", "default", "sts.amazonaws.com");
    refused(
        "another subject",
        &role,
        &subject,
        403,
        "AccessDenied",
        denied,
    );
    let absent = role.replace(":role/", ":role/no-");
    refused("no such role", &absent, &right, 403, "AccessDenied", denied);
    refused("no token", &role, "none", 400, invalid, "not a valid JWT");

    // Tokens that somebody else signs, or that the issuer signed otherwise.
    let random = ring::rand::SystemRandom::new();
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let stranger =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random).unwrap();
    let header: Value = {
        let part = right.split('.').next().unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let forged = token(&header, &claims(&right), &stranger);
    refused("a forged token", &role, &forged, 400, invalid, "signature");
    let unsigned = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        right.split('.').nth(1).unwrap()
    );
    refused(
        "an unsigned token",
        &role,
        &unsigned,
        400,
        invalid,
        "signature",
    );
    let mut elsewhere = claims(&right);
    elsewhere["iss"] = json!("https://oidc.eks.us-west-2.amazonaws.com/id/FEED");
    let elsewhere = token(&header, &elsewhere, &stranger);
    let unknown = "No OpenIDConnect provider found in your account";
    refused("another issuer", &role, &elsewhere, 400, invalid, unknown);
    let own = cluster_key(&world);
    let mut late = claims(&right);
    late["exp"] = json!(1_700_000_000);
    let late = token(&header, &late, &own);
    refused(
        "an expired token",
        &role,
        &late,
        400,
        "ExpiredTokenException",
        "Token expired",
    );
    let mut early = claims(&right);
    early["nbf"] = json!(claims(&right)["exp"].as_i64().unwrap() + 86_400);
    let early = token(&header, &early, &own);
    refused(
        "an early token",
        &role,
        &early,
        400,
        invalid,
        "not valid yet",
    );

    // Trust policies with patterns.
    let provider = issuer.trim_start_matches("https://");
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Federated": format!("arn:aws:iam::123456789012:oidc-provider/{provider}")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringLike": {format!("{provider}:sub"): "system:serviceaccount:def*:d?fault"},
            "StringEquals": {format!("{provider}:aud"): "sts.amazonaws.com"},
        },
    }]});
    sandbox.query(
        "iam",
        &format!(
            "Action=CreateRole&Version=2010-05-08&RoleName=pattern&AssumeRolePolicyDocument={}",
            encode(&trust.to_string())
        ),
    );
    let pattern = "arn:aws:iam::123456789012:role/pattern";
    let fits = assume(pattern, &subject);
    assert_eq!(fits.status, 200, "{fits:?}");
    refused(
        "a subject beside the pattern",
        pattern,
        &right,
        403,
        "AccessDenied",
        denied,
    );
    // Without its provider an issuer is nobody.
    sandbox.query(
        "iam",
        &format!(
            "Action=DeleteOpenIDConnectProvider&Version=2010-05-08&OpenIDConnectProviderArn={}",
            encode(&format!(
                "arn:aws:iam::123456789012:oidc-provider/{provider}"
            ))
        ),
    );
    refused("no provider", pattern, &subject, 400, invalid, unknown);
}

/// The key with which the sandbox's one cluster signs tokens.
fn cluster_key(world: &World) -> EcdsaKeyPair {
    let clusters = world.sandbox_directory().join("clusters");
    let mut folders = std::fs::read_dir(clusters).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    let files = std::fs::read_dir(&folder).unwrap().flatten();
    let mut keys = files.filter_map(|file| {
        let text = std::fs::read_to_string(file.path()).ok()?;
        let text = text.split_once("-----BEGIN PRIVATE KEY-----")?.1;
        let text: String = text.split("-----").next()?.split_whitespace().collect();
        let der = base64::engine::general_purpose::STANDARD
            .decode(text)
            .ok()?;
        let name = file.file_name().to_string_lossy().into_owned();
        Some((name, der))
    });
    let (_, der) = keys
        .find(|(name, _)| name.contains("sign") || name.contains("sa"))
        .unwrap();
    let random = ring::rand::SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap()
}
