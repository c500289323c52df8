//! Index arithmetic that families share: broadcasting views, merging axes, splitting a flat index into coordinates.

use qwenc_ir::{Dim, dim::product};

use crate::kernel::{Symbols, grid_1d};
use crate::view::View;

/// Elements above which an elementwise kernel takes full workgroups; below, smaller ones spread over more cores.
const LARGE: i64 = 1 << 16;

/// The view broadcast to `shape` as NumPy does, by strides of 0. `Err` says which axis does not fit.
pub fn broadcast(view: &View, shape: &[Dim]) -> Result<View, String> {
    let Some(missing) = shape.len().checked_sub(view.rank()) else {
        return Err(format!("rank {} does not broadcast to rank {}", view.rank(), shape.len()));
    };
    let mut strides = vec![Dim::constant(0); missing];
    for (axis, (dim, want)) in view.shape.iter().zip(&shape[missing..]).enumerate() {
        if dim == want {
            strides.push(view.strides[axis].clone());
        } else if dim.is(1) {
            strides.push(Dim::constant(0));
        } else {
            return Err(format!("axis {axis} of size {dim} does not broadcast to {want}"));
        }
    }
    Ok(View { shape: shape.to_vec(), strides, ..view.clone() })
}

/// Views of one shape with as few axes as possible: axes of size 1 go, and neighbours merge where every view steps
/// through both as through one. The row-major order of elements stays.
#[must_use]
pub fn collapse(views: &[View]) -> Vec<View> {
    let Some(first) = views.first() else { return Vec::new() };
    let mut axes = (0..first.rank()).filter(|axis| !first.shape[*axis].is(1)).rev();
    let mut out: Vec<View> = views.iter().map(|view| view.select_axes(&[])).collect();
    if let Some(last) = axes.next() {
        push_axis(&mut out, views, last);
    }
    for axis in axes {
        // The axes are collected back to front: the last one pushed is the neighbour on the right.
        let merges = views.iter().zip(&out).all(|(view, merged)| {
            let (dim, stride) = (&merged.shape[merged.rank() - 1], &merged.strides[merged.rank() - 1]);
            view.strides[axis] == dim.clone() * stride.clone()
        });
        if merges {
            for merged in &mut out {
                let at = merged.rank() - 1;
                merged.shape[at] = merged.shape[at].clone() * first.shape[axis].clone();
            }
        } else {
            push_axis(&mut out, views, axis);
        }
    }
    for view in &mut out {
        view.shape.reverse();
        view.strides.reverse();
    }
    out
}

fn push_axis(out: &mut [View], views: &[View], axis: usize) {
    for (merged, view) in out.iter_mut().zip(views) {
        merged.shape.push(view.shape[axis].clone());
        merged.strides.push(view.strides[axis].clone());
    }
}

/// As [`collapse`], for all axes but the last, which stays as it is: the rows of views of rank at least 1. The views'
/// last axes may differ.
#[must_use]
pub fn collapse_rows(views: &[View]) -> Vec<View> {
    let leading = |view: &View| view.select_axes(&(0..view.rank().saturating_sub(1)).collect::<Vec<_>>());
    let mut out = collapse(&views.iter().map(leading).collect::<Vec<_>>());
    for (rows, view) in out.iter_mut().zip(views) {
        rows.shape.extend(view.shape.last().cloned());
        rows.strides.extend(view.strides.last().cloned());
    }
    out
}

/// The view in units of four elements along its last axis, when it can be read as `vec4`: the last axis is dense and a
/// multiple of 4, and so are the offset and all other strides.
#[must_use]
pub fn in_vec4(view: &View) -> Option<View> {
    let four = Dim::constant(4);
    let (last, leading) = view.strides.split_last()?;
    let dense = last.is(1) || view.shape.last()?.is(1);
    if !dense {
        return None;
    }
    let mut strides = leading.iter().map(|stride| stride.exact_div(&four)).collect::<Option<Vec<_>>>()?;
    strides.push(Dim::constant(1));
    let mut shape = view.shape.clone();
    *shape.last_mut()? = shape.last()?.exact_div(&four)?;
    Some(View { offset: view.offset.exact_div(&four)?, shape, strides, ..view.clone() })
}

