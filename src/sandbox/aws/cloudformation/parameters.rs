//! Parameters: defaults, constraints and previous values.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::functions::scalar;
use super::template::Template;

/// A parameter as a request gives it: a value, or the wish to keep the previous one.
#[derive(Clone, Debug)]
pub enum Given {
    /// A value.
    Value(String),
    /// The value that the stack has now.
    Previous,
}

/// The values of a template's parameters, as text.
///
/// # Errors
/// The message of the `ValidationError`.
pub fn resolve(
    template: &Template,
    given: &BTreeMap<String, Given>,
    previous: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let declared = template.section("Parameters");
    let unknown: Vec<&str> = given
        .keys()
        .map(String::as_str)
        .filter(|name| !declared.contains_key(*name))
        .collect();
    if !unknown.is_empty() {
        return Err(format!(
            "Parameters: [{}] do not exist in the template",
            unknown.join(", ")
        ));
    }
    let mut values = BTreeMap::new();
    let mut without = Vec::new();
    for (name, declaration) in declared {
        let value = match given.get(name) {
            Some(Given::Value(value)) => Some(value.clone()),
            Some(Given::Previous) => previous.get(name).cloned(),
            None => None,
        };
        match value.or_else(|| declaration.get("Default").and_then(scalar)) {
            Some(value) => {
                check(name, declaration, &value)?;
                values.insert(name.clone(), value);
            }
            None => without.push(name.as_str()),
        }
    }
    if without.is_empty() {
        Ok(values)
    } else {
        Err(format!(
            "Parameters: [{}] must have values",
            without.join(", ")
        ))
    }
}

fn check(name: &str, declaration: &Value, value: &str) -> Result<(), String> {
    let kind = declaration["Type"].as_str().unwrap_or_default();
    let refuse = |constraint: String| {
        Err(
            match declaration
                .get("ConstraintDescription")
                .and_then(Value::as_str)
            {
                Some(description) => {
                    format!("Parameter {name} failed to satisfy constraint: {description}")
                }
                None => format!("Parameter '{name}' {constraint}"),
            },
        )
    };
    let items: Vec<&str> = if is_list(kind) {
        value.split(',').map(str::trim).collect()
    } else {
        vec![value]
    };
    let limit = |member: &str| {
        declaration
            .get(member)
            .and_then(scalar)
            .and_then(|text| text.parse::<f64>().ok())
    };
    for item in items {
        if let Some(allowed) = declaration.get("AllowedValues").and_then(Value::as_array)
            && !allowed
                .iter()
                .filter_map(scalar)
                .any(|allowed| allowed == item)
        {
            let listed: Vec<String> = allowed.iter().filter_map(scalar).collect();
            return refuse(format!(
                "must be one of AllowedValues [{}]",
                listed.join(", ")
            ));
        }
        if let Some(pattern) = declaration.get("AllowedPattern").and_then(Value::as_str) {
            let regex = regex_lite::Regex::new(&format!("^(?:{pattern})$")).map_err(|_| {
                format!("Template format error: Parameter '{name}' has an invalid AllowedPattern")
            })?;
            if !regex.is_match(item) {
                return refuse(format!("must match pattern {pattern}"));
            }
        }
        let length = item.chars().count() as f64;
        if limit("MinLength").is_some_and(|least| length < least) {
            return refuse(format!(
                "must contain at least {} characters",
                limit("MinLength").unwrap_or_default()
            ));
        }
        if limit("MaxLength").is_some_and(|most| length > most) {
            return refuse(format!(
                "must contain at most {} characters",
                limit("MaxLength").unwrap_or_default()
            ));
        }
        if kind.contains("Number") {
            let Ok(number) = item.parse::<f64>() else {
                return Err(format!("Parameter '{name}' must be a number."));
            };
            if let Some(least) = limit("MinValue").filter(|least| number < *least) {
                return refuse(format!("must be a number not less than {least}"));
            }
            if let Some(most) = limit("MaxValue").filter(|most| number > *most) {
                return refuse(format!("must be a number not greater than {most}"));
            }
        }
    }
    Ok(())
}

fn is_list(kind: &str) -> bool {
    kind == "CommaDelimitedList" || kind.starts_with("List<")
}

/// The values as expressions see them: lists as lists.
pub fn typed(template: &Template, values: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    values
        .iter()
        .map(|(name, value)| {
            let kind = template
                .section("Parameters")
                .get(name)
                .map(|declaration| &declaration["Type"]);
            let list = kind.and_then(Value::as_str).is_some_and(is_list);
            let value = if list && value.is_empty() {
                json!([])
            } else if list {
                value.split(',').map(str::trim).collect()
            } else {
                json!(value)
            };
            (name.clone(), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "Parameters:
  Mode: {Type: String, AllowedValues: [single, per-zone], Default: single}
  Disk: {Type: Number, MinValue: 20, MaxValue: 100, Default: 40}
  Name: {Type: String, AllowedPattern: '[a-z]+', MaxLength: 5}
  Zones: {Type: CommaDelimitedList, Default: 'a, b'}
Resources:
  A: {Type: 'AWS::EC2::VPC'}
";

    fn with(given: &[(&str, &str)]) -> Result<BTreeMap<String, Value>, String> {
        let template = Template::parse(TEMPLATE).unwrap();
        let given = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Given::Value((*value).to_owned())))
            .collect();
        resolve(&template, &given, &BTreeMap::new()).map(|values| typed(&template, &values))
    }

    #[test]
    fn defaults_fill_in_and_lists_are_lists() {
        let values = with(&[("Name", "demo")]).unwrap();
        assert_eq!(values["Mode"], "single");
        assert_eq!(values["Zones"], json!(["a", "b"]));
    }

    #[test]
    fn constraints_hold() {
        let says = |given: &[(&str, &str)], part: &str| {
            let message = with(given).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        says(&[], "Parameters: [Name] must have values");
        says(
            &[("Name", "demo"), ("Nope", "x")],
            "Parameters: [Nope] do not exist in the template",
        );
        says(
            &[("Name", "demo"), ("Mode", "double")],
            "Parameter 'Mode' must be one of AllowedValues",
        );
        says(
            &[("Name", "Demo")],
            "Parameter 'Name' must match pattern [a-z]+",
        );
        says(&[("Name", "demonstration")], "at most 5 characters");
        says(
            &[("Name", "demo"), ("Disk", "1")],
            "must be a number not less than 20",
        );
        says(&[("Name", "demo"), ("Disk", "big")], "must be a number");
    }
}
