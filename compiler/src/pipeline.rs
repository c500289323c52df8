//! The whole compilation, from a path to a bundle: the table of contents of this crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qwenc_codegen_wgsl::Symbols;
use qwenc_golden::GoldenFile;
use qwenc_ir::Graph;
use qwenc_runtime::format::{
    BASELINE, CPU_KERNELS_FILE, DecoderFacts, FORMAT_VERSION, Manifest, ModelFacts, QuantizationFacts,
    Requirements, Schedule, VisionFacts, memory, validate,
};

use qwenc_runtime::bundle::{SHADERS_FILE, sha256_hex};
use qwenc_runtime::printable::printable;
use qwenc_runtime::session::SAMPLE;
use qwenc_runtime::tokenizer::TOKENIZER_FILE;

use crate::blank::StandIns;
use crate::bundle::{self, BundleError, BundleWriter, FolderSink, Shard, ShardWriter, Sink};
use crate::error::CompileError;
use crate::lower::{LowerError, LowerOptions, WeightSpec, lower, sample};
use crate::model::assets::{self, Asset, AssetError};
use crate::model::config::ModelConfig;
use crate::model::decoder::is_state;
use crate::model::entries::{self, DecoderSizes, Entries, LOGITS};
use crate::model::files::{ModelFiles, locate};
use crate::model::load::{GivenSizes, LoadOptions, Loaded, add_vision, load};
use crate::model::variant::Variants;
use crate::passes::{self, Pass, PassRecord};
use crate::quantize::{Rounding, WeightRecipe, WeightRecord, quantize, stored_weights};
use crate::schedule::{Assembled, EntryPlan, WeightBuffer, assemble, weight_specs};
use crate::vision::limit_to_segments;

/// Characters of a model's name that a bundle keeps.
const MAX_MODEL_NAME: usize = 50;

/// Where a bundle keeps its golden run.
pub const GOLDEN_FILE: &str = "golden.safetensors";

/// What to compile, and for what sizes.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Which files of a hub folder.
    pub variants: Variants,
    /// Keep to the one graph even when it lies in a model's folder.
    pub only: bool,
    /// Sizes that the user gives.
    pub given: GivenSizes,
    /// Positions that a decoder's states hold, and positions of one prefill call.
    pub sizes: DecoderSizes,
    /// A golden file that the bundle carries, so that any device can test itself.
    pub golden: Option<PathBuf>,
    /// A bundle that can talk carries a page and the browser's runtime, when this program has them.
    pub page: bool,
    /// The bundle carries its kernels as WebAssembly too, for browsers without WebGPU.
    pub cpu: bool,
    /// The bundle carries modules for matrix cores, which native devices that have them take: faster with many rows, but what is
    /// multiplied is rounded to 16-bit floats.
    pub cooperative_matrices: bool,
    /// How matrices of floats are stored.
    pub weights: WeightRecipe,
    /// Where the weights' bytes come from.
    pub weight_bytes: WeightBytes,
    /// Patches of images that one replay takes; 0 leaves the vision encoder out.
    pub max_image_patches: u32,
}

/// Where the weights' bytes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightBytes {
    /// The model's files.
    #[default]
    Model,
    /// Nowhere: the bundle is a plan, and the files need not be there.
    None,
    /// Made up where the files are not there, and where matrices are to be rounded: the bundle runs as fast as the model
    /// would, and says nothing.
    MadeUp,
}

impl WeightBytes {
    const fn stand_ins(self) -> Option<StandIns> {
        match self {
            Self::Model => None,
            Self::None => Some(StandIns::Plan),
            Self::MadeUp => Some(StandIns::Filled),
        }
    }
}

/// Patches that one replay takes where nothing else is said: 1,024 image tokens where 2 x 2 patches make one.
pub const DEFAULT_IMAGE_PATCHES: u32 = 4096;

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            variants: Variants::default(),
            only: false,
            given: GivenSizes::default(),
            sizes: DecoderSizes { max_context: 4096, prefill_chunk: 512 },
            golden: None,
            page: false,
            cpu: false,
            cooperative_matrices: false,
            weights: WeightRecipe::default(),
            weight_bytes: WeightBytes::Model,
            max_image_patches: DEFAULT_IMAGE_PATCHES,
        }
    }
}

impl CompileOptions {
    fn load(&self) -> LoadOptions {
        LoadOptions { given: self.given.clone(), sizes: self.sizes, stand_ins: self.weight_bytes.stand_ins() }
    }
}

