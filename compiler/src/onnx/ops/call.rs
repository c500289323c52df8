//! One use of an operator: its operands and attributes, with errors that say which one is wrong.
//!
//! Every attribute and operand that a file gives must be looked at by the importer of its operator. What nobody looked
//! at would change the meaning silently, and is refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use qwenc_ir::{DType, Dim};

use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use crate::onnx::values::{Builder, Fault, Result, V, fault};

/// One use of an operator.
pub(in crate::onnx) struct Call<'a> {
    /// The node in the file.
    pub(in crate::onnx) node: &'a NodeProto,
    /// Version of the operator set of its domain.
    pub(in crate::onnx) opset: i64,
    /// Operands; `None` where one is left out.
    inputs: Vec<Option<V>>,
    attributes: BTreeMap<&'a str, &'a AttributeProto>,
    seen_inputs: RefCell<BTreeSet<usize>>,
    seen_attributes: RefCell<BTreeSet<String>>,
}

impl<'a> Call<'a> {
    pub(in crate::onnx) fn new(
        node: &'a NodeProto,
        opset: i64,
        inputs: Vec<Option<V>>,
        attributes: BTreeMap<&'a str, &'a AttributeProto>,
    ) -> Self {
        Self {
            node,
            opset,
            inputs,
            attributes,
            seen_inputs: RefCell::default(),
            seen_attributes: RefCell::default(),
        }
    }

    // ---- operands -------------------------------------------------------------------------------------------------

