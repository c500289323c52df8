//! Attention for one query: the context is split over workgroups ([`partial`]), whose results [`combine`] joins.

use std::ops::Range;

use askama::Template;
use qwenc_ir::{Activation, Dim};

use crate::attention_prefill::{Gate, Mask};
use crate::checks::{Access, Checks, render};
use crate::indexing::in_vec4;
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::linear::Vector;
use crate::view::{Elem, View};
use crate::wgsl_math::activate;

const WORKGROUP: u32 = 256;
/// Most invocations that share a key: each has four of its columns at a time.
const MAX_KEY_LANES: u32 = 16;
/// Most splits of the context: with two key heads as many workgroups as a large device holds at a time. At most
/// [`WORKGROUP`], as [`combine`] has an invocation for each.
const MAX_SPLITS: u32 = 192;
/// Most query heads in one workgroup, which read the keys and values once for all: the lanes of a vector.
const MAX_SHARED_HEADS: u32 = 4;
const MAX_WIDTH: u32 = 256;
/// Most invocations across the columns in [`combine`]; wider heads take more workgroups.
const MAX_COMBINE_LANES: u32 = 16;
const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

/// Parameters of [`partial`] and [`combine`]. Query head h reads key head `h / (Hq / Hkv)`. The query sees all T keys.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionDecodeParams {
    /// `[1, Hq, D]` f32; Hq and D are constants, D at most 256.
    pub query: View,
    /// `[Hkv, T, D]` f32; T has an upper bound.
    pub key: View,
    /// `[Hkv, T, Dv]` f32; Dv at most 256.
    pub value: View,
    /// `[Hq, 1, T]`, stride 0 where it broadcasts: f32 is added to the scaled scores, u32 masks where it is 0.
    pub mask: Option<View>,
    /// Factor on the scores.
    pub scale: f32,
    /// `[1, Hq, Dv]` f32, and the activation of it that multiplies the output.
    pub gate: Option<(View, Activation)>,
    /// Dense f32 of shape [`scratch_shape`]; it carries the splits' results from one kernel to the other.
    pub scratch: View,
    /// `[1, Hq, Dv]` f32.
    pub output: View,
}

/// How the keys of a width are shared.
#[derive(Clone, Copy)]
struct Tiling {
    /// Invocations that share a key.
    lanes: u32,
    /// `vec4`s of a key that one of them has.
    vectors: u32,
    /// Keys of a tile.
    tile: u32,
}

impl Tiling {
    fn of(key_width: u32) -> Self {
        let vectors = key_width.div_ceil(4);
        // Not fewer than 4, so that a tile is not long.
        let lanes = vectors.next_power_of_two().clamp(4, MAX_KEY_LANES);
        Self { lanes, vectors: vectors.div_ceil(lanes), tile: WORKGROUP / lanes }
    }

    fn tiles(self, keys: &Dim) -> Dim {
        keys.ceil_div(i64::from(self.tile))
    }

    /// Most splits for as many keys as there can be.
    fn splits(self, checks: Checks, symbols: &Symbols, keys: &Dim) -> Result<u32, CodegenError> {
        let most = symbols.upper(keys).and_then(|most| u32::try_from(most).ok());
        let most = most.ok_or_else(|| checks.fail(format!("{keys} keys: the context has no upper bound")))?;
        Ok(most.div_ceil(self.tile).clamp(1, MAX_SPLITS))
    }
}

/// Width of the scratch's rows: the output in whole vectors, then one with the largest score and the sum.
const fn scratch_width(value_width: u32) -> u32 {
    (value_width.div_ceil(4) + 1) * 4
}

/// Shape of the scratch, for `key` `[Hkv, T, D]`, `heads` query heads and values of width `value_width`: for every head
/// and split the unnormalised output, padded to a multiple of 4; then the split's largest score, its sum of exponentials,
/// and two zeros.
///
/// # Errors
/// When the context has no upper bound, or a width is out of range.
pub fn scratch_shape(
    symbols: &Symbols,
    key: &View,
    heads: usize,
    value_width: usize,
) -> Result<Vec<Dim>, CodegenError> {
    let checks = Checks::of("attention_decode");
    let [_, keys, key_width] = checks.shape("the key", key, Elem::F32)?;
    let key_width = checks.constant("the key width", &key_width, MAX_WIDTH)?;
    let value_width = checks.constant("the value width", &Dim::from(value_width), MAX_WIDTH)?;
    let splits = Tiling::of(key_width).splits(checks, symbols, &keys)?;
    let row = scratch_width(value_width);
    Ok(vec![Dim::from(heads), Dim::constant(i64::from(splits)), Dim::constant(i64::from(row))])
}

/// The sizes behind checked parameters.
struct Sizes {
    keys: Dim,
    heads: u32,
    key_heads: u32,
    /// Query heads that share a key head.
    group: u32,
    key_width: u32,
    value_width: u32,
    tiling: Tiling,
    splits: u32,
    /// The scratch in units of four.
    scratch: View,
}

