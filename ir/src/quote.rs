//! Identifiers and quoted strings of the text form.

/// True for `[A-Za-z_][A-Za-z0-9_]*`, but not for `_` alone, which stands for an absent input.
pub(crate) fn is_identifier(text: &str) -> bool {
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts_well && text != "_" && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The text in double quotes, on one line, with `\"`, `\\`, `\n`, `\r`, `\t` and `\u{..}` escapes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character.is_control() => out.extend(character.escape_unicode()),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
