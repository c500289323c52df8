//! Attention over thousands of rows without a past, each of which sees one range of keys: the patches of an image, the
//! words of a text. Tiles of keys with a streaming softmax; keys that no query of a tile sees are not read.
//!
//! An invocation multiplies 4 queries with 4 keys, and their probabilities with 8 columns of values, so that it reads
//! workgroup memory once for every 8 multiplications. Queries stay in workgroup memory; what is left of it holds slices
//! of keys, then probabilities and rows of values in turn.

use askama::Template;
use qwenc_ir::{Activation, Dim};

use crate::attention_operands::{Operands, Sizes};
use crate::checks::{Access, Checks, render};
use crate::indexing::in_vec4;
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols, limits};
use crate::view::{Elem, View};
use crate::wgsl_math::activate;

const FAMILY: &str = "attention_segments";
/// 8 rows of 8 lanes.
const WORKGROUP: u32 = 64;
/// Keys of a tile: the template gives each lane four.
const TILE: u32 = 32;
/// Workgroup memory in vec4.
const STAGE: u32 = limits::WORKGROUP_BYTES / 16;
/// What is left of it for queries, so that keys and values come in slices of useful size.
const QUERIES: u32 = STAGE / 2;

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

/// An operand that is read and written four elements of its last axis at a time.
struct Quads<'a> {
    access: Access<'a>,
    /// The binding holds `vec4<f32>`, and the view counts them.
    packed: bool,
}

impl Quads<'_> {
    /// WGSL of quad `c` of the last axis, whose width is `width`; elements behind the width are 0.
    fn load(&self, i: &str, j: &str, c: &str, width: &u32) -> String {
        if self.packed {
            return self.access.at3(i, j, c);
        }
        let element = |n: u32| self.access.at3(i, j, &format!("min(4u * {c} + {n}u, {}u)", width - 1));
        let quad = format!("vec4<f32>({})", [0, 1, 2, 3].map(element).join(", "));
        if width.is_multiple_of(4) {
            quad
        } else {
            format!("select(vec4<f32>(), {quad}, 4u * {c} + LANES < vec4<u32>({width}u))")
        }
    }

    /// WGSL statements that store the vec4 `x` as quad `c`.
    fn store(&self, i: &str, j: &str, c: &str, x: &str, width: &u32) -> String {
        if self.packed {
            return format!("{} = {x};", self.access.at3(i, j, c));
        }
        let element = |n: u32| {
            let at = format!("4u * {c} + {n}u");
            format!("if ({at} < {width}u) {{ {} = {x}[{n}]; }}", self.access.at3(i, j, &at))
        };
        [0, 1, 2, 3].map(element).join("\n        ")
    }
}

/// How the work fits into a workgroup and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Geometry {
    /// Queries of an invocation, 1 to 4.
    each: u32,
    /// vec4 columns of keys staged at a time.
    slice: u32,
    /// Rows of values staged at a time: a power of two from 4 to the tile.
    span: u32,
}

impl Geometry {
    /// For keys and values of these widths in vec4, at most 64.
    fn of(key_quads: u32, value_quads: u32) -> Self {
        let each = (QUERIES / (8 * key_quads)).clamp(1, 4);
        let left = STAGE - 8 * each * key_quads;
        let slices = (TILE * key_quads).div_ceil(left).max(1);
        let rows = (left - 8 * 8 * each) / value_quads;
        Self { each, slice: key_quads.div_ceil(slices), span: (1 << rows.ilog2()).min(TILE) }
    }
}

#[derive(Template)]
#[template(path = "attention_segments.wgsl", escape = "none")]
struct Source<'a> {
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
    each: u32,
    rows: u32,
    /// vec4 columns of values of one invocation.
    columns: u32,
    slice: u32,
    span: u32,
    tile: u32,
    stage: u32,
    workgroup: u32,
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

    // Views of one allocation share a binding and its type, so either all are read as vec4 or none.
    let mut views = vec![&params.output, &params.query, &params.key, &params.value];
    views.extend(params.gate.iter().map(|(gate, _)| gate));
    let packed: Option<Vec<View>> = views.iter().map(|view| in_vec4(view)).collect();
    let mut bindings = Bindings::new();
    let mut bind = |view: &View, write: bool| {
        let packed = packed.as_ref().and_then(|_| in_vec4(view));
        let (view, wgsl) = packed.as_ref().map_or((view, "f32"), |view| (view, "vec4<f32>"));
        let operand = if write { bindings.write_as(view, wgsl) } else { bindings.read_as(view, wgsl) };
        Quads { access: Access::new(operand, symbols), packed: packed.is_some() }
    };
    let output = bind(&params.output, true);
    let (query, key, value) =
        (bind(&params.query, false), bind(&params.key, false), bind(&params.value, false));
    let gate = params.gate.as_ref().map(|(view, kind)| (bind(view, false), activate(*kind)));
    let segments = params.segments.as_ref().map(|view| Access::new(bindings.read(view), symbols));

    let (key_quads, value_quads) = (key_width.div_ceil(4), value_width.div_ceil(4));
    let Geometry { each, slice, span } = Geometry::of(key_quads, value_quads);
    let rows = 8 * each;
    let behind_queries = (TILE * slice).max(8 * rows + span * value_quads);
    let source = Source {
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
        each,
        rows,
        columns: value_quads.div_ceil(8),
        slice,
        span,
        tile: TILE,
        stage: rows * key_quads + behind_queries,
        workgroup: WORKGROUP,
    };
    let workgroups = [queries.ceil_div(i64::from(rows)), Dim::constant(i64::from(heads)), Dim::constant(1)];
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_fits_the_workgroup_memory() {
        assert_eq!(Geometry::of(16, 16), Geometry { each: 4, slice: 16, span: 16 });
        assert_eq!(Geometry::of(18, 18), Geometry { each: 3, slice: 18, span: 16 });
        for key in 1..=64 {
            for value in 1..=64 {
                let Geometry { each, slice, span } = Geometry::of(key, value);
                let queries = 8 * each * key;
                assert!(queries + TILE * slice <= STAGE, "{key} {value}");
                assert!(queries + 64 * each + span * value <= STAGE, "{key} {value}");
                assert!(span >= 4 && slice >= 1 && slice.min(8) <= key, "{key} {value}");
            }
        }
    }
}
