//! Integer expressions over symbols: workgroup counts, shapes and byte counts that depend on the step.
//!
//! In JSON an expression is a number, a symbol's name, or an object with one operator:
//! `{"add": [..]}`, `{"mul": [..]}`, `{"min": [..]}`, `{"max": [..]}`, `{"floor_div": [a, b]}`, `{"ceil_div": [a, b]}`,
//! `{"mod": [a, b]}`. Arithmetic is on signed 64-bit integers and checked; division rounds towards minus infinity
//! (`ceil_div` towards plus infinity) and needs a positive divisor.

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use crate::names::ByName;

/// Deepest nesting of a valid expression.
const MAX_DEPTH: usize = 32;
/// Most operators and operands of a valid expression.
const MAX_NODES: usize = 512;

/// An integer expression over symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A number.
    Const(i64),
    /// The value of a symbol.
    Symbol(String),
    /// The sum of all operands.
    Add(Vec<Expr>),
    /// The product of all operands.
    Mul(Vec<Expr>),
    /// The smallest operand.
    Min(Vec<Expr>),
    /// The largest operand.
    Max(Vec<Expr>),
    /// Quotient, rounded down.
    FloorDiv(Box<[Expr; 2]>),
    /// Quotient, rounded up.
    CeilDiv(Box<[Expr; 2]>),
    /// Remainder of [`Expr::FloorDiv`], never negative.
    Mod(Box<[Expr; 2]>),
}

/// An expression has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// The expression uses a symbol that has no value here.
    #[error("unknown symbol `{0}`")]
    UnknownSymbol(String),
    /// A result does not fit 64 bits.
    #[error("arithmetic overflow")]
    Overflow,
    /// A divisor is, or can be, zero or negative.
    #[error("division by a number that is not positive")]
    Divisor,
    /// An operator without operands.
    #[error("an operator has no operands")]
    Empty,
    /// The expression is nested too deeply or too long to be taken.
    #[error("the expression is larger than {MAX_NODES} parts or deeper than {MAX_DEPTH} levels")]
    TooLarge,
}

/// Inclusive bounds of symbols, by name.
pub type Bounds = ByName<(i64, i64)>;

impl Expr {
    /// The value, with the values of symbols from `symbol`.
    ///
    /// # Errors
    /// [`ExprError`], when the expression has no value in 64 bits.
    pub fn eval(&self, symbol: &impl Fn(&str) -> Option<i64>) -> Result<i64, ExprError> {
        let fold = |items: &[Expr], op: fn(i64, i64) -> Option<i64>| {
            let mut values = items.iter().map(|item| item.eval(symbol));
            let first = values.next().ok_or(ExprError::Empty)??;
            values.try_fold(first, |acc, value| op(acc, value?).ok_or(ExprError::Overflow))
        };
        let divide = |pair: &[Expr; 2], op: fn(i64, i64) -> Option<i64>| {
            let [a, b] = [pair[0].eval(symbol)?, pair[1].eval(symbol)?];
            if b <= 0 { Err(ExprError::Divisor) } else { op(a, b).ok_or(ExprError::Overflow) }
        };
        match self {
            Self::Const(value) => Ok(*value),
            Self::Symbol(name) => symbol(name).ok_or_else(|| ExprError::UnknownSymbol(name.clone())),
            Self::Add(items) => fold(items, i64::checked_add),
            Self::Mul(items) => fold(items, i64::checked_mul),
            Self::Min(items) => fold(items, |a, b| Some(a.min(b))),
            Self::Max(items) => fold(items, |a, b| Some(a.max(b))),
            Self::FloorDiv(pair) => divide(pair, i64::checked_div_euclid),
            Self::CeilDiv(pair) => divide(pair, ceil_div),
            Self::Mod(pair) => divide(pair, i64::checked_rem_euclid),
        }
    }

