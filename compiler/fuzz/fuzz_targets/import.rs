//! The importer: what it accepts, the verifier accepts.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use qwenc::onnx::{ImportOptions, Model, import};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    qwenc_fuzz::model::mutate_bytes(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::from_bytes("fuzz.onnx", data.to_vec().into()) else { return };
    if let Ok(imported) = import(&model, &ImportOptions::default())
        && let Err(problems) = qwenc_ir::verify(&imported.graph)
    {
        panic!("the importer made an invalid graph: {problems:?}");
    }
});
