//! Errors of the whole compilation, as people see them: what is wrong, where, and what to do.

use std::path::PathBuf;

use miette::Diagnostic;
use qwenc_codegen_wgsl::cpu::CpuError;
use qwenc_golden::GoldenError;

use crate::bundle::BundleError;
use crate::lower::LowerError;
use crate::model::assets::AssetError;
use crate::model::config::ConfigError;
use crate::model::decoder::DecoderError;
use crate::model::files::LocateError;
use crate::onnx::{ImportError, ReadError};
use crate::passes::PipelineError;
use crate::quantize::RecipeError;
use crate::vision::VisionError;

/// A model could not be compiled.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CompileError {
    /// There is no model at the path.
    #[error(transparent)]
    #[diagnostic(code(qwenc::locate))]
    Locate(#[from] LocateError),
    /// A configuration file beside the model cannot be used.
    #[error(transparent)]
    #[diagnostic(code(qwenc::config), help("mend or remove the file; a graph compiles without it too"))]
    Config(#[from] ConfigError),
    /// A file beside the model cannot be taken along.
    #[error(transparent)]
    #[diagnostic(code(qwenc::asset))]
    Asset(#[from] AssetError),
    /// The golden file is none, or does not fit the model.
    #[error(transparent)]
    #[diagnostic(code(qwenc::golden))]
    Golden(#[from] GoldenError),
    /// A file cannot be read.
    #[error(transparent)]
    #[diagnostic(code(qwenc::read))]
    Read(#[from] ReadError),
    /// A graph cannot be imported.
    #[error(transparent)]
    #[diagnostic(code(qwenc::import))]
    Import(#[from] Box<ImportError>),
    /// A decoder's interface is not one that is known.
    #[error("{}: {cause}", .file.display())]
    #[diagnostic(code(qwenc::decoder), help("`--only` compiles the graph by itself, as entry `main`"))]
    Decoder {
        /// The graph's file.
        file: PathBuf,
        /// What does not fit.
        cause: DecoderError,
    },
    /// A vision encoder cannot become an entry point.
    #[error("{}", .cause.in_file(.file))]
    #[diagnostic(
        code(qwenc::vision),
        help("`--max-image-patches 0` leaves the vision encoder out; `--only` compiles a graph by itself")
    )]
    Vision {
        /// The graph's file.
        file: PathBuf,
        /// What does not fit.
        cause: Box<VisionError>,
    },
    /// A size is given that the graph does not have.
    #[error("{}: there is no size `{name}`; {there}", .file.display())]
    #[diagnostic(
        code(qwenc::size),
        help("`--dim NAME=N` fixes a size, `--max NAME=N` says how large it gets")
    )]
    Size {
        /// The graph's file.
        file: PathBuf,
        /// What was given.
        name: String,
        /// What there is.
        there: String,
    },
    /// A pass failed.
    #[error(transparent)]
    #[diagnostic(code(qwenc::pass))]
    Pass(#[from] PipelineError),
    /// Weights cannot be stored as asked for.
    #[error(transparent)]
    #[diagnostic(code(qwenc::quantize))]
    Recipe(#[from] RecipeError),
    /// An entry point cannot be lowered to kernels.
    #[error("entry `{entry}`: {cause}")]
    #[diagnostic(code(qwenc::lower), help("`qwenc inspect` shows the graph as the passes left it"))]
    Lower {
        /// The entry point.
        entry: String,
        /// What does not fit.
        cause: LowerError,
    },
    /// A kernel cannot become WebAssembly.
    #[error(transparent)]
    #[diagnostic(code(qwenc::cpu))]
    Cpu(#[from] CpuError),
    /// The bundle cannot be written.
    #[error(transparent)]
    #[diagnostic(code(qwenc::bundle))]
    Bundle(#[from] BundleError),
    /// What was compiled does not pass the runtime's checks: a bug.
    #[error("the compiled schedule is not valid: {0}")]
    #[diagnostic(
        code(qwenc::internal),
        help("this is a bug in qwenc; please report it with the model's graph")
    )]
    Invalid(String),
}
