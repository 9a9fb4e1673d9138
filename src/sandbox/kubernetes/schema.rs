//! The shape of a kind: what its fields are, and how its lists and maps are merged.
//!
//! Custom resources bring their own schema; those of the built-in kinds come from the k8s-openapi types by reflection
//! ([`super::reflect`]).

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
    /// A string; the word is OpenAPI's format (`date-time`, `byte`, `quantity`), or empty.
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

/// Brings an object of a built-in kind into the shape of its type, as decoding into a Go structure does: unknown fields
/// and nulls go away, empty lists and maps too. Returns the unknown fields.
pub fn decode(schema: &Schema, value: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    visit(schema, value, &mut Place::default(), &mut unknown)?;
    Ok(unknown)
}

#[derive(Default)]
struct Place {
    /// With indexes, for unknown fields.
    path: String,
    /// Without, as Go's decoder says it.
    fields: String,
    owner: &'static str,
}

fn visit(
    schema: &Schema,
    value: &mut Value,
    place: &mut Place,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    let expected = match (&schema.shape, &*value) {
        (_, Value::Null) | (Shape::Any, _) => return Ok(()),
        (Shape::Number, Value::Number(_)) => return Ok(()),
        (Shape::String("quantity"), Value::Number(_) | Value::String(_)) => {
            let text = match &*value {
                Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            *value = super::quantity::canonical(&text)?.into();
            return Ok(());
        }
        (Shape::String("byte"), Value::String(text)) => {
            use base64::Engine as _;
            return match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(_) => Ok(()),
                Err(_) => Err(bad_base64(text)),
            };
        }
        (Shape::Bool, Value::Bool(_)) | (Shape::String(_), Value::String(_)) => return Ok(()),
        (Shape::IntOrString, Value::Number(_) | Value::String(_)) => return Ok(()),
        (Shape::Integer(bits), Value::Number(number)) => {
            let fits = number
                .as_i64()
                .is_some_and(|number| *bits == 64 || i32::try_from(number).is_ok());
            if fits {
                return Ok(());
            }
            return Err(cannot(
                &format!("number {number}"),
                place,
                &format!("int{bits}"),
            ));
        }
        (Shape::List(items), Value::Array(_)) => {
            let Value::Array(list) = value else {
                return Ok(());
            };
            for (index, item) in list.iter_mut().enumerate() {
                let length = place.path.len();
                place.path.push_str(&format!("[{index}]"));
                visit(items, item, place, unknown)?;
                place.path.truncate(length);
            }
            return Ok(());
        }
        (Shape::Map(values), Value::Object(_)) => {
            let Value::Object(map) = value else {
                return Ok(());
            };
            for (key, item) in map.iter_mut() {
                // In a map of Go a null is the empty value.
                if item.is_null() && matches!(values.shape, Shape::String(_)) {
                    *item = "".into();
                }
                // Go's decoder names the map, not the key.
                let length = place.path.len();
                place.path.push_str(&format!(".{key}"));
                visit(values, item, place, unknown)?;
                place.path.truncate(length);
            }
            return Ok(());
        }
        (Shape::Struct(name, fields), Value::Object(_)) => {
            let Value::Object(map) = value else {
                return Ok(());
            };
            let owner = std::mem::replace(&mut place.owner, name);
            let mut drop = Vec::new();
            for (key, item) in map.iter_mut() {
                let Some(field) = fields.get(key) else {
                    if !schema.preserve {
                        drop.push(key.clone());
                        if !item.is_null() {
                            enter(place, key, |place| unknown.push(place.path.clone()));
                        }
                    }
                    continue;
                };
                enter(place, key, |place| visit(field, item, place, unknown))?;
                let empty = match item {
                    Value::Null => true,
                    // A role without rules says so.
                    Value::Array(list) => {
                        list.is_empty()
                            && !(key == "rules" && name.ends_with("Role") || key == "managedFields")
                    }
                    Value::Object(map) => map.is_empty() && matches!(field.shape, Shape::Map(_)),
                    _ => false,
                };
                if empty {
                    drop.push(key.clone());
                }
            }
            for key in drop {
                map.shift_remove(&key);
            }
            place.owner = owner;
            return Ok(());
        }
        (Shape::Bool, _) => "bool".to_owned(),
        (Shape::Integer(bits), _) => format!("int{bits}"),
        (Shape::Number, _) => "float64".to_owned(),
        (Shape::String("date-time"), _) => "v1.Time".to_owned(),
        (Shape::String("quantity"), _) => "resource.Quantity".to_owned(),
        (Shape::String("byte"), _) => "[]uint8".to_owned(),
        (Shape::String(_), _) => named(place).to_owned(),
        (Shape::IntOrString, _) => "intstr.IntOrString".to_owned(),
        (Shape::List(items), _) => format!("[]{}", go_type(items)),
        (Shape::Map(values), _) => format!("map[string]{}", go_type(values)),
        (Shape::Struct(name, _), _) => format!("v1.{name}"),
    };
    let got = super::gojson::kind(value);
    Err(cannot(got, place, &expected))
}

