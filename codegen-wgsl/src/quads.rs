//! Operands that kernels read and write four elements of the last axis at a time.

use crate::checks::Access;
use crate::indexing::in_vec4;
use crate::kernel::{Bindings, Symbols};
use crate::view::View;

/// Whether all of these views can be bound as `vec4<f32>`. Views of one allocation share a binding and its type, so
/// either all of a kernel are or none.
pub(crate) fn all_packed<'v>(views: impl IntoIterator<Item = &'v View>) -> bool {
    views.into_iter().all(|view| in_vec4(view).is_some())
}

/// An operand that is read and written four elements of its last axis at a time.
pub(crate) struct Quads<'a> {
    pub(crate) access: Access<'a>,
    /// The binding holds `vec4<f32>`, and the view counts them.
    pub(crate) packed: bool,
}

impl<'a> Quads<'a> {
    /// Binds a view that [`all_packed`] has found fit for vectors, or one element by element.
    pub(crate) fn bind(
        bindings: &mut Bindings,
        symbols: &'a Symbols,
        view: &View,
        packed: bool,
        write: bool,
    ) -> Self {
        let vectors = if packed { in_vec4(view) } else { None };
        let (view, wgsl) =
            vectors.as_ref().map_or((view, view.elem.wgsl()), |vectors| (vectors, "vec4<f32>"));
        let operand = if write { bindings.write_as(view, wgsl) } else { bindings.read_as(view, wgsl) };
        Quads { access: Access::new(operand, symbols), packed: vectors.is_some() }
    }

    /// WGSL of quad `c` of the last axis, whose width is `width`; elements behind the width are 0.
    pub(crate) fn load(&self, i: &str, j: &str, c: &str, width: &u32) -> String {
        if self.packed {
            return self.access.at3(i, j, c);
        }
        let element = |n: u32| self.access.at3(i, j, &format!("min(4u * {c} + {n}u, {}u)", width - 1));
        let quad = format!("vec4<f32>({})", [0, 1, 2, 3].map(element).join(", "));
        if width.is_multiple_of(4) {
            quad
        } else {
            format!("select(vec4<f32>(), {quad}, 4u * {c} + LANES < vec4<u32>({width}u))")
        }
    }

    /// WGSL statements that store the vec4 `x` as quad `c`.
    pub(crate) fn store(&self, i: &str, j: &str, c: &str, x: &str, width: &u32) -> String {
        if self.packed {
            return format!("{} = {x};", self.access.at3(i, j, c));
        }
        let element = |n: u32| {
            let at = format!("4u * {c} + {n}u");
            format!("if ({at} < {width}u) {{ {} = {x}[{n}]; }}", self.access.at3(i, j, &at))
        };
        [0, 1, 2, 3].map(element).join("\n        ")
    }
}
