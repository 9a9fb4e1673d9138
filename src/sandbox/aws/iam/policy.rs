//! Policy documents: validation as IAM does it, and evaluation of actions, resources, principals and conditions.
//!
//! Source: "Policy evaluation logic" and "IAM JSON policy elements: Condition operators", IAM User Guide.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::condition;

/// The condition keys of one request. Keys are compared without regard to case.
#[derive(Clone, Debug, Default)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// Adds a value to a key.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        let values = self.0.entry(key.to_ascii_lowercase()).or_default();
        let value = value.into();
        if !values.contains(&value) {
            values.push(value);
        }
    }

    /// The values of a key; none when it is absent.
    pub fn get(&self, key: &str) -> &[String] {
        self.0
            .get(&key.to_ascii_lowercase())
            .map_or(&[], Vec::as_slice)
    }
}

/// Where a policy document stands, which decides what it must and must not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Attached to a user or role, or a policy of its own.
    Identity,
    /// Says who may assume a role.
    Trust,
    /// On a resource, such as a repository.
    Resource,
}

/// Who a request comes from, as trust and resource policies name principals.
#[derive(Clone, Copy, Debug)]
pub enum Principal<'a> {
    /// The ARN of a user, role or session, of an account.
    Aws {
        /// The caller's ARN.
        arn: &'a str,
        /// The caller's account.
        account: &'a str,
    },
    /// `eks.amazonaws.com`.
    Service(&'a str),
    /// The ARN of an identity provider.
    Federated(&'a str),
}

/// One thing that somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `eks:CreateCluster`.
    pub action: &'a str,
    /// An ARN or `*`.
    pub resource: &'a str,
    /// The condition keys.
    pub context: &'a Context,
    /// For trust and resource policies.
    pub principal: Option<Principal<'a>>,
}

/// What the policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// A statement denies it.
    Denied,
}

/// A policy document.
#[derive(Clone, Debug)]
pub struct Document {
    statements: Vec<Map<String, Value>>,
}

const SYNTAX: &str = "Syntax errors in policy.";

impl Document {
    /// Reads and validates a document. The error is IAM's message of `MalformedPolicyDocument`.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, String> {
        let Ok(Value::Object(document)) = serde_json::from_str::<Value>(text) else {
            return Err("This policy contains invalid Json".into());
        };
        if let Some(field) = document
            .keys()
            .find(|key| !["Version", "Id", "Statement"].contains(&key.as_str()))
        {
            return Err(match field.as_str() {
                "Effect" | "Action" | "Resource" => "Missing required field Statement".into(),
                _ => SYNTAX.into(),
            });
        }
        match document.get("Version").map(Value::as_str) {
            None | Some(Some("2012-10-17" | "2008-10-17")) => {}
            Some(_) => return Err(SYNTAX.into()),
        }
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.clone(),
            Some(statement @ Value::Object(_)) => vec![statement.clone()],
            Some(_) => return Err(SYNTAX.into()),
            None => return Err("Missing required field Statement".into()),
        };
        let mut ids = BTreeSet::new();
        let statements = statements
            .into_iter()
            .map(|statement| match statement {
                Value::Object(statement) => {
                    validate(&statement, kind)?;
                    if let Some(id) = statement.get("Sid").and_then(Value::as_str)
                        && !id.is_empty()
                        && !ids.insert(id.to_owned())
                    {
                        return Err("Statement IDs (SID) in a single policy must be unique.".into());
                    }
                    Ok(statement)
                }
                _ => Err(SYNTAX.to_owned()),
            })
            .collect::<Result<Vec<_>, String>>()?;
        if statements.is_empty() {
            return Err(SYNTAX.into());
        }
        Ok(Document { statements })
    }

    /// A document that allows nothing.
    pub(super) fn empty() -> Self {
        Document {
            statements: Vec::new(),
        }
    }

    /// The AWS principals that it names by ARN, which must exist.
    pub fn principal_arns(&self) -> Vec<String> {
        self.statements
            .iter()
            .filter_map(|statement| statement.get("Principal")?.get("AWS"))
            .flat_map(texts)
            .collect()
    }

    /// The statements that allow a request, by their ids; one without an id by its place.
    pub fn allowing(&self, request: &Request<'_>) -> Vec<String> {
        let allow = |statement: &Map<String, Value>| {
            statement.get("Effect").and_then(Value::as_str) == Some("Allow")
        };
        self.statements
            .iter()
            .enumerate()
            .filter(|(_, statement)| allow(statement) && applies(statement, request))
            .map(|(at, statement)| match statement.get("Sid") {
                Some(Value::String(id)) if !id.is_empty() => id.clone(),
                _ => format!("#{at}"),
            })
            .collect()
    }

    /// What this document alone says.
    pub fn evaluate(&self, request: &Request<'_>) -> Decision {
        let mut decision = Decision::NotAllowed;
        for statement in &self.statements {
            if !applies(statement, request) {
                continue;
            }
            if statement.get("Effect").and_then(Value::as_str) == Some("Deny") {
                return Decision::Denied;
            }
            decision = Decision::Allowed;
        }
        decision
    }
}