/// What happens during a compilation, for progress display, `inspect` and `--emit`.
pub trait Observer {
    /// A stage begins.
    fn stage(&mut self, _name: &'static str) {}
    /// A stage is over.
    fn stage_done(&mut self, _name: &'static str, _elapsed: Duration) {}
    /// Which files make up the model.
    fn located(&mut self, _files: &ModelFiles) {}
    /// The graph as imported.
    fn imported(&mut self, _graph: &Graph) {}
    /// A pass has run.
    fn pass(&mut self, _record: &PassRecord, _graph: &Graph) {}
    /// An entry point has been lowered.
    fn lowered(&mut self, _entry: &EntryPlan) {}
    /// How far the stage is, in bytes: of weights rounded, or of weights packed.
    fn progress(&mut self, _done: u64, _total: u64) {}
}

/// Observes nothing.
pub struct Silent;

impl Observer for Silent {}

/// A compiled model, before or after writing.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The schedule with its shaders.
    pub assembled: Assembled,
    /// The manifest; its list of files is complete once the bundle is written.
    pub manifest: Manifest,
    /// What was done with each matrix of floats, when the recipe changes any.
    pub weights: Vec<WeightRecord>,
    /// What was done to the model beyond reading it, for people.
    pub notes: Vec<String>,
}

/// Compiles the model at `input` and writes the bundle to `output`.
pub fn compile(
    input: &Path,
    output: &Path,
    options: &CompileOptions,
    observer: &mut dyn Observer,
) -> Result<Compiled, CompileError> {
    let mut folder = FolderSink::create(output)?;
    let compiled = compile_to(input, &mut folder, options, observer)?;
    folder.publish()?;
    Ok(compiled)
}

/// Compiles without keeping the bundle: what `inspect` shows of a model.
pub fn analyze(
    input: &Path,
    options: &CompileOptions,
    observer: &mut dyn Observer,
) -> Result<Compiled, CompileError> {
    struct Nowhere;
    impl Sink for Nowhere {
        fn put(&mut self, _path: &str, _bytes: &[u8]) -> Result<(), BundleError> {
            Ok(())
        }
    }
    compile_to(input, &mut Nowhere, options, observer)
}

/// Compiles the model at `input` into a sink.
pub fn compile_to(
    input: &Path,
    sink: &mut dyn Sink,
    options: &CompileOptions,
    observer: &mut dyn Observer,
) -> Result<Compiled, CompileError> {
    let files = locate(input, &options.variants, options.only)?;
    observer.located(&files);
    let mut loaded = timed(observer, "import", |_| load(&files, &options.load()))?;
    if let Some(path) = &options.golden {
        loaded.assets.push(golden(path)?);
    }
    observer.imported(&loaded.graph);
    let raising = if loaded.is_decoder { passes::raising().to_vec() } else { passes::raising_stateless() };
    timed(observer, "raise", |observer| run_passes(&raising, &mut loaded.graph, observer))?;
    let rounding = options.weight_bytes.stand_ins().map_or(Rounding::Round, Rounding::Plan);
    let records = timed(observer, "quantize", |observer| {
        Ok(quantize(&mut loaded.graph, &options.weights, rounding, &mut |done, total| {
            observer.progress(done, total);
        })?)
    })?;
    timed(observer, "fuse", |observer| run_passes(passes::fusing(), &mut loaded.graph, observer))?;
    let mut records = records;
    if options.max_image_patches > 0 {
        records.extend(timed(observer, "vision", |observer| see(&files, &mut loaded, options, observer))?);
    }
    let entries = timed(observer, "entry points", |_| cut(&loaded, options))?;
    emit(&loaded, &entries, records, sink, options, observer)
}

/// Compiles a graph as it is, without passes, to the one entry point `main`. Operator tests use this.
pub fn compile_graph(graph: &Graph, symbols: Symbols, sink: &mut dyn Sink) -> Result<Compiled, CompileError> {
    compile_bare(graph, &entries::main_entry(graph, symbols), sink)
}

/// Compiles the entry point `sample` alone, whose input `logits` then is the host's. Tests of sampling use this.
pub fn compile_sampler(vocabulary: u32, sink: &mut dyn Sink) -> Result<Compiled, CompileError> {
    let entries = Entries { entries: Vec::new(), symbols: Symbols::default(), sampled: Some(vocabulary) };
    compile_bare(&Graph::new("sampler"), &entries, sink)
}

/// Compiles entry points that belong to no model.
fn compile_bare(graph: &Graph, entries: &Entries, sink: &mut dyn Sink) -> Result<Compiled, CompileError> {
    let loaded = Loaded {
        graph: graph.clone(),
        config: ModelConfig::default(),
        is_decoder: false,
        vision: None,
        symbols: entries.symbols.clone(),
        name: graph.name().to_string(),
        assets: Vec::new(),
        notes: Vec::new(),
    };
    emit(&loaded, entries, Vec::new(), sink, &CompileOptions::default(), &mut Silent)
}

/// Reads the vision encoder, if there is one, and raises and fuses it as the decoder.
fn see(
    files: &ModelFiles,
    loaded: &mut Loaded,
    options: &CompileOptions,
    observer: &mut dyn Observer,
) -> Result<Vec<WeightRecord>, CompileError> {
    add_vision(files, loaded, &options.load(), options.max_image_patches)?;
    let (Some(vision), ModelFiles::Decoder { vision: Some(file), .. }) = (&mut loaded.vision, files) else {
        return Ok(Vec::new());
    };
    observer.imported(&vision.graph);
    run_passes(&passes::raising_stateless(), &mut vision.graph, observer)?;
    limit_to_segments(&mut vision.graph)
        .map_err(|cause| CompileError::Vision { file: file.clone(), cause: Box::new(cause) })?;
    let rounding = options.weight_bytes.stand_ins().map_or(Rounding::Round, Rounding::Plan);
    let records = quantize(&mut vision.graph, &options.weights, rounding, &mut |done, total| {
        observer.progress(done, total);
    })?;
    run_passes(passes::fusing(), &mut vision.graph, observer)?;
    Ok(records)
}

fn run_passes(passes: &[Pass], graph: &mut Graph, observer: &mut dyn Observer) -> Result<(), CompileError> {
    Ok(passes::run_passes(passes, graph, &mut |record, graph| observer.pass(record, graph))?)
}

/// A golden file to carry along. It is checked now, not when someone needs it.
fn golden(path: &Path) -> Result<Asset, CompileError> {
    GoldenFile::read(path)?;
    let missing = || AssetError { file: path.display().to_string(), message: "does not exist".into() };
    let bytes = assets::read_plain(path)?.ok_or_else(missing)?;
    Ok(Asset { path: GOLDEN_FILE.to_string(), bytes })
}

/// From entry points to files.
fn emit(
    loaded: &Loaded,
    entries: &Entries,
    weights: Vec<WeightRecord>,
    sink: &mut dyn Sink,
    options: &CompileOptions,
    observer: &mut dyn Observer,
) -> Result<Compiled, CompileError> {
    let plans = timed(observer, "lower", |observer| lower_all(entries, options, observer))?;
    let mut writer = BundleWriter::new(sink);
    let packed = timed(observer, "pack weights", |observer| {
        if options.weight_bytes == WeightBytes::None {
            return Ok(planned_weights(&plans));
        }
        pack_all(&plans, observer, &mut |shard| Ok(writer.write(&shard.path, &shard.bytes)?))
    })?;
    let assembled = timed(observer, "schedule", |_| {
        assemble(&plans, &entries.symbols, &packed, options.cooperative_matrices)
            .map_err(|source| lower_error("schedule", source))
    })?;
    let manifest = timed(observer, "write", |_| {
        for shader in &assembled.shaders {
            writer.write(&shader.path, shader.source.as_bytes())?;
        }
        writer.write(SHADERS_FILE, assembled.shaders_together().as_bytes())?;
        let page = page(loaded, options);
        for asset in loaded.assets.iter().filter(|asset| !page.is_empty() || !asset.path.starts_with("web/"))
        {
            writer.write(&asset.path, &asset.bytes)?;
        }
        for (path, bytes) in page {
            writer.write(path, bytes)?;
        }
        if options.cpu {
            writer.write(CPU_KERNELS_FILE, &bundle::cpu::kernels(&assembled)?)?;
        }
        Ok(writer.finish(&assembled.schedule, manifest(loaded, &assembled, &weights, options))?)
    })?;
    timed(observer, "check", |_| {
        validate(&manifest, &assembled.schedule).map_err(|error| CompileError::Invalid(error.to_string()))
    })?;
    Ok(Compiled { assembled, manifest, weights, notes: loaded.notes.clone() })
}

/// The variants of shaders that a schedule names.
fn variants(schedule: &Schedule) -> Vec<String> {
    let mut names = vec![BASELINE.to_string()];
    for variant in schedule.pipelines.iter().flat_map(|pipeline| &pipeline.variants) {
        if !names.contains(&variant.name) {
            names.push(variant.name.clone());
        }
    }
    names
}

/// The page's files, for a model that it can talk with.
fn page(loaded: &Loaded, options: &CompileOptions) -> &'static [(&'static str, &'static [u8])] {
    let talks = loaded.is_decoder && loaded.assets.iter().any(|asset| asset.path == TOKENIZER_FILE);
    if options.page && talks && options.weight_bytes != WeightBytes::None {
        bundle::web::files()
    } else {
        &[]
    }
}

