//! Attention within segments on both GPUs, held to the interpreter.

use crate::device::{Device, Random, assert_close, c, cut, dense, on_every_target, sym};
use qwenc_codegen_wgsl::attention_segments::{self, AttentionSegmentsParams};
use qwenc_codegen_wgsl::{Elem, View};
use qwenc_ir::interp::{HostTensor, eval_op};
use qwenc_ir::op::{AttentionAttrs, attention as slot};
use qwenc_ir::{Activation, Bindings, Op, Real};

#[derive(Clone)]
struct Case {
    queries: usize,
    keys: usize,
    heads: [usize; 2],
    widths: [usize; 2],
    /// Segment of every query.
    segments: Option<Vec<[i32; 2]>>,
    gate: Option<Activation>,
}

fn case(queries: usize, keys: usize, heads: [usize; 2], widths: [usize; 2]) -> Case {
    Case { queries, keys, heads, widths, segments: None, gate: None }
}

/// Queries in runs of these lengths, each of which sees its own keys.
fn runs(lengths: &[usize]) -> Vec<[i32; 2]> {
    let mut segments = Vec::new();
    for length in lengths {
        let start = i32::try_from(segments.len()).unwrap();
        let end = start + i32::try_from(*length).unwrap();
        segments.extend(std::iter::repeat_n([start, end], *length));
    }
    segments
}

/// q, k and v lie side by side in one buffer when there are as many keys as queries, as a projection leaves them.
fn check(case: &Case) {
    let Case { queries, keys, heads: [heads, kv_heads], widths: [width, value_width], segments, gate } =
        case.clone();
    let what = format!("segments {queries}x{keys}, {heads}/{kv_heads} heads, {width}x{value_width}");
    let mut random = Random::new(29);
    let q: Vec<f32> = random.vec(queries * heads * width).iter().map(|x| 1.7 * x).collect();
    let k = random.vec(keys * kv_heads * width);
    let v = random.vec(keys * kv_heads * value_width);
    let gates = random.vec(queries * heads * value_width);
    let scale = 3.0 / f32::from(u16::try_from(width).unwrap()).sqrt();

    let host = |shape: &[usize], values: &[f32]| HostTensor::f32(shape, values).unwrap();
    let operands = [
        host(&[1, queries, heads, width], &q),
        host(&[1, keys, kv_heads, width], &k),
        host(&[1, keys, kv_heads, value_width], &v),
        host(&[1, queries, heads, value_width], &gates),
    ];
    let ranges = segments.as_ref().map(|rows| {
        HostTensor::i64([queries, 2], rows.iter().flatten().map(|x| i64::from(*x)).collect::<Vec<_>>())
            .unwrap()
    });
    let attrs =
        AttentionAttrs { scale: Real(scale), causal: false, present: false, qk_norm: None, rope: None, gate };
    let mut inputs = vec![None; slot::COUNT];
    for (at, tensor) in [slot::Q, slot::K, slot::V].into_iter().zip(&operands) {
        inputs[at] = Some(tensor);
    }
    inputs[slot::GATE] = gate.map(|_| &operands[3]);
    inputs[slot::SEGMENTS] = ranges.as_ref();
    let want = eval_op(&Op::Attention(Box::new(attrs)), &inputs, &Bindings::new()).unwrap();

    let (s, t) = (sym("queries"), if keys == queries { sym("queries") } else { sym("keys") });
    let side_by_side = keys == queries;
    let pitch = heads * width + kv_heads * (width + value_width);
    let [query, key, value] = if side_by_side {
        [
            cut(0, &s, pitch, 0, heads, width),
            cut(0, &s, pitch, heads * width, kv_heads, width),
            cut(0, &s, pitch, (heads + kv_heads) * width, kv_heads, value_width),
        ]
    } else {
        [
            dense(0, &[s.clone(), c(heads), c(width)]),
            dense(1, &[t.clone(), c(kv_heads), c(width)]),
            dense(2, &[t, c(kv_heads), c(value_width)]),
        ]
    };
    let gate_view = dense(3, &[s.clone(), c(heads), c(value_width)]);
    let segments_view = View { elem: Elem::I32, ..dense(4, &[s.clone(), c(2)]) };
    let output = dense(5, &[s, c(heads), c(value_width)]);
    let symbol = |value: usize| i64::try_from(value).unwrap();
    let mut device = Device::new(&[("queries", 4096, symbol(queries)), ("keys", 4096, symbol(keys))]);
    device.put_f32(&query, &q);
    device.put_f32(&key, &k);
    device.put_f32(&value, &v);
    device.put_f32(&gate_view, &gates);
    if let Some(rows) = &segments {
        device.put_i32(&segments_view, rows.as_flattened());
    }
    device.reserve(&output);
    let params = AttentionSegmentsParams {
        query,
        key: key.select_axes(&[1, 0, 2]),
        value: value.select_axes(&[1, 0, 2]),
        segments: segments.map(|_| segments_view),
        scale,
        gate: gate.map(|activation| (gate_view, activation)),
        output: output.clone(),
    };
    let kernel = attention_segments::kernel(&device.symbols, &params).unwrap();
    on_every_target(|target| {
        let mut memory = device.clone();
        memory.run(target, &kernel, &[&output]);
        assert_close(&what, &memory.get(&output), want[0].as_f32().unwrap(), 3e-6);
    });
}

