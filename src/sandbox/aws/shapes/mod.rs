//! The services' shapes as botocore's models describe them: what an input must satisfy, member by member.
//!
//! The tables beside this file are written by `extract.py`. A line is one shape: `o` operation with its input and
//! output, `n` an operation that the sandbox lacks with its method and path, `s` structure (`!` marks a required member),
//! `u` union, `l` list, `m` map, `e` enumeration, `t` a scalar with bounds and pattern. Members have the names that they
//! have in requests.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex_lite::Regex;
use serde_json::Value;

/// One service's shapes.
pub struct Model {
    operations: HashMap<&'static str, (&'static str, &'static str)>,
    others: Vec<(&'static str, &'static str, &'static str)>,
    shapes: HashMap<&'static str, Shape>,
}

enum Shape {
    Structure {
        union: bool,
        members: Vec<(&'static str, bool, &'static str)>,
    },
    List(&'static str, Span),
    Map(&'static str, &'static str, Span),
    Enumeration(Vec<&'static str>),
    Scalar {
        base: &'static str,
        span: Span,
        pattern: Option<(&'static str, Option<Regex>)>,
    },
}

#[derive(Clone, Copy)]
struct Span {
    least: Option<i64>,
    most: Option<i64>,
}

/// Where and how an input breaks its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The member: `spec.listeners.1.member.portMapping.port`.
    pub path: String,
    /// The refused value as it is quoted in the message; `null` for what is missing.
    pub value: String,
    /// What it should have been: `Member must not be null`.
    pub constraint: String,
    /// What is wrong, by kind: some services have an error code for each.
    pub kind: Wrong,
}

/// The ways to break a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A required member is not there.
    Missing,
    /// It has another type than the model's, so that the service cannot even read it.
    Unreadable,
    /// A member that the model does not know.
    Unknown,
    /// Not a word of the enumeration.
    Word,
    /// Too short, too long, too small, too large, or not of the pattern.
    Value,
}

impl Violation {
    /// The path as the query services write it: `tags.1.member.key` for `Tags.1.member.Key`.
    pub fn lower_path(&self) -> String {
        let lower = |part: &str| {
            let mut part = part.to_owned();
            if let Some(first) = part.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            part
        };
        let parts: Vec<String> = self.path.split('.').map(lower).collect();
        parts.join(".")
    }
}

/// Says violations the way AWS's services do.
pub fn say(violations: &[Violation]) -> String {
    let list: Vec<String> = violations
        .iter()
        .map(|violation| {
            let value = if violation.value == "null" {
                "null".to_owned()
            } else {
                format!("'{}'", violation.value)
            };
            format!(
                "Value {value} at '{}' failed to satisfy constraint: {}",
                violation.path, violation.constraint
            )
        })
        .collect();
    let errors = if list.len() == 1 { "error" } else { "errors" };
    format!(
        "{} validation {errors} detected: {}",
        list.len(),
        list.join("; ")
    )
}

/// The shapes of a service, by its name in credential scopes.
pub fn of(signing_name: &str) -> Option<&'static Model> {
    const TABLES: [(&str, &str); 10] = [
        ("appmesh", include_str!("appmesh.shapes")),
        ("cloudformation", include_str!("cloudformation.shapes")),
        ("ec2", include_str!("ec2.shapes")),
        ("ecr", include_str!("ecr.shapes")),
        ("eks", include_str!("eks.shapes")),
        ("elasticloadbalancing", include_str!("elbv2.shapes")),
        ("iam", include_str!("iam.shapes")),
        ("logs", include_str!("logs.shapes")),
        ("sts", include_str!("sts.shapes")),
        ("xray", include_str!("xray.shapes")),
    ];
    static MODELS: [OnceLock<Model>; TABLES.len()] = [const { OnceLock::new() }; TABLES.len()];
    let at = TABLES.iter().position(|(name, _)| *name == signing_name)?;
    Some(MODELS[at].get_or_init(|| Model::read(TABLES[at].1)))
}

impl Model {
    fn read(text: &'static str) -> Self {
        let mut model = Model {
            operations: HashMap::new(),
            others: Vec::new(),
            shapes: HashMap::new(),
        };
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(kind), Some(name)) = (words.next(), words.next()) else {
                continue;
            };
            let rest = words.next().unwrap_or("");
            let shape = match kind {
                "o" => {
                    let (input, output) = rest.split_once(' ').unwrap_or((rest, "-"));
                    model.operations.insert(name, (input, output));
                    continue;
                }
                "n" => {
                    if let Some((method, path)) = rest.split_once(' ') {
                        model.others.push((name, method, path));
                    }
                    continue;
                }
                "s" | "u" => Shape::Structure {
                    union: kind == "u",
                    members: rest
                        .split_whitespace()
                        .filter_map(|member| member.split_once(':'))
                        .map(|(member, shape)| match member.strip_suffix('!') {
                            Some(member) => (member, true, shape),
                            None => (member, false, shape),
                        })
                        .collect(),
                },
                "l" => {
                    let words: Vec<&'static str> = rest.split(' ').collect();
                    Shape::List(words[0], Span::read(&words[1..]))
                }
                "m" => {
                    let words: Vec<&'static str> = rest.split(' ').collect();
                    Shape::Map(words[0], words[1], Span::read(&words[2..]))
                }
                "e" => Shape::Enumeration(rest.split('|').collect()),
                "t" => {
                    let words: Vec<&'static str> = rest.splitn(4, ' ').collect();
                    Shape::Scalar {
                        base: words[0],
                        span: Span::read(&words[1..]),
                        pattern: words.get(3).map(|text| (*text, pattern(text))),
                    }
                }
                _ => continue,
            };
            model.shapes.insert(name, shape);
        }
        model
    }

    /// What is wrong with an operation's input. Scalars may be strings, as the query protocols and URLs carry them.
    pub fn input(&self, operation: &str, input: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        if let Some((shape, _)) = self.operations.get(operation) {
            self.check(shape, input, "", &mut found);
        }
        found
    }

    /// What is wrong with an operation's output: the other side of the same model, for tests.
    pub fn output(&self, operation: &str, output: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        if let Some((_, shape)) = self.operations.get(operation) {
            self.check(shape, output, "", &mut found);
            // The services do answer empty lists and maps where an input must not be empty.
            found.retain(|violation| !violation.constraint.contains("length greater"));
            self.strangers(shape, output, "", &mut found);
        }
        found
    }

    /// The members of an operation's input, at any depth, that the model does not know.
    pub fn unknown(&self, operation: &str, input: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        if let Some((shape, _)) = self.operations.get(operation) {
            self.strangers(shape, input, "", &mut found);
        }
        found
    }

    /// Whether a member of an operation's input is a list, which a query string with one value does not tell.
    pub fn is_list(&self, operation: &str, member: &str) -> bool {
        let shape = self.operations.get(operation).map(|(input, _)| *input);
        match shape.and_then(|shape| self.shapes.get(shape)) {
            Some(Shape::Structure { members, .. }) => members.iter().any(|(name, _, shape)| {
                *name == member && matches!(self.shapes.get(shape), Some(Shape::List(..)))
            }),
            _ => false,
        }
    }

    /// The operations that the service has and the sandbox has not: name, method and path template.
    pub fn others(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> + '_ {
        self.others.iter().copied()
    }

    /// The model's own names of the operations it describes.
    pub fn operations(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.operations.keys().copied()
    }

    fn check(&self, name: &str, value: &Value, path: &str, found: &mut Vec<Violation>) {
        let unreadable = |expected: &str| Violation {
            path: path.to_owned(),
            value: brief(value),
            constraint: format!("Member must be {expected}"),
            kind: Wrong::Unreadable,
        };
        if name.starts_with('$') {
            if let Some(expected) = wrong_type(name, value) {
                found.push(unreadable(expected));
            }
            return;
        }
        let Some(shape) = self.shapes.get(name) else {
            return;
        };
        match shape {
            Shape::Structure { union, members } => {
                let empty = serde_json::Map::new();
                let object = match value {
                    Value::Object(object) => object,
                    Value::Null if path.is_empty() => &empty,
                    _ => return found.push(unreadable("a structure")),
                };
                for (member, required, shape) in members {
                    let path = join(path, member);
                    match object.get(*member).filter(|value| !value.is_null()) {
                        Some(value) => self.check(shape, value, &path, found),
                        None if *required => found.push(Violation {
                            path,
                            value: "null".to_owned(),
                            constraint: "Member must not be null".to_owned(),
                            kind: Wrong::Missing,
                        }),
                        None => {}
                    }
                }
                let given = members
                    .iter()
                    .filter(|(member, ..)| object.get(*member).is_some_and(|v| !v.is_null()))
                    .count();
                if *union && given != 1 {
                    found.push(Violation {
                        path: path.to_owned(),
                        value: brief(value),
                        constraint: "Member must have exactly one of its alternatives set"
                            .to_owned(),
                        kind: Wrong::Value,
                    });
                }
            }
            Shape::List(member, span) => {
                // The query protocol writes an empty list as an empty text.
                let items = match value {
                    Value::Array(items) => items.as_slice(),
                    Value::String(text) if text.is_empty() => &[],
                    _ => return found.push(unreadable("a list")),
                };
                span.length(items.len(), "length", value, path, found);
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}.{}.member", index + 1);
                    self.check(member, item, &path, found);
                }
            }
            Shape::Map(key, member, span) => {
                let Value::Object(entries) = value else {
                    return found.push(unreadable("a map"));
                };
                span.length(entries.len(), "length", value, path, found);
                for (name, item) in entries {
                    self.check(key, &Value::from(name.as_str()), path, found);
                    self.check(member, item, &format!("{path}.{name}.member"), found);
                }
            }
            Shape::Enumeration(words) => match value.as_str() {
                Some(word) if words.contains(&word) => {}
                Some(word) => found.push(Violation {
                    path: path.to_owned(),
                    value: word.to_owned(),
                    constraint: format!(
                        "Member must satisfy enum value set: [{}]",
                        words.join(", ")
                    ),
                    kind: Wrong::Word,
                }),
                None => found.push(unreadable("a string")),
            },
            Shape::Scalar {
                base,
                span,
                pattern,
            } => {
                if let Some(expected) = wrong_type(base, value) {
                    return found.push(unreadable(expected));
                }
                if *base == "$int" {
                    return span.value(number(value).unwrap_or_default(), path, found);
                }
                let text = value.as_str().unwrap_or_default();
                span.length(text.chars().count(), "length", value, path, found);
                if let Some((source, Some(pattern))) = pattern
                    && !pattern.is_match(text)
                {
                    found.push(Violation {
                        path: path.to_owned(),
                        value: brief(value),
                        constraint: format!(
                            "Member must satisfy regular expression pattern: {source}"
                        ),
                        kind: Wrong::Value,
                    });
                }
            }
        }
    }

    /// Members that the model does not know.
    fn strangers(&self, name: &str, value: &Value, path: &str, found: &mut Vec<Violation>) {
        match (self.shapes.get(name), value) {
            (Some(Shape::Structure { members, .. }), Value::Object(object)) => {
                for (key, value) in object {
                    let path = join(path, key);
                    match members.iter().find(|(member, ..)| member == key) {
                        Some((_, _, shape)) => self.strangers(shape, value, &path, found),
                        None => found.push(Violation {
                            path,
                            value: brief(value),
                            constraint: "Member is not in the model".to_owned(),
                            kind: Wrong::Unknown,
                        }),
                    }
                }
            }
            (Some(Shape::List(member, _)), Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}.{}.member", index + 1);
                    self.strangers(member, item, &path, found);
                }
            }
            (Some(Shape::Map(_, member, _)), Value::Object(entries)) => {
                for item in entries.values() {
                    self.strangers(member, item, path, found);
                }
            }
            _ => {}
        }
    }
}

