//! Brings objects of built-in kinds into the shape of their Go types, as upstream does in two ways: its JSON decoder, and
//! the converter that strategic patches and server-side apply go through. Each has its own words for what does not fit, and
//! its own order: the decoder goes on after most mistakes and tells the first one, but a type that reads itself (a quantity,
//! a time) ends it at once; the converter ends at the first one.

mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

use super::schema::{Schema, Shape, Zero};
use super::{gojson, gotime, quantity, repeated};
use words::{bad_base64, embedded, go_type, map_type, named, plain};

/// Who reads an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The decoder of JSON.
    Json,
    /// The converter of what was read already.
    Converter,
}

/// What a reader that looks at fields says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Odd {
    /// Its type does not have it.
    Unknown(String),
    /// It is given twice.
    Twice(String),
}

impl std::fmt::Display for Odd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Odd::Unknown(path) => write!(f, "unknown field {path:?}"),
            Odd::Twice(path) => write!(f, "duplicate field {path:?}"),
        }
    }
}

/// Brings an object of a built-in kind into the shape of its type: unknown fields and nulls go away, empty lists and maps
/// too. Returns the unknown fields and those that are given twice, as they come.
pub fn decode(schema: &Schema, value: &mut Value, reader: Reader) -> Result<Vec<Odd>, String> {
    let mut walk = Walk {
        reader,
        path: String::new(),
        fields: String::new(),
        owner: "",
        odd: Vec::new(),
        saved: None,
    };
    walk.visit(schema, value)?;
    match walk.saved {
        Some(wrong) => Err(wrong),
        None => Ok(walk.odd),
    }
}

struct Walk {
    reader: Reader,
    /// With indexes, for unknown fields.
    path: String,
    /// Without, as Go's decoder says it.
    fields: String,
    owner: &'static str,
    odd: Vec<Odd>,
    /// The first mistake that did not end the walk.
    saved: Option<String>,
}

type Step = Result<(), String>;

/// Go takes what is left over in the last letter of base64 for nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

