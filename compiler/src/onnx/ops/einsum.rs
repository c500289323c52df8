//! `Einsum` over one operand or two: sums, permutations and one batched matrix product.

use qwenc_ir::dim::product;
use qwenc_ir::op::ReduceKind;
use qwenc_ir::{BinaryOp, Dim, Op};

use super::call::Call;
use super::elementwise::combine;
use super::one;
use super::registry::{OpEntry, standard};
use crate::onnx::values::{Builder, Result, V, fault};

pub(super) const OPS: &[OpEntry] = &[standard("Einsum", einsum)];

/// A tensor with a letter for every axis. Axes of an ellipsis are numbered from the last: '0', '1', ...
#[derive(Clone, Debug)]
struct Term {
    v: V,
    axes: Vec<char>,
}

/// The letters of an operand of a rank; an ellipsis becomes as many as are missing.
fn letters(text: &str, rank: usize) -> Result<Vec<char>> {
    let stated: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != '.').collect();
    if stated.iter().any(|c| !c.is_ascii_alphabetic()) {
        fault!("term `{text}` of the equation has characters that are no letters");
    }
    let Some(at) = text.find("...") else {
        return Ok(stated);
    };
    let head = text[..at].chars().filter(char::is_ascii_alphabetic).count();
    let hidden = rank.saturating_sub(stated.len());
    let digits = (0..hidden).rev().filter_map(|place| char::from_digit(u32::try_from(place).ok()?, 36));
    // Digits beyond 9 would be letters.
    let ellipsis: Vec<char> = digits.filter(char::is_ascii_digit).collect();
    Ok([&stated[..head], &ellipsis, &stated[head..]].concat())
}

fn einsum(b: &mut Builder, call: &Call<'_>) -> Result<Vec<Option<V>>> {
    let equation = call.text("equation", "")?;
    let inputs = call.all_inputs()?;
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    if texts.len() != inputs.len() || inputs.is_empty() {
        fault!("equation `{equation}` has {} terms for {} operands", texts.len(), inputs.len());
    }
    let mut terms = Vec::new();
    for (text, v) in texts.iter().zip(inputs) {
        let axes = letters(text, b.rank(v))?;
        if axes.len() != b.rank(v) {
            fault!("term `{text}` does not fit {}", b.ty(v));
        }
        if (1..axes.len()).any(|at| axes[..at].contains(&axes[at])) {
            fault!("term `{text}` of the equation names an axis twice, which is not supported");
        }
        terms.push(Term { v, axes });
    }
    let all: Vec<char> = terms.iter().flat_map(|term| term.axes.iter().copied()).collect();
    let mut hidden: Vec<char> = all.iter().copied().filter(char::is_ascii_digit).collect();
    hidden.sort_unstable_by(|a, b| b.cmp(a));
    hidden.dedup();
    let out: Vec<char> = match right {
        Some(right) => {
            letters(right, hidden.len() + right.chars().filter(char::is_ascii_alphabetic).count())?
        }
        None => {
            // The ellipsis, then what occurs once, in alphabetical order.
            let once = |letter: &char| all.iter().filter(|other| *other == letter).count() == 1;
            let mut out: Vec<char> = all.iter().copied().filter(|c| c.is_alphabetic() && once(c)).collect();
            out.sort_unstable();
            [hidden, out].concat()
        }
    };
    if out.iter().any(|letter| !all.contains(letter)) || (1..out.len()).any(|at| out[..at].contains(&out[at]))
    {
        fault!("equation `{equation}` has axes in its result that are in no operand, or twice");
    }
    let mut terms = terms.into_iter();
    let Some(mut total) = terms.next() else {
        fault!("no operands");
    };
    let rest: Vec<Term> = terms.collect();
    for (at, term) in rest.iter().enumerate() {
        let later: Vec<char> = rest[at + 1..].iter().flat_map(|term| term.axes.iter().copied()).collect();
        total = contract(b, total, term.clone(), |letter| out.contains(letter) || later.contains(letter))?;
    }
    let kept: Vec<char> = out.clone();
    let total = summed(b, total, |letter| kept.contains(letter))?;
    one(permuted(b, &total, &out)?)
}

