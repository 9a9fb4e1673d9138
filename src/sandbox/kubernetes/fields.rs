//! Sets of fields, as `managedFields` hold them: which manager owns which parts of an object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{ListType, Schema, Shape, Zero};

/// A step from a value to a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field or a key of a map.
    Field(String),
    /// A list item, by its keys: compact JSON with sorted keys.
    Keys(String),
    /// A list item, by its value: compact JSON.
    Item(String),
}

impl Element {
    fn write(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Keys(keys) => format!("k:{keys}"),
            Element::Item(value) => format!("v:{value}"),
        }
    }

    /// In the words of messages: `.image`, `[name="web"]`.
    pub fn shown(&self) -> String {
        match self {
            Element::Field(name) => format!(".{name}"),
            Element::Keys(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                format!("[{}]", keys.join(","))
            }
            Element::Item(value) => format!("[={value}]"),
        }
    }

    fn read(text: &str) -> Option<Element> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Element::Field(rest.to_owned()),
            "k" => Element::Keys(rest.to_owned()),
            "v" => Element::Item(rest.to_owned()),
            _ => return None,
        })
    }
}

/// A set of fields, as a tree. A node may itself be a member, have members below, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether this place itself is in the set.
    pub member: bool,
    /// What is below.
    pub children: BTreeMap<Element, FieldSet>,
}

impl FieldSet {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(FieldSet::is_empty)
    }

    /// The set below an element, made when missing.
    pub fn child(&mut self, element: Element) -> &mut FieldSet {
        self.children.entry(element).or_default()
    }

    /// Everything that is in one of two.
    pub fn union(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (element, child) in &other.children {
            self.child(element.clone()).union(child);
        }
    }

    /// Takes away what is in the other.
    pub fn subtract(&mut self, other: &FieldSet) {
        if other.member {
            self.member = false;
        }
        for (element, child) in &other.children {
            if let Some(own) = self.children.get_mut(element) {
                own.subtract(child);
                if own.is_empty() {
                    self.children.remove(element);
                }
            }
        }
    }

    /// What is in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut both = FieldSet {
            member: self.member && other.member,
            children: BTreeMap::new(),
        };
        for (element, child) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                let common = child.intersection(theirs);
                if !common.is_empty() {
                    both.children.insert(element.clone(), common);
                }
            }
        }
        both
    }

    /// With the named fields of structures in which there is something, which are members otherwise by themselves alone.
    pub fn with_named(&self, schema: &Schema) -> FieldSet {
        let children = self.children.iter().map(|(element, child)| {
            let (named, place) = match (element, &schema.shape) {
                (Element::Field(name), shape) => (
                    matches!(shape, Shape::Struct(_, fields) if fields.contains_key(name)),
                    below(schema, name),
                ),
                (_, Shape::List(items)) => (false, &**items),
                _ => (false, ANY),
            };
            let mut child = child.with_named(place);
            child.member |= named && !child.is_empty();
            (element.clone(), child)
        });
        FieldSet {
            member: self.member,
            children: children.collect(),
        }
    }

    /// The paths of the members, in the words of conflict messages: `.spec.containers[name="web"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(&mut String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: &mut String, paths: &mut Vec<String>) {
        // First what is here, then what is below, as upstream lists them.
        for (element, child) in &self.children {
            if child.member {
                paths.push(format!("{path}{}", element.shown()));
            }
        }
        for (element, child) in &self.children {
            let length = path.len();
            path.push_str(&element.shown());
            child.collect(path, paths);
            path.truncate(length);
        }
    }

    /// As `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut map = Map::new();
        for (element, child) in &self.children {
            if child.is_empty() {
                continue;
            }
            let mut value = child.write();
            if child.member
                && let Value::Object(inner) = &mut value
                && !inner.is_empty()
            {
                inner.insert(".".into(), Value::Object(Map::new()));
                inner.sort_keys();
            }
            map.insert(element.write(), value);
        }
        map.sort_keys();
        Value::Object(map)
    }

    /// From `fieldsV1`.
    pub fn read(value: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        for (key, below) in value.as_object().into_iter().flatten() {
            let Some(element) = Element::read(key) else {
                continue;
            };
            let mut child = FieldSet::read(below);
            child.member = below.as_object().is_none_or(Map::is_empty) || below.get(".").is_some();
            set.children.insert(element, child);
        }
        set
    }

    /// Every field that an object has.
    pub fn of(schema: &Schema, value: &Value) -> FieldSet {
        let mut set = FieldSet::default();
        add(schema, value, &mut set);
        set
    }
}

