//! Importing a vision encoder for concrete grids.

use std::collections::BTreeMap;

use qwenc_ir::{Dim, Graph, Tensor};
use qwenc_runtime::printable::printable;

use super::VisionError;
use crate::onnx::{ImportOptions, Model, Port, PortDim, import};
use crate::passes;

/// Heights and widths of the probes in units of merged patches: different numbers of patches, high and wide, odd and even.
const PROBES: [(u32, u32); 3] = [(2, 3), (4, 2), (1, 5)];
/// The input that everything but the pixels follows from.
const GRID: &str = "image_grid_thw";

/// The graph for one image of one frame.
#[derive(Debug)]
pub(super) struct Probe {
    /// Patches of a column.
    pub(super) height: u32,
    /// Patches of a row.
    pub(super) width: u32,
    /// Merged patches.
    pub(super) tokens: i64,
    /// The graph; its one input is the pixels.
    pub(super) graph: Graph,
}

impl Probe {
    /// The grid for people.
    fn grid(height: u32, width: u32) -> String {
        format!("1 x {height} x {width} patches")
    }
}

/// Floats of a constant that an import may compute with, so that they are in none of its constants.
const FEW_FLOATS: usize = 8;

/// The file's constants of a few floats, such as the frequencies of a small model: what is computed from them while importing
/// does not show where it comes from.
pub(super) fn few_floats(model: &Model) -> Vec<(String, Tensor)> {
    let graph = model.graph();
    let stored = graph.initializer.iter().map(|tensor| (tensor.name(), tensor));
    let computed = graph.node.iter().filter(|node| node.op_type() == "Constant").filter_map(|node| {
        let tensor = node.attribute.iter().find(|attribute| attribute.name() == "value")?.t.as_ref()?;
        Some((node.output.first()?.as_str(), tensor))
    });
    let few = |dims: &[i64]| {
        let count = dims.iter().try_fold(1i64, |count, size| count.checked_mul(*size));
        count.is_some_and(|count| usize::try_from(count).is_ok_and(|count| (1..=FEW_FLOATS).contains(&count)))
    };
    stored
        .chain(computed)
        .filter(|(_, tensor)| few(&tensor.dims))
        .filter_map(|(name, tensor)| Some((printable(name, 100), model.tensor(tensor).ok()?)))
        .filter(|(_, tensor)| tensor.dtype().is_float())
        .collect()
}

/// The graphs for every probe.
pub(super) fn import_all(model: &Model, merge: u32) -> Result<Vec<Probe>, VisionError> {
    let ports = model.inputs()?;
    PROBES
        .iter()
        .map(|(height, width)| import_one(model, &ports, height * merge, width * merge, merge))
        .collect()
}

fn import_one(
    model: &Model,
    ports: &[Port],
    height: u32,
    width: u32,
    merge: u32,
) -> Result<Probe, VisionError> {
    let patches = Dim::from(height) * Dim::from(width);
    let options = options(ports, &patches, height, width)?;
    let imported = import(model, &options)
        .map_err(|error| VisionError::Import { grid: Probe::grid(height, width), cause: Box::new(error) })?;
    let mut graph = imported.graph;
    // One width of floats: what an f16 graph computes from the grid is then as exact as what the runtime computes.
    passes::run_passes(passes::widening(), &mut graph, &mut |_, _| {})?;
    let tokens = i64::from(height / merge) * i64::from(width / merge);
    Ok(Probe { height, width, tokens, graph })
}

fn options(ports: &[Port], patches: &Dim, height: u32, width: u32) -> Result<ImportOptions, VisionError> {
    let mut options = ImportOptions::default();
    for port in ports {
        match (port.name.as_str(), port.dims.as_slice()) {
            (super::PIXELS, [_, PortDim::Size(values)]) => {
                options.shapes.insert(port.name.clone(), vec![patches.clone(), Dim::constant(*values)]);
            }
            (GRID, [_, _]) => {
                options.shapes.insert(port.name.clone(), vec![Dim::constant(1), Dim::constant(3)]);
                options.integers.insert(port.name.clone(), vec![1, i64::from(height), i64::from(width)]);
            }
            (name, dims) => {
                return Err(VisionError::Interface(format!(
                    "input `{name}` of rank {} is none that a vision encoder is known to have: expected {} \
                     [patches, values] and {GRID} [images, 3]",
                    dims.len(),
                    super::PIXELS
                )));
            }
        }
    }
    let missing = [super::PIXELS, GRID].into_iter().find(|name| !options.shapes.contains_key(*name));
    match missing {
        Some(name) => Err(VisionError::Interface(format!("the vision encoder has no input `{name}`"))),
        None => Ok(options),
    }
}

/// Evaluates values that follow from no input, by the interpreter.
pub(super) fn evaluate(
    probe: &Probe,
    values: &[qwenc_ir::ValueId],
) -> Result<Vec<qwenc_ir::interp::HostTensor>, VisionError> {
    use qwenc_ir::interp::{Inputs, Limits, run_within};
    let build = |message: String| VisionError::Build { node: "grid".to_string(), message };
    let named: Vec<(String, qwenc_ir::ValueId)> =
        values.iter().enumerate().map(|(at, value)| (at.to_string(), *value)).collect();
    let part = crate::model::transform::extract(&probe.graph, "grid", &named, &[], false, &BTreeMap::new())
        .map_err(|error| build(error.to_string()))?;
    check_cost(&part)?;
    let limits = Limits { max_elements: MAX_ELEMENTS };
    let results = run_within(&part, &qwenc_ir::Bindings::new(), &Inputs::new(), limits)
        .map_err(|error| build(error.to_string()))?;
    named
        .iter()
        .map(|(name, _)| {
            results.output(name).cloned().ok_or_else(|| build(format!("value {name} was not computed")))
        })
        .collect()
}

/// Most elements of one value that follows from the grid.
const MAX_ELEMENTS: usize = 1 << 24;
/// Most elements that all of them have together, and products summed.
const MAX_WORK: usize = 1 << 30;

/// Refuses a graph that would take the interpreter too long: a model is not trusted.
fn check_cost(graph: &Graph) -> Result<(), VisionError> {
    let elements = |value: qwenc_ir::ValueId| graph.value(value).ty.elements().as_usize();
    let mut total = 0usize;
    for node in graph.nodes() {
        let made = graph
            .node_outputs(node)
            .into_iter()
            .try_fold(0usize, |sum, value| sum.checked_add(elements(value)?));
        let read = graph.node_inputs(node).into_iter().flatten().filter_map(elements).max().unwrap_or(0);
        // A product reads a row for every element; nothing else reads more than its operands.
        let each = if matches!(graph.node(node).op, qwenc_ir::Op::MatMul { .. }) { read } else { 1 };
        total = made
            .map_or(usize::MAX, |made| total.saturating_add(made.saturating_mul(each)).saturating_add(read));
        if total > MAX_WORK {
            return Err(VisionError::Differs {
                node: graph.node(node).name.clone(),
                message:
                    "what is computed from image_grid_thw up to here is too much to evaluate at compile time"
                        .to_string(),
            });
        }
    }
    Ok(())
}
