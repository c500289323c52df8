//! Values as Python writes them: `repr`.

use std::fmt::Write as _;

use super::value::{Refusal, Value};
use crate::host;

/// Longest text of one value, in bytes: a few shared lists can spell out to more than there is memory.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(value: f64) -> String {
    if !value.is_finite() {
        let name = if value.is_nan() { "nan" } else { "inf" };
        return if value.is_sign_negative() && !value.is_nan() {
            format!("-{name}")
        } else {
            name.to_owned()
        };
    }
    let scientific = host::scientific(value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    if !(-4..16).contains(&exponent) {
        let of_exponent = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{of_exponent}{:02}", exponent.unsigned_abs());
    }
    let mut digits = mantissa.replace('.', "");
    let point = usize::try_from(exponent + 1).unwrap_or_else(|_| {
        digits.insert_str(0, &"0".repeat(usize::try_from(-exponent - 1).unwrap_or_default()));
        0
    });
    while digits.len() <= point {
        digits.push('0');
    }
    let (whole, fraction) = digits.split_at_checked(point).unwrap_or_default();
    format!("{sign}{}.{fraction}", if whole.is_empty() { "0" } else { whole })
}

pub(super) fn too_large() -> Refusal {
    "the text of a value is too large".to_owned()
}

/// `repr(value)`
pub(super) fn repr(value: &Value) -> Result<String, Refusal> {
    let mut out = String::new();
    write_repr(value, &mut out)?;
    Ok(out)
}

fn write_repr(value: &Value, out: &mut String) -> Result<(), Refusal> {
    if out.len() > MAX_BYTES {
        return Err(too_large());
    }
    match value {
        Value::Undefined => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
        Value::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Text(text) => quote(text, out),
        Value::List(list) | Value::Tuple(list) => {
            let tuple = matches!(value, Value::Tuple(_));
            out.push(if tuple { '(' } else { '[' });
            for (at, item) in list.items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_repr(item, out)?;
            }
            if tuple && list.items.len() == 1 {
                out.push(',');
            }
            out.push(if tuple { ')' } else { ']' });
        }
        Value::Map(map) => {
            out.push('{');
            for (at, (key, value)) in map.pairs.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_repr(key, out)?;
                out.push_str(": ");
                write_repr(value, out)?;
            }
            out.push('}');
        }
        Value::Namespace(_) | Value::Macro(_) | Value::Loop(_) | Value::Function(_) => {
            let _ = write!(out, "<{}>", value.kind());
        }
    }
    Ok(())
}

/// A string as a literal.
fn quote(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => out.extend(['\\', c]),
            _ if c < ' ' || ('\u{7f}'..='\u{a0}').contains(&c) => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_in_python() {
        for (value, expected) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(value), expected);
        }
    }
}
