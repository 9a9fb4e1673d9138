//! Filter expressions of `GetTraceSummaries`: `service("backend") AND http.status >= 500`.
//!
//! Source: "Use filter expressions", AWS X-Ray Developer Guide; groups and root causes are left out, and refused rather
//! than misunderstood.

use super::segment::{Segment, root};

/// The deepest nesting of parentheses and negations.
const MAX_DEPTH: usize = 64;

/// A parsed expression.
#[derive(Debug)]
pub(super) enum Filter {
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    /// `fault`, `error`, `throttle`, `ok`, `partial`.
    Flag(String),
    /// `service("name")`, `service("name") { fault }`.
    Service(String, Option<Box<Filter>>),
    /// `edge("from", "to")`, `edge("from", "to") { responsetime > 1 }`.
    Edge(String, String, Option<Box<Filter>>),
    /// `http.status >= 500`, `annotation.key = "value"`.
    Compare(String, String, Operand),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    Number(f64),
    Text(String),
    Flag(bool),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(f64),
    Sign(String),
}

impl Filter {
    /// Reads an expression.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens, at: 0 };
        let filter = parser.or(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(token) => Err(format!("unexpected {token:?}")),
        }
    }

    /// Whether a trace satisfies it.
    pub(super) fn holds(&self, segments: &[Segment]) -> bool {
        match self {
            Filter::And(a, b) => a.holds(segments) && b.holds(segments),
            Filter::Or(a, b) => a.holds(segments) || b.holds(segments),
            Filter::Not(inner) => !inner.holds(segments),
            Filter::Flag(flag) => {
                let any = |test: fn(&Segment) -> bool| segments.iter().any(test);
                match flag.as_str() {
                    "fault" => any(|s| s.fault),
                    "error" => any(|s| s.error),
                    "throttle" => any(|s| s.throttle),
                    "partial" => any(|s| s.in_progress),
                    _ => !any(|s| s.fault || s.error || s.throttle),
                }
            }
            Filter::Service(name, inner) => segments.iter().any(|segment| {
                !segment.is_subsegment && segment.name == *name && holds_of(inner, segment)
            }),
            Filter::Edge(from, to, inner) => segments.iter().any(|segment| {
                segment.name == *to
                    && called_by(segments, segment, from)
                    && holds_of(inner, segment)
            }),
            Filter::Compare(subject, operator, operand) => {
                compare(segments, subject, operator, operand)
            }
        }
    }
}

/// Whether what stands in the braces of a complex keyword is true of the segment that it has found.
fn holds_of(inner: &Option<Box<Filter>>, segment: &Segment) -> bool {
    inner
        .as_ref()
        .is_none_or(|inner| inner.holds(std::slice::from_ref(segment)))
}

/// Whether the nearest service above a segment has this name.
fn called_by(segments: &[Segment], segment: &Segment, name: &str) -> bool {
    let mut at = segment;
    for _ in 0..segments.len() {
        let Some(parent) = segments
            .iter()
            .find(|other| Some(&other.id) == at.parent.as_ref())
        else {
            return false;
        };
        if !parent.is_subsegment {
            return parent.name == name;
        }
        at = parent;
    }
    false
}

fn compare(segments: &[Segment], subject: &str, operator: &str, operand: &Operand) -> bool {
    let any = |value: &dyn Fn(&Segment) -> Option<Operand>| {
        segments
            .iter()
            .filter_map(value)
            .any(|actual| test(&actual, operator, operand))
    };
    let text = |value: &Option<String>| value.clone().map(Operand::Text);
    match subject {
        "duration" => test(
            &Operand::Number(super::duration(segments)),
            operator,
            operand,
        ),
        "responsetime" => root(segments)
            .or(segments.first().filter(|_| segments.len() == 1))
            .is_some_and(|root| test(&Operand::Number(root.duration()), operator, operand)),
        "http.status" => any(&|s| s.status.map(|status| Operand::Number(status as f64))),
        "http.method" => any(&|s| text(&s.method)),
        "http.url" => any(&|s| text(&s.url)),
        "http.useragent" => any(&|s| text(&s.user_agent)),
        "http.clientip" => any(&|s| text(&s.client_ip)),
        "name" | "service.name" => any(&|s| Some(Operand::Text(s.name.clone()))),
        _ => {
            let key = subject.trim_start_matches("annotation.");
            any(&|segment| match segment.annotations.get(key)? {
                serde_json::Value::Bool(flag) => Some(Operand::Flag(*flag)),
                value => value
                    .as_f64()
                    .map(Operand::Number)
                    .or_else(|| value.as_str().map(|text| Operand::Text(text.into()))),
            })
        }
    }
}

