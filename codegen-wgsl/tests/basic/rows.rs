//! Lookup of rows in weights of every format, held to plain arithmetic: the values are exact.

use half::{bf16, f16};
use qwenc_codegen_wgsl::rows::{self, RowsParams};
use qwenc_codegen_wgsl::weight::{Weight, WeightFormat};
use qwenc_codegen_wgsl::{Elem, Symbols, View};
use qwenc_ir::Dim;
use qwenc_ir::interp::HostTensor;

use crate::device::{Device, POISON, Random, on_every_target, sym};
use crate::packed::{Packed, formats, random};
use crate::{EXACT, dims, gapped, hold_to, view};

/// The row of an id in a table of `total` rows.
fn row_of(id: i64, total: i64) -> Option<usize> {
    let id = if id < 0 { id + total } else { id };
    (0..total).contains(&id).then(|| usize::try_from(id).unwrap())
}

#[test]
fn every_format() {
    let ids = [3, -1, 0, 12, 13, -13, -14, 7, i64::from(i32::MAX), i64::from(i32::MIN), 5, 5];
    for (index, format) in formats().into_iter().chain([WeightFormat::F32]).enumerate() {
        let k = [37, 300, 20, 266][index % 4];
        let offset = if index.is_multiple_of(2) { 0 } else { 4 };
        let table = random(format, (13, k), 20, offset, &mut Random::new(index as u64));
        let ids_view = view(0, Elem::I32, &[Dim::constant(3), sym("tokens")]);
        let output = gapped(1, Elem::F32, &[Dim::constant(3), sym("tokens"), Dim::from(k)], 3, 1);
        let params = RowsParams {
            weight: table.weight.clone(),
            first: 0,
            total: 13,
            fill: true,
            ids: ids_view.clone(),
            output: output.clone(),
        };
        let row = |id: &i64| match row_of(*id, 13) {
            Some(row) => table.values[row * k..][..k].to_vec(),
            None => vec![0.0; k],
        };
        let expected = HostTensor::f32([3, 4, k], ids.iter().flat_map(row).collect::<Vec<_>>()).unwrap();
        let mut operands = vec![(ids_view, HostTensor::i64([3, 4], ids.to_vec()).unwrap())];
        operands.extend(table.operands);
        let symbols = [("past", 9, 4), ("tokens", 512, 4)];
        let what = format!("rows of {format:?}");
        hold_to(&what, &symbols, &operands, &output, &expected, EXACT, |s| rows::kernel(s, &params));
    }
}

#[test]
fn a_table_in_pieces() {
    // Two weights hold the table; each launch writes its own rows, and one of them the zeros. Unsigned ids.
    let (k, total) = (21, 24);
    let ids: Vec<i64> = vec![0, 9, 10, 23, 24, 4_294_967_295, 17];
    for (which, format) in [formats()[9], WeightFormat::Bf16].into_iter().enumerate() {
        let first_fills = which == 0;
        let mut numbers = Random::new(5);
        let pieces: [Packed; 2] =
            [(10, 20), (14, 30)].map(|(n, buffer)| random(format, (n, k), buffer, 0, &mut numbers));
        let ids_view = view(0, Elem::U32, &dims(&[7]));
        let output = view(1, Elem::F32, &[Dim::constant(7), Dim::from(k)]);
        let mut start = Device::new(&[]);
        start
            .put(&ids_view, ids.iter().map(|id| u32::try_from(*id).unwrap()).collect::<Vec<_>>().into_iter());
        for (view, tensor) in pieces.iter().flat_map(|piece| &piece.operands) {
            start.put(view, crate::words(tensor).into_iter());
        }
        start.poison(&output);
        let kernels = [0, 1].map(|piece: usize| {
            let params = RowsParams {
                weight: pieces[piece].weight.clone(),
                first: [0, 10][piece],
                total,
                fill: (piece == 0) == first_fills,
                ids: ids_view.clone(),
                output: output.clone(),
            };
            rows::kernel(&start.symbols, &params).unwrap()
        });
        on_every_target(|target| {
            let mut device = start.clone();
            let mut written = [false; 2];
            for piece in 0..2 {
                device.run(target, &kernels[piece], &[&output]);
                written[piece] = true;
                for (row, id) in device.words(&output).chunks(k).zip(&ids) {
                    let (holder, values) = match usize::try_from(*id).unwrap() {
                        id @ 0..10 => (0, &pieces[0].values[id * k..][..k]),
                        id @ 10..24 => (1, &pieces[1].values[(id - 10) * k..][..k]),
                        _ => (usize::from(!first_fills), &vec![0.0; k][..]),
                    };
                    let expected: Vec<u32> = if written[holder] {
                        values.iter().map(|value| value.to_bits()).collect()
                    } else {
                        vec![POISON; k]
                    };
                    assert_eq!(row, expected, "id {id} after piece {piece} on {}", target.name());
                }
            }
        });
    }
}

