//! Checks that a bundle has the entry points of a decoder, once, so that feeding it need not.

use super::{
    DECODE, HEAD, IMAGE_FEATURES, IMAGE_ROWS, INPUT_IDS, LOGITS, PATCH_POSITIONS, PIXEL_VALUES, POSITION_IDS,
    POSITION_INDEX, POSITION_WEIGHT, PREFILL, SAMPLE, SAMPLING, SEGMENTS, SessionError, TOKEN, TOKEN_COUNTS,
    VISION,
};
use crate::engine::{Backend, Engine};
use crate::format::{Bounds, DType, DecoderFacts, Expr, TensorSlot, VisionFacts, bounds};
use crate::sampling::PARAM_WORDS;

/// What a session knows of the entry points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Axes of position ids; 0 when the model takes none.
    pub(super) axes: usize,
    /// Entry point `prefill` takes feature rows of pictures.
    pub(super) images: bool,
    /// Whether there is an entry point `sample`.
    pub(super) samples: bool,
}

pub(super) fn check<B: Backend>(engine: &Engine<B>) -> Result<(DecoderFacts, Layout), SessionError> {
    let not = |message: String| SessionError::NotADecoder(message);
    let facts = engine.manifest().model.decoder.clone();
    let facts = facts.ok_or_else(|| not("its manifest has no decoder".to_owned()))?;
    let vision = engine.manifest().model.vision.clone();
    let bounds = bounds(engine.schedule());
    check_symbols(engine, PREFILL, &["past", "tokens"])?;
    check_symbols(engine, DECODE, &["past", "tokens"])?;
    check_symbols(engine, HEAD, &["row", "tokens"])?;
    let mut axes = Vec::new();
    for (entry, tokens) in [(PREFILL, facts.prefill_chunk), (DECODE, 1)] {
        let inputs = &engine.entry(entry)?.inputs;
        let rows = vision.is_some() && entry == PREFILL;
        let known = |name: &str| [INPUT_IDS, POSITION_IDS].contains(&name) || (rows && name == IMAGE_ROWS);
        if let Some(name) = inputs.keys().find(|name| !known(name)) {
            return Err(not(format!("entry point `{entry}` takes an input `{name}`")));
        }
        if rows {
            let slot = engine.input(entry, IMAGE_ROWS)?;
            expect(entry, IMAGE_ROWS, slot, DType::I32, tokens.into(), &bounds)?;
        }
        let ids = engine.input(entry, INPUT_IDS)?;
        expect(entry, INPUT_IDS, ids, DType::I32, tokens.into(), &bounds)?;
        match inputs.get(POSITION_IDS) {
            None => axes.push(0),
            Some(slot) => {
                let count = axes_of(slot)
                    .ok_or_else(|| not(format!("`{POSITION_IDS}` of `{entry}` is not [axes, tokens]")))?;
                expect(entry, POSITION_IDS, slot, DType::I32, i64::from(tokens) * i64::from(count), &bounds)?;
                axes.push(count);
            }
        }
    }
    for entry in [HEAD, DECODE] {
        let logits = engine.output(entry, LOGITS)?;
        expect(entry, LOGITS, logits, DType::F32, facts.vocab_size.into(), &bounds)?;
    }
    if let Some(vision) = &vision {
        check_vision(engine, vision, &bounds)?;
        if axes.first() != Some(&3) {
            return Err(not(format!("a model with pictures takes `{POSITION_IDS}` of 3 axes")));
        }
    }
    match axes.as_slice() {
        [prefill, decode] if prefill == decode => {
            let axes = usize::try_from(*prefill).unwrap_or_default();
            let samples = check_sample(engine, facts.vocab_size, &bounds)?;
            Ok((facts, Layout { axes, images: vision.is_some(), samples }))
        }
        _ => Err(not(format!("`{PREFILL}` and `{DECODE}` disagree on the axes of `{POSITION_IDS}`"))),
    }
}

