//! What kernels along an axis share: a line of elements, walked by the lanes of a workgroup or by one invocation.

use qwenc_ir::Dim;

use crate::indexing::{collapse, halves, split_index, strs};
use crate::kernel::{Operand, Symbols, grid_1d};
use crate::view::View;

/// Lines up to this length are walked by one invocation each.
const SHORT: i64 = 32;

/// Geometry of a kernel over lines: `lanes` invocations a line, `lines` lines a workgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LineGrid {
    pub(crate) lanes: u32,
    pub(crate) lines: u32,
    pub(crate) workgroups: [Dim; 3],
    /// The workgroup's index as WGSL.
    pub(crate) unit: String,
    /// The number of lines as WGSL.
    pub(crate) count: String,
    /// Distances of a sum over the lanes in halves.
    pub(crate) halves: Vec<u32>,
}

impl LineGrid {
    /// For `count` lines of `length` elements each.
    pub(crate) fn new(symbols: &Symbols, count: &Dim, length: &Dim) -> Self {
        let lanes = match symbols.upper(length).and_then(|length| u32::try_from(length).ok()) {
            Some(length) if i64::from(length) <= SHORT => 1,
            Some(length) => (length / 4).next_power_of_two().clamp(32, 256),
            None => 256,
        };
        Self::with_lanes(symbols, count, lanes)
    }

    /// For `count` lines, with `lanes` invocations each.
    pub(crate) fn with_lanes(symbols: &Symbols, count: &Dim, lanes: u32) -> Self {
        let lines = (64 / lanes).max(1);
        let (workgroups, unit) = grid_1d(symbols, &count.ceil_div(lines.into()), "wid");
        Self { lanes, lines, workgroups, unit, count: symbols.wgsl(count), halves: halves(lanes) }
    }

    /// Invocations of a workgroup.
    pub(crate) const fn size(&self) -> u32 {
        self.lanes * self.lines
    }
}

/// Views of one set of lines: where each line starts in every view, and where the elements lie from there.
pub(crate) struct Lines {
    /// `let` statements that split the line's index `line`.
    pub(crate) split: String,
    names: Vec<String>,
    starts: Vec<View>,
}

impl Lines {
    /// `starts` are the views without the axes along the lines, all of one shape.
    pub(crate) fn new(symbols: &Symbols, starts: &[View]) -> Self {
        let starts = collapse(starts);
        let shape = starts.first().map(|view| view.shape.clone()).unwrap_or_default();
        let (split, names) = split_index(symbols, &shape, "line", "l");
        Self { split, names, starts }
    }

    /// The index of the first element of a line, in the view of this position.
    pub(crate) fn start(&self, symbols: &Symbols, position: usize) -> String {
        let operand = Operand { var: String::new(), view: self.starts[position].clone() };
        operand.index(symbols, &strs(&self.names))
    }
}

/// The view without the given axes: where lines along them start.
pub(crate) fn without(view: &View, axes: &[usize]) -> View {
    view.select_axes(&(0..view.rank()).filter(|axis| !axes.contains(axis)).collect::<Vec<_>>())
}

/// The distance from the start of a line to its element `r`: statements that split `r` over several axes, and the
/// index.
pub(crate) fn along(symbols: &Symbols, view: &View, axes: &[usize]) -> (String, String) {
    let mut line = view.select_axes(axes);
    line.offset = Dim::constant(0);
    let line = collapse(&[line]).remove(0);
    let (split, names) = split_index(symbols, &line.shape, "r", "r");
    let index = Operand { var: String::new(), view: line }.index(symbols, &strs(&names));
    (split, index)
}
