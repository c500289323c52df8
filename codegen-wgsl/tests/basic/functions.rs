//! The values of every function that expressions have.

use qwenc_codegen_wgsl::Elem;
use qwenc_codegen_wgsl::elementwise::{ElementwiseParams, kernel};
use qwenc_codegen_wgsl::wgsl_expr::Argument;
use qwenc_ir::interp::HostTensor;
use qwenc_ir::{BinaryOp, DType, Dim, Expr, Op, UnaryOp};

use crate::{EXACT, Tolerance, hold, view};

/// Holds an expression over rank-1 inputs to the interpreter.
fn check(what: &str, expr: Expr, inputs: &[HostTensor], output: Elem, tolerance: Tolerance) {
    let count = Dim::from(inputs[0].len());
    let elem = |dtype| Elem::of(dtype).unwrap();
    let operands: Vec<_> = (0u32..)
        .zip(inputs)
        .map(|(buffer, input)| {
            (view(buffer, elem(input.dtype()), std::slice::from_ref(&count)), input.clone())
        })
        .collect();
    let inputs = operands.iter().map(|(view, tensor)| Argument { view: view.clone(), dtype: tensor.dtype() });
    let output = view(9, output, std::slice::from_ref(&count));
    let params = ElementwiseParams { expr: expr.clone(), inputs: inputs.collect(), output: output.clone() };
    hold(what, &[], &Op::Elementwise(expr), &operands, &output, tolerance, |symbols| {
        kernel(symbols, &params)
    });
}

fn f32s(values: Vec<f32>) -> HostTensor {
    HostTensor::f32([values.len()], values).unwrap()
}

/// `count` values from `low` to `high`.
fn ramp(low: f32, high: f32, count: u16) -> Vec<f32> {
    (0..count).map(|i| low + (high - low) * f32::from(i) / f32::from(count - 1)).collect()
}

const SMALL: Tolerance = Tolerance { absolute: 2e-7, relative: 2e-6 };

#[test]
fn functions_of_one_float() {
    use UnaryOp::*;
    let wide = [ramp(-30.0, 30.0, 401), ramp(-1.0, 1.0, 203), vec![0.0, 1e-6, -1e-6]].concat();
    let unit = [ramp(-1.0, 1.0, 401), vec![0.5, -0.5, 1e-5]].concat();
    let positive = [ramp(1e-3, 50.0, 301), vec![1e-20, 1e20, 1.0]].concat();
    let from_one = [ramp(1.0, 3.0, 101), ramp(3.0, 5000.0, 50)].concat();
    let inside = [ramp(-0.999, 0.999, 301), vec![1e-5]].concat();
    let cases: Vec<(UnaryOp, &[f32], Tolerance)> = vec![
        (Neg, &wide, EXACT),
        (Abs, &wide, EXACT),
        (Exp, &wide, Tolerance { absolute: 1e-12, relative: 6e-6 }),
        (Log, &positive, Tolerance { absolute: 1e-6, relative: 1e-6 }),
        (Sqrt, &positive, SMALL),
        (Rsqrt, &positive, SMALL),
        (Recip, &positive, SMALL),
        (Sin, &wide, SMALL),
        (Cos, &wide, SMALL),
        (Tan, &unit, SMALL),
        (Asin, &unit, SMALL),
        (Acos, &unit, Tolerance { absolute: 5e-7, relative: 1e-6 }),
        (Atan, &wide, SMALL),
        (Sinh, &wide, Tolerance { absolute: 1e-7, relative: 6e-6 }),
        (Cosh, &wide, Tolerance { absolute: 1e-7, relative: 6e-6 }),
        (Tanh, &wide, Tolerance { absolute: 4e-7, relative: 1e-6 }),
        (Asinh, &wide, Tolerance { absolute: 1e-6, relative: 1e-6 }),
        (Acosh, &from_one, Tolerance { absolute: 1e-6, relative: 1e-6 }),
        (Atanh, &inside, Tolerance { absolute: 1e-6, relative: 2e-6 }),
        (Sigmoid, &wide, Tolerance { absolute: 1e-12, relative: 6e-6 }),
        (Silu, &wide, Tolerance { absolute: 1e-10, relative: 6e-6 }),
        (Softplus, &wide, Tolerance { absolute: 1e-12, relative: 6e-6 }),
        (Erf, &wide, SMALL),
        (Floor, &wide, EXACT),
        (Ceil, &wide, EXACT),
        (Round, &wide, EXACT),
        (Sign, &wide, EXACT),
    ];
    for (op, values, tolerance) in cases {
        check(&format!("{op:?}"), Expr::Arg(0).unary(op), &[f32s(values.to_vec())], Elem::F32, tolerance);
    }
    check("IsNan", Expr::Arg(0).unary(IsNan), &[f32s(vec![f32::NAN, 1.0, f32::INFINITY])], Elem::U32, EXACT);
}

