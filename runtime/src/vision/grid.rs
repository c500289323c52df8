//! A picture's grid of patches.

use super::VisionError;
use crate::format::VisionFacts;

/// Longest side of any grid: products of three fit 64 bits, and a row or column fits an `f32` exactly.
pub(super) const MAX_SIDE: u32 = 1 << 20;

/// Frames, rows and columns of a picture's patches; none is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    t: u32,
    h: u32,
    w: u32,
}

impl Grid {
    /// A grid of `t` frames (1 for a picture), `h` rows and `w` columns of patches.
    ///
    /// # Errors
    /// [`VisionError::Side`] when one of them is zero or above 2^20.
    pub fn new(t: u32, h: u32, w: u32) -> Result<Self, VisionError> {
        if [t, h, w].iter().all(|side| (1..=MAX_SIDE).contains(side)) {
            Ok(Self { t, h, w })
        } else {
            Err(VisionError::Side { t: t.into(), h: h.into(), w: w.into() })
        }
    }

    /// Frames.
    #[must_use]
    pub fn t(self) -> u32 {
        self.t
    }

    /// Rows of patches.
    #[must_use]
    pub fn h(self) -> u32 {
        self.h
    }

    /// Columns of patches.
    #[must_use]
    pub fn w(self) -> u32 {
        self.w
    }

    /// Patches of all frames.
    #[must_use]
    pub fn patches(self) -> u64 {
        u64::from(self.t) * u64::from(self.h) * u64::from(self.w)
    }

    /// Feature rows, which is tokens of a prompt: one for each block of `merge_size` x `merge_size` patches.
    #[must_use]
    pub fn tokens(self, merge_size: u32) -> u64 {
        let merge = merge_size.max(1);
        u64::from(self.t) * u64::from(self.h / merge) * u64::from(self.w / merge)
    }

    /// Whether a model can take this grid in one replay.
    ///
    /// # Errors
    /// [`VisionError::Blocks`], [`VisionError::TooLong`] or [`VisionError::TooManyPatches`].
    pub fn check(self, facts: &VisionFacts) -> Result<(), VisionError> {
        let Self { h, w, .. } = self;
        let VisionFacts { merge_size, max_side, max_patches, .. } = *facts;
        if merge_size == 0 || h % merge_size != 0 || w % merge_size != 0 {
            return Err(VisionError::Blocks { h, w, merge_size });
        }
        if h > max_side || w > max_side {
            return Err(VisionError::TooLong { h, w, max_side });
        }
        if self.patches() > max_patches.into() {
            return Err(VisionError::TooManyPatches { patches: self.patches(), max_patches });
        }
        Ok(())
    }
}

/// How many of the next pictures belong to a call with these tokens: as many as its image tokens begin.
#[must_use]
pub fn pictures_of(ids: &[i32], next: &[Grid], facts: &VisionFacts) -> usize {
    let is_image = |id: &&i32| u32::try_from(**id) == Ok(facts.image_token);
    let mut left = ids.iter().filter(is_image).count();
    let fits = |grid: &&Grid| {
        let begins = left > 0;
        left = left.saturating_sub(usize::try_from(grid.tokens(facts.merge_size)).unwrap_or(usize::MAX));
        begins
    };
    next.iter().take_while(fits).count()
}
