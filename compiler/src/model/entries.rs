//! Cutting a graph into the entry points of a bundle.
//!
//! A decoder has three with graphs: `prefill` runs a chunk of the prompt and leaves its hidden states in a buffer, `head` turns one
//! row of them into logits (a prompt needs the logits of its last position only, and the head is the largest matrix of
//! the model), and `decode` runs one position through everything. A fourth one, `sample`, chooses a token by the logits; it
//! has no graph (`lower::sample`). Any other graph is one entry point, `main`.

use std::collections::BTreeMap;

use qwenc_codegen_wgsl::Symbols;
use qwenc_ir::{Dim, Graph, InferError, Op, ValueId, ValueType};
use qwenc_runtime::format::{Constraint, Expr};
use qwenc_runtime::session::INPUT_IDS;

use super::image_merge::merge_images;
use super::transform::{extract, join};
use crate::vision::{IMAGE_TOKENS, Vision};

/// Positions of this call.
pub const TOKENS: &str = "tokens";
/// Positions that the states already hold.
pub const PAST: &str = "past";
/// The entry point that runs a chunk of the prompt.
const PREFILL: &str = "prefill";
/// The row of the chunk whose logits are wanted.
pub const ROW: &str = "row";
/// The buffer in which `prefill` leaves hidden states for `head`.
pub const HIDDEN: &str = "hidden";
/// The output that makes a graph with states a decoder.
pub const LOGITS: &str = "logits";

/// An entry point before lowering.
#[derive(Clone, Debug)]
pub struct EntryGraph {
    /// Its name.
    pub name: &'static str,
    /// What it computes.
    pub graph: Graph,
    /// Bounds on symbols together.
    pub constraints: Vec<Constraint>,
}

/// Entry points and the symbols that they share.
#[derive(Clone, Debug)]
pub struct Entries {
    /// The entry points.
    pub entries: Vec<EntryGraph>,
    /// Symbols with bounds, in slot order.
    pub symbols: Symbols,
    /// Size of the vocabulary from which an entry point `sample` chooses tokens, which has no graph.
    pub sampled: Option<u32>,
}

impl Entries {
    /// Adds the entry point `vision`, and to `prefill` the place where its features go. Its symbol counts image tokens, so
    /// that patches always make whole ones.
    pub fn add_vision(
        &mut self,
        vision: &Vision,
        merge_size: u32,
        max_patches: u32,
    ) -> Result<(), InferError> {
        let most = i64::from((max_patches / (merge_size * merge_size).max(1)).max(1));
        self.entries.push(EntryGraph { name: "vision", graph: vision.graph.clone(), constraints: vec![] });
        let ranges = self.symbols.ranges();
        let mut all: Vec<(String, (i64, i64))> =
            self.symbols.names().iter().filter_map(|name| Some((name.clone(), *ranges.get(name)?))).collect();
        all.push((IMAGE_TOKENS.to_string(), (1, most)));
        self.symbols = Symbols::new(all);
        let rows = usize::try_from(most).unwrap_or(1);
        for entry in self.entries.iter_mut().filter(|entry| entry.name == PREFILL) {
            merge_images(&mut entry.graph, rows)?;
        }
        Ok(())
    }
}

/// Sizes that a decoder is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderSizes {
    /// Positions that the states hold.
    pub max_context: usize,
    /// Most positions of one prefill call.
    pub prefill_chunk: usize,
}

/// The entry points of a decoder whose graph has states and an output `logits` of shape `[1, tokens, vocabulary]`.
pub fn decoder(graph: &Graph, sizes: DecoderSizes) -> Result<Entries, InferError> {
    let logits = graph
        .outputs()
        .iter()
        .find(|(name, _)| name == LOGITS)
        .map(|(_, value)| *value)
        .ok_or_else(|| InferError::new(format!("the decoder has no output `{LOGITS}`")))?;
    let hidden = hidden_states(graph, logits);
    let none = BTreeMap::new();
    let one_token = BTreeMap::from([(TOKENS.to_string(), Dim::constant(1))]);
    let whole_chunk = BTreeMap::from([(TOKENS.to_string(), Dim::from(sizes.prefill_chunk))]);
    let output = |name: &str, value: ValueId| vec![(name.to_string(), value)];

    let prefill = extract(graph, "prefill", &output(HIDDEN, hidden), &[], true, &none)?;
    let tail = extract(graph, "head", &output(LOGITS, logits), &output(HIDDEN, hidden), false, &one_token)?;
    let chunk_type = graph.value(hidden).ty.shape.iter().map(|dim| dim.substitute(&whole_chunk));
    let head = select_row(&tail, ValueType::new(graph.value(hidden).ty.dtype, chunk_type))?;
    let decode = extract(graph, "decode", &output(LOGITS, logits), &[], true, &one_token)?;

    let context = u32::try_from(sizes.max_context).unwrap_or(u32::MAX);
    let fits = Constraint { expr: Expr::Add(vec![PAST.into(), TOKENS.into()]), max: context };
    let symbols = Symbols::new([
        (TOKENS.to_string(), (1, bound(sizes.prefill_chunk))),
        (PAST.to_string(), (0, bound(sizes.max_context) - 1)),
        (ROW.to_string(), (0, bound(sizes.prefill_chunk) - 1)),
    ]);
    let entries = vec![
        EntryGraph { name: PREFILL, graph: prefill, constraints: vec![fits] },
        EntryGraph { name: "head", graph: head, constraints: vec![] },
        EntryGraph { name: "decode", graph: decode, constraints: vec![] },
    ];
    Ok(Entries { entries, symbols, sampled: vocabulary(graph, logits) })
}