impl AttentionDecodeParams {
    fn sizes(&self, checks: Checks, symbols: &Symbols) -> Result<Sizes, CodegenError> {
        let one = Dim::constant(1);
        let [_, heads, key_width] = checks.shape("the query", &self.query, Elem::F32)?;
        checks.expect("the query", &self.query, Elem::F32, &[&one, &heads, &key_width])?;
        let [key_heads, keys, _] = checks.shape("the key", &self.key, Elem::F32)?;
        checks.expect("the key", &self.key, Elem::F32, &[&key_heads, &keys, &key_width])?;
        let [_, _, value_width] = checks.shape("the value", &self.value, Elem::F32)?;
        checks.expect("the value", &self.value, Elem::F32, &[&key_heads, &keys, &value_width])?;
        checks.expect("the output", &self.output, Elem::F32, &[&one, &heads, &value_width])?;
        if let Some((gate, _)) = &self.gate {
            checks.expect("the gate", gate, Elem::F32, &[&one, &heads, &value_width])?;
        }
        let heads_dim = &heads;
        let key_width = checks.constant("the key width", &key_width, MAX_WIDTH)?;
        let value_width = checks.constant("the value width", &value_width, MAX_WIDTH)?;
        let tiling = Tiling::of(key_width);
        let splits = tiling.splits(checks, symbols, &keys)?;
        let [split_dim, row] =
            [splits, scratch_width(value_width)].map(|size| Dim::constant(i64::from(size)));
        checks.expect("the scratch", &self.scratch, Elem::F32, &[heads_dim, &split_dim, &row])?;
        let scratch = in_vec4(&self.scratch).ok_or_else(|| checks.fail("the scratch is not aligned"))?;
        let heads = checks.constant("the number of query heads", &heads, 65535)?;
        let key_heads = checks.constant("the number of key heads", &key_heads, 65535)?;
        Ok(Sizes {
            keys,
            heads,
            key_heads,
            group: checks.group(heads, key_heads)?,
            key_width,
            value_width,
            tiling,
            splits,
            scratch,
        })
    }
}

impl Sizes {
    fn scratch_width(&self) -> u32 {
        scratch_width(self.value_width)
    }

    /// `vec4`s of a value row.
    fn value_vectors(&self) -> u32 {
        self.value_width.div_ceil(4)
    }

    /// Keys of one split as WGSL: a multiple of the tile, so that splits differ by whole tiles.
    fn keys_per_split(&self, symbols: &Symbols) -> String {
        let Self { splits, tiling, .. } = self;
        let tiles = symbols.wgsl(&tiling.tiles(&self.keys));
        format!("(({tiles} + {}u) / {splits}u * {}u)", splits - 1, tiling.tile)
    }
}

#[derive(Template)]
#[template(path = "attention_partial.wgsl", escape = "none")]
struct PartialSource<'a> {
    declarations: String,
    /// Bodies of functions that read four elements.
    query: String,
    key: String,
    value: String,
    mask: Option<Mask<'a>>,
    scratch: Access<'a>,
    /// The last vector of a row of the scratch, by shared head.
    scratch_rest: Vec<String>,
    scale: String,
    keys: String,
    keys_per_split: String,
    sizes: Sizes,
    /// Query heads of one workgroup, and workgroups of a key head.
    shared: usize,
    workgroups_a_key_head: u32,
    /// Vectors of the queries.
    query_vectors: u32,
    key_lanes: u32,
    key_vectors: u32,
    value_lanes: u32,
    value_vectors: u32,
    /// Groups of invocations that share the keys when values are summed.
    groups: u32,
    /// Vectors of shared memory for partial sums.
    parts: u32,
    /// Heads whose sums are joined together.
    rounds: Vec<Range<usize>>,
    components: [&'static str; 4],
    tile: u32,
    workgroup: u32,
}

