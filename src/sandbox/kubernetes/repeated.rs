//! Fields that a text gives twice. Go's readers take them one after the other: where anything may stand the last one counts,
//! a structure takes the fields of both. So what came first is kept beside what came last, under a mark, until the reader of
//! the kind has seen both ([`super::decode`]) or [`settle`] has taken it away.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::gojson;
use super::schema::{Schema, Shape, Zero};

/// Begins the key of a value that another one follows. It is no character, and no text has it.
const MARK: char = '\u{10ffff}';

/// How many values of one object are kept beside those that count: what is said of them ends there, too.
const MOST: usize = 100;

/// What a text holds.
pub struct Given {
    /// The value.
    pub value: Value,
    /// Whether some field is given twice.
    pub twice: bool,
}

/// Reads JSON; what was given before is in the value, under marks.
pub fn json(text: &[u8]) -> Result<Given, serde_json::Error> {
    let context = Context::new(true, None);
    let text = gojson::mended(text);
    let mut reader = serde_json::Deserializer::from_slice(&text);
    let value = Seed(&context).deserialize(&mut reader)?;
    reader.end()?;
    Ok(context.given(value))
}

/// Reads YAML; what was given before is not in the value.
pub fn yaml(text: &[u8]) -> Result<Given, serde_yaml::Error> {
    let context = Context::new(false, None);
    // What follows the first document counts for nothing.
    let value = match serde_yaml::Deserializer::from_slice(text).next() {
        Some(document) => Seed(&context).deserialize(document)?,
        None => Value::Null,
    };
    Ok(context.given(value))
}

/// What a strict reader of YAML says of a text; nothing when no field is given twice.
pub fn in_yaml(text: &[u8]) -> Option<String> {
    let mut lines = Vec::new();
    // Where something stands only an error says: one for each.
    while lines.len() < MOST {
        let context = Context::new(false, Some(lines.len()));
        let read = Seed(&context).deserialize(serde_yaml::Deserializer::from_slice(text));
        let Some(place) = read.err().and_then(|error| error.location()) else {
            break;
        };
        let Some(key) = context.refused.take() else {
            break;
        };
        lines.push(format!(
            "  line {}: key {key:?} already set in map",
            place.line()
        ));
    }
    (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:\n{}", lines.join("\n")))
}

/// The field that a key stands for.
pub fn field(key: &str) -> &str {
    key.strip_prefix(MARK)
        .and_then(|rest| rest.split_once(MARK))
        .map_or(key, |(_, field)| field)
}

/// Whether a key is that of a value that another one follows.
pub fn is_earlier(key: &str) -> bool {
    key.starts_with(MARK)
}

/// The operations of a JSON patch, each with the fields that count, and these as they were given.
pub fn operations(patch: &Value) -> Value {
    let mut patch = patch.clone();
    for operation in patch.as_array_mut().into_iter().flatten() {
        if let Some(fields) = operation.as_object_mut() {
            fields.retain(|key, _| !is_earlier(key));
        }
    }
    patch
}

/// Takes away all but what counts where anything may stand; says which fields were given twice, as they come.
pub fn settle(value: &mut Value, path: &str) -> Vec<String> {
    let mut said = Vec::new();
    visit(value, path, &mut said);
    said
}

fn visit(value: &mut Value, path: &str, said: &mut Vec<String>) {
    match value {
        Value::Array(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                visit(item, &format!("{path}[{index}]"), said);
            }
        }
        Value::Object(map) => {
            let mut seen = HashSet::new();
            let marked = map.keys().any(|key| is_earlier(key));
            for (key, item) in map.iter_mut() {
                let field = field(key);
                let below = match path {
                    "" => field.to_owned(),
                    path => format!("{path}.{field}"),
                };
                if marked && !seen.insert(field.to_owned()) {
                    said.push(below.clone());
                }
                visit(item, &below, said);
            }
            if marked {
                map.retain(|key, _| !is_earlier(key));
            }
        }
        _ => {}
    }
}

/// The fields of an object that came, where some come twice.
pub struct Seen(Option<HashSet<String>>);

impl Seen {
    /// Of an object.
    pub fn of(map: &Map<String, Value>) -> Seen {
        let twice = map.keys().any(|key| is_earlier(key));
        Seen(twice.then(HashSet::new))
    }

    /// Whether a field came before.
    pub fn again(&mut self, field: &str) -> bool {
        let seen = self.0.as_mut();
        seen.is_some_and(|seen| !seen.insert(field.to_owned()))
    }
}

/// Puts together what is given twice, as Go does, which reads the later value into what the earlier one left.
pub fn merge(fields: &BTreeMap<String, Arc<Schema>>, map: &mut Map<String, Value>) {
    if !map.keys().any(|key| is_earlier(key)) {
        return;
    }
    for (key, item) in std::mem::take(map) {
        let name = field(&key);
        match (map.get_mut(name), fields.get(name)) {
            (Some(place), Some(schema)) => merge_value(name, schema, place, item),
            _ => drop(map.insert(name.to_owned(), item)),
        }
    }
}

