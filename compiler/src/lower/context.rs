//! The state of a lowering: where every value lives, and the launches so far.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_codegen_wgsl::{BufferKey, CodegenError, Elem, Kernel, Symbols, View, copy};
use qwenc_ir::{DType, Dim, Graph, NodeId, StateKind, ValueId, ValueKind, ValueType};

use super::weights::WeightSpec;
use super::{LowerOptions, move_ops};

/// An operator could not be lowered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LowerError {
    /// The operator at a node does not fit what kernels exist for.
    #[error("node `{node}` ({op}): {message}")]
    Node {
        /// The node's name in the model file.
        node: String,
        /// The IR operator.
        op: &'static str,
        /// What does not fit, and what to do.
        message: String,
    },
    /// The graph as a whole does not fit.
    #[error("{0}")]
    Graph(String),
}

impl LowerError {
    /// An error about the graph, or about a node that is not known yet (see [`LowerError::at`]).
    pub fn graph(message: impl Into<String>) -> Self {
        Self::Graph(message.into())
    }

    /// The error with the node that it is about, unless it names one already.
    #[must_use]
    pub fn at(self, node: &str, op: &'static str) -> Self {
        match self {
            Self::Graph(message) => Self::Node { node: node.to_string(), op, message },
            other => other,
        }
    }
}

impl From<CodegenError> for LowerError {
    fn from(error: CodegenError) -> Self {
        Self::Graph(error.to_string())
    }
}

/// What a logical buffer is for.
#[derive(Clone, Debug)]
pub enum BufferRole {
    /// An intermediate result; the memory plan places it.
    Temp,
    /// Constant data, packed at compile time.
    Weight(WeightSpec),
    /// A recurrent state, by name.
    State {
        /// The state's name, the same in every entry point.
        name: String,
        /// How it is updated.
        kind: StateKind,
    },
    /// An input of the entry point, by name.
    Input(String),
    /// An output of the entry point, by name.
    Output(String),
}

/// A logical buffer.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// What it is for.
    pub role: BufferRole,
    /// Element type; every element takes four bytes.
    pub elem: Elem,
    /// Number of elements, over symbols.
    pub elements: Dim,
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The model's node that it works for.
    pub label: String,
    /// The kernel; its `reads` and `writes` index [`Lowered::buffers`].
    pub kernel: Kernel,
}

/// An input or output of an entry point.
#[derive(Clone, Debug)]
pub struct Io {
    /// Its name.
    pub name: String,
    /// Its buffer.
    pub buffer: BufferKey,
    /// Element type in the model.
    pub dtype: DType,
    /// Shape, over symbols.
    pub shape: Vec<Dim>,
}

/// A lowered entry point. Not every buffer is used by a launch: a constant that is only looked at through a packed
/// weight, for example, is not.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The entry point's name.
    pub entry: String,
    /// Dispatches, in order.
    pub launches: Vec<Launch>,
    /// Logical buffers, indexed by [`BufferKey`].
    pub buffers: Vec<Buffer>,
    /// What the caller gives.
    pub inputs: Vec<Io>,
    /// What the caller gets.
    pub outputs: Vec<Io>,
}

impl Lowered {
    /// The buffers that launches read or write.
    pub fn used(&self) -> BTreeSet<BufferKey> {
        self.launches
            .iter()
            .flat_map(|launch| launch.kernel.reads.iter().chain(&launch.kernel.writes))
            .copied()
            .collect()
    }
}

/// A lowering in progress.
pub struct Lowering<'g> {
    graph: &'g Graph,
    options: &'g LowerOptions,
    buffers: Vec<Buffer>,
    launches: Vec<Launch>,
    places: BTreeMap<ValueId, View>,
    /// Where a value that leaves the entry point should be computed.
    reserved: BTreeMap<ValueId, View>,
    weights: BTreeMap<String, BufferKey>,
    inputs: Vec<Io>,
    outputs: Vec<Io>,
    label: String,
    /// Nodes that another's kernel computes along.
    taken: BTreeSet<NodeId>,
}

