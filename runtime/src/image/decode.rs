//! Reading PNG, JPEG and WebP. Files are untrusted: sizes are known and bounded before pixels are decoded.

use std::io::Cursor;

use image::error::UnsupportedErrorKind;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::rgb::over_white;
use super::{ImageError, Rgb};
use crate::printable::printable;

/// Most pixels on a side: what WebP can have.
const MAX_SIDE: u32 = 16_383;
/// Most pixels in all: 67 million, above what cameras of phones give by default.
const MAX_PIXELS: u64 = 1 << 26;
/// Most bytes that a decoder may allocate: pixels of 8 bytes.
const MAX_ALLOC: u64 = 640 << 20;
/// Most bytes of a file.
const MAX_FILE: usize = 256 << 20;

/// Decodes a file's first picture: turned upright as its EXIF orientation says, over white where it is transparent, grey
/// as RGB, 16 bits as their upper 8.
///
/// # Errors
/// [`ImageError`]: another format, a damaged or cut off file, no pixels, or too many.
pub fn decode(bytes: &[u8]) -> Result<Rgb, ImageError> {
    if bytes.len() > MAX_FILE {
        return Err(ImageError::FileTooLarge { bytes: bytes.len(), max: MAX_FILE });
    }
    let format = image::guess_format(bytes).map_err(|_| ImageError::UnknownFormat)?;
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) {
        return Err(ImageError::UnknownFormat);
    }
    if format == ImageFormat::Jpeg && !ends(bytes) {
        return Err(ImageError::Damaged("the end of the JPEG data is missing".to_owned()));
    }
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOC);
    // The sizes first, by a reader without limits, for an error that says them. It decodes no pixel.
    let mut sizes = ImageReader::with_format(Cursor::new(bytes), format);
    sizes.no_limits();
    let (width, height) = sizes.into_dimensions().map_err(damaged)?;
    check(width, height)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    check(picture.width(), picture.height())?;
    picture = flat(picture);
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    let (width, height) = rgb.dimensions();
    Rgb::new(width, height, rgb.into_raw())
}

fn check(width: u32, height: u32) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::Empty { width, height });
    }
    if width.max(height) > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageError::TooLarge { width, height, max_side: MAX_SIDE, max_pixels: MAX_PIXELS });
    }
    Ok(())
}

/// 8 bits a channel and no alpha: of 16 bits the upper 8, transparent pixels over white.
fn flat(picture: DynamicImage) -> DynamicImage {
    let upper = |value: u16| u8::try_from(value >> 8).unwrap_or(u8::MAX);
    let picture = match picture {
        DynamicImage::ImageLuma16(pixels) => {
            let bytes = pixels.iter().map(|value| upper(*value)).collect();
            image::GrayImage::from_raw(pixels.width(), pixels.height(), bytes).map(DynamicImage::from)
        }
        DynamicImage::ImageLumaA16(pixels) => {
            let bytes = pixels.iter().map(|value| upper(*value)).collect();
            image::GrayAlphaImage::from_raw(pixels.width(), pixels.height(), bytes).map(DynamicImage::from)
        }
        DynamicImage::ImageRgb16(pixels) => {
            let bytes = pixels.iter().map(|value| upper(*value)).collect();
            image::RgbImage::from_raw(pixels.width(), pixels.height(), bytes).map(DynamicImage::from)
        }
        DynamicImage::ImageRgba16(pixels) => {
            let bytes = pixels.iter().map(|value| upper(*value)).collect();
            image::RgbaImage::from_raw(pixels.width(), pixels.height(), bytes).map(DynamicImage::from)
        }
        other => Some(other),
    }
    .unwrap_or_default();
    match picture {
        DynamicImage::ImageRgba8(pixels) => {
            let (pixel, _) = pixels.as_chunks::<4>();
            let over = |[r, g, b, a]: &[u8; 4]| [*r, *g, *b].map(|channel| over_white(channel, *a));
            let bytes = pixel.iter().flat_map(over).collect();
            image::RgbImage::from_raw(pixels.width(), pixels.height(), bytes).map(DynamicImage::from)
        }
        DynamicImage::ImageLumaA8(pixels) => {
            let (pixel, _) = pixels.as_chunks::<2>();
            let bytes = pixel.iter().map(|[grey, alpha]| over_white(*grey, *alpha)).collect();
            image::GrayImage::from_raw(pixels.width(), pixels.height(), bytes).map(DynamicImage::from)
        }
        other => Some(other),
    }
    .unwrap_or_default()
}

fn damaged(error: image::ImageError) -> ImageError {
    match error {
        image::ImageError::Unsupported(unsupported)
            if matches!(unsupported.kind(), UnsupportedErrorKind::Format(_)) =>
        {
            ImageError::UnknownFormat
        }
        other => ImageError::Damaged(printable(&other.to_string(), 200)),
    }
}

/// Whether a JPEG has its end marker behind the first scan. The decoder fills what is missing with grey, which would pass for
/// a picture.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    // Segments before the first scan, which may hold a thumbnail with an end marker of its own.
    while let Some([0xFF, marker, rest @ ..]) = bytes.get(at..) {
        match (marker, rest) {
            (0xFF, _) => at += 1,
            (0xDA, _) => return rest.windows(2).any(|pair| pair == [0xFF, 0xD9]),
            (0x01 | 0xD0..=0xD8, _) => at += 2,
            (_, [high, low, ..]) => at += 2 + usize::from(u16::from_be_bytes([*high, *low])).max(2),
            _ => return false,
        }
    }
    false
}
