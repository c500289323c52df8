//! Angles that are computed from positions become rows of a table.
//!
//! Pattern: `cos` or `sin` of `f32(positions) * frequencies`, where `positions` is an integer input of the graph with an
//! axis of size 1 behind, and `frequencies` is a constant row; or of the transpose of their outer product as a matrix
//! product, `frequencies [R, 1] @ f32(positions) [1, S]`. Result: `gather(table, positions)`; the table holds the
//! same product, rounded to f32 as the graph would, and its cosine or sine. On a device, sine and cosine of large angles
//! are far less exact than such a table.
//!
//! This is no pass of the pipeline, because it needs to know what the graph does not say: how many positions there are.
//! It runs on decoders, whose positions are below the context's length. An expression whose product does not have this
//! form stays as it is.

use qwenc_ir::{DType, Expr, Graph, NodeId, Op, Tensor, UnaryOp, ValueId, ValueKind};

use super::manager::PassError;
use super::rewrite::{apply, elementwise, first_output, replace_node, reshape_to, shape, strip_reshapes};
use super::term::{Product, Term, as_f32};

/// Largest table, in elements.
const MAX_ELEMENTS: usize = 1 << 26;

/// Replaces computed angles in the whole graph; gives how many were. Positions are below `rows`.
pub fn tabulate_rope(graph: &mut Graph, rows: usize) -> Result<usize, PassError> {
    let mut count = 0;
    for node in graph.topo_order()? {
        if let Some(found) = find(graph, node) {
            let Some(table) = table(&found, rows) else { continue };
            let Some(output) = first_output(graph, node) else { continue };
            let to = shape(graph, output).to_vec();
            let name = graph.node(node).name.clone();
            let table = graph.add_const(format!("{name}.table"), table);
            let positions = reshape_to(graph, found.positions, &to[..to.len().saturating_sub(1)])?;
            let value = apply(graph, &name, Op::Gather { axis: 0 }, &[table, positions])?;
            replace_node(graph, node, &[value]);
            count += 1;
        }
    }
    Ok(count)
}

struct Angles {
    positions: ValueId,
    frequencies: Vec<f32>,
    sine: bool,
}

fn find(graph: &Graph, node: NodeId) -> Option<Angles> {
    elementwise(graph, node)?;
    let output = first_output(graph, node)?;
    if graph.value(output).ty.dtype != DType::F32 {
        return None;
    }
    let term = Term::shallow(graph, output, 4);
    let (sine, angle) = match &term.expr {
        Expr::Unary(UnaryOp::Sin, angle) => (true, angle),
        Expr::Unary(UnaryOp::Cos, angle) => (false, angle),
        _ => return None,
    };
    if let Some(angle) = term.leaf(angle) {
        let (positions, frequencies) = outer_product(graph, angle)?;
        return Some(Angles { positions, frequencies, sine });
    }
    let product = Product::of(angle);
    let (mut positions, mut frequencies, mut scale) = (None, None, 1.0f32);
    for factor in &product.over {
        match factor {
            Expr::Cast(DType::F32, inner) if positions.is_none() => positions = Some(term.leaf(inner)?),
            other => match (as_f32(other), term.leaf(other)) {
                (Some(value), _) => scale *= value,
                (None, Some(leaf)) if frequencies.is_none() => frequencies = Some(leaf),
                _ => return None,
            },
        }
    }
    let (positions, frequencies) = (positions?, frequencies?);
    let base = strip_reshapes(graph, positions);
    let (_, rows) = shape(graph, output).split_last()?;
    let (column, own_rows) = shape(graph, positions).split_last()?;
    let tensor = graph.constant(frequencies)?;
    let (width, front) = tensor.shape().split_last()?;
    let fits = product.under.is_empty()
        && graph.value(base).kind == ValueKind::Input
        && graph.value(base).ty.dtype == DType::I64
        && column.is(1)
        && own_rows == rows
        && front.iter().all(|size| *size == 1)
        && tensor.dtype() == DType::F32
        && shape(graph, output).last()?.as_usize() == Some(*width);
    let frequencies = (0..tensor.len()).map(|at| tensor.f32_at(at) * scale).collect();
    fits.then_some(Angles { positions, frequencies, sine })
}

