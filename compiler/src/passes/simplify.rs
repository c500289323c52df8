//! Algebra on pointwise expressions: neutral and absorbing constants, conditions that are known, and the longhand of
//! activations.
//!
//! `x * 0` becomes 0 and `x + 0` becomes x, which for infinities and NaN is a different result: kernels compute in
//! finite math. Integer and boolean rules are exact.

use qwenc_ir::{BinaryOp, Expr, Scalar, UnaryOp};

/// The expression with every rule applied bottom-up.
pub(super) fn simplify(expr: &Expr) -> Expr {
    let expr = match expr {
        Expr::Arg(_) | Expr::Const(_) => expr.clone(),
        Expr::Unary(op, a) => simplify(a).unary(*op),
        Expr::Cast(dtype, a) => simplify(a).cast(*dtype),
        Expr::Binary(op, a, b) => simplify(a).binary(*op, simplify(b)),
        Expr::Select(c, a, b) => simplify(c).select(simplify(a), simplify(b)),
    };
    rewrite(&expr).unwrap_or(expr)
}

/// One rule at the root of an expression whose operands are simple already.
fn rewrite(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::Unary(op, a) => unary(*op, a),
        Expr::Binary(op, a, b) => binary(*op, a, b),
        Expr::Select(c, a, b) => match **c {
            Expr::Const(Scalar::Bool(true)) => Some((**a).clone()),
            Expr::Const(Scalar::Bool(false)) => Some((**b).clone()),
            _ if a == b => Some((**a).clone()),
            _ => clamped_softplus(c, a, b),
        },
        Expr::Cast(to, a) => match &**a {
            Expr::Cast(from, inner) if from == to => Some(inner.clone().cast(*to)),
            _ => None,
        },
        Expr::Arg(_) | Expr::Const(_) => None,
    }
}

/// PyTorch's softplus takes `x` itself above a threshold. From 17 on the two are the same f32.
fn clamped_softplus(condition: &Expr, a: &Expr, b: &Expr) -> Option<Expr> {
    const SAME_FROM: f32 = 17.0;
    let Expr::Binary(op, left, right) = condition else { return None };
    let high = |expr: &Expr| matches!(expr, Expr::Const(Scalar::F32(value)) if *value >= SAME_FROM);
    let (x, above) = match op {
        BinaryOp::Gt | BinaryOp::Ge if high(right) => (left, true),
        BinaryOp::Lt | BinaryOp::Le if high(left) => (right, true),
        BinaryOp::Lt | BinaryOp::Le if high(right) => (left, false),
        BinaryOp::Gt | BinaryOp::Ge if high(left) => (right, false),
        _ => return None,
    };
    let (plain, other) = if above { (a, b) } else { (b, a) };
    match other {
        Expr::Unary(UnaryOp::Softplus, inner) if inner == x && plain == &**x => Some(other.clone()),
        _ => None,
    }
}

fn unary(op: UnaryOp, a: &Expr) -> Option<Expr> {
    match (op, a) {
        (UnaryOp::Neg, Expr::Unary(UnaryOp::Neg, inner))
        | (UnaryOp::Not, Expr::Unary(UnaryOp::Not, inner)) => Some((**inner).clone()),
        (UnaryOp::Recip, _) => Some(logistic(a)?.clone().unary(UnaryOp::Sigmoid)),
        (UnaryOp::Log, _) => match one_plus(a)? {
            Expr::Unary(UnaryOp::Exp, inner) => Some(inner.clone().unary(UnaryOp::Softplus)),
            _ => None,
        },
        _ => None,
    }
}

