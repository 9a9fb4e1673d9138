//! Reading an operation's input, and the parts of `Describe…` that all resources share: filters and pages.

use serde_json::{Value, json};

use super::super::Fault;
use super::super::shapes::{Violation, Wrong};

/// An operation's input under its wire names.
#[derive(Clone, Copy)]
pub struct Input<'a>(pub &'a Value);

impl<'a> Input<'a> {
    /// A scalar as text; empty text counts as absent, as it does in EC2.
    pub fn text(&self, name: &str) -> Option<String> {
        scalar(self.0.get(name)?).filter(|text| !text.is_empty())
    }

    /// A scalar that the operation can't do without.
    pub fn required(&self, name: &str) -> Result<String, Fault> {
        self.text(name).ok_or_else(|| missing(name))
    }

    /// A boolean; `None` when absent.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.text(name).as_deref() {
            None => Ok(None),
            Some("true" | "True" | "1") => Ok(Some(true)),
            Some("false" | "False" | "0") => Ok(Some(false)),
            Some(other) => Err(invalid(format!(
                "Invalid value '{other}' for {}. Expecting a boolean.",
                lower_first(name)
            ))),
        }
    }

    /// An integer; `None` when absent.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    invalid(format!(
                        "Invalid value '{text}' for {}. Expecting an integer.",
                        lower_first(name)
                    ))
                })
            })
            .transpose()
    }

    /// `{Value: …}`, the wrapper that attributes to modify come in.
    pub fn wrapped(&self, name: &str) -> Result<Option<bool>, Fault> {
        self.0
            .get(name)
            .map_or(Ok(None), |value| Input(value).flag("Value"))
    }

    /// A list of scalars.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
            Some(value) => scalar(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// A list of structures.
    pub fn objects(&self, name: &str) -> Vec<Input<'a>> {
        match self.0.get(name) {
            Some(Value::Array(items)) => items.iter().map(Input).collect(),
            Some(value @ Value::Object(_)) => vec![Input(value)],
            _ => Vec::new(),
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// `VpcId` → `vpcId`.
pub fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_lowercase().to_string() + chars.as_str()
    })
}

/// An error of EC2: all of them have the status 400.
pub fn fault(code: &str, message: impl Into<String>) -> Fault {
    Fault::new(400, code, message)
}

/// `MissingParameter`.
pub fn missing(name: &str) -> Fault {
    fault(
        "MissingParameter",
        format!(
            "The request must contain the parameter {}",
            lower_first(name)
        ),
    )
}

/// `InvalidParameterValue`.
pub fn invalid(message: impl Into<String>) -> Fault {
    fault("InvalidParameterValue", message)
}

/// Refuses an input that breaks the model.
pub fn refuse(violation: &Violation) -> Fault {
    let path = violation.lower_path().replace(".member", "");
    let value = &violation.value;
    match violation.kind {
        Wrong::Missing => fault(
            "MissingParameter",
            format!("The request must contain the parameter {path}"),
        ),
        Wrong::Unknown => fault(
            "UnknownParameter",
            format!(
                "The parameter {} is not recognized",
                violation.path.replace(".member", "")
            ),
        ),
        Wrong::Unreadable => invalid(format!(
            "Invalid value '{value}' for {path}. {}",
            violation.constraint.replace("Member must be", "Expecting")
        )),
        Wrong::Word => invalid(format!("Value ({value}) for parameter {path} is invalid.")),
        Wrong::Value => {
            let bound = violation.constraint.split_once("than or equal to ");
            let more = violation.constraint.contains("greater");
            let expected = bound.map_or(String::new(), |(_, bound)| {
                let than = if more { "greater" } else { "less" };
                format!(" Expecting a value {than} than or equal to {bound}.")
            });
            invalid(format!(
                "Value ( {value} ) for parameter {path} is invalid.{expected}"
            ))
        }
    }
}

/// What a `Describe…` operation answers with, and how it may be narrowed.
pub struct Listing {
    /// The element that holds the list: `vpcSet`.
    pub set: &'static str,
    /// The input that lists wanted ids: `VpcId`.
    pub ids: &'static str,
    /// The member that holds a thing's id: `vpcId`.
    pub key: &'static str,
    /// Filter names and the dotted path of the members they look at; lists on the way are looked into.
    pub filters: &'static [(&'static str, &'static str)],
    /// What is said of an id that doesn't exist.
    pub unknown: fn(&str) -> Fault,
}

impl Listing {
    /// Answers from all things of the region.
    ///
    /// # Errors
    /// Unknown ids, unknown filters and broken page tokens, as EC2 says them.
    pub fn answer(&self, input: Input<'_>, things: Vec<Value>) -> Result<Value, Fault> {
        let ids = input.list(self.ids);
        let limit = input.number("MaxResults")?;
        if limit.is_some() && !ids.is_empty() {
            return Err(fault(
                "InvalidParameterCombination",
                format!(
                    "The parameter {}s cannot be used with the parameter maxResults",
                    lower_first(self.ids)
                ),
            ));
        }
        for id in &ids {
            if !things.iter().any(|thing| thing[self.key] == **id) {
                return Err((self.unknown)(id));
            }
        }
        let filters = filters(input, self.filters)?;
        let found: Vec<Value> = things
            .into_iter()
            .filter(|thing| ids.is_empty() || ids.iter().any(|id| thing[self.key] == **id))
            .filter(|thing| filters.iter().all(|filter| filter.accepts(thing)))
            .collect();
        page(input, self.set, found, limit)
    }
}

