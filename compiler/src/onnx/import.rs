//! Walking a model's graph.

mod order;
mod scan;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use qwenc_ir::graph::ValueType;
use qwenc_ir::{Dim, Graph, Ranges, Scalar};

use super::error::{ImportError, ReadError, message, name};
use super::file::{Model, Port, PortDim};
use super::known::{self, Bounds, Elem, Known};
use super::values::{Builder, Fault, V};
use walk::{Stop, Walker};

/// Symbols that an import may find out by itself before it gives up.
const MAX_BOUND_SYMBOLS: usize = 64;

/// What is decided about a model before it is imported.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Sizes by the name that the file gives them (`sequence_length`), exactly as written there; one without a name by
    /// its input and axis (`x_0`). The others become symbols of their own, see [`symbol_name`].
    pub dims: BTreeMap<String, Dim>,
    /// Whole shapes by the input's name; they win over `dims`.
    pub shapes: BTreeMap<String, Vec<Dim>>,
    /// Inputs that are one value everywhere, such as an attention mask of ones. They are no inputs of the graph.
    pub constants: BTreeMap<String, Scalar>,
    /// Integer inputs whose elements are given, row-major, such as the sizes of an image that a graph computes shapes
    /// from. They are no inputs of the graph; their shapes are in `shapes`.
    pub integers: BTreeMap<String, Vec<i64>>,
    /// Inputs whose first dimension is 0 in this use of the model, such as the features of no image. They are no
    /// inputs of the graph.
    pub empty: BTreeSet<String>,
    /// What is known about the values of symbols (inclusive). Those that are not listed may be anything from 0.
    pub ranges: Ranges,
}

/// An imported model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The graph; inputs and outputs are named as in the file.
    pub graph: Graph,
    /// Versions of operator sets by domain; "" is the standard one.
    pub opsets: BTreeMap<String, i64>,
    /// Version of the file format.
    pub ir_version: i64,
    /// Who wrote the file, for example `pytorch 2.8`; may be empty.
    pub producer: String,
    /// Symbols of the file whose size was found from how they are used, such as the width of a cache.
    pub inferred: BTreeMap<String, Dim>,
}

/// The symbol that an unbound size of the file becomes: its name with everything but ASCII letters, digits and
/// underscores replaced by underscores.
pub fn symbol_name(text: &str) -> String {
    let mut name: String =
        text.chars().take(64).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Imports a model's main graph.
///
/// Fails with the name of the node or tensor that cannot be expressed, and why.
pub fn import(model: &Model, options: &ImportOptions) -> Result<Imported, ImportError> {
    let mut inferred: BTreeMap<String, Dim> = BTreeMap::new();
    loop {
        let (symbol, dim) = match import_once(model, options, &inferred)? {
            Outcome::Done(graph) => {
                let proto = model.proto();
                let producer = format!("{} {}", proto.producer_name(), proto.producer_version());
                return Ok(Imported {
                    graph,
                    opsets: model.opsets().clone(),
                    ir_version: proto.ir_version(),
                    producer: name(producer.trim()),
                    inferred,
                });
            }
            Outcome::Bind(symbol, dim) => (symbol, dim),
        };
        if inferred.len() >= MAX_BOUND_SYMBOLS || inferred.insert(symbol.clone(), dim).is_some() {
            return Err(ImportError::Graph {
                file: model.path().display().to_string(),
                message: format!("the uses of size `{}` contradict each other", name(&symbol)),
            });
        }
    }
}

enum Outcome {
    Done(Graph),
    Bind(String, Dim),
}

fn import_once(
    model: &Model,
    options: &ImportOptions,
    inferred: &BTreeMap<String, Dim>,
) -> Result<Outcome, ImportError> {
    let file = model.path().display().to_string();
    let graph_error = |text: String| ImportError::Graph { file: file.clone(), message: message(&text) };
    let name = name(model.graph().name());
    let mut builder = Builder::new(&name, Bounds::new(options.ranges.clone()));
    let ports = model.inputs().map_err(|error| graph_error(reason(error)))?;
    check_options(options, &ports).map_err(graph_error)?;
    let mut inputs = BTreeMap::new();
    let mut symbols = Symbols::default();
    let mut stated: BTreeMap<&str, &str> = BTreeMap::new();
    for info in &model.graph().input {
        if stated.insert(info.name(), info.name()).is_some() {
            return Err(graph_error(format!("two values are named `{}`; names must be unique", info.name())));
        }
    }
    for port in &ports {
        let input = add_input(&mut builder, port, options, inferred, &mut symbols).map_err(graph_error)?;
        if let Some(name) = stated.get(port.name.as_str()) {
            inputs.insert(*name, input);
        }
    }
    let outputs = model.outputs().map_err(|error| graph_error(reason(error)))?;
    let mut walker = Walker::new(model, builder, file.clone());
    let values = match walker.run_main(&inputs) {
        Ok(values) => values,
        Err(Stop::Error(error)) => return Err(error),
        Err(Stop::Bind { symbol, dim }) => return Ok(Outcome::Bind(symbol, dim)),
    };
    let mut builder = walker.into_builder();
    for (port, v) in outputs.iter().zip(values) {
        if builder.dtype(v) != port.dtype {
            return Err(graph_error(format!(
                "output `{}` is declared as {}, but computed as {}",
                port.name,
                port.dtype,
                builder.ty(v)
            )));
        }
        builder.set_label(&port.name);
        match builder.value(v) {
            Ok(id) => builder.graph.add_output(port.name.clone(), id),
            Err(Fault::Message(message)) => {
                return Err(graph_error(format!("output `{}`: {message}", port.name)));
            }
            Err(Fault::Bind { symbol, dim }) => return Ok(Outcome::Bind(symbol, dim)),
        }
    }
    Ok(Outcome::Done(builder.graph))
}

/// What is wrong, without the file, which the error here names itself.
fn reason(error: ReadError) -> String {
    match error {
        ReadError::Malformed { reason, .. } => reason,
        other => other.to_string(),
    }
}

/// Names in the options must be inputs, so that a misspelt one is noticed.
fn check_options(options: &ImportOptions, ports: &[Port]) -> Result<(), String> {
    let bound = options.constants.keys().chain(options.integers.keys());
    let named = options.shapes.keys().chain(bound).chain(&options.empty);
    let known: BTreeSet<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    for name in named {
        if !known.contains(name.as_str()) {
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).take(64).collect();
            return Err(format!("the model has no input `{name}`; it has {}", names.join(", ")));
        }
    }
    Ok(())
}

