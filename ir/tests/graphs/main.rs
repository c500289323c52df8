//! Whole graphs: the verifier, the text form, and random graphs that hold the parts of the crate against each other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod parse_errors;
mod random;
mod text;
mod verify;
