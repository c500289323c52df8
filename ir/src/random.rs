//! Random graphs for property tests of passes: valid, small, of many operators, with what is needed to run them.
//!
//! A seed gives the same graph on every machine. Sizes depend on the symbols `tokens` and `past`. Values stay moderate,
//! so that results can be compared with a tolerance; some nodes are dead and some are duplicates, for passes to find.

mod blocks;
mod pointwise;
mod rearrange;

use crate::dim::{Bindings, Dim};
use crate::dtype::DType;
use crate::graph::{Graph, ValueId, ValueType};
use crate::interp::{HostTensor, Inputs};
use crate::op::Op;
use crate::rng::Rng;

/// Largest number of elements of a value under the bindings.
const MAX_ELEMENTS: i64 = 4096;
/// Rows of embedding tables; ids are below.
const TABLE_ROWS: usize = 8;

/// A graph and one way to run it.
#[derive(Clone, Debug)]
pub struct RandomGraph {
    /// The graph; it verifies.
    pub graph: Graph,
    /// Values of all its symbols.
    pub bindings: Bindings,
    /// Tensors for all its inputs.
    pub inputs: Inputs,
}

/// A graph of about `steps` nodes, more where a step is a whole block.
pub fn random_graph(seed: u64, steps: usize) -> RandomGraph {
    let mut rng = Rng::new(seed);
    let tokens = rng.int(1.0, 5.0);
    let past = rng.int(0.0, 4.0);
    let bindings = Bindings::from([("tokens".into(), tokens), ("past".into(), past)]);
    let graph = Graph::new(format!("random {seed}"));
    let mut builder =
        Builder { graph, rng, bindings, inputs: Inputs::new(), pool: Vec::new(), names: 0, states: 0 };
    builder.start();
    for _ in 0..steps {
        // A step that does not fit its operands adds nothing; another one will.
        let _ = builder.step();
    }
    builder.finish();
    RandomGraph { graph: builder.graph, bindings: builder.bindings, inputs: builder.inputs }
}

struct Builder {
    graph: Graph,
    rng: Rng,
    bindings: Bindings,
    inputs: Inputs,
    /// Values that nodes may use.
    pool: Vec<ValueId>,
    names: usize,
    states: usize,
}

impl Builder {
    fn start(&mut self) {
        let width = *self.rng.pick(&[4usize, 6, 8]).unwrap_or(&4);
        let x = ValueType::new(DType::F32, [Dim::constant(1), Dim::sym("tokens"), width.into()]);
        let x = self.input("x", x);
        let ids = self.input("ids", ValueType::new(DType::I64, [Dim::constant(1), Dim::sym("tokens")]));
        let scale = self.input("scale", ValueType::new(DType::F32, [width]));
        self.pool.extend([x, ids, scale].into_iter().flatten());
    }

    /// One step of a random kind.
    fn step(&mut self) -> Option<()> {
        let kinds: &[fn(&mut Self) -> Option<ValueId>] = &[
            Self::pointwise,
            Self::pointwise,
            Self::pointwise,
            Self::compare_and_select,
            Self::round_trip_cast,
            Self::matmul,
            Self::matmul,
            Self::norm,
            Self::norm,
            Self::softmax,
            Self::reduce,
            Self::cumsum,
            Self::embedding,
            Self::generated,
            Self::reshape,
            Self::reshape,
            Self::transpose,
            Self::slice,
            Self::slice,
            Self::concat,
            Self::expand,
            Self::pad,
            Self::gather,
            Self::linear,
            Self::rope,
            Self::causal_conv,
            Self::attention,
            Self::gated_delta,
        ];
        let kind = *self.rng.pick(kinds)?;
        let value = kind(self)?;
        self.pool.push(value);
        Some(())
    }

    /// Some of the values that nothing reads become outputs, at least the newest value among them.
    fn finish(&mut self) {
        let unread: Vec<ValueId> = (self.pool.iter().copied())
            .filter(|id| self.graph.consumers(*id).is_empty() && self.graph.producer(*id).is_some())
            .collect();
        let newest = self.pool.last().copied();
        let mut outputs: Vec<ValueId> = unread.into_iter().filter(|_| !self.rng.one_in(4)).collect();
        outputs.extend(newest.filter(|id| !outputs.contains(id)));
        for (index, id) in outputs.into_iter().enumerate() {
            self.graph.add_output(format!("out{index}"), id);
        }
    }

