//! The gated delta rule on both GPUs, one step and chunked, held to the interpreter.

use crate::device::{Device, Random, assert_close, c, cut, dense, on_every_target, sym};
use qwenc_codegen_wgsl::delta::{DeltaParams, RawGates};
use qwenc_codegen_wgsl::{View, delta_chunk, delta_step};
use qwenc_ir::interp::{HostTensor, eval_op};
use qwenc_ir::op::GatedDeltaAttrs;
use qwenc_ir::{Bindings, Op, Real};

#[derive(Clone, Copy)]
struct Case {
    tokens: usize,
    key_heads: usize,
    heads: usize,
    key_width: usize,
    value_width: usize,
    norm: Option<f32>,
    raw: bool,
    past: bool,
}

/// A case on the device, and what the interpreter says about it.
struct Setup {
    device: Device,
    params: DeltaParams,
    scratch: Option<View>,
    state: View,
    want: Vec<f32>,
    want_state: Vec<f32>,
}

fn setup(case: Case) -> Setup {
    let Case { tokens, key_heads, heads, key_width, value_width, .. } = case;
    let mut random = Random::new(5);
    // Keys resemble each other, as they do in a model: each is a common vector plus noise.
    let common = random.vec(key_heads * key_width);
    let mut like_common = |_: usize| -> Vec<f32> { common.iter().map(|x| x + random.next()).collect() };
    let mut k: Vec<f32> = (0..tokens).flat_map(&mut like_common).collect();
    let q: Vec<f32> = (0..tokens).flat_map(&mut like_common).collect();
    if case.norm == Some(0.0) {
        k[..key_width].fill(0.0);
    }
    if case.norm.is_none() {
        let width = f32::from(u16::try_from(key_width).unwrap()).sqrt();
        k.iter_mut().for_each(|x| *x /= width * 1.2);
    }
    let v = random.vec(tokens * heads * value_width);
    // Log decays from -8 to -0.001, most of them weak.
    let decay: Vec<f32> = if case.raw {
        random.vec(tokens * heads).iter().map(|x| 6.0 * x).collect()
    } else {
        random.vec(tokens * heads).iter().map(|x| -0.001 * 8000f32.powf((x + 1.0).powi(2) / 4.0)).collect()
    };
    let beta: Vec<f32> = if case.raw {
        random.vec(tokens * heads).iter().map(|x| 3.0 * x).collect()
    } else {
        random.vec(tokens * heads).iter().map(|x| 0.5 + 0.49 * x).collect()
    };
    let neg_exp_a: Vec<f32> = random.vec(heads).iter().map(|x| -(2.0 * x).exp() * 0.3).collect();
    let dt_bias = random.vec(heads);
    let past = random.vec(heads * key_width * value_width);
    let scale = 0.3;

    let host = |shape: &[usize], values: &[f32]| HostTensor::f32(shape, values).unwrap();
    let attrs = GatedDeltaAttrs { scale: Real(scale), qk_norm: case.norm.map(Real), raw_gates: case.raw };
    let (hq, hk) =
        (host(&[1, tokens, key_heads, key_width], &q), host(&[1, tokens, key_heads, key_width], &k));
    let hv = host(&[1, tokens, heads, value_width], &v);
    let hp = host(&[1, heads, key_width, value_width], &past);
    let (hd, hb) = (host(&[1, tokens, heads], &decay), host(&[1, tokens, heads], &beta));
    let (ha, ht) = (host(&[heads], &neg_exp_a), host(&[heads], &dt_bias));
    let inputs = [
        Some(&hq),
        Some(&hk),
        Some(&hv),
        case.past.then_some(&hp),
        Some(&hd),
        Some(&hb),
        case.raw.then_some(&ha),
        case.raw.then_some(&ht),
    ];
    let want = eval_op(&Op::GatedDelta(attrs), &inputs, &Bindings::new()).unwrap();

    // q, k, v out of one projection, the gates out of another.
    let s = if tokens == 1 { c(1) } else { sym("tokens") };
    let pitch = 2 * key_heads * key_width + heads * value_width + 2;
    let query = cut(0, &s, pitch, 1, key_heads, key_width);
    let key = cut(0, &s, pitch, 1 + key_heads * key_width, key_heads, key_width);
    let value = cut(0, &s, pitch, 1 + 2 * key_heads * key_width, heads, value_width);
    let gate = |column: usize| cut(1, &s, 2 * heads + 3, column, 1, heads).select_axes(&[0, 2]);
    let (decay_view, beta_view) = (gate(0), gate(heads));
    let (factor_view, bias_view) = (dense(2, &[c(heads)]), dense(3, &[c(heads)]));
    let state = dense(4, &[c(heads), c(key_width), c(value_width)]);
    let output = dense(5, &[s, c(heads), c(value_width)]);

    let mut device = Device::new(&[("past", 4096, 3), ("tokens", 2048, i64::try_from(tokens).unwrap())]);
    device.put_f32(&query, &q);
    device.put_f32(&key, &k);
    device.put_f32(&value, &v);
    device.put_f32(&decay_view, &decay);
    device.put_f32(&beta_view, &beta);
    device.put_f32(&factor_view, &neg_exp_a);
    device.put_f32(&bias_view, &dt_bias);
    device.reserve(&state);
    if case.past {
        device.put_f32(&state, &past);
    }
    device.reserve(&output);
    let params = DeltaParams {
        query,
        key,
        value,
        decay: decay_view,
        beta: beta_view,
        raw: case.raw.then_some(RawGates { neg_exp_a: factor_view, dt_bias: bias_view }),
        qk_norm: case.norm,
        scale,
        past: case.past.then(|| state.clone()),
        present: Some(state.clone()),
        output,
    };
    let scratch = dense(6, &delta_chunk::scratch_shape(&params).unwrap());
    device.reserve(&scratch);
    Setup {
        device,
        params,
        scratch: Some(scratch),
        state,
        want: want[0].as_f32().unwrap().to_vec(),
        want_state: want[1].as_f32().unwrap().to_vec(),
    }
}