fn timed<T>(
    observer: &mut dyn Observer,
    name: &'static str,
    run: impl FnOnce(&mut dyn Observer) -> Result<T, CompileError>,
) -> Result<T, CompileError> {
    observer.stage(name);
    let start = Instant::now();
    let out = run(observer)?;
    observer.stage_done(name, start.elapsed());
    Ok(out)
}

fn lower_error(entry: &str, source: LowerError) -> CompileError {
    CompileError::Lower { entry: entry.to_string(), cause: source }
}

/// Cuts the graph into entry points. A decoder is a graph with states and logits.
fn cut(loaded: &Loaded, options: &CompileOptions) -> Result<Entries, CompileError> {
    if !loaded.is_decoder {
        return Ok(entries::main_entry(&loaded.graph, loaded.symbols.clone()));
    }
    // A state that no output replaces would silently be forgotten between calls.
    let graph = &loaded.graph;
    let paired = |input: &qwenc_ir::ValueId| graph.states().iter().any(|state| state.past == *input);
    let unpaired = graph.inputs().iter().find(|input| is_state(&graph.value(**input).name) && !paired(input));
    if let Some(input) = unpaired {
        let name = &graph.value(*input).name;
        let message = format!(
            "input `{name}` is a state, but no output that replaces it was found (`qwenc inspect --why states`)"
        );
        return Err(lower_error("decoder", LowerError::graph(message)));
    }
    let mut entries = entries::decoder(graph, options.sizes)
        .map_err(|error| lower_error("decoder", LowerError::graph(error.to_string())))?;
    if let (Some(vision), Some(config)) = (&loaded.vision, loaded.config.vision) {
        entries
            .add_vision(vision, config.merge_size, options.max_image_patches)
            .map_err(|error| lower_error("prefill", LowerError::graph(error.to_string())))?;
    }
    Ok(entries)
}

