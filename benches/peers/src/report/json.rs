//! One object a line, numbers rounded to four significant digits: more would be noise.

use super::Row;
use super::number::rounded;
use crate::Result;
use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, Write};

pub(super) fn print(rows: &[Row]) -> Result<()> {
    let mut out = io::stdout().lock();
    for row in rows {
        row.serialize(&mut Serializer::with_formatter(&mut out, FourDigits))?;
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

struct FourDigits;

impl Formatter for FourDigits {
    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> io::Result<()> {
        write!(out, "{}", rounded(value))
    }
}
