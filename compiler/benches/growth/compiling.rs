//! How compiling grows.

use std::time::{Duration, Instant};

use qwenc::pipeline::{CompileOptions, Observer, WeightBytes, compile};
use qwenc::quantize::StoreAs;

use super::models::{Model, options};
use super::onnx_builder::qwen::{SMALL, Sizes};
use super::series::Panel;

/// Times of stages.
#[derive(Default)]
struct Stages(Vec<(&'static str, Duration)>);

impl Observer for Stages {
    fn stage_done(&mut self, name: &'static str, elapsed: Duration) {
        self.0.push((name, elapsed));
    }
}

impl Stages {
    fn of(&self, names: &[&str]) -> Duration {
        self.0.iter().filter(|(name, _)| names.contains(name)).map(|(_, time)| *time).sum()
    }
}

/// Compiles to a folder that goes away; the stages, and the whole.
fn time(model: &Model, options: &CompileOptions) -> (Stages, Duration) {
    let out = tempfile::tempdir().unwrap();
    let mut stages = Stages::default();
    let start = Instant::now();
    compile(model.path(), &out.path().join("out"), options, &mut stages).unwrap();
    (stages, start.elapsed())
}

/// Plans, whose weights cost nothing: import, passes, kernels and memory.
pub(crate) fn layers(runs: u32) -> Panel {
    let sizes = [4, 16, 32, 64, 96, 128];
    let models = sizes.map(|layers| Model::new(Sizes { layers, ..SMALL }));
    let options = options(StoreAs::Q4, WeightBytes::None);
    let names = ["all", "import", "passes", "lowering to WGSL", "memory plan and schedule"];
    Panel::measure("layers", &names, &sizes.map(|layers| layers as f64), runs, |at| {
        let (stages, all) = time(&models[at], &options);
        let parts = [vec!["import"], vec!["raise", "fuse"], vec!["lower"], vec!["schedule", "check"]];
        std::iter::once(all).chain(parts.iter().map(|names| stages.of(names))).collect()
    })
}

/// With a tokenizer of as many tokens, and a matrix in and one out with a row for each.
pub(crate) fn vocabulary(runs: u32) -> Panel {
    let sizes = [4_096, 16_384, 32_768, 65_536, 98_304, 151_643];
    let models = sizes.map(|vocabulary| Model::with_tokenizer(Sizes { vocabulary, hidden: 64, ..SMALL }));
    let options = options(StoreAs::Q4, WeightBytes::MadeUp);
    let names = ["all", "import, with the tokenizer"];
    Panel::measure("tokens in the vocabulary", &names, &sizes.map(|it| it as f64), runs, |at| {
        let (stages, all) = time(&models[at], &options);
        vec![all, stages.of(&["import"])]
    })
}

/// Weights that are read, rounded where that is asked for, packed and hashed.
pub(crate) fn file_size(runs: u32) -> Panel {
    let width = |hidden| Sizes { hidden, inner: hidden * 3, layers: 8, ..SMALL };
    let models = [128, 384, 768, 1024, 1280].map(|hidden| Model::with_weights(width(hidden)));
    let sizes = models.each_ref().map(|model| (model.bytes() as f64 / 1e6).round());
    let names = ["as it is", "to 4 bits"];
    Panel::measure("megabytes of weights in 16 bits", &names, &sizes, runs, |at| {
        let time = |store| time(&models[at], &options(store, WeightBytes::Model)).1;
        vec![time(StoreAs::Keep), time(StoreAs::Q4)]
    })
}
