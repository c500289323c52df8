use qwenc_ir::interp::{Data, HostTensor, OpError};
use qwenc_ir::{BinaryOp, DType, Expr, Op, Scalar, UnaryOp};

use crate::util::{assert_close, b, eval, eval_err, f, i};

fn unary(op: UnaryOp, x: &HostTensor) -> HostTensor {
    eval(&Op::Elementwise(Expr::Arg(0).unary(op)), &[x])
}

fn binary_op(op: BinaryOp) -> Op {
    Op::Elementwise(Expr::Arg(0).binary(op, Expr::Arg(1)))
}

fn int(dtype: DType, values: &[i64]) -> HostTensor {
    HostTensor::new(vec![values.len()], Data::Int(dtype, values.to_vec())).unwrap()
}

#[test]
fn float_functions() {
    let (e, ln2) = (std::f32::consts::E, std::f32::consts::LN_2);
    // One known point of each function.
    let cases: &[(UnaryOp, f32, f32)] = &[
        (UnaryOp::Neg, 2.0, -2.0),
        (UnaryOp::Abs, -2.5, 2.5),
        (UnaryOp::Exp, 1.0, e),
        (UnaryOp::Log, 2.0, ln2),
        (UnaryOp::Sqrt, 9.0, 3.0),
        (UnaryOp::Rsqrt, 4.0, 0.5),
        (UnaryOp::Recip, 8.0, 0.125),
        (UnaryOp::Sin, std::f32::consts::FRAC_PI_6, 0.5),
        (UnaryOp::Cos, std::f32::consts::FRAC_PI_3, 0.5),
        (UnaryOp::Tan, std::f32::consts::FRAC_PI_4, 1.0),
        (UnaryOp::Asin, 0.5, std::f32::consts::FRAC_PI_6),
        (UnaryOp::Acos, 0.5, std::f32::consts::FRAC_PI_3),
        (UnaryOp::Atan, 1.0, std::f32::consts::FRAC_PI_4),
        (UnaryOp::Sinh, ln2, 0.75),
        (UnaryOp::Cosh, ln2, 1.25),
        (UnaryOp::Tanh, ln2, 0.6),
        (UnaryOp::Asinh, 0.75, ln2),
        (UnaryOp::Acosh, 1.25, ln2),
        (UnaryOp::Atanh, 0.6, ln2),
        (UnaryOp::Sigmoid, ln2, 2.0 / 3.0),
        (UnaryOp::Silu, ln2, ln2 * 2.0 / 3.0),
        (UnaryOp::Softplus, 0.0, ln2),
        (UnaryOp::Softplus, 200.0, 200.0),
        (UnaryOp::Erf, 0.5, 0.520_499_9),
        (UnaryOp::Floor, -1.5, -2.0),
        (UnaryOp::Ceil, -1.5, -1.0),
        (UnaryOp::Round, 2.5, 2.0),
        (UnaryOp::Round, 3.5, 4.0),
        (UnaryOp::Sign, -3.0, -1.0),
        (UnaryOp::Sign, 0.0, 0.0),
    ];
    for (op, x, y) in cases {
        let result = unary(*op, &f(&[1], &[*x]));
        assert!(result.max_abs_diff(&f(&[1], &[*y])).unwrap() < 1e-6, "{op:?}({x}) = {result:?}");
    }
    let odd = unary(UnaryOp::IsNan, &f(&[3], &[f32::NAN, 1.0, f32::INFINITY]));
    assert_eq!(odd, b(&[3], &[true, false, false]));
    assert!(unary(UnaryOp::Sign, &f(&[1], &[f32::NAN])).as_f32().unwrap()[0].is_nan());
}