/// Sums over the axes that are not kept.
fn summed(b: &mut Builder, term: Term, keep: impl Fn(&char) -> bool) -> Result<Term> {
    let axes: Vec<usize> =
        term.axes.iter().enumerate().filter(|(_, letter)| !keep(letter)).map(|(at, _)| at).collect();
    if axes.is_empty() {
        return Ok(term);
    }
    let v = b.apply(Op::Reduce { kind: ReduceKind::Sum, axes, keep_dims: false }, &[term.v])?;
    Ok(Term { v, axes: term.axes.into_iter().filter(keep).collect() })
}

/// A tensor with its axes in another order; axes that it lacks are of size 1.
fn permuted(b: &mut Builder, term: &Term, order: &[char]) -> Result<V> {
    let perm: Vec<usize> =
        order.iter().filter_map(|letter| term.axes.iter().position(|own| own == letter)).collect();
    let v = b.transpose(term.v, &perm)?;
    let mut sizes = b.shape(v).to_vec().into_iter();
    let shape: Vec<Dim> = order
        .iter()
        .map(|letter| if term.axes.contains(letter) { sizes.next() } else { None })
        .map(|size| size.unwrap_or_else(|| Dim::constant(1)))
        .collect();
    b.reshape(v, &shape)
}

/// The product of two terms, summed over the axes that both have and that nobody needs any more.
fn contract(b: &mut Builder, left: Term, right: Term, keep: impl Fn(&char) -> bool) -> Result<Term> {
    let (in_left, in_right) = (left.axes.clone(), right.axes.clone());
    let left = summed(b, left, |letter| keep(letter) || in_right.contains(letter))?;
    let right = summed(b, right, |letter| keep(letter) || in_left.contains(letter))?;
    let shared: Vec<char> = left.axes.iter().copied().filter(|l| right.axes.contains(l)).collect();
    let (batch, inner): (Vec<char>, Vec<char>) = shared.iter().partition(|letter| keep(letter));
    let rows: Vec<char> = left.axes.iter().copied().filter(|l| !shared.contains(l)).collect();
    let columns: Vec<char> = right.axes.iter().copied().filter(|l| !shared.contains(l)).collect();
    let axes = [&batch[..], &rows, &columns].concat();
    if inner.is_empty() {
        let (a, c) = (permuted(b, &left, &axes)?, permuted(b, &right, &axes)?);
        return Ok(Term { v: combine(b, BinaryOp::Mul, a, c)?, axes });
    }
    let a = permuted(b, &left, &[&batch[..], &rows, &inner].concat())?;
    let c = permuted(b, &right, &[&batch[..], &inner, &columns].concat())?;
    let split = |shape: &[Dim], middle: usize| {
        let mut flat = shape[..batch.len()].to_vec();
        flat.push(product(&shape[batch.len()..batch.len() + middle]));
        flat.push(product(&shape[batch.len() + middle..]));
        flat
    };
    let (a_shape, c_shape) = (b.shape(a).to_vec(), b.shape(c).to_vec());
    let mut shape = b.shape(a)[..batch.len() + rows.len()].to_vec();
    for (at, size) in c_shape[..batch.len()].iter().enumerate() {
        if shape[at].is(1) {
            shape[at] = size.clone();
        }
    }
    shape.extend(c_shape[batch.len() + inner.len()..].iter().cloned());
    let a = b.reshape(a, &split(&a_shape, rows.len()))?;
    let c = b.reshape(c, &split(&c_shape, inner.len()))?;
    let v = b.apply(Op::MatMul { transpose_a: false, transpose_b: false }, &[a, c])?;
    Ok(Term { v: b.reshape(v, &shape)?, axes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipsis_takes_the_axes_that_are_left() {
        assert_eq!(letters("a...b", 4).unwrap(), ['a', '1', '0', 'b']);
        assert_eq!(letters("ij", 2).unwrap(), ['i', 'j']);
        assert_eq!(letters("...", 1).unwrap(), ['0']);
        assert!(letters("a;b", 2).is_err());
    }
}
