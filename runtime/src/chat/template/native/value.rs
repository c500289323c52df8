//! Values of a rendering, with the semantics of Python's.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

use super::repr::repr;
use crate::chat::Json;

/// Deepest nesting of lists and maps.
const MAX_DEPTH: usize = 150;
/// About what a value takes besides its text.
const NODE_BYTES: usize = 32;

/// Pairs in order; keys are unique.
pub(super) type Pairs = Vec<(Value, Value)>;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Rc<str>),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Map(Rc<Mapping>),
    /// `namespace(…)`: the only thing that can be changed.
    Namespace(Rc<RefCell<Vec<(String, Value)>>>),
    /// The place of a macro in the evaluator's list.
    Macro(usize),
    /// The place of a loop in the evaluator's list.
    Loop(usize),
    /// A function of the environment.
    Function(&'static str),
}

/// Elements of a list.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) items: Vec<Value>,
    shape: Shape,
}

/// Pairs of a map.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) pairs: Pairs,
    shape: Shape,
}

/// How deep values nest, and how much there is when what they share is spelt out: about bytes.
#[derive(Clone, Copy, Debug)]
struct Shape {
    depth: usize,
    size: usize,
}

/// What a value cannot do.
pub(super) type Refusal = String;

impl Value {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn list(items: Vec<Value>) -> Result<Self, Refusal> {
        let shape = shape(&mut items.iter())?;
        Ok(Self::List(Rc::new(Items { items, shape })))
    }

    pub(super) fn tuple(items: Vec<Value>) -> Result<Self, Refusal> {
        let shape = shape(&mut items.iter())?;
        Ok(Self::Tuple(Rc::new(Items { items, shape })))
    }

    /// A map of pairs whose keys are unique.
    pub(super) fn map(pairs: Pairs) -> Result<Self, Refusal> {
        let shape = shape(&mut pairs.iter().flat_map(|(key, value)| [key, value]))?;
        Ok(Self::Map(Rc::new(Mapping { pairs, shape })))
    }

    pub(super) fn from_json(json: &Json) -> Result<Self, Refusal> {
        Ok(match json {
            Json::Null => Self::None,
            Json::Bool(value) => Self::Bool(*value),
            Json::Int(value) => Self::Int(*value),
            Json::Float(value) => Self::Float(*value),
            Json::Text(text) => Self::text(text.as_str()),
            Json::List(items) => Self::list(items.iter().map(Self::from_json).collect::<Result<_, _>>()?)?,
            Json::Map(members) => {
                let mut pairs = Vec::new();
                for (key, value) in members {
                    pairs.push((Self::text(key.as_str()), Self::from_json(value)?));
                }
                Self::map(pairs)?
            }
        })
    }

