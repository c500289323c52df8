//! Jinja's filters and tests.

use super::ast::Compare;
use super::call::Args;
use super::dumps::Dumps;
use super::eval::Eval;
use super::text;
use super::value::{Refusal, Value};
use crate::host;

impl Eval<'_> {
    /// `value | name(args)`
    pub(super) fn filter(&mut self, name: &str, value: Value, mut args: Args<'_>) -> Result<Value, Refusal> {
        let most;
        let result = match name {
            "default" | "d" => {
                most = 2;
                let default = args.get(0, "default_value").unwrap_or_else(|| Value::text(""));
                let falsy = args.flag(1, "boolean") && !value.truth();
                if falsy || matches!(value, Value::Undefined) { default } else { value }
            }
            "safe" => {
                most = 0;
                value
            }
            "string" => {
                most = 0;
                Value::Text(self.text(&value)?)
            }
            "trim" | "upper" | "lower" | "capitalize" | "title" => {
                most = usize::from(name == "trim");
                let chars = args.given(0, "chars");
                let text = self.text(&value)?;
                match name {
                    "trim" => {
                        Value::text(text::strip(&text, chars.as_ref().and_then(Value::as_str), true, true))
                    }
                    "upper" => Value::text(host::upper(&text)),
                    "lower" => Value::text(host::lower(&text)),
                    "capitalize" => Value::text(text::capitalize(&text)),
                    _ => Value::text(text::title_words(&text)),
                }
            }
            "length" | "count" => {
                most = 0;
                self.charge(if let Value::Text(text) = &value { text.len() } else { 0 })?;
                let length = value.length().ok_or_else(|| format!("{} has no length", value.kind()))?;
                Value::Int(i128::try_from(length).unwrap_or(i128::MAX))
            }
            "list" => {
                most = 0;
                Value::list(self.elements(&value)?)?
            }
            "first" => {
                most = 0;
                self.elements(&value)?.into_iter().next().unwrap_or(Value::Undefined)
            }
            "last" => {
                most = 0;
                self.elements(&value)?.pop().unwrap_or(Value::Undefined)
            }
            "reverse" => {
                most = 0;
                self.charge(value.width())?;
                value.slice([None, None, Some(-1)])?
            }
            "items" => {
                most = 0;
                match &value {
                    Value::Undefined => Value::list(Vec::new())?,
                    Value::Map(_) => self.method(&value, name, Args::default())?,
                    _ => return Err(format!("a value of type {} has no items", value.kind())),
                }
            }
            "join" => {
                most = 2;
                let between = args.get(0, "d").unwrap_or_else(|| Value::text(""));
                let attribute = args.given(1, "attribute");
                let between = self.text(&between)?;
                let mut joined = String::new();
                for (at, item) in self.elements(&value)?.into_iter().enumerate() {
                    let item = self.key(&item, attribute.as_ref())?;
                    let item = self.text(&item)?;
                    self.charge(between.len())?;
                    joined.push_str(if at > 0 { &between } else { "" });
                    joined.push_str(&item);
                }
                Value::text(joined)
            }
            "replace" => {
                let text = Value::Text(self.text(&value)?);
                return self.method(&text, name, args);
            }
            "map" => return self.map(&value, args),
            "select" | "reject" | "selectattr" | "rejectattr" => return self.select(name, &value, args),
            "sort" | "dictsort" | "unique" | "min" | "max" | "sum" | "groupby" | "batch" => {
                return self.arrange(name, &value, args);
            }
            "attr" => {
                most = 1;
                let attribute = args.need(0, "name")?;
                self.index(&value, &attribute)?
            }
            "int" | "float" => {
                most = 2;
                let default = args.get(0, "default");
                let number = value.number();
                if name == "int" {
                    let whole = number.and_then(|number| number.truncated());
                    whole.or(default).unwrap_or(Value::Int(0))
                } else {
                    let float = number.and_then(|number| number.as_float()).map(Value::Float);
                    float.or(default).unwrap_or(Value::Float(0.0))
                }
            }
            "abs" => {
                most = 0;
                if value.order(&Value::Int(0))?.is_lt() { value.negative()? } else { value }
            }
            "round" => {
                most = 2;
                let precision = args.int(0, "precision")?.unwrap_or(0);
                let method = args.given(1, "method");
                if let (Value::Int(_), None, 0..) = (&value, &method, precision) {
                    return Ok(value);
                }
                let number = value.as_float().ok_or_else(|| format!("{} is no number", value.kind()))?;
                Value::Float(text::round(number, precision, method.as_ref().and_then(Value::as_str)))
            }
            "format" => {
                let text = self.text(&value)?;
                let values = std::mem::take(&mut args.places);
                let weight = values.iter().map(Value::weight).fold(text.len(), usize::saturating_add);
                self.charge(weight)?;
                most = 0;
                Value::text(text::percent(&text, &values)?)
            }
            "indent" => {
                most = 3;
                let width = match args.given(0, "width") {
                    Some(Value::Text(text)) => text.to_string(),
                    Some(value) => text::spaces(value.as_int().unwrap_or(4)),
                    None => text::spaces(4),
                };
                let (first, blank) = (args.flag(1, "first"), args.flag(2, "blank"));
                let text = self.text(&value)?;
                self.charge(text.matches('\n').count().saturating_mul(width.len()))?;
                Value::text(text::indent(&text, &width, first, blank))
            }
            "escape" | "e" => {
                most = 0;
                let text = self.text(&value)?;
                self.charge(text.len().saturating_mul(5))?;
                Value::text(text::escape(&text))
            }
            "tojson" => {
                most = 4;
                let ensure_ascii = args.flag(0, "ensure_ascii");
                // Deeper indents only make output.
                let indent = args.int(1, "indent")?.map(|it| usize::try_from(it).unwrap_or(0).min(32));
                let separators = args.given(2, "separators");
                let sort_keys = args.flag(3, "sort_keys");
                let separator = |at: i128, default: &str| match &separators {
                    None => Ok(default.into()),
                    Some(pair) => pair.at(at).unwrap_or(Value::Undefined).to_text(),
                };
                let item_separator = separator(0, if indent.is_some() { "," } else { ", " })?;
                let key_separator = separator(1, ": ")?;
                let weight = value.weight();
                // Keys are put in order one by one.
                self.charge(if sort_keys { weight.saturating_mul(weight / 1024 + 1) } else { weight })?;
                let dumps = Dumps { ensure_ascii, indent, item_separator, key_separator, sort_keys };
                let text = dumps.dump(&value)?;
                self.charge(text.len())?;
                Value::text(text)
            }
            _ => return Err(format!("unknown filter `{name}`")),
        };
        args.end(most)?;
        Ok(result)
    }

    /// The elements of a value, paid for.
    pub(super) fn elements(&mut self, value: &Value) -> Result<Vec<Value>, Refusal> {
        self.charge(value.width())?;
        value.iterate()
    }

    /// The value itself, or what an attribute of it is.
    pub(super) fn key(&mut self, value: &Value, attribute: Option<&Value>) -> Result<Value, Refusal> {
        attribute.map_or_else(|| Ok(value.clone()), |attribute| self.path(value, attribute))
    }

    fn map(&mut self, value: &Value, mut args: Args<'_>) -> Result<Value, Refusal> {
        let mut mapped = Vec::new();
        let attribute = if args.places.is_empty() { args.get(0, "attribute") } else { None };
        if let Some(attribute) = attribute {
            let default = args.get(1, "default");
            args.end(0)?;
            for item in self.elements(value)? {
                let found = self.path(&item, &attribute)?;
                let missing = matches!(found, Value::Undefined);
                mapped.push(default.clone().filter(|_| missing).unwrap_or(found));
            }
            return Value::list(mapped);
        }
        let filter = args.need(0, "filter")?;
        let filter = filter.as_str().ok_or("`map` takes the name of a filter")?;
        for item in self.elements(value)? {
            let places = args.places.get(1..).unwrap_or_default().to_vec();
            self.charge(places.len() * 32)?;
            mapped.push(self.filter(filter, item, Args { places, names: args.names.clone() })?);
        }
        Value::list(mapped)
    }

    fn select(&mut self, name: &str, value: &Value, mut args: Args<'_>) -> Result<Value, Refusal> {
        let by_attribute = name.ends_with("attr");
        let attribute = if by_attribute { Some(args.need(0, "attribute")?) } else { None };
        let at = usize::from(by_attribute);
        let test = args.places.get(at).cloned();
        let rest = args.places.get(at + 1..).unwrap_or_default();
        args.end(usize::MAX)?;
        let mut kept = Vec::new();
        for item in self.elements(value)? {
            let it = self.key(&item, attribute.as_ref())?;
            let holds = match &test {
                None => it.truth(),
                Some(test) => self.test(test.as_str().unwrap_or_default(), &it, rest)?,
            };
            if holds == name.starts_with("select") {
                kept.push(item);
            }
        }
        Value::list(kept)
    }

    /// `value is name(args)`
    pub(super) fn test(&mut self, name: &str, value: &Value, args: &[Value]) -> Result<bool, Refusal> {
        let compare = match name {
            "eq" | "equalto" | "==" => Some(Compare::Equal),
            "ne" | "!=" => Some(Compare::Unequal),
            "lt" | "lessthan" | "<" => Some(Compare::Less),
            "le" | "<=" => Some(Compare::LessEqual),
            "gt" | "greaterthan" | ">" => Some(Compare::Greater),
            "ge" | ">=" => Some(Compare::GreaterEqual),
            "in" => Some(Compare::In),
            _ => None,
        };
        let missing = || format!("the test `{name}` takes an argument");
        if let Some(compare) = compare {
            return self.compare(compare, value, args.first().ok_or_else(missing)?);
        }
        let whole =
            |value: &Value| value.as_int().ok_or_else(|| format!("{} is no whole number", value.kind()));
        Ok(match name {
            "defined" => !matches!(value, Value::Undefined),
            "undefined" => matches!(value, Value::Undefined),
            "none" => matches!(value, Value::None),
            "true" => matches!(value, Value::Bool(true)),
            "false" => matches!(value, Value::Bool(false)),
            "boolean" => matches!(value, Value::Bool(_)),
            "string" => matches!(value, Value::Text(_)),
            "number" => value.as_float().is_some(),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "mapping" => matches!(value, Value::Map(_)),
            "iterable" | "sequence" => value.length().is_some(),
            "callable" => matches!(value, Value::Macro(_) | Value::Function(_) | Value::Loop(_)),
            "odd" => whole(value)? & 1 == 1,
            "even" => whole(value)? & 1 == 0,
            "divisibleby" => {
                let by = args.first().ok_or_else(missing)?;
                value.arithmetic(super::ast::Binary::Modulo, by)?.as_int() == Some(0)
            }
            "sameas" => {
                let other = args.first().ok_or_else(missing)?;
                self.charge(value.weight())?;
                value.kind() == other.kind() && value.equals(other)
            }
            "lower" | "upper" => {
                let text = self.text(value)?;
                *text == *if name == "lower" { host::lower(&text) } else { host::upper(&text) }
            }
            _ => return Err(format!("unknown test `{name}`")),
        })
    }
}
