//! The pages of a list: tokens with which it goes on, and what is said when it cannot.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::gojson;
use super::status::{Result, Status};
use super::store::{Key, place};

/// Where a list goes on.
pub struct Resumed {
    /// The first key that may follow.
    pub start: Key,
    /// The moment of the list; nothing for the present.
    pub revision: Option<u64>,
}

impl Resumed {
    /// Reads a continue token of a list in a namespace, or in all of them.
    pub fn read(token: &str, namespace: &str, namespaced: bool) -> Result<Resumed> {
        let invalid = |why: &str| {
            Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let text = raw_url(token).map_err(|why| invalid(&why))?;
        if let Some(why) = gojson::error(&text) {
            return Err(invalid(&why));
        }
        let value: Value =
            serde_json::from_slice(&text).map_err(|error| invalid(&error.to_string()))?;
        if !value.is_object() && !value.is_null() {
            let got = gojson::kind(&value);
            return Err(invalid(&format!(
                "json: cannot unmarshal {got} into Go value of type storage.continueToken"
            )));
        }
        for (member, kind) in [("v", "string"), ("rv", "int64"), ("start", "string")] {
            let found = &value[member];
            let fits = match kind {
                "string" => found.is_string(),
                _ => found.is_i64(),
            };
            if !fits && !found.is_null() {
                let got = match found {
                    Value::Number(number) if kind == "int64" => format!("number {number}"),
                    other => gojson::kind(other).to_owned(),
                };
                return Err(invalid(&format!(
                    "json: cannot unmarshal {got} into Go struct field continueToken.{member} of type {kind}"
                )));
            }
        }
        let version = value["v"].as_str().unwrap_or("");
        if version != TOKEN {
            return Err(invalid(&format!(
                "server does not recognize this encoded version {version}"
            )));
        }
        let revision = value["rv"].as_i64().unwrap_or(0);
        if revision == 0 {
            return Err(invalid(&format!(
                "incorrect encoded start resourceVersion (version {TOKEN})"
            )));
        }
        let start = value["start"].as_str().unwrap_or("");
        if start.is_empty() {
            return Err(invalid(&format!(
                "encoded start key empty (version {TOKEN})"
            )));
        }
        // No way leads out of what is listed.
        let path = start.strip_prefix('/').unwrap_or(start);
        let odd = |part: &str| part.is_empty() || matches!(part, "." | "..");
        if path.split('/').any(odd) {
            return Err(invalid(start));
        }
        let start = match (namespaced && namespace.is_empty(), path.split_once('/')) {
            (true, Some((namespace, name))) => (place(namespace), name.to_owned()),
            (true, None) => (path.to_owned(), String::new()),
            (false, _) => (place(namespace), path.to_owned()),
        };
        Ok(Resumed {
            start,
            revision: u64::try_from(revision).ok(),
        })
    }
}

/// The version of continue tokens.
const TOKEN: &str = "meta.k8s.io/v1";

/// The token with which a list goes on from a key; from the present, when the revision is -1.
pub fn proceed((place, name): &Key, namespace: &str, revision: i64) -> String {
    let start = match namespace {
        "" => format!("{place}{name}"),
        _ => name.clone(),
    };
    let token = json!({"v": TOKEN, "rv": revision, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// What is said when the moment of a list, or of a page of one, is no longer remembered.
pub fn expired(start: Option<&Key>, namespace: &str) -> Value {
    let Some(start) = start else {
        return Status::expired("The resourceVersion for the provided list is too old.").body();
    };
    let status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    let mut body = status.body();
    body["metadata"]["continue"] = proceed(start, namespace, -1).into();
    body
}

/// Unpadded base64 for URLs as Go reads it.
fn raw_url(text: &str) -> std::result::Result<Vec<u8>, String> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new()
            .with_encode_padding(false)
            .with_decode_padding_mode(DecodePaddingMode::RequireNone)
            .with_decode_allow_trailing_bits(true),
    );
    let text: Vec<u8> = text
        .bytes()
        .filter(|byte| !b"\r\n".contains(byte))
        .collect();
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    ENGINE.decode(&text).map_err(|_| {
        let at = text.iter().position(|byte| !good(byte));
        let at = at.unwrap_or_else(|| text.len().saturating_sub(1));
        format!("illegal base64 data at input byte {at}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_where_a_page_ended_and_nowhere_else() {
        let key = (place("demo"), "a\0".to_owned());
        for namespace in ["", "demo"] {
            let token = proceed(&key, namespace, 7);
            let resumed = Resumed::read(&token, namespace, true).expect("a token");
            assert_eq!((&resumed.start, resumed.revision), (&key, Some(7)));
        }
        // One of another namespace stays in the one that is listed.
        let token = proceed(&key, "demo", -1);
        let resumed = Resumed::read(&token, "other", true).expect("a token");
        assert_eq!(resumed.start, (place("other"), "a\0".to_owned()));
        assert_eq!(resumed.revision, None);
        for start in ["../x", "a/../b", "", "a//b", "."] {
            let token = json!({"v": TOKEN, "rv": 1, "start": start}).to_string();
            assert!(
                Resumed::read(&URL_SAFE_NO_PAD.encode(token), "", true).is_err(),
                "{start}"
            );
        }
        let refused = |token| {
            Resumed::read(token, "", true)
                .err()
                .expect("an error")
                .message
        };
        assert!(refused("a").ends_with("illegal base64 data at input byte 0"));
        assert!(refused("ab!d").ends_with("illegal base64 data at input byte 2"));
    }
}
