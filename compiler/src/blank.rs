//! Stand-ins for weights that are not there, for plans and for measurements.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use half::{bf16, f16};
use memmap2::MmapOptions;
use qwenc_ir::DType;

/// What large stand-ins hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIns {
    /// Zeros that take no memory: nobody will write them to a bundle.
    Plan,
    /// Numbers, as small ones do.
    Filled,
}

/// Bytes up to which a stand-in has values: biases, norms, gates and tables of positions are below.
const MOST_WITH_VALUES: usize = 16 << 20;
/// Stand-ins begin at different places of the values, this many bytes apart, so that no two are equal and each has an
/// address of its own.
const STEP: usize = 64;
/// As many places; then they come again.
const PLACES: usize = 1 << 15;
/// As many values; then they come again. A prime, so that stand-ins at different places are different.
const PERIOD: usize = 65_521;

/// `len` bytes in the place of a tensor. Passes look at the values of small ones (a sum with zeros is dropped, a
/// constant of equal elements is one number), so neighbours are different, between 0.5 and 1, as trained weights never
/// are special. All of a type share one block of values. Large ones are as `kind` says.
pub(crate) fn weight(dtype: DType, len: usize, kind: StandIns) -> io::Result<Bytes> {
    static F16: OnceLock<Bytes> = OnceLock::new();
    static BF16: OnceLock<Bytes> = OnceLock::new();
    match dtype {
        DType::F32 => place(floats(), len, kind),
        DType::F16 => place(F16.get_or_init(|| block(|value| f16::from_f32(value).to_le_bytes())), len, kind),
        DType::Bf16 => {
            place(BF16.get_or_init(|| block(|value| bf16::from_f32(value).to_le_bytes())), len, kind)
        }
        _ if kind == StandIns::Filled => codes(len, kind),
        _ => zeros(len),
    }
}

/// `len` bytes in the place of codes: any bits are codes.
pub(crate) fn codes(len: usize, kind: StandIns) -> io::Result<Bytes> {
    place(floats(), len, kind)
}

fn floats() -> &'static Bytes {
    static F32: OnceLock<Bytes> = OnceLock::new();
    F32.get_or_init(|| block(f32::to_le_bytes))
}

/// The next place of a block; zeros, or the block over and over, for what is too large.
fn place(block: &Bytes, len: usize, kind: StandIns) -> io::Result<Bytes> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if len > MOST_WITH_VALUES {
        return match kind {
            StandIns::Plan => zeros(len),
            StandIns::Filled => Ok(repeated(block, len)),
        };
    }
    let start = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES * STEP;
    Ok(block.slice(start..start + len))
}

/// A block over and over.
fn repeated(block: &Bytes, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&block[..block.len().min(len - bytes.len())]);
    }
    bytes.into()
}

/// Values for the longest stand-in at the last place.
fn block<const N: usize>(bytes: fn(f32) -> [u8; N]) -> Bytes {
    let count = (MOST_WITH_VALUES + PLACES * STEP) / N;
    // The golden ratio: no value comes again soon, and neighbours are far apart.
    let values = (0..count).map(|at| 0.5 + ((at % PERIOD) as f32 * 0.618_034).fract() / 2.0);
    values.flat_map(bytes).collect()
}

/// `len` zeros. The system gives every page of them the same memory for as long as nobody writes, and nobody can.
pub(crate) fn zeros(len: usize) -> io::Result<Bytes> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    let map = MmapOptions::new().len(len).no_reserve_swap().map_anon()?;
    Ok(Bytes::from_owner(map.make_read_only()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_zeros_than_memory() {
        let zeros = weight(DType::F32, 1 << 40, StandIns::Plan).unwrap();
        assert_eq!((zeros.len(), zeros[0], zeros[(1 << 40) - 1]), (1 << 40, 0, 0));
        assert!(super::zeros(0).unwrap().is_empty());
    }

    #[test]
    fn large_weights_are_filled_on_request() {
        let bytes = weight(DType::F32, MOST_WITH_VALUES + 12, StandIns::Filled).unwrap();
        assert_eq!(bytes.len(), MOST_WITH_VALUES + 12);
        assert!(bytes.chunks_exact(4).all(|word| word != [0; 4]));
        assert!(
            weight(DType::U4, MOST_WITH_VALUES + 1, StandIns::Filled).unwrap().iter().any(|byte| *byte != 0)
        );
    }

    #[test]
    fn small_weights_are_nothing_special() {
        let bytes = weight(DType::F32, 4 * 6144, StandIns::Plan).unwrap();
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
        assert!(values.iter().all(|value| (0.5..1.0).contains(value)));
        assert!(values.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(weight(DType::Bf16, 2 * 3, StandIns::Plan).unwrap().len(), 6);
        assert_eq!(weight(DType::F16, MOST_WITH_VALUES, StandIns::Plan).unwrap().len(), MOST_WITH_VALUES);
        let small = || weight(DType::F32, 4, StandIns::Filled).unwrap();
        let (one, other) = (small(), small());
        assert_ne!(one.as_ptr(), other.as_ptr(), "weights are told apart by their addresses");
        let few: std::collections::BTreeSet<Bytes> =
            (0..2000).map(|_| codes(256, StandIns::Plan).unwrap()).collect();
        assert_eq!(few.len(), 2000, "and equal ones would be taken for one");
    }
}
