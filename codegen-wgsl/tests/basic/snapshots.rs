//! The generated text of typical kernels.

use insta::assert_snapshot;
use qwenc_codegen_wgsl::arg_reduce::{self, ArgReduceParams};
use qwenc_codegen_wgsl::copy::{self, CopyParams, PadParams};
use qwenc_codegen_wgsl::cumsum::{self, CumSumParams};
use qwenc_codegen_wgsl::dequantize::{self, DequantizeParams, Zero};
use qwenc_codegen_wgsl::elementwise::{self, ElementwiseParams};
use qwenc_codegen_wgsl::fill::{self, DimsParams, FillParams, RangeParams};
use qwenc_codegen_wgsl::gather::{self, GatherParams};
use qwenc_codegen_wgsl::linear::{Epilogue, LinearParams, NormPrologue};
use qwenc_codegen_wgsl::matmul::{self, MatMulParams};
use qwenc_codegen_wgsl::norm::{self, NormKind, NormParams};
use qwenc_codegen_wgsl::reduce::{self, ReduceParams};
use qwenc_codegen_wgsl::rows::{self, RowsParams};
use qwenc_codegen_wgsl::sample;
use qwenc_codegen_wgsl::softmax::{self, SoftmaxParams};
use qwenc_codegen_wgsl::weight::{
    CodeBits, QuantBlock, QuantFormat, ScaleType, Weight, WeightFormat, ZeroPoint,
};
use qwenc_codegen_wgsl::wgsl_expr::Argument;
use qwenc_codegen_wgsl::{Elem, Kernel, Symbols, View, linear_gemm, linear_gemv};
use qwenc_ir::op::ReduceKind;
use qwenc_ir::{Activation, BinaryOp, DType, Dim, Expr, Scalar, UnaryOp};

use crate::device::sym;
use crate::{dims, view};

fn symbols() -> Symbols {
    Symbols::new([
        ("tokens".to_string(), (1, 512)),
        ("past".to_string(), (0, 4096)),
        ("row".to_string(), (0, 511)),
    ])
}

/// `[1, tokens, width]`.
fn chunk(buffer: u32, width: i64) -> View {
    view(buffer, Elem::F32, &[Dim::constant(1), sym("tokens"), Dim::constant(width)])
}

/// The geometry, then the source.
fn text(kernel: &Kernel) -> String {
    let groups = kernel.workgroups.each_ref().map(ToString::to_string).join(" x ");
    format!("{groups} workgroups of {:?}\n{}", kernel.workgroup_size, kernel.source)
}

#[test]
fn elementwise_text() {
    let inputs = [chunk(0, 64), view(1, Elem::F32, &dims(&[64]))];
    let params = ElementwiseParams {
        expr: Expr::Arg(0).unary(UnaryOp::Silu).binary(BinaryOp::Mul, Expr::Arg(1)),
        inputs: inputs.map(|view| Argument { view, dtype: DType::F32 }).to_vec(),
        output: chunk(2, 64),
    };
    assert_snapshot!(text(&elementwise::kernel(&symbols(), &params).unwrap()));
}

#[test]
fn copy_text() {
    let input =
        view(0, Elem::F32, &[sym("tokens"), Dim::constant(4), Dim::constant(16)]).select_axes(&[1, 0, 2]);
    let output = view(1, Elem::F32, &input.shape);
    assert_snapshot!(text(&copy::kernel(&symbols(), &CopyParams { input, output }).unwrap()));
}

#[test]
fn pad_text() {
    let params = PadParams {
        input: view(0, Elem::I32, &[sym("tokens"), Dim::constant(3)]),
        before: vec![sym("past"), Dim::constant(0)],
        value: Scalar::Int(-1),
        output: view(1, Elem::I32, &[sym("tokens") + sym("past"), Dim::constant(3)]),
    };
    assert_snapshot!(text(&copy::pad_kernel(&symbols(), &params).unwrap()));
}