    /// Bounds of the value when every symbol is within its own: never too narrow, exact where each symbol occurs once.
    ///
    /// # Errors
    /// [`ExprError`], when for some values within the bounds the expression may have none.
    pub fn range(&self, bounds: &Bounds) -> Result<(i64, i64), ExprError> {
        let fold = |items: &[Expr], op: fn(Range, Range) -> Option<Range>| {
            let mut ranges = items.iter().map(|item| item.range(bounds));
            let first = ranges.next().ok_or(ExprError::Empty)??;
            ranges.try_fold(first, |acc, range| op(acc, range?).ok_or(ExprError::Overflow))
        };
        let divide = |pair: &[Expr; 2], op: fn(i64, i64) -> Option<i64>| {
            let [a, b] = [pair[0].range(bounds)?, pair[1].range(bounds)?];
            if b.0 <= 0 {
                return Err(ExprError::Divisor);
            }
            corners(a, b, op).ok_or(ExprError::Overflow)
        };
        match self {
            Self::Const(value) => Ok((*value, *value)),
            Self::Symbol(name) => {
                bounds.get(name).copied().ok_or_else(|| ExprError::UnknownSymbol(name.clone()))
            }
            Self::Add(items) => fold(items, |a, b| Some((a.0.checked_add(b.0)?, a.1.checked_add(b.1)?))),
            Self::Mul(items) => fold(items, |a, b| corners(a, b, i64::checked_mul)),
            Self::Min(items) => fold(items, |a, b| Some((a.0.min(b.0), a.1.min(b.1)))),
            Self::Max(items) => fold(items, |a, b| Some((a.0.max(b.0), a.1.max(b.1)))),
            Self::FloorDiv(pair) => divide(pair, i64::checked_div_euclid),
            Self::CeilDiv(pair) => divide(pair, ceil_div),
            Self::Mod(pair) => {
                let [a, b] = [pair[0].range(bounds)?, pair[1].range(bounds)?];
                match (a, b) {
                    (_, (..=0, _)) => Err(ExprError::Divisor),
                    ((0.., high), (low, _)) if high < low => Ok(a),
                    ((0.., high), (_, divisor)) => Ok((0, high.min(divisor - 1))),
                    (_, (_, divisor)) => Ok((0, divisor - 1)),
                }
            }
        }
    }

    /// Refuses expressions that are too large to be worth walking.
    ///
    /// # Errors
    /// [`ExprError::TooLarge`].
    pub fn check_size(&self) -> Result<(), ExprError> {
        let mut nodes = 0;
        let mut stack = vec![(self, 1)];
        while let Some((expr, depth)) = stack.pop() {
            nodes += 1;
            if nodes > MAX_NODES || depth > MAX_DEPTH {
                return Err(ExprError::TooLarge);
            }
            stack.extend(expr.operands().iter().map(|operand| (operand, depth + 1)));
        }
        Ok(())
    }

    /// The names of all symbols used, each once, sorted.
    #[must_use]
    pub fn symbols(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let mut stack = vec![self];
        while let Some(expr) = stack.pop() {
            if let Self::Symbol(name) = expr
                && let Err(at) = names.binary_search(&name.as_str())
            {
                names.insert(at, name);
            }
            stack.extend(expr.operands());
        }
        names
    }

    fn operands(&self) -> &[Expr] {
        match self {
            Self::Const(_) | Self::Symbol(_) => &[],
            Self::Add(items) | Self::Mul(items) | Self::Min(items) | Self::Max(items) => items,
            Self::FloorDiv(pair) | Self::CeilDiv(pair) | Self::Mod(pair) => pair.as_slice(),
        }
    }
}

type Range = (i64, i64);

fn ceil_div(a: i64, b: i64) -> Option<i64> {
    a.checked_neg()?.checked_div_euclid(b)?.checked_neg()
}

