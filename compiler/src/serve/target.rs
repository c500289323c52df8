//! The path in a request's first line.

/// The page of a folder.
pub(super) const INDEX: &str = "index.html";

/// Longest path that is looked at, in bytes.
const MAX_BYTES: usize = 1024;

/// The path in the folder that a request is for: plain names with `/` between them. `None` for anything else. The query
/// says nothing to files.
pub(super) fn path(target: &str) -> Option<String> {
    let path = target.split(['?', '#']).next()?;
    if path.len() > MAX_BYTES {
        return None;
    }
    let path = decode(path.strip_prefix('/')?)?;
    let mut names: Vec<&str> = path.split('/').collect();
    if names.last().is_some_and(|last| last.is_empty()) {
        names.pop();
        names.push(INDEX);
    }
    let plain = |name: &&str| {
        let odd = |c: char| c.is_control() || matches!(c, '\\' | ':');
        !name.is_empty() && !name.starts_with('.') && !name.contains(odd)
    };
    names.iter().all(plain).then(|| names.join("/"))
}

/// Percent-decoding, once.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(rest.next()?)? * 16 + digit(rest.next()?)?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A name as it stands in an address.
pub(super) fn encode(name: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{encode, path};

    #[test]
    fn only_plain_paths_are_files() {
        let file = |path: &str| Some(path.to_owned());
        assert_eq!(path("/"), file("index.html"));
        assert_eq!(path("/web/?a=../b#c"), file("web/index.html"));
        assert_eq!(path("/a%20b/c.js?v=1"), file("a b/c.js"));
        for bad in [
            "",
            "*",
            "http://a/b",
            "/../a",
            "/a/../b",
            "/%2e%2e/a",
            "/a/%2E%2E/b",
            "/..%2fa",
            "/a//b",
            "//a",
            "/.git/config",
            "/a%00",
            "/a%5c..%5cb",
            "/c:/a",
            "/%",
            "/%4",
            "/%zz",
            "/%ff",
            "/a%0d%0ab",
        ] {
            assert_eq!(path(bad), None, "{bad}");
        }
        assert_eq!(path(&format!("/{}", "a".repeat(2000))), None);
        // Decoded once: this is a name with a percent sign.
        assert_eq!(path("/%252e%252e"), file("%2e%2e"));
    }

    #[test]
    fn names_are_encoded_for_a_location() {
        assert_eq!(encode("a b\"ä"), "a%20b%22%C3%A4");
    }
}
