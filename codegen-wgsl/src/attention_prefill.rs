//! Attention over many queries: tiles of keys with a streaming softmax, so that no S x T matrix exists.
//!
//! An invocation multiplies 4 queries with 4 keys, and the probabilities of up to 8 queries with one column of four, so
//! that it reads workgroup memory once for every 8 multiplications or more. Queries and keys go through workgroup memory
//! in slices; values are read where they are, by whole rows.

use askama::Template;
use qwenc_ir::{Activation, Dim};

use crate::attention_operands::{Operands, Sizes};
use crate::checks::{Access, Checks, render};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::quads::{Quads, all_packed};
use crate::view::{Elem, View};
use crate::wgsl_math::activate;

const FAMILY: &str = "attention_prefill";
const WORKGROUP: u32 = 256;
/// Queries of a workgroup, and keys of a tile. The template gives each invocation four of each.
const ROWS: u32 = 32;
const TILE: u32 = 64;

/// Parameters of [`kernel`]. Query head h reads key head `h / (Hq / Hkv)`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionPrefillParams {
    /// `[S, Hq, D]` f32; Hq and D are constants, D at most 256.
    pub query: View,
    /// `[Hkv, T, D]` f32; a cache, of which only the T rows of the view are read.
    pub key: View,
    /// `[Hkv, T, Dv]` f32; Dv at most 256.
    pub value: View,
    /// `[Hq, S, T]`, stride 0 where it broadcasts: f32 is added to the scaled scores, u32 masks where it is 0.
    pub mask: Option<View>,
    /// Query i sees key j only when `j <= i + offset`; normally the number of past positions. Without it all keys.
    pub causal: Option<Dim>,
    /// Factor on the scores.
    pub scale: f32,
    /// `[S, Hq, Dv]` f32, and the activation of it that multiplies the output.
    pub gate: Option<(View, Activation)>,
    /// `[S, Hq, Dv]` f32.
    pub output: View,
}

/// A mask as templates use it.
pub(crate) enum Mask<'a> {
    /// Keys are seen where it is not 0.
    Bool(Access<'a>),
    /// Added to the score.
    Added(Access<'a>),
}

impl<'a> Mask<'a> {
    /// Checks a mask `[Hq, S, T]` and binds it.
    pub(crate) fn bind(
        checks: Checks,
        symbols: &'a Symbols,
        bindings: &mut Bindings,
        mask: Option<&View>,
        shape: [&Dim; 3],
    ) -> Result<Option<Self>, CodegenError> {
        let Some(mask) = mask else { return Ok(None) };
        if mask.elem == Elem::I32 {
            return Err(checks.fail("a mask of i32"));
        }
        checks.expect("the mask", mask, mask.elem, &shape)?;
        let access = Access::new(bindings.read(mask), symbols);
        Ok(Some(if mask.elem == Elem::U32 { Self::Bool(access) } else { Self::Added(access) }))
    }

    /// WGSL that applies the mask to the variable `score`; scores below -1e38 are masked.
    pub(crate) fn apply(&self, head: &str, query: &str, key: &str) -> String {
        match self {
            Self::Bool(mask) => {
                format!("if ({} == 0u) {{ score = -3.0e38; }}", mask.at3(head, query, key))
            }
            Self::Added(mask) => format!("score += max({}, -3.0e38);", mask.at3(head, query, key)),
        }
    }
}

/// A gate as templates use it.
pub(crate) struct Gate<'a> {
    pub(crate) view: Access<'a>,
    /// The function `activate`.
    pub(crate) activate: String,
}

#[derive(Template)]
#[template(path = "attention_prefill.wgsl", escape = "none")]
struct Source<'a> {
    declarations: String,
    query: Quads<'a>,
    key: Quads<'a>,
    value: Quads<'a>,
    mask: Option<Mask<'a>>,
    causal: Option<String>,
    /// The gate and its function `activate`.
    gate: Option<(Quads<'a>, String)>,
    output: Quads<'a>,
    scale: String,
    queries: String,
    keys: String,
    heads: u32,
    key_heads: u32,
    group: u32,
    key_width: u32,
    value_width: u32,
    key_quads: u32,
    value_quads: u32,
    rows: u32,
    tile: u32,
    /// Invocations side by side over the columns of values, and the queries that each of them has.
    lanes: u32,
    each: u32,
    workgroup: u32,
}

/// Attention for any number of queries. A row whose keys are all masked (a score of at most -1e38 counts as masked)
/// gives zeros.
///
/// # Errors
/// When shapes do not fit each other, heads are too wide, or heads and widths are not constants.
pub fn kernel(symbols: &Symbols, params: &AttentionPrefillParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let operands = Operands {
        query: &params.query,
        key: &params.key,
        value: &params.value,
        gate: params.gate.as_ref(),
        output: &params.output,
    };
    let Sizes { queries, keys, head_dim, heads, key_heads, group, key_width, value_width } =
        operands.sizes(checks)?;

    let mut views = vec![&params.output, &params.query, &params.key, &params.value];
    views.extend(params.gate.iter().map(|(gate, _)| gate));
    let alone = params.mask.as_ref().is_none_or(|mask| views.iter().all(|view| view.buffer != mask.buffer));
    let packed = alone && all_packed(views);
    let mut bindings = Bindings::new();
    let mut bind = |view: &View, write: bool| Quads::bind(&mut bindings, symbols, view, packed, write);
    let output = bind(&params.output, true);
    let (query, key, value) =
        (bind(&params.query, false), bind(&params.key, false), bind(&params.value, false));
    let gate = params.gate.as_ref().map(|(view, kind)| (bind(view, false), activate(*kind)));
    let mask =
        Mask::bind(checks, symbols, &mut bindings, params.mask.as_ref(), [&head_dim, &queries, &keys])?;
    let (key_quads, value_quads) = (key_width.div_ceil(4), value_width.div_ceil(4));
    let lanes = value_quads.next_power_of_two().max(WORKGROUP / ROWS);
    let source = Source {
        declarations: bindings.declarations(),
        query,
        key,
        value,
        mask,
        causal: params.causal.as_ref().map(|offset| symbols.wgsl(offset)),
        gate,
        output,
        scale: checks.literal("the scale", params.scale)?,
        queries: symbols.wgsl(&queries),
        keys: symbols.wgsl(&keys),
        heads,
        key_heads,
        group,
        key_width,
        value_width,
        key_quads,
        value_quads,
        rows: ROWS,
        tile: TILE,
        lanes,
        each: ROWS * lanes / WORKGROUP,
        workgroup: WORKGROUP,
    };
    let workgroups = [queries.ceil_div(i64::from(ROWS)), Dim::constant(i64::from(heads)), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}
