//! Quantized weights: every exporter's packing becomes `Op::Dequantize` of codes, scales and zero points as they lie in
//! the file, in front of a plain matrix product or gather. Nothing is dequantized here.
//!
//! Hints about the precision of activations (`accuracy_level`) permit less than f32, and do not ask for it: activations
//! stay floats.

use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Tensor};

use super::call::{Call, axis as checked_axis, element_type};
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, microsoft, standard};
use crate::onnx::values::{Builder, Fault, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("DequantizeLinear", dequantize_linear),
    standard("QuantizeLinear", quantize_linear),
    microsoft("DequantizeLinear", dequantize_linear),
    microsoft("GatherBlockQuantized", gather_block_quantized),
    microsoft("MatMulNBits", matmul_nbits),
    microsoft("QuantizeLinear", quantize_linear),
];

/// The unsigned type of packed codes.
fn code_type(bits: i64) -> Result<DType> {
    match bits {
        2 => Ok(DType::U2),
        4 => Ok(DType::U4),
        8 => Ok(DType::U8),
        other => {
            fault!("codes of {other} bits are not supported, only 2, 4 and 8: quantize with one of these")
        }
    }
}

/// Bytes that hold packed codes, as the matrix `[rows, width]` that they mean: each row takes whole bytes in the file.
fn unpacked(b: &Builder, v: V, what: &str, dtype: DType, rows: usize, width: usize) -> Result<Tensor> {
    let Some(tensor) = b.tensor(v) else {
        fault!("the {what} are computed, but must be constant");
    };
    if tensor.dtype() != DType::U8 {
        fault!("the {what} are {}, expected u8", tensor.dtype());
    }
    let per_byte = 8 / dtype.bits();
    if rows == 0 || tensor.len() % rows != 0 || tensor.len() / rows < width.div_ceil(per_byte) {
        fault!("the {what} are {:?}, which does not hold {rows} rows of {width}", tensor.shape());
    }
    let padded = tensor.len() / rows * per_byte;
    let whole = Tensor::new(dtype, vec![rows, padded], tensor.bytes().clone())?;
    if padded == width { Ok(whole) } else { trimmed(&whole, rows, width) }
}

/// The first `width` columns. This copies, which only matrices of a width that is no multiple of their block need.
fn trimmed(tensor: &Tensor, rows: usize, width: usize) -> Result<Tensor> {
    let bits = tensor.dtype().bits();
    let padded = tensor.shape().last().copied().unwrap_or(0);
    let count = rows.checked_mul(width).and_then(|count| tensor.dtype().bytes_for(count));
    let mut bytes = vec![0u8; count.ok_or_else(|| Fault::new("the codes are too many"))?];
    let mask = u8::MAX >> (8 - bits);
    for row in 0..rows {
        for column in 0..width {
            let bit = (row * width + column) * bits;
            let code = u8::try_from(tensor.i64_at(row * padded + column)).unwrap_or(0) & mask;
            bytes[bit / 8] |= code << (bit % 8);
        }
    }
    Ok(Tensor::new(tensor.dtype(), vec![rows, width], bytes.into())?)
}

fn add_dequantize(b: &mut Builder, op: Op, codes: V, scales: V, zeros: Option<V>) -> Result<V> {
    let outputs = b.apply_all(op, &[Some(codes), Some(scales), zeros])?;
    outputs.first().copied().ok_or_else(|| Fault::new("no output"))
}

/// A block size that the format allows.
fn block_size(value: usize) -> Result<usize> {
    match value {
        block if block >= 16 && block.is_power_of_two() => Ok(block),
        other => fault!("attribute `block_size` = {other} must be a power of two of at least 16"),
    }
}

fn matmul_nbits(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.ignore(&["accuracy_level"]);
    call.only_int("weight_prepacked", 0)?;
    let (k, n, block) = (call.count("K")?, call.count("N")?, block_size(call.count("block_size")?)?);
    let bits = call.int("bits", 4)?;
    let dtype = code_type(bits)?;
    let blocks = k.div_ceil(block);
    let x = call.input(0)?;
    if call.optional(4).is_some() {
        fault!(
            "operand 4 (`g_idx`, an order of groups) is deprecated and not supported: quantize without act-order"
        );
    }
    let codes = unpacked(b, call.input(1)?, "codes", dtype, n, k)?;
    let codes = b.constant(&label(call, 1), codes)?;
    let per_block = [Dim::from(n), Dim::from(blocks)];
    let scales = call.input(2)?;
    let scales = b.reshape(scales, &per_block)?;
    let zeros = match call.optional(3) {
        None => None,
        Some(zeros) if b.dtype(zeros).is_float() => Some(b.reshape(zeros, &per_block)?),
        Some(zeros) => {
            let tensor = unpacked(b, zeros, "zero points", dtype, n, blocks)?;
            Some(b.constant(&label(call, 3), tensor)?)
        }
    };
    let zero = if zeros.is_some() { 0 } else { 1 << (bits - 1) };
    let weight = add_dequantize(b, Op::Dequantize { axis: 1, block, zero }, codes, scales, zeros)?;
    let mut out = b.apply(Op::MatMul { transpose_a: false, transpose_b: true }, &[x, weight])?;
    if let Some(bias) = call.optional(5) {
        out = combine(b, BinaryOp::Add, out, bias)?;
    }
    one(out)
}

