//! Positions of a prompt with pictures, for a rotary embedding with three axes (frame, row, column).
//!
//! A text token advances all three axes by one. The tokens of a picture of `t` x `h` x `w` blocks that starts at position
//! `s` stand at `(s + frame, s + row, s + column)`, and what follows continues at `s + max(h, w)`. So positions run ahead of
//! or behind the tokens: `rope_delta` is the difference, which every later token adds.
//! The reference is transformers' `Qwen3_5Model.get_rope_index`.

use super::{Grid, VisionError};
use crate::format::VisionFacts;

/// Positions of a prompt, and where the text after it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RopeIndex {
    /// i32 [3, tokens]: frame, row, column.
    pub positions: Vec<i32>,
    /// A later token stands at the number of tokens before it plus this, on all axes: the highest position plus one, less
    /// the number of tokens.
    pub rope_delta: i32,
}

/// Positions of tokens that follow `past` others, which left `rope_delta` (both 0 for a new sequence). `grids` are the
/// pictures of these tokens, in order; each takes a run of `image_token` as long as its grid says.
///
/// # Errors
/// [`VisionError::ImageTokens`] or [`VisionError::NoPicture`] when runs of image tokens and grids disagree,
/// [`VisionError::NoTokens`] when a picture is left; [`VisionError::Positions`] beyond 31 bits.
pub fn rope_index(
    ids: &[i32],
    grids: &[Grid],
    facts: &VisionFacts,
    past: u32,
    rope_delta: i32,
) -> Result<RopeIndex, VisionError> {
    let image_token =
        i32::try_from(facts.image_token).map_err(|_| VisionError::Facts("an image token above 31 bits"))?;
    let merge = facts.merge_size.max(1);
    let mut axes: [Vec<i32>; 3] = std::array::from_fn(|_| Vec::with_capacity(ids.len()));
    let mut next = i64::from(past) + i64::from(rope_delta);
    let mut highest = next - 1;
    let (mut at, mut image) = (0, 0);
    while let Some(id) = ids.get(at) {
        if *id != image_token {
            push(&mut axes, [next; 3])?;
            highest = highest.max(next);
            next += 1;
            at += 1;
            continue;
        }
        let grid = grids.get(image).ok_or(VisionError::NoPicture { at, images: grids.len() })?;
        let expected = usize::try_from(grid.tokens(merge)).unwrap_or(usize::MAX);
        let found = ids.iter().skip(at).take(expected).take_while(|id| **id == image_token).count();
        if found != expected || expected == 0 {
            return Err(VisionError::ImageTokens { image, expected, found });
        }
        let (rows, columns) = (grid.h() / merge, grid.w() / merge);
        for frame in 0..grid.t() {
            for row in 0..rows {
                for column in 0..columns {
                    push(&mut axes, [frame, row, column].map(|step| next + i64::from(step)))?;
                }
            }
        }
        let longest = rows.max(columns);
        highest = highest.max(next + i64::from(longest.max(grid.t())) - 1);
        next += i64::from(longest);
        at += expected;
        image += 1;
    }
    if image < grids.len() {
        return Err(VisionError::NoTokens { image, images: grids.len() });
    }
    let tokens = i64::from(past).saturating_add(i64::try_from(ids.len()).unwrap_or(i64::MAX));
    let rope_delta = i32::try_from(highest + 1 - tokens).map_err(|_| VisionError::Positions)?;
    Ok(RopeIndex { positions: axes.concat(), rope_delta })
}

fn push(axes: &mut [Vec<i32>; 3], position: [i64; 3]) -> Result<(), VisionError> {
    for (axis, value) in axes.iter_mut().zip(position) {
        axis.push(i32::try_from(value).map_err(|_| VisionError::Positions)?);
    }
    Ok(())
}
