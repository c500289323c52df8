//! Rotary position embedding.

use super::eval::{Args, OpError, Result};
use super::host::Data;
use super::scalar::round;
use crate::op::{RopeAttrs, RopeSource};

/// Cosines and sines `[B*S, R/2]`, one row a position.
#[derive(Clone, Debug)]
pub(super) struct Angles {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    /// Reads the angles from the inputs at `slots`: (cos, sin) or (positions, cos, sin).
    pub(super) fn read(attrs: &RopeAttrs, args: Args<'_>, slots: [usize; 3]) -> Result<Self> {
        let half = attrs.rotary_dim / 2;
        let RopeSource::Table { axes } = &attrs.source else {
            let (cos, sin) = (args.floats(slots[0])?.to_vec(), args.floats(slots[1])?.to_vec());
            return Ok(Self { half, cos, sin });
        };
        let positions = args.ints(slots[0])?;
        let (cos_table, sin_table) = (args.floats(slots[1])?, args.floats(slots[2])?);
        let rows = args.need(slots[1])?.shape().first().copied().unwrap_or(0);
        // Positions are [A, B*S]: one row of positions for each axis.
        let count: usize = args.need(slots[0])?.shape().iter().skip(1).product();
        let (mut cos, mut sin) = (Vec::with_capacity(count * half), Vec::with_capacity(count * half));
        for at in 0..count {
            for (slot, axis) in axes.iter().enumerate() {
                let position = positions[usize::from(*axis) * count + at];
                let row = usize::try_from(position)
                    .ok()
                    .filter(|row| *row < rows)
                    .ok_or(OpError::OutOfRange { index: position, size: rows })?;
                cos.push(cos_table[row * half + slot]);
                sin.push(sin_table[row * half + slot]);
            }
        }
        Ok(Self { half, cos, sin })
    }

    /// Rotates x `[B,S,H,D]` in place; `positions` is B*S.
    pub(super) fn rotate(&self, x: &mut [f32], shape: &[usize], interleaved: bool) {
        let [_, _, heads, width] = shape else {
            return;
        };
        for (row, head) in x.chunks_mut((*width).max(1)).enumerate() {
            let at = row / heads.max(&1) * self.half;
            for slot in 0..self.half {
                let (first, second) =
                    if interleaved { (2 * slot, 2 * slot + 1) } else { (slot, slot + self.half) };
                let (cos, sin) = (f64::from(self.cos[at + slot]), f64::from(self.sin[at + slot]));
                let (a, b) = (f64::from(head[first]), f64::from(head[second]));
                head[first] = round(a * cos - b * sin);
                head[second] = round(b * cos + a * sin);
            }
        }
    }
}

pub(super) fn rope(attrs: &RopeAttrs, args: Args<'_>) -> Result<Data> {
    let mut x = args.floats(0)?.to_vec();
    Angles::read(attrs, args, [1, 2, 3])?.rotate(&mut x, args.need(0)?.shape(), attrs.interleaved);
    Ok(Data::F32(x))
}
