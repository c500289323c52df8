//! Writing rows of a tensor by index.

use std::collections::BTreeMap;

use qwenc_ir::Dim;

use super::call::Call;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::Known;
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] =
    &[standard("ScatterElements", scatter_elements), standard("ScatterND", scatter_nd)];

/// Most rows that are put together one by one.
const MAX_ROWS: usize = 1024;

/// Indices of whole rows along the first axis.
fn scatter_nd(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    only_replacing(call)?;
    let (data, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    if !b.shape(indices).last().is_some_and(|depth| depth.is(1)) || b.rank(data) == 0 {
        fault!("the indices {} must name whole rows of the first axis", b.ty(indices));
    }
    let Some(rows) = call.optional_constants(b, 1)? else { fault!("operand 1 (`indices`) is missing") };
    let mut shape = vec![Dim::from(rows.len())];
    shape.extend(b.shape(data)[1..].iter().cloned());
    let updates = b.reshape(updates, &shape)?;
    one(replaced(b, data, 0, &rows, updates)?)
}

/// Indices that are the same for everything but the axis: whole slices of it.
fn scatter_elements(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    only_replacing(call)?;
    let (data, indices, updates) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let at = call.axis(0, b.rank(data))?;
    let mut whole = b.shape(data).to_vec();
    whole[at] = b.shape(indices).get(at).cloned().unwrap_or(Dim::constant(0));
    if b.shape(indices) != whole || b.shape(updates) != whole {
        fault!("the indices {} must cover all axes of {} but axis {at}", b.ty(indices), b.ty(data));
    }
    let rows = b.known(indices).and_then(|known| along_axis(known, at));
    let Some(rows) = rows else {
        fault!(
            "the indices must follow from the shapes of the inputs, and be the same along all axes but {at}"
        );
    };
    one(replaced(b, data, at, &rows, updates)?)
}

fn only_replacing(call: &Call<'_>) -> Result<()> {
    match call.text("reduction", "none")? {
        "none" => Ok(()),
        other => fault!("attribute `reduction` = {other} is not supported"),
    }
}

/// The indices along one axis, when the others do not matter.
fn along_axis(known: &Known, at: usize) -> Option<Vec<i64>> {
    let shape = known.shape();
    let count = shape.get(at)?.as_usize().filter(|count| *count <= MAX_ROWS)?;
    if let Some(item) = known.uniform() {
        return Some(vec![item.constant()?; count]);
    }
    let (sizes, items) = known.elements()?;
    let inner: usize = sizes.get(at + 1..)?.iter().product();
    let mut rows = vec![None; count];
    for (position, item) in items.iter().enumerate() {
        let row = rows.get_mut((position / inner.max(1)) % count)?;
        let value = item.constant()?;
        if row.get_or_insert(value) != &value {
            return None;
        }
    }
    rows.into_iter().collect()
}

/// `data` with the slices `rows` of an axis replaced by those of `updates`, in order.
fn replaced(b: &mut Builder, data: V, at: usize, rows: &[i64], updates: V) -> Result<V> {
    let Some(size) = b.shape(data)[at].as_const() else {
        fault!("axis {at} of {} must have a constant size", b.ty(data));
    };
    let mut sources: BTreeMap<i64, usize> = BTreeMap::new();
    for (from, row) in rows.iter().enumerate() {
        let row = if *row < 0 { row.saturating_add(size) } else { *row };
        if !(0..size).contains(&row) {
            fault!("index {row} is out of range for axis {at} of {}", b.ty(data));
        }
        if sources.insert(row, from).is_some() {
            fault!("two updates for the index {row}");
        }
    }
    if sources.len() > MAX_ROWS {
        fault!("{} updates are more than the {MAX_ROWS} that are supported", sources.len());
    }
    let one = Dim::constant(1);
    let mut parts = Vec::new();
    let mut next = 0;
    for (row, from) in sources {
        if row > next {
            parts.push(b.slice(data, at, &Dim::constant(next), &Dim::constant(row - next), 1)?);
        }
        parts.push(b.slice(updates, at, &Dim::from(from), &one, 1)?);
        next = row + 1;
    }
    if next < size {
        parts.push(b.slice(data, at, &Dim::constant(next), &Dim::constant(size - next), 1)?);
    }
    b.concat(&parts, at)
}
