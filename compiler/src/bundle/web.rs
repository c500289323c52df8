//! The page and the browser's runtime, which a bundle carries so that any static server makes it a web app.
//!
//! They are part of this program: `build.rs` takes them from `runtime/web`, where `cargo xtask web` has built the engine.

include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// How to get a page where this program has none.
pub const NO_PAGE: &str = "the bundle has no page: this qwenc was built without the web runtime (`cargo xtask web`, then build \
                           qwenc again)";

/// Path in the bundle and content of every file, sorted by path. Empty when this program was built without them.
#[must_use]
pub fn files() -> &'static [(&'static str, &'static [u8])] {
    FILES
}

#[cfg(test)]
mod tests {
    use qwenc_runtime::format::check_plain_path;

    use super::files;

    #[test]
    fn the_files_are_what_a_bundle_can_list() {
        for (path, bytes) in files() {
            check_plain_path(path).unwrap();
            assert!(!bytes.is_empty(), "{path}");
            assert!(path.starts_with("web/") || !path.contains('/'), "{path}");
        }
        assert!(files().windows(2).all(|two| two[0].0 < two[1].0));
        if let Some((_, page)) = files().iter().find(|(path, _)| *path == "index.html") {
            let page = std::str::from_utf8(page).unwrap();
            for path in page.split('"').filter(|text| text.starts_with("web/")) {
                assert!(files().iter().any(|(file, _)| *file == path), "{path}");
            }
        }
    }
}
