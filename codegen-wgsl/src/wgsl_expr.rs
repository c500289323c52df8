//! Pointwise expressions as WGSL text.
//!
//! Floats are f32, all signed integers i32, all unsigned ones u32. Booleans are `bool` inside of an expression and 0 or
//! 1 as u32 in memory. What occurs twice in an expression is computed once.

use std::collections::HashMap;

use qwenc_ir::{BinaryOp, DType, Expr, Scalar, UnaryOp};

use crate::view::{Elem, View};
use crate::wgsl_math::MathLibrary;

/// One input of an expression: where it lies, and the IR's type of it. The type tells booleans from integers, which
/// share an element type on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Where it lies; broadcasts to the shape of the result, as in NumPy.
    pub view: View,
    /// The IR's type.
    pub dtype: DType,
}

/// An expression in WGSL: statements, then the value that they lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// `let` statements, one a line, indented by four spaces.
    pub statements: String,
    /// The value, for storing: booleans have become u32.
    pub value: String,
    /// The IR's type of it.
    pub dtype: DType,
}

/// What a value is inside of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
    Bool,
}

fn kind(dtype: DType) -> Result<Kind, String> {
    match Elem::of(dtype) {
        _ if dtype == DType::Bool => Ok(Kind::Bool),
        Some(Elem::F32) => Ok(Kind::Float),
        Some(Elem::I32) => Ok(Kind::Signed),
        Some(Elem::U32) => Ok(Kind::Unsigned),
        None => Err(format!("kernels do not compute in {dtype}")),
    }
}

/// Renders an expression. `arguments` are values as they lie in memory (booleans as u32) with their IR types; they
/// should be names or literals, because they may be repeated. `Err` says what kernels cannot compute.
pub fn render(
    expr: &Expr,
    arguments: &[(String, DType)],
    library: &mut MathLibrary,
) -> Result<Rendered, String> {
    let dtypes: Vec<DType> = arguments.iter().map(|(_, dtype)| *dtype).collect();
    let dtype = expr.infer(&dtypes)?;
    let mut occurrences = HashMap::new();
    count(expr, &mut occurrences);
    let mut writer =
        Writer { arguments, dtypes, occurrences, done: HashMap::new(), statements: String::new(), library };
    let value = writer.value(expr, dtype)?;
    let value = if dtype == DType::Bool { format!("select(0u, 1u, {value})") } else { value };
    Ok(Rendered { statements: writer.statements, value, dtype })
}

fn count<'a>(expr: &'a Expr, occurrences: &mut HashMap<&'a Expr, usize>) {
    *occurrences.entry(expr).or_insert(0) += 1;
    for child in expr.children() {
        count(child, occurrences);
    }
}

struct Writer<'a> {
    arguments: &'a [(String, DType)],
    dtypes: Vec<DType>,
    occurrences: HashMap<&'a Expr, usize>,
    /// Names of what has been computed already, by expression and type.
    done: HashMap<(&'a Expr, DType), String>,
    statements: String,
    library: &'a mut MathLibrary,
}

