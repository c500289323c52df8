//! Reading dims, scalars and pointwise expressions.

use super::ParseError;
use super::lexer::Kind;
use super::names::Named;
use super::parser::Parser;
use crate::dim::Dim;
use crate::dtype::{DType, Scalar};
use crate::expr::{BinaryOp, Expr, MAX_EXPR_NODES, UnaryOp};

/// Deepest nesting; an expression of [`MAX_EXPR_NODES`] in a chain fits.
const MAX_DEPTH: usize = MAX_EXPR_NODES + 8;

type Result<T> = std::result::Result<T, ParseError>;

impl Parser<'_> {
    /// A dim that does not overflow.
    pub(super) fn dim(&mut self) -> Result<Dim> {
        let start = self.here();
        let dim = self.dim_sum(0)?;
        if dim.is_poison() {
            return Err(self.error_at(start, "the dimension overflows or is too large"));
        }
        Ok(dim)
    }

    fn dim_sum(&mut self, depth: usize) -> Result<Dim> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let negative = self.take_mark('-');
        let mut sum = self.dim_product(depth)?;
        if negative {
            sum = Dim::constant(0) - sum;
        }
        loop {
            if self.take_mark('+') {
                sum = sum + self.dim_product(depth)?;
            } else if self.take_mark('-') {
                sum = sum - self.dim_product(depth)?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn dim_product(&mut self, depth: usize) -> Result<Dim> {
        let mut product = self.dim_factor(depth)?;
        while self.take_mark('*') {
            product = product * self.dim_factor(depth)?;
        }
        Ok(product)
    }

    fn dim_factor(&mut self, depth: usize) -> Result<Dim> {
        let start = self.here();
        match self.next_kind() {
            Kind::Number(text) => match text.parse() {
                Ok(value) => Ok(Dim::constant(value)),
                Err(_) => Err(self.error_at(start, format!("`{text}` is no integer of 64 bits"))),
            },
            Kind::Text(symbol) => Ok(Dim::sym(&symbol)),
            Kind::Mark('(') => {
                let inner = self.dim_sum(depth + 1)?;
                self.expect_mark(')')?;
                Ok(inner)
            }
            Kind::Word("poison") => Err(self.error_at(start, "a poisoned dimension cannot be read")),
            Kind::Word(name) if self.take_mark('(') => {
                let a = self.dim_sum(depth + 1)?;
                self.expect_mark(',')?;
                let b = self.dim_sum(depth + 1)?;
                self.expect_mark(')')?;
                match name {
                    "floor_div" => Ok(a.floor_div(&b)),
                    "mod" => Ok(a.modulo(&b)),
                    "min" => Ok(a.min_with(&b)),
                    "max" => Ok(a.max_with(&b)),
                    _ => Err(self.error_at(start, format!("`{name}` is no function of dimensions"))),
                }
            }
            Kind::Word(symbol) if symbol != "_" => Ok(Dim::sym(symbol)),
            _ => Err(self.error_at(start, "a dimension is expected")),
        }
    }

    /// A float with an optional sign.
    pub(super) fn float(&mut self) -> Result<f32> {
        let start = self.here();
        if self.take_word("bits") {
            self.expect_mark('(')?;
            let bits = self.hex_bits()?;
            self.expect_mark(')')?;
            return Ok(f32::from_bits(bits));
        }
        let word = self.signed_word()?;
        word.parse().map_err(|_| self.error_at(start, format!("`{word}` is no float")))
    }

    fn hex_bits(&mut self) -> Result<u32> {
        let start = self.here();
        match self.next_kind() {
            Kind::Number(text) => {
                let digits = text.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok());
                digits.ok_or_else(|| self.error_at(start, format!("`{text}` is no `0x` number of 32 bits")))
            }
            _ => Err(self.error_at(start, "a `0x` number is expected")),
        }
    }

    /// A number or word with an optional minus in front, as one text.
    pub(super) fn signed_word(&mut self) -> Result<String> {
        let start = self.here();
        let sign = if self.take_mark('-') { "-" } else { "" };
        match self.next_kind() {
            Kind::Number(text) | Kind::Word(text) => Ok(format!("{sign}{text}")),
            _ => Err(self.error_at(start, "a number is expected")),
        }
    }

    /// A float (with a point, an exponent, or `inf`, `nan`, `bits(..)`), an integer, or a boolean.
    pub(super) fn scalar(&mut self) -> Result<Scalar> {
        let start = self.here();
        if matches!(self.peek_kind(), Kind::Word("bits")) {
            return self.float().map(Scalar::F32);
        }
        let word = self.signed_word()?;
        if let Some(value) = bool::from_word(&word) {
            return Ok(Scalar::Bool(value));
        }
        if let Ok(value) = word.parse::<i64>() {
            return Ok(Scalar::Int(value));
        }
        word.parse().map(Scalar::F32).map_err(|_| self.error_at(start, format!("`{word}` is no constant")))
    }

    /// A pointwise expression.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        let mut left = MAX_EXPR_NODES;
        self.expr_node(0, &mut left)
    }

    fn expr_node(&mut self, depth: usize, left: &mut usize) -> Result<Expr> {
        let start = self.here();
        if depth > MAX_DEPTH || *left == 0 {
            return Err(self.error(format!("an expression of more than {MAX_EXPR_NODES} nodes")));
        }
        *left -= 1;
        let Kind::Word(name) = *self.peek_kind() else {
            return self.scalar().map(Expr::Const);
        };
        if matches!(name, "true" | "false" | "inf" | "nan" | "bits") {
            return self.scalar().map(Expr::Const);
        }
        self.next_kind();
        if let Some(index) = name.strip_prefix('a').and_then(|digits| digits.parse::<u16>().ok()) {
            return Ok(Expr::Arg(index.into()));
        }
        self.expect_mark('(')?;
        let node = if let Some(op) = UnaryOp::from_word(name) {
            self.expr_node(depth + 1, left)?.unary(op)
        } else if let Some(op) = BinaryOp::from_word(name) {
            let a = self.expr_node(depth + 1, left)?;
            self.expect_mark(',')?;
            a.binary(op, self.expr_node(depth + 1, left)?)
        } else if name == "select" {
            let condition = self.expr_node(depth + 1, left)?;
            self.expect_mark(',')?;
            let a = self.expr_node(depth + 1, left)?;
            self.expect_mark(',')?;
            condition.select(a, self.expr_node(depth + 1, left)?)
        } else if name == "cast" {
            let dtype = self.dtype()?;
            self.expect_mark(',')?;
            self.expr_node(depth + 1, left)?.cast(dtype)
        } else {
            return Err(self.error_at(start, format!("`{name}` is no function of expressions")));
        };
        self.expect_mark(')')?;
        Ok(node)
    }

    /// An element type.
    pub(super) fn dtype(&mut self) -> Result<DType> {
        let start = self.here();
        match self.next_kind() {
            Kind::Word(word) => word.parse().map_err(|message: String| self.error_at(start, message)),
            _ => Err(self.error_at(start, "an element type is expected")),
        }
    }
}
