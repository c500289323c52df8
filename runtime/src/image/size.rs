//! The size that a picture is resized to.

use super::ImageError;

/// Longest side in multiples of the shortest one.
const MAX_ASPECT: f64 = 200.0;

/// What bounds a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Both sides are multiples of this: patch size times merge size.
    pub(super) factor: u32,
    /// Fewest pixels.
    pub(super) min_pixels: u64,
    /// Most pixels that the processor aims at.
    pub(super) max_pixels: u64,
    /// Most blocks of `factor` x `factor` pixels, whatever the pixels.
    pub(super) max_blocks: u64,
}

/// Height and width after resizing: near the picture's own, multiples of `factor`, of about its aspect, with pixels between
/// the bounds. The same as transformers' `smart_resize`, in the same floating-point steps; sizes that it gives beyond
/// `max_blocks`, which it does not know, are cut down.
pub(super) fn resized(height: u32, width: u32, bounds: Bounds) -> Result<(u32, u32), ImageError> {
    if height == 0 || width == 0 {
        return Err(ImageError::Empty { width, height });
    }
    let (h, w) = (f64::from(height), f64::from(width));
    if h.max(w) / h.min(w) > MAX_ASPECT {
        return Err(ImageError::Aspect { width, height });
    }
    let factor = f64::from(bounds.factor);
    let max_blocks = real(bounds.max_blocks.max(1));
    let area = factor * factor;
    let max_pixels = real(bounds.max_pixels).min(max_blocks * area);
    let min_pixels = real(bounds.min_pixels).min(max_pixels);
    // Numbers of blocks from here on.
    let down = || {
        let beta = (h * w / max_pixels).sqrt();
        [h, w].map(|side| (side / beta / factor).floor().max(1.0))
    };
    let [rows, columns] = [h, w].map(|side| (side / factor).round_ties_even());
    let [mut rows, mut columns] = if rows * columns * area > max_pixels {
        down()
    } else if rows * columns * area < min_pixels {
        let beta = (min_pixels / (h * w)).sqrt();
        [h, w].map(|side| (side * beta / factor).ceil())
    } else {
        [rows, columns]
    };
    if rows * columns > max_blocks {
        [rows, columns] = down();
    }
    // A picture so narrow that one block is more than its share.
    if rows * columns > max_blocks {
        columns = if columns > rows { (max_blocks / rows).floor().max(1.0) } else { columns };
        rows = rows.min((max_blocks / columns).floor().max(1.0));
    }
    Ok((pixels(rows * factor), pixels(columns * factor)))
}

/// Counts far below 2^53.
fn real(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number of pixels, bounded"
)]
fn pixels(value: f64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Bounds =
        Bounds { factor: 32, min_pixels: 65_536, max_pixels: 16_777_216, max_blocks: u64::MAX >> 20 };

    #[test]
    fn sizes_are_those_of_the_reference() {
        // (height, width) -> what transformers' smart_resize gives with the same bounds.
        let cases = [
            ((80, 80), (256, 256)),
            ((1, 1), (256, 256)),
            ((1, 200), (32, 3648)),
            ((720, 1280), (704, 1280)),
            ((1080, 1920), (1088, 1920)),
            ((48, 4000), (64, 4000)),
            ((5000, 5000), (4096, 4096)),
            ((16384, 100), (16384, 96)),
            ((3000, 4000), (3008, 4000)),
            ((16384, 16000), (4128, 4032)),
        ];
        for ((height, width), expected) in cases {
            assert_eq!(resized(height, width, PLAIN).unwrap(), expected, "{height} x {width}");
        }
    }

    #[test]
    fn long_and_empty_pictures_are_refused() {
        assert!(resized(1, 200, PLAIN).is_ok());
        assert!(matches!(resized(201, 1, PLAIN), Err(ImageError::Aspect { width: 1, height: 201 })));
        assert!(matches!(resized(0, 5, PLAIN), Err(ImageError::Empty { .. })));
    }

    #[test]
    fn no_picture_takes_more_blocks_than_there_are() {
        for max_blocks in [1, 2, 7, 64, 1024] {
            let bounds = Bounds { max_blocks, ..PLAIN };
            for height in [1, 7, 31, 33, 100, 640, 5000] {
                for width in [1, 15, 48, 200, 999, 4000] {
                    let Ok((h, w)) = resized(height, width, bounds) else { continue };
                    assert!(h >= 32 && w >= 32 && h % 32 == 0 && w % 32 == 0);
                    assert!(
                        u64::from(h / 32) * u64::from(w / 32) <= max_blocks,
                        "{height} x {width}: {h} x {w}"
                    );
                }
            }
        }
    }
}
