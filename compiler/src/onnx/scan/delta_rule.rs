//! Recognises the gated delta rule in a loop's body.
//!
//! With the state `S` [dk, dv] of a head, the rule leaves
//!
//! ```text
//! S'[i,j] = e^g S[i,j]  -  beta e^g k[i] sum_m k[m] S[m,j]  +  beta k[i] v[j]        o[j] = scale sum_i q[i] S'[i,j]
//! ```
//!
//! which is three monomials and one. The body's sums of products are sorted into these: by whether they read the state,
//! and by the axes that each factor depends on. Factors that depend on the head alone may sit anywhere: what the second
//! monomial has beyond `e^g` and the factors of the third is a factor of the key, such as the reciprocal of its norm.
//!
//! It is not the rule when the decay differs over the key, when the key that is read is not the key that is written,
//! when the output is not taken from the new state, or when anything is not linear in the state.

use std::collections::BTreeSet;

use qwenc_ir::{BinaryOp, Expr, Graph, Op, UnaryOp, ValueId};

use super::Body;
use super::algebra::{Algebra, Factor, Index, Monomial, Read};
use crate::onnx::values::{Result, fault};

/// What an index of the state or the output runs over. Axes of size 1 are nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An axis of size 1, or none.
    Unit,
    /// The variable of an axis.
    Axis(u32),
}

/// A recognised rule. Factors depend on the variables of the roles alone.
#[derive(Debug)]
pub(super) struct DeltaRule {
    pub(super) batch: Role,
    pub(super) head: Role,
    pub(super) key: Role,
    pub(super) value: Role,
    /// The axis of the state that runs over keys, and the one that runs over values.
    pub(super) key_axis: usize,
    pub(super) value_axis: usize,
    /// Factors of the query.
    pub(super) query: Vec<Factor>,
    pub(super) keys: Vec<Factor>,
    pub(super) values: Vec<Factor>,
    /// Summands of the log decay.
    pub(super) decay: Vec<Factor>,
    /// Factors of the step size.
    pub(super) beta: Vec<Factor>,
    pub(super) scale: f32,
    /// The axes of the output.
    pub(super) output: Vec<Role>,
}

/// The value behind casts and views that keep every element in its place.
fn stripped(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some((node, op)) = graph.producer_op(value) {
        let same = match op {
            Op::Elementwise(Expr::Cast(to, a)) => to.is_float() && **a == Expr::Arg(0),
            Op::Elementwise(Expr::Arg(0)) => true,
            _ => false,
        };
        match graph.node_input(node, 0) {
            Some(input) if same => value = input,
            _ => break,
        }
    }
    value
}

/// The rule that the body computes, or why it is none.
pub(super) fn recognise(body: &Body) -> Result<DeltaRule> {
    let graph = &body.graph;
    let new_state = stripped(graph, body.new_state);
    let rank = graph.value(body.state).ty.rank();
    if !(2..=4).contains(&rank) || graph.value(new_state).ty.shape != graph.value(body.state).ty.shape {
        fault!("the state is no matrix for every head");
    }
    let mut algebra = Algebra::new(graph, body.state, &[body.state])?;
    let index = algebra.indices(new_state);
    let terms = algebra.expand(new_state, &index)?;
    let update = Update::of(&terms, &index)?;
    let (i, j) = (update.key, update.value);
    let leading: Vec<Role> = index.iter().take(rank - 2).map(|entry| role(*entry)).collect();
    let (batch, head) = match leading.as_slice() {
        [] => (Role::Unit, Role::Unit),
        [head] => (Role::Unit, *head),
        [batch, head, ..] => (*batch, *head),
    };
    let decay = update.decay()?;
    let (keys, beta) = update.keys_and_beta()?;

    let mut algebra = Algebra::new(graph, body.state, &[body.state, new_state])?;
    let outer = algebra.indices(body.output);
    let terms = algebra.expand(body.output, &outer)?;
    let output = Output::of(&terms, new_state, update.key_axis)?;
    // The output's variables are others than the update's: they are named alike where they read the state.
    let rename = |factor: &Factor| {
        let mut factor = factor.clone();
        for (from, to) in output.state.index.iter().zip(&index) {
            if let (Index::Var(from), Index::Var(to)) = (from, to) {
                factor = factor.renamed(*from, *to + OFFSET);
            }
        }
        for var in factor.vars() {
            if var >= OFFSET {
                factor = factor.renamed(var, var - OFFSET);
            }
        }
        factor
    };
    let query: Vec<Factor> = output.factors.iter().map(rename).collect();
    let known: BTreeSet<u32> = vars(&index).into_iter().filter(|var| *var != j).collect();
    if query.iter().any(|factor| !factor.vars().is_subset(&known)) {
        fault!("the query depends on more than head and key");
    }
    if !query.iter().any(|factor| factor.vars().contains(&i)) {
        fault!("no query reads the new state");
    }
    let output_roles = outer
        .iter()
        .map(|entry| {
            let at = output.state.index.iter().position(|have| have == entry && *have != Index::Unit);
            at.and_then(|at| index.get(at)).map_or(Role::Unit, |entry| role(*entry))
        })
        .collect();
    Ok(DeltaRule {
        batch,
        head,
        key: Role::Axis(i),
        value: Role::Axis(j),
        key_axis: update.key_axis,
        value_axis: update.value_axis,
        query,
        keys,
        values: update.values.clone(),
        decay,
        beta,
        scale: output.number,
        output: output_roles,
    })
}

