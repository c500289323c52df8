//! Copies, padding, constants, and taking by index.

use qwenc_codegen_wgsl::copy::{self, CopyParams, PadParams};
use qwenc_codegen_wgsl::fill::{self, DimsParams, FillParams, RangeParams};
use qwenc_codegen_wgsl::gather::{self, GatherParams};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::interp::HostTensor;
use qwenc_ir::{DType, Dim, Op, Scalar};

use crate::device::{Random, sym};
use crate::{EXACT, dims, floats, gapped, hold, hold_to, ints, view};

#[test]
fn transposes_slices_and_expansions() {
    let symbols = [("past", 50, 7), ("tokens", 200, 53)];
    let mut random = Random::new(21);
    let stored = gapped(0, Elem::F32, &[Dim::constant(6), sym("tokens"), Dim::constant(11)], 2, 3);
    let values = floats(&symbols, &stored, &mut random, 1.0);

    let turned = stored.select_axes(&[2, 0, 1]);
    let output = gapped(1, Elem::F32, &turned.shape, 1, 5);
    let params = CopyParams { input: turned, output: output.clone() };
    let op = Op::Transpose { perm: vec![2, 0, 1] };
    hold("transpose", &symbols, &op, &[(stored.clone(), values.clone())], &output, EXACT, |s| {
        copy::kernel(s, &params)
    });

    // Backwards from the last position.
    let mut back = stored.clone();
    back.offset = back.offset + (sym("tokens") - Dim::constant(1)) * stored.strides[1].clone();
    back.strides[1] = stored.strides[1].clone() * Dim::constant(-1);
    let output = view(1, Elem::F32, &stored.shape);
    let params = CopyParams { input: back, output: output.clone() };
    let op = Op::Slice { axis: 1, start: sym("tokens") - Dim::constant(1), len: sym("tokens"), step: -1 };
    hold("reverse", &symbols, &op, &[(stored, values)], &output, EXACT, |s| copy::kernel(s, &params));

    let column = view(0, Elem::I32, &[sym("tokens"), Dim::constant(1)]);
    let values = ints(&symbols, &column, &mut random, -1000, 1000);
    let output = view(1, Elem::I32, &[Dim::constant(3), sym("tokens"), Dim::constant(9)]);
    let params = CopyParams { input: column.clone(), output: output.clone() };
    let op = Op::Expand { shape: output.shape.clone() };
    hold("expand", &symbols, &op, &[(column, values)], &output, EXACT, |s| copy::kernel(s, &params));
}

#[test]
fn one_piece_of_a_concatenation() {
    let symbols = [("past", 50, 7), ("tokens", 200, 19)];
    let piece = view(0, Elem::U32, &[sym("tokens"), Dim::constant(5)]);
    let values = HostTensor::bool([19, 5], (0..95).map(|i| i % 3 == 0).collect::<Vec<_>>()).unwrap();
    let mut output = view(1, Elem::U32, &[sym("tokens"), Dim::constant(5)]);
    output.offset = sym("past") * Dim::constant(5);
    let params = CopyParams { input: piece.clone(), output: output.clone() };
    hold_to("piece", &symbols, &[(piece, values.clone())], &output, &values, EXACT, |s| {
        copy::kernel(s, &params)
    });
}

#[test]
fn padding() {
    let symbols = [("past", 50, 7), ("tokens", 200, 19)];
    let input = gapped(0, Elem::F32, &[sym("tokens"), Dim::constant(5)], 2, 1);
    let values = floats(&symbols, &input, &mut Random::new(22), 1.0);
    let before = vec![sym("past"), Dim::constant(2)];
    let after = vec![Dim::constant(3), Dim::constant(0)];
    let total = sym("tokens") + sym("past") + Dim::constant(3);
    let output = view(1, Elem::F32, &[total, Dim::constant(7)]);
    for value in [-1.5, f32::NEG_INFINITY, 0.0] {
        let value = Scalar::F32(value);
        let params =
            PadParams { input: input.clone(), before: before.clone(), value, output: output.clone() };
        let op = Op::Pad { before: before.clone(), after: after.clone(), value };
        hold("pad", &symbols, &op, &[(input.clone(), values.clone())], &output, EXACT, |s| {
            copy::pad_kernel(s, &params)
        });
    }
}

