//! What mixes positions: rope, attention, convolution and the delta rule on both GPUs, held to the interpreter.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and its numbers are small"
)]

#[path = "../device/mod.rs"]
mod device;

mod attention;
mod attention_segments;
mod conv;
mod delta;
mod rope;
mod snapshots;
