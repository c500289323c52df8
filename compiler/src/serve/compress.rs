//! Brotli, each file once.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use brotli::enc::BrotliEncoderParams;

use super::files::File;

/// Bytes of compressed files that are kept; what comes beyond is compressed again each time.
const MAX_KEPT: usize = 32 << 20;

/// Compressed files by their tag.
#[derive(Default)]
pub(super) struct Compressed {
    kept: Mutex<BTreeMap<String, Arc<[u8]>>>,
}

impl Compressed {
    /// The file, compressed.
    pub(super) fn get(&self, tag: &str, file: &mut File) -> io::Result<Arc<[u8]>> {
        if let Some(bytes) = self.lock().get(tag) {
            return Ok(Arc::clone(bytes));
        }
        let mut out = Vec::new();
        let params = BrotliEncoderParams { quality: 9, ..BrotliEncoderParams::default() };
        // As long as the file was when it was looked at, whatever happens to it meanwhile.
        let length = file.bytes;
        brotli::BrotliCompress(&mut (&mut file.handle).take(length), &mut out, &params)?;
        let bytes: Arc<[u8]> = out.into();
        let mut kept = self.lock();
        if kept.values().map(|bytes| bytes.len()).sum::<usize>() + bytes.len() <= MAX_KEPT {
            kept.insert(tag.to_owned(), Arc::clone(&bytes));
        }
        Ok(bytes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
