//! Templates: parsing both notations, checking the structure, and finding what depends on what.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::resources;

/// A template in JSON terms, short YAML tags written out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Template(Value);

/// What a template may hold at the top.
const SECTIONS: &[&str] = &[
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Hooks",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
];

/// Short YAML tags; `Ref` and `Condition` have no `Fn::` in front.
const FUNCTIONS: &[&str] = &[
    "And",
    "Base64",
    "Cidr",
    "Equals",
    "FindInMap",
    "GetAZs",
    "GetAtt",
    "If",
    "ImportValue",
    "Join",
    "Not",
    "Or",
    "Select",
    "Split",
    "Sub",
];

/// Parameters that every template has.
const PSEUDO: &[&str] = &[
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

/// The longest template that a request may carry, in bytes.
const LIMIT: usize = 51_200;

/// What resources may hold besides their properties.
const ATTRIBUTES: &[&str] = &[
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Description",
    "Metadata",
    "Properties",
    "Type",
    "UpdatePolicy",
    "UpdateReplacePolicy",
    "Version",
];

impl Template {
    /// Parses and checks a template.
    ///
    /// # Errors
    /// The message of the `ValidationError`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LIMIT {
            return Err(format!(
                "1 validation error detected: Value at 'templateBody' failed to satisfy constraint: Member must have \
                 length less than or equal to {LIMIT}"
            ));
        }
        let value = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| {
                format!(
                    "Template format error: JSON not well-formed. (line {}, column {})",
                    error.line(),
                    error.column()
                )
            })?
        } else {
            let yaml: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| {
                let place = error.location().map_or_else(String::new, |at| {
                    format!(" (line {}, column {})", at.line(), at.column())
                });
                format!("Template format error: YAML not well-formed.{place}")
            })?;
            written_out(yaml)?
        };
        let template = Template(value);
        template.check()?;
        Ok(template)
    }

    fn check(&self) -> Result<(), String> {
        let Some(sections) = self.0.as_object() else {
            return Err("Template format error: unsupported structure.".into());
        };
        let unknown: Vec<&str> = sections
            .keys()
            .map(String::as_str)
            .filter(|section| !SECTIONS.contains(section))
            .collect();
        if !unknown.is_empty() {
            return Err(format!(
                "Invalid template property or properties [{}]",
                unknown.join(", ")
            ));
        }
        if let Some(version) = self.0.get("AWSTemplateFormatVersion")
            && version != "2010-09-09"
        {
            return Err(
                "Template format error: Template format version must be one of the following: [2010-09-09]".into(),
            );
        }
        if let Some(transform) = self.0.get("Transform") {
            return Err(format!(
                "Template format error: the sandbox has no transform {transform}"
            ));
        }
        if let Some(path) = null_at(&self.0, String::new()) {
            return Err(format!(
                "[{path}] 'null' values are not allowed in templates"
            ));
        }
        for section in [
            "Conditions",
            "Mappings",
            "Outputs",
            "Parameters",
            "Resources",
        ] {
            if self.0.get(section).is_some_and(|value| !value.is_object()) {
                return Err(format!(
                    "Template format error: {section} must be an object."
                ));
            }
        }
        if self.section("Resources").is_empty() {
            return Err(
                "Template format error: At least one Resources member must be defined.".into(),
            );
        }
        for (name, parameter) in self.section("Parameters") {
            let Some(kind) = parameter.get("Type").and_then(Value::as_str) else {
                return Err(format!(
                    "Template format error: Every Parameters object must contain a Type member. [{name}]"
                ));
            };
            let plain = kind
                .strip_prefix("List<")
                .and_then(|kind| kind.strip_suffix('>'));
            let known = ["String", "Number", "CommaDelimitedList"].contains(&plain.unwrap_or(kind))
                || plain.unwrap_or(kind).starts_with("AWS::EC2::")
                || kind.starts_with("AWS::SSM::Parameter::");
            if !known {
                return Err(format!(
                    "Template format error: Unrecognized parameter type: {kind}"
                ));
            }
            if parameter
                .get("Default")
                .is_some_and(|value| value.is_array() || value.is_object())
            {
                return Err(format!(
                    "Template format error: Every Default member must be a string. [{name}]"
                ));
            }
        }
        let mut unrecognized = BTreeSet::new();
        for (name, resource) in self.section("Resources") {
            if !name.chars().all(|c| c.is_ascii_alphanumeric()) || name.is_empty() {
                return Err(format!(
                    "Template format error: Resource name {name} is non alphanumeric."
                ));
            }
            let Some(kind) = resource.get("Type").and_then(Value::as_str) else {
                return Err(format!(
                    "Template format error: [/Resources/{name}] Every Resources object must contain a Type member."
                ));
            };
            if resources::handler(kind).is_none() {
                unrecognized.insert(kind);
            }
            let members = resource.as_object().into_iter().flat_map(Map::keys);
            if let Some(member) = members
                .into_iter()
                .find(|member| !ATTRIBUTES.contains(&member.as_str()))
            {
                return Err(format!("Invalid template resource property '{member}'"));
            }
            if resource
                .get("Properties")
                .is_some_and(|properties| !properties.is_object())
            {
                return Err(format!(
                    "[/Resources/{name}/Properties] Properties must be an object."
                ));
            }
        }
        if !unrecognized.is_empty() {
            let kinds: Vec<&str> = unrecognized.into_iter().collect();
            return Err(format!(
                "Template format error: Unrecognized resource types: [{}]",
                kinds.join(", ")
            ));
        }
        for (name, output) in self.section("Outputs") {
            if output.get("Value").is_none() {
                return Err(format!(
                    "Template format error: Output {name} is malformed. Every Outputs member must contain a Value object"
                ));
            }
        }
        for (condition, _) in self.used_conditions() {
            if self.section("Conditions").get(&condition).is_none() {
                return Err(format!(
                    "Template format error: Unresolved condition dependency {condition} in the Resources block of the \
                     template"
                ));
            }
        }
        for section in ["Resources", "Outputs"] {
            let mut unresolved = BTreeSet::new();
            for entry in self.section(section).values() {
                let mut references = References::default();
                references.collect(entry);
                for depends in strings(entry.get("DependsOn")) {
                    references.names.insert(depends);
                }
                for name in &references.names {
                    if !self.knows(name) {
                        unresolved.insert(name.clone());
                    }
                }
                for (name, attribute) in &references.attributes {
                    let Some(resource) = self.section("Resources").get(name) else {
                        return Err(format!(
                            "Template error: instance of Fn::GetAtt references undefined resource {name}"
                        ));
                    };
                    let handler = resource["Type"].as_str().and_then(resources::handler);
                    if handler
                        .is_some_and(|handler| !handler.attributes.contains(&attribute.as_str()))
                    {
                        return Err(format!(
                            "Template error: resource {name} does not support attribute type {attribute} in Fn::GetAtt"
                        ));
                    }
                }
            }
            if !unresolved.is_empty() {
                let names: Vec<String> = unresolved.into_iter().collect();
                return Err(format!(
                    "Template format error: Unresolved resource dependencies [{}] in the {section} block of the template",
                    names.join(", ")
                ));
            }
        }
        self.check_cycles()
    }

    fn knows(&self, name: &str) -> bool {
        PSEUDO.contains(&name)
            || self.section("Parameters").contains_key(name)
            || self.section("Resources").contains_key(name)
    }

    fn used_conditions(&self) -> Vec<(String, String)> {
        let mut used = Vec::new();
        for section in ["Resources", "Outputs"] {
            for (name, entry) in self.section(section) {
                if let Some(condition) = entry.get("Condition").and_then(Value::as_str) {
                    used.push((condition.to_owned(), name.clone()));
                }
            }
        }
        used
    }

    fn check_cycles(&self) -> Result<(), String> {
        let graph: BTreeMap<String, BTreeSet<String>> = self
            .section("Resources")
            .iter()
            .map(|(name, resource)| (name.clone(), self.dependencies(resource)))
            .collect();
        let mut left: BTreeSet<&String> = graph.keys().collect();
        loop {
            let free: Vec<&String> = left
                .iter()
                .copied()
                .filter(|name| graph[*name].iter().all(|needed| !left.contains(needed)))
                .collect();
            if free.is_empty() {
                break;
            }
            for name in free {
                left.remove(name);
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = left.into_iter().map(String::as_str).collect();
        Err(format!(
            "Circular dependency between resources: [{}]",
            names.join(", ")
        ))
    }

    /// The resources that a resource, as written or with its conditions decided, needs first.
    pub fn dependencies(&self, resource: &Value) -> BTreeSet<String> {
        let mut references = References::default();
        references.collect(&resource["Properties"]);
        let mut names = references.names;
        names.extend(references.attributes.into_iter().map(|(name, _)| name));
        names.extend(strings(resource.get("DependsOn")));
        names.retain(|name| self.section("Resources").contains_key(name));
        names
    }

    /// One of the sections, empty where it is missing.
    pub fn section(&self, name: &str) -> &Map<String, Value> {
        static EMPTY: std::sync::OnceLock<Map<String, Value>> = std::sync::OnceLock::new();
        self.0
            .get(name)
            .and_then(Value::as_object)
            .unwrap_or_else(|| EMPTY.get_or_init(Map::new))
    }

    /// The template's description.
    pub fn description(&self) -> Option<&str> {
        self.0.get("Description").and_then(Value::as_str)
    }

    /// The capabilities that the caller has to acknowledge, and why.
    pub fn capabilities(&self) -> Option<(&'static str, String)> {
        let mut kinds = BTreeSet::new();
        let mut named = false;
        for resource in self.section("Resources").values() {
            let kind = resource["Type"].as_str().unwrap_or_default();
            if !kind.starts_with("AWS::IAM::") {
                continue;
            }
            kinds.insert(kind);
            named |= ["RoleName", "ManagedPolicyName", "InstanceProfileName"]
                .iter()
                .any(|name| resource["Properties"].get(name).is_some());
        }
        let listed: Vec<&str> = kinds.into_iter().collect();
        (!listed.is_empty()).then(|| {
            (
                if named {
                    "CAPABILITY_NAMED_IAM"
                } else {
                    "CAPABILITY_IAM"
                },
                format!(
                    "The following resource(s) require capabilities: [{}]",
                    listed.join(", ")
                ),
            )
        })
    }
}

/// What an expression refers to.
#[derive(Default)]
struct References {
    names: BTreeSet<String>,
    attributes: BTreeSet<(String, String)>,
}

impl References {
    fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(members) => {
                if let Some((function, argument)) = single(members) {
                    match (function, argument) {
                        ("Ref", Value::String(name)) => {
                            self.names.insert(name.clone());
                            return;
                        }
                        ("Fn::GetAtt", argument) => {
                            if let Some((name, attribute)) = attribute_of(argument) {
                                self.attributes.insert((name, attribute));
                            }
                            return;
                        }
                        ("Fn::Sub", argument) => return self.collect_substitutions(argument),
                        _ => {}
                    }
                }
                members.values().for_each(|member| self.collect(member));
            }
            _ => {}
        }
    }

    fn collect_substitutions(&mut self, argument: &Value) {
        let (text, local) = match argument {
            Value::String(text) => (text.as_str(), None),
            Value::Array(items) => (
                items.first().and_then(Value::as_str).unwrap_or_default(),
                items.get(1).and_then(Value::as_object),
            ),
            _ => return,
        };
        for variable in variables(text) {
            if local.is_some_and(|local| local.contains_key(variable)) {
                continue;
            }
            match variable.split_once('.') {
                Some((name, attribute)) => {
                    self.attributes
                        .insert((name.to_owned(), attribute.to_owned()));
                }
                None => {
                    self.names.insert(variable.to_owned());
                }
            }
        }
        for value in local.into_iter().flat_map(Map::values) {
            self.collect(value);
        }
    }
}