#[test]
fn constants_text() {
    let params = FillParams { value: Scalar::F32(f32::NEG_INFINITY), output: chunk(0, 8) };
    assert_snapshot!("fill", text(&fill::kernel(&symbols(), &params).unwrap()));
    let output = view(0, Elem::I32, &[sym("tokens")]);
    let params = RangeParams { start: sym("past"), step: 1, output };
    assert_snapshot!("range", text(&fill::range_kernel(&symbols(), &params).unwrap()));
    let params =
        DimsParams { values: vec![Dim::constant(1), sym("tokens")], output: view(0, Elem::I32, &dims(&[2])) };
    assert_snapshot!("dims", text(&fill::dims_kernel(&symbols(), &params).unwrap()));
}

#[test]
fn gather_text() {
    let params = GatherParams {
        axis: 0,
        input: view(0, Elem::F32, &dims(&[1000, 64])),
        indices: view(1, Elem::I32, &[Dim::constant(1), sym("tokens")]),
        output: chunk(2, 64),
    };
    assert_snapshot!(text(&gather::kernel(&symbols(), &params).unwrap()));
}

#[test]
fn norm_text() {
    let heads = [Dim::constant(1), sym("tokens"), Dim::constant(4), Dim::constant(128)];
    let params = NormParams {
        kind: NormKind::Rms,
        eps: 1e-6,
        input: view(0, Elem::F32, &heads),
        weight: Some(view(1, Elem::F32, &dims(&[128]))),
        bias: None,
        gate: Some((view(2, Elem::F32, &heads), Activation::Silu)),
        output: view(3, Elem::F32, &heads),
    };
    assert_snapshot!("gated_rms_norm", text(&norm::kernel(&symbols(), &params).unwrap()));
    let params = NormParams {
        kind: NormKind::Layer,
        input: chunk(0, 1024),
        weight: Some(view(1, Elem::F32, &dims(&[1024]))),
        bias: Some(view(2, Elem::F32, &dims(&[1024]))),
        gate: None,
        output: chunk(3, 1024),
        ..params
    };
    assert_snapshot!("layer_norm", text(&norm::kernel(&symbols(), &params).unwrap()));
}

#[test]
fn linear_text() {
    let row = |buffer, width: i64| {
        let shape = [Dim::constant(1), Dim::constant(1), Dim::constant(width)];
        View { offset: sym("row") * Dim::constant(width), ..view(buffer, Elem::F32, &shape) }
    };
    let params = LinearParams {
        x: row(0, 1024),
        norm: Some(NormPrologue::plain(view(1, Elem::F32, &dims(&[1024])), 1e-6)),
        weight: Weight::f32(view(2, Elem::F32, &dims(&[7168, 1024]))),
        glu: Some(Activation::Silu),
        conv: None,
        epilogue: None,
        output: row(3, 3584),
    };
    assert_snapshot!("gemv_swiglu", text(&linear_gemv::kernel(&symbols(), &params).unwrap()));
    let params = LinearParams {
        x: chunk(0, 1024),
        norm: None,
        weight: Weight::f32(view(2, Elem::F32, &dims(&[2048, 1024]))),
        glu: None,
        conv: None,
        epilogue: Some(Epilogue {
            expr: Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(1)),
            extras: vec![Argument { view: chunk(4, 2048), dtype: DType::F32 }],
        }),
        output: chunk(3, 2048),
    };
    assert_snapshot!("gemm_residual", text(&linear_gemm::kernel(&symbols(), &params).unwrap()));
}

/// `[n, k]` in codes of 4 bits.
fn four_bits(n: i64, k: i64, block: u32, scales: ScaleType, zero: ZeroPoint) -> Weight {
    let quant = QuantFormat { bits: CodeBits::Four, block: QuantBlock::Elements(block), scales, zero };
    let format = WeightFormat::Quantized(quant);
    let size = |size: i64| usize::try_from(size).unwrap();
    let flat = |buffer, (elem, words): (Elem, usize)| view(buffer, elem, &[Dim::from(words)]);
    Weight {
        format,
        values: view(20, Elem::U32, &dims(&[n, k / 8])),
        scales: format.scales(size(n), size(k)).map(|words| flat(21, words)),
        zeros: format.zeros(size(n), size(k)).map(|words| flat(22, words)),
    }
}

