//! Rotary position embedding in its three spellings.

use qwenc_ir::op::{RopeAttrs, RopeSource};
use qwenc_ir::{DType, Dim, Op};

use super::call::Call;
use super::heads::{pack, sizes, unpack};
use super::one;
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::known::Known;
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("RotaryEmbedding", standard_rope),
    microsoft("MRotaryEmbedding", multi_axis_rope),
    microsoft("RotaryEmbedding", contrib_rope),
];

/// The tables of a rotation: `[M,R/2]` each, or `[B,S,R/2]`.
pub(super) struct Tables {
    pub(super) cos: V,
    pub(super) sin: V,
}

/// What all spellings share.
struct Rotation {
    heads: Option<usize>,
    /// 0: the whole head.
    rotary_dim: usize,
    interleaved: bool,
}

impl Rotation {
    fn of(call: &Call<'_>) -> Result<Self> {
        let size = |name: &str| -> Result<usize> {
            match call.int(name, 0)? {
                0 => Ok(0),
                _ => call.count(name),
            }
        };
        let heads = size("num_heads")?;
        Ok(Self {
            heads: (heads > 0).then_some(heads),
            rotary_dim: size("rotary_embedding_dim")?,
            interleaved: call.flag("interleaved", false)?,
        })
    }

    /// Without a stated number of heads, a packed tensor is rotated over whole heads as wide as the tables.
    fn heads(&self, b: &Builder, x: V, tables: &Tables) -> Result<Option<usize>> {
        if self.heads.is_some() || b.rank(x) != 3 {
            return Ok(self.heads);
        }
        let width = b.shape(x).last().and_then(Dim::as_usize);
        let half = b.shape(tables.cos).last().and_then(Dim::as_usize);
        match width.zip(half) {
            Some((width, half)) if half > 0 && width.is_multiple_of(2 * half) => Ok(Some(width / (2 * half))),
            _ => fault!("the number of heads in {} is not stated", b.ty(x)),
        }
    }

    fn rotary_dim(&self, b: &Builder, x: V) -> Result<usize> {
        if self.rotary_dim > 0 {
            return Ok(self.rotary_dim);
        }
        let [.., width] = sizes(b, x)?;
        match width.as_usize() {
            Some(width) => Ok(width),
            None => fault!("the width {width} of a head must be constant"),
        }
    }
}

fn only_plain(call: &Call<'_>) -> Result<()> {
    call.only_float("scale", 1.0)?;
    call.only_int("is_packed_batching", 0)
}

/// Rotates x `[B,S,H,D]`. `axes` says which row of the positions a frequency reads; one row without it.
pub(super) fn rotate(
    b: &mut Builder,
    x: V,
    tables: &Tables,
    positions: Option<V>,
    rotary_dim: usize,
    interleaved: bool,
    axes: Option<Vec<u8>>,
) -> Result<V> {
    let [batch, sequence, ..] = sizes(b, x)?;
    let half = Dim::from(rotary_dim / 2);
    let (mut cos, mut sin) = (tables.cos, tables.sin);
    let Some(positions) = positions else {
        let attrs = RopeAttrs { rotary_dim, interleaved, source: RopeSource::Direct };
        return b.apply(Op::Rope(attrs), &[x, cos, sin]);
    };
    // Tables with one row for every position, read in order: the rows are the angles.
    let rows = batch.clone() * sequence.clone();
    let counts_up = matches!(b.known(positions), Some(Known::Ramp { start, step: 1, .. }) if start.is(0));
    if axes.is_none() && counts_up && b.shape(cos) == [rows, half.clone()] && b.shape(sin) == b.shape(cos) {
        let shape = [batch, sequence, half];
        cos = b.reshape(cos, &shape)?;
        sin = b.reshape(sin, &shape)?;
        let attrs = RopeAttrs { rotary_dim, interleaved, source: RopeSource::Direct };
        return b.apply(Op::Rope(attrs), &[x, cos, sin]);
    }
    if axes.is_none() && (b.tensor(cos).is_none() || b.tensor(sin).is_none()) {
        // Tables that are computed, or given by the caller, are not packed at compile time: their rows are looked up.
        let mut shape = b.shape(positions).to_vec();
        shape.remove(0);
        let positions = b.reshape(positions, &shape)?;
        cos = b.apply(Op::Gather { axis: 0 }, &[cos, positions])?;
        sin = b.apply(Op::Gather { axis: 0 }, &[sin, positions])?;
        let attrs = RopeAttrs { rotary_dim, interleaved, source: RopeSource::Direct };
        return b.apply(Op::Rope(attrs), &[x, cos, sin]);
    }
    let axes = axes.unwrap_or_else(|| vec![0; rotary_dim / 2]);
    let attrs = RopeAttrs { rotary_dim, interleaved, source: RopeSource::Table { axes } };
    b.apply(Op::Rope(attrs), &[x, positions, cos, sin])
}

