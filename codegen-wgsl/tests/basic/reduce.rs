//! Reductions, extreme elements, running sums and softmax, along axes of any layout.

use qwenc_codegen_wgsl::arg_reduce::{self, ArgReduceParams};
use qwenc_codegen_wgsl::cumsum::{self, CumSumParams};
use qwenc_codegen_wgsl::reduce::{self, ReduceParams};
use qwenc_codegen_wgsl::softmax::{self, SoftmaxParams};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::interp::{Data, HostTensor};
use qwenc_ir::op::ReduceKind;
use qwenc_ir::{DType, Dim, Op};

use crate::device::{Random, sym};
use crate::{EXACT, Symbol, Tolerance, dims, floats, gapped, hold, hold_to, ints, view};

const SYMBOLS: [Symbol; 2] = [("past", 900, 611), ("tokens", 40, 13)];
const KINDS: [ReduceKind; 10] = [
    ReduceKind::Sum,
    ReduceKind::Mean,
    ReduceKind::Max,
    ReduceKind::Min,
    ReduceKind::Prod,
    ReduceKind::SumSquare,
    ReduceKind::L1,
    ReduceKind::L2,
    ReduceKind::LogSum,
    ReduceKind::LogSumExp,
];

/// A rank-4 operand with gaps, transposed: `[tokens, 5, past, 3]`.
fn operand(elem: Elem) -> View {
    let stored = [Dim::constant(5), sym("tokens"), Dim::constant(3), sym("past")];
    gapped(0, elem, &stored, 2, 7).select_axes(&[1, 0, 3, 2])
}

fn i32s(tensor: &HostTensor) -> HostTensor {
    HostTensor::new(tensor.shape().to_vec(), Data::Int(DType::I32, tensor.as_int().unwrap().to_vec()))
        .unwrap()
}

#[test]
fn reductions_over_any_axes() {
    let input = operand(Elem::F32);
    // Positive, so that sums and logarithms are well conditioned; near 1, so that products stay in range.
    let values = floats(&SYMBOLS, &input, &mut Random::new(31), 0.02);
    let values: Vec<f32> = values.as_f32().unwrap().iter().map(|x| 1.0 + x).collect();
    let values = HostTensor::f32([13, 5, 611, 3], values).unwrap();
    let tolerance = Tolerance { absolute: 2e-6, relative: 2e-5 };
    for kind in KINDS {
        for (axes, keep_dims) in
            [(vec![2], true), (vec![1], false), (vec![0, 3], true), (vec![1, 2, 3], false)]
        {
            let kept = |(axis, dim): (usize, &Dim)| match (axes.contains(&axis), keep_dims) {
                (false, _) => Some(dim.clone()),
                (true, keep) => keep.then(|| Dim::constant(1)),
            };
            let shape: Vec<Dim> = input.shape.iter().enumerate().filter_map(kept).collect();
            let output = gapped(1, Elem::F32, &shape, 1, 2);
            let op = Op::Reduce { kind, axes: axes.clone(), keep_dims };
            let params =
                ReduceParams { kind, axes: axes.clone(), input: input.clone(), output: output.clone() };
            let what = format!("{kind:?} over {axes:?}");
            hold(&what, &SYMBOLS, &op, &[(input.clone(), values.clone())], &output, tolerance, |s| {
                reduce::kernel(s, &params)
            });
        }
    }
}

#[test]
fn reductions_of_integers() {
    let input = operand(Elem::I32);
    let values = i32s(&ints(&SYMBOLS, &input, &mut Random::new(32), -50, 50));
    for kind in KINDS {
        let output = view(1, Elem::I32, &[sym("tokens"), Dim::constant(5), Dim::constant(3)]);
        let params = ReduceParams { kind, axes: vec![2], input: input.clone(), output: output.clone() };
        if matches!(kind, ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp) {
            assert!(reduce::kernel(&crate::device::Device::new(&SYMBOLS).symbols, &params).is_err());
            continue;
        }
        let op = Op::Reduce { kind, axes: vec![2], keep_dims: false };
        hold(&format!("{kind:?}"), &SYMBOLS, &op, &[(input.clone(), values.clone())], &output, EXACT, |s| {
            reduce::kernel(s, &params)
        });
    }
}

#[test]
fn extreme_values_in_reductions() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let rows =
        [[1.0, 100.0, 3.0], [-inf, -inf, -inf], [inf, 0.0, 1.0], [nan, 1.0, 2.0], [-1000.0, -1001.0, -999.0]];
    let input = view(0, Elem::F32, &dims(&[5, 3]));
    let output = view(1, Elem::F32, &dims(&[5]));
    let values = HostTensor::f32([5, 3], rows.concat()).unwrap();
    for kind in [ReduceKind::Max, ReduceKind::Min, ReduceKind::LogSumExp] {
        let op = Op::Reduce { kind, axes: vec![1], keep_dims: false };
        let params = ReduceParams { kind, axes: vec![1], input: input.clone(), output: output.clone() };
        let tolerance = Tolerance { absolute: 0.0, relative: 1e-6 };
        hold(&format!("{kind:?}"), &[], &op, &[(input.clone(), values.clone())], &output, tolerance, |s| {
            reduce::kernel(s, &params)
        });
    }
}

