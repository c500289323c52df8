//! Reading golden files. They are untrusted: everything is checked, and a file that proves nothing is refused.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use qwenc_runtime::json::Json;
use qwenc_runtime::order::sorted;

use crate::GoldenError;
use crate::tensors::{Tensor, Tensors};

/// Most bytes of a golden file: 2000 rows of a vocabulary of 248 320.
const MAX_BYTES: u64 = 2 << 30;
const DEFAULT_MIN_COSINE: f64 = 0.999;

/// A golden run, checked for consistency.
#[derive(Clone, Debug)]
pub struct GoldenFile {
    name: String,
    source: Option<String>,
    min_cosine: f64,
    max_abs: Option<f64>,
    ids: Vec<i32>,
    splits: Vec<usize>,
    positions: Vec<usize>,
    logits: Vec<f32>,
    vocabulary: usize,
    images: Vec<Image>,
}

/// What a golden run shows to the model besides text.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    /// A picture, RGB, row-major, 3 bytes a pixel.
    Rgb {
        /// Rows of pixels.
        height: usize,
        /// Pixels in a row.
        width: usize,
        /// `height * width * 3` bytes.
        bytes: Vec<u8>,
    },
    /// Patches as the reference's image processor makes them.
    Patches {
        /// Values of all patches, row-major.
        values: Vec<f32>,
        /// Values of one patch.
        width: usize,
        /// Of every image: frames, rows and columns of patches.
        grids: Vec<[i64; 3]>,
    },
}

impl GoldenFile {
    /// Reads and checks a golden file of at most 2 GiB.
    ///
    /// # Errors
    /// [`GoldenError`], naming the file and the tensor.
    pub fn read(path: &Path) -> Result<Self, GoldenError> {
        let name = path.display().to_string();
        let io = |e: std::io::Error| GoldenError::Io { file: name.clone(), message: e.to_string() };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if !metadata.is_file() {
            return Err(GoldenError::Io { file: name.clone(), message: "not a regular file".to_owned() });
        }
        if metadata.len() > MAX_BYTES {
            return Err(GoldenError::TooLarge { file: name.clone(), bytes: metadata.len(), max: MAX_BYTES });
        }
        let mut content = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut content)).map_err(io)?;
        Self::parse(&name, &content)
    }

    /// Checks the content of a golden file that is called `name` in errors.
    ///
    /// # Errors
    /// [`GoldenError`], naming the file and the tensor.
    pub fn parse(name: &str, content: &[u8]) -> Result<Self, GoldenError> {
        let reader = Reader::new(name, content)?;
        let ids = reader.numbers("input_ids", |id| i32::try_from(id).ok().filter(|id| *id >= 0))?;
        let splits = reader.numbers("splits", |n| usize::try_from(n).ok().filter(|n| *n > 0))?;
        let tokens = ids.len();
        let positions =
            reader.numbers("logit_positions", |p| usize::try_from(p).ok().filter(|p| *p < tokens))?;
        let (vocabulary, logits) = reader.logits(positions.len())?;
        if positions.is_empty() || vocabulary == 0 {
            return Err(GoldenError::NothingToCheck { file: name.to_owned() });
        }
        let sum = splits.iter().try_fold(0_usize, |sum, n| sum.checked_add(*n)).unwrap_or(usize::MAX);
        if sum != tokens {
            let sum = u64::try_from(sum).unwrap_or(u64::MAX);
            return Err(GoldenError::Splits { file: name.to_owned(), sum, tokens });
        }
        let cosine = |v: f64| (0.0..=1.0).contains(&v);
        let min_cosine = reader.threshold("min_cosine", "a number from 0 to 1", cosine)?;
        let max_abs = reader.threshold("max_abs", "a positive number", |v: f64| v.is_finite() && v >= 0.0)?;
        let images = reader.images()?;
        Ok(Self {
            name: name.to_owned(),
            source: reader.tensors.metadata("source").map(str::to_owned),
            min_cosine: min_cosine.unwrap_or(DEFAULT_MIN_COSINE),
            max_abs,
            ids,
            splits,
            positions,
            logits,
            vocabulary,
            images,
        })
    }

    /// The file's name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the numbers come from, if the file says so.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Smallest cosine between a row and the expected one.
    #[must_use]
    pub fn min_cosine(&self) -> f64 {
        self.min_cosine
    }

    /// Largest difference of a logit, if the file gives one.
    #[must_use]
    pub fn max_abs(&self) -> Option<f64> {
        self.max_abs
    }

    /// The tokens.
    #[must_use]
    pub fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// Lengths of the calls that feed the tokens; their sum is the number of tokens.
    #[must_use]
    pub fn splits(&self) -> &[usize] {
        &self.splits
    }

    /// Values in a row of logits.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Positions to check, each with its expected row.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.positions.iter().copied().zip(self.logits.chunks_exact(self.vocabulary))
    }

    /// Whether images are given as pixels, for which [`crate::verify_async`] needs an image processor.
    #[must_use]
    pub fn has_pixels(&self) -> bool {
        self.images.iter().any(|image| matches!(image, Image::Rgb { .. }))
    }

    /// Images of the run; empty for text.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }
}