impl<'a> Writer<'a> {
    /// The expression as a WGSL operand: a name, a literal, a call, or something in parentheses. A constant becomes one
    /// of type `dtype`; anything else has that type already.
    fn value(&mut self, expr: &'a Expr, dtype: DType) -> Result<String, String> {
        match expr {
            Expr::Arg(index) => {
                let (text, dtype) = self.arguments.get(*index).ok_or("an argument is missing")?;
                kind(*dtype)?;
                return Ok(if *dtype == DType::Bool { format!("({text} != 0u)") } else { text.clone() });
            }
            Expr::Const(scalar) => return self.constant(*scalar, kind(dtype)?),
            _ => {}
        }
        if let Some(name) = self.done.get(&(expr, dtype)) {
            return Ok(name.clone());
        }
        let text = match expr {
            Expr::Unary(op, a) => {
                let dtype = a.infer(&self.dtypes)?;
                let a = self.operand(a, dtype)?;
                let text = self.unary(*op, kind(dtype)?, &a)?;
                let grows = matches!(op, UnaryOp::Neg | UnaryOp::Abs | UnaryOp::BitNot);
                if grows { wrapped(text, dtype) } else { text }
            }
            Expr::Cast(to, a) => {
                let from = a.infer(&self.dtypes)?;
                let a = self.operand(a, from)?;
                self.cast(&a, from, *to)?
            }
            Expr::Binary(op, a, b) => {
                let dtype = self.unified(a, b)?;
                if let Some(text) = self.constant_power(*op, a, b)? {
                    text
                } else {
                    let left = if matches!(**b, Expr::Const(_)) {
                        self.operand(a, dtype)?
                    } else {
                        self.value(a, dtype)?
                    };
                    let right = self.value(b, dtype)?;
                    let text = self.binary(*op, kind(dtype)?, &left, &right)?;
                    if can_overflow(*op) { wrapped(text, dtype) } else { text }
                }
            }
            Expr::Select(c, a, b) => {
                let dtype = self.unified(a, b)?;
                let c = self.operand(c, DType::Bool)?;
                let (a, b) = (self.value(a, dtype)?, self.value(b, dtype)?);
                format!("select({b}, {a}, {c})")
            }
            Expr::Arg(_) | Expr::Const(_) => String::new(),
        };
        if self.occurrences.get(expr).is_some_and(|count| *count > 1) {
            let name = self.statement(&text);
            self.done.insert((expr, dtype), name.clone());
            return Ok(name);
        }
        Ok(text)
    }

    /// As [`Self::value`], but a constant becomes a run-time value: WGSL evaluates operations on nothing but literals
    /// while compiling, where overflow and division by zero are errors.
    fn operand(&mut self, expr: &'a Expr, dtype: DType) -> Result<String, String> {
        let text = self.value(expr, dtype)?;
        Ok(if matches!(expr, Expr::Const(_)) { self.statement(&text) } else { text })
    }

    fn statement(&mut self, text: &str) -> String {
        let name = format!("e{}", self.statements.lines().count());
        self.statements += &format!("    let {name} = {text};\n");
        name
    }

    /// The common type of two operands: that of the one which is not a constant.
    fn unified(&self, a: &Expr, b: &Expr) -> Result<DType, String> {
        let not_constant = if matches!(a, Expr::Const(_)) { b } else { a };
        not_constant.infer(&self.dtypes)
    }

    fn constant(&mut self, scalar: Scalar, kind: Kind) -> Result<String, String> {
        match (kind, scalar) {
            (Kind::Float, scalar) => Ok(self.library.literal(scalar.as_f32())),
            (Kind::Bool, Scalar::Bool(value)) => Ok(value.to_string()),
            (Kind::Signed, Scalar::Int(value)) => i32_literal(value),
            (Kind::Unsigned, Scalar::Int(value)) => u32_literal(value),
            (kind, scalar) => Err(format!("the constant {scalar:?} does not fit a {kind:?} operand")),
        }
    }

    /// Powers with exponents that have a simpler and more accurate form.
    fn constant_power(&mut self, op: BinaryOp, a: &'a Expr, b: &'a Expr) -> Result<Option<String>, String> {
        let (BinaryOp::Pow, Expr::Const(Scalar::F32(exponent))) = (op, b) else { return Ok(None) };
        // The comparisons are exact: these are the constants that models contain.
        let form = [("square", 2.0), ("cube", 3.0), ("reciprocal", -1.0), ("itself", 1.0)]
            .into_iter()
            .find(|(_, value)| *value == *exponent);
        let Some((form, _)) = form else { return Ok(None) };
        let a = self.operand(a, DType::F32)?;
        if form == "itself" {
            return Ok(Some(a));
        }
        if form == "reciprocal" {
            return Ok(Some(format!("(1.0f / {a})")));
        }
        let x = if is_name(&a) { a } else { self.statement(&a) };
        Ok(Some(if form == "square" { format!("({x} * {x})") } else { format!("({x} * {x} * {x})") }))
    }