fn lower_all(
    entries: &Entries,
    options: &CompileOptions,
    observer: &mut dyn Observer,
) -> Result<Vec<EntryPlan>, CompileError> {
    let mut plans = Vec::new();
    for entry in &entries.entries {
        let lower_options = LowerOptions {
            entry: entry.name.to_string(),
            symbols: entries.symbols.clone(),
            max_context: options.sizes.max_context,
        };
        let lowered =
            lower(&entry.graph, &lower_options).map_err(|source| lower_error(entry.name, source))?;
        let plan = EntryPlan { lowered, constraints: entry.constraints.clone() };
        observer.lowered(&plan);
        plans.push(plan);
    }
    if let Some(vocabulary) = entries.sampled {
        let lowered = sample(vocabulary, &entries.symbols).map_err(|source| lower_error(SAMPLE, source))?;
        let plan = EntryPlan { lowered, constraints: Vec::new() };
        observer.lowered(&plan);
        plans.push(plan);
    }
    Ok(plans)
}

fn pack_all(
    plans: &[EntryPlan],
    observer: &mut dyn Observer,
    emit: &mut dyn FnMut(Shard) -> Result<(), CompileError>,
) -> Result<BTreeMap<String, WeightBuffer>, CompileError> {
    let specs = weight_specs(plans);
    let mut writer = ShardWriter::new();
    let bytes = |spec: &WeightSpec| spec.bytes() as u64;
    let total = specs.iter().map(|spec| bytes(spec)).sum();
    let mut done = 0;
    for spec in specs {
        writer.add(spec, emit)?;
        done += bytes(spec);
        observer.progress(done, total);
    }
    writer.finish(emit)
}

/// The weights as a plan knows them: sizes, but no content. Without content none is found equal to another one.
fn planned_weights(plans: &[EntryPlan]) -> BTreeMap<String, WeightBuffer> {
    let planned = |(index, spec): (usize, &WeightSpec)| {
        // A name that is the same at every compilation, which addresses in `identity` are not.
        let hash = sha256_hex(format!("planned weight {index}").as_bytes());
        (spec.identity(), WeightBuffer { hash, bytes: spec.bytes() as u64, parts: Vec::new() })
    };
    weight_specs(plans).into_iter().enumerate().map(planned).collect()
}

