//! Functions of single values: the meaning of every [`UnaryOp`], [`BinaryOp`] and cast.

use crate::dtype::DType;
use crate::expr::{BinaryOp, UnaryOp};
use crate::op::Activation;

/// Rounds to the nearest f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the definition")]
pub(super) fn round(value: f64) -> f32 {
    value as f32
}

/// The value modulo 2^bits of `dtype`, in its range; u64 as two's complement.
pub(super) fn wrap(dtype: DType, value: i128) -> i64 {
    let bits = dtype.bits();
    let low = value & ((1i128 << bits) - 1);
    let signed = dtype.is_signed_int();
    let negative = (signed || bits == 64) && low >> (bits - 1) == 1;
    let value = if negative { low - (1i128 << bits) } else { low };
    // Both branches lie in the range of i64: at 64 bits the sign has been applied.
    i64::try_from(value).unwrap_or(0)
}

/// The number that a stored i64 stands for in `dtype`.
pub(super) fn widen(dtype: DType, value: i64) -> i128 {
    if dtype == DType::U64 { i128::from(value.cast_unsigned()) } else { i128::from(value) }
}

/// The nearest f32.
#[expect(clippy::cast_precision_loss, reason = "rounding to f32 is the definition")]
pub(super) fn int_to_float(dtype: DType, value: i64) -> f32 {
    widen(dtype, value) as f32
}

/// Truncates toward zero and saturates at the range of `dtype`; NaN is 0.
#[expect(clippy::cast_possible_truncation, reason = "`as` truncates and saturates, which is the definition")]
pub(super) fn float_to_int(dtype: DType, value: f32) -> i64 {
    let bits = dtype.bits();
    let signed = dtype.is_signed_int();
    let (low, high) =
        if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    wrap(dtype, (value as i128).clamp(low, high))
}

/// `1/(1+e^-x)`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1+e^x)` without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// An activation.
pub(super) fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Silu => x * sigmoid(x),
        Activation::Sigmoid => sigmoid(x),
    }
}

/// A float function; `None` for the operators on other types or with other results.
pub(super) fn float_unary(op: UnaryOp) -> Option<fn(f64) -> f64> {
    Some(match op {
        UnaryOp::Neg => |x| -x,
        UnaryOp::Abs => f64::abs,
        UnaryOp::Exp => f64::exp,
        UnaryOp::Log => f64::ln,
        UnaryOp::Sqrt => f64::sqrt,
        UnaryOp::Rsqrt => |x| 1.0 / x.sqrt(),
        UnaryOp::Recip => |x| 1.0 / x,
        UnaryOp::Sin => f64::sin,
        UnaryOp::Cos => f64::cos,
        UnaryOp::Tan => f64::tan,
        UnaryOp::Asin => f64::asin,
        UnaryOp::Acos => f64::acos,
        UnaryOp::Atan => f64::atan,
        UnaryOp::Sinh => f64::sinh,
        UnaryOp::Cosh => f64::cosh,
        UnaryOp::Tanh => f64::tanh,
        UnaryOp::Asinh => f64::asinh,
        UnaryOp::Acosh => f64::acosh,
        UnaryOp::Atanh => f64::atanh,
        UnaryOp::Sigmoid => sigmoid,
        UnaryOp::Silu => |x| x * sigmoid(x),
        UnaryOp::Softplus => softplus,
        UnaryOp::Erf => libm::erf,
        UnaryOp::Floor => f64::floor,
        UnaryOp::Ceil => f64::ceil,
        UnaryOp::Round => f64::round_ties_even,
        UnaryOp::Sign => |x| if x == 0.0 || x.is_nan() { x } else { x.signum() },
        UnaryOp::Not | UnaryOp::IsNan | UnaryOp::BitNot => return None,
    })
}

