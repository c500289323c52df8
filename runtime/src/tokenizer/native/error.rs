//! Why a tokenizer's table cannot be used.

/// A table is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The first bytes are not those of a table.
    #[error("tokenizer.bin: is no tokenizer table of qwenc")]
    NoTable,
    /// Another version than this program's.
    #[error(
        "tokenizer.bin: has version {found}, this program reads version {expected}; compile the model again"
    )]
    Version {
        /// The file's.
        found: u32,
        /// This program's.
        expected: u32,
    },
    /// A number that says how many of something there are is too large.
    #[error("tokenizer.bin: says {found} {what}, at most {max} are read")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The number.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// The file is longer or shorter than its header says.
    #[error("tokenizer.bin: has {found} bytes, its header says {expected}; the file is cut off or changed")]
    Size {
        /// What the header says.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A field has a value that means nothing.
    #[error("tokenizer.bin: {what} {index} {problem}")]
    Invalid {
        /// Which kind of record.
        what: &'static str,
        /// Its number.
        index: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// Lookups would be slow: no ordinary vocabulary is like that.
    #[error("tokenizer.bin: more than {max} {what} fall together in the lookup table")]
    Crowded {
        /// What is looked up.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}
