//! Errors of the format: where, and what.

use std::fmt;

use super::{BufferId, BufferKind, ExprError, PipelineId};
use crate::printable::printable;

/// Characters of a message that are shown.
const MAX_MESSAGE: usize = 1500;

/// A bundle's file does not say something that can be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FormatError {
    /// Where it is.
    pub place: Box<Place>,
    /// What it is.
    pub problem: Problem,
}

/// Where in a bundle something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The part of the file, for example "buffer 7 `logits`".
    pub item: Option<String>,
    /// The entry point.
    pub entry: Option<String>,
    /// The index of the command in the entry point.
    pub command: Option<usize>,
}

impl Place {
    /// A whole file.
    #[must_use]
    pub fn file(file: &str) -> Self {
        Self { file: file.to_owned(), ..Self::default() }
    }

    /// A part of this place.
    #[must_use]
    pub fn item(&self, item: impl fmt::Display) -> Self {
        Self { item: Some(item.to_string()), ..self.clone() }
    }

    /// The error that `problem` is here.
    #[must_use]
    pub fn error(&self, problem: Problem) -> FormatError {
        FormatError { place: Box::new(self.clone()), problem }
    }
}

impl fmt::Display for FormatError {
    /// Words of the file can be in the message, the parser's complaints among them: nothing for a terminal to obey.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&format!("{}: {}", self.place, self.problem), MAX_MESSAGE))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(entry) = &self.entry {
            write!(f, ", entry `{entry}`")?;
        }
        if let Some(command) = self.command {
            write!(f, ", command {command}")?;
        }
        match &self.item {
            Some(item) => write!(f, ", {item}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a part of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not JSON, or not of the format's shape.
    #[error("not valid: {0}; compile the model again")]
    Json(String),
    /// Written for another version of the runtime.
    #[error(
        "format version {found}, this program reads version {supported}; compile the model again with this version"
    )]
    Version {
        /// The file's version.
        found: u32,
        /// The version that can be read.
        supported: u32,
    },
    /// A feature that the runtime does not know.
    #[error("needs the feature `{0}`, which this program does not have; use a newer one")]
    UnknownFeature(String),
    /// A path that is not a plain relative one.
    #[error("`{path}` is not a plain relative path")]
    Path {
        /// The path, cut short if very long.
        path: String,
    },
    /// The list of files is not sorted, or names one twice.
    #[error("files are not in ascending order at `{path}`")]
    FileOrder {
        /// The first path out of order.
        path: String,
    },
    /// A hash that is not 64 lower-case hexadecimal digits.
    #[error("`{path}` has no valid sha256")]
    Hash {
        /// The file.
        path: String,
    },
    /// A file that the schedule needs is not in the manifest.
    #[error("`{path}` is not among the manifest's files")]
    UnlistedFile {
        /// The file.
        path: String,
    },
    /// More of something than any real bundle has.
    #[error("{count} {what}, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many can be.
        max: usize,
    },
    /// A name that is empty, too long, or has other characters than it may.
    #[error("`{name}` is not a valid {what}")]
    Name {
        /// Of what.
        what: &'static str,
        /// The name, cut short if very long.
        name: String,
    },
    /// Two things of one name.
    #[error("{what} `{name}` is there twice")]
    Duplicate {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A symbol whose smallest value is above its largest.
    #[error("symbol `{name}` has no value: its smallest is {min}, its largest {max}")]
    SymbolRange {
        /// The symbol.
        name: String,
        /// Smallest value.
        min: u32,
        /// Largest value.
        max: u32,
    },
    /// A symbol that is not in the schedule's list, or not in the entry's.
    #[error("symbol `{name}` is not declared")]
    UndeclaredSymbol {
        /// The symbol.
        name: String,
    },
    /// An expression that may have no value.
    #[error("the expression of {what} has no value: {source}")]
    Expr {
        /// Of what.
        what: &'static str,
        /// Why.
        source: ExprError,
    },
    /// A buffer that does not stand at the index that is its id.
    #[error("its id is {found}")]
    BufferOrder {
        /// The id found.
        found: u32,
    },
    /// An id of no buffer.
    #[error("there is no buffer {}", .0.0)]
    NoSuchBuffer(BufferId),
    /// An id of no pipeline.
    #[error("there is no pipeline {}", .0.0)]
    NoSuchPipeline(PipelineId),
    /// A size, offset or count that is not a multiple of what it must be, or zero.
    #[error("{what} is {value}: must be {rule}")]
    Alignment {
        /// What is misaligned.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// A range that does not lie within its buffer.
    #[error("{what}: bytes {offset}..{offset}+{bytes} are not within the {size} of buffer {}", buffer.0)]
    OutOfRange {
        /// What is out of range.
        what: &'static str,
        /// The buffer.
        buffer: BufferId,
        /// First byte.
        offset: u64,
        /// Bytes.
        bytes: u64,
        /// Bytes of the buffer.
        size: u64,
    },
    /// A value above a limit.
    #[error("{what} can be {value}, the limit is {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The value.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A buffer used in a way that its kind does not allow.
    #[error("buffer {} is of kind {kind:?}, which cannot be {usage}", buffer.0)]
    Usage {
        /// The buffer.
        buffer: BufferId,
        /// Its kind.
        kind: BufferKind,
        /// The use.
        usage: &'static str,
    },
    /// A part that a buffer of this kind must have, or must not have.
    #[error("{0}")]
    Kind(&'static str),
    /// The parts of a weight leave a gap, overlap, or do not reach its end.
    #[error(
        "the parts of the weight cover {covered} bytes without gap or overlap, then comes byte {next} of {size}"
    )]
    Coverage {
        /// Bytes covered from the start.
        covered: u64,
        /// Where the next part starts, or the size when there is none.
        next: u64,
        /// Bytes of the weight.
        size: u64,
    },
    /// A dispatch binds another number of buffers than its pipeline declares.
    #[error("{found} bindings, the pipeline declares {declared}")]
    BindingCount {
        /// Bound by the dispatch.
        found: usize,
        /// Declared by the pipeline.
        declared: usize,
    },
    /// A buffer bound read-only and read-write in one dispatch.
    #[error("buffer {} is bound for reading and for writing in one dispatch", .0.0)]
    ReadWriteConflict(BufferId),
    /// Two writable bindings of one dispatch share bytes.
    #[error("two writable bindings overlap in buffer {}", .0.0)]
    WriteOverlap(BufferId),
    /// A copy within one buffer, which WebGPU does not allow.
    #[error("copies within buffer {}", .0.0)]
    CopyWithin(BufferId),
    /// The manifest and the schedule disagree.
    #[error("{what}: the manifest says {manifest}, the schedule {schedule}")]
    Disagree {
        /// On what.
        what: &'static str,
        /// The manifest's value.
        manifest: String,
        /// The schedule's value.
        schedule: String,
    },
}
