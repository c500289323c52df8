//! One graph from those of several probes.
//!
//! The graphs are walked in lockstep from the output. Nodes that depend on pixels must be the same but for sizes, and a
//! size must be linear in the number of image tokens. Operands that do not depend on pixels are *boundaries*. There are three
//! kinds: weights, which are the same constants in every probe and are taken over as they are; values that are one number
//! everywhere, such as a mask that masks nothing; and tables ([`super::recognise`]), which the runtime gives.
//!
//! Only what depends on pixels must be alike. How the exporter computes a boundary may differ from probe to probe.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_ir::interp::{Data, HostTensor};
use qwenc_ir::{
    DType, Dim, Expr, Graph, InferError, NodeId, Op, Scalar, Tensor, ValueId, ValueKind, ValueType,
};

use super::probe::{Probe, evaluate};
use super::recognise::{self, Angles, Boundary, Meaning};
use super::{FEATURES, PATCH_POSITIONS, PIXELS, POSITION_INDEX, POSITION_WEIGHT, SEGMENTS, VisionError};

/// The graph for any grids.
pub(super) struct General {
    /// The graph.
    pub(super) graph: Graph,
    /// Side of the learned position table.
    pub(super) position_side: u32,
    /// Rows of the table of angles.
    pub(super) max_side: u32,
    /// What was recognised.
    pub(super) notes: Vec<String>,
}

/// The same value in every probe.
type Tuple = Vec<ValueId>;

/// See the module.
pub(super) fn generalise(
    probes: &[Probe],
    few_floats: &[(String, Tensor)],
    merge: u32,
    max_patches: u32,
) -> Result<General, VisionError> {
    let walk = Walk::run(probes)?;
    let (weights, computed): (Vec<Tuple>, Vec<Tuple>) =
        walk.boundaries.iter().cloned().partition(|tuple| same_constant(probes, tuple));
    let boundaries = boundaries(probes, computed)?;
    let found = recognise::recognise(probes, &boundaries, few_floats, merge, max_patches)?;
    let mut builder = Builder::new(probes, &walk, merge)?;
    builder.copy_weights(&weights)?;
    for (boundary, meaning) in boundaries.iter().zip(&found.meanings) {
        let value = builder.table(boundary, meaning)?;
        builder.bound.insert(boundary.tuple.clone(), value);
    }
    let graph = builder.finish()?;
    Ok(General { graph, position_side: found.position_side, max_side: found.max_side, notes: found.notes })
}

/// The values of the boundaries on every probe.
fn boundaries(probes: &[Probe], tuples: Vec<Tuple>) -> Result<Vec<Boundary>, VisionError> {
    let mut columns = Vec::with_capacity(probes.len());
    for (at, probe) in probes.iter().enumerate() {
        let values: Vec<ValueId> = tuples.iter().filter_map(|tuple| tuple.get(at).copied()).collect();
        columns.push(evaluate(probe, &values)?.into_iter());
    }
    let mut out = Vec::with_capacity(tuples.len());
    for tuple in tuples {
        let values: Vec<HostTensor> = columns.iter_mut().filter_map(Iterator::next).collect();
        out.push(Boundary { tuple, values });
    }
    Ok(out)
}

/// What a walk in lockstep finds.
struct Walk {
    /// Values that depend on pixels, by what they are in the first probe.
    pairs: BTreeMap<ValueId, Tuple>,
    /// Values that nodes depending on pixels read and that follow from the grid or are constants.
    boundaries: BTreeSet<Tuple>,
}

