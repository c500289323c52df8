//! Linear layers of one and of many rows, held to the interpreter's `Linear`.

use qwenc_codegen_wgsl::linear::{Epilogue, LinearParams, NormPrologue};
use qwenc_codegen_wgsl::weight::{Weight, WeightFormat};
use qwenc_codegen_wgsl::wgsl_expr::Argument;
use qwenc_codegen_wgsl::{BufferKey, CodegenError, Elem, Kernel, Symbols, View, linear_gemm, linear_gemv};
use qwenc_ir::interp::{HostTensor, eval_op};
use qwenc_ir::op::{LinearAttrs, WeightLayout};
use qwenc_ir::{Activation, BinaryOp, DType, Dim, Expr, Op, Real, UnaryOp};

use crate::device::{Device, Random, sym};
use crate::{Symbol, Tolerance, dims, floats, gapped, hold_to, packed, view};

/// A layer: x `[..., K]`, optional norm, optional gated pair, optional residual and scale behind.
pub(crate) struct Case<'a> {
    pub(crate) what: &'a str,
    pub(crate) symbols: &'a [Symbol],
    pub(crate) x: View,
    pub(crate) output: View,
    pub(crate) norm: bool,
    pub(crate) glu: Option<Activation>,
    /// A residual of the output's shape, and a factor for each column.
    pub(crate) epilogue: Option<(View, View)>,
}

/// Runs a layer of f32.
fn check(case: &Case<'_>, build: impl Fn(&Symbols, &LinearParams) -> Result<Kernel, CodegenError>) {
    check_format(case, WeightFormat::F32, 0, build);
}

/// Runs a layer whose weight has this format and lies so many words from the start of its buffers.
pub(crate) fn check_format(
    case: &Case<'_>,
    format: WeightFormat,
    offset: i64,
    build: impl Fn(&Symbols, &LinearParams) -> Result<Kernel, CodegenError>,
) {
    let mut random = Random::new(11);
    let width = |view: &View| view.shape.last().unwrap().as_usize().unwrap();
    let (k, n) = (width(&case.x), width(&case.output));
    let per_output = if case.glu.is_some() { 2 } else { 1 };
    let weight = packed::random(format, (n * per_output, k), 30, offset, &mut random);
    // As the IR has them: matrices of their own, whose rows alternate in the packed weight.
    let plain = (0..per_output).map(|which| {
        let rows = weight.values.chunks(k).skip(which).step_by(per_output);
        HostTensor::f32([n, k], rows.flatten().copied().collect::<Vec<_>>()).unwrap()
    });
    let x = floats(case.symbols, &case.x, &mut random, 1.0);
    let norm_view = view(21, Elem::F32, &[Dim::from(k)]);
    let norm = floats(case.symbols, &norm_view, &mut random, 1.0);

    let mut operands = vec![(case.x.clone(), x.clone())];
    operands.extend(weight.operands);
    let mut inputs = vec![Some(x), None];
    if case.norm {
        operands.push((norm_view.clone(), norm.clone()));
        inputs[1] = Some(norm);
    }
    inputs.extend(plain.map(Some));
    let mut extras = Vec::new();
    let expr = Expr::Arg(0).binary(BinaryOp::Mul, Expr::Arg(2)).binary(BinaryOp::Add, Expr::Arg(1));
    if let Some((residual, factor)) = &case.epilogue {
        for view in [residual, factor] {
            let tensor = floats(case.symbols, view, &mut random, 1.0);
            operands.push((view.clone(), tensor.clone()));
            inputs.push(Some(tensor));
            extras.push(Argument { view: view.clone(), dtype: DType::F32 });
        }
    }
    let eps = 1e-5;
    let op = Op::Linear(Box::new(LinearAttrs {
        weights: vec![WeightLayout::NK; if case.glu.is_some() { 2 } else { 1 }],
        norm: case.norm.then_some(Real(eps)),
        glu: case.glu,
        epilogue: case.epilogue.as_ref().map(|_| expr.clone()),
    }));
    let inputs: Vec<Option<&HostTensor>> = inputs.iter().map(Option::as_ref).collect();
    let expected = eval_op(&op, &inputs, Device::new(case.symbols).bindings()).unwrap();
    let params = LinearParams {
        x: case.x.clone(),
        norm: case.norm.then_some(NormPrologue::plain(norm_view, eps)),
        weight: weight.weight,
        glu: case.glu,
        conv: None,
        epilogue: case.epilogue.as_ref().map(|_| Epilogue { expr, extras }),
        output: case.output.clone(),
    };
    // Sums of k products in f32 against f64: the error grows with the root of k, the values too.
    let size = f32::from(u16::try_from(k).unwrap()).sqrt();
    let tolerance = Tolerance { absolute: 2e-6 * size.max(4.0), relative: 1e-5 };
    hold_to(case.what, case.symbols, &operands, &case.output, &expected[0], tolerance, |s| build(s, &params));
}

