//! Why pictures do not fit a model or a prompt.

/// A grid, or a prompt with pictures, that a model cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VisionError {
    /// A grid with a side of zero, or beyond every limit.
    #[error("a grid of {t} x {h} x {w} patches: each side is 1 to {limit}", limit = super::grid::MAX_SIDE)]
    Side {
        /// Frames.
        t: u64,
        /// Rows.
        h: u64,
        /// Columns.
        w: u64,
    },
    /// Rows or columns that do not divide into blocks.
    #[error("a grid of {h} x {w} patches does not divide into blocks of {merge_size} x {merge_size}")]
    Blocks {
        /// Rows.
        h: u32,
        /// Columns.
        w: u32,
        /// Rows and columns of a block.
        merge_size: u32,
    },
    /// A side longer than the model's table of positions.
    #[error("a grid of {h} x {w} patches: the model takes at most {max_side} on a side")]
    TooLong {
        /// Rows.
        h: u32,
        /// Columns.
        w: u32,
        /// Most rows, and columns.
        max_side: u32,
    },
    /// More patches than the bundle was compiled for.
    #[error("{patches} patches at once are more than the {max_patches} that the bundle was compiled for")]
    TooManyPatches {
        /// Patches.
        patches: u64,
        /// Most patches of one replay.
        max_patches: u32,
    },
    /// A prompt that ends before the tokens of its pictures.
    #[error("picture {image} needs {expected} image tokens in a row, the prompt has {found} there")]
    ImageTokens {
        /// The picture, from 0.
        image: usize,
        /// Tokens that its grid gives.
        expected: usize,
        /// Tokens that stand there.
        found: usize,
    },
    /// Image tokens left when every picture has its own.
    #[error("the prompt has image tokens at token {at}, where no picture is left: {images} were given")]
    NoPicture {
        /// Place in the prompt.
        at: usize,
        /// Pictures given.
        images: usize,
    },
    /// A picture without image tokens.
    #[error("picture {image} of {images} has no image tokens in the prompt")]
    NoTokens {
        /// The first such picture, from 0.
        image: usize,
        /// Pictures given.
        images: usize,
    },
    /// Another number of values than the patches of a picture have.
    #[error("picture {image} has {found} values, its patches are {expected}")]
    Values {
        /// The picture, from 0.
        image: usize,
        /// Patches times the values of one.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// Positions beyond 31 bits.
    #[error("the prompt's positions go beyond 2147483647")]
    Positions,
    /// A bundle whose facts of vision contradict each other.
    #[error("the model's facts of vision are impossible: {0}")]
    Facts(&'static str),
}
