//! The layouts of tensors with heads. The IR has `[B,S,H,D]`; files have the packed `[B,S,H*D]` or `[B,H,S,D]`.

use qwenc_ir::Dim;

use crate::onnx::values::{Builder, Fault, Result, V, fault};

/// How a file lays out a tensor with heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[B,S,H*D]`.
    Packed,
    /// `[B,H,S,D]`.
    HeadsFirst,
}

/// Brings a tensor into the layout of the IR. `heads` is needed for the packed layout.
pub(super) fn unpack(b: &mut Builder, v: V, heads: Option<usize>) -> Result<(V, Layout)> {
    match (b.rank(v), heads) {
        (4, _) => Ok((b.transpose(v, &[0, 2, 1, 3])?, Layout::HeadsFirst)),
        (3, Some(heads)) => Ok((split_heads(b, v, heads)?, Layout::Packed)),
        (3, None) => fault!("the number of heads in {} is not stated", b.ty(v)),
        _ => fault!(
            "{} has neither the layout [batch, sequence, heads * width] nor [batch, heads, sequence, width]",
            b.ty(v)
        ),
    }
}

/// `[B,S,H*D]` as `[B,S,H,D]`.
pub(super) fn split_heads(b: &mut Builder, v: V, heads: usize) -> Result<V> {
    let [batch, sequence, width] = b.shape(v) else {
        fault!("{} is not of the layout [batch, sequence, heads * width]", b.ty(v));
    };
    let heads = Dim::from(heads);
    let each = width.exact_div(&heads).filter(|_| !heads.is(0));
    let Some(each) = each else {
        fault!("width {width} is no multiple of {heads} heads");
    };
    let shape = [batch.clone(), sequence.clone(), heads, each];
    b.reshape(v, &shape)
}

/// Back into the layout of the file.
pub(super) fn pack(b: &mut Builder, v: V, layout: Layout) -> Result<V> {
    match layout {
        Layout::HeadsFirst => b.transpose(v, &[0, 2, 1, 3]),
        Layout::Packed => {
            let [batch, sequence, heads, width] = b.shape(v) else {
                fault!("{} has no heads", b.ty(v));
            };
            let shape = [batch.clone(), sequence.clone(), heads.clone() * width.clone()];
            b.reshape(v, &shape)
        }
    }
}

/// The four sizes of a tensor.
pub(super) fn sizes(b: &Builder, v: V) -> Result<[Dim; 4]> {
    <[Dim; 4]>::try_from(b.shape(v).to_vec()).map_err(|_| Fault::new(format!("{} must have rank 4", b.ty(v))))
}

/// Demands that a size of the file is `wanted`. When it is a free symbol, the import starts again with it bound:
/// exporters name the width of a cache, which only its use says.
pub(super) fn demand(have: &Dim, wanted: &Dim) -> Result<()> {
    if have == wanted || wanted.as_const().is_none() {
        return Ok(());
    }
    match have.as_sym() {
        Some(symbol) => Err(Fault::Bind { symbol: symbol.to_owned(), dim: wanted.clone() }),
        None => Ok(()),
    }
}