/// Entry point `vision`: pixels in, feature rows out, and tables that the runtime knows.
fn check_vision<B: Backend>(
    engine: &Engine<B>,
    facts: &VisionFacts,
    bounds: &Bounds,
) -> Result<(), SessionError> {
    check_symbols(engine, VISION, &["image_tokens", "patches"])?;
    let patches = i64::from(facts.max_patches);
    let expected = [
        (PIXEL_VALUES, DType::F32, i64::from(facts.patch_values)),
        (POSITION_INDEX, DType::I32, 4),
        (POSITION_WEIGHT, DType::F32, 4),
        (PATCH_POSITIONS, DType::I32, 2),
        (SEGMENTS, DType::I32, 2),
    ];
    engine.input(VISION, PIXEL_VALUES)?;
    for (name, slot) in &engine.entry(VISION)?.inputs {
        let Some((_, dtype, per_patch)) = expected.iter().find(|(known, ..)| known == name) else {
            let message = format!("entry point `{VISION}` takes an input `{name}`");
            return Err(SessionError::NotADecoder(message));
        };
        expect(VISION, name, slot, *dtype, patches.saturating_mul(*per_patch), bounds)?;
    }
    let block = i64::from(facts.merge_size).pow(2).max(1);
    let features = (patches / block).saturating_mul(facts.feature_size.into());
    let slot = engine.output(VISION, IMAGE_FEATURES)?;
    expect(VISION, IMAGE_FEATURES, slot, DType::F32, features, bounds)
}

/// Whether the optional entry point `sample` is there; it must be as the session uses it.
fn check_sample<B: Backend>(
    engine: &Engine<B>,
    vocab_size: u32,
    bounds: &Bounds,
) -> Result<bool, SessionError> {
    let Some(entry) = engine.schedule().entries.get(SAMPLE) else { return Ok(false) };
    check_symbols(engine, SAMPLE, &[])?;
    if let Some(name) = entry.inputs.keys().find(|name| ![SAMPLING, TOKEN_COUNTS].contains(&name.as_str())) {
        return Err(SessionError::NotADecoder(format!("entry point `{SAMPLE}` takes an input `{name}`")));
    }
    let words = i64::try_from(PARAM_WORDS).unwrap_or_default();
    expect(SAMPLE, SAMPLING, engine.input(SAMPLE, SAMPLING)?, DType::U32, words, bounds)?;
    expect(SAMPLE, TOKEN_COUNTS, engine.input(SAMPLE, TOKEN_COUNTS)?, DType::U32, vocab_size.into(), bounds)?;
    expect(SAMPLE, TOKEN, engine.output(SAMPLE, TOKEN)?, DType::U32, 1, bounds)?;
    Ok(true)
}

fn check_symbols<B: Backend>(engine: &Engine<B>, entry: &str, known: &[&str]) -> Result<(), SessionError> {
    match engine.entry(entry)?.symbols.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            Err(SessionError::NotADecoder(format!("entry point `{entry}` takes a symbol `{name}`")))
        }
    }
}

/// The first dim of `[axes, ..., tokens]`; a single axis may be left out.
fn axes_of(slot: &TensorSlot) -> Option<u32> {
    match slot.shape.as_slice() {
        [_] => Some(1),
        [Expr::Const(axes), .., _] => u32::try_from(*axes).ok().filter(|axes| (1..=8).contains(axes)),
        _ => None,
    }
}

/// Refuses a tensor that has another type, or never has `elements` elements.
fn expect(
    entry: &str,
    name: &str,
    slot: &TensorSlot,
    dtype: DType,
    elements: i64,
    bounds: &Bounds,
) -> Result<(), SessionError> {
    let largest = Expr::Mul(std::iter::once(Expr::Const(1)).chain(slot.shape.iter().cloned()).collect());
    let found = largest.range(bounds).map(|(_, high)| high).unwrap_or(-1);
    if slot.dtype == dtype && found == elements {
        return Ok(());
    }
    Err(SessionError::NotADecoder(format!(
        "`{name}` of `{entry}` is {:?} of at most {found} elements, not {dtype:?} of {elements}",
        slot.dtype
    )))
}