/// The model's name in the manifest: a graph may have none, and a file any.
fn model_name(name: &str) -> String {
    let shown = printable(name, MAX_MODEL_NAME);
    if shown.is_empty() { "graph".to_string() } else { shown }
}

fn manifest(
    loaded: &Loaded,
    assembled: &Assembled,
    weights: &[WeightRecord],
    options: &CompileOptions,
) -> Manifest {
    let schedule = &assembled.schedule;
    let decoder = loaded.is_decoder.then(|| decoder_facts(loaded, options));
    let bindings = |dispatch: &qwenc_runtime::format::Dispatch| dispatch.bindings.len().saturating_sub(1);
    let dispatches = || {
        schedule.entries.values().flat_map(|entry| &entry.commands).filter_map(|command| match command {
            qwenc_runtime::format::Command::Dispatch(dispatch) => Some(dispatch),
            _ => None,
        })
    };
    let largest_binding =
        dispatches().flat_map(|dispatch| &dispatch.bindings).map(|binding| binding.bytes).max();
    Manifest {
        format: FORMAT_VERSION,
        generator: concat!("qwenc ", env!("CARGO_PKG_VERSION")).to_string(),
        model: ModelFacts { name: model_name(&loaded.name), decoder, vision: vision_facts(loaded, options) },
        licence: loaded.config.licence.clone(),
        entries: schedule.entries.keys().cloned().collect(),
        states: assembled.states.clone(),
        requirements: Requirements {
            max_storage_buffers_per_stage: dispatches()
                .map(bindings)
                .max()
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0),
            max_storage_binding_bytes: largest_binding.unwrap_or(0),
            max_buffer_bytes: schedule.buffers.iter().map(|buffer| buffer.bytes).max().unwrap_or(0),
            max_workgroup_bytes: qwenc_codegen_wgsl::kernel::limits::WORKGROUP_BYTES,
            max_invocations: schedule
                .pipelines
                .iter()
                .map(|pipeline| pipeline.workgroup_size.iter().product())
                .max()
                .unwrap_or(0),
        },
        features: Vec::new(),
        memory: memory(schedule).unwrap_or_default(),
        quantization: QuantizationFacts {
            recipe: options.weights.to_string(),
            weights: loaded.vision.iter().fold(stored_weights(&loaded.graph, weights), |mut all, vision| {
                all.extend(stored_weights(&vision.graph, weights));
                all
            }),
        },
        variants: variants(&assembled.schedule),
        weights_omitted: options.weight_bytes == WeightBytes::None,
        files: Vec::new(),
    }
}

/// The number of layers of a decoder without configuration: each has two states, keys and values, or the window of a
/// convolution and a matrix.
fn layers_by_states(graph: &Graph) -> u32 {
    let states = graph.inputs().iter().filter(|input| is_state(&graph.value(**input).name)).count();
    u32::try_from(states / 2).unwrap_or(u32::MAX)
}

/// What a session must know to feed the entry point `vision`.
fn vision_facts(loaded: &Loaded, options: &CompileOptions) -> Option<VisionFacts> {
    let (vision, config) = (loaded.vision.as_ref()?, loaded.config.vision?);
    let block = config.merge_size * config.merge_size;
    Some(VisionFacts {
        // As many as make whole image tokens.
        max_patches: (options.max_image_patches / block).max(1) * block,
        patch_values: vision.patch_values,
        feature_size: vision.feature_size,
        merge_size: config.merge_size,
        position_side: vision.position_side,
        max_side: vision.max_side,
        image_token: config.image_token,
        vision_start: config.vision_start,
        vision_end: config.vision_end,
    })
}

fn decoder_facts(loaded: &Loaded, options: &CompileOptions) -> DecoderFacts {
    let graph = &loaded.graph;
    let last = |value: qwenc_ir::ValueId| {
        graph
            .value(value)
            .ty
            .shape
            .last()
            .and_then(qwenc_ir::Dim::as_usize)
            .and_then(|n| u32::try_from(n).ok())
    };
    let logits = graph.outputs().iter().find(|(name, _)| name == LOGITS).map(|(_, value)| *value);
    let hidden = logits
        .and_then(|logits| graph.producer(logits))
        .and_then(|(node, _)| graph.node_input(node, 0))
        .and_then(last);
    let size = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    DecoderFacts {
        vocab_size: logits.and_then(last).unwrap_or(0),
        layers: loaded.config.layers.unwrap_or_else(|| layers_by_states(graph)),
        hidden_size: hidden.unwrap_or(0),
        max_context: size(options.sizes.max_context),
        prefill_chunk: size(options.sizes.prefill_chunk),
    }
}