/// Scores, softmax and weighted values of one split of the context a workgroup; writes the scratch.
///
/// # Errors
/// When shapes do not fit each other, heads are too wide, or the context has no upper bound.
pub fn partial(symbols: &Symbols, params: &AttentionDecodeParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "attention_partial";
    let checks = Checks::of(FAMILY);
    let sizes = params.sizes(checks, symbols)?;
    let Tiling { lanes: key_lanes, vectors: key_vectors, tile } = sizes.tiling;
    let value_vectors = sizes.value_vectors();
    // At least one key of a tile for every group.
    let value_lanes = value_vectors.next_power_of_two().max(WORKGROUP / tile);

    let mut bindings = Bindings::new();
    let scratch = Access::new(bindings.write_as(&sizes.scratch, "vec4<f32>"), symbols);
    let operands = [&params.query, &params.key, &params.value];
    let buffers: Vec<_> =
        operands.into_iter().chain(&params.mask).chain([&params.scratch]).map(|view| view.buffer).collect();
    let alone = |view: &View| buffers.iter().filter(|buffer| **buffer == view.buffer).count() == 1;
    let [query, key, value] =
        operands.map(|view| Vector::bind(&mut bindings, view, in_vec4(view).filter(|_| alone(view))));
    let shape = [&Dim::constant(i64::from(sizes.heads)), &Dim::constant(1), &sizes.keys];
    let mask = Mask::bind(checks, symbols, &mut bindings, params.mask.as_ref(), shape)?;

    let shared = (1..=MAX_SHARED_HEADS).rev().find(|shared| sizes.group.is_multiple_of(*shared)).unwrap_or(1);
    let workgroups_a_key_head = sizes.group / shared;
    let splits = Dim::constant(i64::from(sizes.splits));
    let workgroups = [
        sizes.tiling.tiles(&sizes.keys).min_with(&splits),
        Dim::constant(i64::from(sizes.key_heads) * i64::from(workgroups_a_key_head)),
        Dim::constant(1),
    ];
    let scratch_rest = (0..shared).map(|h| scratch.at3(&format!("head_{h}"), "split", "DV4")).collect();
    let query_vectors = shared * key_lanes * key_vectors;
    let shared = usize::try_from(shared).unwrap_or(1);
    let source = PartialSource {
        declarations: bindings.declarations(),
        query: query.body(symbols, &["0u", "head"], sizes.key_width, key_lanes * key_vectors),
        key: key.body(symbols, &["head", "key"], sizes.key_width, key_lanes * key_vectors),
        value: value.body(symbols, &["head", "key"], sizes.value_width, value_lanes),
        mask,
        scratch,
        scratch_rest,
        scale: checks.literal("the scale", params.scale)?,
        keys: symbols.wgsl(&sizes.keys),
        keys_per_split: sizes.keys_per_split(symbols),
        shared,
        workgroups_a_key_head,
        query_vectors,
        key_lanes,
        key_vectors,
        value_lanes,
        value_vectors,
        groups: WORKGROUP / value_lanes,
        parts: (tile * (key_lanes + 1)).max(2 * WORKGROUP),
        rounds: (0..shared).step_by(2).map(|first| first..shared.min(first + 2)).collect(),
        components: COMPONENTS,
        sizes,
        tile,
        workgroup: WORKGROUP,
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}

#[derive(Template)]
#[template(path = "attention_combine.wgsl", escape = "none")]
struct CombineSource<'a> {
    declarations: String,
    scratch: Access<'a>,
    /// Splits of an invocation, and the vector that it reads of each.
    splits: Vec<[String; 2]>,
    gate: Option<Gate<'a>>,
    output: Access<'a>,
    /// Indices of the four columns of an invocation, and the same held to the width.
    elements: [String; 4],
    clamped: [String; 4],
    components: [&'static str; 4],
    keys: String,
    keys_per_split: String,
    sizes: Sizes,
    value_vectors: u32,
    lanes: u32,
    groups: u32,
    workgroup: u32,
}

/// Joins the splits, applies the gate, and writes the output.
///
/// # Errors
/// As [`partial`].
pub fn combine(symbols: &Symbols, params: &AttentionDecodeParams) -> Result<Kernel, CodegenError> {
    const FAMILY: &str = "attention_combine";
    let checks = Checks::of(FAMILY);
    let sizes = params.sizes(checks, symbols)?;
    let value_vectors = sizes.value_vectors();
    let lanes = value_vectors.next_power_of_two().clamp(4, MAX_COMBINE_LANES);
    let groups = WORKGROUP / lanes;

    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let scratch = Access::new(bindings.read_as(&sizes.scratch, "vec4<f32>"), symbols);
    let gate = params.gate.as_ref().map(|(view, activation)| Gate {
        view: Access::new(bindings.read(view), symbols),
        activate: activate(*activation),
    });
    let workgroups = [
        Dim::constant(i64::from(sizes.heads)),
        Dim::constant(i64::from(value_vectors.div_ceil(lanes))),
        Dim::constant(1),
    ];
    let splits = (0..sizes.splits.div_ceil(groups))
        .map(|n| format!("group + {}u", n * groups))
        .map(|split| [split.clone(), scratch.at3("head", &split, "column")])
        .collect();
    let elements = [0, 1, 2, 3].map(|i| format!("4u * column + {i}u"));
    let source = CombineSource {
        declarations: bindings.declarations(),
        scratch,
        splits,
        gate,
        output,
        clamped: elements.each_ref().map(|element| format!("min({element}, DV - 1u)")),
        elements,
        components: COMPONENTS,
        keys: symbols.wgsl(&sizes.keys),
        keys_per_split: sizes.keys_per_split(symbols),
        sizes,
        value_vectors,
        lanes,
        groups,
        workgroup: WORKGROUP,
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}
