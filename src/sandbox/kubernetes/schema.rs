//! The shape of a kind: what its fields are, and how its lists and maps are merged.
//!
//! Custom resources bring their own schema; those of the built-in kinds come from the k8s-openapi types by reflection
//! ([`super::reflect`]). How objects are brought into the shape of their kind stands in [`super::decode`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// One node of a schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// What may stand here.
    pub shape: Shape,
    /// Whether a map or a structure is owned and replaced as one.
    pub atomic: bool,
    /// For lists: how items are told apart.
    pub list: ListType,
    /// The value that a missing field has.
    pub default: Option<Value>,
    /// Whether unknown fields are kept.
    pub preserve: bool,
    /// Whether `null` is a value here.
    pub nullable: bool,
    /// What becomes of it when it is zero.
    pub zero: Zero,
    /// Its place among the fields of its Go type.
    pub place: u16,
}

/// What Go's encoder does with a field that is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zero {
    /// What was there stays, as behind a pointer.
    #[default]
    Kept,
    /// It is left out.
    Omitted,
    /// It is always there: a time, which is then `null`.
    Null,
    /// It is always there: a count, which is then 0.
    Count,
}

/// What may stand in a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// A whole number of this many bits.
    Integer(u8),
    /// A number.
    Number,
    /// A string; the word is its format (`date-time`, `micro-time`, `byte`, `quantity`), or empty.
    String(&'static str),
    /// A whole number or a string.
    IntOrString,
    /// A list.
    List(Arc<Schema>),
    /// Free keys, one kind of value.
    Map(Arc<Schema>),
    /// Named fields. The name is the type's, empty for custom resources.
    Struct(&'static str, BTreeMap<String, Arc<Schema>>),
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ListType {
    /// Not at all.
    #[default]
    Atomic,
    /// By value.
    Set,
    /// By these fields.
    Map(Vec<String>),
}

impl Schema {
    /// A node without further properties.
    pub fn new(shape: Shape) -> Self {
        Schema {
            shape,
            atomic: false,
            list: ListType::Atomic,
            default: None,
            preserve: false,
            nullable: false,
            zero: Zero::Kept,
            place: 0,
        }
    }

    /// The schema of a field or of a map's value.
    pub fn field(&self, name: &str) -> Option<&Arc<Schema>> {
        match &self.shape {
            Shape::Struct(_, fields) => fields.get(name),
            Shape::Map(value) => Some(value),
            _ => None,
        }
    }

    /// The schema of a list's items.
    pub fn items(&self) -> Option<&Arc<Schema>> {
        match &self.shape {
            Shape::List(items) => Some(items),
            _ => None,
        }
    }
}

/// The schema that a custom resource's `openAPIV3Schema` describes, for merging and ownership. `metadata` is the
/// built-in one at the root and in embedded resources.
pub fn from_openapi(schema: &Value, metadata: &Arc<Schema>, root: bool) -> Schema {
    convert(schema, metadata, root, false)
}

/// What is free is free all the way down, for the merger.
fn convert(schema: &Value, metadata: &Arc<Schema>, root: bool, free: bool) -> Schema {
    let preserve = free || schema["x-kubernetes-preserve-unknown-fields"] == true;
    let embedded = root || schema["x-kubernetes-embedded-resource"] == true;
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties");
    let shape = match schema["type"].as_str().unwrap_or("") {
        // What is one of two the merger takes as it comes.
        _ if schema["x-kubernetes-int-or-string"] == true => Shape::Any,
        "boolean" => Shape::Bool,
        "integer" => Shape::Integer(64),
        "number" => Shape::Number,
        "string" => Shape::String(""),
        "array" => Shape::List(Arc::new(convert(
            &schema["items"],
            metadata,
            false,
            preserve,
        ))),
        "object" => match additional {
            Some(Value::Object(_)) if properties.is_none() => Shape::Map(Arc::new(convert(
                additional.unwrap_or(&Value::Null),
                metadata,
                false,
                preserve,
            ))),
            Some(Value::Bool(true)) if properties.is_none() => {
                Shape::Map(Arc::new(Schema::new(Shape::Any)))
            }
            _ => {
                let empty = Map::new();
                let mut fields: BTreeMap<String, Arc<Schema>> = properties
                    .unwrap_or(&empty)
                    .iter()
                    .map(|(name, schema)| {
                        (
                            name.clone(),
                            Arc::new(convert(schema, metadata, false, preserve)),
                        )
                    })
                    .collect();
                if embedded {
                    for name in ["apiVersion", "kind"] {
                        fields.insert(name.into(), Arc::new(Schema::new(Shape::String(""))));
                    }
                    fields.insert("metadata".into(), metadata.clone());
                }
                Shape::Struct("", fields)
            }
        },
        _ => Shape::Any,
    };
    let mut node = Schema::new(shape);
    node.preserve = preserve;
    node.nullable = schema["nullable"] == true;
    node.atomic = schema["x-kubernetes-map-type"] == "atomic";
    node.default = schema.get("default").cloned();
    node.list = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(
            schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|key| key.as_str().map(str::to_owned))
                .collect(),
        ),
        _ => ListType::Atomic,
    };
    node
}