/// Positions `[B,S]` as one axis `[1,B,S]`.
fn one_axis(b: &mut Builder, positions: V) -> Result<V> {
    let mut shape = b.shape(positions).to_vec();
    shape.insert(0, Dim::constant(1));
    b.reshape(positions, &shape)
}

fn standard_rope(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let rotation = Rotation::of(call)?;
    let tables = Tables { cos: call.input(1)?, sin: call.input(2)? };
    let input = call.input(0)?;
    let heads = rotation.heads(b, input, &tables)?;
    let (x, layout) = unpack(b, input, heads)?;
    let positions = call.optional(3).map(|positions| one_axis(b, positions)).transpose()?;
    let rotary_dim = rotation.rotary_dim(b, x)?;
    let out = rotate(b, x, &tables, positions, rotary_dim, rotation.interleaved, None)?;
    one(pack(b, out, layout)?)
}

fn contrib_rope(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    only_plain(call)?;
    let rotation = Rotation::of(call)?;
    let tables = Tables { cos: call.input(2)?, sin: call.input(3)? };
    let input = call.input(0)?;
    let heads = rotation.heads(b, input, &tables)?;
    let (x, layout) = unpack(b, input, heads)?;
    let [batch, sequence, ..] = sizes(b, x)?;
    let mut positions = call.input(1)?;
    if b.rank(positions) == 1 {
        // One number: where the sequence starts.
        let start = match call.one_dim(b, 1) {
            Ok(start) => start,
            Err(_) => {
                fault!("a start position that is computed from data is not supported; give [batch, sequence]")
            }
        };
        let row = Known::Ramp { shape: vec![Dim::constant(1), sequence.clone()], start, step: 1 };
        let row = b.known_value(DType::I64, row)?;
        positions = b.expand(row, &[batch, sequence])?;
    }
    let positions = one_axis(b, positions)?;
    let rotary_dim = rotation.rotary_dim(b, x)?;
    let out = rotate(b, x, &tables, Some(positions), rotary_dim, rotation.interleaved, None)?;
    one(pack(b, out, layout)?)
}

fn multi_axis_rope(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    only_plain(call)?;
    let rotation = Rotation::of(call)?;
    let tables = Tables { cos: call.input(2)?, sin: call.input(3)? };
    let input = call.input(0)?;
    let heads = rotation.heads(b, input, &tables)?;
    let (x, layout) = unpack(b, input, heads)?;
    let rotary_dim = rotation.rotary_dim(b, x)?;
    let interleaved_sections = match call.int("mrope_layout", 0)? {
        0 => false,
        1 => true,
        other => fault!("attribute `mrope_layout` = {other} is neither 0 nor 1"),
    };
    let Some(section) = call.ints("mrope_section")? else {
        fault!("attribute `mrope_section` is missing");
    };
    let axes = section_axes(section, rotary_dim / 2, interleaved_sections)?;
    let out = rotate(b, x, &tables, Some(call.input(1)?), rotary_dim, rotation.interleaved, Some(axes))?;
    one(pack(b, out, layout)?)
}

/// For every frequency, which of the three positions (time, height, width) it rotates by.
fn section_axes(section: &[i64], half: usize, interleaved: bool) -> Result<Vec<u8>> {
    let sizes: Option<Vec<usize>> = section.iter().map(|size| usize::try_from(*size).ok()).collect();
    let Some(&[time, height, width]) = sizes.as_deref() else {
        fault!("attribute `mrope_section` {section:?} must have three sizes");
    };
    let total = time.checked_add(height).and_then(|sum| sum.checked_add(width));
    if total != Some(half) {
        fault!("attribute `mrope_section` {section:?} does not sum to {half} frequencies");
    }
    let axis = |slot: usize| {
        if !interleaved {
            return u8::from(slot >= time) + u8::from(slot >= time + height);
        }
        match slot % 3 {
            1 if slot < 3 * height => 1,
            2 if slot < 3 * width => 2,
            _ => 0,
        }
    };
    Ok((0..half).map(axis).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_of_frequencies() {
        assert_eq!(section_axes(&[2, 1, 1], 4, false).unwrap(), [0, 0, 1, 2]);
        let qwen = section_axes(&[11, 11, 10], 32, true).unwrap();
        let count = |axis: u8| qwen.iter().filter(|a| **a == axis).count();
        assert_eq!((count(0), count(1), count(2)), (11, 11, 10));
        assert_eq!(qwen[..4], [0, 1, 2, 0]);
        assert_eq!(qwen[30..], [0, 1]);
        assert!(section_axes(&[2, 1], 3, false).is_err());
        assert!(section_axes(&[i64::MAX, 1, 1], 3, false).is_err());
    }
}