pub(crate) fn row(buffer: u32, width: i64) -> View {
    view(buffer, Elem::F32, &dims(&[1, 1, width]))
}

#[test]
fn one_row_of_every_size() {
    for (k, n) in [(1, 1), (3, 5), (4, 1), (37, 61), (64, 130), (1021, 70), (1024, 64), (2500, 9), (12288, 3)]
    {
        let what = format!("gemv {k}x{n}");
        let case = |norm, glu| Case {
            what: &what,
            symbols: &[],
            x: row(0, k),
            output: row(1, n),
            norm,
            glu,
            epilogue: None,
        };
        check(&case(false, None), linear_gemv::kernel);
        check(&case(true, Some(Activation::Silu)), linear_gemv::kernel);
        check(&case(true, None), linear_gemv::kernel);
    }
}

#[test]
fn one_row_of_many_with_epilogue() {
    // The row and the place of the result are only known in the run, and neither is aligned for vectors.
    let symbols = [("row", 40, 13), ("past", 9, 5)];
    let pick = |buffer, width: i64| View { offset: sym("row") * Dim::from(width), ..row(buffer, width) };
    let factor = view(3, Elem::F32, &dims(&[67]));
    let mut output = row(1, 67);
    output.offset = sym("past");
    for norm in [false, true] {
        for k in [92, 95] {
            check(
                &Case {
                    what: "gemv with epilogue",
                    symbols: &symbols,
                    x: pick(0, k),
                    output: output.clone(),
                    norm,
                    glu: norm.then_some(Activation::Sigmoid),
                    epilogue: Some((pick(2, 67), factor.clone())),
                },
                linear_gemv::kernel,
            );
        }
    }
}

#[test]
fn one_row_in_place_of_its_residual() {
    let residual = row(1, 45);
    check(
        &Case {
            what: "gemv in place",
            symbols: &[],
            x: row(0, 80),
            output: residual.clone(),
            norm: false,
            glu: None,
            epilogue: Some((residual, view(3, Elem::F32, &dims(&[1])))),
        },
        linear_gemv::kernel,
    );
}

#[test]
fn a_head_with_more_workgroups_than_one_dimension_holds() {
    check(
        &Case {
            what: "head",
            symbols: &[],
            x: row(0, 8),
            output: row(1, 600_011),
            norm: true,
            glu: None,
            epilogue: None,
        },
        linear_gemv::kernel,
    );
}

#[test]
fn many_rows_of_every_size() {
    let gate = Some(Activation::Silu);
    for (rows, k, n, glu) in [
        (1, 1, 1, gate),
        (3, 5, 7, None),
        (64, 64, 64, gate),
        (65, 37, 130, None),
        (130, 100, 61, gate),
        (17, 1030, 66, None),
        (200, 32, 3, gate),
    ] {
        let symbols = [("past", 9, 4), ("tokens", 512, rows)];
        let shape = |width: i64| [Dim::constant(1), sym("tokens"), Dim::constant(width)];
        let what = format!("gemm {rows}x{k}x{n}");
        let x = view(0, Elem::F32, &shape(k));
        let output = view(1, Elem::F32, &shape(n));
        let case = Case { what: &what, symbols: &symbols, x, output, norm: false, glu, epilogue: None };
        check(&case, linear_gemm::kernel);
    }
}

