//! Paths inside a bundle.

use super::Problem;

/// Longest path in a bundle, in bytes.
const MAX_PATH: usize = 200;

/// Accepts a plain relative path: `/` between parts, no empty, `.` or `..` part, only printable ASCII without `\`, `:`
/// and characters that some file system or URL treats specially.
///
/// # Errors
/// [`Problem::Path`].
pub fn check_plain_path(path: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+@ ()".contains(c);
    let good_part = |part: &str| {
        !part.is_empty() && part.chars().all(plain) && !part.starts_with(' ') && !part.ends_with([' ', '.'])
    };
    if path.len() <= MAX_PATH && path.split('/').all(good_part) {
        Ok(())
    } else {
        Err(Problem::Path { path: path.chars().take(MAX_PATH).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::check_plain_path;

    #[test]
    fn plain_paths_only() {
        for good in ["schedule.json", "shaders/a_1.wgsl", "web/qwenc.d.ts", "weights/0123abcd.safetensors"] {
            assert!(check_plain_path(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "C:a",
            "a\0b",
            "a\nb",
            "~/ä",
            "a/..",
            ".",
            "a ",
            "a%2fb",
            "a?b",
        ];
        for path in bad {
            assert!(check_plain_path(path).is_err(), "{path:?}");
        }
        assert!(check_plain_path(&"a".repeat(1000)).is_err());
    }
}
