//! Calls: arguments, the environment's functions, attributes, operators.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::{Arguments, Binary, Compare, FilterCall};
use super::eval::Eval;
use super::value::{Items, Refusal, Value};
use super::{date, text};
use crate::chat::clock;

/// Most elements of a `range`.
const MAX_RANGE: i128 = 100_000;

/// Arguments of a call.
#[derive(Default)]
pub(super) struct Args<'a> {
    pub(super) places: Vec<Value>,
    pub(super) names: Vec<(&'a str, Value)>,
}

impl Args<'_> {
    /// The argument at a place, or by its name.
    pub(super) fn get(&mut self, at: usize, name: &str) -> Option<Value> {
        if let Some(value) = self.places.get(at) {
            return Some(value.clone());
        }
        let at = self.names.iter().position(|(known, _)| *known == name)?;
        Some(self.names.swap_remove(at).1)
    }

    /// An argument that must be there.
    pub(super) fn need(&mut self, at: usize, name: &str) -> Result<Value, Refusal> {
        self.get(at, name).ok_or_else(|| format!("the argument `{name}` is missing"))
    }

    /// An argument that is not `none`.
    pub(super) fn given(&mut self, at: usize, name: &str) -> Option<Value> {
        self.get(at, name).filter(|value| !matches!(value, Value::None | Value::Undefined))
    }

    /// An argument that is true.
    pub(super) fn flag(&mut self, at: usize, name: &str) -> bool {
        self.get(at, name).is_some_and(|value| value.truth())
    }

    /// A whole number.
    pub(super) fn int(&mut self, at: usize, name: &str) -> Result<Option<i128>, Refusal> {
        let value = self.given(at, name);
        value.map(|it| it.as_int().ok_or_else(|| format!("`{name}` is a whole number"))).transpose()
    }

    /// Refuses arguments that nobody asked for.
    pub(super) fn end(&self, most: usize) -> Result<(), Refusal> {
        match self.names.first() {
            Some((name, _)) => Err(format!("unknown argument `{name}`")),
            None if self.places.len() > most => Err(format!("at most {most} arguments are taken")),
            None => Ok(()),
        }
    }
}

