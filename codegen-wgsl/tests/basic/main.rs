//! Pointwise, copying, reducing, norm and linear kernels on both GPUs, held to the interpreter.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may panic, and its numbers are small"
)]

#[path = "../device/mod.rs"]
mod device;

mod copy;
mod dequantize;
mod elementwise;
mod functions;
mod linear;
mod linear_formats;
mod linear_step;
mod matmul;
mod norm;
mod packed;
mod reduce;
mod rows;
mod sample;
mod snapshots;

use device::{Device, Random, on_every_target};
use qwenc_codegen_wgsl::{BufferKey, CodegenError, Elem, Kernel, Symbols, View};
use qwenc_ir::interp::{Data, HostTensor, eval_op};
use qwenc_ir::{Dim, Op};

/// A symbol: name, largest value, value in this run.
pub(crate) type Symbol = (&'static str, i64, i64);

/// How far an f32 may be off: `absolute + relative * |expected|`.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    pub(crate) absolute: f32,
    pub(crate) relative: f32,
}

pub(crate) const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };
pub(crate) const CLOSE: Tolerance = Tolerance { absolute: 1e-6, relative: 3e-6 };

pub(crate) fn dims(values: &[i64]) -> Vec<Dim> {
    values.iter().map(|value| Dim::constant(*value)).collect()
}

pub(crate) fn view(buffer: u32, elem: Elem, shape: &[Dim]) -> View {
    View::dense(BufferKey(buffer), elem, shape.to_vec())
}

/// A view with gaps: every row of the last axis is `gap` elements longer than it looks, and it starts at `offset`.
pub(crate) fn gapped(buffer: u32, elem: Elem, shape: &[Dim], gap: i64, offset: i64) -> View {
    let mut wide = shape.to_vec();
    if let Some(last) = wide.last_mut() {
        *last = last.clone() + Dim::constant(gap);
    }
    let mut view = View::dense(BufferKey(buffer), elem, wide);
    view.shape = shape.to_vec();
    view.offset = Dim::constant(offset);
    view
}

/// The shape of a view in this run.
pub(crate) fn shape_of(symbols: &[Symbol], view: &View) -> Vec<usize> {
    let device = Device::new(symbols);
    let value = |dim: &Dim| usize::try_from(dim.eval(device.bindings()).unwrap()).unwrap();
    view.shape.iter().map(value).collect()
}

/// Random f32 in `-scale..scale` for a view.
pub(crate) fn floats(symbols: &[Symbol], view: &View, random: &mut Random, scale: f32) -> HostTensor {
    let shape = shape_of(symbols, view);
    let values: Vec<f32> = random.vec(shape.iter().product()).into_iter().map(|x| x * scale).collect();
    HostTensor::f32(shape, values).unwrap()
}

/// Random integers in `low..high` for a view.
pub(crate) fn ints(symbols: &[Symbol], view: &View, random: &mut Random, low: i64, high: i64) -> HostTensor {
    let shape = shape_of(symbols, view);
    let range = f64::from(i32::try_from(high - low).unwrap());
    let mut next = || low + (f64::from(random.next()) * 0.5 + 0.5).mul_add(range, 0.0) as i64;
    let values: Vec<i64> = (0..shape.iter().product()).map(|_| next()).collect();
    HostTensor::i64(shape, values).unwrap()
}

/// What lies in memory for a tensor.
pub(crate) fn words(tensor: &HostTensor) -> Vec<u32> {
    match tensor.data() {
        Data::F32(values) => values.iter().map(|value| value.to_bits()).collect(),
        Data::Int(_, values) => values.iter().map(|value| low_word(*value)).collect(),
        Data::Bool(values) => values.iter().map(|value| u32::from(*value)).collect(),
    }
}

/// Runs a kernel on every GPU and holds its one output to `expected`, and everything else in memory to what it was.
pub(crate) fn hold_to(
    what: &str,
    symbols: &[Symbol],
    operands: &[(View, HostTensor)],
    output: &View,
    expected: &HostTensor,
    tolerance: Tolerance,
    build: impl Fn(&Symbols) -> Result<Kernel, CodegenError>,
) {
    let mut start = Device::new(symbols);
    for (view, tensor) in operands {
        assert_eq!(shape_of(symbols, view), tensor.shape(), "{what}: operand");
        start.put(view, words(tensor).into_iter());
    }
    assert_eq!(shape_of(symbols, output), expected.shape(), "{what}: output");
    if operands.iter().all(|(view, _)| view.buffer != output.buffer) {
        start.poison(output);
    }
    let kernel = build(&start.symbols).unwrap();
    on_every_target(|target| {
        let mut device = start.clone();
        device.run(target, &kernel, &[output]);
        let name = target.name();
        let want = words(expected);
        for (at, (got, want)) in device.words(output).into_iter().zip(want).enumerate() {
            let (x, y) = (f32::from_bits(got), f32::from_bits(want));
            let fits = match output.elem {
                Elem::F32 => {
                    x == y
                        || (x.is_nan() && y.is_nan())
                        || (x - y).abs() <= tolerance.absolute + tolerance.relative * y.abs()
                }
                Elem::I32 | Elem::U32 => got == want,
            };
            assert!(
                fits,
                "{what} on {name}: element {at} is {x:?} ({got:#x}), expected {y:?} ({want:#x})\n{}",
                kernel.source
            );
        }
    });
}

/// As [`hold_to`], with the interpreter's result of `op` over the operands in order.
pub(crate) fn hold(
    what: &str,
    symbols: &[Symbol],
    op: &Op,
    operands: &[(View, HostTensor)],
    output: &View,
    tolerance: Tolerance,
    build: impl Fn(&Symbols) -> Result<Kernel, CodegenError>,
) {
    let inputs: Vec<Option<&HostTensor>> = operands.iter().map(|(_, tensor)| Some(tensor)).collect();
    let expected = eval_op(op, &inputs, Device::new(symbols).bindings()).unwrap();
    hold_to(what, symbols, operands, output, &expected[0], tolerance, build);
}

/// The low 32 bits: integers that fit i32 or u32.
fn low_word(value: i64) -> u32 {
    u32::try_from(value & 0xFFFF_FFFF).unwrap()
}
