//! Cutting pixels into patches.

use super::Rgb;
use crate::vision::{Grid, merge_order};

/// A picture as a vision encoder takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Patches {
    /// Rows and columns of patches, of one frame.
    pub grid: Grid,
    /// f32 [patches, channels x frames x patch height x patch width], in merge-block order.
    pub values: Vec<f32>,
}

/// The value of each byte of each channel.
pub(super) type Normalised = [[f32; 256]; 3];

/// How patches are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) patch_size: u32,
    /// A picture stands still: its one frame is repeated this often.
    pub(super) frames: u32,
    pub(super) merge_size: u32,
}

/// Cuts a picture whose sides are whole blocks of patches.
pub(super) fn cut(picture: &Rgb, grid: Grid, how: Cut, normalised: &Normalised) -> Vec<f32> {
    let size = |value: u32| usize::try_from(value).unwrap_or(0);
    let (side, frames) = (size(how.patch_size), size(how.frames));
    let row = size(picture.width()) * 3;
    let order = merge_order(grid, how.merge_size);
    let mut values = Vec::with_capacity(order.len() * 3 * frames * side * side);
    for (patch_row, patch_column) in order {
        let top = size(patch_row) * side;
        let left = size(patch_column) * side * 3;
        for (channel, table) in normalised.iter().enumerate() {
            let start = values.len();
            for line in picture.bytes().chunks_exact(row.max(1)).skip(top).take(side) {
                let part = line.get(left..left + side * 3).unwrap_or_default();
                let bytes = part.iter().skip(channel).step_by(3);
                values.extend(bytes.map(|byte| table.get(usize::from(*byte)).copied().unwrap_or(0.0)));
            }
            let end = values.len();
            for _ in 1..frames {
                values.extend_from_within(start..end);
            }
        }
    }
    values
}