/// An integer function; `None` for the operators that integers do not have.
pub(super) fn int_unary(op: UnaryOp) -> Option<fn(i128) -> i128> {
    Some(match op {
        UnaryOp::Neg => |x| -x,
        UnaryOp::Abs => i128::abs,
        UnaryOp::Sign => i128::signum,
        UnaryOp::BitNot => |x| !x,
        _ => return None,
    })
}

/// A float function of two; `None` for the operators on other types or with other results.
pub(super) fn float_binary(op: BinaryOp) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        BinaryOp::Add => |a, b| a + b,
        BinaryOp::Sub => |a, b| a - b,
        BinaryOp::Mul => |a, b| a * b,
        BinaryOp::Div => |a, b| a / b,
        BinaryOp::Mod => |a, b| {
            let remainder = a % b;
            if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) { remainder + b } else { remainder }
        },
        BinaryOp::Fmod => |a, b| a % b,
        BinaryOp::Pow => f64::powf,
        BinaryOp::Min => |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) },
        BinaryOp::Max => |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) },
        _ => return None,
    })
}

/// The outcome of an integer operator, before it wraps to the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntResult {
    /// A value.
    Value(i128),
    /// The divisor is zero.
    DivisionByZero,
    /// Integers do not have this operator.
    Unsupported,
}

/// An integer function of two numbers of `bits` bits.
pub(super) fn int_binary(op: BinaryOp, bits: usize, a: i128, b: i128) -> IntResult {
    let value = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div | BinaryOp::Mod | BinaryOp::Fmod if b == 0 => return IntResult::DivisionByZero,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => {
            let remainder = a % b;
            if remainder != 0 && (remainder < 0) != (b < 0) { remainder + b } else { remainder }
        }
        BinaryOp::Fmod => a % b,
        BinaryOp::Pow => int_power(a, b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitOr => a | b,
        BinaryOp::BitXor => a ^ b,
        BinaryOp::Shl => shift_amount(bits, b).map_or(0, |by| (a & mask(bits)) << by),
        BinaryOp::Shr => shift_amount(bits, b).map_or(0, |by| (a & mask(bits)) >> by),
        BinaryOp::And
        | BinaryOp::Or
        | BinaryOp::Xor
        | BinaryOp::Eq
        | BinaryOp::Lt
        | BinaryOp::Le
        | BinaryOp::Gt
        | BinaryOp::Ge => return IntResult::Unsupported,
    };
    IntResult::Value(value)
}

fn mask(bits: usize) -> i128 {
    (1i128 << bits) - 1
}

/// Shifting by the width or more leaves nothing.
fn shift_amount(bits: usize, by: i128) -> Option<u32> {
    u32::try_from(by).ok().filter(|by| usize::try_from(*by).is_ok_and(|by| by < bits.min(64)))
}

/// Square and multiply modulo 2^128; a negative power of anything but ±1 truncates to 0.
fn int_power(base: i128, exponent: i128) -> i128 {
    if exponent < 0 {
        return match base {
            1 => 1,
            -1 if exponent % 2 == 0 => 1,
            -1 => -1,
            _ => 0,
        };
    }
    let (mut result, mut square, mut left) = (1i128, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        left >>= 1;
    }
    result
}

/// A comparison of floats or integers; `None` for the other operators.
pub(super) fn compare<T: PartialOrd>(op: BinaryOp) -> Option<fn(&T, &T) -> bool> {
    Some(match op {
        BinaryOp::Eq => |a, b| a == b,
        BinaryOp::Lt => |a, b| a < b,
        BinaryOp::Le => |a, b| a <= b,
        BinaryOp::Gt => |a, b| a > b,
        BinaryOp::Ge => |a, b| a >= b,
        _ => return None,
    })
}

/// A function of two booleans; `None` for the other operators.
pub(super) fn logical(op: BinaryOp) -> Option<fn(bool, bool) -> bool> {
    Some(match op {
        BinaryOp::And => |a, b| a && b,
        BinaryOp::Or => |a, b| a || b,
        BinaryOp::Xor => |a, b| a != b,
        BinaryOp::Eq => |a, b| a == b,
        _ => return None,
    })
}
