//! Choices that follow from the seed that the fuzzer gives.

/// A small generator (SplitMix64): mutations need variety, not quality.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// Integers at which code is often wrong.
pub const ODD: [i64; 26] = [
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    16,
    63,
    64,
    65,
    127,
    -128,
    255,
    256,
    4096,
    65_535,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 32,
    1 << 53,
    i64::MAX,
    i64::MIN,
];

impl Rng {
    /// A generator.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed) ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % (end.max(1) as u64)).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len()))
    }

    /// An integer: often small, often one of [`ODD`].
    pub fn int(&mut self) -> i64 {
        match self.below(4) {
            0 | 1 => i64::try_from(self.below(12)).unwrap_or(0) - 3,
            2 => self.pick(&ODD).copied().unwrap_or(0),
            _ => self.bits().cast_signed() >> self.below(64),
        }
    }
}