    /// Number of operands, without trailing absent ones.
    pub(in crate::onnx) fn input_count(&self) -> usize {
        self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// An optional operand.
    pub(in crate::onnx) fn optional(&self, index: usize) -> Option<V> {
        self.seen_inputs.borrow_mut().insert(index);
        self.inputs.get(index).copied().flatten()
    }

    /// An operand that must be there.
    pub(in crate::onnx) fn input(&self, index: usize) -> Result<V> {
        self.optional(index).ok_or_else(|| Fault::new(format!("operand {index} is missing")))
    }

    /// All operands of an operator that takes any number of them.
    pub(in crate::onnx) fn all_inputs(&self) -> Result<Vec<V>> {
        (0..self.input_count()).map(|index| self.input(index)).collect()
    }

    /// Notes that an operand does not matter.
    pub(in crate::onnx) fn ignore_input(&self, index: usize) {
        self.seen_inputs.borrow_mut().insert(index);
    }

    /// The dimensions in an optional operand that only says sizes, indices or axes.
    pub(in crate::onnx) fn optional_dims(&self, b: &Builder, index: usize) -> Result<Option<Vec<Dim>>> {
        let Some(v) = self.optional(index) else {
            return Ok(None);
        };
        match b.known_dims(v) {
            Some(dims) => Ok(Some(dims)),
            None => fault!(
                "operand {index} (`{}`) is computed from data; only values that follow from the shapes of the inputs \
                 are supported here. Export the model with this operand constant",
                self.node.input.get(index).map_or("", String::as_str)
            ),
        }
    }

    /// The dimensions in an operand that only says sizes, indices or axes.
    pub(in crate::onnx) fn dims(&self, b: &Builder, index: usize) -> Result<Vec<Dim>> {
        self.optional_dims(b, index)?.ok_or_else(|| Fault::new(format!("operand {index} is missing")))
    }

    /// Constant integers in an optional operand, such as axes.
    pub(in crate::onnx) fn optional_constants(&self, b: &Builder, index: usize) -> Result<Option<Vec<i64>>> {
        let Some(dims) = self.optional_dims(b, index)? else {
            return Ok(None);
        };
        match dims.iter().map(Dim::as_const).collect() {
            Some(values) => Ok(Some(values)),
            None => fault!("operand {index} depends on the size of an input, but must be constant"),
        }
    }

    /// The one integer in an operand.
    pub(in crate::onnx) fn one_dim(&self, b: &Builder, index: usize) -> Result<Dim> {
        match <[Dim; 1]>::try_from(self.dims(b, index)?) {
            Ok([dim]) => Ok(dim),
            Err(dims) => fault!("operand {index} has {} elements, expected 1", dims.len()),
        }
    }

    /// True when the graph uses the output of this index.
    pub(in crate::onnx) fn wants(&self, index: usize) -> bool {
        self.node.output.get(index).is_some_and(|name| !name.is_empty())
    }

    // ---- attributes -----------------------------------------------------------------------------------------------

    fn attribute(&self, name: &str, ty: AttributeType) -> Result<Option<&'a AttributeProto>> {
        self.seen_attributes.borrow_mut().insert(name.to_owned());
        let Some(attribute) = self.attributes.get(name).copied() else {
            return Ok(None);
        };
        if attribute.r#type() != ty {
            fault!(
                "attribute `{name}` is {}, expected {}",
                attribute.r#type().as_str_name(),
                ty.as_str_name()
            );
        }
        Ok(Some(attribute))
    }

    /// True when the attribute is given.
    pub(in crate::onnx) fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// Notes that attributes do not matter: they are hints, or say how to round what is computed exactly.
    pub(in crate::onnx) fn ignore(&self, names: &[&str]) {
        self.seen_attributes.borrow_mut().extend(names.iter().map(|name| (*name).to_owned()));
    }

    pub(in crate::onnx) fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.attribute(name, AttributeType::Int)?.map(AttributeProto::i))
    }

    pub(in crate::onnx) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.optional_int(name)?.unwrap_or(default))
    }

    /// A number of things, such as heads.
    pub(in crate::onnx) fn count(&self, name: &str) -> Result<usize> {
        let Some(value) = self.optional_int(name)? else {
            fault!("attribute `{name}` is missing");
        };
        match usize::try_from(value) {
            Ok(count) if (1..=1 << 24).contains(&count) => Ok(count),
            _ => fault!("attribute `{name}` is {value}, which is out of range"),
        }
    }

    pub(in crate::onnx) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    pub(in crate::onnx) fn optional_float(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.attribute(name, AttributeType::Float)?.map(AttributeProto::f))
    }

    pub(in crate::onnx) fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }

    pub(in crate::onnx) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    pub(in crate::onnx) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    pub(in crate::onnx) fn text(&self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.attribute(name, AttributeType::String)? {
            None => Ok(default),
            Some(attribute) => std::str::from_utf8(attribute.s.as_deref().unwrap_or_default())
                .map_err(|_| Fault::new(format!("attribute `{name}` is no text"))),
        }
    }

    pub(in crate::onnx) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>> {
        Ok(self.attribute(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    pub(in crate::onnx) fn graph(&self, name: &str) -> Result<&'a GraphProto> {
        match self.attribute(name, AttributeType::Graph)?.and_then(|a| a.g.as_ref()) {
            Some(graph) => Ok(graph),
            None => fault!("attribute `{name}` is missing"),
        }
    }

    /// Refuses an attribute with any value but the one that changes nothing.
    pub(in crate::onnx) fn only_int(&self, name: &str, neutral: i64) -> Result<()> {
        match self.int(name, neutral)? {
            value if value == neutral => Ok(()),
            value => fault!("attribute `{name}` = {value} is not supported, only {neutral}"),
        }
    }

    /// Refuses an attribute with any value but the one that changes nothing.
    pub(in crate::onnx) fn only_float(&self, name: &str, neutral: f32) -> Result<()> {
        match self.float(name, neutral)? {
            value if value.to_bits() == neutral.to_bits() => Ok(()),
            value => fault!("attribute `{name}` = {value} is not supported, only {neutral}"),
        }
    }

    // ---- axes -----------------------------------------------------------------------------------------------------

    /// The attribute `axis` of a tensor of `rank`.
    pub(in crate::onnx) fn axis(&self, default: i64, rank: usize) -> Result<usize> {
        axis(self.int("axis", default)?, rank)
    }

    // ---- after the import -----------------------------------------------------------------------------------------

    /// Fails when something was given that nobody looked at.
    pub(in crate::onnx) fn check_consumed(&self) -> Result<()> {
        let seen = self.seen_attributes.borrow();
        if let Some(name) = self.attributes.keys().find(|name| !seen.contains(**name)) {
            fault!("attribute `{name}` is not supported for this operator");
        }
        let seen = self.seen_inputs.borrow();
        if let Some(index) =
            (0..self.inputs.len()).find(|at| self.inputs[*at].is_some() && !seen.contains(at))
        {
            fault!("operand {index} (`{}`) is not supported for this operator", self.node.input[index]);
        }
        Ok(())
    }
}

/// An axis that may count from the end.
pub(in crate::onnx) fn axis(value: i64, rank: usize) -> Result<usize> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let shifted = if value < 0 { value.checked_add(signed) } else { Some(value) };
    match shifted.and_then(|at| usize::try_from(at).ok()) {
        Some(at) if at < rank => Ok(at),
        _ => fault!("axis {value} does not exist in a tensor of rank {rank}"),
    }
}

/// Distinct axes, sorted.
pub(in crate::onnx) fn sorted_axes(values: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut axes = values.iter().map(|value| axis(*value, rank)).collect::<Result<Vec<_>>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|pair| pair[0] == pair[1]) {
        fault!("axes {values:?} name one axis twice");
    }
    Ok(axes)
}

/// The element type that an ONNX number stands for.
pub(in crate::onnx) fn element_type(value: i64) -> Result<DType> {
    i32::try_from(value)
        .map_err(|_| value.to_string())
        .and_then(crate::onnx::tensor::dtype_of)
        .map_err(|name| Fault::new(format!("element type {name} is not supported")))
}
