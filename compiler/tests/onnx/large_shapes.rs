//! The shapes of Qwen3.5-0.8B, 2B, 4B and 9B: graphs of these sizes compile to plans (`--weights none`), without their
//! weights, within the limits of every WebGPU device.

use std::collections::BTreeMap;

use crate::common::bindings_fit;
use crate::onnx_builder::qwen::{Sizes, write_decoder, write_embedding};
use qwenc::pipeline::{CompileOptions, Compiled, Silent, WeightBytes, compile, compile_to};
use qwenc::quantize::{StoreAs, WeightRecipe};
use qwenc_runtime::bundle::{Bundle, Folder};

/// All of them: heads of 256 for attention, of 128 for the delta rule, a vocabulary of 248,320, 262,144 positions.
const SMALL: Sizes = Sizes {
    hidden: 1024,
    inner: 3584,
    layers: 24,
    heads: 8,
    kv_heads: 2,
    head_dim: 256,
    key_heads: 16,
    value_heads: 16,
    delta_dim: 128,
    vocabulary: 248_320,
    positions: 262_144,
};
/// Hidden size and layers are published; the inner size and the heads of attention are assumed.
const TWO_BILLION: Sizes = Sizes { hidden: 2048, inner: 6144, ..SMALL };
/// Hidden size, layers and the delta rule's 8,192 channels are published; the rest is assumed.
const FOUR_BILLION: Sizes =
    Sizes { hidden: 2560, inner: 9216, layers: 32, heads: 16, kv_heads: 4, value_heads: 32, ..SMALL };
/// Hidden size and layers are published; the rest is assumed.
const NINE_BILLION: Sizes = Sizes { hidden: 4096, inner: 12_288, ..FOUR_BILLION };

fn options(store: StoreAs) -> CompileOptions {
    CompileOptions {
        weights: WeightRecipe { default: store, ..WeightRecipe::default() },
        weight_bytes: WeightBytes::None,
        ..CompileOptions::default()
    }
}

fn model(sizes: Sizes) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_decoder(dir.path(), sizes);
    write_embedding(dir.path(), sizes);
    dir
}

/// A plan with 4-bit weights (and a head of its own, which the 0.8B shares with its embedding): as many dispatches as a layer should have, every binding within what WebGPU guarantees.
fn check(sizes: Sizes, weight_megabytes: std::ops::Range<u64>) -> Compiled {
    let compiled =
        compile_to(model(sizes).path(), &mut BTreeMap::new(), &options(StoreAs::Q4), &mut Silent).unwrap();
    let schedule = &compiled.assembled.schedule;
    for entry in schedule.entries.values() {
        bindings_fit(entry);
    }
    let layers = usize::try_from(sizes.layers).unwrap();
    let dispatches = schedule.entries["decode"].commands.len();
    assert!(dispatches <= 7 * layers + 8, "{dispatches} dispatches for {layers} layers");
    assert_eq!(compiled.manifest.states.len(), 2 * layers);
    let memory = compiled.manifest.memory;
    assert!(weight_megabytes.contains(&(memory.weight_bytes >> 20)), "{memory:?}");
    compiled
}

#[test]
fn the_shape_of_0_8b_is_planned_within_limits() {
    let compiled = check(SMALL, 500..600);
    assert!(compiled.manifest.memory.peak_bytes < 750_000_000, "{:?}", compiled.manifest.memory);
}

#[test]
fn the_shape_of_2b_is_planned_within_limits() {
    check(TWO_BILLION, 800..1300);
}

#[test]
fn the_shape_of_4b_is_planned_within_limits() {
    check(FOUR_BILLION, 1900..2700);
}

#[test]
fn the_shape_of_9b_is_planned_within_limits() {
    check(NINE_BILLION, 3500..5200);
}

/// What a plan says is what the bundle would be.
#[test]
fn a_plan_is_the_bundle_without_its_weights() {
    let tiny = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tiny/genai015");
    for store in [StoreAs::Keep, StoreAs::Q4] {
        let dir = tempfile::tempdir().unwrap();
        let planned = compile(&tiny, &dir.path().join("plan"), &options(store), &mut Silent).unwrap();
        let again = compile_to(&tiny, &mut BTreeMap::new(), &options(store), &mut Silent).unwrap();
        assert_eq!(planned.manifest, again.manifest, "the same plan, byte for byte");
        let whole = CompileOptions { weight_bytes: WeightBytes::Model, ..options(store) };
        let whole = compile_to(&tiny, &mut BTreeMap::new(), &whole, &mut Silent).unwrap();
        assert_eq!(planned.manifest.requirements, whole.manifest.requirements);
        let shaders = |compiled: &Compiled| {
            compiled.assembled.shaders.iter().map(|shader| shader.path.clone()).collect::<Vec<_>>()
        };
        assert_eq!(shaders(&planned), shaders(&whole));
        assert_eq!(planned.manifest.quantization, whole.manifest.quantization);
        let commands = |compiled: &Compiled| {
            let entries = compiled.assembled.schedule.entries.iter();
            entries.map(|(name, entry)| (name.clone(), entry.commands.len())).collect::<Vec<_>>()
        };
        assert_eq!(commands(&planned), commands(&whole));
        assert_eq!(planned.manifest.memory.arena_bytes, whole.manifest.memory.arena_bytes);

        let files: Vec<&str> = planned.manifest.files.iter().map(|file| file.path.as_str()).collect();
        assert!(!files.iter().any(|path| path.starts_with("weights/")), "{files:?}");
        let bundle = Bundle::open(Folder::new(&dir.path().join("plan")).unwrap()).unwrap();
        assert!(bundle.manifest().weights_omitted);
    }
}

/// Without the option a file that is not there is an error.
#[test]
fn missing_weights_are_refused_for_a_bundle() {
    let whole = CompileOptions { weight_bytes: WeightBytes::Model, ..options(StoreAs::Keep) };
    let error = compile_to(model(SMALL).path(), &mut BTreeMap::new(), &whole, &mut Silent).unwrap_err();
    assert!(format!("{error:?}").contains("onnx_data"), "{error:?}");
}
