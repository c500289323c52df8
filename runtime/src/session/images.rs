//! Prompts with pictures: entry point `vision` turns patches into feature rows, and `prefill` puts these in the place of
//! image tokens.
//!
//! The feature rows of one replay of `vision` stay on the GPU, where the next replay overwrites them. So pictures are
//! encoded in batches, as many as fit one replay, and each batch is followed by the tokens up to the next one's.

use std::borrow::Cow;
use std::ops::Range;

use super::{Call, Positions, Session, SessionError, count};
use crate::engine::Backend;
use crate::format::VisionFacts;
use crate::vision::{Grid, VisionError, rope_index, tables};

/// Entry point that turns patches into feature rows.
pub const VISION: &str = "vision";
/// Input of `vision`: f32 [patches, values of a patch].
pub const PIXEL_VALUES: &str = "pixel_values";
/// Input of `vision`: i32 [patches, 4], taps into the position table.
pub const POSITION_INDEX: &str = "position_index";
/// Input of `vision`: f32 [patches, 4], weights of the taps.
pub const POSITION_WEIGHT: &str = "position_weight";
/// Input of `vision`: i32 [2, patches], rows and columns.
pub const PATCH_POSITIONS: &str = "patch_positions";
/// Input of `vision`: i32 [patches, 2], the first patch of the own frame, and the one after its last.
pub const SEGMENTS: &str = "segments";
/// Output of `vision`, and what `prefill` reads: f32 [blocks of patches, width of the decoder].
pub const IMAGE_FEATURES: &str = "image_features";
/// Input of `prefill`: i32 `[tokens]`, the feature row that stands for a token, or -1.
pub const IMAGE_ROWS: &str = "image_rows";

/// A picture in patches, as an image processor makes them.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Its patches.
    pub grid: Grid,
    /// f32 [patches, values of a patch], in merge-block order.
    pub values: &'a [f32],
}

/// How a prompt is fed: positions, the feature row of each token, and what is encoded before which tokens.
struct Plan {
    positions: Vec<i32>,
    rope_delta: i32,
    rows: Vec<i32>,
    batches: Vec<Batch>,
}

/// Pictures of one replay of `vision`, and the tokens that are fed after it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Batch {
    pictures: Range<usize>,
    tokens: Range<usize>,
}

impl<B: Backend> Session<B> {
    /// What the bundle says of its vision encoder, if it has one.
    #[must_use]
    pub fn vision(&self) -> Option<&VisionFacts> {
        self.engine.manifest().model.vision.as_ref()
    }

    /// What text positions are ahead of the number of tokens: 0 until a picture was fed, which mostly makes it negative.
    #[must_use]
    pub fn rope_delta(&self) -> i32 {
        self.rope_delta
    }

