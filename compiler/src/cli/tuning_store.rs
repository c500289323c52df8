//! Where `qwenc tune` keeps what it finds: a small file for each bundle on each device, in the user's cache folder. Nothing is
//! lost with it but speed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use qwenc_runtime::bundle::Bundle;
use qwenc_runtime::format::SCHEDULE_FILE;
use qwenc_runtime::gpu::AdapterSummary;
use qwenc_runtime::tuning::Tuning;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    /// For people.
    adapter: String,
    /// Names of variants by the pipelines' modules.
    choices: BTreeMap<String, String>,
}

/// What was found for a bundle on a device; nothing when it was never tuned.
pub(super) fn recall(bundle: &Bundle, adapter: &AdapterSummary) -> Tuning {
    let mut tuning = Tuning::default();
    // A file that cannot be read is as good as none: the next `qwenc tune` writes another one.
    let Some(stored) = path(bundle, adapter).and_then(|path| read(&path).ok()) else { return tuning };
    for (shader, variant) in &stored.choices {
        tuning.choose(shader, variant);
    }
    if tuning.fits(bundle.schedule()) { tuning } else { Tuning::default() }
}

/// Remembers what was found.
pub(super) fn remember(bundle: &Bundle, adapter: &AdapterSummary, tuning: &Tuning) -> io::Result<PathBuf> {
    let path = path(bundle, adapter).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "there is no cache folder: set XDG_CACHE_HOME")
    })?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let choices = tuning.choices().map(|(shader, variant)| (shader.to_owned(), variant.to_owned())).collect();
    let stored = Stored { adapter: format!("{}, {}", adapter.name, adapter.driver), choices };
    fs::write(&path, serde_json::to_vec_pretty(&stored)?)?;
    Ok(path)
}

fn read(path: &PathBuf) -> io::Result<Stored> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The file of a bundle on a device: another schedule, another driver, another file.
fn path(bundle: &Bundle, adapter: &AdapterSummary) -> Option<PathBuf> {
    let schedule = bundle.manifest().files.iter().find(|file| file.path == SCHEDULE_FILE)?;
    let mut hash = Sha256::new();
    for part in [&schedule.sha256, &adapter.name, &adapter.driver] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let name: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Some(dirs::cache_dir()?.join("qwenc").join("tuning").join(name + ".json"))
}
