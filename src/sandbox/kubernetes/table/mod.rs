//! Tables, as `kubectl get` asks for them.

mod cells;
mod path;
mod rich;

use std::borrow::Cow;

use serde_json::{Value, json};

use super::object;
use super::request::Query;
use super::resources::Resource;

/// One object as a table.
pub fn one(resource: &Resource, object: &Value, query: &Query) -> Value {
    let mut meta = json!({});
    if let Some(revision) = object["metadata"].get("resourceVersion") {
        meta["resourceVersion"] = revision.clone();
    }
    many(resource, &[Cow::Borrowed(object)], meta, query, true)
}

/// Objects as a table.
pub fn many(
    resource: &Resource,
    objects: &[Cow<'_, Value>],
    metadata: Value,
    query: &Query,
    header: bool,
) -> Value {
    let custom = resource.custom.as_ref();
    let columns = match custom {
        Some(custom) => custom_columns(&custom.columns),
        None => cells::columns(resource),
    };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = match custom {
                Some(custom) => custom_cells(&custom.columns, object),
                None => cells::cells(resource, object),
            };
            let shown = match query.get("includeObject") {
                "None" => Value::Null,
                "Object" => object.clone().into_owned(),
                _ => json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                    "metadata": object["metadata"],
                }),
            };
            json!({"cells": cells, "object": shown})
        })
        .collect();
    let columns = if header { columns.into() } else { Value::Null };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// The definition of a column; those with a priority are shown by `-o wide`.
fn column(name: &str, kind: &str, priority: i64) -> Value {
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": kind, "format": format, "description": "", "priority": priority})
}

fn custom_columns(columns: &[Value]) -> Vec<Value> {
    let mut all = vec![column("Name", "string", 0)];
    all[0]["description"] = cells::description("Name").into();
    for one in columns {
        let path = object::text(one, "jsonPath");
        let mut column = column(
            object::text(one, "name"),
            object::text(one, "type"),
            one["priority"].as_i64().unwrap_or(0),
        );
        if let Some(format) = one["format"].as_str() {
            column["format"] = format.into();
        }
        column["description"] = match object::text(one, "description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}").into(),
            text => text.into(),
        };
        all.push(column);
    }
    if columns.is_empty() {
        let mut age = column("Age", "date", 0);
        age["description"] = cells::description("Age").into();
        all.push(age);
    }
    all
}

fn custom_cells(columns: &[Value], object: &Value) -> Vec<Value> {
    let mut cells = vec![Value::from(object::name(object))];
    for column in columns {
        let found = path::find(object, object::text(column, "jsonPath"));
        let kind = object::text(column, "type");
        cells.push(match found {
            None | Some(Value::Null) => Value::Null,
            Some(Value::String(text)) if kind == "date" => cells::age(&text).into(),
            Some(value) => match (kind, value) {
                ("string", Value::String(text)) => text.into(),
                ("string", other) => other.to_string().into(),
                (_, other) => other,
            },
        });
    }
    if columns.is_empty() {
        let created = object::text(object, "metadata.creationTimestamp");
        cells.push(cells::age(created).into());
    }
    cells
}
