//! The image processor of a bundle.

use super::{ImageError, Preprocessor};
use crate::bundle::Bundle;

/// Where a bundle has the model's image processor; the second holds it as a part.
const FILES: [&str; 2] = ["model/preprocessor_config.json", "model/processor_config.json"];
/// Most bytes of such a file.
const MAX_BYTES: u64 = 1 << 20;

impl Preprocessor {
    /// The processor that a bundle carries, for the patches that its entry point `vision` takes.
    ///
    /// # Errors
    /// [`ImageError::NoVision`] when the bundle has no vision encoder; [`ImageError::Config`] when it has no processor, or
    /// one that does not fit the encoder.
    pub fn of_bundle(bundle: &Bundle) -> Result<Self, ImageError> {
        let manifest = bundle.manifest();
        let facts = manifest.model.vision.as_ref().ok_or(ImageError::NoVision)?;
        let path = FILES.iter().find(|path| manifest.lists(path)).ok_or_else(|| {
            ImageError::Config(
                "the bundle does not have it; compile the model again with it beside".to_owned(),
            )
        })?;
        let json = bundle.file(path, MAX_BYTES).map_err(|error| ImageError::Config(error.to_string()))?;
        let preprocessor = Self::from_config(&json, facts.max_patches)?;
        preprocessor.check(facts)?;
        Ok(preprocessor)
    }
}
