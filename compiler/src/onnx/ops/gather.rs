//! Taking elements by index.

use qwenc_ir::dim::product;
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Scalar};

use super::call::Call;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::known::{Elem, Known};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("Compress", compress),
    standard("Gather", gather),
    standard("GatherElements", gather_elements),
    standard("GatherND", gather_nd),
];

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

/// Keeps the elements along an axis where a condition holds, which must be known: how many there are is a shape.
fn compress(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (mut data, condition) = (call.input(0)?, call.input(1)?);
    let axis = match call.optional_int("axis")? {
        Some(_) => call.axis(0, b.rank(data))?,
        None => {
            let all = product(b.shape(data));
            data = b.reshape(data, &[all])?;
            0
        }
    };
    let Some((_, items)) = b.known(condition).and_then(Known::elements) else {
        fault!(
            "operand 1 (the condition) is computed from data; only what follows from the shapes of the inputs is \
             supported here"
        );
    };
    let mut kept = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match item.constant() {
            Some(0) => {}
            Some(_) => kept.push(Elem::Int(Dim::from(index))),
            None => fault!("operand 1 (the condition) depends on the size of an input, but must be constant"),
        }
    }
    if b.shape(data)[axis].as_usize().is_none_or(|size| items.len() > size) {
        fault!("a condition of {} elements is longer than axis {axis} of {}", items.len(), b.ty(data));
    }
    let size = b.shape(data)[axis].clone();
    if kept.len() == items.len() && size == Dim::from(items.len()) {
        return one(data);
    }
    let indices = b.known_value(DType::I64, Known::vector(kept))?;
    if let Some(known) = known_gather(b, data, indices, axis, &size)? {
        return one(known);
    }
    one(b.apply(Op::Gather { axis }, &[data, indices])?)
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

/// Indices that may count from the end, counted from the start instead.
fn from_start(b: &mut Builder, indices: V, size: &Dim) -> Result<V> {
    let indices = b.cast(indices, DType::I64)?;
    let size = b.known_value(DType::I64, Known::scalar(Elem::Int(size.clone())))?;
    let wrapped = Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1));
    let negative = Expr::Arg(0).binary(BinaryOp::Lt, Expr::Const(Scalar::Int(0)));
    b.pointwise(&negative.select(wrapped, Expr::Arg(0)), &[indices, size])
}

/// `total + index * stride`.
fn advanced(b: &mut Builder, total: Option<V>, index: V, stride: Dim) -> Result<V> {
    let stride = b.known_value(DType::I64, Known::scalar(Elem::Int(stride)))?;
    let step = Expr::Arg(0).binary(BinaryOp::Mul, Expr::Arg(1));
    match total {
        None => b.pointwise(&step, &[index, stride]),
        Some(total) => b.pointwise(&Expr::Arg(2).binary(BinaryOp::Add, step), &[index, stride, total]),
    }
}

/// Every element by an index along one axis: a lookup in the flat tensor, by places that are computed.
fn gather_elements(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let rank = b.rank(data);
    let at = call.axis(0, rank)?;
    let (shape, out) = (b.shape(data).to_vec(), b.shape(indices).to_vec());
    let inside = |axis: usize| axis == at || b.bounds.at_most(&out[axis], &shape[axis]);
    if out.len() != rank || !(0..rank).all(inside) {
        fault!("indices {} do not fit {}", b.ty(indices), b.ty(data));
    }
    let index = from_start(b, indices, &shape[at])?;
    let mut places = None;
    for axis in 0..rank {
        let stride = product(&shape[axis + 1..]);
        let along = if axis == at {
            index
        } else {
            let mut own = vec![Dim::constant(1); rank];
            own[axis] = out[axis].clone();
            b.known_value(DType::I64, Known::Ramp { shape: own, start: Dim::constant(0), step: 1 })?
        };
        places = Some(advanced(b, places, along, stride)?);
    }
    let Some(places) = places else {
        fault!("{} has no axis", b.ty(data));
    };
    let flat = b.reshape(data, &[product(&shape)])?;
    one(b.apply(Op::Gather { axis: 0 }, &[flat, places])?)
}

/// Slices by the indices of their leading axes: rows of a matrix, by places that are computed.
fn gather_nd(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let batch = usize::try_from(call.int("batch_dims", 0)?).unwrap_or(usize::MAX);
    let (shape, chosen) = (b.shape(data).to_vec(), b.shape(indices).to_vec());
    let Some((width, outer)) = chosen.split_last() else {
        fault!("{} are no indices", b.ty(indices));
    };
    let Some(width) = width.as_usize().filter(|width| {
        batch <= outer.len() && batch < shape.len() && batch.saturating_add(*width) <= shape.len()
    }) else {
        fault!("indices {} do not fit {}", b.ty(indices), b.ty(data));
    };
    if outer[..batch] != shape[..batch] {
        fault!("the first {batch} axes of {} and {} differ", b.ty(data), b.ty(indices));
    }
    let (rows, slice) = shape.split_at(batch + width);
    let mut places = None;
    for (axis, size) in rows.iter().enumerate() {
        let stride = product(&rows[axis + 1..]);
        let along = if axis < batch {
            let mut own = vec![Dim::constant(1); outer.len()];
            own[axis] = size.clone();
            b.known_value(DType::I64, Known::Ramp { shape: own, start: Dim::constant(0), step: 1 })?
        } else {
            let column = Dim::from(axis - batch);
            let part = b.slice(indices, outer.len(), &column, &Dim::constant(1), 1)?;
            let part = b.reshape(part, outer)?;
            from_start(b, part, size)?
        };
        places = Some(advanced(b, places, along, stride)?);
    }
    let Some(places) = places else {
        fault!("indices {} name no axis", b.ty(indices));
    };
    let places = b.expand(places, outer)?;
    let mut flat = vec![product(rows)];
    flat.extend(slice.iter().cloned());
    let flat = b.reshape(data, &flat)?;
    one(b.apply(Op::Gather { axis: 0 }, &[flat, places])?)
}
