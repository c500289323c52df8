//! Attributes of operators as text.

use std::fmt::Display;

use super::names::Named;
use crate::dtype::Scalar;
use crate::expr::Expr;
use crate::op::{Op, Real, RopeAttrs, RopeSource};

/// `{key = value, ...}` with a space in front, or nothing.
pub(super) fn attributes(op: &Op) -> String {
    let mut entries = Entries(Vec::new());
    match op {
        Op::Elementwise(expr) => entries.put("expr", show_expr(expr)),
        Op::MatMul { transpose_a, transpose_b } => {
            entries.flag("transpose_a", *transpose_a);
            entries.flag("transpose_b", *transpose_b);
        }
        Op::Reduce { kind, axes, keep_dims } => {
            entries.put("kind", kind.word());
            entries.put("axes", list(axes));
            entries.flag("keep_dims", *keep_dims);
        }
        Op::Dequantize { axis, block, zero } => {
            entries.put("axis", axis);
            entries.put("block", block);
            if *zero != 0 {
                entries.put("zero", zero);
            }
        }
        Op::ArgReduce { min, axis, keep_dims, last } => {
            entries.flag("min", *min);
            entries.put("axis", axis);
            entries.flag("keep_dims", *keep_dims);
            entries.flag("last", *last);
        }
        Op::CumSum { axis, exclusive, reverse } => {
            entries.put("axis", axis);
            entries.flag("exclusive", *exclusive);
            entries.flag("reverse", *reverse);
        }
        Op::Softmax { axis, log } => {
            entries.put("axis", axis);
            entries.flag("log", *log);
        }
        Op::LayerNorm { eps } | Op::L2Norm { eps } => entries.real("eps", Some(*eps)),
        Op::Gather { axis } | Op::Concat { axis } => entries.put("axis", axis),
        Op::Reshape { shape } | Op::Expand { shape } => entries.put("shape", list(shape)),
        Op::Transpose { perm } => entries.put("perm", list(perm)),
        Op::Slice { axis, start, len, step } => {
            entries.put("axis", axis);
            entries.put("start", start);
            entries.put("len", len);
            if *step != 1 {
                entries.put("step", step);
            }
        }
        Op::Pad { before, after, value } => {
            entries.put("before", list(before));
            entries.put("after", list(after));
            entries.put("value", show_scalar(*value));
        }
        Op::Range { start, step, len } => {
            entries.put("start", start);
            entries.put("step", step);
            entries.put("len", len);
        }
        Op::Fill { dtype, value, shape } => {
            entries.put("dtype", dtype);
            entries.put("value", show_scalar(*value));
            entries.put("shape", list(shape));
        }
        Op::Dims { values } => entries.put("values", list(values)),
        Op::RmsNorm { eps, gate } => {
            entries.real("eps", Some(*eps));
            entries.named("gate", *gate);
        }
        Op::Rope(attrs) => rope_entries(&mut entries, attrs),
        Op::Attention(attrs) => {
            entries.real("scale", Some(attrs.scale));
            entries.flag("causal", attrs.causal);
            entries.flag("present", attrs.present);
            entries.real("qk_norm", attrs.qk_norm);
            if let Some(rope) = &attrs.rope {
                let mut nested = Entries(Vec::new());
                rope_entries(&mut nested, rope);
                entries.put("rope", nested.braces());
            }
            entries.named("gate", attrs.gate);
        }
        Op::CausalConv { activation } => entries.named("activation", Some(*activation)),
        Op::GatedDelta(attrs) => {
            entries.real("scale", Some(attrs.scale));
            entries.real("qk_norm", attrs.qk_norm);
            entries.flag("raw_gates", attrs.raw_gates);
        }
        Op::Linear(attrs) => {
            entries.put("weights", list(attrs.weights.iter().map(|layout| layout.word())));
            entries.real("norm", attrs.norm);
            entries.named("glu", attrs.glu);
            if let Some(epilogue) = &attrs.epilogue {
                entries.put("epilogue", show_expr(epilogue));
            }
        }
    }
    if entries.0.is_empty() { String::new() } else { format!(" {}", entries.braces()) }
}

fn rope_entries(entries: &mut Entries, attrs: &RopeAttrs) {
    entries.put("rotary_dim", attrs.rotary_dim);
    entries.flag("interleaved", attrs.interleaved);
    if let RopeSource::Table { axes } = &attrs.source {
        entries.put("axes", list(axes));
    }
}

struct Entries(Vec<String>);

impl Entries {
    fn put(&mut self, key: &str, value: impl Display) {
        self.0.push(format!("{key} = {value}"));
    }

    fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.put(key, true);
        }
    }

    fn real(&mut self, key: &str, value: Option<Real>) {
        if let Some(Real(value)) = value {
            self.put(key, show_float(value));
        }
    }

    fn named<T: Named>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(key, value.word());
        }
    }

    fn braces(&self) -> String {
        format!("{{{}}}", self.0.join(", "))
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

/// The shortest decimal that reads back to the same bits; always with a point, an exponent or a word.
fn show_float(value: f32) -> String {
    if value.is_nan() {
        let bits = value.to_bits();
        return if bits == f32::NAN.to_bits() { "nan".into() } else { format!("bits({bits:#010x})") };
    }
    format!("{value:?}")
}

fn show_scalar(value: Scalar) -> String {
    match value {
        Scalar::F32(value) => show_float(value),
        Scalar::Int(value) => value.to_string(),
        Scalar::Bool(value) => value.to_string(),
    }
}

fn show_expr(expr: &Expr) -> String {
    match expr {
        Expr::Arg(index) => format!("a{index}"),
        Expr::Const(value) => show_scalar(*value),
        Expr::Unary(op, a) => format!("{}({})", op.word(), show_expr(a)),
        Expr::Binary(op, a, b) => format!("{}({}, {})", op.word(), show_expr(a), show_expr(b)),
        Expr::Select(c, a, b) => format!("select({}, {}, {})", show_expr(c), show_expr(a), show_expr(b)),
        Expr::Cast(dtype, a) => format!("cast({dtype}, {})", show_expr(a)),
    }
}
