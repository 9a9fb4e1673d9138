//! Evaluating a template's expressions.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::super::ec2::Cidr;
use super::template::{Template, attribute_of, single};

/// What expressions can refer to.
pub struct Scope<'a> {
    /// The template.
    pub template: &'a Template,
    /// Values of parameters: strings, or lists of them.
    pub parameters: &'a BTreeMap<String, Value>,
    /// Pseudo parameters: `AWS::Region`, …
    pub pseudo: BTreeMap<String, Value>,
    /// What `Ref` answers for resources that exist.
    pub references: BTreeMap<String, String>,
    /// What `Fn::GetAtt` answers for them.
    pub attributes: BTreeMap<String, Map<String, Value>>,
    /// Other stacks' exports.
    pub exports: BTreeMap<String, String>,
    /// The region's availability zones.
    pub zones: Vec<String>,
    /// Conditions decided so far: they may name each other any number of times.
    pub decided: RefCell<BTreeMap<String, bool>>,
}

impl Scope<'_> {
    /// The conditions' values.
    ///
    /// # Errors
    /// The message of the `ValidationError`.
    pub fn conditions(&self) -> Result<BTreeMap<String, bool>, String> {
        let mut values = BTreeMap::new();
        for name in self.template.section("Conditions").keys() {
            values.insert(name.clone(), self.condition(name, 0)?);
        }
        Ok(values)
    }

    /// The value of one condition.
    ///
    /// # Errors
    /// The message of the `ValidationError`.
    pub fn condition(&self, name: &str, depth: usize) -> Result<bool, String> {
        if let Some(known) = self.decided.borrow().get(name) {
            return Ok(*known);
        }
        if depth > 32 {
            return Err(format!(
                "Template format error: Circular dependencies for condition {name}"
            ));
        }
        let expression = self.template.section("Conditions").get(name).ok_or_else(|| {
            format!("Template format error: Unresolved condition dependency {name} in the Conditions block of the template")
        })?;
        let value = self.truth(expression, depth + 1)?;
        self.decided.borrow_mut().insert(name.to_owned(), value);
        Ok(value)
    }

    fn truth(&self, expression: &Value, depth: usize) -> Result<bool, String> {
        let wrong = || "Template error: every Condition member must be a string.".to_owned();
        let (function, argument) = expression.as_object().and_then(single).ok_or_else(wrong)?;
        let many = |least: usize| {
            argument
                .as_array()
                .filter(|items| (least..=10).contains(&items.len()))
                .ok_or_else(|| {
                    format!(
                        "Template error: every {function} object requires a list of at least {least} and at most 10 boolean \
                         parameters"
                    )
                })
        };
        match function {
            "Condition" => self.condition(argument.as_str().ok_or_else(wrong)?, depth),
            "Fn::Equals" => match argument.as_array().map(Vec::as_slice) {
                Some([left, right]) => {
                    Ok(self.value(left)?.map(|value| plain(&value)) == self.value(right)?.map(|value| plain(&value)))
                }
                _ => Err("Template error: every Fn::Equals object requires a list of 2 string parameters.".into()),
            },
            "Fn::Not" => match argument.as_array().map(Vec::as_slice) {
                Some([inner]) => Ok(!self.truth(inner, depth)?),
                _ => Err("Template error: every Fn::Not object requires a list of 1 boolean parameter.".into()),
            },
            "Fn::And" => {
                for inner in many(2)? {
                    if !self.truth(inner, depth)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            "Fn::Or" => {
                for inner in many(2)? {
                    if self.truth(inner, depth)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => Err(wrong()),
        }
    }

    /// The template's part with every `Fn::If` decided, so that only chosen branches count as dependencies; what
    /// becomes `AWS::NoValue` is left out.
    ///
    /// # Errors
    /// The message of the `ValidationError`.
    pub fn decided(
        &self,
        value: &Value,
        conditions: &BTreeMap<String, bool>,
    ) -> Result<Option<Value>, String> {
        Ok(match value {
            Value::Object(members) => {
                if let Some(("Fn::If", argument)) = single(members) {
                    let Some([Value::String(condition), yes, no]) =
                        argument.as_array().map(Vec::as_slice)
                    else {
                        return Err(
                            "Template error: Fn::If requires a list argument with three elements"
                                .into(),
                        );
                    };
                    let holds = conditions.get(condition).ok_or_else(|| {
                        format!(
                            "Template format error: Unresolved dependencies [{condition}]. Cannot reference resources in \
                             the Conditions block of the template"
                        )
                    })?;
                    return self.decided(if *holds { yes } else { no }, conditions);
                }
                if let Some(("Ref", Value::String(name))) = single(members)
                    && name == "AWS::NoValue"
                {
                    return Ok(None);
                }
                let mut kept = Map::new();
                for (name, member) in members {
                    if let Some(member) = self.decided(member, conditions)? {
                        kept.insert(name.clone(), member);
                    }
                }
                Some(Value::Object(kept))
            }
            Value::Array(items) => {
                let mut kept = Vec::new();
                for item in items {
                    kept.extend(self.decided(item, conditions)?);
                }
                Some(Value::Array(kept))
            }
            other => Some(other.clone()),
        })
    }

    /// The value of an expression whose conditions are decided; `None` is `AWS::NoValue`.
    ///
    /// # Errors
    /// The message of the `ValidationError`.
    pub fn value(&self, expression: &Value) -> Result<Option<Value>, String> {
        match expression {
            Value::Object(members) => {
                if let Some((function, argument)) = single(members)
                    && (function == "Ref" || function.starts_with("Fn::"))
                {
                    return self.call(function, argument);
                }
                let mut values = Map::new();
                for (name, member) in members {
                    if let Some(value) = self.value(member)? {
                        values.insert(name.clone(), value);
                    }
                }
                Ok(Some(Value::Object(values)))
            }
            Value::Array(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.extend(self.value(item)?);
                }
                Ok(Some(Value::Array(values)))
            }
            other => Ok(Some(other.clone())),
        }
    }

    fn call(&self, function: &str, argument: &Value) -> Result<Option<Value>, String> {
        match function {
            "Ref" => {
                let name = argument.as_str().ok_or(
                    "Template format error: every Ref object must have a single String value.",
                )?;
                self.reference(name)
            }
            "Fn::GetAtt" => {
                let (name, attribute) = attribute_of(argument).ok_or(
                    "Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the \
                     resource attribute",
                )?;
                self.attribute(&name, &attribute).map(Some)
            }
            "Fn::Sub" => self.substitute(argument).map(Some),
            "Fn::Join" => {
                let (separator, items) = pair(argument).ok_or(JOIN)?;
                let items = self.list(items)?.ok_or(JOIN)?;
                let texts = items
                    .iter()
                    .map(|item| scalar(item).ok_or(JOIN))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(Some(json!(texts.join(separator.as_str().ok_or(JOIN)?))))
            }
            "Fn::Split" => {
                let (separator, text) = pair(argument).ok_or(SPLIT)?;
                let text = self.text(text)?.ok_or(SPLIT)?;
                let separator = separator
                    .as_str()
                    .filter(|text| !text.is_empty())
                    .ok_or(SPLIT)?;
                Ok(Some(json!(text.split(separator).collect::<Vec<_>>())))
            }
            "Fn::Select" => {
                let (index, items) = pair(argument).ok_or(SELECT)?;
                let index = self
                    .text(index)?
                    .and_then(|text| text.parse::<usize>().ok())
                    .ok_or(SELECT)?;
                let items = self.list(items)?.ok_or(SELECT)?;
                items.get(index).cloned().map(Some).ok_or_else(|| {
                    format!("Template error: Fn::Select  cannot select nonexistent value at index {index}")
                })
            }
            "Fn::GetAZs" => {
                let region = self.text(argument)?.unwrap_or_default();
                if region.is_empty() || self.pseudo.get("AWS::Region") == Some(&json!(region)) {
                    Ok(Some(json!(self.zones)))
                } else {
                    Ok(Some(json!(super::super::ec2::zones(&region))))
                }
            }
            "Fn::Cidr" => self.cidr(argument).map(Some),
            "Fn::Base64" => {
                let text = self.text(argument)?.ok_or(
                    "Template error: every Fn::Base64 object must have a String-typed value.",
                )?;
                Ok(Some(json!(
                    base64::engine::general_purpose::STANDARD.encode(text)
                )))
            }
            "Fn::FindInMap" => {
                let wrong = "Template error: every Fn::FindInMap object requires three parameters, the map name, map key and \
                             the attribute for return value";
                let Some([map, first, second]) = argument.as_array().map(Vec::as_slice) else {
                    return Err(wrong.into());
                };
                let text = |part: &Value| self.text(part)?.ok_or_else(|| wrong.to_owned());
                let (map, first, second) = (text(map)?, text(first)?, text(second)?);
                let mappings = self.template.section("Mappings");
                let found = mappings
                    .get(&map)
                    .ok_or_else(|| format!("Template error: Mapping named '{map}' is not present in the 'Mappings' section of template."))?
                    .get(&first)
                    .and_then(|entry| entry.get(&second));
                found.cloned().map(Some).ok_or_else(|| {
                    format!("Template error: Unable to get mapping for {map}::{first}::{second}")
                })
            }
            "Fn::ImportValue" => {
                let name = self.text(argument)?.ok_or(
                    "Template error: every Fn::ImportValue object must have a String-typed value.",
                )?;
                self.exports
                    .get(&name)
                    .map(|value| Some(json!(value)))
                    .ok_or_else(|| format!("No export named {name} found."))
            }
            "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or" => self
                .truth(&json!({ function: argument }), 0)
                .map(|truth| Some(json!(truth))),
            "Fn::If" => {
                let conditions = self.conditions()?;
                match self.decided(&json!({ function: argument }), &conditions)? {
                    Some(chosen) => self.value(&chosen),
                    None => Ok(None),
                }
            }
            _ => Err(format!(
                "Template error: the sandbox has no function {function}"
            )),
        }
    }

    fn reference(&self, name: &str) -> Result<Option<Value>, String> {
        if name == "AWS::NoValue" {
            return Ok(None);
        }
        self.parameters
            .get(name)
            .or_else(|| self.pseudo.get(name))
            .cloned()
            .or_else(|| self.references.get(name).map(|reference| json!(reference)))
            .map(Some)
            .ok_or_else(|| {
                format!(
                    "Template format error: Unresolved resource dependencies [{name}] in the Resources block of the template"
                )
            })
    }

    fn attribute(&self, name: &str, attribute: &str) -> Result<Value, String> {
        self.attributes
            .get(name)
            .ok_or_else(|| format!("Template error: instance of Fn::GetAtt references undefined resource {name}"))?
            .get(attribute)
            .cloned()
            .ok_or_else(|| {
                format!("Template error: resource {name} does not support attribute type {attribute} in Fn::GetAtt")
            })
    }

    fn substitute(&self, argument: &Value) -> Result<Value, String> {
        let wrong = "Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a \
                     string as first argument, and an optional second argument to specify a mapping of values to replace in \
                     the string";
        let (text, local) = match argument {
            Value::String(text) => (text, None),
            Value::Array(items) => match items.as_slice() {
                [Value::String(text)] => (text, None),
                [Value::String(text), Value::Object(local)] => (text, Some(local)),
                _ => return Err(wrong.into()),
            },
            _ => return Err(wrong.into()),
        };
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            rest = &rest[start + 2..];
            let Some(end) = rest.find('}') else {
                out.push_str("${");
                break;
            };
            let (name, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if let Some(literal) = name.strip_prefix('!') {
                out.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let name = name.trim();
            let value = if let Some(value) = local.and_then(|local| local.get(name)) {
                self.value(value)?
            } else if let Some((resource, attribute)) = name.split_once('.') {
                Some(self.attribute(resource, attribute)?)
            } else {
                self.reference(name)?
            };
            out.push_str(&value.as_ref().and_then(scalar).ok_or(wrong)?);
        }
        out.push_str(rest);
        Ok(json!(out))
    }

    fn cidr(&self, argument: &Value) -> Result<Value, String> {
        let wrong = "Template error: every Fn::Cidr object requires two or three parameters, the ipBlock, the count and the \
                     cidrBits";
        let (block, count, bits) = match argument.as_array().map(Vec::as_slice) {
            Some([block, count]) => (block, count, None),
            Some([block, count, bits]) => (block, count, Some(bits)),
            _ => return Err(wrong.into()),
        };
        let block = self.text(block)?.ok_or(wrong)?;
        let network = Cidr::parse(&block).ok_or_else(|| {
            format!("Template error: Fn::Cidr : {block} is not a valid CIDR block")
        })?;
        let number = |part: &Value| -> Result<u64, String> {
            self.text(part)?
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| wrong.to_owned())
        };
        let count = number(count)?;
        if !(1..=256).contains(&count) {
            return Err("Template error: Fn::Cidr count must be between 1 and 256".into());
        }
        let bits = match bits {
            Some(bits) => u8::try_from(number(bits)?).map_err(|_| wrong)?,
            None => 8,
        };
        let blocks = network.blocks(count, bits).ok_or_else(|| {
            format!("Template error: Fn::Cidr can not create {count} blocks with {bits} cidrBits from {block}")
        })?;
        Ok(json!(
            blocks.iter().map(Cidr::to_string).collect::<Vec<_>>()
        ))
    }

    fn list(&self, expression: &Value) -> Result<Option<Vec<Value>>, String> {
        Ok(match self.value(expression)? {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        })
    }

    fn text(&self, expression: &Value) -> Result<Option<String>, String> {
        Ok(self.value(expression)?.as_ref().and_then(scalar))
    }
}

const JOIN: &str = "Template error: every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of \
                    strings to be joined or a function that returns a list of strings (such as Fn::GetAZs) to be joined.";
const SPLIT: &str = "Template error: every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string \
                     to be split or a function that returns a string to be split.";
const SELECT: &str = "Template error: Fn::Select requires a list argument with two elements: an integer index and a list";

fn pair(argument: &Value) -> Option<(&Value, &Value)> {
    match argument.as_array()?.as_slice() {
        [first, second] => Some((first, second)),
        _ => None,
    }
}

/// A scalar as text.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Scalars as text throughout, for comparisons: `443` and `"443"` are the same to CloudFormation.
pub fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, member)| (name.clone(), plain(member)))
                .collect(),
        ),
        other => scalar(other).map_or(Value::Null, Value::String),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(expression: &str) -> Result<Option<Value>, String> {
        let template = Template::parse(
            "Parameters:\n  Mode:\n    Type: String\nMappings:\n  Sizes:\n    small:\n      Nodes: 2\nConditions:\n  Big: \
             !Equals [!Ref Mode, big]\n  Small: !Not [!Condition Big]\n  Both: !And [!Condition Big, !Condition \
             Small]\n  Either: !Or [!Condition Big, !Condition Small]\nResources:\n  Vpc:\n    Type: AWS::EC2::VPC\n",
        )
        .unwrap();
        let parameters = BTreeMap::from([
            ("Mode".to_owned(), json!("small")),
            ("List".to_owned(), json!(["a", "b"])),
        ]);
        let scope = Scope {
            template: &template,
            parameters: &parameters,
            pseudo: BTreeMap::from([("AWS::Region".to_owned(), json!("eu-west-1"))]),
            references: BTreeMap::from([("Vpc".to_owned(), "vpc-1".to_owned())]),
            attributes: BTreeMap::from([(
                "Vpc".to_owned(),
                Map::from_iter([("CidrBlock".to_owned(), json!("10.0.0.0/16"))]),
            )]),
            exports: BTreeMap::from([("Shared".to_owned(), "exported".to_owned())]),
            zones: vec!["eu-west-1a".into(), "eu-west-1b".into()],
            decided: RefCell::default(),
        };
        let yaml = format!(
            "Resources:\n  A:\n    Type: AWS::EC2::VPC\n    Metadata: {expression}\nParameters:\n  List:\n    Type: CommaDelimitedList\n  Mode:\n    Type: String\n  Vpc2:\n    Type: String\n"
        );
        // Only for its parser: `Vpc` is known to the scope, not to this template.
        let parsed = Template::parse(&yaml.replace("Vpc}", "AWS::NoValue}").replace("@", "Vpc"))
            .map_err(|error| format!("parse: {error}"))?;
        let expression = parsed.section("Resources")["A"]["Metadata"].clone();
        match scope.decided(&expression, &scope.conditions()?)? {
            Some(decided) => scope.value(&decided),
            None => Ok(None),
        }
    }

    fn is(expression: &str, expected: Value) {
        assert_eq!(
            evaluate(expression).unwrap(),
            Some(expected),
            "{expression}"
        );
    }

    #[test]
    fn functions_compose() {
        is(
            "!Join ['-', [!Ref Mode, !Ref 'AWS::Region']]",
            json!("small-eu-west-1"),
        );
        is("!Join [',', !Ref List]", json!("a,b"));
        is(
            "!Sub 'arn:${AWS::Region}:${!Literal}:${Mode}'",
            json!("arn:eu-west-1:${Literal}:small"),
        );
        is(
            "!Sub ['${x}/${Mode}', {x: !Select [1, !Ref List]}]",
            json!("b/small"),
        );
        is("!Select [1, !Split ['/', 'a/b']]", json!("b"));
        is("!Select [1, !GetAZs '']", json!("eu-west-1b"));
        is(
            "!Select [5, !Cidr ['10.42.0.0/16', 6, 13]]",
            json!("10.42.160.0/19"),
        );
        is(
            "!If [Big, 3, !FindInMap [Sizes, !Ref Mode, Nodes]]",
            json!(2),
        );
        is("!If [Both, a, !If [Either, b, c]]", json!("b"));
        is(
            "[1, !Ref 'AWS::NoValue', {x: !If [Big, 1, !Ref 'AWS::NoValue'], y: 2}]",
            json!([1, {"y": 2}]),
        );
        is("!Base64 hello", json!("aGVsbG8="));
        is("{'Fn::ImportValue': !Sub 'Shared'}", json!("exported"));
    }

    #[test]
    fn what_cannot_be_evaluated_says_why() {
        let says = |expression: &str, part: &str| {
            let message = evaluate(expression).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        says(
            "!Select [2, !GetAZs '']",
            "cannot select nonexistent value at index 2",
        );
        says(
            "!FindInMap [Sizes, huge, Nodes]",
            "Unable to get mapping for Sizes::huge::Nodes",
        );
        says(
            "!FindInMap [Nope, huge, Nodes]",
            "Mapping named 'Nope' is not present",
        );
        says("!ImportValue Nope", "No export named Nope found.");
        says(
            "!Join [',', text]",
            "every Fn::Join object requires two parameters",
        );
        says("!Cidr ['10.0.0.0/24', 6, 13]", "can not create 6 blocks");
        says("!If [Nope, 1, 2]", "Nope");
    }

    #[test]
    fn conditions_that_name_each_other_often_are_decided_once() {
        let mut text = String::from("Resources:\n  A: {Type: 'AWS::EC2::VPC'}\nConditions:\n");
        for level in 0..30 {
            let next = format!("!Condition C{}", level + 1);
            text.push_str(&format!("  C{level}: !And [{next}, {next}]\n"));
        }
        text.push_str("  C30: !Equals [a, a]\n");
        let template = Template::parse(&text).unwrap();
        let scope = Scope {
            template: &template,
            parameters: &BTreeMap::new(),
            pseudo: BTreeMap::new(),
            references: BTreeMap::new(),
            attributes: BTreeMap::new(),
            exports: BTreeMap::new(),
            zones: Vec::new(),
            decided: RefCell::default(),
        };
        assert!(scope.conditions().unwrap().values().all(|holds| *holds));
    }
}
