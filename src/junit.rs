//! JUnit XML, as CI systems read it.

use std::fmt::Write;

/// How a case came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Result {
    /// As it should.
    Passed,
    /// It was not tried; why.
    Skipped(String),
    /// Not as it should.
    Failed {
        /// What kind of failure.
        kind: String,
        /// Why, on a line.
        message: String,
        /// More of it.
        text: String,
    },
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// What it is about: `canary.backend`.
    pub class: String,
    /// Its name.
    pub name: String,
    /// How long it took, where that is known.
    pub seconds: Option<f64>,
    /// How it came out.
    pub result: Result,
}

/// Text for XML and HTML.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has no way to write these.
            control if control.is_control() && !matches!(control, '\n' | '\t') => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// One suite, as a whole file.
pub fn suite(name: &str, seconds: f64, cases: &[Case]) -> String {
    let mut lines = String::new();
    for case in cases {
        let _ = write!(
            lines,
            "    <testcase classname=\"{}\" name=\"{}\"",
            escaped(&case.class),
            escaped(&case.name)
        );
        if let Some(seconds) = case.seconds {
            let _ = write!(lines, " time=\"{seconds:.3}\"");
        }
        let _ = match &case.result {
            Result::Passed => writeln!(lines, "/>"),
            Result::Skipped(why) => {
                writeln!(lines, "><skipped message=\"{}\"/></testcase>", escaped(why))
            }
            Result::Failed {
                kind,
                message,
                text,
            } => writeln!(
                lines,
                "><failure type=\"{}\" message=\"{}\">{}</failure></testcase>",
                escaped(kind),
                escaped(message),
                escaped(text)
            ),
        };
    }
    let count = |is: fn(&Result) -> bool| cases.iter().filter(|case| is(&case.result)).count();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">\n{lines}  </testsuite>\n</testsuites>\n",
        escaped(name),
        cases.len(),
        count(|result| matches!(result, Result::Failed { .. })),
        count(|result| matches!(result, Result::Skipped(_))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_xml_whatever_is_said() {
        let case = |name: &str, result| Case {
            class: "a<b".into(),
            name: name.into(),
            seconds: Some(0.5),
            result,
        };
        let failed = Result::Failed {
            kind: "routing".into(),
            message: "\"no\" & \u{1}".into(),
            text: "]]>".into(),
        };
        let text = suite(
            "s",
            1.0,
            &[
                case("one", Result::Passed),
                case("two", failed),
                case("three", Result::Skipped("why".into())),
            ],
        );
        assert!(
            text.contains("tests=\"3\" failures=\"1\" skipped=\"1\" time=\"1.000\""),
            "{text}"
        );
        let mut reader = quick_xml::Reader::from_str(&text);
        while reader.read_event().expect("XML") != quick_xml::events::Event::Eof {}
        assert!(
            text.contains("message=\"&quot;no&quot; &amp;  \""),
            "{text}"
        );
    }
}