impl<'a> Eval<'a> {
    pub(super) fn arguments(&mut self, arguments: &'a Arguments) -> Result<Args<'a>, Refusal> {
        let mut args = Args { places: self.all(&arguments.places)?, names: Vec::new() };
        for (name, id) in &arguments.names {
            args.names.push((name.as_str(), self.eval(*id)?));
        }
        Ok(args)
    }

    /// Puts a value through filters.
    pub(super) fn through(&mut self, filters: &'a [FilterCall], mut value: Value) -> Result<Value, Refusal> {
        for (name, arguments) in filters {
            let args = self.arguments(arguments)?;
            value = self.filter(name, value, args)?;
        }
        Ok(value)
    }

    pub(super) fn call(&mut self, callee: &Value, mut args: Args<'_>) -> Result<Value, Refusal> {
        let name = match callee {
            Value::Function(name) => *name,
            Value::Macro(place) => return self.call_macro(*place, args),
            Value::Loop(place) => {
                let items = args.need(0, "items")?;
                return self.call_loop(*place, &items);
            }
            _ => return Err(format!("a value of type {} cannot be called", callee.kind())),
        };
        match name {
            "range" => {
                let first = args.int(0, "start")?.ok_or("`range` takes 1 to 3 whole numbers")?;
                let second = args.int(1, "stop")?;
                let step = args.int(2, "step")?.unwrap_or(1);
                args.end(3)?;
                let (start, stop) = second.map_or((0, first), |second| (first, second));
                if step == 0 || [start, stop, step].iter().any(|it| i64::try_from(*it).is_err()) {
                    return Err("the bounds of a range are too large, or its step is 0".to_owned());
                }
                let mut items = Vec::new();
                let mut at = start;
                while if step > 0 { at < stop } else { at > stop } {
                    if i128::try_from(items.len()).is_ok_and(|count| count >= MAX_RANGE) {
                        return Err("a range has too many elements".to_owned());
                    }
                    self.charge(32)?;
                    items.push(Value::Int(at));
                    at += step;
                }
                Value::list(items)
            }
            "dict" => {
                let mut pairs = match args.places.pop() {
                    None => Vec::new(),
                    Some(Value::Map(map)) => map.pairs.clone(),
                    Some(other) => return Err(format!("no dict can be made of {}", other.kind())),
                };
                self.charge(pairs.len() * 64)?;
                for (name, value) in args.names.drain(..) {
                    super::value::insert(&mut pairs, Value::text(name), value);
                }
                args.end(0)?;
                Value::map(pairs)
            }
            "namespace" => {
                let mut pairs = Vec::new();
                if let Some(Value::Map(map)) = args.places.pop() {
                    for (key, value) in &map.pairs {
                        pairs.push((key.to_text()?.to_string(), value.clone()));
                    }
                }
                self.charge(pairs.len() * 64)?;
                pairs.extend(args.names.drain(..).map(|(name, value)| (name.to_owned(), value)));
                args.end(0)?;
                if pairs.iter().any(|(_, value)| matches!(value, Value::Namespace(_))) {
                    return Err("a namespace cannot be part of another value".to_owned());
                }
                Ok(Value::Namespace(Rc::new(RefCell::new(pairs))))
            }
            "raise_exception" => {
                let message = args.need(0, "message")?;
                let message = self.text(&message)?;
                self.raised = true;
                Err(message.to_string())
            }
            _ => {
                let format = args.need(0, "format")?;
                let format = format.as_str().ok_or("`strftime_now` takes a string")?;
                self.charge(format.len())?;
                date::strftime(format, clock::since_epoch()).map(Value::text)
            }
        }
    }

    /// `value.name`
    pub(super) fn attribute(&mut self, value: &Value, name: &str) -> Result<Value, Refusal> {
        match value {
            Value::Undefined => Err(format!("undefined value: it has no attribute `{name}`")),
            Value::Map(map) => {
                self.charge(map.pairs.len() * 8)?;
                let found = map.pairs.iter().find(|(key, _)| key.as_str() == Some(name));
                Ok(found.map_or(Value::Undefined, |(_, value)| value.clone()))
            }
            Value::Namespace(pairs) => {
                let pairs = pairs.borrow();
                let found = pairs.iter().find(|(known, _)| known == name);
                Ok(found.map_or(Value::Undefined, |(_, value)| value.clone()))
            }
            Value::Loop(place) => Ok(self.loop_attribute(*place, name)),
            _ => Ok(Value::Undefined),
        }
    }

    /// `value[index]`
    pub(super) fn index(&mut self, value: &Value, index: &Value) -> Result<Value, Refusal> {
        match (value, index) {
            (Value::Map(map), _) => {
                self.charge(index.weight().saturating_add(map.pairs.len() * 8))?;
                Ok(value.lookup(index).cloned().unwrap_or(Value::Undefined))
            }
            (_, Value::Text(name)) => self.attribute(value, name),
            (Value::Undefined, _) => Err("undefined value: it has no elements".to_owned()),
            _ => {
                if let Value::Text(text) = value {
                    self.charge(text.len())?;
                }
                Ok(index.as_int().and_then(|at| value.at(at)).unwrap_or(Value::Undefined))
            }
        }
    }

    /// An attribute by its path: `a.b.0`.
    pub(super) fn path(&mut self, value: &Value, path: &Value) -> Result<Value, Refusal> {
        let Some(names) = path.as_str() else { return self.index(value, path) };
        let mut value = value.clone();
        for name in names.split('.') {
            value = match name.parse() {
                Ok(at) => self.index(&value, &Value::Int(i64::into(at)))?,
                Err(_) => self.attribute(&value, name)?,
            };
        }
        Ok(value)
    }

    pub(super) fn compare(&mut self, compare: Compare, left: &Value, right: &Value) -> Result<bool, Refusal> {
        self.charge(match compare {
            Compare::In | Compare::NotIn => left.weight().saturating_add(right.weight()),
            _ => left.weight().min(right.weight()),
        })?;
        Ok(match compare {
            Compare::Equal => left.equals(right),
            Compare::Unequal => !left.equals(right),
            Compare::Less => left.order(right)?.is_lt(),
            Compare::LessEqual => left.order(right)?.is_le(),
            Compare::Greater => left.order(right)?.is_gt(),
            Compare::GreaterEqual => left.order(right)?.is_ge(),
            Compare::In => right.contains(left)?,
            Compare::NotIn => !right.contains(left)?,
        })
    }

    pub(super) fn binary(&mut self, operator: Binary, left: &Value, right: &Value) -> Result<Value, Refusal> {
        if operator == Binary::Concat {
            let (left, right) = (self.text(left)?, self.text(right)?);
            return Ok(Value::text([&*left, &*right].concat()));
        }
        match (operator, left, right) {
            (_, Value::Undefined, _) | (_, _, Value::Undefined) => {
                Err("undefined value: nothing can be computed with it".to_owned())
            }
            (Binary::Add, Value::Text(a), Value::Text(b)) => {
                self.charge(a.len().saturating_add(b.len()))?;
                Ok(Value::text([&**a, &**b].concat()))
            }
            (Binary::Add, Value::List(a), Value::List(b)) => {
                self.charge(left.width().saturating_add(right.width()))?;
                Value::list(repeated(&[a, b], 1))
            }
            (Binary::Add, Value::Tuple(a), Value::Tuple(b)) => {
                self.charge(left.width().saturating_add(right.width()))?;
                Value::tuple(repeated(&[a, b], 1))
            }
            (Binary::Multiply, Value::Text(_) | Value::List(_) | Value::Tuple(_), Value::Int(count)) => {
                self.repeat(left, *count)
            }
            (Binary::Multiply, Value::Int(count), Value::Text(_) | Value::List(_) | Value::Tuple(_)) => {
                self.repeat(right, *count)
            }
            (Binary::Modulo, Value::Text(format), _) => {
                let values = match right {
                    Value::Tuple(tuple) => &tuple.items[..],
                    _ => std::slice::from_ref(right),
                };
                let weight = right.weight().saturating_add(left.weight());
                self.charge(weight)?;
                text::percent(format, values).map(Value::text)
            }
            _ => left.arithmetic(operator, right),
        }
    }

    fn repeat(&mut self, value: &Value, count: i128) -> Result<Value, Refusal> {
        let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        let width = if let Value::Text(text) = value { text.len() } else { value.width() };
        self.charge(width.saturating_mul(count))?;
        match value {
            Value::Text(text) if !text.is_empty() => Ok(Value::text(text.repeat(count))),
            Value::List(list) if !list.items.is_empty() => Value::list(repeated(&[list], count)),
            Value::Tuple(list) if !list.items.is_empty() => Value::tuple(repeated(&[list], count)),
            _ => Ok(value.clone()),
        }
    }
}

/// The elements of lists, so many times.
fn repeated(lists: &[&Rc<Items>], count: usize) -> Vec<Value> {
    let mut items = Vec::new();
    for _ in 0..count {
        for list in lists {
            items.extend_from_slice(&list.items);
        }
    }
    items
}
