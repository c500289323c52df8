//! Attention for many queries and for one, on both GPUs, held to the interpreter.

use crate::device::{Device, Random, assert_close, c, cache, cut, dense, on_every_target, sym};
use qwenc_codegen_wgsl::attention_decode::{self, AttentionDecodeParams};
use qwenc_codegen_wgsl::attention_prefill::{self, AttentionPrefillParams};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::interp::{HostTensor, eval_op};
use qwenc_ir::op::{AttentionAttrs, attention as slot};
use qwenc_ir::{Activation, Bindings, Op, Real};

#[derive(Clone, Copy, PartialEq)]
enum MaskKind {
    None,
    /// f32 `[Hq, S, T]`.
    Full,
    /// f32 `[T]`, broadcast.
    Row,
    /// bool `[S, T]`, broadcast over heads; its first row masks all.
    Bool,
}

#[derive(Clone, Copy)]
struct Case {
    tokens: usize,
    past: usize,
    heads: usize,
    kv_heads: usize,
    width: usize,
    value_width: usize,
    causal: bool,
    mask: MaskKind,
    gate: Option<Activation>,
}

fn case(tokens: usize, past: usize, heads: [usize; 2], widths: [usize; 2]) -> Case {
    Case {
        tokens,
        past,
        heads: heads[0],
        kv_heads: heads[1],
        width: widths[0],
        value_width: widths[1],
        causal: true,
        mask: MaskKind::None,
        gate: None,
    }
}

/// Largest `tokens` and `past` of the bundle, which decide on the number of splits.
const MOST: [i64; 2] = [512, 4500];

fn check(case: Case) {
    let Case { tokens, past, heads, kv_heads, width, value_width, causal, mask, gate } = case;
    let total = tokens + past;
    let what = format!("attention {tokens}+{past}, {heads}/{kv_heads} heads, {width}x{value_width}");
    let mut random = Random::new(13);
    let q = random.vec(tokens * heads * width);
    let k = random.vec(kv_heads * total * width);
    let v = random.vec(kv_heads * total * value_width);
    let gates: Vec<f32> = random.vec(tokens * heads * value_width).iter().map(|x| 4.0 * x).collect();
    let scale = 1.7 / f32::from(u16::try_from(width).unwrap()).sqrt();

    let s = if tokens == 1 { c(1) } else { sym("tokens") };
    let t = sym("past") + s.clone();
    let (mask_view, mask_values) = match mask {
        MaskKind::None => (None, vec![]),
        MaskKind::Full => {
            let values = random.vec(heads * tokens * total);
            let values = values.iter().map(|x| if *x > 0.6 { f32::NEG_INFINITY } else { 3.0 * x }).collect();
            (Some(dense(5, &[c(heads), s.clone(), t.clone()])), values)
        }
        MaskKind::Row => {
            let view = dense(5, std::slice::from_ref(&t));
            let view =
                View { shape: vec![c(heads), s.clone(), t.clone()], strides: vec![c(0), c(0), c(1)], ..view };
            (Some(view), (0..total).map(|j| if j % 5 == 1 { -65504.0 } else { 0.0 }).collect())
        }
        MaskKind::Bool => {
            let view = View {
                elem: Elem::U32,
                shape: vec![c(heads), s.clone(), t.clone()],
                strides: vec![c(0), t.clone(), c(1)],
                ..dense(5, &[s.clone(), t.clone()])
            };
            let values = random.vec(tokens * total);
            let keep = |(at, x): (usize, &f32)| if at >= total && *x > -0.4 { 1.0 } else { 0.0 };
            (Some(view), values.iter().enumerate().map(keep).collect())
        }
    };

    // The interpreter takes k and v as past and new rows, [B,S,H,D] the new ones.
    let host = |shape: &[usize], values: &[f32]| HostTensor::f32(shape, values).unwrap();
    let rows = |values: &[f32], width: usize, from: usize, to: usize| -> Vec<f32> {
        let head = |h: usize| values[(h * total + from) * width..(h * total + to) * width].to_vec();
        (0..kv_heads).flat_map(head).collect()
    };
    let by_position = |values: Vec<f32>, width: usize| -> Vec<f32> {
        let at = |s: usize, h: usize| values[(h * tokens + s) * width..][..width].to_vec();
        (0..tokens).flat_map(|s| (0..kv_heads).flat_map(move |h| at(s, h))).collect()
    };
    let hq = host(&[1, tokens, heads, width], &q);
    let hk = host(&[1, tokens, kv_heads, width], &by_position(rows(&k, width, past, total), width));
    let hv = host(
        &[1, tokens, kv_heads, value_width],
        &by_position(rows(&v, value_width, past, total), value_width),
    );
    let past_k = host(&[1, kv_heads, past, width], &rows(&k, width, 0, past));
    let past_v = host(&[1, kv_heads, past, value_width], &rows(&v, value_width, 0, past));
    let hm = match mask {
        MaskKind::None => None,
        MaskKind::Full => Some(host(&[1, heads, tokens, total], &mask_values)),
        MaskKind::Row => Some(host(&[total], &mask_values)),
        MaskKind::Bool => {
            let values: Vec<bool> = mask_values.iter().map(|x| *x != 0.0).collect();
            Some(HostTensor::bool([tokens, total], values).unwrap())
        }
    };
    let hg = host(&[1, tokens, heads, value_width], &gates);
    let attrs =
        AttentionAttrs { scale: Real(scale), causal, present: false, qk_norm: None, rope: None, gate };
    let mut inputs = vec![Some(&hq), Some(&hk), Some(&hv), Some(&past_k), Some(&past_v), hm.as_ref()];
    inputs.resize(slot::COUNT, None);
    inputs[slot::GATE] = gate.is_some().then_some(&hg);
    let want = eval_op(&Op::Attention(Box::new(attrs)), &inputs, &Bindings::new()).unwrap();
    let want = want[0].as_f32().unwrap();

    // Query and gate interleaved by head, as one projection has them.
    let both = width + value_width;
    let query =
        View { strides: vec![c(heads * both), c(both), c(1)], ..cut(0, &s, heads * both, 0, heads, width) };
    let gate_view =
        View { offset: c(width), shape: vec![s.clone(), c(heads), c(value_width)], ..query.clone() };
    let context = total + 6;
    let key = cache(1, kv_heads, &t, context, width);
    let value = cache(2, kv_heads, &t, context, value_width);
    let output = dense(3, &[s.clone(), c(heads), c(value_width)]);
    let mut device = Device::new(&[
        ("tokens", MOST[0], i64::try_from(tokens).unwrap()),
        ("past", MOST[1], i64::try_from(past).unwrap()),
    ]);
    device.put_f32(&query, &q);
    device.put_f32(&gate_view, &gates);
    device.put_f32(&key, &k);
    device.put_f32(&value, &v);
    if let Some(view) = &mask_view {
        // Stored without its repeated axes.
        let stored = View { shape: view.shape.clone(), ..view.clone() };
        let stored = match mask {
            MaskKind::Row => View { shape: vec![c(1), c(1), t.clone()], ..stored },
            MaskKind::Bool => View { shape: vec![c(1), s.clone(), t.clone()], ..stored },
            _ => stored,
        };
        if mask == MaskKind::Bool {
            let values: Vec<i32> = mask_values.iter().map(|x| i32::from(*x != 0.0)).collect();
            device.put_i32(&stored, &values);
        } else {
            device.put_f32(&stored, &mask_values);
        }
    }
    device.reserve(&output);
    let gate_param = gate.map(|activation| (gate_view, activation));

    let params = AttentionPrefillParams {
        query: query.clone(),
        key: key.clone(),
        value: value.clone(),
        mask: mask_view.clone(),
        causal: causal.then(|| t.clone() - s.clone()),
        scale,
        gate: gate_param.clone(),
        output: output.clone(),
    };
    let prefill = attention_prefill::kernel(&device.symbols, &params).unwrap();
    let decode = (tokens == 1).then(|| {
        let shape = attention_decode::scratch_shape(&device.symbols, &key, heads, value_width).unwrap();
        let scratch = dense(4, &shape);
        device.reserve(&scratch);
        let params = AttentionDecodeParams {
            query,
            key,
            value,
            mask: mask_view,
            scale,
            gate: gate_param,
            scratch: scratch.clone(),
            output: output.clone(),
        };
        let partial = attention_decode::partial(&device.symbols, &params).unwrap();
        (scratch, partial, attention_decode::combine(&device.symbols, &params).unwrap())
    });
    on_every_target(|target| {
        let mut memory = device.clone();
        memory.run(target, &prefill, &[&output]);
        assert_close(&what, &memory.get(&output), want, 3e-6);
        if let Some((scratch, partial, combine)) = &decode {
            let mut memory = device.clone();
            memory.run(target, partial, &[scratch]);
            memory.run(target, combine, &[&output]);
            assert_close(&format!("{what}: decode"), &memory.get(&output), want, 3e-6);
        }
    });
}

