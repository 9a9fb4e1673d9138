//! What Go's decoder says about text that is not JSON, or not the JSON that it expected.

use std::borrow::Cow;

use serde_json::Value;

/// What is wrong with a text, in Go's words; nothing when it is JSON.
pub fn error(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner {
        text,
        at: 0,
        depth: 0,
    };
    let result = scanner
        .value("looking for beginning of value")
        .and_then(|()| {
            scanner.space();
            match scanner.peek() {
                None => Ok(()),
                Some(byte) => Err(invalid(byte, "after top-level value")),
            }
        });
    result.err()
}

/// What the decoder calls a value that it did not expect.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A text as Go quotes it.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            '\0'..='\x1f' | '\x7f' => quoted.push_str(&format!("\\x{:02x}", letter as u32)),
            '\u{80}'..='\u{a0}' | '\u{ad}' => {
                quoted.push_str(&format!("\\u{:04x}", letter as u32));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// What is no text, and what only half of one stands for, is one sign of that, as for Go.
pub fn mended(text: &[u8]) -> Cow<'_, [u8]> {
    let text = match String::from_utf8_lossy(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    let half = |at: usize, range: std::ops::RangeInclusive<u16>| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let number = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        range.contains(&number).then_some(number)
    };
    let mut halves = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].iter().position(|byte| *byte == b'\\') {
        at += next;
        let first = half(at, 0xd800..=0xdbff).is_some();
        at += match (first, half(at, 0xdc00..=0xdfff).is_some()) {
            (true, _) if half(at + 6, 0xdc00..=0xdfff).is_some() => 12,
            (true, _) | (_, true) => {
                halves.push(at);
                6
            }
            _ => 2,
        };
        if at >= text.len() {
            break;
        }
    }
    if halves.is_empty() {
        return text;
    }
    let mut text = text.into_owned();
    for at in halves {
        text[at..at + 6].copy_from_slice(b"\\ufffd");
    }
    Cow::Owned(text)
}

/// A number without a sign.
pub fn unsigned(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let why = match digits {
            true => "value out of range",
            false => "invalid syntax",
        };
        format!("strconv.ParseUint: parsing {text:?}: {why}")
    })
}

fn invalid(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        0x20..=0x7e => format!("'{}'", char::from(byte)),
        0x00..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0x9f | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    };
    format!("invalid character {shown} {place}")
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

/// How deep values nest at most: more than the parser after it takes, which is 128, and little enough for any stack. Go
/// stops at 10 000.
const DEPTH: usize = 200;

type Step = Result<(), String>;

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or("unexpected end of JSON input")?;
        self.at += 1;
        Ok(byte)
    }

    fn value(&mut self, place: &str) -> Step {
        self.space();
        match self.next()? {
            byte @ (b'{' | b'[') => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(invalid(byte, "exceeded max depth"));
                }
                match byte {
                    b'{' => self.object(),
                    _ => self.array(),
                }?;
                self.depth -= 1;
                Ok(())
            }
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' => match self.next_of_number() {
                byte @ b'0'..=b'9' => self.number(byte),
                byte => Err(invalid(byte, "in numeric literal")),
            },
            byte @ b'0'..=b'9' => self.number(byte),
            byte => Err(invalid(byte, place)),
        }
    }

    /// The next byte within a number. Go takes the end of the text for a space there.
    fn next_of_number(&mut self) -> u8 {
        self.next().unwrap_or(b' ')
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// What follows the first digit of a number.
    fn number(&mut self, first: u8) -> Step {
        let digit = |byte: u8, place: &str| match byte.is_ascii_digit() {
            true => Ok(()),
            false => Err(invalid(byte, place)),
        };
        if first != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let byte = self.next_of_number();
            digit(byte, "after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let mut byte = self.next_of_number();
            if matches!(byte, b'+' | b'-') {
                byte = self.next_of_number();
            }
            digit(byte, "in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Step {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let place = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(invalid(byte, &place));
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Step {
        loop {
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => match self.next()? {
                    b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next()?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(invalid(byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    byte => return Err(invalid(byte, "in string escape code")),
                },
                byte if byte < 0x20 => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn array(&mut self) -> Step {
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value("looking for beginning of value")?;
            self.space();
            match self.next()? {
                b',' => {}
                b']' => return Ok(()),
                byte => return Err(invalid(byte, "after array element")),
            }
        }
    }

    fn object(&mut self) -> Step {
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            match self.next()? {
                b'"' => self.string()?,
                byte => {
                    return Err(invalid(byte, "looking for beginning of object key string"));
                }
            }
            self.space();
            match self.next()? {
                b':' => {}
                byte => return Err(invalid(byte, "after object key")),
            }
            self.value("looking for beginning of value")?;
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Ok(()),
                byte => return Err(invalid(byte, "after object key:value pair")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_mended_and_quoted() {
        let mend = |text: &[u8]| String::from_utf8_lossy(&mended(text)).into_owned();
        assert_eq!(mend(b"{\"a\": \"\xff\"}"), "{\"a\": \"\u{fffd}\"}");
        for (given, expected) in [
            (r#""\ud800""#, r#""\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\\ud800""#, r#""\\ud800""#),
            (r#""\ud8""#, r#""\ud8""#),
            (r#"\"#, r#"\"#),
        ] {
            assert_eq!(mend(given.as_bytes()), expected);
        }
        assert_eq!(quoted("a\0\n\"\\ä"), r#""a\x00\n\"\\ä""#);
    }

    #[test]
    fn broken_json_is_refused_in_go_s_words() {
        for (text, said) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (
                "{\"kind\": }",
                "invalid character '}' looking for beginning of value",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
        ] {
            assert_eq!(error(text.as_bytes()).as_deref(), Some(said), "{text}");
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(
            error(deep.as_bytes()).as_deref(),
            Some("invalid character '[' exceeded max depth")
        );
        let wide = format!("[{}1]", "[1],".repeat(1000));
        assert_eq!(error(wide.as_bytes()), None);
        assert_eq!(error(b"{\"a\": [1, true, null, \"x\"]}"), None);
    }
}