fn bound(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The size of the vocabulary, when tokens can be chosen on the device: what is chosen becomes the next `input_ids`.
fn vocabulary(graph: &Graph, logits: ValueId) -> Option<u32> {
    let takes_ids = graph.inputs().iter().any(|input| graph.value(*input).name == INPUT_IDS);
    let size = graph.value(logits).ty.shape.last().and_then(Dim::as_usize)?;
    u32::try_from(size).ok().filter(|_| takes_ids)
}

/// What the head reads: the input of the layer that gives logits. The norm in front of the head has been fused into
/// it, so this is the residual stream.
fn hidden_states(graph: &Graph, logits: ValueId) -> ValueId {
    match graph.producer_op(logits) {
        Some((node, Op::Linear(_))) => graph.node_input(node, 0).unwrap_or(logits),
        _ => logits,
    }
}

/// The head for one row: in front of the tail for one position, position `row` is taken out of a whole chunk.
fn select_row(tail: &Graph, chunk: ValueType) -> Result<Graph, InferError> {
    let mut front = Graph::new("row");
    let hidden = front.add_input(HIDDEN, chunk);
    let slice = Op::Slice { axis: 1, start: Dim::sym(ROW), len: Dim::constant(1), step: 1 };
    let row = front.apply("row", slice, &[hidden])?;
    front.add_output("one_row", row);
    join(&front, tail, &[("one_row", HIDDEN)])
}

/// The only entry point of a graph that is no decoder.
pub fn main_entry(graph: &Graph, symbols: Symbols) -> Entries {
    let main = EntryGraph { name: "main", graph: graph.clone(), constraints: vec![] };
    Entries { entries: vec![main], symbols, sampled: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::op::{LinearAttrs, Real, WeightLayout};
    use qwenc_ir::{BinaryOp, DType, Expr as Pointwise, State, StateKind, Tensor};

    /// A decoder of one state: hidden = x + past, logits = linear(norm(hidden)).
    fn tiny() -> Graph {
        let mut graph = Graph::new("decoder");
        let x = graph.add_input(
            "inputs_embeds",
            ValueType::new(DType::F32, [Dim::constant(1), Dim::sym(TOKENS), Dim::constant(3)]),
        );
        let past = graph.add_input("past", ValueType::new(DType::F32, [1usize, 1, 3]));
        let add = Op::Elementwise(Pointwise::Arg(0).binary(BinaryOp::Add, Pointwise::Arg(1)));
        let hidden = graph.apply("hidden", add.clone(), &[x, past]).unwrap();
        let present = graph.apply("present", add, &[past, past]).unwrap();
        let norm = graph.add_const("norm", Tensor::from_f32(vec![3], &[1.0; 3]).unwrap());
        let weight = graph.add_const("weight", Tensor::from_f32(vec![5, 3], &[0.5; 15]).unwrap());
        let attrs = LinearAttrs {
            weights: vec![WeightLayout::NK],
            norm: Some(Real(1e-6)),
            glu: None,
            epilogue: None,
        };
        let logits = graph.apply("head", Op::Linear(Box::new(attrs)), &[hidden, norm, weight]).unwrap();
        graph.add_output(LOGITS, logits);
        graph.add_state(State { name: "s".into(), kind: StateKind::Matrix, past, present });
        graph
    }

    #[test]
    fn a_decoder_is_cut_at_the_residual_stream() {
        let entries = decoder(&tiny(), DecoderSizes { max_context: 64, prefill_chunk: 16 }).unwrap().entries;
        let [prefill, head, decode] = entries.as_slice() else { panic!() };
        assert_eq!(prefill.graph.outputs()[0].0, HIDDEN);
        assert_eq!(prefill.graph.states().len(), 1);
        assert!(prefill.graph.nodes().all(|node| prefill.graph.node(node).op.name() != "linear"));
        let input = head.graph.inputs()[0];
        assert_eq!(head.graph.value(input).ty.to_string(), "f32[1, 16, 3]");
        assert_eq!(head.graph.value(head.graph.outputs()[0].1).ty.to_string(), "f32[1, 1, 5]");
        let logits = decode.graph.outputs()[0].1;
        assert_eq!(decode.graph.value(logits).ty.to_string(), "f32[1, 1, 5]");
    }
}