/// The range of an operation that is monotonic in each operand: its extremes are at corners.
fn corners(a: Range, b: Range, op: fn(i64, i64) -> Option<i64>) -> Option<Range> {
    let values = [op(a.0, b.0)?, op(a.0, b.1)?, op(a.1, b.0)?, op(a.1, b.1)?];
    Some((values.into_iter().min()?, values.into_iter().max()?))
}

impl From<i64> for Expr {
    fn from(value: i64) -> Self {
        Self::Const(value)
    }
}

impl From<u32> for Expr {
    fn from(value: u32) -> Self {
        Self::Const(value.into())
    }
}

impl From<&str> for Expr {
    fn from(symbol: &str) -> Self {
        Self::Symbol(symbol.to_owned())
    }
}

impl Expr {
    /// The operator and its operands, where there is one.
    fn operator(&self) -> Option<(&'static str, &[Expr])> {
        match self {
            Self::Const(_) | Self::Symbol(_) => None,
            Self::Add(items) => Some(("add", items)),
            Self::Mul(items) => Some(("mul", items)),
            Self::Min(items) => Some(("min", items)),
            Self::Max(items) => Some(("max", items)),
            Self::FloorDiv(pair) => Some(("floor_div", pair.as_slice())),
            Self::CeilDiv(pair) => Some(("ceil_div", pair.as_slice())),
            Self::Mod(pair) => Some(("mod", pair.as_slice())),
        }
    }
}

impl fmt::Display for Expr {
    /// As a function of the operands: `add(mul(2, past), 1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(value) => write!(f, "{value}"),
            Self::Symbol(name) => f.write_str(name),
            _ => {
                let (name, operands) = self.operator().unwrap_or_default();
                write!(f, "{name}(")?;
                for (at, operand) in operands.iter().enumerate() {
                    f.write_str(if at > 0 { ", " } else { "" })?;
                    operand.fmt(f)?;
                }
                f.write_str(")")
            }
        }
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Const(value) => serializer.serialize_i64(*value),
            Self::Symbol(name) => serializer.serialize_str(name),
            _ => {
                let (name, operands) = self.operator().unwrap_or_default();
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(name, operands)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExprVisitor)
    }
}

struct ExprVisitor;

