//! From values to types.
//!
//! Reading goes on behind what is wrong, with some value in its place, and the first trouble is told in the end. A way out behind
//! every field, with what was read before it to be freed, would be most of the code in the module for the web.

use super::{Json, JsonError};
use crate::names::ByName;

/// What stands for a field that is not there.
static NULL: Json = Json::Null;

/// A type that JSON is read into.
pub trait FromJson: Sized {
    /// Whether a field of this type may be missing: it is then read as `null`.
    const OPTIONAL: bool = false;

    /// The value of this JSON. When `trouble` was said, some value.
    fn read(json: &Json, trouble: &mut Trouble) -> Self;

    /// The value of this JSON.
    ///
    /// # Errors
    /// [`JsonError`], with the place in the value.
    fn from_json(json: &Json) -> Result<Self, JsonError> {
        let mut trouble = Trouble::default();
        let value = Self::read(json, &mut trouble);
        trouble.end(value)
    }
}

/// The first thing that was wrong while a value was read.
#[derive(Debug, Default)]
pub struct Trouble(Option<JsonError>);

impl Trouble {
    /// Something is wrong with the value that is being read; what comes behind the first thing is not kept.
    #[cold]
    pub fn say(&mut self, message: &str) {
        self.0.get_or_insert_with(|| JsonError::new(message));
    }

    /// What was read, when nothing was said.
    ///
    /// # Errors
    /// The first thing that was said.
    pub fn end<T>(self, value: T) -> Result<T, JsonError> {
        self.0.map_or(Ok(value), Err)
    }

    const fn is_said(&self) -> bool {
        self.0.is_some()
    }

    /// What was said since it was `said` before is about this part of a value.
    fn within(&mut self, said: bool, part: &str) {
        if !said {
            self.0 = self.0.take().map(|error| error.within(part));
        }
    }

    fn within_item(&mut self, said: bool, at: usize) {
        if self.is_said() && !said {
            self.within(said, &format!("[{at}]"));
        }
    }
}

/// An object while its fields are read.
#[derive(Debug)]
pub struct Object<'a> {
    pairs: &'a [(String, Json)],
    trouble: &'a mut Trouble,
}

impl<'a> Object<'a> {
    /// An object that may have other fields than those that are asked for.
    pub fn open(json: &'a Json, trouble: &'a mut Trouble) -> Self {
        Self { pairs: pairs(json, trouble), trouble }
    }

    /// An object that may have no other fields than these.
    pub fn only(json: &'a Json, fields: &[&str], trouble: &'a mut Trouble) -> Self {
        let object = Self::open(json, trouble);
        if let Some((name, _)) = object.pairs.iter().find(|(name, _)| !fields.contains(&name.as_str())) {
            object.trouble.say(&format!("unknown field `{name}`"));
        }
        object
    }

    fn find(&self, name: &str) -> Option<&'a Json> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// What there is to read for a field, and whether trouble was said before it.
    fn enter(&mut self, name: &str, optional: bool) -> (&'a Json, bool) {
        let value = self.find(name);
        if value.is_none() && !optional {
            self.trouble.say(&format!("the field `{name}` is missing"));
        }
        (value.unwrap_or(&NULL), self.trouble.is_said())
    }

    /// The value of a field.
    pub fn field<T: FromJson>(&mut self, name: &str) -> T {
        let (json, said) = self.enter(name, T::OPTIONAL);
        let value = T::read(json, self.trouble);
        self.trouble.within(said, name);
        value
    }

    /// The value of a field, or the type's default.
    pub fn or_default<T: FromJson + Default>(&mut self, name: &str) -> T {
        if self.find(name).is_some() { self.field(name) } else { T::default() }
    }
}

fn pairs<'a>(json: &'a Json, trouble: &mut Trouble) -> &'a [(String, Json)] {
    json.pairs().unwrap_or_else(|| {
        trouble.say("must be an object");
        &[]
    })
}

fn items<'a>(json: &'a Json, trouble: &mut Trouble) -> &'a [Json] {
    json.items().unwrap_or_else(|| {
        trouble.say("must be a list");
        &[]
    })
}

impl FromJson for Json {
    fn read(json: &Json, _: &mut Trouble) -> Self {
        json.clone()
    }
}

impl FromJson for String {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let text = json.as_str().unwrap_or_else(|| {
            trouble.say("must be text");
            ""
        });
        text.to_owned()
    }
}

impl FromJson for bool {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        json.as_bool().unwrap_or_else(|| {
            trouble.say("must be true or false");
            false
        })
    }
}

impl FromJson for u64 {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        json.as_u64().unwrap_or_else(|| {
            trouble.say("must be a whole number, not negative");
            0
        })
    }
}

impl FromJson for u32 {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        u64::read(json, trouble).try_into().unwrap_or_else(|_| {
            trouble.say("must be at most 4294967295");
            0
        })
    }
}

impl FromJson for usize {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        u64::read(json, trouble).try_into().unwrap_or_else(|_| {
            trouble.say("must be smaller");
            0
        })
    }
}

impl FromJson for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "the nearest one")]
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let value = json.as_f64().unwrap_or_else(|| {
            trouble.say("must be a number");
            0.0
        });
        value as Self
    }
}

impl<T: FromJson> FromJson for Option<T> {
    const OPTIONAL: bool = true;

    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        match json {
            Json::Null => None,
            json => Some(T::read(json, trouble)),
        }
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let mut list = Self::new();
        for (at, item) in items(json, trouble).iter().enumerate() {
            let said = trouble.is_said();
            list.push(T::read(item, trouble));
            trouble.within_item(said, at);
        }
        list
    }
}

impl<T: FromJson, const N: usize> FromJson for [T; N] {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let items = items(json, trouble);
        if items.len() != N {
            trouble.say("must be a list of another length");
        }
        std::array::from_fn(|at| {
            let said = trouble.is_said();
            let value = T::read(items.get(at).unwrap_or(&NULL), trouble);
            trouble.within_item(said, at);
            value
        })
    }
}

impl<T: FromJson> FromJson for ByName<T> {
    fn read(json: &Json, trouble: &mut Trouble) -> Self {
        let mut map = Self::new();
        for (name, value) in pairs(json, trouble) {
            let said = trouble.is_said();
            map.insert(name.clone(), T::read(value, trouble));
            trouble.within(said, name);
        }
        map
    }
}

/// Reads a struct whose fields are all known; those behind `or_default` may be missing.
macro_rules! struct_from_json {
    ($type:ident { $($field:ident),* $(,)? } $(or_default { $($other:ident),* })?) => {
        impl $crate::json::FromJson for $type {
            fn read(json: &$crate::json::Json, trouble: &mut $crate::json::Trouble) -> Self {
                let fields = [$(stringify!($field),)* $($(stringify!($other),)*)?];
                let mut object = $crate::json::Object::only(json, &fields, trouble);
                Self {
                    $($field: object.field(stringify!($field)),)*
                    $($($other: object.or_default(stringify!($other)),)*)?
                }
            }
        }
    };
}

/// Reads an enum whose values are names.
macro_rules! name_from_json {
    ($type:ident { $($name:literal => $variant:ident),* $(,)? }) => {
        impl $crate::json::FromJson for $type {
            fn read(json: &$crate::json::Json, trouble: &mut $crate::json::Trouble) -> Self {
                match json.as_str() {
                    $(Some($name) => Self::$variant,)*
                    _ => {
                        trouble.say(concat!("must be one of:" $(, " ", $name)*));
                        [$(Self::$variant),*][0]
                    }
                }
            }
        }
    };
}

pub(crate) use {name_from_json, struct_from_json};
