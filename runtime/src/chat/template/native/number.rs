//! Python's arithmetic.

use super::ast::Binary;
use super::value::{Refusal, Value};
use crate::host;

impl Value {
    pub(super) fn negative(&self) -> Result<Value, Refusal> {
        match self {
            Self::Float(value) => Ok(Self::Float(-value)),
            _ => Value::Int(0).arithmetic(Binary::Subtract, self),
        }
    }

    /// A number; or the number that a text is.
    pub(super) fn number(&self) -> Option<Value> {
        let Self::Text(text) = self else { return self.as_float().map(|_| self.clone()) };
        let text = text.trim().replace('_', "");
        let whole = text.parse::<i64>().ok().map(|value| Value::Int(value.into()));
        let looks_so = text.bytes().any(|c| c.is_ascii_digit())
            && text.bytes().all(|c| c.is_ascii_digit() || b"+-.eE".contains(&c));
        whole.or_else(|| host::parse_float(&text).filter(|_| looks_so).map(Value::Float))
    }

    /// A number without what is behind the point.
    pub(super) fn truncated(&self) -> Option<Value> {
        #[expect(clippy::cast_possible_truncation, reason = "checked")]
        match self {
            Self::Float(value) if value.abs() < 9e18 => Some(Self::Int((*value as i64).into())),
            Self::Float(_) => None,
            _ => self.as_int().map(Self::Int),
        }
    }

    /// An operator between numbers. Whole numbers are exact to 64 bits.
    pub(super) fn arithmetic(&self, operator: Binary, other: &Self) -> Result<Self, Refusal> {
        let divides = matches!(operator, Binary::Divide | Binary::FloorDivide | Binary::Modulo);
        if let (Some(a), Some(b), false) = (self.as_int(), other.as_int(), operator == Binary::Divide) {
            let too_large = || "a whole number is too large".to_owned();
            let small = |value: i128| i64::try_from(value).map_err(|_| too_large());
            let (a, b) = (small(a)?, small(b)?);
            if divides && b == 0 {
                return Err("division by zero".to_owned());
            }
            let result = match operator {
                Binary::Add => a.checked_add(b),
                Binary::Subtract => a.checked_sub(b),
                Binary::Multiply => a.checked_mul(b),
                // Rounded down, as Python does.
                Binary::FloorDivide => {
                    let exact = a.checked_rem(b).is_some_and(|rest| rest == 0 || (rest < 0) == (b < 0));
                    a.checked_div(b).map(|quotient| quotient - i64::from(!exact))
                }
                Binary::Modulo => {
                    let rest = a.checked_rem(b).unwrap_or(0);
                    Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
                }
                _ => match u32::try_from(b) {
                    Ok(exponent) => a.checked_pow(exponent),
                    Err(_) => return Err("an exponent is too large, or negative".to_owned()),
                },
            };
            return result.map(|value| Self::Int(value.into())).ok_or_else(too_large);
        }
        let refuse = || format!("{} and {} cannot be computed with", self.kind(), other.kind());
        let (a, b) = self.as_float().zip(other.as_float()).ok_or_else(refuse)?;
        if divides && b == 0.0 {
            return Err("division by zero".to_owned());
        }
        Ok(Self::Float(match operator {
            Binary::Add => a + b,
            Binary::Subtract => a - b,
            Binary::Multiply => a * b,
            Binary::Divide => a / b,
            Binary::FloorDivide => (a / b).floor(),
            Binary::Modulo => a - b * (a / b).floor(),
            _ => {
                let exponent = other.as_int().and_then(|it| i32::try_from(it).ok());
                a.powi(exponent.ok_or("an exponent is a whole number")?)
            }
        }))
    }
}
