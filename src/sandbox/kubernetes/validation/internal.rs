//! A pod's specification as the real server has it inside, which it shows to whoever is refused a change of it.
//!
//! `internal.txt` has a structure a line: its name, then its fields in their order. A field is its name, `=member` where
//! the API calls it otherwise than with a small first letter, and what it is: nothing for a text, `:b` for a boolean,
//! `:i` for a number, `:q` for a quantity, `:?` for what may be missing, or a structure, with `*` where it may be missing
//! and `[]` where there may be many. A field without a name has its structure's members among those of its owner.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Serialize as _;
use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Serializer, Value, json};

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Bool,
    Number,
    Quantity,
    Optional,
    One(&'static str),
    Maybe(&'static str),
    Many(&'static str),
    Inline(&'static str),
}

struct Field {
    name: &'static str,
    member: String,
    kind: Kind,
}

impl Field {
    fn read(word: &'static str) -> Field {
        let (names, kind) = word.split_once(':').unwrap_or((word, ""));
        let (name, member) = match names.split_once('=') {
            Some((name, member)) => (name, member.to_owned()),
            None => {
                let (first, rest) = names.split_at(names.len().min(1));
                (names, first.to_lowercase() + rest)
            }
        };
        let kind = match kind {
            "" => Kind::Text,
            "b" => Kind::Bool,
            "i" => Kind::Number,
            "q" => Kind::Quantity,
            "?" => Kind::Optional,
            of if name.is_empty() => Kind::Inline(of),
            of => match (of.strip_prefix('*'), of.strip_prefix("[]")) {
                (Some(of), _) => Kind::Maybe(of),
                (_, Some(of)) => Kind::Many(of),
                _ => Kind::One(of),
            },
        };
        Field { name, member, kind }
    }
}

fn structures() -> &'static HashMap<&'static str, Vec<Field>> {
    static STRUCTURES: OnceLock<HashMap<&'static str, Vec<Field>>> = OnceLock::new();
    STRUCTURES.get_or_init(|| {
        let mut structures: HashMap<_, Vec<Field>> = HashMap::new();
        let mut current = "";
        for line in include_str!("internal.txt").lines() {
            let mut words = line.split_whitespace();
            if !line.starts_with(' ') {
                current = words.next().unwrap_or("");
            }
            let fields = structures.entry(current).or_default();
            fields.extend(words.map(Field::read));
        }
        structures
    })
}

/// The inner form of a pod's specification.
pub fn pod_spec(spec: &Value) -> Value {
    let mut spec = spec.clone();
    // What the API has beside the context is a part of it.
    let mut context = spec["securityContext"].take();
    if !context.is_object() {
        context = json!({});
    }
    for field in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "shareProcessNamespace",
        "hostUsers",
    ] {
        context[field] = spec[field].take();
    }
    spec["securityContext"] = context;
    structure("PodSpec", &spec)
}

fn structure(name: &str, value: &Value) -> Value {
    let mut out = Map::new();
    fill(name, value, &mut out);
    Value::Object(out)
}

fn fill(name: &str, value: &Value, out: &mut Map<String, Value>) {
    for field in structures().get(name).into_iter().flatten() {
        let there = &value[&field.member];
        let shown = match (field.kind, there) {
            // Metadata writes itself as in the API.
            (Kind::Inline("ObjectMeta"), _) => {
                let metadata = value["metadata"].as_object().cloned();
                out.extend(metadata.unwrap_or_default());
                continue;
            }
            (Kind::Inline(of), _) => {
                fill(of, value, out);
                continue;
            }
            (Kind::One(of), there) => structure(of, there),
            (Kind::Text, Value::Null) => "".into(),
            (Kind::Bool, Value::Null) => false.into(),
            (Kind::Number, Value::Null) => 0.into(),
            (Kind::Quantity, Value::Null) => "0".into(),
            (_, Value::Null) => Value::Null,
            (Kind::Maybe("LabelSelector"), there) => selector(there),
            (Kind::Maybe(of), there) => structure(of, there),
            (Kind::Many(of), Value::Array(list)) => {
                list.iter().map(|one| structure(of, one)).collect()
            }
            (_, there) => {
                let mut there = there.clone();
                there.sort_all_objects();
                there
            }
        };
        out.insert(field.name.to_owned(), shown);
    }
}

/// Selectors, too, write themselves as in the API.
fn selector(selector: &Value) -> Value {
    let mut out = Map::new();
    for member in ["matchLabels", "matchExpressions"] {
        if !selector[member].is_null() {
            let mut shown = selector[member].clone();
            shown.sort_all_objects();
            out.insert(member.to_owned(), shown);
        }
    }
    Value::Object(out)
}

/// JSON as Go indents it.
pub fn indented(value: &Value) -> String {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b" "));
    if value.serialize(&mut serializer).is_err() {
        return String::new();
    }
    let mut text = String::from_utf8_lossy(&out).into_owned();
    // None of these stands outside of a string.
    for special in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        text = text.replace(special, &format!("\\u{:04x}", u32::from(special)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_structure_is_described() {
        for (name, fields) in structures() {
            for field in fields {
                if let Kind::One(of) | Kind::Maybe(of) | Kind::Many(of) | Kind::Inline(of) =
                    field.kind
                {
                    let known = structures().contains_key(of);
                    let own = matches!(of, "ObjectMeta" | "LabelSelector");
                    assert!(known || own, "{name}.{}: {of}", field.name);
                }
            }
        }
    }

    #[test]
    fn what_is_not_set_is_shown() {
        let spec = json!({
            "hostNetwork": true,
            "nodeSelector": {"b": "<", "a": "1"},
            "volumes": [{"name": "v", "emptyDir": {}}],
            "topologySpreadConstraints": [{"maxSkew": 1, "labelSelector": {"matchLabels": {"a": "b"}}}],
        });
        let shown = pod_spec(&spec);
        assert_eq!(shown["SecurityContext"]["HostNetwork"], true);
        assert_eq!(shown["SecurityContext"]["HostPID"], false);
        assert_eq!(shown["SecurityContext"]["FSGroup"], Value::Null);
        assert_eq!(shown["ServiceAccountName"], "");
        assert_eq!(shown["Containers"], Value::Null);
        let volume = &shown["Volumes"][0];
        assert_eq!(
            (&volume["Name"], &volume["EmptyDir"]["Medium"]),
            (&"v".into(), &"".into())
        );
        assert_eq!(volume["GCEPersistentDisk"], Value::Null);
        let spread = &shown["TopologySpreadConstraints"][0];
        assert_eq!(spread["LabelSelector"], json!({"matchLabels": {"a": "b"}}));
        let selector = " \"NodeSelector\": {\n  \"a\": \"1\",\n  \"b\": \"\\u003c\"\n },\n";
        assert!(indented(&shown).contains(selector));
    }
}
