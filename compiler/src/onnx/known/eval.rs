//! Pointwise expressions over known elements.

use std::cmp::Ordering;

use qwenc_ir::{BinaryOp, DType, Dim, Expr, Scalar, UnaryOp};

use super::{Bounds, Elem};

/// Integers up to here are exact in f32.
const EXACT_F32: i64 = 1 << 24;

/// The value of an expression, when it is provable. `dtypes` are the element types of the arguments.
pub(in crate::onnx) fn eval(expr: &Expr, args: &[Elem], dtypes: &[DType], bounds: &Bounds) -> Option<Elem> {
    let value = match expr {
        Expr::Arg(index) => args.get(*index)?.clone(),
        Expr::Const(Scalar::F32(value)) => Elem::float(*value, DType::F32),
        Expr::Const(Scalar::Int(value)) => Elem::int(*value),
        Expr::Const(Scalar::Bool(value)) => Elem::int(i64::from(*value)),
        Expr::Cast(to, a) => cast(eval(a, args, dtypes, bounds)?, a.infer(dtypes).ok()?, *to, bounds)?,
        Expr::Unary(op, a) => unary(*op, eval(a, args, dtypes, bounds)?, a.infer(dtypes).ok()?, bounds)?,
        Expr::Binary(op, a, b) => {
            let operand = operand_type(a, b, dtypes)?;
            binary(*op, &eval(a, args, dtypes, bounds)?, &eval(b, args, dtypes, bounds)?, operand, bounds)?
        }
        Expr::Select(condition, a, b) => {
            let chosen = if truth(&eval(condition, args, dtypes, bounds)?)? { a } else { b };
            eval(chosen, args, dtypes, bounds)?
        }
    };
    check(value, expr.infer(dtypes).ok()?)
}

/// Refuses what the element type cannot hold; such computations wrap or round, and are left to the graph.
fn check(value: Elem, dtype: DType) -> Option<Elem> {
    match &value {
        Elem::Int(dim) if dim.is_poison() => None,
        Elem::Int(dim) => match dim.as_const() {
            Some(constant) => fits(constant, dtype).then_some(value),
            // Sizes stay below 2^31.
            None => (dtype.bits() >= 32).then_some(value),
        },
        Elem::Real(_) => dtype.is_float().then_some(value),
        Elem::Wide(_) => matches!(dtype, DType::I64).then_some(value),
    }
}

/// True when an element type holds an integer exactly, and its neighbours too.
pub(super) fn fits(value: i64, dtype: DType) -> bool {
    match dtype {
        DType::I64 => true,
        DType::U64 => value >= 0,
        DType::I32 => i32::try_from(value).is_ok(),
        DType::U32 => u32::try_from(value).is_ok(),
        DType::I16 => i16::try_from(value).is_ok(),
        DType::U16 => u16::try_from(value).is_ok(),
        DType::I8 => i8::try_from(value).is_ok(),
        DType::U8 => u8::try_from(value).is_ok(),
        DType::I2 => (-2..2).contains(&value),
        DType::U2 => (0..4).contains(&value),
        DType::I4 => (-8..8).contains(&value),
        DType::U4 => (0..16).contains(&value),
        DType::Bool => (0..2).contains(&value),
        DType::F32 | DType::F64 => value.abs() <= EXACT_F32,
        DType::F16 => value.abs() <= 2048,
        DType::Bf16 => value.abs() <= 256,
    }
}

/// The type that two operands meet in; a constant follows the other one.
fn operand_type(a: &Expr, b: &Expr, dtypes: &[DType]) -> Option<DType> {
    let (left, right) = (a.infer(dtypes).ok()?, b.infer(dtypes).ok()?);
    Some(if matches!(a, Expr::Const(_)) { right } else { left })
}

fn truth(value: &Elem) -> Option<bool> {
    value.constant().map(|value| value != 0)
}

/// The value as f32, when it is constant and exact.
fn real(value: &Elem) -> Option<f32> {
    match value {
        Elem::Real(value) => Some(*value),
        Elem::Int(dim) => dim.as_const().filter(|v| v.abs() <= EXACT_F32).map(|v| Scalar::Int(v).as_f32()),
        Elem::Wide(_) => None,
    }
}

/// The integer that a float is, when it is one of moderate size.
#[expect(clippy::cast_possible_truncation, reason = "the value is integral and below 2^24")]
pub(super) fn integral(value: f32) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= 16_777_216.0).then_some(value as i64)
}