#[test]
fn many_rows_with_gaps_and_epilogue() {
    let symbols = [("past", 9, 5), ("tokens", 512, 71)];
    for (k, n, glu) in [(40, 70, None), (39, 34, Some(Activation::Sigmoid))] {
        let shape = |width: i64| [Dim::constant(1), sym("tokens"), Dim::constant(width)];
        let mut case = Case {
            what: "gemm with gaps",
            symbols: &symbols,
            // Aligned for vectors when k is.
            x: gapped(0, Elem::F32, &shape(k), 8, 4),
            output: gapped(1, Elem::F32, &shape(n), 1, 3),
            norm: false,
            glu,
            epilogue: Some((gapped(2, Elem::F32, &shape(n), 3, 1), view(3, Elem::F32, &dims(&[n])))),
        };
        check(&case, linear_gemm::kernel);
        case.x.offset = sym("past");
        check(&case, linear_gemm::kernel);
    }
}

#[test]
fn rows_that_do_not_merge() {
    let symbols = [("tokens", 100, 21)];
    let shape = |width: i64| [Dim::constant(3), sym("tokens"), Dim::constant(width)];
    let stored = [sym("tokens"), Dim::constant(3), Dim::constant(20)];
    let x = view(0, Elem::F32, &stored).select_axes(&[1, 0, 2]);
    let residual = view(2, Elem::F32, &[Dim::constant(3), Dim::constant(1), Dim::constant(50)]);
    let output = view(1, Elem::F32, &shape(50));
    let epilogue = Some((residual, view(3, Elem::F32, &dims(&[50]))));
    let case = Case { what: "batched", symbols: &symbols, x, output, norm: false, glu: None, epilogue };
    check(&case, linear_gemm::kernel);
}

#[test]
fn what_does_not_fit_is_refused() {
    let params = LinearParams {
        x: row(0, 8),
        norm: None,
        weight: Weight::f32(view(2, Elem::F32, &dims(&[5, 8]))),
        glu: None,
        conv: None,
        epilogue: None,
        output: row(1, 5),
    };
    let symbols = Symbols::default();
    assert!(linear_gemv::kernel(&symbols, &params).is_ok());
    let shifted = View { offset: Dim::constant(2), ..params.weight.values.clone() };
    let wrong = [
        LinearParams { weight: Weight::f32(view(2, Elem::F32, &dims(&[5, 7]))), ..params.clone() },
        LinearParams { weight: Weight::f32(shifted), ..params.clone() },
        LinearParams { glu: Some(Activation::Silu), ..params.clone() },
        LinearParams { x: view(0, Elem::F32, &dims(&[2, 8])), ..params.clone() },
        LinearParams { x: view(0, Elem::I32, &dims(&[1, 1, 8])), ..params.clone() },
        LinearParams {
            epilogue: Some(Epilogue { expr: Expr::Arg(1).unary(UnaryOp::Exp), extras: vec![] }),
            ..params.clone()
        },
    ];
    for params in wrong {
        assert!(linear_gemv::kernel(&symbols, &params).is_err(), "{params:?}");
        assert!(linear_gemm::kernel(&symbols, &params).is_err(), "{params:?}");
    }
    let norm = Some(NormPrologue::plain(view(3, Elem::F32, &dims(&[8])), 1e-6));
    assert!(linear_gemm::kernel(&symbols, &LinearParams { norm, ..params.clone() }).is_err());
    let two = View { buffer: BufferKey(0), ..view(0, Elem::F32, &dims(&[2, 8])) };
    let output = view(1, Elem::F32, &dims(&[2, 5]));
    assert!(linear_gemv::kernel(&symbols, &LinearParams { x: two, output, ..params }).is_err());
}
