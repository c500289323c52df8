//! Stand-ins for weights that are not there, for plans.

use std::io;

use bytes::Bytes;
use half::{bf16, f16};
use memmap2::MmapOptions;
use qwenc_ir::DType;

/// Bytes up to which a stand-in has values: biases, norms and gates are far below, matrices above.
const MOST_WITH_VALUES: usize = 1 << 20;

/// `len` bytes in the place of a tensor. Passes look at the values of small ones (a sum with zeros is dropped, a
/// constant of equal elements is one number), so those are all different, between 0.5 and 1, as trained weights never
/// are special. Large ones are zeros that take no memory.
pub(crate) fn weight(dtype: DType, len: usize) -> io::Result<Bytes> {
    let values = |each: usize| (0..len / each).map(|at| 0.5 + (at as f32 * 0.618_034).fract() / 2.0);
    Ok(match dtype {
        DType::F32 if len <= MOST_WITH_VALUES => values(4).flat_map(f32::to_le_bytes).collect(),
        DType::F16 if len <= MOST_WITH_VALUES => {
            values(2).flat_map(|value| f16::from_f32(value).to_le_bytes()).collect()
        }
        DType::Bf16 if len <= MOST_WITH_VALUES => {
            values(2).flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect()
        }
        _ => zeros(len)?,
    })
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
        let zeros = weight(DType::F32, 1 << 40).unwrap();
        assert_eq!((zeros.len(), zeros[0], zeros[(1 << 40) - 1]), (1 << 40, 0, 0));
        assert!(super::zeros(0).unwrap().is_empty());
    }

    #[test]
    fn small_weights_are_nothing_special() {
        let bytes = weight(DType::F32, 4 * 6144).unwrap();
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
        assert!(values.iter().all(|value| (0.5..1.0).contains(value)));
        assert!(values.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(weight(DType::Bf16, 2 * 3).unwrap().len(), 6);
    }
}
