//! Everything behind the importer: passes, lowering, shaders, memory plan. What compiles is what the runtime accepts,
//! and no pass breaks a graph.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use qwenc::error::CompileError;
use qwenc::onnx::{ImportOptions, Model, import};
use qwenc_codegen_wgsl::Symbols;

/// Weights of more bytes say nothing new.
const MAX_CONSTANTS: usize = 1 << 20;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    qwenc_fuzz::model::mutate_bytes(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::from_bytes("fuzz.onnx", data.to_vec().into()) else { return };
    let Ok(imported) = import(&model, &ImportOptions::default()) else { return };
    let mut graph = imported.graph;
    let constants = graph.values().filter_map(|value| graph.constant(value));
    if constants.map(|tensor| tensor.bytes().len()).sum::<usize>() > MAX_CONSTANTS {
        return;
    }
    if let Err(error) = qwenc::passes::run_all(&mut graph, &mut |_, _| ()) {
        panic!("{error}");
    }
    let mut used = BTreeSet::new();
    for value in graph.values() {
        graph.value(value).ty.shape.iter().for_each(|dim| dim.collect_symbols(&mut used));
    }
    let symbols = Symbols::new(used.into_iter().map(|name| (name, (0, 512))));
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    match qwenc::pipeline::compile_graph(&graph, symbols, &mut files) {
        Ok(_) => {
            let memory = qwenc_runtime::bundle::Memory { files };
            if let Err(error) = qwenc_runtime::bundle::Bundle::open(memory) {
                panic!("the runtime refuses what was compiled: {error}");
            }
        }
        Err(error @ CompileError::Invalid(_)) => panic!("{error}"),
        Err(error) => assert!(!error.to_string().contains("generated WGSL is not valid"), "{error}"),
    }
});
