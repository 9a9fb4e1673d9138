//! Writes answers of the query protocols: a JSON value whose keys are wire names becomes XML.

use serde_json::Value;

/// Appends `<name>value</name>`. Null is left out; arrays wrap each element in `<item>` of the protocol's kind.
pub(super) fn element(out: &mut String, name: &str, value: &Value, item: &str) {
    if value.is_null() {
        return;
    }
    out.push('<');
    out.push_str(name);
    out.push('>');
    content(out, value, item);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// Appends what stands between an element's tags.
pub(super) fn content(out: &mut String, value: &Value, item: &str) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => escape(out, text),
        Value::Array(values) => values
            .iter()
            .for_each(|value| element(out, item, value, item)),
        Value::Object(members) => members
            .iter()
            .for_each(|(name, value)| element(out, name, value, item)),
    }
}

/// Appends text with XML's special characters escaped. Control characters that XML 1.0 cannot carry are dropped.
pub(super) fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\n' | '\t' => out.push(character),
            control if control < ' ' => {}
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn structures_lists_and_text_become_xml() {
        let mut out = String::new();
        let value = json!({"Path": "/a&b/", "Tags": [{"Key": "k"}], "Empty": [], "Gone": null, "Ok": true, "N": 3});
        element(&mut out, "Role", &value, "member");
        assert_eq!(
            out,
            "<Role><Path>/a&amp;b/</Path><Tags><member><Key>k</Key></member></Tags><Empty></Empty><Ok>true</Ok><N>3</N></Role>"
        );
    }
}