#[test]
fn weight_formats_text() {
    let row = |buffer, width: i64| view(buffer, Elem::F32, &dims(&[1, 1, width]));
    let params = LinearParams {
        x: row(0, 1024),
        norm: Some(NormPrologue::plain(view(1, Elem::F32, &dims(&[1024])), 1e-6)),
        weight: four_bits(7168, 1024, 32, ScaleType::F16, ZeroPoint::Codes),
        glu: Some(Activation::Silu),
        conv: None,
        epilogue: None,
        output: row(3, 3584),
    };
    assert_snapshot!("gemv_four_bits", text(&linear_gemv::kernel(&symbols(), &params).unwrap()));
    let params = LinearParams {
        x: chunk(0, 1024),
        norm: None,
        weight: four_bits(2048, 1024, 128, ScaleType::F32, ZeroPoint::Constant(8)),
        glu: None,
        conv: None,
        output: chunk(3, 2048),
        ..params
    };
    assert_snapshot!("gemm_four_bits", text(&linear_gemm::kernel(&symbols(), &params).unwrap()));
    let values = view(2, Elem::U32, &dims(&[2048, 512]));
    let half = Weight { format: WeightFormat::F16, values, scales: None, zeros: None };
    let params = LinearParams { x: row(0, 1024), weight: half.clone(), output: row(3, 2048), ..params };
    assert_snapshot!("gemv_f16", text(&linear_gemv::kernel(&symbols(), &params).unwrap()));
    let ids = view(1, Elem::I32, &[Dim::constant(1), sym("tokens")]);
    let params =
        RowsParams { weight: half, first: 2048, total: 5000, fill: false, ids, output: chunk(3, 1024) };
    assert_snapshot!("rows_f16", text(&rows::kernel(&symbols(), &params).unwrap()));
}

#[test]
fn dequantize_text() {
    let scales = [sym("tokens"), Dim::constant(8)];
    let params = DequantizeParams {
        axis: 1,
        block: 32,
        codes: view(0, Elem::U32, &[sym("tokens"), Dim::constant(256)]),
        scales: view(1, Elem::F32, &scales),
        zero: Zero::View(view(2, Elem::U32, &scales)),
        output: view(3, Elem::F32, &[sym("tokens"), Dim::constant(256)]),
    };
    assert_snapshot!(text(&dequantize::kernel(&symbols(), &params).unwrap()));
}

#[test]
fn matmul_text() {
    let params = MatMulParams {
        a: view(0, Elem::F32, &[Dim::constant(3), sym("tokens"), Dim::constant(64)]),
        b: view(1, Elem::F32, &[Dim::constant(3), sym("past"), Dim::constant(64)]).select_axes(&[0, 2, 1]),
        output: view(2, Elem::F32, &[Dim::constant(3), sym("tokens"), sym("past")]),
    };
    assert_snapshot!(text(&matmul::kernel(&symbols(), &params).unwrap()));
}

#[test]
fn reductions_text() {
    let scores = view(0, Elem::F32, &[Dim::constant(3), sym("tokens"), sym("past")]);
    let output = view(1, Elem::F32, &[Dim::constant(3), sym("tokens"), Dim::constant(1)]);
    let params = ReduceParams { kind: ReduceKind::LogSumExp, axes: vec![2], input: scores.clone(), output };
    assert_snapshot!("log_sum_exp", text(&reduce::kernel(&symbols(), &params).unwrap()));
    let output = View { buffer: qwenc_codegen_wgsl::BufferKey(1), ..scores.clone() };
    let params = SoftmaxParams { axis: 2, log: false, input: scores.clone(), output: output.clone() };
    assert_snapshot!("softmax", text(&softmax::kernel(&symbols(), &params).unwrap()));
    let params = CumSumParams { axis: 1, exclusive: true, reverse: true, input: scores.clone(), output };
    assert_snapshot!("cumsum", text(&cumsum::kernel(&symbols(), &params).unwrap()));
    let output = view(1, Elem::I32, &[Dim::constant(3), sym("tokens")]);
    let params = ArgReduceParams { min: false, axis: 2, last: false, input: scores, output };
    assert_snapshot!("argmax", text(&arg_reduce::kernel(&symbols(), &params).unwrap()));
}

#[test]
fn sample_text() {
    let params = crate::sample::params(248_320);
    assert_snapshot!("sample_scan", text(&sample::scan(&symbols(), &params).unwrap()));
    assert_snapshot!("sample_narrow", text(&sample::narrow(&symbols(), &params).unwrap()));
    assert_snapshot!("sample_choose", text(&sample::choose(&symbols(), &params).unwrap()));
}