/// The name of an operand, for the constant that is made of it.
fn label(call: &Call<'_>, index: usize) -> String {
    call.node.input.get(index).map_or("", String::as_str).chars().take(200).collect()
}

fn gather_block_quantized(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (data, indices, scales) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let rank = b.rank(data);
    let gather_axis = checked_axis(call.int("gather_axis", 0)?, rank)?;
    let quantize_axis = checked_axis(call.int("quantize_axis", 1)?, rank)?;
    let block = match call.optional_int("block_size")? {
        Some(_) => block_size(call.count("block_size")?)?,
        None => 128,
    };
    let bits = call.int("bits", 4)?;
    let (mut codes, mut zeros, mut zero) = (data, call.optional(3), 0);
    if b.dtype(data) == DType::U8 {
        if gather_axis != 0 || (bits < 8 && quantize_axis != rank - 1) {
            fault!("codes packed in bytes must be gathered along axis 0 and quantized along the last");
        }
        let dtype = code_type(bits)?;
        codes = reinterpreted(b, call, 0, data, dtype, None)?;
        // The number of blocks is what the scales say; rows of zero points are padded to bytes.
        let blocks = b.shape(scales).last().and_then(Dim::as_usize);
        zeros = zeros.map(|zeros| reinterpreted(b, call, 3, zeros, dtype, blocks)).transpose()?;
        zero = if zeros.is_some() { 0 } else { 1 << (bits - 1) };
    }
    let op = Op::Dequantize { axis: quantize_axis, block, zero };
    let table = add_dequantize(b, op, codes, scales, zeros)?;
    one(b.apply(Op::Gather { axis: gather_axis }, &[table, indices])?)
}

/// Bytes as the codes that they pack along the last axis, which has `width` of them (or as many as fit).
fn reinterpreted(
    b: &mut Builder,
    call: &Call<'_>,
    index: usize,
    v: V,
    dtype: DType,
    width: Option<usize>,
) -> Result<V> {
    let shape: Option<Vec<usize>> = b.shape(v).iter().map(Dim::as_usize).collect();
    let Some([front @ .., bytes]) = shape.as_deref() else {
        fault!("operand {index} is {}, expected a constant shape", b.ty(v));
    };
    let rows = front.iter().product();
    let width = width.unwrap_or(bytes * (8 / dtype.bits()));
    let tensor = unpacked(b, v, "codes", dtype, rows, width)?;
    let shape = [front, &[width]].concat();
    let tensor = tensor.reshaped(shape)?;
    b.constant(&label(call, index), tensor)
}

/// A scale or zero point as it applies to a tensor: one for all, or one for every index of `axis`.
fn spread(b: &mut Builder, v: V, x: V, axis: usize) -> Result<V> {
    let rank = b.rank(x);
    let elements = b.ty(v).elements();
    let mut shape = vec![Dim::constant(1); rank];
    if b.rank(v) == 1 && !elements.is(1) {
        if b.shape(x).get(axis) != Some(&elements) {
            fault!("{} does not fit axis {axis} of {}", b.ty(v), b.ty(x));
        }
        shape[axis] = elements;
    } else if !elements.is(1) {
        fault!("{} is neither one value nor one for each index of axis {axis} of {}", b.ty(v), b.ty(x));
    }
    b.reshape(v, &shape)
}

