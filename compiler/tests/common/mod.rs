//! What tests of whole models share.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses its own part of this module")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

pub mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use qwenc_codegen_wgsl::kernel::limits;
use qwenc_runtime::format::{Command, Entry, MANIFEST_FILE, Manifest};

/// The exports that the project carries, by exporter.
pub const DIALECTS: [&str; 3] = ["genai015", "genai", "mobius"];

/// Exports in standard operators alone, with the delta rule as a loop.
pub const STANDARD: [&str; 2] = ["torch", "mobius_standard"];

/// The project's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A tiny export.
pub fn model(dialect: &str) -> PathBuf {
    root().join("models/tiny").join(dialect)
}

/// A golden file of the tiny model, or of another one as `<folder>/<name>`.
pub fn golden(name: &str) -> PathBuf {
    let (folder, name) = name.split_once('/').unwrap_or(("tiny", name));
    root().join("golden").join(folder).join(format!("{name}.safetensors"))
}

/// Every file below a folder, by its path in it.
pub fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                out.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(folder, folder, &mut out);
    out
}

/// Copies a folder.
pub fn copy_tree(from: &Path, to: &Path) {
    for (name, bytes) in tree(from) {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Every binding is within what WebGPU guarantees on every device.
pub fn bindings_fit(entry: &Entry) {
    let dispatches = entry.commands.iter().filter_map(|command| match command {
        Command::Dispatch(dispatch) => Some(dispatch),
        _ => None,
    });
    for dispatch in dispatches {
        for binding in &dispatch.bindings {
            assert!(binding.bytes <= limits::BINDING_BYTES, "{}: {} bytes", dispatch.label, binding.bytes);
        }
    }
}

/// Writes a bundle's shaders to the folder that `QWENC_DUMP_WGSL` names, for the check with Tint. Equal shaders have equal
/// names.
pub fn dump_shaders(files: &BTreeMap<String, Vec<u8>>) {
    let Some(folder) = std::env::var_os("QWENC_DUMP_WGSL") else { return };
    std::fs::create_dir_all(&folder).unwrap();
    for (path, source) in files {
        if let Some(name) = path.strip_prefix("shaders/") {
            std::fs::write(Path::new(&folder).join(name), source).unwrap();
        }
    }
}

/// Replaces a file of a bundle in memory and makes the manifest agree, as an attacker or a bug in a packer would.
pub fn replace_file(files: &mut BTreeMap<String, Vec<u8>>, path: &str, bytes: Vec<u8>) {
    let mut manifest = Manifest::from_json(&files[MANIFEST_FILE]).unwrap();
    let facts = manifest.files.iter_mut().find(|file| file.path == path).unwrap();
    facts.bytes = bytes.len() as u64;
    facts.sha256 = qwenc_runtime::bundle::sha256_hex(&bytes);
    files.insert(path.to_string(), bytes);
    files.insert(MANIFEST_FILE.to_string(), manifest.to_json().unwrap().into_bytes());
}
