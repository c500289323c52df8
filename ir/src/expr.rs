//! Pointwise expressions: the whole of [`crate::Op::Elementwise`].
//!
//! An expression is a tree over the operator's inputs, which broadcast against each other as in NumPy. Fusing two
//! pointwise operators is substituting one tree into the other.

use crate::dtype::{DType, Scalar};

/// Largest number of nodes in one expression: bounds the WGSL that one kernel can grow to.
pub const MAX_EXPR_NODES: usize = 256;

/// A function of one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnaryOp {
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// `e^x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1/sqrt(x)`.
    Rsqrt,
    /// `1/x`.
    Recip,
    /// Sine, in radians.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Arc sine.
    Asin,
    /// Arc cosine.
    Acos,
    /// Arc tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Hyperbolic tangent.
    Tanh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
    /// `1/(1+e^-x)`.
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    /// `ln(1+e^x)`, without overflow.
    Softplus,
    /// Gauss error function.
    Erf,
    /// Round down.
    Floor,
    /// Round up.
    Ceil,
    /// Round half to even.
    Round,
    /// -1, 0 or 1.
    Sign,
    /// Logical not.
    Not,
    /// True for NaN.
    IsNan,
    /// Bitwise complement.
    BitNot,
}

/// A function of two operands of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BinaryOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; integers truncate toward zero.
    Div,
    /// Remainder with the divisor's sign (Python's `%`).
    Mod,
    /// Remainder with the dividend's sign (C's `fmod`).
    Fmod,
    /// Power.
    Pow,
    /// Smaller.
    Min,
    /// Larger.
    Max,
    /// Logical and.
    And,
    /// Logical or.
    Or,
    /// Logical exclusive or.
    Xor,
    /// `a == b`.
    Eq,
    /// `a < b`.
    Lt,
    /// `a <= b`.
    Le,
    /// `a > b`.
    Gt,
    /// `a >= b`.
    Ge,
    /// Bitwise and.
    BitAnd,
    /// Bitwise or.
    BitOr,
    /// Bitwise exclusive or.
    BitXor,
    /// Shift left.
    Shl,
    /// Logical shift right.
    Shr,
}

impl BinaryOp {
    /// True when the result is a boolean whatever the operands' numeric type.
    pub const fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// True for the operators on booleans.
    pub const fn is_logical(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Xor)
    }
}

/// A pointwise expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// The operator's input of this index.
    Arg(usize),
    /// A constant.
    Const(Scalar),
    /// A function of one operand.
    Unary(UnaryOp, Box<Expr>),
    /// A function of two operands.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `condition ? a : b`.
    Select(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Conversion to another element type.
    Cast(DType, Box<Expr>),
}

impl Expr {
    /// `op(self)`.
    #[must_use]
    pub fn unary(self, op: UnaryOp) -> Expr {
        Expr::Unary(op, Box::new(self))
    }

    /// `op(self, other)`.
    #[must_use]
    pub fn binary(self, op: BinaryOp, other: Expr) -> Expr {
        Expr::Binary(op, Box::new(self), Box::new(other))
    }

    /// `self ? a : b`.
    #[must_use]
    pub fn select(self, a: Expr, b: Expr) -> Expr {
        Expr::Select(Box::new(self), Box::new(a), Box::new(b))
    }

    /// `self` converted to `dtype`.
    #[must_use]
    pub fn cast(self, dtype: DType) -> Expr {
        Expr::Cast(dtype, Box::new(self))
    }

    /// An f32 constant.
    pub fn f32(value: f32) -> Expr {
        Expr::Const(Scalar::F32(value))
    }

