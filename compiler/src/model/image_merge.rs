//! Feature rows of pictures among the tokens of `prefill`, in one way for every exporter.
//!
//! Exporters merge pictures in different places: in the embedding's graph, in code of their own, or not at all. The
//! compiler imports every decoder as if there were no picture, and puts one merge behind the lookup of embeddings:
//! `merged = image_rows >= 0 ? image_features[image_rows] : embedding`. The runtime says which token takes which row.

use qwenc_ir::{BinaryOp, DType, Dim, Expr, Graph, InferError, Op, Scalar, ValueId, ValueType};

use super::entries::TOKENS;

/// Input: the feature row of each token, or -1.
pub const IMAGE_ROWS: &str = "image_rows";
/// Input: the buffer that entry point `vision` writes.
pub const IMAGE_FEATURES: &str = "image_features";
const INPUT_IDS: &str = "input_ids";

/// Merges feature rows into a graph that looks up embeddings of `input_ids`. The table of features has `rows` rows.
pub fn merge_images(prefill: &mut Graph, rows: usize) -> Result<(), InferError> {
    let embedding = embedding(prefill).ok_or_else(|| {
        InferError::new(format!("`{INPUT_IDS}` has no lookup of embeddings, so pictures have no place"))
    })?;
    let ty = prefill.value(embedding).ty.clone();
    let tokens = Dim::sym(TOKENS);
    let width = match ty.shape.as_slice() {
        [.., count, width] if *count == tokens && ty.dtype.is_float() => width.clone(),
        _ => return Err(InferError::new(format!("embeddings are {ty}, not a row for each token"))),
    };
    let users = prefill.consumers(embedding);
    let features = prefill.add_input(IMAGE_FEATURES, ValueType::new(DType::F32, [Dim::from(rows), width]));
    let index = prefill.add_input(IMAGE_ROWS, ValueType::new(DType::I64, [tokens.clone()]));
    // An index of -1 takes the last row, which the condition then drops.
    let taken = prefill.apply("image_row", Op::Gather { axis: 0 }, &[features, index])?;
    let column = Op::Reshape { shape: vec![tokens, Dim::constant(1)] };
    let index = prefill.apply("image_row_column", column, &[index])?;
    let is_image = Expr::Arg(0).binary(BinaryOp::Ge, Expr::Const(Scalar::Int(0)));
    let row = if ty.dtype == DType::F32 { Expr::Arg(1) } else { Expr::Arg(1).cast(ty.dtype) };
    let choice = Op::Elementwise(is_image.select(row, Expr::Arg(2)));
    let merged = prefill.apply("merged_embedding", choice, &[index, taken, embedding])?;
    for (node, port) in users {
        prefill.set_input(node, port, Some(merged));
    }
    Ok(())
}

/// What looks rows up by `input_ids`, seen through changes of shape and type.
fn embedding(graph: &Graph) -> Option<ValueId> {
    let ids = graph.inputs().iter().copied().find(|input| graph.value(*input).name == INPUT_IDS)?;
    let mut work = vec![ids];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(value) = work.pop() {
        for (node, port) in graph.consumers(value) {
            match &graph.node(node).op {
                Op::Gather { axis: 0 } if port == 1 => return graph.node_outputs(node).first().copied(),
                Op::Reshape { .. } | Op::Elementwise(Expr::Cast(..)) if seen.insert(node) => {
                    work.extend(graph.node_outputs(node));
                }
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwenc_ir::interp::{HostTensor, inputs_by_name, run};
    use qwenc_ir::{Bindings, Tensor, UnaryOp};

    fn embedding_graph() -> Graph {
        let mut graph = Graph::new("prefill");
        let shape = [Dim::constant(1), Dim::sym(TOKENS)];
        let ids = graph.add_input(INPUT_IDS, ValueType::new(DType::I64, shape));
        let table: Vec<f32> = (0_u8..10).map(f32::from).collect();
        let table = graph.add_const("table", Tensor::from_f32(vec![5, 2], &table).unwrap());
        let rows = graph.apply("embedding", Op::Gather { axis: 0 }, &[table, ids]).unwrap();
        let minus = Op::Elementwise(Expr::Arg(0).unary(UnaryOp::Neg));
        let out = graph.apply("layer", minus, &[rows]).unwrap();
        graph.add_output("hidden", out);
        graph
    }

    #[test]
    fn rows_of_pictures_replace_embeddings() {
        let mut graph = embedding_graph();
        merge_images(&mut graph, 3).unwrap();
        let named = [
            (INPUT_IDS.to_string(), HostTensor::i64(vec![1, 4], vec![4, 0, 0, 1]).unwrap()),
            (IMAGE_ROWS.to_string(), HostTensor::i64(vec![4], vec![-1, 2, 0, -1]).unwrap()),
            (
                IMAGE_FEATURES.to_string(),
                HostTensor::f32(vec![3, 2], vec![20.0, 21.0, 22.0, 23.0, 24.0, 25.0]).unwrap(),
            ),
        ];
        let inputs = inputs_by_name(&graph, named).unwrap();
        let values = run(&graph, &Bindings::from([(TOKENS.to_string(), 4)]), &inputs).unwrap();
        let hidden = values.get(graph.outputs()[0].1).unwrap();
        assert_eq!(hidden.as_f32().unwrap(), [-8.0, -9.0, -24.0, -25.0, -20.0, -21.0, -2.0, -3.0]);
    }

    #[test]
    fn a_graph_without_a_lookup_is_refused() {
        let mut graph = Graph::new("prefill");
        let shape = [Dim::constant(1), Dim::sym(TOKENS)];
        let ids = graph.add_input(INPUT_IDS, ValueType::new(DType::I64, shape));
        graph.add_output("hidden", ids);
        assert!(merge_images(&mut graph, 3).unwrap_err().to_string().contains("no lookup"));
    }
}