impl<'g> Lowering<'g> {
    /// Starts a lowering.
    pub fn new(graph: &'g Graph, options: &'g LowerOptions) -> Result<Self, LowerError> {
        Ok(Self {
            graph,
            options,
            buffers: Vec::new(),
            launches: Vec::new(),
            places: BTreeMap::new(),
            reserved: BTreeMap::new(),
            weights: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            label: String::new(),
            taken: BTreeSet::new(),
        })
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// Symbols and their bounds.
    pub fn symbols(&self) -> &'g Symbols {
        &self.options.symbols
    }

    /// Positions that a KV cache holds.
    pub fn max_context(&self) -> usize {
        self.options.max_context
    }

    // ---- inputs and outputs ---------------------------------------------------------------------------------------

    /// Gives every graph input a buffer: states theirs, the rest an input buffer.
    pub fn place_inputs(&mut self) -> Result<(), LowerError> {
        for state in self.graph.states() {
            let ty = &self.graph.value(state.past).ty;
            let elem = elem_of(ty)?;
            let mut shape = ty.shape.clone();
            if state.kind == StateKind::KvCache {
                let [_, _, positions, _] = shape.as_mut_slice() else {
                    return Err(LowerError::graph(format!(
                        "KV cache `{}` is {ty}, expected rank 4",
                        state.name
                    )));
                };
                *positions = self.options.max_context.into();
            }
            if shape.iter().any(|dim| dim.as_const().is_none()) {
                return Err(LowerError::graph(format!("state `{}` has no fixed size: {ty}", state.name)));
            }
            let role = BufferRole::State { name: state.name.clone(), kind: state.kind };
            let key = self.add_buffer(role, elem, qwenc_ir::dim::product(&shape));
            let whole = View::dense(key, elem, shape);
            let past = View { shape: ty.shape.clone(), ..whole.clone() };
            let present = View { shape: self.graph.value(state.present).ty.shape.clone(), ..whole };
            self.places.insert(state.past, past);
            self.reserved.insert(state.present, present);
        }
        for input in self.graph.inputs() {
            if self.places.contains_key(input) {
                continue;
            }
            let value = self.graph.value(*input);
            let elem = elem_of(&value.ty)
                .map_err(|error| LowerError::graph(format!("input `{}`: {error}", value.name)))?;
            let key = self.add_buffer(BufferRole::Input(value.name.clone()), elem, value.ty.elements());
            self.places.insert(*input, View::dense(key, elem, value.ty.shape.clone()));
            self.inputs.push(Io {
                name: value.name.clone(),
                buffer: key,
                dtype: value.ty.dtype,
                shape: value.ty.shape.clone(),
            });
        }
        Ok(())
    }

    /// Gives every computed output its buffer, so that its producer writes there directly.
    pub fn reserve_outputs(&mut self) {
        for (name, value) in self.graph.outputs() {
            let ty = &self.graph.value(*value).ty;
            let Some(elem) = Elem::of(ty.dtype) else { continue };
            let key = self.add_buffer(BufferRole::Output(name.clone()), elem, ty.elements());
            let view = View::dense(key, elem, ty.shape.clone());
            self.outputs.push(Io {
                name: name.clone(),
                buffer: key,
                dtype: ty.dtype,
                shape: ty.shape.clone(),
            });
            self.reserved.entry(*value).or_insert(view);
        }
    }

