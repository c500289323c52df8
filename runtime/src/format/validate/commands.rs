//! Checks of one command.

use super::super::{
    BINDING_ALIGNMENT, Binding, BindingKind, Bounds, BufferKind, ClearBytes, Command, CopyBytes, Dispatch,
    Expr, FormatError, Manifest, Place, Problem, STEP_BYTES, Schedule,
};
use super::buffers::{check_range, find, positive_words, words};
use super::{check_limit, check_name, check_workgroups, expr_range};
use crate::order::sorted;

pub(super) fn check(
    place: &Place,
    manifest: &Manifest,
    schedule: &Schedule,
    command: &Command,
    bounds: &Bounds,
) -> Result<(), FormatError> {
    match command {
        Command::Dispatch(dispatch) => check_dispatch(place, manifest, schedule, dispatch, bounds),
        Command::Copy(copy) => check_copy(place, schedule, copy, bounds),
        Command::Clear(clear) => check_clear(place, schedule, clear),
    }
}

fn check_dispatch(
    place: &Place,
    manifest: &Manifest,
    schedule: &Schedule,
    dispatch: &Dispatch,
    bounds: &Bounds,
) -> Result<(), FormatError> {
    check_name(place, "label", &dispatch.label)?;
    let place = &place.item(format_args!("`{}`", dispatch.label));
    let pipeline = usize::try_from(dispatch.pipeline.0)
        .ok()
        .and_then(|index| schedule.pipelines.get(index))
        .ok_or_else(|| place.error(Problem::NoSuchPipeline(dispatch.pipeline)))?;
    let (found, declared) = (dispatch.bindings.len(), pipeline.bindings.len());
    if found != declared {
        return Err(place.error(Problem::BindingCount { found, declared }));
    }
    for (binding, kind) in dispatch.bindings.iter().zip(&pipeline.bindings) {
        check_binding(place, manifest, schedule, binding, *kind)?;
    }
    check_conflicts(place, &dispatch.bindings, &pipeline.bindings)?;
    check_workgroups(place, &dispatch.workgroups, bounds)
}

fn check_binding(
    place: &Place,
    manifest: &Manifest,
    schedule: &Schedule,
    binding: &Binding,
    kind: BindingKind,
) -> Result<(), FormatError> {
    let buffer = find(place, schedule, binding.buffer)?;
    let usage = |usage| place.error(Problem::Usage { buffer: buffer.id, kind: buffer.kind, usage });
    positive_words(place, "the size of a binding", binding.bytes)?;
    if !binding.offset.is_multiple_of(BINDING_ALIGNMENT) {
        let (what, rule) = ("the offset of a binding", "a multiple of 256");
        return Err(place.error(Problem::Alignment { what, value: binding.offset, rule }));
    }
    check_range(place, "a binding", buffer, binding.offset, binding.bytes)?;
    match (kind, buffer.kind) {
        (BindingKind::Uniform, BufferKind::Step) if binding.bytes == STEP_BYTES => Ok(()),
        (BindingKind::Uniform, _) => Err(usage("bound as the step uniform")),
        (_, BufferKind::Step) => Err(usage("bound as storage")),
        (BindingKind::ReadWrite, BufferKind::Weight) => Err(usage("written")),
        _ => {
            let limit = manifest.requirements.max_storage_binding_bytes;
            check_limit(place, "the size of a binding", binding.bytes, limit)
        }
    }
}

/// WebGPU's usage rules: per dispatch a buffer is either read or written, and writable ranges are disjoint.
fn check_conflicts(place: &Place, bindings: &[Binding], kinds: &[BindingKind]) -> Result<(), FormatError> {
    let of = |wanted: BindingKind| {
        bindings.iter().zip(kinds).filter(move |(_, kind)| **kind == wanted).map(|(binding, _)| binding)
    };
    let written: Vec<&Binding> = of(BindingKind::ReadWrite).collect();
    for read in of(BindingKind::Read) {
        if written.iter().any(|write| write.buffer == read.buffer) {
            return Err(place.error(Problem::ReadWriteConflict(read.buffer)));
        }
    }
    let written = sorted(&written, |a, b| a < b);
    for pair in written.windows(2) {
        if let [first, second] = pair
            && first.buffer == second.buffer
            && second.offset < first.offset + first.bytes
        {
            return Err(place.error(Problem::WriteOverlap(first.buffer)));
        }
    }
    Ok(())
}

fn check_copy(
    place: &Place,
    schedule: &Schedule,
    copy: &CopyBytes,
    bounds: &Bounds,
) -> Result<(), FormatError> {
    let src = find(place, schedule, copy.src)?;
    let dst = find(place, schedule, copy.dst)?;
    if src.id == dst.id {
        return Err(place.error(Problem::CopyWithin(src.id)));
    }
    if src.kind == BufferKind::Step {
        return Err(place.error(Problem::Usage { buffer: src.id, kind: src.kind, usage: "copied" }));
    }
    check_writable(place, dst.id, dst.kind)?;
    let bytes = largest(place, "the size of a copy", &copy.bytes, bounds)?;
    let src_offset = largest(place, "the source offset", &copy.src_offset, bounds)?;
    let dst_offset = largest(place, "the destination offset", &copy.dst_offset, bounds)?;
    check_range(place, "the source of a copy", src, src_offset, bytes)?;
    check_range(place, "the destination of a copy", dst, dst_offset, bytes)
}

/// The largest value of a byte count. Constants must be multiples of 4 here, the rest is checked in the replay.
fn largest(place: &Place, what: &'static str, expr: &Expr, bounds: &Bounds) -> Result<u64, FormatError> {
    let (low, high) = expr_range(place, what, expr, bounds)?;
    let (true, Ok(value)) = (low >= 0, u64::try_from(high)) else {
        return Err(place.error(Problem::Kind("a byte count can be negative")));
    };
    if matches!(expr, Expr::Const(_)) {
        words(place, what, value)?;
    }
    Ok(value)
}

fn check_clear(place: &Place, schedule: &Schedule, clear: &ClearBytes) -> Result<(), FormatError> {
    let buffer = find(place, schedule, clear.buffer)?;
    check_writable(place, buffer.id, buffer.kind)?;
    words(place, "the offset of a clear", clear.offset)?;
    positive_words(place, "the size of a clear", clear.bytes)?;
    check_range(place, "a clear", buffer, clear.offset, clear.bytes)
}

fn check_writable(
    place: &Place,
    buffer: super::super::BufferId,
    kind: BufferKind,
) -> Result<(), FormatError> {
    match kind {
        BufferKind::Weight | BufferKind::Step => {
            Err(place.error(Problem::Usage { buffer, kind, usage: "written" }))
        }
        BufferKind::Arena | BufferKind::State | BufferKind::Input | BufferKind::Output => Ok(()),
    }
}