/// WGSL that splits the flat index `index` into one coordinate per axis of `shape`, named `<prefix>0`, `<prefix>1`, ...
/// Gives the `let` statements, indented by four spaces, and the names. One axis needs no statement.
pub fn split_index(symbols: &Symbols, shape: &[Dim], index: &str, prefix: &str) -> (String, Vec<String>) {
    match shape {
        [] => (String::new(), Vec::new()),
        [_] => (String::new(), vec![index.to_string()]),
        _ => {
            let mut text = String::new();
            let mut names = Vec::new();
            for axis in 0..shape.len() {
                let inner = product(&shape[axis + 1..]);
                let name = format!("{prefix}{axis}");
                let quotient = if inner.is(1) {
                    index.to_string()
                } else {
                    format!("{index} / {}", divisor(symbols, &inner))
                };
                let value = if axis == 0 {
                    quotient
                } else if inner.is(1) {
                    format!("{quotient} % {}", divisor(symbols, &shape[axis]))
                } else {
                    format!("({quotient}) % {}", divisor(symbols, &shape[axis]))
                };
                text += &format!("    let {name} = {value};\n");
                names.push(name);
            }
            (text, names)
        }
    }
}

/// A dim to divide by. An empty axis has no index to split; a literal zero there would be an error in WGSL.
fn divisor(symbols: &Symbols, dim: &Dim) -> String {
    if dim.is(0) { "1u".to_string() } else { symbols.wgsl(dim) }
}

/// Geometry of a kernel with one invocation an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementGrid {
    /// Invocations of a workgroup, along x.
    pub size: u32,
    /// Workgroups.
    pub workgroups: [Dim; 3],
    /// The element's flat index, from `wid` (workgroup id) and `lid` (local invocation index).
    pub index: String,
    /// The number of elements as WGSL: the kernel leaves when `index` is not below it.
    pub count: String,
}

/// One invocation for each of `count` elements.
pub fn element_grid(symbols: &Symbols, count: &Dim) -> ElementGrid {
    let size: u32 = if symbols.upper(count).is_some_and(|high| high <= LARGE) { 64 } else { 256 };
    let (workgroups, unit) = grid_1d(symbols, &count.ceil_div(size.into()), "wid");
    ElementGrid { size, workgroups, index: format!("{unit} * {size}u + lid"), count: symbols.wgsl(count) }
}

/// Distances of a sum over `lanes` (a power of two) in halves: `lanes / 2`, ..., 2, 1.
#[must_use]
pub fn halves(lanes: u32) -> Vec<u32> {
    std::iter::successors(Some(lanes / 2), |half| Some(half / 2)).take_while(|half| *half > 0).collect()
}

/// A shape for the header comment of a kernel. Names of symbols may come from a model file, so only plain characters
/// stay.
#[must_use]
pub fn describe(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_+-*(), ".contains(c) { c } else { '_' };
    format!("[{}]", dims.join(", ").chars().map(plain).collect::<String>())
}

/// The names as the slice of `&str` that [`crate::kernel::Operand::index`] takes.
#[must_use]
pub fn strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{BufferKey, Elem};

    fn dims(values: &[i64]) -> Vec<Dim> {
        values.iter().map(|v| Dim::constant(*v)).collect()
    }

    #[test]
    fn broadcasting_repeats_by_stride_zero() {
        let view = View::dense(BufferKey(0), Elem::F32, dims(&[5, 1]));
        let wide = broadcast(&view, &dims(&[2, 5, 7])).unwrap();
        assert_eq!(wide.strides, dims(&[0, 1, 0]));
        assert!(broadcast(&view, &dims(&[4, 7])).is_err());
        assert!(broadcast(&view, &dims(&[5])).is_err());
    }

    #[test]
    fn axes_merge_only_where_all_views_agree() {
        let a = View::dense(BufferKey(0), Elem::F32, dims(&[2, 1, 3, 5]));
        assert_eq!(collapse(std::slice::from_ref(&a))[0].shape, dims(&[30]));
        let mut b = a.clone();
        b.strides[3] = Dim::constant(0);
        b.strides[2] = Dim::constant(1);
        b.strides[0] = Dim::constant(3);
        let both = collapse(&[a.clone(), b]);
        assert_eq!(both[0].shape, dims(&[6, 5]));
        assert_eq!(both[1].strides, dims(&[1, 0]));
        let scalar = View::dense(BufferKey(0), Elem::F32, dims(&[1, 1]));
        assert_eq!(collapse(&[scalar])[0].rank(), 0);
    }

    #[test]
    fn the_index_splits_row_major() {
        let symbols = Symbols::new([("tokens".to_string(), (1, 9))]);
        let (text, names) =
            split_index(&symbols, &[Dim::constant(4), Dim::sym("tokens"), Dim::constant(5)], "i", "c");
        assert_eq!(names, ["c0", "c1", "c2"]);
        let expected = "    let c0 = i / (step.s[0].x * 5u);\n    let c1 = (i / 5u) % step.s[0].x;\n    let c2 = i % 5u;\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn names_from_a_model_cannot_end_a_comment_line() {
        // The outer underscores stand for the quotes in which a dimension shows an unusual name.
        assert_eq!(describe(&[Dim::sym("a\nb*/"), Dim::constant(3)]), "[_a_nb*__, 3]");
    }
}
