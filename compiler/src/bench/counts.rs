//! What a schedule costs, by counting.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_runtime::format::{Binding, BufferKind, Command, Entry, Manifest, Schedule};
use serde::{Deserialize, Serialize};

/// What a bundle costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Compute pipelines.
    pub pipelines: usize,
    /// Bytes of weights on the device.
    pub weight_bytes: u64,
    /// Bytes of states.
    pub state_bytes: u64,
    /// Bytes of temporaries.
    pub arena_bytes: u64,
    /// Bytes of all buffers.
    pub peak_bytes: u64,
    /// By entry point.
    pub entries: BTreeMap<String, EntryCounts>,
}

/// What one replay costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryCounts {
    /// Dispatches.
    pub dispatches: usize,
    /// Copies and clears, each of which ends a compute pass.
    pub copies: usize,
    /// Bytes of weights that are bound, each range once however often it is bound.
    pub weight_bytes: u64,
}

/// Counts.
#[must_use]
pub fn count(manifest: &Manifest, schedule: &Schedule) -> Counts {
    let memory = &manifest.memory;
    let entries = schedule.entries.iter().map(|(name, entry)| (name.clone(), count_entry(entry, schedule)));
    Counts {
        pipelines: schedule.pipelines.len(),
        weight_bytes: memory.weight_bytes,
        state_bytes: memory.state_bytes,
        arena_bytes: memory.arena_bytes,
        peak_bytes: memory.peak_bytes,
        entries: entries.collect(),
    }
}

fn count_entry(entry: &Entry, schedule: &Schedule) -> EntryCounts {
    let mut weights: BTreeSet<Binding> = BTreeSet::new();
    let mut dispatches = 0;
    for command in &entry.commands {
        if let Command::Dispatch(dispatch) = command {
            dispatches += 1;
            weights.extend(dispatch.bindings.iter().filter(|range| is_weight(schedule, range)).copied());
        }
    }
    EntryCounts {
        dispatches,
        copies: entry.commands.len() - dispatches,
        weight_bytes: weights.iter().map(|range| range.bytes).sum(),
    }
}

/// Whether a range is of weights.
pub(super) fn is_weight(schedule: &Schedule, range: &Binding) -> bool {
    let buffer = usize::try_from(range.buffer.0).ok().and_then(|at| schedule.buffers.get(at));
    buffer.is_some_and(|buffer| buffer.kind == BufferKind::Weight)
}
