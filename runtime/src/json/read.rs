//! From values to types.

use super::{Json, JsonError};
use crate::names::ByName;

/// A type that JSON is read into.
pub trait FromJson: Sized {
    /// The value of this JSON.
    ///
    /// # Errors
    /// [`JsonError`], with the place in the value.
    fn from_json(json: &Json) -> Result<Self, JsonError>;

    /// The value of a field that is not there, where there is one.
    #[must_use]
    fn missing() -> Option<Self> {
        None
    }
}

/// An object while its fields are read.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    pairs: &'a [(String, Json)],
}

impl<'a> Object<'a> {
    /// An object that may have other fields than those that are asked for.
    ///
    /// # Errors
    /// [`JsonError`] for another value than an object.
    pub fn open(json: &'a Json) -> Result<Self, JsonError> {
        let pairs = json.pairs().ok_or_else(|| JsonError::new("must be an object"))?;
        Ok(Self { pairs })
    }

    /// An object that may have no other fields than these.
    ///
    /// # Errors
    /// [`JsonError`] for another value than an object, and for another field.
    pub fn only(json: &'a Json, fields: &[&str]) -> Result<Self, JsonError> {
        let object = Self::open(json)?;
        match object.pairs.iter().find(|(name, _)| !fields.contains(&name.as_str())) {
            Some((name, _)) => Err(JsonError::new(&format!("unknown field `{name}`"))),
            None => Ok(object),
        }
    }

    fn find(self, name: &str) -> Option<&'a Json> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The value of a field.
    ///
    /// # Errors
    /// [`JsonError`] when it is missing, or of another type.
    pub fn field<T: FromJson>(self, name: &str) -> Result<T, JsonError> {
        match self.find(name) {
            Some(value) => T::from_json(value).map_err(|error| error.within(name)),
            None => T::missing().ok_or_else(|| lacks(name)),
        }
    }

    /// The value of a field, or the type's default.
    ///
    /// # Errors
    /// [`JsonError`] when it is of another type.
    pub fn or_default<T: FromJson + Default>(self, name: &str) -> Result<T, JsonError> {
        match self.find(name) {
            Some(value) => T::from_json(value).map_err(|error| error.within(name)),
            None => Ok(T::default()),
        }
    }
}

#[cold]
fn lacks(name: &str) -> JsonError {
    JsonError::new(&format!("the field `{name}` is missing"))
}

#[cold]
fn must_be(what: &str) -> JsonError {
    JsonError::new(&format!("must be {what}"))
}

impl FromJson for Json {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        Ok(json.clone())
    }
}

impl FromJson for String {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        json.as_str().map(str::to_owned).ok_or_else(|| must_be("text"))
    }
}

impl FromJson for bool {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        json.as_bool().ok_or_else(|| must_be("true or false"))
    }
}

impl FromJson for u64 {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        json.as_u64().ok_or_else(|| must_be("a whole number, not negative"))
    }
}

impl FromJson for u32 {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        u64::from_json(json)?.try_into().map_err(|_| must_be("at most 4294967295"))
    }
}

impl FromJson for usize {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        u64::from_json(json)?.try_into().map_err(|_| must_be("smaller"))
    }
}

impl FromJson for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "the nearest one")]
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        json.as_f64().map(|value| value as f32).ok_or_else(|| must_be("a number"))
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        match json {
            Json::Null => Ok(None),
            json => T::from_json(json).map(Some),
        }
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        let mut list = Vec::new();
        for (at, item) in json.items().ok_or_else(|| must_be("a list"))?.iter().enumerate() {
            list.push(T::from_json(item).map_err(|error| error.within(&format!("[{at}]")))?);
        }
        Ok(list)
    }
}

impl<T: FromJson, const N: usize> FromJson for [T; N] {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        Vec::from_json(json)?.try_into().map_err(|_| must_be("a list of another length"))
    }
}

impl<T: FromJson> FromJson for ByName<T> {
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        let mut map = Self::new();
        for (name, value) in json.pairs().ok_or_else(|| must_be("an object"))? {
            map.insert(name.clone(), T::from_json(value).map_err(|error| error.within(name))?);
        }
        Ok(map)
    }
}

/// Reads a struct whose fields are all known; those behind `or_default` may be missing.
macro_rules! struct_from_json {
    ($type:ident { $($field:ident),* $(,)? } $(or_default { $($other:ident),* })?) => {
        impl $crate::json::FromJson for $type {
            fn from_json(json: &$crate::json::Json) -> Result<Self, $crate::json::JsonError> {
                let fields = [$(stringify!($field),)* $($(stringify!($other),)*)?];
                let object = $crate::json::Object::only(json, &fields)?;
                Ok(Self {
                    $($field: object.field(stringify!($field))?,)*
                    $($($other: object.or_default(stringify!($other))?,)*)?
                })
            }
        }
    };
}

/// Reads an enum whose values are names.
macro_rules! name_from_json {
    ($type:ident { $($name:literal => $variant:ident),* $(,)? }) => {
        impl $crate::json::FromJson for $type {
            fn from_json(json: &$crate::json::Json) -> Result<Self, $crate::json::JsonError> {
                match json.as_str() {
                    $(Some($name) => Ok(Self::$variant),)*
                    _ => Err($crate::json::JsonError::new(concat!("must be one of:" $(, " ", $name)*))),
                }
            }
        }
    };
}

pub(crate) use {name_from_json, struct_from_json};
