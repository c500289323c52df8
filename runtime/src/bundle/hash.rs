//! SHA-256 of files.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::io::Read;

use super::BundleError;
use crate::format::FileFacts;
use crate::host;

/// The SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of all that `reader` gives.
pub(super) fn of_reader(file: &str, mut reader: impl Read) -> Result<String, BundleError> {
    let mut hasher = Sha256::new();
    let mut block = vec![0_u8; 1 << 18];
    loop {
        match reader.read(&mut block) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(count) => hasher.update(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(BundleError::Io { file: file.to_owned(), message: host::words(&error) });
            }
        }
    }
}

/// Compares a hash with the manifest's.
pub(super) fn check(facts: &FileFacts, found: &str) -> Result<(), BundleError> {
    if facts.sha256 == found {
        return Ok(());
    }
    Err(BundleError::Hash {
        file: facts.path.clone(),
        expected: facts.sha256.clone(),
        found: found.to_owned(),
    })
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
