//! Linear layers whose weights are quantized or in 16 bits, held to the interpreter's `Linear` of the values that they
//! stand for.

use qwenc_codegen_wgsl::linear::LinearParams;
use qwenc_codegen_wgsl::weight::{
    CodeBits, QuantBlock, QuantFormat, ScaleType, Weight, WeightFormat, ZeroPoint,
};
use qwenc_codegen_wgsl::{Elem, Symbols, View, linear_gemm, linear_gemv};
use qwenc_ir::{Activation, Dim};

use crate::device::sym;
use crate::linear::{Case, check_format, row};
use crate::packed::formats;
use crate::{dims, gapped, view};

const GATE: Option<Activation> = Some(Activation::Silu);

/// Every other weight does not start where its buffers do.
fn offset(index: usize) -> i64 {
    if index.is_multiple_of(2) { 0 } else { 4 }
}

/// One row: widths that end within a unit, within a block and on both, with and without a norm and a gated pair, the
/// operands aligned for vectors or not.
#[test]
fn one_row() {
    let symbols = [("row", 40, 13), ("past", 9, 5)];
    for (index, format) in formats().into_iter().enumerate() {
        for variant in 0..2 {
            let k = [300, 37, 1021, 20, 2500, 96, 4100][(index + 3 * variant) % 7];
            let n = [5, 61, 9, 1][(index + variant) % 4];
            let features = (2 * index + variant) % 4;
            let pick =
                |buffer, width: i64| View { offset: sym("row") * Dim::from(width), ..row(buffer, width) };
            let what = format!("gemv {k}x{n} of {format:?}, features {features}");
            let case = Case {
                what: &what,
                symbols: &symbols,
                x: pick(0, k),
                output: View { offset: sym("past"), ..row(1, n) },
                norm: features % 2 == 1,
                glu: GATE.filter(|_| features == 1),
                epilogue: (features >= 2).then(|| (pick(2, n), view(3, Elem::F32, &dims(&[n])))),
            };
            check_format(&case, format, offset(index), linear_gemv::kernel);
        }
    }
}

/// As many outputs as let a group of lanes make several.
#[test]
fn one_row_to_many_outputs() {
    for (index, (k, n, glu)) in
        [(37, 16391, None), (52, 4099, None), (40, 16387, GATE)].into_iter().enumerate()
    {
        let format = formats()[3 + index];
        let what = format!("gemv {k}x{n} of {format:?}");
        let case = Case {
            what: &what,
            symbols: &[],
            x: row(0, k),
            output: row(1, n),
            norm: index == 0,
            glu,
            epilogue: None,
        };
        check_format(&case, format, 0, linear_gemv::kernel);
    }
}

/// Several rows. The lookup of rows unpacks every format by the same text, so that some are enough here: both of 16
/// bits, and quantized ones with every block size, code size, zero point and scale.
#[test]
fn many_rows() {
    let formats = formats();
    let some = [0, 1].into_iter().chain((0..6).map(|block| 2 + 3 * block + block % 3));
    for (index, format) in some.map(|at| formats[at]).enumerate() {
        let rows = [3, 70, 1][index % 3];
        let k = [300, 37, 1030, 20, 96][index % 5];
        let n = [7, 61, 66][(index / 3) % 3];
        let glu = GATE.filter(|_| index % 4 < 2);
        let symbols = [("past", 9, 5), ("tokens", 512, rows)];
        let shape = |width: i64| [Dim::constant(1), sym("tokens"), Dim::constant(width)];
        let epilogue = (index % 2 == 0)
            .then(|| (gapped(2, Elem::F32, &shape(n), 3, 1), view(3, Elem::F32, &dims(&[n]))));
        let what = format!("gemm {rows}x{k}x{n} of {format:?}, {glu:?}, epilogue {}", epilogue.is_some());
        let case = Case {
            what: &what,
            symbols: &symbols,
            x: gapped(0, Elem::F32, &shape(k), 8, 4),
            output: gapped(1, Elem::F32, &shape(n), 1, 3),
            norm: false,
            glu,
            epilogue,
        };
        check_format(&case, format, offset(index), linear_gemm::kernel);
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let quant = QuantFormat {
        bits: CodeBits::Four,
        block: QuantBlock::Elements(32),
        scales: ScaleType::F16,
        zero: ZeroPoint::Codes,
    };
    let words = |buffer, shape: &[i64]| view(buffer, Elem::U32, &dims(shape));
    let fits = Weight {
        format: WeightFormat::Quantized(quant),
        values: words(2, &[5, 10]),
        scales: Some(words(3, &[8])),
        zeros: Some(words(4, &[2])),
    };
    let try_all = |weight: Weight| {
        let params = LinearParams {
            x: row(0, 70),
            norm: None,
            weight,
            glu: None,
            conv: None,
            epilogue: None,
            output: row(1, 5),
        };
        let symbols = Symbols::default();
        let gemv = linear_gemv::kernel(&symbols, &params);
        assert_eq!(gemv.is_ok(), linear_gemm::kernel(&symbols, &params).is_ok());
        gemv.map(|_| ())
    };
    try_all(fits.clone()).unwrap();
    let format = |quant| WeightFormat::Quantized(quant);
    let block = |block| format(QuantFormat { block: QuantBlock::Elements(block), ..quant });
    let constant = |zero| format(QuantFormat { zero: ZeroPoint::Constant(zero), ..quant });
    try_all(Weight { format: constant(255), zeros: None, ..fits.clone() }).unwrap();
    let wrong = [
        (Weight { format: block(0), ..fits.clone() }, "blocks of 0"),
        (Weight { format: block(24), ..fits.clone() }, "blocks of 24"),
        (Weight { format: block(16), ..fits.clone() }, "scales"),
        (Weight { format: constant(256), zeros: None, ..fits.clone() }, "256"),
        (Weight { format: constant(8), ..fits.clone() }, "zero points"),
        (Weight { zeros: None, ..fits.clone() }, "zero points"),
        (Weight { zeros: Some(words(4, &[15])), ..fits.clone() }, "zero points"),
        (Weight { scales: None, ..fits.clone() }, "scales"),
        (Weight { scales: Some(view(3, Elem::F32, &dims(&[15]))), ..fits.clone() }, "scales"),
        (Weight { scales: Some(words(2, &[8])), ..fits.clone() }, "share"),
        (Weight { values: words(2, &[5, 9]), ..fits.clone() }, "weight"),
        (
            Weight { values: View { offset: Dim::constant(1), ..fits.values.clone() }, ..fits.clone() },
            "multiple of 2",
        ),
        (Weight { format: WeightFormat::F16, ..fits.clone() }, "weight"),
        (Weight { format: WeightFormat::F16, values: words(2, &[5, 36]), ..fits }, "scales"),
    ];
    for (weight, message) in wrong {
        let error = try_all(weight).unwrap_err().to_string();
        assert!(error.contains(message), "{error}, expected {message}");
    }
}
