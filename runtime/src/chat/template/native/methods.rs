//! Methods of Python's types.

use super::call::Args;
use super::eval::Eval;
use super::text;
use super::value::{Refusal, Value};
use crate::host;

impl Eval<'_> {
    /// `value.name(args)`
    pub(super) fn method(&mut self, value: &Value, name: &str, mut args: Args<'_>) -> Result<Value, Refusal> {
        let known = match value {
            Value::Text(text) => {
                self.charge(text.len())?;
                self.text_method(text, name, &mut args)?
            }
            Value::Map(map) => match name {
                "get" => {
                    let key = args.need(0, "key")?;
                    let default = args.get(1, "default").unwrap_or(Value::None);
                    args.end(2)?;
                    self.charge(key.weight().saturating_add(map.pairs.len() * 8))?;
                    return Ok(value.lookup(&key).cloned().unwrap_or(default));
                }
                "keys" | "values" | "items" => {
                    args.end(0)?;
                    self.charge(value.width())?;
                    let mut items = Vec::new();
                    for (key, value) in &map.pairs {
                        items.push(match name {
                            "keys" => key.clone(),
                            "values" => value.clone(),
                            _ => Value::tuple(vec![key.clone(), value.clone()])?,
                        });
                    }
                    return Value::list(items);
                }
                _ => None,
            },
            Value::List(list) | Value::Tuple(list) => match name {
                "count" | "index" => {
                    let wanted = args.need(0, "value")?;
                    self.charge(value.weight())?;
                    let found = || list.items.iter().enumerate().filter(|(_, item)| item.equals(&wanted));
                    let number =
                        if name == "count" { Some(found().count()) } else { found().next().map(|it| it.0) };
                    let number = number.ok_or_else(|| "the list has no such element".to_owned())?;
                    Some(Value::Int(i128::try_from(number).unwrap_or(i128::MAX)))
                }
                _ => None,
            },
            Value::Loop(place) => match name {
                "cycle" => {
                    let at = self.loop_attribute(*place, "index0").as_int().unwrap_or(0);
                    let count = i128::try_from(args.places.len()).unwrap_or(1).max(1);
                    let at = usize::try_from(at % count).unwrap_or(0);
                    return Ok(args.places.get(at).cloned().unwrap_or(Value::Undefined));
                }
                "changed" => {
                    let weight = args.places.iter().map(Value::weight).fold(0, usize::saturating_add);
                    self.charge(weight)?;
                    let Some(it) = self.loops.get_mut(*place) else { return Ok(Value::Undefined) };
                    let same = it.seen.as_ref().is_some_and(|seen| {
                        seen.len() == args.places.len()
                            && seen.iter().zip(&args.places).all(|(a, b)| a.equals(b))
                    });
                    it.seen = Some(args.places);
                    return Ok(Value::Bool(!same));
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(result) = known {
            // Every method here takes at most two.
            args.end(2)?;
            return Ok(result);
        }
        match self.attribute(value, name)? {
            Value::Undefined => Err(format!("a value of type {} has no method `{name}`", value.kind())),
            callee => self.call(&callee, args),
        }
    }

    fn text_method(&mut self, text: &str, name: &str, args: &mut Args<'_>) -> Result<Option<Value>, Refusal> {
        let no_string = || format!("`{name}` takes a string");
        Ok(Some(match name {
            "strip" | "lstrip" | "rstrip" => {
                let chars = args.given(0, "chars");
                if chars.as_ref().is_some_and(|chars| chars.as_str().is_none()) {
                    return Err(no_string());
                }
                let chars = chars.as_ref().and_then(Value::as_str);
                self.charge(chars.map_or(0, str::len).saturating_mul(text.len()))?;
                Value::text(text::strip(text, chars, name != "rstrip", name != "lstrip"))
            }
            "split" | "rsplit" => {
                let separator = args.given(0, "sep");
                let most = args.int(1, "maxsplit")?.and_then(|most| usize::try_from(most).ok());
                let pieces = match &separator {
                    None => text::words(text, most.filter(|_| name == "split")),
                    Some(separator) => {
                        let separator =
                            separator.as_str().filter(|it| !it.is_empty()).ok_or_else(no_string)?;
                        text::split(text, separator, most, name == "rsplit")
                    }
                };
                self.charge(pieces.len().saturating_mul(64))?;
                Value::list(pieces.into_iter().map(Value::text).collect())?
            }
            "splitlines" => {
                let keep = args.flag(0, "keepends");
                let pieces = text::lines(text, keep);
                self.charge(pieces.len().saturating_mul(64))?;
                Value::list(pieces.into_iter().map(Value::text).collect())?
            }
            "startswith" | "endswith" => {
                let affixes = args.need(0, "prefix")?;
                let affixes = affixes.items().unwrap_or(std::slice::from_ref(&affixes));
                self.charge(affixes.len() * 32)?;
                let mut found = false;
                for affix in affixes {
                    let affix = affix.as_str().ok_or_else(no_string)?;
                    found |= if name == "endswith" { text.ends_with(affix) } else { text.starts_with(affix) };
                }
                Value::Bool(found)
            }
            "replace" => {
                let (old, new) = (args.need(0, "old")?, args.need(1, "new")?);
                let count = args.int(2, "count")?.and_then(|count| usize::try_from(count).ok());
                args.places.truncate(2);
                let (old, new) = (self.text(&old)?, self.text(&new)?);
                let count = text.matches(&*old).count().min(count.unwrap_or(usize::MAX));
                self.charge(new.len().saturating_mul(count))?;
                Value::text(text.replacen(&*old, &new, count))
            }
            "upper" => Value::text(host::upper(text)),
            "lower" => Value::text(host::lower(text)),
            "title" => Value::text(text::title(text)),
            "capitalize" => Value::text(text::capitalize(text)),
            "find" | "rfind" | "index" | "count" => {
                let wanted = args.need(0, "sub")?;
                let wanted = wanted.as_str().ok_or_else(no_string)?;
                let number = match name {
                    "count" => Some(text.matches(wanted).count()),
                    "rfind" => text.rfind(wanted),
                    _ => text.find(wanted),
                };
                // Places are counted in characters.
                let place = |at: usize| text.get(..at).map_or(0, |before| before.chars().count());
                match number {
                    None if name == "index" => return Err("the string has no such part".to_owned()),
                    None => Value::Int(-1),
                    Some(count) if name == "count" => Value::Int(i128::try_from(count).unwrap_or(i128::MAX)),
                    Some(at) => Value::Int(i128::try_from(place(at)).unwrap_or(i128::MAX)),
                }
            }
            "join" => {
                let items = args.need(0, "iterable")?;
                let mut joined = String::new();
                for (at, item) in self.elements(&items)?.iter().enumerate() {
                    let item = item.as_str().ok_or("`join` takes strings")?;
                    self.charge(text.len().saturating_add(item.len()))?;
                    joined.push_str(if at > 0 { text } else { "" });
                    joined.push_str(item);
                }
                Value::text(joined)
            }
            "removeprefix" | "removesuffix" => {
                let affix = args.need(0, "affix")?;
                let affix = affix.as_str().ok_or_else(no_string)?;
                let rest =
                    if name == "removeprefix" { text.strip_prefix(affix) } else { text.strip_suffix(affix) };
                Value::text(rest.unwrap_or(text))
            }
            "format" => {
                let weigh =
                    |values: &[Value]| values.iter().map(Value::weight).fold(0, usize::saturating_add);
                // A field may be named again and again.
                let fields = text.matches('{').count();
                let named: usize =
                    args.names.iter().map(|(_, it)| it.weight()).fold(0, usize::saturating_add);
                self.charge(weigh(&args.places).saturating_add(named).saturating_mul(fields))?;
                let formatted = text::braces(text, args)?;
                *args = Args::default();
                Value::text(formatted)
            }
            _ if name.starts_with("is") => return Ok(text::is(text, name).map(Value::Bool)),
            _ => return Ok(None),
        }))
    }
}
