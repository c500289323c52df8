//! A bundle as one input: its files one after another, each behind a line with its path.
//!
//! ```text
//! sealed
//! === manifest.json
//! {...}
//! === schedule.json
//! {...}
//! ```
//!
//! A first line `sealed` has the list of files, their hashes, and the facts that follow from the schedule computed
//! before the bundle is opened: otherwise nearly every change would end at the first hash. Any other first line leaves
//! the manifest as it is.

use std::collections::BTreeMap;

use qwenc_runtime::bundle::{Memory, sha256_hex};
use qwenc_runtime::format::{MANIFEST_FILE, SCHEDULE_FILE, Schedule, memory};
use serde_json::{Value, json};

const MARK: &[u8] = b"\n=== ";
/// First line of an input that is to be sealed.
pub const SEALED: &[u8] = b"sealed";

/// The files of an input by path, and whether they are to be sealed.
#[must_use]
pub fn unpack(data: &[u8]) -> (bool, BTreeMap<String, Vec<u8>>) {
    let mut parts = split(data);
    let first = parts.next().unwrap_or_default();
    let mut files = BTreeMap::new();
    for part in parts {
        let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
        let (path, content) = part.split_at(end);
        let content = content.get(1..).unwrap_or_default();
        files.insert(String::from_utf8_lossy(path).into_owned(), content.to_vec());
    }
    (first == SEALED, files)
}

/// The input for these files.
#[must_use]
pub fn pack(sealed: bool, files: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut out = if sealed { SEALED.to_vec() } else { b"as it is".to_vec() };
    for (path, content) in files {
        out.extend(MARK);
        out.extend(path.as_bytes());
        out.push(b'\n');
        out.extend(content);
    }
    out
}

/// The bundle that an input stands for.
#[must_use]
pub fn bundle(data: &[u8]) -> Memory {
    let (sealed, mut files) = unpack(data);
    if sealed {
        seal(&mut files);
    }
    Memory { files }
}

fn seal(files: &mut BTreeMap<String, Vec<u8>>) {
    let Some(Ok(mut manifest)) = files.get(MANIFEST_FILE).map(|text| serde_json::from_slice::<Value>(text))
    else {
        return;
    };
    let Some(object) = manifest.as_object_mut() else { return };
    let listed = files.iter().filter(|(path, _)| *path != MANIFEST_FILE);
    let facts = listed
        .map(|(path, content)| json!({"path": path, "bytes": content.len(), "sha256": sha256_hex(content)}));
    object.insert("files".to_owned(), facts.collect());
    if let Some(Ok(schedule)) = files.get(SCHEDULE_FILE).map(|text| Schedule::from_json(text)) {
        object.insert("memory".to_owned(), json!(memory(&schedule).unwrap_or_default()));
        object.insert("entries".to_owned(), schedule.entries.keys().cloned().collect());
    }
    files.insert(MANIFEST_FILE.to_owned(), manifest.to_string().into_bytes());
}

fn split(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let all = rest?;
        match all.windows(MARK.len()).position(|window| window == MARK) {
            Some(at) => {
                rest = all.get(at + MARK.len()..);
                all.get(..at)
            }
            None => rest.take(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_and_unpacking_agree() {
        let files = BTreeMap::from([
            ("a.json".to_owned(), b"{}\n".to_vec()),
            ("b/c".to_owned(), vec![0, 10, 13, 255]),
            ("d".to_owned(), vec![]),
        ]);
        assert_eq!(unpack(&pack(true, &files)), (true, files.clone()));
        assert_eq!(unpack(&pack(false, &files)), (false, files));
    }
}
