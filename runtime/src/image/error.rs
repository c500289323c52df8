//! Why a picture cannot be used.

use crate::vision::VisionError;

/// A picture, or the configuration of an image processor, that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A file in none of the known formats.
    #[error("the file is neither PNG, JPEG nor WebP")]
    UnknownFormat,
    /// A file that is cut off or damaged.
    #[error("the picture is damaged or cut off: {0}")]
    Damaged(String),
    /// A picture without pixels.
    #[error("the picture is {width} x {height} pixels: it has none")]
    Empty {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// More pixels than are decoded.
    #[error(
        "the picture is {width} x {height} pixels; at most {max_side} on a side and {max_pixels} in all are read"
    )]
    TooLarge {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Most on a side.
        max_side: u32,
        /// Most in all.
        max_pixels: u64,
    },
    /// A file of more bytes than are read.
    #[error("the picture's file has {bytes} bytes; at most {max} are read")]
    FileTooLarge {
        /// Bytes of the file.
        bytes: usize,
        /// Most bytes.
        max: usize,
    },
    /// A picture far longer than wide, or wider than long.
    #[error("the picture is {width} x {height} pixels: one side is more than 200 times the other")]
    Aspect {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Pixels that are not as many as width and height say.
    #[error("{found} bytes of pixels for {width} x {height} pixels of {channels} bytes")]
    Pixels {
        /// Bytes given.
        found: usize,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes of a pixel.
        channels: u32,
    },
    /// A configuration that this processor does not follow.
    #[error("preprocessor_config.json: {0}")]
    Config(String),
    /// Pictures for a bundle without a vision encoder.
    #[error("the bundle takes no pictures: it was compiled without a vision encoder")]
    NoVision,
    /// Patches that the model does not take.
    #[error(transparent)]
    Vision(#[from] VisionError),
}