#[test]
fn large_arguments_do_not_overflow() {
    use UnaryOp::*;
    let large = vec![-1e30, -1000.0, -100.0, 100.0, 1000.0, 1e30, f32::INFINITY, f32::NEG_INFINITY];
    for op in [Tanh, Sigmoid, Softplus, Erf, Atan, Sign] {
        let tolerance = Tolerance { absolute: 1e-30, relative: 1e-6 };
        check(&format!("{op:?}"), Expr::Arg(0).unary(op), &[f32s(large.clone())], Elem::F32, tolerance);
    }
    for op in [Tanh, Sigmoid, Softplus, Erf, Sign, Sin, Asin, Acosh, Atanh] {
        check(&format!("{op:?}"), Expr::Arg(0).unary(op), &[f32s(vec![f32::NAN; 3])], Elem::F32, EXACT);
    }
    let angles = [ramp(-1e4, 1e4, 501), ramp(3000.0, 3010.0, 101)].concat();
    for op in [Sin, Cos] {
        let tolerance = Tolerance { absolute: 1e-6, relative: 0.0 };
        check(&format!("{op:?}"), Expr::Arg(0).unary(op), &[f32s(angles.clone())], Elem::F32, tolerance);
    }
    check(
        "halves",
        Expr::Arg(0).unary(Round),
        &[f32s(vec![0.5, 1.5, 2.5, -0.5, -1.5, 3.5])],
        Elem::F32,
        EXACT,
    );
}

#[test]
fn functions_of_two_floats() {
    use BinaryOp::*;
    let a = [ramp(-7.0, 7.0, 57), vec![0.0, 0.0, 2.0, -2.0, -8.0, -2.0, 10.0]].concat();
    let b = [ramp(3.1, -2.9, 57), vec![0.0, 2.0, -1.0, 3.0, 0.5, -3.0, 3.0]].concat();
    for op in [Add, Sub, Mul, Div, Mod, Fmod, Pow, Min, Max] {
        let tolerance = Tolerance { absolute: 2e-6, relative: 1e-5 };
        let inputs = [f32s(a.clone()), f32s(b.clone())];
        check(&format!("{op:?}"), Expr::Arg(0).binary(op, Expr::Arg(1)), &inputs, Elem::F32, tolerance);
    }
    for op in [Eq, Lt, Le, Gt, Ge] {
        let inputs = [f32s(vec![1.0, 2.0, 3.0, f32::NAN]), f32s(vec![2.0, 2.0, 2.0, 1.0])];
        check(&format!("{op:?}"), Expr::Arg(0).binary(op, Expr::Arg(1)), &inputs, Elem::U32, EXACT);
    }
    let (x, nan) = (vec![1.0, f32::NAN, -1.0], vec![f32::NAN, 2.0, 0.0]);
    for op in [Min, Max] {
        let expr = Expr::Arg(0).binary(op, Expr::Arg(1));
        check("NaN", expr, &[f32s(x.clone()), f32s(nan.clone())], Elem::F32, EXACT);
    }
    for exponent in [1.0, 2.0, 3.0, -1.0, 0.5, 0.0, 2.5] {
        let expr = Expr::Arg(0).binary(Pow, Expr::f32(exponent));
        let tolerance = Tolerance { absolute: 1e-6, relative: 3e-6 };
        check("power", expr, &[f32s(ramp(-5.0, 5.0, 41))], Elem::F32, tolerance);
    }
}

#[test]
fn functions_of_integers() {
    use BinaryOp::*;
    let a: Vec<i64> = vec![7, -7, 7, -7, 0, 5, -1, 1 << 20, 12, -2, 3, i64::from(i32::MIN)];
    let b: Vec<i64> = vec![3, 3, -3, -3, 4, 1, 5, 2, 31, 3, -1, -1];
    let int = |values: &[i64]| HostTensor::i64([values.len()], values).unwrap().cast_to_i32();
    for op in [Add, Sub, Mul, Div, Mod, Fmod, Pow, Min, Max, BitAnd, BitOr, BitXor, Shl, Shr] {
        let expr = Expr::Arg(0).binary(op, Expr::Arg(1));
        check(&format!("{op:?}"), expr, &[int(&a), int(&b)], Elem::I32, EXACT);
    }
    for op in [UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Sign, UnaryOp::BitNot] {
        check(&format!("{op:?}"), Expr::Arg(0).unary(op), &[int(&a)], Elem::I32, EXACT);
    }
}

#[test]
fn conversions() {
    let values = vec![0.0, -0.7, 0.7, 1.5, -1.5, 300.0, -300.0, 3e9, -3e9, f32::NAN, 1e20, f32::INFINITY];
    for to in [DType::I32, DType::U32, DType::I8, DType::U8, DType::I16, DType::Bool, DType::F16] {
        let elem = Elem::of(to).unwrap();
        check(&format!("f32 to {to}"), Expr::Arg(0).cast(to), &[f32s(values.clone())], elem, EXACT);
    }
    let ints = HostTensor::i64([6], vec![0, 1, -1, 255, 256, -129]).unwrap().cast_to_i32();
    for to in [DType::F32, DType::U32, DType::I8, DType::U8, DType::Bool] {
        let elem = Elem::of(to).unwrap();
        check(&format!("i32 to {to}"), Expr::Arg(0).cast(to), std::slice::from_ref(&ints), elem, EXACT);
    }
    let bools = HostTensor::bool([2], vec![true, false]).unwrap();
    for to in [DType::F32, DType::I64, DType::U8] {
        let elem = Elem::of(to).unwrap();
        check(&format!("bool to {to}"), Expr::Arg(0).cast(to), std::slice::from_ref(&bools), elem, EXACT);
    }
}

trait CastToI32 {
    fn cast_to_i32(&self) -> HostTensor;
}

impl CastToI32 for HostTensor {
    fn cast_to_i32(&self) -> HostTensor {
        let values = self.as_int().unwrap().to_vec();
        HostTensor::new(self.shape().to_vec(), qwenc_ir::interp::Data::Int(DType::I32, values)).unwrap()
    }
}
