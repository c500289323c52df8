//! Lowering: from a graph of operators to launches of kernels over logical buffers.
//!
//! Operators that only rearrange elements become strided views; every other operator becomes one or a few launches.
//! What a kernel may assume (a dense row, a width below a limit) is checked here, at compile time; where a view does
//! not fit, a strided copy is put in front.
//!
//! One file an operator family; [`lower`] is the whole flow.

mod attention;
mod context;
mod conv;
mod delta;
mod generic;
mod linear;
mod move_ops;
mod norm;
mod packed_only;
mod quantized;
mod sample;
mod step_fusion;
mod weights;

pub use context::{Buffer, BufferRole, Io, Launch, LowerError, Lowered, Lowering};
pub use sample::sample;
pub use weights::{RowPart, RowStack, WeightSpec, pack};

use qwenc_codegen_wgsl::Symbols;
use qwenc_ir::{Graph, NodeId, Op};

/// What an entry point is lowered for.
#[derive(Clone, Debug)]
pub struct LowerOptions {
    /// The entry point's name.
    pub entry: String,
    /// Symbols and their bounds; slots are shared by all entry points of a bundle.
    pub symbols: Symbols,
    /// Positions that a KV cache holds.
    pub max_context: usize,
}

/// Lowers a graph, whose nodes are all of kinds that kernels exist for.
pub fn lower(graph: &Graph, options: &LowerOptions) -> Result<Lowered, LowerError> {
    let mut lowering = Lowering::new(graph, options)?;
    let order = graph.topo_order().map_err(|cycle| LowerError::graph(cycle.to_string()))?;
    lowering.place_inputs()?;
    lowering.reserve_outputs();
    let packed_only = packed_only::packed_only(graph, &order);
    let norms = step_fusion::TakenNorms::find(graph, &order);
    for node in order.into_iter().filter(|node| !packed_only.contains(node)) {
        if norms.skips(node) || lowering.is_taken(node) {
            continue;
        }
        lower_node(&mut lowering, node, norms.of(node))
            .map_err(|error| error.at(&graph.node(node).name, graph.node(node).op.name()))?;
    }
    lowering.finish()
}

/// Lowers a node; `norm` is the one in front that a linear layer takes along.
fn lower_node(lowering: &mut Lowering<'_>, node: NodeId, norm: Option<NodeId>) -> Result<(), LowerError> {
    let graph = lowering.graph();
    lowering.set_label(&graph.node(node).name);
    match &graph.node(node).op {
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Expand { .. } => {
            move_ops::view(lowering, node)
        }
        Op::Concat { axis } => move_ops::concat(lowering, node, *axis),
        Op::Pad { before, value, .. } => move_ops::pad(lowering, node, before, *value),
        Op::Range { .. } | Op::Fill { .. } | Op::Dims { .. } => move_ops::generate(lowering, node),
        Op::Elementwise(expr) => generic::elementwise(lowering, node, expr),
        Op::MatMul { transpose_a, transpose_b } => {
            generic::matmul(lowering, node, *transpose_a, *transpose_b)
        }
        Op::Reduce { kind, axes, .. } => generic::reduce(lowering, node, *kind, axes),
        Op::Dequantize { axis, block, zero } => quantized::dequantize(lowering, node, *axis, *block, *zero),
        Op::ArgReduce { min, axis, last, .. } => generic::arg_reduce(lowering, node, *min, *axis, *last),
        Op::CumSum { axis, exclusive, reverse } => {
            generic::cumsum(lowering, node, *axis, *exclusive, *reverse)
        }
        Op::Softmax { axis, log } => generic::softmax(lowering, node, *axis, *log),
        Op::Gather { axis } => quantized::gather(lowering, node, *axis),
        Op::LayerNorm { eps } => norm::layer_norm(lowering, node, *eps),
        Op::RmsNorm { eps, gate } => norm::rms_norm(lowering, node, *eps, *gate),
        Op::L2Norm { eps } => norm::l2_norm(lowering, node, *eps),
        Op::Linear(attrs) => linear::linear(lowering, node, attrs, norm),
        Op::Rope(attrs) => attention::rope(lowering, node, attrs),
        Op::Attention(attrs) => attention::attention(lowering, node, attrs),
        Op::CausalConv { activation } => conv::causal_conv(lowering, node, *activation),
        Op::GatedDelta(attrs) => delta::gated_delta(lowering, node, attrs),
    }
}
