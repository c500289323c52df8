//! Quantizing a float model's weights while it is compiled.
//!
//! The stage runs between raising and fusing: matrix products with constants are linear layers by then, and what is fused
//! later (gate with up, parallel projections) looks at how weights are stored. It replaces the constants that linear layers
//! and embedding lookups read by codes behind `Op::Dequantize`, or by 16-bit floats; everything else of the graph stays.
//! Weights that the model has quantized already stay as they are.
//!
//! Rounding is one block at a time (`round.rs`), to the scale with the least squared error. A calibrated method, which knows
//! what activations look like, has its place in the `importance` of `round::fit`.

mod matrix;
mod recipe;
mod round;

use std::collections::{BTreeMap, BTreeSet};

use qwenc_ir::op::{WeightLayout, linear as slot};
use qwenc_ir::{DType, Expr, Graph, InferError, NodeId, Op, Tensor, ValueId};

use qwenc_runtime::format::WeightFacts;

pub use recipe::{Keep, RecipeError, StoreAs, WeightRecipe};

use crate::blank::{self, StandIns};
use crate::matrix::{Matrix, MatrixKind};

/// What was done with one weight.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightRecord {
    /// The constant's name in the model.
    pub name: String,
    /// The node that reads it, the first of them.
    pub used_by: String,
    /// Rows and columns.
    pub shape: [usize; 2],
    /// How it is stored now.
    pub stored: StoreAs,
    /// The pattern of `--keep` that decided, if one did.
    pub kept_by: Option<String>,
    /// What rounding did; `None` where nothing was rounded.
    pub error: Option<RoundingError>,
}

/// How far a rounded matrix is from the original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundingError {
    /// Root of the sum of squared errors over that of squared weights.
    pub relative: f64,
    /// The same for the plain way, in which the largest weight of a block gets the largest code; `None` for floats.
    pub max_abs_rounding: Option<f64>,
    /// The largest error of a weight.
    pub largest: f64,
}

/// A constant and all that reads it as a matrix.
struct Weight {
    value: ValueId,
    /// The matrix with K along its rows.
    matrix: Matrix,
    uses: Vec<(NodeId, usize)>,
}

impl Weight {
    /// Bytes of the model that are read to store it anew.
    fn source_bytes(&self) -> u64 {
        let (n, k) = self.matrix.extent();
        let wide = matches!(self.matrix.kind(), Ok(MatrixKind::F32));
        (n as u64).saturating_mul(k as u64).saturating_mul(if wide { 4 } else { 2 })
    }
}

/// Whether weights are really rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// They are.
    Round,
    /// Only types and sizes change: codes are stand-ins, and no error is known.
    Plan(StandIns),
}

