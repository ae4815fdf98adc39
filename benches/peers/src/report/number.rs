//! Numbers for people.

/// Four significant digits.
pub(super) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a power of ten of a finite number")]
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits.abs());
    if digits >= 0 { (value * scale).round() / scale } else { (value / scale).round() * scale }
}

/// `12,345`, `123`, `12.3`, `1.23`, `0.012`, `4.5e-5`; a dash where nothing is known.
pub(super) fn shown(value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => grouped(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept() {
        assert!((rounded(12_345.6) - 12_350.0).abs() < 1e-6);
        assert!((rounded(0.012_345) - 0.012_35).abs() < 1e-12);
    }

    #[test]
    fn large_numbers_have_commas() {
        assert_eq!(shown(Some(1_234_567.0)), "1,234,567");
        assert_eq!(shown(Some(123.0)), "123");
        assert_eq!(shown(Some(0.5)), "0.50");
        assert_eq!(shown(None), "–");
    }
}
