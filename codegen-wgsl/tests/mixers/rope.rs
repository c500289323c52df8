//! Rope and attention preparation on both GPUs, held to the interpreter.

use crate::device::{Device, Random, assert_close, c, cache, cut, dense, on_every_target, sym};
use qwenc_codegen_wgsl::attention_prep::{self, AttentionPrepParams, HeadNorm, PrepPart, cache_rows};
use qwenc_codegen_wgsl::rope::{self, Angles, RopeParams, Rotation};
use qwenc_codegen_wgsl::{BufferKey, Elem, View};
use qwenc_ir::interp::{HostTensor, eval_op};
use qwenc_ir::op::{AttentionAttrs, RopeAttrs, RopeSource};
use qwenc_ir::{Bindings, Op, Real};

const ROWS: usize = 300;

/// A table `[ROWS, rotary]` of cosines and sines, and the two halves for the interpreter.
fn table(rotary: usize) -> (Vec<f32>, HostTensor, HostTensor) {
    let half = rotary / 2;
    let (mut both, mut cos, mut sin) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..ROWS {
        let angle = |i: usize| row as f64 * 100f64.powf(-(i as f64) / half as f64);
        let cosines: Vec<f32> = (0..half).map(|i| angle(i).cos() as f32).collect();
        let sines: Vec<f32> = (0..half).map(|i| angle(i).sin() as f32).collect();
        both.extend(cosines.iter().chain(&sines));
        cos.extend(cosines);
        sin.extend(sines);
    }
    (both, HostTensor::f32([ROWS, half], cos).unwrap(), HostTensor::f32([ROWS, half], sin).unwrap())
}

fn positions(axes: usize, tokens: usize) -> Vec<i32> {
    (0..axes * tokens).map(|i| i32::try_from((i * 37 + 5) % ROWS).unwrap()).collect()
}

fn ints(shape: Vec<usize>, values: &[i32]) -> HostTensor {
    HostTensor::i64(shape, values.iter().map(|v| i64::from(*v)).collect::<Vec<_>>()).unwrap()
}

struct Case {
    tokens: usize,
    heads: usize,
    width: usize,
    rotary: usize,
    interleaved: bool,
    axes: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let case = |tokens, heads, width, rotary, interleaved, axes: &[u8]| Case {
        tokens,
        heads,
        width,
        rotary,
        interleaved,
        axes: axes.to_vec(),
    };
    let mixed: Vec<u8> = (0..32).map(|i| if i >= 30 { 0 } else { i % 3 }).collect();
    vec![
        case(1, 1, 16, 16, false, &[0; 8]),
        case(3, 2, 20, 8, true, &[0, 2, 1, 1]),
        case(17, 5, 24, 24, false, &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]),
        case(65, 3, 256, 64, false, &mixed),
        case(150, 2, 32, 30, true, &mixed[..15]),
    ]
}

#[test]
fn rope_from_a_table() {
    for case in cases() {
        let Case { tokens, heads, width, rotary, .. } = case;
        let mut random = Random::new(7);
        let x = random.vec(tokens * heads * width);
        let (both, cos, sin) = table(rotary);
        let at = positions(3, tokens);
        let attrs = RopeAttrs {
            rotary_dim: rotary,
            interleaved: case.interleaved,
            source: RopeSource::Table { axes: case.axes.clone() },
        };
        let host = HostTensor::f32([1, tokens, heads, width], x.clone()).unwrap();
        let inputs = [Some(&host), Some(&ints(vec![3, 1, tokens], &at)), Some(&cos), Some(&sin)];
        let want = eval_op(&Op::Rope(attrs), &inputs, &Bindings::new()).unwrap();

        let s = sym("tokens");
        let input = cut(0, &s, heads * width + 7, 5, heads, width);
        let table_view = dense(1, &[c(ROWS), c(rotary)]);
        let positions_view = View { elem: Elem::I32, ..dense(2, &[c(3), s.clone()]) };
        let mut device = Device::new(&[("past", 4096, 11), ("tokens", 512, i64::try_from(tokens).unwrap())]);
        device.put_f32(&input, &x);
        device.put_f32(&table_view, &both);
        device.put_i32(&positions_view, &at);
        let rotation = Rotation {
            rotary_dim: rotary,
            interleaved: case.interleaved,
            angles: Angles::Table { table: table_view, positions: positions_view, axes: case.axes },
        };
        for output in [dense(3, &[s.clone(), c(heads), c(width)]), input.clone()] {
            let params =
                RopeParams { input: input.clone(), rotation: rotation.clone(), output: output.clone() };
            let kernel = rope::kernel(&device.symbols, &params).unwrap();
            on_every_target(|target| {
                let mut device = device.clone();
                device.reserve(&output);
                device.run(target, &kernel, &[&output]);
                let want = want[0].as_f32().unwrap();
                assert_close(&format!("rope {tokens}x{heads}x{width}"), &device.get(&output), want, 1e-6);
            });
        }
    }
}

