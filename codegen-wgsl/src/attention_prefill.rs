//! Attention over many queries: tiles of keys with a streaming softmax, so that no S x T matrix exists.

use askama::Template;
use qwenc_ir::{Activation, Dim};

use crate::attention_operands::{Operands, Sizes};
use crate::checks::{Access, Checks, render};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};
use crate::wgsl_math::activate;

const FAMILY: &str = "attention_prefill";
const WORKGROUP: u32 = 256;
/// Queries, and keys, of a tile. The template gives each invocation two of each.
const TILE: u32 = 32;
/// Elements of query and key rows staged at a time, and their padded pitch.
const SLICE: u32 = 32;
const PITCH: u32 = SLICE + 1;

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
    query: Access<'a>,
    key: Access<'a>,
    value: Access<'a>,
    mask: Option<Mask<'a>>,
    causal: Option<String>,
    gate: Option<Gate<'a>>,
    output: Access<'a>,
    scale: String,
    queries: String,
    keys: String,
    heads: u32,
    key_heads: u32,
    group: u32,
    key_width: u32,
    value_width: u32,
    /// Value columns of one invocation: 16 invocations share a row.
    columns: u32,
    /// Keys whose values are staged at a time; divides the tile.
    span: u32,
    stage: u32,
    tile: u32,
    slice: u32,
    pitch: u32,
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

    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let query = Access::new(bindings.read(&params.query), symbols);
    let key = Access::new(bindings.read(&params.key), symbols);
    let value = Access::new(bindings.read(&params.value), symbols);
    let mask =
        Mask::bind(checks, symbols, &mut bindings, params.mask.as_ref(), [&head_dim, &queries, &keys])?;
    let gate = match &params.gate {
        Some((view, activation)) => {
            let view = Access::new(bindings.read(view), symbols);
            Some(Gate { view, activate: activate(*activation) })
        }
        None => None,
    };
    let stage = 2 * TILE * PITCH;
    let columns = value_width.div_ceil(16);
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
        columns,
        // The largest power of two that fits. Columns are padded to 16, hence the rest behind the last row.
        span: (1 << ((stage - 16) / value_width).ilog2()).min(TILE),
        stage,
        tile: TILE,
        slice: SLICE,
        pitch: PITCH,
        workgroup: WORKGROUP,
    };
    let workgroups = [queries.ceil_div(i64::from(TILE)), Dim::constant(i64::from(heads)), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}