    /// Copies what did not end up where it is wanted, and closes the lowering.
    pub fn finish(mut self) -> Result<Lowered, LowerError> {
        let graph = self.graph;
        for (index, (name, value)) in graph.outputs().iter().enumerate() {
            let Some(io) = self.outputs.get(index) else {
                return Err(LowerError::graph(format!(
                    "output `{name}` has a type that devices cannot hold"
                )));
            };
            let elem = self.buffers[io.buffer.0 as usize].elem;
            let wanted = View::dense(io.buffer, elem, io.shape.clone());
            self.label = format!("output {name}");
            let have = self.view(*value)?;
            if have != wanted {
                self.copy(&have, &wanted)?;
            }
        }
        for state in graph.states() {
            let wanted = self.reserved.get(&state.present).cloned();
            let have = self.view(state.present)?;
            if let Some(wanted) = wanted.filter(|wanted| *wanted != have) {
                self.label = format!("state {}", state.name);
                self.copy(&have, &wanted)?;
            }
        }
        Ok(Lowered {
            entry: self.options.entry.clone(),
            launches: self.launches,
            buffers: self.buffers,
            inputs: self.inputs,
            outputs: self.outputs,
        })
    }

    // ---- values ---------------------------------------------------------------------------------------------------

    /// Where a value lives. Constants get a weight buffer on first use.
    pub fn view(&mut self, value: ValueId) -> Result<View, LowerError> {
        if let Some(view) = self.places.get(&value) {
            return Ok(view.clone());
        }
        match &self.graph.value(value).kind {
            ValueKind::Const(tensor) => {
                let elem = elem_of(&self.graph.value(value).ty)?;
                let view = self.weight(WeightSpec::dense(tensor.clone(), elem)?);
                let view = View { shape: self.graph.value(value).ty.shape.clone(), ..view };
                self.places.insert(value, view.clone());
                Ok(view)
            }
            _ => Err(LowerError::graph(format!(
                "`{}` is used before it is computed",
                self.graph.value(value).name
            ))),
        }
    }

    /// Where a node's input lives; an error when it is absent.
    pub fn input(&mut self, node: NodeId, port: usize) -> Result<View, LowerError> {
        let value = self
            .graph
            .node_input(node, port)
            .ok_or_else(|| LowerError::graph(format!("input {port} is missing")))?;
        self.view(value)
    }

    /// Where a node's optional input lives.
    pub fn optional_input(&mut self, node: NodeId, port: usize) -> Result<Option<View>, LowerError> {
        self.graph.node_input(node, port).map(|value| self.view(value)).transpose()
    }

    /// A node's output value.
    pub fn output(&self, node: NodeId, port: usize) -> Result<ValueId, LowerError> {
        let outputs = self.graph.node_outputs(node);
        outputs.get(port).copied().ok_or_else(|| LowerError::graph(format!("output {port} is missing")))
    }

    /// The place where a value is to be computed: its reserved one if it leaves the entry point, else a new temporary.
    pub fn place(&mut self, value: ValueId) -> Result<View, LowerError> {
        let ty = &self.graph.value(value).ty;
        let view = match self.reserved.get(&value) {
            Some(view) => view.clone(),
            None => self.temp(elem_of(ty)?, ty.shape.clone()),
        };
        self.places.insert(value, view.clone());
        Ok(view)
    }

    /// The reserved place of a value, if it is an output or a state.
    pub fn reserved(&self, value: ValueId) -> Option<&View> {
        self.reserved.get(&value)
    }

    /// Lets a value live at a view that exists already.
    pub fn alias(&mut self, value: ValueId, view: View) {
        self.places.insert(value, view);
    }

    // ---- buffers and launches -------------------------------------------------------------------------------------

    fn add_buffer(&mut self, role: BufferRole, elem: Elem, elements: Dim) -> BufferKey {
        let key = BufferKey(u32::try_from(self.buffers.len()).unwrap_or(u32::MAX));
        self.buffers.push(Buffer { role, elem, elements });
        key
    }

    /// A new dense temporary.
    pub fn temp(&mut self, elem: Elem, shape: Vec<Dim>) -> View {
        let key = self.add_buffer(BufferRole::Temp, elem, qwenc_ir::dim::product(&shape));
        View::dense(key, elem, shape)
    }