fn cast(value: Elem, from: DType, to: DType, bounds: &Bounds) -> Option<Elem> {
    match (&value, to) {
        (Elem::Real(v), DType::Bool) => Some(Elem::int(i64::from(*v != 0.0))),
        (Elem::Real(v), _) if to.is_int() => integral(v.trunc()).map(Elem::int),
        // Rounding to a narrower float is left to the graph.
        (Elem::Real(v), _) => {
            let special = !v.is_finite() || integral(*v).is_some();
            (to.bits() >= from.bits() || to == DType::F32 || special).then_some(value)
        }
        (_, DType::Bool) => match value.constant() {
            Some(constant) => Some(Elem::int(i64::from(constant != 0))),
            None => {
                let dim = value.dim()?;
                let zero = Dim::constant(0);
                (bounds.below(&zero, dim) || bounds.negative(dim)).then(|| Elem::int(1))
            }
        },
        _ => Some(value),
    }
}

fn unary(op: UnaryOp, value: Elem, dtype: DType, bounds: &Bounds) -> Option<Elem> {
    if op == UnaryOp::Not {
        return Some(Elem::int(i64::from(!truth(&value)?)));
    }
    if let Elem::Int(dim) = &value {
        match op {
            UnaryOp::Neg => return Some(Elem::Int(Dim::constant(0) - dim.clone())),
            UnaryOp::Abs if bounds.non_negative(dim) => return Some(value),
            UnaryOp::Abs if bounds.negative(dim) => return Some(Elem::Int(Dim::constant(0) - dim.clone())),
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => return Some(value),
            UnaryOp::Sign => return Some(Elem::int(dim.as_const()?.signum())),
            _ => {}
        }
    }
    if dtype != DType::F32 {
        return None;
    }
    let x = real(&value)?;
    Some(Elem::Real(match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Recip => 1.0 / x,
        UnaryOp::Exp => x.exp(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        _ => return None,
    }))
}

fn binary(op: BinaryOp, a: &Elem, b: &Elem, dtype: DType, bounds: &Bounds) -> Option<Elem> {
    let flag = |value: bool| Some(Elem::int(i64::from(value)));
    match op {
        BinaryOp::And => {
            return match (truth(a), truth(b)) {
                (Some(false), _) | (_, Some(false)) => flag(false),
                (Some(true), Some(true)) => flag(true),
                _ => None,
            };
        }
        BinaryOp::Or => return flag(truth(a)? || truth(b)?),
        BinaryOp::Xor => return flag(truth(a)? != truth(b)?),
        _ if op.is_comparison() => {
            let order = order(a, b, bounds);
            return match op {
                BinaryOp::Eq => flag(order? == Ordering::Equal),
                BinaryOp::Lt => flag(order? == Ordering::Less),
                BinaryOp::Gt => flag(order? == Ordering::Greater),
                BinaryOp::Le => compare_or_equal(a, b, bounds),
                _ => compare_or_equal(b, a, bounds),
            };
        }
        _ => {}
    }
    match (a, b) {
        (Elem::Int(x), Elem::Int(y)) => integers(op, x, y, dtype, bounds),
        (Elem::Wide(_), _) | (_, Elem::Wide(_)) => None,
        // Zero times any finite number, in every float type: a mask of ones becomes a bias of zeros. The sign of the
        // zero does not matter where it is added.
        (Elem::Int(zero), Elem::Real(factor)) | (Elem::Real(factor), Elem::Int(zero))
            if op == BinaryOp::Mul && zero.is(0) && factor.is_finite() =>
        {
            Some(Elem::int(0))
        }
        _ if dtype == DType::F32 => reals(op, real(a)?, real(b)?).map(Elem::Real),
        _ => None,
    }
}

/// The order of two elements, when provable. NaN has none.
fn order(a: &Elem, b: &Elem, bounds: &Bounds) -> Option<Ordering> {
    match (a, b) {
        (Elem::Int(x), Elem::Int(y)) => bounds.order(x, y),
        (Elem::Wide(_), _) | (_, Elem::Wide(_)) => Some(a.constant()?.cmp(&b.constant()?)),
        _ => real(a)?.partial_cmp(&real(b)?),
    }
}

fn compare_or_equal(a: &Elem, b: &Elem, bounds: &Bounds) -> Option<Elem> {
    if let (Elem::Int(x), Elem::Int(y)) = (a, b)
        && bounds.at_most(x, y)
    {
        return Some(Elem::int(1));
    }
    Some(Elem::int(i64::from(order(a, b, bounds)? != Ordering::Greater)))
}