/// Positions and frequencies of `transpose(frequencies [.., R, 1] @ f32(positions) [.., 1, S])`, with the last two axes
/// swapped. The frequencies are the same in front.
fn outer_product(graph: &Graph, angle: ValueId) -> Option<(ValueId, Vec<f32>)> {
    let (transpose, Op::Transpose { perm }) = graph.producer_op(angle)? else { return None };
    let rank = perm.len();
    let mut swapped: Vec<usize> = (0..rank).collect();
    swapped.swap(rank.checked_sub(2)?, rank - 1);
    if *perm != swapped {
        return None;
    }
    let (product, Op::MatMul { transpose_a: false, transpose_b: false }) =
        graph.producer_op(graph.node_input(transpose, 0)?)?
    else {
        return None;
    };
    let (column, row) = (graph.node_input(product, 0)?, graph.node_input(product, 1)?);
    let (cast, Op::Elementwise(Expr::Cast(DType::F32, inner))) = graph.producer_op(row)? else { return None };
    let positions = graph.node_input(cast, 0)?;
    let base = strip_reshapes(graph, positions);
    let width = shape(graph, angle).last()?.as_usize()?;
    let (_, rows) = shape(graph, angle).split_last()?;
    let fits = **inner == Expr::Arg(0)
        && shape(graph, column).last()?.is(1)
        && shape(graph, row).len() == rank
        && graph.value(base).kind == ValueKind::Input
        && graph.value(base).ty.dtype == DType::I64
        && qwenc_ir::dim::product(rows) == graph.value(positions).ty.elements();
    let tensor = match graph.producer_op(column) {
        Some((expand, Op::Expand { .. })) => graph.constant(graph.node_input(expand, 0)?)?,
        _ => graph.constant(column)?,
    };
    let is_column = matches!(tensor.shape(), [.., height, 1] if *height == width);
    if !fits || !is_column || tensor.dtype() != DType::F32 || shape(graph, column).len() != rank {
        return None;
    }
    let all = tensor.to_f32().ok()?;
    let first = all.get(..width)?;
    all.chunks(width).all(|other| other == first).then(|| (positions, first.to_vec()))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the graph computes in f32")]
fn table(angles: &Angles, rows: usize) -> Option<Tensor> {
    let width = angles.frequencies.len();
    if rows.checked_mul(width)? > MAX_ELEMENTS {
        return None;
    }
    let mut values = Vec::with_capacity(rows * width);
    for position in 0..rows {
        for frequency in &angles.frequencies {
            let angle = f64::from(position as f32 * frequency);
            values.push(if angles.sine { angle.sin() } else { angle.cos() } as f32);
        }
    }
    Tensor::from_f32(vec![rows, width], &values).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use qwenc_ir::Bindings;
    use qwenc_ir::interp::{HostTensor, inputs_by_name, run};
    use qwenc_ir::text::{ConstPool, parse};

    use super::tabulate_rope;

    const COMPUTED: &str = r#"graph "angles" {
  input %positions: i64[3, 1, tokens]
  input %others: f32[1, tokens, 1]
  const %frequencies: f32[1, 2] = dense(1.0, 0.01)
  %column = reshape(%positions) {shape = [3, 1, tokens, 1]}
  %float = elementwise(%column) {expr = cast(f32, a0)}
  %angle = elementwise(%frequencies, %float) {expr = mul(a0, a1)}
  %cos = elementwise(%angle) {expr = cos(a0)}
  %sin = elementwise(%angle) {expr = mul(sin(mul(a0, 0.5)), 3.0)}
  %free = elementwise(%others, %frequencies) {expr = cos(mul(a0, a1))}
  output "cos" = %cos
  output "sin" = %sin
  output "free" = %free
}
"#;

    #[test]
    fn tables_give_what_the_graph_computes() {
        let before = parse(COMPUTED, &ConstPool::new()).unwrap();
        let mut after = before.clone();
        // The second is more than a sine, the third no function of positions.
        assert_eq!(tabulate_rope(&mut after, 9).unwrap(), 1);
        assert!(qwenc_ir::verify(&after).is_ok());
        let bindings = Bindings::from([("tokens".to_owned(), 3)]);
        let positions = HostTensor::i64(vec![3, 1, 3], vec![0, 1, 8, 2, 3, 4, 5, 6, 7]).unwrap();
        let others = HostTensor::f32(vec![1, 3, 1], vec![0.5, 1.5, -2.0]).unwrap();
        let results = [&before, &after].map(|graph| {
            let given = [("positions", positions.clone()), ("others", others.clone())];
            run(graph, &bindings, &inputs_by_name(graph, given).unwrap()).unwrap()
        });
        for name in ["cos", "sin", "free"] {
            let [old, new] = results.each_ref().map(|values| values.output(name).unwrap());
            assert!(old.max_abs_diff(new).unwrap() <= 1e-6, "{name}");
        }
    }

    #[test]
    fn positions_that_are_computed_are_left_alone() {
        let text = COMPUTED
            .replace("input %positions: i64[3, 1, tokens]", "input %given: i64[3, 1, tokens]")
            .replace("  %column = ", "  %positions = elementwise(%given) {expr = add(a0, 1)}\n  %column = ");
        let mut graph = parse(&text, &ConstPool::new()).unwrap();
        assert_eq!(tabulate_rope(&mut graph, 9).unwrap(), 0);
    }

    #[test]
    fn a_table_that_is_too_large_is_not_made() {
        let mut graph = parse(COMPUTED, &ConstPool::new()).unwrap();
        assert_eq!(tabulate_rope(&mut graph, 1 << 26).unwrap(), 0);
    }
}
