//! Checks of a family's parameters, and the way templates index operands.

use askama::Template;
use qwenc_ir::Dim;

use crate::kernel::{CodegenError, Operand, Symbols};
use crate::view::{Elem, View};

/// Checks parameters on behalf of one family, which its errors name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checks {
    family: &'static str,
}

impl Checks {
    pub(crate) const fn of(family: &'static str) -> Self {
        Self { family }
    }

    pub(crate) fn fail(self, message: impl Into<String>) -> CodegenError {
        CodegenError::Unsupported { family: self.family, message: message.into() }
    }

    /// The shape of a view of rank N and the given element type.
    pub(crate) fn shape<const N: usize>(
        self,
        what: &str,
        view: &View,
        elem: Elem,
    ) -> Result<[Dim; N], CodegenError> {
        if view.elem != elem {
            return Err(self.fail(format!("{what} holds {}, expected {}", view.elem.wgsl(), elem.wgsl())));
        }
        if view.strides.len() != view.shape.len() {
            return Err(self.fail(format!(
                "{what} has {} strides for rank {}",
                view.strides.len(),
                view.rank()
            )));
        }
        <[Dim; N]>::try_from(view.shape.clone())
            .map_err(|shape| self.fail(format!("{what} has rank {}, expected {N}", shape.len())))
    }

    /// Holds a view to an element type and a shape.
    pub(crate) fn expect(
        self,
        what: &str,
        view: &View,
        elem: Elem,
        shape: &[&Dim],
    ) -> Result<(), CodegenError> {
        let fits = view.elem == elem
            && view.strides.len() == shape.len()
            && view.shape.len() == shape.len()
            && view.shape.iter().zip(shape).all(|(have, want)| have == *want);
        if fits {
            return Ok(());
        }
        let list = |dims: &mut dyn Iterator<Item = &Dim>| {
            dims.map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        Err(self.fail(format!(
            "{what} is {}[{}], expected {}[{}]",
            view.elem.wgsl(),
            list(&mut view.shape.iter()),
            elem.wgsl(),
            list(&mut shape.iter().copied()),
        )))
    }

    /// The value of a dim that must be a constant in `1..=max`.
    pub(crate) fn constant(self, what: &str, dim: &Dim, max: u32) -> Result<u32, CodegenError> {
        dim.as_const()
            .and_then(|value| u32::try_from(value).ok())
            .filter(|value| (1..=max).contains(value))
            .ok_or_else(|| self.fail(format!("{what} is {dim}, expected a constant from 1 to {max}")))
    }

    /// How many query (or value) heads share one key head.
    pub(crate) fn group(self, heads: u32, key_heads: u32) -> Result<u32, CodegenError> {
        if key_heads > 0 && heads.is_multiple_of(key_heads) {
            Ok(heads / key_heads)
        } else {
            Err(self.fail(format!("{heads} heads are no multiple of {key_heads} key heads")))
        }
    }

    /// A finite f32 as a WGSL literal.
    pub(crate) fn literal(self, what: &str, value: f32) -> Result<String, CodegenError> {
        // `{:?}` prints the shortest text that reads back to the same value.
        if value.is_finite() {
            Ok(format!("{value:?}f"))
        } else {
            Err(self.fail(format!("{what} is {value}")))
        }
    }
}

/// An operand with the symbols that its index expressions need: what templates hold.
#[derive(Clone, Debug)]
pub(crate) struct Access<'a> {
    operand: Operand,
    symbols: &'a Symbols,
}

impl<'a> Access<'a> {
    pub(crate) const fn new(operand: Operand, symbols: &'a Symbols) -> Self {
        Self { operand, symbols }
    }

    /// The element of a rank-1 view.
    pub(crate) fn at1(&self, i: &str) -> String {
        self.operand.at(self.symbols, &[i])
    }

    /// The element of a rank-2 view.
    pub(crate) fn at2(&self, i: &str, j: &str) -> String {
        self.operand.at(self.symbols, &[i, j])
    }

    /// The element of a rank-3 view.
    pub(crate) fn at3(&self, i: &str, j: &str, k: &str) -> String {
        self.operand.at(self.symbols, &[i, j, k])
    }
}

/// The text of a template.
pub(crate) fn render(family: &'static str, template: &impl Template) -> Result<String, CodegenError> {
    template.render().map_err(|error| CodegenError::Invalid { family, message: error.to_string() })
}
