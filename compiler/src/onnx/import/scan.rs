//! `Scan`: a loop over positions that carries a state.
//!
//! A body that is the gated delta rule becomes that operator, for any number of positions ([`crate::onnx::scan`]).
//! Every other body is repeated as often as there are positions, when that number is a small constant; and refused
//! otherwise, because running it position by position is not what a compiled graph can do.

use std::collections::{BTreeMap, BTreeSet};

use qwenc_ir::Dim;
use qwenc_ir::graph::ValueType;

use super::order::{MAX_NESTING, graph_reads};
use super::walk::{Frame, Result, Scope, Stop, Walker};
use crate::onnx::error::ImportError;
use crate::onnx::ops::call::{Call, axis};
use crate::onnx::proto::GraphProto;
use crate::onnx::scan::{Body, Operand, as_gated_delta};
use crate::onnx::values::{Builder, Fault, V};

/// Most repetitions of a body that is none of the known rules.
const MAX_TRIPS: usize = 64;

/// A loop as the file has it.
struct Loop<'m> {
    body: &'m GraphProto,
    /// States before the first position.
    initial: Vec<V>,
    /// Scanned operands, with the positions in front and in the order of the loop.
    scanned: Vec<V>,
    /// Axis of the positions in every scanned output, and whether the last position comes first.
    outputs: Vec<(i64, bool)>,
    trips: Dim,
}

type Attempt<T> = std::result::Result<T, Fault>;

impl<'m> Walker<'m> {
    /// Imports a `Scan`.
    pub(super) fn scan(&mut self, call: &Call<'m>, frame: &mut Frame<'m>) -> Result<Vec<Option<V>>> {
        let node = call.node;
        if frame.is_deep() {
            return Err(
                self.node_error(node, Fault::new(format!("subgraphs nest deeper than {MAX_NESTING}")))
            );
        }
        let read = self.read_loop(call).and_then(|read| call.check_consumed().map(|()| read));
        let read = read.map_err(|fault| self.node_error(node, fault))?;
        let reason = match self.delta_rule(call, &read, frame)? {
            Ok(outputs) => return Ok(outputs.into_iter().map(Some).collect()),
            Err(Fault::Message(reason)) => reason,
            Err(bind) => return Err(self.node_error(node, bind)),
        };
        let Some(trips) = read.trips.as_usize().filter(|trips| (1..=MAX_TRIPS).contains(trips)) else {
            let message = format!(
                "its body is not the gated delta rule ({reason}), and its {} positions are not a constant of at most \
                 {MAX_TRIPS} that it could be repeated for. Export the recurrence as the operator LinearAttention, or \
                 with the length fixed",
                read.trips
            );
            return Err(self.node_error(node, Fault::new(message)));
        };
        self.repeat(call, &read, trips, frame)
    }

