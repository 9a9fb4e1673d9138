//! What names, keys, labels and ports may be.

use serde_json::{Map, Value};

use super::super::status::Cause;

pub(super) const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
pub(super) const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
pub(super) const SERVICE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
pub(super) const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
pub(super) const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

pub(super) fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_label_shaped(name)
}

pub(super) fn is_label_shaped(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.chars().all(|c| good(c) || c == '-')
        && name.starts_with(good)
        && name.ends_with(good)
}

pub(super) fn is_subdomain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|part| {
            !part.is_empty()
                && part.chars().all(|c| good(c) || c == '-')
                && part.starts_with(good)
                && part.ends_with(good)
        })
}

pub(super) fn is_qualified(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric();
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| good(c) || "-_.".contains(c))
        && text.starts_with(good)
        && text.ends_with(good)
}

/// What is wrong with a qualified name: `example.com/name` or `name`.
pub fn key_errors(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let parts: Vec<&str> = key.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".into());
            } else {
                if prefix.len() > 253 {
                    errors.push("prefix part must be no more than 253 bytes".into());
                }
                if !is_subdomain(prefix) {
                    errors.push(format!("prefix part {SUBDOMAIN}"));
                }
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                QUALIFIED.trim_start_matches("name part ")
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        errors.push("name part must be no more than 63 bytes".into());
    }
    if name.len() > 63 && name.get(..1).is_some_and(is_qualified)
        || !is_qualified(name) && name.len() <= 63
    {
        errors.push(QUALIFIED.into());
    }
    errors
}

/// What is wrong with the name of a host.
pub fn label_errors(name: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if name.len() > 63 {
        errors.push("must be no more than 63 bytes".to_owned());
    }
    if !is_label_shaped(name) {
        errors.push(LABEL.to_owned());
    }
    errors
}

/// What is wrong with the value of a label.
pub fn value_errors(value: &str) -> Vec<String> {
    if value.len() > 63 {
        vec!["must be no more than 63 bytes".into()]
    } else if value.is_empty() || is_qualified(value) {
        Vec::new()
    } else {
        vec![LABEL_VALUE.into()]
    }
}

/// Whether a key can be one.
pub(super) fn key_valid(key: &str, shown: &str, field: &str, causes: &mut Vec<Cause>) {
    for why in key_errors(key) {
        causes.push(Cause::invalid(field, &shown.into(), why));
    }
}

/// Whether labels can be labels.
pub(super) fn labels_valid(labels: &Map<String, Value>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels {
        key_valid(key, key, field, causes);
        for why in value_errors(value.as_str().unwrap_or("")) {
            causes.push(Cause::invalid(field, value, why));
        }
    }
}

pub(super) fn port_name_valid(name: &str, path: &str, causes: &mut Vec<Cause>) {
    let mut say = |why: &str| causes.push(Cause::invalid(path, &name.into(), why));
    if name.len() > 15 {
        say("must be no more than 15 characters");
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.chars().all(good) {
        say("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        say("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        say("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        say("must not begin or end with a hyphen");
    }
}

pub(super) fn port_valid(number: i64, path: &str, causes: &mut Vec<Cause>) {
    if !(1..=65535).contains(&number) {
        causes.push(Cause::invalid(
            path,
            &number.into(),
            "must be between 1 and 65535, inclusive",
        ));
    }
}