fn merge_value(name: &str, schema: &Schema, place: &mut Value, later: Value) {
    // What is no pointer in Go stays when null is read into it.
    let stays = match schema.shape {
        Shape::Struct(..) => matches!(name, "metadata" | "spec" | "status" | "template"),
        Shape::Bool | Shape::Integer(_) | Shape::Number | Shape::String(_) => {
            schema.zero == Zero::Omitted
        }
        _ => false,
    };
    match (&schema.shape, place, later) {
        (_, _, Value::Null) if stays => {}
        (Shape::Struct(_, fields), Value::Object(place), Value::Object(later)) => {
            for (key, item) in later {
                match (place.get_mut(&key), fields.get(&key)) {
                    (Some(known), Some(field)) => merge_value(&key, field, known, item),
                    _ => drop(place.insert(key, item)),
                }
            }
        }
        (Shape::Map(_), Value::Object(place), Value::Object(later)) => place.extend(later),
        (Shape::List(items), Value::Array(place), Value::Array(later)) => {
            place.truncate(later.len());
            for (index, item) in later.into_iter().enumerate() {
                match place.get_mut(index) {
                    Some(known) => merge_value("", items, known, item),
                    None => place.push(item),
                }
            }
        }
        (_, place, later) => *place = later,
    }
}

/// What a reading knows.
struct Context {
    /// Whether what was given before is kept.
    keeps: bool,
    /// How many are left before one is refused.
    refuses: Cell<Option<usize>>,
    /// The field that was refused.
    refused: RefCell<Option<String>>,
    twice: Cell<bool>,
}

impl Context {
    fn new(keeps: bool, refuses: Option<usize>) -> Context {
        Context {
            keeps,
            refuses: Cell::new(refuses),
            refused: RefCell::default(),
            twice: Cell::new(false),
        }
    }

    fn given(&self, value: Value) -> Given {
        let twice = self.twice.get();
        Given { value, twice }
    }

    /// Whether this one is refused.
    fn refuses(&self) -> bool {
        let left = self.refuses.get();
        self.refuses.set(left.map(|left| left.saturating_sub(1)));
        left == Some(0)
    }
}

struct Seed<'a>(&'a Context);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.deserialize(reader)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Seed(self.0))? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        let mut kept = 0;
        while let Some(key) = fields.next_key::<String>()? {
            if map.contains_key(&key) {
                self.0.twice.set(true);
                if self.0.refuses() {
                    self.0.refused.replace(Some(key));
                    return match fields.next_value_seed(Refused) {
                        Ok(()) => Err(A::Error::custom("given twice")),
                        Err(error) => Err(error),
                    };
                }
                if self.0.keeps && kept < MOST {
                    // It keeps its place.
                    let aside = format!("{MARK}{kept}{MARK}{key}");
                    let all = std::mem::take(&mut map).into_iter();
                    map.extend(all.map(|(one, item)| match one == key {
                        true => (aside.clone(), item),
                        false => (one, item),
                    }));
                    kept += 1;
                }
            }
            let item = fields.next_value_seed(Seed(self.0))?;
            map.insert(key, item);
        }
        Ok(map.into())
    }
}

/// Takes nothing, so that the reader says where it is.
struct Refused;

impl<'de> DeserializeSeed<'de> for Refused {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl Visitor<'_> for Refused {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_anything_may_stand_the_last_one_counts() {
        let text =
            br#"{"a": {"b": 1, "b": 2}, "c": 1, "a": [{"d": 1, "d": {"e": 1, "e": 2}}], "a": 5}"#;
        let mut given = json(text).expect("JSON");
        assert!(given.twice);
        let said = settle(&mut given.value, "");
        assert_eq!(said, ["a.b", "a", "a[0].d", "a[0].d.e", "a"]);
        assert_eq!(given.value, json!({"c": 1, "a": 5}));
        assert!(!json(b"{\"a\": {\"a\": [1]}}").expect("JSON").twice);
        assert!(json(b"{} {}").is_err());
        let many = format!("{{{}\"a\": 1}}", "\"a\": 0, ".repeat(10_000));
        let mut many = json(many.as_bytes()).expect("JSON").value;
        assert_eq!(settle(&mut many, "x"), ["x.a"; MOST]);
        assert_eq!(many, json!({"a": 1}));
    }

    #[test]
    fn yaml_says_in_which_lines() {
        let text = b"a: 1\nb:\n  c: 1\n  c:\n    d: 2\na:\n- 1\n";
        let said = "yaml: unmarshal errors:\n  line 5: key \"c\" already set in map\n  line 7: key \"a\" already set in map";
        assert_eq!(in_yaml(text).as_deref(), Some(said));
        let given = yaml(text).expect("YAML");
        assert!(given.twice);
        assert_eq!(given.value, json!({"a": [1], "b": {"c": {"d": 2}}}));
        let said = "yaml: unmarshal errors:\n  line 1: key \"a\" already set in map";
        assert_eq!(in_yaml(br#"{"a": 1, "a": null}"#).as_deref(), Some(said));
        assert_eq!(in_yaml(b"a: 1\nb: {a: 2}\n"), None);
    }
}
