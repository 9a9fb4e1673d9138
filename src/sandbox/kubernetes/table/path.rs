//! The JSON paths of printer columns: fields, quoted fields, indexes, and `[?(@.field=="value")]`.

use serde_json::Value;

/// The first value at a path such as `.status.conditions[?(@.type=="Ready")].status`.
pub fn find(object: &Value, path: &str) -> Option<Value> {
    let mut found = vec![object];
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = closing(inner)?;
            let step = inner[..end].trim();
            rest = &inner[end + 1..];
            found = found
                .into_iter()
                .flat_map(|value| bracket(value, step))
                .collect();
        } else {
            let inner = rest.strip_prefix('.').unwrap_or(rest);
            let end = unescaped(inner);
            let name = inner[..end].replace("\\.", ".");
            if !name.is_empty() {
                found = found
                    .into_iter()
                    .filter_map(|value| value.get(&name))
                    .collect();
            }
            if end == 0 && !inner.starts_with('[') {
                return None;
            }
            rest = &inner[end..];
        }
    }
    found.first().map(|value| (*value).clone())
}

/// Where a field's name ends; a dot behind a backslash belongs to it.
fn unescaped(text: &str) -> usize {
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        if c == '[' || c == '.' && before != '\\' {
            return index;
        }
        before = c;
    }
    text.len()
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ']' => return Some(index),
            None => {}
        }
    }
    None
}

fn bracket<'a>(value: &'a Value, step: &str) -> Vec<&'a Value> {
    if step == "*" {
        return value.as_array().into_iter().flatten().collect();
    }
    if let Some(filter) = step
        .strip_prefix("?(")
        .and_then(|step| step.strip_suffix(')'))
    {
        let Some((field, wanted)) = filter.split_once("==") else {
            return Vec::new();
        };
        let field = field.trim().trim_start_matches("@.");
        let wanted = wanted.trim().trim_matches(['"', '\'']);
        return value
            .as_array()
            .into_iter()
            .flatten()
            .filter(|item| match super::object::at(item, field) {
                Some(Value::String(text)) => text == wanted,
                Some(Value::Bool(flag)) => wanted == if *flag { "true" } else { "false" },
                Some(Value::Number(number)) => wanted.parse().ok().as_ref() == Some(number),
                Some(_) => false,
                None => false,
            })
            .collect();
    }
    let found = match step.parse::<usize>() {
        Ok(index) => value.get(index),
        Err(_) => value.get(step.trim_matches(['"', '\''])),
    };
    found.into_iter().collect()
}
