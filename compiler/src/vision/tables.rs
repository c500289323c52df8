//! The runtime's tables for one probe: what a boundary is compared with.

use qwenc_runtime::format::VisionFacts;
use qwenc_runtime::vision::{Grid, tables};

use super::VisionError;
use super::probe::Probe;

/// Tables of one probe, with one entry for each patch, in the order of merged patches.
#[derive(Clone, Debug)]
pub(super) struct ProbeTables {
    /// Four rows of the position table.
    pub(super) taps: Vec<[usize; 4]>,
    /// Their weights.
    pub(super) weights: Vec<[f32; 4]>,
    /// The patch's row.
    pub(super) rows: Vec<usize>,
    /// The patch's column.
    pub(super) columns: Vec<usize>,
}

impl ProbeTables {
    /// The tables of a probe for a position table of `side` x `side` rows.
    pub(super) fn of(probe: &Probe, merge: u32, side: u32) -> Result<Self, VisionError> {
        let refused = |error: qwenc_runtime::vision::VisionError| VisionError::Interface(error.to_string());
        let patches = probe.height.saturating_mul(probe.width);
        // What the tables do not depend on is left at 1.
        let facts = VisionFacts {
            max_patches: patches,
            patch_values: 1,
            feature_size: 1,
            merge_size: merge,
            position_side: side,
            max_side: probe.height.max(probe.width),
            image_token: 0,
            vision_start: 0,
            vision_end: 0,
        };
        let grid = Grid::new(1, probe.height, probe.width).map_err(refused)?;
        let tables = tables(&[grid], &facts).map_err(refused)?;
        let index = |value: &i32| usize::try_from(*value).unwrap_or(usize::MAX);
        let (rows, columns) = tables.patch_positions.split_at(tables.patch_positions.len() / 2);
        Ok(Self {
            taps: tables
                .position_index
                .as_chunks::<4>()
                .0
                .iter()
                .map(|taps| taps.each_ref().map(index))
                .collect(),
            weights: tables.position_weight.as_chunks::<4>().0.to_vec(),
            rows: rows.iter().map(index).collect(),
            columns: columns.iter().map(index).collect(),
        })
    }
}
