//! The times of a bundle's kernels, entry point by entry point.

use std::collections::BTreeMap;

use qwenc_runtime::engine::Engine;
use qwenc_runtime::format::Schedule;
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::session::{DECODE, PREFILL, SAMPLE, VISION};

use super::run::BenchError;
use super::{KernelTime, kernels};

/// The only entry point of a graph that is no decoder.
const MAIN: &str = "main";

/// Shaders of entry points, the slowest first.
pub type KernelTimes = BTreeMap<String, Vec<KernelTime>>;

/// At which sizes entry points are timed, as far as the bundle allows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedSizes {
    /// Tokens of context in front of the one that is decoded.
    pub context: u32,
    /// Tokens of a prompt's piece.
    pub tokens: u32,
    /// Patches of pictures.
    pub patches: u32,
}

impl Default for TimedSizes {
    /// The middle of a talk: 512 tokens, and a picture of 448 x 448 pixels.
    fn default() -> Self {
        Self { context: 512, tokens: 512, patches: 784 }
    }
}

/// Times the dispatches of all entry points that users wait for. A graph that is no decoder runs at its largest sizes.
///
/// # Errors
/// [`BenchError::Gpu`] for a device without time stamps; [`BenchError::Engine`].
pub fn time_entries(engine: &mut Engine<Gpu>, sizes: &TimedSizes) -> Result<KernelTimes, BenchError> {
    // Image tokens of the picture, or of as much as one replay takes.
    let vision = engine.manifest().model.vision.as_ref();
    let image_tokens = vision.map_or(0, |vision| {
        let merged = vision.merge_size.max(1).saturating_pow(2);
        sizes.patches.min(vision.max_patches) / merged
    });
    let mut all = KernelTimes::new();
    for entry in [DECODE, SAMPLE, PREFILL, VISION, MAIN] {
        let Some(known) = engine.schedule().entries.get(entry) else { continue };
        let at = |name: &String| (name.clone(), value(engine.schedule(), entry, name, sizes, image_tokens));
        let symbols: Vec<(String, u32)> = known.symbols.iter().map(at).collect();
        let symbols: Vec<(&str, u32)> = symbols.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        all.insert(entry.to_owned(), kernels(engine, entry, &symbols)?);
    }
    Ok(all)
}

/// The value of a symbol, within its bounds.
fn value(schedule: &Schedule, entry: &str, name: &str, sizes: &TimedSizes, image_tokens: u32) -> u32 {
    let bounds = schedule.symbols.iter().find(|symbol| symbol.name == name);
    let (least, most) = bounds.map_or((0, u32::MAX), |symbol| (symbol.min, symbol.max));
    let value = match (name, entry) {
        (_, MAIN) => most,
        ("past", DECODE) => sizes.context,
        ("past", _) => 0,
        ("tokens", PREFILL) => sizes.tokens,
        ("patches", _) => sizes.patches,
        ("image_tokens", _) => image_tokens,
        _ => 1,
    };
    value.clamp(least, most.max(least))
}

/// Keeps the slowest `most` shaders; the others become one line.
pub fn shorten(kernels: &mut Vec<KernelTime>, most: usize) {
    if kernels.len() <= most {
        return;
    }
    let rest = kernels.split_off(most);
    kernels.push(KernelTime {
        shader: "the others".to_owned(),
        label: String::new(),
        dispatches: rest.iter().map(|kernel| kernel.dispatches).sum(),
        microseconds: rest.iter().map(|kernel| kernel.microseconds).sum(),
        weight_bytes: rest.iter().map(|kernel| kernel.weight_bytes).sum(),
    });
}

#[cfg(test)]
mod tests {
    use qwenc_runtime::format::{FORMAT_VERSION, Symbol};

    use super::*;

    #[test]
    fn sizes_stay_within_what_the_bundle_takes() {
        let symbol = |name: &str, min, max| Symbol { name: name.into(), min, max };
        let schedule = Schedule {
            version: FORMAT_VERSION,
            symbols: vec![
                symbol("tokens", 1, 128),
                symbol("past", 0, 4095),
                symbol("row", 0, 127),
                symbol("image_tokens", 1, 1024),
            ],
            buffers: Vec::new(),
            pipelines: Vec::new(),
            entries: BTreeMap::new(),
        };
        let of = |entry, name| value(&schedule, entry, name, &TimedSizes::default(), 196);
        assert_eq!([of(PREFILL, "tokens"), of(PREFILL, "past"), of(DECODE, "past")], [128, 0, 512]);
        assert_eq!([of(VISION, "image_tokens"), of(VISION, "patches")], [196, 784]);
        assert_eq!([of(DECODE, "row"), of(MAIN, "image_tokens")], [1, 1024]);
    }
}