const ANY: &Schema = &Schema {
    shape: Shape::Any,
    atomic: false,
    list: ListType::Atomic,
    default: None,
    preserve: true,
    nullable: false,
    zero: Zero::Kept,
    place: 0,
};

/// How a value is merged here: by key, by item, or as one.
pub enum Grain<'a> {
    /// As one.
    Leaf,
    /// Key by key.
    Keys,
    /// Item by item, told apart as the schema says.
    Items(&'a Schema),
}

/// How a value at this place of the schema is merged.
pub fn grain<'a>(schema: &'a Schema, value: &Value) -> Grain<'a> {
    match (value, &schema.shape) {
        (Value::Object(_), _) if !schema.atomic => Grain::Keys,
        (Value::Array(_), Shape::List(items)) if schema.list != ListType::Atomic => {
            Grain::Items(items)
        }
        _ => Grain::Leaf,
    }
}

/// The schema of a key: what is unknown may be anything.
pub fn below<'a>(schema: &'a Schema, key: &str) -> &'a Schema {
    schema.field(key).map_or(ANY, |schema| schema)
}

/// The value of a key that is not there. A key of a Go structure that is no pointer has its zero.
fn default_of(items: &Schema, field: &Schema) -> Option<Value> {
    // The name that a reference to any object may lack has none.
    let builtin =
        matches!(&items.shape, Shape::Struct(name, _) if !matches!(*name, "" | "ObjectReference"));
    field.default.clone().or(match &field.shape {
        Shape::String(_) if builtin => Some("".into()),
        Shape::Integer(_) if builtin => Some(0.into()),
        _ => None,
    })
}

/// What tells an item of a list apart; `None` when it lacks its keys.
pub fn identity(list: &Schema, item: &Value) -> Option<Element> {
    match &list.list {
        ListType::Set => Some(Element::Item(item.to_string())),
        ListType::Map(keys) => {
            let mut found = BTreeMap::new();
            for key in keys {
                // One that is null is a key, too.
                match item.get(key) {
                    Some(value) => {
                        found.insert(key, value.clone());
                    }
                    // A key that is not there has its default, or takes no part.
                    None => {
                        let items = list.items().filter(|_| item.is_object());
                        let field = items.and_then(|items| Some((items, items.field(key)?)));
                        if let Some((items, field)) = field
                            && let Some(default) = default_of(items, field)
                        {
                            found.insert(key, default);
                        }
                    }
                }
            }
            if found.is_empty() {
                return None;
            }
            serde_json::to_string(&found).ok().map(Element::Keys)
        }
        ListType::Atomic => None,
    }
}

fn add(schema: &Schema, value: &Value, set: &mut FieldSet) {
    match (grain(schema, value), value) {
        (Grain::Keys, Value::Object(map)) => {
            let named = matches!(schema.shape, Shape::Struct(..));
            for (key, item) in map {
                let child = set.child(Element::Field(key.clone()));
                add(below(schema, key), item, child);
                let empty = item.is_null() || item.as_object().is_some_and(Map::is_empty);
                if empty || !named || schema.field(key).is_none() {
                    child.member = true;
                }
            }
        }
        (Grain::Items(items), Value::Array(list)) => {
            for (element, found) in by_identity(schema, list) {
                let child = set.child(element);
                // Of those that are there twice only the place is owned.
                if let ([item], false) = (found.as_slice(), schema.list == ListType::Set) {
                    add(items, item, child);
                }
                child.member = true;
            }
        }
        _ => set.member = true,
    }
}

/// The differences between two versions of an object.
#[derive(Debug, Default)]
pub struct Difference {
    /// What is new or has another value.
    pub changed: FieldSet,
    /// What is gone.
    pub removed: FieldSet,
}

/// Compares two versions.
pub fn compare(schema: &Schema, old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    walk(
        schema,
        old,
        new,
        &mut difference.changed,
        &mut difference.removed,
    );
    difference
}

