//! Images from files, ready for a model.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use miette::{IntoDiagnostic, WrapErr, miette};
use qwenc_runtime::bundle::Bundle;
use qwenc_runtime::chat::PromptImage;
use qwenc_runtime::image::{ImageError, Preprocessor, decode};
use qwenc_runtime::printable::printable;

use crate::contain;

/// Most bytes of a file that are read. The decoder has a lower bound of its own, and says so.
const MAX_BYTES: u64 = 1 << 30;
/// Characters of a path that an error repeats.
const MAX_SHOWN: usize = 200;

/// Reads images as a bundle's model takes them.
#[derive(Debug)]
pub(super) struct Pictures {
    preprocessor: Result<Preprocessor, ImageError>,
}

impl Pictures {
    /// For a bundle. One that takes no images says so when it is given one.
    pub(super) fn new(bundle: &Bundle) -> Self {
        Self { preprocessor: Preprocessor::of_bundle(bundle) }
    }

    /// An image from a file that the user names.
    pub(super) fn read(&self, path: &Path) -> miette::Result<PromptImage> {
        let describe = || format!("the image {}", path.display());
        let file = File::open(path).into_diagnostic().wrap_err_with(describe)?;
        self.read_file(file).wrap_err_with(describe)
    }

    /// An image from a file inside of a folder, that a file from somewhere else names.
    pub(super) fn read_inside(&self, folder: &Path, location: &str) -> miette::Result<PromptImage> {
        let describe = || format!("the image `{}`", printable(location, MAX_SHOWN));
        let file = contain::open(folder, location).into_diagnostic().wrap_err_with(describe)?;
        self.read_file(file).wrap_err_with(describe)
    }

    fn read_file(&self, file: File) -> miette::Result<PromptImage> {
        let preprocessor = match &self.preprocessor {
            Ok(preprocessor) => preprocessor,
            Err(error) => {
                return Err(miette!(
                    help = "compile a model that has a vision encoder and preprocessor_config.json",
                    "{error}"
                ));
            }
        };
        let metadata = file.metadata().into_diagnostic()?;
        if !metadata.is_file() || metadata.len() > MAX_BYTES {
            return Err(miette!("it is no plain file of at most {MAX_BYTES} bytes"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut bytes).into_diagnostic()?;
        let patches = decode(&bytes).and_then(|picture| preprocessor.prepare(&picture)).into_diagnostic()?;
        Ok(PromptImage::new(patches.grid, patches.values))
    }
}

/// A raw prompt with places for images in front, as the model's templates mark them.
pub(super) fn raw(prompt: &str, images: usize) -> String {
    "<|vision_start|><|image_pad|><|vision_end|>".repeat(images) + prompt
}
