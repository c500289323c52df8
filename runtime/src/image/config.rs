//! `preprocessor_config.json`: how a model wants its pictures.

use super::patches::{Cut, Normalised, cut};
use super::resize::resize;
use super::size::{Bounds, resized};
use super::{ImageError, Patches, Rgb};
use crate::format::VisionFacts;
use crate::json::Json;
use crate::printable::printable;
use crate::vision::{Grid, VisionError};

/// Processors whose rules are these.
const KNOWN: [&str; 2] = ["Qwen2VLImageProcessor", "Qwen2VLImageProcessorFast"];
/// Pillow's number for bicubic.
const BICUBIC: u64 = 3;

/// Makes patches of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessor {
    bounds: Bounds,
    cut: Cut,
    normalised: Box<Normalised>,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json`, or the part `image_processor` of `processor_config.json`. Pictures are resized to
    /// at most `max_patches` patches, also where the file allows more.
    ///
    /// # Errors
    /// [`ImageError::Config`], when the file is not valid or asks for another processor's steps.
    pub fn from_config(json: &[u8], max_patches: u32) -> Result<Self, ImageError> {
        let fail = |message: String| ImageError::Config(message);
        let whole = Json::from_bytes(json).map_err(|error| fail(format!("not valid JSON: {error}")))?;
        let config = whole.get("image_processor").unwrap_or(&whole);
        if config.pairs().is_none() {
            return Err(fail("is not an object".to_owned()));
        }
        if config.get("size").is_none() && config.get("processor").is_some() {
            return Err(fail(
                "is a processor's description for ONNX Runtime; put the model's own file in its place"
                    .to_owned(),
            ));
        }
        check_kind(config)?;
        let size = config.get("size").unwrap_or(&Json::Null);
        let pixels = |edge: &str, older: &str| {
            let value = size.get(edge).or_else(|| config.get(older));
            let value = value.and_then(Json::as_u64).filter(|value| (1..=MAX_PIXELS).contains(value));
            value.ok_or_else(|| {
                fail(format!("`size.{edge}` is not a number of pixels from 1 to {MAX_PIXELS}"))
            })
        };
        let (min_pixels, max_pixels) =
            (pixels("shortest_edge", "min_pixels")?, pixels("longest_edge", "max_pixels")?);
        if min_pixels > max_pixels {
            return Err(fail("`size.shortest_edge` is more than `size.longest_edge`".to_owned()));
        }
        let small = |key: &str, most: u64, default: u64| match config.get(key) {
            None => Ok(u32::try_from(default).unwrap_or(1)),
            Some(value) => value
                .as_u64()
                .filter(|value| (1..=most).contains(value))
                .and_then(|value| u32::try_from(value).ok())
                .ok_or_else(|| fail(format!("`{key}` is not a number from 1 to {most}"))),
        };
        let cut = Cut {
            patch_size: small("patch_size", 128, 14)?,
            frames: small("temporal_patch_size", 8, 2)?,
            merge_size: small("merge_size", 8, 2)?,
        };
        let factor = cut.patch_size * cut.merge_size;
        let block = u64::from(cut.merge_size) * u64::from(cut.merge_size);
        let max_blocks = u64::from(max_patches) / block;
        if max_blocks == 0 {
            return Err(fail(format!("{max_patches} patches are not one block of {block}")));
        }
        let bounds = Bounds { factor, min_pixels, max_pixels, max_blocks };
        Ok(Self { bounds, cut, normalised: Box::new(normalised(config)?) })
    }

    /// Whether a model takes these patches.
    ///
    /// # Errors
    /// [`ImageError::Config`] when patches or blocks have other sizes than the model's.
    pub fn check(&self, facts: &VisionFacts) -> Result<(), ImageError> {
        let Cut { patch_size, frames, merge_size } = self.cut;
        let values = 3 * frames * patch_size * patch_size;
        if values != facts.patch_values || merge_size != facts.merge_size {
            return Err(ImageError::Config(format!(
                "makes patches of {values} values in blocks of {merge_size}; the model takes {} in blocks of {}",
                facts.patch_values, facts.merge_size
            )));
        }
        Ok(())
    }

    /// The grid of a picture of this size, without making patches.
    ///
    /// # Errors
    /// [`ImageError::Empty`] or [`ImageError::Aspect`].
    pub fn grid(&self, width: u32, height: u32) -> Result<Grid, ImageError> {
        let (height, width) = resized(height, width, self.bounds)?;
        Ok(self.grid_of(height, width)?)
    }

    fn grid_of(&self, height: u32, width: u32) -> Result<Grid, VisionError> {
        Grid::new(1, height / self.cut.patch_size, width / self.cut.patch_size)
    }

    /// Resizes a picture, normalises it and cuts it into patches.
    ///
    /// # Errors
    /// As [`Preprocessor::grid`].
    pub fn prepare(&self, picture: &Rgb) -> Result<Patches, ImageError> {
        let (height, width) = resized(picture.height(), picture.width(), self.bounds)?;
        let grid = self.grid_of(height, width)?;
        let picture = resize(picture, width, height);
        let values = cut(&picture, grid, self.cut, &self.normalised);
        Ok(Patches { grid, values })
    }
}

/// Most pixels that a configuration can ask for.
const MAX_PIXELS: u64 = 1 << 28;

/// Refuses what would silently give other numbers.
fn check_kind(config: &Json) -> Result<(), ImageError> {
    let fail = |message: String| Err(ImageError::Config(message));
    let kind =
        ["image_processor_type", "feature_extractor_type"].iter().find_map(|key| config.get(key)?.as_str());
    if let Some(kind) = kind.filter(|kind| !KNOWN.contains(kind)) {
        let (kind, known) = (printable(kind, 60), KNOWN.join(", "));
        return fail(format!("`image_processor_type` is `{kind}`, none of those known ({known})"));
    }
    for step in ["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"] {
        if config.get(step).and_then(Json::as_bool) == Some(false) {
            return fail(format!("`{step}` is false; pictures are not prepared without this step"));
        }
    }
    match config.get("resample").map(Json::as_u64) {
        None | Some(Some(BICUBIC)) => Ok(()),
        _ => fail(format!("`resample` is not {BICUBIC}; pictures are resized by that (bicubic) only")),
    }
}

/// `(byte * rescale - mean) / std` of every byte and channel, in the reference's steps: the factor is put into mean and
/// deviation.
fn normalised(config: &Json) -> Result<Normalised, ImageError> {
    let numbers = |key: &str| -> Result<[f32; 3], ImageError> {
        let values = config.get(key).and_then(Json::items);
        let number = |value: &Json| value.as_f64().map(single).filter(|value| value.is_finite());
        match values.unwrap_or_default() {
            [r, g, b] => [number(r), number(g), number(b)],
            _ => [None; 3],
        }
        .iter()
        .copied()
        .collect::<Option<Vec<f32>>>()
        .and_then(|values| values.try_into().ok())
        .ok_or_else(|| ImageError::Config(format!("`{key}` is not three numbers")))
    };
    let factor = config.get("rescale_factor").map_or(Some(1.0 / 255.0), Json::as_f64);
    let factor = factor.filter(|factor| (1e-6..=1e6).contains(factor));
    let factor =
        factor.ok_or_else(|| ImageError::Config("`rescale_factor` is not a positive number".to_owned()))?;
    let scale = single(1.0 / factor);
    let (mean, std) = (numbers("image_mean")?, numbers("image_std")?);
    let mut out = [[0.0; 256]; 3];
    for ((table, mean), std) in out.iter_mut().zip(mean).zip(std) {
        if std <= 0.0 {
            return Err(ImageError::Config("`image_std` is not positive".to_owned()));
        }
        for (byte, value) in (0_u8..=255).zip(table) {
            *value = (f32::from(byte) - mean * scale) / (std * scale);
        }
    }
    Ok(out)
}

#[expect(clippy::cast_possible_truncation, reason = "the reference computes in single precision")]
fn single(value: f64) -> f32 {
    value as f32
}
