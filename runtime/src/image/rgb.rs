//! Pixels.

use super::ImageError;

/// A picture: 8 bits for red, green and blue, row by row.
#[derive(Clone, PartialEq, Eq)]
pub struct Rgb {
    width: u32,
    height: u32,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Rgb {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Rgb({} x {})", self.width, self.height)
    }
}

impl Rgb {
    /// A picture of `width` x `height` pixels of 3 bytes.
    ///
    /// # Errors
    /// [`ImageError::Empty`], or [`ImageError::Pixels`] when the bytes are not as many.
    pub fn new(width: u32, height: u32, bytes: Vec<u8>) -> Result<Self, ImageError> {
        check(width, height, 3, bytes.len())?;
        Ok(Self { width, height, bytes })
    }

    /// A picture of pixels of 4 bytes, as browsers have them: laid over white by its alpha.
    ///
    /// # Errors
    /// As [`Rgb::new`].
    pub fn from_rgba(width: u32, height: u32, bytes: &[u8]) -> Result<Self, ImageError> {
        check(width, height, 4, bytes.len())?;
        let (pixels, _) = bytes.as_chunks::<4>();
        let over = |[r, g, b, a]: &[u8; 4]| [*r, *g, *b].map(|channel| over_white(channel, *a));
        Ok(Self { width, height, bytes: pixels.iter().flat_map(over).collect() })
    }

    /// What a pass over a picture made; its bytes are as many as its sides say.
    pub(super) fn from_parts(width: u32, height: u32, bytes: Vec<u8>) -> Self {
        debug_assert_eq!(check(width, height, 3, bytes.len()), Ok(()));
        Self { width, height, bytes }
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `height * width * 3` bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn check(width: u32, height: u32, channels: u32, found: usize) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { width, height });
    }
    let count = u64::from(width) * u64::from(height);
    if count.checked_mul(channels.into()).and_then(|n| usize::try_from(n).ok()) == Some(found) {
        Ok(())
    } else {
        Err(ImageError::Pixels { found, width, height, channels })
    }
}

/// A channel over white: the arithmetic of Pillow's `alpha_composite` for an opaque background.
pub(super) fn over_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    let blend = (channel * alpha + 255 * (255 - alpha)) * 128 + (128 << 7);
    // Division by 255 in fixed point, with 7 bits behind the point.
    u8::try_from((((blend >> 8) + blend) >> 8) >> 7).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_be_as_many_as_pixels() {
        assert!(Rgb::new(2, 1, vec![0; 6]).is_ok());
        assert!(matches!(Rgb::new(2, 1, vec![0; 5]), Err(ImageError::Pixels { found: 5, channels: 3, .. })));
        assert!(matches!(Rgb::new(0, 9, vec![]), Err(ImageError::Empty { width: 0, height: 9 })));
        assert!(Rgb::from_rgba(u32::MAX, u32::MAX, &[0; 4]).is_err());
    }

    #[test]
    fn alpha_goes_over_white() {
        let pixels = [10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128];
        let rgb = Rgb::from_rgba(3, 1, &pixels).unwrap();
        assert_eq!(rgb.bytes(), [10, 20, 30, 255, 255, 255, 127, 177, 255]);
    }
}