/// Larger than every variable of a body: renaming goes through names that nothing has.
const OFFSET: u32 = 1 << 24;

fn role(index: Index) -> Role {
    match index {
        Index::Unit => Role::Unit,
        Index::Var(var) => Role::Axis(var),
    }
}

fn vars(index: &[Index]) -> BTreeSet<u32> {
    index.iter().filter_map(|entry| if let Index::Var(var) = entry { Some(*var) } else { None }).collect()
}

/// The three monomials of the new state, sorted into their parts.
struct Update {
    key: u32,
    value: u32,
    key_axis: usize,
    value_axis: usize,
    /// Factors of the state that is kept.
    kept: Vec<Factor>,
    /// Factors of head and batch alone in the monomial that takes away, and in the one that writes.
    erased: Vec<Factor>,
    written: Vec<Factor>,
    /// Factors of the key that is written.
    keys: Vec<Factor>,
    values: Vec<Factor>,
}

impl Update {
    fn of(terms: &[Monomial], index: &[Index]) -> Result<Self> {
        let [a, b, c] = terms else {
            fault!("the new state is a sum of {} products, not of three", terms.len());
        };
        let (mut keep, mut erase, mut write) = (None, None, None);
        for term in [a, b, c] {
            let place = match (term.states.len(), term.sums.len()) {
                (1, 0) => &mut keep,
                (1, 1) => &mut erase,
                (0, 0) => &mut write,
                _ => fault!("a part of the new state is not linear in the old one"),
            };
            if place.replace(term).is_some() {
                fault!("two parts of the new state have the same form");
            }
        }
        let (Some(keep), Some(erase), Some(write)) = (keep, erase, write) else {
            fault!("the old state is not kept, read and written as the rule does");
        };
        if (keep.number, erase.number, write.number) != (1.0, -1.0, 1.0) {
            fault!("parts of the new state have other factors than the rule's 1, -1 and 1");
        }
        let (Some(kept), Some(read), Some(middle)) =
            (keep.states.first(), erase.states.first(), erase.sums.first().copied())
        else {
            fault!("the old state is not read");
        };
        if kept.index != index {
            fault!("the state that is kept is moved");
        }
        let key_axis = contracted(read, index, middle)?;
        let rank = index.len();
        let value_axis = (2 * rank - 3) - key_axis;
        let (Some(Index::Var(key)), Some(Index::Var(value))) =
            (index.get(key_axis).copied(), index.get(value_axis).copied())
        else {
            fault!("a key or a value of width 1 is not supported");
        };
        let within = |factor: &Factor| factor.vars().contains(&key) || factor.vars().contains(&value);
        if keep.factors.iter().any(within) {
            fault!("the decay differs within a head");
        }
        let mut update = Update {
            key,
            value,
            key_axis,
            value_axis,
            kept: keep.factors.clone(),
            erased: vec![],
            written: vec![],
            keys: vec![],
            values: vec![],
        };
        for factor in &write.factors {
            let vars = factor.vars();
            match (vars.contains(&key), vars.contains(&value)) {
                (true, true) => fault!("what is written is no product of a key and a value"),
                (true, false) => update.keys.push(factor.clone()),
                (false, true) => update.values.push(factor.clone()),
                (false, false) => update.written.push(factor.clone()),
            }
        }
        let (mut read_keys, mut write_keys) = (vec![], vec![]);
        for factor in &erase.factors {
            let vars = factor.vars();
            match (vars.contains(&middle), vars.contains(&key), vars.contains(&value)) {
                (true, false, false) => read_keys.push(factor.renamed(middle, key)),
                (false, true, false) => write_keys.push(factor.clone()),
                (false, false, false) => update.erased.push(factor.clone()),
                _ => fault!("what is taken away is no product of a key and what it reads"),
            }
        }
        if update.keys.is_empty() || update.values.is_empty() {
            fault!("nothing is written to the state");
        }
        let same = |other: &[Factor]| minus(&update.keys, other).is_some_and(|rest| rest.is_empty());
        if !same(&read_keys) || !same(&write_keys) {
            fault!("the key that reads the state is not the key that writes it");
        }
        Ok(update)
    }

