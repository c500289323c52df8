//! Reading an operator from its name and attributes.

use super::ParseError;
use super::lexer::Kind;
use super::names::Named;
use super::parser::Parser;
use crate::dim::Dim;
use crate::op::{AttentionAttrs, GatedDeltaAttrs, LinearAttrs, Op, Real, RopeAttrs, RopeSource};

type Result<T> = std::result::Result<T, ParseError>;

/// Attributes by key, each the tokens behind its equals sign; read in any order.
struct Attrs<'p, 'a> {
    parser: &'p mut Parser<'a>,
    /// Where the operator's name stands, for what is missing.
    op_at: usize,
    /// Key, its place, and the first and past-the-last token of its value.
    entries: Vec<(&'a str, usize, usize, usize)>,
}

impl<'p, 'a> Attrs<'p, 'a> {
    /// Scans `{key = value, ...}` if there is one. Continues behind it after [`Attrs::finish`].
    fn scan(parser: &'p mut Parser<'a>, op_at: usize) -> Result<(Self, usize)> {
        let mut entries: Vec<(&'a str, usize, usize, usize)> = Vec::new();
        if parser.take_mark('{') {
            while !parser.take_mark('}') {
                if !entries.is_empty() {
                    parser.expect_mark(',')?;
                }
                let at = parser.here();
                let key = parser.word()?;
                if entries.iter().any(|(have, ..)| *have == key) {
                    return Err(parser.error_at(at, format!("`{key}` is given twice")));
                }
                parser.expect_mark('=')?;
                let start = parser.here();
                skip_value(parser)?;
                entries.push((key, at, start, parser.here()));
            }
        }
        let end = parser.here();
        Ok((Self { parser, op_at, entries }, end))
    }

    fn optional<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Parser<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(index) = self.entries.iter().position(|(have, ..)| *have == key) else {
            return Ok(None);
        };
        let (_, _, start, end) = self.entries.remove(index);
        self.parser.go_to(start);
        let value = read(self.parser)?;
        if self.parser.here() != end {
            return Err(self.parser.error(format!("the value of `{key}` should end here")));
        }
        Ok(Some(value))
    }

