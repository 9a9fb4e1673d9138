//! Label and field selectors.

use serde_json::Value;

use super::object;
use super::status::{Result, Status};
use super::validation::{key_errors, value_errors};

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector: all requirements hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Reads `a=b,c in (d,e),!f`, and says what is wrong as upstream's parser does.
    pub fn parse(text: &str) -> Result<Labels> {
        // Upstream takes a NUL for the end.
        let text = text.split('\0').next().unwrap_or(text);
        Parser::new(text)
            .parse()
            .map(Labels)
            .map_err(Status::bad_request)
    }

    /// Reads a `LabelSelector` object. Nothing selects nothing's opposite: an empty one selects everything.
    pub fn from_object(selector: &Value) -> Labels {
        let mut requirements = Vec::new();
        if let Some(labels) = selector["matchLabels"].as_object() {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or("").to_owned();
                requirements.push(Requirement::In(key.clone(), vec![value]));
            }
        }
        for expression in object::list(selector, "matchExpressions") {
            let key = object::text(expression, "key").to_owned();
            let values = object::list(expression, "values")
                .iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            requirements.push(match object::text(expression, "operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "DoesNotExist" => Requirement::Absent(key),
                _ => Requirement::Exists(key),
            });
        }
        Labels(requirements)
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's labels satisfy it.
    pub fn matches(&self, value: &Value) -> bool {
        self.matches_labels(value.get("metadata").and_then(|meta| meta.get("labels")))
    }

    /// Whether these labels satisfy it.
    pub fn matches_labels(&self, labels: Option<&Value>) -> bool {
        let label = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        let number = |key: &str| label(key).and_then(|value| value.parse::<i64>().ok());
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|label| values.iter().any(|value| value == label))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|label| values.iter().all(|value| value != label))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
            Requirement::Greater(key, bound) => number(key).is_some_and(|number| number > *bound),
            Requirement::Less(key, bound) => number(key).is_some_and(|number| number < *bound),
        })
    }
}

/// A token and the text it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word,
    Symbol,
    End,
}

/// Upstream's grammar of label selectors.
struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

impl Parser {
    fn new(text: &str) -> Parser {
        let special = |c: char| "=!(),><".contains(c);
        let letters: Vec<char> = text.chars().collect();
        let (mut tokens, mut at) = (Vec::new(), 0);
        while at < letters.len() {
            let start = at;
            if letters[at].is_ascii_whitespace() {
                at += 1;
            } else if special(letters[at]) {
                at += 1;
                // The longest one that there is: ==, !=.
                if matches!(letters[start], '=' | '!') && letters.get(at) == Some(&'=') {
                    at += 1;
                }
                tokens.push((Token::Symbol, letters[start..at].iter().collect()));
            } else {
                while at < letters.len()
                    && !special(letters[at])
                    && !letters[at].is_ascii_whitespace()
                {
                    at += 1;
                }
                tokens.push((Token::Word, letters[start..at].iter().collect()));
            }
        }
        tokens.push((Token::End, String::new()));
        Parser { tokens, at: 0 }
    }

    fn look(&self) -> (&Token, &str) {
        let (token, text) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        (token, text)
    }

    fn take(&mut self) -> (Token, String) {
        let taken = self.tokens[self.at.min(self.tokens.len() - 1)].clone();
        self.at += 1;
        taken
    }