fn case(tokens: usize, heads: [usize; 2], widths: [usize; 2]) -> Case {
    Case {
        tokens,
        key_heads: heads[0],
        heads: heads[1],
        key_width: widths[0],
        value_width: widths[1],
        norm: Some(1e-6),
        raw: true,
        past: true,
    }
}

fn check_chunked(case: Case) {
    let setup = setup(case);
    let scratch = setup.scratch.as_ref().unwrap();
    let symbols = &setup.device.symbols;
    let prepare = delta_chunk::prepare(symbols, &setup.params, scratch).unwrap();
    let scan = delta_chunk::scan(symbols, &setup.params, scratch).unwrap();
    let what = format!(
        "chunked {} tokens, {}/{} heads, {}x{}",
        case.tokens, case.heads, case.key_heads, case.key_width, case.value_width
    );
    on_every_target(|target| {
        let mut device = setup.device.clone();
        device.run(target, &prepare, &[scratch]);
        device.run(target, &scan, &[&setup.params.output, &setup.state]);
        assert_close(&what, &device.get(&setup.params.output), &setup.want, 2e-5);
        assert_close(&format!("{what}: state"), &device.get(&setup.state), &setup.want_state, 2e-5);
    });
}

#[test]
fn one_step() {
    for case in [
        case(1, [16, 16], [128, 128]),
        Case { norm: None, raw: false, ..case(1, [2, 6], [20, 24]) },
        Case { past: false, ..case(1, [1, 3], [16, 32]) },
        Case { norm: Some(0.0), ..case(1, [1, 1], [256, 256]) },
    ] {
        let setup = setup(case);
        let kernel = delta_step::kernel(&setup.device.symbols, &setup.params).unwrap();
        let what = format!("step {}x{}", case.key_width, case.value_width);
        on_every_target(|target| {
            let mut device = setup.device.clone();
            device.run(target, &kernel, &[&setup.params.output, &setup.state]);
            assert_close(&what, &device.get(&setup.params.output), &setup.want, 2e-6);
            assert_close(&format!("{what}: state"), &device.get(&setup.state), &setup.want_state, 2e-6);
        });
    }
}

#[test]
fn chunks_of_all_lengths() {
    for tokens in [3, 17, 63, 64, 65, 150] {
        check_chunked(case(tokens, [2, 2], [32, 32]));
    }
}

#[test]
fn chunked_with_odd_widths_and_groups() {
    check_chunked(Case { norm: None, raw: false, ..case(65, [1, 3], [20, 24]) });
    check_chunked(Case { raw: false, ..case(150, [2, 4], [16, 20]) });
    check_chunked(Case { norm: Some(0.0), past: false, ..case(70, [1, 2], [24, 16]) });
    check_chunked(case(129, [1, 1], [256, 40]));
}

#[test]
fn chunked_over_a_thousand_positions() {
    check_chunked(Case { raw: false, ..case(1031, [1, 2], [128, 128]) });
    check_chunked(case(1100, [1, 1], [32, 32]));
    check_chunked(Case { raw: false, norm: None, ..case(1031, [1, 1], [128, 32]) });
}

#[test]
fn a_prompt_in_one_piece_of_one_token() {
    // The symbol takes the value 1: the chunked kernels must do what the step does.
    check_chunked(case(1, [2, 2], [32, 16]));
}

#[test]
fn a_scratch_beyond_a_binding_is_refused() {
    let mut setup = setup(case(3, [2, 2], [32, 32]));
    let large = Device::new(&[("past", 4096, 3), ("tokens", 1 << 20, 3)]);
    let scratch = setup.scratch.take().unwrap();
    let error = delta_chunk::prepare(&large.symbols, &setup.params, &scratch).unwrap_err();
    assert!(error.to_string().contains("shorter prefill chunks"), "{error}");
}
