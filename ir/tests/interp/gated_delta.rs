use qwenc_ir::Op;
use qwenc_ir::interp::HostTensor;
use qwenc_ir::op::{GatedDeltaAttrs, Real, gated_delta as slot};
use qwenc_ir::{BinaryOp, Expr, UnaryOp};

use crate::util::{assert_close, cut, eval, eval_all, f, join, noise};

const BATCH: usize = 2;
const K_HEADS: usize = 2;
const V_HEADS: usize = 4;
const DK: usize = 5;
const DV: usize = 3;

fn plain() -> GatedDeltaAttrs {
    GatedDeltaAttrs { scale: Real(0.45), qk_norm: None, raw_gates: false }
}

struct Inputs {
    q: HostTensor,
    k: HostTensor,
    v: HostTensor,
    past: HostTensor,
    decay: HostTensor,
    beta: HostTensor,
}

fn inputs(sequence: usize) -> Inputs {
    let scaled = |x: HostTensor, expr: Expr| eval(&Op::Elementwise(expr), &[&x]);
    // Decay in -1..0, beta in 0..1, unit keys: what a model has.
    let decay = Expr::Arg(0).binary(BinaryOp::Sub, Expr::f32(1.0)).binary(BinaryOp::Mul, Expr::f32(0.5));
    let beta = Expr::Arg(0).binary(BinaryOp::Add, Expr::f32(1.0)).binary(BinaryOp::Mul, Expr::f32(0.5));
    let unit = Op::L2Norm { eps: Real(0.0) };
    Inputs {
        q: eval(&unit, &[&noise(1, &[BATCH, sequence, K_HEADS, DK])]),
        k: eval(&unit, &[&noise(2, &[BATCH, sequence, K_HEADS, DK])]),
        v: noise(3, &[BATCH, sequence, V_HEADS, DV]),
        past: noise(4, &[BATCH, V_HEADS, DK, DV]),
        decay: scaled(noise(5, &[BATCH, sequence, V_HEADS]), decay),
        beta: scaled(noise(6, &[BATCH, sequence, V_HEADS]), beta),
    }
}

impl Inputs {
    fn run(&self, past: Option<&HostTensor>, range: std::ops::Range<usize>) -> [HostTensor; 2] {
        let part = |x: &HostTensor| cut(x, 1, range.clone());
        let parts = [&self.q, &self.k, &self.v, &self.decay, &self.beta].map(part);
        let [q, k, v, decay, beta] = parts.each_ref().map(Some);
        eval_all(&Op::GatedDelta(plain()), &[q, k, v, past, decay, beta]).try_into().unwrap()
    }

    /// One head's rows as f64: x `[B,S,H,D]`.
    fn head(x: &HostTensor, batch: usize, head: usize) -> Vec<Vec<f64>> {
        let [_, sequence, heads, width] = <[usize; 4]>::try_from(x.shape()).unwrap();
        let values = x.as_f32().unwrap();
        let row = |s: usize| &values[((batch * sequence + s) * heads + head) * width..][..width];
        (0..sequence).map(|s| row(s).iter().map(|x| f64::from(*x)).collect()).collect()
    }

    fn gate(x: &HostTensor, batch: usize, head: usize) -> Vec<f64> {
        let [_, sequence, heads] = <[usize; 3]>::try_from(x.shape()).unwrap();
        (0..sequence).map(|s| f64::from(x.as_f32().unwrap()[(batch * sequence + s) * heads + head])).collect()
    }

