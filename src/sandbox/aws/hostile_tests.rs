//! Arbitrary bytes for whatever reads them: nothing panics, overflows or hangs.

use proptest::prelude::*;
use serde_json::Value;

use super::cloudformation::template::Template;
use super::iam::policy::{Context, Document, Kind, Request, evaluate, glob};
use super::protocol::{self, Incoming};
use super::signature::{self, Signed};
use super::{Fault, services};
use crate::sandbox::registry::manifest::Manifest;
use crate::sandbox::state::State;

/// Text that is almost right: one of these with pieces taken out, doubled or replaced by noise.
fn bent(samples: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        0..24usize,
        0..3u8,
        prop::collection::vec(any::<u8>(), 0..6),
    );
    let changes = prop::collection::vec(change, 0..5);
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..400),
        4 => (prop::sample::select(samples), changes).prop_map(|(sample, changes)| {
            let mut bytes = sample.as_bytes().to_vec();
            for (at, length, what, noise) in changes {
                let at = at.index(bytes.len() + 1);
                let end = (at + length).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let with = match what {
                    0 => Vec::new(),
                    1 => [&piece[..], &piece[..]].concat(),
                    _ => noise,
                };
                bytes.splice(at..end, with);
            }
            bytes
        }),
    ]
}

const POLICIES: &[&str] = &[
    r#"{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":["ecr:*","s3:Get?"],"Resource":"arn:aws:ecr:*:*:repository/${aws:username}/*","Condition":{"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["a*"]},"NumericLessThan":{"aws:EpochTime":"5"},"IpAddress":{"aws:SourceIp":"10.0.0.0/33"},"DateLessThan":{"aws:CurrentTime":"2026-01-01"}}}]}"#,
    r#"{"Statement":{"Effect":"Deny","NotAction":"*","NotResource":"*","Condition":{"Null":{"a:b":"true"},"Bool":{"c:d":false}}}}"#,
    r#"{"Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012","Service":["eks.amazonaws.com"]},"Action":"sts:AssumeRole"}]}"#,
];

const TEMPLATES: &[&str] = &[
    "Parameters:\n  A: {Type: String, Default: x}\nConditions:\n  C: !Equals [!Ref A, x]\nResources:\n  V:\n    Type: AWS::EC2::VPC\n    Condition: C\n    Properties:\n      CidrBlock: !Sub '10.${A}.0.0/16'\n      Tags: [{Key: Name, Value: !Join ['-', [!Ref 'AWS::StackName', v]]}]\nOutputs:\n  O: {Value: !GetAtt V.CidrBlock}\n",
    r#"{"Resources":{"R":{"Type":"AWS::IAM::Role","Properties":{"AssumeRolePolicyDocument":{"Fn::If":["C",{"Ref":"AWS::NoValue"},{}]}}}}}"#,
    "Resources: {A: {Type: 'AWS::EC2::Subnet', Properties: {CidrBlock: !Select [0, !Cidr [!GetAtt V.CidrBlock, 4, 8]]}}}",
];

const MANIFESTS: &[&str] = &[
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":2},"layers":[{"digest":"sha256:0","size":-1}]}"#,
];

const FORMS: &[&str] = &[
    "Action=CreateRole&Version=2010-05-08&Tags.member.1.Key=a%2Bb&Tags.member.2.Value=&Filter.1.Value.1=x+y",
    "Action=X&A.=1&.B=2&A.member.99999999999999999999=3&A.member.1=4&A=5&%ff=%zz&A.1.1.1.1=6",
];

const PATHS: &[&str] = &[
    "/clusters/a%2Fb/addons/c",
    "/tags/arn%3Aaws%3Aeks%3Aus-west-2%3A1%3Acluster%2Fdemo",
    "/v20190125/meshes/m/virtualRouter/r/routes/x",
    "//clusters/../%00/%ff",
];

const HEADERS: &[&str] = &[
    "AWS4-HMAC-SHA256 Credential=AKIA/20261121/us-west-2/sts/aws4_request, SignedHeaders=host;x-amz-date, Signature=00ff",
    "AWS4-HMAC-SHA256 Credential=////,SignedHeaders=;,Signature=é",
];

const DATES: &[&str] = &["20261121T032000Z", "99999999T999999Z", "00000101T000000Z"];

