//! One object a line, numbers rounded to four significant digits: more would be noise.

use super::Row;
use super::number::rounded;
use crate::Result;
use std::io::Write as _;

pub(super) fn print(rows: &[Row]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for row in rows {
        let mut value = serde_json::to_value(row)?;
        shorten(&mut value);
        writeln!(out, "{value}")?;
    }
    out.flush()?;
    Ok(())
}

fn shorten(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Number(number) if number.is_f64() => {
            if let Some(float) = number.as_f64() {
                *value = rounded(float).into();
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(shorten),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}