    fn state(&self, batch: usize, head: usize) -> Vec<Vec<f64>> {
        let values = &self.past.as_f32().unwrap()[(batch * V_HEADS + head) * DK * DV..][..DK * DV];
        values.chunks(DV).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `x^T s` of a state `[dk][dv]`.
fn recall(s: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    (0..DV).map(|column| (0..DK).map(|row| x[row] * s[row][column]).sum()).collect()
}

/// Runs `head_rule(q, k, v, log_decay, beta, state) -> outputs` on every head and lays the results out.
type Rule = fn(&[Vec<f64>], &[Vec<f64>], &[Vec<f64>], &[f64], &[f64], &mut [Vec<f64>]) -> Vec<Vec<f64>>;

fn over_heads(x: &Inputs, sequence: usize, rule: Rule) -> [HostTensor; 2] {
    let mut out = vec![0.0f32; BATCH * sequence * V_HEADS * DV];
    let mut present = vec![];
    for b in 0..BATCH {
        for h in 0..V_HEADS {
            let k_head = h / (V_HEADS / K_HEADS);
            let (q, k, v) =
                (Inputs::head(&x.q, b, k_head), Inputs::head(&x.k, b, k_head), Inputs::head(&x.v, b, h));
            let mut state = x.state(b, h);
            let rows =
                rule(&q, &k, &v, &Inputs::gate(&x.decay, b, h), &Inputs::gate(&x.beta, b, h), &mut state);
            for (s, row) in rows.iter().enumerate() {
                for (d, value) in row.iter().enumerate() {
                    out[((b * sequence + s) * V_HEADS + h) * DV + d] = (value * f64::from(0.45f32)) as f32;
                }
            }
            present.extend(state.concat().iter().map(|x| *x as f32));
        }
    }
    [f(&[BATCH, sequence, V_HEADS, DV], &out), f(&[BATCH, V_HEADS, DK, DV], &present)]
}

/// `S' = a (I - beta k k^T) S + beta k v^T`: the rule as one linear map per token.
fn per_token(
    q: &[Vec<f64>],
    k: &[Vec<f64>],
    v: &[Vec<f64>],
    decay: &[f64],
    beta: &[f64],
    s: &mut [Vec<f64>],
) -> Vec<Vec<f64>> {
    let mut out = vec![];
    for t in 0..q.len() {
        let mut next = vec![vec![0.0; DV]; DK];
        for i in 0..DK {
            for c in 0..DV {
                for j in 0..DK {
                    let identity = if i == j { 1.0 } else { 0.0 };
                    next[i][c] += decay[t].exp() * (identity - beta[t] * k[t][i] * k[t][j]) * s[j][c];
                }
                next[i][c] += beta[t] * k[t][i] * v[t][c];
            }
        }
        s.clone_from_slice(&next);
        out.push(recall(s, &q[t]));
    }
    out
}

/// The chunked (WY) form, 4 positions a chunk: within a chunk, with cumulated log decays g,
/// `(I + L) U = diag(beta) (V - diag(e^g) K S0)` for the strictly lower `L[t,u] = beta_t e^(g_t - g_u) k_t.k_u`,
/// `o_t = e^(g_t) q_t S0 + sum_{u<=t} e^(g_t - g_u) (q_t.k_u) U_u`, `S = e^(g_C) S0 + sum_u e^(g_C - g_u) k_u U_u^T`.
fn chunked(
    q: &[Vec<f64>],
    k: &[Vec<f64>],
    v: &[Vec<f64>],
    decay: &[f64],
    beta: &[f64],
    s: &mut [Vec<f64>],
) -> Vec<Vec<f64>> {
    const CHUNK: usize = 4;
    let mut out = vec![];
    for start in (0..q.len()).step_by(CHUNK) {
        let end = (start + CHUNK).min(q.len());
        let mut g = vec![];
        for log_decay in &decay[start..end] {
            g.push(g.last().unwrap_or(&0.0) + log_decay);
        }
        let mut u: Vec<Vec<f64>> = vec![];
        for t in start..end {
            let recalled = recall(s, &k[t]);
            let mut row: Vec<f64> =
                (0..DV).map(|c| beta[t] * (v[t][c] - g[t - start].exp() * recalled[c])).collect();
            for before in start..t {
                let l = beta[t] * (g[t - start] - g[before - start]).exp() * dot(&k[t], &k[before]);
                (0..DV).for_each(|c| row[c] -= l * u[before - start][c]);
            }
            u.push(row);
        }
        for t in start..end {
            let from_state = recall(s, &q[t]);
            let mut row: Vec<f64> = from_state.iter().map(|x| g[t - start].exp() * x).collect();
            for before in start..=t {
                let weight = (g[t - start] - g[before - start]).exp() * dot(&q[t], &k[before]);
                (0..DV).for_each(|c| row[c] += weight * u[before - start][c]);
            }
            out.push(row);
        }
        let last = g[end - start - 1];
        for i in 0..DK {
            for c in 0..DV {
                let added: f64 =
                    (start..end).map(|t| (last - g[t - start]).exp() * k[t][i] * u[t - start][c]).sum();
                s[i][c] = last.exp() * s[i][c] + added;
            }
        }
    }
    out
}

#[test]
fn equals_the_recurrence_as_a_linear_map() {
    let x = inputs(11);
    let [out, present] = x.run(Some(&x.past), 0..11);
    let [expected, expected_present] = over_heads(&x, 11, per_token);
    assert_close(&out, &expected, 1e-6);
    assert_close(&present, &expected_present, 1e-6);
}

#[test]
fn equals_the_chunked_form_over_many_chunks() {
    let sequence = 4 * 17 + 3;
    let x = inputs(sequence);
    let [out, present] = x.run(Some(&x.past), 0..sequence);
    let [expected, expected_present] = over_heads(&x, sequence, chunked);
    assert_close(&out, &expected, 1e-6);
    assert_close(&present, &expected_present, 1e-6);
}

#[test]
fn two_calls_equal_one_and_no_past_is_zeros() {
    let x = inputs(9);
    let [out, present] = x.run(None, 0..9);
    let zeros = f(&[BATCH, V_HEADS, DK, DV], &[0.0; BATCH * V_HEADS * DK * DV]);
    let [first, between] = x.run(Some(&zeros), 0..4);
    let [second, after] = x.run(Some(&between), 4..9);
    assert_close(&join(1, &[&first, &second]), &out, 1e-6);
    assert_close(&after, &present, 1e-6);
}

#[test]
fn fused_norms_and_gates_are_those_operators_in_order() {
    let x = inputs(6);
    let (q, k) = (noise(21, &[BATCH, 6, K_HEADS, DK]), noise(22, &[BATCH, 6, K_HEADS, DK]));
    let (a, b) = (noise(23, &[BATCH, 6, V_HEADS]), noise(24, &[BATCH, 6, V_HEADS]));
    let neg_exp_a = f(&[V_HEADS], &[-0.5, -1.0, -2.0, -0.1]);
    let dt_bias = noise(25, &[V_HEADS]);

    let norm = Op::L2Norm { eps: Real(1e-6) };
    let softplus = Expr::Arg(0).binary(BinaryOp::Add, Expr::Arg(2)).unary(UnaryOp::Softplus);
    let decay = Op::Elementwise(Expr::Arg(1).binary(BinaryOp::Mul, softplus));
    let expected = eval_all(
        &Op::GatedDelta(plain()),
        &[
            Some(&eval(&norm, &[&q])),
            Some(&eval(&norm, &[&k])),
            Some(&x.v),
            Some(&x.past),
            Some(&eval(&decay, &[&a, &neg_exp_a, &dt_bias])),
            Some(&eval(&Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Sigmoid)), &[&b])),
        ],
    );
    let mut slots = vec![None; slot::COUNT];
    slots[slot::Q] = Some(&q);
    slots[slot::K] = Some(&k);
    slots[slot::V] = Some(&x.v);
    slots[slot::PAST] = Some(&x.past);
    slots[slot::DECAY] = Some(&a);
    slots[slot::BETA] = Some(&b);
    slots[slot::NEG_EXP_A] = Some(&neg_exp_a);
    slots[slot::DT_BIAS] = Some(&dt_bias);
    let attrs = GatedDeltaAttrs { qk_norm: Some(Real(1e-6)), raw_gates: true, ..plain() };
    let fused = eval_all(&Op::GatedDelta(attrs), &slots);
    assert_close(&fused[0], &expected[0], 1e-6);
    assert_close(&fused[1], &expected[1], 1e-6);
}
