//! From files to one graph.

use std::path::Path;

use qwenc_codegen_wgsl::Symbols;
use qwenc_ir::{Graph, Ranges};

use super::assets::{self, Asset};
use super::config::ModelConfig;
use super::decoder::{self, DecoderError};
use super::entries::{DecoderSizes, PAST, TOKENS};
use super::files::ModelFiles;
use super::transform::join;
use super::{rope_tables, single};
use crate::blank::StandIns;
use crate::error::CompileError;
use crate::onnx::{ImportOptions, Model, import};
use crate::passes::tabulate_rope;
use crate::tokenizer;
use crate::vision::{self, Vision, VisionError};

/// A model as one graph.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The graph as imported, embedding and decoder joined.
    pub graph: Graph,
    /// Facts from files beside it.
    pub config: ModelConfig,
    /// The graph is a decoder's, to be cut into `prefill`, `head` and `decode`.
    pub is_decoder: bool,
    /// The vision encoder, to become the entry point `vision`.
    pub vision: Option<Vision>,
    /// Symbols of a plain graph with their bounds.
    pub symbols: Symbols,
    /// A name for people: the model's family or the file's stem.
    pub name: String,
    /// Files that the bundle carries along.
    pub assets: Vec<Asset>,
    /// What was done to the model beyond reading it, for people.
    pub notes: Vec<String>,
}

/// How a model is read.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Sizes that the user gives.
    pub given: GivenSizes,
    /// Positions that a decoder's states hold, and positions of one prefill call.
    pub sizes: DecoderSizes,
    /// What stands in for external data that does not exist; without it that is an error.
    pub stand_ins: Option<StandIns>,
}

/// Sizes that the user gives.
#[derive(Clone, Debug, Default)]
pub struct GivenSizes {
    /// Fixed sizes, by the name that the model has for them.
    pub fixed: Vec<(String, i64)>,
    /// Upper bounds of sizes that stay dynamic.
    pub bounds: Vec<(String, i64)>,
}

impl LoadOptions {
    /// A model as these options want it read.
    pub(super) fn adjust(&self, model: Model) -> Model {
        match self.stand_ins {
            Some(stand_ins) => model.with_stand_ins(stand_ins),
            None => model,
        }
    }
}

/// Reads and imports a model.
pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<Loaded, CompileError> {
    match files {
        ModelFiles::Single(path) => single::load(path, options),
        ModelFiles::Decoder { root, decoder, embedding, .. } => {
            let config = ModelConfig::read(root)?;
            let mut graph = import_decoder(root, decoder, &config, options)?;
            if let Some(embedding) = embedding {
                let embed = import_decoder(root, embedding, &config, options)?;
                graph = join(&embed, &graph, &[("inputs_embeds", "inputs_embeds")]).map_err(|error| {
                    CompileError::Decoder {
                        file: decoder.clone(),
                        cause: DecoderError::Join(error.to_string()),
                    }
                })?;
            }
            let restored = config.rope.map(|rope| rope_tables::restore(&mut graph, rope)).unwrap_or_default();
            let notes = restored.iter().map(|name| {
                format!("`{name}` holds rotation angles that the exporter has quantized; they are computed exactly instead")
            });
            let mut notes: Vec<String> = notes.collect();
            tabulate_rope(&mut graph, options.sizes.max_context).map_err(|cause| CompileError::Decoder {
                file: decoder.clone(),
                cause: DecoderError::Angles(cause.to_string()),
            })?;
            let name = config.model_type.clone().unwrap_or_else(|| "decoder".to_string());
            let mut assets = assets::read(root)?;
            assets.extend(assets::examples(root)?);
            match tokenizer::compile(root)? {
                tokenizer::Outcome::Table(table) => assets.push(table),
                tokenizer::Outcome::None => {}
                tokenizer::Outcome::Unsupported(error) => {
                    notes.push(format!("the bundle has no tokenizer, and generates no text: {error}"))
                }
            }
            Ok(Loaded {
                graph,
                config,
                is_decoder: true,
                vision: None,
                symbols: Symbols::default(),
                name,
                assets,
                notes,
            })
        }
    }
}

/// Reads the vision encoder of a model that takes images, for at most `max_patches` of them at once. A model without one, or
/// about whose images no file says anything, stays text only.
///
/// A plan without weights leaves the encoder out where it cannot be recognised: its tables are among the weights.
pub fn add_vision(
    files: &ModelFiles,
    loaded: &mut Loaded,
    options: &LoadOptions,
    max_patches: u32,
) -> Result<(), CompileError> {
    let ModelFiles::Decoder { root, vision: Some(path), .. } = files else { return Ok(()) };
    let Some(config) = loaded.config.vision else {
        loaded.notes.push(format!(
            "`{}` is left out: no file beside it says which tokens stand for an image",
            path.display()
        ));
        return Ok(());
    };
    let refused = |cause: VisionError| CompileError::Vision { file: path.clone(), cause: Box::new(cause) };
    let model = Model::open_inside(root, path).map_err(|cause| refused(cause.into()))?;
    let vision = match vision::load(&options.adjust(model), &config, max_patches) {
        Ok(vision) => vision,
        Err(cause @ (VisionError::Unrecognised { .. } | VisionError::Interface(_)))
            if options.stand_ins == Some(StandIns::Plan) =>
        {
            loaded.notes.push(format!("`{}` is left out of the plan: {cause}", path.display()));
            return Ok(());
        }
        Err(cause) => return Err(refused(cause)),
    };
    loaded.notes.extend(vision.notes.iter().map(|note| format!("vision: {note}")));
    loaded.vision = Some(vision);
    Ok(())
}

fn import_file(model: &Model, options: &ImportOptions) -> Result<Graph, CompileError> {
    Ok(import(model, options).map_err(Box::new)?.graph)
}

fn import_decoder(
    root: &Path,
    path: &Path,
    config: &ModelConfig,
    load: &LoadOptions,
) -> Result<Graph, CompileError> {
    let model = load.adjust(Model::open_inside(root, path)?);
    let bound = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    let ranges = Ranges::from([
        (TOKENS.to_string(), (1, bound(load.sizes.prefill_chunk))),
        (PAST.to_string(), (0, bound(load.sizes.max_context))),
    ]);
    let options = decoder::import_options(&model.inputs()?, config, &load.given.fixed, ranges)
        .map_err(|cause| CompileError::Decoder { file: path.to_path_buf(), cause })?;
    import_file(&model, &options)
}