#[test]
fn many_queries() {
    check(case(3, 0, [1, 1], [16, 16]));
    check(case(17, 5, [2, 1], [20, 24]));
    check(case(63, 0, [5, 5], [24, 20]));
    check(case(64, 64, [4, 2], [32, 32]));
    check(case(65, 31, [3, 1], [128, 128]));
    check(Case { gate: Some(Activation::Sigmoid), ..case(150, 1, [2, 1], [256, 256]) });
}

#[test]
fn one_query() {
    check(case(1, 0, [2, 1], [16, 16]));
    check(Case { gate: Some(Activation::Sigmoid), ..case(1, 77, [8, 2], [256, 256]) });
    check(case(1, 31, [5, 5], [20, 24]));
    check(case(1, 32, [3, 1], [24, 20]));
    check(Case { gate: Some(Activation::Silu), ..case(1, 150, [5, 1], [32, 128]) });
    // More tiles than splits.
    check(case(1, 4400, [6, 1], [64, 32]));
    check(case(1, 2590, [7, 1], [3, 5]));
}

#[test]
fn masks() {
    let base = case(17, 30, [2, 1], [16, 20]);
    check(Case { causal: false, ..base });
    check(Case { mask: MaskKind::Full, gate: Some(Activation::Silu), ..base });
    check(Case { mask: MaskKind::Row, causal: false, ..base });
    check(Case { mask: MaskKind::Bool, causal: false, ..base });
    let one = case(1, 70, [4, 2], [24, 16]);
    check(Case { mask: MaskKind::Full, ..one });
    check(Case { mask: MaskKind::Row, causal: false, ..one });
    // The only row masks all keys: zeros.
    check(Case { mask: MaskKind::Bool, causal: false, ..one });
}

#[test]
fn more_than_a_thousand_positions() {
    check(case(70, 1030, [1, 1], [32, 16]));
}

#[test]
fn heads_that_are_too_wide_are_refused() {
    let device = Device::new(&[]);
    let params = AttentionPrefillParams {
        query: dense(0, &[c(2), c(1), c(257)]),
        key: dense(1, &[c(1), c(2), c(257)]),
        value: dense(2, &[c(1), c(2), c(16)]),
        mask: None,
        causal: None,
        scale: 1.0,
        gate: None,
        output: dense(3, &[c(2), c(1), c(16)]),
    };
    let error = attention_prefill::kernel(&device.symbols, &params).unwrap_err();
    assert!(error.to_string().contains("the key width is 257"), "{error}");
}