impl Span {
    fn read(words: &[&str]) -> Self {
        let bound = |index: usize| words.get(index).and_then(|word| word.parse().ok());
        Span {
            least: bound(0),
            most: bound(1),
        }
    }

    fn length(
        self,
        length: usize,
        what: &str,
        value: &Value,
        path: &str,
        found: &mut Vec<Violation>,
    ) {
        self.bounds(length as i64, what, brief(value), path, found);
    }

    fn value(self, number: i64, path: &str, found: &mut Vec<Violation>) {
        self.bounds(number, "value", number.to_string(), path, found);
    }

    fn bounds(
        self,
        number: i64,
        what: &str,
        value: String,
        path: &str,
        found: &mut Vec<Violation>,
    ) {
        let limit = match (self.least, self.most) {
            (Some(least), _) if number < least => ("greater", least),
            (_, Some(most)) if number > most => ("less", most),
            _ => return,
        };
        found.push(Violation {
            path: path.to_owned(),
            value,
            constraint: format!(
                "Member must have {what} {} than or equal to {}",
                limit.0, limit.1
            ),
            kind: Wrong::Value,
        });
    }
}

fn join(path: &str, member: &str) -> String {
    if path.is_empty() {
        member.to_owned()
    } else {
        format!("{path}.{member}")
    }
}

