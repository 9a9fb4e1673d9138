use serde_json::json;

use super::*;

fn context(pairs: &[(&str, &str)]) -> Context {
    let mut context = Context::default();
    for (key, value) in pairs {
        context.add(key, *value);
    }
    context
}

fn decide(statement: &Value, action: &str, resource: &str, pairs: &[(&str, &str)]) -> Decision {
    let document = json!({"Version": "2012-10-17", "Statement": statement}).to_string();
    let document = Document::parse(&document, Kind::Identity).expect("a valid document");
    document.evaluate(&Request {
        action,
        resource,
        context: &context(pairs),
        principal: None,
    })
}

const CLUSTER: &str = "arn:aws:eks:us-west-2:123456789012:cluster/demo";

#[test]
fn actions_and_resources_match_with_wildcards() {
    let table = [
        (json!({"Action": "*", "Resource": "*"}), true),
        (json!({"Action": "eks:*", "Resource": "*"}), true),
        (json!({"Action": "EKS:create*", "Resource": "*"}), true),
        (
            json!({"Action": "eks:CreateCluste?", "Resource": "*"}),
            true,
        ),
        (
            json!({"Action": ["eks:DeleteCluster", "ec2:*"], "Resource": "*"}),
            false,
        ),
        (json!({"NotAction": "ec2:*", "Resource": "*"}), true),
        (json!({"NotAction": "eks:*", "Resource": "*"}), false),
        (
            json!({"Action": "eks:CreateCluster", "Resource": CLUSTER}),
            true,
        ),
        (
            json!({"Action": "eks:CreateCluster", "Resource": "arn:aws:eks:*:*:cluster/d*"}),
            true,
        ),
        (
            json!({"Action": "eks:CreateCluster", "Resource": "arn:aws:eks:*:*:cluster/D*"}),
            false,
        ),
        (
            json!({"Action": "eks:CreateCluster", "NotResource": CLUSTER}),
            false,
        ),
    ];
    for (mut statement, allowed) in table {
        statement["Effect"] = json!("Allow");
        let expected = if allowed {
            Decision::Allowed
        } else {
            Decision::NotAllowed
        };
        assert_eq!(
            decide(&statement, "eks:CreateCluster", CLUSTER, &[]),
            expected,
            "{statement}"
        );
    }
}

