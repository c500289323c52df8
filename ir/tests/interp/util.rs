//! Short names for tests.

use qwenc_ir::interp::{HostTensor, OpError, eval_op};
use qwenc_ir::{Bindings, Op};

pub(crate) fn f(shape: &[usize], values: &[f32]) -> HostTensor {
    HostTensor::f32(shape, values).unwrap()
}

pub(crate) fn i(shape: &[usize], values: &[i64]) -> HostTensor {
    HostTensor::i64(shape, values).unwrap()
}

pub(crate) fn b(shape: &[usize], values: &[bool]) -> HostTensor {
    HostTensor::bool(shape, values).unwrap()
}

/// Values in about -1..1 that differ from each other and from seed to seed.
pub(crate) fn noise(seed: u32, shape: &[usize]) -> HostTensor {
    let count: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0) as f32
    };
    for _ in 0..8 {
        next();
    }
    HostTensor::f32(shape, (0..count).map(|_| next()).collect::<Vec<_>>()).unwrap()
}

pub(crate) fn try_eval(op: &Op, inputs: &[Option<&HostTensor>]) -> Result<Vec<HostTensor>, OpError> {
    eval_op(op, inputs, &Bindings::new())
}

pub(crate) fn eval_all(op: &Op, inputs: &[Option<&HostTensor>]) -> Vec<HostTensor> {
    try_eval(op, inputs).unwrap()
}

/// The first output of an operator whose inputs are all there.
pub(crate) fn eval(op: &Op, inputs: &[&HostTensor]) -> HostTensor {
    let inputs: Vec<Option<&HostTensor>> = inputs.iter().copied().map(Some).collect();
    eval_all(op, &inputs).into_iter().next().unwrap()
}

pub(crate) fn eval_err(op: &Op, inputs: &[&HostTensor]) -> OpError {
    let inputs: Vec<Option<&HostTensor>> = inputs.iter().copied().map(Some).collect();
    try_eval(op, &inputs).unwrap_err()
}

#[track_caller]
pub(crate) fn assert_close(actual: &HostTensor, expected: &HostTensor, tolerance: f32) {
    let difference = actual.max_abs_diff(expected);
    assert!(
        difference.is_some_and(|d| d <= tolerance),
        "difference {difference:?} between\n{actual:?}\n{expected:?}"
    );
}

/// Positions `range` of axis `axis`.
pub(crate) fn cut(x: &HostTensor, axis: usize, range: std::ops::Range<usize>) -> HostTensor {
    let op = Op::Slice { axis, start: range.start.into(), len: range.len().into(), step: 1 };
    eval(&op, &[x])
}

pub(crate) fn join(axis: usize, parts: &[&HostTensor]) -> HostTensor {
    eval(&Op::Concat { axis }, parts)
}
