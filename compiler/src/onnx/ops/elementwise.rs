//! Pointwise arithmetic, comparison and logic.

use qwenc_ir::{BinaryOp, DType, Expr, Scalar, UnaryOp};

use super::call::{Call, element_type};
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[
    standard("Abs", unary),
    standard("Acos", unary),
    standard("Acosh", unary),
    standard("Add", binary),
    standard("And", binary),
    standard("Asin", unary),
    standard("Asinh", unary),
    standard("Atan", unary),
    standard("Atanh", unary),
    standard("BitShift", bit_shift),
    standard("BitwiseAnd", binary),
    standard("BitwiseNot", unary),
    standard("BitwiseOr", binary),
    standard("BitwiseXor", binary),
    standard("Cast", cast),
    standard("CastLike", cast_like),
    standard("Ceil", unary),
    standard("Cos", unary),
    standard("Cosh", unary),
    standard("Div", binary),
    standard("Equal", binary),
    standard("Erf", unary),
    standard("Exp", unary),
    standard("Floor", unary),
    standard("Greater", binary),
    standard("GreaterOrEqual", binary),
    standard("IsInf", is_inf),
    standard("IsNaN", unary),
    standard("Less", binary),
    standard("LessOrEqual", binary),
    standard("Log", unary),
    standard("Max", variadic),
    standard("Mean", variadic),
    standard("Min", variadic),
    standard("Mod", modulo),
    standard("Mul", binary),
    standard("Neg", unary),
    standard("Not", unary),
    standard("Or", binary),
    standard("Pow", pow),
    standard("Reciprocal", unary),
    standard("Round", unary),
    standard("Sigmoid", unary),
    standard("Sign", unary),
    standard("Sin", unary),
    standard("Sinh", unary),
    standard("Softplus", unary),
    standard("Sqrt", unary),
    standard("Sub", binary),
    standard("Sum", variadic),
    standard("Tan", unary),
    standard("Tanh", unary),
    standard("Xor", binary),
];

/// `op(a, b)` of two values.
pub(super) fn combine(b: &mut Builder, op: BinaryOp, left: V, right: V) -> Result<V> {
    b.pointwise(&Expr::Arg(0).binary(op, Expr::Arg(1)), &[left, right])
}

fn unary(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let op = match call.node.op_type() {
        "Abs" => UnaryOp::Abs,
        "Acos" => UnaryOp::Acos,
        "Acosh" => UnaryOp::Acosh,
        "Asin" => UnaryOp::Asin,
        "Asinh" => UnaryOp::Asinh,
        "Atan" => UnaryOp::Atan,
        "Atanh" => UnaryOp::Atanh,
        "BitwiseNot" => UnaryOp::BitNot,
        "Ceil" => UnaryOp::Ceil,
        "Cos" => UnaryOp::Cos,
        "Cosh" => UnaryOp::Cosh,
        "Erf" => UnaryOp::Erf,
        "Exp" => UnaryOp::Exp,
        "Floor" => UnaryOp::Floor,
        "IsNaN" => UnaryOp::IsNan,
        "Log" => UnaryOp::Log,
        "Neg" => UnaryOp::Neg,
        "Not" => UnaryOp::Not,
        "Reciprocal" => UnaryOp::Recip,
        "Round" => UnaryOp::Round,
        "Sigmoid" => UnaryOp::Sigmoid,
        "Sign" => UnaryOp::Sign,
        "Sin" => UnaryOp::Sin,
        "Sinh" => UnaryOp::Sinh,
        "Softplus" => UnaryOp::Softplus,
        "Sqrt" => UnaryOp::Sqrt,
        "Tan" => UnaryOp::Tan,
        "Tanh" => UnaryOp::Tanh,
        other => fault!("{other} is no function of one operand"),
    };
    let x = call.input(0)?;
    one(b.pointwise(&Expr::Arg(0).unary(op), &[x])?)
}

fn binary(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let op = match call.node.op_type() {
        "Add" => BinaryOp::Add,
        "And" => BinaryOp::And,
        "BitwiseAnd" => BinaryOp::BitAnd,
        "BitwiseOr" => BinaryOp::BitOr,
        "BitwiseXor" => BinaryOp::BitXor,
        "Div" => BinaryOp::Div,
        "Equal" => BinaryOp::Eq,
        "Greater" => BinaryOp::Gt,
        "GreaterOrEqual" => BinaryOp::Ge,
        "Less" => BinaryOp::Lt,
        "LessOrEqual" => BinaryOp::Le,
        "Mul" => BinaryOp::Mul,
        "Or" => BinaryOp::Or,
        "Sub" => BinaryOp::Sub,
        "Xor" => BinaryOp::Xor,
        other => fault!("{other} is no function of two operands"),
    };
    one(combine(b, op, call.input(0)?, call.input(1)?)?)
}

