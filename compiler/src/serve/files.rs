//! Files of the folder, and what a server says of each: type, tag, lifetime.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use qwenc_runtime::bundle::MAX_MANIFEST_BYTES;
use qwenc_runtime::format::MANIFEST_FILE;

use crate::contain::{self, Refusal};

/// Fewer bytes are not worth compressing, and more take too long.
const COMPRESSED: std::ops::RangeInclusive<u64> = 512..=16 << 20;

/// What lies at a path.
pub(super) enum Found {
    /// A file.
    File(File),
    /// A folder.
    Folder,
    /// Nothing, or nothing that is served.
    Nothing,
}

/// A file, opened.
pub(super) struct File {
    pub(super) handle: std::fs::File,
    pub(super) bytes: u64,
    /// The media type.
    pub(super) mime: &'static str,
    /// Another content has another one.
    pub(super) tag: String,
    /// Named by its content, which never changes.
    pub(super) immutable: bool,
    /// Text, or WebAssembly.
    pub(super) compressible: bool,
}

/// Opens a path in the folder.
pub(super) fn find(folder: &Path, path: &str, listing: &Listing) -> Found {
    let handle = match contain::open(folder, path) {
        Ok(handle) => handle,
        Err(Refusal::NoFile(place)) if place.symlink_metadata().is_ok_and(|facts| facts.is_dir()) => {
            return Found::Folder;
        }
        Err(_) => return Found::Nothing,
    };
    let Ok(facts) = handle.metadata() else { return Found::Nothing };
    let bytes = facts.len();
    let listed =
        listing.read(folder).and_then(|files| files.get(path).cloned()).filter(|facts| facts.bytes == bytes);
    let named_by_hash = listed.as_ref().is_some_and(|facts| is_named_by_hash(path, &facts.sha256));
    let tag = match listed {
        Some(facts) => facts.sha256,
        None => {
            let changed =
                facts.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            format!("{bytes:x}-{:x}", changed.unwrap_or_default().as_nanos())
        }
    };
    let (mime, text) = media_type(path);
    let compressible = text && COMPRESSED.contains(&bytes);
    Found::File(File { handle, bytes, mime, tag, immutable: named_by_hash, compressible })
}

/// Whether a file's name is a beginning of its hash (`<hash>.safetensors`, `<family>_<hash>.wgsl`), long enough to never be
/// another one's.
fn is_named_by_hash(path: &str, sha256: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.split('.').next().unwrap_or(name);
    let hash = stem.rsplit('_').next().unwrap_or(stem);
    hash.len() >= 12 && sha256.starts_with(hash)
}

/// The media type by a file's ending, and whether it is worth compressing.
fn media_type(path: &str) -> (&'static str, bool) {
    let ending =
        path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending);
    match ending {
        "html" => ("text/html; charset=utf-8", true),
        "js" | "mjs" => ("text/javascript; charset=utf-8", true),
        "css" => ("text/css; charset=utf-8", true),
        "json" | "map" => ("application/json", true),
        "webmanifest" => ("application/manifest+json", true),
        "wasm" => ("application/wasm", true),
        "svg" => ("image/svg+xml", true),
        "wgsl" | "txt" | "md" | "jinja" | "ts" => ("text/plain; charset=utf-8", true),
        "png" => ("image/png", false),
        "jpg" | "jpeg" => ("image/jpeg", false),
        "webp" => ("image/webp", false),
        "ico" => ("image/x-icon", false),
        "woff2" => ("font/woff2", false),
        _ => ("application/octet-stream", false),
    }
}

/// What the manifest says of a file.
#[derive(Clone)]
pub(super) struct Facts {
    bytes: u64,
    sha256: String,
}

/// The manifest's list of files, read again when the bundle was compiled again.
#[derive(Default)]
pub(super) struct Listing {
    known: Mutex<Option<(SystemTime, Files)>>,
}

type Files = Arc<BTreeMap<String, Facts>>;

impl Listing {
    /// The files of the bundle that lies in the folder now; `None` when there is none.
    pub(super) fn read(&self, folder: &Path) -> Option<Files> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let file = contain::open(folder, MANIFEST_FILE).ok()?;
        let changed = file.metadata().and_then(|facts| facts.modified()).ok()?;
        if let Some((time, files)) = known.as_ref()
            && *time == changed
        {
            return Some(Arc::clone(files));
        }
        let files = Arc::new(parse(file)?);
        *known = Some((changed, Arc::clone(&files)));
        Some(files)
    }
}

/// Of any version: a page may know more versions than this program.
fn parse(file: std::fs::File) -> Option<BTreeMap<String, Facts>> {
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).ok()?;
    let manifest: serde_json::Value = serde_json::from_slice(&text).ok()?;
    manifest.get("format")?.as_u64()?;
    let entry = |file: &serde_json::Value| {
        let sha256 = file.get("sha256")?.as_str()?;
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        let facts = Facts { bytes: file.get("bytes")?.as_u64()?, sha256: sha256.to_owned() };
        is_hash.then_some((file.get("path")?.as_str()?.to_owned(), facts))
    };
    manifest.get("files")?.as_array()?.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_named_by_hash, media_type};

    #[test]
    fn types_by_ending() {
        assert_eq!(media_type("web/qwenc_bg.wasm"), ("application/wasm", true));
        assert_eq!(media_type("web/page/manifest.webmanifest").0, "application/manifest+json");
        assert_eq!(media_type("a.b/weights"), ("application/octet-stream", false));
        assert_eq!(media_type("weights/0123.safetensors"), ("application/octet-stream", false));
    }

    #[test]
    fn a_short_name_is_no_hash() {
        let hash = "0123456789abcdef";
        assert!(is_named_by_hash("weights/0123456789ab.safetensors", hash));
        assert!(is_named_by_hash("shaders/linear_gemv_0123456789ab.wgsl", hash));
        assert!(!is_named_by_hash("weights/0123.safetensors", hash));
        assert!(!is_named_by_hash("weights/0123456789ac.safetensors", hash));
    }
}
