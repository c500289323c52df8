//! Things by their names. On the web a list in their order does what `BTreeMap` does elsewhere, with a tenth of the code.

#[cfg(not(target_arch = "wasm32"))]
pub use std::collections::BTreeMap as Map;

#[cfg(target_arch = "wasm32")]
pub use own::Map;

/// Things by their names, in the order of these.
pub type ByName<T> = Map<String, T>;

#[cfg(target_arch = "wasm32")]
mod own {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// The part of `BTreeMap` that is in use.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Map<K, V>(Vec<(K, V)>);

    impl<K, V> Default for Map<K, V> {
        fn default() -> Self {
            Self(Vec::new())
        }
    }

    impl<V> Map<String, V> {
        /// Nothing.
        #[must_use]
        pub fn new() -> Self {
            Self::default()
        }

        /// The place of a name, or where it would be.
        fn place(&self, name: &str) -> Result<usize, usize> {
            let at = self.0.partition_point(|(known, _)| known.as_str() < name);
            if self.0.get(at).is_some_and(|(known, _)| known == name) { Ok(at) } else { Err(at) }
        }

        /// The thing of this name.
        #[must_use]
        pub fn get(&self, name: &str) -> Option<&V> {
            self.0.get(self.place(name).ok()?).map(|(_, value)| value)
        }

        /// Whether there is a thing of this name.
        #[must_use]
        pub fn contains_key(&self, name: &str) -> bool {
            self.place(name).is_ok()
        }

        /// Puts a thing under its name, in the place of what was there.
        pub fn insert(&mut self, name: String, value: V) -> Option<V> {
            match self.place(&name) {
                Ok(at) => self.0.get_mut(at).map(|(_, known)| std::mem::replace(known, value)),
                Err(at) => {
                    self.0.insert(at, (name, value));
                    None
                }
            }
        }

        /// Takes the thing of this name out.
        pub fn remove(&mut self, name: &str) -> Option<V> {
            self.place(name).ok().map(|at| self.0.remove(at).1)
        }

        /// How many there are.
        #[must_use]
        pub fn len(&self) -> usize {
            self.0.len()
        }

        /// There are none.
        #[must_use]
        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        /// Names and things.
        pub fn iter(&self) -> Iter<'_, V> {
            self.0.iter().map(|(name, value)| (name, value))
        }

        /// The names.
        pub fn keys(&self) -> impl Iterator<Item = &String> {
            self.0.iter().map(|(name, _)| name)
        }

        /// The things.
        pub fn values(&self) -> impl Iterator<Item = &V> {
            self.0.iter().map(|(_, value)| value)
        }
    }

    type Iter<'a, V> = std::iter::Map<std::slice::Iter<'a, (String, V)>, fn(&(String, V)) -> (&String, &V)>;

    impl<'a, V> IntoIterator for &'a Map<String, V> {
        type Item = (&'a String, &'a V);
        type IntoIter = Iter<'a, V>;

        fn into_iter(self) -> Self::IntoIter {
            self.iter()
        }
    }

    impl<V> FromIterator<(String, V)> for Map<String, V> {
        fn from_iter<I: IntoIterator<Item = (String, V)>>(pairs: I) -> Self {
            let mut map = Self::new();
            for (name, value) in pairs {
                map.insert(name, value);
            }
            map
        }
    }

    impl<V: Serialize> Serialize for Map<String, V> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self)
        }
    }

    impl<'de, V: Deserialize<'de>> Deserialize<'de> for Map<String, V> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            BTreeMap::deserialize(deserializer).map(|map: BTreeMap<String, V>| map.into_iter().collect())
        }
    }
}