#[test]
fn rope_with_given_angles() {
    for (tokens, heads, width, rotary, interleaved) in [(3, 5, 20, 12, true), (64, 1, 128, 128, false)] {
        let mut random = Random::new(9);
        let (x, cos, sin) = (
            random.vec(tokens * heads * width),
            random.vec(tokens * rotary / 2),
            random.vec(tokens * rotary / 2),
        );
        let attrs = RopeAttrs { rotary_dim: rotary, interleaved, source: RopeSource::Direct };
        let angles = |values: &Vec<f32>| HostTensor::f32([1, tokens, rotary / 2], values.clone()).unwrap();
        let host = HostTensor::f32([1, tokens, heads, width], x.clone()).unwrap();
        let inputs = [Some(&host), Some(&angles(&cos)), Some(&angles(&sin))];
        let want = eval_op(&Op::Rope(attrs), &inputs, &Bindings::new()).unwrap();

        let s = sym("tokens");
        let mut device = Device::new(&[("tokens", 512, i64::try_from(tokens).unwrap())]);
        let input = dense(0, &[s.clone(), c(heads), c(width)]);
        let (cos_view, sin_view) =
            (dense(1, &[s.clone(), c(rotary / 2)]), dense(2, &[s.clone(), c(rotary / 2)]));
        let output = cut(3, &s, heads * width + 1, 0, heads, width);
        device.put_f32(&input, &x);
        device.put_f32(&cos_view, &cos);
        device.put_f32(&sin_view, &sin);
        device.reserve(&output);
        let angles = Angles::Direct { cos: cos_view, sin: sin_view };
        let rotation = Rotation { rotary_dim: rotary, interleaved, angles };
        let params = RopeParams { input, rotation, output: output.clone() };
        let kernel = rope::kernel(&device.symbols, &params).unwrap();
        on_every_target(|target| {
            let mut device = device.clone();
            device.run(target, &kernel, &[&output]);
            assert_close("rope, direct", &device.get(&output), want[0].as_f32().unwrap(), 1e-6);
        });
    }
}

