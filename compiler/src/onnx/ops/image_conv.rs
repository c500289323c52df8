//! Convolutions of any geometry, as matrix products over gathered windows.
//!
//! The windows of the input are copied side by side and multiplied with the filters as one matrix for every group
//! (im2col). That takes as much memory as the window has elements, times the input: right for small networks in front
//! of or behind a transformer, not made for convolutional ones.

use qwenc_ir::dim::product;
use qwenc_ir::{BinaryOp, Dim, Op, Scalar};

use super::call::Call;
use super::elementwise::combine;
use super::one;
use super::spatial::{AxisWindows, padded, taps, windows};
use crate::onnx::values::{Builder, Result, V, fault};

/// Sizes of a kernel, which must be constant.
fn sizes(b: &Builder, weight: V) -> Result<Vec<i64>> {
    match b.shape(weight).get(2..).map(|kernel| kernel.iter().map(Dim::as_const).collect()) {
        Some(Some(sizes)) => Ok(sizes),
        _ => fault!("the sizes of the kernel {} must be constant", b.ty(weight)),
    }
}

/// `Conv` with filters `[M, C/groups, ...]`.
pub(super) fn conv(b: &mut Builder, call: &Call<'_>, x: V, weight: V) -> Result<Vec<Option<V>>> {
    let groups = Dim::constant(call.int("group", 1)?);
    let windows = windows(b, call, x, &sizes(b, weight)?)?;
    let bias = call.optional(2);
    one(convolved(b, x, weight, bias, &groups, &windows)?)
}

fn convolved(
    b: &mut Builder,
    x: V,
    weight: V,
    bias: Option<V>,
    groups: &Dim,
    windows: &[AxisWindows],
) -> Result<V> {
    let (filters, channels) = (b.shape(weight)[0].clone(), b.shape(x)[1].clone());
    let each_in = b.shape(weight)[1].clone();
    let Some(each_out) = filters.exact_div(groups).filter(|_| each_in.clone() * groups.clone() == channels)
    else {
        fault!("{} with {groups} groups does not fit {}", b.ty(weight), b.ty(x));
    };
    let batch = b.shape(x)[0].clone();
    let count: Vec<Dim> = windows.iter().map(|axis| axis.count.clone()).collect();
    let places = product(&count);
    let filled = padded(b, x, windows, Scalar::F32(0.0))?;
    let rows = [batch.clone(), groups.clone(), each_in.clone(), places.clone()];
    let parts = taps(b, filled, windows)?
        .into_iter()
        .map(|part| b.reshape(part, &rows))
        .collect::<Result<Vec<V>>>()?;
    let columns = b.concat(&parts, 2)?;
    // Filters with the place in the window outside, as the columns have it.
    let taps = product(&b.shape(weight)[2..]);
    let matrix = b.reshape(weight, &[groups.clone(), each_out, each_in, taps])?;
    let matrix = b.transpose(matrix, &[0, 1, 3, 2])?;
    let shape = b.shape(matrix).to_vec();
    let matrix =
        b.reshape(matrix, &[shape[0].clone(), shape[1].clone(), shape[2].clone() * shape[3].clone()])?;
    let mut out = b.apply(Op::MatMul { transpose_a: false, transpose_b: false }, &[matrix, columns])?;
    out = b.reshape(out, &[batch.clone(), filters.clone(), places])?;
    if let Some(bias) = bias {
        let column = b.reshape(bias, &[filters.clone(), Dim::constant(1)])?;
        out = combine(b, BinaryOp::Add, out, column)?;
    }
    let mut shape = vec![batch, filters];
    shape.extend(count);
    b.reshape(out, &shape)
}

