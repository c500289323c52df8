use qwenc_ir::Op;
use qwenc_ir::interp::{HostTensor, OpError};
use qwenc_ir::op::ReduceKind;

use crate::util::{assert_close, b, eval, eval_err, f, i};

fn reduce(kind: ReduceKind, axes: &[usize], keep_dims: bool, x: &HostTensor) -> HostTensor {
    eval(&Op::Reduce { kind, axes: axes.to_vec(), keep_dims }, &[x])
}

#[test]
fn float_reductions() {
    let x = f(&[2, 3], &[1.0, -2.0, 3.0, 4.0, 5.0, -6.0]);
    let rows = |kind, values: [f32; 2]| assert_close(&reduce(kind, &[1], false, &x), &f(&[2], &values), 1e-6);
    rows(ReduceKind::Sum, [2.0, 3.0]);
    rows(ReduceKind::Mean, [2.0 / 3.0, 1.0]);
    rows(ReduceKind::Max, [3.0, 5.0]);
    rows(ReduceKind::Min, [-2.0, -6.0]);
    rows(ReduceKind::Prod, [-6.0, -120.0]);
    rows(ReduceKind::SumSquare, [14.0, 77.0]);
    rows(ReduceKind::L1, [6.0, 15.0]);
    rows(ReduceKind::L2, [14.0f32.sqrt(), 77.0f32.sqrt()]);
    rows(ReduceKind::LogSum, [2.0f32.ln(), 3.0f32.ln()]);
    let columns = reduce(ReduceKind::Sum, &[0], true, &x);
    assert_eq!(columns, f(&[1, 3], &[5.0, 3.0, -3.0]));
    assert_eq!(reduce(ReduceKind::Sum, &[0, 1], false, &x), f(&[], &[5.0]));
    assert_eq!(reduce(ReduceKind::L1, &[], false, &x), f(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let large = reduce(ReduceKind::LogSumExp, &[0], false, &f(&[2], &[1000.0, 1000.0]));
    assert_close(&large, &f(&[], &[1000.0 + 2.0f32.ln()]), 1e-4);
    let nan = reduce(ReduceKind::Max, &[0], false, &f(&[2], &[f32::NAN, 1.0]));
    assert!(nan.as_f32().unwrap()[0].is_nan());
}

#[test]
fn middle_axis_and_empty_axis() {
    let x = f(&[2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(reduce(ReduceKind::Sum, &[1], false, &x), f(&[2, 2], &[4.0, 6.0, 12.0, 14.0]));
    assert_eq!(reduce(ReduceKind::Max, &[0, 2], false, &x), f(&[2], &[6.0, 8.0]));
    let empty = f(&[2, 0], &[]);
    assert_eq!(reduce(ReduceKind::Sum, &[1], false, &empty), f(&[2], &[0.0; 2]));
    assert_eq!(reduce(ReduceKind::Prod, &[1], false, &empty), f(&[2], &[1.0; 2]));
    assert_eq!(reduce(ReduceKind::Max, &[1], false, &empty), f(&[2], &[f32::NEG_INFINITY; 2]));
}

#[test]
fn integer_and_boolean_reductions() {
    let x = i(&[2, 2], &[i64::MAX, 1, -7, 2]);
    assert_eq!(reduce(ReduceKind::Sum, &[1], false, &x), i(&[2], &[i64::MIN, -5]));
    assert_eq!(reduce(ReduceKind::Mean, &[1], false, &x), i(&[2], &[1 << 62, -2]));
    assert_eq!(reduce(ReduceKind::Min, &[0], false, &x), i(&[2], &[-7, 1]));
    assert_eq!(reduce(ReduceKind::Prod, &[1], false, &x), i(&[2], &[i64::MAX, -14]));
    assert_eq!(reduce(ReduceKind::L1, &[1], false, &i(&[1, 2], &[-3, 2])), i(&[1], &[5]));
    let any = reduce(ReduceKind::Max, &[0], false, &b(&[2], &[false, true]));
    assert_eq!(any, b(&[], &[true]));
    let op = Op::Reduce { kind: ReduceKind::L2, axes: vec![0], keep_dims: false };
    assert!(matches!(eval_err(&op, &[&x]), OpError::Undefined { .. }));
}

#[test]
fn extreme_positions() {
    let x = f(&[2, 3], &[1.0, 3.0, 3.0, -1.0, -2.0, -2.0]);
    let arg = |min, last, axis, keep_dims| eval(&Op::ArgReduce { min, axis, keep_dims, last }, &[&x]);
    assert_eq!(arg(false, false, 1, false), i(&[2], &[1, 0]));
    assert_eq!(arg(false, true, 1, true), i(&[2, 1], &[2, 0]));
    assert_eq!(arg(true, false, 1, false), i(&[2], &[0, 1]));
    assert_eq!(arg(true, true, 0, false), i(&[3], &[1, 1, 1]));
    let op = Op::ArgReduce { min: false, axis: 0, keep_dims: false, last: false };
    assert_eq!(eval_err(&op, &[&f(&[0, 2], &[])]), OpError::EmptyAxis(0));
}

#[test]
fn running_sums() {
    let x = f(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let sum = |axis, exclusive, reverse| eval(&Op::CumSum { axis, exclusive, reverse }, &[&x]);
    assert_eq!(sum(1, false, false), f(&[2, 3], &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]));
    assert_eq!(sum(1, true, false), f(&[2, 3], &[0.0, 1.0, 3.0, 0.0, 4.0, 9.0]));
    assert_eq!(sum(1, false, true), f(&[2, 3], &[6.0, 5.0, 3.0, 15.0, 11.0, 6.0]));
    assert_eq!(sum(1, true, true), f(&[2, 3], &[5.0, 3.0, 0.0, 11.0, 6.0, 0.0]));
    assert_eq!(sum(0, false, false), f(&[2, 3], &[1.0, 2.0, 3.0, 5.0, 7.0, 9.0]));
    let ints = eval(&Op::CumSum { axis: 0, exclusive: false, reverse: false }, &[&i(&[3], &[1, -4, 2])]);
    assert_eq!(ints, i(&[3], &[1, -3, -1]));
}

#[test]
fn softmax_along_any_axis() {
    let ln = |x: f32| x.ln();
    let x = f(&[2, 2], &[ln(1.0), ln(3.0), ln(6.0), ln(2.0)]);
    let rows = eval(&Op::Softmax { axis: 1, log: false }, &[&x]);
    assert_close(&rows, &f(&[2, 2], &[0.25, 0.75, 0.75, 0.25]), 1e-6);
    let columns = eval(&Op::Softmax { axis: 0, log: false }, &[&x]);
    assert_close(&columns, &f(&[2, 2], &[1.0 / 7.0, 0.6, 6.0 / 7.0, 0.4]), 1e-6);
    let logs = eval(&Op::Softmax { axis: 1, log: true }, &[&x]);
    assert_close(&logs, &f(&[2, 2], &[ln(0.25), ln(0.75), ln(0.75), ln(0.25)]), 1e-6);
    let huge = eval(&Op::Softmax { axis: 0, log: false }, &[&f(&[2], &[1e30, 1e30])]);
    assert_eq!(huge, f(&[2], &[0.5, 0.5]));
}