/// The Go types of strings that are more than strings.
fn named(place: &Place) -> &'static str {
    let field = place.path.rsplit('.').next().unwrap_or("");
    match (place.owner, field) {
        ("Secret", "type") => "v1.SecretType",
        ("ServiceSpec", "type") => "v1.ServiceType",
        ("ServiceSpec", "sessionAffinity") => "v1.ServiceAffinity",
        ("ServiceSpec", "externalTrafficPolicy") => "v1.ServiceExternalTrafficPolicy",
        ("ServicePort" | "ContainerPort", "protocol") => "v1.Protocol",
        ("Container", "imagePullPolicy") => "v1.PullPolicy",
        ("PodSpec", "restartPolicy") => "v1.RestartPolicy",
        ("PodSpec", "dnsPolicy") => "v1.DNSPolicy",
        ("DeploymentStrategy", "type") => "v1.DeploymentStrategyType",
        ("Toleration", "operator") => "v1.TolerationOperator",
        ("Toleration", "effect") => "v1.TaintEffect",
        ("LabelSelectorRequirement", "operator") => "v1.LabelSelectorOperator",
        ("ObjectMeta" | "OwnerReference", "uid") => "types.UID",
        _ => "string",
    }
}

/// Where Go's decoder stops.
fn bad_base64(text: &str) -> String {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let bytes = text.as_bytes();
    let at = bytes
        .iter()
        .position(|byte| !good(*byte))
        .unwrap_or(bytes.len() / 4 * 4);
    format!("illegal base64 data at input byte {at}")
}

fn enter<T>(place: &mut Place, key: &str, visit: impl FnOnce(&mut Place) -> T) -> T {
    let (path, fields) = (place.path.len(), place.fields.len());
    for text in [&mut place.path, &mut place.fields] {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(key);
    }
    let result = visit(place);
    place.path.truncate(path);
    place.fields.truncate(fields);
    result
}

fn cannot(got: &str, place: &Place, expected: &str) -> String {
    if place.owner.is_empty() {
        return format!("json: cannot unmarshal {got} into Go value of type {expected}");
    }
    format!(
        "json: cannot unmarshal {got} into Go struct field {}.{} of type {expected}",
        place.owner, place.fields
    )
}

fn go_type(schema: &Schema) -> String {
    match &schema.shape {
        Shape::Any => "interface {}".into(),
        Shape::Bool => "bool".into(),
        Shape::Integer(bits) => format!("int{bits}"),
        Shape::Number => "float64".into(),
        Shape::String("byte") => "[]uint8".into(),
        Shape::String(_) => "string".into(),
        Shape::IntOrString => "intstr.IntOrString".into(),
        Shape::List(items) => format!("[]{}", go_type(items)),
        Shape::Map(values) => format!("map[string]{}", go_type(values)),
        Shape::Struct(name, _) => format!("v1.{name}"),
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
