//! Other ways to write the same decoder: element types, layouts, interfaces. Each compiles from its folder, takes as few
//! dispatches as the plain one, and meets the logits of Hugging Face transformers on both drivers.

use crate::common::verify::{compiled, compiled_variant, default_sizes, verify_files};

/// Dispatches of one decoded token of the tiny model: seven a layer, the embedding and the head.
const DISPATCHES: usize = 24;

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

/// What is stored in 16 bits stays so in the bundle. Tables of rope, small vectors, and the embedding beside the f16
/// decoder are f32.
#[test]
fn weights_of_16_bits_stay_16_bits() {
    let bytes = |dialect: &str| compiled(dialect, default_sizes()).0.manifest.memory.weight_bytes;
    let whole = bytes("genai");
    for half in ["genai_f16", "genai_bf16"] {
        assert!(bytes(half) * 4 < whole * 3, "{half}: {} of {whole} bytes", bytes(half));
    }
}

/// The community's interface: states, mask, bias and tail as its exporter writes them. Its norms are f32 in every variant
/// and its weights lie on a 4-bit grid, so that every variant holds the checkpoint exactly.
#[test]
fn the_community_layout_meets_the_goldens() {
    for variant in ["fp32", "fp16", "q8", "q4", "q4f16"] {
        let (compiled, files) = compiled_variant("community", variant);
        let states = compiled.manifest.states.iter().map(|state| state.name.as_str());
        let mut states: Vec<&str> = states.collect();
        states.sort_unstable();
        let mut wanted = vec!["3.key (kv cache)".to_string(), "3.value (kv cache)".to_string()];
        wanted.extend([0, 1, 2].map(|layer| format!("conv.{layer} (window)")));
        wanted.extend([0, 1, 2].map(|layer| format!("recurrent.{layer} (matrix)")));
        assert_eq!(states, wanted);
        let decode = &compiled.assembled.schedule.entries["decode"];
        assert_eq!(decode.commands.len(), DISPATCHES, "{variant}");
        verify_files(variant, &files, &[("split", 2e-4)]);
    }
}

/// Sizes that the other exports do not have: see `ODD` in models/scripts/make_model.py. Three exporters.
#[test]
fn other_heads_widths_and_orders_meet_their_goldens() {
    for dialect in ["odd_genai", "odd_mobius", "odd_torch"] {
        let (compiled, files) = compiled(dialect, default_sizes());
        let decoder = compiled.manifest.model.decoder.as_ref().unwrap();
        assert_eq!((decoder.hidden_size, decoder.vocab_size), (48, 320));
        verify_files(dialect, &files, &[("tiny_odd/split", 1e-4), ("tiny_odd/long", 1e-4)]);
    }
}