/// Symbols by the text in the file. Different texts never share a symbol.
#[derive(Default)]
struct Symbols {
    by_text: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// The number that was last appended to a name, so that names that look alike are not tried again and again.
    numbers: BTreeMap<String, usize>,
}

impl Symbols {
    fn of(&mut self, text: &str) -> String {
        if let Some(symbol) = self.by_text.get(text) {
            return symbol.clone();
        }
        let base = symbol_name(text);
        let mut symbol = base.clone();
        while !self.taken.insert(symbol.clone()) {
            let number = self.numbers.entry(base.clone()).or_insert(1);
            *number += 1;
            symbol = format!("{base}_{number}");
        }
        self.by_text.insert(text.to_owned(), symbol.clone());
        symbol
    }
}

fn add_input(
    builder: &mut Builder,
    port: &Port,
    options: &ImportOptions,
    inferred: &BTreeMap<String, Dim>,
    symbols: &mut Symbols,
) -> Result<V, String> {
    let shape = input_shape(port, options, inferred, symbols)?;
    let ty = ValueType { dtype: port.dtype, shape };
    if ty.rank() > qwenc_ir::infer::MAX_RANK
        || ty.shape.iter().any(Dim::is_poison)
        || ty.elements().is_poison()
    {
        return Err(format!("input `{}` is {ty}, which is too large", port.name));
    }
    builder.set_label(&port.name);
    let made = if options.empty.contains(&port.name) {
        builder.known_value(port.dtype, Known::Splat { shape: ty.shape, item: Elem::int(0) })
    } else if let Some(values) = options.integers.get(&port.name) {
        let shape =
            known::constant_shape(&ty.shape).filter(|shape| known::count(shape) == Some(values.len()));
        let (Some(shape), true) = (shape, ty.dtype.is_int()) else {
            return Err(format!(
                "input `{}` is {ty} and cannot be bound to {} integers",
                port.name,
                values.len()
            ));
        };
        let items = values.iter().map(|value| Elem::int(*value)).collect();
        builder.known_value(port.dtype, Known::Elements { shape, items })
    } else if let Some(value) = options.constants.get(&port.name) {
        let item = match value {
            Scalar::Int(value) => Elem::int(*value),
            Scalar::Bool(value) => Elem::int(i64::from(*value)),
            Scalar::F32(value) => Elem::Real(*value),
        };
        if matches!(item, Elem::Real(_)) && !port.dtype.is_float() {
            return Err(format!("input `{}` is {ty} and cannot be bound to a float", port.name));
        }
        builder.known_value(port.dtype, Known::Splat { shape: ty.shape, item })
    } else {
        builder.input(&port.name, ty)
    };
    made.map_err(|fault| format!("input `{}`: {fault:?}", port.name))
}

fn input_shape(
    port: &Port,
    options: &ImportOptions,
    inferred: &BTreeMap<String, Dim>,
    symbols: &mut Symbols,
) -> Result<Vec<Dim>, String> {
    let name = &port.name;
    if let Some(shape) = options.shapes.get(name) {
        let fits = shape.len() == port.dims.len()
            && shape.iter().zip(&port.dims).all(|(dim, stated)| match (dim.as_const(), stated) {
                (Some(value), PortDim::Size(size)) => value == *size,
                (None, PortDim::Size(_)) => false,
                _ => true,
            });
        if !fits {
            return Err(format!(
                "input `{name}` has dimensions {:?}, which the given shape does not fit",
                port.dims
            ));
        }
        return Ok(shape.clone());
    }
    let mut shape = Vec::with_capacity(port.dims.len());
    for (axis, dim) in port.dims.iter().enumerate() {
        shape.push(match dim {
            _ if axis == 0 && options.empty.contains(name) => Dim::constant(0),
            PortDim::Size(size) if *size >= 0 => Dim::constant(*size),
            PortDim::Size(size) => return Err(format!("input `{name}` has the negative size {size}")),
            PortDim::Symbol(text) => match options.dims.get(text) {
                Some(dim) => dim.clone(),
                None => bound_symbol(symbols.of(text), inferred),
            },
            PortDim::Unknown => {
                let text = format!("{name}_{axis}");
                match options.dims.get(&text) {
                    Some(dim) => dim.clone(),
                    None => bound_symbol(symbols.of(&text), inferred),
                }
            }
        });
    }
    Ok(shape)
}

fn bound_symbol(symbol: String, inferred: &BTreeMap<String, Dim>) -> Dim {
    inferred.get(&symbol).cloned().unwrap_or_else(|| Dim::sym(&symbol))
}