impl Walk {
    fn run(probes: &[Probe]) -> Result<Self, VisionError> {
        let dependent: Vec<BTreeSet<ValueId>> =
            probes.iter().map(|probe| dependent(&probe.graph)).collect::<Result<_, _>>()?;
        let mut walk = Walk { pairs: BTreeMap::new(), boundaries: BTreeSet::new() };
        let mut work: Vec<(String, Tuple)> = vec![(FEATURES.to_string(), outputs(probes)?)];
        while let Some((reader, tuple)) = work.pop() {
            let depends: Vec<bool> =
                dependent.iter().zip(&tuple).map(|(set, value)| set.contains(value)).collect();
            if depends.iter().all(|depends| !depends) {
                walk.boundaries.insert(tuple);
                continue;
            }
            if depends.iter().any(|depends| !depends) {
                return Err(differs(
                    &reader,
                    "an operand depends on pixels for one grid and not for another",
                ));
            }
            let Some(first) = tuple.first().copied() else { continue };
            match walk.pairs.get(&first) {
                Some(have) if *have == tuple => continue,
                Some(_) => {
                    return Err(differs(&reader, "its operands are connected differently for another grid"));
                }
                None => walk.pairs.insert(first, tuple.clone()),
            };
            walk.step(probes, &reader, &tuple, &mut work)?;
        }
        Ok(walk)
    }

    /// Compares the nodes that compute a tuple, and goes on with their operands.
    fn step(
        &self,
        probes: &[Probe],
        reader: &str,
        tuple: &Tuple,
        work: &mut Vec<(String, Tuple)>,
    ) -> Result<(), VisionError> {
        let producers: Vec<Option<(NodeId, usize)>> =
            probes.iter().zip(tuple).map(|(probe, value)| probe.graph.producer(*value)).collect();
        if producers.iter().all(Option::is_none) {
            // The only input that is left is the pixels.
            return Ok(());
        }
        let Some(producers) = producers.into_iter().collect::<Option<Vec<_>>>() else {
            return Err(differs(reader, "an operand is an input for one grid and computed for another"));
        };
        let name = node_name(probes, &producers);
        let ports: BTreeSet<usize> = producers.iter().map(|(_, port)| *port).collect();
        if lift_op(probes, &producers).is_none() || ports.len() != 1 {
            return Err(differs(
                &name,
                "for another grid it is another operator, computes with another number, or has a size that is not linear in \
                 the number of patches",
            ));
        }
        let operands: Vec<Vec<Option<ValueId>>> =
            probes.iter().zip(&producers).map(|(probe, (node, _))| probe.graph.node_inputs(*node)).collect();
        let count = operands.iter().map(Vec::len).max().unwrap_or(0);
        for at in 0..count {
            let operand: Vec<Option<ValueId>> =
                operands.iter().map(|inputs| inputs.get(at).copied().flatten()).collect();
            if operand.iter().all(Option::is_none) {
                continue;
            }
            match operand.into_iter().collect::<Option<Tuple>>() {
                Some(tuple) => work.push((name.clone(), tuple)),
                None => return Err(differs(&name, "it has an operand for one grid and not for another")),
            }
        }
        Ok(())
    }
}

fn differs(node: &str, message: &str) -> VisionError {
    VisionError::Differs { node: node.to_string(), message: message.to_string() }
}

fn outputs(probes: &[Probe]) -> Result<Tuple, VisionError> {
    probes
        .iter()
        .map(|probe| match probe.graph.outputs() {
            [(_, value)] => Ok(*value),
            several => Err(VisionError::Interface(format!(
                "a vision encoder has one output, the features of an image; this graph has {}",
                several.len()
            ))),
        })
        .collect()
}

/// Values that depend on an input.
fn dependent(graph: &Graph) -> Result<BTreeSet<ValueId>, VisionError> {
    let mut set: BTreeSet<ValueId> = graph.inputs().iter().copied().collect();
    let order = graph.topo_order().map_err(|cycle| differs("graph", &cycle.to_string()))?;
    for node in order {
        if graph.node_inputs(node).into_iter().flatten().any(|input| set.contains(&input)) {
            set.extend(graph.node_outputs(node));
        }
    }
    Ok(set)
}

fn node_name(probes: &[Probe], producers: &[(NodeId, usize)]) -> String {
    match (probes.first(), producers.first()) {
        (Some(probe), Some((node, _))) => probe.graph.node(*node).name.clone(),
        _ => String::new(),
    }
}