#[test]
fn constants_ranges_and_dims() {
    let symbols = [("past", 5000, 1234), ("tokens", 200, 77)];
    let output = gapped(0, Elem::F32, &[sym("tokens"), Dim::constant(3)], 1, 2);
    for value in [0.5f32, f32::INFINITY, 3e-42] {
        let value = Scalar::F32(value);
        let op = Op::Fill { dtype: DType::F32, value, shape: output.shape.clone() };
        let params = FillParams { value, output: output.clone() };
        hold("fill", &symbols, &op, &[], &output, EXACT, |s| fill::kernel(s, &params));
    }
    let output = view(0, Elem::U32, &[sym("tokens")]);
    let op = Op::Fill { dtype: DType::Bool, value: Scalar::Bool(true), shape: output.shape.clone() };
    let params = FillParams { value: Scalar::Bool(true), output };
    hold("true", &symbols, &op, &[], &params.output, EXACT, |s| fill::kernel(s, &params));

    let output = view(0, Elem::I32, &[sym("tokens")]);
    for (start, step) in [(Dim::constant(-5), 3), (sym("past"), 1), (sym("tokens") - sym("past"), -2)] {
        let op = Op::Range { start: start.clone(), step, len: sym("tokens") };
        let params = RangeParams { start, step, output: output.clone() };
        hold("range", &symbols, &op, &[], &output, EXACT, |s| fill::range_kernel(s, &params));
    }

    let values =
        vec![sym("past") + sym("tokens"), Dim::constant(-1), Dim::constant(0), sym("tokens").ceil_div(64)];
    let output = view(0, Elem::I32, &[Dim::from(values.len())]);
    let params = DimsParams { values: values.clone(), output: output.clone() };
    hold("dims", &symbols, &Op::Dims { values }, &[], &output, EXACT, |s| fill::dims_kernel(s, &params));
}

#[test]
fn embedding_lookup() {
    let symbols = [("past", 50, 7), ("tokens", 200, 41)];
    let mut random = Random::new(23);
    let table = view(0, Elem::F32, &dims(&[97, 33]));
    let mut ids = view(1, Elem::I32, &[Dim::constant(1), sym("tokens")]);
    ids.offset = sym("past");
    let output = view(2, Elem::F32, &[Dim::constant(1), sym("tokens"), Dim::constant(33)]);
    let operands = [
        (table.clone(), floats(&symbols, &table, &mut random, 1.0)),
        (ids.clone(), ints(&symbols, &ids, &mut random, -97, 97)),
    ];
    let params = GatherParams { axis: 0, input: table, indices: ids, output: output.clone() };
    hold("lookup", &symbols, &Op::Gather { axis: 0 }, &operands, &output, EXACT, |s| {
        gather::kernel(s, &params)
    });
}

#[test]
fn taking_along_an_inner_axis() {
    let mut random = Random::new(24);
    let data = gapped(0, Elem::I32, &dims(&[4, 13, 5]), 2, 3).select_axes(&[2, 1, 0]);
    let output_shape = |indices: &[i64]| dims(&[&[5], indices, &[4]].concat());
    for shape in [vec![], vec![1], vec![2, 3]] {
        let indices = view(1, Elem::I32, &dims(&shape));
        let output = view(2, Elem::I32, &output_shape(&shape));
        let operands = [
            (data.clone(), ints(&[], &data, &mut random, -99, 99)),
            (indices.clone(), ints(&[], &indices, &mut random, -13, 13)),
        ];
        let params = GatherParams { axis: 1, input: data.clone(), indices, output: output.clone() };
        hold("inner", &[], &Op::Gather { axis: 1 }, &operands, &output, EXACT, |s| {
            gather::kernel(s, &params)
        });
    }
}

#[test]
fn indices_out_of_range_take_zeros() {
    let table = view(0, Elem::F32, &dims(&[3, 2]));
    let ids = view(1, Elem::I32, &dims(&[5]));
    let output = view(2, Elem::F32, &dims(&[5, 2]));
    let operands: [(View, HostTensor); 2] = [
        (table.clone(), HostTensor::f32([3, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap()),
        (
            ids.clone(),
            HostTensor::i64([5], vec![3, -4, -1, i64::from(i32::MIN), i64::from(i32::MAX)]).unwrap(),
        ),
    ];
    let expected = HostTensor::f32([5, 2], vec![0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
    let params = GatherParams { axis: 0, input: table, indices: ids, output: output.clone() };
    hold_to("outside", &[], &operands, &output, &expected, EXACT, |s| gather::kernel(s, &params));
}
