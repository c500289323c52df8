//! Constants and tensors that are made from sizes.

use qwenc_ir::{DType, Dim, Tensor};

use super::call::Call;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::error;
use crate::onnx::external::ExternalFiles;
use crate::onnx::known::{Elem, Known};
use crate::onnx::tensor::decode;
use crate::onnx::values::{Builder, Fault, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("Constant", constant),
    standard("ConstantOfShape", constant_of_shape),
    standard("Range", range),
    standard("Shape", shape),
    standard("Size", size),
];

/// `value` is read by the walker, which has the files; the other forms are here.
fn constant(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let tensor = if let Some(value) = call.optional_int("value_int")? {
        Tensor::from_i64(vec![], &[value])
    } else if let Some(values) = call.ints("value_ints")? {
        Tensor::from_i64(vec![values.len()], values)
    } else if let Some(value) = call.optional_float("value_float")? {
        Tensor::from_f32(vec![], &[value])
    } else if let Some(values) = call.floats("value_floats")? {
        Tensor::from_f32(vec![values.len()], values)
    } else if call.has("sparse_value") {
        fault!("the constant is sparse; store it as a dense tensor");
    } else if call.has("value_string") || call.has("value_strings") {
        fault!("the constant holds text, which is not supported");
    } else {
        fault!("the constant has no value");
    };
    let name = call.node.output.first().map_or("", String::as_str);
    one(b.constant(&error::name(name), tensor?)?)
}

fn constant_of_shape(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let shape = call.dims(b, 0)?;
    let (dtype, item) = match call.tensor("value")? {
        None => (DType::F32, Elem::Real(0.0)),
        Some(value) => {
            let tensor =
                decode(value, &ExternalFiles::none()).map_err(|error| Fault::new(error.to_string()))?;
            let Some(item) = Known::from_tensor(&tensor).and_then(|known| known.uniform().cloned()) else {
                fault!("attribute `value` must have one element");
            };
            (tensor.dtype(), item)
        }
    };
    one(b.known_value(dtype, Known::Splat { shape, item })?)
}

fn shape(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let shape = b.shape(call.input(0)?).to_vec();
    let rank = i64::try_from(shape.len()).unwrap_or(i64::MAX);
    let clamp = |value: i64| {
        let at = if value < 0 { value.saturating_add(rank) } else { value };
        usize::try_from(at.clamp(0, rank)).unwrap_or(0)
    };
    let start = clamp(call.int("start", 0)?);
    let end = clamp(call.int("end", rank)?);
    one(b.dims_value(shape.get(start..end).unwrap_or_default())?)
}

fn size(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let elements = b.ty(call.input(0)?).elements();
    one(b.known_value(DType::I64, Known::scalar(Elem::Int(elements)))?)
}

fn range(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    // Opset 27 on; says in which type the elements are computed, which are exact here.
    call.ignore(&["stash_type"]);
    let dtype = b.dtype(call.input(0)?);
    let mut ends = Vec::new();
    for index in 0..3 {
        let v = call.input(index)?;
        let dim = b.known(v).and_then(|known| known.uniform()?.whole());
        let Some(dim) = dim else {
            fault!(
                "operand {index} (`{}`) must be a whole number that follows from the shapes of the inputs",
                call.node.input[index]
            );
        };
        ends.push(dim);
    }
    let [start, limit, step] = ends.as_slice() else {
        fault!("three operands are needed");
    };
    let Some(step) = step.as_const().filter(|step| *step != 0) else {
        fault!("the step must be a constant other than 0");
    };
    let distance = if step > 0 { limit.clone() - start.clone() } else { start.clone() - limit.clone() };
    let len = distance.ceil_div(step.checked_abs().unwrap_or(i64::MAX));
    let len = b.bounds.max(&len, &Dim::constant(0));
    one(b.known_value(dtype, Known::Ramp { shape: vec![len], start: start.clone(), step })?)
}
