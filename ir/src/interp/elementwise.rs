//! Pointwise expressions: every subtree is computed for the whole result shape, one operator after the other.

use super::eval::{Args, OpError, Result};
use super::host::Data;
use super::index;
use super::scalar::{
    IntResult, compare, float_binary, float_to_int, float_unary, int_binary, int_to_float, int_unary,
    logical, round, widen, wrap,
};
use crate::dtype::{DType, Scalar};
use crate::expr::{BinaryOp, Expr, UnaryOp};

pub(super) fn elementwise(expr: &Expr, args: Args<'_>, shape: &[usize]) -> Result<Data> {
    match expr {
        Expr::Arg(slot) => {
            let input = args.need(*slot)?;
            if input.shape() == shape {
                return Ok(input.data().clone());
            }
            Ok(input.data().pick(&index::broadcast(input.shape(), shape)))
        }
        Expr::Const(value) => Ok(constant(*value, shape)),
        Expr::Unary(op, a) => unary(*op, &elementwise(a, args, shape)?),
        Expr::Binary(op, a, b) => {
            let (a, b) = operands(a, b, args, shape)?;
            binary(*op, &a, &b)
        }
        Expr::Select(condition, a, b) => {
            let condition = elementwise(condition, args, shape)?;
            let (a, b) = operands(a, b, args, shape)?;
            select(&condition, &a, &b)
        }
        Expr::Cast(dtype, a) => Ok(cast(*dtype, elementwise(a, args, shape)?)),
    }
}

fn constant(value: Scalar, shape: &[usize]) -> Data {
    let dtype = match value {
        Scalar::F32(_) => DType::F32,
        Scalar::Int(_) => DType::I64,
        Scalar::Bool(_) => DType::Bool,
    };
    Data::filled(dtype, value, shape.iter().product())
}

/// Two operands of one type: a constant takes the type of the other.
fn operands(a: &Expr, b: &Expr, args: Args<'_>, shape: &[usize]) -> Result<(Data, Data)> {
    let (left, right) = (elementwise(a, args, shape)?, elementwise(b, args, shape)?);
    Ok(match (a, b) {
        (Expr::Const(_), _) => (cast(right.dtype(), left), right),
        (_, Expr::Const(_)) => {
            let dtype = left.dtype();
            (left, cast(dtype, right))
        }
        _ => (left, right),
    })
}

fn undefined<T>(what: impl std::fmt::Debug, dtype: DType) -> Result<T> {
    Err(OpError::Undefined { what: format!("{what:?}"), dtype })
}

fn unary(op: UnaryOp, a: &Data) -> Result<Data> {
    match (a, op) {
        (Data::Bool(values), UnaryOp::Not) => Ok(Data::Bool(values.iter().map(|x| !x).collect())),
        (Data::F32(values), UnaryOp::IsNan) => Ok(Data::Bool(values.iter().map(|x| x.is_nan()).collect())),
        (Data::F32(values), _) => match float_unary(op) {
            Some(f) => Ok(Data::F32(values.iter().map(|x| round(f(f64::from(*x)))).collect())),
            None => undefined(op, a.dtype()),
        },
        (Data::Int(dtype, values), _) => match int_unary(op) {
            Some(f) => {
                let apply = |x: &i64| wrap(*dtype, f(widen(*dtype, *x)));
                Ok(Data::Int(*dtype, values.iter().map(apply).collect()))
            }
            None => undefined(op, a.dtype()),
        },
        (Data::Bool(_), _) => undefined(op, DType::Bool),
    }
}

fn binary(op: BinaryOp, a: &Data, b: &Data) -> Result<Data> {
    match (a, b) {
        (Data::F32(a), Data::F32(b)) => {
            if let Some(f) = compare(op) {
                return Ok(Data::Bool(a.iter().zip(b).map(|(a, b)| f(a, b)).collect()));
            }
            match float_binary(op) {
                Some(f) => {
                    let apply = |(a, b): (&f32, &f32)| round(f(f64::from(*a), f64::from(*b)));
                    Ok(Data::F32(a.iter().zip(b).map(apply).collect()))
                }
                None => undefined(op, DType::F32),
            }
        }
        (Data::Int(dtype, a), Data::Int(other, b)) if dtype == other => {
            let pairs = a.iter().zip(b).map(|(a, b)| (widen(*dtype, *a), widen(*dtype, *b)));
            if let Some(f) = compare(op) {
                return Ok(Data::Bool(pairs.map(|(a, b)| f(&a, &b)).collect()));
            }
            let apply = |(a, b)| match int_binary(op, dtype.bits(), a, b) {
                IntResult::Value(value) => Ok(wrap(*dtype, value)),
                IntResult::DivisionByZero => Err(OpError::DivisionByZero),
                IntResult::Unsupported => undefined(op, *dtype),
            };
            Ok(Data::Int(*dtype, pairs.map(apply).collect::<Result<_>>()?))
        }
        (Data::Bool(a), Data::Bool(b)) => {
            if let Some(f) = logical(op) {
                return Ok(Data::Bool(a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()));
            }
            match compare(op) {
                Some(f) => Ok(Data::Bool(a.iter().zip(b).map(|(a, b)| f(a, b)).collect())),
                None => undefined(op, DType::Bool),
            }
        }
        _ => undefined(format!("{op:?} with {}", b.dtype()), a.dtype()),
    }
}

fn select(condition: &Data, a: &Data, b: &Data) -> Result<Data> {
    fn choose<T: Copy>(condition: &[bool], a: &[T], b: &[T]) -> Vec<T> {
        condition.iter().zip(a.iter().zip(b)).map(|(c, (a, b))| if *c { *a } else { *b }).collect()
    }
    let Data::Bool(condition) = condition else {
        return undefined("a condition", condition.dtype());
    };
    match (a, b) {
        (Data::F32(a), Data::F32(b)) => Ok(Data::F32(choose(condition, a, b))),
        (Data::Int(dtype, a), Data::Int(other, b)) if dtype == other => {
            Ok(Data::Int(*dtype, choose(condition, a, b)))
        }
        (Data::Bool(a), Data::Bool(b)) => Ok(Data::Bool(choose(condition, a, b))),
        _ => undefined(format!("a choice against {}", b.dtype()), a.dtype()),
    }
}

/// Floats to integers truncate toward zero and saturate, integers wrap, anything but zero is true. Casts among float
/// types change nothing: all are held as f32.
fn cast(dtype: DType, a: Data) -> Data {
    match a {
        a if a.dtype() == dtype => a,
        Data::F32(values) if dtype.is_float() => Data::F32(values),
        Data::F32(values) if dtype == DType::Bool => Data::Bool(values.iter().map(|x| *x != 0.0).collect()),
        Data::F32(values) => Data::Int(dtype, values.iter().map(|x| float_to_int(dtype, *x)).collect()),
        Data::Int(from, values) if dtype.is_float() => {
            Data::F32(values.iter().map(|x| int_to_float(from, *x)).collect())
        }
        Data::Int(_, values) if dtype == DType::Bool => Data::Bool(values.iter().map(|x| *x != 0).collect()),
        Data::Int(from, values) => {
            Data::Int(dtype, values.iter().map(|x| wrap(dtype, widen(from, *x))).collect())
        }
        Data::Bool(values) if dtype.is_float() => {
            Data::F32(values.iter().map(|x| f32::from(u8::from(*x))).collect())
        }
        Data::Bool(values) => Data::Int(dtype, values.iter().map(|x| i64::from(*x)).collect()),
    }
}