#[test]
fn a_call_without_a_resource_needs_a_star() {
    let statement =
        json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:vpc/*"});
    assert_eq!(
        decide(&statement, "ec2:DescribeVpcs", "*", &[]),
        Decision::NotAllowed
    );
}

#[test]
fn a_deny_wins() {
    let statements = json!([
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "eks:Delete*", "Resource": "*"},
    ]);
    assert_eq!(
        decide(&statements, "eks:DeleteCluster", CLUSTER, &[]),
        Decision::Denied
    );
    assert_eq!(
        decide(&statements, "eks:CreateCluster", CLUSTER, &[]),
        Decision::Allowed
    );
}

#[test]
fn conditions_hold_or_not() {
    let owner = ("aws:ResourceTag/elbv2.k8s.aws/cluster", "demo");
    type Case<'a> = (Value, &'a [(&'a str, &'a str)], bool);
    let table: &[Case<'_>] = &[
        (
            json!({"StringEquals": {"aws:resourcetag/elbv2.k8s.aws/cluster": "demo"}}),
            &[owner],
            true,
        ),
        (
            json!({"StringEquals": {"aws:ResourceTag/elbv2.k8s.aws/cluster": ["x", "demo"]}}),
            &[owner],
            true,
        ),
        (
            json!({"StringEquals": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "demo"}}),
            &[],
            false,
        ),
        (
            json!({"StringNotEquals": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "demo"}}),
            &[],
            true,
        ),
        (
            json!({"StringNotEquals": {"aws:ResourceTag/elbv2.k8s.aws/cluster": ["demo", "x"]}}),
            &[owner],
            false,
        ),
        (
            json!({"StringEqualsIfExists": {"aws:ResourceTag/x": "y"}}),
            &[],
            true,
        ),
        (
            json!({"StringLike": {"iam:PassedToService": "eks*.amazonaws.com"}}),
            &[("iam:PassedToService", "eks.amazonaws.com")],
            true,
        ),
        (
            json!({"Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "false"}}),
            &[("aws:RequestTag/elbv2.k8s.aws/cluster", "d")],
            true,
        ),
        (
            json!({"Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "true"}}),
            &[],
            true,
        ),
        (
            json!({"Null": {"aws:RequestTag/elbv2.k8s.aws/cluster": "false"}}),
            &[],
            false,
        ),
        (
            json!({"Bool": {"aws:SecureTransport": true}}),
            &[("aws:SecureTransport", "true")],
            true,
        ),
        (
            json!({"Bool": {"aws:SecureTransport": "false"}}),
            &[("aws:SecureTransport", "true")],
            false,
        ),
        (
            json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}),
            &[("aws:TagKeys", "a")],
            true,
        ),
        (
            json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}),
            &[("aws:TagKeys", "a"), ("aws:TagKeys", "c")],
            false,
        ),
        (
            json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}),
            &[],
            true,
        ),
        (
            json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}),
            &[("aws:TagKeys", "a"), ("aws:TagKeys", "c")],
            true,
        ),
        (
            json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}),
            &[],
            false,
        ),
        (
            json!({"NumericLessThan": {"iam:Max": "10"}}),
            &[("iam:Max", "9")],
            true,
        ),
        (
            json!({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}),
            &[("aws:CurrentTime", "2026-11-21T00:00:00Z")],
            true,
        ),
        (
            json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}),
            &[("aws:SourceIp", "127.0.0.1")],
            true,
        ),
        (
            json!({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}),
            &[("aws:SourceIp", "127.0.0.1")],
            true,
        ),
        (
            json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/x-*"}}),
            &[("aws:PrincipalArn", "arn:aws:iam::1:role/x-y")],
            true,
        ),
        (
            json!({"StringEquals": {"aws:a": "1", "aws:b": "2"}}),
            &[("aws:a", "1")],
            false,
        ),
        (
            json!({"StringEquals": {"aws:a": "${aws:username}"}}),
            &[("aws:a", "bob"), ("aws:username", "bob")],
            true,
        ),
    ];
    for (conditions, pairs, allowed) in table {
        let statement =
            json!({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": conditions});
        let expected = if *allowed {
            Decision::Allowed
        } else {
            Decision::NotAllowed
        };
        assert_eq!(
            decide(&statement, "a:B", "*", pairs),
            expected,
            "{conditions} with {pairs:?}"
        );
    }
}

#[test]
fn malformed_documents_are_refused_in_iams_words() {
    let table = [
        ("{", Kind::Identity, "This policy contains invalid Json"),
        ("[]", Kind::Identity, "This policy contains invalid Json"),
        (
            r#"{"Version":"2012-10-17"}"#,
            Kind::Identity,
            "Missing required field Statement",
        ),
        (
            r#"{"Version":"2013-10-17","Statement":[]}"#,
            Kind::Identity,
            "Syntax errors in policy.",
        ),
        (
            r#"{"Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}"#,
            Kind::Identity,
            "Syntax errors in policy.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Resource":"*"}]}"#,
            Kind::Identity,
            "Policy statement must contain actions.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"eks:*"}]}"#,
            Kind::Identity,
            "Policy statement must contain resources.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"eks","Resource":"*"}]}"#,
            Kind::Identity,
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"eks:*","Resource":"demo"}]}"#,
            Kind::Identity,
            "Resource demo must be in ARN format or \"*\".",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"eks:*","Resource":"*","Principal":"*"}]}"#,
            Kind::Identity,
            "Policy document should not specify a principal.",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*","Principal":"*"}]}"#,
            Kind::Trust,
            "Has prohibited field Resource",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}"#,
            Kind::Trust,
            "Missing required field Principal",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"bob"}}]}"#,
            Kind::Trust,
            "Invalid principal in policy: \"AWS\":\"bob\"",
        ),
        (
            r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"aws:a":"b"}}}]}"#,
            Kind::Identity,
            "Syntax errors in policy.",
        ),
    ];
    for (text, kind, message) in table {
        assert_eq!(
            Document::parse(text, kind).map(|_| ()).unwrap_err(),
            message,
            "{text}"
        );
    }
}

#[test]
fn trust_policies_name_principals() {
    let trusts = |principal: Value, who: Principal<'_>| {
        let text = json!({"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal}}).to_string();
        let document = Document::parse(&text, Kind::Trust).expect("a valid document");
        let context = Context::default();
        document.evaluate(&Request {
            action: "sts:AssumeRole",
            resource: "*",
            context: &context,
            principal: Some(who),
        }) == Decision::Allowed
    };
    let session = Principal::Aws {
        arn: "arn:aws:sts::123456789012:assumed-role/admin/me",
        account: "123456789012",
    };
    assert!(trusts(
        json!({"Service": ["ec2.amazonaws.com"]}),
        Principal::Service("ec2.amazonaws.com")
    ));
    assert!(!trusts(
        json!({"Service": ["ec2.amazonaws.com"]}),
        Principal::Service("eks.amazonaws.com")
    ));
    assert!(trusts(json!({"AWS": "123456789012"}), session));
    assert!(trusts(
        json!({"AWS": "arn:aws:iam::123456789012:root"}),
        session
    ));
    assert!(trusts(
        json!({"AWS": "arn:aws:iam::123456789012:role/admin"}),
        session
    ));
    assert!(!trusts(
        json!({"AWS": "arn:aws:iam::123456789012:role/other"}),
        session
    ));
    assert!(trusts(json!("*"), session));
}

#[test]
fn globs_never_take_long() {
    let pattern = "*a".repeat(60);
    assert!(!glob(&pattern, &"a".repeat(50)));
    assert!(glob("a*c?e", "abbbcde"));
    assert!(glob("", ""));
    assert!(!glob("?", ""));
}
