//! Attention over thousands of rows without a past, each of which sees one range of keys: the patches of an image, the
//! words of a text. Tiles of keys with a streaming softmax; keys that no query of a tile sees are not read.
//!
//! An invocation multiplies 4 queries with 4 keys, and their probabilities with the columns of values of its lane, so
//! that it reads workgroup memory once for every 8 multiplications. Queries and keys go through workgroup memory in
//! slices; values are read where they are, by whole rows.

use askama::Template;
use qwenc_ir::{Activation, Dim};

use crate::attention_operands::{Operands, Sizes};
use crate::checks::{Access, Checks, render};
use crate::kernel::{Bindings, CodegenError, Kernel, KernelVariant, Need, Symbols};
use crate::quads::{Quads, all_packed};
use crate::view::{Elem, View};
use crate::wgsl_math::activate;

const FAMILY: &str = "attention_segments";
/// 8 rows of 16 lanes.
const WORKGROUP: u32 = 128;
/// Queries of a workgroup: the template gives each invocation four.
const ROWS: u32 = 32;
/// Keys of a tile: the template gives each lane four.
const TILE: u32 = 64;
/// Widest head of the module for matrix cores.
const COOPERATIVE_WIDTH: u32 = 64;
/// Columns of `vec4` of queries and keys that are staged at a time, in the template.
const SLICE: u32 = 8;

/// Parameters of [`kernel`]. Query head h reads key head `h / (Hq / Hkv)`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionSegmentsParams {
    /// `[S, Hq, D]` f32; Hq and D are constants, D at most 256.
    pub query: View,
    /// `[Hkv, T, D]` f32.
    pub key: View,
    /// `[Hkv, T, Dv]` f32; Dv at most 256.
    pub value: View,
    /// `[S, 2]` i32, not written by this kernel: query s sees keys `start <= j < end`. Without it all keys.
    pub segments: Option<View>,
    /// Factor on the scores.
    pub scale: f32,
    /// `[S, Hq, Dv]` f32, and the activation of it that multiplies the output.
    pub gate: Option<(View, Activation)>,
    /// `[S, Hq, Dv]` f32.
    pub output: View,
}

/// What both modules have.
struct Parts<'a> {
    declarations: String,
    query: Quads<'a>,
    key: Quads<'a>,
    value: Quads<'a>,
    segments: Option<Access<'a>>,
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
}

/// The module for all devices.
#[derive(Template)]
#[template(path = "attention_segments.wgsl", escape = "none")]
struct Tiled<'a> {
    parts: &'a Parts<'a>,
    rows: u32,
    /// vec4 columns of values of one invocation.
    columns: u32,
    /// Keys whose vectors an invocation stages.
    key_loads: u32,
    tile: u32,
    stage: u32,
    workgroup: u32,
}

/// The module for matrix cores.
#[derive(Template)]
#[template(path = "attention_segments_cooperative.wgsl", escape = "none")]
struct Cooperative<'a> {
    parts: &'a Parts<'a>,
    /// Matrices that a query's width takes.
    depth: u32,
}

impl<'a> Cooperative<'a> {
    /// For heads that fit workgroup memory.
    fn new(parts: &'a Parts<'a>) -> Option<Self> {
        let fits = parts.key_width.max(parts.value_width) <= COOPERATIVE_WIDTH;
        fits.then(|| Self { parts, depth: parts.key_width.div_ceil(16) })
    }
}

/// Attention without a past for any number of queries. A query that sees no key gives zeros.
///
/// # Errors
/// When shapes do not fit each other, heads are too wide, or heads and widths are not constants.
pub fn kernel(symbols: &Symbols, params: &AttentionSegmentsParams) -> Result<Kernel, CodegenError> {
    let checks = Checks::of(FAMILY);
    let operands = Operands {
        query: &params.query,
        key: &params.key,
        value: &params.value,
        gate: params.gate.as_ref(),
        output: &params.output,
    };
    let Sizes { queries, keys, head_dim: _, heads, key_heads, group, key_width, value_width } =
        operands.sizes(checks)?;
    if let Some(segments) = &params.segments {
        checks.expect("the segments", segments, Elem::I32, &[&queries, &Dim::constant(2)])?;
    }

    let mut views = vec![&params.output, &params.query, &params.key, &params.value];
    views.extend(params.gate.iter().map(|(gate, _)| gate));
    let packed = all_packed(views);
    let mut bindings = Bindings::new();
    let mut bind = |view: &View, write: bool| Quads::bind(&mut bindings, symbols, view, packed, write);
    let output = bind(&params.output, true);
    let (query, key, value) =
        (bind(&params.query, false), bind(&params.key, false), bind(&params.value, false));
    let gate = params.gate.as_ref().map(|(view, kind)| (bind(view, false), activate(*kind)));
    let segments = params.segments.as_ref().map(|view| Access::new(bindings.read(view), symbols));

    let (key_quads, value_quads) = (key_width.div_ceil(4), value_width.div_ceil(4));
    let parts = Parts {
        declarations: bindings.declarations(),
        query,
        key,
        value,
        segments,
        gate,
        output,
        scale: checks.literal("the scale", params.scale * std::f32::consts::LOG2_E)?,
        queries: symbols.wgsl(&queries),
        keys: symbols.wgsl(&keys),
        heads,
        key_heads,
        group,
        key_width,
        value_width,
        key_quads,
        value_quads,
    };
    let tiled = Tiled {
        parts: &parts,
        rows: ROWS,
        columns: value_quads.div_ceil(16),
        key_loads: TILE * SLICE / WORKGROUP,
        tile: TILE,
        stage: SLICE * (ROWS + TILE),
        workgroup: WORKGROUP,
    };
    let workgroups = [queries.ceil_div(i64::from(ROWS)), Dim::constant(i64::from(heads)), Dim::constant(1)];
    let tiled = render(FAMILY, &tiled)?;
    let cooperative = Cooperative::new(&parts).map(|module| render(FAMILY, &module)).transpose()?;
    let kernel = bindings.finish(FAMILY, symbols, tiled, [WORKGROUP, 1, 1], workgroups)?;
    let Some(source) = cooperative else { return Ok(kernel) };
    kernel.with_variant(KernelVariant {
        name: "cooperative",
        source,
        needs: &[Need::CooperativeMatrix],
        workgroup_size: [WORKGROUP, 1, 1],
    })
}
