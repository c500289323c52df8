//! How running grows.

use std::path::Path;
use std::time::{Duration, Instant};

use qwenc_runtime::bundle::{Bundle, Folder};
use qwenc_runtime::engine::Engine;
use qwenc_runtime::gpu::{ADAPTER_ENV, Gpu, GpuOptions};
use qwenc_runtime::tokenizer::{TOKENIZER_FILE, Tokenizer};

use super::models::Model;
use super::onnx_builder::qwen::{SMALL, Sizes};
use super::series::Panel;

fn engine(bundle: &Path) -> Engine<Gpu> {
    let bundle = Bundle::open(Folder::new(bundle).unwrap()).unwrap();
    let needs = &bundle.manifest().requirements;
    let gpu = Gpu::open(&GpuOptions {
        adapter: std::env::var(ADAPTER_ENV).ok().or_else(|| Some("llvmpipe".to_owned())),
        max_buffer_bytes: needs.max_buffer_bytes,
        max_storage_binding_bytes: needs.max_storage_binding_bytes,
        ..GpuOptions::default()
    });
    Engine::load(&bundle, gpu.unwrap()).unwrap()
}

/// Starts decoding a token behind `past` others. All states are zeros, which takes as long as others.
fn decode(engine: &mut Engine<Gpu>, past: u32) {
    let names = engine.entry("decode").unwrap().symbols.clone();
    let value = |name: &str| if name == "past" { past } else { 1 };
    let symbols: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), value(name))).collect();
    engine.replay("decode", &symbols).unwrap();
}

/// From the submission until the device is done.
pub(crate) fn context(runs: u32) -> Panel {
    const MOST: u32 = 32_768;
    let model = Model::new(Sizes { positions: MOST.into(), ..SMALL });
    let mut engine = engine(&model.bundle(MOST as usize));
    let sizes = [64, 4_096, 8_192, 16_384, 24_576, MOST - 1];
    Panel::measure("tokens of context", &["a step"], &sizes.map(f64::from), runs, |at| {
        let start = Instant::now();
        decode(&mut engine, sizes[at]);
        engine.backend().wait("growth").unwrap();
        vec![start.elapsed()]
    })
}

/// What the host does for a token: evaluating, recording and submitting, while the device has nothing else to do.
pub(crate) fn recording(runs: u32) -> Panel {
    const TIMES: u32 = 16;
    let sizes = [4, 8, 16, 24, 32, 48];
    let mut engines = sizes.map(|layers| engine(&Model::new(Sizes { layers, ..SMALL }).bundle(256)));
    Panel::measure("layers", &["the host's time"], &sizes.map(|layers| layers as f64), runs, |at| {
        let engine = &mut engines[at];
        let mut time = Duration::ZERO;
        for _ in 0..TIMES {
            engine.backend().wait("growth").unwrap();
            let start = Instant::now();
            decode(engine, 8);
            time += start.elapsed();
        }
        engine.backend().wait("growth").unwrap();
        vec![time / TIMES]
    })
}

/// Prose to tokens with Qwen2's whole vocabulary; and a single word of that length, the worst case of pairs to merge.
pub(crate) fn text(runs: u32) -> Panel {
    const PROSE: &str = include_str!("../../../docs/architecture.md");
    let model = Model::with_tokenizer(Sizes { vocabulary: 151_643, hidden: 64, ..SMALL });
    let table = std::fs::read(model.bundle(256).join(TOKENIZER_FILE)).unwrap();
    let tokenizer = Tokenizer::from_bytes(&table).unwrap();
    let sizes = [16_000, 64_000, 128_000, 256_000, 384_000, 512_000];
    let prose =
        sizes.map(|bytes| PROSE.chars().filter(char::is_ascii).cycle().take(bytes).collect::<String>());
    let words = sizes.map(|bytes| "intergovernmental".chars().cycle().take(bytes).collect::<String>());
    let names = ["prose", "one word"];
    Panel::measure("bytes of text", &names, &sizes.map(|bytes| bytes as f64), runs, |at| {
        let time = |text: &str| {
            let start = Instant::now();
            std::hint::black_box(tokenizer.encode(text));
            start.elapsed()
        };
        vec![time(&prose[at]), time(&words[at])]
    })
}
