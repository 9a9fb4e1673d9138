//! The AWS endpoint, and the control of the sandbox beside it.

use super::{Case, DEEP, Form, Scene};
use crate::wire::{self, Request};

/// Calls of query services, up to the value of their last parameter.
const ROLE: (&str, &str) = ("iam", "Action=GetRole&Version=2010-05-08&RoleName");
const VPC: (&str, &str) = ("ec2", "Action=DescribeVpcs&Version=2016-11-15&VpcId.1");
const STACK: &str = "Action=CreateStack&Version=2010-05-15";
const POLICY: (&str, &str) = (
    "iam",
    "Action=PutRolePolicy&Version=2010-05-08&RoleName=meshctl-demo-node&PolicyName=bad&PolicyDocument",
);

/// Adds the cases.
pub fn cases<'a>(scene: &'a Scene, cases: &mut Vec<Case<'a>>) {
    let keys = scene.sandbox.keys();
    let listener = &scene.listeners[0];
    let mut add = |what: &str, request: Request, statuses: &'static [u16], form: Form| {
        let bytes = request.signed(&keys).bytes();
        cases.push((what.to_owned(), listener, bytes, statuses, form));
    };
    let deep = "a.".repeat(DEEP);
    for (service, version, form) in [
        ("iam", "2010-05-08", Form::Query),
        ("sts", "2011-06-15", Form::Query),
        ("cloudformation", "2010-05-15", Form::Query),
        ("elasticloadbalancing", "2015-12-01", Form::Query),
        ("ec2", "2016-11-15", Form::Ec2),
    ] {
        for body in [
            "",
            "Action=",
            "Action=Nonsense",
            "Action=..%2F..%2Fetc%2Fpasswd",
            "Action=%00",
            "Action=%ff%fe",
            "Action=%c0%ae%c0%ae",
            "%41%63",
            "&&&&====&&&",
            "<xml><Action>ListRoles</Action></xml>",
            "{\"Action\": \"ListRoles\"}",
            "Action=Nonsense&Action=Other",
            &format!("Action=Nonsense&{deep}=1"),
            &format!("Action=Nonsense&A.member.{}.B=1", u64::MAX),
            &"A.member.1=x&".repeat(20_000),
        ] {
            let body = match body.is_empty() {
                true => String::new(),
                false => format!("{body}&Version={version}"),
            };
            let what = format!("{service}: {}", &body[..body.len().min(60)]);
            add(&what, Request::form(service, &body), &[400], form);
        }
        let mut binary = Request::form(service, "");
        binary.body = b"Action=\xff\xfe&A=\x00".to_vec();
        add("bytes that are no UTF-8", binary, &[400], form);
        let odd = Request::new(service, "DELETE", "/", b"").header("content-type", "image/png");
        add("another method and type", odd, &[400], form);
    }
    // Values that must not get through to what they look like.
    let mut add_query = |what: &str, (service, parameters): (&str, &str), value: &str, statuses| {
        let body = format!("{parameters}={}", wire::encode(value));
        let form = if service == "ec2" {
            Form::Ec2
        } else {
            Form::Query
        };
        add(what, Request::form(service, &body), statuses, form);
    };
    for name in [
        "..",
        "../../x",
        "a/b",
        "%00",
        "a\u{0}b",
        "é",
        &"x".repeat(100_000),
    ] {
        add_query("a strange role", ROLE, name, &[400, 404]);
        add_query("a strange VPC", VPC, name, &[400]);
        let stack = format!("{STACK}&TemplateBody=%7B%7D&StackName");
        add_query("a strange stack", ("cloudformation", &stack), name, &[400]);
    }
    for template in [
        "",
        "{",
        "[]",
        "null",
        "Resources: 1",
        "Resources: {a: {Type: 'AWS::EC2::VPC', Properties: {CidrBlock: !Sub '${a b}'}}}",
        "Resources: {a: {Type: 1}}",
        "a: &a [*a, *a]",
        "a: &a {b: &b {c: *a}}",
        "!!python/object:os.system {}",
        "Resources: {A: {Type: 'AWS::EC2::VPC', DependsOn: A, Properties: {CidrBlock: 10.0.0.0/16}}}",
        &format!("{{\"Resources\": {}", "[".repeat(DEEP)),
        &format!("a: {}", "[".repeat(DEEP)),
        &format!(
            "{}\nResources: *i",
            (0..9).fold("a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned(), |all, n| {
                let (from, to) = ((b'a' + n) as char, (b'b' + n) as char);
                all + &format!(
                    "{to}: &{to} [*{from},*{from},*{from},*{from},*{from},*{from},*{from}]\n"
                )
            })
        ),
    ] {
        let what = format!("a template: {}", &template[..template.len().min(60)]);
        let stack = format!("{STACK}&StackName=bad&TemplateBody");
        add_query(&what, ("cloudformation", &stack), template, &[400]);
    }
    for policy in [
        "",
        "{",
        "[]",
        "{\"Statement\":[]}",
        "{\"Statement\":[{}]}",
        "{\"Statement\":[1,2]}",
        "{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":[]}}",
        &format!("{{\"Statement\":{}", "[".repeat(DEEP)),
    ] {
        add_query("a policy", POLICY, policy, &[400]);
    }
    let depth = "[".repeat(DEEP);
    let object = format!("{}{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP));
    for body in [
        "{",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{\"a\":1}}",
        "{\"a\":1,}",
        "{'a':1}",
        "{\"a\":\"\\ud800\"}",
        "{\"repositoryName\":\"\u{0}\"}",
        "<xml/>",
        "repositoryName=x",
        &depth,
        &object,
        "{\"repositoryName\":[\"x\"]}",
        "{\"repositoryName\":{}}",
        "{\"repositoryName\":\"../../x\"}",
        "{\"repositoryName\":\"a/../b\"}",
        "{\"repositoryName\":\"A\"}",
    ] {
        let what = format!("JSON: {}", &body[..body.len().min(40)]);
        let target = "AmazonEC2ContainerRegistry_V20150921.CreateRepository";
        let repository = Request::json("ecr", target, body);
        add(&what, repository, &[400], Form::Json);
        let create = Request::new("eks", "POST", "/clusters", body.as_bytes())
            .header("content-type", "application/json");
        add(&what, create, &[400], Form::Json);
        let mesh = Request::new("appmesh", "PUT", "/v20190125/meshes", body.as_bytes());
        add(&what, mesh, &[400], Form::Json);
    }
    for target in [
        "",
        "x",
        "AmazonEC2ContainerRegistry_V20150921",
        "AmazonEC2ContainerRegistry_V20150921.",
        "AmazonEC2ContainerRegistry_V20150921.Nonsense",
        "Logs_20140328.CreateLogGroup",
        "AmazonEC2ContainerRegistry_V20150921.CreateRepository.CreateRepository",
    ] {
        let request = Request::json("ecr", target, "{}");
        add("a target", request, &[400], Form::Json);
    }
    for (method, path) in [
        ("GET", "/nonsense"),
        ("GET", "/clusters/.."),
        ("GET", "/clusters/%2e%2e"),
        ("GET", "/clusters/..%2f..%2fetc%2fpasswd"),
        ("GET", "/clusters/a%2fb"),
        ("GET", "/clusters/%00"),
        ("GET", "/clusters/%c0%ae%c0%ae"),
        ("GET", "/clusters/%ff"),
        ("GET", "/clusters/%"),
        ("GET", "/clusters/%zz"),
        ("GET", "/clusters/meshctl-demo/../../clusters/x"),
        ("GET", "/clusters/meshctl-demo/nonsense"),
        ("DELETE", "/clusters"),
        ("DELETE", "/clusters/meshctl-demo%00"),
        ("DELETE", "/clusters/MESHCTL-DEMO"),
        ("POST", "/clusters/meshctl-demo/node-groups/../../.."),
        ("PATCH", "/clusters/meshctl-demo"),
        ("GET", "/clusters?maxResults=x"),
        ("GET", "/clusters?maxResults=-1"),
        ("GET", "/clusters?maxResults=99999999999999999999"),
        ("GET", "/clusters?maxResults=1&maxResults=2"),
    ] {
        let what = format!("EKS: {method} {path}");
        let request = Request::new("eks", method, path, b"");
        add(&what, request, &[400, 403, 404], Form::Json);
    }
    add(
        "an unknown service",
        Request::form("s3", "Action=ListBuckets&Version=2006-03-01"),
        &[404],
        Form::Query,
    );
    for (what, authorization) in [
        ("an empty authorization", ""),
        ("a gigantic authorization", &*"x".repeat(30_000)),
        ("only commas", "AWS4-HMAC-SHA256 ,,,,,,,,"),
        (
            "slashes",
            "AWS4-HMAC-SHA256 Credential=///////, SignedHeaders=;;;;, Signature=0",
        ),
        (
            "a long signature",
            "AWS4-HMAC-SHA256 Credential=a/b/c/iam/e, SignedHeaders=host, Signature=é",
        ),
    ] {
        let request = Request::form("", "Action=ListRoles&Version=2010-05-08")
            .header("authorization", authorization)
            .header("x-amz-date", "20260101T000000Z");
        cases.push((
            what.into(),
            listener,
            request.bytes(),
            &[400, 403, 404],
            Form::Query,
        ));
    }
    // The control of the sandbox itself.
    let token = format!("Bearer {}", scene.sandbox.text("token"));
    for (method, path, authorization, statuses) in [
        ("POST", "/_sandbox/stop", "", &[401][..]),
        ("POST", "/_sandbox/stop", "Bearer x", &[401]),
        ("POST", "/_sandbox/stop", "Bearer ", &[401]),
        ("GET", "/_sandbox/decisions", "", &[401]),
        ("GET", "/_sandbox/stop", &token, &[404]),
        ("POST", "/_sandbox/status", &token, &[404]),
        ("POST", "/_sandbox/../_sandbox/stop", &token, &[404]),
        ("POST", "/_sandbox/%73top", &token, &[404]),
        ("POST", "/_sandbox/", &token, &[404]),
        ("GET", "/id/../_sandbox/stop", &token, &[403, 404]),
        ("GET", "/id/%00/keys", "", &[403, 404]),
    ] {
        let request = Request::new("", method, path, b"").header("authorization", authorization);
        let what = format!("control: {method} {path}");
        cases.push((what, listener, request.bytes(), statuses, Form::Json));
    }
}
