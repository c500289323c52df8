//! Symbolic dimensions: integer polynomials over named symbols, kept in one canonical form, so that two dims that are
//! provably equal compare equal.
//!
//! A dim is a sum of monomials; a monomial is a coefficient times a sorted product of *atoms*; an atom is a symbol or
//! an operation that does not distribute (floor division, remainder, minimum, maximum). Arithmetic never fails: what
//! leaves ±2^53, or grows past a bounded size, becomes [`Dim::poison`], which the verifier refuses. That bounds what a
//! hostile file can make the compiler compute.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

use crate::quote::{is_identifier, quoted};

/// Largest magnitude of a coefficient; above it a dim is poisoned. Also exactly representable in JSON numbers.
pub const MAX_MAGNITUDE: i64 = 1 << 53;
const MAX_TERMS: usize = 64;
const MAX_ATOMS: usize = 8;
const MAX_DEPTH: usize = 16;
/// Largest number of atoms, nested ones included: products copy atoms, and copies of copies would grow exponentially.
const MAX_SIZE: usize = 1024;

/// Values of symbols, by name.
pub type Bindings = BTreeMap<String, i64>;

/// Inclusive bounds of symbols, by name.
pub type Ranges = BTreeMap<String, (i64, i64)>;

/// A factor that has no simpler form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A named symbol, for example `tokens`.
    Sym(Arc<str>),
    /// `floor(a / b)`.
    FloorDiv(Box<Dim>, Box<Dim>),
    /// `a - b * floor(a / b)`.
    Mod(Box<Dim>, Box<Dim>),
    /// The smaller of two.
    Min(Box<Dim>, Box<Dim>),
    /// The larger of two.
    Max(Box<Dim>, Box<Dim>),
}

/// A dimension, a size or an index: an integer expression over symbols in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dim {
    /// Monomials (atoms and coefficient), sorted by their atoms, which are sorted themselves, with repetition for powers;
    /// no zero coefficients. `None` is poison. A vector, not a map: nearly every dim is one monomial, and a graph has
    /// many dims.
    terms: Option<Vec<(Vec<Atom>, i64)>>,
}

/// Why a dim has no value under some bindings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A symbol without a value.
    #[error("symbol `{0}` has no value")]
    Unbound(String),
    /// A division or remainder by zero.
    #[error("division by zero in a dimension")]
    DivisionByZero,
    /// Arithmetic left the supported range of ±2^53.
    #[error("a dimension overflows")]
    Overflow,
}

impl Dim {
    /// A constant.
    pub fn constant(value: i64) -> Self {
        if value.unsigned_abs() > MAX_MAGNITUDE.unsigned_abs() {
            return Self::poison();
        }
        Self { terms: Some(if value == 0 { Vec::new() } else { vec![(Vec::new(), value)] }) }
    }

    /// A symbol by name.
    pub fn sym(name: &str) -> Self {
        Self::atom(Atom::Sym(Arc::from(name)))
    }

    /// The result of arithmetic that overflowed or grew too large. Every operation on it is poison again.
    pub fn poison() -> Self {
        Self { terms: None }
    }

    /// True for the poison value.
    pub fn is_poison(&self) -> bool {
        self.terms.is_none()
    }

    fn atom(atom: Atom) -> Self {
        if atom_depth(&atom) > MAX_DEPTH || atom_size(&atom) > MAX_SIZE {
            return Self::poison();
        }
        Self { terms: Some(vec![(vec![atom], 1)]) }
    }

    fn from_terms(mut terms: BTreeMap<Vec<Atom>, i64>) -> Self {
        terms.retain(|_, coefficient| *coefficient != 0);
        let too_big = terms.len() > MAX_TERMS
            || terms
                .iter()
                .any(|(atoms, c)| atoms.len() > MAX_ATOMS || c.unsigned_abs() > MAX_MAGNITUDE.unsigned_abs())
            || terms.keys().flatten().map(atom_size).sum::<usize>() > MAX_SIZE;
        if too_big { Self::poison() } else { Self { terms: Some(terms.into_iter().collect()) } }
    }

    /// The value, when no symbol is involved.
    pub fn as_const(&self) -> Option<i64> {
        match self.terms.as_deref()? {
            [] => Some(0),
            [(atoms, value)] if atoms.is_empty() => Some(*value),
            _ => None,
        }
    }

    /// The value as a size, when it is a non-negative constant.
    pub fn as_usize(&self) -> Option<usize> {
        usize::try_from(self.as_const()?).ok()
    }

    /// True when the dim is the constant `value`.
    pub fn is(&self, value: i64) -> bool {
        self.as_const() == Some(value)
    }