/// Everything of a value that only one side has, its own place included.
fn whole(schema: &Schema, value: &Value, set: &mut FieldSet) {
    set.member = true;
    match (grain(schema, value), value) {
        (Grain::Keys, Value::Object(map)) => {
            for (key, item) in map {
                whole(
                    below(schema, key),
                    item,
                    set.child(Element::Field(key.clone())),
                );
            }
        }
        (Grain::Items(items), Value::Array(list)) => {
            for (element, found) in by_identity(schema, list) {
                let child = set.child(element);
                match found.as_slice() {
                    [item] => whole(items, item, child),
                    // Of those that are there twice only the place is known.
                    _ => child.member = true,
                }
            }
        }
        _ => {}
    }
}

fn by_identity<'a>(schema: &Schema, list: &'a [Value]) -> BTreeMap<Element, Vec<&'a Value>> {
    let mut found: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for item in list {
        if let Some(element) = identity(schema, item) {
            found.entry(element).or_default().push(item);
        }
    }
    found
}

fn walk(schema: &Schema, old: &Value, new: &Value, changed: &mut FieldSet, removed: &mut FieldSet) {
    if old == new {
        return;
    }
    let shaped = if new.is_null() { old } else { new };
    let (none, no_items) = (Map::new(), Vec::new());
    match (grain(schema, shaped), old, new) {
        // A null is an empty map or list when the other side is one.
        (Grain::Keys, Value::Object(_) | Value::Null, Value::Object(_) | Value::Null) => {
            let before = old.as_object().unwrap_or(&none);
            let after = new.as_object().unwrap_or(&none);
            if before.is_empty() && after.is_empty() {
                changed.member = true;
            }
            for (key, item) in after {
                let (place, element) = (below(schema, key), Element::Field(key.clone()));
                match before.get(key) {
                    Some(was) if was == item => {}
                    Some(was) => walk(
                        place,
                        was,
                        item,
                        changed.child(element.clone()),
                        removed.child(element),
                    ),
                    None => whole(place, item, changed.child(element)),
                }
            }
            for (key, item) in before {
                if !after.contains_key(key) {
                    let element = Element::Field(key.clone());
                    whole(below(schema, key), item, removed.child(element));
                }
            }
        }
        (Grain::Items(items), Value::Array(_) | Value::Null, Value::Array(_) | Value::Null) => {
            let before = old.as_array().unwrap_or(&no_items);
            let after = new.as_array().unwrap_or(&no_items);
            if before.is_empty() && after.is_empty() {
                changed.member = true;
            }
            let (before, after) = (by_identity(schema, before), by_identity(schema, after));
            for (element, now) in &after {
                match (before.get(element).map(Vec::as_slice), now.as_slice()) {
                    (Some([was]), [item]) => walk(
                        items,
                        was,
                        item,
                        changed.child(element.clone()),
                        removed.child(element.clone()),
                    ),
                    (Some([was]), _) => {
                        whole(items, was, removed.child(element.clone()));
                        changed.child(element.clone()).member = true;
                    }
                    (Some(was), [item]) => {
                        debug_assert!(was.len() > 1);
                        whole(items, item, changed.child(element.clone()));
                        removed.child(element.clone()).member = true;
                    }
                    (Some(was), now) => {
                        if was != now {
                            changed.child(element.clone()).member = true;
                        }
                    }
                    (None, [item]) => whole(items, item, changed.child(element.clone())),
                    (None, _) => changed.child(element.clone()).member = true,
                }
            }
            for (element, was) in &before {
                if !after.contains_key(element) {
                    let child = removed.child(element.clone());
                    match was.as_slice() {
                        [item] => whole(items, item, child),
                        _ => child.member = true,
                    }
                }
            }
        }
        (Grain::Leaf, _, _) => {
            // What was in it is gone.
            if !matches!(grain(schema, old), Grain::Leaf) {
                whole(schema, old, removed);
                removed.member = false;
            }
            changed.member = true;
        }
        _ => {
            // One shape became another.
            whole(schema, old, removed);
            removed.member = false;
            whole(schema, new, changed);
        }
    }
}
