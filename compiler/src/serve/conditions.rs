//! What a request's headers ask for: a part, only if it changed, compressed or not.

/// Which bytes to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All.
    Whole,
    /// `length` bytes from `from` on; at least one.
    Part {
        /// The first byte.
        from: u64,
        /// How many.
        length: u64,
    },
    /// Bytes that the file does not have.
    Outside,
}

/// What a `Range` header selects of `bytes`. Several ranges at once, other units and malformed ranges are answered with the
/// whole, as a server may.
pub(super) fn range(value: &str, bytes: u64) -> Selection {
    let Some(range) = value.trim().strip_prefix("bytes=") else { return Selection::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Selection::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let (from, end) = match (number(first), number(last)) {
        // The last so many bytes.
        (None, Some(count)) if first.is_empty() => (bytes.saturating_sub(count), bytes),
        (Some(from), None) if last.is_empty() => (from, bytes),
        (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(bytes)),
        _ => return Selection::Whole,
    };
    if from >= bytes || from >= end {
        Selection::Outside
    } else {
        Selection::Part { from, length: end - from }
    }
}

/// Whether `tag`, a quoted one, is among those of an `If-None-Match` header. Weak tags match too.
pub(super) fn is_known(tags: &str, tag: &str) -> bool {
    tags.trim() == "*" || tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
}

/// Whether an `Accept-Encoding` header takes brotli.
pub(super) fn accepts_brotli(value: &str) -> bool {
    value.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("br"));
        let refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::{Selection, accepts_brotli, is_known, range};

    #[test]
    fn ranges_in_all_their_forms() {
        let part = |from, length| Selection::Part { from, length };
        assert_eq!(range("bytes=0-", 10), part(0, 10));
        assert_eq!(range("bytes=3-5", 10), part(3, 3));
        assert_eq!(range(" bytes=9-99999999999999999999999", 10), part(9, 1));
        assert_eq!(range("bytes=-4", 10), part(6, 4));
        assert_eq!(range("bytes=-40", 10), part(0, 10));
        for outside in ["bytes=10-", "bytes=10-12", "bytes=99999999999999999999999-", "bytes=-0"] {
            assert_eq!(range(outside, 10), Selection::Outside, "{outside}");
        }
        assert_eq!(range("bytes=0-", 0), Selection::Outside);
        for whole in
            ["lines=1-2", "bytes=", "bytes=5-3", "bytes=a-b", "bytes=1-2,4-5", "bytes=+1-2", "bytes=-"]
        {
            assert_eq!(range(whole, 10), Selection::Whole, "{whole}");
        }
    }

    #[test]
    fn tags_are_compared_one_by_one() {
        assert!(is_known("\"a\", W/\"b\"", "\"b\""));
        assert!(is_known("*", "\"b\""));
        assert!(!is_known("\"ab\"", "\"b\""));
    }

    #[test]
    fn brotli_is_sent_to_whoever_takes_it() {
        assert!(accepts_brotli("gzip, deflate, br, zstd"));
        assert!(accepts_brotli("br;q=0.5"));
        assert!(!accepts_brotli("br;q=0, gzip"));
        assert!(!accepts_brotli("gzip, brx"));
        assert!(!accepts_brotli(""));
    }
}
