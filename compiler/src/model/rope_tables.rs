//! Tables of rotation angles that an exporter has quantized along with the weights.
//!
//! A quantizer that takes every lookup for an embedding also takes the cosines and sines of rope, and 4 bits of a cosine are
//! off by up to a tenth, at every position: that ruins a model that is otherwise quantized well. The angles are no weights;
//! they follow from two numbers of the configuration. So where a quantized table is, within its own precision, the table that
//! the configuration describes, it is replaced by that one.

use std::collections::BTreeMap;

use qwenc_ir::{DType, Graph, NodeId, Op, Tensor, ValueId};

use super::config::RopeConfig;
use crate::matrix::Matrix;

/// Largest table that is looked at, in elements: 262,144 positions of 256 angles.
const MAX_ELEMENTS: usize = 1 << 26;

/// Replaces quantized tables of cosines and sines. Gives the names of those that were.
pub fn restore(graph: &mut Graph, rope: RopeConfig) -> Vec<String> {
    let nodes: Vec<NodeId> = graph.nodes().collect();
    // Every lookup has a node of its own, but layers and axes share the codes.
    let mut restored: BTreeMap<Vec<Option<ValueId>>, ValueId> = BTreeMap::new();
    let mut names = Vec::new();
    for node in nodes {
        if !matches!(graph.node(node).op, Op::Dequantize { .. }) {
            continue;
        }
        let inputs = graph.node_inputs(node);
        let table = match restored.get(&inputs) {
            Some(table) => *table,
            None => {
                let Some((name, tensor)) = find(graph, node, rope) else { continue };
                names.push(name.clone());
                let table = graph.add_const(name, tensor);
                restored.insert(inputs, table);
                table
            }
        };
        if let Some(old) = graph.node_outputs(node).first().copied() {
            graph.replace_uses(old, table);
            graph.remove_node(node);
        }
    }
    names
}

fn find(graph: &Graph, node: NodeId, rope: RopeConfig) -> Option<(String, Tensor)> {
    let output = graph.node_outputs(node).first().copied()?;
    // Angles of another width are computed with that width, and are none of ours.
    if graph.value(output).ty.dtype != DType::F32 {
        return None;
    }
    let matrix = Matrix::of(graph, output)?;
    let (rows, columns) = matrix.extent();
    if columns * 2 != rope.rotary_dim || rows < 2 || rows.checked_mul(columns)? > MAX_ELEMENTS {
        return None;
    }
    let functions: [fn(f64) -> f64; 2] = [f64::cos, f64::sin];
    let values = functions.into_iter().find_map(|function| table(&matrix, rope, function))?;
    let name = graph.node_input(node, 0).map(|codes| graph.value(codes).name.clone())?;
    Some((name, Tensor::from_f32(vec![rows, columns], &values).ok()?))
}

/// The table of a function of `position * theta^(-2i/R)`, if no element of the matrix is further from it than one step of its
/// codes.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "positions are small; f32 is the result"
)]
fn table(matrix: &Matrix, rope: RopeConfig, function: fn(f64) -> f64) -> Option<Vec<f32>> {
    let (rows, columns) = matrix.extent();
    let mut values = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let frequency = rope.theta.powf(-2.0 * column as f64 / rope.rotary_dim as f64);
            // Models compute frequency and angle in f32, and a table is compared with theirs.
            let angle = f64::from(row as f32 * frequency as f32);
            let value = function(angle) as f32;
            let step = matrix.scale(row, column).abs();
            let distance = (matrix.value(row, column) - value).abs();
            // A scale that is no number fits nothing.
            if distance.is_nan() || step.is_nan() || distance > step * 1.01 + 1e-6 {
                return None;
            }
            values.push(value);
        }
    }
    Some(values)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "small numbers, written here")]
mod tests {
    use super::*;
    use qwenc_ir::interp::{Data, HostTensor};

    const ROPE: RopeConfig = RopeConfig { theta: 10_000.0, rotary_dim: 6 };

    /// Ten rows of three angles in 4 bits, the largest of a row at code -8, as onnxruntime-genai writes them.
    fn quantized(function: fn(f64) -> f64, change: f32) -> Graph {
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for row in 0..10 {
            let angle = |column: i32| f64::from(row) * 10_000f64.powf(-2.0 * f64::from(column) / 6.0);
            let values: Vec<f32> = (0..3).map(|column| function(angle(column)) as f32).collect();
            let peak = values.iter().fold(0f32, |a, b| if b.abs() > a.abs() { *b } else { a });
            let scale = if peak == 0.0 { 1.0 } else { peak / -8.0 };
            scales.push(scale);
            codes.extend(
                values.iter().map(|value| ((value + change) / scale).round().clamp(-8.0, 7.0) as i64),
            );
        }
        let mut graph = Graph::new("g");
        let codes = HostTensor::new(vec![10, 3], Data::Int(DType::I4, codes)).unwrap();
        let codes = graph.add_const("cos_Q4", codes.to_tensor(DType::I4).unwrap());
        let scales = graph.add_const("s", Tensor::from_f32(vec![10, 1], &scales).unwrap());
        let op = Op::Dequantize { axis: 1, block: 32, zero: 0 };
        let table = graph.apply("table", op, &[codes, scales]).unwrap();
        graph.add_output("table", table);
        graph
    }

    #[test]
    fn tables_of_angles_become_exact() {
        for function in [f64::cos, f64::sin] {
            let mut graph = quantized(function, 0.0);
            assert_eq!(restore(&mut graph, ROPE), ["cos_Q4"]);
            let tensor = graph.constant(graph.outputs()[0].1).unwrap();
            let exact = function(7.0 * 10_000f64.powf(-2.0 / 6.0)) as f32;
            assert!((tensor.f32_at(7 * 3 + 1) - exact).abs() < 1e-6);
        }
    }

    #[test]
    fn other_tables_stay() {
        assert!(restore(&mut quantized(f64::cos, 0.5), ROPE).is_empty());
        assert!(restore(&mut quantized(f64::cos, 0.0), RopeConfig { theta: 100.0, ..ROPE }).is_empty());
        assert!(restore(&mut quantized(f64::cos, 0.0), RopeConfig { rotary_dim: 8, ..ROPE }).is_empty());
        assert!(restore(&mut quantized(f64::tanh, 0.0), ROPE).is_empty());
    }
}
