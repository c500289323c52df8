//! The pictures of a golden run, in patches.

use qwenc_runtime::format::VisionFacts;
use qwenc_runtime::image::{Preprocessor, Rgb};
use qwenc_runtime::session::Picture;
use qwenc_runtime::vision::Grid;

use crate::{GoldenError, GoldenFile, Image};

/// A picture in patches.
#[derive(Clone, Debug)]
pub(crate) struct OwnedPicture {
    grid: Grid,
    values: Vec<f32>,
}

impl OwnedPicture {
    pub(crate) fn grid(&self) -> Grid {
        self.grid
    }

    pub(crate) fn as_picture(&self) -> Picture<'_> {
        Picture { grid: self.grid, values: &self.values }
    }
}

/// All pictures of a run, in order: those given as pixels go through the preprocessor.
pub(crate) fn pictures(
    golden: &GoldenFile,
    facts: &VisionFacts,
    preprocessor: Option<&Preprocessor>,
) -> Result<Vec<OwnedPicture>, GoldenError> {
    let fail = |message: String| GoldenError::Image { file: golden.name().to_owned(), message };
    let mut out = Vec::new();
    for image in golden.images() {
        match image {
            Image::Rgb { height, width, bytes } => {
                let preprocessor = preprocessor.ok_or_else(|| {
                    fail("has pictures as pixels, and the bundle no preprocessor_config.json".to_owned())
                })?;
                let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
                let rgb = Rgb::new(side(*width), side(*height), bytes.clone())
                    .map_err(|error| fail(error.to_string()))?;
                let patches = preprocessor.prepare(&rgb).map_err(|error| fail(error.to_string()))?;
                out.push(OwnedPicture { grid: patches.grid, values: patches.values });
            }
            Image::Patches { values, width, grids } => {
                if u32::try_from(*width) != Ok(facts.patch_values) {
                    let expected = facts.patch_values;
                    return Err(fail(format!(
                        "has patches of {width} values, those of the bundle have {expected}"
                    )));
                }
                let mut rest = values.as_slice();
                for [t, h, w] in grids {
                    let side = |side: i64| u32::try_from(side).unwrap_or(u32::MAX);
                    let grid =
                        Grid::new(side(*t), side(*h), side(*w)).map_err(|error| fail(error.to_string()))?;
                    let count = usize::try_from(grid.patches()).unwrap_or(usize::MAX).saturating_mul(*width);
                    // The file's patches are as many as its grids say; see `GoldenFile`.
                    let (own, later) = rest.split_at_checked(count).unwrap_or((rest, &[]));
                    out.push(OwnedPicture { grid, values: own.to_vec() });
                    rest = later;
                }
            }
        }
    }
    Ok(out)
}