fn integers(op: BinaryOp, x: &Dim, y: &Dim, dtype: DType, bounds: &Bounds) -> Option<Elem> {
    let constants = x.as_const().zip(y.as_const());
    Some(Elem::Int(match op {
        BinaryOp::Add => x.clone() + y.clone(),
        BinaryOp::Sub => x.clone() - y.clone(),
        BinaryOp::Mul => x.clone() * y.clone(),
        BinaryOp::Min => bounds.min(x, y),
        BinaryOp::Max => bounds.max(x, y),
        BinaryOp::Div if dtype.is_float() => {
            return match constants {
                Some(_) if dtype == DType::F32 => {
                    let value = real(&Elem::Int(x.clone()))? / real(&Elem::Int(y.clone()))?;
                    Some(Elem::Real(value))
                }
                // A symbol may be zero, and a float division by it is not an integer then.
                _ => y.as_const().filter(|v| *v != 0).and_then(|_| x.exact_div(y)).map(Elem::Int),
            };
        }
        BinaryOp::Div => match constants {
            // ONNX divides integers toward zero.
            Some((a, b)) => Dim::constant(a.checked_div(b)?),
            None if bounds.non_negative(x) && bounds.below(&Dim::constant(0), y) => x.floor_div(y),
            None => return None,
        },
        BinaryOp::Mod if dtype.is_int() && bounds.below(&Dim::constant(0), y) => x.modulo(y),
        BinaryOp::Fmod if dtype.is_int() => match constants {
            Some((a, b)) => Dim::constant(a.checked_rem(b)?),
            None if bounds.non_negative(x) && bounds.below(&Dim::constant(0), y) => x.modulo(y),
            None => return None,
        },
        BinaryOp::Pow => {
            let exponent = u32::try_from(y.as_const()?).ok().filter(|exponent| *exponent <= 8)?;
            (0..exponent).fold(Dim::constant(1), |product, _| product * x.clone())
        }
        BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor => {
            let (a, b) = constants?;
            Dim::constant(match op {
                BinaryOp::BitAnd => a & b,
                BinaryOp::BitOr => a | b,
                _ => a ^ b,
            })
        }
        _ => return None,
    }))
}

fn reals(op: BinaryOp, x: f32, y: f32) -> Option<f32> {
    Some(match op {
        BinaryOp::Add => x + y,
        BinaryOp::Sub => x - y,
        BinaryOp::Mul => x * y,
        BinaryOp::Div => x / y,
        BinaryOp::Pow => x.powf(y),
        // NaN in either operand is NaN, which Rust's min and max do not give.
        BinaryOp::Min if !x.is_nan() && !y.is_nan() => x.min(y),
        BinaryOp::Max if !x.is_nan() && !y.is_nan() => x.max(y),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(op: BinaryOp, a: Elem, b: Elem, dtype: DType) -> Option<Elem> {
        eval(&Expr::Arg(0).binary(op, Expr::Arg(1)), &[a, b], &[dtype, dtype], &Bounds::default())
    }

    fn sym(name: &str) -> Elem {
        Elem::Int(Dim::sym(name))
    }

    #[test]
    fn division_truncates_or_stays_symbolic() {
        assert_eq!(two(BinaryOp::Div, Elem::int(-7), Elem::int(2), DType::I64), Some(Elem::int(-3)));
        assert_eq!(two(BinaryOp::Div, Elem::int(1), Elem::int(0), DType::I64), None);
        let half = Elem::Int(Dim::sym("n").floor_div(&Dim::constant(2)));
        assert_eq!(two(BinaryOp::Div, sym("n"), Elem::int(2), DType::I64), Some(half));
        assert_eq!(two(BinaryOp::Div, Elem::int(1), Elem::int(2), DType::F32), Some(Elem::Real(0.5)));
    }

    #[test]
    fn comparisons_are_decided_only_when_provable() {
        assert_eq!(two(BinaryOp::Eq, sym("n"), Elem::int(-1), DType::I64), Some(Elem::int(0)));
        assert_eq!(two(BinaryOp::Eq, sym("n"), Elem::int(0), DType::I64), None);
        assert_eq!(two(BinaryOp::Ge, sym("n"), Elem::int(0), DType::I64), Some(Elem::int(1)));
    }

    #[test]
    fn what_a_type_cannot_hold_is_left_to_the_graph() {
        assert_eq!(two(BinaryOp::Add, Elem::int(200), Elem::int(100), DType::U8), None);
        assert_eq!(two(BinaryOp::Mul, Elem::int(1 << 52), Elem::int(4), DType::I64), None);
        assert_eq!(two(BinaryOp::Add, Elem::Wide(i64::MAX), Elem::int(1), DType::I64), None);
    }

    #[test]
    fn a_masked_bias_of_a_mask_of_ones_is_zero() {
        for (dtype, lowest) in [(DType::F32, f32::MIN), (DType::F16, -65504.0)] {
            let one_minus = two(BinaryOp::Sub, Elem::int(1), Elem::int(1), dtype).unwrap();
            let bias = two(BinaryOp::Mul, one_minus, Elem::Real(lowest), dtype).unwrap();
            assert!(bias.is_zero());
        }
        assert_eq!(two(BinaryOp::Mul, Elem::int(0), Elem::Real(f32::INFINITY), DType::F16), None);
    }
}