/// What several documents say together.
pub fn evaluate<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    request: &Request<'_>,
) -> Decision {
    let mut decision = Decision::NotAllowed;
    for document in documents {
        match document.evaluate(request) {
            Decision::Denied => return Decision::Denied,
            Decision::Allowed => decision = Decision::Allowed,
            Decision::NotAllowed => {}
        }
    }
    decision
}

fn validate(statement: &Map<String, Value>, kind: Kind) -> Result<(), String> {
    const FIELDS: [&str; 9] = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    let has = |field: &str| statement.contains_key(field);
    if statement.keys().any(|key| !FIELDS.contains(&key.as_str())) {
        return Err(SYNTAX.into());
    }
    if let Some(id) = statement.get("Sid") {
        let id = id.as_str().ok_or(SYNTAX)?;
        if kind != Kind::Resource && !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
                    .into(),
            );
        }
    }
    match statement.get("Effect").map(Value::as_str) {
        Some(Some("Allow" | "Deny")) => {}
        Some(_) => return Err(SYNTAX.into()),
        None => return Err("Missing required field Effect".into()),
    }
    match kind {
        Kind::Identity if has("Principal") || has("NotPrincipal") => {
            return Err("Policy document should not specify a principal.".into());
        }
        Kind::Trust | Kind::Resource if !has("Principal") && !has("NotPrincipal") => {
            return Err("Missing required field Principal".into());
        }
        Kind::Trust if has("Resource") || has("NotResource") => {
            return Err("Has prohibited field Resource".into());
        }
        _ => {}
    }
    if let Some(principal) = statement
        .get("Principal")
        .or_else(|| statement.get("NotPrincipal"))
    {
        validate_principal(principal)?;
    }
    let listed = |field: &str| statement.get(field).map(texts);
    let actions = match (listed("Action"), listed("NotAction")) {
        (Some(actions), None) | (None, Some(actions)) => actions,
        (None, None) => return Err("Policy statement must contain actions.".into()),
        _ => return Err(SYNTAX.into()),
    };
    if actions.is_empty() {
        return Err("Policy statement must contain actions.".into());
    }
    if let Some(action) = actions.iter().find(|action| !is_action(action)) {
        return Err(if kind == Kind::Trust && action.contains(':') {
            "AssumeRole policy may only specify STS AssumeRole actions.".into()
        } else {
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.".into()
        });
    }
    if kind == Kind::Trust
        && actions
            .iter()
            .any(|action| action != "*" && !action.to_ascii_lowercase().starts_with("sts:"))
    {
        return Err("AssumeRole policy may only specify STS AssumeRole actions.".into());
    }
    if kind == Kind::Identity {
        let resources = match (listed("Resource"), listed("NotResource")) {
            (Some(resources), None) | (None, Some(resources)) if !resources.is_empty() => resources,
            (Some(_), Some(_)) => return Err(SYNTAX.into()),
            _ => return Err("Policy statement must contain resources.".into()),
        };
        if let Some(resource) = resources.iter().find(|resource| !is_resource(resource)) {
            return Err(format!(
                "Resource {resource} must be in ARN format or \"*\"."
            ));
        }
    }
    match statement.get("Condition") {
        None => Ok(()),
        Some(Value::Object(operators)) => operators.iter().try_for_each(|(operator, keys)| {
            let keys = keys.as_object().ok_or(SYNTAX)?;
            if keys
                .values()
                .any(|values| texts(values).is_empty() && values != &Value::Array(Vec::new()))
            {
                return Err(SYNTAX.to_owned());
            }
            if condition::Operator::parse(operator).is_none() {
                return Err(SYNTAX.to_owned());
            }
            match keys.keys().find(|key| !key.contains(':')) {
                Some(_) => Err(
                    "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
                        .into(),
                ),
                None => Ok(()),
            }
        }),
        Some(_) => Err(SYNTAX.into()),
    }
}