#[test]
fn float_arithmetic_and_comparisons() {
    let (x, y) = (f(&[4], &[7.0, -7.0, 7.0, -7.0]), f(&[4], &[3.0, 3.0, -3.0, -3.0]));
    let expect = |op, values: &[f32]| assert_close(&eval(&binary_op(op), &[&x, &y]), &f(&[4], values), 1e-6);
    expect(BinaryOp::Add, &[10.0, -4.0, 4.0, -10.0]);
    expect(BinaryOp::Sub, &[4.0, -10.0, 10.0, -4.0]);
    expect(BinaryOp::Mul, &[21.0, -21.0, -21.0, 21.0]);
    expect(BinaryOp::Div, &[7.0 / 3.0, -7.0 / 3.0, -7.0 / 3.0, 7.0 / 3.0]);
    expect(BinaryOp::Mod, &[1.0, 2.0, -2.0, -1.0]);
    expect(BinaryOp::Fmod, &[1.0, -1.0, 1.0, -1.0]);
    expect(BinaryOp::Pow, &[343.0, -343.0, 1.0 / 343.0, -1.0 / 343.0]);
    expect(BinaryOp::Min, &[3.0, -7.0, -3.0, -7.0]);
    expect(BinaryOp::Max, &[7.0, 3.0, 7.0, -3.0]);
    let pairs = (f(&[3], &[1.0, 2.0, f32::NAN]), f(&[3], &[2.0, 2.0, f32::NAN]));
    let expect =
        |op, values: &[bool]| assert_eq!(eval(&binary_op(op), &[&pairs.0, &pairs.1]), b(&[3], values));
    expect(BinaryOp::Eq, &[false, true, false]);
    expect(BinaryOp::Lt, &[true, false, false]);
    expect(BinaryOp::Le, &[true, true, false]);
    expect(BinaryOp::Gt, &[false, false, false]);
    expect(BinaryOp::Ge, &[false, true, false]);
    let nan = eval(&binary_op(BinaryOp::Max), &[&f(&[1], &[f32::NAN]), &f(&[1], &[1.0])]);
    assert!(nan.as_f32().unwrap()[0].is_nan(), "extremes keep NaN");
}

#[test]
fn integer_arithmetic_wraps_to_the_width() {
    let case = |op, dtype, x: i64, y: i64, expected: i64| {
        let result = eval(&binary_op(op), &[&int(dtype, &[x]), &int(dtype, &[y])]);
        assert_eq!(result.as_int().unwrap(), [expected], "{op:?} {dtype} {x} {y}");
    };
    case(BinaryOp::Add, DType::I8, 127, 1, -128);
    case(BinaryOp::Add, DType::U8, 255, 1, 0);
    case(BinaryOp::Sub, DType::U32, 0, 1, i64::from(u32::MAX));
    case(BinaryOp::Mul, DType::I64, i64::MAX, 2, -2);
    case(BinaryOp::Mul, DType::U64, -1, -1, 1);
    case(BinaryOp::Div, DType::I64, i64::MIN, -1, i64::MIN);
    case(BinaryOp::Div, DType::I32, -7, 2, -3);
    case(BinaryOp::Div, DType::U64, -1, 2, i64::MAX);
    case(BinaryOp::Mod, DType::I32, -7, 3, 2);
    case(BinaryOp::Mod, DType::I32, 7, -3, -2);
    case(BinaryOp::Mod, DType::I32, 6, -3, 0);
    case(BinaryOp::Fmod, DType::I32, -7, 3, -1);
    case(BinaryOp::Pow, DType::I64, -3, 3, -27);
    case(BinaryOp::Pow, DType::I64, 2, -1, 0);
    case(BinaryOp::Pow, DType::I64, -1, -3, -1);
    case(BinaryOp::Pow, DType::U8, 2, 9, 0);
    case(BinaryOp::Max, DType::U64, -1, 5, -1);
    case(BinaryOp::BitAnd, DType::I16, -1, 0x0F0F, 0x0F0F);
    case(BinaryOp::BitOr, DType::I16, 1, 6, 7);
    case(BinaryOp::BitXor, DType::I16, -1, 1, -2);
    case(BinaryOp::Shl, DType::I8, 0x41, 1, -126);
    case(BinaryOp::Shl, DType::I64, 1, 64, 0);
    case(BinaryOp::Shr, DType::I8, -1, 1, 127);
    case(BinaryOp::Shr, DType::U64, -1, 63, 1);
    let result = eval(&Op::Elementwise(Expr::Arg(0).unary(UnaryOp::BitNot)), &[&int(DType::U8, &[1])]);
    assert_eq!(result.as_int().unwrap(), [254]);
    let result = eval(&Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Abs)), &[&int(DType::I8, &[-128])]);
    assert_eq!(result.as_int().unwrap(), [-128]);
    let larger = eval(&binary_op(BinaryOp::Gt), &[&int(DType::U64, &[-1]), &int(DType::U64, &[1])]);
    assert_eq!(larger.as_bool().unwrap(), [true]);
    for op in [BinaryOp::Div, BinaryOp::Mod, BinaryOp::Fmod] {
        let error = eval_err(&binary_op(op), &[&i(&[1], &[1]), &i(&[1], &[0])]);
        assert_eq!(error, OpError::DivisionByZero);
    }
}

