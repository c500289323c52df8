//! What Python's strings can do.

use std::fmt::Write as _;

use super::call::Args;
use super::repr::repr;
use super::value::{Refusal, Value};
use crate::host;
use crate::tokenizer::{is_letter, is_number};

/// White space as `str.isspace` has it: four separators more than Unicode's property.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The text without characters at its ends: those given, or white space.
pub(super) fn strip<'a>(mut text: &'a str, chars: Option<&str>, start: bool, end: bool) -> &'a str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    if start {
        text = text.trim_start_matches(goes);
    }
    if end {
        text = text.trim_end_matches(goes);
    }
    text
}

/// The first character large, the others small.
pub(super) fn capitalize(text: &str) -> String {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let (first, rest) = text.split_at_checked(first).unwrap_or_default();
    host::upper(first) + &host::lower(rest)
}

/// `str.title`: every run of letters capitalized.
pub(super) fn title(text: &str) -> String {
    pieces(text, |c| !is_letter(c))
}

/// Jinja's `title`: every word capitalized.
pub(super) fn title_words(text: &str) -> String {
    pieces(text, |c| is_space(c) || "-({[<".contains(c))
}

fn pieces(text: &str, ends: fn(char) -> bool) -> String {
    let mut out = String::new();
    for piece in text.split_inclusive(ends) {
        out.push_str(&capitalize(piece));
    }
    out
}

/// The words between white space; behind `most` of them the rest as it is.
pub(super) fn words(text: &str, most: Option<usize>) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = strip(text, None, true, false);
    while !rest.is_empty() {
        if most.is_some_and(|most| words.len() >= most) {
            words.push(rest);
            break;
        }
        let (word, behind) =
            rest.split_at_checked(rest.find(is_space).unwrap_or(rest.len())).unwrap_or_default();
        words.push(word);
        rest = strip(behind, None, true, false);
    }
    words
}

/// The pieces between separators, cut at most so often, from the end when asked to.
pub(super) fn split<'a>(text: &'a str, separator: &str, most: Option<usize>, from_end: bool) -> Vec<&'a str> {
    let most = most.unwrap_or(usize::MAX);
    let places: Vec<usize> = text.match_indices(separator).map(|(at, _)| at).collect();
    let skipped = if from_end { places.len().saturating_sub(most) } else { 0 };
    let (mut pieces, mut start) = (Vec::new(), 0);
    for at in places.into_iter().skip(skipped).take(most) {
        pieces.extend(text.get(start..at));
        start = at + separator.len();
    }
    pieces.extend(text.get(start..));
    pieces
}

/// The lines of a text, with their ends when these are to be kept.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, behind) = rest.split_at_checked(end).unwrap_or_default();
        let length = if behind.starts_with("\r\n") { 2 } else { behind.len().min(1) };
        lines.push(if keep { rest.get(..end + length).unwrap_or(line) } else { line });
        rest = behind.get(length..).unwrap_or_default();
    }
    lines
}

/// `str.isdigit` and its like; none for a name that is no such method.
pub(super) fn is(text: &str, name: &str) -> Option<bool> {
    let all = |holds: &dyn Fn(char) -> bool| Some(!text.is_empty() && text.chars().all(holds));
    match name {
        "isascii" => Some(text.is_ascii()),
        "isspace" => all(&is_space),
        "isalpha" => all(&is_letter),
        "isdigit" | "isnumeric" | "isdecimal" => all(&is_number),
        "isalnum" => all(&|c| is_letter(c) || is_number(c)),
        // There is a letter that has a case, and none of the other one.
        "isupper" => Some(host::upper(text) == text && host::lower(text) != text),
        "islower" => Some(host::lower(text) == text && host::upper(text) != text),
        _ => None,
    }
}

/// `format % values`, for whole texts and numbers.
pub(super) fn percent(format: &str, values: &[Value]) -> Result<String, Refusal> {
    let mut out = String::new();
    let (mut rest, mut values) = (format.chars(), values.iter());
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = rest.next().unwrap_or(' ');
        if directive == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or("there are fewer values than places in the format")?;
        match directive {
            's' => out.push_str(&value.to_text()?),
            'r' => out.push_str(&repr(value)?),
            'd' | 'i' => {
                let whole = value.truncated().and_then(|value| value.as_int());
                let _ = write!(out, "{}", whole.ok_or("`%d` takes a number")?);
            }
            other => return Err(format!("the format has `%{other}`: only %s, %r, %d and %% are known")),
        }
    }
    if values.next().is_some() {
        return Err("there are more values than places in the format".to_owned());
    }
    Ok(out)
}

/// `format.format(…)`, for fields by place or name.
pub(super) fn braces(format: &str, args: &Args<'_>) -> Result<String, Refusal> {
    let mut out = String::new();
    let (mut rest, mut next) = (format, 0);
    while let Some(at) = rest.find(['{', '}']) {
        let (text, behind) = rest.split_at_checked(at).unwrap_or_default();
        out.push_str(text);
        if behind.starts_with("{{") || behind.starts_with("}}") {
            out.extend(behind.chars().next());
            rest = behind.get(2..).unwrap_or_default();
            continue;
        }
        let end = behind.find('}').filter(|end| *end > 0).ok_or("a brace of the format has no other")?;
        let field = behind.get(1..end).unwrap_or_default();
        let place = if field.is_empty() { Some(next) } else { field.parse::<usize>().ok() };
        next += 1;
        let named = args.names.iter().find(|(name, _)| *name == field).map(|(_, value)| value);
        let value = place.and_then(|place| args.places.get(place)).or(named);
        let value = value.ok_or_else(|| format!("the format has `{{{field}}}`, which is not given"))?;
        out.push_str(&value.to_text()?);
        rest = behind.get(end + 1..).unwrap_or_default();
    }
    Ok(out + rest)
}

/// A number with so many digits behind the point.
pub(super) fn round(value: f64, precision: i128, method: Option<&str>) -> f64 {
    let scale = 10_f64.powi(i32::try_from(precision.clamp(-30, 30)).unwrap_or(0));
    let scaled = value * scale;
    let rounded = match method {
        Some("ceil") => scaled.ceil(),
        Some("floor") => scaled.floor(),
        _ => scaled.round_ties_even(),
    };
    if rounded.is_finite() { rounded / scale } else { value }
}

/// Blanks; more than 1000 would only make output.
pub(super) fn spaces(count: i128) -> String {
    " ".repeat(usize::try_from(count.clamp(0, 1000)).unwrap_or(0))
}

/// Every line behind so much white space, the first one and blank ones when asked to.
pub(super) fn indent(text: &str, width: &str, first: bool, blank: bool) -> String {
    let mut out = String::new();
    for (at, line) in text.split('\n').enumerate() {
        if at > 0 {
            out.push('\n');
        }
        if if at == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(width);
        }
        out.push_str(line);
    }
    out
}

/// Text for HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