impl Walk {
    fn visit(&mut self, schema: &Schema, value: &mut Value) -> Step {
        match (&schema.shape, &*value) {
            (_, Value::Null) | (Shape::Bool, Value::Bool(_)) => Ok(()),
            (Shape::Any, _) | (Shape::Number, Value::Number(_)) => {
                whole_numbers(value);
                let twice = repeated::settle(value, &self.path);
                self.odd.extend(twice.into_iter().map(Odd::Twice));
                Ok(())
            }
            (Shape::String("quantity"), given) => {
                let text = match given {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                *value = quantity::canonical(text.trim())?.into();
                Ok(())
            }
            (Shape::String(format @ ("date-time" | "micro-time")), Value::String(text)) => {
                let time = gotime::canonical(text, *format == "micro-time")?;
                *value = match time.starts_with("0001-01-01T00:00:00") {
                    // Go's zero is no time.
                    true => Value::Null,
                    false => time.into(),
                };
                Ok(())
            }
            (Shape::String("date-time" | "micro-time"), other) => {
                Err(self.cannot(gojson::kind(other), "string"))
            }
            (Shape::String("byte"), Value::String(_) | Value::Array(_)) => self.bytes(value),
            (Shape::String("byte"), _) => self.mistyped(value, "slice", "[]uint8"),
            (Shape::String(_), Value::String(_)) => Ok(()),
            (Shape::IntOrString, Value::String(_)) => Ok(()),
            (Shape::IntOrString, Value::Number(number)) => {
                match number.as_i64().map(i32::try_from) {
                    Some(Ok(_)) => Ok(()),
                    _ => Err(self.cannot(&format!("number {number}"), "int32")),
                }
            }
            (Shape::IntOrString, other) => Err(self.cannot(gojson::kind(other), "int32")),
            (Shape::Integer(bits), Value::Number(_)) => self.integer(value, *bits),
            (Shape::List(items), Value::Array(_)) => self.list(items, value),
            (Shape::Map(values), Value::Object(_)) => self.map(values, value),
            (Shape::Struct(name, fields), Value::Object(_)) => {
                let owner = std::mem::replace(&mut self.owner, name);
                let result = self.structure(schema, name, fields, value);
                self.owner = owner;
                result
            }
            (Shape::Bool, _) => self.mistyped(value, "", "bool"),
            (Shape::Integer(bits), _) => self.mistyped(value, "", &format!("int{bits}")),
            (Shape::Number, _) => self.mistyped(value, "", "float64"),
            (Shape::String(_), _) => self.mistyped(value, "", named(self.owner, &self.path)),
            (Shape::List(items), _) => {
                let items = match self.owner {
                    "NamespaceSpec" => "v1.FinalizerName".into(),
                    _ => go_type(items),
                };
                self.mistyped(value, "slice", &format!("[]{items}"))
            }
            (Shape::Map(values), _) => self.mistyped(value, "map", &map_type(values)),
            (Shape::Struct(name, _), _) => self.mistyped(value, "struct", &format!("v1.{name}")),
        }
    }

    /// A value of another type. `kind` is what the converter calls the wanted one, empty for scalars.
    fn mistyped(&mut self, value: &Value, kind: &str, wanted: &str) -> Step {
        if self.reader == Reader::Json {
            let wrong = self.cannot(gojson::kind(value), wanted);
            self.saved.get_or_insert(wrong);
            return Ok(());
        }
        let got = match value {
            Value::Null => "invalid",
            Value::Bool(_) => "bool",
            Value::Number(number) if number.is_f64() => "float64",
            Value::Number(_) => "int64",
            Value::String(_) => "string",
            Value::Array(_) => "slice",
            Value::Object(_) => "map",
        };
        Err(match kind {
            // Of scalars only whole numbers and strings have a way from one to the other in Go, and it is not taken.
            "" if got == "int64" && !matches!(wanted, "bool") => {
                format!("cannot convert {got} to {wanted}")
            }
            "" => format!("unrecognized type: {}", plain(wanted)),
            "struct" => format!("cannot restore struct from: {got}"),
            kind => format!("cannot restore {kind} from {got}"),
        })
    }

    fn integer(&mut self, value: &mut Value, bits: u8) -> Step {
        let Value::Number(number) = &*value else {
            return Ok(());
        };
        let whole = number.as_i64();
        if whole.is_some_and(|number| bits == 64 || i32::try_from(number).is_ok()) {
            return Ok(());
        }
        match (self.reader, whole) {
            (Reader::Json, _) => {
                let wrong = self.cannot(&format!("number {number}"), &format!("int{bits}"));
                self.saved.get_or_insert(wrong);
                Ok(())
            }
            // The converter cuts off what does not fit, but for fractions.
            (Reader::Converter, Some(whole)) => {
                *value = i64::from(whole as i32).into();
                Ok(())
            }
            (Reader::Converter, None) => {
                let whole = number.as_f64().filter(|number| number.fract() == 0.0);
                let Some(whole) = whole else {
                    return Err(format!("cannot convert float64 to int{bits}"));
                };
                *value = match bits {
                    64 => (whole as i64).into(),
                    _ => i64::from(whole as i64 as i32).into(),
                };
                Ok(())
            }
        }
    }

    /// Bytes: base64, or a list of numbers, which is a list of bytes too.
    fn bytes(&mut self, value: &mut Value) -> Step {
        let bytes = match &*value {
            Value::String(text) => {
                let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
                match BASE64.decode(&text) {
                    Ok(bytes) => bytes,
                    Err(_) if self.reader == Reader::Json => {
                        self.saved.get_or_insert(bad_base64(&text));
                        return Ok(());
                    }
                    Err(_) => {
                        return Err(format!("error decoding from json: {}", bad_base64(&text)));
                    }
                }
            }
            Value::Array(list) => {
                let mut bytes = Vec::with_capacity(list.len());
                for item in list {
                    bytes.push(self.byte(item)?);
                }
                bytes
            }
            _ => return Ok(()),
        };
        *value = BASE64.encode(bytes).into();
        Ok(())
    }

    fn byte(&mut self, item: &Value) -> Result<u8, String> {
        match (item, self.reader) {
            (Value::Null, _) => Ok(0),
            (Value::Number(number), Reader::Json) => {
                let byte = number.as_u64().and_then(|number| u8::try_from(number).ok());
                if byte.is_none() {
                    let wrong = self.cannot(&format!("number {number}"), "uint8");
                    self.saved.get_or_insert(wrong);
                }
                Ok(byte.unwrap_or(0))
            }
            (Value::Number(number), Reader::Converter) => {
                match (number.as_i64(), number.as_f64()) {
                    (Some(number), _) => Ok(number as u8),
                    (None, Some(number)) if number.fract() == 0.0 => Ok(number as i64 as u8),
                    _ => Err("cannot convert float64 to uint8".into()),
                }
            }
            (other, _) => self.mistyped(other, "", "uint8").map(|()| 0),
        }
    }

    fn list(&mut self, items: &Schema, value: &mut Value) -> Step {
        for (index, item) in value.as_array_mut().into_iter().flatten().enumerate() {
            // Nothing is the empty value in a list of Go.
            match items.shape {
                Shape::String("") if item.is_null() => *item = "".into(),
                Shape::Struct(..) if item.is_null() => *item = json!({}),
                _ => {}
            }
            let length = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            self.visit(items, item)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn map(&mut self, values: &Schema, value: &mut Value) -> Step {
        let Value::Object(map) = value else {
            return Ok(());
        };
        let mut seen = repeated::Seen::of(map);
        for (key, item) in map.iter_mut() {
            let key = repeated::field(key);
            // In a map of Go a null is the empty value.
            match values.shape {
                Shape::String("quantity") if item.is_null() => *item = "0".into(),
                Shape::String(_) if item.is_null() => *item = "".into(),
                _ => {}
            }
            // Go's decoder names the map, not the key.
            let length = self.path.len();
            self.path.push_str(&format!(".{key}"));
            if seen.again(key) {
                self.odd.push(Odd::Twice(self.path.clone()));
            }
            self.visit(values, item)?;
            self.path.truncate(length);
        }
        map.retain(|key, _| !repeated::is_earlier(key));
        Ok(())
    }

    fn structure(
        &mut self,
        schema: &Schema,
        name: &str,
        fields: &BTreeMap<String, Arc<Schema>>,
        value: &mut Value,
    ) -> Step {
        let Value::Object(map) = value else {
            return Ok(());
        };
        let mut drop = Vec::new();
        if self.reader == Reader::Converter {
            // Field by field of the type, not as they come.
            let mut all: Vec<(String, Value)> = std::mem::take(map).into_iter().collect();
            all.sort_by_key(|(key, _)| fields.get(key).map(|field| field.place));
            map.extend(all);
        }
        let mut seen = repeated::Seen::of(map);
        for (key, item) in map.iter_mut() {
            let known = repeated::field(key);
            let Some(field) = fields.get(known) else {
                if schema.preserve {
                    repeated::settle(item, "");
                } else {
                    drop.push(key.clone());
                    self.enter(known, |walk| walk.odd.push(Odd::Unknown(walk.path.clone())));
                }
                continue;
            };
            let again = seen.again(known);
            self.enter(known, |walk| {
                if again {
                    walk.odd.push(Odd::Twice(walk.path.clone()));
                }
                walk.visit(field, item)
            })?;
        }
        repeated::merge(fields, map);
        for (key, item) in map.iter_mut() {
            let Some(field) = fields.get(key) else {
                continue;
            };
            let empty = match item {
                Value::Null => true,
                // A role without rules says so.
                Value::Array(list) => {
                    list.is_empty()
                        && !(key == "rules" && name.ends_with("Role") || key == "managedFields")
                }
                Value::Object(map) => map.is_empty() && matches!(field.shape, Shape::Map(_)),
                Value::Bool(on) => !*on && field.zero == Zero::Omitted,
                Value::Number(number) => {
                    field.zero == Zero::Omitted && number.as_f64() == Some(0.0)
                }
                Value::String(text) => text.is_empty() && field.zero == Zero::Omitted,
            };
            if empty && field.zero != Zero::Null {
                drop.push(key.clone());
            }
        }
        for (key, field) in fields {
            if field.zero == Zero::Null && !map.contains_key(key) {
                map.insert(key.clone(), Value::Null);
            }
        }
        for key in drop {
            map.shift_remove(&key);
        }
        count(fields, map);
        Ok(())
    }

    fn enter<T>(&mut self, key: &str, visit: impl FnOnce(&mut Walk) -> T) -> T {
        let (path, fields) = (self.path.len(), self.fields.len());
        for text in [&mut self.path, &mut self.fields] {
            if !text.is_empty() {
                text.push('.');
            }
        }
        self.path.push_str(key);
        if let Some(embedded) = embedded(self.owner, key) {
            self.fields.push_str(embedded);
            self.fields.push('.');
        }
        self.fields.push_str(key);
        let result = visit(self);
        self.path.truncate(path);
        self.fields.truncate(fields);
        result
    }

    /// What a type says that reads itself, or the decoder.
    fn cannot(&self, got: &str, expected: &str) -> String {
        if self.owner.is_empty() || self.reader == Reader::Converter {
            return format!("json: cannot unmarshal {got} into Go value of type {expected}");
        }
        format!(
            "json: cannot unmarshal {got} into Go struct field {}.{} of type {expected}",
            self.owner, self.fields
        )
    }
}

/// Puts in the counts that are always there.
pub fn count(fields: &BTreeMap<String, Arc<Schema>>, map: &mut Map<String, Value>) {
    for (key, _) in fields.iter().filter(|(_, one)| one.zero == Zero::Count) {
        map.entry(key.clone()).or_insert_with(|| 0.into());
    }
}

/// Writes 9.0 as 9, as Go does where any number may stand: the two are one value and are to be equal.
pub fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && float.abs() < 9e15
            {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{apps::v1::Deployment, core::v1::Secret};

    use super::*;
    use crate::sandbox::kubernetes::reflect;

    /// A deployment with one container.
    fn containing(container: Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": [container]}}}})
    }

    fn read(mut object: Value, reader: Reader) -> Result<Value, String> {
        decode(&reflect::of::<Deployment>(), &mut object, reader).map(|_| object)
    }

    #[test]
    fn a_type_that_reads_itself_is_heard_before_a_mistake_that_came_first() {
        let number = json!({"env": [{"name": "A", "value": 1}]});
        let first = "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string";
        assert_eq!(read(containing(number), Reader::Json), Err(first.into()));
        let both = json!({
            "env": [{"name": "A", "value": 1}],
            "resources": {"requests": {"cpu": "x"}},
        });
        let quantity = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
        assert_eq!(
            read(containing(both.clone()), Reader::Json),
            Err(quantity.into())
        );
        assert_eq!(
            read(containing(both), Reader::Converter),
            Err("cannot convert int64 to string".into())
        );
    }

    #[test]
    fn what_is_given_twice_is_read_into_what_was_there() {
        let text = br#"{
            "metadata": {"name": "a", "labels": {"a": "1", "a": "2", "b": "1"}},
            "odd": {"x": 1, "x": 2}, "odd": 1,
            "spec": {"replicas": 1, "replicas": 2, "template": {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}}},
            "metadata": {"labels": {"b": "2", "c": "3"}},
            "spec": {"template": {"spec": {"containers": [{"image": "y", "image": "z"}]}}, "selector": null}
        }"#;
        let mut object = repeated::json(text).expect("JSON").value;
        let odd = decode(&reflect::of::<Deployment>(), &mut object, Reader::Json).expect("it fits");
        let said: Vec<String> = odd.iter().map(Odd::to_string).collect();
        let expected = [
            "duplicate field \"metadata.labels.a\"",
            "unknown field \"odd\"",
            "unknown field \"odd\"",
            "duplicate field \"spec.replicas\"",
            "duplicate field \"metadata\"",
            "duplicate field \"spec\"",
            "duplicate field \"spec.template.spec.containers[0].image\"",
        ];
        assert_eq!(said, expected);
        let metadata = &object["metadata"];
        assert_eq!(metadata["name"], "a");
        assert_eq!(metadata["labels"], json!({"a": "2", "b": "2", "c": "3"}));
        let containers = &object["spec"]["template"]["spec"]["containers"];
        assert_eq!(*containers, json!([{"name": "a", "image": "z"}]));
        assert_eq!(object["spec"]["replicas"], 2);
        let wrong = br#"{"spec": {"replicas": "x", "replicas": 1}}"#;
        let mut wrong = repeated::json(wrong).expect("JSON").value;
        let said = "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32";
        assert_eq!(
            decode(&reflect::of::<Deployment>(), &mut wrong, Reader::Json),
            Err(said.into())
        );
    }

    #[test]
    fn bytes_are_base64_or_a_list_of_numbers() {
        let read = |given: Value, reader| {
            let mut secret = json!({"data": {"one": given}});
            decode(&reflect::of::<Secret>(), &mut secret, reader)?;
            Ok::<Value, String>(secret["data"]["one"].take())
        };
        for reader in [Reader::Json, Reader::Converter] {
            assert_eq!(read(json!([]), reader), Ok(json!("")));
            assert_eq!(read(json!([0, 1, 2]), reader), Ok(json!("AAEC")));
            assert_eq!(read(json!("AAEC"), reader), Ok(json!("AAEC")));
            assert_eq!(read(json!("AAF="), reader), Ok(json!("AAE=")));
        }
        let wrong =
            "json: cannot unmarshal number 300 into Go struct field Secret.data of type uint8";
        assert_eq!(read(json!([300, "x"]), Reader::Json), Err(wrong.into()));
        let wrong = "json: cannot unmarshal string into Go struct field Secret.data of type uint8";
        assert_eq!(read(json!(["x"]), Reader::Json), Err(wrong.into()));
        assert_eq!(read(json!([300]), Reader::Converter), Ok(json!("LA==")));
    }
}