/// A size over the number of image tokens that is the given one for every probe.
fn lift(probes: &[Probe], sizes: &[&Dim]) -> Option<Dim> {
    let sizes: Vec<i64> = sizes.iter().map(|dim| dim.as_const()).collect::<Option<_>>()?;
    let (first, second) = (sizes.first()?, sizes.get(1)?);
    let (from, to) = (probes.first()?.tokens, probes.get(1)?.tokens);
    let slope = second.checked_sub(*first)?.checked_div(to.checked_sub(from)?)?;
    let start = first.checked_sub(slope.checked_mul(from)?)?;
    let fits = probes.iter().zip(&sizes).all(|(probe, size)| {
        slope.checked_mul(probe.tokens).and_then(|part| part.checked_add(start)) == Some(*size)
    });
    let dim = Dim::sym(super::IMAGE_TOKENS) * Dim::constant(slope) + Dim::constant(start);
    (fits && !dim.is_poison()).then_some(dim)
}

fn lift_shape(probes: &[Probe], tuple: &[ValueId]) -> Option<Vec<Dim>> {
    let shapes: Vec<&[Dim]> = probes
        .iter()
        .zip(tuple)
        .map(|(probe, value)| probe.graph.value(*value).ty.shape.as_slice())
        .collect();
    let rank = shapes.first()?.len();
    if shapes.iter().any(|shape| shape.len() != rank) {
        return None;
    }
    (0..rank)
        .map(|axis| {
            let sizes: Vec<&Dim> = shapes.iter().filter_map(|shape| shape.get(axis)).collect();
            lift(probes, &sizes)
        })
        .collect()
}

/// The operator of which those of all probes are cases.
fn lift_op(probes: &[Probe], producers: &[(NodeId, usize)]) -> Option<Op> {
    let mut sizes: Vec<Vec<Dim>> = Vec::with_capacity(producers.len());
    let mut blanks = Vec::with_capacity(producers.len());
    for (probe, (node, _)) in probes.iter().zip(producers) {
        let op = &probe.graph.node(*node).op;
        let mut own = Vec::new();
        blanks.push(op.map_dims(&mut |dim| {
            own.push(dim.clone());
            Dim::constant(1)
        }));
        sizes.push(own);
    }
    if blanks.windows(2).any(|pair| pair.first() != pair.last()) {
        return None;
    }
    let count = sizes.first()?.len();
    let lifted: Vec<Dim> = (0..count)
        .map(|at| {
            let column: Vec<&Dim> = sizes.iter().filter_map(|own| own.get(at)).collect();
            (column.len() == sizes.len()).then_some(())?;
            lift(probes, &column)
        })
        .collect::<Option<_>>()?;
    let (probe, (node, _)) = (probes.first()?, producers.first()?);
    let mut next = lifted.into_iter();
    Some(probe.graph.node(*node).op.map_dims(&mut |_| next.next().unwrap_or_else(Dim::poison)))
}

/// True when a boundary is the same computation of the same constants in every probe: a weight.
fn same_constant(probes: &[Probe], tuple: &Tuple) -> bool {
    let mut seen: BTreeSet<Tuple> = BTreeSet::new();
    let mut work = vec![tuple.clone()];
    while let Some(tuple) = work.pop() {
        if !seen.insert(tuple.clone()) {
            continue;
        }
        let mut places = probes.iter().zip(&tuple);
        let Some((first, value)) = places.next() else { return false };
        let (graph, value) = (&first.graph, *value);
        for (probe, other) in places {
            let same = match (graph.producer(value), probe.graph.producer(*other)) {
                (None, None) => match (graph.constant(value), probe.graph.constant(*other)) {
                    (Some(a), Some(b)) => same_bytes(a, b),
                    _ => false,
                },
                (Some((a, port)), Some((b, other_port))) => {
                    port == other_port
                        && graph.node(a).op == probe.graph.node(b).op
                        && graph.node_inputs(a).len() == probe.graph.node_inputs(b).len()
                }
                _ => false,
            };
            if !same {
                return false;
            }
        }
        let Some((node, _)) = graph.producer(value) else { continue };
        for at in 0..graph.node_inputs(node).len() {
            let operand: Vec<Option<ValueId>> = probes
                .iter()
                .zip(&tuple)
                .map(|(probe, value)| {
                    let (node, _) = probe.graph.producer(*value)?;
                    probe.graph.node_input(node, at)
                })
                .collect();
            if operand.iter().all(Option::is_none) {
                continue;
            }
            match operand.into_iter().collect::<Option<Tuple>>() {
                Some(tuple) => work.push(tuple),
                None => return false,
            }
        }
    }
    true
}

