//! What the user wants of weights: a format for all, and exceptions by name.

use std::fmt;
use std::str::FromStr;

/// How a matrix of floats is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreAs {
    /// As the model has it.
    #[default]
    Keep,
    /// 32-bit floats.
    F32,
    /// IEEE 16-bit floats.
    F16,
    /// Codes of 8 bits in blocks of 32 with a scale each.
    Q8,
    /// Codes of 4 bits in blocks of 32 with a scale each.
    Q4,
}

impl StoreAs {
    /// Every format with its name on the command line.
    pub const ALL: [(&'static str, Self); 5] =
        [("keep", Self::Keep), ("f32", Self::F32), ("f16", Self::F16), ("q8", Self::Q8), ("q4", Self::Q4)];
}

impl fmt::Display for StoreAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, format)| format == self).map_or("keep", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for StoreAs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, format)| *format);
        found.ok_or_else(|| format!("`{text}` is no format; there are keep, f32, f16, q8 and q4"))
    }
}

/// An exception: weights whose name, or whose node's name, matches are stored in another format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The format.
    pub store: StoreAs,
    /// A part of the name; with `*`, which stands for any text, the whole name.
    pub pattern: String,
}

impl Keep {
    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.pattern.split('*');
        let first = parts.next().unwrap_or_default();
        let rest: Vec<&str> = parts.collect();
        let Some((last, middle)) = rest.split_last() else { return name.contains(first) };
        let Some(mut name) = name.strip_prefix(first) else { return false };
        for part in middle {
            match name.find(part) {
                Some(at) => name = &name[at + part.len()..],
                None => return false,
            }
        }
        name.ends_with(last)
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (format, pattern) = text.split_once(':').ok_or("expected FORMAT:PATTERN, such as f16:lm_head")?;
        if pattern.is_empty() {
            return Err("the pattern is empty".into());
        }
        Ok(Self { store: format.parse()?, pattern: pattern.to_owned() })
    }
}

/// How all weights are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightRecipe {
    /// The format of every matrix that no exception names.
    pub default: StoreAs,
    /// Exceptions; the first that matches decides.
    pub keep: Vec<Keep>,
}

impl WeightRecipe {
    /// True when there is nothing to do.
    pub fn keeps_everything(&self) -> bool {
        self.default == StoreAs::Keep && self.keep.is_empty()
    }
}

impl fmt::Display for WeightRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.default)?;
        for keep in &self.keep {
            write!(f, " {}:{}", keep.store, keep.pattern)?;
        }
        Ok(())
    }
}

/// A recipe cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// A pattern that no weight has.
    #[error("`--keep` pattern `{pattern}` matches no weight; there are {} and the like (`qwenc inspect` lists layers)", .names.join(", "))]
    NothingMatches {
        /// The pattern.
        pattern: String,
        /// Some of the weights.
        names: Vec<String>,
    },
    /// A weight that does not fit the format.
    #[error("weight `{name}`: {reason}")]
    Weight {
        /// The weight.
        name: String,
        /// Why.
        reason: String,
    },
    /// The graph.
    #[error("{0}")]
    Graph(String),
}

impl From<qwenc_ir::InferError> for RecipeError {
    fn from(error: qwenc_ir::InferError) -> Self {
        Self::Graph(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_parts_or_whole_names() {
        let matches = |pattern: &str, name: &str| {
            Keep { store: StoreAs::F16, pattern: pattern.to_owned() }.matches(name)
        };
        assert!(matches("lm_head", "lm_head.MatMul.weight") && matches("head", "lm_head"));
        assert!(!matches("lm_head", "model.layers.0"));
        assert!(matches("*.weight", "a.weight") && !matches("*.weight", "a.weight.b"));
        assert!(matches("model.*.mlp.*", "model.layers.0.mlp.up") && !matches("model.*.mlp.*", "model.mlp"));
        assert!(matches("a*b*c", "abbc") && !matches("a*bb*c", "abc"));
        assert!(matches("*", ""));
    }

    #[test]
    fn exceptions_are_read_and_shown() {
        let keep: Keep = "f16:lm_head".parse().unwrap();
        assert_eq!((keep.store, keep.pattern.as_str()), (StoreAs::F16, "lm_head"));
        for wrong in ["lm_head", "f17:x", "q4:"] {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
        let recipe = WeightRecipe { default: StoreAs::Q4, keep: vec![keep] };
        assert_eq!(recipe.to_string(), "q4 f16:lm_head");
    }
}