fn test(actual: &Operand, operator: &str, wanted: &Operand) -> bool {
    match (actual, wanted) {
        (Operand::Number(actual), Operand::Number(wanted)) => match operator {
            "=" => actual == wanted,
            "!=" => actual != wanted,
            "<" => actual < wanted,
            "<=" => actual <= wanted,
            ">" => actual > wanted,
            ">=" => actual >= wanted,
            _ => false,
        },
        (Operand::Text(actual), Operand::Text(wanted)) => match operator {
            "=" => actual == wanted,
            "!=" => actual != wanted,
            "contains" => actual.contains(wanted.as_str()),
            "beginswith" => actual.starts_with(wanted.as_str()),
            "endswith" => actual.ends_with(wanted.as_str()),
            _ => false,
        },
        (Operand::Flag(actual), Operand::Flag(wanted)) => (actual == wanted) == (operator == "="),
        _ => operator == "!=",
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '"' => {
                let end = rest[1..].find('"').ok_or("a string is not closed")?;
                (Token::Text(rest[1..=end].into()), end + 2)
            }
            '(' | ')' | '{' | '}' | ',' | '=' => (Token::Sign(first.into()), 1),
            '<' | '>' | '!' => {
                let length = if rest[1..].starts_with('=') { 2 } else { 1 };
                (Token::Sign(rest[..length].into()), length)
            }
            c if c.is_ascii_alphanumeric() || c == '_' || c == '.' => {
                let word = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
                let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                let word = &rest[..length];
                match word.parse() {
                    Ok(number) if first.is_ascii_digit() || first == '.' => {
                        (Token::Number(number), length)
                    }
                    _ => (Token::Word(word.into()), length),
                }
            }
            other => return Err(format!("unexpected {other:?}")),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<Token, String> {
        let token = self
            .tokens
            .get(self.at)
            .cloned()
            .ok_or("the expression ends too early")?;
        self.at += 1;
        Ok(token)
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = match self.peek() {
            Some(Token::Word(found)) => found.eq_ignore_ascii_case(word),
            Some(Token::Sign(found)) => found == word,
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(format!("expected {sign}")),
        }
    }

    fn or(&mut self, depth: usize) -> Result<Filter, String> {
        let mut left = self.and(depth)?;
        while self.takes("OR") {
            left = Filter::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Filter, String> {
        let mut left = self.term(depth)?;
        while self.takes("AND") {
            left = Filter::And(Box::new(left), Box::new(self.term(depth)?));
        }
        Ok(left)
    }

    fn term(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        if self.takes("!") || self.takes("NOT") {
            return Ok(Filter::Not(Box::new(self.term(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.or(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let Token::Word(word) = self.next()? else {
            return Err("expected a keyword".into());
        };
        match word.to_ascii_lowercase().as_str() {
            flag @ ("fault" | "error" | "throttle" | "ok" | "partial") => {
                Ok(Filter::Flag(flag.into()))
            }
            "service" => {
                self.expect("(")?;
                let name = self.text()?;
                self.expect(")")?;
                Ok(Filter::Service(name, self.braces(depth)?))
            }
            "edge" => {
                self.expect("(")?;
                let from = self.text()?;
                self.expect(",")?;
                let to = self.text()?;
                self.expect(")")?;
                Ok(Filter::Edge(from, to, self.braces(depth)?))
            }
            lower => {
                // Annotation keys keep their case.
                let known = ["duration", "responsetime", "name"].contains(&lower)
                    || lower.starts_with("http.");
                let subject = match known {
                    true => lower.to_owned(),
                    false if word.starts_with("annotation.") => word,
                    false => return Err(format!("unknown keyword {word}")),
                };
                let operator = match self.next()? {
                    Token::Sign(sign) if !"(){},!".contains(&sign) => sign,
                    Token::Word(word)
                        if ["contains", "beginswith", "endswith"]
                            .contains(&word.to_ascii_lowercase().as_str()) =>
                    {
                        word.to_ascii_lowercase()
                    }
                    other => return Err(format!("expected an operator, not {other:?}")),
                };
                let operand = match self.next()? {
                    Token::Number(number) => Operand::Number(number),
                    Token::Text(text) => Operand::Text(text),
                    Token::Word(word) if word == "true" || word == "false" => {
                        Operand::Flag(word == "true")
                    }
                    other => return Err(format!("expected a value, not {other:?}")),
                };
                Ok(Filter::Compare(subject, operator, operand))
            }
        }
    }

    /// The narrowing `{ … }` behind a complex keyword; empty ones say nothing.
    fn braces(&mut self, depth: usize) -> Result<Option<Box<Filter>>, String> {
        if !self.takes("{") || self.takes("}") {
            return Ok(None);
        }
        let inner = self.or(depth + 1)?;
        self.expect("}")?;
        Ok(Some(Box::new(inner)))
    }

    fn text(&mut self) -> Result<String, String> {
        match self.next()? {
            Token::Text(text) => Ok(text),
            other => Err(format!("expected a string, not {other:?}")),
        }
    }
}