#[test]
fn all_sixteen_bit_floats() {
    // 2048 rows of 32 are all patterns: zeros of both signs and subnormals too. Infinities and NaN are left out of the
    // comparison, as WGSL has none.
    let patterns: Vec<u16> = (0..=u16::MAX).collect();
    let words: Vec<u32> =
        patterns.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16).collect();
    for format in [WeightFormat::F16, WeightFormat::Bf16] {
        let values = view(20, Elem::U32, &dims(&[2048, 16]));
        let ids = view(0, Elem::I32, &dims(&[2048]));
        let output = view(1, Elem::F32, &dims(&[2048, 32]));
        let mut start = Device::new(&[]);
        start.put(&values, words.iter().copied());
        start.put(&ids, 0..2048u32);
        start.poison(&output);
        let weight = Weight { format, values, scales: None, zeros: None };
        let params = RowsParams { weight, first: 0, total: 2048, fill: true, ids, output: output.clone() };
        let kernel = rows::kernel(&start.symbols, &params).unwrap();
        on_every_target(|target| {
            let mut device = start.clone();
            device.run(target, &kernel, &[&output]);
            for (got, pattern) in device.words(&output).into_iter().zip(&patterns) {
                let value = match format {
                    WeightFormat::F16 => f16::from_bits(*pattern).to_f32(),
                    _ => bf16::from_bits(*pattern).to_f32(),
                };
                let fits = !value.is_finite() || got == value.to_bits();
                assert!(fits, "{pattern:#x} is {got:#x} in {format:?} on {}", target.name());
            }
        });
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let params = RowsParams {
        weight: Weight::f32(view(2, Elem::F32, &dims(&[5, 8]))),
        first: 4,
        total: 9,
        fill: false,
        ids: view(0, Elem::I32, &dims(&[3])),
        output: view(1, Elem::F32, &dims(&[3, 7])),
    };
    let symbols = Symbols::default();
    assert!(rows::kernel(&symbols, &params).is_ok());
    let half = Weight { format: WeightFormat::F16, ..params.weight.clone() };
    let wrong = [
        RowsParams { first: 5, ..params.clone() },
        RowsParams { first: u32::MAX, ..params.clone() },
        RowsParams { weight: half, ..params.clone() },
        RowsParams { ids: view(0, Elem::F32, &dims(&[3])), ..params.clone() },
        RowsParams { ids: view(0, Elem::I32, &dims(&[1, 3])), ..params.clone() },
        RowsParams { output: view(1, Elem::F32, &dims(&[3, 9])), ..params.clone() },
        RowsParams { output: view(1, Elem::I32, &dims(&[3, 7])), ..params.clone() },
        RowsParams { output: View { shape: vec![], strides: vec![], ..params.output.clone() }, ..params },
    ];
    for params in wrong {
        assert!(rows::kernel(&symbols, &params).is_err(), "{params:?}");
    }
}