    fn read_loop(&mut self, call: &Call<'m>) -> Attempt<Loop<'m>> {
        if call.opset < 9 {
            return Err(Fault::new("Scan before opset 9 is not supported"));
        }
        let body = call.graph("body")?;
        let inputs = call.all_inputs()?;
        let scanned = call.count("num_scan_inputs")?;
        let Some(states) = inputs.len().checked_sub(scanned) else {
            return Err(Fault::new("it has fewer operands than `num_scan_inputs` says"));
        };
        let outputs = body.output.len().checked_sub(states);
        let (true, Some(outputs)) = (body.input.len() == inputs.len(), outputs) else {
            return Err(Fault::new("its body does not have its operands and states"));
        };
        let list = |name: &str, len: usize| -> Attempt<Vec<i64>> {
            match call.ints(name)? {
                None => Ok(vec![0; len]),
                Some(values) if values.len() == len => Ok(values.to_vec()),
                Some(values) => Err(Fault::new(format!(
                    "attribute `{name}` has {} entries, expected {len}",
                    values.len()
                ))),
            }
        };
        let (axes, directions) = (list("scan_input_axes", scanned)?, list("scan_input_directions", scanned)?);
        let output_axes = list("scan_output_axes", outputs)?;
        let output_directions = list("scan_output_directions", outputs)?;
        let b = &mut self.builder;
        let (initial, rest) = inputs.split_at(states);
        let mut moved = Vec::with_capacity(scanned);
        let mut trips: Option<Dim> = None;
        for ((v, at), direction) in rest.iter().zip(axes).zip(directions) {
            let at = axis(at, b.rank(*v))?;
            let perm: Vec<usize> =
                [at].into_iter().chain((0..b.rank(*v)).filter(|other| *other != at)).collect();
            let mut v = b.transpose(*v, &perm)?;
            let length = b.shape(v)[0].clone();
            if direction == 1 {
                let last = length.clone() - Dim::constant(1);
                v = b.slice(v, 0, &last, &length, -1)?;
            }
            if trips.get_or_insert_with(|| length.clone()) != &length {
                return Err(Fault::new("its operands have different numbers of positions"));
            }
            moved.push(v);
        }
        let Some(trips) = trips else { return Err(Fault::new("it scans no operand")) };
        let outputs =
            output_axes.into_iter().zip(output_directions.into_iter().map(|direction| direction == 1));
        Ok(Loop { body, initial: initial.to_vec(), scanned: moved, outputs: outputs.collect(), trips })
    }

    /// The loop as the gated delta rule. The inner error says why it is none.
    fn delta_rule(
        &mut self,
        call: &Call<'m>,
        read: &Loop<'m>,
        frame: &mut Frame<'m>,
    ) -> Result<Attempt<Vec<V>>> {
        let ([initial], [output]) = (read.initial.as_slice(), read.outputs.as_slice()) else {
            return Ok(Err(Fault::new("it does not have one state and one output")));
        };
        let (initial, output) = (*initial, *output);
        let body = match self.import_body(call, read, initial, frame)? {
            Ok(body) => body,
            Err(fault) => return Ok(Err(fault)),
        };
        self.builder.set_label(&super::walk::label(call.node));
        let raised = as_gated_delta(&mut self.builder, &body);
        Ok(raised.and_then(|(state, rows)| Ok(vec![state, self.placed(rows, output)?])))
    }

    /// Imports the body into a graph of its own. Constants from around it are constants there; what is computed around
    /// it is an input.
    fn import_body(
        &mut self,
        call: &Call<'m>,
        read: &Loop<'m>,
        initial: V,
        frame: &mut Frame<'m>,
    ) -> Result<Attempt<Body>> {
        let mut inner = Builder::new("body", self.builder.bounds.clone());
        let mut operands = BTreeMap::new();
        let mut values = BTreeMap::new();
        let mut around = BTreeMap::new();
        let names = graph_reads(read.body)
            .map_err(|error| self.graph_error(format!("the body of a loop cannot be read: {error:?}")))?;
        for name in names {
            let Some(v) = self.lookup(name, frame)? else { continue };
            let copied =
                inner.copy_of(&self.builder, v).map_err(|fault| self.node_error(call.node, fault))?;
            if let Some(id) = inner.input_id(copied) {
                operands.insert(id, Operand::Same(v));
            }
            around.insert(name, copied);
        }
        let mut state = None;
        for (at, port) in read.body.input.iter().enumerate() {
            let (outer, shape) = match at.checked_sub(1) {
                None => (initial, self.builder.shape(initial).to_vec()),
                Some(scanned) => {
                    let v = read.scanned[scanned];
                    (v, self.builder.shape(v)[1..].to_vec())
                }
            };
            let ty = ValueType { dtype: self.builder.dtype(outer), shape };
            let v = inner.input(port.name(), ty).map_err(|fault| self.node_error(call.node, fault))?;
            if let Some(id) = inner.input_id(v) {
                match at {
                    0 => state = Some(id),
                    _ => {
                        operands.insert(id, Operand::Element(outer));
                    }
                }
            }
            if values.insert(port.name(), v).is_some() {
                return Err(self.graph_error(format!("two values are named `{}`", port.name())));
            }
        }
        let mut inside = Frame {
            scopes: vec![Scope::of(around)],
            opsets: frame.opsets.clone(),
            attributes: frame.attributes.clone(),
            functions: frame.functions.clone(),
            outside: frame.outside + frame.scopes.len(),
        };
        inner.continue_count(&self.builder);
        std::mem::swap(&mut self.builder, &mut inner);
        let result = self.run_graph(read.body, values, &mut inside);
        std::mem::swap(&mut self.builder, &mut inner);
        self.builder.continue_count(&inner);
        let outputs = match result {
            Ok(outputs) => outputs,
            // What the rule does not need may still work when the body is repeated.
            Err(Stop::Error(error @ ImportError::Node { .. })) => {
                return Ok(Err(Fault::new(error.to_string())));
            }
            Err(stop) => return Err(stop),
        };
        let mut ids = Vec::with_capacity(outputs.len());
        for v in outputs {
            match inner.value(v) {
                Ok(id) => ids.push(id),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        let (Some(state), [new_state, output]) = (state, ids.as_slice()) else {
            return Ok(Err(Fault::new("it does not have one state and one output")));
        };
        Ok(Ok(Body {
            state,
            new_state: *new_state,
            output: *output,
            operands,
            initial,
            trips: read.trips.clone(),
            graph: inner.graph,
        }))
    }

    /// A scanned output where the file wants its positions.
    fn placed(&mut self, rows: V, (at, backwards): (i64, bool)) -> Attempt<V> {
        let b = &mut self.builder;
        let mut v = rows;
        if backwards {
            let length = b.shape(v)[0].clone();
            let last = length.clone() - Dim::constant(1);
            v = b.slice(v, 0, &last, &length, -1)?;
        }
        let at = axis(at, b.rank(v))?;
        let mut perm: Vec<usize> = (1..b.rank(v)).collect();
        perm.insert(at, 0);
        b.transpose(v, &perm)
    }

    /// The body, repeated.
    fn repeat(
        &mut self,
        call: &Call<'m>,
        read: &Loop<'m>,
        trips: usize,
        frame: &mut Frame<'m>,
    ) -> Result<Vec<Option<V>>> {
        let node = call.node;
        let mut states = read.initial.clone();
        let mut rows: Vec<Vec<V>> = vec![Vec::new(); read.outputs.len()];
        for trip in 0..trips {
            let mut arguments = states.clone();
            for v in &read.scanned {
                let part = self.element(*v, trip);
                arguments.push(part.map_err(|fault| self.node_error(node, fault))?);
            }
            let names = read.body.input.iter().map(|port| port.name());
            if names.clone().collect::<BTreeSet<_>>().len() != read.body.input.len() {
                return Err(self.graph_error("two inputs of a loop's body have one name".to_owned()));
            }
            let outputs = self.run_graph(read.body, names.zip(arguments).collect(), frame)?;
            let (new, scanned) = outputs.split_at(states.len());
            if new.iter().zip(&states).any(|(a, b)| self.builder.ty(*a) != self.builder.ty(*b)) {
                return Err(self.node_error(node, Fault::new("a state changes its type in the body")));
            }
            states = new.to_vec();
            for (row, v) in rows.iter_mut().zip(scanned) {
                row.push(*v);
            }
        }
        let mut outputs: Vec<Option<V>> = states.into_iter().map(Some).collect();
        for (row, place) in rows.into_iter().zip(&read.outputs) {
            let joined = self.stacked(&row).and_then(|v| self.placed(v, *place));
            outputs.push(Some(joined.map_err(|fault| self.node_error(node, fault))?));
        }
        Ok(outputs)
    }

    /// One position.
    fn element(&mut self, v: V, trip: usize) -> Attempt<V> {
        let part = self.builder.slice(v, 0, &Dim::from(trip), &Dim::constant(1), 1)?;
        let shape = self.builder.shape(part)[1..].to_vec();
        self.builder.reshape(part, &shape)
    }

    /// Positions one behind the other.
    fn stacked(&mut self, rows: &[V]) -> Attempt<V> {
        let mut parts = Vec::with_capacity(rows.len());
        for v in rows {
            let mut shape = vec![Dim::constant(1)];
            shape.extend(self.builder.shape(*v).iter().cloned());
            parts.push(self.builder.reshape(*v, &shape)?);
        }
        self.builder.concat(&parts, 0)
    }
}
