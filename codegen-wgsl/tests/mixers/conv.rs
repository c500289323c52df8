//! The causal convolution on both GPUs, held to the interpreter.

use crate::device::{Device, Random, assert_close, c, dense, on_every_target, sym};
use qwenc_codegen_wgsl::conv::{self, ConvParams};
use qwenc_codegen_wgsl::{BufferKey, Elem, View};
use qwenc_ir::interp::{HostTensor, eval_op};
use qwenc_ir::{Activation, Bindings, Op};

struct Case {
    tokens: usize,
    channels: usize,
    taps: usize,
    state: usize,
    bias: bool,
    past: bool,
    activation: Activation,
}

fn run(case: &Case) {
    let Case { tokens, channels, taps, state, activation, .. } = *case;
    let what = format!("conv {tokens}x{channels}, {taps} taps, state {state}, past {}", case.past);
    let mut random = Random::new(3);
    let (x, w, b, past) = (
        random.vec(tokens * channels),
        random.vec(channels * taps),
        random.vec(channels),
        random.vec(channels * state),
    );
    let hx = HostTensor::f32([1, tokens, channels], x.clone()).unwrap();
    let hw = HostTensor::f32([channels, taps], w.clone()).unwrap();
    let hb = HostTensor::f32([channels], b.clone()).unwrap();
    let hp = HostTensor::f32([1, channels, state], past.clone()).unwrap();
    let inputs = [Some(&hx), Some(&hw), case.bias.then_some(&hb), case.past.then_some(&hp)];
    let want = eval_op(&Op::CausalConv { activation }, &inputs, &Bindings::new()).unwrap();

    // x is cut out of a wider projection; in decoding S is the constant 1.
    let s = if tokens == 1 { c(1) } else { sym("tokens") };
    let mut input = dense(0, &[s.clone(), c(channels + 5)]);
    (input.shape[1], input.offset) = (c(channels), c(3));
    let weight = dense(1, &[c(channels), c(taps)]);
    let bias = dense(2, &[c(channels)]);
    let state_view = dense(3, &[c(channels), c(state)]);
    let output = dense(4, &[s.clone(), c(channels)]);
    let params = ConvParams {
        input: input.clone(),
        weight: weight.clone(),
        bias: case.bias.then(|| bias.clone()),
        past: case.past.then(|| state_view.clone()),
        present: Some(state_view.clone()),
        activation,
        output: output.clone(),
    };
    let mut device = Device::new(&[("past", 4096, 5), ("tokens", 2048, i64::try_from(tokens).unwrap())]);
    device.put_f32(&input, &x);
    device.put_f32(&weight, &w);
    device.put_f32(&bias, &b);
    if case.past {
        device.put_f32(&state_view, &past);
    }
    device.reserve(&state_view);
    device.reserve(&output);

    let prefill = conv::prefill(&device.symbols, &params).unwrap();
    let update = conv::update_state(&device.symbols, &params).unwrap();
    let step = (tokens == 1).then(|| conv::step(&device.symbols, &params).unwrap());
    let (want_y, want_state) = (want[0].as_f32().unwrap(), want[1].as_f32().unwrap());
    on_every_target(|target| {
        let mut memory = device.clone();
        memory.run(target, &prefill, &[&output]);
        memory.run(target, &update, &[&state_view]);
        assert_close(&what, &memory.get(&output), want_y, 1e-6);
        assert_close(&format!("{what}: state"), &memory.get(&state_view), want_state, 0.0);
        if let Some(step) = &step {
            let mut memory = device.clone();
            memory.run(target, step, &[&output, &state_view]);
            assert_close(&format!("{what}: step"), &memory.get(&output), want_y, 1e-6);
            assert_close(&format!("{what}: step, state"), &memory.get(&state_view), want_state, 0.0);
        }
    });
}

#[test]
fn convolution_and_state() {
    use Activation::{Identity, Sigmoid, Silu};
    let case = |tokens, channels, taps, state, bias, past, activation| Case {
        tokens,
        channels,
        taps,
        state,
        bias,
        past,
        activation,
    };
    for case in [
        case(1, 70, 4, 3, false, true, Silu),
        case(1, 64, 4, 4, true, true, Silu),
        case(1, 3, 3, 2, true, false, Identity),
        case(2, 70, 4, 3, false, true, Silu),
        case(3, 65, 4, 4, true, true, Sigmoid),
        case(17, 130, 4, 3, false, true, Silu),
        case(150, 33, 2, 1, true, false, Silu),
        case(1031, 5, 7, 9, true, true, Silu),
    ] {
        run(&case);
    }
}

#[test]
fn a_state_that_moves_to_another_buffer() {
    let mut device = Device::new(&[]);
    let view = |buffer, shape: &[usize]| {
        View::dense(BufferKey(buffer), Elem::F32, shape.iter().map(|dim| c(*dim)).collect())
    };
    let (input, weight, past, present, output) =
        (view(0, &[1, 2]), view(1, &[2, 3]), view(2, &[2, 2]), view(3, &[2, 2]), view(4, &[1, 2]));
    device.put_f32(&input, &[5.0, 6.0]);
    device.put_f32(&weight, &[1.0, 10.0, 100.0, 1.0, 10.0, 100.0]);
    device.put_f32(&past, &[1.0, 2.0, 3.0, 4.0]);
    device.reserve(&present);
    device.reserve(&output);
    let params = ConvParams {
        input,
        weight,
        bias: None,
        past: Some(past),
        present: Some(present.clone()),
        activation: Activation::Identity,
        output: output.clone(),
    };
    let kernel = conv::step(&device.symbols, &params).unwrap();
    on_every_target(|target| {
        let mut device = device.clone();
        device.run(target, &kernel, &[&output, &present]);
        assert_close("y", &device.get(&output), &[521.0, 643.0], 0.0);
        assert_close("state", &device.get(&present), &[2.0, 5.0, 4.0, 6.0], 0.0);
    });
}

#[test]
fn a_narrow_state_is_refused() {
    let params = ConvParams {
        input: dense(0, &[c(1), c(2)]),
        weight: dense(1, &[c(2), c(4)]),
        bias: None,
        past: Some(dense(2, &[c(2), c(2)])),
        present: None,
        activation: Activation::Silu,
        output: dense(3, &[c(1), c(2)]),
    };
    let error = conv::step(&Device::new(&[]).symbols, &params).unwrap_err();
    assert!(error.to_string().contains("too narrow"), "{error}");
}