/// Constants of one file are usually the very same bytes of its mapping.
fn same_bytes(a: &Tensor, b: &Tensor) -> bool {
    let (x, y) = (a.bytes(), b.bytes());
    let same_place = x.as_ptr() == y.as_ptr() && x.len() == y.len();
    a.dtype() == b.dtype() && a.shape() == b.shape() && (same_place || x == y)
}

/// The new graph.
struct Builder<'a> {
    probes: &'a [Probe],
    walk: &'a Walk,
    graph: Graph,
    /// What boundaries are in the new graph.
    bound: BTreeMap<Tuple, ValueId>,
    pixels: ValueId,
    index: ValueId,
    weight: ValueId,
    positions: ValueId,
    patches: Dim,
}

impl<'a> Builder<'a> {
    fn new(probes: &'a [Probe], walk: &'a Walk, merge: u32) -> Result<Self, VisionError> {
        let Some(first) = probes.first() else { return Err(differs("graph", "there are no probes")) };
        let patches = Dim::sym(super::IMAGE_TOKENS) * Dim::from(merge) * Dim::from(merge);
        let mut graph = Graph::new("vision");
        let pixels = first.graph.inputs().first().map(|input| first.graph.value(*input).ty.clone());
        let Some([_, values]) = pixels.as_ref().map(|ty| ty.shape.as_slice()) else {
            return Err(VisionError::Interface(format!("input `{PIXELS}` is not [patches, values]")));
        };
        let rows = |columns: Dim| [patches.clone(), columns];
        let pixels = graph.add_input(PIXELS, ValueType::new(DType::F32, rows(values.clone())));
        let index = graph.add_input(POSITION_INDEX, ValueType::new(DType::I64, rows(Dim::constant(4))));
        let weight = graph.add_input(POSITION_WEIGHT, ValueType::new(DType::F32, rows(Dim::constant(4))));
        let positions = ValueType::new(DType::I64, [Dim::constant(2), patches.clone()]);
        let positions = graph.add_input(PATCH_POSITIONS, positions);
        graph.add_input(SEGMENTS, ValueType::new(DType::I64, rows(Dim::constant(2))));
        Ok(Self { probes, walk, graph, bound: BTreeMap::new(), pixels, index, weight, positions, patches })
    }

