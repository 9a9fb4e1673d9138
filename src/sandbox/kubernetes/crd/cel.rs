//! The part of CEL that validation rules of our custom resources and conditions of webhooks use: literals, names with their
//! fields, comparison, logic, `has`, `size`, `in`, the conditional, `all`, `exists`, `exists_one`, and `startsWith`,
//! `endsWith`, `contains`, `matches`.
//!
//! Anything else evaluates to nothing, and a rule that does is not enforced.

use serde_json::Value;

/// Whether a rule speaks of the old value.
pub fn mentions_old(rule: &str) -> bool {
    tokens(rule).is_some_and(|tokens| {
        tokens
            .iter()
            .any(|token| *token == Token::Name("oldSelf".into()))
    })
}

/// The rule's verdict; `None` when it cannot be told.
pub fn evaluate(rule: &str, this: &Value, old: &Value) -> Option<bool> {
    judge(rule, &[("self", this.clone()), ("oldSelf", old.clone())]).ok()
}

/// The verdict of an expression about what these names stand for, or why there is none.
pub fn judge(expression: &str, variables: &[(&str, Value)]) -> Result<bool, String> {
    const UNKNOWN: &str = "the sandbox does not understand the expression";
    let mut parser = Parser {
        tokens: tokens(expression).ok_or(UNKNOWN)?,
        at: 0,
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        missing: None,
        depth: 0,
    };
    let value = parser.conditional().ok_or(UNKNOWN)?;
    if parser.at != parser.tokens.len() {
        return Err(UNKNOWN.into());
    }
    match (value, parser.missing) {
        (Some(Value::Bool(verdict)), _) => Ok(verdict),
        (None, Some(missing)) => Err(format!("no such key: {missing}")),
        _ => Err("no such overload".into()),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(f64),
    Sign(&'static str),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    const SIGNS: [&str; 18] = [
        "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ".", ",", "?", ":",
        "-",
    ];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' {
            let end = rest[1..].find(first)?;
            let inner = &rest[1..=end];
            if inner.contains('\\') {
                return None;
            }
            tokens.push(Token::Text(inner.to_owned()));
            rest = rest[end + 2..].trim_start();
            continue;
        }
        if first.is_ascii_digit() {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            tokens.push(Token::Number(rest[..end].parse().ok()?));
            rest = rest[end..].trim_start();
            continue;
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_owned()));
            rest = rest[end..].trim_start();
            continue;
        }
        let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
        tokens.push(Token::Sign(sign));
        rest = rest[sign.len()..].trim_start();
    }
    Some(tokens)
}

/// Values are `Option`s inside: nothing where a field is missing, which only `has` may ask about.
struct Parser {
    tokens: Vec<Token>,
    at: usize,
    /// What names stand for; the last one of a name counts.
    variables: Vec<(String, Value)>,
    /// The first field that was looked for in vain.
    missing: Option<String>,
    /// How deep in parentheses and signs.
    depth: usize,
}

/// How deep expressions nest at most.
const DEPTH: usize = 100;

type Term = Option<Option<Value>>;