/// Cuts a page out of a list.
pub fn page(
    input: Input<'_>,
    set: &str,
    found: Vec<Value>,
    limit: Option<i64>,
) -> Result<Value, Fault> {
    let start = match input.text("NextToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|offset| usize::from_str_radix(offset, 16).ok())
            .ok_or_else(|| invalid(format!("Unable to parse pagination token '{token}'")))?,
    };
    // Launch templates come one by one where one wants that.
    let least = match set {
        "launchTemplates" | "launchTemplateVersionSet" => 1,
        _ => 5,
    };
    let limit = match limit {
        None => 1000,
        Some(limit) if limit < least => {
            return Err(invalid(format!(
                "Value ( {limit} ) for parameter maxResults is invalid. Expecting a value greater than or equal to {least}."
            )));
        }
        Some(limit) => (limit as usize).min(1000),
    };
    let total = found.len();
    let items: Vec<Value> = found.into_iter().skip(start).take(limit).collect();
    let end = start + items.len();
    let mut answer = json!({ set: items });
    if end < total {
        answer["nextToken"] = json!(format!("page-{end:x}"));
    }
    Ok(answer)
}

/// One filter: it accepts a thing when any of its values matches any of the thing's.
pub struct Filter {
    path: Path,
    values: Vec<String>,
}

enum Path {
    Members(&'static str),
    Tag(String),
    TagKey,
    TagValue,
}

/// The filters of an input.
///
/// # Errors
/// `InvalidParameterValue` for a filter that the operation doesn't know.
pub fn filters(
    input: Input<'_>,
    known: &'static [(&'static str, &'static str)],
) -> Result<Vec<Filter>, Fault> {
    input
        .objects("Filter")
        .into_iter()
        .map(|filter| {
            let name = filter.required("Name")?;
            let values = filter.list("Value");
            if values.is_empty() {
                return Err(fault(
                    "MissingParameter",
                    "The request must contain the parameter Filter.Value",
                ));
            }
            let path = if let Some((_, path)) = known.iter().find(|(known, _)| *known == name) {
                Path::Members(path)
            } else if let Some(key) = name.strip_prefix("tag:") {
                Path::Tag(key.to_owned())
            } else if name == "tag-key" {
                Path::TagKey
            } else if name == "tag-value" {
                Path::TagValue
            } else {
                return Err(invalid(format!("The filter '{name}' is invalid")));
            };
            Ok(Filter { path, values })
        })
        .collect()
}

impl Filter {
    /// Whether the rendered thing passes.
    pub fn accepts(&self, thing: &Value) -> bool {
        let tags = || thing["tagSet"].as_array().into_iter().flatten();
        let mut texts = Vec::new();
        match &self.path {
            Path::Members(path) => collect(thing, path, &mut texts),
            Path::Tag(key) => texts.extend(
                tags()
                    .filter(|tag| tag["key"] == **key)
                    .filter_map(|tag| scalar(&tag["value"])),
            ),
            Path::TagKey => texts.extend(tags().filter_map(|tag| scalar(&tag["key"]))),
            Path::TagValue => texts.extend(tags().filter_map(|tag| scalar(&tag["value"]))),
        }
        self.values.iter().any(|pattern| {
            texts
                .iter()
                .any(|text| glob(pattern.as_bytes(), text.as_bytes()))
        })
    }
}

fn collect(value: &Value, path: &str, into: &mut Vec<String>) {
    if let Value::Array(items) = value {
        for item in items {
            collect(item, path, into);
        }
    } else if path.is_empty() {
        into.extend(scalar(value));
    } else {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        if let Some(member) = value.get(first) {
            collect(member, rest, into);
        }
    }
}

/// `*` and `?`, and `\` before one that is meant literally.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'\\') if pattern.get(p + 1) == Some(&text[t]) => Some(2),
            Some(byte) if *byte == text[t] => Some(1),
            _ => None,
        };
        if let Some(step) = step {
            p += step;
            t += 1;
        } else if let Some((after, from)) = retry {
            p = after;
            t = from + 1;
            retry = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_see_through_lists_and_wildcards() {
        let thing = json!({"vpcId": "vpc-1", "groupSet": [{"groupId": "sg-1"}, {"groupId": "sg-2"}],
            "tagSet": [{"key": "Name", "value": "demo-public-a"}]});
        let known: &'static [(&str, &str)] =
            &[("group-id", "groupSet.groupId"), ("vpc-id", "vpcId")];
        let accepts = |name: &str, value: &str| {
            let input = json!({"Filter": [{"Name": name, "Value": [value]}]});
            filters(Input(&input), known).map(|filters| filters[0].accepts(&thing))
        };
        assert!(accepts("group-id", "sg-2").unwrap());
        assert!(!accepts("group-id", "sg-3").unwrap());
        assert!(accepts("tag:Name", "demo-*-?").unwrap());
        assert!(!accepts("tag:Name", "public").unwrap());
        assert!(accepts("tag-key", "Name").unwrap());
        let fault = accepts("vpc", "x").unwrap_err();
        assert_eq!(fault.code, "InvalidParameterValue");
        assert_eq!(fault.message, "The filter 'vpc' is invalid");
    }

    #[test]
    fn pages_end() {
        let all: Vec<Value> = (0..12).map(|n| json!(n)).collect();
        let first = page(Input(&json!({})), "set", all.clone(), Some(5)).unwrap();
        assert_eq!(first["set"].as_array().unwrap().len(), 5);
        let next = json!({"NextToken": first["nextToken"]});
        let second = page(Input(&next), "set", all.clone(), Some(10)).unwrap();
        assert_eq!(second["set"].as_array().unwrap().len(), 7);
        assert!(second.get("nextToken").is_none());
        assert!(page(Input(&json!({"NextToken": "x"})), "set", all, None).is_err());
    }
}