/// The pattern of a model, for whole values. Java's classes of Unicode characters become what they are in ASCII and,
/// generously, everything beyond it; a pattern that is not understood all the same is not enforced.
fn pattern(text: &str) -> Option<Regex> {
    let beyond = r"\x{80}-\x{10FFFF}";
    let text = [
        (r"\p{L}", format!("A-Za-z{beyond}")),
        (r"\p{N}", format!("0-9{beyond}")),
        (r"\p{Z}", format!(" {beyond}")),
        (r"\uD7FF\uE000-\uFFFD\u10000-\u10FFFF", r"\x{10FFFF}".into()),
    ]
    .iter()
    .fold(text.to_owned(), |text, (theirs, ours)| {
        text.replace(theirs, ours)
    });
    Regex::new(&format!("^(?:{text})$")).ok()
}

fn wrong_type(base: &str, value: &Value) -> Option<&'static str> {
    let (fits, expected) = match base {
        "$string" | "$blob" => (value.is_string(), "a string"),
        "$bool" => (
            value.is_boolean() || matches!(value.as_str(), Some("true" | "false")),
            "a boolean",
        ),
        "$int" => (number(value).is_some(), "an integer"),
        _ => (value.is_number() || value.is_string(), "a number"),
    };
    (!fits).then_some(expected)
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            number
                .as_f64()
                .filter(|n| n.fract() == 0.0)
                .map(|n| n as i64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The value as a message quotes it; long ones are cut.
fn brief(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() > 200 {
        text.chars().take(200).chain("…".chars()).collect()
    } else {
        text
    }
}

#[cfg(test)]
mod tests;
