//! The words for the IR's enumerations.

use crate::expr::{BinaryOp, UnaryOp};
use crate::graph::StateKind;
use crate::op::{Activation, ReduceKind, WeightLayout};

/// An enumeration with a word for each of its values.
pub(super) trait Named: Copy + PartialEq + Sized + 'static {
    /// What the values are called together, for errors.
    const WHAT: &'static str;
    /// Every value with its word.
    const NAMES: &'static [(Self, &'static str)];

    fn word(self) -> &'static str {
        Self::NAMES.iter().find(|(value, _)| *value == self).map_or("?", |(_, word)| word)
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, have)| *have == word).map(|(value, _)| *value)
    }
}

impl Named for Activation {
    const WHAT: &'static str = "activation";
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::Identity, "identity"), (Self::Silu, "silu"), (Self::Sigmoid, "sigmoid")];
}

impl Named for WeightLayout {
    const WHAT: &'static str = "weight layout";
    const NAMES: &'static [(Self, &'static str)] = &[(Self::KN, "kn"), (Self::NK, "nk")];
}

impl Named for StateKind {
    const WHAT: &'static str = "kind of state";
    const NAMES: &'static [(Self, &'static str)] =
        &[(Self::KvCache, "kv_cache"), (Self::Window, "window"), (Self::Matrix, "matrix")];
}

impl Named for bool {
    const WHAT: &'static str = "boolean";
    const NAMES: &'static [(Self, &'static str)] = &[(false, "false"), (true, "true")];
}

impl Named for ReduceKind {
    const WHAT: &'static str = "reduction";
    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Sum, "sum"),
        (Self::Mean, "mean"),
        (Self::Max, "max"),
        (Self::Min, "min"),
        (Self::Prod, "prod"),
        (Self::SumSquare, "sum_square"),
        (Self::L1, "l1"),
        (Self::L2, "l2"),
        (Self::LogSum, "log_sum"),
        (Self::LogSumExp, "log_sum_exp"),
    ];
}

impl Named for UnaryOp {
    const WHAT: &'static str = "function of one operand";
    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Neg, "neg"),
        (Self::Abs, "abs"),
        (Self::Exp, "exp"),
        (Self::Log, "log"),
        (Self::Sqrt, "sqrt"),
        (Self::Rsqrt, "rsqrt"),
        (Self::Recip, "recip"),
        (Self::Sin, "sin"),
        (Self::Cos, "cos"),
        (Self::Tan, "tan"),
        (Self::Asin, "asin"),
        (Self::Acos, "acos"),
        (Self::Atan, "atan"),
        (Self::Sinh, "sinh"),
        (Self::Cosh, "cosh"),
        (Self::Tanh, "tanh"),
        (Self::Asinh, "asinh"),
        (Self::Acosh, "acosh"),
        (Self::Atanh, "atanh"),
        (Self::Sigmoid, "sigmoid"),
        (Self::Silu, "silu"),
        (Self::Softplus, "softplus"),
        (Self::Erf, "erf"),
        (Self::Floor, "floor"),
        (Self::Ceil, "ceil"),
        (Self::Round, "round"),
        (Self::Sign, "sign"),
        (Self::Not, "not"),
        (Self::IsNan, "is_nan"),
        (Self::BitNot, "bit_not"),
    ];
}

impl Named for BinaryOp {
    const WHAT: &'static str = "function of two operands";
    const NAMES: &'static [(Self, &'static str)] = &[
        (Self::Add, "add"),
        (Self::Sub, "sub"),
        (Self::Mul, "mul"),
        (Self::Div, "div"),
        (Self::Mod, "mod"),
        (Self::Fmod, "fmod"),
        (Self::Pow, "pow"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::And, "and"),
        (Self::Or, "or"),
        (Self::Xor, "xor"),
        (Self::Eq, "eq"),
        (Self::Lt, "lt"),
        (Self::Le, "le"),
        (Self::Gt, "gt"),
        (Self::Ge, "ge"),
        (Self::BitAnd, "bit_and"),
        (Self::BitOr, "bit_or"),
        (Self::BitXor, "bit_xor"),
        (Self::Shl, "shl"),
        (Self::Shr, "shr"),
    ];
}