    /// The symbol's name, when the dim is exactly one symbol.
    pub fn as_sym(&self) -> Option<&str> {
        match self.terms.as_deref()? {
            [(atoms, 1)] => match atoms.as_slice() {
                [Atom::Sym(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The monomials in canonical order: coefficient and atoms. Empty for zero and for poison.
    pub fn terms(&self) -> impl Iterator<Item = (i64, &[Atom])> {
        self.terms.iter().flatten().map(|(atoms, c)| (*c, atoms.as_slice()))
    }

    /// `floor(self / divisor)`; exact when every monomial divides.
    #[must_use]
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        if self.is_poison() || divisor.is_poison() || divisor.is(0) {
            return Dim::poison();
        }
        if divisor.is(1) || self.is(0) {
            return self.clone();
        }
        if self == divisor {
            return Dim::constant(1);
        }
        if let (Some(a), Some(b)) = (self.as_const(), divisor.as_const()) {
            return Dim::constant(floor_div(a, b));
        }
        match self.exact_div(divisor) {
            Some(quotient) => quotient,
            None => Dim::atom(Atom::FloorDiv(Box::new(self.clone()), Box::new(divisor.clone()))),
        }
    }

    /// `ceil(self / divisor)` for a constant positive divisor.
    #[must_use]
    pub fn ceil_div(&self, divisor: i64) -> Dim {
        (self.clone() + Dim::constant(divisor - 1)).floor_div(&Dim::constant(divisor))
    }

    /// The quotient, when `divisor` is one monomial that divides every monomial of `self`.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        if self.is_poison() {
            return None;
        }
        let mut divisor_terms = divisor.terms();
        let (coefficient, atoms) = divisor_terms.next()?;
        if divisor_terms.next().is_some() {
            return None;
        }
        let mut out = BTreeMap::new();
        for (c, own) in self.terms() {
            if c % coefficient != 0 {
                return None;
            }
            let mut left = own.to_vec();
            for atom in atoms {
                let at = left.iter().position(|have| have == atom)?;
                left.remove(at);
            }
            out.insert(left, c / coefficient);
        }
        Some(Dim::from_terms(out))
    }

    /// The remainder of [`Dim::floor_div`].
    #[must_use]
    pub fn modulo(&self, divisor: &Dim) -> Dim {
        if self.is_poison() || divisor.is_poison() || divisor.is(0) {
            return Dim::poison();
        }
        if let (Some(a), Some(b)) = (self.as_const(), divisor.as_const()) {
            return Dim::constant(a - b * floor_div(a, b));
        }
        if divisor.is(1) || self.exact_div(divisor).is_some() {
            return Dim::constant(0);
        }
        Dim::atom(Atom::Mod(Box::new(self.clone()), Box::new(divisor.clone())))
    }

    /// The smaller of two.
    #[must_use]
    pub fn min_with(&self, other: &Dim) -> Dim {
        self.choose(other, true)
    }

    /// The larger of two.
    #[must_use]
    pub fn max_with(&self, other: &Dim) -> Dim {
        self.choose(other, false)
    }

    fn choose(&self, other: &Dim, smaller: bool) -> Dim {
        if self.is_poison() || other.is_poison() {
            return Dim::poison();
        }
        // Symbols are sizes, never negative: a difference without negative terms decides the order.
        let difference = other.clone() - self.clone();
        if !difference.is_poison() {
            if difference.terms().all(|(c, atoms)| c >= 0 && atoms_non_negative(atoms)) {
                return if smaller { self.clone() } else { other.clone() };
            }
            if difference.terms().all(|(c, atoms)| c <= 0 && atoms_non_negative(atoms)) {
                return if smaller { other.clone() } else { self.clone() };
            }
        }
        let (a, b) = if self <= other { (self, other) } else { (other, self) };
        let (a, b) = (Box::new(a.clone()), Box::new(b.clone()));
        Dim::atom(if smaller { Atom::Min(a, b) } else { Atom::Max(a, b) })
    }

    /// The value under `bindings`.
    pub fn eval(&self, bindings: &Bindings) -> Result<i64, EvalError> {
        let terms = self.terms.as_ref().ok_or(EvalError::Overflow)?;
        let mut sum = 0i64;
        for (atoms, coefficient) in terms {
            let mut product = *coefficient;
            for atom in atoms {
                product = product.checked_mul(atom_value(atom, bindings)?).ok_or(EvalError::Overflow)?;
            }
            sum = sum.checked_add(product).ok_or(EvalError::Overflow)?;
        }
        if sum.unsigned_abs() > MAX_MAGNITUDE.unsigned_abs() {
            return Err(EvalError::Overflow);
        }
        Ok(sum)
    }

    /// Inclusive bounds by interval arithmetic; safe, not always tight.
    pub fn range(&self, ranges: &Ranges) -> Result<(i64, i64), EvalError> {
        let terms = self.terms.as_ref().ok_or(EvalError::Overflow)?;
        let mut sum = (0i64, 0i64);
        for (atoms, coefficient) in terms {
            let mut product = (*coefficient, *coefficient);
            for atom in atoms {
                product = interval_mul(product, atom_range(atom, ranges)?)?;
            }
            sum = (
                sum.0.checked_add(product.0).ok_or(EvalError::Overflow)?,
                sum.1.checked_add(product.1).ok_or(EvalError::Overflow)?,
            );
        }
        Ok(sum)
    }

    /// The dim with symbols replaced by other dims.
    #[must_use]
    pub fn substitute(&self, replace: &BTreeMap<String, Dim>) -> Dim {
        if self.is_poison() {
            return Dim::poison();
        }
        let mut sum = Dim::constant(0);
        for (coefficient, atoms) in self.terms() {
            let mut product = Dim::constant(coefficient);
            for atom in atoms {
                let factor = match atom {
                    Atom::Sym(name) => replace.get(&**name).cloned().unwrap_or_else(|| Dim::sym(name)),
                    Atom::FloorDiv(a, b) => a.substitute(replace).floor_div(&b.substitute(replace)),
                    Atom::Mod(a, b) => a.substitute(replace).modulo(&b.substitute(replace)),
                    Atom::Min(a, b) => a.substitute(replace).min_with(&b.substitute(replace)),
                    Atom::Max(a, b) => a.substitute(replace).max_with(&b.substitute(replace)),
                };
                product = product * factor;
            }
            sum = sum + product;
        }
        sum
    }

    /// How much there is of the dim: monomials and atoms, nested ones too. What a dim takes in memory is proportional.
    pub fn size(&self) -> usize {
        self.terms().map(|(_, atoms)| 1 + atoms.iter().map(atom_size).sum::<usize>()).sum()
    }

    /// Adds the names of all symbols in the dim to `into`.
    pub fn collect_symbols(&self, into: &mut std::collections::BTreeSet<String>) {
        for (_, atoms) in self.terms() {
            for atom in atoms {
                match atom {
                    Atom::Sym(name) => {
                        into.insert(name.to_string());
                    }
                    Atom::FloorDiv(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
                        a.collect_symbols(into);
                        b.collect_symbols(into);
                    }
                }
            }
        }
    }
}

fn floor_div(a: i64, b: i64) -> i64 {
    let quotient = a / b;
    if a % b != 0 && ((a < 0) != (b < 0)) { quotient - 1 } else { quotient }
}

fn atom_depth(atom: &Atom) -> usize {
    let dim_depth = |dim: &Dim| dim.terms().flat_map(|(_, atoms)| atoms).map(atom_depth).max().unwrap_or(0);
    match atom {
        Atom::Sym(_) => 1,
        Atom::FloorDiv(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
            1 + dim_depth(a).max(dim_depth(b))
        }
    }
}

fn atom_size(atom: &Atom) -> usize {
    let dim_size = |dim: &Dim| dim.terms().flat_map(|(_, atoms)| atoms).map(atom_size).sum::<usize>();
    match atom {
        Atom::Sym(_) => 1,
        Atom::FloorDiv(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => {
            1 + dim_size(a) + dim_size(b)
        }
    }
}

fn atoms_non_negative(atoms: &[Atom]) -> bool {
    atoms.iter().all(|atom| matches!(atom, Atom::Sym(_)))
}

fn atom_value(atom: &Atom, bindings: &Bindings) -> Result<i64, EvalError> {
    Ok(match atom {
        Atom::Sym(name) => *bindings.get(&**name).ok_or_else(|| EvalError::Unbound(name.to_string()))?,
        Atom::FloorDiv(a, b) => {
            let divisor = non_zero(b.eval(bindings)?)?;
            floor_div(a.eval(bindings)?, divisor)
        }
        Atom::Mod(a, b) => {
            let (value, divisor) = (a.eval(bindings)?, non_zero(b.eval(bindings)?)?);
            value - divisor * floor_div(value, divisor)
        }
        Atom::Min(a, b) => a.eval(bindings)?.min(b.eval(bindings)?),
        Atom::Max(a, b) => a.eval(bindings)?.max(b.eval(bindings)?),
    })
}

fn non_zero(value: i64) -> Result<i64, EvalError> {
    if value == 0 { Err(EvalError::DivisionByZero) } else { Ok(value) }
}

fn atom_range(atom: &Atom, ranges: &Ranges) -> Result<(i64, i64), EvalError> {
    Ok(match atom {
        Atom::Sym(name) => *ranges.get(&**name).ok_or_else(|| EvalError::Unbound(name.to_string()))?,
        Atom::FloorDiv(a, b) => {
            let (a, b) = (a.range(ranges)?, b.range(ranges)?);
            if b.0 <= 0 {
                return Err(EvalError::DivisionByZero);
            }
            let corners =
                [floor_div(a.0, b.0), floor_div(a.0, b.1), floor_div(a.1, b.0), floor_div(a.1, b.1)];
            hull(corners)
        }
        Atom::Mod(_, b) => {
            let b = b.range(ranges)?;
            if b.0 <= 0 {
                return Err(EvalError::DivisionByZero);
            }
            (0, b.1 - 1)
        }
        Atom::Min(a, b) => {
            let (a, b) = (a.range(ranges)?, b.range(ranges)?);
            (a.0.min(b.0), a.1.min(b.1))
        }
        Atom::Max(a, b) => {
            let (a, b) = (a.range(ranges)?, b.range(ranges)?);
            (a.0.max(b.0), a.1.max(b.1))
        }
    })
}

fn hull(corners: [i64; 4]) -> (i64, i64) {
    let mut out = (corners[0], corners[0]);
    for value in corners {
        out = (out.0.min(value), out.1.max(value));
    }
    out
}

fn interval_mul(a: (i64, i64), b: (i64, i64)) -> Result<(i64, i64), EvalError> {
    let product = |x: i64, y: i64| x.checked_mul(y).ok_or(EvalError::Overflow);
    Ok(hull([product(a.0, b.0)?, product(a.0, b.1)?, product(a.1, b.0)?, product(a.1, b.1)?]))
}

impl Add for Dim {
    type Output = Dim;

    fn add(self, other: Dim) -> Dim {
        let (Some(terms), Some(more)) = (self.terms, other.terms) else {
            return Dim::poison();
        };
        let mut terms: BTreeMap<Vec<Atom>, i64> = terms.into_iter().collect();
        for (atoms, coefficient) in more {
            let slot = terms.entry(atoms).or_insert(0);
            // Both are within ±2^53, so the sum fits i64; `from_terms` checks the bound.
            *slot += coefficient;
        }
        Dim::from_terms(terms)
    }
}

impl Sub for Dim {
    type Output = Dim;

    fn sub(self, other: Dim) -> Dim {
        self + other * Dim::constant(-1)
    }
}

impl Mul for Dim {
    type Output = Dim;

    fn mul(self, other: Dim) -> Dim {
        let (Some(left), Some(right)) = (self.terms, other.terms) else {
            return Dim::poison();
        };
        let mut terms: BTreeMap<Vec<Atom>, i64> = BTreeMap::new();
        for (left_atoms, left_coefficient) in &left {
            for (right_atoms, right_coefficient) in &right {
                let Some(product) = left_coefficient.checked_mul(*right_coefficient) else {
                    return Dim::poison();
                };
                let mut atoms = left_atoms.clone();
                atoms.extend(right_atoms.iter().cloned());
                atoms.sort();
                let slot = terms.entry(atoms).or_insert(0);
                let Some(sum) = slot.checked_add(product) else {
                    return Dim::poison();
                };
                *slot = sum;
            }
        }
        Dim::from_terms(terms)
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Self {
        i64::try_from(value).map_or_else(|_| Dim::poison(), Dim::constant)
    }
}

impl From<u32> for Dim {
    fn from(value: u32) -> Self {
        Dim::constant(i64::from(value))
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Self {
        Dim::constant(value)
    }
}

/// The product of all dims; 1 for none.
pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
    dims.into_iter().fold(Dim::constant(1), |acc, dim| acc * dim.clone())
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(terms) = &self.terms else {
            return f.write_str("poison");
        };
        if terms.is_empty() {
            return f.write_str("0");
        }
        // Symbols first, the constant last: `tokens*64 + 3` reads better than `3 + tokens*64`.
        let mut first = true;
        for (atoms, coefficient) in terms.iter().rev() {
            let magnitude = coefficient.unsigned_abs();
            match (first, *coefficient < 0) {
                (true, true) => f.write_str("-")?,
                (true, false) => {}
                (false, true) => f.write_str(" - ")?,
                (false, false) => f.write_str(" + ")?,
            }
            first = false;
            if atoms.is_empty() {
                write!(f, "{magnitude}")?;
                continue;
            }
            for (index, atom) in atoms.iter().enumerate() {
                if index > 0 {
                    f.write_str("*")?;
                }
                write!(f, "{atom}")?;
            }
            if magnitude != 1 {
                write!(f, "*{magnitude}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Symbols of foreign models may be called anything; quoted, they still read back.
            Atom::Sym(name) if is_identifier(name) && &**name != "poison" => f.write_str(name),
            Atom::Sym(name) => f.write_str(&quoted(name)),
            Atom::FloorDiv(a, b) => write!(f, "floor_div({a}, {b})"),
            Atom::Mod(a, b) => write!(f, "mod({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
        }
    }
}

#[cfg(test)]
mod tests;
