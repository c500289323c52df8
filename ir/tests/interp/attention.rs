use qwenc_ir::interp::{HostTensor, eval_op};
use qwenc_ir::op::{Activation, AttentionAttrs, Real, RopeAttrs, RopeSource, attention as slot};
use qwenc_ir::{BinaryOp, Bindings, Expr, Op, UnaryOp};

use crate::util::{assert_close, b, cut, eval, eval_all, f, i, join, noise};

const BATCH: usize = 2;
const HEADS: usize = 6;
const KV_HEADS: usize = 2;
const D: usize = 8;
const DV: usize = 5;

fn plain(causal: bool) -> AttentionAttrs {
    AttentionAttrs { scale: Real(0.37), causal, present: true, qk_norm: None, rope: None, gate: None }
}

fn op(attrs: &AttentionAttrs) -> Op {
    Op::Attention(Box::new(attrs.clone()))
}

fn qkv(seed: u32, sequence: usize) -> [HostTensor; 3] {
    [
        noise(seed, &[BATCH, sequence, HEADS, D]),
        noise(seed + 1, &[BATCH, sequence, KV_HEADS, D]),
        noise(seed + 2, &[BATCH, sequence, KV_HEADS, DV]),
    ]
}

/// Softmax attention from the definition, without state; `visible(b, head, i, j)` is what is added to a score.
fn by_hand(
    q: &HostTensor,
    k: &HostTensor,
    v: &HostTensor,
    added: impl Fn(usize, usize, usize, usize) -> f32,
) -> HostTensor {
    let (sequence, total) = (q.shape()[1], k.shape()[1]);
    let (qv, kv, vv) = (q.as_f32().unwrap(), k.as_f32().unwrap(), v.as_f32().unwrap());
    let mut out = vec![];
    for bt in 0..BATCH {
        for at in 0..sequence {
            for head in 0..HEADS {
                let kv_head = head / (HEADS / KV_HEADS);
                let exps: Vec<f64> = (0..total)
                    .map(|j| {
                        let dot: f32 = (0..D)
                            .map(|d| {
                                qv[((bt * sequence + at) * HEADS + head) * D + d]
                                    * kv[((bt * total + j) * KV_HEADS + kv_head) * D + d]
                            })
                            .sum();
                        f64::from(dot * 0.37 + added(bt, head, at, j)).exp()
                    })
                    .collect();
                let sum: f64 = exps.iter().sum();
                out.extend((0..DV).map(|d| {
                    let mixed: f64 = (0..total)
                        .map(|j| exps[j] * f64::from(vv[((bt * total + j) * KV_HEADS + kv_head) * DV + d]))
                        .sum();
                    (mixed / sum) as f32
                }));
            }
        }
    }
    f(&[BATCH, sequence, HEADS, DV], &out)
}

#[test]
fn equals_the_definition_with_and_without_masks() {
    let [q, k, v] = qkv(1, 7);
    let causal = |_, _, at: usize, j: usize| if j <= at { 0.0 } else { f32::NEG_INFINITY };
    let inputs = [Some(&q), Some(&k), Some(&v)];
    assert_close(&eval_all(&op(&plain(true)), &inputs)[0], &by_hand(&q, &k, &v, causal), 1e-6);
    assert_close(&eval_all(&op(&plain(false)), &inputs)[0], &by_hand(&q, &k, &v, |_, _, _, _| 0.0), 1e-6);

    let bias = noise(9, &[1, HEADS, 7, 7]);
    let masked = eval_all(&op(&plain(false)), &[Some(&q), Some(&k), Some(&v), None, None, Some(&bias)]);
    let added = |_, head: usize, at: usize, j: usize| bias.as_f32().unwrap()[(head * 7 + at) * 7 + j];
    assert_close(&masked[0], &by_hand(&q, &k, &v, added), 1e-6);

    // The second sequence of the batch is padded on the left by two.
    let padding = b(&[BATCH, 1, 1, 7], &[[true; 7], [false, false, true, true, true, true, true]].concat());
    let masked = eval_all(&op(&plain(false)), &[Some(&q), Some(&k), Some(&v), None, None, Some(&padding)]);
    let added = |bt: usize, _, _, j: usize| if bt == 1 && j < 2 { f32::NEG_INFINITY } else { 0.0 };
    assert_close(&masked[0], &by_hand(&q, &k, &v, added), 1e-6);
}

