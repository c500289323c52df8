//! Passes rewrite the imported graph into the fused form that lowering takes. [`pipeline`] is their order.
//!
//! Exporters write the same model in very different ways. Cleaning passes remove the differences that carry no meaning
//! (constants, views, repetition), *raising* passes recognise what was spelled out, *fusing* passes build the operators
//! that one kernel computes. Each pass is a file that says what it looks for and when it leaves things alone; every
//! rewrite keeps the graph's meaning, and the graph is verified after each.
//!
//! The fused decoder, per layer (views between are left out):
//! - delta layer: `linear(norm; qkv|z|b|a)`, `causal_conv`, `gated_delta(q/k norm, raw gates)`, `rms_norm(gate)`,
//!   `linear(out, + residual)`;
//! - attention layer: `linear(norm; q|k|v)`, `attention(q/k norm, rope, gate)`, `linear(out, + residual)`;
//! - both: `linear(norm; gate, up: glu)`, `linear(down, + residual)`; at the end `linear(norm; head)`.

mod cse;
mod dce;
mod embed;
mod fold;
mod fuse_attention;
mod fuse_delta;
mod fuse_elementwise;
mod fuse_epilogue;
mod fuse_linear;
mod fuse_norm;
mod fuse_parallel;
mod fuse_swiglu;
mod gather_views;
mod manager;
mod raise_activation;
mod raise_attention;
mod raise_causal;
mod raise_causal_conv;
mod raise_gated_norm;
mod raise_norm;
mod raise_rope;
mod raise_rotate_half;
mod rewrite;
mod rope_table;
mod simplify;
mod states;
mod term;
mod trace;
mod unflatten;
mod views;
mod widen;

pub use manager::{
    Histogram, MAX_NOTES, Note, Pass, PassError, PassRecord, PipelineError, Report, histogram, run_passes,
};
pub use rope_table::tabulate_rope;

use qwenc_ir::Graph;

/// Raising, see [`raising`].
static RAISING: &[Pass] = &[
    // Clean: the width of floats, what is known at compile time, and what does nothing.
    widen::PASS,
    views::PASS,
    fold::PASS,
    views::PASS,
    cse::PASS,
    dce::PASS,
    // Recognise what exporters spell out.
    embed::PASS,
    raise_activation::PASS,
    raise_causal_conv::PASS,
    raise_attention::PASS,
    raise_causal::PASS,
    raise_norm::PASS,
    raise_gated_norm::PASS,
    raise_rotate_half::PASS,
    views::PASS,
    raise_rope::PASS,
    states::PASS,
    views::PASS,
    cse::PASS,
    dce::PASS,
    // Fuse into the mixers what surrounds them.
    fuse_attention::PASS,
    fuse_delta::PASS,
    // Every product with a weight is a Linear from here on: the end of raising.
    fuse_linear::PASS,
];

/// Fusing, see [`fusing`].
static FUSING: &[Pass] = &[
    // Fuse projections with each other, then with what is in front of and behind them.
    fuse_swiglu::PASS,
    fuse_parallel::PASS,
    views::PASS,
    fuse_elementwise::PASS,
    fuse_norm::PASS,
    fuse_epilogue::PASS,
    cse::PASS,
    dce::PASS,
];

/// The passes that recognise what exporters spell out, in order. Behind them every product with a weight is a `Linear` of its
/// own: the place where weights are quantized.
pub fn raising() -> &'static [Pass] {
    RAISING
}

/// As [`raising`], for a graph that is no decoder: it stays a function of all its inputs, also where their names are those
/// of states.
pub fn raising_stateless() -> Vec<Pass> {
    RAISING.iter().filter(|pass| pass.name != states::PASS.name).copied().collect()
}

/// The passes that fuse what is there into what one kernel computes, in order.
pub fn fusing() -> &'static [Pass] {
    FUSING
}

/// The first of [`raising`] alone: floats of every width become f32.
pub(crate) fn widening() -> &'static [Pass] {
    static WIDENING: &[Pass] = &[widen::PASS];
    WIDENING
}

/// All passes in the order they run; the cleaning ones run several times.
pub fn pipeline() -> impl Iterator<Item = &'static Pass> {
    RAISING.iter().chain(FUSING)
}

/// Runs the whole pipeline, verifying the graph between passes. `observer` sees the record of every pass, with the graph
/// as it then is. After an error the graph must not be used.
pub fn run_all(
    graph: &mut Graph,
    observer: &mut dyn FnMut(&PassRecord, &Graph),
) -> Result<(), PipelineError> {
    run_passes(RAISING, graph, observer)?;
    run_passes(FUSING, graph, observer)
}
