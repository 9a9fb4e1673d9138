//! Command lines as Go's pflag reads them: what is unknown or malformed ends the program.

use std::collections::BTreeMap;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `--flag` or `--flag=true`.
    Bool,
    /// A whole number.
    Int,
    /// A number that need not be whole.
    Float,
    /// Anything.
    Text,
    /// `1h`, `30s`, `1m30s`.
    Duration,
}

/// A flag: its name, what it takes, its default.
pub type Flag = (&'static str, Kind, &'static str);

/// The values of all flags.
#[derive(Clone, Debug)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// A text.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether a flag is set.
    pub fn is(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// A number.
    pub fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }
}

/// Reads a command line; the error is what the program writes before it exits with 2.
pub fn parse(known: &[Flag], args: &[String]) -> Result<Flags, String> {
    let mut values: BTreeMap<&'static str, String> = known
        .iter()
        .map(|(name, _, default)| (*name, (*default).to_owned()))
        .collect();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--" {
            break;
        }
        let Some(body) = arg.strip_prefix("--") else {
            if arg.starts_with('-') && arg.len() > 1 {
                return Err(format!("unknown shorthand flag: '{}' in {arg}", &arg[1..2]));
            }
            continue;
        };
        let (name, given) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let Some((name, kind, _)) = known.iter().find(|(flag, _, _)| *flag == name) else {
            return Err(format!("unknown flag: --{name}"));
        };
        let value = match (given, kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true".to_owned(),
            (None, _) => match rest.next() {
                Some(value) => value.clone(),
                None => return Err(format!("flag needs an argument: --{name}")),
            },
        };
        let value = check(name, *kind, value)?;
        values.insert(name, value);
    }
    Ok(Flags(values))
}

fn check(name: &str, kind: Kind, value: String) -> Result<String, String> {
    let wrong = |why: String| {
        Err(format!(
            "invalid argument \"{value}\" for \"--{name}\" flag: {why}"
        ))
    };
    match kind {
        Kind::Bool => match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".into()),
            _ => wrong(format!(
                "strconv.ParseBool: parsing \"{value}\": invalid syntax"
            )),
        },
        Kind::Int => match value.parse::<i64>() {
            Ok(_) => Ok(value),
            Err(_) => wrong(format!(
                "strconv.ParseInt: parsing \"{value}\": invalid syntax"
            )),
        },
        Kind::Float => match value.parse::<f64>() {
            Ok(_) => Ok(value),
            Err(_) => wrong(format!(
                "strconv.ParseFloat: parsing \"{value}\": invalid syntax"
            )),
        },
        Kind::Duration => {
            let fine = value == "0"
                || (value.ends_with(['s', 'm', 'h'])
                    && value.starts_with(|c: char| c.is_ascii_digit()));
            if fine {
                Ok(value)
            } else {
                wrong(format!("time: invalid duration \"{value}\""))
            }
        }
        Kind::Text => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[
        ("enable", Kind::Bool, "false"),
        ("port", Kind::Int, "1"),
        ("name", Kind::Text, ""),
    ];

    fn read(args: &[&str]) -> Result<Flags, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        parse(KNOWN, &args)
    }

    #[test]
    fn flags_are_read_in_both_forms() {
        let flags = read(&["--enable", "--port=7", "--name", "x"]).expect("fine");
        assert!(flags.is("enable"));
        assert_eq!(flags.int("port"), 7);
        assert_eq!(flags.text("name"), "x");
    }

    #[test]
    fn what_is_unknown_or_malformed_is_refused() {
        assert_eq!(
            read(&["--enabled"]).expect_err("unknown"),
            "unknown flag: --enabled"
        );
        assert_eq!(
            read(&["--port=x"]).expect_err("no number"),
            "invalid argument \"x\" for \"--port\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"
        );
    }
}
