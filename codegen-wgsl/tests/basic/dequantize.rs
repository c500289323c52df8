//! Codes that come at run time, held to plain arithmetic.

use qwenc_codegen_wgsl::dequantize::{self, DequantizeParams, Zero};
use qwenc_codegen_wgsl::{BufferKey, Elem, Symbols, View};
use qwenc_ir::Dim;
use qwenc_ir::interp::{Data, HostTensor};

use crate::device::{Random, sym};
use crate::{EXACT, Symbol, dims, floats, gapped, hold_to, ints, view};

const SYMBOLS: [Symbol; 2] = [("past", 9, 4), ("tokens", 40, 13)];

/// Elements of a tensor as f32.
fn numbers(tensor: &HostTensor) -> Vec<f32> {
    match tensor.data() {
        Data::F32(values) => values.clone(),
        Data::Int(_, values) => values.iter().map(|value| *value as f32).collect(),
        Data::Bool(_) => panic!("no numbers"),
    }
}

fn check(what: &str, axis: usize, block: usize, codes: &View, scales: &View, zero: Zero) {
    let mut random = Random::new(block as u64);
    let output = View { buffer: BufferKey(9), ..gapped(9, Elem::F32, &codes.shape, 2, 1) };
    let params = DequantizeParams {
        axis,
        block: u32::try_from(block).unwrap(),
        codes: codes.clone(),
        scales: scales.clone(),
        zero: zero.clone(),
        output: output.clone(),
    };
    let low = if codes.elem == Elem::U32 { 0 } else { -128 };
    let code_values = ints(&SYMBOLS, codes, &mut random, low, low + 256);
    let scale_values = floats(&SYMBOLS, scales, &mut random, 0.1);
    let mut operands = vec![(codes.clone(), code_values.clone()), (scales.clone(), scale_values.clone())];
    let zero_values = match &zero {
        Zero::Constant(_) => None,
        Zero::View(view) if view.elem == Elem::F32 => Some(floats(&SYMBOLS, view, &mut random, 50.0)),
        Zero::View(view) => Some(ints(&SYMBOLS, view, &mut random, low, low + 256)),
    };
    if let (Zero::View(view), Some(values)) = (&zero, &zero_values) {
        operands.push((view.clone(), values.clone()));
    }

    let (shape, scale_shape) = (code_values.shape().to_vec(), scale_values.shape().to_vec());
    let (scale_values, zeros) = (numbers(&scale_values), zero_values.as_ref().map(numbers));
    let expected: Vec<f32> = numbers(&code_values)
        .into_iter()
        .enumerate()
        .map(|(flat, code)| {
            // Coordinates from the last axis on, each taken to that of the scale.
            let (mut rest, mut at, mut stride) = (flat, 0, 1);
            for other in (0..shape.len()).rev() {
                let coordinate = rest % shape[other];
                rest /= shape[other];
                let coordinate = if other == axis { coordinate / block } else { coordinate };
                at += coordinate.min(scale_shape[other] - 1) * stride;
                stride *= scale_shape[other];
            }
            let zero = match (&zeros, &zero) {
                (Some(zeros), _) => zeros[at],
                (None, Zero::Constant(zero)) => *zero as f32,
                (None, Zero::View(_)) => panic!("no zero points"),
            };
            (code - zero) * scale_values[at]
        })
        .collect();
    let expected = HostTensor::f32(shape, expected).unwrap();
    hold_to(what, &SYMBOLS, &operands, &output, &expected, EXACT, |s| dequantize::kernel(s, &params));
}

#[test]
fn blocks_along_every_axis() {
    let codes = gapped(0, Elem::I32, &[Dim::constant(5), sym("tokens"), Dim::constant(7)], 1, 2);
    let scales = |shape: &[Dim]| gapped(1, Elem::F32, shape, 2, 1);
    let zeros = |elem, shape: &[Dim]| Zero::View(view(2, elem, shape));
    let (five, seven, one) = (Dim::constant(5), Dim::constant(7), Dim::constant(1));

    let shape = [Dim::constant(2), sym("tokens"), seven.clone()];
    check("first axis", 0, 3, &codes, &scales(&shape), Zero::Constant(0));
    let shape = [five.clone(), sym("tokens").ceil_div(4), seven.clone()];
    check("blocks of a symbol", 1, 4, &codes, &scales(&shape), zeros(Elem::I32, &shape));
    let shape = [five, sym("tokens"), Dim::constant(4)];
    check("last axis", 2, 2, &codes, &scales(&shape), zeros(Elem::F32, &shape));
    let shape = [one.clone(), one.clone(), seven];
    check("one scale a column", 2, 1, &codes, &scales(&shape), Zero::Constant(-3));
    let shape = [one.clone(), one.clone(), one];
    check("one scale for all", 1, 40, &codes, &scales(&shape), zeros(Elem::I32, &shape));
}

#[test]
fn unsigned_codes() {
    let codes = view(0, Elem::U32, &dims(&[33, 67]));
    let shape = dims(&[33, 5]);
    let scales = view(1, Elem::F32, &shape);
    check("unsigned", 1, 16, &codes, &scales, Zero::View(view(2, Elem::U32, &shape)));
    check("constant", 1, 16, &codes, &scales, Zero::Constant(128));
    let codes = view(0, Elem::U32, &dims(&[1]));
    check("one", 0, 1, &codes, &view(1, Elem::F32, &dims(&[1])), Zero::Constant(1));
}

#[test]
fn scales_that_do_not_fit_are_refused() {
    let params = DequantizeParams {
        axis: 1,
        block: 4,
        codes: view(0, Elem::I32, &dims(&[3, 10])),
        scales: view(1, Elem::F32, &dims(&[3, 3])),
        zero: Zero::View(view(2, Elem::I32, &dims(&[3, 3]))),
        output: view(3, Elem::F32, &dims(&[3, 10])),
    };
    let symbols = Symbols::new([("tokens".to_string(), (1, 5))]);
    assert!(dequantize::kernel(&symbols, &params).is_ok());
    let wrong = [
        DequantizeParams { axis: 2, ..params.clone() },
        DequantizeParams { block: 0, ..params.clone() },
        DequantizeParams { block: 5, ..params.clone() },
        DequantizeParams { scales: view(1, Elem::F32, &dims(&[2, 3])), ..params.clone() },
        DequantizeParams { scales: view(1, Elem::F32, &dims(&[3])), ..params.clone() },
        DequantizeParams { scales: view(1, Elem::I32, &dims(&[3, 3])), ..params.clone() },
        DequantizeParams { zero: Zero::View(view(2, Elem::I32, &dims(&[3, 1]))), ..params.clone() },
        DequantizeParams { codes: view(0, Elem::F32, &dims(&[3, 10])), ..params.clone() },
        DequantizeParams { output: view(3, Elem::F32, &dims(&[3, 9])), ..params.clone() },
        // The axis may be longer than the one block.
        DequantizeParams {
            codes: view(0, Elem::I32, &[Dim::constant(3), sym("tokens")]),
            output: view(3, Elem::F32, &[Dim::constant(3), sym("tokens")]),
            scales: view(1, Elem::F32, &dims(&[3, 1])),
            zero: Zero::Constant(0),
            ..params.clone()
        },
    ];
    for params in wrong {
        assert!(dequantize::kernel(&symbols, &params).is_err(), "{params:?}");
    }
}
