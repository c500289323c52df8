//! Broadcasting, layouts and sizes of elementwise kernels.

use qwenc_codegen_wgsl::elementwise::{ElementwiseParams, kernel};
use qwenc_codegen_wgsl::wgsl_expr::Argument;
use qwenc_codegen_wgsl::{BufferKey, Elem, View};
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, Scalar, UnaryOp};

use crate::device::{Random, sym};
use crate::{CLOSE, EXACT, dims, floats, gapped, hold, ints, view};

fn arguments(views: &[(&View, DType)]) -> Vec<Argument> {
    views.iter().map(|(view, dtype)| Argument { view: (*view).clone(), dtype: *dtype }).collect()
}

#[test]
fn strided_and_broadcast_inputs() {
    let symbols = [("past", 99, 3), ("tokens", 300, 37)];
    let mut random = Random::new(1);
    let shape = [sym("tokens"), Dim::constant(3), Dim::constant(29)];
    let a = gapped(0, Elem::F32, &shape, 5, 7);
    let b = view(1, Elem::F32, &dims(&[3, 1]));
    // A transposed operand, whose offset is only known in the run.
    let stored = view(2, Elem::F32, &[Dim::constant(29), Dim::constant(3), sym("tokens")]);
    let mut c = stored.select_axes(&[2, 1, 0]);
    c.offset = sym("past") * Dim::constant(2);
    let output = gapped(3, Elem::F32, &shape, 2, 1);
    let expr = Expr::Arg(0)
        .binary(BinaryOp::Mul, Expr::Arg(1))
        .binary(BinaryOp::Add, Expr::Arg(2).unary(UnaryOp::Silu));
    let operands = [&a, &b, &c].map(|view| (view.clone(), floats(&symbols, view, &mut random, 2.0)));
    let params = ElementwiseParams {
        expr: expr.clone(),
        inputs: arguments(&[(&a, DType::F32), (&b, DType::F32), (&c, DType::F32)]),
        output: output.clone(),
    };
    hold("strided", &symbols, &Op::Elementwise(expr), &operands, &output, CLOSE, |s| kernel(s, &params));
}

#[test]
fn scalars_and_single_elements() {
    let mut random = Random::new(2);
    for shape in [vec![], vec![1, 1], vec![5]] {
        let a = view(0, Elem::F32, &dims(&shape));
        let b = view(1, Elem::F32, &[]);
        let output = view(2, Elem::F32, &dims(&shape));
        let expr = Expr::Arg(0).binary(BinaryOp::Sub, Expr::Arg(1));
        let operands = [&a, &b].map(|view| (view.clone(), floats(&[], view, &mut random, 2.0)));
        let params = ElementwiseParams {
            expr: expr.clone(),
            inputs: arguments(&[(&a, DType::F32), (&b, DType::F32)]),
            output: output.clone(),
        };
        hold("scalar", &[], &Op::Elementwise(expr), &operands, &output, EXACT, |s| kernel(s, &params));
    }
}

#[test]
fn many_workgroups_in_place() {
    // More elements than one dimension of workgroups would hold at 64 invocations.
    let symbols = [("tokens", 5000, 4321)];
    let shape = [sym("tokens"), Dim::constant(1031)];
    let a = view(0, Elem::F32, &shape);
    let expr = Expr::Arg(0).binary(BinaryOp::Add, Expr::f32(1.0));
    let operands = [(a.clone(), floats(&symbols, &a, &mut Random::new(3), 100.0))];
    let params =
        ElementwiseParams { expr: expr.clone(), inputs: arguments(&[(&a, DType::F32)]), output: a.clone() };
    hold("in place", &symbols, &Op::Elementwise(expr), &operands, &a, EXACT, |s| kernel(s, &params));
}

#[test]
fn comparisons_selection_and_casts() {
    let mut random = Random::new(4);
    let shape = dims(&[7, 31]);
    let a = view(0, Elem::I32, &shape);
    let b = view(1, Elem::F32, &dims(&[31]));
    let output = view(2, Elem::U32, &shape);
    let expr = Expr::Arg(0)
        .cast(DType::F32)
        .binary(BinaryOp::Lt, Expr::Arg(1))
        .binary(BinaryOp::Or, Expr::Arg(0).binary(BinaryOp::Eq, Expr::Const(Scalar::Int(-3))));
    let operands =
        [(a.clone(), ints(&[], &a, &mut random, -9, 9)), (b.clone(), floats(&[], &b, &mut random, 9.0))];
    let inputs = arguments(&[(&a, DType::I64), (&b, DType::F32)]);
    let params = ElementwiseParams { expr: expr.clone(), inputs: inputs.clone(), output: output.clone() };
    hold("bool", &[], &Op::Elementwise(expr.clone()), &operands, &output, EXACT, |s| kernel(s, &params));

    let output = view(2, Elem::F32, &shape);
    let chosen = expr.select(Expr::Arg(1), Expr::f32(0.25));
    let params = ElementwiseParams { expr: chosen.clone(), inputs, output: output.clone() };
    hold("select", &[], &Op::Elementwise(chosen), &operands, &output, EXACT, |s| kernel(s, &params));
}

#[test]
fn types_must_fit() {
    let a = view(0, Elem::F32, &dims(&[4]));
    let params = ElementwiseParams {
        expr: Expr::Arg(0).unary(UnaryOp::Exp),
        inputs: arguments(&[(&a, DType::I64)]),
        output: view(1, Elem::F32, &dims(&[4])),
    };
    assert!(kernel(&Default::default(), &params).is_err());
    let wrong = View { shape: dims(&[3]), buffer: BufferKey(1), ..a.clone() };
    let params =
        ElementwiseParams { expr: Expr::Arg(0), inputs: arguments(&[(&a, DType::F32)]), output: wrong };
    assert!(kernel(&Default::default(), &params).is_err());
}
