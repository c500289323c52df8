//! What the matrix-vector kernel takes along when a token is decoded: a norm of parts with a gate in front, and a causal
//! convolution behind. Expected values are computed here, in f64, from the definitions.

use qwenc_codegen_wgsl::kernel::CodegenError;
use qwenc_codegen_wgsl::linear::{ConvEpilogue, LinearParams, NormPrologue};
use qwenc_codegen_wgsl::weight::Weight;
use qwenc_codegen_wgsl::{Symbols, View, linear_gemv};
use qwenc_ir::Activation;

use crate::device::{Device, Random, assert_close, c, dense, on_every_target};

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// `weight @ x`.
fn product(weight: &[f32], x: &[f64]) -> Vec<f64> {
    weight.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
}

fn as_f32(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

fn layer(k: usize, n: usize) -> LinearParams {
    // Rows are padded to whole vectors.
    let weight = Weight::f32(dense(1, &[c(n), c(k.next_multiple_of(4))]));
    let (norm, glu, conv, epilogue) = (None, None, None, None);
    LinearParams {
        x: dense(0, &[c(1), c(k)]),
        norm,
        weight,
        glu,
        conv,
        epilogue,
        output: dense(2, &[c(1), c(n)]),
    }
}

#[test]
fn a_gated_norm_of_parts_goes_in_front() -> Result<(), CodegenError> {
    for (width, heads, n) in [(4, 1, 3), (12, 5, 37), (64, 4, 130), (128, 16, 70), (8, 67, 9)] {
        let k = width * heads;
        let mut random = Random::new(7);
        let (x, gate) = (random.vec(k), random.vec(k));
        let (norm, weight) = (random.vec(width), random.vec(k * n));
        let eps = 1e-5f32;
        let normed: Vec<f64> = (0..k)
            .map(|at| {
                let part = &x[at / width * width..][..width];
                let squares: f64 = part.iter().map(|x| f64::from(*x).powi(2)).sum();
                let scale = 1.0 / (squares / width as f64 + f64::from(eps)).sqrt();
                f64::from(x[at]) * scale * f64::from(norm[at % width]) * silu(f64::from(gate[at]))
            })
            .collect();
        let expected = as_f32(&product(&weight, &normed));
        let gate_view = dense(4, &[c(1), c(k)]);
        let params = LinearParams {
            norm: Some(NormPrologue {
                weight: dense(3, &[c(width)]),
                eps,
                heads: u32::try_from(heads).unwrap(),
                gate: Some((gate_view.clone(), Activation::Silu)),
            }),
            ..layer(k, n)
        };
        let kernel = linear_gemv::kernel(&Symbols::default(), &params)?;
        on_every_target(|target| {
            let mut device = Device::new(&[]);
            device.put_f32(&params.x, &x);
            device.put_f32(&params.weight.values, &weight);
            device.put_f32(&dense(3, &[c(width)]), &norm);
            device.put_f32(&gate_view, &gate);
            device.poison(&params.output);
            device.run(target, &kernel, &[&params.output]);
            let what = format!("{heads} parts of {width} on {}", target.name());
            assert_close(&what, &device.get(&params.output), &expected, 2e-5);
        });
    }
    Ok(())
}

#[test]
fn a_convolution_goes_behind() -> Result<(), CodegenError> {
    for (k, n, channels, taps, columns, biased) in [
        (8, 9, 9, 4, 3, false),
        (36, 131, 97, 4, 4, true),
        (64, 40, 1, 2, 1, true),
        (1024, 70, 33, 3, 7, false),
    ] {
        let mut random = Random::new(11);
        let (x, weight) = (random.vec(k), random.vec(k * n));
        let (state, conv, bias) =
            (random.vec(channels * columns), random.vec(channels * taps), random.vec(channels));
        let mut expected = product(&weight, &x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        let mut moved = Vec::new();
        for channel in 0..channels {
            let mut window: Vec<f64> =
                state[channel * columns..][..columns].iter().map(|x| f64::from(*x)).collect();
            window.push(expected[channel]);
            let last = &window[columns + 1 - taps..];
            let weights = &conv[channel * taps..][..taps];
            let sum: f64 = last.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum();
            expected[channel] = silu(sum + if biased { f64::from(bias[channel]) } else { 0.0 });
            moved.extend_from_slice(&window[1..]);
        }
        let (state_view, bias_view) = (dense(3, &[c(channels), c(columns)]), dense(5, &[c(channels)]));
        let conv_view = dense(4, &[c(channels), c(taps)]);
        let params = LinearParams {
            conv: Some(ConvEpilogue {
                weight: conv_view.clone(),
                bias: biased.then(|| bias_view.clone()),
                state: state_view.clone(),
                activation: Activation::Silu,
            }),
            ..layer(k, n)
        };
        let kernel = linear_gemv::kernel(&Symbols::default(), &params)?;
        on_every_target(|target| {
            let mut device = Device::new(&[]);
            device.put_f32(&params.x, &x);
            device.put_f32(&params.weight.values, &weight);
            device.put_f32(&state_view, &state);
            device.put_f32(&conv_view, &conv);
            device.put_f32(&bias_view, &bias);
            device.poison(&params.output);
            device.run(target, &kernel, &[&params.output, &state_view]);
            let what = format!("{channels} of {n} channels on {}", target.name());
            assert_close(&what, &device.get(&params.output), &as_f32(&expected), 2e-5);
            assert_close(&what, &device.get(&state_view), &as_f32(&moved), 2e-5);
        });
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |params: &LinearParams| linear_gemv::kernel(&Symbols::default(), params).is_err();
    let norm = |width: usize, heads| NormPrologue {
        weight: dense(3, &[c(width)]),
        eps: 1e-5,
        heads,
        gate: None::<(View, Activation)>,
    };
    assert!(refused(&LinearParams { norm: Some(norm(6, 2)), ..layer(12, 3) }), "parts of 6");
    assert!(refused(&LinearParams { norm: Some(norm(4, 3)), ..layer(16, 3) }), "3 parts of 16");
    assert!(refused(&LinearParams { norm: Some(norm(4, 1024)), ..layer(4096, 3) }), "16 KiB of x");
    let conv = ConvEpilogue {
        weight: dense(4, &[c(5), c(4)]),
        bias: None,
        state: dense(3, &[c(5), c(2)]),
        activation: Activation::Silu,
    };
    assert!(refused(&LinearParams { conv: Some(conv.clone()), ..layer(8, 9) }), "a narrow state");
    let conv = ConvEpilogue { state: dense(3, &[c(5), c(3)]), ..conv };
    assert!(refused(&LinearParams { conv: Some(conv), ..layer(8, 4) }), "more channels than outputs");
}
