//! Checks that a bundle has the entry points of a decoder, once, so that feeding it need not.

use super::{DECODE, HEAD, INPUT_IDS, LOGITS, POSITION_IDS, PREFILL, SessionError};
use crate::engine::{Backend, Engine};
use crate::format::{Bounds, DType, DecoderFacts, Expr, TensorSlot, bounds};

/// What a session knows of the entry points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Axes of position ids; 0 when the model takes none.
    pub(super) axes: usize,
}

pub(super) fn check<B: Backend>(engine: &Engine<B>) -> Result<(DecoderFacts, Layout), SessionError> {
    let not = |message: String| SessionError::NotADecoder(message);
    let facts = engine.manifest().model.decoder.clone();
    let facts = facts.ok_or_else(|| not("its manifest has no decoder".to_owned()))?;
    let bounds = bounds(engine.schedule());
    check_symbols(engine, PREFILL, &["past", "tokens"])?;
    check_symbols(engine, DECODE, &["past", "tokens"])?;
    check_symbols(engine, HEAD, &["row", "tokens"])?;
    let mut axes = Vec::new();
    for (entry, tokens) in [(PREFILL, facts.prefill_chunk), (DECODE, 1)] {
        let inputs = &engine.entry(entry)?.inputs;
        if let Some(name) = inputs.keys().find(|name| ![INPUT_IDS, POSITION_IDS].contains(&name.as_str())) {
            return Err(not(format!("entry point `{entry}` takes an input `{name}`")));
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
    match axes.as_slice() {
        [prefill, decode] if prefill == decode => {
            Ok((facts, Layout { axes: usize::try_from(*prefill).unwrap_or_default() }))
        }
        _ => Err(not(format!("`{PREFILL}` and `{DECODE}` disagree on the axes of `{POSITION_IDS}`"))),
    }
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
