//! Names inside keys.

/// A name and what stands under it, as bytes in order: the length first, so that no name is the
/// beginning of another.
pub(crate) fn named(prefix: &[u8], name: &str, rest: &[u8]) -> Vec<u8> {
    // Names have at most 200 bytes: see `id`.
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [prefix, &[len], name.as_bytes(), rest].concat()
}

/// The name and the rest of what [`named`] made, behind a prefix of `skip` bytes.
pub(crate) fn unnamed(key: &[u8], skip: usize) -> Option<(&str, &[u8])> {
    let (len, rest) = key.get(skip..)?.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((std::str::from_utf8(name).ok()?, rest))
}