impl Parser {
    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(one)) if *one == sign);
        self.at += usize::from(found);
        found
    }

    /// Reads something that is within something else.
    fn within(&mut self, read: impl FnOnce(&mut Self) -> Term) -> Term {
        self.depth += 1;
        let term = match self.depth > DEPTH {
            true => None,
            false => read(self),
        };
        self.depth -= 1;
        term
    }

    fn conditional(&mut self) -> Term {
        self.within(Self::choice)
    }

    fn choice(&mut self) -> Term {
        let condition = self.or()?;
        if !self.take("?") {
            return Some(condition);
        }
        let yes = self.conditional()?;
        if !self.take(":") {
            return None;
        }
        let no = self.conditional()?;
        Some(match condition.as_ref().and_then(Value::as_bool) {
            Some(true) => yes,
            Some(false) => no,
            None => None,
        })
    }

    fn or(&mut self) -> Term {
        let mut left = self.and()?;
        while self.take("||") {
            let right = self.and()?;
            let truth = |term: &Option<Value>| term.as_ref().and_then(Value::as_bool);
            left = match (truth(&left), truth(&right)) {
                (Some(true), _) | (_, Some(true)) => Some(true.into()),
                (Some(false), Some(false)) => Some(false.into()),
                _ => None,
            };
        }
        Some(left)
    }

    fn and(&mut self) -> Term {
        let mut left = self.relation()?;
        while self.take("&&") {
            let right = self.relation()?;
            let truth = |term: &Option<Value>| term.as_ref().and_then(Value::as_bool);
            left = match (truth(&left), truth(&right)) {
                (Some(false), _) | (_, Some(false)) => Some(false.into()),
                (Some(true), Some(true)) => Some(true.into()),
                _ => None,
            };
        }
        Some(left)
    }

    fn relation(&mut self) -> Term {
        let left = self.unary()?;
        for sign in ["==", "!=", "<=", ">=", "<", ">"] {
            if self.take(sign) {
                let right = self.unary()?;
                let (Some(left), Some(right)) = (left, right) else {
                    return Some(None);
                };
                return Some(compare(sign, &left, &right).map(Value::Bool));
            }
        }
        if self.tokens.get(self.at) == Some(&Token::Name("in".into())) {
            self.at += 1;
            let right = self.unary()?;
            let (Some(left), Some(right)) = (left, right) else {
                return Some(None);
            };
            return Some(match right {
                Value::Array(list) => Some(list.iter().any(|item| equal(item, &left)).into()),
                Value::Object(map) => Some(
                    left.as_str()
                        .is_some_and(|key| map.contains_key(key))
                        .into(),
                ),
                _ => None,
            });
        }
        Some(left)
    }

    fn unary(&mut self) -> Term {
        if self.take("!") {
            let value = self.within(Self::unary)?;
            return Some(value.and_then(|value| Some(Value::Bool(!value.as_bool()?))));
        }
        if self.take("-") {
            let value = self.within(Self::unary)?;
            return Some(value.and_then(|value| Some(Value::from(-value.as_f64()?))));
        }
        self.postfix()
    }

    fn postfix(&mut self) -> Term {
        let mut value = self.primary()?;
        loop {
            if self.take(".") {
                let Some(Token::Name(name)) = self.tokens.get(self.at).cloned() else {
                    return None;
                };
                self.at += 1;
                let of_all = matches!(name.as_str(), "all" | "exists" | "exists_one");
                if of_all && self.take("(") {
                    value = self.of_all(value, &name)?;
                } else if self.take("(") {
                    let mut arguments = Vec::new();
                    while !self.take(")") {
                        arguments.push(self.conditional()?);
                        if !self.take(",") && self.tokens.get(self.at) != Some(&Token::Sign(")")) {
                            return None;
                        }
                    }
                    value = method(value, &name, &arguments)?;
                } else {
                    value = self.look(value, &name);
                }
            } else if self.take("[") {
                let index = self.conditional()?;
                if !self.take("]") {
                    return None;
                }
                value = match (value, index) {
                    (Some(value), Some(Value::String(key))) => self.look(Some(value), &key),
                    (Some(value), Some(Value::Number(index))) => {
                        let index = index.as_f64().map(|index| index as usize)?;
                        value.get(index).cloned()
                    }
                    _ => None,
                };
            } else {
                return Some(value);
            }
        }
    }

    /// A field of a value.
    fn look(&mut self, value: Option<Value>, name: &str) -> Option<Value> {
        let value = value?;
        let found = value.get(name).cloned();
        if found.is_none() && value.is_object() && self.missing.is_none() {
            self.missing = Some(name.to_owned());
        }
        found
    }

    /// `all(name, condition)` and its like, for the items of a list or the keys of a map.
    fn of_all(&mut self, value: Option<Value>, how: &str) -> Term {
        let Some(Token::Name(name)) = self.tokens.get(self.at).cloned() else {
            return None;
        };
        self.at += 1;
        if !self.take(",") {
            return None;
        }
        let items: Option<Vec<Value>> = match value {
            Some(Value::Array(list)) => Some(list),
            Some(Value::Object(map)) => Some(map.into_iter().map(|(key, _)| key.into()).collect()),
            _ => None,
        };
        let begin = self.at;
        let mut verdicts = Vec::new();
        // Of nothing, too, the condition has to be read to its end.
        let nothing = items.as_ref().is_none_or(Vec::is_empty);
        let each = items.clone().unwrap_or_default().into_iter();
        for item in each.chain(nothing.then_some(Value::Null)) {
            self.at = begin;
            self.variables.push((name.clone(), item));
            let verdict = self.conditional();
            self.variables.pop();
            verdicts.push(verdict?.and_then(|verdict| verdict.as_bool()));
        }
        if !self.take(")") {
            return None;
        }
        if items.is_none() {
            return Some(None);
        }
        if nothing {
            verdicts.clear();
        }
        let unclear = verdicts.contains(&None);
        let count = |wanted: bool| verdicts.iter().filter(|one| **one == Some(wanted)).count();
        let verdict = match how {
            "all" if count(false) > 0 => Some(false),
            "exists" if count(true) > 0 => Some(true),
            _ if unclear => None,
            "all" => Some(true),
            "exists" => Some(false),
            _ => Some(count(true) == 1),
        };
        Some(verdict.map(Value::Bool))
    }

    fn primary(&mut self) -> Term {
        if self.take("(") {
            let value = self.conditional()?;
            return self.take(")").then_some(value);
        }
        if self.take("[") {
            let mut list = Vec::new();
            while !self.take("]") {
                list.push(self.conditional()??);
                if !self.take(",") && self.tokens.get(self.at) != Some(&Token::Sign("]")) {
                    return None;
                }
            }
            return Some(Some(Value::Array(list)));
        }
        let token = self.tokens.get(self.at).cloned()?;
        self.at += 1;
        match token {
            Token::Text(text) => Some(Some(text.into())),
            Token::Number(number) => Some(Some(number.into())),
            Token::Name(name) => match name.as_str() {
                "true" => Some(Some(true.into())),
                "false" => Some(Some(false.into())),
                "null" => Some(Some(Value::Null)),
                "has" | "size" if self.take("(") => {
                    let before = self.missing.clone();
                    let value = self.conditional()?;
                    if !self.take(")") {
                        return None;
                    }
                    if name == "has" {
                        if value.is_none() {
                            self.missing = before;
                        }
                        return Some(Some(value.is_some().into()));
                    }
                    method(value, "size", &[])
                }
                name => {
                    let mut known = self.variables.iter().rev();
                    let found = known.find(|(known, _)| known == name);
                    found.map(|(_, value)| Some(value.clone()))
                }
            },
            Token::Sign(_) => None,
        }
    }
}

