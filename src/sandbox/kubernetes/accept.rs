//! What a client wants to have its answer as.

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::resources::Resource;
use super::status::{Result, Status};

/// How an answer is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As it is.
    Plain,
    /// As a table, for kubectl.
    Table,
    /// Only the metadata of an object.
    Metadata,
    /// Only the metadata of a list's objects.
    MetadataList,
}

impl View {
    /// The best of what the Accept header names; 406 when it is nothing that is there.
    pub fn of(headers: &HeaderMap, custom: bool) -> Result<View> {
        let accept = headers
            .get("accept")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .trim();
        if accept.is_empty() {
            return Ok(View::Plain);
        }
        let mut clauses: Vec<(f64, Vec<&str>)> = accept
            .split(',')
            .map(|clause| {
                let parts: Vec<&str> = clause.split(';').map(str::trim).collect();
                let quality = parts
                    .iter()
                    .find_map(|part| part.strip_prefix("q=")?.parse().ok());
                (quality.unwrap_or(1.0), parts)
            })
            .collect();
        clauses.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut known = false;
        for (_, parts) in &clauses {
            match parts[0] {
                "application/json" | "application/*" | "*/*" => {}
                // Who takes protobuf or YAML and says so takes JSON too; the content type tells.
                "application/vnd.kubernetes.protobuf" | "application/yaml" => {
                    known = true;
                    continue;
                }
                _ => continue,
            }
            let part = |name: &str| {
                parts
                    .iter()
                    .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
            };
            match (part("as"), part("g"), part("v")) {
                (None, ..) => return Ok(View::Plain),
                (Some(kind), Some("meta.k8s.io"), Some("v1")) => match kind {
                    "Table" => return Ok(View::Table),
                    "PartialObjectMetadata" => return Ok(View::Metadata),
                    "PartialObjectMetadataList" => return Ok(View::MetadataList),
                    _ => {}
                },
                _ => {}
            }
        }
        if known {
            return Ok(View::Plain);
        }
        if custom {
            return Err(Status::new(
                406,
                "NotAcceptable",
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
            ));
        }
        let mut status = Status::new(
            406,
            "NotAcceptable",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        );
        status.details = Some(json!({}));
        Err(status)
    }

    /// A single object, or a list, in this view; an error when the view is of the other sort.
    pub fn check(self, resource: &Resource, list: bool) -> Result<()> {
        let wrong = match (self, list) {
            (View::Metadata, true) => "PartialObjectMetadata",
            (View::MetadataList, false) => "PartialObjectMetadataList",
            _ => return Ok(()),
        };
        if resource.custom.is_some() && !list {
            return Err(Status::new(500, "", "content is not a list"));
        }
        let (kind, not) = if list {
            (&resource.list_kind, "")
        } else {
            (&resource.kind, "not ")
        };
        let package = match resource.group.as_str() {
            "" => "core",
            group => group.split('.').next().unwrap_or(group),
        };
        let kind = match (resource.custom.is_some(), list) {
            (true, true) => "unstructured.UnstructuredList".to_owned(),
            (true, false) => "unstructured.Unstructured".to_owned(),
            (false, _) => format!("{package}.{kind}"),
        };
        Err(Status::new(
            406,
            "NotAcceptable",
            format!("you requested {wrong}, but the requested object is {not}a list (*{kind})"),
        ))
    }
}

/// Only the metadata of an object.
pub fn metadata(value: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value["metadata"],
    })
}
