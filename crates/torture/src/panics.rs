//! What a panic said.

/// Its words, as far as it has any.
pub(crate) fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref().copied()).unwrap_or("a panic without words")
}