fn binary(op: BinaryOp, a: &Expr, b: &Expr) -> Option<Expr> {
    let left = || Some(a.clone());
    let right = || Some(b.clone());
    match op {
        BinaryOp::Add if is(b, 0) => left(),
        BinaryOp::Add if is(a, 0) => right(),
        BinaryOp::Sub if is(b, 0) => left(),
        BinaryOp::Mul if is(b, 1) => left(),
        BinaryOp::Mul if is(a, 1) => right(),
        BinaryOp::Mul if is(b, 0) => right(),
        BinaryOp::Mul if is(a, 0) => left(),
        BinaryOp::Mul => silu(a, b).or_else(|| silu(b, a)),
        BinaryOp::Div if is(b, 1) => left(),
        BinaryOp::Div => match logistic(b) {
            Some(x) if is(a, 1) => Some(x.clone().unary(UnaryOp::Sigmoid)),
            Some(x) if x == a => Some(x.clone().unary(UnaryOp::Silu)),
            _ => None,
        },
        BinaryOp::Pow if is(b, 1) => left(),
        BinaryOp::And if truth(b) == Some(true) || truth(a) == Some(false) => left(),
        BinaryOp::And if truth(a) == Some(true) || truth(b) == Some(false) => right(),
        BinaryOp::Or if truth(b) == Some(false) || truth(a) == Some(true) => left(),
        BinaryOp::Or if truth(a) == Some(false) || truth(b) == Some(true) => right(),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Min | BinaryOp::Max if a == b => left(),
        _ => None,
    }
}

/// `x * sigmoid(x)`.
fn silu(x: &Expr, gate: &Expr) -> Option<Expr> {
    match gate {
        Expr::Unary(UnaryOp::Sigmoid, inner) if **inner == *x => Some(x.clone().unary(UnaryOp::Silu)),
        _ => None,
    }
}

/// `x` of `1 + exp(-x)`.
fn logistic(expr: &Expr) -> Option<&Expr> {
    match one_plus(expr)? {
        Expr::Unary(UnaryOp::Exp, inner) => match &**inner {
            Expr::Unary(UnaryOp::Neg, x) => Some(x),
            _ => None,
        },
        _ => None,
    }
}

/// `x` of `1 + x` or `x + 1`.
fn one_plus(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Binary(BinaryOp::Add, a, b) if is(a, 1) => Some(b),
        Expr::Binary(BinaryOp::Add, a, b) if is(b, 1) => Some(a),
        _ => None,
    }
}

/// True for the constant `value` of any numeric kind.
fn is(expr: &Expr, value: i8) -> bool {
    match expr {
        Expr::Const(Scalar::F32(have)) => *have == f32::from(value),
        Expr::Const(Scalar::Int(have)) => *have == i64::from(value),
        _ => false,
    }
}

fn truth(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Const(Scalar::Bool(value)) => Some(*value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x() -> Expr {
        Expr::Arg(0)
    }

    #[test]
    fn neutral_and_absorbing_constants_go() {
        let zero = || Expr::Const(Scalar::Int(0));
        assert_eq!(simplify(&x().binary(BinaryOp::Add, zero())), x());
        assert_eq!(simplify(&zero().binary(BinaryOp::Mul, x())), zero());
        assert_eq!(
            simplify(&x().binary(BinaryOp::Mul, Expr::f32(1.0)).binary(BinaryOp::Sub, Expr::f32(0.0))),
            x()
        );
        let subtract = zero().binary(BinaryOp::Sub, x());
        assert_eq!(simplify(&subtract), subtract);
    }

    #[test]
    fn activations_written_longhand_are_recognised() {
        let sigmoid = || Expr::f32(1.0).binary(BinaryOp::Add, x().unary(UnaryOp::Neg).unary(UnaryOp::Exp));
        assert_eq!(simplify(&sigmoid().unary(UnaryOp::Recip)), x().unary(UnaryOp::Sigmoid));
        assert_eq!(simplify(&x().binary(BinaryOp::Div, sigmoid())), x().unary(UnaryOp::Silu));
        assert_eq!(
            simplify(&sigmoid().unary(UnaryOp::Recip).binary(BinaryOp::Mul, x())),
            x().unary(UnaryOp::Silu)
        );
        let softplus = x().unary(UnaryOp::Exp).binary(BinaryOp::Add, Expr::f32(1.0)).unary(UnaryOp::Log);
        assert_eq!(simplify(&softplus), x().unary(UnaryOp::Softplus));
        let other = Expr::Arg(1).binary(BinaryOp::Mul, x().unary(UnaryOp::Sigmoid));
        assert_eq!(simplify(&other), other);
    }

    #[test]
    fn known_conditions_choose() {
        let condition =
            Expr::Const(Scalar::Bool(true)).binary(BinaryOp::And, Expr::Const(Scalar::Bool(false)));
        assert_eq!(simplify(&condition.select(x(), Expr::Arg(1))), Expr::Arg(1));
        assert_eq!(simplify(&Expr::Arg(2).select(x(), x())), x());
    }
}
