//! What templates expect of Python: `str`, `repr`, `json.dumps`, white space, `strftime`.

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// Deepest nesting that is printed.
const MAX_DEPTH: usize = 128;
/// Longest text of one value, in bytes: a few shared lists can spell out to more than there is memory.
const MAX_BYTES: usize = 16 << 20;

/// White space as `str.isspace` has it: four separators more than Unicode's property.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

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
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn is_float(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}

fn too_large() -> Error {
    Error::new(ErrorKind::InvalidOperation, "the text of a value is too large, or too deeply nested")
}

/// `str(value)`; an undefined value is empty.
pub(super) fn str(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => {
            let mut out = String::new();
            repr(value, &mut out, 0)?;
            Ok(out)
        }
        _ if is_float(value) => Ok(float(f64::try_from(value.clone())?)),
        _ => Ok(value.to_string()),
    }
}

fn repr(value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH || out.len() > MAX_BYTES {
        return Err(too_large());
    }
    match value.kind() {
        ValueKind::Seq => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.push(open);
            for (at, item) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                repr(&item, out, depth + 1)?;
            }
            if value.is_tuple() && value.len() == Some(1) {
                out.push(',');
            }
            out.push(close);
        }
        ValueKind::Map => {
            out.push('{');
            for (at, key) in value.try_iter()?.enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                repr(&key, out, depth + 1)?;
                out.push_str(": ");
                repr(&value.get_item(&key)?, out, depth + 1)?;
            }
            out.push('}');
        }
        _ if is_float(value) => out.push_str(&float(f64::try_from(value.clone())?)),
        _ => {
            let _ = write!(out, "{value:?}");
        }
    }
    Ok(())
}

/// The options of `json.dumps` that transformers gives to templates.
#[derive(Debug)]
pub(super) struct Dumps {
    pub(super) ensure_ascii: bool,
    pub(super) indent: Option<usize>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
}

impl Dumps {
    /// `json.dumps(value)`.
    pub(super) fn dump(&self, value: &Value) -> Result<String, Error> {
        let mut out = String::new();
        self.value(value, &mut out, 0)?;
        Ok(out)
    }

    fn value(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH || out.len() > MAX_BYTES {
            return Err(too_large());
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => {
                let _ = write!(out, "{value}");
            }
            ValueKind::Number => {
                let number = f64::try_from(value.clone())?;
                out.push_str(&match number {
                    _ if number.is_nan() => "NaN".to_owned(),
                    f64::INFINITY => "Infinity".to_owned(),
                    f64::NEG_INFINITY => "-Infinity".to_owned(),
                    _ => float(number),
                });
            }
            ValueKind::String => self.string(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq => {
                let mut items = 0;
                out.push('[');
                for item in value.try_iter()? {
                    self.between(items, out, depth + 1);
                    self.value(&item, out, depth + 1)?;
                    items += 1;
                }
                self.close(items, ']', out, depth);
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                out.push('{');
                for (at, key) in keys.iter().enumerate() {
                    self.between(at, out, depth + 1);
                    match key.kind() {
                        ValueKind::String => self.string(key.as_str().unwrap_or_default(), out),
                        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                            let mut text = String::new();
                            self.value(key, &mut text, depth + 1)?;
                            self.string(&text, out);
                        }
                        kind => {
                            let message = format!("a key of JSON cannot be of type {kind}");
                            return Err(Error::new(ErrorKind::BadSerialization, message));
                        }
                    }
                    out.push_str(&self.key_separator);
                    self.value(&value.get_item(key)?, out, depth + 1)?;
                }
                self.close(keys.len(), '}', out, depth);
            }
            kind => {
                let message = format!("a value of type {kind} has no JSON");
                return Err(Error::new(ErrorKind::BadSerialization, message));
            }
        }
        Ok(())
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn between(&self, before: usize, out: &mut String, depth: usize) {
        if before > 0 {
            out.push_str(&self.item_separator);
        }
        self.line(out, depth);
    }

    fn close(&self, items: usize, bracket: char, out: &mut String, depth: usize) {
        if items > 0 {
            self.line(out, depth);
        }
        out.push(bracket);
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                _ if c < ' ' || (self.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                _ => out.push(c),
            }
        }
        out.push('"');
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// `strftime` of a moment in seconds since 1970, in UTC: the standard library knows no time zones.
pub(super) fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (mut year, mut day) = (1970_u64, days);
    let length = |year: u64| {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        if leap { 366 } else { 365 }
    };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let day_of_year = day + 1;
    let february = length(year) - 337;
    let mut month = 0;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let month_name = MONTHS.get(month).copied().unwrap_or_default();
    let weekday = usize::try_from((days + 4) % 7).unwrap_or_default();
    let day_name = DAYS.get(weekday).copied().unwrap_or_default();
    let hour_12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let _ = match rest.next() {
            Some('Y') => write!(out, "{year}"),
            Some('y') => write!(out, "{:02}", year % 100),
            Some('m') => write!(out, "{:02}", month + 1),
            Some('d') => write!(out, "{:02}", day + 1),
            Some('j') => write!(out, "{day_of_year:03}"),
            Some('H') => write!(out, "{hour:02}"),
            Some('I') => write!(out, "{hour_12:02}"),
            Some('p') => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
            Some('M') => write!(out, "{minute:02}"),
            Some('S') => write!(out, "{second:02}"),
            Some('B') => write!(out, "{month_name}"),
            Some('b') => write!(out, "{}", month_name.get(..3).unwrap_or_default()),
            Some('A') => write!(out, "{day_name}"),
            Some('a') => write!(out, "{}", day_name.get(..3).unwrap_or_default()),
            Some('F') => write!(out, "{year}-{:02}-{:02}", month + 1, day + 1),
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}"),
            Some('%') => write!(out, "%"),
            other => {
                let directive: String = other.into_iter().collect();
                let message = format!("strftime_now does not know `%{directive}`");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        };
    }
    Ok(out)
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

    /// Python: `datetime.fromtimestamp(t, UTC).strftime(...)`.
    #[test]
    fn dates_read_as_in_python() {
        let format = "%A %a %d %B %b %Y %y %m %j %H:%M:%S %I %p %F %T %%";
        for (seconds, expected) in [
            (0, "Thursday Thu 01 January Jan 1970 70 01 001 00:00:00 12 AM 1970-01-01 00:00:00 %"),
            (951_827_696, "Tuesday Tue 29 February Feb 2000 00 02 060 12:34:56 12 PM 2000-02-29 12:34:56 %"),
            (
                1_735_689_599,
                "Tuesday Tue 31 December Dec 2024 24 12 366 23:59:59 11 PM 2024-12-31 23:59:59 %",
            ),
        ] {
            assert_eq!(strftime(format, seconds).unwrap(), expected);
        }
        assert!(strftime("%Q", 0).unwrap_err().to_string().contains("%Q"));
    }
}