fn validate_principal(principal: &Value) -> Result<(), String> {
    match principal {
        Value::String(text) if text == "*" => Ok(()),
        Value::Object(kinds) if !kinds.is_empty() => kinds.iter().try_for_each(|(kind, values)| {
            if !["AWS", "Service", "Federated", "CanonicalUser"].contains(&kind.as_str()) {
                return Err(SYNTAX.to_owned());
            }
            let values = texts(values);
            if values.is_empty() {
                return Err(SYNTAX.to_owned());
            }
            let wrong = values.iter().find(|value| match kind.as_str() {
                "AWS" => {
                    *value != "*"
                        && !value.starts_with("arn:")
                        && !(value.len() == 12 && value.bytes().all(|b| b.is_ascii_digit()))
                }
                "Service" => !value.contains('.'),
                _ => false,
            });
            match wrong {
                Some(value) => Err(format!(
                    "Invalid principal in policy: \"{kind}\":\"{value}\""
                )),
                None => Ok(()),
            }
        }),
        _ => Err(SYNTAX.into()),
    }
}

fn is_action(action: &str) -> bool {
    action == "*"
        || action.split_once(':').is_some_and(|(vendor, name)| {
            !vendor.is_empty() && !name.is_empty() && !name.contains(':')
        })
}

fn is_resource(resource: &str) -> bool {
    resource == "*"
        || (resource.starts_with("arn:") && resource.splitn(6, ':').count() == 6)
        || resource.starts_with("arn:*")
}

/// The strings of a string or list; numbers and booleans, which conditions may hold, are written out.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values
            .iter()
            .filter_map(crate::sandbox::aws::text_of)
            .collect(),
        value => crate::sandbox::aws::text_of(value).into_iter().collect(),
    }
}

fn applies(statement: &Map<String, Value>, request: &Request<'_>) -> bool {
    let lists = |field: &str| statement.get(field).map(texts);
    let action = |pattern: &String| {
        glob(
            &pattern.to_ascii_lowercase(),
            &request.action.to_ascii_lowercase(),
        )
    };
    let actions = match (lists("Action"), lists("NotAction")) {
        (Some(patterns), _) => patterns.iter().any(action),
        (None, Some(patterns)) => !patterns.iter().any(action),
        (None, None) => false,
    };
    if !actions {
        return false;
    }
    let resource = |pattern: &String| {
        glob(
            &condition::substitute(pattern, request.context),
            request.resource,
        )
    };
    let resources = match (lists("Resource"), lists("NotResource")) {
        (Some(patterns), _) => patterns.iter().any(resource),
        (None, Some(patterns)) => !patterns.iter().any(resource),
        (None, None) => true,
    };
    if !resources {
        return false;
    }
    let principals = match (statement.get("Principal"), statement.get("NotPrincipal")) {
        (Some(principal), _) => request.principal.is_some_and(|who| names(principal, who)),
        (None, Some(principal)) => request.principal.is_some_and(|who| !names(principal, who)),
        (None, None) => true,
    };
    if !principals {
        return false;
    }
    match statement.get("Condition").and_then(Value::as_object) {
        None => true,
        Some(operators) => operators.iter().all(|(name, keys)| {
            condition::Operator::parse(name).is_some_and(|operator| {
                keys.as_object().is_some_and(|keys| {
                    keys.iter().all(|(key, values)| {
                        operator.holds(request.context.get(key), &texts(values), request.context)
                    })
                })
            })
        }),
    }
}

fn names(principal: &Value, who: Principal<'_>) -> bool {
    let Value::Object(kinds) = principal else {
        return principal.as_str() == Some("*");
    };
    let listed = |kind: &str| kinds.get(kind).map(texts).unwrap_or_default();
    match who {
        Principal::Aws { arn, account } => listed("AWS").iter().any(|value| {
            value == "*"
                || value == arn
                || value == account
                || *value == format!("arn:aws:iam::{account}:root")
                || session_role(arn).is_some_and(|role| {
                    value.rsplit('/').next() == Some(role.as_str()) && value.contains(":role/")
                })
        }),
        Principal::Service(name) => listed("Service").iter().any(|value| value == name),
        Principal::Federated(arn) => listed("Federated").iter().any(|value| value == arn),
    }
}

/// The role's name in a session's ARN, `arn:aws:sts::…:assumed-role/NAME/SESSION`.
pub fn session_role(arn: &str) -> Option<String> {
    let rest = arn.split_once(":assumed-role/")?.1;
    rest.split('/').next().map(str::to_owned)
}

/// Matches `*` (any characters) and `?` (one character).
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut matched) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while matched < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, matched));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[matched] => {
                at += 1;
                matched += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    at = star_at + 1;
                    matched = from + 1;
                    star = Some((star_at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
