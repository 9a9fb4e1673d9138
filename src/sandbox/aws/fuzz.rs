//! What reads clients' bytes, as functions of bytes.

use super::cloudformation::template::Template;
use super::iam::policy::{Context, Document, Kind, Request, evaluate};
use super::protocol::{self, Incoming};
use super::services;
use crate::sandbox::registry::manifest::Manifest;

/// Method, path, query and target, a line each, and a body: a request of every service.
pub fn request(bytes: &[u8]) {
    let mut lines = bytes.splitn(5, |byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let mut line = || String::from_utf8_lossy(next()).into_owned();
    let (method, path, query, target) = (line(), line(), line(), line());
    let body = next();
    for service in services() {
        let incoming = Incoming {
            method: &method,
            path: &path,
            query: &query,
            target: (!target.is_empty()).then_some(target.as_str()),
            body,
        };
        if let Err(fault) = protocol::decode(*service, &incoming) {
            let _ = protocol::encode_fault(service.protocol(), "urn:x", &fault, "id");
        }
    }
}

/// A template of CloudFormation.
pub fn template(bytes: &[u8]) {
    if let Ok(template) = Template::parse(&String::from_utf8_lossy(bytes)) {
        let _ = template.capabilities();
        for resource in template.section("Resources").values() {
            let _ = template.dependencies(resource);
        }
    }
}

/// A policy, and what it says of a request.
pub fn policy(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for kind in [Kind::Identity, Kind::Trust, Kind::Resource] {
        let Ok(document) = Document::parse(&text, kind) else {
            continue;
        };
        let mut context = Context::default();
        context.add("aws:TagKeys", "a");
        context.add("aws:SourceIp", "10.0.0.1");
        let request = Request {
            action: "ecr:GetImage",
            resource: "arn:aws:ecr:eu-central-1:1:repository/a",
            context: &context,
            principal: None,
        };
        let _ = evaluate([&document], &request);
    }
}

/// The manifest of an image.
pub fn manifest(bytes: &[u8]) {
    let _ = Manifest::read(bytes, None);
}
