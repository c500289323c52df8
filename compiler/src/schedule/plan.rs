//! The memory plan: where every temporary of an entry point lives, and when.
//!
//! Temporaries share a few *slabs* (device buffers). WebGPU tracks usage per buffer: within one dispatch a buffer is
//! either read or written, never both. So temporaries are first coloured, such that what a launch writes never shares a
//! slab with what it reads; within a slab, those that are alive at different times then share addresses.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_codegen_wgsl::{BufferKey, Symbols};

use crate::lower::{BufferRole, LowerError, Lowered};

/// Offsets of storage bindings are multiples of this on every WebGPU device.
pub const ALIGNMENT: u64 = 256;

/// Where a temporary lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Which slab.
    pub slab: usize,
    /// First byte.
    pub offset: u64,
    /// Bytes, the largest that symbols' bounds allow.
    pub bytes: u64,
}

/// The plan of one entry point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Placements of temporaries that are used.
    pub placements: BTreeMap<BufferKey, Placement>,
    /// Bytes of each slab.
    pub slabs: Vec<u64>,
}

/// First and last launch that touches a temporary.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    first: usize,
    last: usize,
}

impl Lifetime {
    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Bytes of a logical buffer at the upper bounds of symbols, a multiple of 4 and never 0 (WebGPU has no empty binding).
pub fn buffer_bytes(lowered: &Lowered, key: BufferKey, symbols: &Symbols) -> Result<u64, LowerError> {
    let buffer = lowered
        .buffers
        .get(key.0 as usize)
        .ok_or_else(|| LowerError::graph(format!("{key:?} is no buffer of entry `{}`", lowered.entry)))?;
    symbols
        .upper(&buffer.elements)
        .and_then(|elements| u64::try_from(elements).ok())
        .and_then(|elements| elements.max(1).checked_mul(4))
        .ok_or_else(|| LowerError::graph(format!("a buffer of {} elements has no bound", buffer.elements)))
}

/// Plans the temporaries of an entry point.
pub fn plan(lowered: &Lowered, symbols: &Symbols) -> Result<MemoryPlan, LowerError> {
    let is_temp = |key: &BufferKey| {
        lowered.buffers.get(key.0 as usize).is_some_and(|buffer| matches!(buffer.role, BufferRole::Temp))
    };
    let mut lifetimes: BTreeMap<BufferKey, Lifetime> = BTreeMap::new();
    let mut conflicts: BTreeMap<BufferKey, BTreeSet<BufferKey>> = BTreeMap::new();
    for (at, launch) in lowered.launches.iter().enumerate() {
        let kernel = &launch.kernel;
        for key in kernel.reads.iter().chain(&kernel.writes).filter(|key| is_temp(key)) {
            lifetimes.entry(*key).or_insert(Lifetime { first: at, last: at }).last = at;
        }
        for write in kernel.writes.iter().filter(|key| is_temp(key)) {
            for read in kernel.reads.iter().filter(|key| is_temp(key)) {
                conflicts.entry(*write).or_default().insert(*read);
                conflicts.entry(*read).or_default().insert(*write);
            }
        }
    }
    // In order of first use: the classic linear scan, which for a chain of layers is close to optimal.
    let mut order: Vec<(BufferKey, Lifetime)> = lifetimes.into_iter().collect();
    order.sort_by_key(|(key, life)| (life.first, *key));

    let mut plan = MemoryPlan::default();
    let mut placed: Vec<(BufferKey, Lifetime)> = Vec::new();
    for (key, life) in order {
        let bytes = buffer_bytes(lowered, key, symbols)?;
        let slab = colour(&plan, conflicts.get(&key));
        let offset = lowest_gap(&plan, &placed, slab, life, bytes);
        if plan.slabs.len() <= slab {
            plan.slabs.resize(slab + 1, 0);
        }
        plan.slabs[slab] = plan.slabs[slab].max((offset + bytes).next_multiple_of(ALIGNMENT));
        plan.placements.insert(key, Placement { slab, offset, bytes });
        placed.push((key, life));
    }
    Ok(plan)
}

/// The first slab that no conflicting temporary is in.
fn colour(plan: &MemoryPlan, conflicts: Option<&BTreeSet<BufferKey>>) -> usize {
    let taken: BTreeSet<usize> = conflicts
        .into_iter()
        .flatten()
        .filter_map(|key| plan.placements.get(key))
        .map(|place| place.slab)
        .collect();
    (0..).find(|slab| !taken.contains(slab)).unwrap_or(0)
}

/// The lowest offset in a slab that no temporary alive at the same time covers.
fn lowest_gap(
    plan: &MemoryPlan,
    placed: &[(BufferKey, Lifetime)],
    slab: usize,
    life: Lifetime,
    bytes: u64,
) -> u64 {
    let mut busy: Vec<(u64, u64)> = placed
        .iter()
        .filter(|(_, other)| other.overlaps(life))
        .filter_map(|(key, _)| plan.placements.get(key))
        .filter(|place| place.slab == slab)
        .map(|place| (place.offset, (place.offset + place.bytes).next_multiple_of(ALIGNMENT)))
        .collect();
    busy.sort_unstable();
    let mut offset = 0;
    for (start, end) in busy {
        if offset + bytes <= start {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use qwenc_codegen_wgsl::{Elem, Kernel};
    use qwenc_ir::Dim;

    use super::*;
    use crate::lower::{Buffer, Launch};

    fn lowered(temps: usize, launches: &[(&[u32], &[u32])]) -> Lowered {
        let keys = |list: &[u32]| list.iter().copied().map(BufferKey).collect();
        Lowered {
            entry: "test".into(),
            launches: launches
                .iter()
                .map(|(reads, writes)| Launch {
                    label: String::new(),
                    kernel: Kernel {
                        family: "test",
                        source: String::new(),
                        variants: vec![],
                        cpu: None,
                        reads: keys(reads),
                        writes: keys(writes),
                        workgroup_size: [1; 3],
                        workgroups: [Dim::constant(1), Dim::constant(1), Dim::constant(1)],
                    },
                })
                .collect(),
            buffers: (0..temps)
                .map(|_| Buffer {
                    role: BufferRole::Temp,
                    elem: Elem::F32,
                    elements: Dim::sym("tokens") * Dim::constant(3),
                })
                .collect(),
            inputs: vec![],
            outputs: vec![],
        }
    }

    fn symbols() -> Symbols {
        Symbols::new([("tokens".to_string(), (1, 100))])
    }

    #[test]
    fn a_chain_needs_two_slabs_of_one_buffer() {
        let chain: Vec<(Vec<u32>, Vec<u32>)> = (0..6).map(|i| (vec![i], vec![i + 1])).collect();
        let chain: Vec<(&[u32], &[u32])> = chain.iter().map(|(r, w)| (r.as_slice(), w.as_slice())).collect();
        let plan = plan(&lowered(7, &chain), &symbols()).unwrap();
        assert_eq!(plan.slabs, [1280, 1280]);
    }

    #[test]
    fn nothing_alive_overlaps_and_no_launch_mixes_modes() {
        let launches: &[(&[u32], &[u32])] =
            &[(&[], &[0]), (&[0], &[1, 2]), (&[1], &[3]), (&[0, 3], &[4]), (&[2, 4], &[5]), (&[5, 0], &[6])];
        let lowered = lowered(7, launches);
        let plan = plan(&lowered, &symbols()).unwrap();
        for (reads, writes) in launches {
            for write in *writes {
                let place = plan.placements[&BufferKey(*write)];
                assert!(reads.iter().all(|read| plan.placements[&BufferKey(*read)].slab != place.slab));
            }
        }
        // 0 lives to the end: nobody may share its bytes.
        let zero = plan.placements[&BufferKey(0)];
        for key in 1..7 {
            let other = plan.placements[&BufferKey(key)];
            assert!(other.slab != zero.slab || other.offset >= zero.offset + zero.bytes);
        }
    }
}