const TOKENS: &[&str] = &[
    "https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261121%2Fus-west-2%2Fsts%2Faws4_request&X-Amz-Date=20261121T032000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-k8s-aws-id&X-Amz-Signature=00",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn policies_are_read_or_refused(bytes in bent(POLICIES), action in ".{0,20}", resource in ".{0,30}") {
        let text = String::from_utf8_lossy(&bytes);
        for kind in [Kind::Identity, Kind::Trust, Kind::Resource] {
            if let Ok(document) = Document::parse(&text, kind) {
                let mut context = Context::default();
                context.add("aws:TagKeys", action.as_str());
                context.add("aws:SourceIp", resource.as_str());
                context.add("aws:CurrentTime", resource.as_str());
                let request = Request { action: &action, resource: &resource, context: &context, principal: None };
                let _ = evaluate([&document], &request);
                let _ = document.allowing(&request);
            }
        }
    }

    #[test]
    fn patterns_are_matched_in_time(pattern in "[*?a]{0,60}", text in "a{0,200}b?") {
        let _ = glob(&pattern, &text);
        prop_assert!(glob("*", &text) && glob(&text, &text));
    }

    #[test]
    fn templates_are_read_or_refused(bytes in bent(TEMPLATES)) {
        if let Ok(template) = Template::parse(&String::from_utf8_lossy(&bytes)) {
            let _ = template.capabilities();
            let _ = template.description();
            for resource in template.section("Resources").values() {
                let _ = template.dependencies(resource);
            }
        }
    }

    #[test]
    fn manifests_are_read_or_refused(bytes in bent(MANIFESTS)) {
        let _ = Manifest::read(&bytes, None);
        let _ = Manifest::read(&bytes, Some("application/vnd.oci.image.index.v1+json"));
    }

    #[test]
    fn requests_are_decoded_or_refused(
        body in bent(FORMS),
        query in bent(FORMS),
        path in bent(PATHS),
        target in ".{0,40}",
    ) {
        let (query, path) = (String::from_utf8_lossy(&query), String::from_utf8_lossy(&path));
        for service in services() {
            for method in ["GET", "POST", "PUT", "DELETE"] {
                let target = format!("{}.{target}", service.namespace());
                let incoming = Incoming { method, path: &path, query: &query, target: Some(&target), body: &body };
                match protocol::decode(*service, &incoming) {
                    Ok(decoded) => prop_assert!(decoded.input.is_object()),
                    Err(fault) => {
                        let encoded = protocol::encode_fault(service.protocol(), "urn:x", &fault, "id");
                        prop_assert!((400..500).contains(&encoded.status));
                    }
                }
            }
        }
    }

    #[test]
    fn errors_are_well_formed_whatever_they_say(message in any::<String>(), code in any::<String>()) {
        let fault = Fault::new(400, code, message.clone()).with("detail", Value::from(message));
        for service in services() {
            let encoded = protocol::encode_fault(service.protocol(), "urn:x", &fault, "id");
            if encoded.content_type.contains("json") {
                prop_assert!(serde_json::from_str::<Value>(&encoded.body).is_ok());
            } else {
                let text = encoded.body.rsplit("?>\n").next().unwrap_or_default();
                let mut reader = quick_xml::Reader::from_str(text);
                loop {
                    match reader.read_event() {
                        Ok(quick_xml::events::Event::Eof) => break,
                        Ok(_) => {}
                        Err(error) => prop_assert!(false, "{error}: {text:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn signatures_are_read_or_refused(header in bent(HEADERS), date in bent(DATES), query in bent(TOKENS), body in any::<Vec<u8>>()) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = [
            ("authorization".to_owned(), text(&header)),
            ("x-amz-date".to_owned(), text(&date)),
            ("host".to_owned(), "127.0.0.1".to_owned()),
        ];
        let query = text(&query);
        let query = query.split_once('?').map_or("", |(_, query)| query);
        let state = State::default();
        for headers in [&headers[..], &headers[2..]] {
            let signed = Signed { method: "GET", path: "/a/../%2f", query, headers, body: &body };
            if let Ok(Some(claim)) = signature::claim(&signed) {
                prop_assert!(claim.authenticate(&signed, &state, 1_795_231_200_000, 300_000).is_err());
            }
        }
    }

    #[test]
    fn tokens_of_clusters_are_refused(url in bent(TOKENS), raw in any::<String>()) {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&url);
        let state = State::default();
        for token in [format!("k8s-aws-v1.{encoded}"), format!("k8s-aws-v1.{raw}"), raw.clone()] {
            let found = signature::verify_eks_token(&state, &token, "demo", "127.0.0.1:1", 1_795_231_200_000);
            prop_assert!(found.is_err());
        }
    }
}
