//! Times as Go's `time.Parse` reads them with RFC 3339, and as the API writes them back: in UTC, in whole seconds or in
//! microseconds.

const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROSECONDS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// A time as the API writes it; what Go says when it is none.
pub fn canonical(text: &str, micro: bool) -> Result<String, String> {
    let moment = parse(text, micro)?;
    let shown = moment.strftime("%Y-%m-%dT%H:%M:%S");
    Ok(match micro {
        true => format!("{shown}.{:06}Z", moment.subsec_nanosecond() / 1000),
        false => format!("{shown}Z"),
    })
}

/// A part of the layout: what stands before it, its name there.
const PARTS: [(&str, &str); 7] = [
    ("", "2006"),
    ("-", "01"),
    ("-", "02"),
    ("T", "15"),
    (":", "04"),
    (":", "05"),
    ("", "Z07:00"),
];

fn parse(text: &str, micro: bool) -> Result<jiff::Timestamp, String> {
    let layout = if micro { MICROSECONDS } else { SECONDS };
    let expected = |found: &str, wanted: &str| {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(text),
            quote(layout),
            quote(found),
            quote(wanted)
        )
    };
    let beyond = |what: &str| format!("parsing time {}: {what} out of range", quote(text));
    let mut rest = text;
    let mut numbers = [0_i64; 6];
    let (mut nanoseconds, mut offset) = (0_i64, 0_i64);
    for (index, (prefix, name)) in PARTS.iter().enumerate() {
        rest = rest
            .strip_prefix(prefix)
            .ok_or_else(|| expected(rest, prefix))?;
        let bad = || expected(rest, name);
        if index == 6 {
            if micro {
                let found = digits(rest.strip_prefix('.').unwrap_or(""), 6);
                let fraction = found.ok_or_else(|| expected(rest, ".000000"))?;
                nanoseconds = fraction * 1000;
                rest = &rest[7..];
            }
            (offset, rest) =
                zone(rest, &beyond).map_err(|said| said.unwrap_or_else(|| expected(rest, name)))?;
            continue;
        }
        let length = match (index, digits(rest, 2)) {
            (0, _) => 4,
            (3, None) => 1,
            _ => 2,
        };
        numbers[index] = digits(rest, length).ok_or_else(bad)?;
        rest = &rest[length..];
        let (most, what) = [
            (9999, "year"),
            (12, "month"),
            (99, "day"),
            (23, "hour"),
            (59, "minute"),
            (59, "second"),
        ][index];
        if numbers[index] > most || index == 1 && numbers[index] == 0 {
            return Err(beyond(what));
        }
        // Fractions are taken where nobody asked for them, too.
        if index == 5 && !micro && rest.starts_with(['.', ',']) {
            let length = rest[1..].bytes().take_while(u8::is_ascii_digit).count();
            if length > 0 {
                let nine: String = rest[1..=length]
                    .chars()
                    .chain("000000000".chars())
                    .take(9)
                    .collect();
                nanoseconds = digits(&nine, 9).unwrap_or(0);
                rest = &rest[length + 1..];
            }
        }
    }
    if !rest.is_empty() {
        let quoted = quote(text);
        return Err(format!(
            "parsing time {quoted}: extra text: {}",
            quote(rest)
        ));
    }
    let [year, month, day, hour, minute, second] = numbers;
    let small = |number: i64| i8::try_from(number).unwrap_or(i8::MAX);
    let date = jiff::civil::Date::new(
        i16::try_from(year).unwrap_or(i16::MAX),
        small(month),
        small(day),
    );
    let date = date.map_err(|_| beyond("day"))?;
    let time = jiff::civil::Time::new(
        small(hour),
        small(minute),
        small(second),
        i32::try_from(nanoseconds).unwrap_or(0),
    );
    let moment = time
        .and_then(|time| date.to_datetime(time).to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|_| beyond("day"))?;
    moment
        .timestamp()
        .checked_sub(jiff::SignedDuration::from_secs(offset))
        .map_err(|_| beyond("day"))
}

/// The offset in seconds, and what follows it. The error says what is out of range, if that is what is wrong.
fn zone<'a>(
    text: &'a str,
    beyond: &impl Fn(&str) -> String,
) -> Result<(i64, &'a str), Option<String>> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Ok((0, rest));
    }
    let bytes = text.as_bytes();
    if bytes.len() < 6 || bytes[3] != b':' || !text.is_ascii() {
        return Err(None);
    }
    let (hour, minute) = (digits(&text[1..], 2), digits(&text[4..], 2));
    // What is too much is said before what is no number.
    if hour.is_some_and(|hour| hour > 24) {
        return Err(Some(beyond("time zone offset hour")));
    }
    if minute.is_some_and(|minute| minute > 60) {
        return Err(Some(beyond("time zone offset minute")));
    }
    let seconds = (hour.ok_or(None)? * 60 + minute.ok_or(None)?) * 60;
    match bytes[0] {
        b'+' => Ok((seconds, &text[6..])),
        b'-' => Ok((-seconds, &text[6..])),
        _ => Err(None),
    }
}

/// The number that so many digits at the beginning are.
fn digits(text: &str, length: usize) -> Option<i64> {
    let digits = text.get(..length)?;
    let only = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| only)
}

/// As Go quotes text in these messages.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn times_are_written_in_utc() {
        for (given, expected) in [
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:00:00.999Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01T00:30:00+02:00", "2025-12-31T22:30:00Z"),
            ("2026-01-01T5:00:00Z", "2026-01-01T05:00:00Z"),
        ] {
            assert_eq!(canonical(given, false).as_deref(), Ok(expected), "{given}");
        }
        assert_eq!(
            canonical("2026-01-01T00:00:00.123456-01:00", true).as_deref(),
            Ok("2026-01-01T01:00:00.123456Z")
        );
    }

    #[test]
    fn what_is_no_time_is_refused_in_go_s_words() {
        let layout = "2006-01-02T15:04:05Z07:00";
        for (given, said) in [
            (
                "x",
                format!(" as \"{layout}\": cannot parse \"x\" as \"2006\""),
            ),
            (
                "",
                format!(" as \"{layout}\": cannot parse \"\" as \"2006\""),
            ),
            (
                "2026-01-01",
                format!(" as \"{layout}\": cannot parse \"\" as \"T\""),
            ),
            (
                "2026-01-01T00:00:00",
                format!(" as \"{layout}\": cannot parse \"\" as \"Z07:00\""),
            ),
            ("2026-13-01T00:00:00Z", ": month out of range".to_owned()),
            ("2026-02-30T00:00:00Z", ": day out of range".to_owned()),
            ("2026-02-03T25:00:00Z", ": hour out of range".to_owned()),
            ("2026-01-01T00:00:00Zz", ": extra text: \"z\"".to_owned()),
        ] {
            assert_eq!(
                canonical(given, false),
                Err(format!("parsing time \"{given}\"{said}"))
            );
        }
        assert_eq!(
            canonical("2026-01-01T00:00:00Z", true),
            Err("parsing time \"2026-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\"".into())
        );
    }
}