    fn unary(&mut self, op: UnaryOp, kind: Kind, x: &str) -> Result<String, String> {
        if kind == Kind::Float {
            return Ok(self.float_unary(op, x));
        }
        Ok(match (op, kind) {
            (UnaryOp::Not, Kind::Bool) => format!("(!{x})"),
            (UnaryOp::Neg, Kind::Signed) => format!("(-{x})"),
            (UnaryOp::Neg, Kind::Unsigned) => format!("(~{x} + 1u)"),
            (UnaryOp::Abs, Kind::Signed) => format!("abs({x})"),
            (UnaryOp::Abs, Kind::Unsigned) => x.to_string(),
            (UnaryOp::Sign, Kind::Signed) => format!("sign({x})"),
            (UnaryOp::Sign, Kind::Unsigned) => format!("min({x}, 1u)"),
            (UnaryOp::BitNot, Kind::Signed | Kind::Unsigned) => format!("(~{x})"),
            _ => return Err(format!("{op:?} on a {kind:?} operand")),
        })
    }

    fn float_unary(&mut self, op: UnaryOp, x: &str) -> String {
        let function = match op {
            UnaryOp::Neg => return format!("(-{x})"),
            UnaryOp::Recip => return format!("(1.0f / {x})"),
            UnaryOp::Sin => return format!("{}.x", self.library.call("sin_cos", &[x])),
            UnaryOp::Cos => return format!("{}.y", self.library.call("sin_cos", &[x])),
            UnaryOp::Abs => return format!("abs({x})"),
            UnaryOp::Exp => return format!("exp({x})"),
            UnaryOp::Log => return format!("log({x})"),
            UnaryOp::Sqrt => return format!("sqrt({x})"),
            UnaryOp::Rsqrt => return format!("inverseSqrt({x})"),
            UnaryOp::Floor => return format!("floor({x})"),
            UnaryOp::Ceil => return format!("ceil({x})"),
            // WGSL rounds half to even.
            UnaryOp::Round => return format!("round({x})"),
            UnaryOp::Not | UnaryOp::BitNot => return format!("(!{x})"),
            UnaryOp::Tan => "tangent",
            UnaryOp::Asin => "arc_sin",
            UnaryOp::Acos => "arc_cos",
            UnaryOp::Atan => "arc_tan",
            UnaryOp::Sinh => "sinh_exact",
            UnaryOp::Cosh => "cosh_exact",
            UnaryOp::Tanh => "tanh_exact",
            UnaryOp::Asinh => "arc_sinh",
            UnaryOp::Acosh => "arc_cosh",
            UnaryOp::Atanh => "arc_tanh",
            UnaryOp::Sigmoid => "sigmoid",
            UnaryOp::Silu => "silu",
            UnaryOp::Softplus => "softplus",
            UnaryOp::Erf => "erf",
            UnaryOp::Sign => "sign_f32",
            UnaryOp::IsNan => "is_nan",
        };
        self.library.call(function, &[x])
    }