    /// The type's name in messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "str",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Map(_) => "dict",
            Self::Namespace(_) => "namespace",
            Self::Macro(_) | Self::Function(_) => "function",
            Self::Loop(_) => "loop",
        }
    }

    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) | Self::Tuple(list) => !list.items.is_empty(),
            Self::Map(map) => !map.pairs.is_empty(),
            _ => true,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A whole number; truth values are 0 and 1.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Bool(value) => Some(i128::from(*value)),
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "as in Python")]
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            _ => self.as_int().map(|value| value as f64),
        }
    }

    /// The elements of a list or tuple.
    pub(super) fn items(&self) -> Option<&[Value]> {
        match self {
            Self::List(list) | Self::Tuple(list) => Some(&list.items),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub(super) fn lookup(&self, key: &Value) -> Option<&Value> {
        match self {
            Self::Map(map) => map.pairs.iter().find(|(name, _)| name.equals(key)).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What a loop goes over.
    pub(super) fn iterate(&self) -> Result<Vec<Value>, Refusal> {
        Ok(match self {
            Self::Undefined => Vec::new(),
            Self::List(list) | Self::Tuple(list) => list.items.clone(),
            Self::Map(map) => map.pairs.iter().map(|(key, _)| key.clone()).collect(),
            Self::Text(text) => text.chars().map(|c| Self::text(c.to_string())).collect(),
            _ => return Err(format!("a value of type {} has no elements", self.kind())),
        })
    }

    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Self::Undefined => Some(0),
            Self::Text(text) => Some(text.chars().count()),
            Self::List(list) | Self::Tuple(list) => Some(list.items.len()),
            Self::Map(map) => Some(map.pairs.len()),
            _ => None,
        }
    }

    #[expect(clippy::float_cmp, reason = "as in Python")]
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::None, Self::None) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                a.items.len() == b.items.len() && a.items.iter().zip(&b.items).all(|(a, b)| a.equals(b))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.pairs.len() == b.pairs.len()
                    && a.pairs.iter().all(|(key, value)| other.lookup(key).is_some_and(|it| it.equals(value)))
            }
            (Self::Namespace(a), Self::Namespace(b)) => Rc::ptr_eq(a, b),
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => a == b,
                _ => self.as_float().zip(other.as_float()).is_some_and(|(a, b)| a == b),
            },
        }
    }

    /// The order of two values, where Python has one.
    pub(super) fn order(&self, other: &Self) -> Result<Ordering, Refusal> {
        let refuse = || format!("{} and {} have no order", self.kind(), other.kind());
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            (Self::List(a), Self::List(b)) | (Self::Tuple(a), Self::Tuple(b)) => {
                for (a, b) in a.items.iter().zip(&b.items) {
                    if !a.equals(b) {
                        return a.order(b);
                    }
                }
                Ok(a.items.len().cmp(&b.items.len()))
            }
            _ => match (self.as_int(), other.as_int()) {
                (Some(a), Some(b)) => Ok(a.cmp(&b)),
                _ => {
                    let (a, b) = self.as_float().zip(other.as_float()).ok_or_else(refuse)?;
                    a.partial_cmp(&b).ok_or_else(refuse)
                }
            },
        }
    }

    /// `needle in self`
    pub(super) fn contains(&self, needle: &Value) -> Result<bool, Refusal> {
        match (self, needle) {
            (Self::Text(text), Self::Text(needle)) => Ok(text.contains(&**needle)),
            (Self::List(list) | Self::Tuple(list), _) => {
                Ok(list.items.iter().any(|item| item.equals(needle)))
            }
            (Self::Map(_), _) => Ok(self.lookup(needle).is_some()),
            (Self::Undefined, _) => Ok(false),
            _ => Err(format!("a value of type {} contains nothing of type {}", self.kind(), needle.kind())),
        }
    }

    /// An element by its index, from the end when that is negative.
    pub(super) fn at(&self, index: i128) -> Option<Value> {
        let from_end = |length: usize| {
            let index = if index < 0 { index + i128::try_from(length).ok()? } else { index };
            usize::try_from(index).ok().filter(|index| *index < length)
        };
        match self {
            Self::List(list) | Self::Tuple(list) => list.items.get(from_end(list.items.len())?).cloned(),
            Self::Text(text) => {
                let at = from_end(text.chars().count())?;
                text.chars().nth(at).map(|c| Self::text(c.to_string()))
            }
            _ => None,
        }
    }

    /// `self[start:stop:step]`
    pub(super) fn slice(&self, bounds: [Option<i128>; 3]) -> Result<Value, Refusal> {
        let pick = |length: usize| places(length, bounds);
        match self {
            Self::Text(text) => {
                let letters: Vec<char> = text.chars().collect();
                let mut picked = String::new();
                picked.extend(pick(letters.len())?.into_iter().filter_map(|at| letters.get(at)));
                Ok(Self::text(picked))
            }
            Self::List(list) | Self::Tuple(list) => {
                let picked = pick(list.items.len())?.into_iter().filter_map(|at| list.items.get(at).cloned());
                let picked = picked.collect();
                if matches!(self, Self::List(_)) { Self::list(picked) } else { Self::tuple(picked) }
            }
            // An undefined value too, as in Jinja2.
            _ => Err(format!("a value of type {} cannot be sliced", self.kind())),
        }
    }

    /// About how much work it is to look at all of the value, in bytes.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len().saturating_add(NODE_BYTES),
            Self::List(list) | Self::Tuple(list) => list.shape.size,
            Self::Map(map) => map.shape.size,
            _ => NODE_BYTES,
        }
    }

    /// About how much work it is to copy its elements, in bytes.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Text(text) => text.len().saturating_mul(NODE_BYTES),
            _ => self.length().unwrap_or(0).saturating_mul(2 * NODE_BYTES),
        }
    }

    /// `str(value)`; an undefined value is empty.
    pub(super) fn to_text(&self) -> Result<Rc<str>, Refusal> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Undefined => Ok("".into()),
            _ => repr(self).map(Into::into),
        }
    }
}

/// Puts a pair among others; of equal keys the last value counts, in the place of the first.
pub(super) fn insert(pairs: &mut Pairs, key: Value, value: Value) {
    match pairs.iter_mut().find(|(known, _)| known.equals(&key)) {
        Some(pair) => pair.1 = value,
        None => pairs.push((key, value)),
    }
}

/// The shape of a value of these elements. What can be changed cannot be an element: nothing contains itself.
fn shape(items: &mut dyn Iterator<Item = &Value>) -> Result<Shape, Refusal> {
    let mut shape = Shape { depth: 0, size: NODE_BYTES };
    for item in items {
        shape.size = shape.size.saturating_add(item.weight());
        shape.depth = shape.depth.max(match item {
            Value::List(list) | Value::Tuple(list) => list.shape.depth,
            Value::Map(map) => map.shape.depth,
            Value::Namespace(_) | Value::Loop(_) => {
                return Err(format!("a {} cannot be part of another value", item.kind()));
            }
            _ => 0,
        });
    }
    shape.depth += 1;
    if shape.depth > MAX_DEPTH { Err("values are nested too deeply".to_owned()) } else { Ok(shape) }
}

/// The places that a slice takes, in order.
fn places(length: usize, [start, stop, step]: [Option<i128>; 3]) -> Result<Vec<usize>, Refusal> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    // Beyond the ends it is all the same where.
    let near = |value: i128| {
        i64::try_from(value.clamp(-i128::from(length) - 1, i128::from(length) + 1)).unwrap_or(0)
    };
    let step = step.map_or(1, near);
    if step == 0 {
        return Err("the step of a slice is 0".to_owned());
    }
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |value: Option<i128>, default: i64| match value.map(near) {
        None => default,
        Some(value) if value < 0 => (value + length).clamp(low, high),
        Some(value) => value.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, stop) = (bound(start, first), bound(stop, last));
    let mut places = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        places.extend(usize::try_from(at));
        at += step;
    }
    Ok(places)
}
