//! Condition operators of policy statements.

use std::net::IpAddr;

use super::policy::{Context, glob};

/// How one pair of values is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    NumericEquals,
    NumericLess,
    NumericLessEquals,
    NumericGreater,
    NumericGreaterEquals,
    DateEquals,
    DateLess,
    DateLessEquals,
    DateGreater,
    DateGreaterEquals,
    Bool,
    Ip,
    Null,
}

/// How a key with several values is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Single,
    ForAllValues,
    ForAnyValue,
}

/// A parsed operator: `ForAllValues:StringNotLikeIfExists`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operator {
    set: Set,
    test: Test,
    negated: bool,
    if_exists: bool,
}

impl Operator {
    /// Reads an operator's name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (set, name) = match name.split_once(':') {
            Some(("ForAllValues", name)) => (Set::ForAllValues, name),
            Some(("ForAnyValue", name)) => (Set::ForAnyValue, name),
            Some(_) => return None,
            None => (Set::Single, name),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (test, negated) = match name {
            "StringEquals" | "BinaryEquals" => (Test::Equals, false),
            "StringNotEquals" => (Test::Equals, true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoreCase, true),
            "StringLike" | "ArnLike" | "ArnEquals" => (Test::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Test::Like, true),
            "NumericEquals" => (Test::NumericEquals, false),
            "NumericNotEquals" => (Test::NumericEquals, true),
            "NumericLessThan" => (Test::NumericLess, false),
            "NumericLessThanEquals" => (Test::NumericLessEquals, false),
            "NumericGreaterThan" => (Test::NumericGreater, false),
            "NumericGreaterThanEquals" => (Test::NumericGreaterEquals, false),
            "DateEquals" => (Test::DateEquals, false),
            "DateNotEquals" => (Test::DateEquals, true),
            "DateLessThan" => (Test::DateLess, false),
            "DateLessThanEquals" => (Test::DateLessEquals, false),
            "DateGreaterThan" => (Test::DateGreater, false),
            "DateGreaterThanEquals" => (Test::DateGreaterEquals, false),
            "Bool" => (Test::Bool, false),
            "IpAddress" => (Test::Ip, false),
            "NotIpAddress" => (Test::Ip, true),
            "Null" if !if_exists && set == Set::Single => (Test::Null, false),
            _ => return None,
        };
        Some(Operator {
            set,
            test,
            negated,
            if_exists,
        })
    }

    /// Whether the request's values of a key satisfy the policy's.
    pub(super) fn holds(&self, actual: &[String], wanted: &[String], context: &Context) -> bool {
        if self.test == Test::Null {
            return wanted
                .iter()
                .any(|wanted| (wanted == "true") == actual.is_empty());
        }
        if actual.is_empty() {
            return match self.set {
                Set::ForAllValues => true,
                Set::ForAnyValue => self.if_exists,
                Set::Single => self.if_exists || self.negated,
            };
        }
        let wanted: Vec<String> = wanted
            .iter()
            .map(|value| substitute(value, context))
            .collect();
        let matches = |actual: &String| {
            wanted
                .iter()
                .any(|wanted| compare(self.test, actual, wanted))
                != self.negated
        };
        match self.set {
            Set::ForAllValues => actual.iter().all(matches),
            // A key with several values and no set operator: negation means that none of them matches.
            Set::Single if self.negated => actual.iter().all(matches),
            Set::Single | Set::ForAnyValue => actual.iter().any(matches),
        }
    }
}

fn compare(test: Test, actual: &str, wanted: &str) -> bool {
    let numbers = || Some((actual.parse::<f64>().ok()?, wanted.parse::<f64>().ok()?));
    let numeric = |compare: fn(&f64, &f64) -> bool| numbers().is_some_and(|(a, w)| compare(&a, &w));
    let date = |compare: fn(&i64, &i64) -> bool| match (moment(actual), moment(wanted)) {
        (Some(actual), Some(wanted)) => compare(&actual, &wanted),
        _ => false,
    };
    match test {
        Test::Equals => actual == wanted,
        Test::EqualsIgnoreCase | Test::Bool => actual.eq_ignore_ascii_case(wanted),
        Test::Like => glob(wanted, actual),
        Test::NumericEquals => numeric(f64::eq),
        Test::NumericLess => numeric(f64::lt),
        Test::NumericLessEquals => numeric(f64::le),
        Test::NumericGreater => numeric(f64::gt),
        Test::NumericGreaterEquals => numeric(f64::ge),
        Test::DateEquals => date(i64::eq),
        Test::DateLess => date(i64::lt),
        Test::DateLessEquals => date(i64::le),
        Test::DateGreater => date(i64::gt),
        Test::DateGreaterEquals => date(i64::ge),
        Test::Ip => in_network(actual, wanted),
        Test::Null => false,
    }
}

fn moment(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>()
        .map(|timestamp| timestamp.as_second())
        .ok()
        .or_else(|| text.parse().ok())
        .or_else(|| {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            Some(
                date.to_zoned(jiff::tz::TimeZone::UTC)
                    .ok()?
                    .timestamp()
                    .as_second(),
            )
        })
}

fn in_network(address: &str, network: &str) -> bool {
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, length.parse::<u32>().ok()),
        None => (network, None),
    };
    match (address.parse(), base.parse()) {
        (Ok(IpAddr::V4(address)), Ok(IpAddr::V4(base))) => {
            let shift = 32 - length.unwrap_or(32).min(32);
            u64::from(address.to_bits()) >> shift == u64::from(base.to_bits()) >> shift
        }
        (Ok(IpAddr::V6(address)), Ok(IpAddr::V6(base))) => {
            let length = length.unwrap_or(128).min(128);
            length == 0 || address.to_bits() >> (128 - length) == base.to_bits() >> (128 - length)
        }
        _ => false,
    }
}

/// Replaces `${aws:username}` and the like by the request's values; a variable without a value stays as it is, which
/// matches nothing.
pub(super) fn substitute(pattern: &str, context: &Context) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((variable, tail)) = after.split_once('}') else {
            rest = &rest[before.len()..];
            break;
        };
        match variable {
            "*" | "?" | "$" => out.push_str(variable),
            variable => match context.get(variable) {
                [value] => out.push_str(value),
                _ => out.push_str(&format!("${{{variable}}}")),
            },
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}