    /// The direct operands.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Expr::Arg(_) | Expr::Const(_) => vec![],
            Expr::Unary(_, a) | Expr::Cast(_, a) => vec![a],
            Expr::Binary(_, a, b) => vec![a, b],
            Expr::Select(c, a, b) => vec![c, a, b],
        }
    }

    /// Number of nodes.
    pub fn size(&self) -> usize {
        1 + self.children().into_iter().map(Expr::size).sum::<usize>()
    }

    /// One more than the largest argument index; 0 without arguments.
    pub fn arity(&self) -> usize {
        match self {
            Expr::Arg(index) => index + 1,
            _ => self.children().into_iter().map(Expr::arity).max().unwrap_or(0),
        }
    }

    /// The expression with every argument replaced by what `replace` gives for its index.
    #[must_use]
    pub fn map_args(&self, replace: &mut dyn FnMut(usize) -> Expr) -> Expr {
        match self {
            Expr::Arg(index) => replace(*index),
            Expr::Const(value) => Expr::Const(*value),
            Expr::Unary(op, a) => a.map_args(replace).unary(*op),
            Expr::Cast(dtype, a) => a.map_args(replace).cast(*dtype),
            Expr::Binary(op, a, b) => {
                let a = a.map_args(replace);
                a.binary(*op, b.map_args(replace))
            }
            Expr::Select(c, a, b) => {
                let c = c.map_args(replace);
                let a = a.map_args(replace);
                c.select(a, b.map_args(replace))
            }
        }
    }

    /// The expression with conversions to any float type made those to f32, which is what the interpreter and devices
    /// hold every float as.
    #[must_use]
    pub fn floats_as_f32(&self) -> Expr {
        match self {
            Expr::Arg(_) | Expr::Const(_) => self.clone(),
            Expr::Unary(op, a) => a.floats_as_f32().unary(*op),
            Expr::Cast(dtype, a) => {
                a.floats_as_f32().cast(if dtype.is_float() { DType::F32 } else { *dtype })
            }
            Expr::Binary(op, a, b) => a.floats_as_f32().binary(*op, b.floats_as_f32()),
            Expr::Select(c, a, b) => c.floats_as_f32().select(a.floats_as_f32(), b.floats_as_f32()),
        }
    }

    /// The element type of the result, given those of the arguments; `Err` says what does not fit.
    ///
    /// Constants take the kind of the other operand: an integer constant beside an i32 operand is i32.
    pub fn infer(&self, args: &[DType]) -> Result<DType, String> {
        match self {
            Expr::Arg(index) => {
                args.get(*index).copied().ok_or_else(|| format!("argument {index} does not exist"))
            }
            Expr::Const(Scalar::F32(_)) => Ok(DType::F32),
            Expr::Const(Scalar::Int(_)) => Ok(DType::I64),
            Expr::Const(Scalar::Bool(_)) => Ok(DType::Bool),
            Expr::Cast(dtype, a) => a.infer(args).map(|_| *dtype),
            Expr::Unary(op, a) => infer_unary(*op, a.infer(args)?),
            Expr::Binary(op, a, b) => {
                let dtype = unify(a, b, args)?;
                match op {
                    _ if op.is_comparison() => Ok(DType::Bool),
                    _ if op.is_logical() && dtype != DType::Bool => {
                        Err(format!("{op:?} wants booleans, not {dtype}"))
                    }
                    _ if !op.is_logical() && dtype == DType::Bool => Err(format!("{op:?} on booleans")),
                    BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor | BinaryOp::Shl | BinaryOp::Shr
                        if !dtype.is_int() =>
                    {
                        Err(format!("{op:?} wants integers, not {dtype}"))
                    }
                    _ => Ok(dtype),
                }
            }
            Expr::Select(c, a, b) => match c.infer(args)? {
                DType::Bool => unify(a, b, args),
                other => Err(format!("a condition must be bool, not {other}")),
            },
        }
    }
}

fn infer_unary(op: UnaryOp, dtype: DType) -> Result<DType, String> {
    use UnaryOp::{Abs, BitNot, IsNan, Neg, Not, Sign};
    match op {
        Not if dtype == DType::Bool => Ok(DType::Bool),
        IsNan if dtype.is_float() => Ok(DType::Bool),
        BitNot if dtype.is_int() => Ok(dtype),
        Neg | Abs | Sign if dtype != DType::Bool => Ok(dtype),
        Not | IsNan | BitNot => Err(format!("{op:?} on {dtype}")),
        _ if dtype.is_float() => Ok(dtype),
        _ => Err(format!("{op:?} wants floats, not {dtype}")),
    }
}

fn unify(a: &Expr, b: &Expr, args: &[DType]) -> Result<DType, String> {
    let (left, right) = (a.infer(args)?, b.infer(args)?);
    let same_kind = left.is_float() == right.is_float() && left.is_int() == right.is_int();
    match (a, b) {
        _ if left == right => Ok(left),
        (Expr::Const(_), _) if same_kind => Ok(right),
        (_, Expr::Const(_)) if same_kind => Ok(left),
        _ => Err(format!("operands of different types: {left} and {right}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_follow_the_other_operand() {
        let expr = Expr::Arg(0).binary(BinaryOp::Add, Expr::Const(Scalar::Int(1)));
        assert_eq!(expr.infer(&[DType::I32]), Ok(DType::I32));
        assert!(expr.infer(&[DType::F32]).is_err());
    }

    #[test]
    fn comparisons_are_bool_and_feed_select() {
        let condition = Expr::Arg(0).binary(BinaryOp::Lt, Expr::f32(0.5));
        let expr = condition.select(Expr::Arg(1), Expr::Const(Scalar::Int(7)));
        assert_eq!(expr.infer(&[DType::F32, DType::I64]), Ok(DType::I64));
        assert_eq!(expr.arity(), 2);
    }
}
