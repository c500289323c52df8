//! Quantized decoders: those that come quantized, and those that are quantized here. Weights stay codes in the bundle, and
//! since activations stay floats, the logits are those of the float model whose weights lie on the 4-bit grid.

use std::collections::BTreeMap;

use crate::common::verify::{LIMITS, compiled, compiled_with, default_sizes, verify_files};
use qwenc::pipeline::{CompileOptions, Compiled};
use qwenc::quantize::{StoreAs, WeightRecipe};

/// A 16-bit export rounds norms, see `decoder_dialects.rs`.
const ROUNDED: [(&str, f64); 2] = [("tiny_f16/text", 2e-4), ("tiny_f16/split", 2e-4)];

/// Numbers of matrices by format.
fn formats(compiled: &Compiled) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for weight in &compiled.manifest.quantization.weights {
        *counts.entry(weight.format.as_str()).or_insert(0) += 1;
    }
    counts
}

fn dispatches(compiled: &Compiled) -> usize {
    compiled.assembled.schedule.entries["decode"].commands.len()
}

/// Bytes of the decoder's matrices, without the embedding, if they were floats.
const FLOATS: u64 = 4 * (261_888 - 32_768);

#[test]
fn int4_with_int8_activations_permitted() {
    let (compiled, files) = compiled("genai015_int4", default_sizes());
    assert_eq!(formats(&compiled), BTreeMap::from([("f32", 1), ("q4 block 32", 32)]));
    assert_eq!(dispatches(&compiled), 24);
    // The exporter has quantized the angles of rope as well; they are computed instead.
    assert_eq!(compiled.notes.len(), 2, "{:?}", compiled.notes);
    assert!(compiled.manifest.memory.weight_bytes < FLOATS / 2);
    verify_files("genai015_int4", &files, &ROUNDED);
}

#[test]
fn int4_with_projections_of_gates_in_floats() {
    let (compiled, files) = compiled("genai_int4", default_sizes());
    assert_eq!(formats(&compiled), BTreeMap::from([("f32", 7), ("q4 block 32", 24)]));
    // Two kinds of weights beside each other in three layers are three dispatches more.
    assert_eq!(dispatches(&compiled), 30);
    assert!(compiled.manifest.memory.weight_bytes < FLOATS / 2);
    verify_files("genai_int4", &files, &LIMITS);
}

#[test]
fn standard_operators_with_4_bit_weights_and_embedding() {
    let (compiled, files) = compiled("torch_q4", default_sizes());
    assert_eq!(formats(&compiled), BTreeMap::from([("q4 block 32", 33)]));
    assert_eq!(dispatches(&compiled), 24);
    assert!(compiled.manifest.memory.weight_bytes < FLOATS / 2);
    verify_files("torch_q4", &files, &LIMITS);
}

fn quantized(weights: WeightRecipe) -> (Compiled, BTreeMap<String, Vec<u8>>) {
    compiled_with("genai015", &CompileOptions { weights, max_image_patches: 0, ..CompileOptions::default() })
}

#[test]
fn rounding_to_4_bits_finds_the_grid() {
    let (compiled, files) = quantized(WeightRecipe { default: StoreAs::Q4, keep: Vec::new() });
    assert_eq!(formats(&compiled), BTreeMap::from([("q4 block 32", 33)]));
    assert_eq!(compiled.manifest.quantization.recipe, "q4");
    assert!(compiled.manifest.quantization.weights.iter().all(|weight| weight.converted));
    assert_eq!(dispatches(&compiled), 24);
    for record in &compiled.weights {
        assert_eq!(record.error.unwrap().relative, 0.0, "{}", record.name);
    }
    let (floats, _) = crate::common::verify::compiled("genai015", default_sizes());
    let memory = |compiled: &Compiled| compiled.manifest.memory.weight_bytes;
    assert!(memory(&compiled) * 3 < memory(&floats), "{} of {}", memory(&compiled), memory(&floats));
    verify_files("genai015 --quant q4", &files, &LIMITS);
}

#[test]
fn formats_mix_by_name() {
    // All of these hold the weights of this model exactly. 8 bits do not: that its codes are read right is the kernels' test.
    let keep = ["f16:lm_head", "f16:embed", "f32:*down_proj*", "keep:*o_proj*"];
    let keep = keep.iter().map(|text| text.parse().unwrap()).collect();
    let (compiled, files) = quantized(WeightRecipe { default: StoreAs::Q4, keep });
    assert_eq!(formats(&compiled), BTreeMap::from([("f16", 2), ("f32", 5), ("q4 block 32", 26)]));
    let recipe = "q4 f16:lm_head f16:embed f32:*down_proj* keep:*o_proj*";
    assert_eq!(compiled.manifest.quantization.recipe, recipe);
    verify_files("genai015 in several formats", &files, &[LIMITS[0]]);
}
