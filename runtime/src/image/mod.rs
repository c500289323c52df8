//! From a picture to patches, as the reference image processor makes them (transformers' `Qwen2VLImageProcessorFast`).
//!
//! A picture is decoded to RGB (feature `image`; a browser decodes by itself), resized to whole blocks of patches with
//! an antialiased bicubic filter in fixed point, normalised, and cut into patches. The steps before normalisation are
//! integer arithmetic, so that resized pixels are equal to the reference's, not close to them.

mod bundle;
mod config;
#[cfg(feature = "image")]
mod decode;
mod error;
mod patches;
mod resize;
mod rgb;
mod size;

pub use config::Preprocessor;
#[cfg(feature = "image")]
pub use decode::decode;
pub use error::ImageError;
pub use patches::Patches;
pub use rgb::Rgb;
