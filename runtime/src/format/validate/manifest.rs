//! Checks of the manifest, and of its agreement with the schedule.

use super::super::{
    BufferKind, DecoderFacts, FormatError, MANIFEST_FILE, Manifest, MemoryFacts, Place, Problem,
    SCHEDULE_FILE, Schedule, VisionFacts, check_plain_path,
};
use super::buffers::{check_range, find, memory};
use super::{MAX_BUFFERS, MAX_RANK, check_count, check_name, check_version};

const MAX_FILES: usize = 1 << 16;
/// Most patches of one replay: rows of feature tables stay far within 31 bits.
const MAX_PATCHES: u32 = 1 << 20;
/// Longest side of position tables: a square fits 31 bits.
const MAX_SIDE: u32 = 1 << 15;
/// Optional features that this runtime can provide.
const KNOWN_FEATURES: [&str; 0] = [];

impl Manifest {
    /// Whether `path` is among the files.
    #[must_use]
    pub fn lists(&self, path: &str) -> bool {
        self.file(path).is_some()
    }

    /// The file of this path. Relies on the files' order.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&super::super::FileFacts> {
        let index = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(index)
    }

    /// Checks the manifest alone; enough to read the files that it lists.
    ///
    /// # Errors
    /// The first problem found.
    pub fn validate(&self) -> Result<(), FormatError> {
        check(self)
    }
}

pub(super) fn check(manifest: &Manifest) -> Result<(), FormatError> {
    let place = Place::file(MANIFEST_FILE);
    check_version(&place, manifest.format)?;
    if let Some(feature) = manifest.features.iter().find(|f| !KNOWN_FEATURES.contains(&f.as_str())) {
        return Err(place.error(Problem::UnknownFeature(feature.chars().take(40).collect())));
    }
    check_name(&place, "model name", &manifest.model.name)?;
    if let Some(decoder) = &manifest.model.decoder
        && (decoder.vocab_size == 0 || decoder.max_context == 0 || decoder.prefill_chunk == 0)
    {
        return Err(
            place.error(Problem::Kind("the decoder has no vocabulary, no context or no prefill chunk"))
        );
    }
    if let Some(vision) = &manifest.model.vision {
        check_vision(&place, manifest.model.decoder.as_ref(), vision)?;
    }
    check_count(&place, "files", manifest.files.len(), MAX_FILES)?;
    check_count(&place, "states", manifest.states.len(), MAX_BUFFERS)?;
    check_count(&place, "weights", manifest.quantization.weights.len(), MAX_BUFFERS)?;
    let mut previous = "";
    for file in &manifest.files {
        check_plain_path(&file.path).map_err(|problem| place.error(problem))?;
        // Strictly ascending: sorted for the reader, and no file twice.
        if file.path.as_str() <= previous || file.path == MANIFEST_FILE {
            return Err(place.error(Problem::FileOrder { path: file.path.clone() }));
        }
        previous = &file.path;
        let digit = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if file.sha256.len() != 64 || !file.sha256.chars().all(digit) {
            return Err(place.error(Problem::Hash { path: file.path.clone() }));
        }
    }
    if !manifest.lists(SCHEDULE_FILE) {
        return Err(place.error(Problem::UnlistedFile { path: SCHEDULE_FILE.to_owned() }));
    }
    Ok(())
}

/// What the runtime's tables and positions rely on.
fn check_vision(
    place: &Place,
    decoder: Option<&DecoderFacts>,
    vision: &VisionFacts,
) -> Result<(), FormatError> {
    let impossible = |what| Err(place.error(Problem::Kind(what)));
    let block = vision.merge_size.saturating_mul(vision.merge_size);
    if block == 0 || vision.max_patches == 0 || !vision.max_patches.is_multiple_of(block) {
        return impossible("the patches of the vision encoder are not whole blocks of its merge size");
    }
    if vision.max_patches > MAX_PATCHES
        || !(1..=MAX_SIDE).contains(&vision.position_side)
        || !(1..=MAX_SIDE).contains(&vision.max_side)
    {
        return impossible(
            "the vision encoder has no positions, or more patches or positions than are possible",
        );
    }
    if vision.patch_values == 0 || vision.feature_size == 0 {
        return impossible("the vision encoder has empty patches or features");
    }
    if let Some(decoder) = decoder {
        if vision.feature_size != decoder.hidden_size {
            return impossible(
                "the features of the vision encoder are not as wide as the decoder's hidden states",
            );
        }
        let tokens = [vision.image_token, vision.vision_start, vision.vision_end];
        if tokens.iter().any(|token| *token >= decoder.vocab_size) {
            return impossible("a token of the vision encoder is beyond the decoder's vocabulary");
        }
    }
    Ok(())
}

pub(super) fn check_agreement(manifest: &Manifest, schedule: &Schedule) -> Result<(), FormatError> {
    let place = Place::file(MANIFEST_FILE);
    let disagree = |what, manifest: String, schedule: String| {
        Err(place.error(Problem::Disagree { what, manifest, schedule }))
    };
    let entries: Vec<String> = schedule.entries.keys().cloned().collect();
    if manifest.entries != entries {
        return disagree("entry points", manifest.entries.join(", "), entries.join(", "));
    }
    let memory = memory(schedule);
    if memory != Some(manifest.memory) {
        let words = |memory: MemoryFacts| {
            let MemoryFacts { weight_bytes, arena_bytes, state_bytes, io_bytes, peak_bytes } = memory;
            format!("{weight_bytes} + {arena_bytes} + {state_bytes} + {io_bytes} bytes, at most {peak_bytes}")
        };
        let found = memory.map_or("more than there can be".to_owned(), words);
        return disagree("memory", words(manifest.memory), found);
    }
    for state in &manifest.states {
        check_name(&place, "state name", &state.name)?;
        let place = place.item(format_args!("state `{}`", state.name));
        check_count(&place, "axes", state.shape.len(), MAX_RANK)?;
        let buffer = find(&place, schedule, state.buffer)?;
        if buffer.kind != BufferKind::State {
            let (buffer, kind) = (buffer.id, buffer.kind);
            return Err(place.error(Problem::Usage { buffer, kind, usage: "a state" }));
        }
        let bytes = state.shape.iter().try_fold(state.dtype.bytes(), |n, dim| n.checked_mul(*dim));
        check_range(&place, "the state", buffer, 0, bytes.unwrap_or(u64::MAX))?;
    }
    Ok(())
}
