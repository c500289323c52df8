//! `cargo bench -p qwenc --bench host`: what the processor does, part by part, for decoders of 8, 24 and 48 layers.
//!
//! - `passes`, `lower`, `schedule`: stages of compiling to a plan; the memory plan is in `schedule`.
//! - `record`: evaluating, recording and submitting a decoded token, on lavapipe or on the adapter that QWENC_ADAPTER names.
//!
//! The tokenizer's are in the runtime: `cargo bench -p qwenc-runtime --bench tokenizer`. `cargo xtask growth` draws how these grow.
#![allow(missing_docs, clippy::unwrap_used, reason = "a measurement")]

#[path = "../tests/onnx_builder/mod.rs"]
mod onnx_builder;

use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use onnx_builder::qwen::{SMALL, Sizes, write_decoder, write_embedding};
use qwenc::pipeline::{CompileOptions, Observer, Silent, WeightBytes, analyze, compile};
use qwenc_runtime::bundle::{Bundle, Folder};
use qwenc_runtime::engine::Engine;
use qwenc_runtime::gpu::{ADAPTER_ENV, Gpu, GpuOptions};

const LAYERS: [i64; 3] = [8, 24, 48];

/// The sum of some stages' times.
struct Watch<'a> {
    stages: &'a [&'a str],
    sum: Duration,
}

impl Observer for Watch<'_> {
    fn stage_done(&mut self, name: &'static str, elapsed: Duration) {
        if self.stages.contains(&name) {
            self.sum += elapsed;
        }
    }
}

fn model(layers: i64) -> tempfile::TempDir {
    let sizes = Sizes { layers, ..SMALL };
    let folder = tempfile::tempdir().unwrap();
    write_decoder(folder.path(), sizes);
    write_embedding(folder.path(), sizes);
    folder
}

fn stages(criterion: &mut Criterion) {
    let options = CompileOptions { weight_bytes: WeightBytes::None, ..CompileOptions::default() };
    for (name, stages) in [
        ("passes", ["raise", "fuse"].as_slice()),
        ("lower", &["lower"]),
        ("schedule", &["schedule", "check"]),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for layers in LAYERS {
            let model = model(layers);
            group.throughput(Throughput::Elements(layers.unsigned_abs()));
            group.bench_function(BenchmarkId::from_parameter(layers), |bench| {
                bench.iter_custom(|times| {
                    let mut watch = Watch { stages, sum: Duration::ZERO };
                    for _ in 0..times {
                        analyze(model.path(), &options, &mut watch).unwrap();
                    }
                    watch.sum
                });
            });
        }
        group.finish();
    }
}

fn engine(model: &Path) -> Engine<Gpu> {
    let out = model.join("out");
    let options = CompileOptions { weight_bytes: WeightBytes::MadeUp, ..CompileOptions::default() };
    compile(model, &out, &options, &mut Silent).unwrap();
    let bundle = Bundle::open(Folder::new(&out).unwrap()).unwrap();
    let adapter = std::env::var(ADAPTER_ENV).unwrap_or_else(|_| "llvmpipe".to_owned());
    Engine::load(&bundle, Gpu::open(&GpuOptions::named(&adapter)).unwrap()).unwrap()
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.sample_size(10);
    for layers in LAYERS {
        let folder = model(layers);
        let mut engine = engine(folder.path());
        let names = engine.entry("decode").unwrap().symbols.clone();
        let symbols: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        group.throughput(Throughput::Elements(layers.unsigned_abs()));
        group.bench_function(BenchmarkId::from_parameter(layers), |bench| {
            bench.iter_custom(|times| {
                let mut sum = Duration::ZERO;
                for _ in 0..times {
                    // The device has nothing else to do: only the host's part is counted.
                    engine.backend().wait("bench").unwrap();
                    let start = Instant::now();
                    engine.replay("decode", &symbols).unwrap();
                    sum += start.elapsed();
                }
                sum
            });
        });
        engine.backend().wait("bench").unwrap();
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    stages(&mut criterion);
    record(&mut criterion);
    criterion.final_summary();
}