    /// The summands of the log decay.
    fn decay(&self) -> Result<Vec<Factor>> {
        let mut summands = Vec::new();
        for factor in &self.kept {
            match &factor.expr {
                Expr::Unary(UnaryOp::Exp, inner) => {
                    summands.push(Factor { expr: (**inner).clone(), reads: factor.reads.clone() });
                }
                _ => fault!("the decay is not an exponential"),
            }
        }
        Ok(summands)
    }

    /// Factors of the key, with those that depend on the head alone, and of the step size.
    fn keys_and_beta(&self) -> Result<(Vec<Factor>, Vec<Factor>)> {
        const MESSAGE: &str = "the state is taken away with other factors than it is written with";
        let Some(rest) = minus(&self.erased, &self.kept) else { fault!("{MESSAGE}") };
        let Some(of_key) = minus(&rest, &self.written) else { fault!("{MESSAGE}") };
        let Some(beta) = minus(&self.written, &of_key) else { fault!("{MESSAGE}") };
        let keys = self.keys.iter().cloned().chain(of_key).collect();
        Ok((keys, beta))
    }
}

/// The axis along which the read of a state differs from `index`, which is `middle` there: one of the last two.
fn contracted(read: &Read, index: &[Index], middle: u32) -> Result<usize> {
    let rank = index.len();
    let differing: Vec<usize> = (0..rank).filter(|at| read.index.get(*at) != index.get(*at)).collect();
    match differing.as_slice() {
        [axis] if axis + 2 >= rank && read.index.get(*axis) == Some(&Index::Var(middle)) => Ok(*axis),
        _ => fault!("what the key reads is no product with the state of its own head"),
    }
}

/// The factors of `all` without those of `part`; `None` when one of these is not there.
fn minus(all: &[Factor], part: &[Factor]) -> Option<Vec<Factor>> {
    let mut rest = all.to_vec();
    for factor in part {
        let at = rest.iter().position(|have| equal(have, factor))?;
        rest.remove(at);
    }
    Some(rest)
}

/// Equal up to the order of commutative operands.
fn equal(a: &Factor, b: &Factor) -> bool {
    fn same(a: &Expr, b: &Expr, left: &Factor, right: &Factor) -> bool {
        match (a, b) {
            (Expr::Arg(i), Expr::Arg(j)) => {
                left.reads.get(*i).is_some() && left.reads.get(*i) == right.reads.get(*j)
            }
            (Expr::Const(a), Expr::Const(b)) => a == b,
            (Expr::Unary(f, a), Expr::Unary(g, b)) => f == g && same(a, b, left, right),
            (Expr::Cast(f, a), Expr::Cast(g, b)) => f == g && same(a, b, left, right),
            (Expr::Binary(f, a, c), Expr::Binary(g, b, d)) => {
                let commutes = matches!(f, BinaryOp::Add | BinaryOp::Mul | BinaryOp::Max | BinaryOp::Min);
                f == g
                    && ((same(a, b, left, right) && same(c, d, left, right))
                        || (commutes && same(a, d, left, right) && same(c, b, left, right)))
            }
            (Expr::Select(p, a, c), Expr::Select(q, b, d)) => {
                same(p, q, left, right) && same(a, b, left, right) && same(c, d, left, right)
            }
            _ => false,
        }
    }
    same(&a.expr, &b.expr, a, b)
}

/// The one monomial of the output.
struct Output {
    /// Where the new state is read.
    state: Read,
    factors: Vec<Factor>,
    number: f32,
}

impl Output {
    fn of(terms: &[Monomial], new_state: ValueId, key_axis: usize) -> Result<Self> {
        let [term] = terms else {
            fault!("the output is a sum of {} products, not one read of the new state", terms.len());
        };
        let (Some(state), [sum]) = (term.states.first(), term.sums.as_slice()) else {
            fault!("the output does not read the new state by a query");
        };
        if term.states.len() != 1 || state.value != new_state {
            fault!("the output reads the state before the update");
        }
        let contracted: Vec<usize> =
            (0..state.index.len()).filter(|at| state.index.get(*at) == Some(&Index::Var(*sum))).collect();
        if contracted != [key_axis]
            || vars(&state.index).len() != state.index.iter().filter(|entry| **entry != Index::Unit).count()
        {
            fault!("the output does not sum the new state over its keys");
        }
        Ok(Self { state: state.clone(), factors: term.factors.clone(), number: term.number })
    }
}
