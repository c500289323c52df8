use qwenc_ir::interp::{Data, HostTensor, OpError, eval_op};
use qwenc_ir::{Bindings, DType, Dim, Op, Scalar};

use crate::util::{b, eval, eval_err, f, i};

fn dims(values: &[i64]) -> Vec<Dim> {
    values.iter().copied().map(Dim::constant).collect()
}

fn counting(shape: &[usize]) -> HostTensor {
    let count: usize = shape.iter().product();
    i(shape, &(0..i64::try_from(count).unwrap()).collect::<Vec<_>>())
}

#[test]
fn reshape_keeps_order_and_transpose_permutes() {
    let x = counting(&[2, 3]);
    assert_eq!(eval(&Op::Reshape { shape: dims(&[3, 2]) }, &[&x]), i(&[3, 2], &[0, 1, 2, 3, 4, 5]));
    assert_eq!(eval(&Op::Transpose { perm: vec![1, 0] }, &[&x]), i(&[3, 2], &[0, 3, 1, 4, 2, 5]));
    let cube = eval(&Op::Transpose { perm: vec![2, 0, 1] }, &[&counting(&[2, 3, 4])]);
    assert_eq!(cube.shape(), [4, 2, 3]);
    // out[k,i,j] = in[i,j,k] = 12 i + 4 j + k
    let expected: Vec<i64> =
        (0..4).flat_map(|k| (0..2).flat_map(move |a| (0..3).map(move |j| 12 * a + 4 * j + k))).collect();
    assert_eq!(cube.as_int().unwrap(), expected);
    assert_eq!(eval(&Op::Transpose { perm: vec![] }, &[&f(&[], &[2.0])]), f(&[], &[2.0]));
}

#[test]
fn slices_step_and_run_backwards() {
    let x = counting(&[2, 5]);
    let slice = |axis, start: i64, len: i64, step| {
        eval(&Op::Slice { axis, start: start.into(), len: len.into(), step }, &[&x])
    };
    assert_eq!(slice(1, 1, 2, 1), i(&[2, 2], &[1, 2, 6, 7]));
    assert_eq!(slice(1, 0, 3, 2), i(&[2, 3], &[0, 2, 4, 5, 7, 9]));
    assert_eq!(slice(1, 4, 3, -2), i(&[2, 3], &[4, 2, 0, 9, 7, 5]));
    assert_eq!(slice(0, 1, 1, 1), i(&[1, 5], &[5, 6, 7, 8, 9]));
    assert_eq!(slice(1, 5, 0, 1), i(&[2, 0], &[]));
    let outside = Op::Slice { axis: 1, start: 3i64.into(), len: 3i64.into(), step: 1 };
    assert!(matches!(eval_err(&outside, &[&x]), OpError::Infer(_)));
}

#[test]
fn gather_counts_from_the_end_and_checks() {
    let x = f(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let columns = eval(&Op::Gather { axis: 1 }, &[&x, &i(&[2, 2], &[0, -1, 2, 1])]);
    assert_eq!(columns, f(&[2, 2, 2], &[1.0, 3.0, 3.0, 2.0, 4.0, 6.0, 6.0, 5.0]));
    assert_eq!(eval(&Op::Gather { axis: 0 }, &[&x, &i(&[], &[1])]), f(&[3], &[4.0, 5.0, 6.0]));
    for index in [2, -3, i64::MIN, i64::MAX] {
        let error = eval_err(&Op::Gather { axis: 0 }, &[&x, &i(&[1], &[index])]);
        assert_eq!(error, OpError::OutOfRange { index, size: 2 });
    }
}

#[test]
fn concat_expand_and_pad() {
    let (x, y) = (counting(&[2, 2]), i(&[2, 1], &[10, 11]));
    assert_eq!(eval(&Op::Concat { axis: 1 }, &[&x, &y]), i(&[2, 3], &[0, 1, 10, 2, 3, 11]));
    let stacked = eval(&Op::Concat { axis: 0 }, &[&b(&[1], &[true]), &b(&[0], &[]), &b(&[1], &[false])]);
    assert_eq!(stacked, b(&[2], &[true, false]));
    assert_eq!(eval(&Op::Expand { shape: dims(&[2, 2, 3]) }, &[&y]), {
        i(&[2, 2, 3], &[10, 10, 10, 11, 11, 11, 10, 10, 10, 11, 11, 11])
    });
    let pad = Op::Pad { before: dims(&[1, 0]), after: dims(&[0, 2]), value: Scalar::Int(-1) };
    assert_eq!(eval(&pad, &[&x]), i(&[3, 4], &[-1, -1, -1, -1, 0, 1, -1, -1, 2, 3, -1, -1]));
}

#[test]
fn generated_tensors_follow_bindings() {
    let tokens = Dim::sym("tokens");
    let bindings = Bindings::from([("tokens".to_string(), 3)]);
    let make = |op: &Op| eval_op(op, &[], &bindings).unwrap().remove(0);
    let range = Op::Range { start: tokens.clone(), step: -2, len: tokens.clone() };
    assert_eq!(make(&range), i(&[3], &[3, 1, -1]));
    let fill = Op::Fill { dtype: DType::F16, value: Scalar::F32(0.5), shape: vec![tokens.clone()] };
    assert_eq!(make(&fill), f(&[3], &[0.5; 3]));
    let fill = Op::Fill { dtype: DType::U8, value: Scalar::Int(7), shape: vec![] };
    assert_eq!(make(&fill), HostTensor::new(vec![], Data::Int(DType::U8, vec![7])).unwrap());
    let sizes = Op::Dims { values: vec![tokens.clone() * Dim::constant(2), Dim::constant(5)] };
    assert_eq!(make(&sizes), i(&[2], &[6, 5]));
}