fn method(value: Option<Value>, name: &str, arguments: &[Option<Value>]) -> Term {
    let Some(value) = value else {
        return Some(None);
    };
    let argument = arguments
        .first()
        .and_then(|argument| argument.as_ref()?.as_str());
    let text = value.as_str();
    let answer = match (name, text, argument) {
        ("size", _, _) => match &value {
            Value::String(text) => text.chars().count().into(),
            Value::Array(list) => list.len().into(),
            Value::Object(map) => map.len().into(),
            _ => return Some(None),
        },
        ("startsWith", Some(text), Some(part)) => text.starts_with(part).into(),
        ("endsWith", Some(text), Some(part)) => text.ends_with(part).into(),
        ("contains", Some(text), Some(part)) => text.contains(part).into(),
        ("matches", Some(text), Some(part)) => regex::Regex::new(part).ok()?.is_match(text).into(),
        _ => return None,
    };
    Some(Some(answer))
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn compare(sign: &str, left: &Value, right: &Value) -> Option<bool> {
    match sign {
        "==" => return Some(equal(left, right)),
        "!=" => return Some(!equal(left, right)),
        _ => {}
    }
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => left.cmp(right),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?)?,
    };
    Some(match sign {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_usual_rules_are_understood() {
        let new = json!({"name": "a", "weights": [1, 2], "port": 80});
        let old = json!({"name": "b"});
        assert_eq!(evaluate("self == oldSelf", &new, &old), Some(false));
        assert_eq!(
            evaluate("self.name == oldSelf.name", &new, &new),
            Some(true)
        );
        assert_eq!(
            evaluate("!has(self.host) || size(self.host) > 0", &new, &old),
            Some(true)
        );
        assert_eq!(
            evaluate("has(self.port) && self.port in [80, 443]", &new, &old),
            Some(true)
        );
        assert_eq!(
            evaluate(
                "size(self.weights) <= 1 ? true : self.port < 10",
                &new,
                &old
            ),
            Some(false)
        );
        assert_eq!(
            evaluate("self.weights.all(w, w > 0)", &new, &old),
            Some(true)
        );
        assert_eq!(
            evaluate("self.weights.exists(w, w > 2) || false", &new, &old),
            Some(false)
        );
        assert_eq!(
            evaluate("[].all(w, w.x > 2) && true", &new, &old),
            Some(true)
        );
        assert_eq!(evaluate("self.weights.map(w, w + 1)", &new, &old), None);
        let variables = [("object", new)];
        assert_eq!(judge("object.port == 80", &variables), Ok(true));
        assert_eq!(
            judge("object.gone == 'x'", &variables),
            Err("no such key: gone".into())
        );
        assert_eq!(
            judge("object.port == 80 || object.gone == 'x'", &variables),
            Ok(true)
        );
        assert!(judge("object.name", &variables).is_err());
        for deep in ["(", "!", "-", "[", "true ? "] {
            assert!(judge(&deep.repeat(100_000), &variables).is_err());
        }
        assert!(mentions_old("self == oldSelf") && !mentions_old("self == 'oldSelf'"));
    }
}