    /// A weight's dense view in its packed shape; equal specifications share one buffer.
    pub fn weight(&mut self, spec: WeightSpec) -> View {
        let (elem, shape) = (spec.elem(), spec.shape());
        let identity = spec.identity();
        let key = match self.weights.get(&identity) {
            Some(key) => *key,
            None => {
                let key = self.add_buffer(BufferRole::Weight(spec), elem, qwenc_ir::dim::product(&shape));
                self.weights.insert(identity, key);
                key
            }
        };
        View::dense(key, elem, shape)
    }

    /// Names the node that the next launches work for.
    pub fn set_label(&mut self, label: &str) {
        self.label = label.to_string();
    }

    /// Another node's kernel has computed this node's results, which have their places.
    pub(super) fn set_taken(&mut self, node: NodeId) {
        self.taken.insert(node);
    }

    /// Whether [`Self::set_taken`] was called for a node.
    pub(super) fn is_taken(&self, node: NodeId) -> bool {
        self.taken.contains(&node)
    }

    /// Adds a dispatch.
    pub fn launch(&mut self, kernel: Kernel) {
        // Empty tensors need no work, and no weights either.
        if kernel.workgroups.iter().any(|count| count.is(0)) {
            return;
        }
        self.launches.push(Launch { label: self.label.clone(), kernel });
    }

    /// Copies elements between views of one shape.
    pub fn copy(&mut self, from: &View, to: &View) -> Result<(), LowerError> {
        let kernel =
            copy::kernel(self.symbols(), &copy::CopyParams { input: from.clone(), output: to.clone() })?;
        self.launch(kernel);
        Ok(())
    }

    /// The view itself when it is dense, else a dense copy.
    pub fn dense(&mut self, view: View) -> Result<View, LowerError> {
        if view.is_dense() {
            return Ok(view);
        }
        self.materialize(&view)
    }

    /// A dense copy.
    pub fn materialize(&mut self, view: &View) -> Result<View, LowerError> {
        let out = self.temp(view.elem, view.shape.clone());
        self.copy(view, &out)?;
        Ok(out)
    }

    /// The view under another shape, copying when strides cannot express it.
    pub fn reshape(&mut self, view: &View, shape: &[Dim]) -> Result<View, LowerError> {
        if let Some(view) = view.reshaped(shape) {
            return Ok(view);
        }
        if view.elements().is(0) && qwenc_ir::dim::product(shape).is(0) {
            return Ok(View::dense(view.buffer, view.elem, shape.to_vec()));
        }
        let dense = self.materialize(view)?;
        dense.reshaped(shape).ok_or_else(|| LowerError::graph("a dense tensor could not be reshaped"))
    }

    /// The view as rows and columns with a dense last axis.
    pub fn rows(&mut self, view: &View) -> Result<View, LowerError> {
        let unit = view.strides.last().is_none_or(|stride| stride.is(1))
            || view.shape.last().is_some_and(|d| d.is(1));
        match view.as_rows().filter(|_| unit) {
            Some(rows) => Ok(rows),
            None => {
                let dense = self.materialize(view)?;
                dense.as_rows().ok_or_else(|| LowerError::graph("a scalar has no rows"))
            }
        }
    }

    /// The views of each element of the leading batch axis, which must be constant.
    pub fn batch(&self, view: &View) -> Result<Vec<View>, LowerError> {
        let batch = view.shape.first().and_then(Dim::as_usize).ok_or_else(|| {
            LowerError::graph(
                "the batch size must be fixed: set it with `--dim batch_size=1`, by the model's name of it",
            )
        })?;
        Ok((0..batch).map(|index| move_ops::index_axis(view, 0, &Dim::from(index))).collect())
    }
}

/// How devices hold a value; an error for types that they do not compute in.
pub(super) fn elem_of(ty: &ValueType) -> Result<Elem, LowerError> {
    Elem::of(ty.dtype).ok_or_else(|| LowerError::graph(format!("devices do not compute in {}", ty.dtype)))
}
