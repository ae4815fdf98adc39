//! Numbers as JSON has them in text, and as Python writes them.

use serde_json::{Number, Value};

/// Python's own, which JSON does not have.
pub(super) const NOT_FINITE: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Whether these are the digits of a number.
pub(super) fn is_number(digits: &str) -> bool {
    number_len(digits.as_bytes()) == Some(digits.len())
}

/// How many bytes the number has with which these begin.
pub(super) fn number_len(bytes: &[u8]) -> Option<usize> {
    if let Some(word) = NOT_FINITE.iter().find(|word| bytes.starts_with(word.as_bytes())) {
        return Some(word.len());
    }
    let digits_from = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits_from(at);
    if whole == 0 || (whole > 1 && bytes.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let part = digits_from(at + 1);
        at += (part > 0).then_some(part + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let part = digits_from(at + 1 + sign);
        at += (part > 0).then_some(part + 1 + sign)?;
    }
    Some(at)
}

/// The number behind these digits, if it is written with the same ones again.
pub(super) fn plain(digits: &str) -> Option<Value> {
    let number = match (digits.parse::<u64>(), digits.parse::<i64>()) {
        (Ok(number), _) => Number::from(number),
        (_, Ok(number)) => Number::from(number),
        _ => Number::from_f64(digits.parse().ok()?)?,
    };
    (digits_of(&number)? == digits).then_some(Value::Number(number))
}

/// The digits that Python writes for a number it has read from these.
pub(super) fn as_python(digits: &str) -> String {
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match digits.parse::<f64>() {
        _ if is_whole => if digits == "-0" { "0" } else { digits }.to_owned(),
        Ok(float) if float.is_finite() => digits_of_float(float),
        Ok(float) if float.is_infinite() => {
            if float > 0.0 { "Infinity" } else { "-Infinity" }.into()
        }
        _ => digits.to_owned(),
    }
}

/// A number as Python writes it.
pub(super) fn digits_of(number: &Number) -> Option<String> {
    if let Some(whole) = number.as_u64() {
        return Some(whole.to_string());
    }
    if let Some(whole) = number.as_i64() {
        return Some(whole.to_string());
    }
    number.as_f64().map(digits_of_float)
}

/// What Python's `repr` says of a float: the fewest digits that mean it, an exponent from 1e16 on and
/// below 1e-4.
fn digits_of_float(float: f64) -> String {
    let short = format!("{float:e}");
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let fixed = format!("{float}");
    if fixed.contains('.') { fixed } else { format!("{fixed}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_has_read_it_writes_in_its_own_way() {
        for (read, written) in [
            ("600.00", "600.0"),
            ("1E5", "100000.0"),
            ("0.1000E-6", "1e-07"),
            ("-0", "0"),
            ("1e400", "Infinity"),
            ("NaN", "NaN"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(as_python(read), written);
        }
    }

    #[test]
    fn digits_are_those_of_a_number_or_they_are_not() {
        for good in ["0", "-0", "12", "-1.50", "1e5", "1E+05", "0.1e-7", "NaN", "-Infinity"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "0x1", "nan", "1 ", "--1"] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn a_float_has_the_digits_that_python_gives_it() {
        for digits in [
            "0.0",
            "-0.0",
            "600.0",
            "601.25",
            "0.1",
            "0.0001",
            "1e-05",
            "1.5e-07",
            "1e+16",
            "1234567890123456.0",
            "1.2345678901234568e+17",
            "5e-324",
            "1.7976931348623157e+308",
            "0.30000000000000004",
            "9007199254740993",
            "-9223372036854775808",
            "18446744073709551615",
        ] {
            assert!(plain(digits).is_some(), "{digits}");
        }
        for other in ["600.00", "1e5", "1E+16", "-0", "18446744073709551616", "NaN", "1e400"] {
            assert!(plain(other).is_none(), "{other}");
        }
    }
}
