//! A vision encoder as an entry point that takes any grids.
//!
//! A vision encoder computes positions, interpolation, angles of rope and a mask from the *values* of `image_grid_thw`, in
//! whatever way its exporter found: division and remainder, a `Scan` over images, `Compress` and `Range`. A schedule that is
//! made ahead of time cannot do that, and need not: all of it is tables of a few numbers for each patch, which the runtime
//! computes ([`qwenc_runtime::vision`]). The compiler finds out which tables:
//!
//! 1. `probe` imports the graph for a few concrete grids of one image each. Everything that follows from the grid alone is
//!    then constant.
//! 2. `generalise` walks these graphs in lockstep from their outputs. What depends on pixels must be the same in all of
//!    them, with sizes that are linear in the number of image tokens. Where a value that follows from the grid is read, it
//!    becomes a *boundary*.
//! 3. `recognise` evaluates every boundary and compares it with what the runtime's tables give on every probe. What
//!    matches nothing is refused, with the name of the node.
//! 4. `segments` gives every attention of the raised graph the patches that each patch sees.
//!
//! A probe is one image of one frame, because exporters disagree about more than that, and some are wrong. Several images and
//! several frames are kept apart by the segments, whatever the exporter did.

mod generalise;
mod probe;
mod recognise;
mod segments;
mod tables;

use std::path::Path;

use qwenc_ir::{Dim, Graph};

use crate::model::config::VisionConfig;
use crate::onnx::{ImportError, Model, ReadError};
use crate::passes::PipelineError;

pub use segments::limit_to_segments;

/// Image tokens of one replay: a quarter of the patches where 2 x 2 patches make a token. The symbol of the entry point.
pub const IMAGE_TOKENS: &str = "image_tokens";
/// Pixels, f32 `[patches, values of a patch]`.
pub const PIXELS: &str = "pixel_values";
/// Rows of the position table around a patch, i32 `[patches, 4]`.
pub const POSITION_INDEX: &str = "position_index";
/// Their weights, f32 `[patches, 4]`.
pub const POSITION_WEIGHT: &str = "position_weight";
/// Row and column of a patch in its image, i32 `[2, patches]`.
pub const PATCH_POSITIONS: &str = "patch_positions";
/// First and last (exclusive) patch that a patch sees, i32 `[patches, 2]`.
pub const SEGMENTS: &str = "segments";
/// The result, f32 `[image tokens, width]`.
pub const FEATURES: &str = "image_features";

/// A vision encoder's graph over the runtime's tables, and what it told about itself.
#[derive(Clone, Debug)]
pub struct Vision {
    /// The graph; its inputs are the constants of this module.
    pub graph: Graph,
    /// Side of the learned position table.
    pub position_side: u32,
    /// Rows of the table of rotation angles: a grid is at most as high and wide.
    pub max_side: u32,
    /// Values of one patch.
    pub patch_values: u32,
    /// Width of a feature.
    pub feature_size: u32,
    /// What was recognised, for people.
    pub notes: Vec<String>,
}

/// A vision encoder cannot become an entry point.
#[derive(Debug, thiserror::Error)]
pub enum VisionError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The graph cannot be imported for a grid.
    #[error("{cause} (for a grid of {grid})")]
    Import {
        /// The grid.
        grid: String,
        /// Why.
        cause: Box<ImportError>,
    },
    /// A pass failed.
    #[error(transparent)]
    Pass(#[from] PipelineError),
    /// Inputs or outputs are not those of a vision encoder.
    #[error("{0}")]
    Interface(String),
    /// The graphs for two grids differ in more than sizes and tables.
    #[error("node `{node}`: {message}")]
    Differs {
        /// The node.
        node: String,
        /// In what.
        message: String,
    },
    /// A value that follows from the grid is none of the runtime's tables.
    #[error(
        "`{value}` of {shape} follows from image_grid_thw, but is none of the tables that are known: {compared}"
    )]
    Unrecognised {
        /// The value's node.
        value: String,
        /// Its shape for the first probe.
        shape: String,
        /// What it was compared with, and how far it is from that.
        compared: String,
    },
    /// The attention cannot be limited to single frames.
    #[error("node `{node}`: {message}")]
    Attention {
        /// The node.
        node: String,
        /// What is wrong.
        message: String,
    },
    /// A bug: the new graph does not fit together.
    #[error("building the graph failed at node `{node}`: {message}")]
    Build {
        /// The node.
        node: String,
        /// What does not fit.
        message: String,
    },
}

impl VisionError {
    /// The message with the file in front, which some causes name themselves.
    pub(crate) fn in_file(&self, file: &Path) -> String {
        match self {
            Self::Read(_) | Self::Import { .. } => self.to_string(),
            _ => format!("{}: {self}", file.display()),
        }
    }
}

/// The graph of a vision encoder over the runtime's tables, for at most `max_patches` of one replay.
pub fn load(model: &Model, config: &VisionConfig, max_patches: u32) -> Result<Vision, VisionError> {
    let probes = probe::import_all(model, config.merge_size)?;
    let general = generalise::generalise(&probes, &probe::few_floats(model), config.merge_size, max_patches)?;
    let graph = general.graph;
    let width = |value: qwenc_ir::ValueId| {
        let dim = graph.value(value).ty.shape.last().and_then(Dim::as_usize);
        dim.and_then(|width| u32::try_from(width).ok())
    };
    let output = graph.outputs().first().map(|(_, value)| *value);
    let input = graph.inputs().iter().copied().find(|input| graph.value(*input).name == PIXELS);
    let (Some(patch_values), Some(feature_size)) = (input.and_then(width), output.and_then(width)) else {
        return Err(VisionError::Interface("the widths of pixels and features must be constant".to_string()));
    };
    Ok(Vision {
        position_side: general.position_side,
        max_side: general.max_side,
        notes: general.notes,
        graph,
        patch_values,
        feature_size,
    })
}