    fn binary(&mut self, op: BinaryOp, kind: Kind, a: &str, b: &str) -> Result<String, String> {
        let infix = |symbol: &str| Ok(format!("({a} {symbol} {b})"));
        match (op, kind) {
            (BinaryOp::And, Kind::Bool) => return infix("&&"),
            (BinaryOp::Or, Kind::Bool) => return infix("||"),
            (BinaryOp::Xor, Kind::Bool) => return infix("!="),
            (BinaryOp::Eq, _) => return infix("=="),
            (BinaryOp::Lt, Kind::Bool) => return Ok(format!("(!{a} && {b})")),
            (BinaryOp::Le, Kind::Bool) => return Ok(format!("(!{a} || {b})")),
            (BinaryOp::Gt, Kind::Bool) => return Ok(format!("({a} && !{b})")),
            (BinaryOp::Ge, Kind::Bool) => return Ok(format!("({a} || !{b})")),
            (_, Kind::Bool) => return Err(format!("{op:?} on booleans")),
            (BinaryOp::Add, _) => return infix("+"),
            (BinaryOp::Sub, _) => return infix("-"),
            (BinaryOp::Mul, _) => return infix("*"),
            (BinaryOp::Lt, _) => return infix("<"),
            (BinaryOp::Le, _) => return infix("<="),
            (BinaryOp::Gt, _) => return infix(">"),
            (BinaryOp::Ge, _) => return infix(">="),
            (BinaryOp::Div, Kind::Float) => return infix("/"),
            (BinaryOp::Min, Kind::Signed | Kind::Unsigned) => return Ok(format!("min({a}, {b})")),
            (BinaryOp::Max, Kind::Signed | Kind::Unsigned) => return Ok(format!("max({a}, {b})")),
            (BinaryOp::BitAnd, Kind::Signed | Kind::Unsigned) => return infix("&"),
            (BinaryOp::BitOr, Kind::Signed | Kind::Unsigned) => return infix("|"),
            (BinaryOp::BitXor, Kind::Signed | Kind::Unsigned) => return infix("^"),
            _ => {}
        }
        let function = match (op, kind) {
            (BinaryOp::Min, Kind::Float) => "min_nan",
            (BinaryOp::Max, Kind::Float) => "max_nan",
            (BinaryOp::Mod, Kind::Float) => "mod_f32",
            (BinaryOp::Fmod, Kind::Float) => "fmod_f32",
            (BinaryOp::Pow, Kind::Float) => "pow_f32",
            (BinaryOp::Div, Kind::Signed) => "div_i32",
            (BinaryOp::Mod, Kind::Signed) => "mod_i32",
            (BinaryOp::Fmod, Kind::Signed) => "fmod_i32",
            (BinaryOp::Pow, Kind::Signed) => "pow_i32",
            (BinaryOp::Shl, Kind::Signed) => "shl_i32",
            (BinaryOp::Shr, Kind::Signed) => "shr_i32",
            (BinaryOp::Div, Kind::Unsigned) => "div_u32",
            (BinaryOp::Mod | BinaryOp::Fmod, Kind::Unsigned) => "mod_u32",
            (BinaryOp::Pow, Kind::Unsigned) => "pow_u32",
            (BinaryOp::Shl, Kind::Unsigned) => "shl_u32",
            (BinaryOp::Shr, Kind::Unsigned) => "shr_u32",
            _ => return Err(format!("{op:?} on {kind:?} operands")),
        };
        Ok(self.library.call(function, &[a, b]))
    }

    fn cast(&mut self, x: &str, from: DType, to: DType) -> Result<String, String> {
        let (source, target) = (kind(from)?, kind(to)?);
        let text = match (source, target) {
            // By bits, because NaN is true and comparisons with it may give anything.
            (Kind::Float, Kind::Bool) => return Ok(format!("((bitcast<u32>({x}) & 0x7fffffffu) != 0u)")),
            (Kind::Signed, Kind::Bool) => return Ok(format!("({x} != 0i)")),
            (Kind::Unsigned, Kind::Bool) => return Ok(format!("({x} != 0u)")),
            (Kind::Float, Kind::Float) | (Kind::Bool, Kind::Bool) => return Ok(x.to_string()),
            (_, Kind::Float) => return Ok(format!("f32({x})")),
            (Kind::Bool, Kind::Signed) => return Ok(format!("i32({x})")),
            (Kind::Bool, Kind::Unsigned) => return Ok(format!("u32({x})")),
            (Kind::Float, Kind::Signed) => self.library.call("i32_from_f32", &[x]),
            (Kind::Float, Kind::Unsigned) => self.library.call("u32_from_f32", &[x]),
            (Kind::Unsigned, Kind::Signed) => format!("bitcast<i32>({x})"),
            (Kind::Signed, Kind::Unsigned) => format!("bitcast<u32>({x})"),
            (Kind::Signed, Kind::Signed) | (Kind::Unsigned, Kind::Unsigned) => x.to_string(),
        };
        // Into narrow integers floats saturate, and integers keep their low bits.
        Ok(match (to, source) {
            _ if to == from => text,
            _ if !to.is_int() || to.bits() >= 32 => text,
            (_, Kind::Float) if to.is_signed_int() => {
                let limit = 1u32 << (to.bits() - 1);
                format!("clamp({text}, -{limit}i, {}i)", limit - 1)
            }
            (_, Kind::Float) => format!("min({text}, {}u)", (1u32 << to.bits()) - 1),
            _ => format!("extractBits({text}, 0u, {}u)", to.bits()),
        })
    }
}

/// True for operators whose result can be outside of the range of its operands.
const fn can_overflow(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Div, Mul, Pow, Shl, Sub};
    matches!(op, Add | Sub | Mul | Div | Pow | Shl)
}

