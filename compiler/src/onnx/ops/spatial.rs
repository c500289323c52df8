//! Windows over the spatial axes of an image tensor `[N,C,...]`: what convolutions and pooling have in common.
//!
//! A window is read as one strided slice for every position in it, so that both become operators that the IR has. The
//! slices are views; nothing is copied until they are combined.

use qwenc_ir::{Dim, Op, Scalar};

use super::call::Call;
use crate::onnx::values::{Builder, Result, V, fault};

/// Most positions of one window.
const MAX_TAPS: i64 = 4096;

/// Windows along one axis.
#[derive(Clone, Debug)]
pub(super) struct AxisWindows {
    /// Elements that a window reads.
    pub(super) width: i64,
    /// Distance between windows.
    pub(super) stride: i64,
    /// Distance between elements of a window.
    pub(super) dilation: i64,
    /// Padding in front.
    pub(super) before: Dim,
    /// Padding behind.
    pub(super) after: Dim,
    /// What the last windows read beyond the padding, where their number is rounded up.
    pub(super) beyond: Dim,
    /// Number of windows.
    pub(super) count: Dim,
}

/// A list attribute with one positive entry for every spatial axis.
fn list(call: &Call<'_>, name: &str, axes: usize) -> Result<Vec<i64>> {
    match call.ints(name)? {
        None => Ok(vec![1; axes]),
        Some(values) if values.len() == axes && values.iter().all(|v| (1..=1 << 24).contains(v)) => {
            Ok(values.to_vec())
        }
        Some(values) => fault!("attribute `{name}` {values:?} does not fit {axes} axes"),
    }
}

/// Reads `strides`, `dilations`, `pads`, `auto_pad` and `ceil_mode` for windows of the sizes `kernel` over x.
pub(super) fn windows(b: &Builder, call: &Call<'_>, x: V, kernel: &[i64]) -> Result<Vec<AxisWindows>> {
    let space = b.shape(x).get(2..).unwrap_or_default().to_vec();
    if space.is_empty() || kernel.len() != space.len() {
        fault!("windows of the sizes {kernel:?} do not fit {}", b.ty(x));
    }
    if kernel.iter().any(|width| !(1..=MAX_TAPS).contains(width))
        || kernel.iter().try_fold(1i64, |taps, width| taps.checked_mul(*width)).is_none_or(|n| n > MAX_TAPS)
    {
        fault!("windows of the sizes {kernel:?} are not supported; at most {MAX_TAPS} elements");
    }
    let axes = space.len();
    let (strides, dilations) = (list(call, "strides", axes)?, list(call, "dilations", axes)?);
    let auto_pad = call.text("auto_pad", "NOTSET")?;
    let pads = match call.ints("pads")? {
        Some(pads) if pads.len() == 2 * axes && pads.iter().all(|pad| (0..=1 << 24).contains(pad)) => {
            pads.to_vec()
        }
        Some(pads) => fault!("attribute `pads` {pads:?} must be two amounts for each of {axes} axes"),
        None => vec![0; 2 * axes],
    };
    let round_up = call.flag("ceil_mode", false)?;
    let mut out = Vec::with_capacity(axes);
    for (at, size) in space.iter().enumerate() {
        let (width, stride, dilation) = (kernel[at], strides[at], dilations[at]);
        let extent = dilation * (width - 1) + 1;
        let (before, after) = match auto_pad {
            "NOTSET" => (Dim::constant(pads[at]), Dim::constant(pads[axes + at])),
            "VALID" => (Dim::constant(0), Dim::constant(0)),
            "SAME_UPPER" | "SAME_LOWER" => same(size, stride, extent, auto_pad == "SAME_LOWER")?,
            other => fault!("attribute `auto_pad` = {other} is not known"),
        };
        let padded = size.clone() + before.clone() + after.clone();
        let spare = padded.clone() - Dim::constant(extent);
        let (count, beyond) = if round_up && stride > 1 {
            let Some(spare) = spare.as_const().filter(|spare| *spare >= 0) else {
                fault!("`ceil_mode` needs a fixed size of axis {}; give its symbol one with --dim", at + 2);
            };
            let mut last = (spare + stride - 1) / stride;
            // A window must begin in the input or the padding in front of it.
            let inside = size.clone() + before.clone();
            if inside.as_const().is_some_and(|inside| last * stride >= inside) {
                last -= 1;
            }
            (Dim::constant(last + 1), Dim::constant((last * stride - spare).max(0)))
        } else {
            ((spare + Dim::constant(stride)).floor_div(&Dim::constant(stride)), Dim::constant(0))
        };
        if count.is_poison() || b.bounds.negative(&(count.clone() - Dim::constant(1))) {
            fault!("a window of {extent} elements is wider than axis {} of {}", at + 2, b.ty(x));
        }
        out.push(AxisWindows { width, stride, dilation, before, after, beyond, count });
    }
    Ok(out)
}

/// Padding with which there is one window for every `stride` elements.
fn same(size: &Dim, stride: i64, extent: i64, lower: bool) -> Result<(Dim, Dim)> {
    let total = match size.as_const() {
        Some(size) => (((size + stride - 1) / stride - 1) * stride + extent - size).max(0),
        None if stride == 1 => extent - 1,
        None => fault!("`auto_pad` with strides needs fixed sizes; give their symbols one with --dim"),
    };
    let (small, large) = (Dim::constant(total / 2), Dim::constant(total - total / 2));
    Ok(if lower { (large, small) } else { (small, large) })
}

/// x with the padding of all axes.
pub(super) fn padded(b: &mut Builder, x: V, windows: &[AxisWindows], value: Scalar) -> Result<V> {
    let mut before = vec![Dim::constant(0); 2];
    let mut after = before.clone();
    for axis in windows {
        before.push(axis.before.clone());
        after.push(axis.after.clone() + axis.beyond.clone());
    }
    if before.iter().chain(&after).all(|amount| amount.is(0)) {
        return Ok(x);
    }
    b.apply(Op::Pad { before, after, value }, &[x])
}

/// Element `tap` of every window along a spatial axis of a padded tensor.
pub(super) fn tap(b: &mut Builder, x: V, at: usize, windows: &AxisWindows, tap: i64) -> Result<V> {
    b.slice(x, at + 2, &Dim::constant(tap * windows.dilation), &windows.count, windows.stride)
}

/// Every element of every window, in row-major order of its place in the window.
pub(super) fn taps(b: &mut Builder, x: V, windows: &[AxisWindows]) -> Result<Vec<V>> {
    let mut parts = vec![x];
    for (at, axis) in windows.iter().enumerate() {
        let mut next = Vec::new();
        for part in parts {
            for index in 0..axis.width {
                next.push(tap(b, part, at, axis, index)?);
            }
        }
        parts = next;
    }
    Ok(parts)
}
