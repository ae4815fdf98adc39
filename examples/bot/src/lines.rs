//! One message, one line of JSON: the shape of everything said here between processes, or to disk.

use std::io::{self, BufRead, Write};
use std::iter;

use serde::{Serialize, de::DeserializeOwned};

/// Writes a message with one call, so that a crash leaves all of the line or a piece without end.
pub(crate) fn write(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// The next message, or `None` at the end. A line without its end was cut off by a crash: it was
/// never said.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

/// Every message to the end.
pub(crate) fn read_all<T: DeserializeOwned>(
    mut from: impl BufRead,
) -> impl Iterator<Item = io::Result<T>> {
    iter::from_fn(move || read(&mut from).transpose())
}
