//! Custom resources that both servers have: one with everything a schema can say, one plain one of cluster scope, and
//! those of App Mesh.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::peers::Side;

/// A definition whose schema uses each word that the embedded server claims to know.
fn things() -> Value {
    let spec = json!({
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
            "even": {"type": "integer", "multipleOf": 2},
            "count": {"type": "integer", "format": "int32"},
            "mode": {"type": "string", "enum": ["fast", "slow"], "default": "slow"},
            "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
            "on": {"type": "boolean", "default": true},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "when": {"type": "string", "format": "date-time"},
            "replicas": {"type": "integer", "default": 1},
            "maybe": {"type": "string", "nullable": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "integer"}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 3},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 4, "items": {"type": "string"}},
            "numbers": {"type": "array", "minItems": 1, "items": {"type": "integer", "maximum": 100}},
            "parts": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                "items": {
                    "type": "object", "required": ["id"],
                    "properties": {
                        "id": {"type": "string"},
                        "weight": {"type": "integer", "default": 5},
                        "colour": {"type": "string"},
                    },
                },
            },
            "whole": {
                "type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
            },
            "nested": {
                "type": "object", "default": {},
                "properties": {"depth": {"type": "integer", "default": 3}, "note": {"type": "string"}},
            },
            "choice": {
                "type": "object",
                "properties": {"left": {"type": "string"}, "right": {"type": "string"}},
                "oneOf": [{"required": ["left"]}, {"required": ["right"]}],
            },
            "low": {"type": "integer"},
            "high": {"type": "integer"},
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "fixed is fixed"}]},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "message": "low must not be above high"},
        ],
    });
    let schema = json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": spec,
            "status": {
                "type": "object",
                "properties": {
                    "phase": {"type": "string"},
                    "replicas": {"type": "integer"},
                    "conditions": {
                        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                        "items": {
                            "type": "object", "required": ["type", "status"],
                            "properties": {"type": {"type": "string"}, "status": {"type": "string"}, "reason": {"type": "string"}},
                        },
                    },
                },
            },
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "shortNames": ["th"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "selectableFields": [{"jsonPath": ".spec.mode"}],
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode", "description": "How."},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }],
        },
    })
}

/// A definition without subresources, with free content and two versions.
fn worlds() -> Value {
    let schema = json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {"spec": {"type": "object", "properties": {"level": {"type": "integer", "default": 7}}}},
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "worlds.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": {"kind": "World", "plural": "worlds"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
                {"name": "v1beta1", "served": true, "storage": false, "deprecated": true, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    })
}

/// The definitions of the App Mesh controller, as the tool applies them.
fn app_mesh() -> Vec<Value> {
    let mut environment = minijinja::Environment::new();
    environment.add_filter("json", |value: minijinja::Value| {
        serde_json::to_string(&value).unwrap_or_default()
    });
    let text = environment
        .render_str(
            include_str!("../../../../templates/app-mesh/crds.yaml"),
            minijinja::context! { labels => minijinja::context! { app => "test" } },
        )
        .expect("the definitions of App Mesh");
    serde_yaml::Deserializer::from_str(&text)
        .filter_map(|document| {
            let value: Value = serde::Deserialize::deserialize(document).expect("YAML");
            value.is_object().then_some(value)
        })
        .collect()
}

/// Makes the definitions on a server and waits until they are served.
pub async fn install(side: &Side) {
    const PLACE: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut definitions = vec![things(), worlds()];
    definitions.extend(app_mesh());
    for definition in &definitions {
        let answer = side
            .http
            .post(format!("{}{PLACE}", side.url))
            .bearer_auth(&side.token)
            .json(definition)
            .send()
            .await
            .expect("an answer");
        let code = answer.status();
        let text = answer.text().await.unwrap_or_default();
        assert_eq!(code, 201, "{}: {text}", definition["metadata"]["name"]);
    }
    for definition in &definitions {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        for version in spec["versions"].as_array().into_iter().flatten() {
            let path = format!(
                "{}/apis/{}/{}/{}",
                side.url,
                text(&spec["group"]),
                text(&version["name"]),
                text(&spec["names"]["plural"])
            );
            let began = Instant::now();
            loop {
                let answer = side.http.get(&path).bearer_auth(&side.token).send().await;
                if answer.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
                assert!(
                    began.elapsed() < Duration::from_secs(30),
                    "{path} is not served"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