fn bit_shift(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (x, amount) = (call.input(0)?, call.input(1)?);
    match call.text("direction", "")? {
        "LEFT" => return one(combine(b, BinaryOp::Shl, x, amount)?),
        "RIGHT" => {}
        other => fault!("direction `{other}` is neither LEFT nor RIGHT"),
    }
    if matches!(b.dtype(x), DType::U64 | DType::U32 | DType::U16 | DType::U8) {
        return one(combine(b, BinaryOp::Shr, x, amount)?);
    }
    // The IR shifts in zeros; for a negative number that is right for its complement.
    let shifted = |x: Expr| x.binary(BinaryOp::Shr, Expr::Arg(1));
    let below = shifted(Expr::Arg(0).unary(UnaryOp::BitNot)).unary(UnaryOp::BitNot);
    let negative = Expr::Arg(0).binary(BinaryOp::Lt, Expr::Const(Scalar::Int(0)));
    one(b.pointwise(&negative.select(below, shifted(Expr::Arg(0))), &[x, amount])?)
}

/// Floats with `fmod` = 0 follow the divisor's sign, as newer operator sets allow.
fn modulo(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let op = if call.flag("fmod", false)? { BinaryOp::Fmod } else { BinaryOp::Mod };
    one(combine(b, op, call.input(0)?, call.input(1)?)?)
}

/// Small constant exponents are written as products, which is exact also for negative bases, where shader languages
/// leave `pow` undefined.
fn pow(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let (base, mut exponent) = (call.input(0)?, call.input(1)?);
    let dtype = b.dtype(base);
    let constant =
        b.known(exponent).and_then(|known| known.uniform()?.scalar(DType::F32)).map(Scalar::as_f32);
    let keeps_shape = b.rank(exponent) <= b.rank(base) && b.shape(exponent).iter().all(|dim| dim.is(1));
    let x = || Expr::Arg(0);
    let square = || x().binary(BinaryOp::Mul, x());
    let product = match constant {
        Some(1.0) => Some(x()),
        Some(2.0) => Some(square()),
        Some(3.0) => Some(square().binary(BinaryOp::Mul, x())),
        Some(0.5) if dtype.is_float() => Some(x().unary(UnaryOp::Sqrt)),
        Some(-0.5) if dtype.is_float() => Some(x().unary(UnaryOp::Rsqrt)),
        Some(-1.0) if dtype.is_float() => Some(x().unary(UnaryOp::Recip)),
        _ => None,
    };
    if let Some(product) = product.filter(|_| keeps_shape) {
        return one(b.pointwise(&product, &[base])?);
    }
    if b.dtype(exponent) != dtype {
        if !dtype.is_float() && b.dtype(exponent).is_float() {
            // The power is a float, and loses its fraction.
            let base = b.cast(base, DType::F32)?;
            let exponent = b.cast(exponent, DType::F32)?;
            let power = combine(b, BinaryOp::Pow, base, exponent)?;
            return one(b.cast(power, dtype)?);
        }
        exponent = b.cast(exponent, dtype)?;
    }
    one(combine(b, BinaryOp::Pow, base, exponent)?)
}

fn variadic(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let name = call.node.op_type();
    let op = match name {
        "Max" => BinaryOp::Max,
        "Min" => BinaryOp::Min,
        _ => BinaryOp::Add,
    };
    let inputs = call.all_inputs()?;
    let Some((first, rest)) = inputs.split_first() else {
        fault!("no operands");
    };
    let mut total = *first;
    for next in rest {
        total = combine(b, op, total, *next)?;
    }
    if name == "Mean" && !rest.is_empty() {
        let count = Expr::f32(Scalar::Int(i64::try_from(inputs.len()).unwrap_or(i64::MAX)).as_f32());
        total = b.pointwise(&Expr::Arg(0).binary(BinaryOp::Div, count), &[total])?;
    }
    one(total)
}

fn cast(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    // Both concern 8-bit floats only, which are not supported.
    call.ignore(&["saturate", "round_mode"]);
    let Some(to) = call.optional_int("to")? else {
        fault!("attribute `to` is missing");
    };
    let dtype = element_type(to)?;
    one(b.cast(call.input(0)?, dtype)?)
}

fn cast_like(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    call.ignore(&["saturate", "round_mode"]);
    let dtype = b.dtype(call.input(1)?);
    one(b.cast(call.input(0)?, dtype)?)
}

fn is_inf(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let x = || Expr::Arg(0);
    let equals = |value: f32| x().binary(BinaryOp::Eq, Expr::f32(value));
    let expr = match (call.flag("detect_negative", true)?, call.flag("detect_positive", true)?) {
        (true, true) => x().unary(UnaryOp::Abs).binary(BinaryOp::Eq, Expr::f32(f32::INFINITY)),
        (true, false) => equals(f32::NEG_INFINITY),
        (false, true) => equals(f32::INFINITY),
        (false, false) => fault!("neither negative nor positive infinity is asked for"),
    };
    one(b.pointwise(&expr, &[call.input(0)?])?)
}
