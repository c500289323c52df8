//! Attention for one query: the context is split over workgroups ([`partial`]), whose results [`combine`] joins.

use askama::Template;
use qwenc_ir::{Activation, Dim};

use crate::attention_prefill::{Gate, Mask};
use crate::checks::{Access, Checks, render};
use crate::kernel::{Bindings, CodegenError, Kernel, Symbols};
use crate::view::{Elem, View};
use crate::wgsl_math::activate;

const WORKGROUP: u32 = 256;
/// Keys of a tile: each is shared by [`LANES`] invocations.
const TILE: u32 = 32;
const LANES: u32 = WORKGROUP / TILE;
/// Most splits of the context: with two key heads enough workgroups for a large device.
const MAX_SPLITS: u32 = 64;
/// Most query heads in one workgroup, which read the keys and values once for all.
const MAX_SHARED_HEADS: u32 = 4;
const MAX_WIDTH: u32 = 256;

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

/// Number of splits for at most as many keys as `keys` can be.
fn splits(checks: Checks, symbols: &Symbols, keys: &Dim) -> Result<u32, CodegenError> {
    let most = symbols.upper(keys).and_then(|most| u32::try_from(most).ok());
    let most = most.ok_or_else(|| checks.fail(format!("{keys} keys: the context has no upper bound")))?;
    Ok(most.div_ceil(TILE).clamp(1, MAX_SPLITS))
}

/// Shape of the scratch, for `key` `[Hkv, T, D]`, `heads` query heads and values of width `value_width`: for every head
/// and split the unnormalised output, then the split's largest score and its sum of exponentials.
///
/// # Errors
/// When the context has no upper bound.
pub fn scratch_shape(
    symbols: &Symbols,
    key: &View,
    heads: usize,
    value_width: usize,
) -> Result<Vec<Dim>, CodegenError> {
    let checks = Checks::of("attention_decode");
    let [_, keys, _] = checks.shape("the key", key, Elem::F32)?;
    let splits = splits(checks, symbols, &keys)?;
    Ok(vec![Dim::from(heads), Dim::constant(i64::from(splits)), Dim::from(value_width + 2)])
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
    splits: u32,
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
        let splits = splits(checks, symbols, &keys)?;
        let row = value_width.clone() + Dim::constant(2);
        checks.expect(
            "the scratch",
            &self.scratch,
            Elem::F32,
            &[&heads, &Dim::constant(i64::from(splits)), &row],
        )?;
        let heads = checks.constant("the number of query heads", &heads, 65535)?;
        let key_heads = checks.constant("the number of key heads", &key_heads, 65535)?;
        Ok(Sizes {
            keys,
            heads,
            key_heads,
            group: checks.group(heads, key_heads)?,
            key_width: checks.constant("the key width", &key_width, MAX_WIDTH)?,
            value_width: checks.constant("the value width", &value_width, MAX_WIDTH)?,
            splits,
        })
    }
}

impl Sizes {
    /// Invocations across the columns of a value row: a power of two, so that the others can share the keys.
    fn lanes(&self) -> u32 {
        self.value_width.next_power_of_two().max(16)
    }

    /// Keys of one split as WGSL: a multiple of the tile, so that splits differ by whole tiles.
    fn keys_per_split(&self, symbols: &Symbols) -> String {
        let tiles_of_all = self.keys.ceil_div(i64::from(TILE));
        format!("(({} + {}u) / {}u * {TILE}u)", symbols.wgsl(&tiles_of_all), self.splits - 1, self.splits)
    }
}

#[derive(Template)]
#[template(path = "attention_partial.wgsl", escape = "none")]
struct PartialSource<'a> {
    declarations: String,
    query: Access<'a>,
    key: Access<'a>,
    value: Access<'a>,
    mask: Option<Mask<'a>>,
    scratch: Access<'a>,
    scale: String,
    keys: String,
    keys_per_split: String,
    sizes: Sizes,
    /// Query heads of one workgroup, and workgroups of a key head.
    shared: u32,
    parts: u32,
    /// Invocations across a value row.
    lanes: u32,
    key_lanes: u32,
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
    let mut bindings = Bindings::new();
    let scratch = Access::new(bindings.write(&params.scratch), symbols);
    let query = Access::new(bindings.read(&params.query), symbols);
    let key = Access::new(bindings.read(&params.key), symbols);
    let value = Access::new(bindings.read(&params.value), symbols);
    let shape = [&Dim::constant(i64::from(sizes.heads)), &Dim::constant(1), &sizes.keys];
    let mask = Mask::bind(checks, symbols, &mut bindings, params.mask.as_ref(), shape)?;
    let shared = (1..=MAX_SHARED_HEADS).rev().find(|shared| sizes.group.is_multiple_of(*shared)).unwrap_or(1);
    let parts = sizes.group / shared;
    let workgroups = [
        Dim::constant(i64::from(sizes.splits)),
        Dim::constant(i64::from(sizes.key_heads) * i64::from(parts)),
        Dim::constant(1),
    ];
    let source = PartialSource {
        declarations: bindings.declarations(),
        query,
        key,
        value,
        mask,
        scratch,
        scale: checks.literal("the scale", params.scale)?,
        keys: symbols.wgsl(&sizes.keys),
        keys_per_split: sizes.keys_per_split(symbols),
        shared,
        parts,
        lanes: sizes.lanes(),
        sizes,
        key_lanes: LANES,
        tile: TILE,
        workgroup: WORKGROUP,
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}

#[derive(Template)]
#[template(path = "attention_combine.wgsl", escape = "none")]
struct CombineSource<'a> {
    declarations: String,
    scratch: Access<'a>,
    gate: Option<Gate<'a>>,
    output: Access<'a>,
    keys: String,
    keys_per_split: String,
    sizes: Sizes,
    lanes: u32,
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
    let mut bindings = Bindings::new();
    let output = Access::new(bindings.write(&params.output), symbols);
    let scratch = Access::new(bindings.read(&params.scratch), symbols);
    let gate = params.gate.as_ref().map(|(view, activation)| Gate {
        view: Access::new(bindings.read(view), symbols),
        activate: activate(*activation),
    });
    let workgroups = [Dim::constant(i64::from(sizes.heads)), Dim::constant(1), Dim::constant(1)];
    let source = CombineSource {
        declarations: bindings.declarations(),
        scratch,
        gate,
        output,
        keys: symbols.wgsl(&sizes.keys),
        keys_per_split: sizes.keys_per_split(symbols),
        lanes: sizes.lanes(),
        sizes,
        workgroup: WORKGROUP,
    };
    bindings.finish(FAMILY, symbols, render(FAMILY, &source)?, [WORKGROUP, 1, 1], workgroups)
}