/// `ConvTranspose` with filters `[C, M/groups, ...]`: zeros between the elements of the input, then a convolution with
/// the filters turned around.
pub(super) fn transposed(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (x, weight) = (call.input(0)?, call.input(1)?);
    call.ignore(&["kernel_shape"]);
    let kernel = sizes(b, weight)?;
    let axes = kernel.len();
    if b.rank(x) != axes + 2 {
        fault!("{} does not fit {}", b.ty(weight), b.ty(x));
    }
    let groups = call.int("group", 1)?;
    let ints = |name: &str, default: i64, count: usize| -> Result<Vec<i64>> {
        match call.ints(name)? {
            None => Ok(vec![default; count]),
            Some(values)
                if values.len() == count && values.iter().all(|value| (0..=1 << 24).contains(value)) =>
            {
                Ok(values.to_vec())
            }
            Some(values) => fault!("attribute `{name}` {values:?} does not fit {axes} axes"),
        }
    };
    let (strides, dilations) = (ints("strides", 1, axes)?, ints("dilations", 1, axes)?);
    let (mut pads, mut more) = (ints("pads", 0, 2 * axes)?, ints("output_padding", 0, axes)?);
    let auto_pad = call.text("auto_pad", "NOTSET")?;
    let stated = call.ints("output_shape")?.map(|shape| &shape[shape.len().saturating_sub(axes)..]);
    if strides.contains(&0) || dilations.contains(&0) || stated.is_some_and(|shape| shape.len() != axes) {
        fault!("strides, dilations or the output's shape do not fit {}", b.ty(x));
    }
    for at in 0..axes {
        let extent = dilations[at] * (kernel[at] - 1) + 1;
        let wanted = match (stated, auto_pad) {
            (Some(shape), _) => shape[at],
            (None, "SAME_UPPER" | "SAME_LOWER") => match b.shape(x)[at + 2].as_const() {
                Some(size) => size.saturating_mul(strides[at]),
                None => fault!("`auto_pad` needs fixed sizes; give their symbols one with --dim"),
            },
            (None, "NOTSET" | "VALID") => continue,
            (None, other) => fault!("attribute `auto_pad` = {other} is not known"),
        };
        let Some(size) = b.shape(x)[at + 2].as_const() else {
            fault!("`output_shape` needs fixed sizes; give their symbols one with --dim");
        };
        let full = (size - 1).saturating_mul(strides[at]).saturating_add(extent + more[at]);
        let total = full.saturating_sub(wanted);
        if total < 0 {
            // The output is longer than what the input reaches.
            (pads[at], pads[axes + at], more[at]) = (0, 0, more[at] - total);
        } else if auto_pad == "SAME_UPPER" {
            (pads[at], pads[axes + at]) = (total / 2, total - total / 2);
        } else {
            (pads[at], pads[axes + at]) = (total - total / 2, total / 2);
        }
    }
    let mut v = x;
    for (at, stride) in strides.iter().enumerate() {
        v = spread(b, v, at + 2, *stride)?;
    }
    let mut windows = Vec::new();
    for at in 0..axes {
        let extent = dilations[at] * (kernel[at] - 1) + 1;
        let (before, after) = (extent - 1 - pads[at], extent - 1 - pads[axes + at] + more[at]);
        // Padding that exceeds the kernel cuts the input.
        let cut = |amount: i64| Dim::constant((-amount).max(0));
        let len = b.shape(v)[at + 2].clone() - cut(before) - cut(after);
        v = b.slice(v, at + 2, &cut(before), &len, 1)?;
        let (before, after) = (Dim::constant(before.max(0)), Dim::constant(after.max(0)));
        let count = len + before.clone() + after.clone() - Dim::constant(extent - 1);
        if b.bounds.negative(&(count.clone() - Dim::constant(1))) {
            fault!("the padding {pads:?} leaves nothing of {}", b.ty(x));
        }
        windows.push(AxisWindows {
            width: kernel[at],
            stride: 1,
            dilation: dilations[at],
            before,
            after,
            beyond: Dim::constant(0),
            count,
        });
    }
    let weight = turned(b, weight, groups)?;
    one(convolved(b, v, weight, call.optional(2), &Dim::constant(groups), &windows)?)
}

/// `stride - 1` zeros between the elements along an axis.
fn spread(b: &mut Builder, x: V, at: usize, stride: i64) -> Result<V> {
    if stride == 1 {
        return Ok(x);
    }
    let mut shape = b.shape(x).to_vec();
    let size = shape[at].clone();
    shape.insert(at + 1, Dim::constant(1));
    let columns = b.reshape(x, &shape)?;
    let before = vec![Dim::constant(0); shape.len()];
    let mut after = before.clone();
    after[at + 1] = Dim::constant(stride - 1);
    let padded = b.apply(Op::Pad { before, after, value: Scalar::F32(0.0) }, &[columns])?;
    shape.remove(at + 1);
    shape[at] = size.clone() * Dim::constant(stride);
    let flat = b.reshape(padded, &shape)?;
    let len = (size - Dim::constant(1)) * Dim::constant(stride) + Dim::constant(1);
    b.slice(flat, at, &Dim::constant(0), &len, 1)
}

/// Filters `[C, M/groups, ...]` as `[M, C/groups, ...]`, backwards along every spatial axis.
fn turned(b: &mut Builder, weight: V, groups: i64) -> Result<V> {
    let shape = b.shape(weight).to_vec();
    let groups = Dim::constant(groups);
    let Some(each_in) = shape[0].exact_div(&groups) else {
        fault!("{} does not form {groups} groups", b.ty(weight));
    };
    let mut split = vec![groups.clone(), each_in.clone()];
    split.extend(shape[1..].iter().cloned());
    let v = b.reshape(weight, &split)?;
    let mut perm = vec![0, 2, 1];
    perm.extend(3..split.len());
    let v = b.transpose(v, &perm)?;
    let mut merged = vec![groups * shape[1].clone(), each_in];
    merged.extend(shape[2..].iter().cloned());
    let mut v = b.reshape(v, &merged)?;
    for (at, size) in merged.iter().enumerate().skip(2) {
        if !size.is(1) {
            v = b.slice(v, at, &(size.clone() - Dim::constant(1)), size, -1)?;
        }
    }
    Ok(v)
}
