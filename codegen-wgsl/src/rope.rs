//! Rotary position embedding as a kernel of its own, and the description of angles that
//! [`crate::attention_prep`] shares.

use crate::kernel::{CodegenError, Kernel, Symbols};
use crate::view::View;

/// Where the rotation angles come from. R is the number of rotated elements of a head.
#[derive(Clone, Debug, PartialEq)]
pub enum Angles {
    /// One row of cosines and sines a position.
    Direct {
        /// `[S, R/2]` f32.
        cos: View,
        /// `[S, R/2]` f32.
        sin: View,
    },
    /// Rows of a table, chosen by position.
    Table {
        /// `[M, R]` f32; row p is `cos(p, 0..R/2)`, then `sin(p, 0..R/2)`. Positions outside of it use the last row.
        table: View,
        /// `[A, S]` i32.
        positions: View,
        /// For every frequency slot (R/2 of them) the row of `positions` that it reads.
        axes: Vec<u8>,
    },
}

/// A rotation: how many elements of a head, which of them pair up, by which angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// R: leading elements of a head that are rotated; even, at most D.
    pub rotary_dim: usize,
    /// Pairs are neighbours (2i, 2i+1) instead of halves (i, i+R/2).
    pub interleaved: bool,
    /// The angles.
    pub angles: Angles,
}

/// Parameters of [`kernel`].
#[derive(Clone, Debug, PartialEq)]
pub struct RopeParams {
    /// `[S, H, D]` f32 in any layout; H and D are constants.
    pub input: View,
    /// The rotation.
    pub rotation: Rotation,
    /// `[S, H, D]`; may be the input itself.
    pub output: View,
}

/// Rotates the leading elements of every head and copies the rest.
pub fn kernel(_symbols: &Symbols, _params: &RopeParams) -> Result<Kernel, CodegenError> {
    Err(CodegenError::Unsupported { family: "rope", message: "not generated yet".into() })
}
