use qwenc_ir::interp::{Data, HostTensor};
use qwenc_ir::{DType, Op};

use crate::util::{eval, f, try_eval};

fn codes(dtype: DType, shape: &[usize], values: &[i64]) -> HostTensor {
    HostTensor::new(shape.to_vec(), Data::Int(dtype, values.to_vec())).unwrap()
}

#[test]
fn blocks_along_the_last_axis_by_hand() {
    // Two rows of five codes in blocks of two: the last block has one code.
    let q = codes(DType::U4, &[2, 5], &[0, 1, 2, 3, 4, 15, 14, 13, 12, 11]);
    let scales = f(&[2, 3], &[1.0, 10.0, 100.0, 0.5, 0.25, 2.0]);
    let y = eval(&Op::Dequantize { axis: 1, block: 2, zero: 8 }, &[&q, &scales]);
    assert_eq!(y, f(&[2, 5], &[-8.0, -7.0, -60.0, -50.0, -400.0, 3.5, 3.0, 1.25, 1.0, 6.0]));
    let zeros = codes(DType::U4, &[2, 3], &[0, 1, 2, 15, 14, 13]);
    let y = eval(&Op::Dequantize { axis: 1, block: 2, zero: 0 }, &[&q, &scales, &zeros]);
    assert_eq!(y, f(&[2, 5], &[0.0, 1.0, 10.0, 20.0, 200.0, 0.0, -0.5, -0.25, -0.5, -4.0]));
}

#[test]
fn zero_points_may_be_floats_and_scales_shared() {
    let q = codes(DType::I8, &[3, 2], &[-128, 127, 0, 1, 2, 3]);
    let scales = f(&[1, 2], &[0.5, 2.0]);
    let zeros = f(&[1, 2], &[0.5, -0.25]);
    let y = eval(&Op::Dequantize { axis: 0, block: 3, zero: 0 }, &[&q, &scales, &zeros]);
    assert_eq!(y, f(&[3, 2], &[-64.25, 254.5, -0.25, 2.5, 0.75, 6.5]));
    // One scale for everything.
    let y = eval(&Op::Dequantize { axis: 1, block: 2, zero: 1 }, &[&q, &f(&[1, 1], &[2.0])]);
    assert_eq!(y, f(&[3, 2], &[-258.0, 252.0, -2.0, 0.0, 2.0, 4.0]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let q = codes(DType::U2, &[2, 4], &[0, 1, 2, 3, 3, 2, 1, 0]);
    let refused = |op: Op, inputs: &[Option<&HostTensor>], message: &str| {
        let error = try_eval(&op, inputs).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let op = |axis, block, zero| Op::Dequantize { axis, block, zero };
    let scales = f(&[2, 2], &[1.0; 4]);
    refused(op(1, 3, 0), &[Some(&q), Some(&f(&[2, 1], &[1.0; 2]))], "scales");
    refused(op(1, 0, 0), &[Some(&q), Some(&scales)], "no codes");
    refused(op(2, 2, 0), &[Some(&q), Some(&scales)], "axis 2");
    refused(op(1, 2, 0), &[Some(&scales), Some(&scales)], "codes must be integers");
    refused(op(1, 2, 1), &[Some(&q), Some(&scales), Some(&scales)], "twice");
    let other = codes(DType::U8, &[2, 2], &[0; 4]);
    refused(op(1, 2, 0), &[Some(&q), Some(&scales), Some(&other)], "zero points");
}