/// Blocked, by axis, or with one scale for all.
fn dequantize_linear(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (x, scale, zeros) = (call.input(0)?, call.input(1)?, call.optional(2));
    let block = call.int("block_size", 0)?;
    let output = call.int("output_dtype", 0)?;
    let axis = call.int("axis", 1)?;
    let out = if block != 0 {
        let axis = checked_axis(axis, b.rank(x))?;
        let Ok(block) = usize::try_from(block) else {
            fault!("attribute `block_size` = {block} is negative");
        };
        add_dequantize(b, Op::Dequantize { axis, block, zero: 0 }, x, scale, zeros)?
    } else {
        // One scale needs no axis, and its default does not exist in a vector.
        let axis = if b.ty(scale).elements().is(1) { 0 } else { checked_axis(axis, b.rank(x))? };
        match whole_rows(b, x, axis) {
            Some((along, block)) => {
                let scale = spread(b, scale, x, axis)?;
                let zeros = zeros.map(|zeros| spread(b, zeros, x, axis)).transpose()?;
                add_dequantize(b, Op::Dequantize { axis: along, block, zero: 0 }, x, scale, zeros)?
            }
            None => pointwise_dequantize(b, x, scale, zeros, axis)?,
        }
    };
    one(if output == 0 { out } else { b.cast(out, element_type(output)?)? })
}

/// A constant matrix that may be a weight: the other axis than that of the scales, and its size.
fn whole_rows(b: &Builder, x: V, axis: usize) -> Option<(usize, usize)> {
    let tensor = b.tensor(x)?;
    let [_, _] = tensor.shape() else { return None };
    let along = 1 - axis;
    (tensor.dtype().bits() <= 8 && tensor.shape()[along] > 0).then_some((along, tensor.shape()[along]))
}

fn pointwise_dequantize(b: &mut Builder, x: V, scale: V, zeros: Option<V>, axis: usize) -> Result<V> {
    let dtype = b.dtype(scale);
    if !dtype.is_float() || !b.dtype(x).is_int() {
        fault!("{} cannot be dequantized by {}", b.ty(x), b.ty(scale));
    }
    if b.rank(x) == 0 {
        let (x, scale) = (b.cast(x, dtype)?, b.reshape(scale, &[])?);
        let x = match zeros {
            Some(zeros) => {
                let zeros = b.reshape(zeros, &[])?;
                let zeros = b.cast(zeros, dtype)?;
                combine(b, BinaryOp::Sub, x, zeros)?
            }
            None => x,
        };
        return combine(b, BinaryOp::Mul, x, scale);
    }
    let scale = spread(b, scale, x, axis)?;
    let mut value = b.cast(x, dtype)?;
    if let Some(zeros) = zeros {
        let zeros = spread(b, zeros, x, axis)?;
        let zeros = b.cast(zeros, dtype)?;
        value = combine(b, BinaryOp::Sub, value, zeros)?;
    }
    combine(b, BinaryOp::Mul, value, scale)
}

/// `saturate(round(x / scale) + zero)`, with one scale for all or one for each index of an axis.
fn quantize_linear(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.ignore(&["saturate", "precision"]);
    call.only_int("block_size", 0)?;
    let (x, scale, zeros) = (call.input(0)?, call.input(1)?, call.optional(2));
    let given = call.int("output_dtype", 0)?;
    let dtype = match zeros {
        Some(zeros) => b.dtype(zeros),
        None if given == 0 => DType::U8,
        None => element_type(given)?,
    };
    if !dtype.is_int() || dtype.bits() > 16 {
        fault!("quantizing to {dtype} is not supported, only to integers of at most 16 bits");
    }
    let axis = call.int("axis", 1)?;
    let axis = if b.ty(scale).elements().is(1) { 0 } else { checked_axis(axis, b.rank(x))? };
    let scalar = b.rank(x) == 0;
    let fit = |b: &mut Builder, v: V| if scalar { b.reshape(v, &[]) } else { spread(b, v, x, axis) };
    let mut args = vec![b.cast(x, DType::F32)?];
    let scale = fit(b, scale)?;
    args.push(b.cast(scale, DType::F32)?);
    let mut expr = Expr::Arg(0).binary(BinaryOp::Div, Expr::Arg(1)).unary(qwenc_ir::UnaryOp::Round);
    if let Some(zeros) = zeros {
        let zeros = fit(b, zeros)?;
        args.push(b.cast(zeros, DType::F32)?);
        expr = expr.binary(BinaryOp::Add, Expr::Arg(2));
    }
    let half = f32::from(1u8 << ((dtype.bits() - 1) % 8)) * if dtype.bits() > 8 { 256.0 } else { 1.0 };
    let (low, high) = if dtype.is_signed_int() { (-half, half - 1.0) } else { (0.0, 2.0 * half - 1.0) };
    let clamped = expr.binary(BinaryOp::Max, Expr::f32(low)).binary(BinaryOp::Min, Expr::f32(high));
    one(b.pointwise(&clamped.cast(dtype), &args)?)
}
