//! Taking elements by index.

use qwenc_ir::{Dim, Op};

use super::call::Call;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[standard("Gather", gather)];

/// Indices that are known become slices; the others, such as token ids, are looked up at run time.
fn gather(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let at = call.axis(0, b.rank(data))?;
    let size = b.shape(data)[at].clone();
    if let Some(known) = known_gather(b, data, indices, at, &size)? {
        return one(known);
    }
    if let Some(index) = single_index(b, indices, &size) {
        let part = b.slice(data, at, &index, &Dim::constant(1), 1)?;
        let mut shape = b.shape(data)[..at].to_vec();
        shape.extend(b.shape(indices).iter().cloned());
        shape.extend(b.shape(data)[at + 1..].iter().cloned());
        return one(b.reshape(part, &shape)?);
    }
    one(b.apply(Op::Gather { axis: at }, &[data, indices])?)
}

/// Both operands known: shape arithmetic.
fn known_gather(b: &mut Builder, data: V, indices: V, at: usize, size: &Dim) -> Result<Option<V>> {
    let (Some(size), Some(dims)) = (size.as_const(), b.known_dims(indices)) else {
        return Ok(None);
    };
    let (Some(known), Some(shape)) = (b.known(data), crate::onnx::known::constant_shape(b.shape(indices)))
    else {
        return Ok(None);
    };
    let Some(values) = dims.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>() else {
        return Ok(None);
    };
    let mut positions = Vec::with_capacity(values.len());
    for value in values {
        let position = if value < 0 { value.saturating_add(size) } else { value };
        match usize::try_from(position) {
            Ok(index) if position < size => positions.push(index),
            _ => fault!("index {value} is out of range for axis {at} of {}", b.ty(data)),
        }
    }
    let Some(result) = known.gathered(at, &positions, &shape) else {
        return Ok(None);
    };
    Ok(Some(b.known_value(b.dtype(data), result)?))
}

/// The one index, counted from the start, when there is one and it is provably inside.
fn single_index(b: &Builder, indices: V, size: &Dim) -> Option<Dim> {
    let [index] = <[Dim; 1]>::try_from(b.known_dims(indices)?).ok()?;
    let index = if b.bounds.negative(&index) { size.clone() + index } else { index };
    (b.bounds.non_negative(&index) && b.bounds.below(&index, size)).then_some(index)
}
