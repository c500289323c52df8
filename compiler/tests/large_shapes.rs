//! The shapes of Qwen3.5-0.8B, 2B and 4B: graphs of these sizes import, reach the fused form and lower within the limits
//! of every WebGPU device. Weights are files of zeros without blocks on disk, and no weight is packed, so that it takes
//! seconds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod onnx_builder;

use std::collections::BTreeMap;

use onnx_builder::qwen::{Sizes, write_decoder, write_embedding};
use qwenc::lower::{LowerOptions, lower};
use qwenc::model::entries::{self, DecoderSizes};
use qwenc::model::files::locate;
use qwenc::model::load::{GivenSizes, load};
use qwenc::model::variant::Variants;
use qwenc::passes::{histogram, run_all};
use qwenc::schedule::{Assembled, EntryPlan, WeightBuffer, assemble, weight_specs};
use qwenc_codegen_wgsl::kernel::limits;
use qwenc_runtime::format::Command;

const SIZES: DecoderSizes = DecoderSizes { max_context: 4096, prefill_chunk: 512 };

/// All three: heads of 256 for attention, of 128 for the delta rule, a vocabulary of 248,320, 262,144 positions.
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

/// Everything up to the schedule, but for the weights' bytes.
fn planned(sizes: Sizes) -> Assembled {
    let dir = tempfile::tempdir().unwrap();
    write_decoder(dir.path(), sizes);
    write_embedding(dir.path(), sizes);
    let files = locate(dir.path(), &Variants::default(), false).unwrap();
    let mut graph = load(&files, &GivenSizes::default(), SIZES).unwrap().graph;
    run_all(&mut graph, &mut |_, _| {}).unwrap();
    let counts = histogram(&graph);
    let layers = usize::try_from(sizes.layers).unwrap();
    assert_eq!(counts["attention"], layers / 4, "{counts:?}");
    assert_eq!(counts["gated_delta"], layers - layers / 4);
    // Four projections a layer and the head: everything pointwise has been fused.
    assert_eq!(counts["linear"], 4 * layers + 1);
    assert_eq!(graph.states().len(), 2 * layers);

    let entries = entries::decoder(&graph, SIZES).unwrap();
    let mut plans = Vec::new();
    for entry in &entries.entries {
        let options = LowerOptions {
            entry: entry.name.to_string(),
            symbols: entries.symbols.clone(),
            max_context: SIZES.max_context,
        };
        let lowered = lower(&entry.graph, &options).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        plans.push(EntryPlan { lowered, constraints: entry.constraints.clone() });
    }
    let weights: BTreeMap<String, WeightBuffer> = weight_specs(&plans)
        .into_iter()
        .enumerate()
        .map(|(index, spec)| {
            let bytes = spec.bytes() as u64;
            (spec.identity(), WeightBuffer { hash: format!("{index:064x}"), bytes, parts: Vec::new() })
        })
        .collect();
    assemble(&plans, &entries.symbols, &weights).unwrap()
}

/// Every binding of every dispatch within what WebGPU guarantees.
fn check(sizes: Sizes) -> Assembled {
    let assembled = planned(sizes);
    let mut dispatches = 0;
    for entry in assembled.schedule.entries.values() {
        for command in &entry.commands {
            let Command::Dispatch(dispatch) = command else { continue };
            dispatches += 1;
            for binding in &dispatch.bindings {
                assert!(
                    binding.bytes <= limits::BINDING_BYTES,
                    "{}: {} bytes",
                    dispatch.label,
                    binding.bytes
                );
            }
        }
    }
    assert!(dispatches > 0);
    assembled
}

#[test]
fn the_shape_of_0_8b_lowers_within_limits() {
    check(SMALL);
}

#[test]
fn the_shape_of_2b_lowers_within_limits() {
    check(TWO_BILLION);
}

#[test]
fn the_shape_of_4b_lowers_within_limits() {
    check(FOUR_BILLION);
}