#[test]
fn segments_are_the_mask_of_their_ranges() {
    let (rows, total) = (5, 9);
    let one = |x: HostTensor, length: usize| cut(&cut(&x, 0, 0..1), 1, 0..length);
    let [q, k, v] = qkv(31, total);
    let (q, k, v) = (one(q, rows), one(k, total), one(v, total));
    // Whole, inside, empty, reversed, and beyond both ends.
    let ranges = [(0, 9), (2, 5), (4, 4), (6, 3), (-3, 20)];
    let segments = i(&[rows, 2], &ranges.iter().flat_map(|(start, end)| [*start, *end]).collect::<Vec<_>>());
    let attrs = AttentionAttrs { present: false, ..plain(false) };
    let mut inputs = vec![None; slot::COUNT];
    (inputs[slot::Q], inputs[slot::K], inputs[slot::V]) = (Some(&q), Some(&k), Some(&v));
    let mut masked = inputs.clone();
    inputs[slot::SEGMENTS] = Some(&segments);
    let seen = ranges.iter().flat_map(|(start, end)| (0..9i64).map(move |j| (*start..*end).contains(&j)));
    let mask = b(&[rows, total], &seen.collect::<Vec<_>>());
    masked[slot::MASK] = Some(&mask);
    let out = eval_all(&op(&attrs), &inputs);
    assert_close(&out[0], &eval_all(&op(&attrs), &masked)[0], 0.0);
    assert!(out[0].as_f32().unwrap().iter().any(|x| *x != 0.0));

    for attrs in [plain(false), AttentionAttrs { causal: true, ..attrs.clone() }] {
        assert!(eval_op(&op(&attrs), &inputs, &Bindings::new()).is_err(), "{attrs:?}");
    }
    inputs[slot::MASK] = Some(&mask);
    assert!(eval_op(&op(&attrs), &inputs, &Bindings::new()).is_err());
}

#[test]
fn a_query_that_sees_nothing_gives_zeros() {
    let [q, k, v] = qkv(1, 2);
    let mask = b(&[1, 1, 1, 2], &[false, false]);
    let out = eval_all(&op(&plain(false)), &[Some(&q), Some(&k), Some(&v), None, None, Some(&mask)]);
    assert_eq!(out[0], f(&[BATCH, 2, HEADS, DV], &[0.0; BATCH * 2 * HEADS * DV]));
}

#[test]
fn present_is_past_and_keys_heads_first() {
    let [q, k, v] = qkv(4, 3);
    let (past_k, past_v) = (noise(7, &[BATCH, KV_HEADS, 4, D]), noise(8, &[BATCH, KV_HEADS, 4, DV]));
    let outputs = eval_all(&op(&plain(true)), &[Some(&q), Some(&k), Some(&v), Some(&past_k), Some(&past_v)]);
    let heads_first = Op::Transpose { perm: vec![0, 2, 1, 3] };
    assert_eq!(outputs[1], join(2, &[&past_k, &eval(&heads_first, &[&k])]));
    assert_eq!(outputs[2], join(2, &[&past_v, &eval(&heads_first, &[&v])]));
    let without = AttentionAttrs { present: false, ..plain(true) };
    assert_eq!(eval_all(&op(&without), &[Some(&q), Some(&k), Some(&v)]).len(), 1);
}

fn fused() -> AttentionAttrs {
    let rope =
        RopeAttrs { rotary_dim: 6, interleaved: false, source: RopeSource::Table { axes: vec![0, 1, 0] } };
    AttentionAttrs {
        qk_norm: Some(Real(1e-6)),
        rope: Some(rope),
        gate: Some(Activation::Sigmoid),
        ..plain(true)
    }
}

