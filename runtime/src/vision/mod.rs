//! What the runtime computes for pictures: the tables that entry point `vision` reads for a grid of patches, and the
//! positions that a decoder's rotary embedding takes for text with pictures.
//!
//! A picture is cut into square patches, `h` rows by `w` columns, `t` times (frames; 1 for a picture). Everywhere the
//! patches of a frame stand in *merge-block order*: blocks of `merge_size` x `merge_size` patches row by row, and within a
//! block row by row. The encoder turns each block into one feature row, which replaces one token of the prompt.

mod error;
mod grid;
mod positions;
mod tables;

pub use error::VisionError;
pub use grid::{Grid, pictures_of};
pub use positions::{RopeIndex, rope_index};
pub(crate) use tables::merge_order;
pub use tables::{VisionTables, tables};