#[test]
fn positions_outside_of_the_table_use_its_last_row() {
    let (both, ..) = table(4);
    let mut device = Device::new(&[("tokens", 8, 2)]);
    let s = sym("tokens");
    let input = dense(0, &[s.clone(), c(1), c(4)]);
    let table_view = dense(1, &[c(ROWS), c(4)]);
    let positions_view = View { elem: Elem::I32, ..dense(2, &[c(1), s.clone()]) };
    let output = dense(3, &[s, c(1), c(4)]);
    device.put_f32(&input, &[1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    device.put_f32(&table_view, &both);
    device.put_i32(&positions_view, &[-1, i32::MAX]);
    device.reserve(&output);
    let angles = Angles::Table { table: table_view, positions: positions_view, axes: vec![0, 0] };
    let rotation = Rotation { rotary_dim: 4, interleaved: false, angles };
    let kernel =
        rope::kernel(&device.symbols, &RopeParams { input, rotation, output: output.clone() }).unwrap();
    let last = &both[both.len() - 4..];
    let want: Vec<f32> = last.iter().chain(last).copied().collect();
    on_every_target(|target| {
        let mut device = device.clone();
        device.run(target, &kernel, &[&output]);
        assert_close("clamped rope", &device.get(&output), &want, 1e-6);
    });
}

/// q, k and v cut out of one projection with a gap, normed and rotated, k and v appended to caches.
#[test]
fn attention_preparation() {
    let mixed: Vec<u8> = (0..32).map(|i| if i >= 30 { 0 } else { i % 3 }).collect();
    let cases = [
        (1usize, 7usize, 2usize, 1usize, 16usize, 16usize, 8usize, true),
        (3, 0, 5, 5, 20, 24, 20, true),
        (17, 1, 8, 2, 256, 256, 64, true),
        (65, 40, 4, 2, 24, 16, 24, false),
        (5, 2, 3, 1, 128, 32, 0, true),
    ];
    for (tokens, past, heads, kv_heads, width, v_width, rotary, norm) in cases {
        let mut random = Random::new(11);
        let pitch = heads * width + kv_heads * (width + v_width) + 3;
        let context = past + tokens + 9;
        let s = sym("tokens");
        let total = sym("past") + s.clone();
        let q = cut(0, &s, pitch, 2, heads, width);
        let k = cut(0, &s, pitch, 2 + heads * width, kv_heads, width);
        let v = cut(0, &s, pitch, 2 + (heads + kv_heads) * width, kv_heads, v_width);
        let (q_norm, k_norm) = (dense(1, &[c(width)]), dense(2, &[c(width)]));
        let table_view = dense(3, &[c(ROWS), c(rotary)]);
        let positions_view = View { elem: Elem::I32, ..dense(4, &[c(3), s.clone()]) };
        let q_out = dense(5, &[s.clone(), c(heads), c(width)]);
        let k_cache = cache(6, kv_heads, &total, context, width);
        let v_cache = cache(7, kv_heads, &total, context, v_width);

        let (q_data, k_data, v_data) = (
            random.vec(tokens * heads * width),
            random.vec(tokens * kv_heads * width),
            random.vec(tokens * kv_heads * v_width),
        );
        let (q_weight, k_weight) = (random.vec(width), random.vec(width));
        let (k_past, v_past) = (random.vec(kv_heads * past * width), random.vec(kv_heads * past * v_width));
        let at = positions(3, tokens);
        let axes = mixed[..rotary / 2].to_vec();
        let (both, cos, sin) = table(rotary.max(2));

        let mut device = Device::new(&[
            ("tokens", 512, i64::try_from(tokens).unwrap()),
            ("past", 4096, i64::try_from(past).unwrap()),
        ]);
        device.put_f32(&q, &q_data);
        device.put_f32(&k, &k_data);
        device.put_f32(&v, &v_data);
        device.put_f32(&q_norm, &q_weight);
        device.put_f32(&k_norm, &k_weight);
        if rotary > 0 {
            device.put_f32(&table_view, &both);
        }
        device.put_i32(&positions_view, &at);
        device.reserve(&q_out);
        for (view, values, width) in [(&k_cache, &k_past, width), (&v_cache, &v_past, v_width)] {
            device.reserve(view);
            let old = View { shape: vec![c(kv_heads), c(past), c(width)], ..view.clone() };
            device.put_f32(&old, values);
        }

        // The interpreter's attention gives the prepared k and v as its states; q by its parts.
        let host = |shape: [usize; 4], values: &[f32]| HostTensor::f32(shape, values.to_vec()).unwrap();
        let (hq, hk, hv) = (
            host([1, tokens, heads, width], &q_data),
            host([1, tokens, kv_heads, width], &k_data),
            host([1, tokens, kv_heads, v_width], &v_data),
        );
        let (past_k, past_v) =
            (host([1, kv_heads, past, width], &k_past), host([1, kv_heads, past, v_width], &v_past));
        let (qw, kw) =
            (HostTensor::f32([width], q_weight).unwrap(), HostTensor::f32([width], k_weight).unwrap());
        let hp = ints(vec![3, 1, tokens], &at);
        let rope = (rotary > 0).then(|| RopeAttrs {
            rotary_dim: rotary,
            interleaved: false,
            source: RopeSource::Table { axes: axes.clone() },
        });
        let attrs = AttentionAttrs {
            scale: Real(1.0),
            causal: true,
            present: true,
            qk_norm: norm.then_some(Real(1e-6)),
            rope: rope.clone(),
            gate: None,
        };
        let inputs = [
            Some(&hq),
            Some(&hk),
            Some(&hv),
            Some(&past_k),
            Some(&past_v),
            None,
            norm.then_some(&qw),
            norm.then_some(&kw),
            rope.is_some().then_some(&hp),
            rope.is_some().then_some(&cos),
            rope.is_some().then_some(&sin),
        ];
        let want = eval_op(&Op::Attention(Box::new(attrs)), &inputs, &Bindings::new()).unwrap();
        let mut want_q = hq.clone();
        if norm {
            let op = Op::RmsNorm { eps: Real(1e-6), gate: None };
            want_q = eval_op(&op, &[Some(&want_q), Some(&qw)], &Bindings::new()).unwrap().remove(0);
        }
        if let Some(rope) = rope {
            let inputs = [Some(&want_q), Some(&hp), Some(&cos), Some(&sin)];
            want_q = eval_op(&Op::Rope(rope), &inputs, &Bindings::new()).unwrap().remove(0);
        }

        let head_norm = |weight: &View| norm.then(|| HeadNorm { weight: weight.clone(), eps: 1e-6 });
        let rotate = rotary > 0;
        let new_k = cache_rows(&k_cache, &s).unwrap();
        let new_v = cache_rows(&v_cache, &s).unwrap();
        let params = AttentionPrepParams {
            parts: vec![
                PrepPart { input: q, norm: head_norm(&q_norm), rotate, output: q_out.clone() },
                PrepPart { input: k, norm: head_norm(&k_norm), rotate, output: new_k.clone() },
                PrepPart { input: v, norm: None, rotate: false, output: new_v.clone() },
            ],
            rotation: rotate.then_some(Rotation {
                rotary_dim: rotary,
                interleaved: false,
                angles: Angles::Table { table: table_view, positions: positions_view, axes },
            }),
        };
        let kernel = attention_prep::kernel(&device.symbols, &params).unwrap();
        assert!(kernel.reads.len() + kernel.writes.len() <= 8);
        on_every_target(|target| {
            let mut device = device.clone();
            device.run(target, &kernel, &[&q_out, &new_k, &new_v]);
            let what = format!("prep {tokens}+{past} {heads}/{kv_heads}x{width}");
            assert_close(&format!("{what} q"), &device.get(&q_out), want_q.as_f32().unwrap(), 2e-6);
            assert_close(&format!("{what} k"), &device.get(&k_cache), want[1].as_f32().unwrap(), 2e-6);
            assert_close(&format!("{what} v"), &device.get(&v_cache), want[2].as_f32().unwrap(), 0.0);
        });
    }
}

#[test]
fn a_ninth_buffer_is_refused() {
    let s = sym("tokens");
    let device = Device::new(&[("tokens", 512, 1)]);
    let part = |index: u32| PrepPart {
        input: dense(10 + index, &[s.clone(), c(1), c(16)]),
        norm: Some(HeadNorm { weight: dense(20 + index, &[c(16)]), eps: 1e-6 }),
        rotate: false,
        output: dense(30 + index, &[s.clone(), c(1), c(16)]),
    };
    let params = AttentionPrepParams { parts: (0..3).map(part).collect(), rotation: None };
    let error = attention_prep::kernel(&device.symbols, &params).unwrap_err();
    assert!(error.to_string().contains("9 storage buffers"), "{error}");
    assert_eq!(params.parts[0].input.buffer, BufferKey(10));
}