    /// Feeds one call's tokens with its pictures, and returns the logits of the tokens at the `wanted` places of the call,
    /// ascending. Every picture takes a run of image tokens as long as its grid says. Without pictures this is
    /// [`Session::feed_async`] at text positions, except that image tokens are refused.
    ///
    /// # Errors
    /// [`SessionError::NoVision`] for pictures that the bundle cannot take and [`SessionError::Vision`] when tokens,
    /// grids and values disagree, both before anything is fed; else as [`Session::feed_async`].
    pub async fn feed_pictures_async(
        &mut self,
        ids: &[i32],
        pictures: &[Picture<'_>],
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>, SessionError> {
        let facts = match self.vision() {
            Some(facts) => facts.clone(),
            None if pictures.is_empty() => return self.feed_async(ids, Positions::Text, wanted).await,
            None => return Err(SessionError::NoVision),
        };
        self.check_wanted(ids, Positions::Text, wanted)?;
        let plan = plan(ids, pictures, &facts, self.past, self.rope_delta)?;
        if pictures.is_empty() {
            return self.feed_async(ids, Positions::Text, wanted).await;
        }
        let call = Call { ids, positions: Positions::Explicit(&plan.positions), rows: &plan.rows };
        let mut logits = Vec::with_capacity(wanted.len());
        for batch in plan.batches {
            self.encode_with(pictures.get(batch.pictures).unwrap_or_default(), &facts)?;
            for piece in self.pieces(batch.tokens) {
                self.prefill_chunk(call, piece.clone())?;
                for row in wanted.iter().filter(|row| piece.contains(row)) {
                    logits.push(self.logits_async(count(row - piece.start)).await?);
                }
            }
        }
        self.rope_delta = plan.rope_delta;
        Ok(logits)
    }

    /// Encodes pictures that fit one replay, and leaves their feature rows on the GPU. Does not wait for it. For measuring:
    /// [`Session::feed_pictures_async`] does this by itself.
    ///
    /// # Errors
    /// [`SessionError::NoVision`]; [`SessionError::Vision`] for pictures that do not fit; [`SessionError::Engine`] when the GPU
    /// fails.
    pub fn encode(&mut self, pictures: &[Picture<'_>]) -> Result<(), SessionError> {
        let facts = self.vision().ok_or(SessionError::NoVision)?.clone();
        check_values(pictures, &facts)?;
        self.encode_with(pictures, &facts)
    }

    /// Feature rows of pictures that fit one replay, left on the GPU.
    fn encode_with(&mut self, pictures: &[Picture<'_>], facts: &VisionFacts) -> Result<(), SessionError> {
        let grids: Vec<Grid> = pictures.iter().map(|picture| picture.grid).collect();
        let tables = tables(&grids, facts)?;
        // Megabytes, which are not copied without need.
        let pixels: Cow<'_, [f32]> = match pictures {
            [picture] => Cow::Borrowed(picture.values),
            several => several.iter().flat_map(|picture| picture.values).copied().collect(),
        };
        let inputs: [(&str, &[u8]); 5] = [
            (PIXEL_VALUES, bytemuck::cast_slice(&pixels)),
            (POSITION_INDEX, bytemuck::cast_slice(&tables.position_index)),
            (POSITION_WEIGHT, bytemuck::cast_slice(&tables.position_weight)),
            (PATCH_POSITIONS, bytemuck::cast_slice(&tables.patch_positions)),
            (SEGMENTS, bytemuck::cast_slice(&tables.segments)),
        ];
        // An encoder that needs no table of a kind does not list it; `layout::check` has seen the others.
        let taken = self.engine.entry(VISION)?.inputs.keys().cloned().collect::<Vec<_>>();
        for (name, bytes) in inputs.into_iter().filter(|(name, _)| taken.iter().any(|have| have == name)) {
            self.engine.write_input(VISION, name, bytes)?;
        }
        let patches: u64 = grids.iter().map(|grid| grid.patches()).sum();
        let tokens: u64 = grids.iter().map(|grid| grid.tokens(facts.merge_size)).sum();
        let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        self.replay(VISION, &|name| match name {
            "patches" => Some(small(patches)),
            "image_tokens" => Some(small(tokens)),
            _ => None,
        })
    }
}

/// Checks that tokens, grids and values agree, and cuts the call into batches.
fn plan(
    ids: &[i32],
    pictures: &[Picture<'_>],
    facts: &VisionFacts,
    past: u32,
    rope_delta: i32,
) -> Result<Plan, VisionError> {
    check_values(pictures, facts)?;
    let grids: Vec<Grid> = pictures.iter().map(|picture| picture.grid).collect();
    let index = rope_index(ids, &grids, facts, past, rope_delta)?;
    let mut rows = vec![-1; ids.len()];
    let mut batches = vec![Batch { pictures: 0..0, tokens: 0..ids.len() }];
    let (mut at, mut patches, mut row) = (0, 0_u64, 0_i32);
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    for (image, grid) in grids.iter().enumerate() {
        at += ids.iter().skip(at).take_while(|id| u32::try_from(**id) != Ok(facts.image_token)).count();
        if patches + grid.patches() > facts.max_patches.into() {
            (patches, row) = (0, 0);
            if let Some(last) = batches.last_mut() {
                last.tokens.end = at;
            }
            batches.push(Batch { pictures: image..image, tokens: at..ids.len() });
        }
        patches += grid.patches();
        if let Some(last) = batches.last_mut() {
            last.pictures.end = image + 1;
        }
        // `rope_index` has seen that all these tokens are there.
        for place in rows.iter_mut().skip(at).take(size(grid.tokens(facts.merge_size))) {
            (*place, row) = (row, row + 1);
            at += 1;
        }
    }
    Ok(Plan { positions: index.positions, rope_delta: index.rope_delta, rows, batches })
}

/// Checks that pictures have as many values as their grids say.
fn check_values(pictures: &[Picture<'_>], facts: &VisionFacts) -> Result<(), VisionError> {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let patch_values = size(facts.patch_values.into());
    for (image, picture) in pictures.iter().enumerate() {
        picture.grid.check(facts)?;
        let expected = size(picture.grid.patches()).saturating_mul(patch_values);
        if picture.values.len() != expected {
            return Err(VisionError::Values { image, expected, found: picture.values.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> VisionFacts {
        VisionFacts {
            max_patches: 16,
            patch_values: 1,
            feature_size: 1,
            merge_size: 2,
            position_side: 2,
            max_side: 16,
            image_token: 9,
            vision_start: 7,
            vision_end: 8,
        }
    }

    #[test]
    fn pictures_are_encoded_in_batches_before_the_tokens_that_need_them() {
        let values = [0.0; 16];
        let picture = |h: u32, w: u32| {
            let grid = Grid::new(1, h, w).unwrap();
            Picture { grid, values: &values[..usize::try_from(h * w).unwrap()] }
        };
        let pictures = [picture(2, 4), picture(2, 2), picture(2, 4), picture(4, 4)];
        let ids = [1, 9, 9, 2, 9, 3, 4, 9, 9, 9, 9, 9, 9, 5];
        let plan = plan(&ids, &pictures, &facts(), 0, 0).unwrap();
        assert_eq!(plan.rows, [-1, 0, 1, -1, 2, -1, -1, 0, 1, 0, 1, 2, 3, -1]);
        let batch = |pictures, tokens| Batch { pictures, tokens };
        assert_eq!(plan.batches, [batch(0..2, 0..7), batch(2..3, 7..9), batch(3..4, 9..14)]);
    }

    #[test]
    fn values_of_a_picture_are_as_many_as_its_patches_have() {
        let picture = Picture { grid: Grid::new(1, 2, 2).unwrap(), values: &[0.0; 3] };
        let error = plan(&[9], &[picture], &facts(), 0, 0).err();
        assert_eq!(error, Some(VisionError::Values { image: 0, expected: 4, found: 3 }));
        let large = Picture { grid: Grid::new(1, 4, 6).unwrap(), values: &[0.0; 24] };
        let error = plan(&[9; 6], &[large], &facts(), 0, 0).err();
        assert_eq!(error, Some(VisionError::TooManyPatches { patches: 24, max_patches: 16 }));
    }
}
