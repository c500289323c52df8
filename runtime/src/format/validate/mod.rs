//! The checks that stand between a bundle's JSON and the GPU.
//!
//! After [`validate`] every id exists, every range lies within its buffer, no dispatch can conflict with itself, and no
//! expression can fail or exceed a limit, whatever the symbols' values within their bounds. What depends on the device
//! (are its limits at least the bundle's requirements?) and on file contents (hashes, tensors of shards) is checked at
//! load.

mod buffers;
mod commands;
mod manifest;

use super::{
    BASELINE, Bounds, Entry, Expr, FORMAT_VERSION, FormatError, MAX_SYMBOLS, MAX_WORKGROUPS, Manifest, Place,
    Problem, SCHEDULE_FILE, Schedule, TensorSlot,
};

pub use buffers::memory;

use crate::printable::{is_printable, printable};

const MAX_BUFFERS: usize = 1 << 16;
const MAX_PIPELINES: usize = 1 << 12;
const MAX_VARIANTS: usize = 16;
const MAX_ENTRIES: usize = 64;
const MAX_COMMANDS: usize = 1 << 18;
const MAX_SLOTS: usize = 1 << 12;
const MAX_RANK: usize = 8;
const MAX_NAME: usize = 512;

/// Checks a manifest and a schedule, each alone and against each other.
///
/// # Errors
/// The first problem, with the file, the entry point and the command it is in.
pub fn validate(manifest: &Manifest, schedule: &Schedule) -> Result<(), FormatError> {
    manifest::check(manifest)?;
    let place = Place::file(SCHEDULE_FILE);
    check_version(&place, schedule.version)?;
    check_symbols(&place, schedule)?;
    buffers::check(&place, manifest, schedule)?;
    check_pipelines(&place, manifest, schedule)?;
    check_count(&place, "entry points", schedule.entries.len(), MAX_ENTRIES)?;
    for (name, entry) in &schedule.entries {
        let place = Place { entry: Some(name.clone()), ..place.clone() };
        check_entry(&place, name, manifest, schedule, entry)?;
    }
    manifest::check_agreement(manifest, schedule)
}

/// Inclusive bounds of the schedule's symbols.
#[must_use]
pub fn bounds(schedule: &Schedule) -> Bounds {
    let mut bounds = Bounds::new();
    for symbol in &schedule.symbols {
        bounds.insert(symbol.name.clone(), (i64::from(symbol.min), i64::from(symbol.max)));
    }
    bounds
}

fn check_version(place: &Place, found: u32) -> Result<(), FormatError> {
    if found == FORMAT_VERSION {
        Ok(())
    } else {
        Err(place.error(Problem::Version { found, supported: FORMAT_VERSION }))
    }
}

fn check_count(place: &Place, what: &'static str, count: usize, max: usize) -> Result<(), FormatError> {
    if count <= max { Ok(()) } else { Err(place.error(Problem::TooMany { what, count, max })) }
}

/// Names that people read: not empty, not endless, nothing that plays with a terminal.
fn check_name(place: &Place, what: &'static str, name: &str) -> Result<(), FormatError> {
    if !name.is_empty() && name.len() <= MAX_NAME && is_printable(name) {
        Ok(())
    } else {
        Err(place.error(Problem::Name { what, name: printable(name, 40) }))
    }
}

/// Names that stand in expressions and shaders.
fn check_identifier(place: &Place, what: &'static str, name: &str) -> Result<(), FormatError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(word) {
        Ok(())
    } else {
        Err(place.error(Problem::Name { what, name: printable(name, 40) }))
    }
}

fn check_symbols(place: &Place, schedule: &Schedule) -> Result<(), FormatError> {
    check_count(place, "symbols", schedule.symbols.len(), MAX_SYMBOLS)?;
    for (at, symbol) in schedule.symbols.iter().enumerate() {
        check_identifier(place, "symbol name", &symbol.name)?;
        if schedule.symbols.iter().take(at).any(|other| other.name == symbol.name) {
            return Err(place.error(Problem::Duplicate { what: "symbol", name: symbol.name.clone() }));
        }
        if symbol.min > symbol.max {
            let (name, min, max) = (symbol.name.clone(), symbol.min, symbol.max);
            return Err(place.error(Problem::SymbolRange { name, min, max }));
        }
    }
    Ok(())
}

fn check_pipelines(place: &Place, manifest: &Manifest, schedule: &Schedule) -> Result<(), FormatError> {
    use super::BindingKind::{Read, ReadWrite, Uniform};
    check_count(place, "pipelines", schedule.pipelines.len(), MAX_PIPELINES)?;
    for (index, pipeline) in schedule.pipelines.iter().enumerate() {
        let place = place.item(format_args!("pipeline {index}"));
        let variants = &pipeline.variants;
        check_count(&place, "variants", variants.len(), MAX_VARIANTS)?;
        for (at, variant) in variants.iter().enumerate() {
            check_identifier(&place, "name of a variant", &variant.name)?;
            let earlier = variants.iter().take(at).any(|other| other.name == variant.name);
            if earlier || variant.name == BASELINE {
                return Err(place.error(Problem::Duplicate { what: "variant", name: variant.name.clone() }));
            }
        }
        let modules = variants.iter().map(|variant| (&variant.shader, variant.workgroup_size));
        let modules = modules.chain([(&pipeline.shader, pipeline.workgroup_size)]);
        for (path, size) in modules {
            if !manifest.lists(path) {
                return Err(place.error(Problem::UnlistedFile { path: path.clone() }));
            }
            check_workgroup(&place, manifest, size)?;
        }
        check_identifier(&place, "shader entry point", &pipeline.entry)?;
        let storage = match pipeline.bindings.as_slice() {
            [Uniform, storage @ ..] if storage.iter().all(|kind| matches!(kind, Read | ReadWrite)) => storage,
            _ => {
                return Err(
                    place.error(Problem::Kind("the bindings are not one uniform, then storage buffers"))
                );
            }
        };
        let needs = &manifest.requirements;
        let count = u64::try_from(storage.len()).unwrap_or(u64::MAX);
        check_limit(
            &place,
            "the number of storage buffers",
            count,
            needs.max_storage_buffers_per_stage.into(),
        )?;
    }
    Ok(())
}