struct Fused {
    qkv: [HostTensor; 3],
    norms: [HostTensor; 2],
    positions: HostTensor,
    tables: [HostTensor; 2],
    gate: HostTensor,
}

impl Fused {
    fn new(sequence: usize) -> Self {
        let rows: Vec<i64> =
            (0..i64::try_from(2 * BATCH * sequence).unwrap()).map(|at| at * 5 % 13).collect();
        Self {
            qkv: qkv(11, sequence),
            norms: [noise(21, &[D]), noise(22, &[D])],
            positions: i(&[2, BATCH, sequence], &rows),
            tables: [noise(23, &[13, 3]), noise(24, &[13, 3])],
            gate: noise(25, &[BATCH, sequence, HEADS, DV]),
        }
    }

    /// The positions of one part, with the state that the parts before left.
    fn run(&self, range: std::ops::Range<usize>, past: Option<[&HostTensor; 2]>) -> Vec<HostTensor> {
        let part = |x: &HostTensor| cut(x, 1, range.clone());
        let ([q, k, v], gate) = (self.qkv.each_ref().map(part), part(&self.gate));
        let positions = cut(&self.positions, 2, range.clone());
        let mut inputs: Vec<Option<&HostTensor>> = vec![None; slot::COUNT];
        for (at, x) in [
            (slot::Q, &q),
            (slot::K, &k),
            (slot::V, &v),
            (slot::Q_NORM, &self.norms[0]),
            (slot::K_NORM, &self.norms[1]),
        ] {
            inputs[at] = Some(x);
        }
        for (at, x) in [
            (slot::POSITIONS, &positions),
            (slot::COS, &self.tables[0]),
            (slot::SIN, &self.tables[1]),
            (slot::GATE, &gate),
        ] {
            inputs[at] = Some(x);
        }
        if let Some([past_k, past_v]) = past {
            (inputs[slot::PAST_K], inputs[slot::PAST_V]) = (Some(past_k), Some(past_v));
        }
        eval_all(&op(&fused()), &inputs)
    }
}

#[test]
fn fused_steps_are_those_operators_in_order() {
    let whole = Fused::new(5);
    let fused_attrs = fused();
    let norm = Op::RmsNorm { eps: Real(1e-6), gate: None };
    let rope = Op::Rope(fused_attrs.rope.clone().unwrap());
    let prepare = |x: &HostTensor, weight: &HostTensor| {
        eval(&rope, &[&eval(&norm, &[x, weight]), &whole.positions, &whole.tables[0], &whole.tables[1]])
    };
    let q = prepare(&whole.qkv[0], &whole.norms[0]);
    let k = prepare(&whole.qkv[1], &whole.norms[1]);
    let bare = eval_all(&op(&plain(true)), &[Some(&q), Some(&k), Some(&whole.qkv[2])]);
    let gated = Expr::Arg(0).binary(BinaryOp::Mul, Expr::Arg(1).unary(UnaryOp::Sigmoid));
    let expected = eval(&Op::Elementwise(gated), &[&bare[0], &whole.gate]);
    let outputs = whole.run(0..5, None);
    assert_close(&outputs[0], &expected, 1e-6);
    assert_close(&outputs[1], &bare[1], 1e-6);
    assert_close(&outputs[2], &bare[2], 0.0);
}

#[test]
fn prefill_and_decode_equal_one_call() {
    let whole = Fused::new(9);
    let once = whole.run(0..9, None);
    let first = whole.run(0..6, None);
    let mut parts = vec![first[0].clone()];
    let (mut keys, mut values) = (first[1].clone(), first[2].clone());
    for at in 6..9 {
        let step = whole.run(at..at + 1, Some([&keys, &values]));
        parts.push(step[0].clone());
        (keys, values) = (step[1].clone(), step[2].clone());
    }
    assert_close(&join(1, &parts.iter().collect::<Vec<_>>()), &once[0], 1e-6);
    assert_close(&keys, &once[1], 0.0);
    assert_close(&values, &once[2], 0.0);
}