#[test]
fn every_query_sees_every_key() {
    check(&case(31, 65, [4, 2], [20, 24]));
    // Widths that are no multiples of 4.
    check(&case(35, 35, [2, 1], [18, 11]));
    check(&Case { gate: Some(Activation::Sigmoid), ..case(19, 50, [2, 1], [128, 256]) });
}

#[test]
fn segments_with_borders_inside_of_tiles() {
    // More than 16 tiles of keys, and a query tile that spans three segments.
    let lengths = [544, 7, 1, 20, 33];
    let rows = lengths.iter().sum();
    check(&Case { segments: Some(runs(&lengths)), ..case(rows, rows, [2, 2], [64, 64]) });
    check(&Case { segments: Some(runs(&[5, 70, 1])), ..case(76, 76, [2, 1], [72, 72]) });
}

#[test]
fn segments_of_any_kind() {
    // Empty, reversed, one key, beyond both ends, all; first a whole tile of queries that sees nothing.
    let kinds = [[3, 3], [9, 2], [40, 41], [-5, 7], [60, 90], [0, 70], [69, 70]];
    let mut segments = vec![[12, 12]; 32];
    segments.extend((0..45).map(|at| kinds[at * 3 % kinds.len()]));
    check(&Case { segments: Some(segments), ..case(77, 70, [2, 1], [16, 20]) });
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let device = Device::new(&[("queries", 100, 5)]);
    let s = sym("queries");
    let segments = |elem| View { elem, ..dense(4, &[s.clone(), c(2)]) };
    let params = AttentionSegmentsParams {
        query: dense(0, &[s.clone(), c(2), c(16)]),
        key: dense(1, &[c(1), s.clone(), c(16)]),
        value: dense(2, &[c(1), s.clone(), c(16)]),
        segments: Some(segments(Elem::F32)),
        scale: 1.0,
        gate: None,
        output: dense(5, &[s.clone(), c(2), c(16)]),
    };
    let refused = |params: &AttentionSegmentsParams, message: &str| {
        let error = attention_segments::kernel(&device.symbols, params).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    refused(&params, "the segments is f32");
    let good = AttentionSegmentsParams { segments: Some(segments(Elem::I32)), ..params };
    attention_segments::kernel(&device.symbols, &good).unwrap();
    refused(
        &AttentionSegmentsParams {
            query: dense(0, &[s.clone(), c(2), c(257)]),
            key: dense(1, &[c(1), s.clone(), c(257)]),
            ..good.clone()
        },
        "the key width is 257",
    );
    refused(
        &AttentionSegmentsParams { key: dense(1, &[c(1), c(4), c(16)]), ..good },
        "the value is f32[1, queries, 16], expected f32[1, 4, 16]",
    );
}
