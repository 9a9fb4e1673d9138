//! OpenAPI, as far as kubectl asks: version 3 per group, version 2 as one document.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::Response;
use serde_json::{Map, Value, json};

use super::api::{Api, Body, bytes, json_body, text};
use super::request::Info;
use super::resources::{Index, Resource};
use super::schema::{ListType, Schema, Shape};
use super::status::Result;

/// Answers a path under `/openapi`.
pub fn answer(api: &Api, info: &Info, accept: &str) -> Result<Response<Body>> {
    let index = api.registry.index();
    let path = info.path.trim_end_matches('/');
    if path == "/openapi/v3" {
        let mut paths = Map::new();
        for (group, version) in index.listed.keys() {
            let path = place(group, version);
            let url = format!("/openapi/v3/{path}?hash={}", index.stamp);
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
        return Ok(json_body(200, &json!({"paths": paths})));
    }
    if path == "/openapi/v2" {
        // kubectl asks for protobuf where version 3 does not have a kind, and gets a document without kinds too.
        if accept.contains("protobuf") && !accept.contains("json") {
            let version = super::VERSION.2;
            let mut info = vec![0x0a, 10];
            info.extend_from_slice(b"Kubernetes");
            info.extend([0x12, version.len() as u8]);
            info.extend_from_slice(version.as_bytes());
            let mut body = vec![0x0a, 3];
            body.extend_from_slice(b"2.0");
            body.extend([0x12, info.len() as u8]);
            body.extend(info);
            let kind = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
            return Ok(bytes(200, kind, body.into()));
        }
        return Ok(json_body(200, &version2(&index)));
    }
    let wanted = path.strip_prefix("/openapi/v3/").unwrap_or("");
    for ((group, version), resources) in &index.listed {
        if place(group, version) == wanted {
            let document = document(group, version, resources);
            return Ok(bytes(200, "application/json", document.to_string().into()));
        }
    }
    Ok(text(404, "404 page not found\n"))
}

fn place(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// Schemas that are named, as they are met.
struct Named {
    prefix: &'static str,
    group: String,
    found: BTreeMap<String, Value>,
}

impl Named {
    /// `io.k8s.api.apps.v1.DeploymentSpec`, without knowing a structure's home: all are filed under the group's.
    fn name(&self, of: &str) -> String {
        let home = match of {
            "ObjectMeta"
            | "OwnerReference"
            | "ManagedFieldsEntry"
            | "LabelSelector"
            | "LabelSelectorRequirement" => "io.k8s.apimachinery.pkg.apis.meta.v1".to_owned(),
            _ => self.group.clone(),
        };
        format!("{home}.{of}")
    }

    fn convert(&mut self, schema: &Schema) -> Value {
        let mut value = match &schema.shape {
            Shape::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Integer(bits) => json!({"type": "integer", "format": format!("int{bits}")}),
            Shape::Number => json!({"type": "number", "format": "double"}),
            Shape::String("quantity") => {
                return self.plain(
                    "io.k8s.apimachinery.pkg.api.resource.Quantity",
                    json!({"type": "string"}),
                    json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
                );
            }
            Shape::String("") => json!({"type": "string"}),
            Shape::String("micro-time") => json!({"type": "string", "format": "date-time"}),
            Shape::String(format) => json!({"type": "string", "format": format}),
            Shape::IntOrString => {
                return self.plain(
                    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
                    json!({"type": "string", "format": "int-or-string"}),
                    json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
                );
            }
            Shape::List(items) => {
                let mut list = json!({"type": "array", "items": self.convert(items)});
                match &schema.list {
                    ListType::Atomic => list["x-kubernetes-list-type"] = "atomic".into(),
                    ListType::Set => {
                        list["x-kubernetes-list-type"] = "set".into();
                        list["x-kubernetes-patch-strategy"] = "merge".into();
                    }
                    ListType::Map(keys) => {
                        list["x-kubernetes-list-type"] = "map".into();
                        list["x-kubernetes-list-map-keys"] = keys.clone().into();
                        list["x-kubernetes-patch-strategy"] = "merge".into();
                        list["x-kubernetes-patch-merge-key"] = keys.first().cloned().into();
                    }
                }
                list
            }
            Shape::Map(values) => {
                json!({"type": "object", "additionalProperties": self.convert(values)})
            }
            Shape::Struct(name, fields) => {
                if name.is_empty() {
                    return self.structure(fields, schema);
                }
                let full = self.name(name);
                if !self.found.contains_key(&full) {
                    self.found.insert(full.clone(), Value::Null);
                    let structure = self.structure(fields, schema);
                    self.found.insert(full.clone(), structure);
                }
                return json!({"$ref": format!("{}{full}", self.prefix)});
            }
        };
        if schema.atomic {
            value["x-kubernetes-map-type"] = "atomic".into();
        }
        value
    }

    /// A value with a name of its own, as the second and the third version of OpenAPI say it.
    fn plain(&mut self, name: &str, second: Value, third: Value) -> Value {
        let value = if self.prefix.contains("components") {
            third
        } else {
            second
        };
        self.found.entry(name.to_owned()).or_insert(value);
        json!({"$ref": format!("{}{name}", self.prefix)})
    }

    fn structure(&mut self, fields: &BTreeMap<String, Arc<Schema>>, schema: &Schema) -> Value {
        let properties: Map<String, Value> = fields
            .iter()
            .map(|(name, field)| {
                let value = self.convert(field);
                // OpenAPI 3.0 allows nothing beside a reference, and kubectl follows this form.
                let value = if value.get("$ref").is_some() && self.prefix.contains("components") {
                    json!({"allOf": [value], "default": {}})
                } else {
                    value
                };
                (name.clone(), value)
            })
            .collect();
        let mut value = json!({"type": "object", "properties": properties});
        if schema.atomic {
            value["x-kubernetes-map-type"] = "atomic".into();
        }
        value
    }

    /// The schema of a kind, with the group, version and kind it stands for.
    fn kind(&mut self, resource: &Resource) -> String {
        let full = self.name(&resource.kind);
        let mut value = match &resource.custom {
            Some(custom) => {
                let mut value = custom.schema.clone();
                let metadata = self.convert(&super::reflect::object_meta());
                value["properties"]["metadata"] = json!({"allOf": [metadata]});
                if self.prefix.contains("definitions") {
                    value["properties"]["metadata"] = self.convert(&super::reflect::object_meta());
                }
                for field in ["apiVersion", "kind"] {
                    if value["properties"][field].is_null() {
                        value["properties"][field] = json!({"type": "string"});
                    }
                }
                value
            }
            None => match &resource.schema().shape {
                Shape::Struct(_, fields) => self.structure(fields, resource.schema()),
                _ => json!({"type": "object"}),
            },
        };
        value["x-kubernetes-group-version-kind"] = json!([{
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        }]);
        self.found.insert(full.clone(), value);
        full
    }
}

fn home(resource: &Resource) -> String {
    match (&resource.custom, resource.group.as_str()) {
        (Some(_), group) => {
            let mut parts: Vec<&str> = group.split('.').collect();
            parts.reverse();
            format!("{}.{}", parts.join("."), resource.version)
        }
        (None, "") => format!("io.k8s.api.core.{}", resource.version),
        (None, group) => {
            let short = group.split('.').next().unwrap_or(group);
            format!("io.k8s.api.{short}.{}", resource.version)
        }
    }
}

fn paths(resource: &Resource, reference: &str, version3: bool) -> Vec<(String, Value)> {
    let root = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    let middle = if resource.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!("{root}{middle}/{}", resource.plural);
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let parameter = |name: &str| {
        if version3 {
            json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
        } else {
            json!({"name": name, "in": "query", "type": "string", "uniqueItems": true})
        }
    };
    let operation = |action: &str| {
        let content = json!({"schema": {"$ref": reference}});
        let ok = if version3 {
            json!({"description": "OK", "content": {"application/json": content}})
        } else {
            json!({"description": "OK", "schema": {"$ref": reference}})
        };
        let mut operation = json!({
            "operationId": format!("{action}{}{}", resource.version, resource.kind),
            "responses": {"200": ok},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
        });
        if matches!(action, "post" | "put" | "patch" | "delete") {
            let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
                .into_iter()
                .map(parameter)
                .collect();
            operation["parameters"] = parameters.into();
        }
        operation
    };
    let mut found = vec![(collection.clone(), json!({"post": operation("post")}))];
    if !resource.review {
        found[0].1["get"] = operation("list");
        found.push((
            format!("{collection}/{{name}}"),
            json!({
                "get": operation("get"), "put": operation("put"), "patch": operation("patch"),
                "delete": operation("delete"),
            }),
        ));
    }
    found
}

fn document(group: &str, version: &str, resources: &[Arc<Resource>]) -> Value {
    let mut named = Named {
        prefix: "#/components/schemas/",
        group: resources
            .first()
            .map(|resource| home(resource))
            .unwrap_or_default(),
        found: BTreeMap::new(),
    };
    let mut all = Map::new();
    for resource in resources {
        let full = named.kind(resource);
        let reference = format!("{}{full}", named.prefix);
        all.extend(paths(resource, &reference, true));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": super::VERSION.2},
        "paths": all,
        "components": {"schemas": named.found},
        "x-kubernetes-group-version": super::object::api_version(group, version),
    })
}

fn version2(index: &Index) -> Value {
    let (mut definitions, mut all) = (BTreeMap::new(), Map::new());
    for resources in index.listed.values() {
        let mut named = Named {
            prefix: "#/definitions/",
            group: resources
                .first()
                .map(|resource| home(resource))
                .unwrap_or_default(),
            found: BTreeMap::new(),
        };
        for resource in resources {
            let full = named.kind(resource);
            let reference = format!("{}{full}", named.prefix);
            all.extend(paths(resource, &reference, false));
        }
        definitions.extend(named.found);
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": super::VERSION.2},
        "paths": all,
        "definitions": definitions,
    })
}