    fn apply(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, VisionError> {
        self.graph.apply(name, op, inputs).map_err(|error| build_error(name, &error))
    }

    /// Takes over what does not depend on the grid, from the first probe.
    fn copy_weights(&mut self, weights: &[Tuple]) -> Result<(), VisionError> {
        let Some(first) = self.probes.first() else { return Ok(()) };
        let source = &first.graph;
        let mut wanted = BTreeSet::new();
        let mut work: Vec<ValueId> = weights.iter().filter_map(|tuple| tuple.first().copied()).collect();
        while let Some(value) = work.pop() {
            if let Some((node, _)) = source.producer(value)
                && wanted.insert(node)
            {
                work.extend(source.node_inputs(node).into_iter().flatten());
            }
        }
        let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let order = source.topo_order().map_err(|cycle| differs("graph", &cycle.to_string()))?;
        for node in order.into_iter().filter(|node| wanted.contains(node)) {
            let inputs: Vec<Option<ValueId>> = source
                .node_inputs(node)
                .into_iter()
                .map(|input| input.map(|value| self.constant(source, &mut made, value)))
                .collect();
            let from = source.node(node);
            let outputs = self
                .graph
                .add_node(&from.name, from.op.clone(), &inputs)
                .map_err(|error| build_error(&from.name, &error))?;
            made.extend(source.node_outputs(node).into_iter().zip(outputs));
        }
        for tuple in weights {
            if let Some(value) = tuple.first() {
                let value = self.constant(source, &mut made, *value);
                self.bound.insert(tuple.clone(), value);
            }
        }
        Ok(())
    }

    fn constant(&mut self, source: &Graph, made: &mut BTreeMap<ValueId, ValueId>, value: ValueId) -> ValueId {
        if let Some(have) = made.get(&value) {
            return *have;
        }
        let from = source.value(value);
        let new = match &from.kind {
            ValueKind::Const(tensor) => self.graph.add_const(&from.name, tensor.clone()),
            // Nothing of this kind is a weight: weights follow from constants alone.
            ValueKind::Input | ValueKind::Computed => self.graph.add_input(&from.name, from.ty.clone()),
        };
        made.insert(value, new);
        new
    }

    /// A boundary over the inputs of the new graph.
    fn table(&mut self, boundary: &Boundary, meaning: &Meaning) -> Result<ValueId, VisionError> {
        let name = boundary.name(self.probes);
        let shape = lift_shape(self.probes, &boundary.tuple)
            .ok_or_else(|| differs(&name, "its size is not linear in the number of patches"))?;
        let value = match meaning {
            Meaning::Uniform(value) => {
                let dtype = uniform_type(*value);
                return self.apply(&name, Op::Fill { dtype, value: *value, shape }, &[]);
            }
            Meaning::Positions { table, name: of } => {
                let table = self.graph.add_const(of.clone(), table.clone());
                self.interpolated(&name, table)?
            }
            Meaning::Angles(angles) => self.angles(&name, angles)?,
        };
        self.apply(&name, Op::Reshape { shape }, &[value])
    }

    /// The sum of four rows of a table, weighted, for each patch. One row after another, so that no tensor is larger than
    /// the sum.
    fn interpolated(&mut self, name: &str, table: ValueId) -> Result<ValueId, VisionError> {
        let mut sum = None;
        for tap in 0..4 {
            let column = Op::Slice { axis: 1, start: Dim::constant(tap), len: Dim::constant(1), step: 1 };
            let rows = self.apply(name, column.clone(), &[self.index])?;
            let rows = self.apply(name, Op::Reshape { shape: vec![self.patches.clone()] }, &[rows])?;
            let mut rows = self.apply(name, Op::Gather { axis: 0 }, &[table, rows])?;
            if self.graph.value(rows).ty.dtype != DType::F32 {
                rows = self.apply(name, Op::Elementwise(Expr::Arg(0).cast(DType::F32)), &[rows])?;
            }
            let weight = self.apply(name, column, &[self.weight])?;
            let product = recognise::product();
            let part = self.apply(name, Op::Elementwise(product), &[rows, weight])?;
            sum = Some(match sum {
                None => part,
                Some(sum) => self.apply(name, Op::Elementwise(recognise::sum()), &[sum, part])?,
            });
        }
        sum.ok_or_else(|| differs(name, "nothing is interpolated"))
    }

    /// Rows of a table of cosines or sines, each part by the axis that it turns with.
    fn angles(&mut self, name: &str, angles: &Angles) -> Result<ValueId, VisionError> {
        let table = self.graph.add_const(format!("{name}.table"), angles.table.clone());
        let rows = self.apply(name, Op::Gather { axis: 0 }, &[table, self.positions])?;
        let mut parts = Vec::new();
        let mut start = 0usize;
        while let Some(axis) = angles.axes.get(start) {
            let len = angles.axes.iter().skip(start).take_while(|other| *other == axis).count();
            let one =
                Op::Slice { axis: 0, start: Dim::from(u32::from(*axis)), len: Dim::constant(1), step: 1 };
            let of_axis = self.apply(name, one, &[rows])?;
            let columns = Op::Slice { axis: 2, start: Dim::from(start), len: Dim::from(len), step: 1 };
            parts.push(self.apply(name, columns, &[of_axis])?);
            start += len;
        }
        let joined = self.apply(name, Op::Concat { axis: 2 }, &parts)?;
        if angles.twice { self.apply(name, Op::Concat { axis: 2 }, &[joined, joined]) } else { Ok(joined) }
    }

    /// Adds what depends on pixels.
    fn finish(mut self) -> Result<Graph, VisionError> {
        let Some(first) = self.probes.first() else { return Ok(self.graph) };
        let mut made: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        if let Some(pixels) = first.graph.inputs().first() {
            made.insert(*pixels, self.pixels);
        }
        let order = first.graph.topo_order().map_err(|cycle| differs("graph", &cycle.to_string()))?;
        for node in order {
            let outputs = first.graph.node_outputs(node);
            let Some(tuple) = outputs.iter().find_map(|output| self.walk.pairs.get(output)) else { continue };
            let producers: Vec<(NodeId, usize)> = self
                .probes
                .iter()
                .zip(tuple)
                .filter_map(|(probe, value)| probe.graph.producer(*value))
                .collect();
            let name = first.graph.node(node).name.clone();
            let op =
                lift_op(self.probes, &producers).ok_or_else(|| differs(&name, "its sizes do not fit"))?;
            let mut inputs = Vec::new();
            for (at, input) in first.graph.node_inputs(node).into_iter().enumerate() {
                let Some(input) = input else {
                    inputs.push(None);
                    continue;
                };
                let operand = || -> Option<ValueId> {
                    let tuple: Option<Tuple> = self
                        .probes
                        .iter()
                        .zip(&producers)
                        .map(|(probe, (node, _))| probe.graph.node_input(*node, at))
                        .collect();
                    self.bound.get(&tuple?).copied()
                };
                let value = made.get(&input).copied().or_else(operand);
                inputs.push(Some(value.ok_or_else(|| differs(&name, "an operand is nowhere"))?));
            }
            let new = self.graph.add_node(&name, op, &inputs).map_err(|error| build_error(&name, &error))?;
            made.extend(outputs.into_iter().zip(new));
        }
        let output = first.graph.outputs().first().and_then(|(_, value)| made.get(value)).copied();
        let Some(output) = output else {
            return Err(VisionError::Interface("the features do not depend on pixels".to_string()));
        };
        self.graph.add_output(FEATURES, output);
        Ok(self.graph)
    }
}

fn build_error(node: &str, error: &InferError) -> VisionError {
    VisionError::Build { node: node.to_string(), message: error.to_string() }
}

fn uniform_type(value: Scalar) -> DType {
    match value {
        Scalar::F32(_) => DType::F32,
        Scalar::Int(_) => DType::I64,
        Scalar::Bool(_) => DType::Bool,
    }
}

/// The one number that all elements of all probes are.
pub(super) fn uniform(values: &[HostTensor]) -> Option<Scalar> {
    let mut found: Option<Scalar> = None;
    for tensor in values {
        let own = match tensor.data() {
            Data::F32(values) => {
                let first = *values.first()?;
                values.iter().all(|value| value.to_bits() == first.to_bits()).then_some(Scalar::F32(first))
            }
            Data::Int(DType::I64, values) => {
                let first = *values.first()?;
                values.iter().all(|value| *value == first).then_some(Scalar::Int(first))
            }
            Data::Bool(values) => {
                let first = *values.first()?;
                values.iter().all(|value| *value == first).then_some(Scalar::Bool(first))
            }
            Data::Int(..) => None,
        }?;
        if found.is_some_and(|have| have != own) {
            return None;
        }
        found = Some(own);
    }
    found
}