#[test]
fn casts() {
    let cast = |dtype, x: &HostTensor| eval(&Op::Elementwise(Expr::Arg(0).cast(dtype)), &[x]);
    let x = f(&[5], &[-1.9, 1.9, 300.0, f32::NAN, f32::NEG_INFINITY]);
    assert_eq!(cast(DType::I8, &x).as_int().unwrap(), [-1, 1, 127, 0, -128]);
    assert_eq!(cast(DType::U8, &x).as_int().unwrap(), [0, 1, 255, 0, 0]);
    assert_eq!(cast(DType::U64, &f(&[1], &[1e30])).as_int().unwrap(), [-1]);
    assert_eq!(cast(DType::I64, &f(&[1], &[1e30])).as_int().unwrap(), [i64::MAX]);
    assert_eq!(cast(DType::Bool, &f(&[3], &[0.0, -0.0, 0.1])), b(&[3], &[false, false, true]));
    assert_eq!(cast(DType::F32, &int(DType::U64, &[-1])), f(&[1], &[18_446_744_073_709_551_615.0]));
    assert_eq!(cast(DType::U8, &int(DType::I64, &[-1, 256])).as_int().unwrap(), [255, 0]);
    assert_eq!(cast(DType::I32, &b(&[2], &[true, false])).as_int().unwrap(), [1, 0]);
    assert_eq!(cast(DType::F16, &b(&[2], &[true, false])), f(&[2], &[1.0, 0.0]));
}

#[test]
fn broadcasting_selection_and_constants() {
    // (a0 < a1 ? a0 : a1 * 2) over [2,1] and [3].
    let expr = Expr::Arg(0)
        .binary(BinaryOp::Lt, Expr::Arg(1))
        .select(Expr::Arg(0), Expr::Arg(1).binary(BinaryOp::Mul, Expr::f32(2.0)));
    let result = eval(&Op::Elementwise(expr), &[&f(&[2, 1], &[1.0, 5.0]), &f(&[3], &[0.0, 2.0, 9.0])]);
    assert_eq!(result, f(&[2, 3], &[0.0, 1.0, 1.0, 0.0, 4.0, 5.0]));
    let expr = Expr::Const(Scalar::Int(300)).binary(BinaryOp::Add, Expr::Arg(0));
    let result = eval(&Op::Elementwise(expr), &[&int(DType::U8, &[1])]);
    assert_eq!(result.as_int().unwrap(), [45], "a constant takes the type of its neighbour");
    let logic = Expr::Arg(0).binary(BinaryOp::Xor, Expr::Arg(1).unary(UnaryOp::Not));
    let result = eval(&Op::Elementwise(logic), &[&b(&[2], &[true, false]), &b(&[2], &[true, true])]);
    assert_eq!(result, b(&[2], &[true, false]));
    assert_eq!(eval(&Op::Elementwise(Expr::f32(3.0)), &[]), f(&[], &[3.0]));
    let empty = eval(&binary_op(BinaryOp::Add), &[&f(&[0, 3], &[]), &f(&[1], &[1.0])]);
    assert_eq!(empty, f(&[0, 3], &[]));
}
