//! Random weights in every format, packed as kernels read them, with the values that they stand for.

use half::{bf16, f16};
use qwenc_codegen_wgsl::weight::{
    CodeBits, QuantBlock, QuantFormat, ScaleType, Weight, WeightFormat, ZeroPoint,
};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::Dim;
use qwenc_ir::interp::HostTensor;

use crate::device::Random;
use crate::view;

/// A weight `[n, k]`.
pub(crate) struct Packed {
    pub(crate) weight: Weight,
    /// What lies on the device.
    pub(crate) operands: Vec<(View, HostTensor)>,
    /// `[n, k]`.
    pub(crate) values: Vec<f32>,
}

/// 16-bit formats, and quantized ones in which every block size meets every code size and every kind of zero point, and
/// every kind of scale every kind of zero point.
pub(crate) fn formats() -> Vec<WeightFormat> {
    let mut formats = vec![WeightFormat::F16, WeightFormat::Bf16];
    let blocks = [16, 32, 64, 128, 256].map(QuantBlock::Elements).into_iter().chain([QuantBlock::Row]);
    for (i, block) in blocks.enumerate() {
        for (j, bits) in [CodeBits::Two, CodeBits::Four, CodeBits::Eight].into_iter().enumerate() {
            let zero = match (i + j) % 3 {
                0 => ZeroPoint::Constant(1 << (bits.get() - 1)),
                1 => ZeroPoint::Codes,
                _ => ZeroPoint::Float,
            };
            let scales = if (i + j) % 2 == 0 { ScaleType::F32 } else { ScaleType::F16 };
            formats.push(WeightFormat::Quantized(QuantFormat { bits, block, scales, zero }));
        }
    }
    formats
}

/// Packs numbers of a few bits into words, from the low end.
fn pack_bits(values: &[u32], bits: u32) -> Vec<u32> {
    let per_word = usize::try_from(32 / bits).unwrap();
    values.chunks(per_word).map(|word| word.iter().rev().fold(0, |all, v| (all << bits) | v)).collect()
}

fn float_words(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn half_words(values: &[f32], bits: impl Fn(f32) -> u16) -> Vec<u32> {
    pack_bits(&values.iter().map(|value| bits(*value).into()).collect::<Vec<_>>(), 16)
}

/// Words on the device, at `offset`: the view, and what it holds.
fn operand(buffer: u32, elem: Elem, shape: &[usize], offset: i64, words: &[u32]) -> (View, HostTensor) {
    let dims: Vec<Dim> = shape.iter().map(|size| Dim::from(*size)).collect();
    let view = View { offset: Dim::constant(offset), ..view(buffer, elem, &dims) };
    let tensor = if elem == Elem::F32 {
        HostTensor::f32(shape, words.iter().map(|word| f32::from_bits(*word)).collect::<Vec<_>>())
    } else {
        HostTensor::i64(shape, words.iter().map(|word| i64::from(*word)).collect::<Vec<_>>())
    };
    (view, tensor.unwrap())
}

/// A weight in buffers from `buffer` on, starting at `offset` words, a multiple of 4.
pub(crate) fn random(
    format: WeightFormat,
    (n, k): (usize, usize),
    buffer: u32,
    offset: i64,
    random: &mut Random,
) -> Packed {
    let pad = |row: &[f32], unit: usize| {
        let mut row = row.to_vec();
        row.resize(k.next_multiple_of(unit), 0.0);
        row
    };
    let quant = match format {
        WeightFormat::Quantized(quant) => quant,
        _ => {
            let values = random.vec(n * k);
            let round = |x: f32| match format {
                WeightFormat::F16 => f16::from_f32(x).to_f32(),
                WeightFormat::Bf16 => bf16::from_f32(x).to_f32(),
                _ => x,
            };
            let values: Vec<f32> = values.into_iter().map(round).collect();
            let words = |row: &[f32]| match format {
                WeightFormat::F16 => half_words(&pad(row, 8), |x| f16::from_f32(x).to_bits()),
                WeightFormat::Bf16 => half_words(&pad(row, 8), |x| bf16::from_f32(x).to_bits()),
                _ => float_words(&pad(row, 4)),
            };
            let words: Vec<u32> = values.chunks(k).flat_map(words).collect();
            let elem = if format == WeightFormat::F32 { Elem::F32 } else { Elem::U32 };
            let (view, tensor) = operand(buffer, elem, &[n, words.len() / n], offset, &words);
            let weight = Weight { format, values: view.clone(), scales: None, zeros: None };
            return Packed { weight, operands: vec![(view, tensor)], values };
        }
    };

    let bits = quant.bits.get();
    let mut code = |count: usize| -> Vec<u32> {
        let range = (1u32 << bits) as f32;
        random.vec(count).into_iter().map(|x| ((x * 0.5 + 0.5) * range) as u32).collect()
    };
    // Also the padding holds codes, which must not count.
    let padded = k.next_multiple_of(16);
    let codes = code(n * padded);
    let words: Vec<u32> = codes.chunks(padded).flat_map(|row| pack_bits(row, bits)).collect();
    let block = match quant.block {
        QuantBlock::Elements(block) => usize::try_from(block).unwrap(),
        QuantBlock::Row => k,
    };
    let blocks = k.div_ceil(block);
    let count = n * blocks;
    let zero_codes = code(count);
    let scales = random.vec(count).into_iter().map(|x| x / (1u32 << bits) as f32);
    let scales: Vec<f32> = match quant.scales {
        ScaleType::F32 => scales.collect(),
        ScaleType::F16 => scales.map(|x| f16::from_f32(x).to_f32()).collect(),
    };
    let zeros: Vec<f32> = match quant.zero {
        ZeroPoint::Constant(zero) => vec![zero as f32; count],
        ZeroPoint::Codes => zero_codes.iter().map(|zero| *zero as f32).collect(),
        ZeroPoint::Float => random.vec(count).into_iter().map(|x| x * (1u32 << bits) as f32).collect(),
    };
    let value = |row: usize, column: usize| {
        let at = row * blocks + column / block;
        (codes[row * padded + column] as f32 - zeros[at]) * scales[at]
    };
    let values = (0..n * k).map(|at| value(at / k, at % k)).collect();

    let values_operand = operand(buffer, Elem::U32, &[n, words.len() / n], offset, &words);
    let (elem, words) = match quant.scales {
        ScaleType::F32 => (Elem::F32, float_words(&scales)),
        ScaleType::F16 => (Elem::U32, half_words(&scales, |x| f16::from_f32(x).to_bits())),
    };
    let scales_operand = operand(buffer + 1, elem, &[words.len()], offset, &words);
    let zeros_operand = match quant.zero {
        ZeroPoint::Constant(_) => None,
        ZeroPoint::Codes => Some((Elem::U32, pack_bits(&zero_codes, bits))),
        ZeroPoint::Float => Some((Elem::F32, float_words(&zeros))),
    }
    .map(|(elem, words)| operand(buffer + 2, elem, &[words.len()], offset, &words));
    let weight = Weight {
        format,
        values: values_operand.0.clone(),
        scales: Some(scales_operand.0.clone()),
        zeros: zeros_operand.as_ref().map(|(view, _)| view.clone()),
    };
    let operands =
        [Some(values_operand), Some(scales_operand), zeros_operand].into_iter().flatten().collect();
    Packed { weight, operands, values }
}