    fn parse(mut self) -> std::result::Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.look() {
                (Token::End, _) => return Ok(requirements),
                (Token::Word, _) | (Token::Symbol, "!") => {}
                (_, text) => {
                    return Err(format!(
                        "found '{text}', expected: !, identifier, or 'end of string'"
                    ));
                }
            }
            let requirement = self
                .requirement()
                .map_err(|error| format!("unable to parse requirement: {error}"))?;
            requirements.push(requirement);
            let (token, text) = self.take();
            match (token, text.as_str()) {
                (Token::End, _) => return Ok(requirements),
                (_, ",") => match self.look() {
                    (Token::Word, _) | (Token::Symbol, "!") => {}
                    (_, text) => {
                        return Err(format!("found '{text}', expected: identifier after ','"));
                    }
                },
                (_, text) => {
                    return Err(format!("found '{text}', expected: ',' or 'end of string'"));
                }
            }
        }
    }

    fn requirement(&mut self) -> std::result::Result<Requirement, String> {
        let (mut token, mut key) = self.take();
        let absent = token == Token::Symbol && key == "!";
        if absent {
            (token, key) = self.take();
        }
        if token != Token::Word {
            return Err(format!("found '{key}', expected: identifier"));
        }
        refused("<nil>", &key, &key_errors(&key))?;
        if absent {
            return Ok(Requirement::Absent(key));
        }
        if matches!(self.look(), (Token::End, _) | (_, ",")) {
            return Ok(Requirement::Exists(key));
        }
        let (_, operator) = self.take();
        let values = match operator.as_str() {
            "in" | "notin" => self.values()?,
            "=" | "==" | "!=" | ">" | "<" => vec![self.exact()?],
            other => return Err(format!("found '{other}', expected: {OPERATORS}")),
        };
        if matches!(operator.as_str(), ">" | "<") && values[0].parse::<i64>().is_err() {
            return Err(format!(
                "values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer",
                values[0]
            ));
        }
        for (index, value) in values.iter().enumerate() {
            refused(
                &format!("values[{index}][{key}]"),
                value,
                &value_errors(value),
            )?;
        }
        let number = || values[0].parse().unwrap_or(0);
        Ok(match operator.as_str() {
            "in" | "=" | "==" => Requirement::In(key, values),
            ">" => Requirement::Greater(key, number()),
            "<" => Requirement::Less(key, number()),
            _ => Requirement::NotIn(key, values),
        })
    }

    fn exact(&mut self) -> std::result::Result<String, String> {
        if matches!(self.look(), (Token::End, _) | (_, ",")) {
            return Ok(String::new());
        }
        match self.take() {
            (Token::Word, text) => Ok(text),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn values(&mut self) -> std::result::Result<Vec<String>, String> {
        let (_, open) = self.take();
        if open != "(" {
            return Err(format!("found '{open}' expected: '('"));
        }
        let mut values = std::collections::BTreeSet::new();
        match self.look() {
            (_, ")") => {
                self.take();
                return Ok(vec![String::new()]);
            }
            (Token::Word, _) | (_, ",") => {}
            (_, text) => {
                return Err(format!("found '{text}', expected: ',', ')' or identifier"));
            }
        }
        loop {
            match self.take() {
                (Token::Word, text) => {
                    values.insert(text);
                    match self.look() {
                        (_, ",") => {}
                        (_, ")") => break,
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (_, text) if text == "," => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.look() {
                        (_, ")") => {
                            values.insert(String::new());
                            break;
                        }
                        (_, ",") => {
                            self.take();
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
        self.take();
        Ok(values.into_iter().collect())
    }
}

fn refused(place: &str, value: &str, why: &[String]) -> std::result::Result<(), String> {
    if why.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{place}: Invalid value: {value:?}: {}",
        why.join("; ")
    ))
}

/// A field selector: path, value, and whether they must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Whether only the object of one name can be meant.
    pub fn name_one(&self) -> bool {
        let exact = |(field, _, equal): &(String, String, bool)| field == "metadata.name" && *equal;
        self.0.iter().any(exact)
    }

    /// Reads `metadata.name=x,status.phase!=Running`; only fields that the resource offers are allowed.
    pub fn parse(
        text: &str,
        group: &str,
        plural: &str,
        namespaced: bool,
        custom: bool,
        selectable: &[String],
    ) -> Result<Fields> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) =
                part.split_once("==").or_else(|| part.split_once('='))
            {
                (field, value, true)
            } else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            // Kinds with fields of their own say it in other words than those without.
            let own = !offered(group, plural).is_empty() || custom;
            let known = field == "metadata.name"
                || field == "metadata.namespace" && (namespaced || !own)
                || offered(group, plural).contains(&field)
                || selectable.iter().any(|one| one == field);
            if !known && !own {
                return Err(Status::bad_request(format!(
                    "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )));
            }
            if !known {
                return Err(Status::bad_request(format!(
                    "field label not supported: {field}"
                )));
            }
            terms.push((field.to_owned(), value.to_owned(), equal));
        }
        Ok(Fields(terms))
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object satisfies it.
    pub fn matches(&self, value: &Value) -> bool {
        self.0.iter().all(|(field, wanted, equal)| {
            let found = match field.as_str() {
                "source" => object::text(value, "source.component").to_owned(),
                "reportingComponent" => {
                    let reporting = object::text(value, "reportingComponent");
                    let source = object::text(value, "source.component");
                    (if reporting.is_empty() {
                        source
                    } else {
                        reporting
                    })
                    .to_owned()
                }
                field => match object::at(value, field) {
                    Some(Value::String(text)) => text.clone(),
                    Some(Value::Null) | None => match field {
                        "spec.unschedulable" | "spec.hostNetwork" => "false".into(),
                        "status.successful" | "status.replicas" => "0".into(),
                        _ => String::new(),
                    },
                    Some(other) => other.to_string(),
                },
            };
            (found == *wanted) == *equal
        })
    }
}

fn offered(group: &str, plural: &str) -> &'static [&'static str] {
    match (group, plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "reason",
            "type",
            "regarding.name",
            "regarding.namespace",
            "regarding.kind",
            "regarding.uid",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "secrets") => &["type"],
        ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        _ => &[],
    }
}