    fn name(&mut self, what: &str) -> String {
        self.names += 1;
        // A few names are taken twice: they are for people, not identifiers.
        if self.rng.one_in(12) { what.into() } else { format!("{what}/{}", self.names) }
    }

    /// An input with random content.
    fn input(&mut self, name: &str, ty: ValueType) -> Option<ValueId> {
        let shape: Vec<usize> = ty.shape.iter().map(|dim| self.size(dim)).collect::<Option<_>>()?;
        let count = shape.iter().product();
        let tensor = if ty.dtype == DType::I64 {
            let rows = u32::try_from(TABLE_ROWS - 1).map_or(0.0, f64::from);
            HostTensor::i64(shape, (0..count).map(|_| self.rng.int(0.0, rows)).collect::<Vec<_>>())
        } else {
            HostTensor::f32(shape, self.floats(count, 1.0))
        };
        let id = self.graph.add_input(name, ty);
        self.inputs.insert(id, tensor.ok()?);
        Some(id)
    }

    /// A constant with content in `-bound..bound`.
    fn constant(&mut self, shape: &[usize], bound: f64) -> Option<ValueId> {
        self.stored_constant(shape, bound, DType::F32)
    }

    /// A constant with content in `-bound..bound`, stored as a float of any type.
    fn stored_constant(&mut self, shape: &[usize], bound: f64, dtype: DType) -> Option<ValueId> {
        let values = self.floats(shape.iter().product(), bound);
        let tensor = HostTensor::f32(shape.to_vec(), values).and_then(|host| host.to_tensor(dtype)).ok()?;
        let name = self.name("w");
        Some(self.graph.add_const(name, tensor))
    }

    fn floats(&mut self, count: usize, bound: f64) -> Vec<f32> {
        (0..count).map(|_| self.rng.float(-bound, bound)).collect()
    }

    fn size(&self, dim: &Dim) -> Option<usize> {
        usize::try_from(dim.eval(&self.bindings).ok()?).ok()
    }

    fn ty(&self, id: ValueId) -> ValueType {
        self.graph.value(id).ty.clone()
    }

    /// A float value of the pool that `fits`, the newer the likelier.
    fn float_value(&mut self, fits: impl Fn(&ValueType) -> bool) -> Option<ValueId> {
        let fitting: Vec<ValueId> = (self.pool.iter().copied())
            .filter(|id| self.graph.value(*id).ty.dtype == DType::F32 && fits(&self.graph.value(*id).ty))
            .collect();
        let newest = fitting.len().saturating_sub(4);
        let choice = if self.rng.one_in(3) { &fitting } else { fitting.get(newest..)? };
        self.rng.pick(choice).copied()
    }

    fn axis_of(&mut self, ty: &ValueType) -> Option<usize> {
        (ty.rank() > 0).then(|| self.rng.below(ty.rank()))
    }

    /// Adds a node, if operator and inputs fit and no result is large. Gives all outputs.
    fn node(&mut self, op: Op, inputs: &[Option<ValueId>]) -> Option<Vec<ValueId>> {
        let types: Vec<Option<ValueType>> = inputs.iter().map(|id| id.map(|id| self.ty(id))).collect();
        let types: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
        let results = crate::infer(&op, &types).ok()?;
        let small =
            |ty: &ValueType| ty.elements().eval(&self.bindings).is_ok_and(|count| count <= MAX_ELEMENTS);
        if !results.iter().all(small) {
            return None;
        }
        let name = self.name(op.name());
        self.graph.add_node(name, op, inputs).ok()
    }

    /// [`Builder::node`] with all inputs there, giving its first output.
    fn apply(&mut self, op: Op, inputs: &[ValueId]) -> Option<ValueId> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.node(op, &inputs)?.first().copied()
    }
}