/// Stores the weights of a graph as the recipe says. Gives a record for each matrix of floats that a layer or lookup reads.
/// `progress` is told the bytes of weights that are done, and those of all.
///
/// # Errors
/// [`RecipeError`] when a pattern names nothing, or a weight cannot be stored as wanted.
pub fn quantize(
    graph: &mut Graph,
    recipe: &WeightRecipe,
    rounding: Rounding,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<WeightRecord>, RecipeError> {
    if recipe.keeps_everything() {
        return Ok(Vec::new());
    }
    let mut records = Vec::new();
    let mut used = vec![false; recipe.keep.len()];
    let weights = weights(graph).map_err(|error| RecipeError::Graph(error.to_string()))?;
    let total = weights.iter().map(Weight::source_bytes).sum();
    let mut done = 0;
    for weight in weights {
        let name = graph.value(weight.value).name.clone();
        let nodes: Vec<String> = weight.uses.iter().map(|(node, _)| graph.node(*node).name.clone()).collect();
        let matching = |keep: &Keep| keep.matches(&name) || nodes.iter().any(|node| keep.matches(node));
        for (keep, used) in recipe.keep.iter().zip(&mut used) {
            *used |= matching(keep);
        }
        let chosen = recipe.keep.iter().find(|keep| matching(keep));
        let wanted = chosen.map_or(recipe.default, |keep| keep.store);
        let (n, k) = weight.matrix.extent();
        let (stored, error) = store(graph, &weight, wanted, &name, rounding)?;
        records.push(WeightRecord {
            name,
            used_by: nodes.into_iter().next().unwrap_or_default(),
            shape: [n, k],
            stored,
            kept_by: chosen.map(|keep| keep.pattern.clone()),
            error,
        });
        done += weight.source_bytes();
        progress(done, total);
    }
    match recipe.keep.iter().zip(used).find(|(_, used)| !used) {
        Some((keep, _)) => Err(RecipeError::NothingMatches {
            pattern: keep.pattern.clone(),
            names: records.iter().map(|record| record.name.clone()).take(8).collect(),
        }),
        None => Ok(records),
    }
}

/// How every matrix that layers and lookups of the graph read packed is stored.
pub fn stored_weights(graph: &Graph, records: &[WeightRecord]) -> Vec<WeightFacts> {
    let mut seen = BTreeSet::new();
    let mut facts = Vec::new();
    for node in graph.topo_order().unwrap_or_default() {
        for (_, value, transposed) in reads(graph, node) {
            let Some(matrix) = Matrix::of(graph, value) else { continue };
            let matrix = if transposed { matrix.transposed() } else { matrix };
            let Ok(kind) = matrix.kind() else { continue };
            if !seen.insert(matrix.identity()) {
                continue;
            }
            let name = weight_name(graph, value);
            let (n, k) = matrix.extent();
            let converted =
                records.iter().any(|record| record.name == name && record.stored != StoreAs::Keep);
            facts.push(WeightFacts {
                name,
                shape: [n as u64, k as u64],
                format: kind.to_string(),
                converted,
            });
        }
    }
    facts
}

/// The name of the constant behind a weight; of codes, where the model has codes.
fn weight_name(graph: &Graph, value: ValueId) -> String {
    let name = |value: ValueId| graph.value(value).name.clone();
    match graph.producer_op(value) {
        Some((node, Op::Transpose { .. })) => {
            graph.node_input(node, 0).map_or_else(|| name(value), |input| weight_name(graph, input))
        }
        Some((node, Op::Dequantize { .. })) => match graph.node_input(node, 0).map(name) {
            Some(codes) => codes.strip_suffix(CODES).map_or(codes.clone(), str::to_owned),
            None => name(value),
        },
        _ => name(value),
    }
}

/// Behind the name of a weight that is stored as codes.
const CODES: &str = " (codes)";

/// Constant matrices of floats that layers and lookups read, in the order of their first use.
fn weights(graph: &Graph) -> Result<Vec<Weight>, qwenc_ir::graph::CycleError> {
    let mut order = Vec::new();
    let mut by_value: BTreeMap<ValueId, Weight> = BTreeMap::new();
    for node in graph.topo_order()? {
        for (port, value, transposed) in reads(graph, node) {
            let (Some(matrix), Some(constant)) = (Matrix::of(graph, value), behind_transposes(graph, value))
            else {
                continue;
            };
            let matrix = if transposed { matrix.transposed() } else { matrix };
            if !matches!(matrix.kind(), Ok(MatrixKind::F32 | MatrixKind::F16 | MatrixKind::Bf16)) {
                continue;
            }
            let weight = by_value.entry(constant).or_insert_with(|| {
                order.push(constant);
                Weight { value: constant, matrix: matrix.clone(), uses: Vec::new() }
            });
            // Blocks run along K. A use with rows and columns exchanged keeps the floats.
            if weight.matrix.identity() == matrix.identity() {
                weight.uses.push((node, port));
            }
        }
    }
    Ok(order.into_iter().filter_map(|value| by_value.remove(&value)).collect())
}

/// The matrices that a node reads packed: port, value, and whether its rows are the value's columns.
fn reads(graph: &Graph, node: NodeId) -> Vec<(usize, ValueId, bool)> {
    match &graph.node(node).op {
        Op::Linear(attrs) => attrs
            .weights
            .iter()
            .enumerate()
            .filter_map(|(index, layout)| {
                let port = slot::WEIGHTS + index;
                Some((port, graph.node_input(node, port)?, *layout == WeightLayout::KN))
            })
            .collect(),
        Op::Gather { axis: 0 } => {
            graph.node_input(node, 0).map(|table| (0, table, false)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn behind_transposes(graph: &Graph, mut value: ValueId) -> Option<ValueId> {
    while graph.constant(value).is_none() {
        let (node, Op::Transpose { .. }) = graph.producer_op(value)? else { return None };
        value = graph.node_input(node, 0)?;
    }
    Some(value)
}

/// Replaces one weight. Gives what it is stored as, and the error.
fn store(
    graph: &mut Graph,
    weight: &Weight,
    wanted: StoreAs,
    name: &str,
    rounding: Rounding,
) -> Result<(StoreAs, Option<RoundingError>), RecipeError> {
    let refuse = |reason: &str| RecipeError::Weight { name: name.to_owned(), reason: reason.to_owned() };
    let no_room = || refuse("it has more elements than the address space");
    match wanted {
        StoreAs::Keep => Ok((StoreAs::Keep, None)),
        StoreAs::F32 | StoreAs::F16 => {
            let (tensor, error) = match rounding {
                Rounding::Plan(kind) => {
                    (planned_floats(&weight.matrix, wanted, kind).ok_or_else(no_room)?, None)
                }
                Rounding::Round => {
                    let (tensor, error) = as_floats(&weight.matrix, wanted).ok_or_else(|| {
                        refuse("it has weights that the format cannot hold: keep it in f32 with `--keep f32:NAME`")
                    })?;
                    (tensor, Some(error))
                }
            };
            let value = graph.add_const(name, tensor);
            reconnect(graph, weight, value)?;
            Ok((wanted, error))
        }
        StoreAs::Q8 | StoreAs::Q4 => {
            let bits = if wanted == StoreAs::Q4 { 4 } else { 8 };
            let (quantized, sums) = match rounding {
                Rounding::Plan(kind) => {
                    (matrix::planned(&weight.matrix, bits, kind).ok_or_else(no_room)?, None)
                }
                Rounding::Round => {
                    let (quantized, sums) = matrix::quantize(&weight.matrix, bits)
                        .ok_or_else(|| refuse("it has weights that are no finite numbers"))?;
                    (quantized, Some(sums))
                }
            };
            let codes = graph.add_const(format!("{name}{CODES}"), quantized.codes);
            let scales = graph.add_const(format!("{name} (scales)"), quantized.scales);
            let op = Op::Dequantize { axis: 1, block: matrix::BLOCK, zero: quantized.zero };
            let value = graph.apply(name, op, &[codes, scales])?;
            reconnect(graph, weight, value)?;
            let error = sums.map(|sums| RoundingError {
                relative: relative(sums.errors, sums.squares),
                max_abs_rounding: Some(relative(sums.plain, sums.squares)),
                largest: sums.largest,
            });
            Ok((wanted, error))
        }
    }
}

/// The matrix by rows in another float type; `None` when a weight would become infinite.
fn as_floats(matrix: &Matrix, wanted: StoreAs) -> Option<(Tensor, RoundingError)> {
    let (n, k) = matrix.extent();
    let (dtype, width) = if wanted == StoreAs::F16 { (DType::F16, 2) } else { (DType::F32, 4) };
    let mut bytes = Vec::with_capacity(n.checked_mul(k)?.checked_mul(width)?);
    let (mut errors, mut squares, mut largest) = (0.0f64, 0.0f64, 0.0f64);
    for row in 0..n {
        for column in 0..k {
            let weight = matrix.value(row, column);
            let stored = if wanted == StoreAs::F16 {
                let half = half::f16::from_f32(weight);
                bytes.extend(half.to_le_bytes());
                half.to_f32()
            } else {
                bytes.extend(weight.to_le_bytes());
                weight
            };
            if stored.is_infinite() && !weight.is_infinite() {
                return None;
            }
            let error = f64::from(weight - stored).abs();
            errors += error * error;
            squares += f64::from(weight) * f64::from(weight);
            largest = largest.max(error);
        }
    }
    let tensor = Tensor::new(dtype, vec![n, k], bytes.into()).ok()?;
    let error = RoundingError { relative: relative(errors, squares), max_abs_rounding: None, largest };
    Some((tensor, error))
}

/// As [`as_floats`] without looking at the weights.
fn planned_floats(matrix: &Matrix, wanted: StoreAs, kind: StandIns) -> Option<Tensor> {
    let (n, k) = matrix.extent();
    let dtype = if wanted == StoreAs::F16 { DType::F16 } else { DType::F32 };
    let bytes = blank::weight(dtype, dtype.bytes_for(n.checked_mul(k)?)?, kind).ok()?;
    Tensor::new(dtype, vec![n, k], bytes).ok()
}

fn relative(errors: f64, squares: f64) -> f64 {
    if squares == 0.0 { 0.0 } else { (errors / squares).sqrt() }
}

/// Lets all uses read the new matrix, which lies by rows.
fn reconnect(graph: &mut Graph, weight: &Weight, value: ValueId) -> Result<(), InferError> {
    for (node, port) in &weight.uses {
        if graph.node(*node).op == (Op::Gather { axis: 0 }) {
            look_up(graph, *node, value)?;
            continue;
        }
        graph.set_input(*node, *port, Some(value));
        if let Op::Linear(attrs) = &mut graph.node_mut(*node).op
            && let Some(layout) = attrs.weights.get_mut(port.saturating_sub(slot::WEIGHTS))
        {
            *layout = WeightLayout::NK;
        }
    }
    Ok(())
}

/// A lookup in the new matrix in place of one in the old; its rows keep their type.
fn look_up(graph: &mut Graph, node: NodeId, table: ValueId) -> Result<(), InferError> {
    let (Some(ids), Some(old)) = (graph.node_input(node, 1), graph.node_outputs(node).first().copied())
    else {
        return Ok(());
    };
    let name = graph.node(node).name.clone();
    let mut rows = graph.apply(name.clone(), Op::Gather { axis: 0 }, &[table, ids])?;
    let wanted = graph.value(old).ty.dtype;
    if graph.value(rows).ty.dtype != wanted {
        rows = graph.apply(name, Op::Elementwise(Expr::Arg(0).cast(wanted)), &[rows])?;
    }
    graph.replace_uses(old, rows);
    graph.remove_node(node);
    Ok(())
}

#[cfg(test)]
mod tests;
