//! How a matrix-vector kernel divides its work among invocations.

use crate::kernel::limits;
use crate::linear::Layer;
use crate::weight::WeightFormat;

/// Units that a lane loads ahead: they wait in registers.
const MOST_AHEAD: u32 = 16;

/// Lanes for a renderer on a CPU: those of its widest registers.
const SOFTWARE_LANES: u32 = 8;

/// How a workgroup divides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Lanes that share one dot product, a power of two.
    pub lanes: u32,
    /// Groups of lanes in a workgroup.
    pub groups: u32,
    /// Outputs of a group; at most `lanes`.
    pub rows: u32,
    /// Units of the weight that a lane reads of each row in one turn of the loop.
    pub unroll: u32,
    /// Whether x goes through workgroup memory. A lane reads whole units, so that the lanes' vectors of x lie as far apart
    /// as units are long, in as many cache lines. In workgroup memory vectors that are read together lie side by side,
    /// and the norm is applied once for all groups.
    pub stage: bool,
}

impl Geometry {
    /// For rows of `units` units of the weight.
    pub(crate) fn choose(format: WeightFormat, units: u32, layer: &Layer, norm: Norm) -> Self {
        let (n, per_output) = (layer.n, layer.per_output);
        // Few outputs want many lanes each, to keep the whole device busy; many outputs want rows that share x.
        let lanes = if n < 2048 { 64 } else { 32 };
        let lanes = lanes.min(units.next_power_of_two()).max(4);
        if norm == Norm::Parts {
            // x is put in place in any case: what its parts are multiplied by differs.
            let unroll = (units / lanes).clamp(1, 4);
            return Self { lanes, groups: 256 / lanes, rows: 1, unroll, stage: true };
        }
        if format == WeightFormat::F32 {
            let rows = if n >= 16384 && per_output == 1 { 2 } else { 1 };
            return Self { lanes, groups: 128 / lanes, rows, unroll: 4, stage: false };
        }
        // The smaller the weight, the larger the part of x in what is read: more rows share it. Rows have few units, so
        // that the loop is unrolled only as far as they go.
        let rows = match (n, per_output) {
            (16384.., 1) => 4,
            (4096.., 1) | (16384.., _) => 2,
            _ => 1,
        };
        let unroll = (units / lanes).clamp(1, 4);
        // The more outputs a workgroup makes, the less it matters that it reads all of x first.
        let size = 256;
        let sums = (rows * per_output + u32::from(norm == Norm::Whole)) * size * 4;
        let staged = units.saturating_mul(format.unit_vectors() * 16).saturating_add(sums);
        let stage = matches!(format, WeightFormat::Quantized(_)) && staged <= limits::WORKGROUP_BYTES;
        Self { lanes, groups: if stage { size } else { 128 } / lanes, rows, unroll, stage }
    }

    /// Turns of all lanes for rows of `units` units, when the weights of all of them can be loaded ahead.
    pub(crate) fn ahead(self, units: u32, accs: u32) -> u32 {
        let turns = units.div_ceil(self.lanes);
        if self.stage && turns.saturating_mul(accs) <= MOST_AHEAD { turns } else { 0 }
    }

    pub(crate) const fn size(self) -> u32 {
        self.lanes * self.groups
    }

    /// The same outputs by eight lanes, which share x: for renderers on a CPU. There a lane is a part of a processor's register,
    /// loads cost as much as what is done with them, and a workgroup runs on one thread, so that all it does together is to add up.
    pub(crate) fn software(self, per_output: u32, norm: Norm) -> Option<Self> {
        let lanes = SOFTWARE_LANES.min(self.lanes);
        let rows = (self.groups * self.rows).min(lanes / per_output);
        let groups = self.groups * self.rows / rows;
        // Parts of x are put in place by all lanes, each of them a few vectors.
        (norm != Norm::Parts).then_some(Self { lanes, groups, rows, unroll: 1, stage: false })
    }

    /// The same outputs with a quarter of the lanes: less to sum and to wait for, less of the device at work. For devices that
    /// run few invocations at a time.
    pub(crate) fn narrow(self) -> Option<Self> {
        (self.lanes >= 16).then_some(Self { lanes: self.lanes / 4, ..self })
    }
}

/// What stands in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Norm {
    None,
    /// Over all of x, without a gate: one factor of every dot product.
    Whole,
    /// Over parts of x, or with a gate.
    Parts,
}