/// The tensors and metadata of a file.
struct Reader<'a> {
    file: &'a str,
    tensors: Tensors<'a>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a str, content: &'a [u8]) -> Result<Self, GoldenError> {
        let fail = |message| GoldenError::NotSafetensors { file: file.to_owned(), message };
        Ok(Self { file, tensors: Tensors::new(content).map_err(fail)? })
    }

    fn tensor(&self, tensor: &'static str) -> Result<&Tensor<'a>, GoldenError> {
        let missing = || GoldenError::MissingTensor { file: self.file.to_owned(), tensor };
        self.tensors.get(tensor).ok_or_else(missing)
    }

    fn wrong_type(&self, tensor: &str, found: &Tensor<'_>, expected: &'static str) -> GoldenError {
        let shape: Vec<String> = found.shape.iter().map(usize::to_string).collect();
        GoldenError::TensorType {
            file: self.file.to_owned(),
            tensor: tensor.to_owned(),
            found: format!("{} [{}]", found.dtype, shape.join(", ")),
            expected,
        }
    }

    /// A tensor I64 [n] whose every element `take` accepts.
    fn numbers<T>(
        &self,
        tensor: &'static str,
        take: impl Fn(i64) -> Option<T>,
    ) -> Result<Vec<T>, GoldenError> {
        let view = self.tensor(tensor)?;
        if view.dtype != "I64" || view.shape.len() != 1 {
            return Err(self.wrong_type(tensor, view, "I64 [n]"));
        }
        let element = |(at, value): (usize, i64)| {
            take(value).ok_or_else(|| GoldenError::Value {
                file: self.file.to_owned(),
                tensor,
                at,
                message: format!("{value} is out of range"),
            })
        };
        integers(view.data).into_iter().enumerate().map(element).collect()
    }

    fn logits(&self, rows: usize) -> Result<(usize, Vec<f32>), GoldenError> {
        let view = self.tensor("logits")?;
        let vocabulary = match (view.dtype.as_str(), view.shape.as_slice()) {
            ("F32", [found, vocabulary]) if *found == rows => *vocabulary,
            _ => return Err(self.wrong_type("logits", view, "F32 [positions, vocabulary]")),
        };
        let values = floats(view.data);
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok((vocabulary, values)),
            Some(at) => Err(GoldenError::Value {
                file: self.file.to_owned(),
                tensor: "logits",
                at,
                message: "is not a finite number".to_owned(),
            }),
        }
    }

    fn threshold(
        &self,
        key: &'static str,
        expected: &'static str,
        valid: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, GoldenError> {
        let Some(value) = self.tensors.metadata(key) else { return Ok(None) };
        match number(value.trim()) {
            Some(number) if valid(number) => Ok(Some(number)),
            _ => {
                let value = value.chars().take(40).collect();
                Err(GoldenError::Metadata { file: self.file.to_owned(), key, value, expected })
            }
        }
    }

    fn images(&self) -> Result<Vec<Image>, GoldenError> {
        let mut images = Vec::new();
        // `image_grid_thw` is no picture: pictures are numbered.
        let number = |name: &&str| name.strip_prefix("image_").and_then(|n| n.parse::<u32>().ok());
        let pictures: Vec<(u32, &str, &Tensor<'_>)> =
            self.tensors.iter().filter_map(|(name, tensor)| Some((number(&name)?, name, tensor))).collect();
        for (_, name, view) in sorted(&pictures, |a, b| a.0 < b.0) {
            match (view.dtype.as_str(), view.shape.as_slice()) {
                ("U8", [height, width, 3]) if *height > 0 && *width > 0 => {
                    let bytes = view.data.to_vec();
                    images.push(Image::Rgb { height: *height, width: *width, bytes });
                }
                _ => return Err(self.wrong_type(name, view, "U8 [height, width, 3]")),
            }
        }
        let names = ["pixel_values", "image_grid_thw"];
        if !names.iter().any(|name| self.tensors.get(name).is_some()) {
            return Ok(images);
        }
        let (pixels, grid) = (self.tensor("pixel_values")?, self.tensor("image_grid_thw")?);
        let ("F32", [patches, width]) = (pixels.dtype.as_str(), pixels.shape.as_slice()) else {
            return Err(self.wrong_type("pixel_values", pixels, "F32 [patches, values]"));
        };
        let ("I64", [_, 3]) = (grid.dtype.as_str(), grid.shape.as_slice()) else {
            return Err(self.wrong_type("image_grid_thw", grid, "I64 [images, 3]"));
        };
        let numbers = integers(grid.data);
        let grids: Vec<[i64; 3]> = numbers.chunks_exact(3).filter_map(|g| g.try_into().ok()).collect();
        let area = |g: &[i64; 3]| g.iter().try_fold(1_i64, |n, d| n.checked_mul(*d).filter(|_| *d > 0));
        let total = grids.iter().try_fold(0_i64, |sum, g| sum.checked_add(area(g)?));
        if total.and_then(|total| usize::try_from(total).ok()) != Some(*patches) {
            let message = format!("the grids do not describe {patches} patches");
            let (file, tensor) = (self.file.to_owned(), "image_grid_thw");
            return Err(GoldenError::Value { file, tensor, at: 0, message });
        }
        images.push(Image::Patches { values: floats(pixels.data), width: *width, grids });
        Ok(images)
    }
}

/// A number as JSON has it.
fn number(text: &str) -> Option<f64> {
    Json::parse(text).ok()?.as_f64()
}

fn integers(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks::<8>().0.iter().map(|word| i64::from_le_bytes(*word)).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
