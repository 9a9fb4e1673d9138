//! Quantities: `100m`, `1.5Gi`, `1e3`, as the API writes them back.

/// Units of a thousandth of a millionth: the smallest that there is.
const NANO: i128 = 1_000_000_000;

const DECIMAL: [(&str, u32); 10] = [
    ("n", 0),
    ("u", 3),
    ("m", 6),
    ("", 9),
    ("k", 12),
    ("M", 15),
    ("G", 18),
    ("T", 21),
    ("P", 24),
    ("E", 27),
];
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// How a quantity was written, which is how it is written again.
enum Form {
    Decimal,
    Binary,
    Exponent,
}

/// A quantity in its canonical form; what upstream says when it is none.
pub fn canonical(text: &str) -> Result<String, String> {
    let (nanos, form) = parse(text)?;
    if nanos == 0 {
        return Ok("0".into());
    }
    Ok(match form {
        Form::Binary if nanos.abs() >= 1024 * NANO => {
            // Less than a whole is not there in binary: up.
            let mut whole = (nanos + if nanos > 0 { NANO - 1 } else { 0 }) / NANO;
            let mut power = 0;
            while power < BINARY.len() && whole % 1024 == 0 {
                whole /= 1024;
                power += 1;
            }
            match power {
                0 => whole.to_string(),
                power => format!("{whole}{}", BINARY[power - 1]),
            }
        }
        Form::Exponent => {
            let (mut mantissa, mut exponent) = (nanos, -9_i32);
            while mantissa % 1000 == 0 {
                mantissa /= 1000;
                exponent += 3;
            }
            match exponent {
                0 => mantissa.to_string(),
                exponent => format!("{mantissa}e{exponent}"),
            }
        }
        _ => {
            let (mut mantissa, mut step) = (nanos, 0);
            while step + 1 < DECIMAL.len() && mantissa % 1000 == 0 {
                mantissa /= 1000;
                step += 1;
            }
            format!("{mantissa}{}", DECIMAL[step].0)
        }
    })
}

/// What is no quantity at all.
const MALFORMED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
/// What has a unit that nobody knows.
const UNKNOWN: &str = "unable to parse quantity's suffix";

fn parse(text: &str) -> Result<(i128, Form), String> {
    let (negative, rest) = match text.as_bytes().first() {
        None => return Err(MALFORMED.into()),
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        Some(_) => (false, text),
    };
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = rest.split_at(digits(rest));
    let (part, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let after = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let after = after.strip_prefix(['-', '+']).unwrap_or(after);
    if digits(after) < after.len() {
        return Err(MALFORMED.into());
    }
    // No digit at all counts as none.
    let number = format!("0{whole}{part}").parse();
    let (value, form) = number
        .ok()
        .and_then(|number| scaled(number, part.len(), suffix))
        .ok_or(UNKNOWN)?;
    Ok((if negative { -value } else { value }, form))
}

/// Digits, of which so many stand after the point, with their unit.
fn scaled(digits: i128, places: usize, suffix: &str) -> Option<(i128, Form)> {
    let places = i32::try_from(places).ok()?;
    let scaled = |power: i32| -> Option<i128> {
        let power = power - places;
        if power >= 0 {
            digits.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)
        } else {
            let by = 10_i128.checked_pow(power.unsigned_abs())?;
            // What is too small to be said counts as the smallest.
            Some((digits + by - 1) / by)
        }
    };
    Some(
        if let Some(at) = BINARY.iter().position(|one| *one == suffix) {
            let factor = 1024_i128.checked_pow(u32::try_from(at).ok()? + 1)?;
            (scaled(9)?.checked_mul(factor)?, Form::Binary)
        } else if let Some((_, power)) = DECIMAL.iter().find(|(one, _)| *one == suffix) {
            (scaled(i32::try_from(*power).ok()?)?, Form::Decimal)
        } else {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (scaled(power.checked_add(9)?)?, Form::Exponent)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_are_written_as_upstream_writes_them() {
        for (given, expected) in [
            ("2000m", "2"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("0.5Gi", "512Mi"),
            ("1000Mi", "1000Mi"),
            ("8388608Ki", "8Gi"),
            ("3774874Ki", "3774874Ki"),
            ("1536Ki", "1536Ki"),
            ("1099511627776Ki", "1Pi"),
            ("100m", "100m"),
            ("1e3", "1e3"),
            ("1000k", "1M"),
            ("-1", "-1"),
            ("0", "0"),
            ("512", "512"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(expected), "{given}");
        }
        for wrong in ["x", "", "5x", "1.2.3", "true", "[]", "5 "] {
            assert_eq!(canonical(wrong), Err(super::MALFORMED.into()), "{wrong}");
        }
        for wrong in ["5KiKi", "1e", "1ee3", "1m5"] {
            assert_eq!(canonical(wrong), Err(super::UNKNOWN.into()), "{wrong}");
        }
    }
}
