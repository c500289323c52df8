//! Tensors whose bytes lie in another file beside the model.
//!
//! The reference comes from an untrusted file: [`crate::contain`] says what it may name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use qwenc_ir::DType;

use super::error::{self, TensorError};
use super::file::map_file;
use super::proto::TensorProto;
use super::tensor::dtype_of;
use crate::blank::{self, StandIns};
use crate::contain::{self, Refusal};

/// The files of one model, each mapped once.
#[derive(Debug)]
pub(super) struct ExternalFiles {
    folder: Option<PathBuf>,
    open: Mutex<BTreeMap<String, Bytes>>,
    /// What tensors in files that do not exist get.
    missing: Option<StandIns>,
    /// Stand-ins by location, offset and length: a tensor that is read again is the same.
    stand_ins: Mutex<BTreeMap<(String, u64, usize), Bytes>>,
}

/// Where a tensor's bytes are.
struct Reference<'a> {
    location: &'a str,
    offset: u64,
    length: Option<u64>,
}

impl ExternalFiles {
    pub(super) fn beside(model: &Path) -> Self {
        let folder = match model.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Self { folder: Some(folder), open: Mutex::default(), missing: None, stand_ins: Mutex::default() }
    }

    pub(super) fn none() -> Self {
        Self { folder: None, open: Mutex::default(), missing: None, stand_ins: Mutex::default() }
    }

    /// From now on the tensors in files that do not exist get stand-ins.
    pub(super) fn allow_missing(&mut self, stand_ins: StandIns) {
        self.missing = Some(stand_ins);
    }

    /// The bytes of `tensor`, which takes `wanted` of them.
    pub(super) fn bytes(&self, tensor: &TensorProto, wanted: usize) -> Result<Bytes, TensorError> {
        let reference = parse_reference(tensor)?;
        let refuse = |reason: String| TensorError::Reference {
            tensor: error::name(tensor.name()),
            location: error::name(reference.location),
            reason: error::message(&reason),
        };
        let wanted_bytes = u64::try_from(wanted).unwrap_or(u64::MAX);
        if let Some(length) = reference.length
            && length != wanted_bytes
        {
            return Err(refuse(format!(
                "it states {length} bytes, but type and dimensions take {wanted_bytes}; export the model again"
            )));
        }
        let Some(file) = self.open(reference.location).map_err(refuse)? else {
            let dtype = dtype_of(tensor.data_type()).unwrap_or(DType::U8);
            let mut stand_ins = self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (reference.location.to_owned(), reference.offset, wanted);
            if let Some(have) = stand_ins.get(&key) {
                return Ok(have.clone());
            }
            let kind = self.missing.unwrap_or(StandIns::Plan);
            let bytes = blank::weight(dtype, wanted, kind)
                .map_err(|error| refuse(format!("no room for {wanted} bytes in its place: {error}")))?;
            stand_ins.insert(key, bytes.clone());
            return Ok(bytes);
        };
        let truncated = || TensorError::Truncated {
            tensor: error::name(tensor.name()),
            location: error::name(reference.location),
            offset: reference.offset,
            wanted: wanted_bytes,
            available: u64::try_from(file.len()).unwrap_or(u64::MAX),
        };
        let start = usize::try_from(reference.offset).map_err(|_| truncated())?;
        let end = start.checked_add(wanted).filter(|end| *end <= file.len()).ok_or_else(truncated)?;
        Ok(file.slice(start..end))
    }

    /// The file's bytes, or `None` when it need not exist and does not.
    fn open(&self, location: &str) -> Result<Option<Bytes>, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = open.get(location) {
            return Ok(Some(bytes.clone()));
        }
        let folder =
            self.folder.as_deref().ok_or("the model is not in a file and cannot have external data")?;
        let file = match contain::open(folder, location) {
            Err(Refusal::Missing(_)) if self.missing.is_some() => return Ok(None),
            opened => opened.map_err(|refusal| refusal.to_string())?,
        };
        let bytes = map_whole(&file)
            .map_err(|error| format!("`{}` cannot be read: {error}", folder.join(location).display()))?;
        open.insert(location.to_owned(), bytes.clone());
        Ok(Some(bytes))
    }
}

