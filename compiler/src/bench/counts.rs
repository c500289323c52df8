//! What a schedule costs, by counting.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_runtime::format::{Binding, BufferKind, Command, Entry, Manifest, Schedule};
use qwenc_runtime::session::{DECODE, SAMPLE};
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

impl Counts {
    /// What a token costs that is decoded and chosen on the device: `decode` and `sample` together.
    #[must_use]
    pub fn token(&self) -> EntryCounts {
        let entries = [DECODE, SAMPLE].map(|name| self.entries.get(name));
        entries.into_iter().flatten().fold(EntryCounts::default(), |sum, entry| EntryCounts {
            dispatches: sum.dispatches + entry.dispatches,
            copies: sum.copies + entry.copies,
            weight_bytes: sum.weight_bytes + entry.weight_bytes,
            state_bytes: sum.state_bytes + entry.state_bytes,
        })
    }
}

/// What one replay costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryCounts {
    /// Dispatches.
    pub dispatches: usize,
    /// Copies and clears, each of which ends a compute pass.
    pub copies: usize,
    /// Bytes of weights that are bound, each range once however often it is bound.
    pub weight_bytes: u64,
    /// Bytes of states that are bound, in the same way: caches whole, of which a step reads what the context fills.
    #[serde(default)]
    pub state_bytes: u64,
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
    let mut bound: BTreeSet<Binding> = BTreeSet::new();
    let mut dispatches = 0;
    for command in &entry.commands {
        if let Command::Dispatch(dispatch) = command {
            dispatches += 1;
            bound.extend(dispatch.bindings.iter().copied());
        }
    }
    let bytes = |kind| bound.iter().filter(|range| is(schedule, range, kind)).map(|range| range.bytes).sum();
    EntryCounts {
        dispatches,
        copies: entry.commands.len() - dispatches,
        weight_bytes: bytes(BufferKind::Weight),
        state_bytes: bytes(BufferKind::State),
    }
}

/// Whether a range is of weights.
pub(super) fn is_weight(schedule: &Schedule, range: &Binding) -> bool {
    is(schedule, range, BufferKind::Weight)
}

fn is(schedule: &Schedule, range: &Binding, kind: BufferKind) -> bool {
    let buffer = usize::try_from(range.buffer.0).ok().and_then(|at| schedule.buffers.get(at));
    buffer.is_some_and(|buffer| buffer.kind == kind)
}
