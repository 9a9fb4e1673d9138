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
    let (nanos, form) = parse(text).ok_or_else(|| {
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned()
    })?;
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

fn parse(text: &str) -> Option<(i128, Form)> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') {
        return None;
    }
    // As digits and a power of ten.
    let digits: i128 = format!("{whole}{part}").parse().ok()?;
    let places = u32::try_from(part.len()).ok()?;
    let scaled = |power: i32| -> Option<i128> {
        let power = power - i32::try_from(places).ok()?;
        if power >= 0 {
            digits.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)
        } else {
            let by = 10_i128.checked_pow(power.unsigned_abs())?;
            // What is too small to be said counts as the smallest.
            Some((digits + by - 1) / by)
        }
    };
    let (value, form) = if let Some(at) = BINARY.iter().position(|one| *one == suffix) {
        let factor = 1024_i128.checked_pow(u32::try_from(at).ok()? + 1)?;
        (scaled(9)?.checked_mul(factor)?, Form::Binary)
    } else if let Some((_, power)) = DECIMAL.iter().find(|(one, _)| *one == suffix) {
        (scaled(i32::try_from(*power).ok()?)?, Form::Decimal)
    } else {
        let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        (scaled(power.checked_add(9)?)?, Form::Exponent)
    };
    Some((if negative { -value } else { value }, form))
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
            ("100m", "100m"),
            ("1e3", "1e3"),
            ("1000k", "1M"),
            ("-1", "-1"),
            ("0", "0"),
            ("512", "512"),
        ] {
            assert_eq!(canonical(given).as_deref(), Ok(expected), "{given}");
        }
        assert!(canonical("x").is_err());
    }
}
