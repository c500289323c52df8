//! Checks of buffers and of ranges in them.

use super::super::{
    Buffer, BufferId, BufferKind, FormatError, Manifest, MemoryFacts, Place, Problem, STEP_BYTES, Schedule,
};
use super::{MAX_BUFFERS, check_count, check_limit, check_name};
use crate::order::sorted;

pub(super) fn check(place: &Place, manifest: &Manifest, schedule: &Schedule) -> Result<(), FormatError> {
    check_count(place, "buffers", schedule.buffers.len(), MAX_BUFFERS)?;
    let mut steps = 0;
    for (index, buffer) in schedule.buffers.iter().enumerate() {
        let place = place.item(format_args!("buffer {index}"));
        if usize::try_from(buffer.id.0) != Ok(index) {
            return Err(place.error(Problem::BufferOrder { found: buffer.id.0 }));
        }
        check_name(&place, "buffer name", &buffer.name)?;
        let place = place.item(format_args!("buffer {index} `{}`", buffer.name));
        positive_words(&place, "the size", buffer.bytes)?;
        check_limit(&place, "the size", buffer.bytes, manifest.requirements.max_buffer_bytes)?;
        let is_weight = buffer.kind == BufferKind::Weight;
        if !is_weight && !buffer.parts.is_empty() {
            return Err(place.error(Problem::Kind("only a weight has parts")));
        }
        if (buffer.kind == BufferKind::State) != buffer.init.is_some() {
            return Err(place.error(Problem::Kind("exactly the states have an initial content")));
        }
        if is_weight {
            check_parts(&place, manifest, buffer)?;
        }
        if buffer.kind == BufferKind::Step {
            steps += 1;
            if buffer.bytes != STEP_BYTES {
                return Err(place.error(Problem::Alignment {
                    what: "the size of the step buffer",
                    value: buffer.bytes,
                    rule: "64",
                }));
            }
        }
    }
    if steps != 1 {
        return Err(place.error(Problem::Kind("there is not exactly one step buffer")));
    }
    memory(schedule).map(|_| ()).ok_or_else(|| place.error(Problem::Kind("the sum of all buffers overflows")))
}

fn check_parts(place: &Place, manifest: &Manifest, buffer: &Buffer) -> Result<(), FormatError> {
    if manifest.weights_omitted {
        return match buffer.parts.as_slice() {
            [] => Ok(()),
            _ => Err(place
                .error(Problem::Kind("a weight has parts, but the manifest says that weights are omitted"))),
        };
    }
    let mut covered = 0_u64;
    let names: Vec<(&str, &str)> =
        buffer.parts.iter().map(|part| (part.shard.as_str(), part.tensor.as_str())).collect();
    for pair in sorted(&names, |a, b| a < b).windows(2) {
        if let [a, b] = pair
            && a == b
        {
            return Err(place.error(Problem::Duplicate { what: "part", name: a.1.to_owned() }));
        }
    }
    for part in &buffer.parts {
        if !manifest.lists(&part.shard) {
            return Err(place.error(Problem::UnlistedFile { path: part.shard.clone() }));
        }
        check_name(place, "tensor name", &part.tensor)?;
        positive_words(place, "the size of a part", part.bytes)?;
        if part.at != covered {
            return Err(place.error(Problem::Coverage { covered, next: part.at, size: buffer.bytes }));
        }
        check_range(place, "a part", buffer, part.at, part.bytes)?;
        covered += part.bytes;
    }
    if covered == buffer.bytes {
        Ok(())
    } else {
        Err(place.error(Problem::Coverage { covered, next: buffer.bytes, size: buffer.bytes }))
    }
}

/// The buffer of an id.
pub(super) fn find<'a>(
    place: &Place,
    schedule: &'a Schedule,
    id: BufferId,
) -> Result<&'a Buffer, FormatError> {
    usize::try_from(id.0)
        .ok()
        .and_then(|index| schedule.buffers.get(index))
        .ok_or_else(|| place.error(Problem::NoSuchBuffer(id)))
}

/// Refuses a range that does not lie within its buffer.
pub(super) fn check_range(
    place: &Place,
    what: &'static str,
    buffer: &Buffer,
    offset: u64,
    bytes: u64,
) -> Result<(), FormatError> {
    match offset.checked_add(bytes) {
        Some(end) if end <= buffer.bytes => Ok(()),
        _ => Err(place.error(Problem::OutOfRange {
            what,
            buffer: buffer.id,
            offset,
            bytes,
            size: buffer.bytes,
        })),
    }
}

/// Refuses zero and what is not a multiple of 4.
pub(super) fn positive_words(place: &Place, what: &'static str, value: u64) -> Result<(), FormatError> {
    if value == 0 {
        return Err(place.error(Problem::Alignment { what, value, rule: "positive" }));
    }
    words(place, what, value)
}

/// Refuses what is not a multiple of 4.
pub(super) fn words(place: &Place, what: &'static str, value: u64) -> Result<(), FormatError> {
    if value.is_multiple_of(4) {
        Ok(())
    } else {
        Err(place.error(Problem::Alignment { what, value, rule: "a multiple of 4" }))
    }
}

/// Bytes of all buffers by purpose, or `None` when a sum overflows.
#[must_use]
pub fn memory(schedule: &Schedule) -> Option<MemoryFacts> {
    let mut facts = MemoryFacts::default();
    for buffer in &schedule.buffers {
        let sum = match buffer.kind {
            BufferKind::Weight => &mut facts.weight_bytes,
            BufferKind::Arena => &mut facts.arena_bytes,
            BufferKind::State => &mut facts.state_bytes,
            BufferKind::Input | BufferKind::Output | BufferKind::Step => &mut facts.io_bytes,
        };
        *sum = sum.checked_add(buffer.bytes)?;
        facts.peak_bytes = facts.peak_bytes.checked_add(buffer.bytes)?;
    }
    Some(facts)
}