fn parse_reference(tensor: &TensorProto) -> Result<Reference<'_>, TensorError> {
    let mut location = None;
    let (mut offset, mut length) = (None, None);
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key() == key).map(|e| e.value());
    let refuse = |reason: String| TensorError::Reference {
        tensor: error::name(tensor.name()),
        location: error::name(entry("location").unwrap_or_default()),
        reason: error::message(&reason),
    };
    for entry in &tensor.external_data {
        let number = || {
            entry.value().parse::<u64>().map_err(|_| {
                refuse(format!("{} `{}` is no non-negative 64-bit number", entry.key(), entry.value()))
            })
        };
        let duplicate = match entry.key() {
            "location" => location.replace(entry.value()).is_some(),
            "offset" => offset.replace(number()?).is_some(),
            "length" => length.replace(number()?).is_some(),
            // Informative: the bytes are hashed when they enter a bundle.
            "checksum" => false,
            other => return Err(refuse(format!("unknown entry `{}`", other.escape_debug()))),
        };
        if duplicate {
            return Err(refuse(format!("`{}` is stated twice", entry.key())));
        }
    }
    let location = location.ok_or_else(|| refuse("no location is stated".to_owned()))?;
    Ok(Reference { location, offset: offset.unwrap_or(0), length })
}

fn map_whole(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 { Ok(Bytes::new()) } else { map_file(file) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::StringStringEntryProto;

    fn tensor(entries: &[(&str, &str)]) -> TensorProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        };
        TensorProto {
            name: Some("w".to_owned()),
            external_data: entries.iter().map(entry).collect(),
            ..TensorProto::default()
        }
    }

    fn folder() -> (tempfile::TempDir, ExternalFiles) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), [1, 2, 3, 4, 5, 6, 7]).unwrap();
        let files = ExternalFiles::beside(&folder.path().join("model.onnx"));
        (folder, files)
    }

    #[test]
    fn unaligned_offsets_and_shared_maps() {
        let (_folder, files) = folder();
        let t = tensor(&[("location", "data"), ("offset", "3"), ("length", "4")]);
        assert_eq!(files.bytes(&t, 4).unwrap(), [4u8, 5, 6, 7][..]);
        assert_eq!(files.bytes(&tensor(&[("location", "./data")]), 2).unwrap(), [1u8, 2][..]);
    }

    #[test]
    fn locations_outside_are_refused() {
        let (_folder, files) = folder();
        for location in ["../data", "a/../../data", "/etc/passwd", "a\\b", "C:data", "c:/x", "", ".", "a\0b"]
        {
            let error = files.bytes(&tensor(&[("location", location)]), 1).unwrap_err();
            assert!(error.to_string().contains("relative path inside"), "{location}: {error}");
        }
        assert!(files.bytes(&tensor(&[]), 1).unwrap_err().to_string().contains("no location"));
    }

    #[test]
    fn missing_and_truncated_name_tensor_and_bytes() {
        let (_folder, files) = folder();
        let error = files.bytes(&tensor(&[("location", "gone")]), 1).unwrap_err().to_string();
        assert!(error.contains("`w`") && error.contains("does not exist"), "{error}");
        let error =
            files.bytes(&tensor(&[("location", "data"), ("offset", "5")]), 4).unwrap_err().to_string();
        assert!(error.contains("needs 4 bytes at offset 5") && error.contains("has 7 bytes"), "{error}");
        for offset in ["18446744073709551615", "9223372036854775807"] {
            let error = files.bytes(&tensor(&[("location", "data"), ("offset", offset)]), 4).unwrap_err();
            assert!(matches!(error, TensorError::Truncated { .. }), "{error}");
        }
    }

    #[test]
    fn odd_entries_are_refused() {
        let (_folder, files) = folder();
        let cases: [(&[(&str, &str)], &str); 5] = [
            (&[("location", "data"), ("offset", "-1")], "no non-negative"),
            (&[("location", "data"), ("length", "1e3")], "no non-negative"),
            (&[("location", "data"), ("__class__", "x")], "unknown entry"),
            (&[("location", "data"), ("location", "data")], "stated twice"),
            (&[("location", "data"), ("length", "5")], "it states 5 bytes"),
        ];
        for (entries, message) in cases {
            let error = files.bytes(&tensor(entries), 4).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_folder_are_refused() {
        let (outside, _) = folder();
        let (inside, files) = folder();
        let target = outside.path().join("data");
        std::os::unix::fs::symlink(&target, inside.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("folder")).unwrap();
        std::fs::hard_link(&target, inside.path().join("hard")).unwrap();
        for (location, message) in [("link", "symbolic"), ("folder/data", "symbolic"), ("hard", "hard link")]
        {
            let error = files.bytes(&tensor(&[("location", location)]), 1).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        std::fs::hard_link(inside.path().join("data"), inside.path().join("twin")).unwrap();
        assert_eq!(files.bytes(&tensor(&[("location", "twin")]), 1).unwrap(), [1u8][..]);
    }
}