fn check_workgroup(place: &Place, manifest: &Manifest, size: [u32; 3]) -> Result<(), FormatError> {
    let product = size.iter().try_fold(1_u64, |n, s| n.checked_mul((*s).into()));
    match product {
        Some(1..) => {}
        _ => return Err(place.error(Problem::Kind("the workgroup has no invocations"))),
    }
    let most = manifest.requirements.max_invocations.into();
    check_limit(place, "the workgroup size", product.unwrap_or(u64::MAX), most)
}

fn check_limit(place: &Place, what: &'static str, value: u64, limit: u64) -> Result<(), FormatError> {
    if value <= limit { Ok(()) } else { Err(place.error(Problem::Limit { what, value, limit })) }
}

fn check_entry(
    place: &Place,
    name: &str,
    manifest: &Manifest,
    schedule: &Schedule,
    entry: &Entry,
) -> Result<(), FormatError> {
    check_identifier(place, "entry point name", name)?;
    let all = bounds(schedule);
    let mut bounds = Bounds::new();
    for symbol in &entry.symbols {
        let range =
            all.get(symbol).ok_or_else(|| place.error(Problem::UndeclaredSymbol { name: symbol.clone() }))?;
        if bounds.insert(symbol.clone(), *range).is_some() {
            return Err(place.error(Problem::Duplicate { what: "symbol", name: symbol.clone() }));
        }
    }
    check_count(place, "constraints", entry.constraints.len(), MAX_SLOTS)?;
    for constraint in &entry.constraints {
        expr_range(place, "a constraint", &constraint.expr, &bounds)?;
    }
    let slots = [("input", &entry.inputs), ("output", &entry.outputs)];
    for (what, slots) in slots {
        check_count(place, "inputs or outputs", slots.len(), MAX_SLOTS)?;
        for (name, slot) in slots {
            let place = place.item(format_args!("{what} `{name}`"));
            check_name(&place, "tensor name", name)?;
            check_slot(&place, schedule, slot, &bounds)?;
        }
    }
    for (name, slot) in &entry.inputs {
        let kind = buffers::find(place, schedule, slot.buffer)?.kind;
        if !matches!(kind, super::BufferKind::Input | super::BufferKind::Arena) {
            let place = place.item(format_args!("input `{name}`"));
            return Err(place.error(Problem::Usage { buffer: slot.buffer, kind, usage: "an input" }));
        }
    }
    check_count(place, "commands", entry.commands.len(), MAX_COMMANDS)?;
    for (index, command) in entry.commands.iter().enumerate() {
        let place = Place { command: Some(index), ..place.clone() };
        commands::check(&place, manifest, schedule, command, &bounds)?;
    }
    Ok(())
}

fn check_slot(
    place: &Place,
    schedule: &Schedule,
    slot: &TensorSlot,
    bounds: &Bounds,
) -> Result<(), FormatError> {
    let buffer = buffers::find(place, schedule, slot.buffer)?;
    check_count(place, "axes", slot.shape.len(), MAX_RANK)?;
    let mut bytes = slot.dtype.bytes();
    for dim in &slot.shape {
        let (low, high) = expr_range(place, "a dim", dim, bounds)?;
        let high = match u64::try_from(high) {
            Ok(high) if low >= 0 => high,
            _ => return Err(place.error(Problem::Kind("a dim of the shape can be negative"))),
        };
        bytes = bytes.checked_mul(high).ok_or_else(|| {
            place.error(Problem::Expr { what: "the shape", source: super::ExprError::Overflow })
        })?;
    }
    buffers::check_range(place, "the tensor", buffer, 0, bytes)
}

/// Bounds of an expression that uses only the entry's symbols.
fn expr_range(
    place: &Place,
    what: &'static str,
    expr: &Expr,
    bounds: &Bounds,
) -> Result<(i64, i64), FormatError> {
    let fail = |source| place.error(Problem::Expr { what, source });
    expr.check_size().map_err(fail)?;
    expr.range(bounds).map_err(fail)
}

/// Checks workgroup counts. A count may look negative when a symbol occurs in it twice; the replay checks the value.
fn check_workgroups(place: &Place, counts: &[Expr; 3], bounds: &Bounds) -> Result<(), FormatError> {
    for count in counts {
        let (_, high) = expr_range(place, "a workgroup count", count, bounds)?;
        if high > MAX_WORKGROUPS {
            let (value, limit) =
                (u64::try_from(high).unwrap_or(0), u64::try_from(MAX_WORKGROUPS).unwrap_or(0));
            return Err(place.error(Problem::Limit { what: "a workgroup count", value, limit }));
        }
    }
    Ok(())
}