/// A result of a type that is narrower than the device's, in two's complement of its own width.
fn wrapped(text: String, dtype: DType) -> String {
    if dtype.is_int() && dtype.bits() < 32 {
        return format!("extractBits({text}, 0u, {}u)", dtype.bits());
    }
    text
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A constant as it lies in memory. `Err` when it is of another kind or does not fit.
pub fn literal(value: Scalar, elem: Elem, library: &mut MathLibrary) -> Result<String, String> {
    match (elem, value) {
        (Elem::F32, value) => Ok(library.literal(value.as_f32())),
        (Elem::I32, Scalar::Int(value)) => i32_literal(value),
        (Elem::U32, Scalar::Int(value)) => u32_literal(value),
        (Elem::U32, Scalar::Bool(value)) => u32_literal(value.into()),
        (elem, value) => Err(format!("the constant {value:?} does not fit {elem:?}")),
    }
}

/// An i32 constant, in parentheses when negative. `Err` when the value does not fit.
pub fn i32_literal(value: i64) -> Result<String, String> {
    match i32::try_from(value) {
        // The text `-2147483648i` is the negation of a number that is out of range.
        Ok(i32::MIN) => Ok("(-2147483647i - 1i)".to_string()),
        Ok(value) if value < 0 => Ok(format!("({value}i)")),
        Ok(value) => Ok(format!("{value}i")),
        Err(_) => Err(format!("the constant {value} does not fit 32 bits")),
    }
}

/// A u32 constant. `Err` when the value does not fit.
pub fn u32_literal(value: i64) -> Result<String, String> {
    u32::try_from(value)
        .map(|value| format!("{value}u"))
        .map_err(|_| format!("the constant {value} does not fit 32 unsigned bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(expr: &Expr, arguments: &[(&str, DType)]) -> String {
        let arguments: Vec<_> = arguments.iter().map(|(name, dtype)| (name.to_string(), *dtype)).collect();
        let rendered = render(expr, &arguments, &mut MathLibrary::default()).unwrap();
        rendered.statements + &rendered.value
    }

    #[test]
    fn what_occurs_twice_is_computed_once() {
        let sum = Expr::Arg(0).binary(BinaryOp::Add, Expr::f32(1.0));
        let expr = sum.clone().binary(BinaryOp::Mul, sum.unary(UnaryOp::Sigmoid));
        assert_eq!(text(&expr, &[("a", DType::F32)]), "    let e0 = (a + 1.0f);\n(e0 * sigmoid(e0))");
    }

    #[test]
    fn constants_follow_the_other_operand_and_must_fit() {
        let expr = Expr::Arg(0).binary(BinaryOp::Mul, Expr::Const(Scalar::Int(-3)));
        assert_eq!(text(&expr, &[("a", DType::I64)]), "(a * (-3i))");
        let wide = Expr::Arg(0).binary(BinaryOp::Add, Expr::Const(Scalar::Int(1 << 40)));
        assert!(render(&wide, &[("a".into(), DType::I64)], &mut MathLibrary::default()).is_err());
    }

    #[test]
    fn operations_on_constants_only_are_left_to_run_time() {
        let expr = Expr::f32(1.0).binary(BinaryOp::Div, Expr::f32(0.0));
        assert_eq!(text(&expr, &[]), "    let e0 = 1.0f;\n(e0 / 0.0f)");
    }

    #[test]
    fn narrow_integers_wrap_at_their_own_width() {
        let sum = Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1));
        assert_eq!(text(&sum, &[("a", DType::U8), ("b", DType::U8)]), "extractBits((a + b), 0u, 8u)");
        assert_eq!(text(&sum, &[("a", DType::I32), ("b", DType::I32)]), "(a + b)");
        let not = Expr::Arg(0).unary(UnaryOp::BitNot);
        assert_eq!(text(&not, &[("a", DType::I16)]), "extractBits((~a), 0u, 16u)");
    }

    #[test]
    fn booleans_are_integers_in_memory_only() {
        let expr = Expr::Arg(0).binary(BinaryOp::And, Expr::Arg(1).unary(UnaryOp::Not));
        let expected = "select(0u, 1u, ((a != 0u) && (!(b != 0u))))";
        assert_eq!(text(&expr, &[("a", DType::Bool), ("b", DType::Bool)]), expected);
    }
}
