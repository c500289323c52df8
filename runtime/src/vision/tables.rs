//! The tables that entry point `vision` reads beside the pixels.
//!
//! A picture of any shape uses one learned table of `position_side` x `position_side` positions: patch row `i` of `h`
//! stands at `i * (side - 1) / (h - 1)` in it (corners aligned), and takes the mean of the four entries around that place,
//! weighted by distance. Everything is computed in `f32` with the reference's operations in the reference's order
//! (transformers' `get_vision_interpolation_indices_and_weights`), so that the numbers are equal, not close.

use super::{Grid, VisionError};
use crate::format::VisionFacts;

/// Host inputs of entry point `vision` for some pictures, whose patches follow one another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VisionTables {
    /// i32 [patches, 4]: taps into the flat position table: (row, column), (row, next), (next, column), (next, next).
    pub position_index: Vec<i32>,
    /// f32 [patches, 4]: their weights.
    pub position_weight: Vec<f32>,
    /// i32 [2, patches]: the rows of all patches, then their columns.
    pub patch_positions: Vec<i32>,
    /// i32 [patches, 2]: a patch attends to the patches `start <= j < end` of its own frame.
    pub segments: Vec<i32>,
}

/// Computes the tables of some pictures, in merge-block order.
///
/// # Errors
/// What [`Grid::check`] says of one grid, and [`VisionError::TooManyPatches`] when all together are too many.
pub fn tables(grids: &[Grid], facts: &VisionFacts) -> Result<VisionTables, VisionError> {
    let max_patches = facts.max_patches;
    let mut patches = 0_u64;
    for grid in grids {
        grid.check(facts)?;
        patches = patches.saturating_add(grid.patches());
        if patches > max_patches.into() {
            return Err(VisionError::TooManyPatches { patches, max_patches });
        }
    }
    let side = facts.position_side;
    if side == 0 || side > MAX_POSITION_SIDE || i32::try_from(patches).is_err() {
        return Err(VisionError::Facts("the position table has no side, or patches go beyond 31 bits"));
    }
    let count = usize::try_from(patches).unwrap_or(0);
    let mut out = VisionTables {
        position_index: Vec::with_capacity(count * 4),
        position_weight: Vec::with_capacity(count * 4),
        patch_positions: Vec::with_capacity(count * 2),
        segments: Vec::with_capacity(count * 2),
    };
    let mut columns = Vec::with_capacity(count);
    let mut start = 0_i32;
    for grid in grids {
        let rows = taps(grid.h(), side);
        let cols = taps(grid.w(), side);
        let order = merge_order(*grid, facts.merge_size);
        // At most `patches`, which fits.
        let frame = i32::try_from(order.len()).unwrap_or(i32::MAX);
        for _ in 0..grid.t() {
            let end = start.saturating_add(frame);
            for (row, column) in &order {
                let (Some(y), Some(x)) = (at(&rows, *row), at(&cols, *column)) else { continue };
                for (tap, weight) in y {
                    out.position_index.extend(x.map(|(column, _)| tap * side.cast_signed() + column));
                    out.position_weight.extend(x.map(|(_, other)| weight * other));
                }
                out.patch_positions.push(row.cast_signed());
                columns.push(column.cast_signed());
                out.segments.extend([start, end]);
            }
            start = end;
        }
    }
    out.patch_positions.append(&mut columns);
    Ok(out)
}

/// A side whose square fits 31 bits.
const MAX_POSITION_SIDE: u32 = 32_768;

/// Row and column of each patch of a frame, in merge-block order.
pub(crate) fn merge_order(grid: Grid, merge_size: u32) -> Vec<(u32, u32)> {
    let merge = merge_size.max(1);
    let mut order = Vec::new();
    for block_row in 0..grid.h() / merge {
        for block_column in 0..grid.w() / merge {
            for row in 0..merge {
                order.extend((0..merge).map(|c| (block_row * merge + row, block_column * merge + c)));
            }
        }
    }
    order
}

/// For each of `size` places along an axis: the two nearest entries of `side`, with weights.
fn taps(size: u32, side: u32) -> Vec<[(i32, f32); 2]> {
    let last = side.saturating_sub(1).cast_signed();
    // A single row stands at the first entry: 0 / 1.
    let steps = size.saturating_sub(1).max(1);
    (0..size)
        .map(|index| {
            let source = exact(index) * exact(side.saturating_sub(1)) / exact(steps);
            let floor = source.floor();
            let first = to_index(floor);
            let weight = |offset: f32| (1.0 - (source - floor - offset).abs()).max(0.0);
            [(first.min(last), weight(0.0)), (first.saturating_add(1).min(last), weight(1.0))]
        })
        .collect()
}

fn at<T: Copy>(values: &[T], index: u32) -> Option<T> {
    values.get(usize::try_from(index).ok()?).copied()
}

/// Sides are at most 2^20, which an `f32` holds exactly.
fn exact(value: u32) -> f32 {
    value as f32
}

/// A floored, non-negative number below the side of the position table.
#[expect(clippy::cast_possible_truncation, reason = "a small whole number")]
fn to_index(value: f32) -> i32 {
    value as i32
}