#[test]
fn first_and_last_of_equal_elements() {
    for elem in [Elem::F32, Elem::I32] {
        let input = operand(elem);
        let values = ints(&SYMBOLS, &input, &mut Random::new(33), -40, 40);
        let values = match elem {
            Elem::F32 => {
                let floats: Vec<f32> =
                    values.as_int().unwrap().iter().map(|x| f32::from(i16::try_from(*x).unwrap())).collect();
                HostTensor::f32(values.shape().to_vec(), floats).unwrap()
            }
            _ => i32s(&values),
        };
        for (min, last) in [(false, false), (false, true), (true, false), (true, true)] {
            for axis in [2, 3] {
                let mut shape = input.shape.clone();
                shape.remove(axis);
                let output = view(1, Elem::I32, &shape);
                let op = Op::ArgReduce { min, axis, keep_dims: false, last };
                let params =
                    ArgReduceParams { min, axis, last, input: input.clone(), output: output.clone() };
                let what = format!("{elem:?} min {min} last {last} axis {axis}");
                hold(&what, &SYMBOLS, &op, &[(input.clone(), values.clone())], &output, EXACT, |s| {
                    arg_reduce::kernel(s, &params)
                });
            }
        }
    }
}

#[test]
fn the_best_of_a_vocabulary() {
    let input = view(0, Elem::F32, &dims(&[1, 24_833]));
    let output = view(1, Elem::I32, &dims(&[1, 1]));
    let mut values = Random::new(34).vec(24_833);
    values[0] = f32::NAN;
    values[20_011] = 7.0;
    let values = HostTensor::f32([1, 24_833], values).unwrap();
    let expected = HostTensor::i64([1, 1], vec![20_011]).unwrap();
    let params =
        ArgReduceParams { min: false, axis: 1, last: false, input: input.clone(), output: output.clone() };
    hold_to("vocabulary", &[], &[(input, values)], &output, &expected, EXACT, |s| {
        arg_reduce::kernel(s, &params)
    });
}

#[test]
fn running_sums() {
    for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
        for axis in [0, 2] {
            let input = operand(Elem::F32);
            let values = floats(&SYMBOLS, &input, &mut Random::new(35), 1.0);
            let output = gapped(1, Elem::F32, &input.shape, 1, 3);
            let op = Op::CumSum { axis, exclusive, reverse };
            let params =
                CumSumParams { axis, exclusive, reverse, input: input.clone(), output: output.clone() };
            let tolerance = Tolerance { absolute: 2e-5, relative: 1e-5 };
            hold("cumsum", &SYMBOLS, &op, &[(input, values)], &output, tolerance, |s| {
                cumsum::kernel(s, &params)
            });
        }
    }
    let input = operand(Elem::I32);
    let values = ints(&SYMBOLS, &input, &mut Random::new(36), -50, 50);
    let op = Op::CumSum { axis: 2, exclusive: false, reverse: false };
    let params = CumSumParams {
        axis: 2,
        exclusive: false,
        reverse: false,
        input: input.clone(),
        output: input.clone(),
    };
    hold("in place", &SYMBOLS, &op, &[(input.clone(), values)], &input, EXACT, |s| {
        cumsum::kernel(s, &params)
    });
}

#[test]
fn softmax_along_any_axis() {
    let tolerance = Tolerance { absolute: 2e-6, relative: 1e-5 };
    for log in [false, true] {
        for axis in 0..4 {
            let input = operand(Elem::F32);
            let values = floats(&SYMBOLS, &input, &mut Random::new(37), 30.0);
            let output = gapped(1, Elem::F32, &input.shape, 1, 3);
            let op = Op::Softmax { axis, log };
            let params = SoftmaxParams { axis, log, input: input.clone(), output: output.clone() };
            hold("softmax", &SYMBOLS, &op, &[(input, values)], &output, tolerance, |s| {
                softmax::kernel(s, &params)
            });
        }
    }
    // Masked scores, and scores far from zero.
    let rows = [[f32::NEG_INFINITY, 1.0, 2.0], [-3e4, -3e4, -3.1e4], [3e4, 1.0, 3e4]].concat();
    let input = view(0, Elem::F32, &dims(&[3, 3]));
    let params = SoftmaxParams { axis: 1, log: false, input: input.clone(), output: input.clone() };
    let op = Op::Softmax { axis: 1, log: false };
    let operands = [(input.clone(), HostTensor::f32([3, 3], rows).unwrap())];
    hold("masked", &[], &op, &operands, &input, tolerance, |s| softmax::kernel(s, &params));
}
