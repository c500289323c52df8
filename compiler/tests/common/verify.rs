//! Compiling a decoder and holding it against goldens.

use std::collections::BTreeMap;

use qwenc::model::entries::DecoderSizes;
use qwenc::pipeline::{CompileOptions, Compiled, Silent, compile_to};
use qwenc_golden::{GoldenFile, Report, VerifyOptions, verify};
use qwenc_runtime::bundle::{Bundle, Memory};
use qwenc_runtime::engine::{Engine, LoadOptions};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::gpu::probe::test_gpus;
use qwenc_runtime::image::Preprocessor;
use qwenc_runtime::session::Session;

use super::{dump_shaders, golden, model};

/// Largest difference of a logit, by golden file. The float32 reference itself is some 1e-5 off its float64 value.
pub const LIMITS: [(&str, f64); 3] = [("text", 2e-4), ("split", 2e-4), ("long", 1e-3)];

/// A tiny export compiled in memory, for text alone.
pub fn compiled(dialect: &str, sizes: DecoderSizes) -> (Compiled, BTreeMap<String, Vec<u8>>) {
    compiled_with(dialect, &CompileOptions { sizes, max_image_patches: 0, ..CompileOptions::default() })
}

/// A variant of a tiny export in a hub folder, compiled in memory, for text alone.
pub fn compiled_variant(dialect: &str, variant: &str) -> (Compiled, BTreeMap<String, Vec<u8>>) {
    compiled_with(
        dialect,
        &CompileOptions {
            variants: variant.parse().unwrap(),
            max_image_patches: 0,
            ..CompileOptions::default()
        },
    )
}

/// A tiny export compiled in memory.
pub fn compiled_with(dialect: &str, options: &CompileOptions) -> (Compiled, BTreeMap<String, Vec<u8>>) {
    let mut files = BTreeMap::new();
    let compiled = compile_to(&model(dialect), &mut files, options, &mut Silent).unwrap();
    dump_shaders(&files);
    (compiled, files)
}

/// The sizes that the command line compiles for.
pub fn default_sizes() -> DecoderSizes {
    CompileOptions::default().sizes
}

/// Sessions with poisoned temporaries. Loading compiles every pipeline, which software drivers take seconds for.
pub fn sessions(files: &BTreeMap<String, Vec<u8>>, gpus: &[Gpu]) -> Vec<Session<Gpu>> {
    let bundle = Bundle::open(Memory { files: files.clone() }).unwrap();
    let load = LoadOptions { poison: true, ..LoadOptions::default() };
    gpus.iter()
        .map(|gpu| {
            Session::new(Engine::load_with(&bundle, gpu.clone(), &load, &mut |_| ()).unwrap()).unwrap()
        })
        .collect()
}

/// One golden run.
pub fn report(session: &mut Session<Gpu>, golden: &GoldenFile, max_abs: f64) -> Report {
    report_with(session, golden, max_abs, None)
}

/// One golden run, whose pictures a processor prepares.
pub fn report_with(
    session: &mut Session<Gpu>,
    golden: &GoldenFile,
    max_abs: f64,
    preprocessor: Option<Preprocessor>,
) -> Report {
    let options = VerifyOptions { max_abs: Some(max_abs), preprocessor, ..VerifyOptions::default() };
    verify(session, golden, &options).unwrap()
}

/// Every golden of the tiny model, on both drivers.
pub fn verify_all(dialect: &str, sizes: DecoderSizes) {
    let (_, files) = compiled(dialect, sizes);
    verify_files(dialect, &files, &LIMITS);
}

/// Golden files within their limits, on both drivers, with the same greedy tokens.
pub fn verify_files(what: &str, files: &BTreeMap<String, Vec<u8>>, limits: &[(&str, f64)]) {
    for session in &mut sessions(files, &test_gpus().unwrap()) {
        for (name, limit) in limits {
            let golden = GoldenFile::read(&golden(name)).unwrap();
            let report = report(session, &golden, *limit);
            assert!(report.passed, "{what}, {name}:\n{report}");
            assert_eq!(report.argmax_agreements, report.positions.len(), "{what}, {name}:\n{report}");
        }
    }
}
