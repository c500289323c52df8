//! Other ways to write the same decoder: element types, layouts, interfaces. Each compiles from its folder, takes as few
//! dispatches as the plain one, and meets the logits of Hugging Face transformers on both drivers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod common;

use common::verify::{compiled, default_sizes, verify_files};

/// Dispatches of one decoded token of the tiny model: seven a layer, the embedding and the head.
const DISPATCHES: usize = 30;

/// The norms of a 16-bit export are rounded, which makes it another model with goldens of its own.
const ROUNDED: [(&str, f64); 2] = [("tiny_f16/text", 2e-4), ("tiny_f16/split", 2e-4)];

/// Compiles a tiny export and holds it against goldens.
fn check(dialect: &str, limits: &[(&str, f64)]) {
    let (compiled, files) = compiled(dialect, default_sizes());
    let decode = &compiled.assembled.schedule.entries["decode"];
    assert_eq!(decode.commands.len(), DISPATCHES, "{dialect}");
    verify_files(dialect, &files, limits);
}

#[test]
fn f16_is_computed_in_f32() {
    check("genai_f16", &ROUNDED);
}

#[test]
fn bf16_is_computed_in_f32() {
    check("genai_bf16", &ROUNDED);
}