    fn required<T>(&mut self, key: &str, read: impl FnOnce(&mut Parser<'a>) -> Result<T>) -> Result<T> {
        let missing = self.parser.error_at(self.op_at, format!("the attribute `{key}` is missing"));
        self.optional(key, read)?.ok_or(missing)
    }

    fn flag(&mut self, key: &str) -> Result<bool> {
        Ok(self.optional(key, Parser::named)?.unwrap_or(false))
    }

    fn axis(&mut self) -> Result<usize> {
        self.required("axis", Parser::number)
    }

    fn dims(&mut self, key: &str) -> Result<Vec<Dim>> {
        self.required(key, |parser| parser.list(('[', ']'), Parser::dim))
    }

    fn real(&mut self, key: &str) -> Result<Real> {
        self.required(key, read_real)
    }

    fn optional_real(&mut self, key: &str) -> Result<Option<Real>> {
        self.optional(key, read_real)
    }

    fn optional_named<T: Named>(&mut self, key: &str) -> Result<Option<T>> {
        self.optional(key, Parser::named)
    }

    fn finish(self, end: usize) -> Result<()> {
        if let Some((key, at, ..)) = self.entries.first() {
            return Err(self.parser.error_at(*at, format!("the operator has no attribute `{key}`")));
        }
        self.parser.go_to(end);
        Ok(())
    }
}

fn read_real(parser: &mut Parser<'_>) -> Result<Real> {
    parser.float().map(Real)
}

/// Steps to the comma or brace that ends a value.
fn skip_value(parser: &mut Parser<'_>) -> Result<()> {
    let mut depth = 0usize;
    loop {
        match parser.peek_kind() {
            Kind::End => return Err(parser.error("the attributes do not end")),
            Kind::Mark(',' | '}') if depth == 0 => return Ok(()),
            Kind::Mark('(' | '[' | '{') => depth += 1,
            Kind::Mark(')' | ']' | '}') => {
                depth = depth.checked_sub(1).ok_or_else(|| parser.error("a bracket that nothing opened"))?;
            }
            _ => {}
        }
        parser.next_kind();
    }
}

/// The operator called `name`, whose attributes come next; `at` is the place of the name.
pub(super) fn read_op(name: &str, at: usize, parser: &mut Parser<'_>) -> Result<Op> {
    let (mut attrs, end) = Attrs::scan(parser, at)?;
    let op = build(name, &mut attrs)?;
    attrs.finish(end)?;
    Ok(op)
}

fn build(name: &str, attrs: &mut Attrs<'_, '_>) -> Result<Op> {
    Ok(match name {
        "elementwise" => Op::Elementwise(attrs.required("expr", Parser::expr)?),
        "matmul" => {
            Op::MatMul { transpose_a: attrs.flag("transpose_a")?, transpose_b: attrs.flag("transpose_b")? }
        }
        "reduce" => Op::Reduce {
            kind: attrs.required("kind", Parser::named)?,
            axes: attrs.required("axes", |parser| parser.list(('[', ']'), Parser::number))?,
            keep_dims: attrs.flag("keep_dims")?,
        },
        "dequantize" => Op::Dequantize {
            axis: attrs.axis()?,
            block: attrs.required("block", Parser::number)?,
            zero: attrs.optional("zero", Parser::number)?.unwrap_or(0),
        },
        "arg_reduce" => Op::ArgReduce {
            min: attrs.flag("min")?,
            axis: attrs.axis()?,
            keep_dims: attrs.flag("keep_dims")?,
            last: attrs.flag("last")?,
        },
        "cumsum" => Op::CumSum {
            axis: attrs.axis()?,
            exclusive: attrs.flag("exclusive")?,
            reverse: attrs.flag("reverse")?,
        },
        "softmax" => Op::Softmax { axis: attrs.axis()?, log: attrs.flag("log")? },
        "layer_norm" => Op::LayerNorm { eps: attrs.real("eps")? },
        "gather" => Op::Gather { axis: attrs.axis()? },
        "reshape" => Op::Reshape { shape: attrs.dims("shape")? },
        "transpose" => {
            Op::Transpose { perm: attrs.required("perm", |parser| parser.list(('[', ']'), Parser::number))? }
        }
        "slice" => Op::Slice {
            axis: attrs.axis()?,
            start: attrs.required("start", Parser::dim)?,
            len: attrs.required("len", Parser::dim)?,
            step: attrs.optional("step", Parser::number)?.unwrap_or(1),
        },
        "concat" => Op::Concat { axis: attrs.axis()? },
        "expand" => Op::Expand { shape: attrs.dims("shape")? },
        "pad" => Op::Pad {
            before: attrs.dims("before")?,
            after: attrs.dims("after")?,
            value: attrs.required("value", Parser::scalar)?,
        },
        "range" => Op::Range {
            start: attrs.required("start", Parser::dim)?,
            step: attrs.required("step", Parser::number)?,
            len: attrs.required("len", Parser::dim)?,
        },
        "fill" => Op::Fill {
            dtype: attrs.required("dtype", Parser::dtype)?,
            value: attrs.required("value", Parser::scalar)?,
            shape: attrs.dims("shape")?,
        },
        "dims" => Op::Dims { values: attrs.dims("values")? },
        "rms_norm" => Op::RmsNorm { eps: attrs.real("eps")?, gate: attrs.optional_named("gate")? },
        "l2_norm" => Op::L2Norm { eps: attrs.real("eps")? },
        "rope" => Op::Rope(rope(attrs)?),
        "attention" => Op::Attention(Box::new(AttentionAttrs {
            scale: attrs.real("scale")?,
            causal: attrs.flag("causal")?,
            present: attrs.flag("present")?,
            qk_norm: attrs.optional_real("qk_norm")?,
            rope: attrs.optional("rope", nested_rope)?,
            gate: attrs.optional_named("gate")?,
        })),
        "causal_conv" => Op::CausalConv { activation: attrs.required("activation", Parser::named)? },
        "gated_delta" => Op::GatedDelta(GatedDeltaAttrs {
            scale: attrs.real("scale")?,
            qk_norm: attrs.optional_real("qk_norm")?,
            raw_gates: attrs.flag("raw_gates")?,
        }),
        "linear" => Op::Linear(Box::new(LinearAttrs {
            weights: attrs.required("weights", |parser| parser.list(('[', ']'), Parser::named))?,
            norm: attrs.optional_real("norm")?,
            glu: attrs.optional_named("glu")?,
            epilogue: attrs.optional("epilogue", Parser::expr)?,
        })),
        _ => return Err(attrs.parser.error_at(attrs.op_at, format!("`{name}` is no operator"))),
    })
}

fn rope(attrs: &mut Attrs<'_, '_>) -> Result<RopeAttrs> {
    let rotary_dim = attrs.required("rotary_dim", Parser::number)?;
    let interleaved = attrs.flag("interleaved")?;
    let axes = attrs.optional("axes", |parser| parser.list(('[', ']'), Parser::number))?;
    let source = axes.map_or(RopeSource::Direct, |axes| RopeSource::Table { axes });
    Ok(RopeAttrs { rotary_dim, interleaved, source })
}

fn nested_rope(parser: &mut Parser<'_>) -> Result<RopeAttrs> {
    let at = parser.here();
    let (mut attrs, end) = Attrs::scan(parser, at)?;
    let rope = rope(&mut attrs)?;
    attrs.finish(end)?;
    Ok(rope)
}