/// The only member of an object, as functions are written.
pub fn single(members: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut members = members.iter();
    match (members.next(), members.next()) {
        (Some((name, value)), None) => Some((name, value)),
        _ => None,
    }
}

/// `[Vpc, CidrBlock]` or `Vpc.CidrBlock`.
pub fn attribute_of(argument: &Value) -> Option<(String, String)> {
    match argument {
        Value::String(text) => text
            .split_once('.')
            .map(|(name, attribute)| (name.to_owned(), attribute.to_owned())),
        Value::Array(items) => match items.as_slice() {
            [Value::String(name), Value::String(attribute)] => {
                Some((name.clone(), attribute.clone()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The names in `${…}`; `${!…}` is literal.
pub fn variables(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        rest = &rest[start + 2..];
        let Some(end) = rest.find('}') else {
            break;
        };
        if !rest.starts_with('!') {
            found.push(rest[..end].trim());
        }
        rest = &rest[end + 1..];
    }
    found
}

/// A string or a list of strings.
pub fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn null_at(value: &Value, path: String) -> Option<String> {
    match value {
        Value::Null => Some(path),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| null_at(item, format!("{path}/{index}"))),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, member)| null_at(member, format!("{path}/{name}"))),
        _ => None,
    }
}

fn written_out(yaml: serde_yaml::Value) -> Result<Value, String> {
    Ok(match yaml {
        serde_yaml::Value::Null => Value::Null,
        serde_yaml::Value::Bool(flag) => json!(flag),
        serde_yaml::Value::Number(number) => {
            if let Some(integer) = number.as_i64() {
                json!(integer)
            } else if let Some(integer) = number.as_u64() {
                json!(integer)
            } else {
                json!(number.as_f64())
            }
        }
        serde_yaml::Value::String(text) => json!(text),
        serde_yaml::Value::Sequence(items) => Value::Array(
            items
                .into_iter()
                .map(written_out)
                .collect::<Result<_, _>>()?,
        ),
        serde_yaml::Value::Mapping(members) => {
            let mut object = Map::new();
            for (name, value) in members {
                let name = match written_out(name)? {
                    Value::String(name) => name,
                    Value::Number(number) => number.to_string(),
                    Value::Bool(flag) => flag.to_string(),
                    _ => return Err("Template format error: YAML not well-formed.".into()),
                };
                object.insert(name, written_out(value)?);
            }
            Value::Object(object)
        }
        serde_yaml::Value::Tagged(tagged) => {
            let tag = tagged.tag.to_string();
            let tag = tag.trim_start_matches('!');
            let name = match tag {
                "Ref" | "Condition" => tag.to_owned(),
                function if FUNCTIONS.contains(&function) => format!("Fn::{function}"),
                other => return Err(format!("Template format error: unsupported tag !{other}")),
            };
            let argument = match (tag, written_out(tagged.value)?) {
                ("GetAtt", Value::String(text)) => {
                    let (resource, attribute) = text
                        .split_once('.')
                        .ok_or("Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")?;
                    json!([resource, attribute])
                }
                (_, argument) => argument,
            };
            json!({ name: argument })
        }
    })
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