impl<'de> Visitor<'de> for ExprVisitor {
    type Value = Expr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer, the name of a symbol, or an object with one operator")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Expr, E> {
        Ok(Expr::Const(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Expr, E> {
        i64::try_from(value).map(Expr::Const).map_err(|_| E::custom("the integer does not fit 64 bits"))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Expr, E> {
        Ok(Expr::Symbol(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expr, A::Error> {
        let key: String =
            map.next_key()?.ok_or_else(|| de::Error::custom("an expression without operator"))?;
        let expr = match key.as_str() {
            "add" => Expr::Add(map.next_value()?),
            "mul" => Expr::Mul(map.next_value()?),
            "min" => Expr::Min(map.next_value()?),
            "max" => Expr::Max(map.next_value()?),
            "floor_div" => Expr::FloorDiv(map.next_value()?),
            "ceil_div" => Expr::CeilDiv(map.next_value()?),
            "mod" => Expr::Mod(map.next_value()?),
            other => return Err(de::Error::custom(format_args!("unknown operator `{other}`"))),
        };
        match map.next_key::<String>()? {
            None => Ok(expr),
            Some(_) => Err(de::Error::custom("an expression with more than one operator")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expr, serde_json::Error> {
        serde_json::from_str(text)
    }

    fn eval(text: &str) -> Result<i64, ExprError> {
        parse(text).unwrap().eval(&|name| match name {
            "tokens" => Some(7),
            "past" => Some(100),
            _ => None,
        })
    }

    #[test]
    fn values() {
        assert_eq!(eval("3"), Ok(3));
        assert_eq!(eval(r#""tokens""#), Ok(7));
        assert_eq!(eval(r#"{"add":["past","tokens",1]}"#), Ok(108));
        assert_eq!(eval(r#"{"mul":[2,"tokens"]}"#), Ok(14));
        assert_eq!(eval(r#"{"floor_div":[{"add":["tokens",63]},64]}"#), Ok(1));
        assert_eq!(eval(r#"{"ceil_div":["past",64]}"#), Ok(2));
        assert_eq!(eval(r#"{"ceil_div":[-3,2]}"#), Ok(-1));
        assert_eq!(eval(r#"{"floor_div":[-3,2]}"#), Ok(-2));
        assert_eq!(eval(r#"{"mod":[-3,2]}"#), Ok(1));
        assert_eq!(eval(r#"{"min":["past",{"max":["tokens",9]}]}"#), Ok(9));
    }

    #[test]
    fn no_value() {
        assert_eq!(eval(r#""rows""#), Err(ExprError::UnknownSymbol("rows".into())));
        assert_eq!(eval(r#"{"mul":[9223372036854775807,"tokens"]}"#), Err(ExprError::Overflow));
        assert_eq!(eval(r#"{"mod":[1,0]}"#), Err(ExprError::Divisor));
        assert_eq!(eval(r#"{"floor_div":[1,-1]}"#), Err(ExprError::Divisor));
        assert_eq!(eval(r#"{"add":[]}"#), Err(ExprError::Empty));
    }

    #[test]
    fn malformed_json() {
        for text in
            ["1.5", "null", "[]", "{}", r#"{"pow":[1,2]}"#, r#"{"mod":[1]}"#, r#"{"add":[1],"mul":[2]}"#]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("9223372036854775808").is_err());
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = (0..200).fold("1".to_owned(), |inner, _| format!(r#"{{"add":[{inner}]}}"#));
        assert!(parse(&deep).is_err(), "serde_json stops the recursion");
        let nested = (0..40).fold(Expr::Const(1), |inner, _| Expr::Add(vec![inner]));
        assert_eq!(nested.check_size(), Err(ExprError::TooLarge));
        assert_eq!(Expr::Add(vec![Expr::Const(1); 1000]).check_size(), Err(ExprError::TooLarge));
        assert_eq!(Expr::Add(vec![Expr::Const(1); 100]).check_size(), Ok(()));
    }

    #[test]
    fn ranges_hold_every_value() {
        let texts = [
            r#"{"add":[{"mul":[-3,"a"]},"b"]}"#,
            r#"{"mul":["a","b"]}"#,
            r#"{"floor_div":["a",{"add":["b",3]}]}"#,
            r#"{"ceil_div":["a",3]}"#,
            r#"{"mod":["a",{"add":["b",3]}]}"#,
            r#"{"mod":["a",100]}"#,
            r#"{"min":["a",{"max":["b",1]}]}"#,
        ];
        let bounds = Bounds::from([("a".to_owned(), (-4, 9)), ("b".to_owned(), (-2, 5))]);
        for text in texts {
            let expr = parse(text).unwrap();
            let (low, high) = expr.range(&bounds).unwrap();
            for a in -4..=9 {
                for b in -2..=5 {
                    let value = expr.eval(&|name| Some(if name == "a" { a } else { b })).unwrap();
                    assert!(
                        low <= value && value <= high,
                        "{text} at {a}, {b}: {value} not in {low}..={high}"
                    );
                }
            }
        }
        let may_divide_by_zero = parse(r#"{"floor_div":[1,"b"]}"#).unwrap();
        assert_eq!(may_divide_by_zero.range(&bounds), Err(ExprError::Divisor));
    }

    #[test]
    fn json_round_trip() {
        let text = r#"{"add":[{"mul":[2,"a"]},{"floor_div":["b",3]},{"ceil_div":["b",3]},{"mod":["b",3]},{"min":["a",1]},{"max":["a",-1]}]}"#;
        assert_eq!(serde_json::to_string(&parse(text).unwrap()).unwrap(), text);
        assert_eq!(parse(text).unwrap().symbols(), ["a", "b"]);
    }
}
